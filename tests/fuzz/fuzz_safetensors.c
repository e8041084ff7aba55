/* Promise: whatever bytes are opened as a safetensors file, as its index, as a config.json or as a quantisation
 * config, the result is an error with a text or an object of which everything can be touched. Entry point for
 * libFuzzer and for fuzz_driver.c. */
#include "io/safetensors.h"

#include "io/safetensors_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void check_error(const void *object, mlxn_status status, const mlxn_error *error) {
    if (object || !error->message[0] || error->status != status || status == MLXN_ERR_INTERNAL) abort();
}

static void try_config(const uint8_t *data, size_t size, bool model) {
    mlxn_quant_config *config = NULL;
    mlxn_error error;
    const char *text = (const char *)data;
    mlxn_status status = model ? mlxn_quant_config_from_model_json(text, size, &config, &error)
                               : mlxn_quant_config_from_json(text, size, &config, &error);
    if (status) {
        check_error(config, status, &error);
        return;
    }
    mlxn_string name;
    mlxn_quant_params params, found;
    for (uint64_t i = 0; mlxn_quant_config_override_at(config, i, &name, &params); i++) {
        if (params.bits < 1 || params.bits > 8 || params.group_size < 1) abort();
        if (strlen(name.data) != name.size) continue;
        found = mlxn_quant_config_lookup(config, name.data);
        if (found.bits != params.bits || found.group_size != params.group_size || found.mode != params.mode ||
            found.quantized != params.quantized)
            abort();
    }
    sink += mlxn_quant_config_lookup(config, "language_model.lm_head.weight").bits;
    mlxn_quant_config_destroy(config);
}

/* Everything below `value`, and that each name is found again. */
static void walk_values(const mlxn_config *config, const mlxn_config_value *value) {
    mlxn_config_value one;
    mlxn_string name;
    if (value->type == MLXN_CONFIG_STRING) sink += walk_bytes(value->v.s.data, value->v.s.size);
    for (uint64_t i = 0; mlxn_config_element(config, value, i, &one); i++) walk_values(config, &one);
    for (uint64_t i = 0; mlxn_config_member(config, value, i, &name, &one); i++) {
        sink += walk_bytes(name.data, name.size);
        walk_values(config, &one);
    }
}

static void try_values(const uint8_t *data, size_t size) {
    mlxn_config *config = NULL;
    mlxn_error error;
    mlxn_status status = mlxn_config_from_json((const char *)data, size, "fuzz", &config, &error);
    if (status) {
        check_error(config, status, &error);
        return;
    }
    mlxn_config_value whole, one, found;
    mlxn_string name;
    if (!mlxn_config_find(config, "", &whole)) abort();
    walk_values(config, &whole);
    for (uint64_t i = 0; mlxn_config_member(config, &whole, i, &name, &one); i++) {
        if (name.size == 0 || strlen(name.data) != name.size || strchr(name.data, '.')) continue;
        if (!mlxn_config_find(config, name.data, &found) || found.node != one.node) abort();
    }
    mlxn_config_destroy(config);
}

static void try_map(const uint8_t *data, size_t size) {
    mlxn_st_map map = {0};
    mlxn_error error;
    mlxn_status status = mlxn_st_map_parse(&map, data, size, "fuzz", &error);
    if (status) check_error(NULL, status, &error);
    for (uint64_t i = 0; !status && i < map.count; i++) {
        const mlxn_st_place *place = &map.places[i];
        if (strlen(place->file.data) != place->file.size || strchr(place->file.data, '/')) abort();
        sink += walk_bytes(place->tensor.data, place->tensor.size);
    }
    mlxn_st_map_free(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mlxn_safetensors *file = NULL;
    mlxn_error error;
    mlxn_status status = mlxn_safetensors_open_memory(data, size, "fuzz", &file, &error);
    if (status) {
        check_error(file, status, &error);
    } else {
        if (!file || error.status) abort();
        sink += walk_safetensors(file);
        mlxn_safetensors_close(file);
    }
    /* The same bytes as JSON: from the start, and behind a length, so that seeds of both kinds are of use. */
    for (size_t skip = 0; skip <= 8 && skip < size; skip += 8) {
        try_config(data + skip, size - skip, false);
        try_config(data + skip, size - skip, true);
        try_values(data + skip, size - skip);
        try_map(data + skip, size - skip);
    }
    return 0;
}
