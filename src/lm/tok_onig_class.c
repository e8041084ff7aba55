/* tok_onig_class.c: sets of characters in regular expressions: escapes, properties, POSIX brackets, classes in
 * classes and their intersections, from Oniguruma's tables and syntax to PCRE2's. */
#include <stdarg.h>
#include <stdio.h>

#include "lm/tok_onig.h"
#include "lm/utf8.h"

/* White space is spelled out, because \s of PCRE2 also means U+180E, which Unicode's White_Space does not. */
#define WHITE "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define HEX "0-9a-fA-F"
#define NO_HEX "\\x{0}-\\x{2f}\\x{3a}-\\x{40}\\x{47}-\\x{60}\\x{67}-\\x{10ffff}"
/* The digits of Unicode 15, which a PCRE2 before 10.43 does not know: ids must not depend on its version. */
#define NEW_ND "\\x{11f50}-\\x{11f59}\\x{1e4f0}-\\x{1e4f9}"
#define NEW_N NEW_ND "\\x{1d2c0}-\\x{1d2d3}"

/* Sets as the inside of a class, and their opposites; NULL: there is none. Names in lower case without blanks, "_"
 * and
 * "-". */
typedef struct set_row {
    const char *name, *items, *opposite;
} set_row;

static const set_row sets[] = {
    {"alpha", "\\p{Alphabetic}", "\\P{Alphabetic}"},
    {"alphabetic", "\\p{Alphabetic}", "\\P{Alphabetic}"},
    {"alnum", "\\p{Alphabetic}\\p{Nd}", NULL},
    {"upper", "\\p{Uppercase}", "\\P{Uppercase}"},
    {"uppercase", "\\p{Uppercase}", "\\P{Uppercase}"},
    {"lower", "\\p{Lowercase}", "\\P{Lowercase}"},
    {"lowercase", "\\p{Lowercase}", "\\P{Lowercase}"},
    {"space", WHITE, "\\S\\x{180e}"},
    {"whitespace", WHITE, "\\S\\x{180e}"},
    {"blank", "\\t\\p{Zs}", NULL},
    {"digit", "\\d" NEW_ND, "\\D"},
    {"xdigit", HEX, NO_HEX},
    {"word", WORD, NULL},
    {"cntrl", "\\p{Cc}", "\\P{Cc}"},
    {"punct", "\\p{P}", "\\P{P}"},
    {"graph", NULL, "\\p{Cc}\\p{Cn}\\p{Cs}" WHITE},
    {"print", NULL, "\\p{Cc}\\p{Cn}\\p{Cs}\\x{2028}\\x{2029}"},
    {"ascii", "\\x{0}-\\x{7f}", "\\x{80}-\\x{10ffff}"},
    {"any", "\\x{0}-\\x{10ffff}", NULL},
    {"assigned", "\\P{Cn}", "\\p{Cn}"},
    {"n", "\\p{N}" NEW_N, "\\P{N}"},
    {"number", "\\p{N}" NEW_N, "\\P{N}"},
    {"nd", "\\p{Nd}" NEW_ND, "\\P{Nd}"},
    {"decimalnumber", "\\p{Nd}" NEW_ND, "\\P{Nd}"},
};

/* Long names of general categories, and properties that are no scripts: name, how PCRE2 says it. */
static const struct {
    const char *name, *property;
} properties[] = {
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"casedletter", "L&"},
    {"lc", "L&"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"surrogate", "Cs"},
    {"privateuse", "Co"},
    {"unassigned", "Cn"},
    {"emoji", "Emoji"},
    {"emojipresentation", "Emoji_Presentation"},
    {"emojimodifier", "Emoji_Modifier"},
    {"emojimodifierbase", "Emoji_Modifier_Base"},
    {"emojicomponent", "Emoji_Component"},
    {"extendedpictographic", "Extended_Pictographic"},
    {"ideographic", "Ideographic"},
    {"math", "Math"},
    {"hexdigit", "Hex_Digit"},
    {"dash", "Dash"},
    {"diacritic", "Diacritic"},
    {"extender", "Extender"},
    {"cased", "Cased"},
    {"caseignorable", "Case_Ignorable"},
    {"idstart", "ID_Start"},
    {"idcontinue", "ID_Continue"},
    {"xidstart", "XID_Start"},
    {"xidcontinue", "XID_Continue"},
    {"quotationmark", "Quotation_Mark"},
    {"variationselector", "Variation_Selector"},
    {"joincontrol", "Join_Control"},
    {"defaultignorablecodepoint", "Default_Ignorable_Code_Point"},
};

mlxn_status mlxn_onig_refuse(const mlxn_onig *t, const char *format, ...) {
    char text[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return mlxn_fail(t->error, MLXN_ERR_UNSUPPORTED, "%s: the regular expression \"%.*s\": %s (at byte %zu)",
                     t->where, (int)mlxn_min_u64(t->n, 60), t->s, text, t->at);
}

mlxn_status mlxn_onig_no_memory(const mlxn_onig *t) {
    return mlxn_fail(t->error, MLXN_ERR_MEMORY, "%s: no memory for the regular expression", t->where);
}

mlxn_status mlxn_onig_put(mlxn_onig *t, mlxn_tok_bytes *out, const char *text) {
    return mlxn_tok_append(out, text, strlen(text)) ? MLXN_OK : mlxn_onig_no_memory(t);
}

mlxn_status mlxn_onig_put_code(mlxn_onig *t, mlxn_tok_bytes *out, uint32_t code) {
    char text[16];
    bool plain = (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
    (void)snprintf(text, sizeof text, plain ? "%c" : "\\x{%x}", code);
    return mlxn_onig_put(t, out, text);
}

bool mlxn_onig_next_is(const mlxn_onig *t, const char *text) {
    size_t n = strlen(text);
    return t->n - t->at >= n && memcmp(t->s + t->at, text, n) == 0;
}

static int digit_of(char c, int base) {
    int d = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return d < base ? d : -1;
}

uint32_t mlxn_onig_digits(mlxn_onig *t, int base, int most, int *count) {
    uint32_t value = 0;
    int d;
    for (*count = 0; *count < most && t->at < t->n && (d = digit_of(t->s[t->at], base)) >= 0; ++*count, t->at++)
        value = value * (uint32_t)base + (uint32_t)d;
    return value;
}

/* \p{...} and [:...:]: items of a class are written to `out`. *negated: in, whether the opposite is meant (a ^ in the
 * name turns that round); out, whether the items are the opposite of what is meant. */
static mlxn_status named_set(mlxn_onig *t, const char *name, size_t n, bool *negated, mlxn_tok_bytes *out) {
    char plain[48];
    size_t size = 0;
    if (n && name[0] == '^') {
        *negated = !*negated;
        name++, n--;
    }
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (c == ' ' || c == '_' || c == '-') continue;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter || size + 1 >= sizeof plain) return mlxn_onig_refuse(t, "no such property");
        plain[size++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    plain[size] = 0;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (strcmp(plain, sets[i].name) != 0) continue;
        bool as_is = *negated ? sets[i].opposite != NULL : sets[i].items != NULL;
        const char *items = (*negated == as_is) ? sets[i].opposite : sets[i].items;
        *negated = !as_is;
        return mlxn_onig_put(t, out, items);
    }
    const char *property = NULL;
    for (size_t i = 0; !property && i < sizeof properties / sizeof *properties; i++)
        if (strcmp(plain, properties[i].name) == 0) property = properties[i].property;
    char text[80];
    if (!property && size <= 2 && size > 0) { /* a general category */
        plain[0] = (char)(plain[0] & ~0x20);
        property = plain;
    }
    (void)snprintf(text, sizeof text, property ? "\\%c{%s}" : "\\%c{sc:%s}", *negated ? 'P' : 'p',
                   property ? property : plain);
    *negated = false;
    return mlxn_onig_put(t, out, text);
}

/* The single character that an escape stands for, after the backslash and its letter. */
static mlxn_status character_escape(mlxn_onig *t, char c, bool in_class, uint32_t *code) {
    static const char letters[] = "nrtfavebe", values[] = "\n\r\t\f\a\v\x1b\b\x1b";
    int count;
    const char *found = c ? strchr(letters, c) : NULL;
    if (found && (c != 'b' || in_class)) {
        *code = (uint8_t)values[found - letters];
    } else if (c == '0') {
        *code = mlxn_onig_digits(t, 8, 2, &count);
    } else if (c == 'u') {
        *code = mlxn_onig_digits(t, 16, 4, &count);
        if (count != 4) return mlxn_onig_refuse(t, "\\u needs four digits");
    } else if (c == 'x' && mlxn_onig_next_is(t, "{")) {
        t->at++;
        *code = mlxn_onig_digits(t, 16, 8, &count);
        if (!count || !mlxn_onig_next_is(t, "}")) return mlxn_onig_refuse(t, "\\x{...} is not closed");
        t->at++;
    } else if (c == 'x') {
        *code = mlxn_onig_digits(t, 16, 2, &count);
        if (*code > 0x7f) return mlxn_onig_refuse(t, "\\x%02x is a byte and no character", *code);
    } else {
        return mlxn_onig_refuse(t, "the escape \\%c", c);
    }
    if (*code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
        return mlxn_onig_refuse(t, "U+%04X is no character", *code);
    return MLXN_OK;
}

mlxn_status mlxn_onig_class_escape(mlxn_onig *t, bool in_class, mlxn_tok_bytes *out, mlxn_onig_item *kind,
                                   uint32_t *code) {
    static const char names[] = "sSdDwWhH";
    static const char *const words[] = {"space", "digit", "word", "xdigit"};
    uint32_t length = mlxn_utf8_read(t->s + t->at, t->n - t->at, code, NULL);
    char c = t->s[t->at];
    t->at += length;
    *kind = MLXN_ONIG_SET;
    const char *found = c ? strchr(names, c) : NULL;
    if (length == 1 && found) {
        const char *word = words[(found - names) / 2];
        bool negated = (found - names) % 2;
        mlxn_status status = named_set(t, word, strlen(word), &negated, out);
        if (negated) *kind = MLXN_ONIG_OPPOSITE;
        return status;
    }
    if (c == 'p' || c == 'P') {
        const char *close = t->at < t->n ? memchr(t->s + t->at, '}', t->n - t->at) : NULL;
        if (!close || t->s[t->at] != '{') return mlxn_onig_refuse(t, "\\%c needs a name in braces", c);
        const char *name = t->s + t->at + 1;
        t->at = (size_t)(close - t->s) + 1;
        bool negated = c == 'P';
        mlxn_status status = named_set(t, name, (size_t)(close - name), &negated, out);
        if (negated) *kind = MLXN_ONIG_OPPOSITE;
        return status;
    }
    *kind = MLXN_ONIG_CHARACTER;
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '0';
    if (length > 1 || !letter) return MLXN_OK;
    if (strchr("cCM", c)) return mlxn_onig_refuse(t, "control characters by \\%c", c);
    return strchr("nrtfaveb0ux", c) ? character_escape(t, c, in_class, code) : MLXN_OK;
}

/* The items from `before` on become a class of their own, all but them, beside the others. */
static mlxn_status turn_round(mlxn_onig *t, mlxn_tok_bytes *set, size_t before, mlxn_tok_bytes *inner) {
    bool ok = mlxn_tok_append(inner, "|[^", 3) && mlxn_tok_append(inner, set->data + before, set->size - before) &&
              mlxn_tok_append(inner, "]", 1);
    set->size = before;
    return ok ? MLXN_OK : mlxn_onig_no_memory(t);
}

/* [:name:] with t->at behind "[:"; false in *is: the bracket begins a class. */
static mlxn_status posix(mlxn_onig *t, mlxn_tok_bytes *set, mlxn_tok_bytes *inner, bool *is) {
    size_t end = t->at + 2;
    while (end < t->n && end - t->at < 24 && (t->s[end] == '^' || (t->s[end] >= 'a' && t->s[end] <= 'z'))) end++;
    *is = t->n - end >= 2 && t->s[end] == ':' && t->s[end + 1] == ']';
    if (!*is) return MLXN_OK;
    const char *name = t->s + t->at + 2;
    size_t n = end - t->at - 2;
    t->at = end + 2;
    size_t before = set->size;
    bool negated = false;
    if (n == 5 && memcmp(name, "punct", 5) == 0)
        return mlxn_onig_put(t, set, "\\p{P}\\p{S}"); /* more than \p{Punct} */
    mlxn_status status = named_set(t, name, n, &negated, set);
    return status == MLXN_OK && negated ? turn_round(t, set, before, inner) : status;
}

static mlxn_status one_character(mlxn_onig *t, mlxn_tok_bytes *set, mlxn_onig_item *kind, uint32_t *code) {
    if (t->s[t->at] == '\\') {
        if (++t->at >= t->n) return mlxn_onig_refuse(t, "ends with a backslash");
        return mlxn_onig_class_escape(t, true, set, kind, code);
    }
    *kind = MLXN_ONIG_CHARACTER;
    t->at += mlxn_utf8_read(t->s + t->at, t->n - t->at, code, NULL);
    return MLXN_OK;
}

/* An item of a class, with the range that it may begin. */
static mlxn_status class_item(mlxn_onig *t, mlxn_tok_bytes *set, mlxn_tok_bytes *inner) {
    mlxn_onig_item kind, last_kind;
    uint32_t code, last;
    size_t begin = set->size;
    mlxn_status status = one_character(t, set, &kind, &code);
    if (status == MLXN_OK && kind == MLXN_ONIG_OPPOSITE) return turn_round(t, set, begin, inner);
    if (status != MLXN_OK || kind == MLXN_ONIG_SET) return status;
    bool range = t->n - t->at >= 2 && t->s[t->at] == '-' && t->s[t->at + 1] != ']' && t->s[t->at + 1] != '[';
    if (!range || mlxn_onig_next_is(t, "-&&")) return mlxn_onig_put_code(t, set, code);
    size_t before = t->at++, size = set->size;
    status = one_character(t, set, &last_kind, &last);
    if (status != MLXN_OK) return status;
    if (last_kind != MLXN_ONIG_CHARACTER) { /* then the - is itself */
        set->size = size;
        t->at = before;
        return mlxn_onig_put_code(t, set, code);
    }
    if (last < code) return mlxn_onig_refuse(t, "an empty range in a class");
    if ((status = mlxn_onig_put_code(t, set, code)) || (status = mlxn_onig_put(t, set, "-"))) return status;
    return mlxn_onig_put_code(t, set, last);
}

/* Items up to "&&" or the closing bracket. `inner`: classes in it, each with "|" before. */
static mlxn_status class_items(mlxn_onig *t, mlxn_tok_bytes *set, mlxn_tok_bytes *inner, bool *first) {
    mlxn_status status = MLXN_OK;
    for (; status == MLXN_OK; *first = false) {
        if (t->at >= t->n) return mlxn_onig_refuse(t, "a class is not closed");
        if (mlxn_onig_next_is(t, "&&") || (t->s[t->at] == ']' && !*first)) return MLXN_OK;
        bool is = false;
        if (mlxn_onig_next_is(t, "[:")) status = posix(t, set, inner, &is);
        if (status != MLXN_OK || is) continue;
        if (t->s[t->at] == '[') {
            status = mlxn_onig_put(t, inner, "|");
            if (status == MLXN_OK) status = mlxn_onig_class(t, inner);
        } else {
            status = class_item(t, set, inner);
        }
    }
    return status;
}

/* One operand of && as an expression; a plain class if nothing is nested. */
static mlxn_status class_operand(mlxn_onig *t, const mlxn_tok_bytes *set, const mlxn_tok_bytes *inner, bool negated,
                                 mlxn_tok_bytes *out) {
    bool ok = mlxn_tok_append(out, "(?:", inner->size ? 3 : 0);
    if (set->size)
        ok = ok && mlxn_tok_append(out, negated ? "[^" : "[", negated ? 2 : 1) &&
             mlxn_tok_append(out, set->data, set->size) && mlxn_tok_append(out, "]", 1);
    else
        ok = ok && mlxn_tok_append(out, negated ? "(?s:.)" : "(?!)", negated ? 6 : 4);
    if (inner->size) ok = ok && mlxn_tok_append(out, inner->data, inner->size) && mlxn_tok_append(out, ")", 1);
    return ok ? MLXN_OK : mlxn_onig_no_memory(t);
}

/* [...], with t->at at the bracket. Recursion is bounded by MLXN_ONIG_MAX_DEPTH. */
mlxn_status mlxn_onig_class(mlxn_onig *t, mlxn_tok_bytes *out) {
    if (t->depth >= MLXN_ONIG_MAX_DEPTH) return mlxn_onig_refuse(t, "nested deeper than %d", MLXN_ONIG_MAX_DEPTH);
    t->depth++;
    t->at++;
    bool negated = mlxn_onig_next_is(t, "^"), first = true, simple = true;
    t->at += negated;
    mlxn_tok_bytes set = {0}, inner = {0}, all = {0};
    mlxn_status status = MLXN_OK;
    for (;;) {
        set.size = inner.size = 0;
        status = class_items(t, &set, &inner, &first);
        if (status != MLXN_OK) break;
        bool last = t->s[t->at] == ']';
        simple = simple && last && !inner.size;
        if (!last) status = mlxn_onig_put(t, &all, "(?=");
        if (status == MLXN_OK) status = class_operand(t, &set, &inner, negated && simple, &all);
        if (status == MLXN_OK && !last) status = mlxn_onig_put(t, &all, ")");
        t->at += last ? 1 : 2;
        if (status != MLXN_OK || last) break;
    }
    if (status == MLXN_OK && !simple) status = mlxn_onig_put(t, out, negated ? "(?:(?!" : "(?:");
    if (status == MLXN_OK && !mlxn_tok_append(out, all.data, all.size)) status = mlxn_onig_no_memory(t);
    if (status == MLXN_OK && !simple) status = mlxn_onig_put(t, out, negated ? ")(?s:.))" : ")");
    mlxn_free(set.data);
    mlxn_free(inner.data);
    mlxn_free(all.data);
    t->depth--;
    return status;
}
