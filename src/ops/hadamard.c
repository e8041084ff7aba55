/* hadamard.c: the normalised Walsh-Hadamard transform of rows, with the signs of TurboQuant before or after it. */
#include <math.h>
#include <mlxn/turboquant.h>

#include "ops/bound.h"
#include "ops/kv_rows.h"

enum { X, OUT, MAX_SIGNS = 8 * MLXN_TURBOQUANT_SIGN_BYTES, MAX_D = 1 << 16 };

static mlxn_status check_hadamard(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_hadamard_params *p = params;
    const mlxn_view *x = &args[X];
    uint64_t d = x->dims[x->rank - 1];
    mlxn_status status = mlxn_want_same_dims(error, "out", &args[OUT], "x", x);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[OUT], "x", x);
    if (status) return status;
    if (p->signs > MLXN_HADAMARD_SIGNS_LAST)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: signs is %u, want 0 to 2", p->signs);
    uint64_t most = p->signs ? (uint64_t)MAX_SIGNS : (uint64_t)MAX_D;
    if (d & (d - 1) || d > most)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: the last dim is %llu, want a power of two up to %llu",
                         (unsigned long long)d, (unsigned long long)most);
    return MLXN_OK;
}

/* H(i, j) = (-1)^(number of ones in i and j) / sqrt(D). */
static mlxn_status ref_hadamard(const mlxn_view *args, const void *params) {
    const mlxn_hadamard_params *p = params;
    const mlxn_view *x = &args[X];
    uint64_t d = x->dims[x->rank - 1], rows = mlxn_view_elements(x) / d, at[MLXN_MAX_RANK];
    double *in = mlxn_alloc_array(d * 2, sizeof *in), *y = in + d;
    if (!in) return MLXN_ERR_MEMORY;
    const uint8_t *signs = mlxn_turboquant_signs();
    for (uint64_t r = 0; r < rows; r++) {
        mlxn_view_unravel(x, r * d, at);
        for (uint64_t i = 0; i < d; i++) {
            at[x->rank - 1] = i;
            in[i] = mlxn_view_get(x, at);
            if (p->signs == MLXN_HADAMARD_SIGNS_FIRST && signs[i / 8] >> (i % 8) & 1) in[i] = -in[i];
        }
        for (uint64_t i = 0; i < d; i++) {
            y[i] = 0;
            for (uint64_t j = 0; j < d; j++) y[i] += __builtin_parityll(i & j) ? -in[j] : in[j];
            y[i] /= sqrt((double)d);
            if (p->signs == MLXN_HADAMARD_SIGNS_LAST && signs[i / 8] >> (i % 8) & 1) y[i] = -y[i];
        }
        for (uint64_t i = 0; i < d; i++) {
            at[x->rank - 1] = i;
            mlxn_view_set(&args[OUT], at, y[i]);
        }
    }
    mlxn_free(in);
    return MLXN_OK;
}

/* Every addition rounds a number no larger than the row is long (H is orthogonal), and so does the scale. */
static mlxn_status bound_hadamard(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *bound) {
    (void)params, (void)fast;
    const mlxn_view *out = &args[arg];
    uint64_t d = out->dims[out->rank - 1], rows = mlxn_view_elements(out) / d, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++) {
        double length = 0;
        for (uint64_t i = 0; i < d; i++) {
            mlxn_view_unravel(out, r * d + i, at);
            double y = mlxn_view_get(out, at);
            length += y * y;
            bound[r * d + i] = out->dtype == MLXN_F32 ? 0 : mlxn_bound_unit(out->dtype, y);
        }
        for (uint64_t i = 0; i < d; i++) bound[r * d + i] += MLXN_EPS * (log2((double)d) + 3) * sqrt(length) + 1e-40;
    }
    return MLXN_OK;
}

static mlxn_cost cost_hadamard(const mlxn_view *args, const void *params) {
    (void)params;
    double n = (double)mlxn_view_elements(&args[X]), d = (double)args[X].dims[args[X].rank - 1];
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[X]), n * log2(d)};
}

static bool case_hadamard(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t rows, heads, d;
        bool slow;
    } shapes[] = {{1, 9, 64, false},  {3, 4, 256, false}, {2, 1, 512, false},  {5, 3, 1, false},  {2, 2, 8, false},
                  {7, 2, 128, false}, {3, 3, 16, false},  {1, 2, 2048, false}, {1, 1, 8192, true}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, sizeof shapes / sizeof *shapes);
    uint32_t signs = mlxn_case_digit(&i, 3), layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    if (signs && shapes[s].d > MAX_SIGNS) signs = 0;
    out->args[X] =
        mlxn_case_tensor(mlxn_case_float(dtype), 3, (uint64_t[]){shapes[s].rows, shapes[s].heads, shapes[s].d});
    out->args[OUT] = out->args[X];
    out->args[X].layout = (mlxn_layout)layout;
    out->args[OUT].layout = layout == MLXN_LAYOUT_GAPS ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    out->args[X].shift = layout == MLXN_LAYOUT_OUTER ? 1 : 0;
    mlxn_hadamard_params p = {signs};
    memcpy(out->params, &p, sizeof p);
    out->slow = shapes[s].slow;
    mlxn_case_name_arg(out, "x", X);
    if (signs) mlxn_case_name(out, ", signs %s", signs == MLXN_HADAMARD_SIGNS_FIRST ? "first" : "last");
    return true;
}

const mlxn_op_def mlxn_opdef_hadamard = {
    .name = "hadamard",
    .family = "hadamard",
    .doc =
        "out = H x for every row, H the Walsh-Hadamard matrix in natural order over sqrt(D), its own inverse; with "
        "params.signs also s, the signs of the TurboQuant codec (turboquant.h), before or after it. x, out: same "
        "dims "
        "and dtype (f32, f16, bf16), sums in f32; D, the last dim, a power of two up to 65536, with signs up to 512. "
        "out may be x.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, 4},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, 4}},
    .params_size = sizeof(mlxn_hadamard_params),
    .params_type = "mlxn_hadamard_params",
    .check = check_hadamard,
    .ref = ref_hadamard,
    .bound = bound_hadamard,
    .cost = cost_hadamard,
    .make_case = case_hadamard,
    .inplace = 1u << X,
};
