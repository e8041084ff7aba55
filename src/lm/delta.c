/* delta.c: layers of gated delta net (Yang et al. 2024, arXiv:2412.06464) as the Qwen hybrids have them.
 *
 * Queries, keys and values go through a short causal convolution, then every head of values keeps a matrix that each
 * token decays and corrects; what it reads is normed per head and gated. The state is the context's, by sequence: a
 * step of one sequence is a run of tokens, any other one a row of tokens that go on from one another. */
#include <math.h>

#include "lm/lm_internal.h"

/* Columns [first, first + count) of each of `groups` groups of `width` columns, as [n, groups, count]. */
static mlxn_tensor columns(mlxn_buffer *buffer, uint64_t n, uint64_t groups, uint64_t width, uint64_t first,
                           uint64_t count) {
    mlxn_tensor t = mlxn_tensor_3d(buffer, first * sizeof(float), MLXN_F32, n, groups, count);
    t.strides[0] = (int64_t)(groups * width);
    t.strides[1] = (int64_t)width;
    return t;
}

/* One matrix for queries, keys, values and gates, and one for both inputs of the gates of the state; their rows lie
 * by heads of keys. */
static void split_fused(const mlxn_lm_forward *f, const mlxn_lm_layer *l) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_work *w = f->work;
    const mlxn_tensor none = {0};
    const uint64_t n = f->n, groups = s->delta_k_heads, each = s->delta_v_heads / s->delta_k_heads;
    const uint64_t k = s->delta_k_dim, v = each * s->delta_v_dim, width = 2 * k + 2 * v;
    const uint64_t mixed = mlxn_lm_dim_value(s, MLXN_LM_DELTA_QKV);
    const struct { uint64_t from, count, to; } parts[] = {{0, k, 0}, {k, k, groups * k}, {2 * k, v, 2 * groups * k}};
    mlxn_encoder *e = f->encoder;
    mlxn_matmul(e, f->h, l->delta_qkvz, none, none, mlxn_tensor_2d(w->delta_fused, 0, MLXN_F32, n, groups * width));
    mlxn_matmul(e, f->h, l->delta_ba, none, none, mlxn_tensor_2d(w->delta_ba, 0, MLXN_F32, n, 2 * groups * each));
    for (int i = 0; i < 3; i++) {
        mlxn_tensor to = columns(w->delta_mix, n, groups, parts[i].count, parts[i].to, parts[i].count);
        to.strides[0] = (int64_t)mixed;
        mlxn_copy(e, columns(w->delta_fused, n, groups, width, parts[i].from, parts[i].count), to);
    }
    mlxn_copy(e, columns(w->delta_fused, n, groups, width, 2 * k + v, v), columns(w->delta_z, n, groups, v, 0, v));
    mlxn_copy(e, columns(w->delta_ba, n, groups, 2 * each, 0, each), columns(w->delta_b, n, groups, each, 0, each));
    mlxn_copy(e, columns(w->delta_ba, n, groups, 2 * each, each, each),
              columns(w->delta_a, n, groups, each, 0, each));
}

void mlxn_lm_delta(const mlxn_lm_forward *f, uint32_t layer) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_layer *l = &f->model->layers[layer];
    const mlxn_lm_kv_layer *states = &f->kv->layers[layer];
    const mlxn_lm_work *w = f->work;
    const mlxn_tensor none = {0};
    const uint64_t n = f->n, hk = s->delta_k_heads, hv = s->delta_v_heads, dk = s->delta_k_dim, dv = s->delta_v_dim;
    const uint64_t mixed = mlxn_lm_dim_value(s, MLXN_LM_DELTA_QKV);
    const uint64_t runs = f->one_sequence ? 1 : n, tokens = n / runs;
    const mlxn_ssm_conv_params conv = {.silu = 1};
    const mlxn_gated_delta_net_params delta = {
        .scale = 1 / sqrtf((float)dk), .head_map = MLXN_HEADS_BLOCKS, .l2_eps = 1e-6F};
    const mlxn_norm_gate_params norm = {.eps = s->norm_eps};
    mlxn_encoder *e = f->encoder;

    if (l->delta_qkvz) {
        split_fused(f, l);
    } else {
        mlxn_matmul(e, f->h, l->delta_qkv, none, none, mlxn_tensor_2d(w->delta_mix, 0, MLXN_F32, n, mixed));
        mlxn_matmul(e, f->h, l->delta_z, none, none, mlxn_tensor_2d(w->delta_z, 0, MLXN_F32, n, hv * dv));
        mlxn_matmul(e, f->h, l->delta_b, none, none, mlxn_tensor_2d(w->delta_b, 0, MLXN_F32, n, hv));
        mlxn_matmul(e, f->h, l->delta_a, none, none, mlxn_tensor_2d(w->delta_a, 0, MLXN_F32, n, hv));
    }
    mlxn_tensor g = mlxn_tensor_2d(w->delta_g, 0, MLXN_F32, n, hv);
    mlxn_tensor beta = mlxn_tensor_2d(w->delta_beta, 0, MLXN_F32, n, hv);
    mlxn_compute_g_beta(e, mlxn_tensor_2d(w->delta_a, 0, MLXN_F32, n, hv),
                        mlxn_tensor_2d(w->delta_b, 0, MLXN_F32, n, hv), l->delta_dt_bias, l->delta_rate, g, beta);

    mlxn_tensor slots = f->sequences;
    slots.dims[0] = runs;
    mlxn_tensor mix = mlxn_tensor_3d(w->delta_mix, 0, MLXN_F32, runs, tokens, mixed);
    mlxn_ssm_conv(e, mix, l->delta_conv, none, slots,
                  mlxn_tensor_3d(states->conv, 0, MLXN_F32, f->kv->n_states, mixed, s->delta_taps - 1), mix, &conv);

    mlxn_tensor parts[3];
    for (uint64_t i = 0; i < 3; i++) {
        mlxn_tensor t = mlxn_tensor_4d(w->delta_mix, i * hk * dk * sizeof(float), MLXN_F32, runs, tokens,
                                       i < 2 ? hk : hv, i < 2 ? dk : dv);
        t.strides[0] = (int64_t)(tokens * mixed);
        t.strides[1] = (int64_t)mixed;
        parts[i] = t;
    }
    mlxn_gated_delta_net(e, parts[0], parts[1], parts[2], mlxn_tensor_3d(w->delta_g, 0, MLXN_F32, runs, tokens, hv),
                         mlxn_tensor_3d(w->delta_beta, 0, MLXN_F32, runs, tokens, hv), slots,
                         mlxn_tensor_4d(states->state, 0, MLXN_F32, f->kv->n_states, hv, dv, dk),
                         mlxn_tensor_4d(w->delta_out, 0, MLXN_F32, runs, tokens, hv, dv), &delta);

    mlxn_tensor out = mlxn_tensor_3d(w->delta_out, 0, MLXN_F32, n, hv, dv);
    mlxn_ssm_norm_gate(e, out, l->delta_norm, mlxn_tensor_3d(w->delta_z, 0, MLXN_F32, n, hv, dv), out, &norm);
    mlxn_matmul(e, mlxn_tensor_2d(w->delta_out, 0, MLXN_F32, n, hv * dv), l->delta_out, none, f->x, f->x);
}
