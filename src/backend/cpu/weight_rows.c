/* weight_rows.c (CPU backend): single rows of weights into the packed layout and out of it.
 *
 * Packing moves four codes at a time as one little-endian word: a word of the packed layout is a lane of a quad. It
 * uses no instruction sets, being limited by memory. */
#include "backend/cpu/weight.h"
#include "quant/mlx.h"

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

/* The lowest bits of four bytes, gathered in the top byte by one product. */
static inline uint32_t lowest_bits(uint32_t word) { return (word & 0x01010101u) * 0x10204080u >> 28; }

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
            bits |= lowest_bits(mlxn_load_u32(high + 4 * j) >> g) << 4 * j;
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

/* MXFP4 of GGUF: nibbles in halves order, as in Q4_0. The scale, halved since codes are twice the elements, is a
 * power of two from 2^-128 on, the two lowest subnormal: as bf16 it is exact. The negative zero counts as zero. */
static void pack_mxfp4(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    mlxn_store_u16(packed + 2 * lane, (uint16_t)(raw[0] < 2 ? 0x20 << raw[0] : (raw[0] - 1) << 7));
    for (uint32_t j = 0; j < 4; j++) {
        uint32_t word = mlxn_load_u32(raw + 1 + 4 * j);
        uint32_t magnitude = (word & 0x77777777u) + 0x77777777u; /* its bit 3: the code is no zero */
        put_word(packed + 32 + 64 * j, lane, word & (magnitude | 0x77777777u));
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
PACK_LOOP(MXFP4, mxfp4, 4, 1, false, false, 12)

#define PACK_ROW(fmt, name, bits, groups, minimum, halves, offset) {MLXN_FORMAT_##fmt, loop_##name},
static const struct {
    mlxn_format format;
    void (*loop)(const uint8_t *raw, uint64_t raw_step, uint64_t units, uint8_t *packed, uint64_t packed_step,
                 uint32_t lane);
} packers[] = {CPU_TILE_FORMATS(PACK_ROW) PACK_ROW(MXFP4, mxfp4, 4, 1, false, false, 12)};

/* --- Formats of MLX: the codes of a row are one stream of bits. --- */

/* 32 codes, one per byte, into a group of the layout. */
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
        put_fifth_bits(high, lane, mask);
    }
}

static void pack_mlx_head(const cpu_tile_format *f, const mlxn_group_info *groups, const mlxn_group_row *row,
                          uint64_t group, uint8_t *head, uint32_t lane) {
    const uint32_t size = cpu_tile_scale_size(f);
    uint8_t *first = head + size * lane, *second = first + CPU_TILE * size;
    if (f->minimum) { /* of the same dtype */
        memcpy(first, (const uint8_t *)row->scales + group * size, size);
        memcpy(second, (const uint8_t *)row->biases + group * size, size);
        return;
    }
    float factor = f->type == CPU_CODES_E2M1 ? 0.5f : 1.0f; /* codes are twice the elements */
    for (uint32_t h = 0; h <= f->halves; h++) {
        uint8_t *to = h ? second : first;
        float value = factor * mlxn_mlx_scale(groups, row->scale_dtype, row->scales, group + h, row->global_scale);
        if (f->scale == MLXN_F16)
            mlxn_store_u16(to, mlxn_f32_to_f16(value));
        else if (f->scale == MLXN_BF16)
            mlxn_store_u16(to, mlxn_f32_to_bf16(value));
        else
            memcpy(to, &value, 4);
    }
}

static inline __attribute__((always_inline)) void pack_mlx(uint32_t bits, const cpu_tile_format *f,
                                                           const mlxn_group_info *groups, const mlxn_group_row *row,
                                                           uint64_t first, uint64_t units, uint8_t *packed,
                                                           uint32_t lane) {
    const uint64_t unit_bytes = cpu_tile_unit_bytes(f), group_bytes = cpu_tile_group_bytes(f);
    const uint8_t *stream = (const uint8_t *)row->codes + first * f->groups * CPU_GROUP / 8 * bits;
    for (uint64_t u = first; u < first + units; u++, packed += unit_bytes) {
        pack_mlx_head(f, groups, row, u * f->groups * CPU_GROUP / groups->group_size, packed, lane);
        uint8_t *group = packed + cpu_tile_head_bytes(f);
        for (uint32_t g = 0; g < f->groups; g++, group += group_bytes) {
            uint8_t codes[CPU_GROUP];
            for (uint32_t i = 0; i < CPU_GROUP; i += 8, stream += bits) mlxn_mlx_codes(stream, bits, codes + i);
            pack_codes(bits, codes, group, lane);
        }
    }
}

static void pack_mlx_units(const cpu_tile_format *f, const mlxn_group_info *groups, const mlxn_group_row *row,
                           uint64_t first, uint64_t units, uint8_t *packed, uint32_t lane) {
    /* The number of bits is a constant in each call. */
    if (f->bits == 2) pack_mlx(2, f, groups, row, first, units, packed, lane);
    if (f->bits == 3) pack_mlx(3, f, groups, row, first, units, packed, lane);
    if (f->bits == 4) pack_mlx(4, f, groups, row, first, units, packed, lane);
    if (f->bits == 5) pack_mlx(5, f, groups, row, first, units, packed, lane);
    if (f->bits == 6) pack_mlx(6, f, groups, row, first, units, packed, lane);
    if (f->bits == 8) pack_mlx(8, f, groups, row, first, units, packed, lane);
}

void cpu_pack_units(const cpu_tile_format *f, const mlxn_weight_view *raw, uint64_t row, uint64_t first,
                    uint64_t units, uint8_t *packed, uint32_t lane) {
    mlxn_group_info groups;
    mlxn_format_info info;
    if (mlxn_format_get_groups(raw->format, &groups)) {
        mlxn_group_row src = mlxn_weight_view_group_row(raw, row);
        pack_mlx_units(f, &groups, &src, first, units, packed, lane);
        return;
    }
    if (!mlxn_format_get_info(raw->format, &info)) return;
    const uint8_t *src = mlxn_weight_view_raw_row(raw, row) + first * info.block_bytes;
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++)
        if (packers[i].format == raw->format)
            packers[i].loop(src, info.block_bytes, units, packed, cpu_tile_unit_bytes(f), lane);
}

/* --- Out of the layout. --- */

/* The 32 codes of one row of a group. */
static void read_codes(const cpu_tile_format *f, const uint8_t *group, uint32_t lane, uint8_t out[CPU_GROUP]) {
    const uint8_t *codes = group + cpu_tile_scale_bytes(f), *high = codes + cpu_tile_code_bytes(f);
    for (uint32_t j = 0; j < CPU_QUADS; j++) {
        uint32_t vector = f->bits == 8 ? j : f->bits < 4 ? j / 4 : j % 4;
        const uint8_t *word = codes + CPU_QUAD_BYTES * vector + 4 * lane;
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t code = word[k];
            if (f->bits < 4)
                code = code >> 2 * (j % 4) & 3;
            else if (f->bits != 8)
                code = code >> (j < 4 ? 0 : 4) & 15;
            if (f->bits == 3 || f->bits == 5)
                code |= (high[8 * j + lane / 2] >> (4 * (lane & 1) + k) & 1u) << (f->bits - 1);
            if (f->bits == 6) code |= (high[64 * (j / 4) + 4 * lane + k] >> 2 * (j % 4) & 3u) << 4;
            out[4 * j + k] = (uint8_t)code;
        }
    }
}

static void read_plain(const mlxn_weight_view *w, const uint8_t *tile, uint32_t lane, float *dst) {
    for (uint64_t k = 0; k < w->cols; k++) {
        uint64_t at = lane + k * CPU_TILE;
        if (w->format == MLXN_FORMAT_F32)
            memcpy(dst + k, tile + 4 * at, 4);
        else if (w->format == MLXN_FORMAT_F16)
            dst[k] = mlxn_load_f16(tile + 2 * at);
        else
            dst[k] = mlxn_bf16_to_f32(mlxn_load_u16(tile + 2 * at));
    }
}

/* Number `i` of a head's. */
static float read_number(const cpu_tile_format *f, const uint8_t *head, uint32_t i) {
    if (f->scale == MLXN_F16) return mlxn_load_f16(head + 2 * i);
    if (f->scale == MLXN_BF16) return mlxn_bf16_to_f32(mlxn_load_u16(head + 2 * i));
    float value;
    memcpy(&value, head + 4 * i, 4);
    return value;
}

/* The scale of E2M1 elements is halved in the layout. */
static float read_code(const cpu_tile_format *f, uint8_t code) {
    if (f->type == CPU_CODES_E2M1) return 2.0f * mlxn_e2m1_to_f32(code);
    return f->type == CPU_CODES_E4M3 ? mlxn_e4m3_to_f32(code) : (float)((int32_t)code - f->offset);
}

void cpu_read_row(const mlxn_weight_view *w, uint64_t row, float *dst) {
    const cpu_tile_format *f = cpu_layout_of(w);
    uint64_t bytes = cpu_expert_bytes(w), tile = row % w->rows / CPU_TILE;
    uint32_t lane = (uint32_t)(row % w->rows % CPU_TILE);
    const uint8_t *unit = (const uint8_t *)w->packed + row / w->rows * bytes + tile * (bytes / cpu_tile_count(w));
    if (!f) {
        read_plain(w, unit, lane, dst);
        return;
    }
    if (f->kernel == CPU_KERNEL_rows) {
        mlxn_quant_find(w->format)->decode(unit + lane * (bytes / cpu_tile_count(w) / CPU_TILE), w->cols, dst);
        return;
    }
    for (uint64_t g = 0; g < w->cols / CPU_GROUP; g++, dst += CPU_GROUP) {
        if (g && g % f->groups == 0) unit += cpu_tile_unit_bytes(f);
        const uint8_t *group = unit + cpu_tile_head_bytes(f) + g % f->groups * cpu_tile_group_bytes(f);
        uint8_t codes[CPU_GROUP];
        read_codes(f, group, lane, codes);
        /* Scale of each half of the group, and what is added. */
        float d = read_number(f, unit, lane), step[2] = {d, d}, m = 0.0f;
        if (f->minimum) m = read_number(f, unit, CPU_TILE + lane);
        if (f->halves && !f->bytes) step[1] = read_number(f, unit, CPU_TILE + lane);
        if (f->bytes) {
            uint8_t a = group[lane], b = group[16 + lane];
            step[0] = d * (f->halves ? (float)(int8_t)a : (float)a);
            step[1] = f->halves ? d * (float)(int8_t)b : step[0];
            if (f->minimum) m = -(m * (float)b);
        }
        for (uint32_t k = 0; k < CPU_GROUP; k++) {
            float value = step[k / 16] * read_code(f, codes[k]);
            dst[k] = f->minimum ? value + m : value;
        }
    }
}
