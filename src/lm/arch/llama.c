/* llama.c: the Llama family (Llama 1 to 3, SmolLM2, TinyLlama, Mistral, ...): Touvron et al. 2023.
 *
 * Pre-norm blocks, grouped-query attention, SwiGLU. GGUF stores q and k with their rows permuted so that rotary pairs
 * are neighbours. Llama 3 files carry "rope_freqs.weight", which divides the frequency of each pair. The pass also
 * serves the architectures that differ by biases, norms of heads, mixtures of experts or how rotary pairs lie. */
#include "lm/lm_internal.h"

const mlxn_lm_tensor_spec mlxn_lm_llama_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_k.weight", "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_v.weight", "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_OPTIONAL_VECTOR("attn_q.bias", "self_attn.q_proj.bias", q_bias, MLXN_LM_Q),
    MLXN_LM_OPTIONAL_VECTOR("attn_k.bias", "self_attn.k_proj.bias", k_bias, MLXN_LM_KV),
    MLXN_LM_OPTIONAL_VECTOR("attn_v.bias", "self_attn.v_proj.bias", v_bias, MLXN_LM_KV),
    MLXN_LM_OPTIONAL_VECTOR("attn_output.bias", "self_attn.o_proj.bias", o_bias, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate.weight", "mlp.gate_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up.weight", "mlp.up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down.weight", "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_OPTIONAL_VECTOR("ffn_gate.bias", "mlp.gate_proj.bias", gate_bias, MLXN_LM_FF),
    MLXN_LM_OPTIONAL_VECTOR("ffn_up.bias", "mlp.up_proj.bias", up_bias, MLXN_LM_FF),
    MLXN_LM_OPTIONAL_VECTOR("ffn_down.bias", "mlp.down_proj.bias", down_bias, MLXN_LM_EMBD),
    MLXN_LM_END,
};

void mlxn_lm_forward_llama(mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_attention_params attention = {.scale = s->attention_scale};
    const mlxn_embedding_params embedding = {.scale = s->embedding_scale};
    mlxn_encoder *e = f->encoder;

    mlxn_embedding(e, f->tokens, f->model->token_embd, f->x, &embedding);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const mlxn_lm_layer *l = &f->model->layers[i];
        mlxn_tensor q = mlxn_lm_heads(f->q, s->n_heads);
        mlxn_tensor k = mlxn_lm_heads(f->k, s->n_kv_heads);

        mlxn_rms_norm(e, f->x, l->attn_norm, f->h, &norm);
        mlxn_matmul(e, f->h, l->q, l->q_bias, none, f->q);
        mlxn_matmul(e, f->h, l->k, l->k_bias, none, f->k);
        mlxn_matmul(e, f->h, l->v, l->v_bias, none, f->v);
        if (l->q_norm.buffer) mlxn_rms_norm(e, q, l->q_norm, q, &norm);
        if (l->k_norm.buffer) mlxn_rms_norm(e, k, l->k_norm, k, &norm);
        mlxn_lm_rope(f, i, q);
        mlxn_lm_rope(f, i, k);
        mlxn_lm_store(f, i);
        if (i + 1 == s->n_layers && !mlxn_lm_keep_outputs(f)) return;
        mlxn_lm_attend(f, i, &attention);
        mlxn_matmul(e, f->att, l->o, l->o_bias, f->x, f->x);

        mlxn_rms_norm(e, f->x, l->ffn_norm, f->h, &norm);
        if (l->router) {
            mlxn_lm_experts(f, l);
            continue;
        }
        mlxn_matmul(e, f->h, l->gate, l->gate_bias, none, f->gate);
        mlxn_matmul(e, f->h, l->up, l->up_bias, none, f->up);
        mlxn_silu_mul(e, f->gate, f->up, f->gate);
        mlxn_matmul(e, f->gate, l->down, l->down_bias, f->x, f->x);
    }
    mlxn_lm_head(f);
}

const mlxn_lm_arch mlxn_lm_arch_llama = {
    .name = "llama",
    .gguf = "llama",
    .folder = "llama",
    .activation = "silu",
    .gguf_pairing = MLXN_ROPE_INTERLEAVED,
    .layer_tensors = mlxn_lm_llama_tensors,
    .forward = mlxn_lm_forward_llama,
};
