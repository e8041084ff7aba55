/* norm.c: rms_norm and norm_add, over the last dim. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_common(const mlxn_view *x, const mlxn_view *w, const mlxn_view *out,
                                const mlxn_rms_norm_params *p, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    if (w->present) status = mlxn_want_dim(error, "w", 0, w->dims[0], x->dims[x->rank - 1], "last dim of x");
    if (!status) status = mlxn_want_same_dims(error, "out", out, "x", x);
    if (!status) status = mlxn_want_same_dtype(error, "out", out, "x", x);
    if (!status && !(p->eps > 0 && isfinite(p->eps)))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: eps is %g, want a number above 0", (double)p->eps);
    return status;
}

static mlxn_status check_rms_norm(const mlxn_view *args, const void *params, mlxn_error *error) {
    return check_common(&args[0], &args[1], &args[2], params, error);
}

static mlxn_status check_norm_add(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_status status = check_common(&args[0], &args[1], &args[3], params, error);
    if (!status) status = mlxn_want_same_dims(error, "residual", &args[2], "x", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "residual", &args[2], "x", &args[0]);
    return status;
}

/* 1 / sqrt(mean(x^2) + eps) of one row; `at` holds the row's outer indices and is left at its last element. */
static double inverse_rms(const mlxn_view *x, uint64_t *at, double eps) {
    uint64_t d = x->dims[x->rank - 1];
    double sum = 0;
    for (uint64_t k = 0; k < d; k++) {
        at[x->rank - 1] = k;
        double v = mlxn_view_get(x, at);
        sum += v * v;
    }
    return 1 / sqrt(sum / (double)d + eps);
}

static double weight_at(const mlxn_view *w, uint64_t k) { return w->present ? mlxn_view_get(w, &k) : 1; }

static mlxn_status norm(const mlxn_view *x, const mlxn_view *w, const mlxn_view *residual, const mlxn_view *out,
                        double eps) {
    uint64_t d = x->dims[x->rank - 1], rows = mlxn_view_elements(x) / d, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++) {
        mlxn_view_unravel(x, r * d, at);
        double scale = inverse_rms(x, at, eps);
        for (uint64_t k = 0; k < d; k++) {
            at[x->rank - 1] = k;
            double y = mlxn_view_get(x, at) * scale * weight_at(w, k);
            mlxn_view_set(out, at, residual ? y + mlxn_view_get(residual, at) : y);
        }
    }
    return MLXN_OK;
}

static mlxn_status ref_rms_norm(const mlxn_view *args, const void *params) {
    return norm(&args[0], &args[1], NULL, &args[2], (double)((const mlxn_rms_norm_params *)params)->eps);
}

static mlxn_status ref_norm_add(const mlxn_view *args, const void *params) {
    return norm(&args[0], &args[1], &args[2], &args[3], (double)((const mlxn_rms_norm_params *)params)->eps);
}

/* The terms x^2 have one sign, so that the sum's relative error is that of a sum of D terms, halved by the root. */
static void bound_norm(const mlxn_view *x, const mlxn_view *w, const mlxn_view *out_view, bool add, double eps,
                       double *out) {
    uint64_t d = x->dims[x->rank - 1], rows = mlxn_view_elements(x) / d, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++) {
        mlxn_view_unravel(x, r * d, at);
        double scale = inverse_rms(x, at, eps);
        for (uint64_t k = 0; k < d; k++) {
            at[x->rank - 1] = k;
            double y = fabs(mlxn_view_get(x, at) * scale * weight_at(w, k)), ref = mlxn_view_get(out_view, at);
            out[r * d + k] = MLXN_EPS * (y * mlxn_bound_sum(d) + (add ? 2 * fabs(ref) : 0)) + 1e-37;
            if (out_view->dtype != MLXN_F32) out[r * d + k] += mlxn_bound_unit(out_view->dtype, ref);
        }
    }
}

static mlxn_status bound_rms_norm(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    bound_norm(&args[0], &args[1], &args[arg], false, (double)((const mlxn_rms_norm_params *)params)->eps, out);
    return MLXN_OK;
}

static mlxn_status bound_norm_add(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    bound_norm(&args[0], &args[1], &args[arg], true, (double)((const mlxn_rms_norm_params *)params)->eps, out);
    return MLXN_OK;
}

static mlxn_cost cost_rms_norm(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       4 * (double)mlxn_view_elements(&args[0])};
}

static mlxn_cost cost_norm_add(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){3 * (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       5 * (double)mlxn_view_elements(&args[0])};
}

static bool case_norm(uint32_t i, mlxn_case *out, bool add) {
    static const struct {
        uint32_t rank;
        uint64_t dims[4];
    } shapes[] = {{2, {1, 576}},    {2, {7, 576}},      {2, {1, 640}},  {2, {3, 2048}},   {2, {2, 1536}},
                  {1, {1}},         {1, {15}},          {2, {5, 17}},   {2, {33, 64}},    {3, {5, 9, 64}},
                  {3, {9, 4, 256}}, {4, {2, 3, 2, 31}}, {2, {2, 8960}}, {3, {1, 4, 256}}, {2, {64, 100}}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]);
    uint32_t weight = mlxn_case_digit(&i, 2), layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    uint32_t last = add ? 3 : 2;
    mlxn_case_arg x = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    out->args[0] = x;
    out->args[0].hi = s % 3 ? 1 : 0.01 + 20 * (double)weight;
    out->args[1] = mlxn_case_tensor(MLXN_F32, 1, &shapes[s].dims[shapes[s].rank - 1]);
    out->args[1].present = weight;
    out->args[1].lo = 1;
    out->args[1].hi = 0.5;
    out->args[2] = out->args[last] = x;
    if (layout == 1) out->args[0].layout = out->args[last].layout = MLXN_LAYOUT_GAPS;
    if (layout == 2) {
        out->args[0].shift = 1;
        out->args[1].shift = 2;
        out->args[last].shift = 3;
        if (add) out->args[2].shift = 5;
    }
    if (layout == 3) {
        out->args[0].layout = shapes[s].rank > 2 ? MLXN_LAYOUT_OUTER : MLXN_LAYOUT_INNER;
        out->args[1].layout = MLXN_LAYOUT_INNER;
        out->args[last].layout = MLXN_LAYOUT_TRANSPOSED;
    }
    mlxn_rms_norm_params p = {s % 2 ? 1e-5f : 1e-6f};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    if (!weight) mlxn_case_name(out, ", no w");
    if (layout) mlxn_case_name_arg(out, "out", last);
    return true;
}

static bool case_rms_norm(uint32_t i, mlxn_case *out) { return case_norm(i, out, false); }
static bool case_norm_add(uint32_t i, mlxn_case *out) { return case_norm(i, out, true); }

const mlxn_op_def mlxn_opdef_rms_norm = {
    .name = "rms_norm",
    .family = "norm",
    .doc =
        "out = x / sqrt(mean(x^2) + eps) * w over the last dim (Zhang & Sennrich 2019). x, out: [R, D], same dtype "
        "(f32, f16, bf16), up to rank 4; w: optional, [D] f32. out may be x.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"w", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_rms_norm_params),
    .params_type = "mlxn_rms_norm_params",
    .check = check_rms_norm,
    .ref = ref_rms_norm,
    .bound = bound_rms_norm,
    .cost = cost_rms_norm,
    .make_case = case_rms_norm,
    .inplace = 1u << 0,
};

const mlxn_op_def mlxn_opdef_norm_add = {
    .name = "norm_add",
    .family = "norm",
    .doc =
        "out = residual + rms_norm(x, w). x, residual, out: same dims and dtype; w: optional [D] f32. "
        "out may be residual or x.",
    .n_args = 4,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"w", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"residual", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_rms_norm_params),
    .params_type = "mlxn_rms_norm_params",
    .check = check_norm_add,
    .ref = ref_norm_add,
    .bound = bound_norm_add,
    .cost = cost_norm_add,
    .make_case = case_norm_add,
    .inplace = 1u << 0 | 1u << 2,
};
