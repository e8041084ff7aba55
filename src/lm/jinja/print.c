/* print.c: values as text, as Python's str() and repr() have them. */
#include "lm/jinja/internal.h"

static void put_quoted(jn_run *r, jn_out *out, const jn_string *s) {
    bool single = memchr(s->data, '\'', s->size) != NULL, both = single && memchr(s->data, '"', s->size);
    char quote = single && !both ? '"' : '\'';
    mlxn_jn_charge(r, s->size);
    mlxn_jn_put(r, out, &quote, 1);
    for (size_t i = 0, n; i < s->size; i += n) {
        uint32_t c;
        n = mlxn_jn_next_char(s->data + i, s->size - i, &c);
        char text[16] = {0};
        if (c == (uint32_t)quote || c == '\\')
            snprintf(text, sizeof text, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(text, sizeof text, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (!mlxn_jn_is_printable(c))
            snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        if (text[0])
            jn_puts(r, out, text);
        else
            mlxn_jn_put(r, out, s->data + i, n);
    }
    mlxn_jn_put(r, out, &quote, 1);
}

static void put_map(jn_run *r, jn_out *out, const jn_map *map) {
    jn_puts(r, out, "{");
    for (size_t i = 0; i < map->n; i++) {
        if (i) jn_puts(r, out, ", ");
        mlxn_jn_put_repr(r, out, map->v[i].key);
        jn_puts(r, out, ": ");
        mlxn_jn_put_repr(r, out, map->v[i].value);
    }
    jn_puts(r, out, "}");
}

static void put_list(jn_run *r, jn_out *out, const jn_list *list) {
    static const char *const open[] = {"[", "(", "", "dict_keys([", "dict_values([", "dict_items([", ""};
    static const char *const close[] = {"]", ")", "", "])", "])", "])", ""};
    if (list->kind == JN_GENERATOR) {
        jn_puts(r, out, "<generator object>");
        return;
    }
    if (list->kind == JN_RANGE) {
        jn_puts(r, out, mlxn_jn_print(r, "range(%lld, %lld", (long long)list->range[0], (long long)list->range[1]));
        jn_puts(r, out, list->range[2] == 1 ? ")" : mlxn_jn_print(r, ", %lld)", (long long)list->range[2]));
        return;
    }
    jn_puts(r, out, open[list->kind]);
    for (size_t i = 0; i < list->n; i++) {
        if (i) jn_puts(r, out, ", ");
        mlxn_jn_put_repr(r, out, list->v[i]);
    }
    if (list->kind == JN_TUPLE && list->n == 1) jn_puts(r, out, ",");
    jn_puts(r, out, close[list->kind]);
}

static void put_function(jn_run *r, jn_out *out, const jn_function *f) {
    if (f->kind == JN_MACRO_FN) {
        jn_puts(r, out, "<Macro ");
        if (f->macro->name)
            put_quoted(r, out, f->macro->name);
        else
            jn_puts(r, out, "anonymous");
        jn_puts(r, out, ">");
    } else {
        jn_puts(r, out, mlxn_jn_print(r, "<function %s>", f->builtin ? f->builtin->name : "loop"));
    }
}

void mlxn_jn_put_repr(jn_run *r, jn_out *out, jn_value v) {
    char number[40];
    mlxn_jn_enter(r);
    mlxn_jn_charge(r, 0);
    switch (v.type) {
        case JN_UNDEFINED:
        case JN_MISSING:
            jn_puts(r, out, "Undefined");
            break;
        case JN_NONE:
            jn_puts(r, out, "None");
            break;
        case JN_BOOL:
            jn_puts(r, out, v.b ? "True" : "False");
            break;
        case JN_INT:
            snprintf(number, sizeof number, "%lld", (long long)v.i);
            jn_puts(r, out, number);
            break;
        case JN_FLOAT:
            jn_puts(r, out, mlxn_jn_number_text(v.f, number));
            break;
        case JN_STRING:
            if (v.s->safe) jn_puts(r, out, "Markup(");
            put_quoted(r, out, v.s);
            if (v.s->safe) jn_puts(r, out, ")");
            break;
        case JN_LIST:
            put_list(r, out, v.list);
            break;
        case JN_MAP:
            put_map(r, out, v.map);
            break;
        case JN_OBJECT:
            jn_puts(r, out, mlxn_jn_print(r, "<%s", mlxn_jn_type_name(v)));
            if (v.object->kind == JN_NAMESPACE) {
                jn_puts(r, out, " ");
                put_map(r, out, v.object->members);
            } else if (v.object->kind == JN_LOOP) {
                jn_puts(r, out, mlxn_jn_print(r, " %zu/%zu", v.object->at + 1, v.object->items->n));
            }
            jn_puts(r, out, ">");
            break;
        case JN_FUNCTION:
            put_function(r, out, v.function);
            break;
    }
    jn_leave(r);
}

void mlxn_jn_put_str(jn_run *r, jn_out *out, jn_value v) {
    if (v.type == JN_STRING)
        mlxn_jn_put(r, out, v.s->data, v.s->size);
    else if (v.type != JN_UNDEFINED)
        mlxn_jn_put_repr(r, out, v);
}

const jn_string *mlxn_jn_str(jn_run *r, jn_value v) {
    if (v.type == JN_STRING) return v.s;
    jn_out out = {0};
    mlxn_jn_put_str(r, &out, v);
    return mlxn_jn_out_string(r, &out).s;
}
