/* mlx.h: the formats of MLX: codes, scales and biases in tensors of their own; one decoder for all of them. */
#ifndef MLXN_SRC_QUANT_MLX_H
#define MLXN_SRC_QUANT_MLX_H

#include "quant/quant.h"

/* The row of the table of formats; NULL if `format` is none of MLX's. */
const mlxn_quant_format *mlxn_mlx_find(mlxn_format format);

/* Element i of scales or biases as it counts, in binary32: also of the 8-bit scales of the modes other than affine.
 */
float mlxn_mlx_scale(const mlxn_group_info *groups, mlxn_dtype dtype, const void *scales, uint64_t i,
                     float global_scale);
/* Eight codes, 0 to 7 of a stream, which begins at a byte because eight codes fill `bits` bytes. */
static inline void mlxn_mlx_codes(const uint8_t *stream, uint32_t bits, uint8_t out[8]) {
    uint64_t word = 0;
    for (uint32_t i = 0; i < bits; i++) word |= (uint64_t)stream[i] << 8 * i;
    for (uint32_t i = 0; i < 8; i++) out[i] = (uint8_t)(word >> bits * i & ((1u << bits) - 1));
}
/* `cols` elements, whole groups; nothing is checked. */
void mlxn_mlx_decode(const mlxn_group_info *groups, const mlxn_group_row *src, uint64_t cols, float *dst);

/* The small floats. `mlx_cpu`: the other of MLX's two rules (mlxn_quantize_groups). E4M3 saturates at 448 when
 * it is encoded, NaN too; 0x7f and 0xff decode to NaN. E8M0 is 2^(byte - 127), also for 255, which is infinite in
 * binary32. */
float mlxn_e2m1_to_f32(uint8_t code);
uint8_t mlxn_f32_to_e2m1(float value, bool mlx_cpu);
float mlxn_e4m3_to_f32(uint8_t code);
uint8_t mlxn_f32_to_e4m3(float value);
float mlxn_e8m0_to_f32(uint8_t code);
uint8_t mlxn_f32_to_e8m0(float value, bool mlx_cpu);

#endif
