/* model_text.c: the public text functions, over the model's tokenizer and its chat template. */
#include <mlxn/chat.h>

#include "lm/lm_internal.h"

static mlxn_status no_tokenizer(const mlxn_model *model, const char *what, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: %s has no tokenizer, give token ids", what, model->path_name);
}

mlxn_status mlxn_tokenize(const mlxn_model *model, const char *text, size_t bytes, uint32_t flags, mlxn_token **ids,
                          size_t *n_ids, mlxn_error *error) {
    if (!ids || !n_ids) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: %s is NULL", ids ? "n_ids" : "ids");
    *ids = NULL;
    *n_ids = 0;
    if (!model) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: model is NULL");
    if (!text && bytes > 0) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: text is NULL");
    if (!model->tokenizer) return no_tokenizer(model, "tokenize", error);
    return mlxn_tokenizer_encode(model->tokenizer, text ? text : "", bytes, flags, ids, n_ids, error);
}

mlxn_status mlxn_detokenize(const mlxn_model *model, const mlxn_token *ids, size_t n_ids, bool special, char **text,
                            size_t *bytes, mlxn_error *error) {
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "detokenize: text is NULL");
    *text = NULL;
    if (bytes) *bytes = 0;
    if (!model) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "detokenize: model is NULL");
    if (!ids && n_ids > 0) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "detokenize: ids is NULL");
    if (!model->tokenizer) return no_tokenizer(model, "detokenize", error);
    return mlxn_tokenizer_decode(model->tokenizer, ids, n_ids, special, text, bytes, error);
}

const char *mlxn_token_bytes(const mlxn_model *model, mlxn_token id, size_t *bytes) {
    size_t n = 0;
    const char *text = model && model->tokenizer ? mlxn_tokenizer_token_bytes(model->tokenizer, id, &n) : NULL;
    if (bytes) *bytes = text ? n : 0;
    return text;
}

bool mlxn_token_is_special(const mlxn_model *model, mlxn_token id) {
    return model && model->tokenizer && mlxn_tokenizer_is_special(model->tokenizer, id);
}

bool mlxn_token_is_end(const mlxn_model *model, mlxn_token id) {
    if (!model) return false;
    for (size_t i = 0; i < model->n_ends; i++)
        if (model->ends[i] == id) return true;
    return model->tokenizer && mlxn_tokenizer_is_end(model->tokenizer, id);
}

mlxn_token mlxn_model_bos(const mlxn_model *model) {
    return model && model->tokenizer ? mlxn_tokenizer_bos(model->tokenizer) : -1;
}

mlxn_token mlxn_model_eos(const mlxn_model *model) {
    if (!model) return -1;
    if (model->tokenizer) return mlxn_tokenizer_eos(model->tokenizer);
    return model->n_ends ? model->ends[0] : -1;
}

bool mlxn_model_adds_bos(const mlxn_model *model) {
    return model && model->tokenizer && mlxn_tokenizer_adds_bos(model->tokenizer);
}

const mlxn_tokenizer *mlxn_model_tokenizer(const mlxn_model *model) { return model ? model->tokenizer : NULL; }

void mlxn_free_memory(void *memory) { mlxn_free(memory); }

mlxn_status mlxn_chat_prompt(const mlxn_model *model, const mlxn_message *messages, size_t n,
                             bool add_generation_prompt, char **text, bool *has_bos, mlxn_error *error) {
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: text is NULL");
    *text = NULL;
    if (has_bos) *has_bos = false;
    if (!model) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: model is NULL");
    if (!model->tokenizer) return no_tokenizer(model, "chat", error);
    if (!messages || !n) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: no messages");
    mlxn_chat_desc desc = {.struct_size = sizeof desc,
                           .messages = messages,
                           .n_messages = n,
                           .add_generation_prompt = add_generation_prompt};
    return mlxn_chat_render(model->tokenizer, &desc, text, NULL, has_bos, error);
}
