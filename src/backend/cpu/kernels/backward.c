/* backward.c (CPU kernels): rms_norm_backward_dx, rms_norm_backward_dw. */
#include "backend/cpu/kernels/span.h"

static void plan_dx(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

static void run_dx(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *w = &run->args[1], *dy = &run->args[2], *r = &run->args[3],
                    *dx = &run->args[4];
    rows_shape shape = rows_of(&x, 1, true);
    size_t size = rows_size(x->dtype);
    float buffers[4][SPAN] __attribute__((aligned(64)));
    uint64_t chunk, d = shape.cols;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t row = part.row; row < part.row_end; row++) {
            const void *px = rows_at(x, row, size), *pd = rows_at(dy, row, size);
            void *to = rows_at(dx, row, size);
            double inverse = (double)((const float *)r->data)[(int64_t)row * rows_stride(r)];
            v16 s[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()}, f = v16_zero(),
                vr = v16_set1((float)inverse);
            for (int pass = 0; pass < 2; pass++) {
                if (pass) {
                    float sum = v16_hsum(v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3])));
                    f = v16_set1((float)((double)sum * inverse * inverse / (double)d));
                }
                for (uint64_t i = 0; i < d; i += SPAN) {
                    uint64_t n = mlxn_min_u64(SPAN, d - i);
                    const float *vx = span_in(x->dtype, px, rows_stride(x), i, n, buffers[0]);
                    const float *vd = span_in(x->dtype, pd, rows_stride(dy), i, n, buffers[1]);
                    const float *vw =
                        w->present ? span_in(MLXN_F32, w->data, rows_stride(w), i, n, buffers[2]) : NULL;
                    float *o = span_out(x->dtype, to, rows_stride(dx), i, buffers[3]);
                    for (uint64_t k = 0; k < n; k += 16) {
                        uint64_t m = simd_tail(k, n);
                        v16 a = v16_load_as(MLXN_F32, vx, k, m), b = v16_load_as(MLXN_F32, vd, k, m);
                        if (vw) b = v16_mul(b, v16_load_as(MLXN_F32, vw, k, m));
                        if (pass)
                            v16_store_as(MLXN_F32, o, k, v16_mul(vr, v16_fnma(a, f, b)), m);
                        else
                            s[k / 16 % 4] = v16_fma(a, b, s[k / 16 % 4]);
                    }
                    if (pass) span_done(x->dtype, to, rows_stride(dx), i, n, o);
                }
            }
        }
    }
}

/* Columns per chunk, and rows whose sum is taken before it is added to the total. */
enum { DW_COLS = 256, DW_ROWS = 32 };

static void plan_dw(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    *out = (cpu_plan){.phases = 1, .chunks = {(args[0].dims[1] + DW_COLS - 1) / DW_COLS}};
}

static void run_dw(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *dy = &run->args[1], *r = &run->args[2], *dw = &run->args[3];
    size_t size = rows_size(x->dtype);
    float a[DW_COLS] __attribute__((aligned(64))), b[DW_COLS] __attribute__((aligned(64)));
    float part[DW_COLS] __attribute__((aligned(64))), all[DW_COLS] __attribute__((aligned(64)));
    uint64_t chunk, rows = x->dims[0];
    while (cpu_next(run, &chunk)) {
        uint64_t first = chunk * DW_COLS, n = mlxn_min_u64(DW_COLS, x->dims[1] - first);
        memset(all, 0, sizeof all);
        for (uint64_t base = 0; base < rows; base += DW_ROWS) {
            memset(part, 0, sizeof part);
            for (uint64_t row = base; row < rows && row < base + DW_ROWS; row++) {
                const float *vx = span_in(x->dtype, rows_at(x, row, size), rows_stride(x), first, n, a);
                const float *vd = span_in(x->dtype, rows_at(dy, row, size), rows_stride(dy), first, n, b);
                v16 inverse = v16_set1(((const float *)r->data)[(int64_t)row * rows_stride(r)]);
                for (uint64_t k = 0; k < n; k += 16) {
                    uint64_t m = simd_tail(k, n);
                    v16 t = v16_mul(v16_load_as(MLXN_F32, vx, k, m), v16_load_as(MLXN_F32, vd, k, m));
                    v16_store(part + k, v16_fma(t, inverse, v16_load(part + k)));
                }
            }
            for (uint64_t k = 0; k < DW_COLS; k += 16)
                v16_store(all + k, v16_add(v16_load(all + k), v16_load(part + k)));
        }
        float *to = dw->data;
        for (uint64_t k = 0; k < n; k++) to[(int64_t)(first + k) * rows_stride(dw)] = all[k];
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_backward)[];
const cpu_kernel CPU_ISA(cpu_kernels_backward)[] = {
    {MLXN_OP_rms_norm_backward_dx, "rms_norm_backward_dx_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_dx, run_dx},
    {MLXN_OP_rms_norm_backward_dw, "rms_norm_backward_dw_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_dw, run_dw},
    {0},
};
