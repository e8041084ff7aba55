/* schema_array.c: arrays: items by their place, then items of one kind, so many of them. */
#include "lm/grammar/schema.h"

typedef struct array {
    mlxn_schema *s;
    json_t *flat;
    json_t *prefix; /* list of schemas, or NULL */
    json_t *rest;   /* of the items behind it; NULL: anything */
    uint64_t least, most;
    bool bounded;
    char rule[MLXN_SC_EXPRESSION], item[MLXN_SC_EXPRESSION];
} array;

static mlxn_sc_result refuse(array *a) {
    const json_t *rest = json_object_get(a->flat, "unevaluatedItems");
    bool given;
    uint64_t least = 1;
    mlxn_sc_result result = mlxn_sc_count(a->s, a->flat, "minContains", &given, &least);
    if (result) return result;
    if (json_is_true(json_object_get(a->flat, "uniqueItems"))) return mlxn_sc_unsupported(a->s, "uniqueItems", NULL);
    if (json_object_get(a->flat, "contains") && (least > 0 || json_object_get(a->flat, "maxContains")))
        return mlxn_sc_unsupported(a->s, "contains", NULL);
    if (rest && !json_is_true(rest) && (!json_is_object(rest) || json_object_size(rest)))
        return mlxn_sc_unsupported(a->s, "unevaluatedItems", "items closes an array");
    return MLXN_SC_OK;
}

/* Up to 2019 "items" was the list, and "additionalItems" what came behind it. */
static mlxn_sc_result read(array *a) {
    json_t *items = json_object_get(a->flat, "items");
    a->prefix = json_object_get(a->flat, "prefixItems");
    a->rest = items;
    if (json_is_array(items)) {
        a->prefix = items;
        a->rest = json_object_get(a->flat, "additionalItems");
    }
    if (a->prefix && !json_is_array(a->prefix))
        return mlxn_sc_fail(a->s, MLXN_ERR_FORMAT, "keyword \"prefixItems\" is no list");
    if (a->rest && !json_is_object(a->rest) && !json_is_boolean(a->rest))
        return mlxn_sc_fail(a->s, MLXN_ERR_FORMAT, "keyword \"items\" is no schema");
    bool given;
    mlxn_sc_result result = mlxn_sc_count(a->s, a->flat, "minItems", &given, &a->least);
    if (!result) result = mlxn_sc_count(a->s, a->flat, "maxItems", &a->bounded, &a->most);
    if (result) return result;
    if (a->least > MLXN_SC_MAX_ITEMS)
        return mlxn_sc_fail(a->s, MLXN_ERR_LIMIT, "keyword \"minItems\" is %llu, at most %d are supported",
                            (unsigned long long)a->least, MLXN_SC_MAX_ITEMS);
    if (a->most > MLXN_SC_MAX_ITEMS) a->most = MLXN_SC_MAX_ITEMS; /* shorter ones are valid too */
    return MLXN_SC_OK;
}

static void end_at(array *a, uint64_t most) {
    if (!a->bounded || a->most > most) a->most = most;
    a->bounded = true;
}

/* Items behind the n that have places of their own. */
static void put_rest(const array *a, mlxn_sc_text *body, uint64_t n) {
    uint64_t least = a->least > n ? a->least - n : 0;
    bool none = a->bounded && a->most <= n;
    if (n > 0) {
        char most[24] = "";
        if (a->bounded) snprintf(most, sizeof most, "%llu", (unsigned long long)(none ? 0 : a->most - n));
        if (!none) mlxn_sc_put(body, "(\",\" ws %s){%llu,%s} ", a->item, (unsigned long long)least, most);
        mlxn_sc_put(body, "ws \"]\"");
    } else if (none) {
        mlxn_sc_put(body, "\"]\"");
    } else {
        char most[24] = "";
        if (a->bounded) snprintf(most, sizeof most, "%llu", (unsigned long long)a->most - 1);
        mlxn_sc_put(body, "%s (\",\" ws %s){%llu,%s} ws \"]\"%s", a->item, a->item,
                    (unsigned long long)(least ? least - 1 : 0), most, least ? "" : " | \"]\"");
    }
}

/* The rule for place i is "-a<i>"; the last one is for the rest. */
static mlxn_sc_result add_places(array *a, uint64_t n) {
    mlxn_sc_result result = MLXN_SC_OK;
    for (uint64_t i = 0; i <= n && !result; i++) {
        char name[MLXN_SC_EXPRESSION], item[MLXN_SC_EXPRESSION];
        mlxn_sc_text body = {0};
        snprintf(name, sizeof name, "%.60s-a%llu", a->rule, (unsigned long long)i);
        if (i == n) {
            put_rest(a, &body, n);
        } else {
            size_t size = mlxn_sc_enter_index(a->s, "prefixItems", i);
            result = mlxn_sc_convert(a->s, json_array_get(a->prefix, i), item);
            mlxn_sc_leave(a->s, size);
            if (result) break; /* cannot be NEVER: that was looked at before */
            mlxn_sc_put(&body, "%s%s %s-a%llu", i ? "\",\" ws " : "", item, a->rule, (unsigned long long)i + 1);
            if (i >= a->least) mlxn_sc_put(&body, " | %s\"]\"", i ? "ws " : "");
        }
        result = mlxn_sc_add_rule(a->s, name, &body);
    }
    return result;
}

/* Where an item can have no value, the array ends before it. */
static mlxn_sc_result find_end(array *a, uint64_t *n) {
    char item[MLXN_SC_EXPRESSION];
    mlxn_sc_result result = MLXN_SC_OK;
    *n = json_array_size(a->prefix);
    for (uint64_t i = 0; i < *n; i++) {
        size_t size = mlxn_sc_enter_index(a->s, "prefixItems", i);
        result = mlxn_sc_convert(a->s, json_array_get(a->prefix, i), item);
        mlxn_sc_leave(a->s, size);
        if (result == MLXN_SC_ERROR) return result;
        if (result == MLXN_SC_NEVER) end_at(a, i);
        if (a->bounded && a->most <= i) *n = a->most;
    }
    strcpy(a->item, mlxn_sc_common(a->s, "value"));
    if (!a->rest || (a->bounded && a->most <= *n)) return MLXN_SC_OK;
    size_t size = mlxn_sc_enter(a->s, "items", NULL);
    result = mlxn_sc_convert(a->s, a->rest, a->item);
    mlxn_sc_leave(a->s, size);
    if (result == MLXN_SC_NEVER) end_at(a, *n);
    return result == MLXN_SC_ERROR ? result : MLXN_SC_OK;
}

mlxn_sc_result mlxn_sc_array(mlxn_schema *s, json_t *flat, char out[MLXN_SC_EXPRESSION]) {
    array a = {.s = s, .flat = flat};
    uint64_t n = 0;
    mlxn_sc_new_rule(s, a.rule);
    mlxn_sc_result result = refuse(&a);
    if (!result) result = read(&a);
    if (!result) result = find_end(&a, &n);
    if (result) return result;
    if (a.bounded && a.most < a.least) return MLXN_SC_NEVER;
    if (!a.bounded && !a.least && !n && !a.rest) {
        strcpy(out, mlxn_sc_common(s, "array"));
        return MLXN_SC_OK;
    }
    mlxn_sc_common(s, "ws");
    result = add_places(&a, n);
    if (result) return result;
    mlxn_sc_text body = {0};
    mlxn_sc_put(&body, "\"[\" ws %s-a0", a.rule);
    strcpy(out, a.rule);
    return mlxn_sc_add_rule(s, a.rule, &body);
}
