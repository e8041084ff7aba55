/* activation.c: softcap, silu and gelu, and their gated products silu_mul and gelu_mul. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_unary(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_same_dims(error, "out", &args[1], "x", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[1], "x", &args[0]);
    return status;
}

static mlxn_status check_softcap(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_softcap_params *p = params;
    mlxn_status status = check_unary(args, NULL, error);
    if (!status && !(p->cap > 0 && isfinite(p->cap)))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: cap is %g, want a number above 0", (double)p->cap);
    return status;
}

static mlxn_status check_gated(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_same_dims(error, "up", &args[1], "gate", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "up", &args[1], "gate", &args[0]);
    if (!status) status = mlxn_want_same_dims(error, "out", &args[2], "gate", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[2], "gate", &args[0]);
    return status;
}

static mlxn_status ref_softcap(const mlxn_view *args, const void *params) {
    double cap = ((const mlxn_softcap_params *)params)->cap;
    uint64_t n = mlxn_view_elements(&args[1]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[1], i, at);
        mlxn_view_set(&args[1], at, cap * tanh(mlxn_view_get(&args[0], at) / cap));
    }
    return MLXN_OK;
}

static double silu(double x) { return x / (1 + exp(-x)); }
static double gelu(double x) { return x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }

static mlxn_status unary(const mlxn_view *args, double (*fn)(double)) {
    uint64_t n = mlxn_view_elements(&args[1]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[1], i, at);
        mlxn_view_set(&args[1], at, fn(mlxn_view_get(&args[0], at)));
    }
    return MLXN_OK;
}

static mlxn_status ref_silu(const mlxn_view *args, const void *params) {
    (void)params;
    return unary(args, silu);
}

static mlxn_status ref_gelu(const mlxn_view *args, const void *params) {
    (void)params;
    return unary(args, gelu);
}

static mlxn_status gated(const mlxn_view *args, double (*fn)(double)) {
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        mlxn_view_set(&args[2], at, fn(mlxn_view_get(&args[0], at)) * mlxn_view_get(&args[1], at));
    }
    return MLXN_OK;
}

static mlxn_status ref_silu_mul(const mlxn_view *args, const void *params) {
    (void)params;
    return gated(args, silu);
}

static mlxn_status ref_gelu_mul(const mlxn_view *args, const void *params) {
    (void)params;
    return gated(args, gelu);
}

/* tanh through exponentials loses a few units of 1 near 0, which the product with cap enlarges. */
static mlxn_status bound_softcap(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    double cap = ((const mlxn_softcap_params *)params)->cap;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        double ref = mlxn_view_get(&args[arg], at);
        out[i] = 8 * MLXN_EPS * (cap + 2 * fabs(ref));
        if (args[arg].dtype != MLXN_F32) out[i] += mlxn_bound_unit(args[arg].dtype, ref);
    }
    return MLXN_OK;
}

/* Exponential, division and product cost a few units of the result, and 1 + tanh(u) a few units of |gate * up| where
 * the terms cancel. Results below the smallest normal numbers may be flushed. `up` may be NULL: 1 everywhere. */
static mlxn_status bound_gated(const mlxn_view *gate, const mlxn_view *up, double cancel, const mlxn_view *result,
                               double *out) {
    uint64_t n = mlxn_view_elements(result), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(result, i, at);
        double ref = mlxn_view_get(result, at), u = up ? fabs(mlxn_view_get(up, at)) : 1;
        double g = fabs(mlxn_view_get(gate, at));
        out[i] = 16 * MLXN_EPS * fabs(ref) + cancel * MLXN_EPS * g * u + 1e-36 * (1 + g) * (1 + u);
        if (result->dtype != MLXN_F32) out[i] += mlxn_bound_unit(result->dtype, ref);
    }
    return MLXN_OK;
}

static mlxn_status bound_silu(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    return bound_gated(&args[0], NULL, 0, &args[arg], out);
}

static mlxn_status bound_gelu(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    return bound_gated(&args[0], NULL, 4, &args[arg], out);
}

static mlxn_status bound_silu_mul(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    return bound_gated(&args[0], &args[1], 0, &args[arg], out);
}

static mlxn_status bound_gelu_mul(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    return bound_gated(&args[0], &args[1], 4, &args[arg], out);
}

static mlxn_cost cost_unary(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       12 * (double)mlxn_view_elements(&args[1])};
}

static mlxn_cost cost_gated(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){3 * (double)mlxn_view_bytes(&args[2]), 14 * (double)mlxn_view_elements(&args[2])};
}

static bool case_softcap(uint32_t i, mlxn_case *out) {
    if (!mlxn_cases_unary(i, out)) return false;
    static const float caps[] = {30, 50, 1, 0.1f};
    mlxn_softcap_params p = {caps[i % 4]};
    memcpy(out->params, &p, sizeof p);
    if (i % 5 == 2) out->args[0].hi = 100; /* far into saturation */
    return true;
}

/* Some gates far into saturation on both sides. */
static void fill_gate(uint32_t i, mlxn_case_arg *gate) {
    gate->fill = i % 4 == 3 ? MLXN_FILL_UNIFORM : MLXN_FILL_NORMAL;
    gate->lo = i % 4 == 3 ? -120 : 0;
    gate->hi = i % 4 == 3 ? 120 : 2;
}

static bool case_gate(uint32_t i, mlxn_case *out) {
    if (!mlxn_cases_unary(i, out)) return false;
    if (out->args[0].fill != MLXN_FILL_SPECIAL) fill_gate(i, &out->args[0]);
    return true;
}

static bool case_gated(uint32_t i, mlxn_case *out) {
    if (!mlxn_cases_binary(i, out)) return false;
    fill_gate(i, &out->args[0]);
    return true;
}

#define UNARY_ARGS                                                            \
    {                                                                         \
        {"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}, {   \
            "out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK \
        }                                                                     \
    }

const mlxn_op_def mlxn_opdef_softcap = {
    .name = "softcap",
    .family = "activation",
    .doc = "out = cap * tanh(x / cap), cap > 0. Same dims and dtype (f32, f16, bf16). out may be x.",
    .n_args = 2,
    .args = UNARY_ARGS,
    .params_size = sizeof(mlxn_softcap_params),
    .params_type = "mlxn_softcap_params",
    .check = check_softcap,
    .ref = ref_softcap,
    .bound = bound_softcap,
    .cost = cost_unary,
    .make_case = case_softcap,
    .inplace = 1u << 0,
};

const mlxn_op_def mlxn_opdef_silu = {
    .name = "silu",
    .family = "activation",
    .doc = "out = x / (1 + exp(-x)). Same dims and dtype (f32, f16, bf16). out may be x.",
    .n_args = 2,
    .args = UNARY_ARGS,
    .check = check_unary,
    .ref = ref_silu,
    .bound = bound_silu,
    .cost = cost_unary,
    .make_case = case_gate,
    .inplace = 1u << 0,
};

const mlxn_op_def mlxn_opdef_gelu = {
    .name = "gelu",
    .family = "activation",
    .doc = "out = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the tanh form. Rules of silu.",
    .n_args = 2,
    .args = UNARY_ARGS,
    .check = check_unary,
    .ref = ref_gelu,
    .bound = bound_gelu,
    .cost = cost_unary,
    .make_case = case_gate,
    .inplace = 1u << 0,
};

#define GATED_ARGS                                                               \
    {                                                                            \
        {"gate", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},     \
            {"up", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}, { \
            "out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK    \
        }                                                                        \
    }

const mlxn_op_def mlxn_opdef_silu_mul = {
    .name = "silu_mul",
    .family = "activation",
    .doc = "out = gate / (1 + exp(-gate)) * up. Same dims and dtype (f32, f16, bf16). out may be gate or up.",
    .n_args = 3,
    .args = GATED_ARGS,
    .check = check_gated,
    .ref = ref_silu_mul,
    .bound = bound_silu_mul,
    .cost = cost_gated,
    .make_case = case_gated,
    .inplace = 1u << 0 | 1u << 1,
};

const mlxn_op_def mlxn_opdef_gelu_mul = {
    .name = "gelu_mul",
    .family = "activation",
    .doc =
        "out = gelu(gate) * up with the tanh form gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). "
        "Rules of silu_mul.",
    .n_args = 3,
    .args = GATED_ARGS,
    .check = check_gated,
    .ref = ref_gelu_mul,
    .bound = bound_gelu_mul,
    .cost = cost_gated,
    .make_case = case_gated,
    .inplace = 1u << 0 | 1u << 1,
};
