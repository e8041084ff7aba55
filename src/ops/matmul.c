/* matmul.c: x times the transpose of a weight, with optional bias and residual. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

enum { X, W, BIAS, RESIDUAL, OUT };

static mlxn_status check_matmul(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *x = &args[X], *w = &args[W], *out = &args[OUT];
    mlxn_status status = mlxn_want_one_matrix(error, "w", w);
    if (!status) status = mlxn_want_dim(error, "w", 1, w->dims[1], x->dims[1], "last dim of x");
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], x->dims[0], "rows of x");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], w->dims[0], "rows of w");
    if (!status && args[BIAS].present)
        status = mlxn_want_dim(error, "bias", 0, args[BIAS].dims[0], w->dims[0], "rows of w");
    if (!status && args[RESIDUAL].present)
        status = mlxn_want_same_dims(error, "residual", &args[RESIDUAL], "out", out);
    return status;
}

/* x as a dense matrix of doubles; NULL: out of memory. */
static double *dense(const mlxn_view *x) {
    uint64_t m = x->dims[0], k = x->dims[1];
    double *copy = mlxn_alloc_array(m * k, sizeof *copy);
    if (!copy) return NULL;
    for (uint64_t i = 0; i < m; i++)
        for (uint64_t j = 0; j < k; j++) copy[i * k + j] = mlxn_view_get(x, (uint64_t[]){i, j});
    return copy;
}

static mlxn_status ref_matmul(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_weight_view *w = args[W].weight;
    uint64_t m = args[X].dims[0], n = w->rows, k = w->cols;
    double *x = dense(&args[X]);
    float *row = mlxn_alloc_array(k, sizeof *row);
    if (x && row)
        for (uint64_t j = 0; j < n; j++) {
            w->read_row(w, j, row);
            double bias = args[BIAS].present ? mlxn_view_get(&args[BIAS], &j) : 0;
            for (uint64_t i = 0; i < m; i++) {
                const double *xi = x + i * k;
                double sum = 0;
                for (uint64_t c = 0; c < k; c++) sum += xi[c] * (double)row[c];
                uint64_t at[] = {i, j};
                if (args[RESIDUAL].present) sum += mlxn_view_get(&args[RESIDUAL], at);
                mlxn_view_set(&args[OUT], at, sum + bias);
            }
        }
    mlxn_status status = x && row ? MLXN_OK : MLXN_ERR_MEMORY;
    mlxn_free(row);
    mlxn_free(x);
    return status;
}

/* Formats that kernels multiply as integers; the others keep binary32 activations in both precisions. */
static bool is_quantized(mlxn_format format) {
    return format != MLXN_FORMAT_F32 && format != MLXN_FORMAT_F16 && format != MLXN_FORMAT_BF16;
}

/* Two parts. The binary32 part: products and sums, each against the sum of the terms' magnitudes; a quantized weight
 * is scale * q - offset, and kernels sum the two parts apart, so a term counts with three times the largest weight of
 * its block of 32. The fixed-point part (fast precision, quantized weights): x is rounded to steps of absmax / 32512
 * per group of 32, so each element is off by up to half a step. No sum can be off by more than the sum of half steps
 * times |w|; rounding errors being independent, nine standard deviations of that sum (a uniform error has step /
 * sqrt(12)) are never seen either, and the smaller of the two holds. */
static mlxn_status bound_matmul(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)arg;
    const mlxn_weight_view *w = args[W].weight;
    uint64_t m = args[X].dims[0], n = w->rows, k = w->cols, groups = (k + 31) / 32;
    bool quantized = is_quantized(w->format), rounded = fast && quantized;
    double *x = dense(&args[X]);
    double *sums = mlxn_alloc_array(m * groups, sizeof *sums); /* of |x| per group */
    double *step = mlxn_alloc_array(m * groups, sizeof *step);
    float *row = mlxn_alloc_array(k, sizeof *row);
    double *wg = mlxn_alloc_array(3 * groups, sizeof *wg); /* per group: max |w|, sum |w|, sum w^2 */
    bool ok = x && sums && step && row && wg;
    for (uint64_t i = 0; ok && i < m; i++)
        for (uint64_t c = 0; c < k; c++) {
            double a = fabs(x[i * k + c]);
            sums[i * groups + c / 32] += a;
            if (a / 32512 > step[i * groups + c / 32]) step[i * groups + c / 32] = a / 32512;
        }
    for (uint64_t j = 0; ok && j < n; j++) {
        w->read_row(w, j, row);
        memset(wg, 0, 3 * groups * sizeof *wg);
        for (uint64_t c = 0; c < k; c++) {
            double a = fabs((double)row[c]), *g = wg + 3 * (c / 32);
            if (a > g[0]) g[0] = a;
            g[1] += a;
            g[2] += a * a;
        }
        double bias = args[BIAS].present ? fabs(mlxn_view_get(&args[BIAS], &j)) : 0;
        for (uint64_t i = 0; i < m; i++) {
            double size = 0, worst = 0, variance = 0;
            for (uint64_t g = 0; g < groups; g++) {
                double s = step[i * groups + g];
                size += sums[i * groups + g] * wg[3 * g] * (quantized ? 3 : 1);
                worst += s / 2 * wg[3 * g + 1];
                variance += s * s / 12 * wg[3 * g + 2];
            }
            double residual = args[RESIDUAL].present ? fabs(mlxn_view_get(&args[RESIDUAL], (uint64_t[]){i, j})) : 0;
            double limit = MLXN_EPS * (mlxn_bound_sum(k) * size + 4 * (bias + residual)) + 1e-37;
            if (rounded) limit += 1.01 * fmin(worst, 9 * sqrt(variance));
            out[i * n + j] = limit;
        }
    }
    mlxn_free(wg);
    mlxn_free(row);
    mlxn_free(step);
    mlxn_free(sums);
    mlxn_free(x);
    return ok ? MLXN_OK : MLXN_ERR_MEMORY;
}

static mlxn_cost cost_matmul(const mlxn_view *args, const void *params) {
    (void)params;
    double m = (double)args[X].dims[0], k = (double)args[X].dims[1], n = (double)args[W].dims[0];
    double bytes = 0;
    for (uint32_t i = X; i <= OUT; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, 2 * m * n * k};
}

/* N and K of the models' matrices (some with fewer rows than the model has, the work per row being the same), and odd
 * sizes. K is rounded up to whole blocks of the format. */
static const struct {
    uint64_t m, n, k;
    bool slow;
} shapes[] = {
    {1, 1, 1, false},       {1, 5, 32, false},     {1, 17, 256, false},   {2, 16, 64, false},
    {3, 33, 96, false},     {1, 576, 576, false},  {1, 192, 576, false},  {1, 1536, 576, false},
    {1, 576, 1536, false},  {7, 100, 576, false},  {8, 64, 1536, false},  {9, 47, 512, false},
    {16, 31, 576, false},   {17, 48, 768, false},  {33, 65, 256, false},  {64, 96, 576, false},
    {65, 15, 288, false},   {129, 40, 640, false}, {1, 256, 640, false},  {1, 640, 2048, false},
    {5, 320, 640, false},   {1, 130, 1536, false}, {3, 40, 8960, false},  {2, 256, 1536, false},
    {31, 129, 1024, false}, {1, 2049, 576, false}, {64, 576, 576, true},  {128, 640, 640, true},
    {200, 257, 1536, true}, {1, 8960, 1536, true}, {1, 1536, 8960, true}, {16, 2048, 640, true},
    {257, 130, 2048, true}, {512, 192, 576, true}, {4, 300, 512, false},  {6, 19, 320, false},
    {10, 34, 256, false},   {12, 1, 1024, false},  {1, 3, 4096, false},   {2, 7, 31, false},
    {5, 6, 33, false},      {70, 9, 250, false},
};

static bool case_matmul(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t number = i;
    mlxn_format format = mlxn_case_format(mlxn_case_digit(&i, MLXN_CASE_FORMATS));
    uint32_t s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]), variant = mlxn_case_digit(&i, 3);
    if (i) return false;
    uint64_t block = mlxn_case_smallest_cols(format), k = (shapes[s].k + block - 1) / block * block;
    uint64_t m = shapes[s].m, n = shapes[s].n;
    /* Variant 0: plain. 1: half activations, bias, views. 2: residual (which may be the output), bf16, misaligned. */
    mlxn_dtype dtype = variant == 0 ? MLXN_F32 : mlxn_case_float(number);
    out->args[X] = mlxn_case_tensor(dtype, 2, (uint64_t[]){m, k});
    out->args[W] = mlxn_case_weight(format, n, k);
    out->args[BIAS] = mlxn_case_tensor(MLXN_F32, 1, &n);
    out->args[BIAS].present = variant == 1 || (variant == 2 && number % 2);
    out->args[BIAS].shift = 1;
    out->args[OUT] = mlxn_case_tensor(MLXN_F32, 2, (uint64_t[]){m, n});
    out->args[RESIDUAL] = out->args[OUT];
    out->args[RESIDUAL].present = variant == 2;
    if (variant == 1) {
        out->args[X].layout = MLXN_LAYOUT_GAPS;
        out->args[OUT].layout = MLXN_LAYOUT_GAPS;
        out->args[X].hi = 30;
        out->args[X].lo = s % 4 == 1 ? 10 : 0;
    }
    if (variant == 2) {
        out->args[X].shift = 1;
        out->args[OUT].shift = 3;
        out->args[X].hi = 0.05;
        if (s % 5 == 4) out->args[X].layout = MLXN_LAYOUT_TRANSPOSED;
        if (s % 5 == 3) out->args[OUT].layout = MLXN_LAYOUT_INNER;
        if (s % 7 == 1) out->args[X].fill = MLXN_FILL_CONST; /* with lo = 0: all zero, where a scale is 0 */
    }
    out->slow = shapes[s].slow || (m * n * k > 3000000 && variant == 1);
    mlxn_case_name_arg(out, "x", X);
    mlxn_case_name_arg(out, "w", W);
    if (out->args[BIAS].present) mlxn_case_name(out, ", bias");
    if (out->args[RESIDUAL].present) mlxn_case_name(out, ", residual");
    mlxn_case_name_arg(out, NULL, OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_matmul = {
    .name = "matmul",
    .family = "matmul",
    .doc =
        "out[m, n] = sum_k x[m, k] * w[n, k] + bias[n] + residual[m, n]. x: [M, K] f32/f16/bf16; w: weight [N, K]; "
        "bias: optional [N] f32; residual: optional [M, N] f32; out: [M, N] f32. out may be residual, not x. In the "
        "fast precision x is rounded to 16-bit fixed point per group of 32 where w is quantized.",
    .n_args = 5,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"w", MLXN_ROLE_IN, true, false, 0, 2, 2},
             {"bias", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"residual", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2}},
    .check = check_matmul,
    .ref = ref_matmul,
    .bound = bound_matmul,
    .cost = cost_matmul,
    .make_case = case_matmul,
    .inplace = 1u << RESIDUAL,
};
