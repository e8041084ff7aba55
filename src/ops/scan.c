/* scan.c: scan: running sums, products, extremes and logarithms of sums of exponentials along the last axis. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_scan(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_scan_params *p = params;
    mlxn_status status = mlxn_want_like(error, "out", &args[1], "x", &args[0]);
    if (!status && p->fn >= MLXN_SCAN_COUNT)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: fn is %u, want less than %d", p->fn, MLXN_SCAN_COUNT);
    return status;
}

/* logsumexp keeps the largest exponent so far apart from the sum of the others relative to it. */
typedef struct scan_state {
    double value, sum;
} scan_state;

static scan_state neutral(uint32_t fn) {
    static const double first[] = {0, 1, -INFINITY, INFINITY, -INFINITY};
    return (scan_state){first[fn], 0};
}

static double state_value(uint32_t fn, const scan_state *s) {
    return fn == MLXN_SCAN_LOGSUMEXP && isfinite(s->value) ? s->value + log(s->sum) : s->value;
}

static void step(uint32_t fn, scan_state *s, double x) {
    switch ((mlxn_scan_fn)fn) {
        case MLXN_SCAN_SUM:
            s->value += x;
            break;
        case MLXN_SCAN_PROD:
            s->value *= x;
            break;
        case MLXN_SCAN_MAX:
            if (isnan(x) || x > s->value) s->value = isnan(s->value) ? s->value : x;
            break;
        case MLXN_SCAN_MIN:
            if (isnan(x) || x < s->value) s->value = isnan(s->value) ? s->value : x;
            break;
        default:
            if (isnan(x) || isnan(s->value) || x == INFINITY) {
                s->value = isnan(s->value) ? s->value : x;
            } else if (x > s->value) {
                s->sum = s->sum * exp(s->value - x) + 1;
                s->value = x;
            } else if (isfinite(s->value)) {
                s->sum += exp(x - s->value);
            }
    }
}

static mlxn_status ref_scan(const mlxn_view *args, const void *params) {
    const mlxn_scan_params *p = params;
    uint64_t n = args[0].dims[args[0].rank - 1], rows = mlxn_view_elements(&args[0]) / n, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++) {
        scan_state s = neutral(p->fn);
        for (uint64_t i = 0; i < n; i++) {
            mlxn_view_unravel(&args[0], r * n + (p->reverse ? n - 1 - i : i), at);
            double x = mlxn_view_get(&args[0], at);
            if (!p->exclusive) step(p->fn, &s, x);
            mlxn_view_set(&args[1], at, state_value(p->fn, &s));
            if (p->exclusive) step(p->fn, &s, x);
        }
    }
    return MLXN_OK;
}

/* Kernels keep the running value in double, as the reference does, and add in the same order. A logarithm may be off
 * by a unit of its own. */
static mlxn_status bound_scan(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    bool exact = ((const mlxn_scan_params *)params)->fn != MLXN_SCAN_LOGSUMEXP;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        double ref = mlxn_view_get(&args[arg], at);
        out[i] = exact ? 0 : MLXN_EPS * (fabs(ref) + 1);
        if (args[arg].dtype != MLXN_F32) out[i] += mlxn_bound_unit(args[arg].dtype, ref);
    }
    return MLXN_OK;
}

static mlxn_cost cost_scan(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[0]), (double)mlxn_view_elements(&args[0])};
}

static bool case_scan(uint32_t i, mlxn_case *out) {
    static const struct {
        uint32_t rank;
        uint64_t dims[4];
    } shapes[] = {{1, {1}}, {2, {5, 33}}, {3, {2, 3, 64}}, {2, {2, 9000}}, {4, {2, 2, 3, 17}}};
    *out = (mlxn_case){0};
    uint32_t fn = mlxn_case_digit(&i, MLXN_SCAN_COUNT), dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5);
    uint32_t way = mlxn_case_digit(&i, 4);
    if (i) return false;
    for (uint32_t k = 0; k < 2; k++)
        out->args[k] = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    out->args[0].layout = way == 1 ? MLXN_LAYOUT_INNER : way == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].layout = way == 3 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].shift = way;
    if (s == 1) out->args[0].fill = MLXN_FILL_SPECIAL;
    if (fn == MLXN_SCAN_PROD) {
        out->args[0].fill = MLXN_FILL_UNIFORM;
        out->args[0].lo = 0.99;
        out->args[0].hi = 1.01;
    }
    mlxn_scan_params p = {fn, way & 1, way >> 1};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, " fn %u%s%s", fn, p.reverse ? " reverse" : "", p.exclusive ? " exclusive" : "");
    return true;
}

const mlxn_op_def mlxn_opdef_scan = {
    .name = "scan",
    .family = "scan",
    .doc =
        "out[.., j] = fn of x[.., 0 to j], fn of mlxn_scan_fn, along the last axis, of any length. Same dims and "
        "dtype (f32, f16, bf16); the running value is a double. out may be x.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_scan_params),
    .params_type = "mlxn_scan_params",
    .check = check_scan,
    .ref = ref_scan,
    .bound = bound_scan,
    .cost = cost_scan,
    .make_case = case_scan,
    .inplace = 1u << 0,
};
