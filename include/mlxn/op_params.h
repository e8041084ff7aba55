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
    MLXN_ROPE_HALF = 1,        /* pairs (i, i + rope_dims/2), "NeoX" */
    MLXN_ROPE_HEAD_HALF = 2,   /* pairs (i, i + D/2), i < rope_dims/2: "proportional" rope */
    MLXN_ROPE_QUARTER = 3      /* rope_multi only: each half of the channels as HALF, by axis 0 and by axis 1 */
} mlxn_rope_pairing;

typedef struct mlxn_rope_params {
    uint32_t pairing;   /* mlxn_rope_pairing */
    uint32_t rope_dims; /* even, <= D; 0 = D */
    float base;         /* > 0 */
    float freq_scale;   /* multiplies positions; 0 counts as 1 */
} mlxn_rope_params;

/* Which axis of `positions` turns pair i; `sector` is i modulo the sum of the sections (1 if that is 0). */
typedef enum mlxn_rope_axes {
    MLXN_ROPE_AXES_ONE = 0,         /* axis 0 */
    MLXN_ROPE_AXES_SECTIONS = 1,    /* the section that sector lies in ("mrope") */
    MLXN_ROPE_AXES_INTERLEAVED = 2, /* sector mod 3 while sector < 3 * sections[sector mod 3], else 3 ("imrope") */
    MLXN_ROPE_AXES_VISION = 3       /* section 0 by axis 0, section 1 by axis 1, where frequencies start anew */
} mlxn_rope_axes;

typedef struct mlxn_rope_multi_params {
    uint32_t pairing;           /* mlxn_rope_pairing */
    uint32_t rope_dims, offset; /* channels [offset, offset + rope_dims) turn; even; rope_dims 0 = D */
    uint32_t freq_dims;         /* pair i: base^(-2i/freq_dims); 0 = rope_dims (half of it: QUARTER, VISION) */
    float base, freq_scale;     /* as in mlxn_rope_params */
    uint32_t axes;              /* mlxn_rope_axes */
    uint32_t sections[4];
    /* YaRN, where ext_factor is not 0: mix = ext_factor * (1 - clamp((i - ramp_low) / max(0.001, ramp_high -
     * ramp_low), 0, 1)); frequencies are multiplied by freq_scale * (1 - mix) + mix, sines and cosines by
     * attn_factor * (1 + 0.1 ln(1/freq_scale)); without YaRN by attn_factor alone. */
    float ext_factor, attn_factor; /* attn_factor: 0 counts as 1 */
    float ramp_low, ramp_high;     /* pairs; mlxn_rope_yarn_ramp computes them */
    uint32_t inverse;              /* 1: turns back */
} mlxn_rope_multi_params;

typedef struct mlxn_norm_rope_params {
    float eps; /* as in mlxn_rms_norm_params */
    mlxn_rope_params rope;
} mlxn_norm_rope_params;

typedef enum mlxn_attention_mask {
    MLXN_MASK_CAUSAL = 0,    /* p <= position and, if window > 0, p > position - window */
    MLXN_MASK_NONE = 1,      /* every slot of the cache; position and window do not count */
    MLXN_MASK_SYMMETRIC = 2, /* |p - position| <= window / 2, slots 0 to C - 1 hold positions 0 to C - 1 */
    MLXN_MASK_CHUNKED = 3    /* causal, and p / window == position / window in whole numbers */
} mlxn_attention_mask;

typedef struct mlxn_attention_params {
    float scale;     /* multiplies q.k */
    float softcap;   /* 0 = none */
    uint32_t window; /* keys that a row sees, its own included; 0 = all */
    /* mlxn_kv_type (kv.h); 0 = the caches are f32, f16 or bf16 as their dtype says */
    uint32_t k_type, v_type;
    uint32_t visible;     /* mlxn_attention_mask */
    float alibi_max_bias; /* 0 = none, else the largest slope's exponent, usually 8 */
} mlxn_attention_params;

/* How a row is brought to unit size; t is a row of n values. */
typedef enum mlxn_norm_kind {
    MLXN_NORM_RMS = 0,    /* t / sqrt(mean(t^2) + eps) */
    MLXN_NORM_LAYER = 1,  /* (t - mean) / sqrt(variance + eps), the biased variance */
    MLXN_NORM_L2_SUM = 2, /* t / sqrt(sum(t^2) + eps) */
    MLXN_NORM_L2_MAX = 3  /* t / max(sqrt(sum(t^2)), eps) */
} mlxn_norm_kind;

typedef struct mlxn_row_norm_params {
    uint32_t kind;       /* mlxn_norm_kind */
    float eps;           /* > 0 */
    float weight_offset; /* added to w: 1 where the weights are stored as w - 1 */
    uint32_t groups;     /* a row is normed in that many equal parts; divides D; 0 counts as 1 */
} mlxn_row_norm_params;

typedef struct mlxn_norm_multi_params {
    float eps; /* > 0, as in mlxn_rms_norm_params */
} mlxn_norm_multi_params;

typedef struct mlxn_moe_sum_norm_params {
    float eps;          /* > 0, as in mlxn_rms_norm_params */
    uint32_t norm_base; /* 0: base is added as it is; 1: rms_norm(base, base_w) is */
} mlxn_moe_sum_norm_params;

typedef struct mlxn_norm_gate_params {
    float eps;           /* > 0, as in mlxn_rms_norm_params */
    uint32_t gate_first; /* 0: the normed row is gated; 1: the gated row is normed */
    uint32_t groups;     /* as in mlxn_row_norm_params */
} mlxn_norm_gate_params;

typedef struct mlxn_group_norm_params {
    uint32_t groups; /* 1 to C; groups of ceil(C / groups) channels, the last with what is left */
    float eps;       /* > 0, added to the variance */
} mlxn_group_norm_params;
typedef struct mlxn_kv_write_params {
    uint32_t k_type, v_type; /* mlxn_kv_type (kv.h); 0 = as the dtype of the cache */
} mlxn_kv_write_params;

typedef struct mlxn_kv_read_params {
    uint32_t type;    /* mlxn_kv_type (kv.h); 0 = as the dtype of the cache */
    uint32_t rotated; /* of TQ types: not 0 leaves the values rotated */
} mlxn_kv_read_params;

typedef enum mlxn_hadamard_signs {
    MLXN_HADAMARD_PLAIN = 0,       /* H x */
    MLXN_HADAMARD_SIGNS_FIRST = 1, /* H (s x): what a query goes through */
    MLXN_HADAMARD_SIGNS_LAST = 2   /* s (H x): its inverse */
} mlxn_hadamard_signs;

typedef struct mlxn_hadamard_params {
    uint32_t signs; /* mlxn_hadamard_signs */
} mlxn_hadamard_params;

typedef enum mlxn_route_score {
    MLXN_ROUTE_SOFTMAX = 0,          /* over all experts */
    MLXN_ROUTE_SELECTED_SOFTMAX = 1, /* over those that were selected, by their logits */
    MLXN_ROUTE_SIGMOID = 2
} mlxn_route_score;

typedef enum mlxn_route_normalize {
    MLXN_ROUTE_AS_IS = 0,
    MLXN_ROUTE_NORMALIZE = 1,           /* weights / their sum, then times scale */
    MLXN_ROUTE_SCALE_THEN_NORMALIZE = 2 /* times scale, then / the sum */
} mlxn_route_normalize;

typedef struct mlxn_moe_route_params {
    uint32_t score, normalize; /* mlxn_route_score, mlxn_route_normalize */
    float factor;              /* multiplies the weights; 0 counts as 1 */
    uint32_t groups;           /* 0: none; else the experts fall into so many groups, in order */
    uint32_t top_groups;       /* from which so many are taken, */
    uint32_t group_best;       /* by the sum of their so many largest scores */
} mlxn_moe_route_params;

#endif
