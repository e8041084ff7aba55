/* tok_trie.c: building of the tree of bytes, level by level from the sorted strings. */
#include "lm/tok_trie.h"

#include "base/base.h"

/* Equal strings stay in the order of their values' entries, so that the last one wins. */
static int compare(const void *left, const void *right) {
    const mlxn_trie_entry *a = left, *b = right;
    uint32_t n = a->size < b->size ? a->size : b->size;
    int order = n ? memcmp(a->text, b->text, n) : 0;
    if (order) return order;
    if (a->size != b->size) return a->size < b->size ? -1 : 1;
    return (a->value > b->value) - (a->value < b->value);
}

static bool add(mlxn_trie *trie, uint8_t label, mlxn_trie_node node) {
    if (trie->count == trie->capacity) {
        uint32_t capacity = trie->capacity ? trie->capacity + trie->capacity / 2 : 256;
        mlxn_trie_node *nodes =
            capacity > trie->capacity ? mlxn_realloc_array(trie->nodes, capacity, sizeof *nodes) : NULL;
        if (!nodes) return false;
        trie->nodes = nodes;
        uint8_t *labels = mlxn_realloc_array(trie->labels, capacity, 1);
        if (!labels) return false;
        trie->labels = labels;
        trie->capacity = capacity;
    }
    trie->labels[trie->count] = label;
    trie->nodes[trie->count++] = node;
    return true;
}

/* Until its turn comes, a node holds the range of the strings that go through it, and its depth. */
static bool expand(mlxn_trie *trie, const mlxn_trie_entry *entries, uint32_t i) {
    uint32_t low = trie->nodes[i].first, high = low + trie->nodes[i].count;
    uint32_t depth = (uint32_t)trie->nodes[i].value;
    mlxn_trie_node node = {.first = trie->count, .count = 0, .value = -1};
    for (; low < high && entries[low].size == depth; low++)
        if (depth) node.value = entries[low].value;
    while (low < high) {
        uint8_t label = (uint8_t)entries[low].text[depth];
        uint32_t end = low + 1;
        while (end < high && (uint8_t)entries[end].text[depth] == label) end++;
        if (!add(trie, label, (mlxn_trie_node){low, end - low, (int32_t)depth + 1})) return false;
        low = end;
        node.count++;
    }
    trie->nodes[i] = node;
    return true;
}

bool mlxn_trie_build(mlxn_trie *trie, mlxn_trie_entry *entries, uint32_t n) {
    memset(trie, 0, sizeof *trie);
    if (n) qsort(entries, n, sizeof *entries, compare);
    bool ok = add(trie, 0, (mlxn_trie_node){0, n, 0});
    for (uint32_t i = 0; ok && i < trie->count; i++) ok = expand(trie, entries, i);
    if (!ok) {
        mlxn_trie_free(trie);
        return false;
    }
    for (uint32_t i = 0; i < trie->nodes[0].count; i++)
        trie->root[trie->labels[trie->nodes[0].first + i]] = trie->nodes[0].first + i;
    return true;
}

void mlxn_trie_free(mlxn_trie *trie) {
    mlxn_free(trie->nodes);
    mlxn_free(trie->labels);
    memset(trie, 0, sizeof *trie);
}
