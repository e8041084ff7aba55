/* constraint.c: places in a text: copies, masks, moving on, and what the sampler sees of it. */
#include <math.h>

#include "lm/grammar/masker.h"
#include "lm/sampler_internal.h"

#define DEFAULT_BYTES ((uint64_t)96 << 20)

/* What a constraint and its copies share. */
typedef struct machine {
    mlxn_model *model;
    mlxn_grammar *grammar;
    mlxn_masker masker;
    mlxn_constraint *places;
    uint32_t n_places;
    uint64_t budget; /* the automaton is compacted when it uses more bytes */
    bool broken;     /* compaction failed: the places are lost */
} machine;

struct mlxn_constraint {
    machine *m;
    uint32_t state;
    bool ended; /* an end token was accepted */
    mlxn_constraint *next;
};

/* ---- life ---- */

static void machine_destroy(machine *m) {
    mlxn_masker_free(&m->masker);
    mlxn_grammar_release(&m->grammar);
    mlxn_model_release(&m->model);
    mlxn_free(m);
}

static mlxn_status no_memory(mlxn_error *error) { return mlxn_fail(error, MLXN_ERR_MEMORY, "constraint: no memory"); }

static mlxn_status add_place(machine *m, uint32_t state, bool ended, mlxn_constraint **out, mlxn_error *error) {
    mlxn_constraint *c = mlxn_alloc(sizeof *c);
    if (!c) return no_memory(error);
    *c = (mlxn_constraint){.m = m, .state = state, .ended = ended, .next = m->places};
    m->places = c;
    m->n_places++;
    *out = c;
    return mlxn_succeed(error);
}

mlxn_status mlxn_constraint_create(mlxn_model *model, mlxn_grammar *grammar, mlxn_constraint **out,
                                   mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: out is NULL");
    *out = NULL;
    if (!model || !grammar)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: %s is NULL", model ? "grammar" : "model");
    machine *m = mlxn_alloc(sizeof *m);
    if (!m) return no_memory(error);
    m->model = mlxn_model_retain(model);
    m->grammar = mlxn_grammar_retain(grammar);
    m->budget = DEFAULT_BYTES;
    const mlxn_token_trie *trie;
    mlxn_status status = mlxn_model_token_trie(model, &trie, error);
    if (!status) status = mlxn_masker_init(&m->masker, grammar, trie, error);
    if (!status) status = add_place(m, MLXN_AU_START, false, out, error);
    if (status) machine_destroy(m);
    return status;
}

mlxn_status mlxn_constraint_copy(const mlxn_constraint *constraint, mlxn_constraint **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: out is NULL");
    *out = NULL;
    if (!constraint) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: constraint is NULL");
    return add_place(constraint->m, constraint->state, constraint->ended, out, error);
}

void mlxn_constraint_destroy(mlxn_constraint *constraint) {
    if (!constraint) return;
    machine *m = constraint->m;
    mlxn_constraint **link = &m->places;
    while (*link != constraint) link = &(*link)->next;
    *link = constraint->next;
    mlxn_free(constraint);
    if (--m->n_places == 0) machine_destroy(m);
}

void mlxn_constraint_reset(mlxn_constraint *constraint) {
    if (!constraint) return;
    constraint->state = MLXN_AU_START;
    constraint->ended = false;
}

void mlxn_constraint_set_budget(mlxn_constraint *constraint, uint64_t bytes) {
    if (constraint) constraint->m->budget = bytes ? bytes : DEFAULT_BYTES;
}

bool mlxn_constraint_is_complete(const mlxn_constraint *c) {
    return c && (c->ended || c->m->masker.automaton.states.data[c->state].accepts);
}

bool mlxn_constraint_is_done(const mlxn_constraint *c) {
    return c &&
           (c->ended || (mlxn_constraint_is_complete(c) && c->m->masker.automaton.states.data[c->state].count == 0));
}

/* ---- masks ---- */

static mlxn_status failure(machine *m, mlxn_error *error) {
    if (error) *error = m->masker.automaton.error;
    return m->masker.automaton.status;
}

/* Begins a question: nothing has been spent, and there is room. An earlier question that was too hard is forgotten.
 */
static bool prepare(machine *m) {
    mlxn_automaton *a = &m->masker.automaton;
    a->work = m->masker.visits = 0;
    if (m->broken) return false;
    a->status = MLXN_OK;
    if (mlxn_au_bytes(a) <= m->budget) return true;
    uint32_t *states = mlxn_alloc_array(m->n_places, sizeof *states), n = 0;
    if (!states) return mlxn_masker_fail(&m->masker, MLXN_ERR_MEMORY, "no memory"), false;
    for (mlxn_constraint *c = m->places; c; c = c->next) states[n++] = c->state;
    m->broken = mlxn_au_compact(a, states, n, NULL) != MLXN_OK;
    n = 0;
    for (mlxn_constraint *c = m->places; c; c = c->next) c->state = a->status ? MLXN_AU_DEAD : states[n++];
    mlxn_masker_forget(&m->masker);
    mlxn_free(states);
    if (!a->status && mlxn_au_bytes(a) > m->budget / 2)
        mlxn_masker_fail(&m->masker, MLXN_ERR_LIMIT,
                         "the text is nested too deeply for the memory that a grammar may use");
    return !a->status;
}

mlxn_status mlxn_constraint_mask(mlxn_constraint *constraint, const uint32_t **bits, mlxn_error *error) {
    if (!constraint || !bits)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: %s is NULL", constraint ? "bits" : "constraint");
    machine *m = constraint->m;
    *bits = NULL;
    if (!prepare(m)) return failure(m, error);
    *bits = mlxn_masker_mask(&m->masker, constraint->ended ? MLXN_AU_DEAD : constraint->state);
    return *bits ? mlxn_succeed(error) : failure(m, error);
}

/* ---- moving on ---- */

mlxn_status mlxn_constraint_accept_text(mlxn_constraint *constraint, const char *text, size_t bytes,
                                        mlxn_error *error) {
    if (!constraint || (!text && bytes))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: %s is NULL", constraint ? "text" : "constraint");
    machine *m = constraint->m;
    if (!prepare(m)) return failure(m, error);
    uint32_t state = constraint->ended ? MLXN_AU_DEAD : constraint->state;
    for (size_t i = 0; i < bytes; i++) {
        if (i % 4096 == 0) m->masker.automaton.work = 0;
        state = mlxn_au_step(&m->masker.automaton, state, (uint8_t)text[i]);
        if (state == MLXN_AU_FAILED) return failure(m, error);
        if (state == MLXN_AU_DEAD)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: byte 0x%02X at %zu does not fit the grammar",
                             (uint8_t)text[i], i);
    }
    constraint->state = state;
    return mlxn_succeed(error);
}

static mlxn_status misfit(mlxn_token token, const char *why, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: token %d may not come here: %s", (int)token, why);
}

mlxn_status mlxn_constraint_accept(mlxn_constraint *constraint, mlxn_token token, mlxn_error *error) {
    if (!constraint) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: constraint is NULL");
    const machine *m = constraint->m;
    size_t size = 0;
    const char *bytes = mlxn_token_bytes(m->model, token, &size);
    if (constraint->ended) return misfit(token, "an end token came before", error);
    if (mlxn_token_is_end(m->model, token)) {
        if (!mlxn_constraint_is_complete(constraint)) return misfit(token, "the text is not complete", error);
        constraint->ended = true;
        return mlxn_succeed(error);
    }
    if (!bytes) return misfit(token, "the vocabulary has no such token", error);
    if (!size || size > MLXN_TRIE_MAX_DEPTH || mlxn_token_is_special(m->model, token))
        return misfit(token, "it is no part of a text", error);
    mlxn_status status = mlxn_constraint_accept_text(constraint, bytes, size, error);
    if (status == MLXN_ERR_ARGUMENT) return misfit(token, "its bytes do not fit the grammar", error);
    return status;
}

/* ---- in the sampler ---- */

mlxn_status mlxn_sampler_set_constraint(mlxn_sampler *sampler, mlxn_constraint *constraint, mlxn_error *error) {
    if (!sampler) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: sampler is NULL");
    if (constraint && constraint->m->masker.trie->n_vocab != sampler->n_vocab)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "sampler: the constraint is for a vocabulary of %u, the sampler for one of %u",
                         constraint->m->masker.trie->n_vocab, sampler->n_vocab);
    if (constraint && !sampler->allowed) {
        sampler->allowed = mlxn_alloc_array(sampler->n_vocab, sizeof *sampler->allowed);
        if (!sampler->allowed)
            return mlxn_fail(error, MLXN_ERR_MEMORY, "sampler: no memory for a vocabulary of %u", sampler->n_vocab);
    }
    sampler->constraint = constraint;
    sampler->no_end = false;
    return mlxn_succeed(error);
}

/* What is not allowed becomes NaN: the sampler never chooses it. */
static bool copy_allowed(const uint32_t *bits, const float *logits, float *out, uint32_t n) {
    uint32_t any = 0;
    for (uint32_t i = 0; i < n; i += 32) {
        uint32_t word = bits[i / 32], size = n - i < 32 ? n - i : 32;
        any |= word;
        if (word == UINT32_MAX) {
            memcpy(out + i, logits + i, 32 * sizeof *out);
        } else {
            for (uint32_t k = 0; k < size; k++) out[i + k] = word >> k & 1 ? logits[i + k] : (float)NAN;
        }
    }
    return any != 0;
}

const float *mlxn_sampler_constrain(mlxn_sampler *s, const float *logits) {
    const uint32_t *bits;
    const mlxn_token_trie *trie = s->constraint->m->masker.trie;
    if (mlxn_constraint_mask(s->constraint, &bits, NULL)) return NULL;
    bool any = copy_allowed(bits, logits, s->allowed, s->n_vocab);
    if (!s->no_end) return any ? s->allowed : NULL;
    for (uint32_t i = 0; i < trie->n_ends; i++) s->allowed[trie->ends[i]] = (float)NAN;
    return mlxn_constraint_is_done(s->constraint) ? NULL : any ? s->allowed : NULL;
}
