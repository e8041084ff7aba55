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

uint32_t mlxn_trie_group(uint8_t byte) {
    static const char own[] = "\n\t\r \"\\'-_.,:;/{}[]="; /* a group each, from 8 on */
    static const char *const shared[] = {"()", "<>", "+*", "!?"};
    if (byte >= 0x80) return MLXN_TRIE_WIDE;
    if (byte >= 'a' && byte <= 'z') return 1;
    if (byte >= 'A' && byte <= 'Z') return 2;
    if (byte >= '0' && byte <= '9') return 3;
    const char *found = byte ? strchr(own, byte) : NULL;
    if (found) return 8 + (uint32_t)(found - own);
    for (uint32_t i = 0; byte && i < 4; i++)
        if (strchr(shared[i], byte)) return 4 + i;
    return byte < 0x20 || byte == 0x7f ? 30 : 31;
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

/* Reads one byte more of UTF-8: *left bytes of a character are wanted, the next of them from *low to *high. false:
 * that is none. */
static bool read_byte(uint8_t byte, uint8_t *left, uint8_t *low, uint8_t *high) {
    if (*left) {
        bool good = byte >= *low && byte <= *high;
        *left -= 1;
        *low = 0x80, *high = 0xbf;
        return good;
    }
    *low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    *high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    *left = byte < 0x80 ? 0 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    return byte < 0x80 || (byte >= 0xc2 && byte <= 0xf4);
}

/* Whether the way down to a node is UTF-8: bytes that are wanted to end its last character, or NONE. */
enum { NONE = 255 };
typedef struct way {
    uint32_t node;
    uint8_t left, low, high;
} way;

/* The subtrees of path[keep..] are complete: what lies below a node is known to the one above it. */
static void close_nodes(mlxn_token_trie *trie, const way *path, uint32_t *depth, uint32_t keep) {
    while (*depth > keep) {
        const way *w = &path[--*depth];
        mlxn_trie_below *own = &trie->below[w->node];
        uint8_t byte = trie->nodes[w->node].byte;
        trie->nodes[w->node].skip = trie->count;
        if (*depth == 0) {
            own->whole = own->whole && w->left == 0;
            continue;
        }
        mlxn_trie_below *up = &trie->below[path[*depth - 1].node];
        bool begins = path[*depth - 1].left == 0; /* a character */
        up->groups |= own->groups | (begins ? 1u << mlxn_trie_group(byte) : 0);
        if (up->characters < own->characters + begins) up->characters = (uint16_t)(own->characters + begins);
        up->whole = up->whole && own->whole && w->left != NONE;
        own->whole = own->whole && w->left == 0;
    }
}

static void descend(mlxn_token_trie *trie, way *path, uint32_t depth, uint8_t byte, uint32_t first) {
    way next = {trie->count, 0, 0, 0};
    if (depth) next = path[depth - 1], next.node = trie->count;
    if (next.left != NONE && !read_byte(byte, &next.left, &next.low, &next.high)) next.left = NONE;
    path[depth] = next;
    trie->below[trie->count] = (mlxn_trie_below){.first = first, .whole = next.left != NONE};
    trie->nodes[trie->count++] = (mlxn_trie_node){.token = -1, .depth = (uint16_t)(depth + 1), .byte = byte};
}

static void build(mlxn_token_trie *trie, const entry *entries, uint32_t n) {
    way path[MLXN_TRIE_MAX_DEPTH];
    uint32_t depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        trie->order[i] = entries[i].id;
        close_nodes(trie, path, &depth, i ? common(&entries[i - 1], &entries[i]) : 0);
        if (i && depth == entries[i].size && depth == entries[i - 1].size) {
            mlxn_trie_node *node = &trie->nodes[path[depth - 1].node];
            trie->same[entries[i].id] = node->token;
            node->token = entries[i].id;
            node->shared = true;
            continue;
        }
        for (; depth < entries[i].size; depth++) descend(trie, path, depth, (uint8_t)entries[i].bytes[depth], i);
        trie->nodes[path[depth - 1].node].token = entries[i].id;
        if (depth > trie->depth) trie->depth = depth;
    }
    close_nodes(trie, path, &depth, 0);
    trie->below[trie->count].first = n;
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
        size_t room = (size_t)count_nodes(entries, n) + 1;
        trie->nodes = mlxn_alloc_array(room, sizeof *trie->nodes);
        trie->below = mlxn_alloc_array(room, sizeof *trie->below);
        trie->order = mlxn_alloc_array(n, sizeof *trie->order);
    }
    if (trie && trie->nodes && trie->below && trie->order) {
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
    mlxn_free(trie->below);
    mlxn_free(trie->order);
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
