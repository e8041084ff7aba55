/* matmul_codes.h: packed codes and scales (weight.h) in registers, at every instruction-set level.
 *
 * mm_quad is 64 bytes, a quad: 16 rows x 4 codes. mm_ints is 16 sums of 32 bits, lane = row. Dot products (not at the
 * base level) are exact: codes are at most 255, activations at most 128 in magnitude, a group has 32 of them. */
#ifndef MLXN_SRC_CPU_MATMUL_CODES_H
#define MLXN_SRC_CPU_MATMUL_CODES_H

#include "backend/cpu/kernels/matmul.h"
#include "quant/mlx.h"

SIMD_INLINE uint32_t mm_word(const uint8_t *p) {
    uint32_t word;
    memcpy(&word, p, 4);
    return word;
}

#if CPU_ISA_LEVEL >= 2
typedef __m512i mm_quad;
typedef __m512i mm_ints;
SIMD_INLINE mm_quad mm_quad_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
SIMD_INLINE void mm_quad_store(uint8_t *p, mm_quad q) { _mm512_storeu_si512(p, q); }
SIMD_INLINE mm_quad mm_quad_zero(void) { return _mm512_setzero_si512(); }
SIMD_INLINE mm_quad mm_quad_and(mm_quad q, uint8_t mask) { return _mm512_and_si512(q, _mm512_set1_epi8((char)mask)); }
SIMD_INLINE mm_quad mm_quad_or(mm_quad a, mm_quad b) { return _mm512_or_si512(a, b); }
/* Shifts of 16-bit units: bits that cross into the neighbour byte must be masked off. */
SIMD_INLINE mm_quad mm_quad_right(mm_quad q, int n) { return _mm512_srli_epi16(q, (unsigned)n); }
SIMD_INLINE mm_quad mm_quad_left(mm_quad q, int n) { return _mm512_slli_epi16(q, (unsigned)n); }
/* Adds `bit` where the mask has one; the bytes are below it. */
SIMD_INLINE mm_quad mm_quad_bit(mm_quad q, const uint8_t *mask, uint8_t bit) {
    uint64_t bits;
    memcpy(&bits, mask, 8);
    return _mm512_mask_add_epi8(q, bits, q, _mm512_set1_epi8((char)bit));
}
/* table[byte], for bytes below 16. */
SIMD_INLINE mm_quad mm_quad_lookup(mm_quad q, const uint8_t table[16]) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const void *)table)), q);
}
SIMD_INLINE mm_ints mm_ints_set1(int32_t a) { return _mm512_set1_epi32(a); }
SIMD_INLINE mm_ints mm_ints_add(mm_ints a, mm_ints b) { return _mm512_add_epi32(a, b); }
SIMD_INLINE mm_ints mm_ints_times_256(mm_ints a) { return _mm512_slli_epi32(a, 8); }
SIMD_INLINE v16 mm_ints_float(mm_ints a) { return _mm512_cvtepi32_ps(a); }
/* Byte b of every lane. */
SIMD_INLINE mm_ints mm_quad_lane_byte(mm_quad q, int b) {
    return _mm512_and_si512(_mm512_srli_epi32(q, (unsigned)(8 * b)), _mm512_set1_epi32(255));
}
/* E4M3 bytes as numbers: with its exponent and mantissa moved to those of binary16 a number is 2^-8 of itself. */
SIMD_INLINE v16 mm_ints_e4m3(mm_ints a) {
    __m512i low = _mm512_and_si512(a, _mm512_set1_epi32(0x7f));
    __m512i h = _mm512_or_si512(_mm512_slli_epi32(low, 7), _mm512_slli_epi32(_mm512_sub_epi32(a, low), 8));
    v16 value = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(h)), _mm512_set1_ps(256.0f));
    __mmask16 nan = _mm512_cmpeq_epi32_mask(low, _mm512_set1_epi32(0x7f));
    return _mm512_mask_mov_ps(value, nan, _mm512_set1_ps(NAN));
}
SIMD_INLINE v16 mm_load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)));
}
SIMD_INLINE v16 mm_load_i8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}
/* Four bits of each byte, from bit `shift` on. */
SIMD_INLINE v16 mm_load_nibbles(const uint8_t *p, int shift) {
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(bytes, (unsigned)shift), _mm512_set1_epi32(15)));
}
#if CPU_ISA_LEVEL == 3
SIMD_INLINE mm_ints mm_dot(mm_ints sum, mm_quad q, uint32_t x) {
    return _mm512_dpbusd_epi32(sum, q, _mm512_set1_epi32((int)x));
}
#else
typedef __m512i mm_pairs; /* 16-bit sums of two neighbours */
SIMD_INLINE mm_pairs mm_pair_dot(mm_quad q, uint32_t x) { return _mm512_maddubs_epi16(q, _mm512_set1_epi32((int)x)); }
SIMD_INLINE mm_pairs mm_pair_add(mm_pairs a, mm_pairs b) { return _mm512_add_epi16(a, b); }
SIMD_INLINE mm_ints mm_pair_sum(mm_ints sum, mm_pairs p, int16_t factor) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(p, _mm512_set1_epi16(factor)));
}
#endif

#elif CPU_ISA_LEVEL == 1
typedef struct mm_quad {
    __m256i a, b;
} mm_quad;
typedef struct mm_ints {
    __m256i a, b;
} mm_ints;
SIMD_INLINE mm_quad mm_quad_load(const uint8_t *p) {
    return (mm_quad){_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 32))};
}
SIMD_INLINE void mm_quad_store(uint8_t *p, mm_quad q) {
    _mm256_storeu_si256((void *)p, q.a);
    _mm256_storeu_si256((void *)(p + 32), q.b);
}
SIMD_INLINE mm_quad mm_quad_zero(void) { return (mm_quad){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
SIMD_INLINE mm_quad mm_quad_and(mm_quad q, uint8_t mask) {
    __m256i m = _mm256_set1_epi8((char)mask);
    return (mm_quad){_mm256_and_si256(q.a, m), _mm256_and_si256(q.b, m)};
}
SIMD_INLINE mm_quad mm_quad_or(mm_quad x, mm_quad y) {
    return (mm_quad){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
SIMD_INLINE mm_quad mm_quad_right(mm_quad q, int n) {
    return (mm_quad){_mm256_srli_epi16(q.a, n), _mm256_srli_epi16(q.b, n)};
}
SIMD_INLINE mm_quad mm_quad_left(mm_quad q, int n) {
    return (mm_quad){_mm256_slli_epi16(q.a, n), _mm256_slli_epi16(q.b, n)};
}
/* `bit` in each byte whose bit is set: the bit's byte is copied to all eight, each keeps its own bit. */
SIMD_INLINE __m256i mm_spread(const uint8_t *mask, uint8_t bit) {
    __m256i copy = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3,
                                    3, 3, 3, 3, 3);
    __m256i own = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i bits = _mm256_shuffle_epi8(_mm256_set1_epi32((int)mm_word(mask)), copy);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bits, own), own), _mm256_set1_epi8((char)bit));
}
SIMD_INLINE mm_quad mm_quad_bit(mm_quad q, const uint8_t *mask, uint8_t bit) {
    return (mm_quad){_mm256_or_si256(q.a, mm_spread(mask, bit)), _mm256_or_si256(q.b, mm_spread(mask + 4, bit))};
}
SIMD_INLINE mm_quad mm_quad_lookup(mm_quad q, const uint8_t table[16]) {
    __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table));
    return (mm_quad){_mm256_shuffle_epi8(t, q.a), _mm256_shuffle_epi8(t, q.b)};
}
SIMD_INLINE mm_ints mm_ints_set1(int32_t a) { return (mm_ints){_mm256_set1_epi32(a), _mm256_set1_epi32(a)}; }
SIMD_INLINE mm_ints mm_ints_add(mm_ints x, mm_ints y) {
    return (mm_ints){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
SIMD_INLINE mm_ints mm_ints_times_256(mm_ints x) {
    return (mm_ints){_mm256_slli_epi32(x.a, 8), _mm256_slli_epi32(x.b, 8)};
}
SIMD_INLINE v16 mm_ints_float(mm_ints x) { return v16_pair(_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)); }
SIMD_INLINE mm_ints mm_quad_lane_byte(mm_quad q, int b) {
    __m256i m = _mm256_set1_epi32(255);
    return (mm_ints){_mm256_and_si256(_mm256_srli_epi32(q.a, 8 * b), m),
                     _mm256_and_si256(_mm256_srli_epi32(q.b, 8 * b), m)};
}
/* E4M3 bytes as numbers: with its exponent and mantissa moved to those of binary16 a number is 2^-8 of itself. */
SIMD_INLINE __m256 mm_e4m3_half(__m256i a) {
    __m256i low = _mm256_and_si256(a, _mm256_set1_epi32(0x7f));
    __m256i h = _mm256_or_si256(_mm256_slli_epi32(low, 7), _mm256_slli_epi32(_mm256_sub_epi32(a, low), 8));
    __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    __m256 value = _mm256_mul_ps(_mm256_cvtph_ps(packed), _mm256_set1_ps(256.0f));
    __m256i nan = _mm256_cmpeq_epi32(low, _mm256_set1_epi32(0x7f));
    return _mm256_or_ps(value, _mm256_castsi256_ps(nan));
}
SIMD_INLINE v16 mm_ints_e4m3(mm_ints x) { return v16_pair(mm_e4m3_half(x.a), mm_e4m3_half(x.b)); }
SIMD_INLINE v16 mm_load_u8(const uint8_t *p) {
    return v16_pair(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p))),
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(p + 8)))));
}
SIMD_INLINE v16 mm_load_i8(const uint8_t *p) {
    return v16_pair(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p))),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(p + 8)))));
}
/* Four bits of each byte, from bit `shift` on. */
SIMD_INLINE __m256 mm_nibbles_half(const uint8_t *p, int shift) {
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(bytes, shift), _mm256_set1_epi32(15)));
}
SIMD_INLINE v16 mm_load_nibbles(const uint8_t *p, int shift) {
    return v16_pair(mm_nibbles_half(p, shift), mm_nibbles_half(p + 8, shift));
}
typedef struct mm_pairs {
    __m256i a, b;
} mm_pairs;
SIMD_INLINE mm_pairs mm_pair_dot(mm_quad q, uint32_t x) {
    __m256i v = _mm256_set1_epi32((int)x);
    return (mm_pairs){_mm256_maddubs_epi16(q.a, v), _mm256_maddubs_epi16(q.b, v)};
}
SIMD_INLINE mm_pairs mm_pair_add(mm_pairs x, mm_pairs y) {
    return (mm_pairs){_mm256_add_epi16(x.a, y.a), _mm256_add_epi16(x.b, y.b)};
}
SIMD_INLINE mm_ints mm_pair_sum(mm_ints sum, mm_pairs p, int16_t factor) {
    __m256i f = _mm256_set1_epi16(factor);
    return (mm_ints){_mm256_add_epi32(sum.a, _mm256_madd_epi16(p.a, f)),
                     _mm256_add_epi32(sum.b, _mm256_madd_epi16(p.b, f))};
}

#else
typedef struct mm_quad {
    uint8_t v[64];
} mm_quad;
typedef struct mm_ints {
    int32_t v[16];
} mm_ints;
SIMD_INLINE mm_quad mm_quad_load(const uint8_t *p) {
    mm_quad q;
    memcpy(q.v, p, 64);
    return q;
}
SIMD_INLINE mm_quad mm_quad_zero(void) { return (mm_quad){{0}}; }
SIMD_INLINE mm_quad mm_quad_and(mm_quad q, uint8_t mask) {
    for (int i = 0; i < 64; i++) q.v[i] &= mask;
    return q;
}
SIMD_INLINE mm_quad mm_quad_or(mm_quad x, mm_quad y) {
    for (int i = 0; i < 64; i++) x.v[i] |= y.v[i];
    return x;
}
SIMD_INLINE mm_quad mm_quad_right(mm_quad q, int n) {
    for (int i = 0; i < 64; i++) q.v[i] = (uint8_t)(q.v[i] >> n);
    return q;
}
SIMD_INLINE mm_quad mm_quad_left(mm_quad q, int n) {
    for (int i = 0; i < 64; i++) q.v[i] = (uint8_t)(q.v[i] << n);
    return q;
}
SIMD_INLINE mm_quad mm_quad_bit(mm_quad q, const uint8_t *mask, uint8_t bit) {
    for (int i = 0; i < 64; i++) q.v[i] = (uint8_t)(q.v[i] + (mask[i / 8] >> i % 8 & 1) * bit);
    return q;
}
SIMD_INLINE mm_quad mm_quad_lookup(mm_quad q, const uint8_t table[16]) {
    for (int i = 0; i < 64; i++) q.v[i] = table[q.v[i]];
    return q;
}
SIMD_INLINE mm_ints mm_ints_set1(int32_t a) {
    mm_ints r;
    for (int i = 0; i < 16; i++) r.v[i] = a;
    return r;
}
SIMD_INLINE mm_ints mm_ints_add(mm_ints x, mm_ints y) {
    for (int i = 0; i < 16; i++) x.v[i] += y.v[i];
    return x;
}
SIMD_INLINE v16 mm_ints_float(mm_ints x) {
    float f[16];
    for (int i = 0; i < 16; i++) f[i] = (float)x.v[i];
    return v16_load(f);
}
SIMD_INLINE mm_ints mm_quad_lane_byte(mm_quad q, int b) {
    mm_ints r;
    for (int i = 0; i < 16; i++) r.v[i] = q.v[4 * i + b];
    return r;
}
SIMD_INLINE v16 mm_ints_e4m3(mm_ints x) {
    float f[16];
    for (int i = 0; i < 16; i++) f[i] = mlxn_e4m3_to_f32((uint8_t)x.v[i]);
    return v16_load(f);
}
SIMD_INLINE v16 mm_load_u8(const uint8_t *p) {
    float f[16];
    for (int i = 0; i < 16; i++) f[i] = (float)p[i];
    return v16_load(f);
}
SIMD_INLINE v16 mm_load_i8(const uint8_t *p) {
    float f[16];
    for (int i = 0; i < 16; i++) f[i] = (float)(int8_t)p[i];
    return v16_load(f);
}
/* Four bits of each byte, from bit `shift` on. */
SIMD_INLINE v16 mm_load_nibbles(const uint8_t *p, int shift) {
    float f[16];
    for (int i = 0; i < 16; i++) f[i] = (float)(p[i] >> shift & 15);
    return v16_load(f);
}
#endif

/* What the layout of a kernel is, as far as it is a constant of its code; the rest is the weight's. */
#define MM_BLOCK_LAYOUT(name, ...)                                            \
    SIMD_INLINE cpu_tile_format mm_layout_##name(const cpu_tile_format *of) { \
        (void)of;                                                             \
        return (cpu_tile_format)CPU_TILE_LAYOUT(name, __VA_ARGS__);           \
    }
#define MM_VARIED_LAYOUT(name, bits, minimum, halves, offset, type)                                           \
    SIMD_INLINE cpu_tile_format mm_layout_##name(const cpu_tile_format *of) {                                 \
        return (cpu_tile_format)CPU_TILE_LAYOUT(name, bits, of->groups, false, minimum, halves, offset, type, \
                                                of->scale);                                                   \
    }
CPU_TILE_BLOCKS(MM_BLOCK_LAYOUT)
CPU_TILE_VARIED(MM_VARIED_LAYOUT)
MM_VARIED_LAYOUT(e4m3, 8, false, false, 0, E4M3)

/* The number of bits that decides how many products of codes a 16-bit sum holds. */
SIMD_INLINE uint32_t mm_sum_bits(const cpu_tile_format *f) {
    const cpu_code_type t = f->type; /* the largest number of each table, offset included: */
    if (t == CPU_CODES_IQ1 || t == CPU_CODES_E2M1 || t == CPU_CODES_IQ3_S) return 5; /* 18, 24, 30 */
    if (t == CPU_CODES_IQ2 || t == CPU_CODES_IQ3_XXS) return 7;                      /* 86, 124 */
    if (t == CPU_CODES_IQ4) return 8;                                                /* 240 */
    return f->bits < 4 ? 4 : f->bits;
}

#if CPU_ISA_LEVEL > 0
/* start + the dot product of quads [begin, end) with activations x (signed, four per quad from quad 0 on). */
SIMD_INLINE mm_ints mm_dot_run(uint32_t bits, mm_ints start, const mm_quad *q, const uint8_t *x, int begin, int end) {
#if CPU_ISA_LEVEL < 3
    if (bits == 8) {
        /* Pairs of 8-bit codes pass 16 bits: the low seven bits and the top bit are summed apart. */
        mm_pairs top = mm_pair_dot(mm_quad_and(mm_quad_right(q[begin], 7), 1), mm_word(x + 4 * begin));
        for (int j = begin; j < end; j++) {
            start = mm_pair_sum(start, mm_pair_dot(mm_quad_and(q[j], 127), mm_word(x + 4 * j)), 1);
            if (j > begin)
                top = mm_pair_add(top, mm_pair_dot(mm_quad_and(mm_quad_right(q[j], 7), 1), mm_word(x + 4 * j)));
        }
        return mm_pair_sum(start, top, 128);
    }
    /* As many pairs of narrower codes are summed as 16 bits hold: 8 x 3840, 4 x 7936, 2 x 16128, 1 x 32512 (their
     * largest sums). */
    const int step = bits == 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
    mm_pairs p = mm_pair_dot(q[begin], mm_word(x + 4 * begin));
#pragma GCC unroll 8
    for (int j = begin + 1; j < end; j++) {
        mm_pairs next = mm_pair_dot(q[j], mm_word(x + 4 * j));
        if ((j - begin) % step) {
            p = mm_pair_add(p, next);
        } else {
            start = mm_pair_sum(start, p, 1);
            p = next;
        }
    }
    return mm_pair_sum(start, p, 1);
#else
    /* Two chains, since the product takes longer than it takes to start the next. */
    mm_ints other = mm_ints_set1(0);
#pragma GCC unroll 8
    for (int j = begin; j < end; j += 2) {
        start = mm_dot(start, q[j], mm_word(x + 4 * j));
        other = mm_dot(other, q[j + 1], mm_word(x + 4 * j + 4));
    }
    return mm_ints_add(start, other);
#endif
}
#endif

/* The eight quads of a group. */
SIMD_INLINE void mm_unpack(const cpu_tile_format *f, const uint8_t *group, mm_quad q[CPU_QUADS]) {
    const uint8_t *codes = group + cpu_tile_scale_bytes(f), *high = codes + cpu_tile_code_bytes(f);
    if (f->bits == 8) {
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++) q[j] = mm_quad_load(codes + 64 * j);
        return;
    }
    if (f->bits == 1) {
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++) q[j] = mm_quad_zero();
    } else if (f->bits < 4) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            mm_quad four = mm_quad_load(codes + 64 * v);
            q[4 * v] = mm_quad_and(four, 3);
            q[4 * v + 1] = mm_quad_and(mm_quad_right(four, 2), 3);
            q[4 * v + 2] = mm_quad_and(mm_quad_right(four, 4), 3);
            q[4 * v + 3] = mm_quad_and(mm_quad_right(four, 6), 3);
        }
    } else {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            mm_quad both = mm_quad_load(codes + 64 * j);
            q[j] = mm_quad_and(both, 15);
            q[j + 4] = mm_quad_and(mm_quad_right(both, 4), 15);
        }
    }
    if (f->bits < 6 && f->bits % 2) {
        const uint8_t bit = (uint8_t)(1 << cpu_tile_high_bit(f));
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++) q[j] = mm_quad_bit(q[j], high + 8 * j, bit);
    }
    if (f->bits == 6) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            mm_quad h = mm_quad_load(high + 64 * v);
            q[4 * v] = mm_quad_or(q[4 * v], mm_quad_and(mm_quad_left(h, 4), 48));
            q[4 * v + 1] = mm_quad_or(q[4 * v + 1], mm_quad_and(mm_quad_left(h, 2), 48));
            q[4 * v + 2] = mm_quad_or(q[4 * v + 2], mm_quad_and(h, 48));
            q[4 * v + 3] = mm_quad_or(q[4 * v + 3], mm_quad_and(mm_quad_right(h, 2), 48));
        }
    }
    if (f->type >= CPU_CODES_E2M1) {
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++) q[j] = mm_quad_lookup(q[j], cpu_code_tables[f->type]);
    }
}

/* Sixteen numbers of a head from number `first` on. */
SIMD_INLINE v16 mm_numbers(const cpu_tile_format *f, const uint8_t *head, uint32_t first) {
    if (f->scale == MLXN_F16) return v16_load_f16((const uint16_t *)(const void *)head + first);
    if (f->scale == MLXN_BF16) return v16_load_bf16((const uint16_t *)(const void *)head + first);
    return v16_load((const float *)(const void *)head + first);
}

/* Scales of a group, and minimums where the format has them; the second of each where halves have their own. */
SIMD_INLINE void mm_scales(const cpu_tile_format *f, const uint8_t *head, const uint8_t *group, v16 scale[2],
                           v16 minimum[2]) {
    const v16 d = mm_numbers(f, head, 0), m = f->minimum ? mm_numbers(f, head, CPU_TILE) : v16_zero();
    scale[0] = d;
    minimum[0] = m;
    if (!f->bytes) {
        if (f->halves) scale[1] = mm_numbers(f, head, CPU_TILE);
        return;
    }
    const v16 less = f->minimum ? v16_sub(v16_zero(), m) : m;
    if (f->halves && f->minimum) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            scale[h] = v16_mul(d, mm_load_nibbles(group + CPU_TILE * h, 0));
            minimum[h] = v16_mul(less, mm_load_nibbles(group + CPU_TILE * h, 4));
        }
    } else if (f->minimum) {
        scale[0] = v16_mul(d, mm_load_u8(group));
        minimum[0] = v16_mul(less, mm_load_u8(group + CPU_TILE));
    } else {
        scale[0] = v16_mul(d, mm_load_i8(group));
        if (f->halves) scale[1] = v16_mul(d, mm_load_i8(group + CPU_TILE));
    }
}

#endif
