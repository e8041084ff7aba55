/* gpt_oss.c: gpt-oss (Agarwal et al. 2025): Llama's blocks with biases everywhere, a mixture of experts with a
 * clamped SwiGLU, a sink in every head's softmax, a sliding window in every second layer, YaRN. */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_k.weight", "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_v.weight", "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR("attn_q.bias", "self_attn.q_proj.bias", q_bias, MLXN_LM_Q),
    MLXN_LM_VECTOR("attn_k.bias", "self_attn.k_proj.bias", k_bias, MLXN_LM_KV),
    MLXN_LM_VECTOR("attn_v.bias", "self_attn.v_proj.bias", v_bias, MLXN_LM_KV),
    MLXN_LM_VECTOR("attn_output.bias", "self_attn.o_proj.bias", o_bias, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("attn_sinks.weight", "self_attn.sinks", sinks, MLXN_LM_HEADS),
    MLXN_LM_VECTOR("post_attention_norm.weight", "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate_inp.weight", "mlp.router.weight", router, MLXN_LM_EXPERTS, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("ffn_gate_inp.bias", "mlp.router.bias", router_bias, MLXN_LM_EXPERTS),
    MLXN_LM_STACK("ffn_gate_exps.weight", "mlp.experts.gate_proj.weight", NULL, gate_experts, MLXN_LM_FF_EXPERT,
                  MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_up_exps.weight", "mlp.experts.up_proj.weight", NULL, up_experts, MLXN_LM_FF_EXPERT,
                  MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_down_exps.weight", "mlp.experts.down_proj.weight", NULL, down_experts, MLXN_LM_EMBD,
                  MLXN_LM_FF_EXPERT),
    MLXN_LM_VECTORS("ffn_gate_exps.bias", "mlp.experts.gate_proj.bias", gate_experts_bias, MLXN_LM_FF_EXPERT),
    MLXN_LM_VECTORS("ffn_up_exps.bias", "mlp.experts.up_proj.bias", up_experts_bias, MLXN_LM_FF_EXPERT),
    MLXN_LM_VECTORS("ffn_down_exps.bias", "mlp.experts.down_proj.bias", down_experts_bias, MLXN_LM_EMBD),
    MLXN_LM_END,
};

static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_rope = {NULL, "rope_parameters"}, key_old = {NULL, "rope_scaling"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_value value;
    if (mlxn_lm_source_is_folder(model->source) && !mlxn_lm_find(model, key_rope, &value) &&
        !mlxn_lm_find(model, key_old, &value))
        return mlxn_lm_key_fail(model, MLXN_ERR_NOT_FOUND, key_rope, error, "is missing");
    s->route_selected = true;
    mlxn_status status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY(NULL, "swiglu_alpha"), 1.702f, &s->glu_alpha, error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY(NULL, "swiglu_limit"), 7, &s->glu_limit, error);
    return status != MLXN_OK ? status : mlxn_lm_read_window(model, MLXN_LM_SLIDE_ALL_BUT_NTH, 2, error);
}

static const mlxn_lm_default folder_defaults[] = {
    {"head_dim", 64}, {"rms_norm_eps", 1e-5}, {"max_position_embeddings", 131072}, {"rope_theta", 150000}, {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_gpt_oss = {
    .name = "gpt_oss",
    .gguf = "gpt-oss",
    .folder = "gpt_oss",
    .folder_defaults = folder_defaults,
    .gguf_pairing = MLXN_ROPE_HALF,
    .activation = "silu",
    .yarn_fractions = true,
    .experts = true,
    .configure = configure,
    .layer_tensors = layer_tensors,
    .forward = mlxn_lm_forward_llama,
};
