/* Promise: another name of an operation does what its row says: for every name whose row names a function ("fn ..."),
 * the call with that function gives, on the device, what the name means in C's mathematics. */
#include "ops_device.h"

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

int main(void) {
    open_device();
    mlxn_op_alias_info alias;
    const mlxn_op unary = mlxn_op_find("unary"), binary = mlxn_op_find("binary"), glu = mlxn_op_find("glu");
    for (uint32_t i = 0; mlxn_op_alias(i, &alias); i++) {
        CHECK(alias.op < mlxn_op_count(), "%s is another name of nothing", alias.name);
        if (alias.op == unary) test_unary(&alias);
        if (alias.op == binary) test_pair(&alias, false);
        if (alias.op == glu) test_pair(&alias, true);
    }
    close_device();
    return TEST_DONE();
}
