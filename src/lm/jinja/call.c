/* call.c: calls of functions, methods, macros, filters and tests, and how arguments find their parameters. */
#include "lm/jinja/internal.h"

jn_args mlxn_jn_evaluate_args(jn_run *r, const jn_nodes *items) {
    jn_args args = {0};
    if (!items->n) return args;
    jn_value list = mlxn_jn_list_new(r, JN_ARRAY), named = mlxn_jn_map_new(r);
    for (size_t i = 0; i < items->n; i++) {
        const jn_node *arg = items->v[i];
        jn_value v = mlxn_jn_evaluate(r, arg->a);
        r->line = arg->line, r->column = arg->column;
        if (arg->op == '*') {
            const jn_list *all = mlxn_jn_elements(r, v);
            for (size_t k = 0; k < all->n; k++) mlxn_jn_append(r, list, all->v[k]);
        } else if (arg->op == '2') {
            if (v.type != JN_MAP)
                mlxn_jn_type_error(r, "argument after ** must be a mapping, not %s", mlxn_jn_type_name(v));
            for (size_t k = 0; k < v.map->n; k++) {
                mlxn_jn_need_string(r, v.map->v[k].key, "a keyword");
                mlxn_jn_map_set(r, named.map, v.map->v[k].key, v.map->v[k].value);
            }
        } else if (arg->name) {
            mlxn_jn_map_set(r, named.map, (jn_value){.type = JN_STRING, .s = arg->name}, v);
        } else {
            mlxn_jn_append(r, list, v);
        }
    }
    args.v = list.list->v;
    args.n = list.list->n;
    args.named = named.map->n ? named.map : NULL;
    return args;
}

/* Fills out[1..] by the names in b->params. */
static void bind(jn_run *r, const char *what, const jn_builtin *b, const jn_args *args, jn_value *out) {
    size_t n = 0, used = 0;
    for (const char *p = b->params; *p; n++) {
        size_t size = strcspn(p, " ");
        jn_value *named = NULL;
        if (args->named) named = mlxn_jn_map_get(r, args->named, mlxn_jn_string_of(r, p, size));
        if (named && n < args->n)
            mlxn_jn_type_error(r, "%s%s() got multiple values for argument '%.*s'", what, b->name, (int)size, p);
        out[n + 1] = n < args->n ? args->v[n] : named ? *named : (jn_value){.type = JN_MISSING};
        used += named != NULL;
        if (n < b->required && jn_missing(out[n + 1]))
            mlxn_jn_type_error(r, "%s%s() missing the argument '%.*s'", what, b->name, (int)size, p);
        p += size;
        p += strspn(p, " ");
    }
    if (args->n > n)
        mlxn_jn_type_error(r, "%s%s() takes at most %zu arguments (%zu given)", what, b->name, n, args->n);
    for (size_t i = 0; args->named && used < args->named->n && i < args->named->n; i++) {
        const jn_string *key = args->named->v[i].key.s;
        bool known = false;
        for (const char *p = b->params; *p && !known; p += strspn(p, " ")) {
            size_t size = strcspn(p, " ");
            known = size == key->size && !memcmp(p, key->data, size);
            p += size;
        }
        if (!known)
            mlxn_jn_type_error(r, "%s%s() got an unexpected keyword argument '%.*s'", what, b->name,
                               (int)mlxn_min_u64(key->size, 60), key->data);
    }
}

jn_value mlxn_jn_call_builtin(jn_run *r, const char *what, const jn_builtin *b, jn_value self, const jn_args *args) {
    jn_value bound[1 + JN_MAX_PARAMS] = {self};
    if (b->params) bind(r, what, b, args, bound);
    mlxn_jn_enter(r);
    mlxn_jn_charge(r, 0);
    jn_value out = b->fn(r, bound, args);
    jn_leave(r);
    return out;
}

jn_value mlxn_jn_make_macro(jn_run *r, const jn_node *node) {
    jn_function *f = mlxn_jn_alloc(r, sizeof *f);
    f->kind = JN_MACRO_FN;
    f->macro = node;
    f->scope = r->scope;
    return (jn_value){.type = JN_FUNCTION, .function = f};
}

static const jn_string *name_of(jn_run *r, const char *text) { return mlxn_jn_text(r, text, strlen(text)); }

static bool is_parameter(const jn_node *m, const jn_string *name) {
    for (size_t i = 0; i < m->items.n; i++)
        if (m->items.v[i]->name->size == name->size && !memcmp(m->items.v[i]->name->data, name->data, name->size))
            return true;
    return false;
}

/* What a macro was given beyond its parameters: "caller", "kwargs" and "varargs", if its body uses them. */
static void bind_rest(jn_run *r, const jn_node *m, const jn_args *args, jn_scope *scope) {
    const char *name = m->name ? m->name->data : "caller";
    int length = m->name ? (int)mlxn_min_u64(m->name->size, 60) : 6;
    jn_value rest = mlxn_jn_map_new(r), more = mlxn_jn_list_new(r, JN_TUPLE);
    for (size_t i = 0; args->named && i < args->named->n; i++) {
        jn_entry e = args->named->v[i];
        if (is_parameter(m, e.key.s)) continue;
        if (mlxn_jn_is(e.key.s, "caller") && m->op & JN_USES_CALLER) continue;
        if (!(m->op & JN_USES_KWARGS))
            mlxn_jn_type_error(r, "macro '%.*s' takes no keyword argument '%.*s'", length, name,
                               (int)mlxn_min_u64(e.key.s->size, 60), e.key.s->data);
        mlxn_jn_map_set(r, rest.map, e.key, e.value);
    }
    if (args->n > m->items.n && !(m->op & JN_USES_VARARGS))
        mlxn_jn_type_error(r, "macro '%.*s' takes not more than %zu argument(s)", length, name, m->items.n);
    for (size_t i = m->items.n; i < args->n; i++) mlxn_jn_append(r, more, args->v[i]);
    if (m->op & JN_USES_KWARGS) mlxn_jn_scope_set(r, scope, name_of(r, "kwargs"), rest);
    if (m->op & JN_USES_VARARGS) mlxn_jn_scope_set(r, scope, name_of(r, "varargs"), more);
    const jn_string *caller = name_of(r, "caller");
    if (m->op & JN_USES_CALLER && !is_parameter(m, caller)) {
        jn_value *given = args->named ? mlxn_jn_map_get_text(r, args->named, "caller") : NULL;
        mlxn_jn_scope_set(r, scope, caller, given ? *given : jn_undefined("No caller defined"));
    }
}

jn_value mlxn_jn_call_macro(jn_run *r, const jn_function *f, const jn_args *args) {
    const jn_node *m = f->macro;
    jn_scope *scope = mlxn_jn_scope_new(r, f->scope), *outer = r->scope;
    bind_rest(r, m, args, scope);
    for (size_t i = 0; i < m->items.n; i++) {
        const jn_node *p = m->items.v[i];
        jn_value *named =
            args->named ? mlxn_jn_map_get(r, args->named, (jn_value){.type = JN_STRING, .s = p->name}) : NULL;
        if (named && i < args->n)
            mlxn_jn_type_error(r, "macro '%.*s' got multiple values for argument '%.*s'",
                               m->name ? (int)mlxn_min_u64(m->name->size, 60) : 6, m->name ? m->name->data : "caller",
                               (int)mlxn_min_u64(p->name->size, 60), p->name->data);
        jn_value v = jn_undefined(NULL);
        if (i < args->n) {
            v = args->v[i];
        } else if (named) {
            v = *named;
        } else if (p->a) {
            r->scope = scope;
            v = mlxn_jn_evaluate(r, p->a);
            r->scope = outer;
        } else {
            v = jn_undefined(mlxn_jn_print(r, "parameter '%.*s' was not provided",
                                           (int)mlxn_min_u64(p->name->size, 60), p->name->data));
        }
        mlxn_jn_scope_set(r, scope, p->name, v);
    }
    return mlxn_jn_capture(r, &m->body, scope);
}

jn_value mlxn_jn_call(jn_run *r, jn_value f, const jn_args *args) {
    if (f.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, f);
    if (f.type == JN_OBJECT) return mlxn_jn_object_call(r, f, args);
    if (f.type != JN_FUNCTION) mlxn_jn_type_error(r, "'%s' object is not callable", mlxn_jn_type_name(f));
    if (f.function->kind == JN_MACRO_FN) {
        uint32_t line = r->line, column = r->column;
        mlxn_jn_enter(r);
        jn_value out = mlxn_jn_call_macro(r, f.function, args);
        jn_leave(r);
        r->line = line, r->column = column;
        return out;
    }
    return mlxn_jn_call_builtin(r, "", f.function->builtin, f.function->self, args);
}

jn_value mlxn_jn_apply_filter(jn_run *r, const jn_string *name, jn_value v, const jn_args *args) {
    static const jn_builtin *const tables[] = {mlxn_jn_filters_text, mlxn_jn_filters_list, mlxn_jn_filters_data};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const jn_builtin *b = mlxn_jn_find_builtin(tables[i], name);
        if (b) return mlxn_jn_call_builtin(r, "filter ", b, v, args);
    }
    mlxn_jn_fail(r, MLXN_ERR_UNSUPPORTED, "No filter named '%.*s'.", (int)mlxn_min_u64(name->size, 60), name->data);
}

bool mlxn_jn_apply_test(jn_run *r, const jn_string *name, jn_value v, const jn_args *args) {
    const jn_builtin *b = mlxn_jn_find_builtin(mlxn_jn_tests, name);
    if (b) return mlxn_jn_truth(mlxn_jn_call_builtin(r, "test ", b, v, args));
    mlxn_jn_fail(r, MLXN_ERR_UNSUPPORTED, "No test named '%.*s'.", (int)mlxn_min_u64(name->size, 60), name->data);
}

jn_value mlxn_jn_apply_filters(jn_run *r, const jn_node *filters, jn_value v) {
    if (filters->a) v = mlxn_jn_apply_filters(r, filters->a, v);
    jn_args args = mlxn_jn_evaluate_args(r, &filters->items);
    r->line = filters->line, r->column = filters->column;
    return mlxn_jn_apply_filter(r, filters->name, v, &args);
}
