/* peak.c (CPU kernels): arithmetic that nothing but the arithmetic units limits, which profiles measure kernels
 * against. Chains of multiply-adds that do not depend on each other stay in registers, enough of them to hide the
 * latency of one step. Each function does `rounds` steps of every chain and returns the operations done; a multiply
 * and an addition count as two. */
#include "backend/cpu/kernels/simd.h"

/* An empty instruction that takes and gives a register: no step can be left out, merged with that of another chain or
 * moved past its neighbours, which would need more registers than there are. */
#if CPU_ISA_LEVEL >= 2
#define PIN(x) __asm__ volatile("" : "+v"(x))
#elif defined(__x86_64__)
#define PIN(x) __asm__ volatile("" : "+x"(x))
#elif defined(__aarch64__)
#define PIN(x) __asm__ volatile("" : "+w"(x))
#else
#define PIN(x) __asm__ volatile("" : "+m"(x))
#endif

/* Floats: x = x * a + b. Integers: products of bytes, summed in 16 bits as the matmul kernels of this level do (of
 * 16-bit numbers at the base level, where no byte products exist). */
#if CPU_ISA_LEVEL >= 2
enum { F32_CHAINS = 16, INT_CHAINS = 16 };
typedef __m512 f32_lanes;
typedef __m512i int_lanes;
SIMD_INLINE f32_lanes f32_set(float x) { return _mm512_set1_ps(x); }
SIMD_INLINE f32_lanes f32_step(f32_lanes x, f32_lanes a, f32_lanes b) { return _mm512_fmadd_ps(x, a, b); }
SIMD_INLINE int_lanes int_set(uint16_t x) { return _mm512_set1_epi16((short)x); }
SIMD_INLINE int_lanes int_mul(int_lanes x, int_lanes a) { return _mm512_maddubs_epi16(x, a); }
SIMD_INLINE int_lanes int_add(int_lanes x, int_lanes b) { return _mm512_add_epi16(x, b); }
enum { INT_PRODUCTS = 64 };
#elif CPU_ISA_LEVEL == 1
enum { F32_CHAINS = 12, INT_CHAINS = 12 };
typedef __m256 f32_lanes;
typedef __m256i int_lanes;
SIMD_INLINE f32_lanes f32_set(float x) { return _mm256_set1_ps(x); }
SIMD_INLINE f32_lanes f32_step(f32_lanes x, f32_lanes a, f32_lanes b) { return _mm256_fmadd_ps(x, a, b); }
SIMD_INLINE int_lanes int_set(uint16_t x) { return _mm256_set1_epi16((short)x); }
SIMD_INLINE int_lanes int_mul(int_lanes x, int_lanes a) { return _mm256_maddubs_epi16(x, a); }
SIMD_INLINE int_lanes int_add(int_lanes x, int_lanes b) { return _mm256_add_epi16(x, b); }
enum { INT_PRODUCTS = 32 };
#else
enum { F32_CHAINS = 14, INT_CHAINS = 14 };
typedef v4f f32_lanes;
typedef uint16_t int_lanes __attribute__((vector_size(16)));
SIMD_INLINE f32_lanes f32_set(float x) { return (v4f){x, x, x, x}; }
SIMD_INLINE f32_lanes f32_step(f32_lanes x, f32_lanes a, f32_lanes b) { return x * a + b; }
SIMD_INLINE int_lanes int_set(uint16_t x) { return (int_lanes){x, x, x, x, x, x, x, x}; }
SIMD_INLINE int_lanes int_mul(int_lanes x, int_lanes a) { return x * a; }
SIMD_INLINE int_lanes int_add(int_lanes x, int_lanes b) { return x + b; }
enum { INT_PRODUCTS = 8 };
#endif

/* Start values differ, and none is a fixed point. */
uint64_t CPU_ISA(cpu_peak_f32)(uint64_t rounds);
uint64_t CPU_ISA(cpu_peak_f32)(uint64_t rounds) {
    f32_lanes x[F32_CHAINS];
    const f32_lanes a = f32_set(0.999f), b = f32_set(0.001f);
#pragma GCC unroll 16
    for (int i = 0; i < F32_CHAINS; i++) x[i] = f32_set((float)(i + 2));
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < F32_CHAINS; i++) {
            x[i] = f32_step(x[i], a, b);
            PIN(x[i]);
        }
    }
    return rounds * F32_CHAINS * (sizeof(f32_lanes) / sizeof(float)) * 2;
}

uint64_t CPU_ISA(cpu_peak_int8)(uint64_t rounds);
uint64_t CPU_ISA(cpu_peak_int8)(uint64_t rounds) {
    int_lanes x[INT_CHAINS];
    const int_lanes a = int_set(0x0305), b = int_set(0x0107);
#pragma GCC unroll 16
    for (int i = 0; i < INT_CHAINS; i++) x[i] = int_set((uint16_t)(3 * i + 1));
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < INT_CHAINS; i++) {
            x[i] = int_mul(x[i], a);
            PIN(x[i]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < INT_CHAINS; i++) {
            x[i] = int_add(x[i], b);
            PIN(x[i]);
        }
    }
    return rounds * INT_CHAINS * INT_PRODUCTS * 2;
}

#if CPU_ISA_LEVEL == 2
/* The same with VNNI, which this file is not compiled for: the function says so itself. */
uint64_t cpu_peak_int8_vnni(uint64_t rounds);
__attribute__((target("avx512vnni"))) uint64_t cpu_peak_int8_vnni(uint64_t rounds) {
    __m512i x[INT_CHAINS];
    const __m512i a = _mm512_set1_epi16(0x0305), b = _mm512_set1_epi16(0x0107);
#pragma GCC unroll 16
    for (int i = 0; i < INT_CHAINS; i++) x[i] = _mm512_set1_epi32(i);
    for (uint64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < INT_CHAINS; i++) {
            x[i] = _mm512_dpbusd_epi32(x[i], a, b);
            PIN(x[i]);
        }
    }
    return rounds * INT_CHAINS * INT_PRODUCTS * 2;
}
#endif
