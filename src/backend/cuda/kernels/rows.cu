/* rows.cu: norm_<dtype> (rms_norm and norm_add), softmax_<dtype>, reduce_<dtype of x>_<dtype of out>, extreme (argmax
 * and argmin). A block has a row at a time; grids may be smaller than the number of rows. */
#include "backend/cuda/kernels/dialect.cuh"
/* The dialect comes before the bodies. */
#include "backend/cuda/kernels/rows_args.h"
#include "kernels/rows.h"

#define NORM_KERNEL(name, T)                                                                      \
    K_KERNEL(name, cuda_rows_args) {                                                              \
        for (k_u64 r = blockIdx.x; r < args.shape.rows; r += gridDim.x)                           \
            k_norm_row<T>(args.shape, (const T *)args.address[0], (const float *)args.address[1], \
                          (const T *)args.address[2], (T *)args.address[3], r);                   \
    }
NORM_KERNEL(norm_f32, float)
NORM_KERNEL(norm_f16, k_f16)
NORM_KERNEL(norm_bf16, k_bf16)

#define SOFTMAX_KERNEL(name, T)                                                                     \
    K_KERNEL(name, cuda_rows_args) {                                                                \
        for (k_u64 r = blockIdx.x; r < args.shape.rows; r += gridDim.x)                             \
            k_softmax_row<T>(args.shape, (const T *)args.address[0], (const void *)args.address[1], \
                             (T *)args.address[3], r);                                              \
    }
SOFTMAX_KERNEL(softmax_f32, float)
SOFTMAX_KERNEL(softmax_f16, k_f16)
SOFTMAX_KERNEL(softmax_bf16, k_bf16)

#define REDUCE_KERNEL(name, T, Out)                                                                    \
    K_KERNEL(name, cuda_rows_args) {                                                                   \
        for (k_u64 r = blockIdx.x; r < args.shape.rows; r += gridDim.x) {                              \
            float value = k_reduce_row<T>(args.shape, (const T *)args.address[0], r);                  \
            if (K_THREAD == 0) k_store((Out *)args.address[3] + k_row_start(args.shape, 3, r), value); \
        }                                                                                              \
    }
REDUCE_KERNEL(reduce_f32_f32, float, float)
REDUCE_KERNEL(reduce_f16_f32, k_f16, float)
REDUCE_KERNEL(reduce_f16_f16, k_f16, k_f16)
REDUCE_KERNEL(reduce_bf16_f32, k_bf16, float)
REDUCE_KERNEL(reduce_bf16_bf16, k_bf16, k_bf16)

K_KERNEL(extreme, cuda_rows_args) {
    for (k_u64 r = blockIdx.x; r < args.shape.rows; r += gridDim.x) {
        unsigned best = k_extreme_row(args.shape, (const float *)args.address[0], r);
        if (K_THREAD == 0) ((unsigned *)args.address[3])[k_row_start(args.shape, 3, r)] = best;
    }
}
