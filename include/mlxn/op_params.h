/* mlxn/op_params.h: the parameter blocks of the operations (ops.h), constant per recorded operation. */
#ifndef MLXN_OP_PARAMS_H
#define MLXN_OP_PARAMS_H

#include <stdint.h>

typedef struct mlxn_scalar_mul_params {
    float scale;
} mlxn_scalar_mul_params;

typedef struct mlxn_embedding_params {
    float scale; /* 0 counts as 1 */
} mlxn_embedding_params;

typedef struct mlxn_softcap_params {
    float cap; /* > 0 */
} mlxn_softcap_params;

typedef struct mlxn_rms_norm_params {
    float eps; /* > 0, added to the mean square */
} mlxn_rms_norm_params;

typedef enum mlxn_rope_pairing {
    MLXN_ROPE_INTERLEAVED = 0, /* pairs (2i, 2i+1) */
    MLXN_ROPE_HALF = 1         /* pairs (i, i + rope_dims/2), "NeoX" */
} mlxn_rope_pairing;

typedef struct mlxn_rope_params {
    uint32_t pairing;   /* mlxn_rope_pairing */
    uint32_t rope_dims; /* even, <= D; 0 = D */
    float base;         /* > 0 */
    float freq_scale;   /* multiplies positions; 0 counts as 1 */
} mlxn_rope_params;

typedef struct mlxn_norm_rope_params {
    float eps; /* as in mlxn_rms_norm_params */
    mlxn_rope_params rope;
} mlxn_norm_rope_params;

typedef struct mlxn_attention_params {
    float scale;     /* multiplies q.k */
    float softcap;   /* 0 = none */
    uint32_t window; /* keys that a row sees, its own included; 0 = all */
} mlxn_attention_params;

#endif
