/* safetensors.c: opening and closing safetensors files, indexes and folders, and access to tensors and metadata. */
#include "io/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

static const char index_name[] = "model.safetensors.index.json";

static const char *last_component(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

static mlxn_status no_memory(const char *name, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to open it", name);
}

void mlxn_safetensors_close(mlxn_safetensors *file) {
    if (!file) return;
    for (uint32_t i = 0; i < file->shard_count; i++) {
        mlxn_st_shard *shard = &file->shards[i];
        if (shard->mapped) mlxn_unmap_file(&shard->map);
        mlxn_free(shard->name);
        mlxn_free(shard->strings);
        mlxn_free(shard->dims);
        mlxn_free(shard->records);
        mlxn_free(shard->metadata);
    }
    mlxn_free(file->shards);
    mlxn_free(file->records);
    mlxn_free(file->index.entries);
    mlxn_free(file);
}

/* Makes one list of the shards' tensors and the index over it. */
static mlxn_status gather(mlxn_safetensors *file, mlxn_error *error) {
    const char *name = file->shards[0].name;
    uint64_t at = 0;
    for (uint32_t i = 0; i < file->shard_count; i++) {
        file->record_count += file->shards[i].record_count; /* no overflow: each took tens of bytes of a file */
        file->size += file->shards[i].map.size;
    }
    if (file->record_count > UINT32_MAX)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: the shards hold %s tensors, at most %s are supported", name,
                         mlxn_gg_number(file->record_count).s, mlxn_gg_number(UINT32_MAX).s);
    file->records = mlxn_alloc_array((size_t)file->record_count, sizeof *file->records);
    if (!file->records) return no_memory(name, error);
    for (uint32_t i = 0; i < file->shard_count; i++) {
        mlxn_st_shard *shard = &file->shards[i];
        for (uint64_t k = 0; k < shard->record_count; k++) {
            file->records[at] = shard->records[k];
            file->records[at++].shard = i;
        }
        mlxn_free(shard->records);
        shard->records = NULL;
    }
    if (!mlxn_gg_index_build(&file->index, file->records, file->record_count, sizeof *file->records))
        return no_memory(name, error);
    uint32_t first, second;
    if (!mlxn_gg_index_duplicate(&file->index, &first, &second)) return MLXN_OK;
    const mlxn_st_record *a = &file->records[first], *b = &file->records[second];
    if (a->shard == b->shard)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor %s is given twice (bytes %s and %s)",
                         file->shards[a->shard].name, mlxn_gg_quote(a->name).s, mlxn_gg_number(8 + a->at).s,
                         mlxn_gg_number(8 + b->at).s);
    return mlxn_fail(error, MLXN_ERR_FORMAT, "tensor %s is both in %s and in %s", mlxn_gg_quote(a->name).s,
                     file->shards[a->shard].name, file->shards[b->shard].name);
}

/* What is allocated or mapped belongs to *shard also after an error. */
static mlxn_status load_shard(mlxn_st_shard *shard, const char *path, mlxn_error *error) {
    mlxn_status status = mlxn_map_file(path, &shard->map, error);
    if (status) return status;
    shard->mapped = true;
    shard->name = mlxn_strdup(last_component(path));
    if (!shard->name) return no_memory(path, error);
    return mlxn_st_parse(shard, error);
}

/* "<the first folder_length bytes of path>/<name>"; the folder may be empty (the current one). */
static char *join(const char *path, size_t folder_length, mlxn_string name) {
    char *joined = mlxn_alloc(folder_length + (size_t)name.size + 2);
    if (!joined) return NULL;
    memcpy(joined, path, folder_length);
    if (folder_length && joined[folder_length - 1] != '/') joined[folder_length++] = '/';
    memcpy(joined + folder_length, name.data, (size_t)name.size);
    return joined;
}

/* Loads `count` files of one folder, named by records of `stride` bytes whose first member is the name. */
static mlxn_status load_shards(mlxn_safetensors *file, const char *path, size_t folder_length, const void *names,
                               uint64_t count, size_t stride, mlxn_error *error) {
    mlxn_st_shard *shards = mlxn_alloc_array((size_t)count, sizeof *shards);
    if (!shards) return no_memory(path, error);
    mlxn_free(file->shards);
    file->shards = shards;
    file->shard_count = (uint32_t)count;
    mlxn_status status = MLXN_OK;
    for (uint64_t i = 0; !status && i < count; i++) {
        mlxn_string name;
        memcpy(&name, (const char *)names + i * stride, sizeof name);
        char *shard_path = join(path, folder_length, name);
        if (!shard_path) return no_memory(path, error);
        status = load_shard(&file->shards[i], shard_path, error);
        mlxn_free(shard_path);
    }
    return status ? status : gather(file, error);
}

/* Every tensor of the map is where the map says. */
static mlxn_status check_places(const mlxn_safetensors *file, const mlxn_st_map *map, const char *name,
                                mlxn_error *error) {
    uint32_t shard = 0, position;
    for (uint64_t i = 0; i < map->count; i++) {
        const mlxn_st_place *place = &map->places[i];
        while (shard < file->shard_count && !mlxn_js_is(place->file, file->shards[shard].name)) shard++;
        if (!mlxn_gg_index_find(&file->index, place->tensor.data, place->tensor.size, &position))
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor %s is not in %s (byte %s)", name,
                             mlxn_gg_quote(place->tensor).s, mlxn_gg_quote(place->file).s,
                             mlxn_gg_number(place->at).s);
        uint32_t actual = file->records[position].shard;
        if (actual != shard)
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor %s is not in %s, but in %s (byte %s)", name,
                             mlxn_gg_quote(place->tensor).s, mlxn_gg_quote(place->file).s, file->shards[actual].name,
                             mlxn_gg_number(place->at).s);
    }
    return MLXN_OK;
}

static mlxn_status open_map(mlxn_safetensors *file, const char *path, const mlxn_st_map *map, mlxn_error *error) {
    const char *name = last_component(path);
    mlxn_string *names = mlxn_alloc_array((size_t)map->count, sizeof *names);
    if (!names) return no_memory(path, error);
    uint64_t count = 0;
    for (uint64_t i = 0; i < map->count; i++) {
        const mlxn_string *shard = &map->places[i].file;
        if (!count || mlxn_gg_compare_names(names[count - 1], *shard)) names[count++] = *shard;
    }
    mlxn_status status;
    if (count > MLXN_ST_MAX_SHARDS) {
        status = mlxn_fail(error, MLXN_ERR_LIMIT, "%s: names %s files, at most %s are opened", name,
                           mlxn_gg_number(count).s, mlxn_gg_number(MLXN_ST_MAX_SHARDS).s);
    } else {
        status = load_shards(file, path, (size_t)(name - path), names, count, sizeof *names, error);
        if (status == MLXN_ERR_IO) mlxn_error_prefix(error, "%s: a shard cannot be opened", name);
    }
    mlxn_free(names);
    if (status) return status;
    for (uint64_t i = 1; i < map->count; i++)
        if (mlxn_gg_compare_names(map->places[i - 1].tensor, map->places[i].tensor) == 0 &&
            mlxn_gg_compare_names(map->places[i - 1].file, map->places[i].file) == 0)
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: weight_map: tensor %s is given twice (byte %s)", name,
                             mlxn_gg_quote(map->places[i].tensor).s, mlxn_gg_number(map->places[i].at).s);
    return check_places(file, map, name, error); /* a tensor given twice with two files is wrong in one of them */
}

static mlxn_status open_index(mlxn_safetensors *file, const char *path, mlxn_error *error) {
    mlxn_mapping text;
    mlxn_st_map map = {0};
    mlxn_status status = mlxn_map_file(path, &text, error);
    if (status) return status;
    status = mlxn_st_map_parse(&map, text.data, text.size, last_component(path), error);
    mlxn_unmap_file(&text);
    if (!status) status = open_map(file, path, &map, error);
    mlxn_st_map_free(&map);
    return status;
}

typedef struct name_list {
    mlxn_string *names; /* owned */
    uint64_t count, room;
} name_list;

static int compare_strings(const void *left, const void *right) {
    return mlxn_gg_compare_names(*(const mlxn_string *)left, *(const mlxn_string *)right);
}

/* The visible *.safetensors of a folder, sorted; a copy of metadata like "._model.safetensors" is not one. */
static mlxn_status list_folder(const char *path, name_list *out, mlxn_error *error) {
    DIR *folder = opendir(path);
    if (!folder)
        return mlxn_fail_code(error, MLXN_ERR_IO, errno, "%s: cannot list the folder (errno %d)", path, errno);
    mlxn_status status = MLXN_OK;
    for (struct dirent *entry; !status && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.' || !ends_with(entry->d_name, ".safetensors")) continue;
        if (out->count == MLXN_ST_MAX_SHARDS) {
            status = mlxn_fail(error, MLXN_ERR_LIMIT, "%s: holds more than %s .safetensors files", path,
                               mlxn_gg_number(MLXN_ST_MAX_SHARDS).s);
            break;
        }
        char *name = mlxn_strdup(entry->d_name);
        if (!name || !mlxn_st_grow((void **)&out->names, out->count, &out->room, sizeof *out->names)) {
            mlxn_free(name);
            status = no_memory(path, error);
            break;
        }
        out->names[out->count++] = (mlxn_string){name, strlen(name)};
    }
    closedir(folder);
    if (!status && out->count == 0)
        return mlxn_fail(error, MLXN_ERR_IO, "%s: No .safetensors files in this folder", path);
    if (!status) qsort(out->names, (size_t)out->count, sizeof *out->names, compare_strings);
    return status;
}

static mlxn_status open_folder(mlxn_safetensors *file, const char *path, mlxn_error *error) {
    struct stat info;
    size_t length = strlen(path);
    char *index = join(path, length, (mlxn_string){index_name, sizeof index_name - 1});
    if (!index) return no_memory(path, error);
    bool indexed = stat(index, &info) == 0 || errno != ENOENT;
    mlxn_status status = indexed ? open_index(file, index, error) : MLXN_OK;
    mlxn_free(index);
    if (indexed) return status;
    name_list list = {0};
    status = list_folder(path, &list, error);
    if (!status) status = load_shards(file, path, length, list.names, list.count, sizeof *list.names, error);
    for (uint64_t i = 0; i < list.count; i++) mlxn_free((void *)(uintptr_t)list.names[i].data);
    mlxn_free(list.names);
    return status;
}

static mlxn_status open_path(mlxn_safetensors *file, const char *path, mlxn_error *error) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return open_folder(file, path, error);
    if (ends_with(path, ".index.json")) return open_index(file, path, error);
    mlxn_status status = load_shard(&file->shards[0], path, error);
    return status ? status : gather(file, error);
}

static mlxn_safetensors *create_file(void) {
    mlxn_safetensors *file = mlxn_alloc(sizeof *file);
    if (!file) return NULL;
    file->shards = mlxn_alloc(sizeof *file->shards);
    if (!file->shards) {
        mlxn_free(file);
        return NULL;
    }
    file->shard_count = 1;
    return file;
}

static mlxn_status hand_over(mlxn_status status, mlxn_safetensors *file, mlxn_safetensors **out, mlxn_error *error) {
    if (status) {
        mlxn_safetensors_close(file);
        return status;
    }
    *out = file;
    return mlxn_succeed(error);
}

mlxn_status mlxn_safetensors_open(const char *path, mlxn_safetensors **out, mlxn_error *error) {
    *out = NULL;
    if (!path || !path[0]) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "safetensors_open: path is empty");
    mlxn_safetensors *file = create_file();
    if (!file) return no_memory(path, error);
    return hand_over(open_path(file, path, error), file, out, error);
}

mlxn_status mlxn_safetensors_open_memory(const void *data, uint64_t size, const char *name, mlxn_safetensors **out,
                                         mlxn_error *error) {
    *out = NULL;
    if (!name) name = "memory";
    if (!data) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: data is NULL", name);
    mlxn_safetensors *file = create_file();
    if (!file) return no_memory(name, error);
    mlxn_st_shard *shard = &file->shards[0];
    shard->map = (mlxn_mapping){data, size};
    shard->name = mlxn_strdup(name);
    mlxn_status status = shard->name ? mlxn_st_parse(shard, error) : no_memory(name, error);
    if (!status) status = gather(file, error);
    return hand_over(status, file, out, error);
}

uint64_t mlxn_safetensors_tensor_count(const mlxn_safetensors *file) { return file->record_count; }

bool mlxn_safetensors_tensor_at(const mlxn_safetensors *file, uint64_t i, mlxn_safetensors_tensor *out) {
    if (i >= file->record_count) return false;
    const mlxn_st_record *record = &file->records[i];
    const mlxn_st_shard *shard = &file->shards[record->shard];
    uint64_t offset = shard->data_begin + record->begin;
    *out = (mlxn_safetensors_tensor){
        .name = record->name,
        .dtype = record->dtype,
        .dtype_name = record->dtype_name,
        .rank = record->rank,
        .dims = record->rank ? shard->dims + record->dims_at : NULL,
        .elements = record->elements,
        .bytes = record->end - record->begin,
        .shard = record->shard,
        .offset = offset,
        .data = shard->map.data + offset,
    };
    return true;
}

bool mlxn_safetensors_find_tensor(const mlxn_safetensors *file, const char *name, mlxn_safetensors_tensor *out) {
    uint32_t position;
    return mlxn_gg_index_find(&file->index, name, strlen(name), &position) &&
           mlxn_safetensors_tensor_at(file, position, out);
}

mlxn_string mlxn_safetensors_name(const mlxn_safetensors *file, uint64_t i) {
    return i < file->index.count ? file->index.entries[i].name : (mlxn_string){"", 0};
}

uint32_t mlxn_safetensors_shard_count(const mlxn_safetensors *file) { return file->shard_count; }

const char *mlxn_safetensors_shard_name(const mlxn_safetensors *file, uint32_t shard) {
    return shard < file->shard_count ? file->shards[shard].name : NULL;
}

uint64_t mlxn_safetensors_file_size(const mlxn_safetensors *file) { return file->size; }

uint64_t mlxn_safetensors_metadata_count(const mlxn_safetensors *file, uint32_t shard) {
    return shard < file->shard_count ? file->shards[shard].metadata_count : 0;
}

bool mlxn_safetensors_metadata_at(const mlxn_safetensors *file, uint32_t shard, uint64_t i, mlxn_string *key,
                                  mlxn_string *value) {
    if (i >= mlxn_safetensors_metadata_count(file, shard)) return false;
    *key = file->shards[shard].metadata[i].name;
    *value = file->shards[shard].metadata[i].value;
    return true;
}

bool mlxn_safetensors_metadata(const mlxn_safetensors *file, const char *key, mlxn_string *value) {
    mlxn_string wanted = {key, strlen(key)};
    for (uint32_t i = 0; i < file->shard_count; i++) {
        const mlxn_st_shard *shard = &file->shards[i];
        uint64_t low = 0, high = shard->metadata_count;
        while (low < high) {
            uint64_t middle = low + (high - low) / 2;
            int order = mlxn_gg_compare_names(shard->metadata[middle].name, wanted);
            if (order == 0) {
                *value = shard->metadata[middle].value;
                return true;
            }
            if (order < 0)
                low = middle + 1;
            else
                high = middle;
        }
    }
    return false;
}

void mlxn_safetensors_release_pages(mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor) {
    if (!tensor || tensor->shard >= file->shard_count || !file->shards[tensor->shard].mapped) return;
    mlxn_map_release_pages(&file->shards[tensor->shard].map, tensor->offset, tensor->bytes);
}
