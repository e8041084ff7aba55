/* quant_weights.c: the quantised weights of an MLX folder, found and loaded. Nothing else of the files is read. */
#include "io/safetensors.h"

static const char scales_suffix[] = ".scales";

struct mlxn_quant_weights {
    mlxn_quant_weight *items; /* in byte order of the names, which are owned */
    uint64_t count, room;
};

void mlxn_quant_weights_destroy(mlxn_quant_weights *weights) {
    if (!weights) return;
    for (uint64_t i = 0; i < weights->count; i++) {
        mlxn_quant_weight *item = &weights->items[i];
        mlxn_free((void *)(uintptr_t)item->name);
        mlxn_buffer_release(&item->weight.buffer);
        mlxn_buffer_release(&item->scales.buffer);
        mlxn_buffer_release(&item->biases.buffer);
    }
    mlxn_free(weights->items);
    mlxn_free(weights);
}

uint64_t mlxn_quant_weights_count(const mlxn_quant_weights *weights) { return weights->count; }

const mlxn_quant_weight *mlxn_quant_weights_at(const mlxn_quant_weights *weights, uint64_t i) {
    return i < weights->count ? &weights->items[i] : NULL;
}

const mlxn_quant_weight *mlxn_quant_weights_find(const mlxn_quant_weights *weights, const char *name) {
    uint64_t low = 0, high = weights->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = strcmp(weights->items[middle].name, name);
        if (order == 0) return &weights->items[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static mlxn_status load_view(const mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor, mlxn_device *device,
                             mlxn_tensor *out, mlxn_error *error) {
    mlxn_buffer *buffer;
    mlxn_status status = mlxn_st_load(file, tensor, device, &buffer, error);
    if (status) return status;
    status = mlxn_safetensors_view(tensor, buffer, 0, out, error);
    if (status) mlxn_buffer_release(&buffer);
    return status;
}

/* What is loaded belongs to *out also after an error. */
static mlxn_status load_tensors(const mlxn_safetensors *file, const mlxn_quant_tensors *from, mlxn_device *device,
                                mlxn_quant_weight *out, mlxn_error *error) {
    out->params = from->params;
    out->rank = from->rank;
    memcpy(out->dims, from->dims, sizeof out->dims);
    out->elements = from->elements;
    out->num_groups = from->num_groups;
    out->scales_dtype = from->scales_dtype;
    mlxn_status status = load_view(file, &from->weight, device, &out->weight, error);
    if (!status) status = load_view(file, &from->scales, device, &out->scales, error);
    if (!status && from->biases.data) status = load_view(file, &from->biases, device, &out->biases, error);
    return status;
}

static mlxn_status no_memory(const char *folder, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to list its weights", folder);
}

static mlxn_status add_module(mlxn_quant_weights *weights, const mlxn_safetensors *file,
                              const mlxn_quant_config *config, mlxn_device *device, const char *folder,
                              const char *base, mlxn_error *error) {
    mlxn_quant_tensors from;
    bool found;
    mlxn_status status = mlxn_quant_tensors_find(file, config, base, &from, &found, error);
    if (status || !found) return status;
    if (!mlxn_st_grow((void **)&weights->items, weights->count, &weights->room, sizeof *weights->items))
        return no_memory(folder, error);
    char *name = mlxn_strdup(base);
    if (!name) return no_memory(folder, error);
    mlxn_quant_weight *item = &weights->items[weights->count++];
    *item = (mlxn_quant_weight){.name = name};
    return load_tensors(file, &from, device, item, error);
}

static int compare_items(const void *left, const void *right) {
    const mlxn_quant_weight *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static mlxn_status add_all(mlxn_quant_weights *weights, const mlxn_safetensors *file, const mlxn_quant_config *config,
                           mlxn_device *device, const char *folder, mlxn_error *error) {
    const size_t suffix = sizeof scales_suffix - 1;
    mlxn_status status = MLXN_OK;
    for (uint64_t i = 0; !status && i < file->index.count; i++) {
        mlxn_string name = mlxn_safetensors_name(file, i);
        if (name.size <= suffix || memcmp(name.data + name.size - suffix, scales_suffix, suffix) != 0 ||
            strlen(name.data) != name.size)
            continue;
        char *base = mlxn_strndup(name.data, (size_t)name.size - suffix);
        if (!base) return no_memory(folder, error);
        status = add_module(weights, file, config, device, folder, base, error);
        mlxn_free(base);
    }
    /* "a.b.scales" comes before "a.scales", but "a" before "a.b". */
    if (!status && weights->count)
        qsort(weights->items, (size_t)weights->count, sizeof *weights->items, compare_items);
    return status;
}

mlxn_status mlxn_load_quantized_weights(const char *folder, mlxn_device *device, mlxn_quant_weights **out,
                                        mlxn_error *error) {
    mlxn_quant_config *config = NULL;
    mlxn_safetensors *file = NULL;
    *out = NULL;
    if (!folder || !folder[0])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "load_quantized_weights: the folder's path is empty");
    mlxn_status status = mlxn_quant_config_from_folder(folder, &config, error);
    if (!status) status = mlxn_safetensors_open(folder, &file, error);
    if (!status) {
        mlxn_quant_weights *weights = mlxn_alloc(sizeof *weights);
        status = weights ? add_all(weights, file, config, device, folder, error) : no_memory(folder, error);
        if (status)
            mlxn_quant_weights_destroy(weights);
        else
            *out = weights;
    }
    mlxn_safetensors_close(file);
    mlxn_quant_config_destroy(config);
    return status ? status : mlxn_succeed(error);
}
