/* heads.h: rows of [S, T, H, D] tensors for the recurrent kernels: where they lie, and copies in f32 scratch. */
#ifndef MLXN_SRC_CPU_HEADS_H
#define MLXN_SRC_CPU_HEADS_H

#include "backend/cpu/kernels/rows.h"

static inline void *heads_at(const mlxn_view *v, uint64_t s, uint64_t t, uint64_t h) {
    int64_t at = (int64_t)s * v->strides[0] + (int64_t)t * v->strides[1] + (int64_t)h * v->strides[2];
    return (char *)v->data + at * (int64_t)rows_size(v->dtype);
}

/* An element of a [S, T, H] f32 tensor. */
static inline float heads_number(const mlxn_view *v, uint64_t s, uint64_t t, uint64_t h) {
    return *(const float *)heads_at(v, s, t, h);
}

/* Elements [first, first + n) of a row, with zeros up to a multiple of 16. */
static inline void heads_copy(const mlxn_view *v, const void *row, uint64_t first, uint64_t n, float *out) {
    int64_t stride = rows_stride(v);
    const void *data = (const char *)row + (int64_t)first * stride * (int64_t)rows_size(v->dtype);
    for (uint64_t i = 0; i < n; i += 16)
        v16_store(out + i, rows_load(v->dtype, stride == 1, data, stride, i, simd_tail(i, n)));
}

static inline void heads_scale(float *x, uint64_t n, float by) {
    for (uint64_t i = 0; i < n; i += 16) v16_store(x + i, v16_mul(v16_load(x + i), v16_set1(by)));
}

/* x / sqrt(sum of x^2 + eps); `pad` is a multiple of 16. */
static inline void heads_unit(float *x, uint64_t pad, float eps) {
    v16 sum = v16_zero();
    for (uint64_t i = 0; i < pad; i += 16) sum = v16_fma(v16_load(x + i), v16_load(x + i), sum);
    heads_scale(x, pad, (float)(1.0 / sqrt((double)v16_hsum(sum) + (double)eps)));
}

/* The state of sequence s: its slot, or its own number. */
static inline uint64_t heads_slot(const mlxn_view *slots, uint64_t s) {
    return slots->present ? ((const uint32_t *)slots->data)[(int64_t)s * rows_stride(slots)] : s;
}

#endif
