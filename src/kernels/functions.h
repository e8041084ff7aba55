/* functions.h: the functions of one and of two numbers of the families activation, unary and binary, in binary32, and
 * the bodies that map them over tensors. The dialect that elementwise.h names stands before it, and the functions of
 * math.h that are named here, good to a few units in the last place. */
#ifndef MLXN_SRC_KERNELS_FUNCTIONS_H
#define MLXN_SRC_KERNELS_FUNCTIONS_H

#include <mlxn/op_params.h>

#include "kernels/functions_shape.h"
#include "kernels/pack.h"

K_FN bool k_is_nan(float x) { return !(x == x); }
K_FN float k_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
K_FN float k_gelu_angle(float x) { return 0.7978845608028654f * (x + 0.044715f * x * x * x); }
K_FN float k_gelu(float x) { return x * 0.5f * (1.0f + tanhf(k_gelu_angle(x))); }
K_FN float k_gelu_erf(float x) { return x * 0.5f * erfcf(-x * 0.70710678118654752f); }
K_FN float k_clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

K_FN float k_unary(unsigned fn, float a, float b, float c, float d, float x) {
    switch (fn) {
        case MLXN_UNARY_ABS:
            return fabsf(x);
        case MLXN_UNARY_NEG:
            return -x;
        case MLXN_UNARY_SIGN:
            return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;
        case MLXN_UNARY_STEP:
            return x > 0.0f ? 1.0f : 0.0f;
        case MLXN_UNARY_SQUARE:
            return x * x;
        case MLXN_UNARY_SQRT:
            return sqrtf(x);
        case MLXN_UNARY_RSQRT:
            return 1.0f / sqrtf(x);
        case MLXN_UNARY_RECIPROCAL:
            return 1.0f / x;
        case MLXN_UNARY_EXP:
            return expf(x);
        case MLXN_UNARY_EXP2:
            return exp2f(x);
        case MLXN_UNARY_EXPM1:
            return expm1f(x);
        case MLXN_UNARY_LOG:
            return logf(x);
        case MLXN_UNARY_LOG2:
            return log2f(x);
        case MLXN_UNARY_LOG10:
            return log10f(x);
        case MLXN_UNARY_LOG1P:
            return log1pf(x);
        case MLXN_UNARY_SIN:
            return sinf(x);
        case MLXN_UNARY_COS:
            return cosf(x);
        case MLXN_UNARY_TANH:
            return tanhf(x);
        case MLXN_UNARY_SIGMOID:
            return k_sigmoid(x);
        case MLXN_UNARY_ERF:
            return erff(x);
        case MLXN_UNARY_FLOOR:
            return floorf(x);
        case MLXN_UNARY_CEIL:
            return ceilf(x);
        case MLXN_UNARY_ROUND:
            return rintf(x);
        case MLXN_UNARY_TRUNC:
            return truncf(x);
        case MLXN_UNARY_RELU:
            return x < 0.0f ? 0.0f : x;
        case MLXN_UNARY_LEAKY_RELU:
            return x > 0.0f ? x : a * x;
        case MLXN_UNARY_ELU:
            return x > 0.0f ? x : a * expm1f(x);
        case MLXN_UNARY_SILU:
            return x / (1.0f + expf(-x));
        case MLXN_UNARY_GELU:
            return k_gelu(x);
        case MLXN_UNARY_GELU_ERF:
            return k_gelu_erf(x);
        case MLXN_UNARY_GELU_QUICK:
            return x * k_sigmoid(1.702f * x);
        case MLXN_UNARY_HARDSWISH:
            return x * k_clamp((x + 3.0f) / 6.0f, 0.0f, 1.0f);
        case MLXN_UNARY_HARDSIGMOID:
            return k_clamp((x + 3.0f) / 6.0f, 0.0f, 1.0f);
        case MLXN_UNARY_SOFTPLUS:
            return x > 20.0f ? x : log1pf(expf(x));
        case MLXN_UNARY_CLAMP:
            return k_clamp(x, a, b);
        case MLXN_UNARY_AFFINE:
            return a * x + b;
        case MLXN_UNARY_XIELU:
            return x > 0.0f ? a * x * x + c * x : b * (expm1f(x < d ? x : d) - x) + c * x;
        default: /* K_UNARY_SOFTCAP */
            return a * tanhf(x / a);
    }
}

/* The derivative of a function of one number; at a corner, the side that PyTorch takes. */
K_FN float k_slope(unsigned fn, float a, float b, float c, float d, float x) {
    const float ln2 = 0.69314718055994531f, root = 0.7978845608028654f;
    float t;
    switch (fn) {
        case MLXN_UNARY_ABS:
            return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;
        case MLXN_UNARY_NEG:
            return -1.0f;
        case MLXN_UNARY_SQUARE:
            return 2.0f * x;
        case MLXN_UNARY_SQRT:
            return 0.5f / sqrtf(x);
        case MLXN_UNARY_RSQRT:
            return -0.5f / (x * sqrtf(x));
        case MLXN_UNARY_RECIPROCAL:
            return -1.0f / (x * x);
        case MLXN_UNARY_EXP:
        case MLXN_UNARY_EXPM1:
            return expf(x);
        case MLXN_UNARY_EXP2:
            return ln2 * exp2f(x);
        case MLXN_UNARY_LOG:
            return 1.0f / x;
        case MLXN_UNARY_LOG2:
            return 1.0f / (x * ln2);
        case MLXN_UNARY_LOG10:
            return 1.0f / (x * 2.30258509299404568f);
        case MLXN_UNARY_LOG1P:
            return 1.0f / (1.0f + x);
        case MLXN_UNARY_SIN:
            return cosf(x);
        case MLXN_UNARY_COS:
            return -sinf(x);
        case MLXN_UNARY_TANH:
            t = tanhf(x);
            return 1.0f - t * t;
        case MLXN_UNARY_SIGMOID:
            return k_sigmoid(x) * k_sigmoid(-x);
        case MLXN_UNARY_ERF:
            return 1.12837916709551257f * expf(-x * x);
        case MLXN_UNARY_RELU:
            return x > 0.0f ? 1.0f : 0.0f;
        case MLXN_UNARY_LEAKY_RELU:
            return x > 0.0f ? 1.0f : a;
        case MLXN_UNARY_ELU:
            return x > 0.0f ? 1.0f : a * expf(x);
        case MLXN_UNARY_SILU:
            t = k_sigmoid(x);
            return t * (1.0f + x * (1.0f - t));
        case MLXN_UNARY_GELU:
            t = tanhf(k_gelu_angle(x));
            return (1.0f + t) * 0.5f + x * 0.5f * (1.0f - t * t) * root * (1.0f + 3.0f * 0.044715f * x * x);
        case MLXN_UNARY_GELU_ERF:
            return erfcf(-x * 0.70710678118654752f) * 0.5f + x * expf(-x * x * 0.5f) * 0.3989422804014327f;
        case MLXN_UNARY_GELU_QUICK:
            t = k_sigmoid(1.702f * x);
            return t * (1.0f + 1.702f * x * (1.0f - t));
        case MLXN_UNARY_HARDSWISH:
            return x <= -3.0f ? 0.0f : x >= 3.0f ? 1.0f : (2.0f * x + 3.0f) / 6.0f;
        case MLXN_UNARY_HARDSIGMOID:
            return x > -3.0f && x < 3.0f ? 1.0f / 6.0f : 0.0f;
        case MLXN_UNARY_SOFTPLUS:
            return x > 20.0f ? 1.0f : k_sigmoid(x);
        case MLXN_UNARY_CLAMP:
            return x > a && x < b ? 1.0f : 0.0f;
        case MLXN_UNARY_AFFINE:
            return a;
        case MLXN_UNARY_XIELU:
            return x > 0.0f ? 2.0f * a * x + c : b * ((x <= d ? expf(x) : 0.0f) - 1.0f) + c;
        default: /* sign, step and the roundings */
            return 0.0f;
    }
}

/* Functions that a binary32 library may miss by too much are computed in binary64. */
K_FN float k_binary(unsigned fn, float a, float b) {
    bool nan = k_is_nan(a) || k_is_nan(b);
    switch (fn) {
        case MLXN_BINARY_ADD:
            return a + b;
        case MLXN_BINARY_SUB:
            return a - b;
        case MLXN_BINARY_MUL:
            return a * b;
        case MLXN_BINARY_DIV:
            return a / b;
        case MLXN_BINARY_MIN:
            return nan ? a + b : a < b ? a : b;
        case MLXN_BINARY_MAX:
            return nan ? a + b : a > b ? a : b;
        case MLXN_BINARY_POW:
            return nan ? a + b : (float)pow((double)a, (double)b);
        case MLXN_BINARY_REMAINDER: {
            float r = fmodf(a, b);
            return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;
        }
        case MLXN_BINARY_ATAN2:
            return (float)atan2((double)a, (double)b);
        default: {
            float low = a < b ? a : b, high = a < b ? b : a;
            if (nan) return a + b;
            if (high - high != 0.0f || low - low != 0.0f) return high; /* one is infinite */
            return high + log1pf(expf(low - high));
        }
    }
}

K_FN float k_glu(unsigned fn, float alpha, float limit, float g, float u) {
    switch (fn) {
        case MLXN_GLU_SIGMOID:
            return k_sigmoid(g) * u;
        case MLXN_GLU_RELU:
            return (g < 0.0f ? 0.0f : g) * u;
        case MLXN_GLU_SILU:
            return g / (1.0f + expf(-g)) * u;
        case MLXN_GLU_GELU:
            return k_gelu(g) * u;
        case MLXN_GLU_GELU_ERF:
            return k_gelu_erf(g) * u;
        case MLXN_GLU_GELU_QUICK:
            return g * k_sigmoid(1.702f * g) * u;
        default:
            g = g > limit ? limit : g;
            u = u > limit ? limit : u < -limit ? -limit : u;
            return g * k_sigmoid(alpha * g) * (u + 1.0f);
    }
}

K_FN bool k_holds(unsigned fn, double a, double b) {
    switch (fn) {
        case MLXN_COMPARE_EQ:
            return a == b;
        case MLXN_COMPARE_NE:
            return a != b;
        case MLXN_COMPARE_LT:
            return a < b;
        case MLXN_COMPARE_LE:
            return a <= b;
        case MLXN_COMPARE_GT:
            return a > b;
        case MLXN_COMPARE_GE:
            return a >= b;
        case MLXN_COMPARE_AND:
            return a != 0 && b != 0;
        case MLXN_COMPARE_OR:
            return a != 0 || b != 0;
        default:
            return (a != 0) != (b != 0);
    }
}

/* What an element of the result is. */
struct k_map_unary {
    K_MEMBER bool two() { return false; }
    K_MEMBER float apply(K_ARGS const k_map_shape &s, float a, float) { return k_unary(s.fn, s.a, s.b, s.c, s.d, a); }
};
struct k_map_binary {
    K_MEMBER bool two() { return true; }
    K_MEMBER float apply(K_ARGS const k_map_shape &s, float a, float b) { return k_binary(s.fn, a, b); }
};
struct k_map_glu {
    K_MEMBER bool two() { return true; }
    K_MEMBER float apply(K_ARGS const k_map_shape &s, float a, float b) { return k_glu(s.fn, s.a, s.b, a, b); }
};
struct k_map_slope {
    K_MEMBER bool two() { return true; }
    K_MEMBER float apply(K_ARGS const k_map_shape &s, float a, float b) {
        return k_slope(s.fn, s.a, s.b, s.c, s.d, a) * b;
    }
};

/* Where element i, counted row-major, of each view lies. */
K_FN void k_map_find(K_ARGS const k_map_shape &s, k_u64 i, k_i64 *at) {
    for (unsigned v = 0; v < K_MAP_VIEWS; v++) at[v] = 0;
    for (unsigned k = s.rank; k-- > 0;) {
        k_i64 own = (k_i64)(i % s.dims[k]);
        i /= s.dims[k];
        for (unsigned v = 0; v < K_MAP_VIEWS; v++) at[v] += own * s.strides[v][k];
    }
}

/* Views are a, b and out. */
template <typename T, typename Fn>
K_FN void k_map_strided(K_ARGS const k_map_shape &s, K_GLOBAL const T *a, K_GLOBAL const T *b, K_GLOBAL T *out,
                        k_u64 i) {
    k_i64 at[K_MAP_VIEWS];
    k_map_find(s, i, at);
    k_store(out + at[2], Fn::apply(s, k_float(a[at[0]]), Fn::two() ? k_float(b[at[1]]) : 0.0f));
}

/* Pack i of operands that lie close together at multiples of 16 bytes; the last pack may be short. */
template <typename T, typename Fn>
K_FN void k_map_packed(K_ARGS const k_map_shape &s, K_GLOBAL const T *a, K_GLOBAL const T *b, K_GLOBAL T *out,
                       k_u64 i) {
    constexpr unsigned n = 16 / sizeof(T);
    k_u64 first = i * n;
    if (first + n > s.n) {
        for (k_u64 k = first; k < s.n; k++)
            k_store(out + k, Fn::apply(s, k_float(a[k]), Fn::two() ? k_float(b[k]) : 0.0f));
        return;
    }
    k_pack<T> left = *(K_GLOBAL const k_pack<T> *)(a + first), right = left, result;
    if (Fn::two()) right = *(K_GLOBAL const k_pack<T> *)(b + first);
    for (unsigned k = 0; k < n; k++)
        k_store(&result.v[k], Fn::apply(s, k_float(left.v[k]), Fn::two() ? k_float(right.v[k]) : 0.0f));
    *(K_GLOBAL k_pack<T> *)(out + first) = result;
}

/* Views are a, b and out, whose elements are bytes. */
template <typename T>
K_FN void k_map_compare(K_ARGS const k_map_shape &s, K_GLOBAL const T *a, K_GLOBAL const T *b,
                        K_GLOBAL unsigned char *out, k_u64 i) {
    k_i64 at[K_MAP_VIEWS];
    k_map_find(s, i, at);
    out[at[2]] = k_holds(s.fn, k_double(a[at[0]]), k_double(b[at[1]]));
}

/* Views are a, b, out and the condition. Bits, not values. */
template <typename T>
K_FN void k_map_where(K_ARGS const k_map_shape &s, K_GLOBAL const T *a, K_GLOBAL const T *b, K_GLOBAL T *out,
                      K_GLOBAL const unsigned char *condition, k_u64 i) {
    k_i64 at[K_MAP_VIEWS];
    k_map_find(s, i, at);
    out[at[2]] = condition[at[3]] ? a[at[0]] : b[at[1]];
}

#endif
