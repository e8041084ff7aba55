/* gbnf.c: reads a grammar in GBNF notation: `name ::= alternatives`, where an alternative is a sequence of "text",
 * [classes], `.`, names and (groups), each of which *, +, ? or {m,n} may follow. A rule ends where the next begins.
 */
#include <stdarg.h>
#include <stdio.h>

#include "lm/grammar/grammar.h"
#include "lm/utf8.h"

enum { LAST_CODE = 0x10ffff, FIRST_SURROGATE = 0xd800, LAST_SURROGATE = 0xdfff };

typedef struct parser {
    mlxn_gr_tree *tree;
    uint32_t at, nesting;
    MLXN_GR_ARRAY(uint32_t) pending; /* nodes of the sequences and alternatives that are being read */
    uint32_t *names;                 /* open addressing: rule + 1 */
    uint32_t names_mask;
    mlxn_error *error;
} parser;

bool mlxn_gr_grow(void *array, uint32_t *capacity, uint32_t count, size_t element) {
    if (count < *capacity) return true;
    uint32_t more = *capacity ? *capacity * 2 : 64;
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = more > *capacity ? mlxn_realloc_array(old, more, element) : NULL;
    if (!grown) return false;
    memcpy(array, &grown, sizeof grown);
    *capacity = more;
    return true;
}

void mlxn_gr_tree_free(mlxn_gr_tree *tree) {
    mlxn_free(tree->nodes.data);
    mlxn_free(tree->rules.data);
    mlxn_free(tree->ranges.data);
    mlxn_free(tree->kids.data);
    mlxn_free(tree->codes.data);
    mlxn_free(tree->refs.data);
    mlxn_free(tree->order.data);
    memset(tree, 0, sizeof *tree);
}

mlxn_status mlxn_gr_fail(const mlxn_gr_tree *tree, uint32_t at, mlxn_error *error, mlxn_status status,
                         const char *format, ...) {
    uint32_t line = 1, column = 1;
    for (uint32_t i = 0; i < at && i < tree->size; i++) {
        if (tree->text[i] == '\n')
            line++, column = 1;
        else if ((tree->text[i] & 0xc0) != 0x80)
            column++;
    }
    char text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return mlxn_fail(error, status, "grammar line %u, column %u: %s", line, column, text);
}

#define FAIL(p, where, ...) mlxn_gr_fail((p)->tree, where, (p)->error, MLXN_ERR_FORMAT, __VA_ARGS__)

static mlxn_status no_memory(const parser *p) {
    return mlxn_fail(p->error, MLXN_ERR_MEMORY, "grammar: no memory for a text of %u bytes", p->tree->size);
}

/* ---- characters ---- */

/* The byte `ahead` of the place, 0 at the end. */
static uint8_t peek(const parser *p, uint32_t ahead) {
    return p->at + ahead < p->tree->size ? (uint8_t)p->tree->text[p->at + ahead] : 0;
}

static bool is_name(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Blanks, line ends and comments. */
static void skip_space(parser *p) {
    for (;;) {
        uint8_t c = peek(p, 0);
        if (c == '#') {
            while (p->at < p->tree->size && p->tree->text[p->at] != '\n') p->at++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            p->at++;
        } else {
            return;
        }
    }
}

static uint32_t name_length(const parser *p) {
    uint32_t n = 0;
    while (is_name(peek(p, n))) n++;
    return n;
}

/* A name and `::=` come next. */
static bool at_definition(const parser *p) {
    parser ahead = *p;
    ahead.at += name_length(p);
    if (ahead.at == p->at) return false;
    skip_space(&ahead);
    return peek(&ahead, 0) == ':' && peek(&ahead, 1) == ':' && peek(&ahead, 2) == '=';
}

/* What the message about an unexpected character calls it. */
static const char *shown(const parser *p, char out[16]) {
    uint32_t n = 0, code = 0;
    if (p->at >= p->tree->size) return "the end of the text";
    n = mlxn_utf8_read(p->tree->text + p->at, p->tree->size - p->at, &code, NULL);
    if (n == 0 || code < 0x20 || code == 0x7f)
        snprintf(out, 16, "byte 0x%02X", peek(p, 0));
    else
        snprintf(out, 16, "'%.*s'", (int)n, p->tree->text + p->at);
    return out;
}

/* \xHH, \uHHHH, \UHHHHHHHH: p->at is at the first digit. */
static mlxn_status read_hex(parser *p, uint32_t start, uint32_t digits, uint32_t *code) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < digits; i++, p->at++) {
        uint8_t c = peek(p, 0), lower = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        else
            return FAIL(p, start, "the escape wants %u hexadecimal digits, has %u", digits, i);
    }
    if (value > LAST_CODE) return FAIL(p, start, "U+%X is no character, the last is U+10FFFF", value);
    if (value >= FIRST_SURROGATE && value <= LAST_SURROGATE)
        return FAIL(p, start, "U+%X is half of a surrogate pair, no character", value);
    *code = value;
    return MLXN_OK;
}

/* One character of a literal or class, escapes resolved. */
static mlxn_status read_character(parser *p, uint32_t *code) {
    uint32_t start = p->at;
    char text[16];
    if (peek(p, 0) != '\\') {
        uint32_t n =
            p->at < p->tree->size ? mlxn_utf8_read(p->tree->text + p->at, p->tree->size - p->at, code, NULL) : 0;
        if (n == 0) return FAIL(p, start, "%s is not UTF-8", shown(p, text));
        p->at += n;
        return MLXN_OK;
    }
    static const char from[] = "nrtfv0\\\"'[]^-/.", to[] = "\n\r\t\f\v\0\\\"'[]^-/.";
    uint8_t c = peek(p, 1);
    p->at += 2;
    if (c == 'x' || c == 'u' || c == 'U') return read_hex(p, start, c == 'x' ? 2 : c == 'u' ? 4 : 8, code);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return FAIL(p, start, "the escape \\ and %s is unknown", (p->at--, shown(p, text)));
    *code = (uint8_t)to[found - from];
    return MLXN_OK;
}

/* ---- nodes ---- */

static mlxn_status add_node(parser *p, mlxn_gr_node node, uint32_t *out) {
    if (!MLXN_GR_ROOM(p->tree->nodes)) return no_memory(p);
    *out = p->tree->nodes.count;
    p->tree->nodes.data[p->tree->nodes.count++] = node;
    return MLXN_OK;
}

static mlxn_status hold(parser *p, uint32_t node) {
    if (!MLXN_GR_ROOM(p->pending)) return no_memory(p);
    p->pending.data[p->pending.count++] = node;
    return MLXN_OK;
}

/* The nodes that are held since `from`, as one. */
static mlxn_status gather(parser *p, mlxn_gr_kind kind, uint32_t from, uint32_t *out) {
    uint32_t n = p->pending.count - from, first = p->tree->kids.count;
    if (n == 0) return add_node(p, (mlxn_gr_node){.kind = MLXN_GR_EMPTY}, out);
    p->pending.count = from;
    if (n == 1) {
        *out = p->pending.data[from];
        return MLXN_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!MLXN_GR_ROOM(p->tree->kids)) return no_memory(p);
        p->tree->kids.data[p->tree->kids.count++] = p->pending.data[from + i];
    }
    return add_node(p, (mlxn_gr_node){.kind = kind, .first = first, .count = n}, out);
}

static mlxn_status read_literal(parser *p, uint32_t *out) {
    uint32_t start = p->at++, first = p->tree->codes.count;
    while (peek(p, 0) != '"') {
        uint32_t code;
        if (p->at >= p->tree->size) return FAIL(p, start, "the text that begins here has no closing quote");
        mlxn_status status = read_character(p, &code);
        if (status) return status;
        if (!MLXN_GR_ROOM(p->tree->codes)) return no_memory(p);
        p->tree->codes.data[p->tree->codes.count++] = code;
    }
    p->at++;
    uint32_t count = p->tree->codes.count - first;
    return add_node(p, (mlxn_gr_node){.kind = count ? MLXN_GR_TEXT : MLXN_GR_EMPTY, .first = first, .count = count},
                    out);
}

static int by_low(const void *a, const void *b) {
    uint32_t x = ((const mlxn_gr_range *)a)->low, y = ((const mlxn_gr_range *)b)->low;
    return (x > y) - (x < y);
}

static bool push_range(mlxn_gr_tree *tree, uint32_t low, uint32_t high) {
    if (low > high) return true;
    if (low < FIRST_SURROGATE && high > LAST_SURROGATE)
        return push_range(tree, low, FIRST_SURROGATE - 1) && push_range(tree, LAST_SURROGATE + 1, high);
    if (low >= FIRST_SURROGATE && low <= LAST_SURROGATE) low = LAST_SURROGATE + 1;
    if (high >= FIRST_SURROGATE && high <= LAST_SURROGATE) high = FIRST_SURROGATE - 1;
    if (low > high) return true;
    if (!MLXN_GR_ROOM(tree->ranges)) return false;
    tree->ranges.data[tree->ranges.count++] = (mlxn_gr_range){low, high};
    return true;
}

bool mlxn_gr_set_finish(mlxn_gr_tree *tree, uint32_t first, bool negated) {
    uint32_t n = tree->ranges.count - first, kept = 0;
    mlxn_gr_range *ranges = n ? tree->ranges.data + first : NULL;
    if (n > 1) qsort(ranges, n, sizeof *ranges, by_low);
    for (uint32_t i = 0; i < n; i++) {
        if (kept && ranges[i].low <= ranges[kept - 1].high + 1) {
            if (ranges[i].high > ranges[kept - 1].high) ranges[kept - 1].high = ranges[i].high;
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    tree->ranges.count = first + kept;
    /* The cleaned ranges go behind the raw ones, and then down. */
    uint32_t next = 0, clean = tree->ranges.count;
    for (uint32_t i = 0; i < kept; i++) {
        mlxn_gr_range r = tree->ranges.data[first + i];
        bool ok = !negated ? push_range(tree, r.low, r.high) : r.low <= next || push_range(tree, next, r.low - 1);
        if (!ok) return false;
        next = r.high + 1;
    }
    if (negated && !push_range(tree, next, LAST_CODE)) return false;
    uint32_t count = tree->ranges.count - clean;
    if (count) memmove(tree->ranges.data + first, tree->ranges.data + clean, count * sizeof *ranges);
    tree->ranges.count = first + count;
    return true;
}

static mlxn_status add_set(parser *p, uint32_t start, uint32_t first, bool negated, uint32_t *out) {
    if (!mlxn_gr_set_finish(p->tree, first, negated)) return no_memory(p);
    uint32_t count = p->tree->ranges.count - first;
    if (!count) return FAIL(p, start, "no character fits the class");
    return add_node(p, (mlxn_gr_node){.kind = MLXN_GR_SET, .first = first, .count = count}, out);
}

static mlxn_status read_class(parser *p, uint32_t *out) {
    uint32_t start = p->at++, first = p->tree->ranges.count;
    bool negated = peek(p, 0) == '^';
    p->at += negated;
    while (peek(p, 0) != ']') {
        uint32_t low, high, at = p->at;
        if (p->at >= p->tree->size) return FAIL(p, start, "the class that begins here has no closing bracket");
        mlxn_status status = read_character(p, &low);
        high = low;
        if (!status && peek(p, 0) == '-' && peek(p, 1) != ']') {
            p->at++;
            status = read_character(p, &high);
        }
        if (status) return status;
        if (low > high) return FAIL(p, at, "the range goes down, from U+%04X to U+%04X", low, high);
        if (!MLXN_GR_ROOM(p->tree->ranges)) return no_memory(p);
        p->tree->ranges.data[p->tree->ranges.count++] = (mlxn_gr_range){low, high};
    }
    p->at++;
    return add_set(p, start, first, negated, out);
}

/* ---- rules ---- */

static mlxn_status grow_names(parser *p) {
    uint32_t mask = p->names_mask ? p->names_mask * 2 + 1 : 255;
    uint32_t *names = mlxn_alloc_array((size_t)mask + 1, sizeof *names);
    if (!names) return no_memory(p);
    for (uint32_t i = 0; p->names && i <= p->names_mask; i++) {
        if (!p->names[i]) continue;
        mlxn_string name = p->tree->rules.data[p->names[i] - 1].name;
        uint32_t h = 2166136261u;
        for (uint64_t k = 0; k < name.size; k++) h = (h ^ (uint8_t)name.data[k]) * 16777619u;
        while (names[h & mask]) h++;
        names[h & mask] = p->names[i];
    }
    mlxn_free(p->names);
    p->names = names;
    p->names_mask = mask;
    return MLXN_OK;
}

/* The rule of the name that comes next, made if there is none; moves on. */
static mlxn_status read_name(parser *p, uint32_t *out) {
    uint32_t n = name_length(p), h = 2166136261u;
    const char *name = p->tree->text + p->at;
    if (p->tree->rules.count * 2 >= p->names_mask) {
        mlxn_status status = grow_names(p);
        if (status) return status;
    }
    for (uint32_t k = 0; k < n; k++) h = (h ^ (uint8_t)name[k]) * 16777619u;
    for (; p->names[h & p->names_mask]; h++) {
        *out = p->names[h & p->names_mask] - 1;
        mlxn_string known = p->tree->rules.data[*out].name;
        if (known.size == n && !memcmp(known.data, name, n)) {
            p->at += n;
            return MLXN_OK;
        }
    }
    if (p->tree->rules.count == MLXN_GR_MAX_RULES)
        return mlxn_gr_fail(p->tree, p->at, p->error, MLXN_ERR_LIMIT, "more than %u rules", MLXN_GR_MAX_RULES);
    if (!MLXN_GR_ROOM(p->tree->rules)) return no_memory(p);
    *out = p->tree->rules.count++;
    p->tree->rules.data[*out] = (mlxn_gr_rule){.name = {name, n}, .body = UINT32_MAX, .at = p->at};
    p->names[h & p->names_mask] = *out + 1;
    p->at += n;
    return MLXN_OK;
}

static mlxn_status read_alternatives(parser *p, uint32_t *out);

static mlxn_status read_group(parser *p, uint32_t *out) {
    uint32_t start = p->at++;
    char text[16];
    if (++p->nesting > MLXN_GR_MAX_NESTING)
        return mlxn_gr_fail(p->tree, start, p->error, MLXN_ERR_LIMIT, "groups are nested more than %u deep",
                            MLXN_GR_MAX_NESTING);
    mlxn_status status = read_alternatives(p, out);
    if (status) return status;
    if (peek(p, 0) != ')')
        return FAIL(p, start, "the group that begins here is not closed: %s comes first",
                    at_definition(p) ? "the next rule" : shown(p, text));
    p->at++;
    p->nesting--;
    return MLXN_OK;
}

static mlxn_status read_reference(parser *p, uint32_t *out) {
    uint32_t rule;
    mlxn_status status = read_name(p, &rule);
    if (status) return status;
    if (!MLXN_GR_ROOM(p->tree->refs)) return no_memory(p);
    p->tree->refs.data[p->tree->refs.count++] = rule;
    return add_node(p, (mlxn_gr_node){.kind = MLXN_GR_REF, .first = rule}, out);
}

static mlxn_status read_element(parser *p, uint32_t *out) {
    uint8_t c = peek(p, 0);
    char text[16];
    if (c == '"') return read_literal(p, out);
    if (c == '[') return read_class(p, out);
    if (c == '(') return read_group(p, out);
    if (is_name(c)) return read_reference(p, out);
    if (c == '<' || (c == '!' && peek(p, 1) == '<'))
        return FAIL(p, p->at, "tokens cannot be named: special tokens are no part of the text");
    if (c == '*' || c == '+' || c == '?' || c == '{') return FAIL(p, p->at, "'%c' has nothing to repeat", c);
    if (c != '.') return FAIL(p, p->at, "%s is not expected here", shown(p, text));
    uint32_t first = p->tree->ranges.count;
    return add_set(p, p->at++, first, true, out);
}

static mlxn_status read_number(parser *p, uint32_t *out) {
    uint32_t start = p->at, value = 0;
    char text[16];
    for (; peek(p, 0) >= '0' && peek(p, 0) <= '9'; p->at++) {
        value = value * 10 + (uint32_t)(peek(p, 0) - '0');
        if (value > MLXN_GR_MAX_REPEAT)
            return mlxn_gr_fail(p->tree, start, p->error, MLXN_ERR_LIMIT, "repetition is limited to %u times",
                                MLXN_GR_MAX_REPEAT);
    }
    if (p->at == start) return FAIL(p, start, "a number is wanted, not %s", shown(p, text));
    *out = value;
    return MLXN_OK;
}

/* {m}, {m,}, {m,n}, {,n} */
static mlxn_status read_braces(parser *p, uint32_t *min, uint32_t *max) {
    uint32_t start = p->at++;
    char text[16];
    *min = 0;
    skip_space(p);
    mlxn_status status = peek(p, 0) == ',' ? MLXN_OK : read_number(p, min);
    *max = *min;
    skip_space(p);
    if (!status && peek(p, 0) == ',') {
        p->at++;
        skip_space(p);
        *max = MLXN_GR_UNBOUNDED;
        if (peek(p, 0) != '}') status = read_number(p, max);
        skip_space(p);
    }
    if (status) return status;
    if (peek(p, 0) != '}') return FAIL(p, p->at, "'}' is wanted, not %s", shown(p, text));
    p->at++;
    if (*min > *max) return FAIL(p, start, "the repetition wants at least %u and at most %u", *min, *max);
    return MLXN_OK;
}

/* What may follow an element. */
static mlxn_status read_repetition(parser *p, uint32_t *node) {
    for (uint32_t n = 0;; n++) {
        skip_space(p);
        uint8_t c = peek(p, 0);
        if (c != '*' && c != '+' && c != '?' && c != '{') return MLXN_OK;
        if (n == MLXN_GR_MAX_POSTFIX)
            return mlxn_gr_fail(p->tree, p->at, p->error, MLXN_ERR_LIMIT, "more than %u repetitions of one element",
                                MLXN_GR_MAX_POSTFIX);
        uint32_t min = c == '+', max = c == '?' ? 1 : MLXN_GR_UNBOUNDED;
        mlxn_status status = MLXN_OK;
        if (c == '{')
            status = read_braces(p, &min, &max);
        else
            p->at++;
        mlxn_gr_node repeat = {.kind = max ? MLXN_GR_REPEAT : MLXN_GR_EMPTY, .first = *node, .min = min, .max = max};
        if (!status) status = add_node(p, repeat, node);
        if (status) return status;
    }
}

static mlxn_status read_sequence(parser *p, uint32_t *out) {
    uint32_t from = p->pending.count;
    for (;;) {
        skip_space(p);
        uint8_t c = peek(p, 0);
        if (p->at >= p->tree->size || c == '|' || c == ')' || at_definition(p))
            return gather(p, MLXN_GR_SEQ, from, out);
        uint32_t node;
        mlxn_status status = read_element(p, &node);
        if (!status) status = read_repetition(p, &node);
        if (!status) status = hold(p, node);
        if (status) return status;
    }
}

static mlxn_status read_alternatives(parser *p, uint32_t *out) {
    uint32_t from = p->pending.count, node;
    for (;;) {
        mlxn_status status = read_sequence(p, &node);
        if (!status) status = hold(p, node);
        if (status) return status;
        if (peek(p, 0) != '|') return gather(p, MLXN_GR_ALT, from, out);
        p->at++;
    }
}

static mlxn_status read_rule(parser *p) {
    uint32_t start = p->at, rule, body, first_ref = p->tree->refs.count;
    char text[16];
    if (!name_length(p)) return FAIL(p, start, "the name of a rule is wanted, not %s", shown(p, text));
    if (!at_definition(p)) {
        p->at += name_length(p);
        skip_space(p);
        return FAIL(p, p->at, "\"::=\" is wanted, not %s", shown(p, text));
    }
    mlxn_status status = read_name(p, &rule);
    if (status) return status;
    mlxn_gr_rule *r = &p->tree->rules.data[rule];
    if (r->body != UINT32_MAX)
        return FAIL(p, start, "rule %.*s is defined twice", (int)mlxn_min_u64(r->name.size, 64), r->name.data);
    r->at = start;
    skip_space(p);
    p->at += 3;
    status = read_alternatives(p, &body);
    if (status) return status;
    if (p->at < p->tree->size && peek(p, 0) == ')') return FAIL(p, p->at, "')' closes no group");
    r = &p->tree->rules.data[rule]; /* the array may have moved */
    r->body = body;
    r->first_ref = first_ref;
    r->n_refs = p->tree->refs.count - first_ref;
    if (r->name.size == 4 && !memcmp(r->name.data, "root", 4)) p->tree->root = rule;
    return MLXN_OK;
}

mlxn_status mlxn_gr_parse(const char *text, size_t bytes, mlxn_gr_tree *tree, mlxn_error *error) {
    *tree = (mlxn_gr_tree){.text = text, .root = UINT32_MAX};
    if (bytes > MLXN_GR_MAX_TEXT)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "grammar: the text has %zu bytes, at most %d are allowed", bytes,
                         MLXN_GR_MAX_TEXT);
    tree->size = (uint32_t)bytes;
    parser p = {.tree = tree, .error = error};
    mlxn_status status = MLXN_OK;
    for (skip_space(&p); !status && p.at < tree->size; skip_space(&p)) status = read_rule(&p);
    if (!status && tree->root == UINT32_MAX)
        status = mlxn_fail(error, MLXN_ERR_FORMAT, "grammar: there is no rule root, where the text begins");
    mlxn_free(p.pending.data);
    mlxn_free(p.names);
    return status;
}
