/* hadamard.c (CPU kernels): the Walsh-Hadamard transform of rows, with signs before or after it. */
#include "backend/cpu/kernels/kv_row.h"
#include "backend/cpu/kernels/rows.h"

static rows_shape hadamard_shape(const mlxn_view *args) {
    const mlxn_view *views[2] = {&args[0], &args[1]};
    return rows_of(views, 2, true);
}

static void plan_hadamard(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    rows_shape s = hadamard_shape(args);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&s)}, .local_bytes = 4 * (s.cols + 16)};
}

static void run_hadamard(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_hadamard_params *p = run->params;
    rows_shape s = hadamard_shape(run->args);
    size_t size = rows_size(x->dtype);
    int64_t sx = rows_stride(x), so = rows_stride(out);
    float *row = run->local;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&s, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            const void *src = rows_at(x, r, size);
            void *dst = rows_at(out, r, size);
            for (uint64_t i = 0; i < s.cols; i += 16)
                v16_store(row + i, rows_load(x->dtype, sx == 1, src, sx, i, simd_tail(i, s.cols)));
            if (p->signs == MLXN_HADAMARD_SIGNS_FIRST) kv_signs(row, s.cols);
            kv_transform(row, s.cols);
            if (p->signs == MLXN_HADAMARD_SIGNS_LAST) kv_signs(row, s.cols);
            for (uint64_t i = 0; i < s.cols; i += 16)
                rows_store(out->dtype, so == 1, dst, so, i, v16_load(row + i), simd_tail(i, s.cols));
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_hadamard)[];
const cpu_kernel CPU_ISA(cpu_kernels_hadamard)[] = {
    {MLXN_OP_hadamard, "hadamard_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_hadamard, run_hadamard},
    {0},
};
