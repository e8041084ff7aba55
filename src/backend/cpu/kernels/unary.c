/* unary.c (CPU kernels): unary and unary_backward. Computed in f32, rounded once. */
#include "backend/cpu/kernels/activation_fn.h"
#include "backend/cpu/kernels/span.h"

#define P(i) v16_set1(p[i])
#define K(f) v16_set1(f)

SIMD_INLINE v16 one_minus(v16 x) { return v16_sub(K(1.0f), x); }
SIMD_INLINE v16 sign(v16 x) { return v16_pick_gt(x, v16_zero(), K(1.0f), v16_pick_gt(v16_zero(), x, K(-1.0f), x)); }
SIMD_INLINE v16 hardsigmoid(v16 x) { return act_clamp(v16_div(v16_add(x, K(3.0f)), K(6.0f)), v16_zero(), K(1.0f)); }
SIMD_INLINE v16 xielu(v16 x, v16 a, v16 b, v16 c, v16 d) {
    v16 least = v16_pick_gt(d, x, x, d), cx = v16_mul(c, x);
    v16 below = v16_fma(b, v16_sub(v16_expm1(least), x), cx);
    return v16_pick_gt(x, v16_zero(), v16_fma(v16_mul(a, x), x, cx), v16_pick_nan(x, below));
}

SPAN_FN(f_abs, 1, v16_abs(x))
SPAN_FN(f_neg, 1, v16_neg(x))
SPAN_FN(f_sign, 1, sign(x))
SPAN_FN(f_step, 1, v16_pick_gt(x, v16_zero(), K(1.0f), v16_zero()))
SPAN_FN(f_square, 1, v16_mul(x, x))
SPAN_FN(f_sqrt, 1, v16_sqrt(x))
SPAN_FN(f_rsqrt, 1, v16_div(K(1.0f), v16_sqrt(x)))
SPAN_FN(f_reciprocal, 1, v16_div(K(1.0f), x))
SPAN_FN(f_exp, 1, v16_exp(x))
SPAN_FN(f_exp2, 1, v16_exp2(x))
SPAN_FN(f_expm1, 1, v16_expm1(x))
SPAN_FN(f_log, 1, v16_log(x))
SPAN_FN(f_log2, 1, v16_mul(v16_log(x), K(1.44269504088896341f)))
SPAN_FN(f_log10, 1, v16_mul(v16_log(x), K(0.43429448190325183f)))
SPAN_FN(f_log1p, 1, v16_log1p(x))
SPAN_FN(f_sin, 1, v16_sincos(x, false))
SPAN_FN(f_cos, 1, v16_sincos(x, true))
SPAN_FN(f_tanh, 1, v16_tanh(x))
SPAN_FN(f_sigmoid, 1, v16_sigmoid(x))
SPAN_FN(f_erf, 1, v16_erf(x))
SPAN_FN(f_floor, 1, v16_floor(x))
SPAN_FN(f_ceil, 1, v16_ceil(x))
SPAN_FN(f_round, 1, v16_whole(x))
SPAN_FN(f_trunc, 1, v16_trunc(x))
SPAN_FN(f_relu, 1, act_relu(x))
SPAN_FN(f_leaky_relu, 1, v16_pick_gt(x, v16_zero(), x, v16_mul(P(0), x)))
SPAN_FN(f_elu, 1, v16_pick_gt(x, v16_zero(), x, v16_mul(P(0), v16_expm1(x))))
SPAN_FN(f_silu, 1, act_silu(x))
SPAN_FN(f_gelu, 1, act_gelu(x))
SPAN_FN(f_gelu_erf, 1, act_gelu_erf(x))
SPAN_FN(f_gelu_quick, 1, act_gelu_quick(x))
SPAN_FN(f_hardswish, 1, v16_mul(x, hardsigmoid(x)))
SPAN_FN(f_hardsigmoid, 1, hardsigmoid(x))
SPAN_FN(f_softplus, 1, v16_softplus(x))
SPAN_FN(f_clamp, 1, act_clamp(x, P(0), P(1)))
SPAN_FN(f_affine, 1, v16_fma(P(0), x, P(1)))
SPAN_FN(f_xielu, 1, xielu(x, P(0), P(1), P(2), P(3)))

static const span_fn values[MLXN_UNARY_COUNT] = {
    f_abs,         f_neg,        f_sign,    f_step,   f_square, f_sqrt,     f_rsqrt,      f_reciprocal,
    f_exp,         f_exp2,       f_expm1,   f_log,    f_log2,   f_log10,    f_log1p,      f_sin,
    f_cos,         f_tanh,       f_sigmoid, f_erf,    f_floor,  f_ceil,     f_round,      f_trunc,
    f_relu,        f_leaky_relu, f_elu,     f_silu,   f_gelu,   f_gelu_erf, f_gelu_quick, f_hardswish,
    f_hardsigmoid, f_softplus,   f_clamp,   f_affine, f_xielu,
};

SIMD_INLINE v16 tanh_slope(v16 x) {
    v16 t = v16_tanh(x);
    return v16_fnma(t, t, K(1.0f));
}
SIMD_INLINE v16 hardswish_slope(v16 x) {
    v16 inner = v16_div(v16_fma(K(2.0f), x, K(3.0f)), K(6.0f));
    return v16_pick_gt(K(3.0f), x, v16_pick_gt(x, K(-3.0f), inner, v16_pick_nan(x, v16_zero())),
                       v16_pick_nan(x, K(1.0f)));
}
SIMD_INLINE v16 hardsigmoid_slope(v16 x) { return v16_pick_gt(K(3.0f), v16_abs(x), K(1.0f / 6.0f), v16_zero()); }
SIMD_INLINE v16 clamp_slope(v16 x, v16 lo, v16 hi) {
    return v16_pick_gt(x, lo, v16_pick_gt(hi, x, K(1.0f), v16_zero()), v16_zero());
}
SIMD_INLINE v16 xielu_slope(v16 x, v16 a, v16 b, v16 c, v16 d) {
    v16 e = v16_pick_gt(x, d, v16_zero(), v16_exp(x));
    v16 below = v16_fma(b, v16_sub(e, K(1.0f)), c);
    return v16_pick_gt(x, v16_zero(), v16_fma(v16_add(a, a), x, c), below);
}

#define SLOPE(name, expression) SPAN_FN(d_##name, 2, v16_mul(y, (expression)))
SLOPE(abs, sign(x))
SPAN_FN(d_neg, 2, v16_neg(y))
SLOPE(flat, v16_zero())
SLOPE(square, v16_add(x, x))
SPAN_FN(d_sqrt, 2, v16_mul(y, v16_div(K(0.5f), v16_sqrt(x))))
SPAN_FN(d_rsqrt, 2, v16_mul(y, v16_div(K(-0.5f), v16_mul(x, v16_sqrt(x)))))
SPAN_FN(d_reciprocal, 2, v16_neg(v16_div(v16_div(y, x), x)))
SLOPE(exp, v16_exp(x))
SLOPE(exp2, v16_mul(K(0.69314718055994531f), v16_exp2(x)))
SPAN_FN(d_log, 2, v16_div(y, x))
SPAN_FN(d_log2, 2, v16_mul(v16_div(y, x), K(1.44269504088896341f)))
SPAN_FN(d_log10, 2, v16_mul(v16_div(y, x), K(0.43429448190325183f)))
SPAN_FN(d_log1p, 2, v16_div(y, v16_add(K(1.0f), x)))
SLOPE(sin, v16_sincos(x, true))
SLOPE(cos, v16_neg(v16_sincos(x, false)))
SLOPE(tanh, tanh_slope(x))
SLOPE(sigmoid, v16_mul(v16_sigmoid(x), v16_sigmoid(v16_neg(x))))
SLOPE(erf, v16_mul(v16_exp(v16_neg(v16_mul(x, x))), K(1.12837916709551257f)))
SLOPE(relu, v16_pick_gt(x, v16_zero(), K(1.0f), v16_zero()))
SLOPE(leaky_relu, v16_pick_gt(x, v16_zero(), K(1.0f), P(0)))
SLOPE(elu, v16_pick_gt(x, v16_zero(), K(1.0f), v16_mul(P(0), v16_exp(x))))
SLOPE(silu, act_gated_slope(x))
SLOPE(gelu, act_gelu_slope(x))
SLOPE(gelu_erf, act_gelu_erf_slope(x))
SLOPE(gelu_quick, act_gated_slope(v16_mul(x, K(1.702f))))
SLOPE(hardswish, hardswish_slope(x))
SLOPE(hardsigmoid, hardsigmoid_slope(x))
SLOPE(softplus, v16_pick_gt(x, K(20.0f), K(1.0f), v16_sigmoid(x)))
SLOPE(clamp, clamp_slope(x, P(0), P(1)))
SLOPE(affine, P(0))
SLOPE(xielu, xielu_slope(x, P(0), P(1), P(2), P(3)))

static const span_fn slopes[MLXN_UNARY_COUNT] = {
    d_abs,         d_neg,        d_flat,    d_flat,   d_square, d_sqrt,     d_rsqrt,      d_reciprocal,
    d_exp,         d_exp2,       d_exp,     d_log,    d_log2,   d_log10,    d_log1p,      d_sin,
    d_cos,         d_tanh,       d_sigmoid, d_erf,    d_flat,   d_flat,     d_flat,       d_flat,
    d_relu,        d_leaky_relu, d_elu,     d_silu,   d_gelu,   d_gelu_erf, d_gelu_quick, d_hardswish,
    d_hardsigmoid, d_softplus,   d_clamp,   d_affine, d_xielu,
};

static void plan_unary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    span_plan((const mlxn_view *const[4]){&args[1], &args[0]}, 2, out);
}
static void plan_backward(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    span_plan((const mlxn_view *const[4]){&args[2], &args[0], &args[1]}, 3, out);
}

static void run_unary(cpu_run *run) {
    const mlxn_unary_params *p = run->params;
    span_run(run, values[p->fn], &p->a, 1, (const mlxn_view *const[3]){&run->args[0]}, &run->args[1]);
}
static void run_backward(cpu_run *run) {
    const mlxn_unary_params *p = run->params;
    span_run(run, slopes[p->fn], &p->a, 2, (const mlxn_view *const[3]){&run->args[0], &run->args[1]}, &run->args[2]);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_unary)[];
const cpu_kernel CPU_ISA(cpu_kernels_unary)[] = {
    {MLXN_OP_unary, "unary_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_unary},
    {MLXN_OP_unary_backward, "unary_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_backward,
     run_backward},
    {0},
};
