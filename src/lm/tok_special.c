/* tok_special.c: control and user-defined tokens found in plain text.
 *
 * The rule is that of llama.cpp: the longest token takes its places in the whole text first, then the next shorter
 * one, and so on. Doing that token by token costs tokens x text, and a Gemma vocabulary has 6,400 of them. Here each
 * place of the text proposes its longest token, a heap hands out the proposals in the same order, and one that
 * overlaps a longer token that was taken proposes its next shorter one: n log n, however hostile the text. */
#include "lm/tok_internal.h"

static bool is_wanted(uint32_t type) {
    return type == MLXN_TOK_CONTROL || type == MLXN_TOK_USER_DEFINED || type == MLXN_TOK_UNKNOWN ||
           type == MLXN_TOK_NAMED;
}

static int compare(const mlxn_tokenizer *tok, uint32_t a, uint32_t b) {
    uint32_t na = tok->tokens.items[a].size, nb = tok->tokens.items[b].size;
    int order = memcmp(mlxn_tok_text(&tok->tokens, a), mlxn_tok_text(&tok->tokens, b), na < nb ? na : nb);
    return order ? order : na < nb ? -1 : na > nb;
}

/* Merge sort from below: no recursion, no comparison context that qsort lacks. */
static void sort(const mlxn_tokenizer *tok, uint32_t *ids, uint32_t *spare, uint32_t n) {
    for (uint64_t width = 1; width < n; width *= 2) {
        for (uint64_t start = 0; start < n; start += 2 * width) {
            uint64_t middle = mlxn_min_u64(start + width, n), end = mlxn_min_u64(start + 2 * width, n);
            for (uint64_t a = start, b = middle, k = start; k < end; k++) {
                bool left = a < middle && (b == end || compare(tok, ids[a], ids[b]) <= 0);
                spare[k] = ids[left ? a++ : b++];
            }
        }
        memcpy(ids, spare, n * sizeof *ids);
    }
}

bool mlxn_tok_special_build(mlxn_tokenizer *tok) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < tok->tokens.count; i++) n += is_wanted(tok->tokens.items[i].type);
    tok->special = mlxn_alloc_array(n, sizeof *tok->special);
    uint32_t *spare = mlxn_alloc_array(n, sizeof *spare);
    if (!tok->special || !spare) {
        mlxn_free(spare);
        return false;
    }
    n = 0;
    for (uint32_t i = 0; i < tok->tokens.count; i++) {
        const mlxn_tok_string item = tok->tokens.items[i];
        /* Of two tokens with the same text only the one that the table knows counts. */
        if (is_wanted(item.type) && item.size &&
            mlxn_tok_find(tok, mlxn_tok_text(&tok->tokens, i), item.size) == (int32_t)i)
            tok->special[n++] = i;
    }
    sort(tok, tok->special, spare, n);
    mlxn_free(spare);
    uint32_t i = 0;
    for (uint32_t b = 0; b < 256; b++) {
        tok->special_first[b] = i;
        while (i < n && (uint8_t)*mlxn_tok_text(&tok->tokens, tok->special[i]) == b) i++;
    }
    tok->special_first[256] = n;
    return true;
}

/* The first place in special[low..high) whose byte at `depth` is >= `byte`; all are longer than `depth`. */
static uint32_t lower(const mlxn_tokenizer *tok, uint32_t low, uint32_t high, uint32_t depth, unsigned byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)mlxn_tok_text(&tok->tokens, tok->special[middle])[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token of at most `limit` bytes at the beginning of text[0..n), n > 0; -1 if none. */
static int32_t longest_at(const mlxn_tokenizer *tok, const char *text, uint32_t n, uint32_t limit, bool no_special) {
    uint32_t low = tok->special_first[(uint8_t)*text], high = tok->special_first[(uint8_t)*text + 1];
    int32_t found = -1;
    if (n > limit) n = limit;
    for (uint32_t depth = 1; low < high; depth++) {
        const mlxn_tok_string item = tok->tokens.items[tok->special[low]];
        if (item.size == depth) { /* sorted: the one that ends here comes first */
            if (!no_special || item.type == MLXN_TOK_USER_DEFINED) found = (int32_t)tok->special[low];
            low++;
        }
        if (depth >= n) break;
        low = lower(tok, low, high, depth, (uint8_t)text[depth]);
        high = lower(tok, low, high, depth, (uint8_t)text[depth] + 1u);
    }
    return limit ? found : -1;
}

typedef struct place {
    uint32_t start;
    int32_t token; /* -1: nothing fits here any more */
    uint32_t size;
    bool taken;
} place;

typedef struct places {
    place *data;
    size_t count, capacity;
    uint32_t *heap;
    size_t n_heap;
} places;

static bool before(const places *p, uint32_t a, uint32_t b) {
    const place *x = &p->data[a], *y = &p->data[b];
    if (x->size != y->size) return x->size > y->size;
    return x->token != y->token ? x->token < y->token : x->start < y->start;
}

/* Puts heap[i] where it belongs among those below it. */
static void sink(places *p, size_t i) {
    uint32_t moving = p->heap[i];
    for (size_t child; (child = 2 * i + 1) < p->n_heap; i = child) {
        if (child + 1 < p->n_heap && before(p, p->heap[child + 1], p->heap[child])) child++;
        if (!before(p, p->heap[child], moving)) break;
        p->heap[i] = p->heap[child];
    }
    p->heap[i] = moving;
}

static bool propose(const mlxn_tokenizer *tok, const char *text, uint32_t n, bool no_special, places *p) {
    for (uint32_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)text[i];
        if (tok->special_first[b] == tok->special_first[b + 1]) continue;
        int32_t token = longest_at(tok, text + i, n - i, UINT32_MAX, no_special);
        if (token < 0) continue;
        if (p->count == p->capacity) {
            size_t capacity = p->capacity ? p->capacity * 2 : 64;
            place *grown = mlxn_realloc_array(p->data, capacity, sizeof *grown);
            if (!grown) return false;
            p->data = grown;
            p->capacity = capacity;
        }
        p->data[p->count++] = (place){.start = i, .token = token, .size = tok->tokens.items[token].size};
    }
    return true;
}

/* Hands out the places. `covered` has one bit per byte of the text. */
static void take(const mlxn_tokenizer *tok, const char *text, uint32_t n, bool no_special, places *p,
                 uint8_t *covered) {
    for (size_t i = 0; i < p->count; i++) p->heap[i] = (uint32_t)i;
    p->n_heap = p->count;
    for (size_t i = p->n_heap / 2; i-- > 0;) sink(p, i);
    while (p->n_heap) {
        place *best = &p->data[p->heap[0]];
        uint32_t last = best->start + best->size - 1;
        /* Whatever was taken before is at least as long, so an overlap covers the first or the last byte. */
        if (covered[best->start / 8] >> best->start % 8 & 1) {
            best->token = -1;
        } else if (covered[last / 8] >> last % 8 & 1) {
            best->token = longest_at(tok, text + best->start, n - best->start, best->size - 1, no_special);
            if (best->token >= 0) {
                best->size = tok->tokens.items[best->token].size;
                sink(p, 0);
                continue;
            }
        } else {
            best->taken = true;
            for (uint32_t i = best->start; i <= last; i++) covered[i / 8] |= (uint8_t)(1u << i % 8);
        }
        p->heap[0] = p->heap[--p->n_heap];
        if (p->n_heap) sink(p, 0);
    }
}

bool mlxn_tok_partition(const mlxn_tokenizer *tok, const char *text, uint32_t n, bool no_special,
                        mlxn_tok_part **parts, size_t *n_parts) {
    places p = {0};
    uint8_t *covered = NULL;
    *parts = NULL;
    *n_parts = 0;
    bool ok = propose(tok, text, n, no_special, &p);
    if (ok && p.count) {
        p.heap = mlxn_alloc_array(p.count, sizeof *p.heap);
        covered = mlxn_alloc(n / 8 + 1);
        ok = p.heap && covered;
        if (ok) take(tok, text, n, no_special, &p, covered);
    }
    if (ok) *parts = mlxn_alloc_array(2 * p.count + 1, sizeof **parts);
    ok = *parts != NULL;
    uint32_t at = 0;
    for (size_t i = 0; ok && i < p.count; i++) {
        const place *q = &p.data[i];
        if (!q->taken) continue;
        if (at < q->start) (*parts)[(*n_parts)++] = (mlxn_tok_part){at, q->start, -1};
        at = q->start + q->size;
        (*parts)[(*n_parts)++] = (mlxn_tok_part){q->start, at, q->token};
    }
    if (ok && at < n) (*parts)[(*n_parts)++] = (mlxn_tok_part){at, n, -1};
    mlxn_free(p.data);
    mlxn_free(p.heap);
    mlxn_free(covered);
    return ok;
}
