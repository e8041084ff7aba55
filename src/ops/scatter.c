/* scatter.c: elements by index: scatter and scatter_add into rows of a tensor, gather_nibble from a table by the
 * four-bit codes of a packed row, add_id. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_scatter(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[0], *index = &args[1], *out = &args[2];
    mlxn_status status = mlxn_want_dim(error, "index", 0, index->dims[0], x->dims[0], "rows of x");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], x->dims[1], "last dim of x");
    if (!status) status = mlxn_want_same_dtype(error, "out", out, "x", x);
    if (!status && x->dims[0] > UINT32_MAX)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[0] is %llu, want at most %u",
                           (unsigned long long)x->dims[0], UINT32_MAX);
    return status;
}

static mlxn_status ref_scatter(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *x = &args[0], *out = &args[2];
    for (uint64_t i = 0; i < x->dims[0]; i++) {
        uint64_t row = mlxn_view_u32(&args[1], i);
        for (uint64_t k = 0; row < out->dims[0] && k < x->dims[1]; k++)
            mlxn_view_copy(out, (const uint64_t[]){row, k}, x, (const uint64_t[]){i, k});
    }
    return MLXN_OK;
}

/* One element of the result: what was there and all that is added, and the sum of magnitudes. */
static double scatter_sum(const mlxn_view *args, uint64_t row, uint64_t k, double *size, uint64_t *terms) {
    double sum = mlxn_view_get(&args[2], (const uint64_t[]){row, k});
    *size = fabs(sum);
    *terms = 0;
    for (uint64_t i = 0; i < args[0].dims[0]; i++) {
        if (mlxn_view_u32(&args[1], i) != row) continue;
        double v = mlxn_view_get(&args[0], (const uint64_t[]){i, k});
        sum += v;
        *size += fabs(v);
        ++*terms;
    }
    return sum;
}

static mlxn_status ref_scatter_add(const mlxn_view *args, const void *params) {
    (void)params;
    double size;
    uint64_t terms;
    for (uint64_t r = 0; r < args[2].dims[0]; r++)
        for (uint64_t k = 0; k < args[2].dims[1]; k++) {
            double sum = scatter_sum(args, r, k, &size, &terms);
            if (terms) mlxn_view_set(&args[2], (const uint64_t[]){r, k}, sum);
        }
    return MLXN_OK;
}

/* One f32 rounding per term. What stood in out is not known here any more: it is at most the result and the terms. */
static mlxn_status bound_scatter_add(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                     double *out) {
    (void)params, (void)fast;
    uint64_t d = args[arg].dims[1], terms;
    for (uint64_t r = 0; r < args[arg].dims[0]; r++)
        for (uint64_t k = 0; k < d; k++) {
            double size, ref = mlxn_view_get(&args[arg], (const uint64_t[]){r, k});
            scatter_sum(args, r, k, &size, &terms);
            out[r * d + k] = terms ? 2 * MLXN_EPS * (double)(terms + 1) * (fabs(ref) + 2 * size) : 0;
            if (terms && args[arg].dtype != MLXN_F32) out[r * d + k] += mlxn_bound_unit(args[arg].dtype, ref);
        }
    return MLXN_OK;
}

static mlxn_status check_nibble(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *packed = &args[0], *table = &args[1], *out = &args[2];
    mlxn_status status = mlxn_want_dim(error, "table", 0, table->dims[0], 16, "codes of four bits");
    if (!status) status = mlxn_want_dim(error, "table", 1, table->dims[1], 2 * packed->dims[1], "codes of a row");
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], packed->dims[0], "rows of packed");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], 2 * packed->dims[1], "codes of a row");
    return status;
}

static mlxn_status ref_nibble(const mlxn_view *args, const void *params) {
    (void)params;
    for (uint64_t r = 0; r < args[2].dims[0]; r++)
        for (uint64_t c = 0; c < args[2].dims[1]; c++) {
            unsigned byte = (unsigned)mlxn_view_get(&args[0], (const uint64_t[]){r, c / 2});
            uint64_t code = c % 2 ? byte >> 4 : byte & 15;
            mlxn_view_set(&args[2], (const uint64_t[]){r, c}, mlxn_view_get(&args[1], (const uint64_t[]){code, c}));
        }
    return MLXN_OK;
}

static mlxn_status check_add_id(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[0], *bias = &args[1], *ids = &args[2];
    mlxn_status status = mlxn_want_dim(error, "bias", 1, bias->dims[1], x->dims[2], "last dim of x");
    if (!status) status = mlxn_want_same_dtype(error, "bias", bias, "x", x);
    for (uint32_t i = 0; i < 2 && !status; i++)
        status = mlxn_want_dim(error, "ids", i, ids->dims[i], x->dims[i], "as x");
    return status ? status : mlxn_want_like(error, "out", &args[3], "x", x);
}

static mlxn_status ref_add_id(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = mlxn_view_elements(&args[3]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[3], i, at);
        uint64_t id = mlxn_min_u64((uint64_t)mlxn_view_get(&args[2], at), args[1].dims[0] - 1);
        double bias = mlxn_view_get(&args[1], (const uint64_t[]){id, at[2]});
        mlxn_view_set(&args[3], at, mlxn_view_get(&args[0], at) + bias);
    }
    return MLXN_OK;
}

static mlxn_cost cost_moved(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){3 * (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       (double)mlxn_view_elements(&args[0])};
}

static mlxn_cost cost_out(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[1]) + 2 * (double)mlxn_view_bytes(&args[2]), 0};
}

static bool case_scatter(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t rows, n, d;
    } shapes[] = {{1, 1, 1}, {7, 19, 33}, {100, 5, 64}, {3, 200, 17}, {2000, 64, 40}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), 2, (const uint64_t[]){shapes[s].n, shapes[s].d});
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_GAPS : kind == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1] = mlxn_case_tensor(MLXN_U32, 1, (const uint64_t[]){shapes[s].n});
    out->args[1].fill = MLXN_FILL_INDEX;
    out->args[1].hi = (double)shapes[s].rows + 1; /* two past the end */
    out->args[1].layout = kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2] = mlxn_case_tensor(mlxn_case_float(dtype), 2, (const uint64_t[]){shapes[s].rows, shapes[s].d});
    out->args[2].layout = kind == 1 ? MLXN_LAYOUT_INNER : kind == 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2].shift = kind;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 2);
    return true;
}

static bool case_nibble(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][2] = {{1, 1}, {5, 32}, {3, 64}, {40, 17}};
    *out = (mlxn_case){0};
    uint32_t s = mlxn_case_digit(&i, 4), kind = mlxn_case_digit(&i, 2);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(MLXN_U8, 2, dims[s]);
    out->args[0].fill = MLXN_FILL_BYTES;
    out->args[0].layout = kind ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1] = mlxn_case_tensor(MLXN_F32, 2, (const uint64_t[]){16, 2 * dims[s][1]});
    out->args[1].layout = kind ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2] = mlxn_case_tensor(MLXN_F32, 2, (const uint64_t[]){dims[s][0], 2 * dims[s][1]});
    out->args[2].layout = kind ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_case_name_arg(out, "packed", 0);
    return true;
}

static bool case_add_id(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][4] = {{1, 1, 1, 1}, {5, 2, 33, 3}, {3, 8, 64, 32}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 3), kind = mlxn_case_digit(&i, 2);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), 3, dims[s]);
    out->args[0].layout = kind ? MLXN_LAYOUT_OUTER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1] = mlxn_case_tensor(mlxn_case_float(dtype), 2, (const uint64_t[]){dims[s][3], dims[s][2]});
    out->args[1].layout = kind ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2] = mlxn_case_tensor(MLXN_U32, 2, dims[s]);
    out->args[2].fill = MLXN_FILL_INDEX;
    out->args[2].hi = (double)dims[s][3];
    out->args[3] = mlxn_case_tensor(mlxn_case_float(dtype), 3, dims[s]);
    out->args[3].layout = kind ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_case_name_arg(out, "x", 0);
    return true;
}

/* A sum of two binary32 numbers that is rounded once more to a half type. */
static mlxn_status bound_add_id(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        bool half = args[arg].dtype != MLXN_F32;
        out[i] = half ? mlxn_bound_unit(args[arg].dtype, mlxn_view_get(&args[arg], at)) : 0;
    }
    return MLXN_OK;
}

#define SCATTER_ARGS                                                       \
    {                                                                      \
        {"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},              \
            {"index", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1}, { \
            "out", MLXN_ROLE_INOUT, false, false, MLXN_FLOATS, 2, 2        \
        }                                                                  \
    }

const mlxn_op_def mlxn_opdef_scatter = {
    .name = "scatter",
    .family = "scatter",
    .doc =
        "out[index[i], :] = x[i, :]; of equal indices the last one counts, rows beyond the end of out are left out. "
        "x: [n, D]; index: [n] u32; out: [rows, D], dtype of x (f32, f16, bf16); other rows stay as they are.",
    .n_args = 3,
    .args = SCATTER_ARGS,
    .check = check_scatter,
    .ref = ref_scatter,
    .cost = cost_moved,
    .make_case = case_scatter,
};

const mlxn_op_def mlxn_opdef_scatter_add = {
    .name = "scatter_add",
    .family = "scatter",
    .doc =
        "out[index[i], :] += x[i, :] for all i, in rising order, in f32, rounded once; rules of scatter. The "
        "gradient "
        "of gather and embedding.",
    .n_args = 3,
    .args = SCATTER_ARGS,
    .check = check_scatter,
    .ref = ref_scatter_add,
    .bound = bound_scatter_add,
    .cost = cost_moved,
    .make_case = case_scatter,
};

const mlxn_op_def mlxn_opdef_gather_nibble = {
    .name = "gather_nibble",
    .family = "scatter",
    .doc =
        "out[p, c] = table[code, c], code the c-th four bits of row p, the low ones of a byte first. packed: "
        "[P, D/2] u8; table: [16, D] f32; out: [P, D] f32.",
    .n_args = 3,
    .args = {{"packed", MLXN_ROLE_IN, false, false, 1u << MLXN_U8, 2, 2},
             {"table", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2}},
    .check = check_nibble,
    .ref = ref_nibble,
    .cost = cost_out,
    .make_case = case_nibble,
};

const mlxn_op_def mlxn_opdef_add_id = {
    .name = "add_id",
    .family = "scatter",
    .doc =
        "out[t, j, :] = x[t, j, :] + bias[min(ids[t, j], E - 1), :]. x, out: [T, K, D]; bias: [E, D], one dtype "
        "(f32, "
        "f16, bf16); ids: [T, K] u32. out may be x.",
    .n_args = 4,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"bias", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"ids", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .check = check_add_id,
    .ref = ref_add_id,
    .bound = bound_add_id,
    .cost = cost_moved,
    .make_case = case_add_id,
    .inplace = 1u << 0,
};
