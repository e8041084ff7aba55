/* train.c: what training adds: cross_entropy and its gradient, the gradient of glu, and the steps adamw and sgd. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static double at2(const mlxn_view *v, uint64_t r, uint64_t i) { return mlxn_view_get(v, (const uint64_t[]){r, i}); }

static mlxn_status check_loss(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = mlxn_want_dim(error, "targets", 0, args[1].dims[0], args[0].dims[0], "rows of logits");
    return status ? status : mlxn_want_dim(error, "loss", 0, args[2].dims[0], args[0].dims[0], "rows of logits");
}

static double logsumexp(const mlxn_view *x, uint64_t r, double *most) {
    double top = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < x->dims[1]; i++) top = fmax(top, at2(x, r, i));
    *most = 0;
    for (uint64_t i = 0; i < x->dims[1]; i++) {
        double v = at2(x, r, i);
        sum += exp(v - top);
        if (isfinite(v) && v > top - 100) *most = fmax(*most, fabs(v));
    }
    return top + log(sum);
}

static mlxn_status ref_loss(const mlxn_view *args, const void *params) {
    (void)params;
    double most;
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        uint64_t target = mlxn_view_u32(&args[1], r);
        double v = target < args[0].dims[1] ? logsumexp(&args[0], r, &most) - at2(&args[0], r, target) : 0;
        mlxn_view_set(&args[2], &r, v);
    }
    return MLXN_OK;
}

static mlxn_status bound_loss(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    double most;
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        logsumexp(&args[0], r, &most);
        out[r] =
            MLXN_EPS * (16 + mlxn_bound_sum(args[0].dims[1]) + 4 * most + 4 * fabs(mlxn_view_get(&args[arg], &r)));
    }
    return MLXN_OK;
}

static mlxn_status check_loss_backward(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_status status = check_loss(args, params, error);
    return status ? status : mlxn_want_like(error, "dx", &args[3], "logits", &args[0]);
}

static mlxn_status ref_loss_backward(const mlxn_view *args, const void *params) {
    (void)params;
    double most;
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        uint64_t target = mlxn_view_u32(&args[1], r), n = args[0].dims[1];
        double all = logsumexp(&args[0], r, &most), d = target < n ? mlxn_view_get(&args[2], &r) : 0;
        for (uint64_t i = 0; i < n; i++)
            mlxn_view_set(&args[3], (const uint64_t[]){r, i}, d * (exp(at2(&args[0], r, i) - all) - (i == target)));
    }
    return MLXN_OK;
}

static mlxn_status bound_loss_backward(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                       double *out) {
    (void)params, (void)fast;
    double most;
    uint64_t n = args[0].dims[1];
    for (uint64_t r = 0; r < args[0].dims[0]; r++) {
        double all = logsumexp(&args[0], r, &most), d = fabs(mlxn_view_get(&args[2], &r));
        for (uint64_t i = 0; i < n; i++) {
            double v = at2(&args[0], r, i), p = exp(v - all), ref = at2(&args[arg], r, i);
            double off = MLXN_EPS * (16 + mlxn_bound_sum(n) + 4 * (most + (isfinite(v) ? fabs(v) : 0)));
            out[r * n + i] = d * (off * p + 4 * MLXN_EPS * (i == mlxn_view_u32(&args[1], r))) + 1e-37;
            if (args[arg].dtype != MLXN_F32) out[r * n + i] += mlxn_bound_unit(args[arg].dtype, ref);
        }
    }
    return MLXN_OK;
}

static const uint64_t loss_dims[][2] = {{1, 2}, {5, 33}, {3, 1000}, {40, 17}, {2, 9000}};

static void case_logits(uint32_t dtype, uint32_t s, uint32_t kind, mlxn_case *out) {
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), 2, loss_dims[s]);
    out->args[0].hi = kind ? 8 : 1;
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_INNER : kind == 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1] = mlxn_case_tensor(MLXN_U32, 1, loss_dims[s]);
    out->args[1].fill = MLXN_FILL_INDEX;
    out->args[1].hi = (double)loss_dims[s][1]; /* one past the end is left out of the loss */
    out->args[2] = mlxn_case_tensor(MLXN_F32, 1, loss_dims[s]);
    mlxn_case_name_arg(out, "logits", 0);
}

static bool case_loss(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    case_logits(dtype, s, kind, out);
    return true;
}

static bool case_loss_backward(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    case_logits(dtype, s, kind, out);
    out->args[3] = mlxn_case_tensor(mlxn_case_float(dtype), 2, loss_dims[s]);
    out->args[3].layout = kind == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    return true;
}

static mlxn_cost cost_logits(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[0]), 12 * (double)mlxn_view_elements(&args[0])};
}

/* --- glu_backward --- */

static mlxn_status check_glu(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_glu_params *p = params;
    static const char *const names[] = {"gate", "up", "dy", "dgate", "dup"};
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 1; i < 5 && !status; i++) status = mlxn_want_like(error, names[i], &args[i], "gate", &args[0]);
    if (!status && p->fn >= MLXN_GLU_COUNT)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: fn is %u, want less than %d", p->fn, MLXN_GLU_COUNT);
    if (!status && p->fn == MLXN_GLU_SILU_CLAMPED && !(p->limit > 0))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: limit is %g, want a number above 0", (double)p->limit);
    return status;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* fn and its slope; for SILU_CLAMPED also what becomes of up and of its slope. */
static void glu_parts(const mlxn_glu_params *p, double g, double *u, double *f, double *df, double *du) {
    double s, limit = (double)p->limit, alpha = 1;
    *du = 1;
    switch ((mlxn_glu_fn)p->fn) {
        case MLXN_GLU_SIGMOID:
            *f = sigmoid(g);
            *df = *f * sigmoid(-g);
            return;
        case MLXN_GLU_RELU:
            *f = g > 0 ? g : 0;
            *df = g > 0;
            return;
        case MLXN_GLU_GELU:
            s = tanh(0.7978845608028654 * (g + 0.044715 * g * g * g));
            *f = g / 2 * (1 + s);
            *df = (1 + s) / 2 + g / 2 * (1 - s * s) * 0.7978845608028654 * (1 + 0.134145 * g * g);
            return;
        case MLXN_GLU_GELU_ERF:
            s = erfc(-g / sqrt(2)) / 2;
            *f = g * s;
            *df = s + g * exp(-g * g / 2) * 0.3989422804014327;
            return;
        case MLXN_GLU_SILU:
            break;
        case MLXN_GLU_GELU_QUICK:
            alpha = 1.702;
            break;
        default:
            alpha = (double)p->alpha;
            s = sigmoid(alpha * fmin(g, limit));
            *f = fmin(g, limit) * s;
            *df = g < limit ? s * (1 + alpha * g * (1 - s)) : 0;
            *du = *u > -limit && *u < limit;
            *u = fmax(-limit, fmin(limit, *u)) + 1;
            return;
    }
    s = sigmoid(alpha * g);
    *f = g * s;
    *df = s * (1 + alpha * g * (1 - s));
}

static mlxn_status ref_glu(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[0]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[0], i, at);
        double u = mlxn_view_get(&args[1], at), dy = mlxn_view_get(&args[2], at), f, df, du;
        glu_parts(params, mlxn_view_get(&args[0], at), &u, &f, &df, &du);
        mlxn_view_set(&args[3], at, dy * u * df);
        mlxn_view_set(&args[4], at, dy * f * du);
    }
    return MLXN_OK;
}

/* Kernels compute in f32: a few units of the result, and of the terms of a slope, which cancel for negative gates. */
static mlxn_status bound_glu(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    bool clamped = ((const mlxn_glu_params *)params)->fn == MLXN_GLU_SILU_CLAMPED;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        double g = fabs(mlxn_view_get(&args[0], at)), u = fabs(mlxn_view_get(&args[1], at)) + clamped;
        double dy = fabs(mlxn_view_get(&args[2], at)), ref = mlxn_view_get(&args[arg], at);
        double terms = arg == 3 ? 24 * (1 + g) * u : 8 * g;
        out[i] = MLXN_EPS * (24 * fabs(ref) + terms * dy) + 1e-36 * (1 + g) * (1 + u) * (1 + dy);
        if (args[arg].dtype != MLXN_F32) out[i] += mlxn_bound_unit(args[arg].dtype, ref);
    }
    return MLXN_OK;
}

/* --- steps of the optimizers: in place --- */

static mlxn_status check_adamw(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_adamw_params *p = params;
    mlxn_status status = mlxn_want_same_dims(error, "grad", &args[0], "param", &args[3]);
    if (!status) status = mlxn_want_same_dims(error, "m", &args[1], "param", &args[3]);
    if (!status) status = mlxn_want_same_dims(error, "v", &args[2], "param", &args[3]);
    if (!status && !(p->beta1 >= 0 && p->beta1 < 1 && p->beta2 >= 0 && p->beta2 < 1))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: beta1 is %g and beta2 %g, want 0 to below 1",
                           (double)p->beta1, (double)p->beta2);
    if (!status && !(p->eps > 0))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: eps is %g, want a number above 0", (double)p->eps);
    return status;
}

static mlxn_status ref_adamw(const mlxn_view *args, const void *params) {
    const mlxn_adamw_params *p = params;
    double b1 = (double)p->beta1, b2 = (double)p->beta2, lr = (double)p->lr;
    double c1 = p->correction1 == 0 ? 1 : (double)p->correction1,
           c2 = p->correction2 == 0 ? 1 : (double)p->correction2;
    uint64_t n = mlxn_view_elements(&args[3]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[3], i, at);
        double g = mlxn_view_get(&args[0], at), x = mlxn_view_get(&args[3], at);
        double m = b1 * mlxn_view_get(&args[1], at) + (1 - b1) * g;
        double v = b2 * mlxn_view_get(&args[2], at) + (1 - b2) * g * g;
        x -= lr * (double)p->weight_decay * x;
        x -= lr * (m / c1) / (sqrt(v / c2) + (double)p->eps);
        mlxn_view_set(&args[1], at, m);
        mlxn_view_set(&args[2], at, v);
        mlxn_view_set(&args[3], at, x);
    }
    return MLXN_OK;
}

/* Kernels compute an element in double, as the reference does, in another order of the same steps. */
static mlxn_status bound_unit(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        out[i] = mlxn_bound_unit(args[arg].dtype, mlxn_view_get(&args[arg], at));
    }
    return MLXN_OK;
}

static mlxn_status check_sgd(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_sgd_params *p = params;
    mlxn_status status = mlxn_want_same_dims(error, "grad", &args[0], "param", &args[2]);
    if (!status && args[1].present) status = mlxn_want_same_dims(error, "velocity", &args[1], "param", &args[2]);
    if (!status && p->momentum != 0 && !args[1].present)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "velocity: is absent, want a tensor (momentum is %g)",
                           (double)p->momentum);
    return status;
}

static mlxn_status ref_sgd(const mlxn_view *args, const void *params) {
    const mlxn_sgd_params *p = params;
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        double x = mlxn_view_get(&args[2], at), g = mlxn_view_get(&args[0], at) + (double)p->weight_decay * x;
        if (args[1].present) {
            double v = (double)p->momentum * mlxn_view_get(&args[1], at) + g;
            mlxn_view_set(&args[1], at, v);
            g = p->nesterov ? g + (double)p->momentum * v : v;
        }
        mlxn_view_set(&args[2], at, x - (double)p->lr * g);
    }
    return MLXN_OK;
}

static mlxn_cost cost_step(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){7 * (double)mlxn_view_bytes(&args[0]), 12 * (double)mlxn_view_elements(&args[0])};
}

static bool case_tensors(uint32_t i, uint32_t n_args, bool halves, mlxn_case *out) {
    static const uint64_t dims[][2] = {{1, 1}, {5, 33}, {3, 1100}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, halves ? 3 : 1), s = mlxn_case_digit(&i, 3), kind = mlxn_case_digit(&i, 3);
    if (i) return false;
    for (uint32_t k = 0; k < n_args; k++) {
        static const mlxn_layout layouts[] = {MLXN_LAYOUT_CONTIGUOUS, MLXN_LAYOUT_GAPS, MLXN_LAYOUT_INNER};
        out->args[k] = mlxn_case_tensor(mlxn_case_float(dtype), 2, dims[s]);
        if (kind) out->args[k].layout = layouts[(k + kind) % 3];
        out->args[k].hi = 2;
    }
    mlxn_case_name_arg(out, "first", 0);
    return true;
}

static bool case_glu(uint32_t i, mlxn_case *out) {
    uint32_t fn = mlxn_case_digit(&i, MLXN_GLU_COUNT);
    if (!case_tensors(i, 5, true, out)) return false;
    out->args[0].hi = out->args[1].hi = 4;
    mlxn_glu_params p = {fn, 1.702f, 7};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name(out, " fn %u", fn);
    return true;
}

static bool case_adamw(uint32_t i, mlxn_case *out) {
    uint32_t decay = mlxn_case_digit(&i, 2);
    if (!case_tensors(i, 4, false, out)) return false;
    out->args[2].fill = MLXN_FILL_UNIFORM;
    mlxn_adamw_params p = {1e-2f, 0.9f, 0.999f, 1e-8f, decay ? 0.1f : 0, decay ? 0.271f : 0, decay ? 0.003f : 0};
    memcpy(out->params, &p, sizeof p);
    return true;
}

static bool case_sgd(uint32_t i, mlxn_case *out) {
    uint32_t kind = mlxn_case_digit(&i, 3);
    if (!case_tensors(i, 3, false, out)) return false;
    if (!kind) out->args[1] = (mlxn_case_arg){0};
    mlxn_sgd_params p = {0.1f, kind ? 0.9f : 0, kind == 1 ? 0.01f : 0, kind == 2};
    memcpy(out->params, &p, sizeof p);
    return true;
}

const mlxn_op_def mlxn_opdef_cross_entropy = {
    .name = "cross_entropy",
    .family = "train",
    .doc =
        "loss[r] = ln sum e^logits[r, :] - logits[r, targets[r]]; 0 where targets[r] is past the end. logits: [R, N] "
        "f32, f16, bf16; targets: [R] u32; loss: [R] f32.",
    .n_args = 3,
    .args = {{"logits", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"targets", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"loss", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 1, 1}},
    .check = check_loss,
    .ref = ref_loss,
    .bound = bound_loss,
    .cost = cost_logits,
    .make_case = case_loss,
};

const mlxn_op_def mlxn_opdef_cross_entropy_backward = {
    .name = "cross_entropy_backward",
    .family = "train",
    .doc =
        "dx[r, i] = dloss[r] (softmax(logits[r, :])[i] - (i == targets[r])); 0 where targets[r] is past the end. "
        "Shapes "
        "of cross_entropy; dx: dims and dtype of logits. dx may be logits.",
    .n_args = 4,
    .args = {{"logits", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"targets", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"dloss", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 1},
             {"dx", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, 2}},
    .check = check_loss_backward,
    .ref = ref_loss_backward,
    .bound = bound_loss_backward,
    .cost = cost_logits,
    .make_case = case_loss_backward,
};

const mlxn_op_def mlxn_opdef_glu_backward = {
    .name = "glu_backward",
    .family = "train",
    .doc =
        "dgate = dy up fn'(gate), dup = dy fn(gate), the gradients of glu with the same parameters. Same dims and "
        "dtype (f32, f16, bf16).",
    .n_args = 5,
    .args = {{"gate", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"up", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"dy", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"dgate", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"dup", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_glu_params),
    .params_type = "mlxn_glu_params",
    .check = check_glu,
    .ref = ref_glu,
    .bound = bound_glu,
    .cost = cost_step,
    .make_case = case_glu,
};

#define STEP_ARG(name, role, optional) \
    { name, role, false, optional, 1u << MLXN_F32, 1, MLXN_MAX_RANK }

const mlxn_op_def mlxn_opdef_adamw = {
    .name = "adamw",
    .family = "train",
    .doc =
        "One step of AdamW (Loshchilov & Hutter 2019): m = beta1 m + (1 - beta1) grad, v = beta2 v + (1 - beta2) "
        "grad^2, param -= lr weight_decay param, param -= lr (m / correction1) / (sqrt(v / correction2) + eps). f32, "
        "same dims; each element in double, rounded once.",
    .n_args = 4,
    .args = {STEP_ARG("grad", MLXN_ROLE_IN, false), STEP_ARG("m", MLXN_ROLE_INOUT, false),
             STEP_ARG("v", MLXN_ROLE_INOUT, false), STEP_ARG("param", MLXN_ROLE_INOUT, false)},
    .params_size = sizeof(mlxn_adamw_params),
    .params_type = "mlxn_adamw_params",
    .check = check_adamw,
    .ref = ref_adamw,
    .bound = bound_unit,
    .cost = cost_step,
    .make_case = case_adamw,
};

const mlxn_op_def mlxn_opdef_sgd = {
    .name = "sgd",
    .family = "train",
    .doc =
        "One step of gradient descent: g = grad + weight_decay param; with a velocity: velocity = momentum velocity "
        "+ "
        "g, and g = velocity, or g + momentum velocity (Nesterov); param -= lr g. f32, same dims; velocity: optional "
        "without momentum.",
    .n_args = 3,
    .args = {STEP_ARG("grad", MLXN_ROLE_IN, false), STEP_ARG("velocity", MLXN_ROLE_INOUT, true),
             STEP_ARG("param", MLXN_ROLE_INOUT, false)},
    .params_size = sizeof(mlxn_sgd_params),
    .params_type = "mlxn_sgd_params",
    .check = check_sgd,
    .ref = ref_sgd,
    .bound = bound_unit,
    .cost = cost_step,
    .make_case = case_sgd,
};
