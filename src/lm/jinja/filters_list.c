/* filters_list.c: the filters of Jinja2 that walk lists. */
#include "lm/jinja/internal.h"

/* "a.b.0" follows members and indices. */
jn_value mlxn_jn_attribute(jn_run *r, jn_value v, jn_value attribute) {
    if (jn_is_int(attribute)) return mlxn_jn_index(r, v, attribute);
    const jn_string *path = mlxn_jn_need_string(r, attribute, "attribute");
    for (size_t at = 0; at <= path->size;) {
        size_t end = at;
        int64_t index;
        while (end < path->size && path->data[end] != '.') end++;
        if (end > at && path->data[at] >= '0' && path->data[at] <= '9' &&
            mlxn_jn_parse_int(path->data + at, end - at, 10, &index))
            v = mlxn_jn_index(r, v, jn_int(index));
        else
            v = mlxn_jn_index(r, v, mlxn_jn_string_of(r, path->data + at, end - at));
        at = end + 1;
    }
    return v;
}

static bool given(jn_value v) { return !jn_missing(v) && v.type != JN_NONE; }

/* The value to sort, compare or group by; strings without case unless `sensitive`. */
static jn_value key_of(jn_run *r, jn_value v, jn_value attribute, bool sensitive) {
    if (given(attribute)) v = mlxn_jn_attribute(r, v, attribute);
    return v.type == JN_STRING && !sensitive ? mlxn_jn_change_case(r, v.s, JN_LOWER) : v;
}

typedef struct keyed {
    jn_value key, value;
} keyed;

static int order(jn_run *r, const keyed *a, const keyed *b, bool reverse) {
    int o = mlxn_jn_order(r, a->key, b->key, "<");
    return o == 2 ? 0 : reverse ? -o : o;
}

/* Stable, bottom-up merges. */
static keyed *merge_sort(jn_run *r, keyed *v, size_t n, bool reverse) {
    keyed *to = mlxn_jn_alloc(r, n * sizeof *to);
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t middle = low + width < n ? low + width : n, high = middle + width < n ? middle + width : n;
            size_t i = low, k = middle;
            for (size_t o = low; o < high; o++) {
                mlxn_jn_charge(r, 0);
                bool right = i >= middle || (k < high && order(r, &v[k], &v[i], reverse) < 0);
                to[o] = right ? v[k++] : v[i++];
            }
        }
        keyed *swap = v;
        v = to;
        to = swap;
    }
    return v;
}

static keyed *keys(jn_run *r, const jn_list *all, jn_value attribute, bool sensitive) {
    keyed *k = mlxn_jn_alloc(r, all->n * sizeof *k);
    for (size_t i = 0; i < all->n; i++) k[i] = (keyed){key_of(r, all->v[i], attribute, sensitive), all->v[i]};
    return k;
}

static bool truth_or(jn_value v, bool otherwise) { return jn_missing(v) ? otherwise : mlxn_jn_truth(v); }

static jn_value filter_sort(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    bool sensitive = truth_or(a[2], false);
    keyed *k = mlxn_jn_alloc(r, all->n * sizeof *k);
    const jn_string *path = given(a[3]) && a[3].type == JN_STRING ? a[3].s : NULL;
    for (size_t i = 0; i < all->n; i++) {
        k[i].value = all->v[i];
        if (!path || !memchr(path->data, ',', path->size)) {
            k[i].key = key_of(r, all->v[i], a[3], sensitive);
            continue;
        }
        k[i].key = mlxn_jn_list_new(r, JN_ARRAY); /* several attributes */
        for (size_t at = 0, end; at <= path->size; at = end + 1) {
            end = at;
            while (end < path->size && path->data[end] != ',') end++;
            mlxn_jn_append(r, k[i].key,
                           key_of(r, all->v[i], mlxn_jn_string_of(r, path->data + at, end - at), sensitive));
        }
    }
    k = merge_sort(r, k, all->n, truth_or(a[1], false));
    jn_value out = mlxn_jn_list_new(r, JN_ARRAY);
    for (size_t i = 0; i < all->n; i++) mlxn_jn_append(r, out, k[i].value);
    return out;
}

static jn_value filter_dictsort(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    if (a[0].type != JN_MAP) mlxn_jn_type_error(r, "dictsort wants a dict, not %s", mlxn_jn_type_name(a[0]));
    const jn_map *map = a[0].map;
    const jn_string *by = jn_missing(a[2]) ? mlxn_jn_text(r, "key", 3) : mlxn_jn_need_string(r, a[2], "by");
    if (!mlxn_jn_is(by, "key") && !mlxn_jn_is(by, "value"))
        mlxn_jn_type_error(r, "You can only sort by either \"key\" or \"value\"");
    bool sensitive = truth_or(a[1], false), value = mlxn_jn_is(by, "value");
    keyed *k = mlxn_jn_alloc(r, map->n * sizeof *k);
    for (size_t i = 0; i < map->n; i++) {
        k[i].key = key_of(r, value ? map->v[i].value : map->v[i].key, jn_none(), sensitive);
        k[i].value = mlxn_jn_pair(r, map->v[i].key, map->v[i].value);
    }
    k = merge_sort(r, k, map->n, truth_or(a[3], false));
    jn_value out = mlxn_jn_list_new(r, JN_ARRAY);
    for (size_t i = 0; i < map->n; i++) mlxn_jn_append(r, out, k[i].value);
    return out;
}

static jn_value filter_groupby(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    bool sensitive = truth_or(a[3], false);
    keyed *k = mlxn_jn_alloc(r, all->n * sizeof *k);
    for (size_t i = 0; i < all->n; i++) {
        jn_value key = mlxn_jn_attribute(r, all->v[i], a[1]);
        if (key.type == JN_UNDEFINED && given(a[2])) key = a[2];
        k[i] = (keyed){key_of(r, key, jn_none(), sensitive), all->v[i]};
        if (!given(a[2])) continue;
    }
    k = merge_sort(r, k, all->n, false);
    jn_value out = mlxn_jn_list_new(r, JN_ARRAY), group = jn_none();
    for (size_t i = 0; i < all->n; i++) {
        if (!i || !mlxn_jn_equal(r, k[i].key, k[i - 1].key)) {
            jn_value name = mlxn_jn_attribute(r, k[i].value, a[1]);
            if (name.type == JN_UNDEFINED && given(a[2])) name = a[2];
            group = mlxn_jn_list_new(r, JN_ARRAY);
            jn_value pair = mlxn_jn_pair(r, name, group);
            pair.list->group = true;
            mlxn_jn_append(r, out, pair);
        }
        mlxn_jn_append(r, group, k[i].value);
    }
    return out;
}

static jn_value filter_unique(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    const keyed *k = keys(r, all, a[2], truth_or(a[1], false));
    jn_value out = mlxn_jn_list_new(r, JN_GENERATOR), seen = mlxn_jn_map_new(r);
    for (size_t i = 0; i < all->n; i++) {
        if (mlxn_jn_map_get(r, seen.map, k[i].key)) continue;
        mlxn_jn_map_set(r, seen.map, k[i].key, jn_none());
        mlxn_jn_append(r, out, k[i].value);
    }
    return out;
}

static jn_value extreme(jn_run *r, const jn_value *a, int sign) {
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    if (!all->n) return jn_undefined("No aggregated item, sequence was empty.");
    const keyed *k = keys(r, all, a[2], truth_or(a[1], false));
    size_t best = 0;
    for (size_t i = 1; i < all->n; i++) {
        int o = mlxn_jn_order(r, k[i].key, k[best].key, sign < 0 ? "<" : ">");
        if (o != 2 && o * sign > 0) best = i;
    }
    return all->v[best];
}
static jn_value filter_min(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return extreme(r, a, -1);
}
static jn_value filter_max(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return extreme(r, a, 1);
}

static jn_value filter_sum(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    jn_value sum = jn_missing(a[2]) ? jn_int(0) : a[2];
    if (sum.type == JN_STRING) mlxn_jn_type_error(r, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < all->n; i++)
        sum = mlxn_jn_binary(r, '+', sum, given(a[1]) ? mlxn_jn_attribute(r, all->v[i], a[1]) : all->v[i]);
    return sum;
}

static jn_value filter_first(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    if (a[0].type == JN_STRING && a[0].s->size) return mlxn_jn_index(r, a[0], jn_int(0));
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    return all->n ? all->v[0] : jn_undefined("No first item, sequence was empty.");
}

static jn_value filter_last(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    if (a[0].type == JN_LIST && a[0].list->kind == JN_GENERATOR)
        mlxn_jn_type_error(r, "'generator' object is not reversible");
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    return all->n ? all->v[all->n - 1] : jn_undefined("No last item, sequence was empty.");
}

static jn_value filter_length(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    return jn_int(mlxn_jn_length(r, a[0]));
}

static jn_value filter_list(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    jn_value out = mlxn_jn_list_new(r, JN_ARRAY);
    for (size_t i = 0; i < all->n; i++) mlxn_jn_append(r, out, all->v[i]);
    return out;
}

static jn_value filter_reverse(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    if (a[0].type == JN_LIST && a[0].list->kind == JN_GENERATOR)
        mlxn_jn_type_error(r, "'generator' object is not reversible");
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    if (a[0].type == JN_STRING) {
        jn_out out = {0};
        for (size_t i = all->n; i--;) mlxn_jn_put(r, &out, all->v[i].s->data, all->v[i].s->size);
        return mlxn_jn_out_string(r, &out);
    }
    jn_value out = mlxn_jn_list_new(r, JN_GENERATOR);
    for (size_t i = all->n; i--;) mlxn_jn_append(r, out, all->v[i]);
    return out;
}

static jn_value filter_batch(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    int64_t size = mlxn_jn_need_int(r, a[1], "linecount");
    if (size < 1) mlxn_jn_type_error(r, "batch wants a positive number, got %lld", (long long)size);
    jn_value out = mlxn_jn_list_new(r, JN_GENERATOR), row = jn_none();
    for (size_t i = 0; i < all->n; i++) {
        if (i % (uint64_t)size == 0) {
            row = mlxn_jn_list_new(r, JN_ARRAY);
            mlxn_jn_append(r, out, row);
        }
        mlxn_jn_append(r, row, all->v[i]);
    }
    if (all->n && given(a[2]))
        while (row.list->n < (uint64_t)size) mlxn_jn_append(r, row, a[2]);
    return out;
}

static jn_value filter_slice(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    int64_t slices = mlxn_jn_need_int(r, a[1], "slices");
    if (slices < 1) mlxn_jn_type_error(r, "slice wants a positive number, got %lld", (long long)slices);
    uint64_t each = all->n / (uint64_t)slices, longer = all->n % (uint64_t)slices, at = 0;
    jn_value out = mlxn_jn_list_new(r, JN_GENERATOR);
    for (uint64_t i = 0; i < (uint64_t)slices; i++) {
        jn_value row = mlxn_jn_list_new(r, JN_ARRAY);
        for (uint64_t n = each + (i < longer); n; n--) mlxn_jn_append(r, row, all->v[at++]);
        if (given(a[2]) && i >= longer) mlxn_jn_append(r, row, a[2]);
        mlxn_jn_append(r, out, row);
    }
    return out;
}

/* ---- map, select, reject and their forms with an attribute ---- */

static jn_args rest(const jn_args *args, size_t skip) {
    if (skip >= args->n) return (jn_args){NULL, 0, args->named};
    return (jn_args){args->v + skip, args->n - skip, args->named};
}

static jn_value filter_map(jn_run *r, const jn_value *a, const jn_args *args) {
    jn_value out = mlxn_jn_list_new(r, JN_GENERATOR);
    if (!args->n) {
        jn_value *attribute = args->named ? mlxn_jn_map_get_text(r, args->named, "attribute") : NULL;
        jn_value *otherwise = args->named ? mlxn_jn_map_get_text(r, args->named, "default") : NULL;
        if (!attribute) mlxn_jn_type_error(r, "map requires a filter argument");
        if (args->named->n > 1u + (otherwise != NULL)) mlxn_jn_type_error(r, "Unexpected keyword argument of map");
        const jn_list *all = mlxn_jn_elements(r, a[0]);
        for (size_t i = 0; i < all->n; i++) {
            jn_value v = mlxn_jn_attribute(r, all->v[i], *attribute);
            mlxn_jn_append(r, out, v.type == JN_UNDEFINED && otherwise ? *otherwise : v);
        }
        return out;
    }
    const jn_string *name = mlxn_jn_need_string(r, args->v[0], "the filter of map");
    jn_args more = rest(args, 1);
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    for (size_t i = 0; i < all->n; i++) mlxn_jn_append(r, out, mlxn_jn_apply_filter(r, name, all->v[i], &more));
    return out;
}

static jn_value choose(jn_run *r, const jn_value *a, const jn_args *args, bool by_attribute, bool keep) {
    size_t skip = by_attribute;
    if (by_attribute && !args->n) mlxn_jn_type_error(r, "Missing parameter for attribute name");
    const jn_string *test = args->n > skip ? mlxn_jn_need_string(r, args->v[skip], "the name of a test") : NULL;
    jn_args more = rest(args, skip + 1);
    const jn_list *all = mlxn_jn_elements(r, a[0]);
    jn_value out = mlxn_jn_list_new(r, JN_GENERATOR);
    for (size_t i = 0; i < all->n; i++) {
        mlxn_jn_charge(r, 0);
        jn_value v = by_attribute ? mlxn_jn_attribute(r, all->v[i], args->v[0]) : all->v[i];
        if ((test ? mlxn_jn_apply_test(r, test, v, &more) : mlxn_jn_truth(v)) == keep)
            mlxn_jn_append(r, out, all->v[i]);
    }
    return out;
}
#define CHOICE(name, by_attribute, keep)                                               \
    static jn_value filter_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        return choose(r, a, args, by_attribute, keep);                                 \
    }
CHOICE(select, false, true)
CHOICE(reject, false, false)
CHOICE(selectattr, true, true)
CHOICE(rejectattr, true, false)

const jn_builtin mlxn_jn_filters_list[] = {{"sort", filter_sort, "reverse case_sensitive attribute", 0},
                                           {"dictsort", filter_dictsort, "case_sensitive by reverse", 0},
                                           {"groupby", filter_groupby, "attribute default case_sensitive", 1},
                                           {"unique", filter_unique, "case_sensitive attribute", 0},
                                           {"min", filter_min, "case_sensitive attribute", 0},
                                           {"max", filter_max, "case_sensitive attribute", 0},
                                           {"sum", filter_sum, "attribute start", 0},
                                           {"first", filter_first, "", 0},
                                           {"last", filter_last, "", 0},
                                           {"length", filter_length, "", 0},
                                           {"count", filter_length, "", 0},
                                           {"list", filter_list, "", 0},
                                           {"reverse", filter_reverse, "", 0},
                                           {"batch", filter_batch, "linecount fill_with", 1},
                                           {"slice", filter_slice, "slices fill_with", 1},
                                           {"map", filter_map, NULL, 0},
                                           {"select", filter_select, NULL, 0},
                                           {"reject", filter_reject, NULL, 0},
                                           {"selectattr", filter_selectattr, NULL, 0},
                                           {"rejectattr", filter_rejectattr, NULL, 0},
                                           {0}};
