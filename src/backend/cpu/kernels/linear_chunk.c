/* linear_chunk.c (CPU kernels): gated linear attention (Yang et al. 2023) and the scan of Mamba 2 (Dao & Gu 2024) for
 * many tokens, a chunk of them at a time, as products of matrices. With H the state at the start of a chunk,
 * transposed, and D(i, j) the decays from token j + 1 to token i multiplied:
 *
 *   o_i = (q_i D(i, start)) H + sum over j <= i of ((q_i D(i, j)) . k_j) v_j
 *   H'  = D(end, start) H + sum over j of (D(end, j) k_j) v_j^T
 *
 * Mamba 2 has one decay per head and token: D is e to the difference of two sums of logarithms, which are double.
 * Gated linear attention has one per key channel, which may be 0: D is multiplied up, never divided, and its chunks
 * are shorter. Everything else is f32. A chunk of work is one head; a head's state lies in scratch. */
#include "backend/cpu/kernels/chunk.h"

enum { LC_GLA = 16, LC_SSM = 64 };

typedef struct lc_call {
    const mlxn_view *q, *k, *v, *decay, *step, *slots, *state, *out; /* step: of the scan */
    uint64_t chunk;                                                  /* tokens */
    uint64_t sequences, tokens, heads, dk, dv, kp, vp;               /* kp, vp: padded to 16 */
    float scale;
    bool softplus;
} lc_call;

typedef struct lc_scratch {
    float *q, *k, *g; /* [chunk][kp] */
    float *kt;        /* [kp][chunk] */
    float *v, *o;     /* [chunk][vp] */
    float *s;         /* [chunk][chunk] */
    float *h;         /* [kp][vp] */
    float *row;       /* [kp] */
    float *decay;     /* [chunk] */
    double *sums;     /* [chunk] */
} lc_scratch;

static void lc_dims(lc_call *c) {
    c->sequences = c->v->dims[0];
    c->tokens = c->v->dims[1];
    c->heads = c->v->dims[2];
    c->dv = c->v->dims[3];
    c->dk = c->state->dims[3];
    c->kp = (c->dk + 15) & ~(uint64_t)15;
    c->vp = (c->dv + 15) & ~(uint64_t)15;
}
static lc_call lc_gla(const mlxn_view *a, const void *params) {
    float scale = ((const mlxn_gla_params *)params)->scale;
    lc_call c = {.q = &a[0], .k = &a[1], .v = &a[2], .decay = &a[3], .slots = &a[4], .state = &a[5], .out = &a[6]};
    c.chunk = LC_GLA;
    c.scale = scale == 0.0f ? 1.0f : scale;
    lc_dims(&c);
    return c;
}
static lc_call lc_ssm(const mlxn_view *a, const void *params) {
    lc_call c = {.v = &a[0], .step = &a[1], .decay = &a[2], .k = &a[3], .q = &a[4], .slots = &a[5], .state = &a[6]};
    c.out = &a[7];
    c.chunk = LC_SSM;
    c.scale = 1.0f;
    c.softplus = ((const mlxn_ssm_scan_params *)params)->softplus;
    lc_dims(&c);
    return c;
}

static uint64_t lc_carve(const lc_call *c, float *base, lc_scratch *out) {
    uint64_t keys = c->chunk * c->kp, values = c->chunk * c->vp, at = 0;
    uint64_t sizes[] = {keys, keys, keys, keys, values, values, c->chunk * c->chunk, c->kp * c->vp, c->kp, c->chunk};
    float **parts[] = {&out->q, &out->k, &out->g, &out->kt,  &out->v,
                       &out->o, &out->s, &out->h, &out->row, &out->decay};
    for (int i = 0; i < 10; i++) {
        *parts[i] = base ? base + at : NULL;
        at += sizes[i];
    }
    out->sums = base ? (double *)(void *)(base + at) : NULL; /* all sizes are multiples of 16 floats */
    return at + 2 * c->chunk;
}

static void lc_plan(const lc_call *c, cpu_plan *out) {
    lc_scratch unused;
    *out = (cpu_plan){.phases = 1, .chunks = {c->heads}, .local_bytes = lc_carve(c, NULL, &unused) * sizeof(float)};
}

/* q, k and v of tokens [t, t + n), with zeros where a chunk is not full. */
static void lc_bring(const lc_call *c, const lc_scratch *x, uint64_t seq, uint64_t t, uint64_t h, uint64_t n) {
    uint64_t from = h / (c->heads / c->k->dims[2]);
    for (uint64_t i = 0; i < n; i++) {
        heads_copy(c->q, heads_at(c->q, seq, t + i, from), 0, c->dk, x->q + i * c->kp);
        heads_copy(c->k, heads_at(c->k, seq, t + i, from), 0, c->dk, x->k + i * c->kp);
        heads_copy(c->v, heads_at(c->v, seq, t + i, h), 0, c->dv, x->v + i * c->vp);
    }
}

/* --- gated linear attention --- */

/* s_ij for j <= i; zeros elsewhere. */
static void lc_pairs(const lc_call *c, const lc_scratch *x, uint64_t n) {
    uint64_t kp = c->kp;
    memset(x->s, 0, LC_GLA * LC_GLA * sizeof *x->s);
    for (uint64_t j = 0; j < n; j++) {
        float *key = x->row;
        memcpy(key, x->k + j * kp, kp * sizeof *key);
        for (uint64_t i = j; i < n; i++) {
            const float *q = x->q + i * kp, *g = x->g + i * kp;
            v16 sum = v16_zero();
            for (uint64_t l = 0; l < kp; l += 16) {
                v16 k = v16_load(key + l);
                if (i > j) v16_store(key + l, k = v16_mul(k, v16_load(g + l)));
                sum = v16_fma(v16_load(q + l), k, sum);
            }
            x->s[i * LC_GLA + j] = v16_hsum(sum);
        }
    }
}

static void lc_block_gla(const lc_call *c, const lc_scratch *x, uint64_t seq, uint64_t t, uint64_t h, uint64_t n) {
    uint64_t kp = c->kp, vp = c->vp;
    for (uint64_t i = 0; i < n; i++) heads_copy(c->decay, heads_at(c->decay, seq, t + i, h), 0, c->dk, x->g + i * kp);
    lc_pairs(c, x, n);
    for (uint64_t l = 0; l < kp; l += 16) {
        v16 all = v16_set1(1.0f);
        for (uint64_t i = 0; i < n; i++) { /* decays from the start on, to the queries */
            float *q = x->q + i * kp + l;
            all = v16_mul(all, v16_load(x->g + i * kp + l));
            v16_store(q, v16_mul(v16_load(q), all));
        }
        v16_store(x->row + l, all);
        all = v16_set1(1.0f);
        for (uint64_t i = n; i-- > 0;) { /* decays up to the end, to the keys */
            float *k = x->k + i * kp + l;
            v16_store(k, v16_mul(v16_load(k), all));
            all = v16_mul(all, v16_load(x->g + i * kp + l));
        }
    }
    ck_product((ck_left){x->q, kp, 1}, x->h, vp, x->o, vp, n, vp, c->dk, false);
    ck_product((ck_left){x->s, LC_GLA, 1}, x->v, vp, x->o, vp, n, vp, n, true);
    heads_scale(x->o, n * vp, c->scale);
    for (uint64_t i = 0; i < c->dk; i++) heads_scale(x->h + i * vp, vp, x->row[i]);
    ck_product((ck_left){x->k, 1, kp}, x->v, vp, x->h, vp, c->dk, vp, n, true);
}

/* --- the scan of Mamba 2 --- */

/* Values times their steps, and the sums of the logarithms. */
static void lc_steps(const lc_call *c, const lc_scratch *x, uint64_t seq, uint64_t t, uint64_t h, uint64_t n) {
    double sum = 0, a = (double)((const float *)c->decay->data)[(int64_t)h * rows_stride(c->decay)];
    for (uint64_t i = 0; i < LC_SSM; i++) {
        if (i < n) {
            double step = (double)heads_number(c->step, seq, t + i, h);
            if (c->softplus && step <= 20) step = log1p(exp(step));
            sum += step * a;
            heads_scale(x->v + i * c->vp, c->vp, (float)step);
        }
        x->sums[i] = sum;
        x->decay[i] = (float)sum;
    }
    for (uint64_t i = 0; i < LC_SSM; i += 16) v16_store(x->decay + i, v16_exp(v16_load(x->decay + i)));
}

static void lc_block_ssm(const lc_call *c, const lc_scratch *x, uint64_t seq, uint64_t t, uint64_t h, uint64_t n) {
    uint64_t kp = c->kp, vp = c->vp;
    lc_steps(c, x, seq, t, h, n);
    memset(x->kt, 0, kp * LC_SSM * sizeof *x->kt);
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t l = 0; l < c->dk; l++) x->kt[l * LC_SSM + i] = x->k[i * kp + l];
    ck_product((ck_left){x->q, kp, 1}, x->kt, LC_SSM, x->s, LC_SSM, n, LC_SSM, c->dk, false);
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < LC_SSM; j += 16) {
            float difference[16], *s = x->s + i * LC_SSM + j;
            for (uint64_t l = 0; l < 16; l++) difference[l] = (float)(x->sums[i] - x->sums[j + l]);
            uint64_t to = i + 1 > j ? mlxn_min_u64(i + 1 - j, 16) : 0;
            v16_store(s, v16_range(v16_zero(), v16_mul(v16_load(s), v16_exp(v16_load(difference))), 0, to));
        }
    ck_product((ck_left){x->q, kp, 1}, x->h, vp, x->o, vp, n, vp, c->dk, false);
    for (uint64_t i = 0; i < n; i++) heads_scale(x->o + i * vp, vp, x->decay[i]);
    ck_product((ck_left){x->s, LC_SSM, 1}, x->v, vp, x->o, vp, n, vp, n, true);
    heads_scale(x->h, kp * vp, x->decay[n - 1]);
    for (uint64_t i = 0; i < n; i += 16) {
        float rest[16];
        for (uint64_t l = 0; l < 16; l++) rest[l] = (float)(x->sums[n - 1] - x->sums[i + l]);
        v16_store(rest, v16_exp(v16_load(rest)));
        for (uint64_t l = 0; l < simd_tail(i, n); l++) heads_scale(x->v + (i + l) * vp, vp, rest[l]);
    }
    ck_product((ck_left){x->k, 1, kp}, x->v, vp, x->h, vp, c->dk, vp, n, true);
}

/* --- */

static void lc_run(cpu_run *run, const lc_call *c) {
    lc_scratch x;
    lc_carve(c, run->local, &x);
    uint64_t h;
    while (cpu_next(run, &h))
        for (uint64_t seq = 0; seq < c->sequences; seq++) {
            uint64_t slot = heads_slot(c->slots, seq);
            bool exists = slot < c->state->dims[0];
            float *base = (float *)c->state->data + (int64_t)h * c->state->strides[1];
            if (exists) {
                base += (int64_t)slot * c->state->strides[0];
                ck_load_state(c->state, base, c->kp, c->vp, x.row, x.h);
            } else {
                memset(x.o, 0, c->chunk * c->vp * sizeof *x.o);
            }
            for (uint64_t t = 0; t < c->tokens; t += c->chunk) {
                uint64_t n = mlxn_min_u64(c->chunk, c->tokens - t);
                if (exists) {
                    lc_bring(c, &x, seq, t, h, n);
                    (c->step ? lc_block_ssm : lc_block_gla)(c, &x, seq, t, h, n);
                }
                ck_store_out(c->out, seq, t, h, n, x.o, c->vp);
            }
            if (exists) ck_store_state(c->state, base, c->vp, x.h);
        }
}

/* Where a chunk is full and the state large enough to be worth the products. */
static bool fits_gla(const mlxn_view *args, const void *params) {
    return args[2].dims[1] >= LC_GLA && args[2].dims[3] >= 16;
}
static void plan_gla(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    lc_call c = lc_gla(args, params);
    lc_plan(&c, out);
}
static void run_gla(cpu_run *run) {
    lc_call c = lc_gla(run->args, run->params);
    lc_run(run, &c);
}

/* One decay per head. */
static bool fits_ssm(const mlxn_view *args, const void *params) {
    return args[0].dims[1] >= 32 && args[0].dims[3] >= 16 && args[2].rank == 1;
}
static void plan_ssm(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    lc_call c = lc_ssm(args, params);
    lc_plan(&c, out);
}
static void run_ssm(cpu_run *run) {
    lc_call c = lc_ssm(run->args, run->params);
    lc_run(run, &c);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_linear_chunk)[];
const cpu_kernel CPU_ISA(cpu_kernels_linear_chunk)[] = {
    {MLXN_OP_gla, "gla_chunks_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_gla, plan_gla, run_gla},
    {MLXN_OP_ssm_scan, "ssm_scan_chunks_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_ssm, plan_ssm, run_ssm},
    {0},
};
