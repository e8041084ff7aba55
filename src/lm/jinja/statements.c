/* statements.c: the parser of what stands in "{% %}". */
#include "lm/jinja/internal.h"

static void parse_body(jn_parser *p, jn_nodes *out, const char *const *ends, const jn_token *open);

static void end_block(jn_parser *p) {
    if (p->at->type != JN_T_BLOCK_END) mlxn_jn_unexpected(p, "\"%}\"");
    p->at++;
}

_Noreturn static void fail_at(jn_parser *p, const jn_token *at, mlxn_status status, const char *text,
                              const jn_string *name) {
    p->r->line = at->line;
    p->r->column = at->column;
    mlxn_jn_fail(p->r, status, text, name ? (int)mlxn_min_u64(name->size, 60) : 0, name ? name->data : "");
}

/* A body that ends with the block `end`, which is consumed with its "%}". */
static void body_until(jn_parser *p, jn_nodes *out, const char *end, const jn_token *open) {
    const char *const ends[] = {end, NULL};
    parse_body(p, out, ends, open);
    p->at++;
    end_block(p);
}

static jn_node *target_name(jn_parser *p, bool member) {
    const jn_token *t = mlxn_jn_expect_name(p, "a name to assign to");
    static const char *const reserved[] = {"true", "True", "false", "False", "none", "None"};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (mlxn_jn_is(t->text, reserved[i])) fail_at(p, t, MLXN_ERR_FORMAT, "can't assign to %.*s", t->text);
    jn_node *node = mlxn_jn_node_new(p, JN_NAME, t);
    node->name = t->text;
    if (member && mlxn_jn_skip_op(p, '.')) {
        jn_node *m = mlxn_jn_node_new(p, JN_MEMBER, t);
        m->a = node;
        m->name = mlxn_jn_expect_name(p, "the name of a member")->text;
        return m;
    }
    return node;
}

/* One name, or several with commas between, in parentheses or not. */
static jn_node *parse_target(jn_parser *p, bool member) {
    const jn_token *at = p->at;
    jn_node *first;
    mlxn_jn_enter(p->r);
    if (mlxn_jn_skip_op(p, '(')) {
        first = parse_target(p, member);
        mlxn_jn_expect_op(p, ')', "')'");
    } else {
        first = target_name(p, member);
    }
    jn_leave(p->r);
    if (!mlxn_jn_at_op(p, ',')) return first;
    jn_node *tuple = mlxn_jn_node_new(p, JN_TUPLING, at);
    mlxn_jn_add_node(p, &tuple->items, first);
    while (mlxn_jn_skip_op(p, ',')) {
        if (mlxn_jn_at_name(p, "in") || mlxn_jn_at_op(p, '=') || mlxn_jn_at_op(p, ')')) break;
        if (mlxn_jn_skip_op(p, '(')) {
            mlxn_jn_enter(p->r);
            mlxn_jn_add_node(p, &tuple->items, parse_target(p, member));
            jn_leave(p->r);
            mlxn_jn_expect_op(p, ')', "')'");
        } else {
            mlxn_jn_add_node(p, &tuple->items, target_name(p, member));
        }
    }
    return tuple;
}

static jn_node *parse_if(jn_parser *p, const jn_token *at) {
    static const char *const after_if[] = {"elif", "else", "endif", NULL}, *const after_else[] = {"endif", NULL};
    jn_node *node = mlxn_jn_node_new(p, JN_IF, at);
    bool last = false;
    for (const jn_token *open = at;;) {
        jn_node *branch = mlxn_jn_node_new(p, JN_BRANCH, open);
        if (!last) branch->a = mlxn_jn_parse_tuple(p, false, NULL);
        end_block(p);
        parse_body(p, &branch->body, last ? after_else : after_if, open);
        mlxn_jn_add_node(p, &node->items, branch);
        open = p->at++;
        if (mlxn_jn_is(open->text, "endif")) break;
        last = mlxn_jn_is(open->text, "else");
    }
    end_block(p);
    return node;
}

static jn_node *parse_for(jn_parser *p, const jn_token *at) {
    static const char *const ends[] = {"endfor", "else", NULL};
    jn_node *node = mlxn_jn_node_new(p, JN_FOR, at);
    node->a = parse_target(p, false);
    if (!mlxn_jn_skip_name(p, "in")) mlxn_jn_unexpected(p, "\"in\"");
    node->b = mlxn_jn_parse_tuple(p, false, "recursive");
    if (mlxn_jn_skip_name(p, "if")) node->c = mlxn_jn_parse_expression(p);
    if (mlxn_jn_skip_name(p, "recursive")) node->op = 'r';
    end_block(p);
    p->loops++;
    parse_body(p, &node->body, ends, at);
    p->loops--;
    if (mlxn_jn_is(p->at++->text, "else")) {
        end_block(p);
        body_until(p, &node->other, "endfor", at);
    } else {
        end_block(p);
    }
    return node;
}

static jn_node *parse_set(jn_parser *p, const jn_token *at) {
    jn_node *target = parse_target(p, true);
    if (mlxn_jn_skip_op(p, '=')) {
        jn_node *node = mlxn_jn_node_new(p, JN_SET, at);
        node->a = target;
        node->b = mlxn_jn_parse_tuple(p, true, NULL);
        end_block(p);
        return node;
    }
    jn_node *node = mlxn_jn_node_new(p, JN_SET_BLOCK, at);
    node->a = target;
    node->b = mlxn_jn_parse_filters(p, NULL, false);
    if (p->at->type != JN_T_BLOCK_END) mlxn_jn_unexpected(p, "'=' or \"%}\"");
    p->at++;
    body_until(p, &node->body, "endset", at);
    return node;
}

static jn_node *parse_with(jn_parser *p, const jn_token *at) {
    jn_node *node = mlxn_jn_node_new(p, JN_WITH, at);
    while (p->at->type != JN_T_BLOCK_END) {
        if (node->items.n) mlxn_jn_expect_op(p, ',', "',' or \"%}\"");
        jn_node *item = mlxn_jn_node_new(p, JN_ARGUMENT, p->at);
        item->a = target_name(p, false);
        mlxn_jn_expect_op(p, '=', "'='");
        item->b = mlxn_jn_parse_expression(p);
        mlxn_jn_add_node(p, &node->items, item);
    }
    end_block(p);
    body_until(p, &node->body, "endwith", at);
    return node;
}

/* After "(": parameters with their defaults, up to and with ")". */
static void parse_parameters(jn_parser *p, jn_node *macro) {
    bool defaults = false;
    while (!mlxn_jn_skip_op(p, ')')) {
        if (macro->items.n) mlxn_jn_expect_op(p, ',', "',' or ')'");
        if (macro->items.n && mlxn_jn_skip_op(p, ')')) return;
        const jn_token *at = p->at;
        jn_node *item = mlxn_jn_node_new(p, JN_ARGUMENT, at);
        item->name = target_name(p, false)->name;
        if (mlxn_jn_skip_op(p, '=')) {
            item->a = mlxn_jn_parse_expression(p);
            defaults = true;
        } else if (defaults) {
            fail_at(p, at, MLXN_ERR_FORMAT, "the parameter %.*s has no default, but one before it does", item->name);
        }
        mlxn_jn_add_node(p, &macro->items, item);
    }
}

/* The body of a macro or a call block. What it uses, those around it use too. */
static void macro_body(jn_parser *p, jn_node *macro, const char *end, const jn_token *open, int outer) {
    uint32_t loops = p->loops;
    p->loops = 0;
    body_until(p, &macro->body, end, open);
    p->loops = loops;
    macro->op = p->uses;
    p->uses |= outer;
}

static jn_node *parse_macro(jn_parser *p, const jn_token *at) {
    jn_node *node = mlxn_jn_node_new(p, JN_MACRO, at);
    int outer = p->uses;
    p->uses = 0;
    node->name = target_name(p, false)->name;
    mlxn_jn_expect_op(p, '(', "'('");
    parse_parameters(p, node);
    end_block(p);
    macro_body(p, node, "endmacro", at, outer);
    return node;
}

static jn_node *parse_call_block(jn_parser *p, const jn_token *at) {
    jn_node *node = mlxn_jn_node_new(p, JN_CALL_BLOCK, at);
    node->b = mlxn_jn_node_new(p, JN_MACRO, at);
    int outer = p->uses;
    p->uses = 0;
    if (mlxn_jn_skip_op(p, '(')) parse_parameters(p, node->b);
    const jn_token *call = p->at;
    node->a = mlxn_jn_parse_expression(p);
    if (node->a->kind != JN_CALL) fail_at(p, call, MLXN_ERR_FORMAT, "expected a call of a macro%.*s", NULL);
    end_block(p);
    macro_body(p, node->b, "endcall", at, outer);
    return node;
}

static jn_node *parse_filter_block(jn_parser *p, const jn_token *at) {
    jn_node *node = mlxn_jn_node_new(p, JN_FILTER_BLOCK, at);
    node->b = mlxn_jn_parse_filters(p, NULL, true);
    end_block(p);
    body_until(p, &node->body, "endfilter", at);
    return node;
}

static jn_node *parse_print(jn_parser *p, const jn_token *at) {
    jn_node *node = mlxn_jn_node_new(p, JN_SCOPE, at);
    while (p->at->type != JN_T_BLOCK_END) {
        if (node->body.n) mlxn_jn_expect_op(p, ',', "',' or \"%}\"");
        jn_node *out = mlxn_jn_node_new(p, JN_OUTPUT, p->at);
        out->a = mlxn_jn_parse_expression(p);
        mlxn_jn_add_node(p, &node->body, out);
    }
    end_block(p);
    return node;
}

static jn_node *parse_generation(jn_parser *p, const jn_token *at) {
    jn_node *node = mlxn_jn_node_new(p, JN_SCOPE, at);
    end_block(p);
    body_until(p, &node->body, "endgeneration", at);
    return node;
}

static jn_node *parse_jump(jn_parser *p, const jn_token *at) {
    if (!p->loops) fail_at(p, at, MLXN_ERR_FORMAT, "'%.*s' outside a loop", at->text);
    end_block(p);
    return mlxn_jn_node_new(p, mlxn_jn_is(at->text, "break") ? JN_BREAK : JN_CONTINUE, at);
}

static jn_node *refuse(jn_parser *p, const jn_token *at) {
    fail_at(p, at, MLXN_ERR_UNSUPPORTED,
            "the statement '%.*s' is not supported: a chat template is one text by itself", at->text);
}

static jn_node *parse_statement(jn_parser *p) {
    static const struct {
        const char *name;
        jn_node *(*parse)(jn_parser *p, const jn_token *at);
    } table[] = {{"if", parse_if},
                 {"for", parse_for},
                 {"set", parse_set},
                 {"with", parse_with},
                 {"macro", parse_macro},
                 {"call", parse_call_block},
                 {"filter", parse_filter_block},
                 {"print", parse_print},
                 {"generation", parse_generation},
                 {"break", parse_jump},
                 {"continue", parse_jump},
                 {"include", refuse},
                 {"import", refuse},
                 {"from", refuse},
                 {"extends", refuse},
                 {"block", refuse},
                 {"autoescape", refuse}};
    const jn_token *at = mlxn_jn_expect_name(p, "the name of a statement");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!mlxn_jn_is(at->text, table[i].name)) continue;
        mlxn_jn_enter(p->r);
        jn_node *node = table[i].parse(p, at);
        jn_leave(p->r);
        return node;
    }
    fail_at(p, at, MLXN_ERR_FORMAT, "unknown statement '%.*s'", at->text);
}

/* Up to a block whose name is one of `ends`, on which p->at is left; NULL: up to the end of the template. */
static void parse_body(jn_parser *p, jn_nodes *out, const char *const *ends, const jn_token *open) {
    for (;;) {
        const jn_token *t = p->at;
        jn_node *node;
        if (t->type == JN_T_TEXT) {
            node = mlxn_jn_node_new(p, JN_TEXT, t);
            node->value = (jn_value){.type = JN_STRING, .s = t->text};
            p->at++;
        } else if (t->type == JN_T_PRINT) {
            p->at++;
            node = mlxn_jn_node_new(p, JN_OUTPUT, p->at);
            node->a = mlxn_jn_parse_tuple(p, true, NULL);
            if (p->at->type != JN_T_PRINT_END) mlxn_jn_unexpected(p, "\"}}\"");
            p->at++;
        } else if (t->type == JN_T_BLOCK) {
            p->at++;
            for (const char *const *end = ends; end && *end; end++)
                if (mlxn_jn_at_name(p, *end)) return;
            node = parse_statement(p);
        } else {
            if (!ends) return;
            const char *last = ends[0];
            while (*ends) last = *ends++;
            if (!strcmp(last, "else")) last = "endfor";
            p->r->line = open->line;
            p->r->column = open->column;
            mlxn_jn_fail(p->r, MLXN_ERR_FORMAT, "the block '%.*s' does not end, want \"{%% %s %%}\"",
                         (int)mlxn_min_u64(open->text->size, 60), open->text->data, last);
        }
        mlxn_jn_add_node(p, out, node);
    }
}

void mlxn_jn_parse_template(jn_parser *p, jn_nodes *out) { parse_body(p, out, NULL, NULL); }
