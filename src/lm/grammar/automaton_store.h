/* automaton_store.h: states and contexts, each stored once, for the files of the automaton. */
#ifndef MLXN_LM_GRAMMAR_AUTOMATON_STORE_H
#define MLXN_LM_GRAMMAR_AUTOMATON_STORE_H

#include "lm/grammar/automaton.h"

enum { MLXN_AU_MAX_PLACES = 1 << 18 }; /* of one step, and pairs of one context */
/* States in pairs that are none of the network. */
#define MLXN_AU_PAIR_ACCEPT UINT32_MAX       /* the root returns */
#define MLXN_AU_PAIR_ESCAPE (UINT32_MAX - 1) /* the open context returns */
/* A context during a step: that of the rule in the other bits, which is called in it. */
#define MLXN_AU_NEW_CALL 0x80000000u

/* Notes a failure, unless there was one; returns MLXN_AU_FAILED. */
uint32_t mlxn_au_fail(mlxn_automaton *a, mlxn_status status);
uint32_t mlxn_au_hash(const mlxn_au_item *items, uint32_t n, uint32_t seed);
/* false: no memory. */
bool mlxn_au_append(mlxn_au_item **to, uint32_t *count, uint32_t *capacity, const mlxn_au_item *items, uint32_t n);
/* Sorts by context and state and drops what is there twice; returns how many are left. */
uint32_t mlxn_au_sort(mlxn_au_item *items, uint32_t n);
/* The id of what these sorted pairs or items make; MLXN_AU_FAILED: failure. */
uint32_t mlxn_au_intern_context(mlxn_automaton *a, const mlxn_au_item *pairs, uint32_t n);
uint32_t mlxn_au_intern_state(mlxn_automaton *a, const mlxn_au_item *items, uint32_t n, bool accepts, bool escapes);
/* Frees all states and contexts; what steps use stays. */
void mlxn_au_free_store(mlxn_automaton *a);

#endif
