/* tok_steps.h: the steps that a tokenizer runs before its model (normalizers, then what cuts the text) and after it
 * (decoders), and the growing buffers that they write to. */
#ifndef MLXN_LM_TOK_STEPS_H
#define MLXN_LM_TOK_STEPS_H

#include <mlxn/base.h>
#include <mlxn/io.h>

#include "lm/tok_regex.h"

typedef enum mlxn_tok_op {
    /* normalizers */
    MLXN_NORM_NFC,
    MLXN_NORM_NFD,
    MLXN_NORM_NFKC,
    MLXN_NORM_NFKD,
    MLXN_NORM_LOWERCASE,
    MLXN_NORM_STRIP,         /* flag[0] left, flag[1] right */
    MLXN_NORM_STRIP_ACCENTS, /* combining marks are left out */
    MLXN_NORM_REPLACE,       /* regex or `text` -> `content` */
    MLXN_NORM_PREPEND,       /* `content`, before text that is not empty */
    MLXN_NORM_APPEND,        /* `content`, behind text that is not empty */
    MLXN_NORM_BERT,          /* flag[0] clean, [1] space around Han characters, [2] strip accents, [3] lower case */
    MLXN_NORM_NMT,
    MLXN_NORM_CHARSMAP, /* `text`: the double array, `content`: the zero-terminated replacements */
    MLXN_NORM_BYTE_LEVEL,
    /* what cuts */
    MLXN_SPLIT_BYTE_LEVEL, /* flag[0] space in front; then bytes to characters; its expression is a step of its own */
    MLXN_SPLIT_PATTERN,    /* regex or `text`; behavior, invert */
    MLXN_SPLIT_METASPACE,  /* `text`: what stands for a space; number: a MLXN_PREPEND_; flag[0] cut before each */
    MLXN_SPLIT_WORDS,      /* runs of word characters, runs of others, white space is left out */
    MLXN_SPLIT_WHITESPACE,
    MLXN_SPLIT_DIGITS, /* behavior */
    MLXN_SPLIT_PUNCTUATION,
    MLXN_SPLIT_BERT_PUNCTUATION,
    MLXN_SPLIT_CHARACTER, /* number: the character */
    MLXN_SPLIT_SCRIPTS,   /* regex */
    MLXN_SPLIT_FIXED,     /* number: characters per piece */
    /* decoders */
    MLXN_DECODE_BYTE_LEVEL,
    MLXN_DECODE_WORDPIECE, /* `text`: the prefix; flag[0] clean up */
    MLXN_DECODE_METASPACE, /* `text`: what stands for a space; flag[0] the first token loses its own */
    MLXN_DECODE_BYTE_FALLBACK,
    MLXN_DECODE_FUSE,
    MLXN_DECODE_STRIP,   /* `text`: the character; number of it at most at the start, number2 at the end */
    MLXN_DECODE_REPLACE, /* regex or `text` -> `content` */
    MLXN_DECODE_BPE,     /* `text`: the suffix */
    MLXN_DECODE_CTC      /* `text`: padding, `content`: between words; flag[0] clean up */
} mlxn_tok_op;

typedef enum mlxn_tok_behavior { /* what becomes of the matches of a pattern */
                                 MLXN_REMOVED,
                                 MLXN_ISOLATED,
                                 MLXN_MERGED_WITH_PREVIOUS,
                                 MLXN_MERGED_WITH_NEXT,
                                 MLXN_CONTIGUOUS
} mlxn_tok_behavior;

enum { MLXN_PREPEND_ALWAYS, MLXN_PREPEND_FIRST, MLXN_PREPEND_NEVER };

typedef struct mlxn_tok_step {
    mlxn_tok_op op;
    mlxn_tok_behavior behavior;
    bool invert;
    bool flag[4];
    uint64_t number, number2;
    mlxn_string text, content;
    mlxn_regex *regex; /* owned by the list of steps */
} mlxn_tok_step;

typedef struct mlxn_tok_steps {
    mlxn_tok_step *items;
    uint32_t count, capacity;
} mlxn_tok_steps;
/* Takes over step->regex, also on failure. */
mlxn_status mlxn_tok_steps_add(mlxn_tok_steps *steps, const mlxn_tok_step *step, mlxn_error *error);
void mlxn_tok_steps_free(mlxn_tok_steps *steps);

/* ---- growing buffers; false: no memory ---- */

typedef struct mlxn_tok_bytes {
    char *data;
    size_t size, capacity;
} mlxn_tok_bytes;
bool mlxn_tok_bytes_room(mlxn_tok_bytes *bytes, size_t more); /* room for more bytes behind `size` */
static inline bool mlxn_tok_append(mlxn_tok_bytes *bytes, const char *s, size_t n) {
    if (bytes->capacity - bytes->size < n && !mlxn_tok_bytes_room(bytes, n)) return false;
    for (size_t i = 0; n <= 4 && i < n; i++) bytes->data[bytes->size + i] = s[i];
    if (n > 4) __builtin_memcpy(bytes->data + bytes->size, s, n);
    bytes->size += n;
    return true;
}
bool mlxn_tok_append_char(mlxn_tok_bytes *bytes, uint32_t code);
void mlxn_tok_swap(mlxn_tok_bytes *a, mlxn_tok_bytes *b);

/* A piece of a text. */
typedef struct mlxn_tok_cut {
    uint32_t start, end;
    bool ill_formed; /* holds no character: patterns do not see it */
    bool first;      /* begins where the whole text begins */
} mlxn_tok_cut;
typedef struct mlxn_tok_cuts {
    mlxn_tok_cut *data;
    size_t count, capacity;
} mlxn_tok_cuts;
bool mlxn_tok_cut_add(mlxn_tok_cuts *cuts, mlxn_tok_cut cut);

/* ---- running the steps ---- */

struct mlxn_tok_work;
/* text[0..n) through all steps; the result is work->normal. (normalize.c) */
mlxn_status mlxn_tok_normalize(const mlxn_tok_steps *steps, struct mlxn_tok_work *work, const char *text, uint32_t n,
                               mlxn_error *error);
/* Cuts text[0..n); the result is work->cuts, ranges of work->pieces. `first`: the text begins here. (tok_split.c) */
mlxn_status mlxn_tok_split(const mlxn_tok_steps *steps, struct mlxn_tok_work *work, const char *text, uint32_t n,
                           bool first, mlxn_error *error);
/* What the step's regex or text finds first in s[0..n), well-formed, from `at` on; *start = UINT32_MAX: nothing.
 * (tok_steps.c) */
mlxn_status mlxn_tok_find_pattern(const mlxn_tok_step *step, mlxn_regex_work *regex, const char *s, uint32_t n,
                                  uint32_t at, uint32_t *start, uint32_t *end, mlxn_error *error);
/* Replaces what the step's regex or text finds in s[0..n), ill-formed bytes of which are copied, and appends the
 * result to `out`. (tok_steps.c) */
mlxn_status mlxn_tok_replace(const mlxn_tok_step *step, mlxn_regex_work *regex, const char *s, uint32_t n,
                             mlxn_tok_bytes *out, mlxn_error *error);

/* Texts one behind the other in `bytes`, each a cut. */
typedef struct mlxn_tok_texts {
    mlxn_tok_bytes bytes;
    mlxn_tok_cuts cuts;
} mlxn_tok_texts;
/* Runs the steps in place. (tok_decode.c) */
mlxn_status mlxn_tok_decode_steps(const mlxn_tok_steps *steps, mlxn_tok_texts *texts, mlxn_error *error);
void mlxn_tok_texts_free(mlxn_tok_texts *texts);

/* Texts 0..count-1; false: this one stands for itself. */
typedef struct mlxn_tok_each {
    bool (*get)(const void *user, uint32_t i, mlxn_string *text);
    const void *user;
    uint32_t count;
} mlxn_tok_each;
/* What each text gives in the middle of others: nothing is the first or the last, and what comes after a fuse step
 * (it concerns the whole) is left out. The results lie one behind the other in `out`; ends[0..count) is where each
 * ends. */
mlxn_status mlxn_tok_decode_each(const mlxn_tok_steps *steps, const mlxn_tok_each *each, mlxn_tok_bytes *out,
                                 uint32_t *ends, mlxn_error *error);

/* ---- what the steps need to know about characters (tok_chars.c) ---- */

bool mlxn_char_is_white(uint32_t c);                   /* White_Space */
bool mlxn_char_is_word(uint32_t c);                    /* \w of UTS 18 */
bool mlxn_char_is_number(uint32_t c);                  /* N */
bool mlxn_char_is_han(uint32_t c);                     /* the blocks that BERT puts spaces around */
uint32_t mlxn_char_lower(uint32_t c, uint32_t out[2]); /* how many characters */
/* tok_tables.c: of earlier versions of Unicode, as the library has them. */
bool mlxn_char_is_mark(uint32_t c);            /* M */
bool mlxn_char_is_nonspacing_mark(uint32_t c); /* Mn */
bool mlxn_char_is_control(uint32_t c);         /* Cc without tab and line ends, Cf, Co, and U+0000 and U+FFFD */
bool mlxn_char_is_punctuation(uint32_t c);     /* P, and ASCII's */
/* NFD, NFKD (decompose), then NFC, NFKC (compose too), of text of any kind; ill-formed bytes stay as they are. */
bool mlxn_tok_unicode_form(bool compatible, bool compose, const char *s, size_t n, mlxn_tok_bytes *out);
/* The Precompiled normalizer (charsmap.c). Errors name what is wrong with the map. */
mlxn_status mlxn_charsmap_check(mlxn_string map, mlxn_tok_step *step, const char *where, mlxn_error *error);
bool mlxn_charsmap_apply(const mlxn_tok_step *step, const char *s, size_t n, mlxn_tok_bytes *out);

#endif
