/* backward_layers.c: gradients of layer norm and of the causal convolution along time, each channel by itself. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static double at2(const mlxn_view *v, uint64_t r, uint64_t i) { return mlxn_view_get(v, (const uint64_t[]){r, i}); }
static double at3(const mlxn_view *v, uint64_t b, uint64_t t, uint64_t c) {
    return mlxn_view_get(v, (const uint64_t[]){b, t, c});
}

/* --- layer_norm_backward --- */

enum { LX, LW, LDY, LDW, LDB, LDX };

static mlxn_status check_norm(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_view *x = &args[LX];
    double eps = (double)((const mlxn_rms_norm_params *)params)->eps;
    mlxn_status status = mlxn_want_like(error, "dy", &args[LDY], "x", x);
    if (!status && args[LW].present)
        status = mlxn_want_dim(error, "w", 0, args[LW].dims[0], x->dims[1], "last dim of x");
    if (!status && args[LDW].present)
        status = mlxn_want_dim(error, "dw", 0, args[LDW].dims[0], x->dims[1], "last dim of x");
    if (!status && args[LDB].present)
        status = mlxn_want_dim(error, "db", 0, args[LDB].dims[0], x->dims[1], "last dim of x");
    if (!status) status = mlxn_want_like(error, "dx", &args[LDX], "x", x);
    if (!status && !(eps > 0))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: eps is %g, want a number above 0", eps);
    return status;
}

typedef struct moments {
    double mean, inverse, sum, product, size, product_size; /* of g = dy w, g n; n = (x - mean) inverse; magnitudes */
} moments;

static moments row_moments(const mlxn_view *args, const void *params, uint64_t r) {
    uint64_t d = args[LX].dims[1];
    moments m = {0};
    double square = 0;
    for (uint64_t i = 0; i < d; i++) m.mean += at2(&args[LX], r, i) / (double)d;
    for (uint64_t i = 0; i < d; i++) {
        double off = at2(&args[LX], r, i) - m.mean;
        square += off * off / (double)d;
    }
    m.inverse = 1 / sqrt(square + (double)((const mlxn_rms_norm_params *)params)->eps);
    for (uint64_t i = 0; i < d; i++) {
        double g = at2(&args[LDY], r, i) * (args[LW].present ? mlxn_view_get(&args[LW], &i) : 1);
        double n = (at2(&args[LX], r, i) - m.mean) * m.inverse;
        m.sum += g / (double)d;
        m.product += g * n / (double)d;
        m.size += fabs(g) / (double)d;
        m.product_size += fabs(g * n) / (double)d;
    }
    return m;
}

static mlxn_status ref_norm(const mlxn_view *args, const void *params) {
    uint64_t rows = args[LX].dims[0], d = args[LX].dims[1];
    double *sums = mlxn_alloc_array(2 * d, sizeof *sums);
    if (!sums) return MLXN_ERR_MEMORY;
    for (uint64_t r = 0; r < rows; r++) {
        moments m = row_moments(args, params, r);
        for (uint64_t i = 0; i < d; i++) {
            double dy = at2(&args[LDY], r, i), n = (at2(&args[LX], r, i) - m.mean) * m.inverse;
            double g = dy * (args[LW].present ? mlxn_view_get(&args[LW], &i) : 1);
            sums[i] += dy * n;
            sums[d + i] += dy;
            mlxn_view_set(&args[LDX], (const uint64_t[]){r, i}, m.inverse * (g - m.sum - n * m.product));
        }
    }
    for (uint64_t i = 0; i < d; i++) {
        if (args[LDW].present) mlxn_view_set(&args[LDW], &i, sums[i]);
        if (args[LDB].present) mlxn_view_set(&args[LDB], &i, sums[d + i]);
    }
    mlxn_free(sums);
    return MLXN_OK;
}

/* Kernels keep the moments in double and compute each element in f32: a few units of the terms. */
static mlxn_status bound_norm(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    uint64_t rows = args[LX].dims[0], d = args[LX].dims[1];
    if (arg != LDX) memset(out, 0, d * sizeof *out);
    for (uint64_t r = 0; r < rows; r++) {
        moments m = row_moments(args, params, r);
        for (uint64_t i = 0; i < d; i++) {
            double dy = fabs(at2(&args[LDY], r, i)), w = args[LW].present ? fabs(mlxn_view_get(&args[LW], &i)) : 1;
            double n = (fabs(at2(&args[LX], r, i)) + fabs(m.mean)) * m.inverse;
            double terms = m.inverse * (dy * w + m.size + n * m.product_size) + m.inverse * n * m.size;
            if (arg == LDX) {
                out[r * d + i] = 8 * MLXN_EPS * terms + 1e-37;
                if (args[arg].dtype != MLXN_F32)
                    out[r * d + i] += mlxn_bound_unit(args[arg].dtype, at2(&args[arg], r, i));
            } else {
                out[i] += 8 * MLXN_EPS * (arg == LDW ? dy * n : dy) + 1e-37;
            }
        }
    }
    return MLXN_OK;
}

static mlxn_cost cost_rows(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){4 * (double)mlxn_view_bytes(&args[0]), 16 * (double)mlxn_view_elements(&args[0])};
}

static bool case_norm(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][2] = {{1, 2}, {5, 33}, {3, 576}, {70, 17}, {4, 1100}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    mlxn_case_arg full = mlxn_case_tensor(mlxn_case_float(dtype), 2, dims[s]);
    mlxn_case_arg line = mlxn_case_tensor(MLXN_F32, 1, dims[s] + 1);
    out->args[LX] = out->args[LDY] = out->args[LDX] = full;
    out->args[LX].lo = 1;
    out->args[LX].hi = 2;
    out->args[LX].layout = kind == 1 ? MLXN_LAYOUT_GAPS : kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[LDX].layout = kind == 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    if (kind != 1) out->args[LW] = line;
    if (kind != 2) out->args[LDW] = line;
    out->args[LDB] = line;
    mlxn_rms_norm_params p = {1e-5f};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    return true;
}

/* --- conv1d_causal_backward --- */

enum { CX, CW, CDY, CDW, CDX };

static mlxn_status check_conv(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[CX];
    mlxn_status status = mlxn_want_dim(error, "w", 0, args[CW].dims[0], x->dims[2], "last dim of x");
    if (!status) status = mlxn_want_like(error, "dy", &args[CDY], "x", x);
    if (!status) status = mlxn_want_same_dims(error, "dw", &args[CDW], "w", &args[CW]);
    return status ? status : mlxn_want_like(error, "dx", &args[CDX], "x", x);
}

static double conv_dx(const mlxn_view *args, uint64_t b, uint64_t t, uint64_t c, double *size) {
    uint64_t n = args[CX].dims[1], taps = args[CW].dims[1];
    double sum = 0;
    *size = 0;
    for (uint64_t k = 0; k < taps; k++) {
        uint64_t later = t + taps - 1 - k;
        if (later >= n) continue;
        double v = at2(&args[CW], c, k) * at3(&args[CDY], b, later, c);
        sum += v;
        *size += fabs(v);
    }
    return sum;
}

static double conv_dw(const mlxn_view *args, uint64_t c, uint64_t k, double *size) {
    uint64_t taps = args[CW].dims[1];
    double sum = 0;
    *size = 0;
    for (uint64_t b = 0; b < args[CX].dims[0]; b++)
        for (uint64_t t = taps - 1 - k; t < args[CX].dims[1]; t++) {
            double v = at3(&args[CDY], b, t, c) * at3(&args[CX], b, t - (taps - 1 - k), c);
            sum += v;
            *size += fabs(v);
        }
    return sum;
}

static mlxn_status ref_conv(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *x = &args[CX];
    double size;
    for (uint64_t b = 0; b < x->dims[0]; b++)
        for (uint64_t t = 0; t < x->dims[1]; t++)
            for (uint64_t c = 0; c < x->dims[2]; c++)
                mlxn_view_set(&args[CDX], (const uint64_t[]){b, t, c}, conv_dx(args, b, t, c, &size));
    for (uint64_t c = 0; c < x->dims[2]; c++)
        for (uint64_t k = 0; k < args[CW].dims[1]; k++)
            mlxn_view_set(&args[CDW], (const uint64_t[]){c, k}, conv_dw(args, c, k, &size));
    return MLXN_OK;
}

/* f32 sums of as many terms as there are taps; dw in double. */
static mlxn_status bound_conv(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        double size;
        mlxn_view_unravel(&args[arg], i, at);
        if (arg == CDX)
            conv_dx(args, at[0], at[1], at[2], &size);
        else
            conv_dw(args, at[0], at[1], &size);
        out[i] = MLXN_EPS * (double)(2 + args[CW].dims[1]) * size + 1e-37;
        if (args[arg].dtype != MLXN_F32) out[i] += mlxn_bound_unit(args[arg].dtype, mlxn_view_get(&args[arg], at));
    }
    return MLXN_OK;
}

static bool case_conv(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][4] = {{1, 1, 1, 1}, {2, 9, 33, 4}, {1, 3, 17, 5}, {3, 40, 300, 4}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 4), kind = mlxn_case_digit(&i, 2);
    if (i) return false;
    mlxn_case_arg full = mlxn_case_tensor(mlxn_case_float(dtype), 3, dims[s]);
    out->args[CX] = out->args[CDY] = out->args[CDX] = full;
    out->args[CX].layout = kind ? MLXN_LAYOUT_OUTER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[CDX].layout = kind ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[CW] = out->args[CDW] = mlxn_case_tensor(MLXN_F32, 2, dims[s] + 2);
    out->args[CW].layout = kind ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "w", 1);
    return true;
}

#define VECTOR(name, role) \
    { name, role, false, true, 1u << MLXN_F32, 1, 1 }
#define FULL(name, role, rank) \
    { name, role, false, false, MLXN_FLOATS, rank, rank }

const mlxn_op_def mlxn_opdef_layer_norm_backward = {
    .name = "layer_norm_backward",
    .family = "backward_layers",
    .doc =
        "The gradients of out = n w + b, n = (x - mean) / sqrt(variance + eps), for dy: dx = (g - mean(g) - n mean(g "
        "n)) / sqrt(variance + eps) with g = dy w, dw = sum of dy n and db = sum of dy over the rows. x, dy, dx: [R, "
        "D], one dtype (f32, f16, bf16); w, dw, db: optional, [D] f32.",
    .n_args = 6,
    .args = {FULL("x", MLXN_ROLE_IN, 2), VECTOR("w", MLXN_ROLE_IN), FULL("dy", MLXN_ROLE_IN, 2),
             VECTOR("dw", MLXN_ROLE_OUT), VECTOR("db", MLXN_ROLE_OUT), FULL("dx", MLXN_ROLE_OUT, 2)},
    .params_size = sizeof(mlxn_rms_norm_params),
    .params_type = "mlxn_rms_norm_params",
    .check = check_norm,
    .ref = ref_norm,
    .bound = bound_norm,
    .cost = cost_rows,
    .make_case = case_norm,
};

const mlxn_op_def mlxn_opdef_conv1d_causal_backward = {
    .name = "conv1d_causal_backward",
    .family = "backward_layers",
    .doc =
        "The gradients of y[b, t, c] = sum over k of w[c, k] x[b, t - K + 1 + k, c], 0 before the first t, for dy. "
        "x, "
        "dy, dx: [B, T, C], one dtype (f32, f16, bf16); w, dw: [C, K] f32.",
    .n_args = 5,
    .args = {FULL("x", MLXN_ROLE_IN, 3),
             {"w", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             FULL("dy", MLXN_ROLE_IN, 3),
             {"dw", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2},
             FULL("dx", MLXN_ROLE_OUT, 3)},
    .check = check_conv,
    .ref = ref_conv,
    .bound = bound_conv,
    .cost = cost_rows,
    .make_case = case_conv,
};
