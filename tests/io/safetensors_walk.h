/* safetensors_walk.h: touches everything that open safetensors files expose. Returns a sum over what it read, so that
 * nothing is optimised away; aborts where the accessors contradict one another. */
#ifndef MLXN_TESTS_SAFETENSORS_WALK_H
#define MLXN_TESTS_SAFETENSORS_WALK_H

#include "io/gguf_walk.h"

static inline uint64_t walk_safetensors(const mlxn_safetensors *file) {
    uint64_t sum = mlxn_safetensors_file_size(file), covered = 0;
    mlxn_safetensors_tensor tensor, found;
    mlxn_string key, value, before = {NULL, 0};
    for (uint64_t i = 0; mlxn_safetensors_tensor_at(file, i, &tensor); i++) {
        uint64_t product = 1;
        for (uint32_t d = 0; d < tensor.rank; d++) product *= tensor.dims[d];
        if (product != tensor.elements) abort();
        if (tensor.dtype && tensor.elements * mlxn_st_dtype_bits(tensor.dtype) != tensor.bytes * 8) abort();
        if (tensor.name.data[tensor.name.size] != 0) abort();
        if (strlen(tensor.name.data) == tensor.name.size &&
            (!mlxn_safetensors_find_tensor(file, tensor.name.data, &found) || found.data != tensor.data))
            abort();
        sum += walk_bytes(tensor.name.data, tensor.name.size) + walk_bytes(tensor.data, tensor.bytes);
        sum += strlen(tensor.dtype_name) + tensor.offset;
        covered += tensor.bytes;
    }
    if (covered > mlxn_safetensors_file_size(file)) abort();
    for (uint64_t i = 0; i < mlxn_safetensors_tensor_count(file); i++) {
        key = mlxn_safetensors_name(file, i);
        if (before.size > key.size && !memcmp(before.data, key.data, key.size))
            abort(); /* a name before its prefix */
        before = key;
        sum += walk_bytes(key.data, key.size);
    }
    for (uint32_t s = 0; s < mlxn_safetensors_shard_count(file); s++) {
        sum += strlen(mlxn_safetensors_shard_name(file, s));
        for (uint64_t i = 0; mlxn_safetensors_metadata_at(file, s, i, &key, &value); i++) {
            sum += walk_bytes(key.data, key.size) + walk_bytes(value.data, value.size);
            if (strlen(key.data) == key.size && !mlxn_safetensors_metadata(file, key.data, &value)) abort();
        }
    }
    return sum;
}

#endif
