/* op.h: what an operation is: arguments, check, reference, cases, bound, cost.
 *
 * Nothing here knows devices. References and kernels see operands as `mlxn_view`. */
#ifndef MLXN_SRC_OP_H
#define MLXN_SRC_OP_H

#include <mlxn/buffer.h>
#include <mlxn/op_params.h>
#include <mlxn/ops.h>
#include <mlxn/quant.h>

#include "base/base.h"

enum { MLXN_MAX_ARGS = 8, MLXN_MAX_PARAMS = 64 };
#define MLXN_MAX_ELEMENTS ((uint64_t)INT64_MAX / 8) /* of an argument: kernels count in 64 bits with signs */

/* A weight as operations see it: a matrix, or a stack of them (experts) of the same shape. `read_row` decodes a row
 * (cols floats) from whatever layout is present; row r of expert e is number e * rows + r. */
typedef struct mlxn_weight_view mlxn_weight_view;
struct mlxn_weight_view {
    mlxn_format format;
    uint64_t rows, cols;    /* of one matrix */
    uint64_t experts;       /* matrices; 0 counts as 1 */
    const uint8_t *raw;     /* original bytes (the codes of MLX formats), or NULL */
    uint64_t row_bytes;     /* of the original format */
    uint64_t expert_stride; /* bytes from one matrix to the next in `raw`; 0: they lie close together */
    /* MLX formats: scales and biases of all rows, close together, while raw is there. */
    const uint8_t *scales, *biases;
    mlxn_dtype scale_dtype;
    float global_scale;
    void *packed; /* the device's own layout, or NULL */
    uint64_t packed_bytes;
    const void *layout; /* what the device knows about `packed` */
    void (*read_row)(const mlxn_weight_view *weight, uint64_t row, float *dst);
};

static inline uint64_t mlxn_weight_view_experts(const mlxn_weight_view *w) { return w->experts ? w->experts : 1; }
/* Original bytes of a row, and the same of MLX formats with their scales. */
static inline const uint8_t *mlxn_weight_view_raw_row(const mlxn_weight_view *w, uint64_t row) {
    uint64_t stride = w->expert_stride ? w->expert_stride : w->rows * w->row_bytes;
    return w->raw + row / w->rows * stride + row % w->rows * w->row_bytes;
}
mlxn_group_row mlxn_weight_view_group_row(const mlxn_weight_view *w, uint64_t row);
/* Of the device's layout, else of the original one with its scales. */
uint64_t mlxn_weight_view_bytes(const mlxn_weight_view *w);
/* One matrix of a stack. */
mlxn_weight_view mlxn_weight_view_expert(const mlxn_weight_view *w, uint64_t expert);
/* For read_row: decodes from the original bytes, of all formats. */
void mlxn_weight_view_read_raw(const mlxn_weight_view *w, uint64_t row, float *dst);

/* An operand. `data` is NULL where the memory is not host-visible (checks and costs must not need it). */
typedef struct mlxn_view {
    bool present;
    mlxn_dtype dtype;
    uint32_t rank;
    uint64_t dims[MLXN_MAX_RANK];
    int64_t strides[MLXN_MAX_RANK]; /* elements */
    void *data;                     /* first element */
    const mlxn_weight_view *weight; /* set for weight operands; then dims = {rows, cols} */
} mlxn_view;

typedef enum mlxn_role { MLXN_ROLE_IN = 1, MLXN_ROLE_OUT = 2, MLXN_ROLE_INOUT = 3 } mlxn_role;

typedef struct mlxn_arg_spec {
    const char *name;
    mlxn_role role;
    bool is_weight;
    bool optional;
    uint32_t dtypes; /* bit (1 << dtype) for each dtype allowed; ignored for weights */
    uint32_t min_rank, max_rank;
} mlxn_arg_spec;

typedef struct mlxn_cost {
    double bytes; /* moved at least once */
    double flops;
} mlxn_cost;

struct mlxn_case; /* tests/check: see src/ops/case.h */

typedef struct mlxn_op_def {
    const char *name;
    const char *family;
    const char *doc; /* the comment printed above the function in ops.h */
    uint32_t n_args;
    mlxn_arg_spec args[MLXN_MAX_ARGS];
    uint32_t params_size;
    const char *params_type; /* NULL if none */
    /* Shapes, relations between arguments, parameters. Presence, kind, dtype and rank were checked from the specs.
     * Messages name argument and both values: "w: dim[0] is 512, want 576 (last dim of x)". */
    mlxn_status (*check)(const mlxn_view *args, const void *params, mlxn_error *error);
    /* Plain scalar C with double accumulators; shares no code with any kernel. Errors: MEMORY only. */
    mlxn_status (*ref)(const mlxn_view *args, const void *params);
    mlxn_cost (*cost)(const mlxn_view *args, const void *params);
    /* Case i of the check harness (case.h); false past the last. */
    bool (*make_case)(uint32_t i, struct mlxn_case *out);
    /* How far a kernel may be from ref: the largest absolute difference for every element (row-major) of output
     * argument `arg`, where args[] hold the inputs and ref's result; in-out arguments are as they were before.
     * `fast`: the kernel serves only the fast precision. NULL: the results have the same bits (any NaN equals any
     * NaN). Errors: MEMORY only. */
    mlxn_status (*bound)(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out);
    bool bound_before; /* the bound wants in-out arguments as they were before, not as ref leaves them */
    uint32_t inplace; /* bit set of input arguments that may be the same memory as the last output */
} mlxn_op_def;

enum mlxn_op_id {
#define MLXN_OP(name, family, params) MLXN_OP_##name,
#include "ops/ops.def"
#undef MLXN_OP
    MLXN_OP_COUNT
};

#define MLXN_OP(name, family, params) extern const mlxn_op_def mlxn_opdef_##name;
#include "ops/ops.def"
#undef MLXN_OP

/* By id; ids below MLXN_OP_COUNT only. */
const mlxn_op_def *mlxn_op_get(uint32_t op);

/* Spec check (presence, kind, dtype, rank, zero dims, strides) followed by the op's own check. Messages begin with
 * the name of the operation. Data pointers are not looked at. */
mlxn_status mlxn_op_check(const mlxn_op_def *def, const mlxn_view *args, uint32_t n_args, const void *params,
                          uint32_t params_size, mlxn_error *error);

/* Element access for references and tests: any float dtype as double, element i of a view by index vector. */
double mlxn_view_get(const mlxn_view *view, const uint64_t *index);
void mlxn_view_set(const mlxn_view *view, const uint64_t *index, double value);
/* The bits of one element to one of another view of the same dtype. */
void mlxn_view_copy(const mlxn_view *to, const uint64_t *at, const mlxn_view *from, const uint64_t *own);
uint64_t mlxn_view_elements(const mlxn_view *view);
/* Turns a linear row-major index into an index vector. */
void mlxn_view_unravel(const mlxn_view *view, uint64_t linear, uint64_t *index);
bool mlxn_view_contiguous(const mlxn_view *view);
static inline bool mlxn_view_same_dims(const mlxn_view *a, const mlxn_view *b) {
    if (a->rank != b->rank) return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}
uint64_t mlxn_view_bytes(const mlxn_view *view);           /* of the elements, or of a whole weight; 0 if absent */
uint32_t mlxn_view_u32(const mlxn_view *view, uint64_t i); /* element i of a [n] u32 view */

/* For checks. `why` ends the message: "w: dim[0] is 512, want 576 (last dim of x)". */
mlxn_status mlxn_want_dim(mlxn_error *error, const char *arg, uint32_t axis, uint64_t got, uint64_t want,
                          const char *why);
mlxn_status mlxn_refuse_dims(mlxn_error *error, const char *arg, const mlxn_view *view, const char *like_name,
                             const mlxn_view *like);
static inline mlxn_status mlxn_want_same_dims(mlxn_error *error, const char *arg, const mlxn_view *view,
                                              const char *like_name, const mlxn_view *like) {
    return mlxn_view_same_dims(view, like) ? MLXN_OK : mlxn_refuse_dims(error, arg, view, like_name, like);
}
mlxn_status mlxn_refuse_stack(mlxn_error *error, const char *arg, const mlxn_view *view);
static inline mlxn_status mlxn_want_one_matrix(mlxn_error *error, const char *arg, const mlxn_view *view) {
    return mlxn_weight_view_experts(view->weight) == 1 ? MLXN_OK : mlxn_refuse_stack(error, arg, view);
}
mlxn_status mlxn_refuse_dtype(mlxn_error *error, const char *arg, const mlxn_view *view, const char *like_name,
                              const mlxn_view *like);
static inline mlxn_status mlxn_want_same_dtype(mlxn_error *error, const char *arg, const mlxn_view *view,
                                               const char *like_name, const mlxn_view *like) {
    return view->dtype == like->dtype ? MLXN_OK : mlxn_refuse_dtype(error, arg, view, like_name, like);
}

/* Dims and dtype of another argument. */
static inline mlxn_status mlxn_want_like(mlxn_error *error, const char *arg, const mlxn_view *view,
                                         const char *like_name, const mlxn_view *like) {
    mlxn_status status = mlxn_want_same_dims(error, arg, view, like_name, like);
    return status ? status : mlxn_want_same_dtype(error, arg, view, like_name, like);
}

enum {
    MLXN_FLOATS = 1u << MLXN_F32 | 1u << MLXN_F16 | 1u << MLXN_BF16,
    MLXN_ANY_DTYPE = (1u << MLXN_DTYPE_COUNT) - 1
};

#endif
