/* count.c: count_equal. */
#include "ops/case.h"

static mlxn_status check_count(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *a = &args[0];
    mlxn_status status = mlxn_want_like(error, "b", &args[1], "a", a);
    if (!status) status = mlxn_want_dim(error, "out", 0, args[2].dims[0], 1, "one count");
    if (!status && mlxn_view_elements(a) > UINT32_MAX)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "a: has %llu elements, want at most %u",
                         (unsigned long long)mlxn_view_elements(a), UINT32_MAX);
    return status;
}

static mlxn_status ref_count(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t at[MLXN_MAX_RANK], n = 0, zero = 0;
    for (uint64_t i = 0; i < mlxn_view_elements(&args[0]); i++) {
        mlxn_view_unravel(&args[0], i, at);
        n += mlxn_view_get(&args[0], at) == mlxn_view_get(&args[1], at);
    }
    mlxn_view_set(&args[2], &zero, (double)n);
    return MLXN_OK;
}

static mlxn_cost cost_count(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[0]), (double)mlxn_view_elements(&args[0])};
}

static bool case_count(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][3] = {{1, 1, 1}, {3, 5, 33}, {1, 2, 9000}, {7, 40, 64}, {1, 1, 70000}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT), s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    bool number = MLXN_FLOATS >> dtype & 1;
    for (uint32_t k = 0; k < 2; k++) {
        out->args[k] = mlxn_case_tensor((mlxn_dtype)dtype, 3, dims[s]);
        out->args[k].fill = !number ? MLXN_FILL_INDEX : kind ? MLXN_FILL_SPECIAL : MLXN_FILL_TIES;
        out->args[k].hi = 3;
        if (kind == 1) out->args[k].layout = k ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_INNER;
        if (kind == 2) out->args[k].layout = k ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_OUTER;
    }
    out->args[2] = mlxn_case_tensor(MLXN_U32, 1, (const uint64_t[]){1});
    mlxn_case_name_arg(out, "a", 0);
    return true;
}

const mlxn_op_def mlxn_opdef_count_equal = {
    .name = "count_equal",
    .family = "count",
    .doc =
        "out[0] = how many elements of a equal those of b at the same place; NaN equals nothing. a, b: same dims, at "
        "most 2^32 - 1 elements, one dtype (any); out: [1] u32.",
    .n_args = 3,
    .args = {{"a", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"b", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_U32, 1, 1}},
    .check = check_count,
    .ref = ref_count,
    .cost = cost_count,
    .make_case = case_count,
};
