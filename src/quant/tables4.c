/* tables4.c: blocks of 4-bit codes that are looked up in a table (IQ4_NL, IQ4_XS, MXFP4, NVFP4), and blocks of one
 * and two bits (TQ1_0, TQ2_0, Q1_0, Q2_0). */
#include "quant/tables4.h"

#include "quant/mlx.h"

#define SAME(v) v
const int8_t mlxn_iq4_values[16] = {MLXN_IQ4_VALUES(SAME)};
const int8_t mlxn_fp4_doubled[16] = {MLXN_FP4_DOUBLED(SAME)};

/* `half` bytes: element j in the low nibble of byte j, element j + half in its high nibble. */
static inline void put_nibbles(float step, const int8_t table[16], const uint8_t *codes, int half, float *dst) {
    for (int j = 0; j < half; j++) {
        dst[j] = step * (float)table[codes[j] & 15];
        dst[j + half] = step * (float)table[codes[j] >> 4];
    }
}

void mlxn_decode_iq4_nl(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 32, src += 18, dst += 32) put_nibbles(mlxn_load_f16(src), mlxn_iq4_values, src + 2, 16, dst);
}

void mlxn_decode_iq4_xs(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 256, src += 136) {
        float d = mlxn_load_f16(src);
        unsigned high = mlxn_load_u16(src + 2);
        for (int i = 0; i < 8; i++, dst += 32) {
            unsigned scale = (src[4 + i / 2] >> 4 * (i & 1) & 15u) | (high >> 2 * i & 3) << 4;
            put_nibbles(d * (float)((int)scale - 32), mlxn_iq4_values, src + 8 + 16 * i, 16, dst);
        }
    }
}

float mlxn_half_e8m0(uint8_t e) {
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

void mlxn_decode_mxfp4(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 32, src += 17, dst += 32) put_nibbles(mlxn_half_e8m0(src[0]), mlxn_fp4_doubled, src + 1, 16, dst);
}

float mlxn_ue4m3_to_f32(uint8_t code) { return (code & 127) == 127 ? 0.0f : mlxn_e4m3_to_f32(code & 127); }

void mlxn_decode_nvfp4(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 64, src += 36)
        for (int s = 0; s < 4; s++, dst += 16)
            put_nibbles(0.5f * mlxn_ue4m3_to_f32(src[s]), mlxn_fp4_doubled, src + 4 + 8 * s, 8, dst);
}

/* A byte holds five base-3 digits as a fraction of 256, the first digit highest. */
void mlxn_tq1_0_codes(const uint8_t *block, uint8_t codes[256]) {
    static const struct { int first, count, digits; } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++)
        for (int digit = 0; digit < runs[r].digits; digit++)
            for (int k = 0; k < runs[r].count; k++)
                *codes++ = (uint8_t)((uint8_t)(block[runs[r].first + k] * powers[digit]) * 3u >> 8);
}

void mlxn_decode_tq1_0(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 256, src += 54) {
        uint8_t codes[256];
        float d = mlxn_load_f16(src + 52);
        mlxn_tq1_0_codes(src, codes);
        for (int e = 0; e < 256; e++) *dst++ = d * (float)(codes[e] - 1);
    }
}

void mlxn_decode_tq2_0(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 256, src += 66) {
        float d = mlxn_load_f16(src + 64);
        for (int run = 0; run < 8; run++)
            for (int k = 0; k < 32; k++) *dst++ = d * (float)((src[32 * (run / 4) + k] >> 2 * (run % 4) & 3) - 1);
    }
}

void mlxn_decode_q1_0(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 128, src += 18) {
        float d = mlxn_load_f16(src);
        for (int e = 0; e < 128; e++) *dst++ = src[2 + e / 8] >> e % 8 & 1 ? d : -d;
    }
}

void mlxn_decode_q2_0(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= 64, src += 18) {
        float d = mlxn_load_f16(src);
        for (int e = 0; e < 64; e++) *dst++ = d * (float)((src[2 + e / 4] >> 2 * (e % 4) & 3) - 1);
    }
}
