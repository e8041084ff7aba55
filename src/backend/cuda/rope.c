/* rope.c: rows of rope, rope_multi and norm_rope: any strides. The frequencies of up to K_ROPE_PAIRS pairs are
 * computed here and travel with the launch. */
#include <math.h>

#include "backend/cuda/device.h"
#include "backend/cuda/kernels/move_args.h"

_Static_assert(sizeof(cuda_rope_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");

static uint64_t turning(const mlxn_view *x, uint32_t rope_dims) { return rope_dims ? rope_dims : x->dims[2]; }

/* base^(-2i/dims), YaRN's mix of it with the scaled one (op_params.h). */
static double frequency(const mlxn_rope_multi_params *p, uint64_t d, uint64_t i) {
    uint64_t n = p->rope_dims ? p->rope_dims : d, index = i, dims = n;
    bool split = p->pairing == MLXN_ROPE_QUARTER || p->axes == MLXN_ROPE_AXES_VISION;
    if (p->pairing == MLXN_ROPE_QUARTER) index = i % (n / 4);
    if (p->axes == MLXN_ROPE_AXES_VISION && i >= p->sections[0]) index = i - p->sections[0];
    if (split) dims = n / 2;
    if (p->freq_dims) dims = p->freq_dims;
    double scale = p->freq_scale == 0 ? 1 : (double)p->freq_scale;
    if (p->ext_factor != 0) {
        double range = fmax(0.001, (double)p->ramp_high - (double)p->ramp_low);
        double along = fmin(1, fmax(0, ((double)i - (double)p->ramp_low) / range));
        double mix = (1 - along) * (double)p->ext_factor;
        scale = scale * (1 - mix) + mix;
    }
    return scale * pow((double)p->base, -2.0 * (double)index / (double)dims);
}

static void plan(const mlxn_view *x, const mlxn_view *w, const mlxn_view *positions, const mlxn_view *factors,
                 const mlxn_view *out, const mlxn_rope_multi_params *p, float eps, const cuda_device *device,
                 cuda_launch *launch) {
    cuda_rope_args *args = (cuda_rope_args *)launch->arguments;
    uint32_t last = positions->rank - 1, pairs = (uint32_t)(turning(x, p->rope_dims) / 2);
    double magnitude = p->attn_factor == 0 ? 1 : (double)p->attn_factor;
    if (p->ext_factor != 0) magnitude *= 1 + 0.1 * log(1 / (p->freq_scale == 0 ? 1 : (double)p->freq_scale));
    *args = (cuda_rope_args){.shape = {.tokens = x->dims[0],
                                       .heads = x->dims[1],
                                       .position = {last ? positions->strides[0] : 0, positions->strides[last]},
                                       .d = (uint32_t)x->dims[2],
                                       .pairs = pairs,
                                       .offset = p->offset,
                                       .pairing = p->pairing,
                                       .axes = p->axes,
                                       .is_signed = positions->dtype == MLXN_I32,
                                       .magnitude = (float)magnitude,
                                       .sign = p->inverse ? -1.0f : 1.0f,
                                       .eps = eps},
                             .x = (uintptr_t)x->data,
                             .positions = (uintptr_t)positions->data,
                             .out = (uintptr_t)out->data};
    k_rope_shape *s = &args->shape;
    for (int k = 0; k < 3; k++) {
        s->strides[0][k] = x->strides[k];
        s->strides[1][k] = out->strides[k];
    }
    for (int k = 0; k < 4; k++) s->sections[k] = p->sections[k];
    for (uint32_t i = 0; i < pairs; i++) s->frequency[i] = frequency(p, x->dims[2], i);
    if (factors->present) {
        args->factors = (uintptr_t)factors->data;
        s->factor = factors->strides[0];
    }
    if (w && w->present) {
        args->weights = (uintptr_t)w->data;
        s->weight = w->strides[0];
    }
    launch->kernel = (enum cuda_kernel_id)(CUDA_KERNEL_rope_f32 + (x->dtype == MLXN_F32   ? 0u
                                                                   : x->dtype == MLXN_F16 ? 1u
                                                                                          : 2u));
    launch->block[0] = s->d <= 64 ? 32 : s->d <= 128 ? 64 : 128;
    launch->grid[0] = (uint32_t)mlxn_min_u64(s->tokens * s->heads, (uint64_t)device->processors * 64);
}

/* rope's parameters in the general form. */
static mlxn_rope_multi_params general(const mlxn_view *x, const mlxn_rope_params *p) {
    mlxn_rope_multi_params g = {
        .pairing = p->pairing, .rope_dims = p->rope_dims, .base = p->base, .freq_scale = p->freq_scale};
    if (p->pairing == MLXN_ROPE_HEAD_HALF) g.freq_dims = (uint32_t)x->dims[2];
    return g;
}

static bool few_pairs(const mlxn_view *x, uint32_t rope_dims) {
    return turning(x, rope_dims) <= 2 * K_ROPE_PAIRS && x->dims[2] <= UINT32_MAX;
}
static bool fits_rope(const mlxn_view *args, const void *params) {
    return few_pairs(&args[0], ((const mlxn_rope_params *)params)->rope_dims);
}
static bool fits_rope_multi(const mlxn_view *args, const void *params) {
    return few_pairs(&args[0], ((const mlxn_rope_multi_params *)params)->rope_dims);
}
static bool fits_norm_rope(const mlxn_view *args, const void *params) {
    return few_pairs(&args[0], ((const mlxn_norm_rope_params *)params)->rope.rope_dims);
}

static void plan_rope(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    mlxn_rope_multi_params g = general(&args[0], params);
    plan(&args[0], NULL, &args[1], &args[2], &args[3], &g, 0, device, out);
}
static void plan_rope_multi(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], NULL, &args[1], &args[2], &args[3], params, 0, device, out);
}
static void plan_norm_rope(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const mlxn_norm_rope_params *p = params;
    mlxn_rope_multi_params g = general(&args[0], &p->rope);
    plan(&args[0], &args[1], &args[2], &args[3], &args[4], &g, p->eps, device, out);
}

const mlxn_kernel_row cuda_rope_rows[] = {
    CUDA_ROW(rope, "rope", fits_rope, plan_rope),
    CUDA_ROW(rope_multi, "rope", fits_rope_multi, plan_rope_multi),
    CUDA_ROW(norm_rope, "rope", fits_norm_rope, plan_norm_rope),
    {.name = NULL},
};
