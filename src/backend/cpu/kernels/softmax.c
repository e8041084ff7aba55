/* softmax.c (CPU kernels): softmax, softmax_backward, softmax_sample. A row is brought to f32 once and stays there
 * until it is rounded to the dtype of the result. */
#include "backend/cpu/kernels/softmax_row.h"

static void plan_rows(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}, .local_bytes = shape.cols * sizeof(float)};
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
                                 float b, const softmax_out out) {
    v16 va = v16_set1(a), vb = v16_set1(b);
    uint64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 v = v16_load(row + i);
        rows_put(dtype, unit, out.to, out.stride, i, logs ? v16_sub(v16_sub(v, va), vb) : v16_mul(v, va), 16,
                 out.streams);
    }
    if (i == n) return;
    v16 v = v16_load_as(MLXN_F32, row, i, n - i);
    rows_store(dtype, unit, out.to, out.stride, i, logs ? v16_sub(v16_sub(v, va), vb) : v16_mul(v, va), n - i);
}
static void softmax_emit(const float *row, uint64_t n, bool logs, float a, float b, const softmax_out *out) {
    if (out->stride != 1)
        softmax_emit_as(out->dtype, false, row, n, logs, a, b, *out);
    else if (out->dtype == MLXN_F32)
        softmax_emit_as(MLXN_F32, true, row, n, logs, a, b, *out);
    else if (out->dtype == MLXN_F16)
        softmax_emit_as(MLXN_F16, true, row, n, logs, a, b, *out);
    else
        softmax_emit_as(MLXN_BF16, true, row, n, logs, a, b, *out);
}

/* A row without a number above -infinity. */
static void softmax_nothing(float *row, uint64_t n, bool logs, const softmax_out *out) {
    bool nan = false;
    for (uint64_t i = 0; i < n; i++) nan = nan || row[i] != row[i];
    for (uint64_t i = 0; i < n; i++) row[i] = nan ? NAN : logs ? -INFINITY : 0.0f;
    softmax_emit(row, n, false, 1.0f, 0.0f, out);
}

/* Rows up to this many bytes are fetched while the one before is at work: both, and that one in f32, stay in the
 * second-level cache. */
enum { SOFTMAX_AHEAD = 65536 };

static void run_softmax(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[2];
    mlxn_view mask = run->args[1].present ? span_broadcast(&run->args[1], x) : (mlxn_view){0};
    const mlxn_softmax_params *p = run->params;
    rows_shape shape = rows_of(&x, 1, true);
    size_t size = rows_size(x->dtype);
    uint64_t chunk, n = shape.cols;
    bool ahead = rows_stride(x) == 1 && n * size <= SOFTMAX_AHEAD;
    softmax_out o = {.stride = rows_stride(out), .dtype = out->dtype, .streams = stream_fits(out, &x, 1)};
    float *row = run->local;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            o.to = rows_at(out, r, size);
            const void *pm = mask.present ? rows_at(&mask, r, rows_size(mask.dtype)) : NULL;
            float top =
                softmax_load(x, rows_at(x, r, size), pm ? &mask : NULL, pm, p->scale == 0 ? 1 : p->scale, n, row);
            if (top == -INFINITY) {
                softmax_nothing(row, n, p->log, &o);
                continue;
            }
            const void *next = ahead && r + 1 < part.row_end ? rows_at(x, r + 1, size) : row;
            float sum = softmax_exp_ahead(row, n, top, !p->log, x->dtype, next);
            softmax_emit(row, n, p->log, p->log ? top : 1.0f / sum, p->log ? logf(sum) : 0.0f, &o);
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
    {MLXN_OP_softmax, "softmax_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows, run_softmax},
    {MLXN_OP_softmax_backward, "softmax_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows,
     run_backward},
    {MLXN_OP_softmax_sample, "softmax_sample_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows,
     run_sample},
    {0},
};
