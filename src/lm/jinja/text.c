/* text.c: characters, white space, case, searching, and numbers as text. */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <utf8proc.h>

#include "lm/jinja/internal.h"
#include "lm/utf8.h"

uint32_t mlxn_jn_next_char(const char *s, size_t n, uint32_t *code) {
    uint32_t length = mlxn_utf8_read(s, n, code, NULL);
    if (length) return length;
    if (code) *code = 0xfffd;
    return 1;
}

size_t mlxn_jn_count_chars(const char *s, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; count++) i += mlxn_jn_next_char(s + i, n - i, NULL);
    return count;
}

size_t mlxn_jn_char_offset(const jn_string *s, size_t index) {
    if (index >= s->n_chars) return s->size;
    if (s->n_chars == s->size) return index;
    size_t at = 0;
    while (index--) at += mlxn_jn_next_char(s->data + at, s->size - at, NULL);
    return at;
}

/* White space as Python's str.isspace and str.strip have it. */
bool mlxn_jn_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool mlxn_jn_is_printable(uint32_t c) {
    if (c < 0x7f) return c >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_CS:
        case UTF8PROC_CATEGORY_CO:
        case UTF8PROC_CATEGORY_CN:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
        case UTF8PROC_CATEGORY_ZS:
            return false;
        default:
            return true;
    }
}

static bool in_set(const jn_string *set, const char *c, size_t n) {
    for (size_t i = 0, k; i < set->size; i += k) {
        k = mlxn_jn_next_char(set->data + i, set->size - i, NULL);
        if (k == n && !memcmp(set->data + i, c, n)) return true;
    }
    return false;
}

void mlxn_jn_strip(const char *s, size_t *start, size_t *end, const jn_string *set, int sides) {
    size_t first = *end, last = *start;
    for (size_t i = *start, n; i < *end; i += n) {
        uint32_t code;
        n = mlxn_jn_next_char(s + i, *end - i, &code);
        if (set ? in_set(set, s + i, n) : mlxn_jn_is_space(code)) continue;
        if (first == *end) first = i;
        last = i + n;
        if (!(sides & JN_STRIP_RIGHT)) break;
    }
    if (first == *end) last = first = sides & JN_STRIP_LEFT ? *end : *start;
    if (sides & JN_STRIP_LEFT) *start = first;
    if (sides & JN_STRIP_RIGHT) *end = last;
}

size_t mlxn_jn_find(jn_run *r, const char *s, size_t n, size_t from, const char *what, size_t m) {
    if (from > n || m > n - from) return SIZE_MAX;
    if (!m) return from;
    const char *hit = memmem(s + from, n - from, what, m);
    mlxn_jn_charge(r, hit ? (size_t)(hit - s) - from : n - from);
    return hit ? (size_t)(hit - s) : SIZE_MAX;
}

const jn_string *mlxn_jn_text(jn_run *r, const char *data, size_t size) {
    jn_string *s = mlxn_jn_alloc(r, sizeof *s);
    mlxn_jn_charge(r, size);
    *s = (jn_string){.data = size ? data : "", .size = size, .n_chars = mlxn_jn_count_chars(data, size)};
    return s;
}

jn_value mlxn_jn_string_of(jn_run *r, const char *data, size_t size) {
    return (jn_value){.type = JN_STRING, .s = mlxn_jn_text(r, data, size)};
}

jn_value mlxn_jn_string_copy(jn_run *r, const char *data, size_t size) {
    char *copy = mlxn_jn_alloc(r, size);
    if (size) memcpy(copy, data, size);
    return mlxn_jn_string_of(r, copy, size);
}

jn_value mlxn_jn_out_string(jn_run *r, const jn_out *out) { return mlxn_jn_string_of(r, out->data, out->size); }

bool mlxn_jn_is(const jn_string *s, const char *text) {
    return s->size == strlen(text) && !memcmp(s->data, text, s->size);
}

static bool is_cased(utf8proc_category_t c) {
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

jn_value mlxn_jn_change_case(jn_run *r, const jn_string *s, jn_case to) {
    jn_out out = {0};
    bool inside = false; /* a word, for TITLE; the text, for CAPITALIZE */
    for (size_t i = 0, n; i < s->size; i += n) {
        uint32_t code;
        n = mlxn_jn_next_char(s->data + i, s->size - i, &code);
        utf8proc_int32_t c = (utf8proc_int32_t)code;
        utf8proc_category_t category = utf8proc_category(c);
        jn_case rule = to;
        if (to == JN_TITLE || to == JN_CAPITALIZE) rule = inside ? JN_LOWER : JN_TITLE;
        if (to == JN_SWAP) rule = category == UTF8PROC_CATEGORY_LU ? JN_LOWER : JN_UPPER;
        inside = to == JN_CAPITALIZE || is_cased(category);
        if (code == 0xdf && rule != JN_LOWER) {
            jn_puts(r, &out, rule == JN_UPPER ? "SS" : "Ss");
            continue;
        }
        utf8proc_int32_t changed = rule == JN_UPPER   ? utf8proc_toupper(c)
                                   : rule == JN_LOWER ? utf8proc_tolower(c)
                                                      : utf8proc_totitle(c);
        if (changed == c)
            mlxn_jn_put(r, &out, s->data + i, n);
        else
            mlxn_jn_put_code(r, &out, (uint32_t)changed);
    }
    return mlxn_jn_out_string(r, &out);
}

jn_value mlxn_jn_escape(jn_run *r, jn_value v) {
    if (v.type == JN_STRING && v.s->safe) return v;
    const jn_string *s = mlxn_jn_str(r, v);
    jn_out out = {0};
    for (size_t i = 0; i < s->size; i++) {
        static const struct {
            char c;
            const char *text;
        } table[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
        size_t k = 0;
        while (k < 5 && table[k].c != s->data[i]) k++;
        if (k < 5)
            jn_puts(r, &out, table[k].text);
        else
            mlxn_jn_put(r, &out, s->data + i, 1);
    }
    jn_string *safe = mlxn_jn_alloc(r, sizeof *safe);
    *safe = *mlxn_jn_out_string(r, &out).s;
    safe->safe = true;
    return (jn_value){.type = JN_STRING, .s = safe};
}

/* The shortest digits that give the value again; with an exponent below 1e-4 and from 1e16 on. */
const char *mlxn_jn_number_text(double value, char out[40]) {
    if (isnan(value)) return strcpy(out, "nan");
    if (isinf(value)) return strcpy(out, value > 0 ? "inf" : "-inf");
    char e[40];
    int precision = 0;
    for (; precision < 17; precision++) {
        snprintf(e, sizeof e, "%.*e", precision, value);
        if (strtod(e, NULL) == value) break;
    }
    char *mark = strchr(e, 'e'), digits[24];
    int exponent = atoi(mark + 1), n = 0;
    for (char *c = e; c < mark; c++)
        if (*c >= '0' && *c <= '9') digits[n++] = *c;
    char *o = out;
    if (signbit(value)) *o++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *o++ = digits[0];
        if (n > 1) *o++ = '.';
        for (int i = 1; i < n; i++) *o++ = digits[i];
        snprintf(o, 13, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return out;
    }
    if (exponent < 0) {
        *o++ = '0', *o++ = '.';
        for (int i = -1; i > exponent; i--) *o++ = '0';
        for (int i = 0; i < n; i++) *o++ = digits[i];
    } else {
        for (int i = 0; i < n || i <= exponent; i++) {
            *o++ = i < n ? digits[i] : '0';
            if (i == exponent) *o++ = '.';
        }
        if (o[-1] == '.') *o++ = '0';
    }
    *o = 0;
    return out;
}

/* Digits without their underscores, which must stand between two digits. */
static bool plain(const char *s, size_t n, char *out, size_t room) {
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '_') {
            if (!i || i + 1 == n || s[i - 1] == '_') return false;
            continue;
        }
        if (size + 1 >= room) return false;
        out[size++] = s[i];
    }
    out[size] = 0;
    return size > 0;
}

bool mlxn_jn_parse_double(const char *s, size_t n, double *out) {
    char text[400], *end;
    size_t start = 0;
    mlxn_jn_strip(s, &start, &n, NULL, JN_STRIP_LEFT | JN_STRIP_RIGHT);
    if (!plain(s + start, n - start, text, sizeof text) || strpbrk(text, "xX(")) return false;
    double value = strtod(text, &end);
    if (*end == '.') { /* a locale with another decimal point */
        *end = localeconv()->decimal_point[0];
        value = strtod(text, &end);
    }
    if (*end) return false;
    *out = value;
    return true;
}

bool mlxn_jn_parse_int(const char *s, size_t n, int base, int64_t *out) {
    char text[100], *end;
    size_t start = 0;
    mlxn_jn_strip(s, &start, &n, NULL, JN_STRIP_LEFT | JN_STRIP_RIGHT);
    if (!plain(s + start, n - start, text, sizeof text)) return false;
    char *digits = text + (text[0] == '-' || text[0] == '+');
    if (*digits == '0' && (digits[1] | 32) == (base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : 0))
        memmove(digits, digits + 2, strlen(digits + 2) + 1);
    if (!((*digits >= '0' && *digits <= '9') || (base > 10 && ((*digits | 32) >= 'a' && (*digits | 32) <= 'z'))))
        return false;
    errno = 0;
    long long value = strtoll(text, &end, base);
    if (*end || errno) return false;
    *out = value;
    return true;
}
