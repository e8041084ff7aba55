/* matmul_i8_code.c (CPU kernels): the arithmetic of matmul_i8.c, unrolled for each layout of weights and number of
 * tokens: few tokens are multiplied as the weights are decoded, many with panels of decoded weights. */
#include "backend/cpu/kernels/matmul_i8.h"

#if CPU_ISA_LEVEL > 0

enum { PREFETCH_BYTES = 4096 };

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
    const uint64_t step = mm_record_bytes(f, tokens);
    const uint8_t *unit = tile;
    for (uint64_t g = 0; g < groups; g += f->groups) {
        const uint8_t *group = unit + head;
        for (uint32_t i = 0; i < f->groups; i++, group += group_bytes, record += step) {
            for (uint32_t line = 0; line < group_bytes; line += 64) __builtin_prefetch(group + PREFETCH_BYTES + line);
            mm_quad q[CPU_QUADS];
            v16 scale[2], minimum[2];
            mm_unpack(f, group, q);
            mm_scales(f, unit, group, scale, minimum);
            const float *x_scale = (const float *)(record + tokens * TOKEN_BYTES), *start = x_scale + tokens;
#pragma GCC unroll 8
            for (uint32_t t = 0; t < tokens; t++) {
                const uint32_t parts = mm_parts(f);
#pragma GCC unroll 2
                for (uint32_t p = 0; p < parts; p++) {
                    const uint8_t *high = record + t * TOKEN_BYTES, *low = high + CPU_GROUP;
                    const int first = (int)(p * CPU_QUADS / parts), last = (int)((p + 1) * CPU_QUADS / parts);
                    mm_ints s = mm_dot_run(mm_sum_bits(f), mm_ints_set1(0), q, high, first, last);
                    s = mm_dot_run(mm_sum_bits(f), carry(s, start_of(f, start, tokens, t, p)), q, low, first, last);
                    sum[t] = add_part(sum[t], s, scale[p], x_scale[t]);
                }
                if (f->minimum) {
#pragma GCC unroll 2
                    for (uint32_t p = 0; p < parts; p++)
                        sum[t] = v16_fma(minimum[p], v16_set1(start[p * tokens + t]), sum[t]);
                }
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
        direct_tile(f, w->packed + tile * w->tile_bytes, cpu_groups(w->cols), records, tokens, sum);
#pragma GCC unroll 8
        for (uint32_t t = 0; t < tokens; t++) mm_finish(target, first_token + t, tile * CPU_TILE, sum[t]);
    }
}

/* --- Many tokens: panels of decoded codes. --- */

/* Groups [first, first + n) of a tile: codes, scales (two vectors: halves, or scale and minimum) per group. A tile
 * that does not exist (data == NULL) gives zeros. */
SIMD_INLINE void fill_panel(const cpu_tile_format *f, const uint8_t *tile, uint64_t first, uint64_t n,
                            uint8_t *panel) {
    const uint64_t step = mm_panel_group_bytes(f);
    if (!tile) {
        memset(panel, 0, n * step);
        return;
    }
    for (uint64_t g = first; g < first + n; g++, panel += step) {
        const uint8_t *unit = tile + g / f->groups * cpu_tile_unit_bytes(f);
        const uint8_t *group = unit + cpu_tile_head_bytes(f) + g % f->groups * cpu_tile_group_bytes(f);
        for (uint32_t line = 0; line < cpu_tile_group_bytes(f); line += 64)
            __builtin_prefetch(group + PREFETCH_BYTES + line);
        mm_quad q[CPU_QUADS];
        v16 scale[2], minimum[2];
        mm_unpack(f, group, q);
        mm_scales(f, unit, group, scale, minimum);
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++) mm_quad_store(panel + CPU_QUAD_BYTES * j, q[j]);
        float *scales = (float *)(panel + CPU_QUADS * CPU_QUAD_BYTES);
        const uint32_t parts = mm_parts(f);
#pragma GCC unroll 2
        for (uint32_t p = 0; p < parts; p++) {
            v16_store(scales + 16 * p, scale[p]);
            if (f->minimum) v16_store(scales + 16 * (parts + p), minimum[p]);
        }
    }
}

/* sum[r][t] += panel rows times `tokens` tokens (of records of I8_TOKENS), over `groups` groups. */
SIMD_INLINE void multiply_panel(const cpu_tile_format *f, uint32_t tokens, const uint8_t *panel, uint64_t panel_step,
                                uint64_t groups, const uint8_t *record, v16 sum[I8_TILES][I8_TOKENS]) {
    const uint32_t parts = mm_parts(f);
    const uint64_t step = mm_record_bytes(f, I8_TOKENS), group_bytes = mm_panel_group_bytes(f);
    for (uint64_t g = 0; g < groups; g++, panel += group_bytes, record += step) {
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
        if (!f->minimum) continue;
#pragma GCC unroll 2
        for (uint32_t p = 0; p < parts; p++)
#pragma GCC unroll 2
            for (uint32_t r = 0; r < I8_TILES; r++) {
                v16 minimum = v16_load(scales + r * panel_step / 4 + 16 * (parts + p));
                const float *x_sum = start + p * I8_TOKENS;
#pragma GCC unroll 8
                for (uint32_t t = 0; t < tokens; t++) sum[r][t] = v16_fma(minimum, v16_set1(x_sum[t]), sum[r][t]);
            }
    }
}

SIMD_INLINE void multiply_block(const cpu_tile_format *f, uint32_t tokens, const mm_stretch *s, uint64_t first_token,
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

#define DIRECT(name, tokens)                                                                              \
    static void name##_direct_##tokens(const mm_matrix *w, const mm_target *target, uint64_t first_token, \
                                       uint64_t begin, uint64_t end, const uint8_t *records) {            \
        cpu_tile_format layout = mm_layout_##name(w->layout);                                             \
        direct_tiles(&layout, tokens, w, target, first_token, begin, end, records);                       \
    }
#define FILL(name)                                                                                      \
    static void name##_fill(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n, \
                            uint8_t *panel) {                                                           \
        cpu_tile_format layout = mm_layout_##name(of);                                                  \
        fill_panel(&layout, tile, first, n, panel);                                                     \
    }
/* Panels are the same for all formats whose codes sum up alike. */
#define BLOCK(b, m, h, tokens)                                                                         \
    static void block_##b##m##h##_##tokens(const mm_stretch *s, uint64_t first, const uint8_t *record, \
                                           float *partial) {                                           \
        const cpu_tile_format sums = {.bits = b, .minimum = m, .halves = h};                           \
        multiply_block(&sums, tokens, s, first, record, partial);                                      \
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
    static const mm_block_fn blocks_##bits##minimum##halves[I8_TOKENS] = {                                       \
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
    static const mm_block_fn blocks_##bits##minimum##halves[I8_TOKENS] = {                                       \
        block_##bits##minimum##halves##_1, block_##bits##minimum##halves##_2, block_##bits##minimum##halves##_3, \
        block_##bits##minimum##halves##_4};
#endif

/* Bits as mm_sum_bits has them, minimum, halves. */
SUMS(4, 0, 0)
SUMS(4, 0, 1)
SUMS(4, 1, 0)
SUMS(4, 1, 1)
SUMS(5, 0, 0)
SUMS(5, 0, 1)
SUMS(5, 1, 0)
SUMS(6, 0, 1)
SUMS(6, 1, 0)
SUMS(7, 0, 0)
SUMS(7, 0, 1)
SUMS(8, 0, 0)
SUMS(8, 1, 0)

#define CODE(name, ...) DIRECT_ALL(name) FILL(name)
CPU_TILE_BLOCKS(CODE)
CPU_TILE_VARIED(CODE)

#define CODE_ROW(name, sums) [CPU_KERNEL_##name] = {{DIRECT_LIST(name)}, name##_fill, blocks_##sums}
static const mm_i8_code formats[CPU_KERNEL_COUNT] = {
    CODE_ROW(q4_0, 400),        CODE_ROW(q4_1, 410),       CODE_ROW(q5_0, 500),    CODE_ROW(q5_1, 510),
    CODE_ROW(q8_0, 800),        CODE_ROW(q8_k, 800),       CODE_ROW(q2_k, 411),    CODE_ROW(q3_k, 401),
    CODE_ROW(q4_k, 410),        CODE_ROW(q5_k, 510),       CODE_ROW(q6_k, 601),    CODE_ROW(iq4_nl, 800),
    CODE_ROW(iq1, 500),         CODE_ROW(iq1_halves, 501), CODE_ROW(iq2, 700),     CODE_ROW(iq2_halves, 701),
    CODE_ROW(iq3_xxs, 700),     CODE_ROW(iq3_s, 500),      CODE_ROW(iq4_xs, 800),  CODE_ROW(binary, 400),
    CODE_ROW(ternary, 400),     CODE_ROW(affine2, 410),    CODE_ROW(affine3, 410), CODE_ROW(affine4, 410),
    CODE_ROW(affine5, 510),     CODE_ROW(affine6, 610),    CODE_ROW(affine8, 810), CODE_ROW(e2m1, 500),
    CODE_ROW(e2m1_halves, 501),
};

const mm_i8_code *CPU_ISA(mm_i8_find)(const cpu_tile_format *layout) {
    return layout && formats[layout->kernel].fill ? &formats[layout->kernel] : NULL;
}

#endif
