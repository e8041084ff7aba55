/* gguf.c: opening and closing GGUF files, split ones included, and access to tensors. */
#include <stdio.h>

#include "io/gguf.h"

static const char *last_component(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void close_part(mlxn_gg_part *part) {
    if (part->mapped) mlxn_unmap_file(&part->map);
    mlxn_free(part->name);
    mlxn_free(part->keys);
    mlxn_free(part->key_index.entries);
    mlxn_free(part->tensors);
}

void mlxn_gguf_close(mlxn_gguf *file) {
    if (!file) return;
    for (uint32_t i = 0; i < file->part_count; i++) close_part(&file->parts[i]);
    mlxn_free(file->parts);
    mlxn_free(file->tensors);
    mlxn_free(file->tensor_index.entries);
    mlxn_free(file);
}

static mlxn_status no_memory(const char *name, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to open it", name);
}

/* What is allocated or mapped belongs to *part also after an error. */
static mlxn_status load_part(mlxn_gg_part *part, const char *path, uint32_t number, mlxn_error *error) {
    mlxn_status status = mlxn_map_file(path, &part->map, error);
    if (status) return status;
    part->mapped = true;
    part->name = mlxn_strdup(last_component(path));
    if (!part->name) return no_memory(path, error);
    return mlxn_gg_parse(part, number, error);
}

/* The keys of a split file; count is 1 for a file that is whole. */
typedef struct split_keys {
    uint64_t number, count, tensors;
    bool has_tensors;
} split_keys;

static mlxn_status read_split(const mlxn_gg_part *part, split_keys *out, mlxn_error *error) {
    bool has_number, has_count;
    *out = (split_keys){.count = 1};
    mlxn_status status = mlxn_gg_part_u64(part, "split.count", &has_count, &out->count, error);
    if (!status) status = mlxn_gg_part_u64(part, "split.no", &has_number, &out->number, error);
    if (!status) status = mlxn_gg_part_u64(part, "split.tensors.count", &out->has_tensors, &out->tensors, error);
    if (status) return status;
    if (out->count <= 1) {
        *out = (split_keys){.count = 1};
        return MLXN_OK;
    }
    if (out->count > MLXN_GG_MAX_PARTS)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: key \"split.count\": is %s, want at most %s", part->name,
                         mlxn_gg_number(out->count).s, mlxn_gg_number(MLXN_GG_MAX_PARTS).s);
    if (!has_number || out->number >= out->count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: key \"split.no\": is %s, want a number below %s (split.count)",
                         part->name, has_number ? mlxn_gg_number(out->number).s : "absent",
                         mlxn_gg_number(out->count).s);
    return MLXN_OK;
}

enum { SUFFIX_BYTES = 21 }; /* -00001-of-00003.gguf and the zero */

static void part_suffix(char out[32], uint64_t number, uint64_t count) {
    snprintf(out, 32, "-%05u-of-%05u.gguf", (unsigned)(number + 1), (unsigned)count);
}

/* Loads every part but `have`, which parts[have] already holds. */
static mlxn_status load_other_parts(mlxn_gguf *file, const char *path, const split_keys *have, mlxn_error *error) {
    char suffix[32];
    size_t length = strlen(path);
    part_suffix(suffix, have->number, have->count);
    if (length < strlen(suffix) || strcmp(path + length - strlen(suffix), suffix))
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: is part %s of %s, but its name does not end in \"%s\": the other parts cannot be found",
                         last_component(path), mlxn_gg_number(have->number + 1).s, mlxn_gg_number(have->count).s,
                         suffix);
    char *other = mlxn_strdup(path);
    if (!other) return no_memory(path, error);
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; !status && i < file->part_count; i++) {
        if (i == have->number) continue;
        split_keys keys;
        part_suffix(suffix, i, have->count);
        memcpy(other + length - (SUFFIX_BYTES - 1), suffix, SUFFIX_BYTES);
        status = load_part(&file->parts[i], other, i, error);
        if (status == MLXN_ERR_IO)
            mlxn_error_prefix(error, "%s: part %u of %u cannot be opened", last_component(path), i + 1,
                              file->part_count);
        if (!status) status = read_split(&file->parts[i], &keys, error);
        if (!status && (keys.number != i || keys.count != have->count))
            status = mlxn_fail(error, MLXN_ERR_FORMAT, "%s: says that it is part %s of %s, want part %u of %u",
                               file->parts[i].name, mlxn_gg_number(keys.number + 1).s, mlxn_gg_number(keys.count).s,
                               i + 1, file->part_count);
    }
    mlxn_free(other);
    return status;
}

/* Makes one list of the parts' tensors and the index over it. */
static mlxn_status gather_tensors(mlxn_gguf *file, mlxn_error *error) {
    const char *name = file->parts[0].name;
    for (uint32_t i = 0; i < file->part_count; i++) file->tensor_count += file->parts[i].tensor_count;
    if (file->part_count == 1) {
        file->tensors = file->parts[0].tensors;
        file->parts[0].tensors = NULL;
    } else {
        file->tensors = mlxn_alloc_array((size_t)file->tensor_count, sizeof *file->tensors);
        if (!file->tensors) return no_memory(name, error);
        uint64_t at = 0;
        for (uint32_t i = 0; i < file->part_count; i++) {
            mlxn_gg_part *part = &file->parts[i];
            memcpy(file->tensors + at, part->tensors, (size_t)part->tensor_count * sizeof *file->tensors);
            at += part->tensor_count;
            mlxn_free(part->tensors);
            part->tensors = NULL;
        }
    }
    if (!mlxn_gg_index_build(&file->tensor_index, file->tensors, file->tensor_count, sizeof *file->tensors))
        return no_memory(name, error);
    uint32_t first, second;
    if (!mlxn_gg_index_duplicate(&file->tensor_index, &first, &second)) return MLXN_OK;
    const mlxn_gg_tensor *a = &file->tensors[first], *b = &file->tensors[second];
    mlxn_gg_reader subject = {
        .file = file->parts[b->info.part].name, .kind = "tensor", .numbered = true, .index = second, .error = error};
    subject.name = b->info.name;
    return mlxn_gg_fail(&subject, b->at, "has the name of tensor %s at byte %s of %s", mlxn_gg_number(first).s,
                        mlxn_gg_number(a->at).s, file->parts[a->info.part].name);
}

static mlxn_status finish(mlxn_gguf *file, const split_keys *split, mlxn_error *error) {
    mlxn_status status = gather_tensors(file, error);
    if (status) return status;
    for (uint32_t i = 0; i < file->part_count; i++) file->size += file->parts[i].map.size;
    if (split->has_tensors && split->tensors != file->tensor_count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: key \"split.tensors.count\": is %s, the parts hold %s",
                         file->parts[0].name, mlxn_gg_number(split->tensors).s, mlxn_gg_number(file->tensor_count).s);
    return MLXN_OK;
}

static mlxn_status open_path(mlxn_gguf *file, const char *path, mlxn_error *error) {
    split_keys split;
    mlxn_status status = load_part(&file->parts[0], path, 0, error);
    if (!status) status = read_split(&file->parts[0], &split, error);
    if (status) return status;
    if (split.count > 1) {
        mlxn_gg_part *parts = mlxn_alloc_array((size_t)split.count, sizeof *parts);
        if (!parts) return no_memory(path, error);
        parts[split.number] = file->parts[0];
        mlxn_free(file->parts);
        file->parts = parts;
        file->part_count = (uint32_t)split.count;
        mlxn_gg_part *own = &parts[split.number];
        for (uint64_t i = 0; i < own->tensor_count; i++) own->tensors[i].info.part = (uint32_t)split.number;
        status = load_other_parts(file, path, &split, error);
        if (status) return status;
    }
    return finish(file, &split, error);
}

static mlxn_status open_memory(mlxn_gguf *file, const void *data, uint64_t size, const char *name,
                               mlxn_error *error) {
    mlxn_gg_part *part = &file->parts[0];
    split_keys split;
    part->map = (mlxn_mapping){data, size};
    part->name = mlxn_strdup(name);
    if (!part->name) return no_memory(name, error);
    mlxn_status status = mlxn_gg_parse(part, 0, error);
    if (!status) status = read_split(part, &split, error);
    if (status) return status;
    if (split.count > 1)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is part %s of %s: open a split file by its path", name,
                         mlxn_gg_number(split.number + 1).s, mlxn_gg_number(split.count).s);
    return finish(file, &split, error);
}

static mlxn_gguf *create_file(void) {
    mlxn_gguf *file = mlxn_alloc(sizeof *file);
    if (!file) return NULL;
    file->parts = mlxn_alloc(sizeof *file->parts);
    if (!file->parts) {
        mlxn_free(file);
        return NULL;
    }
    file->part_count = 1;
    return file;
}

static mlxn_status hand_over(mlxn_status status, mlxn_gguf *file, mlxn_gguf **out, mlxn_error *error) {
    if (status) {
        mlxn_gguf_close(file);
        return status;
    }
    *out = file;
    return mlxn_succeed(error);
}

mlxn_status mlxn_gguf_open(const char *path, mlxn_gguf **out, mlxn_error *error) {
    *out = NULL;
    if (!path) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "gguf_open: path is NULL");
    mlxn_gguf *file = create_file();
    if (!file) return no_memory(path, error);
    return hand_over(open_path(file, path, error), file, out, error);
}

mlxn_status mlxn_gguf_open_memory(const void *data, uint64_t size, const char *name, mlxn_gguf **out,
                                  mlxn_error *error) {
    *out = NULL;
    if (!name) name = "memory";
    if (!data) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: data is NULL", name);
    mlxn_gguf *file = create_file();
    if (!file) return no_memory(name, error);
    return hand_over(open_memory(file, data, size, name, error), file, out, error);
}

uint32_t mlxn_gguf_version(const mlxn_gguf *file) { return file->parts[0].version; }

uint64_t mlxn_gguf_file_size(const mlxn_gguf *file) { return file->size; }

uint32_t mlxn_gguf_part_count(const mlxn_gguf *file) { return file->part_count; }

uint64_t mlxn_gguf_tensor_count(const mlxn_gguf *file) { return file->tensor_count; }

bool mlxn_gguf_tensor_at(const mlxn_gguf *file, uint64_t i, mlxn_gguf_tensor *out) {
    if (i >= file->tensor_count) return false;
    *out = file->tensors[i].info;
    return true;
}

bool mlxn_gguf_find_tensor(const mlxn_gguf *file, const char *name, mlxn_gguf_tensor *out) {
    uint32_t position;
    return mlxn_gg_index_find(&file->tensor_index, name, strlen(name), &position) &&
           mlxn_gguf_tensor_at(file, position, out);
}

void mlxn_gguf_release_pages(mlxn_gguf *file, const mlxn_gguf_tensor *tensor) {
    if (!tensor || tensor->part >= file->part_count || !file->parts[tensor->part].mapped) return;
    mlxn_map_release_pages(&file->parts[tensor->part].map, tensor->offset, tensor->bytes);
}
