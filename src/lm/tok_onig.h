/* tok_onig.h: what the two files that translate regular expressions share. */
#ifndef MLXN_LM_TOK_ONIG_H
#define MLXN_LM_TOK_ONIG_H

#include "lm/tok_internal.h"

enum { MLXN_ONIG_MAX_DEPTH = 100 };

/* \w of Oniguruma in a class: as UTS 18 has it without the join controls. Alone and in \b, superscripts and fractions
 * below U+0100 are words, too. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD_ALONE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

typedef struct mlxn_onig_group {
    size_t start;    /* in the output */
    uint32_t opened; /* options in its middle, each a group of the output that ends with it */
    bool extended;
} mlxn_onig_group;

typedef struct mlxn_onig {
    const char *s;
    size_t n, at;
    mlxn_tok_bytes out;
    size_t atom;   /* where the last atom begins in the output */
    bool has_atom; /* something that can be repeated was written last */
    bool repeated; /* and it is repeated already */
    mlxn_onig_group groups[MLXN_ONIG_MAX_DEPTH];
    uint32_t depth; /* of groups and classes */
    const char *where;
    mlxn_error *error;
} mlxn_onig;

/* "<where>: the regular expression "...": <text> (at byte n)"; returns UNSUPPORTED. */
mlxn_status mlxn_onig_refuse(const mlxn_onig *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
mlxn_status mlxn_onig_no_memory(const mlxn_onig *t);
mlxn_status mlxn_onig_put(mlxn_onig *t, mlxn_tok_bytes *out, const char *text);
/* A character as itself, wherever it stands. */
mlxn_status mlxn_onig_put_code(mlxn_onig *t, mlxn_tok_bytes *out, uint32_t code);
bool mlxn_onig_next_is(const mlxn_onig *t, const char *text);
/* At most `most` digits. */
uint32_t mlxn_onig_digits(mlxn_onig *t, int base, int most, int *count);

/* MLXN_ONIG_OPPOSITE: the items that were written are what is not meant. */
typedef enum mlxn_onig_item { MLXN_ONIG_CHARACTER, MLXN_ONIG_SET, MLXN_ONIG_OPPOSITE } mlxn_onig_item;

/* What may stand both inside a class and outside, behind the backslash: a set (its items are written) or a
 * character. */
mlxn_status mlxn_onig_class_escape(mlxn_onig *t, bool in_class, mlxn_tok_bytes *out, mlxn_onig_item *kind,
                                   uint32_t *code);
/* [...], with t->at at the bracket, as an expression. */
mlxn_status mlxn_onig_class(mlxn_onig *t, mlxn_tok_bytes *out);

#endif
