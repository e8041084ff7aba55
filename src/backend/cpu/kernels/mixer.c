/* mixer.c (CPU kernels): recurrent mixers with a matrix state (src/ops/mixer.c). A chunk is sixteen value rows of a
 * head; it takes the tokens of all sequences in their order. Sixteen tokens at a time, what the rows share is brought
 * to f32 scratch, padded with zeros; then four rows of the state go through these tokens together. The row of a state
 * is changed where it lies if its elements do, and in scratch otherwise. */
#include "backend/cpu/kernels/heads.h"

enum { SK_ROWS = 16, SK_TOKENS = 16 };

typedef enum sk_kind { SK_DELTA, SK_GLA, SK_WKV6, SK_WKV7, SK_SSM } sk_kind;

typedef struct sk_call {
    sk_kind kind;
    const mlxn_view *q, *k, *v, *decay, *a, *b, *u, *beta, *step, *slots, *state, *out;
    uint64_t key_heads; /* of q and k */
    bool blocks;        /* value heads lie in blocks per key head */
    bool channel;       /* decay per channel */
    bool softplus;
    float scale, l2_eps;
    uint64_t sequences, tokens, heads, dk, pad, dv;
} sk_call;

/* What sixteen tokens bring, and what they give. Arrays of [SK_TOKENS][pad], or [SK_TOKENS][SK_ROWS]. */
typedef struct sk_block {
    float *q, *k, *g, *a, *b, *u, *v, *o;
    float gs[SK_TOKENS], beta[SK_TOKENS];
    float *rows; /* states in scratch */
    uint64_t tokens, pad;
    float scale;
} sk_block;

static uint64_t sk_carve(const sk_call *c, float *base, sk_block *out) {
    uint64_t each = SK_TOKENS * c->pad;
    uint64_t sizes[] = {
        each, each, each, each, each, c->pad, SK_TOKENS * SK_ROWS, SK_TOKENS * SK_ROWS, SK_ROWS * c->pad};
    float **parts[] = {&out->q, &out->k, &out->g, &out->a, &out->b, &out->u, &out->v, &out->o, &out->rows};
    uint64_t at = 0;
    for (int i = 0; i < 9; i++) {
        *parts[i] = base ? base + at : NULL;
        at += sizes[i];
    }
    out->pad = c->pad;
    out->scale = c->scale;
    return at;
}

static void sk_dims(sk_call *c) {
    const mlxn_view *v = c->v;
    c->sequences = v->dims[0];
    c->tokens = v->dims[1];
    c->heads = v->dims[2];
    c->dv = v->dims[3];
    c->dk = c->state->dims[3];
    c->pad = (c->dk + 15) & ~(uint64_t)15;
    c->key_heads = c->k->dims[2];
    if (c->scale == 0.0f) c->scale = 1.0f;
}

static sk_call sk_delta(const mlxn_view *a, const mlxn_gated_delta_net_params *p) {
    sk_call c = {.kind = SK_DELTA, .q = &a[0], .k = &a[1], .v = &a[2], .decay = &a[3], .beta = &a[4]};
    c.slots = &a[5];
    c.state = &a[6];
    c.out = &a[7];
    c.channel = a[3].rank == 4;
    c.blocks = p->head_map == MLXN_HEADS_BLOCKS;
    c.scale = p->scale;
    c.l2_eps = p->l2_eps;
    sk_dims(&c);
    return c;
}
static sk_call sk_gla(const mlxn_view *a, const mlxn_gla_params *p) {
    sk_call c = {.kind = SK_GLA, .q = &a[0], .k = &a[1], .v = &a[2], .decay = &a[3], .slots = &a[4]};
    c.state = &a[5];
    c.out = &a[6];
    c.channel = true;
    c.scale = p->scale;
    sk_dims(&c);
    return c;
}
static sk_call sk_wkv6(const mlxn_view *a) {
    sk_call c = {.kind = SK_WKV6, .q = &a[0], .k = &a[1], .v = &a[2], .decay = &a[3], .u = &a[4], .slots = &a[5]};
    c.state = &a[6];
    c.out = &a[7];
    c.channel = true;
    sk_dims(&c);
    return c;
}
static sk_call sk_wkv7(const mlxn_view *a) {
    static const mlxn_view absent;
    sk_call c = {.kind = SK_WKV7, .q = &a[0], .decay = &a[1], .k = &a[2], .v = &a[3], .a = &a[4], .b = &a[5]};
    c.slots = &absent;
    c.state = &a[6];
    c.out = &a[7];
    c.channel = true;
    sk_dims(&c);
    return c;
}
static sk_call sk_ssm(const mlxn_view *a, const mlxn_ssm_scan_params *p) {
    sk_call c = {.kind = SK_SSM, .v = &a[0], .step = &a[1], .decay = &a[2], .k = &a[3], .q = &a[4], .slots = &a[5]};
    c.state = &a[6];
    c.out = &a[7];
    c.channel = a[2].rank == 2;
    c.blocks = true;
    c.softplus = p->softplus;
    sk_dims(&c);
    return c;
}

static void sk_plan(const sk_call *c, cpu_plan *out) {
    sk_block unused;
    *out = (cpu_plan){.phases = 1,
                      .chunks = {c->heads * ((c->dv + SK_ROWS - 1) / SK_ROWS)},
                      .local_bytes = sk_carve(c, NULL, &unused) * sizeof(float)};
}

/* --- bringing in --- */

static void sk_exp(float *x, uint64_t pad) {
    for (uint64_t i = 0; i < pad; i += 16) v16_store(x + i, v16_exp(v16_load(x + i)));
}

static float sk_step(const sk_call *c, uint64_t s, uint64_t t, uint64_t h) {
    float x = heads_number(c->step, s, t, h);
    return !c->softplus || x > 20.0f ? x : (float)log1p(exp((double)x));
}

/* Tokens [t, t + b->tokens) of one head, for the value rows [row, row + n). */
static void sk_bring(const sk_call *c, sk_block *b, uint64_t s, uint64_t t, uint64_t h, uint64_t row, uint64_t n) {
    uint64_t from = c->blocks ? h / (c->heads / c->key_heads) : h % c->key_heads, pad = c->pad;
    for (uint64_t i = 0; i < b->tokens; i++) {
        float *g = b->g + i * pad, step = 1.0f;
        heads_copy(c->q, heads_at(c->q, s, t + i, from), 0, c->dk, b->q + i * pad);
        heads_copy(c->k, heads_at(c->k, s, t + i, from), 0, c->dk, b->k + i * pad);
        heads_copy(c->v, heads_at(c->v, s, t + i, h), row, n, b->v + i * SK_ROWS);
        if (c->l2_eps > 0.0f) {
            heads_unit(b->q + i * pad, pad, c->l2_eps);
            heads_unit(b->k + i * pad, pad, c->l2_eps);
        }
        if (c->a) {
            heads_copy(c->a, heads_at(c->a, s, t + i, h), 0, c->dk, b->a + i * pad);
            heads_copy(c->b, heads_at(c->b, s, t + i, h), 0, c->dk, b->b + i * pad);
        }
        b->beta[i] = c->beta ? heads_number(c->beta, s, t + i, h) : 1.0f;
        if (c->kind == SK_SSM) {
            step = sk_step(c, s, t + i, h);
            v16_store(b->v + i * SK_ROWS, v16_mul(v16_load(b->v + i * SK_ROWS), v16_set1(step)));
            const float *a = (const float *)c->decay->data + (int64_t)h * c->decay->strides[0];
            b->gs[i] = step * a[0];
            if (c->channel) {
                heads_copy(c->decay, a, 0, c->dk, g);
                for (uint64_t k = 0; k < pad; k += 16) v16_store(g + k, v16_mul(v16_load(g + k), v16_set1(step)));
            }
        } else if (c->channel) {
            heads_copy(c->decay, heads_at(c->decay, s, t + i, h), 0, c->dk, g);
        } else {
            b->gs[i] = heads_number(c->decay, s, t + i, h);
        }
        if (c->channel && (c->kind == SK_SSM || c->kind == SK_DELTA)) sk_exp(g, pad);
    }
    for (uint64_t i = b->tokens; i < SK_TOKENS; i++) b->gs[i] = 0.0f;
    if (!c->channel) v16_store(b->gs, v16_exp(v16_load(b->gs)));
}

/* --- the rows --- */

/* `count` rows that lie `ld` apart, through the tokens of the block; o of row r goes to column `column + r`. */
SIMD_INLINE void sk_rows(sk_kind kind, bool channel, int count, const sk_block *b, float *m, uint64_t ld,
                         uint64_t column) {
    uint64_t pad = b->pad;
    for (uint64_t t = 0; t < b->tokens; t++) {
        const float *q = b->q + t * pad, *k = b->k + t * pad, *g = b->g + t * pad, *v = b->v + t * SK_ROWS + column;
        v16 acc[4], in[4], first[4], gs = v16_set1(b->gs[t]);
        for (int r = 0; r < count; r++) {
            acc[r] = first[r] = v16_zero();
            in[r] = v16_set1(v[r]);
        }
        if (kind == SK_DELTA || kind == SK_WKV7) {
            const float *with = kind == SK_DELTA ? k : b->a + t * pad;
            for (uint64_t i = 0; i < pad; i += 16) {
                v16 w = v16_load(with + i);
                if (kind == SK_DELTA && channel) w = v16_mul(w, v16_load(g + i));
#pragma GCC unroll 4
                for (int r = 0; r < count; r++) acc[r] = v16_fma(v16_load(m + (uint64_t)r * ld + i), w, acc[r]);
            }
            for (int r = 0; r < count; r++) {
                float seen = v16_hsum(acc[r]);
                if (kind == SK_DELTA)
                    in[r] = v16_set1(b->beta[t] * (v[r] - (channel ? seen : b->gs[t] * seen)));
                else
                    first[r] = v16_set1(seen);
                acc[r] = v16_zero();
            }
        }
        for (uint64_t i = 0; i < pad; i += 16) {
            v16 key = v16_load(k + i), query = v16_load(q + i), keep = channel ? v16_load(g + i) : gs;
            v16 bonus = kind == SK_WKV6 ? v16_load(b->u + i) : keep;
            v16 back = kind == SK_WKV7 ? v16_load(b->b + t * pad + i) : keep;
#pragma GCC unroll 4
            for (int r = 0; r < count; r++) {
                float *at = m + (uint64_t)r * ld + i;
                v16 old = v16_load(at), now;
                if (kind == SK_WKV6) {
                    v16 kv = v16_mul(key, in[r]);
                    acc[r] = v16_fma(query, v16_fma(bonus, kv, old), acc[r]);
                    now = v16_fma(old, keep, kv);
                } else {
                    now = v16_fma(key, in[r], v16_mul(old, keep));
                    if (kind == SK_WKV7) now = v16_fma(first[r], back, now);
                    acc[r] = v16_fma(now, query, acc[r]);
                }
                v16_store(at, now);
            }
        }
        for (int r = 0; r < count; r++) b->o[t * SK_ROWS + column + (uint64_t)r] = b->scale * v16_hsum(acc[r]);
    }
}

SIMD_INLINE void sk_all_rows(sk_kind kind, bool channel, const sk_block *b, float *m, uint64_t ld, uint64_t n) {
    uint64_t r = 0;
    for (; r + 4 <= n; r += 4) sk_rows(kind, channel, 4, b, m + r * ld, ld, r);
    for (; r < n; r++) sk_rows(kind, channel, 1, b, m + r * ld, ld, r);
}

static void sk_go(const sk_call *c, const sk_block *b, float *m, uint64_t ld, uint64_t n) {
    if (c->kind == SK_DELTA && !c->channel)
        sk_all_rows(SK_DELTA, false, b, m, ld, n);
    else if (c->kind == SK_DELTA)
        sk_all_rows(SK_DELTA, true, b, m, ld, n);
    else if (c->kind == SK_WKV6)
        sk_all_rows(SK_WKV6, true, b, m, ld, n);
    else if (c->kind == SK_WKV7)
        sk_all_rows(SK_WKV7, true, b, m, ld, n);
    else if (c->channel)
        sk_all_rows(SK_GLA, true, b, m, ld, n);
    else
        sk_all_rows(SK_GLA, false, b, m, ld, n);
}

static void sk_write(const sk_call *c, const sk_block *b, uint64_t s, uint64_t t, uint64_t h, uint64_t row,
                     uint64_t n) {
    int64_t stride = rows_stride(c->out);
    for (uint64_t i = 0; i < b->tokens; i++) {
        char *o = (char *)heads_at(c->out, s, t + i, h) + (int64_t)row * stride * (int64_t)rows_size(c->out->dtype);
        rows_store(c->out->dtype, stride == 1, o, stride, 0, v16_load(b->o + i * SK_ROWS), n);
    }
}

static void sk_run(cpu_run *run, const sk_call *c) {
    sk_block b;
    sk_carve(c, run->local, &b);
    const mlxn_view *state = c->state;
    uint64_t parts = (c->dv + SK_ROWS - 1) / SK_ROWS, chunk;
    int64_t stride = rows_stride(state);
    bool direct = stride == 1 && c->dk % 16 == 0;
    while (cpu_next(run, &chunk)) {
        uint64_t h = chunk / parts, row = chunk % parts * SK_ROWS, n = mlxn_min_u64(SK_ROWS, c->dv - row);
        if (c->u) {
            const float *u = (const float *)c->u->data + (int64_t)h * c->u->strides[0];
            heads_copy(c->u, u, 0, c->dk, b.u);
        }
        for (uint64_t s = 0; s < c->sequences; s++) {
            uint64_t slot = heads_slot(c->slots, s);
            bool exists = slot < state->dims[0];
            float *base = (float *)state->data + (exists ? (int64_t)slot * state->strides[0] : 0) +
                          (int64_t)h * state->strides[1] + (int64_t)row * state->strides[2];
            float *m = direct ? base : b.rows;
            uint64_t ld = direct ? (uint64_t)state->strides[2] : c->pad;
            for (uint64_t r = 0; exists && !direct && r < n; r++)
                heads_copy(state, base + (int64_t)r * state->strides[2], 0, c->dk, m + r * ld);
            for (uint64_t t = 0; t < c->tokens; t += SK_TOKENS) {
                b.tokens = mlxn_min_u64(SK_TOKENS, c->tokens - t);
                if (exists) {
                    sk_bring(c, &b, s, t, h, row, n);
                    sk_go(c, &b, m, ld, n);
                } else {
                    memset(b.o, 0, SK_TOKENS * SK_ROWS * sizeof *b.o);
                }
                sk_write(c, &b, s, t, h, row, n);
            }
            for (uint64_t r = 0; exists && !direct && r < n; r++)
                for (uint64_t i = 0; i < c->dk; i += 16)
                    rows_store(MLXN_F32, stride == 1, base + (int64_t)r * state->strides[2], stride, i,
                               v16_load(m + r * ld + i), simd_tail(i, c->dk));
        }
    }
}

static void plan_delta(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    sk_call c = sk_delta(args, params);
    sk_plan(&c, out);
}
static void run_delta(cpu_run *run) {
    sk_call c = sk_delta(run->args, run->params);
    sk_run(run, &c);
}
static void plan_gla(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    sk_call c = sk_gla(args, params);
    sk_plan(&c, out);
}
static void run_gla(cpu_run *run) {
    sk_call c = sk_gla(run->args, run->params);
    sk_run(run, &c);
}
static void plan_wkv6(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    sk_call c = sk_wkv6(args);
    sk_plan(&c, out);
}
static void run_wkv6(cpu_run *run) {
    sk_call c = sk_wkv6(run->args);
    sk_run(run, &c);
}
static void plan_wkv7(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    sk_call c = sk_wkv7(args);
    sk_plan(&c, out);
}
static void run_wkv7(cpu_run *run) {
    sk_call c = sk_wkv7(run->args);
    sk_run(run, &c);
}
static void plan_ssm_scan(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    sk_call c = sk_ssm(args, params);
    sk_plan(&c, out);
}
static void run_ssm_scan(cpu_run *run) {
    sk_call c = sk_ssm(run->args, run->params);
    sk_run(run, &c);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_mixer)[];
const cpu_kernel CPU_ISA(cpu_kernels_mixer)[] = {
    {MLXN_OP_gated_delta_net, "gated_delta_net_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_delta,
     run_delta},
    {MLXN_OP_gla, "gla_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_gla, run_gla},
    {MLXN_OP_wkv6, "wkv6_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_wkv6, run_wkv6},
    {MLXN_OP_wkv7, "wkv7_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_wkv7, run_wkv7},
    {MLXN_OP_ssm_scan, "ssm_scan_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_ssm_scan, run_ssm_scan},
    {0},
};
