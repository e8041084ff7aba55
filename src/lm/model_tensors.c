/* model_tensors.c: from the mapped file to weights and vectors on the device.
 *
 * Matrices become weights in the device's own layout; their pages of the map are given back at once, so that only one
 * copy stays in memory. Vectors of aligned f32 are views of the mapped file; others are decoded into one buffer. */
#include <stdio.h>

#include "lm/lm_internal.h"

typedef struct loader {
    mlxn_model *model;
    const mlxn_model_desc *desc;
    uint64_t done, total; /* bytes of tensor data */
    mlxn_error *error;
} loader;

uint64_t mlxn_lm_dim_value(const mlxn_lm_shape *shape, mlxn_lm_dim dim) {
    switch (dim) {
        case MLXN_LM_NONE:
            return 0;
        case MLXN_LM_EMBD:
            return shape->n_embd;
        case MLXN_LM_FF:
            return shape->n_ff;
        case MLXN_LM_HEAD:
            return shape->head_dim;
        case MLXN_LM_Q:
            return (uint64_t)shape->n_heads * shape->head_dim;
        case MLXN_LM_KV:
            return (uint64_t)shape->n_kv_heads * shape->head_dim;
        case MLXN_LM_VOCAB:
            return shape->n_vocab;
        case MLXN_LM_ROPE_PAIRS:
            return shape->rope_dims / 2;
    }
    return 0;
}

static const char *dim_text(mlxn_lm_dim dim) {
    switch (dim) {
        case MLXN_LM_NONE:
            return "";
        case MLXN_LM_EMBD:
            return "embedding_length";
        case MLXN_LM_FF:
            return "feed_forward_length";
        case MLXN_LM_HEAD:
            return "length of a head";
        case MLXN_LM_Q:
            return "heads x their length";
        case MLXN_LM_KV:
            return "KV heads x their length";
        case MLXN_LM_VOCAB:
            return "tokens of the tokenizer";
        case MLXN_LM_ROPE_PAIRS:
            return "half of rope.dimension_count";
    }
    return "";
}

/* Finds a tensor and checks rank and dims. *found is false (and the result OK) if it is absent and optional. */
static mlxn_status find_tensor(loader *ld, const char *name, mlxn_lm_dim rows, mlxn_lm_dim cols, bool optional,
                               mlxn_gguf_tensor *out, bool *found) {
    const mlxn_model *m = ld->model;
    *found = mlxn_gguf_find_tensor(m->file, name, out);
    if (!*found) {
        if (optional) return MLXN_OK;
        return mlxn_fail(ld->error, MLXN_ERR_NOT_FOUND, "%s: tensor \"%s\" is missing", m->path_name, name);
    }
    mlxn_lm_dim want[2] = {rows, cols};
    uint32_t rank = cols == MLXN_LM_NONE ? 1 : 2;
    if (out->rank != rank) {
        return mlxn_fail(ld->error, MLXN_ERR_FORMAT, "%s: tensor \"%s\": rank is %u, want %u", m->path_name, name,
                         out->rank, rank);
    }
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t n = mlxn_lm_dim_value(&m->shape, want[i]);
        if (out->dims[i] != n) {
            return mlxn_fail(ld->error, MLXN_ERR_FORMAT, "%s: tensor \"%s\": dim[%u] is %llu, want %llu (%s)",
                             m->path_name, name, i, (unsigned long long)out->dims[i], (unsigned long long)n,
                             dim_text(want[i]));
        }
    }
    if (!out->known) {
        return mlxn_fail(ld->error, MLXN_ERR_UNSUPPORTED, "%s: tensor \"%s\": type %u cannot be decoded",
                         m->path_name, name, out->type);
    }
    return MLXN_OK;
}

static mlxn_status progress(loader *ld, const mlxn_gguf_tensor *t) {
    ld->done += t->bytes;
    ld->model->n_params += t->elements;
    if (ld->desc->progress && !ld->desc->progress(ld->desc->progress_user, ld->done, ld->total)) {
        return mlxn_fail(ld->error, MLXN_ERR_CANCELLED, "%s: loading was cancelled at %llu of %llu bytes",
                         ld->model->path_name, (unsigned long long)ld->done, (unsigned long long)ld->total);
    }
    return MLXN_OK;
}

/* Pages of the map behind the rows that are packed. */
typedef struct release_state {
    mlxn_gguf *file;
    mlxn_gguf_tensor tensor; /* what is left of it */
    uint64_t row_bytes, rows;
} release_state;

static void release_rows(void *user, uint64_t rows) {
    release_state *s = user;
    mlxn_gguf_tensor slice = s->tensor;
    slice.bytes = (rows - s->rows) * s->row_bytes;
    mlxn_gguf_release_pages(s->file, &slice);
    s->tensor.offset += slice.bytes;
    s->tensor.bytes -= slice.bytes;
    s->rows = rows;
}

static mlxn_status load_matrix(loader *ld, const char *name, mlxn_lm_dim rows, mlxn_lm_dim cols, bool optional,
                               mlxn_weight **out) {
    mlxn_model *m = ld->model;
    mlxn_gguf_tensor t;
    bool found;
    mlxn_status status = find_tensor(ld, name, rows, cols, optional, &t, &found);
    if (status != MLXN_OK || !found) return status;
    release_state state = {.file = m->file, .tensor = t, .row_bytes = t.bytes / t.dims[0]};
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .packed = release_rows,
                             .packed_user = &state,
                             .format = (mlxn_format)t.type,
                             .rows = t.dims[0],
                             .cols = t.dims[1],
                             .data = m->parts[t.part],
                             .offset = t.offset};
    status = mlxn_weight_create(m->device, &desc, out, ld->error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(ld->error, "%s: tensor \"%s\"", m->path_name, name);
        return status;
    }
    mlxn_gguf_release_pages(m->file, &t);
    return progress(ld, &t);
}

static bool is_view(const mlxn_gguf_tensor *t) {
    return t->type == MLXN_FORMAT_F32 && t->offset % sizeof(float) == 0;
}

/* The buffer for decoded vectors holds all vectors, if one has to be decoded at all. */
static mlxn_status vector_bytes(loader *ld, uint64_t *out) {
    uint64_t bytes = 0, one;
    bool decodes = false;
    mlxn_gguf_tensor t;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(ld->model->file, i, &t); i++) {
        if (t.rank != 1 || !t.known) continue;
        decodes |= !is_view(&t);
        if (!mlxn_mul_u64(t.elements, sizeof(float), &one) || !mlxn_align_u64(one, 64, &one) ||
            !mlxn_add_u64(bytes, one, &bytes)) {
            return mlxn_fail(ld->error, MLXN_ERR_FORMAT, "%s: the vectors do not fit 64 bits", ld->model->path_name);
        }
    }
    *out = decodes ? bytes : 0;
    return MLXN_OK;
}

/* Space for a decoded vector in the model's own buffer, which is made for all of them at the first. */
static mlxn_status reserve_vector(loader *ld, uint64_t elements, uint64_t *offset) {
    mlxn_model *m = ld->model;
    if (!m->vectors) {
        uint64_t bytes = 0;
        mlxn_status status = vector_bytes(ld, &bytes);
        if (status == MLXN_OK) status = mlxn_buffer_create(m->device, bytes, &m->vectors, ld->error);
        if (status != MLXN_OK) return status;
    }
    *offset = m->vectors_used;
    m->vectors_used += (elements * sizeof(float) + 63) & ~(uint64_t)63;
    return MLXN_OK;
}

static mlxn_status load_vector(loader *ld, const char *name, mlxn_lm_dim dim, bool optional, mlxn_tensor *out) {
    mlxn_model *m = ld->model;
    mlxn_gguf_tensor t;
    bool found;
    mlxn_status status = find_tensor(ld, name, dim, MLXN_LM_NONE, optional, &t, &found);
    if (status != MLXN_OK || !found) return status;
    m->bytes_per_token += t.elements * sizeof(float);
    if (is_view(&t)) {
        *out = mlxn_tensor_1d(m->parts[t.part], t.offset, MLXN_F32, t.elements);
        return progress(ld, &t);
    }
    uint64_t offset = 0;
    float *decoded = mlxn_alloc_array(t.elements, sizeof *decoded);
    if (!decoded) {
        return mlxn_fail(ld->error, MLXN_ERR_MEMORY, "%s: tensor \"%s\": no memory for %llu floats", m->path_name,
                         name, (unsigned long long)t.elements);
    }
    status = mlxn_dequantize_row((mlxn_format)t.type, t.data, t.elements, decoded, ld->error);
    if (status == MLXN_OK) status = reserve_vector(ld, t.elements, &offset);
    if (status == MLXN_OK) {
        status = mlxn_buffer_write(m->vectors, offset, decoded, t.elements * sizeof *decoded, ld->error);
    }
    mlxn_free(decoded);
    if (status != MLXN_OK) {
        mlxn_error_prefix(ld->error, "%s: tensor \"%s\"", m->path_name, name);
        return status;
    }
    *out = mlxn_tensor_1d(m->vectors, offset, MLXN_F32, t.elements);
    return progress(ld, &t);
}

static mlxn_status load_layer(loader *ld, uint32_t i) {
    mlxn_model *m = ld->model;
    char name[128];
    for (const mlxn_lm_tensor_spec *spec = m->arch->layer_tensors; spec->name; spec++) {
        snprintf(name, sizeof name, "blk.%u.%s", i, spec->name);
        void *member = (char *)&m->layers[i] + spec->member;
        mlxn_status status = spec->cols == MLXN_LM_NONE
                                 ? load_vector(ld, name, spec->rows, spec->optional, member)
                                 : load_matrix(ld, name, spec->rows, spec->cols, spec->optional, member);
        if (status != MLXN_OK) return status;
        if (spec->cols != MLXN_LM_NONE) m->bytes_per_token += mlxn_weight_bytes(*(mlxn_weight **)member);
    }
    return MLXN_OK;
}

static mlxn_status wrap_parts(loader *ld) {
    mlxn_model *m = ld->model;
    mlxn_gguf_tensor t;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(m->file, i, &t); i++) {
        if (t.part >= m->n_parts) m->n_parts = t.part + 1;
        ld->total += t.bytes; /* cannot overflow: ranges inside files do not overlap */
    }
    m->parts = mlxn_alloc_array(m->n_parts, sizeof *m->parts);
    if (!m->parts) return mlxn_fail(ld->error, MLXN_ERR_MEMORY, "%s: no memory for its parts", m->path_name);
    for (uint32_t i = 0; i < m->n_parts; i++) {
        mlxn_status status = mlxn_gguf_wrap(m->file, i, m->device, &m->parts[i], ld->error);
        if (status != MLXN_OK) return status;
    }
    return MLXN_OK;
}

/* What a matrix adds to the device, if it is there and usable; whether it is, loading finds out. */
static mlxn_status add_matrix_bytes(loader *ld, const char *name, uint64_t *sum) {
    mlxn_model *m = ld->model;
    mlxn_gguf_tensor t;
    uint64_t bytes;
    if (!mlxn_gguf_find_tensor(m->file, name, &t) || t.rank != 2 || !t.known) return MLXN_OK;
    mlxn_status status =
        mlxn_weight_device_bytes(m->device, (mlxn_format)t.type, t.dims[0], t.dims[1], &bytes, ld->error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(ld->error, "%s: tensor \"%s\"", m->path_name, name);
        return status;
    }
    if (mlxn_add_u64(*sum, bytes, sum)) return MLXN_OK;
    return mlxn_fail(ld->error, MLXN_ERR_LIMIT, "%s: the weights do not fit 64 bits", m->path_name);
}

/* Refuses a model that the device's memory limit has no room for before the first matrix is packed. */
static mlxn_status admit(loader *ld) {
    const mlxn_model *m = ld->model;
    uint64_t sum = 0;
    char name[128];
    mlxn_status status = vector_bytes(ld, &sum);
    if (status == MLXN_OK) status = add_matrix_bytes(ld, "token_embd.weight", &sum);
    if (status == MLXN_OK) status = add_matrix_bytes(ld, "output.weight", &sum);
    for (uint32_t i = 0; i < m->shape.n_layers; i++) {
        for (const mlxn_lm_tensor_spec *spec = m->arch->layer_tensors; status == MLXN_OK && spec->name; spec++) {
            if (spec->cols == MLXN_LM_NONE) continue;
            snprintf(name, sizeof name, "blk.%u.%s", i, spec->name);
            status = add_matrix_bytes(ld, name, &sum);
        }
    }
    if (status != MLXN_OK) return status;
    status = mlxn_device_admit(m->device, sum, "weights", ld->error);
    if (status != MLXN_OK) mlxn_error_prefix(ld->error, "%s", m->path_name);
    return status;
}

mlxn_status mlxn_lm_load_tensors(mlxn_model *model, const mlxn_model_desc *desc, mlxn_error *error) {
    loader ld = {.model = model, .desc = desc, .error = error};
    mlxn_status status = admit(&ld);
    if (status == MLXN_OK) status = wrap_parts(&ld);
    if (status == MLXN_OK) {
        status = load_matrix(&ld, "token_embd.weight", MLXN_LM_VOCAB, MLXN_LM_EMBD, false, &model->token_embd);
    }
    if (status == MLXN_OK) {
        status = load_matrix(&ld, "output.weight", MLXN_LM_VOCAB, MLXN_LM_EMBD, true, &model->head);
    }
    if (status == MLXN_OK && !model->head) model->head = mlxn_weight_retain(model->token_embd);
    if (status == MLXN_OK) {
        status = load_vector(&ld, "output_norm.weight", MLXN_LM_EMBD, false, &model->output_norm);
    }
    if (status == MLXN_OK) {
        status = load_vector(&ld, "rope_freqs.weight", MLXN_LM_ROPE_PAIRS, true, &model->rope_factors);
    }
    for (uint32_t i = 0; status == MLXN_OK && i < model->shape.n_layers; i++) status = load_layer(&ld, i);
    if (status != MLXN_OK) return status;
    /* The head is read whole; of the embedding one row is read, which counts as nothing. */
    model->bytes_per_token += mlxn_weight_bytes(model->head);
    return MLXN_OK;
}
