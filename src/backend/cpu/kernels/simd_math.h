/* simd_math.h: functions of sixteen floats beyond those of simd.h: logarithms, expm1, sine and cosine, the error
 * function, rounding to whole numbers. The polynomials are least-squares fits, reweighted towards equal error, of the
 * quotients that their comments name. */
#ifndef MLXN_SRC_CPU_SIMD_MATH_H
#define MLXN_SRC_CPU_SIMD_MATH_H

#include "backend/cpu/kernels/simd.h"

/* c[0] + c[1] x + … + c[n-1] x^(n-1) */
SIMD_INLINE v16 v16_poly(v16 x, const float *c, int n) {
    v16 p = v16_set1(c[n - 1]);
#pragma GCC unroll 12
    for (int i = n - 2; i >= 0; i--) p = v16_fma(p, x, v16_set1(c[i]));
    return p;
}

SIMD_INLINE v16 v16_neg(v16 x) { return v16_sub(v16_set1(-0.0f), x); }

/* To the nearest whole number, halves to even; floor, ceiling, truncation. The sign of zero is kept. */
SIMD_INLINE v16 v16_whole(v16 x) {
    v16 big = v16_set1(8388608.0f), r = v16_sub(v16_add(v16_abs(x), big), big);
    return v16_where_small(x, 8388608.0f, v16_copysign(r, x), x);
}
SIMD_INLINE v16 v16_floor(v16 x) {
    v16 r = v16_whole(x);
    r = v16_sub(r, v16_pick_gt(r, x, v16_set1(1.0f), v16_zero()));
    return v16_pick_nan(x, v16_copysign(v16_abs(r), x));
}
SIMD_INLINE v16 v16_ceil(v16 x) { return v16_neg(v16_floor(v16_neg(x))); }
SIMD_INLINE v16 v16_trunc(v16 x) { return v16_copysign(v16_floor(v16_abs(x)), x); }

/* x = (1 + f) 2^e with 1 + f between sqrt(1/2) and sqrt(2). What v16_log_special does not do is done here: with
 * AVX-512 the instructions know all numbers (e of 0 is -infinity, f of a negative number NaN). */
#if CPU_ISA_LEVEL >= 2
SIMD_INLINE v16 v16_log_parts(v16 x, v16 *e) {
    v16 m = _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_nan), one = v16_set1(1.0f);
    __mmask16 upper = _mm512_cmp_ps_mask(m, v16_set1(1.41421356f), _CMP_GT_OQ);
    *e = _mm512_getexp_ps(x);
    *e = _mm512_mask_add_ps(*e, upper, *e, one);
    return v16_sub(_mm512_mask_mul_ps(m, upper, m, v16_set1(0.5f)), one);
}
SIMD_INLINE v16 v16_log_special(v16 x, v16 y) { return y; }
#else
SIMD_INLINE v16 v16_log_parts(v16 x, v16 *e) {
    v16 tiny = v16_set1(FLT_MIN);
    v16 scaled = v16_pick_gt(tiny, x, v16_mul(x, v16_set1(8388608.0f)), x); /* subnormal numbers */
    v16 f = v16_sub(v16_split(scaled, e), v16_set1(1.0f));
    *e = v16_sub(*e, v16_pick_gt(tiny, x, v16_set1(23.0f), v16_zero()));
    return f;
}
SIMD_INLINE v16 v16_log_special(v16 x, v16 y) {
    v16 zero = v16_zero();
    y = v16_pick_gt(x, v16_set1(FLT_MAX), x, y);
    y = v16_pick_gt(x, zero, y, v16_pick_gt(zero, x, v16_set1(NAN), v16_set1(-INFINITY)));
    return v16_pick_nan(x, y);
}
#endif

/* ln x to some 2e-7 relative; 0 gives -inf, negative numbers NaN. (ln(1+f) - f + f^2/2) / f^3. Both parts of ln 2 are
 * positive, so that an infinite e meets no other. */
SIMD_INLINE v16 v16_log(v16 x) {
    static const float c[] = {0.3333331043117079f,   -0.24999986766477403f, 0.20002227164544567f,
                              -0.16669242089941705f, 0.14218641452986283f,  -0.12384489353488023f,
                              0.11873230601366616f,  -0.11789083204827132f, 0.06913948331651035f};
    v16 e, f = v16_log_parts(x, &e), ff = v16_mul(f, f);
    v16 y = v16_mul(v16_mul(ff, f), v16_poly(f, c, 9));
    y = v16_fma(e, v16_set1(1.42860677e-6f), y);
    y = v16_fnma(ff, v16_set1(0.5f), y);
    return v16_log_special(x, v16_fma(e, v16_set1(0.693145751953125f), v16_add(y, f)));
}

/* ln(1 + x) for x from 0 to 1, in s = x / (2 + x), to some 1e-7 relative. */
SIMD_INLINE v16 v16_log1p_unit(v16 x) {
    static const float c[] = {2.0000000080786338f, 0.666663101481155f, 0.4002511417870464f, 0.27957667874311587f,
                              0.28191537894998425f};
    v16 s = v16_div(x, v16_add(x, v16_set1(2.0f)));
    return v16_mul(s, v16_poly(v16_mul(s, s), c, 5));
}

/* ln(1 + x): the logarithm of the rounded sum and what the rounding lost. */
SIMD_INLINE v16 v16_log1p(v16 x) {
    v16 one = v16_set1(1.0f), u = v16_add(one, x);
    v16 lost = v16_div(v16_sub(x, v16_sub(u, one)), u);
    v16 y = v16_add(v16_log(u), v16_pick_gt(u, v16_zero(), lost, v16_zero()));
    y = v16_pick_gt(x, v16_set1(FLT_MAX), x, y);
    return v16_where_small(x, 1e-7f, x, y);
}

/* e^x - 1: (e^x - 1 - x) / x^2 near zero. */
SIMD_INLINE v16 v16_expm1(v16 x) {
    static const float c[] = {0.5f,
                              0.16666666666666666f,
                              0.041666666666666664f,
                              0.008333333333333333f,
                              0.001388888888888889f,
                              0.0001984126984126984f,
                              2.48015873015873e-05f};
    v16 near = v16_fma(v16_mul(x, x), v16_poly(x, c, 7), x);
    return v16_where_small(x, 0.5f, near, v16_sub(v16_exp(x), v16_set1(1.0f)));
}

/* y with its sign turned where the whole number n is odd, of which `rounded` = 1.5 * 2^23 + n. */
#if CPU_ISA_LEVEL >= 2
SIMD_INLINE v16 v16_turn_odd(v16 rounded, v16 y) {
    return _mm512_xor_ps(y, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(rounded), 31)));
}
#elif CPU_ISA_LEVEL == 1
SIMD_INLINE __m256 v8_turn_odd(__m256 rounded, __m256 y) {
    return _mm256_xor_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(rounded), 31)));
}
SIMD_INLINE v16 v16_turn_odd(v16 rounded, v16 y) {
    return v16_pair(v8_turn_odd(rounded.a, y.a), v8_turn_odd(rounded.b, y.b));
}
#else
SIMD_INLINE v16 v16_turn_odd(v16 rounded, v16 y) {
    for (int i = 0; i < 4; i++) y.v[i] = (v4f)((v4i)y.v[i] ^ (((v4i)rounded.v[i] & 1) << 31));
    return y;
}
#endif

/* Sine (`cosine` false) or cosine to some 1e-7 absolute. With r = x - n pi the sine is that of r, its sign turned for
 * odd n; with r = x - (n + 1/2) pi the cosine is that of -r. The multiple of pi/2 is taken off in three parts; (sin r
 * - r) / r^3 up to pi/2. Arguments beyond 512 go to the C library one by one. */
SIMD_INLINE v16 v16_sincos(v16 x, bool cosine) {
    static const float s[] = {-0.16666656732559204f, 0.008333016186952591f, -0.0001980653905775398f,
                              2.5998840555985225e-06f};
    /* adding and taking off 1.5 * 2^23 rounds to a whole number */
    const v16 big = v16_set1(12582912.0f), turns = v16_set1(0.318309886183790672f), two = v16_set1(2.0f);
    const v16 rounded = v16_add(v16_fma(x, turns, v16_set1(cosine ? -0.5f : 0.0f)), big);
    const v16 q = v16_fma(two, v16_sub(rounded, big), v16_set1(cosine ? 1.0f : 0.0f));
    v16 r = v16_fnma(q, v16_set1(1.5703125f), x);
    r = v16_fnma(q, v16_set1(4.837512969970703125e-4f), r);
    r = v16_fnma(q, v16_set1(7.549789948768648e-8f), r);
    if (cosine) r = v16_neg(r);
    const v16 u = v16_mul(r, r);
    v16 y = v16_turn_odd(rounded, v16_fma(v16_mul(v16_poly(u, s, 4), u), r, r));
    if (!v16_any_gt(v16_abs(x), v16_set1(512.0f))) return v16_pick_nan(x, y);
    float a[16], b[16];
    v16_store(a, x);
    v16_store(b, y);
    for (int i = 0; i < 16; i++)
        if (!(fabsf(a[i]) <= 512)) b[i] = cosine ? cosf(a[i]) : sinf(a[i]);
    return v16_load(b);
}

#if CPU_ISA_LEVEL >= 2
/* erf x by pieces of 1/4 up to 4, a polynomial of the distance from the middle of each, whose coefficients are chosen
 * in registers; the first piece is erf(x)/x. To some 1e-7 relative. */
SIMD_INLINE v16 v16_erf(v16 x) {
    static const float c[6][16] = {
        {1.12252963f, 0.404116899f, 0.623240888f, 0.784075081f, 0.888388216f, 0.948170066f, 0.978443742f, 0.99199003f,
         0.997345984f, 0.999217033f, 0.999794602f, 0.999952137f, 0.999990106f, 0.999998212f, 0.999999702f,
         0.99999994f},
        {-0.0931549445f, 0.980352879f, 0.763499558f, 0.524745047f, 0.318273962f, 0.170359775f, 0.0804722533f,
         0.0335458256f, 0.0123408195f, 0.004006478f, 0.00114787556f, 0.000290228665f, 6.47588749e-05f,
         1.27518142e-05f, 2.21594314e-06f, 3.39828205e-07f},
        {-0.365642309f, -0.367625505f, -0.477181554f, -0.459150493f, -0.35806033f, -0.234247714f, -0.130769402f,
         -0.0628989935f, -0.0262239985f, -0.00951495953f, -0.00301286392f, -0.000834249309f, -0.000202308409f,
         -4.30168402e-05f, -8.02721661e-06f, -1.31555362e-06f},
        {0.055376932f, -0.234893605f, -0.0556836613f, 0.0929171667f, 0.162450403f, 0.157938719f, 0.114842586f,
         0.0674425364f, 0.0330379456f, 0.013730499f, 0.00489023002f, 0.00150238292f, 0.000399942335f, 9.25531494e-05f,
         1.86645248e-05f, 3.286131e-06f},
        {0.106054686f, 0.165416911f, 0.175494373f, 0.112153508f, 0.0283349548f, -0.0299829431f, -0.049381271f,
         -0.0421631224f, -0.0264028795f, -0.0132059371f, -0.00546693522f, -0.00190853665f, -0.000568221905f,
         -0.000145342696f, -3.21035877e-05f, -6.14643159e-06f},
        {-0.0194284692f, 0.0462765992f, -0.0265810397f, -0.0665820092f, -0.061067149f, -0.0306805652f, -0.0023365987f,
         0.0113077937f, 0.0124371331f, 0.00836110953f, 0.00423906837f, 0.00172976893f, 0.000585305621f,
         0.000166981641f, 4.05840292e-05f, 8.46229341e-06f},
    };
    const v16 a = v16_abs(x), t = v16_min(a, v16_set1(3.9999998f));
    const __m512i piece = _mm512_cvttps_epi32(v16_mul(t, v16_set1(4.0f)));
    const v16 middle = v16_fma(_mm512_cvtepi32_ps(piece), v16_set1(0.25f), v16_set1(0.125f));
    const v16 d = v16_sub(t, middle);
    v16 p = _mm512_permutexvar_ps(piece, v16_load(c[5]));
#pragma GCC unroll 5
    for (int i = 4; i >= 0; i--) p = v16_fma(p, d, _mm512_permutexvar_ps(piece, v16_load(c[i])));
    p = _mm512_mask_mul_ps(p, _mm512_cmp_ps_mask(a, v16_set1(0.25f), _CMP_LT_OQ), p, a);
    return v16_pick_nan(x, v16_copysign(p, x));
}
#else
/* erf x: erf(x)/x in x^2 up to 1, then 1 - e^-p with p = -ln(1 - erf x). */
SIMD_INLINE v16 v16_erf(v16 x) {
    static const float a[] = {1.1283791659133646f,   -0.37612627133157006f, 0.11283600143286336f,
                              -0.02685444317866332f, 0.00518953260407558f,  -0.0008020816897128653f,
                              7.889038067624522e-05f};
    static const float b[] = {-0.00018347969266040005f, 1.1295570077341304f,   0.6332622395235072f,
                              0.10837290579809353f,     -0.02517925608944755f, 0.004193725516540241f,
                              -0.0004391310930630159f,  2.149835430702126e-05f};
    v16 near = v16_mul(x, v16_poly(v16_mul(x, x), a, 7));
    v16 t = v16_min(v16_set1(4.0f), v16_abs(x));
    v16 far = v16_sub(v16_set1(1.0f), v16_exp(v16_neg(v16_poly(t, b, 8))));
    return v16_where_small(x, 1.0f, near, v16_pick_nan(x, v16_copysign(far, x)));
}
#endif

/* ln(1 + e^x), x itself beyond 20. */
SIMD_INLINE v16 v16_softplus(v16 x) {
    v16 near = v16_add(v16_max(x, v16_zero()), v16_log1p_unit(v16_exp(v16_neg(v16_abs(x)))));
    return v16_pick_nan(x, v16_pick_gt(x, v16_set1(20.0f), x, near));
}

#endif
