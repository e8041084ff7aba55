/* delta_chunk.c (CPU kernels): the gated delta rule for many tokens, 64 at a time, as products of matrices (Yang et
 * al. 2024). With G the sums of the log-decays within 64 tokens, H the state at their start and d_i the change that
 * token i makes:
 *
 *   d_i = beta_i (v_i - e^{G_i} H k_i - sum over j < i of e^{G_i - G_j} (k_i . k_j) d_j)     a triangular system
 *   o_i = scale (e^{G_i} H q_i + sum over j <= i of e^{G_i - G_j} (q_i . k_j) d_j)
 *   H'  = e^{G_last} H + sum over i of e^{G_last - G_i} d_i k_i^T
 *
 * Everything is f32, the sums of the log-decays double. A chunk of work is one head. H lies transposed in scratch, so
 * that all products run along the value channels. */
#include "backend/cpu/kernels/chunk.h"

enum { DC = 64 };

typedef struct dc_shape {
    uint64_t sequences, tokens, heads, key_heads, dk, dv, kp, vp; /* kp, vp: padded to 16 */
} dc_shape;

typedef struct dc_scratch {
    float *q, *k, *kt;                  /* [DC][kp], [DC][kp], [kp][DC] */
    float *d, *o;                       /* [DC][vp] */
    float *a, *s;                       /* [DC][DC] */
    float *h;                           /* [kp][vp] */
    float *row;                         /* a row of the state, padded */
    float *out_decay, *in_decay, *beta; /* [DC]: e^{G_i}, e^{G_last - G_i} */
    double *sums;                       /* [DC]: G */
} dc_scratch;

static dc_shape dc_shape_of(const mlxn_view *a) {
    const mlxn_view *k = &a[1], *v = &a[2];
    dc_shape s = {.sequences = v->dims[0], .tokens = v->dims[1], .heads = v->dims[2], .key_heads = k->dims[2]};
    s.dk = k->dims[3];
    s.dv = v->dims[3];
    s.kp = (s.dk + 15) & ~(uint64_t)15;
    s.vp = (s.dv + 15) & ~(uint64_t)15;
    return s;
}

static uint64_t dc_carve(const dc_shape *s, float *base, dc_scratch *out) {
    uint64_t sizes[] = {DC * s->kp,    DC * s->kp, DC * s->kp, DC * s->vp, DC * s->vp, DC * DC, DC * DC,
                        s->kp * s->vp, s->kp,      DC,         DC,         DC,         2 * DC};
    float *sums = NULL;
    float **parts[] = {&out->q, &out->k,   &out->kt,        &out->d,        &out->o,    &out->a, &out->s,
                       &out->h, &out->row, &out->out_decay, &out->in_decay, &out->beta, &sums};
    uint64_t at = 0;
    for (int i = 0; i < 13; i++) {
        *parts[i] = base ? base + at : NULL;
        at += sizes[i];
    }
    out->sums = (double *)(void *)sums;
    return at;
}

static bool fits_delta_chunk(const mlxn_view *args, const void *params) {
    return args[2].dims[1] >= 32 && args[3].rank == 3;
}

static void plan_delta_chunk(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    dc_shape s = dc_shape_of(args);
    dc_scratch unused;
    *out = (cpu_plan){.phases = 1, .chunks = {s.heads}, .local_bytes = dc_carve(&s, NULL, &unused) * sizeof(float)};
}

/* Tokens [t, t + n) of a head into scratch. */
static void dc_bring(const cpu_run *run, const dc_shape *s, const dc_scratch *x, uint64_t seq, uint64_t t, uint64_t h,
                     uint64_t n) {
    const mlxn_view *a = run->args;
    const mlxn_gated_delta_net_params *p = run->params;
    uint64_t from = p->head_map == MLXN_HEADS_BLOCKS ? h / (s->heads / s->key_heads) : h % s->key_heads;
    double sum = 0;
    memset(x->kt, 0, DC * s->kp * sizeof *x->kt);
    for (uint64_t i = 0; i < n; i++) {
        float *q = x->q + i * s->kp, *k = x->k + i * s->kp;
        heads_copy(&a[0], heads_at(&a[0], seq, t + i, from), 0, s->dk, q);
        heads_copy(&a[1], heads_at(&a[1], seq, t + i, from), 0, s->dk, k);
        heads_copy(&a[2], heads_at(&a[2], seq, t + i, h), 0, s->dv, x->d + i * s->vp);
        if (p->l2_eps > 0.0f) {
            heads_unit(q, s->kp, p->l2_eps);
            heads_unit(k, s->kp, p->l2_eps);
        }
        for (uint64_t c = 0; c < s->dk; c++) x->kt[c * DC + i] = k[c];
        x->beta[i] = heads_number(&a[4], seq, t + i, h);
        sum += (double)heads_number(&a[3], seq, t + i, h);
        x->sums[i] = sum;
    }
    for (uint64_t i = n; i < DC; i++) x->sums[i] = sum;
    for (uint64_t i = 0; i < DC; i++) {
        x->out_decay[i] = (float)x->sums[i];
        x->in_decay[i] = (float)(sum - x->sums[i]);
    }
    for (uint64_t i = 0; i < DC; i += 16) {
        v16_store(x->out_decay + i, v16_exp(v16_load(x->out_decay + i)));
        v16_store(x->in_decay + i, v16_exp(v16_load(x->in_decay + i)));
    }
}

/* Rows of a: -beta_i e^{G_i - G_j} a_ij below the diagonal; of s: e^{G_i - G_j} s_ij up to it; zeros elsewhere. */
static void dc_mask(const dc_scratch *x, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < DC; j += 16) {
            float difference[16];
            for (uint64_t l = 0; l < 16; l++) difference[l] = (float)(x->sums[i] - x->sums[j + l]);
            v16 decay = v16_exp(v16_load(difference)), beta = v16_set1(-x->beta[i]);
            float *a = x->a + i * DC + j, *s = x->s + i * DC + j;
            uint64_t below = i > j ? mlxn_min_u64(i - j, 16) : 0, to = i + 1 > j ? mlxn_min_u64(i + 1 - j, 16) : 0;
            v16_store(a, v16_range(v16_zero(), v16_mul(v16_mul(v16_load(a), decay), beta), 0, below));
            v16_store(s, v16_range(v16_zero(), v16_mul(v16_load(s), decay), 0, to));
        }
}

static void dc_block(const dc_shape *s, const dc_scratch *x, uint64_t n, float scale) {
    ck_left q = {x->q, s->kp, 1}, k = {x->k, s->kp, 1}, a = {x->a, DC, 1}, att = {x->s, DC, 1}, kt = {x->k, 1, s->kp};
    ck_product(k, x->kt, DC, x->a, DC, n, DC, s->dk, false);
    ck_product(q, x->kt, DC, x->s, DC, n, DC, s->dk, false);
    dc_mask(x, n);
    /* right sides: beta (v - e^G H k) */
    ck_product(k, x->h, s->vp, x->o, s->vp, n, s->vp, s->dk, false);
    for (uint64_t i = 0; i < n; i++) {
        v16 decay = v16_set1(x->out_decay[i]), beta = v16_set1(x->beta[i]);
        for (uint64_t j = i * s->vp; j < (i + 1) * s->vp; j += 16)
            v16_store(x->d + j, v16_mul(beta, v16_fnma(decay, v16_load(x->o + j), v16_load(x->d + j))));
    }
    /* forward substitution, sixteen rows at a time */
    for (uint64_t b = 0; b < n; b += 16) {
        uint64_t rows = mlxn_min_u64(16, n - b);
        ck_product((ck_left){a.data + b * DC, DC, 1}, x->d, s->vp, x->d + b * s->vp, s->vp, rows, s->vp, b, true);
        for (uint64_t i = b + 1; i < b + rows; i++)
            ck_product((ck_left){a.data + i * DC + b, DC, 1}, x->d + b * s->vp, s->vp, x->d + i * s->vp, s->vp, 1,
                       s->vp, i - b, true);
    }
    /* o = scale (e^G H q + s d) */
    ck_product(q, x->h, s->vp, x->o, s->vp, n, s->vp, s->dk, false);
    for (uint64_t i = 0; i < n; i++) heads_scale(x->o + i * s->vp, s->vp, x->out_decay[i]);
    ck_product(att, x->d, s->vp, x->o, s->vp, n, s->vp, n, true);
    heads_scale(x->o, n * s->vp, scale);
    /* the state */
    for (uint64_t i = 0; i < n; i++) heads_scale(x->d + i * s->vp, s->vp, x->in_decay[i]);
    heads_scale(x->h, s->kp * s->vp, x->out_decay[n - 1]);
    ck_product(kt, x->d, s->vp, x->h, s->vp, s->dk, s->vp, n, true);
}

static void run_delta_chunk(cpu_run *run) {
    const mlxn_view *slots = &run->args[5], *state = &run->args[6], *out = &run->args[7];
    dc_shape s = dc_shape_of(run->args);
    dc_scratch x;
    dc_carve(&s, run->local, &x);
    float scale = ((const mlxn_gated_delta_net_params *)run->params)->scale;
    if (scale == 0.0f) scale = 1.0f;
    uint64_t h;
    while (cpu_next(run, &h))
        for (uint64_t seq = 0; seq < s.sequences; seq++) {
            uint64_t slot = heads_slot(slots, seq);
            bool exists = slot < state->dims[0];
            float *base = (float *)state->data + (int64_t)h * state->strides[1];
            if (exists) {
                base += (int64_t)slot * state->strides[0];
                ck_load_state(state, base, s.kp, s.vp, x.row, x.h);
            } else {
                memset(x.o, 0, DC * s.vp * sizeof *x.o);
            }
            for (uint64_t t = 0; t < s.tokens; t += DC) {
                uint64_t n = mlxn_min_u64(DC, s.tokens - t);
                if (exists) {
                    dc_bring(run, &s, &x, seq, t, h, n);
                    dc_block(&s, &x, n, scale);
                }
                ck_store_out(out, seq, t, h, n, x.o, s.vp);
            }
            if (exists) ck_store_state(state, base, s.vp, x.h);
        }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_delta_chunk)[];
const cpu_kernel CPU_ISA(cpu_kernels_delta_chunk)[] = {
    {MLXN_OP_gated_delta_net, "gated_delta_net_chunks_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_delta_chunk,
     plan_delta_chunk, run_delta_chunk},
    {0},
};
