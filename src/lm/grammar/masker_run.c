/* masker_run.c: subtrees of the trie that are taken as a whole. Within strings most characters make no difference:
 * they all lead to the same state, or each to the one behind it where characters are counted. That is looked up once
 * per state, and then a subtree of such characters needs no walk. */
#include "lm/grammar/masker.h"

/* One character of several bytes leads from `state` to `target`, whichever it is, and no open context returns in it.
 * 1, 0, or -1: failure. */
static int characters_lead_to(mlxn_automaton *a, uint32_t state, uint32_t target) {
    uint32_t last_at = MLXN_AU_DEAD, last_kind = 0;
    for (uint32_t lead = 0xc2; lead <= 0xf4; lead++) { /* Unicode, table 3-7 */
        uint32_t rest = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        uint32_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint32_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        uint32_t at = mlxn_au_step(a, state, (uint8_t)lead), kind = rest << 16 | low << 8 | high;
        if (at == MLXN_AU_FAILED) return -1;
        if (at == MLXN_AU_DEAD || a->states.data[at].escapes) return 0;
        if (at == last_at && kind == last_kind) continue;
        last_at = at;
        last_kind = kind;
        for (; rest > 0; rest--, low = 0x80, high = 0xbf) {
            uint32_t next = mlxn_au_step(a, at, (uint8_t)low);
            for (uint32_t byte = low + 1; byte <= high; byte++)
                if (mlxn_au_step(a, at, (uint8_t)byte) != next) return a->status ? -1 : 0;
            if (next == MLXN_AU_FAILED) return -1;
            if (next == MLXN_AU_DEAD || (rest > 1 && a->states.data[next].escapes)) return 0;
            at = next;
        }
        if (at != target) return 0;
    }
    return 1;
}

/* Where most characters lead from a state, and the groups of bytes that all lead there. */
static bool find_run(mlxn_masker *m, uint32_t state) {
    mlxn_automaton *a = &m->automaton;
    uint32_t next[MLXN_TRIE_GROUPS], size[MLXN_TRIE_GROUPS] = {0}, best = MLXN_AU_DEAD, most = 0, groups = 0;
    for (uint32_t byte = 0; byte < 0x80; byte++) {
        uint32_t to = mlxn_au_step(a, state, (uint8_t)byte), g = mlxn_trie_group((uint8_t)byte);
        if (to == MLXN_AU_FAILED) return false;
        if (!size[g]++) next[g] = to;
        if (next[g] != to) next[g] = MLXN_AU_DEAD;
    }
    for (uint32_t g = 0; g < MLXN_TRIE_GROUPS; g++) {
        uint32_t same = 0;
        for (uint32_t k = 0; size[g] && next[g] != MLXN_AU_DEAD && k < MLXN_TRIE_GROUPS; k++)
            same += size[k] && next[k] == next[g] ? size[k] : 0;
        if (same > most) most = same, best = next[g];
    }
    for (uint32_t g = 0; most && g < MLXN_TRIE_GROUPS; g++)
        if (size[g] && next[g] == best) groups |= 1u << g;
    int wide = most ? characters_lead_to(a, state, best) : 0;
    if (wide < 0) return false;
    if (wide) groups |= 1u << MLXN_TRIE_WIDE;
    a->states.data[state].run = groups;
    a->states.data[state].run_next = best;
    return true;
}

int mlxn_masker_takes_all(mlxn_masker *m, uint32_t node, uint32_t state) {
    mlxn_automaton *a = &m->automaton;
    mlxn_trie_below below = m->trie->below[node];
    if (!below.whole) return 0;
    for (uint32_t left = below.characters; left > 0; left--) {
        if (a->states.data[state].run_next == UINT32_MAX && !find_run(m, state)) return -1;
        uint32_t next = a->states.data[state].run_next;
        if (below.groups & ~a->states.data[state].run || a->states.data[next].escapes) return 0;
        if (next == state) return 1;
        state = next;
    }
    return 1;
}
