/* tok_chars.c: what the steps need to know about characters, and the normal forms of Unicode, on utf8proc's tables.
 */
#include <utf8proc.h>

#include "base/base.h"
#include "lm/tok_steps.h"
#include "lm/utf8.h"

static utf8proc_category_t category(uint32_t c) { return utf8proc_category((utf8proc_int32_t)c); }

bool mlxn_char_is_white(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool mlxn_char_is_number(uint32_t c) {
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool mlxn_char_is_word(uint32_t c) {
    if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    utf8proc_category_t k = category(c);
    bool letter = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
    /* Alphabetic beyond letters, marks and numerals: circled and squared Latin letters. Join controls count too. */
    bool other = (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
                 (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c || c == 0x200d;
    return letter || other || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_PC ||
           (k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME);
}

bool mlxn_char_is_han(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

uint32_t mlxn_char_lower(uint32_t c, uint32_t out[2]) {
    if (c == 0x130) { /* the only character whose lower case is two */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = c < 0x80 ? (c >= 'A' && c <= 'Z' ? c | 0x20 : c) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    return 1;
}

/* ---- normal forms ---- */

typedef struct codes {
    utf8proc_int32_t *data;
    size_t count, capacity;
} codes;

enum { MOST_OF_ONE = 18 }; /* characters that one decomposes to: U+FDFA */

/* Characters with a decomposition that were assigned after the tables of the library were made: they stay. */
static bool is_later(uint32_t c) {
    return c == 0x32ff || (c >= 0xa7f2 && c <= 0xa7f4) || c == 0xab69 || (c >= 0x10781 && c <= 0x107ba) ||
           c == 0x11938 || (c >= 0x1e030 && c <= 0x1e06d) || c == 0x1f16c || (c >= 0x1fbf0 && c <= 0x1fbf9);
}

static bool add_decomposed(codes *c, uint32_t code, int options) {
    if (c->capacity - c->count < MOST_OF_ONE) {
        size_t capacity = c->capacity * 2 + 64;
        utf8proc_int32_t *grown = mlxn_realloc_array(c->data, capacity, sizeof *grown);
        if (!grown) return false;
        c->data = grown;
        c->capacity = capacity;
    }
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)code, c->data + c->count, MOST_OF_ONE,
                                                 (utf8proc_option_t)options, &boundary);
    if (n < 1 || n > MOST_OF_ONE || is_later(code)) { /* no character, or unassigned: itself */
        c->data[c->count] = (utf8proc_int32_t)code;
        n = 1;
    }
    c->count += (size_t)n;
    return true;
}

static unsigned class_of(utf8proc_int32_t c) { return (unsigned)utf8proc_get_property(c)->combining_class; }

/* Sorts marks by class, stable. Long runs are counted, so that a megabyte of marks takes linear time. */
static bool sort_marks(utf8proc_int32_t *marks, size_t n) {
    if (n < 32) {
        for (size_t i = 1; i < n; i++) {
            utf8proc_int32_t moving = marks[i];
            unsigned own = class_of(moving);
            size_t k = i;
            for (; k > 0 && class_of(marks[k - 1]) > own; k--) marks[k] = marks[k - 1];
            marks[k] = moving;
        }
        return true;
    }
    size_t place[257] = {0};
    utf8proc_int32_t *sorted = mlxn_alloc_array(n, sizeof *sorted);
    if (!sorted) return false;
    for (size_t i = 0; i < n; i++) place[class_of(marks[i]) % 256 + 1]++;
    for (size_t k = 1; k < 257; k++) place[k] += place[k - 1];
    for (size_t i = 0; i < n; i++) sorted[place[class_of(marks[i]) % 256]++] = marks[i];
    memcpy(marks, sorted, n * sizeof *marks);
    mlxn_free(sorted);
    return true;
}

static bool order(codes *c) {
    size_t start = 0;
    for (size_t i = 0; i <= c->count; i++) {
        if (i < c->count && class_of(c->data[i])) continue;
        if (i - start > 1 && !sort_marks(c->data + start, i - start)) return false;
        start = i + 1;
    }
    return true;
}

/* Well-formed text that begins and ends where a composition cannot reach across. */
static bool segment(codes *c, bool compatible, bool compose, const char *s, size_t n, mlxn_tok_bytes *out) {
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    uint32_t code = 0;
    c->count = 0;
    for (size_t i = 0; i < n;) {
        i += mlxn_utf8_read(s + i, n - i, &code, NULL);
        if (!add_decomposed(c, code, options)) return false;
    }
    if (!order(c)) return false;
    if (compose) {
        utf8proc_ssize_t left =
            utf8proc_normalize_utf32(c->data, (utf8proc_ssize_t)c->count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (left >= 0) c->count = (size_t)left;
    }
    for (size_t i = 0; i < c->count; i++)
        if (!mlxn_tok_append_char(out, (uint32_t)c->data[i])) return false;
    return true;
}

bool mlxn_tok_unicode_form(bool compatible, bool compose, const char *s, size_t n, mlxn_tok_bytes *out) {
    codes c = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < n;) {
        /* ASCII is itself in all forms; only the last character before others may take part in a composition. */
        size_t ascii = i;
        while (ascii < n && !((uint8_t)s[ascii] & 0x80)) ascii++;
        size_t begin = ascii > i && ascii < n ? ascii - 1 : ascii, end = ascii;
        ok = mlxn_tok_append(out, s + i, begin - i);
        uint32_t length = 1;
        while (end < n && ((uint8_t)s[end] & 0x80) && (length = mlxn_utf8_read(s + end, n - end, NULL, NULL)))
            end += length;
        ok = ok && segment(&c, compatible, compose, s + begin, end - begin, out);
        if (ok && !length) ok = mlxn_tok_append(out, s + end++, 1);
        i = end;
    }
    mlxn_free(c.data);
    return ok;
}
