/* gguf_load.c: single tensors of a GGUF file as fresh buffers, raw or decoded to F32. Needs the core, like
 * gguf_wrap.c.
 *
 * Decoding goes in pieces through a small host buffer, so that it works on devices without host-visible memory too
 * and needs no second copy of the tensor. */
#include "io/gguf.h"

enum { PIECE_VALUES = 1 << 16 }; /* a multiple of every block */

static mlxn_status find(mlxn_gguf *file, const char *name, mlxn_gguf_tensor *out, mlxn_error *error) {
    if (!mlxn_gguf_find_tensor(file, name, out))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: there is no tensor %s", file->parts[0].name,
                         mlxn_gg_quote_text(name).s);
    if (!out->data)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: tensor %s: type %u (%s) cannot be loaded",
                         file->parts[out->part].name, mlxn_gg_quote(out->name).s, out->type,
                         mlxn_gguf_tensor_type_name(out->type));
    if (out->elements == 0) /* open refuses such a tensor already */
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: tensor %s: is empty, want at least 1 element",
                         file->parts[out->part].name, mlxn_gg_quote(out->name).s);
    return MLXN_OK;
}

/* Ends a load: names the tensor in an error and drops the buffer. */
static mlxn_status finish(mlxn_status status, const mlxn_gguf *file, const mlxn_gguf_tensor *tensor,
                          mlxn_buffer **out, mlxn_error *error) {
    if (!status) return mlxn_succeed(error);
    mlxn_error_prefix(error, "%s: tensor %s", file->parts[tensor->part].name, mlxn_gg_quote(tensor->name).s);
    mlxn_buffer_release(out);
    return status;
}

mlxn_status mlxn_gguf_load_tensor(mlxn_gguf *file, const char *name, mlxn_device *device, mlxn_buffer **out,
                                  mlxn_error *error) {
    mlxn_gguf_tensor tensor;
    *out = NULL;
    mlxn_status status = find(file, name, &tensor, error);
    if (status) return status;
    status = mlxn_buffer_create(device, tensor.bytes, out, error);
    if (!status) status = mlxn_buffer_write(*out, 0, tensor.data, tensor.bytes, error);
    return finish(status, file, &tensor, out, error);
}

mlxn_status mlxn_gguf_load_tensor_into_pool(mlxn_gguf *file, const char *name, mlxn_device *device, mlxn_pool *pool,
                                            mlxn_buffer **out, mlxn_error *error) {
    mlxn_gguf_tensor tensor;
    *out = NULL;
    if (!pool) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: pool is NULL", file->parts[0].name);
    mlxn_status status = mlxn_gguf_load_tensor(file, name, device, out, error);
    if (status || !mlxn_gguf_find_tensor(file, name, &tensor)) return status;
    return finish(mlxn_pool_register_existing(pool, *out, error), file, &tensor, out, error);
}

static float plain_value(uint32_t type, const uint8_t *p) {
    switch (type) {
        case MLXN_GG_I8:
            return (float)(int8_t)p[0];
        case MLXN_GG_I16:
            return (float)(int16_t)(uint16_t)(p[0] | p[1] << 8);
        case MLXN_GG_I32:
            return (float)(int32_t)mlxn_gg_u32(p);
        case MLXN_GG_I64:
            return (float)(int64_t)mlxn_gg_u64(p);
        default: {
            uint64_t bits = mlxn_gg_u64(p);
            double value;
            memcpy(&value, &bits, 8);
            return (float)value;
        }
    }
}

/* `count` values from `src`: whole blocks, which follow one another also from row to row. */
static mlxn_status decode(const mlxn_gguf_tensor *tensor, const uint8_t *src, uint64_t count, float *dst,
                          mlxn_error *error) {
    uint32_t plain = mlxn_gg_plain_bytes(tensor->type);
    if (!plain) return mlxn_dequantize_row((mlxn_format)tensor->type, src, count, dst, error);
    for (uint64_t i = 0; i < count; i++) dst[i] = plain_value(tensor->type, src + i * plain);
    return MLXN_OK;
}

static mlxn_status decode_all(const mlxn_gguf_tensor *tensor, float *piece, mlxn_buffer *out, mlxn_error *error) {
    mlxn_format_info info = {NULL, 1, mlxn_gg_plain_bytes(tensor->type)};
    if (!info.block_bytes && !mlxn_format_get_info((mlxn_format)tensor->type, &info))
        return mlxn_fail(error, MLXN_ERR_INTERNAL, "format %u is not known", tensor->type);
    mlxn_status status = MLXN_OK;
    for (uint64_t at = 0; !status && at < tensor->elements; at += PIECE_VALUES) {
        uint64_t count = mlxn_min_u64(PIECE_VALUES, tensor->elements - at);
        status = decode(tensor, tensor->data + at / info.block_values * info.block_bytes, count, piece, error);
        if (!status) status = mlxn_buffer_write(out, at * sizeof *piece, piece, count * sizeof *piece, error);
    }
    return status;
}

mlxn_status mlxn_gguf_load_tensor_f32(mlxn_gguf *file, const char *name, mlxn_device *device, mlxn_buffer **out,
                                      mlxn_error *error) {
    mlxn_gguf_tensor tensor;
    uint64_t bytes;
    *out = NULL;
    mlxn_status status = find(file, name, &tensor, error);
    if (status) return status;
    float *piece = mlxn_alloc_array((size_t)mlxn_min_u64(PIECE_VALUES, tensor.elements), sizeof *piece);
    if (!piece)
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "no memory to decode it");
    else if (!mlxn_mul_u64(tensor.elements, sizeof *piece, &bytes))
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s elements of F32 pass 2^64 bytes",
                           mlxn_gg_number(tensor.elements).s);
    else
        status = mlxn_buffer_create(device, bytes, out, error);
    if (!status) status = decode_all(&tensor, piece, *out, error);
    mlxn_free(piece);
    return finish(status, file, &tensor, out, error);
}
