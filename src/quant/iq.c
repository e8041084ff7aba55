/* iq.c: the grid formats. A super-block of 256 elements is eight sub-blocks of 32, each four groups of eight lanes;
 * a group is an entry of a grid, or two entries of four lanes, and signs or a shift. */
#include "quant/iq_grids.h"
#include "quant/quant.h"

enum { QK = 256 };

static const float values2[4] = {8, 25, 43, 0};
static const float values3_xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const float values3_s[8] = {1, 3, 5, 7, 9, 11, 13, 15};

/* Seven signs, and an eighth that makes the number of negative lanes even. */
static unsigned even_signs(unsigned x) {
    unsigned parity = x ^ x >> 4;
    parity ^= parity >> 2;
    return x | ((parity ^ parity >> 1) & 1u) << 7;
}

static inline float signed_value(float value, unsigned signs, int lane) { return signs >> lane & 1 ? -value : value; }

/* Eight lanes of a grid of magnitudes. */
static inline void put_eight(float step, unsigned entry, unsigned signs, float *dst) {
    for (int j = 0; j < 8; j++) dst[j] = signed_value(step * values2[entry >> 2 * j & 3], signs, j);
}

/* Four and four. */
static inline void put_fours(float step, const float *values, unsigned low, unsigned high, unsigned signs,
                             float *dst) {
    for (int j = 0; j < 4; j++) {
        dst[j] = signed_value(step * values[low >> 3 * j & 7], signs, j);
        dst[j + 4] = signed_value(step * values[high >> 3 * j & 7], signs, j + 4);
    }
}

/* The grid of the formats of one bit, each lane moved by delta. */
static inline void put_ternary(float step, unsigned entry, float delta, float *dst) {
    for (int j = 0; j < 8; j++) dst[j] = step * ((float)((int)(entry >> 2 * j & 3) - 1) + delta);
}

void mlxn_decode_iq2_xxs(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 66) {
        float d = mlxn_load_f16(src);
        for (int i = 0; i < 8; i++) {
            const uint8_t *at = src + 2 + 8 * i;
            uint32_t word = mlxn_load_u32(at + 4);
            float step = d * (0.5f + (float)(word >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, dst += 8)
                put_eight(step, mlxn_iq2xxs_grid[at[l]], even_signs(word >> 7 * l & 127), dst);
        }
    }
}

/* IQ2_XS and IQ2_S: a 4-bit scale for each half of a sub-block. */
static inline float half_step(float d, uint8_t scales, int l) {
    return d * (0.5f + (float)(l < 2 ? scales & 15 : scales >> 4)) * 0.25f;
}

void mlxn_decode_iq2_xs(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 74) {
        float d = mlxn_load_f16(src);
        for (int i = 0; i < 8; i++)
            for (int l = 0; l < 4; l++, dst += 8) {
                unsigned code = mlxn_load_u16(src + 2 + 2 * (4 * i + l));
                put_eight(half_step(d, src[66 + i], l), mlxn_iq2xs_grid[code & 511], even_signs(code >> 9), dst);
            }
    }
}

void mlxn_decode_iq2_s(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 82) {
        float d = mlxn_load_f16(src);
        for (int i = 0; i < 8; i++)
            for (int l = 0; l < 4; l++, dst += 8) {
                unsigned index = src[2 + 4 * i + l] | (src[66 + i] >> 2 * l & 3u) << 8;
                put_eight(half_step(d, src[74 + i], l), mlxn_iq2s_grid[index], src[34 + 4 * i + l], dst);
            }
    }
}

void mlxn_decode_iq3_xxs(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 98) {
        float d = mlxn_load_f16(src);
        for (int i = 0; i < 8; i++) {
            const uint8_t *at = src + 2 + 8 * i;
            uint32_t word = mlxn_load_u32(src + 66 + 4 * i);
            float step = d * (0.5f + (float)(word >> 28)) * 0.5f;
            for (int l = 0; l < 4; l++, dst += 8)
                put_fours(step, values3_xxs, mlxn_iq3xxs_grid[at[2 * l]], mlxn_iq3xxs_grid[at[2 * l + 1]],
                          even_signs(word >> 7 * l & 127), dst);
        }
    }
}

void mlxn_decode_iq3_s(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 110) {
        float d = mlxn_load_f16(src);
        for (int i = 0; i < 8; i++) {
            const uint8_t *at = src + 2 + 8 * i;
            unsigned high = src[66 + i], scale = src[106 + i / 2] >> 4 * (i & 1) & 15u;
            float step = d * (float)(1 + 2 * scale);
            for (int l = 0; l < 4; l++, dst += 8)
                put_fours(step, values3_s, mlxn_iq3s_grid[at[2 * l] | (high >> 2 * l & 1) << 8],
                          mlxn_iq3s_grid[at[2 * l + 1] | (high >> (2 * l + 1) & 1) << 8], src[74 + 4 * i + l], dst);
        }
    }
}

void mlxn_decode_iq1_s(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 50) {
        float d = mlxn_load_f16(src);
        for (int i = 0; i < 8; i++) {
            unsigned high = mlxn_load_u16(src + 34 + 2 * i);
            float step = d * (float)(2 * (high >> 12 & 7) + 1), delta = high >> 15 ? -0.125f : 0.125f;
            for (int l = 0; l < 4; l++, dst += 8)
                put_ternary(step, mlxn_iq1s_grid[src[2 + 4 * i + l] | (high >> 3 * l & 7) << 8], delta, dst);
        }
    }
}

/* The block's scale lies in the top nibbles of the four words of scales. */
void mlxn_decode_iq1_m(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 56) {
        unsigned scales[4], bits = 0;
        for (int k = 0; k < 4; k++) {
            scales[k] = mlxn_load_u16(src + 48 + 2 * k);
            bits |= scales[k] >> 12 << 4 * k;
        }
        float d = mlxn_f16_to_f32((uint16_t)bits);
        for (int i = 0; i < 8; i++)
            for (int l = 0; l < 4; l++, dst += 8) {
                unsigned scale = scales[i / 2] >> (6 * (i & 1) + 3 * (l / 2)) & 7;
                unsigned high = (unsigned)src[32 + 2 * i + l / 2] >> 4 * (l & 1);
                put_ternary(d * (float)(2 * scale + 1), mlxn_iq1s_grid[src[4 * i + l] | (high & 7) << 8],
                            high & 8 ? -0.125f : 0.125f, dst);
            }
    }
}
