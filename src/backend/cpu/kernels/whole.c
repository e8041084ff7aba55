/* whole.c (CPU kernels): comparisons of whole numbers of 32 bits, which f32 does not hold, and count_equal. Plain
 * loops, which compilers turn into vectors. */
#include "backend/cpu/kernels/span.h"

static bool fits_whole(const mlxn_view *args, const void *params) {
    return args[0].dtype == MLXN_U32 || args[0].dtype == MLXN_I32;
}

#define COMPARE_LOOP(expression)                                     \
    if (sx == 1 && sy == 1 && so == 1)                               \
        for (uint64_t i = 0; i < n; i++) {                           \
            uint32_t x = a[i], y = b[i];                             \
            o[i] = (expression);                                     \
        }                                                            \
    else                                                             \
        for (uint64_t i = 0; i < n; i++) {                           \
            uint32_t x = a[(int64_t)i * sx], y = b[(int64_t)i * sy]; \
            o[(int64_t)i * so] = (expression);                       \
        }

/* Numbers with a sign are compared as ones without after their sign bit is turned: `sign` is that bit, or 0. */
static void compare_row(uint32_t fn, const uint32_t *a, int64_t sx, const uint32_t *b, int64_t sy, uint8_t *o,
                        int64_t so, uint64_t n, uint32_t sign) {
    switch ((mlxn_compare_fn)fn) {
        case MLXN_COMPARE_EQ:
            COMPARE_LOOP(x == y)
            break;
        case MLXN_COMPARE_NE:
            COMPARE_LOOP(x != y)
            break;
        case MLXN_COMPARE_LT:
            COMPARE_LOOP((x ^ sign) < (y ^ sign))
            break;
        case MLXN_COMPARE_LE:
            COMPARE_LOOP((x ^ sign) <= (y ^ sign))
            break;
        case MLXN_COMPARE_GT:
            COMPARE_LOOP((x ^ sign) > (y ^ sign))
            break;
        case MLXN_COMPARE_GE:
            COMPARE_LOOP((x ^ sign) >= (y ^ sign))
            break;
        case MLXN_COMPARE_AND:
            COMPARE_LOOP((x != 0) & (y != 0))
            break;
        case MLXN_COMPARE_OR:
            COMPARE_LOOP((x | y) != 0)
            break;
        default:
            COMPARE_LOOP((x != 0) != (y != 0))
            break;
    }
}

static void plan_compare(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    mlxn_view a = span_broadcast(&args[0], &args[2]), b = span_broadcast(&args[1], &args[2]);
    span_plan((const mlxn_view *const[4]){&args[2], &a, &b}, 3, out);
}

static void run_compare(cpu_run *run) {
    const mlxn_view *out = &run->args[2];
    mlxn_view a = span_broadcast(&run->args[0], out), b = span_broadcast(&run->args[1], out);
    rows_shape shape = rows_of((const mlxn_view *const[]){out, &a, &b}, 3, false);
    uint32_t fn = ((const mlxn_compare_params *)run->params)->fn, sign = a.dtype == MLXN_I32 ? 0x80000000u : 0;
    int64_t sx = rows_stride(&a), sy = rows_stride(&b), so = rows_stride(out);
    if (shape.flat) sx = sy = so = 1;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const uint32_t *x = shape.flat ? a.data : rows_at(&a, r, 4), *y = shape.flat ? b.data : rows_at(&b, r, 4);
            uint8_t *o = shape.flat ? out->data : rows_at(out, r, 1);
            int64_t i = (int64_t)p.begin;
            compare_row(fn, x + i * sx, sx, y + i * sy, sy, o + i * so, so, p.n, sign);
        }
    }
}

/* --- count_equal: a count per chunk, then their sum --- */

static void plan_count(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    rows_shape shape = rows_of((const mlxn_view *const[]){&args[0], &args[1]}, 2, false);
    uint64_t chunks = rows_chunks(&shape);
    *out = (cpu_plan){.phases = 2, .chunks = {chunks, 1}, .shared_bytes = chunks * sizeof(uint32_t)};
}

static uint32_t count_floats(const float *x, const float *y, uint64_t n) {
    uint32_t count = 0;
    for (uint64_t i = 0; i < n; i++) count += x[i] == y[i];
    return count;
}

static uint32_t count_words(const uint32_t *x, int64_t sx, const uint32_t *y, int64_t sy, uint64_t n) {
    uint32_t count = 0;
    if (sx == 1 && sy == 1)
        for (uint64_t i = 0; i < n; i++) count += x[i] == y[i];
    else
        for (uint64_t i = 0; i < n; i++) count += x[(int64_t)i * sx] == y[(int64_t)i * sy];
    return count;
}

static void run_count(cpu_run *run) {
    const mlxn_view *a = &run->args[0], *b = &run->args[1];
    rows_shape shape = rows_of((const mlxn_view *const[]){a, b}, 2, false);
    bool words = fits_whole(run->args, NULL);
    size_t size = mlxn_dtype_size(a->dtype);
    int64_t sx = shape.flat ? 1 : rows_stride(a), sy = shape.flat ? 1 : rows_stride(b);
    float u[SPAN] __attribute__((aligned(64))), v[SPAN] __attribute__((aligned(64)));
    uint32_t *counts = run->shared;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        uint32_t count = 0;
        if (run->phase) {
            for (uint64_t i = 0; i < rows_chunks(&shape); i++) count += counts[i];
            *(uint32_t *)run->args[2].data = count;
            continue;
        }
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *x = shape.flat ? a->data : rows_at(a, r, size),
                       *y = shape.flat ? b->data : rows_at(b, r, size);
            int64_t first = (int64_t)p.begin;
            if (words)
                count += count_words((const uint32_t *)x + first * sx, sx, (const uint32_t *)y + first * sy, sy, p.n);
            for (uint64_t i = p.begin; !words && i < p.begin + p.n; i += SPAN) {
                uint64_t n = mlxn_min_u64(SPAN, p.begin + p.n - i);
                count += count_floats(span_in(a->dtype, x, sx, i, n, u), span_in(a->dtype, y, sy, i, n, v), n);
            }
        }
        counts[chunk] = count;
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_whole)[];
const cpu_kernel CPU_ISA(cpu_kernels_whole)[] = {
    {MLXN_OP_compare, "compare_whole_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_whole, plan_compare, run_compare},
    {MLXN_OP_count_equal, "count_equal_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_count, run_count},
    {0},
};
