/* tok_json.h: reading the objects of tokenizer.json: typed values by name, errors with the path to the value.
 *
 * The vocabulary and the merges, which are nearly all of such a file, are not read into values: they are taken out
 * first (their place in the text is noted) and walked by the pull reader of io/json.h. */
#ifndef MLXN_LM_TOK_JSON_H
#define MLXN_LM_TOK_JSON_H

#include <mlxn/config.h>

#include "lm/tok_internal.h"

/* Part of the text; size 0: absent. */
typedef struct mlxn_tj_range {
    uint64_t begin, size;
} mlxn_tj_range;

typedef struct mlxn_tj {
    const char *text; /* the whole file */
    uint64_t size;
    const char *file;    /* its name, for messages */
    mlxn_config *config; /* without model.vocab and model.merges */
    mlxn_tj_range vocab, merges;
    mlxn_error *error;
} mlxn_tj;

/* A value and how one comes to it: "pre_tokenizer.pretokenizers[1].pattern". */
typedef struct mlxn_tj_at {
    mlxn_config_value value;
    char path[120];
} mlxn_tj_at;

mlxn_status mlxn_tj_open(mlxn_tj *tj, const char *text, uint64_t size, const char *file, mlxn_error *error);
void mlxn_tj_close(mlxn_tj *tj);
/* "<file>: <path>: <text>" */
mlxn_status mlxn_tj_fail(const mlxn_tj *tj, const mlxn_tj_at *at, mlxn_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "<file>: <path>" for functions that make messages of their own. */
void mlxn_tj_where(const mlxn_tj *tj, const mlxn_tj_at *at, char *out, size_t size);

void mlxn_tj_root(const mlxn_tj *tj, mlxn_tj_at *out);
/* False if `object` is no object or has no such member, or it is null. *out names it in both cases. */
bool mlxn_tj_member(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, mlxn_tj_at *out);
bool mlxn_tj_element(const mlxn_tj *tj, const mlxn_tj_at *array, uint64_t i, mlxn_tj_at *out);
bool mlxn_tj_is(const mlxn_tj_at *at, const char *word); /* a string of that text */

/* Members of an object. An absent one or null leaves *out as it is, unless it is wanted: then NOT_FOUND. */
mlxn_status mlxn_tj_bool(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, bool *out);
mlxn_status mlxn_tj_uint(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, bool wanted, uint64_t *out);
mlxn_status mlxn_tj_string(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, bool wanted,
                           mlxn_string *out);
mlxn_status mlxn_tj_array(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, mlxn_tj_at *out);

static inline bool mlxn_tok_is(mlxn_string s, const char *text) {
    return s.size == strlen(text) && memcmp(s.data, text, (size_t)s.size) == 0;
}

/* ---- the parts of the file ---- */

mlxn_status mlxn_tf_normalizer(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth);
mlxn_status mlxn_tf_pre_tokenizer(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth);
mlxn_status mlxn_tf_decoder(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth);
mlxn_status mlxn_tf_post_processor(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth);
/* The kind of model and its options, before its vocabulary is read; then what needs the vocabulary. */
mlxn_status mlxn_tf_model(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at);
mlxn_status mlxn_tf_merges(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at);
/* Vocabulary and added tokens. */
mlxn_status mlxn_tf_vocabulary(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *root);

#endif
