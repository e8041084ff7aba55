/* tok_merge.c: the joining of symbols, by rank or by score: a linked list of symbols and a heap of the pairs that
 * may be joined, best first, leftmost among equals. n log n in the number of symbols. */
#include "lm/tok_internal.h"

void mlxn_tok_work_free(mlxn_tok_work *work) {
    mlxn_free(work->symbols);
    mlxn_free(work->heap);
    mlxn_free(work->text.data);
    mlxn_free(work->paths);
    mlxn_free(work->normal.data);
    mlxn_free(work->spare.data);
    mlxn_free(work->pieces.data);
    mlxn_free(work->cuts.data);
    mlxn_free(work->next.data);
    mlxn_regex_work_free(&work->regex);
    memset(work, 0, sizeof *work);
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

/* The priority of joining symbol i and the one after it; -1 if the vocabulary cannot. */
static int64_t priority_of(const mlxn_tokenizer *tok, const mlxn_tok_work *work, const mlxn_tok_symbol *left,
                           const mlxn_tok_symbol *right) {
    const char *text = work->text.data + left->start;
    if (tok->model == MLXN_TOK_SCORES) {
        int32_t id = mlxn_tok_find(tok, text, (size_t)left->size + right->size);
        return id < 0 ? -1 : (int64_t)score_priority(mlxn_tok_score(tok, (uint32_t)id));
    }
    return mlxn_tok_find_merge(tok, text, left->size, left->hash, work->text.data + right->start, right->size,
                               right->hash);
}

/* Puts the pair of symbol i and the one after it on the heap if the vocabulary can join them. */
static bool consider(const mlxn_tokenizer *tok, mlxn_tok_work *work, uint32_t i) {
    const mlxn_tok_symbol *left = &work->symbols[i];
    if (left->next == MLXN_TOK_NIL) return true;
    const mlxn_tok_symbol *right = &work->symbols[left->next];
    int64_t priority = priority_of(tok, work, left, right);
    if (priority < 0) return true;
    return heap_push(work, (mlxn_tok_pair){.key = (uint64_t)priority << 32 | i, .size = left->size + right->size});
}

/* The text of the joined symbol. Symbols lie side by side, but where tokens that continue a word carry a prefix, the
 * right one loses it: then the joined text is written behind all others. */
static bool spell(const mlxn_tokenizer *tok, mlxn_tok_work *work, mlxn_tok_symbol *left,
                  const mlxn_tok_symbol *right) {
    uint32_t prefix = (uint32_t)tok->prefix.size;
    if (!prefix || right->size < prefix) {
        left->size += right->size;
        return true;
    }
    uint32_t start = (uint32_t)work->text.size, size = left->size + right->size - prefix;
    if (size > UINT32_MAX - start || !mlxn_tok_bytes_room(&work->text, size)) return false;
    char *to = work->text.data + start;
    memcpy(to, work->text.data + left->start, left->size);
    memcpy(to + left->size, work->text.data + right->start + prefix, right->size - prefix);
    work->text.size += size;
    left->start = start;
    left->size = size;
    return true;
}

bool mlxn_tok_join(const mlxn_tokenizer *tok, mlxn_tok_work *work) {
    bool ranks = tok->model == MLXN_TOK_BPE;
    work->n_heap = 0;
    for (size_t i = 0; ranks && i < work->n_symbols; i++)
        work->symbols[i].hash = mlxn_tok_hash(work->text.data + work->symbols[i].start, work->symbols[i].size);
    for (size_t i = 0; i < work->n_symbols; i++)
        if (!consider(tok, work, (uint32_t)i)) return false;
    while (work->n_heap) {
        mlxn_tok_pair pair = heap_pop(work);
        uint32_t i = (uint32_t)pair.key;
        mlxn_tok_symbol *left = &work->symbols[i];
        if (!left->size || left->next == MLXN_TOK_NIL) continue;
        mlxn_tok_symbol *right = &work->symbols[left->next];
        /* Symbols only grow, so the sizes add up only if neither changed since the pair was noted. With a prefix that
         * the right one loses they may not grow: then the pair is looked up again. */
        if (left->size + right->size != pair.size) continue;
        if (tok->prefix.size && priority_of(tok, work, left, right) != (int64_t)(pair.key >> 32)) continue;
        if (!spell(tok, work, left, right)) return false;
        right->size = 0;
        left->next = right->next;
        if (left->next != MLXN_TOK_NIL) work->symbols[left->next].previous = i;
        if (ranks) left->hash = mlxn_tok_hash(work->text.data + left->start, left->size);
        if (left->previous != MLXN_TOK_NIL && !consider(tok, work, left->previous)) return false;
        if (!consider(tok, work, i)) return false;
    }
    return true;
}
