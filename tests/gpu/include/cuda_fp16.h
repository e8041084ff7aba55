/* cuda_fp16.h: the binary16 of the toolkit's header of this name, as far as the kernels use it, by arithmetic on its
 * bits. */
#ifndef MLXN_TESTS_GPU_CUDA_FP16_H
#define MLXN_TESTS_GPU_CUDA_FP16_H

struct __half {
    unsigned short bits;
};
static inline __half __ushort_as_half(unsigned short bits) { return __half{bits}; }
static inline unsigned short __half_as_ushort(__half x) { return x.bits; }

static inline float __half2float(__half x) {
    unsigned exponent = x.bits >> 10 & 31, mantissa = x.bits & 1023u;
    float sign = x.bits & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
    return sign *
           (exponent ? std::ldexp((float)(1024 + mantissa), (int)exponent - 25) : std::ldexp((float)mantissa, -24));
}

/* To nearest, ties to even. */
static inline __half __float2half_rn(float x) {
    unsigned short sign = std::signbit(x) ? 0x8000 : 0;
    float a = std::fabs(x);
    if (x != x) return __half{0x7fff};
    if (a >= 65520.0f) return __half{(unsigned short)(sign | 0x7c00)};
    if (a < 0x1p-14f) return __half{(unsigned short)(sign | (unsigned)std::nearbyint(a * 0x1p24f))};
    int exponent;
    float mantissa = std::frexp(a, &exponent);                   /* 0.5 <= mantissa < 1 */
    unsigned scaled = (unsigned)std::nearbyint(mantissa * 2048); /* 1024 to 2048 */
    return __half{(unsigned short)(sign | (((unsigned)(exponent + 14) << 10) + scaled - 1024))};
}

#endif
