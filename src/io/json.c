/* json.c: the pull reader for JSON. */
#include "io/json.h"

#include <stdio.h>

static mlxn_status report(const mlxn_js *js, uint64_t at, const char *prefix, const char *format, va_list args) {
    char text[400];
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    return mlxn_fail(js->error, MLXN_ERR_FORMAT, "%s: %s%s (byte %s)", js->file, prefix, text,
                     mlxn_gg_number(js->base + at).s);
}

mlxn_status mlxn_js_fail(const mlxn_js *js, uint64_t at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mlxn_status status = report(js, at, "", format, args);
    va_end(args);
    return status;
}

mlxn_status mlxn_js_syntax(const mlxn_js *js, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mlxn_status status = report(js, js->at, "cannot parse the JSON: ", format, args);
    va_end(args);
    return status;
}

uint8_t mlxn_js_peek(mlxn_js *js) {
    while (js->at < js->size) {
        uint8_t c = js->data[js->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c;
        js->at++;
    }
    return 0;
}

/* What stands at js->at, for messages: a printable character or its code. */
typedef struct seen_text {
    char s[24];
} seen_text;

static seen_text seen(const mlxn_js *js) {
    seen_text out;
    if (js->at >= js->size)
        snprintf(out.s, sizeof out.s, "the end");
    else if (js->data[js->at] > 0x20 && js->data[js->at] < 0x7f)
        snprintf(out.s, sizeof out.s, "'%c'", js->data[js->at]);
    else
        snprintf(out.s, sizeof out.s, "byte 0x%02x", js->data[js->at]);
    return out;
}

static mlxn_status unexpected(const mlxn_js *js, const char *want) {
    return mlxn_js_syntax(js, "got %s, want %s", seen(js).s, want);
}

static void put(mlxn_js *js, const void *bytes, size_t count) {
    if (!js->strings) return;
    memcpy(js->strings, bytes, count);
    js->strings += count;
}

static bool hex4(const mlxn_js *js, uint64_t at, uint32_t *out) {
    if (js->size - at < 4) return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = js->data[at + (uint64_t)i], low = c | 0x20;
        if (c >= '0' && c <= '9')
            *out = *out << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            *out = *out << 4 | (uint32_t)(low - 'a' + 10);
        else
            return false;
    }
    return true;
}

static void put_character(mlxn_js *js, uint32_t c) {
    uint8_t bytes[4];
    size_t count = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = count; i-- > 1; c >>= 6) bytes[i] = (uint8_t)(0x80 | (c & 0x3f));
    bytes[0] = (uint8_t)(lead[count] | c);
    put(js, bytes, count);
}

/* js->at is behind \u. Never longer decoded than written: 3 bytes from 6, 4 from 12. */
static mlxn_status unicode_escape(mlxn_js *js) {
    uint32_t c, low;
    if (!hex4(js, js->at, &c)) return mlxn_js_syntax(js, "\\u needs four hexadecimal digits");
    js->at += 4;
    if (c >= 0xdc00 && c <= 0xdfff) return mlxn_js_syntax(js, "\\u%04x is half a character", c);
    if (c >= 0xd800 && c <= 0xdbff) {
        if (js->size - js->at < 6 || js->data[js->at] != '\\' || js->data[js->at + 1] != 'u' ||
            !hex4(js, js->at + 2, &low) || low < 0xdc00 || low > 0xdfff)
            return mlxn_js_syntax(js, "\\u%04x is half a character", c);
        js->at += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    put_character(js, c);
    return MLXN_OK;
}

static mlxn_status escape(mlxn_js *js) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (++js->at >= js->size) return unexpected(js, "an escape");
    uint8_t c = js->data[js->at];
    if (c == 'u') {
        js->at++;
        return unicode_escape(js);
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return unexpected(js, "one of \"\\/bfnrtu behind a backslash");
    js->at++;
    put(js, &to[found - from], 1);
    return MLXN_OK;
}

mlxn_status mlxn_js_string(mlxn_js *js, mlxn_string *out) {
    char *begin = js->strings;
    if (mlxn_js_peek(js) != '"') return unexpected(js, "a string");
    js->at++;
    for (;;) {
        if (js->at >= js->size) return unexpected(js, "the end of the string");
        const uint8_t *p = js->data + js->at;
        if (*p == '"') break;
        if (*p < 0x20) return mlxn_js_syntax(js, "a string holds the control character 0x%02x", *p);
        if (*p == '\\') {
            mlxn_status status = escape(js);
            if (status) return status;
            continue;
        }
        unsigned length = mlxn_gg_utf8_length(p, js->size - js->at);
        if (!length) return mlxn_js_syntax(js, "a string is not UTF-8");
        put(js, p, length);
        js->at += length;
    }
    js->at++;
    *out = (mlxn_string){begin, begin ? (uint64_t)(js->strings - begin) : 0};
    put(js, "", 1);
    return MLXN_OK;
}

static bool is_digit(const mlxn_js *js, uint64_t at) {
    return at < js->size && js->data[at] >= '0' && js->data[at] <= '9';
}

static mlxn_status digits(mlxn_js *js) {
    if (!is_digit(js, js->at)) return unexpected(js, "a digit");
    while (is_digit(js, js->at)) js->at++;
    return MLXN_OK;
}

static mlxn_status skip_number(mlxn_js *js) {
    mlxn_status status;
    if (js->data[js->at] == '-') js->at++;
    if (js->at < js->size && js->data[js->at] == '0' && is_digit(js, js->at + 1))
        return mlxn_js_syntax(js, "a number begins with 0");
    if ((status = digits(js))) return status;
    if (js->at < js->size && js->data[js->at] == '.') {
        js->at++;
        if ((status = digits(js))) return status;
    }
    if (js->at < js->size && (js->data[js->at] | 0x20) == 'e') {
        js->at++;
        if (js->at < js->size && (js->data[js->at] == '+' || js->data[js->at] == '-')) js->at++;
        if ((status = digits(js))) return status;
    }
    return MLXN_OK;
}

static bool take_word(mlxn_js *js, const char *word) {
    size_t length = strlen(word);
    if (js->size - js->at < length || memcmp(js->data + js->at, word, length) != 0) return false;
    js->at += length;
    return true;
}

mlxn_status mlxn_js_uint(mlxn_js *js, const char *what, uint64_t *out) {
    (void)mlxn_js_peek(js);
    uint64_t begin = js->at, value = 0;
    mlxn_status status = mlxn_js_skip(js); /* what is no value at all is an error of its own */
    if (status) return status;
    if (!is_digit(js, begin)) return mlxn_js_fail(js, begin, "%s is not an integer from 0 up", what);
    for (uint64_t i = begin; i < js->at; i++) {
        if (!is_digit(js, i)) return mlxn_js_fail(js, begin, "%s is not an integer", what);
        if (!mlxn_mul_u64(value, 10, &value) || !mlxn_add_u64(value, js->data[i] - (uint64_t)'0', &value))
            return mlxn_js_fail(js, begin, "%s is 2^64 or more", what);
    }
    *out = value;
    return MLXN_OK;
}

mlxn_status mlxn_js_bool(mlxn_js *js, bool *out) {
    (void)mlxn_js_peek(js);
    *out = take_word(js, "true");
    return *out || take_word(js, "false") ? MLXN_OK : unexpected(js, "true or false");
}

mlxn_status mlxn_js_enter(mlxn_js *js, char open) {
    if (mlxn_js_peek(js) != open) return unexpected(js, open == '{' ? "an object" : "an array");
    if (js->depth >= MLXN_JS_MAX_DEPTH) return mlxn_js_syntax(js, "nested deeper than %d", MLXN_JS_MAX_DEPTH);
    js->depth++;
    js->at++;
    return MLXN_OK;
}

mlxn_status mlxn_js_next(mlxn_js *js, char close, bool *first, bool *more) {
    char want[] = {'\'', ',', '\'', ' ', 'o', 'r', ' ', '\'', close, '\'', 0};
    uint8_t c = mlxn_js_peek(js);
    *more = c != close;
    if (!*more) {
        js->depth--;
        js->at++;
    } else if (!*first) {
        if (c != ',') return unexpected(js, want);
        js->at++;
        if (mlxn_js_peek(js) == close) return unexpected(js, "something behind ','");
    }
    *first = false;
    return MLXN_OK;
}

mlxn_status mlxn_js_member(mlxn_js *js, bool *first, mlxn_string *name, bool *more) {
    mlxn_status status = mlxn_js_next(js, '}', first, more);
    if (status || !*more) return status;
    if ((status = mlxn_js_string(js, name))) return status;
    if (mlxn_js_peek(js) != ':') return unexpected(js, "':'");
    js->at++;
    return MLXN_OK;
}

/* Recursion is bounded by MLXN_JS_MAX_DEPTH. */
static mlxn_status skip_container(mlxn_js *js, char open) {
    bool first = true, more;
    mlxn_string name;
    mlxn_status status = mlxn_js_enter(js, open);
    while (!status) {
        status = open == '{' ? mlxn_js_member(js, &first, &name, &more) : mlxn_js_next(js, ']', &first, &more);
        if (status || !more) return status;
        status = mlxn_js_skip(js);
    }
    return status;
}

static mlxn_status skip_scalar(mlxn_js *js) {
    static const char *const words[] = {"true", "false", "null", "NaN", "Infinity", "-Infinity"};
    for (int i = 0; i < (js->constants ? 6 : 3); i++)
        if (take_word(js, words[i])) return MLXN_OK;
    if (js->at < js->size && (js->data[js->at] == '-' || is_digit(js, js->at))) return skip_number(js);
    return unexpected(js, "a value");
}

mlxn_status mlxn_js_skip(mlxn_js *js) {
    mlxn_string text;
    uint8_t c = mlxn_js_peek(js);
    char *strings = js->strings;
    js->strings = NULL; /* what is skipped is not kept */
    mlxn_status status = c == '{' || c == '[' ? skip_container(js, (char)c)
                         : c == '"'           ? mlxn_js_string(js, &text)
                                              : skip_scalar(js);
    js->strings = strings;
    return status;
}

mlxn_status mlxn_js_end(mlxn_js *js) {
    (void)mlxn_js_peek(js);
    return js->at == js->size ? MLXN_OK : unexpected(js, "the end");
}
