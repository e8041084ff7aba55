/* objects.c: what has members and is neither list nor map: namespaces, loops, cyclers, joiners; the global functions.
 */
#define _GNU_SOURCE /* localtime_r */
#include <time.h>

#include "lm/jinja/internal.h"

jn_value mlxn_jn_object_new(jn_run *r, jn_object_kind kind) {
    jn_object *o = mlxn_jn_alloc(r, sizeof *o);
    o->kind = kind;
    o->last.type = JN_MISSING;
    return (jn_value){.type = JN_OBJECT, .object = o};
}

/* ---- members ---- */

static jn_value loop_cycle(jn_run *r, const jn_value *a, const jn_args *args) {
    if (!args->n) mlxn_jn_type_error(r, "no items for cycling given");
    return args->v[a[0].object->at % args->n];
}

static jn_value loop_changed(jn_run *r, const jn_value *a, const jn_args *args) {
    jn_value now = mlxn_jn_list_new(r, JN_TUPLE);
    for (size_t i = 0; i < args->n; i++) mlxn_jn_append(r, now, args->v[i]);
    bool changed = jn_missing(a[0].object->last) || !mlxn_jn_equal(r, a[0].object->last, now);
    if (changed) a[0].object->last = now;
    return jn_bool(changed);
}

static jn_value cycler_next(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)r, (void)args;
    jn_object *o = a[0].object;
    jn_value v = o->items->v[o->at];
    o->at = (o->at + 1) % o->items->n;
    return v;
}

static jn_value cycler_reset(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)r, (void)args;
    a[0].object->at = 0;
    return jn_none();
}

static const jn_builtin loop_methods[] = {{"cycle", loop_cycle, NULL, 0}, {"changed", loop_changed, NULL, 0}, {0}};
static const jn_builtin cycler_methods[] = {{"next", cycler_next, "", 0}, {"reset", cycler_reset, "", 0}, {0}};

static bool loop_member(const jn_object *o, const jn_string *name, jn_value *out) {
    int64_t n = (int64_t)o->items->n, at = (int64_t)o->at;
    const struct {
        const char *name;
        jn_value value;
    } table[] = {{"index", jn_int(at + 1)},
                 {"index0", jn_int(at)},
                 {"revindex", jn_int(n - at)},
                 {"revindex0", jn_int(n - at - 1)},
                 {"first", jn_bool(at == 0)},
                 {"last", jn_bool(at == n - 1)},
                 {"length", jn_int(n)},
                 {"depth", jn_int(o->nesting + 1)},
                 {"depth0", jn_int(o->nesting)},
                 {"previtem", at > 0 ? o->items->v[at - 1] : jn_undefined("there is no previous item")},
                 {"nextitem", at < n - 1 ? o->items->v[at + 1] : jn_undefined("there is no next item")}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (mlxn_jn_is(name, table[i].name)) {
            *out = table[i].value;
            return true;
        }
    return false;
}

bool mlxn_jn_object_member(jn_run *r, jn_value v, const jn_string *name, jn_value *out) {
    jn_object *o = v.object;
    const jn_builtin *methods = o->kind == JN_LOOP ? loop_methods : o->kind == JN_CYCLER ? cycler_methods : NULL;
    const jn_builtin *b = methods ? mlxn_jn_find_builtin(methods, name) : NULL;
    if (b) {
        *out = mlxn_jn_make_method(r, b, v);
        return true;
    }
    if (o->kind == JN_LOOP) return loop_member(o, name, out);
    if (o->kind == JN_CYCLER && mlxn_jn_is(name, "current")) {
        *out = o->items->v[o->at];
        return true;
    }
    jn_value *member =
        o->kind == JN_NAMESPACE ? mlxn_jn_map_get(r, o->members, (jn_value){.type = JN_STRING, .s = name}) : NULL;
    if (member) *out = *member;
    return member != NULL;
}

jn_value mlxn_jn_object_call(jn_run *r, jn_value v, const jn_args *args) {
    jn_object *o = v.object;
    if (o->kind == JN_LOOP && args->n == 1) return mlxn_jn_loop_again(r, v, args->v[0]);
    if (o->kind != JN_JOINER) mlxn_jn_type_error(r, "'%s' object is not callable", mlxn_jn_type_name(v));
    if (o->used) return o->last;
    o->used = true;
    return mlxn_jn_string_of(r, "", 0);
}

/* ---- global functions ---- */

static void add_named(jn_run *r, jn_map *map, const jn_args *args) {
    if (args->n > 1) mlxn_jn_type_error(r, "dict expected at most 1 argument, got %zu", args->n);
    if (args->n && args->v[0].type == JN_MAP) {
        const jn_map *from = args->v[0].map;
        for (size_t i = 0; i < from->n; i++) mlxn_jn_map_set(r, map, from->v[i].key, from->v[i].value);
    } else if (args->n) {
        const jn_list *pairs = mlxn_jn_elements(r, args->v[0]);
        for (size_t i = 0; i < pairs->n; i++) {
            const jn_list *pair = mlxn_jn_elements(r, pairs->v[i]);
            if (pair->n != 2) mlxn_jn_type_error(r, "element %zu has length %zu; 2 is required", i, pair->n);
            mlxn_jn_map_set(r, map, pair->v[0], pair->v[1]);
        }
    }
    for (size_t i = 0; args->named && i < args->named->n; i++)
        mlxn_jn_map_set(r, map, args->named->v[i].key, args->named->v[i].value);
}

static jn_value global_dict(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)a;
    jn_value map = mlxn_jn_map_new(r);
    add_named(r, map.map, args);
    return map;
}

static jn_value global_namespace(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)a;
    jn_value o = mlxn_jn_object_new(r, JN_NAMESPACE);
    o.object->members = mlxn_jn_map_new(r).map;
    add_named(r, o.object->members, args);
    return o;
}

enum { MAX_RANGE = 100000 };

static jn_value global_range(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)a;
    if (args->n < 1 || args->n > 3 || args->named)
        mlxn_jn_type_error(r, "range expected 1 to 3 arguments, got %zu", args->n);
    int64_t part[3] = {0, 0, 1};
    for (size_t i = 0; i < args->n; i++)
        part[args->n == 1 ? 1 : i] = mlxn_jn_need_int(r, args->v[i], "an argument of range");
    if (!part[2]) mlxn_jn_type_error(r, "range() arg 3 must not be zero");
    uint64_t step = part[2] < 0 ? 0 - (uint64_t)part[2] : (uint64_t)part[2], n = 0;
    if (part[2] > 0 && part[1] > part[0]) n = ((uint64_t)part[1] - (uint64_t)part[0] - 1) / step + 1;
    if (part[2] < 0 && part[0] > part[1]) n = ((uint64_t)part[0] - (uint64_t)part[1] - 1) / step + 1;
    if (n > MAX_RANGE)
        mlxn_jn_fail(r, MLXN_ERR_LIMIT, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                     MAX_RANGE);
    jn_value out = mlxn_jn_list_new(r, JN_RANGE);
    memcpy(out.list->range, part, sizeof part);
    for (uint64_t i = 0; i < n; i++)
        mlxn_jn_append(r, out, jn_int((int64_t)((uint64_t)part[0] + i * (uint64_t)part[2])));
    return out;
}

static jn_value global_cycler(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)a;
    if (!args->n) mlxn_jn_type_error(r, "at least one item has to be provided");
    jn_value o = mlxn_jn_object_new(r, JN_CYCLER), items = mlxn_jn_list_new(r, JN_ARRAY);
    for (size_t i = 0; i < args->n; i++) mlxn_jn_append(r, items, args->v[i]);
    o.object->items = items.list;
    return o;
}

static jn_value global_joiner(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_value o = mlxn_jn_object_new(r, JN_JOINER);
    o.object->last = jn_missing(a[1]) ? mlxn_jn_string_of(r, ", ", 2) : a[1];
    return o;
}

static jn_value global_raise(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *text = mlxn_jn_str(r, a[1]);
    mlxn_jn_type_error(r, "the template refuses: %.*s", (int)mlxn_min_u64(text->size, 300), text->data);
}

static jn_value global_strftime(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *format = mlxn_jn_need_string(r, a[1], "the format of strftime_now");
    time_t now = r->now ? (time_t)r->now : time(NULL);
    struct tm local;
    char form[256], text[1024];
    if (format->size >= sizeof form - 1 || memchr(format->data, 0, format->size))
        mlxn_jn_type_error(r, "the format of strftime_now has %zu bytes, at most %zu and no zero byte are allowed",
                           format->size, sizeof form - 2);
    if (!localtime_r(&now, &local)) mlxn_jn_type_error(r, "the time %lld has no date", (long long)now);
    memcpy(form, format->data, format->size);
    form[format->size] = '.'; /* so that an empty text is no error */
    form[format->size + 1] = 0;
    size_t n = strftime(text, sizeof text, form, &local);
    if (!n) mlxn_jn_type_error(r, "strftime_now gives a text that is too long");
    return mlxn_jn_string_copy(r, text, n - 1);
}

static jn_value global_lipsum(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)a, (void)args;
    mlxn_jn_fail(r, MLXN_ERR_UNSUPPORTED, "the function lipsum is refused: its result is random");
}

const jn_builtin mlxn_jn_globals[] = {{"range", global_range, NULL, 0},
                                      {"dict", global_dict, NULL, 0},
                                      {"namespace", global_namespace, NULL, 0},
                                      {"cycler", global_cycler, NULL, 0},
                                      {"joiner", global_joiner, "sep", 0},
                                      {"raise_exception", global_raise, "message", 1},
                                      {"strftime_now", global_strftime, "format", 1},
                                      {"lipsum", global_lipsum, NULL, 0},
                                      {0}};
