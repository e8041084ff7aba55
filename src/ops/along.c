/* along.c: elements of a row by their place in it: take_along reads them, put_along writes them, put_along_add adds
 * to them. Another axis is the last one of a view. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_take_along(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_dim(error, "index", 0, args[1].dims[0], args[0].dims[0], "rows of x");
    if (!status) status = mlxn_want_same_dims(error, "out", &args[2], "index", &args[1]);
    return status ? status : mlxn_want_same_dtype(error, "out", &args[2], "x", &args[0]);
}

static mlxn_status ref_take_along(const mlxn_view *args, const void *params) {
    (void)params;
    for (uint64_t r = 0; r < args[2].dims[0]; r++)
        for (uint64_t j = 0; j < args[2].dims[1]; j++) {
            const uint64_t at[] = {r, j};
            uint64_t k = (uint64_t)mlxn_view_get(&args[1], at);
            mlxn_view_copy(&args[2], at, &args[0], (const uint64_t[]){r, mlxn_min_u64(k, args[0].dims[1] - 1)});
        }
    return MLXN_OK;
}

static mlxn_cost cost_take_along(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[1]) + 2 * (double)mlxn_view_bytes(&args[2]), 0};
}

static bool case_take_along(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][3] = {{1, 1, 1}, {5, 33, 7}, {3, 64, 100}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT), s = mlxn_case_digit(&i, 3), kind = mlxn_case_digit(&i, 2);
    if (i) return false;
    out->args[0] = mlxn_case_tensor((mlxn_dtype)dtype, 2, dims[s]);
    out->args[0].fill = MLXN_FILL_BYTES;
    out->args[0].layout = kind ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1] = mlxn_case_tensor(MLXN_U32, 2, (const uint64_t[]){dims[s][0], dims[s][2]});
    out->args[1].fill = MLXN_FILL_INDEX;
    out->args[1].hi = (double)dims[s][1];
    out->args[2] = mlxn_case_tensor((mlxn_dtype)dtype, 2, out->args[1].dims);
    out->args[2].layout = kind ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_case_name_arg(out, "x", 0);
    return true;
}

const mlxn_op_def mlxn_opdef_take_along = {
    .name = "take_along",
    .family = "along",
    .doc = "out[r, j] = x[r, min(index[r, j], N - 1)]. x: [R, N], any dtype; index: [R, M] u32; out: [R, M].",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 2, 2},
             {"index", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_ANY_DTYPE, 2, 2}},
    .check = check_take_along,
    .ref = ref_take_along,
    .cost = cost_take_along,
    .make_case = case_take_along,
};

/* --- put_along, put_along_add --- */

static mlxn_status check_put_along(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[0], *index = &args[1], *out = &args[2];
    mlxn_status status = mlxn_want_same_dims(error, "index", index, "x", x);
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], x->dims[0], "rows of x");
    return status ? status : mlxn_want_same_dtype(error, "out", out, "x", x);
}

static mlxn_status ref_put_along(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *x = &args[0], *out = &args[2];
    for (uint64_t r = 0; r < x->dims[0]; r++)
        for (uint64_t j = 0; j < x->dims[1]; j++) {
            const uint64_t own[] = {r, j}, at[] = {r, (uint64_t)mlxn_view_get(&args[1], own)};
            if (at[1] < out->dims[1]) mlxn_view_copy(out, at, x, own);
        }
    return MLXN_OK;
}

/* The operation or, where `bounds` is given, its bound: args[2] is as it was before. */
static mlxn_status put_along_add(const mlxn_view *args, double *bounds) {
    const mlxn_view *x = &args[0], *out = &args[2];
    uint64_t n = out->dims[1];
    double *sums = mlxn_alloc_array(3 * n, sizeof *sums), *sizes = sums ? sums + n : NULL;
    if (!sums) return MLXN_ERR_MEMORY;
    double *terms = sizes + n;
    for (uint64_t r = 0; r < out->dims[0]; r++) {
        for (uint64_t k = 0; k < n; k++) {
            sums[k] = mlxn_view_get(out, (const uint64_t[]){r, k});
            sizes[k] = fabs(sums[k]);
            terms[k] = 0;
        }
        for (uint64_t j = 0; j < x->dims[1]; j++) {
            uint64_t k = (uint64_t)mlxn_view_get(&args[1], (const uint64_t[]){r, j});
            if (k >= n) continue;
            double v = mlxn_view_get(x, (const uint64_t[]){r, j});
            sums[k] += v;
            sizes[k] += fabs(v);
            terms[k]++;
        }
        for (uint64_t k = 0; k < n; k++) {
            if (bounds) {
                /* one binary32 rounding per term, and one of the result to a half type */
                bounds[r * n + k] = terms[k] > 0 ? MLXN_EPS * (terms[k] + 1) * sizes[k] : 0;
                if (terms[k] > 0 && out->dtype != MLXN_F32) bounds[r * n + k] += mlxn_bound_unit(out->dtype, sums[k]);
            } else if (terms[k] > 0) {
                mlxn_view_set(out, (const uint64_t[]){r, k}, sums[k]);
            }
        }
    }
    mlxn_free(sums);
    return MLXN_OK;
}

static mlxn_status ref_put_along_add(const mlxn_view *args, const void *params) {
    (void)params;
    return put_along_add(args, NULL);
}
static mlxn_status bound_put_along_add(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                       double *out) {
    (void)params, (void)fast, (void)arg;
    return put_along_add(args, out);
}

static mlxn_cost cost_put_along(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){3 * (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       (double)mlxn_view_elements(&args[0])};
}

/* Rows, elements of x and of out in a row: with repeated places, and with some past the end. */
static bool case_put(uint32_t i, mlxn_dtype (*dtype_of)(uint32_t), uint32_t dtypes, mlxn_case *out) {
    static const uint64_t dims[][3] = {{1, 1, 1}, {5, 33, 7}, {3, 64, 100}, {40, 17, 300}, {2, 3000, 1500}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, dtypes), s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(dtype_of(dtype), 2, dims[s]);
    if (dtypes == MLXN_DTYPE_COUNT) out->args[0].fill = MLXN_FILL_BYTES;
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_INNER : kind == 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1] = mlxn_case_tensor(MLXN_U32, 2, dims[s]);
    out->args[1].fill = MLXN_FILL_INDEX;
    out->args[1].hi = (double)dims[s][2] + 1; /* two past the end */
    out->args[1].layout = kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2] = mlxn_case_tensor(dtype_of(dtype), 2, (const uint64_t[]){dims[s][0], dims[s][2]});
    out->args[2].layout = kind == 1 ? MLXN_LAYOUT_TRANSPOSED : kind == 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2].shift = kind;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 2);
    return true;
}
static mlxn_dtype any_dtype(uint32_t i) { return (mlxn_dtype)i; }
static bool case_put_along(uint32_t i, mlxn_case *out) { return case_put(i, any_dtype, MLXN_DTYPE_COUNT, out); }
static bool case_put_along_add(uint32_t i, mlxn_case *out) { return case_put(i, mlxn_case_float, 3, out); }

const mlxn_op_def mlxn_opdef_put_along = {
    .name = "put_along",
    .family = "along",
    .doc =
        "out[r, index[r, j]] = x[r, j]; of equal indices the last one counts, those past the end of a row are left "
        "out. x: [R, M], any dtype; index: [R, M] u32; out: [R, N], dtype of x; its other elements stay as they are.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 2, 2},
             {"index", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 2, 2},
             {"out", MLXN_ROLE_INOUT, false, false, MLXN_ANY_DTYPE, 2, 2}},
    .check = check_put_along,
    .ref = ref_put_along,
    .cost = cost_put_along,
    .make_case = case_put_along,
};

const mlxn_op_def mlxn_opdef_put_along_add = {
    .name = "put_along_add",
    .family = "along",
    .doc =
        "out[r, index[r, j]] += x[r, j] for all j, in rising order, in f32, rounded once; rules of put_along, f32, "
        "f16, bf16. The gradient of take_along.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"index", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 2, 2},
             {"out", MLXN_ROLE_INOUT, false, false, MLXN_FLOATS, 2, 2}},
    .check = check_put_along,
    .ref = ref_put_along_add,
    .bound = bound_put_along_add,
    .bound_before = true,
    .cost = cost_put_along,
    .make_case = case_put_along_add,
};
