/* fill.c: tensors made from numbers: fill_value. */
#include <math.h>

#include "ops/case.h"

static double largest(mlxn_dtype dtype) {
    return dtype == MLXN_U8 ? UINT8_MAX : dtype == MLXN_U16 ? UINT16_MAX : dtype == MLXN_U32 ? UINT32_MAX : INT32_MAX;
}

static mlxn_status check_fill(const mlxn_view *args, const void *params, mlxn_error *error) {
    double value = ((const mlxn_fill_value_params *)params)->value;
    mlxn_dtype dtype = args[0].dtype;
    double least = dtype == MLXN_I32 ? INT32_MIN : 0, most = largest(dtype);
    if (MLXN_FLOATS >> dtype & 1 || (value == trunc(value) && value >= least && value <= most)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                     "params: value is %g, want a whole number from %.0f to %.0f (out is %s)", value, least, most,
                     mlxn_dtype_name(dtype));
}

static mlxn_status ref_fill(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[0]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[0], i, at);
        mlxn_view_set(&args[0], at, ((const mlxn_fill_value_params *)params)->value);
    }
    return MLXN_OK;
}

static mlxn_cost cost_fill(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]), 0};
}

static bool case_fill(uint32_t i, mlxn_case *out) {
    static const double values[] = {0, 1, 255, 0.1, 1e30};
    uint32_t dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT), v = mlxn_case_digit(&i, 5);
    if (!mlxn_cases_unary(9 * i + 3 * v, out)) return false;
    out->args[0] = out->args[1];
    out->args[1] = (mlxn_case_arg){0};
    out->args[0].dtype = (mlxn_dtype)dtype;
    mlxn_fill_value_params p = {v > 2 && !(MLXN_FLOATS >> dtype & 1) ? 7 : values[v]};
    memcpy(out->params, &p, sizeof p);
    out->name[0] = 0;
    mlxn_case_name_arg(out, "out", 0);
    mlxn_case_name(out, " value %g", p.value);
    return true;
}

const mlxn_op_def mlxn_opdef_fill_value = {
    .name = "fill_value",
    .family = "fill",
    .doc = "out = value, everywhere. out: any dtype, any strides.",
    .n_args = 1,
    .args = {{"out", MLXN_ROLE_OUT, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_fill_value_params),
    .params_type = "mlxn_fill_value_params",
    .check = check_fill,
    .ref = ref_fill,
    .cost = cost_fill,
    .make_case = case_fill,
};
