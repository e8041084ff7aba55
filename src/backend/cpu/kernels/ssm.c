/* ssm.c (CPU kernels): causal convolution with a state, the gates of the delta rule, triangular systems. */
#include "backend/cpu/kernels/heads.h"

/* --- ssm_conv: a chunk is CONV_CHANNELS channels, which take all sequences in their order --- */

enum { CONV_CHANNELS = 64, CONV_TOKENS = 64 };

static void plan_ssm_conv(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t channels = args[0].dims[2], width = args[1].dims[1];
    *out = (cpu_plan){.phases = 1,
                      .chunks = {(channels + CONV_CHANNELS - 1) / CONV_CHANNELS},
                      .local_bytes = (2 * width + CONV_TOKENS) * CONV_CHANNELS * sizeof(float)};
}

typedef struct conv_work {
    const mlxn_view *x, *w, *bias, *state, *out;
    float *weights;           /* [width][CONV_CHANNELS] */
    float *bias32;            /* [CONV_CHANNELS] */
    float *seen;              /* [width - 1 + CONV_TOKENS][CONV_CHANNELS]; the first width - 1 rows came before */
    uint64_t width, first, n; /* channels in hand */
    bool silu;
} conv_work;

static void conv_weights(const conv_work *c) {
    int64_t step = rows_stride(c->w);
    memset(c->weights, 0, (c->width + 1) * CONV_CHANNELS * sizeof(float));
    for (uint64_t i = 0; i < c->n; i++) {
        int64_t row = (int64_t)(c->first + i) * c->w->strides[0];
        for (uint64_t k = 0; k < c->width; k++)
            c->weights[k * CONV_CHANNELS + i] = simd_get(c->w->dtype, c->w->data, row + (int64_t)k * step);
        if (c->bias->present)
            c->bias32[i] = simd_get(c->bias->dtype, c->bias->data, (int64_t)(c->first + i) * rows_stride(c->bias));
    }
}

/* The state of a sequence into the first rows of `seen`, or back. */
static void conv_state(const conv_work *c, uint64_t slot, bool back) {
    const mlxn_view *s = c->state;
    for (uint64_t i = 0; i < c->n; i++) {
        int64_t row = (int64_t)slot * s->strides[0] + (int64_t)(c->first + i) * s->strides[1];
        for (uint64_t k = 0; k + 1 < c->width; k++) {
            int64_t at = row + (int64_t)k * rows_stride(s);
            if (back)
                simd_set(s->dtype, s->data, at, c->seen[k * CONV_CHANNELS + i]);
            else
                c->seen[k * CONV_CHANNELS + i] = simd_get(s->dtype, s->data, at);
        }
    }
}

static char *conv_at(const mlxn_view *v, uint64_t s, uint64_t t, uint64_t c) {
    int64_t at = (int64_t)s * v->strides[0] + (int64_t)t * v->strides[1] + (int64_t)c * rows_stride(v);
    return (char *)v->data + at * (int64_t)rows_size(v->dtype);
}

/* Tokens [t, t + n) of a sequence, read before any is written. */
static void conv_tokens(const conv_work *c, uint64_t s, uint64_t t, uint64_t n) {
    int64_t sx = rows_stride(c->x), so = rows_stride(c->out);
    float *fresh = c->seen + (c->width - 1) * CONV_CHANNELS;
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < c->n; j += 16)
            v16_store(fresh + i * CONV_CHANNELS + j,
                      rows_load(c->x->dtype, sx == 1, conv_at(c->x, s, t + i, c->first), sx, j, simd_tail(j, c->n)));
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < c->n; j += 16) {
            v16 sum = v16_load(c->bias32 + j);
            for (uint64_t k = 0; k < c->width; k++)
                sum = v16_fma(v16_load(c->weights + k * CONV_CHANNELS + j),
                              v16_load(c->seen + (i + k) * CONV_CHANNELS + j), sum);
            if (c->silu) sum = v16_div(sum, v16_add(v16_set1(1.0f), v16_exp(v16_sub(v16_zero(), sum))));
            rows_store(c->out->dtype, so == 1, conv_at(c->out, s, t + i, c->first), so, j, sum, simd_tail(j, c->n));
        }
    memmove(c->seen, c->seen + n * CONV_CHANNELS, (c->width - 1) * CONV_CHANNELS * sizeof(float));
}

static void run_ssm_conv(cpu_run *run) {
    const mlxn_view *a = run->args, *slots = &a[3];
    conv_work c = {.x = &a[0], .w = &a[1], .bias = &a[2], .state = &a[4], .out = &a[5], .width = a[1].dims[1]};
    c.silu = ((const mlxn_ssm_conv_params *)run->params)->silu;
    c.weights = run->local;
    c.bias32 = c.weights + c.width * CONV_CHANNELS;
    c.seen = c.bias32 + CONV_CHANNELS;
    uint64_t chunk, tokens = c.x->dims[1];
    while (cpu_next(run, &chunk)) {
        c.first = chunk * CONV_CHANNELS;
        c.n = mlxn_min_u64(CONV_CHANNELS, c.x->dims[2] - c.first);
        conv_weights(&c);
        for (uint64_t s = 0; s < c.x->dims[0]; s++) {
            uint64_t slot = heads_slot(slots, s);
            if (slot >= c.state->dims[0]) {
                int64_t so = rows_stride(c.out);
                for (uint64_t t = 0; t < tokens; t++)
                    for (uint64_t j = 0; j < c.n; j += 16)
                        rows_store(c.out->dtype, so == 1, conv_at(c.out, s, t, c.first), so, j, v16_zero(),
                                   simd_tail(j, c.n));
                continue;
            }
            conv_state(&c, slot, false);
            for (uint64_t t = 0; t < tokens; t += CONV_TOKENS)
                conv_tokens(&c, s, t, mlxn_min_u64(CONV_TOKENS, tokens - t));
            conv_state(&c, slot, true);
        }
    }
}

/* --- compute_g_beta --- */

static void plan_g_beta(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t group = mlxn_max_u64(1, 1024 / args[0].dims[1]);
    *out = (cpu_plan){.phases = 1, .chunks = {(args[0].dims[0] + group - 1) / group}};
}

static void run_g_beta(cpu_run *run) {
    const mlxn_view *a = &run->args[0], *b = &run->args[1], *bias = &run->args[2], *rate = &run->args[3];
    const mlxn_view *g = &run->args[4], *beta = &run->args[5];
    uint64_t heads = a->dims[1], group = mlxn_max_u64(1, 1024 / heads), chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t end = mlxn_min_u64((chunk + 1) * group, a->dims[0]);
        for (uint64_t t = chunk * group; t < end; t++) {
            const void *ra = rows_at(a, t, rows_size(a->dtype)), *rb = rows_at(b, t, rows_size(b->dtype));
            float *rg = rows_at(g, t, 4), *rbeta = rows_at(beta, t, 4);
            for (uint64_t h = 0; h < heads; h++) {
                int64_t i = (int64_t)h;
                float z = simd_get(a->dtype, ra, i * rows_stride(a));
                z += ((const float *)bias->data)[i * rows_stride(bias)];
                float step = z > 20.0f ? z : (float)log1p(exp((double)z));
                rg[i * rows_stride(g)] = step * ((const float *)rate->data)[i * rows_stride(rate)];
                double gate = (double)simd_get(b->dtype, rb, i * rows_stride(b));
                rbeta[i * rows_stride(beta)] = (float)(1.0 / (1.0 + exp(-gate)));
            }
        }
    }
}

/* --- tri_solve: a chunk is TRI_COLUMNS columns of a matrix, kept in f32 scratch until all rows are known --- */

enum { TRI_COLUMNS = 64 };

static void plan_tri_solve(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *b = &args[1];
    *out = (cpu_plan){.phases = 1,
                      .chunks = {b->dims[0] * ((b->dims[2] + TRI_COLUMNS - 1) / TRI_COLUMNS)},
                      .local_bytes = b->dims[1] * TRI_COLUMNS * sizeof(float)};
}

static void run_tri_solve(cpu_run *run) {
    const mlxn_view *l = &run->args[0], *b = &run->args[1], *x = &run->args[2];
    uint64_t n = b->dims[1], columns = b->dims[2], parts = (columns + TRI_COLUMNS - 1) / TRI_COLUMNS, chunk;
    size_t size = rows_size(b->dtype);
    int64_t sb = rows_stride(b), sx = rows_stride(x), sl = rows_stride(l);
    float *solved = run->local;
    while (cpu_next(run, &chunk)) {
        uint64_t first = chunk % parts * TRI_COLUMNS, count = mlxn_min_u64(TRI_COLUMNS, columns - first);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t row = chunk / parts * n + i;
            const void *factors = rows_at(l, row, size);
            for (uint64_t c = 0; c < count; c += 16) {
                uint64_t k = simd_tail(c, count);
                v16 sum = rows_load(b->dtype, sb == 1, rows_at(b, row, size), sb, first + c, k);
                for (uint64_t j = 0; j < i; j++)
                    sum = v16_fnma(v16_set1(simd_get(l->dtype, factors, (int64_t)j * sl)),
                                   v16_load(solved + j * TRI_COLUMNS + c), sum);
                v16_store(solved + i * TRI_COLUMNS + c, sum);
                rows_store(x->dtype, sx == 1, rows_at(x, row, size), sx, first + c, sum, k);
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_ssm)[];
const cpu_kernel CPU_ISA(cpu_kernels_ssm)[] = {
    {MLXN_OP_ssm_conv, "ssm_conv_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_ssm_conv, run_ssm_conv},
    {MLXN_OP_compute_g_beta, "compute_g_beta_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_g_beta,
     run_g_beta},
    {MLXN_OP_tri_solve, "tri_solve_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_tri_solve,
     run_tri_solve},
    {0},
};
