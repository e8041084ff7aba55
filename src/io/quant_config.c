/* quant_config.c: how the modules of an MLX model are quantised: the two JSON forms, and look-ups by tensor name. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "io/safetensors.h"

enum { MAX_BITS = 8, MAX_GROUP = 65536 };

static const char prefix[] = "language_model.";

static const struct {
    const char *name;
    uint32_t bits, group_size; /* defaults; in modes other than affine the only values */
} modes[] = {
    [MLXN_QUANT_AFFINE] = {"affine", 4, 64},
    [MLXN_QUANT_MXFP4] = {"mxfp4", 4, 32},
    [MLXN_QUANT_MXFP8] = {"mxfp8", 8, 32},
    [MLXN_QUANT_NVFP4] = {"nvfp4", 4, 16},
};
enum { MODE_COUNT = sizeof modes / sizeof modes[0] };

const char *mlxn_quant_mode_name(mlxn_quant_mode mode) {
    return (unsigned)mode < MODE_COUNT ? modes[mode].name : "?";
}

/* What the text says about one module, before defaults are filled in. */
typedef struct module {
    mlxn_string name; /* first: sorted by it */
    bool has_bits, has_group, has_mode, off;
    mlxn_quant_params params;
    uint64_t at;
} module;

struct mlxn_quant_config {
    char *strings;
    mlxn_quant_params defaults;
    module *modules;
    uint64_t count, room;
};

void mlxn_quant_config_destroy(mlxn_quant_config *config) {
    if (!config) return;
    mlxn_free(config->strings);
    mlxn_free(config->modules);
    mlxn_free(config);
}

static mlxn_status read_number(mlxn_js *js, const char *what, uint32_t max, bool *have, uint32_t *out) {
    uint64_t value;
    if (*have) return mlxn_js_fail(js, js->at, "%s is given twice", what);
    *have = true;
    uint64_t at = js->at;
    mlxn_status status = mlxn_js_uint(js, what, &value);
    if (status) return status;
    if (value < 1 || value > max)
        return mlxn_js_fail(js, at, "%s is %s, want 1 to %s", what, mlxn_gg_number(value).s, mlxn_gg_number(max).s);
    *out = (uint32_t)value;
    return MLXN_OK;
}

static mlxn_status read_mode(mlxn_js *js, module *to) {
    mlxn_string name;
    uint64_t at = js->at;
    if (to->has_mode) return mlxn_js_fail(js, at, "mode is given twice");
    mlxn_status status = mlxn_js_string(js, &name);
    if (status) return status;
    for (int i = 0; i < MODE_COUNT; i++) {
        if (!mlxn_js_is(name, modes[i].name)) continue;
        to->params.mode = (mlxn_quant_mode)i;
        to->has_mode = true;
        return MLXN_OK;
    }
    return mlxn_fail(js->error, MLXN_ERR_UNSUPPORTED,
                     "%s: quantization mode is %s, want affine, mxfp4, mxfp8 or nvfp4 (byte %s)", js->file,
                     mlxn_gg_quote(name).s, mlxn_gg_number(at).s);
}

/* One member that may be a parameter; *taken says if it was. null is the same as absent. */
static mlxn_status read_parameter(mlxn_js *js, mlxn_string name, module *to, bool *taken) {
    bool bits = mlxn_js_is(name, "bits"), group = mlxn_js_is(name, "group_size"), mode = mlxn_js_is(name, "mode");
    *taken = bits || group || mode;
    if (!*taken) return MLXN_OK;
    if (mlxn_js_peek(js) == 'n') return mlxn_js_skip(js);
    if (bits) return read_number(js, "bits", MAX_BITS, &to->has_bits, &to->params.bits);
    if (group) return read_number(js, "group_size", MAX_GROUP, &to->has_group, &to->params.group_size);
    return read_mode(js, to);
}

static mlxn_status read_module(mlxn_js *js, module *to) {
    bool first = true, more, taken;
    mlxn_string name;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        status = mlxn_js_member(js, &first, &name, &more);
        if (status || !more) break;
        status = read_parameter(js, name, to, &taken);
        if (!status && !taken) status = mlxn_js_skip(js);
    }
    return status;
}

static mlxn_status add_module(mlxn_js *js, mlxn_quant_config *config, const module *new_module) {
    if (!mlxn_st_grow((void **)&config->modules, config->count, &config->room, sizeof *new_module))
        return mlxn_fail(js->error, MLXN_ERR_MEMORY, "%s: no memory to read it", js->file);
    config->modules[config->count++] = *new_module;
    return MLXN_OK;
}

static mlxn_status read_per_tensor(mlxn_js *js, mlxn_quant_config *config) {
    bool first = true, more;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        module entry = {.at = js->at};
        status = mlxn_js_member(js, &first, &entry.name, &more);
        if (status || !more) break;
        if ((status = read_module(js, &entry))) break;
        if (!entry.has_bits || !entry.has_group)
            return mlxn_js_fail(js, entry.at, "cannot parse per_tensor: %s has no %s", mlxn_gg_quote(entry.name).s,
                                entry.has_bits ? "group_size" : "bits");
        status = add_module(js, config, &entry);
    }
    return status;
}

/* A member of the section of config.json that is no parameter: a module, or something else that is ignored. */
static mlxn_status read_override(mlxn_js *js, mlxn_quant_config *config, mlxn_string name, uint64_t at) {
    module entry = {.name = name, .at = at};
    uint8_t c = mlxn_js_peek(js);
    if (c == 't' || c == 'f') {
        bool on;
        mlxn_status status = mlxn_js_bool(js, &on);
        entry.off = !on;
        return status ? status : add_module(js, config, &entry);
    }
    if (c != '{') return mlxn_js_skip(js);
    mlxn_status status = read_module(js, &entry);
    return status || !entry.has_bits ? status : add_module(js, config, &entry);
}

/* The parameters of one module from what is said of it and what holds where nothing is said. */
static mlxn_status resolve(const mlxn_js *js, const module *from, const mlxn_quant_params *section,
                           mlxn_quant_params *out) {
    mlxn_quant_params params = {.quantized = !from->off, .mode = MLXN_QUANT_AFFINE};
    if (from->has_mode)
        params.mode = from->params.mode;
    else if (section)
        params.mode = section->mode;
    bool same = section && section->mode == params.mode; /* another mode has defaults of its own */
    params.bits = from->has_bits ? from->params.bits : same ? section->bits : modes[params.mode].bits;
    params.group_size = from->has_group ? from->params.group_size
                        : same          ? section->group_size
                                        : modes[params.mode].group_size;
    if (params.mode != MLXN_QUANT_AFFINE &&
        (params.bits != modes[params.mode].bits || params.group_size != modes[params.mode].group_size))
        return mlxn_js_fail(js, from->at, "%s%smode %s has %u bits in groups of %u, want %u and %u",
                            from->name.size ? mlxn_gg_quote(from->name).s : "", from->name.size ? ": " : "",
                            modes[params.mode].name, params.bits, params.group_size, modes[params.mode].bits,
                            modes[params.mode].group_size);
    *out = params;
    return MLXN_OK;
}

static int compare_modules(const void *left, const void *right) {
    const module *a = left, *b = right;
    int order = mlxn_gg_compare_names(a->name, b->name);
    return order ? order : (a->at > b->at) - (a->at < b->at);
}

/* Fills in defaults and sorts. */
static mlxn_status finish(const mlxn_js *js, mlxn_quant_config *config, const module *section) {
    mlxn_status status = resolve(js, section, NULL, &config->defaults);
    for (uint64_t i = 0; !status && i < config->count; i++)
        status = resolve(js, &config->modules[i], &config->defaults, &config->modules[i].params);
    if (status || config->count == 0) return status;
    qsort(config->modules, (size_t)config->count, sizeof *config->modules, compare_modules);
    for (uint64_t i = 1; i < config->count; i++)
        if (mlxn_gg_compare_names(config->modules[i - 1].name, config->modules[i].name) == 0)
            return mlxn_js_fail(js, config->modules[i].at, "%s is given twice",
                                mlxn_gg_quote(config->modules[i].name).s);
    return MLXN_OK;
}

/* The form of quantization_config.json: the whole text is the section. */
static mlxn_status read_plain(mlxn_js *js, mlxn_quant_config *config) {
    bool first = true, more, taken, have_tensors = false;
    mlxn_string name;
    module section = {.at = 0};
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        status = mlxn_js_member(js, &first, &name, &more);
        if (status || !more) break;
        status = read_parameter(js, name, &section, &taken);
        if (status || taken) continue;
        if (!mlxn_js_is(name, "per_tensor")) {
            status = mlxn_js_skip(js);
        } else {
            if (have_tensors) return mlxn_js_fail(js, js->at, "per_tensor is given twice");
            have_tensors = true;
            status = read_per_tensor(js, config);
        }
    }
    if (!status) status = mlxn_js_end(js);
    return status ? status : finish(js, config, &section);
}

static mlxn_status read_section(mlxn_js *js, mlxn_quant_config *config) {
    bool first = true, more, taken;
    mlxn_string name;
    module section = {.at = js->at};
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        (void)mlxn_js_peek(js);
        uint64_t at = js->at;
        status = mlxn_js_member(js, &first, &name, &more);
        if (status || !more) break;
        status = read_parameter(js, name, &section, &taken);
        if (!status && !taken) status = read_override(js, config, name, at);
    }
    return status ? status : finish(js, config, &section);
}

/* quantization_config of other programs has another meaning: quant_method says whose it is. `js` is a copy, which
 * walks over the object; *ours is false if the object says nothing about bits. */
static mlxn_status check_method(mlxn_js js, bool *ours) {
    bool first = true, more;
    mlxn_string name;
    uint64_t at = js.at;
    *ours = false;
    mlxn_status status = mlxn_js_enter(&js, '{');
    while (!status) {
        status = mlxn_js_member(&js, &first, &name, &more);
        if (status || !more) break;
        if (mlxn_js_is(name, "bits")) *ours = true;
        if (!mlxn_js_is(name, "quant_method") || mlxn_js_peek(&js) != '"') {
            status = mlxn_js_skip(&js);
            continue;
        }
        status = mlxn_js_string(&js, &name);
        if (!status && !mlxn_js_is(name, "mlx"))
            return mlxn_fail(js.error, MLXN_ERR_UNSUPPORTED, "%s: quantization_config: quant_method is %s (byte %s)",
                             js.file, mlxn_gg_quote(name).s, mlxn_gg_number(at).s);
    }
    return status;
}

/* The form of config.json. The whole text is checked before the section is read. */
static mlxn_status read_model(mlxn_js *js, mlxn_quant_config *config) {
    static const char *const keys[2] = {"quantization", "quantization_config"};
    uint64_t found[2] = {0, 0}; /* where the values are; a value is never at 0 */
    bool first = true, more;
    mlxn_string name;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        status = mlxn_js_member(js, &first, &name, &more);
        if (status || !more) break;
        uint8_t c = mlxn_js_peek(js);
        for (int i = 0; i < 2; i++) {
            if (!mlxn_js_is(name, keys[i]) || c == 'n') continue;
            if (found[i]) return mlxn_js_fail(js, js->at, "%s is given twice", keys[i]);
            if (c != '{') return mlxn_js_fail(js, js->at, "%s is not an object", keys[i]);
            found[i] = js->at;
        }
        status = mlxn_js_skip(js);
    }
    if (!status) status = mlxn_js_end(js);
    if (status) return status;
    bool ours = found[0] != 0;
    js->at = ours ? found[0] : found[1];
    js->depth = 1;
    if (!ours && found[1]) {
        mlxn_js walk = *js;
        if ((status = check_method(walk, &ours))) return status;
    }
    if (!ours) return mlxn_fail(js->error, MLXN_ERR_NOT_FOUND, "%s: there is no object \"quantization\"", js->file);
    return read_section(js, config);
}

typedef mlxn_status (*reader)(mlxn_js *js, mlxn_quant_config *config);

static mlxn_status from_text(reader read, const char *text, uint64_t size, const char *file, mlxn_quant_config **out,
                             mlxn_error *error) {
    if (size > MLXN_JS_MAX_BYTES)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: has %s bytes, want at most %s", file, mlxn_gg_number(size).s,
                         mlxn_gg_number(MLXN_JS_MAX_BYTES).s);
    mlxn_quant_config *config = mlxn_alloc(sizeof *config);
    if (config) config->strings = mlxn_alloc((size_t)size + 1);
    if (!config || !config->strings) {
        mlxn_quant_config_destroy(config);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to read it", file);
    }
    mlxn_js js = {.data = (const uint8_t *)text,
                  .size = size,
                  .file = file,
                  .constants = true,
                  .strings = config->strings,
                  .error = error};
    mlxn_status status = read(&js, config);
    if (status) {
        mlxn_quant_config_destroy(config);
        return status;
    }
    *out = config;
    return mlxn_succeed(error);
}

static mlxn_status from_path(reader read, const char *path, mlxn_quant_config **out, mlxn_error *error) {
    mlxn_mapping map;
    mlxn_error own;
    *out = NULL;
    mlxn_status status = mlxn_map_file(path, &map, &own);
    if (status) { /* also a folder or an empty file: it cannot be read */
        return mlxn_fail_code(error, MLXN_ERR_IO, own.driver_code, "%s", own.message);
    }
    const char *slash = strrchr(path, '/');
    status = from_text(read, (const char *)map.data, map.size, slash ? slash + 1 : path, out, error);
    mlxn_unmap_file(&map);
    return status;
}

mlxn_status mlxn_quant_config_from_json(const char *text, uint64_t size, mlxn_quant_config **out, mlxn_error *error) {
    *out = NULL;
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "quant_config_from_json: text is NULL");
    return from_text(read_plain, text, size, "quantization config", out, error);
}

mlxn_status mlxn_quant_config_from_file(const char *path, mlxn_quant_config **out, mlxn_error *error) {
    return from_path(read_plain, path, out, error);
}

mlxn_status mlxn_quant_config_from_model_json(const char *text, uint64_t size, mlxn_quant_config **out,
                                              mlxn_error *error) {
    *out = NULL;
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "quant_config_from_model_json: text is NULL");
    return from_text(read_model, text, size, "model config", out, error);
}

mlxn_status mlxn_quant_config_from_model_file(const char *path, mlxn_quant_config **out, mlxn_error *error) {
    return from_path(read_model, path, out, error);
}

mlxn_status mlxn_quant_config_from_folder(const char *folder, mlxn_quant_config **out, mlxn_error *error) {
    static const char own[] = "quantization_config.json", model[] = "config.json";
    struct stat info;
    *out = NULL;
    if (!folder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "quant_config_from_folder: folder is NULL");
    size_t length = strlen(folder);
    char *path = mlxn_alloc(length + 2 + sizeof own);
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for a path", folder);
    memcpy(path, folder, length);
    if (length && path[length - 1] != '/') path[length++] = '/';
    memcpy(path + length, own, sizeof own);
    mlxn_status status;
    if (stat(path, &info) == 0 || errno != ENOENT) {
        status = mlxn_quant_config_from_file(path, out, error);
    } else {
        memcpy(path + length, model, sizeof model);
        if (stat(path, &info) == 0 || errno != ENOENT)
            status = mlxn_quant_config_from_model_file(path, out, error);
        else
            status = mlxn_fail_code(error, MLXN_ERR_IO, ENOENT, "%s: there is neither %s nor %s", folder, own, model);
    }
    mlxn_free(path);
    return status;
}

mlxn_quant_params mlxn_quant_config_defaults(const mlxn_quant_config *config) { return config->defaults; }

uint64_t mlxn_quant_config_override_count(const mlxn_quant_config *config) { return config->count; }

bool mlxn_quant_config_override_at(const mlxn_quant_config *config, uint64_t i, mlxn_string *name,
                                   mlxn_quant_params *out) {
    if (i >= config->count) return false;
    *name = config->modules[i].name;
    *out = config->modules[i].params;
    return true;
}

/* Byte order of `a` against `front` followed by `back`. */
static int compare_joined(mlxn_string a, mlxn_string front, mlxn_string back) {
    if (a.size < front.size) {
        int order = mlxn_gg_compare_names(a, (mlxn_string){front.data, a.size});
        return order ? order : -1;
    }
    int order = mlxn_gg_compare_names((mlxn_string){a.data, front.size}, front);
    return order ? order : mlxn_gg_compare_names((mlxn_string){a.data + front.size, a.size - front.size}, back);
}

static const module *find(const mlxn_quant_config *config, mlxn_string front, mlxn_string back) {
    uint64_t low = 0, high = config->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = compare_joined(config->modules[middle].name, front, back);
        if (order == 0) return &config->modules[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static mlxn_string without_suffix(mlxn_string name) {
    static const char *const suffixes[] = {".weight", ".scales", ".biases"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(suffixes[i]);
        if (name.size >= length && memcmp(name.data + name.size - length, suffixes[i], length) == 0)
            return (mlxn_string){name.data, name.size - length};
    }
    return name;
}

mlxn_quant_params mlxn_quant_config_lookup(const mlxn_quant_config *config, const char *name) {
    const mlxn_string none = {"", 0}, with = {prefix, sizeof prefix - 1};
    mlxn_string full = {name, strlen(name)};
    const module *found = find(config, none, full);
    if (!found) found = find(config, none, without_suffix(full));
    if (!found && full.size >= with.size && memcmp(name, prefix, (size_t)with.size) == 0) {
        mlxn_string rest = {name + with.size, full.size - with.size};
        found = find(config, none, rest);
        if (!found) found = find(config, none, without_suffix(rest));
    }
    if (!found) found = find(config, with, full);
    if (!found) found = find(config, with, without_suffix(full));
    return found ? found->params : config->defaults;
}
