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

/* Of the keys of a layer, or of its values, as `what` says. */
static mlxn_status half_bytes(const mlxn_lm_shape *s, const char *what, uint32_t width, uint32_t capacity,
                              uint32_t n_sequences, mlxn_kv_type type, uint64_t *out, mlxn_error *error) {
    uint64_t bytes;
    mlxn_status status = mlxn_kv_row_bytes(type, width, &bytes, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "context: %s", what);
        return status;
    }
    if (mlxn_mul_u64(bytes, s->n_kv_heads, &bytes) && mlxn_mul_u64(bytes, capacity, &bytes) &&
        mlxn_mul_u64(bytes, n_sequences, out)) {
        return MLXN_OK;
    }
    return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %u sequences of %u tokens do not fit 64 bits", n_sequences,
                     capacity);
}

static mlxn_status layer_bytes(const mlxn_lm_shape *s, uint32_t capacity, uint32_t n_sequences, mlxn_kv_type k_type,
                               mlxn_kv_type v_type, uint64_t *k, uint64_t *v, mlxn_error *error) {
    mlxn_status status = half_bytes(s, "keys", s->head_dim, capacity, n_sequences, k_type, k, error);
    return status != MLXN_OK ? status
                             : half_bytes(s, "values", s->v_head_dim, capacity, n_sequences, v_type, v, error);
}

mlxn_status mlxn_lm_kv_bytes(const mlxn_model *model, uint32_t n_ctx, uint32_t n_sequences, uint32_t n_batch,
                             mlxn_kv_type k_type, mlxn_kv_type v_type, uint64_t *out, mlxn_error *error) {
    *out = 0;
    for (uint32_t i = 0; i < model->shape.n_layers; i++) {
        uint32_t capacity = capacity_of(model, &model->layers[i], n_ctx, n_batch);
        uint64_t k = 0, v = 0;
        mlxn_status status = layer_bytes(&model->shape, capacity, n_sequences, k_type, v_type, &k, &v, error);
        if (status != MLXN_OK) return status;
        if (!mlxn_add_u64(*out, k, out) || !mlxn_add_u64(*out, v, out)) {
            return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %u sequences of %u tokens do not fit 64 bits",
                             n_sequences, n_ctx);
        }
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_kv_create(const mlxn_model *model, uint32_t n_ctx, uint32_t n_sequences, uint32_t n_batch,
                              mlxn_kv_type k_type, mlxn_kv_type v_type, mlxn_lm_kv *out, mlxn_error *error) {
    const mlxn_lm_shape *s = &model->shape;
    memset(out, 0, sizeof *out);
    out->n_sequences = n_sequences;
    out->k_type = k_type;
    out->v_type = v_type;
    out->layers = mlxn_alloc_array(s->n_layers, sizeof *out->layers);
    if (!out->layers) return mlxn_fail(error, MLXN_ERR_MEMORY, "context: no memory for %u layers", s->n_layers);
    out->n_layers = s->n_layers;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        mlxn_lm_kv_layer *layer = &out->layers[i];
        layer->capacity = capacity_of(model, &model->layers[i], n_ctx, n_batch);
        uint64_t k = 0, v = 0;
        mlxn_status status = layer_bytes(s, layer->capacity, n_sequences, k_type, v_type, &k, &v, error);
        if (status != MLXN_OK) return status;
        status = mlxn_buffer_create(model->device, k, &layer->k, error);
        if (status == MLXN_OK) status = mlxn_buffer_create(model->device, v, &layer->v, error);
        if (status != MLXN_OK) {
            mlxn_error_prefix(error, "context: cache of layer %u (%u sequences of %u tokens)", i, n_sequences,
                              layer->capacity);
            return status;
        }
        out->bytes += k + v;
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

static mlxn_tensor tensor_of(const mlxn_lm_kv *kv, const mlxn_lm_shape *s, mlxn_buffer *buffer, uint32_t width,
                             uint32_t capacity, mlxn_kv_type type) {
    mlxn_dtype dtype = type == MLXN_KV_F32    ? MLXN_F32
                       : type == MLXN_KV_F16  ? MLXN_F16
                       : type == MLXN_KV_BF16 ? MLXN_BF16
                                              : MLXN_U8;
    uint64_t row = width;
    if (dtype == MLXN_U8) mlxn_kv_row_bytes(type, width, &row, NULL); /* fits: create asked for it */
    return mlxn_tensor_4d(buffer, 0, dtype, kv->n_sequences, s->n_kv_heads, capacity, row);
}

static mlxn_tensor keys_of(const mlxn_lm_forward *f, uint32_t layer) {
    const mlxn_lm_kv_layer *l = &f->kv->layers[layer];
    return tensor_of(f->kv, &f->model->shape, l->k, f->model->shape.head_dim, l->capacity, f->kv->k_type);
}

static mlxn_tensor values_of(const mlxn_lm_forward *f, uint32_t layer) {
    const mlxn_lm_kv_layer *l = &f->kv->layers[layer];
    return tensor_of(f->kv, &f->model->shape, l->v, f->model->shape.v_head_dim, l->capacity, f->kv->v_type);
}

void mlxn_lm_store(const mlxn_lm_forward *f, uint32_t layer) {
    const mlxn_kv_write_params types = {f->kv->k_type, f->kv->v_type};
    uint32_t heads = f->model->shape.n_kv_heads;
    mlxn_kv_write(f->encoder, mlxn_lm_heads(f, f->k, heads), mlxn_lm_value_heads(f, f->v, heads), f->sequences,
                  f->positions, keys_of(f, layer), values_of(f, layer), &types);
}

void mlxn_lm_attend(const mlxn_lm_forward *f, uint32_t layer, const mlxn_attention_params *params) {
    const mlxn_tensor none = {0};
    mlxn_attention_params p = *params;
    p.k_type = f->kv->k_type;
    p.v_type = f->kv->v_type;
    p.window = f->model->layers[layer].sliding ? f->model->shape.window : 0;
    uint32_t heads = f->model->shape.n_heads;
    mlxn_attention(f->encoder, mlxn_lm_heads(f, f->q, heads), keys_of(f, layer), values_of(f, layer), f->sequences,
                   f->positions, f->model->layers[layer].sinks, none, mlxn_lm_value_heads(f, f->att, heads), &p);
}

bool mlxn_lm_kv_holds(const mlxn_lm_kv *kv, const mlxn_model *model, uint32_t length, uint32_t first,
                      uint32_t written) {
    if (length == 0) return true;
    for (uint32_t i = 0; i < kv->n_layers; i++) {
        uint32_t window = model->layers[i].sliding ? model->shape.window : 0;
        uint32_t oldest = window > 0 && length >= window ? length - window + 1 : 0;
        if ((uint64_t)oldest + kv->layers[i].capacity < written) return false; /* its slot was used again */
        if (window > 0 && oldest < first) return false;
    }
    return true;
}
