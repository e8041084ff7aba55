/* methods.c: the methods of Python's str, list and dict that templates call. */
#include <utf8proc.h>

#include "lm/jinja/internal.h"

static bool given(jn_value v) { return !jn_missing(v) && v.type != JN_NONE; }

/* ---- str ---- */

#define CASE_METHOD(name, to)                                                       \
    static jn_value str_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)args;                                                                 \
        return mlxn_jn_change_case(r, a[0].s, to);                                  \
    }
CASE_METHOD(upper, JN_UPPER)
CASE_METHOD(lower, JN_LOWER)
CASE_METHOD(title, JN_TITLE)
CASE_METHOD(capitalize, JN_CAPITALIZE)
CASE_METHOD(swapcase, JN_SWAP)

static jn_value strip(jn_run *r, const jn_value *a, int sides) {
    const jn_string *set = given(a[1]) ? mlxn_jn_need_string(r, a[1], "strip arg") : NULL;
    size_t start = 0, end = a[0].s->size;
    mlxn_jn_charge(r, end * (set ? 1 + set->size : 1));
    mlxn_jn_strip(a[0].s->data, &start, &end, set, sides);
    return mlxn_jn_string_of(r, a[0].s->data + start, end - start);
}
#define STRIP_METHOD(name, sides)                                                   \
    static jn_value str_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)args;                                                                 \
        return strip(r, a, sides);                                                  \
    }
STRIP_METHOD(strip, JN_STRIP_LEFT | JN_STRIP_RIGHT)
STRIP_METHOD(lstrip, JN_STRIP_LEFT)
STRIP_METHOD(rstrip, JN_STRIP_RIGHT)

/* The ends of [at, end) at which a piece begins or ends; from the right for rsplit. */
static jn_value split_space(jn_run *r, const jn_string *s, int64_t most, bool right) {
    jn_value out = mlxn_jn_list_new(r, JN_ARRAY);
    size_t start = 0, end = s->size;
    mlxn_jn_strip(s->data, &start, &end, NULL, right ? JN_STRIP_RIGHT : JN_STRIP_LEFT);
    while (start < end) {
        size_t piece = start, stop = end;
        bool rest = most >= 0 && (int64_t)out.list->n >= most;
        if (rest) {
            mlxn_jn_strip(s->data, &piece, &stop, NULL, right ? JN_STRIP_RIGHT : JN_STRIP_LEFT);
            if (!right) stop = end;
        } else {
            size_t last = SIZE_MAX, after = 0; /* the white space next to the piece */
            for (size_t i = start, n; i < end; i += n) {
                uint32_t c;
                n = mlxn_jn_next_char(s->data + i, end - i, &c);
                if (!mlxn_jn_is_space(c)) continue;
                last = i, after = i + n;
                if (!right) break;
            }
            if (last != SIZE_MAX && right) piece = after;
            if (last != SIZE_MAX && !right) stop = last;
        }
        mlxn_jn_append(r, out, mlxn_jn_string_of(r, s->data + piece, stop - piece));
        mlxn_jn_charge(r, end - start);
        if (rest) break;
        if (right)
            end = piece;
        else
            start = stop;
        mlxn_jn_strip(s->data, &start, &end, NULL, right ? JN_STRIP_RIGHT : JN_STRIP_LEFT);
    }
    return out;
}

static size_t find_last(jn_run *r, const char *s, size_t n, const char *what, size_t m) {
    for (size_t i = n >= m ? n - m + 1 : 0; i--;) {
        if (memcmp(s + i, what, m)) continue;
        mlxn_jn_charge(r, n - i);
        return i;
    }
    mlxn_jn_charge(r, n);
    return SIZE_MAX;
}

static void reverse(jn_list *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        jn_value v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
}

static jn_value split(jn_run *r, const jn_value *a, bool right) {
    const jn_string *s = a[0].s;
    int64_t most = jn_missing(a[2]) ? -1 : mlxn_jn_need_int(r, a[2], "maxsplit");
    jn_value out;
    if (!given(a[1])) {
        out = split_space(r, s, most, right);
    } else {
        const jn_string *by = mlxn_jn_need_string(r, a[1], "sep");
        if (!by->size) mlxn_jn_type_error(r, "empty separator");
        out = mlxn_jn_list_new(r, JN_ARRAY);
        size_t start = 0, end = s->size;
        for (;;) {
            size_t hit = SIZE_MAX;
            if (most < 0 || (int64_t)out.list->n < most)
                hit = right ? find_last(r, s->data, end, by->data, by->size)
                            : mlxn_jn_find(r, s->data, s->size, start, by->data, by->size);
            if (hit == SIZE_MAX) break;
            size_t from = right ? hit + by->size : start, to = right ? end : hit;
            mlxn_jn_append(r, out, mlxn_jn_string_of(r, s->data + from, to - from));
            if (right)
                end = hit;
            else
                start = hit + by->size;
        }
        mlxn_jn_append(r, out, mlxn_jn_string_of(r, s->data + start, end - start));
    }
    if (right) reverse(out.list);
    return out;
}
static jn_value str_split(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return split(r, a, false);
}
static jn_value str_rsplit(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return split(r, a, true);
}

static jn_value partition(jn_run *r, const jn_value *a, bool right) {
    const jn_string *s = a[0].s, *by = mlxn_jn_need_string(r, a[1], "sep");
    if (!by->size) mlxn_jn_type_error(r, "empty separator");
    size_t hit = right ? find_last(r, s->data, s->size, by->data, by->size)
                       : mlxn_jn_find(r, s->data, s->size, 0, by->data, by->size);
    jn_value out = mlxn_jn_list_new(r, JN_TUPLE), none = mlxn_jn_string_of(r, "", 0);
    if (hit == SIZE_MAX) {
        for (int i = 0; i < 3; i++) mlxn_jn_append(r, out, i == (right ? 2 : 0) ? a[0] : none);
        return out;
    }
    mlxn_jn_append(r, out, mlxn_jn_string_of(r, s->data, hit));
    mlxn_jn_append(r, out, a[1]);
    mlxn_jn_append(r, out, mlxn_jn_string_of(r, s->data + hit + by->size, s->size - hit - by->size));
    return out;
}
static jn_value str_partition(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return partition(r, a, false);
}
static jn_value str_rpartition(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return partition(r, a, true);
}

static jn_value str_splitlines(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = a[0].s;
    bool keep = !jn_missing(a[1]) && mlxn_jn_truth(a[1]);
    jn_value out = mlxn_jn_list_new(r, JN_ARRAY);
    size_t line = 0;
    for (size_t i = 0, n; i < s->size; i += n) {
        uint32_t c;
        n = mlxn_jn_next_char(s->data + i, s->size - i, &c);
        if (!((c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029)) continue;
        if (c == '\r' && i + 1 < s->size && s->data[i + 1] == '\n') n = 2;
        mlxn_jn_append(r, out, mlxn_jn_string_of(r, s->data + line, (keep ? i + n : i) - line));
        line = i + n;
    }
    if (line < s->size) mlxn_jn_append(r, out, mlxn_jn_string_of(r, s->data + line, s->size - line));
    return out;
}

/* The text from start to end, in characters, as slices have them; *offset is where it begins. False if start is
 * beyond the end. */
static bool window(jn_run *r, const jn_value *a, const jn_string **out, size_t *offset) {
    const jn_string *s = a[0].s;
    int64_t n = (int64_t)s->n_chars, start = given(a[2]) ? mlxn_jn_need_int(r, a[2], "start") : 0;
    int64_t end = given(a[3]) ? mlxn_jn_need_int(r, a[3], "end") : n;
    if (start < 0) start = start < -n ? 0 : start + n;
    if (end < 0) end = end < -n ? 0 : end + n;
    if (end > n) end = n;
    *out = s;
    *offset = 0;
    if (start > end) return false;
    if (!start && end == n) return true;
    size_t from = mlxn_jn_char_offset(s, (size_t)start), to = mlxn_jn_char_offset(s, (size_t)end);
    *out = mlxn_jn_text(r, s->data + from, to - from);
    *offset = from;
    return true;
}

static jn_value affix(jn_run *r, const jn_value *a, bool end, const char *what) {
    const jn_string *s;
    size_t offset;
    if (a[1].type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, a[1]);
    if (a[1].type != JN_STRING && !(a[1].type == JN_LIST && a[1].list->kind == JN_TUPLE))
        mlxn_jn_type_error(r, "%s first arg must be str or a tuple of str, not %s", what, mlxn_jn_type_name(a[1]));
    if (!window(r, a, &s, &offset)) return jn_bool(false);
    size_t n = a[1].type == JN_STRING ? 1 : a[1].list->n;
    for (size_t i = 0; i < n; i++) {
        const jn_string *p = mlxn_jn_need_string(r, a[1].type == JN_STRING ? a[1] : a[1].list->v[i], what);
        mlxn_jn_charge(r, p->size);
        if (p->size <= s->size && !memcmp(end ? s->data + s->size - p->size : s->data, p->data, p->size))
            return jn_bool(true);
    }
    return jn_bool(false);
}
static jn_value str_startswith(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return affix(r, a, false, "startswith");
}
static jn_value str_endswith(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return affix(r, a, true, "endswith");
}

static jn_value find(jn_run *r, const jn_value *a, bool right, bool must) {
    const jn_string *s, *what = mlxn_jn_need_string(r, a[1], "the text to find");
    size_t offset, hit = SIZE_MAX;
    if (window(r, a, &s, &offset))
        hit = right ? find_last(r, s->data, s->size, what->data, what->size)
                    : mlxn_jn_find(r, s->data, s->size, 0, what->data, what->size);
    if (hit == SIZE_MAX && must) mlxn_jn_type_error(r, "substring not found");
    return jn_int(hit == SIZE_MAX ? -1 : (int64_t)mlxn_jn_count_chars(a[0].s->data, offset + hit));
}
#define FIND_METHOD(name, right, must)                                              \
    static jn_value str_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)args;                                                                 \
        return find(r, a, right, must);                                             \
    }
FIND_METHOD(find, false, false)
FIND_METHOD(rfind, true, false)
FIND_METHOD(index, false, true)
FIND_METHOD(rindex, true, true)

static jn_value str_count(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s, *what = mlxn_jn_need_string(r, a[1], "the text to count");
    size_t offset;
    if (!window(r, a, &s, &offset)) return jn_int(0);
    if (!what->size) return jn_int((int64_t)s->n_chars + 1);
    int64_t count = 0;
    for (size_t at = 0; (at = mlxn_jn_find(r, s->data, s->size, at, what->data, what->size)) != SIZE_MAX;
         at += what->size)
        count++;
    return jn_int(count);
}

static jn_value str_replace(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = a[0].s, *old = mlxn_jn_need_string(r, a[1], "replace() argument 1"),
                    *new = mlxn_jn_need_string(r, a[2], "replace() argument 2");
    int64_t left = given(a[3]) ? mlxn_jn_need_int(r, a[3], "count") : -1;
    jn_out out = {0};
    size_t at = 0;
    for (; left && at <= s->size; left -= left > 0) {
        size_t hit = mlxn_jn_find(r, s->data, s->size, at, old->data, old->size);
        if (hit == SIZE_MAX) break;
        mlxn_jn_put(r, &out, s->data + at, hit - at);
        mlxn_jn_put(r, &out, new->data, new->size);
        at = hit + old->size;
        if (old->size) continue;
        if (at >= s->size) return mlxn_jn_out_string(r, &out);
        size_t n = mlxn_jn_next_char(s->data + at, s->size - at, NULL);
        mlxn_jn_put(r, &out, s->data + at, n);
        at += n;
    }
    if (at < s->size) mlxn_jn_put(r, &out, s->data + at, s->size - at);
    return mlxn_jn_out_string(r, &out);
}

static jn_value str_join(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    if (a[1].type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, a[1]);
    const jn_list *all = mlxn_jn_elements(r, a[1]);
    jn_out out = {0};
    for (size_t i = 0; i < all->n; i++) {
        if (all->v[i].type != JN_STRING)
            mlxn_jn_type_error(r, "sequence item %zu: expected str instance, %s found", i,
                               mlxn_jn_type_name(all->v[i]));
        if (i) mlxn_jn_put(r, &out, a[0].s->data, a[0].s->size);
        mlxn_jn_put(r, &out, all->v[i].s->data, all->v[i].s->size);
    }
    return mlxn_jn_out_string(r, &out);
}

static jn_value remove_affix(jn_run *r, const jn_value *a, bool end) {
    const jn_string *s = a[0].s, *p = mlxn_jn_need_string(r, a[1], "the affix");
    if (p->size > s->size || memcmp(end ? s->data + s->size - p->size : s->data, p->data, p->size)) return a[0];
    return mlxn_jn_string_of(r, s->data + (end ? 0 : p->size), s->size - p->size);
}
static jn_value str_removeprefix(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return remove_affix(r, a, false);
}
static jn_value str_removesuffix(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return remove_affix(r, a, true);
}

static jn_value str_format(jn_run *r, const jn_value *a, const jn_args *args) {
    return mlxn_jn_brace_format(r, a[0].s, args);
}

static jn_value pad(jn_run *r, const jn_value *a, int where) {
    int64_t width = mlxn_jn_need_int(r, a[1], "width"), missing = width - (int64_t)a[0].s->n_chars;
    const jn_string *fill =
        jn_missing(a[2]) ? mlxn_jn_text(r, " ", 1) : mlxn_jn_need_string(r, a[2], "the fill character");
    if (fill->n_chars != 1) mlxn_jn_type_error(r, "The fill character must be exactly one character long");
    if (missing <= 0) return a[0];
    int64_t left = where < 0 ? 0 : where > 0 ? missing : missing / 2 + (missing & width & 1);
    jn_out out = {0};
    for (int64_t i = 0; i < left; i++) mlxn_jn_put(r, &out, fill->data, fill->size);
    mlxn_jn_put(r, &out, a[0].s->data, a[0].s->size);
    for (int64_t i = left; i < missing; i++) mlxn_jn_put(r, &out, fill->data, fill->size);
    return mlxn_jn_out_string(r, &out);
}
#define PAD_METHOD(name, where)                                                     \
    static jn_value str_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)args;                                                                 \
        return pad(r, a, where);                                                    \
    }
PAD_METHOD(ljust, -1)
PAD_METHOD(rjust, 1)
PAD_METHOD(center, 0)

static jn_value str_zfill(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    size_t sign = a[0].s->size && (a[0].s->data[0] == '-' || a[0].s->data[0] == '+');
    int64_t missing = mlxn_jn_need_int(r, a[1], "width") - (int64_t)a[0].s->n_chars;
    jn_out out = {0};
    mlxn_jn_put(r, &out, a[0].s->data, sign);
    for (; missing > 0; missing--) jn_puts(r, &out, "0");
    mlxn_jn_put(r, &out, a[0].s->data + sign, a[0].s->size - sign);
    return mlxn_jn_out_string(r, &out);
}

/* ---- what the characters are ---- */

static bool is_alpha(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
static bool is_decimal(uint32_t c) { return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND; }
static bool is_digit(uint32_t c) { /* and the digits in superscript, subscript and circles */
    return is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
           (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}
static bool is_numeric(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return is_digit(c) || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}
static bool is_alnum(uint32_t c) { return is_alpha(c) || is_numeric(c); }
static bool is_ascii(uint32_t c) { return c < 128; }
bool mlxn_jn_is_word_char(uint32_t c) { return c == '_' || is_alnum(c); }

static jn_value all_are(jn_run *r, const jn_string *s, bool (*is)(uint32_t), bool empty) {
    mlxn_jn_charge(r, s->size);
    for (size_t i = 0, n; i < s->size; i += n) {
        uint32_t c;
        n = mlxn_jn_next_char(s->data + i, s->size - i, &c);
        if (!is(c)) return jn_bool(false);
    }
    return jn_bool(s->size || empty);
}
#define CLASS_METHOD(name, function, empty)                                         \
    static jn_value str_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)args;                                                                 \
        return all_are(r, a[0].s, function, empty);                                 \
    }
CLASS_METHOD(isalpha, is_alpha, false)
CLASS_METHOD(isdigit, is_digit, false)
CLASS_METHOD(isdecimal, is_decimal, false)
CLASS_METHOD(isnumeric, is_numeric, false)
CLASS_METHOD(isalnum, is_alnum, false)
CLASS_METHOD(isspace, mlxn_jn_is_space, false)
CLASS_METHOD(isascii, is_ascii, true)
CLASS_METHOD(isprintable, mlxn_jn_is_printable, true)

static jn_value cased(jn_run *r, const jn_value *a, const char *test) {
    jn_args none = {0};
    return jn_bool(mlxn_jn_apply_test(r, mlxn_jn_text(r, test, strlen(test)), a[0], &none));
}
static jn_value str_isupper(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return cased(r, a, "upper");
}
static jn_value str_islower(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return cased(r, a, "lower");
}

const jn_builtin mlxn_jn_string_methods[] = {{"strip", str_strip, "chars", 0},
                                             {"lstrip", str_lstrip, "chars", 0},
                                             {"rstrip", str_rstrip, "chars", 0},
                                             {"split", str_split, "sep maxsplit", 0},
                                             {"rsplit", str_rsplit, "sep maxsplit", 0},
                                             {"splitlines", str_splitlines, "keepends", 0},
                                             {"partition", str_partition, "sep", 1},
                                             {"rpartition", str_rpartition, "sep", 1},
                                             {"startswith", str_startswith, "prefix start end", 1},
                                             {"endswith", str_endswith, "suffix start end", 1},
                                             {"find", str_find, "sub start end", 1},
                                             {"rfind", str_rfind, "sub start end", 1},
                                             {"index", str_index, "sub start end", 1},
                                             {"rindex", str_rindex, "sub start end", 1},
                                             {"count", str_count, "sub start end", 1},
                                             {"replace", str_replace, "old new count", 2},
                                             {"join", str_join, "iterable", 1},
                                             {"removeprefix", str_removeprefix, "prefix", 1},
                                             {"removesuffix", str_removesuffix, "suffix", 1},
                                             {"format", str_format, NULL, 0},
                                             {"upper", str_upper, "", 0},
                                             {"lower", str_lower, "", 0},
                                             {"casefold", str_lower, "", 0},
                                             {"title", str_title, "", 0},
                                             {"capitalize", str_capitalize, "", 0},
                                             {"swapcase", str_swapcase, "", 0},
                                             {"ljust", str_ljust, "width fillchar", 1},
                                             {"rjust", str_rjust, "width fillchar", 1},
                                             {"center", str_center, "width fillchar", 1},
                                             {"zfill", str_zfill, "width", 1},
                                             {"isalpha", str_isalpha, "", 0},
                                             {"isdigit", str_isdigit, "", 0},
                                             {"isdecimal", str_isdecimal, "", 0},
                                             {"isnumeric", str_isnumeric, "", 0},
                                             {"isalnum", str_isalnum, "", 0},
                                             {"isspace", str_isspace, "", 0},
                                             {"isascii", str_isascii, "", 0},
                                             {"isprintable", str_isprintable, "", 0},
                                             {"isupper", str_isupper, "", 0},
                                             {"islower", str_islower, "", 0},
                                             {0}};

/* ---- list and dict ---- */

static jn_value list_index(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    for (size_t i = 0; i < a[0].list->n; i++)
        if (mlxn_jn_equal(r, a[0].list->v[i], a[1])) return jn_int((int64_t)i);
    mlxn_jn_type_error(r, "the value is not in the list");
}

static jn_value list_count(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    int64_t count = 0;
    for (size_t i = 0; i < a[0].list->n; i++) count += mlxn_jn_equal(r, a[0].list->v[i], a[1]);
    return jn_int(count);
}

static jn_value list_copy(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_value out = mlxn_jn_list_new(r, a[0].list->kind);
    for (size_t i = 0; i < a[0].list->n; i++) mlxn_jn_append(r, out, a[0].list->v[i]);
    return out;
}

const jn_builtin mlxn_jn_list_methods[] = {
    {"index", list_index, "value", 1}, {"count", list_count, "value", 1}, {"copy", list_copy, "", 0}, {0}};
const char *const mlxn_jn_list_changers[] = {"append", "clear",   "extend", "insert", "pop",
                                             "remove", "reverse", "sort",   NULL};

static jn_value view(jn_run *r, const jn_map *map, jn_list_kind kind) {
    jn_value out = mlxn_jn_list_new(r, kind);
    for (size_t i = 0; i < map->n; i++)
        mlxn_jn_append(r, out,
                       kind == JN_KEYS     ? map->v[i].key
                       : kind == JN_VALUES ? map->v[i].value
                                           : mlxn_jn_pair(r, map->v[i].key, map->v[i].value));
    return out;
}
#define VIEW_METHOD(name, kind)                                                      \
    static jn_value dict_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)args;                                                                  \
        return view(r, a[0].map, kind);                                              \
    }
VIEW_METHOD(keys, JN_KEYS)
VIEW_METHOD(values, JN_VALUES)
VIEW_METHOD(items, JN_ITEMS)

static jn_value dict_get(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_value *there = mlxn_jn_map_get(r, a[0].map, a[1]);
    return there ? *there : jn_missing(a[2]) ? jn_none() : a[2];
}

static jn_value dict_copy(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_value out = mlxn_jn_map_new(r);
    for (size_t i = 0; i < a[0].map->n; i++) mlxn_jn_map_set(r, out.map, a[0].map->v[i].key, a[0].map->v[i].value);
    return out;
}

const jn_builtin mlxn_jn_map_methods[] = {{"keys", dict_keys, "", 0},   {"values", dict_values, "", 0},
                                          {"items", dict_items, "", 0}, {"get", dict_get, "key default", 1},
                                          {"copy", dict_copy, "", 0},   {0}};
const char *const mlxn_jn_map_changers[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
