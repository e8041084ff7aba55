/* softmax.c (CPU kernels): softmax, softmax_backward, softmax_sample. A row is brought to f32 once and stays there
 * until it is rounded to the dtype of the result. */
#include "backend/cpu/kernels/softmax_row.h"

static void plan_rows(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}, .local_bytes = shape.cols * sizeof(float)};
}

/* softmax takes a row in blocks that stay in the first-level cache. Of a row of several blocks, the exponentials
 * relative to each block's largest are kept, in the second-level cache up to SOFTMAX_KEPT elements; longer rows are
 * read and computed twice. */
enum { SOFTMAX_BLOCK = 4096, SOFTMAX_KEPT = 262144 };

typedef struct softmax_block {
    float top, sum; /* sum: of the exponentials relative to top */
} softmax_block;

static uint64_t softmax_blocks(uint64_t n) { return (n + SOFTMAX_BLOCK - 1) / SOFTMAX_BLOCK; }

static void plan_softmax(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_rows(args, params, n_threads, out);
    const uint64_t n = rows_cols(&args[0]), blocks = softmax_blocks(n);
    const uint64_t kept = n > SOFTMAX_KEPT || ((const mlxn_softmax_params *)params)->log ? 1 : blocks;
    out->local_bytes = kept * SOFTMAX_BLOCK * sizeof(float) + blocks * sizeof(softmax_block);
}

/* Where a row goes. */
typedef struct softmax_out {
    void *to;
    int64_t stride;
    mlxn_dtype dtype;
    bool streams; /* as rows_put takes it */
} softmax_out;

/* row * a, or row - a - b. */
SIMD_INLINE void softmax_emit_as(mlxn_dtype dtype, bool unit, const float *row, uint64_t n, bool logs, float a,
                                 float b, const softmax_out out, uint64_t at) {
    v16 va = v16_set1(a), vb = v16_set1(b);
    uint64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 v = v16_load(row + i);
        rows_put(dtype, unit, out.to, out.stride, at + i, logs ? v16_sub(v16_sub(v, va), vb) : v16_mul(v, va), 16,
                 out.streams);
    }
    if (i == n) return;
    v16 v = v16_load_as(MLXN_F32, row, i, n - i);
    rows_store(dtype, unit, out.to, out.stride, at + i, logs ? v16_sub(v16_sub(v, va), vb) : v16_mul(v, va), n - i);
}
/* From element `at` of the row on. */
static void softmax_emit(const float *row, uint64_t n, bool logs, float a, float b, const softmax_out *out,
                         uint64_t at) {
    if (out->stride != 1)
        softmax_emit_as(out->dtype, false, row, n, logs, a, b, *out, at);
    else if (out->dtype == MLXN_F32)
        softmax_emit_as(MLXN_F32, true, row, n, logs, a, b, *out, at);
    else if (out->dtype == MLXN_F16)
        softmax_emit_as(MLXN_F16, true, row, n, logs, a, b, *out, at);
    else
        softmax_emit_as(MLXN_BF16, true, row, n, logs, a, b, *out, at);
}

/* A block without a number above -infinity: its exponentials are 0, or undefined if there is a NaN among them. */
static float softmax_nothing(float *row, uint64_t n, bool logs) {
    bool nan = false;
    for (uint64_t i = 0; i < n; i++) nan = nan || row[i] != row[i];
    for (uint64_t i = 0; i < n; i++) row[i] = logs ? -INFINITY : 0.0f;
    return nan ? NAN : 0.0f;
}

/* The largest of a row and the sum relative to it. */
static softmax_block softmax_merge(const softmax_block *blocks, uint64_t n) {
    softmax_block all = blocks[0];
    if (n == 1) return all;
    for (uint64_t b = 1; b < n; b++) all.top = blocks[b].top > all.top ? blocks[b].top : all.top;
    double sum = 0;
    for (uint64_t b = 0; b < n; b++)
        sum += (double)blocks[b].sum * (blocks[b].top < all.top ? exp((double)blocks[b].top - (double)all.top) : 1.0);
    all.sum = (float)sum;
    return all;
}

/* `row` holds the exponentials relative to the largest, or with `logs` the logits. */
static void softmax_place(const float *row, uint64_t n, bool logs, softmax_block all, const softmax_out *out,
                          uint64_t at) {
    if (all.sum == 0 || all.sum != all.sum) /* -infinity alone, or undefined */
        softmax_emit(row, n, false, all.sum == 0 ? 1.0f : NAN, 0.0f, out, at);
    else
        softmax_emit(row, n, logs, logs ? all.top : 1.0f / all.sum, logs ? logf(all.sum) : 0.0f, out, at);
}

/* Rows up to this many bytes are fetched while the one before is at work. */
enum { SOFTMAX_AHEAD = 65536 };

typedef struct softmax_call {
    const mlxn_view *x, *mask; /* mask: NULL or with the dims of x */
    float scale;
    bool logs, kept; /* kept: `row` has room for the exponentials of all blocks */
} softmax_call;

/* The exponentials of a block, relative to its own largest, become those of the row. */
static void softmax_place_kept(const float *row, uint64_t n, softmax_block block, softmax_block all,
                               const softmax_out *out, uint64_t at) {
    const double factor = exp((double)block.top - (double)all.top) / (double)all.sum;
    if (all.sum == 0 || all.sum != all.sum)
        softmax_place(row, n, false, all, out, at);
    else
        softmax_emit(row, n, false, block.top == all.top ? 1.0f / all.sum : (float)factor, 0.0f, out, at);
}

static void softmax_run_row(const softmax_call *c, const char *x, const char *mask, uint64_t n, const char *next,
                            float *row, softmax_block *blocks, const softmax_out *out) {
    const uint64_t count = softmax_blocks(n);
    const size_t size = rows_size(c->x->dtype);
    for (uint64_t b = 0; b < count; b++) {
        uint64_t first = b * SOFTMAX_BLOCK, m = mlxn_min_u64(SOFTMAX_BLOCK, n - first);
        float *part = row + (c->kept ? first : 0);
        float top = softmax_load_part(c->x, x, c->mask, mask, c->scale, first, m, part);
        bool keep = !c->logs && (count == 1 || c->kept);
        blocks[b].top = top;
        if (top == -INFINITY)
            blocks[b].sum = softmax_nothing(part, m, c->logs);
        else if (next)
            blocks[b].sum = softmax_exp_ahead(part, m, top, keep, c->x->dtype, next + first * size);
        else
            blocks[b].sum = softmax_exp(part, m, top, keep);
    }
    const softmax_block all = softmax_merge(blocks, count);
    if (count == 1) {
        softmax_place(row, n, c->logs, all, out, 0);
        return;
    }
    for (uint64_t b = 0; b < count; b++) {
        uint64_t first = b * SOFTMAX_BLOCK, m = mlxn_min_u64(SOFTMAX_BLOCK, n - first);
        if (c->kept) {
            softmax_place_kept(row + first, m, blocks[b], all, out, first);
            continue;
        }
        softmax_load_part(c->x, x, c->mask, mask, c->scale, first, m, row);
        if (all.top == -INFINITY)
            softmax_nothing(row, m, c->logs);
        else if (!c->logs)
            softmax_exp(row, m, all.top, true);
        softmax_place(row, m, c->logs, all, out, first);
    }
}

static void run_softmax(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[2];
    mlxn_view mask = run->args[1].present ? span_broadcast(&run->args[1], x) : (mlxn_view){0};
    const mlxn_softmax_params *p = run->params;
    rows_shape shape = rows_of(&x, 1, true);
    size_t size = rows_size(x->dtype);
    bool ahead = rows_stride(x) == 1 && shape.cols * size <= SOFTMAX_AHEAD;
    const bool kept = !p->log && shape.cols > SOFTMAX_BLOCK && shape.cols <= SOFTMAX_KEPT;
    softmax_call c = {x, mask.present ? &mask : NULL, p->scale == 0 ? 1 : p->scale, p->log, kept};
    softmax_out o = {.stride = rows_stride(out), .dtype = out->dtype, .streams = stream_fits(out, &x, 1)};
    float *row = run->local;
    softmax_block *blocks = (softmax_block *)(void *)(row + (kept ? softmax_blocks(shape.cols) : 1) * SOFTMAX_BLOCK);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            o.to = rows_at(out, r, size);
            softmax_run_row(&c, rows_at(x, r, size), c.mask ? rows_at(&mask, r, rows_size(mask.dtype)) : NULL,
                            shape.cols, ahead && r + 1 < part.row_end ? rows_at(x, r + 1, size) : NULL, row, blocks,
                            &o);
        }
    }
    if (o.streams) stream_end();
}

static void run_backward(cpu_run *run) {
    const mlxn_view *y = &run->args[0], *dy = &run->args[1], *dx = &run->args[2];
    rows_shape shape = rows_of(&y, 1, true);
    size_t size = rows_size(y->dtype);
    float a[SPAN] __attribute__((aligned(64))), b[SPAN] __attribute__((aligned(64))),
        c[SPAN] __attribute__((aligned(64)));
    uint64_t chunk, n = shape.cols;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            const void *py = rows_at(y, r, size), *pd = rows_at(dy, r, size);
            void *to = rows_at(dx, r, size);
            v16 s[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
            for (uint64_t pass = 0; pass < 2; pass++) {
                v16 sum = pass ? v16_set1(total(s)) : v16_zero();
                for (uint64_t i = 0; i < n; i += SPAN) {
                    uint64_t m = mlxn_min_u64(SPAN, n - i);
                    const float *v = span_in(y->dtype, py, rows_stride(y), i, m, a);
                    const float *d = span_in(dy->dtype, pd, rows_stride(dy), i, m, b);
                    float *o = span_out(dx->dtype, to, rows_stride(dx), i, c);
                    for (uint64_t k = 0; k < m; k += 16) {
                        uint64_t w = simd_tail(k, m);
                        v16 vy = v16_load_as(MLXN_F32, v, k, w), vd = v16_load_as(MLXN_F32, d, k, w);
                        if (pass)
                            v16_store_as(MLXN_F32, o, k, v16_mul(vy, v16_sub(vd, sum)), w);
                        else
                            accumulate(s, k, v16_mul(vy, vd));
                    }
                    if (pass) span_done(dx->dtype, to, rows_stride(dx), i, m, o);
                }
            }
        }
    }
}

/* The token is searched within one block alone. */
enum { SAMPLE_BLOCK = 512 };

static void run_sample(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *uniform = &run->args[1], *token = &run->args[2], *logprob = &run->args[3];
    float inv = 1.0f / ((const mlxn_softmax_sample_params *)run->params)->temp, *row = run->local;
    rows_shape shape = rows_of(&x, 1, true);
    uint64_t chunk, n = shape.cols;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            float top = softmax_load(x, rows_at(x, r, 4), NULL, NULL, 1.0f, n, row);
            double sum = 0;
            uint64_t found = 0;
            float logp = -INFINITY;
            if (top > -INFINITY) {
                /* exponents relative to the largest; NaN and what lies infinitely below weigh nothing */
                for (uint64_t i = 0; i < n; i++)
                    row[i] = row[i] == top ? 0.0f : row[i] == row[i] ? (row[i] - top) * inv : -INFINITY;
                for (uint64_t i = 0; i < n; i += SAMPLE_BLOCK)
                    sum += (double)softmax_exp(row + i, mlxn_min_u64(SAMPLE_BLOCK, n - i), 0, false);
                double left = (double)((const float *)uniform->data)[(int64_t)r * rows_stride(uniform)] * sum;
                bool done = false;
                for (uint64_t i = 0; i < n && !done; i += SAMPLE_BLOCK) {
                    uint64_t m = mlxn_min_u64(SAMPLE_BLOCK, n - i);
                    float weights[SAMPLE_BLOCK];
                    memcpy(weights, row + i, m * sizeof *weights);
                    double block = (double)softmax_exp(weights, m, 0, true);
                    if (block <= left && i + m < n) {
                        left -= block;
                        for (uint64_t k = 0; k < m; k++)
                            if (weights[k] > 0) found = i + k;
                        continue;
                    }
                    for (uint64_t k = 0; k < m && !done; k++) {
                        if (weights[k] > 0) found = i + k;
                        left -= (double)weights[k];
                        done = left < 0;
                    }
                }
                logp = (float)((double)row[found] - log(sum));
            }
            ((uint32_t *)token->data)[(int64_t)r * rows_stride(token)] = (uint32_t)found;
            ((float *)logprob->data)[(int64_t)r * rows_stride(logprob)] = logp;
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_softmax)[];
const cpu_kernel CPU_ISA(cpu_kernels_softmax)[] = {
    {MLXN_OP_softmax, "softmax_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_softmax, run_softmax},
    {MLXN_OP_softmax_backward, "softmax_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows,
     run_backward},
    {MLXN_OP_softmax_sample, "softmax_sample_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows,
     run_sample},
    {0},
};
