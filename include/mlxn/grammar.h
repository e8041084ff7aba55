/* mlxn/grammar.h: constrained generation: grammars and JSON schemas that the text must follow. Part of libmlxn-lm.
 *
 * A grammar says which texts there are; a constraint is a place in such a text, for the tokens of one model. Before
 * each token the constraint tells which tokens may come next, whatever bytes they begin or end with, and after it, it
 * moves on. docs/CONSTRAINED.md describes the notation, the schemas and what both cost. */
#ifndef MLXN_GRAMMAR_H
#define MLXN_GRAMMAR_H

#include <mlxn/lm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- grammar: immutable; any thread; counted ---- */

typedef struct mlxn_grammar mlxn_grammar;

/* From rules in GBNF notation (UTF-8), beginning at the rule "root". Errors: FORMAT (with line and column: syntax, a
 * rule that is not defined, is defined twice, is left-recursive, or can never end), LIMIT (too large), MEMORY. */
MLXN_API mlxn_status mlxn_grammar_from_gbnf(const char *text, size_t bytes, mlxn_grammar **out, mlxn_error *error);
/* From a JSON schema (2020-12, as far as docs/CONSTRAINED.md says): every text of the grammar is a JSON document that
 * the schema allows. Errors: FORMAT (no JSON, or a keyword of the wrong type), UNSUPPORTED (a keyword that cannot be
 * obeyed), ARGUMENT (nothing satisfies the schema), LIMIT, MEMORY; messages name the JSON pointer and the keyword. */
MLXN_API mlxn_status mlxn_grammar_from_schema(const char *json, size_t bytes, mlxn_grammar **out, mlxn_error *error);
/* The rules that mlxn_grammar_from_schema compiles, in GBNF notation. *text is zero-terminated and allocated, free it
 * with mlxn_free_memory; `text_bytes` may be NULL. Errors as above. */
MLXN_API mlxn_status mlxn_schema_to_gbnf(const char *json, size_t bytes, char **text, size_t *text_bytes,
                                         mlxn_error *error);
MLXN_API mlxn_grammar *mlxn_grammar_retain(mlxn_grammar *grammar);
MLXN_API void mlxn_grammar_release(mlxn_grammar **grammar);

/* ---- constraint: a place in a text. It and its copies: one thread at a time, all together ---- */

typedef struct mlxn_constraint mlxn_constraint;

/* At the beginning of a text. Retains model and grammar. The first constraint of a model sorts its vocabulary, which
 * later ones share. Errors: ARGUMENT (NULL), MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_constraint_create(mlxn_model *model, mlxn_grammar *grammar, mlxn_constraint **out,
                                            mlxn_error *error);
/* The same place once more; both go on by themselves, and share what was computed. Errors: ARGUMENT, MEMORY. */
MLXN_API mlxn_status mlxn_constraint_copy(const mlxn_constraint *constraint, mlxn_constraint **out,
                                          mlxn_error *error);
MLXN_API void mlxn_constraint_destroy(mlxn_constraint *constraint);
/* Back to the beginning of a text. */
MLXN_API void mlxn_constraint_reset(mlxn_constraint *constraint);
/* About how many bytes it and its copies may take together; 0 = the default, 96 MiB. When they need more, what can be
 * computed again is forgotten; a text that is nested so deeply that this does not help is LIMIT. */
MLXN_API void mlxn_constraint_set_budget(mlxn_constraint *constraint, uint64_t bytes);
/* The text so far is one of the grammar's: generation may end here. */
MLXN_API bool mlxn_constraint_is_complete(const mlxn_constraint *constraint);
/* It is one, and none of the grammar's goes on from here, or an end token was accepted: generation must end here. */
MLXN_API bool mlxn_constraint_is_done(const mlxn_constraint *constraint);

/* Which tokens may come next: bit id % 32 of bits[id / 32], for all n_vocab tokens of the model; bits beyond them are
 * 0. A token may come if what its bytes make of the text can still become a text of the grammar. End tokens may come
 * when the text is complete; other special tokens, and tokens without bytes, never. `bits` lies in the constraint's
 * memory until the next call for it or a copy. Errors: ARGUMENT, MEMORY, LIMIT (the grammar is too ambiguous for this
 * text). That no token may come is no error here. */
MLXN_API mlxn_status mlxn_constraint_mask(mlxn_constraint *constraint, const uint32_t **bits, mlxn_error *error);
/* Moves on by a token. ARGUMENT if it may not come (the place stays); MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_constraint_accept(mlxn_constraint *constraint, mlxn_token token, mlxn_error *error);
/* Moves on by bytes of text. ARGUMENT if they do not fit: the message has the first that does not (the place stays);
 * MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_constraint_accept_text(mlxn_constraint *constraint, const char *text, size_t bytes,
                                                 mlxn_error *error);

/* From now on mlxn_sampler_sample sees only the logits of tokens that may come: the others are left out before all
 * other steps of the chain. If none may come, or the mask cannot be computed, it returns -1. The caller moves the
 * constraint on (mlxn_generate does). NULL takes it away. The sampler borrows the constraint, whose model must have
 * the sampler's n_vocab. Errors: ARGUMENT (another vocabulary), MEMORY. */
MLXN_API mlxn_status mlxn_sampler_set_constraint(mlxn_sampler *sampler, mlxn_constraint *constraint,
                                                 mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
