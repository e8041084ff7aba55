/* gbnf_text.c: the characters of a grammar text: blanks, escapes, literals and classes. */
#include "lm/grammar/gbnf.h"

#include <stdarg.h>
#include <stdio.h>

#include "lm/utf8.h"

enum { LAST_CODE = 0x10ffff, FIRST_SURROGATE = 0xd800, LAST_SURROGATE = 0xdfff };

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

mlxn_status mlxn_gb_no_memory(const mlxn_gb_parser *p) {
    return mlxn_fail(p->error, MLXN_ERR_MEMORY, "grammar: no memory for a text of %u bytes", p->tree->size);
}

/* ---- characters ---- */

void mlxn_gb_skip_space(mlxn_gb_parser *p) {
    for (;;) {
        uint8_t c = mlxn_gb_peek(p, 0);
        if (c == '#') {
            while (p->at < p->tree->size && p->tree->text[p->at] != '\n') p->at++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            p->at++;
        } else {
            return;
        }
    }
}

const char *mlxn_gb_shown(const mlxn_gb_parser *p, char out[16]) {
    uint32_t n = 0, code = 0;
    if (p->at >= p->tree->size) return "the end of the text";
    n = mlxn_utf8_read(p->tree->text + p->at, p->tree->size - p->at, &code, NULL);
    if (n == 0 || code < 0x20 || code == 0x7f)
        snprintf(out, 16, "byte 0x%02X", mlxn_gb_peek(p, 0));
    else
        snprintf(out, 16, "'%.*s'", (int)n, p->tree->text + p->at);
    return out;
}

/* \xHH, \uHHHH, \UHHHHHHHH: p->at is at the first digit. */
static mlxn_status read_hex(mlxn_gb_parser *p, uint32_t start, uint32_t digits, uint32_t *code) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < digits; i++, p->at++) {
        uint8_t c = mlxn_gb_peek(p, 0), lower = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        else
            return MLXN_GB_FAIL(p, start, "the escape wants %u hexadecimal digits, has %u", digits, i);
    }
    if (value > LAST_CODE) return MLXN_GB_FAIL(p, start, "U+%X is no character, the last is U+10FFFF", value);
    if (value >= FIRST_SURROGATE && value <= LAST_SURROGATE)
        return MLXN_GB_FAIL(p, start, "U+%X is half of a surrogate pair, no character", value);
    *code = value;
    return MLXN_OK;
}

/* One character of a literal or class, escapes resolved. */
static mlxn_status read_character(mlxn_gb_parser *p, uint32_t *code) {
    uint32_t start = p->at;
    char text[16];
    if (mlxn_gb_peek(p, 0) != '\\') {
        uint32_t n =
            p->at < p->tree->size ? mlxn_utf8_read(p->tree->text + p->at, p->tree->size - p->at, code, NULL) : 0;
        if (n == 0) return MLXN_GB_FAIL(p, start, "%s is not UTF-8", mlxn_gb_shown(p, text));
        p->at += n;
        return MLXN_OK;
    }
    static const char from[] = "nrtfv0\\\"'[]^-/.", to[] = "\n\r\t\f\v\0\\\"'[]^-/.";
    uint8_t c = mlxn_gb_peek(p, 1);
    p->at += 2;
    if (c == 'x' || c == 'u' || c == 'U') return read_hex(p, start, c == 'x' ? 2 : c == 'u' ? 4 : 8, code);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return MLXN_GB_FAIL(p, start, "the escape \\ and %s is unknown", (p->at--, mlxn_gb_shown(p, text)));
    *code = (uint8_t)to[found - from];
    return MLXN_OK;
}

/* ---- literals and classes ---- */

mlxn_status mlxn_gb_add_node(mlxn_gb_parser *p, mlxn_gr_node node, uint32_t *out) {
    if (!MLXN_GR_ROOM(p->tree->nodes)) return mlxn_gb_no_memory(p);
    *out = p->tree->nodes.count;
    p->tree->nodes.data[p->tree->nodes.count++] = node;
    return MLXN_OK;
}

mlxn_status mlxn_gb_literal(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t start = p->at++, first = p->tree->codes.count;
    while (mlxn_gb_peek(p, 0) != '"') {
        uint32_t code;
        if (p->at >= p->tree->size) return MLXN_GB_FAIL(p, start, "the text that begins here has no closing quote");
        mlxn_status status = read_character(p, &code);
        if (status) return status;
        if (!MLXN_GR_ROOM(p->tree->codes)) return mlxn_gb_no_memory(p);
        p->tree->codes.data[p->tree->codes.count++] = code;
    }
    p->at++;
    uint32_t count = p->tree->codes.count - first;
    return mlxn_gb_add_node(
        p, (mlxn_gr_node){.kind = count ? MLXN_GR_TEXT : MLXN_GR_EMPTY, .first = first, .count = count}, out);
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

mlxn_status mlxn_gb_add_set(mlxn_gb_parser *p, uint32_t start, uint32_t first, bool negated, uint32_t *out) {
    if (!mlxn_gr_set_finish(p->tree, first, negated)) return mlxn_gb_no_memory(p);
    uint32_t count = p->tree->ranges.count - first;
    if (!count) return MLXN_GB_FAIL(p, start, "no character fits the class");
    return mlxn_gb_add_node(p, (mlxn_gr_node){.kind = MLXN_GR_SET, .first = first, .count = count}, out);
}

mlxn_status mlxn_gb_class(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t start = p->at++, first = p->tree->ranges.count;
    bool negated = mlxn_gb_peek(p, 0) == '^';
    p->at += negated;
    while (mlxn_gb_peek(p, 0) != ']') {
        uint32_t low, high, at = p->at;
        if (p->at >= p->tree->size)
            return MLXN_GB_FAIL(p, start, "the class that begins here has no closing bracket");
        mlxn_status status = read_character(p, &low);
        high = low;
        if (!status && mlxn_gb_peek(p, 0) == '-' && mlxn_gb_peek(p, 1) != ']') {
            p->at++;
            status = read_character(p, &high);
        }
        if (status) return status;
        if (low > high) return MLXN_GB_FAIL(p, at, "the range goes down, from U+%04X to U+%04X", low, high);
        if (!MLXN_GR_ROOM(p->tree->ranges)) return mlxn_gb_no_memory(p);
        p->tree->ranges.data[p->tree->ranges.count++] = (mlxn_gr_range){low, high};
    }
    p->at++;
    return mlxn_gb_add_set(p, start, first, negated, out);
}
