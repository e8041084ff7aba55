/* backward.c (CPU kernels): rms_norm_backward_dx, rms_norm_backward_dw, qdq of Q4_0 and Q8_0. */
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

enum { QDQ_BLOCK = 32 };

static bool qdq_fits(const mlxn_view *args, const void *params) {
    uint32_t format = ((const mlxn_qdq_params *)params)->format;
    return format == MLXN_FORMAT_Q4_0 || format == MLXN_FORMAT_Q8_0;
}

/* Codes by the unrounded scale, values by the scale that a file holds. */
static void qdq_8(const float *x, float *out) {
    float most = 0;
    for (int i = 0; i < QDQ_BLOCK; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    float d = most / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f, kept = mlxn_f16_to_f32(mlxn_f32_to_f16(d));
    for (int i = 0; i < QDQ_BLOCK; i++) {
        float t = x[i] * inverse, whole = truncf(t);
        if (fabsf(t - whole) >= 0.5f) whole += t < 0 ? -1.0f : 1.0f; /* halves away from zero */
        out[i] = (float)(int8_t)whole * kept;
    }
}

static void qdq_4(const float *x, float *out) {
    float most = 0, peak = 0;
    for (int i = 0; i < QDQ_BLOCK; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), peak = x[i];
    float d = peak / -8.0f, inverse = d != 0 ? 1.0f / d : 0.0f, kept = mlxn_f16_to_f32(mlxn_f32_to_f16(d));
    for (int i = 0; i < QDQ_BLOCK; i++) {
        int code = (int8_t)(x[i] * inverse + 8.5f);
        out[i] = (float)((code > 15 ? 15 : code) - 8) * kept;
    }
}

static void plan_qdq(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_dx(args, params, n_threads, out);
}

static void run_qdq(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    bool eight = ((const mlxn_qdq_params *)run->params)->format == MLXN_FORMAT_Q8_0;
    rows_shape shape = rows_of(&x, 1, true);
    float a[SPAN] __attribute__((aligned(64))), b[SPAN] __attribute__((aligned(64)));
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            const void *px = rows_at(x, r, 4);
            void *to = rows_at(out, r, 4);
            for (uint64_t i = 0; i < shape.cols; i += SPAN) {
                uint64_t n = mlxn_min_u64(SPAN, shape.cols - i);
                const float *v = span_in(MLXN_F32, px, rows_stride(x), i, n, a);
                float *o = span_out(MLXN_F32, to, rows_stride(out), i, b);
                for (uint64_t k = 0; k < n; k += QDQ_BLOCK) (eight ? qdq_8 : qdq_4)(v + k, o + k);
                span_done(MLXN_F32, to, rows_stride(out), i, n, o);
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_backward)[];
const cpu_kernel CPU_ISA(cpu_kernels_backward)[] = {
    {MLXN_OP_rms_norm_backward_dx, "rms_norm_backward_dx_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_dx, run_dx},
    {MLXN_OP_rms_norm_backward_dw, "rms_norm_backward_dw_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_dw, run_dw},
    {MLXN_OP_qdq, "qdq_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, qdq_fits, plan_qdq, run_qdq},
    {0},
};
