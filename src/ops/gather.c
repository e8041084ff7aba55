/* gather.c: rows by index: gather from a tensor, embedding from a weight. Indices past the end read the last row. */
#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_gather(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[0], *index = &args[1], *out = &args[2];
    mlxn_status status = mlxn_want_same_dtype(error, "out", out, "x", x);
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], index->dims[0], "elements of index");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], x->dims[1], "last dim of x");
    return status;
}

static mlxn_status check_embedding(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *ids = &args[0], *table = &args[1], *out = &args[2];
    mlxn_status status = mlxn_want_one_matrix(error, "table", table);
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], ids->dims[0], "elements of ids");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], table->dims[1], "columns of table");
    return status;
}

static mlxn_status ref_gather(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *x = &args[0], *out = &args[2];
    size_t size = mlxn_dtype_size(x->dtype);
    for (uint64_t i = 0; i < out->dims[0]; i++) {
        int64_t row = (int64_t)mlxn_min_u64(mlxn_view_u32(&args[1], i), x->dims[0] - 1);
        for (uint64_t k = 0; k < out->dims[1]; k++)
            memcpy(
                (uint8_t *)out->data + ((int64_t)i * out->strides[0] + (int64_t)k * out->strides[1]) * (int64_t)size,
                (const uint8_t *)x->data + (row * x->strides[0] + (int64_t)k * x->strides[1]) * (int64_t)size, size);
    }
    return MLXN_OK;
}

static mlxn_status ref_embedding(const mlxn_view *args, const void *params) {
    const mlxn_embedding_params *p = params;
    const mlxn_weight_view *table = args[1].weight;
    const mlxn_view *out = &args[2];
    double scale = p->scale == 0 ? 1 : (double)p->scale;
    float *row = mlxn_alloc_array(table->cols, sizeof *row);
    if (!row) return MLXN_ERR_MEMORY;
    for (uint64_t t = 0; t < out->dims[0]; t++) {
        table->read_row(table, mlxn_min_u64(mlxn_view_u32(&args[0], t), table->rows - 1), row);
        for (uint64_t k = 0; k < table->cols; k++) mlxn_view_set(out, (uint64_t[]){t, k}, scale * (double)row[k]);
    }
    mlxn_free(row);
    return MLXN_OK;
}

static mlxn_cost cost_gather(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[2]) + (double)mlxn_view_bytes(&args[1]), 0};
}

static mlxn_cost cost_embedding(const mlxn_view *args, const void *params) {
    (void)params;
    double rows = (double)args[0].dims[0];
    double table = args[1].weight ? (double)mlxn_view_bytes(&args[1]) / (double)args[1].dims[0] : 0;
    return (mlxn_cost){rows * table + (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[2]),
                       (double)mlxn_view_elements(&args[2])};
}

static bool case_gather(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t rows, d, n;
    } shapes[] = {{1, 1, 1}, {5, 17, 9}, {49, 576, 1}, {100, 640, 33}, {7, 31, 2}, {64, 1536, 8}};
    static const mlxn_layout layouts[] = {MLXN_LAYOUT_CONTIGUOUS, MLXN_LAYOUT_GAPS, MLXN_LAYOUT_TRANSPOSED};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), 2, (uint64_t[]){shapes[s].rows, shapes[s].d});
    out->args[0].layout = layouts[layout];
    out->args[0].fill = s % 2 ? MLXN_FILL_BYTES : MLXN_FILL_NORMAL;
    out->args[1] = mlxn_case_tensor(MLXN_U32, 1, (uint64_t[]){shapes[s].n});
    out->args[1].fill = MLXN_FILL_INDEX;
    out->args[1].hi = (double)shapes[s].rows + 1; /* two past the end */
    out->args[1].layout = layout == 1 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2] = mlxn_case_tensor(mlxn_case_float(dtype), 2, (uint64_t[]){shapes[s].n, shapes[s].d});
    out->args[2].layout = layouts[(layout + 2) % 3];
    out->args[2].shift = layout;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 2);
    return true;
}

static bool case_embedding(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t rows, d, n;
    } shapes[] = {{49, 256, 1}, {100, 512, 7}, {33, 768, 2}, {17, 2048, 5}, {16, 1536, 33}, {100, 512, 200}};
    *out = (mlxn_case){0};
    uint32_t f = mlxn_case_digit(&i, MLXN_CASE_FORMATS), s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]);
    uint32_t layout = mlxn_case_digit(&i, 2);
    if (i) return false;
    uint64_t cols = shapes[s].d;
    if (s == 0)
        cols = mlxn_case_smallest_cols(mlxn_case_format(f)) == 1    ? 33
               : mlxn_case_smallest_cols(mlxn_case_format(f)) == 16 ? 48
                                                                    : cols;
    out->args[0] = mlxn_case_tensor(MLXN_U32, 1, (uint64_t[]){shapes[s].n});
    out->args[0].fill = MLXN_FILL_INDEX;
    out->args[0].hi = (double)shapes[s].rows + 2;
    out->args[1] = mlxn_case_weight(mlxn_case_format(f), shapes[s].rows, cols);
    out->args[2] = mlxn_case_tensor(MLXN_F32, 2, (uint64_t[]){shapes[s].n, cols});
    out->args[2].layout = layout ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[2].shift = layout;
    mlxn_embedding_params p = {layout ? 25.298221f : 0};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "table", 1);
    mlxn_case_name_arg(out, "out", 2);
    return true;
}

const mlxn_op_def mlxn_opdef_gather = {
    .name = "gather",
    .family = "gather",
    .doc =
        "out[i, :] = x[min(index[i], rows - 1), :]. x: [rows, D] f32/f16/bf16; index: [n] u32; out: [n, D], dtype "
        "of x.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"index", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, 2}},
    .check = check_gather,
    .ref = ref_gather,
    .cost = cost_gather,
    .make_case = case_gather,
};

const mlxn_op_def mlxn_opdef_embedding = {
    .name = "embedding",
    .family = "gather",
    .doc =
        "out[t, :] = scale * table[min(ids[t], rows - 1), :]. ids: [T] u32; table: weight [V, D]; out: [T, D] f32.",
    .n_args = 3,
    .args = {{"ids", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"table", MLXN_ROLE_IN, true, false, 0, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2}},
    .params_size = sizeof(mlxn_embedding_params),
    .params_type = "mlxn_embedding_params",
    .check = check_embedding,
    .ref = ref_embedding,
    .cost = cost_embedding,
    .make_case = case_embedding,
};
