/* matmul_id.c: expert-routed products: each row of x times the matrices of a stack that its ids name. */
#include "ops/case.h"

enum { X, W, IDS, BIAS, OUT };

static uint64_t slots_per_token(const mlxn_view *ids) { return ids->rank == 2 ? ids->dims[1] : 1; }

static mlxn_status check_matmul_id(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[X], *w = &args[W], *ids = &args[IDS], *bias = &args[BIAS], *out = &args[OUT];
    uint64_t tokens = ids->dims[0], slots = tokens * slots_per_token(ids);
    mlxn_status status = mlxn_want_dim(error, "w", 1, w->dims[1], x->dims[1], "last dim of x");
    if (!status && x->dims[0] != slots)
        status = mlxn_want_dim(error, "x", 0, x->dims[0], tokens, "rows of ids, or all elements of ids");
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], slots, "elements of ids");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], w->dims[0], "rows of w");
    if (!status && bias->present)
        status = mlxn_want_dim(error, "bias", 0, bias->dims[0], mlxn_weight_view_experts(w->weight), "matrices of w");
    if (!status && bias->present) status = mlxn_want_dim(error, "bias", 1, bias->dims[1], w->dims[0], "rows of w");
    return status;
}

/* Row `row` of a [rows, cols] view, as [1, cols] or, for a bias, [cols]. */
static mlxn_view row_of(const mlxn_view *view, uint64_t row, uint32_t rank) {
    mlxn_view r = *view;
    if (!view->present) return r;
    if (view->data)
        r.data = (uint8_t *)view->data + (int64_t)row * view->strides[0] * (int64_t)mlxn_dtype_size(view->dtype);
    r.dims[0] = 1;
    if (rank == 1) {
        r.dims[0] = view->dims[1];
        r.strides[0] = view->strides[1];
    }
    r.rank = rank;
    return r;
}

/* The product of one slot as the arguments of matmul; false if its id names no matrix. */
static bool slot_args(const mlxn_view *args, uint64_t slot, mlxn_weight_view *w, mlxn_view out[5]) {
    const mlxn_view *ids = &args[IDS];
    uint64_t k = slots_per_token(ids), at[] = {slot / k, slot % k};
    uint64_t expert = (uint64_t)mlxn_view_get(ids, at);
    if (expert >= mlxn_weight_view_experts(args[W].weight)) return false;
    *w = mlxn_weight_view_expert(args[W].weight, expert);
    out[0] = row_of(&args[X], args[X].dims[0] == ids->dims[0] ? slot / k : slot, 2);
    out[1] = args[W];
    out[1].weight = w;
    out[2] = row_of(&args[BIAS], expert, 1);
    out[3] = (mlxn_view){0};
    out[4] = row_of(&args[OUT], slot, 2);
    return true;
}

static mlxn_status ref_matmul_id(const mlxn_view *args, const void *params) {
    const mlxn_view *out = &args[OUT];
    mlxn_status status = MLXN_OK;
    for (uint64_t slot = 0; !status && slot < out->dims[0]; slot++) {
        mlxn_weight_view w;
        mlxn_view one[5];
        if (slot_args(args, slot, &w, one))
            status = mlxn_opdef_matmul.ref(one, params);
        else
            for (uint64_t j = 0; j < out->dims[1]; j++) mlxn_view_set(out, (uint64_t[]){slot, j}, 0);
    }
    return status;
}

/* That of each slot's product. */
static mlxn_status bound_matmul_id(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    uint64_t n = args[OUT].dims[1];
    mlxn_status status = MLXN_OK;
    for (uint64_t slot = 0; !status && slot < args[OUT].dims[0]; slot++) {
        mlxn_weight_view w;
        mlxn_view one[5];
        if (slot_args(args, slot, &w, one))
            status = mlxn_opdef_matmul.bound(one, params, fast, 4, out + slot * n);
        else
            memset(out + slot * n, 0, n * sizeof *out);
    }
    return status;
}

/* Bytes: of as many matrices as there can be, since the ids are not known. */
static mlxn_cost cost_matmul_id(const mlxn_view *args, const void *params) {
    (void)params;
    double slots = (double)args[OUT].dims[0], n = (double)args[OUT].dims[1], k = (double)args[X].dims[1];
    double experts = args[W].weight ? (double)mlxn_weight_view_experts(args[W].weight) : 1;
    double matrices = slots < experts ? slots : experts;
    double bytes = (double)mlxn_view_bytes(&args[W]) * matrices / experts;
    for (uint32_t i = X; i <= OUT; i++)
        if (i != W) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, 2 * slots * n * k};
}

static const struct {
    uint64_t tokens, top, experts, n, k;
    bool slow;
} shapes[] = {
    {1, 1, 1, 5, 32, false},    {1, 2, 4, 33, 64, false},    {1, 8, 16, 40, 256, false},  {3, 2, 5, 17, 96, false},
    {7, 3, 3, 64, 256, false},  {9, 1, 4, 48, 512, false},   {17, 4, 8, 31, 256, false},  {40, 2, 3, 20, 640, false},
    {64, 6, 5, 35, 256, false}, {33, 1, 1, 16, 1024, false}, {130, 2, 2, 18, 256, false}, {1, 8, 32, 256, 1536, true},
    {300, 4, 8, 64, 512, true}, {5, 2, 4, 130, 768, false},  {6, 3, 4, 19, 48, false},
};

static bool case_matmul_id(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t number = i;
    mlxn_format format = mlxn_case_format(mlxn_case_digit(&i, MLXN_CASE_FORMATS));
    uint32_t s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]), variant = mlxn_case_digit(&i, 2);
    if (i) return false;
    uint64_t block = mlxn_case_smallest_cols(format), k = (shapes[s].k + block - 1) / block * block;
    uint64_t tokens = shapes[s].tokens, top = shapes[s].top, n = shapes[s].n, slots = tokens * top;
    /* Variant 0: plain. 1: a row of x for each slot, half activations, bias, views. */
    out->args[X] =
        mlxn_case_tensor(variant ? mlxn_case_float(number) : MLXN_F32, 2, (uint64_t[]){variant ? slots : tokens, k});
    out->args[W] = mlxn_case_weight(format, n, k);
    out->args[W].experts = shapes[s].experts;
    out->args[IDS] = mlxn_case_tensor(MLXN_U32, top == 1 && variant ? 1 : 2, (uint64_t[]){tokens, top});
    out->args[IDS].fill = MLXN_FILL_INDEX;
    out->args[IDS].hi = (double)shapes[s].experts; /* one past the last matrix */
    if (slots == 1) out->args[IDS].hi = 0;
    out->args[OUT] = mlxn_case_tensor(MLXN_F32, 2, (uint64_t[]){slots, n});
    if (variant) {
        out->args[BIAS] = mlxn_case_tensor(MLXN_F32, 2, (uint64_t[]){shapes[s].experts, n});
        out->args[BIAS].layout = MLXN_LAYOUT_GAPS;
        out->args[BIAS].shift = 1;
        out->args[X].layout = s % 5 == 4 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_GAPS;
        out->args[X].hi = 30;
        out->args[OUT].layout = s % 5 == 3 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_GAPS;
        out->args[OUT].shift = 3;
        out->args[IDS].layout = MLXN_LAYOUT_GAPS;
    }
    out->slow = shapes[s].slow;
    mlxn_case_name_arg(out, "x", X);
    mlxn_case_name_arg(out, "w", W);
    mlxn_case_name_arg(out, "ids", IDS);
    if (variant) mlxn_case_name(out, ", bias");
    mlxn_case_name_arg(out, NULL, OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_matmul_id = {
    .name = "matmul_id",
    .family = "matmul_id",
    .doc =
        "Products with matrices chosen per token: with slot s = t * k + j, out[s, n] = sum_c x[row, c] * "
        "w[ids[t, j]][n, c] + bias[ids[t, j], n], where row is t if x has T rows, and s if it has T * k. A slot "
        "whose id names no matrix gives zeros. x: [T or T * k, K] f32/f16/bf16; w: stack of E weights [N, K]; ids: "
        "[T, k] or [T] u32; bias: optional [E, N] f32; out: [T * k, N] f32. Slots are sorted by matrix, so that "
        "each is read once. Precision as in matmul.",
    .n_args = 5,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"w", MLXN_ROLE_IN, true, false, 0, 2, 2},
             {"ids", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 2},
             {"bias", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2}},
    .check = check_matmul_id,
    .ref = ref_matmul_id,
    .bound = bound_matmul_id,
    .cost = cost_matmul_id,
    .make_case = case_matmul_id,
};
