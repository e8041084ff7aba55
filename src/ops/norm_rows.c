/* norm_rows.c: the row engine of the norms: row_norm with its optional sums and factors, several norms of one row,
 * norms of expert sums, gated norms and group norms. */
#include "ops/norm_rows.h"

#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

mlxn_status mlxn_norm_work_create(uint64_t n, mlxn_norm_work *out) {
    *out = (mlxn_norm_work){.n = n, .t = mlxn_alloc_array(n, 2 * sizeof(double))};
    out->off = out->t ? out->t + n : NULL;
    return out->t ? MLXN_OK : MLXN_ERR_MEMORY;
}

void mlxn_norm_work_free(mlxn_norm_work *work) { mlxn_free(work->t); }

/* A sum of n terms of one sign loses bound_sum(n) units of itself. An input that is off by a moves the mean by a, and
 * the inverse by a in units of the spread: by a * inverse for the means, sqrt(n) times that for the sums. */
void mlxn_norm_measure(mlxn_norm_work *w, uint32_t kind, double eps) {
    double n = (double)w->n, sum = 0, size = 0, off = 0, squares = 0;
    for (uint64_t k = 0; k < w->n; k++) {
        sum += w->t[k];
        size += fabs(w->t[k]);
        off = fmax(off, w->off[k]);
    }
    bool layer = kind == MLXN_NORM_LAYER, total = kind == MLXN_NORM_L2_SUM || kind == MLXN_NORM_L2_MAX;
    w->mean = layer ? sum / n : 0;
    w->mean_off = layer ? off + MLXN_EPS * (mlxn_bound_sum(w->n) * size / n + 2 * fabs(w->mean)) : 0;
    for (uint64_t k = 0; k < w->n; k++) squares += (w->t[k] - w->mean) * (w->t[k] - w->mean);
    if (kind == MLXN_NORM_L2_MAX)
        w->inverse = 1 / fmax(sqrt(squares), eps);
    else
        w->inverse = 1 / sqrt((total ? squares : squares / n) + eps);
    double largest = off + w->mean_off + (layer ? 2 * MLXN_EPS * size : 0) / n;
    w->inverse_off = MLXN_EPS * mlxn_bound_sum(w->n) + 2 * largest * w->inverse * (total ? sqrt(n) : 1);
}

double mlxn_norm_off(const mlxn_norm_work *w, uint64_t k) {
    double centred = fabs(w->t[k] - w->mean);
    return w->inverse * (w->off[k] + w->mean_off + centred * (w->inverse_off + 2 * MLXN_EPS));
}

static mlxn_status check_eps(float eps, mlxn_error *error) {
    if (eps > 0 && isfinite(eps)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: eps is %g, want a number above 0", (double)eps);
}

static mlxn_status check_groups(uint32_t groups, uint64_t d, mlxn_error *error) {
    if (!groups || (groups <= d && d % groups == 0)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: groups is %u, want a divisor of %llu (last dim of x)", groups,
                     (unsigned long long)d);
}

static uint64_t last(const mlxn_view *x) { return x->dims[x->rank - 1]; }

static mlxn_status want_like(mlxn_error *error, const char *name, const mlxn_view *v, const mlxn_view *x) {
    if (!v->present) return MLXN_OK;
    mlxn_status status = mlxn_want_same_dims(error, name, v, "x", x);
    return status ? status : mlxn_want_same_dtype(error, name, v, "x", x);
}

static mlxn_status want_row(mlxn_error *error, const char *name, const mlxn_view *v, const mlxn_view *x) {
    return v->present ? mlxn_want_dim(error, name, 0, v->dims[0], last(x), "last dim of x") : MLXN_OK;
}

static double of_row(const mlxn_view *v, uint64_t k, double otherwise) {
    return v->present ? mlxn_view_get(v, &k) : otherwise;
}

static double of_all(const mlxn_view *v, const uint64_t *at) { return v->present ? mlxn_view_get(v, at) : 0; }

static double silu(double z) { return z / (1 + exp(-z)); }
/* silu in binary32: the exponential and the quotient. */
static double silu_off(double z) { return fabs(silu(z)) * MLXN_EPS * 8 + 1e-37; }

/* The kernel and the reference each round their result. */
static double store_off(const mlxn_view *out, double value) { return mlxn_bound_unit(out->dtype, value) + 1e-37; }

/* --- row_norm --- */

enum { RN_X, RN_RESIDUAL, RN_W, RN_BIAS, RN_ADD, RN_SCALE, RN_SUM, RN_OUT };

static mlxn_status check_row_norm(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_row_norm_params *p = params;
    const mlxn_view *x = &args[RN_X], *scale = &args[RN_SCALE];
    mlxn_status status = want_like(error, "out", &args[RN_OUT], x);
    if (!status) status = want_like(error, "residual", &args[RN_RESIDUAL], x);
    if (!status) status = want_like(error, "add", &args[RN_ADD], x);
    if (!status) status = want_like(error, "sum_out", &args[RN_SUM], x);
    if (!status) status = want_row(error, "w", &args[RN_W], x);
    if (!status) status = want_row(error, "bias", &args[RN_BIAS], x);
    if (status) return status;
    if (scale->present && scale->rank == 1 && scale->dims[0] != 1)
        status = want_row(error, "scale", scale, x);
    else if (scale->present && scale->rank > 1)
        status = mlxn_want_same_dims(error, "scale", scale, "x", x);
    if (!status) status = check_eps(p->eps, error);
    if (!status) status = check_groups(p->groups, last(x), error);
    if (status) return status;
    if (p->kind > MLXN_NORM_L2_MAX)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: kind is %u, want 0 to %d", p->kind, MLXN_NORM_L2_MAX);
    if (!isfinite(p->weight_offset))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: weight_offset is %g, want a number",
                         (double)p->weight_offset);
    return MLXN_OK;
}

static double scale_at(const mlxn_view *scale, const uint64_t *at, uint64_t k) {
    if (!scale->present) return 1;
    if (scale->rank > 1) return mlxn_view_get(scale, at);
    return mlxn_view_get(scale, scale->dims[0] == 1 ? &(uint64_t){0} : &k);
}

/* The operation and, where `bound` is given, instead of it the bound of output argument `arg`. */
static mlxn_status row_norm(const mlxn_view *args, const mlxn_row_norm_params *p, uint32_t arg, double *bound) {
    const mlxn_view *x = &args[RN_X], *out = &args[RN_OUT], *sum = &args[RN_SUM];
    uint64_t d = last(x), n = d / (p->groups ? p->groups : 1), rows = mlxn_view_elements(x) / n, at[MLXN_MAX_RANK];
    mlxn_norm_work work;
    mlxn_status status = mlxn_norm_work_create(n, &work);
    for (uint64_t r = 0; !status && r < rows; r++) {
        for (uint64_t k = 0; k < n; k++) {
            mlxn_view_unravel(x, r * n + k, at);
            work.t[k] = mlxn_view_get(x, at) + of_all(&args[RN_RESIDUAL], at);
            work.off[k] = args[RN_RESIDUAL].present ? MLXN_EPS * fabs(work.t[k]) : 0;
            if (bound && arg == RN_SUM) bound[r * n + k] = store_off(sum, work.t[k]);
        }
        if (bound && arg == RN_SUM) continue;
        mlxn_norm_measure(&work, p->kind, (double)p->eps);
        for (uint64_t k = 0; k < n; k++) {
            mlxn_view_unravel(x, r * n + k, at);
            uint64_t column = at[x->rank - 1];
            double w = of_row(&args[RN_W], column, 1) + (args[RN_W].present ? (double)p->weight_offset : 0);
            double bias = of_row(&args[RN_BIAS], column, 0), scale = scale_at(&args[RN_SCALE], at, column);
            double y = mlxn_norm_value(&work, k) * w, add = of_all(&args[RN_ADD], at), all = (y + bias + add) * scale;
            if (bound) {
                double off = fabs(w) * mlxn_norm_off(&work, k) + 2 * MLXN_EPS * fabs(y);
                off += MLXN_EPS * (fabs(y + bias) + fabs(y + bias + add));
                bound[r * n + k] = fabs(scale) * off + store_off(out, all);
            } else {
                if (sum->present) mlxn_view_set(sum, at, work.t[k]);
                mlxn_view_set(out, at, all);
            }
        }
    }
    mlxn_norm_work_free(&work);
    return status;
}

static mlxn_status ref_row_norm(const mlxn_view *args, const void *params) { return row_norm(args, params, 0, NULL); }

static mlxn_status bound_row_norm(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    return row_norm(args, params, arg, out);
}

static mlxn_cost cost_bytes(const mlxn_view *args, uint32_t n, double flops) {
    double bytes = 0;
    for (uint32_t i = 0; i < n; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, flops * (double)mlxn_view_elements(&args[0])};
}

static mlxn_cost cost_row_norm(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_bytes(args, 8, 8);
}

/* Shapes and layouts that the cases of this file share. */
static const struct {
    uint32_t rank;
    uint64_t dims[3];
} shapes[] = {{2, {3, 576}}, {2, {7, 48}}, {3, {5, 9, 64}}, {1, {16}}, {2, {2, 8960}}, {3, {3, 2, 30}}, {2, {1, 2}}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static mlxn_case_arg row_arg(uint64_t d, mlxn_dtype dtype, double mean) {
    mlxn_case_arg a = mlxn_case_tensor(dtype, 1, &d);
    a.lo = mean;
    a.hi = 0.5;
    return a;
}

static bool case_row_norm(uint32_t i, mlxn_case *out) {
    /* which optional arguments are there, by bit of the argument; scale: 1 one number, 2 a row, 3 all */
    static const struct {
        uint32_t kind, present, scale, groups;
        float offset;
        const char *name;
    } forms[] = {{0, 1 << RN_W, 0, 0, 1, "rms, 1 + w"},
                 {0, 0, 3, 0, 0, "rms times all"},
                 {0, 1 << RN_W | 1 << RN_ADD, 1, 0, 0, "rms, add, scalar"},
                 {0, 1 << RN_RESIDUAL | 1 << RN_W | 1 << RN_SUM, 0, 0, 0, "residual, rms, sum"},
                 {0, 1 << RN_RESIDUAL | 1 << RN_W, 2, 0, 0, "residual, rms, vector"},
                 {0, 1 << RN_W, 0, 2, 0, "rms, 2 groups"},
                 {1, 1 << RN_W | 1 << RN_BIAS, 0, 0, 0, "layer"},
                 {1, 1 << RN_RESIDUAL | 1 << RN_ADD | 1 << RN_SUM, 0, 2, 0, "residual, layer, add, sum"},
                 {2, 0, 0, 0, 0, "l2, eps in the sum"},
                 {3, 0, 1, 0, 0, "l2, largest of eps"}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SHAPES);
    uint32_t f = mlxn_case_digit(&i, sizeof forms / sizeof *forms), layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    uint64_t d = shapes[s].dims[shapes[s].rank - 1];
    mlxn_case_arg x = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    x.lo = s % 2 ? 0.25 : 0;
    x.hi = s == 2 ? 20 : 1;
    mlxn_dtype other = mlxn_case_float(dtype + layout);
    out->args[RN_X] = mlxn_case_spread(x, layout, 1);
    out->args[RN_RESIDUAL] = out->args[RN_ADD] = mlxn_case_spread(x, layout, 5);
    out->args[RN_SUM] = mlxn_case_spread(x, layout, 2);
    out->args[RN_OUT] = mlxn_case_spread(x, layout, 3);
    out->args[RN_W] = mlxn_case_spread(row_arg(d, other, forms[f].offset > 0 ? 0 : 1), layout, 2);
    out->args[RN_BIAS] = mlxn_case_spread(row_arg(d, other, 0), layout, 7);
    for (uint32_t a = RN_RESIDUAL; a <= RN_SUM; a++) out->args[a].present = forms[f].present >> a & 1;
    mlxn_case_arg whole = mlxn_case_spread(x, layout, 4);
    out->args[RN_SCALE] = forms[f].scale == 3 ? whole : row_arg(forms[f].scale == 1 ? 1 : d, MLXN_F32, 0.5);
    out->args[RN_SCALE].present = forms[f].scale;
    mlxn_row_norm_params p = {forms[f].kind, s % 2 ? 1e-5f : 1e-6f, forms[f].offset, forms[f].groups};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", RN_X);
    mlxn_case_name(out, ", %s", forms[f].name);
    if (layout) mlxn_case_name_arg(out, "out", RN_OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_row_norm = {
    .name = "row_norm",
    .family = "norm_rows",
    .doc =
        "t = x + residual; out = (norm(t) * (w + weight_offset) + bias + add) * scale; sum_out = t. The norm of each "
        "row "
        "(or of each of its groups) is RMS, layer (mean and biased variance), or L2 with eps in the sum or as the "
        "least "
        "length. x, residual, add, sum_out, out: same dims and dtype (f32, f16, bf16); w, bias: [D]; scale: [1], [D] "
        "or x's dims; all but x and out optional. t is kept in f32: sum_out is rounded, what is normed is not. out "
        "may "
        "be x, residual or add.",
    .n_args = 8,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"residual", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"w", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"bias", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"add", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"scale", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"sum_out", MLXN_ROLE_OUT, false, true, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_row_norm_params),
    .params_type = "mlxn_row_norm_params",
    .check = check_row_norm,
    .ref = ref_row_norm,
    .bound = bound_row_norm,
    .cost = cost_row_norm,
    .make_case = case_row_norm,
    .inplace = 1u << RN_X | 1u << RN_RESIDUAL | 1u << RN_ADD,
};

/* --- norm_multi --- */

enum { NM_X, NM_POST_W, NM_RESIDUAL, NM_W, NM_SUM, NM_OUT };

static mlxn_status check_norm_multi(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_view *x = &args[NM_X], *out = &args[NM_OUT], *w = &args[NM_W];
    mlxn_status status = want_row(error, "post_w", &args[NM_POST_W], x);
    if (!status) status = want_like(error, "residual", &args[NM_RESIDUAL], x);
    if (!status) status = want_like(error, "sum_out", &args[NM_SUM], x);
    if (!status) status = mlxn_want_dim(error, "w", 1, w->dims[1], last(x), "last dim of x");
    if (!status) status = mlxn_want_same_dtype(error, "out", out, "x", x);
    if (!status && out->rank != x->rank + 1)
        status =
            mlxn_fail(error, MLXN_ERR_ARGUMENT, "out: rank is %u, want %u (one more than x)", out->rank, x->rank + 1);
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], w->dims[0], "dim[0] of w");
    for (uint32_t i = 0; !status && i < x->rank; i++)
        status = mlxn_want_dim(error, "out", i + 1, out->dims[i + 1], x->dims[i], "as x");
    if (!status && args[NM_RESIDUAL].present != args[NM_POST_W].present)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "residual: is %s, want it %s (as post_w)",
                           args[NM_RESIDUAL].present ? "present" : "absent",
                           args[NM_RESIDUAL].present ? "absent" : "present");
    if (!status) status = check_eps(((const mlxn_norm_multi_params *)params)->eps, error);
    return status;
}

static mlxn_status norm_multi(const mlxn_view *args, const mlxn_norm_multi_params *p, uint32_t arg, double *bound) {
    const mlxn_view *x = &args[NM_X], *out = &args[NM_OUT], *sum = &args[NM_SUM], *post = &args[NM_POST_W];
    uint64_t d = last(x), rows = mlxn_view_elements(x) / d, at[MLXN_MAX_RANK], where[MLXN_MAX_RANK];
    mlxn_norm_work work;
    mlxn_status status = mlxn_norm_work_create(d, &work);
    for (uint64_t r = 0; !status && r < rows; r++) {
        for (uint64_t k = 0; k < d; k++) {
            mlxn_view_unravel(x, r * d + k, at);
            work.t[k] = mlxn_view_get(x, at);
            work.off[k] = 0;
        }
        if (post->present) mlxn_norm_measure(&work, MLXN_NORM_RMS, (double)p->eps);
        for (uint64_t k = 0; k < d; k++) {
            mlxn_view_unravel(x, r * d + k, at);
            if (post->present) {
                double w = of_row(post, k, 1), y = mlxn_norm_value(&work, k) * w, off = mlxn_norm_off(&work, k);
                work.t[k] = y + of_all(&args[NM_RESIDUAL], at);
                work.off[k] = fabs(w) * off + MLXN_EPS * (fabs(y) + fabs(work.t[k]));
            }
            if (bound && arg == NM_SUM) bound[r * d + k] = work.off[k] + store_off(sum, work.t[k]);
            if (!bound && sum->present) mlxn_view_set(sum, at, work.t[k]);
        }
        if (bound && arg == NM_SUM) continue;
        mlxn_norm_measure(&work, MLXN_NORM_RMS, (double)p->eps);
        for (uint64_t j = 0; j < out->dims[0]; j++)
            for (uint64_t k = 0; k < d; k++) {
                mlxn_view_unravel(out, (j * rows + r) * d + k, where);
                double w = mlxn_view_get(&args[NM_W], (uint64_t[]){j, k}), y = mlxn_norm_value(&work, k) * w;
                if (bound)
                    bound[(j * rows + r) * d + k] = fabs(w) * mlxn_norm_off(&work, k) + store_off(out, y);
                else
                    mlxn_view_set(out, where, y);
            }
    }
    mlxn_norm_work_free(&work);
    return status;
}

static mlxn_status ref_norm_multi(const mlxn_view *args, const void *params) {
    return norm_multi(args, params, 0, NULL);
}

static mlxn_status bound_norm_multi(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    return norm_multi(args, params, arg, out);
}

static mlxn_cost cost_norm_multi(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_bytes(args, 6, 8);
}

static bool case_norm_multi(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SHAPES), n = 1 + 2 * mlxn_case_digit(&i, 2);
    uint32_t form = mlxn_case_digit(&i, 3), layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    uint64_t d = shapes[s].dims[shapes[s].rank - 1], dims[4] = {n};
    memcpy(dims + 1, shapes[s].dims, sizeof shapes[s].dims);
    mlxn_case_arg x = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    mlxn_dtype other = mlxn_case_float(dtype + layout);
    out->args[NM_X] = mlxn_case_spread(x, layout, 1);
    out->args[NM_RESIDUAL] = mlxn_case_spread(x, layout, 2);
    out->args[NM_SUM] = mlxn_case_spread(x, layout, 3);
    out->args[NM_POST_W] = mlxn_case_spread(row_arg(d, other, 1), layout, 2);
    out->args[NM_W] = mlxn_case_spread(mlxn_case_tensor(other, 2, (uint64_t[]){n, d}), layout, 5);
    out->args[NM_OUT] =
        mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank + 1, dims), layout, 7);
    out->args[NM_RESIDUAL].present = out->args[NM_POST_W].present = form > 0;
    out->args[NM_SUM].present = form > 1;
    mlxn_norm_multi_params p = {1e-6f};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", NM_X);
    mlxn_case_name(out, ", %u norms%s%s", n, form ? " of the residual" : "", form > 1 ? ", sum" : "");
    if (layout) mlxn_case_name_arg(out, "out", NM_OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_norm_multi = {
    .name = "norm_multi",
    .family = "norm_rows",
    .doc =
        "out[j] = rms_norm(r, w[j]) for every j, where r = residual + rms_norm(x, post_w), or x where both are "
        "absent; "
        "sum_out = r. x, residual, sum_out: same dims and dtype, up to rank 3; w: [N, D]; out: [N, dims of x]. r is "
        "kept "
        "in f32.",
    .n_args = 6,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK - 1},
             {"post_w", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"residual", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, MLXN_MAX_RANK - 1},
             {"w", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"sum_out", MLXN_ROLE_OUT, false, true, MLXN_FLOATS, 1, MLXN_MAX_RANK - 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_norm_multi_params),
    .params_type = "mlxn_norm_multi_params",
    .check = check_norm_multi,
    .ref = ref_norm_multi,
    .bound = bound_norm_multi,
    .cost = cost_norm_multi,
    .make_case = case_norm_multi,
};

/* --- moe_sum_norm --- */

enum { MS_E, MS_WEIGHTS, MS_W, MS_BASE, MS_BASE_W, MS_OUT };

static mlxn_status check_moe_sum_norm(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_view *e = &args[MS_E], *weights = &args[MS_WEIGHTS], *base = &args[MS_BASE], *out = &args[MS_OUT];
    const mlxn_moe_sum_norm_params *p = params;
    mlxn_status status = mlxn_want_dim(error, "weights", 0, weights->dims[0], e->dims[0], "dim[0] of experts");
    if (!status) status = mlxn_want_dim(error, "weights", 1, weights->dims[1], e->dims[1], "dim[1] of experts");
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], e->dims[0], "dim[0] of experts");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], e->dims[2], "dim[2] of experts");
    if (!status) status = mlxn_want_same_dims(error, "base", base, "out", out);
    if (!status) status = mlxn_want_same_dtype(error, "base", base, "out", out);
    if (!status) status = mlxn_want_same_dtype(error, "experts", e, "out", out);
    if (!status) status = want_row(error, "w", &args[MS_W], out);
    if (!status) status = want_row(error, "base_w", &args[MS_BASE_W], out);
    if (!status) status = check_eps(p->eps, error);
    if (!status && args[MS_BASE_W].present && !p->norm_base)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "base_w: is present, want it absent (norm_base is 0)");
    return status;
}

static mlxn_status moe_sum_norm(const mlxn_view *args, const mlxn_moe_sum_norm_params *p, double *bound) {
    const mlxn_view *e = &args[MS_E], *base = &args[MS_BASE], *out = &args[MS_OUT];
    uint64_t d = e->dims[2];
    mlxn_norm_work y, b = {0};
    mlxn_status status = mlxn_norm_work_create(d, &y);
    if (!status) status = mlxn_norm_work_create(d, &b);
    for (uint64_t r = 0; !status && r < e->dims[0]; r++) {
        for (uint64_t k = 0; k < d; k++) {
            double size = 0;
            y.t[k] = 0;
            for (uint64_t j = 0; j < e->dims[1]; j++) {
                double term = mlxn_view_get(e, (uint64_t[]){r, j, k});
                term *= mlxn_view_get(&args[MS_WEIGHTS], (uint64_t[]){r, j});
                y.t[k] += term;
                size += fabs(term);
            }
            y.off[k] = MLXN_EPS * size * (double)(e->dims[1] + 1);
            b.t[k] = mlxn_view_get(base, (uint64_t[]){r, k});
            b.off[k] = 0;
        }
        mlxn_norm_measure(&y, MLXN_NORM_RMS, (double)p->eps);
        mlxn_norm_measure(&b, MLXN_NORM_RMS, (double)p->eps);
        for (uint64_t k = 0; k < d; k++) {
            double w = of_row(&args[MS_W], k, 1), v = mlxn_norm_value(&y, k) * w;
            double bw = of_row(&args[MS_BASE_W], k, 1), u = p->norm_base ? mlxn_norm_value(&b, k) * bw : b.t[k];
            if (!bound) {
                mlxn_view_set(out, (uint64_t[]){r, k}, u + v);
                continue;
            }
            double off = fabs(w) * mlxn_norm_off(&y, k) + MLXN_EPS * fabs(v);
            if (p->norm_base) off += fabs(bw) * mlxn_norm_off(&b, k) + MLXN_EPS * fabs(u);
            bound[r * d + k] = off + store_off(out, u + v);
        }
    }
    mlxn_norm_work_free(&b);
    mlxn_norm_work_free(&y);
    return status;
}

static mlxn_status ref_moe_sum_norm(const mlxn_view *args, const void *params) {
    return moe_sum_norm(args, params, NULL);
}

static mlxn_status bound_moe_sum_norm(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                      double *out) {
    (void)fast;
    (void)arg;
    return moe_sum_norm(args, params, out);
}

static mlxn_cost cost_moe_sum_norm(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_bytes(args, 6, 3);
}

static bool case_moe_sum_norm(uint32_t i, mlxn_case *out) {
    static const uint64_t sizes[][3] = {{3, 8, 640}, {5, 1, 33}, {1, 2, 16}, {33, 3, 100}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 4), form = mlxn_case_digit(&i, 4);
    uint32_t layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    const uint64_t *n = sizes[s];
    mlxn_dtype type = mlxn_case_float(dtype), other = mlxn_case_float(dtype + layout);
    out->args[MS_E] = mlxn_case_spread(mlxn_case_tensor(type, 3, n), layout, 1);
    out->args[MS_WEIGHTS] = mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 2, n), layout, 2);
    out->args[MS_W] = mlxn_case_spread(row_arg(n[2], other, 1), layout, 2);
    out->args[MS_BASE] = mlxn_case_spread(mlxn_case_tensor(type, 2, (uint64_t[]){n[0], n[2]}), layout, 3);
    out->args[MS_BASE_W] = mlxn_case_spread(row_arg(n[2], other, 1), layout, 6);
    out->args[MS_OUT] = mlxn_case_spread(mlxn_case_tensor(type, 2, (uint64_t[]){n[0], n[2]}), layout, 5);
    out->args[MS_W].present = form % 2;
    out->args[MS_BASE_W].present = form == 3;
    mlxn_moe_sum_norm_params p = {1e-6f, form / 2};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "experts", MS_E);
    mlxn_case_name(out, "%s%s", form % 2 ? ", w" : "", form / 2 ? ", base normed" : "");
    if (layout) mlxn_case_name_arg(out, "out", MS_OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_moe_sum_norm = {
    .name = "moe_sum_norm",
    .family = "norm_rows",
    .doc =
        "y = sum over j of experts[r, j, :] * weights[r, j]; out = base + rms_norm(y, w), or rms_norm(base, base_w) "
        "+ "
        "rms_norm(y, w) where norm_base is set: then base itself is not added. experts: [R, K, D]; weights: [R, K] "
        "f32; "
        "base, out: [R, D] of the dtype of experts; w, base_w: optional [D]. out may be base.",
    .n_args = 6,
    .args = {{"experts", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"weights", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             {"w", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"base", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"base_w", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, 2}},
    .params_size = sizeof(mlxn_moe_sum_norm_params),
    .params_type = "mlxn_moe_sum_norm_params",
    .check = check_moe_sum_norm,
    .ref = ref_moe_sum_norm,
    .bound = bound_moe_sum_norm,
    .cost = cost_moe_sum_norm,
    .make_case = case_moe_sum_norm,
    .inplace = 1u << MS_BASE,
};

/* --- ssm_norm_gate --- */

enum { NG_X, NG_W, NG_Z, NG_OUT };

static mlxn_status check_norm_gate(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_norm_gate_params *p = params;
    mlxn_status status = want_like(error, "out", &args[NG_OUT], &args[NG_X]);
    if (!status) status = want_like(error, "z", &args[NG_Z], &args[NG_X]);
    if (!status) status = want_row(error, "w", &args[NG_W], &args[NG_X]);
    if (!status) status = check_eps(p->eps, error);
    return status ? status : check_groups(p->groups, last(&args[NG_X]), error);
}

static mlxn_status norm_gate(const mlxn_view *args, const mlxn_norm_gate_params *p, double *bound) {
    const mlxn_view *x = &args[NG_X], *out = &args[NG_OUT];
    uint64_t n = last(x) / (p->groups ? p->groups : 1), rows = mlxn_view_elements(x) / n, at[MLXN_MAX_RANK];
    mlxn_norm_work work;
    mlxn_status status = mlxn_norm_work_create(n, &work);
    for (uint64_t r = 0; !status && r < rows; r++) {
        for (uint64_t k = 0; k < n; k++) {
            mlxn_view_unravel(x, r * n + k, at);
            double v = mlxn_view_get(x, at), z = mlxn_view_get(&args[NG_Z], at);
            work.t[k] = p->gate_first ? v * silu(z) : v;
            work.off[k] = p->gate_first ? fabs(v) * silu_off(z) + MLXN_EPS * fabs(work.t[k]) : 0;
        }
        mlxn_norm_measure(&work, MLXN_NORM_RMS, (double)p->eps);
        for (uint64_t k = 0; k < n; k++) {
            mlxn_view_unravel(x, r * n + k, at);
            double w = of_row(&args[NG_W], at[x->rank - 1], 1), z = mlxn_view_get(&args[NG_Z], at);
            double y = mlxn_norm_value(&work, k) * w, gate = p->gate_first ? 1 : silu(z);
            double off = fabs(w) * mlxn_norm_off(&work, k) + MLXN_EPS * fabs(y);
            if (bound)
                bound[r * n + k] =
                    fabs(gate) * off + (p->gate_first ? 0 : fabs(y) * silu_off(z)) + store_off(out, y * gate);
            else
                mlxn_view_set(out, at, y * gate);
        }
    }
    mlxn_norm_work_free(&work);
    return status;
}

static mlxn_status ref_norm_gate(const mlxn_view *args, const void *params) { return norm_gate(args, params, NULL); }

static mlxn_status bound_norm_gate(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)arg;
    return norm_gate(args, params, out);
}

static mlxn_cost cost_norm_gate(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_bytes(args, 4, 20);
}

static bool case_norm_gate(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SHAPES), form = mlxn_case_digit(&i, 4);
    uint32_t layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    mlxn_case_arg x = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    out->args[NG_X] = mlxn_case_spread(x, layout, 1);
    out->args[NG_W] =
        mlxn_case_spread(row_arg(shapes[s].dims[shapes[s].rank - 1], mlxn_case_float(dtype + layout), 1), layout, 2);
    out->args[NG_Z] = mlxn_case_spread(x, layout, 3);
    out->args[NG_Z].hi = 4;
    out->args[NG_OUT] = mlxn_case_spread(x, layout, 6);
    out->args[NG_W].present = form != 1;
    mlxn_norm_gate_params p = {1e-6f, form % 2, form / 2 ? 2 : 0};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", NG_X);
    mlxn_case_name(out, "%s%s", form % 2 ? ", gate first" : "", form / 2 ? ", 2 groups" : "");
    if (layout) mlxn_case_name_arg(out, "out", NG_OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_ssm_norm_gate = {
    .name = "ssm_norm_gate",
    .family = "norm_rows",
    .doc =
        "out = rms_norm(x, w) * silu(z), or rms_norm(x * silu(z), w) where gate_first is set, over rows or groups of "
        "a "
        "row. x, z, out: same dims and dtype; w: optional [D]. out may be x or z.",
    .n_args = 4,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"w", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"z", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_norm_gate_params),
    .params_type = "mlxn_norm_gate_params",
    .check = check_norm_gate,
    .ref = ref_norm_gate,
    .bound = bound_norm_gate,
    .cost = cost_norm_gate,
    .make_case = case_norm_gate,
    .inplace = 1u << NG_X | 1u << NG_Z,
};

/* --- group_norm --- */

enum { GN_X, GN_W, GN_BIAS, GN_OUT };

static mlxn_status check_group_norm(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_group_norm_params *p = params;
    const mlxn_view *x = &args[GN_X];
    mlxn_status status = want_like(error, "out", &args[GN_OUT], x);
    for (int i = GN_W; !status && i <= GN_BIAS; i++)
        if (args[i].present)
            status = mlxn_want_dim(error, i == GN_W ? "w" : "bias", 0, args[i].dims[0], x->dims[1], "dim[1] of x");
    if (!status) status = check_eps(p->eps, error);
    if (status) return status;
    uint64_t each = p->groups ? (x->dims[1] + p->groups - 1) / p->groups : 0;
    if (!each || (p->groups - 1) * each >= x->dims[1])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: groups is %u, want 1 to %llu, none of them empty",
                         p->groups, (unsigned long long)x->dims[1]);
    return MLXN_OK;
}

static mlxn_status group_norm(const mlxn_view *args, const mlxn_group_norm_params *p, double *bound) {
    const mlxn_view *x = &args[GN_X], *out = &args[GN_OUT];
    uint64_t channels = x->dims[1], len = x->dims[2], each = (channels + p->groups - 1) / p->groups;
    mlxn_norm_work work;
    mlxn_status status = mlxn_norm_work_create(each * len, &work);
    for (uint64_t b = 0; !status && b < x->dims[0]; b++)
        for (uint64_t first = 0; first < channels; first += each) {
            work.n = mlxn_min_u64(each, channels - first) * len;
            for (uint64_t k = 0; k < work.n; k++) {
                work.t[k] = mlxn_view_get(x, (uint64_t[]){b, first + k / len, k % len});
                work.off[k] = 0;
            }
            mlxn_norm_measure(&work, MLXN_NORM_LAYER, (double)p->eps);
            for (uint64_t k = 0; k < work.n; k++) {
                uint64_t c = first + k / len;
                double w = of_row(&args[GN_W], c, 1), bias = of_row(&args[GN_BIAS], c, 0);
                double y = mlxn_norm_value(&work, k) * w;
                if (bound)
                    bound[(b * channels + first) * len + k] =
                        fabs(w) * mlxn_norm_off(&work, k) + MLXN_EPS * fabs(y) + store_off(out, y + bias);
                else
                    mlxn_view_set(out, (uint64_t[]){b, c, k % len}, y + bias);
            }
        }
    mlxn_norm_work_free(&work);
    return status;
}

static mlxn_status ref_group_norm(const mlxn_view *args, const void *params) {
    return group_norm(args, params, NULL);
}

static mlxn_status bound_group_norm(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)arg;
    return group_norm(args, params, out);
}

static mlxn_cost cost_group_norm(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_bytes(args, 4, 8);
}

static bool case_group_norm(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t dims[3];
        uint32_t groups;
    } sizes[] = {{{2, 32, 49}, 8}, {{1, 10, 7}, 3}, {{3, 5, 1}, 1}, {{2, 6, 300}, 6}, {{1, 64, 16}, 2}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), affine = mlxn_case_digit(&i, 2);
    uint32_t layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    mlxn_case_arg x = mlxn_case_tensor(mlxn_case_float(dtype), 3, sizes[s].dims);
    x.lo = s % 2 ? 3 : 0;
    mlxn_dtype other = mlxn_case_float(dtype + layout);
    out->args[GN_X] = mlxn_case_spread(x, layout, 1);
    out->args[GN_W] = mlxn_case_spread(row_arg(sizes[s].dims[1], other, 1), layout, 2);
    out->args[GN_BIAS] = mlxn_case_spread(row_arg(sizes[s].dims[1], other, 0), layout, 3);
    out->args[GN_OUT] = mlxn_case_spread(x, layout, 2);
    out->args[GN_W].present = out->args[GN_BIAS].present = affine;
    if (layout == 3) out->args[GN_X].layout = MLXN_LAYOUT_OUTER;
    mlxn_group_norm_params p = {sizes[s].groups, 1e-5f};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", GN_X);
    mlxn_case_name(out, ", %u groups%s", p.groups, affine ? ", affine" : "");
    if (layout) mlxn_case_name_arg(out, "out", GN_OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_group_norm = {
    .name = "group_norm",
    .family = "norm_rows",
    .doc =
        "Group norm (Wu & He 2018): (x - mean) / sqrt(variance + eps) * w[c] + bias[c], mean and biased variance "
        "over "
        "the "
        "channels of a group and all positions. x, out: [N, C, P], same dtype (f32, f16, bf16); w, bias: optional "
        "[C]. "
        "out may be x.",
    .n_args = 4,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"w", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"bias", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .params_size = sizeof(mlxn_group_norm_params),
    .params_type = "mlxn_group_norm_params",
    .check = check_group_norm,
    .ref = ref_group_norm,
    .bound = bound_group_norm,
    .cost = cost_group_norm,
    .make_case = case_group_norm,
    .inplace = 1u << GN_X,
};
