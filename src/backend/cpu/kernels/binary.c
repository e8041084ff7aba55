/* binary.c (CPU kernels): binary, where, glu. Computed in f32, rounded once; where moves bits. */
#include "backend/cpu/kernels/activation_fn.h"
#include "backend/cpu/kernels/binary_math.h"
#include "backend/cpu/kernels/span.h"

#define K(f) v16_set1(f)

/* Either operand's NaN, else z. */
SIMD_INLINE v16 with_nan(v16 x, v16 y, v16 z) { return v16_pick_nan(x, v16_pick_nan(y, z)); }
SIMD_INLINE v16 logaddexp(v16 x, v16 y) {
    v16 top = v16_max(x, y), off = v16_abs(v16_sub(x, y));
    v16 z = v16_add(top, v16_log1p_unit(v16_exp(v16_neg(off))));
    /* infinities: the larger one */
    return with_nan(x, y, v16_where_small(off, INFINITY, z, top));
}

SPAN_FN(f_add, 2, v16_add(x, y))
SPAN_FN(f_sub, 2, v16_sub(x, y))
SPAN_FN(f_mul, 2, v16_mul(x, y))
SPAN_FN(f_div, 2, v16_div(x, y))
SPAN_FN(f_min, 2, with_nan(x, y, v16_min(x, y)))
SPAN_FN(f_max, 2, with_nan(x, y, v16_max(x, y)))
SPAN_FN(f_logaddexp, 2, logaddexp(x, y))
/* A function of whole blocks; what is left of a span is filled up with ones. */
#define BLOCK_FN(name, block)                                                                                 \
    SIMD_INLINE void name##_as(mlxn_dtype dtype, bool past, void *out, const void *const in[3], uint64_t n,   \
                               const float *p) {                                                              \
        (void)p;                                                                                              \
        for (uint64_t i = 0; i < n; i += BINARY_BLOCK) {                                                      \
            float a[BINARY_BLOCK] __attribute__((aligned(64))), b[BINARY_BLOCK] __attribute__((aligned(64))), \
                t[BINARY_BLOCK] __attribute__((aligned(64)));                                                 \
            const uint64_t k = simd_tail(i, n);                                                               \
            const v16 one = K(1.0f);                                                                          \
            v16_store(a, k == 16 ? v16_load_as(dtype, in[0], i, 16)                                           \
                                 : v16_range(one, v16_load_as(dtype, in[0], i, k), 0, k));                    \
            v16_store(b, k == 16 ? v16_load_as(dtype, in[1], i, 16)                                           \
                                 : v16_range(one, v16_load_as(dtype, in[1], i, k), 0, k));                    \
            block(t, a, b);                                                                                   \
            if (k == 16)                                                                                      \
                span_put(dtype, past, out, i, v16_load(t));                                                   \
            else                                                                                              \
                v16_store_as(dtype, out, i, v16_load(t), k);                                                  \
        }                                                                                                     \
    }                                                                                                         \
    static void name(void *out, const void *const in[3], uint64_t n, const float *p, span_form form) {        \
        SPAN_FORM_CALLS(name##_as, form)                                                                      \
    }
BLOCK_FN(f_pow, binary_pow)
BLOCK_FN(f_remainder, binary_remainder)
BLOCK_FN(f_atan2, binary_atan2)
static const span_fn functions[MLXN_BINARY_COUNT] = {f_add, f_sub, f_mul,       f_div,   f_min,
                                                     f_max, f_pow, f_remainder, f_atan2, f_logaddexp};

SIMD_INLINE v16 silu_clamped(v16 g, v16 u, v16 alpha, v16 limit) {
    g = v16_pick_gt(g, limit, limit, g);
    u = act_clamp(u, v16_neg(limit), limit);
    v16 s = v16_div(g, v16_add(K(1.0f), v16_exp(v16_neg(v16_mul(alpha, g)))));
    return v16_mul(s, v16_add(u, K(1.0f)));
}
SPAN_FN(g_sigmoid, 2, v16_div(y, v16_add(K(1.0f), v16_exp(v16_neg(x)))))
SPAN_FN(g_relu, 2, v16_mul(act_relu(x), y))
SPAN_FN(g_silu, 2, v16_mul(act_silu(x), y))
SPAN_FN(g_gelu, 2, v16_mul(act_gelu(x), y))
SPAN_FN(g_gelu_erf, 2, v16_mul(act_gelu_erf(x), y))
SPAN_FN(g_gelu_quick, 2, v16_mul(act_gelu_quick(x), y))
SPAN_FN(g_silu_clamped, 2, silu_clamped(x, y, K(p[0]), K(p[1])))
static const span_fn gates[MLXN_GLU_COUNT] = {g_sigmoid,  g_relu,       g_silu,        g_gelu,
                                              g_gelu_erf, g_gelu_quick, g_silu_clamped};

static void plan_binary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    mlxn_view a = span_broadcast(&args[0], &args[2]), b = span_broadcast(&args[1], &args[2]);
    span_plan((const mlxn_view *const[4]){&args[2], &a, &b}, 3, out);
}
static void run_pair(cpu_run *run, span_fn fn, const float *p) {
    const mlxn_view *out = &run->args[2];
    mlxn_view a = span_broadcast(&run->args[0], out), b = span_broadcast(&run->args[1], out);
    span_run(run, fn, p, 2, (const mlxn_view *const[3]){&a, &b}, out);
}
static void run_binary(cpu_run *run) {
    run_pair(run, functions[((const mlxn_binary_params *)run->params)->fn], NULL);
}
static void run_glu(cpu_run *run) {
    const mlxn_glu_params *p = run->params;
    run_pair(run, gates[p->fn], &p->alpha);
}

static void plan_where(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *o = &args[3];
    rows_shape shape = rows_of(&o, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

#define WHERE_LOOP(type)             \
    for (uint64_t i = 0; i < n; i++) \
    ((type *)o)[(int64_t)i * so] =   \
        c[(int64_t)i * sc] ? ((const type *)a)[(int64_t)i * sa] : ((const type *)b)[(int64_t)i * sb]

static void run_where(cpu_run *run) {
    const mlxn_view *out = &run->args[3];
    mlxn_view cv = span_broadcast(&run->args[0], out), av = span_broadcast(&run->args[1], out),
              bv = span_broadcast(&run->args[2], out);
    rows_shape shape = rows_of(&out, 1, true);
    size_t size = mlxn_dtype_size(out->dtype);
    int64_t so = rows_stride(out), sa = rows_stride(&av), sb = rows_stride(&bv), sc = rows_stride(&cv);
    uint64_t chunk, n = shape.cols;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const uint8_t *c = rows_at(&cv, r, 1);
            const void *a = rows_at(&av, r, size), *b = rows_at(&bv, r, size);
            void *o = rows_at(out, r, size);
            if (size == 4)
                WHERE_LOOP(uint32_t);
            else if (size == 2)
                WHERE_LOOP(uint16_t);
            else
                WHERE_LOOP(uint8_t);
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_binary)[];
const cpu_kernel CPU_ISA(cpu_kernels_binary)[] = {
    {MLXN_OP_binary, "binary_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_binary, run_binary},
    {MLXN_OP_where, "where_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_where, run_where},
    {MLXN_OP_glu, "glu_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_binary, run_glu},
    {0},
};
