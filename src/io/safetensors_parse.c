/* safetensors_parse.c: the header of one safetensors file. After this every tensor's bytes are inside the file, as
 * many as its shape and dtype say, shared with no other tensor, and no byte of the data section belongs to none. */
#include "io/safetensors.h"

#include <stdio.h>

static const struct {
    const char *name;
    uint32_t bits;
    int dtype; /* mlxn_dtype, -1 if it has none */
} dtypes[MLXN_ST_DTYPE_COUNT] = {
    [MLXN_ST_UNKNOWN] = {"?", 0, -1},
    [MLXN_ST_BOOL] = {"BOOL", 8, -1},
    [MLXN_ST_F4] = {"F4", 4, -1},
    [MLXN_ST_F6_E2M3] = {"F6_E2M3", 6, -1},
    [MLXN_ST_F6_E3M2] = {"F6_E3M2", 6, -1},
    [MLXN_ST_U8] = {"U8", 8, MLXN_U8},
    [MLXN_ST_I8] = {"I8", 8, -1},
    [MLXN_ST_F8_E5M2] = {"F8_E5M2", 8, -1},
    [MLXN_ST_F8_E4M3] = {"F8_E4M3", 8, -1},
    [MLXN_ST_F8_E8M0] = {"F8_E8M0", 8, -1},
    [MLXN_ST_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8, -1},
    [MLXN_ST_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8, -1},
    [MLXN_ST_I16] = {"I16", 16, -1},
    [MLXN_ST_U16] = {"U16", 16, MLXN_U16},
    [MLXN_ST_F16] = {"F16", 16, MLXN_F16},
    [MLXN_ST_BF16] = {"BF16", 16, MLXN_BF16},
    [MLXN_ST_I32] = {"I32", 32, MLXN_I32},
    [MLXN_ST_U32] = {"U32", 32, MLXN_U32},
    [MLXN_ST_F32] = {"F32", 32, MLXN_F32},
    [MLXN_ST_C64] = {"C64", 64, -1},
    [MLXN_ST_F64] = {"F64", 64, -1},
    [MLXN_ST_I64] = {"I64", 64, -1},
    [MLXN_ST_U64] = {"U64", 64, -1},
};

const char *mlxn_st_dtype_name(mlxn_st_dtype dtype) {
    return (unsigned)dtype < MLXN_ST_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

uint32_t mlxn_st_dtype_bits(mlxn_st_dtype dtype) {
    return (unsigned)dtype < MLXN_ST_DTYPE_COUNT ? dtypes[dtype].bits : 0;
}

bool mlxn_st_dtype_to_dtype(mlxn_st_dtype dtype, mlxn_dtype *out) {
    if ((unsigned)dtype >= MLXN_ST_DTYPE_COUNT || dtypes[dtype].dtype < 0) return false;
    *out = (mlxn_dtype)dtypes[dtype].dtype;
    return true;
}

mlxn_st_dtype mlxn_st_dtype_parse(mlxn_string name) {
    for (int i = MLXN_ST_UNKNOWN + 1; i < MLXN_ST_DTYPE_COUNT; i++)
        if (mlxn_js_is(name, dtypes[i].name)) return (mlxn_st_dtype)i;
    return MLXN_ST_UNKNOWN;
}

bool mlxn_st_grow(void **array, uint64_t count, uint64_t *room, size_t size) {
    if (count < *room) return true;
    uint64_t larger = *room ? *room * 2 : 64; /* no overflow: bounded by the bytes of a text */
    void *grown = mlxn_realloc_array(*array, (size_t)larger, size);
    if (!grown) return false;
    *array = grown;
    *room = larger;
    return true;
}

static mlxn_status no_memory(const mlxn_st_shard *shard, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory to open it", shard->name);
}

static mlxn_status fail_at(const mlxn_js *js, const mlxn_st_record *record, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static mlxn_status fail_at(const mlxn_js *js, const mlxn_st_record *record, const char *format, ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    return mlxn_js_fail(js, record->at, "tensor %s: %s", mlxn_gg_quote(record->name).s, text);
}

static mlxn_status read_shape(mlxn_js *js, mlxn_st_shard *shard, mlxn_st_record *record) {
    bool first = true, more;
    record->dims_at = shard->dim_count;
    record->elements = 1;
    bool zero = false;
    mlxn_status status = mlxn_js_enter(js, '[');
    while (!status) {
        uint64_t dim;
        status = mlxn_js_next(js, ']', &first, &more);
        if (status || !more) break;
        if ((status = mlxn_js_uint(js, "a number in shape", &dim))) break;
        if (!mlxn_st_grow((void **)&shard->dims, shard->dim_count, &shard->dim_room, sizeof *shard->dims))
            return no_memory(shard, js->error);
        shard->dims[shard->dim_count++] = dim;
        /* A zero makes the product zero, but the other numbers must still multiply without overflow. */
        zero |= dim == 0;
        if (dim && !mlxn_mul_u64(record->elements, dim, &record->elements))
            return fail_at(js, record, "shape[%s] is %s, which takes the number of elements past 2^64",
                           mlxn_gg_number(shard->dim_count - record->dims_at - 1).s, mlxn_gg_number(dim).s);
    }
    record->rank = (uint32_t)(shard->dim_count - record->dims_at);
    if (zero) record->elements = 0;
    return status;
}

static mlxn_status read_offsets(mlxn_js *js, mlxn_st_record *record) {
    uint64_t offsets[2] = {0, 0};
    bool first = true, more;
    uint32_t count = 0;
    mlxn_status status = mlxn_js_enter(js, '[');
    while (!status) {
        status = mlxn_js_next(js, ']', &first, &more);
        if (status || !more) break;
        if (count == 2) return fail_at(js, record, "data_offsets has more than 2 numbers");
        status = mlxn_js_uint(js, "a number in data_offsets", &offsets[count++]);
    }
    if (!status && count != 2) return fail_at(js, record, "data_offsets has %u numbers, want 2", count);
    record->begin = offsets[0];
    record->end = offsets[1];
    return status;
}

/* The range against the shape and the file. */
static mlxn_status check_range(const mlxn_js *js, const mlxn_st_shard *shard, const mlxn_st_record *record) {
    uint64_t section = shard->map.size - shard->data_begin, bits;
    if (record->begin > record->end)
        return fail_at(js, record, "data_offsets is [%s, %s]: the end is before the begin",
                       mlxn_gg_number(record->begin).s, mlxn_gg_number(record->end).s);
    if (record->end > section)
        return fail_at(js, record, "data ends at %s, the data section at %s", mlxn_gg_number(record->end).s,
                       mlxn_gg_number(section).s);
    if (record->dtype == MLXN_ST_UNKNOWN) return MLXN_OK;
    if (!mlxn_mul_u64(record->elements, mlxn_st_dtype_bits(record->dtype), &bits))
        return fail_at(js, record, "%s elements of %s pass 2^64 bits", mlxn_gg_number(record->elements).s,
                       record->dtype_name);
    if (bits % 8)
        return fail_at(js, record, "%s elements of %s are no whole number of bytes",
                       mlxn_gg_number(record->elements).s, record->dtype_name);
    if (bits / 8 != record->end - record->begin)
        return fail_at(js, record, "data_offsets hold %s bytes, want %s for %s elements of %s",
                       mlxn_gg_number(record->end - record->begin).s, mlxn_gg_number(bits / 8).s,
                       mlxn_gg_number(record->elements).s, record->dtype_name);
    return MLXN_OK;
}

static mlxn_status read_record(mlxn_js *js, mlxn_st_shard *shard, mlxn_string name) {
    enum { DTYPE, SHAPE, OFFSETS, FIELDS };
    static const char *const fields[FIELDS] = {"dtype", "shape", "data_offsets"};
    bool have[FIELDS] = {false}, first = true, more;
    mlxn_string word;
    mlxn_st_record record = {.name = name, .at = js->at};
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        status = mlxn_js_member(js, &first, &word, &more);
        if (status || !more) break;
        int field = 0;
        while (field < FIELDS && !mlxn_js_is(word, fields[field])) field++;
        if (field == FIELDS) { /* a field of a later version of the format */
            status = mlxn_js_skip(js);
            continue;
        }
        if (have[field]) return fail_at(js, &record, "%s is given twice", fields[field]);
        have[field] = true;
        if (field == SHAPE)
            status = read_shape(js, shard, &record);
        else if (field == OFFSETS)
            status = read_offsets(js, &record);
        else if (!(status = mlxn_js_string(js, &word)))
            record.dtype_name = word.data, record.dtype = mlxn_st_dtype_parse(word);
    }
    if (status) return status;
    for (int i = 0; i < FIELDS; i++)
        if (!have[i]) return fail_at(js, &record, "%s is missing", fields[i]);
    if ((status = check_range(js, shard, &record))) return status;
    if (!mlxn_st_grow((void **)&shard->records, shard->record_count, &shard->record_room, sizeof record))
        return no_memory(shard, js->error);
    shard->records[shard->record_count++] = record;
    return MLXN_OK;
}

static int compare_pairs(const void *left, const void *right) {
    const mlxn_st_pair *a = left, *b = right;
    return mlxn_gg_compare_names(a->name, b->name);
}

static mlxn_status read_metadata(mlxn_js *js, mlxn_st_shard *shard) {
    bool first = true, more;
    uint64_t at = js->at;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        mlxn_st_pair pair;
        status = mlxn_js_member(js, &first, &pair.name, &more);
        if (status || !more) break;
        if (mlxn_js_peek(js) != '"')
            return mlxn_js_fail(js, js->at, "__metadata__: the value of %s is not a string",
                                mlxn_gg_quote(pair.name).s);
        if ((status = mlxn_js_string(js, &pair.value))) break;
        if (!mlxn_st_grow((void **)&shard->metadata, shard->metadata_count, &shard->metadata_room, sizeof pair))
            return no_memory(shard, js->error);
        shard->metadata[shard->metadata_count++] = pair;
    }
    if (status || shard->metadata_count == 0) return status;
    qsort(shard->metadata, (size_t)shard->metadata_count, sizeof *shard->metadata, compare_pairs);
    for (uint64_t i = 1; i < shard->metadata_count; i++)
        if (compare_pairs(&shard->metadata[i - 1], &shard->metadata[i]) == 0)
            return mlxn_js_fail(js, at, "__metadata__: %s is given twice", mlxn_gg_quote(shard->metadata[i].name).s);
    return MLXN_OK;
}

static mlxn_status read_records(mlxn_js *js, mlxn_st_shard *shard) {
    bool first = true, more, metadata = false;
    mlxn_string name;
    mlxn_status status = mlxn_js_enter(js, '{');
    while (!status) {
        status = mlxn_js_member(js, &first, &name, &more);
        if (status || !more) break;
        (void)mlxn_js_peek(js);
        if (!mlxn_js_is(name, "__metadata__")) {
            status = read_record(js, shard, name);
        } else {
            if (metadata) return mlxn_js_fail(js, js->at, "__metadata__ is given twice");
            metadata = true;
            status = read_metadata(js, shard);
        }
    }
    return status ? status : mlxn_js_end(js);
}

/* By where the data lies; empty tensors before what begins at the same byte, then by name: one order for one file. */
static int compare_records(const void *left, const void *right) {
    const mlxn_st_record *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return mlxn_gg_compare_names(a->name, b->name);
}

static mlxn_status check_cover(const mlxn_js *js, mlxn_st_shard *shard) {
    uint64_t section = shard->map.size - shard->data_begin, covered = 0;
    const mlxn_st_record *before = NULL;
    if (shard->record_count)
        qsort(shard->records, (size_t)shard->record_count, sizeof *shard->records, compare_records);
    for (uint64_t i = 0; i < shard->record_count; i++) {
        const mlxn_st_record *record = &shard->records[i];
        if (record->begin < covered && before)
            return fail_at(js, record, "data begins at %s, inside tensor %s, which ends at %s",
                           mlxn_gg_number(record->begin).s, mlxn_gg_quote(before->name).s, mlxn_gg_number(covered).s);
        if (record->begin > covered)
            return fail_at(js, record, "data begins at %s, but what is before it ends at %s: a hole",
                           mlxn_gg_number(record->begin).s, mlxn_gg_number(covered).s);
        covered = record->end;
        before = record;
    }
    if (covered != section)
        return mlxn_fail(js->error, MLXN_ERR_FORMAT, "%s: the tensors end at %s, the data section at %s: a hole",
                         shard->name, mlxn_gg_number(covered).s, mlxn_gg_number(section).s);
    return MLXN_OK;
}

mlxn_status mlxn_st_parse(mlxn_st_shard *shard, mlxn_error *error) {
    const mlxn_mapping *map = &shard->map;
    if (map->size < 8)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: has %s bytes, want 8 for the header's length", shard->name,
                         mlxn_gg_number(map->size).s);
    uint64_t length = 0;
    for (int i = 8; i-- > 0;) length = length << 8 | map->data[i];
    if (length > MLXN_JS_MAX_BYTES)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: the header's length is %s, the format allows %s (byte 0)",
                         shard->name, mlxn_gg_number(length).s, mlxn_gg_number(MLXN_JS_MAX_BYTES).s);
    if (length > map->size - 8)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: the header's length is %s, the file has %s bytes behind it",
                         shard->name, mlxn_gg_number(length).s, mlxn_gg_number(map->size - 8).s);
    if (length == 0 || map->data[8] != '{')
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: the header does not begin with '{' (byte 8)", shard->name);
    shard->data_begin = 8 + length;
    shard->strings = mlxn_alloc((size_t)length);
    if (!shard->strings) return no_memory(shard, error);
    mlxn_js js = {.data = map->data + 8,
                  .size = length,
                  .file = shard->name,
                  .base = 8,
                  .strings = shard->strings,
                  .error = error};
    mlxn_status status = read_records(&js, shard);
    return status ? status : check_cover(&js, shard);
}
