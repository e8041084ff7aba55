/* schema_flatten.c: references resolved, and schemas that must hold together merged into one. */
#include "lm/grammar/schema.h"

bool mlxn_sc_is_annotation(const char *keyword) {
    static const char *const words[] = {
        "title",      "description", "default",        "examples",        "$comment",         "$schema",
        "$id",        "$anchor",     "$dynamicAnchor", "$defs",           "definitions",      "$vocabulary",
        "deprecated", "readOnly",    "writeOnly",      "contentEncoding", "contentMediaType", "contentSchema"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i], keyword)) return true;
    return false;
}

/* ---- references ---- */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One step of a JSON pointer in a URI: %HH, ~0 and ~1 decoded. */
static void decode_step(const char *from, size_t n, char *out) {
    for (size_t i = 0; i < n; i++) {
        char c = from[i];
        if (c == '%' && i + 2 < n && hex_value(from[i + 1]) >= 0 && hex_value(from[i + 2]) >= 0) {
            c = (char)(hex_value(from[i + 1]) << 4 | hex_value(from[i + 2]));
            i += 2;
        }
        *out++ = c;
    }
    *out = 0;
}

static void decode_tilde(char *text) {
    char *out = text;
    for (; *text; text++) {
        if (text[0] == '~' && (text[1] == '0' || text[1] == '1')) {
            *out++ = text[1] == '0' ? '~' : '/';
            text++;
        } else {
            *out++ = *text;
        }
    }
    *out = 0;
}

static json_t *step_into(json_t *node, const char *step) {
    if (json_is_object(node)) return json_object_get(node, step);
    char *end = NULL;
    unsigned long index = strtoul(step, &end, 10);
    bool number = step[0] >= '0' && step[0] <= '9' && !*end && (step[0] != '0' || !step[1]);
    return json_is_array(node) && number ? json_array_get(node, index) : NULL;
}

/* Something inside of the document calls itself a document: what # means there would be another root. */
static bool has_inner_id(const json_t *node, bool top) {
    const char *key;
    json_t *part;
    if (!top && json_is_string(json_object_get(node, "$id"))) return true;
    if (json_is_object(node)) {
        json_object_foreach((json_t *)node, key, part) if (has_inner_id(part, false)) return true;
    }
    for (size_t i = 0; i < json_array_size(node); i++)
        if (has_inner_id(json_array_get(node, i), false)) return true;
    return false;
}

mlxn_sc_result mlxn_sc_resolve(mlxn_schema *s, const json_t *reference, json_t **out) {
    const char *text = json_string_value(reference);
    if (!text) return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"$ref\" is no string");
    if (text[0] != '#' || (text[1] && text[1] != '/'))
        return mlxn_sc_fail(s, MLXN_ERR_UNSUPPORTED,
                            "keyword \"$ref\" is \"%.80s\": only references into the same document, as "
                            "#/$defs/name, are supported",
                            text);
    if (!s->ids_checked && has_inner_id(s->root, true))
        return mlxn_sc_unsupported(s, "$id", "inside of the document, where references are used");
    s->ids_checked = true;
    json_t *node = s->root;
    size_t size = strlen(text);
    char *step = mlxn_alloc(size + 1);
    if (!step) return mlxn_sc_no_memory(s);
    for (const char *at = text + 1; *at && node;) {
        size_t n = strcspn(++at, "/");
        decode_step(at, n, step);
        decode_tilde(step);
        node = step_into(node, step);
        at += n;
    }
    mlxn_free(step);
    if (!node) return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"$ref\" is \"%.80s\", which leads nowhere", text);
    if (!json_is_object(node) && !json_is_boolean(node))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"$ref\" is \"%.80s\", which is no schema", text);
    s->path_size = 0;
    if (size > 1) {
        s->path_size = size - 1 < sizeof s->path ? size - 1 : sizeof s->path;
        memcpy(s->path, text + 1, s->path_size);
    }
    *out = node;
    return MLXN_SC_OK;
}

/* ---- merging ---- */

/* The schema that demands both; the same one for the same two, so that recursive schemas come to an end. */
static json_t *both_of(mlxn_schema *s, json_t *a, json_t *b) {
    if (a == b || json_is_true(b)) return a;
    if (json_is_true(a)) return b;
    for (uint32_t i = 0; i < s->boths.count; i++)
        if (s->boths.data[i].a == a && s->boths.data[i].b == b) return s->boths.data[i].both;
    json_t *both = mlxn_sc_keep(s, json_pack("{s:[O,O]}", "allOf", a, b));
    if (!both) return NULL;
    if (s->boths.count == MLXN_SC_MAX_BOTHS)
        mlxn_sc_fail(s, MLXN_ERR_LIMIT, "keyword \"allOf\" joins too many schemas");
    else if (!MLXN_GR_ROOM(s->boths))
        mlxn_sc_no_memory(s);
    if (s->status) return NULL;
    s->boths.data[s->boths.count++] = (mlxn_sc_both){a, b, both};
    return both;
}

static json_t *as_values(const json_t *flat) {
    json_t *one = json_object_get(flat, "const");
    return one ? json_pack("[O]", one) : json_incref(json_object_get(flat, "enum"));
}

static bool has_value(const json_t *list, const json_t *value) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (mlxn_sc_same_value(json_array_get(list, i), value)) return true;
    return false;
}

/* What both lists have. */
static json_t *common_values(mlxn_schema *s, const json_t *a, const json_t *b) {
    json_t *out = mlxn_sc_work(s, json_array_size(a), json_array_size(b)) ? NULL : json_array();
    for (size_t i = 0; out && i < json_array_size(a); i++)
        if (has_value(b, json_array_get(a, i))) json_array_append(out, json_array_get(a, i));
    return out;
}

static mlxn_sc_result merge_types(mlxn_schema *s, const json_t *a, const json_t *b, json_t *out) {
    static const char *const names[] = {"null", "boolean", "object", "array", "number", "string", "integer"};
    uint32_t x, y;
    mlxn_sc_result result = mlxn_sc_types(s, a, &x);
    if (!result) result = mlxn_sc_types(s, b, &y);
    if (result) return result;
    if (x & MLXN_SC_NUMBER) x |= MLXN_SC_INTEGER;
    if (y & MLXN_SC_NUMBER) y |= MLXN_SC_INTEGER;
    x &= y;
    if (x & MLXN_SC_NUMBER) x &= ~(uint32_t)MLXN_SC_INTEGER;
    if (!x) return MLXN_SC_NEVER;
    json_t *types = json_array();
    for (uint32_t i = 0; i < 7; i++)
        if (x >> i & 1) json_array_append_new(types, json_string(names[i]));
    return json_object_set_new(out, "type", types) ? mlxn_sc_no_memory(s) : MLXN_SC_OK;
}

/* A property as a schema sees it that does not list it. */
static json_t *unlisted(mlxn_schema *s, const json_t *schema, json_t *property) {
    json_t *additional = json_object_get(schema, "additionalProperties");
    return additional ? both_of(s, property, additional) : property;
}

static mlxn_sc_result merge_properties(mlxn_schema *s, const json_t *a, const json_t *b, json_t *out) {
    json_t *x = json_object_get(a, "properties"), *y = json_object_get(b, "properties"), *property;
    json_t *ax = json_object_get(a, "additionalProperties"), *bx = json_object_get(b, "additionalProperties");
    const char *key;
    if (!x && !y && !(ax && bx)) return MLXN_SC_OK; /* copied as they are */
    if (mlxn_sc_work(s, json_object_size(x) + json_object_size(y), 64)) return MLXN_SC_ERROR;
    if ((x && !json_is_object(x)) || (y && !json_is_object(y)))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"properties\" is no object");
    json_t *all = json_object(), *made;
    if (!all || json_object_set_new(out, "properties", all)) return mlxn_sc_no_memory(s);
    json_object_foreach(x, key, property) {
        json_t *other = json_object_get(y, key);
        made = other ? both_of(s, property, other) : unlisted(s, b, property);
        if (!made || json_object_set(all, key, made)) return mlxn_sc_no_memory(s);
    }
    json_object_foreach(y, key, property) {
        if (json_object_get(x, key)) continue;
        made = unlisted(s, a, property);
        if (!made || json_object_set(all, key, made)) return mlxn_sc_no_memory(s);
    }
    if (!json_object_size(all)) json_object_del(out, "properties");
    made = ax && bx ? both_of(s, ax, bx) : ax ? ax : bx;
    if (made && json_object_set(out, "additionalProperties", made)) return mlxn_sc_no_memory(s);
    return ax && bx && !made ? MLXN_SC_ERROR : MLXN_SC_OK;
}

/* Alternatives of both: one of each. */
static mlxn_sc_result merge_any(mlxn_schema *s, json_t *a, json_t *b, json_t *out) {
    json_t *all = json_array();
    if (!all || json_object_set_new(out, "anyOf", all)) return mlxn_sc_no_memory(s);
    if (json_array_size(a) * json_array_size(b) > 256)
        return mlxn_sc_fail(s, MLXN_ERR_LIMIT,
                            "keyword \"anyOf\" is joined with another one, which gives more than 256 alternatives");
    for (size_t i = 0; i < json_array_size(a); i++)
        for (size_t k = 0; k < json_array_size(b); k++) {
            json_t *both = both_of(s, json_array_get(a, i), json_array_get(b, k));
            if (!both || json_array_append(all, both)) return mlxn_sc_no_memory(s);
        }
    return MLXN_SC_OK;
}

typedef enum rule { LARGER, SMALLER, BOTH_LISTS, SCHEMA } rule;

static mlxn_sc_result merge_keyword(mlxn_schema *s, const char *key, json_t *x, json_t *y, json_t *out) {
    static const struct {
        const char *keyword;
        rule rule;
    } table[] = {{"minimum", LARGER},           {"exclusiveMinimum", LARGER}, {"minLength", LARGER},
                 {"minItems", LARGER},          {"minProperties", LARGER},    {"maximum", SMALLER},
                 {"exclusiveMaximum", SMALLER}, {"maxLength", SMALLER},       {"maxItems", SMALLER},
                 {"maxProperties", SMALLER},    {"required", BOTH_LISTS},     {"items", SCHEMA}};
    if (json_equal(x, y)) return MLXN_SC_OK;
    if (!strcmp(key, "anyOf")) return merge_any(s, x, y, out);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].keyword, key)) continue;
        bool numbers = json_is_number(x) && json_is_number(y);
        json_t *made = NULL;
        switch (table[i].rule) {
            case LARGER:
                made = numbers ? json_incref(json_number_value(x) >= json_number_value(y) ? x : y) : NULL;
                break;
            case SMALLER:
                made = numbers ? json_incref(json_number_value(x) <= json_number_value(y) ? x : y) : NULL;
                break;
            case BOTH_LISTS:
                if (mlxn_sc_work(s, json_array_size(x), json_array_size(y))) return MLXN_SC_ERROR;
                made = json_is_array(x) && json_is_array(y) ? json_copy(x) : NULL;
                for (size_t k = 0; made && k < json_array_size(y); k++)
                    if (!has_value(made, json_array_get(y, k))) json_array_append(made, json_array_get(y, k));
                break;
            case SCHEMA:
                made = json_incref(both_of(s, x, y));
        }
        if (!made) return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"%s\" has the wrong type", key);
        return json_object_set_new(out, key, made) ? mlxn_sc_no_memory(s) : MLXN_SC_OK;
    }
    return mlxn_sc_unsupported(s, key, "schemas that must hold together have different ones");
}

/* The items of b would mean others behind the prefixItems of a. */
static bool shifts_items(const json_t *a, const json_t *b) {
    const json_t *prefix = json_object_get(a, "prefixItems"), *other = json_object_get(b, "prefixItems");
    return prefix && (other ? !json_equal(prefix, other) : json_object_get(b, "items") != NULL);
}

mlxn_sc_result mlxn_sc_merge(mlxn_schema *s, json_t *a, json_t *b, json_t **out) {
    *out = a;
    if (json_is_false(a) || json_is_true(b)) return MLXN_SC_OK;
    *out = b;
    if (json_is_false(b) || json_is_true(a)) return MLXN_SC_OK;
    json_t *made = mlxn_sc_keep(s, json_copy(a)), *value, *values;
    const char *key;
    mlxn_sc_result result = made ? MLXN_SC_OK : MLXN_SC_ERROR;
    if (++s->n_nodes > MLXN_SC_MAX_NODES)
        return mlxn_sc_fail(s, MLXN_ERR_LIMIT, "more than %d schemas", MLXN_SC_MAX_NODES);
    if (!result && (shifts_items(a, b) || shifts_items(b, a)))
        return mlxn_sc_unsupported(s, "prefixItems", "schemas that must hold together have different ones");
    json_object_foreach(b, key, value) {
        json_t *mine = json_object_get(a, key);
        if (result) return result;
        if (mlxn_sc_is_annotation(key) || !strcmp(key, "const") || !strcmp(key, "enum")) continue;
        if (!strcmp(key, "properties") || !strcmp(key, "additionalProperties")) {
            if (!mine && json_object_set(made, key, value)) return mlxn_sc_no_memory(s);
        } else if (!mine) {
            if (json_object_set(made, key, value)) return mlxn_sc_no_memory(s);
        } else if (!strcmp(key, "type")) {
            result = merge_types(s, a, b, made);
        } else {
            result = merge_keyword(s, key, mine, value, made);
        }
    }
    if (!result) result = merge_properties(s, a, b, made);
    json_t *x = as_values(a), *y = as_values(b);
    if (!result && (x || y)) {
        values = x && y ? common_values(s, x, y) : json_incref(x ? x : y);
        json_object_del(made, "const");
        if (!values || json_object_set_new(made, "enum", values)) result = mlxn_sc_no_memory(s);
    }
    json_decref(x);
    json_decref(y);
    if (result == MLXN_SC_NEVER) made = mlxn_sc_keep(s, json_false());
    *out = made;
    return result == MLXN_SC_NEVER ? MLXN_SC_OK : result;
}

mlxn_sc_result mlxn_sc_flatten(mlxn_schema *s, json_t *node, uint32_t depth, json_t **out) {
    *out = node;
    if (json_is_boolean(node)) return MLXN_SC_OK;
    if (!json_is_object(node)) return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "a schema is an object or a boolean");
    json_t *reference = json_object_get(node, "$ref"), *all = json_object_get(node, "allOf"), *part, *flat;
    if (!reference && !all) return MLXN_SC_OK;
    if (depth > MLXN_SC_MAX_DEPTH)
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"%s\" leads to itself", reference ? "$ref" : "allOf");
    if (all && (!json_is_array(all) || !json_array_size(all)))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"allOf\" is no list of schemas");
    json_t *made = mlxn_sc_keep(s, json_copy(node));
    if (!made) return MLXN_SC_ERROR;
    json_object_del(made, "$ref");
    json_object_del(made, "allOf");
    mlxn_sc_result result = MLXN_SC_OK;
    char path[sizeof s->path];
    size_t size = s->path_size;
    memcpy(path, s->path, size);
    for (size_t i = 0; !result && i < json_array_size(all) + (reference != NULL); i++) {
        part = i < json_array_size(all) ? json_array_get(all, i) : NULL;
        if (part)
            mlxn_sc_enter_index(s, "allOf", i);
        else
            result = mlxn_sc_resolve(s, reference, &part);
        if (!result) result = mlxn_sc_flatten(s, part, depth + 1, &flat);
        memcpy(s->path, path, size);
        s->path_size = size;
        if (!result) result = mlxn_sc_merge(s, made, flat, &made);
    }
    *out = made;
    return result;
}
