/* matmul_f32.c (CPU kernels): any weights times activations in binary32.
 *
 * Weights are decoded (to the bits of mlxn_dequantize_row) a stretch of F32_PANEL_COLS columns at a time, and are
 * multiplied with all tokens. The sum of a stretch is a chain of fused multiply-adds in the order of k from zero;
 * the sums of the stretches are added in order. This is the arithmetic of every output element, whatever the number
 * of tokens or threads. */
#include "backend/cpu/kernels/matmul_codes.h"

/* Activations as floats, [column][token] for `tokens` tokens: a product needs one column of all. */
SIMD_INLINE void pack_token(mlxn_dtype dtype, const void *x, uint64_t cols, uint64_t t, uint64_t tokens, float *out) {
    uint64_t k = 0;
    for (; k + 16 <= cols; k += 16) {
        float f[16];
        v16_store(f, v16_load_as(dtype, x, k, 16));
        for (uint64_t i = 0; i < 16; i++) out[(k + i) * tokens + t] = f[i];
    }
    for (; k < cols; k++) out[k * tokens + t] = simd_get(dtype, x, (int64_t)k);
}

static void pack_tokens(const mlxn_view *x, uint64_t first, uint64_t n, uint64_t tokens, float *out) {
    for (uint64_t t = 0; t < n; t++) {
        const void *row = mm_x_row(x, first + t);
        if (x->dtype == MLXN_F32)
            pack_token(MLXN_F32, row, x->dims[1], t, tokens, out);
        else if (x->dtype == MLXN_F16)
            pack_token(MLXN_F16, row, x->dims[1], t, tokens, out);
        else
            pack_token(MLXN_BF16, row, x->dims[1], t, tokens, out);
    }
}

/* --- Columns [first, first + n) of a tile as floats, [column][row]. Returns where they lie: F32 stays in place. ---
 */

SIMD_INLINE const float *decode_blocks(const cpu_tile_format *f, const uint8_t *tile, uint64_t first, uint64_t n,
                                       float *panel) {
    float *to = panel;
    for (uint64_t g = first / CPU_GROUP; g < (first + n) / CPU_GROUP; g++) {
        const uint8_t *unit = tile + g / f->groups * cpu_tile_unit_bytes(f);
        const uint8_t *group = unit + cpu_tile_head_bytes(f) + g % f->groups * cpu_tile_group_bytes(f);
        mm_quad q[CPU_QUADS];
        v16 scale[2], minimum;
        mm_unpack(f, group, q);
        mm_scales(f, unit, group, scale, &minimum);
        mm_ints offset = mm_ints_set1(-f->offset);
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++)
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++, to += CPU_TILE) {
                mm_ints byte = mm_quad_lane_byte(q[j], b);
                v16 code = f->type == CPU_CODES_E4M3 ? mm_ints_e4m3(byte) : mm_ints_float(mm_ints_add(byte, offset));
                v16 value = v16_mul(code, scale[f->halves && j >= 4]);
                if (f->minimum) value = v16_add(value, minimum);
                v16_store(to, value);
            }
    }
    return panel;
}

#define DECODE(format, name, bits, groups, minimum, halves, offset)                                               \
    static const float *decode_##name(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n, \
                                      float *panel) {                                                             \
        const cpu_tile_format layout = CPU_TILE_BLOCK(bits, groups, minimum, halves, offset, name);               \
        return decode_blocks(&layout, tile, first, n, panel);                                                     \
    }
#define DECODE_MLX(name, bits, minimum, halves, offset, type)                                                     \
    static const float *decode_##name(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n, \
                                      float *panel) {                                                             \
        const cpu_tile_format layout =                                                                            \
            CPU_TILE_MLX_LAYOUT(name, bits, minimum, halves, offset, type, of->groups, of->scale);                \
        return decode_blocks(&layout, tile, first, n, panel);                                                     \
    }
CPU_TILE_FORMATS(DECODE)
CPU_TILE_MLX(DECODE_MLX)
DECODE_MLX(e4m3, 8, false, false, 0, E4M3)

static const float *decode_f32(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n,
                               float *panel) {
    return (const float *)tile + first * CPU_TILE;
}
static const float *decode_f16(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n,
                               float *panel) {
    const uint16_t *from = (const uint16_t *)tile + first * CPU_TILE;
    for (uint64_t i = 0; i < n * CPU_TILE; i += 16) v16_store(panel + i, v16_load_f16(from + i));
    return panel;
}
static const float *decode_bf16(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n,
                                float *panel) {
    const uint16_t *from = (const uint16_t *)tile + first * CPU_TILE;
    for (uint64_t i = 0; i < n * CPU_TILE; i += 16) v16_store(panel + i, v16_load_bf16(from + i));
    return panel;
}

typedef const float *(*decode_fn)(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n,
                                  float *panel);
#define DECODE_ROW(format, name, bits, groups, minimum, halves, offset) [CPU_KERNEL_##name] = decode_##name,
#define DECODE_MLX_ROW(name, bits, minimum, halves, offset, type) [CPU_KERNEL_##name] = decode_##name,
static const decode_fn decoders[CPU_KERNEL_COUNT] = {CPU_TILE_FORMATS(DECODE_ROW)
                                                         CPU_TILE_MLX(DECODE_MLX_ROW)[CPU_KERNEL_e4m3] = decode_e4m3};

static decode_fn find(const mlxn_weight_view *w) {
    if (cpu_layout_of(w)) return decoders[cpu_layout_of(w)->kernel];
    return w->format == MLXN_FORMAT_F32 ? decode_f32 : w->format == MLXN_FORMAT_F16 ? decode_f16 : decode_bf16;
}

/* --- One stretch of F32_TILES tiles times a few tokens. --- */

typedef struct stretch {
    const mm_target *target;
    const float *w[F32_TILES];
    uint64_t cols, first_tile, tiles;
    uint64_t x_step; /* floats from column to column of the activations */
    bool begins, ends;
} stretch;

SIMD_INLINE void multiply(uint32_t tokens, const stretch *s, uint64_t first_token, const float *x, float *partial) {
    v16 sum[F32_TILES][F32_TOKENS];
#pragma GCC unroll 4
    for (uint32_t r = 0; r < F32_TILES; r++)
#pragma GCC unroll 6
        for (uint32_t t = 0; t < tokens; t++) sum[r][t] = v16_zero();
    const float *from[F32_TILES];
#pragma GCC unroll 4
    for (uint32_t r = 0; r < F32_TILES; r++) from[r] = s->w[r];
    const uint64_t step = s->x_step;
    for (uint64_t k = 0; k < s->cols; k++, x += step) {
        v16 w[F32_TILES];
#pragma GCC unroll 4
        for (uint32_t r = 0; r < F32_TILES; r++) w[r] = v16_load(from[r] + CPU_TILE * k);
#pragma GCC unroll 6
        for (uint32_t t = 0; t < tokens; t++) {
            v16 v = v16_set1(x[t]);
#pragma GCC unroll 4
            for (uint32_t r = 0; r < F32_TILES; r++) sum[r][t] = v16_fma(w[r], v, sum[r][t]);
        }
    }
#pragma GCC unroll 6
    for (uint32_t t = 0; t < tokens; t++)
#pragma GCC unroll 4
        for (uint32_t r = 0; r < F32_TILES; r++) {
            float *total = partial + 16 * (t * F32_TILES + r);
            v16 y = s->begins ? sum[r][t] : v16_add(v16_load(total), sum[r][t]);
            if (!s->ends)
                v16_store(total, y);
            else if (r < s->tiles)
                mm_finish(s->target, first_token + t, (s->first_tile + r) * CPU_TILE, y);
        }
}

#define BLOCK(tokens)                                                                                    \
    static void block_##tokens(const stretch *s, uint64_t first_token, const float *x, float *partial) { \
        multiply(tokens, s, first_token, x, partial);                                                    \
    }
BLOCK(1)
BLOCK(2)
#if CPU_ISA_LEVEL >= 1
BLOCK(3)
BLOCK(6)
#endif

/* The largest first; a block of tokens is taken in pieces. */
static const struct {
    uint64_t tokens;
    void (*multiply)(const stretch *s, uint64_t first_token, const float *x, float *partial);
} pieces[] = {
#if CPU_ISA_LEVEL >= 1
    {6, block_6},
    {3, block_3},
#endif
    {2, block_2},
    {1, block_1},
};

/* --- Rows of the table. --- */

bool CPU_ISA(mm_f32_fits)(const mlxn_view *args, const void *params) { return mm_fits(args); }

static mm_shape shape_of(const mlxn_view *args, uint32_t n_threads) {
    if (args[MM_X].dims[0] <= F32_TOKENS) return mm_shape_few(args, n_threads, F32_TILES);
    return mm_shape_many(args, n_threads, F32_TILES, F32_TOKENS);
}

void CPU_ISA(mm_f32_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    mm_shape s = shape_of(args, n_threads);
    uint64_t panel = F32_PANEL_COLS * CPU_TILE * F32_TILES * sizeof(float);
    uint64_t partial = s.range * F32_TOKENS * F32_TILES * 16 * sizeof(float);
    if (s.tokens <= F32_TOKENS)
        *out = (cpu_plan){
            .phases = 1, .chunks = {s.panels}, .local_bytes = panel + partial + s.cols * s.tokens * sizeof(float)};
    else
        *out = (cpu_plan){.phases = 2,
                          .chunks = {s.blocks, s.panels * s.ranges},
                          .shared_bytes = s.blocks * F32_TOKENS * s.cols * sizeof(float),
                          .local_bytes = panel + partial};
}

/* What is multiplied by what, and with which memory. */
typedef struct product {
    const mm_matrix *w;
    const mm_target *target;
    decode_fn decode;
    uint64_t tokens;
    const float *x; /* all blocks of tokens, `x_step` tokens each */
    uint64_t x_step;
    float *panel, *partial;
} product;

/* F32_TILES tiles from `tile` on times token blocks [first, last). */
static void multiply_tiles(const product *p, uint64_t tile, uint64_t first, uint64_t last) {
    const uint64_t cols = p->w->cols, tile_bytes = p->w->tile_bytes;
    stretch st = {.target = p->target,
                  .first_tile = tile,
                  .tiles = mlxn_min_u64(F32_TILES, p->w->tiles - tile),
                  .x_step = p->x_step};
    for (uint64_t k = 0; k < cols; k += st.cols) {
        st.cols = mlxn_min_u64(F32_PANEL_COLS, cols - k);
        st.begins = k == 0;
        st.ends = k + st.cols == cols;
        for (uint64_t r = 0; r < F32_TILES; r++) {
            if (r >= st.tiles) { /* a tile that does not exist: any numbers, its sums are not kept */
                st.w[r] = st.w[0];
                continue;
            }
            const uint8_t *at = p->w->packed + (tile + r) * tile_bytes;
            st.w[r] = p->decode(p->w->layout, at, k, st.cols, p->panel + r * F32_PANEL_COLS * CPU_TILE);
            /* The next stretch of this tile, or the first of the tile that takes its place: the runs are too short
             * for the processor to see them coming. */
            const uint8_t *next = at + (st.ends ? F32_TILES * tile_bytes : (k + st.cols) * tile_bytes / cols);
            for (uint64_t line = 0; line < F32_PANEL_COLS * tile_bytes / cols; line += 64)
                __builtin_prefetch(next + line);
        }
        for (uint64_t b = first; b < last; b++) {
            uint64_t n = mlxn_min_u64(F32_TOKENS, p->tokens - b * F32_TOKENS);
            const float *xb = p->x + (b * F32_TOKENS * cols + k * p->x_step);
            float *pb = p->partial + (b - first) * F32_TOKENS * F32_TILES * 16;
            for (uint64_t t = 0, i = 0; t < n;) {
                while (pieces[i].tokens > n - t) i++;
                pieces[i].multiply(&st, b * F32_TOKENS + t, xb + t, pb + t * F32_TILES * 16);
                t += pieces[i].tokens;
            }
        }
    }
}

void CPU_ISA(mm_f32_run)(cpu_run *run) {
    const mm_shape s = shape_of(run->args, run->n_threads);
    const mm_matrix w = mm_matrix_of(run->args[MM_W].weight, 0);
    const mm_target target = mm_target_of(run->args);
    const mlxn_view *x = &run->args[MM_X];
    float *panel = run->local, *partial = panel + F32_PANEL_COLS * CPU_TILE * F32_TILES;
    float *packed = run->shared, *own = partial + s.range * F32_TOKENS * F32_TILES * 16;
    bool few = s.tokens <= F32_TOKENS;
    const product p = {.w = &w,
                       .target = &target,
                       .decode = find(run->args[MM_W].weight),
                       .tokens = s.tokens,
                       .x = few ? own : packed,
                       .x_step = few ? s.tokens : F32_TOKENS,
                       .panel = panel,
                       .partial = partial};
    uint64_t chunk;
    if (few) {
        bool ready = false;
        while (cpu_next(run, &chunk)) {
            if (!ready) pack_tokens(x, 0, s.tokens, s.tokens, own);
            ready = true;
            uint64_t end = mlxn_min_u64((chunk + 1) * s.panel_tiles, s.tiles);
            for (uint64_t tile = chunk * s.panel_tiles; tile < end; tile += F32_TILES) multiply_tiles(&p, tile, 0, 1);
        }
    } else if (run->phase == 0) {
        while (cpu_next(run, &chunk))
            pack_tokens(x, chunk * F32_TOKENS, mlxn_min_u64(F32_TOKENS, s.tokens - chunk * F32_TOKENS), F32_TOKENS,
                        packed + chunk * F32_TOKENS * s.cols);
    } else {
        while (cpu_next(run, &chunk)) {
            uint64_t first = chunk % s.ranges * s.range;
            multiply_tiles(&p, chunk / s.ranges * F32_TILES, first, mlxn_min_u64(first + s.range, s.blocks));
        }
    }
}
