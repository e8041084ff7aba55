/* copy.c (CPU kernels): cast (f32, f16, bf16 in any pairing, round to nearest even) and copy (any dtype and strides,
 * bit for bit). */
#include "backend/cpu/kernels/rows.h"

static void plan_unary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    map_plan(args, 2, out);
}

SIMD_INLINE v16 fn_same(v16 x, v16 unused, float s) { return x; }

SIMD_INLINE void cast_from(cpu_run *run, mlxn_dtype in) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    if (out->dtype == MLXN_F32)
        map_typed(run, fn_same, 0.0f, in, MLXN_F32, true, x, NULL, out);
    else if (out->dtype == MLXN_F16)
        map_typed(run, fn_same, 0.0f, in, MLXN_F16, true, x, NULL, out);
    else
        map_typed(run, fn_same, 0.0f, in, MLXN_BF16, true, x, NULL, out);
}
static void run_cast(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    mlxn_dtype in = x->dtype;
    bool unit = rows_stride(x) == 1 && rows_stride(out) == 1;
    if (!unit)
        map_typed(run, fn_same, 0.0f, in, out->dtype, false, x, NULL, out);
    else if (in == MLXN_F32)
        cast_from(run, MLXN_F32);
    else if (in == MLXN_F16)
        cast_from(run, MLXN_F16);
    else
        cast_from(run, MLXN_BF16);
}

static void copy_elements(size_t size, char *dst, int64_t ds, const char *src, int64_t ss, uint64_t n) {
    if (ds == 1 && ss == 1)
        memcpy(dst, src, n * size);
    else if (size == 4)
        for (uint64_t i = 0; i < n; i++)
            ((uint32_t *)dst)[(int64_t)i * ds] = ((const uint32_t *)src)[(int64_t)i * ss];
    else if (size == 2)
        for (uint64_t i = 0; i < n; i++)
            ((uint16_t *)dst)[(int64_t)i * ds] = ((const uint16_t *)src)[(int64_t)i * ss];
    else
        for (uint64_t i = 0; i < n; i++) dst[(int64_t)i * ds] = src[(int64_t)i * ss];
}

static void run_copy(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1], *views[2] = {x, out};
    rows_shape shape = rows_of(views, 2, false);
    size_t size = mlxn_dtype_size(x->dtype);
    int64_t ss = shape.flat ? 1 : rows_stride(x), ds = shape.flat ? 1 : rows_stride(out);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const char *src = shape.flat ? x->data : rows_at(x, r, size);
            char *dst = shape.flat ? out->data : rows_at(out, r, size);
            int64_t step = (int64_t)p.begin * (int64_t)size;
            copy_elements(size, dst + step * ds, ds, src + step * ss, ss, p.n);
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_copy)[];
const cpu_kernel CPU_ISA(cpu_kernels_copy)[] = {
    {MLXN_OP_cast, "cast_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_cast},
    {MLXN_OP_copy, "copy_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_copy},
    {0},
};
