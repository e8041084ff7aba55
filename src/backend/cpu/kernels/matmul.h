/* matmul.h: what the matmul kernels share: arguments, block sizes, the strides they want, how results are written. */
#ifndef MLXN_SRC_CPU_MATMUL_H
#define MLXN_SRC_CPU_MATMUL_H

#include "backend/cpu/kernels/simd.h"
#include "backend/cpu/weight.h"

enum { MM_X, MM_W, MM_BIAS, MM_RESIDUAL, MM_OUT };

/* Block sizes of a level. A micro-kernel holds tiles x tokens sums of 16 rows in registers; for at most `direct`
 * tokens weights are multiplied as they are decoded, else a panel of decoded weights is kept in the first-level cache
 * and used for all tokens. The base level has no 8-bit kernels: plain C is faster in floats. */
#if CPU_ISA_LEVEL >= 2
enum { I8_TILES = 2, I8_TOKENS = 6, I8_DIRECT = 6, I8_PANEL_GROUPS = 24 };
enum { F32_TILES = 4, F32_TOKENS = 6, F32_PANEL_COLS = 128 };
#elif CPU_ISA_LEVEL == 1
enum { I8_TILES = 1, I8_TOKENS = 4, I8_DIRECT = 2, I8_PANEL_GROUPS = 32 };
enum { F32_TILES = 1, F32_TOKENS = 6, F32_PANEL_COLS = 128 };
#else
enum { F32_TILES = 1, F32_TOKENS = 2, F32_PANEL_COLS = 128 };
#endif

/* Work of the second phase, or of the only one: panels (`tiles` tiles each) times ranges of token blocks. */
typedef struct mm_shape {
    uint64_t tokens, cols, rows, tiles;
    uint64_t panels;      /* chunks along the rows */
    uint64_t panel_tiles; /* tiles per chunk */
    uint64_t blocks;      /* token blocks */
    uint64_t range;       /* token blocks per chunk */
    uint64_t ranges;      /* chunks along the tokens */
} mm_shape;

/* Many tokens: chunks of `tiles` tiles; the tokens are split only as far as the threads need it, because each range
 * decodes its weights again, and so that the sums of a range stay in the cache. */
static inline mm_shape mm_shape_many(const mlxn_view *args, uint32_t n_threads, uint32_t tiles, uint32_t block) {
    enum { CHUNKS_PER_THREAD = 4, MIN_TOKENS = 48, MAX_TOKENS = 512 };
    const mlxn_weight_view *w = args[MM_W].weight;
    mm_shape s = {.tokens = args[MM_X].dims[0], .cols = w->cols, .rows = w->rows, .tiles = cpu_tile_count(w)};
    s.panel_tiles = tiles;
    s.panels = (s.tiles + tiles - 1) / tiles;
    s.blocks = (s.tokens + block - 1) / block;
    uint64_t want = n_threads == 1 ? 1 : (CHUNKS_PER_THREAD * (uint64_t)n_threads + s.panels - 1) / s.panels;
    s.range = (s.blocks + want - 1) / want;
    s.range = mlxn_max_u64(s.range, MIN_TOKENS / block);
    s.range = mlxn_min_u64(s.range, MAX_TOKENS / block);
    s.range = mlxn_min_u64(s.range, s.blocks);
    s.ranges = (s.blocks + s.range - 1) / s.range;
    return s;
}

/* Few tokens: every weight is read once; chunks of about CHUNK_BYTES, but enough of them for the threads. */
static inline mm_shape mm_shape_few(const mlxn_view *args, uint32_t n_threads, uint32_t tiles) {
    enum { CHUNKS_PER_THREAD = 8, CHUNK_BYTES = 128 << 10, MIN_BYTES = 8 << 10 };
    const mlxn_weight_view *w = args[MM_W].weight;
    mm_shape s = {.tokens = args[MM_X].dims[0], .cols = w->cols, .rows = w->rows, .tiles = cpu_tile_count(w)};
    uint64_t tile_bytes = w->packed_bytes / s.tiles, bytes = w->packed_bytes / (CHUNKS_PER_THREAD * n_threads);
    bytes = mlxn_max_u64(MIN_BYTES, mlxn_min_u64(CHUNK_BYTES, bytes));
    s.panel_tiles = (mlxn_max_u64(1, bytes / (tile_bytes ? tile_bytes : 1)) + tiles - 1) / tiles * tiles;
    s.panels = (s.tiles + s.panel_tiles - 1) / s.panel_tiles;
    s.blocks = s.range = s.ranges = 1;
    return s;
}

/* Elements of a row lie side by side. */
static inline bool mm_dense_rows(const mlxn_view *v) {
    return !v->present || v->dims[v->rank - 1] == 1 || v->strides[v->rank - 1] == 1;
}
static inline bool mm_dense_args(const mlxn_view *args) {
    return mm_dense_rows(&args[MM_X]) && mm_dense_rows(&args[MM_BIAS]) && mm_dense_rows(&args[MM_RESIDUAL]) &&
           mm_dense_rows(&args[MM_OUT]);
}
/* Weights in tiles. */
static inline bool mm_fits(const mlxn_view *args) { return args[MM_W].weight->packed && mm_dense_args(args); }

/* Which row of x each token is: slots[t] / slots_per_row; with no slots, t itself. */
typedef struct mm_tokens {
    const mlxn_view *x;
    const uint32_t *slots;
    uint64_t slots_per_row;
} mm_tokens;
static inline const void *mm_token_row(const mm_tokens *tokens, uint64_t t) {
    const mlxn_view *x = tokens->x;
    uint64_t m = tokens->slots ? tokens->slots[t] / tokens->slots_per_row : t;
    return (const char *)x->data + (int64_t)m * x->strides[0] * (x->dtype == MLXN_F32 ? 4 : 2);
}

/* A packed matrix: a weight, or one expert of a stack. */
typedef struct mm_matrix {
    const uint8_t *packed;
    const cpu_tile_format *layout; /* NULL for plain formats */
    uint64_t cols, tiles, tile_bytes;
} mm_matrix;

static inline mm_matrix mm_matrix_of(const mlxn_weight_view *w, uint64_t expert) {
    uint64_t bytes = cpu_expert_bytes(w), tiles = cpu_tile_count(w);
    return (mm_matrix){(const uint8_t *)w->packed + expert * bytes, cpu_layout_of(w), w->cols, tiles, bytes / tiles};
}

/* Where the results go. */
typedef struct mm_target {
    float *out;
    const float *bias, *residual; /* NULL: there is none */
    int64_t out_step, residual_step;
    uint64_t rows;         /* of the matrix */
    mlxn_dtype dtype;      /* of `out`, which is then no array of floats unless F32 */
    int64_t col_step;      /* elements of `out`; 0 counts as 1 */
    const uint32_t *slots; /* row of `out` for each token; NULL: the token's own number */
} mm_target;

static inline mm_target mm_target_of(const mlxn_view *args) {
    const mlxn_view *bias = &args[MM_BIAS], *residual = &args[MM_RESIDUAL], *out = &args[MM_OUT];
    return (mm_target){.out = out->data,
                       .bias = bias->present ? bias->data : NULL,
                       .residual = residual->present ? residual->data : NULL,
                       .out_step = out->strides[0],
                       .residual_step = residual->strides[0],
                       .rows = out->dims[1]};
}

/* Stores n values in another dtype or not side by side. */
static inline void mm_scatter(const mm_target *target, uint64_t m, uint64_t first, v16 sum, uint64_t n) {
    const int64_t step = target->col_step ? target->col_step : 1;
    const int64_t at = (int64_t)m * target->out_step + (int64_t)first * step;
    float f[16];
    uint16_t half[16];
    v16_store(f, sum);
    if (target->dtype == MLXN_F16) v16_store_f16(half, sum);
    if (target->dtype == MLXN_BF16) v16_store_bf16(half, sum);
    for (uint64_t i = 0; i < n; i++) {
        if (target->dtype == MLXN_F32)
            target->out[at + (int64_t)i * step] = f[i];
        else
            ((uint16_t *)(void *)target->out)[at + (int64_t)i * step] = half[i];
    }
}

/* out[m, first .. first+15] = sum + bias + residual, in this order, as far as there are rows. */
SIMD_INLINE void mm_finish(const mm_target *target, uint64_t m, uint64_t first, v16 sum) {
    if (target->slots) m = target->slots[m];
    float *to = target->out + (int64_t)m * target->out_step + first;
    const float *bias = target->bias ? target->bias + first : NULL;
    const float *add = target->residual ? target->residual + (int64_t)m * target->residual_step + first : NULL;
    uint64_t n = mlxn_min_u64(CPU_TILE, target->rows - first);
    if (target->dtype != MLXN_F32 || target->col_step) {
        mm_scatter(target, m, first, sum, n);
    } else if (n == CPU_TILE) {
        if (bias) sum = v16_add(sum, v16_load(bias));
        if (add) sum = v16_add(sum, v16_load(add));
        v16_store(to, sum);
    } else {
        if (bias) sum = v16_add(sum, v16_load_n(bias, n));
        if (add) sum = v16_add(sum, v16_load_n(add, n));
        v16_store_n(to, sum, n);
    }
}

/* Rows of the table of a level (matmul_i8.c, matmul_f32.c). */
bool CPU_ISA(mm_i8_fits)(const mlxn_view *args, const void *params);
void CPU_ISA(mm_i8_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out);
void CPU_ISA(mm_i8_run)(cpu_run *run);
bool CPU_ISA(mm_f32_fits)(const mlxn_view *args, const void *params);
void CPU_ISA(mm_f32_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out);
void CPU_ISA(mm_f32_run)(cpu_run *run);
/* The same of matmul_id. */
bool CPU_ISA(mm_i8_id_fits)(const mlxn_view *args, const void *params);
void CPU_ISA(mm_i8_id_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out);
void CPU_ISA(mm_i8_id_run)(cpu_run *run);
bool CPU_ISA(mm_f32_id_fits)(const mlxn_view *args, const void *params);
void CPU_ISA(mm_f32_id_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out);
void CPU_ISA(mm_f32_id_run)(cpu_run *run);
/* dense_matmul. */
void CPU_ISA(mm_dense_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out);
void CPU_ISA(mm_dense_run)(cpu_run *run);

#endif
