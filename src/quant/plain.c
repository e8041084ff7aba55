/* plain.c: F32, F16 and BF16 rows: one number per element, little endian, at any address. */
#include "quant/quant.h"

void mlxn_decode_f32(const uint8_t *src, uint64_t n, float *dst) {
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = mlxn_load_u32(src + 4 * i);
        memcpy(dst + i, &bits, 4);
    }
}

void mlxn_encode_f32(const float *src, uint64_t n, uint8_t *dst) {
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, src + i, 4);
        mlxn_store_u32(dst + 4 * i, bits);
    }
}

void mlxn_decode_f16(const uint8_t *src, uint64_t n, float *dst) {
    for (uint64_t i = 0; i < n; i++) dst[i] = mlxn_load_f16(src + 2 * i);
}

void mlxn_encode_f16(const float *src, uint64_t n, uint8_t *dst) {
    for (uint64_t i = 0; i < n; i++) mlxn_store_u16(dst + 2 * i, mlxn_f32_to_f16(src[i]));
}

void mlxn_decode_bf16(const uint8_t *src, uint64_t n, float *dst) {
    for (uint64_t i = 0; i < n; i++) dst[i] = mlxn_bf16_to_f32(mlxn_load_u16(src + 2 * i));
}

void mlxn_encode_bf16(const float *src, uint64_t n, uint8_t *dst) {
    for (uint64_t i = 0; i < n; i++) mlxn_store_u16(dst + 2 * i, mlxn_f32_to_bf16(src[i]));
}
