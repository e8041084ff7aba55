/* gguf_parse.c: the header and the keys of one GGUF file. Nothing that the file says is believed: every count is
 * compared with the bytes that are left before anything is allocated or walked. */
#include "io/gguf.h"

enum { HEADER_BYTES = 24, MIN_KEY_BYTES = 13, MIN_TENSOR_BYTES = 24, STRING_HEADER = 8, ARRAY_HEADER = 12 };

static uint64_t left(const mlxn_gg_reader *reader) { return reader->size - reader->at; }

static mlxn_status take(mlxn_gg_reader *reader, const char *what, uint64_t bytes, const uint8_t **out) {
    if (bytes > left(reader))
        return mlxn_gg_fail(reader, reader->at, "%s needs %s bytes, %s left in the file", what,
                            mlxn_gg_number(bytes).s, mlxn_gg_number(left(reader)).s);
    *out = reader->data + reader->at;
    reader->at += bytes;
    return MLXN_OK;
}

mlxn_status mlxn_gg_read_u32(mlxn_gg_reader *reader, const char *what, uint32_t *out) {
    const uint8_t *p = NULL;
    mlxn_status status = take(reader, what, 4, &p);
    if (!status) *out = mlxn_gg_u32(p);
    return status;
}

mlxn_status mlxn_gg_read_u64(mlxn_gg_reader *reader, const char *what, uint64_t *out) {
    const uint8_t *p = NULL;
    mlxn_status status = take(reader, what, 8, &p);
    if (!status) *out = mlxn_gg_u64(p);
    return status;
}

static mlxn_status read_string(mlxn_gg_reader *reader, const char *what, mlxn_string *out) {
    uint64_t at = reader->at, length;
    const uint8_t *p = NULL;
    mlxn_status status = mlxn_gg_read_u64(reader, what, &length);
    if (status) return status;
    if (length > left(reader))
        return mlxn_gg_fail(reader, at, "%s is a string of %s bytes, %s left in the file", what,
                            mlxn_gg_number(length).s, mlxn_gg_number(left(reader)).s);
    status = take(reader, what, length, &p);
    if (status) return status;
    out->data = (const char *)p;
    out->size = length;
    return MLXN_OK;
}

mlxn_status mlxn_gg_read_name(mlxn_gg_reader *reader) {
    uint64_t at = reader->at;
    mlxn_string name;
    mlxn_status status = read_string(reader, "name", &name);
    if (status) return status;
    reader->name = name;
    if (name.size > MLXN_GG_MAX_NAME)
        return mlxn_gg_fail(reader, at, "name has %s bytes, want at most %s", mlxn_gg_number(name.size).s,
                            mlxn_gg_number(MLXN_GG_MAX_NAME).s);
    return MLXN_OK;
}

static mlxn_status check_bools(mlxn_gg_reader *reader, const uint8_t *p, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        if (p[i] > 1) return mlxn_gg_fail(reader, (uint64_t)(p + i - reader->data), "bool is %u, want 0 or 1", p[i]);
    return MLXN_OK;
}

/* Walks one array, its header included. Recursion ends at MLXN_GG_MAX_DEPTH. */
static mlxn_status read_array(mlxn_gg_reader *reader, int depth, mlxn_gguf_value *out) {
    uint64_t at = reader->at, count;
    uint32_t element;
    if (depth > MLXN_GG_MAX_DEPTH)
        return mlxn_gg_fail(reader, at, "arrays are nested more than %d deep", MLXN_GG_MAX_DEPTH);
    mlxn_status status = mlxn_gg_read_u32(reader, "array element type", &element);
    if (!status) status = mlxn_gg_read_u64(reader, "array count", &count);
    if (status) return status;
    if (element > MLXN_GGUF_F64)
        return mlxn_gg_fail(reader, at, "array element type is %s, want 0 to %d", mlxn_gg_number(element).s,
                            MLXN_GGUF_F64);
    uint32_t size = mlxn_gg_type_size(element);
    uint64_t begin = reader->at;
    uint32_t least = size ? size : element == MLXN_GGUF_STRING ? STRING_HEADER : ARRAY_HEADER;
    if (count > left(reader) / least)
        return mlxn_gg_fail(reader, at, "array of %s elements (%s) needs at least %u bytes each, %s left in the file",
                            mlxn_gg_number(count).s, mlxn_gg_type_name(element), least,
                            mlxn_gg_number(left(reader)).s);
    if (size) {
        reader->at += count * size;
        if (element == MLXN_GGUF_BOOL) status = check_bools(reader, reader->data + begin, count);
    }
    for (uint64_t i = 0; !size && !status && i < count; i++) {
        mlxn_gguf_value inner;
        mlxn_string text;
        status = element == MLXN_GGUF_STRING ? read_string(reader, "array element", &text)
                                             : read_array(reader, depth + 1, &inner);
    }
    out->type = MLXN_GGUF_ARRAY;
    out->v.array.element = (mlxn_gguf_type)element;
    out->v.array.count = count;
    out->v.array.data = reader->data + begin;
    out->v.array.bytes = reader->at - begin;
    return status;
}

static mlxn_status read_value(mlxn_gg_reader *reader, mlxn_gguf_value *out) {
    uint64_t at = reader->at;
    uint32_t type;
    const uint8_t *p = NULL;
    mlxn_status status = mlxn_gg_read_u32(reader, "value type", &type);
    if (status) return status;
    if (type == MLXN_GGUF_ARRAY) return read_array(reader, 1, out);
    if (type == MLXN_GGUF_STRING) {
        out->type = MLXN_GGUF_STRING;
        return read_string(reader, "value", &out->v.s);
    }
    uint32_t size = mlxn_gg_type_size(type);
    if (!size)
        return mlxn_gg_fail(reader, at, "value type is %s, want 0 to %d", mlxn_gg_number(type).s, MLXN_GGUF_F64);
    status = take(reader, "value", size, &p);
    if (status) return status;
    if (type == MLXN_GGUF_BOOL) status = check_bools(reader, p, 1);
    if (!status) *out = mlxn_gg_scalar((mlxn_gguf_type)type, p);
    return status;
}

static mlxn_status out_of_memory(mlxn_gg_reader *reader, const char *what, uint64_t count) {
    return mlxn_fail(reader->error, MLXN_ERR_MEMORY, "%s: no memory for %s %s", reader->file, mlxn_gg_number(count).s,
                     what);
}

static mlxn_status read_keys(mlxn_gg_reader *reader, mlxn_gg_part *part, uint64_t count) {
    part->keys = mlxn_alloc_array((size_t)count, sizeof *part->keys);
    if (!part->keys) return out_of_memory(reader, "keys", count);
    reader->kind = "key";
    reader->numbered = true;
    for (uint64_t i = 0; i < count; i++) {
        mlxn_gg_key *key = &part->keys[i];
        reader->index = i;
        reader->name = (mlxn_string){NULL, 0};
        key->at = reader->at;
        mlxn_status status = mlxn_gg_read_name(reader);
        if (!status) status = read_value(reader, &key->value);
        if (status) return status;
        key->name = reader->name;
        part->key_count = i + 1;
    }
    if (!mlxn_gg_index_build(&part->key_index, part->keys, count, sizeof *part->keys))
        return out_of_memory(reader, "key names", count);
    uint32_t first, second;
    if (mlxn_gg_index_duplicate(&part->key_index, &first, &second)) {
        reader->index = second;
        reader->name = part->keys[second].name;
        return mlxn_gg_fail(reader, part->keys[second].at, "has the name of key %s at byte %s",
                            mlxn_gg_number(first).s, mlxn_gg_number(part->keys[first].at).s);
    }
    return MLXN_OK;
}

static mlxn_status read_alignment(mlxn_gg_part *part, uint64_t *out, mlxn_error *error) {
    bool present;
    uint32_t position;
    const char *key = "general.alignment";
    *out = MLXN_GG_DEFAULT_ALIGNMENT;
    mlxn_status status = mlxn_gg_part_u64(part, key, &present, out, error);
    if (status || !present || (*out && !(*out & (*out - 1)))) return status;
    mlxn_gg_index_find(&part->key_index, key, strlen(key), &position);
    mlxn_gg_reader subject = {.file = part->name, .kind = "key", .name = part->keys[position].name, .error = error};
    return mlxn_gg_fail(&subject, part->keys[position].at, "is %s, want a power of two", mlxn_gg_number(*out).s);
}

/* Counts that the file claims, against the limit and against the least that each record takes. */
static mlxn_status check_count(mlxn_gg_reader *reader, uint64_t at, const char *what, uint64_t count,
                               uint32_t least) {
    if (count > MLXN_GG_MAX_RECORDS)
        return mlxn_gg_fail(reader, at, "%s count is %s, want at most %s", what, mlxn_gg_number(count).s,
                            mlxn_gg_number(MLXN_GG_MAX_RECORDS).s);
    if (count > left(reader) / least)
        return mlxn_gg_fail(reader, at, "%s count is %s, but the %s bytes left hold at most %s", what,
                            mlxn_gg_number(count).s, mlxn_gg_number(left(reader)).s,
                            mlxn_gg_number(left(reader) / least).s);
    return MLXN_OK;
}

static mlxn_status check_version(mlxn_gg_reader *reader, uint32_t version) {
    if (version == 2 || version == 3) return MLXN_OK;
    if (version == 2u << 24 || version == 3u << 24)
        return mlxn_gg_fail(reader, 4, "version %u in big-endian order; want a little-endian file", version >> 24);
    return mlxn_gg_fail(reader, 4, "version is %s, want 2 or 3", mlxn_gg_number(version).s);
}

mlxn_status mlxn_gg_parse(mlxn_gg_part *part, uint32_t part_number, mlxn_error *error) {
    mlxn_gg_reader reader = {
        .data = part->map.data, .size = part->map.size, .file = part->name, .kind = "header", .error = error};
    uint64_t shown = mlxn_min_u64(reader.size, 4);
    if (shown < 4 || memcmp(reader.data, "GGUF", 4))
        return mlxn_gg_fail(&reader, 0, "not a GGUF file: starts with %s, want \"GGUF\"",
                            mlxn_gg_quote((mlxn_string){(const char *)reader.data, shown}).s);
    if (reader.size < HEADER_BYTES)
        return mlxn_gg_fail(&reader, 4, "needs %d bytes, file has %s", HEADER_BYTES, mlxn_gg_number(reader.size).s);
    part->version = mlxn_gg_u32(reader.data + 4);
    mlxn_status status = check_version(&reader, part->version);
    if (status) return status;
    uint64_t tensor_count = mlxn_gg_u64(reader.data + 8), key_count = mlxn_gg_u64(reader.data + 16), alignment;
    reader.at = HEADER_BYTES;
    status = check_count(&reader, 8, "tensor", tensor_count, MIN_TENSOR_BYTES);
    if (!status) status = check_count(&reader, 16, "key", key_count, MIN_KEY_BYTES);
    if (!status) status = read_keys(&reader, part, key_count);
    if (!status) status = read_alignment(part, &alignment, error);
    if (status) return status;
    reader.kind = "header";
    reader.numbered = false;
    reader.name = (mlxn_string){NULL, 0};
    status = check_count(&reader, 8, "tensor", tensor_count, MIN_TENSOR_BYTES);
    if (status) return status;
    part->tensors = mlxn_alloc_array((size_t)tensor_count, sizeof *part->tensors);
    if (!part->tensors) return out_of_memory(&reader, "tensors", tensor_count);
    part->tensor_count = tensor_count;
    return mlxn_gg_parse_tensors(&reader, part, part_number, alignment);
}
