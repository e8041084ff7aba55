/* mlxn/embed.h: vectors of texts: by encoders (BERT and its sentence-embedding models), and by models of the kind
 * that continues texts (Qwen3-Embedding, EmbeddingGemma). Part of libmlxn-lm. */
#ifndef MLXN_EMBED_H
#define MLXN_EMBED_H

#include <mlxn/lm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A model and the memory that its passes use. One thread at a time. */
typedef struct mlxn_embedder mlxn_embedder;

/* How the vectors of a text's tokens become one. */
typedef enum mlxn_pooling {
    MLXN_POOL_MODEL = 0, /* as the module Pooling says, or pooling_type of GGUF files; else the mean */
    MLXN_POOL_MEAN = 1,
    MLXN_POOL_CLS = 2, /* the first token's */
    MLXN_POOL_LAST = 3
} mlxn_pooling;

typedef enum mlxn_normalize {
    MLXN_NORMALIZE_MODEL = 0, /* as modules.json says; without one, yes */
    MLXN_NORMALIZE_YES = 1,   /* Euclidean length 1; a vector of zeros stays */
    MLXN_NORMALIZE_NO = 2
} mlxn_normalize;

typedef struct mlxn_embedder_desc {
    uint32_t struct_size;
    mlxn_pooling pooling;
    mlxn_normalize normalize;
    uint32_t n_batch; /* tokens of one pass, at least those of the longest text; 0 = 2,048 or more */
    /* Of config_sentence_transformers.json: what is put before every text of mlxn_embed_texts ("query"); NULL: its
     * default_prompt_name, if there is one; "": nothing. */
    const char *prompt_name;
} mlxn_embedder_desc;

/* `path`: a folder of config.json and safetensors, plain or quantized by MLX, of model_type bert, roberta or
 * xlm-roberta, or of one that mlxn_model_load takes (but for those with recurrent layers or shared caches), or such a
 * GGUF file. A folder's modules.json may list Transformer, Pooling (mean, first or last token), Dense layers and
 * Normalize. `desc` may be NULL. Retains the device. Errors: IO, FORMAT (names the file, the key or tensor and both
 * values), UNSUPPORTED, NOT_FOUND (a tensor, a module's files, the prompt), ARGUMENT, MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_embedder_load(mlxn_device *device, const char *path, const mlxn_embedder_desc *desc,
                                        mlxn_embedder **out, mlxn_error *error);
MLXN_API void mlxn_embedder_destroy(mlxn_embedder *embedder);

typedef struct mlxn_embedder_info {
    uint32_t struct_size;
    uint32_t n_embd; /* of a result */
    uint32_t n_layers, n_heads, n_vocab;
    uint32_t n_ctx;      /* tokens of a text, at most; texts are cut to max_length */
    uint32_t max_length; /* of sentence_bert_config.json, else of tokenizer_config.json; at most n_ctx */
    mlxn_pooling pooling;
    bool normalized;
    uint64_t n_params;
} mlxn_embedder_info;
MLXN_API mlxn_status mlxn_embedder_get_info(const mlxn_embedder *embedder, mlxn_embedder_info *out);

/* One vector of n_embd floats for each of `n` texts, given as ids: those of text i are lengths[i] many and follow
 * those of text i - 1. Special tokens are the caller's. A text's vector has the same bits whatever other texts come
 * with it. Errors: ARGUMENT (an id or a length out of range), EXECUTION, MEMORY. */
MLXN_API mlxn_status mlxn_embed_ids(mlxn_embedder *embedder, const mlxn_token *ids, const uint32_t *lengths, size_t n,
                                    float *out, mlxn_error *error);

/* The same for texts, tokenized with the template of the model's tokenizer. A text of more than max_length tokens is
 * cut; tokens that the template puts behind it stay; *n_cut (may be NULL) counts them. `bytes` may be NULL: the texts
 * end with a zero. Errors: as above, and NOT_FOUND (the model has no tokenizer) and those of mlxn_tokenizer_encode,
 * which name the text. */
MLXN_API mlxn_status mlxn_embed_texts(mlxn_embedder *embedder, const char *const *texts, const size_t *bytes,
                                      size_t n, float *out, size_t *n_cut, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
