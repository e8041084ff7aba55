/* scatter.c (CPU kernels): scatter, scatter_add, gather_nibble, add_id.
 *
 * The scatters first sort the rows of x by where they go (a counting sort, which keeps their order); then the rows of
 * out are shared out, and each is written by one thread in rising order of the rows of x. */
#include "backend/cpu/kernels/span.h"

enum { SCATTER_GROUP = 16 };

/* shared: starts[rows + 1], then the numbers of the rows of x by destination. */
static void plan_scatter(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t rows = args[2].dims[0], n = args[0].dims[0];
    *out = (cpu_plan){.phases = 2,
                      .chunks = {1, (rows + SCATTER_GROUP - 1) / SCATTER_GROUP},
                      .shared_bytes = (rows + 1 + n) * sizeof(uint32_t)};
}

static void scatter_sort(const mlxn_view *index, uint64_t n, uint64_t rows, uint32_t *starts, uint32_t *order) {
    const uint32_t *to = index->data;
    int64_t step = rows_stride(index);
    memset(starts, 0, (rows + 1) * sizeof *starts);
    for (uint64_t i = 0; i < n; i++)
        if (to[(int64_t)i * step] < rows) starts[to[(int64_t)i * step] + 1]++;
    for (uint64_t r = 0; r < rows; r++) starts[r + 1] += starts[r];
    /* starts[r] moves to the end of its run while the run is filled, and is put back */
    for (uint64_t i = 0; i < n; i++)
        if (to[(int64_t)i * step] < rows) order[starts[to[(int64_t)i * step]]++] = (uint32_t)i;
    for (uint64_t r = rows; r > 0; r--) starts[r] = starts[r - 1];
    starts[0] = 0;
}

static void scatter_copy(const mlxn_view *x, uint64_t from, const mlxn_view *out, uint64_t to) {
    size_t size = rows_size(x->dtype);
    int64_t ss = rows_stride(x), ds = rows_stride(out);
    const void *src = rows_at(x, from, size);
    void *dst = rows_at(out, to, size);
    uint64_t n = x->dims[1];
    if (ss == 1 && ds == 1)
        memcpy(dst, src, n * size);
    else if (size == 4)
        for (uint64_t i = 0; i < n; i++)
            ((uint32_t *)dst)[(int64_t)i * ds] = ((const uint32_t *)src)[(int64_t)i * ss];
    else
        for (uint64_t i = 0; i < n; i++)
            ((uint16_t *)dst)[(int64_t)i * ds] = ((const uint16_t *)src)[(int64_t)i * ss];
}

static void scatter_sum(const mlxn_view *x, const mlxn_view *out, uint64_t to, const uint32_t *from, uint64_t count) {
    float sum[SPAN] __attribute__((aligned(64))), buffer[SPAN] __attribute__((aligned(64)));
    size_t size = rows_size(x->dtype);
    void *dst = rows_at(out, to, size);
    for (uint64_t i = 0; i < x->dims[1]; i += SPAN) {
        uint64_t n = mlxn_min_u64(SPAN, x->dims[1] - i);
        const float *was = span_in(out->dtype, dst, rows_stride(out), i, n, sum);
        if (was != sum) memcpy(sum, was, n * sizeof *sum);
        for (uint64_t c = 0; c < count; c++) {
            const float *v = span_in(x->dtype, rows_at(x, from[c], size), rows_stride(x), i, n, buffer);
            for (uint64_t k = 0; k < n; k += 16) {
                uint64_t w = simd_tail(k, n);
                v16 t = v16_add(v16_load_as(MLXN_F32, sum, k, w), v16_load_as(MLXN_F32, v, k, w));
                v16_store_as(MLXN_F32, sum, k, t, w);
            }
        }
        float *o = span_out(out->dtype, dst, rows_stride(out), i, sum);
        if (o != sum) memcpy(o, sum, n * sizeof *sum);
        span_done(out->dtype, dst, rows_stride(out), i, n, o);
    }
}

static void scatter_run(cpu_run *run, bool add) {
    const mlxn_view *x = &run->args[0], *out = &run->args[2];
    uint64_t rows = out->dims[0], chunk;
    uint32_t *starts = run->shared, *order = starts + rows + 1;
    while (cpu_next(run, &chunk)) {
        if (run->phase == 0) {
            scatter_sort(&run->args[1], x->dims[0], rows, starts, order);
            continue;
        }
        for (uint64_t r = chunk * SCATTER_GROUP; r < rows && r < (chunk + 1) * SCATTER_GROUP; r++) {
            uint64_t count = starts[r + 1] - starts[r];
            if (!count) continue;
            if (add)
                scatter_sum(x, out, r, order + starts[r], count);
            else
                scatter_copy(x, order[starts[r + 1] - 1], out, r);
        }
    }
}
static void run_scatter(cpu_run *run) { scatter_run(run, false); }
static void run_scatter_add(cpu_run *run) { scatter_run(run, true); }

static void plan_out(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *o = &args[2];
    rows_shape shape = rows_of(&o, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

static void run_nibble(cpu_run *run) {
    const mlxn_view *packed = &run->args[0], *table = &run->args[1], *out = &run->args[2];
    rows_shape shape = rows_of(&out, 1, true);
    int64_t sp = rows_stride(packed), so = rows_stride(out), code = table->strides[0], sc = rows_stride(table);
    const float *values = table->data;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const uint8_t *src = rows_at(packed, r, 1);
            float *dst = rows_at(out, r, 4);
            for (uint64_t c = 0; c < shape.cols; c += 2) {
                uint8_t byte = src[(int64_t)(c / 2) * sp];
                const float *low = values + (int64_t)c * sc;
                dst[(int64_t)c * so] = low[(byte & 15) * code];
                dst[(int64_t)(c + 1) * so] = low[(byte >> 4) * code + sc];
            }
        }
    }
}

static void plan_add_id(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *o = &args[3];
    rows_shape shape = rows_of(&o, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

static void run_add_id(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *bias = &run->args[1], *ids = &run->args[2], *out = &run->args[3];
    rows_shape shape = rows_of(&out, 1, true);
    size_t size = rows_size(x->dtype);
    float a[SPAN] __attribute__((aligned(64))), b[SPAN] __attribute__((aligned(64))),
        c[SPAN] __attribute__((aligned(64)));
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const uint32_t *row_ids = rows_at(ids, r / x->dims[1], 4);
            uint64_t id = row_ids[(int64_t)(r % x->dims[1]) * rows_stride(ids)];
            const void *px = rows_at(x, r, size), *pb = rows_at(bias, mlxn_min_u64(id, bias->dims[0] - 1), size);
            void *po = rows_at(out, r, size);
            for (uint64_t i = 0; i < shape.cols; i += SPAN) {
                uint64_t n = mlxn_min_u64(SPAN, shape.cols - i);
                const float *u = span_in(x->dtype, px, rows_stride(x), i, n, a);
                const float *v = span_in(x->dtype, pb, rows_stride(bias), i, n, b);
                float *o = span_out(x->dtype, po, rows_stride(out), i, c);
                for (uint64_t k = 0; k < n; k += 16) {
                    uint64_t w = simd_tail(k, n);
                    v16 t = v16_add(v16_load_as(MLXN_F32, u, k, w), v16_load_as(MLXN_F32, v, k, w));
                    v16_store_as(MLXN_F32, o, k, t, w);
                }
                span_done(x->dtype, po, rows_stride(out), i, n, o);
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_scatter)[];
const cpu_kernel CPU_ISA(cpu_kernels_scatter)[] = {
    {MLXN_OP_scatter, "scatter_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_scatter, run_scatter},
    {MLXN_OP_scatter_add, "scatter_add_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_scatter,
     run_scatter_add},
    {MLXN_OP_gather_nibble, "gather_nibble_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_out,
     run_nibble},
    {MLXN_OP_add_id, "add_id_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_add_id, run_add_id},
    {0},
};
