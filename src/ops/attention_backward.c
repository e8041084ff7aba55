/* attention_backward.c: the gradient of dense attention: attention_backward. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

enum { Q, K, V, DOUT, MASK, DQ, DK, DV };

static mlxn_status check(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_attention_backward_params *p = params;
    const mlxn_view *q = &args[Q], *k = &args[K], *v = &args[V], *mask = &args[MASK];
    if (q->dims[0] % k->dims[0])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "q: dim[0] is %llu, want a multiple of %llu (heads of k)",
                         (unsigned long long)q->dims[0], (unsigned long long)k->dims[0]);
    mlxn_status status = mlxn_want_dim(error, "k", 2, k->dims[2], q->dims[2], "last dim of q");
    if (!status) status = mlxn_want_dim(error, "v", 0, v->dims[0], k->dims[0], "heads of k");
    if (!status) status = mlxn_want_dim(error, "v", 1, v->dims[1], k->dims[1], "keys of k");
    if (!status) status = mlxn_want_dim(error, "dout", 0, args[DOUT].dims[0], q->dims[0], "heads of q");
    if (!status) status = mlxn_want_dim(error, "dout", 1, args[DOUT].dims[1], q->dims[1], "rows of q");
    if (!status) status = mlxn_want_dim(error, "dout", 2, args[DOUT].dims[2], v->dims[2], "last dim of v");
    if (!status && mask->present) status = mlxn_want_dim(error, "mask", 0, mask->dims[0], q->dims[1], "rows of q");
    if (!status && mask->present) status = mlxn_want_dim(error, "mask", 1, mask->dims[1], k->dims[1], "keys of k");
    if (!status) status = mlxn_want_same_dims(error, "dq", &args[DQ], "q", q);
    if (!status) status = mlxn_want_same_dims(error, "dk", &args[DK], "k", k);
    if (!status) status = mlxn_want_same_dims(error, "dv", &args[DV], "v", v);
    if (!status && p->causal && q->dims[1] > k->dims[1])
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "q: dim[1] is %llu, want at most %llu (keys of k, causal)",
                           (unsigned long long)q->dims[1], (unsigned long long)k->dims[1]);
    if (!status && !(p->scale > 0 && isfinite(p->scale)))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: scale is %g, want a number above 0", (double)p->scale);
    return status;
}

static double at3(const mlxn_view *v, uint64_t a, uint64_t b, uint64_t c) {
    return mlxn_view_get(v, (const uint64_t[]){a, b, c});
}

static double dot(const mlxn_view *x, uint64_t xh, uint64_t xr, const mlxn_view *y, uint64_t yh, uint64_t yr,
                  bool sizes) {
    double sum = 0;
    for (uint64_t i = 0; i < x->dims[2]; i++) {
        double t = at3(x, xh, xr, i) * at3(y, yh, yr, i);
        sum += sizes ? fabs(t) : t;
    }
    return sum;
}

/* Gradients, or with `sizes` the sums of the magnitudes of their terms, into [H, T, D], [Hk, S, D], [Hk, S, Dv].
 * *most: the largest sum of magnitudes of a score. */
static mlxn_status gradients(const mlxn_view *args, const mlxn_attention_backward_params *p, bool sizes, double *dq,
                             double *dk, double *dv, double *most) {
    const mlxn_view *q = &args[Q], *k = &args[K], *v = &args[V], *dout = &args[DOUT];
    uint64_t rows = q->dims[1], keys = k->dims[1], d = q->dims[2], w = v->dims[2], group = q->dims[0] / k->dims[0];
    double scale = (double)p->scale, *prob = mlxn_alloc_array(2 * keys, sizeof *prob);
    if (!prob) return MLXN_ERR_MEMORY;
    double *dp = prob + keys;
    *most = 0;
    for (uint64_t h = 0; h < q->dims[0]; h++)
        for (uint64_t t = 0; t < rows; t++) {
            uint64_t g = h / group, seen = p->causal ? t + keys - rows + 1 : keys;
            double top = -INFINITY, sum = 0, delta = 0;
            for (uint64_t s = 0; s < seen; s++) {
                double mask = args[MASK].present ? mlxn_view_get(&args[MASK], (const uint64_t[]){t, s}) : 0;
                prob[s] = scale * dot(q, h, t, k, g, s, false) + mask;
                *most = fmax(*most, scale * dot(q, h, t, k, g, s, true));
                top = fmax(top, prob[s]);
            }
            for (uint64_t s = 0; s < seen; s++) sum += prob[s] = top == -INFINITY ? 0 : exp(prob[s] - top);
            for (uint64_t s = 0; s < seen; s++) {
                prob[s] = sum > 0 ? prob[s] / sum : 0;
                dp[s] = dot(dout, h, t, v, g, s, sizes);
                delta += prob[s] * dp[s];
            }
            for (uint64_t s = 0; s < seen; s++) {
                double ds = scale * prob[s] * (sizes ? dp[s] + delta : dp[s] - delta);
                for (uint64_t i = 0; i < d; i++) {
                    double a = ds * at3(k, g, s, i), b = ds * at3(q, h, t, i);
                    dq[(h * rows + t) * d + i] += sizes ? fabs(a) : a;
                    dk[(g * keys + s) * d + i] += sizes ? fabs(b) : b;
                }
                for (uint64_t i = 0; i < w; i++) {
                    double a = prob[s] * at3(dout, h, t, i);
                    dv[(g * keys + s) * w + i] += sizes ? fabs(a) : a;
                }
            }
        }
    mlxn_free(prob);
    return MLXN_OK;
}

/* The three gradients in one allocation. */
static mlxn_status all_gradients(const mlxn_view *args, const void *params, bool sizes, double **out, double *most) {
    uint64_t nq = mlxn_view_elements(&args[Q]), nk = mlxn_view_elements(&args[K]), nv = mlxn_view_elements(&args[V]);
    *out = mlxn_alloc_array(nq + nk + nv, sizeof **out);
    if (!*out) return MLXN_ERR_MEMORY;
    mlxn_status status = gradients(args, params, sizes, *out, *out + nq, *out + nq + nk, most);
    if (status) mlxn_free(*out);
    return status;
}

static mlxn_status ref(const mlxn_view *args, const void *params) {
    double *all, most;
    mlxn_status status = all_gradients(args, params, false, &all, &most);
    if (status) return status;
    const double *next = all;
    for (uint32_t a = DQ; a <= DV; a++) {
        uint64_t n = mlxn_view_elements(&args[a]), at[MLXN_MAX_RANK];
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[a], i, at);
            mlxn_view_set(&args[a], at, next[i]);
        }
        next += n;
    }
    mlxn_free(all);
    return MLXN_OK;
}

/* Units of the sums of magnitudes: as many as the sums over channels, keys and rows lose, and the exponential's
 * argument as a score is large. */
static mlxn_status bound(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    double *all, most;
    mlxn_status status = all_gradients(args, params, true, &all, &most);
    if (status) return status;
    const mlxn_view *q = &args[Q], *k = &args[K];
    uint64_t widest = q->dims[2] > args[V].dims[2] ? q->dims[2] : args[V].dims[2];
    uint64_t rows = q->dims[1] * (q->dims[0] / k->dims[0]);
    double units = 32 + 2 * mlxn_bound_sum(widest) + 2 * mlxn_bound_sum(k->dims[1]) + mlxn_bound_sum(rows) + 8 * most;
    const double *from = all + (arg == DQ ? 0 : mlxn_view_elements(q));
    if (arg == DV) from += mlxn_view_elements(k);
    uint64_t n = mlxn_view_elements(&args[arg]);
    for (uint64_t i = 0; i < n; i++) out[i] = MLXN_EPS * units * from[i] + 1e-36;
    mlxn_free(all);
    return MLXN_OK;
}

static mlxn_cost cost(const mlxn_view *args, const void *params) {
    (void)params;
    double bytes = 0, pairs = (double)args[Q].dims[0] * (double)args[Q].dims[1] * (double)args[K].dims[1];
    for (uint32_t i = 0; i <= DV; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, 6 * pairs * (double)args[Q].dims[2] + 4 * pairs * (double)args[V].dims[2]};
}

/* The first row of the mask hides all keys, and others some. */
static void hide(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *mask = &args[MASK];
    for (uint64_t t = 0; t < mask->dims[0]; t++)
        for (uint64_t s = 0; s < mask->dims[1]; s++)
            if (t == 0 || (t + 3 * s) % 7 == 0) mlxn_view_set(mask, (const uint64_t[]){t, s}, -INFINITY);
}

static bool make_case(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t heads, kv_heads, rows, keys, d, w;
    } shapes[] = {{1, 1, 1, 1, 1, 1}, {4, 2, 5, 9, 16, 24}, {3, 1, 17, 33, 33, 17}, {2, 2, 40, 40, 64, 64}};
    *out = (mlxn_case){0};
    uint32_t s = mlxn_case_digit(&i, 4), causal = mlxn_case_digit(&i, 2), masked = mlxn_case_digit(&i, 2);
    uint32_t layout = mlxn_case_digit(&i, 2);
    if (i) return false;
    const uint64_t q[] = {shapes[s].heads, shapes[s].rows, shapes[s].d};
    const uint64_t k[] = {shapes[s].kv_heads, shapes[s].keys, shapes[s].d};
    const uint64_t v[] = {shapes[s].kv_heads, shapes[s].keys, shapes[s].w};
    const uint64_t o[] = {shapes[s].heads, shapes[s].rows, shapes[s].w}, m[] = {shapes[s].rows, shapes[s].keys};
    const uint64_t *const dims[] = {q, k, v, o, m, q, k, v};
    for (uint32_t a = 0; a <= DV; a++) {
        if (a == MASK && !masked) continue;
        out->args[a] = mlxn_case_tensor(MLXN_F32, a == MASK ? 2 : 3, dims[a]);
        if (layout) out->args[a].layout = a == MASK || a % 3 == 0 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_OUTER;
    }
    if (layout) out->args[MASK].layout = MLXN_LAYOUT_GAPS;
    if (masked) out->prepare = hide;
    mlxn_attention_backward_params p = {0.25f, causal};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "q", 0);
    mlxn_case_name_arg(out, "k", 1);
    mlxn_case_name(out, "%s%s", causal ? " causal" : "", masked ? " mask" : "");
    return true;
}

#define ARG(name, role, optional, rank) \
    { name, role, false, optional, 1u << MLXN_F32, rank, rank }

const mlxn_op_def mlxn_opdef_attention_backward = {
    .name = "attention_backward",
    .family = "attention_backward",
    .doc =
        "The gradients of out = softmax(scale q k' + mask) v for dout: dq, dk, dv. q, dq: [H, T, D]; k, dk: [Hk, S, "
        "D]; v, dv: [Hk, S, Dv]; dout: [H, T, Dv]; H a multiple of Hk, head h reads h / (H / Hk); mask: optional "
        "[T, S], added; causal: row t sees the keys up to t + S - T. f32. Rows that see nothing give 0.",
    .n_args = 8,
    .args = {ARG("q", MLXN_ROLE_IN, false, 3), ARG("k", MLXN_ROLE_IN, false, 3), ARG("v", MLXN_ROLE_IN, false, 3),
             ARG("dout", MLXN_ROLE_IN, false, 3), ARG("mask", MLXN_ROLE_IN, true, 2),
             ARG("dq", MLXN_ROLE_OUT, false, 3), ARG("dk", MLXN_ROLE_OUT, false, 3),
             ARG("dv", MLXN_ROLE_OUT, false, 3)},
    .params_size = sizeof(mlxn_attention_backward_params),
    .params_type = "mlxn_attention_backward_params",
    .check = check,
    .ref = ref,
    .bound = bound,
    .cost = cost,
    .make_case = make_case,
};
