/* move.cu: gather_<bytes of an element>, embedding, kv_write (a block has a token at a time; plane y of the grid: k,
 * v), rope_<dtype> (a block has a head at a time). Grids may be smaller than the work. */
#include "backend/cuda/kernels/dialect.cuh"
/* The dialect comes before the bodies. */
#include "backend/cuda/kernels/move_args.h"
#include "kernels/move.h"
#include "kernels/rope.h"

#define GATHER_KERNEL(name, T)                                                                          \
    K_KERNEL(name, cuda_gather_args) {                                                                  \
        k_u64 step = (k_u64)gridDim.x * blockDim.x, n = args.shape.n * args.shape.d;                    \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)                  \
            k_gather<T>(args.shape, (const T *)args.x, (const unsigned *)args.index, (T *)args.out, i); \
    }
GATHER_KERNEL(gather_2, unsigned short)
GATHER_KERNEL(gather_4, unsigned)

K_KERNEL(embedding, cuda_embedding_args) {
    k_u64 step = (k_u64)gridDim.x * blockDim.x, units = (args.shape.table.cols + K_UNIT - 1) / K_UNIT;
    for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.shape.tokens * units; i += step)
        k_embed(args.shape, (const unsigned *)args.ids, (float *)args.out, i);
}

K_KERNEL(kv_write, cuda_kv_write_args) {
    const k_kv_write_shape &s = args.shape[blockIdx.y];
    for (k_u64 t = blockIdx.x; t < s.tokens; t += gridDim.x)
        k_kv_write(s, (const void *)args.x[blockIdx.y], (const unsigned *)args.sequences,
                   (const unsigned *)args.positions, (void *)args.cache[blockIdx.y], t);
}

#define ROPE_KERNEL(name, T)                                                                            \
    K_KERNEL(name, cuda_rope_args) {                                                                    \
        for (k_u64 r = blockIdx.x; r < args.shape.tokens * args.shape.heads; r += gridDim.x)            \
            k_rope_head<T>(args.shape, (const T *)args.x, (const unsigned *)args.positions,             \
                           (const float *)args.factors, (const float *)args.weights, (T *)args.out, r); \
    }
ROPE_KERNEL(rope_f32, float)
ROPE_KERNEL(rope_f16, k_f16)
ROPE_KERNEL(rope_bf16, k_bf16)
