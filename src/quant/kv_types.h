/* kv_types.h: the table of KV-cache row types, and their unchecked codecs: the scalar rules that kernels are measured
 * against. A new type is one row in kv_types.c. */
#ifndef MLXN_SRC_QUANT_KV_TYPES_H
#define MLXN_SRC_QUANT_KV_TYPES_H

#include <mlxn/buffer.h>
#include <mlxn/kv.h>

#include "quant/quant.h"

typedef struct mlxn_kv_row {
    const char *name;
    mlxn_dtype dtype;   /* of the cache tensor */
    mlxn_format format; /* the codec's, unless bits is set */
    uint32_t bits;      /* TurboQuant */
} mlxn_kv_row;

enum { MLXN_KV_MAX_TQ = 512 };

/* NULL for MLXN_KV_DEFAULT and what is no type. */
const mlxn_kv_row *mlxn_kv_find(uint32_t type);
/* The type that `type` means in a cache of this dtype: plain ones by dtype. DEFAULT if it is none (u8 without type).
 */
mlxn_kv_type mlxn_kv_resolve(uint32_t type, mlxn_dtype dtype);
static inline bool mlxn_kv_plain(mlxn_kv_type type) { return type <= MLXN_KV_BF16; }

/* d fits the type; of DEFAULT nothing may be asked. */
void mlxn_kv_encode(mlxn_kv_type type, const float *x, uint64_t d, uint8_t *row);
void mlxn_kv_decode(mlxn_kv_type type, const uint8_t *row, uint64_t d, float *out);

/* x <- H (s x) and x <- s (H x), s the first d signs of the table. */
void mlxn_kv_rotate(float *x, uint64_t d);
void mlxn_kv_unrotate(float *x, uint64_t d);

/* The norms in front of a TurboQuant row. */
static inline uint64_t mlxn_kv_norms(uint64_t d) { return d > 256 ? d / 256 : 1; }
/* What a centroid is multiplied with, for a norm of a row of d values. */
static inline float mlxn_kv_step(uint64_t d, float norm) {
    return d == 64 ? norm * 0.125f : d == 128 ? norm * 0.08838834764831845f : d == 256 ? norm * 0.0625f : norm;
}

#endif
