/* elementwise.h: bodies of elementwise_add, elementwise_mul and scalar_mul for devices.
 *
 * The file that includes this one has the dialect before it: K_FN (a function of the device), K_MEMBER (the same
 * inside a struct), K_GLOBAL (memory of buffers), K_ARGS (memory of arguments), k_u64, k_i64, the storage types
 * float, k_f16 and k_bf16 with k_float(x) and k_store(T *, float). Values are computed in binary32 and rounded once.
 */
#ifndef MLXN_SRC_KERNELS_ELEMENTWISE_H
#define MLXN_SRC_KERNELS_ELEMENTWISE_H

#include "kernels/elementwise_shape.h"
#include "kernels/pack.h"

struct k_add {
    K_MEMBER bool two() { return true; }
    K_MEMBER float apply(float a, float b, float) { return a + b; }
};
struct k_mul {
    K_MEMBER bool two() { return true; }
    K_MEMBER float apply(float a, float b, float) { return a * b; }
};
struct k_scale {
    K_MEMBER bool two() { return false; }
    K_MEMBER float apply(float a, float, float scale) { return a * scale; }
};

/* Element i, counted row-major, of operands with any strides. */
template <typename T, typename Op>
K_FN void k_elementwise_strided(K_ARGS const k_elementwise_shape &s, K_GLOBAL const T *a, K_GLOBAL const T *b,
                                K_GLOBAL T *out, k_u64 i) {
    k_i64 at_a = 0, at_b = 0, at_out = 0;
    for (unsigned k = s.rank; k-- > 0;) {
        k_i64 at = (k_i64)(i % s.dims[k]);
        i /= s.dims[k];
        at_a += at * s.strides[0][k];
        at_b += at * s.strides[1][k];
        at_out += at * s.strides[2][k];
    }
    float right = Op::two() ? k_float(b[at_b]) : 0.0f;
    k_store(out + at_out, Op::apply(k_float(a[at_a]), right, s.scale));
}

/* Pack i of operands that lie close together at multiples of 16 bytes; the last pack may be short. */
template <typename T, typename Op>
K_FN void k_elementwise_packed(K_ARGS const k_elementwise_shape &s, K_GLOBAL const T *a, K_GLOBAL const T *b,
                               K_GLOBAL T *out, k_u64 i) {
    constexpr unsigned n = 16 / sizeof(T);
    k_u64 first = i * n;
    if (first + n > s.n) {
        for (k_u64 k = first; k < s.n; k++)
            k_store(out + k, Op::apply(k_float(a[k]), Op::two() ? k_float(b[k]) : 0.0f, s.scale));
        return;
    }
    k_pack<T> left = *(K_GLOBAL const k_pack<T> *)(a + first), right = left, result;
    if (Op::two()) right = *(K_GLOBAL const k_pack<T> *)(b + first);
    for (unsigned k = 0; k < n; k++)
        k_store(&result.v[k], Op::apply(k_float(left.v[k]), k_float(right.v[k]), s.scale));
    *(K_GLOBAL k_pack<T> *)(out + first) = result;
}

#endif
