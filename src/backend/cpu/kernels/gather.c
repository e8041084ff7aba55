/* gather.c (CPU kernels): gather (rows of a tensor, bit for bit) and embedding (decoded rows of a weight). Indices
 * beyond the last row are taken as the last row.
 *
 * A packed weight holds sixteen rows side by side, so that a single row of plain numbers touches a line of memory for
 * each number. Where many rows are asked for, they are put in the order of their tiles, and a tile is read once for
 * all of its rows that a chunk asks for. */
#include "backend/cpu/kernels/rows.h"
#include "backend/cpu/weight.h"

static void plan_rows(const mlxn_view *out, cpu_plan *plan) {
    rows_shape shape = rows_of(&out, 1, true);
    *plan = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}
static void plan_gather(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_rows(&args[2], out);
}
static void plan_embedding(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_rows(&args[2], out);
    if (rows_stride(&args[2]) != 1) out->local_bytes = rows_cols(&args[2]) * 4;
}

static uint64_t index_of(const mlxn_view *index, uint64_t i, uint64_t rows) {
    uint64_t r = ((const uint32_t *)index->data)[(int64_t)i * rows_stride(index)];
    return mlxn_min_u64(r, rows - 1);
}

/* No hardware foresees where rows lie that an index names: the first bytes of a row are fetched some rows ahead. */
enum { GATHER_AHEAD = 8, GATHER_FETCH = 512 };

static void run_gather(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *index = &run->args[1], *out = &run->args[2];
    rows_shape shape = rows_of(&out, 1, true);
    size_t size = rows_size(x->dtype);
    int64_t ss = rows_stride(x), ds = rows_stride(out);
    const uint64_t bytes = shape.cols * size, fetched = mlxn_min_u64(bytes, GATHER_FETCH);
    bool dense = ss == 1 && ds == 1, streams = dense && stream_fits(out, &x, 1);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *src = rows_at(x, index_of(index, r, x->dims[0]), size);
            void *dst = rows_at(out, r, size);
            if (dense && r + GATHER_AHEAD < p.row_end) {
                const char *next = rows_at(x, index_of(index, r + GATHER_AHEAD, x->dims[0]), size);
                for (uint64_t i = 0; i < fetched; i += 64) __builtin_prefetch(next + i);
            }
            if (dense)
                stream_copy(dst, src, bytes, streams && stream_aligned(MLXN_F32, dst));
            else if (size == 4)
                for (uint64_t i = 0; i < shape.cols; i++)
                    ((uint32_t *)dst)[(int64_t)i * ds] = ((const uint32_t *)src)[(int64_t)i * ss];
            else
                for (uint64_t i = 0; i < shape.cols; i++)
                    ((uint16_t *)dst)[(int64_t)i * ds] = ((const uint16_t *)src)[(int64_t)i * ss];
        }
    }
    if (streams) stream_end();
}

static void run_embedding(cpu_run *run) {
    const mlxn_view *ids = &run->args[0], *out = &run->args[2];
    const mlxn_weight_view *table = run->args[1].weight;
    float scale = ((const mlxn_embedding_params *)run->params)->scale;
    rows_shape shape = rows_of(&out, 1, true);
    int64_t ds = rows_stride(out);
    uint64_t chunk, n = shape.cols;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            float *dst = rows_at(out, r, 4), *row = ds == 1 ? dst : run->local;
            table->read_row(table, index_of(ids, r, table->rows), row);
            if (ds == 1 && (scale == 0.0f || scale == 1.0f)) continue;
            v16 s = v16_set1(scale == 0.0f ? 1.0f : scale);
            for (uint64_t i = 0; i < n; i += 16) {
                uint64_t k = simd_tail(i, n);
                v16 v = v16_mul(v16_load_as(MLXN_F32, row, i, k), s);
                rows_store(MLXN_F32, ds == 1, dst, ds, i, v, k);
            }
        }
    }
}

/* --- By tiles --- */

/* Fewer rows than TILES_LEAST are read one by one; TILES_CHUNK are one thread's at a time; TILES_COLS columns of a
 * tile are turned in the first-level cache. */
enum { TILES_LEAST = 32, TILES_CHUNK = 64, TILES_COLS = 256 };

static bool tiles_fits(const mlxn_view *args, const void *params) {
    const mlxn_weight_view *w = args[1].weight;
    const uint64_t ids = rows_count(&args[2]);
    return w && w->read_row == cpu_read_row && !cpu_layout_of(w) && rows_stride(&args[2]) == 1 &&
           ids >= TILES_LEAST && ids < UINT32_MAX && w->rows < UINT32_MAX;
}

/* Shared: where the rows of each tile begin, and behind it the rows of out in the order of their tiles. */
static void plan_tiles(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const uint64_t ids = rows_count(&args[2]), tiles = cpu_tile_count(args[1].weight);
    *out = (cpu_plan){.phases = 2,
                      .chunks = {1, (ids + TILES_CHUNK - 1) / TILES_CHUNK},
                      .shared_bytes = (tiles + ids) * sizeof(uint32_t),
                      .local_bytes = CPU_TILE * TILES_COLS * sizeof(float)};
}

/* A counting sort. */
static void tiles_sort(const mlxn_view *ids, uint64_t n, const mlxn_weight_view *w, uint32_t *begin,
                       uint32_t *order) {
    const uint64_t tiles = cpu_tile_count(w);
    memset(begin, 0, tiles * sizeof *begin);
    for (uint64_t i = 0; i < n; i++) begin[index_of(ids, i, w->rows) / CPU_TILE]++;
    uint32_t at = 0;
    for (uint64_t t = 0; t < tiles; t++) {
        const uint32_t count = begin[t];
        begin[t] = at;
        at += count;
    }
    for (uint64_t i = 0; i < n; i++) order[begin[index_of(ids, i, w->rows) / CPU_TILE]++] = (uint32_t)i;
}

/* Columns [first, first + n) of a tile, multiplied by `scale`, into rows of TILES_COLS floats. */
SIMD_INLINE void tiles_turn(mlxn_dtype dtype, const void *tile, uint64_t first, uint64_t n, const float *scale,
                            float *to) {
    for (uint64_t k = 0; k < n; k += 16) {
        v16 t[16];
#pragma GCC unroll 16
        for (uint64_t j = 0; j < 16; j++)
            t[j] = k + j < n ? v16_load_as(dtype, tile, (first + k + j) * CPU_TILE, 16) : v16_zero();
        v16_transpose(t);
#pragma GCC unroll 16
        for (uint64_t j = 0; j < 16; j++)
            v16_store(to + j * TILES_COLS + k, scale ? v16_mul(t[j], v16_set1(*scale)) : t[j]);
    }
}

/* The rows order[0, n) of out, all of one tile. */
static void tiles_put(const cpu_run *run, uint64_t tile, const uint32_t *order, uint64_t n, const float *scale,
                      bool streams) {
    const mlxn_view *ids = &run->args[0], *out = &run->args[2];
    const mlxn_weight_view *w = run->args[1].weight;
    const char *data = (const char *)w->packed + tile * (cpu_expert_bytes(w) / cpu_tile_count(w));
    float *turned = run->local;
    for (uint64_t c = 0; c < w->cols; c += TILES_COLS) {
        const uint64_t some = mlxn_min_u64(TILES_COLS, w->cols - c);
        if (w->format == MLXN_FORMAT_F32)
            tiles_turn(MLXN_F32, data, c, some, scale, turned);
        else if (w->format == MLXN_FORMAT_F16)
            tiles_turn(MLXN_F16, data, c, some, scale, turned);
        else
            tiles_turn(MLXN_BF16, data, c, some, scale, turned);
        for (uint64_t i = 0; i < n; i++) {
            const float *from = turned + index_of(ids, order[i], w->rows) % CPU_TILE * TILES_COLS;
            float *to = (float *)rows_at(out, order[i], sizeof(float)) + c;
            stream_copy(to, from, some * sizeof *to, streams && stream_aligned(MLXN_F32, to));
        }
    }
}

static void run_tiles(cpu_run *run) {
    const mlxn_view *ids = &run->args[0], *out = &run->args[2];
    const mlxn_weight_view *w = run->args[1].weight;
    const uint64_t n = rows_count(out);
    uint32_t *begin = run->shared, *order = begin + cpu_tile_count(w);
    const float scale = ((const mlxn_embedding_params *)run->params)->scale;
    const float *factor = scale == 0.0f || scale == 1.0f ? NULL : &scale;
    const bool streams = stream_fits(out, NULL, 0);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        if (run->phase == 0) {
            tiles_sort(ids, n, w, begin, order);
            continue;
        }
        const uint64_t end = mlxn_min_u64((chunk + 1) * TILES_CHUNK, n);
        for (uint64_t i = chunk * TILES_CHUNK, next; i < end; i = next) {
            const uint64_t tile = index_of(ids, order[i], w->rows) / CPU_TILE;
            for (next = i + 1; next < end && index_of(ids, order[next], w->rows) / CPU_TILE == tile;) next++;
            tiles_put(run, tile, order + i, next - i, factor, streams);
        }
    }
    if (streams) stream_end();
}

extern const cpu_kernel CPU_ISA(cpu_kernels_gather)[];
const cpu_kernel CPU_ISA(cpu_kernels_gather)[] = {
    {MLXN_OP_gather, "gather_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_gather, run_gather},
    {MLXN_OP_embedding, "embedding_tiles_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, tiles_fits, plan_tiles, run_tiles},
    {MLXN_OP_embedding, "embedding_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_embedding,
     run_embedding},
    {0},
};
