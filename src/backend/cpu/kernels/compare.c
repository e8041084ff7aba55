/* compare.c (CPU kernels): compare of f32, f16 and bf16; whole numbers of 32 bits are compared in whole.c. A span of
 * results is computed as bytes in the first-level cache or in its place; large results go past the caches. */
#include "backend/cpu/kernels/span.h"

/* out[i] = x[i] against y[i], 0 or 1. Plain loops, which compilers turn into vectors. */
typedef void (*compare_fn)(uint8_t *restrict out, const float *restrict x, const float *restrict y, uint64_t n);

#define COMPARE_FN(name, expression)                                                                        \
    static void name(uint8_t *restrict out, const float *restrict x, const float *restrict y, uint64_t n) { \
        for (uint64_t i = 0; i < n; i++) out[i] = (expression);                                             \
    }
COMPARE_FN(c_eq, x[i] == y[i])
COMPARE_FN(c_ne, x[i] != y[i])
COMPARE_FN(c_lt, x[i] < y[i])
COMPARE_FN(c_le, x[i] <= y[i])
COMPARE_FN(c_gt, x[i] > y[i])
COMPARE_FN(c_ge, x[i] >= y[i])
COMPARE_FN(c_and, (x[i] != 0) & (y[i] != 0))
COMPARE_FN(c_or, (x[i] != 0) | (y[i] != 0))
COMPARE_FN(c_xor, (x[i] != 0) != (y[i] != 0))
static const compare_fn comparisons[MLXN_COMPARE_COUNT] = {c_eq, c_ne, c_lt, c_le, c_gt, c_ge, c_and, c_or, c_xor};

static bool fits_compare(const mlxn_view *args, const void *params) {
    return args[0].dtype != MLXN_U32 && args[0].dtype != MLXN_I32;
}

static void plan_compare(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    mlxn_view a = span_broadcast(&args[0], &args[2]), b = span_broadcast(&args[1], &args[2]);
    span_plan((const mlxn_view *const[4]){&args[2], &a, &b}, 3, out);
}

static void run_compare(cpu_run *run) {
    const mlxn_view *out = &run->args[2];
    const compare_fn fn = comparisons[((const mlxn_compare_params *)run->params)->fn];
    mlxn_view a = span_broadcast(&run->args[0], out), b = span_broadcast(&run->args[1], out);
    rows_shape shape = rows_of((const mlxn_view *const[]){out, &a, &b}, 3, false);
    const size_t size = mlxn_dtype_size(a.dtype);
    const int64_t sa = shape.flat ? 1 : rows_stride(&a), sb = shape.flat ? 1 : rows_stride(&b);
    const int64_t so = shape.flat ? 1 : rows_stride(out);
    const bool streams = so == 1 && stream_fits(out, (const mlxn_view *const[]){&a, &b}, 2);
    float u[SPAN] __attribute__((aligned(64))), v[SPAN] __attribute__((aligned(64)));
    uint8_t bytes[SPAN] __attribute__((aligned(64)));
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *x = shape.flat ? a.data : rows_at(&a, r, size),
                       *y = shape.flat ? b.data : rows_at(&b, r, size);
            uint8_t *o = shape.flat ? out->data : rows_at(out, r, 1);
            for (uint64_t i = p.begin; i < p.begin + p.n; i += SPAN) {
                const uint64_t n = mlxn_min_u64(SPAN, p.begin + p.n - i);
                const bool past = streams && stream_aligned(MLXN_F32, o + i);
                fn(so == 1 && !past ? o + i : bytes, span_in(a.dtype, x, sa, i, n, u),
                   span_in(b.dtype, y, sb, i, n, v), n);
                if (past)
                    stream_copy(o + i, bytes, n, true);
                else if (so != 1)
                    for (uint64_t k = 0; k < n; k++) o[(int64_t)(i + k) * so] = bytes[k];
            }
        }
    }
    if (streams) stream_end();
}

extern const cpu_kernel CPU_ISA(cpu_kernels_compare)[];
const cpu_kernel CPU_ISA(cpu_kernels_compare)[] = {
    {MLXN_OP_compare, "compare_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_compare, plan_compare, run_compare},
    {0},
};
