/* tok_onig.c: regular expressions from Oniguruma's Ruby syntax to PCRE2's.
 *
 * What differs and is translated: \s, \w, \h and their opposites, \b, \v, POSIX brackets and properties (other sets
 * of characters there); (?m) is "dot matches line ends"; an option in the middle of a group covers the alternatives
 * that follow; {n,m}+ is no possessive repeat; {n}? is optional; {,n}; repeats of repeats; classes inside classes and
 * their intersections; ^ and $ always stand at lines (an option of the compiler). What has no counterpart is refused.
 */
#include <stdarg.h>
#include <stdio.h>

#include "lm/tok_internal.h"
#include "lm/utf8.h"

enum { MAX_DEPTH = 100 };

/* White space is spelled out, because \s of PCRE2 also means U+180E, which Unicode's White_Space does not. */
#define WHITE "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
/* \w of Oniguruma in a class: as UTS 18 has it without the join controls. Alone and in \b, superscripts and fractions
 * below U+0100 are words, too. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD_ALONE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
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

typedef struct group {
    size_t start;    /* in the output */
    uint32_t opened; /* options in its middle, each a group of the output that ends with it */
    bool extended;
} group;

typedef struct translator {
    const char *s;
    size_t n, at;
    mlxn_tok_bytes out;
    size_t atom;   /* where the last atom begins in the output */
    bool has_atom; /* something that can be repeated was written last */
    bool repeated; /* and it is repeated already */
    group groups[MAX_DEPTH];
    uint32_t depth; /* of groups and classes */
    const char *where;
    mlxn_error *error;
} translator;

static mlxn_status refuse(const translator *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static mlxn_status refuse(const translator *t, const char *format, ...) {
    char text[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return mlxn_fail(t->error, MLXN_ERR_UNSUPPORTED, "%s: the regular expression \"%.*s\": %s (at byte %zu)",
                     t->where, (int)mlxn_min_u64(t->n, 60), t->s, text, t->at);
}

static mlxn_status no_memory(const translator *t) {
    return mlxn_fail(t->error, MLXN_ERR_MEMORY, "%s: no memory for the regular expression", t->where);
}

static mlxn_status put(translator *t, mlxn_tok_bytes *out, const char *text) {
    return mlxn_tok_append(out, text, strlen(text)) ? MLXN_OK : no_memory(t);
}

static mlxn_status put_code(translator *t, mlxn_tok_bytes *out, uint32_t code) {
    char text[16];
    bool plain = (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
    (void)snprintf(text, sizeof text, plain ? "%c" : "\\x{%x}", code);
    return put(t, out, text);
}

static bool next_is(const translator *t, const char *text) {
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

/* At most `most` digits. */
static uint32_t digits(translator *t, int base, int most, int *count) {
    uint32_t value = 0;
    int d;
    for (*count = 0; *count < most && t->at < t->n && (d = digit_of(t->s[t->at], base)) >= 0; ++*count, t->at++)
        value = value * (uint32_t)base + (uint32_t)d;
    return value;
}

/* \p{...} and [:...:]: items of a class are written to `out`. *negated: in, whether the opposite is meant (a ^ in the
 * name turns that round); out, whether the items are the opposite of what is meant. */
static mlxn_status named_set(translator *t, const char *name, size_t n, bool *negated, mlxn_tok_bytes *out) {
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
        if (!letter || size + 1 >= sizeof plain) return refuse(t, "no such property");
        plain[size++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    plain[size] = 0;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (strcmp(plain, sets[i].name) != 0) continue;
        bool as_is = *negated ? sets[i].opposite != NULL : sets[i].items != NULL;
        const char *items = (*negated == as_is) ? sets[i].opposite : sets[i].items;
        *negated = !as_is;
        return put(t, out, items);
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
    return put(t, out, text);
}

/* The single character that an escape stands for, after the backslash and its letter. */
static mlxn_status character_escape(translator *t, char c, bool in_class, uint32_t *code) {
    static const char letters[] = "nrtfavebe", values[] = "\n\r\t\f\a\v\x1b\b\x1b";
    int count;
    const char *found = c ? strchr(letters, c) : NULL;
    if (found && (c != 'b' || in_class)) {
        *code = (uint8_t)values[found - letters];
    } else if (c == '0') {
        *code = digits(t, 8, 2, &count);
    } else if (c == 'u') {
        *code = digits(t, 16, 4, &count);
        if (count != 4) return refuse(t, "\\u needs four digits");
    } else if (c == 'x' && next_is(t, "{")) {
        t->at++;
        *code = digits(t, 16, 8, &count);
        if (!count || !next_is(t, "}")) return refuse(t, "\\x{...} is not closed");
        t->at++;
    } else if (c == 'x') {
        *code = digits(t, 16, 2, &count);
        if (*code > 0x7f) return refuse(t, "\\x%02x is a byte and no character", *code);
    } else {
        return refuse(t, "the escape \\%c", c);
    }
    if (*code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff)) return refuse(t, "U+%04X is no character", *code);
    return MLXN_OK;
}

/* ITEM_OPPOSITE: the items that were written are what is not meant. */
typedef enum item_kind { ITEM_CHARACTER, ITEM_SET, ITEM_OPPOSITE } item_kind;

/* What may stand both inside a class and outside, after the backslash: a set (its items are written) or a
 * character. */
static mlxn_status class_escape(translator *t, bool in_class, mlxn_tok_bytes *out, item_kind *kind, uint32_t *code) {
    static const char names[] = "sSdDwWhH";
    static const char *const words[] = {"space", "digit", "word", "xdigit"};
    uint32_t length = mlxn_utf8_read(t->s + t->at, t->n - t->at, code, NULL);
    char c = t->s[t->at];
    t->at += length;
    *kind = ITEM_SET;
    const char *found = c ? strchr(names, c) : NULL;
    if (length == 1 && found) {
        const char *word = words[(found - names) / 2];
        bool negated = (found - names) % 2;
        mlxn_status status = named_set(t, word, strlen(word), &negated, out);
        if (negated) *kind = ITEM_OPPOSITE;
        return status;
    }
    if (c == 'p' || c == 'P') {
        const char *close = t->at < t->n ? memchr(t->s + t->at, '}', t->n - t->at) : NULL;
        if (!close || t->s[t->at] != '{') return refuse(t, "\\%c needs a name in braces", c);
        const char *name = t->s + t->at + 1;
        t->at = (size_t)(close - t->s) + 1;
        bool negated = c == 'P';
        mlxn_status status = named_set(t, name, (size_t)(close - name), &negated, out);
        if (negated) *kind = ITEM_OPPOSITE;
        return status;
    }
    *kind = ITEM_CHARACTER;
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '0';
    if (length > 1 || !letter) return MLXN_OK;
    if (strchr("cCM", c)) return refuse(t, "control characters by \\%c", c);
    return strchr("nrtfaveb0ux", c) ? character_escape(t, c, in_class, code) : MLXN_OK;
}

static mlxn_status character_class(translator *t, mlxn_tok_bytes *out);

/* The items from `before` on become a class of their own, all but them, beside the others. */
static mlxn_status turn_round(translator *t, mlxn_tok_bytes *set, size_t before, mlxn_tok_bytes *inner) {
    bool ok = mlxn_tok_append(inner, "|[^", 3) && mlxn_tok_append(inner, set->data + before, set->size - before) &&
              mlxn_tok_append(inner, "]", 1);
    set->size = before;
    return ok ? MLXN_OK : no_memory(t);
}

/* [:name:] with t->at behind "[:"; false in *is: the bracket begins a class. */
static mlxn_status posix(translator *t, mlxn_tok_bytes *set, mlxn_tok_bytes *inner, bool *is) {
    size_t end = t->at + 2;
    while (end < t->n && end - t->at < 24 && (t->s[end] == '^' || (t->s[end] >= 'a' && t->s[end] <= 'z'))) end++;
    *is = t->n - end >= 2 && t->s[end] == ':' && t->s[end + 1] == ']';
    if (!*is) return MLXN_OK;
    const char *name = t->s + t->at + 2;
    size_t n = end - t->at - 2;
    t->at = end + 2;
    size_t before = set->size;
    bool negated = false;
    if (n == 5 && memcmp(name, "punct", 5) == 0) return put(t, set, "\\p{P}\\p{S}"); /* more than \p{Punct} */
    mlxn_status status = named_set(t, name, n, &negated, set);
    return status == MLXN_OK && negated ? turn_round(t, set, before, inner) : status;
}

static mlxn_status one_character(translator *t, mlxn_tok_bytes *set, item_kind *kind, uint32_t *code) {
    if (t->s[t->at] == '\\') {
        if (++t->at >= t->n) return refuse(t, "ends with a backslash");
        return class_escape(t, true, set, kind, code);
    }
    *kind = ITEM_CHARACTER;
    t->at += mlxn_utf8_read(t->s + t->at, t->n - t->at, code, NULL);
    return MLXN_OK;
}

/* An item of a class, with the range that it may begin. */
static mlxn_status class_item(translator *t, mlxn_tok_bytes *set, mlxn_tok_bytes *inner) {
    item_kind kind, last_kind;
    uint32_t code, last;
    size_t begin = set->size;
    mlxn_status status = one_character(t, set, &kind, &code);
    if (status == MLXN_OK && kind == ITEM_OPPOSITE) return turn_round(t, set, begin, inner);
    if (status != MLXN_OK || kind == ITEM_SET) return status;
    bool range = t->n - t->at >= 2 && t->s[t->at] == '-' && t->s[t->at + 1] != ']' && t->s[t->at + 1] != '[';
    if (!range || next_is(t, "-&&")) return put_code(t, set, code);
    size_t before = t->at++, size = set->size;
    status = one_character(t, set, &last_kind, &last);
    if (status != MLXN_OK) return status;
    if (last_kind != ITEM_CHARACTER) { /* then the - is itself */
        set->size = size;
        t->at = before;
        return put_code(t, set, code);
    }
    if (last < code) return refuse(t, "an empty range in a class");
    if ((status = put_code(t, set, code)) || (status = put(t, set, "-"))) return status;
    return put_code(t, set, last);
}

/* Items up to "&&" or the closing bracket. `inner`: classes in it, each with "|" before. */
static mlxn_status class_items(translator *t, mlxn_tok_bytes *set, mlxn_tok_bytes *inner, bool *first) {
    mlxn_status status = MLXN_OK;
    for (; status == MLXN_OK; *first = false) {
        if (t->at >= t->n) return refuse(t, "a class is not closed");
        if (next_is(t, "&&") || (t->s[t->at] == ']' && !*first)) return MLXN_OK;
        bool is = false;
        if (next_is(t, "[:")) status = posix(t, set, inner, &is);
        if (status != MLXN_OK || is) continue;
        if (t->s[t->at] == '[') {
            status = put(t, inner, "|");
            if (status == MLXN_OK) status = character_class(t, inner);
        } else {
            status = class_item(t, set, inner);
        }
    }
    return status;
}

/* One operand of && as an expression; a plain class if nothing is nested. */
static mlxn_status class_operand(translator *t, const mlxn_tok_bytes *set, const mlxn_tok_bytes *inner, bool negated,
                                 mlxn_tok_bytes *out) {
    bool ok = mlxn_tok_append(out, "(?:", inner->size ? 3 : 0);
    if (set->size)
        ok = ok && mlxn_tok_append(out, negated ? "[^" : "[", negated ? 2 : 1) &&
             mlxn_tok_append(out, set->data, set->size) && mlxn_tok_append(out, "]", 1);
    else
        ok = ok && mlxn_tok_append(out, negated ? "(?s:.)" : "(?!)", negated ? 6 : 4);
    if (inner->size) ok = ok && mlxn_tok_append(out, inner->data, inner->size) && mlxn_tok_append(out, ")", 1);
    return ok ? MLXN_OK : no_memory(t);
}

/* [...], with t->at at the bracket. Recursion is bounded by MAX_DEPTH. */
static mlxn_status character_class(translator *t, mlxn_tok_bytes *out) {
    if (t->depth >= MAX_DEPTH) return refuse(t, "nested deeper than %d", MAX_DEPTH);
    t->depth++;
    t->at++;
    bool negated = next_is(t, "^"), first = true, simple = true;
    t->at += negated;
    mlxn_tok_bytes set = {0}, inner = {0}, all = {0};
    mlxn_status status = MLXN_OK;
    for (;;) {
        set.size = inner.size = 0;
        status = class_items(t, &set, &inner, &first);
        if (status != MLXN_OK) break;
        bool last = t->s[t->at] == ']';
        simple = simple && last && !inner.size;
        if (!last) status = put(t, &all, "(?=");
        if (status == MLXN_OK) status = class_operand(t, &set, &inner, negated && simple, &all);
        if (status == MLXN_OK && !last) status = put(t, &all, ")");
        t->at += last ? 1 : 2;
        if (status != MLXN_OK || last) break;
    }
    if (status == MLXN_OK && !simple) status = put(t, out, negated ? "(?:(?!" : "(?:");
    if (status == MLXN_OK && !mlxn_tok_append(out, all.data, all.size)) status = no_memory(t);
    if (status == MLXN_OK && !simple) status = put(t, out, negated ? ")(?s:.))" : ")");
    mlxn_free(set.data);
    mlxn_free(inner.data);
    mlxn_free(all.data);
    t->depth--;
    return status;
}

static void begin_atom(translator *t) {
    t->atom = t->out.size;
    t->has_atom = true;
    t->repeated = false;
}

static mlxn_status escape(translator *t) {
    if (++t->at >= t->n) return refuse(t, "ends with a backslash");
    char c = t->s[t->at];
    begin_atom(t);
    switch (c) {
        case 'b':
            t->at++;
            return put(t, &t->out,
                       "(?:(?<=[" WORD_ALONE "])(?![" WORD_ALONE "])|(?<![" WORD_ALONE "])(?=[" WORD_ALONE "]))");
        case 'B':
            t->at++;
            return put(t, &t->out,
                       "(?:(?<=[" WORD_ALONE "])(?=[" WORD_ALONE "])|(?<![" WORD_ALONE "])(?![" WORD_ALONE "]))");
        case 'w':
        case 'W':
            t->at++;
            return put(t, &t->out, c == 'w' ? "[" WORD_ALONE "]" : "[^" WORD_ALONE "]");
        case 'O':
            t->at++;
            return put(t, &t->out, "(?s:.)");
        case 'N':
            t->at++;
            return put(t, &t->out, "[^\\n]");
        case 'y':
        case 'Y':
            return refuse(t, "the escape \\%c", c);
        default:
            break;
    }
    /* The same in both: anchors, line ends, grapheme clusters, references. */
    if (strchr("AzZGRXKkg123456789", c)) {
        size_t begin = t->at++ - 1;
        const char *close =
            (c == 'k' || c == 'g') && next_is(t, "<") ? memchr(t->s + t->at, '>', t->n - t->at) : NULL;
        if (close) t->at = (size_t)(close - t->s) + 1;
        return mlxn_tok_append(&t->out, t->s + begin, t->at - begin) ? MLXN_OK : no_memory(t);
    }
    mlxn_tok_bytes set = {0};
    item_kind kind;
    uint32_t code = 0;
    mlxn_status status = class_escape(t, false, &set, &kind, &code);
    if (status == MLXN_OK && kind == ITEM_CHARACTER) status = put_code(t, &t->out, code);
    if (status == MLXN_OK && kind != ITEM_CHARACTER)
        status = put(t, &t->out, kind == ITEM_SET ? "[" : "[^") == MLXN_OK &&
                         mlxn_tok_append(&t->out, set.data, set.size) && mlxn_tok_append(&t->out, "]", 1)
                     ? MLXN_OK
                     : no_memory(t);
    mlxn_free(set.data);
    return status;
}

/* (?imx-imx) and (?imx-imx: with t->at at the first letter. */
static mlxn_status options(translator *t, group *g, bool *isolated) {
    char text[24] = "(?";
    size_t n = 2;
    bool off = false;
    for (; t->at < t->n && t->s[t->at] != ':' && t->s[t->at] != ')'; t->at++) {
        char c = t->s[t->at];
        if (!strchr("imx-", c) || n + 4 > sizeof text) return refuse(t, "the option \"%c\"", c);
        if (c == 'x') g->extended = !off;
        if (c == '-') off = true;
        text[n++] = c == 'm' ? 's' : c;
    }
    if (t->at >= t->n) return refuse(t, "a group is not closed");
    *isolated = t->s[t->at++] == ')';
    text[n++] = ':';
    text[n] = 0;
    return put(t, &t->out, text);
}

static mlxn_status open_group(translator *t) {
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    if (t->depth + 1 >= MAX_DEPTH) return refuse(t, "nested deeper than %d", MAX_DEPTH);
    group g = {.start = t->out.size, .extended = t->groups[t->depth].extended};
    const char *text = NULL;
    for (size_t i = 0; !text && i < sizeof same / sizeof *same; i++)
        if (next_is(t, same[i])) text = same[i];
    mlxn_status status;
    if (next_is(t, "(?#")) {
        const char *close = memchr(t->s + t->at, ')', t->n - t->at);
        if (!close) return refuse(t, "a comment is not closed");
        t->at = (size_t)(close - t->s) + 1;
        return MLXN_OK;
    }
    t->has_atom = false;
    if (text) {
        t->at += strlen(text);
        status = put(t, &t->out, text);
    } else if (next_is(t, "(?<")) {
        const char *close = memchr(t->s + t->at, '>', t->n - t->at);
        if (!close) return refuse(t, "the name of a group is not closed");
        size_t n = (size_t)(close - t->s) + 1 - t->at;
        if (!mlxn_tok_append(&t->out, t->s + t->at, n)) return no_memory(t);
        t->at += n;
        status = MLXN_OK;
    } else if (next_is(t, "(?")) {
        bool isolated = false;
        t->at += 2;
        if (t->at < t->n && !strchr("imx-", t->s[t->at])) return refuse(t, "the group (?%c", t->s[t->at]);
        status = options(t, &g, &isolated);
        if (status == MLXN_OK && isolated) { /* covers the rest of the group that it stands in */
            t->groups[t->depth].extended = g.extended;
            t->groups[t->depth].opened++;
            return MLXN_OK;
        }
    } else if (next_is(t, "(*")) {
        return refuse(t, "the group (*");
    } else {
        t->at++;
        status = put(t, &t->out, "(");
    }
    t->groups[++t->depth] = g;
    return status;
}

static mlxn_status close_group(translator *t) {
    mlxn_status status = MLXN_OK;
    for (uint32_t i = t->groups[t->depth].opened; i > 0 && status == MLXN_OK; i--) status = put(t, &t->out, ")");
    return status;
}

/* {n}, {n,}, {,n}, {n,m}; false in *is: the brace is itself. `exact`: {n}. */
static bool interval(translator *t, char *text, size_t room, bool *exact) {
    size_t begin = t->at++;
    int low_count, high_count = 0;
    uint32_t low = digits(t, 10, 6, &low_count), high = 0;
    bool comma = next_is(t, ",");
    if (comma) {
        t->at++;
        high = digits(t, 10, 6, &high_count);
    }
    if (!next_is(t, "}") || (!low_count && !high_count)) {
        t->at = begin;
        return false;
    }
    t->at++;
    *exact = !comma;
    if (high_count)
        (void)snprintf(text, room, "{%u,%u}", low, high);
    else
        (void)snprintf(text, room, comma ? "{%u,}" : "{%u}", low);
    return true;
}

/* A repeat of what was written last; one that is repeated already becomes a group. */
static mlxn_status repeat(translator *t, const char *text) {
    if (!t->has_atom) return refuse(t, "nothing to repeat");
    if (t->repeated) {
        size_t n = t->out.size - t->atom;
        if (!mlxn_tok_bytes_room(&t->out, 4)) return no_memory(t);
        memmove(t->out.data + t->atom + 3, t->out.data + t->atom, n);
        memcpy(t->out.data + t->atom, "(?:", 3);
        t->out.data[t->atom + 3 + n] = ')';
        t->out.size += 4;
    }
    t->repeated = true;
    return put(t, &t->out, text);
}

static mlxn_status quantifier(translator *t, bool *is) {
    char text[32] = {t->s[t->at], 0};
    bool exact = false, braces = text[0] == '{';
    *is = braces ? interval(t, text, sizeof text - 2, &exact) : strchr("*+?", text[0]) != NULL;
    if (!*is) return MLXN_OK;
    t->at += !braces;
    char c = t->at < t->n ? t->s[t->at] : 0;
    if ((c == '?' && !exact) || (c == '+' && !braces)) {
        size_t n = strlen(text);
        text[n] = c;
        text[n + 1] = 0;
        t->at++;
    }
    return repeat(t, text);
}

static mlxn_status element(translator *t) {
    char c = t->s[t->at];
    bool is = false;
    if (t->groups[t->depth].extended) {
        if (strchr(" \t\r\n\f\v", c)) {
            t->at++;
            return MLXN_OK;
        }
        if (c == '#') {
            while (t->at < t->n && t->s[t->at] != '\n') t->at++;
            return MLXN_OK;
        }
    }
    if (strchr("*+?{", c)) {
        mlxn_status status = quantifier(t, &is);
        if (status != MLXN_OK || is) return status;
    }
    if (c == '(') return open_group(t);
    if (c == ')') {
        if (!t->depth) return refuse(t, "a ) without its (");
        mlxn_status status = close_group(t);
        t->atom = t->groups[t->depth--].start;
        t->has_atom = true;
        t->repeated = false;
        t->at++;
        return status == MLXN_OK ? put(t, &t->out, ")") : status;
    }
    if (c == '|') {
        t->has_atom = false;
        t->at++;
        return put(t, &t->out, "|");
    }
    if (c == '\\') return escape(t);
    begin_atom(t);
    if (c == '[') return character_class(t, &t->out);
    if (strchr("^$.", c)) {
        char text[] = {c, 0};
        t->at++;
        return put(t, &t->out, text);
    }
    uint32_t code = 0;
    t->at += mlxn_utf8_read(t->s + t->at, t->n - t->at, &code, NULL);
    return put_code(t, &t->out, code);
}

mlxn_status mlxn_regex_translate(mlxn_string source, const char *where, char **out, mlxn_error *error) {
    translator *t = mlxn_alloc(sizeof *t);
    *out = NULL;
    if (!t) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for the regular expression", where);
    t->s = source.data;
    t->n = (size_t)source.size;
    t->where = where;
    t->error = error;
    mlxn_status status = memchr(t->s, 0, t->n) ? refuse(t, "holds a zero byte") : MLXN_OK;
    while (status == MLXN_OK && t->at < t->n) status = element(t);
    if (status == MLXN_OK && t->depth) status = refuse(t, "a group is not closed");
    if (status == MLXN_OK) status = close_group(t);
    if (status == MLXN_OK && !mlxn_tok_append(&t->out, "", 1)) status = no_memory(t);
    if (status == MLXN_OK)
        *out = t->out.data;
    else
        mlxn_free(t->out.data);
    mlxn_free(t);
    return status;
}
