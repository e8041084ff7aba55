/* ssm.c: what stands around the recurrent mixers: causal convolution with a state, the gates of the delta rule, and
 * systems with a unit lower triangular matrix. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static double silu(double z) { return z / (1 + exp(-z)); }

static mlxn_cost cost_sum(const mlxn_view *args, uint32_t n, double flops) {
    mlxn_cost c = {0, flops};
    for (uint32_t i = 0; i < n; i++) c.bytes += (double)mlxn_view_bytes(&args[i]);
    return c;
}

/* --- ssm_conv --- */

enum { SC_X, SC_W, SC_BIAS, SC_SLOTS, SC_STATE, SC_OUT };

static mlxn_status check_ssm_conv(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[SC_X], *w = &args[SC_W], *state = &args[SC_STATE], *slots = &args[SC_SLOTS];
    mlxn_status status = mlxn_want_same_dims(error, "out", &args[SC_OUT], "x", x);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[SC_OUT], "x", x);
    if (!status) status = mlxn_want_dim(error, "w", 0, w->dims[0], x->dims[2], "last dim of x");
    if (!status && w->dims[1] < 2)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "w: dim[1] is 1, want 2 or more (the width of the kernel)");
    if (!status && args[SC_BIAS].present)
        status = mlxn_want_dim(error, "bias", 0, args[SC_BIAS].dims[0], x->dims[2], "last dim of x");
    if (!status) status = mlxn_want_dim(error, "state", 1, state->dims[1], x->dims[2], "last dim of x");
    if (!status) status = mlxn_want_dim(error, "state", 2, state->dims[2], w->dims[1] - 1, "dim[1] of w, less 1");
    if (!status && slots->present)
        status = mlxn_want_dim(error, "slots", 0, slots->dims[0], x->dims[0], "dim[0] of x");
    else if (!status && state->dims[0] < x->dims[0])
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "state: dim[0] is %llu, want %llu or more (dim[0] of x)",
                           (unsigned long long)state->dims[0], (unsigned long long)x->dims[0]);
    return status;
}

/* The operation or, where `bound` is given, the bound of out; the views are only read then. */
static mlxn_status ssm_conv(const mlxn_view *args, const mlxn_ssm_conv_params *p, double *bound) {
    const mlxn_view *x = &args[SC_X], *w = &args[SC_W], *state = &args[SC_STATE], *out = &args[SC_OUT];
    uint64_t tokens = x->dims[1], channels = x->dims[2], width = w->dims[1];
    double *seen = mlxn_alloc_array(width - 1 + tokens, sizeof *seen);
    if (!seen) return MLXN_ERR_MEMORY;
    for (uint64_t c = 0; c < channels; c++)
        for (uint64_t s = 0; s < x->dims[0]; s++) {
            uint64_t slot = args[SC_SLOTS].present ? mlxn_view_u32(&args[SC_SLOTS], s) : s;
            bool exists = slot < state->dims[0];
            for (uint64_t k = 0; k < width - 1; k++)
                seen[k] = exists ? mlxn_view_get(state, (uint64_t[]){slot, c, k}) : 0;
            for (uint64_t t = 0; t < tokens; t++) seen[width - 1 + t] = mlxn_view_get(x, (uint64_t[]){s, t, c});
            for (uint64_t t = 0; t < tokens; t++) {
                double y = args[SC_BIAS].present ? mlxn_view_get(&args[SC_BIAS], &c) : 0, size = fabs(y);
                for (uint64_t k = 0; k < width; k++) {
                    double term = mlxn_view_get(w, (uint64_t[]){c, k}) * seen[t + k];
                    y += term;
                    size += fabs(term);
                }
                double off = MLXN_EPS * size * (double)(width + 1), z = y;
                if (p->silu) {
                    z = silu(y);
                    off = 1.1 * off + fabs(z) * MLXN_EPS * 8; /* silu is nowhere steeper than 1.1 */
                }
                if (bound)
                    bound[(s * tokens + t) * channels + c] =
                        exists ? off + mlxn_bound_unit(out->dtype, z) + 1e-37 : 0;
                else
                    mlxn_view_set(out, (uint64_t[]){s, t, c}, exists ? z : 0);
            }
            for (uint64_t k = 0; exists && !bound && k < width - 1; k++)
                mlxn_view_set(state, (uint64_t[]){slot, c, k}, seen[tokens + k]);
        }
    mlxn_free(seen);
    return MLXN_OK;
}

static mlxn_status ref_ssm_conv(const mlxn_view *args, const void *params) { return ssm_conv(args, params, NULL); }

/* What the state keeps is a copy, rounded where it is narrower than x. */
static mlxn_status bound_ssm_conv(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    if (arg == SC_OUT) return ssm_conv(args, params, out);
    for (uint64_t i = 0; i < mlxn_view_elements(&args[arg]); i++) out[i] = 0;
    return MLXN_OK;
}

static mlxn_cost cost_ssm_conv(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_sum(args, 6, 2 * (double)mlxn_view_elements(&args[SC_X]) * (double)args[SC_W].dims[1]);
}

static bool case_ssm_conv(uint32_t i, mlxn_case *out) {
    static const uint64_t sizes[][4] = {{2, 1, 160, 4},  {1, 9, 33, 4}, {3, 2, 17, 5},
                                        {1, 130, 70, 3}, {2, 3, 8, 2},  {1, 1, 2048, 4}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 6), form = mlxn_case_digit(&i, 4);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    if (layout) layout++; /* strides */
    const uint64_t *n = sizes[s];
    uint64_t slots = form == 2 && n[0] > 2 ? n[0] - 1 : n[0] + (form == 2);
    out->args[SC_X] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 3, n), layout, 1);
    mlxn_dtype other = mlxn_case_float(dtype + (form == 3));
    out->args[SC_W] = mlxn_case_spread(mlxn_case_tensor(other, 2, n + 2), layout, 2);
    out->args[SC_BIAS] = mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 1, n + 2), layout, 3);
    out->args[SC_BIAS].present = form % 2;
    out->args[SC_SLOTS] = mlxn_case_tensor(MLXN_U32, 1, n);
    out->args[SC_SLOTS].fill = MLXN_FILL_SEQUENCE;
    out->args[SC_SLOTS].n = (uint32_t)n[0];
    out->args[SC_SLOTS].present = form == 2;
    uint64_t dims[] = {slots, n[2], n[3] - 1};
    out->args[SC_STATE] =
        mlxn_case_spread(mlxn_case_tensor(form == 3 ? MLXN_F32 : mlxn_case_float(dtype), 3, dims), layout, 3);
    out->args[SC_OUT] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 3, n), layout, layout);
    mlxn_ssm_conv_params p = {form < 3};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", SC_X);
    mlxn_case_name_arg(out, "w", SC_W);
    mlxn_case_name(out, "%s%s%s", form % 2 ? ", bias" : "", form < 3 ? ", silu" : "", form == 2 ? ", slots" : "");
    if (layout) mlxn_case_name_arg(out, "out", SC_OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_ssm_conv = {
    .name = "ssm_conv",
    .family = "ssm",
    .doc =
        "Causal convolution of each channel, with what came before: with e = the state followed by x, out[s, t, c] = "
        "bias[c] + "
        "sum over k of w[c, k] e[t + k], through silu where asked; the state becomes the last K - 1 of e. x, out: "
        "[S, T, C], "
        "same dtype (f32, f16, bf16); w: [C, K], K >= 2; bias: optional [C]; state: [N, C, K - 1], oldest first; "
        "slots: "
        "optional [S] u32, the state of each sequence (its own number where absent). A sequence whose slot is >= N "
        "gives "
        "zeros; sequences that share one go on from one another in their order. out may be x.",
    .n_args = 6,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"w", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"bias", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"slots", MLXN_ROLE_IN, false, true, 1u << MLXN_U32, 1, 1},
             {"state", MLXN_ROLE_INOUT, false, false, MLXN_FLOATS, 3, 3},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .params_size = sizeof(mlxn_ssm_conv_params),
    .params_type = "mlxn_ssm_conv_params",
    .check = check_ssm_conv,
    .ref = ref_ssm_conv,
    .bound = bound_ssm_conv,
    .bound_before = true,
    .cost = cost_ssm_conv,
    .make_case = case_ssm_conv,
    .inplace = 1u << SC_X,
};

/* --- compute_g_beta --- */

enum { GB_A, GB_B, GB_BIAS, GB_RATE, GB_G, GB_BETA };

static mlxn_status check_g_beta(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    static const char *const names[] = {"", "b", "dt_bias", "rate", "g", "beta"};
    mlxn_status status = mlxn_want_same_dtype(error, "b", &args[GB_B], "a", &args[GB_A]);
    for (uint32_t i = GB_B; !status && i <= GB_BETA; i++)
        status = i == GB_BIAS || i == GB_RATE
                     ? mlxn_want_dim(error, names[i], 0, args[i].dims[0], args[GB_A].dims[1], "dim[1] of a")
                     : mlxn_want_same_dims(error, names[i], &args[i], "a", &args[GB_A]);
    return status;
}

static mlxn_status ref_g_beta(const mlxn_view *args, const void *params) {
    (void)params;
    for (uint64_t t = 0; t < args[GB_A].dims[0]; t++)
        for (uint64_t h = 0; h < args[GB_A].dims[1]; h++) {
            uint64_t at[] = {t, h};
            double z = mlxn_view_get(&args[GB_A], at) + mlxn_view_get(&args[GB_BIAS], &h);
            double step = z > 20 ? z : log1p(exp(z));
            mlxn_view_set(&args[GB_G], at, step * mlxn_view_get(&args[GB_RATE], &h));
            mlxn_view_set(&args[GB_BETA], at, 1 / (1 + exp(-mlxn_view_get(&args[GB_B], at))));
        }
    return MLXN_OK;
}

/* One rounded sum goes through softplus, whose slope is below its value where it is negative, and below 1. */
static mlxn_status bound_g_beta(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)params;
    uint64_t heads = args[GB_A].dims[1];
    for (uint64_t i = 0; i < args[GB_A].dims[0] * heads; i++) {
        uint64_t at[] = {i / heads, i % heads};
        double value = fabs(mlxn_view_get(&args[arg], at));
        double z = mlxn_view_get(&args[GB_A], at) + mlxn_view_get(&args[GB_BIAS], &at[1]);
        double off = fmin(fabs(z), 1) * fabs(mlxn_view_get(&args[GB_RATE], &at[1]));
        out[i] = MLXN_EPS * (8 * value + (arg == GB_G ? fmin(off, fabs(z) * value) + fabs(z) * value : 0)) + 1e-37;
    }
    return MLXN_OK;
}

static mlxn_cost cost_g_beta(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_sum(args, 6, 40 * (double)mlxn_view_elements(&args[GB_A]));
}

static bool case_g_beta(uint32_t i, mlxn_case *out) {
    static const uint64_t sizes[][2] = {{1, 32}, {7, 48}, {3, 5}, {130, 16}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 4), layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    if (layout) layout++; /* strides */
    for (uint32_t a = 0; a <= GB_BETA; a++) {
        mlxn_dtype type = a <= GB_B ? mlxn_case_float(dtype) : MLXN_F32;
        bool row = a == GB_BIAS || a == GB_RATE;
        out->args[a] = mlxn_case_spread(mlxn_case_tensor(type, row ? 1 : 2, sizes[s] + row), layout, a + 1);
    }
    out->args[GB_A].hi = 12;
    out->args[GB_B].hi = 5;
    out->args[GB_RATE].fill = MLXN_FILL_UNIFORM;
    out->args[GB_RATE].lo = -16;
    out->args[GB_RATE].hi = -0.01;
    mlxn_case_name_arg(out, "a", GB_A);
    if (layout) mlxn_case_name_arg(out, "g", GB_G);
    return true;
}

const mlxn_op_def mlxn_opdef_compute_g_beta = {
    .name = "compute_g_beta",
    .family = "ssm",
    .doc =
        "The gates of the delta rule: g = softplus(a + dt_bias) * rate, the log-decay (<= 0); beta = sigmoid(b). "
        "softplus(z) is z above 20. a, b: [T, H], same dtype (f32, f16, bf16); dt_bias, rate: [H] f32, rate = "
        "-e^{A_log}; g, "
        "beta: [T, H] f32.",
    .n_args = 6,
    .args = {{"a", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"b", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"dt_bias", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 1},
             {"rate", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 1},
             {"g", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2},
             {"beta", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2}},
    .check = check_g_beta,
    .ref = ref_g_beta,
    .bound = bound_g_beta,
    .cost = cost_g_beta,
    .make_case = case_g_beta,
};

/* --- tri_solve --- */

enum { TS_L, TS_B, TS_X };

static mlxn_status check_tri_solve(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *l = &args[TS_L], *b = &args[TS_B];
    mlxn_status status = mlxn_want_same_dims(error, "x", &args[TS_X], "b", b);
    if (!status) status = mlxn_want_same_dtype(error, "x", &args[TS_X], "b", b);
    if (!status) status = mlxn_want_same_dtype(error, "l", l, "b", b);
    if (!status) status = mlxn_want_dim(error, "l", 0, l->dims[0], b->dims[0], "dim[0] of b");
    if (!status) status = mlxn_want_dim(error, "l", 1, l->dims[1], b->dims[1], "dim[1] of b");
    if (!status) status = mlxn_want_dim(error, "l", 2, l->dims[2], b->dims[1], "dim[1] of b");
    return status;
}

/* Each row takes in the errors of the rows that it is reduced by. */
static mlxn_status tri_solve(const mlxn_view *args, double *bound) {
    const mlxn_view *l = &args[TS_L], *b = &args[TS_B], *x = &args[TS_X];
    uint64_t n = b->dims[1], columns = b->dims[2];
    double *value = mlxn_alloc_array(n, 2 * sizeof *value), *off = value ? value + n : NULL;
    if (!value) return MLXN_ERR_MEMORY;
    for (uint64_t c = 0; c < b->dims[0] * columns; c++)
        for (uint64_t i = 0; i < n; i++) {
            uint64_t at[] = {c / columns, i, c % columns};
            double sum = mlxn_view_get(b, at), size = fabs(sum), taken = 0;
            for (uint64_t j = 0; j < i; j++) {
                double factor = mlxn_view_get(l, (uint64_t[]){at[0], i, j});
                sum -= factor * value[j];
                size += fabs(factor * value[j]);
                taken += fabs(factor) * off[j];
            }
            value[i] = sum;
            off[i] = taken + MLXN_EPS * size * mlxn_bound_sum(i);
            if (bound)
                bound[(at[0] * n + i) * columns + at[2]] = off[i] + mlxn_bound_unit(x->dtype, sum) + 1e-37;
            else
                mlxn_view_set(x, at, sum);
        }
    mlxn_free(value);
    return MLXN_OK;
}

static mlxn_status ref_tri_solve(const mlxn_view *args, const void *params) {
    (void)params;
    return tri_solve(args, NULL);
}
static mlxn_status bound_tri_solve(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params;
    (void)fast;
    (void)arg;
    return tri_solve(args, out);
}
static mlxn_cost cost_tri_solve(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_sum(args, 3, (double)mlxn_view_elements(&args[TS_B]) * (double)args[TS_B].dims[1]);
}

static bool case_tri_solve(uint32_t i, mlxn_case *out) {
    static const uint64_t sizes[][3] = {{2, 64, 64}, {1, 5, 17}, {3, 1, 4}, {1, 33, 1}, {2, 16, 130}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    if (layout) layout++; /* strides */
    const uint64_t *n = sizes[s];
    mlxn_dtype type = mlxn_case_float(dtype);
    out->args[TS_L] = mlxn_case_spread(mlxn_case_tensor(type, 3, (uint64_t[]){n[0], n[1], n[1]}), layout, 1);
    out->args[TS_L].hi = 1 / sqrt((double)n[1]);
    out->args[TS_B] = mlxn_case_spread(mlxn_case_tensor(type, 3, n), layout, 2);
    out->args[TS_X] = mlxn_case_spread(mlxn_case_tensor(type, 3, n), layout, 3);
    mlxn_case_name_arg(out, "l", TS_L);
    mlxn_case_name_arg(out, "x", TS_X);
    return true;
}

const mlxn_op_def mlxn_opdef_tri_solve = {
    .name = "tri_solve",
    .family = "ssm",
    .doc =
        "Solves L x = b for each matrix: x[i] = b[i] - sum over j < i of L[i, j] x[j]. L: [B, N, N], unit lower "
        "triangular: its "
        "diagonal and what is above are not read; b, x: [B, N, M]; all of one dtype (f32, f16, bf16), sums in f32 "
        "over "
        "unrounded x.",
    .n_args = 3,
    .args = {{"l", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"b", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"x", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .check = check_tri_solve,
    .ref = ref_tri_solve,
    .bound = bound_tri_solve,
    .cost = cost_tri_solve,
    .make_case = case_tri_solve,
};
