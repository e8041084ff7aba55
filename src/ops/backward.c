/* backward.c: gradients of rms_norm, and qdq, which shows what a format leaves of a tensor. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static double at2(const mlxn_view *v, uint64_t r, uint64_t i) { return mlxn_view_get(v, (const uint64_t[]){r, i}); }

static mlxn_status check_dx(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[0], *w = &args[1];
    mlxn_status status = MLXN_OK;
    if (w->present) status = mlxn_want_dim(error, "w", 0, w->dims[0], x->dims[1], "last dim of x");
    if (!status) status = mlxn_want_like(error, "dy", &args[2], "x", x);
    if (!status) status = mlxn_want_dim(error, "r", 0, args[3].dims[0], x->dims[0], "rows of x");
    return status ? status : mlxn_want_like(error, "dx", &args[4], "x", x);
}

static double dx_sum(const mlxn_view *args, uint64_t row, double *size) {
    double sum = 0;
    *size = 0;
    for (uint64_t i = 0; i < args[0].dims[1]; i++) {
        double w = args[1].present ? mlxn_view_get(&args[1], &i) : 1;
        double t = at2(&args[2], row, i) * w * at2(&args[0], row, i);
        sum += t;
        *size += fabs(t);
    }
    return sum;
}

static mlxn_status ref_dx(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t d = args[0].dims[1];
    for (uint64_t row = 0; row < args[0].dims[0]; row++) {
        double size, s = dx_sum(args, row, &size), r = mlxn_view_get(&args[3], &row);
        for (uint64_t i = 0; i < d; i++) {
            double w = args[1].present ? mlxn_view_get(&args[1], &i) : 1;
            double v = r * (at2(&args[2], row, i) * w - at2(&args[0], row, i) * s * r * r / (double)d);
            mlxn_view_set(&args[4], (const uint64_t[]){row, i}, v);
        }
    }
    return MLXN_OK;
}

/* The sum as its terms are large, the rest by a rounding per step. */
static mlxn_status bound_dx(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    uint64_t d = args[0].dims[1];
    for (uint64_t row = 0; row < args[0].dims[0]; row++) {
        double size, r = fabs(mlxn_view_get(&args[3], &row));
        dx_sum(args, row, &size);
        for (uint64_t i = 0; i < d; i++) {
            double w = args[1].present ? fabs(mlxn_view_get(&args[1], &i)) : 1;
            double part = fabs(at2(&args[0], row, i)) * size * r * r / (double)d;
            out[row * d + i] =
                MLXN_EPS * r * ((mlxn_bound_sum(d) + 8) * part + 4 * fabs(at2(&args[2], row, i)) * w) + 1e-37;
            if (args[arg].dtype != MLXN_F32)
                out[row * d + i] += mlxn_bound_unit(args[arg].dtype, at2(&args[arg], row, i));
        }
    }
    return MLXN_OK;
}

static mlxn_status check_dw(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[0];
    mlxn_status status = mlxn_want_like(error, "dy", &args[1], "x", x);
    if (!status) status = mlxn_want_dim(error, "r", 0, args[2].dims[0], x->dims[0], "rows of x");
    return status ? status : mlxn_want_dim(error, "dw", 0, args[3].dims[0], x->dims[1], "last dim of x");
}

static double dw_sum(const mlxn_view *args, uint64_t i, double *size) {
    double sum = 0;
    *size = 0;
    for (uint64_t row = 0; row < args[0].dims[0]; row++) {
        double t = at2(&args[1], row, i) * at2(&args[0], row, i) * mlxn_view_get(&args[2], &row);
        sum += t;
        *size += fabs(t);
    }
    return sum;
}

static mlxn_status ref_dw(const mlxn_view *args, const void *params) {
    (void)params;
    double size;
    for (uint64_t i = 0; i < args[3].dims[0]; i++) mlxn_view_set(&args[3], &i, dw_sum(args, i, &size));
    return MLXN_OK;
}

static mlxn_status bound_dw(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast, (void)arg;
    double size;
    for (uint64_t i = 0; i < args[3].dims[0]; i++) {
        dw_sum(args, i, &size);
        out[i] = MLXN_EPS * (mlxn_bound_sum(args[0].dims[0]) + 32) * size + 1e-37;
    }
    return MLXN_OK;
}

static mlxn_cost cost_rows(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){3 * (double)mlxn_view_bytes(&args[0]), 8 * (double)mlxn_view_elements(&args[0])};
}

static const uint64_t norm_dims[][2] = {{1, 1}, {5, 33}, {3, 576}, {130, 17}, {7, 1100}, {300, 64}};
enum { N_NORM_DIMS = sizeof norm_dims / sizeof norm_dims[0] };

static mlxn_case_arg norm_arg(uint32_t dtype, uint32_t s, uint32_t kind) {
    mlxn_case_arg a = mlxn_case_tensor(mlxn_case_float(dtype), 2, norm_dims[s]);
    a.layout = kind == 1 ? MLXN_LAYOUT_GAPS : kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    a.shift = kind;
    return a;
}
static mlxn_case_arg norm_inverse(uint32_t s) {
    mlxn_case_arg a = mlxn_case_tensor(MLXN_F32, 1, norm_dims[s]);
    a.fill = MLXN_FILL_UNIFORM;
    a.lo = 0.2;
    a.hi = 3;
    return a;
}

static bool case_dx(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_NORM_DIMS), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[0] = out->args[2] = norm_arg(dtype, s, kind);
    if (kind != 1) out->args[1] = mlxn_case_tensor(MLXN_F32, 1, norm_dims[s] + 1);
    out->args[1].layout = kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[3] = norm_inverse(s);
    out->args[4] = norm_arg(dtype, s, (kind + 1) % 3);
    mlxn_case_name_arg(out, "x", 0);
    return true;
}

static bool case_dw(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_NORM_DIMS), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[0] = norm_arg(dtype, s, kind);
    out->args[1] = norm_arg(dtype, s, (kind + 1) % 3);
    out->args[2] = norm_inverse(s);
    out->args[3] = mlxn_case_tensor(MLXN_F32, 1, norm_dims[s] + 1);
    out->args[3].layout = kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_case_name_arg(out, "x", 0);
    return true;
}

static mlxn_status check_qdq(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_format format = (mlxn_format)((const mlxn_qdq_params *)params)->format;
    const mlxn_view *x = &args[0];
    uint64_t cols = x->dims[x->rank - 1], bytes;
    mlxn_format_info info;
    mlxn_status status = mlxn_want_like(error, "out", &args[1], "x", x);
    if (status) return status;
    if (!mlxn_format_get_info(format, &info))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: format is %u, which is unknown", (unsigned)format);
    if (cols % info.block_values || mlxn_format_row_bytes(format, cols, &bytes, NULL))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[%u] is %llu, want a multiple of %u (a block of %s)",
                         x->rank - 1, (unsigned long long)cols, info.block_values, info.name);
    return MLXN_OK;
}

/* A block, or NaN where the format cannot hold it. */
static mlxn_status qdq_block(mlxn_format format, float *x, uint64_t n, uint8_t *packed) {
    mlxn_status status = mlxn_quantize_row(format, x, n, packed, NULL);
    if (!status) return mlxn_dequantize_row(format, packed, n, x, NULL);
    if (status != MLXN_ERR_ARGUMENT) return status;
    for (uint64_t i = 0; i < n; i++) x[i] = NAN;
    return MLXN_OK;
}

/* A format without an encoder is found out here, by the first row. */
static mlxn_status ref_qdq(const mlxn_view *args, const void *params) {
    mlxn_format format = (mlxn_format)((const mlxn_qdq_params *)params)->format;
    uint64_t n = args[0].dims[args[0].rank - 1], rows = mlxn_view_elements(&args[0]) / n, at[MLXN_MAX_RANK];
    mlxn_format_info info;
    if (!mlxn_format_get_info(format, &info)) return MLXN_ERR_ARGUMENT;
    float *row = mlxn_alloc_array(n, sizeof *row);
    uint8_t *packed = mlxn_alloc(info.block_bytes);
    mlxn_status status = row && packed ? MLXN_OK : MLXN_ERR_MEMORY;
    for (uint64_t r = 0; r < rows && !status; r++) {
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[0], r * n + i, at);
            row[i] = (float)mlxn_view_get(&args[0], at);
        }
        for (uint64_t i = 0; i < n && !status; i += info.block_values)
            status = qdq_block(format, row + i, info.block_values, packed);
        for (uint64_t i = 0; i < n && !status; i++) {
            mlxn_view_unravel(&args[1], r * n + i, at);
            mlxn_view_set(&args[1], at, (double)row[i]);
        }
    }
    mlxn_free(row);
    mlxn_free(packed);
    return status;
}

static mlxn_cost cost_qdq(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[0]), 6 * (double)mlxn_view_elements(&args[0])};
}

/* Blocks of zeros, and two equal magnitudes of opposite sign, the first of which decides the sign of the scale. */
static void awkward_blocks(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = args[0].dims[args[0].rank - 1], at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n && i < 64; i++) {
        mlxn_view_unravel(&args[0], i, at);
        mlxn_view_set(&args[0], at, i < 32 ? 0 : i == 40 ? -3.5 : i == 50 ? 3.5 : mlxn_view_get(&args[0], at) / 8);
    }
}

static bool case_qdq(uint32_t i, mlxn_case *out) {
    static const mlxn_format formats[] = {
        MLXN_FORMAT_Q4_0,  MLXN_FORMAT_Q8_0,   MLXN_FORMAT_Q4_1,  MLXN_FORMAT_Q5_0,  MLXN_FORMAT_Q5_1,
        MLXN_FORMAT_BF16,  MLXN_FORMAT_Q2_K,   MLXN_FORMAT_Q3_K,  MLXN_FORMAT_Q4_K,  MLXN_FORMAT_Q5_K,
        MLXN_FORMAT_Q6_K,  MLXN_FORMAT_IQ4_NL, MLXN_FORMAT_MXFP4, MLXN_FORMAT_NVFP4, MLXN_FORMAT_IQ4_XS,
        MLXN_FORMAT_TQ1_0, MLXN_FORMAT_TQ2_0,  MLXN_FORMAT_Q1_0,  MLXN_FORMAT_Q2_0,  MLXN_FORMAT_Q8_1,
        MLXN_FORMAT_Q8_K};
    enum { N_FORMATS = sizeof formats / sizeof *formats };
    static const uint64_t dims[][2] = {{1, 32}, {5, 64}, {3, 1536}, {2, 4096}};
    *out = (mlxn_case){0};
    uint32_t f = mlxn_case_digit(&i, N_FORMATS), s = mlxn_case_digit(&i, 4), kind = mlxn_case_digit(&i, 4);
    if (i) return false;
    mlxn_format_info info;
    uint64_t most = mlxn_format_get_info(formats[f], &info) ? info.block_values : 1;
    uint64_t d[] = {dims[s][0], dims[s][1] < most ? most : dims[s][1]};
    for (uint32_t k = 0; k < 2; k++) out->args[k] = mlxn_case_tensor(MLXN_F32, 2, d);
    out->args[0].hi = kind == 1 ? 1e-6 : 2;
    if (kind == 3) out->args[0].fill = MLXN_FILL_SPECIAL;
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_INNER : kind == 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].layout = kind == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->prepare = awkward_blocks;
    out->slow = most > 32 && s == 3;
    mlxn_qdq_params p = {(uint32_t)formats[f]};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, " %s", mlxn_format_name(formats[f]));
    return true;
}

const mlxn_op_def mlxn_opdef_rms_norm_backward_dx = {
    .name = "rms_norm_backward_dx",
    .family = "backward",
    .doc =
        "dx = r (dy w - x s r^2 / D), s = sum(dy w x) over the row and r = 1 / sqrt(mean(x^2) + eps), of reduce with "
        "RMS_INV. x, dy, dx: [R, D], one dtype (f32, f16, bf16); w: optional [D] f32; r: [R] f32. dx may be x or dy.",
    .n_args = 5,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"w", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"dy", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"r", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 1},
             {"dx", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, 2}},
    .check = check_dx,
    .ref = ref_dx,
    .bound = bound_dx,
    .cost = cost_rows,
    .make_case = case_dx,
    .inplace = 1u << 0 | 1u << 2,
};

const mlxn_op_def mlxn_opdef_rms_norm_backward_dw = {
    .name = "rms_norm_backward_dw",
    .family = "backward",
    .doc =
        "dw[i] = sum over the rows of dy[r, i] x[r, i] r[r]. x, dy: [R, D], one dtype (f32, f16, bf16); r: [R] f32, "
        "as "
        "in rms_norm_backward_dx; dw: [D] f32.",
    .n_args = 4,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"dy", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"r", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 1},
             {"dw", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 1, 1}},
    .check = check_dw,
    .ref = ref_dw,
    .bound = bound_dw,
    .cost = cost_rows,
    .make_case = case_dw,
};

const mlxn_op_def mlxn_opdef_qdq = {
    .name = "qdq",
    .family = "backward",
    .doc =
        "out = x encoded in a format and decoded again, row by row, bit for bit as mlxn_quantize_row and "
        "mlxn_dequantize_row; a block with a value that the format cannot hold becomes NaN. x, out: f32, the last "
        "dim a multiple of the block. UNSUPPORTED at execution for "
        "formats "
        "without an encoder. out may be x.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_qdq_params),
    .params_type = "mlxn_qdq_params",
    .check = check_qdq,
    .ref = ref_qdq,
    .cost = cost_qdq,
    .make_case = case_qdq,
    .inplace = 1u << 0,
};
