/* attention.c (CPU kernels): causal attention over caches of several sequences, with grouped heads, sliding window,
 * ring slots and soft-capped scores. One kernel serves prompts and single tokens.
 *
 * Consecutive rows of one sequence at consecutive positions form a run (of at most `block` rows). For a run and a
 * cache head, all query heads of the group are rows of one small matrix product, so that keys and values are read and
 * widened to f32 once for all of them. Keys are taken in blocks aligned to absolute positions, with a running
 * maximum; a split of 256 positions gives a partial result (maximum m, sum l, unnormalised output o), and partial
 * results are merged in ascending order. Nothing in a row's arithmetic depends on its neighbours, on the batch or on
 * the threads: a token fed alone gets the same bits as within its prompt.
 *
 * Two ways to share the work out: `wide` (many runs x heads): a chunk takes all splits of its run and merges them at
 * once; otherwise a chunk is one split, the partial results go to shared memory and a second phase merges them. */
#include "backend/cpu/kernels/attention_tile.h"

enum { ATT_TARGET_ROWS = 96, ATT_PARTIAL_LIMIT = 32 << 20 };

typedef struct att_shape {
    uint64_t rows, heads, kv_heads, group, d, dp, slots, sequences;
    uint64_t visible; /* positions that a row may see at most, its own included */
    uint64_t block;   /* rows per run at most */
    uint64_t blocks;
    uint64_t max_rows; /* of the product: block * group, rounded up to whole tiles */
    uint64_t splits;   /* splits that a run may touch at most */
    uint64_t partial;  /* floats of one partial result: o, m, l */
    bool wide;
} att_shape;

static att_shape att_shape_of(const mlxn_view *args, const mlxn_attention_params *p, uint32_t n_threads) {
    const mlxn_view *q = &args[0], *k = &args[1];
    att_shape s = {.rows = q->dims[0], .heads = q->dims[1], .kv_heads = k->dims[1], .d = q->dims[2]};
    s.group = s.heads / s.kv_heads;
    s.dp = (s.d + 15) & ~(uint64_t)15;
    s.sequences = k->dims[0];
    s.slots = k->dims[2];
    s.visible = p->window ? mlxn_min_u64(p->window, s.slots) : s.slots;
    s.block = mlxn_min_u64(mlxn_max_u64(ATT_TARGET_ROWS / s.group, 1), 64);
    s.blocks = (s.rows + s.block - 1) / s.block;
    s.max_rows = (mlxn_min_u64(s.block, s.rows) * s.group + ATT_ROWS - 1) / ATT_ROWS * ATT_ROWS;
    s.splits = (s.visible + s.block + ATT_SPLIT - 2) / ATT_SPLIT + 1;
    s.partial = s.dp + 16;
    /* Splits are too few to gain from, too costly to keep, or not needed to occupy the threads. */
    uint64_t floats;
    s.wide = s.visible <= ATT_SPLIT || s.blocks * s.kv_heads >= 4 * (uint64_t)n_threads ||
             !mlxn_mul_u64(s.rows * s.heads * s.splits, s.partial, &floats) || floats > ATT_PARTIAL_LIMIT / 4;
    return s;
}

/* Scratch of a thread, in floats; every part is a multiple of 16 long. */
typedef struct att_scratch {
    float *keys;    /* [d][ATT_KEYS] */
    float *values;  /* [ATT_KEYS][dp] */
    float *scores;  /* [ATT_ROWS][ATT_KEYS] */
    float *alpha;   /* [ATT_ROWS], padded */
    float *queries; /* [tile][d][ATT_ROWS], scaled */
    float *o;       /* [row][dp] of the split in hand */
    float *l;       /* [row][16]: sums by key mod 16 */
    float *m;       /* [row] */
    float *total;   /* [row][partial], wide only */
} att_scratch;

static uint64_t att_carve(const att_shape *s, float *base, att_scratch *out) {
    uint64_t sizes[9] = {s->d * ATT_KEYS,
                         ATT_KEYS * s->dp,
                         ATT_ROWS * ATT_KEYS,
                         16,
                         s->max_rows * s->d,
                         s->max_rows * s->dp,
                         s->max_rows * 16,
                         s->max_rows,
                         (s->wide ? s->max_rows : 1) * s->partial};
    float **parts[9] = {&out->keys, &out->values, &out->scores, &out->alpha, &out->queries,
                        &out->o,    &out->l,      &out->m,      &out->total};
    uint64_t at = 0;
    for (int i = 0; i < 9; i++) {
        *parts[i] = base ? base + at : NULL;
        at += (sizes[i] + 15) & ~(uint64_t)15;
    }
    return at;
}

static void plan_attention(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    att_shape s = att_shape_of(args, params, n_threads);
    att_scratch unused;
    *out =
        (cpu_plan){.phases = 1, .chunks = {s.blocks * s.kv_heads}, .local_bytes = att_carve(&s, NULL, &unused) * 4};
    if (s.wide) return;
    /* An upper bound: how many splits there are is known only when the positions are. */
    out->phases = 2;
    out->chunks[0] = s.rows * s.kv_heads * s.splits;
    out->chunks[1] = s.rows;
    out->shared_bytes = s.rows * s.heads * s.splits * s.partial * 4;
}

/* Rows [t, t + n) of one sequence at positions pos, pos + 1, … ; n may be 1 with a sequence that does not exist. */
typedef struct att_run {
    uint64_t t, n, sequence, pos;
} att_run;

static uint64_t att_u32(const mlxn_view *v, uint64_t i) {
    return ((const uint32_t *)v->data)[(int64_t)i * rows_stride(v)];
}

static att_run att_find_run(const cpu_run *run, const att_shape *s, uint64_t t) {
    const mlxn_view *seqs = &run->args[3], *poss = &run->args[4];
    att_run r = {t, 1, att_u32(seqs, t), att_u32(poss, t)};
    uint64_t end = mlxn_min_u64((t / s->block + 1) * s->block, s->rows);
    if (r.sequence >= s->sequences) return r;
    while (t + r.n < end && att_u32(seqs, t + r.n) == r.sequence && att_u32(poss, t + r.n) == r.pos + r.n) r.n++;
    return r;
}

/* First position that the row at `pos` sees. */
static uint64_t att_first(const att_shape *s, uint64_t pos) {
    return pos + 1 > s->visible ? pos + 1 - s->visible : 0;
}

static float att_exp2(float x) {
    float t[16];
    v16_store(t, v16_exp2(v16_set1(x)));
    return t[0];
}

/* Queries of a run and cache head, rows in the order (token, head), tiles of ATT_ROWS, scaled. Spare rows are zero.
 */
static void att_pack_queries(const mlxn_view *q, const att_shape *s, const att_run *r, uint64_t hk, float scale,
                             float *out) {
    uint64_t n = r->n * s->group, padded = (n + ATT_ROWS - 1) / ATT_ROWS * ATT_ROWS;
    int64_t step = rows_stride(q);
    for (uint64_t i = 0; i < padded; i++) {
        float *dst = out + i / ATT_ROWS * ATT_ROWS * s->d + i % ATT_ROWS;
        if (i >= n) {
            for (uint64_t d = 0; d < s->d; d++) dst[d * ATT_ROWS] = 0.0f;
            continue;
        }
        const float *src = (const float *)q->data + (int64_t)(r->t + i / s->group) * q->strides[0] +
                           (int64_t)(hk * s->group + i % s->group) * q->strides[1];
        for (uint64_t d = 0; d < s->d; d++) dst[d * ATT_ROWS] = src[(int64_t)d * step] * scale;
    }
}

/* Scores of one row in place to weights 2^(score - m), for keys [begin, end) of the groups [first, last) of 16 keys;
 * weights outside become 0. Updates m and l and gives the factor for what was summed before. */
SIMD_INLINE void att_softmax_row(float *s, uint64_t first, uint64_t last, uint64_t begin, uint64_t end, float cap,
                                 float *m, float *l, float *alpha) {
    v16 top = v16_set1(*m), none = v16_set1(-INFINITY);
    bool partly = begin > 16 * first || end < 16 * last;
    for (uint64_t j = first; j < last; j++) {
        v16 x = v16_load(s + 16 * j);
        if (cap > 0.0f) x = v16_mul(v16_tanh(x), v16_set1(cap));
        if (partly) {
            uint64_t b = begin > 16 * j ? mlxn_min_u64(begin - 16 * j, 16) : 0;
            uint64_t e = end > 16 * j ? mlxn_min_u64(end - 16 * j, 16) : 0;
            x = v16_range(none, x, b, e);
        }
        v16_store(s + 16 * j, x);
        top = v16_max(x, top);
    }
    float max = *m;
    *alpha = 1.0f;
    if (v16_any_gt(top, v16_set1(max))) {
        max = v16_hmax(top);
        *alpha = att_exp2(*m - max);
        *m = max;
    }
    v16 shift = v16_set1(max), sum = v16_mul(v16_load(l), v16_set1(*alpha));
    for (uint64_t j = first; j < last; j++) {
        v16 x = v16_exp2(v16_sub(v16_load(s + 16 * j), shift));
        v16_store(s + 16 * j, x);
        sum = v16_add(sum, x);
    }
    v16_store(l, sum);
}

typedef struct att_work {
    att_shape shape;
    att_scratch scratch;
    const mlxn_view *args;
    float scale; /* on the queries */
    float cap;   /* on tanh; 0 = no soft cap. Both include log2(e). */
} att_work;

/* One tile of queries against the block that begins at position `base`, its keys in the scratch. */
static void att_tile(const att_work *w, const att_run *r, const att_values_view *v, uint64_t base, uint64_t row,
                     uint64_t rows) {
    const att_shape *s = &w->shape;
    const att_scratch *x = &w->scratch;
    uint64_t low_pos = r->pos + row / s->group, high_pos = r->pos + (row + rows - 1) / s->group;
    uint64_t low = att_first(s, low_pos);
    if (low >= base + ATT_KEYS || high_pos < base) return;
    uint64_t begin = low > base ? low - base : 0, end = mlxn_min_u64(high_pos + 1 - base, ATT_KEYS);
    uint64_t first = begin / 16, last = (end + 15) / 16;
    att_scores((int)rows, first, last, x->queries + row * s->d, x->keys, s->d, x->scores);
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t pos = r->pos + (row + i) / s->group, from = att_first(s, pos);
        uint64_t b = from > base ? from - base : 0, e = pos + 1 > base ? pos + 1 - base : 0;
        att_softmax_row(x->scores + i * ATT_KEYS, first, last, b, e, w->cap, &x->m[row + i], x->l + 16 * (row + i),
                        &x->alpha[i]);
    }
    att_values(v, begin, (int)rows, x->scores + begin, end - begin, x->o + row * s->dp, s->dp, x->alpha);
}

/* All rows of a run over the positions of one split; results in o, m, l of the scratch. */
static void att_split(const att_work *w, const att_run *r, uint64_t hk, uint64_t split) {
    const att_shape *s = &w->shape;
    const att_scratch *x = &w->scratch;
    const mlxn_view *k = &w->args[1], *v = &w->args[2];
    att_cache kc = {.row = k->strides[2], .step = rows_stride(k), .slots = s->slots, .d = s->d}, vc = kc;
    kc.base = (const char *)k->data +
              ((int64_t)r->sequence * k->strides[0] + (int64_t)hk * k->strides[1]) * (int64_t)rows_size(k->dtype);
    vc.base = (const char *)v->data +
              ((int64_t)r->sequence * v->strides[0] + (int64_t)hk * v->strides[1]) * (int64_t)rows_size(v->dtype);
    vc.row = v->strides[2];
    vc.step = rows_stride(v);
    uint64_t rows = r->n * s->group;
    memset(x->o, 0, rows * s->dp * 4);
    memset(x->l, 0, rows * 16 * 4);
    for (uint64_t i = 0; i < rows; i++) x->m[i] = -FLT_MAX;
    uint64_t low = mlxn_max_u64(split * ATT_SPLIT, att_first(s, r->pos));
    uint64_t high = mlxn_min_u64((split + 1) * ATT_SPLIT, r->pos + r->n);
    for (uint64_t base = low / ATT_KEYS * ATT_KEYS; base < high; base += ATT_KEYS) {
        uint64_t begin = low > base ? low - base : 0, end = mlxn_min_u64(high - base, ATT_KEYS);
        uint64_t slot = base % s->slots;
        att_load_keys(k->dtype, &kc, slot, begin, end, x->keys);
        att_values_view view = {MLXN_F32, (const char *)x->values, (int64_t)s->dp};
        /* a single tile reads each value once, so that widening them beforehand would not pay */
        if (rows <= ATT_ROWS && vc.step == 1 && s->d == s->dp && slot + end <= s->slots)
            view =
                (att_values_view){v->dtype, vc.base + (int64_t)slot * vc.row * (int64_t)rows_size(v->dtype), vc.row};
        else
            att_load_values(v->dtype, &vc, slot, begin, end, s->dp, x->values);
        for (uint64_t row = 0; row < rows; row += ATT_ROWS)
            att_tile(w, r, &view, base, row, mlxn_min_u64(rows - row, ATT_ROWS));
    }
}

/* A partial result is o[dp], m, l. */
static void att_clear(const att_shape *s, float *total) {
    memset(total, 0, s->dp * 4);
    total[s->dp] = -FLT_MAX;
    total[s->dp + 1] = 0.0f;
}

/* total += (o, m, l). An empty side changes nothing: its factor is 0, the other's 1. */
static void att_merge(const att_shape *s, float *total, const float *o, float m, float l) {
    float max = total[s->dp] > m ? total[s->dp] : m;
    float a = att_exp2(total[s->dp] - max), b = att_exp2(m - max);
    v16 va = v16_set1(a), vb = v16_set1(b);
    for (uint64_t d = 0; d < s->dp; d += 16)
        v16_store(total + d, v16_fma(v16_load(o + d), vb, v16_mul(v16_load(total + d), va)));
    total[s->dp] = max;
    total[s->dp + 1] = total[s->dp + 1] * a + l * b;
}

static void att_finish(const att_work *w, const float *total, uint64_t t, uint64_t h) {
    const mlxn_view *out = &w->args[5];
    float *dst = (float *)out->data + (int64_t)t * out->strides[0] + (int64_t)h * out->strides[1];
    const att_shape *s = &w->shape;
    float l = total ? total[s->dp + 1] : 0.0f;
    v16 scale = v16_set1(l == 0.0f ? 0.0f : 1.0f / l);
    int64_t step = rows_stride(out);
    for (uint64_t d = 0; d < s->d; d += 16) {
        v16 v = total ? v16_mul(v16_load(total + d), scale) : v16_zero();
        rows_store(MLXN_F32, step == 1, dst, step, d, v, simd_tail(d, s->d));
    }
}

static void att_wide(cpu_run *run, const att_work *w) {
    const att_shape *s = &w->shape;
    const att_scratch *x = &w->scratch;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        /* the last rows of a prompt see the most keys: they go first, so that the threads end together */
        uint64_t block = s->blocks - 1 - chunk / s->kv_heads, hk = chunk % s->kv_heads;
        uint64_t end = mlxn_min_u64((block + 1) * s->block, s->rows);
        for (uint64_t t = block * s->block; t < end;) {
            att_run r = att_find_run(run, s, t);
            t += r.n;
            if (r.sequence >= s->sequences) {
                for (uint64_t g = 0; g < s->group; g++) att_finish(w, NULL, r.t, hk * s->group + g);
                continue;
            }
            uint64_t rows = r.n * s->group, last = (r.pos + r.n - 1) / ATT_SPLIT;
            att_pack_queries(&w->args[0], s, &r, hk, w->scale, x->queries);
            for (uint64_t i = 0; i < rows; i++) att_clear(s, x->total + i * s->partial);
            for (uint64_t split = att_first(s, r.pos) / ATT_SPLIT; split <= last; split++) {
                att_split(w, &r, hk, split);
                for (uint64_t i = 0; i < rows; i++)
                    att_merge(s, x->total + i * s->partial, x->o + i * s->dp, x->m[i],
                              v16_hsum(v16_load(x->l + 16 * i)));
            }
            for (uint64_t i = 0; i < rows; i++)
                att_finish(w, x->total + i * s->partial, r.t + i / s->group, hk * s->group + i % s->group);
        }
    }
}

/* Partial results lie by token, head and split modulo `splits`, which is at least what one run touches. */
static float *att_partial(const att_shape *s, void *shared, uint64_t t, uint64_t h, uint64_t split) {
    return (float *)shared + ((t * s->heads + h) * s->splits + split % s->splits) * s->partial;
}

static void att_narrow_splits(cpu_run *run, const att_work *w) {
    const att_shape *s = &w->shape;
    const att_scratch *x = &w->scratch;
    uint64_t chunk, passed = 0; /* chunks of the runs before r; chunk numbers only grow */
    att_run r = att_find_run(run, s, 0);
    while (cpu_next(run, &chunk)) {
        uint64_t from, count;
        for (;;) {
            from = att_first(s, r.pos) / ATT_SPLIT;
            count = r.sequence < s->sequences ? ((r.pos + r.n - 1) / ATT_SPLIT - from + 1) * s->kv_heads : 0;
            if (chunk - passed < count) break;
            if (r.t + r.n == s->rows) return; /* no more work than this */
            passed += count;
            r = att_find_run(run, s, r.t + r.n);
        }
        uint64_t hk = (chunk - passed) % s->kv_heads, split = from + (chunk - passed) / s->kv_heads;
        att_pack_queries(&w->args[0], s, &r, hk, w->scale, x->queries);
        att_split(w, &r, hk, split);
        for (uint64_t i = 0; i < r.n * s->group; i++) {
            float *p = att_partial(s, run->shared, r.t + i / s->group, hk * s->group + i % s->group, split);
            memcpy(p, x->o + i * s->dp, s->dp * 4);
            p[s->dp] = x->m[i];
            p[s->dp + 1] = v16_hsum(v16_load(x->l + 16 * i));
        }
    }
}

static void att_narrow_merge(cpu_run *run, const att_work *w) {
    const att_shape *s = &w->shape;
    float *total = w->scratch.total;
    uint64_t t;
    while (cpu_next(run, &t)) {
        uint64_t pos = att_u32(&w->args[4], t);
        bool exists = att_u32(&w->args[3], t) < s->sequences;
        for (uint64_t h = 0; h < s->heads; h++) {
            att_clear(s, total);
            for (uint64_t split = att_first(s, pos) / ATT_SPLIT; exists && split <= pos / ATT_SPLIT; split++) {
                const float *p = att_partial(s, run->shared, t, h, split);
                att_merge(s, total, p, p[s->dp], p[s->dp + 1]);
            }
            att_finish(w, exists ? total : NULL, t, h);
        }
    }
}

static void run_attention(cpu_run *run) {
    const mlxn_attention_params *p = run->params;
    const double log2e = 1.4426950408889634;
    att_work w = {.shape = att_shape_of(run->args, p, run->n_threads), .args = run->args};
    att_carve(&w.shape, run->local, &w.scratch);
    w.scale = (float)(p->softcap > 0.0f ? (double)p->scale / p->softcap : (double)p->scale * log2e);
    w.cap = p->softcap > 0.0f ? (float)(p->softcap * log2e) : 0.0f;
    if (w.shape.wide)
        att_wide(run, &w);
    else if (run->phase == 0)
        att_narrow_splits(run, &w);
    else
        att_narrow_merge(run, &w);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_attention)[];
const cpu_kernel CPU_ISA(cpu_kernels_attention)[] = {
    {MLXN_OP_attention, "attention_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_attention,
     run_attention},
    {0},
};
