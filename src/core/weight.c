/* weight.c: weight objects: checked, repacked by the backend, immutable. */
#include "core/core.h"

/* What the device's own layout takes; `plain` bytes where it has none. */
static mlxn_status device_bytes(mlxn_device *device, const mlxn_weight_view *raw, uint64_t plain, uint64_t *out,
                                mlxn_error *error) {
    *out = plain;
    return device->backend->weight_bytes ? device->backend->weight_bytes(device->impl, raw, out, error) : MLXN_OK;
}

/* Bytes of the codes of one matrix and, for MLX formats, of scales (and as many of biases) of the whole weight. */
typedef struct source_bytes {
    uint64_t matrix, data, scales;
    bool affine;
} source_bytes;

/* Checks shape and dtype of the scales; fills row_bytes of *raw. */
static mlxn_status plan(mlxn_weight_view *raw, source_bytes *out, mlxn_error *error) {
    uint64_t experts = mlxn_weight_view_experts(raw), rows;
    *out = (source_bytes){0};
    if (!raw->rows || !raw->cols)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "shape is [%llu, %llu], want no zero dimension",
                         (unsigned long long)raw->rows, (unsigned long long)raw->cols);
    mlxn_status status = mlxn_format_row_bytes(raw->format, raw->cols, &raw->row_bytes, error);
    if (status) return status;
    bool fits = mlxn_mul_u64(raw->row_bytes, raw->rows, &out->matrix);
    uint64_t stride = raw->expert_stride ? raw->expert_stride : out->matrix;
    fits = fits && mlxn_mul_u64(stride, experts - 1, &out->data) &&
           mlxn_add_u64(out->data, out->matrix, &out->data) && mlxn_mul_u64(experts, raw->rows, &rows);
    if (fits && stride < out->matrix)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "expert_stride is %llu, want at least the %llu bytes of a matrix",
                         (unsigned long long)stride, (unsigned long long)out->matrix);
    mlxn_group_info groups;
    if (fits && mlxn_format_get_groups(raw->format, &groups)) {
        mlxn_dtype d = raw->scale_dtype;
        out->affine = groups.mode == MLXN_QUANT_AFFINE;
        if (out->affine ? d != MLXN_F32 && d != MLXN_F16 && d != MLXN_BF16 : d != MLXN_U8)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dtype of the scales is %s, want %s",
                             mlxn_format_name(raw->format), mlxn_dtype_name(d),
                             out->affine ? "f32, f16 or bf16" : "u8");
        if (raw->global_scale != 0 && (groups.mode != MLXN_QUANT_NVFP4 || !(raw->global_scale > 0)))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: global_scale is %g, want 0%s",
                             mlxn_format_name(raw->format), (double)raw->global_scale,
                             groups.mode == MLXN_QUANT_NVFP4 ? " or a positive number" : ", it is for nvfp4");
        fits = mlxn_mul_u64(raw->cols / groups.group_size, mlxn_dtype_size(d), &out->scales) &&
               mlxn_mul_u64(out->scales, rows, &out->scales);
    }
    if (fits) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_LIMIT, "%llu x [%llu, %llu] passes 2^64 bytes", (unsigned long long)experts,
                     (unsigned long long)raw->rows, (unsigned long long)raw->cols);
}

mlxn_status mlxn_weight_device_bytes(mlxn_device *device, mlxn_format format, uint64_t rows, uint64_t cols,
                                     uint64_t *out, mlxn_error *error) {
    if (!device || !out)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight bytes: %s is NULL", device ? "out" : "device");
    mlxn_group_info groups;
    mlxn_weight_view raw = {.format = format, .rows = rows, .cols = cols, .scale_dtype = MLXN_BF16};
    if (mlxn_format_get_groups(format, &groups) && groups.mode != MLXN_QUANT_AFFINE) raw.scale_dtype = MLXN_U8;
    source_bytes bytes;
    mlxn_status status = plan(&raw, &bytes, error);
    if (!status) status = device_bytes(device, &raw, mlxn_weight_view_bytes(&raw), out, error);
    if (!status) return mlxn_succeed(error);
    mlxn_error_prefix(error, "weight bytes");
    return status;
}

/* The `bytes` bytes at `offset` of a buffer of the source. Where the host does not see them, *copy becomes a copy. */
static mlxn_status find_source(mlxn_device *device, const char *name, mlxn_buffer *buffer, uint64_t offset,
                               uint64_t bytes, const mlxn_weight_view *raw, const uint8_t **out, void **copy,
                               mlxn_error *error) {
    uint64_t end;
    if (!buffer) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: %s is NULL", name);
    if (buffer->device != device)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: %s belongs to another device", name);
    if (!mlxn_add_u64(offset, bytes, &end) || end > buffer->size) {
        bool data = !strcmp(name, "data");
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "weight: %s%s%s [%llu, %llu] at byte %llu does not fit its buffer of %llu bytes",
                         data ? "" : name, data ? "" : " of ", mlxn_format_name(raw->format),
                         (unsigned long long)raw->rows, (unsigned long long)raw->cols, (unsigned long long)offset,
                         (unsigned long long)buffer->size);
    }
    if (buffer->host) {
        *out = buffer->host + offset;
        return MLXN_OK;
    }
    *out = *copy = mlxn_alloc((size_t)bytes);
    if (!*copy)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "weight: out of memory for the %llu bytes of %s",
                         (unsigned long long)bytes, name);
    return mlxn_buffer_read(buffer, offset, *copy, bytes, error);
}

static mlxn_status find_sources(mlxn_device *device, const mlxn_weight_desc *desc, mlxn_weight_view *raw,
                                void *copies[3], mlxn_error *error) {
    source_bytes bytes;
    *raw = (mlxn_weight_view){.format = desc->format,
                              .rows = desc->rows,
                              .cols = desc->cols,
                              .experts = desc->experts ? desc->experts : 1,
                              .expert_stride = desc->expert_stride,
                              .scale_dtype = desc->scale_dtype,
                              .global_scale = desc->global_scale};
    mlxn_status status = plan(raw, &bytes, error);
    if (status) {
        mlxn_error_prefix(error, "weight");
        return status;
    }
    status = find_source(device, "data", desc->data, desc->offset, bytes.data, raw, &raw->raw, &copies[0], error);
    if (!status && bytes.scales)
        status = find_source(device, "scales", desc->scales, desc->scales_offset, bytes.scales, raw, &raw->scales,
                             &copies[1], error);
    if (!status && bytes.affine)
        status = find_source(device, "biases", desc->biases, desc->biases_offset, bytes.scales, raw, &raw->biases,
                             &copies[2], error);
    if (!status && desc->keep_source && (copies[0] || copies[1] || copies[2]))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "weight: keep_source is set, but a source is not host-visible on the %s device",
                         device->backend->name);
    return status;
}

/* Repacks, and keeps the source if asked. */
static mlxn_status fill(mlxn_weight *weight, mlxn_device *device, const mlxn_weight_desc *desc,
                        const mlxn_weight_view *raw, mlxn_error *error) {
    weight->view = *raw;
    mlxn_status status = device_bytes(device, raw, mlxn_weight_view_bytes(raw), &weight->accounted, error);
    if (!status) status = mlxn_device_account_as(device, MLXN_MEMORY_WEIGHT, weight->accounted, "weight", error);
    if (status) return status;
    mlxn_weight_progress progress = {desc->packed, desc->packed_user};
    status = device->backend->weight_prepare(device->impl, raw, &progress, &weight->view, &weight->storage, error);
    if (status) {
        mlxn_device_unaccount_as(device, MLXN_MEMORY_WEIGHT, weight->accounted);
        return status;
    }
    weight->device = mlxn_device_retain(device);
    weight->view.raw = weight->view.scales = weight->view.biases = NULL;
    if (!desc->keep_source) return MLXN_OK;
    mlxn_buffer *buffers[3] = {desc->data, raw->scales ? desc->scales : NULL, raw->biases ? desc->biases : NULL};
    for (int i = 0; i < 3; i++) weight->source[i] = buffers[i] ? mlxn_buffer_retain(buffers[i]) : NULL;
    weight->view.raw = raw->raw;
    weight->view.scales = raw->scales;
    weight->view.biases = raw->biases;
    return MLXN_OK;
}

mlxn_status mlxn_weight_create(mlxn_device *device, const mlxn_weight_desc *user, mlxn_weight **out,
                               mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: out is NULL");
    *out = NULL;
    if (!device || !user)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: %s is NULL", device ? "desc" : "device");
    mlxn_weight_desc desc = {0};
    if (user->struct_size < offsetof(mlxn_weight_desc, keep_source))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: struct_size is %u, want sizeof(mlxn_weight_desc) = %zu",
                         user->struct_size, sizeof desc);
    memcpy(&desc, user, mlxn_min_u64(user->struct_size, sizeof desc));
    mlxn_weight_view raw;
    void *copies[3] = {NULL};
    mlxn_weight *weight = NULL;
    mlxn_status status = find_sources(device, &desc, &raw, copies, error);
    if (!status) {
        weight = mlxn_alloc(sizeof *weight);
        if (!weight) status = mlxn_fail(error, MLXN_ERR_MEMORY, "weight: out of memory for its record");
    }
    if (!status) {
        atomic_init(&weight->refs, 1);
        status = fill(weight, device, &desc, &raw, error);
    }
    for (int i = 0; i < 3; i++) mlxn_free(copies[i]);
    if (status) {
        mlxn_free(weight);
        return status;
    }
    *out = weight;
    return mlxn_succeed(error);
}

mlxn_weight *mlxn_weight_retain(mlxn_weight *weight) {
    if (weight) atomic_fetch_add_explicit(&weight->refs, 1, memory_order_relaxed);
    return weight;
}

void mlxn_weight_release(mlxn_weight **handle) {
    if (!handle || !*handle) return;
    mlxn_weight *weight = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&weight->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_device *device = weight->device;
    device->backend->weight_destroy(device->impl, weight->storage);
    mlxn_device_unaccount_as(device, MLXN_MEMORY_WEIGHT, weight->accounted);
    for (int i = 0; i < 3; i++) mlxn_buffer_release(&weight->source[i]);
    mlxn_free(weight);
    mlxn_device_release(&device);
}

mlxn_format mlxn_weight_format(const mlxn_weight *weight) { return weight ? weight->view.format : MLXN_FORMAT_F32; }
uint64_t mlxn_weight_rows(const mlxn_weight *weight) { return weight ? weight->view.rows : 0; }
uint64_t mlxn_weight_cols(const mlxn_weight *weight) { return weight ? weight->view.cols : 0; }
uint64_t mlxn_weight_experts(const mlxn_weight *weight) {
    return weight ? mlxn_weight_view_experts(&weight->view) : 0;
}
uint64_t mlxn_weight_bytes(const mlxn_weight *weight) { return weight ? mlxn_weight_view_bytes(&weight->view) : 0; }

mlxn_status mlxn_weight_read_row(const mlxn_weight *weight, uint64_t row, float *dst, mlxn_error *error) {
    if (!weight || !dst)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight read: %s is NULL", weight ? "dst" : "weight");
    uint64_t rows = weight->view.rows * mlxn_weight_view_experts(&weight->view);
    if (row >= rows)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight read: row is %llu, weight has %llu",
                         (unsigned long long)row, (unsigned long long)rows);
    if (!weight->view.read_row)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "weight read: the %s device keeps no weights",
                         weight->device->backend->name);
    weight->view.read_row(&weight->view, row, dst);
    return mlxn_succeed(error);
}
