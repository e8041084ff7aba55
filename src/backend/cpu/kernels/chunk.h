/* chunk.h: products of small matrices in scratch, and a head's state and results: what the chunked mixers share. */
#ifndef MLXN_SRC_CPU_CHUNK_H
#define MLXN_SRC_CPU_CHUNK_H

#include "backend/cpu/kernels/heads.h"

/* A product's left operand: element (i, k) at data[i * row + k * step]. */
typedef struct ck_left {
    const float *data;
    uint64_t row, step;
} ck_left;

/* `rows` x `16 * vectors` of c (+)= a b. */
SIMD_INLINE void ck_tile(int rows, int vectors, ck_left a, const float *b, uint64_t ldb, float *c, uint64_t ldc,
                         uint64_t depth, bool add) {
    v16 acc[4][2];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            acc[r][j] = add ? v16_load(c + (uint64_t)r * ldc + 16 * (uint64_t)j) : v16_zero();
    for (uint64_t k = 0; k < depth; k++) {
        v16 right[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) right[j] = v16_load(b + k * ldb + 16 * (uint64_t)j);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            v16 left = v16_set1(a.data[(uint64_t)r * a.row + k * a.step]);
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++) acc[r][j] = v16_fma(left, right[j], acc[r][j]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) v16_store(c + (uint64_t)r * ldc + 16 * (uint64_t)j, acc[r][j]);
}

SIMD_INLINE void ck_band(int rows, ck_left a, const float *b, uint64_t ldb, float *c, uint64_t ldc, uint64_t columns,
                         uint64_t depth, bool add) {
    uint64_t j = 0;
    for (; j + 32 <= columns; j += 32) ck_tile(rows, 2, a, b + j, ldb, c + j, ldc, depth, add);
    if (j < columns) ck_tile(rows, 1, a, b + j, ldb, c + j, ldc, depth, add);
}

/* c (+)= a b; `columns` is a multiple of 16. */
static inline void ck_product(ck_left a, const float *b, uint64_t ldb, float *c, uint64_t ldc, uint64_t rows,
                              uint64_t columns, uint64_t depth, bool add) {
    uint64_t i = 0;
    for (; i + 4 <= rows; i += 4, a.data += 4 * a.row) ck_band(4, a, b, ldb, c + i * ldc, ldc, columns, depth, add);
    for (; i < rows; i++, a.data += a.row) ck_band(1, a, b, ldb, c + i * ldc, ldc, columns, depth, add);
}

/* The state of a head, [dv, dk] at `base`, as [kp][vp] transposed in scratch and back. `row` holds kp floats. */
static inline void ck_load_state(const mlxn_view *state, const float *base, uint64_t kp, uint64_t vp, float *row,
                                 float *h) {
    uint64_t dk = state->dims[3], dv = state->dims[2];
    memset(h, 0, kp * vp * sizeof *h);
    for (uint64_t j = 0; j < dv; j++) {
        heads_copy(state, base + (int64_t)j * state->strides[2], 0, dk, row);
        for (uint64_t i = 0; i < dk; i++) h[i * vp + j] = row[i];
    }
}
static inline void ck_store_state(const mlxn_view *state, float *base, uint64_t vp, const float *h) {
    int64_t stride = rows_stride(state);
    for (uint64_t j = 0; j < state->dims[2]; j++) {
        float *row = base + (int64_t)j * state->strides[2];
        for (uint64_t i = 0; i < state->dims[3]; i++) row[(int64_t)i * stride] = h[i * vp + j];
    }
}
/* n rows of vp floats to tokens [t, t + n) of a head of out. */
static inline void ck_store_out(const mlxn_view *out, uint64_t seq, uint64_t t, uint64_t head, uint64_t n,
                                const float *o, uint64_t vp) {
    int64_t stride = rows_stride(out);
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < out->dims[3]; j += 16)
            rows_store(out->dtype, stride == 1, heads_at(out, seq, t + i, head), stride, j, v16_load(o + i * vp + j),
                       simd_tail(j, out->dims[3]));
}

#endif
