/* attention.c: attention over ring caches with grouped heads: causal, windowed or open, with soft cap, additive
 * masks, linear biases and sinks, over plain and quantized caches. */
#include "ops/attention.h"

#include <math.h>

#include "ops/bound.h"

enum { Q = MLXN_ATT_Q, K_CACHE, V_CACHE, SEQUENCES, POSITIONS, SINKS, MASK, OUT };

static mlxn_status check_params(const mlxn_attention_params *p, mlxn_error *error) {
    if (!isfinite(p->scale))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: scale is %g, want a number", (double)p->scale);
    if (!(p->softcap >= 0 && isfinite(p->softcap)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: softcap is %g, want 0 (none) or a number above 0",
                         (double)p->softcap);
    if (p->visible > MLXN_MASK_CHUNKED)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: visible is %u, want 0 to %d", p->visible,
                         MLXN_MASK_CHUNKED);
    if (p->visible >= MLXN_MASK_SYMMETRIC && p->window == 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: window is 0, want at least 1 for visible = %u",
                         p->visible);
    if (!(p->alibi_max_bias >= 0 && isfinite(p->alibi_max_bias)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: alibi_max_bias is %g, want 0 (none) or a number above 0",
                         (double)p->alibi_max_bias);
    return MLXN_OK;
}

static mlxn_status check_mask(const mlxn_view *args, mlxn_error *error) {
    const mlxn_view *mask = &args[MASK], *q = &args[Q];
    if (!mask->present) return MLXN_OK;
    uint32_t last = mask->rank - 1;
    mlxn_status status = mlxn_want_dim(error, "mask", 0, mask->dims[0], q->dims[0], "dim[0] of q");
    if (!status && last == 2) status = mlxn_want_dim(error, "mask", 1, mask->dims[1], q->dims[1], "heads of q");
    if (!status)
        status = mlxn_want_dim(error, "mask", last, mask->dims[last], args[K_CACHE].dims[2], "slots of k_cache");
    return status;
}

static mlxn_status check_attention(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_attention_params *p = params;
    const mlxn_view *q = &args[Q], *cache = &args[K_CACHE], *v = &args[V_CACHE], *out = &args[OUT];
    mlxn_kv_type type;
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; i < 3 && !status; i++)
        status = mlxn_want_dim(error, "v_cache", i, v->dims[i], cache->dims[i], "as k_cache");
    if (!status) status = mlxn_want_dim(error, "sequences", 0, args[SEQUENCES].dims[0], q->dims[0], "dim[0] of q");
    if (!status) status = mlxn_want_dim(error, "positions", 0, args[POSITIONS].dims[0], q->dims[0], "dim[0] of q");
    for (uint32_t i = 0; i < 2 && !status; i++)
        status = mlxn_want_dim(error, "out", i, out->dims[i], q->dims[i], "as q");
    if (!status && args[SINKS].present)
        status = mlxn_want_dim(error, "sinks", 0, args[SINKS].dims[0], q->dims[1], "heads of q");
    if (!status) status = check_mask(args, error);
    if (!status) status = mlxn_want_same_dtype(error, "out", out, "q", q);
    if (status) return status;
    if (q->dims[1] % cache->dims[1])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "q: dim[1] is %llu, want a multiple of %llu (heads of k_cache)",
                         (unsigned long long)q->dims[1], (unsigned long long)cache->dims[1]);
    status = check_params(p, error);
    if (!status) status = mlxn_want_cache(error, "k_cache", cache, p->k_type, q->dims[2], &type);
    if (!status) status = mlxn_want_cache(error, "v_cache", v, p->v_type, out->dims[2], &type);
    return status;
}

mlxn_att_range mlxn_att_sees(const mlxn_view *args, const mlxn_attention_params *p, uint64_t position) {
    uint64_t slots = args[K_CACHE].dims[2], end = position + 1, span = slots;
    switch (p->visible) {
        case MLXN_MASK_NONE:
            return (mlxn_att_range){0, slots};
        case MLXN_MASK_SYMMETRIC: {
            uint64_t half = p->window / 2, first = position > half ? position - half : 0;
            end = mlxn_min_u64(position + half + 1, slots);
            return (mlxn_att_range){mlxn_min_u64(first, end), end};
        }
        case MLXN_MASK_CHUNKED:
            span = mlxn_min_u64(slots, position % p->window + 1);
            break;
        default:
            if (p->window) span = mlxn_min_u64(slots, p->window);
    }
    return (mlxn_att_range){end > span ? end - span : 0, end};
}

static double slope_of(float max_bias, uint64_t heads, uint64_t h) {
    uint64_t n = 1;
    while (2 * n <= heads) n *= 2;
    if (h < n) return pow(2, -(double)max_bias / (double)n * (double)(h + 1));
    return pow(2, -(double)max_bias / (2 * (double)n) * (double)(2 * (h - n) + 1));
}

/* What is added to a score; -infinity: the key is not seen. */
static double mask_at(const mlxn_view *mask, uint64_t t, uint64_t h, uint64_t slot) {
    if (!mask->present) return 0;
    double m = mlxn_view_get(mask, mask->rank == 3 ? (uint64_t[]){t, h, slot} : (uint64_t[]){t, slot, 0});
    return mask->dtype == MLXN_U8 ? (m != 0 ? 0 : -INFINITY) : m;
}

/* Work space of a row: a query, a cache row, and for each key its score, the size of its error, and its weight. */
typedef struct work {
    double *q, *row, *s, *off;
    mlxn_kv_type k_type, v_type;
} work;

static double *make_work(const mlxn_view *args, const mlxn_attention_params *p, work *w) {
    uint64_t dk = args[Q].dims[2], dv = args[OUT].dims[2], d = mlxn_max_u64(dk, dv), slots = args[K_CACHE].dims[2];
    double *base = mlxn_alloc_array(2 * d + 2 * slots, sizeof *base);
    if (!base) return NULL;
    w->q = base;
    w->row = w->q + d;
    w->s = w->row + d;
    w->off = w->s + slots;
    w->k_type = mlxn_kv_resolve(p->k_type, args[K_CACHE].dtype);
    w->v_type = mlxn_kv_resolve(p->v_type, args[V_CACHE].dtype);
    return base;
}

static double length_of(const double *x, uint64_t d) {
    double sum = 0;
    for (uint64_t i = 0; i < d; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

/* Scores of row t, head h, and how far a binary32 kernel's may be: a sum of D terms, the transform of the query where
 * keys are rotated, soft cap, bias and mask. */
static void scores(const mlxn_view *args, const mlxn_attention_params *p, uint64_t t, uint64_t h,
                   mlxn_att_range range, work *w) {
    const mlxn_view *cache = &args[K_CACHE];
    uint64_t sequence = mlxn_view_u32(&args[SEQUENCES], t), position = mlxn_view_u32(&args[POSITIONS], t);
    uint64_t d = args[Q].dims[2], head = h / (args[Q].dims[1] / cache->dims[1]);
    for (uint64_t i = 0; i < d; i++) w->q[i] = mlxn_view_get(&args[Q], (uint64_t[]){t, h, i});
    bool rotated = mlxn_kv_type_rotated(w->k_type);
    if (rotated) mlxn_cache_rotate(w->q, d);
    double turn = rotated ? (log2((double)d) + 2) * length_of(w->q, d) : 0;
    double slope = p->alibi_max_bias > 0 ? slope_of(p->alibi_max_bias, args[Q].dims[1], h) : 0;
    for (uint64_t j = 0; j < range.end - range.first; j++) {
        uint64_t key = range.first + j;
        mlxn_cache_get(cache, w->k_type, sequence, head, key % cache->dims[2], d, w->row);
        double dot = 0, sum = 0;
        for (uint64_t i = 0; i < d; i++) {
            dot += w->q[i] * w->row[i];
            sum += fabs(w->q[i] * w->row[i]);
        }
        double s = (double)p->scale * dot, size = mlxn_bound_sum(d) * sum + turn * length_of(w->row, d);
        if (p->softcap > 0) s = (double)p->softcap * tanh(s / (double)p->softcap);
        double bias = slope * (key > position ? (double)(key - position) : (double)(position - key));
        double m = mask_at(&args[MASK], t, h, key % cache->dims[2]);
        w->s[j] = m == -INFINITY ? m : s - bias + m;
        w->off[j] = MLXN_EPS * (fabs((double)p->scale) * size + 8 * (double)p->softcap + 4 * bias +
                                (m == -INFINITY ? 0 : 4 * fabs(m)));
    }
}

/* The result of row t, head h, and its error bound if that is not NULL: dv values each. */
static void attend(const mlxn_view *args, const mlxn_attention_params *p, uint64_t t, uint64_t h, work *w,
                   double *out, double *bound) {
    const mlxn_view *v = &args[V_CACHE];
    uint64_t dv = args[OUT].dims[2], sequence = mlxn_view_u32(&args[SEQUENCES], t);
    for (uint64_t i = 0; i < dv; i++) out[i] = 0;
    for (uint64_t i = 0; bound && i < dv; i++) bound[i] = 0;
    if (sequence >= v->dims[0]) return;
    mlxn_att_range range = mlxn_att_sees(args, p, mlxn_view_u32(&args[POSITIONS], t));
    uint64_t count = range.end - range.first, head = h / (args[Q].dims[1] / v->dims[1]);
    scores(args, p, t, h, range, w);
    double sink = args[SINKS].present ? mlxn_view_get(&args[SINKS], (uint64_t[]){h}) : -INFINITY;
    double top = sink, total = 0, mean_off = 0;
    for (uint64_t j = 0; j < count; j++) top = fmax(top, w->s[j]);
    if (top == -INFINITY) return; /* no key is seen */
    for (uint64_t j = 0; j < count; j++) {
        /* an exponential is off by the error of its argument and a few units, and so is each rescaling */
        w->off[j] += w->s[j] == -INFINITY ? 0 : MLXN_EPS * (2 * fabs(w->s[j] - top) + 8);
        w->s[j] = exp(w->s[j] - top);
        total += w->s[j];
    }
    if (sink != -INFINITY) total += exp(sink - top);
    for (uint64_t j = 0; j < count; j++) mean_off += w->s[j] / total * w->off[j];
    if (sink != -INFINITY) mean_off += MLXN_EPS * (2 * fabs(sink - top) + 8) * exp(sink - top) / total;
    for (uint64_t j = 0; j < count; j++) {
        if (w->s[j] == 0) continue; /* values of keys that are not seen may be anything */
        double weight = w->s[j] / total, off = w->off[j] + mean_off + MLXN_EPS * (8 + mlxn_bound_sum(count));
        mlxn_cache_get(v, w->v_type, sequence, head, (range.first + j) % v->dims[2], dv, w->row);
        for (uint64_t i = 0; i < dv; i++) {
            out[i] += weight * w->row[i];
            if (bound) bound[i] += off * fabs(weight * w->row[i]);
        }
    }
    bool rotated = mlxn_kv_type_rotated(w->v_type);
    if (rotated) mlxn_cache_unrotate(out, dv);
    if (!bound) return;
    double sum = 0, turn = 0;
    for (uint64_t i = 0; i < dv; i++) sum += bound[i] * bound[i];
    if (rotated) turn = sqrt(sum) + MLXN_EPS * (log2((double)dv) + 2) * length_of(out, dv);
    for (uint64_t i = 0; i < dv; i++) {
        double unit = args[OUT].dtype == MLXN_F32 ? 0 : mlxn_bound_unit(args[OUT].dtype, out[i]);
        bound[i] = (rotated ? turn : bound[i]) + unit + 1e-37;
    }
}

static mlxn_status ref_attention(const mlxn_view *args, const void *params) {
    const mlxn_view *out = &args[OUT];
    uint64_t d = out->dims[2];
    work w;
    double *base = make_work(args, params, &w), *row = mlxn_alloc_array(d, sizeof *row);
    mlxn_status status = base && row ? MLXN_OK : MLXN_ERR_MEMORY;
    for (uint64_t t = 0; !status && t < out->dims[0]; t++)
        for (uint64_t h = 0; h < out->dims[1]; h++) {
            attend(args, params, t, h, &w, row, NULL);
            for (uint64_t i = 0; i < d; i++) mlxn_view_set(out, (uint64_t[]){t, h, i}, row[i]);
        }
    mlxn_free(row);
    mlxn_free(base);
    return status;
}

static mlxn_status bound_attention(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                   double *bound) {
    (void)fast;
    const mlxn_view *out = &args[arg];
    uint64_t d = out->dims[2];
    work w;
    double *base = make_work(args, params, &w), *row = mlxn_alloc_array(d, sizeof *row);
    mlxn_status status = base && row ? MLXN_OK : MLXN_ERR_MEMORY;
    for (uint64_t t = 0; !status && t < out->dims[0]; t++)
        for (uint64_t h = 0; h < out->dims[1]; h++)
            attend(args, params, t, h, &w, row, bound + (t * out->dims[1] + h) * d);
    mlxn_free(row);
    mlxn_free(base);
    return status;
}

/* Positions lie in device memory and are not known here: every slot of every row's sequence counts once, which is the
 * upper bound. */
static mlxn_cost cost_attention(const mlxn_view *args, const void *params) {
    const mlxn_attention_params *p = params;
    const mlxn_view *k = &args[K_CACHE], *v = &args[V_CACHE];
    double rows = (double)args[Q].dims[0], slots = (double)k->dims[2];
    if (p->window && (double)p->window < slots && p->visible != MLXN_MASK_NONE) slots = p->window;
    double sequences = fmin(rows, (double)k->dims[0]);
    double row = (double)(k->dims[3] * mlxn_dtype_size(k->dtype) + v->dims[3] * mlxn_dtype_size(v->dtype));
    double caches = sequences * slots * (double)k->dims[1] * row;
    double sizes = (double)(args[Q].dims[2] + args[OUT].dims[2]);
    return (mlxn_cost){(double)mlxn_view_bytes(&args[Q]) + (double)mlxn_view_bytes(&args[OUT]) + caches,
                       2 * rows * slots * (double)args[Q].dims[1] * sizes};
}

const mlxn_op_def mlxn_opdef_attention = {
    .name = "attention",
    .family = "attention",
    .doc =
        "Attention over caches, grouped heads: head h reads cache head h / (H / Hk). Row t sees the positions p of "
        "its "
        "sequence that params.visible and params.window say; causal: p <= positions[t], p > positions[t] - window "
        "(if "
        "window > 0) and p > positions[t] - C. They lie in slot p mod C. s = scale * q.k; if softcap > 0: s = "
        "softcap "
        "* tanh(s / softcap); if alibi_max_bias > 0: s -= slope_h * |positions[t] - p| (Press et al. 2022); s += "
        "mask; out = softmax(s) v, with exp(sinks[h]) as one more term of the denominator. q: [T, H, Dk] f32, f16 or "
        "bf16; out: [T, H, Dv], the same dtype; caches: as in kv_write, of the types in params; mask: optional [T, "
        "C] "
        "or [T, H, C] by slot, f32, f16, bf16, or u8 where 0 hides; sinks: optional [H] f32. Rows that see no key, "
        "and "
        "rows whose sequence is >= S, give zeros. Slots that no row sees may hold anything. v_cache may be a view of "
        "k_cache.",
    .n_args = 8,
    .args = {{"q", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"k_cache", MLXN_ROLE_IN, false, false, MLXN_CACHE_DTYPES, 4, 4},
             {"v_cache", MLXN_ROLE_IN, false, false, MLXN_CACHE_DTYPES, 4, 4},
             {"sequences", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"sinks", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"mask", MLXN_ROLE_IN, false, true, MLXN_CACHE_DTYPES, 2, 3},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .params_size = sizeof(mlxn_attention_params),
    .params_type = "mlxn_attention_params",
    .check = check_attention,
    .ref = ref_attention,
    .bound = bound_attention,
    .cost = cost_attention,
    .make_case = mlxn_case_attention,
};
