/* quant.h: the table of storage formats: one row per format with its block size, decoder and encoder.
 *
 * Decoders are the bit-exact scalar rules that every kernel and every repacked layout is measured against: each
 * product or sum is one binary32 operation, from left to right, never fused. Blocks may start at any address. A new
 * format is one row in formats.c and its functions. */
#ifndef MLXN_SRC_QUANT_H
#define MLXN_SRC_QUANT_H

#include <mlxn/quant.h>

#include "base/base.h"

typedef struct mlxn_quant_format {
    mlxn_format format;
    mlxn_format_info info;
    /* `n` elements, a multiple of info.block_values. `src` at any address; `dst` aligned as floats are. NULL for the
     * formats of MLX (mlx.h). */
    void (*decode)(const uint8_t *src, uint64_t n, float *dst);
    void (*encode)(const float *src, uint64_t n, uint8_t *dst); /* NULL: cannot be written */
    /* Block formats: from this magnitude on the block's binary16 scale or minimum may be infinite (exact where the
     * scale follows from the largest value, cautious where it is searched for), so the encoder must not see such
     * values, nor NaN. INFINITY: takes every finite value. 0: takes every value. */
    float limit;
    /* The search for weights of models, see mlxn_quantize_row_weighted: `importance` holds n numbers, or is NULL.
     * NULL: the format has none, and encode serves. */
    void (*encode_weighted)(const float *src, const float *importance, uint64_t n, uint8_t *dst);
} mlxn_quant_format;

/* NULL if the format is unknown to this build. */
const mlxn_quant_format *mlxn_quant_find(mlxn_format format);

static inline uint16_t mlxn_load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline void mlxn_store_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline uint32_t mlxn_load_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline void mlxn_store_u32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}
static inline float mlxn_load_f16(const uint8_t *p) { return mlxn_f16_to_f32(mlxn_load_u16(p)); }

void mlxn_decode_f32(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_f16(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_bf16(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q4_0(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q4_1(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q5_0(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q5_1(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q8_0(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q4_k(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q5_k(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q6_k(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q8_1(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q2_k(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q3_k(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q8_k(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq2_xxs(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq2_xs(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq3_xxs(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq1_s(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq4_nl(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq3_s(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq2_s(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq4_xs(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_iq1_m(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_tq1_0(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_tq2_0(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_mxfp4(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_nvfp4(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q1_0(const uint8_t *src, uint64_t n, float *dst);
void mlxn_decode_q2_0(const uint8_t *src, uint64_t n, float *dst);

void mlxn_encode_f32(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_f16(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_bf16(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q4_0(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q4_1(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q5_0(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q5_1(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q8_0(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q8_1(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q2_k(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q3_k(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q4_k(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q5_k(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q6_k(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q8_k(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_iq4_nl(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_iq4_xs(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_tq1_0(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_tq2_0(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_mxfp4(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_nvfp4(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q1_0(const float *src, uint64_t n, uint8_t *dst);
void mlxn_encode_q2_0(const float *src, uint64_t n, uint8_t *dst);

void mlxn_encode_weighted_q4_0(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q4_1(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q5_0(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q5_1(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q2_k(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q3_k(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q4_k(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q5_k(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_q6_k(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_iq4_nl(const float *src, const float *importance, uint64_t n, uint8_t *dst);
void mlxn_encode_weighted_iq4_xs(const float *src, const float *importance, uint64_t n, uint8_t *dst);

#endif
