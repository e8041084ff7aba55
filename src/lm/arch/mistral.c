/* mistral.c: Mistral (Jiang et al. 2023) from folders: Llama with a sliding window in every layer, or in those that
 * the config lists (Ministral). GGUF files of it are called llama. */
#include "lm/lm_internal.h"

static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    return mlxn_lm_read_window(model, MLXN_LM_SLIDE_ALL, 0, error);
}

const mlxn_lm_arch mlxn_lm_arch_mistral = {
    .name = "mistral",
    .folder = "mistral ministral",
    .activation = "silu",
    .configure = configure,
    .layer_tensors = mlxn_lm_llama_tensors,
    .forward = mlxn_lm_forward_llama,
};
