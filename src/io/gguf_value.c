/* gguf_value.c: metadata types and values: sizes, names, conversions that lose nothing, walking arrays. */
#include "io/gguf.h"

static const struct {
    const char *name;
    uint32_t size;
} types[] = {
    [MLXN_GGUF_U8] = {"u8", 1},       [MLXN_GGUF_I8] = {"i8", 1},     [MLXN_GGUF_U16] = {"u16", 2},
    [MLXN_GGUF_I16] = {"i16", 2},     [MLXN_GGUF_U32] = {"u32", 4},   [MLXN_GGUF_I32] = {"i32", 4},
    [MLXN_GGUF_F32] = {"f32", 4},     [MLXN_GGUF_BOOL] = {"bool", 1}, [MLXN_GGUF_STRING] = {"string", 0},
    [MLXN_GGUF_ARRAY] = {"array", 0}, [MLXN_GGUF_U64] = {"u64", 8},   [MLXN_GGUF_I64] = {"i64", 8},
    [MLXN_GGUF_F64] = {"f64", 8},
};
enum { TYPE_COUNT = sizeof types / sizeof types[0] };

uint32_t mlxn_gg_type_size(uint32_t type) { return type < TYPE_COUNT ? types[type].size : 0; }

const char *mlxn_gg_type_name(uint32_t type) { return type < TYPE_COUNT ? types[type].name : "?"; }

mlxn_gguf_value mlxn_gg_scalar(mlxn_gguf_type type, const uint8_t *p) {
    mlxn_gguf_value value = {.type = type};
    uint32_t u32;
    uint64_t u64;
    float f32;
    switch (type) {
        case MLXN_GGUF_U8:
        case MLXN_GGUF_BOOL:
            value.v.u = p[0];
            break;
        case MLXN_GGUF_I8:
            value.v.i = (int8_t)p[0];
            break;
        case MLXN_GGUF_U16:
            value.v.u = (uint16_t)(p[0] | p[1] << 8);
            break;
        case MLXN_GGUF_I16:
            value.v.i = (int16_t)(p[0] | p[1] << 8);
            break;
        case MLXN_GGUF_U32:
            value.v.u = mlxn_gg_u32(p);
            break;
        case MLXN_GGUF_I32:
            value.v.i = (int32_t)mlxn_gg_u32(p);
            break;
        case MLXN_GGUF_U64:
            value.v.u = mlxn_gg_u64(p);
            break;
        case MLXN_GGUF_I64:
            value.v.i = (int64_t)mlxn_gg_u64(p);
            break;
        case MLXN_GGUF_F32:
            u32 = mlxn_gg_u32(p);
            memcpy(&f32, &u32, 4);
            value.v.f = f32;
            break;
        case MLXN_GGUF_F64:
            u64 = mlxn_gg_u64(p);
            memcpy(&value.v.f, &u64, 8);
            break;
        case MLXN_GGUF_STRING:
        case MLXN_GGUF_ARRAY:
            break;
    }
    return value;
}

/* The integer types, bool included, as sign and magnitude; false for other types. */
static bool as_integer(const mlxn_gguf_value *value, bool *negative, uint64_t *magnitude) {
    switch (value->type) {
        case MLXN_GGUF_U8:
        case MLXN_GGUF_U16:
        case MLXN_GGUF_U32:
        case MLXN_GGUF_U64:
        case MLXN_GGUF_BOOL:
            *negative = false;
            *magnitude = value->v.u;
            return true;
        case MLXN_GGUF_I8:
        case MLXN_GGUF_I16:
        case MLXN_GGUF_I32:
        case MLXN_GGUF_I64:
            *negative = value->v.i < 0;
            *magnitude = *negative ? 0 - (uint64_t)value->v.i : (uint64_t)value->v.i;
            return true;
        default:
            return false;
    }
}

static bool to_u64(const mlxn_gguf_value *value, uint64_t *out) {
    bool negative;
    uint64_t magnitude;
    if (!as_integer(value, &negative, &magnitude) || negative) return false;
    *out = magnitude;
    return true;
}

static bool to_i64(const mlxn_gguf_value *value, int64_t *out) {
    bool negative;
    uint64_t magnitude;
    if (!as_integer(value, &negative, &magnitude)) return false;
    if (!negative && magnitude > (uint64_t)INT64_MAX) return false;
    *out = negative ? value->v.i : (int64_t)magnitude;
    return true;
}

static bool to_f64(const mlxn_gguf_value *value, double *out) {
    if (value->type == MLXN_GGUF_F32 || value->type == MLXN_GGUF_F64) {
        *out = value->v.f;
        return true;
    }
    bool negative;
    uint64_t magnitude;
    if (!as_integer(value, &negative, &magnitude) || magnitude > (uint64_t)1 << 53) return false;
    *out = negative ? -(double)magnitude : (double)magnitude;
    return true;
}

static const mlxn_gg_part *key_part(const mlxn_gguf *file) { return &file->parts[0]; }

static const mlxn_gg_key *find_key(const mlxn_gg_part *part, const char *key) {
    uint32_t position;
    return mlxn_gg_index_find(&part->key_index, key, strlen(key), &position) ? &part->keys[position] : NULL;
}

static mlxn_status key_mismatch(const mlxn_gg_part *part, const mlxn_gg_key *key, const char *want,
                                mlxn_error *error) {
    mlxn_gg_reader subject = {.file = part->name, .kind = "key", .name = key->name, .error = error};
    const mlxn_gguf_value *value = &key->value;
    bool negative;
    uint64_t magnitude;
    if (as_integer(value, &negative, &magnitude))
        return mlxn_gg_fail(&subject, key->at, "is %s%s (%s), want %s", negative ? "-" : "",
                            mlxn_gg_number(magnitude).s, mlxn_gg_type_name(value->type), want);
    if (value->type == MLXN_GGUF_F32 || value->type == MLXN_GGUF_F64)
        return mlxn_gg_fail(&subject, key->at, "is %g (%s), want %s", value->v.f, mlxn_gg_type_name(value->type),
                            want);
    if (value->type == MLXN_GGUF_STRING)
        return mlxn_gg_fail(&subject, key->at, "is the string %s, want %s", mlxn_gg_quote(value->v.s).s, want);
    return mlxn_gg_fail(&subject, key->at, "is an array of %s, want %s", mlxn_gg_type_name(value->v.array.element),
                        want);
}

mlxn_status mlxn_gg_part_u64(const mlxn_gg_part *part, const char *key, bool *present, uint64_t *out,
                             mlxn_error *error) {
    const mlxn_gg_key *found = find_key(part, key);
    *present = found != NULL;
    if (!found || to_u64(&found->value, out)) return MLXN_OK;
    return key_mismatch(part, found, "an unsigned integer", error);
}

uint64_t mlxn_gguf_key_count(const mlxn_gguf *file) { return key_part(file)->key_count; }

mlxn_string mlxn_gguf_key(const mlxn_gguf *file, uint64_t i) {
    return i < mlxn_gguf_key_count(file) ? key_part(file)->keys[i].name : (mlxn_string){"", 0};
}

mlxn_gguf_value mlxn_gguf_value_at(const mlxn_gguf *file, uint64_t i) {
    if (i < mlxn_gguf_key_count(file)) return key_part(file)->keys[i].value;
    return (mlxn_gguf_value){.type = MLXN_GGUF_STRING, .v.s = {"", 0}};
}

bool mlxn_gguf_find(const mlxn_gguf *file, const char *key, mlxn_gguf_value *out) {
    const mlxn_gg_key *found = find_key(key_part(file), key);
    if (found) *out = found->value;
    return found != NULL;
}

static mlxn_status require_key(const mlxn_gguf *file, const char *key, const mlxn_gg_key **out, mlxn_error *error) {
    *out = find_key(key_part(file), key);
    if (*out) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: has no key %s", key_part(file)->name, mlxn_gg_quote_text(key).s);
}

mlxn_status mlxn_gguf_get_u64(const mlxn_gguf *file, const char *key, uint64_t *out, mlxn_error *error) {
    const mlxn_gg_key *found;
    mlxn_status status = require_key(file, key, &found, error);
    if (status) return status;
    if (!to_u64(&found->value, out)) return key_mismatch(key_part(file), found, "an unsigned integer", error);
    return mlxn_succeed(error);
}

mlxn_status mlxn_gguf_get_f64(const mlxn_gguf *file, const char *key, double *out, mlxn_error *error) {
    const mlxn_gg_key *found;
    mlxn_status status = require_key(file, key, &found, error);
    if (status) return status;
    if (!to_f64(&found->value, out))
        return key_mismatch(key_part(file), found, "a number that a double holds", error);
    return mlxn_succeed(error);
}

mlxn_status mlxn_gguf_get_bool(const mlxn_gguf *file, const char *key, bool *out, mlxn_error *error) {
    const mlxn_gg_key *found;
    uint64_t value;
    mlxn_status status = require_key(file, key, &found, error);
    if (status) return status;
    if (!to_u64(&found->value, &value) || value > 1)
        return key_mismatch(key_part(file), found, "a bool, or 0 or 1", error);
    *out = value == 1;
    return mlxn_succeed(error);
}

mlxn_status mlxn_gguf_get_string(const mlxn_gguf *file, const char *key, mlxn_string *out, mlxn_error *error) {
    const mlxn_gg_key *found;
    mlxn_status status = require_key(file, key, &found, error);
    if (status) return status;
    if (found->value.type != MLXN_GGUF_STRING) return key_mismatch(key_part(file), found, "a string", error);
    *out = found->value.v.s;
    return mlxn_succeed(error);
}

/* The cursor is a byte offset into the elements. Open has checked the lengths; they are checked again because the
 * value is the caller's copy. */
bool mlxn_gguf_next_string(const mlxn_gguf_value *array, uint64_t *cursor, mlxn_string *out) {
    if (array->type != MLXN_GGUF_ARRAY || array->v.array.element != MLXN_GGUF_STRING) return false;
    uint64_t bytes = array->v.array.bytes, at = *cursor;
    if (at > bytes || bytes - at < 8) return false;
    uint64_t length = mlxn_gg_u64(array->v.array.data + at);
    if (length > bytes - at - 8) return false;
    out->data = (const char *)array->v.array.data + at + 8;
    out->size = length;
    *cursor = at + 8 + length;
    return true;
}

/* Bytes that one array's elements take inside `left` bytes at `data`; false if they do not fit. */
static bool array_extent(uint32_t element, uint64_t count, const uint8_t *data, uint64_t left, int depth,
                         uint64_t *bytes) {
    uint32_t size = mlxn_gg_type_size(element);
    if (size) {
        *bytes = count * size;
        return count <= left / size;
    }
    if ((element != MLXN_GGUF_STRING && element != MLXN_GGUF_ARRAY) || depth > MLXN_GG_MAX_DEPTH) return false;
    uint64_t at = 0, header = element == MLXN_GGUF_STRING ? 8 : 12;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t inner;
        if (left - at < header) return false;
        if (element == MLXN_GGUF_STRING) {
            inner = mlxn_gg_u64(data + at);
            if (inner > left - at - header) return false;
        } else if (!array_extent(mlxn_gg_u32(data + at), mlxn_gg_u64(data + at + 4), data + at + header,
                                 left - at - header, depth + 1, &inner)) {
            return false;
        }
        at += header + inner;
    }
    *bytes = at;
    return true;
}

bool mlxn_gguf_next_array(const mlxn_gguf_value *array, uint64_t *cursor, mlxn_gguf_value *out) {
    if (array->type != MLXN_GGUF_ARRAY || array->v.array.element != MLXN_GGUF_ARRAY) return false;
    uint64_t bytes = array->v.array.bytes, at = *cursor, inner;
    if (at > bytes || bytes - at < 12) return false;
    const uint8_t *p = array->v.array.data + at;
    uint32_t element = mlxn_gg_u32(p);
    uint64_t count = mlxn_gg_u64(p + 4);
    if (!array_extent(element, count, p + 12, bytes - at - 12, 1, &inner)) return false;
    out->type = MLXN_GGUF_ARRAY;
    out->v.array.element = (mlxn_gguf_type)element;
    out->v.array.count = count;
    out->v.array.data = p + 12;
    out->v.array.bytes = inner;
    *cursor = at + 12 + inner;
    return true;
}

static bool array_element(const mlxn_gguf_value *array, uint64_t i, mlxn_gguf_value *out) {
    if (array->type != MLXN_GGUF_ARRAY || i >= array->v.array.count) return false;
    uint32_t size = mlxn_gg_type_size(array->v.array.element);
    if (size == 0 || i >= array->v.array.bytes / size) return false;
    *out = mlxn_gg_scalar(array->v.array.element, array->v.array.data + i * size);
    return true;
}

bool mlxn_gguf_array_f64(const mlxn_gguf_value *array, uint64_t i, double *out) {
    mlxn_gguf_value element;
    return array_element(array, i, &element) && to_f64(&element, out);
}

bool mlxn_gguf_array_i64(const mlxn_gguf_value *array, uint64_t i, int64_t *out) {
    mlxn_gguf_value element;
    return array_element(array, i, &element) && to_i64(&element, out);
}
