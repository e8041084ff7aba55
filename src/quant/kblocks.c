/* kblocks.c: the blocks of 256 elements with scales of their own inside: Q2_K (sixteen groups of 16, a 4-bit scale
 * and a 4-bit minimum each), Q3_K (sixteen, a 6-bit scale each), Q4_K, Q5_K (eight groups of 32, a 6-bit scale and a
 * 6-bit minimum each) and Q6_K (sixteen, an 8-bit scale each); and Q8_K, of activations, with one scale. */
#include "quant/quant.h"

enum { QK = 256 };

/* Scale and minimum of group j from the 12 packed bytes: groups 0 to 3 use the low six bits of bytes j and j + 4;
 * groups 4 to 7 have their low nibbles in byte j + 4 and their upper two bits on top of the bytes of group j - 4. */
static void group_scale(const uint8_t *s, int j, unsigned *scale, unsigned *minimum) {
    if (j < 4) {
        *scale = s[j] & 63u;
        *minimum = s[j + 4] & 63u;
    } else {
        *scale = (s[j + 4] & 15u) | (unsigned)s[j - 4] >> 6 << 4;
        *minimum = (unsigned)s[j + 4] >> 4 | (unsigned)s[j] >> 6 << 4;
    }
}

void mlxn_decode_q4_k(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 144, dst += QK) {
        float d = mlxn_load_f16(src), dmin = mlxn_load_f16(src + 2);
        for (int g = 0; g < 8; g++) {
            unsigned scale, minimum;
            group_scale(src + 4, g, &scale, &minimum);
            float step = d * (float)scale, offset = dmin * (float)minimum;
            const uint8_t *codes = src + 16 + 32 * (g / 2); /* two groups share 32 bytes: low, then high nibbles */
            int shift = 4 * (g & 1);
            for (int l = 0; l < 32; l++) dst[32 * g + l] = step * (float)(codes[l] >> shift & 15) - offset;
        }
    }
}

void mlxn_decode_q5_k(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 176, dst += QK) {
        float d = mlxn_load_f16(src), dmin = mlxn_load_f16(src + 2);
        const uint8_t *high = src + 16; /* bit g of byte l is the fifth bit of element l of group g */
        for (int g = 0; g < 8; g++) {
            unsigned scale, minimum;
            group_scale(src + 4, g, &scale, &minimum);
            float step = d * (float)scale, offset = dmin * (float)minimum;
            const uint8_t *codes = src + 48 + 32 * (g / 2);
            int shift = 4 * (g & 1);
            for (int l = 0; l < 32; l++) {
                int code = (codes[l] >> shift & 15) | (high[l] >> g & 1) << 4;
                dst[32 * g + l] = step * (float)code - offset;
            }
        }
    }
}

void mlxn_decode_q6_k(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 210, dst += QK) {
        float d = mlxn_load_f16(src + 208);
        for (int run = 0; run < 8; run++) { /* 32 elements each; four runs share 64 low bytes and 32 high bytes */
            int half = run / 4, w = run % 4;
            const uint8_t *low = src + 64 * half + 32 * (w & 1);
            const uint8_t *high = src + 128 + 32 * half;
            int low_shift = w < 2 ? 0 : 4;
            for (int l = 0; l < 32; l++) {
                int code = (low[l] >> low_shift & 15) | (high[l] >> 2 * w & 3) << 4;
                float step = d * (float)(int8_t)src[192 + 2 * run + l / 16];
                dst[32 * run + l] = step * (float)(code - 32);
            }
        }
    }
}

void mlxn_decode_q2_k(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 84, dst += QK) {
        float d = mlxn_load_f16(src + 80), dmin = mlxn_load_f16(src + 82);
        for (int g = 0; g < 16; g++) {
            float step = d * (float)(src[g] & 15), offset = dmin * (float)(src[g] >> 4);
            /* Four runs of 32 elements share 32 bytes, two bits each. */
            const uint8_t *codes = src + 16 + 32 * (g / 8) + 16 * (g & 1);
            for (int l = 0; l < 16; l++) dst[16 * g + l] = step * (float)(codes[l] >> 2 * (g / 2 % 4) & 3) - offset;
        }
    }
}

void mlxn_decode_q3_k(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 110, dst += QK) {
        const uint8_t *scales = src + 96;
        float d = mlxn_load_f16(src + 108);
        for (int g = 0; g < 16; g++) {
            int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4, high = scales[8 + g % 4] >> 2 * (g / 4) & 3;
            float step = d * (float)((low | high << 4) - 32);
            const uint8_t *codes = src + 32 + 32 * (g / 8) + 16 * (g & 1), *mask = src + 16 * (g & 1);
            for (int l = 0; l < 16; l++) /* a bit that is not set takes four away */
                dst[16 * g + l] = step * (float)((codes[l] >> 2 * (g / 2 % 4) & 3) - (mask[l] >> g / 2 & 1 ? 0 : 4));
        }
    }
}

void mlxn_decode_q8_k(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 292, dst += QK) {
        uint32_t bits = mlxn_load_u32(src);
        float d;
        memcpy(&d, &bits, 4);
        for (int e = 0; e < QK; e++) dst[e] = d * (float)(int8_t)src[4 + e];
    }
}
