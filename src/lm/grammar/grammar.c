/* grammar.c: grammars as objects: made from text, counted. */
#include "lm/grammar/grammar.h"

static void destroy(mlxn_grammar *g) {
    mlxn_free(g->states.data);
    mlxn_free(g->arcs.data);
    mlxn_free(g->outs.data);
    mlxn_free(g->rules);
    mlxn_free(g);
}

mlxn_status mlxn_grammar_from_gbnf(const char *text, size_t bytes, mlxn_grammar **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "grammar: out is NULL");
    *out = NULL;
    if (!text && bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "grammar: text is NULL");
    mlxn_grammar *g = mlxn_alloc(sizeof *g);
    if (!g) return mlxn_fail(error, MLXN_ERR_MEMORY, "grammar: no memory");
    atomic_init(&g->references, 1);
    mlxn_gr_tree tree;
    mlxn_status status = mlxn_gr_parse(text, bytes, &tree, error);
    if (!status) status = mlxn_gr_check(&tree, error);
    if (!status) status = mlxn_gr_compile(&tree, g, error);
    mlxn_gr_tree_free(&tree);
    if (status) {
        destroy(g);
        return status;
    }
    *out = g;
    return mlxn_succeed(error);
}

mlxn_grammar *mlxn_grammar_retain(mlxn_grammar *grammar) {
    if (grammar) atomic_fetch_add_explicit(&grammar->references, 1, memory_order_relaxed);
    return grammar;
}

void mlxn_grammar_release(mlxn_grammar **grammar) {
    if (!grammar || !*grammar) return;
    if (atomic_fetch_sub_explicit(&(*grammar)->references, 1, memory_order_acq_rel) == 1) destroy(*grammar);
    *grammar = NULL;
}
