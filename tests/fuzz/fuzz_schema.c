/* Promise: whatever text is read as a JSON schema, the result is an error with a text or a grammar, and what that
 * grammar generates is JSON. The input is a schema; its bytes also decide what is generated. Entry point for
 * libFuzzer and for fuzz_driver.c. */
#include <jansson.h>

#include "lm/grammar/automaton.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 4000, MAX_WORK = 1 << 20 };

/* A text of the grammar, chosen by the bytes; it is looked at when it happens to become complete. */
static void generate(const mlxn_grammar *g, const uint8_t *data, size_t size) {
    mlxn_automaton a;
    if (mlxn_au_init(&a, g, mlxn_free, NULL)) abort();
    char text[MAX_BYTES];
    uint32_t state = MLXN_AU_START, dice = 2166136261u;
    size_t n = 0;
    while (n < MAX_BYTES && a.work < MAX_WORK) {
        dice = (dice ^ (size ? data[n % size] : 1)) * 16777619u;
        uint32_t first = (dice >> 8) % g->n_classes, next = MLXN_AU_DEAD, c = 0;
        if (a.states.data[state].accepts) {
            json_error_t problem;
            json_t *json = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
            /* jansson has limits of its own */
            if (!json && json_error_code(&problem) != json_error_stack_overflow &&
                json_error_code(&problem) != json_error_null_byte_in_key) {
                fprintf(stderr, "%s: %.*s\n", problem.text, (int)n, text);
                abort();
            }
            json_decref(json);
        }
        for (; c < g->n_classes && next == MLXN_AU_DEAD; c++)
            next = mlxn_au_step(&a, state, g->class_byte[(first + c) % g->n_classes]);
        if (next == MLXN_AU_FAILED) break;
        if (next == MLXN_AU_DEAD && !a.states.data[state].accepts) abort();
        if (next == MLXN_AU_DEAD) break;
        text[n++] = (char)g->class_byte[(first + c - 1) % g->n_classes];
        state = next;
    }
    mlxn_au_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mlxn_grammar *g = NULL;
    mlxn_error error;
    mlxn_status status = mlxn_grammar_from_schema((const char *)data, size, &g, &error);
    if (status) {
        if (g || !error.message[0] || error.status != status || status == MLXN_ERR_INTERNAL) abort();
        return 0;
    }
    generate(g, data, size);
    mlxn_grammar_release(&g);
    return 0;
}
