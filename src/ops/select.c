/* select.c: order: argsort, sort and top_k. Equal numbers keep the order of their indices; NaN comes last. */
#include <math.h>

#include "ops/case.h"

static mlxn_status check_count(const mlxn_view *x, mlxn_error *error) {
    uint64_t n = x->dims[x->rank - 1];
    if (n <= UINT32_MAX) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[%u] is %llu, want at most %u (the index is u32)", x->rank - 1,
                     (unsigned long long)n, UINT32_MAX);
}

static mlxn_status check_argsort(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_same_dims(error, "out", &args[1], "x", &args[0]);
    return status ? status : check_count(&args[0], error);
}

static mlxn_status check_sort(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_like(error, "out", &args[1], "x", &args[0]);
    return status ? status : check_count(&args[0], error);
}

static mlxn_status check_top_k(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[0], *indices = &args[1], *values = &args[2];
    mlxn_status status = mlxn_want_dim(error, "indices", 0, indices->dims[0], x->dims[0], "rows of x");
    if (!status && indices->dims[1] > x->dims[1])
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "indices: dim[1] is %llu, want at most %llu (last dim of x)",
                           (unsigned long long)indices->dims[1], (unsigned long long)x->dims[1]);
    if (!status && values->present) {
        status = mlxn_want_same_dims(error, "values", values, "indices", indices);
        if (!status) status = mlxn_want_same_dtype(error, "values", values, "x", x);
    }
    return status ? status : check_count(x, error);
}

typedef struct item {
    double value;
    uint32_t index;
} item;

static bool before(item a, item b, bool descending) {
    bool na = isnan(a.value), nb = isnan(b.value);
    if (na != nb) return nb;
    if (!na && a.value != b.value) return descending ? a.value > b.value : a.value < b.value;
    return a.index < b.index;
}

/* Merge sort of items[0 … n); spare has as many. */
static void sort_items(item *items, item *spare, uint64_t n, bool descending) {
    if (n < 2) return;
    uint64_t half = n / 2, i = 0, j = half;
    sort_items(items, spare, half, descending);
    sort_items(items + half, spare, n - half, descending);
    for (uint64_t k = 0; k < n; k++)
        spare[k] = j == n || (i < half && before(items[i], items[j], descending)) ? items[i++] : items[j++];
    memcpy(items, spare, n * sizeof *items);
}

/* The items of every row of x in order, handed to `emit` with the row's number. */
static mlxn_status each_row(const mlxn_view *args, bool descending,
                            void (*emit)(const mlxn_view *args, uint64_t row, const item *items)) {
    const mlxn_view *x = &args[0];
    uint64_t n = x->dims[x->rank - 1], rows = mlxn_view_elements(x) / n, at[MLXN_MAX_RANK];
    item *items = mlxn_alloc_array(2 * n, sizeof *items);
    if (!items) return MLXN_ERR_MEMORY;
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(x, r * n + i, at);
            items[i] = (item){mlxn_view_get(x, at), (uint32_t)i};
        }
        sort_items(items, items + n, n, descending);
        emit(args, r, items);
    }
    mlxn_free(items);
    return MLXN_OK;
}

static void emit_row(const mlxn_view *args, uint64_t row, const item *items, bool values) {
    const mlxn_view *out = &args[1];
    uint64_t n = out->dims[out->rank - 1], at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(out, row * n + i, at);
        mlxn_view_set(out, at, values ? items[i].value : items[i].index);
    }
}

static void emit_indices(const mlxn_view *args, uint64_t row, const item *items) {
    emit_row(args, row, items, false);
}

static void emit_values(const mlxn_view *args, uint64_t row, const item *items) { emit_row(args, row, items, true); }

static void emit_top(const mlxn_view *args, uint64_t row, const item *items) {
    emit_indices(args, row, items);
    for (uint64_t i = 0; args[2].present && i < args[2].dims[1]; i++)
        mlxn_view_set(&args[2], (const uint64_t[]){row, i}, items[i].value);
}

static mlxn_status ref_argsort(const mlxn_view *args, const void *params) {
    return each_row(args, ((const mlxn_argsort_params *)params)->descending, emit_indices);
}
static mlxn_status ref_sort(const mlxn_view *args, const void *params) {
    return each_row(args, ((const mlxn_argsort_params *)params)->descending, emit_values);
}
static mlxn_status ref_top_k(const mlxn_view *args, const void *params) {
    (void)params;
    return each_row(args, true, emit_top);
}

static mlxn_cost cost_order(const mlxn_view *args, const void *params) {
    (void)params;
    double n = (double)args[0].dims[args[0].rank - 1];
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       (double)mlxn_view_elements(&args[0]) * log2(n + 1)};
}

static const struct {
    uint64_t rows, n, k;
} sizes[] = {{1, 1, 1},   {3, 2, 1},    {5, 33, 5},    {2, 100, 100},
             {9, 128, 8}, {2, 257, 17}, {1, 5000, 40}, {2, 3000, 1500}};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static void case_input(uint32_t dtype, uint32_t s, uint32_t kind, mlxn_case *out) {
    static const mlxn_fill fills[] = {MLXN_FILL_NORMAL, MLXN_FILL_TIES, MLXN_FILL_SPECIAL};
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), 2, (const uint64_t[]){sizes[s].rows, sizes[s].n});
    out->args[0].fill = fills[kind];
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_GAPS : kind == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[0].shift = kind;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, " %s", (const char *[]){"normal", "ties", "special"}[kind]);
}

static bool case_order(uint32_t i, bool values, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SIZES), kind = mlxn_case_digit(&i, 3);
    uint32_t descending = mlxn_case_digit(&i, 2);
    if (i) return false;
    case_input(dtype, s, kind, out);
    out->args[1] = mlxn_case_tensor(values ? mlxn_case_float(dtype) : MLXN_U32, 2, out->args[0].dims);
    out->args[1].layout = kind ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    if (descending) mlxn_case_name(out, " descending");
    mlxn_argsort_params p = {descending};
    memcpy(out->params, &p, sizeof p);
    return true;
}
static bool case_argsort(uint32_t i, mlxn_case *out) { return case_order(i, false, out); }
static bool case_sort(uint32_t i, mlxn_case *out) { return case_order(i, true, out); }

static bool case_top_k(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, N_SIZES), kind = mlxn_case_digit(&i, 3);
    uint32_t values = mlxn_case_digit(&i, 2);
    if (i) return false;
    case_input(dtype, s, kind, out);
    const uint64_t dims[] = {sizes[s].rows, sizes[s].k};
    out->args[1] = mlxn_case_tensor(MLXN_U32, 2, dims);
    out->args[1].layout = kind ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    if (values) out->args[2] = mlxn_case_tensor(mlxn_case_float(dtype), 2, dims);
    mlxn_case_name(out, " k %u%s", (unsigned)sizes[s].k, values ? " values" : "");
    return true;
}

const mlxn_op_def mlxn_opdef_argsort = {
    .name = "argsort",
    .family = "select",
    .doc =
        "out[.., j] = the index of the j-th element of x[.., :] in rising or falling order, stable: equal elements "
        "keep their order, NaN comes last either way. x: f32, f16, bf16, rows of any length; out: u32, same dims.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_U32, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_argsort_params),
    .params_type = "mlxn_argsort_params",
    .check = check_argsort,
    .ref = ref_argsort,
    .cost = cost_order,
    .make_case = case_argsort,
};

const mlxn_op_def mlxn_opdef_sort = {
    .name = "sort",
    .family = "select",
    .doc = "out = the elements of each row of x in the order of argsort. Same dims and dtype (f32, f16, bf16).",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_argsort_params),
    .params_type = "mlxn_argsort_params",
    .check = check_sort,
    .ref = ref_sort,
    .cost = cost_order,
    .make_case = case_sort,
};

const mlxn_op_def mlxn_opdef_top_k = {
    .name = "top_k",
    .family = "select",
    .doc =
        "The k largest elements of each row, largest first, equal ones by rising index, NaN last. x: [R, N] f32, "
        "f16, bf16; indices: [R, k] u32, k <= N; values: optional, [R, k], dtype of x.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"indices", MLXN_ROLE_OUT, false, false, 1u << MLXN_U32, 2, 2},
             {"values", MLXN_ROLE_OUT, false, true, MLXN_FLOATS, 2, 2}},
    .check = check_top_k,
    .ref = ref_top_k,
    .cost = cost_order,
    .make_case = case_top_k,
};
