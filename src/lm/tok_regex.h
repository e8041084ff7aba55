/* tok_regex.h: regular expressions in the dialect of Oniguruma (Ruby syntax), which tokenizer.json is written in, run
 * by PCRE2.
 *
 * The work of matching is bounded: expressions from files run in PCRE2's interpreter with a budget of steps that is
 * proportional to the text, and memory limits. Expressions that are known to be linear (those that the makers of
 * widespread models published, pretok.c) are compiled to machine code where the system allows it. */
#ifndef MLXN_LM_TOK_REGEX_H
#define MLXN_LM_TOK_REGEX_H

#include <mlxn/base.h>
#include <mlxn/io.h>

typedef struct mlxn_regex mlxn_regex;

/* `where` is for messages ("tokenizer.json: pre_tokenizer.pattern"). Errors: FORMAT (no expression), UNSUPPORTED (a
 * construct that has no counterpart), LIMIT (longer than 64 KiB), MEMORY. */
mlxn_status mlxn_regex_create(mlxn_string source, const char *where, mlxn_regex **out, mlxn_error *error);
/* From an expression that PCRE2 reads as it stands and that is known to be linear. */
mlxn_status mlxn_regex_create_native(const char *text, const char *where, mlxn_regex **out, mlxn_error *error);
/* Runs of characters of one script (tok_scripts.c). */
mlxn_status mlxn_regex_scripts(mlxn_regex **out, mlxn_error *error);
void mlxn_regex_destroy(mlxn_regex *regex); /* NULL is allowed */

/* Work memory of one thread, zeroed before its first use; freed by the function below. */
typedef struct mlxn_regex_work {
    void *general, *found, *limits; /* PCRE2's */
    uint64_t budget;                /* steps left for this text */
} mlxn_regex_work;
/* Begins a text of n bytes. false: no memory. */
bool mlxn_regex_begin(mlxn_regex_work *work, uint64_t n);
void mlxn_regex_work_free(mlxn_regex_work *work);

/* The next match in text[0..n) from `at` on, which is well-formed UTF-8; *start = UINT32_MAX: none. Errors: LIMIT
 * (the budget is spent, or memory for backtracking), MEMORY. */
mlxn_status mlxn_regex_next(const mlxn_regex *regex, mlxn_regex_work *work, const char *text, uint32_t n, uint32_t at,
                            uint32_t *start, uint32_t *end, mlxn_error *error);

/* The expression as PCRE2 spells it, zero-terminated, for mlxn_free (tok_onig.c). */
mlxn_status mlxn_regex_translate(mlxn_string source, const char *where, char **out, mlxn_error *error);
/* Expressions whose work is linear in the text, one by one; NULL: no more (pretok.c). */
const char *mlxn_regex_known(size_t i);
bool mlxn_regex_is_known(mlxn_string source);

#endif
