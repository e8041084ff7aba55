/* map.cu: functions of one and two numbers: map_<family>_<dtype>, and with _packed for operands that lie close
 * together at multiples of 16 bytes; compare_<dtype>; where_<bytes of an element>. Grids may be smaller than the
 * work. */
#include "backend/cuda/kernels/dialect.cuh"
/* The dialect comes before the bodies. */
#include "backend/cuda/kernels/map_args.h"
#include "kernels/functions.h"

#define MAP_KERNEL(name, T, Fn)                                                                      \
    K_KERNEL(name, cuda_map_args) {                                                                  \
        k_u64 step = (k_u64)gridDim.x * blockDim.x;                                                  \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.shape.n; i += step)    \
            k_map_strided<T, Fn>(args.shape, (const T *)args.address[0], (const T *)args.address[1], \
                                 (T *)args.address[2], i);                                           \
    }                                                                                                \
    K_KERNEL(name##_packed, cuda_map_args) {                                                         \
        constexpr unsigned n = 16 / sizeof(T);                                                       \
        k_u64 step = (k_u64)gridDim.x * blockDim.x, packs = (args.shape.n + n - 1) / n;              \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += step)           \
            k_map_packed<T, Fn>(args.shape, (const T *)args.address[0], (const T *)args.address[1],  \
                                (T *)args.address[2], i);                                            \
    }
#define MAP_KERNELS(name, Fn)         \
    MAP_KERNEL(name##_f32, float, Fn) \
    MAP_KERNEL(name##_f16, k_f16, Fn) \
    MAP_KERNEL(name##_bf16, k_bf16, Fn)

MAP_KERNELS(map_unary, k_map_unary)
MAP_KERNELS(map_binary, k_map_binary)
MAP_KERNELS(map_glu, k_map_glu)
MAP_KERNELS(map_slope, k_map_slope)

#define COMPARE_KERNEL(name, T)                                                                   \
    K_KERNEL(name, cuda_map_args) {                                                               \
        k_u64 step = (k_u64)gridDim.x * blockDim.x;                                               \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.shape.n; i += step) \
            k_map_compare<T>(args.shape, (const T *)args.address[0], (const T *)args.address[1],  \
                             (unsigned char *)args.address[2], i);                                \
    }
COMPARE_KERNEL(compare_f32, float)
COMPARE_KERNEL(compare_f16, k_f16)
COMPARE_KERNEL(compare_bf16, k_bf16)
COMPARE_KERNEL(compare_u8, unsigned char)
COMPARE_KERNEL(compare_u16, unsigned short)
COMPARE_KERNEL(compare_u32, unsigned)
COMPARE_KERNEL(compare_i32, int)

#define WHERE_KERNEL(name, T)                                                                                        \
    K_KERNEL(name, cuda_map_args) {                                                                                  \
        k_u64 step = (k_u64)gridDim.x * blockDim.x;                                                                  \
        for (k_u64 i = (k_u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.shape.n; i += step)                    \
            k_map_where<T>(args.shape, (const T *)args.address[0], (const T *)args.address[1], (T *)args.address[2], \
                           (const unsigned char *)args.address[3], i);                                               \
    }
WHERE_KERNEL(where_1, unsigned char)
WHERE_KERNEL(where_2, unsigned short)
WHERE_KERNEL(where_4, unsigned)
