/* safetensors_map.c: the index of a sharded model, model.safetensors.index.json: its weight_map says which file holds
 * each tensor. The other members (metadata.total_size, …) say nothing that the files do not say better. */
#include "io/safetensors.h"

void mlxn_st_map_free(mlxn_st_map *map) {
    mlxn_free(map->strings);
    mlxn_free(map->places);
    *map = (mlxn_st_map){0};
}

static bool contains(mlxn_string text, const char *characters, const char *pair) {
    for (uint64_t i = 0; i < text.size; i++) {
        if (text.data[i] == 0 || strchr(characters, text.data[i])) return true;
        if (i + 1 < text.size && memcmp(text.data + i, pair, 2) == 0) return true;
    }
    return false;
}

/* A file of the index's own folder and nothing else: an index from the net must not reach other files. */
static bool is_shard_name(mlxn_string name) {
    static const char suffix[] = ".safetensors";
    size_t length = sizeof suffix - 1;
    return name.size > length && name.size <= 255 && !contains(name, "/\\:", "..") &&
           memcmp(name.data + name.size - length, suffix, length) == 0;
}

static mlxn_status read_weight_map(mlxn_js *js, mlxn_st_map *map) {
    bool first = true, more;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        mlxn_st_place place = {.at = js->at};
        status = mlxn_js_member(js, &first, &place.tensor, &more);
        if (status || !more) break;
        if ((status = mlxn_js_string(js, &place.file))) break;
        if (!is_shard_name(place.file))
            return mlxn_js_fail(
                js, place.at, "weight_map: tensor %s lies in %s, want the name of a .safetensors file of this folder",
                mlxn_gg_quote(place.tensor).s, mlxn_gg_quote(place.file).s);
        if (!mlxn_st_grow((void **)&map->places, map->count, &map->room, sizeof place))
            return mlxn_fail(js->error, MLXN_ERR_MEMORY, "%s: no memory to open it", js->file);
        map->places[map->count++] = place;
    }
    return status;
}

static int compare_places(const void *left, const void *right) {
    const mlxn_st_place *a = left, *b = right;
    int order = mlxn_gg_compare_names(a->file, b->file);
    return order ? order : mlxn_gg_compare_names(a->tensor, b->tensor);
}

mlxn_status mlxn_st_map_parse(mlxn_st_map *map, const void *text, uint64_t size, const char *name,
                              mlxn_error *error) {
    if (size > MLXN_JS_MAX_BYTES)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: has %s bytes, want at most %s", name, mlxn_gg_number(size).s,
                         mlxn_gg_number(MLXN_JS_MAX_BYTES).s);
    map->strings = mlxn_alloc((size_t)size);
    if (!map->strings) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to open it", name);
    mlxn_js js = {.data = text, .size = size, .file = name, .strings = map->strings, .error = error};
    bool first = true, more, found = false;
    mlxn_status status = mlxn_js_enter(&js, '{');
    while (!status) {
        mlxn_string key;
        status = mlxn_js_member(&js, &first, &key, &more);
        if (status || !more) break;
        if (!mlxn_js_is(key, "weight_map")) {
            status = mlxn_js_skip(&js);
            continue;
        }
        if (found) return mlxn_js_fail(&js, js.at, "weight_map is given twice");
        found = true;
        status = read_weight_map(&js, map);
    }
    if (!status) status = mlxn_js_end(&js);
    if (status) return status;
    if (map->count == 0)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: weight_map %s", name, found ? "is empty" : "is missing");
    qsort(map->places, (size_t)map->count, sizeof *map->places, compare_places);
    return MLXN_OK;
}
