/* case.h: what a case of the check harness is: the shapes, layouts and contents of one call of an operation.
 *
 * A family's make_case(i) describes case i; tests/check allocates, fills, runs and compares. */
#ifndef MLXN_SRC_OPS_CASE_H
#define MLXN_SRC_OPS_CASE_H

#include "ops/op.h"

/* How the elements of a tensor lie in memory. Every layout can be combined with `shift`. */
typedef enum mlxn_layout {
    MLXN_LAYOUT_CONTIGUOUS = 0,
    MLXN_LAYOUT_GAPS,      /* rows (last dim) `gap` elements apart, more between the planes */
    MLXN_LAYOUT_OUTER,     /* the two outermost dims swapped in memory; needs rank 3 or more */
    MLXN_LAYOUT_INNER,     /* the last dim has stride 2 (or more) */
    MLXN_LAYOUT_TRANSPOSED /* the first dim varies fastest */
} mlxn_layout;

typedef enum mlxn_fill {
    MLXN_FILL_NORMAL = 0, /* mean lo, deviation hi; 0, 0 counts as 0, 1 */
    MLXN_FILL_UNIFORM,    /* lo to hi */
    MLXN_FILL_CONST,      /* lo */
    MLXN_FILL_TIES,       /* one of few values, so that extremes repeat */
    MLXN_FILL_SPECIAL,    /* normal numbers with some infinities, zeros of both signs, NaN and subnormals */
    MLXN_FILL_BYTES,      /* random bits */
    MLXN_FILL_INDEX,      /* u32, uniform in [lo, hi], with both ends present */
    MLXN_FILL_POSITION,   /* u32, element t: lo + t / n + (t mod n) * hi, for n interleaved sequences */
    MLXN_FILL_SEQUENCE    /* u32, element t: order[t mod n], a fixed permutation of 0 … n-1 */
} mlxn_fill;

typedef struct mlxn_case_arg {
    bool present, weight;
    mlxn_dtype dtype;
    uint32_t rank;
    uint64_t dims[MLXN_MAX_RANK];
    mlxn_layout layout;
    uint32_t gap;   /* elements, for LAYOUT_GAPS; 0 counts as 3 */
    uint32_t shift; /* elements by which the first one is off the 64-byte boundary */
    mlxn_fill fill;
    double lo, hi;
    uint32_t n;         /* interleaved sequences, for FILL_POSITION and FILL_SEQUENCE; 0 counts as 1 */
    mlxn_format format; /* weights: dims = {rows, cols}, dtype that of the scales of MLX formats */
    uint64_t experts;   /* weights: matrices in the stack; 0 counts as 1 */
    float global_scale; /* nvfp4 weights */
} mlxn_case_arg;

typedef struct mlxn_case {
    char name[120];
    mlxn_case_arg args[MLXN_MAX_ARGS];
    uint64_t params[MLXN_MAX_PARAMS / 8];
    bool slow; /* left out of quick runs */
    /* After the fill, if set: changes inputs in place, for relations that the fills cannot express. */
    void (*prepare)(const mlxn_view *args, const void *params);
} mlxn_case;

/* Building blocks for make_case. */
mlxn_case_arg mlxn_case_tensor(mlxn_dtype dtype, uint32_t rank, const uint64_t *dims);
mlxn_case_arg mlxn_case_weight(mlxn_format format, uint64_t rows, uint64_t cols);
/* Takes the next digit, below `n`, of *i in mixed radix; what is left in *i after the last digit must be 0. */
static inline uint32_t mlxn_case_digit(uint32_t *i, uint32_t n) {
    uint32_t digit = *i % n;
    *i /= n;
    return digit;
}
/* The argument in another place: layout 1 off alignment, 2 and 3 with strides, which depend on `shift` being odd. */
mlxn_case_arg mlxn_case_spread(mlxn_case_arg a, uint32_t layout, uint32_t shift);
/* Every weight format by number. */
enum { MLXN_CASE_FORMATS = 45 };
mlxn_format mlxn_case_format(uint32_t i);
uint32_t mlxn_case_smallest_cols(mlxn_format format); /* values per block or group */
mlxn_dtype mlxn_case_float(uint32_t i);               /* f32, f16, bf16 for 0, 1, 2 */
/* Appends to the name. */
void mlxn_case_name(mlxn_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mlxn_case_name_arg(mlxn_case *c, const char *name, uint32_t arg);

/* Elementwise shapes, dtypes and layouts for operations of one and of two inputs and an output of the same kind. */
bool mlxn_cases_unary(uint32_t i, mlxn_case *out);
uint32_t mlxn_cases_unary_count(void);
bool mlxn_cases_binary(uint32_t i, mlxn_case *out);

#endif
