/* filters_data.c: the filters of Jinja2 on numbers, maps and single values. */
#include <math.h>

#include "lm/jinja/internal.h"

static jn_value filter_default(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    bool all_false = !jn_missing(a[2]) && mlxn_jn_truth(a[2]);
    if (a[0].type != JN_UNDEFINED && !(all_false && !mlxn_jn_truth(a[0]))) return a[0];
    return jn_missing(a[1]) ? mlxn_jn_string_of(r, "", 0) : a[1];
}

static jn_value filter_abs(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    if (a[0].type == JN_FLOAT) return jn_float(fabs(a[0].f));
    if (a[0].type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, a[0]);
    if (!jn_is_int(a[0])) mlxn_jn_type_error(r, "bad operand type for abs(): '%s'", mlxn_jn_type_name(a[0]));
    return jn_int_of(a[0]) < 0 ? mlxn_jn_negate(r, a[0]) : jn_int(jn_int_of(a[0]));
}

static jn_value filter_int(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    int64_t base = jn_missing(a[2]) ? 10 : mlxn_jn_need_int(r, a[2], "base"), i;
    double f = NAN;
    if (jn_is_int(a[0])) return jn_int(jn_int_of(a[0]));
    if (a[0].type == JN_STRING) {
        if (base >= 2 && base <= 36 && mlxn_jn_parse_int(a[0].s->data, a[0].s->size, (int)base, &i)) return jn_int(i);
        if (!mlxn_jn_parse_double(a[0].s->data, a[0].s->size, &f)) f = NAN;
    }
    if (a[0].type == JN_FLOAT) f = a[0].f;
    if (fabs(f) < 9.2e18) return jn_int((int64_t)f);
    if (isfinite(f)) mlxn_jn_type_error(r, "the number does not fit into 64 bits");
    return jn_missing(a[1]) ? jn_int(0) : a[1];
}

static jn_value filter_float(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)r, (void)args;
    double f;
    if (jn_is_number(a[0])) return jn_float(jn_double_of(a[0]));
    if (a[0].type == JN_STRING && mlxn_jn_parse_double(a[0].s->data, a[0].s->size, &f)) return jn_float(f);
    return jn_missing(a[1]) ? jn_float(0) : a[1];
}

/* `common` rounds the decimal text half to even, as Python's round does, which looks at the exact binary value. */
static jn_value filter_round(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    int64_t precision = jn_missing(a[1]) ? 0 : mlxn_jn_need_int(r, a[1], "precision");
    const jn_string *method =
        jn_missing(a[2]) ? mlxn_jn_text(r, "common", 6) : mlxn_jn_need_string(r, a[2], "method");
    bool common = mlxn_jn_is(method, "common"), up = mlxn_jn_is(method, "ceil");
    if (!common && !up && !mlxn_jn_is(method, "floor")) mlxn_jn_type_error(r, "method must be common, ceil or floor");
    if (a[0].type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, a[0]);
    if (!jn_is_number(a[0]))
        mlxn_jn_type_error(r, "type %s doesn't define __round__ method", mlxn_jn_type_name(a[0]));
    if (precision > 300 || precision < -300) mlxn_jn_type_error(r, "precision must be -300 to 300");
    double v = jn_double_of(a[0]);
    if (common && jn_is_int(a[0]) && precision >= 0) return jn_int(jn_int_of(a[0]));
    if (common && precision >= 0) {
        char text[700];
        if (!isfinite(v)) return jn_float(v);
        snprintf(text, sizeof text, "%.*f", (int)precision, v);
        return jn_float(strtod(text, NULL));
    }
    double scale = pow(10, (double)precision);
    double rounded = (common ? nearbyint(v * scale) : up ? ceil(v * scale) : floor(v * scale)) / scale;
    return common && jn_is_int(a[0]) ? jn_int((int64_t)rounded) : jn_float(rounded);
}

static jn_value filter_attr(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    const jn_string *name = mlxn_jn_need_string(r, a[1], "the name of attr");
    if (a[0].type == JN_MAP) { /* methods alone: members of a map are no attributes */
        const jn_builtin *b = mlxn_jn_find_builtin(mlxn_jn_map_methods, name);
        if (b) return mlxn_jn_make_method(r, b, a[0]);
        return jn_undefined(
            mlxn_jn_print(r, "'dict object' has no attribute '%.*s'", (int)mlxn_min_u64(name->size, 60), name->data));
    }
    return mlxn_jn_member(r, a[0], name);
}

static jn_value filter_items(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    jn_value out = mlxn_jn_list_new(r, JN_GENERATOR);
    if (a[0].type == JN_UNDEFINED) return out;
    if (a[0].type != JN_MAP) mlxn_jn_type_error(r, "Can only get item pairs from a mapping.");
    for (size_t i = 0; i < a[0].map->n; i++)
        mlxn_jn_append(r, out, mlxn_jn_pair(r, a[0].map->v[i].key, a[0].map->v[i].value));
    return out;
}

static jn_value filter_filesize(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)args;
    bool binary = !jn_missing(a[1]) && mlxn_jn_truth(a[1]);
    jn_value number = filter_float(r, (jn_value[2]){a[0], {.type = JN_MISSING}}, NULL);
    double bytes = jn_double_of(number), base = binary ? 1024 : 1000, unit = base;
    static const char *const prefixes = "kMGTPEZY";
    char text[64];
    if (bytes == 1) return mlxn_jn_string_of(r, "1 Byte", 6);
    if (bytes < base) {
        snprintf(text, sizeof text, "%lld Bytes", (long long)bytes);
        return mlxn_jn_string_copy(r, text, strlen(text));
    }
    int i = 0;
    while (i < 7 && bytes >= unit * base) unit *= base, i++;
    snprintf(text, sizeof text, "%.1f %c%sB", bytes / unit, binary && !i ? 'K' : prefixes[i], binary ? "i" : "");
    return mlxn_jn_string_copy(r, text, strlen(text));
}

static jn_value filter_random(jn_run *r, const jn_value *a, const jn_args *args) {
    (void)a, (void)args;
    mlxn_jn_fail(r, MLXN_ERR_UNSUPPORTED, "the filter random is refused: a prompt must not depend on chance");
}

const jn_builtin mlxn_jn_filters_data[] = {{"default", filter_default, "default_value boolean", 0},
                                           {"d", filter_default, "default_value boolean", 0},
                                           {"abs", filter_abs, "", 0},
                                           {"int", filter_int, "default base", 0},
                                           {"float", filter_float, "default", 0},
                                           {"round", filter_round, "precision method", 0},
                                           {"attr", filter_attr, "name", 1},
                                           {"items", filter_items, "", 0},
                                           {"filesizeformat", filter_filesize, "binary", 0},
                                           {"random", filter_random, "", 0},
                                           {0}};
