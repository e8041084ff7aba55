/* pretokenizers.h: the pre-tokenizers of byte-level BPE that GGUF has names for, as tokenizer.json writes them. */
#ifndef MLXN_SRC_CONVERT_PRETOKENIZERS_H
#define MLXN_SRC_CONVERT_PRETOKENIZERS_H

#include <stdbool.h>

#define MLXN_CV_BYTE_LEVEL(regex) \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" regex "}"

typedef struct mlxn_cv_pretokenizer {
    const char *name, *normalizer;       /* its name in lm/pretok.c; JSON */
    const char *before, *regex, *behind; /* JSON around an expression; regex NULL: there is none, `before` is all */
    bool digits;                         /* digits one by one */
    bool ignores_merges;
} mlxn_cv_pretokenizer;

/* Ends with a row whose name is NULL. */
extern const mlxn_cv_pretokenizer mlxn_cv_pretokenizers[];

#endif
