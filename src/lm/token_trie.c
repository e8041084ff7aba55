/* token_trie.c: the tokens sorted by their bytes, and a tree over them. */
#include "lm/token_trie.h"

#include "lm/lm_internal.h"

typedef struct entry {
    uint64_t key; /* the first eight bytes, as a number: most comparisons need no more */
    const char *bytes;
    uint32_t size;
    mlxn_token id;
} entry;

static int by_bytes(const void *x, const void *y) {
    const entry *a = x, *b = y;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    if (order) return order;
    if (a->size != b->size) return a->size < b->size ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* Everything that may be part of a text; returns how many. */
static uint32_t collect(const mlxn_model *model, mlxn_token_trie *trie, entry *entries) {
    uint32_t n = 0;
    for (uint32_t id = 0; id < trie->n_vocab; id++) {
        size_t size = 0;
        const char *bytes = mlxn_token_bytes(model, (mlxn_token)id, &size);
        trie->same[id] = -1;
        if (mlxn_token_is_end(model, (mlxn_token)id)) {
            trie->ends[trie->n_ends++] = (mlxn_token)id;
        } else if (bytes && size > 0 && size <= MLXN_TRIE_MAX_DEPTH &&
                   !mlxn_token_is_special(model, (mlxn_token)id)) {
            entries[n] = (entry){0, bytes, (uint32_t)size, (mlxn_token)id};
            for (size_t i = 0; i < 8; i++) entries[n].key = entries[n].key << 8 | (i < size ? (uint8_t)bytes[i] : 0);
            n++;
        }
    }
    qsort(entries, n, sizeof *entries, by_bytes);
    return n;
}

static uint32_t common(const entry *a, const entry *b) {
    uint32_t n = 0;
    while (n < a->size && n < b->size && a->bytes[n] == b->bytes[n]) n++;
    return n;
}

static void build(mlxn_token_trie *trie, const entry *entries, uint32_t n) {
    uint32_t path[MLXN_TRIE_MAX_DEPTH], depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t shared = i ? common(&entries[i - 1], &entries[i]) : 0;
        while (depth > shared) trie->nodes[path[--depth]].skip = trie->count;
        if (i && depth == entries[i].size && depth == entries[i - 1].size) {
            mlxn_trie_node *node = &trie->nodes[path[depth - 1]];
            trie->same[entries[i].id] = node->token;
            node->token = entries[i].id;
            continue;
        }
        for (; depth < entries[i].size; depth++) {
            path[depth] = trie->count;
            trie->nodes[trie->count++] = (mlxn_trie_node){
                .token = -1, .depth = (uint16_t)(depth + 1), .byte = (uint8_t)entries[i].bytes[depth]};
        }
        trie->nodes[path[depth - 1]].token = entries[i].id;
        if (depth > trie->depth) trie->depth = depth;
    }
    while (depth > 0) trie->nodes[path[--depth]].skip = trie->count;
}

static uint32_t count_nodes(const entry *entries, uint32_t n) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < n; i++) count += entries[i].size - (i ? common(&entries[i - 1], &entries[i]) : 0);
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

mlxn_status mlxn_token_trie_create(const mlxn_model *model, mlxn_token_trie **out, mlxn_error *error) {
    *out = NULL;
    mlxn_token_trie *trie = mlxn_alloc(sizeof *trie);
    uint32_t n_vocab = model->shape.n_vocab, n = 0;
    entry *entries = mlxn_alloc_array(n_vocab, sizeof *entries);
    if (trie) {
        trie->n_vocab = n_vocab;
        trie->same = mlxn_alloc_array(n_vocab, sizeof *trie->same);
        trie->ends = mlxn_alloc_array(n_vocab, sizeof *trie->ends);
    }
    if (trie && entries && trie->same && trie->ends) {
        n = collect(model, trie, entries);
        trie->nodes = mlxn_alloc_array((size_t)count_nodes(entries, n) + 1, sizeof *trie->nodes);
    }
    if (trie && trie->nodes) {
        build(trie, entries, n);
        *out = trie;
    } else {
        mlxn_token_trie_destroy(trie);
    }
    mlxn_free(entries);
    return *out ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "constraint: no memory for %u tokens", n_vocab);
}

void mlxn_token_trie_destroy(mlxn_token_trie *trie) {
    if (!trie) return;
    mlxn_free(trie->nodes);
    mlxn_free(trie->same);
    mlxn_free(trie->ends);
    mlxn_free(trie);
}

mlxn_status mlxn_model_token_trie(mlxn_model *model, const mlxn_token_trie **out, mlxn_error *error) {
    mlxn_token_trie *made = NULL, *known = atomic_load_explicit(&model->trie, memory_order_acquire);
    if (!known) {
        mlxn_status status = mlxn_token_trie_create(model, &made, error);
        if (status) return status;
        /* Of two threads that made one, the first keeps it. */
        if (atomic_compare_exchange_strong_explicit(&model->trie, &known, made, memory_order_acq_rel,
                                                    memory_order_acquire))
            known = made;
        else
            mlxn_token_trie_destroy(made);
    }
    *out = known;
    return MLXN_OK;
}
