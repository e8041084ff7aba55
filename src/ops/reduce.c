/* reduce.c: argmax and argmin of rows; reduce: sums, extremes and the like over the last axes. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static mlxn_status check_argmax(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_dim(error, "out", 0, args[1].dims[0], args[0].dims[0], "rows of x");
    if (!status && args[0].dims[1] > UINT32_MAX)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[1] is %llu, want at most %u (the index is u32)",
                           (unsigned long long)args[0].dims[1], UINT32_MAX);
    return status;
}

static mlxn_status extreme(const mlxn_view *args, bool most) {
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        uint64_t best = 0;
        double top = 0;
        bool any = false;
        for (uint64_t i = 0; i < args[0].dims[1]; i++) {
            double v = mlxn_view_get(&args[0], (uint64_t[]){r, i});
            if (v != v || (any && !(most ? v > top : v < top))) continue;
            best = i;
            top = v;
            any = true;
        }
        mlxn_view_set(&args[1], &r, (double)best);
    }
    return MLXN_OK;
}

static mlxn_status ref_argmax(const mlxn_view *args, const void *params) {
    (void)params;
    return extreme(args, true);
}

static mlxn_status ref_argmin(const mlxn_view *args, const void *params) {
    (void)params;
    return extreme(args, false);
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

const mlxn_op_def mlxn_opdef_argmin = {
    .name = "argmin",
    .family = "reduce",
    .doc = "out[r] = the lowest index of the smallest element of x[r, :]; rules of argmax.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_U32, 1, 1}},
    .check = check_argmax,
    .ref = ref_argmin,
    .cost = cost_argmax,
    .make_case = case_argmax,
};

/* --- reduce: one number from the last axes --- */

static uint32_t reduce_axes(const void *params) {
    uint32_t axes = ((const mlxn_reduce_params *)params)->axes;
    return axes ? axes : 1;
}

static mlxn_status check_reduce(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_reduce_params *p = params;
    const mlxn_view *x = &args[0], *out = &args[1];
    uint32_t axes = reduce_axes(params), rank = x->rank > axes ? x->rank - axes : 1;
    if (p->fn >= MLXN_REDUCE_COUNT)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: fn is %u, want less than %d", p->fn, MLXN_REDUCE_COUNT);
    if (axes > x->rank)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: axes is %u, want at most %u (rank of x)", axes, x->rank);
    if (p->fn == MLXN_REDUCE_RMS_INV && !(p->eps >= 0))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: eps is %g, want 0 or more", (double)p->eps);
    if (out->rank != rank)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "out: rank is %u, want %u (axes of x that stay)", out->rank, rank);
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; i < rank && !status; i++)
        status = mlxn_want_dim(error, "out", i, out->dims[i], axes == x->rank ? 1 : x->dims[i], "as x");
    if (!status && out->dtype != MLXN_F32) status = mlxn_want_same_dtype(error, "out", out, "x", x);
    return status;
}

typedef struct reduce_row {
    double sum, size, squares, product, most, least, deviation; /* size: sum of magnitudes */
    uint64_t n;
    bool nan;
} reduce_row;

/* All that any function needs, of the elements that fall to element r of the result. */
static reduce_row reduce_look(const mlxn_view *x, uint64_t n, uint64_t r) {
    reduce_row s = {.product = 1, .most = -INFINITY, .least = INFINITY, .n = n};
    uint64_t at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(x, r * n + i, at);
        double v = mlxn_view_get(x, at);
        s.nan = s.nan || isnan(v);
        s.sum += v;
        s.size += fabs(v);
        s.squares += v * v;
        s.product *= v;
        if (v > s.most) s.most = v;
        if (v < s.least) s.least = v;
    }
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(x, r * n + i, at);
        double off = mlxn_view_get(x, at) - s.sum / (double)n;
        s.deviation += off * off;
    }
    return s;
}

static double reduce_value(const mlxn_reduce_params *p, const mlxn_view *x, uint64_t n, uint64_t r) {
    reduce_row s = reduce_look(x, n, r);
    double count = (double)n, total = 0;
    uint64_t at[MLXN_MAX_RANK];
    switch ((mlxn_reduce_fn)p->fn) {
        case MLXN_REDUCE_SUM:
            return s.sum;
        case MLXN_REDUCE_MEAN:
            return s.sum / count;
        case MLXN_REDUCE_PROD:
            return s.product;
        case MLXN_REDUCE_MAX:
            return s.nan ? NAN : s.most;
        case MLXN_REDUCE_MIN:
            return s.nan ? NAN : s.least;
        case MLXN_REDUCE_SUM_SQUARES:
            return s.squares;
        case MLXN_REDUCE_NORM:
            return sqrt(s.squares);
        case MLXN_REDUCE_RMS_INV:
            return 1 / sqrt(s.squares / count + (double)p->eps);
        case MLXN_REDUCE_VARIANCE:
            return s.deviation / count;
        default:
            if (s.nan || isinf(s.most)) return s.nan ? NAN : s.most;
            for (uint64_t i = 0; i < n; i++) {
                mlxn_view_unravel(x, r * n + i, at);
                total += exp(mlxn_view_get(x, at) - s.most);
            }
            return s.most + log(total);
    }
}

static mlxn_status ref_reduce(const mlxn_view *args, const void *params) {
    uint64_t rows = mlxn_view_elements(&args[1]), n = mlxn_view_elements(&args[0]) / rows, at[MLXN_MAX_RANK];
    for (uint64_t r = 0; r < rows; r++) {
        mlxn_view_unravel(&args[1], r, at);
        mlxn_view_set(&args[1], at, reduce_value(params, &args[0], n, r));
    }
    return MLXN_OK;
}

/* A sum is as far off as its terms are large; a product by one rounding per factor; a logarithm by the relative error
 * of its argument. Maxima are exact. */
static mlxn_status bound_reduce(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    const mlxn_reduce_params *p = params;
    uint64_t rows = mlxn_view_elements(&args[arg]), n = mlxn_view_elements(&args[0]) / rows, at[MLXN_MAX_RANK];
    double count = (double)n, sum = mlxn_bound_sum(n) * MLXN_EPS;
    for (uint64_t r = 0; r < rows; r++) {
        reduce_row s = reduce_look(&args[0], n, r);
        mlxn_view_unravel(&args[arg], r, at);
        double ref = mlxn_view_get(&args[arg], at), mean = sum * s.size / count;
        switch ((mlxn_reduce_fn)p->fn) {
            case MLXN_REDUCE_SUM:
                out[r] = sum * s.size;
                break;
            case MLXN_REDUCE_MEAN:
                out[r] = mean + 2 * MLXN_EPS * fabs(ref);
                break;
            case MLXN_REDUCE_MAX:
            case MLXN_REDUCE_MIN:
                out[r] = 0;
                continue;
            case MLXN_REDUCE_VARIANCE:
                out[r] = 4 * sum * ref + 4 * mean * mean + 8 * MLXN_EPS * s.size / count * sqrt(fabs(ref));
                break;
            case MLXN_REDUCE_LOGSUMEXP:
                out[r] = sum + MLXN_EPS * (16 + 4 * fabs(ref));
                break;
            default: /* positive terms, or factors */
                out[r] = (sum + 4 * MLXN_EPS) * fabs(ref);
        }
        out[r] += 1e-37;
        if (args[arg].dtype != MLXN_F32) out[r] += mlxn_bound_unit(args[arg].dtype, ref);
    }
    return MLXN_OK;
}

static bool case_reduce(uint32_t i, mlxn_case *out) {
    static const struct {
        uint32_t rank, axes;
        uint64_t dims[4];
    } shapes[] = {{2, 1, {5, 33}},     {1, 0, {1}},           {2, 2, {7, 129}},
                  {3, 2, {3, 4, 17}},  {4, 1, {2, 3, 2, 64}}, {1, 1, {70001}},
                  {2, 1, {2, 140003}}, {4, 3, {2, 1, 5, 40}}, {2, 1, {300, 70}}};
    *out = (mlxn_case){0};
    uint32_t fn = mlxn_case_digit(&i, MLXN_REDUCE_COUNT), dtype = mlxn_case_digit(&i, 3);
    uint32_t s = mlxn_case_digit(&i, 9), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    uint32_t stay = shapes[s].rank - (shapes[s].axes ? shapes[s].axes : 1);
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    out->args[1] = mlxn_case_tensor(kind == 1 ? mlxn_case_float(dtype) : MLXN_F32, stay ? stay : 1,
                                    stay ? shapes[s].dims : (const uint64_t[]){1});
    static const mlxn_layout layouts[] = {MLXN_LAYOUT_CONTIGUOUS, MLXN_LAYOUT_GAPS, MLXN_LAYOUT_TRANSPOSED};
    out->args[0].layout = layouts[kind];
    out->args[0].shift = kind;
    if (fn == MLXN_REDUCE_PROD) {
        out->args[0].fill = MLXN_FILL_UNIFORM;
        out->args[0].lo = 0.999;
        out->args[0].hi = 1.001;
    } else if (kind == 1 && s % 2 == 0) {
        out->args[0].fill = MLXN_FILL_SPECIAL;
    } else {
        out->args[0].lo = kind == 2 ? 3 : 0;
        out->args[0].hi = 2;
    }
    out->slow = s >= 5 && s <= 6 && kind;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, " fn %u axes %u", fn, shapes[s].axes);
    mlxn_reduce_params p = {fn, shapes[s].axes, 1e-5f};
    memcpy(out->params, &p, sizeof p);
    return true;
}

const mlxn_op_def mlxn_opdef_reduce = {
    .name = "reduce",
    .family = "reduce",
    .doc =
        "out = fn of the elements of the last axes of x, fn of mlxn_reduce_fn; other axes by a view that has them "
        "last. x: f32, f16, bf16; out: f32 or the dtype of x, the dims of x that stay, or [1]. Sums are taken in f32 "
        "or better.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_reduce_params),
    .params_type = "mlxn_reduce_params",
    .check = check_reduce,
    .ref = ref_reduce,
    .bound = bound_reduce,
    .cost = cost_argmax,
    .make_case = case_reduce,
};
