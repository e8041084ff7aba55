/* masker.c: walks, memos, masks. */
#include "lm/grammar/masker.h"

enum {
    LARGE_SUBTREE = 8,   /* nodes; smaller ones are walked */
    MAX_VISITS = 1 << 26 /* trie nodes of one mask */
};

/* What a group of items allows: ids of tokens, or a bit for each of all where they are many; then escapes: places of
 * the trie. */
typedef struct memo {
    bool dense;
    uint32_t n_tokens, n_escapes;
    uint32_t data[];
} memo;

mlxn_status mlxn_masker_init(mlxn_masker *m, const mlxn_grammar *grammar, const mlxn_token_trie *trie,
                             mlxn_error *error) {
    *m = (mlxn_masker){.trie = trie, .words = (trie->n_vocab + 31) / 32};
    mlxn_status status = mlxn_au_init(&m->automaton, grammar, mlxn_free, error);
    if (status) return status;
    m->path = mlxn_alloc_array((size_t)trie->depth + 1, sizeof *m->path);
    m->scratch = mlxn_alloc_array(m->words, sizeof *m->scratch);
    if (m->path && m->scratch) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_MEMORY, "constraint: no memory for masks of %u tokens", trie->n_vocab);
}

void mlxn_masker_free(mlxn_masker *m) {
    if (m->automaton.grammar) mlxn_au_free(&m->automaton);
    for (int i = 0; i < MLXN_MASKER_KEPT; i++) mlxn_free(m->masks[i].bits);
    mlxn_free(m->path);
    mlxn_free(m->scratch);
    mlxn_free(m->escapes.data);
}

void mlxn_masker_forget(mlxn_masker *m) {
    for (int i = 0; i < MLXN_MASKER_KEPT; i++) m->masks[i].state = MLXN_AU_DEAD;
}

void mlxn_masker_fail(mlxn_masker *m, mlxn_status status, const char *what) {
    if (!m->automaton.status) m->automaton.status = mlxn_fail(&m->automaton.error, status, "constraint: %s", what);
}

static void allow(const mlxn_token_trie *trie, mlxn_trie_node node, uint32_t *bits) {
    if (node.token >= 0) bits[node.token >> 5] |= 1u << (node.token & 31);
    for (mlxn_token t = node.token; node.shared && t >= 0; t = trie->same[t]) bits[t >> 5] |= 1u << (t & 31);
}

static void allow_subtree(const mlxn_token_trie *trie, uint32_t node, uint32_t *bits) {
    uint32_t end = trie->below[trie->nodes[node].skip].first;
    for (uint32_t i = trie->below[node].first; i < end; i++) bits[trie->order[i] >> 5] |= 1u << (trie->order[i] & 31);
}

/* Allows the tokens that end at nodes `at` to `end` - 1, the children of one node, and fit after `state`. Where an
 * open context can return before a token ends, m->escapes gets the node. */
static bool walk(mlxn_masker *m, uint32_t at, uint32_t end, uint32_t state, uint32_t *bits) {
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
        if (node.skip - at >= LARGE_SUBTREE && !a->states.data[next].escapes) {
            int all = mlxn_masker_takes_all(m, at, next);
            if (all < 0) return false;
            if (all) {
                allow_subtree(m->trie, at, bits);
                at = node.skip;
                continue;
            }
        }
        allow(m->trie, node, bits);
        if (a->states.data[next].escapes && at + 1 < node.skip) {
            if (!MLXN_GR_ROOM(m->escapes)) return mlxn_masker_fail(m, MLXN_ERR_MEMORY, "no memory"), false;
            m->escapes.data[m->escapes.count++] = at;
        }
        at++;
    }
    m->visits += visits;
    if (m->visits > MAX_VISITS) return mlxn_masker_fail(m, MLXN_ERR_LIMIT, "the grammar is too ambiguous"), false;
    return true;
}

static uint32_t count_bits(const uint32_t *bits, uint32_t words) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < words; i++) n += (uint32_t)__builtin_popcount(bits[i]);
    return n;
}

/* The memo of a state under the open context. */
static const memo *memo_of(mlxn_masker *m, uint32_t open) {
    mlxn_automaton *a = &m->automaton;
    if (a->states.data[open].memo) return a->states.data[open].memo;
    memset(m->scratch, 0, m->words * sizeof *m->scratch);
    m->escapes.count = 0;
    if (!walk(m, 0, m->trie->count, open, m->scratch)) return NULL;
    uint32_t n = count_bits(m->scratch, m->words), room = n < m->words ? n : m->words, at = 0;
    size_t bytes = sizeof(memo) + ((size_t)room + m->escapes.count) * sizeof(uint32_t);
    memo *made = mlxn_alloc(bytes);
    if (!made) return mlxn_masker_fail(m, MLXN_ERR_MEMORY, "no memory"), NULL;
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
static bool add_group(mlxn_masker *m, uint32_t first, uint32_t count, uint32_t *bits) {
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

static bool compute(mlxn_masker *m, uint32_t state, uint32_t *bits) {
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
const uint32_t *mlxn_masker_mask(mlxn_masker *m, uint32_t state) {
    mlxn_kept_mask *oldest = &m->masks[0];
    for (int i = 0; i < MLXN_MASKER_KEPT; i++) {
        mlxn_kept_mask *k = &m->masks[i];
        if (k->bits && k->state == state && state != MLXN_AU_DEAD) {
            k->used = ++m->clock;
            return k->bits;
        }
        if (k->used < oldest->used) oldest = k;
    }
    if (!oldest->bits) oldest->bits = mlxn_alloc_array(m->words, sizeof *oldest->bits);
    if (!oldest->bits) return mlxn_masker_fail(m, MLXN_ERR_MEMORY, "no memory"), NULL;
    oldest->state = MLXN_AU_DEAD;
    if (!compute(m, state, oldest->bits)) return NULL;
    oldest->state = state;
    oldest->used = ++m->clock;
    return oldest->bits;
}
