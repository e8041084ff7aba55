/* tokenizer.h: the tokenizer for the library's own use, beside mlxn/tokenizer.h. */
#ifndef MLXN_LM_TOKENIZER_H
#define MLXN_LM_TOKENIZER_H

#include <mlxn/tokenizer.h>

/* From the keys tokenizer.ggml.* of an open file, the strings of which are not copied: it must stay open while the
 * tokenizer lives. Errors: NOT_FOUND (a key that must be there), FORMAT (wrong type, counts that disagree, ids out of
 * range), UNSUPPORTED (model or pre-tokenizer; named), MEMORY. */
mlxn_status mlxn_tokenizer_create(const mlxn_gguf *file, mlxn_tokenizer **out, mlxn_error *error);
/* From a folder that holds a tokenizer.json. NOT_FOUND if there is none. */
mlxn_status mlxn_tokenizer_load_folder(const char *folder, mlxn_tokenizer **out, mlxn_error *error);

#endif
