/* weight_blocks.c (CPU backend): blocks of 4 bits and more, and K blocks, into the packed layout. Every function
 * packs one block of one row (weight_pack.h). */
#include "backend/cpu/weight_pack.h"
#include "quant/tables4.h"

static inline void pack_nibbles(const uint8_t *codes, uint8_t *packed, uint32_t lane) {
    for (uint32_t j = 0; j < 4; j++) put_word(packed + 64 * j, lane, mlxn_load_u32(codes + 4 * j));
}

static void pack_q4_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    pack_nibbles(raw + 2, packed + 32, lane);
}
static void pack_q4_1(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    put_half(packed + 32, lane, raw + 2);
    pack_nibbles(raw + 4, packed + 64, lane);
}
static void pack_q5_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    pack_nibbles(raw + 6, packed + 32, lane);
    put_bits(packed + 288, lane, mlxn_load_u32(raw + 2));
}
static void pack_q5_1(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    put_half(packed + 32, lane, raw + 2);
    pack_nibbles(raw + 8, packed + 64, lane);
    put_bits(packed + 320, lane, mlxn_load_u32(raw + 4));
}

/* 32 signed bytes. */
static inline void pack_signed(const uint8_t *codes, uint8_t *packed, uint32_t lane) {
    for (uint32_t j = 0; j < CPU_QUADS; j++)
        put_word(packed + 64 * j, lane, mlxn_load_u32(codes + 4 * j) ^ 0x80808080u);
}
static void pack_q8_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    pack_signed(raw + 2, packed + 32, lane);
}
/* The sums of Q8_1 and Q8_K say nothing new. */
static void pack_q8_1(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    pack_signed(raw + 4, packed + 32, lane);
}
static void pack_q8_k(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_word(packed, lane, mlxn_load_u32(raw));
    for (uint32_t g = 0; g < 8; g++) pack_signed(raw + 4 + 32 * g, packed + 64 + 512 * g, lane);
}

/* The 6-bit scales and minimums of the eight groups of a K block, one byte each. The 12 bytes are three words a, b,
 * c: groups 0-3 lie in the low six bits of a and b; groups 4-7 have low nibbles in c and top bits in a and b. */
static inline void k_scales(const uint8_t *raw, uint8_t scales[8], uint8_t minimums[8]) {
    uint32_t a = mlxn_load_u32(raw), b = mlxn_load_u32(raw + 4), c = mlxn_load_u32(raw + 8);
    mlxn_store_u32(scales, a & 0x3f3f3f3fu);
    mlxn_store_u32(minimums, b & 0x3f3f3f3fu);
    mlxn_store_u32(scales + 4, (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u));
    mlxn_store_u32(minimums + 4, (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u));
}

/* 32 bytes hold a group in their low (shift 0) or high (shift 4) nibbles. */
static inline void pack_k_nibbles(const uint8_t *codes, uint32_t shift, uint8_t *packed, uint32_t lane) {
    for (uint32_t j = 0; j < 4; j++) {
        uint32_t low = mlxn_load_u32(codes + 4 * j) >> shift & 0x0f0f0f0fu;
        uint32_t high = mlxn_load_u32(codes + 16 + 4 * j) >> shift & 0x0f0f0f0fu;
        put_word(packed + 64 * j, lane, low | high << 4);
    }
}

static void pack_q4_k(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    uint8_t scales[8], minimums[8];
    k_scales(raw + 4, scales, minimums);
    put_half(packed, lane, raw);
    put_half(packed + 32, lane, raw + 2);
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *group = packed + 64 + 288 * g;
        group[lane] = scales[g];
        group[16 + lane] = minimums[g];
        pack_k_nibbles(raw + 16 + 32 * (g / 2), 4 * (g & 1), group + 32, lane);
    }
}

static void pack_q5_k(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    uint8_t scales[8], minimums[8];
    k_scales(raw + 4, scales, minimums);
    put_half(packed, lane, raw);
    put_half(packed + 32, lane, raw + 2);
    const uint8_t *high = raw + 16; /* bit g of byte l belongs to element l of group g */
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *group = packed + 64 + 352 * g;
        group[lane] = scales[g];
        group[16 + lane] = minimums[g];
        pack_k_nibbles(raw + 48 + 32 * (g / 2), 4 * (g & 1), group + 32, lane);
        uint32_t bits = 0;
        for (uint32_t j = 0; j < CPU_QUADS; j++) {
            bits |= lowest_bits(mlxn_load_u32(high + 4 * j) >> g) << 4 * j;
        }
        put_bits(group + 288, lane, bits);
    }
}

static void pack_q6_k(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw + 208);
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *group = packed + 32 + 416 * g;
        group[lane] = raw[192 + 2 * g];
        group[16 + lane] = raw[193 + 2 * g];
        uint32_t half = g / 4, w = g % 4;
        pack_k_nibbles(raw + 64 * half + 32 * (w & 1), w < 2 ? 0 : 4, group + 32, lane);
        const uint8_t *high = raw + 128 + 32 * half;
        for (uint32_t v = 0; v < 2; v++) {
            uint32_t word = 0;
            for (uint32_t j = 0; j < 4; j++)
                word |= (mlxn_load_u32(high + 16 * v + 4 * j) >> 2 * w & 0x03030303u) << 2 * j;
            put_word(group + 288 + 64 * v, lane, word);
        }
    }
}

/* Codes of two bits: those of a group lie side by side, those of four groups in the same bytes. */
static void pack_q2_k(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw + 80);
    put_half(packed + 32, lane, raw + 82);
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *group = packed + 64 + 160 * g, codes[CPU_GROUP];
        group[lane] = raw[2 * g];
        group[16 + lane] = raw[2 * g + 1];
        for (uint32_t j = 0; j < CPU_QUADS; j++)
            mlxn_store_u32(codes + 4 * j,
                           mlxn_load_u32(raw + 16 + 32 * (g / 4) + 4 * j) >> 2 * (g % 4) & 0x03030303u);
        pack_codes(2, codes, group + 32, lane);
    }
}

/* Third bits: bit g of byte l belongs to element l of group g. The 6-bit scales of the sixteen halves: low nibbles in
 * eight bytes, then the upper two bits of halves i, i + 4, i + 8, i + 12 in byte i. */
static void pack_q3_k(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    const uint8_t *scales = raw + 96;
    put_half(packed, lane, raw + 108);
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *group = packed + 32 + 224 * g, codes[CPU_GROUP];
        for (uint32_t h = 2 * g; h < 2 * g + 2; h++) {
            uint32_t low = h < 8 ? scales[h] & 15u : scales[h - 8] >> 4u,
                     high = scales[8 + h % 4] >> 2 * (h / 4) & 3u;
            group[h % 2 * CPU_TILE + lane] = (uint8_t)((low | high << 4) - 32);
        }
        for (uint32_t j = 0; j < CPU_QUADS; j++) {
            uint32_t low = mlxn_load_u32(raw + 32 + 32 * (g / 4) + 4 * j) >> 2 * (g % 4) & 0x03030303u;
            mlxn_store_u32(codes + 4 * j, low | (mlxn_load_u32(raw + 4 * j) >> g & 0x01010101u) << 2);
        }
        pack_codes(3, codes, group + 32, lane);
    }
}

static void pack_iq4_nl(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    pack_nibbles(raw + 2, packed + 32, lane);
}
static void pack_iq4_xs(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    const uint32_t high = mlxn_load_u16(raw + 2);
    put_half(packed, lane, raw);
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t *group = packed + 32 + 272 * g;
        group[lane] = (uint8_t)(((raw[4 + g / 2] >> 4 * (g & 1) & 15u) | (high >> 2 * g & 3) << 4) - 32);
        pack_nibbles(raw + 8 + 16 * g, group + 16, lane);
    }
}

/* The negative zeros of four codes of E2M1 per word count as zero. */
static inline uint32_t no_negative_zero(uint32_t word) {
    uint32_t magnitude = (word & 0x77777777u) + 0x77777777u; /* its bit 3: the code is no zero */
    return word & (magnitude | 0x77777777u);
}

/* MXFP4 of GGUF: nibbles in halves order, as in Q4_0. The scale, halved since codes are twice the elements, is a
 * power of two from 2^-128 on, the two lowest subnormal: as bf16 it is exact. */
static void pack_mxfp4(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    mlxn_store_u16(packed + 2 * lane, (uint16_t)(raw[0] < 2 ? 0x20 << raw[0] : (raw[0] - 1) << 7));
    for (uint32_t j = 0; j < 4; j++)
        put_word(packed + 32 + 64 * j, lane, no_negative_zero(mlxn_load_u32(raw + 1 + 4 * j)));
}

/* NVFP4 of GGUF, two units: four scales in unsigned E4M3, halved exactly in binary16; then for each 16 elements eight
 * bytes of nibbles in halves order. */
static void pack_nvfp4(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    for (uint32_t h = 0; h < 4; h++) {
        uint8_t *unit = packed + 320 * (h / 2), *codes = unit + 64;
        const uint8_t *from = raw + 4 + 8 * h;
        mlxn_store_u16(unit + 32 * (h % 2) + 2 * lane, mlxn_f32_to_f16(0.5f * mlxn_ue4m3_to_f32(raw[h])));
        for (uint32_t j = 0; j < 2; j++) { /* the first half of a unit in the low nibbles, the other in the high */
            uint32_t word = no_negative_zero(mlxn_load_u32(from + 4 * j));
            for (uint32_t n = 0; n < 2; n++) {
                uint8_t *to = codes + 64 * (j + 2 * n) + 4 * lane;
                uint32_t nibbles = word >> 4 * n & 0x0f0f0f0fu;
                mlxn_store_u32(to, h % 2 ? (mlxn_load_u32(to) & 0x0f0f0f0fu) | nibbles << 4 : nibbles);
            }
        }
    }
}

CPU_PACK_LOOP(q4_0)
CPU_PACK_LOOP(q4_1)
CPU_PACK_LOOP(q5_0)
CPU_PACK_LOOP(q5_1)
CPU_PACK_LOOP(q8_0)
CPU_PACK_LOOP(q8_1)
CPU_PACK_LOOP(q8_k)
CPU_PACK_LOOP(q2_k)
CPU_PACK_LOOP(q3_k)
CPU_PACK_LOOP(q4_k)
CPU_PACK_LOOP(q5_k)
CPU_PACK_LOOP(q6_k)
CPU_PACK_LOOP(iq4_nl)
CPU_PACK_LOOP(iq4_xs)
CPU_PACK_LOOP(mxfp4)
CPU_PACK_LOOP(nvfp4)
