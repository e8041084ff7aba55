/* matmul_rows.c (CPU kernels): weights that are kept as their format stores them (weight.h, "rows"), times
 * activations in binary32.
 *
 * A few rows at a time are decoded into the cache, to the bits of mlxn_dequantize_row, and are multiplied with all
 * tokens. Each output element is 16 chains of fused multiply-adds in the order of k and the sum over them, whatever
 * the number of tokens or threads. */
#include "backend/cpu/kernels/matmul.h"

#if CPU_ISA_LEVEL < 3
enum { ROWS = 2, ROWS_CHUNK = 16 };

static bool fits(const mlxn_view *args, const void *params) {
    return cpu_rows_layout(args[MM_W].weight) && mm_dense_args(args);
}

static void plan(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_weight_view *w = args[MM_W].weight;
    *out = (cpu_plan){.phases = 1,
                      .chunks = {(w->rows + ROWS_CHUNK - 1) / ROWS_CHUNK},
                      .local_bytes = ROWS * w->cols * sizeof(float)};
}

/* Tokens [first, first + n) times ROWS decoded rows. K is a multiple of 32, as the block of every such format is. */
SIMD_INLINE void dot(mlxn_dtype dtype, const mlxn_view *x, uint64_t first, uint32_t n, const float *rows,
                     uint64_t cols, float y[2][ROWS]) {
    const char *base = (const char *)x->data;
    const int64_t step = x->strides[0] * (int64_t)(dtype == MLXN_F32 ? 4 : 2);
    v16 sum[2][ROWS];
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t r = 0; r < ROWS; r++) sum[t][r] = v16_zero();
    for (uint64_t k = 0; k < cols; k += 16) {
        v16 w[ROWS];
        for (uint32_t r = 0; r < ROWS; r++) w[r] = v16_load(rows + r * cols + k);
        for (uint32_t t = 0; t < n; t++) {
            v16 v = v16_load_as(dtype, base + (int64_t)(first + t) * step, k, 16);
            for (uint32_t r = 0; r < ROWS; r++) sum[t][r] = v16_fma(w[r], v, sum[t][r]);
        }
    }
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t r = 0; r < ROWS; r++) y[t][r] = v16_hsum(sum[t][r]);
}

SIMD_INLINE void multiply(mlxn_dtype dtype, const mlxn_view *args, uint64_t row, uint64_t n_rows, const float *rows) {
    const mm_target target = mm_target_of(args);
    const uint64_t tokens = args[MM_X].dims[0], cols = args[MM_W].weight->cols;
    for (uint64_t m = 0; m < tokens; m += 2) {
        float y[2][ROWS];
        uint32_t n = tokens - m < 2 ? 1 : 2;
        if (n == 2)
            dot(dtype, &args[MM_X], m, 2, rows, cols, y);
        else
            dot(dtype, &args[MM_X], m, 1, rows, cols, y);
        for (uint32_t t = 0; t < n; t++)
            for (uint64_t r = 0; r < n_rows; r++) {
                float value = y[t][r];
                if (target.bias) value += target.bias[row + r];
                if (target.residual)
                    value += target.residual[(int64_t)(m + t) * target.residual_step + (int64_t)(row + r)];
                target.out[(int64_t)(m + t) * target.out_step + (int64_t)(row + r)] = value;
            }
    }
}

static void run(cpu_run *run) {
    const mlxn_view *args = run->args;
    const mlxn_weight_view *w = args[MM_W].weight;
    float *rows = run->local;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t end = mlxn_min_u64((chunk + 1) * ROWS_CHUNK, w->rows);
        for (uint64_t row = chunk * ROWS_CHUNK; row < end; row += ROWS) {
            uint64_t n = mlxn_min_u64(ROWS, end - row);
            for (uint64_t r = 0; r < ROWS; r++) /* past the last: that one again, its sums are not kept */
                w->read_row(w, row + mlxn_min_u64(r, n - 1), rows + r * w->cols);
            if (args[MM_X].dtype == MLXN_F32)
                multiply(MLXN_F32, args, row, n, rows);
            else if (args[MM_X].dtype == MLXN_F16)
                multiply(MLXN_F16, args, row, n, rows);
            else
                multiply(MLXN_BF16, args, row, n, rows);
        }
    }
}
#endif

extern const cpu_kernel CPU_ISA(cpu_kernels_matmul_rows)[];
const cpu_kernel CPU_ISA(cpu_kernels_matmul_rows)[] = {
#if CPU_ISA_LEVEL < 3 /* VNNI has nothing for floats */
    {MLXN_OP_matmul, "matmul_rows_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits, plan, run},
#endif
    {0},
};
