/* softmax_row.h: a row of logits in f32: scaled, masked, its largest, its exponentials and their sum. */
#ifndef MLXN_SRC_CPU_SOFTMAX_ROW_H
#define MLXN_SRC_CPU_SOFTMAX_ROW_H

#include "backend/cpu/kernels/span.h"

/* Into four partial sums, in the same order for every row of n elements. */
SIMD_INLINE void accumulate(v16 s[4], uint64_t i, v16 term) { s[i / 16 % 4] = v16_add(s[i / 16 % 4], term); }
SIMD_INLINE float total(const v16 s[4]) { return v16_hsum(v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3]))); }

SIMD_INLINE float softmax_load_as(mlxn_dtype dtype, const void *x, uint64_t first, float scale, uint64_t n,
                                  float *row) {
    v16 top = v16_set1(-INFINITY), other = top, s = v16_set1(scale);
    uint64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        v16 t = v16_mul(v16_load_as(dtype, x, first + i, 16), s);
        v16 u = v16_mul(v16_load_as(dtype, x, first + i + 16, 16), s);
        v16_store(row + i, t);
        v16_store(row + i + 16, u);
        top = v16_max(t, top);
        other = v16_max(u, other);
    }
    for (; i < n; i += 16) {
        uint64_t w = simd_tail(i, n);
        v16 t = v16_mul(v16_load_as(dtype, x, first + i, w), s);
        v16_store_as(MLXN_F32, row, i, t, w);
        top = v16_max(v16_range(top, t, 0, w), top);
    }
    return v16_hmax(v16_max(top, other));
}

/* v = scale * x + mask of the elements from `first` on into `row`; the largest, NaN left out. */
static inline __attribute__((unused)) float softmax_load_part(const mlxn_view *x, const void *px,
                                                              const mlxn_view *mask, const void *pm, float scale,
                                                              uint64_t first, uint64_t n, float *row) {
    if (!mask && rows_stride(x) == 1) {
        if (x->dtype == MLXN_F32) return softmax_load_as(MLXN_F32, px, first, scale, n, row);
        if (x->dtype == MLXN_F16) return softmax_load_as(MLXN_F16, px, first, scale, n, row);
        return softmax_load_as(MLXN_BF16, px, first, scale, n, row);
    }
    float a[SPAN] __attribute__((aligned(64))), b[SPAN] __attribute__((aligned(64)));
    v16 top = v16_set1(-INFINITY), s = v16_set1(scale);
    for (uint64_t i = 0; i < n; i += SPAN) {
        uint64_t m = mlxn_min_u64(SPAN, n - i);
        const float *v = span_in(x->dtype, px, rows_stride(x), first + i, m, a);
        const float *add = mask ? span_in(mask->dtype, pm, rows_stride(mask), first + i, m, b) : NULL;
        for (uint64_t k = 0; k < m; k += 16) {
            uint64_t w = simd_tail(k, m);
            v16 t = v16_mul(v16_load_as(MLXN_F32, v, k, w), s);
            if (add) t = v16_add(t, v16_load_as(MLXN_F32, add, k, w));
            v16_store_as(MLXN_F32, row, i + k, t, w);
            top = v16_max(v16_range(top, t, 0, w), top);
        }
    }
    return v16_hmax(top);
}
static inline __attribute__((unused)) float softmax_load(const mlxn_view *x, const void *px, const mlxn_view *mask,
                                                         const void *pm, float scale, uint64_t n, float *row) {
    return softmax_load_part(x, px, mask, pm, scale, 0, n, row);
}

/* e^(v - top) in place, and their sum. `ahead` of a dtype, for rows_fetch. */
SIMD_INLINE float softmax_exp_ahead(float *row, uint64_t n, float top, bool keep, mlxn_dtype dtype,
                                    const void *ahead) {
    v16 s[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()}, m = v16_set1(top);
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            rows_fetch(dtype, ahead, i + 16 * (uint64_t)k);
            v16 e = v16_exp(v16_sub(v16_load(row + i + 16 * k), m));
            if (keep) v16_store(row + i + 16 * k, e);
            s[k] = v16_add(s[k], e);
        }
    }
    for (; i < n; i += 16) {
        uint64_t w = simd_tail(i, n);
        v16 e = v16_exp(v16_sub(v16_load_as(MLXN_F32, row, i, w), m));
        if (keep) v16_store_as(MLXN_F32, row, i, e, w);
        accumulate(s, i, v16_range(v16_zero(), e, 0, w));
    }
    return total(s);
}
static inline __attribute__((unused)) float softmax_exp(float *row, uint64_t n, float top, bool keep) {
    return softmax_exp_ahead(row, n, top, keep, MLXN_F32, row);
}

#endif
