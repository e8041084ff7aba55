/* encode_k.c: encoders of the blocks of 256 elements with scales inside: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, and Q8_K.
 *
 * Each group gets its scale (and minimum) by search; these are then coded themselves, and the elements are coded
 * again with the scales as they are stored. Where a stored scale is 0 the codes of the search stay. With an
 * importance of each column the searches are wider, and the codes of scales are searched for too: a group counts as
 * the sum of its weights. */
#include "quant/encode_search.h"

enum { QK = 256 };

static float largest(const float *x, int n) {
    float best = 0.0f;
    for (int i = 0; i < n; i++) best = fmaxf(best, x[i]);
    return best;
}

/* Non-negative values, weighted if w is given, as codes 0 … nmax of a common binary16 step, which is stored at `step`
 * and returned. */
static float code_steps(const float *values, const float *w, int n, int nmax, uint8_t *codes, uint8_t *step) {
    if (w) {
        mlxn_store_u16(step, mlxn_f32_to_f16(mlxn_search_positive(n, nmax, values, w, codes)));
        return mlxn_load_f16(step);
    }
    float most = largest(values, n);
    float inverse = most > 0.0f ? (float)nmax / most : 0.0f;
    for (int j = 0; j < n; j++) codes[j] = (uint8_t)mlxn_round_clamp(inverse * values[j], 0, nmax);
    mlxn_store_u16(step, mlxn_f32_to_f16(most > 0.0f ? most / (float)nmax : 0.0f));
    return mlxn_load_f16(step);
}

/* Codes of a block for scales and minima as stored. */
static void recode_affine(const float *x, int run, int nmax, float d, const uint8_t *scales, float dmin,
                          const uint8_t *minima, uint8_t *q) {
    for (int j = 0; j < QK / run; j++) {
        float step = d * (float)scales[j], offset = dmin * (float)minima[j];
        if (step == 0.0f) continue;
        for (int e = run * j; e < run * (j + 1); e++)
            q[e] = (uint8_t)mlxn_round_clamp((x[e] + offset) / step, 0, nmax);
    }
}

/* Two-bit codes: 32 bytes hold 128 elements, bits 2w and 2w + 1 for those from 32 w on. */
static void store_pairs_of_bits(const uint8_t *q, uint8_t *dst) {
    for (int i = 0; i < 64; i++) {
        const uint8_t *first = q + 128 * (i / 32) + i % 32;
        dst[i] = (uint8_t)((first[0] & 3) | (first[32] & 3) << 2 | (first[64] & 3) << 4 | (first[96] & 3) << 6);
    }
}

/* What encoders of weights add for each block: the importance moves on with the values, if there is one. */
static inline const float *next_block(const float *importance) { return importance ? importance + QK : NULL; }

void mlxn_encode_weighted_q2_k(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    static const mlxn_affine_search plain = {16, 3, -0.5f, 0.1f, 15, false}, wide = {16, 3, -0.9f, 0.05f, 36, true};
    for (; n; n -= QK, src += QK, dst += 84, importance = next_block(importance)) {
        float scale[16], minimum[16], sums[16], *of_groups = importance ? sums : NULL;
        uint8_t q[QK], sc[16], mn[16];
        float variance = mlxn_mean_square(src, QK);
        for (int j = 0; j < 16; j++) {
            const float *run = src + 16 * j;
            float w[16];
            if (importance) sums[j] = mlxn_weigh_run(16, run, importance + 16 * j, variance, w);
            for (int i = 0; !importance && i < 16; i++) w[i] = fabsf(run[i]);
            scale[j] = mlxn_search_affine(importance ? &wide : &plain, run, w, q + 16 * j, &minimum[j]);
        }
        float d = code_steps(scale, of_groups, 16, 15, sc, dst + 80);
        float dmin = code_steps(minimum, of_groups, 16, 15, mn, dst + 82);
        recode_affine(src, 16, 3, d, sc, dmin, mn, q);
        for (int j = 0; j < 16; j++) dst[j] = (uint8_t)(sc[j] | mn[j] << 4);
        store_pairs_of_bits(q, dst + 16);
    }
}

/* Scales of groups as codes 0 … 63, of which 32 stands for 0, and their common step. */
static float code_signed_scales(const float *scale, uint8_t *codes) {
    float most = mlxn_extreme(scale, 16), inverse = most != 0.0f ? -32.0f / most : 0.0f;
    for (int j = 0; j < 16; j++)
        codes[j] = (uint8_t)(most != 0.0f ? mlxn_round_clamp(inverse * scale[j], -32, 31) + 32 : 0);
    return most != 0.0f ? 1.0f / inverse : 0.0f;
}

void mlxn_encode_weighted_q3_k(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 110, importance = next_block(importance)) {
        float scale[16], sums[16], variance = 2.0f * mlxn_mean_square(src, QK);
        uint8_t q[QK], codes[16];
        for (int j = 0; j < 16; j++) {
            const float *run = src + 16 * j;
            float w[16];
            if (importance) sums[j] = mlxn_weigh_run(16, run, importance + 16 * j, variance, w);
            scale[j] = importance ? mlxn_search_symmetric(16, 4, run, w, q + 16 * j)
                                  : mlxn_search_descent(16, 4, run, q + 16 * j);
        }
        float step_of_scales =
            importance ? mlxn_search_symmetric(16, 32, scale, sums, codes) : code_signed_scales(scale, codes);
        mlxn_store_u16(dst + 108, mlxn_f32_to_f16(step_of_scales));
        float d = mlxn_load_f16(dst + 108);
        memset(dst, 0, 108);
        uint8_t *packed = dst + 96;
        for (int j = 0; j < 16; j++) {
            int u = codes[j];
            packed[j % 8] |= (uint8_t)((u & 15) << (j < 8 ? 0 : 4));
            packed[8 + j % 4] |= (uint8_t)(u >> 4 << 2 * (j / 4));
            float step = d * (float)(u - 32);
            for (int e = 16 * j; step != 0.0f && e < 16 * (j + 1); e++)
                q[e] = (uint8_t)(mlxn_round_clamp(src[e] / step, -4, 3) + 4);
        }
        for (int e = 0; e < QK; e++) dst[e % 32] |= (uint8_t)((q[e] > 3) << e / 32);
        store_pairs_of_bits(q, dst + 32);
    }
}

/* Eight scales and eight minima of six bits in 12 bytes, see kblocks.c. */
static void pack_scales(const uint8_t *sc, const uint8_t *mn, uint8_t *dst) {
    for (int j = 0; j < 4; j++) {
        dst[j] = (uint8_t)(sc[j] | sc[j + 4] >> 4 << 6);
        dst[j + 4] = (uint8_t)(mn[j] | mn[j + 4] >> 4 << 6);
        dst[j + 8] = (uint8_t)((sc[j + 4] & 15) | (mn[j + 4] & 15) << 4);
    }
}

/* The head of a block of Q4_K or Q5_K (16 bytes) and its codes. */
static void encode_eight_groups(const mlxn_affine_search *rule, const float *x, const float *importance,
                                uint8_t *head, uint8_t q[QK]) {
    float scale[8], minimum[8], sums[8], *of_groups = importance ? sums : NULL;
    float variance = 2.0f * mlxn_mean_square(x, QK);
    uint8_t sc[8], mn[8];
    for (int j = 0; j < 8; j++) {
        const float *run = x + 32 * j;
        float w[32], rms = sqrtf(mlxn_mean_square(run, 32));
        if (importance) sums[j] = mlxn_weigh_run(32, run, importance + 32 * j, variance, w);
        for (int i = 0; !importance && i < 32; i++) w[i] = rms + fabsf(run[i]);
        scale[j] = mlxn_search_affine(rule, run, w, q + 32 * j, &minimum[j]);
    }
    float d = code_steps(scale, of_groups, 8, 63, sc, head),
          dmin = code_steps(minimum, of_groups, 8, 63, mn, head + 2);
    recode_affine(x, 32, rule->nmax, d, sc, dmin, mn, q);
    pack_scales(sc, mn, head + 4);
}

/* Low nibbles: each 32 bytes hold two groups. */
static void store_nibbles(const uint8_t *q, uint8_t *dst) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *first = q + 64 * (i / 32) + i % 32;
        dst[i] = (uint8_t)((first[0] & 15) | (first[32] & 15) << 4);
    }
}

void mlxn_encode_weighted_q4_k(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    static const mlxn_affine_search plain = {32, 15, -1.0f, 0.1f, 20, true}, wide = {32, 15, -0.9f, 0.05f, 36, true};
    for (; n; n -= QK, src += QK, dst += 144, importance = next_block(importance)) {
        uint8_t q[QK];
        encode_eight_groups(importance ? &wide : &plain, src, importance, dst, q);
        store_nibbles(q, dst + 16);
    }
}

void mlxn_encode_weighted_q5_k(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    static const mlxn_affine_search plain = {32, 31, -0.5f, 0.1f, 15, true}, wide = {32, 31, -0.9f, 0.05f, 36, true};
    for (; n; n -= QK, src += QK, dst += 176, importance = next_block(importance)) {
        uint8_t q[QK];
        encode_eight_groups(importance ? &wide : &plain, src, importance, dst, q);
        memset(dst + 16, 0, 32);
        for (int e = 0; e < QK; e++) dst[16 + e % 32] |= (uint8_t)(q[e] >> 4 << e / 32);
        store_nibbles(q, dst + 48);
    }
}

/* The importance is the weight itself here. */
void mlxn_encode_weighted_q6_k(const float *src, const float *importance, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 210, importance = next_block(importance)) {
        float scale[16];
        uint8_t q[QK];
        for (int j = 0; j < 16; j++) {
            const float *run = importance ? importance + 16 * j : NULL;
            if (run && mlxn_extreme(run, 16) == 0.0f) run = NULL; /* no importance: the usual weights */
            scale[j] = mlxn_search_symmetric(16, 32, src + 16 * j, run, q + 16 * j);
        }
        memset(dst, 0, 210);
        float most = mlxn_extreme(scale, 16);
        if (fabsf(most) < MLXN_SEARCH_EPSILON) continue;
        float inverse = -128.0f / most;
        mlxn_store_u16(dst + 208, mlxn_f32_to_f16(1.0f / inverse));
        float d = mlxn_load_f16(dst + 208);
        for (int j = 0; j < 16; j++) {
            int code = mlxn_round_clamp(inverse * scale[j], -128, 127);
            dst[192 + j] = (uint8_t)code;
            float step = d * (float)code;
            for (int e = 16 * j; step != 0.0f && e < 16 * (j + 1); e++)
                q[e] = (uint8_t)(mlxn_round_clamp(src[e] / step, -32, 31) + 32);
        }
        for (int e = 0; e < QK; e++) {
            int half = e / 128, w = e % 128 / 32, l = e % 32;
            dst[64 * half + 32 * (w & 1) + l] |= (uint8_t)((q[e] & 15) << (w < 2 ? 0 : 4));
            dst[128 + 32 * half + l] |= (uint8_t)(q[e] >> 4 << 2 * w);
        }
    }
}

void mlxn_encode_q2_k(const float *src, uint64_t n, uint8_t *dst) { mlxn_encode_weighted_q2_k(src, NULL, n, dst); }
void mlxn_encode_q3_k(const float *src, uint64_t n, uint8_t *dst) { mlxn_encode_weighted_q3_k(src, NULL, n, dst); }
void mlxn_encode_q4_k(const float *src, uint64_t n, uint8_t *dst) { mlxn_encode_weighted_q4_k(src, NULL, n, dst); }
void mlxn_encode_q5_k(const float *src, uint64_t n, uint8_t *dst) { mlxn_encode_weighted_q5_k(src, NULL, n, dst); }
void mlxn_encode_q6_k(const float *src, uint64_t n, uint8_t *dst) { mlxn_encode_weighted_q6_k(src, NULL, n, dst); }

void mlxn_encode_q8_k(const float *src, uint64_t n, uint8_t *dst) {
    for (; n; n -= QK, src += QK, dst += 292) {
        memset(dst, 0, 292);
        float extreme = mlxn_extreme(src, QK);
        if (extreme == 0.0f) continue;
        float inverse = -127.0f / extreme, d = 1.0f / inverse;
        uint32_t bits;
        memcpy(&bits, &d, 4);
        mlxn_store_u32(dst, bits);
        for (int j = 0; j < 16; j++) {
            int sum = 0;
            for (int e = 16 * j; e < 16 * (j + 1); e++) {
                int code = mlxn_round_clamp(inverse * src[e], -128, 127);
                dst[4 + e] = (uint8_t)code;
                sum += code;
            }
            mlxn_store_u16(dst + 260 + 2 * j, (uint16_t)sum);
        }
    }
}
