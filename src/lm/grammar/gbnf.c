/* gbnf.c: reads a grammar in GBNF notation: `name ::= alternatives`, where an alternative is a sequence of "text",
 * [classes], `.`, names and (groups), each of which *, +, ? or {m,n} may follow. A rule ends where the next begins.
 */
#include "lm/grammar/gbnf.h"

static bool is_name(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static uint32_t name_length(const mlxn_gb_parser *p) {
    uint32_t n = 0;
    while (is_name(mlxn_gb_peek(p, n))) n++;
    return n;
}

/* A name and `::=` come next. */
static bool at_definition(const mlxn_gb_parser *p) {
    mlxn_gb_parser ahead = *p;
    ahead.at += name_length(p);
    if (ahead.at == p->at) return false;
    mlxn_gb_skip_space(&ahead);
    return mlxn_gb_peek(&ahead, 0) == ':' && mlxn_gb_peek(&ahead, 1) == ':' && mlxn_gb_peek(&ahead, 2) == '=';
}

/* ---- nodes ---- */

static mlxn_status hold(mlxn_gb_parser *p, uint32_t node) {
    if (!MLXN_GR_ROOM(p->pending)) return mlxn_gb_no_memory(p);
    p->pending.data[p->pending.count++] = node;
    return MLXN_OK;
}

/* The nodes that are held since `from`, as one. */
static mlxn_status gather(mlxn_gb_parser *p, mlxn_gr_kind kind, uint32_t from, uint32_t *out) {
    uint32_t n = p->pending.count - from, first = p->tree->kids.count;
    if (n == 0) return mlxn_gb_add_node(p, (mlxn_gr_node){.kind = MLXN_GR_EMPTY}, out);
    p->pending.count = from;
    if (n == 1) {
        *out = p->pending.data[from];
        return MLXN_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!MLXN_GR_ROOM(p->tree->kids)) return mlxn_gb_no_memory(p);
        p->tree->kids.data[p->tree->kids.count++] = p->pending.data[from + i];
    }
    return mlxn_gb_add_node(p, (mlxn_gr_node){.kind = kind, .first = first, .count = n}, out);
}

/* ---- rules ---- */

static uint32_t name_hash(const char *name, uint64_t n) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (uint64_t k = 0; k < n; k++) h = (h ^ (uint8_t)name[k]) * 16777619u;
    return h;
}

static mlxn_status grow_names(mlxn_gb_parser *p) {
    uint32_t mask = p->names_mask ? p->names_mask * 2 + 1 : 255;
    uint32_t *names = mlxn_alloc_array((size_t)mask + 1, sizeof *names);
    if (!names) return mlxn_gb_no_memory(p);
    for (uint32_t i = 0; p->names && i <= p->names_mask; i++) {
        if (!p->names[i]) continue;
        mlxn_string name = p->tree->rules.data[p->names[i] - 1].name;
        uint32_t h = name_hash(name.data, name.size);
        while (names[h & mask]) h++;
        names[h & mask] = p->names[i];
    }
    mlxn_free(p->names);
    p->names = names;
    p->names_mask = mask;
    return MLXN_OK;
}

/* The rule of the name that comes next, made if there is none; moves on. */
static mlxn_status read_name(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t n = name_length(p), h;
    const char *name = p->tree->text + p->at;
    if (p->tree->rules.count * 2 >= p->names_mask) {
        mlxn_status status = grow_names(p);
        if (status) return status;
    }
    for (h = name_hash(name, n); p->names[h & p->names_mask]; h++) {
        *out = p->names[h & p->names_mask] - 1;
        mlxn_string known = p->tree->rules.data[*out].name;
        if (known.size == n && !memcmp(known.data, name, n)) {
            p->at += n;
            return MLXN_OK;
        }
    }
    if (p->tree->rules.count == MLXN_GR_MAX_RULES)
        return mlxn_gr_fail(p->tree, p->at, p->error, MLXN_ERR_LIMIT, "more than %u rules", MLXN_GR_MAX_RULES);
    if (!MLXN_GR_ROOM(p->tree->rules)) return mlxn_gb_no_memory(p);
    *out = p->tree->rules.count++;
    p->tree->rules.data[*out] = (mlxn_gr_rule){.name = {name, n}, .body = UINT32_MAX, .at = p->at};
    p->names[h & p->names_mask] = *out + 1;
    p->at += n;
    return MLXN_OK;
}

static mlxn_status read_alternatives(mlxn_gb_parser *p, uint32_t *out);

static mlxn_status read_group(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t start = p->at++;
    char text[16];
    if (++p->nesting > MLXN_GR_MAX_NESTING)
        return mlxn_gr_fail(p->tree, start, p->error, MLXN_ERR_LIMIT, "groups are nested more than %u deep",
                            MLXN_GR_MAX_NESTING);
    mlxn_status status = read_alternatives(p, out);
    if (status) return status;
    if (mlxn_gb_peek(p, 0) != ')')
        return MLXN_GB_FAIL(p, start, "the group that begins here is not closed: %s comes first",
                            at_definition(p) ? "the next rule" : mlxn_gb_shown(p, text));
    p->at++;
    p->nesting--;
    return MLXN_OK;
}

static mlxn_status read_reference(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t rule;
    mlxn_status status = read_name(p, &rule);
    if (status) return status;
    if (!MLXN_GR_ROOM(p->tree->refs)) return mlxn_gb_no_memory(p);
    p->tree->refs.data[p->tree->refs.count++] = rule;
    return mlxn_gb_add_node(p, (mlxn_gr_node){.kind = MLXN_GR_REF, .first = rule}, out);
}

static mlxn_status read_element(mlxn_gb_parser *p, uint32_t *out) {
    uint8_t c = mlxn_gb_peek(p, 0);
    char text[16];
    if (c == '"') return mlxn_gb_literal(p, out);
    if (c == '[') return mlxn_gb_class(p, out);
    if (c == '(') return read_group(p, out);
    if (is_name(c)) return read_reference(p, out);
    if (c == '<' || (c == '!' && mlxn_gb_peek(p, 1) == '<'))
        return MLXN_GB_FAIL(p, p->at, "tokens cannot be named: special tokens are no part of the text");
    if (c == '*' || c == '+' || c == '?' || c == '{') return MLXN_GB_FAIL(p, p->at, "'%c' has nothing to repeat", c);
    if (c != '.') return MLXN_GB_FAIL(p, p->at, "%s is not expected here", mlxn_gb_shown(p, text));
    uint32_t first = p->tree->ranges.count;
    return mlxn_gb_add_set(p, p->at++, first, true, out);
}

static mlxn_status read_number(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t start = p->at, value = 0;
    char text[16];
    for (; mlxn_gb_peek(p, 0) >= '0' && mlxn_gb_peek(p, 0) <= '9'; p->at++) {
        value = value * 10 + (uint32_t)(mlxn_gb_peek(p, 0) - '0');
        if (value > MLXN_GR_MAX_REPEAT)
            return mlxn_gr_fail(p->tree, start, p->error, MLXN_ERR_LIMIT, "repetition is limited to %u times",
                                MLXN_GR_MAX_REPEAT);
    }
    if (p->at == start) return MLXN_GB_FAIL(p, start, "a number is wanted, not %s", mlxn_gb_shown(p, text));
    *out = value;
    return MLXN_OK;
}

/* {m}, {m,}, {m,n}, {,n} */
static mlxn_status read_braces(mlxn_gb_parser *p, uint32_t *min, uint32_t *max) {
    uint32_t start = p->at++;
    char text[16];
    *min = 0;
    mlxn_gb_skip_space(p);
    mlxn_status status = mlxn_gb_peek(p, 0) == ',' ? MLXN_OK : read_number(p, min);
    *max = *min;
    mlxn_gb_skip_space(p);
    if (!status && mlxn_gb_peek(p, 0) == ',') {
        p->at++;
        mlxn_gb_skip_space(p);
        *max = MLXN_GR_UNBOUNDED;
        if (mlxn_gb_peek(p, 0) != '}') status = read_number(p, max);
        mlxn_gb_skip_space(p);
    }
    if (status) return status;
    if (mlxn_gb_peek(p, 0) != '}') return MLXN_GB_FAIL(p, p->at, "'}' is wanted, not %s", mlxn_gb_shown(p, text));
    p->at++;
    if (*min > *max) return MLXN_GB_FAIL(p, start, "the repetition wants at least %u and at most %u", *min, *max);
    return MLXN_OK;
}

/* What may follow an element. */
static mlxn_status read_repetition(mlxn_gb_parser *p, uint32_t *node) {
    for (uint32_t n = 0;; n++) {
        mlxn_gb_skip_space(p);
        uint8_t c = mlxn_gb_peek(p, 0);
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
        if (!status) status = mlxn_gb_add_node(p, repeat, node);
        if (status) return status;
    }
}

static mlxn_status read_sequence(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t from = p->pending.count;
    for (;;) {
        mlxn_gb_skip_space(p);
        uint8_t c = mlxn_gb_peek(p, 0);
        if (p->at >= p->tree->size || c == '|' || c == ')' || at_definition(p))
            return gather(p, MLXN_GR_SEQ, from, out);
        uint32_t node;
        mlxn_status status = read_element(p, &node);
        if (!status) status = read_repetition(p, &node);
        if (!status) status = hold(p, node);
        if (status) return status;
    }
}

static mlxn_status read_alternatives(mlxn_gb_parser *p, uint32_t *out) {
    uint32_t from = p->pending.count, node;
    for (;;) {
        mlxn_status status = read_sequence(p, &node);
        if (!status) status = hold(p, node);
        if (status) return status;
        if (mlxn_gb_peek(p, 0) != '|') return gather(p, MLXN_GR_ALT, from, out);
        p->at++;
    }
}

static mlxn_status read_rule(mlxn_gb_parser *p) {
    uint32_t start = p->at, rule, body, first_ref = p->tree->refs.count;
    char text[16];
    if (!name_length(p))
        return MLXN_GB_FAIL(p, start, "the name of a rule is wanted, not %s", mlxn_gb_shown(p, text));
    if (!at_definition(p)) {
        p->at += name_length(p);
        mlxn_gb_skip_space(p);
        return MLXN_GB_FAIL(p, p->at, "\"::=\" is wanted, not %s", mlxn_gb_shown(p, text));
    }
    mlxn_status status = read_name(p, &rule);
    if (status) return status;
    mlxn_gr_rule *r = &p->tree->rules.data[rule];
    if (r->body != UINT32_MAX)
        return MLXN_GB_FAIL(p, start, "rule %.*s is defined twice", (int)mlxn_min_u64(r->name.size, 64),
                            r->name.data);
    r->at = start;
    mlxn_gb_skip_space(p);
    p->at += 3;
    status = read_alternatives(p, &body);
    if (status) return status;
    if (p->at < p->tree->size && mlxn_gb_peek(p, 0) == ')') return MLXN_GB_FAIL(p, p->at, "')' closes no group");
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
    mlxn_gb_parser p = {.tree = tree, .error = error};
    mlxn_status status = MLXN_OK;
    for (mlxn_gb_skip_space(&p); !status && p.at < tree->size; mlxn_gb_skip_space(&p)) status = read_rule(&p);
    if (!status && tree->root == UINT32_MAX)
        status = mlxn_fail(error, MLXN_ERR_FORMAT, "grammar: there is no rule root, where the text begins");
    mlxn_free(p.pending.data);
    mlxn_free(p.names);
    return status;
}
