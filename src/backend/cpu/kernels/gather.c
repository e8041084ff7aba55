/* gather.c (CPU kernels): gather (rows of a tensor, bit for bit) and embedding (decoded rows of a weight). Indices
 * beyond the last row are taken as the last row. */
#include "backend/cpu/kernels/rows.h"

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

extern const cpu_kernel CPU_ISA(cpu_kernels_gather)[];
const cpu_kernel CPU_ISA(cpu_kernels_gather)[] = {
    {MLXN_OP_gather, "gather_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_gather, run_gather},
    {MLXN_OP_embedding, "embedding_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_embedding,
     run_embedding},
    {0},
};
