/* tok_json.c: values of tokenizer.json with their paths. */
#include "lm/tok_json.h"

#include <stdio.h>

#include "io/json.h"

/* Notes where the value that comes next lies. */
static mlxn_status take_range(mlxn_js *js, mlxn_tj_range *out) {
    (void)mlxn_js_peek(js);
    uint64_t begin = js->at;
    mlxn_status status = mlxn_js_skip(js);
    *out = (mlxn_tj_range){begin, js->at - begin};
    return status;
}

static mlxn_status walk_model(mlxn_tj *tj, mlxn_js *js, char *name_room) {
    bool first = true, more;
    mlxn_string name;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        js->strings = name_room;
        status = mlxn_js_member(js, &first, &name, &more);
        if (status || !more) return status;
        if (mlxn_js_is(name, "vocab"))
            status = take_range(js, &tj->vocab);
        else if (mlxn_js_is(name, "merges"))
            status = take_range(js, &tj->merges);
        else
            status = mlxn_js_skip(js);
    }
    return status;
}

static mlxn_status walk(mlxn_tj *tj, mlxn_js *js, char *name_room) {
    bool first = true, more;
    mlxn_string name;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        js->strings = name_room;
        status = mlxn_js_member(js, &first, &name, &more);
        if (status) return status;
        if (!more) return mlxn_js_end(js);
        bool model = mlxn_js_is(name, "model") && mlxn_js_peek(js) == '{';
        status = model ? walk_model(tj, js, name_room) : mlxn_js_skip(js);
    }
    return status;
}

/* The text with null in the place of the two. */
static mlxn_status read_rest(mlxn_tj *tj) {
    mlxn_tj_range cuts[] = {tj->vocab, tj->merges, {tj->size, 0}};
    if (tj->merges.begin < tj->vocab.begin) {
        cuts[0] = tj->merges;
        cuts[1] = tj->vocab;
    }
    mlxn_tok_bytes rest = {0};
    uint64_t at = 0;
    bool ok = true;
    for (int i = 0; ok && i < 3; i++) {
        if (!cuts[i].size && i < 2) continue;
        ok = mlxn_tok_append(&rest, tj->text + at, (size_t)(cuts[i].begin - at)) &&
             mlxn_tok_append(&rest, "null", i < 2 ? 4 : 0);
        at = cuts[i].begin + cuts[i].size;
    }
    mlxn_status status = ok ? mlxn_config_from_json(rest.data, rest.size, tj->file, &tj->config, tj->error)
                            : mlxn_fail(tj->error, MLXN_ERR_MEMORY, "%s: no memory to read it", tj->file);
    mlxn_free(rest.data);
    return status;
}

mlxn_status mlxn_tj_open(mlxn_tj *tj, const char *text, uint64_t size, const char *file, mlxn_error *error) {
    *tj = (mlxn_tj){.text = text, .size = size, .file = file, .error = error};
    if (size > MLXN_JS_MAX_BYTES)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: has %llu bytes, at most %d", file, (unsigned long long)size,
                         MLXN_JS_MAX_BYTES);
    char *names = mlxn_alloc((size_t)size + 1);
    if (!names) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to read it", file);
    mlxn_js js = {.data = (const uint8_t *)text, .size = size, .file = file, .error = error};
    mlxn_status status = walk(tj, &js, names);
    mlxn_free(names);
    return status == MLXN_OK ? read_rest(tj) : status;
}

void mlxn_tj_close(mlxn_tj *tj) {
    mlxn_config_destroy(tj->config);
    tj->config = NULL;
}

void mlxn_tj_where(const mlxn_tj *tj, const mlxn_tj_at *at, char *out, size_t size) {
    (void)snprintf(out, size, at->path[0] ? "%s: %s" : "%s", tj->file, at->path);
}

mlxn_status mlxn_tj_fail(const mlxn_tj *tj, const mlxn_tj_at *at, mlxn_status status, const char *format, ...) {
    char where[300], text[300];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mlxn_tj_where(tj, at, where, sizeof where);
    return mlxn_fail(tj->error, status, "%s: %s", where, text);
}

void mlxn_tj_root(const mlxn_tj *tj, mlxn_tj_at *out) {
    out->path[0] = 0;
    (void)mlxn_config_find(tj->config, "", &out->value);
}

/* Also for paths that are cut because they are long: such nesting has no place in these files. */
static void extend(mlxn_tj_at *out, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void extend(mlxn_tj_at *out, const char *path, const char *format, ...) {
    char whole[sizeof out->path];
    int n = snprintf(whole, sizeof whole, "%s", path);
    va_list args;
    va_start(args, format);
    if (n >= 0 && (size_t)n < sizeof whole) (void)vsnprintf(whole + n, sizeof whole - (size_t)n, format, args);
    va_end(args);
    memcpy(out->path, whole, sizeof whole);
}

bool mlxn_tj_member(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, mlxn_tj_at *out) {
    mlxn_config_value of = object->value, value;
    extend(out, object->path, object->path[0] ? ".%s" : "%s", name);
    out->value = (mlxn_config_value){.type = MLXN_CONFIG_NULL};
    if (of.type != MLXN_CONFIG_OBJECT) return false;
    uint64_t low = 0, high = of.v.count;
    while (low < high) { /* members are in byte order */
        uint64_t middle = low + (high - low) / 2;
        mlxn_string own;
        if (!mlxn_config_member(tj->config, &of, middle, &own, &value)) return false;
        size_t n = strlen(name), common = n < own.size ? n : (size_t)own.size;
        int order = memcmp(own.data, name, common);
        if (!order) order = own.size == n ? 0 : own.size < n ? -1 : 1;
        if (!order) {
            out->value = value;
            return value.type != MLXN_CONFIG_NULL;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool mlxn_tj_element(const mlxn_tj *tj, const mlxn_tj_at *array, uint64_t i, mlxn_tj_at *out) {
    mlxn_config_value of = array->value;
    extend(out, array->path, "[%llu]", (unsigned long long)i);
    return mlxn_config_element(tj->config, &of, i, &out->value);
}

bool mlxn_tj_is(const mlxn_tj_at *at, const char *word) {
    return at->value.type == MLXN_CONFIG_STRING && mlxn_tok_is(at->value.v.s, word);
}

static mlxn_status wrong(const mlxn_tj *tj, const mlxn_tj_at *at, const char *want) {
    static const char *const names[] = {"null",     "true or false", "an integer", "a number",
                                        "a string", "an array",      "an object"};
    return mlxn_tj_fail(tj, at, MLXN_ERR_FORMAT, "is %s, want %s", names[at->value.type], want);
}

mlxn_status mlxn_tj_bool(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, bool *out) {
    mlxn_tj_at at;
    if (!mlxn_tj_member(tj, object, name, &at)) return MLXN_OK;
    if (at.value.type != MLXN_CONFIG_BOOL) return wrong(tj, &at, "true or false");
    *out = at.value.v.b;
    return MLXN_OK;
}

mlxn_status mlxn_tj_uint(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, bool wanted, uint64_t *out) {
    mlxn_tj_at at;
    if (!mlxn_tj_member(tj, object, name, &at))
        return wanted ? mlxn_tj_fail(tj, &at, MLXN_ERR_NOT_FOUND, "is missing") : MLXN_OK;
    if (at.value.type != MLXN_CONFIG_INTEGER || at.value.v.i < 0) return wrong(tj, &at, "an integer from 0 up");
    *out = (uint64_t)at.value.v.i;
    return MLXN_OK;
}

mlxn_status mlxn_tj_string(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, bool wanted,
                           mlxn_string *out) {
    mlxn_tj_at at;
    if (!mlxn_tj_member(tj, object, name, &at))
        return wanted ? mlxn_tj_fail(tj, &at, MLXN_ERR_NOT_FOUND, "is missing") : MLXN_OK;
    if (at.value.type != MLXN_CONFIG_STRING) return wrong(tj, &at, "a string");
    *out = at.value.v.s;
    return MLXN_OK;
}

mlxn_status mlxn_tj_array(const mlxn_tj *tj, const mlxn_tj_at *object, const char *name, mlxn_tj_at *out) {
    if (!mlxn_tj_member(tj, object, name, out)) return mlxn_tj_fail(tj, out, MLXN_ERR_NOT_FOUND, "is missing");
    return out->value.type == MLXN_CONFIG_ARRAY ? MLXN_OK : wrong(tj, out, "an array");
}
