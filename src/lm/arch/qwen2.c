/* qwen2.c: Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's blocks with biases on q, k and v, and rotary pairs that lie
 * half a head apart. */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_k.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_v.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_output.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR("attn_q.bias", q_bias, MLXN_LM_Q),
    MLXN_LM_VECTOR("attn_k.bias", k_bias, MLXN_LM_KV),
    MLXN_LM_VECTOR("attn_v.bias", v_bias, MLXN_LM_KV),
    MLXN_LM_VECTOR("ffn_norm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    {0},
};

static void forward(mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_rope_params rope = {
        .pairing = MLXN_ROPE_HALF, .rope_dims = s->rope_dims, .base = s->rope_base, .freq_scale = s->rope_freq_scale};
    const mlxn_attention_params attention = {.scale = s->attention_scale};
    const mlxn_embedding_params embedding = {.scale = s->embedding_scale};
    mlxn_encoder *e = f->encoder;

    mlxn_embedding(e, f->tokens, f->model->token_embd, f->x, &embedding);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const mlxn_lm_layer *l = &f->model->layers[i];
        mlxn_tensor q = mlxn_lm_heads(f, f->q, s->n_heads);
        mlxn_tensor k = mlxn_lm_heads(f, f->k, s->n_kv_heads);

        mlxn_rms_norm(e, f->x, l->attn_norm, f->h, &norm);
        mlxn_matmul(e, f->h, l->q, l->q_bias, none, f->q);
        mlxn_matmul(e, f->h, l->k, l->k_bias, none, f->k);
        mlxn_matmul(e, f->h, l->v, l->v_bias, none, f->v);
        mlxn_rope(e, q, f->positions, none, q, &rope);
        mlxn_rope(e, k, f->positions, none, k, &rope);
        mlxn_lm_store(f, i);
        if (i + 1 == s->n_layers && !mlxn_lm_keep_outputs(f)) return;
        mlxn_lm_attend(f, i, &attention);
        mlxn_matmul(e, f->att, l->o, none, f->x, f->x);

        mlxn_rms_norm(e, f->x, l->ffn_norm, f->h, &norm);
        mlxn_matmul(e, f->h, l->gate, none, none, f->gate);
        mlxn_matmul(e, f->h, l->up, none, none, f->up);
        mlxn_silu_mul(e, f->gate, f->up, f->gate);
        mlxn_matmul(e, f->gate, l->down, none, f->x, f->x);
    }
    mlxn_lm_head(f);
}

const mlxn_lm_arch mlxn_lm_arch_qwen2 = {
    .name = "qwen2",
    .layer_tensors = layer_tensors,
    .forward = forward,
};
