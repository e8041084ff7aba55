/* filters_text.c: the filters of Jinja2 that make text. */
#include "lm/jinja/internal.h"

static int64_t int_or(jn_run *r, jn_value v, int64_t otherwise, const char *what) {
    return jn_missing(v) || v.type == JN_NONE ? otherwise : mlxn_jn_need_int(r, v, what);
}

static bool true_or(jn_value v, bool otherwise) { return jn_missing(v) ? otherwise : mlxn_jn_truth(v); }

#define CASE_FILTER(name, to)                                                          \
    static jn_value filter_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)args;                                                                    \
        return mlxn_jn_change_case(r, mlxn_jn_str(r, a[0]), to);                       \
    }
CASE_FILTER(upper, JN_UPPER)
CASE_FILTER(lower, JN_LOWER)
CASE_FILTER(capitalize, JN_CAPITALIZE)

/* Words begin after white space, '-' and opening brackets. */
static jn_value filter_title(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    jn_out out = {0};
    for (size_t i = 0, word = 0, n; i <= s->size; i += n) {
        uint32_t code = ' ';
        n = i < s->size ? mlxn_jn_next_char(s->data + i, s->size - i, &code) : 1;
        if (i < s->size && !mlxn_jn_is_space(code) && !(code < 128 && strchr("-([{<", (int)code))) continue;
        jn_value changed = mlxn_jn_change_case(r, mlxn_jn_text(r, s->data + word, i - word), JN_CAPITALIZE);
        mlxn_jn_put(r, &out, changed.s->data, changed.s->size);
        if (i < s->size) mlxn_jn_put(r, &out, s->data + i, n);
        word = i + n;
    }
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_trim(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    const jn_string *set = jn_missing(a[1]) || a[1].type == JN_NONE ? NULL : mlxn_jn_need_string(r, a[1], "chars");
    size_t start = 0, end = s->size;
    mlxn_jn_strip(s->data, &start, &end, set, JN_STRIP_LEFT | JN_STRIP_RIGHT);
    mlxn_jn_charge(r, s->size * (set ? 1 + set->size : 1));
    return mlxn_jn_string_of(r, s->data + start, end - start);
}

static jn_value filter_center(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    int64_t width = int_or(r, a[1], 80, "width"), missing = width - (int64_t)s->n_chars;
    if (missing <= 0) return mlxn_jn_string_of(r, s->data, s->size);
    int64_t left = missing / 2 + (missing & width & 1); /* as Python's str.center */
    jn_out out = {0};
    for (int64_t i = 0; i < left; i++) jn_puts(r, &out, " ");
    mlxn_jn_put(r, &out, s->data, s->size);
    for (int64_t i = left; i < missing; i++) jn_puts(r, &out, " ");
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_escape(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return mlxn_jn_escape(r, a[0]);
}

static jn_value filter_forceescape(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    return mlxn_jn_escape(r, mlxn_jn_string_of(r, s->data, s->size));
}

static jn_value filter_safe(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_string *s = mlxn_jn_alloc(r, sizeof *s);
    *s = *mlxn_jn_str(r, a[0]);
    s->safe = true;
    return (jn_value){.type = JN_STRING, .s = s};
}

static jn_value filter_string(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return (jn_value){.type = JN_STRING, .s = mlxn_jn_str(r, a[0])};
}

static jn_value filter_format(jn_run *r, const jn_value *a, const jn_args *args) {
    if (args->n && args->named)
        mlxn_jn_type_error(r, "can't handle positional and keyword arguments at the same time");
    return mlxn_jn_percent(r, mlxn_jn_str(r, a[0]), args->v, args->n, args->named);
}

static jn_value filter_replace(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]), *old = mlxn_jn_str(r, a[1]), *new = mlxn_jn_str(r, a[2]);
    jn_value v[3] = {
        {.type = JN_STRING, .s = old}, {.type = JN_STRING, .s = new}, jn_int(int_or(r, a[3], -1, "count"))};
    jn_args given = {v, 3, NULL};
    return mlxn_jn_call_builtin(r, "", mlxn_jn_find_builtin(mlxn_jn_string_methods, mlxn_jn_text(r, "replace", 7)),
                                (jn_value){.type = JN_STRING, .s = s}, &given);
}

/* `width` (a number of blanks, or a text) before each line that is not empty. */
static jn_value filter_indent(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    bool first = true_or(a[2], false), blank = true_or(a[3], false);
    jn_out pad = {0}, out = {0};
    if (a[1].type == JN_STRING)
        mlxn_jn_put(r, &pad, a[1].s->data, a[1].s->size);
    else
        for (int64_t i = int_or(r, a[1], 4, "width"); i > 0; i--) jn_puts(r, &pad, " ");
    if (first) mlxn_jn_put(r, &out, pad.data, pad.size);
    for (size_t i = 0, line = 0; i <= s->size; i++) {
        if (i < s->size && s->data[i] != '\n') continue;
        if (line && (blank || i > line)) mlxn_jn_put(r, &out, pad.data, pad.size);
        mlxn_jn_put(r, &out, s->data + line, i - line);
        if (i < s->size) jn_puts(r, &out, "\n");
        line = i + 1;
    }
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_truncate(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    const jn_string *end = jn_missing(a[3]) ? mlxn_jn_text(r, "...", 3) : mlxn_jn_need_string(r, a[3], "end");
    int64_t length = int_or(r, a[1], 255, "length"), leeway = int_or(r, a[4], 5, "leeway");
    if (length < (int64_t)end->n_chars)
        mlxn_jn_type_error(r, "expected length >= %zu, got %lld", end->n_chars, (long long)length);
    if (leeway < 0) mlxn_jn_type_error(r, "expected leeway >= 0, got %lld", (long long)leeway);
    if ((int64_t)s->n_chars <= length || (int64_t)s->n_chars - length <= leeway)
        return mlxn_jn_string_of(r, s->data, s->size);
    size_t cut = mlxn_jn_char_offset(s, (size_t)length - end->n_chars);
    if (!true_or(a[2], false)) {
        size_t blank = cut;
        while (blank && s->data[blank - 1] != ' ') blank--;
        if (blank) cut = blank - 1;
    }
    jn_out out = {0};
    mlxn_jn_put(r, &out, s->data, cut);
    mlxn_jn_put(r, &out, end->data, end->size);
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_wordcount(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    int64_t count = 0;
    bool inside = false;
    for (size_t i = 0, n; i < s->size; i += n) {
        uint32_t code;
        n = mlxn_jn_next_char(s->data + i, s->size - i, &code);
        bool word = mlxn_jn_is_word_char(code);
        count += word && !inside;
        inside = word;
    }
    return jn_int(count);
}

/* Lines of at most `width` characters, broken at blanks; longer words are cut if `break_long`. */
static void wrap_line(jn_run *r, jn_out *out, const jn_string *s, size_t width, bool break_long,
                      const jn_string *with) {
    size_t used = 0, at = 0; /* characters on the line that is made; blanks wait until a word follows */
    bool begun = false;
    while (at < s->size) {
        size_t blanks = at;
        while (at < s->size && s->data[at] == ' ') at++;
        size_t n_blanks = at - blanks, word = at;
        while (at < s->size && s->data[at] != ' ') at++;
        if (word == at) break;
        size_t n = mlxn_jn_count_chars(s->data + word, at - word);
        if (begun && used + n_blanks + n > width) {
            mlxn_jn_put(r, out, with->data, with->size);
            used = 0;
        } else {
            for (size_t i = 0; i < n_blanks; i++) jn_puts(r, out, " ");
            used += n_blanks;
        }
        begun = true;
        const jn_string *rest = mlxn_jn_text(r, s->data + word, at - word);
        while (break_long && rest->n_chars > width) {
            size_t cut = mlxn_jn_char_offset(rest, width);
            mlxn_jn_put(r, out, rest->data, cut);
            mlxn_jn_put(r, out, with->data, with->size);
            rest = mlxn_jn_text(r, rest->data + cut, rest->size - cut);
        }
        mlxn_jn_put(r, out, rest->data, rest->size);
        used += rest->n_chars;
    }
}

static jn_value filter_wordwrap(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    int64_t width = int_or(r, a[1], 79, "width");
    if (width < 1) mlxn_jn_type_error(r, "invalid width %lld (must be > 0)", (long long)width);
    const jn_string *with = jn_missing(a[3]) || a[3].type == JN_NONE ? mlxn_jn_text(r, "\n", 1)
                                                                     : mlxn_jn_need_string(r, a[3], "wrapstring");
    jn_out out = {0};
    for (size_t i = 0, line = 0; i <= s->size; i++) {
        if (i < s->size && s->data[i] != '\n') continue;
        wrap_line(r, &out, mlxn_jn_text(r, s->data + line, i - line), (size_t)width, true_or(a[2], true), with);
        if (i + 1 < s->size) mlxn_jn_put(r, &out, with->data, with->size);
        line = i + 1;
        if (line == s->size) break;
    }
    return mlxn_jn_out_string(r, &out);
}

/* Comments and tags go, and white space becomes single blanks. */
static jn_value filter_striptags(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *s = mlxn_jn_str(r, a[0]);
    jn_out out = {0};
    bool blank = false;
    for (size_t i = 0, n; i < s->size; i += n) {
        uint32_t code;
        n = mlxn_jn_next_char(s->data + i, s->size - i, &code);
        if (code == '<') {
            bool comment = s->size - i >= 4 && !memcmp(s->data + i, "<!--", 4);
            size_t end = mlxn_jn_find(r, s->data, s->size, i, comment ? "-->" : ">", comment ? 3 : 1);
            if (end != SIZE_MAX) {
                n = end - i + (comment ? 3 : 1);
                continue;
            }
        }
        if (mlxn_jn_is_space(code)) {
            blank = out.size > 0;
            continue;
        }
        if (blank) jn_puts(r, &out, " ");
        blank = false;
        mlxn_jn_put(r, &out, s->data + i, n);
    }
    static const char *const names[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;", "&#34;"};
    jn_out plain = {0};
    for (size_t i = 0; i < out.size; i++) {
        size_t k = 0;
        while (k < 6 && (out.size - i < strlen(names[k]) || memcmp(out.data + i, names[k], strlen(names[k])))) k++;
        mlxn_jn_put(r, &plain, k < 6 ? &"<>&\"'\""[k] : out.data + i, 1);
        if (k < 6) i += strlen(names[k]) - 1;
    }
    return mlxn_jn_out_string(r, &plain);
}

static void put_url(jn_run *r, jn_out *out, jn_value v, bool query) {
    const jn_string *s = mlxn_jn_str(r, v);
    for (size_t i = 0; i < s->size; i++) {
        unsigned char c = (unsigned char)s->data[i];
        bool kept = c < 128 && (mlxn_jn_is_word_char(c) || strchr("-.~", c) || (!query && c == '/')) && c;
        if (kept)
            mlxn_jn_put(r, out, s->data + i, 1);
        else if (query && c == ' ')
            jn_puts(r, out, "+");
        else
            jn_puts(r, out, mlxn_jn_print(r, "%%%02X", c));
    }
}

static jn_value filter_urlencode(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_out out = {0};
    if (a[0].type == JN_STRING || !mlxn_jn_iterable(a[0])) {
        put_url(r, &out, a[0], false);
        return mlxn_jn_out_string(r, &out);
    }
    jn_list *all = mlxn_jn_elements(r, a[0]);
    for (size_t i = 0; i < all->n; i++) {
        jn_value key = all->v[i], value;
        if (a[0].type == JN_MAP) {
            value = a[0].map->v[i].value;
        } else {
            const jn_list *pair = mlxn_jn_elements(r, key);
            if (pair->n != 2) mlxn_jn_type_error(r, "not enough values to unpack (expected 2, got %zu)", pair->n);
            key = pair->v[0], value = pair->v[1];
        }
        if (i) jn_puts(r, &out, "&");
        put_url(r, &out, key, true);
        jn_puts(r, &out, "=");
        put_url(r, &out, value, true);
    }
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_xmlattr(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    if (a[0].type != JN_MAP) mlxn_jn_type_error(r, "xmlattr wants a dict, not %s", mlxn_jn_type_name(a[0]));
    jn_out out = {0};
    for (size_t i = 0; i < a[0].map->n; i++) {
        const jn_entry *e = &a[0].map->v[i];
        if (e->value.type == JN_NONE || e->value.type == JN_UNDEFINED) continue;
        const jn_string *key = mlxn_jn_need_string(r, e->key, "an attribute's name");
        for (size_t k = 0; k < key->size; k++)
            if (key->data[k] && strchr(" \t\n\r\f/>=", key->data[k]))
                mlxn_jn_type_error(r, "Invalid character in attribute name: '%.*s'", (int)mlxn_min_u64(key->size, 60),
                                   key->data);
        if (out.size || true_or(a[1], true)) jn_puts(r, &out, " ");
        mlxn_jn_put_str(r, &out, mlxn_jn_escape(r, e->key));
        jn_puts(r, &out, "=\"");
        mlxn_jn_put_str(r, &out, mlxn_jn_escape(r, e->value));
        jn_puts(r, &out, "\"");
    }
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_join(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_out out = {0};
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    for (size_t i = 0; i < all->n; i++) {
        mlxn_jn_charge(r, 0);
        if (i && !jn_missing(a[1])) mlxn_jn_put_str(r, &out, a[1]);
        mlxn_jn_put_str(r, &out,
                        jn_missing(a[2]) || a[2].type == JN_NONE ? all->v[i] : mlxn_jn_attribute(r, all->v[i], a[2]));
    }
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_pprint(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_out out = {0};
    mlxn_jn_put_repr(r, &out, a[0]);
    return mlxn_jn_out_string(r, &out);
}

static jn_value filter_tojson(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_json_style style = {.ascii = true_or(a[1], false),
                           .sort = true_or(a[4], false),
                           .indented = !jn_missing(a[2]) && a[2].type != JN_NONE,
                           .key = mlxn_jn_text(r, ": ", 2)};
    style.item = style.indented ? mlxn_jn_text(r, ",", 1) : mlxn_jn_text(r, ", ", 2);
    if (style.indented && a[2].type == JN_STRING) {
        style.indent = a[2].s;
    } else if (style.indented) {
        jn_out pad = {0};
        for (int64_t i = mlxn_jn_need_int(r, a[2], "indent"); i > 0; i--) jn_puts(r, &pad, " ");
        style.indent = mlxn_jn_out_string(r, &pad).s;
    }
    if (!jn_missing(a[3]) && a[3].type != JN_NONE) {
        const jn_list *pair = mlxn_jn_elements(r, a[3]);
        if (pair->n != 2) mlxn_jn_type_error(r, "separators must be two texts, got %zu", pair->n);
        style.item = mlxn_jn_need_string(r, pair->v[0], "a separator");
        style.key = mlxn_jn_need_string(r, pair->v[1], "a separator");
    }
    jn_out out = {0};
    mlxn_jn_put_json(r, &out, a[0], &style);
    return mlxn_jn_out_string(r, &out);
}

const jn_builtin mlxn_jn_filters_text[] = {
    {"upper", filter_upper, "", 0},
    {"lower", filter_lower, "", 0},
    {"capitalize", filter_capitalize, "", 0},
    {"title", filter_title, "", 0},
    {"trim", filter_trim, "chars", 0},
    {"center", filter_center, "width", 0},
    {"escape", filter_escape, "", 0},
    {"e", filter_escape, "", 0},
    {"forceescape", filter_forceescape, "", 0},
    {"safe", filter_safe, "", 0},
    {"string", filter_string, "", 0},
    {"format", filter_format, NULL, 0},
    {"replace", filter_replace, "old new count", 2},
    {"indent", filter_indent, "width first blank", 0},
    {"truncate", filter_truncate, "length killwords end leeway", 0},
    {"wordcount", filter_wordcount, "", 0},
    {"wordwrap", filter_wordwrap, "width break_long_words wrapstring break_on_hyphens", 0},
    {"striptags", filter_striptags, "", 0},
    {"urlencode", filter_urlencode, "", 0},
    {"xmlattr", filter_xmlattr, "autospace", 0},
    {"join", filter_join, "d attribute", 0},
    {"pprint", filter_pprint, "", 0},
    {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys", 0},
    {0}};
