/* weight_pack.h: what the packers of block formats (weight_blocks.c, weight_small.c) and of MLX formats
 * (weight_rows.c) share: codes and scales of one row into lane `lane` of a tile (weight.h).
 *
 * Packing moves four codes at a time as one little-endian word: a word of the packed layout is a lane of a quad. It
 * uses no instruction sets, being limited by memory. */
#ifndef MLXN_SRC_CPU_WEIGHT_PACK_H
#define MLXN_SRC_CPU_WEIGHT_PACK_H

#include "backend/cpu/weight.h"
#include "quant/quant.h"

/* Packs `blocks` blocks of a row, `raw_step` and `packed_step` bytes apart. */
typedef void cpu_pack_blocks(const uint8_t *raw, uint64_t raw_step, uint64_t blocks, uint8_t *packed,
                             uint64_t packed_step, uint32_t lane);

/* X(format, packer): the block formats that have one of the varied layouts. */
#define CPU_PACK_VARIED(X) \
    X(MXFP4, mxfp4)        \
    X(NVFP4, nvfp4)        \
    X(TQ1_0, tq1_0)        \
    X(TQ2_0, tq2_0)        \
    X(Q1_0, q1_0)          \
    X(Q2_0, q2_0)

#define CPU_PACK_DECLARE(format, kernel, packer) cpu_pack_blocks cpu_pack_##packer;
CPU_TILE_FORMATS(CPU_PACK_DECLARE)
#undef CPU_PACK_DECLARE
#define CPU_PACK_DECLARE(format, packer) cpu_pack_blocks cpu_pack_##packer;
CPU_PACK_VARIED(CPU_PACK_DECLARE)
#undef CPU_PACK_DECLARE

/* cpu_pack_NAME from pack_NAME, which packs one block; being a constant here, it is inlined into the loop. */
#define CPU_PACK_LOOP(name)                                                                                    \
    void cpu_pack_##name(const uint8_t *raw, uint64_t raw_step, uint64_t blocks, uint8_t *packed,              \
                         uint64_t packed_step, uint32_t lane) {                                                \
        for (uint64_t b = 0; b < blocks; b++) pack_##name(raw + b * raw_step, packed + b * packed_step, lane); \
    }

static inline void put_word(uint8_t *vector, uint32_t lane, uint32_t word) {
    mlxn_store_u32(vector + 4 * lane, word);
}
static inline void put_half(uint8_t *scales, uint32_t lane, const uint8_t *raw) { memcpy(scales + 2 * lane, raw, 2); }

/* Bits 0 to 31 of a row become bits 4 * lane to 4 * lane + 3 of the eight masks. */
static inline void put_bits(uint8_t *masks, uint32_t lane, uint32_t bits) {
    for (uint32_t j = 0; j < CPU_QUADS; j++)
        masks[8 * j + lane / 2] |= (uint8_t)((bits >> 4 * j & 15) << 4 * (lane & 1));
}

/* The lowest bits of four bytes, gathered in the top byte by one product. */
static inline uint32_t lowest_bits(uint32_t word) { return (word & 0x01010101u) * 0x10204080u >> 28; }

/* 32 codes, one per byte, of two bits and more, into a group of the layout, `packed` behind its bytes of scales. */
static inline void pack_codes(uint32_t bits, const uint8_t codes[CPU_GROUP], uint8_t *packed, uint32_t lane) {
    uint32_t words[CPU_QUADS];
    for (uint32_t j = 0; j < CPU_QUADS; j++) words[j] = mlxn_load_u32(codes + 4 * j);
    uint8_t *high = packed + (bits < 4 ? 128 : 256);
    if (bits == 8)
        for (uint32_t j = 0; j < CPU_QUADS; j++) put_word(packed + 64 * j, lane, words[j]);
    if (bits >= 4 && bits < 8)
        for (uint32_t j = 0; j < 4; j++)
            put_word(packed + 64 * j, lane, (words[j] & 0x0f0f0f0fu) | (words[j + 4] & 0x0f0f0f0fu) << 4);
    if (bits < 4 || bits == 6) { /* the lowest two bits, or the two above four */
        uint32_t shift = bits == 6 ? 4 : 0;
        for (uint32_t v = 0; v < 2; v++) {
            uint32_t word = 0;
            for (uint32_t j = 0; j < 4; j++) word |= (words[4 * v + j] >> shift & 0x03030303u) << 2 * j;
            put_word((bits == 6 ? high : packed) + 64 * v, lane, word);
        }
    }
    if (bits == 3 || bits == 5) {
        uint32_t mask = 0;
        for (uint32_t j = 0; j < CPU_QUADS; j++) mask |= lowest_bits(words[j] >> (bits - 1)) << 4 * j;
        put_bits(high, lane, mask);
    }
}

#endif
