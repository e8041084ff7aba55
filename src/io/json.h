/* json.h: a pull reader for JSON (RFC 8259) in memory: the headers of safetensors, shard indexes, configs.
 *
 * It builds no tree: the caller walks the text and keeps what it wants, so memory is bounded by what the caller
 * keeps, and nesting by MLXN_JS_MAX_DEPTH. Whatever is walked or skipped is checked in full: numbers, escapes, UTF-8.
 * Every call that returns a status reports the file, what is wrong and the byte. */
#ifndef MLXN_SRC_IO_JSON_H
#define MLXN_SRC_IO_JSON_H

#include "io/shared.h"

enum {
    MLXN_JS_MAX_DEPTH = 32,       /* far above any header or config; a model's config nests 5 */
    MLXN_JS_MAX_BYTES = 100000000 /* of one text: the format's limit for headers, used for all */
};

typedef struct mlxn_js {
    const uint8_t *data;
    uint64_t size, at;
    const char *file; /* for messages */
    uint64_t base;    /* where `data` begins in the file, for messages */
    bool constants;   /* also take NaN, Infinity and -Infinity, which Python writes into configs */
    uint32_t depth;
    char *strings; /* where the next decoded string goes; NULL: strings are checked and dropped */
    mlxn_error *error;
} mlxn_js;

/* "<file>: <text> (byte 1,204)"; returns FORMAT. */
mlxn_status mlxn_js_fail(const mlxn_js *js, uint64_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "<file>: cannot parse the JSON: <text> (byte 1,204)"; returns FORMAT. */
mlxn_status mlxn_js_syntax(const mlxn_js *js, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next character that is no white space, not consumed; 0 at the end. */
uint8_t mlxn_js_peek(mlxn_js *js);
/* A string, decoded to js->strings with a zero behind it. Room of one byte per byte of text (and one) is enough for
 * all strings of the text. */
mlxn_status mlxn_js_string(mlxn_js *js, mlxn_string *out);
/* An integer without sign, fraction or exponent that fits; `what` is for messages. */
mlxn_status mlxn_js_uint(mlxn_js *js, const char *what, uint64_t *out);
/* true or false. */
mlxn_status mlxn_js_bool(mlxn_js *js, bool *out);
/* Walks over one value of any kind. */
mlxn_status mlxn_js_skip(mlxn_js *js);
/* `open` is { or [. */
mlxn_status mlxn_js_enter(mlxn_js *js, char open);
/* Moves to the next element of the array or object that was entered: *more is false at its end, which is consumed.
 * `*first` starts as true. */
mlxn_status mlxn_js_next(mlxn_js *js, char close, bool *first, bool *more);
/* The same for an object, with the name and the colon: the value is next. */
mlxn_status mlxn_js_member(mlxn_js *js, bool *first, mlxn_string *name, bool *more);
/* Only white space is left. */
mlxn_status mlxn_js_end(mlxn_js *js);

static inline bool mlxn_js_is(mlxn_string text, const char *word) {
    return text.size == strlen(word) && memcmp(text.data, word, (size_t)text.size) == 0;
}

#endif
