/* backward_layers.c (CPU kernels): layer_norm_backward and conv1d_causal_backward. Phase 0 shares out the rows of dx,
 * phase 1 blocks of columns, each of which is summed over the rows in rising order, in double. */
#include "backend/cpu/kernels/span.h"

enum { LX, LW, LDY, LDW, LDB, LDX };
enum { BLOCK = 128 };

typedef struct moments {
    float mean, inverse;
} moments;

static void plan_norm(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[LX];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 2,
                      .chunks = {rows_chunks(&shape), (shape.cols + BLOCK - 1) / BLOCK},
                      .shared_bytes = shape.rows * sizeof(moments),
                      .local_bytes = 3 * shape.cols * sizeof(float)};
}

/* A whole row as floats. */
static void load_row(const mlxn_view *v, const void *row, uint64_t n, float *to) {
    for (uint64_t i = 0; i < n; i += SPAN) {
        uint64_t m = mlxn_min_u64(SPAN, n - i);
        const float *from = span_in(v->dtype, row, rows_stride(v), i, m, to + i);
        if (from != to + i) memcpy(to + i, from, m * sizeof *to);
    }
}

static moments norm_row_dx(const mlxn_view *args, double eps, uint64_t r, float *x) {
    const mlxn_view *w = &args[LW], *dx = &args[LDX];
    uint64_t d = args[LX].dims[1];
    size_t size = rows_size(args[LX].dtype);
    float *g = x + d, *scale = g + d;
    load_row(&args[LX], rows_at(&args[LX], r, size), d, x);
    load_row(&args[LDY], rows_at(&args[LDY], r, size), d, g);
    if (w->present) load_row(w, w->data, d, scale);
    double mean = 0, square = 0, sum = 0, product = 0;
    for (uint64_t i = 0; i < d; i++) mean += (double)x[i];
    mean /= (double)d;
    for (uint64_t i = 0; i < d; i++) square += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inverse = 1 / sqrt(square / (double)d + eps);
    for (uint64_t i = 0; i < d; i++) {
        if (w->present) g[i] *= scale[i];
        x[i] = (float)(((double)x[i] - mean) * inverse);
        sum += (double)g[i];
        product += (double)g[i] * (double)x[i];
    }
    v16 a = v16_set1((float)(sum / (double)d)), b = v16_set1((float)(product / (double)d)),
        c = v16_set1((float)inverse);
    for (uint64_t i = 0; i < d; i += 16) {
        uint64_t m = simd_tail(i, d);
        v16 n = v16_load_as(MLXN_F32, x, i, m), t = v16_sub(v16_load_as(MLXN_F32, g, i, m), a);
        v16_store_as(MLXN_F32, g, i, v16_mul(c, v16_fnma(n, b, t)), m);
    }
    void *to = rows_at(dx, r, size);
    for (uint64_t i = 0; i < d; i += SPAN) {
        uint64_t m = mlxn_min_u64(SPAN, d - i);
        float *o = span_out(dx->dtype, to, rows_stride(dx), i, g + i);
        if (o != g + i) memcpy(o, g + i, m * sizeof *o);
        span_done(dx->dtype, to, rows_stride(dx), i, m, o);
    }
    return (moments){(float)mean, (float)inverse};
}

static void put_sums(const mlxn_view *to, uint64_t first, uint64_t n, const double *sums) {
    for (uint64_t i = 0; to->present && i < n; i++)
        ((float *)to->data)[(int64_t)(first + i) * rows_stride(to)] = (float)sums[i];
}

static void norm_columns(const mlxn_view *args, const moments *kept, uint64_t first) {
    const mlxn_view *x = &args[LX], *dy = &args[LDY];
    uint64_t n = mlxn_min_u64(BLOCK, x->dims[1] - first);
    size_t size = rows_size(x->dtype);
    float a[BLOCK] __attribute__((aligned(64))), b[BLOCK] __attribute__((aligned(64)));
    double dw[BLOCK] = {0}, db[BLOCK] = {0};
    for (uint64_t r = 0; r < x->dims[0]; r++) {
        const float *vx = span_in(x->dtype, rows_at(x, r, size), rows_stride(x), first, n, a);
        const float *vd = span_in(x->dtype, rows_at(dy, r, size), rows_stride(dy), first, n, b);
        double mean = (double)kept[r].mean, inverse = (double)kept[r].inverse;
        for (uint64_t i = 0; i < n; i++) {
            dw[i] += (double)vd[i] * (((double)vx[i] - mean) * inverse);
            db[i] += (double)vd[i];
        }
    }
    put_sums(&args[LDW], first, n, dw);
    put_sums(&args[LDB], first, n, db);
}

static void run_norm(cpu_run *run) {
    const mlxn_view *x = &run->args[LX];
    double eps = (double)((const mlxn_rms_norm_params *)run->params)->eps;
    rows_shape shape = rows_of(&x, 1, true);
    moments *kept = run->shared;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        if (run->phase == 1) {
            norm_columns(run->args, kept, chunk * BLOCK);
            continue;
        }
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) kept[r] = norm_row_dx(run->args, eps, r, run->local);
    }
}

enum { CX, CW, CDY, CDW, CDX };

static void plan_conv(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[CX];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 2, .chunks = {rows_chunks(&shape), (shape.cols + BLOCK - 1) / BLOCK}};
}

/* Row r of dx: each later row of dy that the element went into, with its tap. */
static void conv_row(const mlxn_view *args, uint64_t r) {
    const mlxn_view *x = &args[CX], *w = &args[CW], *dy = &args[CDY], *dx = &args[CDX];
    uint64_t taps = w->dims[1], t = r % x->dims[1];
    size_t size = rows_size(x->dtype);
    float sum[SPAN] __attribute__((aligned(64))), buffer[SPAN] __attribute__((aligned(64)));
    void *to = rows_at(dx, r, size);
    for (uint64_t i = 0; i < x->dims[2]; i += SPAN) {
        uint64_t n = mlxn_min_u64(SPAN, x->dims[2] - i);
        memset(sum, 0, sizeof sum);
        for (uint64_t k = taps; k-- > 0;) {
            uint64_t later = taps - 1 - k;
            if (t + later >= x->dims[1]) break;
            const float *v = span_in(x->dtype, rows_at(dy, r + later, size), rows_stride(dy), i, n, buffer);
            const float *tap = (const float *)w->data + (int64_t)k * rows_stride(w) + (int64_t)i * w->strides[0];
            for (uint64_t c = 0; c < n; c++) sum[c] += tap[(int64_t)c * w->strides[0]] * v[c];
        }
        float *o = span_out(dx->dtype, to, rows_stride(dx), i, sum);
        if (o != sum) memcpy(o, sum, n * sizeof *o);
        span_done(dx->dtype, to, rows_stride(dx), i, n, o);
    }
}

static void conv_columns(const mlxn_view *args, uint64_t first) {
    const mlxn_view *x = &args[CX], *dy = &args[CDY], *dw = &args[CDW];
    uint64_t n = mlxn_min_u64(BLOCK, x->dims[2] - first), taps = dw->dims[1];
    size_t size = rows_size(x->dtype);
    float a[BLOCK] __attribute__((aligned(64))), b[BLOCK] __attribute__((aligned(64)));
    for (uint64_t k = 0; k < taps; k++) {
        double sum[BLOCK] = {0};
        uint64_t later = taps - 1 - k;
        for (uint64_t batch = 0; batch < x->dims[0]; batch++)
            for (uint64_t t = later; t < x->dims[1]; t++) {
                uint64_t r = batch * x->dims[1] + t;
                const float *vd = span_in(x->dtype, rows_at(dy, r, size), rows_stride(dy), first, n, a);
                const float *vx = span_in(x->dtype, rows_at(x, r - later, size), rows_stride(x), first, n, b);
                for (uint64_t c = 0; c < n; c++) sum[c] += (double)vd[c] * (double)vx[c];
            }
        float *to = (float *)dw->data + (int64_t)k * rows_stride(dw);
        for (uint64_t c = 0; c < n; c++) to[(int64_t)(first + c) * dw->strides[0]] = (float)sum[c];
    }
}

static void run_conv(cpu_run *run) {
    const mlxn_view *x = &run->args[CX];
    rows_shape shape = rows_of(&x, 1, true);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        if (run->phase == 1) {
            conv_columns(run->args, chunk * BLOCK);
            continue;
        }
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) conv_row(run->args, r);
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_backward_layers)[];
const cpu_kernel CPU_ISA(cpu_kernels_backward_layers)[] = {
    {MLXN_OP_layer_norm_backward, "layer_norm_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_norm, run_norm},
    {MLXN_OP_conv1d_causal_backward, "conv1d_causal_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_conv, run_conv},
    {0},
};
