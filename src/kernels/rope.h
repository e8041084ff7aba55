/* rope.h: bodies of rope, rope_multi and norm_rope: one head of one token, by a group of threads.
 *
 * The dialect that elementwise.h names stands before it, and what rows.h names of groups. The frequency of a pair is
 * rounded to binary32 once, the angle is one binary32 product, as ops/rope.c defines. */
#ifndef MLXN_SRC_KERNELS_ROPE_H
#define MLXN_SRC_KERNELS_ROPE_H

#include <mlxn/op_params.h>

#include "kernels/rope_shape.h"

/* The two channels of pair i, and the axis of its position. */
K_FN void k_rope_pair(K_ARGS const k_rope_shape &s, unsigned i, unsigned *first, unsigned *second, unsigned *axis) {
    unsigned n = 2 * s.pairs;
    *first = s.offset + i;
    *second = *first + s.pairs;
    *axis = 0;
    if (s.pairing == MLXN_ROPE_INTERLEAVED) {
        *first = s.offset + 2 * i;
        *second = *first + 1;
    } else if (s.pairing == MLXN_ROPE_HEAD_HALF) {
        *first = i;
        *second = i + s.d / 2;
    } else if (s.pairing == MLXN_ROPE_QUARTER) {
        *axis = i / (n / 4);
        *first = s.offset + *axis * (n / 2) + i % (n / 4);
        *second = *first + n / 4;
    }
    if (s.axes == MLXN_ROPE_AXES_ONE) return;
    unsigned total = s.sections[0] + s.sections[1];
    if (s.axes != MLXN_ROPE_AXES_VISION) total += s.sections[2] + s.sections[3];
    unsigned sector = i % (total ? total : 1);
    if (s.axes == MLXN_ROPE_AXES_SECTIONS)
        *axis = sector < s.sections[0]                   ? 0
                : sector < s.sections[0] + s.sections[1] ? 1
                : sector < total - s.sections[3]         ? 2
                                                         : 3;
    else if (s.axes == MLXN_ROPE_AXES_INTERLEAVED)
        *axis = sector < 3 * s.sections[sector % 3] ? sector % 3 : 3;
    else
        *axis = sector >= s.sections[0];
}

/* Channel j of those that do not turn. */
K_FN unsigned k_rope_rest(K_ARGS const k_rope_shape &s, unsigned j) {
    if (s.pairing != MLXN_ROPE_HEAD_HALF) return j < s.offset ? j : j + 2 * s.pairs;
    unsigned gap = s.d / 2 - s.pairs;
    return j < gap ? s.pairs + j : s.d / 2 + s.pairs + (j - gap);
}

/* Head `row` of all heads of all tokens. factors and weights may be absent. */
template <typename T>
K_FN void k_rope_head(K_ARGS const k_rope_shape &s, K_GLOBAL const T *x, K_GLOBAL const unsigned *positions,
                      K_GLOBAL const float *factors, K_GLOBAL const float *weights, K_GLOBAL T *out, k_u64 row) {
    k_u64 t = row / s.heads, h = row % s.heads;
    x += (k_i64)t * s.strides[0][0] + (k_i64)h * s.strides[0][1];
    out += (k_i64)t * s.strides[1][0] + (k_i64)h * s.strides[1][1];
    float scale = 1.0f;
    if (s.eps > 0.0f) {
        float sum = 0.0f;
        for (unsigned i = K_THREAD; i < s.d; i += K_THREADS) {
            float v = k_float(x[(k_i64)i * s.strides[0][2]]);
            sum = k_fma(v, v, sum);
        }
        scale = 1.0f / sqrtf(k_group_sum(sum) / (float)s.d + s.eps);
    }
    for (unsigned i = K_THREAD; i < s.pairs; i += K_THREADS) {
        unsigned first, second, axis;
        k_rope_pair(s, i, &first, &second, &axis);
        unsigned p = positions[(k_i64)axis * s.position[0] + (k_i64)t * s.position[1]];
        double f = s.frequency[i];
        float turns = factors ? (float)(f / (double)factors[(k_i64)i * s.factor]) : (float)f;
        float angle = (s.is_signed ? (float)(int)p : (float)p) * turns;
        float c = s.magnitude * cosf(angle), n = s.sign * s.magnitude * sinf(angle);
        float a = k_float(x[(k_i64)first * s.strides[0][2]]), b = k_float(x[(k_i64)second * s.strides[0][2]]);
        if (s.eps > 0.0f) {
            a *= scale;
            b *= scale;
            if (weights) {
                a *= weights[(k_i64)first * s.weight];
                b *= weights[(k_i64)second * s.weight];
            }
        }
        k_store(out + (k_i64)first * s.strides[1][2], a * c - b * n);
        k_store(out + (k_i64)second * s.strides[1][2], a * n + b * c);
    }
    for (unsigned j = K_THREAD; j < s.d - 2 * s.pairs; j += K_THREADS) {
        unsigned k = k_rope_rest(s, j);
        float v = k_float(x[(k_i64)k * s.strides[0][2]]);
        if (s.eps > 0.0f) {
            v *= scale;
            if (weights) v *= weights[(k_i64)k * s.weight];
        }
        k_store(out + (k_i64)k * s.strides[1][2], v);
    }
}

#endif
