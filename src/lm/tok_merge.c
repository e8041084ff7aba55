/* tok_merge.c: the joining of symbols that both engines share: a linked list of symbols and a heap of the pairs that
 * may be joined, best first, leftmost among equals. n log n in the number of symbols. */
#include "lm/tok_internal.h"

void mlxn_tok_work_free(mlxn_tok_work *work) {
    mlxn_free(work->symbols);
    mlxn_free(work->heap);
    mlxn_free(work->text);
    memset(work, 0, sizeof *work);
}

bool mlxn_tok_work_text(mlxn_tok_work *work, size_t bytes) {
    if (bytes <= work->text_capacity) return true;
    size_t capacity = bytes + bytes / 2 + 64;
    char *grown = mlxn_realloc_array(work->text, capacity, 1);
    if (!grown) return false;
    work->text = grown;
    work->text_capacity = capacity;
    return true;
}

bool mlxn_tok_work_symbol(mlxn_tok_work *work, uint32_t start, uint32_t size) {
    if (work->n_symbols == work->symbol_capacity) {
        size_t capacity = work->symbol_capacity ? work->symbol_capacity * 2 : 64;
        mlxn_tok_symbol *grown = mlxn_realloc_array(work->symbols, capacity, sizeof *grown);
        if (!grown) return false;
        work->symbols = grown;
        work->symbol_capacity = capacity;
    }
    uint32_t i = (uint32_t)work->n_symbols++;
    if (i) work->symbols[i - 1].next = i;
    work->symbols[i] =
        (mlxn_tok_symbol){.start = start, .size = size, .previous = i ? i - 1 : MLXN_TOK_NIL, .next = MLXN_TOK_NIL};
    return true;
}

static bool heap_push(mlxn_tok_work *work, mlxn_tok_pair pair) {
    if (work->n_heap == work->heap_capacity) {
        size_t capacity = work->heap_capacity ? work->heap_capacity * 2 : 64;
        mlxn_tok_pair *grown = mlxn_realloc_array(work->heap, capacity, sizeof *grown);
        if (!grown) return false;
        work->heap = grown;
        work->heap_capacity = capacity;
    }
    size_t i = work->n_heap++;
    for (size_t parent; i && work->heap[parent = (i - 1) / 2].key > pair.key; i = parent)
        work->heap[i] = work->heap[parent];
    work->heap[i] = pair;
    return true;
}

static mlxn_tok_pair heap_pop(mlxn_tok_work *work) {
    mlxn_tok_pair best = work->heap[0], moving = work->heap[--work->n_heap];
    size_t i = 0, n = work->n_heap;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && work->heap[child + 1].key < work->heap[child].key) child++;
        if (work->heap[child].key >= moving.key) break;
        work->heap[i] = work->heap[child];
    }
    work->heap[i] = moving;
    return best;
}

/* Smaller is better: the bits of a float in the order of its values, turned round. */
static uint32_t score_priority(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &score, 4);
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

/* Puts the pair of symbol i and the one after it on the heap if the vocabulary can join them. */
static bool consider(const mlxn_tokenizer *tok, mlxn_tok_work *work, uint32_t i) {
    const mlxn_tok_symbol *left = &work->symbols[i];
    if (left->next == MLXN_TOK_NIL) return true;
    const mlxn_tok_symbol *right = &work->symbols[left->next];
    const char *text = work->text + left->start;
    uint32_t size = left->size + right->size, priority;
    if (tok->spm) {
        int32_t id = mlxn_tok_find(tok, text, size);
        if (id < 0) return true;
        priority = score_priority(mlxn_tok_score(tok, (uint32_t)id));
    } else {
        int32_t rank =
            mlxn_tok_find_merge(tok, text, left->size, left->hash, text + left->size, right->size, right->hash);
        if (rank < 0) return true;
        priority = (uint32_t)rank;
    }
    return heap_push(work, (mlxn_tok_pair){.key = (uint64_t)priority << 32 | i, .size = size});
}

bool mlxn_tok_join(const mlxn_tokenizer *tok, mlxn_tok_work *work) {
    work->n_heap = 0;
    for (size_t i = 0; !tok->spm && i < work->n_symbols; i++)
        work->symbols[i].hash = mlxn_tok_hash(work->text + work->symbols[i].start, work->symbols[i].size);
    for (size_t i = 0; i < work->n_symbols; i++)
        if (!consider(tok, work, (uint32_t)i)) return false;
    while (work->n_heap) {
        mlxn_tok_pair pair = heap_pop(work);
        uint32_t i = (uint32_t)pair.key;
        mlxn_tok_symbol *left = &work->symbols[i];
        if (!left->size || left->next == MLXN_TOK_NIL) continue;
        mlxn_tok_symbol *right = &work->symbols[left->next];
        /* Symbols only grow, so the sizes add up only if neither changed since the pair was noted. */
        if (left->size + right->size != pair.size) continue;
        left->size = pair.size;
        right->size = 0;
        left->next = right->next;
        if (left->next != MLXN_TOK_NIL) work->symbols[left->next].previous = i;
        if (!tok->spm) left->hash = mlxn_tok_hash(work->text + left->start, left->size);
        if (left->previous != MLXN_TOK_NIL && !consider(tok, work, left->previous)) return false;
        if (!consider(tok, work, i)) return false;
    }
    return true;
}
