/* reduce.c (CPU kernels): argmax. The maximum of a block is found first and then the first element equal to it, so
 * that the inner loop carries no indices. Blocks have a fixed size; merging them keeps the lowest index. */
#include "backend/cpu/kernels/rows.h"

/* Rows up to twice the block are not worth waking a second thread for. */
enum { ARGMAX_BLOCK = 32768 };

typedef struct argmax_best {
    float value;
    uint32_t index;
    bool found; /* false: the block has no number in it */
} argmax_best;

static uint64_t argmax_blocks(uint64_t n) {
    return n <= 2 * ARGMAX_BLOCK ? 1 : (n + ARGMAX_BLOCK - 1) / ARGMAX_BLOCK;
}

static void plan_argmax(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    uint64_t rows = rows_count(x), blocks = argmax_blocks(rows_cols(x));
    rows_shape shape = rows_of(&x, 1, true);
    if (blocks == 1) {
        *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
    } else {
        *out = (cpu_plan){
            .phases = 2, .chunks = {rows * blocks, 1}, .shared_bytes = rows * blocks * sizeof(argmax_best)};
    }
}

SIMD_INLINE argmax_best argmax_span(bool unit, const float *row, int64_t stride, uint64_t begin, uint64_t end) {
    const v16 none = v16_set1(-INFINITY);
    v16 m0 = none, m1 = none, m2 = none, m3 = none;
    uint64_t i = begin;
    /* v16_max returns its second operand when the first is NaN */
    for (; i + 64 <= end; i += 64) {
        m0 = v16_max(rows_load(MLXN_F32, unit, row, stride, i, 16), m0);
        m1 = v16_max(rows_load(MLXN_F32, unit, row, stride, i + 16, 16), m1);
        m2 = v16_max(rows_load(MLXN_F32, unit, row, stride, i + 32, 16), m2);
        m3 = v16_max(rows_load(MLXN_F32, unit, row, stride, i + 48, 16), m3);
    }
    float best = v16_hmax(v16_max(v16_max(m0, m1), v16_max(m2, m3)));
    for (; i < end; i++) {
        float x = row[(int64_t)i * stride];
        if (x > best) best = x;
    }
    const v16 limit = v16_set1(best == -INFINITY ? -INFINITY : nextafterf(best, -INFINITY));
    for (i = begin; i < end; i += 16) {
        uint64_t k = simd_tail(i, end);
        /* the masked lanes of a tail read as zero: at worst a needless look at its elements */
        if (best != -INFINITY && !v16_any_gt(rows_load(MLXN_F32, unit, row, stride, i, k), limit)) continue;
        for (uint64_t j = 0; j < k; j++)
            if (row[(int64_t)(i + j) * stride] == best) return (argmax_best){best, (uint32_t)(i + j), true};
    }
    return (argmax_best){-INFINITY, 0, false};
}

static argmax_best argmax_part(const float *row, int64_t stride, uint64_t begin, uint64_t end) {
    return stride == 1 ? argmax_span(true, row, 1, begin, end) : argmax_span(false, row, stride, begin, end);
}

static void run_argmax(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    uint64_t rows = rows_count(x), n = rows_cols(x), blocks = argmax_blocks(n), chunk;
    int64_t stride = rows_stride(x), os = rows_stride(out);
    uint32_t *dst = out->data;
    argmax_best *part = run->shared;
    if (blocks == 1) {
        rows_shape shape = rows_of(&x, 1, true);
        while (cpu_next(run, &chunk)) {
            rows_part p = rows_chunk(&shape, chunk);
            for (uint64_t r = p.row; r < p.row_end; r++)
                dst[(int64_t)r * os] = argmax_part(rows_at(x, r, 4), stride, 0, n).index;
        }
    } else if (run->phase == 0) {
        while (cpu_next(run, &chunk)) {
            uint64_t begin = chunk % blocks * ARGMAX_BLOCK;
            part[chunk] =
                argmax_part(rows_at(x, chunk / blocks, 4), stride, begin, mlxn_min_u64(begin + ARGMAX_BLOCK, n));
        }
    } else {
        while (cpu_next(run, &chunk)) {
            for (uint64_t r = 0; r < rows; r++) {
                argmax_best best = part[r * blocks];
                for (uint64_t b = 1; b < blocks; b++) {
                    argmax_best p = part[r * blocks + b];
                    if (p.found && (!best.found || p.value > best.value)) best = p;
                }
                dst[(int64_t)r * os] = best.index;
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_reduce)[];
const cpu_kernel CPU_ISA(cpu_kernels_reduce)[] = {
    {MLXN_OP_argmax, "argmax_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_argmax, run_argmax},
    {0},
};
