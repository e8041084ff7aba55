/* quant_weights.c: the quantised weights of an MLX folder: finds weight, scales and biases of each module, checks
 * them against the config and one another, and loads them. Nothing else of the files is read. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

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

/* The tensors of one module. */
typedef struct triple {
    mlxn_safetensors_tensor weight, scales, biases;
    bool has_biases;
} triple;

/* "[4, 8]", for messages; after four numbers "...". */
typedef struct shape_text {
    char s[136];
} shape_text;

static shape_text shape_of(const mlxn_safetensors_tensor *tensor) {
    shape_text out = {"["};
    size_t at = 1;
    for (uint32_t i = 0; i < tensor->rank && i <= 4; i++) /* 4 numbers of at most 26 characters */
        at += (size_t)snprintf(out.s + at, sizeof out.s - at, "%s%s", i ? ", " : "",
                               i == 4 ? "..." : mlxn_gg_number(tensor->dims[i]).s);
    snprintf(out.s + at, sizeof out.s - at, "]");
    return out;
}

static mlxn_status bad(const mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor, mlxn_error *error,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));
static mlxn_status bad(const mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor, mlxn_error *error,
                       const char *format, ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor %s: %s", file->shards[tensor->shard].name,
                     mlxn_gg_quote(tensor->name).s, text);
}

/* Dims of weight and scales against the parameters; fills the logical shape. */
static mlxn_status check_shapes(const mlxn_safetensors *file, const triple *from, mlxn_quant_weight *out,
                                mlxn_error *error) {
    const mlxn_safetensors_tensor *weight = &from->weight, *scales = &from->scales;
    uint32_t bits = out->params.bits, group = out->params.group_size, last = weight->rank - 1;
    if (weight->rank < 1 || weight->rank > MLXN_MAX_RANK)
        return bad(file, weight, error, "rank is %u, want 1 to %d", weight->rank, MLXN_MAX_RANK);
    if (weight->elements == 0) return bad(file, weight, error, "is empty: %s", shape_of(weight).s);
    uint64_t stream, logical;
    if (!mlxn_mul_u64(weight->dims[last], 32, &stream) || stream % bits)
        return bad(file, weight, error, "rows of %s words hold no whole number of %u-bit values",
                   mlxn_gg_number(weight->dims[last]).s, bits);
    logical = stream / bits;
    out->rank = weight->rank;
    out->elements = 1;
    for (uint32_t i = 0; i < weight->rank; i++) {
        out->dims[i] = i == last ? logical : weight->dims[i];
        if (!mlxn_mul_u64(out->elements, out->dims[i], &out->elements))
            return bad(file, weight, error, "%s of %u bits pass 2^64 values", shape_of(weight).s, bits);
    }
    out->num_groups = logical / group + (logical % group != 0);
    bool fits = scales->rank == weight->rank && scales->dims[last] == out->num_groups;
    for (uint32_t i = 0; fits && i < last; i++) fits = scales->dims[i] == weight->dims[i];
    if (!fits)
        return bad(file, scales, error, "shape is %s; the weight is %s with %u bits in groups of %u: want rows of %s",
                   shape_of(scales).s, shape_of(weight).s, bits, group, mlxn_gg_number(out->num_groups).s);
    return MLXN_OK;
}

static bool is_scale_dtype(mlxn_quant_mode mode, mlxn_st_dtype dtype) {
    if (mode != MLXN_QUANT_AFFINE) return dtype == MLXN_ST_U8;
    return dtype == MLXN_ST_F32 || dtype == MLXN_ST_F16 || dtype == MLXN_ST_BF16;
}

static mlxn_status check(const mlxn_safetensors *file, const triple *from, mlxn_quant_weight *out,
                         mlxn_error *error) {
    const mlxn_safetensors_tensor *scales = &from->scales, *biases = &from->biases;
    bool affine = out->params.mode == MLXN_QUANT_AFFINE;
    if (from->weight.dtype != MLXN_ST_U32)
        return bad(file, &from->weight, error, "has scales, but its dtype is %s, want U32",
                   mlxn_gg_quote_text(from->weight.dtype_name).s);
    if (!is_scale_dtype(out->params.mode, scales->dtype))
        return bad(file, scales, error, "dtype is %s, want %s in mode %s", mlxn_gg_quote_text(scales->dtype_name).s,
                   affine ? "F32, F16 or BF16" : "U8", mlxn_quant_mode_name(out->params.mode));
    mlxn_status status = check_shapes(file, from, out, error);
    if (status || !from->has_biases) return status;
    if (!affine) return bad(file, biases, error, "mode %s has no biases", mlxn_quant_mode_name(out->params.mode));
    if (biases->dtype != scales->dtype)
        return bad(file, biases, error, "dtype is %s, but the scales are %s",
                   mlxn_gg_quote_text(biases->dtype_name).s, scales->dtype_name);
    if (biases->rank != scales->rank ||
        memcmp(biases->dims, scales->dims, (size_t)scales->rank * sizeof *scales->dims) != 0)
        return bad(file, biases, error, "shape is %s, but the scales are %s", shape_of(biases).s, shape_of(scales).s);
    return MLXN_OK;
}

/* The tensor "<base><suffix>"; `path` has room for both. */
static bool find_part(const mlxn_safetensors *file, char *path, size_t base, const char *suffix,
                      mlxn_safetensors_tensor *out) {
    memcpy(path + base, suffix, strlen(suffix) + 1);
    return mlxn_safetensors_find_tensor(file, path, out);
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
static mlxn_status load_triple(const mlxn_safetensors *file, const triple *from, mlxn_device *device,
                               mlxn_quant_weight *out, mlxn_error *error) {
    mlxn_status status = check(file, from, out, error);
    if (!status) status = load_view(file, &from->weight, device, &out->weight, error);
    if (!status) status = load_view(file, &from->scales, device, &out->scales, error);
    if (!status && from->has_biases) status = load_view(file, &from->biases, device, &out->biases, error);
    if (!status) out->scales_dtype = out->scales.dtype;
    return status;
}

static mlxn_status no_memory(const char *folder, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to list its weights", folder);
}

/* `path` is "<base>.scales" with room; base is its length without the suffix. */
static mlxn_status add_module(mlxn_quant_weights *weights, const mlxn_safetensors *file,
                              const mlxn_quant_config *config, mlxn_device *device, const char *folder, char *path,
                              size_t base, mlxn_error *error) {
    triple from = {0};
    (void)mlxn_safetensors_find_tensor(file, path, &from.scales);
    from.has_biases = find_part(file, path, base, ".biases", &from.biases);
    bool found = find_part(file, path, base, ".weight", &from.weight);
    mlxn_quant_params params = mlxn_quant_config_lookup(config, path);
    if (!params.quantized) return MLXN_OK;
    if (!found && !find_part(file, path, base, "", &from.weight)) {
        path[base] = 0;
        return bad(file, &from.scales, error, "there is neither %s.weight nor %s", mlxn_gg_quote_text(path).s,
                   mlxn_gg_quote_text(path).s);
    }
    if (!mlxn_st_grow((void **)&weights->items, weights->count, &weights->room, sizeof *weights->items))
        return no_memory(folder, error);
    char *name = mlxn_strndup(path, base);
    if (!name) return no_memory(folder, error);
    mlxn_quant_weight *item = &weights->items[weights->count++];
    *item = (mlxn_quant_weight){.name = name, .params = params};
    return load_triple(file, &from, device, item, error);
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
        char *path = mlxn_alloc((size_t)name.size + 8);
        if (!path) return no_memory(folder, error);
        memcpy(path, name.data, (size_t)name.size);
        status = add_module(weights, file, config, device, folder, path, (size_t)name.size - suffix, error);
        mlxn_free(path);
    }
    /* "a.b.scales" comes before "a.scales", but "a" before "a.b". */
    if (!status && weights->count)
        qsort(weights->items, (size_t)weights->count, sizeof *weights->items, compare_items);
    return status;
}

static mlxn_status open_config(const char *folder, mlxn_quant_config **out, mlxn_error *error) {
    static const char own[] = "quantization_config.json", model[] = "config.json";
    struct stat info;
    size_t length = strlen(folder);
    char *path = mlxn_alloc(length + 2 + sizeof own);
    if (!path) return no_memory(folder, error);
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

mlxn_status mlxn_load_quantized_weights(const char *folder, mlxn_device *device, mlxn_quant_weights **out,
                                        mlxn_error *error) {
    mlxn_quant_config *config = NULL;
    mlxn_safetensors *file = NULL;
    *out = NULL;
    if (!folder || !folder[0])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "load_quantized_weights: the folder's path is empty");
    mlxn_status status = open_config(folder, &config, error);
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
