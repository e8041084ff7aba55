/* along.c (CPU kernels): take_along, put_along, put_along_add. A row is one thread's, which goes along it in order.
 */
#include "backend/cpu/kernels/span.h"

static void plan_rows(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    /* as many elements in a chunk as the longer side has */
    const mlxn_view *longer = &args[args[0].dims[1] > args[2].dims[1] ? 0 : 2];
    rows_shape shape = rows_of(&longer, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

static rows_shape shape_of(const cpu_run *run) {
    const mlxn_view *longer = &run->args[run->args[0].dims[1] > run->args[2].dims[1] ? 0 : 2];
    return rows_of(&longer, 1, true);
}

/* Elements [first, first+k) of a row of out; an index past the end takes the last element. */
#define TAKE(type)                               \
    for (uint64_t j = first; j < first + k; j++) \
    ((type *)dst)[(int64_t)j * so] =             \
        ((const type *)src)[(int64_t)mlxn_min_u64(at[(int64_t)j * si], x->dims[1] - 1) * sx]

/* Where a row lies dense and most of its lines are wanted, the next one is fetched in order meanwhile: lines fetched
 * by the indices come one by one. TAKE_PART elements go between two pieces of it. */
enum { TAKE_PART = 64, TAKE_MOST = 65536 };

static void run_take_along(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *index = &run->args[1], *out = &run->args[2];
    rows_shape shape = shape_of(run);
    size_t size = mlxn_dtype_size(x->dtype);
    int64_t sx = rows_stride(x), si = rows_stride(index), so = rows_stride(out);
    uint64_t chunk, m = out->dims[1], bytes = x->dims[1] * size;
    const bool ahead = sx == 1 && bytes <= TAKE_MOST && m >= bytes / 64;
    const uint64_t step = m ? (bytes + m - 1) / m * TAKE_PART : 0; /* of the next row, in bytes per part */
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *src = rows_at(x, r, size);
            const uint32_t *at = rows_at(index, r, 4);
            const char *next = ahead && r + 1 < p.row_end ? rows_at(x, r + 1, size) : NULL;
            void *dst = rows_at(out, r, size);
            uint64_t fetched = 0;
            for (uint64_t first = 0; first < m; first += TAKE_PART) {
                const uint64_t k = mlxn_min_u64(TAKE_PART, m - first);
                const uint64_t until = next ? mlxn_min_u64(fetched + step, bytes) : 0;
                for (; fetched < until; fetched += 64) __builtin_prefetch(next + fetched);
                if (size == 4)
                    TAKE(uint32_t);
                else if (size == 2)
                    TAKE(uint16_t);
                else
                    TAKE(uint8_t);
            }
        }
    }
}

#define PUT(type)                               \
    for (uint64_t j = 0; j < m; j++)            \
        if (at[(int64_t)j * si] < out->dims[1]) \
    ((type *)dst)[at[(int64_t)j * si] * so] = ((const type *)src)[(int64_t)j * sx]

static void run_put_along(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *index = &run->args[1], *out = &run->args[2];
    rows_shape shape = shape_of(run);
    size_t size = mlxn_dtype_size(x->dtype);
    int64_t sx = rows_stride(x), si = rows_stride(index), so = rows_stride(out);
    uint64_t chunk, m = x->dims[1];
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *src = rows_at(x, r, size);
            const uint32_t *at = rows_at(index, r, 4);
            void *dst = rows_at(out, r, size);
            if (size == 4) {
                PUT(uint32_t);
            } else if (size == 2) {
                PUT(uint16_t);
            } else {
                PUT(uint8_t);
            }
        }
    }
}

/* Sums of half types are taken in f32 scratch. */
static void plan_put_along_add(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_rows(args, params, n_threads, out);
    if (args[2].dtype != MLXN_F32) out->local_bytes = args[2].dims[1] * sizeof(float);
}

static void run_put_along_add(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *index = &run->args[1], *out = &run->args[2];
    rows_shape shape = shape_of(run);
    size_t size = rows_size(x->dtype);
    int64_t si = rows_stride(index), so = rows_stride(out);
    bool half = out->dtype != MLXN_F32;
    float buffer[SPAN] __attribute__((aligned(64)));
    uint64_t chunk, m = x->dims[1], n = out->dims[1];
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *src = rows_at(x, r, size);
            void *dst = rows_at(out, r, size);
            float *sums = half ? run->local : dst;
            int64_t step = half ? 1 : so;
            for (uint64_t i = 0; half && i < n; i += SPAN)
                span_in(out->dtype, dst, so, i, mlxn_min_u64(SPAN, n - i), sums + i);
            for (uint64_t i = 0; i < m; i += SPAN) {
                uint64_t some = mlxn_min_u64(SPAN, m - i);
                const float *v = span_in(x->dtype, src, rows_stride(x), i, some, buffer);
                const uint32_t *at = (const uint32_t *)rows_at(index, r, 4) + (int64_t)i * si;
                for (uint64_t j = 0; j < some; j++)
                    if (at[(int64_t)j * si] < n) sums[at[(int64_t)j * si] * step] += v[j];
            }
            for (uint64_t i = 0; half && i < n; i += SPAN)
                span_done(out->dtype, dst, so, i, mlxn_min_u64(SPAN, n - i), sums + i);
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_along)[];
const cpu_kernel CPU_ISA(cpu_kernels_along)[] = {
    {MLXN_OP_take_along, "take_along_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows, run_take_along},
    {MLXN_OP_put_along, "put_along_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rows, run_put_along},
    {MLXN_OP_put_along_add, "put_along_add_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_put_along_add,
     run_put_along_add},
    {0},
};
