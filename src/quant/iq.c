/* iq.c: the grid formats. A sub-block of 32 elements is four groups of eight lanes; a group is an entry of a grid, or
 * two entries of four lanes, and signs or a shift. */
#include "quant/iq.h"

#include "quant/iq_grids.h"
#include "quant/quant.h"

enum { QK = 256 };

/* Seven signs, and an eighth that makes the number of negative lanes even. */
static unsigned even_signs(unsigned x) {
    unsigned parity = x ^ x >> 4;
    parity ^= parity >> 2;
    return x | ((parity ^ parity >> 1) & 1u) << 7;
}

/* Eight lanes of two bits; bit j of `signs` is the sign of lane j. */
static inline void put_eight(unsigned entry, unsigned signs, uint8_t *codes) {
    for (int j = 0; j < 8; j++) codes[j] = (uint8_t)((entry >> 2 * j & 3) | (signs >> j & 1) << 2);
}

/* Four and four lanes of three bits. */
static inline void put_fours(unsigned low, unsigned high, unsigned signs, uint8_t *codes) {
    unsigned entry = low | high << 12;
    for (int j = 0; j < 8; j++) codes[j] = (uint8_t)((entry >> 3 * j & 7) | (signs >> j & 1) << 3);
}

/* The scales of this family are s + 1/2, doubled here. */
static inline uint8_t odd(unsigned s) { return (uint8_t)(2 * s + 1); }

void mlxn_iq2_xxs_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]) {
    const uint8_t *at = block + 2 + 8 * i;
    uint32_t word = mlxn_load_u32(at + 4);
    scales[0] = scales[1] = odd(word >> 28);
    for (int l = 0; l < 4; l++) put_eight(mlxn_iq2xxs_grid[at[l]], even_signs(word >> 7 * l & 127), codes + 8 * l);
}

/* IQ2_XS and IQ2_S: a 4-bit scale for each half of a sub-block. */
void mlxn_iq2_xs_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]) {
    scales[0] = odd(block[66 + i] & 15u);
    scales[1] = odd(block[66 + i] >> 4u);
    for (uint32_t l = 0; l < 4; l++) {
        unsigned code = mlxn_load_u16(block + 2 + 2 * (4 * i + l));
        put_eight(mlxn_iq2xs_grid[code & 511], even_signs(code >> 9), codes + 8 * l);
    }
}

void mlxn_iq2_s_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]) {
    scales[0] = odd(block[74 + i] & 15u);
    scales[1] = odd(block[74 + i] >> 4u);
    for (uint32_t l = 0; l < 4; l++) {
        unsigned index = block[2 + 4 * i + l] | (block[66 + i] >> 2 * l & 3u) << 8;
        put_eight(mlxn_iq2s_grid[index], block[34 + 4 * i + l], codes + 8 * l);
    }
}

void mlxn_iq3_xxs_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]) {
    const uint8_t *at = block + 2 + 8 * i;
    uint32_t word = mlxn_load_u32(block + 66 + 4 * i);
    scales[0] = scales[1] = odd(word >> 28);
    for (int l = 0; l < 4; l++)
        put_fours(mlxn_iq3xxs_grid[at[2 * l]], mlxn_iq3xxs_grid[at[2 * l + 1]], even_signs(word >> 7 * l & 127),
                  codes + 8 * l);
}

void mlxn_iq3_s_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]) {
    const uint8_t *at = block + 2 + 8 * i;
    unsigned high = block[66 + i];
    scales[0] = scales[1] = odd(block[106 + i / 2] >> 4 * (i & 1) & 15u);
    for (uint32_t l = 0; l < 4; l++)
        put_fours(mlxn_iq3s_grid[at[2 * l] | (high >> 2 * l & 1) << 8],
                  mlxn_iq3s_grid[at[2 * l + 1] | (high >> (2 * l + 1) & 1) << 8], block[74 + 4 * i + l],
                  codes + 8 * l);
}

/* IQ1: the sign is that of the shift, for all eight lanes. */
void mlxn_iq1_s_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]) {
    unsigned high = mlxn_load_u16(block + 34 + 2 * i);
    scales[0] = scales[1] = odd(high >> 12 & 7);
    for (uint32_t l = 0; l < 4; l++)
        put_eight(mlxn_iq1s_grid[block[2 + 4 * i + l] | (high >> 3 * l & 7) << 8], high >> 15 ? 255 : 0,
                  codes + 8 * l);
}

void mlxn_iq1_m_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]) {
    unsigned both = (unsigned)mlxn_load_u16(block + 48 + 2 * (i / 2)) >> 6 * (i & 1);
    scales[0] = odd(both & 7);
    scales[1] = odd(both >> 3 & 7);
    for (uint32_t l = 0; l < 4; l++) {
        unsigned high = (unsigned)block[32 + 2 * i + l / 2] >> 4 * (l & 1);
        put_eight(mlxn_iq1s_grid[block[4 * i + l] | (high & 7) << 8], high & 8 ? 255 : 0, codes + 8 * l);
    }
}

uint16_t mlxn_iq1_m_scale(const uint8_t *block) {
    unsigned bits = 0;
    for (int k = 0; k < 4; k++) bits |= (unsigned)block[49 + 2 * k] >> 4 << 4 * k;
    return (uint16_t)bits;
}

/* One block; `d` is the block's scale times the format's unit. */
static inline void decode_block(mlxn_iq_read *read, const uint8_t *block, float d, const float *values, float *dst) {
    for (uint32_t i = 0; i < QK / 32; i++) {
        uint8_t codes[32], scales[2];
        read(block, i, codes, scales);
        for (int k = 0; k < 32; k++) *dst++ = d * (float)scales[k / 16] * values[codes[k]];
    }
}

#define SAME(v) v
static const float values2[8] = {MLXN_IQ2_VALUES(SAME)}, values1[8] = {MLXN_IQ1_VALUES(SAME)};
static const float values3_xxs[16] = {MLXN_IQ3_XXS_VALUES(SAME)}, values3_s[16] = {MLXN_IQ3_S_VALUES(SAME)};

#define DECODE(name, bytes, unit, values)                                                    \
    void mlxn_decode_##name(const uint8_t *src, uint64_t n, float *dst) {                    \
        for (; n; n -= QK, src += (bytes), dst += QK)                                        \
            decode_block(mlxn_##name##_read, src, mlxn_load_f16(src) * (unit), values, dst); \
    }
DECODE(iq1_s, 50, MLXN_IQ1_UNIT, values1)
DECODE(iq2_xxs, 66, MLXN_IQ2_UNIT, values2)
DECODE(iq2_xs, 74, MLXN_IQ2_UNIT, values2)
DECODE(iq2_s, 82, MLXN_IQ2_UNIT, values2)
DECODE(iq3_xxs, 98, MLXN_IQ3_XXS_UNIT, values3_xxs)
DECODE(iq3_s, 110, MLXN_IQ3_S_UNIT, values3_s)

void mlxn_decode_iq1_m(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 56, dst += QK)
        decode_block(mlxn_iq1_m_read, src, mlxn_f16_to_f32(mlxn_iq1_m_scale(src)) * MLXN_IQ1_UNIT, values1, dst);
}
