/* schema_union.c: alternatives: anyOf, and oneOf where no value can satisfy two of them. */
#include "lm/grammar/schema.h"

enum { MAX_ALTERNATIVES = 1000 };

/* The values that a node allows, by const or enum; NULL: it does not say. */
static json_t *values_of(mlxn_schema *s, const json_t *flat) {
    json_t *one = json_object_get(flat, "const"), *list = json_object_get(flat, "enum");
    return one ? mlxn_sc_keep(s, json_pack("[O]", one)) : json_is_array(list) ? list : NULL;
}

static bool share_value(mlxn_schema *s, const json_t *a, const json_t *b) {
    if (mlxn_sc_work(s, json_array_size(a), json_array_size(b))) return true;
    for (size_t i = 0; i < json_array_size(a); i++)
        for (size_t k = 0; k < json_array_size(b); k++)
            if (mlxn_sc_same_value(json_array_get(a, i), json_array_get(b, k))) return true;
    return false;
}

static bool requires(const json_t *flat, const char *key) {
    const json_t *list = json_object_get(flat, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && !strcmp(name, key)) return true;
    }
    return false;
}

/* Objects that cannot be the same: both need a member whose values differ, or one needs what the other forbids. */
static mlxn_sc_result objects_apart(mlxn_schema *s, json_t *a, json_t *b, bool *apart) {
    json_t *x = json_object_get(a, "properties"), *y = json_object_get(b, "properties"), *property, *mine, *theirs;
    const char *key;
    if (mlxn_sc_work(s, json_object_size(x), json_array_size(json_object_get(a, "required")))) return MLXN_SC_ERROR;
    json_object_foreach(x, key, property) {
        json_t *other = json_object_get(y, key);
        if (*apart || !requires(a, key)) continue;
        if (!other) {
            *apart = json_is_false(json_object_get(b, "additionalProperties"));
        } else if (requires(b, key)) {
            mlxn_sc_result result = mlxn_sc_flatten(s, property, 0, &mine);
            if (!result) result = mlxn_sc_flatten(s, other, 0, &theirs);
            if (result) return result;
            json_t *v = values_of(s, mine), *w = values_of(s, theirs);
            *apart = v && w && !share_value(s, v, w);
        }
    }
    return s->status ? MLXN_SC_ERROR : MLXN_SC_OK;
}

static mlxn_sc_result are_apart(mlxn_schema *s, json_t *a, json_t *b, bool *apart) {
    uint32_t x, y;
    if (mlxn_sc_flatten(s, a, 0, &a) || mlxn_sc_flatten(s, b, 0, &b)) return MLXN_SC_ERROR;
    *apart = json_is_false(a) || json_is_false(b);
    if (*apart || json_is_true(a) || json_is_true(b)) return MLXN_SC_OK;
    json_t *v = values_of(s, a), *w = values_of(s, b);
    *apart = v && w && !share_value(s, v, w);
    mlxn_sc_result result = *apart ? MLXN_SC_OK : mlxn_sc_types(s, a, &x);
    if (!result && !*apart) result = mlxn_sc_types(s, b, &y);
    if (result || *apart) return result;
    if (x & MLXN_SC_NUMBER) x |= MLXN_SC_INTEGER;
    if (y & MLXN_SC_NUMBER) y |= MLXN_SC_INTEGER;
    *apart = !(x & y);
    if (!*apart && x == MLXN_SC_OBJECT && y == MLXN_SC_OBJECT) {
        result = objects_apart(s, a, b, apart);
        if (!result && !*apart) result = objects_apart(s, b, a, apart);
    }
    return result;
}

static mlxn_sc_result check_apart(mlxn_schema *s, const json_t *branches) {
    for (size_t i = 0; i < json_array_size(branches); i++)
        for (size_t k = i + 1; k < json_array_size(branches); k++) {
            bool apart = false;
            mlxn_sc_result result = are_apart(s, json_array_get(branches, i), json_array_get(branches, k), &apart);
            if (result) return result;
            if (!apart)
                return mlxn_sc_fail(s, MLXN_ERR_UNSUPPORTED,
                                    "keyword \"oneOf\": a value might satisfy both %zu and %zu; types, or a required "
                                    "member with different constants, would tell them apart, and anyOf allows both",
                                    i, k);
        }
    return MLXN_SC_OK;
}

static bool has_bearing(const json_t *flat) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)flat, key, value) if (!mlxn_sc_is_annotation(key)) return true;
    return false;
}

/* An alternative together with what stands beside the keyword; itself if there is nothing, so that it is known again.
 */
static json_t *branch_of(mlxn_schema *s, json_t *rest, json_t *alternative, const char *keyword, size_t i) {
    json_t *branch = alternative;
    char path[sizeof s->path];
    size_t size = s->path_size;
    if (!has_bearing(rest)) return alternative;
    memcpy(path, s->path, size);
    mlxn_sc_enter_index(s, keyword, i);
    mlxn_sc_result result = mlxn_sc_flatten(s, alternative, 0, &branch);
    memcpy(s->path, path, size);
    s->path_size = size;
    if (!result) result = mlxn_sc_merge(s, rest, branch, &branch);
    return result ? NULL : branch;
}

static mlxn_sc_result expand(mlxn_schema *s, json_t *flat, const char *keyword, json_t *branches) {
    json_t *list = json_object_get(flat, keyword), *rest = mlxn_sc_keep(s, json_copy(flat));
    if (!rest) return MLXN_SC_ERROR;
    json_object_del(rest, keyword);
    if (!json_is_array(list) || !json_array_size(list))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"%s\" is no list of schemas", keyword);
    if (json_array_size(list) > MAX_ALTERNATIVES)
        return mlxn_sc_fail(s, MLXN_ERR_LIMIT, "keyword \"%s\" has %zu alternatives, at most %d are supported",
                            keyword, json_array_size(list), MAX_ALTERNATIVES);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *branch = branch_of(s, rest, json_array_get(list, i), keyword, i);
        if (!branch) return MLXN_SC_ERROR;
        if (json_array_append(branches, branch)) return mlxn_sc_no_memory(s);
    }
    return MLXN_SC_OK;
}

mlxn_sc_result mlxn_sc_union(mlxn_schema *s, json_t *flat, const char *keyword, char out[MLXN_SC_EXPRESSION]) {
    json_t *branches = mlxn_sc_keep(s, json_array());
    if (!branches) return MLXN_SC_ERROR;
    mlxn_sc_result result = expand(s, flat, keyword, branches);
    if (!result && !strcmp(keyword, "oneOf")) result = check_apart(s, branches);
    mlxn_sc_text body = {0};
    uint32_t n = 0;
    for (size_t i = 0; !result && i < json_array_size(branches); i++) {
        char one[MLXN_SC_EXPRESSION];
        size_t size = mlxn_sc_enter_index(s, keyword, i);
        result = mlxn_sc_convert(s, json_array_get(branches, i), one);
        mlxn_sc_leave(s, size);
        if (result == MLXN_SC_OK) {
            mlxn_sc_put(&body, "%s%s", n++ ? " | " : "", one);
            strcpy(out, one);
        }
        if (result == MLXN_SC_NEVER) result = MLXN_SC_OK;
    }
    if (result || n < 2) {
        mlxn_free(body.data);
        return result ? result : n ? MLXN_SC_OK : MLXN_SC_NEVER;
    }
    mlxn_sc_new_rule(s, out);
    return mlxn_sc_add_rule(s, out, &body);
}
