/* reduce.c: argmax. */
#include "ops/case.h"

static mlxn_status check_argmax(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_dim(error, "out", 0, args[1].dims[0], args[0].dims[0], "rows of x");
    if (!status && args[0].dims[1] > UINT32_MAX)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[1] is %llu, want at most %u (the index is u32)",
                           (unsigned long long)args[0].dims[1], UINT32_MAX);
    return status;
}

static mlxn_status ref_argmax(const mlxn_view *args, const void *params) {
    (void)params;
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        uint64_t best = 0;
        double top = 0;
        bool any = false;
        for (uint64_t i = 0; i < args[0].dims[1]; i++) {
            double v = mlxn_view_get(&args[0], (uint64_t[]){r, i});
            if (v != v || (any && !(v > top))) continue;
            best = i;
            top = v;
            any = true;
        }
        mlxn_view_set(&args[1], &r, (double)best);
    }
    return MLXN_OK;
}

static mlxn_cost cost_argmax(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       (double)mlxn_view_elements(&args[0])};
}

/* Rows that must give 0 although they hold no number, and rows whose only numbers are -infinity. */
static void no_numbers(const mlxn_view *args, const void *params) {
    (void)params;
    for (uint64_t r = 0; r < args[0].dims[0]; r++)
        for (uint64_t i = 0; i < args[0].dims[1]; i++)
            mlxn_view_set(&args[0], (uint64_t[]){r, i},
                          r % 2 && i + 1 == args[0].dims[1] ? -1e300 * 1e300 : 0.0 / 0.0);
}

static bool case_argmax(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][2] = {{1, 1},  {3, 7},    {1, 49152}, {2, 151936}, {1, 262144}, {5, 16},
                                       {4, 17}, {2, 1023}, {9, 33},    {3, 64},     {1, 65}};
    static const mlxn_fill fills[] = {MLXN_FILL_NORMAL, MLXN_FILL_TIES, MLXN_FILL_SPECIAL, MLXN_FILL_CONST};
    *out = (mlxn_case){0};
    uint32_t fill = mlxn_case_digit(&i, 5), layout = mlxn_case_digit(&i, 3);
    uint32_t s = mlxn_case_digit(&i, sizeof dims / sizeof dims[0]);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(MLXN_F32, 2, dims[s]);
    out->args[1] = mlxn_case_tensor(MLXN_U32, 1, dims[s]);
    if (fill < 4) {
        out->args[0].fill = fills[fill];
        out->args[0].lo = fill == 3 ? -5 : 0;
    } else {
        out->prepare = no_numbers;
    }
    out->args[0].layout = layout == 1 ? MLXN_LAYOUT_GAPS : layout == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[0].shift = layout;
    out->args[1].layout = layout == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->slow = dims[s][0] * dims[s][1] > 100000 && layout;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, " %s", (const char *[]){"normal", "ties", "special", "constant", "no numbers"}[fill]);
    return true;
}

const mlxn_op_def mlxn_opdef_argmax = {
    .name = "argmax",
    .family = "reduce",
    .doc =
        "out[r] = the lowest index of the largest element of x[r, :]; NaN is ignored; 0 if there is no number. "
        "x: [R, N] f32; out: [R] u32.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_U32, 1, 1}},
    .check = check_argmax,
    .ref = ref_argmax,
    .cost = cost_argmax,
    .make_case = case_argmax,
};
