/* qwen3_moe.c: Qwen3 with a mixture of experts in every layer (Yang et al. 2025). */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_k.weight", "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_v.weight", "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR("attn_q_norm.weight", "self_attn.q_norm.weight", q_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR("attn_k_norm.weight", "self_attn.k_norm.weight", k_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate_inp.weight", "mlp.gate.weight", router, MLXN_LM_EXPERTS, MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_gate_exps.weight", "mlp.switch_mlp.gate_proj.weight", "mlp.experts.%u.gate_proj.weight",
                  gate_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_up_exps.weight", "mlp.switch_mlp.up_proj.weight", "mlp.experts.%u.up_proj.weight", up_experts,
                  MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_down_exps.weight", "mlp.switch_mlp.down_proj.weight", "mlp.experts.%u.down_proj.weight",
                  down_experts, MLXN_LM_EMBD, MLXN_LM_FF_EXPERT),
    MLXN_LM_END,
};

/* Layers without experts are possible in configs and in no published model. */
static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_step = {NULL, "decoder_sparse_step"}, key_dense = {NULL, "mlp_only_layers"};
    mlxn_lm_value dense;
    uint32_t step;
    mlxn_status status = mlxn_lm_key_u32_or(model, key_step, 1, &step, error);
    if (status == MLXN_OK && step != 1)
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_step, error, "is %u, want 1", step);
    if (status == MLXN_OK && mlxn_lm_find(model, key_dense, &dense) &&
        (dense.type != MLXN_LM_LIST || dense.v.count != 0))
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_dense, error, "is no empty list");
    if (status == MLXN_OK) {
        bool folder = mlxn_lm_source_is_folder(model->source); /* GGUF files without the key normalize */
        status = mlxn_lm_key_bool_or(model, MLXN_LM_KEY("expert_weights_norm", "norm_topk_prob"), !folder,
                                     &model->shape.normalize_experts, error);
    }
    return status != MLXN_OK ? status : mlxn_lm_configure_qwen(model, error);
}

const mlxn_lm_arch mlxn_lm_arch_qwen3_moe = {
    .name = "qwen3_moe",
    .gguf = "qwen3moe",
    .folder = "qwen3_moe",
    .gguf_pairing = MLXN_ROPE_HALF,
    .activation = "silu",
    .experts = true,
    .configure = configure,
    .layer_tensors = layer_tensors,
    .forward = mlxn_lm_forward_llama,
};
