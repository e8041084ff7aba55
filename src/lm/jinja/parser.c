/* parser.c: expressions. Precedence, from the loosest: a if b else c; or; and; not; comparisons; + -; ~; * / // %;
 * **; signs; then members, indices, calls, filters and tests. */
#include "lm/jinja/internal.h"

jn_node *mlxn_jn_node_new(jn_parser *p, jn_kind kind, const jn_token *at) {
    jn_node *node = mlxn_jn_alloc(p->r, sizeof *node);
    mlxn_jn_charge(p->r, 0);
    node->kind = kind;
    node->line = at->line;
    node->column = at->column;
    return node;
}

void mlxn_jn_add_node(jn_parser *p, jn_nodes *list, jn_node *node) {
    list->v = mlxn_jn_grow(p->r, list->v, list->n, &list->room, sizeof *list->v);
    list->v[list->n++] = node;
}

static void locate(jn_parser *p, const jn_token *at) {
    p->r->line = at->line;
    p->r->column = at->column;
}

void mlxn_jn_unexpected(jn_parser *p, const char *want) {
    static const char *const what[] = {"the end of the template", "text", "\"{{\"", "\"}}\"", "\"{%\"", "\"%}\""};
    const jn_token *t = p->at;
    locate(p, t);
    if (t->type <= JN_T_BLOCK_END) mlxn_jn_fail(p->r, MLXN_ERR_FORMAT, "got %s, want %s", what[t->type], want);
    if (t->type == JN_T_NUMBER) mlxn_jn_fail(p->r, MLXN_ERR_FORMAT, "got a number, want %s", want);
    mlxn_jn_fail(p->r, MLXN_ERR_FORMAT, "got %s'%.*s', want %s", t->type == JN_T_STRING ? "the string " : "",
                 (int)mlxn_min_u64(t->text->size, 60), t->text->data, want);
}

bool mlxn_jn_at_name(const jn_parser *p, const char *name) {
    return p->at->type == JN_T_NAME && mlxn_jn_is(p->at->text, name);
}

bool mlxn_jn_skip_name(jn_parser *p, const char *name) {
    if (!mlxn_jn_at_name(p, name)) return false;
    p->at++;
    return true;
}

bool mlxn_jn_at_op(const jn_parser *p, int op) { return p->at->type == JN_T_OP && p->at->op == op; }

bool mlxn_jn_skip_op(jn_parser *p, int op) {
    if (!mlxn_jn_at_op(p, op)) return false;
    p->at++;
    return true;
}

void mlxn_jn_expect_op(jn_parser *p, int op, const char *want) {
    if (!mlxn_jn_skip_op(p, op)) mlxn_jn_unexpected(p, want);
}

const jn_token *mlxn_jn_expect_name(jn_parser *p, const char *what) {
    if (p->at->type != JN_T_NAME) mlxn_jn_unexpected(p, what);
    return p->at++;
}

static jn_node *parse_unary(jn_parser *p, bool with_filters);

static jn_node *binary(jn_parser *p, const jn_token *at, int op, jn_node *a, jn_node *b) {
    jn_node *node = mlxn_jn_node_new(p, JN_BINARY, at);
    node->op = op;
    node->a = a;
    node->b = b;
    return node;
}

/* ---- arguments, members, filters, tests ---- */

/* After "(", up to and with ")". */
static void parse_args(jn_parser *p, jn_nodes *out) {
    for (bool first = true; !mlxn_jn_skip_op(p, ')'); first = false) {
        if (!first) {
            mlxn_jn_expect_op(p, ',', "',' or ')'");
            if (mlxn_jn_skip_op(p, ')')) return;
        }
        jn_node *arg = mlxn_jn_node_new(p, JN_ARGUMENT, p->at);
        if (mlxn_jn_skip_op(p, '*')) {
            arg->op = '*';
        } else if (mlxn_jn_skip_op(p, JN_OP_POW)) {
            arg->op = '2';
        } else if (p->at->type == JN_T_NAME && p->at[1].type == JN_T_OP && p->at[1].op == '=') {
            arg->name = p->at->text;
            p->at += 2;
        } else if (out->n && (out->v[out->n - 1]->name || out->v[out->n - 1]->op == '2')) {
            locate(p, p->at);
            mlxn_jn_fail(p->r, MLXN_ERR_FORMAT,
                         "invalid syntax for function call expression: a positional argument after "
                         "one with a name");
        }
        arg->a = mlxn_jn_parse_expression(p);
        mlxn_jn_add_node(p, out, arg);
    }
}

/* A dotted name. */
static const jn_string *filter_name(jn_parser *p, const char *what) {
    const jn_string *name = mlxn_jn_expect_name(p, what)->text;
    while (mlxn_jn_skip_op(p, '.')) {
        const jn_string *more = mlxn_jn_expect_name(p, what)->text;
        jn_out out = {0};
        mlxn_jn_put(p->r, &out, name->data, name->size);
        jn_puts(p->r, &out, ".");
        mlxn_jn_put(p->r, &out, more->data, more->size);
        name = mlxn_jn_out_string(p->r, &out).s;
    }
    return name;
}

jn_node *mlxn_jn_parse_filters(jn_parser *p, jn_node *value, bool inline_start) {
    while (inline_start || mlxn_jn_at_op(p, '|')) {
        if (!inline_start) p->at++;
        inline_start = false;
        jn_node *filter = mlxn_jn_node_new(p, JN_FILTER, p->at);
        filter->name = filter_name(p, "the name of a filter");
        filter->a = value;
        if (mlxn_jn_skip_op(p, '(')) parse_args(p, &filter->items);
        value = filter;
    }
    return value;
}

static jn_node *parse_index(jn_parser *p, const jn_token *at, jn_node *a) {
    jn_node *parts[3] = {NULL, NULL, NULL};
    int n = 0;
    if (mlxn_jn_skip_op(p, ']')) { /* an empty tuple, which as in Jinja2 is the index of nothing */
        jn_node *empty = mlxn_jn_node_new(p, JN_INDEX, at);
        empty->a = a;
        empty->b = mlxn_jn_node_new(p, JN_TUPLING, at);
        return empty;
    }
    if (!mlxn_jn_at_op(p, ':')) parts[0] = mlxn_jn_parse_expression(p);
    while (n < 2 && mlxn_jn_skip_op(p, ':')) {
        n++;
        if (!mlxn_jn_at_op(p, ':') && !mlxn_jn_at_op(p, ']') && !mlxn_jn_at_op(p, ','))
            parts[n] = mlxn_jn_parse_expression(p);
    }
    jn_node *node = mlxn_jn_node_new(p, n ? JN_SLICE : JN_INDEX, at);
    node->a = a;
    if (n) {
        for (int i = 0; i < 3; i++) mlxn_jn_add_node(p, &node->items, parts[i]);
    } else if (mlxn_jn_at_op(p, ',')) {
        node->b = mlxn_jn_node_new(p, JN_TUPLING, at);
        mlxn_jn_add_node(p, &node->b->items, parts[0]);
        while (mlxn_jn_skip_op(p, ',')) mlxn_jn_add_node(p, &node->b->items, mlxn_jn_parse_expression(p));
    } else {
        node->b = parts[0];
    }
    mlxn_jn_expect_op(p, ']', "']'");
    return node;
}

static jn_node *parse_call(jn_parser *p, jn_node *a) {
    jn_node *node = mlxn_jn_node_new(p, JN_CALL, p->at++);
    node->a = a;
    parse_args(p, &node->items);
    return node;
}

static jn_node *parse_postfix(jn_parser *p, jn_node *node) {
    for (;;) {
        const jn_token *at = p->at;
        if (mlxn_jn_skip_op(p, '.')) {
            if (p->at->type == JN_T_NUMBER && p->at->value.type == JN_INT) {
                jn_node *index = mlxn_jn_node_new(p, JN_INDEX, at);
                index->a = node;
                index->b = mlxn_jn_node_new(p, JN_CONST, p->at);
                index->b->value = p->at++->value;
                node = index;
                continue;
            }
            jn_node *member = mlxn_jn_node_new(p, JN_MEMBER, at);
            member->name = mlxn_jn_expect_name(p, "a name or a number")->text;
            member->a = node;
            node = member;
        } else if (mlxn_jn_skip_op(p, '[')) {
            node = parse_index(p, at, node);
        } else if (mlxn_jn_at_op(p, '(')) {
            node = parse_call(p, node);
        } else {
            return node;
        }
    }
}

static jn_node *parse_primary(jn_parser *p);

static jn_node *parse_test(jn_parser *p, jn_node *value) {
    jn_node *test = mlxn_jn_node_new(p, JN_TEST, p->at);
    if (mlxn_jn_skip_name(p, "not")) test->op = '!';
    test->name = filter_name(p, "the name of a test");
    test->a = value;
    const jn_token *t = p->at;
    if (mlxn_jn_skip_op(p, '(')) {
        parse_args(p, &test->items);
    } else if (t->type == JN_T_STRING || t->type == JN_T_NUMBER || mlxn_jn_at_op(p, '[') || mlxn_jn_at_op(p, '{') ||
               (t->type == JN_T_NAME && !mlxn_jn_is(t->text, "else") && !mlxn_jn_is(t->text, "or") &&
                !mlxn_jn_is(t->text, "and"))) {
        if (mlxn_jn_at_name(p, "is")) {
            locate(p, t);
            mlxn_jn_fail(p->r, MLXN_ERR_FORMAT, "tests cannot be chained with is");
        }
        jn_node *arg = mlxn_jn_node_new(p, JN_ARGUMENT, t);
        arg->a = parse_postfix(p, parse_primary(p));
        mlxn_jn_add_node(p, &test->items, arg);
    }
    return test;
}

static jn_node *parse_filters_and_tests(jn_parser *p, jn_node *node) {
    for (;;) {
        if (mlxn_jn_at_op(p, '|'))
            node = mlxn_jn_parse_filters(p, node, false);
        else if (mlxn_jn_skip_name(p, "is"))
            node = parse_test(p, node);
        else if (mlxn_jn_at_op(p, '('))
            node = parse_call(p, node);
        else
            return node;
    }
}

/* ---- the rest of the levels ---- */

static jn_node *parse_name(jn_parser *p) {
    static const struct {
        const char *name;
        jn_type type;
        bool b;
    } constants[] = {{"true", JN_BOOL, true},   {"True", JN_BOOL, true},  {"false", JN_BOOL, false},
                     {"False", JN_BOOL, false}, {"none", JN_NONE, false}, {"None", JN_NONE, false}};
    const jn_token *t = p->at++;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (!mlxn_jn_is(t->text, constants[i].name)) continue;
        jn_node *node = mlxn_jn_node_new(p, JN_CONST, t);
        node->value = constants[i].type == JN_NONE ? jn_none() : jn_bool(constants[i].b);
        return node;
    }
    jn_node *node = mlxn_jn_node_new(p, JN_NAME, t);
    node->name = t->text;
    if (mlxn_jn_is(t->text, "caller")) p->uses |= JN_USES_CALLER;
    if (mlxn_jn_is(t->text, "kwargs")) p->uses |= JN_USES_KWARGS;
    if (mlxn_jn_is(t->text, "varargs")) p->uses |= JN_USES_VARARGS;
    p->names = mlxn_jn_grow(p->r, p->names, p->n_names, &p->names_room, sizeof *p->names);
    p->names[p->n_names++] = t->text;
    return node;
}

static jn_node *parse_string(jn_parser *p) {
    jn_node *node = mlxn_jn_node_new(p, JN_CONST, p->at);
    jn_value v = {.type = JN_STRING, .s = p->at++->text};
    if (p->at->type == JN_T_STRING) { /* literals side by side are one */
        jn_out out = {0};
        mlxn_jn_put(p->r, &out, v.s->data, v.s->size);
        for (; p->at->type == JN_T_STRING; p->at++) mlxn_jn_put(p->r, &out, p->at->text->data, p->at->text->size);
        v = mlxn_jn_out_string(p->r, &out);
    }
    node->value = v;
    return node;
}

static jn_node *parse_list(jn_parser *p) {
    jn_node *node = mlxn_jn_node_new(p, JN_LISTING, p->at++);
    while (!mlxn_jn_skip_op(p, ']')) {
        if (node->items.n) {
            mlxn_jn_expect_op(p, ',', "',' or ']'");
            if (mlxn_jn_skip_op(p, ']')) break;
        }
        mlxn_jn_add_node(p, &node->items, mlxn_jn_parse_expression(p));
    }
    return node;
}

static jn_node *parse_map(jn_parser *p) {
    jn_node *node = mlxn_jn_node_new(p, JN_MAPPING, p->at++);
    while (!mlxn_jn_skip_op(p, '}')) {
        if (node->items.n) {
            mlxn_jn_expect_op(p, ',', "',' or '}'");
            if (mlxn_jn_skip_op(p, '}')) break;
        }
        mlxn_jn_add_node(p, &node->items, mlxn_jn_parse_expression(p));
        mlxn_jn_expect_op(p, ':', "':'");
        mlxn_jn_add_node(p, &node->items, mlxn_jn_parse_expression(p));
    }
    return node;
}

static jn_node *parse_primary(jn_parser *p) {
    const jn_token *t = p->at;
    if (t->type == JN_T_NAME) return parse_name(p);
    if (t->type == JN_T_STRING) return parse_string(p);
    if (t->type == JN_T_NUMBER) {
        jn_node *node = mlxn_jn_node_new(p, JN_CONST, t);
        node->value = p->at++->value;
        return node;
    }
    if (mlxn_jn_at_op(p, '[')) return parse_list(p);
    if (mlxn_jn_at_op(p, '{')) return parse_map(p);
    if (!mlxn_jn_skip_op(p, '(')) mlxn_jn_unexpected(p, "an expression");
    jn_node *node;
    if (mlxn_jn_at_op(p, ')'))
        node = mlxn_jn_node_new(p, JN_TUPLING, t);
    else
        node = mlxn_jn_parse_tuple(p, true, NULL);
    mlxn_jn_expect_op(p, ')', "')'");
    return node;
}

static jn_node *parse_unary(jn_parser *p, bool with_filters) {
    const jn_token *t = p->at;
    jn_node *node;
    locate(p, t);
    mlxn_jn_enter(p->r);
    if (mlxn_jn_at_op(p, '-') || mlxn_jn_at_op(p, '+')) {
        node = mlxn_jn_node_new(p, JN_UNARY, t);
        node->op = p->at++->op;
        node->a = parse_unary(p, false);
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (with_filters) node = parse_filters_and_tests(p, node);
    jn_leave(p->r);
    return node;
}

/* The arithmetic levels, tightest last; '~' is flat: its operands are joined at once. */
static jn_node *parse_level(jn_parser *p, int level) {
    static const int ops[4][4] = {{'+', '-'}, {'~'}, {'*', '/', JN_OP_FLOORDIV, '%'}, {JN_OP_POW}};
    jn_node *left = level == 3 ? parse_unary(p, true) : parse_level(p, level + 1);
    for (;;) {
        int op = 0;
        for (int i = 0; i < 4 && ops[level][i]; i++)
            if (mlxn_jn_at_op(p, ops[level][i])) op = ops[level][i];
        if (!op) return left;
        const jn_token *at = p->at++;
        jn_node *right = level == 3 ? parse_unary(p, true) : parse_level(p, level + 1);
        if (op == '~' && left->kind == JN_CONCAT && left->op == '~') {
            mlxn_jn_add_node(p, &left->items, right);
        } else if (op == '~') {
            jn_node *node = mlxn_jn_node_new(p, JN_CONCAT, at);
            node->op = '~';
            mlxn_jn_add_node(p, &node->items, left);
            mlxn_jn_add_node(p, &node->items, right);
            left = node;
        } else {
            left = binary(p, at, op, left, right);
        }
    }
}

static int comparison(jn_parser *p) {
    static const int ops[] = {JN_OP_EQ, JN_OP_NE, '<', JN_OP_LE, '>', JN_OP_GE};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (mlxn_jn_skip_op(p, ops[i])) return ops[i];
    if (mlxn_jn_skip_name(p, "in")) return JN_OP_IN;
    if (mlxn_jn_at_name(p, "not") && p->at[1].type == JN_T_NAME && mlxn_jn_is(p->at[1].text, "in")) {
        p->at += 2;
        return JN_OP_NOT_IN;
    }
    return 0;
}

static jn_node *parse_compare(jn_parser *p) {
    jn_node *left = parse_level(p, 0), *node = NULL;
    for (;;) {
        const jn_token *at = p->at;
        int op = comparison(p);
        if (!op) return node ? node : left;
        if (!node) {
            node = mlxn_jn_node_new(p, JN_COMPARE, at);
            node->a = left;
        }
        jn_node *operand = mlxn_jn_node_new(p, JN_ARGUMENT, at);
        operand->op = op;
        operand->a = parse_level(p, 0);
        mlxn_jn_add_node(p, &node->items, operand);
    }
}

static jn_node *parse_not(jn_parser *p) {
    const jn_token *at = p->at;
    if (!mlxn_jn_skip_name(p, "not")) return parse_compare(p);
    jn_node *node = mlxn_jn_node_new(p, JN_UNARY, at);
    mlxn_jn_enter(p->r);
    node->op = JN_OP_NOT;
    node->a = parse_not(p);
    jn_leave(p->r);
    return node;
}

static jn_node *parse_and(jn_parser *p) {
    jn_node *left = parse_not(p);
    for (const jn_token *at = p->at; mlxn_jn_skip_name(p, "and"); at = p->at)
        left = binary(p, at, JN_OP_AND, left, parse_not(p));
    return left;
}

static jn_node *parse_or(jn_parser *p) {
    jn_node *left = parse_and(p);
    for (const jn_token *at = p->at; mlxn_jn_skip_name(p, "or"); at = p->at)
        left = binary(p, at, JN_OP_OR, left, parse_and(p));
    return left;
}

jn_node *mlxn_jn_parse_expression(jn_parser *p) {
    mlxn_jn_enter(p->r);
    jn_node *node = parse_or(p);
    for (const jn_token *at = p->at; mlxn_jn_skip_name(p, "if"); at = p->at) {
        jn_node *condition = mlxn_jn_node_new(p, JN_CONDITION, at);
        condition->a = node;
        condition->b = parse_or(p);
        if (mlxn_jn_skip_name(p, "else")) condition->c = mlxn_jn_parse_expression(p);
        node = condition;
    }
    jn_leave(p->r);
    return node;
}

jn_node *mlxn_jn_parse_tuple(jn_parser *p, bool condition, const char *end_name) {
    const jn_token *at = p->at;
    jn_node *first = condition ? mlxn_jn_parse_expression(p) : parse_or(p), *tuple = NULL;
    while (mlxn_jn_skip_op(p, ',')) {
        if (!tuple) {
            tuple = mlxn_jn_node_new(p, JN_TUPLING, at);
            mlxn_jn_add_node(p, &tuple->items, first);
        }
        jn_token_type t = p->at->type;
        if (t == JN_T_BLOCK_END || t == JN_T_PRINT_END || mlxn_jn_at_op(p, ')') || mlxn_jn_at_op(p, '=') ||
            (end_name && mlxn_jn_at_name(p, end_name)))
            break;
        mlxn_jn_add_node(p, &tuple->items, condition ? mlxn_jn_parse_expression(p) : parse_or(p));
    }
    return tuple ? tuple : first;
}
