/* constraint.c: places in a text, and which tokens fit there.
 *
 * A mask is put together from memos. The items of a state fall into groups that share their context; what a group
 * allows without regard to that context is found by one walk over all tokens, kept, and used again wherever the group
 * turns up: inside of a string it is the same for every string of the text. In the walk, the rule may return within a
 * token: such places of the trie ("escapes") are noted, and below them the walk goes on with the context that there
 * is: few tokens end a string and go on behind it. */
#include <math.h>

#include "lm/grammar/automaton.h"
#include "lm/sampler_internal.h"
#include "lm/token_trie.h"

enum {
    MASKS = 16,          /* complete masks that are kept */
    MAX_VISITS = 1 << 26 /* trie nodes of one mask */
};
#define DEFAULT_BYTES ((uint64_t)96 << 20)

/* What a group of items allows: ids of tokens, or a bit for each of all where they are many; then escapes: places of
 * the trie. */
typedef struct memo {
    bool dense;
    uint32_t n_tokens, n_escapes;
    uint32_t data[];
} memo;

typedef struct kept_mask {
    uint32_t state; /* MLXN_AU_DEAD: none */
    uint64_t used;
    uint32_t *bits;
} kept_mask;

/* What a constraint and its copies share. */
typedef struct machine {
    mlxn_model *model;
    mlxn_grammar *grammar;
    const mlxn_token_trie *trie;
    mlxn_automaton automaton;
    mlxn_constraint *places;
    uint32_t n_places, words;
    uint32_t *path;    /* [trie->depth + 1] states */
    uint32_t *scratch; /* [words] */
    MLXN_GR_ARRAY(uint32_t) escapes;
    kept_mask masks[MASKS];
    uint64_t clock, visits;
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
    mlxn_au_free(&m->automaton);
    for (int i = 0; i < MASKS; i++) mlxn_free(m->masks[i].bits);
    mlxn_free(m->path);
    mlxn_free(m->scratch);
    mlxn_free(m->escapes.data);
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
    mlxn_status status = mlxn_model_token_trie(model, &m->trie, error);
    if (!status) status = mlxn_au_init(&m->automaton, grammar, mlxn_free, error);
    if (!status) {
        m->words = (m->trie->n_vocab + 31) / 32;
        m->path = mlxn_alloc_array((size_t)m->trie->depth + 1, sizeof *m->path);
        m->scratch = mlxn_alloc_array(m->words, sizeof *m->scratch);
        status = m->path && m->scratch ? add_place(m, MLXN_AU_START, false, out, error) : no_memory(error);
    }
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
    return c && (c->ended || c->m->automaton.states.data[c->state].accepts);
}

bool mlxn_constraint_is_done(const mlxn_constraint *c) {
    return c && (c->ended || (mlxn_constraint_is_complete(c) && c->m->automaton.states.data[c->state].count == 0));
}

/* ---- masks ---- */

static mlxn_status failure(machine *m, mlxn_error *error) {
    if (error) *error = m->automaton.error;
    return m->automaton.status;
}

static void fail(machine *m, mlxn_status status, const char *what) {
    if (!m->automaton.status) m->automaton.status = mlxn_fail(&m->automaton.error, status, "constraint: %s", what);
}

/* Begins a question: nothing has been spent, and there is room. An earlier question that was too hard is forgotten.
 */
static bool prepare(machine *m) {
    mlxn_automaton *a = &m->automaton;
    a->work = m->visits = 0;
    if (m->broken) return false;
    a->status = MLXN_OK;
    if (mlxn_au_bytes(a) <= m->budget) return true;
    uint32_t *states = mlxn_alloc_array(m->n_places, sizeof *states), n = 0;
    if (!states) return fail(m, MLXN_ERR_MEMORY, "no memory"), false;
    for (mlxn_constraint *c = m->places; c; c = c->next) states[n++] = c->state;
    m->broken = mlxn_au_compact(a, states, n, NULL) != MLXN_OK;
    n = 0;
    for (mlxn_constraint *c = m->places; c; c = c->next) c->state = a->status ? MLXN_AU_DEAD : states[n++];
    for (int i = 0; i < MASKS; i++) m->masks[i].state = MLXN_AU_DEAD;
    mlxn_free(states);
    if (!a->status && mlxn_au_bytes(a) > m->budget / 2)
        fail(m, MLXN_ERR_LIMIT, "the text is nested too deeply for the memory that a grammar may use");
    return !a->status;
}

static void allow(const mlxn_token_trie *trie, mlxn_token token, uint32_t *bits) {
    for (; token >= 0; token = trie->same[token]) bits[token >> 5] |= 1u << (token & 31);
}

/* Allows the tokens that end at nodes `at` to `end` - 1, the children of one node, and fit after `state`. Where an
 * open context can return before a token ends, m->escapes gets the node. */
static bool walk(machine *m, uint32_t at, uint32_t end, uint32_t state, uint32_t *bits) {
    mlxn_automaton *a = &m->automaton;
    const mlxn_trie_node *nodes = m->trie->nodes;
    uint32_t base = at < end ? nodes[at].depth - 1u : 0, visits = 0, *path = m->path;
    path[0] = state;
    while (at < end) {
        mlxn_trie_node node = nodes[at];
        uint32_t depth = node.depth - base, next = mlxn_au_step(a, path[depth - 1], node.byte);
        visits++;
        if (next == MLXN_AU_DEAD) {
            at = node.skip;
            continue;
        }
        if (next == MLXN_AU_FAILED) return false;
        path[depth] = next;
        if (node.token >= 0) allow(m->trie, node.token, bits);
        if (a->states.data[next].escapes && at + 1 < node.skip) {
            if (!MLXN_GR_ROOM(m->escapes)) return fail(m, MLXN_ERR_MEMORY, "no memory"), false;
            m->escapes.data[m->escapes.count++] = at;
        }
        at++;
    }
    m->visits += visits;
    if (m->visits > MAX_VISITS) return fail(m, MLXN_ERR_LIMIT, "the grammar is too ambiguous"), false;
    return true;
}

static uint32_t count_bits(const uint32_t *bits, uint32_t words) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < words; i++) n += (uint32_t)__builtin_popcount(bits[i]);
    return n;
}

/* The memo of a state under the open context. */
static const memo *memo_of(machine *m, uint32_t open) {
    mlxn_automaton *a = &m->automaton;
    if (a->states.data[open].memo) return a->states.data[open].memo;
    memset(m->scratch, 0, m->words * sizeof *m->scratch);
    m->escapes.count = 0;
    if (!walk(m, 0, m->trie->count, open, m->scratch)) return NULL;
    uint32_t n = count_bits(m->scratch, m->words), room = n < m->words ? n : m->words, at = 0;
    size_t bytes = sizeof(memo) + ((size_t)room + m->escapes.count) * sizeof(uint32_t);
    memo *made = mlxn_alloc(bytes);
    if (!made) return fail(m, MLXN_ERR_MEMORY, "no memory"), NULL;
    made->dense = n >= m->words;
    made->n_tokens = n;
    made->n_escapes = m->escapes.count;
    if (made->dense) memcpy(made->data, m->scratch, m->words * sizeof *m->scratch);
    for (uint32_t i = 0; i < m->words && !made->dense; i++)
        for (uint32_t word = m->scratch[i]; word; word &= word - 1)
            made->data[at++] = i * 32 + (uint32_t)__builtin_ctz(word);
    if (made->n_escapes) memcpy(made->data + room, m->escapes.data, made->n_escapes * sizeof(uint32_t));
    a->memo_bytes += bytes;
    a->states.data[open].memo = made;
    return made;
}

/* What items `first` to `first + count`, all in one context, allow. */
static bool add_group(machine *m, uint32_t first, uint32_t count, uint32_t *bits) {
    mlxn_automaton *a = &m->automaton;
    uint32_t context = a->items.data[first].context, open = mlxn_au_open(a, first, count);
    const memo *known = open == MLXN_AU_FAILED ? NULL : memo_of(m, open);
    if (!known) return false;
    const uint32_t *escapes = known->data + (known->dense ? m->words : known->n_tokens);
    for (uint32_t i = 0; i < m->words && known->dense; i++) bits[i] |= known->data[i];
    for (uint32_t i = 0; i < known->n_tokens && !known->dense; i++)
        bits[known->data[i] >> 5] |= 1u << (known->data[i] & 31);
    if (!known->n_escapes) return true;
    uint32_t popped = mlxn_au_pop(a, context);
    if (popped == MLXN_AU_FAILED) return false;
    for (uint32_t i = 0; i < known->n_escapes && a->states.data[popped].count; i++)
        if (!walk(m, escapes[i] + 1, m->trie->nodes[escapes[i]].skip, popped, bits)) return false;
    return true;
}

static bool compute(machine *m, uint32_t state, uint32_t *bits) {
    mlxn_automaton *a = &m->automaton;
    uint32_t count = a->states.data[state].count, begin = 0;
    memset(bits, 0, m->words * sizeof *bits);
    while (begin < count) { /* the automaton's arrays may move: indices alone are kept */
        uint32_t first = a->states.data[state].first, end = begin;
        while (end < count && a->items.data[first + end].context == a->items.data[first + begin].context) end++;
        if (!add_group(m, first + begin, end - begin, bits)) return false;
        begin = end;
    }
    for (uint32_t i = 0; i < m->trie->n_ends && a->states.data[state].accepts; i++)
        bits[m->trie->ends[i] >> 5] |= 1u << (m->trie->ends[i] & 31);
    return true;
}

/* The mask of a state, from those that are kept or computed in place of the one that was not used for the longest
 * time. NULL: failure. */
static const uint32_t *mask_of(machine *m, uint32_t state) {
    kept_mask *oldest = &m->masks[0];
    for (int i = 0; i < MASKS; i++) {
        kept_mask *k = &m->masks[i];
        if (k->bits && k->state == state && state != MLXN_AU_DEAD) {
            k->used = ++m->clock;
            return k->bits;
        }
        if (k->used < oldest->used) oldest = k;
    }
    if (!oldest->bits) oldest->bits = mlxn_alloc_array(m->words, sizeof *oldest->bits);
    if (!oldest->bits) return fail(m, MLXN_ERR_MEMORY, "no memory"), NULL;
    oldest->state = MLXN_AU_DEAD;
    if (!compute(m, state, oldest->bits)) return NULL;
    oldest->state = state;
    oldest->used = ++m->clock;
    return oldest->bits;
}

mlxn_status mlxn_constraint_mask(mlxn_constraint *constraint, const uint32_t **bits, mlxn_error *error) {
    if (!constraint || !bits)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "constraint: %s is NULL", constraint ? "bits" : "constraint");
    machine *m = constraint->m;
    *bits = NULL;
    if (!prepare(m)) return failure(m, error);
    *bits = mask_of(m, constraint->ended ? MLXN_AU_DEAD : constraint->state);
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
        if (i % 4096 == 0) m->automaton.work = 0;
        state = mlxn_au_step(&m->automaton, state, (uint8_t)text[i]);
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
    if (constraint && constraint->m->trie->n_vocab != sampler->n_vocab)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "sampler: the constraint is for a vocabulary of %u, the sampler for one of %u",
                         constraint->m->trie->n_vocab, sampler->n_vocab);
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
    const mlxn_token_trie *trie = s->constraint->m->trie;
    if (mlxn_constraint_mask(s->constraint, &bits, NULL)) return NULL;
    bool any = copy_allowed(bits, logits, s->allowed, s->n_vocab);
    if (!s->no_end) return any ? s->allowed : NULL;
    for (uint32_t i = 0; i < trie->n_ends; i++) s->allowed[trie->ends[i]] = (float)NAN;
    return mlxn_constraint_is_done(s->constraint) ? NULL : any ? s->allowed : NULL;
}
