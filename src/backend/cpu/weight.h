/* weight.h: the packed layout of weights, "tile16", one family for all formats.
 *
 * Output rows are taken in tiles of 16; lane = row. A kernel that broadcasts activations then needs no sums across
 * lanes, and the 8-bit and the f32 kernels, for one token or many, read the same bytes. Rows past the last are zero.
 *
 * Plain formats (F32, F16, BF16): tile, k, row. Element k of the tile's 16 rows lies together.
 *
 * Other formats: a tile is a run of groups of 32 k. The codes of a group, unsigned, are eight "quads"; quad j holds
 * bytes [row][k - 4j] for k = 4j to 4j+3, which is the operand of the 8-bit dot product. In memory, in this order:
 *   head     of each `groups` groups: d (16 of the scale's dtype), then m where the format has a minimum, or the d of
 *            k 16-31 where each half of a group has a scale of its own and there are no bytes;
 *   bytes    formats whose groups have scales that multiply those of the head, for each group: per row one byte of
 *            scale (signed, if there is no minimum), then one of minimum, or the scale of k 16-31 where halves have
 *            their own; with both, per row the byte of k 0-15, then that of k 16-31, scale low, minimum high;
 *   codes    8 bits: the eight quads. 4, 5, 6 bits: four vectors of 64 bytes, quad j in the low and quad j + 4 in the
 *            high nibbles of vector j. 2, 3 bits: two vectors, quads 0-3 and 4-7 from the lowest bits up;
 *   high     first, third or fifth bits: a 64-bit mask per quad, bit 4 * row + k; fifth and sixth bits: two
 *            vectors, two bits per code, as those of 2-bit codes.
 *
 * Signed formats store code + offset, so that all codes are unsigned: w = d * (code - offset). Codes of one bit stand
 * for 0 and 2. Other types of codes are looked up in a table of sixteen numbers, offset included (those of e2m1, for
 * mxfp4 and nvfp4, are twice the element, and d is half the scale), but for those of mxfp8, which are floats. A code
 * of the grid formats (IQ1 to IQ3) is a place in the list of the grid's values and a sign; the grid itself is only
 * needed to pack them. The 8-bit scales of mxfp4, nvfp4 and mxfp8 are kept as BF16 or F16, which hold all of them.
 *
 * A stack of matrices is packed one after the other, each in whole tiles. */
#ifndef MLXN_SRC_CPU_WEIGHT_H
#define MLXN_SRC_CPU_WEIGHT_H

#include "ops/op.h"

enum { CPU_TILE = 16, CPU_GROUP = 32, CPU_QUAD_BYTES = 64, CPU_QUADS = 8 };

/* How a code becomes a number: by cpu_code_tables from E2M1 on, but for E4M3. */
typedef enum cpu_code_type {
    CPU_CODES_INTEGER,
    CPU_CODES_E4M3,
    CPU_CODES_E2M1,
    CPU_CODES_IQ4,
    CPU_CODES_IQ1,
    CPU_CODES_IQ2,
    CPU_CODES_IQ3_XXS,
    CPU_CODES_IQ3_S,
    CPU_CODE_TYPES
} cpu_code_type;
extern const uint8_t cpu_code_tables[CPU_CODE_TYPES][16]; /* code -> number + offset */

/* What a format needs to be packed, decoded and multiplied. */
typedef struct cpu_tile_format {
    uint32_t bits;   /* 1, 2, 3, 4, 5, 6 or 8 */
    uint32_t groups; /* groups that share a head */
    bool bytes;      /* bytes of each group multiply the head's numbers, and minimums are subtracted */
    bool minimum;    /* w = d * code + m, else w = d * (code - offset) */
    bool halves;     /* a scale per 16 k */
    int32_t offset;
    cpu_code_type type;
    mlxn_dtype scale; /* of the head: F16, BF16 or F32 */
    uint32_t kernel;  /* cpu_tile_kernel: which code serves it */
} cpu_tile_format;

/* X(name, bits, groups, bytes, minimum, halves, offset, type, scale): layouts of block formats. */
#define CPU_TILE_BLOCKS(X)                                      \
    X(q4_0, 4, 1, false, false, false, 8, INTEGER, MLXN_F16)    \
    X(q4_1, 4, 1, false, true, false, 0, INTEGER, MLXN_F16)     \
    X(q5_0, 5, 1, false, false, false, 16, INTEGER, MLXN_F16)   \
    X(q5_1, 5, 1, false, true, false, 0, INTEGER, MLXN_F16)     \
    X(q8_0, 8, 1, false, false, false, 128, INTEGER, MLXN_F16)  \
    X(q8_k, 8, 8, false, false, false, 128, INTEGER, MLXN_F32)  \
    X(q2_k, 2, 8, true, true, true, 0, INTEGER, MLXN_F16)       \
    X(q3_k, 3, 8, true, false, true, 4, INTEGER, MLXN_F16)      \
    X(q4_k, 4, 8, true, true, false, 0, INTEGER, MLXN_F16)      \
    X(q5_k, 5, 8, true, true, false, 0, INTEGER, MLXN_F16)      \
    X(q6_k, 6, 8, true, false, true, 32, INTEGER, MLXN_F16)     \
    X(iq4_nl, 4, 1, false, false, false, 127, IQ4, MLXN_F16)    \
    X(iq4_xs, 4, 8, true, false, false, 127, IQ4, MLXN_F16)     \
    X(iq1, 3, 8, true, false, false, 9, IQ1, MLXN_F32)          \
    X(iq1_halves, 3, 8, true, false, true, 9, IQ1, MLXN_F32)    \
    X(iq2, 3, 8, true, false, false, 43, IQ2, MLXN_F32)         \
    X(iq2_halves, 3, 8, true, false, true, 43, IQ2, MLXN_F32)   \
    X(iq3_xxs, 4, 8, true, false, false, 62, IQ3_XXS, MLXN_F32) \
    X(iq3_s, 4, 8, true, false, false, 15, IQ3_S, MLXN_F32)
#define CPU_TILE_LAYOUT(name, bits, groups, bytes, minimum, halves, offset, type, scale) \
    { bits, groups, bytes, minimum, halves, offset, CPU_CODES_##type, scale, CPU_KERNEL_##name }

/* X(name, bits, minimum, halves, offset, type): layouts of several formats, whose groups per head and scales' dtypes
 * vary: those of MLX, MXFP4 and NVFP4, those of one and two bits. mxfp8 has no integer kernels and stands apart. */
#define CPU_TILE_VARIED(X)                  \
    X(binary, 1, false, false, 1, INTEGER)  \
    X(ternary, 2, false, false, 1, INTEGER) \
    X(affine2, 2, true, false, 0, INTEGER)  \
    X(affine3, 3, true, false, 0, INTEGER)  \
    X(affine4, 4, true, false, 0, INTEGER)  \
    X(affine5, 5, true, false, 0, INTEGER)  \
    X(affine6, 6, true, false, 0, INTEGER)  \
    X(affine8, 8, true, false, 0, INTEGER)  \
    X(e2m1, 4, false, false, 12, E2M1)      \
    X(e2m1_halves, 4, false, true, 12, E2M1)

/* X(format, kernel, packer): which of CPU_TILE_BLOCKS a format has; `packer` names its function (weight_pack.h). */
#define CPU_TILE_FORMATS(X)       \
    X(Q4_0, q4_0, q4_0)           \
    X(Q4_1, q4_1, q4_1)           \
    X(Q5_0, q5_0, q5_0)           \
    X(Q5_1, q5_1, q5_1)           \
    X(Q8_0, q8_0, q8_0)           \
    X(Q8_1, q8_0, q8_1)           \
    X(Q8_K, q8_k, q8_k)           \
    X(Q2_K, q2_k, q2_k)           \
    X(Q3_K, q3_k, q3_k)           \
    X(Q4_K, q4_k, q4_k)           \
    X(Q5_K, q5_k, q5_k)           \
    X(Q6_K, q6_k, q6_k)           \
    X(IQ4_NL, iq4_nl, iq4_nl)     \
    X(IQ4_XS, iq4_xs, iq4_xs)     \
    X(IQ1_S, iq1, iq1_s)          \
    X(IQ1_M, iq1_halves, iq1_m)   \
    X(IQ2_XXS, iq2, iq2_xxs)      \
    X(IQ2_XS, iq2_halves, iq2_xs) \
    X(IQ2_S, iq2_halves, iq2_s)   \
    X(IQ3_XXS, iq3_xxs, iq3_xxs)  \
    X(IQ3_S, iq3_s, iq3_s)

typedef enum cpu_tile_kernel {
#define CPU_TILE_KERNEL(name, ...) CPU_KERNEL_##name,
    CPU_TILE_BLOCKS(CPU_TILE_KERNEL) CPU_TILE_VARIED(CPU_TILE_KERNEL)
#undef CPU_TILE_KERNEL
        CPU_KERNEL_e4m3,
    CPU_KERNEL_COUNT
} cpu_tile_kernel;

/* Offsets of the layout: functions of the format alone, so that a constant format makes them constants. */
static inline uint32_t cpu_tile_scale_size(const cpu_tile_format *f) { return f->scale == MLXN_F32 ? 4 : 2; }
static inline uint32_t cpu_tile_head_bytes(const cpu_tile_format *f) {
    return CPU_TILE * cpu_tile_scale_size(f) * (f->minimum || (f->halves && !f->bytes) ? 2 : 1);
}
static inline uint32_t cpu_tile_scale_bytes(const cpu_tile_format *f) {
    return !f->bytes ? 0 : f->minimum || f->halves ? 2 * CPU_TILE : CPU_TILE;
}
static inline uint32_t cpu_tile_code_bytes(const cpu_tile_format *f) {
    return f->bits == 8 ? 512 : f->bits >= 4 ? 256 : f->bits >= 2 ? 128 : 0;
}
static inline uint32_t cpu_tile_high_bytes(const cpu_tile_format *f) {
    return f->bits < 6 && f->bits % 2 ? 64 : f->bits == 6 ? 128 : 0;
}
static inline uint32_t cpu_tile_group_bytes(const cpu_tile_format *f) {
    return cpu_tile_scale_bytes(f) + cpu_tile_code_bytes(f) + cpu_tile_high_bytes(f);
}
/* Which bit of a code the mask holds: 0 and 2 for codes of one bit. */
static inline uint32_t cpu_tile_high_bit(const cpu_tile_format *f) { return f->bits == 1 ? 1 : f->bits - 1; }
/* One head and its groups. */
static inline uint32_t cpu_tile_unit_bytes(const cpu_tile_format *f) {
    return cpu_tile_head_bytes(f) + f->groups * cpu_tile_group_bytes(f);
}
/* Groups and units of a row. A row of nvfp4 may end with half a group, the rest of which is zero. */
static inline uint64_t cpu_groups(uint64_t cols) { return (cols + CPU_GROUP - 1) / CPU_GROUP; }
static inline uint64_t cpu_tile_units(const cpu_tile_format *f, uint64_t cols) {
    return (cpu_groups(cols) + f->groups - 1) / f->groups;
}
/* Tiles of one matrix, and their bytes. */
static inline uint64_t cpu_tile_count(const mlxn_weight_view *w) { return (w->rows + CPU_TILE - 1) / CPU_TILE; }
static inline uint64_t cpu_tile_bytes(const cpu_tile_format *f, uint64_t cols) {
    return cpu_tile_units(f, cols) * cpu_tile_unit_bytes(f);
}
static inline uint64_t cpu_expert_bytes(const mlxn_weight_view *w) {
    return w->packed_bytes / mlxn_weight_view_experts(w);
}

/* The layout of a packed weight; NULL for plain formats. */
static inline const cpu_tile_format *cpu_layout_of(const mlxn_weight_view *packed) { return packed->layout; }
/* What a weight that is not packed yet will have. */
const cpu_tile_format *cpu_tile_format_of(const mlxn_weight_view *raw);

/* weight_rows.c. Packs units [first, first + units) (heads with their groups) of row `row` of a weight into lane
 * `lane` of a tile, `packed` at the first of them. `first` and `units` are whole blocks of the format. The memory is
 * zero or holds the same row. */
void cpu_pack_units(const cpu_tile_format *f, const mlxn_weight_view *raw, uint64_t row, uint64_t first,
                    uint64_t units, uint8_t *packed, uint32_t lane);
/* Decodes one row from the packed layout, bit for bit as mlxn_dequantize_row or _groups does from the original one.
 */
void cpu_read_row(const mlxn_weight_view *weight, uint64_t row, float *dst);

#endif
