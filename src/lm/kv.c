/* kv.c: the caches of a context, per layer: a pair of buffers of keys and values, or the states of a recurrent one.
 */
#include "lm/lm_internal.h"

/* Positions that a layer must hold. The rows of a step are stored before any of them attends, so the oldest row still
 * needs window - 1 positions before itself after n_batch - 1 newer ones have been written. */
static uint32_t capacity_of(const mlxn_model *model, const mlxn_lm_layer *layer, uint32_t n_ctx, uint32_t n_batch) {
    if (layer->recurrent) return 0;
    if (!layer->sliding || model->shape.window == 0) return n_ctx;
    uint64_t ring = (uint64_t)model->shape.window + n_batch;
    mlxn_align_u64(ring, 64, &ring);
    return (uint32_t)mlxn_min_u64(ring, n_ctx);
}

/* Of the keys of a layer, or of its values, as `what` says. */
static mlxn_status half_bytes(const mlxn_lm_layer *l, const char *what, uint32_t width, uint32_t capacity,
                              uint32_t n_sequences, mlxn_kv_type type, uint64_t *out, mlxn_error *error) {
    uint64_t bytes;
    mlxn_status status = mlxn_kv_row_bytes(type, width, &bytes, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "context: %s", what);
        return status;
    }
    if (mlxn_mul_u64(bytes, l->n_kv_heads, &bytes) && mlxn_mul_u64(bytes, capacity, &bytes) &&
        mlxn_mul_u64(bytes, n_sequences, out)) {
        return MLXN_OK;
    }
    return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %u sequences of %u tokens do not fit 64 bits", n_sequences,
                     capacity);
}

/* Of the parts of a layer: keys, values, inputs of the convolution, states. */
enum { KEYS, VALUES, CONV, STATE, PARTS };

static mlxn_status layer_bytes(const mlxn_model *model, uint32_t i, const mlxn_lm_kv_desc *d, uint64_t out[PARTS],
                               mlxn_error *error) {
    const mlxn_lm_shape *s = &model->shape;
    const mlxn_lm_layer *l = &model->layers[i];
    uint32_t capacity = capacity_of(model, &model->layers[i], d->n_ctx, d->n_batch);
    memset(out, 0, PARTS * sizeof *out);
    if (l->cache != i) return MLXN_OK; /* it sees another one's */
    if (!l->recurrent) {
        mlxn_status status =
            half_bytes(l, "keys", l->head_dim, capacity, d->n_sequences, d->k_type, &out[KEYS], error);
        return status != MLXN_OK
                   ? status
                   : half_bytes(l, "values", l->v_head_dim, capacity, d->n_sequences, d->v_type, &out[VALUES], error);
    }
    uint64_t conv = mlxn_lm_dim_value(s, MLXN_LM_DELTA_QKV), state = mlxn_lm_dim_value(s, MLXN_LM_DELTA_VALUES);
    if (mlxn_mul_u64(conv, s->delta_taps - 1, &conv) && mlxn_mul_u64(conv, 4 * (uint64_t)d->n_states, &out[CONV]) &&
        mlxn_mul_u64(state, s->delta_k_dim, &state) && mlxn_mul_u64(state, 4 * (uint64_t)d->n_states, &out[STATE]))
        return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %u states do not fit 64 bits", d->n_states);
}

mlxn_status mlxn_lm_kv_bytes(const mlxn_model *model, const mlxn_lm_kv_desc *desc, uint64_t *out, mlxn_error *error) {
    *out = 0;
    for (uint32_t i = 0; i < model->shape.n_layers; i++) {
        uint64_t parts[PARTS];
        mlxn_status status = layer_bytes(model, i, desc, parts, error);
        if (status != MLXN_OK) return status;
        for (int k = 0; k < PARTS; k++) {
            if (!mlxn_add_u64(*out, parts[k], out))
                return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %u sequences of %u tokens do not fit 64 bits",
                                 desc->n_sequences, desc->n_ctx);
        }
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_kv_create(const mlxn_model *model, const mlxn_lm_kv_desc *desc, mlxn_lm_kv *out,
                              mlxn_error *error) {
    const mlxn_lm_shape *s = &model->shape;
    *out = (mlxn_lm_kv){
        .n_sequences = desc->n_sequences, .n_states = desc->n_states, .k_type = desc->k_type, .v_type = desc->v_type};
    if (desc->n_states) {
        out->conv_floats = mlxn_lm_dim_value(s, MLXN_LM_DELTA_QKV) * (s->delta_taps - 1);
        out->state_floats = mlxn_lm_dim_value(s, MLXN_LM_DELTA_VALUES) * s->delta_k_dim;
    }
    out->layers = mlxn_alloc_array(s->n_layers, sizeof *out->layers);
    if (!out->layers) return mlxn_fail(error, MLXN_ERR_MEMORY, "context: no memory for %u layers", s->n_layers);
    out->n_layers = s->n_layers;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        mlxn_lm_kv_layer *layer = &out->layers[i];
        mlxn_buffer **buffers[PARTS] = {&layer->k, &layer->v, &layer->conv, &layer->state};
        uint64_t parts[PARTS];
        layer->capacity = capacity_of(model, &model->layers[i], desc->n_ctx, desc->n_batch);
        mlxn_status status = layer_bytes(model, i, desc, parts, error);
        if (status != MLXN_OK) return status;
        for (int k = 0; k < PARTS && status == MLXN_OK; k++) {
            if (parts[k]) status = mlxn_buffer_create(model->device, parts[k], buffers[k], error);
            out->bytes += parts[k];
        }
        if (status != MLXN_OK) {
            if (layer->capacity)
                mlxn_error_prefix(error, "context: cache of layer %u (%u sequences of %u tokens)", i,
                                  desc->n_sequences, layer->capacity);
            else
                mlxn_error_prefix(error, "context: %u states of layer %u", desc->n_states, i);
            return status;
        }
    }
    return MLXN_OK;
}

void mlxn_lm_kv_destroy(mlxn_lm_kv *kv) {
    for (uint32_t i = 0; i < kv->n_layers; i++) {
        mlxn_buffer_release(&kv->layers[i].k);
        mlxn_buffer_release(&kv->layers[i].v);
        mlxn_buffer_release(&kv->layers[i].conv);
        mlxn_buffer_release(&kv->layers[i].state);
    }
    mlxn_free(kv->layers);
    memset(kv, 0, sizeof *kv);
}

static mlxn_tensor tensor_of(const mlxn_lm_kv *kv, const mlxn_lm_layer *l, mlxn_buffer *buffer, uint32_t width,
                             uint32_t capacity, mlxn_kv_type type) {
    mlxn_dtype dtype = type == MLXN_KV_F32    ? MLXN_F32
                       : type == MLXN_KV_F16  ? MLXN_F16
                       : type == MLXN_KV_BF16 ? MLXN_BF16
                                              : MLXN_U8;
    uint64_t row = width;
    if (dtype == MLXN_U8) mlxn_kv_row_bytes(type, width, &row, NULL); /* fits: create asked for it */
    return mlxn_tensor_4d(buffer, 0, dtype, kv->n_sequences, l->n_kv_heads, capacity, row);
}

static mlxn_tensor keys_of(const mlxn_lm_forward *f, uint32_t layer) {
    const mlxn_lm_layer *m = &f->model->layers[layer];
    const mlxn_lm_kv_layer *l = &f->kv->layers[m->cache];
    return tensor_of(f->kv, m, l->k, m->head_dim, l->capacity, f->kv->k_type);
}

static mlxn_tensor values_of(const mlxn_lm_forward *f, uint32_t layer) {
    const mlxn_lm_layer *m = &f->model->layers[layer];
    const mlxn_lm_kv_layer *l = &f->kv->layers[m->cache];
    return tensor_of(f->kv, m, l->v, m->v_head_dim, l->capacity, f->kv->v_type);
}

/* One text's part of a buffer with a row for each token: [n, heads, width], or as a cache of one sequence. */
static mlxn_tensor part_of(mlxn_buffer *b, uint64_t start, uint32_t n, uint32_t heads, uint32_t width, bool cache) {
    uint64_t at = start * heads * width * sizeof(float);
    return cache ? mlxn_tensor_4d(b, at, MLXN_F32, 1, heads, n, width)
                 : mlxn_tensor_3d(b, at, MLXN_F32, n, heads, width);
}

static mlxn_tensor numbers_of(mlxn_tensor all, uint64_t start, uint32_t n) {
    return mlxn_tensor_1d(all.buffer, all.offset + start * sizeof(uint32_t), MLXN_U32, n);
}

static void store_texts(const mlxn_lm_forward *f, const mlxn_lm_layer *l) {
    const mlxn_kv_write_params types = {0};
    uint64_t start = 0;
    for (size_t i = 0; i < f->texts->n; start += f->texts->lengths[i++]) {
        uint32_t n = f->texts->lengths[i];
        mlxn_kv_write(f->encoder, part_of(f->k.buffer, start, n, l->n_kv_heads, l->head_dim, false),
                      part_of(f->v.buffer, start, n, l->n_kv_heads, l->v_head_dim, false),
                      numbers_of(f->sequences, start, n), numbers_of(f->positions, start, n),
                      part_of(f->texts->k, start, n, l->n_kv_heads, l->head_dim, true),
                      part_of(f->texts->v, start, n, l->n_kv_heads, l->v_head_dim, true), &types);
    }
}

static void attend_texts(const mlxn_lm_forward *f, const mlxn_lm_layer *l, const mlxn_attention_params *params) {
    const mlxn_tensor none = {0};
    uint32_t heads = f->model->shape.n_heads;
    uint64_t start = 0;
    for (size_t i = 0; i < f->texts->n; start += f->texts->lengths[i++]) {
        uint32_t n = f->texts->lengths[i];
        mlxn_attention(f->encoder, part_of(f->q.buffer, start, n, heads, l->head_dim, false),
                       part_of(f->texts->k, start, n, l->n_kv_heads, l->head_dim, true),
                       part_of(f->texts->v, start, n, l->n_kv_heads, l->v_head_dim, true),
                       numbers_of(f->sequences, start, n), numbers_of(f->positions, start, n), l->sinks, none,
                       part_of(f->att.buffer, start, n, heads, l->v_head_dim, false), params);
    }
}

void mlxn_lm_store(const mlxn_lm_forward *f, uint32_t layer) {
    if (f->texts) {
        store_texts(f, &f->model->layers[layer]);
        return;
    }
    const mlxn_kv_write_params types = {f->kv->k_type, f->kv->v_type};
    uint32_t heads = f->model->layers[layer].n_kv_heads;
    mlxn_kv_write(f->encoder, mlxn_lm_heads(f->k, heads), mlxn_lm_heads(f->v, heads), f->sequences, f->positions,
                  keys_of(f, layer), values_of(f, layer), &types);
}

void mlxn_lm_attend(const mlxn_lm_forward *f, uint32_t layer, const mlxn_attention_params *params) {
    const mlxn_tensor none = {0};
    mlxn_attention_params p = *params;
    p.window = f->model->layers[layer].sliding ? f->model->shape.window : 0;
    if (f->model->shape.both_ways) p.visible = p.window ? MLXN_MASK_SYMMETRIC : MLXN_MASK_NONE;
    if (f->texts) {
        attend_texts(f, &f->model->layers[layer], &p);
        return;
    }
    p.k_type = f->kv->k_type;
    p.v_type = f->kv->v_type;
    uint32_t heads = f->model->shape.n_heads;
    mlxn_attention(f->encoder, mlxn_lm_heads(f->q, heads), keys_of(f, layer), values_of(f, layer), f->sequences,
                   f->positions, f->model->layers[layer].sinks, none, mlxn_lm_heads(f->att, heads), &p);
}

bool mlxn_lm_kv_holds(const mlxn_lm_kv *kv, const mlxn_model *model, uint32_t length, uint32_t first,
                      uint32_t written) {
    if (length == 0) return true;
    for (uint32_t i = 0; i < kv->n_layers; i++) {
        if (!kv->layers[i].capacity) continue; /* checkpoints.c */
        uint32_t window = model->layers[i].sliding ? model->shape.window : 0;
        uint32_t oldest = window > 0 && length >= window ? length - window + 1 : 0;
        if ((uint64_t)oldest + kv->layers[i].capacity < written) return false; /* its slot was used again */
        if (window > 0 && oldest < first) return false;
    }
    return true;
}
