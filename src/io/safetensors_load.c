/* safetensors_load.c: tensors of safetensors files as buffers of a device, wrapped or copied. Where this reader meets
 * the core; apart, so that the parser can be linked (and fuzzed) alone. */
#include "io/safetensors.h"

mlxn_status mlxn_safetensors_wrap(mlxn_safetensors *file, uint32_t shard, mlxn_device *device, mlxn_buffer **out,
                                  mlxn_error *error) {
    *out = NULL;
    if (shard >= file->shard_count)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: shard is %u, want below %u", file->shards[0].name, shard,
                         file->shard_count);
    const mlxn_mapping *map = &file->shards[shard].map;
    /* No free callback: the map belongs to the file. It is read-only; a kernel that wrote to it would fault. */
    return mlxn_buffer_wrap(device, (void *)(uintptr_t)map->data, map->size, NULL, NULL, out, error);
}

static mlxn_status check_dtype(const char *file, const mlxn_safetensors_tensor *tensor, mlxn_dtype *out,
                               mlxn_error *error) {
    if (mlxn_st_dtype_to_dtype(tensor->dtype, out)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                     "%s%stensor %s: dtype is %s, want F32, F16, BF16, U8, U16, U32 or I32", file,
                     file[0] ? ": " : "", mlxn_gg_quote(tensor->name).s, mlxn_gg_quote_text(tensor->dtype_name).s);
}

mlxn_status mlxn_st_load(const mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor, mlxn_device *device,
                         mlxn_buffer **out, mlxn_error *error) {
    const char *name = file->shards[tensor->shard].name;
    mlxn_dtype dtype;
    *out = NULL;
    mlxn_status status = check_dtype(name, tensor, &dtype, error);
    if (status) return status;
    if (tensor->bytes == 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensor %s: is empty, want at least 1 element", name,
                         mlxn_gg_quote(tensor->name).s);
    status = mlxn_buffer_create(device, tensor->bytes, out, error);
    if (!status) status = mlxn_buffer_write(*out, 0, tensor->data, tensor->bytes, error);
    if (!status) return MLXN_OK;
    mlxn_error_prefix(error, "%s: tensor %s", name, mlxn_gg_quote(tensor->name).s);
    mlxn_buffer_release(out);
    return status;
}

mlxn_status mlxn_safetensors_load_tensor(mlxn_safetensors *file, const char *name, mlxn_device *device,
                                         mlxn_buffer **out, mlxn_error *error) {
    mlxn_safetensors_tensor tensor;
    *out = NULL;
    if (!mlxn_safetensors_find_tensor(file, name, &tensor))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s%s: there is no tensor %s", file->shards[0].name,
                         file->shard_count > 1 ? " and the other shards" : "", mlxn_gg_quote_text(name).s);
    return mlxn_st_load(file, &tensor, device, out, error);
}

mlxn_status mlxn_safetensors_load_all(mlxn_safetensors *file, mlxn_device *device, mlxn_buffer **buffers,
                                      mlxn_error *error) {
    mlxn_safetensors_tensor tensor;
    mlxn_dtype dtype;
    mlxn_status status = MLXN_OK;
    for (uint64_t i = 0; i < file->record_count; i++) buffers[i] = NULL;
    for (uint64_t i = 0; !status && mlxn_safetensors_tensor_at(file, i, &tensor); i++) {
        if (tensor.bytes)
            status = mlxn_st_load(file, &tensor, device, &buffers[i], error);
        else
            status = check_dtype(file->shards[tensor.shard].name, &tensor, &dtype, error);
    }
    if (!status) return mlxn_succeed(error);
    for (uint64_t i = 0; i < file->record_count; i++) mlxn_buffer_release(&buffers[i]);
    return status;
}

mlxn_status mlxn_safetensors_view(const mlxn_safetensors_tensor *tensor, mlxn_buffer *buffer, uint64_t offset,
                                  mlxn_tensor *out, mlxn_error *error) {
    mlxn_dtype dtype;
    memset(out, 0, sizeof *out);
    mlxn_status status = check_dtype("", tensor, &dtype, error);
    if (status) return status;
    if (tensor->rank > MLXN_MAX_RANK)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "tensor %s: rank is %u, want at most %d",
                         mlxn_gg_quote(tensor->name).s, tensor->rank, MLXN_MAX_RANK);
    if (offset % mlxn_dtype_size(dtype))
        return mlxn_fail(
            error, MLXN_ERR_UNSUPPORTED, "tensor %s: byte offset is %s, want a multiple of %zu (%s); load it instead",
            mlxn_gg_quote(tensor->name).s, mlxn_gg_number(offset).s, mlxn_dtype_size(dtype), mlxn_dtype_name(dtype));
    mlxn_tensor flat = mlxn_tensor_1d(buffer, offset, dtype, tensor->elements);
    if (tensor->rank < 2) {
        *out = flat;
        return mlxn_succeed(error);
    }
    return mlxn_tensor_reshape(&flat, tensor->rank, tensor->dims, out, error);
}
