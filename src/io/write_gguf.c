/* write_gguf.c: GGUF files of version 3: magic, version, counts, keys, tensor records, then the data of each tensor
 * at the next multiple of 32. Layout: the GGUF specification of the ggml project. */
#include <mlxn/write.h>

#include "io/gguf.h"
#include "io/out_file.h"

typedef struct key {
    char *name;
    mlxn_bytes value; /* type and payload, as the file has them */
} key;

typedef struct tensor {
    char *name;
    uint32_t type, rank;
    uint64_t dims[4], bytes, offset;
} tensor;

struct mlxn_gguf_writer {
    mlxn_out_file file;
    key *keys;
    tensor *tensors;
    uint64_t n_keys, keys_room, n_tensors, tensors_room;
    mlxn_gg_index names; /* of the tensors, once data is written */
    bool begun, broken;
    uint64_t current, left; /* the tensor that data goes to, and what it lacks */
};

mlxn_status mlxn_gguf_writer_create(const char *path, bool overwrite, mlxn_gguf_writer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "GGUF writer: out is NULL");
    *out = NULL;
    mlxn_gguf_writer *writer = mlxn_alloc(sizeof *writer);
    if (!writer) return mlxn_fail(error, MLXN_ERR_MEMORY, "GGUF writer: out of memory for its record");
    mlxn_status status = mlxn_out_open(&writer->file, path, overwrite, error);
    if (status) {
        mlxn_free(writer);
        return status;
    }
    *out = writer;
    return mlxn_succeed(error);
}

void mlxn_gguf_writer_destroy(mlxn_gguf_writer *writer) {
    if (!writer) return;
    mlxn_out_abandon(&writer->file);
    for (uint64_t i = 0; i < writer->n_keys; i++) {
        mlxn_free(writer->keys[i].name);
        mlxn_bytes_free(&writer->keys[i].value);
    }
    for (uint64_t i = 0; i < writer->n_tensors; i++) mlxn_free(writer->tensors[i].name);
    mlxn_free(writer->keys);
    mlxn_free(writer->tensors);
    mlxn_free(writer->names.entries);
    mlxn_free(writer);
}

static mlxn_status open_for_records(const mlxn_gguf_writer *writer, mlxn_error *error) {
    if (!writer) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "GGUF writer: writer is NULL");
    if (!writer->begun) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_STATE, "%s: keys and tensors come before data, which was written already",
                     writer->file.path);
}

/* Room for one more record. */
static bool grow(void **array, uint64_t count, uint64_t *room, size_t size) {
    if (count < *room) return true;
    uint64_t larger = *room ? *room * 2 : 64;
    void *grown = mlxn_realloc_array(*array, (size_t)larger, size);
    if (!grown) return false;
    *array = grown;
    *room = larger;
    return true;
}

/* ---- keys ---- */

static key *find(const mlxn_gguf_writer *writer, const char *name) {
    for (uint64_t i = 0; i < writer->n_keys; i++)
        if (!strcmp(writer->keys[i].name, name)) return &writer->keys[i];
    return NULL;
}

/* Takes `value` over, also on an error. */
static mlxn_status set(mlxn_gguf_writer *writer, const char *name, mlxn_bytes *value, mlxn_error *error) {
    mlxn_status status = open_for_records(writer, error);
    if (!status && (!name || !name[0] || strlen(name) > MLXN_GG_MAX_NAME))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: a key of %zu bytes, want 1 to %d", writer->file.path,
                           name ? strlen(name) : 0, MLXN_GG_MAX_NAME);
    if (!status && value->failed)
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for key %s", writer->file.path,
                           mlxn_gg_quote_text(name).s);
    if (status) {
        mlxn_bytes_free(value);
        return status;
    }
    if (!strcmp(name, "general.alignment")) {
        mlxn_bytes_free(value);
        return mlxn_succeed(error);
    }
    key *at = find(writer, name);
    if (at) {
        mlxn_bytes_free(&at->value);
        at->value = *value;
        return mlxn_succeed(error);
    }
    char *copy = mlxn_strdup(name);
    if (!copy || writer->n_keys >= MLXN_GG_MAX_RECORDS ||
        !grow((void **)&writer->keys, writer->n_keys, &writer->keys_room, sizeof *writer->keys)) {
        mlxn_free(copy);
        mlxn_bytes_free(value);
        return mlxn_fail(error, copy && writer->n_keys >= MLXN_GG_MAX_RECORDS ? MLXN_ERR_LIMIT : MLXN_ERR_MEMORY,
                         "%s: no room for key %s behind %s others", writer->file.path, mlxn_gg_quote_text(name).s,
                         mlxn_gg_number(writer->n_keys).s);
    }
    writer->keys[writer->n_keys++] = (key){copy, *value};
    return mlxn_succeed(error);
}

static void add_float(mlxn_bytes *to, double value, unsigned size) {
    if (size == 4) {
        float narrow = (float)value;
        uint32_t u;
        memcpy(&u, &narrow, 4);
        mlxn_bytes_int(to, u, 4);
    } else {
        uint64_t u;
        memcpy(&u, &value, 8);
        mlxn_bytes_int(to, u, 8);
    }
}

static void add_string(mlxn_bytes *to, mlxn_string text) {
    mlxn_bytes_int(to, text.size, 8);
    mlxn_bytes_add(to, text.data, text.size);
}

mlxn_status mlxn_gguf_writer_set(mlxn_gguf_writer *writer, const char *name, const mlxn_gguf_value *value,
                                 mlxn_error *error) {
    if (!value) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "GGUF writer: value is NULL");
    unsigned size = mlxn_gg_type_size(value->type);
    mlxn_bytes to = {0};
    mlxn_bytes_int(&to, value->type, 4);
    switch (value->type) {
        case MLXN_GGUF_F32:
        case MLXN_GGUF_F64:
            add_float(&to, value->v.f, size);
            break;
        case MLXN_GGUF_STRING:
            add_string(&to, value->v.s);
            break;
        case MLXN_GGUF_ARRAY:
            mlxn_bytes_int(&to, value->v.array.element, 4);
            mlxn_bytes_int(&to, value->v.array.count, 8);
            mlxn_bytes_add(&to, value->v.array.data, value->v.array.bytes);
            break;
        default:
            if (!size) {
                mlxn_bytes_free(&to);
                return mlxn_fail(error, MLXN_ERR_ARGUMENT, "GGUF writer: value of type %d, want 0 to %d",
                                 (int)value->type, MLXN_GGUF_F64);
            }
            mlxn_bytes_int(&to, value->v.u, size); /* the bits of v.i are the same */
    }
    return set(writer, name, &to, error);
}

mlxn_status mlxn_gguf_writer_set_u32(mlxn_gguf_writer *writer, const char *name, uint32_t value, mlxn_error *error) {
    return mlxn_gguf_writer_set(writer, name, &(mlxn_gguf_value){.type = MLXN_GGUF_U32, .v.u = value}, error);
}

mlxn_status mlxn_gguf_writer_set_f32(mlxn_gguf_writer *writer, const char *name, float value, mlxn_error *error) {
    return mlxn_gguf_writer_set(writer, name, &(mlxn_gguf_value){.type = MLXN_GGUF_F32, .v.f = (double)value}, error);
}

mlxn_status mlxn_gguf_writer_set_bool(mlxn_gguf_writer *writer, const char *name, bool value, mlxn_error *error) {
    return mlxn_gguf_writer_set(writer, name, &(mlxn_gguf_value){.type = MLXN_GGUF_BOOL, .v.u = value}, error);
}

mlxn_status mlxn_gguf_writer_set_text(mlxn_gguf_writer *writer, const char *name, const char *value,
                                      mlxn_error *error) {
    const mlxn_string text = {value ? value : "", value ? strlen(value) : 0};
    return mlxn_gguf_writer_set(writer, name, &(mlxn_gguf_value){.type = MLXN_GGUF_STRING, .v.s = text}, error);
}

mlxn_status mlxn_gguf_writer_set_strings(mlxn_gguf_writer *writer, const char *name, const mlxn_string *values,
                                         uint64_t n, mlxn_error *error) {
    if (n && !values) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "GGUF writer: values is NULL");
    mlxn_bytes to = {0};
    mlxn_bytes_int(&to, MLXN_GGUF_ARRAY, 4);
    mlxn_bytes_int(&to, MLXN_GGUF_STRING, 4);
    mlxn_bytes_int(&to, n, 8);
    for (uint64_t i = 0; i < n; i++) add_string(&to, values[i]);
    return set(writer, name, &to, error);
}

mlxn_status mlxn_gguf_writer_remove(mlxn_gguf_writer *writer, const char *name, mlxn_error *error) {
    mlxn_status status = open_for_records(writer, error);
    if (status) return status;
    key *at = name ? find(writer, name) : NULL;
    if (at) {
        mlxn_free(at->name);
        mlxn_bytes_free(&at->value);
        key *end = writer->keys + writer->n_keys--;
        memmove(at, at + 1, (size_t)(end - at - 1) * sizeof *at);
    }
    return mlxn_succeed(error);
}

/* ---- tensors ---- */

static mlxn_status tensor_bytes(tensor *t, mlxn_error *error) {
    uint64_t cols = t->dims[t->rank - 1], row = 0, bytes;
    const uint32_t plain = mlxn_gg_plain_bytes(t->type);
    if (plain) {
        if (!mlxn_mul_u64(cols, plain, &row)) return mlxn_fail(error, MLXN_ERR_LIMIT, "a row passes 2^64 bytes");
    } else {
        mlxn_status status = mlxn_format_row_bytes((mlxn_format)t->type, cols, &row, error);
        if (status) return status;
    }
    bytes = row;
    for (uint32_t i = 0; i + 1 < t->rank; i++)
        if (!mlxn_mul_u64(bytes, t->dims[i], &bytes))
            return mlxn_fail(error, MLXN_ERR_LIMIT, "its data passes 2^64 bytes");
    t->bytes = bytes;
    return MLXN_OK;
}

mlxn_status mlxn_gguf_writer_add_tensor(mlxn_gguf_writer *writer, const char *name, uint32_t type, uint32_t rank,
                                        const uint64_t *dims, mlxn_error *error) {
    mlxn_status status = open_for_records(writer, error);
    if (status) return status;
    const char *path = writer->file.path;
    if (!name || !name[0] || strlen(name) > MLXN_GG_MAX_NAME)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: a tensor's name of %zu bytes, want 1 to %d", path,
                         name ? strlen(name) : 0, MLXN_GG_MAX_NAME);
    tensor t = {.type = type, .rank = rank};
    mlxn_gg_name_text shown = mlxn_gg_quote_text(name);
    if (rank < 1 || rank > 4 || !dims)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensor %s: rank is %u, want 1 to 4", path, shown.s, rank);
    for (uint32_t i = 0; i < rank; i++)
        if (!(t.dims[i] = dims[i]))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensor %s: dim[%u] is 0, want at least 1", path, shown.s,
                             i);
    if ((status = tensor_bytes(&t, error))) {
        mlxn_error_prefix(error, "%s: tensor %s", path, shown.s);
        return status;
    }
    const tensor *last = writer->n_tensors ? &writer->tensors[writer->n_tensors - 1] : NULL;
    uint64_t end;
    if ((last && (!mlxn_add_u64(last->offset, last->bytes, &end) ||
                  !mlxn_align_u64(end, MLXN_GG_DEFAULT_ALIGNMENT, &t.offset))) ||
        !mlxn_add_u64(t.offset, t.bytes, &end) || writer->n_tensors >= MLXN_GG_MAX_RECORDS)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: tensor %s: no room behind %s others", path, shown.s,
                         mlxn_gg_number(writer->n_tensors).s);
    if (!(t.name = mlxn_strdup(name)) ||
        !grow((void **)&writer->tensors, writer->n_tensors, &writer->tensors_room, sizeof *writer->tensors)) {
        mlxn_free(t.name);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for tensor %s", path, shown.s);
    }
    writer->tensors[writer->n_tensors++] = t;
    return mlxn_succeed(error);
}

uint64_t mlxn_gguf_writer_tensor_bytes(const mlxn_gguf_writer *writer, uint64_t i) {
    return writer && i < writer->n_tensors ? writer->tensors[i].bytes : 0;
}

/* ---- data ---- */

static mlxn_status check_names(mlxn_gguf_writer *writer, mlxn_error *error) {
    uint64_t n = writer->n_tensors;
    mlxn_string *names = mlxn_alloc_array((size_t)n, sizeof *names);
    for (uint64_t i = 0; names && i < n; i++)
        names[i] = (mlxn_string){writer->tensors[i].name, strlen(writer->tensors[i].name)};
    bool good = names && mlxn_gg_index_build(&writer->names, names, n, sizeof *names);
    mlxn_free(names);
    if (!good) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for its names", writer->file.path);
    uint32_t first, second;
    if (!mlxn_gg_index_duplicate(&writer->names, &first, &second)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensors %u and %u have one name, %s", writer->file.path, first,
                     second, mlxn_gg_quote_text(writer->tensors[first].name).s);
}

static mlxn_status begin(mlxn_gguf_writer *writer, mlxn_error *error) {
    mlxn_status status = check_names(writer, error);
    if (status) return status;
    mlxn_bytes head = {0};
    mlxn_bytes_text(&head, "GGUF");
    mlxn_bytes_int(&head, 3, 4);
    mlxn_bytes_int(&head, writer->n_tensors, 8);
    mlxn_bytes_int(&head, writer->n_keys, 8);
    for (uint64_t i = 0; i < writer->n_keys; i++) {
        const key *k = &writer->keys[i];
        add_string(&head, (mlxn_string){k->name, strlen(k->name)});
        mlxn_bytes_add(&head, k->value.data, k->value.size);
    }
    for (uint64_t i = 0; i < writer->n_tensors; i++) {
        const tensor *t = &writer->tensors[i];
        add_string(&head, (mlxn_string){t->name, strlen(t->name)});
        mlxn_bytes_int(&head, t->rank, 4);
        for (uint32_t d = t->rank; d-- > 0;) mlxn_bytes_int(&head, t->dims[d], 8);
        mlxn_bytes_int(&head, t->type, 4);
        mlxn_bytes_int(&head, t->offset, 8);
    }
    if (head.failed)
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for its header", writer->file.path);
    if (!status) status = mlxn_out_write(&writer->file, head.data, head.size, error);
    if (!status) status = mlxn_out_pad(&writer->file, MLXN_GG_DEFAULT_ALIGNMENT, error);
    mlxn_bytes_free(&head);
    writer->begun = true;
    writer->left = mlxn_gguf_writer_tensor_bytes(writer, 0);
    return status;
}

mlxn_status mlxn_gguf_writer_write(mlxn_gguf_writer *writer, const void *data, uint64_t bytes, mlxn_error *error) {
    if (!writer) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "GGUF writer: writer is NULL");
    if (writer->broken) return mlxn_fail(error, MLXN_ERR_STATE, "%s: writing it failed before", writer->file.path);
    mlxn_status status = writer->begun ? MLXN_OK : begin(writer, error);
    if (!status && bytes > writer->left) {
        bool past = writer->current >= writer->n_tensors;
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: %s bytes for %s, which takes %s more", writer->file.path,
                         mlxn_gg_number(bytes).s,
                         past ? "no tensor" : mlxn_gg_quote_text(writer->tensors[writer->current].name).s,
                         mlxn_gg_number(writer->left).s);
    }
    if (!status) status = mlxn_out_write(&writer->file, data, bytes, error);
    if (!status && (writer->left -= bytes) == 0 && writer->current < writer->n_tensors) {
        writer->left = mlxn_gguf_writer_tensor_bytes(writer, ++writer->current);
        status = mlxn_out_pad(&writer->file, MLXN_GG_DEFAULT_ALIGNMENT, error);
    }
    writer->broken = status != MLXN_OK;
    return status;
}

mlxn_status mlxn_gguf_writer_finish(mlxn_gguf_writer **handle, mlxn_error *error) {
    if (!handle || !*handle) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "GGUF writer: writer is NULL");
    mlxn_gguf_writer *writer = *handle;
    *handle = NULL;
    mlxn_status status = MLXN_OK;
    if (!writer->begun) status = begin(writer, error);
    if (!status && (writer->broken || writer->current < writer->n_tensors))
        status =
            mlxn_fail(error, MLXN_ERR_STATE, "%s: data of %s of %s tensors is missing", writer->file.path,
                      mlxn_gg_number(writer->n_tensors - writer->current).s, mlxn_gg_number(writer->n_tensors).s);
    if (!status) status = mlxn_out_sync(&writer->file, error);
    if (!status) status = mlxn_out_name(&writer->file, error);
    mlxn_gguf_writer_destroy(writer);
    return status;
}
