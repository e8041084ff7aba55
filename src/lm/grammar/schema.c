/* schema.c: from a JSON schema to the rules of a grammar. */
#include "lm/grammar/schema.h"

#include <stdio.h>

/* ---- memos: a node is converted once, and may refer to itself ---- */

static uint32_t address_hash(const json_t *node) { return (uint32_t)((uintptr_t)node * 0x9e3779b97f4a7c15u >> 32); }

static mlxn_sc_memo *find_memo(mlxn_schema *s, const json_t *node) {
    for (uint32_t h = address_hash(node); s->memo_table && s->memo_table[h & s->memo_mask]; h++) {
        mlxn_sc_memo *m = &s->memos.data[s->memo_table[h & s->memo_mask] - 1];
        if (m->node == node) return m;
    }
    return NULL;
}

static mlxn_sc_result add_memo(mlxn_schema *s, const json_t *node, const char *expression) {
    if (s->memos.count * 2 >= s->memo_mask) {
        uint32_t mask = s->memo_mask ? s->memo_mask * 2 + 1 : 255;
        uint32_t *table = mlxn_alloc_array((size_t)mask + 1, sizeof *table);
        if (!table) return mlxn_sc_no_memory(s);
        for (uint32_t i = 0; i < s->memos.count; i++) {
            uint32_t h = address_hash(s->memos.data[i].node);
            while (table[h & mask]) h++;
            table[h & mask] = i + 1;
        }
        mlxn_free(s->memo_table);
        s->memo_table = table;
        s->memo_mask = mask;
    }
    if (!MLXN_GR_ROOM(s->memos)) return mlxn_sc_no_memory(s);
    mlxn_sc_memo *m = &s->memos.data[s->memos.count++];
    *m = (mlxn_sc_memo){.node = node, .open = true};
    snprintf(m->expression, sizeof m->expression, "%s", expression);
    uint32_t h = address_hash(node);
    while (s->memo_table[h & s->memo_mask]) h++;
    s->memo_table[h & s->memo_mask] = s->memos.count;
    return MLXN_SC_OK;
}

/* ---- types ---- */

static uint32_t type_bit(const char *name) {
    static const char *const names[] = {"null", "boolean", "object", "array", "number", "string", "integer"};
    for (uint32_t i = 0; name && i < 7; i++)
        if (!strcmp(name, names[i])) return 1u << i;
    return 0;
}

mlxn_sc_result mlxn_sc_types(mlxn_schema *s, const json_t *flat, uint32_t *types) {
    const json_t *type = json_object_get(flat, "type");
    *types = MLXN_SC_ALL;
    if (!type) return MLXN_SC_OK;
    *types = type_bit(json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++) {
        uint32_t bit = type_bit(json_string_value(json_array_get(type, i)));
        if (!bit) return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"type\" lists what is no type at %zu", i);
        *types |= bit;
    }
    if (!*types && json_is_string(type))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"type\" is \"%.40s\", which is no type",
                            json_string_value(type));
    if (!*types && !json_is_array(type))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"type\" is neither a name nor a list of names");
    if (*types & MLXN_SC_NUMBER) *types &= ~(uint32_t)MLXN_SC_INTEGER;
    return MLXN_SC_OK;
}

/* Without "type": the types that the other keywords speak of, all if they speak of none. */
static uint32_t meant_types(const json_t *flat) {
    static const struct {
        const char *keyword;
        uint32_t type;
    } table[] = {{"properties", MLXN_SC_OBJECT},
                 {"required", MLXN_SC_OBJECT},
                 {"additionalProperties", MLXN_SC_OBJECT},
                 {"patternProperties", MLXN_SC_OBJECT},
                 {"propertyNames", MLXN_SC_OBJECT},
                 {"minProperties", MLXN_SC_OBJECT},
                 {"maxProperties", MLXN_SC_OBJECT},
                 {"dependentRequired", MLXN_SC_OBJECT},
                 {"dependentSchemas", MLXN_SC_OBJECT},
                 {"dependencies", MLXN_SC_OBJECT},
                 {"unevaluatedProperties", MLXN_SC_OBJECT},
                 {"items", MLXN_SC_ARRAY},
                 {"prefixItems", MLXN_SC_ARRAY},
                 {"minItems", MLXN_SC_ARRAY},
                 {"maxItems", MLXN_SC_ARRAY},
                 {"uniqueItems", MLXN_SC_ARRAY},
                 {"contains", MLXN_SC_ARRAY},
                 {"unevaluatedItems", MLXN_SC_ARRAY},
                 {"minLength", MLXN_SC_STRING},
                 {"maxLength", MLXN_SC_STRING},
                 {"pattern", MLXN_SC_STRING},
                 {"format", MLXN_SC_STRING},
                 {"minimum", MLXN_SC_NUMBER},
                 {"maximum", MLXN_SC_NUMBER},
                 {"exclusiveMinimum", MLXN_SC_NUMBER},
                 {"exclusiveMaximum", MLXN_SC_NUMBER},
                 {"multipleOf", MLXN_SC_NUMBER}};
    uint32_t types = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (json_object_get(flat, table[i].keyword)) types |= table[i].type;
    return types ? types : MLXN_SC_ALL;
}

mlxn_sc_result mlxn_sc_count(mlxn_schema *s, const json_t *flat, const char *keyword, bool *given, uint64_t *out) {
    const json_t *value = json_object_get(flat, keyword);
    double real = json_number_value(value);
    *given = value != NULL;
    if (!value) return MLXN_SC_OK;
    if (!json_is_number(value) || real < 0 || real > 9e15 || real != (double)(uint64_t)real)
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"%s\" is no count", keyword);
    *out = (uint64_t)real;
    return MLXN_SC_OK;
}

/* Keywords that bear on every type and cannot be obeyed, where they have an effect. */
static mlxn_sc_result refuse_general(mlxn_schema *s, const json_t *flat) {
    static const char *const never[] = {"$dynamicRef", "$recursiveRef"};
    for (size_t i = 0; i < 2; i++)
        if (json_object_get(flat, never[i])) return mlxn_sc_unsupported(s, never[i], NULL);
    if (json_object_get(flat, "not") && !json_is_false(json_object_get(flat, "not")))
        return mlxn_sc_unsupported(s, "not", NULL);
    if (json_object_get(flat, "if") && (json_object_get(flat, "then") || json_object_get(flat, "else")))
        return mlxn_sc_unsupported(s, "if", NULL);
    return MLXN_SC_OK;
}

static mlxn_sc_result convert_type(mlxn_schema *s, json_t *flat, uint32_t type, char out[MLXN_SC_EXPRESSION]) {
    switch (type) {
        case MLXN_SC_NULL:
            strcpy(out, "\"null\"");
            return MLXN_SC_OK;
        case MLXN_SC_BOOLEAN:
            strcpy(out, "(\"true\" | \"false\")");
            return MLXN_SC_OK;
        case MLXN_SC_OBJECT:
            return mlxn_sc_object(s, flat, out);
        case MLXN_SC_ARRAY:
            return mlxn_sc_array(s, flat, out);
        case MLXN_SC_STRING:
            return mlxn_sc_string(s, flat, out);
        default:
            return mlxn_sc_number(s, flat, type == MLXN_SC_INTEGER, out);
    }
}

/* Each of the node's types that has a value, as alternatives. */
static mlxn_sc_result convert_types(mlxn_schema *s, json_t *flat, char out[MLXN_SC_EXPRESSION]) {
    uint32_t types;
    mlxn_sc_result result = mlxn_sc_types(s, flat, &types);
    if (result) return result;
    if (!json_object_get(flat, "type")) types = meant_types(flat);
    if (types == MLXN_SC_ALL && meant_types(flat) == MLXN_SC_ALL && !json_object_get(flat, "properties")) {
        strcpy(out, mlxn_sc_common(s, "value"));
        return MLXN_SC_OK;
    }
    mlxn_sc_text body = {0};
    uint32_t n = 0;
    for (uint32_t bit = 1; bit <= MLXN_SC_INTEGER; bit <<= 1) {
        char one[MLXN_SC_EXPRESSION];
        if (!(types & bit)) continue;
        result = convert_type(s, flat, bit, one);
        if (result == MLXN_SC_ERROR) break;
        if (result == MLXN_SC_NEVER) continue;
        mlxn_sc_put(&body, "%s%s", n++ ? " | " : "", one);
        strcpy(out, one);
    }
    if (result == MLXN_SC_ERROR || n < 2) {
        mlxn_free(body.data);
        return result == MLXN_SC_ERROR ? result : n ? MLXN_SC_OK : MLXN_SC_NEVER;
    }
    mlxn_sc_new_rule(s, out);
    return mlxn_sc_add_rule(s, out, &body);
}

static mlxn_sc_result convert_object(mlxn_schema *s, json_t *node, char out[MLXN_SC_EXPRESSION]) {
    json_t *flat;
    mlxn_sc_result result = mlxn_sc_flatten(s, node, 0, &flat);
    if (result) return result;
    if (json_is_false(flat)) return MLXN_SC_NEVER;
    if (json_is_true(flat)) {
        strcpy(out, mlxn_sc_common(s, "value"));
        return MLXN_SC_OK;
    }
    result = refuse_general(s, flat);
    if (result) return result;
    if (json_object_get(flat, "anyOf")) return mlxn_sc_union(s, flat, "anyOf", out);
    if (json_object_get(flat, "oneOf")) return mlxn_sc_union(s, flat, "oneOf", out);
    if (json_object_get(flat, "const") || json_object_get(flat, "enum")) return mlxn_sc_values(s, flat, out);
    return convert_types(s, flat, out);
}

/* The rule's name goes into the memo before its body is known: a node may contain itself. */
static mlxn_sc_result convert_rule(mlxn_schema *s, json_t *node, char out[MLXN_SC_EXPRESSION]) {
    char name[MLXN_SC_EXPRESSION];
    mlxn_sc_new_rule(s, name);
    uint32_t memo = s->memos.count;
    mlxn_sc_result result = add_memo(s, node, name);
    if (!result) result = convert_object(s, node, out);
    if (result == MLXN_SC_ERROR) return result;
    mlxn_sc_memo *m = &s->memos.data[memo];
    m->never = result == MLXN_SC_NEVER;
    m->open = false;
    if (m->named) { /* where no value comes of it after all, the rule stays one without an end, which is an error */
        mlxn_sc_text body = {0};
        mlxn_sc_put(&body, "%s", m->never ? name : out);
        if (mlxn_sc_add_rule(s, name, &body)) return MLXN_SC_ERROR;
    }
    snprintf(m->expression, sizeof m->expression, "%s", m->never ? name : out);
    return result;
}

mlxn_sc_result mlxn_sc_convert(mlxn_schema *s, json_t *node, char out[MLXN_SC_EXPRESSION]) {
    char path[sizeof s->path];
    size_t path_size = s->path_size;
    memcpy(path, s->path, path_size);
    mlxn_sc_result result = MLXN_SC_OK;
    if (++s->n_nodes > MLXN_SC_MAX_NODES)
        return mlxn_sc_fail(s, MLXN_ERR_LIMIT, "more than %d schemas", MLXN_SC_MAX_NODES);
    if (++s->depth > MLXN_SC_MAX_DEPTH)
        return mlxn_sc_fail(s, MLXN_ERR_LIMIT, "schemas are nested more than %d deep", MLXN_SC_MAX_DEPTH);
    if (json_is_boolean(node)) {
        result = json_is_true(node) ? MLXN_SC_OK : MLXN_SC_NEVER;
        strcpy(out, mlxn_sc_common(s, "value"));
    } else {
        const json_t *reference = json_object_get(node, "$ref");
        for (uint32_t hops = 0; reference && !result; hops++) { /* a plain reference stands for its target */
            const char *key;
            json_t *value, *target = NULL;
            bool plain = true;
            json_object_foreach(node, key, value) plain =
                plain && (!strcmp(key, "$ref") || mlxn_sc_is_annotation(key));
            if (!plain) break;
            if (hops == MLXN_SC_MAX_DEPTH)
                result = mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"$ref\" leads nowhere");
            if (!result) result = mlxn_sc_resolve(s, reference, &target);
            if (!result) node = target;
            reference = json_object_get(node, "$ref");
        }
        mlxn_sc_memo *known = result ? NULL : find_memo(s, node);
        if (known) {
            result = known->never ? MLXN_SC_NEVER : MLXN_SC_OK;
            known->named = known->named || known->open;
            strcpy(out, known->expression);
        } else if (!result && json_is_boolean(node)) {
            result = json_is_true(node) ? MLXN_SC_OK : MLXN_SC_NEVER;
            strcpy(out, mlxn_sc_common(s, "value"));
        } else if (!result) {
            result = convert_rule(s, node, out);
        }
    }
    memcpy(s->path, path, path_size);
    s->path_size = path_size;
    s->depth--;
    return result;
}

/* ---- the whole ---- */

static mlxn_status convert_all(mlxn_schema *s) {
    char root[MLXN_SC_EXPRESSION];
    mlxn_sc_result result = mlxn_sc_convert(s, s->root, root);
    if (result == MLXN_SC_NEVER) mlxn_sc_fail(s, MLXN_ERR_ARGUMENT, "no value satisfies the schema");
    if (result) return s->status;
    mlxn_sc_put(&s->rules, "root ::= %s\n", root);
    mlxn_sc_add_common_rules(s);
    if (s->rules.failed) mlxn_sc_no_memory(s);
    return s->status;
}

mlxn_status mlxn_schema_to_gbnf(const char *json, size_t bytes, char **text, size_t *text_bytes, mlxn_error *error) {
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "JSON schema: text is NULL");
    *text = NULL;
    if (text_bytes) *text_bytes = 0;
    if (!json && bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "JSON schema: json is NULL");
    if (bytes > MLXN_SC_MAX_BYTES)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "JSON schema: it has %zu bytes, at most %d are allowed", bytes,
                         MLXN_SC_MAX_BYTES);
    json_error_t problem;
    mlxn_schema s = {.error = error};
    s.root = json_loadb(json ? json : "", bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    if (!s.root)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "JSON schema line %d, column %d: no JSON: %s", problem.line,
                         problem.column, problem.text);
    s.kept = json_array();
    mlxn_status status = s.kept ? convert_all(&s) : (mlxn_sc_no_memory(&s), s.status);
    json_decref(s.kept);
    json_decref(s.root);
    mlxn_free(s.memos.data);
    mlxn_free(s.memo_table);
    mlxn_free(s.boths.data);
    if (status) {
        mlxn_free(s.rules.data);
        return status;
    }
    *text = s.rules.data;
    if (text_bytes) *text_bytes = s.rules.size;
    return mlxn_succeed(error);
}

mlxn_status mlxn_grammar_from_schema(const char *json, size_t bytes, mlxn_grammar **out, mlxn_error *error) {
    char *text = NULL;
    size_t size = 0;
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "JSON schema: out is NULL");
    *out = NULL;
    mlxn_status status = mlxn_schema_to_gbnf(json, bytes, &text, &size, error);
    if (status) return status;
    status = mlxn_grammar_from_gbnf(text, size, out, error);
    mlxn_free(text);
    if (status) mlxn_error_prefix(error, "JSON schema: of what it became");
    return status;
}
