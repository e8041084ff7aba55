/* tok_trie.h: strings of a vocabulary as a tree of bytes: longest match and all matches at a place of a text. */
#ifndef MLXN_LM_TOK_TRIE_H
#define MLXN_LM_TOK_TRIE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mlxn_trie_entry {
    const char *text;
    uint32_t size;
    int32_t value; /* >= 0 */
} mlxn_trie_entry;

/* Children of a node lie side by side, in the order of their labels. Node 0 is the root, and no child. */
typedef struct mlxn_trie_node {
    uint32_t first, count;
    int32_t value; /* -1: no string ends here */
} mlxn_trie_node;

typedef struct mlxn_trie {
    mlxn_trie_node *nodes;
    uint8_t *labels;
    uint32_t count, capacity;
    uint32_t root[256]; /* the root's children; 0: none */
} mlxn_trie;

/* Sorts the entries; empty strings are left out, of equal ones the last counts. Needs no string afterwards. 13 bytes
 * per byte that no other string shares. false: no memory, then the trie is empty. */
bool mlxn_trie_build(mlxn_trie *trie, mlxn_trie_entry *entries, uint32_t n);
void mlxn_trie_free(mlxn_trie *trie);

/* The child of `node` for a byte; 0: none. */
static inline uint32_t mlxn_trie_step(const mlxn_trie *trie, uint32_t node, uint8_t byte) {
    if (!node) return trie->root[byte];
    uint32_t low = trie->nodes[node].first, high = low + trie->nodes[node].count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (trie->labels[middle] == byte) return middle;
        if (trie->labels[middle] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

#endif
