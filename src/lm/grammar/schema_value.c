/* schema_value.c: const and enum: JSON values as literals. */
#include "lm/grammar/schema.h"

#include <stdio.h>

#include "lm/utf8.h"

void mlxn_sc_put_json_text(mlxn_sc_text *text, const char *bytes, size_t n) {
    static const char short_escapes[] = "\b\t\n\f\r", letters[] = "btnfr";
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)bytes[i];
        const char *found = c ? strchr(short_escapes, c) : NULL;
        if (c == '"' || c == '\\')
            mlxn_sc_put(text, "\\%c", c);
        else if (found)
            mlxn_sc_put(text, "\\%c", letters[found - short_escapes]);
        else if (c < 0x20)
            mlxn_sc_put(text, "\\u%04x", c);
        else
            mlxn_sc_put_bytes(text, bytes + i, 1);
    }
}

void mlxn_sc_put_json_number(mlxn_sc_text *text, const json_t *number) {
    char line[40];
    if (json_is_integer(number)) {
        mlxn_sc_put(text, "%lld", (long long)json_integer_value(number));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(line, sizeof line, "%.*g", digits, json_real_value(number));
        if (strtod(line, NULL) == json_real_value(number)) break;
    }
    for (char *c = line; *c; c++)
        if (*c == ',') *c = '.'; /* a locale's */
    mlxn_sc_put(text, "%s%s", line, strpbrk(line, ".e") ? "" : ".0");
}

bool mlxn_sc_same_value(const json_t *a, const json_t *b) {
    const char *key;
    json_t *part;
    if (json_is_number(a) && json_is_number(b))
        return json_is_integer(a) && json_is_integer(b) ? json_integer_value(a) == json_integer_value(b)
                                                        : json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b) || json_array_size(a) != json_array_size(b) ||
        json_object_size(a) != json_object_size(b))
        return false;
    if (!json_is_array(a) && !json_is_object(a)) return json_equal(a, b);
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!mlxn_sc_same_value(json_array_get(a, i), json_array_get(b, i))) return false;
    json_object_foreach((json_t *)a, key, part) {
        const json_t *other = json_object_get(b, key);
        if (!other || !mlxn_sc_same_value(part, other)) return false;
    }
    return true;
}

static void put_literal(mlxn_sc_text *out, mlxn_sc_text *json) {
    mlxn_sc_put(out, "\"");
    if (json->size) mlxn_sc_put_quoted(out, json->data, json->size);
    mlxn_sc_put(out, "\"");
    out->failed = out->failed || json->failed;
    mlxn_free(json->data);
    *json = (mlxn_sc_text){0};
}

static void put_string(mlxn_sc_text *out, const char *bytes, size_t n) {
    mlxn_sc_text json = {0};
    mlxn_sc_put(&json, "\"");
    mlxn_sc_put_json_text(&json, bytes, n);
    mlxn_sc_put(&json, "\"");
    put_literal(out, &json);
}

/* The value as a sequence, with room for white space where it is usual. false: too deep. */
static bool put_value(mlxn_sc_text *out, const json_t *value, uint32_t depth) {
    const char *key;
    json_t *part;
    mlxn_sc_text json = {0};
    bool first = true, ok = depth < MLXN_SC_MAX_DEPTH;
    switch (json_typeof(value)) {
        case JSON_OBJECT:
            mlxn_sc_put(out, "\"{\" ws ");
            json_object_foreach((json_t *)value, key, part) {
                if (!first) mlxn_sc_put(out, "\",\" ws ");
                put_string(out, key, strlen(key));
                mlxn_sc_put(out, " \":\" ws ");
                ok = ok && put_value(out, part, depth + 1);
                mlxn_sc_put(out, " ");
                first = false;
            }
            mlxn_sc_put(out, "%s\"}\"", first ? "" : "ws ");
            break;
        case JSON_ARRAY:
            mlxn_sc_put(out, "\"[\" ws ");
            for (size_t i = 0; i < json_array_size(value) && ok; i++) {
                if (i) mlxn_sc_put(out, "\",\" ws ");
                ok = put_value(out, json_array_get(value, i), depth + 1);
                mlxn_sc_put(out, " ");
            }
            mlxn_sc_put(out, "%s\"]\"", json_array_size(value) ? "ws " : "");
            break;
        case JSON_STRING:
            put_string(out, json_string_value(value), json_string_length(value));
            break;
        case JSON_INTEGER:
        case JSON_REAL:
            mlxn_sc_put_json_number(&json, value);
            put_literal(out, &json);
            break;
        default:
            mlxn_sc_put(out, "\"%s\"", json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    }
    return ok;
}

static uint64_t count_characters(const json_t *string) {
    const char *text = json_string_value(string);
    uint64_t n = 0;
    for (size_t i = 0; i < json_string_length(string); i++) n += (text[i] & 0xc0) != 0x80;
    return n;
}

static bool fits_type(const json_t *value, uint32_t types) {
    switch (json_typeof(value)) {
        case JSON_OBJECT:
            return types & MLXN_SC_OBJECT;
        case JSON_ARRAY:
            return types & MLXN_SC_ARRAY;
        case JSON_STRING:
            return types & MLXN_SC_STRING;
        case JSON_INTEGER:
            return types & (MLXN_SC_NUMBER | MLXN_SC_INTEGER);
        case JSON_REAL: {
            double real = json_real_value(value);
            bool whole = real >= -9e15 && real <= 9e15 && real == (double)(int64_t)real;
            return types & MLXN_SC_NUMBER || (whole && types & MLXN_SC_INTEGER);
        }
        case JSON_NULL:
            return types & MLXN_SC_NULL;
        default:
            return types & MLXN_SC_BOOLEAN;
    }
}

static bool fits_bounds(const json_t *flat, const json_t *value) {
    static const struct {
        const char *keyword;
        bool lower, open, length;
    } table[] = {{"minimum", true, false, false},  {"exclusiveMinimum", true, true, false},
                 {"maximum", false, false, false}, {"exclusiveMaximum", false, true, false},
                 {"minLength", true, false, true}, {"maxLength", false, false, true}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const json_t *bound = json_object_get(flat, table[i].keyword);
        if (!bound || (table[i].length ? !json_is_string(value) : !json_is_number(value))) continue;
        double x = table[i].length ? (double)count_characters(value) : json_number_value(value);
        double y = json_number_value(bound);
        if (x == y ? table[i].open : (x < y) == table[i].lower) return false;
    }
    return true;
}

/* Keywords that would have to be looked at for each value of a type. */
static mlxn_sc_result refuse(mlxn_schema *s, const json_t *flat, const json_t *value) {
    static const struct {
        const char *keyword;
        json_type type;
    } table[] = {{"pattern", JSON_STRING},
                 {"properties", JSON_OBJECT},
                 {"required", JSON_OBJECT},
                 {"additionalProperties", JSON_OBJECT},
                 {"patternProperties", JSON_OBJECT},
                 {"propertyNames", JSON_OBJECT},
                 {"minProperties", JSON_OBJECT},
                 {"maxProperties", JSON_OBJECT},
                 {"dependentRequired", JSON_OBJECT},
                 {"dependentSchemas", JSON_OBJECT},
                 {"dependencies", JSON_OBJECT},
                 {"unevaluatedProperties", JSON_OBJECT},
                 {"items", JSON_ARRAY},
                 {"prefixItems", JSON_ARRAY},
                 {"minItems", JSON_ARRAY},
                 {"maxItems", JSON_ARRAY},
                 {"uniqueItems", JSON_ARRAY},
                 {"contains", JSON_ARRAY},
                 {"unevaluatedItems", JSON_ARRAY},
                 {"multipleOf", JSON_INTEGER},
                 {"multipleOf", JSON_REAL}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (json_typeof(value) == table[i].type && json_object_get(flat, table[i].keyword))
            return mlxn_sc_unsupported(s, table[i].keyword, "beside const or enum");
    return MLXN_SC_OK;
}

mlxn_sc_result mlxn_sc_values(mlxn_schema *s, json_t *flat, char out[MLXN_SC_EXPRESSION]) {
    json_t *one = json_object_get(flat, "const"), *list = json_object_get(flat, "enum");
    uint32_t types, n = 0;
    if (list && !json_is_array(list)) return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"enum\" is no list");
    mlxn_sc_result result = mlxn_sc_types(s, flat, &types);
    mlxn_sc_text body = {0};
    size_t count = list ? json_array_size(list) : 1;
    for (size_t i = 0; i < count && !result; i++) {
        const json_t *value = list ? json_array_get(list, i) : one;
        if (list && one && !mlxn_sc_same_value(one, value)) continue;
        if (!fits_type(value, types) || !fits_bounds(flat, value)) continue;
        result = refuse(s, flat, value);
        mlxn_sc_put(&body, "%s", n++ ? " | " : "");
        if (!result && !put_value(&body, value, 0))
            result = mlxn_sc_fail(s, MLXN_ERR_LIMIT, "keyword \"%s\" has a value that is nested more than %d deep",
                                  list ? "enum" : "const", MLXN_SC_MAX_DEPTH);
    }
    if (result || !n) {
        mlxn_free(body.data);
        return result ? result : MLXN_SC_NEVER;
    }
    mlxn_sc_common(s, "ws");
    mlxn_sc_new_rule(s, out);
    return mlxn_sc_add_rule(s, out, &body);
}
