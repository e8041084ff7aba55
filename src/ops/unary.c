/* unary.c: unary, the functions of one number, and unary_backward, their derivatives times an outer gradient. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static const double ln2 = 0.69314718055994530942, pi = 3.14159265358979323846;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double gelu_angle(double x) { return 0.7978845608028654 * (x + 0.044715 * x * x * x); }
static double clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

static double value(const mlxn_unary_params *p, double x) {
    double a = (double)p->a, b = (double)p->b, c = (double)p->c, d = (double)p->d;
    switch ((mlxn_unary_fn)p->fn) {
        case MLXN_UNARY_ABS:
            return fabs(x);
        case MLXN_UNARY_NEG:
            return -x;
        case MLXN_UNARY_SIGN:
            return x > 0 ? 1 : x < 0 ? -1 : x;
        case MLXN_UNARY_STEP:
            return x > 0;
        case MLXN_UNARY_SQUARE:
            return x * x;
        case MLXN_UNARY_SQRT:
            return sqrt(x);
        case MLXN_UNARY_RSQRT:
            return 1 / sqrt(x);
        case MLXN_UNARY_RECIPROCAL:
            return 1 / x;
        case MLXN_UNARY_EXP:
            return exp(x);
        case MLXN_UNARY_EXP2:
            return exp2(x);
        case MLXN_UNARY_EXPM1:
            return expm1(x);
        case MLXN_UNARY_LOG:
            return x == 0 ? -INFINITY : log(x);
        case MLXN_UNARY_LOG2:
            return x == 0 ? -INFINITY : log2(x);
        case MLXN_UNARY_LOG10:
            return x == 0 ? -INFINITY : log10(x);
        case MLXN_UNARY_LOG1P:
            return log1p(x);
        case MLXN_UNARY_SIN:
            return sin(x);
        case MLXN_UNARY_COS:
            return cos(x);
        case MLXN_UNARY_TANH:
            return tanh(x);
        case MLXN_UNARY_SIGMOID:
            return sigmoid(x);
        case MLXN_UNARY_ERF:
            return erf(x);
        case MLXN_UNARY_FLOOR:
            return floor(x);
        case MLXN_UNARY_CEIL:
            return ceil(x);
        case MLXN_UNARY_ROUND:
            return rint(x);
        case MLXN_UNARY_TRUNC:
            return trunc(x);
        case MLXN_UNARY_RELU:
            return x < 0 ? 0 : x;
        case MLXN_UNARY_LEAKY_RELU:
            return x > 0 ? x : a * x;
        case MLXN_UNARY_ELU:
            return x > 0 ? x : a * expm1(x);
        case MLXN_UNARY_SILU:
            return x * sigmoid(x);
        case MLXN_UNARY_GELU:
            return x / 2 * (1 + tanh(gelu_angle(x)));
        case MLXN_UNARY_GELU_ERF:
            return x / 2 * erfc(-x / sqrt(2));
        case MLXN_UNARY_GELU_QUICK:
            return x * sigmoid(1.702 * x);
        case MLXN_UNARY_HARDSWISH:
            return x * clamp((x + 3) / 6, 0, 1);
        case MLXN_UNARY_HARDSIGMOID:
            return clamp((x + 3) / 6, 0, 1);
        case MLXN_UNARY_SOFTPLUS:
            return x > 20 ? x : log1p(exp(x));
        case MLXN_UNARY_CLAMP:
            return clamp(x, a, b);
        case MLXN_UNARY_AFFINE:
            return a * x + b;
        default:
            return x > 0 ? a * x * x + c * x : b * (expm1(fmin(x, d)) - x) + c * x;
    }
}

/* At a corner, the side that PyTorch takes. */
static double slope(const mlxn_unary_params *p, double x) {
    double a = (double)p->a, b = (double)p->b, c = (double)p->c, d = (double)p->d, t;
    switch ((mlxn_unary_fn)p->fn) {
        case MLXN_UNARY_ABS:
            return x > 0 ? 1 : x < 0 ? -1 : x;
        case MLXN_UNARY_NEG:
            return -1;
        case MLXN_UNARY_SQUARE:
            return 2 * x;
        case MLXN_UNARY_SQRT:
            return 0.5 / sqrt(x);
        case MLXN_UNARY_RSQRT:
            return -0.5 / (x * sqrt(x));
        case MLXN_UNARY_RECIPROCAL:
            return -1 / (x * x);
        case MLXN_UNARY_EXP:
        case MLXN_UNARY_EXPM1:
            return exp(x);
        case MLXN_UNARY_EXP2:
            return ln2 * exp2(x);
        case MLXN_UNARY_LOG:
            return 1 / x;
        case MLXN_UNARY_LOG2:
            return 1 / (x * ln2);
        case MLXN_UNARY_LOG10:
            return 1 / (x * log(10));
        case MLXN_UNARY_LOG1P:
            return 1 / (1 + x);
        case MLXN_UNARY_SIN:
            return cos(x);
        case MLXN_UNARY_COS:
            return -sin(x);
        case MLXN_UNARY_TANH:
            t = tanh(x);
            return 1 - t * t;
        case MLXN_UNARY_SIGMOID:
            return sigmoid(x) * sigmoid(-x);
        case MLXN_UNARY_ERF:
            return 2 / sqrt(pi) * exp(-x * x);
        case MLXN_UNARY_RELU:
            return x > 0;
        case MLXN_UNARY_LEAKY_RELU:
            return x > 0 ? 1 : a;
        case MLXN_UNARY_ELU:
            return x > 0 ? 1 : a * exp(x);
        case MLXN_UNARY_SILU:
            t = sigmoid(x);
            return t * (1 + x * (1 - t));
        case MLXN_UNARY_GELU:
            t = tanh(gelu_angle(x));
            return (1 + t) / 2 + x / 2 * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
        case MLXN_UNARY_GELU_ERF:
            return erfc(-x / sqrt(2)) / 2 + x * exp(-x * x / 2) / sqrt(2 * pi);
        case MLXN_UNARY_GELU_QUICK:
            t = sigmoid(1.702 * x);
            return t * (1 + 1.702 * x * (1 - t));
        case MLXN_UNARY_HARDSWISH:
            return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
        case MLXN_UNARY_HARDSIGMOID:
            return x > -3 && x < 3 ? 1.0 / 6 : 0;
        case MLXN_UNARY_SOFTPLUS:
            return x > 20 ? 1 : sigmoid(x);
        case MLXN_UNARY_CLAMP:
            return x > a && x < b;
        case MLXN_UNARY_AFFINE:
            return a;
        case MLXN_UNARY_XIELU:
            return x > 0 ? 2 * a * x + c : b * ((x <= d ? exp(x) : 0) - 1) + c;
        default: /* sign, step and the roundings */
            return 0;
    }
}

static mlxn_status check_fn(const mlxn_unary_params *p, mlxn_error *error) {
    if (p->fn >= MLXN_UNARY_COUNT)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: fn is %u, want less than %d", p->fn, MLXN_UNARY_COUNT);
    if (p->fn == MLXN_UNARY_CLAMP && !(p->a <= p->b))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: a is %g, want at most b, %g", (double)p->a, (double)p->b);
    return MLXN_OK;
}

static mlxn_status check_unary(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_status status = mlxn_want_like(error, "out", &args[1], "x", &args[0]);
    return status ? status : check_fn(params, error);
}

static mlxn_status check_backward(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_status status = mlxn_want_like(error, "dy", &args[1], "x", &args[0]);
    if (!status) status = mlxn_want_like(error, "dx", &args[2], "x", &args[0]);
    return status ? status : check_fn(params, error);
}

static mlxn_status ref_unary(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[1]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[1], i, at);
        mlxn_view_set(&args[1], at, value(params, mlxn_view_get(&args[0], at)));
    }
    return MLXN_OK;
}

static mlxn_status ref_backward(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        mlxn_view_set(&args[2], at, slope(params, mlxn_view_get(&args[0], at)) * mlxn_view_get(&args[1], at));
    }
    return MLXN_OK;
}

/* Rounding units, each of `*relative` times the result or `*absolute` times 1, that a kernel of one function may be
 * off: a polynomial and a few steps of arithmetic; where terms cancel, units of the terms. */
static void units(const mlxn_unary_params *p, double x, double *relative, double *absolute) {
    double m = fabs(x), b = fabs((double)p->b), c = fabs((double)p->c);
    *relative = 16;
    *absolute = 0;
    switch ((mlxn_unary_fn)p->fn) {
        case MLXN_UNARY_SIN:
        case MLXN_UNARY_COS:
            *absolute = 8;
            break;
        case MLXN_UNARY_GELU:
        case MLXN_UNARY_GELU_ERF:
        case MLXN_UNARY_GELU_QUICK:
            *absolute = 8 * m;
            break;
        case MLXN_UNARY_HARDSWISH:
        case MLXN_UNARY_HARDSIGMOID:
            *absolute = 4 * (1 + m);
            break;
        case MLXN_UNARY_AFFINE:
            *absolute = 4 * (fabs((double)p->a) * m + b);
            break;
        case MLXN_UNARY_XIELU:
            *absolute = 8 * (b * (1 + m) + c * m);
            break;
        default:
            break;
    }
}

static bool rounds_once(uint32_t fn) {
    return fn <= MLXN_UNARY_STEP || (fn >= MLXN_UNARY_FLOOR && fn <= MLXN_UNARY_RELU) || fn == MLXN_UNARY_CLAMP;
}

/* Results below the smallest normal numbers may be flushed. */
static mlxn_status bound_unary(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    const mlxn_unary_params *p = params;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        double x = mlxn_view_get(&args[0], at), ref = mlxn_view_get(&args[arg], at), relative, absolute;
        units(p, x, &relative, &absolute);
        out[i] = rounds_once(p->fn) ? 0 : MLXN_EPS * (relative * fabs(ref) + absolute) + 1e-36 * (1 + fabs(x));
        if (!rounds_once(p->fn) && args[arg].dtype != MLXN_F32) out[i] += mlxn_bound_unit(args[arg].dtype, ref);
    }
    return MLXN_OK;
}

/* The slope within units of itself, and, for those that are sums, of 1 + |x|. */
static mlxn_status bound_backward(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    const mlxn_unary_params *p = params;
    bool sum =
        p->fn == MLXN_UNARY_SIN || p->fn == MLXN_UNARY_COS || p->fn == MLXN_UNARY_TANH || p->fn >= MLXN_UNARY_SILU;
    double scale = 1 + fabs((double)p->a) + fabs((double)p->b) + fabs((double)p->c);
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        double x = fabs(mlxn_view_get(&args[0], at)), dy = fabs(mlxn_view_get(&args[1], at));
        double ref = mlxn_view_get(&args[arg], at);
        /* e^(-x^2) takes the rounding of x^2 into its exponent */
        double relative = 24 + (p->fn == MLXN_UNARY_ERF ? 4 * x * x : 0);
        out[i] =
            MLXN_EPS * (relative * fabs(ref) + (sum ? 24 * scale * (1 + x) * dy : 0)) + 1e-36 * (1 + x) * (1 + dy);
        if (args[arg].dtype != MLXN_F32) out[i] += mlxn_bound_unit(args[arg].dtype, ref);
    }
    return MLXN_OK;
}

static mlxn_cost cost_map(const mlxn_view *args, uint32_t n_args) {
    double bytes = 0;
    for (uint32_t i = 0; i < n_args; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, 8 * (double)mlxn_view_elements(&args[n_args - 1])};
}
static mlxn_cost cost_unary(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_map(args, 2);
}
static mlxn_cost cost_backward(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_map(args, 3);
}

static void case_params(uint32_t fn, mlxn_case *out) {
    mlxn_unary_params p = {fn, 0.8f, 0.6f, 0.5f, -1e-6f};
    if (fn == MLXN_UNARY_CLAMP) p.a = -0.75f;
    if (fn == MLXN_UNARY_LEAKY_RELU) p.a = 0.01f;
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name(out, ", fn %u", fn);
}

/* Inputs from the range where the function lives; one case in four of special values, one far out. */
static void case_input(uint32_t fn, uint32_t kind, mlxn_case_arg *x) {
    bool positive =
        fn == MLXN_UNARY_SQRT || fn == MLXN_UNARY_RSQRT || (fn >= MLXN_UNARY_LOG && fn <= MLXN_UNARY_LOG10);
    x->fill = kind == 2 ? MLXN_FILL_SPECIAL : positive || kind == 3 ? MLXN_FILL_UNIFORM : MLXN_FILL_NORMAL;
    x->lo = positive ? 1e-3 : kind == 3 ? -90 : 0;
    x->hi = kind == 3 ? 90 : positive ? 9 : 2;
    if (kind == 2) x->lo = 0;
}

static const uint64_t case_dims[][3] = {{1, 1, 37}, {3, 5, 33}, {2, 7, 64}, {1, 3, 1040}};

static bool case_unary(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t fn = mlxn_case_digit(&i, MLXN_UNARY_COUNT), dtype = mlxn_case_digit(&i, 3),
             kind = mlxn_case_digit(&i, 5);
    if (i) return false;
    for (uint32_t k = 0; k < 2; k++) out->args[k] = mlxn_case_tensor(mlxn_case_float(dtype), 3, case_dims[kind % 4]);
    case_input(fn, kind, &out->args[0]);
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_INNER : kind == 4 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].layout = kind == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].shift = kind;
    mlxn_case_name_arg(out, "x", 0);
    case_params(fn, out);
    return true;
}

static bool case_backward(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t fn = mlxn_case_digit(&i, MLXN_UNARY_COUNT), dtype = mlxn_case_digit(&i, 3),
             kind = mlxn_case_digit(&i, 2);
    if (i) return false;
    for (uint32_t k = 0; k < 3; k++) out->args[k] = mlxn_case_tensor(mlxn_case_float(dtype), 3, case_dims[kind + 1]);
    case_input(fn, kind, &out->args[0]);
    out->args[0].layout = kind ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].layout = kind ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_case_name_arg(out, "x", 0);
    case_params(fn, out);
    return true;
}

const mlxn_op_def mlxn_opdef_unary = {
    .name = "unary",
    .family = "unary",
    .doc =
        "out = fn(x), elementwise, fn of mlxn_unary_fn. Same dims and dtype (f32, f16, bf16; computed in f32, "
        "rounded "
        "once). out may be x.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_unary_params),
    .params_type = "mlxn_unary_params",
    .check = check_unary,
    .ref = ref_unary,
    .bound = bound_unary,
    .cost = cost_unary,
    .make_case = case_unary,
    .inplace = 1u << 0,
};

const mlxn_op_def mlxn_opdef_unary_backward = {
    .name = "unary_backward",
    .family = "unary",
    .doc =
        "dx = dy * fn'(x), the gradient of unary with the same parameters; 0 for sign, step and the roundings. Same "
        "dims and dtype (f32, f16, bf16). dx may be x or dy.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"dy", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"dx", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_unary_params),
    .params_type = "mlxn_unary_params",
    .check = check_backward,
    .ref = ref_backward,
    .bound = bound_backward,
    .cost = cost_backward,
    .make_case = case_backward,
    .inplace = 1u << 0 | 1u << 1,
};
