/* elementwise.c: out[i] from the same element of the inputs: elementwise_add, elementwise_mul, scalar_mul. */
#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_binary(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_same_dims(error, "b", &args[1], "a", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "b", &args[1], "a", &args[0]);
    if (!status) status = mlxn_want_same_dims(error, "out", &args[2], "a", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[2], "a", &args[0]);
    return status;
}

static mlxn_status check_unary(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_same_dims(error, "out", &args[1], "x", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[1], "x", &args[0]);
    return status;
}

static mlxn_status ref_add(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        mlxn_view_set(&args[2], at, mlxn_view_get(&args[0], at) + mlxn_view_get(&args[1], at));
    }
    return MLXN_OK;
}

static mlxn_status ref_mul(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        mlxn_view_set(&args[2], at, mlxn_view_get(&args[0], at) * mlxn_view_get(&args[1], at));
    }
    return MLXN_OK;
}

static mlxn_status ref_scalar_mul(const mlxn_view *args, const void *params) {
    const mlxn_scalar_mul_params *p = params;
    uint64_t n = mlxn_view_elements(&args[1]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[1], i, at);
        mlxn_view_set(&args[1], at, (double)p->scale * mlxn_view_get(&args[0], at));
    }
    return MLXN_OK;
}

/* The product of two binary32 values is rounded to binary32 and once more to a half type: at most one unit there. A
 * binary32 output is rounded once, as in the reference. */
static mlxn_status bound_scalar_mul(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    bool half = args[arg].dtype != MLXN_F32;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        out[i] = half ? mlxn_bound_unit(args[arg].dtype, mlxn_view_get(&args[arg], at)) : 0;
    }
    return MLXN_OK;
}

static mlxn_cost cost_binary(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){
        (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]) + (double)mlxn_view_bytes(&args[2]),
        (double)mlxn_view_elements(&args[2])};
}

static mlxn_cost cost_unary(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       (double)mlxn_view_elements(&args[1])};
}

#define BINARY_ARGS                                                             \
    {                                                                           \
        {"a", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},       \
            {"b", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}, { \
            "out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK   \
        }                                                                       \
    }

const mlxn_op_def mlxn_opdef_elementwise_add = {
    .name = "elementwise_add",
    .family = "elementwise",
    .doc =
        "out = a + b, elementwise. a, b, out: same dims and dtype (f32, f16, bf16; half types add in f32, round "
        "once). "
        "out may be a or b.",
    .n_args = 3,
    .args = BINARY_ARGS,
    .check = check_binary,
    .ref = ref_add,
    .cost = cost_binary,
    .make_case = mlxn_cases_binary,
    .inplace = 1u << 0 | 1u << 1,
};

const mlxn_op_def mlxn_opdef_elementwise_mul = {
    .name = "elementwise_mul",
    .family = "elementwise",
    .doc = "out = a * b, elementwise; rules of elementwise_add.",
    .n_args = 3,
    .args = BINARY_ARGS,
    .check = check_binary,
    .ref = ref_mul,
    .cost = cost_binary,
    .make_case = mlxn_cases_binary,
    .inplace = 1u << 0 | 1u << 1,
};

static bool case_scalar_mul(uint32_t i, struct mlxn_case *out) {
    if (!mlxn_cases_unary(i, out)) return false;
    const float scales[] = {0.125f, 1.5f, 25.298221f, -1.0f / 3, 1, 0};
    mlxn_scalar_mul_params p = {scales[i % 6]};
    memcpy(out->params, &p, sizeof p);
    return true;
}

const mlxn_op_def mlxn_opdef_scalar_mul = {
    .name = "scalar_mul",
    .family = "elementwise",
    .doc = "out = scale * x. x, out: same dims and dtype (f32, f16, bf16). out may be x.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_scalar_mul_params),
    .params_type = "mlxn_scalar_mul_params",
    .check = check_unary,
    .ref = ref_scalar_mul,
    .bound = bound_scalar_mul,
    .cost = cost_unary,
    .make_case = case_scalar_mul,
    .inplace = 1u << 0,
};
