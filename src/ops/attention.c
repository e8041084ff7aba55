/* attention.c: causal attention over ring caches with grouped heads, sliding window and score softcap. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

enum { Q, K_CACHE, V_CACHE, SEQUENCES, POSITIONS, OUT };

static mlxn_status check_attention(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_attention_params *p = params;
    const mlxn_view *q = &args[Q], *cache = &args[K_CACHE];
    mlxn_status status = mlxn_want_same_dims(error, "v_cache", &args[V_CACHE], "k_cache", cache);
    if (!status) status = mlxn_want_same_dtype(error, "v_cache", &args[V_CACHE], "k_cache", cache);
    if (!status) status = mlxn_want_dim(error, "k_cache", 3, cache->dims[3], q->dims[2], "last dim of q");
    if (!status) status = mlxn_want_dim(error, "sequences", 0, args[SEQUENCES].dims[0], q->dims[0], "dim[0] of q");
    if (!status) status = mlxn_want_dim(error, "positions", 0, args[POSITIONS].dims[0], q->dims[0], "dim[0] of q");
    if (!status) status = mlxn_want_same_dims(error, "out", &args[OUT], "q", q);
    if (status) return status;
    if (q->dims[1] % cache->dims[1])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "q: dim[1] is %llu, want a multiple of %llu (heads of k_cache)",
                         (unsigned long long)q->dims[1], (unsigned long long)cache->dims[1]);
    if (!isfinite(p->scale))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: scale is %g, want a number", (double)p->scale);
    if (!(p->softcap >= 0 && isfinite(p->softcap)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: softcap is %g, want 0 (none) or a number above 0",
                         (double)p->softcap);
    return MLXN_OK;
}

/* The first position that row t attends to; the last is its own. */
static uint64_t first_position(const mlxn_view *args, const mlxn_attention_params *p, uint64_t position) {
    uint64_t span = args[K_CACHE].dims[2];
    if (p->window && p->window < span) span = p->window;
    return position + 1 > span ? position + 1 - span : 0;
}

/* Scores of row t, head h, in `s` and, for the bound, the sum of |q k| of each key in `size` (may be NULL). */
static void scores(const mlxn_view *args, const mlxn_attention_params *p, uint64_t t, uint64_t h, uint64_t first,
                   uint64_t count, const double *q, double *s, double *size) {
    const mlxn_view *cache = &args[K_CACHE];
    uint64_t sequence = mlxn_view_u32(&args[SEQUENCES], t), d = cache->dims[3];
    uint64_t head = h / (args[Q].dims[1] / cache->dims[1]);
    for (uint64_t j = 0; j < count; j++) {
        uint64_t at[] = {sequence, head, (first + j) % cache->dims[2], 0};
        double dot = 0, sum = 0;
        for (at[3] = 0; at[3] < d; at[3]++) {
            double term = q[at[3]] * mlxn_view_get(cache, at);
            dot += term;
            sum += fabs(term);
        }
        s[j] = (double)p->scale * dot;
        if (p->softcap > 0) s[j] = (double)p->softcap * tanh(s[j] / (double)p->softcap);
        if (size) size[j] = fabs((double)p->scale) * sum;
    }
}

/* Both the result and, if bound is not NULL, its error bound. out: d values of row t, head h. */
static void attend(const mlxn_view *args, const mlxn_attention_params *p, uint64_t t, uint64_t h, double *work,
                   double *out, double *bound) {
    const mlxn_view *v = &args[V_CACHE];
    uint64_t d = v->dims[3], slots = v->dims[2], sequence = mlxn_view_u32(&args[SEQUENCES], t);
    uint64_t position = mlxn_view_u32(&args[POSITIONS], t);
    for (uint64_t i = 0; i < d; i++) out[i] = 0;
    if (bound)
        for (uint64_t i = 0; i < d; i++) bound[i] = 0;
    if (sequence >= v->dims[0]) return;
    uint64_t first = first_position(args, p, position), count = position - first + 1;
    double *q = work, *s = q + d, *size = s + slots;
    for (uint64_t i = 0; i < d; i++) q[i] = mlxn_view_get(&args[Q], (uint64_t[]){t, h, i});
    scores(args, p, t, h, first, count, q, s, bound ? size : NULL);
    double top = s[0], total = 0, spread = 0;
    for (uint64_t j = 1; j < count; j++) top = fmax(top, s[j]);
    /* A score is off by the error of a sum of D terms and of softcap; an exponential of s - top by that difference
     * and a few units. */
    for (uint64_t j = 0; bound && j < count; j++) {
        double off = MLXN_EPS * (mlxn_bound_sum(d) * size[j] + 8 * (double)p->softcap + 2 * fabs(s[j] - top) + 8);
        spread = fmax(spread, off);
    }
    for (uint64_t j = 0; j < count; j++) {
        s[j] = exp(s[j] - top);
        total += s[j];
    }
    uint64_t head = h / (args[Q].dims[1] / v->dims[1]);
    for (uint64_t j = 0; j < count; j++) {
        double weight = s[j] / total;
        uint64_t at[] = {sequence, head, (first + j) % slots, 0};
        for (at[3] = 0; at[3] < d; at[3]++) {
            double term = weight * mlxn_view_get(v, at);
            out[at[3]] += term;
            if (bound) bound[at[3]] += fabs(term);
        }
    }
    for (uint64_t i = 0; bound && i < d; i++)
        bound[i] = bound[i] * (2 * spread + MLXN_EPS * (8 + mlxn_bound_sum(count))) + 1e-37;
}

static double *work_space(const mlxn_view *args) {
    return mlxn_alloc_array(args[K_CACHE].dims[3] * 2 + args[K_CACHE].dims[2] * 2, sizeof(double));
}

static mlxn_status ref_attention(const mlxn_view *args, const void *params) {
    const mlxn_view *out = &args[OUT];
    uint64_t d = out->dims[2];
    double *work = work_space(args);
    if (!work) return MLXN_ERR_MEMORY;
    for (uint64_t t = 0; t < out->dims[0]; t++)
        for (uint64_t h = 0; h < out->dims[1]; h++) {
            attend(args, params, t, h, work + d, work, NULL);
            for (uint64_t i = 0; i < d; i++) mlxn_view_set(out, (uint64_t[]){t, h, i}, work[i]);
        }
    mlxn_free(work);
    return MLXN_OK;
}

static mlxn_status bound_attention(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                   double *bound) {
    (void)fast;
    const mlxn_view *out = &args[arg];
    uint64_t d = out->dims[2];
    double *work = work_space(args);
    if (!work) return MLXN_ERR_MEMORY;
    for (uint64_t t = 0; t < out->dims[0]; t++)
        for (uint64_t h = 0; h < out->dims[1]; h++)
            attend(args, params, t, h, work + d, work, bound + (t * out->dims[1] + h) * d);
    mlxn_free(work);
    return MLXN_OK;
}

/* Positions lie in device memory and are not known here: every slot of every row's sequence counts once, which is the
 * upper bound. */
static mlxn_cost cost_attention(const mlxn_view *args, const void *params) {
    const mlxn_attention_params *p = params;
    double rows = (double)args[Q].dims[0], slots = (double)args[K_CACHE].dims[2];
    if (p->window && (double)p->window < slots) slots = p->window;
    double sequences = fmin(rows, (double)args[K_CACHE].dims[0]);
    double row = (double)args[K_CACHE].dims[1] * (double)args[K_CACHE].dims[3];
    double caches = 2 * sequences * slots * row * (double)mlxn_dtype_size(args[K_CACHE].dtype);
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[Q]) + caches,
                       4 * rows * slots * (double)args[Q].dims[1] * (double)args[Q].dims[2]};
}

/* Slots that no row attends to hold NaN: nothing of them may reach an output. */
static void poison(const mlxn_view *args, const void *params) {
    const mlxn_view *cache = &args[K_CACHE];
    for (uint64_t s = 0; s < cache->dims[0]; s++)
        for (uint64_t c = 0; c < cache->dims[2]; c++) {
            bool read = false;
            for (uint64_t t = 0; t < args[Q].dims[0] && !read; t++) {
                if (mlxn_view_u32(&args[SEQUENCES], t) != s) continue;
                uint64_t last = mlxn_view_u32(&args[POSITIONS], t), first = first_position(args, params, last);
                uint64_t at = first / cache->dims[2] * cache->dims[2] + c;
                read = (at >= first && at <= last) || (at + cache->dims[2] >= first && at + cache->dims[2] <= last);
            }
            for (uint64_t h = 0; !read && h < cache->dims[1]; h++)
                for (uint64_t i = 0; i < cache->dims[3]; i++) {
                    uint64_t at[] = {s, h, c, i};
                    mlxn_view_set(cache, at, NAN);
                    mlxn_view_set(&args[V_CACHE], at, NAN);
                }
        }
}

static const struct {
    uint64_t t, heads, kv_heads, d, slots;
    uint32_t n, sequences; /* rows name n sequences in turn, the cache has `sequences` */
    double start;
    uint32_t window;
    float softcap;
    bool slow;
} shapes[] = {
    {1, 9, 3, 64, 64, 1, 1, 0, 0, 0, false},       {1, 9, 3, 64, 256, 1, 1, 200, 0, 0, false},
    {1, 4, 1, 256, 128, 1, 1, 100, 0, 0, false},   {1, 12, 2, 128, 96, 1, 2, 95, 0, 0, false},
    {1, 4, 1, 256, 64, 1, 1, 1000, 0, 0, false},   {7, 9, 3, 64, 64, 1, 1, 0, 0, 0, false},
    {33, 9, 3, 64, 64, 1, 1, 0, 0, 0, false},      {64, 3, 1, 64, 128, 1, 1, 17, 0, 0, false},
    {16, 4, 1, 256, 128, 1, 1, 90, 32, 0, false},  {5, 4, 4, 64, 31, 1, 1, 24, 7, 30, false},
    {4, 4, 2, 128, 48, 4, 4, 40, 0, 0, false},     {12, 6, 2, 64, 40, 3, 4, 60, 0, 0, false},
    {9, 6, 1, 80, 33, 3, 2, 12, 16, 0, false},     {3, 2, 2, 31, 5, 1, 1, 2, 0, 0, false},
    {8, 8, 2, 96, 65, 2, 2, 31, 1, 0, false},      {2, 3, 3, 16, 1, 2, 2, 5, 0, 50, false},
    {17, 12, 2, 128, 64, 1, 1, 47, 0, 0, false},   {1, 9, 3, 64, 1024, 1, 1, 1000, 0, 0, false},
    {1, 4, 1, 256, 512, 1, 1, 511, 512, 0, false}, {1, 12, 2, 128, 2048, 1, 1, 2047, 0, 0, true},
    {128, 9, 3, 64, 256, 1, 1, 100, 0, 0, true},   {100, 4, 1, 256, 160, 1, 1, 0, 64, 0, true},
    {8, 9, 3, 64, 512, 8, 8, 300, 0, 0, true},     {65, 12, 2, 128, 65, 1, 1, 0, 0, 0, true},
};

static bool case_attention(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[Q] = mlxn_case_tensor(MLXN_F32, 3, (uint64_t[]){shapes[s].t, shapes[s].heads, shapes[s].d});
    out->args[Q].hi = layout == 1 ? 6 : 1; /* peaked weights */
    out->args[K_CACHE] =
        mlxn_case_tensor(mlxn_case_float(dtype), 4,
                         (uint64_t[]){shapes[s].sequences, shapes[s].kv_heads, shapes[s].slots, shapes[s].d});
    out->args[V_CACHE] = out->args[K_CACHE];
    out->args[SEQUENCES] = mlxn_case_tensor(MLXN_U32, 1, &shapes[s].t);
    out->args[SEQUENCES].fill = MLXN_FILL_SEQUENCE;
    out->args[SEQUENCES].n = shapes[s].n;
    out->args[POSITIONS] = out->args[SEQUENCES];
    out->args[POSITIONS].fill = MLXN_FILL_POSITION;
    out->args[POSITIONS].lo = shapes[s].start;
    out->args[POSITIONS].hi = 3;
    out->args[OUT] = out->args[Q];
    if (layout == 1) {
        out->args[K_CACHE].layout = out->args[V_CACHE].layout = MLXN_LAYOUT_GAPS;
        out->args[Q].layout = MLXN_LAYOUT_GAPS;
    } else if (layout == 2) {
        out->args[Q].shift = 1;
        out->args[K_CACHE].shift = 1;
        out->args[V_CACHE].shift = 3;
        out->args[V_CACHE].layout = MLXN_LAYOUT_OUTER;
        out->args[OUT].layout = MLXN_LAYOUT_OUTER;
        out->args[OUT].shift = 2;
        out->args[SEQUENCES].layout = MLXN_LAYOUT_INNER;
    }
    mlxn_attention_params p = {s % 4 == 2 ? 0.0625f : 1 / sqrtf((float)shapes[s].d), shapes[s].softcap,
                               shapes[s].window};
    memcpy(out->params, &p, sizeof p);
    out->prepare = poison;
    out->slow = shapes[s].slow || (layout == 1 && shapes[s].t > 32);
    mlxn_case_name_arg(out, "q", Q);
    mlxn_case_name_arg(out, "k_cache", K_CACHE);
    mlxn_case_name(out, ", %u sequences from %g", shapes[s].n, shapes[s].start);
    if (p.window) mlxn_case_name(out, ", window %u", p.window);
    if (p.softcap > 0) mlxn_case_name(out, ", softcap");
    if (layout) mlxn_case_name_arg(out, "out", OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_attention = {
    .name = "attention",
    .family = "attention",
    .doc =
        "Causal attention over caches, grouped heads: head h reads cache head h / (H / Hk). Row t attends to "
        "positions "
        "p of its sequence with p <= positions[t], p > positions[t] - window (if window > 0) and p > positions[t] - "
        "C, "
        "which lie in slot p mod C. s = scale * q.k; if softcap > 0: s = softcap * tanh(s / softcap); out = "
        "softmax(s) v. q, out: [T, H, D] f32; caches as in kv_write. Rows whose sequence is >= S give zeros. Slots "
        "that no row attends to may hold anything.",
    .n_args = 6,
    .args = {{"q", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 3, 3},
             {"k_cache", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 4, 4},
             {"v_cache", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 4, 4},
             {"sequences", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 3, 3}},
    .params_size = sizeof(mlxn_attention_params),
    .params_type = "mlxn_attention_params",
    .check = check_attention,
    .ref = ref_attention,
    .bound = bound_attention,
    .cost = cost_attention,
    .make_case = case_attention,
};
