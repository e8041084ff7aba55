/* legacy.c: the blocks of 32 elements: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0; and Q8_1, of activations.
 *
 * Nibbles lie in halves order: byte j holds element j in its low and element j + 16 in its high nibble. The fifth
 * bits of Q5_x are one little-endian word, bit e for element e. Encoders divide by the scale before it is rounded to
 * binary16; codes are then cut, not rounded, because the rounding half is already in the offset. With an importance
 * of each column, scales (and minima) are searched for. */
#include "quant/encode_search.h"

enum { QK = 32, HALF = QK / 2 };

/* Toward zero, held in 0 … max; also defined where a subnormal scale made its reciprocal infinite (NaN gives 0). */
static unsigned cut(float value, unsigned max) {
    if (!(value >= 1.0f)) return 0;
    return value < (float)max ? (unsigned)value : max;
}

static void range(const float *x, float *low, float *high) {
    *low = *high = x[0];
    for (int i = 1; i < QK; i++) {
        if (x[i] < *low) *low = x[i];
        if (x[i] > *high) *high = x[i];
    }
}

static void store_nibbles(const uint8_t codes[QK], uint8_t *dst) {
    for (int j = 0; j < HALF; j++) dst[j] = (uint8_t)((codes[j] & 15) | (codes[j + HALF] & 15) << 4);
}

static void store_fifth_bits(const uint8_t codes[QK], uint8_t *dst) {
    uint32_t bits = 0;
    for (int e = 0; e < QK; e++) bits |= (uint32_t)(codes[e] >> 4 & 1) << e;
    mlxn_store_u32(dst, bits);
}

/* Q4_1 (codes up to 15) and Q5_1 (up to 31, whose fifth bits lie before the nibbles). */
static void encode_weighted_affine(int most, const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    const mlxn_affine_search rule = {QK, most, -0.9f, 0.05f, 36, true};
    float variance = mlxn_mean_square(src, n), w[QK], minimum;
    for (; n; n -= QK, src += QK, importance += QK, dst += HALF) {
        uint8_t codes[QK];
        mlxn_weigh_run(QK, src, importance, variance, w);
        mlxn_store_u16(dst, mlxn_f32_to_f16(mlxn_search_affine(&rule, src, w, codes, &minimum)));
        mlxn_store_u16(dst + 2, mlxn_f32_to_f16(0.0f - minimum));
        dst += 4;
        if (most > 15) {
            store_fifth_bits(codes, dst);
            dst += 4;
        }
        store_nibbles(codes, dst);
    }
}

void mlxn_decode_q4_0(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 18, dst += QK) {
        float d = mlxn_load_f16(src);
        for (int j = 0; j < HALF; j++) {
            dst[j] = d * (float)((src[2 + j] & 15) - 8);
            dst[j + HALF] = d * (float)((src[2 + j] >> 4) - 8);
        }
    }
}

void mlxn_encode_q4_0(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 18) {
        float d = mlxn_extreme(src, QK) / -8.0f, id = mlxn_reciprocal(d);
        uint8_t codes[QK];
        for (int e = 0; e < QK; e++) codes[e] = (uint8_t)cut(src[e] * id + 8.5f, 15);
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        store_nibbles(codes, dst + 2);
    }
}

void mlxn_encode_weighted_q4_0(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    if (!importance) {
        mlxn_encode_q4_0(src, n, dst);
        return;
    }
    float variance = mlxn_mean_square(src, n), w[QK];
    for (; n; n -= QK, src += QK, importance += QK, dst += 18) {
        uint8_t codes[QK];
        mlxn_weigh_run(QK, src, importance, variance, w);
        mlxn_store_u16(dst, mlxn_f32_to_f16(mlxn_search_symmetric(QK, 8, src, w, codes)));
        store_nibbles(codes, dst + 2);
    }
}

void mlxn_decode_q4_1(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 20, dst += QK) {
        float d = mlxn_load_f16(src), m = mlxn_load_f16(src + 2);
        for (int j = 0; j < HALF; j++) {
            dst[j] = d * (float)(src[4 + j] & 15) + m;
            dst[j + HALF] = d * (float)(src[4 + j] >> 4) + m;
        }
    }
}

void mlxn_encode_q4_1(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 20) {
        float low, high;
        range(src, &low, &high);
        float d = (high - low) / 15.0f, id = mlxn_reciprocal(d);
        uint8_t codes[QK];
        for (int e = 0; e < QK; e++) codes[e] = (uint8_t)cut((src[e] - low) * id + 0.5f, 15);
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        mlxn_store_u16(dst + 2, mlxn_f32_to_f16(low));
        store_nibbles(codes, dst + 4);
    }
}

void mlxn_encode_weighted_q4_1(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    if (importance)
        encode_weighted_affine(15, src, importance, n, dst);
    else
        mlxn_encode_q4_1(src, n, dst);
}

void mlxn_decode_q5_0(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 22, dst += QK) {
        float d = mlxn_load_f16(src);
        uint32_t high = mlxn_load_u32(src + 2);
        for (int j = 0; j < HALF; j++) {
            uint32_t fifth0 = high >> j & 1, fifth1 = high >> (j + HALF) & 1;
            dst[j] = d * (float)((int)((src[6 + j] & 15u) | fifth0 << 4) - 16);
            dst[j + HALF] = d * (float)((int)((uint32_t)src[6 + j] >> 4 | fifth1 << 4) - 16);
        }
    }
}

void mlxn_encode_q5_0(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 22) {
        float d = mlxn_extreme(src, QK) / -16.0f, id = mlxn_reciprocal(d);
        uint8_t codes[QK];
        for (int e = 0; e < QK; e++) codes[e] = (uint8_t)cut(src[e] * id + 16.5f, 31);
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        store_fifth_bits(codes, dst + 2);
        store_nibbles(codes, dst + 6);
    }
}

void mlxn_encode_weighted_q5_0(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    if (!importance) {
        mlxn_encode_q5_0(src, n, dst);
        return;
    }
    float variance = mlxn_mean_square(src, n), w[QK];
    for (; n; n -= QK, src += QK, importance += QK, dst += 22) {
        uint8_t codes[QK];
        mlxn_weigh_run(QK, src, importance, variance, w);
        mlxn_store_u16(dst, mlxn_f32_to_f16(mlxn_search_symmetric(QK, 16, src, w, codes)));
        store_fifth_bits(codes, dst + 2);
        store_nibbles(codes, dst + 6);
    }
}

void mlxn_decode_q5_1(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 24, dst += QK) {
        float d = mlxn_load_f16(src), m = mlxn_load_f16(src + 2);
        uint32_t high = mlxn_load_u32(src + 4);
        for (int j = 0; j < HALF; j++) {
            uint32_t fifth0 = high >> j & 1, fifth1 = high >> (j + HALF) & 1;
            dst[j] = d * (float)((src[8 + j] & 15u) | fifth0 << 4) + m;
            dst[j + HALF] = d * (float)((uint32_t)src[8 + j] >> 4 | fifth1 << 4) + m;
        }
    }
}

void mlxn_encode_q5_1(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 24) {
        float low, high;
        range(src, &low, &high);
        float d = (high - low) / 31.0f, id = mlxn_reciprocal(d);
        uint8_t codes[QK];
        for (int e = 0; e < QK; e++) codes[e] = (uint8_t)cut((src[e] - low) * id + 0.5f, 31);
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        mlxn_store_u16(dst + 2, mlxn_f32_to_f16(low));
        store_fifth_bits(codes, dst + 4);
        store_nibbles(codes, dst + 8);
    }
}

void mlxn_encode_weighted_q5_1(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    if (importance)
        encode_weighted_affine(31, src, importance, n, dst);
    else
        mlxn_encode_q5_1(src, n, dst);
}

void mlxn_decode_q8_0(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 34, dst += QK) {
        float d = mlxn_load_f16(src);
        for (int e = 0; e < QK; e++) dst[e] = d * (float)(int8_t)src[2 + e];
    }
}

/* The binary16 at byte 2 is the block's sum, of use to products only. */
void mlxn_decode_q8_1(const uint8_t *src, uint64_t n, float *dst) {
    for (; n; n -= QK, src += 36, dst += QK) {
        float d = mlxn_load_f16(src);
        for (int e = 0; e < QK; e++) dst[e] = d * (float)(int8_t)src[4 + e];
    }
}

void mlxn_encode_q8_0(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 34) {
        float d = fabsf(mlxn_extreme(src, QK)) / 127.0f, id = mlxn_reciprocal(d);
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        for (int e = 0; e < QK; e++) {
            unsigned magnitude = cut(fabsf(roundf(src[e] * id)), 127);
            dst[2 + e] = (uint8_t)(src[e] < 0.0f ? -(int)magnitude : (int)magnitude);
        }
    }
}
