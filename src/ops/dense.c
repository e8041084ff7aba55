/* dense.c: products of two tensors, with batches: attention scores of small models, towers, heads, and the products
 * of the backward pass, whose operands are transposed views. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

enum { A, B, OUT };

static mlxn_status check_dense_matmul(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *a = &args[A], *b = &args[B], *out = &args[OUT];
    uint32_t r = a->rank;
    if (b->rank != r || out->rank != r) {
        const mlxn_view *wrong = b->rank != r ? b : out;
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: rank is %u, want %u (as a)", wrong == b ? "b" : "out",
                         wrong->rank, r);
    }
    mlxn_status status = mlxn_want_dim(error, "b", r - 1, b->dims[r - 1], a->dims[r - 1], "last dim of a");
    if (!status) status = mlxn_want_dim(error, "out", r - 2, out->dims[r - 2], a->dims[r - 2], "rows of a");
    if (!status) status = mlxn_want_dim(error, "out", r - 1, out->dims[r - 1], b->dims[r - 2], "rows of b");
    for (uint32_t i = 0; !status && i + 2 < r; i++) {
        if (a->dims[i] % b->dims[i])
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "b: dim[%u] is %llu, want a divisor of %llu (as a)", i,
                             (unsigned long long)b->dims[i], (unsigned long long)a->dims[i]);
        status = mlxn_want_dim(error, "out", i, out->dims[i], a->dims[i], "as a");
    }
    return status;
}

/* The matrices of batch number `batch`, as rank-2 views. */
static void matrices(const mlxn_view *args, uint64_t batch, mlxn_view out[3]) {
    uint32_t r = args[A].rank;
    for (int i = A; i <= OUT; i++) out[i] = args[i];
    int64_t at[3] = {0};
    for (uint32_t d = r - 2; d-- > 0;) {
        uint64_t index = batch % args[A].dims[d];
        batch /= args[A].dims[d];
        for (int i = A; i <= OUT; i++)
            at[i] += (int64_t)(i == B ? index / (args[A].dims[d] / args[B].dims[d]) : index) * args[i].strides[d];
    }
    for (int i = A; i <= OUT; i++) {
        out[i].rank = 2;
        for (int k = 0; k < 2; k++) {
            out[i].dims[k] = args[i].dims[r - 2 + (uint32_t)k];
            out[i].strides[k] = args[i].strides[r - 2 + (uint32_t)k];
        }
        out[i].data = (uint8_t *)args[i].data + at[i] * (int64_t)mlxn_dtype_size(args[i].dtype);
    }
}

static uint64_t batches(const mlxn_view *a) {
    uint64_t n = 1;
    for (uint32_t d = 0; d + 2 < a->rank; d++) n *= a->dims[d];
    return n;
}

static mlxn_status ref_dense_matmul(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t n = batches(&args[A]);
    for (uint64_t batch = 0; batch < n; batch++) {
        mlxn_view v[3];
        matrices(args, batch, v);
        for (uint64_t i = 0; i < v[OUT].dims[0]; i++)
            for (uint64_t j = 0; j < v[OUT].dims[1]; j++) {
                double sum = 0;
                for (uint64_t k = 0; k < v[A].dims[1]; k++)
                    sum += mlxn_view_get(&v[A], (uint64_t[]){i, k}) * mlxn_view_get(&v[B], (uint64_t[]){j, k});
                mlxn_view_set(&v[OUT], (uint64_t[]){i, j}, sum);
            }
    }
    return MLXN_OK;
}

/* Products are exact or rounded once, sums are binary32 chains, and the result is rounded to its dtype. */
static mlxn_status bound_dense_matmul(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                      double *out) {
    (void)params, (void)fast, (void)arg;
    uint64_t n = batches(&args[A]), at = 0;
    for (uint64_t batch = 0; batch < n; batch++) {
        mlxn_view v[3];
        matrices(args, batch, v);
        for (uint64_t i = 0; i < v[OUT].dims[0]; i++)
            for (uint64_t j = 0; j < v[OUT].dims[1]; j++, at++) {
                double size = 0;
                for (uint64_t k = 0; k < v[A].dims[1]; k++)
                    size += fabs(mlxn_view_get(&v[A], (uint64_t[]){i, k}) * mlxn_view_get(&v[B], (uint64_t[]){j, k}));
                double limit = MLXN_EPS * mlxn_bound_sum(v[A].dims[1]) * size;
                double value = mlxn_view_get(&v[OUT], (uint64_t[]){i, j});
                out[at] = limit + mlxn_bound_unit(v[OUT].dtype, fabs(value) + limit);
            }
    }
    return MLXN_OK;
}

static mlxn_cost cost_dense_matmul(const mlxn_view *args, const void *params) {
    (void)params;
    double bytes = 0;
    for (int i = A; i <= OUT; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, 2 * (double)mlxn_view_elements(&args[OUT]) * (double)args[A].dims[args[A].rank - 1]};
}

static const struct {
    uint32_t rank;
    uint64_t batch[2], batch_b[2], m, n, k;
    bool slow;
} shapes[] = {
    {2, {1, 1}, {1, 1}, 1, 1, 1, false},      {2, {1, 1}, {1, 1}, 1, 33, 65, false},
    {2, {1, 1}, {1, 1}, 5, 17, 31, false},    {2, {1, 1}, {1, 1}, 33, 100, 127, false},
    {2, {1, 1}, {1, 1}, 7, 64, 576, false},   {3, {4, 1}, {2, 1}, 3, 20, 64, false},
    {3, {6, 1}, {1, 1}, 9, 16, 40, false},    {4, {2, 4}, {2, 2}, 5, 13, 64, false},
    {4, {3, 2}, {1, 2}, 8, 65, 128, false},   {2, {1, 1}, {1, 1}, 129, 70, 200, false},
    {2, {1, 1}, {1, 1}, 64, 256, 576, true},  {3, {3, 1}, {3, 1}, 17, 48, 33, false},
    {2, {1, 1}, {1, 1}, 4, 300, 1030, false},
};

static bool case_dense_matmul(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtypes = mlxn_case_digit(&i, 9), s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]);
    uint32_t variant = mlxn_case_digit(&i, 4);
    if (i) return false;
    uint32_t r = shapes[s].rank;
    for (int arg = A; arg <= OUT; arg++) {
        uint64_t dims[4];
        const uint64_t *batch = arg == B ? shapes[s].batch_b : shapes[s].batch;
        for (uint32_t d = 0; d + 2 < r; d++) dims[d] = batch[d];
        dims[r - 2] = arg == B ? shapes[s].n : shapes[s].m;
        dims[r - 1] = arg == OUT ? shapes[s].n : shapes[s].k;
        uint32_t dtype = arg == A ? dtypes % 3 : arg == B ? dtypes / 3 : (dtypes + variant) % 3;
        out->args[arg] = mlxn_case_tensor(mlxn_case_float(variant ? dtype : arg == OUT ? 0 : dtype), r, dims);
    }
    /* Variant 0: plain. 1: gaps and offsets. 2: transposed operands, as in a backward pass. 3: strided everywhere. */
    if (variant == 1) {
        out->args[A].layout = out->args[B].layout = out->args[OUT].layout = MLXN_LAYOUT_GAPS;
        out->args[A].shift = out->args[OUT].shift = 1;
        out->args[B].hi = 20;
    }
    if (variant == 2) {
        out->args[A].layout = s % 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
        out->args[B].layout = MLXN_LAYOUT_TRANSPOSED;
    }
    if (variant == 3) {
        out->args[A].layout = MLXN_LAYOUT_INNER;
        out->args[B].layout = MLXN_LAYOUT_INNER;
        out->args[OUT].layout = s % 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_INNER;
        out->args[B].shift = 3;
    }
    out->slow = shapes[s].slow;
    mlxn_case_name_arg(out, "a", A);
    mlxn_case_name_arg(out, "b", B);
    mlxn_case_name_arg(out, "out", OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_dense_matmul = {
    .name = "dense_matmul",
    .family = "dense",
    .doc =
        "out[..., m, n] = sum_k a[..., m, k] * b[..., n, k]: rows of both, like matmul with a tensor for a weight; "
        "for "
        "a b of [K, N] pass its transposed view. a: [..., M, K], b: [..., N, K], out: [..., M, N], each f32/f16/bf16 "
        "and of the same rank, 2 to 4. A leading dim of b divides that of a: each of its matrices serves that many "
        "of a's in a row. Sums are binary32; the result is rounded once. With dy the gradient of out, da = "
        "dense_matmul(dy, b transposed) and db = dense_matmul(dy transposed, a transposed).",
    .n_args = 3,
    .args = {{"a", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 4},
             {"b", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 4},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, 4}},
    .check = check_dense_matmul,
    .ref = ref_dense_matmul,
    .bound = bound_dense_matmul,
    .cost = cost_dense_matmul,
    .make_case = case_dense_matmul,
};
