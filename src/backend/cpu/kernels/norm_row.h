/* norm_row.h: the RMS norm of one row, for all kernels that norm. Sums in f32 over the lanes of four vectors, in an
 * order that depends on the row length alone; then x * inv * w + residual, rounded after each step, so that a fused
 * kernel has the bits of the kernels of its parts. The row is read again for the second pass, so that out may be an
 * input. */
#ifndef MLXN_SRC_CPU_NORM_ROW_H
#define MLXN_SRC_CPU_NORM_ROW_H

#include "backend/cpu/kernels/rows.h"

SIMD_INLINE float sum_of_squares(mlxn_dtype dtype, bool unit, const void *x, int64_t stride, uint64_t n) {
    v16 s[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()};
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            v16 v = rows_load(dtype, unit, x, stride, i + 16 * (uint64_t)k, 16);
            s[k] = v16_fma(v, v, s[k]);
        }
    }
    for (; i + 16 <= n; i += 16) {
        v16 v = rows_load(dtype, unit, x, stride, i, 16);
        s[0] = v16_fma(v, v, s[0]);
    }
    if (i < n) {
        v16 v = rows_load(dtype, unit, x, stride, i, n - i);
        s[1] = v16_fma(v, v, s[1]);
    }
    return v16_hsum(v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3])));
}

typedef struct norm_row {
    const void *x, *residual; /* of dtype `from`; residual may be NULL */
    const float *w;           /* may be NULL */
    void *out;                /* of dtype `to` */
    int64_t sx, sr, sw, so;
    uint64_t n;
    float eps;
    const void *ahead; /* of x, for rows_fetch */
    bool streams;      /* as rows_put takes it */
} norm_row;

SIMD_INLINE void norm_part(const norm_row *a, mlxn_dtype from, mlxn_dtype to, bool unit, v16 inv, uint64_t i,
                           uint64_t k) {
    v16 v = v16_mul(rows_load(from, unit, a->x, a->sx, i, k), inv);
    if (a->w) v = v16_mul(v, rows_load(MLXN_F32, unit, a->w, a->sw, i, k));
    if (a->residual) v = v16_add(v, rows_load(from, unit, a->residual, a->sr, i, k));
    rows_put(to, unit, a->out, a->so, i, v, k, a->streams);
}

/* `unit` (all strides are 1) and, where it is true, the dtypes must be constants. */
SIMD_INLINE void norm_one(const norm_row *a, mlxn_dtype from, mlxn_dtype to, bool unit) {
    double mean = (double)sum_of_squares(from, unit, a->x, a->sx, a->n) / (double)a->n;
    v16 inv = v16_set1((float)(1.0 / sqrt(mean + (double)a->eps)));
    uint64_t i = 0;
    for (; i + 16 <= a->n; i += 16) {
        rows_fetch(from, a->ahead, i);
        norm_part(a, from, to, unit, inv, i, 16);
    }
    if (i < a->n) norm_part(a, from, to, unit, inv, i, a->n - i);
}

#endif
