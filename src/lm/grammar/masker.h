/* masker.h: which tokens fit after a state of an automaton.
 *
 * A mask is put together from memos. The items of a state fall into groups that share their context; what a group
 * allows without regard to that context is found by one walk over all tokens, kept, and used again wherever the group
 * turns up: inside of a string it is the same for every string of the text. In the walk, the rule may return within a
 * token: such places of the trie ("escapes") are noted, and below them the walk goes on with the context that there
 * is: few tokens end a string and go on behind it. */
#ifndef MLXN_LM_GRAMMAR_MASKER_H
#define MLXN_LM_GRAMMAR_MASKER_H

#include "lm/grammar/automaton.h"
#include "lm/token_trie.h"

enum { MLXN_MASKER_KEPT = 16 }; /* complete masks that are kept */

typedef struct mlxn_kept_mask {
    uint32_t state; /* MLXN_AU_DEAD: none */
    uint64_t used;
    uint32_t *bits;
} mlxn_kept_mask;

typedef struct mlxn_masker {
    mlxn_automaton automaton;
    const mlxn_token_trie *trie;
    uint32_t words;    /* of a mask */
    uint32_t *path;    /* [trie->depth + 1] states */
    uint32_t *scratch; /* [words] */
    MLXN_GR_ARRAY(uint32_t) escapes;
    mlxn_kept_mask masks[MLXN_MASKER_KEPT];
    uint64_t clock, visits; /* visits: trie nodes of one question */
} mlxn_masker;

/* Errors: MEMORY, LIMIT. After one, free is to be called too. */
mlxn_status mlxn_masker_init(mlxn_masker *m, const mlxn_grammar *grammar, const mlxn_token_trie *trie,
                             mlxn_error *error);
void mlxn_masker_free(mlxn_masker *m);
/* The mask, until the next call; NULL: failure, which the automaton's status and error tell. */
const uint32_t *mlxn_masker_mask(mlxn_masker *m, uint32_t state);
/* States are about to get other ids. */
void mlxn_masker_forget(mlxn_masker *m);
/* Notes a failure, unless there was one. */
void mlxn_masker_fail(mlxn_masker *m, mlxn_status status, const char *what);

/* masker_run.c: 1 if every token below a node of the trie fits after `state`, to which the node leads, and no open
 * context returns on the way; 0 if that is not certain; -1: failure. */
int mlxn_masker_takes_all(mlxn_masker *m, uint32_t node, uint32_t state);

#endif
