/* matmul_i8.h: what the files of the 8-bit kernels share: matmul_i8.c rounds activations (matmul_i8_round.h) and
 * takes matrices apart; matmul_i8_code.c is the arithmetic, unrolled for each layout of weights. */
#ifndef MLXN_SRC_CPU_MATMUL_I8_H
#define MLXN_SRC_CPU_MATMUL_I8_H

#include "backend/cpu/kernels/matmul_codes.h"

#if CPU_ISA_LEVEL > 0

enum { TOKEN_BYTES = 2 * CPU_GROUP };

/* A group of weights with scales of its own may be half of one. */
static inline uint32_t mm_parts(const cpu_tile_format *f) { return f->halves ? 2 : 1; }

/* Activations of `tokens` tokens, one record per group: for each token high[32] and low[32], then scale[tokens],
 * start[parts][tokens]; `start` is what the dot products start from, or with minimums the float x_scale * (sum of q).
 */
static inline uint64_t mm_record_bytes(const cpu_tile_format *f, uint64_t tokens) {
    return tokens * (TOKEN_BYTES + 4 + 4 * mm_parts(f));
}

/* A panel is decoded weights, for each group: the quads, then the scale of each part, then its minimum. */
static inline uint64_t mm_panel_group_bytes(const cpu_tile_format *f) {
    return CPU_QUADS * CPU_QUAD_BYTES + CPU_QUAD_BYTES * mm_parts(f) * (f->minimum ? 2 : 1);
}

/* A stretch of a panel times one token block; `partial` holds the sums between stretches. */
typedef struct mm_stretch {
    const mm_target *target;
    const uint8_t *panel;
    uint64_t panel_step, groups, first_tile, tiles;
    bool begins, ends;
} mm_stretch;

/* Tiles [begin, end) times 1 to I8_DIRECT tokens from `first_token` on, multiplied as they are decoded. */
typedef void (*mm_direct_fn)(const mm_matrix *w, const mm_target *target, uint64_t first_token, uint64_t begin,
                             uint64_t end, const uint8_t *records);
/* Groups [first, first + n) of a tile into a panel; NULL: zeros. */
typedef void (*mm_fill_fn)(const cpu_tile_format *layout, const uint8_t *tile, uint64_t first, uint64_t n,
                           uint8_t *panel);
/* A stretch of a panel times 1 to I8_TOKENS tokens. */
typedef void (*mm_block_fn)(const mm_stretch *s, uint64_t first_token, const uint8_t *record, float *partial);
typedef struct mm_i8_code {
    mm_direct_fn direct[I8_DIRECT]; /* by tokens - 1 */
    mm_fill_fn fill;
    const mm_block_fn *block; /* by tokens - 1 */
} mm_i8_code;

/* NULL: plain formats and those that are floats have no integers to multiply. */
const mm_i8_code *CPU_ISA(mm_i8_find)(const cpu_tile_format *layout);

#endif
#endif
