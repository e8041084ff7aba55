/* matmul_f32.c (CPU kernels): any weights, or another tensor, times activations in binary32.
 *
 * Weights are decoded (to the bits of mlxn_dequantize_row) a stretch of F32_PANEL_COLS columns at a time, and are
 * multiplied with all tokens. The sum of a stretch is a chain of fused multiply-adds in the order of k from zero;
 * the sums of the stretches are added in order. This is the arithmetic of every output element, whatever the number
 * of tokens or threads. */
#include "backend/cpu/kernels/matmul_codes.h"
#include "backend/cpu/kernels/matmul_experts.h"

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

static void pack_tokens(const mm_tokens *from, uint64_t first, uint64_t n, uint64_t tokens, float *out) {
    const mlxn_view *x = from->x;
    for (uint64_t t = 0; t < n; t++) {
        const void *row = mm_token_row(from, first + t);
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
    for (uint64_t g = first / CPU_GROUP; g < cpu_groups(first + n); g++) {
        const uint8_t *unit = tile + g / f->groups * cpu_tile_unit_bytes(f);
        const uint8_t *group = unit + cpu_tile_head_bytes(f) + g % f->groups * cpu_tile_group_bytes(f);
        mm_quad q[CPU_QUADS];
        v16 scale[2], minimum[2];
        mm_unpack(f, group, q);
        mm_scales(f, unit, group, scale, minimum);
        mm_ints offset = mm_ints_set1(-f->offset);
#pragma GCC unroll 8
        for (int j = 0; j < CPU_QUADS; j++)
#pragma GCC unroll 4
            for (int b = 0; b < 4; b++, to += CPU_TILE) {
                mm_ints byte = mm_quad_lane_byte(q[j], b);
                v16 code = f->type == CPU_CODES_E4M3 ? mm_ints_e4m3(byte) : mm_ints_float(mm_ints_add(byte, offset));
                v16 value = v16_mul(code, scale[f->halves && j >= 4]);
                if (f->minimum) value = v16_add(value, minimum[f->halves && j >= 4]);
                v16_store(to, value);
            }
    }
    return panel;
}

#define DECODE(name, ...)                                                                                         \
    static const float *decode_##name(const cpu_tile_format *of, const uint8_t *tile, uint64_t first, uint64_t n, \
                                      float *panel) {                                                             \
        const cpu_tile_format layout = mm_layout_##name(of);                                                      \
        return decode_blocks(&layout, tile, first, n, panel);                                                     \
    }
CPU_TILE_BLOCKS(DECODE)
CPU_TILE_VARIED(DECODE)
DECODE(e4m3)

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
#define DECODE_ROW(name, ...) [CPU_KERNEL_##name] = decode_##name,
static const decode_fn decoders[CPU_KERNEL_COUNT] = {CPU_TILE_BLOCKS(DECODE_ROW) CPU_TILE_VARIED(DECODE_ROW)
                                                         DECODE_ROW(e4m3)};

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

/* Columns [first, first + n) of a tile of a matrix of any strides, [column][row]; rows that do not exist are zero. */
static const float *gather_tile(const mlxn_view *b, uint64_t tile, uint64_t first, uint64_t n, float *panel) {
    const uint64_t rows = mlxn_min_u64(CPU_TILE, b->dims[0] - tile * CPU_TILE), size = b->dtype == MLXN_F32 ? 4 : 2;
    const int64_t row_step = b->strides[0], col_step = b->strides[1];
    const char *base =
        (const char *)b->data + ((int64_t)(tile * CPU_TILE) * row_step + (int64_t)first * col_step) * (int64_t)size;
    if (row_step == 1) {
        for (uint64_t k = 0; k < n; k++)
            v16_store(panel + k * CPU_TILE,
                      v16_load_as(b->dtype, base + (int64_t)k * col_step * (int64_t)size, 0, rows));
        return panel;
    }
    if (rows < CPU_TILE) memset(panel, 0, n * CPU_TILE * sizeof *panel);
    for (uint64_t r = 0; r < rows; r++) {
        const char *row = base + (int64_t)r * row_step * (int64_t)size;
        uint64_t k = 0;
        for (; col_step == 1 && k + 16 <= n; k += 16) {
            float f[16];
            v16_store(f, v16_load_as(b->dtype, row, k, 16));
            for (uint64_t i = 0; i < 16; i++) panel[(k + i) * CPU_TILE + r] = f[i];
        }
        for (; k < n; k++) panel[k * CPU_TILE + r] = simd_get(b->dtype, row, (int64_t)k * col_step);
    }
    return panel;
}

/* What is multiplied by what, and with which memory. */
typedef struct product {
    const mm_matrix *w;
    const mm_target *target;
    decode_fn decode;
    const mlxn_view *dense; /* not NULL: a matrix of any strides in place of w's memory */
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
            if (p->dense) {
                st.w[r] = gather_tile(p->dense, tile + r, k, st.cols, p->panel + r * F32_PANEL_COLS * CPU_TILE);
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
    const mm_tokens from = {.x = &run->args[MM_X]};
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
            if (!ready) pack_tokens(&from, 0, s.tokens, s.tokens, own);
            ready = true;
            uint64_t end = mlxn_min_u64((chunk + 1) * s.panel_tiles, s.tiles);
            for (uint64_t tile = chunk * s.panel_tiles; tile < end; tile += F32_TILES) multiply_tiles(&p, tile, 0, 1);
        }
    } else if (run->phase == 0) {
        while (cpu_next(run, &chunk))
            pack_tokens(&from, chunk * F32_TOKENS, mlxn_min_u64(F32_TOKENS, s.tokens - chunk * F32_TOKENS),
                        F32_TOKENS, packed + chunk * F32_TOKENS * s.cols);
    } else {
        while (cpu_next(run, &chunk)) {
            uint64_t first = chunk % s.ranges * s.range;
            multiply_tiles(&p, chunk / s.ranges * F32_TILES, first, mlxn_min_u64(first + s.range, s.blocks));
        }
    }
}

/* --- Expert-routed. --- */

enum { ID_RANGE = 512 / F32_TOKENS, PANEL_FLOATS = F32_PANEL_COLS * CPU_TILE * F32_TILES };

bool CPU_ISA(mm_f32_id_fits)(const mlxn_view *args, const void *params) { return mm_route_fits(args); }

void CPU_ISA(mm_f32_id_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mm_route_shape s = mm_route_shape_of(args, n_threads, F32_TILES, F32_TOKENS);
    uint64_t partial = mlxn_min_u64(ID_RANGE, s.blocks) * F32_TOKENS * F32_TILES * 16;
    *out = (cpu_plan){.phases = 3,
                      .chunks = {1, s.blocks, s.active * s.panels},
                      .shared_bytes = s.bytes + s.blocks * F32_TOKENS * args[ID_X].dims[1] * sizeof(float),
                      .local_bytes = (PANEL_FLOATS + partial) * sizeof(float)};
}

static void id_pack(cpu_run *run, const mm_route_shape *s, const mm_route *r, float *packed) {
    uint64_t b;
    while (cpu_next(run, &b)) {
        if (b >= r->block[*r->active]) continue;
        uint32_t i = mm_route_matrix(r, b);
        const mm_tokens from = {&run->args[ID_X], r->slots + r->begin[i], s->slots_per_row};
        uint64_t count = r->begin[i + 1] - r->begin[i], first = (b - r->block[i]) * F32_TOKENS;
        pack_tokens(&from, first, mlxn_min_u64(F32_TOKENS, count - first), F32_TOKENS,
                    packed + b * F32_TOKENS * from.x->dims[1]);
    }
}

static void id_multiply(cpu_run *run, const mm_route_shape *s, const mm_route *r, const float *packed) {
    const mlxn_weight_view *weight = run->args[ID_W].weight;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        uint32_t i = (uint32_t)(chunk / s->panels);
        if (i >= *r->active) continue;
        const mm_matrix w = mm_matrix_of(weight, r->expert[i]);
        const mm_target target = mm_route_target(run->args, r, i);
        const product p = {.w = &w,
                           .target = &target,
                           .decode = find(weight),
                           .tokens = r->begin[i + 1] - r->begin[i],
                           .x = packed + r->block[i] * F32_TOKENS * w.cols,
                           .x_step = F32_TOKENS,
                           .panel = run->local,
                           .partial = (float *)run->local + PANEL_FLOATS};
        uint64_t blocks = r->block[i + 1] - r->block[i];
        uint64_t begin = chunk % s->panels * s->panel_tiles, end = mlxn_min_u64(begin + s->panel_tiles, w.tiles);
        for (uint64_t tile = begin; tile < end; tile += F32_TILES)
            for (uint64_t b = 0; b < blocks; b += ID_RANGE)
                multiply_tiles(&p, tile, b, mlxn_min_u64(b + ID_RANGE, blocks));
    }
}

void CPU_ISA(mm_f32_id_run)(cpu_run *run) {
    const mm_route_shape s = mm_route_shape_of(run->args, run->n_threads, F32_TILES, F32_TOKENS);
    const mm_route r = mm_route_in(&s, run->shared);
    float *packed = (float *)((uint8_t *)run->shared + s.bytes);
    uint64_t chunk;
    if (run->phase == 1) id_pack(run, &s, &r, packed);
    if (run->phase == 2) id_multiply(run, &s, &r, packed);
    while (run->phase == 0 && cpu_next(run, &chunk)) mm_route_build(run->args, &s, F32_TOKENS, &r);
}

/* --- Two tensors: b takes the place of the weight, a batch at a time. --- */

enum { DENSE_A, DENSE_B, DENSE_OUT };

/* Matrix number `batch` of an operand, as a view of rank 2. */
static mlxn_view dense_matrix(const mlxn_view *args, uint32_t arg, uint64_t batch) {
    const mlxn_view *a = &args[DENSE_A], *v = &args[arg];
    const uint32_t r = v->rank;
    int64_t at = 0;
    for (uint32_t d = r - 2; d-- > 0; batch /= a->dims[d])
        at += (int64_t)(batch % a->dims[d] / (a->dims[d] / v->dims[d])) * v->strides[d];
    return (mlxn_view){.present = true,
                       .dtype = v->dtype,
                       .rank = 2,
                       .dims = {v->dims[r - 2], v->dims[r - 1]},
                       .strides = {v->strides[r - 2], v->strides[r - 1]},
                       .data = (char *)v->data + at * (v->dtype == MLXN_F32 ? 4 : 2)};
}

typedef struct dense_shape {
    uint64_t batches, blocks, panels, range, ranges;
} dense_shape;

static dense_shape dense_shape_of(const mlxn_view *args, uint32_t n_threads) {
    enum { CHUNKS_PER_THREAD = 4, MIN_TOKENS = 48, MAX_TOKENS = 512 };
    const mlxn_view *a = &args[DENSE_A], *b = &args[DENSE_B];
    const uint32_t r = a->rank, features = CPU_TILE * F32_TILES;
    dense_shape s = {.batches = 1,
                     .blocks = (a->dims[r - 2] + F32_TOKENS - 1) / F32_TOKENS,
                     .panels = (b->dims[r - 2] + features - 1) / features};
    for (uint32_t d = 0; d + 2 < r; d++) s.batches *= a->dims[d];
    uint64_t chunks = s.batches * s.panels, want = (CHUNKS_PER_THREAD * (uint64_t)n_threads + chunks - 1) / chunks;
    s.range = mlxn_max_u64((s.blocks + want - 1) / want, MIN_TOKENS / F32_TOKENS);
    s.range = mlxn_min_u64(mlxn_min_u64(s.range, MAX_TOKENS / F32_TOKENS), s.blocks);
    s.ranges = (s.blocks + s.range - 1) / s.range;
    return s;
}

void CPU_ISA(mm_dense_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const dense_shape s = dense_shape_of(args, n_threads);
    uint64_t cols = args[DENSE_A].dims[args[DENSE_A].rank - 1];
    uint64_t partial = s.range * F32_TOKENS * F32_TILES * 16;
    *out = (cpu_plan){.phases = 2,
                      .chunks = {s.batches * s.blocks, s.batches * s.panels * s.ranges},
                      .shared_bytes = s.batches * s.blocks * F32_TOKENS * cols * sizeof(float),
                      .local_bytes = (PANEL_FLOATS + partial) * sizeof(float)};
}

/* Rows [first, first + n) of a, as pack_tokens lays them out, whatever the strides are. */
static void pack_rows(const mlxn_view *a, uint64_t first, uint64_t n, float *out) {
    if (a->strides[1] == 1 || a->dims[1] == 1) {
        const mm_tokens from = {.x = a};
        pack_tokens(&from, first, n, F32_TOKENS, out);
        return;
    }
    const char *base = (const char *)a->data + (int64_t)first * a->strides[0] * (a->dtype == MLXN_F32 ? 4 : 2);
    for (uint64_t k = 0; k < a->dims[1]; k++)
        for (uint64_t t = 0; t < n; t++)
            out[k * F32_TOKENS + t] =
                simd_get(a->dtype, base, (int64_t)t * a->strides[0] + (int64_t)k * a->strides[1]);
}

void CPU_ISA(mm_dense_run)(cpu_run *run) {
    const dense_shape s = dense_shape_of(run->args, run->n_threads);
    const uint32_t r = run->args[DENSE_A].rank;
    const uint64_t rows = run->args[DENSE_A].dims[r - 2], cols = run->args[DENSE_A].dims[r - 1];
    const uint64_t block_floats = F32_TOKENS * cols;
    float *packed = run->shared;
    uint64_t chunk;
    while (run->phase == 0 && cpu_next(run, &chunk)) {
        const mlxn_view a = dense_matrix(run->args, DENSE_A, chunk / s.blocks);
        uint64_t first = chunk % s.blocks * F32_TOKENS;
        pack_rows(&a, first, mlxn_min_u64(F32_TOKENS, rows - first), packed + chunk * block_floats);
    }
    while (run->phase == 1 && cpu_next(run, &chunk)) {
        const uint64_t batch = chunk / (s.panels * s.ranges), panel = chunk / s.ranges % s.panels;
        const uint64_t first = chunk % s.ranges * s.range;
        const mlxn_view b = dense_matrix(run->args, DENSE_B, batch), out = dense_matrix(run->args, DENSE_OUT, batch);
        const mm_matrix w = {.cols = cols, .tiles = (b.dims[0] + CPU_TILE - 1) / CPU_TILE};
        const mm_target target = {.out = out.data,
                                  .out_step = out.strides[0],
                                  .rows = out.dims[1],
                                  .dtype = out.dtype,
                                  .col_step = out.strides[1] == 1 || out.dims[1] == 1 ? 0 : out.strides[1]};
        const product p = {.w = &w,
                           .target = &target,
                           .dense = &b,
                           .tokens = rows,
                           .x = packed + batch * s.blocks * block_floats,
                           .x_step = F32_TOKENS,
                           .panel = run->local,
                           .partial = (float *)run->local + PANEL_FLOATS};
        multiply_tiles(&p, panel * F32_TILES, first, mlxn_min_u64(first + s.range, s.blocks));
    }
}
