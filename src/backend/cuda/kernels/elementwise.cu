/* elementwise.cu: elementwise_add, elementwise_mul, scalar_mul; names end in the dtype and, for operands that lie
 * close together at multiples of 16 bytes, in _packed. Grids may be smaller than the work. */
#include "backend/cuda/kernels/dialect.cuh"
#include "backend/cuda/kernels/elementwise_args.h"
#include "kernels/elementwise.h"

#define KERNEL(name, T, Op)                                                                                  \
    K_KERNEL(name, cuda_elementwise_args) {                                                                  \
        k_u64 step = (k_u64)gridDim.x * blockDim.x;                                                          \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.shape.n; i += step)            \
            k_elementwise_strided<T, Op>(args.shape, (const T *)args.address[0], (const T *)args.address[1], \
                                         (T *)args.address[2], i);                                           \
    }                                                                                                        \
    K_KERNEL(name##_packed, cuda_elementwise_args) {                                                         \
        constexpr unsigned n = 16 / sizeof(T);                                                               \
        k_u64 step = (k_u64)gridDim.x * blockDim.x, packs = (args.shape.n + n - 1) / n;                      \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += step)                   \
            k_elementwise_packed<T, Op>(args.shape, (const T *)args.address[0], (const T *)args.address[1],  \
                                        (T *)args.address[2], i);                                            \
    }
#define KERNELS(name, Op)         \
    KERNEL(name##_f32, float, Op) \
    KERNEL(name##_f16, k_f16, Op) \
    KERNEL(name##_bf16, k_bf16, Op)

KERNELS(elementwise_add, k_add)
KERNELS(elementwise_mul, k_mul)
KERNELS(scalar_mul, k_scale)
