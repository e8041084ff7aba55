/* phi3.c: Phi-3 and Phi-4 (Abdin et al. 2024): Llama's blocks; q, k and v lie in one tensor, gate and up in another,
 * and rotary pairs half a head apart. Long contexts take factors of their own (LongRoPE). */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_SLICE("attn_qkv.weight", "self_attn.qkv_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD, MLXN_LM_Q_KV_KV,
                  MLXN_LM_NONE),
    MLXN_LM_SLICE("attn_qkv.weight", "self_attn.qkv_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD, MLXN_LM_Q_KV_KV,
                  MLXN_LM_Q),
    MLXN_LM_SLICE("attn_qkv.weight", "self_attn.qkv_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD, MLXN_LM_Q_KV_KV,
                  MLXN_LM_Q_KV),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_SLICE("ffn_up.weight", "mlp.gate_up_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD, MLXN_LM_FF_TWICE,
                  MLXN_LM_NONE),
    MLXN_LM_SLICE("ffn_up.weight", "mlp.gate_up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD, MLXN_LM_FF_TWICE,
                  MLXN_LM_FF),
    MLXN_LM_MATRIX("ffn_down.weight", "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_END,
};

static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    return mlxn_lm_read_window(model, MLXN_LM_SLIDE_ALL, 0, error);
}

const mlxn_lm_arch mlxn_lm_arch_phi3 = {
    .name = "phi3",
    .gguf = "phi3",
    .folder = "phi3",
    .gguf_pairing = MLXN_ROPE_HALF,
    .activation = "silu",
    .yarn_is_long = true,
    .configure = configure,
    .layer_tensors = layer_tensors,
    .forward = mlxn_lm_forward_llama,
};
