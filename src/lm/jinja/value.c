/* value.c: lists, maps, equality, order, membership, length: Python's rules. */
#include <math.h>

#include "lm/jinja/internal.h"

jn_value mlxn_jn_list_new(jn_run *r, jn_list_kind kind) {
    jn_list *list = mlxn_jn_alloc(r, sizeof *list);
    list->kind = kind;
    return (jn_value){.type = JN_LIST, .list = list};
}

void mlxn_jn_append(jn_run *r, jn_value list, jn_value v) {
    jn_list *l = list.list;
    mlxn_jn_charge(r, 0);
    l->v = mlxn_jn_grow(r, l->v, l->n, &l->room, sizeof *l->v);
    l->v[l->n++] = v;
}

jn_value mlxn_jn_pair(jn_run *r, jn_value a, jn_value b) {
    jn_value pair = mlxn_jn_list_new(r, JN_TUPLE);
    mlxn_jn_append(r, pair, a);
    mlxn_jn_append(r, pair, b);
    return pair;
}

jn_value mlxn_jn_map_new(jn_run *r) { return (jn_value){.type = JN_MAP, .map = mlxn_jn_alloc(r, sizeof(jn_map))}; }

/* FNV-1a of strings; all else shares one value, since 1, 1.0 and true are the same key. */
static uint32_t hash_of(jn_run *r, jn_value key) {
    if (key.type == JN_MAP || (key.type == JN_LIST && key.list->kind != JN_TUPLE))
        mlxn_jn_type_error(r, "unhashable type: '%s'", mlxn_jn_type_name(key));
    if (key.type != JN_STRING) return 0;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < key.s->size; i++) h = (h ^ (uint8_t)key.s->data[i]) * 16777619u;
    mlxn_jn_charge(r, key.s->size);
    return h | 1;
}

jn_value *mlxn_jn_map_get(jn_run *r, const jn_map *map, jn_value key) {
    uint32_t hash = hash_of(r, key);
    mlxn_jn_charge(r, map->n);
    for (size_t i = 0; i < map->n; i++)
        if (map->v[i].hash == hash && mlxn_jn_equal(r, map->v[i].key, key)) return &map->v[i].value;
    return NULL;
}

jn_value *mlxn_jn_map_get_text(jn_run *r, const jn_map *map, const char *key) {
    for (size_t i = 0; i < map->n; i++)
        if (map->v[i].key.type == JN_STRING && mlxn_jn_is(map->v[i].key.s, key)) return &map->v[i].value;
    return NULL;
}

void mlxn_jn_map_set(jn_run *r, jn_map *map, jn_value key, jn_value value) {
    jn_value *there = mlxn_jn_map_get(r, map, key);
    if (there) {
        *there = value;
        return;
    }
    map->v = mlxn_jn_grow(r, map->v, map->n, &map->room, sizeof *map->v);
    map->v[map->n++] = (jn_entry){hash_of(r, key), key, value};
}

const char *mlxn_jn_type_name(jn_value v) {
    static const char *const names[] = {"Undefined", "NoneType", "bool",   "int",      "float",  "str",
                                        "list",      "dict",     "object", "function", "missing"};
    static const char *const lists[] = {"list",        "tuple",      "range",    "dict_keys",
                                        "dict_values", "dict_items", "generator"};
    static const char *const objects[] = {"Namespace", "LoopContext", "Cycler", "Joiner"};
    if (v.type == JN_LIST) return lists[v.list->kind];
    if (v.type == JN_OBJECT) return objects[v.object->kind];
    if (v.type == JN_FUNCTION && v.function->kind == JN_MACRO_FN) return "Macro";
    return names[v.type];
}

bool mlxn_jn_truth(jn_value v) {
    switch (v.type) {
        case JN_BOOL:
            return v.b;
        case JN_INT:
            return v.i != 0;
        case JN_FLOAT:
            return v.f != 0;
        case JN_STRING:
            return v.s->size > 0;
        case JN_LIST:
            return v.list->kind == JN_GENERATOR || v.list->n > 0;
        case JN_MAP:
            return v.map->n > 0;
        case JN_OBJECT:
        case JN_FUNCTION:
            return true;
        default:
            return false;
    }
}

static int order_numbers(jn_value a, jn_value b) {
    if (jn_is_int(a) && jn_is_int(b)) {
        int64_t x = jn_int_of(a), y = jn_int_of(b);
        return (x > y) - (x < y);
    }
    double x = jn_double_of(a), y = jn_double_of(b);
    if (isnan(x) || isnan(y)) return 2;
    if (a.type != b.type && fabs(x) >= 9007199254740992.0 && fabs(x) <= 9.3e18 && fabs(y) <= 9.3e18) {
        /* an integer that a double may not hold */
        long double p = a.type == JN_FLOAT ? (long double)a.f : (long double)jn_int_of(a);
        long double q = b.type == JN_FLOAT ? (long double)b.f : (long double)jn_int_of(b);
        return (p > q) - (p < q);
    }
    return (x > y) - (x < y);
}

static bool equal_maps(jn_run *r, const jn_map *a, const jn_map *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        jn_value *other = mlxn_jn_map_get(r, b, a->v[i].key);
        if (!other || !mlxn_jn_equal(r, a->v[i].value, *other)) return false;
    }
    return true;
}

bool mlxn_jn_equal(jn_run *r, jn_value a, jn_value b) {
    if (jn_is_number(a) && jn_is_number(b)) return order_numbers(a, b) == 0;
    if (a.type != b.type) return false;
    switch (a.type) {
        case JN_STRING:
            if (a.s->size != b.s->size) return false;
            mlxn_jn_charge(r, a.s->size);
            return !memcmp(a.s->data, b.s->data, a.s->size);
        case JN_LIST: {
            bool same = a.list->n == b.list->n;
            if (a.list == b.list) return true;
            if (a.list->kind != b.list->kind || a.list->kind > JN_RANGE || !same) return false;
            mlxn_jn_enter(r);
            for (size_t i = 0; same && i < a.list->n; i++) {
                mlxn_jn_charge(r, 0);
                same = mlxn_jn_equal(r, a.list->v[i], b.list->v[i]);
            }
            jn_leave(r);
            return same;
        }
        case JN_MAP: {
            mlxn_jn_enter(r);
            bool same = a.map == b.map || equal_maps(r, a.map, b.map);
            jn_leave(r);
            return same;
        }
        case JN_OBJECT:
            return a.object == b.object;
        case JN_FUNCTION:
            return a.function == b.function ||
                   (a.function->kind == b.function->kind && a.function->builtin == b.function->builtin &&
                    a.function->macro == b.function->macro && mlxn_jn_equal(r, a.function->self, b.function->self));
        default:
            return true; /* None, undefined */
    }
}

int mlxn_jn_order(jn_run *r, jn_value a, jn_value b, const char *op) {
    if (jn_is_number(a) && jn_is_number(b)) return order_numbers(a, b);
    if (a.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, a);
    if (b.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, b);
    if (a.type == JN_STRING && b.type == JN_STRING) {
        size_t n = a.s->size < b.s->size ? a.s->size : b.s->size;
        mlxn_jn_charge(r, n);
        int order = memcmp(a.s->data, b.s->data, n);
        if (order) return order < 0 ? -1 : 1;
        return (a.s->size > b.s->size) - (a.s->size < b.s->size);
    }
    if (a.type == JN_LIST && b.type == JN_LIST && a.list->kind == b.list->kind && a.list->kind <= JN_TUPLE) {
        const jn_list *x = a.list, *y = b.list;
        int order = (x->n > y->n) - (x->n < y->n);
        mlxn_jn_enter(r);
        for (size_t i = 0; i < x->n && i < y->n; i++) {
            if (mlxn_jn_equal(r, x->v[i], y->v[i])) continue;
            order = mlxn_jn_order(r, x->v[i], y->v[i], op);
            break;
        }
        jn_leave(r);
        return order;
    }
    mlxn_jn_type_error(r, "'%s' not supported between instances of '%s' and '%s'", op, mlxn_jn_type_name(a),
                       mlxn_jn_type_name(b));
}

bool mlxn_jn_contains(jn_run *r, jn_value container, jn_value v) {
    if (container.type == JN_STRING) {
        if (v.type != JN_STRING)
            mlxn_jn_type_error(r, "'in <string>' requires string as left operand, not %s", mlxn_jn_type_name(v));
        return mlxn_jn_find(r, container.s->data, container.s->size, 0, v.s->data, v.s->size) != SIZE_MAX;
    }
    if (container.type == JN_MAP) return mlxn_jn_map_get(r, container.map, v) != NULL;
    if (!mlxn_jn_iterable(container))
        mlxn_jn_type_error(r, "argument of type '%s' is not iterable", mlxn_jn_type_name(container));
    const jn_list *l = mlxn_jn_elements(r, container);
    for (size_t i = 0; i < l->n; i++) {
        mlxn_jn_charge(r, 0);
        if (mlxn_jn_equal(r, l->v[i], v)) return true;
    }
    return false;
}

int64_t mlxn_jn_length(jn_run *r, jn_value v) {
    if (v.type == JN_STRING) return (int64_t)v.s->n_chars;
    if (v.type == JN_MAP) return (int64_t)v.map->n;
    if (v.type == JN_LIST && v.list->kind != JN_GENERATOR) return (int64_t)v.list->n;
    if (v.type == JN_UNDEFINED) return 0;
    if (v.type == JN_OBJECT && v.object->kind == JN_LOOP) return (int64_t)v.object->items->n;
    mlxn_jn_type_error(r, "object of type '%s' has no len()", mlxn_jn_type_name(v));
}

bool mlxn_jn_iterable(jn_value v) {
    return v.type == JN_STRING || v.type == JN_LIST || v.type == JN_MAP || v.type == JN_UNDEFINED;
}

jn_list *mlxn_jn_elements(jn_run *r, jn_value v) {
    if (v.type == JN_LIST && v.list->kind != JN_GENERATOR) return v.list;
    jn_value out = mlxn_jn_list_new(r, JN_ARRAY);
    if (v.type == JN_LIST) {
        if (v.list->consumed) return out.list;
        v.list->consumed = true;
        return v.list;
    }
    if (v.type == JN_STRING) {
        for (size_t i = 0, n; i < v.s->size; i += n) {
            n = mlxn_jn_next_char(v.s->data + i, v.s->size - i, NULL);
            mlxn_jn_append(r, out, mlxn_jn_string_of(r, v.s->data + i, n));
        }
    } else if (v.type == JN_MAP) {
        for (size_t i = 0; i < v.map->n; i++) mlxn_jn_append(r, out, v.map->v[i].key);
    } else if (v.type != JN_UNDEFINED) {
        mlxn_jn_type_error(r, "'%s' object is not iterable", mlxn_jn_type_name(v));
    }
    return out.list;
}

void mlxn_jn_fail_undefined(jn_run *r, jn_value v) {
    mlxn_jn_type_error(r, "%s", v.why ? v.why : "the value is undefined");
}

const jn_string *mlxn_jn_need_string(jn_run *r, jn_value v, const char *what) {
    if (v.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, v);
    if (v.type != JN_STRING) mlxn_jn_type_error(r, "%s must be a str, not %s", what, mlxn_jn_type_name(v));
    return v.s;
}

int64_t mlxn_jn_need_int(jn_run *r, jn_value v, const char *what) {
    if (v.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, v);
    if (!jn_is_int(v)) mlxn_jn_type_error(r, "%s must be an int, not %s", what, mlxn_jn_type_name(v));
    return jn_int_of(v);
}
