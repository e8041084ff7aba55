/* scan.c (CPU kernels): scan. The running value is a double, so that rows of any length keep their precision. */
#include "backend/cpu/kernels/span.h"

static void plan_scan(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

typedef struct running {
    double value, sum; /* logsumexp: the largest so far, and the sum of exponentials relative to it */
} running;

/* One piece; `step` is the order. The value before or after each element is written over it. */
#define SCAN_LOOP(update, result)                 \
    for (uint64_t k = 0; k < n; k++) {            \
        uint64_t i = reverse ? n - 1 - k : k;     \
        double v = (double)in[i];                 \
        if (exclusive) out[i] = (float)(result);  \
        update;                                   \
        if (!exclusive) out[i] = (float)(result); \
    }

static double logsum(double top, double sum) { return isfinite(top) ? top + log(sum) : top; }

static void logsum_add(double *top, double *sum, double v) {
    if (*top != *top) return;
    if (v != v || v == INFINITY) {
        *top = v;
    } else if (v > *top) {
        *sum = *sum * exp(*top - v) + 1;
        *top = v;
    } else if (isfinite(*top)) {
        *sum += exp(v - *top);
    }
}

static void scan_piece(const mlxn_scan_params *p, running *run, float *out, const float *in, uint64_t n) {
    const bool reverse = p->reverse, exclusive = p->exclusive;
    double a = run->value, s = run->sum;
    switch ((mlxn_scan_fn)p->fn) {
        case MLXN_SCAN_SUM:
            if (!reverse && !exclusive) {
                for (uint64_t i = 0; i < n; i++) out[i] = (float)(a += (double)in[i]);
                break;
            }
            SCAN_LOOP(a += v, a)
            break;
        case MLXN_SCAN_PROD:
            SCAN_LOOP(a *= v, a)
            break;
        case MLXN_SCAN_MAX:
            SCAN_LOOP(a = a != a || a >= v ? a : v, a)
            break;
        case MLXN_SCAN_MIN:
            SCAN_LOOP(a = a != a || a <= v ? a : v, a)
            break;
        default:
            SCAN_LOOP(logsum_add(&a, &s, v), logsum(a, s))
    }
    *run = (running){a, s};
}

static void run_scan(cpu_run *run) {
    static const double first[MLXN_SCAN_COUNT] = {0, 1, -INFINITY, INFINITY, -INFINITY};
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_scan_params *p = run->params;
    rows_shape shape = rows_of(&x, 1, true);
    size_t size = rows_size(x->dtype);
    int64_t sx = rows_stride(x), so = rows_stride(out);
    float a[SPAN] __attribute__((aligned(64))), b[SPAN] __attribute__((aligned(64)));
    uint64_t chunk, pieces = (shape.cols + SPAN - 1) / SPAN;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            const void *in = rows_at(x, r, size);
            void *to = rows_at(out, r, size);
            running state = {first[p->fn], 0};
            for (uint64_t k = 0; k < pieces; k++) {
                uint64_t i = (p->reverse ? pieces - 1 - k : k) * SPAN, n = mlxn_min_u64(SPAN, shape.cols - i);
                float *o = span_out(out->dtype, to, so, i, b);
                scan_piece(p, &state, o, span_in(x->dtype, in, sx, i, n, a), n);
                span_done(out->dtype, to, so, i, n, o);
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_scan)[];
const cpu_kernel CPU_ISA(cpu_kernels_scan)[] = {
    {MLXN_OP_scan, "scan_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_scan, run_scan},
    {0},
};
