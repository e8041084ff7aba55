/* Promise: whoever ports a program from the reference library, from ggml or from MLX finds each operation by the name
 * it has there, as an operation or as another name of one. */
#include "../test.h"

#include <mlxn/ops.h>

static const char *const names[] = {
    /* element-wise */
    "elementwise_add", "elementwise_mul", "scalar_mul", "cast", "log", "zero_buffer",
    /* copies, transposes, splits */
    "strided_copy", "copy", "slice_2d_cols", "copy_2d_cols_into", "qkv_split", "repeat_tiled", "transpose_2d",
    "permute_021", "transpose_last2",
    /* gather and embedding */
    "gather", "embedding_gather_scale", "embedding_gather_scale_batch", "embedding_gather", "gather_nibble",
    "gather_f16_seq",
    /* reductions, order, softmax, sampling */
    "argmax", "argsort_desc", "top_k", "cumsum", "softmax", "softcap", "scale_mask_softmax", "softmax_sample",
    /* activations */
    "gelu", "silu", "silu_mul", "sigmoid_mul", "gelu_mul",
    /* norms */
    "rms_norm", "rms_norm_no_scale", "rms_norm_no_scale_dual", "rms_norm_no_scale_dual_perm", "rms_norm_mul",
    "rms_norm_f32_triple", "fused_post_attn_triple_norm", "fused_norm_add", "fused_norm_add_no_weight",
    "fused_norm_add_scalar", "fused_residual_norm", "fused_residual_norm_scalar", "fused_moe_wsum_norm_add",
    "fused_moe_wsum_dnorm_add", "l2_norm", "ssm_norm_gate",
    /* rotary embeddings */
    "rope", "rope_neox", "rope_multi", "vision_2d_rope", "fused_head_norm_rope", "fused_head_norm_rope_batch",
    /* dense products */
    "dense_gemm_f16", "dense_matvec_f16w_f32io", "dense_matvec_bf16w_f32io", "dense_matvec_f32",
    "dense_gemv_bf16_f32", "dense_matmul_bf16_f32_tensor", "dense_matmul_f16_f32_tensor",
    "dense_matmul_f32_f32_tensor",
    /* products with weights of MLX's formats and of blocks */
    "quantized_matmul", "quantized_matmul_simd", "simd_bf16", "simd_bf16_expert", "quantized_matmul_id",
    "quantized_matmul_ggml", "quantized_matmul_ggml_mm_tensor_perm021", "quantized_matmul_id_ggml",
    "quantized_matmul_id_ggml_pooled", "quantized_matmul_id_swiglu_q4_0",
    /* mixture of experts */
    "moe_gate", "moe_dispatch", "moe_softmax_topk", "fused_moe_routing", "fused_moe_routing_batch",
    "moe_gather_topk_weights", "moe_accumulate", "moe_swiglu_fused", "moe_swiglu_batch", "moe_swiglu_seq",
    "moe_swiglu_seq_bf16", "fused_gelu_mul_bf16", "moe_weighted_sum", "moe_weighted_sum_seq",
    "moe_weighted_sum_seq_bf16_input", "moe_weighted_reduce",
    /* attention */
    "sdpa", "sdpa_sliding", "sdpa_decode", "flash_attn_vec", "flash_attn_vec_reduce", "flash_attn_prefill_bf16_d64",
    "flash_attn_prefill_bf16_d256", "flash_attn_prefill_bf16_d512", "flash_attn_prefill_resume",
    "flash_attn_prefill_mask", "flash_attn_prefill_blk", "flash_attn_vec_tq", "flash_attn_vec_tq_hb",
    /* TurboQuant */
    "hadamard_transform", "fwht", "fwht_sign_premult", "fwht_sign_undo", "hadamard_quantize_kv",
    "hadamard_quantize_kv_seq", "hadamard_quantize_kv_hb", "tq_dequantize_kv", "tq_dequantize_hb_kv",
    /* writes into caches */
    "kv_cache_copy", "kv_cache_copy_f32", "kv_cache_copy_batch_f32", "kv_cache_copy_batch_f32_to_f16",
    "kv_cache_copy_seq_f32", "kv_cache_copy_seq_f32_to_f16", "kv_cache_copy_seq_bf16", "kv_cache_copy_seq_f32_dual",
    "kv_cache_copy_seq_f32_to_f16_dual",
    /* state spaces, gated delta rule */
    "ssm_conv", "compute_g_beta", "tri_solve", "gated_delta_net", "gated_delta_net_decode", "gated_delta_net_chunked",
    "chunk_local_cumsum", "chunk_kkt", "chunk_invert", "chunk_recompute_w_u", "chunk_inter_state", "chunk_output",
    /* gradients, calibration */
    "softmax_backward", "log_backward", "row_sum", "row_sum_backward", "rms_norm_compute_rms_inv",
    "rms_norm_backward_dx", "rms_norm_backward_dw", "silu_backward", "qdq_q4_0", "qdq_q8_0",
    /* what MLX and ggml have beside them: element by element */
    "sub", "div", "neg", "abs", "sign", "step", "square", "sqrt", "rsqrt", "reciprocal", "exp", "expm1", "log1p",
    "sin", "cos", "tanh", "floor", "ceil", "round", "trunc", "clamp", "pow", "minimum", "maximum", "erf", "where",
    "comparisons", "logical ops", "add_id", "add1", "acc", "set", "relu", "leaky_relu", "elu", "gelu_erf",
    "gelu_quick", "hardswish", "hardsigmoid", "softplus", "xielu", "reglu", "geglu", "geglu_erf", "geglu_quick",
    "swiglu", "swiglu_oai",
    /* shapes and places */
    "fill", "arange", "tri", "diag", "diag_mask_inf", "roll", "pad", "concat", "repeat", "split", "flip", "take",
    "take_along_axis", "put_along_axis", "scatter", "set_rows", "scatter_add", "get_rows", "timestep_embedding",
    /* reductions and scans */
    "count_equal", "mean", "sum", "max", "min", "prod", "argmin", "sort", "argpartition", "logsumexp", "logcumsumexp",
    "cumprod", "cummax", "log_softmax",
    /* norms, ropes, products */
    "layer_norm", "group_norm", "rope_backward", "mul_mat_id", "outer product", "block_masked_mm", "segmented_mm",
    "gather_mm", "lora",
    /* images and sound */
    "im2col", "conv1d", "conv2d", "conv3d", "col2im", "conv_transpose1d", "conv_transpose2d", "pool1d", "pool2d",
    "upscale", "bilinear_resize", "window_partition", "relative_position_bias", "patch_merge", "block_merge_2x2",
    "stft", "mel filter bank",
    /* recurrent mixers */
    "ssm_scan", "rwkv6", "rwkv7", "gated_linear_attention", "kimi_delta_attention",
    /* training */
    "cross_entropy", "cross_entropy_backward", "adamw", "adam_update", "sgd", "attention_backward",
    "flash attention backward", "get_rows_backward", "embedding_backward", "repeat_backward", "gradient clipping",
    "exp_backward", "divide", "add_row_bias", "conv1d_depthwise_causal", "conv1d_depthwise_causal_backward",
    "take_along_backward", "im2col_backward", "pool_backward", "layer_norm_backward"};

static bool known(const char *name) {
    if (mlxn_op_find(name) != UINT32_MAX) return true;
    mlxn_op_alias_info alias;
    for (uint32_t i = 0; mlxn_op_alias(i, &alias); i++)
        if (!strcmp(alias.name, name)) return true;
    return false;
}

int main(void) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(known(names[i]), "%s is neither an operation nor another name of one", names[i]);
    CHECK(!known("no such operation"));
    return TEST_DONE();
}
