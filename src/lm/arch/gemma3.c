/* gemma3.c: Gemma 3, text (Gemma Team 2025).
 *
 * Each branch is normed before and after; queries and keys are normed per head; five of six layers see a sliding
 * window and use a rotary base of their own; the feed-forward gate is a GELU; embeddings are scaled by sqrt(n_embd).
 * GGUF stores the norms with the model's "+ 1" already added, folders without. */
#include <math.h>

#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_k.weight", "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_v.weight", "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR("attn_q_norm.weight", "self_attn.q_norm.weight", q_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR("attn_k_norm.weight", "self_attn.k_norm.weight", k_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR("post_attention_norm.weight", "post_attention_layernorm.weight", post_attn_norm, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("ffn_norm.weight", "pre_feedforward_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate.weight", "mlp.gate_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up.weight", "mlp.up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down.weight", "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_VECTOR("post_ffw_norm.weight", "post_feedforward_layernorm.weight", post_ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_END,
};

mlxn_status mlxn_lm_configure_gemma(mlxn_model *model, uint32_t deep, uint32_t every, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    float width = s->n_layers == deep ? (float)s->n_embd / (float)s->n_heads : (float)s->head_dim;
    mlxn_status status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY(NULL, "query_pre_attn_scalar"), width, &width, error);
    if (status == MLXN_OK) {
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("attention.scale", NULL), 1 / sqrtf(width),
                                    &s->attention_scale, error);
    }
    if (status == MLXN_OK) {
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("attn_logit_softcapping", "attn_logit_softcapping"), 0,
                                    &s->attention_softcap, error);
    }
    if (status == MLXN_OK) {
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("final_logit_softcapping", "final_logit_softcapping"), 0,
                                    &s->logit_softcap, error);
    }
    s->embedding_scale = sqrtf((float)s->n_embd);
    return status != MLXN_OK ? status : mlxn_lm_read_window(model, MLXN_LM_SLIDE_ALL_BUT_NTH, every, error);
}

/* The 27B model, known by its depth, scales queries by the width of the model in GGUF files. */
static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_now = {NULL, "rope_parameters.sliding_attention.rope_theta"};
    const mlxn_lm_names key_type = {NULL, "rope_parameters.sliding_attention.rope_type"};
    mlxn_lm_names key_base = {"rope.freq_base_swa", "rope_local_base_freq"};
    mlxn_lm_value value;
    if (mlxn_lm_find(model, key_now, &value)) key_base = key_now;
    if (mlxn_lm_find(model, key_type, &value) &&
        (value.type != MLXN_LM_STRING || value.v.s.size != 7 || memcmp(value.v.s.data, "default", 7) != 0))
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_type, error, "is not \"default\"");
    mlxn_status status = mlxn_lm_key_f32_or(model, key_base, 10000, &model->shape.rope_base_window, error);
    return status != MLXN_OK ? status : mlxn_lm_configure_gemma(model, 62, 6, error);
}

void mlxn_lm_forward_gemma(mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_attention_params attention = {.scale = s->attention_scale, .softcap = s->attention_softcap};
    const mlxn_embedding_params embedding = {.scale = s->embedding_scale};
    mlxn_encoder *e = f->encoder;

    mlxn_embedding(e, f->tokens, f->model->token_embd, f->x, &embedding);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const mlxn_lm_layer *l = &f->model->layers[i];
        mlxn_tensor q = mlxn_lm_heads(f->q, s->n_heads);
        mlxn_tensor k = mlxn_lm_heads(f->k, s->n_kv_heads);

        mlxn_rms_norm(e, f->x, l->attn_norm, f->h, &norm);
        mlxn_matmul(e, f->h, l->q, none, none, f->q);
        mlxn_matmul(e, f->h, l->k, none, none, f->k);
        mlxn_matmul(e, f->h, l->v, none, none, f->v);
        if (l->q_norm.buffer) mlxn_rms_norm(e, q, l->q_norm, q, &norm);
        if (l->k_norm.buffer) mlxn_rms_norm(e, k, l->k_norm, k, &norm);
        mlxn_lm_rope(f, i, q);
        mlxn_lm_rope(f, i, k);
        mlxn_lm_store(f, i);
        if (i + 1 == s->n_layers && !mlxn_lm_keep_outputs(f)) return;
        mlxn_lm_attend(f, i, &attention);
        mlxn_matmul(e, f->att, l->o, none, none, f->h);
        mlxn_norm_add(e, f->h, l->post_attn_norm, f->x, f->x, &norm);

        mlxn_rms_norm(e, f->x, l->ffn_norm, f->h, &norm);
        mlxn_matmul(e, f->h, l->gate, none, none, f->gate);
        mlxn_matmul(e, f->h, l->up, none, none, f->up);
        mlxn_gelu_mul(e, f->gate, f->up, f->gate);
        mlxn_matmul(e, f->gate, l->down, none, none, f->h);
        mlxn_norm_add(e, f->h, l->post_ffn_norm, f->x, f->x, &norm);
    }
    mlxn_lm_head(f);
}

/* Configs of models of text and images leave out what the class has as default. */
static const mlxn_lm_default folder_defaults[] = {{"vocab_size", 262208},
                                                  {"num_attention_heads", 8},
                                                  {"num_key_value_heads", 4},
                                                  {"head_dim", 256},
                                                  {"max_position_embeddings", 131072},
                                                  {"rms_norm_eps", 1e-6},
                                                  {"query_pre_attn_scalar", 256},
                                                  {"sliding_window", 4096},
                                                  {"rope_theta", 1000000},
                                                  {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_gemma3 = {
    .name = "gemma3",
    .gguf = "gemma3",
    .folder = "gemma3_text gemma3",
    MLXN_LM_GEMMA_ROW,
};
