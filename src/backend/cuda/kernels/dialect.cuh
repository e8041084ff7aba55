/* dialect.cuh: the words of the shared kernel bodies (src/kernels), in CUDA C++. */
#ifndef MLXN_SRC_CUDA_DIALECT_CUH
#define MLXN_SRC_CUDA_DIALECT_CUH

#include <cuda_fp16.h>

#define K_FN static __device__ __forceinline__
#define K_MEMBER static __device__ __forceinline__
#define K_GLOBAL
#define K_ARGS

typedef unsigned long long k_u64;
typedef long long k_i64;
struct k_f16 {
    unsigned short bits;
};
struct k_bf16 {
    unsigned short bits;
};

K_FN float k_float(float x) { return x; }
K_FN float k_float(k_f16 x) { return __half2float(__ushort_as_half(x.bits)); }
K_FN float k_float(k_bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

/* Rounds to nearest, ties to even; a NaN stays one. */
K_FN void k_store(float *at, float x) { *at = x; }
K_FN void k_store(k_f16 *at, float x) { at->bits = __half_as_ushort(__float2half_rn(x)); }
K_FN void k_store(k_bf16 *at, float x) {
    unsigned bits = __float_as_uint(x);
    unsigned rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    at->bits = (unsigned short)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

#endif
