/* mlxn/tokenizer.h: tokenizers without a model: text to token ids and back. Part of libmlxn-lm.
 *
 * A tokenizer comes from a tokenizer.json as Hugging Face's library writes it (with the tokenizer_config.json and
 * chat_template.jinja beside it), or from the vocabulary of a GGUF file. Both are the same engine; docs/TOKENIZERS.md
 * says what of tokenizer.json is honoured and where results differ from that library.
 *
 * A tokenizer is immutable after it is loaded: every function may be called from any thread. Work and memory are
 * linear in the text (n log n where symbols are joined), whatever the text and the vocabulary hold. */
#ifndef MLXN_TOKENIZER_H
#define MLXN_TOKENIZER_H

#include <mlxn/io.h>
#include <mlxn/lm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_tokenizer mlxn_tokenizer;

/* `path` names a tokenizer.json, a folder that holds one, or a GGUF file. *out is the caller's to destroy; NULL after
 * an error. Errors: IO, FORMAT and UNSUPPORTED (the file, the place in it, the reason: "tokenizer.json:
 * model.merges[17]: ..."), NOT_FOUND (a part that must be there), LIMIT (sizes), MEMORY. */
MLXN_API mlxn_status mlxn_tokenizer_load(const char *path, mlxn_tokenizer **out, mlxn_error *error);
/* From texts in memory, which are not needed any more afterwards: a tokenizer.json, and a tokenizer_config.json or
 * NULL. */
MLXN_API mlxn_status mlxn_tokenizer_from_json(const char *json, uint64_t size, const char *config,
                                              uint64_t config_size, mlxn_tokenizer **out, mlxn_error *error);
MLXN_API void mlxn_tokenizer_destroy(mlxn_tokenizer *tok); /* NULL is allowed */
/* The model's; NULL if it has none. Borrowed: valid while the model lives. */
MLXN_API const mlxn_tokenizer *mlxn_model_tokenizer(const mlxn_model *model);

/* `flags` are MLXN_TOKENIZE_*: by default the file's template puts its special tokens around the text; NO_BOS leaves
 * the template out; BOS puts the token first where the template does not. *ids is allocated (mlxn_free_memory) and
 * never NULL on success, *n may be 0. Ill-formed UTF-8 goes to byte tokens where the vocabulary spells bytes, else
 * each ill-formed part is U+FFFD. NO_SPECIAL: special tokens in the text are plain text; added tokens that are not
 * special are still found, because vocabularies use them for runs of spaces and line ends. Errors: ARGUMENT (both BOS
 * flags, BOS asked of a tokenizer without one, more than 512 MiB of text), UNSUPPORTED (a character without a token
 * where the vocabulary has no unknown token either), LIMIT (a regular expression of the file backtracks too much on
 * this text; more than 2 GiB when normalized), MEMORY. */
MLXN_API mlxn_status mlxn_tokenizer_encode(const mlxn_tokenizer *tok, const char *text, size_t bytes, uint32_t flags,
                                           mlxn_token **ids, size_t *n_ids, mlxn_error *error);
/* Two texts that belong together (a question and a passage), with the template for pairs. */
MLXN_API mlxn_status mlxn_tokenizer_encode_pair(const mlxn_tokenizer *tok, const char *first, size_t first_bytes,
                                                const char *second, size_t second_bytes, uint32_t flags,
                                                mlxn_token **ids, size_t *n_ids, mlxn_error *error);
/* Zero-terminated, allocated (mlxn_free_memory). Without `special`, special tokens are left out. Bytes of tokens that
 * make no character stay bytes. `bytes` may be NULL. Errors: ARGUMENT (an id outside the vocabulary), LIMIT, MEMORY.
 */
MLXN_API mlxn_status mlxn_tokenizer_decode(const mlxn_tokenizer *tok, const mlxn_token *ids, size_t n_ids,
                                           bool special, char **text, size_t *bytes, mlxn_error *error);

/* The bytes that a token stands for inside a text (behind others, before others); for a control token its name. Not
 * zero-terminated, valid while the tokenizer lives. NULL if `id` is out of range. With mlxn_utf8_push this gives the
 * text of a growing list of tokens without half characters. */
MLXN_API const char *mlxn_tokenizer_token_bytes(const mlxn_tokenizer *tok, mlxn_token id, size_t *bytes);
MLXN_API bool mlxn_tokenizer_is_special(const mlxn_tokenizer *tok, mlxn_token id); /* control, or GGUF's unknown */
/* The file's end-of-text, end-of-turn and end-of-message ids, and tokens with the well-known names of these. */
MLXN_API bool mlxn_tokenizer_is_end(const mlxn_tokenizer *tok, mlxn_token id);
/* The id of a token by its text as the file spells it; -1 if there is none. */
MLXN_API mlxn_token mlxn_tokenizer_find(const mlxn_tokenizer *tok, const char *text, size_t bytes);
MLXN_API mlxn_token mlxn_tokenizer_bos(const mlxn_tokenizer *tok);     /* -1 if there is none; these too: */
MLXN_API mlxn_token mlxn_tokenizer_eos(const mlxn_tokenizer *tok);     /* end of text */
MLXN_API mlxn_token mlxn_tokenizer_pad(const mlxn_tokenizer *tok);     /* padding */
MLXN_API mlxn_token mlxn_tokenizer_unknown(const mlxn_tokenizer *tok); /* what stands for characters without tokens */
MLXN_API bool mlxn_tokenizer_adds_bos(const mlxn_tokenizer *tok);
MLXN_API uint32_t mlxn_tokenizer_size(const mlxn_tokenizer *tok); /* ids are 0..size-1; some may have no token */
/* "gpt2/smollm" and "llama" of GGUF files, "json/bpe", "json/wordpiece", "json/wordlevel", "json/unigram". */
MLXN_API const char *mlxn_tokenizer_name(const mlxn_tokenizer *tok);
/* The Jinja program for chats: the one named "default", else the first; size 0: none. Valid while the tokenizer
 * lives; so are those of the next. */
MLXN_API mlxn_string mlxn_tokenizer_chat_template(const mlxn_tokenizer *tok);
/* All of them, by number from 0; false: there are not so many. `name` and `text` may be NULL. */
MLXN_API bool mlxn_tokenizer_chat_template_at(const mlxn_tokenizer *tok, uint32_t i, mlxn_string *name,
                                              mlxn_string *text);

#ifdef __cplusplus
}
#endif
#endif
