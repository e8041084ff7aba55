/* json_text.c: a configuration back as JSON text. */
#include "convert/json_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void new_line(mlxn_bytes *to, unsigned depth) {
    mlxn_bytes_text(to, "\n");
    while (depth--) mlxn_bytes_text(to, "    ");
}

static void write_real(mlxn_bytes *to, double value) {
    char text[40];
    if (!isfinite(value)) { /* as Python writes them; the reader of configurations takes them */
        mlxn_bytes_text(to, isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    mlxn_bytes_text(to, text);
    if (!strpbrk(text, ".e")) mlxn_bytes_text(to, ".0"); /* it was no integer */
}

static void write_value(mlxn_bytes *to, const mlxn_config *config, const mlxn_config_value *value, unsigned depth);

static void write_array(mlxn_bytes *to, const mlxn_config *config, const mlxn_config_value *array, unsigned depth) {
    mlxn_config_value value;
    mlxn_bytes_text(to, "[");
    for (uint64_t i = 0; mlxn_config_element(config, array, i, &value); i++) {
        if (i) mlxn_bytes_text(to, ",");
        new_line(to, depth + 1);
        write_value(to, config, &value, depth + 1);
    }
    if (array->v.count) new_line(to, depth);
    mlxn_bytes_text(to, "]");
}

/* Writes what comes before a member's value. */
static void begin_member(mlxn_bytes *to, bool *first, const char *name, unsigned depth) {
    if (!*first) mlxn_bytes_text(to, ",");
    *first = false;
    new_line(to, depth + 1);
    mlxn_bytes_json_string(to, name);
    mlxn_bytes_text(to, ": ");
}

static void write_object(mlxn_bytes *to, const mlxn_config *config, const mlxn_config_value *object,
                         const mlxn_json_member *changes, size_t n, unsigned depth) {
    mlxn_config_value value;
    mlxn_string name;
    bool first = true;
    uint64_t i = 0;
    size_t k = 0; /* of the changes, which are in byte order too */
    bool more = mlxn_config_member(config, object, i, &name, &value);
    mlxn_bytes_text(to, "{");
    while (more || k < n) {
        int order = !more ? 1 : k == n ? -1 : strcmp(name.data, changes[k].name);
        if (order < 0) {
            begin_member(to, &first, name.data, depth);
            write_value(to, config, &value, depth + 1);
        } else {
            if (changes[k].text) begin_member(to, &first, changes[k].name, depth);
            if (changes[k].text) mlxn_bytes_text(to, changes[k].text);
            k++;
        }
        if (order <= 0) more = mlxn_config_member(config, object, ++i, &name, &value);
    }
    if (!first) new_line(to, depth);
    mlxn_bytes_text(to, "}");
}

static void write_value(mlxn_bytes *to, const mlxn_config *config, const mlxn_config_value *value, unsigned depth) {
    char text[24];
    switch (value->type) {
        case MLXN_CONFIG_NULL:
            mlxn_bytes_text(to, "null");
            break;
        case MLXN_CONFIG_BOOL:
            mlxn_bytes_text(to, value->v.b ? "true" : "false");
            break;
        case MLXN_CONFIG_INTEGER:
            snprintf(text, sizeof text, "%" PRId64, value->v.i);
            mlxn_bytes_text(to, text);
            break;
        case MLXN_CONFIG_REAL:
            write_real(to, value->v.f);
            break;
        case MLXN_CONFIG_STRING:
            mlxn_bytes_json_string(to, value->v.s.data);
            break;
        case MLXN_CONFIG_ARRAY:
            write_array(to, config, value, depth);
            break;
        case MLXN_CONFIG_OBJECT:
            write_object(to, config, value, NULL, 0, depth);
            break;
    }
}

void mlxn_json_write(mlxn_bytes *to, const mlxn_config *config, const mlxn_json_member *changes, size_t n) {
    mlxn_config_value whole;
    if (mlxn_config_find(config, "", &whole)) write_object(to, config, &whole, changes, n, 0);
    mlxn_bytes_text(to, "\n");
}
