/* tokenizer.h: text to token ids and back, from the vocabulary of a GGUF file (keys `tokenizer.ggml.*`).
 *
 * Two engines: "gpt2" (byte-level BPE: a regular expression cuts the text, then the file's merges join bytes) and
 * "llama" (SentencePiece-style BPE: the pair whose joined token scores highest is joined first; characters without a
 * token become byte tokens). Tokens that the file marks as control or user-defined are found in the text first.
 *
 * Create reads from the file without copying its strings, so the file must stay open while the tokenizer lives. After
 * that every function may be called from any thread. */
#ifndef MLXN_LM_TOKENIZER_H
#define MLXN_LM_TOKENIZER_H

#include <mlxn/io.h>
#include <mlxn/lm.h>

typedef struct mlxn_tokenizer mlxn_tokenizer;

/* Errors: NOT_FOUND (a key that must be there), FORMAT (wrong type, counts that disagree, ids out of range),
 * UNSUPPORTED (model or pre-tokenizer; named), MEMORY. */
mlxn_status mlxn_tokenizer_create(const mlxn_gguf *file, mlxn_tokenizer **out, mlxn_error *error);
void mlxn_tokenizer_destroy(mlxn_tokenizer *tok); /* NULL is allowed */

/* `flags` are MLXN_TOKENIZE_*. *ids is allocated with mlxn_alloc and never NULL on success, *n may be 0. Invalid
 * UTF-8 goes to byte tokens; a byte that the vocabulary has no token for is left out ("gpt2") or becomes the unknown
 * token
 * ("llama"). NO_SPECIAL: control and unknown tokens are plain text; user-defined tokens are still found, because
 * vocabularies use them for runs of spaces and line ends. Errors: ARGUMENT (both BOS flags, BOS asked of a model
 * without one, more than 512 MiB of text), MEMORY. */
mlxn_status mlxn_tokenizer_encode(const mlxn_tokenizer *tok, const char *text, size_t bytes, uint32_t flags,
                                  mlxn_token **ids, size_t *n_ids, mlxn_error *error);
/* The bytes of the tokens one after the other, zero-terminated, allocated with mlxn_alloc. Without `special`, control
 * and unknown tokens are left out. `bytes` may be NULL. Errors: ARGUMENT (an id outside the vocabulary), MEMORY. */
mlxn_status mlxn_tokenizer_decode(const mlxn_tokenizer *tok, const mlxn_token *ids, size_t n_ids, bool special,
                                  char **text, size_t *bytes, mlxn_error *error);

/* The bytes that a token stands for; for a control token its name. Not zero-terminated, valid while the tokenizer
 * lives. NULL if `id` is out of range. */
const char *mlxn_tokenizer_token_bytes(const mlxn_tokenizer *tok, mlxn_token id, size_t *bytes);
bool mlxn_tokenizer_is_special(const mlxn_tokenizer *tok, mlxn_token id); /* control or unknown */
/* The file's end-of-text, end-of-turn and end-of-message ids, and tokens with the well-known names of these. */
bool mlxn_tokenizer_is_end(const mlxn_tokenizer *tok, mlxn_token id);
/* The id of a token by its text as the file spells it; -1 if there is none. */
mlxn_token mlxn_tokenizer_find(const mlxn_tokenizer *tok, const char *text, size_t bytes);
mlxn_token mlxn_tokenizer_bos(const mlxn_tokenizer *tok); /* -1 if there is none */
mlxn_token mlxn_tokenizer_eos(const mlxn_tokenizer *tok); /* -1 if there is none */
bool mlxn_tokenizer_adds_bos(const mlxn_tokenizer *tok);
uint32_t mlxn_tokenizer_size(const mlxn_tokenizer *tok);    /* tokens in the vocabulary */
const char *mlxn_tokenizer_name(const mlxn_tokenizer *tok); /* "gpt2/smollm", "llama" */

#endif
