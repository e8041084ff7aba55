/* Promise: whatever text is read as a grammar, the result is an error with a text or a grammar that can be run over
 * any bytes, and that goes on in the same way after compaction. The input is a grammar, and behind a zero byte a text
 * for it. Entry point for libFuzzer and for fuzz_driver.c. */
#include "lm/grammar/automaton.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_STEPS = 200, MAX_WORK = 1 << 18 };

/* One byte in the middle of which everything is looked at. */
static void look(mlxn_automaton *a, uint32_t state) {
    mlxn_au_state s = a->states.data[state];
    for (uint32_t i = 0; i < s.count; i++) {
        mlxn_au_item item = a->items.data[s.first + i];
        if (item.state >= a->grammar->states.count || item.context >= a->contexts.count) abort();
        if (a->grammar->states.data[item.state].op != MLXN_GR_BYTES) abort();
    }
    if (!s.count) return;
    if (mlxn_au_pop(a, a->items.data[s.first].context) == MLXN_AU_FAILED && !a->status) abort();
    if (mlxn_au_open(a, s.first, 1) == MLXN_AU_FAILED && !a->status) abort();
}

static void run(const mlxn_grammar *g, const uint8_t *text, size_t size) {
    mlxn_automaton a;
    mlxn_error error;
    if (mlxn_au_init(&a, g, mlxn_free, &error)) {
        if (!error.message[0] || error.status == MLXN_ERR_INTERNAL) abort();
        mlxn_au_free(&a);
        return;
    }
    uint32_t state = MLXN_AU_START;
    for (size_t i = 0; i < MAX_STEPS && a.work < MAX_WORK; i++) {
        /* the text, and then bytes that fit */
        uint8_t byte = i < size ? text[i] : 0;
        uint32_t next = mlxn_au_step(&a, state, byte);
        for (uint32_t c = 0; next == MLXN_AU_DEAD && c < g->n_classes; c++)
            next = mlxn_au_step(&a, state, g->class_byte[(c + i) % g->n_classes]);
        if (next == MLXN_AU_FAILED) break;
        /* what is alive can go on or is complete */
        if (next == MLXN_AU_DEAD && !a.states.data[state].accepts) abort();
        if (next == MLXN_AU_DEAD) break;
        state = next;
        look(&a, state);
        if (a.status) break;
        if (i % 16 == 7) {
            bool accepts = a.states.data[state].accepts;
            uint32_t count = a.states.data[state].count;
            if (mlxn_au_compact(&a, &state, 1, NULL)) break;
            if (a.states.data[state].accepts != accepts || a.states.data[state].count != count) abort();
        }
    }
    if (a.status && (a.status == MLXN_ERR_INTERNAL || !a.error.message[0])) abort();
    mlxn_au_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - data) : size;
    mlxn_grammar *g = NULL;
    mlxn_error error;
    char *text = malloc(n + 1); /* exact, so that a read past the end is seen */
    char *exact = text ? realloc(text, n ? n : 1) : NULL;
    if (!exact) return 0;
    memcpy(exact, data, n);
    mlxn_status status = mlxn_grammar_from_gbnf(exact, n, &g, &error);
    if (status) {
        if (g || !error.message[0] || error.status != status || status == MLXN_ERR_INTERNAL) abort();
    } else {
        run(g, zero ? zero + 1 : NULL, zero ? size - n - 1 : 0);
        mlxn_grammar_release(&g);
    }
    free(exact);
    return 0;
}
