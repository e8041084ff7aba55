/* attention.c (CPU kernels): attention over caches of several sequences, with grouped heads, windows, ring slots,
 * soft-capped scores, biases, masks and sinks, over numbers or quantized rows. One kernel serves prompts and single
 * tokens.
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

enum { ATT_Q, ATT_K, ATT_V, ATT_SEQUENCES, ATT_POSITIONS, ATT_SINKS, ATT_MASK, ATT_OUT };

typedef struct att_shape {
    uint64_t rows, heads, kv_heads, group, slots, sequences;
    uint64_t dk, dv, dp; /* dp: dv rounded up to whole vectors */
    uint32_t kind;       /* mlxn_attention_mask */
    uint64_t window;     /* of the parameters */
    uint64_t visible;    /* positions that a row may see at most, its own included */
    uint64_t block;      /* rows per run at most */
    uint64_t blocks;
    uint64_t max_rows; /* of the product: block * group, rounded up to whole tiles */
    uint64_t split;    /* keys of a split */
    uint64_t splits;   /* splits that a run may touch at most */
    uint64_t partial;  /* floats of one partial result: o, m, l */
    bool wide;
} att_shape;

/* Keys of a split: the same for every row and every number of threads, so that results are. HF2Q_TQ_NWG asks for so
 * many of them over a TurboQuant cache. */
static uint64_t att_split_keys(const mlxn_view *args, const mlxn_attention_params *p, uint64_t visible) {
    uint64_t groups = cpu_tq_groups();
    bool rotated = mlxn_kv_type_rotated(mlxn_kv_resolve(p->k_type, args[ATT_K].dtype));
    if (!rotated || groups == 0) return ATT_SPLIT;
    uint64_t keys = (visible + groups - 1) / groups;
    return (keys + ATT_KEYS - 1) / ATT_KEYS * ATT_KEYS;
}

static att_shape att_shape_of(const mlxn_view *args, const mlxn_attention_params *p, uint32_t n_threads) {
    const mlxn_view *q = &args[ATT_Q], *k = &args[ATT_K];
    att_shape s = {.rows = q->dims[0], .heads = q->dims[1], .kv_heads = k->dims[1], .dk = q->dims[2]};
    s.group = s.heads / s.kv_heads;
    s.dv = args[ATT_OUT].dims[2];
    s.dp = (s.dv + 15) & ~(uint64_t)15;
    s.sequences = k->dims[0];
    s.slots = k->dims[2];
    s.kind = p->visible;
    s.window = p->window;
    s.visible = s.slots;
    if (p->window && s.kind != MLXN_MASK_NONE)
        s.visible = mlxn_min_u64(s.kind == MLXN_MASK_SYMMETRIC ? s.window | 1 : s.window, s.slots);
    s.block = mlxn_min_u64(mlxn_max_u64(ATT_TARGET_ROWS / s.group, 1), 64);
    s.blocks = (s.rows + s.block - 1) / s.block;
    s.max_rows = (mlxn_min_u64(s.block, s.rows) * s.group + ATT_ROWS - 1) / ATT_ROWS * ATT_ROWS;
    s.split = att_split_keys(args, p, s.visible);
    s.splits = (s.visible + s.block + s.split - 2) / s.split + 1;
    s.partial = s.dp + 16;
    /* Splits are too few to gain from, too costly to keep, or not needed to occupy the threads. */
    uint64_t floats = 0;
    s.wide = s.visible <= s.split || s.blocks * s.kv_heads >= 4 * (uint64_t)n_threads ||
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
    float *decoded; /* [16][dk], of quantized keys */
    float *row;     /* a query or a result while it is turned */
} att_scratch;

static uint64_t att_carve(const att_shape *s, float *base, att_scratch *out) {
    uint64_t sizes[11] = {s->dk * ATT_KEYS,
                          ATT_KEYS * s->dp,
                          ATT_ROWS * ATT_KEYS,
                          16,
                          s->max_rows * s->dk,
                          s->max_rows * s->dp,
                          s->max_rows * 16,
                          s->max_rows,
                          (s->wide ? s->max_rows : 1) * s->partial,
                          16 * s->dk,
                          mlxn_max_u64(s->dk, s->dp) + 16};
    float **parts[11] = {&out->keys, &out->values, &out->scores, &out->alpha,   &out->queries, &out->o,
                         &out->l,    &out->m,      &out->total,  &out->decoded, &out->row};
    uint64_t at = 0;
    for (int i = 0; i < 11; i++) {
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
    const mlxn_view *seqs = &run->args[ATT_SEQUENCES], *poss = &run->args[ATT_POSITIONS];
    att_run r = {t, 1, att_u32(seqs, t), att_u32(poss, t)};
    uint64_t end = mlxn_min_u64((t / s->block + 1) * s->block, s->rows);
    if (r.sequence >= s->sequences) return r;
    while (t + r.n < end && att_u32(seqs, t + r.n) == r.sequence && att_u32(poss, t + r.n) == r.pos + r.n) r.n++;
    return r;
}

/* Positions [first, end) that the row at `pos` sees; neither end ever moves down from row to row of a run. */
typedef struct att_range {
    uint64_t first, end;
} att_range;

static att_range att_sees(const att_shape *s, uint64_t pos) {
    uint64_t end = pos + 1, span = s->visible;
    if (s->kind == MLXN_MASK_NONE) return (att_range){0, s->slots};
    if (s->kind == MLXN_MASK_SYMMETRIC) {
        uint64_t half = s->window / 2;
        end = mlxn_min_u64(pos + half + 1, s->slots);
        return (att_range){mlxn_min_u64(pos > half ? pos - half : 0, end), end};
    }
    if (s->kind == MLXN_MASK_CHUNKED) span = mlxn_min_u64(pos % s->window + 1, s->slots);
    return (att_range){end > span ? end - span : 0, end};
}

/* What a whole run sees. */
static att_range att_run_sees(const att_shape *s, const att_run *r) {
    return (att_range){att_sees(s, r->pos).first, att_sees(s, r->pos + r->n - 1).end};
}

static float att_exp2(float x) {
    float t[16];
    v16_store(t, v16_exp2(v16_set1(x)));
    return t[0];
}

typedef struct att_work {
    att_shape shape;
    att_scratch scratch;
    const mlxn_view *args;
    kv_codec k_codec, v_codec;
    float scale; /* on the queries */
    float cap;   /* on tanh; 0 = no soft cap. Both include log2(e). */
    float alibi; /* max_bias; 0 = none */
    bool biased; /* biases or a mask */
} att_work;

/* Queries of a run and cache head, rows in the order (token, head), tiles of ATT_ROWS, turned where keys are, scaled.
 * Spare rows are zero. */
static void att_pack_queries(const att_work *w, const att_run *r, uint64_t hk) {
    const mlxn_view *q = &w->args[ATT_Q];
    const att_shape *s = &w->shape;
    float *out = w->scratch.queries, *turned = w->scratch.row;
    uint64_t n = r->n * s->group, padded = (n + ATT_ROWS - 1) / ATT_ROWS * ATT_ROWS;
    int64_t step = rows_stride(q);
    for (uint64_t i = 0; i < padded; i++) {
        float *dst = out + i / ATT_ROWS * ATT_ROWS * s->dk + i % ATT_ROWS;
        if (i >= n) {
            for (uint64_t d = 0; d < s->dk; d++) dst[d * ATT_ROWS] = 0.0f;
            continue;
        }
        int64_t offset =
            (int64_t)(r->t + i / s->group) * q->strides[0] + (int64_t)(hk * s->group + i % s->group) * q->strides[1];
        const char *src = (const char *)q->data + offset * (int64_t)rows_size(q->dtype);
        if (q->dtype == MLXN_F32 && !w->k_codec.bits) {
            for (uint64_t d = 0; d < s->dk; d++)
                dst[d * ATT_ROWS] = ((const float *)src)[(int64_t)d * step] * w->scale;
            continue;
        }
        for (uint64_t d = 0; d < s->dk; d++) turned[d] = simd_get(q->dtype, src, (int64_t)d * step);
        if (w->k_codec.bits) {
            kv_signs(turned, s->dk);
            kv_transform(turned, s->dk);
        }
        for (uint64_t d = 0; d < s->dk; d++) dst[d * ATT_ROWS] = turned[d] * w->scale;
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

/* 2^-b log2(e) steps of head h, where every further position costs one. */
static float att_slope(float max_bias, uint64_t heads, uint64_t h) {
    const double log2e = 1.4426950408889634;
    uint64_t n = 1;
    while (2 * n <= heads) n *= 2;
    double steps = h < n ? (double)(h + 1) / (double)n : (double)(2 * (h - n) + 1) / (2 * (double)n);
    return (float)(log2e * exp2(-(double)max_bias * steps));
}

/* Soft cap, bias and mask of one row for keys [b, e) of the block at `base`: what att_softmax_row then takes as it
 * is.
 */
static void att_bias_row(const att_work *w, uint64_t t, uint64_t h, uint64_t pos, uint64_t base, uint64_t b,
                         uint64_t e, float *scores) {
    const float log2e = 1.4426950408889634f;
    const mlxn_view *mask = &w->args[ATT_MASK];
    if (w->cap > 0.0f)
        for (uint64_t j = b / 16 * 16; j < e; j += 16)
            v16_store(scores + j, v16_mul(v16_tanh(v16_load(scores + j)), v16_set1(w->cap)));
    if (w->alibi > 0.0f) {
        float slope = att_slope(w->alibi, w->shape.heads, h);
        for (uint64_t j = b; j < e; j++) {
            uint64_t key = base + j;
            scores[j] -= slope * (float)(key > pos ? key - pos : pos - key);
        }
    }
    if (!mask->present) return;
    int64_t offset = (int64_t)t * mask->strides[0] + (mask->rank == 3 ? (int64_t)h * mask->strides[1] : 0);
    int64_t step = rows_stride(mask);
    for (uint64_t j = b; j < e; j++) {
        int64_t at = offset + (int64_t)((base + j) % w->shape.slots) * step;
        if (mask->dtype == MLXN_U8)
            scores[j] = ((const uint8_t *)mask->data)[at] ? scores[j] : -INFINITY;
        else
            scores[j] += simd_get(mask->dtype, mask->data, at) * log2e;
    }
}

/* One tile of queries against the block that begins at position `base`, its keys in the scratch. */
static void att_tile(const att_work *w, const att_run *r, uint64_t hk, const att_values_view *v, uint64_t base,
                     uint64_t row, uint64_t rows) {
    const att_shape *s = &w->shape;
    const att_scratch *x = &w->scratch;
    uint64_t low = att_sees(s, r->pos + row / s->group).first;
    uint64_t high = att_sees(s, r->pos + (row + rows - 1) / s->group).end;
    if (low >= base + ATT_KEYS || high <= base) return;
    uint64_t begin = low > base ? low - base : 0, end = mlxn_min_u64(high - base, ATT_KEYS);
    uint64_t first = begin / 16, last = (end + 15) / 16;
    att_scores((int)rows, first, last, x->queries + row * s->dk, x->keys, s->dk, x->scores);
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t pos = r->pos + (row + i) / s->group;
        att_range sees = att_sees(s, pos);
        uint64_t b = sees.first > base ? sees.first - base : 0;
        uint64_t e = sees.end > base ? mlxn_min_u64(sees.end - base, end) : 0;
        float *scores = x->scores + i * ATT_KEYS;
        if (w->biased)
            att_bias_row(w, r->t + (row + i) / s->group, hk * s->group + (row + i) % s->group, pos, base, b, e,
                         scores);
        att_softmax_row(scores, first, last, b, e, w->biased ? 0.0f : w->cap, &x->m[row + i], x->l + 16 * (row + i),
                        &x->alpha[i]);
    }
    att_values(v, begin, (int)rows, x->scores + begin, end - begin, x->o + row * s->dp, s->dp, x->alpha);
}

static att_cache att_cache_of(const mlxn_view *cache, const kv_codec *codec, uint64_t sequence, uint64_t head,
                              uint64_t d) {
    int64_t size = cache->dtype == MLXN_U8 ? 1 : (int64_t)rows_size(cache->dtype);
    int64_t offset = (int64_t)sequence * cache->strides[0] + (int64_t)head * cache->strides[1];
    return (att_cache){.base = (const char *)cache->data + offset * size,
                       .dtype = cache->dtype,
                       .codec = codec,
                       .row = cache->strides[2] * size,
                       .step = rows_stride(cache),
                       .slots = cache->dims[2],
                       .d = d};
}

/* All rows of a run over the positions of one split; results in o, m, l of the scratch. */
static void att_split(const att_work *w, const att_run *r, uint64_t hk, uint64_t split) {
    const att_shape *s = &w->shape;
    const att_scratch *x = &w->scratch;
    const mlxn_view *v = &w->args[ATT_V];
    att_cache kc = att_cache_of(&w->args[ATT_K], &w->k_codec, r->sequence, hk, s->dk);
    att_cache vc = att_cache_of(v, &w->v_codec, r->sequence, hk, s->dv);
    uint64_t rows = r->n * s->group;
    memset(x->o, 0, rows * s->dp * 4);
    memset(x->l, 0, rows * 16 * 4);
    for (uint64_t i = 0; i < rows; i++) x->m[i] = -FLT_MAX;
    att_range sees = att_run_sees(s, r);
    uint64_t low = mlxn_max_u64(split * s->split, sees.first);
    uint64_t high = mlxn_min_u64((split + 1) * s->split, sees.end);
    for (uint64_t base = low / ATT_KEYS * ATT_KEYS; base < high; base += ATT_KEYS) {
        uint64_t begin = low > base ? low - base : 0, end = mlxn_min_u64(high - base, ATT_KEYS);
        uint64_t slot = base % s->slots;
        att_load_keys(&kc, slot, begin, end, x->decoded, x->keys);
        att_values_view view = {MLXN_F32, (const char *)x->values, (int64_t)s->dp};
        /* a single tile reads each value once, so that widening them beforehand would not pay */
        if (rows <= ATT_ROWS && vc.dtype != MLXN_U8 && vc.step == 1 && s->dv == s->dp && slot + end <= s->slots)
            view = (att_values_view){v->dtype, vc.base + (int64_t)slot * vc.row, v->strides[2]};
        else
            att_load_values(&vc, slot, begin, end, s->dp, x->values);
        for (uint64_t row = 0; row < rows; row += ATT_ROWS)
            att_tile(w, r, hk, &view, base, row, mlxn_min_u64(rows - row, ATT_ROWS));
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

/* total NULL: the row sees nothing. The sink is one more key, with a value of zero. */
static void att_finish(const att_work *w, const float *total, uint64_t t, uint64_t h) {
    const mlxn_view *out = &w->args[ATT_OUT], *sinks = &w->args[ATT_SINKS];
    const att_shape *s = &w->shape;
    int64_t offset = (int64_t)t * out->strides[0] + (int64_t)h * out->strides[1], step = rows_stride(out);
    char *dst = (char *)out->data + offset * (int64_t)rows_size(out->dtype);
    float l = total ? total[s->dp + 1] : 0.0f, factor = 1.0f, *row = w->scratch.row;
    if (total && sinks->present) {
        float z = ((const float *)sinks->data)[(int64_t)h * rows_stride(sinks)] * 1.4426950408889634f;
        float m = total[s->dp], top = z > m ? z : m;
        factor = att_exp2(m - top);
        l = l * factor + att_exp2(z - top);
    }
    v16 scale = v16_set1(l == 0.0f ? 0.0f : factor / l);
    for (uint64_t d = 0; d < s->dp; d += 16)
        v16_store(row + d, total ? v16_mul(v16_load(total + d), scale) : v16_zero());
    if (total && w->v_codec.bits) {
        kv_transform(row, s->dv);
        kv_signs(row, s->dv);
    }
    for (uint64_t d = 0; d < s->dv; d += 16)
        rows_store(out->dtype, step == 1, dst, step, d, v16_load(row + d), simd_tail(d, s->dv));
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
            uint64_t rows = r.n * s->group;
            att_range sees = att_run_sees(s, &r);
            att_pack_queries(w, &r, hk);
            for (uint64_t i = 0; i < rows; i++) att_clear(s, x->total + i * s->partial);
            for (uint64_t split = sees.first / s->split; split * s->split < sees.end; split++) {
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
            att_range sees = att_run_sees(s, &r);
            from = sees.first / s->split;
            bool empty = r.sequence >= s->sequences || sees.first >= sees.end;
            count = empty ? 0 : ((sees.end - 1) / s->split - from + 1) * s->kv_heads;
            if (chunk - passed < count) break;
            if (r.t + r.n == s->rows) return; /* no more work than this */
            passed += count;
            r = att_find_run(run, s, r.t + r.n);
        }
        uint64_t hk = (chunk - passed) % s->kv_heads, split = from + (chunk - passed) / s->kv_heads;
        att_pack_queries(w, &r, hk);
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
        att_range sees = att_sees(s, att_u32(&w->args[ATT_POSITIONS], t));
        bool exists = att_u32(&w->args[ATT_SEQUENCES], t) < s->sequences && sees.first < sees.end;
        for (uint64_t h = 0; h < s->heads; h++) {
            att_clear(s, total);
            for (uint64_t split = sees.first / s->split; exists && split * s->split < sees.end; split++) {
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
    att_work w; /* the tables of codecs are filled only where they are needed */
    w.shape = att_shape_of(run->args, p, run->n_threads);
    w.args = run->args;
    att_carve(&w.shape, run->local, &w.scratch);
    kv_codec_read(&w.k_codec, mlxn_kv_resolve(p->k_type, run->args[ATT_K].dtype));
    kv_codec_read(&w.v_codec, mlxn_kv_resolve(p->v_type, run->args[ATT_V].dtype));
    w.scale = (float)(p->softcap > 0.0f ? (double)p->scale / p->softcap : (double)p->scale * log2e);
    w.cap = p->softcap > 0.0f ? (float)(p->softcap * log2e) : 0.0f;
    w.alibi = p->alibi_max_bias;
    w.biased = w.alibi > 0.0f || run->args[ATT_MASK].present;
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
