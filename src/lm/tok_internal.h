/* tok_internal.h: what the files of the tokenizer share. Offsets into a text are 32 bits; encode bounds the text. */
#ifndef MLXN_LM_TOK_INTERNAL_H
#define MLXN_LM_TOK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"
#include "lm/tokenizer.h"

/* 512 MiB; with spaces escaped to three bytes each, offsets still fit 32 bits. */
#define MLXN_TOK_MAX_TEXT ((size_t)1 << 29)
#define MLXN_TOK_MAX_END 24

typedef enum mlxn_tok_type { /* values of tokenizer.ggml.token_type */
                             MLXN_TOK_NORMAL = 1,
                             MLXN_TOK_UNKNOWN = 2,
                             MLXN_TOK_CONTROL = 3,
                             MLXN_TOK_USER_DEFINED = 4,
                             MLXN_TOK_UNUSED = 5,
                             MLXN_TOK_BYTE = 6,
                             MLXN_TOK_NAMED = 7 /* not in files: plain by its type, but its name makes it one that is
                                                   found in text */
} mlxn_tok_type;

/* A string of the file: where it lies after `base` of its list, its size, and for tokens the type. */
typedef struct mlxn_tok_string {
    uint32_t offset;
    uint32_t size : 28, type : 4;
} mlxn_tok_string;

/* Open addressing with linear probing, at most half full: the high half of a slot is the high half of the hash, the
 * low half is index + 1, 0 = free. */
typedef struct mlxn_tok_table {
    uint64_t *slots;
    uint64_t mask;
} mlxn_tok_table;

typedef struct mlxn_tok_strings {
    const char *base;
    mlxn_tok_string *items;
    uint32_t count;
    mlxn_tok_table table;
} mlxn_tok_strings;

typedef struct mlxn_pretok mlxn_pretok; /* one row of the list of pre-tokenizers */

struct mlxn_tokenizer {
    bool spm; /* "llama", else "gpt2" */
    const mlxn_pretok *pretok;
    char name[64];
    mlxn_tok_strings tokens;
    mlxn_tok_strings merges; /* gpt2: "left right", rank = index */
    uint32_t longest;        /* bytes of the longest token */
    const uint8_t *scores;   /* llama: packed f32, as in the file */
    int32_t byte_ids[256];   /* -1: the vocabulary has no token for this byte */
    /* Bytes that tokens stand for: token i has piece_bytes[piece_ends[i-1] .. piece_ends[i]). */
    char *piece_bytes;
    uint32_t *piece_ends;
    /* Tokens that are looked for in the text, sorted by their bytes; those that begin with byte b are
     * special[special_first[b] .. special_first[b+1]). */
    uint32_t *special;
    uint32_t special_first[257];
    mlxn_token bos, eos, unknown;
    mlxn_token ends[MLXN_TOK_MAX_END];
    uint32_t n_ends;
    bool adds_bos, adds_space_prefix;
    /* The compiled expressions, made when first needed. */
    pthread_mutex_t regex_lock;
    atomic_bool regex_ready;
    void *regex[4]; /* pcre2_code */
    uint32_t n_regex;
};

/* ---- growing output ---- */

typedef struct mlxn_tok_ids {
    mlxn_token *data;
    size_t count, capacity;
} mlxn_tok_ids;
/* false: no memory. */
bool mlxn_tok_push(mlxn_tok_ids *ids, mlxn_token id);

/* ---- vocabulary (tok_vocab.c) ---- */

uint64_t mlxn_tok_hash(const char *s, size_t n);
/* The hash under which a merge is stored. */
static inline uint64_t mlxn_tok_hash_pair(uint64_t left, uint64_t right) {
    uint64_t h = (left ^ (right << 23 | right >> 41)) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}
static inline const char *mlxn_tok_text(const mlxn_tok_strings *list, uint32_t i) {
    return list->base + list->items[i].offset;
}
/* -1 if there is none. */
int32_t mlxn_tok_find(const mlxn_tokenizer *tok, const char *s, size_t n);
/* The rank of the merge of `left` and `right`, whose hashes are given; -1 if there is none. */
int32_t mlxn_tok_find_merge(const mlxn_tokenizer *tok, const char *left, uint32_t n_left, uint64_t left_hash,
                            const char *right, uint32_t n_right, uint64_t right_hash);
float mlxn_tok_score(const mlxn_tokenizer *tok, uint32_t id);
mlxn_status mlxn_tok_load(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error);

/* ---- special tokens in text (tok_special.c) ---- */

bool mlxn_tok_special_build(mlxn_tokenizer *tok);
/* A run of plain text (token < 0) or one token. */
typedef struct mlxn_tok_part {
    uint32_t start, end;
    int32_t token;
} mlxn_tok_part;
/* The parts in the order of the text; *parts is allocated. Longer tokens win over shorter ones anywhere in the text,
 * then the lower id, then the earlier place. false: no memory. */
bool mlxn_tok_partition(const mlxn_tokenizer *tok, const char *text, uint32_t n, bool no_special,
                        mlxn_tok_part **parts, size_t *n_parts);

/* ---- joining (tok_merge.c) ---- */

typedef struct mlxn_tok_symbol {
    uint32_t start, size; /* size 0: joined into the one before */
    uint32_t previous, next;
    uint64_t hash;
} mlxn_tok_symbol;
typedef struct mlxn_tok_pair {
    uint64_t key; /* priority (smaller first), then place */
    uint32_t size;
} mlxn_tok_pair;
#define MLXN_TOK_NIL UINT32_MAX

/* Work memory of one encode call. */
typedef struct mlxn_tok_work {
    mlxn_tok_symbol *symbols;
    size_t n_symbols, symbol_capacity;
    mlxn_tok_pair *heap;
    size_t n_heap, heap_capacity;
    char *text; /* the symbols' bytes */
    size_t text_capacity;
} mlxn_tok_work;
void mlxn_tok_work_free(mlxn_tok_work *work);
/* At least `bytes` of work->text. */
bool mlxn_tok_work_text(mlxn_tok_work *work, size_t bytes);
/* Appends a symbol; the caller sets n_symbols = 0 before the first. */
bool mlxn_tok_work_symbol(mlxn_tok_work *work, uint32_t start, uint32_t size);
/* Joins symbols until no pair can be joined. What is left has size > 0. false: no memory. */
bool mlxn_tok_join(const mlxn_tokenizer *tok, mlxn_tok_work *work);

/* ---- the two engines (bpe.c, spm.c); `n` > 0 ---- */

mlxn_status mlxn_bpe_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                            mlxn_tok_ids *out, mlxn_error *error);
bool mlxn_spm_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n, bool space_prefix,
                     mlxn_tok_ids *out);

/* The 256 characters of byte-level BPE: code point of each byte, and the byte of a code point (-1: none). */
uint32_t mlxn_bpe_char_of_byte(uint8_t byte);
int32_t mlxn_bpe_byte_of_char(uint32_t code);

/* ---- pre-tokenizers (pretok.c) ---- */

/* NULL if no row has that name. */
const mlxn_pretok *mlxn_pretok_find(mlxn_string name);
const char *mlxn_pretok_name(const mlxn_pretok *pretok);
bool mlxn_pretok_ignores_merges(const mlxn_pretok *pretok); /* a piece that is a token is taken whole */
bool mlxn_pretok_adds_bos(const mlxn_pretok *pretok);       /* unless the file says otherwise */
/* The names of all rows, for messages. */
void mlxn_pretok_names(char *out, size_t size);
/* Cuts text[0..n): the piece ends, ascending, the last one n. *ends is allocated. */
mlxn_status mlxn_pretok_split(mlxn_tokenizer *tok, const char *text, uint32_t n, uint32_t **ends, size_t *n_ends,
                              mlxn_error *error);
void mlxn_pretok_free(mlxn_tokenizer *tok);

#endif
