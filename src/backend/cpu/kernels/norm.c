/* norm.c (CPU kernels): rms_norm and norm_add. Sums in f32 over the lanes of four vectors, in an order that depends
 * on the row length alone; the row is read again for the second pass, so that out may be an input. */
#include "backend/cpu/kernels/rows.h"

static void plan_norm(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

SIMD_INLINE float sum_of_squares(mlxn_dtype dtype, bool unit, const void *x, int64_t stride, uint64_t n) {
    v16 s[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            v16 v = rows_load(dtype, unit, x, stride, i + 16 * (uint64_t)k, 16);
            s[k] = v16_fma(v, v, s[k]);
        }
    }
    for (; i + 16 <= n; i += 16) {
        v16 v = rows_load(dtype, unit, x, stride, i, 16);
        s[0] = v16_fma(v, v, s[0]);
    }
    if (i < n) {
        v16 v = rows_load(dtype, unit, x, stride, i, n - i);
        s[1] = v16_fma(v, v, s[1]);
    }
    return v16_hsum(v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3])));
}

typedef struct norm_row {
    const void *x, *residual; /* residual may be NULL */
    const float *w;           /* may be NULL */
    void *out;
    int64_t sx, sr, sw, so;
    uint64_t n;
    float eps;
} norm_row;

SIMD_INLINE void norm_part(const norm_row *a, mlxn_dtype dtype, bool unit, v16 inv, uint64_t i, uint64_t k) {
    v16 v = v16_mul(rows_load(dtype, unit, a->x, a->sx, i, k), inv);
    if (a->w) v = v16_mul(v, rows_load(MLXN_F32, unit, a->w, a->sw, i, k));
    if (a->residual) v = v16_add(v, rows_load(dtype, unit, a->residual, a->sr, i, k));
    rows_store(dtype, unit, a->out, a->so, i, v, k);
}

SIMD_INLINE void norm_one(const norm_row *a, mlxn_dtype dtype, bool unit) {
    double mean = (double)sum_of_squares(dtype, unit, a->x, a->sx, a->n) / (double)a->n;
    v16 inv = v16_set1((float)(1.0 / sqrt(mean + (double)a->eps)));
    uint64_t i = 0;
    for (; i + 16 <= a->n; i += 16) norm_part(a, dtype, unit, inv, i, 16);
    if (i < a->n) norm_part(a, dtype, unit, inv, i, a->n - i);
}

/* As map_typed of rows.h: dtype is a constant where `unit` is true. */
SIMD_INLINE void norm_rows(cpu_run *run, norm_row a, mlxn_dtype dtype, bool unit, const mlxn_view *residual,
                           const mlxn_view *out) {
    const mlxn_view *x = &run->args[0];
    rows_shape shape = rows_of(&x, 1, true);
    size_t size = rows_size(dtype);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            a.x = rows_at(x, r, size);
            a.residual = residual ? rows_at(residual, r, size) : NULL;
            a.out = rows_at(out, r, size);
            norm_one(&a, dtype, unit);
        }
    }
}

static void norm_run(cpu_run *run, const mlxn_view *residual, const mlxn_view *out) {
    const mlxn_view *x = &run->args[0], *w = &run->args[1];
    norm_row a = {.w = w->present ? w->data : NULL,
                  .sx = rows_stride(x),
                  .sr = residual ? rows_stride(residual) : 1,
                  .sw = w->present ? rows_stride(w) : 1,
                  .so = rows_stride(out),
                  .n = rows_cols(x),
                  .eps = ((const mlxn_rms_norm_params *)run->params)->eps};
    bool unit = a.sx == 1 && a.sr == 1 && a.sw == 1 && a.so == 1;
    if (!unit)
        norm_rows(run, a, out->dtype, false, residual, out);
    else if (out->dtype == MLXN_F32)
        norm_rows(run, a, MLXN_F32, true, residual, out);
    else if (out->dtype == MLXN_F16)
        norm_rows(run, a, MLXN_F16, true, residual, out);
    else
        norm_rows(run, a, MLXN_BF16, true, residual, out);
}

static void run_rms_norm(cpu_run *run) { norm_run(run, NULL, &run->args[2]); }
static void run_norm_add(cpu_run *run) { norm_run(run, &run->args[2], &run->args[3]); }

extern const cpu_kernel CPU_ISA(cpu_kernels_norm)[];
const cpu_kernel CPU_ISA(cpu_kernels_norm)[] = {
    {MLXN_OP_rms_norm, "rms_norm_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_norm, run_rms_norm},
    {MLXN_OP_norm_add, "norm_add_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_norm, run_norm_add},
    {0},
};
