/* gguf_walk.h: touches everything that an open GGUF file exposes: each key, each element, each byte of each tensor.
 * Returns a sum over what it read, so that nothing is optimised away. */
#ifndef MLXN_TESTS_GGUF_WALK_H
#define MLXN_TESTS_GGUF_WALK_H

#include <mlxn/io.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t walk_bytes(const void *data, uint64_t size) {
    const uint8_t *p = data;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++) sum = sum * 31 + p[i];
    return sum;
}

static inline uint64_t walk_value(const mlxn_gguf_value *value) {
    uint64_t sum = (uint64_t)value->type, cursor = 0, strings = 0;
    if (value->type == MLXN_GGUF_STRING) return sum + walk_bytes(value->v.s.data, value->v.s.size);
    if (value->type != MLXN_GGUF_ARRAY) return sum + value->v.u;
    sum += walk_bytes(value->v.array.data, value->v.array.bytes);
    mlxn_string text;
    while (mlxn_gguf_next_string(value, &cursor, &text)) {
        sum += walk_bytes(text.data, text.size);
        strings++;
    }
    if (value->v.array.element == MLXN_GGUF_STRING && strings != value->v.array.count) abort();
    mlxn_gguf_value inner;
    for (cursor = 0; mlxn_gguf_next_array(value, &cursor, &inner);) sum += walk_value(&inner);
    uint64_t step = value->v.array.count / 64 + 1;
    for (uint64_t i = 0; i < value->v.array.count; i += step) {
        double f;
        int64_t n;
        if (mlxn_gguf_array_f64(value, i, &f)) sum += f > 0;
        if (mlxn_gguf_array_i64(value, i, &n)) sum += (uint64_t)n;
    }
    return sum;
}

static inline uint64_t walk_key(const mlxn_gguf *file, mlxn_string key) {
    uint64_t sum = 0, u;
    double f;
    bool b;
    mlxn_string s;
    mlxn_error error;
    char *name = malloc((size_t)key.size + 1); /* names with a zero inside are looked up by their first part */
    if (!name) return 0;
    if (key.size) memcpy(name, key.data, (size_t)key.size);
    name[key.size] = 0;
    if (!mlxn_gguf_get_u64(file, name, &u, &error)) sum += u;
    if (!mlxn_gguf_get_f64(file, name, &f, &error)) sum += f > 0;
    if (!mlxn_gguf_get_bool(file, name, &b, &error)) sum += b;
    if (!mlxn_gguf_get_string(file, name, &s, &error)) sum += walk_bytes(s.data, s.size);
    mlxn_gguf_value value;
    if (strlen(name) == key.size && !mlxn_gguf_find(file, name, &value)) abort(); /* what is listed must be found */
    free(name);
    return sum;
}

static inline uint64_t walk_file(const mlxn_gguf *file) {
    uint64_t sum = mlxn_gguf_version(file) + mlxn_gguf_file_size(file) + mlxn_gguf_part_count(file);
    for (uint64_t i = 0; i < mlxn_gguf_key_count(file); i++) {
        mlxn_gguf_value value = mlxn_gguf_value_at(file, i);
        sum += walk_key(file, mlxn_gguf_key(file, i)) + walk_value(&value);
    }
    mlxn_gguf_tensor tensor;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(file, i, &tensor); i++) {
        uint64_t product = 1;
        for (uint32_t d = 0; d < tensor.rank; d++) product *= tensor.dims[d];
        if (tensor.rank < 1 || tensor.rank > 4 || product != tensor.elements) abort();
        if ((tensor.bytes != 0) != (tensor.data != NULL) || (tensor.known && tensor.bytes == 0)) abort();
        sum += walk_bytes(tensor.name.data, tensor.name.size) + walk_bytes(tensor.data, tensor.bytes);
        sum += strlen(mlxn_gguf_tensor_type_name(tensor.type));
    }
    return sum;
}

#endif
