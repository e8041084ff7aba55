/* dialect.cuh: the words of the shared kernel bodies (src/kernels), in CUDA C++. */
#ifndef MLXN_SRC_CUDA_DIALECT_CUH
#define MLXN_SRC_CUDA_DIALECT_CUH

#include <cuda_fp16.h>

/* A kernel takes one struct by value. A test may say otherwise, to run kernels on the host. */
#ifndef K_KERNEL
#define K_KERNEL(name, Args) extern "C" __global__ void name(const __grid_constant__ Args args)
/* Memory that the threads of a block share, as much as the launch says. */
#define K_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

#define K_FN static __device__ __forceinline__
#define K_MEMBER static __device__ __forceinline__
#define K_GLOBAL
#define K_ARGS
#define K_THREAD threadIdx.x
#define K_THREADS blockDim.x

typedef unsigned long long k_u64;
typedef long long k_i64;
struct k_f16 {
    unsigned short bits;
};
struct k_bf16 {
    unsigned short bits;
};

K_FN float k_float_bits(unsigned bits) { return __uint_as_float(bits); }
K_FN float k_infinity() { return __uint_as_float(0x7f800000u); }
K_FN float k_nan() { return __uint_as_float(0x7fc00000u); }
K_FN float k_fma(float a, float b, float c) { return fmaf(a, b, c); }

K_FN float k_float(float x) { return x; }
K_FN float k_float(k_f16 x) { return __half2float(__ushort_as_half(x.bits)); }
K_FN float k_float(k_bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

/* Exact for every dtype. */
K_FN double k_double(float x) { return x; }
K_FN double k_double(k_f16 x) { return k_float(x); }
K_FN double k_double(k_bf16 x) { return k_float(x); }
K_FN double k_double(unsigned char x) { return x; }
K_FN double k_double(unsigned short x) { return x; }
K_FN double k_double(unsigned x) { return x; }
K_FN double k_double(int x) { return x; }

/* Rounds to nearest, ties to even; a NaN stays one. */
K_FN void k_store(float *at, float x) { *at = x; }
K_FN void k_store(k_f16 *at, float x) { at->bits = __half_as_ushort(__float2half_rn(x)); }
K_FN void k_store(k_bf16 *at, float x) {
    unsigned bits = __float_as_uint(x);
    unsigned rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    at->bits = (unsigned short)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

struct k_sum_of {
    template <typename T>
    K_MEMBER T apply(T a, T b) {
        return a + b;
    }
};
struct k_product_of {
    template <typename T>
    K_MEMBER T apply(T a, T b) {
        return a * b;
    }
};
struct k_max_of {
    template <typename T>
    K_MEMBER T apply(T a, T b) {
        return a > b ? a : b;
    }
};
struct k_min_of {
    template <typename T>
    K_MEMBER T apply(T a, T b) {
        return a < b ? a : b;
    }
};

/* Of the lanes of a warp, and of the threads of a block of whole warps; every thread calls and gets it. The order
 * does not depend on anything but the number of threads. */
template <typename Op, typename T>
K_FN T k_warp_all(T x) {
    for (int mask = 16; mask; mask /= 2) x = Op::apply(x, __shfl_xor_sync(0xffffffffu, x, mask));
    return x;
}
template <typename Op, typename T>
K_FN T k_group_all(T x) {
    __shared__ T of_warps[32];
    x = k_warp_all<Op>(x);
    if (blockDim.x <= 32) return x;
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warps[0];
    for (unsigned w = 1; w < blockDim.x / 32; w++) x = Op::apply(x, of_warps[w]);
    __syncthreads();
    return x;
}
K_FN float k_group_sum(float x) { return k_group_all<k_sum_of>(x); }
K_FN double k_group_sum(double x) { return k_group_all<k_sum_of>(x); }
K_FN unsigned k_group_sum(unsigned x) { return k_group_all<k_sum_of>(x); }
K_FN double k_group_product(double x) { return k_group_all<k_product_of>(x); }
K_FN float k_group_max(float x) { return k_group_all<k_max_of>(x); }
K_FN unsigned k_group_min(unsigned x) { return k_group_all<k_min_of>(x); }

#endif
