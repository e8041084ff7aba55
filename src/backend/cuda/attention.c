/* attention.c: rows of attention over plain caches: any strides, masks, windows, sinks, grouped heads. */
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/attention_args.h"

_Static_assert(sizeof(cuda_attention_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");

enum { Q, K_CACHE, V_CACHE, SEQUENCES, POSITIONS, SINKS, MASK, OUT };

static bool fits(const mlxn_view *args, const void *params) {
    const mlxn_attention_params *p = params;
    return p->k_type <= MLXN_KV_BF16 && p->v_type <= MLXN_KV_BF16 && args[Q].dims[2] <= CUDA_ATTENTION_QUERY &&
           args[OUT].dims[2] <= CUDA_ATTENTION_VALUES && args[Q].dims[0] * args[Q].dims[1] < 1u << 31;
}

/* Rows of a cache are whole packs at multiples of 16 bytes. */
static bool is_packed(const mlxn_view *cache) {
    int64_t n = 16 / (int64_t)mlxn_dtype_size(cache->dtype);
    bool packed = cache->strides[3] == 1 && (int64_t)cache->dims[3] % n == 0 && (uintptr_t)cache->data % 16 == 0;
    for (int i = 0; i < 3; i++) packed = packed && cache->strides[i] % n == 0;
    return packed;
}

static void plan(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const mlxn_attention_params *p = params;
    const mlxn_view *q = &args[Q], *k = &args[K_CACHE], *v = &args[V_CACHE], *mask = &args[MASK];
    cuda_attention_args *own = (cuda_attention_args *)out->arguments;
    *own = (cuda_attention_args){.q = (uintptr_t)q->data,
                                 .k = (uintptr_t)k->data,
                                 .v = (uintptr_t)v->data,
                                 .sequences = (uintptr_t)args[SEQUENCES].data,
                                 .positions = (uintptr_t)args[POSITIONS].data,
                                 .out = (uintptr_t)args[OUT].data,
                                 .sequence = args[SEQUENCES].strides[0],
                                 .position = args[POSITIONS].strides[0],
                                 .n_sequences = k->dims[0],
                                 .slots = k->dims[2],
                                 .heads = (unsigned)q->dims[1],
                                 .group = (unsigned)(q->dims[1] / k->dims[1]),
                                 .dk = (unsigned)q->dims[2],
                                 .dv = (unsigned)args[OUT].dims[2],
                                 .q_type = q->dtype,
                                 .k_type = k->dtype,
                                 .v_type = v->dtype,
                                 .visible = p->visible,
                                 .window = p->window,
                                 .k_packed = is_packed(k),
                                 .scale = p->scale,
                                 .softcap = p->softcap,
                                 .alibi_max_bias = p->alibi_max_bias};
    for (int i = 0; i < 3; i++) {
        own->qs[i] = q->strides[i];
        own->os[i] = args[OUT].strides[i];
    }
    for (int i = 0; i < 4; i++) {
        own->ks[i] = k->strides[i];
        own->vs[i] = v->strides[i];
    }
    if (args[SINKS].present) {
        own->sinks = (uintptr_t)args[SINKS].data;
        own->sink = args[SINKS].strides[0];
    }
    if (mask->present) {
        own->mask = (uintptr_t)mask->data;
        own->mask_type = mask->dtype;
        own->ms[0] = mask->strides[0];
        own->ms[1] = mask->rank == 3 ? mask->strides[1] : 0;
        own->ms[2] = mask->strides[mask->rank - 1];
    }
    own->dv_threads = 1;
    while (own->dv_threads < own->dv && own->dv_threads < CUDA_ATTENTION_BLOCK) own->dv_threads *= 2;
    bool same = k->dtype == v->dtype;
    if (!same) own->k_packed = 0;
    out->kernel = !same                  ? CUDA_KERNEL_attention_any
                  : k->dtype == MLXN_F32 ? CUDA_KERNEL_attention_f32
                  : k->dtype == MLXN_F16 ? CUDA_KERNEL_attention_f16
                                         : CUDA_KERNEL_attention_bf16;
    out->block[0] = CUDA_ATTENTION_BLOCK;
    out->grid[0] = (uint32_t)(q->dims[0] * q->dims[1]);
}

const mlxn_kernel_row cuda_attention_rows[] = {
    CUDA_ROW(attention, "row", fits, plan),
    {.name = NULL},
};
