/* weight_rows.c (CPU backend): single rows of weights into the packed layout and out of it; the formats of MLX. */
#include "backend/cpu/weight_pack.h"
#include "quant/iq.h"
#include "quant/mlx.h"
#include "quant/tables4.h"

#define PACK_ROW(format, kernel, packer) {MLXN_FORMAT_##format, cpu_pack_##packer},
#define PACK_VARIED_ROW(format, packer) {MLXN_FORMAT_##format, cpu_pack_##packer},
static const struct {
    mlxn_format format;
    cpu_pack_blocks *pack;
} packers[] = {CPU_TILE_FORMATS(PACK_ROW) CPU_PACK_VARIED(PACK_VARIED_ROW)};

/* --- Formats of MLX: the codes of a row are one stream of bits. --- */

/* `count`: groups of the row; a half of a unit that it lacks stays zero. */
static void pack_mlx_head(const cpu_tile_format *f, const mlxn_group_info *groups, const mlxn_group_row *row,
                          uint64_t group, uint64_t count, uint8_t *head, uint32_t lane) {
    const uint32_t size = cpu_tile_scale_size(f);
    uint8_t *first = head + size * lane, *second = first + CPU_TILE * size;
    if (f->minimum) { /* of the same dtype */
        memcpy(first, (const uint8_t *)row->scales + group * size, size);
        memcpy(second, (const uint8_t *)row->biases + group * size, size);
        return;
    }
    float factor = f->type == CPU_CODES_E2M1 ? 0.5f : 1.0f; /* codes are twice the elements */
    for (uint32_t h = 0; h <= f->halves && group + h < count; h++) {
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
                                                           uint64_t cols, uint64_t first, uint64_t units,
                                                           uint8_t *packed, uint32_t lane) {
    const uint64_t unit_bytes = cpu_tile_unit_bytes(f), group_bytes = cpu_tile_group_bytes(f);
    const uint8_t *stream = (const uint8_t *)row->codes + first * f->groups * CPU_GROUP / 8 * bits;
    uint64_t left = cols - first * f->groups * CPU_GROUP;
    for (uint64_t u = first; u < first + units; u++, packed += unit_bytes) {
        pack_mlx_head(f, groups, row, u * f->groups * CPU_GROUP / groups->group_size, cols / groups->group_size,
                      packed, lane);
        uint8_t *group = packed + cpu_tile_head_bytes(f);
        for (uint32_t g = 0; g < f->groups; g++, group += group_bytes) {
            uint8_t codes[CPU_GROUP] = {0};
            uint32_t n = left < CPU_GROUP ? (uint32_t)left : CPU_GROUP;
            for (uint32_t i = 0; i < n; i += 8, stream += bits) mlxn_mlx_codes(stream, bits, codes + i);
            left -= n;
            pack_codes(bits, codes, group, lane);
        }
    }
}

static void pack_mlx_units(const cpu_tile_format *f, const mlxn_group_info *groups, const mlxn_group_row *row,
                           uint64_t cols, uint64_t first, uint64_t units, uint8_t *packed, uint32_t lane) {
    /* The number of bits is a constant in each call. */
    if (f->bits == 2) pack_mlx(2, f, groups, row, cols, first, units, packed, lane);
    if (f->bits == 3) pack_mlx(3, f, groups, row, cols, first, units, packed, lane);
    if (f->bits == 4) pack_mlx(4, f, groups, row, cols, first, units, packed, lane);
    if (f->bits == 5) pack_mlx(5, f, groups, row, cols, first, units, packed, lane);
    if (f->bits == 6) pack_mlx(6, f, groups, row, cols, first, units, packed, lane);
    if (f->bits == 8) pack_mlx(8, f, groups, row, cols, first, units, packed, lane);
}

void cpu_pack_units(const cpu_tile_format *f, const mlxn_weight_view *raw, uint64_t row, uint64_t first,
                    uint64_t units, uint8_t *packed, uint32_t lane) {
    mlxn_group_info groups;
    mlxn_format_info info;
    if (mlxn_format_get_groups(raw->format, &groups)) {
        mlxn_group_row src = mlxn_weight_view_group_row(raw, row);
        pack_mlx_units(f, &groups, &src, raw->cols, first, units, packed, lane);
        return;
    }
    if (!mlxn_format_get_info(raw->format, &info)) return;
    const uint64_t block = info.block_values / (CPU_GROUP * f->groups); /* in units */
    const uint8_t *src = mlxn_weight_view_raw_row(raw, row) + first / block * info.block_bytes;
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++)
        if (packers[i].format == raw->format)
            packers[i].pack(src, info.block_bytes, units / block, packed, block * cpu_tile_unit_bytes(f), lane);
}

/* --- Out of the layout. --- */

#define PLUS_9(v) (v) + 9
#define PLUS_12(v) (v) + 12
#define PLUS_15(v) (v) + 15
#define PLUS_43(v) (v) + 43
#define PLUS_62(v) (v) + 62
#define PLUS_127(v) (v) + 127
const uint8_t cpu_code_tables[CPU_CODE_TYPES][16] = {
    [CPU_CODES_E2M1] = {MLXN_FP4_DOUBLED(PLUS_12)},       [CPU_CODES_IQ4] = {MLXN_IQ4_VALUES(PLUS_127)},
    [CPU_CODES_IQ1] = {MLXN_IQ1_VALUES(PLUS_9)},          [CPU_CODES_IQ2] = {MLXN_IQ2_VALUES(PLUS_43)},
    [CPU_CODES_IQ3_XXS] = {MLXN_IQ3_XXS_VALUES(PLUS_62)}, [CPU_CODES_IQ3_S] = {MLXN_IQ3_S_VALUES(PLUS_15)},
};

/* The 32 codes of one row of a group. */
static void read_codes(const cpu_tile_format *f, const uint8_t *group, uint32_t lane, uint8_t out[CPU_GROUP]) {
    const uint8_t *codes = group + cpu_tile_scale_bytes(f), *high = codes + cpu_tile_code_bytes(f);
    for (uint32_t j = 0; j < CPU_QUADS; j++) {
        uint32_t vector = f->bits == 8 ? j : f->bits < 4 ? j / 4 : j % 4;
        const uint8_t *word = codes + CPU_QUAD_BYTES * vector + 4 * lane;
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t code = f->bits == 1 ? 0 : word[k];
            if (f->bits == 2 || f->bits == 3)
                code = code >> 2 * (j % 4) & 3;
            else if (f->bits > 3 && f->bits < 8)
                code = code >> (j < 4 ? 0 : 4) & 15;
            if (f->bits < 6 && f->bits % 2)
                code |= (high[8 * j + lane / 2] >> (4 * (lane & 1) + k) & 1u) << cpu_tile_high_bit(f);
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
    if (f->type == CPU_CODES_E2M1) return 2.0f * mlxn_e2m1_to_f32(code); /* which has a negative zero */
    if (f->type == CPU_CODES_E4M3) return mlxn_e4m3_to_f32(code);
    int32_t number = f->type == CPU_CODES_INTEGER ? code : cpu_code_tables[f->type][code];
    return (float)(number - f->offset);
}

/* The scale of each half of a group, and what is added there if the format has minimums. */
static void read_scales(const cpu_tile_format *f, const uint8_t *head, const uint8_t *group, uint32_t lane,
                        float step[2], float added[2]) {
    const float d = read_number(f, head, lane);
    const bool second = f->minimum || (f->halves && !f->bytes);
    const float e = second ? read_number(f, head, CPU_TILE + lane) : 0.0f;
    for (uint32_t h = 0; h < 2; h++) {
        step[h] = f->halves && !f->bytes && h ? e : d;
        added[h] = e;
        if (!f->bytes) continue;
        uint8_t scale = group[f->halves ? CPU_TILE * h + lane : lane];
        uint8_t minimum = f->minimum && !f->halves ? group[CPU_TILE + lane] : scale >> 4;
        if (f->minimum && f->halves) scale &= 15;
        step[h] = d * (f->minimum ? (float)scale : (float)(int8_t)scale);
        added[h] = -(e * (float)minimum);
    }
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
    for (uint64_t g = 0; g < cpu_groups(w->cols); g++, dst += CPU_GROUP) {
        if (g && g % f->groups == 0) unit += cpu_tile_unit_bytes(f);
        const uint8_t *group = unit + cpu_tile_head_bytes(f) + g % f->groups * cpu_tile_group_bytes(f);
        uint8_t codes[CPU_GROUP];
        read_codes(f, group, lane, codes);
        float step[2], added[2] = {0};
        read_scales(f, unit, group, lane, step, added);
        for (uint64_t k = 0; k < mlxn_min_u64(CPU_GROUP, w->cols - g * CPU_GROUP); k++) {
            float value = step[k / 16] * read_code(f, codes[k]);
            dst[k] = f->minimum ? value + added[k / 16] : value;
        }
    }
}
