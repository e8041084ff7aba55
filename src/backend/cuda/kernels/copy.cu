/* copy.cu: cast_<from>_<to> for the float types, copy_<bytes of an element>. Grids may be smaller than the work. */
#include "backend/cuda/kernels/dialect.cuh"
/* The dialect comes before the bodies. */
#include "backend/cuda/kernels/copy_args.h"
#include "kernels/copy.h"

#define COPY_KERNEL(name, Fn, From, To)                                                                \
    K_KERNEL(name, cuda_copy_args) {                                                                   \
        k_u64 step = (k_u64)gridDim.x * blockDim.x;                                                    \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.shape.n; i += step)      \
            k_copy<Fn, From, To>(args.shape, (const From *)args.address[0], (To *)args.address[1], i); \
    }

COPY_KERNEL(cast_f32_f32, k_convert, float, float)
COPY_KERNEL(cast_f32_f16, k_convert, float, k_f16)
COPY_KERNEL(cast_f32_bf16, k_convert, float, k_bf16)
COPY_KERNEL(cast_f16_f32, k_convert, k_f16, float)
COPY_KERNEL(cast_f16_f16, k_convert, k_f16, k_f16)
COPY_KERNEL(cast_f16_bf16, k_convert, k_f16, k_bf16)
COPY_KERNEL(cast_bf16_f32, k_convert, k_bf16, float)
COPY_KERNEL(cast_bf16_f16, k_convert, k_bf16, k_f16)
COPY_KERNEL(cast_bf16_bf16, k_convert, k_bf16, k_bf16)
COPY_KERNEL(copy_1, k_move, unsigned char, unsigned char)
COPY_KERNEL(copy_2, k_move, unsigned short, unsigned short)
COPY_KERNEL(copy_4, k_move, unsigned, unsigned)
