/* scan.c (CPU kernels): scan. The running value is a double, so that rows of any length keep their precision. Sums,
 * products and extremes of blocks of eight are taken in a tree, so that the next block waits for one step alone. */
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

enum { SCAN_BLOCK = 8 };

#if CPU_ISA_LEVEL >= 2
SIMD_INLINE __m512d scan_step(mlxn_scan_fn fn, __m512d a, __m512d b) {
    if (fn == MLXN_SCAN_SUM) return _mm512_add_pd(a, b);
    if (fn == MLXN_SCAN_PROD) return _mm512_mul_pd(a, b);
    return fn == MLXN_SCAN_MAX ? _mm512_max_pd(a, b) : _mm512_min_pd(a, b);
}
/* Lanes 1 up, 2 up, 4 up, filled with what changes nothing. */
SIMD_INLINE __m512d scan_tree(mlxn_scan_fn fn, __m512d v, __m512d none) {
    const __m512i n = _mm512_castpd_si512(none);
    v = scan_step(fn, v, _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(v), n, 7)));
    v = scan_step(fn, v, _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(v), n, 6)));
    return scan_step(fn, v, _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(v), n, 4)));
}
SIMD_INLINE void scan_block(mlxn_scan_fn fn, double first, double *value, float *out, const float *in) {
    const __m512d v = scan_tree(fn, _mm512_cvtps_pd(_mm256_loadu_ps(in)), _mm512_set1_pd(first));
    const __m512d carry = _mm512_set1_pd(*value);
    _mm256_storeu_ps(out, _mm512_cvtpd_ps(scan_step(fn, carry, v)));
    *value = _mm512_cvtsd_f64(scan_step(fn, carry, _mm512_permutexvar_pd(_mm512_set1_epi64(7), v)));
}
#else
SIMD_INLINE double scan_step(mlxn_scan_fn fn, double a, double b) {
    if (fn == MLXN_SCAN_SUM) return a + b;
    if (fn == MLXN_SCAN_PROD) return a * b;
    return fn == MLXN_SCAN_MAX ? (a > b ? a : b) : (a < b ? a : b);
}
SIMD_INLINE void scan_block(mlxn_scan_fn fn, double first, double *value, float *out, const float *in) {
    double v[SCAN_BLOCK];
    for (int i = 0; i < SCAN_BLOCK; i++) v[i] = (double)in[i];
    for (int i = 1; i < SCAN_BLOCK; i += 2) v[i] = scan_step(fn, v[i], v[i - 1]);
    for (int i = 2; i < SCAN_BLOCK; i += 4) {
        v[i] = scan_step(fn, v[i], v[i - 1]);
        v[i + 1] = scan_step(fn, v[i + 1], v[i - 1]);
    }
    for (int i = 4; i < SCAN_BLOCK; i++) v[i] = scan_step(fn, v[i], v[3]);
    for (int i = 0; i < SCAN_BLOCK; i++) out[i] = (float)scan_step(fn, *value, v[i]);
    *value = scan_step(fn, *value, v[SCAN_BLOCK - 1]);
}
#endif

/* As many whole blocks as there are; how many elements that makes. Extremes leave off at the first NaN, which they
 * have to pass on. */
SIMD_INLINE uint64_t scan_blocks(mlxn_scan_fn fn, double first, double *value, float *out, const float *in,
                                 uint64_t n) {
    uint64_t i = 0;
    double carried = *value;
    const bool extreme = fn == MLXN_SCAN_MAX || fn == MLXN_SCAN_MIN;
    for (; i + SCAN_BLOCK <= n; i += SCAN_BLOCK) {
        if (extreme) {
            bool nan = carried != carried;
            for (int k = 0; k < SCAN_BLOCK; k++) nan |= in[i + (uint64_t)k] != in[i + (uint64_t)k];
            if (nan) break;
        }
        scan_block(fn, first, &carried, out + i, in + i);
    }
    *value = carried;
    return i;
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
    if (!reverse && !exclusive) { /* what the blocks leave goes through the loops below */
        uint64_t done = 0;
        if (p->fn == MLXN_SCAN_SUM) done = scan_blocks(MLXN_SCAN_SUM, 0, &a, out, in, n);
        if (p->fn == MLXN_SCAN_PROD) done = scan_blocks(MLXN_SCAN_PROD, 1, &a, out, in, n);
        if (p->fn == MLXN_SCAN_MAX) done = scan_blocks(MLXN_SCAN_MAX, -INFINITY, &a, out, in, n);
        if (p->fn == MLXN_SCAN_MIN) done = scan_blocks(MLXN_SCAN_MIN, INFINITY, &a, out, in, n);
        out += done, in += done, n -= done;
    }
    switch ((mlxn_scan_fn)p->fn) {
        case MLXN_SCAN_SUM:
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
    bool streams = so == 1 && stream_fits(out, &x, 1);
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
                const float *v = span_in(x->dtype, in, sx, i, n, a);
                if (streams && stream_aligned(out->dtype, to)) {
                    scan_piece(p, &state, b, v, n);
                    span_stream(out->dtype, to, i, n, b);
                    continue;
                }
                float *o = span_out(out->dtype, to, so, i, b);
                scan_piece(p, &state, o, v, n);
                span_done(out->dtype, to, so, i, n, o);
            }
        }
    }
    if (streams) stream_end();
}

extern const cpu_kernel CPU_ISA(cpu_kernels_scan)[];
const cpu_kernel CPU_ISA(cpu_kernels_scan)[] = {
    {MLXN_OP_scan, "scan_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_scan, run_scan},
    {0},
};
