/* weight.h: the packed layout of weights, "tile16", one family for all formats.
 *
 * Output rows are taken in tiles of 16; lane = row. A kernel that broadcasts activations then needs no sums across
 * lanes, and the 8-bit and the f32 kernels, for one token or many, read the same bytes. Rows past the last are zero.
 *
 * Plain formats (F32, F16, BF16): tile, k, row. Element k of the tile's 16 rows lies together.
 *
 * Block formats: a tile is a run of groups of 32 k. The codes of a group, unsigned, are eight "quads"; quad j holds
 * bytes [row][k - 4j] for k = 4j to 4j+3, which is the operand of the 8-bit dot product. In memory, in this order:
 *   scales   d (f16 x 16), then m (f16 x 16) where the format has a minimum; K formats: per row one byte of scale
 *            and one of minimum, Q6_K: the scale of k 0-15, then that of k 16-31;
 *   codes    8-bit formats: the eight quads. Others: four vectors of 64 bytes, quad j in the low and quad j + 4 in
 *            the high nibbles of vector j;
 *   high     fifth bits: a 64-bit mask per quad, bit 4 * row + k; sixth bits: two vectors, two bits per code, quads
 *            0-3 and 4-7 from the lowest bits up.
 * K formats begin each eight groups with d and, except Q6_K, dmin (f16 x 16 each).
 * Signed formats store code + offset, so that all codes are unsigned: w = d * (code - offset). */
#ifndef MLXN_SRC_CPU_WEIGHT_H
#define MLXN_SRC_CPU_WEIGHT_H

#include "ops/op.h"

enum { CPU_TILE = 16, CPU_GROUP = 32, CPU_QUAD_BYTES = 64, CPU_QUADS = 8 };

/* What a block format needs to be packed, decoded and multiplied. */
typedef struct cpu_tile_format {
    uint32_t bits;   /* 4, 5, 6 or 8 */
    uint32_t groups; /* groups that share a head: 8 in K formats, else 1 */
    bool minimum;    /* w = d * code + m, else w = d * (code - offset) */
    bool halves;     /* a scale per 16 k */
    int32_t offset;
} cpu_tile_format;

/* X(format, name, bits, groups, minimum, halves, offset). K formats subtract their minimum: m is its negative. */
#define CPU_TILE_FORMATS(X)                \
    X(Q4_0, q4_0, 4, 1, false, false, 8)   \
    X(Q4_1, q4_1, 4, 1, true, false, 0)    \
    X(Q5_0, q5_0, 5, 1, false, false, 16)  \
    X(Q5_1, q5_1, 5, 1, true, false, 0)    \
    X(Q8_0, q8_0, 8, 1, false, false, 128) \
    X(Q4_K, q4_k, 4, 8, true, false, 0)    \
    X(Q5_K, q5_k, 5, 8, true, false, 0)    \
    X(Q6_K, q6_k, 6, 8, false, true, 32)

/* Offsets of the layout: functions of the format alone, so that a constant format makes them constants. */
static inline uint32_t cpu_tile_head_bytes(const cpu_tile_format *f) {
    return f->groups == 1 ? 0 : f->minimum ? 64 : 32;
}
static inline uint32_t cpu_tile_scale_bytes(const cpu_tile_format *f) {
    return f->groups > 1 ? 32 : f->minimum ? 64 : 32;
}
static inline uint32_t cpu_tile_code_bytes(const cpu_tile_format *f) { return f->bits == 8 ? 512 : 256; }
static inline uint32_t cpu_tile_high_bytes(const cpu_tile_format *f) {
    return f->bits == 5 ? 64 : f->bits == 6 ? 128 : 0;
}
static inline uint32_t cpu_tile_group_bytes(const cpu_tile_format *f) {
    return cpu_tile_scale_bytes(f) + cpu_tile_code_bytes(f) + cpu_tile_high_bytes(f);
}
/* One head and its groups. */
static inline uint32_t cpu_tile_unit_bytes(const cpu_tile_format *f) {
    return cpu_tile_head_bytes(f) + f->groups * cpu_tile_group_bytes(f);
}
static inline uint64_t cpu_tile_count(const mlxn_weight_view *w) { return (w->rows + CPU_TILE - 1) / CPU_TILE; }
/* Bytes of a tile of `cols` columns. */
static inline uint64_t cpu_tile_bytes(const cpu_tile_format *f, uint64_t cols) {
    return cols / (CPU_GROUP * f->groups) * cpu_tile_unit_bytes(f);
}

/* NULL for plain formats. */
const cpu_tile_format *cpu_tile_format_of(mlxn_format format);

/* weight_rows.c. Packs `units` units of one row (heads with their groups, `raw` at the first of them) into lane
 * `lane` of a tile, `packed` at the same unit. The memory is zero or holds the same row. */
void cpu_pack_units(mlxn_format format, const uint8_t *raw, uint64_t units, uint8_t *packed, uint32_t lane);
/* Decodes one row from the packed layout, bit for bit as mlxn_dequantize_row does from the original one. */
void cpu_read_row(const mlxn_weight_view *weight, uint64_t row, float *dst);

#endif
