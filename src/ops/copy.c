/* copy.c: cast (between float types) and copy (any dtype, bits unchanged). */
#include "ops/case.h"

static mlxn_status check_cast(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    return mlxn_want_same_dims(error, "out", &args[1], "x", &args[0]);
}

static mlxn_status check_copy(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_same_dims(error, "out", &args[1], "x", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[1], "x", &args[0]);
    return status;
}

static mlxn_status ref_cast(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = mlxn_view_elements(&args[1]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[1], i, at);
        mlxn_view_set(&args[1], at, mlxn_view_get(&args[0], at));
    }
    return MLXN_OK;
}

/* Bytes, not values: NaN payloads survive. */
static mlxn_status ref_copy(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *x = &args[0], *y = &args[1];
    size_t size = mlxn_dtype_size(x->dtype);
    uint64_t n = mlxn_view_elements(y), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(y, i, at);
        int64_t from = 0, to = 0;
        for (uint32_t k = 0; k < y->rank; k++) {
            from += (int64_t)at[k] * x->strides[k];
            to += (int64_t)at[k] * y->strides[k];
        }
        memcpy((uint8_t *)y->data + to * (int64_t)size, (const uint8_t *)x->data + from * (int64_t)size, size);
    }
    return MLXN_OK;
}

static mlxn_cost cost_copy(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]), 0};
}

static bool case_cast(uint32_t i, mlxn_case *out) {
    uint32_t to = mlxn_case_digit(&i, 3);
    if (!mlxn_cases_unary(i, out)) return false;
    out->args[1].dtype = mlxn_case_float(to);
    if (i % 2) out->args[0].hi = 20000; /* some overflow f16, some round at the top of its range */
    out->name[0] = 0;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 1);
    return true;
}

/* Transposed in one go, with and without whole tiles. */
static bool case_turn(uint32_t i, mlxn_case *out) {
    static const struct {
        uint32_t rank;
        uint64_t dims[4];
    } shapes[] = {{2, {16, 16}}, {2, {33, 65}}, {2, {128, 80}}, {3, {40, 3, 37}}, {4, {17, 2, 3, 48}}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT), s = mlxn_case_digit(&i, 5), gaps = mlxn_case_digit(&i, 2);
    if (i) return false;
    for (uint32_t k = 0; k < 2; k++)
        out->args[k] = mlxn_case_tensor((mlxn_dtype)dtype, shapes[s].rank, shapes[s].dims);
    out->args[0].layout = MLXN_LAYOUT_TRANSPOSED;
    out->args[1].layout = gaps ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[0].shift = gaps;
    out->args[0].fill = MLXN_FILL_BYTES;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 1);
    return true;
}

/* Then the float types with every shape and layout, the others with every third dtype digit of the same list. */
static bool case_copy(uint32_t i, mlxn_case *out) {
    static const mlxn_dtype more[] = {MLXN_U8, MLXN_U16, MLXN_U32, MLXN_I32};
    enum { TURNS = MLXN_DTYPE_COUNT * 10 };
    if (i < TURNS) return case_turn(i, out);
    i -= TURNS;
    uint32_t floats = mlxn_cases_unary_count();
    if (i < floats) {
        if (!mlxn_cases_unary(i, out)) return false;
    } else {
        i -= floats;
        mlxn_dtype dtype = more[mlxn_case_digit(&i, 4)];
        if (!mlxn_cases_unary(3 * i, out)) return false;
        out->args[0].dtype = out->args[1].dtype = dtype;
    }
    out->args[0].fill = MLXN_FILL_BYTES;
    out->name[0] = 0;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 1);
    return true;
}

const mlxn_op_def mlxn_opdef_cast = {
    .name = "cast",
    .family = "copy",
    .doc = "out = x converted, round to nearest even. Same dims; f32, f16, bf16 in any pairing.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .check = check_cast,
    .ref = ref_cast,
    .cost = cost_copy,
    .make_case = case_cast,
};

const mlxn_op_def mlxn_opdef_copy = {
    .name = "copy",
    .family = "copy",
    .doc = "out = x. Same dims and dtype (any), any strides on either side.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK}},
    .check = check_copy,
    .ref = ref_copy,
    .cost = cost_copy,
    .make_case = case_copy,
};
