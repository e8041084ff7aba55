/* evaluate.c: expressions: names, members, indices, slices, operators. */
#include "lm/jinja/internal.h"

jn_scope *mlxn_jn_scope_new(jn_run *r, jn_scope *parent) {
    jn_scope *s = mlxn_jn_alloc(r, sizeof *s);
    s->parent = parent;
    return s;
}

static bool same_name(const jn_string *a, const jn_string *b) {
    return a == b || (a->size == b->size && !memcmp(a->data, b->data, a->size));
}

void mlxn_jn_scope_set(jn_run *r, jn_scope *scope, const jn_string *name, jn_value v) {
    for (size_t i = 0; i < scope->n; i++)
        if (same_name(scope->v[i].name, name)) {
            scope->v[i].value = v;
            return;
        }
    mlxn_jn_charge(r, scope->n);
    scope->v = mlxn_jn_grow(r, scope->v, scope->n, &scope->room, sizeof *scope->v);
    scope->v[scope->n++] = (jn_variable){name, v};
}

jn_value *mlxn_jn_scope_get(jn_run *r, jn_scope *scope, const jn_string *name) {
    for (; scope; scope = scope->parent) {
        mlxn_jn_charge(r, scope->n);
        for (size_t i = 0; i < scope->n; i++)
            if (same_name(scope->v[i].name, name)) return &scope->v[i].value;
    }
    return NULL;
}

const jn_builtin *mlxn_jn_find_builtin(const jn_builtin *table, const jn_string *name) {
    for (; table->name; table++)
        if (mlxn_jn_is(name, table->name)) return table;
    return NULL;
}

jn_value mlxn_jn_make_method(jn_run *r, const jn_builtin *b, jn_value self) {
    jn_function *f = mlxn_jn_alloc(r, sizeof *f);
    f->kind = self.type == JN_MISSING ? JN_GLOBAL : JN_METHOD;
    f->builtin = b;
    f->self = self;
    return (jn_value){.type = JN_FUNCTION, .function = f};
}

static jn_value look_up(jn_run *r, const jn_string *name) {
    jn_value *v = mlxn_jn_scope_get(r, r->scope, name);
    if (v) return *v;
    const jn_builtin *b = mlxn_jn_find_builtin(mlxn_jn_globals, name);
    if (b) return mlxn_jn_make_method(r, b, (jn_value){.type = JN_MISSING});
    return jn_undefined(mlxn_jn_print(r, "'%.*s' is undefined", (int)mlxn_min_u64(name->size, 100), name->data));
}

static const jn_builtin *find_method(jn_value v, const jn_string *name) {
    if (v.type == JN_STRING) return mlxn_jn_find_builtin(mlxn_jn_string_methods, name);
    if (v.type == JN_MAP) return mlxn_jn_find_builtin(mlxn_jn_map_methods, name);
    if (v.type == JN_LIST && v.list->kind <= JN_RANGE) return mlxn_jn_find_builtin(mlxn_jn_list_methods, name);
    return NULL;
}

/* Underscores lead to Python's inside, and lists and maps may not be changed: such members exist for nobody. */
static const char *forbidden(jn_run *r, jn_value v, const jn_string *name) {
    const char *const *changers = v.type == JN_LIST  ? mlxn_jn_list_changers
                                  : v.type == JN_MAP ? mlxn_jn_map_changers
                                                     : NULL;
    bool bad = name->size && name->data[0] == '_';
    for (; changers && *changers && !bad; changers++) bad = mlxn_jn_is(name, *changers);
    if (!bad) return NULL;
    return mlxn_jn_print(r, "access to attribute '%.*s' of '%s' object is unsafe.",
                         (int)mlxn_min_u64(name->size, 100), name->data, mlxn_jn_type_name(v));
}

static bool own_member(jn_run *r, jn_value v, const jn_string *name, jn_value *out) {
    if (v.type == JN_OBJECT) return mlxn_jn_object_member(r, v, name, out);
    if (v.type == JN_LIST && v.list->group && (mlxn_jn_is(name, "grouper") || mlxn_jn_is(name, "list"))) {
        *out = v.list->v[mlxn_jn_is(name, "list")];
        return true;
    }
    if (v.type == JN_FUNCTION && v.function->kind == JN_MACRO_FN && mlxn_jn_is(name, "name")) {
        *out = v.function->macro->name ? (jn_value){.type = JN_STRING, .s = v.function->macro->name} : jn_none();
        return true;
    }
    const jn_builtin *b = find_method(v, name);
    if (b) *out = mlxn_jn_make_method(r, b, v);
    return b != NULL;
}

static jn_value no_member(jn_run *r, jn_value v, jn_value name) {
    bool none = v.type == JN_NONE;
    if (name.type == JN_STRING) {
        const char *forbids = forbidden(r, v, name.s);
        if (forbids) return jn_undefined(forbids);
        return jn_undefined(mlxn_jn_print(r, "'%s%s' has no attribute '%.*s'", none ? "None" : mlxn_jn_type_name(v),
                                          none ? "" : " object", (int)mlxn_min_u64(name.s->size, 100), name.s->data));
    }
    const jn_string *text = mlxn_jn_str(r, name);
    return jn_undefined(mlxn_jn_print(r, "%s%s has no element %.*s", none ? "None" : mlxn_jn_type_name(v),
                                      none ? "" : " object", (int)mlxn_min_u64(text->size, 100), text->data));
}

jn_value mlxn_jn_member(jn_run *r, jn_value v, const jn_string *name) {
    jn_value out = jn_none(), key = {.type = JN_STRING, .s = name};
    if (v.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, v);
    if (own_member(r, v, name, &out)) return out;
    if (v.type == JN_MAP && !forbidden(r, v, name)) {
        jn_value *there = mlxn_jn_map_get(r, v.map, key);
        if (there) return *there;
    } else if (v.type == JN_MAP && name->data[0] == '_') {
        jn_value *there = mlxn_jn_map_get(r, v.map, key);
        if (there) return *there;
    }
    return no_member(r, v, key);
}

static bool element(jn_run *r, jn_value v, int64_t index, jn_value *out) {
    size_t n = v.type == JN_STRING ? v.s->n_chars : v.list->n;
    if (index < 0) index += (int64_t)n;
    if (index < 0 || (uint64_t)index >= n) return false;
    if (v.type == JN_STRING) {
        size_t at = mlxn_jn_char_offset(v.s, (size_t)index);
        mlxn_jn_charge(r, v.s->n_chars == v.s->size ? 0 : at);
        *out = mlxn_jn_string_of(r, v.s->data + at, mlxn_jn_next_char(v.s->data + at, v.s->size - at, NULL));
    } else {
        *out = v.list->v[index];
    }
    return true;
}

jn_value mlxn_jn_index(jn_run *r, jn_value v, jn_value index) {
    jn_value out = jn_none();
    if (v.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, v);
    if (v.type == JN_MAP) {
        bool hashable = index.type != JN_MAP && (index.type != JN_LIST || index.list->kind == JN_TUPLE);
        jn_value *there = hashable ? mlxn_jn_map_get(r, v.map, index) : NULL;
        if (there) return *there;
    } else if ((v.type == JN_STRING || (v.type == JN_LIST && v.list->kind <= JN_RANGE)) && jn_is_int(index)) {
        if (element(r, v, jn_int_of(index), &out)) return out;
    }
    if (index.type == JN_STRING && own_member(r, v, index.s, &out)) return out;
    return no_member(r, v, index);
}

static jn_value slice(jn_run *r, const jn_node *node, jn_value v) {
    int64_t part[3];
    bool given[3];
    for (int i = 0; i < 3; i++) {
        jn_value p = node->items.v[i] ? mlxn_jn_evaluate(r, node->items.v[i]) : jn_none();
        given[i] = p.type != JN_NONE;
        part[i] = given[i] ? mlxn_jn_need_int(r, p, "an index of a slice") : 0;
    }
    r->line = node->line, r->column = node->column;
    if (v.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, v);
    bool string = v.type == JN_STRING;
    if (!string && (v.type != JN_LIST || v.list->kind > JN_RANGE))
        return jn_undefined(mlxn_jn_print(r, "%s object has no slices", mlxn_jn_type_name(v)));
    int64_t n = mlxn_jn_length(r, v), step = given[2] ? part[2] : 1;
    if (!step) mlxn_jn_type_error(r, "slice step cannot be zero");
    if (step < -n - 1) step = -n - 1; /* the same elements, and sums that fit */
    if (step > n + 1) step = n + 1;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    int64_t bound[2] = {step < 0 ? high : low, step < 0 ? low : high};
    for (int i = 0; i < 2; i++) {
        if (!given[i]) continue;
        int64_t at = part[i] < 0 ? part[i] < -n ? -n - 1 + n : part[i] + n : part[i];
        bound[i] = at < low ? low : at > high ? high : at;
    }
    if (string && step == 1) {
        if (bound[0] >= bound[1]) return mlxn_jn_string_of(r, "", 0);
        size_t from = mlxn_jn_char_offset(v.s, (size_t)bound[0]), to = mlxn_jn_char_offset(v.s, (size_t)bound[1]);
        return mlxn_jn_string_of(r, v.s->data + from, to - from);
    }
    jn_list *all = mlxn_jn_elements(r, v);
    jn_value list = mlxn_jn_list_new(r, v.type == JN_LIST && v.list->kind == JN_TUPLE ? JN_TUPLE : JN_ARRAY);
    jn_out out = {0};
    for (int64_t i = bound[0]; step > 0 ? i < bound[1] : i > bound[1]; i += step) {
        if (string)
            mlxn_jn_put(r, &out, all->v[i].s->data, all->v[i].s->size);
        else
            mlxn_jn_append(r, list, all->v[i]);
    }
    return string ? mlxn_jn_out_string(r, &out) : list;
}

static bool compare(jn_run *r, int op, jn_value a, jn_value b) {
    switch (op) {
        case JN_OP_EQ:
            return mlxn_jn_equal(r, a, b);
        case JN_OP_NE:
            return !mlxn_jn_equal(r, a, b);
        case JN_OP_IN:
            return mlxn_jn_contains(r, b, a);
        case JN_OP_NOT_IN:
            return !mlxn_jn_contains(r, b, a);
        case '<':
            return mlxn_jn_order(r, a, b, "<") < 0;
        case '>': {
            int order = mlxn_jn_order(r, a, b, ">");
            return order > 0 && order != 2;
        }
        case JN_OP_LE:
            return mlxn_jn_order(r, a, b, "<=") <= 0;
        default: {
            int order = mlxn_jn_order(r, a, b, ">=");
            return order >= 0 && order != 2;
        }
    }
}

static jn_value evaluate_compare(jn_run *r, const jn_node *node) {
    jn_value left = mlxn_jn_evaluate(r, node->a);
    for (size_t i = 0; i < node->items.n; i++) {
        const jn_node *operand = node->items.v[i];
        jn_value right = mlxn_jn_evaluate(r, operand->a);
        r->line = operand->line, r->column = operand->column;
        if (!compare(r, operand->op, left, right)) return jn_bool(false);
        left = right;
    }
    return jn_bool(true);
}

static jn_value evaluate_concat(jn_run *r, const jn_node *node) {
    jn_out out = {0};
    for (size_t i = 0; i < node->items.n; i++) mlxn_jn_put_str(r, &out, mlxn_jn_evaluate(r, node->items.v[i]));
    return mlxn_jn_out_string(r, &out);
}

static jn_value evaluate_listing(jn_run *r, const jn_node *node) {
    jn_value list = mlxn_jn_list_new(r, node->kind == JN_TUPLING ? JN_TUPLE : JN_ARRAY);
    for (size_t i = 0; i < node->items.n; i++) mlxn_jn_append(r, list, mlxn_jn_evaluate(r, node->items.v[i]));
    return list;
}

static jn_value evaluate_mapping(jn_run *r, const jn_node *node) {
    jn_value map = mlxn_jn_map_new(r);
    for (size_t i = 0; i < node->items.n; i += 2) {
        jn_value key = mlxn_jn_evaluate(r, node->items.v[i]);
        mlxn_jn_map_set(r, map.map, key, mlxn_jn_evaluate(r, node->items.v[i + 1]));
    }
    return map;
}

static jn_value evaluate_binary(jn_run *r, const jn_node *node) {
    jn_value a = mlxn_jn_evaluate(r, node->a);
    if (node->op == JN_OP_AND) return mlxn_jn_truth(a) ? mlxn_jn_evaluate(r, node->b) : a;
    if (node->op == JN_OP_OR) return mlxn_jn_truth(a) ? a : mlxn_jn_evaluate(r, node->b);
    jn_value b = mlxn_jn_evaluate(r, node->b);
    r->line = node->line, r->column = node->column;
    return mlxn_jn_binary(r, node->op, a, b);
}

static jn_value evaluate_unary(jn_run *r, const jn_node *node) {
    jn_value a = mlxn_jn_evaluate(r, node->a);
    r->line = node->line, r->column = node->column;
    if (node->op == JN_OP_NOT) return jn_bool(!mlxn_jn_truth(a));
    jn_value negative = mlxn_jn_negate(r, a);
    return node->op == '-' ? negative : a.type == JN_BOOL ? jn_int(a.b) : a;
}

static jn_value evaluate_call(jn_run *r, const jn_node *node) {
    jn_value f = mlxn_jn_evaluate(r, node->a);
    jn_args args = mlxn_jn_evaluate_args(r, &node->items);
    r->line = node->line, r->column = node->column;
    return mlxn_jn_call(r, f, &args);
}

static jn_value evaluate_filter(jn_run *r, const jn_node *node) {
    jn_value v = mlxn_jn_evaluate(r, node->a);
    jn_args args = mlxn_jn_evaluate_args(r, &node->items);
    r->line = node->line, r->column = node->column;
    if (node->kind == JN_FILTER) return mlxn_jn_apply_filter(r, node->name, v, &args);
    return jn_bool(mlxn_jn_apply_test(r, node->name, v, &args) == (node->op != '!'));
}

static jn_value evaluate(jn_run *r, const jn_node *node) {
    switch (node->kind) {
        case JN_CONST:
            return node->value;
        case JN_NAME:
            return look_up(r, node->name);
        case JN_LISTING:
        case JN_TUPLING:
            return evaluate_listing(r, node);
        case JN_MAPPING:
            return evaluate_mapping(r, node);
        case JN_UNARY:
            return evaluate_unary(r, node);
        case JN_BINARY:
            return evaluate_binary(r, node);
        case JN_COMPARE:
            return evaluate_compare(r, node);
        case JN_CONCAT:
            return evaluate_concat(r, node);
        case JN_CONDITION:
            if (mlxn_jn_truth(mlxn_jn_evaluate(r, node->b))) return mlxn_jn_evaluate(r, node->a);
            return node->c
                       ? mlxn_jn_evaluate(r, node->c)
                       : jn_undefined("the inline if-expression evaluated to false and no else section was defined.");
        case JN_MEMBER: {
            jn_value v = mlxn_jn_evaluate(r, node->a);
            r->line = node->line, r->column = node->column;
            return mlxn_jn_member(r, v, node->name);
        }
        case JN_INDEX: {
            jn_value v = mlxn_jn_evaluate(r, node->a), index = mlxn_jn_evaluate(r, node->b);
            r->line = node->line, r->column = node->column;
            return mlxn_jn_index(r, v, index);
        }
        case JN_SLICE:
            return slice(r, node, mlxn_jn_evaluate(r, node->a));
        case JN_CALL:
            return evaluate_call(r, node);
        case JN_FILTER:
        case JN_TEST:
            return evaluate_filter(r, node);
        default:
            mlxn_jn_fail(r, MLXN_ERR_INTERNAL, "a node of kind %d is no expression", (int)node->kind);
    }
}

jn_value mlxn_jn_evaluate(jn_run *r, const jn_node *node) {
    mlxn_jn_enter(r);
    mlxn_jn_charge(r, 0);
    r->line = node->line, r->column = node->column;
    jn_value v = evaluate(r, node);
    jn_leave(r);
    return v;
}
