/* Promise: another name of an operation does what its row says: for every name whose row names a function ("fn ..."),
 * the call with that function gives, on the device, what the name means in C's mathematics. No name is left out by
 * the programs of ops_alias_walk.h. */
#include "ops_alias_walk.h"

enum { N = 24 };

/* What the names mean; the formulas are those of op_params.h. */
static double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
static double step(double x) { return x > 0; }
static double square(double x) { return x * x; }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double reciprocal(double x) { return 1 / x; }
static double negate(double x) { return -x; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double clamp(double x) { return fmin(fmax(x, 0.75), 1.5); }
static double add1(double x) { return 0.75 + x; }
static double relu(double x) { return fmax(x, 0); }
static double leaky(double x) { return x > 0 ? x : 0.75 * x; }
static double elu(double x) { return x > 0 ? x : 0.75 * expm1(x); }
static double silu(double x) { return x * sigmoid(x); }
static double gelu(double x) { return x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }
static double gelu_erf(double x) { return x / 2 * (1 + erf(x * 0.7071067811865476)); }
static double gelu_quick(double x) { return x * sigmoid(1.702 * x); }
static double hardsigmoid(double x) { return fmin(fmax((x + 3) / 6, 0), 1); }
static double hardswish(double x) { return x * hardsigmoid(x); }
static double softplus(double x) { return log1p(exp(x)); }
static double xielu(double x) { /* a = 0.75, b = 1.5, c = 0.5, d = -1e-6 */
    return x > 0 ? 0.75 * x * x + 0.5 * x : 1.5 * (expm1(fmin(x, -1e-6)) - x) + 0.5 * x;
}

static const struct {
    const char *name, *fn;
    uint32_t value;
    double (*meaning)(double);
    bool positive; /* defined above 0 only */
} unaries[] = {
    {"log", "LOG", MLXN_UNARY_LOG, log, true},
    {"neg", "NEG", MLXN_UNARY_NEG, negate, false},
    {"abs", "ABS", MLXN_UNARY_ABS, fabs, false},
    {"sign", "SIGN", MLXN_UNARY_SIGN, sign, false},
    {"step", "STEP", MLXN_UNARY_STEP, step, false},
    {"square", "SQUARE", MLXN_UNARY_SQUARE, square, false},
    {"sqrt", "SQRT", MLXN_UNARY_SQRT, sqrt, true},
    {"rsqrt", "RSQRT", MLXN_UNARY_RSQRT, rsqrt, true},
    {"reciprocal", "RECIPROCAL", MLXN_UNARY_RECIPROCAL, reciprocal, true},
    {"exp", "EXP", MLXN_UNARY_EXP, exp, false},
    {"expm1", "EXPM1", MLXN_UNARY_EXPM1, expm1, false},
    {"log1p", "LOG1P", MLXN_UNARY_LOG1P, log1p, true},
    {"sin", "SIN", MLXN_UNARY_SIN, sin, false},
    {"cos", "COS", MLXN_UNARY_COS, cos, false},
    {"tanh", "TANH", MLXN_UNARY_TANH, tanh, false},
    {"sigmoid", "SIGMOID", MLXN_UNARY_SIGMOID, sigmoid, false},
    {"erf", "ERF", MLXN_UNARY_ERF, erf, false},
    {"floor", "FLOOR", MLXN_UNARY_FLOOR, floor, false},
    {"ceil", "CEIL", MLXN_UNARY_CEIL, ceil, false},
    {"round", "ROUND", MLXN_UNARY_ROUND, rint, false},
    {"trunc", "TRUNC", MLXN_UNARY_TRUNC, trunc, false},
    {"clamp", "CLAMP", MLXN_UNARY_CLAMP, clamp, false},
    {"relu", "RELU", MLXN_UNARY_RELU, relu, false},
    {"leaky_relu", "LEAKY_RELU", MLXN_UNARY_LEAKY_RELU, leaky, false},
    {"elu", "ELU", MLXN_UNARY_ELU, elu, false},
    {"gelu_erf", "GELU_ERF", MLXN_UNARY_GELU_ERF, gelu_erf, false},
    {"gelu_quick", "GELU_QUICK", MLXN_UNARY_GELU_QUICK, gelu_quick, false},
    {"hardswish", "HARDSWISH", MLXN_UNARY_HARDSWISH, hardswish, false},
    {"hardsigmoid", "HARDSIGMOID", MLXN_UNARY_HARDSIGMOID, hardsigmoid, false},
    {"softplus", "SOFTPLUS", MLXN_UNARY_SOFTPLUS, softplus, false},
    {"xielu", "XIELU", MLXN_UNARY_XIELU, xielu, false},
    {"add1", "AFFINE", MLXN_UNARY_AFFINE, add1, false},
};

static double minus(double a, double b) { return a - b; }
static double divide(double a, double b) { return a / b; }
static double plus(double a, double b) { return a + b; }
static double times(double a, double b) { return a * b; }
static double gated_sigmoid(double g, double u) { return sigmoid(g) * u; }
static double gated_relu(double g, double u) { return relu(g) * u; }
static double gated_gelu(double g, double u) { return gelu(g) * u; }
static double gated_erf(double g, double u) { return gelu_erf(g) * u; }
static double gated_quick(double g, double u) { return gelu_quick(g) * u; }
static double gated_silu(double g, double u) { return silu(g) * u; }
static double gated_clamped(double g, double u) { /* alpha 1.5, limit 1 */
    double a = fmin(g, 1);
    return a * sigmoid(1.5 * a) * (fmin(fmax(u, -1), 1) + 1);
}

static const struct {
    const char *name, *fn;
    uint32_t value;
    double (*meaning)(double, double);
    bool glu;
} pairs[] = {
    {"sub", "SUB", MLXN_BINARY_SUB, minus, false},
    {"div", "DIV", MLXN_BINARY_DIV, divide, false},
    {"divide", "DIV", MLXN_BINARY_DIV, divide, false},
    {"minimum", "MIN", MLXN_BINARY_MIN, fmin, false},
    {"maximum", "MAX", MLXN_BINARY_MAX, fmax, false},
    {"pow", "POW", MLXN_BINARY_POW, pow, false},
    {"add_row_bias", "ADD", MLXN_BINARY_ADD, plus, false},
    {"acc", "ADD", MLXN_BINARY_ADD, plus, false},
    {"outer product", "MUL", MLXN_BINARY_MUL, times, false},
    {"gradient clipping", "MUL", MLXN_BINARY_MUL, times, false},
    {"sigmoid_mul", "SIGMOID", MLXN_GLU_SIGMOID, gated_sigmoid, true},
    {"reglu", "RELU", MLXN_GLU_RELU, gated_relu, true},
    {"geglu", "GELU", MLXN_GLU_GELU, gated_gelu, true},
    {"geglu_erf", "GELU_ERF", MLXN_GLU_GELU_ERF, gated_erf, true},
    {"geglu_quick", "GELU_QUICK", MLXN_GLU_GELU_QUICK, gated_quick, true},
    {"swiglu", "SILU", MLXN_GLU_SILU, gated_silu, true},
    {"swiglu_oai", "SILU_CLAMPED", MLXN_GLU_SILU_CLAMPED, gated_clamped, true},
};

/* Whether a row's words begin with "fn NAME". */
static bool names_fn(const char *how, const char *fn) {
    size_t n = strlen(fn);
    return !strncmp(how, "fn ", 3) && !strncmp(how + 3, fn, n) && (!how[3 + n] || strchr(",; ", how[3 + n]));
}

static void compare(const char *name, float got, double want) {
    CHECK(fabs((double)got - want) <= 1e-5 * (1 + fabs(want)), "%s gives %.9g, want %.9g", name, (double)got, want);
}

static void test_unary(const mlxn_op_alias_info *alias) {
    size_t c = 0, count = sizeof unaries / sizeof *unaries;
    while (c < count && strcmp(unaries[c].name, alias->name)) c++;
    CHECK(c < count, "%s has no meaning here", alias->name);
    if (c == count) return;
    CHECK(names_fn(alias->how, unaries[c].fn), "%s: %s", alias->name, alias->how);
    mlxn_tensor x = row(MLXN_F32, N), out = row(MLXN_F32, N);
    for (int i = 0; i < N; i++) f(x)[i] = (float)(unaries[c].positive ? i + 1 : i - 12) * 0.3f + 0.05f;
    mlxn_unary_params p = {unaries[c].value, 0.75f, 1.5f, 0.5f, -1e-6f};
    if (unaries[c].value == MLXN_UNARY_AFFINE) p.a = 1, p.b = 0.75f; /* "a = 1" */
    mlxn_unary(encoder, x, out, &p);
    run(alias->name);
    for (int i = 0; i < N; i++) compare(alias->name, f(out)[i], unaries[c].meaning((double)f(x)[i]));
}

static void test_pair(const mlxn_op_alias_info *alias, bool glu) {
    size_t c = 0, count = sizeof pairs / sizeof *pairs;
    while (c < count && (pairs[c].glu != glu || strcmp(pairs[c].name, alias->name))) c++;
    CHECK(c < count, "%s has no meaning here", alias->name);
    if (c == count) return;
    CHECK(names_fn(alias->how, pairs[c].fn), "%s: %s", alias->name, alias->how);
    mlxn_tensor a = row(MLXN_F32, N), b = row(MLXN_F32, N), out = row(MLXN_F32, N);
    for (int i = 0; i < N; i++) f(a)[i] = (float)(i + 1) * 0.15f, f(b)[i] = (float)((i * 7) % 11 - 5) * 0.4f + 0.1f;
    mlxn_binary_params p = {pairs[c].value};
    mlxn_glu_params g = {pairs[c].value, 1.5f, 1};
    if (glu)
        mlxn_glu(encoder, a, b, out, &g);
    else
        mlxn_binary(encoder, a, b, out, &p);
    run(alias->name);
    for (int i = 0; i < N; i++) compare(alias->name, f(out)[i], pairs[c].meaning((double)f(a)[i], (double)f(b)[i]));
}

/* ---- rows to numbers, rows to rows ---- */

enum { ROWS = 3 };

static double all_of(const float *x, uint32_t n, double start, double (*fn)(double, double)) {
    for (uint32_t i = 0; i < n; i++) start = fn(start, (double)x[i]);
    return start;
}
static double log_add(double a, double b) { return fmax(a, b) + log1p(exp(-fabs(a - b))); }
static double sum_of(const float *x, uint32_t n) { return all_of(x, n, 0, plus); }
static double mean_of(const float *x, uint32_t n) { return sum_of(x, n) / n; }
static double prod_of(const float *x, uint32_t n) { return all_of(x, n, 1, times); }
static double max_of(const float *x, uint32_t n) { return all_of(x, n, -INFINITY, fmax); }
static double min_of(const float *x, uint32_t n) { return all_of(x, n, INFINITY, fmin); }
static double logsumexp_of(const float *x, uint32_t n) { return all_of(x + 1, n - 1, (double)x[0], log_add); }
static double rms_inv_of(const float *x, uint32_t n) {
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    return 1 / sqrt(squares / n + 0.125);
}

static const struct {
    const char *name, *fn;
    uint32_t value;
    double (*meaning)(const float *, uint32_t);
    bool scan; /* of the first j elements for every j */
} rows_of[] = {
    {"row_sum", "SUM", MLXN_REDUCE_SUM, sum_of, false},
    {"sum", "SUM", MLXN_REDUCE_SUM, sum_of, false},
    {"mean", "MEAN", MLXN_REDUCE_MEAN, mean_of, false},
    {"max", "MAX", MLXN_REDUCE_MAX, max_of, false},
    {"min", "MIN", MLXN_REDUCE_MIN, min_of, false},
    {"prod", "PROD", MLXN_REDUCE_PROD, prod_of, false},
    {"logsumexp", "LOGSUMEXP", MLXN_REDUCE_LOGSUMEXP, logsumexp_of, false},
    {"rms_norm_compute_rms_inv", "RMS_INV", MLXN_REDUCE_RMS_INV, rms_inv_of, false},
    {"repeat_backward", "SUM", MLXN_REDUCE_SUM, sum_of, false},
    {"cumsum", "SUM", MLXN_SCAN_SUM, sum_of, true},
    {"cumprod", "PROD", MLXN_SCAN_PROD, prod_of, true},
    {"cummax", "MAX", MLXN_SCAN_MAX, max_of, true},
    {"logcumsumexp", "LOGSUMEXP", MLXN_SCAN_LOGSUMEXP, logsumexp_of, true},
};

static void test_rows(const mlxn_op_alias_info *alias, bool scan) {
    size_t c = 0, count = sizeof rows_of / sizeof *rows_of;
    while (c < count && (rows_of[c].scan != scan || strcmp(rows_of[c].name, alias->name))) c++;
    CHECK(c < count, "%s has no meaning here", alias->name);
    if (c == count) return;
    CHECK(names_fn(alias->how, rows_of[c].fn), "%s: %s", alias->name, alias->how);
    /* the gradient of a repetition: what is summed lies ROWS apart, and the view has it last */
    bool turned = !strcmp(alias->name, "repeat_backward");
    mlxn_tensor x = turned ? rows(MLXN_F32, N, ROWS) : rows(MLXN_F32, ROWS, N), out = rows(MLXN_F32, ROWS, N);
    float plain[ROWS * N];
    for (uint32_t i = 0; i < ROWS * N; i++) {
        plain[i] = (float)((i * 29) % 53) * 0.05f - 1.2f;
        f(x)[turned ? i % N * ROWS + i / N : i] = plain[i];
    }
    if (turned) {
        x = mlxn_tensor_2d(memory, x.offset, MLXN_F32, ROWS, N);
        x.strides[0] = 1, x.strides[1] = ROWS;
    }
    mlxn_scan_params s = {rows_of[c].value, 0, 0};
    mlxn_reduce_params r = {rows_of[c].value, 1, 0.125f};
    if (scan)
        mlxn_scan(encoder, x, out, &s);
    else
        mlxn_reduce(encoder, x, mlxn_tensor_1d(memory, out.offset, MLXN_F32, ROWS), &r);
    run(alias->name);
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t j = scan ? 1 : N; j <= N; j++)
            compare(alias->name, f(out)[scan ? i * N + j - 1 : i], rows_of[c].meaning(plain + i * N, j));
}

/* ---- comparisons: one name for all of them ---- */

static bool holds(uint32_t fn, float a, float b) {
    switch (fn) {
        case MLXN_COMPARE_EQ:
            return a == b;
        case MLXN_COMPARE_NE:
            return a != b;
        case MLXN_COMPARE_LT:
            return a < b;
        case MLXN_COMPARE_LE:
            return a <= b;
        case MLXN_COMPARE_GT:
            return a > b;
        case MLXN_COMPARE_GE:
            return a >= b;
        case MLXN_COMPARE_AND:
            return a != 0 && b != 0;
        case MLXN_COMPARE_OR:
            return a != 0 || b != 0;
        default:
            return (a != 0) != (b != 0);
    }
}

static void test_compare(const mlxn_op_alias_info *alias) {
    bool logical = !strcmp(alias->name, "logical ops");
    CHECK(logical || !strcmp(alias->name, "comparisons"), "%s has no meaning here", alias->name);
    CHECK(names_fn(alias->how, logical ? "AND" : "EQ"), "%s: %s", alias->name, alias->how);
    mlxn_tensor a = row(MLXN_F32, N), b = row(MLXN_F32, N), zero = row(MLXN_F32, 1);
    mlxn_tensor out[MLXN_COMPARE_COUNT + 1];
    for (int i = 0; i < N; i++) f(a)[i] = (float)(i % 4 - 1), f(b)[i] = (float)(i / 4 % 3 - 1);
    f(zero)[0] = 0;
    const uint32_t first = logical ? MLXN_COMPARE_AND : MLXN_COMPARE_EQ;
    const uint32_t last = logical ? MLXN_COMPARE_XOR : MLXN_COMPARE_GE;
    for (uint32_t fn = first; fn <= last; fn++) {
        out[fn] = row(MLXN_U8, N);
        mlxn_compare(encoder, a, b, out[fn], &(mlxn_compare_params){fn});
    }
    mlxn_tensor not_a = out[MLXN_COMPARE_COUNT] = row(MLXN_U8, N); /* "not" is EQ with a 0 */
    if (logical) mlxn_compare(encoder, a, zero, not_a, &(mlxn_compare_params){MLXN_COMPARE_EQ});
    run(alias->name);
    for (int i = 0; i < N; i++) {
        for (uint32_t fn = first; fn <= last; fn++)
            CHECK(raw(out[fn])[i] == holds(fn, f(a)[i], f(b)[i]), "%s, fn %u, element %d is %u", alias->name, fn, i,
                  raw(out[fn])[i]);
        if (logical) CHECK(raw(not_a)[i] == !f(a)[i], "not, element %d is %u", i, raw(not_a)[i]);
    }
}

/* ---- gradients: the slope of the function in double ---- */

static const struct {
    const char *name, *fn;
    uint32_t value;
    double (*meaning)(double);
} slopes[] = {{"log_backward", "LOG", MLXN_UNARY_LOG, log},
              {"silu_backward", "SILU", MLXN_UNARY_SILU, silu},
              {"exp_backward", "EXP", MLXN_UNARY_EXP, exp}};

static void test_slope(const mlxn_op_alias_info *alias) {
    size_t c = 0, count = sizeof slopes / sizeof *slopes;
    while (c < count && strcmp(slopes[c].name, alias->name)) c++;
    CHECK(c < count, "%s has no meaning here", alias->name);
    if (c == count) return;
    CHECK(names_fn(alias->how, slopes[c].fn), "%s: %s", alias->name, alias->how);
    mlxn_tensor x = row(MLXN_F32, N), dy = row(MLXN_F32, N), dx = row(MLXN_F32, N);
    for (int i = 0; i < N; i++) f(x)[i] = (float)(i + 1) * 0.3f, f(dy)[i] = (float)(i % 5) - 1.5f;
    mlxn_unary_params p = {.fn = slopes[c].value};
    mlxn_unary_backward(encoder, x, dy, dx, &p);
    run(alias->name);
    for (int i = 0; i < N; i++) {
        double at = (double)f(x)[i], step = 1e-5 * at;
        double slope = (slopes[c].meaning(at + step) - slopes[c].meaning(at - step)) / (2 * step);
        compare(alias->name, f(dx)[i], (double)f(dy)[i] * slope);
    }
}

int main(void) {
    open_device();
    mlxn_op_alias_info alias;
    const mlxn_op unary = mlxn_op_find("unary"), binary = mlxn_op_find("binary"), glu = mlxn_op_find("glu");
    const mlxn_op reduce = mlxn_op_find("reduce"), scan = mlxn_op_find("scan"), comparison = mlxn_op_find("compare");
    const mlxn_op gradient = mlxn_op_find("unary_backward");
    for (uint32_t i = 0; mlxn_op_alias(i, &alias); i++) {
        CHECK(alias.op < mlxn_op_count() && alias_program_of(mlxn_op_name(alias.op)) != NOWHERE,
              "%s, another name of operation %u, is called by no test", alias.name, alias.op);
        if (alias.op == unary) test_unary(&alias);
        if (alias.op == binary) test_pair(&alias, false);
        if (alias.op == glu) test_pair(&alias, true);
        if (alias.op == reduce || alias.op == scan) test_rows(&alias, alias.op == scan);
        if (alias.op == comparison) test_compare(&alias);
        if (alias.op == gradient) test_slope(&alias);
    }
    close_device();
    return TEST_DONE();
}
