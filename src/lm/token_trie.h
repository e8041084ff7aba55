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
    bool shared; /* other tokens have the same bytes: see `same` */
} mlxn_trie_node;

/* What lies below a node, so that a subtree can be taken as a whole. */
typedef struct mlxn_trie_below {
    uint32_t groups;     /* the groups of all characters below, a bit each */
    uint32_t first;      /* tokens order[first] .. order[first of node `skip` - 1] end at the node or below */
    uint16_t characters; /* that the longest way down from the node has, begun ones included */
    bool whole;          /* the node ends a character, and what lies below is UTF-8, but for unfinished ends */
} mlxn_trie_below;

/* Characters are told apart by groups: letters, digits, what formats treat in a way of its own, and all those of
 * several bytes. */
enum { MLXN_TRIE_WIDE = 0, MLXN_TRIE_GROUPS = 32 };
uint32_t mlxn_trie_group(uint8_t byte); /* of its first byte */

typedef struct mlxn_token_trie {
    mlxn_trie_node *nodes;
    mlxn_trie_below *below; /* [count + 1] */
    mlxn_token *order;      /* all tokens of the tree, sorted by their bytes */
    uint32_t count, depth;  /* nodes; bytes of the longest token */
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
