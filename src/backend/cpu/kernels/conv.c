/* conv.c (CPU kernels): convolutions, plain and transposed. First the weights go to f32, a row per output channel,
 * padded to a multiple of 16. Then, sixteen output places at a time, what each of them sees goes to scratch in the
 * same form, and the results are dot products of the two. Where every channel is a group of its own, the channels
 * themselves are the vectors. */
#include "backend/cpu/kernels/rows.h"

enum { CV_PLACES = 16 };
#if CPU_ISA_LEVEL >= 2
enum { CV_TILE = 4 };
#else
enum { CV_TILE = 2 };
#endif

/* Index 0 is the depth, 1 the height, 2 the width; fewer dims have depth 1 and height 1. Strides of tensors: n, z, y,
 * x, channel. */
typedef struct cv_shape {
    uint64_t n, c, o, groups, each, per; /* each: input channels of a group, per: output channels */
    uint64_t in[3], kernel[3], out[3], stride[3], pad[3], dilation[3];
    int64_t sx[5], sw[5], so[5];
    uint64_t elements, places; /* of the kernel; of an output image */
    uint64_t terms, padded;    /* of a dot product */
    bool transposed;
} cv_shape;

typedef enum cv_form { CV_PLAIN, CV_TRANSPOSED, CV_VOLUME } cv_form;

static void cv_view(const mlxn_view *v, uint64_t depth, int64_t strides[5], uint64_t dims[3]) {
    bool flat = v->rank == 3;
    strides[0] = v->strides[0] * (int64_t)depth;
    strides[1] = v->strides[0];
    strides[2] = flat ? 0 : v->strides[1];
    strides[3] = v->strides[flat ? 1 : 2];
    strides[4] = rows_stride(v);
    dims[0] = depth;
    dims[1] = flat ? 1 : v->dims[1];
    dims[2] = v->dims[flat ? 1 : 2];
}

static mlxn_conv3d_params cv_params(const mlxn_view *x, const void *params, cv_form form) {
    if (form == CV_VOLUME) return *(const mlxn_conv3d_params *)params;
    mlxn_conv3d_params p = {.depth = 1, .kernel_depth = 1};
    if (x->rank == 4) {
        const mlxn_conv2d_params *two = params;
        memcpy(p.stride + 1, two->stride, sizeof two->stride);
        memcpy(p.pad + 1, two->pad, sizeof two->pad);
        memcpy(p.dilation + 1, two->dilation, sizeof two->dilation);
        p.groups = two->groups;
    } else {
        const mlxn_conv1d_params *one = params;
        p.stride[2] = one->stride;
        p.pad[2] = one->pad;
        p.dilation[2] = one->dilation;
        p.groups = one->groups;
    }
    return p;
}

static cv_shape cv_shape_of(const mlxn_view *args, const void *params, cv_form form) {
    const mlxn_view *x = &args[0];
    mlxn_conv3d_params p = cv_params(x, params, form);
    cv_shape s = {.n = x->dims[0] / p.depth, .c = rows_cols(x), .o = args[1].dims[0] / p.kernel_depth};
    s.groups = p.groups ? p.groups : 1;
    s.transposed = form == CV_TRANSPOSED;
    cv_view(x, p.depth, s.sx, s.in);
    cv_view(&args[1], p.kernel_depth, s.sw, s.kernel);
    cv_view(&args[3], args[3].dims[0] / s.n, s.so, s.out);
    for (int a = 0; a < 3; a++) {
        s.stride[a] = p.stride[a] ? p.stride[a] : 1;
        s.pad[a] = p.pad[a];
        s.dilation[a] = p.dilation[a] ? p.dilation[a] : 1;
    }
    s.each = s.c / s.groups;
    s.per = s.o / s.groups;
    s.elements = s.kernel[0] * s.kernel[1] * s.kernel[2];
    s.places = s.out[0] * s.out[1] * s.out[2];
    s.terms = s.each * s.elements;
    s.padded = (s.terms + 15) & ~(uint64_t)15;
    return s;
}

/* The input plane, row or column that output `at` sees through kernel element `k`, or -1. */
static int64_t cv_source(const cv_shape *s, int a, uint64_t at, uint64_t k) {
    if (!s->transposed) {
        int64_t i = (int64_t)(at * s->stride[a] + k * s->dilation[a]) - (int64_t)s->pad[a];
        return i < (int64_t)s->in[a] ? i < 0 ? -1 : i : -1;
    }
    int64_t i = (int64_t)(at + s->pad[a]) - (int64_t)(k * s->dilation[a]), stride = (int64_t)s->stride[a];
    return i < 0 || i % stride || i / stride >= (int64_t)s->in[a] ? -1 : i / stride;
}

/* Where place `i`, counted along the width first, lies in a tensor with these dims and strides. */
static int64_t cv_place(const uint64_t dims[3], const int64_t strides[5], uint64_t i) {
    return (int64_t)(i / dims[2] / dims[1]) * strides[1] + (int64_t)(i / dims[2] % dims[1]) * strides[2] +
           (int64_t)(i % dims[2]) * strides[3];
}

static void cv_copy(const mlxn_view *v, int64_t at, int64_t stride, uint64_t n, float *out) {
    const void *data = (const char *)v->data + at * (int64_t)rows_size(v->dtype);
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t k = simd_tail(i, n);
        v16_store_as(MLXN_F32, out, i, rows_load(v->dtype, stride == 1, data, stride, i, k), k);
    }
}

static float cv_bias(const mlxn_view *bias, uint64_t o) {
    return bias->present ? simd_get(bias->dtype, bias->data, (int64_t)o * rows_stride(bias)) : 0.0f;
}

static void cv_plan(const mlxn_view *args, const void *params, cv_form form, cpu_plan *out) {
    cv_shape s = cv_shape_of(args, params, form);
    uint64_t places = (s.places + CV_PLACES - 1) / CV_PLACES;
    *out = (cpu_plan){.phases = 2,
                      .chunks = {s.o, s.n * s.groups * places},
                      .shared_bytes = (s.o + CV_TILE) * s.padded * sizeof(float),
                      .local_bytes = CV_PLACES * s.padded * sizeof(float)};
}

static void cv_pack(cpu_run *run, const cv_shape *s) {
    const mlxn_view *w = &run->args[1];
    uint64_t o;
    while (cpu_next(run, &o)) {
        float *row = (float *)run->shared + o * s->padded;
        for (uint64_t i = s->terms; i < s->padded; i++) row[i] = 0.0f;
        for (uint64_t k = 0; k < s->elements; k++)
            cv_copy(w, (int64_t)o * s->sw[0] + cv_place(s->kernel, s->sw, k), s->sw[4], s->each, row + k * s->each);
    }
}

/* What an output place of image n sees in its group's channels, from `first` on. */
static void cv_gather(const mlxn_view *in, const cv_shape *s, uint64_t n, uint64_t place, uint64_t first,
                      float *row) {
    uint64_t z = place / s->out[2] / s->out[1], y = place / s->out[2] % s->out[1], x = place % s->out[2];
    for (uint64_t i = s->terms; i < s->padded; i++) row[i] = 0.0f;
    for (uint64_t kz = 0; kz < s->kernel[0]; kz++)
        for (uint64_t ky = 0; ky < s->kernel[1]; ky++) {
            int64_t iz = cv_source(s, 0, z, kz), iy = cv_source(s, 1, y, ky);
            for (uint64_t kx = 0; kx < s->kernel[2]; kx++, row += s->each) {
                int64_t ix = cv_source(s, 2, x, kx);
                if (iz < 0 || iy < 0 || ix < 0) {
                    memset(row, 0, s->each * sizeof *row);
                    continue;
                }
                int64_t at = (int64_t)n * s->sx[0] + iz * s->sx[1] + iy * s->sx[2] + ix * s->sx[3];
                cv_copy(in, at + (int64_t)first * s->sx[4], s->sx[4], s->each, row);
            }
        }
}

/* out[p][o] of `places` x `outs` dot products. */
SIMD_INLINE void cv_tile(int places, int outs, const float *x, const float *w, uint64_t n, float *out) {
    v16 acc[CV_TILE][CV_TILE];
#pragma GCC unroll 4
    for (int p = 0; p < places; p++)
#pragma GCC unroll 4
        for (int o = 0; o < outs; o++) acc[p][o] = v16_zero();
    for (uint64_t i = 0; i < n; i += 16) {
        v16 right[CV_TILE];
#pragma GCC unroll 4
        for (int o = 0; o < outs; o++) right[o] = v16_load(w + (uint64_t)o * n + i);
#pragma GCC unroll 4
        for (int p = 0; p < places; p++) {
            v16 left = v16_load(x + (uint64_t)p * n + i);
#pragma GCC unroll 4
            for (int o = 0; o < outs; o++) acc[p][o] = v16_fma(left, right[o], acc[p][o]);
        }
    }
    for (int p = 0; p < places; p++)
        for (int o = 0; o < outs; o++) out[p * 16 + o] = v16_hsum(acc[p][o]);
}

static void cv_run(cpu_run *run, cv_form form) {
    const mlxn_view *x = &run->args[0], *bias = &run->args[2], *out = &run->args[3];
    cv_shape s = cv_shape_of(run->args, run->params, form);
    if (run->phase == 0) {
        cv_pack(run, &s);
        return;
    }
    uint64_t parts = (s.places + CV_PLACES - 1) / CV_PLACES, chunk;
    float *seen = run->local, tile[CV_PLACES][16] = {{0}}, add[16];
    while (cpu_next(run, &chunk)) {
        uint64_t place = chunk % parts * CV_PLACES, group = chunk / parts % s.groups, n = chunk / parts / s.groups;
        uint64_t places = mlxn_min_u64(CV_PLACES, s.places - place);
        for (uint64_t p = 0; p < places; p++) cv_gather(x, &s, n, place + p, group * s.each, seen + p * s.padded);
        for (uint64_t p = places; p < CV_PLACES; p++) memset(seen + p * s.padded, 0, s.padded * sizeof *seen);
        for (uint64_t o = 0; o < s.per; o += 16) {
            uint64_t outs = simd_tail(o, s.per), first = group * s.per + o;
            const float *w = (const float *)run->shared + first * s.padded;
            for (uint64_t i = 0; i < 16; i++) add[i] = i < outs ? cv_bias(bias, first + i) : 0.0f;
            for (uint64_t i = 0; i < outs; i += CV_TILE)
                for (uint64_t p = 0; p < places; p += CV_TILE) {
                    if (i + CV_TILE <= outs)
                        cv_tile(CV_TILE, CV_TILE, seen + p * s.padded, w + i * s.padded, s.padded, &tile[p][i]);
                    else
                        for (uint64_t l = i; l < outs; l++)
                            cv_tile(CV_TILE, 1, seen + p * s.padded, w + l * s.padded, s.padded, &tile[p][l]);
                }
            for (uint64_t p = 0; p < places; p++) {
                int64_t at = (int64_t)n * s.so[0] + cv_place(s.out, s.so, place + p) + (int64_t)first * s.so[4];
                rows_store(out->dtype, s.so[4] == 1, (char *)out->data + at * (int64_t)rows_size(out->dtype), s.so[4],
                           0, v16_add(v16_load(tile[p]), v16_load(add)), outs);
            }
        }
    }
}

static void plan_conv(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    cv_plan(args, params, CV_PLAIN, out);
}
static void run_conv(cpu_run *run) { cv_run(run, CV_PLAIN); }
static void plan_transposed(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    cv_plan(args, params, CV_TRANSPOSED, out);
}
static void run_transposed(cpu_run *run) { cv_run(run, CV_TRANSPOSED); }
static void plan_volume(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    cv_plan(args, params, CV_VOLUME, out);
}
static void run_volume(cpu_run *run) { cv_run(run, CV_VOLUME); }

/* --- a group per channel --- */

static bool cv_depthwise(const mlxn_view *args, const void *params, cv_form form) {
    cv_shape s = cv_shape_of(args, params, form);
    return s.groups == s.c && s.o == s.c && s.c > 1;
}
static bool fits_depthwise(const mlxn_view *args, const void *params) { return cv_depthwise(args, params, CV_PLAIN); }
static bool fits_depthwise3(const mlxn_view *args, const void *params) {
    return cv_depthwise(args, params, CV_VOLUME);
}

static void cv_plan_depthwise(const mlxn_view *args, const void *params, cv_form form, cpu_plan *out) {
    cv_shape s = cv_shape_of(args, params, form);
    *out = (cpu_plan){.phases = 2,
                      .chunks = {s.elements + 1, s.n * s.out[0] * s.out[1]},
                      .shared_bytes = (s.terms + 1) * ((s.c + 15) & ~(uint64_t)15) * sizeof(float)};
}
static void plan_depthwise(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    cv_plan_depthwise(args, params, CV_PLAIN, out);
}
static void plan_depthwise3(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    cv_plan_depthwise(args, params, CV_VOLUME, out);
}

/* Weights as [kernel element][channel], the bias behind them. */
static void cv_run_depthwise(cpu_run *run, cv_form form) {
    const mlxn_view *x = &run->args[0], *w = &run->args[1], *bias = &run->args[2], *out = &run->args[3];
    cv_shape s = cv_shape_of(run->args, run->params, form);
    uint64_t row = (s.c + 15) & ~(uint64_t)15, chunk;
    float *packed = run->shared;
    while (run->phase == 0 && cpu_next(run, &chunk)) {
        int64_t at = cv_place(s.kernel, s.sw, chunk);
        for (uint64_t c = 0; c < s.c; c++)
            packed[chunk * row + c] =
                chunk < s.terms ? simd_get(w->dtype, w->data, at + (int64_t)c * s.sw[0]) : cv_bias(bias, c);
    }
    if (run->phase == 0) return;
    while (cpu_next(run, &chunk)) {
        uint64_t n = chunk / s.out[1] / s.out[0], z = chunk / s.out[1] % s.out[0], y = chunk % s.out[1];
        for (uint64_t ox = 0; ox < s.out[2]; ox++)
            for (uint64_t c = 0; c < s.c; c += 16) {
                uint64_t k = simd_tail(c, s.c);
                v16 sum = v16_load_as(MLXN_F32, packed + s.terms * row, c, k);
                for (uint64_t e = 0; e < s.terms; e++) {
                    int64_t iz = cv_source(&s, 0, z, e / s.kernel[2] / s.kernel[1]);
                    int64_t iy = cv_source(&s, 1, y, e / s.kernel[2] % s.kernel[1]);
                    int64_t ix = cv_source(&s, 2, ox, e % s.kernel[2]);
                    if (iz < 0 || iy < 0 || ix < 0) continue;
                    int64_t at = (int64_t)n * s.sx[0] + iz * s.sx[1] + iy * s.sx[2] + ix * s.sx[3];
                    const void *from = (const char *)x->data + at * (int64_t)rows_size(x->dtype);
                    sum = v16_fma(rows_load(x->dtype, s.sx[4] == 1, from, s.sx[4], c, k),
                                  v16_load_as(MLXN_F32, packed + e * row, c, k), sum);
                }
                int64_t at =
                    (int64_t)n * s.so[0] + (int64_t)z * s.so[1] + (int64_t)y * s.so[2] + (int64_t)ox * s.so[3];
                rows_store(out->dtype, s.so[4] == 1, (char *)out->data + at * (int64_t)rows_size(out->dtype), s.so[4],
                           c, sum, k);
            }
    }
}
static void run_depthwise(cpu_run *run) { cv_run_depthwise(run, CV_PLAIN); }
static void run_depthwise3(cpu_run *run) { cv_run_depthwise(run, CV_VOLUME); }

extern const cpu_kernel CPU_ISA(cpu_kernels_conv)[];
const cpu_kernel CPU_ISA(cpu_kernels_conv)[] = {
    {MLXN_OP_conv2d, "conv2d_channels_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_depthwise, plan_depthwise,
     run_depthwise},
    {MLXN_OP_conv2d, "conv2d_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_conv, run_conv},
    {MLXN_OP_conv1d, "conv1d_channels_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_depthwise, plan_depthwise,
     run_depthwise},
    {MLXN_OP_conv1d, "conv1d_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_conv, run_conv},
    {MLXN_OP_conv_transpose2d, "conv_transpose2d_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_transposed, run_transposed},
    {MLXN_OP_conv_transpose1d, "conv_transpose1d_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_transposed, run_transposed},
    {MLXN_OP_conv3d, "conv3d_channels_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_depthwise3, plan_depthwise3,
     run_depthwise3},
    {MLXN_OP_conv3d, "conv3d_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_volume, run_volume},
    {0},
};
