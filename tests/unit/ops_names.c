/* Promise: whoever ports a program from the reference library, from ggml or from MLX finds each operation of the
 * element-wise, copy, gather, reduction, selection, activation and gradient families by the name it has there. */
#include "../test.h"

#include <mlxn/ops.h>

static const char *const names[] = {
    /* element-wise */
    "elementwise_add", "elementwise_mul", "scalar_mul", "cast", "log", "zero_buffer",
    /* copies, transposes, splits */
    "strided_copy", "copy", "slice_2d_cols", "copy_2d_cols_into", "qkv_split", "repeat_tiled", "transpose_2d",
    "permute_021", "transpose_last2",
    /* gather and embedding */
    "gather", "embedding_gather_scale", "embedding_gather_scale_batch", "embedding_gather", "gather_f16_seq",
    /* activations */
    "gelu", "silu", "silu_mul", "sigmoid_mul", "gelu_mul", "softcap",
    /* reductions, order, softmax */
    "argmax", "argsort_desc", "top_k", "cumsum", "softmax", "scale_mask_softmax", "softmax_sample", "gather_nibble",
    "argmin", "sum", "mean", "max", "min", "prod", "logsumexp", "logcumsumexp", "cumprod", "cummax", "sort",
    "argpartition", "scatter", "set_rows", "scatter_add", "take_along", "pad", "roll", "flip", "arange", "tri",
    "diag_mask_inf", "add_id", "timestep_embedding", "outer product", "log_softmax",
    /* gradients */
    "softmax_backward", "row_sum", "rms_norm_compute_rms_inv", "rms_norm_backward_dx", "rms_norm_backward_dw",
    "qdq_q4_0", "qdq_q8_0", "get_rows_backward", "embedding_backward", "repeat_backward", "cross_entropy",
    "cross_entropy_backward", "rope_backward", "attention_backward", "gradient clipping", "adamw", "adam_update",
    "sgd", "log_backward", "silu_backward", "row_sum_backward",
    /* what MLX and ggml have beside them */
    "sub", "div", "neg", "abs", "sign", "step", "square", "sqrt", "rsqrt", "reciprocal", "exp", "expm1", "log1p",
    "sin", "cos", "tanh", "floor", "ceil", "round", "trunc", "clamp", "pow", "minimum", "maximum", "erf", "where",
    "comparisons", "logical ops", "add1", "relu", "leaky_relu", "elu", "gelu_erf", "gelu_quick", "hardswish",
    "hardsigmoid", "softplus", "xielu", "reglu", "geglu", "geglu_erf", "geglu_quick", "swiglu", "swiglu_oai", "fill",
    "concat", "repeat", "split"};

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
