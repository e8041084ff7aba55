/* kv_row.h: rows of quantized key and value caches (kv_types.h) as f32 and back, for the kernels that read and write
 * them. Bit for bit what the scalar codecs of src/quant give. */
#ifndef MLXN_SRC_CPU_KV_ROW_H
#define MLXN_SRC_CPU_KV_ROW_H

#include "backend/cpu/kernels/simd.h"
#include "quant/kv_types.h"
#include "quant/turboquant.h"

/* Sixteen codes of a byte each. */
#if CPU_ISA_LEVEL >= 1
typedef __m128i kv_codes;
SIMD_INLINE kv_codes kv_bytes(const uint8_t *p) { return _mm_loadu_si128((const void *)p); }
SIMD_INLINE kv_codes kv_low(kv_codes c) { return _mm_and_si128(c, _mm_set1_epi8(15)); }
SIMD_INLINE kv_codes kv_high(kv_codes c) { return _mm_and_si128(_mm_srli_epi16(c, 4), _mm_set1_epi8(15)); }
/* c | bit where bit j of the 16 at `plane` is set. */
SIMD_INLINE kv_codes kv_plane(kv_codes c, const uint8_t *plane, int bit) {
    const __m128i spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i each = _mm_set1_epi64x((int64_t)0x8040201008040201u);
    __m128i bits = _mm_shuffle_epi8(_mm_set1_epi16((int16_t)(plane[0] | plane[1] << 8)), spread);
    __m128i set = _mm_cmpeq_epi8(_mm_and_si128(bits, each), each);
    return _mm_or_si128(c, _mm_and_si128(set, _mm_set1_epi8((char)bit)));
}
#if CPU_ISA_LEVEL >= 2
SIMD_INLINE v16 kv_to_f32(kv_codes c, bool is_signed) {
    return _mm512_cvtepi32_ps(is_signed ? _mm512_cvtepi8_epi32(c) : _mm512_cvtepu8_epi32(c));
}
SIMD_INLINE v16 kv_lookup(const float *table, uint32_t bits, kv_codes c) {
    __m512i i = _mm512_cvtepu8_epi32(c);
    if (bits == 4) return _mm512_permutexvar_ps(i, _mm512_loadu_ps(table));
    if (bits == 8) return _mm512_i32gather_ps(i, table, 4);
    v16 low = _mm512_permutex2var_ps(_mm512_loadu_ps(table), i, _mm512_loadu_ps(table + 16));
    if (bits == 5) return low;
    v16 high = _mm512_permutex2var_ps(_mm512_loadu_ps(table + 32), i, _mm512_loadu_ps(table + 48));
    return _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(i, _mm512_set1_epi32(32)), high);
}
#else
SIMD_INLINE v16 kv_to_f32(kv_codes c, bool is_signed) {
    __m128i d = _mm_srli_si128(c, 8);
    return v16_pair(_mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(c) : _mm256_cvtepu8_epi32(c)),
                    _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(d) : _mm256_cvtepu8_epi32(d)));
}
SIMD_INLINE v16 kv_lookup(const float *table, uint32_t bits, kv_codes c) {
    __m256i a = _mm256_cvtepu8_epi32(c), b = _mm256_cvtepu8_epi32(_mm_srli_si128(c, 8));
    return v16_pair(_mm256_i32gather_ps(table, a, 4), _mm256_i32gather_ps(table, b, 4));
}
#endif
#else
typedef struct kv_codes {
    uint8_t c[16];
} kv_codes;
SIMD_INLINE kv_codes kv_bytes(const uint8_t *p) {
    kv_codes c;
    memcpy(c.c, p, 16);
    return c;
}
SIMD_INLINE kv_codes kv_low(kv_codes c) {
    for (int i = 0; i < 16; i++) c.c[i] &= 15;
    return c;
}
SIMD_INLINE kv_codes kv_high(kv_codes c) {
    for (int i = 0; i < 16; i++) c.c[i] >>= 4;
    return c;
}
SIMD_INLINE kv_codes kv_plane(kv_codes c, const uint8_t *plane, int bit) {
    for (int i = 0; i < 16; i++)
        if (plane[i / 8] >> i % 8 & 1) c.c[i] |= (uint8_t)bit;
    return c;
}
SIMD_INLINE v16 kv_to_f32(kv_codes c, bool is_signed) {
    float t[16];
    for (int i = 0; i < 16; i++) t[i] = is_signed ? (float)(int8_t)c.c[i] : (float)c.c[i];
    return v16_load(t);
}
SIMD_INLINE v16 kv_lookup(const float *table, uint32_t bits, kv_codes c) {
    float t[16];
    for (int i = 0; i < 16; i++) t[i] = table[c.c[i]];
    return v16_load(t);
}
#endif

/* What the rows of a type need while they are read or written. */
typedef struct kv_codec {
    mlxn_kv_type type;
    uint32_t bits;    /* of TurboQuant, or 0 */
    float table[256]; /* centroids */
    float above[128]; /* an absolute value above above[k] is beyond the k-th edge, on the positive side */
    float below[128]; /* the same on the negative side, where an edge itself is beyond */
} kv_codec;

static __attribute__((unused)) void kv_codec_read(kv_codec *codec, mlxn_kv_type type) {
    codec->type = type;
    codec->bits = mlxn_kv_find(type)->bits;
    if (codec->bits) mlxn_turboquant_book_expand(mlxn_turboquant_book_find(codec->bits), codec->table);
}
static __attribute__((unused)) void kv_codec_write(kv_codec *codec, mlxn_kv_type type) {
    kv_codec_read(codec, type);
    const float *positive = codec->table + (1u << codec->bits) / 2;
    for (uint32_t k = 0; codec->bits && k + 1 < 1u << codec->bits >> 1; k++) {
        double edge = 0.5 * ((double)positive[k] + (double)positive[k + 1]);
        float f = (float)edge, down = (double)f > edge ? nextafterf(f, 0) : f;
        codec->above[k] = down;
        codec->below[k] = (double)down == edge ? nextafterf(down, 0) : down;
    }
}

/* ---- reading ---- */

SIMD_INLINE float kv_f16(const uint8_t *p) {
    uint16_t h = (uint16_t)(p[0] | p[1] << 8);
    return simd_get(MLXN_F16, &h, 0);
}

/* A legacy block: `head` bytes before the nibbles, the fifth bits right before those. */
SIMD_INLINE void kv_block(const uint8_t *src, int head, bool fifth, int offset, float d, float m, bool has_m,
                          float *dst) {
    kv_codes c = kv_bytes(src + head), low = kv_low(c), high = kv_high(c);
    if (fifth) {
        low = kv_plane(low, src + head - 4, 16);
        high = kv_plane(high, src + head - 2, 16);
    }
    v16 x = v16_sub(kv_to_f32(low, false), v16_set1((float)offset));
    v16 y = v16_sub(kv_to_f32(high, false), v16_set1((float)offset));
    x = v16_mul(v16_set1(d), x);
    y = v16_mul(v16_set1(d), y);
    v16_store(dst, has_m ? v16_add(x, v16_set1(m)) : x);
    v16_store(dst + 16, has_m ? v16_add(y, v16_set1(m)) : y);
}

SIMD_INLINE void kv_read_tq(const kv_codec *codec, uint32_t bits, const uint8_t *src, uint64_t d, float *dst) {
    uint64_t norms = mlxn_kv_norms(d), block = d / norms;
    const uint8_t *codes = src + 4 * norms, *four = codes + d / 2, *five = four + d / 8;
    for (uint64_t i = 0; i < d; i += 32) {
        float norm;
        memcpy(&norm, src + 4 * (i / block), 4);
        v16 step = v16_set1(mlxn_kv_step(d, norm));
        kv_codes x, y;
        if (bits == 8) {
            x = kv_bytes(codes + i);
            y = kv_bytes(codes + i + 16);
        } else {
            kv_codes c = kv_bytes(codes + i / 2);
            x = kv_low(c);
            y = kv_high(c);
            if (bits >= 5) x = kv_plane(x, four + i / 8, 16), y = kv_plane(y, four + i / 8 + 2, 16);
            if (bits >= 6) x = kv_plane(x, five + i / 8, 32), y = kv_plane(y, five + i / 8 + 2, 32);
        }
        v16_store(dst + i, v16_mul(kv_lookup(codec->table, bits, x), step));
        v16_store(dst + i + 16, v16_mul(kv_lookup(codec->table, bits, y), step));
    }
}

/* d values, a multiple of 32; rotated types stay so. */
static __attribute__((unused)) void kv_read_row(const kv_codec *codec, const uint8_t *src, uint64_t d, float *dst) {
    switch (codec->type) {
        case MLXN_KV_Q8_0:
            for (uint64_t i = 0; i < d; i += 32, src += 34) {
                v16 scale = v16_set1(kv_f16(src));
                v16_store(dst + i, v16_mul(scale, kv_to_f32(kv_bytes(src + 2), true)));
                v16_store(dst + i + 16, v16_mul(scale, kv_to_f32(kv_bytes(src + 18), true)));
            }
            break;
        case MLXN_KV_Q4_0:
            for (uint64_t i = 0; i < d; i += 32, src += 18)
                kv_block(src, 2, false, 8, kv_f16(src), 0, false, dst + i);
            break;
        case MLXN_KV_Q4_1:
            for (uint64_t i = 0; i < d; i += 32, src += 20)
                kv_block(src, 4, false, 0, kv_f16(src), kv_f16(src + 2), true, dst + i);
            break;
        case MLXN_KV_Q5_0:
            for (uint64_t i = 0; i < d; i += 32, src += 22)
                kv_block(src, 6, true, 16, kv_f16(src), 0, false, dst + i);
            break;
        case MLXN_KV_Q5_1:
            for (uint64_t i = 0; i < d; i += 32, src += 24)
                kv_block(src, 8, true, 0, kv_f16(src), kv_f16(src + 2), true, dst + i);
            break;
        case MLXN_KV_TQ4:
            kv_read_tq(codec, 4, src, d, dst);
            break;
        case MLXN_KV_TQ5:
            kv_read_tq(codec, 5, src, d, dst);
            break;
        case MLXN_KV_TQ6:
            kv_read_tq(codec, 6, src, d, dst);
            break;
        default:
            kv_read_tq(codec, 8, src, d, dst);
    }
}

/* ---- the transform ---- */

/* x <- H x, n a power of two; the additions of the scalar transform in its order. */
static __attribute__((unused)) void kv_transform(float *x, uint64_t n) {
    for (uint64_t i = 0; i + 16 <= n; i += 16) {
        float *y = x + i, t[16];
        for (int j = 0; j < 8; j++) t[2 * j] = y[2 * j] + y[2 * j + 1], t[2 * j + 1] = y[2 * j] - y[2 * j + 1];
        for (int j = 0; j < 16; j++) y[j] = j & 2 ? t[j - 2] - t[j] : t[j] + t[j + 2];
        for (int j = 0; j < 16; j++) t[j] = j & 4 ? y[j - 4] - y[j] : y[j] + y[j + 4];
        for (int j = 0; j < 16; j++) y[j] = j & 8 ? t[j - 8] - t[j] : t[j] + t[j + 8];
    }
    uint64_t h = n < 16 ? 1 : 16;
    for (; h < mlxn_min_u64(n, 16); h *= 2)
        for (uint64_t i = 0; i < n; i += 2 * h)
            for (uint64_t j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
    for (; h < n; h *= 2)
        for (uint64_t i = 0; i < n; i += 2 * h)
            for (uint64_t j = i; j < i + h; j += 16) {
                v16 a = v16_load(x + j), b = v16_load(x + j + h);
                v16_store(x + j, v16_add(a, b));
                v16_store(x + j + h, v16_sub(a, b));
            }
    const float scale = (float)(1 / sqrt((double)n));
    for (uint64_t i = 0; i < n; i++) x[i] *= scale;
}

static __attribute__((unused)) void kv_signs(float *x, uint64_t n) {
    const uint8_t *signs = mlxn_turboquant_signs();
    for (uint64_t i = 0; i < n; i++) x[i] = signs[i / 8] >> (i % 8) & 1 ? -x[i] : x[i];
}

/* ---- writing ---- */

SIMD_INLINE void kv_put_u16(uint8_t *p, uint16_t v) { memcpy(p, (uint8_t[2]){(uint8_t)v, (uint8_t)(v >> 8)}, 2); }

/* Low nibbles of 32 codes, then for each higher bit a plane of 32 bits at `planes`, `stride` bytes apart. */
SIMD_INLINE void kv_put_codes(const uint32_t codes[32], uint32_t bits, uint8_t *nibbles, uint8_t *planes,
                              uint64_t stride) {
    for (int j = 0; j < 16; j++) nibbles[j] = (uint8_t)((codes[j] & 15) | (codes[j + 16] & 15) << 4);
    for (uint32_t b = 4; b < bits; b++) {
        uint32_t word = 0;
        for (int j = 0; j < 32; j++) word |= (codes[j] >> b & 1) << j;
        for (int j = 0; j < 4; j++) planes[(b - 4) * stride + (uint64_t)j] = (uint8_t)(word >> 8 * j);
    }
}

/* Blocks of 32 by the rules of the GGUF formats. bits: of a code, 8 for Q8_0; affine: with a minimum. */
SIMD_INLINE void kv_write_block(const float *x, uint32_t bits, bool affine, float limit, uint8_t *dst) {
    int head = (affine ? 4 : 2) + (bits == 5 ? 4 : 0);
    float low = x[0], high = x[0], best = 0, size = 0;
    bool good = true;
    for (int i = 0; i < 32; i++) {
        good = good && fabsf(x[i]) < limit;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        best = fabsf(x[i]) > size ? x[i] : best;
        size = fabsf(best);
    }
    if (!good) { /* a scale that is NaN: what cannot be stored shows */
        memset(dst, 0, (size_t)head + (bits == 8 ? 32 : 16));
        kv_put_u16(dst, 0x7e00);
        return;
    }
    uint32_t codes[32];
    float top = (float)((1u << bits) - 1);
    float d = bits == 8 ? size / 127.0f : affine ? (high - low) / top : best / -(float)(1u << (bits - 1));
    float id = d != 0 ? 1.0f / d : 0.0f;
    kv_put_u16(dst, mlxn_f32_to_f16(d));
    if (affine) kv_put_u16(dst + 2, mlxn_f32_to_f16(low));
    if (bits == 8) {
        for (int i = 0; i < 32; i++) {
            float t = fabsf(x[i] * id), whole = floorf(t);
            whole += t - whole >= 0.5f ? 1.0f : 0.0f; /* half away from zero */
            int q = whole >= 1.0f ? whole < 127.0f ? (int)whole : 127 : 0;
            dst[2 + i] = (uint8_t)(x[i] < 0 ? -q : q);
        }
        return;
    }
    float shift = affine ? 0.5f : (float)(1u << (bits - 1)) + 0.5f, from = affine ? low : 0.0f;
    for (int i = 0; i < 32; i++) {
        float t = (x[i] - from) * id + shift;
        codes[i] = t >= 1.0f ? t < top ? (uint32_t)t : (uint32_t)top : 0;
    }
    kv_put_codes(codes, bits, dst + head, dst + head - 4, 0);
}

SIMD_INLINE void kv_write_tq(const kv_codec *codec, float *x, uint64_t d, uint8_t *dst) {
    uint64_t norms = mlxn_kv_norms(d), block = d / norms;
    uint32_t bits = codec->bits, half = 1u << bits >> 1;
    uint8_t *at = dst + 4 * norms, *planes = at + d / 2;
    kv_signs(x, d);
    kv_transform(x, d);
    for (uint64_t b = 0; b < norms; b++) {
        double sum = 0;
        for (uint64_t i = b * block; i < (b + 1) * block; i++) sum += (double)x[i] * (double)x[i];
        double norm = norms > 1 ? sqrt(sum) / 16 : sqrt(sum);
        float stored = isfinite((float)norm) ? (float)norm : NAN, scale = 0;
        if (stored > 1e-10f) scale = (float)((norms > 1 ? 1 : sqrt((double)d)) / norm);
        memcpy(dst + 4 * b, &stored, 4);
        for (uint64_t i = b * block; i < (b + 1) * block; i += 32) {
            uint32_t codes[32] = {0};
            float z[32];
            for (int j = 0; j < 32; j++) z[j] = isnan(stored) ? 0.0f : x[i + (uint64_t)j] * scale;
            for (uint32_t k = 0; k + 1 < half; k++)
                for (int j = 0; j < 32; j++)
                    codes[j] += fabsf(z[j]) > (z[j] > 0 ? codec->above[k] : codec->below[k]) ? 1u : 0u;
            for (int j = 0; j < 32; j++) codes[j] = z[j] > 0 ? half + codes[j] : half - 1 - codes[j];
            if (bits == 8)
                for (int j = 0; j < 32; j++) at[i + (uint64_t)j] = (uint8_t)codes[j];
            else
                kv_put_codes(codes, bits, at + i / 2, planes + i / 8, d / 8);
        }
    }
}

/* x: d values, a multiple of 32; changed. */
static __attribute__((unused)) void kv_write_row(const kv_codec *codec, float *x, uint64_t d, uint8_t *dst) {
    switch (codec->type) {
        case MLXN_KV_Q8_0:
            for (uint64_t i = 0; i < d; i += 32, dst += 34) kv_write_block(x + i, 8, false, 127 * 65520.0f, dst);
            break;
        case MLXN_KV_Q4_0:
            for (uint64_t i = 0; i < d; i += 32, dst += 18) kv_write_block(x + i, 4, false, 8 * 65520.0f, dst);
            break;
        case MLXN_KV_Q4_1:
            for (uint64_t i = 0; i < d; i += 32, dst += 20) kv_write_block(x + i, 4, true, 65520.0f, dst);
            break;
        case MLXN_KV_Q5_0:
            for (uint64_t i = 0; i < d; i += 32, dst += 22) kv_write_block(x + i, 5, false, 16 * 65520.0f, dst);
            break;
        case MLXN_KV_Q5_1:
            for (uint64_t i = 0; i < d; i += 32, dst += 24) kv_write_block(x + i, 5, true, 65520.0f, dst);
            break;
        default:
            kv_write_tq(codec, x, d, dst);
    }
}

#endif
