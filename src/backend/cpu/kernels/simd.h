/* simd.h: v16, a vector of sixteen floats, the one shape in which the CPU kernels are written.
 *
 * Level 2 and 3: one zmm register. Level 1: two ymm registers. Level 0: four 128-bit vectors of the compiler's own
 * vector extension, so that it runs on any processor. What holds at every level:
 *  - loads and stores named _n touch exactly n (0 to 16) elements and read the rest as zero;
 *  - sums over the lanes are taken in the same tree: lanes i and i+8, then i+4, i+2, i+1;
 *  - v16_max and v16_min return their second operand when either is NaN;
 *  - v16_fma rounds once at levels 1 to 3 and twice at level 0. */
#ifndef MLXN_SRC_CPU_SIMD_H
#define MLXN_SRC_CPU_SIMD_H

#include <float.h>
#include <math.h>

#include "backend/cpu/cpu.h"
#include "base/base.h"

#if CPU_ISA_LEVEL >= 1
#include <immintrin.h>
#endif

#define SIMD_INLINE static inline __attribute__((always_inline, unused))

#if CPU_ISA_LEVEL >= 2
/* clang-format off */
typedef __m512 v16;
SIMD_INLINE __mmask16 v16_mask_n(uint64_t n) { return (__mmask16)((1u << n) - 1u); }
SIMD_INLINE v16 v16_set1(float a) { return _mm512_set1_ps(a); }
SIMD_INLINE v16 v16_zero(void) { return _mm512_setzero_ps(); }
SIMD_INLINE v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
SIMD_INLINE v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
SIMD_INLINE v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
SIMD_INLINE v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
SIMD_INLINE v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
SIMD_INLINE v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
/* a * b + c, and c - a * b */
SIMD_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
SIMD_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
SIMD_INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
SIMD_INLINE void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
SIMD_INLINE v16 v16_load_n(const float *p, uint64_t n) { return _mm512_maskz_loadu_ps(v16_mask_n(n), p); }
SIMD_INLINE void v16_store_n(float *p, v16 a, uint64_t n) { _mm512_mask_storeu_ps(p, v16_mask_n(n), a); }
SIMD_INLINE v16 v16_from_f16(__m256i h) { return _mm512_cvtph_ps(h); }
SIMD_INLINE v16 v16_from_bf16(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
SIMD_INLINE __m256i v16_to_f16(v16 a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SIMD_INLINE __m256i v16_to_bf16(v16 a) {
    __m512i u = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}
SIMD_INLINE v16 v16_load_f16(const uint16_t *p) { return v16_from_f16(_mm256_loadu_si256((const void *)p)); }
SIMD_INLINE v16 v16_load_bf16(const uint16_t *p) { return v16_from_bf16(_mm256_loadu_si256((const void *)p)); }
SIMD_INLINE v16 v16_load_f16_n(const uint16_t *p, uint64_t n) {
    return v16_from_f16(_mm256_maskz_loadu_epi16(v16_mask_n(n), p));
}
SIMD_INLINE v16 v16_load_bf16_n(const uint16_t *p, uint64_t n) {
    return v16_from_bf16(_mm256_maskz_loadu_epi16(v16_mask_n(n), p));
}
SIMD_INLINE void v16_store_f16(uint16_t *p, v16 a) { _mm256_storeu_si256((void *)p, v16_to_f16(a)); }
SIMD_INLINE void v16_store_bf16(uint16_t *p, v16 a) { _mm256_storeu_si256((void *)p, v16_to_bf16(a)); }
SIMD_INLINE void v16_store_f16_n(uint16_t *p, v16 a, uint64_t n) {
    _mm256_mask_storeu_epi16(p, v16_mask_n(n), v16_to_f16(a));
}
SIMD_INLINE void v16_store_bf16_n(uint16_t *p, v16 a, uint64_t n) {
    _mm256_mask_storeu_epi16(p, v16_mask_n(n), v16_to_bf16(a));
}
/* Lane i is b where i is in [begin, end), else a. */
SIMD_INLINE v16 v16_range(v16 a, v16 b, uint64_t begin, uint64_t end) {
    return _mm512_mask_mov_ps(a, (__mmask16)(v16_mask_n(end) & ~v16_mask_n(begin)), b);
}
/* Lane is b where |x| < limit, else a. */
SIMD_INLINE v16 v16_where_small(v16 x, float limit, v16 b, v16 a) {
    return _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(limit), _CMP_LT_OQ), b);
}
/* True if any lane of a is greater than b's. */
SIMD_INLINE bool v16_any_gt(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
SIMD_INLINE v16 v16_abs(v16 a) { return _mm512_abs_ps(a); }
SIMD_INLINE v16 v16_copysign(v16 magnitude, v16 sign) {
    return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
SIMD_INLINE v16 v16_round(v16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a * 2^n for integral n between -300 and 300, rounded once */
SIMD_INLINE v16 v16_scale2(v16 a, v16 n) { return _mm512_scalef_ps(a, n); }
SIMD_INLINE v16 v16_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
/* Lane is x where a > b, else y. */
SIMD_INLINE v16 v16_pick_gt(v16 a, v16 b, v16 x, v16 y) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}
/* Lane is x where x is NaN, else y. */
SIMD_INLINE v16 v16_pick_nan(v16 x, v16 y) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}
/* a = m * 2^e with m between sqrt(1/2) and sqrt(2), for normal a > 0; returns m. */
SIMD_INLINE v16 v16_split(v16 a, v16 *e) {
    __m512i u = _mm512_sub_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x3f3504f3));
    __m512i low = _mm512_and_si512(u, _mm512_set1_epi32(0x7fffff));
    *e = _mm512_cvtepi32_ps(_mm512_srai_epi32(u, 23));
    return _mm512_castsi512_ps(_mm512_add_epi32(low, _mm512_set1_epi32(0x3f3504f3)));
}
/* Lanes 2i and 2i+1 change places. */
SIMD_INLINE v16 v16_swap_pairs(v16 a) { return _mm512_permute_ps(a, 0xb1); }
SIMD_INLINE float v16_hsum(v16 a) {
    __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));
}
SIMD_INLINE float v16_hmax(v16 a) {
    __m256 s = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_shuffle_ps(t, t, 1)));
}
/* clang-format on */

#elif CPU_ISA_LEVEL == 1
/* clang-format off */
typedef struct v16 { __m256 a, b; } v16;
SIMD_INLINE v16 v16_pair(__m256 a, __m256 b) { return (v16){a, b}; }
/* All ones in the first n of eight lanes (n may be negative or above 8). */
SIMD_INLINE __m256i v16_lanes8(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SIMD_INLINE v16 v16_set1(float a) { return v16_pair(_mm256_set1_ps(a), _mm256_set1_ps(a)); }
SIMD_INLINE v16 v16_zero(void) { return v16_pair(_mm256_setzero_ps(), _mm256_setzero_ps()); }
SIMD_INLINE v16 v16_add(v16 x, v16 y) { return v16_pair(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
SIMD_INLINE v16 v16_sub(v16 x, v16 y) { return v16_pair(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
SIMD_INLINE v16 v16_mul(v16 x, v16 y) { return v16_pair(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
SIMD_INLINE v16 v16_div(v16 x, v16 y) { return v16_pair(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
SIMD_INLINE v16 v16_max(v16 x, v16 y) { return v16_pair(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
SIMD_INLINE v16 v16_min(v16 x, v16 y) { return v16_pair(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
SIMD_INLINE v16 v16_fma(v16 x, v16 y, v16 c) {
    return v16_pair(_mm256_fmadd_ps(x.a, y.a, c.a), _mm256_fmadd_ps(x.b, y.b, c.b));
}
SIMD_INLINE v16 v16_fnma(v16 x, v16 y, v16 c) {
    return v16_pair(_mm256_fnmadd_ps(x.a, y.a, c.a), _mm256_fnmadd_ps(x.b, y.b, c.b));
}
SIMD_INLINE v16 v16_load(const float *p) { return v16_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
SIMD_INLINE void v16_store(float *p, v16 x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
SIMD_INLINE v16 v16_load_n(const float *p, uint64_t n) {
    return v16_pair(_mm256_maskload_ps(p, v16_lanes8((int64_t)n)),
                    _mm256_maskload_ps(p + 8, v16_lanes8((int64_t)n - 8)));
}
SIMD_INLINE void v16_store_n(float *p, v16 x, uint64_t n) {
    _mm256_maskstore_ps(p, v16_lanes8((int64_t)n), x.a);
    _mm256_maskstore_ps(p + 8, v16_lanes8((int64_t)n - 8), x.b);
}
SIMD_INLINE v16 v16_load_f16(const uint16_t *p) {
    return v16_pair(_mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                    _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 8))));
}
SIMD_INLINE __m256 v16_bf16_half(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
SIMD_INLINE v16 v16_load_bf16(const uint16_t *p) {
    return v16_pair(v16_bf16_half(_mm_loadu_si128((const void *)p)),
                    v16_bf16_half(_mm_loadu_si128((const void *)(p + 8))));
}
SIMD_INLINE v16 v16_load_f16_n(const uint16_t *p, uint64_t n) {
    uint16_t t[16] = {0};
    memcpy(t, p, n * 2);
    return v16_load_f16(t);
}
SIMD_INLINE v16 v16_load_bf16_n(const uint16_t *p, uint64_t n) {
    uint16_t t[16] = {0};
    memcpy(t, p, n * 2);
    return v16_load_bf16(t);
}
SIMD_INLINE void v16_store_f16(uint16_t *p, v16 x) {
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
SIMD_INLINE __m128i v16_bf16_bits(__m256 a) {
    __m256i u = _mm256_castps_si256(a);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
    r = _mm256_srli_epi32(r, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
SIMD_INLINE void v16_store_bf16(uint16_t *p, v16 x) {
    _mm_storeu_si128((void *)p, v16_bf16_bits(x.a));
    _mm_storeu_si128((void *)(p + 8), v16_bf16_bits(x.b));
}
SIMD_INLINE void v16_store_f16_n(uint16_t *p, v16 x, uint64_t n) {
    uint16_t t[16];
    v16_store_f16(t, x);
    memcpy(p, t, n * 2);
}
SIMD_INLINE void v16_store_bf16_n(uint16_t *p, v16 x, uint64_t n) {
    uint16_t t[16];
    v16_store_bf16(t, x);
    memcpy(p, t, n * 2);
}
SIMD_INLINE v16 v16_range(v16 x, v16 y, uint64_t begin, uint64_t end) {
    int64_t s = (int64_t)begin, e = (int64_t)end;
    __m256i m0 = _mm256_andnot_si256(v16_lanes8(s), v16_lanes8(e));
    __m256i m1 = _mm256_andnot_si256(v16_lanes8(s - 8), v16_lanes8(e - 8));
    return v16_pair(_mm256_blendv_ps(x.a, y.a, _mm256_castsi256_ps(m0)),
                    _mm256_blendv_ps(x.b, y.b, _mm256_castsi256_ps(m1)));
}
SIMD_INLINE v16 v16_abs(v16 x) {
    __m256 m = _mm256_set1_ps(-0.0f);
    return v16_pair(_mm256_andnot_ps(m, x.a), _mm256_andnot_ps(m, x.b));
}
SIMD_INLINE v16 v16_where_small(v16 x, float limit, v16 y, v16 z) {
    v16 m = v16_abs(x);
    __m256 l = _mm256_set1_ps(limit);
    return v16_pair(_mm256_blendv_ps(z.a, y.a, _mm256_cmp_ps(m.a, l, _CMP_LT_OQ)),
                    _mm256_blendv_ps(z.b, y.b, _mm256_cmp_ps(m.b, l, _CMP_LT_OQ)));
}
SIMD_INLINE bool v16_any_gt(v16 x, v16 y) {
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)));
}
SIMD_INLINE v16 v16_copysign(v16 x, v16 y) {
    __m256 m = _mm256_set1_ps(-0.0f);
    return v16_pair(_mm256_or_ps(x.a, _mm256_and_ps(m, y.a)), _mm256_or_ps(x.b, _mm256_and_ps(m, y.b)));
}
SIMD_INLINE v16 v16_round(v16 x) {
    return v16_pair(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                    _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* Two steps, because 2^n itself may lie outside the normal numbers; the first step is exact. */
SIMD_INLINE __m256 v16_scale2_half(__m256 x, __m256 n) {
    __m256i i = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(i, 1), one = _mm256_set1_epi32(127);
    __m256 s = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(h, one), 23));
    __m256 t = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, h), one), 23));
    return _mm256_mul_ps(_mm256_mul_ps(x, s), t);
}
SIMD_INLINE v16 v16_scale2(v16 x, v16 n) { return v16_pair(v16_scale2_half(x.a, n.a), v16_scale2_half(x.b, n.b)); }
SIMD_INLINE v16 v16_sqrt(v16 x) { return v16_pair(_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)); }
SIMD_INLINE v16 v16_pick_gt(v16 a, v16 b, v16 x, v16 y) {
    return v16_pair(_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(a.a, b.a, _CMP_GT_OQ)),
                    _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(a.b, b.b, _CMP_GT_OQ)));
}
SIMD_INLINE v16 v16_pick_nan(v16 x, v16 y) {
    return v16_pair(_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
                    _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q)));
}
SIMD_INLINE __m256 v16_split_half(__m256 a, __m256 *e) {
    __m256i root = _mm256_set1_epi32(0x3f3504f3), u = _mm256_sub_epi32(_mm256_castps_si256(a), root);
    __m256i low = _mm256_and_si256(u, _mm256_set1_epi32(0x7fffff));
    *e = _mm256_cvtepi32_ps(_mm256_srai_epi32(u, 23));
    return _mm256_castsi256_ps(_mm256_add_epi32(low, root));
}
SIMD_INLINE v16 v16_split(v16 x, v16 *e) {
    v16 m;
    m.a = v16_split_half(x.a, &e->a);
    m.b = v16_split_half(x.b, &e->b);
    return m;
}
SIMD_INLINE v16 v16_swap_pairs(v16 x) { return v16_pair(_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)); }
SIMD_INLINE float v16_hsum(v16 x) {
    __m256 s = _mm256_add_ps(x.a, x.b);
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));
}
SIMD_INLINE float v16_hmax(v16 x) {
    __m256 s = _mm256_max_ps(x.a, x.b);
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_shuffle_ps(t, t, 1)));
}
/* clang-format on */

#else
typedef float v4f __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));
typedef struct v16 {
    v4f v[4];
} v16;
SIMD_INLINE v4f v4_pick(v4i mask, v4f yes, v4f no) { return (v4f)(((v4i)yes & mask) | ((v4i)no & ~mask)); }
SIMD_INLINE v16 v16_set1(float f) {
    v4f q = {f, f, f, f};
    return (v16){{q, q, q, q}};
}
SIMD_INLINE v16 v16_zero(void) { return v16_set1(0.0f); }
SIMD_INLINE v16 v16_add(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = x.v[i] + y.v[i];
    return x;
}
SIMD_INLINE v16 v16_sub(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = x.v[i] - y.v[i];
    return x;
}
SIMD_INLINE v16 v16_mul(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = x.v[i] * y.v[i];
    return x;
}
SIMD_INLINE v16 v16_div(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = x.v[i] / y.v[i];
    return x;
}
SIMD_INLINE v16 v16_max(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = v4_pick(x.v[i] > y.v[i], x.v[i], y.v[i]);
    return x;
}
SIMD_INLINE v16 v16_min(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = v4_pick(x.v[i] < y.v[i], x.v[i], y.v[i]);
    return x;
}
SIMD_INLINE v16 v16_fma(v16 x, v16 y, v16 z) {
    for (int i = 0; i < 4; i++) x.v[i] = x.v[i] * y.v[i] + z.v[i];
    return x;
}
SIMD_INLINE v16 v16_fnma(v16 x, v16 y, v16 z) {
    for (int i = 0; i < 4; i++) x.v[i] = z.v[i] - x.v[i] * y.v[i];
    return x;
}
SIMD_INLINE v16 v16_abs(v16 x) {
    for (int i = 0; i < 4; i++) x.v[i] = (v4f)((v4i)x.v[i] & 0x7fffffff);
    return x;
}
SIMD_INLINE v16 v16_copysign(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = (v4f)((v4i)x.v[i] | ((v4i)y.v[i] & (int32_t)0x80000000));
    return x;
}
SIMD_INLINE v16 v16_swap_pairs(v16 x) {
    for (int i = 0; i < 4; i++) x.v[i] = __builtin_shuffle(x.v[i], (v4i){1, 0, 3, 2});
    return x;
}
SIMD_INLINE v16 v16_sqrt(v16 x) {
    for (int i = 0; i < 16; i++) x.v[i / 4][i % 4] = sqrtf(x.v[i / 4][i % 4]);
    return x;
}
SIMD_INLINE v16 v16_pick_gt(v16 a, v16 b, v16 x, v16 y) {
    for (int i = 0; i < 4; i++) y.v[i] = v4_pick(a.v[i] > b.v[i], x.v[i], y.v[i]);
    return y;
}
SIMD_INLINE v16 v16_pick_nan(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) y.v[i] = v4_pick(x.v[i] == x.v[i], y.v[i], x.v[i]);
    return y;
}
SIMD_INLINE v16 v16_split(v16 x, v16 *e) {
    for (int i = 0; i < 4; i++) {
        v4i u = (v4i)x.v[i] - 0x3f3504f3;
        e->v[i] = __builtin_convertvector(u >> 23, v4f);
        x.v[i] = (v4f)((u & 0x7fffff) + 0x3f3504f3);
    }
    return x;
}
SIMD_INLINE v16 v16_load(const float *p) {
    v16 r;
    memcpy(&r, p, sizeof r);
    return r;
}
SIMD_INLINE void v16_store(float *p, v16 x) { memcpy(p, &x, sizeof x); }
SIMD_INLINE v16 v16_load_n(const float *p, uint64_t n) {
    v16 r = v16_zero();
    memcpy(&r, p, n * 4);
    return r;
}
SIMD_INLINE void v16_store_n(float *p, v16 x, uint64_t n) { memcpy(p, &x, n * 4); }
/* Sign aside, binary16 bits moved into binary32 position are the number times 2^-112, subnormals included; an
 * exponent of all ones is kept as such, and a NaN made quiet, as the conversion instructions do. */
SIMD_INLINE v4f v4_from_f16(const uint16_t *p) {
    v4i h = {p[0], p[1], p[2], p[3]}, em = (h & 0x7fff) << 13, special = em >= 0x0f800000;
    v4i inf = em | 0x7f800000 | ((em > 0x0f800000) & 0x400000);
    v4i f = ((v4i)((v4f)em * 0x1p112f) & ~special) | (inf & special);
    return (v4f)(f | (h & 0x8000) << 16);
}
SIMD_INLINE v16 v16_load_f16(const uint16_t *p) {
    v16 r;
    for (int i = 0; i < 4; i++) r.v[i] = v4_from_f16(p + 4 * i);
    return r;
}
SIMD_INLINE v16 v16_load_bf16(const uint16_t *p) {
    v16 r;
    for (int i = 0; i < 4; i++) {
        v4i h = {p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
        r.v[i] = (v4f)(h << 16);
    }
    return r;
}
SIMD_INLINE v16 v16_load_f16_n(const uint16_t *p, uint64_t n) {
    uint16_t t[16] = {0};
    memcpy(t, p, n * 2);
    return v16_load_f16(t);
}
SIMD_INLINE v16 v16_load_bf16_n(const uint16_t *p, uint64_t n) {
    uint16_t t[16] = {0};
    memcpy(t, p, n * 2);
    return v16_load_bf16(t);
}
SIMD_INLINE void v16_store_f16_n(uint16_t *p, v16 x, uint64_t n) {
    float t[16];
    v16_store(t, x);
    for (uint64_t i = 0; i < n; i++) p[i] = mlxn_f32_to_f16(t[i]);
}
SIMD_INLINE void v16_store_bf16_n(uint16_t *p, v16 x, uint64_t n) {
    float t[16];
    v16_store(t, x);
    for (uint64_t i = 0; i < n; i++) p[i] = mlxn_f32_to_bf16(t[i]);
}
SIMD_INLINE void v16_store_f16(uint16_t *p, v16 x) { v16_store_f16_n(p, x, 16); }
SIMD_INLINE void v16_store_bf16(uint16_t *p, v16 x) { v16_store_bf16_n(p, x, 16); }
SIMD_INLINE v16 v16_range(v16 x, v16 y, uint64_t begin, uint64_t end) {
    v16 r;
    v4i lane = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++) {
        v4i l = lane + i * 4;
        r.v[i] = v4_pick((l >= (int32_t)begin) & (l < (int32_t)end), y.v[i], x.v[i]);
    }
    return r;
}
SIMD_INLINE v16 v16_where_small(v16 x, float limit, v16 y, v16 z) {
    v16 r, m = v16_abs(x);
    v4f l = {limit, limit, limit, limit};
    for (int i = 0; i < 4; i++) r.v[i] = v4_pick(m.v[i] < l, y.v[i], z.v[i]);
    return r;
}
SIMD_INLINE bool v16_any_gt(v16 x, v16 y) {
    v4i m = (x.v[0] > y.v[0]) | (x.v[1] > y.v[1]) | (x.v[2] > y.v[2]) | (x.v[3] > y.v[3]);
    return (m[0] | m[1] | m[2] | m[3]) != 0;
}
/* Adding 1.5 * 2^23 leaves no bits below the point: exact for |a| < 2^22, which is all that v16_exp asks. */
SIMD_INLINE v4f v4_round(v4f a) {
    v4f t = a + 12582912.0f;
    return t - 12582912.0f;
}
SIMD_INLINE v16 v16_round(v16 x) {
    for (int i = 0; i < 4; i++) x.v[i] = v4_round(x.v[i]);
    return x;
}
SIMD_INLINE v4f v4_scale2(v4f x, v4f n) {
    v4i i = __builtin_convertvector(n, v4i), h = i >> 1;
    v4f s = (v4f)((h + 127) << 23), t = (v4f)((i - h + 127) << 23);
    return x * s * t;
}
SIMD_INLINE v16 v16_scale2(v16 x, v16 y) {
    for (int i = 0; i < 4; i++) x.v[i] = v4_scale2(x.v[i], y.v[i]);
    return x;
}
SIMD_INLINE float v16_hsum(v16 x) {
    v4f t = (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]);
    return (t[0] + t[2]) + (t[1] + t[3]);
}
SIMD_INLINE float v4_larger(float a, float b) { return a > b ? a : b; }
SIMD_INLINE float v16_hmax(v16 x) {
    v4f p = v4_pick(x.v[0] > x.v[2], x.v[0], x.v[2]), q = v4_pick(x.v[1] > x.v[3], x.v[1], x.v[3]);
    v4f t = v4_pick(p > q, p, q);
    return v4_larger(v4_larger(t[0], t[2]), v4_larger(t[1], t[3]));
}
#endif

/* Turns sixteen rows of sixteen into columns: lane j of r[i] goes to lane i of r[j]. */
#if CPU_ISA_LEVEL >= 2
SIMD_INLINE void v16_transpose(v16 r[16]) {
    v16 t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) { /* pairs of rows */
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* fours: r[i+c] holds column 4q+c of rows i to i+3 in quarter q */
        __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
        __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) { /* a 4 x 4 transposition of quarters */
        v16 a = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88), b = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xdd);
        v16 d = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88), e = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xdd);
        t[c] = _mm512_shuffle_f32x4(a, d, 0x88);
        t[8 + c] = _mm512_shuffle_f32x4(a, d, 0xdd);
        t[4 + c] = _mm512_shuffle_f32x4(b, e, 0x88);
        t[12 + c] = _mm512_shuffle_f32x4(b, e, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = t[i];
}
#elif CPU_ISA_LEVEL == 1
SIMD_INLINE void v8_transpose(__m256 r[8]) {
    __m256 t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        t[c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x20);
        t[4 + c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i] = t[i];
}
SIMD_INLINE void v16_transpose(v16 r[16]) {
    __m256 q[8];
    __m256 low[8]; /* the top right quarter, turned, waits here for its place at the bottom left */
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) q[i] = r[i].a;
    v8_transpose(q);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i].a = q[i], low[i] = r[i].b;
    v8_transpose(low);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) q[i] = r[8 + i].a;
    v8_transpose(q);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i].b = q[i], r[8 + i].a = low[i];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) q[i] = r[8 + i].b;
    v8_transpose(q);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[8 + i].b = q[i];
}
#else
SIMD_INLINE void v16_transpose(v16 r[16]) {
    v16 t[16];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) { /* quarter (i, j) turned goes to (j, i) */
            v4f a = r[4 * i].v[j], b = r[4 * i + 1].v[j], c = r[4 * i + 2].v[j], d = r[4 * i + 3].v[j];
            v4f p = __builtin_shuffle(a, b, (v4i){0, 4, 1, 5}), q = __builtin_shuffle(c, d, (v4i){0, 4, 1, 5});
            v4f u = __builtin_shuffle(a, b, (v4i){2, 6, 3, 7}), w = __builtin_shuffle(c, d, (v4i){2, 6, 3, 7});
            t[4 * j].v[i] = __builtin_shuffle(p, q, (v4i){0, 1, 4, 5});
            t[4 * j + 1].v[i] = __builtin_shuffle(p, q, (v4i){2, 3, 6, 7});
            t[4 * j + 2].v[i] = __builtin_shuffle(u, w, (v4i){0, 1, 4, 5});
            t[4 * j + 3].v[i] = __builtin_shuffle(u, w, (v4i){2, 3, 6, 7});
        }
    for (int i = 0; i < 16; i++) r[i] = t[i];
}
#endif

/* Elements [i, i+n) of a row of f32, f16 or bf16. With a constant dtype the switch disappears; n == 16 takes the
 * unmasked form. */
SIMD_INLINE v16 v16_load_as(mlxn_dtype dtype, const void *row, uint64_t i, uint64_t n) {
    if (dtype == MLXN_F32) return n == 16 ? v16_load((const float *)row + i) : v16_load_n((const float *)row + i, n);
    const uint16_t *h = (const uint16_t *)row + i;
    if (dtype == MLXN_F16) return n == 16 ? v16_load_f16(h) : v16_load_f16_n(h, n);
    return n == 16 ? v16_load_bf16(h) : v16_load_bf16_n(h, n);
}
SIMD_INLINE void v16_store_as(mlxn_dtype dtype, void *row, uint64_t i, v16 x, uint64_t n) {
    uint16_t *h = (uint16_t *)row + i;
    if (dtype == MLXN_F32) {
        float *f = (float *)row + i;
        if (n == 16)
            v16_store(f, x);
        else
            v16_store_n(f, x, n);
    } else if (dtype == MLXN_F16) {
        if (n == 16)
            v16_store_f16(h, x);
        else
            v16_store_f16_n(h, x, n);
    } else {
        if (n == 16)
            v16_store_bf16(h, x);
        else
            v16_store_bf16_n(h, x, n);
    }
}
SIMD_INLINE uint64_t simd_tail(uint64_t i, uint64_t n) { return n - i < 16 ? n - i : 16; }

/* One element of a row of f32, f16 or bf16, for strides that vectors cannot follow. */
SIMD_INLINE float simd_get(mlxn_dtype dtype, const void *row, int64_t i) {
    if (dtype == MLXN_F32) return ((const float *)row)[i];
    uint16_t h = ((const uint16_t *)row)[i];
#if CPU_ISA_LEVEL >= 1
    return dtype == MLXN_F16 ? _cvtsh_ss(h) : mlxn_bf16_to_f32(h);
#else
    return dtype == MLXN_F16 ? mlxn_f16_to_f32(h) : mlxn_bf16_to_f32(h);
#endif
}
SIMD_INLINE void simd_set(mlxn_dtype dtype, void *row, int64_t i, float x) {
    if (dtype == MLXN_F32) ((float *)row)[i] = x;
#if CPU_ISA_LEVEL >= 1
    else if (dtype == MLXN_F16)
        ((uint16_t *)row)[i] = _cvtss_sh(x, 0);
#else
    else if (dtype == MLXN_F16)
        ((uint16_t *)row)[i] = mlxn_f32_to_f16(x);
#endif
    else
        ((uint16_t *)row)[i] = mlxn_f32_to_bf16(x);
}

/* 2^x. Relative error below 2e-7 where the result is normal; -inf gives 0, +inf and above 128 inf, NaN stays NaN.
 * The polynomials below are least-squares fits of (2^r - 1)/r and (e^r - 1 - r)/r^2, reweighted towards equal
 * relative error, over |r| <= 1/2 and |r| <= ln(2)/2. */
SIMD_INLINE v16 v16_exp2(v16 x) {
    x = v16_min(v16_set1(129.0f), v16_max(v16_set1(-151.0f), x));
    v16 n = v16_round(x), r = v16_sub(x, n);
    v16 p = v16_set1(0.00015353360686778776f);
    p = v16_fma(p, r, v16_set1(0.0013398874456206286f));
    p = v16_fma(p, r, v16_set1(0.009618437362914633f));
    p = v16_fma(p, r, v16_set1(0.05550332471007348f));
    p = v16_fma(p, r, v16_set1(0.24022647913574072f));
    p = v16_fma(p, r, v16_set1(0.6931472028551181f));
    p = v16_fma(p, r, v16_set1(1.0f));
    return v16_scale2(p, n);
}

/* e^x, with the properties of v16_exp2. */
SIMD_INLINE v16 v16_exp(v16 x) {
    x = v16_min(v16_set1(89.0f), v16_max(v16_set1(-104.5f), x));
    v16 n = v16_round(v16_mul(x, v16_set1(1.44269504088896341f)));
    /* ln(2) in two parts, the first short enough that n times it is exact */
    v16 r = v16_fnma(n, v16_set1(0.693359375f), x);
    r = v16_fnma(n, v16_set1(-2.12194440054690583e-4f), r);
    v16 p = v16_set1(0.0013814613546891587f);
    p = v16_fma(p, r, v16_set1(0.00836870986121356f));
    p = v16_fma(p, r, v16_set1(0.04166838735761588f));
    p = v16_fma(p, r, v16_set1(0.16666520689434655f));
    p = v16_fma(p, r, v16_set1(0.49999993451714814f));
    p = v16_fma(p, r, v16_set1(1.0f));
    p = v16_fma(p, r, v16_set1(1.0f));
    return v16_scale2(p, n);
}

/* 1 / (1 + e^-x) */
SIMD_INLINE v16 v16_sigmoid(v16 x) {
    v16 one = v16_set1(1.0f);
    return v16_div(one, v16_add(one, v16_exp(v16_sub(v16_zero(), x))));
}

/* tanh to some 2e-7 relative: an odd polynomial (fitted as above) near zero, where 1 - 2/(e^2x + 1) would cancel. */
SIMD_INLINE v16 v16_tanh(v16 x) {
    v16 a = v16_abs(x), u = v16_mul(x, x), one = v16_set1(1.0f);
    v16 p = v16_set1(0.0021227452897953332f);
    p = v16_fma(p, u, v16_set1(-0.00815627988178935f));
    p = v16_fma(p, u, v16_set1(0.021692606834451178f));
    p = v16_fma(p, u, v16_set1(-0.05394537836273217f));
    p = v16_fma(p, u, v16_set1(0.1333319591110971f));
    p = v16_fma(p, u, v16_set1(-0.3333333057134996f));
    p = v16_fma(v16_mul(p, u), x, x);
    v16 e = v16_exp(v16_add(a, a));
    v16 q = v16_sub(one, v16_div(v16_set1(2.0f), v16_add(e, one)));
    return v16_where_small(x, 0.632f, p, v16_copysign(q, x));
}

#endif
