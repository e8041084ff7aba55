/* token_trie.h: the vocabulary of a model by the bytes of its tokens: what constraints walk. */
#ifndef MLXN_LM_TOKEN_TRIE_H
#define MLXN_LM_TOKEN_TRIE_H

#include <mlxn/lm.h>

enum { MLXN_TRIE_MAX_DEPTH = 1024 }; /* longer tokens are left out */

/* Nodes in the order of a walk that goes down first: the subtree of node i is i .. skip - 1. */
typedef struct mlxn_trie_node {
    uint32_t skip;
    mlxn_token token; /* that ends here; -1: none */
    uint16_t depth;   /* bytes from the beginning, at least 1 */
    uint8_t byte;
} mlxn_trie_node;

typedef struct mlxn_token_trie {
    mlxn_trie_node *nodes;
    uint32_t count, depth; /* nodes; bytes of the longest token */
    uint32_t n_vocab;
    mlxn_token *same; /* [n_vocab]: another token with the same bytes; -1: none */
    mlxn_token *ends; /* end tokens, which are not in the trie, as other special tokens and empty ones are not */
    uint32_t n_ends;
} mlxn_token_trie;

/* Errors: MEMORY. */
mlxn_status mlxn_token_trie_create(const mlxn_model *model, mlxn_token_trie **out, mlxn_error *error);
void mlxn_token_trie_destroy(mlxn_token_trie *trie); /* NULL is allowed */
/* The model's, made by the first call. It lives as long as the model. Any thread. Errors: MEMORY. */
mlxn_status mlxn_model_token_trie(mlxn_model *model, const mlxn_token_trie **out, mlxn_error *error);

#endif
