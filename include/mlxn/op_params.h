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

/* Functions of one number. a, b, c, d: the parameters of mlxn_unary_params. */
typedef enum mlxn_unary_fn {
    MLXN_UNARY_ABS = 0,
    MLXN_UNARY_NEG,
    MLXN_UNARY_SIGN, /* -1, 0, 1 */
    MLXN_UNARY_STEP, /* 1 where x > 0, else 0 */
    MLXN_UNARY_SQUARE,
    MLXN_UNARY_SQRT,
    MLXN_UNARY_RSQRT,
    MLXN_UNARY_RECIPROCAL,
    MLXN_UNARY_EXP,
    MLXN_UNARY_EXP2,
    MLXN_UNARY_EXPM1,
    MLXN_UNARY_LOG,
    MLXN_UNARY_LOG2,
    MLXN_UNARY_LOG10,
    MLXN_UNARY_LOG1P,
    MLXN_UNARY_SIN,
    MLXN_UNARY_COS,
    MLXN_UNARY_TANH,
    MLXN_UNARY_SIGMOID,
    MLXN_UNARY_ERF,
    MLXN_UNARY_FLOOR,
    MLXN_UNARY_CEIL,
    MLXN_UNARY_ROUND, /* halves to even */
    MLXN_UNARY_TRUNC,
    MLXN_UNARY_RELU,
    MLXN_UNARY_LEAKY_RELU,  /* x > 0: x; else a x */
    MLXN_UNARY_ELU,         /* x > 0: x; else a (e^x - 1) */
    MLXN_UNARY_SILU,        /* x / (1 + e^-x) */
    MLXN_UNARY_GELU,        /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    MLXN_UNARY_GELU_ERF,    /* x/2 (1 + erf(x / sqrt 2)) */
    MLXN_UNARY_GELU_QUICK,  /* x / (1 + e^(-1.702 x)) */
    MLXN_UNARY_HARDSWISH,   /* x hardsigmoid(x) */
    MLXN_UNARY_HARDSIGMOID, /* (x + 3) / 6 within 0 and 1 */
    MLXN_UNARY_SOFTPLUS,    /* x > 20: x; else ln(1 + e^x) */
    MLXN_UNARY_CLAMP,       /* min(max(x, a), b), a <= b; NaN stays */
    MLXN_UNARY_AFFINE,      /* a x + b */
    MLXN_UNARY_XIELU,       /* x > 0: a x^2 + c x; else b (e^min(x, d) - 1 - x) + c x */
    MLXN_UNARY_COUNT
} mlxn_unary_fn;

typedef struct mlxn_unary_params {
    uint32_t fn; /* mlxn_unary_fn */
    float a, b, c, d;
} mlxn_unary_params;

/* Functions of two numbers. A NaN in a or b gives NaN. */
typedef enum mlxn_binary_fn {
    MLXN_BINARY_ADD = 0,
    MLXN_BINARY_SUB,
    MLXN_BINARY_MUL,
    MLXN_BINARY_DIV,
    MLXN_BINARY_MIN,
    MLXN_BINARY_MAX,
    MLXN_BINARY_POW,
    MLXN_BINARY_REMAINDER, /* a - b floor(a / b): the sign of b */
    MLXN_BINARY_ATAN2,
    MLXN_BINARY_LOGADDEXP, /* ln(e^a + e^b) */
    MLXN_BINARY_COUNT
} mlxn_binary_fn;

typedef struct mlxn_binary_params {
    uint32_t fn; /* mlxn_binary_fn */
} mlxn_binary_params;

typedef enum mlxn_compare_fn {
    MLXN_COMPARE_EQ = 0,
    MLXN_COMPARE_NE,
    MLXN_COMPARE_LT,
    MLXN_COMPARE_LE,
    MLXN_COMPARE_GT,
    MLXN_COMPARE_GE,
    MLXN_COMPARE_AND, /* both differ from 0 */
    MLXN_COMPARE_OR,
    MLXN_COMPARE_XOR,
    MLXN_COMPARE_COUNT
} mlxn_compare_fn;

typedef struct mlxn_compare_params {
    uint32_t fn; /* mlxn_compare_fn */
} mlxn_compare_params;

/* Gated products fn(gate) * up. */
typedef enum mlxn_glu_fn {
    MLXN_GLU_SIGMOID = 0,
    MLXN_GLU_RELU,
    MLXN_GLU_SILU,
    MLXN_GLU_GELU,
    MLXN_GLU_GELU_ERF,
    MLXN_GLU_GELU_QUICK,
    MLXN_GLU_SILU_CLAMPED, /* g = min(gate, limit), u = up within +-limit: g sigmoid(alpha g) (u + 1) */
    MLXN_GLU_COUNT
} mlxn_glu_fn;

typedef struct mlxn_glu_params {
    uint32_t fn;        /* mlxn_glu_fn */
    float alpha, limit; /* of SILU_CLAMPED alone; limit > 0 */
} mlxn_glu_params;

typedef struct mlxn_fill_value_params {
    double value; /* converted to the dtype of out; whole and in range where that is an integer */
} mlxn_fill_value_params;

typedef enum mlxn_reduce_fn {
    MLXN_REDUCE_SUM = 0,
    MLXN_REDUCE_MEAN,
    MLXN_REDUCE_PROD,
    MLXN_REDUCE_MAX, /* NaN if there is one */
    MLXN_REDUCE_MIN,
    MLXN_REDUCE_SUM_SQUARES,
    MLXN_REDUCE_NORM,      /* sqrt(sum x^2) */
    MLXN_REDUCE_RMS_INV,   /* 1 / sqrt(mean(x^2) + eps) */
    MLXN_REDUCE_VARIANCE,  /* mean((x - mean(x))^2) */
    MLXN_REDUCE_LOGSUMEXP, /* m + ln sum e^(x - m), m the largest */
    MLXN_REDUCE_COUNT
} mlxn_reduce_fn;

typedef struct mlxn_reduce_params {
    uint32_t fn;   /* mlxn_reduce_fn */
    uint32_t axes; /* how many of the last axes; 0 counts as 1 */
    float eps;     /* of RMS_INV */
} mlxn_reduce_params;

typedef enum mlxn_scan_fn {
    MLXN_SCAN_SUM = 0,
    MLXN_SCAN_PROD,
    MLXN_SCAN_MAX, /* NaN from the first NaN on */
    MLXN_SCAN_MIN,
    MLXN_SCAN_LOGSUMEXP,
    MLXN_SCAN_COUNT
} mlxn_scan_fn;

typedef struct mlxn_scan_params {
    uint32_t fn;        /* mlxn_scan_fn */
    uint32_t reverse;   /* 1: from the last element to the first */
    uint32_t exclusive; /* 1: without the element itself; the first result is the neutral element */
} mlxn_scan_params;

typedef struct mlxn_argsort_params {
    uint32_t descending;
} mlxn_argsort_params;

typedef struct mlxn_softmax_params {
    float scale;  /* multiplies x; 0 counts as 1 */
    uint32_t log; /* 1: the logarithms */
} mlxn_softmax_params;

typedef struct mlxn_softmax_sample_params {
    float temp; /* > 0 */
} mlxn_softmax_sample_params;

typedef struct mlxn_qdq_params {
    uint32_t format; /* mlxn_format */
} mlxn_qdq_params;

typedef enum mlxn_pad_mode {
    MLXN_PAD_CONSTANT = 0,
    MLXN_PAD_EDGE,    /* the nearest element */
    MLXN_PAD_REFLECT, /* mirrored at the border elements, which are not repeated */
    MLXN_PAD_WRAP     /* the tensor repeats; with out of the same dims a rotation */
} mlxn_pad_mode;

typedef struct mlxn_pad_params {
    uint32_t mode;      /* mlxn_pad_mode */
    uint32_t flip;      /* bit a: axis a of x is read backwards */
    uint32_t before[4]; /* elements of out ahead of x, per axis */
    double value;       /* of CONSTANT; converted to the dtype of out */
} mlxn_pad_params;

typedef struct mlxn_arange_params {
    double start, step;
} mlxn_arange_params;

typedef struct mlxn_diag_mask_params {
    int32_t diagonal; /* element (i, j) lies on it if j = i + diagonal */
    uint32_t upper;   /* 0: what lies above is replaced; 1: what lies below */
    float value;
} mlxn_diag_mask_params;

typedef struct mlxn_timestep_embedding_params {
    float max_period; /* > 0 */
} mlxn_timestep_embedding_params;

typedef struct mlxn_adamw_params {
    float lr, beta1, beta2, eps;
    float weight_decay;
    float correction1, correction2; /* 1 - beta1^t and 1 - beta2^t, t = 1 for the first step; 0 counts as 1 */
} mlxn_adamw_params;

typedef struct mlxn_sgd_params {
    float lr, momentum, weight_decay;
    uint32_t nesterov;
} mlxn_sgd_params;
/* Which key head belongs to value head h of H, where there are n key heads. */
typedef enum mlxn_head_map {
    MLXN_HEADS_TILED = 0, /* h mod n, the order of GGUF files */
    MLXN_HEADS_BLOCKS = 1 /* h / (H / n) */
} mlxn_head_map;

typedef struct mlxn_gated_delta_net_params {
    float scale;       /* of the output; usually Dk^-0.5; 0 counts as 1 */
    uint32_t head_map; /* mlxn_head_map */
    float l2_eps;      /* above 0: q and k are divided by sqrt(sum of squares + l2_eps) first */
} mlxn_gated_delta_net_params;

typedef struct mlxn_gla_params {
    float scale; /* of the output; 0 counts as 1 */
} mlxn_gla_params;

typedef struct mlxn_ssm_scan_params {
    uint32_t softplus; /* 1: the step is softplus(dt), which is dt above 20 */
} mlxn_ssm_scan_params;

typedef struct mlxn_ssm_conv_params {
    uint32_t silu; /* 1: out goes through silu */
} mlxn_ssm_conv_params;

/* Index 0 is the height, 1 the width. Strides, dilations and groups of 0 count as 1. */
typedef struct mlxn_conv2d_params {
    uint32_t stride[2], pad[2], dilation[2];
    uint32_t groups; /* divides the channels of both sides */
} mlxn_conv2d_params;

typedef struct mlxn_conv1d_params {
    uint32_t stride, pad, dilation, groups; /* as in mlxn_conv2d_params */
} mlxn_conv1d_params;

/* Index 0 is the depth, 1 the height, 2 the width; otherwise as in mlxn_conv2d_params. */
typedef struct mlxn_conv3d_params {
    uint32_t depth, kernel_depth; /* of an image in x, of w; > 0 */
    uint32_t stride[3], pad[3], dilation[3];
    uint32_t groups;
} mlxn_conv3d_params;

typedef enum mlxn_pool_kind { MLXN_POOL_MAX = 0, MLXN_POOL_AVERAGE = 1 } mlxn_pool_kind;

typedef struct mlxn_pool2d_params {
    uint32_t kind; /* mlxn_pool_kind */
    uint32_t kernel[2], stride[2], pad[2]; /* height, width; stride 0 = kernel */
    uint32_t count_padding; /* average: 1: zeros of the padding count, 0: only what is inside */
} mlxn_pool2d_params;

typedef enum mlxn_resize_mode {
    MLXN_RESIZE_NEAREST = 0,   /* floor(i H / OH) */
    MLXN_RESIZE_BILINEAR = 1,
    MLXN_RESIZE_BICUBIC = 2,   /* a = -0.75 */
    MLXN_RESIZE_ANTIALIAS = 3  /* a triangle as wide as what an output stands for, at least 1 */
} mlxn_resize_mode;

typedef struct mlxn_resize2d_params {
    uint32_t mode;          /* mlxn_resize_mode */
    uint32_t align_corners; /* 1: i (H-1)/(OH-1), 0: (i + 1/2) H/OH - 1/2; bilinear and bicubic */
} mlxn_resize2d_params;

typedef struct mlxn_im2col_params {
    uint32_t kernel[2], stride[2], pad[2], dilation[2]; /* height, width; strides, dilations: 0 counts as 1 */
} mlxn_im2col_params;

typedef struct mlxn_attention_backward_params {
    float scale;     /* > 0; multiplies q.k */
    uint32_t causal; /* 1: row t of T sees the keys up to t + S - T */
} mlxn_attention_backward_params;

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
