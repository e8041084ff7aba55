/* resample_backward.c (CPU kernels): pool2d_backward, col2im. A chunk is one row of the image that is written: it
 * adds up in f32 scratch what the windows over it bring, in their order. */
#include "backend/cpu/kernels/span.h"

static void *rb_at(const mlxn_view *v, uint64_t n, uint64_t y, uint64_t x) {
    int64_t at = (int64_t)n * v->strides[0] + (int64_t)y * v->strides[1] + (int64_t)x * v->strides[2];
    return (char *)v->data + at * (int64_t)rows_size(v->dtype);
}

static uint64_t rb_padded(const mlxn_view *image) { return (image->dims[3] + 15) & ~(uint64_t)15; }

static void rb_plan(const mlxn_view *image, cpu_plan *out) {
    *out = (cpu_plan){.phases = 1,
                      .chunks = {image->dims[0] * image->dims[1]},
                      .local_bytes = image->dims[2] * rb_padded(image) * sizeof(float)};
}

/* The row of scratch to row y of image n. */
static void rb_store(const mlxn_view *image, uint64_t n, uint64_t y, const float *row) {
    int64_t stride = rows_stride(image);
    for (uint64_t x = 0; x < image->dims[2]; x++, row += rb_padded(image))
        for (uint64_t c = 0; c < image->dims[3]; c += 16)
            rows_store(image->dtype, stride == 1, rb_at(image, n, y, x), stride, c, v16_load(row + c),
                       simd_tail(c, image->dims[3]));
}

/* --- pool2d_backward --- */

typedef struct rb_window {
    uint64_t begin[2], end[2]; /* inside the image */
    uint64_t places;
} rb_window;

static rb_window rb_window_of(const mlxn_pool2d_params *p, const mlxn_view *image, const uint64_t at[2]) {
    rb_window w = {.places = 1};
    for (int a = 0; a < 2; a++) {
        uint64_t in = image->dims[1 + a], pad = p->pad[a],
                 from = at[a] * (p->stride[a] ? p->stride[a] : p->kernel[a]);
        uint64_t to = mlxn_min_u64(from + p->kernel[a], in + 2 * pad); /* counted in the padding */
        w.begin[a] = from > pad ? from - pad : 0;
        w.end[a] = to > pad ? mlxn_min_u64(to - pad, in) : 0;
        w.places *= p->count_padding ? to - from : w.end[a] - w.begin[a];
    }
    return w;
}

/* Which of the places of a window is the first of the largest, for sixteen channels from c on. */
static v16 rb_largest(const mlxn_view *x, const rb_window *w, uint64_t n, uint64_t c, uint64_t k) {
    int64_t stride = rows_stride(x);
    v16 best = v16_set1(-INFINITY), which = v16_zero();
    float number = 0;
    for (uint64_t y = w->begin[0]; y < w->end[0]; y++)
        for (uint64_t z = w->begin[1]; z < w->end[1]; z++, number += 1.0f) {
            v16 v = rows_load(x->dtype, stride == 1, rb_at(x, n, y, z), stride, c, k);
            which = v16_pick_gt(v, best, v16_set1(number), which);
            best = v16_pick_gt(v, best, v, best);
        }
    return which;
}

/* What window `at` brings to row y. */
static void rb_pool(const cpu_run *run, uint64_t n, uint64_t y, const uint64_t at[2], float *row) {
    const mlxn_view *x = &run->args[0], *dy = &run->args[1], *dx = &run->args[2];
    const mlxn_pool2d_params *p = run->params;
    rb_window w = rb_window_of(p, dx, at);
    uint64_t padded = rb_padded(dx), wide = w.end[1] - w.begin[1];
    int64_t stride = rows_stride(dy);
    for (uint64_t c = 0; c < dx->dims[3]; c += 16) {
        uint64_t k = simd_tail(c, dx->dims[3]);
        v16 g = rows_load(dy->dtype, stride == 1, rb_at(dy, n, at[0], at[1]), stride, c, k), which = v16_zero();
        bool average = p->kind == MLXN_POOL_AVERAGE;
        if (average)
            g = v16_div(g, v16_set1((float)w.places));
        else
            which = rb_largest(x, &w, n, c, k);
        for (uint64_t z = w.begin[1]; z < w.end[1]; z++) {
            float *to = row + z * padded + c, number = (float)((y - w.begin[0]) * wide + (z - w.begin[1]));
            v16 own = average ? g : v16_where_small(v16_sub(which, v16_set1(number)), 0.5f, g, v16_zero());
            v16_store(to, v16_add(v16_load(to), own));
        }
    }
}

static void plan_pool(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    rb_plan(&args[2], out);
}

/* Windows are numbered in f32. */
static bool fits_pool(const mlxn_view *args, const void *params) {
    const mlxn_pool2d_params *p = params;
    return (uint64_t)p->kernel[0] * p->kernel[1] < 1u << 24;
}

static void run_pool(cpu_run *run) {
    const mlxn_view *dy = &run->args[1], *dx = &run->args[2];
    const mlxn_pool2d_params *p = run->params;
    uint64_t chunk, stride = p->stride[0] ? p->stride[0] : p->kernel[0];
    float *row = run->local;
    while (cpu_next(run, &chunk)) {
        uint64_t n = chunk / dx->dims[1], y = chunk % dx->dims[1], below = y + p->pad[0] + 1;
        memset(row, 0, dx->dims[2] * rb_padded(dx) * sizeof *row);
        uint64_t first = below > p->kernel[0] ? (below - p->kernel[0] + stride - 1) / stride : 0;
        for (uint64_t oy = first; oy < dy->dims[1] && oy * stride < below; oy++)
            for (uint64_t ox = 0; ox < dy->dims[2]; ox++) rb_pool(run, n, y, (const uint64_t[]){oy, ox}, row);
        rb_store(dx, n, y, row);
    }
}

/* --- col2im --- */

static void plan_col2im(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    rb_plan(&args[1], out);
}

/* The place of the kernel that lies with element k on `at`; false where there is none. */
static bool rb_place(const mlxn_im2col_params *p, int a, uint64_t at, uint64_t k, uint64_t places, uint64_t *out) {
    uint64_t stride = p->stride[a] ? p->stride[a] : 1, back = k * (p->dilation[a] ? p->dilation[a] : 1);
    at += p->pad[a];
    *out = (at - back) / stride;
    return at >= back && (at - back) % stride == 0 && *out < places;
}

static void run_col2im(cpu_run *run) {
    const mlxn_view *in = &run->args[0], *out = &run->args[1];
    const mlxn_im2col_params *p = run->params;
    uint64_t chunk, padded = rb_padded(out), channels = out->dims[3],
                    elements = (uint64_t)p->kernel[0] * p->kernel[1];
    int64_t step = rows_stride(in) * (int64_t)elements;
    float *row = run->local, buffer[SPAN] __attribute__((aligned(64)));
    while (cpu_next(run, &chunk)) {
        uint64_t n = chunk / out->dims[1], y = chunk % out->dims[1], oy, ox;
        memset(row, 0, out->dims[2] * padded * sizeof *row);
        for (uint64_t e = 0; e < elements; e++) {
            uint64_t ky = e / p->kernel[1], kx = e % p->kernel[1];
            if (!rb_place(p, 0, y, ky, in->dims[1], &oy)) continue;
            for (uint64_t x = 0; x < out->dims[2]; x++) {
                if (!rb_place(p, 1, x, kx, in->dims[2], &ox)) continue;
                const char *from =
                    (const char *)rb_at(in, n, oy, ox) + (int64_t)e * rows_stride(in) * (int64_t)rows_size(in->dtype);
                for (uint64_t c = 0; c < channels; c += SPAN) {
                    uint64_t some = mlxn_min_u64(SPAN, channels - c);
                    const float *v = span_in(in->dtype, from, step, c, some, buffer);
                    for (uint64_t i = 0; i < some; i += 16) {
                        float *to = row + x * padded + c + i;
                        v16_store(to, v16_add(v16_load(to), v16_load_as(MLXN_F32, v, i, simd_tail(i, some))));
                    }
                }
            }
        }
        rb_store(out, n, y, row);
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_resample_backward)[];
const cpu_kernel CPU_ISA(cpu_kernels_resample_backward)[] = {
    {MLXN_OP_pool2d_backward, "pool2d_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_pool, plan_pool,
     run_pool},
    {MLXN_OP_col2im, "col2im_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_col2im, run_col2im},
    {0},
};
