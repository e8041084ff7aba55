/* qwen3_5_moe.c: Qwen3.5 with mixtures of experts, the text part (Qwen Team 2026): qwen3_5.c with the experts of
 * qwen3_next.c, which folders of Hugging Face keep in two stacks, gates and ups in one. */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR(NULL, "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.q_proj.weight", q, MLXN_LM_Q_TWICE, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR(NULL, "self_attn.q_norm.weight", q_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR(NULL, "self_attn.k_norm.weight", k_norm, MLXN_LM_HEAD),
    MLXN_LM_MATRIX(NULL, "linear_attn.in_proj_qkv.weight", delta_qkv, MLXN_LM_DELTA_QKV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "linear_attn.in_proj_z.weight", delta_z, MLXN_LM_DELTA_VALUES, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "linear_attn.in_proj_b.weight", delta_b, MLXN_LM_DELTA_HEADS, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "linear_attn.in_proj_a.weight", delta_a, MLXN_LM_DELTA_HEADS, MLXN_LM_EMBD),
    MLXN_LM_TAPS(NULL, "linear_attn.conv1d.weight", delta_conv, MLXN_LM_DELTA_QKV, MLXN_LM_DELTA_TAPS),
    MLXN_LM_CHANGED_VECTOR(NULL, "linear_attn.dt_bias", delta_dt_bias, MLXN_LM_DELTA_HEADS, MLXN_LM_KEEP),
    MLXN_LM_CHANGED_VECTOR(NULL, "linear_attn.A_log", delta_rate, MLXN_LM_DELTA_HEADS, MLXN_LM_NEGATIVE_EXP),
    MLXN_LM_CHANGED_VECTOR(NULL, "linear_attn.norm.weight", delta_norm, MLXN_LM_DELTA_VALUE, MLXN_LM_KEEP),
    MLXN_LM_MATRIX(NULL, "linear_attn.out_proj.weight", delta_out, MLXN_LM_EMBD, MLXN_LM_DELTA_VALUES),
    MLXN_LM_VECTOR(NULL, "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.gate.weight", router, MLXN_LM_EXPERTS, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "mlp.switch_mlp.gate_proj.weight", "mlp.experts.%u.gate_proj.weight",
                         "mlp.experts.gate_up_proj", 0, 2, gate_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "mlp.switch_mlp.up_proj.weight", "mlp.experts.%u.up_proj.weight",
                         "mlp.experts.gate_up_proj", 1, 2, up_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "mlp.switch_mlp.down_proj.weight", "mlp.experts.%u.down_proj.weight",
                         "mlp.experts.down_proj", 0, 1, down_experts, MLXN_LM_EMBD, MLXN_LM_FF_EXPERT),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert.gate_proj.weight", gate_shared, MLXN_LM_FF_SHARED, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert.up_proj.weight", up_shared, MLXN_LM_FF_SHARED, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert.down_proj.weight", down_shared, MLXN_LM_EMBD, MLXN_LM_FF_SHARED),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert_gate.weight", shared_gate, MLXN_LM_ONE, MLXN_LM_EMBD),
    MLXN_LM_END,
};

/* There are no layers without experts, and no key for their width. */
static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    mlxn_status status = mlxn_lm_configure_qwen_hybrid(model, error);
    model->shape.n_ff = model->shape.n_ff_shared;
    return status;
}

static const mlxn_lm_default folder_defaults[] = {{"head_dim", 256},
                                                  {"partial_rotary_factor", 0.25},
                                                  {"linear_num_key_heads", 16},
                                                  {"linear_key_head_dim", 128},
                                                  {"linear_num_value_heads", 32},
                                                  {"linear_value_head_dim", 128},
                                                  {"linear_conv_kernel_dim", 4},
                                                  {"intermediate_size", 1},
                                                  {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_qwen3_5_moe = {
    .name = "qwen3_5_moe",
    .folder = "qwen3_5_moe_text qwen3_5_moe",
    .folder_defaults = folder_defaults,
    .gguf_pairing = MLXN_ROPE_HALF,
    .activation = "silu",
    .folder_vector_shift = 1,
    .experts = true,
    .configure = configure,
    .has = mlxn_lm_has_qwen_hybrid,
    .layer_tensors = layer_tensors,
    .forward = mlxn_lm_forward_qwen_hybrid,
};
