/* tok_vocab.c: the vocabulary of a file: strings stay in the map, one hash table over the tokens and one over the
 * merges.
 *
 * Loading is on the way to the first token, so it is two passes over the strings and no lookups: merges are keyed by
 * the hashes of their two halves instead of token ids, which would cost two cache misses per merge. */
#include <stdio.h>

#include "lm/tok_internal.h"
#include "lm/utf8.h"

#define MAX_STRINGS (1u << 28)
#define MAX_STRING_BYTES ((1u << 28) - 1)

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

static bool table_create(mlxn_tok_table *table, uint32_t count) {
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

/* Strings are inserted in batches, so that the cache misses on their slots overlap. */
#define BATCH 32
typedef struct batch {
    uint64_t hashes[BATCH];
    uint32_t first, count;
} batch;

static void batch_flush(mlxn_tok_strings *list, batch *b, bool keep_first) {
    for (uint32_t i = 0; i < b->count; i++)
        if (list->items[b->first + i].size) table_insert(list, b->first + i, b->hashes[i], keep_first);
    b->first += b->count;
    b->count = 0;
}

static inline void batch_add(mlxn_tok_strings *list, batch *b, uint64_t hash, bool keep_first) {
    if (b->count == BATCH) batch_flush(list, b, keep_first);
    __builtin_prefetch(&list->table.slots[hash & list->table.mask], 1);
    b->hashes[b->count++] = hash;
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

/* Notes where each string of the array lies. */
static mlxn_status list_strings(const mlxn_gguf_value *value, const char *key, mlxn_tok_strings *list,
                                uint64_t *total, mlxn_error *error) {
    if (value->type != MLXN_GGUF_ARRAY || value->v.array.element != MLXN_GGUF_STRING)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: not an array of strings", key);
    if (value->v.array.count > MAX_STRINGS)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: %llu strings, at most %u", key,
                         (unsigned long long)value->v.array.count, MAX_STRINGS);
    list->count = (uint32_t)value->v.array.count;
    list->items = mlxn_alloc_array(list->count, sizeof *list->items);
    if (!list->items || !table_create(&list->table, list->count))
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for %u strings", key, list->count);
    uint64_t cursor = 0;
    mlxn_string s;
    *total = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        if (!mlxn_gguf_next_string(value, &cursor, &s))
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: ends after %u strings, want %u", key, i, list->count);
        if (!i) list->base = s.data;
        uint64_t offset = (uint64_t)(s.data - list->base);
        if (s.size > MAX_STRING_BYTES || offset > UINT32_MAX)
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                             "%s: string %u has %llu bytes at %llu, at most %u bytes and 4 GiB in all", key, i,
                             (unsigned long long)s.size, (unsigned long long)offset, MAX_STRING_BYTES);
        list->items[i].offset = (uint32_t)offset;
        list->items[i].size = (uint32_t)s.size;
        list->items[i].type = MLXN_TOK_NORMAL;
        *total += s.size;
    }
    return MLXN_OK;
}

static mlxn_status read_types(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.token_type";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value)) return MLXN_OK; /* then all are normal */
    if (value.type != MLXN_GGUF_ARRAY || value.v.array.count != tok->tokens.count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %llu entries, want one per token (%u)", key,
                         (unsigned long long)(value.type == MLXN_GGUF_ARRAY ? value.v.array.count : 0),
                         tok->tokens.count);
    bool packed = value.v.array.element == MLXN_GGUF_I32 || value.v.array.element == MLXN_GGUF_U32;
    for (uint32_t i = 0; i < tok->tokens.count; i++) {
        int64_t type;
        if (packed) {
            int32_t t;
            memcpy(&t, value.v.array.data + (size_t)i * 4, 4);
            type = t;
        } else if (!mlxn_gguf_array_i64(&value, i, &type)) {
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: entry %u is no integer", key, i);
        }
        /* 0 ("undefined") and values of later versions are read as normal. */
        if (type >= MLXN_TOK_NORMAL && type <= MLXN_TOK_BYTE) tok->tokens.items[i].type = (uint32_t)type;
    }
    return MLXN_OK;
}

static mlxn_status read_scores(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.scores";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: no such key, a \"llama\" tokenizer needs it", key);
    if (value.type != MLXN_GGUF_ARRAY || value.v.array.element != MLXN_GGUF_F32)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: not an array of float32", key);
    if (value.v.array.count != tok->tokens.count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %llu entries, want one per token (%u)", key,
                         (unsigned long long)value.v.array.count, tok->tokens.count);
    tok->scores = value.v.array.data;
    return MLXN_OK;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The bytes of a "llama" token: "<0xE2>" of type byte is that byte, U+2581 is a space. */
static uint32_t spm_piece(mlxn_tok_type type, const char *s, uint32_t n, char *out) {
    if (type == MLXN_TOK_BYTE && n == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>') {
        int high = hex_digit(s[3]), low = hex_digit(s[4]);
        if (high >= 0 && low >= 0) {
            out[0] = (char)(high << 4 | low);
            return 1;
        }
    }
    uint32_t written = 0;
    for (uint32_t i = 0; i < n;) {
        if (type == MLXN_TOK_NORMAL && n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) {
            out[written++] = ' ';
            i += 3;
        } else {
            out[written++] = s[i++];
        }
    }
    return written;
}

/* The bytes of a "gpt2" token. One with a character outside the 256 is text as it stands. */
static uint32_t bpe_piece(mlxn_tok_type type, const char *s, uint32_t n, char *out) {
    uint32_t written = 0, i = 0;
    while (type == MLXN_TOK_NORMAL && i < n) {
        uint8_t c = (uint8_t)s[i];
        int32_t byte = c;
        if (c < 0x21 || c > 0x7e) { /* the 256 characters are of one or two bytes */
            uint8_t c2 = i + 1 < n ? (uint8_t)s[i + 1] : 0;
            byte = c >= 0xc2 && c <= 0xdf && (c2 & 0xc0) == 0x80
                       ? mlxn_bpe_byte_of_char((uint32_t)(c & 0x1f) << 6 | (c2 & 0x3f))
                       : -1;
            i++;
        }
        if (byte < 0) break;
        out[written++] = (char)byte;
        if (++i == n) return written;
    }
    memcpy(out, s, n);
    return n;
}

static mlxn_status load_tokens(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.tokens";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value)) return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: no such key", key);
    uint64_t total;
    mlxn_status status = list_strings(&value, key, &tok->tokens, &total, error);
    if (status == MLXN_OK && !tok->tokens.count) status = mlxn_fail(error, MLXN_ERR_FORMAT, "%s: is empty", key);
    if (status == MLXN_OK) status = read_types(tok, file, error);
    if (status != MLXN_OK) return status;
    tok->piece_bytes = total <= UINT32_MAX ? mlxn_alloc((size_t)total) : NULL;
    tok->piece_ends = mlxn_alloc_array(tok->tokens.count, sizeof *tok->piece_ends);
    if (!tok->piece_bytes || !tok->piece_ends)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for %llu bytes of text", key,
                         (unsigned long long)total);
    uint32_t end = 0;
    batch pending = {.count = 0};
    for (uint32_t i = 0; i < tok->tokens.count; i++) {
        const mlxn_tok_string item = tok->tokens.items[i];
        const char *s = mlxn_tok_text(&tok->tokens, i);
        batch_add(&tok->tokens, &pending, mlxn_tok_hash(s, item.size), false);
        if (item.size > tok->longest) tok->longest = item.size;
        end += (tok->spm ? spm_piece : bpe_piece)((mlxn_tok_type)item.type, s, item.size, tok->piece_bytes + end);
        tok->piece_ends[i] = end;
    }
    batch_flush(&tok->tokens, &pending, false);
    return MLXN_OK;
}

static mlxn_status load_merges(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.merges";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: no such key, a \"gpt2\" tokenizer needs it", key);
    uint64_t total;
    mlxn_status status = list_strings(&value, key, &tok->merges, &total, error);
    if (status != MLXN_OK) return status;
    batch pending = {.count = 0};
    for (uint32_t i = 0; i < tok->merges.count; i++) {
        const char *s = mlxn_tok_text(&tok->merges, i);
        uint32_t size = tok->merges.items[i].size;
        /* The separator is the first space after the first byte. Without one there are no two halves to join. */
        const char *space = size > 2 ? memchr(s + 1, ' ', size - 1) : NULL;
        uint32_t left = space ? (uint32_t)(space - s) : size;
        if (left + 1 >= size)
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: entry %u is \"%.*s\", want two parts and a space between",
                             key, i, size > 60 ? 60 : (int)size, s);
        uint64_t hash = mlxn_tok_hash_pair(mlxn_tok_hash(s, left), mlxn_tok_hash(space + 1, size - left - 1));
        batch_add(&tok->merges, &pending, hash, true);
    }
    batch_flush(&tok->merges, &pending, true);
    return MLXN_OK;
}

/* A token id of the file. -1 if the key is absent or holds the "none" that some converters write (all ones). */
static mlxn_status read_id(const mlxn_tokenizer *tok, const mlxn_gguf *file, const char *key, mlxn_token *out,
                           mlxn_error *error) {
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value)) return MLXN_OK;
    bool is_signed = value.type == MLXN_GGUF_I8 || value.type == MLXN_GGUF_I16 || value.type == MLXN_GGUF_I32 ||
                     value.type == MLXN_GGUF_I64;
    if (is_signed ? value.v.i == -1 : value.type == MLXN_GGUF_U32 && value.v.u == UINT32_MAX) {
        *out = -1;
        return MLXN_OK;
    }
    uint64_t id;
    mlxn_status status = mlxn_gguf_get_u64(file, key, &id, error);
    if (status != MLXN_OK) return status;
    if (id >= tok->tokens.count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: is %llu, the vocabulary has %u tokens", key,
                         (unsigned long long)id, tok->tokens.count);
    *out = (mlxn_token)id;
    return MLXN_OK;
}

static void add_end(mlxn_tokenizer *tok, mlxn_token id) {
    if (id < 0 || tok->n_ends == MLXN_TOK_MAX_END) return;
    for (uint32_t i = 0; i < tok->n_ends; i++)
        if (tok->ends[i] == id) return;
    tok->ends[tok->n_ends++] = id;
}

/* Converters that know no better mark such tokens as plain; a prompt that spells them means them all the same. */
static mlxn_token find_named(mlxn_tokenizer *tok, const char *name) {
    mlxn_token id = mlxn_tok_find(tok, name, strlen(name));
    if (id < 0) return -1;
    mlxn_tok_string *item = &tok->tokens.items[id];
    if (item->type == MLXN_TOK_NORMAL || item->type == MLXN_TOK_USER_DEFINED) item->type = MLXN_TOK_NAMED;
    return id;
}

static mlxn_status read_special_ids(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    /* Names that mean the end of a text or turn in every vocabulary that has them. */
    static const char *const names[] = {
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
    };
    if (tok->spm) { /* what SentencePiece files mean when they say nothing */
        tok->unknown = 0;
        tok->bos = tok->tokens.count > 1 ? 1 : -1;
        tok->eos = tok->tokens.count > 2 ? 2 : -1;
    }
    mlxn_token eot = -1, eom = -1;
    mlxn_status status = read_id(tok, file, "tokenizer.ggml.bos_token_id", &tok->bos, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.eos_token_id", &tok->eos, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.unknown_token_id", &tok->unknown, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.eot_token_id", &eot, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.eom_token_id", &eom, error);
    if (status != MLXN_OK) return status;
    add_end(tok, tok->eos);
    add_end(tok, eot);
    add_end(tok, eom);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) add_end(tok, find_named(tok, names[i]));
    /* llama.cpp finds "</s>" in text whatever its type. It is an end only where eos_token_id says so: in vocabularies
     * of other families it is what closes struck-out HTML. */
    (void)find_named(tok, "</s>");
    return MLXN_OK;
}

static mlxn_status read_flag(const mlxn_gguf *file, const char *key, bool *out, mlxn_error *error) {
    mlxn_gguf_value value;
    return mlxn_gguf_find(file, key, &value) ? mlxn_gguf_get_bool(file, key, out, error) : MLXN_OK;
}

static mlxn_status find_bytes(mlxn_tokenizer *tok, mlxn_error *error) {
    for (int b = 0; b < 256; b++) {
        char name[8], raw = (char)b;
        if (tok->spm) {
            snprintf(name, sizeof name, "<0x%02X>", b);
            tok->byte_ids[b] = mlxn_tok_find(tok, name, 6);
            if (tok->byte_ids[b] < 0) tok->byte_ids[b] = mlxn_tok_find(tok, &raw, 1);
            if (tok->byte_ids[b] < 0) tok->byte_ids[b] = tok->unknown;
            if (tok->byte_ids[b] < 0)
                return mlxn_fail(error, MLXN_ERR_FORMAT,
                                 "tokenizer.ggml.tokens: neither a token for byte %s nor an unknown token", name);
        } else {
            tok->byte_ids[b] = mlxn_tok_find(tok, name, mlxn_utf8_write(mlxn_bpe_char_of_byte((uint8_t)b), name));
        }
    }
    return MLXN_OK;
}

static bool is(mlxn_string s, const char *text) {
    return s.size == strlen(text) && memcmp(s.data, text, s.size) == 0;
}

/* Which engine and, for gpt2, which pre-tokenizer. */
static mlxn_status choose(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    mlxn_string model, pre = {"default", 7};
    mlxn_status status = mlxn_gguf_get_string(file, "tokenizer.ggml.model", &model, error);
    if (status != MLXN_OK) return status;
    tok->spm = is(model, "llama");
    if (tok->spm) {
        snprintf(tok->name, sizeof tok->name, "llama");
        tok->adds_bos = tok->adds_space_prefix = true;
        return MLXN_OK;
    }
    if (!is(model, "gpt2"))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "tokenizer.ggml.model: \"%.*s\" is not supported, only \"gpt2\" and \"llama\"",
                         model.size > 60 ? 60 : (int)model.size, model.data);
    mlxn_gguf_value value;
    if (mlxn_gguf_find(file, "tokenizer.ggml.pre", &value)) {
        status = mlxn_gguf_get_string(file, "tokenizer.ggml.pre", &pre, error);
        if (status != MLXN_OK) return status;
    }
    tok->pretok = mlxn_pretok_find(pre);
    if (!tok->pretok) {
        char names[300];
        mlxn_pretok_names(names, sizeof names);
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "tokenizer.ggml.pre: \"%.*s\" is not supported, only %s",
                         pre.size > 60 ? 60 : (int)pre.size, pre.data, names);
    }
    snprintf(tok->name, sizeof tok->name, "gpt2/%s", mlxn_pretok_name(tok->pretok));
    tok->adds_bos = mlxn_pretok_adds_bos(tok->pretok);
    return MLXN_OK;
}

mlxn_status mlxn_tok_load(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    tok->bos = tok->eos = tok->unknown = -1;
    mlxn_status status = choose(tok, file, error);
    if (status == MLXN_OK) status = load_tokens(tok, file, error);
    if (status == MLXN_OK) status = tok->spm ? read_scores(tok, file, error) : load_merges(tok, file, error);
    if (status == MLXN_OK) status = read_special_ids(tok, file, error);
    if (status == MLXN_OK) status = read_flag(file, "tokenizer.ggml.add_bos_token", &tok->adds_bos, error);
    if (status == MLXN_OK && tok->spm)
        status = read_flag(file, "tokenizer.ggml.add_space_prefix", &tok->adds_space_prefix, error);
    if (status == MLXN_OK) status = find_bytes(tok, error);
    if (status != MLXN_OK) return status;
    if (tok->bos < 0) tok->adds_bos = false;
    if (!mlxn_tok_special_build(tok))
        return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for the list of special tokens");
    return MLXN_OK;
}
