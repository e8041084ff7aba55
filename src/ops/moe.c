/* moe.c: mixture of experts: which experts a token goes to with which weights, and the sum of what they give. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

/* ---- moe_route ---- */

enum { R_LOGITS, R_BIAS, R_SCALE, R_IDS, R_WEIGHTS };

static mlxn_status check_moe_route(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_moe_route_params *p = params;
    const mlxn_view *x = &args[R_LOGITS], *ids = &args[R_IDS];
    uint64_t experts = x->dims[1], k = ids->dims[1];
    mlxn_status status = mlxn_want_dim(error, "ids", 0, ids->dims[0], x->dims[0], "dim[0] of logits");
    if (!status) status = mlxn_want_same_dims(error, "weights", &args[R_WEIGHTS], "ids", ids);
    if (!status && args[R_BIAS].present)
        status = mlxn_want_dim(error, "bias", 0, args[R_BIAS].dims[0], experts, "experts of logits");
    if (!status && args[R_SCALE].present)
        status = mlxn_want_dim(error, "scale", 0, args[R_SCALE].dims[0], experts, "experts of logits");
    if (status) return status;
    if (k > experts)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "ids: dim[1] is %llu, want at most %llu (experts of logits)",
                         (unsigned long long)k, (unsigned long long)experts);
    if (p->score > MLXN_ROUTE_SIGMOID)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: score is %u, want 0 to 2", p->score);
    if (p->normalize > MLXN_ROUTE_SCALE_THEN_NORMALIZE)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: normalize is %u, want 0 to 2", p->normalize);
    if (!isfinite(p->factor))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: factor is %g, want a number", (double)p->factor);
    if (!p->groups) return MLXN_OK;
    uint64_t size = experts / p->groups;
    if (experts % p->groups || p->groups > experts)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: groups is %u, want a divisor of %llu (experts)",
                         p->groups, (unsigned long long)experts);
    if (p->top_groups < 1 || p->top_groups > p->groups || p->top_groups * size < k)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "params: top_groups is %u, want at least 1, at most %u (groups), and room for %llu experts "
                         "in groups of %llu",
                         p->top_groups, p->groups, (unsigned long long)k, (unsigned long long)size);
    if (p->group_best < 1 || p->group_best > size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: group_best is %u, want 1 to %llu (experts of a group)",
                         p->group_best, (unsigned long long)size);
    return MLXN_OK;
}

/* The k largest of n numbers, the first of equals, largest first; taken ones become -infinity. */
static void take_largest(double *x, uint64_t n, uint64_t k, uint64_t *out) {
    for (uint64_t j = 0; j < k; j++) {
        uint64_t best = 0;
        bool found = false;
        for (uint64_t i = 0; i < n; i++)
            if (!isnan(x[i]) && x[i] != -INFINITY && (!found || x[i] > x[best])) {
                best = i;
                found = true;
            }
        for (uint64_t i = 0; !found && i < n; i++) { /* only -infinity and NaN are left: the first not taken */
            bool taken = false;
            for (uint64_t m = 0; m < j; m++) taken = taken || out[m] == i;
            if (taken) continue;
            best = i;
            break;
        }
        out[j] = best;
        x[best] = -INFINITY;
    }
}

/* Of the groups other than the best: nothing can be selected there. */
static void drop_groups(const mlxn_moe_route_params *p, double *choice, uint64_t experts, double *work,
                        uint64_t *picked) {
    uint64_t size = experts / p->groups;
    double *sums = work, *copy = work + p->groups;
    for (uint64_t g = 0; g < p->groups; g++) {
        memcpy(copy, choice + g * size, size * sizeof *copy);
        take_largest(copy, size, p->group_best, picked);
        sums[g] = 0;
        for (uint32_t j = 0; j < p->group_best; j++) sums[g] += choice[g * size + picked[j]];
    }
    take_largest(sums, p->groups, p->top_groups, picked);
    for (uint64_t g = 0; g < p->groups; g++) {
        bool kept = false;
        for (uint32_t j = 0; j < p->top_groups; j++) kept = kept || picked[j] == g;
        for (uint64_t i = 0; !kept && i < size; i++) choice[g * size + i] = -INFINITY;
    }
}

/* One token: ids and weights of k experts. score, choice: E numbers each; work: 2 E; picked: E. */
static void route(const mlxn_view *args, const mlxn_moe_route_params *p, uint64_t t, double *score, double *choice,
                  double *work, uint64_t *picked, double *weights) {
    const mlxn_view *x = &args[R_LOGITS];
    uint64_t experts = x->dims[1], k = args[R_IDS].dims[1];
    double top = -INFINITY, total = 0, sum = 0;
    for (uint64_t e = 0; e < experts; e++) {
        score[e] = mlxn_view_get(x, (uint64_t[]){t, e});
        choice[e] = score[e];
        top = fmax(top, score[e]);
    }
    for (uint64_t e = 0; e < experts; e++) total += exp(score[e] - top);
    for (uint64_t e = 0; e < experts; e++) {
        if (p->score == MLXN_ROUTE_SIGMOID)
            score[e] = 1 / (1 + exp(-score[e]));
        else if (p->score == MLXN_ROUTE_SOFTMAX)
            score[e] = exp(score[e] - top) / total;
        if (args[R_BIAS].present) choice[e] = score[e] + mlxn_view_get(&args[R_BIAS], (uint64_t[]){e});
    }
    if (p->groups) {
        /* Sums of several scores order groups; of logits they would order otherwise. */
        if (!args[R_BIAS].present) memcpy(choice, score, experts * sizeof *choice);
        drop_groups(p, choice, experts, work, picked);
    }
    take_largest(choice, experts, k, picked);
    if (p->score == MLXN_ROUTE_SELECTED_SOFTMAX) {
        top = -INFINITY;
        total = 0;
        for (uint64_t j = 0; j < k; j++) top = fmax(top, score[picked[j]]);
        for (uint64_t j = 0; j < k; j++) total += exp(score[picked[j]] - top);
        for (uint64_t j = 0; j < k; j++) weights[j] = exp(score[picked[j]] - top) / total;
    } else {
        for (uint64_t j = 0; j < k; j++) weights[j] = score[picked[j]];
    }
    bool scale_first = p->normalize == MLXN_ROUTE_SCALE_THEN_NORMALIZE;
    for (int pass = 0; pass < 2; pass++) {
        bool scales = (pass == 0) == scale_first;
        if (scales && args[R_SCALE].present)
            for (uint64_t j = 0; j < k; j++) weights[j] *= mlxn_view_get(&args[R_SCALE], &picked[j]);
        if (scales || !p->normalize) continue;
        sum = 0;
        for (uint64_t j = 0; j < k; j++) sum += weights[j];
        for (uint64_t j = 0; j < k && sum > 1e-9; j++) weights[j] /= sum;
    }
    for (uint64_t j = 0; j < k && p->factor != 0; j++) weights[j] *= (double)p->factor;
}

static mlxn_status ref_moe_route(const mlxn_view *args, const void *params) {
    uint64_t experts = args[R_LOGITS].dims[1], k = args[R_IDS].dims[1];
    double *work = mlxn_alloc_array(experts * 4 + k, sizeof *work);
    uint64_t *picked = mlxn_alloc_array(experts, sizeof *picked);
    mlxn_status status = work && picked ? MLXN_OK : MLXN_ERR_MEMORY;
    for (uint64_t t = 0; !status && t < args[R_LOGITS].dims[0]; t++) {
        double *weights = work + experts * 4;
        route(args, params, t, work, work + experts, work + 2 * experts, picked, weights);
        for (uint64_t j = 0; j < k; j++) {
            mlxn_view_set(&args[R_IDS], (uint64_t[]){t, j}, (double)picked[j]);
            mlxn_view_set(&args[R_WEIGHTS], (uint64_t[]){t, j}, weights[j]);
        }
    }
    mlxn_free(picked);
    mlxn_free(work);
    return status;
}

/* Ids are exact. A weight is a few exponentials, a sum of E of them, one of k, and some products. */
static mlxn_status bound_moe_route(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)params, (void)fast;
    const mlxn_view *w = &args[arg], *x = &args[R_LOGITS];
    uint64_t k = w->dims[1], experts = x->dims[1];
    for (uint64_t t = 0; t < w->dims[0]; t++) {
        double low = INFINITY, high = -INFINITY;
        for (uint64_t e = 0; e < experts; e++) {
            low = fmin(low, mlxn_view_get(x, (uint64_t[]){t, e}));
            high = fmax(high, mlxn_view_get(x, (uint64_t[]){t, e}));
        }
        for (uint64_t j = 0; j < k; j++) {
            double size = arg == R_IDS ? 0 : fabs(mlxn_view_get(w, (uint64_t[]){t, j}));
            double units = 24 + 2 * (high - low) + mlxn_bound_sum(experts) + (double)k;
            out[t * k + j] = size == 0 ? 0 : MLXN_EPS * units * size + 1e-37;
        }
    }
    return MLXN_OK;
}

static mlxn_cost cost_moe_route(const mlxn_view *args, const void *params) {
    (void)params;
    double n = (double)mlxn_view_elements(&args[R_LOGITS]), k = (double)args[R_IDS].dims[1];
    double written = (double)mlxn_view_bytes(&args[R_IDS]) + (double)mlxn_view_bytes(&args[R_WEIGHTS]);
    return (mlxn_cost){(double)mlxn_view_bytes(&args[R_LOGITS]) + written, n * (8 + k)};
}

static bool case_moe_route(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t t, experts, k;
    } shapes[] = {{1, 128, 8}, {7, 60, 4}, {3, 3, 3}, {2, 1, 1}, {5, 256, 8}, {33, 100, 7}, {4, 16, 2}, {2, 512, 10}};
    static const struct {
        bool bias, scale;
        mlxn_moe_route_params p;
    } forms[] = {
        {false, false, {.score = MLXN_ROUTE_SOFTMAX, .normalize = MLXN_ROUTE_NORMALIZE}},
        {false, false, {.score = MLXN_ROUTE_SOFTMAX}},
        {false, true, {.score = MLXN_ROUTE_SOFTMAX, .normalize = MLXN_ROUTE_NORMALIZE}},
        {false, true, {.score = MLXN_ROUTE_SELECTED_SOFTMAX, .normalize = MLXN_ROUTE_SCALE_THEN_NORMALIZE}},
        {false, false, {.score = MLXN_ROUTE_SELECTED_SOFTMAX}},
        {true, false, {.score = MLXN_ROUTE_SIGMOID, .normalize = MLXN_ROUTE_NORMALIZE, .factor = 2.5f}},
        {true,
         false,
         {.score = MLXN_ROUTE_SIGMOID,
          .normalize = MLXN_ROUTE_NORMALIZE,
          .factor = 2.5f,
          .groups = 4,
          .top_groups = 2,
          .group_best = 2}},
        {false, false, {.score = MLXN_ROUTE_SOFTMAX, .factor = 16, .groups = 4, .top_groups = 3, .group_best = 1}},
    };
    *out = (mlxn_case){0};
    uint32_t s = mlxn_case_digit(&i, sizeof shapes / sizeof *shapes), f = mlxn_case_digit(&i, 8);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    mlxn_moe_route_params p = forms[f].p;
    if (p.groups && (shapes[s].experts % 4 || shapes[s].experts / 4 < 4)) p.groups = 0;
    out->args[R_LOGITS] = mlxn_case_tensor(layout == 2 ? MLXN_F16 : MLXN_F32, 2, &shapes[s].t);
    out->args[R_LOGITS].hi = 3;
    if (layout == 2 && (forms[f].bias || p.groups)) out->args[R_LOGITS].dtype = MLXN_F32;
    if (layout == 1 && !forms[f].bias) out->args[R_LOGITS].fill = MLXN_FILL_TIES;
    if (forms[f].bias) out->args[R_BIAS] = mlxn_case_tensor(MLXN_F32, 1, &shapes[s].experts);
    if (forms[f].scale) out->args[R_SCALE] = mlxn_case_tensor(MLXN_F32, 1, &shapes[s].experts);
    if (forms[f].scale) out->args[R_SCALE].fill = MLXN_FILL_UNIFORM, out->args[R_SCALE].lo = 0.5;
    if (forms[f].scale) out->args[R_SCALE].hi = 2;
    out->args[R_IDS] = mlxn_case_tensor(MLXN_U32, 2, (uint64_t[]){shapes[s].t, shapes[s].k});
    out->args[R_WEIGHTS] = mlxn_case_tensor(MLXN_F32, 2, (uint64_t[]){shapes[s].t, shapes[s].k});
    if (layout == 1) out->args[R_LOGITS].layout = MLXN_LAYOUT_GAPS;
    if (layout == 2) out->args[R_LOGITS].layout = out->args[R_IDS].layout = MLXN_LAYOUT_INNER;
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "logits", R_LOGITS);
    mlxn_case_name(out, ", %llu of them, score %u, normalize %u", (unsigned long long)shapes[s].k, p.score,
                   p.normalize);
    if (p.groups) mlxn_case_name(out, ", %u of %u groups", p.top_groups, p.groups);
    if (forms[f].bias) mlxn_case_name(out, ", bias");
    if (forms[f].scale) mlxn_case_name(out, ", scale");
    return true;
}

const mlxn_op_def mlxn_opdef_moe_route = {
    .name = "moe_route",
    .family = "moe",
    .doc =
        "The K experts of each token, the best first, the lowest index of equals, and their weights. logits: [T, E] "
        "f32, f16 or bf16; ids: [T, K] u32; weights: [T, K] f32. Scores: softmax over all experts, softmax over the "
        "selected ones, or sigmoid. Selected are the largest of score + bias (bias: optional [E] f32), without bias "
        "of the logits; with params.groups only within the best groups. Weights are the scores, divided by their sum "
        "where params.normalize says so (a sum up to 1e-9 is left), times scale (optional [E] f32) before or after "
        "that, times params.factor.",
    .n_args = 5,
    .args = {{"logits", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, 2},
             {"bias", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"scale", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"ids", MLXN_ROLE_OUT, false, false, 1u << MLXN_U32, 2, 2},
             {"weights", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2}},
    .params_size = sizeof(mlxn_moe_route_params),
    .params_type = "mlxn_moe_route_params",
    .check = check_moe_route,
    .ref = ref_moe_route,
    .bound = bound_moe_route,
    .cost = cost_moe_route,
    .make_case = case_moe_route,
};

/* ---- moe_sum ---- */

enum { S_EXPERTS, S_WEIGHTS, S_SHARED, S_GATE, S_RESIDUAL, S_OUT };

static mlxn_status check_moe_sum(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *e = &args[S_EXPERTS], *w = &args[S_WEIGHTS], *out = &args[S_OUT];
    mlxn_status status = mlxn_want_dim(error, "weights", 0, w->dims[0], e->dims[0], "dim[0] of experts");
    if (!status) status = mlxn_want_dim(error, "weights", 1, w->dims[1], e->dims[1], "dim[1] of experts");
    if (!status) status = mlxn_want_dim(error, "out", 0, out->dims[0], e->dims[0], "dim[0] of experts");
    if (!status) status = mlxn_want_dim(error, "out", 1, out->dims[1], e->dims[2], "dim[2] of experts");
    for (uint32_t i = S_SHARED; i <= S_RESIDUAL && !status; i += 2) {
        const char *name = i == S_SHARED ? "shared" : "residual";
        if (!args[i].present) continue;
        status = mlxn_want_same_dims(error, name, &args[i], "out", out);
        if (!status) status = mlxn_want_same_dtype(error, name, &args[i], "out", out);
    }
    if (status || !args[S_GATE].present) return status;
    if (!args[S_SHARED].present)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "gate: is present, want it absent (shared is)");
    return mlxn_want_dim(error, "gate", 0, args[S_GATE].dims[0], out->dims[0], "dim[0] of out");
}

static double sum_at(const mlxn_view *args, uint64_t t, uint64_t d, double *size) {
    double sum = 0;
    *size = 0;
    for (uint64_t j = 0; j < args[S_WEIGHTS].dims[1]; j++) {
        double term = mlxn_view_get(&args[S_EXPERTS], (uint64_t[]){t, j, d});
        term *= mlxn_view_get(&args[S_WEIGHTS], (uint64_t[]){t, j});
        sum += term;
        *size += fabs(term);
    }
    if (args[S_SHARED].present) {
        double y = mlxn_view_get(&args[S_SHARED], (uint64_t[]){t, d});
        if (args[S_GATE].present) y /= 1 + exp(-mlxn_view_get(&args[S_GATE], (uint64_t[]){t}));
        sum += y;
        *size += 4 * fabs(y);
    }
    if (args[S_RESIDUAL].present) {
        double y = mlxn_view_get(&args[S_RESIDUAL], (uint64_t[]){t, d});
        sum += y;
        *size += fabs(y);
    }
    return sum;
}

static mlxn_status ref_moe_sum(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *out = &args[S_OUT];
    double size;
    for (uint64_t t = 0; t < out->dims[0]; t++)
        for (uint64_t d = 0; d < out->dims[1]; d++) mlxn_view_set(out, (uint64_t[]){t, d}, sum_at(args, t, d, &size));
    return MLXN_OK;
}

/* Every product and every addition rounds once. */
static mlxn_status bound_moe_sum(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *bound) {
    (void)params, (void)fast;
    const mlxn_view *out = &args[arg];
    for (uint64_t t = 0; t < out->dims[0]; t++)
        for (uint64_t d = 0; d < out->dims[1]; d++) {
            double size, sum = sum_at(args, t, d, &size);
            double unit = out->dtype == MLXN_F32 ? 0 : mlxn_bound_unit(out->dtype, sum);
            bound[t * out->dims[1] + d] = unit + MLXN_EPS * ((double)args[S_WEIGHTS].dims[1] + 3) * size + 1e-40;
        }
    return MLXN_OK;
}

static mlxn_cost cost_moe_sum(const mlxn_view *args, const void *params) {
    (void)params;
    double bytes = 0;
    for (uint32_t i = 0; i <= S_OUT; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, 2 * (double)mlxn_view_elements(&args[S_EXPERTS])};
}

static bool case_moe_sum(uint32_t i, mlxn_case *out) {
    static const uint64_t sizes[][3] = {{3, 8, 640}, {5, 1, 33}, {1, 2, 16}, {33, 3, 100}, {1, 8, 2048}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), form = mlxn_case_digit(&i, 4);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    const uint64_t *n = sizes[s];
    mlxn_dtype type = mlxn_case_float(dtype);
    out->args[S_EXPERTS] = mlxn_case_tensor(form == 2 ? MLXN_BF16 : type, 3, n);
    out->args[S_WEIGHTS] = mlxn_case_tensor(MLXN_F32, 2, n);
    out->args[S_OUT] = mlxn_case_tensor(type, 2, (uint64_t[]){n[0], n[2]});
    if (form % 2) out->args[S_SHARED] = out->args[S_OUT];
    if (form == 3) out->args[S_GATE] = mlxn_case_tensor(MLXN_F32, 1, n);
    if (form >= 2) out->args[S_RESIDUAL] = out->args[S_OUT];
    if (layout == 1) out->args[S_EXPERTS].layout = out->args[S_OUT].layout = MLXN_LAYOUT_GAPS;
    if (layout == 2) {
        out->args[S_EXPERTS].layout = MLXN_LAYOUT_OUTER;
        out->args[S_OUT].layout = out->args[S_WEIGHTS].layout = MLXN_LAYOUT_INNER;
        if (form >= 2) out->args[S_RESIDUAL].layout = MLXN_LAYOUT_INNER;
    }
    mlxn_case_name_arg(out, "experts", S_EXPERTS);
    mlxn_case_name(out, "%s%s%s", form % 2 ? ", shared" : "", form == 3 ? ", gate" : "",
                   form >= 2 ? ", residual" : "");
    if (layout) mlxn_case_name_arg(out, "out", S_OUT);
    return true;
}

const mlxn_op_def mlxn_opdef_moe_sum = {
    .name = "moe_sum",
    .family = "moe",
    .doc =
        "out[t] = sum over j, in ascending order, of experts[t, j] * weights[t, j] + sigmoid(gate[t]) * shared[t] + "
        "residual[t]. experts: [T, K, D] f32, f16 or bf16; weights: [T, K] f32; out: [T, D] f32, f16 or bf16; "
        "shared, "
        "residual: optional, as out; gate: optional [T] f32, raw (without it shared counts as it is). Sums are f32. "
        "out may be residual.",
    .n_args = 6,
    .args = {{"experts", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"weights", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 2, 2},
             {"shared", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 2, 2},
             {"gate", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"residual", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 2, 2},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, 2}},
    .check = check_moe_sum,
    .ref = ref_moe_sum,
    .bound = bound_moe_sum,
    .cost = cost_moe_sum,
    .make_case = case_moe_sum,
    .inplace = 1u << S_RESIDUAL,
};
