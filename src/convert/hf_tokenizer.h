/* hf_tokenizer.h: tokenizer.json as the keys of a GGUF file. */
#ifndef MLXN_SRC_CONVERT_HF_TOKENIZER_H
#define MLXN_SRC_CONVERT_HF_TOKENIZER_H

#include <mlxn/config.h>
#include <mlxn/write.h>

#include "base/base.h"

/* Sets tokenizer.ggml.* and tokenizer.chat_template of a folder's tokenizer.json, tokenizer_config.json and
 * chat_template.jinja; ids from the vocabulary's end to `n_vocab` become unused tokens. Errors: UNSUPPORTED (a model
 * or pre-tokenizer that GGUF has no name for: byte-level BPE of known expressions and BPE with byte fallback have
 * one), FORMAT, IO, MEMORY. */
mlxn_status mlxn_hf_tokenizer_keys(const char *folder, const mlxn_config *config, uint32_t n_vocab,
                                   mlxn_gguf_writer *writer, mlxn_error *error);

#endif
