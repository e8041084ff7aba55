/* moe.c (CPU kernels): routing of tokens to experts, one token a chunk's step, and the weighted sum of their results.
 */
#include "backend/cpu/kernels/rows.h"

enum { R_LOGITS, R_BIAS, R_SCALE, R_IDS, R_WEIGHTS };

static uint64_t route_group(const mlxn_view *args) { return mlxn_max_u64(1, 4096 / args[R_LOGITS].dims[1]); }

static uint64_t route_padded(const mlxn_view *args) { return (args[R_LOGITS].dims[1] + 15) & ~(uint64_t)15; }

static void plan_route(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t group = route_group(args), experts = args[R_LOGITS].dims[1];
    *out = (cpu_plan){.phases = 1,
                      .chunks = {(args[R_LOGITS].dims[0] + group - 1) / group},
                      .local_bytes = route_padded(args) * 12 + 64 + experts * 4};
}

/* The k largest of n, the largest first, the first of equals; NaN only when nothing else is left. Taken ones become
 * -infinity. */
static void route_select(float *x, uint64_t n, uint64_t k, uint32_t *picked) {
    for (uint64_t j = 0; j < k; j++) {
        uint64_t best = n;
        float top = -INFINITY;
        bool found = false;
        for (uint64_t i = 0; i < n; i++)
            if (x[i] > top) top = x[i], best = i, found = true;
        for (uint64_t i = 0; !found && i < n; i++) { /* only -infinity and NaN are left: the first not taken */
            bool taken = false;
            for (uint64_t m = 0; m < j; m++) taken = taken || picked[m] == i;
            if (taken) continue;
            best = i;
            break;
        }
        picked[j] = (uint32_t)best;
        x[best] = -INFINITY;
    }
}

static void route_groups(const mlxn_moe_route_params *p, float *choice, uint64_t experts, float *work,
                         uint32_t *picked) {
    uint64_t size = experts / p->groups;
    float *sums = work, *copy = work + p->groups;
    for (uint64_t g = 0; g < p->groups; g++) {
        memcpy(copy, choice + g * size, size * 4);
        route_select(copy, size, p->group_best, picked);
        sums[g] = 0;
        for (uint32_t j = 0; j < p->group_best; j++) sums[g] += choice[g * size + picked[j]];
    }
    route_select(sums, p->groups, p->top_groups, picked);
    for (uint64_t g = 0; g < p->groups; g++) {
        bool kept = false;
        for (uint32_t j = 0; j < p->top_groups; j++) kept = kept || picked[j] == g;
        for (uint64_t i = 0; !kept && i < size; i++) choice[g * size + i] = -INFINITY;
    }
}

/* exp(x - top), and its sum. Beyond n: zeros. */
static float route_exp(float *x, uint64_t n, float top) {
    v16 sum = v16_zero();
    for (uint64_t i = 0; i < n; i += 16) {
        v16 e = v16_exp(v16_sub(v16_load(x + i), v16_set1(top)));
        v16_store(x + i, v16_range(v16_zero(), e, 0, simd_tail(i, n)));
        sum = v16_add(sum, v16_load(x + i));
    }
    return v16_hsum(sum);
}

static void route_token(const cpu_run *run, uint64_t t, float *score, float *choice, float *work, uint32_t *picked) {
    const mlxn_moe_route_params *p = run->params;
    const mlxn_view *x = &run->args[R_LOGITS], *bias = &run->args[R_BIAS], *scale = &run->args[R_SCALE];
    const mlxn_view *ids = &run->args[R_IDS], *out = &run->args[R_WEIGHTS];
    uint64_t n = x->dims[1], k = ids->dims[1];
    int64_t step = rows_stride(x), size = (int64_t)rows_size(x->dtype);
    const char *row = (const char *)x->data + (int64_t)t * x->strides[0] * size;
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t m = simd_tail(i, n);
        v16 v = v16_range(v16_set1(-INFINITY), rows_load(x->dtype, step == 1, row, step, i, m), 0, m);
        v16_store(score + i, v);
        v16_store(choice + i, v);
    }
    v16 most = v16_load(score);
    for (uint64_t i = 16; i < n; i += 16) most = v16_max(v16_load(score + i), most);
    float top = v16_hmax(most);
    if (p->score == MLXN_ROUTE_SIGMOID) {
        for (uint64_t i = 0; i < n; i += 16) v16_store(score + i, v16_sigmoid(v16_load(score + i)));
    } else if (p->score == MLXN_ROUTE_SOFTMAX) {
        float total = route_exp(score, n, top);
        for (uint64_t i = 0; i < n; i++) score[i] /= total;
    }
    if (bias->present)
        for (uint64_t i = 0; i < n; i++)
            choice[i] = score[i] + ((const float *)bias->data)[(int64_t)i * rows_stride(bias)];
    if (p->groups) {
        if (!bias->present) memcpy(choice, score, n * 4);
        route_groups(p, choice, n, work, picked);
    }
    route_select(choice, n, k, picked);
    float *w = work;
    for (uint64_t j = 0; j < k; j++) w[j] = score[picked[j]];
    if (p->score == MLXN_ROUTE_SELECTED_SOFTMAX) {
        float high = -INFINITY;
        for (uint64_t j = 0; j < k; j++) high = w[j] > high ? w[j] : high;
        for (uint64_t j = k; j < ((k + 15) & ~(uint64_t)15); j++) w[j] = -INFINITY;
        float total = route_exp(w, k, high);
        for (uint64_t j = 0; j < k; j++) w[j] /= total;
    }
    bool scale_first = p->normalize == MLXN_ROUTE_SCALE_THEN_NORMALIZE;
    for (int pass = 0; pass < 2; pass++) {
        bool scales = (pass == 0) == scale_first;
        if (scales && scale->present)
            for (uint64_t j = 0; j < k; j++)
                w[j] *= ((const float *)scale->data)[(int64_t)picked[j] * rows_stride(scale)];
        if (scales || !p->normalize) continue;
        float sum = 0;
        for (uint64_t j = 0; j < k; j++) sum += w[j];
        for (uint64_t j = 0; j < k && sum > 1e-9f; j++) w[j] /= sum;
    }
    for (uint64_t j = 0; j < k; j++) {
        if (p->factor != 0) w[j] *= p->factor;
        ((uint32_t *)ids->data)[(int64_t)t * ids->strides[0] + (int64_t)j * rows_stride(ids)] = picked[j];
        ((float *)out->data)[(int64_t)t * out->strides[0] + (int64_t)j * rows_stride(out)] = w[j];
    }
}

static void run_route(cpu_run *run) {
    uint64_t group = route_group(run->args), padded = route_padded(run->args), chunk;
    float *score = run->local, *choice = score + padded, *work = choice + padded;
    uint32_t *picked = (uint32_t *)(work + padded + 16);
    while (cpu_next(run, &chunk)) {
        uint64_t end = mlxn_min_u64((chunk + 1) * group, run->args[R_LOGITS].dims[0]);
        for (uint64_t t = chunk * group; t < end; t++) route_token(run, t, score, choice, work, picked);
    }
}

/* ---- the sum ---- */

enum { S_EXPERTS, S_WEIGHTS, S_SHARED, S_GATE, S_RESIDUAL, S_OUT };
enum { SUM_PIECE = 1024 }; /* columns of a chunk */

static void plan_sum(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *y = &args[S_OUT];
    *out = (cpu_plan){.phases = 1, .chunks = {y->dims[0] * ((y->dims[1] + SUM_PIECE - 1) / SUM_PIECE)}};
}

static v16 sum_load(const mlxn_view *v, int64_t offset, uint64_t d, uint64_t n) {
    const char *row = (const char *)v->data + offset * (int64_t)rows_size(v->dtype);
    return rows_load(v->dtype, rows_stride(v) == 1, row, rows_stride(v), d, n);
}

static void run_sum(cpu_run *run) {
    const mlxn_view *e = &run->args[S_EXPERTS], *w = &run->args[S_WEIGHTS], *shared = &run->args[S_SHARED];
    const mlxn_view *gate = &run->args[S_GATE], *residual = &run->args[S_RESIDUAL], *out = &run->args[S_OUT];
    uint64_t pieces = (out->dims[1] + SUM_PIECE - 1) / SUM_PIECE, chunk;
    while (cpu_next(run, &chunk)) {
        int64_t t = (int64_t)(chunk / pieces);
        uint64_t end = mlxn_min_u64((chunk % pieces + 1) * SUM_PIECE, out->dims[1]);
        v16 part = v16_set1(1.0f);
        if (gate->present) part = v16_sigmoid(v16_set1(((const float *)gate->data)[t * rows_stride(gate)]));
        for (uint64_t d = chunk % pieces * SUM_PIECE; d < end; d += 16) {
            uint64_t n = simd_tail(d, end);
            v16 sum = v16_zero();
            for (uint64_t j = 0; j < w->dims[1]; j++) {
                float weight = ((const float *)w->data)[t * w->strides[0] + (int64_t)j * rows_stride(w)];
                sum =
                    v16_fma(sum_load(e, t * e->strides[0] + (int64_t)j * e->strides[1], d, n), v16_set1(weight), sum);
            }
            if (shared->present) sum = v16_fma(sum_load(shared, t * shared->strides[0], d, n), part, sum);
            if (residual->present) sum = v16_add(sum, sum_load(residual, t * residual->strides[0], d, n));
            char *dst = (char *)out->data + t * out->strides[0] * (int64_t)rows_size(out->dtype);
            rows_store(out->dtype, rows_stride(out) == 1, dst, rows_stride(out), d, sum, n);
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_moe)[];
const cpu_kernel CPU_ISA(cpu_kernels_moe)[] = {
    {MLXN_OP_moe_route, "moe_route_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_route, run_route},
    {MLXN_OP_moe_sum, "moe_sum_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_sum, run_sum},
    {0},
};
