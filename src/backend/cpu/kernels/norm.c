/* norm.c (CPU kernels): rms_norm and norm_add, row by row with norm_row.h. */
#include "backend/cpu/kernels/norm_row.h"

static void plan_norm(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

/* As map_typed of rows.h: dtype is a constant where `unit` is true. */
SIMD_INLINE void norm_rows(cpu_run *run, norm_row a, mlxn_dtype dtype, bool unit, const mlxn_view *residual,
                           const mlxn_view *out) {
    const mlxn_view *x = &run->args[0];
    rows_shape shape = rows_of(&x, 1, true);
    size_t size = rows_size(dtype);
    a.streams = stream_fits(out, (const mlxn_view *const[2]){x, residual}, 2);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            a.x = rows_at(x, r, size);
            a.ahead = unit && r + 1 < p.row_end ? rows_at(x, r + 1, size) : a.x;
            a.residual = residual ? rows_at(residual, r, size) : NULL;
            a.out = rows_at(out, r, size);
            norm_one(&a, dtype, dtype, unit);
        }
    }
    if (a.streams) stream_end();
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
