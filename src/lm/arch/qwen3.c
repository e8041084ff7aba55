/* qwen3.c: Qwen3 (Yang et al. 2025), dense: Llama's blocks with queries and keys normed per head, and rotary pairs
 * that lie half a head apart. */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_k.weight", "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_v.weight", "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_OPTIONAL_VECTOR("attn_q.bias", "self_attn.q_proj.bias", q_bias, MLXN_LM_Q),
    MLXN_LM_OPTIONAL_VECTOR("attn_k.bias", "self_attn.k_proj.bias", k_bias, MLXN_LM_KV),
    MLXN_LM_OPTIONAL_VECTOR("attn_v.bias", "self_attn.v_proj.bias", v_bias, MLXN_LM_KV),
    MLXN_LM_OPTIONAL_VECTOR("attn_output.bias", "self_attn.o_proj.bias", o_bias, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("attn_q_norm.weight", "self_attn.q_norm.weight", q_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR("attn_k_norm.weight", "self_attn.k_norm.weight", k_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate.weight", "mlp.gate_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up.weight", "mlp.up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down.weight", "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_END,
};

static const mlxn_lm_default folder_defaults[] = {{"head_dim", 128}, {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_qwen3 = {
    .name = "qwen3",
    .gguf = "qwen3",
    .folder = "qwen3",
    .folder_defaults = folder_defaults,
    .gguf_pairing = MLXN_ROPE_HALF,
    .activation = "silu",
    .configure = mlxn_lm_configure_qwen,
    .layer_tensors = layer_tensors,
    .forward = mlxn_lm_forward_llama,
};
