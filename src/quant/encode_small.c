/* encode_small.c: encoders of Q8_1, of the formats with a table of values (IQ4_NL, IQ4_XS, MXFP4, NVFP4) and of the
 * ternary and binary ones (TQ1_0, TQ2_0, Q1_0, Q2_0). */
#include "quant/encode_search.h"
#include "quant/tables4.h"

/* Nearest integer, ties away from zero, held in low … high; NaN gives low. */
static int round_away(float value, int low, int high) {
    if (!(value > (float)low)) return low;
    return value < (float)high ? (int)roundf(value) : high;
}

/* Byte j holds element j low and element j + half high. */
static void store_halves(const uint8_t *q, int half, uint8_t *dst) {
    for (int j = 0; j < half; j++) dst[j] = (uint8_t)(q[j] | q[j + half] << 4);
}

void mlxn_encode_q8_1(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 32, src += 32, dst += 36) {
        float d = fabsf(mlxn_extreme(src, 32)) / 127.0f, inverse = mlxn_reciprocal(d);
        int sum = 0;
        for (int e = 0; e < 32; e++) {
            int code = round_away(src[e] * inverse, -127, 127);
            dst[4 + e] = (uint8_t)code;
            sum += code;
        }
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        mlxn_store_u16(dst + 2, mlxn_f32_to_f16((float)sum * d));
    }
}

/* The entry of mlxn_iq4_values closest to v; the upper one at a midpoint. */
static uint8_t nearest_nonlinear(float v) {
    int i = 0;
    while (i < 15 && v >= 0.5f * (float)(mlxn_iq4_values[i] + mlxn_iq4_values[i + 1])) i++;
    return (uint8_t)i;
}

/* Codes of 32 values for one inverse scale; sums of w v x and of w v², v the coded value and w the weight, x² if w is
 * NULL. */
static void code_nonlinear(const float *x, const float *w, float inverse, uint8_t *q, float *sum_vx, float *sum_v2) {
    *sum_vx = *sum_v2 = 0.0f;
    for (int i = 0; i < 32; i++) {
        q[i] = nearest_nonlinear(x[i] * inverse);
        float v = (float)mlxn_iq4_values[q[i]], weight = w ? w[i] : x[i] * x[i];
        *sum_vx += weight * v * x[i];
        *sum_v2 += weight * v * v;
    }
}

void mlxn_encode_iq4_nl(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 32, src += 32, dst += 18) {
        memset(dst, 0, 18);
        float extreme = mlxn_extreme(src, 32), sum_vx, sum_v2;
        if (fabsf(extreme) < MLXN_SEARCH_EPSILON) continue;
        uint8_t q[32];
        code_nonlinear(src, NULL, 1.0f / (extreme / -127.0f), q, &sum_vx, &sum_v2);
        mlxn_store_u16(dst, mlxn_f32_to_f16(sum_vx / sum_v2));
        store_halves(q, 16, dst + 2);
    }
}

/* The best of 16 scales for 32 values; 0 for zeros. */
static float search_nonlinear(const float *x, const float *w) {
    float extreme = mlxn_extreme(x, 32), sum_vx, sum_v2;
    if (fabsf(extreme) < MLXN_SEARCH_EPSILON) return 0.0f;
    uint8_t q[32];
    code_nonlinear(x, w, 1.0f / (extreme / 127.0f), q, &sum_vx, &sum_v2);
    float d = sum_vx / sum_v2, best = d * sum_vx;
    for (int t = -7; t <= 7; t++) {
        code_nonlinear(x, w, (float)(t - 127) / extreme, q, &sum_vx, &sum_v2);
        if (!(sum_v2 > 0.0f && sum_vx * sum_vx > best * sum_v2)) continue;
        d = sum_vx / sum_v2;
        best = d * sum_vx;
    }
    return d;
}

/* 32 values times an inverse scale as codes in 16 bytes. */
static void store_nonlinear(const float *x, float inverse, uint8_t *dst) {
    uint8_t q[32];
    for (int i = 0; i < 32; i++) q[i] = nearest_nonlinear(inverse * x[i]);
    store_halves(q, 16, dst);
}

void mlxn_encode_weighted_iq4_nl(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    for (; n; n -= 32, src += 32, dst += 18) {
        float w[32];
        if (importance) {
            mlxn_weigh_run(32, src, importance, 2.0f * mlxn_mean_square(src, 32), w);
            importance += 32;
        }
        float d = search_nonlinear(src, importance ? w : NULL);
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        store_nonlinear(src, mlxn_reciprocal(d), dst + 2);
    }
}

void mlxn_encode_weighted_iq4_xs(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    for (; n; n -= 256, src += 256, dst += 136) {
        float scale[8], w[32], variance = 2.0f * mlxn_mean_square(src, 256);
        for (int j = 0; j < 8; j++) {
            if (importance) mlxn_weigh_run(32, src + 32 * j, importance + 32 * j, variance, w);
            scale[j] = search_nonlinear(src + 32 * j, importance ? w : NULL);
        }
        if (importance) importance += 256;
        float d = -mlxn_extreme(scale, 8) / 32.0f, inverse = mlxn_reciprocal(d);
        memset(dst, 0, 8);
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
        unsigned high = 0;
        for (int j = 0; j < 8; j++) {
            int u = mlxn_round_clamp(inverse * scale[j], -32, 31);
            store_nonlinear(src + 32 * j, mlxn_reciprocal(d * (float)u), dst + 8 + 16 * j);
            dst[4 + j / 2] |= (uint8_t)(((u + 32) & 15) << 4 * (j & 1));
            high |= (unsigned)(u + 32) >> 4 << 2 * j;
        }
        mlxn_store_u16(dst + 2, (uint16_t)high);
    }
}

void mlxn_encode_iq4_xs(const float *src, uint64_t n, uint8_t *dst) {
    mlxn_encode_weighted_iq4_xs(src, NULL, n, dst);
}

/* The code whose value times step is closest to x, the lowest on a tie. Values are twice those of E2M1. */
static uint8_t nearest_fp4(float x, float step) {
    const int8_t *values = mlxn_fp4_doubled;
    int best = 0;
    for (int c = 1; c < 16; c++)
        if (fabsf((float)values[c] * step - x) < fabsf((float)values[best] * step - x)) best = c;
    return (uint8_t)best;
}

void mlxn_encode_mxfp4(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 32, src += 32, dst += 17) {
        float most = fabsf(mlxn_extreme(src, 32));
        int e = most > 0.0f ? ilogbf(most) - 2 + 127 : 0;
        if (e < 0) e = 0; /* subnormal blocks */
        float step = mlxn_half_e8m0((uint8_t)e);
        uint8_t q[32];
        for (int i = 0; i < 32; i++) q[i] = nearest_fp4(src[i], step);
        dst[0] = (uint8_t)e;
        store_halves(q, 16, dst + 1);
    }
}

/* Unsigned E4M3 of x ≥ 0: half up, and from 256 on the largest value, 448. */
static uint8_t encode_ue4m3(float x) {
    if (!(x > 0.0f)) return 0;
    if (x >= 256.0f) return 0x7e;
    int e = ilogbf(x) + 7;
    if (e <= 0) {
        int m = (int)(512.0f * x + 0.5f);
        return (uint8_t)(m < 7 ? m : 7);
    }
    uint32_t bits;
    memcpy(&bits, &x, 4);
    int code = e << 3 | (int)(bits >> 20 & 7);
    code += (int)(bits >> 19 & 1);
    return (uint8_t)(code < 15 << 3 ? code : 0x7e);
}

void mlxn_encode_nvfp4(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 64, src += 64, dst += 36) {
        for (int s = 0; s < 4; s++) {
            const float *x = src + 16 * s;
            dst[s] = encode_ue4m3(fabsf(mlxn_extreme(x, 16)) / 6.0f);
            float step = 0.5f * mlxn_ue4m3_to_f32(dst[s]);
            uint8_t q[16];
            for (int i = 0; i < 16; i++) q[i] = nearest_fp4(x[i], step);
            store_halves(q, 8, dst + 4 + 8 * s);
        }
    }
}

/* -1, 0, 1 as 0, 1, 2. */
static int trit(float scaled) { return round_away(scaled, -1, 1) + 1; }

/* `bytes` bytes of `trits` base-3 digits; digit t of byte b is element bytes * t + b. A byte is the digits as a
 * fraction of 3^5, rounded up to 1/256. */
static void store_trits(const float *x, float inverse, int bytes, int trits, uint8_t *dst) {
    for (int b = 0; b < bytes; b++) {
        int value = 0;
        for (int t = 0; t < 5; t++) value = 3 * value + (t < trits ? trit(x[bytes * t + b] * inverse) : 0);
        dst[b] = (uint8_t)((value * 256 + 242) / 243);
    }
}

void mlxn_encode_tq1_0(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 256, src += 256, dst += 54) {
        float d = fabsf(mlxn_extreme(src, 256)), inverse = mlxn_reciprocal(d);
        store_trits(src, inverse, 32, 5, dst);
        store_trits(src + 160, inverse, 16, 5, dst + 32);
        store_trits(src + 240, inverse, 4, 4, dst + 48);
        mlxn_store_u16(dst + 52, mlxn_f32_to_f16(d));
    }
}

void mlxn_encode_tq2_0(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 256, src += 256, dst += 66) {
        float d = fabsf(mlxn_extreme(src, 256)), inverse = mlxn_reciprocal(d);
        memset(dst, 0, 64);
        for (int e = 0; e < 256; e++)
            dst[32 * (e / 128) + e % 32] |= (uint8_t)(trit(src[e] * inverse) << 2 * (e % 128 / 32));
        mlxn_store_u16(dst + 64, mlxn_f32_to_f16(d));
    }
}

void mlxn_encode_q1_0(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 128, src += 128, dst += 18) {
        float sum = 0.0f;
        memset(dst, 0, 18);
        for (int e = 0; e < 128; e++) {
            sum += fabsf(src[e]);
            dst[2 + e / 8] |= (uint8_t)((src[e] >= 0.0f) << e % 8);
        }
        mlxn_store_u16(dst, mlxn_f32_to_f16(sum / 128.0f));
    }
}

void mlxn_encode_q2_0(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= 64, src += 64, dst += 18) {
        float d = fabsf(mlxn_extreme(src, 64)), inverse = mlxn_reciprocal(d);
        memset(dst, 0, 18);
        for (int e = 0; e < 64; e++) dst[2 + e / 4] |= (uint8_t)(trit(src[e] * inverse) << 2 * (e % 4));
        mlxn_store_u16(dst, mlxn_f32_to_f16(d));
    }
}
