/* binary_math.h: power, remainder and atan2 of blocks of sixteen. Power and remainder need more than f32 on the way
 * and are computed in doubles. Arguments that the formulas do not serve (zeros,
 * subnormal, infinite and undefined numbers, far quotients) are seen by a test over the whole block, which then goes
 * to the C library. The polynomials are least-squares fits as in simd_math.h. */
#ifndef MLXN_SRC_CPU_BINARY_MATH_H
#define MLXN_SRC_CPU_BINARY_MATH_H

#include "backend/cpu/kernels/simd_math.h"

enum { BINARY_BLOCK = 16, BINARY_HALF = 8 };

/* The compiler's own vectors, which it cuts into what the level has. */
typedef double binary_doubles __attribute__((vector_size(8 * BINARY_HALF)));
typedef int64_t binary_longs __attribute__((vector_size(8 * BINARY_HALF)));

/* Loops, because compilers make better code of them than of their vectors' conversions. */
SIMD_INLINE void binary_widen(binary_doubles *to, const float *from) {
    double t[BINARY_HALF];
    for (int i = 0; i < BINARY_HALF; i++) t[i] = (double)from[i];
    memcpy(to, t, sizeof t);
}
SIMD_INLINE void binary_narrow(float *to, const binary_doubles *from) {
    double t[BINARY_HALF];
    memcpy(t, from, sizeof t);
    for (int i = 0; i < BINARY_HALF; i++) to[i] = (float)t[i];
}

/* p = p * x + c */
SIMD_INLINE void binary_horner(binary_doubles *p, const binary_doubles *x, double c) {
#if CPU_ISA_LEVEL >= 2
    *p = (binary_doubles)_mm512_fmadd_pd((__m512d)*p, (__m512d)*x, _mm512_set1_pd(c));
#else
    *p = *p * *x + c;
#endif
}

/* Adding and taking off 1.5 * 2^52 rounds a double below 2^51 to a whole number, which is in the low bits of the
 * sum. */
static const double binary_magic = 6755399441055744.0;

/* Whether any lane is not a number from `least` up to below `most`. */
SIMD_INLINE bool binary_outside(v16 x, v16 least, v16 most) {
    const v16 zero = v16_zero(), one = v16_set1(1.0f);
    return v16_any_gt(v16_pick_gt(most, x, v16_pick_gt(least, x, one, zero), one), zero);
}

/* |a|^b = 2^(b log2 |a|); log2 of m = |a| 2^-e within sqrt(1/2) and sqrt(2) in s = (m - 1) / (m + 1), good to 1e-11;
 * 2^r in r, to 4e-9. A negative number has whole powers alone, and odd ones change the sign. */
SIMD_INLINE void binary_pow_half(float *out, const float *a, const float *b) {
    float mantissas[BINARY_HALF], exponents[BINARY_HALF];
    for (int i = 0; i < BINARY_HALF; i++) {
        int32_t bits;
        memcpy(&bits, &a[i], 4);
        const int32_t u = (bits & 0x7fffffff) - 0x3f3504f3, m_bits = (u & 0x7fffff) + 0x3f3504f3;
        memcpy(&mantissas[i], &m_bits, 4);
        exponents[i] = (float)(u >> 23);
    }
    binary_doubles m, e, base, power;
    binary_widen(&m, mantissas);
    binary_widen(&e, exponents);
    binary_widen(&base, a);
    binary_widen(&power, b);
    const binary_doubles s = (m - 1) / (m + 1), z = s * s;
    static const double logarithm[] = {0.34074012089214106, 0.4116721266941268, 0.577083595913933, 0.9617966732770219,
                                       2.885390081790148};
    static const double exponential[] = {0.0001546973046506185,
                                         0.0013390866855715958,
                                         0.009618030785343592,
                                         0.0555035710549214,
                                         0.24022651084123198,
                                         0.6931471880289543,
                                         1};
    const binary_doubles nothing = {0, 0, 0, 0, 0, 0, 0, 0};
    binary_doubles p = nothing + logarithm[0];
#pragma GCC unroll 4
    for (int i = 1; i < 5; i++) binary_horner(&p, &z, logarithm[i]);
    binary_doubles t = power * (e + s * p);
    const binary_doubles most = {200, 200, 200, 200, 200, 200, 200, 200};
    binary_longs over = (binary_longs)(t > most), under = (binary_longs)(t < -most);
    t = (binary_doubles)(((binary_longs)most & over) | ((binary_longs)-most & under) |
                         ((binary_longs)t & ~(over | under)));
    const binary_doubles n = t + binary_magic, r = t - (n - binary_magic);
    p = nothing + exponential[0];
#pragma GCC unroll 6
    for (int i = 1; i < 7; i++) binary_horner(&p, &r, exponential[i]);
    p *= (binary_doubles)(((binary_longs)n + 1023) << 52);
    const binary_doubles half = power * 0.5;
    const binary_longs negative = (binary_longs)(base < 0);
    const binary_longs part = (binary_longs)((power + binary_magic) - binary_magic != power);
    const binary_longs odd = (binary_longs)((half + binary_magic) - binary_magic != half);
    p = (binary_doubles)(((binary_longs)p ^ (negative & odd & INT64_MIN)) | (negative & part & 0x7ff8000000000000));
    binary_narrow(out, &p);
}
SIMD_INLINE void binary_pow(float *out, const float *a, const float *b) {
    const v16 zero = v16_zero(), infinity = v16_set1(INFINITY);
    if (binary_outside(v16_abs(v16_load(a)), v16_set1(FLT_MIN), infinity) ||
        binary_outside(v16_abs(v16_load(b)), zero, v16_set1(1e9f))) {
        for (int i = 0; i < BINARY_BLOCK; i++) out[i] = a[i] != a[i] ? a[i] : b[i] != b[i] ? b[i] : powf(a[i], b[i]);
        return;
    }
    for (int i = 0; i < BINARY_BLOCK; i += BINARY_HALF) binary_pow_half(out + i, a + i, b + i);
}

/* a - b floor(a / b). Below 2^28 the quotient's floor is right in double (a whole number is never missed by rounding:
 * the next quotient of floats is 2^-24 of it away), its product with b is exact, and so is the difference. */
SIMD_INLINE void binary_remainder_half(float *out, const float *a, const float *b) {
    const binary_doubles one = {1, 1, 1, 1, 1, 1, 1, 1};
    binary_doubles x, y;
    binary_widen(&x, a);
    binary_widen(&y, b);
    const binary_doubles q = x / y;
    const binary_doubles n = (q + binary_magic) - binary_magic;
    const binary_doubles whole = n - (binary_doubles)((binary_longs)one & (binary_longs)(n > q));
    x -= whole * y;
    binary_narrow(out, &x);
}
SIMD_INLINE void binary_remainder(float *out, const float *a, const float *b) {
    const v16 y = v16_abs(v16_load(b));
    if (binary_outside(y, v16_set1(FLT_MIN), v16_set1(INFINITY)) ||
        binary_outside(v16_abs(v16_load(a)), v16_zero(), v16_mul(y, v16_set1(0x1p28f)))) {
        for (int i = 0; i < BINARY_BLOCK; i++) {
            const float r = fmodf(a[i], b[i]);
            out[i] = r != 0 && (r < 0) != (b[i] < 0) ? r + b[i] : r;
        }
        return;
    }
    for (int i = 0; i < BINARY_BLOCK; i += BINARY_HALF) binary_remainder_half(out + i, a + i, b + i);
}

/* The smaller over the larger of |y| and |x|, above tan(pi/8) turned back by pi/4: atan(u) = u + u^3 P(u^2); then by
 * octant. To some 2e-7 relative. */
SIMD_INLINE void binary_atan2(float *restrict out, const float *restrict ys, const float *restrict xs) {
    static const float c[] = {-0.33333315504616967f, 0.19998489404687111f, -0.142438482191773f, 0.10595998132995565f,
                              -0.060834454521526256f};
    const v16 y = v16_load(ys), x = v16_load(xs), ay = v16_abs(y), ax = v16_abs(x);
    const v16 large = v16_max(ay, ax), small = v16_min(ay, ax), zero = v16_zero();
    /* NaN is picked as the larger, so that it shows */
    const v16 seen = v16_pick_nan(y, v16_pick_nan(x, large));
    if (binary_outside(seen, v16_set1(0x1p-100f), v16_set1(0x1p100f))) {
        for (int i = 0; i < BINARY_BLOCK; i++) out[i] = atan2f(ys[i], xs[i]);
        return;
    }
    const v16 edge = v16_mul(large, v16_set1(0.41421356f));
    const v16 top = v16_pick_gt(small, edge, v16_sub(small, large), small);
    const v16 bottom = v16_pick_gt(small, edge, v16_add(small, large), large);
    const v16 u = v16_div(top, bottom), z = v16_mul(u, u);
    v16 r = v16_fma(v16_mul(v16_poly(z, c, 5), z), u, u);
    r = v16_add(v16_pick_gt(small, edge, v16_set1(0.78539816339744831f), zero), r);
    r = v16_pick_gt(ay, ax, v16_sub(v16_set1(1.57079632679489662f), r), r);
    r = v16_pick_gt(zero, x, v16_sub(v16_set1(3.14159265358979324f), r), r);
    v16_store(out, v16_copysign(v16_abs(r), y));
}

#endif
