/* resample.c (CPU kernels): pooling, resizing and unfolding of images. A chunk is one row of output places of one
 * image; the vectors run along the channels. */
#include "backend/cpu/kernels/rows.h"

static int64_t rs_offset(const mlxn_view *v, uint64_t n, uint64_t y, uint64_t x) {
    return (int64_t)n * v->strides[0] + (int64_t)y * v->strides[1] + (int64_t)x * v->strides[2];
}
static void *rs_at(const mlxn_view *v, uint64_t n, uint64_t y, uint64_t x) {
    return (char *)v->data + rs_offset(v, n, y, x) * (int64_t)rows_size(v->dtype);
}

static void plan_rows(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    *out = (cpu_plan){.phases = 1, .chunks = {args[1].dims[0] * args[1].dims[1]}};
}

/* --- pool2d --- */

static void run_pool2d(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_pool2d_params *p = run->params;
    uint64_t channels = out->dims[3], chunk;
    int64_t sx = rows_stride(x), so = rows_stride(out);
    bool average = p->kind == MLXN_POOL_AVERAGE;
    while (cpu_next(run, &chunk)) {
        uint64_t at[2] = {chunk % out->dims[1], 0}, n = chunk / out->dims[1];
        for (at[1] = 0; at[1] < out->dims[2]; at[1]++) {
            uint64_t begin[2], end[2], places = 1;
            for (int a = 0; a < 2; a++) {
                uint64_t in = x->dims[1 + a], pad = p->pad[a], stride = p->stride[a] ? p->stride[a] : p->kernel[a];
                uint64_t from = at[a] * stride,
                         to = mlxn_min_u64(from + p->kernel[a], in + 2 * pad); /* in the padding */
                begin[a] = from > pad ? from - pad : 0;
                end[a] = to > pad ? mlxn_min_u64(to - pad, in) : 0;
                places *= p->count_padding ? to - from : end[a] - begin[a];
            }
            void *row = rs_at(out, n, at[0], at[1]);
            for (uint64_t c = 0; c < channels; c += 16) {
                uint64_t k = simd_tail(c, channels);
                v16 acc = v16_set1(average ? 0.0f : -INFINITY);
                for (uint64_t y = begin[0]; y < end[0]; y++)
                    for (uint64_t z = begin[1]; z < end[1]; z++) {
                        v16 v = rows_load(x->dtype, sx == 1, rs_at(x, n, y, z), sx, c, k);
                        acc = average ? v16_add(acc, v) : v16_max(v, acc);
                    }
                if (average) acc = v16_div(acc, v16_set1((float)places));
                rows_store(out->dtype, so == 1, row, so, c, acc, k);
            }
        }
    }
}

/* --- resize2d: the inputs that an output is made of, and their weights, per row and column --- */

enum { RS_SMALL = 4 };

typedef struct rs_taps {
    uint64_t n;
    uint64_t *from;
    float *weight;
} rs_taps;

static uint64_t rs_most(uint32_t mode, uint64_t in, uint64_t out) {
    return mode == MLXN_RESIZE_ANTIALIAS ? 2 * (in / out + 2) + 1 : RS_SMALL;
}

/* The cubic of a = -0.75 up to distance 1, and from there to 2. */
static double rs_inner(double d) { return 1.0 + d * d * (1.25 * d - 2.25); }
static double rs_outer(double d) { return -0.75 * (((d - 5.0) * d + 8.0) * d - 4.0); }

static void rs_taps_of(const mlxn_resize2d_params *p, uint64_t in, uint64_t out, uint64_t i, rs_taps *t) {
    double scale = (double)in / (double)out, place = ((double)i + 0.5) * scale - 0.5;
    if (p->align_corners) place = out > 1 ? (double)i * (double)(in - 1) / (double)(out - 1) : 0.0;
    int64_t last = (int64_t)in - 1;
    t->n = 0;
    if (p->mode == MLXN_RESIZE_NEAREST) {
        t->n = 1;
        t->from[0] = i * in / out;
        t->weight[0] = 1.0f;
    } else if (p->mode == MLXN_RESIZE_BILINEAR) {
        if (place < 0.0) place = 0.0;
        double low = floor(place), part = place - low;
        t->n = 2;
        t->from[0] = (uint64_t)low;
        t->from[1] = (uint64_t)((int64_t)low < last ? (int64_t)low + 1 : last);
        t->weight[0] = (float)(1.0 - part);
        t->weight[1] = (float)part;
    } else if (p->mode == MLXN_RESIZE_BICUBIC) {
        double low = floor(place), d = place - low;
        double w[4] = {rs_outer(d + 1.0), rs_inner(d), rs_inner(1.0 - d), rs_outer(2.0 - d)};
        t->n = 4;
        for (int64_t k = 0; k < 4; k++) {
            int64_t j = (int64_t)low - 1 + k;
            t->from[k] = (uint64_t)(j < 0 ? 0 : j > last ? last : j);
            t->weight[k] = (float)w[k];
        }
    } else {
        double wide = scale > 1.0 ? scale : 1.0, sum = 0.0;
        int64_t low = (int64_t)ceil(place - wide), high = (int64_t)floor(place + wide);
        for (int64_t j = low < 0 ? 0 : low; j <= (high < last ? high : last); j++) {
            double d = ((double)j - place) / wide, w = 1.0 - (d < 0.0 ? -d : d);
            t->from[t->n] = (uint64_t)j;
            t->weight[t->n++] = (float)(w > 0.0 ? w : 0.0);
            sum += w > 0.0 ? w : 0.0;
        }
        for (uint64_t k = 0; k < t->n; k++) t->weight[k] = (float)((double)t->weight[k] / sum);
    }
}

static void plan_resize2d(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint32_t mode = ((const mlxn_resize2d_params *)params)->mode;
    uint64_t most = 0;
    for (int a = 1; a < 3; a++) most += rs_most(mode, args[0].dims[a], args[1].dims[a]);
    plan_rows(args, params, n_threads, out);
    out->local_bytes = most * (sizeof(uint64_t) + sizeof(float));
}

static void run_resize2d(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_resize2d_params *p = run->params;
    uint64_t channels = out->dims[3], chunk, my = rs_most(p->mode, x->dims[1], out->dims[1]);
    uint64_t mx = rs_most(p->mode, x->dims[2], out->dims[2]);
    rs_taps rows = {.from = run->local}, columns = {.from = rows.from + my};
    rows.weight = (float *)(void *)(columns.from + mx);
    columns.weight = rows.weight + my;
    int64_t sx = rows_stride(x), so = rows_stride(out);
    while (cpu_next(run, &chunk)) {
        uint64_t n = chunk / out->dims[1], y = chunk % out->dims[1];
        rs_taps_of(p, x->dims[1], out->dims[1], y, &rows);
        for (uint64_t z = 0; z < out->dims[2]; z++) {
            rs_taps_of(p, x->dims[2], out->dims[2], z, &columns);
            for (uint64_t c = 0; c < channels; c += 16) {
                uint64_t k = simd_tail(c, channels);
                v16 sum = v16_zero();
                for (uint64_t i = 0; i < rows.n; i++) {
                    v16 line = v16_zero();
                    for (uint64_t j = 0; j < columns.n; j++) {
                        v16 v = rows_load(x->dtype, sx == 1, rs_at(x, n, rows.from[i], columns.from[j]), sx, c, k);
                        line = columns.n == 1 ? v : v16_fma(v, v16_set1(columns.weight[j]), line);
                    }
                    sum = rows.n == 1 ? line : v16_fma(line, v16_set1(rows.weight[i]), sum);
                }
                rows_store(out->dtype, so == 1, rs_at(out, n, y, z), so, c, sum, k);
            }
        }
    }
}

/* --- im2col: copies of one element size, which the dtype does not matter for --- */

static void run_im2col(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_im2col_params *p = run->params;
    uint64_t chunk, channels = x->dims[3], elements = (uint64_t)p->kernel[0] * p->kernel[1];
    int64_t size = (int64_t)rows_size(x->dtype), sx = rows_stride(x) * size, so = rows_stride(out) * size;
    while (cpu_next(run, &chunk)) {
        uint64_t n = chunk / out->dims[1], at[2] = {chunk % out->dims[1], 0};
        for (at[1] = 0; at[1] < out->dims[2]; at[1]++)
            for (uint64_t e = 0; e < elements; e++) {
                uint64_t element[2] = {e / p->kernel[1], e % p->kernel[1]}, from[2];
                bool inside = true;
                for (int a = 0; a < 2; a++) {
                    uint64_t stride = p->stride[a] ? p->stride[a] : 1, dilation = p->dilation[a] ? p->dilation[a] : 1;
                    from[a] = at[a] * stride + element[a] * dilation - p->pad[a]; /* wraps where outside */
                    inside = inside && from[a] < x->dims[1 + a];
                }
                const char *src = inside ? rs_at(x, n, from[0], from[1]) : NULL;
                char *dst = (char *)rs_at(out, n, at[0], at[1]) + (int64_t)e * so;
                for (uint64_t c = 0; c < channels; c++, dst += (int64_t)elements * so) {
                    if (size == 4)
                        *(uint32_t *)(void *)dst = src ? *(const uint32_t *)(const void *)src : 0;
                    else
                        *(uint16_t *)(void *)dst = src ? *(const uint16_t *)(const void *)src : 0;
                    if (src) src += sx;
                }
            }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_resample)[];
const cpu_kernel CPU_ISA(cpu_kernels_resample)[] = {
    {MLXN_OP_pool2d, "pool2d_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows, run_pool2d},
    {MLXN_OP_resize2d, "resize2d_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_resize2d, run_resize2d},
    {MLXN_OP_im2col, "im2col_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows, run_im2col},
    {0},
};
