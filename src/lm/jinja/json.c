/* json.c: values from JSON text (read with jansson), and values as JSON, as Python's json.dumps writes it. */
#include <jansson.h>
#include <math.h>

#include "lm/jinja/internal.h"

static jn_value convert(jn_run *r, const json_t *j) {
    mlxn_jn_enter(r);
    mlxn_jn_charge(r, 0);
    jn_value out = jn_none();
    switch (json_typeof(j)) {
        case JSON_TRUE:
        case JSON_FALSE:
            out = jn_bool(json_is_true(j));
            break;
        case JSON_INTEGER:
            out = jn_int(json_integer_value(j));
            break;
        case JSON_REAL:
            out = jn_float(json_real_value(j));
            break;
        case JSON_STRING:
            out = mlxn_jn_string_copy(r, json_string_value(j), json_string_length(j));
            break;
        case JSON_ARRAY:
            out = mlxn_jn_list_new(r, JN_ARRAY);
            for (size_t i = 0; i < json_array_size(j); i++) mlxn_jn_append(r, out, convert(r, json_array_get(j, i)));
            break;
        case JSON_OBJECT: {
            const char *key;
            json_t *value;
            out = mlxn_jn_map_new(r);
            json_object_foreach((json_t *)j, key, value) {
                jn_value name = mlxn_jn_string_copy(r, key, strlen(key));
                mlxn_jn_map_set(r, out.map, name, convert(r, value));
            }
            break;
        }
        default:
            break;
    }
    jn_leave(r);
    return out;
}

/* The jansson tree lives outside the arena: what leaves while it is converted is caught and thrown again. */
jn_value mlxn_jn_from_json(jn_run *r, const char *text, size_t bytes, const char *what) {
    json_error_t error;
    json_t *j = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!j)
        mlxn_jn_fail(r, MLXN_ERR_ARGUMENT, "%s is not JSON: line %d, column %d of it: %s", what, error.line,
                     error.column, error.text);
    jmp_buf outer;
    memcpy(&outer, &r->escape, sizeof outer);
    if (setjmp(r->escape)) {
        json_decref(j);
        memcpy(&r->escape, &outer, sizeof outer);
        longjmp(r->escape, 1);
    }
    jn_value out = convert(r, j);
    memcpy(&r->escape, &outer, sizeof outer);
    json_decref(j);
    return out;
}

static void put_string(jn_run *r, jn_out *out, const jn_string *s, bool ascii) {
    mlxn_jn_charge(r, s->size);
    jn_puts(r, out, "\"");
    size_t done = 0; /* what needs no escape is put in pieces */
    for (size_t i = 0, n; i < s->size; i += n) {
        uint32_t c;
        n = mlxn_jn_next_char(s->data + i, s->size - i, &c);
        char text[16] = {0};
        static const char named[] = "\"\"\\\\\nn\rr\tt\ff\bb";
        for (const char *p = named; c < 128 && *p; p += 2)
            if ((uint32_t)*p == c) snprintf(text, sizeof text, "\\%c", p[1]);
        if (!text[0] && (c < 0x20 || (ascii && c > 0x7e && c < 0x10000 && c != 0x7f)))
            snprintf(text, sizeof text, "\\u%04x", c);
        else if (ascii && c >= 0x10000)
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
        if (!text[0]) continue;
        mlxn_jn_put(r, out, s->data + done, i - done);
        jn_puts(r, out, text);
        done = i + n;
    }
    mlxn_jn_put(r, out, s->data + done, s->size - done);
    jn_puts(r, out, "\"");
}

static void put_break(jn_run *r, jn_out *out, const jn_json_style *style, uint32_t level) {
    if (!style->indented) return;
    jn_puts(r, out, "\n");
    for (uint32_t i = 0; i < level; i++) mlxn_jn_put(r, out, style->indent->data, style->indent->size);
}

static void put_number(jn_run *r, jn_out *out, double f) {
    char text[40];
    jn_puts(r, out, isnan(f) ? "NaN" : isinf(f) ? (f > 0 ? "Infinity" : "-Infinity") : mlxn_jn_number_text(f, text));
}

static void put_key(jn_run *r, jn_out *out, jn_value key, bool ascii) {
    if (key.type == JN_STRING) {
        put_string(r, out, key.s, ascii);
        return;
    }
    jn_puts(r, out, "\"");
    if (key.type == JN_FLOAT)
        put_number(r, out, key.f);
    else if (key.type == JN_NONE || key.type == JN_BOOL)
        jn_puts(r, out, key.type == JN_NONE ? "null" : key.b ? "true" : "false");
    else if (key.type == JN_INT)
        mlxn_jn_put_repr(r, out, key);
    else
        mlxn_jn_type_error(r, "keys must be str, int, float, bool or None, not %s", mlxn_jn_type_name(key));
    jn_puts(r, out, "\"");
}

static void put(jn_run *r, jn_out *out, jn_value v, const jn_json_style *style, uint32_t level);

/* Keys in order, for sort_keys: a stable insertion by Python's order. */
static jn_entry *sorted(jn_run *r, const jn_map *map) {
    jn_entry *e = mlxn_jn_alloc(r, map->n * sizeof *e);
    for (size_t i = 0; i < map->n; i++) {
        size_t k = i;
        for (; k && mlxn_jn_order(r, map->v[i].key, e[k - 1].key, "<") < 0; k--) e[k] = e[k - 1];
        e[k] = map->v[i];
    }
    return e;
}

static void put_object(jn_run *r, jn_out *out, const jn_map *map, const jn_json_style *style, uint32_t level) {
    const jn_entry *e = style->sort ? sorted(r, map) : map->v;
    jn_puts(r, out, "{");
    for (size_t i = 0; i < map->n; i++) {
        if (i) mlxn_jn_put(r, out, style->item->data, style->item->size);
        put_break(r, out, style, level + 1);
        put_key(r, out, e[i].key, style->ascii);
        mlxn_jn_put(r, out, style->key->data, style->key->size);
        put(r, out, e[i].value, style, level + 1);
    }
    if (map->n) put_break(r, out, style, level);
    jn_puts(r, out, "}");
}

static void put(jn_run *r, jn_out *out, jn_value v, const jn_json_style *style, uint32_t level) {
    mlxn_jn_enter(r);
    mlxn_jn_charge(r, 0);
    if (v.type == JN_NONE || v.type == JN_BOOL) {
        jn_puts(r, out, v.type == JN_NONE ? "null" : v.b ? "true" : "false");
    } else if (v.type == JN_INT) {
        mlxn_jn_put_repr(r, out, v);
    } else if (v.type == JN_FLOAT) {
        put_number(r, out, v.f);
    } else if (v.type == JN_STRING) {
        put_string(r, out, v.s, style->ascii);
    } else if (v.type == JN_MAP) {
        put_object(r, out, v.map, style, level);
    } else if (v.type == JN_LIST && v.list->kind <= JN_TUPLE) {
        jn_puts(r, out, "[");
        for (size_t i = 0; i < v.list->n; i++) {
            if (i) mlxn_jn_put(r, out, style->item->data, style->item->size);
            put_break(r, out, style, level + 1);
            put(r, out, v.list->v[i], style, level + 1);
        }
        if (v.list->n) put_break(r, out, style, level);
        jn_puts(r, out, "]");
    } else {
        mlxn_jn_type_error(r, "Object of type %s is not JSON serializable", mlxn_jn_type_name(v));
    }
    jn_leave(r);
}

void mlxn_jn_put_json(jn_run *r, jn_out *out, jn_value v, const jn_json_style *style) { put(r, out, v, style, 0); }
