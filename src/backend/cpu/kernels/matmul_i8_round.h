/* matmul_i8_round.h: activations in fixed point, as the 8-bit kernels multiply them. */
#ifndef MLXN_SRC_CPU_MATMUL_I8_ROUND_H
#define MLXN_SRC_CPU_MATMUL_I8_ROUND_H

#include "backend/cpu/kernels/matmul_i8.h"

#if CPU_ISA_LEVEL > 0

enum { Q_MAX = 127 * 256 }; /* so that the high byte of the largest is 127 */

/* abs_max: the largest magnitude, compared as integers, in which NaN is the largest.
 * round16: writes the high and low bytes of 16 rounded values and returns their sum; NaN gives a finite number. */
#if CPU_ISA_LEVEL >= 2
SIMD_INLINE float abs_max(v16 a, v16 b) {
    __m512i mask = _mm512_set1_epi32(0x7fffffff);
    __m512i m = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(a), mask),
                                 _mm512_and_si512(_mm512_castps_si512(b), mask));
    __m256i h = _mm256_max_epi32(_mm512_castsi512_si256(m), _mm512_extracti64x4_epi64(m, 1));
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(q));
}
SIMD_INLINE int32_t round16(v16 x, uint8_t *high, uint8_t *low) {
    __m512i q = _mm512_max_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(-Q_MAX));
    __m512i h = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(128)), 8);
    _mm_storeu_si128((void *)high, _mm512_cvtepi32_epi8(h));
    _mm_storeu_si128((void *)low, _mm512_cvtepi32_epi8(_mm512_sub_epi32(q, _mm512_slli_epi32(h, 8))));
    return _mm512_reduce_add_epi32(q);
}
#else
SIMD_INLINE __m256i magnitude(__m256 x) {
    return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}
SIMD_INLINE float abs_max(v16 a, v16 b) {
    __m256i h = _mm256_max_epi32(_mm256_max_epi32(magnitude(a.a), magnitude(a.b)),
                                 _mm256_max_epi32(magnitude(b.a), magnitude(b.b)));
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(q));
}
/* The lowest bytes of 16 integers between -128 and 127. */
SIMD_INLINE void store_bytes(uint8_t *to, __m256i a, __m256i b) {
    __m256i half = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    _mm_storeu_si128((void *)to, _mm_packs_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}
SIMD_INLINE int32_t round16(v16 x, uint8_t *high, uint8_t *low) {
    __m256i least = _mm256_set1_epi32(-Q_MAX), up = _mm256_set1_epi32(128);
    __m256i a = _mm256_max_epi32(_mm256_cvtps_epi32(x.a), least);
    __m256i b = _mm256_max_epi32(_mm256_cvtps_epi32(x.b), least);
    __m256i ha = _mm256_srai_epi32(_mm256_add_epi32(a, up), 8), hb = _mm256_srai_epi32(_mm256_add_epi32(b, up), 8);
    store_bytes(high, ha, hb);
    store_bytes(low, _mm256_sub_epi32(a, _mm256_slli_epi32(ha, 8)), _mm256_sub_epi32(b, _mm256_slli_epi32(hb, 8)));
    __m256i s = _mm256_add_epi32(a, b);
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}
#endif

/* Token `t` of records of `tokens` tokens. */
SIMD_INLINE void round_token(const cpu_tile_format *f, mlxn_dtype dtype, const void *x, uint64_t cols, uint64_t t,
                             uint64_t tokens, uint8_t *record) {
    uint64_t step = mm_record_bytes(f, tokens);
    for (uint64_t k = 0; k < cols; k += CPU_GROUP, record += step) {
        v16 a = v16_load_as(dtype, x, k, 16);
        v16 b = k + 16 < cols ? v16_load_as(dtype, x, k + 16, 16) : v16_zero(); /* nvfp4 may end in between */
        float most = abs_max(a, b), scale = most / (float)Q_MAX, inverse = (float)Q_MAX / most;
        if (!(inverse <= FLT_MAX)) { /* zero, nearly zero, or NaN */
            inverse = FLT_MAX;
            if (scale < 1.0f / FLT_MAX) scale = 1.0f / FLT_MAX;
        }
        uint8_t *high = record + t * TOKEN_BYTES, *low = high + CPU_GROUP;
        v16 v = v16_set1(inverse);
        int32_t first = round16(v16_mul(a, v), high, low);
        int32_t second = round16(v16_mul(b, v), high + 16, low + 16);
        float *scales = (float *)(record + tokens * TOKEN_BYTES), *start = scales + tokens;
        scales[t] = scale;
        if (f->minimum && f->halves) {
            start[t] = scale * (float)first;
            start[tokens + t] = scale * (float)second;
        } else if (f->minimum) {
            start[t] = scale * (float)(first + second);
        } else if (f->halves) {
            ((int32_t *)start)[t] = -f->offset * first;
            ((int32_t *)start)[tokens + t] = -f->offset * second;
        } else {
            ((int32_t *)start)[t] = -f->offset * (first + second);
        }
    }
}

static void round_tokens(const cpu_tile_format *f, const mm_tokens *from, uint64_t first, uint64_t n, uint64_t tokens,
                         uint8_t *records) {
    const mlxn_view *x = from->x;
    const uint64_t cols = x->dims[1];
    for (uint64_t t = 0; t < n; t++) {
        const void *row = mm_token_row(from, first + t);
        if (x->dtype == MLXN_F32)
            round_token(f, MLXN_F32, row, cols, t, tokens, records);
        else if (x->dtype == MLXN_F16)
            round_token(f, MLXN_F16, row, cols, t, tokens, records);
        else
            round_token(f, MLXN_BF16, row, cols, t, tokens, records);
    }
}

#endif
#endif
