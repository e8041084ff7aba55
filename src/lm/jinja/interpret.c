/* interpret.c: statements. */
#include "lm/jinja/internal.h"

typedef enum flow { GO_ON, BREAK, CONTINUE } flow;

static flow execute_body(jn_run *r, const jn_nodes *body);

static flow in_scope(jn_run *r, const jn_nodes *body, jn_scope *scope) {
    jn_scope *outer = r->scope;
    r->scope = scope;
    flow f = execute_body(r, body);
    r->scope = outer;
    return f;
}

jn_value mlxn_jn_capture(jn_run *r, const jn_nodes *body, jn_scope *scope) {
    jn_out text = {0}, *outer = r->out;
    r->out = &text;
    in_scope(r, body, scope);
    r->out = outer;
    return mlxn_jn_out_string(r, &text);
}

static void assign(jn_run *r, jn_scope *scope, const jn_node *target, jn_value v) {
    r->line = target->line, r->column = target->column;
    if (target->kind == JN_NAME) {
        mlxn_jn_scope_set(r, scope, target->name, v);
    } else if (target->kind == JN_MEMBER) {
        jn_value object = mlxn_jn_evaluate(r, target->a);
        if (object.type != JN_OBJECT || object.object->kind != JN_NAMESPACE)
            mlxn_jn_type_error(r, "cannot assign attribute on non-namespace object");
        mlxn_jn_map_set(r, object.object->members, (jn_value){.type = JN_STRING, .s = target->name}, v);
    } else {
        const jn_list *l = mlxn_jn_elements(r, v);
        size_t want = target->items.n;
        if (l->n < want) mlxn_jn_type_error(r, "not enough values to unpack (expected %zu, got %zu)", want, l->n);
        if (l->n > want) mlxn_jn_type_error(r, "too many values to unpack (expected %zu)", want);
        for (size_t i = 0; i < want; i++) assign(r, scope, target->items.v[i], l->v[i]);
    }
}

static flow execute_if(jn_run *r, const jn_node *node) {
    for (size_t i = 0; i < node->items.n; i++) {
        const jn_node *branch = node->items.v[i];
        if (!branch->a || mlxn_jn_truth(mlxn_jn_evaluate(r, branch->a))) return execute_body(r, &branch->body);
    }
    return GO_ON;
}

/* The elements for which the loop's filter holds; it sees the targets, but not this loop's `loop`. */
static jn_list *filtered(jn_run *r, const jn_node *node, jn_scope *outer, const jn_list *all) {
    jn_value kept = mlxn_jn_list_new(r, JN_ARRAY);
    jn_scope *before = r->scope;
    for (size_t i = 0; i < all->n; i++) {
        r->scope = mlxn_jn_scope_new(r, outer);
        assign(r, r->scope, node->a, all->v[i]);
        if (mlxn_jn_truth(mlxn_jn_evaluate(r, node->c))) mlxn_jn_append(r, kept, all->v[i]);
    }
    r->scope = before;
    return kept.list;
}

/* BREAK: the part for no elements leaves the loop around this one. */
static flow run_loop(jn_run *r, const jn_node *node, jn_scope *outer, jn_value iterable, uint32_t nesting) {
    jn_list *all = mlxn_jn_elements(r, iterable);
    if (node->c) all = filtered(r, node, outer, all);
    if (!all->n) {
        return in_scope(r, &node->other, mlxn_jn_scope_new(r, outer));
    }
    jn_value loop = mlxn_jn_object_new(r, JN_LOOP);
    loop.object->items = all;
    loop.object->nesting = nesting;
    loop.object->node = node;
    loop.object->scope = outer;
    const jn_string *name = mlxn_jn_text(r, "loop", 4);
    for (size_t i = 0; i < all->n; i++) {
        mlxn_jn_charge(r, 0);
        loop.object->at = i;
        jn_scope *scope = mlxn_jn_scope_new(r, outer);
        mlxn_jn_scope_set(r, scope, name, loop);
        assign(r, scope, node->a, all->v[i]);
        if (in_scope(r, &node->body, scope) == BREAK) break;
    }
    return GO_ON;
}

jn_value mlxn_jn_loop_again(jn_run *r, jn_value loop, jn_value iterable) {
    const jn_object *o = loop.object;
    if (o->node->op != 'r')
        mlxn_jn_type_error(r, "The loop must have the 'recursive' marker to be called recursively.");
    jn_out text = {0}, *outer = r->out;
    r->out = &text;
    mlxn_jn_enter(r);
    run_loop(r, o->node, o->scope, iterable, o->nesting + 1);
    jn_leave(r);
    r->out = outer;
    return mlxn_jn_out_string(r, &text);
}

static flow execute_with(jn_run *r, const jn_node *node) {
    jn_scope *scope = mlxn_jn_scope_new(r, r->scope);
    for (size_t i = 0; i < node->items.n; i++)
        mlxn_jn_scope_set(r, scope, node->items.v[i]->a->name, mlxn_jn_evaluate(r, node->items.v[i]->b));
    return in_scope(r, &node->body, scope);
}

static void execute_call_block(jn_run *r, const jn_node *node) {
    const jn_node *call = node->a;
    jn_value caller = mlxn_jn_make_macro(r, node->b), f = mlxn_jn_evaluate(r, call->a);
    jn_args args = mlxn_jn_evaluate_args(r, &call->items);
    jn_value named = mlxn_jn_map_new(r);
    for (size_t i = 0; args.named && i < args.named->n; i++)
        mlxn_jn_map_set(r, named.map, args.named->v[i].key, args.named->v[i].value);
    mlxn_jn_map_set(r, named.map, mlxn_jn_string_of(r, "caller", 6), caller);
    args.named = named.map;
    r->line = call->line, r->column = call->column;
    mlxn_jn_put_str(r, r->out, mlxn_jn_call(r, f, &args));
}

static flow execute(jn_run *r, const jn_node *node) {
    jn_value v;
    switch (node->kind) {
        case JN_TEXT:
            mlxn_jn_put(r, r->out, node->value.s->data, node->value.s->size);
            return GO_ON;
        case JN_OUTPUT:
            mlxn_jn_put_str(r, r->out, mlxn_jn_evaluate(r, node->a));
            return GO_ON;
        case JN_IF:
            return execute_if(r, node);
        case JN_FOR: {
            jn_value iterable = mlxn_jn_evaluate(r, node->b);
            return run_loop(r, node, r->scope, iterable, 0);
        }
        case JN_SET:
            v = mlxn_jn_evaluate(r, node->b);
            assign(r, r->scope, node->a, v);
            return GO_ON;
        case JN_SET_BLOCK:
            v = mlxn_jn_capture(r, &node->body, mlxn_jn_scope_new(r, r->scope));
            if (node->b) v = mlxn_jn_apply_filters(r, node->b, v);
            assign(r, r->scope, node->a, v);
            return GO_ON;
        case JN_WITH:
            return execute_with(r, node);
        case JN_MACRO:
            mlxn_jn_scope_set(r, r->scope, node->name, mlxn_jn_make_macro(r, node));
            return GO_ON;
        case JN_CALL_BLOCK:
            execute_call_block(r, node);
            return GO_ON;
        case JN_FILTER_BLOCK:
            v = mlxn_jn_capture(r, &node->body, mlxn_jn_scope_new(r, r->scope));
            mlxn_jn_put_str(r, r->out, mlxn_jn_apply_filters(r, node->b, v));
            return GO_ON;
        case JN_SCOPE:
            return in_scope(r, &node->body, mlxn_jn_scope_new(r, r->scope));
        case JN_BREAK:
            return BREAK;
        case JN_CONTINUE:
            return CONTINUE;
        default:
            mlxn_jn_fail(r, MLXN_ERR_INTERNAL, "a node of kind %d is no statement", (int)node->kind);
    }
}

static flow execute_body(jn_run *r, const jn_nodes *body) {
    flow f = GO_ON;
    mlxn_jn_enter(r);
    for (size_t i = 0; f == GO_ON && i < body->n; i++) {
        mlxn_jn_charge(r, 0);
        r->line = body->v[i]->line, r->column = body->v[i]->column;
        f = execute(r, body->v[i]);
    }
    jn_leave(r);
    return f;
}

void mlxn_jn_execute_body(jn_run *r, const jn_nodes *body) { execute_body(r, body); }
