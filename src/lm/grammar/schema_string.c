/* schema_string.c: strings by length, format or pattern. */
#include "lm/grammar/schema.h"

#include <stdio.h>

/* Formats that are obeyed; others are annotations, as the standard has it. */
static const struct {
    const char *name;
    uint32_t least, most; /* characters */
} formats[] = {{"date", 10, 10}, {"time", 9, 24}, {"date-time", 20, 35}, {"uuid", 36, 36}, {"ipv4", 7, 15}};
enum { N_FORMATS = sizeof formats / sizeof *formats };

typedef struct bounds {
    uint64_t least, most; /* most: UINT64_MAX, no end */
} bounds;

static mlxn_sc_result read_bounds(mlxn_schema *s, const json_t *flat, bounds *b) {
    bool given;
    *b = (bounds){0, UINT64_MAX};
    mlxn_sc_result result = mlxn_sc_count(s, flat, "minLength", &given, &b->least);
    if (!result) result = mlxn_sc_count(s, flat, "maxLength", &given, &b->most);
    return result;
}

/* Strings of a form that has its own lengths: these must all be allowed. */
static mlxn_sc_result check_bounds(mlxn_schema *s, bounds want, uint64_t least, uint64_t most, const char *form) {
    char why[80];
    if (want.least > most || want.most < least) return MLXN_SC_NEVER;
    if (want.least <= least && want.most >= most) return MLXN_SC_OK;
    snprintf(why, sizeof why, "the keyword \"%s\" alone does not keep to it", form);
    return mlxn_sc_unsupported(s, want.least > least ? "minLength" : "maxLength", why);
}

static mlxn_sc_result add_string(mlxn_schema *s, mlxn_sc_text *inner, char out[MLXN_SC_EXPRESSION]) {
    mlxn_sc_text body = {0};
    mlxn_sc_put(&body, "\"\\\"\" ");
    if (inner->size) mlxn_sc_put_bytes(&body, inner->data, inner->size);
    mlxn_sc_put(&body, " \"\\\"\"");
    body.failed = body.failed || inner->failed;
    mlxn_free(inner->data);
    *inner = (mlxn_sc_text){0};
    mlxn_sc_new_rule(s, out);
    return mlxn_sc_add_rule(s, out, &body);
}

static mlxn_sc_result add_length(mlxn_schema *s, bounds b, char out[MLXN_SC_EXPRESSION]) {
    mlxn_sc_text inner = {0};
    if (b.least > b.most) return MLXN_SC_NEVER;
    if (b.least > MLXN_SC_MAX_LENGTH)
        return mlxn_sc_fail(s, MLXN_ERR_LIMIT, "keyword \"minLength\" is %llu, at most %d are supported",
                            (unsigned long long)b.least, MLXN_SC_MAX_LENGTH);
    mlxn_sc_put(&inner, "%s{%llu,", mlxn_sc_common(s, "char"), (unsigned long long)b.least);
    if (b.most != UINT64_MAX) /* shorter ones are valid too */
        mlxn_sc_put(&inner, "%llu", (unsigned long long)mlxn_min_u64(b.most, MLXN_SC_MAX_LENGTH));
    mlxn_sc_put(&inner, "}");
    return add_string(s, &inner, out);
}

mlxn_sc_result mlxn_sc_string(mlxn_schema *s, json_t *flat, char out[MLXN_SC_EXPRESSION]) {
    const json_t *pattern = json_object_get(flat, "pattern");
    const char *format = json_string_value(json_object_get(flat, "format"));
    mlxn_sc_text inner = {0};
    bounds b;
    uint64_t least, most;
    mlxn_sc_result result = read_bounds(s, flat, &b);
    uint32_t known = 0;
    while (known < N_FORMATS && (!format || strcmp(formats[known].name, format))) known++;
    if (result) return result;
    if (pattern && !json_is_string(pattern))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"pattern\" is no string");
    if (pattern && json_string_length(pattern) != strlen(json_string_value(pattern)))
        return mlxn_sc_unsupported(s, "pattern", "it has a zero character");
    if (pattern && known < N_FORMATS) return mlxn_sc_unsupported(s, "pattern", "beside a format");
    if (known < N_FORMATS) {
        result = check_bounds(s, b, formats[known].least, formats[known].most, "format");
        mlxn_sc_put(&inner, "%s", mlxn_sc_common(s, format));
    } else if (pattern) {
        result = mlxn_sc_pattern(s, json_string_value(pattern), &inner, &least, &most);
        if (!result) result = check_bounds(s, b, least, most, "pattern");
    } else if (b.least > 0 || b.most != UINT64_MAX) {
        return add_length(s, b, out);
    } else {
        strcpy(out, mlxn_sc_common(s, "string"));
        return MLXN_SC_OK;
    }
    if (!result) return add_string(s, &inner, out);
    mlxn_free(inner.data);
    return result;
}
