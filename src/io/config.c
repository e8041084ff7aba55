/* config.c: JSON configurations as a list of values, sorted by parent and name. */
#include <errno.h>
#include <locale.h>
#include <math.h>

#include "io/json.h"

enum { MAX_BYTES = 4000000, MAX_DIGITS = 63 };

/* A value as somebody's child; sorted by parent, name (of members of objects), position. */
typedef struct entry {
    uint32_t parent, position, node;
    mlxn_string name;
} entry;

typedef struct node {
    mlxn_config_value value;
    uint32_t first; /* where its children begin in `sorted` */
    uint64_t at;    /* byte in the text, for messages */
} node;

struct mlxn_config {
    char *strings;
    node *nodes;   /* in the order of the text: parents before children; number 0 is the whole */
    entry *sorted; /* of all nodes but number 0 */
    uint32_t count, room, sorted_count;
};

typedef struct reader {
    mlxn_js js;
    mlxn_config *config;
} reader;

void mlxn_config_destroy(mlxn_config *config) {
    if (!config) return;
    mlxn_free(config->strings);
    mlxn_free(config->nodes);
    mlxn_free(config->sorted);
    mlxn_free(config);
}

static mlxn_status no_memory(const mlxn_js *js) {
    return mlxn_fail(js->error, MLXN_ERR_MEMORY, "%s: no memory to read it", js->file);
}

/* A new node, the child of `parent`; number 0 is nobody's. */
static mlxn_status add(reader *r, uint32_t parent, uint32_t position, mlxn_string name, uint32_t *out) {
    mlxn_config *c = r->config;
    *out = c->count;
    if (c->count == c->room) {
        uint32_t room = c->room ? 2 * c->room : 128; /* at most MAX_BYTES nodes */
        node *nodes = mlxn_realloc_array(c->nodes, room, sizeof *nodes);
        if (!nodes) return no_memory(&r->js);
        c->nodes = nodes;
        entry *sorted = mlxn_realloc_array(c->sorted, room, sizeof *sorted);
        if (!sorted) return no_memory(&r->js);
        c->sorted = sorted;
        c->room = room;
    }
    c->nodes[c->count] = (node){.at = r->js.at};
    if (c->count > 0) c->sorted[c->sorted_count++] = (entry){parent, position, c->count, name};
    c->count++;
    return MLXN_OK;
}

/* strtod takes the decimal point of the process's locale. */
static double to_double(const char *digits) {
    char text[MAX_DIGITS + 8];
    const char *point = localeconv()->decimal_point, *dot = strchr(digits, '.');
    size_t width = point ? strlen(point) : 0;
    if (!dot || width == 0 || width > 4 || strcmp(point, ".") == 0) return strtod(digits, NULL);
    size_t front = (size_t)(dot - digits);
    memcpy(text, digits, front);
    memcpy(text + front, point, width);
    strcpy(text + front + width, dot + 1);
    return strtod(text, NULL);
}

static mlxn_status read_number(reader *r, mlxn_config_value *out) {
    char digits[MAX_DIGITS + 1];
    uint64_t begin = r->js.at;
    mlxn_status status = mlxn_js_skip(&r->js);
    if (status) return status;
    uint64_t n = r->js.at - begin;
    if (n > MAX_DIGITS)
        return mlxn_js_fail(&r->js, begin, "a number has %s characters, want at most %d", mlxn_gg_number(n).s,
                            MAX_DIGITS);
    memcpy(digits, r->js.data + begin, (size_t)n);
    digits[n] = 0;
    if (!strpbrk(digits, ".eENI")) {
        errno = 0;
        long long value = strtoll(digits, NULL, 10);
        out->type = MLXN_CONFIG_INTEGER;
        out->v.i = value;
        if (!errno) return MLXN_OK;
    }
    out->type = MLXN_CONFIG_REAL;
    if (strchr(digits, 'N'))
        out->v.f = (double)NAN;
    else if (strchr(digits, 'I'))
        out->v.f = digits[0] == '-' ? -(double)INFINITY : (double)INFINITY;
    else
        out->v.f = to_double(digits);
    return MLXN_OK;
}

static mlxn_status read_value(reader *r, uint32_t parent, uint32_t position, mlxn_string name);

/* Recursion is bounded by MLXN_JS_MAX_DEPTH. */
static mlxn_status read_container(reader *r, uint32_t self, bool object, uint32_t *count) {
    bool first = true, more;
    mlxn_string name = {"", 0};
    mlxn_status status = mlxn_js_enter(&r->js, object ? '{' : '[');
    for (*count = 0; !status; ++*count) {
        status = object ? mlxn_js_member(&r->js, &first, &name, &more) : mlxn_js_next(&r->js, ']', &first, &more);
        if (status || !more) return status;
        status = read_value(r, self, *count, name);
    }
    return status;
}

static mlxn_status read_value(reader *r, uint32_t parent, uint32_t position, mlxn_string name) {
    uint8_t c = mlxn_js_peek(&r->js);
    uint32_t self = 0, count = 0;
    mlxn_status status = add(r, parent, position, name, &self);
    if (status) return status;
    mlxn_config_value value = {.node = self};
    if (c == '{' || c == '[') {
        status = read_container(r, self, c == '{', &count);
        value.type = c == '{' ? MLXN_CONFIG_OBJECT : MLXN_CONFIG_ARRAY;
        value.v.count = count;
    } else if (c == '"') {
        status = mlxn_js_string(&r->js, &value.v.s);
        value.type = MLXN_CONFIG_STRING;
    } else if (c == 't' || c == 'f') {
        status = mlxn_js_bool(&r->js, &value.v.b);
        value.type = MLXN_CONFIG_BOOL;
    } else if (c == 'n') {
        status = mlxn_js_skip(&r->js);
    } else {
        status = read_number(r, &value);
    }
    if (!status) r->config->nodes[self].value = value;
    return status;
}

static int compare(const void *left, const void *right) {
    const entry *a = left, *b = right;
    if (a->parent != b->parent) return a->parent < b->parent ? -1 : 1;
    int order = mlxn_gg_compare_names(a->name, b->name);
    return order ? order : (a->position > b->position) - (a->position < b->position);
}

/* Sorts, and finds names that are given twice. */
static mlxn_status finish(reader *r) {
    mlxn_config *c = r->config;
    qsort(c->sorted, c->sorted_count, sizeof *c->sorted, compare);
    for (uint32_t i = c->sorted_count; i-- > 0;) {
        const entry *own = &c->sorted[i], *before = own - 1;
        node *parent = &c->nodes[own->parent];
        parent->first = i;
        if (i > 0 && parent->value.type == MLXN_CONFIG_OBJECT && before->parent == own->parent &&
            mlxn_gg_compare_names(before->name, own->name) == 0)
            return mlxn_js_fail(&r->js, c->nodes[own->node].at, "%s is given twice", mlxn_gg_quote(own->name).s);
    }
    return MLXN_OK;
}

mlxn_status mlxn_config_from_json(const char *text, uint64_t size, const char *name, mlxn_config **out,
                                  mlxn_error *error) {
    *out = NULL;
    if (!name) name = "config";
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: text is NULL", name);
    if (size > MAX_BYTES)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: has %s bytes, want at most %s", name, mlxn_gg_number(size).s,
                         mlxn_gg_number(MAX_BYTES).s);
    mlxn_config *config = mlxn_alloc(sizeof *config);
    if (config) config->strings = mlxn_alloc((size_t)size + 1);
    reader r = {.js = {.data = (const uint8_t *)text,
                       .size = size,
                       .file = name,
                       .constants = true,
                       .strings = config ? config->strings : NULL,
                       .error = error},
                .config = config};
    mlxn_status status = r.js.strings ? read_value(&r, 0, 0, (mlxn_string){"", 0}) : no_memory(&r.js);
    if (!status) status = mlxn_js_end(&r.js);
    if (!status) status = finish(&r);
    if (status) {
        mlxn_config_destroy(config);
        return status;
    }
    *out = config;
    return mlxn_succeed(error);
}

mlxn_status mlxn_config_open(const char *path, mlxn_config **out, mlxn_error *error) {
    mlxn_mapping map;
    mlxn_error own;
    *out = NULL;
    if (!path || !path[0]) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "config_open: path is empty");
    mlxn_status status = mlxn_map_file(path, &map, &own);
    if (status) /* also a folder or an empty file: it cannot be read */
        return mlxn_fail_code(error, MLXN_ERR_IO, own.driver_code, "%s", own.message);
    const char *slash = strrchr(path, '/');
    status = mlxn_config_from_json((const char *)map.data, map.size, slash ? slash + 1 : path, out, error);
    mlxn_unmap_file(&map);
    return status;
}

static bool child(const mlxn_config *config, uint32_t parent, mlxn_string name, uint32_t *out) {
    const node *of = &config->nodes[parent];
    if (of->value.type != MLXN_CONFIG_OBJECT) return false;
    uint64_t low = of->first, high = low + of->value.v.count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = mlxn_gg_compare_names(config->sorted[middle].name, name);
        if (order == 0) {
            *out = config->sorted[middle].node;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool mlxn_config_find(const mlxn_config *config, const char *path, mlxn_config_value *out) {
    uint32_t at = 0;
    for (bool more = *path != 0; more; path++) {
        size_t length = strcspn(path, ".");
        if (!child(config, at, (mlxn_string){path, length}, &at)) return false;
        path += length;
        more = *path != 0;
    }
    *out = config->nodes[at].value;
    return true;
}

static const entry *at_index(const mlxn_config *config, const mlxn_config_value *of, mlxn_config_type type,
                             uint64_t i) {
    if (of->type != type || i >= of->v.count) return NULL;
    return &config->sorted[config->nodes[of->node].first + i];
}

bool mlxn_config_element(const mlxn_config *config, const mlxn_config_value *array, uint64_t i,
                         mlxn_config_value *out) {
    const entry *found = at_index(config, array, MLXN_CONFIG_ARRAY, i);
    if (found) *out = config->nodes[found->node].value;
    return found != NULL;
}

bool mlxn_config_member(const mlxn_config *config, const mlxn_config_value *object, uint64_t i, mlxn_string *name,
                        mlxn_config_value *out) {
    const entry *found = at_index(config, object, MLXN_CONFIG_OBJECT, i);
    if (!found) return false;
    *name = found->name;
    *out = config->nodes[found->node].value;
    return true;
}
