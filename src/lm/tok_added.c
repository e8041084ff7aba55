/* tok_added.c: added tokens (control and user-defined ones of GGUF files) found in plain text.
 *
 * Two rules. tokenizer.json: from left to right, the longest at each place. GGUF files, after llama.cpp: the longest
 * token takes its places in the whole text first, then the next shorter one, and so on. Doing that token by token
 * costs tokens x text, and a Gemma vocabulary has 6,400 of them. Here each place of the text proposes its longest
 * token, a heap hands out the proposals in the same order, and one that overlaps a longer token that was taken
 * proposes its next shorter one: n log n, however hostile the text. */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

static bool is_wanted(const mlxn_tokenizer *tok, uint32_t id) {
    if (tok->added_flags) return tok->added_flags[id] & MLXN_ADDED;
    uint32_t type = tok->tokens.items[id].type;
    return type == MLXN_TOK_CONTROL || type == MLXN_TOK_USER_DEFINED || type == MLXN_TOK_UNKNOWN ||
           type == MLXN_TOK_NAMED;
}

static unsigned flags_of(const mlxn_tokenizer *tok, int32_t id) {
    return tok->added_flags ? tok->added_flags[id] : 0;
}

/* What the text must hold for this token: of normalized ones the normalized form, which is kept. */
static mlxn_status pattern_of(mlxn_tokenizer *tok, mlxn_tok_work *work, uint32_t id, mlxn_trie_entry *out,
                              mlxn_error *error) {
    mlxn_string text = {mlxn_tok_text(&tok->tokens, id), tok->tokens.items[id].size};
    if ((flags_of(tok, (int32_t)id) & MLXN_ADDED_NORMALIZED) && tok->normalizers.count) {
        if (!mlxn_regex_begin(&work->regex, text.size)) return mlxn_tok_no_memory(text.size, error);
        mlxn_status status = mlxn_tok_normalize(&tok->normalizers, work, text.data, (uint32_t)text.size, error);
        if (status == MLXN_OK)
            status = mlxn_tok_keep_string(tok, (mlxn_string){work->normal.data, work->normal.size}, &text, error);
        if (status != MLXN_OK) return status;
    }
    *out = (mlxn_trie_entry){text.data, (uint32_t)text.size, (int32_t)id};
    return MLXN_OK;
}

mlxn_status mlxn_tok_added_build(mlxn_tokenizer *tok, mlxn_error *error) {
    uint32_t n = 0, counts[2] = {0, 0};
    for (uint32_t i = 0; i < tok->tokens.count; i++) n += is_wanted(tok, i);
    mlxn_trie_entry *entries = mlxn_alloc_array(2 * (size_t)n, sizeof *entries);
    mlxn_tok_work work = {0};
    mlxn_status status = entries ? MLXN_OK : mlxn_tok_no_memory(n, error);
    for (uint32_t i = 0; status == MLXN_OK && i < tok->tokens.count; i++) {
        if (!is_wanted(tok, i)) continue;
        /* Of two tokens of a GGUF file with the same text only the one that the table knows counts. */
        if (!tok->added_flags &&
            mlxn_tok_find(tok, mlxn_tok_text(&tok->tokens, i), tok->tokens.items[i].size) != (int32_t)i)
            continue;
        unsigned set = (flags_of(tok, (int32_t)i) & MLXN_ADDED_NORMALIZED) != 0;
        status = pattern_of(tok, &work, i, &entries[set * n + counts[set]++], error);
    }
    if (status == MLXN_OK && !(mlxn_trie_build(&tok->added, entries, counts[0]) &&
                               mlxn_trie_build(&tok->added_normalized, entries + n, counts[1])))
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for the list of special tokens");
    mlxn_tok_work_free(&work);
    mlxn_free(entries);
    return status;
}

/* The longest token of at most `limit` bytes at the beginning of text[0..n), n > 0, and its size there; -1 if none.
 * `user`: only user-defined ones. */
static int32_t longest_at(const mlxn_tokenizer *tok, const mlxn_trie *set, const char *text, uint32_t n,
                          uint32_t limit, bool user, uint32_t *size) {
    int32_t found = -1;
    uint32_t node = 0;
    if (n > limit) n = limit;
    for (uint32_t i = 0; i < n; i++) {
        node = mlxn_trie_step(set, node, (uint8_t)text[i]);
        if (!node) break;
        int32_t id = set->nodes[node].value;
        if (id < 0 || (user && tok->tokens.items[id].type != MLXN_TOK_USER_DEFINED)) continue;
        found = id;
        *size = i + 1;
    }
    return found;
}

/* ---- longest first ---- */

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

static bool add_place(places *p, place found) {
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : 64;
        place *grown = mlxn_realloc_array(p->data, capacity, sizeof *grown);
        if (!grown) return false;
        p->data = grown;
        p->capacity = capacity;
    }
    p->data[p->count++] = found;
    return true;
}

static bool propose(const mlxn_tokenizer *tok, const mlxn_trie *set, const char *text, uint32_t n, bool no_special,
                    places *p) {
    for (uint32_t i = 0; i < n; i++) {
        if (!set->root[(uint8_t)text[i]]) continue;
        uint32_t size = 0;
        int32_t token = longest_at(tok, set, text + i, n - i, UINT32_MAX, no_special, &size);
        if (token >= 0 && !add_place(p, (place){.start = i, .token = token, .size = size})) return false;
    }
    return true;
}

/* Hands out the places. `covered` has one bit per byte of the text. */
static void take(const mlxn_tokenizer *tok, const mlxn_trie *set, const char *text, uint32_t n, bool no_special,
                 places *p, uint8_t *covered) {
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
            best->token =
                longest_at(tok, set, text + best->start, n - best->start, best->size - 1, no_special, &best->size);
            if (best->token >= 0) {
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

static bool find_longest_first(const mlxn_tokenizer *tok, const mlxn_trie *set, const char *text, uint32_t n,
                               bool no_special, places *p) {
    if (!propose(tok, set, text, n, no_special, p)) return false;
    if (!p->count) return true;
    uint8_t *covered = mlxn_alloc(n / 8 + 1);
    p->heap = mlxn_alloc_array(p->count, sizeof *p->heap);
    bool ok = p->heap && covered;
    if (ok) take(tok, set, text, n, no_special, p, covered);
    mlxn_free(covered);
    return ok;
}

/* ---- leftmost first ---- */

static bool word_before(const char *text, uint32_t at) {
    uint32_t code, start = at;
    while (start > 0 && at - start < 4 && ((uint8_t)text[--start] & 0xc0) == 0x80) continue;
    return at > start && mlxn_utf8_read(text + start, at - start, &code, NULL) == at - start &&
           mlxn_char_is_word(code);
}

static bool word_at(const char *text, uint32_t at, uint32_t n) {
    uint32_t code;
    return at < n && mlxn_utf8_read(text + at, n - at, &code, NULL) && mlxn_char_is_word(code);
}

/* Where the white space that ends at `at` begins, not before `low`. */
static uint32_t white_before(const char *text, uint32_t at, uint32_t low) {
    while (at > low) {
        uint32_t start = at, code;
        do start--;
        while (start > low && at - start < 4 && ((uint8_t)text[start] & 0xc0) == 0x80);
        if (mlxn_utf8_read(text + start, at - start, &code, NULL) != at - start || !mlxn_char_is_white(code)) break;
        at = start;
    }
    return at;
}

static uint32_t white_after(const char *text, uint32_t at, uint32_t n) {
    uint32_t code, length;
    while (at < n && (length = mlxn_utf8_read(text + at, n - at, &code, NULL)) && mlxn_char_is_white(code))
        at += length;
    return at;
}

/* A token that is not taken (a special one in plain text, a part of a word) still hides what it overlaps. */
static bool find_leftmost(const mlxn_tokenizer *tok, const mlxn_trie *set, const char *text, uint32_t n,
                          bool no_special, places *p) {
    for (uint32_t at = 0, done = 0, size = 0; at < n; at += size) {
        int32_t token = -1;
        size = 1;
        if (set->root[(uint8_t)text[at]]) token = longest_at(tok, set, text + at, n - at, UINT32_MAX, false, &size);
        if (token < 0) {
            size = 1;
            continue;
        }
        unsigned flags = flags_of(tok, token);
        uint32_t start = at, end = at + size;
        if (no_special && tok->tokens.items[token].type != MLXN_TOK_USER_DEFINED) continue;
        if ((flags & MLXN_ADDED_SINGLE_WORD) && (word_before(text, start) || word_at(text, end, n))) continue;
        if (flags & MLXN_ADDED_LSTRIP) start = white_before(text, start, done < start ? done : start);
        if (flags & MLXN_ADDED_RSTRIP) end = white_after(text, end, n);
        /* A token that begins in the white space that the one before it took with it. */
        if (start < done) start = done < end ? done : end;
        if (!add_place(p, (place){start, token, end - start, true})) return false;
        done = end > done ? end : done;
    }
    return true;
}

bool mlxn_tok_partition(const mlxn_tokenizer *tok, const mlxn_trie *set, const char *text, uint32_t n,
                        bool no_special, mlxn_tok_part **parts, size_t *n_parts) {
    places p = {0};
    *n_parts = 0;
    bool ok = tok->longest_first ? find_longest_first(tok, set, text, n, no_special, &p)
                                 : find_leftmost(tok, set, text, n, no_special, &p);
    *parts = ok ? mlxn_alloc_array(2 * p.count + 1, sizeof **parts) : NULL;
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
    return ok;
}
