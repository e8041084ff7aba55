/* matmul_i8.c (CPU kernels): quantized weights times activations in fixed point, on 8-bit dot products.
 *
 * Activations are rounded per group of 32: x = scale * q, scale = absmax / 32512, q to nearest even. q has 16 bits
 * and goes in two bytes, q = 256 * high + low: one byte alone (absmax / 127) moved logits of small models by more
 * than half a unit, because one large element takes the precision of its whole group. Decoding is bound by the
 * weights' bytes, so the second byte costs it nothing. A group's dot product of codes and q, s = 256 * (codes . high)
 * + codes . low, is an exact 32-bit integer; for every group in turn (every half of one
 * where halves have scales of their own) sum = fma(float(s) *
 * w_scale, x_scale, sum), and with minimums sum = fma(w_minimum, x_scale * (sum of q), sum). This is the arithmetic
 * of every output element, whatever the number of tokens or threads, so that a prompt gives the bits that its tokens
 * give one by one. Formats with an offset start s at -offset * (sum of q).
 *
 * A NaN or an infinity in a group makes its scale one, and so the token's outputs. */
#include "backend/cpu/kernels/matmul_codes.h"
#include "backend/cpu/kernels/matmul_experts.h"

#if CPU_ISA_LEVEL > 0

enum { TOKEN_BYTES = 2 * CPU_GROUP, I8_FEW = 2 * I8_DIRECT };
enum { PANEL_GROUP_BYTES = CPU_QUADS * CPU_QUAD_BYTES + 2 * 16 * 4, PREFETCH_BYTES = 4096 };

/* Activations of `tokens` tokens, one record per group: for each token high[32] and low[32], then scale[tokens],
 * start[parts][tokens]; `start` is what the dot products start from, or with minimums the float x_scale * (sum of q).
 */
static inline uint32_t parts_of(const cpu_tile_format *f) { return f->halves ? 2 : 1; }
static inline uint64_t record_bytes(const cpu_tile_format *f, uint64_t tokens) {
    return tokens * (TOKEN_BYTES + 4 + 4 * parts_of(f));
}

/* --- Rounding activations. --- */

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
SIMD_INLINE void round_token(const cpu_tile_format *f, mlxn_dtype dtype, const void *x, uint64_t groups, uint64_t t,
                             uint64_t tokens, uint8_t *record) {
    uint64_t step = record_bytes(f, tokens);
    for (uint64_t g = 0; g < groups; g++, record += step) {
        v16 a = v16_load_as(dtype, x, g * CPU_GROUP, 16), b = v16_load_as(dtype, x, g * CPU_GROUP + 16, 16);
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
        if (f->minimum) {
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
    uint64_t groups = x->dims[1] / CPU_GROUP;
    for (uint64_t t = 0; t < n; t++) {
        const void *row = mm_token_row(from, first + t);
        if (x->dtype == MLXN_F32)
            round_token(f, MLXN_F32, row, groups, t, tokens, records);
        else if (x->dtype == MLXN_F16)
            round_token(f, MLXN_F16, row, groups, t, tokens, records);
        else
            round_token(f, MLXN_BF16, row, groups, t, tokens, records);
    }
}

/* --- One group. --- */

/* What a dot product of part p of token t starts from. */
SIMD_INLINE int32_t start_of(const cpu_tile_format *f, const float *start, uint64_t tokens, uint64_t t, uint32_t p) {
    return f->minimum ? 0 : ((const int32_t *)start)[p * tokens + t];
}

/* The high bytes' sum takes its place above the low bytes', which start from `start`. */
SIMD_INLINE mm_ints carry(mm_ints high, int32_t start) {
    return mm_ints_add(mm_ints_times_256(high), mm_ints_set1(start));
}

SIMD_INLINE v16 add_part(v16 sum, mm_ints s, v16 w_scale, float x_scale) {
    return v16_fma(v16_mul(mm_ints_float(s), w_scale), v16_set1(x_scale), sum);
}

/* --- Few tokens: decode and multiply. --- */

SIMD_INLINE void direct_tile(const cpu_tile_format *f, const uint8_t *tile, uint64_t groups, const uint8_t *record,
                             uint32_t tokens, v16 *sum) {
    const uint32_t head = cpu_tile_head_bytes(f), group_bytes = cpu_tile_group_bytes(f);
    const uint64_t step = record_bytes(f, tokens);
    const uint8_t *unit = tile;
    for (uint64_t g = 0; g < groups; g += f->groups) {
        const uint8_t *group = unit + head;
        for (uint32_t i = 0; i < f->groups; i++, group += group_bytes, record += step) {
            for (uint32_t line = 0; line < group_bytes; line += 64) __builtin_prefetch(group + PREFETCH_BYTES + line);
            mm_quad q[CPU_QUADS];
            v16 scale[2], minimum;
            mm_unpack(f, group, q);
            mm_scales(f, unit, group, scale, &minimum);
            const float *x_scale = (const float *)(record + tokens * TOKEN_BYTES), *start = x_scale + tokens;
#pragma GCC unroll 8
            for (uint32_t t = 0; t < tokens; t++) {
                const uint32_t parts = parts_of(f);
#pragma GCC unroll 2
                for (uint32_t p = 0; p < parts; p++) {
                    const uint8_t *high = record + t * TOKEN_BYTES, *low = high + CPU_GROUP;
                    const int first = (int)(p * CPU_QUADS / parts), last = (int)((p + 1) * CPU_QUADS / parts);
                    mm_ints s = mm_dot_run(mm_sum_bits(f), mm_ints_set1(0), q, high, first, last);
                    s = mm_dot_run(mm_sum_bits(f), carry(s, start_of(f, start, tokens, t, p)), q, low, first, last);
                    sum[t] = add_part(sum[t], s, scale[p], x_scale[t]);
                }
                if (f->minimum) sum[t] = v16_fma(minimum, v16_set1(start[t]), sum[t]);
            }
        }
        unit = group;
    }
}

/* Tiles [begin, end) times `tokens` tokens from `first_token` on. */
SIMD_INLINE void direct_tiles(const cpu_tile_format *f, uint32_t tokens, const mm_matrix *w, const mm_target *target,
                              uint64_t first_token, uint64_t begin, uint64_t end, const uint8_t *records) {
    for (uint64_t tile = begin; tile < end; tile++) {
        v16 sum[I8_DIRECT];
#pragma GCC unroll 8
        for (uint32_t t = 0; t < tokens; t++) sum[t] = v16_zero();
        direct_tile(f, w->packed + tile * w->tile_bytes, w->cols / CPU_GROUP, records, tokens, sum);
#pragma GCC unroll 8
        for (uint32_t t = 0; t < tokens; t++) mm_finish(target, first_token + t, tile * CPU_TILE, sum[t]);
    }
}

/* --- Many tokens: panels of decoded codes. --- */

/* Groups [first, first + n) of a tile: codes, scales (two vectors: halves, or scale and minimum) per group. A tile
 * that does not exist (data == NULL) gives zeros. */
SIMD_INLINE void fill_panel(const cpu_tile_format *f, const uint8_t *tile, uint64_t first, uint64_t n,
                            uint8_t *panel) {
    if (!tile) {
        memset(panel, 0, n * PANEL_GROUP_BYTES);
        return;
    }
    for (uint64_t g = first; g < first + n; g++, panel += PANEL_GROUP_BYTES) {
        const uint8_t *unit = tile + g / f->groups * cpu_tile_unit_bytes(f);
        const uint8_t *group = unit + cpu_tile_head_bytes(f) + g % f->groups * cpu_tile_group_bytes(f);
        for (uint32_t line = 0; line < cpu_tile_group_bytes(f); line += 64)
            __builtin_prefetch(group + PREFETCH_BYTES + line);
        mm_quad q[CPU_QUADS];
        v16 scale[2], minimum;
        mm_unpack(f, group, q);
        mm_scales(f, unit, group, scale, &minimum);
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++) mm_quad_store(panel + CPU_QUAD_BYTES * j, q[j]);
        float *scales = (float *)(panel + CPU_QUADS * CPU_QUAD_BYTES);
        v16_store(scales, scale[0]);
        if (f->minimum) v16_store(scales + 16, minimum);
        if (f->halves) v16_store(scales + 16, scale[1]);
    }
}

/* sum[r][t] += panel rows times `tokens` tokens (of records of I8_TOKENS), over `groups` groups. */
SIMD_INLINE void multiply_panel(const cpu_tile_format *f, uint32_t tokens, const uint8_t *panel, uint64_t panel_step,
                                uint64_t groups, const uint8_t *record, v16 sum[I8_TILES][I8_TOKENS]) {
    const uint32_t parts = parts_of(f);
    const uint64_t step = record_bytes(f, I8_TOKENS);
    for (uint64_t g = 0; g < groups; g++, panel += PANEL_GROUP_BYTES, record += step) {
        const float *x_scale = (const float *)(record + I8_TOKENS * TOKEN_BYTES), *start = x_scale + I8_TOKENS;
        const float *scales = (const float *)(panel + CPU_QUADS * CPU_QUAD_BYTES);
#pragma GCC unroll 2
        for (uint32_t p = 0; p < parts; p++) {
            const int begin = (int)(p * CPU_QUADS / parts), end = (int)((p + 1) * CPU_QUADS / parts);
#if CPU_ISA_LEVEL == 3
            mm_ints s[I8_TILES][I8_TOKENS];
#pragma GCC unroll 2
            for (int byte = 0; byte < 2; byte++) { /* the high bytes, then the low ones */
#pragma GCC unroll 8
                for (uint32_t t = 0; t < tokens; t++)
#pragma GCC unroll 2
                    for (uint32_t r = 0; r < I8_TILES; r++)
                        s[r][t] = byte ? carry(s[r][t], start_of(f, start, I8_TOKENS, t, p)) : mm_ints_set1(0);
#pragma GCC unroll 8
                for (int j = begin; j < end; j++) {
                    mm_quad q[I8_TILES];
#pragma GCC unroll 2
                    for (uint32_t r = 0; r < I8_TILES; r++)
                        q[r] = mm_quad_load(panel + r * panel_step + CPU_QUAD_BYTES * j);
#pragma GCC unroll 8
                    for (uint32_t t = 0; t < tokens; t++) {
                        const uint32_t x = mm_word(record + t * TOKEN_BYTES + byte * CPU_GROUP + 4 * j);
#pragma GCC unroll 2
                        for (uint32_t r = 0; r < I8_TILES; r++) s[r][t] = mm_dot(s[r][t], q[r], x);
                    }
                }
            }
#pragma GCC unroll 2
            for (uint32_t r = 0; r < I8_TILES; r++) {
                v16 scale = v16_load(scales + r * panel_step / 4 + 16 * p);
#pragma GCC unroll 8
                for (uint32_t t = 0; t < tokens; t++) sum[r][t] = add_part(sum[r][t], s[r][t], scale, x_scale[t]);
            }
#else
            for (uint32_t r = 0; r < I8_TILES; r++) {
                v16 scale = v16_load(scales + r * panel_step / 4 + 16 * p);
                mm_quad q[CPU_QUADS];
#pragma GCC unroll 8
                for (int j = begin; j < end; j++) q[j] = mm_quad_load(panel + r * panel_step + CPU_QUAD_BYTES * j);
#pragma GCC unroll 8
                for (uint32_t t = 0; t < tokens; t++) {
                    const uint8_t *high = record + t * TOKEN_BYTES, *low = high + CPU_GROUP;
                    mm_ints s = mm_dot_run(mm_sum_bits(f), mm_ints_set1(0), q, high, begin, end);
                    s = mm_dot_run(mm_sum_bits(f), carry(s, start_of(f, start, I8_TOKENS, t, p)), q, low, begin, end);
                    sum[r][t] = add_part(sum[r][t], s, scale, x_scale[t]);
                }
            }
#endif
        }
        if (f->minimum) {
#pragma GCC unroll 2
            for (uint32_t r = 0; r < I8_TILES; r++) {
                v16 minimum = v16_load(scales + r * panel_step / 4 + 16);
#pragma GCC unroll 8
                for (uint32_t t = 0; t < tokens; t++) sum[r][t] = v16_fma(minimum, v16_set1(start[t]), sum[r][t]);
            }
        }
    }
}

/* A stretch of a panel times one token block; `partial` holds the sums between stretches. */
typedef struct stretch {
    const mm_target *target;
    const uint8_t *panel;
    uint64_t panel_step, groups, first_tile, tiles;
    bool begins, ends;
} stretch;

SIMD_INLINE void multiply_block(const cpu_tile_format *f, uint32_t tokens, const stretch *s, uint64_t first_token,
                                const uint8_t *record, float *partial) {
    v16 sum[I8_TILES][I8_TOKENS];
#pragma GCC unroll 2
    for (uint32_t r = 0; r < I8_TILES; r++)
#pragma GCC unroll 8
        for (uint32_t t = 0; t < tokens; t++)
            sum[r][t] = s->begins ? v16_zero() : v16_load(partial + 16 * (t * I8_TILES + r));
    multiply_panel(f, tokens, s->panel, s->panel_step, s->groups, record, sum);
#pragma GCC unroll 8
    for (uint32_t t = 0; t < tokens; t++)
#pragma GCC unroll 2
        for (uint32_t r = 0; r < I8_TILES; r++) {
            if (!s->ends)
                v16_store(partial + 16 * (t * I8_TILES + r), sum[r][t]);
            else if (r < s->tiles)
                mm_finish(s->target, first_token + t, (s->first_tile + r) * CPU_TILE, sum[r][t]);
        }
}

/* --- The code of each format. --- */

typedef void (*direct_fn)(const mm_matrix *w, const mm_target *target, uint64_t first_token, uint64_t begin,
                          uint64_t end, const uint8_t *records);
typedef void (*fill_fn)(const cpu_tile_format *layout, const uint8_t *tile, uint64_t first, uint64_t n,
                        uint8_t *panel);
typedef void (*block_fn)(const stretch *s, uint64_t first_token, const uint8_t *record, float *partial);
typedef struct i8_format {
    direct_fn direct[I8_DIRECT]; /* by tokens - 1 */
    fill_fn fill;
    const block_fn *block; /* by tokens - 1 */
} i8_format;

/* What the layout of a format is, as far as it is a constant of its code; the rest is the weight's. */
#define CONSTANT(format, name, bits, groups, minimum, halves, offset)                        \
    SIMD_INLINE cpu_tile_format name##_layout(const cpu_tile_format *layout) {               \
        return (cpu_tile_format)CPU_TILE_BLOCK(bits, groups, minimum, halves, offset, name); \
    }
#define CONSTANT_MLX(name, bits, minimum, halves, offset, type)                                                \
    SIMD_INLINE cpu_tile_format name##_layout(const cpu_tile_format *layout) {                                 \
        return (cpu_tile_format)CPU_TILE_MLX_LAYOUT(name, bits, minimum, halves, offset, type, layout->groups, \
                                                    layout->scale);                                            \
    }
CPU_TILE_FORMATS(CONSTANT)
CPU_TILE_MLX(CONSTANT_MLX)

#define DIRECT(name, tokens)                                                                              \
    static void name##_direct_##tokens(const mm_matrix *w, const mm_target *target, uint64_t first_token, \
                                       uint64_t begin, uint64_t end, const uint8_t *records) {            \
        cpu_tile_format layout = name##_layout(w->layout);                                                \
        direct_tiles(&layout, tokens, w, target, first_token, begin, end, records);                       \
    }
#define FILL(name)                                                                                      \
    static void name##_fill(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n, \
                            uint8_t *panel) {                                                           \
        cpu_tile_format layout = name##_layout(of);                                                     \
        fill_panel(&layout, tile, first, n, panel);                                                     \
    }
/* Panels are the same for all formats whose codes sum up alike. */
#define BLOCK(b, m, h, tokens)                                                                      \
    static void block_##b##m##h##_##tokens(const stretch *s, uint64_t first, const uint8_t *record, \
                                           float *partial) {                                        \
        const cpu_tile_format sums = {.bits = b, .minimum = m, .halves = h};                        \
        multiply_block(&sums, tokens, s, first, record, partial);                                   \
    }
#if CPU_ISA_LEVEL >= 2
#define DIRECT_ALL(name) \
    DIRECT(name, 1) DIRECT(name, 2) DIRECT(name, 3) DIRECT(name, 4) DIRECT(name, 5) DIRECT(name, 6)
#define DIRECT_LIST(name) \
    name##_direct_1, name##_direct_2, name##_direct_3, name##_direct_4, name##_direct_5, name##_direct_6
#define SUMS(bits, minimum, halves)                                                                              \
    BLOCK(bits, minimum, halves, 1)                                                                              \
    BLOCK(bits, minimum, halves, 2)                                                                              \
    BLOCK(bits, minimum, halves, 3)                                                                              \
    BLOCK(bits, minimum, halves, 4)                                                                              \
    BLOCK(bits, minimum, halves, 5)                                                                              \
    BLOCK(bits, minimum, halves, 6)                                                                              \
    static const block_fn blocks_##bits##minimum##halves[I8_TOKENS] = {                                          \
        block_##bits##minimum##halves##_1, block_##bits##minimum##halves##_2, block_##bits##minimum##halves##_3, \
        block_##bits##minimum##halves##_4, block_##bits##minimum##halves##_5, block_##bits##minimum##halves##_6};
#else
#define DIRECT_ALL(name) DIRECT(name, 1) DIRECT(name, 2)
#define DIRECT_LIST(name) name##_direct_1, name##_direct_2
#define SUMS(bits, minimum, halves)                                                                              \
    BLOCK(bits, minimum, halves, 1)                                                                              \
    BLOCK(bits, minimum, halves, 2)                                                                              \
    BLOCK(bits, minimum, halves, 3)                                                                              \
    BLOCK(bits, minimum, halves, 4)                                                                              \
    static const block_fn blocks_##bits##minimum##halves[I8_TOKENS] = {                                          \
        block_##bits##minimum##halves##_1, block_##bits##minimum##halves##_2, block_##bits##minimum##halves##_3, \
        block_##bits##minimum##halves##_4};
#endif

/* Bits as mm_sum_bits has them, minimum, halves. */
SUMS(4, 0, 0)
SUMS(4, 1, 0)
SUMS(5, 0, 0)
SUMS(5, 0, 1)
SUMS(5, 1, 0)
SUMS(6, 0, 1)
SUMS(6, 1, 0)
SUMS(8, 0, 0)
SUMS(8, 1, 0)

#define FORMAT_CODE(format, name, bits, groups, minimum, halves, offset) DIRECT_ALL(name) FILL(name)
#define MLX_CODE(name, bits, minimum, halves, offset, type) DIRECT_ALL(name) FILL(name)
CPU_TILE_FORMATS(FORMAT_CODE)
CPU_TILE_MLX(MLX_CODE)

#define CODE_ROW(name, sums) [CPU_KERNEL_##name] = {{DIRECT_LIST(name)}, name##_fill, blocks_##sums}
static const i8_format formats[CPU_KERNEL_COUNT] = {
    CODE_ROW(q4_0, 400),    CODE_ROW(q4_1, 410),    CODE_ROW(q5_0, 500),    CODE_ROW(q5_1, 510),
    CODE_ROW(q8_0, 800),    CODE_ROW(q4_k, 410),    CODE_ROW(q5_k, 510),    CODE_ROW(q6_k, 601),
    CODE_ROW(affine2, 410), CODE_ROW(affine3, 410), CODE_ROW(affine4, 410), CODE_ROW(affine5, 510),
    CODE_ROW(affine6, 610), CODE_ROW(affine8, 810), CODE_ROW(e2m1, 500),    CODE_ROW(e2m1_halves, 501),
};

/* NULL: plain formats and those that are floats have no integers to multiply. */
static const i8_format *find(const cpu_tile_format *layout) {
    return layout && formats[layout->kernel].fill ? &formats[layout->kernel] : NULL;
}

/* --- Rows of the table. --- */

bool CPU_ISA(mm_i8_fits)(const mlxn_view *args, const void *params) {
    return mm_fits(args) && find(cpu_layout_of(args[MM_W].weight));
}

static mm_shape shape_of(const mlxn_view *args, uint32_t n_threads) {
    if (args[MM_X].dims[0] <= I8_FEW) return mm_shape_few(args, n_threads, 1);
    return mm_shape_many(args, n_threads, I8_TILES, I8_TOKENS);
}
/* Stretches of nearly equal length along k. */
static uint64_t stretch_groups(uint64_t groups) {
    uint64_t n = (groups + I8_PANEL_GROUPS - 1) / I8_PANEL_GROUPS;
    return (groups + n - 1) / n;
}
static uint64_t panel_bytes(uint64_t groups) { return stretch_groups(groups) * PANEL_GROUP_BYTES * I8_TILES; }

void CPU_ISA(mm_i8_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    mm_shape s = shape_of(args, n_threads);
    const cpu_tile_format *f = cpu_layout_of(args[MM_W].weight);
    uint64_t groups = s.cols / CPU_GROUP;
    if (s.tokens <= I8_FEW) {
        /* Every thread rounds the few activations itself, which is cheaper than a barrier. */
        *out = (cpu_plan){.phases = 1, .chunks = {s.panels}, .local_bytes = groups * record_bytes(f, s.tokens)};
        return;
    }
    *out = (cpu_plan){.phases = 2,
                      .chunks = {s.blocks, s.panels * s.ranges},
                      .shared_bytes = s.blocks * groups * record_bytes(f, I8_TOKENS),
                      .local_bytes = panel_bytes(groups)};
    if (groups > I8_PANEL_GROUPS) out->local_bytes += s.range * I8_TOKENS * I8_TILES * 16 * sizeof(float);
}

/* More tokens than I8_DIRECT go in two passes, the second of which finds a chunk's weights in the cache. */
static void run_few(cpu_run *run, const i8_format *row, const cpu_tile_format *f) {
    mm_shape s = shape_of(run->args, run->n_threads);
    const uint64_t first = s.tokens <= I8_DIRECT ? s.tokens : (s.tokens + 1) / 2, second = s.tokens - first;
    uint8_t *records = run->local, *more = records + s.cols / CPU_GROUP * record_bytes(f, first);
    const mm_matrix w = mm_matrix_of(run->args[MM_W].weight, 0);
    const mm_target target = mm_target_of(run->args);
    const mm_tokens from = {.x = &run->args[MM_X]};
    bool rounded = false;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        if (!rounded) {
            round_tokens(f, &from, 0, first, first, records);
            round_tokens(f, &from, first, second, second, more);
            rounded = true;
        }
        uint64_t begin = chunk * s.panel_tiles, end = mlxn_min_u64(begin + s.panel_tiles, s.tiles);
        row->direct[first - 1](&w, &target, 0, begin, end, records);
        if (second) row->direct[second - 1](&w, &target, first, begin, end, more);
    }
}

/* I8_TILES tiles from `tile` on times token blocks [first, last) of a matrix's `tokens` tokens. */
static void multiply_tiles(const i8_format *row, const mm_matrix *w, const mm_target *target, uint64_t tokens,
                           const uint8_t *records, uint64_t tile, uint64_t first, uint64_t last, uint8_t *panel) {
    uint64_t groups = w->cols / CPU_GROUP, part = stretch_groups(groups);
    uint64_t record = record_bytes(w->layout, I8_TOKENS);
    float *partial = (float *)(panel + panel_bytes(groups));
    stretch st = {
        .target = target, .panel = panel, .first_tile = tile, .tiles = mlxn_min_u64(I8_TILES, w->tiles - tile)};
    for (uint64_t g = 0; g < groups; g += st.groups) {
        st.groups = mlxn_min_u64(part, groups - g);
        st.panel_step = st.groups * PANEL_GROUP_BYTES;
        st.begins = g == 0;
        st.ends = g + st.groups == groups;
        for (uint64_t r = 0; r < I8_TILES; r++)
            row->fill(w->layout, r < st.tiles ? w->packed + (tile + r) * w->tile_bytes : NULL, g, st.groups,
                      panel + r * st.panel_step);
        for (uint64_t b = first; b < last; b++) {
            uint64_t n = mlxn_min_u64(I8_TOKENS, tokens - b * I8_TOKENS);
            row->block[n - 1](&st, b * I8_TOKENS, records + (b * groups + g) * record,
                              partial + (b - first) * I8_TOKENS * I8_TILES * 16);
        }
    }
}

static void run_many(cpu_run *run, const i8_format *row, const cpu_tile_format *f) {
    mm_shape s = shape_of(run->args, run->n_threads);
    const mm_matrix w = mm_matrix_of(run->args[MM_W].weight, 0);
    const mm_target target = mm_target_of(run->args);
    const mm_tokens from = {.x = &run->args[MM_X]};
    uint64_t groups = s.cols / CPU_GROUP, chunk;
    if (run->phase == 0) {
        while (cpu_next(run, &chunk))
            round_tokens(f, &from, chunk * I8_TOKENS, mlxn_min_u64(I8_TOKENS, s.tokens - chunk * I8_TOKENS),
                         I8_TOKENS, (uint8_t *)run->shared + chunk * groups * record_bytes(f, I8_TOKENS));
        return;
    }
    while (cpu_next(run, &chunk)) {
        uint64_t first = chunk % s.ranges * s.range;
        multiply_tiles(row, &w, &target, s.tokens, run->shared, chunk / s.ranges * I8_TILES, first,
                       mlxn_min_u64(first + s.range, s.blocks), run->local);
    }
}

void CPU_ISA(mm_i8_run)(cpu_run *run) {
    const cpu_tile_format *f = cpu_layout_of(run->args[MM_W].weight);
    const i8_format *row = find(f);
    if (run->args[MM_X].dims[0] <= I8_FEW)
        run_few(run, row, f);
    else
        run_many(run, row, f);
}

/* --- Expert-routed. A matrix with few tokens is multiplied as it is decoded, its records being of that many. --- */

enum { ID_RANGE = 512 / I8_TOKENS }; /* token blocks whose partial sums are kept */

bool CPU_ISA(mm_i8_id_fits)(const mlxn_view *args, const void *params) {
    return mm_route_fits(args) && find(cpu_layout_of(args[ID_W].weight));
}

void CPU_ISA(mm_i8_id_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mm_route_shape s = mm_route_shape_of(args, n_threads, I8_TILES, I8_TOKENS);
    const cpu_tile_format *f = cpu_layout_of(args[ID_W].weight);
    uint64_t groups = args[ID_X].dims[1] / CPU_GROUP;
    *out = (cpu_plan){.phases = 3,
                      .chunks = {1, s.blocks, s.active * s.panels},
                      .shared_bytes = s.bytes + s.blocks * groups * record_bytes(f, I8_TOKENS),
                      .local_bytes = panel_bytes(groups)};
    if (groups > I8_PANEL_GROUPS)
        out->local_bytes += mlxn_min_u64(ID_RANGE, s.blocks) * I8_TOKENS * I8_TILES * 16 * sizeof(float);
}

static void id_round(cpu_run *run, const mm_route_shape *s, const mm_route *r, uint8_t *records) {
    const cpu_tile_format *f = cpu_layout_of(run->args[ID_W].weight);
    uint64_t step = run->args[ID_X].dims[1] / CPU_GROUP * record_bytes(f, I8_TOKENS), b;
    while (cpu_next(run, &b)) {
        if (b >= r->block[*r->active]) continue;
        uint32_t i = mm_route_matrix(r, b);
        const mm_tokens from = {&run->args[ID_X], r->slots + r->begin[i], s->slots_per_row};
        uint64_t count = r->begin[i + 1] - r->begin[i], first = (b - r->block[i]) * I8_TOKENS;
        round_tokens(f, &from, first, mlxn_min_u64(I8_TOKENS, count - first), count <= I8_DIRECT ? count : I8_TOKENS,
                     records + b * step);
    }
}

static void id_multiply(cpu_run *run, const mm_route_shape *s, const mm_route *r, const uint8_t *records) {
    const mlxn_weight_view *weight = run->args[ID_W].weight;
    const i8_format *row = find(cpu_layout_of(weight));
    uint64_t step = weight->cols / CPU_GROUP * record_bytes(cpu_layout_of(weight), I8_TOKENS), chunk;
    while (cpu_next(run, &chunk)) {
        uint32_t i = (uint32_t)(chunk / s->panels);
        if (i >= *r->active) continue;
        const mm_matrix w = mm_matrix_of(weight, r->expert[i]);
        const mm_target target = mm_route_target(run->args, r, i);
        uint64_t count = r->begin[i + 1] - r->begin[i], blocks = r->block[i + 1] - r->block[i];
        uint64_t begin = chunk % s->panels * s->panel_tiles, end = mlxn_min_u64(begin + s->panel_tiles, w.tiles);
        const uint8_t *own = records + r->block[i] * step;
        if (count <= I8_DIRECT) {
            row->direct[count - 1](&w, &target, 0, begin, end, own);
            continue;
        }
        for (uint64_t tile = begin; tile < end; tile += I8_TILES)
            for (uint64_t b = 0; b < blocks; b += ID_RANGE)
                multiply_tiles(row, &w, &target, count, own, tile, b, mlxn_min_u64(b + ID_RANGE, blocks), run->local);
    }
}

void CPU_ISA(mm_i8_id_run)(cpu_run *run) {
    const mm_route_shape s = mm_route_shape_of(run->args, run->n_threads, I8_TILES, I8_TOKENS);
    const mm_route r = mm_route_in(&s, run->shared);
    uint8_t *records = (uint8_t *)run->shared + s.bytes;
    uint64_t chunk;
    if (run->phase == 1) id_round(run, &s, &r, records);
    if (run->phase == 2) id_multiply(run, &s, &r, records);
    while (run->phase == 0 && cpu_next(run, &chunk)) mm_route_build(run->args, &s, I8_TOKENS, &r);
}

#endif
