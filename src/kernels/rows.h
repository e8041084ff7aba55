/* rows.h: bodies that take rows of a tensor as a whole: rms_norm and norm_add, softmax, reduce, argmax and argmin. A
 * group of threads has one row at a time.
 *
 * The dialect that elementwise.h names stands before it, and of groups: K_THREAD and K_THREADS, the number of a
 * thread and how many there are; k_group_sum of a float, a double or an unsigned, k_group_max of a float, which all
 * threads call and get. */
#ifndef MLXN_SRC_KERNELS_ROWS_H
#define MLXN_SRC_KERNELS_ROWS_H

#include <mlxn/op_params.h>

#include "kernels/rows_shape.h"

/* Where row r of a view begins. */
K_FN k_i64 k_row_start(K_ARGS const k_rows_shape &s, unsigned view, k_u64 r) {
    k_i64 at = 0;
    for (unsigned k = s.rank - s.inner; k-- > 0;) {
        at += (k_i64)(r % s.dims[k]) * s.strides[view][k];
        r /= s.dims[k];
    }
    return at;
}
/* Where element i of a row lies, from its start. */
K_FN k_i64 k_row_element(K_ARGS const k_rows_shape &s, unsigned view, k_u64 i) {
    if (s.inner == 1) return (k_i64)i * s.strides[view][s.rank - 1];
    k_i64 at = 0;
    for (unsigned k = s.rank; k-- > s.rank - s.inner;) {
        at += (k_i64)(i % s.dims[k]) * s.strides[view][k];
        i /= s.dims[k];
    }
    return at;
}

/* Views: x, w (its one row), residual, out. w and residual may be absent. */
template <typename T>
K_FN void k_norm_row(K_ARGS const k_rows_shape &s, K_GLOBAL const T *x, K_GLOBAL const float *w,
                     K_GLOBAL const T *residual, K_GLOBAL T *out, k_u64 row) {
    x += k_row_start(s, 0, row);
    out += k_row_start(s, 3, row);
    float sum = 0.0f;
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        float v = k_float(x[k_row_element(s, 0, i)]);
        sum = k_fma(v, v, sum);
    }
    sum = k_group_sum(sum);
    float scale = 1.0f / sqrtf(sum / (float)s.n + s.eps);
    if (residual) residual += k_row_start(s, 2, row);
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        float y = k_float(x[k_row_element(s, 0, i)]) * scale;
        if (w) y *= w[k_row_element(s, 1, i)];
        if (residual) y += k_float(residual[k_row_element(s, 2, i)]);
        k_store(out + k_row_element(s, 3, i), y);
    }
}

K_FN float k_mask_at(K_ARGS const k_rows_shape &s, K_GLOBAL const void *mask, k_i64 at) {
    if (s.mask_type == 1) return ((K_GLOBAL const float *)mask)[at];
    if (s.mask_type == 2) return k_float(((K_GLOBAL const k_f16 *)mask)[at]);
    return k_float(((K_GLOBAL const k_bf16 *)mask)[at]);
}

/* Views: x, mask, none, out. A row of -infinity alone gives zeros, and NaN if one is among them. */
template <typename T>
K_FN void k_softmax_row(K_ARGS const k_rows_shape &s, K_GLOBAL const T *x, K_GLOBAL const void *mask, K_GLOBAL T *out,
                        k_u64 row) {
    x += k_row_start(s, 0, row);
    out += k_row_start(s, 3, row);
    k_i64 mask_start = k_row_start(s, 1, row);
    const float none = -k_infinity();
    float top = none, sum = 0.0f;
    unsigned nans = 0;
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        float v = k_float(x[k_row_element(s, 0, i)]) * s.scale;
        if (s.mask_type) v += k_mask_at(s, mask, mask_start + k_row_element(s, 1, i));
        nans += v != v;
        if (v > top) top = v;
    }
    top = k_group_max(top);
    nans = k_group_sum(nans);
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        float v = k_float(x[k_row_element(s, 0, i)]) * s.scale;
        if (s.mask_type) v += k_mask_at(s, mask, mask_start + k_row_element(s, 1, i));
        sum += expf(v - top);
    }
    sum = k_group_sum(sum);
    float log_sum = logf(sum);
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        float v = k_float(x[k_row_element(s, 0, i)]) * s.scale;
        if (s.mask_type) v += k_mask_at(s, mask, mask_start + k_row_element(s, 1, i));
        float y = s.fn ? v - top - log_sum : expf(v - top) / sum;
        if (top == none) y = nans ? k_nan() : s.fn ? none : 0.0f;
        k_store(out + k_row_element(s, 3, i), y);
    }
}

/* Views: x and, as a row of one element, out at view 3. Sums are binary64. Returns the number of the row, the same in
 * every thread. */
template <typename T>
K_FN float k_reduce_row(K_ARGS const k_rows_shape &s, K_GLOBAL const T *x, k_u64 row) {
    x += k_row_start(s, 0, row);
    double sum = 0, product = 1;
    float most = -k_infinity(), least = k_infinity();
    unsigned nans = 0;
    bool squares = s.fn == MLXN_REDUCE_SUM_SQUARES || s.fn == MLXN_REDUCE_NORM || s.fn == MLXN_REDUCE_RMS_INV;
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        float v = k_float(x[k_row_element(s, 0, i)]);
        nans += v != v;
        if (v > most) most = v;
        if (v < least) least = v;
        sum += squares ? (double)v * (double)v : (double)v;
        product *= (double)v;
    }
    double n = (double)s.n;
    if (s.fn == MLXN_REDUCE_PROD) return (float)k_group_product(product);
    if (s.fn == MLXN_REDUCE_MAX || s.fn == MLXN_REDUCE_MIN || s.fn == MLXN_REDUCE_LOGSUMEXP) {
        most = k_group_max(most);
        least = -k_group_max(-least);
        if (k_group_sum(nans)) return k_nan();
        if (s.fn == MLXN_REDUCE_MAX) return most;
        if (s.fn == MLXN_REDUCE_MIN) return least;
        if (most - most != 0.0f) return most; /* infinite */
        sum = 0;
        for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS)
            sum += (double)expf(k_float(x[k_row_element(s, 0, i)]) - most);
        return most + logf((float)k_group_sum(sum));
    }
    sum = k_group_sum(sum);
    if (s.fn == MLXN_REDUCE_MEAN) return (float)(sum / n);
    if (s.fn == MLXN_REDUCE_NORM) return (float)sqrt(sum);
    if (s.fn == MLXN_REDUCE_RMS_INV) return (float)(1 / sqrt(sum / n + (double)s.eps));
    if (s.fn != MLXN_REDUCE_VARIANCE) return (float)sum;
    double mean = sum / n, deviation = 0;
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        double off = (double)k_float(x[k_row_element(s, 0, i)]) - mean;
        deviation += off * off;
    }
    return (float)(k_group_sum(deviation) / n);
}

/* The first place of the largest number of a row (fn 1: the smallest), 0 if there is none; the same in every thread.
 */
K_FN unsigned k_extreme_row(K_ARGS const k_rows_shape &s, K_GLOBAL const float *x, k_u64 row) {
    x += k_row_start(s, 0, row);
    float top = -k_infinity();
    unsigned best = 0xffffffffu; /* of this thread, if any: its first */
    for (k_u64 i = K_THREAD; i < s.n; i += K_THREADS) {
        float v = x[k_row_element(s, 0, i)];
        if (s.fn) v = -v;
        if (v != v || (best != 0xffffffffu && !(v > top))) continue;
        top = v;
        best = (unsigned)i;
    }
    float all = k_group_max(top);
    best = k_group_min(best != 0xffffffffu && top == all ? best : 0xffffffffu);
    return best == 0xffffffffu ? 0 : best;
}

#endif
