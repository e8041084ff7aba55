/* automaton.h: runs a compiled grammar over bytes. The states of the network that a text can be in, with the rules
 * that called them, are one state of a deterministic automaton, which is built as far as texts need it.
 *
 * Callers are shared: a context stands for all the ways in which one call of a rule can go on, a set of (state, its
 * context), so that an ambiguous grammar costs a polynomial and not an exponential number of them. A call that comes
 * last in its rule leaves no trace, so that repetition by right recursion does not pile up contexts.
 *
 * One thread at a time. Ids stay valid until mlxn_au_compact. */
#ifndef MLXN_LM_GRAMMAR_AUTOMATON_H
#define MLXN_LM_GRAMMAR_AUTOMATON_H

#include "lm/grammar/grammar.h"

enum {
    MLXN_AU_DEAD = 0,  /* the state in which nothing fits any more */
    MLXN_AU_START = 1, /* before the first byte */
    MLXN_AU_ROOT = 0,  /* the context of the root rule: its return completes the text */
    MLXN_AU_OPEN = 1   /* a context that is not known: its return is noted as an escape */
};
#define MLXN_AU_FAILED UINT32_MAX /* instead of a state: `status` and `error` of the automaton tell why */

typedef struct mlxn_au_item {
    uint32_t state; /* of the network; of op BYTES */
    uint32_t context;
} mlxn_au_item;

typedef struct mlxn_au_context {
    uint32_t first, count; /* of pairs: where to go on after the return, and in which context */
    uint32_t popped;       /* the automaton's state right after the return; UINT32_MAX: not yet known */
} mlxn_au_context;

typedef struct mlxn_au_state {
    uint32_t first, count; /* of items, sorted by context and then by state */
    uint32_t hash;
    bool accepts, escapes;  /* the text may end here; an open context may return here */
    void *memo;             /* the owner's; see free_memo */
    uint32_t run, run_next; /* the owner's too; run_next: UINT32_MAX at first */
} mlxn_au_state;

typedef struct mlxn_au_caller {
    uint32_t next, context; /* the context may be that of a rule that is called at the same place */
    uint32_t other;         /* 1 + the next caller of the same rule, 0 at the end */
} mlxn_au_caller;

/* A rule during a step: its callers, and the context that stands for them once all are known. */
typedef struct mlxn_au_called {
    uint32_t callers; /* 1 + the last one, 0: not called */
    uint32_t context;
} mlxn_au_called;

typedef struct mlxn_automaton {
    const mlxn_grammar *grammar;
    void (*free_memo)(void *memo);
    MLXN_GR_ARRAY(mlxn_au_context) contexts;
    MLXN_GR_ARRAY(mlxn_au_item) pairs;
    MLXN_GR_ARRAY(mlxn_au_state) states;
    MLXN_GR_ARRAY(mlxn_au_item) items;
    uint32_t *rows; /* [states.capacity, n_classes]: the next state; UINT32_MAX: not yet known */
    uint32_t rows_capacity;
    uint32_t *context_table, *state_table; /* open addressing: id + 1 */
    uint32_t context_mask, state_mask;
    uint64_t memo_bytes; /* the owner counts them here */
    uint64_t work;       /* places visited; the owner sets it to 0 where a new question begins */
    mlxn_status status;
    mlxn_error error;
    /* What one step uses. */
    MLXN_GR_ARRAY(mlxn_au_item) pending; /* places that are reached */
    MLXN_GR_ARRAY(mlxn_au_item) found;   /* the items of the next state, or the pairs of a context */
    MLXN_GR_ARRAY(mlxn_au_caller) callers;
    MLXN_GR_ARRAY(uint64_t) called; /* rules, behind their rank */
    mlxn_au_called *rules;          /* [n_rules] */
    uint64_t *seen;                 /* open addressing over pending: the step, and index + 1 */
    uint32_t seen_mask, step;
    bool accepts, escapes;
} mlxn_automaton;

/* `grammar` must live as long. Errors: MEMORY, LIMIT. */
mlxn_status mlxn_au_init(mlxn_automaton *a, const mlxn_grammar *grammar, void (*free_memo)(void *),
                         mlxn_error *error);
void mlxn_au_free(mlxn_automaton *a);

/* The state after one more byte, by the byte's class. */
uint32_t mlxn_au_step_slow(mlxn_automaton *a, uint32_t state, uint32_t class);
static inline uint32_t mlxn_au_step(mlxn_automaton *a, uint32_t state, uint8_t byte) {
    uint32_t class = a->grammar->byte_class[byte];
    uint32_t next = a->rows[(size_t)state * a->grammar->n_classes + class];
    return next != UINT32_MAX ? next : mlxn_au_step_slow(a, state, class);
}
/* The state right after the rule of `context` returned. */
uint32_t mlxn_au_pop(mlxn_automaton *a, uint32_t context);
/* Items `first` to `first + count` of a state, which share their context, under the open context. */
uint32_t mlxn_au_open(mlxn_automaton *a, uint32_t first, uint32_t count);

/* Bytes that the automaton uses. */
uint64_t mlxn_au_bytes(const mlxn_automaton *a);
/* Forgets everything but the n states, whose new ids replace the old ones. */
mlxn_status mlxn_au_compact(mlxn_automaton *a, uint32_t *states, size_t n, mlxn_error *error);

#endif
