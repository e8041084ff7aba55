/* schema_object.c: objects: members in the order of the schema, any subset of the optional ones, then others. */
#include "lm/grammar/schema.h"

typedef struct member {
    const char *key;
    bool required;
    char value[MLXN_SC_EXPRESSION];
} member;

typedef struct object {
    mlxn_schema *s;
    json_t *flat;
    member *members;
    const char **names; /* that other members may not have; [n_names] */
    uint32_t n, n_names, n_required;
    bool open; /* other members may come */
    bool nonempty;
    char rule[MLXN_SC_EXPRESSION];
    char other[2 * MLXN_SC_EXPRESSION + 40]; /* another member */
} object;

static mlxn_sc_result refuse(object *o) {
    static const char *const words[] = {"patternProperties", "dependentRequired", "dependentSchemas", "dependencies"};
    const json_t *names = json_object_get(o->flat, "propertyNames"),
                 *rest = json_object_get(o->flat, "unevaluatedProperties");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (json_object_size(json_object_get(o->flat, words[i]))) return mlxn_sc_unsupported(o->s, words[i], NULL);
    if (names && !json_is_true(names) && (!json_is_object(names) || json_object_size(names)))
        return mlxn_sc_unsupported(o->s, "propertyNames", NULL);
    if (rest && !json_is_true(rest) && (!json_is_object(rest) || json_object_size(rest)))
        return mlxn_sc_unsupported(o->s, "unevaluatedProperties", "additionalProperties closes an object");
    return MLXN_SC_OK;
}

static bool is_required(const json_t *required, const char *key) {
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!strcmp(json_string_value(json_array_get(required, i)), key)) return true;
    return false;
}

/* MLXN_SC_NEVER: the object needs a member that no value fits. */
static mlxn_sc_result add_member(object *o, const char *key, json_t *schema, bool required) {
    member *m = &o->members[o->n];
    *m = (member){.key = key, .required = required};
    o->names[o->n_names++] = key;
    size_t size = mlxn_sc_enter(o->s, "properties", key);
    mlxn_sc_result result = mlxn_sc_convert(o->s, schema, m->value);
    mlxn_sc_leave(o->s, size);
    o->n += result == MLXN_SC_OK;
    o->n_required += result == MLXN_SC_OK && required;
    return result == MLXN_SC_NEVER && !required ? MLXN_SC_OK : result;
}

static mlxn_sc_result read_members(object *o) {
    json_t *properties = json_object_get(o->flat, "properties"), *required = json_object_get(o->flat, "required");
    json_t *additional = json_object_get(o->flat, "additionalProperties"), *schema;
    const char *key;
    if (properties && !json_is_object(properties))
        return mlxn_sc_fail(o->s, MLXN_ERR_FORMAT, "keyword \"properties\" is no object");
    if (required && !json_is_array(required))
        return mlxn_sc_fail(o->s, MLXN_ERR_FORMAT, "keyword \"required\" is no list");
    if (additional && !json_is_object(additional) && !json_is_boolean(additional))
        return mlxn_sc_fail(o->s, MLXN_ERR_FORMAT, "keyword \"additionalProperties\" is no schema");
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!json_is_string(json_array_get(required, i)))
            return mlxn_sc_fail(o->s, MLXN_ERR_FORMAT, "keyword \"required\" has what is no name at %zu", i);
    size_t room = json_object_size(properties) + json_array_size(required) + 1;
    if (mlxn_sc_work(o->s, room, json_array_size(required))) return MLXN_SC_ERROR;
    o->members = mlxn_alloc_array(room, sizeof *o->members);
    o->names = mlxn_alloc_array(room, sizeof *o->names);
    if (!o->members || !o->names) return mlxn_sc_no_memory(o->s);
    json_object_foreach(properties, key, schema) {
        mlxn_sc_result result = add_member(o, key, schema, is_required(required, key));
        if (result) return result;
    }
    for (size_t i = 0; i < json_array_size(required); i++) { /* those that are not described */
        key = json_string_value(json_array_get(required, i));
        bool known = false;
        for (uint32_t k = 0; k < o->n_names && !known; k++) known = !strcmp(o->names[k], key);
        if (known) continue;
        schema = additional ? additional : mlxn_sc_keep(o->s, json_true());
        mlxn_sc_result result = schema ? add_member(o, key, schema, true) : MLXN_SC_ERROR;
        if (result) return result;
    }
    o->open = additional ? !json_is_false(additional) : !properties;
    return MLXN_SC_OK;
}

/* minProperties and maxProperties, as far as members alone decide. */
static mlxn_sc_result bound(object *o) {
    bool has_least, has_most;
    uint64_t least = 0, most = 0;
    mlxn_sc_result result = mlxn_sc_count(o->s, o->flat, "minProperties", &has_least, &least);
    if (!result) result = mlxn_sc_count(o->s, o->flat, "maxProperties", &has_most, &most);
    if (result) return result;
    if (has_most && most < o->n_required) return MLXN_SC_NEVER;
    if (has_most) o->open = false;
    if (has_most && most == o->n_required) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < o->n; i++)
            if (o->members[i].required) o->members[kept++] = o->members[i];
        o->n = kept;
    }
    if (has_most && most < o->n)
        return mlxn_sc_unsupported(o->s, "maxProperties", "it leaves a choice among the optional properties");
    if (!o->open && least > o->n) return MLXN_SC_NEVER;
    if (!o->open && least == o->n)
        for (uint32_t i = 0; i < o->n; i++) o->n_required += !o->members[i].required, o->members[i].required = true;
    if (least > o->n_required && least > 1)
        return mlxn_sc_unsupported(o->s, "minProperties", "it is more than 1 and than the required properties");
    o->nonempty = least > o->n_required;
    return MLXN_SC_OK;
}

static mlxn_sc_result read_other(object *o) {
    char key[MLXN_SC_EXPRESSION], value[MLXN_SC_EXPRESSION];
    json_t *additional = json_object_get(o->flat, "additionalProperties");
    if (!o->open) return MLXN_SC_OK;
    mlxn_sc_result result = MLXN_SC_OK;
    strcpy(value, mlxn_sc_common(o->s, "value"));
    if (additional) {
        size_t size = mlxn_sc_enter(o->s, "additionalProperties", NULL);
        result = mlxn_sc_convert(o->s, additional, value);
        mlxn_sc_leave(o->s, size);
    }
    o->open = result == MLXN_SC_OK;
    if (result == MLXN_SC_OK) result = mlxn_sc_other_key(o->s, o->names, o->n_names, key);
    if (result == MLXN_SC_OK) snprintf(o->other, sizeof o->other, "%s \":\" ws %s", key, value);
    return result == MLXN_SC_NEVER ? MLXN_SC_OK : result;
}

static void put_member(mlxn_sc_text *body, const member *m) {
    mlxn_sc_text key = {0};
    mlxn_sc_put_json_text(&key, m->key, strlen(m->key));
    mlxn_sc_put(body, "\"\\\"");
    if (key.size) mlxn_sc_put_quoted(body, key.data, key.size);
    mlxn_sc_put(body, "\\\":\" ws %s ", m->value);
    body->failed = body->failed || key.failed;
    mlxn_free(key.data);
}

/* Nothing can follow: the last members are optional, none came, and one must. */
static bool is_impossible(const object *o, uint32_t i, bool first) {
    return first && o->nonempty && i == o->n && !o->open;
}

/* What may come when member i is next: those that are required up to the first optional one, which may come or not:
 * then the rules "-t<i>", after a member, and "-f<i>", before the first, go on. */
static void put_from(const object *o, mlxn_sc_text *body, uint32_t i, bool first) {
    for (; i < o->n && o->members[i].required; i++) {
        mlxn_sc_put(body, "%s", first ? "" : "\",\" ws ");
        put_member(body, &o->members[i]);
        first = false;
    }
    if (i < o->n) {
        mlxn_sc_put(body, "(%s", first ? "" : "\",\" ws ");
        put_member(body, &o->members[i]);
        mlxn_sc_put(body, "%s-t%u", o->rule, i + 1);
        if (!is_impossible(o, i + 1, first)) mlxn_sc_put(body, " | %s-%c%u", o->rule, first ? 'f' : 't', i + 1);
        mlxn_sc_put(body, ")");
    } else if (first) {
        if (o->open) mlxn_sc_put(body, "%s (\",\" ws %s)* ws \"}\"%s", o->other, o->other, o->nonempty ? "" : " | ");
        if (!o->nonempty) mlxn_sc_put(body, "\"}\"");
    } else {
        if (o->open) mlxn_sc_put(body, "(\",\" ws %s)* ", o->other);
        mlxn_sc_put(body, "ws \"}\"");
    }
}

static mlxn_sc_result add_rules(object *o) {
    bool before = true; /* no required member came before */
    mlxn_sc_result result = MLXN_SC_OK;
    for (uint32_t i = 0; i < o->n && !result; i++) {
        before = before && !o->members[i].required;
        if (o->members[i].required) continue;
        for (int first = 0; first <= before && !result; first++) {
            char name[MLXN_SC_EXPRESSION];
            mlxn_sc_text body = {0};
            if (is_impossible(o, i + 1, first)) continue;
            snprintf(name, sizeof name, "%.60s-%c%u", o->rule, first ? 'f' : 't', i + 1);
            put_from(o, &body, i + 1, first);
            result = mlxn_sc_add_rule(o->s, name, &body);
        }
    }
    mlxn_sc_text body = {0};
    mlxn_sc_put(&body, "\"{\" ws (");
    put_from(o, &body, 0, true);
    mlxn_sc_put(&body, ")");
    if (result) mlxn_free(body.data);
    mlxn_sc_common(o->s, "ws");
    return result ? result : mlxn_sc_add_rule(o->s, o->rule, &body);
}

mlxn_sc_result mlxn_sc_object(mlxn_schema *s, json_t *flat, char out[MLXN_SC_EXPRESSION]) {
    object o = {.s = s, .flat = flat};
    mlxn_sc_new_rule(s, o.rule);
    mlxn_sc_result result = refuse(&o);
    if (!result) result = read_members(&o);
    if (!result) result = bound(&o);
    if (!result) result = read_other(&o);
    if (!result && o.nonempty && !o.n && !o.open) result = MLXN_SC_NEVER;
    if (!result && !o.n && o.open && !o.nonempty && !json_object_get(flat, "additionalProperties") && !o.n_names) {
        strcpy(out, mlxn_sc_common(s, "object"));
    } else if (!result) {
        result = add_rules(&o);
        strcpy(out, o.rule);
    }
    mlxn_free(o.members);
    mlxn_free(o.names);
    return result;
}
