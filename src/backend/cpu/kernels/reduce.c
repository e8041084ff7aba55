/* reduce.c (CPU kernels): argmax, argmin, reduce. The maximum of a block is found first and then the first element
 * equal to it, so that the inner loop carries no indices; argmin takes the negated numbers. Blocks have a fixed size;
 * merging them keeps the lowest index. */
#include "backend/cpu/kernels/span.h"

/* Rows up to twice the block are not worth waking a second thread for. */
enum { ARGMAX_BLOCK = 32768 };

typedef struct argmax_best {
    float value;
    uint32_t index;
    bool found; /* false: the block has no number in it */
} argmax_best;

static uint64_t argmax_blocks(uint64_t n) {
    return n <= 2 * ARGMAX_BLOCK ? 1 : (n + ARGMAX_BLOCK - 1) / ARGMAX_BLOCK;
}

static void plan_argmax(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    uint64_t rows = rows_count(x), blocks = argmax_blocks(rows_cols(x));
    rows_shape shape = rows_of(&x, 1, true);
    if (blocks == 1) {
        *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
    } else {
        *out = (cpu_plan){
            .phases = 2, .chunks = {rows * blocks, 1}, .shared_bytes = rows * blocks * sizeof(argmax_best)};
    }
}

/* 0 - x keeps what is larger: -0 and 0 are equal. */
SIMD_INLINE v16 argmax_load(bool unit, bool flip, const float *row, int64_t stride, uint64_t i, uint64_t n) {
    v16 x = rows_load(MLXN_F32, unit, row, stride, i, n);
    return flip ? v16_sub(v16_zero(), x) : x;
}

SIMD_INLINE argmax_best argmax_span(bool unit, bool flip, const float *row, int64_t stride, uint64_t begin,
                                    uint64_t end) {
    const v16 none = v16_set1(-INFINITY);
    v16 m0 = none, m1 = none, m2 = none, m3 = none;
    uint64_t i = begin;
    /* v16_max returns its second operand when the first is NaN */
    for (; i + 64 <= end; i += 64) {
        m0 = v16_max(argmax_load(unit, flip, row, stride, i, 16), m0);
        m1 = v16_max(argmax_load(unit, flip, row, stride, i + 16, 16), m1);
        m2 = v16_max(argmax_load(unit, flip, row, stride, i + 32, 16), m2);
        m3 = v16_max(argmax_load(unit, flip, row, stride, i + 48, 16), m3);
    }
    float best = v16_hmax(v16_max(v16_max(m0, m1), v16_max(m2, m3)));
    for (; i < end; i++) {
        float x = flip ? -row[(int64_t)i * stride] : row[(int64_t)i * stride];
        if (x > best) best = x;
    }
    const v16 limit = v16_set1(best == -INFINITY ? -INFINITY : nextafterf(best, -INFINITY));
    for (i = begin; i < end; i += 16) {
        uint64_t k = simd_tail(i, end);
        /* the masked lanes of a tail read as zero: at worst a needless look at its elements */
        if (best != -INFINITY && !v16_any_gt(argmax_load(unit, flip, row, stride, i, k), limit)) continue;
        for (uint64_t j = 0; j < k; j++)
            if ((flip ? -row[(int64_t)(i + j) * stride] : row[(int64_t)(i + j) * stride]) == best)
                return (argmax_best){best, (uint32_t)(i + j), true};
    }
    return (argmax_best){-INFINITY, 0, false};
}

static argmax_best argmax_part(bool flip, const float *row, int64_t stride, uint64_t begin, uint64_t end) {
    if (flip) return argmax_span(stride == 1, true, row, stride, begin, end);
    return stride == 1 ? argmax_span(true, false, row, 1, begin, end)
                       : argmax_span(false, false, row, stride, begin, end);
}

static void argmax_run(cpu_run *run, bool flip) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    uint64_t rows = rows_count(x), n = rows_cols(x), blocks = argmax_blocks(n), chunk;
    int64_t stride = rows_stride(x), os = rows_stride(out);
    uint32_t *dst = out->data;
    argmax_best *part = run->shared;
    if (blocks == 1) {
        rows_shape shape = rows_of(&x, 1, true);
        while (cpu_next(run, &chunk)) {
            rows_part p = rows_chunk(&shape, chunk);
            for (uint64_t r = p.row; r < p.row_end; r++)
                dst[(int64_t)r * os] = argmax_part(flip, rows_at(x, r, 4), stride, 0, n).index;
        }
    } else if (run->phase == 0) {
        while (cpu_next(run, &chunk)) {
            uint64_t begin = chunk % blocks * ARGMAX_BLOCK;
            part[chunk] = argmax_part(flip, rows_at(x, chunk / blocks, 4), stride, begin,
                                      mlxn_min_u64(begin + ARGMAX_BLOCK, n));
        }
    } else {
        while (cpu_next(run, &chunk)) {
            for (uint64_t r = 0; r < rows; r++) {
                argmax_best best = part[r * blocks];
                for (uint64_t b = 1; b < blocks; b++) {
                    argmax_best p = part[r * blocks + b];
                    if (p.found && (!best.found || p.value > best.value)) best = p;
                }
                dst[(int64_t)r * os] = best.index;
            }
        }
    }
}

static void run_argmax(cpu_run *run) { argmax_run(run, false); }
static void run_argmin(cpu_run *run) { argmax_run(run, true); }

/* --- reduce: pieces of REDUCE_PIECE elements in f32 over four vectors, their results in double in rising order. ---
 */

enum { REDUCE_PIECE = 65536 };

typedef struct reduce_part {
    double a, b; /* the sum or extreme; of logsumexp the largest and the sum below it, of the variance mean and M2 */
    double n;
} reduce_part;

/* How the elements of one result lie: `rows` rows of `cols` elements; one row where they are equally spaced. */
typedef struct reduce_shape {
    mlxn_view outer, inner;
    uint64_t results, rows, cols, pieces;
    int64_t stride;
} reduce_shape;

static reduce_shape reduce_of(const mlxn_view *x, uint32_t axes) {
    reduce_shape s = {.outer = *x, .inner = *x};
    axes = axes ? axes : 1;
    s.outer.rank = x->rank - axes;
    s.results = 1;
    for (uint32_t d = 0; d < s.outer.rank; d++) s.results *= x->dims[d];
    s.inner.rank = axes;
    for (uint32_t d = 0; d < axes; d++) {
        s.inner.dims[d] = x->dims[s.outer.rank + d];
        s.inner.strides[d] = x->strides[s.outer.rank + d];
    }
    s.rows = rows_count(&s.inner);
    s.cols = rows_cols(&s.inner);
    s.stride = rows_stride(&s.inner);
    if (rows_dense(&s.inner)) {
        s.cols *= s.rows;
        s.rows = 1;
    }
    s.pieces = s.rows == 1 ? (s.cols + REDUCE_PIECE - 1) / REDUCE_PIECE : 1;
    return s;
}

static const char *reduce_row_at(const reduce_shape *s, const mlxn_view *x, uint64_t result, uint64_t row) {
    size_t size = rows_size(x->dtype);
    int64_t at = 0;
    for (uint32_t d = s->outer.rank; d-- > 0; result /= s->outer.dims[d])
        at += (int64_t)(result % s->outer.dims[d]) * s->outer.strides[d];
    mlxn_view inner = s->inner;
    inner.data = (char *)x->data + at * (int64_t)size;
    return rows_at(&inner, row, size);
}

typedef struct reduce_state {
    v16 s[4];
    v16 shift; /* subtracted first */
    double product;
} reduce_state;

#define REDUCE_SPAN(name, step, rest)                                                \
    static void name(reduce_state *st, const float *x, uint64_t n) {                 \
        v16 s[4] = {st->s[0], st->s[1], st->s[2], st->s[3]}, shift = st->shift;      \
        (void)shift;                                                                 \
        uint64_t i = 0;                                                              \
        for (; i + 64 <= n; i += 64) {                                               \
            for (int k = 0; k < 4; k++) {                                            \
                v16 v = v16_load(x + i + 16 * k);                                    \
                s[k] = (step);                                                       \
            }                                                                        \
        }                                                                            \
        for (; i < n; i += 16) {                                                     \
            uint64_t m = simd_tail(i, n);                                            \
            int k = 0;                                                               \
            v16 v = v16_range(v16_set1(rest), v16_load_as(MLXN_F32, x, i, m), 0, m); \
            v16 t = (step);                                                          \
            s[k] = v16_range(s[k], t, 0, m);                                         \
        }                                                                            \
        for (int k = 0; k < 4; k++) st->s[k] = s[k];                                 \
    }
SIMD_INLINE v16 centred_square(v16 v, v16 shift, v16 s) {
    v16 d = v16_sub(v, shift);
    return v16_fma(d, d, s);
}
REDUCE_SPAN(span_sum, v16_add(s[k], v), 0.0f)
REDUCE_SPAN(span_squares, v16_fma(v, v, s[k]), 0.0f)
REDUCE_SPAN(span_max, v16_pick_nan(v, v16_max(v, s[k])), -INFINITY)
REDUCE_SPAN(span_min, v16_pick_nan(v, v16_min(v, s[k])), INFINITY)
REDUCE_SPAN(span_exp, v16_add(s[k], v16_exp(v16_sub(v, shift))), -INFINITY)
REDUCE_SPAN(span_deviation, centred_square(v, shift, s[k]), 0.0f)
static void span_product(reduce_state *st, const float *x, uint64_t n) {
    double products[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (uint64_t k = 0; k < 8; k++) products[k] *= (double)x[i + k];
    for (; i < n; i++) st->product *= (double)x[i];
    for (int k = 0; k < 8; k++) st->product *= products[k];
}

static void reduce_pass(const reduce_shape *s, const mlxn_view *x, uint64_t result, uint64_t begin, uint64_t end,
                        void (*fn)(reduce_state *, const float *, uint64_t), reduce_state *st) {
    float buffer[SPAN] __attribute__((aligned(64)));
    for (uint64_t r = 0; r < s->rows; r++) {
        const char *row = reduce_row_at(s, x, result, r);
        for (uint64_t i = begin; i < end; i += SPAN) {
            uint64_t n = mlxn_min_u64(SPAN, end - i);
            fn(st, span_in(x->dtype, row, s->stride, i, n, buffer), n);
        }
    }
}

static reduce_state reduce_start(float first, float shift) {
    v16 f = v16_set1(first);
    return (reduce_state){{f, f, f, f}, v16_set1(shift), 1};
}
static double reduce_sum(const reduce_state *st) {
    float t[16];
    double sum = 0;
    v16_store(t, v16_add(v16_add(st->s[0], st->s[1]), v16_add(st->s[2], st->s[3])));
    for (int i = 0; i < 16; i++) sum += (double)t[i];
    return sum;
}
static double reduce_extreme(const reduce_state *st, bool most) {
    float t[64], best = most ? -INFINITY : INFINITY;
    for (int k = 0; k < 4; k++) v16_store(t + 16 * k, st->s[k]);
    for (int i = 0; i < 64; i++) {
        if (t[i] != t[i]) return NAN;
        if (most ? t[i] > best : t[i] < best) best = t[i];
    }
    return best;
}

static reduce_part reduce_piece(const reduce_shape *s, const mlxn_view *x, uint32_t fn, uint64_t result,
                                uint64_t begin, uint64_t end) {
    reduce_part p = {0, 0, (double)((end - begin) * s->rows)};
    bool most = fn == MLXN_REDUCE_MAX || fn == MLXN_REDUCE_LOGSUMEXP;
    reduce_state st = reduce_start(most ? -INFINITY : fn == MLXN_REDUCE_MIN ? INFINITY : 0.0f, 0);
    switch ((mlxn_reduce_fn)fn) {
        case MLXN_REDUCE_SUM:
        case MLXN_REDUCE_MEAN:
            reduce_pass(s, x, result, begin, end, span_sum, &st);
            p.a = reduce_sum(&st);
            break;
        case MLXN_REDUCE_PROD:
            reduce_pass(s, x, result, begin, end, span_product, &st);
            p.a = st.product;
            break;
        case MLXN_REDUCE_MAX:
        case MLXN_REDUCE_LOGSUMEXP:
            reduce_pass(s, x, result, begin, end, span_max, &st);
            p.a = reduce_extreme(&st, true);
            if (fn == MLXN_REDUCE_MAX || !isfinite(p.a)) break;
            st = reduce_start(0, (float)p.a);
            reduce_pass(s, x, result, begin, end, span_exp, &st);
            p.b = reduce_sum(&st);
            break;
        case MLXN_REDUCE_MIN:
            reduce_pass(s, x, result, begin, end, span_min, &st);
            p.a = reduce_extreme(&st, false);
            break;
        case MLXN_REDUCE_VARIANCE:
            reduce_pass(s, x, result, begin, end, span_sum, &st);
            p.a = (double)(float)(reduce_sum(&st) / p.n);
            st = reduce_start(0, (float)p.a);
            reduce_pass(s, x, result, begin, end, span_deviation, &st);
            p.b = reduce_sum(&st);
            break;
        default:
            reduce_pass(s, x, result, begin, end, span_squares, &st);
            p.a = reduce_sum(&st);
    }
    return p;
}

/* `first` and what follows it. */
static reduce_part reduce_merge(uint32_t fn, reduce_part p, reduce_part q) {
    double n = p.n + q.n, off = q.a - p.a;
    switch ((mlxn_reduce_fn)fn) {
        case MLXN_REDUCE_PROD:
            return (reduce_part){p.a * q.a, 0, n};
        case MLXN_REDUCE_MAX:
            return (reduce_part){p.a != p.a || q.a != q.a ? NAN : p.a > q.a ? p.a : q.a, 0, n};
        case MLXN_REDUCE_MIN:
            return (reduce_part){p.a != p.a || q.a != q.a ? NAN : p.a < q.a ? p.a : q.a, 0, n};
        case MLXN_REDUCE_VARIANCE:
            return (reduce_part){p.a + off * q.n / n, p.b + q.b + off * off * p.n * q.n / n, n};
        case MLXN_REDUCE_LOGSUMEXP:
            if (p.a != p.a || q.a != q.a) return (reduce_part){NAN, 0, n};
            if (isinf(p.a) || isinf(q.a)) return p.a > q.a ? p : q;
            if (off > 0) return (reduce_part){q.a, p.b * exp(-off) + q.b, n};
            return (reduce_part){p.a, p.b + q.b * exp(off), n};
        default:
            return (reduce_part){p.a + q.a, 0, n};
    }
}

static double reduce_finish(const mlxn_reduce_params *params, reduce_part p) {
    switch ((mlxn_reduce_fn)params->fn) {
        case MLXN_REDUCE_MEAN:
            return p.a / p.n;
        case MLXN_REDUCE_NORM:
            return sqrt(p.a);
        case MLXN_REDUCE_RMS_INV:
            return 1 / sqrt(p.a / p.n + (double)params->eps);
        case MLXN_REDUCE_VARIANCE:
            return p.b / p.n;
        case MLXN_REDUCE_LOGSUMEXP:
            return isfinite(p.a) ? p.a + log(p.b) : p.a;
        default:
            return p.a;
    }
}

/* Results per chunk, so that a chunk has some REDUCE_PIECE elements. */
static uint64_t reduce_group(const reduce_shape *s) {
    uint64_t n = s->rows * s->cols;
    return n >= REDUCE_PIECE / 4 ? 1 : REDUCE_PIECE / 4 / n;
}

static void plan_reduce(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    reduce_shape s = reduce_of(&args[0], ((const mlxn_reduce_params *)params)->axes);
    uint64_t group = reduce_group(&s);
    if (s.pieces == 1)
        *out = (cpu_plan){.phases = 1, .chunks = {(s.results + group - 1) / group}};
    else
        *out = (cpu_plan){.phases = 2,
                          .chunks = {s.results * s.pieces, 1},
                          .shared_bytes = s.results * s.pieces * sizeof(reduce_part)};
}

static void reduce_store(const mlxn_view *out, uint64_t result, double value) {
    simd_set(out->dtype, rows_at(out, result / rows_cols(out), rows_size(out->dtype)),
             (int64_t)(result % rows_cols(out)) * rows_stride(out), (float)value);
}

static void run_reduce(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_reduce_params *p = run->params;
    reduce_shape s = reduce_of(x, p->axes);
    reduce_part *parts = run->shared;
    uint64_t chunk, group = reduce_group(&s);
    while (cpu_next(run, &chunk)) {
        if (s.pieces == 1) {
            for (uint64_t r = chunk * group; r < s.results && r < (chunk + 1) * group; r++)
                reduce_store(out, r, reduce_finish(p, reduce_piece(&s, x, p->fn, r, 0, s.cols)));
        } else if (run->phase == 0) {
            uint64_t begin = chunk % s.pieces * REDUCE_PIECE;
            parts[chunk] =
                reduce_piece(&s, x, p->fn, chunk / s.pieces, begin, mlxn_min_u64(begin + REDUCE_PIECE, s.cols));
        } else {
            for (uint64_t r = 0; r < s.results; r++) {
                reduce_part all = parts[r * s.pieces];
                for (uint64_t k = 1; k < s.pieces; k++) all = reduce_merge(p->fn, all, parts[r * s.pieces + k]);
                reduce_store(out, r, reduce_finish(p, all));
            }
        }
    }
}

/* --- reduce over an axis along which x is not dense, while it is along the one before: rows of COLUMNS elements are
 * taken in one after the other, sums COLUMN_ROWS at a time before they join the total. Above COLUMN_PART rows there
 * are several totals, which meet in double. --- */

enum { COLUMNS = 1024, COLUMN_ROWS = 32, COLUMN_PART = 1024 };

typedef struct column_shape {
    uint64_t width, rows;          /* of x: the axis that stays, the axis that goes */
    uint64_t blocks, parts, outer; /* pieces of the width, pieces of the rows, other axes */
} column_shape;

static column_shape columns_of(const mlxn_view *x) {
    column_shape s = {.width = x->dims[x->rank - 2], .rows = x->dims[x->rank - 1]};
    s.blocks = (s.width + COLUMNS - 1) / COLUMNS;
    s.parts = (s.rows + COLUMN_PART - 1) / COLUMN_PART;
    s.outer = rows_count(x) / s.width;
    return s;
}

static bool columns_fit(const mlxn_view *args, const void *params) {
    const mlxn_reduce_params *p = params;
    const mlxn_view *x = &args[0];
    bool known = p->fn != MLXN_REDUCE_PROD && p->fn != MLXN_REDUCE_VARIANCE && p->fn != MLXN_REDUCE_LOGSUMEXP;
    return known && p->axes <= 1 && x->rank > 1 && x->strides[x->rank - 1] != 1 && x->strides[x->rank - 2] == 1 &&
           x->dims[x->rank - 2] >= 16;
}

static void plan_columns(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const column_shape s = columns_of(&args[0]);
    const uint64_t blocks = s.outer * s.blocks;
    if (s.parts == 1)
        *out = (cpu_plan){.phases = 1, .chunks = {blocks}};
    else
        *out = (cpu_plan){.phases = 2,
                          .chunks = {blocks * s.parts, blocks},
                          .shared_bytes = blocks * s.parts * COLUMNS * sizeof(float)};
}

/* `count` rows at once, up to COLUMN_STEP: so many lines are under way, and the totals are touched once. */
enum { COLUMN_STEP = 4 };
SIMD_INLINE void columns_take(uint32_t fn, float *acc, const float *const rows[COLUMN_STEP], int count, uint64_t n) {
    for (uint64_t k = 0; k < n; k += 16) {
        v16 s = v16_load(acc + k), step = v16_zero();
#pragma GCC unroll 4
        for (int r = 0; r < count; r++) {
            v16 x = v16_load_as(MLXN_F32, rows[r], k, simd_tail(k, n));
            if (fn == MLXN_REDUCE_SUM)
                step = v16_add(step, x);
            else if (fn == MLXN_REDUCE_MAX)
                s = v16_pick_nan(x, v16_max(x, s));
            else if (fn == MLXN_REDUCE_MIN)
                s = v16_pick_nan(x, v16_min(x, s));
            else
                step = v16_fma(x, x, step);
        }
        v16_store(acc + k, fn == MLXN_REDUCE_MAX || fn == MLXN_REDUCE_MIN ? s : v16_add(s, step));
    }
}
SIMD_INLINE void columns_step(uint32_t fn, float *acc, const float *const rows[COLUMN_STEP], int count, uint64_t n) {
    if (count == COLUMN_STEP)
        columns_take(fn, acc, rows, COLUMN_STEP, n);
    else
        for (int r = 0; r < count; r++) columns_take(fn, acc, &rows[r], 1, n);
}

static void columns_fill(float *acc, float value) {
    for (int k = 0; k < COLUMNS; k += 16) v16_store(acc + k, v16_set1(value));
}

/* The function of which a total is kept. */
static uint32_t columns_fn(const mlxn_reduce_params *p) {
    return p->fn == MLXN_REDUCE_MEAN ? (uint32_t)MLXN_REDUCE_SUM : p->fn;
}

/* m totals of rows [begin, end) from element `base` of each on. */
static void columns_total(const mlxn_view *x, uint32_t fn, const char *base, uint64_t begin, uint64_t end, uint64_t m,
                          float *all) {
    float part[COLUMNS] __attribute__((aligned(64))), buffers[COLUMN_STEP][COLUMNS] __attribute__((aligned(64)));
    const bool extreme = fn == MLXN_REDUCE_MAX || fn == MLXN_REDUCE_MIN;
    const int64_t step = x->strides[x->rank - 1] * (int64_t)rows_size(x->dtype);
    columns_fill(all, fn == MLXN_REDUCE_MAX ? -INFINITY : fn == MLXN_REDUCE_MIN ? INFINITY : 0.0f);
    for (uint64_t row = begin; row < end; row += COLUMN_ROWS) {
        const uint64_t stop = mlxn_min_u64(row + COLUMN_ROWS, end);
        columns_fill(part, 0.0f);
        for (uint64_t j = row; j < stop; j += COLUMN_STEP) {
            const int count = (int)mlxn_min_u64(COLUMN_STEP, stop - j);
            const float *v[COLUMN_STEP];
            for (int r = 0; r < count; r++)
                v[r] = span_in(x->dtype, base + (int64_t)(j + (uint64_t)r) * step, 1, 0, m, buffers[r]);
            if (fn == MLXN_REDUCE_SUM)
                columns_step(MLXN_REDUCE_SUM, part, v, count, m);
            else if (fn == MLXN_REDUCE_MAX)
                columns_step(MLXN_REDUCE_MAX, all, v, count, m);
            else if (fn == MLXN_REDUCE_MIN)
                columns_step(MLXN_REDUCE_MIN, all, v, count, m);
            else
                columns_step(MLXN_REDUCE_SUM_SQUARES, part, v, count, m);
        }
        for (int k = 0; k < COLUMNS && !extreme; k += 16)
            v16_store(all + k, v16_add(v16_load(all + k), v16_load(part + k)));
    }
}

/* Chunks of the first phase: outer axes, blocks, parts; of the second: outer axes, blocks. */
static void run_columns(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_reduce_params *p = run->params;
    const column_shape s = columns_of(x);
    const uint32_t fn = columns_fn(p);
    const size_t size = rows_size(x->dtype);
    float all[COLUMNS] __attribute__((aligned(64)));
    float *totals = run->shared;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        const uint64_t block = run->phase == 0 ? chunk / s.parts : chunk, first = block % s.blocks * COLUMNS;
        const uint64_t m = mlxn_min_u64(COLUMNS, s.width - first), result = block / s.blocks * s.width;
        if (run->phase == 0) {
            const uint64_t begin = chunk % s.parts * COLUMN_PART;
            columns_total(x, fn, (const char *)rows_at(x, result, size) + first * size, begin,
                          mlxn_min_u64(begin + COLUMN_PART, s.rows), m, all);
            if (s.parts > 1) memcpy(totals + chunk * COLUMNS, all, sizeof all);
        }
        for (uint64_t k = 0; k < m && (run->phase == 1 || s.parts == 1); k++) {
            const float *first_total = s.parts == 1 ? &all[k] : &totals[block * s.parts * COLUMNS + k];
            reduce_part sum = {(double)*first_total, 0, (double)s.rows};
            for (uint64_t part = 1; part < s.parts; part++) {
                const reduce_part more = {(double)first_total[part * COLUMNS], 0, 0};
                sum.a = reduce_merge(fn, sum, more).a;
            }
            reduce_store(out, result + first + k, reduce_finish(p, sum));
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_reduce)[];
const cpu_kernel CPU_ISA(cpu_kernels_reduce)[] = {
    {MLXN_OP_argmax, "argmax_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_argmax, run_argmax},
    {MLXN_OP_argmin, "argmin_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_argmax, run_argmin},
    {MLXN_OP_reduce, "reduce_columns_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, columns_fit, plan_columns, run_columns},
    {MLXN_OP_reduce, "reduce_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_reduce, run_reduce},
    {0},
};
