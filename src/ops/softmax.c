/* softmax.c: softmax with scale and mask, its gradient, and a token drawn from it. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static uint64_t row_length(const mlxn_view *x) { return x->dims[x->rank - 1]; }

/* Trailing dims of the mask are those of x, or 1. */
static mlxn_status check_softmax(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_softmax_params *p = params;
    const mlxn_view *x = &args[0], *mask = &args[1];
    mlxn_status status = mlxn_want_like(error, "out", &args[2], "x", x);
    if (!status && !isfinite(p->scale))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: scale is %g, want a number", (double)p->scale);
    if (!mask->present || status) return status;
    if (mask->rank > x->rank)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "mask: rank is %u, want at most %u (as x)", mask->rank, x->rank);
    for (uint32_t i = 0; i < mask->rank; i++) {
        uint64_t want = x->dims[i + x->rank - mask->rank];
        if (mask->dims[i] != want && mask->dims[i] != 1)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "mask: dim[%u] is %llu, want %llu or 1 (as x)", i,
                             (unsigned long long)mask->dims[i], (unsigned long long)want);
    }
    return MLXN_OK;
}

static double masked(const mlxn_view *args, const void *params, const uint64_t *at) {
    const mlxn_view *x = &args[0], *mask = &args[1];
    double scale = (double)((const mlxn_softmax_params *)params)->scale, v = mlxn_view_get(x, at);
    uint64_t own[MLXN_MAX_RANK];
    if (scale != 0) v *= scale;
    if (!mask->present) return v;
    for (uint32_t i = 0; i < mask->rank; i++) own[i] = mask->dims[i] == 1 ? 0 : at[i + x->rank - mask->rank];
    return v + mlxn_view_get(mask, own);
}

/* The largest of a row and the sum of exponentials relative to it; a row of NaN and -infinity has no number. */
static double largest(const mlxn_view *args, const void *params, uint64_t row, bool *nan) {
    uint64_t n = row_length(&args[0]), at[MLXN_MAX_RANK];
    double top = -INFINITY;
    *nan = false;
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[0], row * n + i, at);
        double v = masked(args, params, at);
        *nan = *nan || isnan(v);
        if (v > top) top = v;
    }
    return top;
}

static mlxn_status ref_softmax(const mlxn_view *args, const void *params) {
    bool logs = ((const mlxn_softmax_params *)params)->log, nan;
    uint64_t n = row_length(&args[0]), rows = mlxn_view_elements(&args[0]) / n, at[MLXN_MAX_RANK];
    double *row = mlxn_alloc_array(n, sizeof *row); /* out may be x */
    if (!row) return MLXN_ERR_MEMORY;
    for (uint64_t r = 0; r < rows; r++) {
        double top = largest(args, params, r, &nan), sum = 0;
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[0], r * n + i, at);
            row[i] = masked(args, params, at) - top;
            sum += exp(row[i]);
        }
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[2], r * n + i, at);
            double p = logs ? row[i] - log(sum) : exp(row[i]) / sum;
            if (top == -INFINITY) p = nan ? NAN : logs ? -INFINITY : 0;
            mlxn_view_set(&args[2], at, p);
        }
    }
    mlxn_free(row);
    return MLXN_OK;
}

/* The argument of the exponential carries the roundings of scale, mask and difference; the sum those of its terms. */
static mlxn_status bound_softmax(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    bool logs = ((const mlxn_softmax_params *)params)->log, nan;
    uint64_t n = row_length(&args[0]), rows = mlxn_view_elements(&args[0]) / n, at[MLXN_MAX_RANK];
    double scale = fabs((double)((const mlxn_softmax_params *)params)->scale);
    if (scale == 0) scale = 1;
    for (uint64_t r = 0; r < rows; r++) {
        double top = fabs(largest(args, params, r, &nan)), size = 0;
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[0], r * n + i, at);
            double v = masked(args, params, at);
            if (isfinite(v) && v + 100 > top) size = fmax(size, scale * fabs(mlxn_view_get(&args[0], at)));
        }
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[arg], r * n + i, at);
            double ref = mlxn_view_get(&args[arg], at), v = masked(args, params, at);
            double own = isfinite(v) ? fabs(v) + scale * fabs(mlxn_view_get(&args[0], at)) : 0;
            double off = MLXN_EPS * (16 + mlxn_bound_sum(n) + 2 * (own + 2 * size + top));
            out[r * n + i] = logs ? off + 4 * MLXN_EPS * fabs(ref) : off * fabs(ref) + 1e-37;
            if (args[arg].dtype != MLXN_F32) out[r * n + i] += mlxn_bound_unit(args[arg].dtype, ref);
        }
    }
    return MLXN_OK;
}

static mlxn_cost cost_rows(const mlxn_view *args, const void *params) {
    (void)params;
    double bytes = 0;
    for (uint32_t i = 0; i < 3; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, 12 * (double)mlxn_view_elements(&args[2])};
}

/* Every third row hidden altogether, and the second half of the next. */
static void hide(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = row_length(&args[1]), rows = mlxn_view_elements(&args[1]) / n, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[1], r * n + i, at);
            if (r % 3 == 0 || (r % 3 == 1 && i >= n / 2)) mlxn_view_set(&args[1], at, -INFINITY);
        }
}

static const struct {
    uint32_t rank;
    uint64_t dims[4];
} shapes[] = {{1, {1}},       {2, {5, 33}}, {3, {2, 3, 64}}, {4, {2, 2, 5, 17}},
              {2, {2, 5003}}, {1, {1031}},  {2, {19, 16}}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static bool case_softmax(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SHAPES), kind = mlxn_case_digit(&i, 6);
    if (i) return false;
    uint32_t rank = shapes[s].rank;
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), rank, shapes[s].dims);
    out->args[2] = out->args[0];
    out->args[0].hi = kind == 1 ? 20 : 3;
    if (kind == 2) out->args[0].fill = MLXN_FILL_SPECIAL;
    out->args[0].layout = kind == 3 ? MLXN_LAYOUT_INNER : kind == 4 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2].layout = kind == 3 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    if (kind >= 4) { /* the mask of the last two dims, in another dtype, or one row for all */
        uint32_t keep = kind == 4 && rank > 1 ? 2 : 1;
        out->args[1] = mlxn_case_tensor(mlxn_case_float(dtype + kind), keep, shapes[s].dims + rank - keep);
        out->prepare = hide;
    }
    mlxn_softmax_params p = {kind == 0 ? 0 : kind == 2 ? 1 : 0.125f, (s + kind) % 3 == 2};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    if (kind >= 4) mlxn_case_name_arg(out, "mask", 1);
    mlxn_case_name(out, " scale %g%s", (double)p.scale, p.log ? " log" : "");
    return true;
}

static mlxn_status check_backward(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_like(error, "dy", &args[1], "y", &args[0]);
    return status ? status : mlxn_want_like(error, "dx", &args[2], "y", &args[0]);
}

static double dot(const mlxn_view *y, const mlxn_view *dy, uint64_t row, double *size) {
    uint64_t n = row_length(y), at[MLXN_MAX_RANK];
    double sum = 0;
    *size = 0;
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(y, row * n + i, at);
        double t = mlxn_view_get(y, at) * mlxn_view_get(dy, at);
        sum += t;
        *size += fabs(t);
    }
    return sum;
}

static mlxn_status ref_backward(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = row_length(&args[0]), rows = mlxn_view_elements(&args[0]) / n, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++) {
        double size, sum = dot(&args[0], &args[1], r, &size);
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[2], r * n + i, at);
            mlxn_view_set(&args[2], at, mlxn_view_get(&args[0], at) * (mlxn_view_get(&args[1], at) - sum));
        }
    }
    return MLXN_OK;
}

static mlxn_status bound_backward(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    uint64_t n = row_length(&args[0]), rows = mlxn_view_elements(&args[0]) / n, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++) {
        double size, sum = dot(&args[0], &args[1], r, &size);
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[arg], r * n + i, at);
            double y = fabs(mlxn_view_get(&args[0], at)), dy = fabs(mlxn_view_get(&args[1], at));
            double ref = mlxn_view_get(&args[arg], at);
            out[r * n + i] = MLXN_EPS * y * (mlxn_bound_sum(n) * size + 4 * (dy + fabs(sum))) + 1e-37;
            if (args[arg].dtype != MLXN_F32) out[r * n + i] += mlxn_bound_unit(args[arg].dtype, ref);
        }
    }
    return MLXN_OK;
}

static bool case_backward(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SHAPES), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    for (uint32_t k = 0; k < 3; k++)
        out->args[k] = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    out->args[0].fill = MLXN_FILL_UNIFORM;
    out->args[0].hi = 1.0 / (double)shapes[s].dims[shapes[s].rank - 1];
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_GAPS : kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2].layout = kind == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].shift = kind;
    mlxn_case_name_arg(out, "y", 0);
    return true;
}

static mlxn_status check_sample(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_softmax_sample_params *p = params;
    static const char *const names[] = {"logits", "uniform", "token", "logprob"};
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 1; i < 4 && !status; i++)
        status = mlxn_want_dim(error, names[i], 0, args[i].dims[0], args[0].dims[0], "rows of logits");
    if (!status && !(p->temp > 0 && isfinite(p->temp)))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: temp is %g, want a number above 0", (double)p->temp);
    return status;
}

static double weight(const mlxn_view *logits, uint64_t r, uint64_t i, double top, double temp) {
    double v = mlxn_view_get(logits, (const uint64_t[]){r, i});
    return isnan(v) ? 0 : v == top ? 1 : exp((v - top) / temp);
}

static mlxn_status ref_sample(const mlxn_view *args, const void *params) {
    double temp = (double)((const mlxn_softmax_sample_params *)params)->temp;
    uint64_t n = args[0].dims[1];
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        double top = -INFINITY, sum = 0, left = mlxn_view_get(&args[1], &r);
        for (uint64_t i = 0; i < n; i++) {
            double v = mlxn_view_get(&args[0], (const uint64_t[]){r, i});
            if (v > top) top = v;
        }
        uint64_t token = 0;
        if (top > -INFINITY) {
            for (uint64_t i = 0; i < n; i++) sum += weight(&args[0], r, i, top, temp);
            left *= sum;
            for (uint64_t i = 0; i < n && left >= 0; i++) {
                double w = weight(&args[0], r, i, top, temp);
                if (w > 0) token = i;
                left -= w;
            }
        }
        double v = mlxn_view_get(&args[0], (const uint64_t[]){r, token});
        mlxn_view_set(&args[2], &r, (double)token);
        mlxn_view_set(&args[3], &r, top == -INFINITY ? -INFINITY : (v == top ? 0 : (v - top) / temp) - log(sum));
    }
    return MLXN_OK;
}

static mlxn_status bound_sample(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    double temp = (double)((const mlxn_softmax_sample_params *)params)->temp, most = 0;
    uint64_t n = args[0].dims[1];
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        for (uint64_t i = 0; i < n; i++) {
            double v = fabs(mlxn_view_get(&args[0], (const uint64_t[]){r, i}));
            if (isfinite(v) && v > most) most = v;
        }
        out[r] = arg == 2 ? 0 : MLXN_EPS * (32 + mlxn_bound_sum(n) + 8 * most / temp);
    }
    return MLXN_OK;
}

/* Draws from the middle of a token's share of [0, 1), so that no rounding can move them to a neighbour; and 0, which
 * must give the first token that has a probability. */
static void aim(const mlxn_view *args, const void *params) {
    double temp = (double)((const mlxn_softmax_sample_params *)params)->temp;
    uint64_t n = args[0].dims[1];
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        double top = -INFINITY, sum = 0, before = 0, share = 0;
        for (uint64_t i = 0; i < n; i++) top = fmax(top, mlxn_view_get(&args[0], (const uint64_t[]){r, i}));
        for (uint64_t i = 0; i < n; i++) sum += weight(&args[0], r, i, top, temp);
        for (uint64_t i = 0; i < n && !(share > 1e-4 && i > (r * 7919) % n); i++) {
            before += share;
            share = weight(&args[0], r, i, top, temp) / sum;
        }
        if (r % 4 == 0) mlxn_view_set(&args[0], (const uint64_t[]){r, 0}, -INFINITY);
        mlxn_view_set(&args[1], &r, r % 4 == 0 ? 0 : fmin(before + share / 2, 0.9999));
    }
}

static bool case_sample(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][2] = {{1, 2}, {9, 33}, {6, 1000}, {5, 300}, {3, 9001}};
    *out = (mlxn_case){0};
    uint32_t s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 4);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(MLXN_F32, 2, dims[s]);
    out->args[0].hi = kind ? 4 : 1;
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_GAPS : kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1] = mlxn_case_tensor(MLXN_F32, 1, dims[s]);
    out->args[2] = mlxn_case_tensor(MLXN_U32, 1, dims[s]);
    out->args[3] = mlxn_case_tensor(MLXN_F32, 1, dims[s]);
    out->args[3].layout = kind == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->prepare = aim;
    mlxn_softmax_sample_params p = {kind == 3 ? 0.5f : 1.25f};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "logits", 0);
    mlxn_case_name(out, " temp %g", (double)p.temp);
    return true;
}

static mlxn_cost cost_sample(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]), 16 * (double)mlxn_view_elements(&args[0])};
}

const mlxn_op_def mlxn_opdef_softmax = {
    .name = "softmax",
    .family = "softmax",
    .doc =
        "out = e^(v - max) / sum over the last axis, v = scale * x + mask, or its logarithm. x, out: same dims and "
        "dtype (f32, f16, bf16; computed in f32, rounded once); mask: optional, any of these dtypes, dims matched "
        "from the last one on, repeated where missing or 1. Rows of -infinity alone give 0 (-infinity). out may be "
        "x.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"mask", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_softmax_params),
    .params_type = "mlxn_softmax_params",
    .check = check_softmax,
    .ref = ref_softmax,
    .bound = bound_softmax,
    .cost = cost_rows,
    .make_case = case_softmax,
    .inplace = 1u << 0,
};

const mlxn_op_def mlxn_opdef_softmax_backward = {
    .name = "softmax_backward",
    .family = "softmax",
    .doc =
        "dx = y * (dy - sum(y * dy)) over the last axis, y the result of softmax. Same dims and dtype (f32, f16, "
        "bf16). dx may be y or dy.",
    .n_args = 3,
    .args = {{"y", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"dy", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"dx", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .check = check_backward,
    .ref = ref_backward,
    .bound = bound_backward,
    .cost = cost_rows,
    .make_case = case_backward,
    .inplace = 1u << 0 | 1u << 1,
};

const mlxn_op_def mlxn_opdef_softmax_sample = {
    .name = "softmax_sample",
    .family = "softmax",
    .doc =
        "token[r] = the first i with p[0] + .. + p[i] > uniform[r], p = softmax(logits[r, :] / temp), the last token "
        "with a probability if rounding leaves none; logprob[r] = ln p[token[r]]. NaN has probability 0; a row "
        "without a number above -infinity gives token 0 and -infinity. logits: [R, N] f32; uniform: [R] f32, from 0 "
        "to less than 1; token: [R] u32; logprob: [R] f32.",
    .n_args = 4,
    .args = {{"logits", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             {"uniform", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 1},
             {"token", MLXN_ROLE_OUT, false, false, 1u << MLXN_U32, 1, 1},
             {"logprob", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 1, 1}},
    .params_size = sizeof(mlxn_softmax_sample_params),
    .params_type = "mlxn_softmax_sample_params",
    .check = check_sample,
    .ref = ref_sample,
    .bound = bound_sample,
    .cost = cost_sample,
    .make_case = case_sample,
};
