/* write_safetensors.c: one safetensors file, or several with an index. Layout: the safetensors format: the header's
 * length, the header (JSON, spaces behind it so that data begins at a multiple of 64), the data. */
#include <dirent.h>
#include <mlxn/write.h>
#include <stdio.h>
#include <unistd.h>

#include "io/out_file.h"
#include "io/safetensors.h"

enum { MAX_RANK = 8, MAX_TENSORS = 1000000, MAX_SHARDS = 10000, HEAD_ALIGN = 64 };
static const uint64_t default_shard = 5000000000u;
static const char index_name[] = "model.safetensors.index.json";

typedef struct tensor {
    mlxn_string name; /* first: sorted by it */
    mlxn_st_dtype dtype;
    uint32_t rank, shard;
    uint64_t dims[MAX_RANK], bytes;
} tensor;

typedef struct entry {
    char *key, *value;
} entry;

struct mlxn_safetensors_writer {
    char *folder;
    bool single; /* `folder` is the path of one file */
    bool overwrite, begun, broken;
    uint64_t shard_bytes, total;
    tensor *tensors;
    uint64_t n_tensors, room;
    entry *metadata;
    uint64_t n_metadata, metadata_room;
    mlxn_out_file *shards; /* each open until the end */
    uint32_t n_shards;
    uint64_t current, left; /* the tensor that data goes to, and what it lacks */
};

/* ---- the folder ---- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* What a reader of the folder would take for part of a model. */
static bool is_weights(const char *name) { return ends_with(name, ".safetensors") || !strcmp(name, index_name); }

static bool is_ours(const mlxn_safetensors_writer *writer, const char *name) {
    if (!strcmp(name, index_name)) return writer->n_shards > 1;
    for (uint32_t i = 0; i < writer->n_shards; i++)
        if (writer->shards[i].path && !strcmp(strrchr(writer->shards[i].path, '/') + 1, name)) return true;
    return false;
}

/* Without a writer: refuses what is there. With one: removes what is not of its files, so that no reader mixes the
 * weights of two models. */
static mlxn_status look(const char *folder, const mlxn_safetensors_writer *writer, mlxn_error *error) {
    DIR *dir = opendir(folder);
    if (!dir) return mlxn_fail_errno(error, folder, "cannot open the folder");
    mlxn_status status = MLXN_OK;
    for (struct dirent *e; !status && (e = readdir(dir));) {
        if (!is_weights(e->d_name)) continue;
        if (!writer) {
            status = mlxn_fail(error, MLXN_ERR_IO, "%s/%s: is there already, and is not to be overwritten", folder,
                               e->d_name);
        } else if (!is_ours(writer, e->d_name)) {
            char *path = mlxn_path_in(folder, e->d_name);
            if (!path) status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for a path", folder);
            if (path && unlink(path)) status = mlxn_fail_errno(error, path, "cannot be removed");
            mlxn_free(path);
        }
    }
    closedir(dir);
    return status;
}

mlxn_status mlxn_safetensors_writer_create(const char *path, uint64_t shard_bytes, bool overwrite,
                                           mlxn_safetensors_writer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "safetensors writer: out is NULL");
    *out = NULL;
    if (!path || !path[0]) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "safetensors writer: the path is empty");
    bool single = ends_with(path, ".safetensors");
    mlxn_status status = overwrite || single ? MLXN_OK : look(path, NULL, error);
    if (status) return status;
    mlxn_safetensors_writer *writer = mlxn_alloc(sizeof *writer);
    if (writer) writer->folder = mlxn_strdup(path);
    if (!writer || !writer->folder) {
        mlxn_free(writer);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "safetensors writer: out of memory for its record");
    }
    writer->single = single;
    writer->overwrite = overwrite;
    writer->shard_bytes = single ? UINT64_MAX : shard_bytes ? shard_bytes : default_shard;
    *out = writer;
    return mlxn_succeed(error);
}

void mlxn_safetensors_writer_destroy(mlxn_safetensors_writer *writer) {
    if (!writer) return;
    for (uint32_t i = 0; i < writer->n_shards; i++) mlxn_out_abandon(&writer->shards[i]);
    for (uint64_t i = 0; i < writer->n_tensors; i++) mlxn_free((void *)(uintptr_t)writer->tensors[i].name.data);
    for (uint64_t i = 0; i < writer->n_metadata; i++) {
        mlxn_free(writer->metadata[i].key);
        mlxn_free(writer->metadata[i].value);
    }
    mlxn_free(writer->shards);
    mlxn_free(writer->tensors);
    mlxn_free(writer->metadata);
    mlxn_free(writer->folder);
    mlxn_free(writer);
}

/* ---- records ---- */

static bool is_utf8(const char *text) {
    uint64_t left = strlen(text);
    for (const unsigned char *p = (const unsigned char *)text; left;) {
        unsigned n = mlxn_gg_utf8_length(p, left);
        if (!n) return false;
        p += n;
        left -= n;
    }
    return true;
}

static mlxn_status open_for_records(const mlxn_safetensors_writer *writer, const char *name, mlxn_error *error) {
    if (!writer) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "safetensors writer: writer is NULL");
    if (!name || !name[0] || !is_utf8(name))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: name %s: want UTF-8 of at least one byte", writer->folder,
                         mlxn_gg_quote_text(name ? name : "").s);
    if (writer->begun)
        return mlxn_fail(error, MLXN_ERR_STATE, "%s: records come before data, which was written already",
                         writer->folder);
    return MLXN_OK;
}

mlxn_status mlxn_safetensors_writer_metadata(mlxn_safetensors_writer *writer, const char *key, const char *value,
                                             mlxn_error *error) {
    mlxn_status status = open_for_records(writer, key, error);
    if (status) return status;
    if (!value || !is_utf8(value))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: value of %s: want UTF-8", writer->folder,
                         mlxn_gg_quote_text(key).s);
    for (uint64_t i = 0; i < writer->n_metadata; i++)
        if (!strcmp(writer->metadata[i].key, key))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: metadata %s is set twice", writer->folder,
                             mlxn_gg_quote_text(key).s);
    entry e = {mlxn_strdup(key), mlxn_strdup(value)};
    if (!e.key || !e.value ||
        !mlxn_st_grow((void **)&writer->metadata, writer->n_metadata, &writer->metadata_room, sizeof e)) {
        mlxn_free(e.key);
        mlxn_free(e.value);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for metadata", writer->folder);
    }
    writer->metadata[writer->n_metadata++] = e;
    return mlxn_succeed(error);
}

mlxn_status mlxn_safetensors_writer_add(mlxn_safetensors_writer *writer, const char *name, mlxn_st_dtype dtype,
                                        uint32_t rank, const uint64_t *dims, mlxn_error *error) {
    mlxn_status status = open_for_records(writer, name, error);
    if (status) return status;
    mlxn_gg_name_text shown = mlxn_gg_quote_text(name);
    tensor t = {.dtype = dtype, .rank = rank};
    uint64_t bits = mlxn_st_dtype_bits(dtype);
    if (!bits)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensor %s: dtype is %d, want one with a size", writer->folder,
                         shown.s, (int)dtype);
    if (rank > MAX_RANK || (rank && !dims))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensor %s: rank is %u, want 0 to %d", writer->folder, shown.s,
                         rank, MAX_RANK);
    bool fits = true;
    for (uint32_t i = 0; i < rank; i++) fits = fits && mlxn_mul_u64(bits, t.dims[i] = dims[i], &bits);
    if (!fits || !mlxn_add_u64(writer->total, bits / 8, &writer->total) || writer->n_tensors >= MAX_TENSORS)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: tensor %s: no room behind %s others", writer->folder, shown.s,
                         mlxn_gg_number(writer->n_tensors).s);
    if (bits % 8)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensor %s: %s bits, want whole bytes", writer->folder,
                         shown.s, mlxn_gg_number(bits).s);
    t.bytes = bits / 8;
    t.name = (mlxn_string){mlxn_strdup(name), strlen(name)};
    if (!t.name.data || !mlxn_st_grow((void **)&writer->tensors, writer->n_tensors, &writer->room, sizeof t)) {
        mlxn_free((void *)(uintptr_t)t.name.data);
        writer->total -= t.bytes;
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for tensor %s", writer->folder, shown.s);
    }
    writer->tensors[writer->n_tensors++] = t;
    return mlxn_succeed(error);
}

/* ---- JSON ---- */

static void add_number(mlxn_bytes *to, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    mlxn_bytes_text(to, text);
}

static void add_member(mlxn_bytes *to, bool *first, const char *name) {
    if (!*first) mlxn_bytes_text(to, ",");
    *first = false;
    mlxn_bytes_json_string(to, name);
    mlxn_bytes_text(to, ":");
}

static void add_metadata(const mlxn_safetensors_writer *writer, mlxn_bytes *to) {
    bool first = true;
    mlxn_bytes_text(to, "{");
    for (uint64_t i = 0; i < writer->n_metadata; i++) {
        add_member(to, &first, writer->metadata[i].key);
        mlxn_bytes_json_string(to, writer->metadata[i].value);
    }
    mlxn_bytes_text(to, "}");
}

static mlxn_status write_header(mlxn_safetensors_writer *writer, uint32_t shard, mlxn_error *error) {
    mlxn_bytes head = {0};
    bool first = true;
    uint64_t offset = 0;
    mlxn_bytes_int(&head, 0, 8);
    mlxn_bytes_text(&head, "{");
    if (writer->n_metadata) {
        add_member(&head, &first, "__metadata__");
        add_metadata(writer, &head);
    }
    for (uint64_t i = 0; i < writer->n_tensors; i++) {
        const tensor *t = &writer->tensors[i];
        if (t->shard != shard) continue;
        add_member(&head, &first, t->name.data);
        mlxn_bytes_text(&head, "{\"dtype\":");
        mlxn_bytes_json_string(&head, mlxn_st_dtype_name(t->dtype));
        mlxn_bytes_text(&head, ",\"shape\":[");
        for (uint32_t d = 0; d < t->rank; d++) {
            if (d) mlxn_bytes_text(&head, ",");
            add_number(&head, t->dims[d]);
        }
        mlxn_bytes_text(&head, "],\"data_offsets\":[");
        add_number(&head, offset);
        mlxn_bytes_text(&head, ",");
        add_number(&head, offset += t->bytes);
        mlxn_bytes_text(&head, "]}");
    }
    mlxn_bytes_text(&head, "}");
    while (!head.failed && head.size % HEAD_ALIGN) mlxn_bytes_text(&head, " ");
    mlxn_status status = MLXN_OK;
    if (head.failed) {
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for a header", writer->folder);
    } else {
        for (int i = 0; i < 8; i++) head.data[i] = (uint8_t)((head.size - 8) >> 8 * i);
        status = mlxn_out_write(&writer->shards[shard], head.data, head.size, error);
    }
    mlxn_bytes_free(&head);
    return status;
}

static mlxn_status write_index(const mlxn_safetensors_writer *writer, mlxn_error *error) {
    mlxn_bytes text = {0};
    bool first = true;
    mlxn_bytes_text(&text, "{\"metadata\":{\"total_size\":");
    add_number(&text, writer->total);
    mlxn_bytes_text(&text, "},\"weight_map\":{");
    for (uint64_t i = 0; i < writer->n_tensors; i++) {
        add_member(&text, &first, writer->tensors[i].name.data);
        const char *path = writer->shards[writer->tensors[i].shard].path;
        mlxn_bytes_json_string(&text, strrchr(path, '/') + 1);
    }
    mlxn_bytes_text(&text, "}}\n");
    mlxn_out_file file = {0};
    char *path = mlxn_path_in(writer->folder, index_name);
    mlxn_status status = MLXN_OK;
    if (text.failed || !path)
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for the index", writer->folder);
    if (!status) status = mlxn_out_open(&file, path, writer->overwrite, error);
    if (!status) status = mlxn_out_write(&file, text.data, text.size, error);
    if (!status) status = mlxn_out_sync(&file, error);
    if (!status) status = mlxn_out_name(&file, error);
    mlxn_out_abandon(&file);
    mlxn_bytes_free(&text);
    mlxn_free(path);
    return status;
}

/* ---- data ---- */

static mlxn_status check_names(const mlxn_safetensors_writer *writer, mlxn_error *error) {
    mlxn_gg_index index = {0};
    if (!mlxn_gg_index_build(&index, writer->tensors, writer->n_tensors, sizeof *writer->tensors))
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for names", writer->folder);
    uint32_t first, second;
    mlxn_status status = MLXN_OK;
    if (mlxn_gg_index_duplicate(&index, &first, &second))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensors %u and %u have one name, %s", writer->folder, first,
                           second, mlxn_gg_quote(writer->tensors[first].name).s);
    mlxn_free(index.entries);
    return status;
}

/* A file takes tensors until it would pass the limit. */
static uint32_t deal_out(mlxn_safetensors_writer *writer) {
    uint32_t shard = 0;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < writer->n_tensors; i++) {
        tensor *t = &writer->tensors[i];
        if (bytes && (bytes > writer->shard_bytes || t->bytes > writer->shard_bytes - bytes)) {
            shard++;
            bytes = 0;
        }
        t->shard = shard;
        bytes += t->bytes;
    }
    return shard + 1;
}

static mlxn_status begin(mlxn_safetensors_writer *writer, mlxn_error *error) {
    mlxn_status status = check_names(writer, error);
    if (status) return status;
    uint32_t n = deal_out(writer);
    if (n > MAX_SHARDS)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: %u files, want at most %d", writer->folder, n, MAX_SHARDS);
    writer->shards = mlxn_alloc_array(n, sizeof *writer->shards);
    if (!writer->shards) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for files", writer->folder);
    writer->n_shards = n;
    writer->begun = true;
    writer->left = writer->n_tensors ? writer->tensors[0].bytes : 0;
    return MLXN_OK;
}

/* The file of the current tensor; opened, with its header, when it is first wanted. */
static mlxn_status shard_file(mlxn_safetensors_writer *writer, uint32_t shard, mlxn_error *error) {
    mlxn_out_file *file = &writer->shards[shard];
    if (file->path) return MLXN_OK;
    char name[64] = "model.safetensors";
    if (writer->n_shards > 1)
        snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", shard + 1, writer->n_shards);
    char *path = writer->single ? mlxn_strdup(writer->folder) : mlxn_path_in(writer->folder, name);
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for a path", writer->folder);
    mlxn_status status = mlxn_out_open(file, path, writer->overwrite, error);
    mlxn_free(path);
    return status ? status : write_header(writer, shard, error);
}

/* Past tensors that are full, opening and closing files on the way. */
static mlxn_status advance(mlxn_safetensors_writer *writer, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    while (!status && !writer->left && writer->current < writer->n_tensors) {
        uint32_t shard = writer->tensors[writer->current].shard;
        status = shard_file(writer, shard, error); /* an empty tensor may be its only one */
        bool last = ++writer->current == writer->n_tensors;
        if (!status && (last || writer->tensors[writer->current].shard != shard))
            status = mlxn_out_sync(&writer->shards[shard], error);
        writer->left = last ? 0 : writer->tensors[writer->current].bytes;
    }
    return status;
}

mlxn_status mlxn_safetensors_writer_write(mlxn_safetensors_writer *writer, const void *data, uint64_t bytes,
                                          mlxn_error *error) {
    if (!writer) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "safetensors writer: writer is NULL");
    if (writer->broken) return mlxn_fail(error, MLXN_ERR_STATE, "%s: writing it failed before", writer->folder);
    mlxn_status status = writer->begun ? MLXN_OK : begin(writer, error);
    if (!status) status = advance(writer, error);
    if (!status && bytes > writer->left) {
        bool past = writer->current >= writer->n_tensors;
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: %s bytes for %s, which takes %s more", writer->folder,
                         mlxn_gg_number(bytes).s,
                         past ? "no tensor" : mlxn_gg_quote(writer->tensors[writer->current].name).s,
                         mlxn_gg_number(writer->left).s);
    }
    if (!status && bytes) {
        uint32_t shard = writer->tensors[writer->current].shard;
        status = shard_file(writer, shard, error);
        if (!status) status = mlxn_out_write(&writer->shards[shard], data, bytes, error);
        writer->left -= bytes;
        if (!status) status = advance(writer, error);
    }
    writer->broken = status != MLXN_OK;
    return status ? status : mlxn_succeed(error);
}

static mlxn_status finish(mlxn_safetensors_writer *writer, mlxn_error *error) {
    mlxn_status status = writer->begun ? MLXN_OK : begin(writer, error);
    if (!status && !writer->broken) status = advance(writer, error);
    if (!status && (writer->broken || writer->current < writer->n_tensors))
        return mlxn_fail(error, MLXN_ERR_STATE, "%s: data of %s of %s tensors is missing", writer->folder,
                         mlxn_gg_number(writer->n_tensors - writer->current).s, mlxn_gg_number(writer->n_tensors).s);
    if (!status && !writer->n_tensors) { /* a file without tensors is a valid one */
        status = shard_file(writer, 0, error);
        if (!status) status = mlxn_out_sync(&writer->shards[0], error);
    }
    if (!status && writer->overwrite && !writer->single) status = look(writer->folder, writer, error);
    if (!status && writer->n_shards > 1) status = write_index(writer, error);
    for (uint32_t i = 0; !status && i < writer->n_shards; i++) status = mlxn_out_name(&writer->shards[i], error);
    return status;
}

mlxn_status mlxn_safetensors_writer_finish(mlxn_safetensors_writer **handle, mlxn_error *error) {
    if (!handle || !*handle) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "safetensors writer: writer is NULL");
    mlxn_safetensors_writer *writer = *handle;
    *handle = NULL;
    mlxn_status status = finish(writer, error);
    mlxn_safetensors_writer_destroy(writer);
    return status ? status : mlxn_succeed(error);
}
