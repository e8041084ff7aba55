/* activation_fn.h: the activation functions and their slopes on sixteen floats, for all kernels that apply them. */
#ifndef MLXN_SRC_CPU_ACTIVATION_FN_H
#define MLXN_SRC_CPU_ACTIVATION_FN_H

#include "backend/cpu/kernels/simd_math.h"

SIMD_INLINE v16 act_clamp(v16 x, v16 lo, v16 hi) { return v16_pick_gt(lo, x, lo, v16_pick_gt(x, hi, hi, x)); }
SIMD_INLINE v16 act_relu(v16 x) { return v16_pick_gt(v16_zero(), x, v16_zero(), x); }
SIMD_INLINE v16 act_silu(v16 x) { return v16_div(x, v16_add(v16_set1(1.0f), v16_exp(v16_sub(v16_zero(), x)))); }

/* -2 times the argument of tanh in gelu */
SIMD_INLINE v16 act_gelu_exponent(v16 x) {
    const float c = 1.5957691216057308f; /* 2 sqrt(2/pi) */
    v16 t = v16_fma(v16_mul(v16_mul(x, x), v16_set1(c * 0.044715f)), x, v16_mul(x, v16_set1(c)));
    return v16_sub(v16_zero(), t);
}
/* x/2 (1 + tanh u) = x / (1 + exp(-2u)): no cancellation for negative x. */
SIMD_INLINE v16 act_gelu(v16 x) { return v16_div(x, v16_add(v16_set1(1.0f), v16_exp(act_gelu_exponent(x)))); }
SIMD_INLINE v16 act_gelu_erf(v16 x) {
    v16 h = v16_mul(x, v16_set1(0.5f));
    return v16_fma(h, v16_erf(v16_mul(x, v16_set1(0.70710678118654752f))), h);
}
SIMD_INLINE v16 act_gelu_quick(v16 x) {
    return v16_div(x, v16_add(v16_set1(1.0f), v16_exp(v16_mul(x, v16_set1(-1.702f)))));
}

/* sigma(x) (1 + x (1 - sigma(x))) with the terms of t = kx: the slope of x sigma(kx). */
SIMD_INLINE v16 act_gated_slope(v16 t) {
    v16 s = v16_sigmoid(t);
    return v16_mul(s, v16_fma(t, v16_sigmoid(v16_neg(t)), v16_set1(1.0f)));
}
SIMD_INLINE v16 act_gelu_slope(v16 x) {
    v16 e = v16_neg(act_gelu_exponent(x)), s = v16_sigmoid(e), rest = v16_sigmoid(v16_neg(e));
    /* (1 + t)/2 = sigma(2u), 1 - t^2 = 4 sigma(2u) sigma(-2u) */
    v16 du = v16_fma(v16_mul(x, x), v16_set1(1.5957691216057308f * 0.134145f), v16_set1(1.5957691216057308f));
    return v16_fma(v16_mul(v16_mul(x, s), rest), du, s);
}
SIMD_INLINE v16 act_gelu_erf_slope(v16 x) {
    v16 h = v16_fma(v16_set1(0.5f), v16_erf(v16_mul(x, v16_set1(0.70710678118654752f))), v16_set1(0.5f));
    v16 g = v16_mul(v16_exp(v16_mul(v16_mul(x, v16_set1(-0.5f)), x)), v16_set1(0.39894228040143268f));
    return v16_fma(x, g, h);
}

#endif
