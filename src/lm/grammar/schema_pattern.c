/* schema_pattern.c: the keyword "pattern": regular expressions of ECMA-262, as far as they are regular, over the
 * characters of a JSON string. ^ and $ may stand at the ends of the expression's alternatives. */
#include <stdio.h>

#include "lm/grammar/schema.h"
#include "lm/utf8.h"

enum { MAX_NESTING = 100, LAST_CODE = 0x10ffff };

/* How many characters something may have. */
typedef struct extent {
    uint64_t least, most; /* most: UINT64_MAX, no end */
} extent;

typedef struct regex {
    mlxn_schema *s;
    const char *text;
    size_t size, at;
    uint32_t nesting;
    mlxn_gr_tree set; /* its ranges: the class that is being read */
} regex;

static mlxn_sc_result fail(regex *r, size_t at, const char *what) {
    return mlxn_sc_fail(r->s, MLXN_ERR_UNSUPPORTED, "keyword \"pattern\" is \"%.60s\"%s: %s at byte %zu", r->text,
                        r->size > 60 ? "…" : "", what, at);
}

static char peek(const regex *r, size_t ahead) { return r->at + ahead < r->size ? r->text[r->at + ahead] : 0; }

static uint64_t add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }
static uint64_t times(uint64_t a, uint64_t b) { return a && b > UINT64_MAX / a ? UINT64_MAX : a * b; }

/* ---- classes ---- */

static bool add_range(regex *r, uint32_t low, uint32_t high) {
    if (!MLXN_GR_ROOM(r->set.ranges)) return false;
    r->set.ranges.data[r->set.ranges.count++] = (mlxn_gr_range){low, high};
    return true;
}

/* \d \w \s and their complements, as ECMA-262 has them. */
static bool add_named(regex *r, char name) {
    static const mlxn_gr_range digit[] = {{'0', '9'}}, word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const mlxn_gr_range space[] = {{9, 13},          {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680},
                                          {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                                          {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    char lower = (char)(name | 0x20);
    const mlxn_gr_range *set = lower == 'd' ? digit : lower == 'w' ? word : space;
    size_t n = lower == 'd' ? 1 : lower == 'w' ? 4 : 10;
    uint32_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (name == lower && !add_range(r, set[i].low, set[i].high)) return false;
        if (name != lower && set[i].low > next && !add_range(r, next, set[i].low - 1)) return false;
        next = set[i].high + 1;
    }
    return name == lower || add_range(r, next, LAST_CODE);
}

static mlxn_sc_result read_hex(regex *r, size_t start, uint32_t digits, uint32_t *code) {
    uint32_t value = 0, n = 0;
    bool braces = digits == 4 && peek(r, 0) == '{';
    r->at += braces;
    for (; n < (braces ? 6 : digits); n++, r->at++) {
        char c = peek(r, 0), lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        else
            break;
    }
    if (braces ? peek(r, 0) != '}' || !n : n < digits) return fail(r, start, "an escape with too few digits");
    r->at += braces;
    if (value > LAST_CODE || (value >= 0xd800 && value <= 0xdfff)) return fail(r, start, "an escape of no character");
    *code = value;
    return MLXN_SC_OK;
}

/* Behind a backslash: a character. */
static mlxn_sc_result read_escape(regex *r, bool in_class, uint32_t *code) {
    static const char from[] = "nrtfv", to[] = "\n\r\t\f\v";
    size_t start = r->at - 1;
    char c = peek(r, 0);
    const char *found = c ? strchr(from, c) : NULL;
    r->at++;
    if (c == 'x' || c == 'u') return read_hex(r, start, c == 'x' ? 2 : 4, code);
    if (found) {
        *code = (uint8_t)to[found - from];
    } else if (c == 'b' && in_class) {
        *code = '\b';
    } else if (c == '0' && !(peek(r, 0) >= '0' && peek(r, 0) <= '9')) {
        *code = 0;
    } else if (c == 'c' && ((peek(r, 0) | 0x20) >= 'a' && (peek(r, 0) | 0x20) <= 'z')) {
        *code = (uint32_t)peek(r, 0) & 31;
        r->at++;
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || !c) {
        return fail(r, start, "an escape that is not supported");
    } else {
        r->at--;
        r->at += mlxn_utf8_read(r->text + r->at, r->size - r->at, code, NULL);
    }
    return MLXN_SC_OK;
}

/* The characters of the set, as an element over JSON text. */
static mlxn_sc_result put_set(regex *r, bool negated, mlxn_sc_text *out, size_t start) {
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    if (!mlxn_gr_set_finish(&r->set, 0, negated)) return mlxn_sc_no_memory(r->s);
    char short_ones[20] = "";
    size_t n = 0;
    bool raw = false;
    mlxn_sc_put(out, "(");
    for (uint32_t i = 0; i < r->set.ranges.count; i++) {
        mlxn_gr_range range = r->set.ranges.data[i];
        for (size_t k = 0; k < sizeof codes - 1; k++) {
            if ((uint8_t)codes[k] < range.low || (uint8_t)codes[k] > range.high) continue;
            if (letters[k] == '\\') short_ones[n++] = '\\';
            short_ones[n++] = letters[k];
        }
        /* raw characters: neither control characters nor quote nor backslash */
        static const mlxn_gr_range parts[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, LAST_CODE}};
        for (int k = 0; k < 3; k++) {
            uint32_t low = range.low > parts[k].low ? range.low : parts[k].low;
            uint32_t high = range.high < parts[k].high ? range.high : parts[k].high;
            if (low > high) continue;
            mlxn_sc_put(out, low == high ? "%s\\U%08X" : "%s\\U%08X-\\U%08X", raw ? "" : "[", low, high);
            raw = true;
        }
    }
    if (raw) mlxn_sc_put(out, "]");
    if (n) mlxn_sc_put(out, "%s\"\\\\\" [%s]", raw ? " | " : "", short_ones);
    mlxn_sc_put(out, ")");
    if (!raw && !n) return fail(r, start, "a class of no characters, or of control characters alone,");
    return MLXN_SC_OK;
}

static mlxn_sc_result read_class_item(regex *r, uint32_t *code, bool *named) {
    *named = false;
    if (peek(r, 0) != '\\') {
        r->at += mlxn_utf8_read(r->text + r->at, r->size - r->at, code, NULL);
        return MLXN_SC_OK;
    }
    r->at++;
    *named = peek(r, 0) && strchr("dDwWsS", peek(r, 0));
    if (!*named) return read_escape(r, true, code);
    return add_named(r, r->text[r->at++]) ? MLXN_SC_OK : mlxn_sc_no_memory(r->s);
}

static mlxn_sc_result read_class(regex *r, mlxn_sc_text *out) {
    size_t start = r->at++;
    bool negated = peek(r, 0) == '^', named, other;
    r->at += negated;
    r->set.ranges.count = 0;
    while (peek(r, 0) != ']') {
        uint32_t low = 0, high;
        if (r->at >= r->size) return fail(r, start, "a class that is not closed");
        mlxn_sc_result result = read_class_item(r, &low, &named);
        high = low;
        if (!result && peek(r, 0) == '-' && peek(r, 1) && peek(r, 1) != ']') {
            r->at++;
            result = read_class_item(r, &high, &other);
            if (!result && (named || other || low > high))
                result = fail(r, start, "a class with a range that is none");
        }
        if (result) return result;
        if (!named && !add_range(r, low, high)) return mlxn_sc_no_memory(r->s);
    }
    r->at++;
    return put_set(r, negated, out, start);
}

static mlxn_sc_result put_character(regex *r, uint32_t code, mlxn_sc_text *out, size_t start) {
    r->set.ranges.count = 0;
    if (code < 0x20 && code && strchr("\b\f\n\r\t", (int)code) == NULL) {
        mlxn_sc_put(out, "\"\\\\u%04x\"", code); /* spelled in one way */
        return MLXN_SC_OK;
    }
    if (!add_range(r, code, code)) return mlxn_sc_no_memory(r->s);
    return put_set(r, false, out, start);
}

/* ---- expressions ---- */

static mlxn_sc_result read_alternatives(regex *r, mlxn_sc_text *out, extent *e, bool top);

static mlxn_sc_result read_group(regex *r, mlxn_sc_text *out, extent *e) {
    size_t start = r->at++;
    if (peek(r, 0) == '?' && peek(r, 1) == ':') {
        r->at += 2;
    } else if (peek(r, 0) == '?' && peek(r, 1) == '<' && peek(r, 2) != '=' && peek(r, 2) != '!') {
        while (r->at < r->size && peek(r, 0) != '>') r->at++; /* a name has no meaning without references */
        r->at++;
    } else if (peek(r, 0) == '?') {
        return fail(r, start, "a lookahead, a lookbehind or a modifier");
    }
    if (++r->nesting > MAX_NESTING) return fail(r, start, "groups that are nested too deeply");
    mlxn_sc_put(out, "(");
    mlxn_sc_result result = read_alternatives(r, out, e, false);
    mlxn_sc_put(out, ")");
    if (!result && peek(r, 0) != ')') result = fail(r, start, "a group that is not closed");
    r->at++;
    r->nesting--;
    return result;
}

static mlxn_sc_result read_element(regex *r, mlxn_sc_text *out, extent *e) {
    size_t start = r->at;
    char c = peek(r, 0);
    uint32_t code = 0;
    *e = (extent){1, 1};
    if (c == '(') return read_group(r, out, e);
    if (c == '[') return read_class(r, out);
    if (c == '*' || c == '+' || c == '?' || c == '{') return fail(r, start, "a repetition of nothing");
    if (c == '^' || c == '$') return fail(r, start, "^ or $ inside of the expression");
    if (c == ']' || c == '}') return fail(r, start, "a bracket that closes nothing");
    if (c == '.') {
        r->at++;
        r->set.ranges.count = 0;
        if (!add_range(r, '\n', '\n') || !add_range(r, '\r', '\r') || !add_range(r, 0x2028, 0x2029))
            return mlxn_sc_no_memory(r->s);
        return put_set(r, true, out, start);
    }
    if (c == '\\') {
        r->at++;
        if (peek(r, 0) && strchr("dDwWsS", peek(r, 0))) {
            r->set.ranges.count = 0;
            if (!add_named(r, r->text[r->at++])) return mlxn_sc_no_memory(r->s);
            return put_set(r, false, out, start);
        }
        mlxn_sc_result result = read_escape(r, false, &code);
        return result ? result : put_character(r, code, out, start);
    }
    r->at += mlxn_utf8_read(r->text + r->at, r->size - r->at, &code, NULL);
    return put_character(r, code, out, start);
}

static bool read_number(regex *r, uint64_t *out) {
    uint64_t value = 0;
    size_t start = r->at;
    for (; peek(r, 0) >= '0' && peek(r, 0) <= '9' && value < 1000000; r->at++)
        value = value * 10 + (uint64_t)(peek(r, 0) - '0');
    *out = value;
    return r->at > start;
}

static mlxn_sc_result read_repetition(regex *r, mlxn_sc_text *out, extent *e) {
    size_t start = r->at;
    char c = peek(r, 0);
    uint64_t least = c == '+', most = c == '?' ? 1 : UINT64_MAX;
    if (c != '*' && c != '+' && c != '?' && c != '{') return MLXN_SC_OK;
    r->at++;
    if (c == '{') {
        bool good = read_number(r, &least);
        most = least;
        if (good && peek(r, 0) == ',') {
            r->at++;
            most = UINT64_MAX;
            if (peek(r, 0) != '}') good = read_number(r, &most);
        }
        if (!good || peek(r, 0) != '}' || least > most) return fail(r, start, "braces that are no repetition");
        r->at++;
        if (least > MLXN_SC_MAX_LENGTH || (most != UINT64_MAX && most > MLXN_SC_MAX_LENGTH))
            return fail(r, start, "more than 8192 repetitions");
        mlxn_sc_put(out, "{%llu,", (unsigned long long)least);
        if (most != UINT64_MAX) mlxn_sc_put(out, "%llu", (unsigned long long)most);
        mlxn_sc_put(out, "}");
    } else {
        mlxn_sc_put(out, "%c", c);
    }
    if (peek(r, 0) == '?') r->at++; /* lazy: the same texts */
    if (peek(r, 0) && strchr("*+?{", peek(r, 0))) return fail(r, r->at, "a repetition of a repetition");
    e->least = times(e->least, least);
    e->most = times(e->most, most);
    return MLXN_SC_OK;
}

static mlxn_sc_result read_sequence(regex *r, mlxn_sc_text *out, extent *e, bool top) {
    *e = (extent){0, 0};
    if (top && peek(r, 0) == '^') {
        r->at++;
    } else if (top) {
        mlxn_sc_put(out, "%s* ", mlxn_sc_common(r->s, "char"));
        e->most = UINT64_MAX;
    }
    mlxn_sc_put(out, "\"\" ");
    while (r->at < r->size && peek(r, 0) != '|' && peek(r, 0) != ')') {
        extent one;
        if (top && peek(r, 0) == '$' && (r->at + 1 == r->size || peek(r, 1) == '|')) {
            r->at++;
            return MLXN_SC_OK;
        }
        mlxn_sc_result result = read_element(r, out, &one);
        if (!result) result = read_repetition(r, out, &one);
        if (result) return result;
        mlxn_sc_put(out, " ");
        e->least = add(e->least, one.least);
        e->most = add(e->most, one.most);
    }
    if (top) {
        mlxn_sc_put(out, "%s*", mlxn_sc_common(r->s, "char"));
        e->most = UINT64_MAX;
    }
    return MLXN_SC_OK;
}

static mlxn_sc_result read_alternatives(regex *r, mlxn_sc_text *out, extent *e, bool top) {
    *e = (extent){UINT64_MAX, 0};
    for (;;) {
        extent one;
        mlxn_sc_result result = read_sequence(r, out, &one, top);
        if (result) return result;
        if (one.least < e->least) e->least = one.least;
        if (one.most > e->most) e->most = one.most;
        if (peek(r, 0) != '|') return MLXN_SC_OK;
        mlxn_sc_put(out, " | ");
        r->at++;
    }
}

mlxn_sc_result mlxn_sc_pattern(mlxn_schema *s, const char *pattern, mlxn_sc_text *out, uint64_t *least,
                               uint64_t *most) {
    regex r = {.s = s, .text = pattern, .size = strlen(pattern)};
    extent e = {0, 0};
    mlxn_sc_put(out, "(");
    mlxn_sc_result result = read_alternatives(&r, out, &e, true);
    mlxn_sc_put(out, ")");
    if (!result && r.at < r.size) result = fail(&r, r.at, "a bracket that closes nothing");
    mlxn_free(r.set.ranges.data);
    *least = e.least;
    *most = e.most;
    return result;
}
