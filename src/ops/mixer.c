/* mixer.c: recurrent mixers whose state is a matrix per head: gated delta net, gated linear attention, RWKV 6 and 7,
 * and the scan of Mamba 1 and 2.
 *
 * Row j of a head's state, m, belongs to value j; its elements to the channels of the keys. Tokens of a sequence come
 * one after another, sequences in their order, so that two that share a state go on from one another. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

/* Every operation lists its arguments in its own order and ends with state, out. */
enum { Q, K, V, G, BETA, SLOTS, STATE, OUT }; /* gated_delta_net */
enum { GL_SLOTS = 4, GL_STATE, GL_OUT };      /* gla: q, k, v, g, … */
enum { W6_W = 3, W6_U };                      /* wkv6: r, k, v, w, u, slots, … */
enum { W7_R, W7_W, W7_K, W7_V, W7_A, W7_B, W7_STATE, W7_OUT };
enum { SS_X, SS_DT, SS_A, SS_B, SS_C }; /* ssm_scan: …, slots, … */

typedef enum scan_kind { DELTA, GLA, WKV6, WKV7, SSM } scan_kind;

/* One token of one head, as vectors over the key channels; what an operation does not have is NULL. */
typedef struct scan_step {
    double *q, *k, *decay, *a, *b, *u;
    double beta, scale;
    double key_off, decay_off; /* relative, of what a kernel has for q and k, and for decay */
} scan_step;

typedef struct scan_view {
    scan_kind kind;
    const mlxn_view *args, *slots, *state, *out, *v;
    const void *params;
    uint64_t sequences, tokens, heads, dk, dv;
} scan_view;

static scan_view view_of(scan_kind kind, const mlxn_view *args, const void *params) {
    static const mlxn_view absent;
    scan_view s = {.kind = kind, .args = args, .params = params, .slots = &args[SLOTS], .state = &args[STATE]};
    s.out = &args[OUT];
    s.v = &args[V];
    if (kind == GLA) {
        s.slots = &args[GL_SLOTS];
        s.state = &args[GL_STATE];
        s.out = &args[GL_OUT];
    } else if (kind == WKV7) {
        s.slots = &absent;
        s.v = &args[W7_V];
    } else if (kind == SSM) {
        s.v = &args[SS_X];
    }
    s.sequences = s.v->dims[0];
    s.tokens = s.v->dims[1];
    s.heads = s.v->dims[2];
    s.dv = s.v->dims[3];
    s.dk = s.state->dims[3];
    return s;
}

static uint64_t key_head(const scan_view *s, uint64_t h) {
    const mlxn_gated_delta_net_params *p = s->params;
    uint64_t n = s->args[K].dims[2];
    return p->head_map == MLXN_HEADS_BLOCKS ? h / (s->heads / n) : h % n;
}

static void channels(const mlxn_view *v, uint64_t s, uint64_t t, uint64_t h, double *out) {
    for (uint64_t i = 0; i < v->dims[3]; i++) out[i] = mlxn_view_get(v, (uint64_t[]){s, t, h, i});
}

static double softplus(double x) { return x > 20 ? x : log1p(exp(x)); }

static void to_unit(double *x, uint64_t n, double eps) {
    double sum = eps;
    for (uint64_t i = 0; i < n; i++) sum += x[i] * x[i];
    for (uint64_t i = 0; i < n; i++) x[i] /= sqrt(sum);
}

/* Fills the step; gives what value rows are multiplied by before they enter (the step size of the Mamba scan). */
static double load_step(const scan_view *s, uint64_t seq, uint64_t t, uint64_t h, scan_step *out) {
    const mlxn_view *a = s->args;
    out->scale = out->beta = 1;
    out->key_off = 0;
    out->decay_off = MLXN_EPS;
    switch (s->kind) {
        case DELTA: {
            const mlxn_gated_delta_net_params *p = s->params;
            uint64_t from = key_head(s, h);
            channels(&a[Q], seq, t, from, out->q);
            channels(&a[K], seq, t, from, out->k);
            if (p->l2_eps > 0) {
                to_unit(out->q, s->dk, (double)p->l2_eps);
                to_unit(out->k, s->dk, (double)p->l2_eps);
                out->key_off = MLXN_EPS * (mlxn_bound_sum(s->dk) + 4);
            }
            double largest = 0;
            for (uint64_t i = 0; i < s->dk; i++) {
                double g = mlxn_view_get(&a[G], (uint64_t[]){seq, t, h, i}); /* the last index of rank 3 is unused */
                out->decay[i] = exp(g);
                largest = fmax(largest, fabs(g));
            }
            out->decay_off = MLXN_EPS * (8 + 2 * largest);
            out->beta = mlxn_view_get(&a[BETA], (uint64_t[]){seq, t, h});
            out->scale = p->scale == 0 ? 1 : (double)p->scale;
            return 1;
        }
        case GLA:
            out->scale = (double)((const mlxn_gla_params *)s->params)->scale;
            if (out->scale == 0) out->scale = 1;
            channels(&a[Q], seq, t, h, out->q);
            channels(&a[K], seq, t, h, out->k);
            channels(&a[G], seq, t, h, out->decay);
            return 1;
        case WKV6:
            channels(&a[0], seq, t, h, out->q);
            channels(&a[1], seq, t, h, out->k);
            channels(&a[W6_W], seq, t, h, out->decay);
            for (uint64_t i = 0; i < s->dk; i++) out->u[i] = mlxn_view_get(&a[W6_U], (uint64_t[]){h, i});
            return 1;
        case WKV7:
            channels(&a[W7_R], seq, t, h, out->q);
            channels(&a[W7_K], seq, t, h, out->k);
            channels(&a[W7_W], seq, t, h, out->decay);
            channels(&a[W7_A], seq, t, h, out->a);
            channels(&a[W7_B], seq, t, h, out->b);
            return 1;
        default: {
            const mlxn_ssm_scan_params *p = s->params;
            uint64_t group = h / (s->heads / a[SS_B].dims[2]);
            channels(&a[SS_B], seq, t, group, out->k);
            channels(&a[SS_C], seq, t, group, out->q);
            double step = mlxn_view_get(&a[SS_DT], (uint64_t[]){seq, t, h}), largest = 0;
            if (p->softplus) step = softplus(step);
            for (uint64_t i = 0; i < s->dk; i++) {
                double g = step * mlxn_view_get(&a[SS_A], (uint64_t[]){h, i});
                out->decay[i] = exp(g);
                largest = fmax(largest, fabs(g));
            }
            out->decay_off = MLXN_EPS * (8 + 8 * largest);
            out->key_off = 8 * MLXN_EPS; /* of the step size, which is a factor of the keys */
            return step;
        }
    }
}

static double dot(const double *x, const double *y, uint64_t n) {
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}
static double length(const double *x, uint64_t n) { return sqrt(dot(x, x, n)); }

/* One token of one row: changes m, gives the output. */
static double advance(scan_kind kind, const scan_step *x, double v, double *m, uint64_t n) {
    double extra = 0, first = 0;
    if (kind == WKV6)
        for (uint64_t i = 0; i < n; i++) extra += x->q[i] * (m[i] + x->u[i] * x->k[i] * v);
    if (kind == WKV7) first = dot(m, x->a, n);
    for (uint64_t i = 0; i < n; i++) m[i] *= x->decay[i];
    if (kind == DELTA) v = x->beta * (v - dot(m, x->k, n));
    for (uint64_t i = 0; i < n; i++) m[i] += v * x->k[i] + (kind == WKV7 ? first * x->b[i] : 0);
    return kind == WKV6 ? extra : x->scale * dot(m, x->q, n);
}

/* What a binary32 kernel may be off by, in the length of a row's state (changed here) and in the output. Errors of
 * the tokens are independent: their squares add up. */
static double stray(scan_kind kind, const scan_step *x, double v, const double *before, const double *m, uint64_t n,
                    double *off) {
    double unit = MLXN_EPS * (mlxn_bound_sum(n) + 4), keep = 0, size = length(before, n), now = length(m, n);
    double k = length(x->k, n), q = length(x->q, n) * fabs(x->scale);
    for (uint64_t i = 0; i < n; i++) keep = fmax(keep, fabs(x->decay[i]));
    double fresh = keep * size * x->decay_off, entry = fabs(v) * k, grow = keep;
    double own = *off; /* WKV6 reads the state before it changes */
    if (kind == DELTA) {
        double part = fabs(x->beta) * (fabs(v) + keep * size * k);
        entry = part * k;
        fresh += (unit + 2 * x->key_off) * part * k;
        grow = keep * fmax(1, fabs(1 - x->beta * k * k));
    } else if (kind == WKV7) {
        double ab = length(x->a, n) * length(x->b, n);
        fresh += unit * size * ab;
        grow += ab;
    }
    fresh += MLXN_EPS * 3 * (entry + now) + x->key_off * entry;
    *off = sqrt(*off * *off * grow * grow + fresh * fresh);
    if (kind != WKV6) return q * (*off + (unit + x->key_off) * now);
    double bonus = 0;
    for (uint64_t i = 0; i < n; i++) bonus += fabs(x->q[i] * x->u[i] * x->k[i] * v);
    return q * (own + unit * size) + (unit + 4 * MLXN_EPS) * bonus;
}

/* Runs the operation. Where `bounds` is given the views are only read, and it gets the bound of out or, with
 * `of_state`, of the state. */
static mlxn_status scan(const scan_view *s, bool of_state, double *bounds) {
    uint64_t dk = s->dk, dv = s->dv, elements = mlxn_view_elements(s->state), at[MLXN_MAX_RANK];
    double *buffer = mlxn_alloc_array(7 * dk, sizeof *buffer), *all = mlxn_alloc_array(elements, sizeof *all);
    double *far = mlxn_alloc_array(elements / dk, sizeof *far);
    mlxn_status status = buffer && all && far ? MLXN_OK : MLXN_ERR_MEMORY;
    scan_step x = {.q = buffer};
    if (!status) {
        double **parts[] = {&x.q, &x.k, &x.decay, &x.a, &x.b, &x.u};
        for (int i = 0; i < 6; i++) *parts[i] = buffer + (uint64_t)i * dk;
    }
    for (uint64_t i = 0; !status && i < elements; i++) {
        mlxn_view_unravel(s->state, i, at);
        all[i] = mlxn_view_get(s->state, at);
        if (of_state) bounds[i] = 0;
    }
    for (uint64_t h = 0; !status && h < s->heads; h++)
        for (uint64_t seq = 0; seq < s->sequences; seq++) {
            uint64_t slot = s->slots->present ? mlxn_view_u32(s->slots, seq) : seq, row = (slot * s->heads + h) * dv;
            bool exists = slot < s->state->dims[0];
            for (uint64_t t = 0; t < s->tokens; t++) {
                double factor = load_step(s, seq, t, h, &x);
                for (uint64_t j = 0; j < dv; j++) {
                    double *m = all + (row + j) * dk, *before = buffer + 6 * dk, o = 0, off = 0;
                    if (exists) {
                        double v = factor * mlxn_view_get(s->v, (uint64_t[]){seq, t, h, j});
                        memcpy(before, m, dk * sizeof *m);
                        o = advance(s->kind, &x, v, m, dk);
                        if (bounds) off = stray(s->kind, &x, v, before, m, dk, &far[row + j]);
                    }
                    if (!bounds)
                        mlxn_view_set(s->out, (uint64_t[]){seq, t, h, j}, o);
                    else if (!of_state)
                        bounds[((seq * s->tokens + t) * s->heads + h) * dv + j] =
                            off + mlxn_bound_unit(s->out->dtype, o) + 1e-37;
                }
            }
            for (uint64_t i = row * dk; exists && i < (row + dv) * dk; i++) {
                mlxn_view_unravel(s->state, i, at);
                if (!bounds) mlxn_view_set(s->state, at, all[i]);
                if (of_state) bounds[i] = far[i / dk] + mlxn_bound_unit(MLXN_F32, all[i]) + 1e-37;
            }
        }
    mlxn_free(buffer);
    mlxn_free(all);
    mlxn_free(far);
    return status;
}

static mlxn_status bound_scan(scan_kind kind, const mlxn_view *args, const void *params, uint32_t arg, double *out) {
    scan_view s = view_of(kind, args, params);
    return scan(&s, &args[arg] == s.state, out);
}

/* Multiplications per state element: some four. */
static mlxn_cost cost_scan(scan_kind kind, const mlxn_view *args, const void *params, uint32_t n) {
    scan_view s = view_of(kind, args, params);
    mlxn_cost c = {0, 8.0 * (double)(s.sequences * s.tokens * s.heads) * (double)(s.dk * s.dv)};
    for (uint32_t i = 0; i < n; i++) c.bytes += (double)mlxn_view_bytes(&args[i]);
    c.bytes += (double)(s.sequences * s.heads) * (double)(s.dk * s.dv) * 8 - (double)mlxn_view_bytes(s.state);
    return c;
}

/* --- checks --- */

static mlxn_status want_dims(mlxn_error *error, const char *name, const mlxn_view *v, const uint64_t *dims,
                             const char *const *why) {
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; !status && v->present && i < v->rank; i++)
        status = mlxn_want_dim(error, name, i, v->dims[i], dims[i], why[i]);
    return status;
}

/* The state, the slots and out, which all operations share. `v` is what the values are called. */
static mlxn_status check_common(const scan_view *s, uint64_t dk, const char *v, mlxn_error *error) {
    static const char *const why[] = {"", "heads of the values", "last dim of the values", "last dim of the keys"};
    const mlxn_view *state = s->state;
    mlxn_status status = mlxn_want_same_dims(error, "out", s->out, v, s->v);
    if (!status) status = mlxn_want_same_dtype(error, "out", s->out, v, s->v);
    if (!status) status = want_dims(error, "state", state, (uint64_t[]){state->dims[0], s->heads, s->dv, dk}, why);
    if (!status && s->slots->present)
        status = mlxn_want_dim(error, "slots", 0, s->slots->dims[0], s->sequences, "sequences");
    else if (!status && state->dims[0] < s->sequences)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "state: dim[0] is %llu, want %llu or more (sequences)",
                           (unsigned long long)state->dims[0], (unsigned long long)s->sequences);
    return status;
}

static const char *const like_v[] = {"sequences", "tokens", "heads of the values", "last dim of the keys"};

/* [S, T, H, Dk] of the values' S, T and H, and their dtype. */
static mlxn_status check_channels(const scan_view *s, const char *name, const mlxn_view *x, const char *v,
                                  uint64_t dk, mlxn_error *error) {
    mlxn_status status = want_dims(error, name, x, (uint64_t[]){s->sequences, s->tokens, s->heads, dk}, like_v);
    return status ? status : mlxn_want_same_dtype(error, name, x, v, s->v);
}

static mlxn_status check_number(float value, const char *name, mlxn_error *error) {
    if (isfinite(value)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: %s is %g, want a number", name, (double)value);
}

/* --- gated_delta_net --- */

static mlxn_status check_delta(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_gated_delta_net_params *p = params;
    scan_view s = view_of(DELTA, args, params);
    uint64_t dk = args[K].dims[3], heads = args[K].dims[2];
    mlxn_status status = mlxn_want_same_dims(error, "q", &args[Q], "k", &args[K]);
    const uint64_t dims[] = {s.sequences, s.tokens, s.heads, dk};
    if (!status) status = want_dims(error, "k", &args[K], (uint64_t[]){dims[0], dims[1], heads, dk}, like_v);
    if (!status) status = mlxn_want_same_dtype(error, "q", &args[Q], "v", s.v);
    if (!status) status = mlxn_want_same_dtype(error, "k", &args[K], "v", s.v);
    if (!status) status = want_dims(error, "g", &args[G], dims, like_v);
    if (!status) status = want_dims(error, "beta", &args[BETA], dims, like_v);
    if (!status) status = check_common(&s, dk, "v", error);
    if (!status) status = check_number(p->scale, "scale", error);
    if (!status) status = check_number(p->l2_eps, "l2_eps", error);
    if (!status && s.heads % heads)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "v: dim[2] is %llu, want a multiple of %llu (heads of k)",
                         (unsigned long long)s.heads, (unsigned long long)heads);
    if (!status && p->head_map > MLXN_HEADS_BLOCKS)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: head_map is %u, want %d (tiled) or %d (blocks)",
                         p->head_map, MLXN_HEADS_TILED, MLXN_HEADS_BLOCKS);
    return status;
}

static mlxn_status ref_delta(const mlxn_view *args, const void *params) {
    scan_view s = view_of(DELTA, args, params);
    return scan(&s, false, NULL);
}
static mlxn_status bound_delta(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    return bound_scan(DELTA, args, params, arg, out);
}
static mlxn_cost cost_delta(const mlxn_view *args, const void *params) { return cost_scan(DELTA, args, params, 8); }

static mlxn_case_arg fill(mlxn_case_arg a, double lo, double hi) {
    a.fill = MLXN_FILL_UNIFORM;
    a.lo = lo;
    a.hi = hi;
    return a;
}

/* Sequences, tokens, heads of keys, of values, key and value channels. */
static const struct {
    uint64_t s, t, hk, h, dk, dv;
    bool slow;
} sizes[] = {{2, 1, 2, 4, 128, 128, 0}, {1, 5, 1, 3, 64, 48, 0},  {3, 2, 2, 2, 13, 7, 0},    {1, 70, 1, 2, 32, 16, 0},
             {2, 33, 2, 2, 16, 33, 0},  {1, 1, 4, 8, 128, 17, 0}, {1, 200, 1, 1, 128, 64, 1}};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* Slots and state of a case: more slots than sequences where slots are given, one of them asked for that is not. */
static void case_state(mlxn_case *c, uint32_t state, uint32_t s, bool slotted, uint32_t layout) {
    uint64_t n = sizes[s].s;
    c->args[state - 1] = mlxn_case_tensor(MLXN_U32, 1, &n);
    c->args[state - 1].present = slotted;
    c->args[state - 1].fill = MLXN_FILL_SEQUENCE;
    c->args[state - 1].n = (uint32_t)n;
    uint64_t slots = slotted && n > 2 ? n - 1 : slotted ? n + 1 : n;
    uint64_t dims[] = {slots, sizes[s].h, sizes[s].dv, sizes[s].dk};
    c->args[state] = mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 4, dims), layout, 4);
    mlxn_case_arg out = mlxn_case_tensor(c->args[0].dtype, 4, (uint64_t[]){n, sizes[s].t, sizes[s].h, sizes[s].dv});
    c->args[state + 1] = mlxn_case_spread(out, layout, 3);
    c->slow = sizes[s].slow;
}

static bool case_delta(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SIZES), form = mlxn_case_digit(&i, 4);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    if (layout) layout++; /* strides */
    uint64_t qk[] = {sizes[s].s, sizes[s].t, sizes[s].hk, sizes[s].dk};
    uint64_t each[] = {sizes[s].s, sizes[s].t, sizes[s].h, sizes[s].dk};
    double unit = 1 / sqrt((double)sizes[s].dk);
    out->args[Q] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, qk), layout, 1);
    out->args[K] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, qk), layout, 2);
    if (form != 1) out->args[Q].hi = out->args[K].hi = unit;
    uint64_t v[] = {sizes[s].s, sizes[s].t, sizes[s].h, sizes[s].dv};
    out->args[V] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, v), layout, 5);
    out->args[G] =
        fill(mlxn_case_spread(mlxn_case_tensor(MLXN_F32, form == 2 ? 4 : 3, each), layout, 3), s % 2 ? -6 : -0.1, 0);
    out->args[BETA] = fill(mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 3, each), layout, 1), 0, 1);
    case_state(out, STATE, s, form == 3, layout);
    mlxn_gated_delta_net_params p = {form == 0 ? (float)unit : 0, form % 2, form == 1 ? 1e-6f : 0};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "k", K);
    mlxn_case_name_arg(out, "v", V);
    static const char *const names[] = {"", ", unit keys, blocks of heads", ", decay per channel", ", slots, blocks"};
    mlxn_case_name(out, "%s", names[form]);
    return true;
}

#define SCAN_ARG(name) \
    { name, MLXN_ROLE_IN, false, false, MLXN_FLOATS, 4, 4 }
#define SCAN_SLOTS \
    { "slots", MLXN_ROLE_IN, false, true, 1u << MLXN_U32, 1, 1 }
#define SCAN_STATE \
    { "state", MLXN_ROLE_INOUT, false, false, 1u << MLXN_F32, 4, 4 }
#define SCAN_OUT \
    { "out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 4, 4 }

const mlxn_op_def mlxn_opdef_gated_delta_net = {
    .name = "gated_delta_net",
    .family = "mixer",
    .doc =
        "Gated delta rule (Yang et al. 2024), per head and token: M = e^g M; d = beta (v - M k); M = M + d k^T; out "
        "= scale M q. "
        "q, k: [S, T, Hk, Dk]; v, out: [S, T, H, Dv], same dtype (f32, f16, bf16); g: log-decay <= 0, [S, T, H] or "
        "[S, T, H, Dk] f32 (a decay per key channel); beta: [S, T, H] f32; state M: [N, H, Dv, Dk] f32, changed in "
        "place; slots: optional [S] u32, the state of each sequence (its own number where absent). A sequence whose "
        "slot "
        "is >= N gives zeros; sequences that share one go on from one another in their order.",
    .n_args = 8,
    .args = {SCAN_ARG("q"),
             SCAN_ARG("k"),
             SCAN_ARG("v"),
             {"g", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 3, 4},
             {"beta", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 3, 3},
             SCAN_SLOTS,
             SCAN_STATE,
             SCAN_OUT},
    .params_size = sizeof(mlxn_gated_delta_net_params),
    .params_type = "mlxn_gated_delta_net_params",
    .check = check_delta,
    .ref = ref_delta,
    .bound = bound_delta,
    .bound_before = true,
    .cost = cost_delta,
    .make_case = case_delta,
};

/* --- gla --- */

static mlxn_status check_gla(const mlxn_view *args, const void *params, mlxn_error *error) {
    scan_view s = view_of(GLA, args, params);
    static const char *const names[] = {"q", "k", "", "g"};
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; !status && i < 4; i++)
        if (i != V) status = check_channels(&s, names[i], &args[i], "v", args[K].dims[3], error);
    if (!status) status = check_common(&s, args[K].dims[3], "v", error);
    return status ? status : check_number(((const mlxn_gla_params *)params)->scale, "scale", error);
}

static mlxn_status ref_gla(const mlxn_view *args, const void *params) {
    scan_view s = view_of(GLA, args, params);
    return scan(&s, false, NULL);
}
static mlxn_status bound_gla(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    return bound_scan(GLA, args, params, arg, out);
}
static mlxn_cost cost_gla(const mlxn_view *args, const void *params) { return cost_scan(GLA, args, params, 7); }

/* Arguments of S, T, H and Dk (or Dv, for argument `v`) channels. */
static bool case_heads(uint32_t *i, mlxn_case *out, uint32_t n, uint32_t v, uint32_t *size, uint32_t *layout) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(i, 3), s = mlxn_case_digit(i, N_SIZES);
    *size = s;
    *layout = mlxn_case_digit(i, 3);
    for (uint32_t a = 0; a < n; a++) {
        uint64_t dims[] = {sizes[s].s, sizes[s].t, sizes[s].h, a == v ? sizes[s].dv : sizes[s].dk};
        out->args[a] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, dims), *layout, a + 1);
    }
    return true;
}

static bool case_gla(uint32_t i, mlxn_case *out) {
    uint32_t s, layout;
    case_heads(&i, out, 4, V, &s, &layout);
    bool slotted = mlxn_case_digit(&i, 2);
    if (i) return false;
    if (layout) layout++; /* strides */
    out->args[G] = fill(out->args[G], 0.3, 1);
    case_state(out, GL_STATE, s, slotted, layout);
    mlxn_gla_params p = {slotted ? 0.25f : 0};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "k", K);
    mlxn_case_name_arg(out, "v", V);
    if (slotted) mlxn_case_name(out, ", slots");
    return true;
}

const mlxn_op_def mlxn_opdef_gla = {
    .name = "gla",
    .family = "mixer",
    .doc =
        "Gated linear attention (Yang et al. 2023), per head and token: M[j, i] = g[i] M[j, i] + v[j] k[i]; out[j] = "
        "scale sum over i "
        "of M[j, i] q[i]. q, k, g: [S, T, H, Dk]; v, out: [S, T, H, Dv], all of one dtype; g is the factor itself, "
        "in "
        "[0, 1]; slots, state: as in gated_delta_net.",
    .n_args = 7,
    .args = {SCAN_ARG("q"), SCAN_ARG("k"), SCAN_ARG("v"), SCAN_ARG("g"), SCAN_SLOTS, SCAN_STATE, SCAN_OUT},
    .params_size = sizeof(mlxn_gla_params),
    .params_type = "mlxn_gla_params",
    .check = check_gla,
    .ref = ref_gla,
    .bound = bound_gla,
    .bound_before = true,
    .cost = cost_gla,
    .make_case = case_gla,
};

/* --- wkv6 --- */

static mlxn_status check_wkv6(const mlxn_view *args, const void *params, mlxn_error *error) {
    scan_view s = view_of(WKV6, args, params);
    static const char *const names[] = {"r", "k", "", "w"};
    mlxn_status status = MLXN_OK;
    uint64_t dk = args[K].dims[3];
    for (uint32_t i = 0; !status && i < 4; i++)
        if (i != V) status = check_channels(&s, names[i], &args[i], "v", dk, error);
    if (!status) status = want_dims(error, "u", &args[W6_U], (uint64_t[]){s.heads, dk}, like_v + 2);
    return status ? status : check_common(&s, dk, "v", error);
}

static mlxn_status ref_wkv6(const mlxn_view *args, const void *params) {
    scan_view s = view_of(WKV6, args, params);
    return scan(&s, false, NULL);
}
static mlxn_status bound_wkv6(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    return bound_scan(WKV6, args, params, arg, out);
}
static mlxn_cost cost_wkv6(const mlxn_view *args, const void *params) { return cost_scan(WKV6, args, params, 8); }

static bool case_wkv6(uint32_t i, mlxn_case *out) {
    uint32_t s, layout;
    case_heads(&i, out, 4, V, &s, &layout);
    bool slotted = mlxn_case_digit(&i, 2);
    if (i) return false;
    if (layout) layout++; /* strides */
    out->args[W6_W] = fill(out->args[W6_W], 0.3, 1);
    out->args[W6_U] =
        mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 2, (uint64_t[]){sizes[s].h, sizes[s].dk}), layout, 1);
    case_state(out, STATE, s, slotted, layout);
    mlxn_case_name_arg(out, "k", K);
    mlxn_case_name_arg(out, "v", V);
    if (slotted) mlxn_case_name(out, ", slots");
    return true;
}

const mlxn_op_def mlxn_opdef_wkv6 = {
    .name = "wkv6",
    .family = "mixer",
    .doc =
        "RWKV 6 (Peng et al. 2024), per head and token: out[j] = sum over i of r[i] (M[j, i] + u[i] k[i] v[j]); M[j, "
        "i] = w[i] M[j, i] "
        "+ k[i] v[j]. r, k, w: [S, T, H, Dk]; v, out: [S, T, H, Dv], all of one dtype; w is the factor itself, in "
        "[0, 1]; "
        "u: [H, Dk] f32; slots, state: as in gated_delta_net.",
    .n_args = 8,
    .args = {SCAN_ARG("r"),
             SCAN_ARG("k"),
             SCAN_ARG("v"),
             SCAN_ARG("w"),
             {"u", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             SCAN_SLOTS,
             SCAN_STATE,
             SCAN_OUT},
    .check = check_wkv6,
    .ref = ref_wkv6,
    .bound = bound_wkv6,
    .bound_before = true,
    .cost = cost_wkv6,
    .make_case = case_wkv6,
};

/* --- wkv7 --- */

static mlxn_status check_wkv7(const mlxn_view *args, const void *params, mlxn_error *error) {
    scan_view s = view_of(WKV7, args, params);
    static const char *const names[] = {"r", "w", "k", "", "a", "b"};
    mlxn_status status = MLXN_OK;
    uint64_t dk = args[W7_K].dims[3];
    for (uint32_t i = 0; !status && i <= W7_B; i++)
        if (i != W7_V) status = check_channels(&s, names[i], &args[i], "v", dk, error);
    return status ? status : check_common(&s, dk, "v", error);
}

static mlxn_status ref_wkv7(const mlxn_view *args, const void *params) {
    scan_view s = view_of(WKV7, args, params);
    return scan(&s, false, NULL);
}
static mlxn_status bound_wkv7(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    return bound_scan(WKV7, args, params, arg, out);
}
static mlxn_cost cost_wkv7(const mlxn_view *args, const void *params) { return cost_scan(WKV7, args, params, 8); }

static bool case_wkv7(uint32_t i, mlxn_case *out) {
    uint32_t s, layout;
    case_heads(&i, out, 6, W7_V, &s, &layout);
    if (i) return false;
    if (layout) layout++; /* strides */
    mlxn_case_arg b = out->args[W7_B];
    case_state(out, W7_STATE, s, false, layout);
    out->args[W7_B] = b; /* case_state put the slots of other operations there */
    out->args[W7_W] = fill(out->args[W7_W], 0.3, 0.9);
    out->args[W7_A].hi = out->args[W7_B].hi = 0.3 / sqrt((double)sizes[s].dk);
    mlxn_case_name_arg(out, "k", W7_K);
    mlxn_case_name_arg(out, "v", W7_V);
    return true;
}

const mlxn_op_def mlxn_opdef_wkv7 = {
    .name = "wkv7",
    .family = "mixer",
    .doc =
        "RWKV 7 (Peng et al. 2025), per head and token: s[j] = sum over i of a[i] M[j, i]; M[j, i] = w[i] M[j, i] + "
        "v[j] k[i] + s[j] "
        "b[i]; out[j] = sum over i of M[j, i] r[i]. r, w, k, a, b: [S, T, H, Dk]; v, out: [S, T, H, Dv], all of one "
        "dtype; w is the factor itself; state M: [N, H, Dv, Dk] f32, N >= S, changed in place; sequence s has state "
        "s.",
    .n_args = 8,
    .args = {SCAN_ARG("r"), SCAN_ARG("w"), SCAN_ARG("k"), SCAN_ARG("v"), SCAN_ARG("a"), SCAN_ARG("b"), SCAN_STATE,
             SCAN_OUT},
    .check = check_wkv7,
    .ref = ref_wkv7,
    .bound = bound_wkv7,
    .bound_before = true,
    .cost = cost_wkv7,
    .make_case = case_wkv7,
};

/* --- ssm_scan --- */

static mlxn_status check_ssm_scan(const mlxn_view *args, const void *params, mlxn_error *error) {
    scan_view s = view_of(SSM, args, params);
    const mlxn_view *b = &args[SS_B];
    uint64_t n = b->dims[3], groups = b->dims[2];
    mlxn_status status = want_dims(error, "b", b, (uint64_t[]){s.sequences, s.tokens, groups, n}, like_v);
    if (!status) status = mlxn_want_same_dims(error, "c", &args[SS_C], "b", b);
    if (!status) status = mlxn_want_same_dtype(error, "b", b, "x", s.v);
    if (!status) status = mlxn_want_same_dtype(error, "c", &args[SS_C], "x", s.v);
    if (!status) status = want_dims(error, "dt", &args[SS_DT], (uint64_t[]){s.sequences, s.tokens, s.heads}, like_v);
    if (!status) status = want_dims(error, "a", &args[SS_A], (uint64_t[]){s.heads, n}, like_v + 2);
    if (!status && s.heads % groups)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[2] is %llu, want a multiple of %llu (groups of b)",
                           (unsigned long long)s.heads, (unsigned long long)groups);
    return status ? status : check_common(&s, n, "x", error);
}

static mlxn_status ref_ssm_scan(const mlxn_view *args, const void *params) {
    scan_view s = view_of(SSM, args, params);
    return scan(&s, false, NULL);
}
static mlxn_status bound_ssm_scan(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    return bound_scan(SSM, args, params, arg, out);
}
static mlxn_cost cost_ssm_scan(const mlxn_view *args, const void *params) { return cost_scan(SSM, args, params, 8); }

static bool case_ssm_scan(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SIZES), form = mlxn_case_digit(&i, 3);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    if (layout) layout++; /* strides */
    uint64_t x[] = {sizes[s].s, sizes[s].t, sizes[s].h, sizes[s].dv};
    uint64_t bc[] = {sizes[s].s, sizes[s].t, sizes[s].hk, sizes[s].dk}, a[] = {sizes[s].h, sizes[s].dk};
    out->args[SS_X] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, x), layout, 1);
    out->args[SS_DT] =
        fill(mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 3, x), layout, 1), form ? -4 : 0.001, form ? 22 : 0.5);
    out->args[SS_A] = fill(mlxn_case_spread(mlxn_case_tensor(MLXN_F32, form == 1 ? 2 : 1, a), layout, 3), -2, -0.01);
    out->args[SS_B] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, bc), layout, 2);
    out->args[SS_C] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, bc), layout, 3);
    case_state(out, STATE, s, form == 2, layout);
    mlxn_ssm_scan_params p = {form > 0};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", SS_X);
    mlxn_case_name_arg(out, "b", SS_B);
    static const char *const names[] = {"", ", softplus, a per channel", ", softplus, slots"};
    mlxn_case_name(out, "%s", names[form]);
    return true;
}

const mlxn_op_def mlxn_opdef_ssm_scan = {
    .name = "ssm_scan",
    .family = "mixer",
    .doc =
        "Selective scan of Mamba 2 and 1 (Dao & Gu 2024), per head and token: M[p, n] = e^(dt a) M[p, n] + dt x[p] "
        "b[n]; out[p] = sum "
        "over n of M[p, n] c[n]. x, out: [S, T, H, P]; b, c: [S, T, G, N], head h takes group h / (H / G); all of "
        "one "
        "dtype; dt: [S, T, H] f32, through softplus where asked; a: negative, [H] or [H, N] f32 (Mamba 1: P = 1); "
        "slots: "
        "optional [S] u32; state M: [slots, H, P, N] f32; both as in gated_delta_net. The skip x D and the gate are "
        "not "
        "part of it.",
    .n_args = 8,
    .args = {SCAN_ARG("x"),
             {"dt", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 3, 3},
             {"a", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 2},
             SCAN_ARG("b"),
             SCAN_ARG("c"),
             SCAN_SLOTS,
             SCAN_STATE,
             SCAN_OUT},
    .params_size = sizeof(mlxn_ssm_scan_params),
    .params_type = "mlxn_ssm_scan_params",
    .check = check_ssm_scan,
    .ref = ref_ssm_scan,
    .bound = bound_ssm_scan,
    .bound_before = true,
    .cost = cost_ssm_scan,
    .make_case = case_ssm_scan,
};
