/* attention_backward.c (CPU kernels): attention_backward. Phase 0 goes over the rows of q: it finds each row's
 * logarithm of the sum of exponentials and the mean of dout v', and writes dq. Phase 1 goes over blocks of keys,
 * computes the probabilities again and writes dk and dv; all rows come to a key in the same order. */
#include "backend/cpu/kernels/span.h"

enum { Q, K, V, DOUT, MASK, DQ, DK, DV };
enum { KEYS = 16 };

static bool fits(const mlxn_view *args, const void *params) {
    for (uint32_t a = 0; a <= DV; a++)
        if (args[a].present && rows_stride(&args[a]) != 1) return false;
    return true;
}

/* shared: per row of q the two numbers; local: scores and products of a row, or a block's gradients. */
static void plan(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t rows = args[Q].dims[0] * args[Q].dims[1], keys = args[K].dims[1];
    uint64_t block = KEYS * (args[Q].dims[2] + args[V].dims[2]);
    *out = (cpu_plan){.phases = 2,
                      .chunks = {rows, args[K].dims[0] * ((keys + KEYS - 1) / KEYS)},
                      .shared_bytes = 2 * rows * sizeof(float),
                      .local_bytes = (2 * keys > block ? 2 * keys : block) * sizeof(float)};
}

static const float *row_of(const mlxn_view *v, uint64_t head, uint64_t row) {
    return (const float *)v->data + (int64_t)head * v->strides[0] + (int64_t)row * v->strides[1];
}

static float dot(const float *x, const float *y, uint64_t n) {
    v16 s[2] = {v16_zero(), v16_zero()};
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t m = simd_tail(i, n);
        s[i / 16 % 2] = v16_fma(v16_load_as(MLXN_F32, x, i, m), v16_load_as(MLXN_F32, y, i, m), s[i / 16 % 2]);
    }
    return v16_hsum(v16_add(s[0], s[1]));
}

/* y += a x */
static void add_scaled(float *y, float a, const float *x, uint64_t n) {
    v16 f = v16_set1(a);
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t m = simd_tail(i, n);
        v16_store_as(MLXN_F32, y, i, v16_fma(f, v16_load_as(MLXN_F32, x, i, m), v16_load_as(MLXN_F32, y, i, m)), m);
    }
}

typedef struct call {
    const mlxn_view *args;
    float scale;
    bool causal;
    uint64_t rows, keys, d, w, group;
} call;

static uint64_t seen(const call *c, uint64_t t) { return c->causal ? t + c->keys - c->rows + 1 : c->keys; }

static float score(const call *c, uint64_t h, uint64_t t, uint64_t s) {
    float x = c->scale * dot(row_of(&c->args[Q], h, t), row_of(&c->args[K], h / c->group, s), c->d);
    const mlxn_view *mask = &c->args[MASK];
    return mask->present ? x + ((const float *)mask->data)[(int64_t)t * mask->strides[0] + (int64_t)s] : x;
}

static void exp_in_place(float *x, uint64_t n, float minus) {
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t m = simd_tail(i, n);
        v16_store_as(MLXN_F32, x, i, v16_exp(v16_sub(v16_load_as(MLXN_F32, x, i, m), v16_set1(minus))), m);
    }
}

static void one_row(const call *c, uint64_t h, uint64_t t, float *kept, float *prob) {
    float *dp = prob + c->keys, top = -INFINITY;
    uint64_t n = seen(c, t), g = h / c->group;
    const float *dout = row_of(&c->args[DOUT], h, t);
    float *dq = (float *)c->args[DQ].data + (int64_t)h * c->args[DQ].strides[0] + (int64_t)t * c->args[DQ].strides[1];
    memset(dq, 0, c->d * sizeof *dq);
    for (uint64_t s = 0; s < n; s++) {
        prob[s] = score(c, h, t, s);
        if (prob[s] > top) top = prob[s];
    }
    kept[0] = INFINITY; /* e^(x - inf) is 0: a row that sees nothing */
    kept[1] = 0;
    if (top == -INFINITY) return;
    exp_in_place(prob, n, top);
    double sum = 0, delta = 0;
    for (uint64_t s = 0; s < n; s++) {
        dp[s] = dot(dout, row_of(&c->args[V], g, s), c->w);
        sum += (double)prob[s];
        delta += (double)prob[s] * (double)dp[s];
    }
    float mean = (float)(delta / sum), inverse = (float)(1 / sum);
    kept[0] = (float)((double)top + log(sum));
    kept[1] = mean;
    for (uint64_t s = 0; s < n; s++)
        add_scaled(dq, c->scale * prob[s] * inverse * (dp[s] - mean), row_of(&c->args[K], g, s), c->d);
}

static void one_block(const call *c, uint64_t g, uint64_t begin, const float *kept, float *dk) {
    uint64_t n = mlxn_min_u64(KEYS, c->keys - begin);
    float *dv = dk + KEYS * c->d, prob[KEYS];
    memset(dk, 0, KEYS * (c->d + c->w) * sizeof *dk);
    for (uint64_t h = g * c->group; h < (g + 1) * c->group; h++)
        for (uint64_t t = 0; t < c->rows; t++) {
            const float *row = kept + 2 * (h * c->rows + t), *dout = row_of(&c->args[DOUT], h, t);
            uint64_t end = seen(c, t), m = end > begin ? mlxn_min_u64(n, end - begin) : 0;
            if (!m || row[0] == INFINITY) continue;
            for (uint64_t s = 0; s < m; s++) prob[s] = score(c, h, t, begin + s);
            exp_in_place(prob, m, row[0]);
            for (uint64_t s = 0; s < m; s++) {
                float dp = dot(dout, row_of(&c->args[V], g, begin + s), c->w);
                add_scaled(dv + s * c->w, prob[s], dout, c->w);
                add_scaled(dk + s * c->d, c->scale * prob[s] * (dp - row[1]), row_of(&c->args[Q], h, t), c->d);
            }
        }
    for (uint64_t s = 0; s < n; s++) {
        memcpy((void *)(uintptr_t)row_of(&c->args[DK], g, begin + s), dk + s * c->d, c->d * sizeof *dk);
        memcpy((void *)(uintptr_t)row_of(&c->args[DV], g, begin + s), dv + s * c->w, c->w * sizeof *dv);
    }
}

static void run_backward(cpu_run *run) {
    const mlxn_view *a = run->args;
    const mlxn_attention_backward_params *p = run->params;
    call c = {
        a, p->scale, p->causal, a[Q].dims[1], a[K].dims[1], a[Q].dims[2], a[V].dims[2], a[Q].dims[0] / a[K].dims[0]};
    float *kept = run->shared;
    uint64_t chunk, blocks = (c.keys + KEYS - 1) / KEYS;
    while (cpu_next(run, &chunk)) {
        if (run->phase == 0)
            one_row(&c, chunk / c.rows, chunk % c.rows, kept + 2 * chunk, run->local);
        else
            one_block(&c, chunk / blocks, chunk % blocks * KEYS, kept, run->local);
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_attention_backward)[];
const cpu_kernel CPU_ISA(cpu_kernels_attention_backward)[] = {
    {MLXN_OP_attention_backward, "attention_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits, plan,
     run_backward},
    {0},
};
