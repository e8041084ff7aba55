/* binary_math.h: power, remainder and atan2 of blocks of sixteen. Power and remainder need more than f32 on the way:
 * plain loops over doubles, which the compiler turns into vectors. Arguments that the formulas do not serve (zeros,
 * subnormal, infinite and undefined numbers, far quotients) are seen by a test over the whole block, which then goes
 * to the C library. The polynomials are least-squares fits as in simd_math.h. */
#ifndef MLXN_SRC_CPU_BINARY_MATH_H
#define MLXN_SRC_CPU_BINARY_MATH_H

#include "backend/cpu/kernels/simd_math.h"

enum { BINARY_BLOCK = 16 };

/* Adding and taking off 1.5 * 2^52 rounds a double below 2^51 to a whole number, which is in the low bits of the
 * sum. */
static const double binary_magic = 6755399441055744.0;

SIMD_INLINE float binary_pow_one(float a, float b) { return a != a ? a : b != b ? b : powf(a, b); }

/* |a|^b = 2^(b log2 |a|); log2 of m = |a| 2^-e within sqrt(1/2) and sqrt(2) in s = (m - 1) / (m + 1), good to 1e-11;
 * 2^r in r, to 4e-9. */
SIMD_INLINE void binary_pow(float *restrict out, const float *restrict a, const float *restrict b) {
    uint32_t odd = 0;
    for (int i = 0; i < BINARY_BLOCK; i++) {
        float x = fabsf(a[i]), y = fabsf(b[i]);
        odd |= !((x >= FLT_MIN) & (x <= FLT_MAX) & (y <= 1e9f));
    }
    if (odd) {
        for (int i = 0; i < BINARY_BLOCK; i++) out[i] = binary_pow_one(a[i], b[i]);
        return;
    }
    double power[BINARY_BLOCK];
    for (int i = 0; i < BINARY_BLOCK; i++) {
        int32_t bits;
        memcpy(&bits, &a[i], 4);
        const int32_t u = (bits & 0x7fffffff) - 0x3f3504f3, m_bits = (u & 0x7fffff) + 0x3f3504f3;
        float mf;
        memcpy(&mf, &m_bits, 4);
        const double m = (double)mf, s = (m - 1) / (m + 1), z = s * s;
        double p = 0.4116721266941268 + z * 0.34074012089214106;
        p = 2.885390081790148 + z * (0.9617966732770219 + z * (0.577083595913933 + z * p));
        power[i] = (double)b[i] * ((double)(u >> 23) + s * p);
    }
    for (int i = 0; i < BINARY_BLOCK; i++) {
        double t = power[i];
        t = t > 200 ? 200 : t < -200 ? -200 : t;
        const double n = t + binary_magic, r = t - (n - binary_magic);
        double p = 0.0013390866855715958 + r * 0.0001546973046506185;
        p = 0.0555035710549214 + r * (0.009618030785343592 + r * p);
        p = 1 + r * (0.6931471880289543 + r * (0.24022651084123198 + r * p));
        uint64_t bits;
        memcpy(&bits, &n, 8);
        bits = (bits + 1023) << 52;
        double scale;
        memcpy(&scale, &bits, 8);
        power[i] = p * scale;
    }
    /* a negative number: to whole powers alone, odd ones change the sign */
    for (int i = 0; i < BINARY_BLOCK; i++) {
        const double y = (double)b[i], h = y * 0.5;
        const bool whole = (y + binary_magic) - binary_magic == y, even = (h + binary_magic) - binary_magic == h;
        const float r = (float)power[i];
        out[i] = a[i] > 0 ? r : !whole ? NAN : even ? r : -r;
    }
}

SIMD_INLINE float binary_remainder_one(float a, float b) {
    const float r = fmodf(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* a - b floor(a / b). Below 2^28 the quotient's floor is right in double (a whole number is never missed by rounding:
 * the next quotient of floats is 2^-24 of it away), its product with b is exact, and so is the difference. */
SIMD_INLINE void binary_remainder(float *restrict out, const float *restrict a, const float *restrict b) {
    uint32_t odd = 0;
    for (int i = 0; i < BINARY_BLOCK; i++) {
        const float x = fabsf(a[i]), y = fabsf(b[i]);
        odd |= !((y >= FLT_MIN) & (y <= FLT_MAX) & ((double)x < (double)y * 0x1p28));
    }
    if (odd) {
        for (int i = 0; i < BINARY_BLOCK; i++) out[i] = binary_remainder_one(a[i], b[i]);
        return;
    }
    for (int i = 0; i < BINARY_BLOCK; i++) {
        const double x = (double)a[i], y = (double)b[i], q = x / y;
        const double n = (q + binary_magic) - binary_magic, whole = n > q ? n - 1 : n;
        out[i] = (float)(x - whole * y);
    }
}

/* The smaller over the larger of |y| and |x|, above tan(pi/8) turned back by pi/4: atan(u) = u + u^3 P(u^2); then by
 * octant. To some 2e-7 relative. */
SIMD_INLINE void binary_atan2(float *restrict out, const float *restrict ys, const float *restrict xs) {
    static const float c[] = {-0.33333315504616967f, 0.19998489404687111f, -0.142438482191773f, 0.10595998132995565f,
                              -0.060834454521526256f};
    const v16 y = v16_load(ys), x = v16_load(xs), ay = v16_abs(y), ax = v16_abs(x);
    const v16 large = v16_max(ay, ax), small = v16_min(ay, ax), zero = v16_zero();
    const v16 most = v16_set1(0x1p100f), least = v16_set1(0x1p-100f);
    /* NaN is picked as the larger, so that it shows */
    const v16 seen = v16_pick_nan(y, v16_pick_nan(x, large)), bad = v16_set1(1.0f);
    const v16 outside = v16_pick_gt(most, seen, v16_pick_gt(seen, least, zero, bad), bad);
    if (v16_any_gt(outside, zero)) {
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
