/* tok_internal.h: what the files of the tokenizer share.
 *
 * Every tokenizer is one pipeline, whatever file describes it (GGUF keys or tokenizer.json):
 *   added tokens are found in the text -> what lies between is normalized -> added tokens are found in that ->
 *   the rest is cut into pieces -> the model gives ids for each piece -> a template puts special tokens around them.
 * Decoding runs a list of steps over the tokens' texts. Offsets into a text are 32 bits; encode bounds the text. */
#ifndef MLXN_LM_TOK_INTERNAL_H
#define MLXN_LM_TOK_INTERNAL_H

#include "base/base.h"
#include "lm/tok_steps.h"
#include "lm/tok_trie.h"
#include "lm/tokenizer.h"

/* 512 MiB; with spaces escaped to three bytes each, offsets still fit 32 bits. */
#define MLXN_TOK_MAX_TEXT ((size_t)1 << 29)
#define MLXN_TOK_MAX_END 24
#define MLXN_TOK_MAX_AFFIX 28         /* bytes of what begins or ends the tokens of a word */
#define MLXN_TOK_SPACE "\xe2\x96\x81" /* U+2581, a space in vocabularies of SentencePiece */

typedef enum mlxn_tok_type { /* values of tokenizer.ggml.token_type; added tokens of tokenizer.json are CONTROL if
                                special, else USER_DEFINED */
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

/* How the pieces of a text become ids. */
typedef enum mlxn_tok_model {
    MLXN_TOK_BPE,       /* adjacent symbols are joined, the merge of lowest rank first */
    MLXN_TOK_SCORES,    /* the same, the joined token of highest score first ("llama" of GGUF) */
    MLXN_TOK_WORDPIECE, /* the longest token at each place */
    MLXN_TOK_WORDLEVEL, /* a piece is a token */
    MLXN_TOK_UNIGRAM    /* the tokens whose scores have the greatest sum */
} mlxn_tok_model;

/* How an added token is found, by id. */
enum {
    MLXN_ADDED_SINGLE_WORD = 1,
    MLXN_ADDED_LSTRIP = 2,
    MLXN_ADDED_RSTRIP = 4,
    MLXN_ADDED_NORMALIZED = 8,
    MLXN_ADDED = 16 /* is one; set with the others */
};

/* What is put around one text, or between and around two: ids, or a text's place. */
enum { MLXN_TEMPLATE_A = -1, MLXN_TEMPLATE_B = -2 };
typedef struct mlxn_tok_template {
    int32_t *items; /* an id, or one of the above */
    uint32_t count;
} mlxn_tok_template;

enum { MLXN_TOK_MAX_TEMPLATES = 16 };
typedef struct mlxn_tok_named {
    mlxn_string name, text;
} mlxn_tok_named;

struct mlxn_tokenizer {
    mlxn_tok_model model;
    char name[64];
    mlxn_tok_strings tokens; /* by id; the table holds those that the model may give */
    mlxn_tok_strings merges; /* BPE: "left right", rank = index */
    uint32_t longest;        /* bytes of the longest token */
    const uint8_t *scores;   /* SCORES: packed f32, as in the file */
    double *weights;         /* UNIGRAM: log probabilities by id */
    double unknown_weight;
    mlxn_trie words; /* WORDPIECE, UNIGRAM */
    /* The token of each byte: its name <0xNN> where bytes are spelled so, else the byte's character; -1: none. */
    int32_t byte_ids[256];
    bool byte_fallback;  /* characters without a token become byte tokens */
    bool fuses_unknown;  /* adjacent unknown tokens become one */
    bool ignores_merges; /* a piece that is a token is taken whole */
    bool names_unknown;  /* the file names an unknown token; `unknown` is -1 if there is none of that name */
    bool resolves_first; /* characters without a token are replaced before joining (tokenizer.json), not after */
    bool longest_first;  /* added tokens: longest anywhere in the text first (llama.cpp), not leftmost first */
    bool keeps_bytes;    /* ill-formed bytes reach the model; else each ill-formed part becomes U+FFFD */
    mlxn_string prefix;  /* of tokens that continue a word */
    mlxn_string suffix;  /* of tokens that end a word */
    uint64_t max_chars;  /* WORDPIECE: longer words are unknown */
    /* Bytes that tokens stand for: token i has piece_bytes[piece_ends[i-1] .. piece_ends[i]). */
    char *piece_bytes;
    uint32_t *piece_ends;
    mlxn_trie added, added_normalized; /* looked for before and after normalizing */
    uint8_t *added_flags;              /* by id; NULL: no token has any */
    mlxn_tok_steps normalizers, splitters, decoders;
    bool decodes_pieces;    /* the text of tokens is that of each, one after the other */
    bool joins_with_spaces; /* tokenizer.json without a decoder */
    mlxn_tok_template single, pair;
    mlxn_token bos, eos, pad, unknown;
    mlxn_token ends[MLXN_TOK_MAX_END];
    uint32_t n_ends;
    mlxn_tok_named templates[MLXN_TOK_MAX_TEMPLATES]; /* of chats */
    uint32_t n_templates;
    struct mlxn_tok_block *kept; /* strings of the tokenizer's own */
    void *file;                  /* GGUF: an open file that is the tokenizer's own (mlxn_gguf), NULL if borrowed */
};

/* Sets the chat template of that name, in place of one that has it; both texts live as long as the tokenizer. Errors:
 * LIMIT (too many). */
mlxn_status mlxn_tok_set_chat_template(mlxn_tokenizer *tok, mlxn_string name, mlxn_string text, mlxn_error *error);
/* An empty one for the loaders; NULL: no memory, *error is filled. */
mlxn_tokenizer *mlxn_tok_new(mlxn_error *error);
/* Memory that lives as long as the tokenizer, zeroed; NULL: none left. */
void *mlxn_tok_keep(mlxn_tokenizer *tok, size_t bytes);
/* A copy with a zero behind it. */
mlxn_status mlxn_tok_keep_string(mlxn_tokenizer *tok, mlxn_string text, mlxn_string *out, mlxn_error *error);

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
bool mlxn_tok_table_create(mlxn_tok_table *table, uint32_t count);
/* Strings are inserted in batches, so that the cache misses on their slots overlap. Of equal strings the table holds
 * the last one, or the first one if `keep_first`; empty ones are left out. */
enum { MLXN_TOK_BATCH = 32 };
typedef struct mlxn_tok_batch {
    mlxn_tok_strings *list;
    bool keep_first;
    uint32_t count;
    uint32_t indices[MLXN_TOK_BATCH];
    uint64_t hashes[MLXN_TOK_BATCH];
} mlxn_tok_batch;
void mlxn_tok_batch_add(mlxn_tok_batch *batch, uint32_t index, uint64_t hash);
void mlxn_tok_batch_flush(mlxn_tok_batch *batch);
/* A token of the model by its text; -1 if there is none. */
int32_t mlxn_tok_find(const mlxn_tokenizer *tok, const char *s, size_t n);
/* The rank of the merge of `left` and `right`, whose hashes are given; -1 if there is none. */
int32_t mlxn_tok_find_merge(const mlxn_tokenizer *tok, const char *left, uint32_t n_left, uint64_t left_hash,
                            const char *right, uint32_t n_right, uint64_t right_hash);
float mlxn_tok_score(const mlxn_tokenizer *tok, uint32_t id);
/* Fills byte_ids; how many bytes have a token. */
uint32_t mlxn_tok_find_bytes(mlxn_tokenizer *tok, bool named);
void mlxn_tok_add_end(mlxn_tokenizer *tok, mlxn_token id); /* -1 and those that are there are left out */
/* Tokens whose names mean the end of a text or turn in every vocabulary that has them; ends with NULL. */
extern const char *const mlxn_tok_end_names[];

/* ---- from files ---- */

mlxn_status mlxn_tok_load_gguf(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error); /* tok_gguf.c */
/* The text of a tokenizer.json (tok_file.c), then of a tokenizer_config.json (tok_folder.c). */
mlxn_status mlxn_tok_load_json(mlxn_tokenizer *tok, const char *json, uint64_t size, const char *name,
                               mlxn_error *error);
mlxn_status mlxn_tok_load_config(mlxn_tokenizer *tok, const char *json, uint64_t size, const char *name,
                                 mlxn_error *error);
/* Takes what only the whole vocabulary tells: the bytes of each token, the sets of added tokens (tok_finish.c). */
mlxn_status mlxn_tok_finish(mlxn_tokenizer *tok, mlxn_error *error);
/* The template "[bos] text [eos]", "[bos] first [eos] [bos] second [eos]"; -1: without. */
mlxn_status mlxn_tok_set_template(mlxn_tokenizer *tok, mlxn_token bos, mlxn_token eos, mlxn_error *error);

/* ---- added tokens in text (tok_added.c) ---- */

mlxn_status mlxn_tok_added_build(mlxn_tokenizer *tok, mlxn_error *error);
/* A run of plain text (token < 0) or one token. */
typedef struct mlxn_tok_part {
    uint32_t start, end;
    int32_t token;
} mlxn_tok_part;
/* The parts in the order of the text; *parts is allocated. false: no memory. */
bool mlxn_tok_partition(const mlxn_tokenizer *tok, const mlxn_trie *set, const char *text, uint32_t n,
                        bool no_special, mlxn_tok_part **parts, size_t *n_parts);

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

/* UNIGRAM: the best way to a place of the text. */
typedef struct mlxn_tok_path {
    double weight;
    uint32_t start; /* of the last token; MLXN_TOK_NIL: no way yet */
    int32_t id;
} mlxn_tok_path;

/* Work memory of one encode call. */
typedef struct mlxn_tok_work {
    mlxn_tok_symbol *symbols;
    size_t n_symbols, symbol_capacity;
    mlxn_tok_pair *heap;
    size_t n_heap, heap_capacity;
    mlxn_tok_bytes text; /* the symbols' bytes */
    mlxn_tok_path *paths;
    size_t path_capacity;
    mlxn_tok_bytes normal, spare, pieces; /* text between the steps */
    mlxn_tok_cuts cuts, next;
    mlxn_regex_work regex;
} mlxn_tok_work;
void mlxn_tok_work_free(mlxn_tok_work *work);
/* Appends a symbol; the caller sets n_symbols = 0 before the first. */
bool mlxn_tok_work_symbol(mlxn_tok_work *work, uint32_t start, uint32_t size);
/* Joins symbols until no pair can be joined. What is left has size > 0. false: no memory. */
bool mlxn_tok_join(const mlxn_tokenizer *tok, mlxn_tok_work *work);

/* ---- the models; `n` > 0 ---- */

mlxn_status mlxn_bpe_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                            mlxn_tok_ids *out, mlxn_error *error);
mlxn_status mlxn_wordpiece_encode(const mlxn_tokenizer *tok, const char *text, uint32_t n, mlxn_tok_ids *out,
                                  mlxn_error *error);
mlxn_status mlxn_wordlevel_encode(const mlxn_tokenizer *tok, const char *text, uint32_t n, mlxn_tok_ids *out,
                                  mlxn_error *error);
mlxn_status mlxn_unigram_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                                mlxn_tok_ids *out, mlxn_error *error);
/* For a text that needs the unknown token of a vocabulary that has none. */
mlxn_status mlxn_tok_no_unknown(const char *text, uint32_t n, mlxn_error *error);
static inline mlxn_status mlxn_tok_no_memory(uint64_t bytes, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for %llu bytes of text", (unsigned long long)bytes);
}

/* The 256 characters of byte-level BPE: code point of each byte, and the byte of a code point (-1: none). */
uint32_t mlxn_bpe_char_of_byte(uint8_t byte);
int32_t mlxn_bpe_byte_of_char(uint32_t code);

/* ---- pre-tokenizers of GGUF files (pretok.c) ---- */

typedef struct mlxn_pretok mlxn_pretok; /* one row of the list */
/* NULL if no row has that name. */
const mlxn_pretok *mlxn_pretok_find(mlxn_string name);
const char *mlxn_pretok_name(const mlxn_pretok *pretok);
bool mlxn_pretok_ignores_merges(const mlxn_pretok *pretok); /* a piece that is a token is taken whole */
bool mlxn_pretok_adds_bos(const mlxn_pretok *pretok);       /* unless the file says otherwise */
/* The names of all rows, for messages. */
void mlxn_pretok_names(char *out, size_t size);
/* Adds the row's expressions and the step from bytes to characters to the tokenizer's splitters. */
mlxn_status mlxn_pretok_install(mlxn_tokenizer *tok, const mlxn_pretok *pretok, mlxn_error *error);
/* The ByteLevel pre-tokenizer: a space in front of each piece that has none, GPT-2's expression, bytes to
 * characters. */
mlxn_status mlxn_pretok_byte_level(mlxn_tokenizer *tok, bool space, bool expression, mlxn_error *error);

#endif
