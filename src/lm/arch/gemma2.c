/* gemma2.c: Gemma 2 (Gemma Team 2024): as Gemma 3, but every second layer slides, queries and keys are not normed,
 * and attention scores and logits are capped by a tanh. */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_k.weight", "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_v.weight", "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR("post_attention_norm.weight", "post_attention_layernorm.weight", post_attn_norm, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("ffn_norm.weight", "pre_feedforward_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate.weight", "mlp.gate_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up.weight", "mlp.up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down.weight", "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_VECTOR("post_ffw_norm.weight", "post_feedforward_layernorm.weight", post_ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_END,
};

static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    return mlxn_lm_configure_gemma(model, 46, 2, error); /* 46 layers: the 27B model */
}

static const mlxn_lm_default folder_defaults[] = {{"head_dim", 256},
                                                  {"query_pre_attn_scalar", 256},
                                                  {"sliding_window", 4096},
                                                  {"attn_logit_softcapping", 50},
                                                  {"final_logit_softcapping", 30},
                                                  {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_gemma2 = {
    .name = "gemma2",
    .gguf = "gemma2",
    .folder = "gemma2",
    MLXN_LM_GEMMA_ROW,
};
