/* tok_vocab.c: the vocabulary: where its strings lie, one hash table over the tokens and one over the merges.
 *
 * Loading is on the way to the first token, so it is two passes over the strings and no lookups: merges are keyed by
 * the hashes of their two halves instead of token ids, which would cost two cache misses per merge. */
#include <stdio.h>

#include "lm/tok_internal.h"
#include "lm/utf8.h"

uint64_t mlxn_tok_hash(const char *s, size_t n) {
    uint64_t h = 0x2545f4914f6cdd1du ^ n, word;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&word, s, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    if (n) {
        word = 0;
        memcpy(&word, s, n);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

bool mlxn_tok_table_create(mlxn_tok_table *table, uint32_t count) {
    uint64_t slots = 16;
    while (slots < (uint64_t)count * 2) slots *= 2;
    table->mask = slots - 1;
    table->slots = mlxn_alloc_array((size_t)slots, sizeof *table->slots);
    return table->slots != NULL;
}

/* The place of a slot is taken from the low bits of the hash, the tag from the high ones. */
static inline uint64_t slot_of(uint64_t hash, uint32_t index) {
    return (hash & 0xffffffff00000000u) | ((uint64_t)index + 1);
}

static inline bool slot_matches(uint64_t slot, uint64_t hash) { return (slot ^ hash) >> 32 == 0; }

static inline uint32_t slot_index(uint64_t slot) { return (uint32_t)slot - 1; }

static bool same(const mlxn_tok_strings *list, uint32_t i, const char *s, size_t n) {
    return list->items[i].size == n && memcmp(mlxn_tok_text(list, i), s, n) == 0;
}

/* Of equal strings the table holds the last one, or the first one if `keep_first`. */
static void table_insert(mlxn_tok_strings *list, uint32_t index, uint64_t hash, bool keep_first) {
    mlxn_tok_table *t = &list->table;
    const char *s = mlxn_tok_text(list, index);
    for (uint64_t at = hash & t->mask;; at = (at + 1) & t->mask) {
        uint64_t slot = t->slots[at];
        if (slot && !(slot_matches(slot, hash) && same(list, slot_index(slot), s, list->items[index].size))) continue;
        if (!slot || !keep_first) t->slots[at] = slot_of(hash, index);
        return;
    }
}

void mlxn_tok_batch_flush(mlxn_tok_batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++)
        if (batch->list->items[batch->indices[i]].size)
            table_insert(batch->list, batch->indices[i], batch->hashes[i], batch->keep_first);
    batch->count = 0;
}

void mlxn_tok_batch_add(mlxn_tok_batch *batch, uint32_t index, uint64_t hash) {
    if (batch->count == MLXN_TOK_BATCH) mlxn_tok_batch_flush(batch);
    __builtin_prefetch(&batch->list->table.slots[hash & batch->list->table.mask], 1);
    batch->indices[batch->count] = index;
    batch->hashes[batch->count++] = hash;
}

int32_t mlxn_tok_find(const mlxn_tokenizer *tok, const char *s, size_t n) {
    if (n > tok->longest) return -1;
    const mlxn_tok_table *t = &tok->tokens.table;
    uint64_t hash = mlxn_tok_hash(s, n), slot;
    for (uint64_t at = hash & t->mask; (slot = t->slots[at]) != 0; at = (at + 1) & t->mask)
        if (slot_matches(slot, hash) && same(&tok->tokens, slot_index(slot), s, n)) return (int32_t)slot_index(slot);
    return -1;
}

int32_t mlxn_tok_find_merge(const mlxn_tokenizer *tok, const char *left, uint32_t n_left, uint64_t left_hash,
                            const char *right, uint32_t n_right, uint64_t right_hash) {
    const mlxn_tok_table *t = &tok->merges.table;
    uint64_t hash = mlxn_tok_hash_pair(left_hash, right_hash), slot;
    for (uint64_t at = hash & t->mask; (slot = t->slots[at]) != 0; at = (at + 1) & t->mask) {
        if (!slot_matches(slot, hash)) continue;
        const mlxn_tok_string item = tok->merges.items[slot_index(slot)];
        const char *s = tok->merges.base + item.offset;
        if (item.size == (uint64_t)n_left + n_right + 1 && s[n_left] == ' ' && memcmp(s, left, n_left) == 0 &&
            memcmp(s + n_left + 1, right, n_right) == 0)
            return (int32_t)slot_index(slot);
    }
    return -1;
}

float mlxn_tok_score(const mlxn_tokenizer *tok, uint32_t id) {
    float score; /* unaligned in the file */
    memcpy(&score, tok->scores + (size_t)id * 4, 4);
    return score;
}

uint32_t mlxn_tok_find_bytes(mlxn_tokenizer *tok, bool named) {
    uint32_t found = 0;
    for (int b = 0; b < 256; b++) {
        char name[8];
        uint32_t n = 6;
        if (named)
            snprintf(name, sizeof name, "<0x%02X>", b);
        else
            n = mlxn_utf8_write(mlxn_bpe_char_of_byte((uint8_t)b), name);
        tok->byte_ids[b] = mlxn_tok_find(tok, name, n);
        found += tok->byte_ids[b] >= 0;
    }
    return found;
}

void mlxn_tok_add_end(mlxn_tokenizer *tok, mlxn_token id) {
    if (id < 0 || tok->n_ends == MLXN_TOK_MAX_END) return;
    for (uint32_t i = 0; i < tok->n_ends; i++)
        if (tok->ends[i] == id) return;
    tok->ends[tok->n_ends++] = id;
}

const char *const mlxn_tok_end_names[] = {
    "<|im_end|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|endofturn|>",
    "<turn|>",
    "<|return|>",
    "<|call|>",
    "<EOT>",
    "<|eot|>",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    NULL,
};
