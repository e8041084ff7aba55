/* weight_rows.c (CPU backend): single rows of block formats into the packed layout and out of it.
 *
 * Packing moves four codes at a time as one little-endian word: a word of the packed layout is a lane of a quad. It
 * uses no instruction sets, being limited by memory. */
#include "backend/cpu/weight.h"
#include "quant/quant.h"

/* --- Into the layout. `lane` is the row within its tile; every function packs one block of one row. --- */

static inline void put_word(uint8_t *vector, uint32_t lane, uint32_t word) {
    mlxn_store_u32(vector + 4 * lane, word);
}
static inline void put_half(uint8_t *scales, uint32_t lane, const uint8_t *raw) { memcpy(scales + 2 * lane, raw, 2); }

/* Bits 0 to 31 of a row become bits 4 * lane to 4 * lane + 3 of the eight masks. */
static inline void put_fifth_bits(uint8_t *masks, uint32_t lane, uint32_t bits) {
    for (uint32_t j = 0; j < CPU_QUADS; j++)
        masks[8 * j + lane / 2] |= (uint8_t)((bits >> 4 * j & 15) << 4 * (lane & 1));
}

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
    put_fifth_bits(packed + 288, lane, mlxn_load_u32(raw + 2));
}
static void pack_q5_1(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    put_half(packed + 32, lane, raw + 2);
    pack_nibbles(raw + 8, packed + 64, lane);
    put_fifth_bits(packed + 320, lane, mlxn_load_u32(raw + 4));
}
static void pack_q8_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    for (uint32_t j = 0; j < CPU_QUADS; j++)
        put_word(packed + 32 + 64 * j, lane, mlxn_load_u32(raw + 2 + 4 * j) ^ 0x80808080u);
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
            /* The lowest bits of four bytes, gathered in the top byte by one product. */
            uint32_t four = (mlxn_load_u32(high + 4 * j) >> g & 0x01010101u) * 0x10204080u >> 28;
            bits |= four << 4 * j;
        }
        put_fifth_bits(group + 288, lane, bits);
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

typedef void (*pack_block)(const uint8_t *raw, uint8_t *packed, uint32_t lane);

/* With a constant function the call disappears from the loop. */
static inline __attribute__((always_inline)) void pack_loop(pack_block block, const uint8_t *raw, uint64_t raw_step,
                                                            uint64_t units, uint8_t *packed, uint64_t packed_step,
                                                            uint32_t lane) {
    for (uint64_t u = 0; u < units; u++) block(raw + u * raw_step, packed + u * packed_step, lane);
}

#define PACK_LOOP(fmt, name, bits, groups, minimum, halves, offset)                                 \
    static void loop_##name(const uint8_t *raw, uint64_t raw_step, uint64_t units, uint8_t *packed, \
                            uint64_t packed_step, uint32_t lane) {                                  \
        pack_loop(pack_##name, raw, raw_step, units, packed, packed_step, lane);                    \
    }
CPU_TILE_FORMATS(PACK_LOOP)

#define PACK_ROW(fmt, name, bits, groups, minimum, halves, offset) {MLXN_FORMAT_##fmt, loop_##name},
static const struct {
    mlxn_format format;
    void (*loop)(const uint8_t *raw, uint64_t raw_step, uint64_t units, uint8_t *packed, uint64_t packed_step,
                 uint32_t lane);
} packers[] = {CPU_TILE_FORMATS(PACK_ROW)};

void cpu_pack_units(mlxn_format format, const uint8_t *raw, uint64_t units, uint8_t *packed, uint32_t lane) {
    mlxn_format_info info;
    const cpu_tile_format *f = cpu_tile_format_of(format);
    if (!f || !mlxn_format_get_info(format, &info)) return;
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++)
        if (packers[i].format == format)
            packers[i].loop(raw, info.block_bytes, units, packed, cpu_tile_unit_bytes(f), lane);
}

/* --- Out of the layout. --- */

/* The 32 codes of one row of a group. */
static void read_codes(const cpu_tile_format *f, const uint8_t *group, uint32_t lane, uint8_t out[CPU_GROUP]) {
    const uint8_t *codes = group + cpu_tile_scale_bytes(f), *high = codes + cpu_tile_code_bytes(f);
    for (uint32_t j = 0; j < CPU_QUADS; j++) {
        const uint8_t *word = codes + CPU_QUAD_BYTES * (f->bits == 8 ? j : j % 4) + 4 * lane;
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t code = word[k];
            if (f->bits != 8) code = code >> (j < 4 ? 0 : 4) & 15;
            if (f->bits == 5) code |= (high[8 * j + lane / 2] >> (4 * (lane & 1) + k) & 1u) << 4;
            if (f->bits == 6) code |= (high[64 * (j / 4) + 4 * lane + k] >> 2 * (j % 4) & 3u) << 4;
            out[4 * j + k] = (uint8_t)code;
        }
    }
}

static void read_plain(const mlxn_weight_view *w, uint64_t row, float *dst) {
    const uint8_t *tile = (const uint8_t *)w->packed;
    uint64_t first = row / CPU_TILE * w->cols * CPU_TILE + row % CPU_TILE;
    for (uint64_t k = 0; k < w->cols; k++) {
        uint64_t at = first + k * CPU_TILE;
        if (w->format == MLXN_FORMAT_F32)
            memcpy(dst + k, tile + 4 * at, 4);
        else if (w->format == MLXN_FORMAT_F16)
            dst[k] = mlxn_load_f16(tile + 2 * at);
        else
            dst[k] = mlxn_bf16_to_f32(mlxn_load_u16(tile + 2 * at));
    }
}

void cpu_read_row(const mlxn_weight_view *w, uint64_t row, float *dst) {
    const cpu_tile_format *f = cpu_tile_format_of(w->format);
    if (!f) {
        read_plain(w, row, dst);
        return;
    }
    uint32_t lane = (uint32_t)(row % CPU_TILE), head_bytes = cpu_tile_head_bytes(f);
    const uint8_t *unit = (const uint8_t *)w->packed + row / CPU_TILE * cpu_tile_bytes(f, w->cols);
    for (uint64_t g = 0; g < w->cols / CPU_GROUP; g++, dst += CPU_GROUP) {
        if (g && g % f->groups == 0) unit += cpu_tile_unit_bytes(f);
        const uint8_t *group = unit + head_bytes + g % f->groups * cpu_tile_group_bytes(f);
        uint8_t codes[CPU_GROUP];
        read_codes(f, group, lane, codes);
        /* Scale of each half of the group, and what is added. */
        const uint8_t *scales = f->groups == 1 ? group : unit;
        float d = mlxn_load_f16(scales + 2 * lane), step[2] = {d, d}, m = 0.0f;
        if (f->minimum) m = mlxn_load_f16(scales + 32 + 2 * lane);
        if (f->groups > 1) {
            uint8_t a = group[lane], b = group[16 + lane];
            step[0] = d * (f->halves ? (float)(int8_t)a : (float)a);
            step[1] = f->halves ? d * (float)(int8_t)b : step[0];
            if (f->minimum) m = -(m * (float)b);
        }
        for (uint32_t k = 0; k < CPU_GROUP; k++) {
            float value = step[k / 16] * (float)((int32_t)codes[k] - f->offset);
            dst[k] = f->minimum ? value + m : value;
        }
    }
}
