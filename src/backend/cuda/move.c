/* move.c: rows of gather, embedding and kv_write into plain caches: any strides. */
#include "backend/cuda/kernels/move_args.h"
#include "backend/cuda/weight.h"

_Static_assert(sizeof(cuda_gather_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");
_Static_assert(sizeof(cuda_embedding_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");
_Static_assert(sizeof(cuda_kv_write_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");
_Static_assert(MLXN_F32 == 0 && MLXN_F16 == 1 && MLXN_BF16 == 2, "types as bodies of kernels count them");

static void plan_gather(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    cuda_gather_args *own = (cuda_gather_args *)out->arguments;
    *own = (cuda_gather_args){.shape = {.rows = args[0].dims[0],
                                        .n = args[2].dims[0],
                                        .d = args[2].dims[1],
                                        .x = {args[0].strides[0], args[0].strides[1]},
                                        .index = args[1].strides[0],
                                        .out = {args[2].strides[0], args[2].strides[1]}},
                              .x = (uintptr_t)args[0].data,
                              .index = (uintptr_t)args[1].data,
                              .out = (uintptr_t)args[2].data};
    out->kernel = mlxn_dtype_size(args[0].dtype) == 2 ? CUDA_KERNEL_gather_2 : CUDA_KERNEL_gather_4;
    cuda_launch_threads(out, own->shape.n * own->shape.d, device);
}

static void plan_embedding(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    float scale = ((const mlxn_embedding_params *)params)->scale;
    cuda_embedding_args *own = (cuda_embedding_args *)out->arguments;
    *own = (cuda_embedding_args){.shape = {.table = *cuda_weight_shape(&args[1]),
                                           .tokens = args[0].dims[0],
                                           .ids = args[0].strides[0],
                                           .out = {args[2].strides[0], args[2].strides[1]},
                                           .scale = scale == 0 ? 1 : scale},
                                 .ids = (uintptr_t)args[0].data,
                                 .out = (uintptr_t)args[2].data};
    out->kernel = CUDA_KERNEL_embedding;
    cuda_launch_threads(out, own->shape.tokens * ((own->shape.table.cols + 31) / 32), device);
}

static bool fits_kv_write(const mlxn_view *args, const void *params) {
    const mlxn_kv_write_params *p = params;
    return p->k_type <= MLXN_KV_BF16 && p->v_type <= MLXN_KV_BF16;
}

static void plan_kv_write(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    cuda_kv_write_args *own = (cuda_kv_write_args *)out->arguments;
    *own = (cuda_kv_write_args){.sequences = (uintptr_t)args[2].data, .positions = (uintptr_t)args[3].data};
    for (int i = 0; i < 2; i++) {
        const mlxn_view *x = &args[i], *cache = &args[4 + i];
        k_kv_write_shape *s = &own->shape[i];
        *s = (k_kv_write_shape){.tokens = x->dims[0],
                                .heads = x->dims[1],
                                .d = x->dims[2],
                                .sequences = cache->dims[0],
                                .slots = cache->dims[2],
                                .sequence = args[2].strides[0],
                                .position = args[3].strides[0],
                                .x_type = x->dtype,
                                .cache_type = cache->dtype};
        for (int k = 0; k < 3; k++) s->x[k] = x->strides[k];
        for (int k = 0; k < 4; k++) s->cache[k] = cache->strides[k];
        own->x[i] = (uintptr_t)x->data;
        own->cache[i] = (uintptr_t)cache->data;
    }
    out->kernel = CUDA_KERNEL_kv_write;
    out->block[0] = CUDA_BLOCK;
    out->grid[0] = (uint32_t)mlxn_min_u64(args[0].dims[0], (uint64_t)device->processors * 32);
    out->grid[1] = 2;
}

const mlxn_kernel_row cuda_move_rows[] = {
    CUDA_ROW(gather, "gather", NULL, plan_gather),
    CUDA_ROW(embedding, "embedding", NULL, plan_embedding),
    CUDA_ROW(kv_write, "plain", fits_kv_write, plan_kv_write),
    {.name = NULL},
};
