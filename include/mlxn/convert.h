/* mlxn/convert.h: models into other number formats. Part of libmlxn-lm.
 *
 * The source is mapped and read once, front to back; memory is some 32 MB beside it, whatever the model's size. The
 * result appears under its name when it is complete (mlxn/write.h). Any thread. */
#ifndef MLXN_CONVERT_H
#define MLXN_CONVERT_H

#include <mlxn/config.h>
#include <mlxn/lm.h>
#include <mlxn/write.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_quantize_options {
    uint32_t struct_size;
    /* What matrices become: the name of a format that can be encoded, in any case ("q4_0", "Q6_K", "bf16"), or of a
     * mix (mlxn_quantize_type_at). Norms, biases, routers, convolutions and other small tensors stay as they are. A
     * row that is no whole number of blocks gets the nearest format of smaller blocks, or F16. */
    const char *type;
    /* Formats of the output matrix and of the token embeddings; NULL: as `type` says. Where the two are one tensor it
     * counts as output. */
    const char *output_type, *embedding_type;
    bool overwrite;
    bool requantize;  /* also take sources that are quantized already: what the first time lost is lost twice */
    uint32_t threads; /* 0: one per core; the result does not depend on it */
    /* Bytes of the source that are done; false ends with CANCELLED. May be NULL. */
    mlxn_progress_fn progress;
    void *progress_user;
} mlxn_quantize_options;

typedef struct mlxn_quantize_result {
    uint64_t tensors, quantized;  /* all; those that were encoded */
    uint64_t fallbacks;           /* of them, with a format of smaller blocks than asked for */
    uint64_t source_bytes, bytes; /* of all tensors, before and after */
} mlxn_quantize_result;

/* GGUF file (split ones too) into one GGUF file. result may be NULL. Errors: ARGUMENT (an unknown type; a tensor that
 * is quantized already; the result's path is the source's), UNSUPPORTED (a format without encoder; a tensor that
 * cannot be decoded), FORMAT, IO, MEMORY, CANCELLED. */
MLXN_API mlxn_status mlxn_quantize_gguf(const char *source, const char *path, const mlxn_quantize_options *options,
                                        mlxn_quantize_result *result, mlxn_error *error);

typedef struct mlxn_convert_options {
    uint32_t struct_size;
    /* "affine4g64" (2, 3, 4, 5, 6, 8 bits; groups of 32, 64, 128), "mxfp4", "mxfp8" or "nvfp4"; NULL: not quantized.
     * Every matrix of linear layers, experts and embeddings whose rows are whole groups, as MLX's own converter has
     * it; its scales have the dtype of the weights; routers get 8 bits in groups of 64. */
    const char *quantize;
    const char *dtype; /* "f32", "f16" or "bf16" of what is not quantized; NULL: as config.json says */
    bool overwrite;
    uint32_t threads;     /* as above */
    uint64_t shard_bytes; /* as mlxn_safetensors_writer_create has it */
    mlxn_progress_fn progress;
    void *progress_user;
} mlxn_convert_options;

/* A model into a folder of config.json and safetensors, as MLX's and Hugging Face's libraries read it. From such a
 * folder: weights, config.json, and the files of the tokenizer as they are; with `quantize` in MLX's layout, in which
 * experts are stacks. gpt-oss as it was published keeps its experts' codes, in that layout. From a GGUF file of an
 * architecture that the library runs: weights under the names, in the row order and with the norms of folders (f32
 * without `dtype`), and config.json, tokenizer.json and tokenizer_config.json made of its keys. `path` is made if it
 * is not there.
 * Errors: ARGUMENT (options; a folder that is quantized already; the source's own folder), FORMAT, UNSUPPORTED (what
 * folders have no form for), IO, MEMORY, LIMIT, CANCELLED. */
MLXN_API mlxn_status mlxn_convert_folder(const char *source, const char *path, const mlxn_convert_options *options,
                                         mlxn_quantize_result *result, mlxn_error *error);

/* A folder that is not quantized, or gpt-oss as it was published (whose experts keep their codes), into a GGUF file
 * that llama.cpp loads: `quantize` is a type of mlxn_quantize_gguf then (NULL: matrices keep their dtype, or get
 * `dtype`); vectors are f32. Architectures whose GGUF form the library runs; experts one by one become stacks;
 * tokenizers of byte-level BPE by a known expression, or BPE with byte fallback. Errors as above. */
MLXN_API mlxn_status mlxn_convert_gguf(const char *source, const char *path, const mlxn_convert_options *options,
                                       mlxn_quantize_result *result, mlxn_error *error);

/* The i-th name that `type` may have, with a line about it; false past the end. */
MLXN_API bool mlxn_quantize_type_at(uint32_t i, const char **name, const char **about);

#ifdef __cplusplus
}
#endif
#endif
