/* qwen2.c: Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's blocks with biases on q, k and v, and rotary pairs that lie
 * half a head apart. */
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
    MLXN_LM_VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate.weight", "mlp.gate_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up.weight", "mlp.up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down.weight", "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_END,
};

mlxn_status mlxn_lm_configure_qwen(mlxn_model *model, mlxn_error *error) {
    bool slides;
    uint32_t first;
    if (!mlxn_lm_source_is_folder(model->source)) return MLXN_OK;
    mlxn_status status = mlxn_lm_key_bool_or(model, MLXN_LM_KEY(NULL, "use_sliding_window"), false, &slides, error);
    if (status != MLXN_OK || !slides) return status;
    status = mlxn_lm_key_u32_or(model, MLXN_LM_KEY(NULL, "max_window_layers"), 28, &first, error);
    return status != MLXN_OK ? status : mlxn_lm_read_window(model, MLXN_LM_SLIDE_FROM, first, error);
}

const mlxn_lm_arch mlxn_lm_arch_qwen2 = {
    .name = "qwen2",
    .gguf = "qwen2",
    .folder = "qwen2",
    .activation = "silu",
    .gguf_pairing = MLXN_ROPE_HALF,
    .configure = mlxn_lm_configure_qwen,
    .layer_tensors = layer_tensors,
    .forward = mlxn_lm_forward_llama,
};
