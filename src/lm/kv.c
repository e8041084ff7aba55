/* kv.c: the key and value caches of a context, one pair of buffers per layer. */
#include "lm/lm_internal.h"

/* Positions that a layer must hold. The rows of a step are stored before any of them attends, so the oldest row still
 * needs window - 1 positions before itself after n_batch - 1 newer ones have been written. */
static uint32_t capacity_of(const mlxn_model *model, const mlxn_lm_layer *layer, uint32_t n_ctx, uint32_t n_batch) {
    if (!layer->sliding || model->shape.window == 0) return n_ctx;
    uint64_t ring = (uint64_t)model->shape.window + n_batch;
    mlxn_align_u64(ring, 64, &ring);
    return (uint32_t)mlxn_min_u64(ring, n_ctx);
}

/* Of the keys of a layer, or of its values. */
static bool half_bytes(const mlxn_lm_shape *s, uint32_t capacity, uint32_t n_sequences, mlxn_dtype dtype,
                       uint64_t *out) {
    uint64_t bytes = mlxn_lm_dim_value(s, MLXN_LM_KV) * mlxn_dtype_size(dtype);
    return mlxn_mul_u64(bytes, capacity, &bytes) && mlxn_mul_u64(bytes, n_sequences, out);
}

mlxn_status mlxn_lm_kv_bytes(const mlxn_model *model, uint32_t n_ctx, uint32_t n_sequences, uint32_t n_batch,
                             mlxn_dtype dtype, uint64_t *out, mlxn_error *error) {
    *out = 0;
    for (uint32_t i = 0; i < model->shape.n_layers; i++) {
        uint64_t half;
        if (!half_bytes(&model->shape, capacity_of(model, &model->layers[i], n_ctx, n_batch), n_sequences, dtype,
                        &half) ||
            !mlxn_add_u64(*out, half, out) || !mlxn_add_u64(*out, half, out)) {
            return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %u sequences of %u tokens do not fit 64 bits",
                             n_sequences, n_ctx);
        }
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_kv_create(const mlxn_model *model, uint32_t n_ctx, uint32_t n_sequences, uint32_t n_batch,
                              mlxn_dtype dtype, mlxn_lm_kv *out, mlxn_error *error) {
    const mlxn_lm_shape *s = &model->shape;
    memset(out, 0, sizeof *out);
    out->n_sequences = n_sequences;
    out->dtype = dtype;
    out->layers = mlxn_alloc_array(s->n_layers, sizeof *out->layers);
    if (!out->layers) return mlxn_fail(error, MLXN_ERR_MEMORY, "context: no memory for %u layers", s->n_layers);
    out->n_layers = s->n_layers;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        mlxn_lm_kv_layer *layer = &out->layers[i];
        layer->capacity = capacity_of(model, &model->layers[i], n_ctx, n_batch);
        uint64_t bytes;
        if (!half_bytes(s, layer->capacity, n_sequences, dtype, &bytes)) {
            return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %u sequences of %u tokens do not fit 64 bits",
                             n_sequences, n_ctx);
        }
        mlxn_status status = mlxn_buffer_create(model->device, bytes, &layer->k, error);
        if (status == MLXN_OK) status = mlxn_buffer_create(model->device, bytes, &layer->v, error);
        if (status != MLXN_OK) {
            mlxn_error_prefix(error, "context: cache of layer %u (%u sequences of %u tokens)", i, n_sequences,
                              layer->capacity);
            return status;
        }
        out->bytes += 2 * bytes;
    }
    return MLXN_OK;
}

void mlxn_lm_kv_destroy(mlxn_lm_kv *kv) {
    for (uint32_t i = 0; i < kv->n_layers; i++) {
        mlxn_buffer_release(&kv->layers[i].k);
        mlxn_buffer_release(&kv->layers[i].v);
    }
    mlxn_free(kv->layers);
    memset(kv, 0, sizeof *kv);
}

mlxn_tensor mlxn_lm_kv_keys(const mlxn_lm_kv *kv, const mlxn_lm_shape *shape, uint32_t layer) {
    const mlxn_lm_kv_layer *l = &kv->layers[layer];
    return mlxn_tensor_4d(l->k, 0, kv->dtype, kv->n_sequences, shape->n_kv_heads, l->capacity, shape->head_dim);
}

mlxn_tensor mlxn_lm_kv_values(const mlxn_lm_kv *kv, const mlxn_lm_shape *shape, uint32_t layer) {
    const mlxn_lm_kv_layer *l = &kv->layers[layer];
    return mlxn_tensor_4d(l->v, 0, kv->dtype, kv->n_sequences, shape->n_kv_heads, l->capacity, shape->head_dim);
}

bool mlxn_lm_kv_holds(const mlxn_lm_kv *kv, const mlxn_model *model, uint32_t length, uint32_t written) {
    if (length == 0) return true;
    for (uint32_t i = 0; i < kv->n_layers; i++) {
        uint32_t window = model->layers[i].sliding ? model->shape.window : 0;
        uint32_t oldest = window > 0 && length >= window ? length - window + 1 : 0;
        if ((uint64_t)oldest + kv->layers[i].capacity < written) return false; /* its slot was used again */
    }
    return true;
}
