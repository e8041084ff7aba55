/* folder_files.h: the files of a model folder that are no weights. */
#ifndef MLXN_SRC_CONVERT_FOLDER_FILES_H
#define MLXN_SRC_CONVERT_FOLDER_FILES_H

#include <mlxn/convert.h>

#include "base/base.h"

/* config.json of a folder. Errors: as those of mlxn_config_open; FORMAT (it is no object). */
mlxn_status mlxn_folder_config(const char *folder, mlxn_config **out, mlxn_error *error);
/* Makes `path` if it is not there. Errors: ARGUMENT (it is `source`, or no folder), IO. */
mlxn_status mlxn_folder_make(const char *source, const char *path, mlxn_error *error);

/* What is different in the new config.json. */
typedef struct mlxn_folder_change {
    const char *quantization; /* JSON of "quantization" and "quantization_config"; NULL: not quantized */
    const char *dtype;        /* "F16", as safetensors files have it; NULL: as before */
} mlxn_folder_change;
/* Writes config.json with the change. Errors: IO, MEMORY. */
mlxn_status mlxn_folder_write_config(const char *path, const mlxn_config *config, const mlxn_folder_change *change,
                                     bool overwrite, mlxn_error *error);
/* Copies the files of the tokenizer, of chat templates and of generation defaults: .json, .jinja, .txt and .model, at
 * most 1 GB each. Errors: IO, MEMORY. */
mlxn_status mlxn_folder_copy(const char *source, const char *path, bool overwrite, mlxn_error *error);
/* A file of its own. */
mlxn_status mlxn_folder_write(const char *folder, const char *name, const void *data, uint64_t bytes, bool overwrite,
                              mlxn_error *error);
/* gguf_tokenizer.c: tokenizer.json, tokenizer_config.json and chat_template.jinja of a GGUF model. Errors:
 * UNSUPPORTED (a tokenizer that has no form there), FORMAT, IO, MEMORY. */
mlxn_status mlxn_gguf_write_tokenizer(const mlxn_gguf *file, const char *path, bool overwrite, mlxn_error *error);

#endif
