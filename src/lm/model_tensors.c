/* model_tensors.c: from the source's tensors to weights and vectors on the device.
 *
 * Matrices become weights in the device's own layout; their pages of the map are given back at once, so that only one
 * copy stays in memory. Vectors of aligned f32 are views of the mapped files; others are decoded into one buffer. */
#include <math.h>
#include <stdio.h>

#include "lm/load.h"

/* Where the weight or the vector of a spec goes. */
static void *member_of(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    return (layer < 0 ? (char *)ld->model : (char *)&ld->model->layers[layer]) + spec->member;
}

static uint64_t bytes_of(const mlxn_lm_tensor *t) {
    return (t->data.bytes + t->scales.bytes + t->biases.bytes) * (t->apart ? t->dims[0] : 1);
}

static mlxn_status progress(mlxn_lm_loader *ld, const mlxn_lm_tensor *t) {
    ld->done += bytes_of(t);
    ld->model->n_params += t->elements;
    if (ld->desc->progress && !ld->desc->progress(ld->desc->progress_user, ld->done, ld->total)) {
        return mlxn_fail(ld->error, MLXN_ERR_CANCELLED, "%s: loading was cancelled at %llu of %llu bytes",
                         ld->model->path_name, (unsigned long long)ld->done, (unsigned long long)ld->total);
    }
    return MLXN_OK;
}

/* Pages of the map behind the rows that are packed. */
typedef struct release_state {
    mlxn_lm_source *source;
    mlxn_lm_range left;
    uint64_t row_bytes, rows;
} release_state;

static void release_rows(void *user, uint64_t rows) {
    release_state *s = user;
    mlxn_lm_range slice = s->left;
    slice.bytes = (rows - s->rows) * s->row_bytes;
    s->source->c->release_pages(s->source, &slice);
    s->left.offset += slice.bytes;
    s->left.bytes -= slice.bytes;
    s->rows = rows;
}

static void release_all(mlxn_lm_loader *ld, const mlxn_lm_tensor *t) {
    mlxn_lm_source *source = ld->model->source;
    source->c->release_pages(source, &t->data);
    source->c->release_pages(source, &t->scales);
    source->c->release_pages(source, &t->biases);
}

/* The weight of a tensor; `data` and `scales` instead of where they lie, if not NULL. */
static mlxn_status make_weight(mlxn_lm_loader *ld, const mlxn_lm_tensor *t, mlxn_buffer *data, mlxn_buffer *scales,
                               mlxn_weight **out) {
    mlxn_model *m = ld->model;
    bool stack = t->rank == 3;
    release_state state = {.source = m->source, .left = t->data, .row_bytes = t->data.bytes / t->dims[0]};
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = t->format,
                             .experts = stack ? t->dims[0] : 1,
                             .rows = t->dims[t->rank - 2],
                             .cols = t->dims[t->rank - 1],
                             .data = data ? data : m->parts[t->data.part],
                             .offset = data ? 0 : t->data.offset};
    if (!data && !stack) {
        desc.packed = release_rows;
        desc.packed_user = &state;
    }
    if (t->scales.bytes) {
        desc.scales = scales ? scales : m->parts[t->scales.part];
        desc.scales_offset = scales ? 0 : t->scales.offset;
        desc.scale_dtype = t->scale_dtype;
    }
    if (t->biases.bytes) {
        desc.biases = m->parts[t->biases.part];
        desc.biases_offset = t->biases.offset;
    }
    mlxn_status status = mlxn_weight_create(m->device, &desc, out, ld->error);
    if (status != MLXN_OK) {
        mlxn_lm_tensor_prefix(ld, t);
        return status;
    }
    uint64_t bytes = mlxn_weight_bytes(*out); /* of a stack, a token reads the matrices that it is sent to */
    m->bytes_per_token += stack ? bytes / t->dims[0] * m->shape.n_experts_used : bytes;
    return MLXN_OK;
}

/* Experts that lie in tensors of their own are copied together first. */
static mlxn_status gather_experts(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer,
                                  const mlxn_lm_tensor *first, mlxn_weight **out) {
    mlxn_buffer *buffer = NULL;
    uint64_t bytes = first->data.bytes;
    mlxn_status status = mlxn_buffer_create(ld->model->device, bytes * first->dims[0], &buffer, ld->error);
    for (uint64_t e = 0; status == MLXN_OK && e < first->dims[0]; e++) {
        mlxn_lm_tensor t;
        status = mlxn_lm_find_expert(ld, spec, layer, e, first, &t);
        if (status == MLXN_OK) status = mlxn_buffer_write(buffer, e * bytes, t.data.data, bytes, ld->error);
        if (status == MLXN_OK) release_all(ld, &t);
    }
    if (status == MLXN_OK) status = make_weight(ld, first, buffer, NULL, out);
    mlxn_buffer_release(&buffer);
    return status;
}

/* Rows that lie apart, one behind the other. */
static void copy_rows(const mlxn_lm_range *from, uint64_t rows, uint32_t step, uint8_t *to) {
    uint64_t row = from->bytes / rows;
    for (uint64_t r = 0; r < rows; r++) memcpy(to + r * row, from->data + r * step * row, row);
}

static mlxn_status stage_rows(mlxn_lm_loader *ld, const mlxn_lm_range *from, uint64_t rows, uint32_t step,
                              mlxn_buffer **out) {
    uint8_t *bytes = mlxn_alloc_array(from->bytes, 1);
    if (!bytes)
        return mlxn_fail(ld->error, MLXN_ERR_MEMORY, "%s: no memory for %llu bytes", ld->model->path_name,
                         (unsigned long long)from->bytes);
    copy_rows(from, rows, step, bytes);
    mlxn_status status = mlxn_buffer_create(ld->model->device, from->bytes, out, ld->error);
    if (status == MLXN_OK) status = mlxn_buffer_write(*out, 0, bytes, from->bytes, ld->error);
    mlxn_free(bytes);
    return status;
}

static mlxn_status gather_rows(mlxn_lm_loader *ld, const mlxn_lm_tensor *t, mlxn_weight **out) {
    mlxn_buffer *data = NULL, *scales = NULL;
    uint64_t rows = t->dims[0] * t->dims[1]; /* of a stack: see source_folder.c */
    mlxn_status status = stage_rows(ld, &t->data, rows, t->row_step, &data);
    if (status == MLXN_OK) status = stage_rows(ld, &t->scales, rows, t->row_step, &scales);
    if (status == MLXN_OK) status = make_weight(ld, t, data, scales, out);
    mlxn_buffer_release(&data);
    mlxn_buffer_release(&scales);
    return status;
}

static mlxn_status load_matrix(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer,
                               const mlxn_lm_tensor *t, mlxn_weight **out) {
    if (t->apart) return gather_experts(ld, spec, layer, t, out);
    if (t->row_step) return gather_rows(ld, t, out);
    mlxn_status status = make_weight(ld, t, NULL, NULL, out);
    if (status == MLXN_OK) release_all(ld, t);
    return status;
}

/* What is added to a vector. */
static float shift_of(const mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec) {
    const mlxn_model *m = ld->model;
    bool shifts = mlxn_lm_source_is_folder(m->source) && !m->shifted && spec->change == MLXN_LM_SHIFT;
    return shifts ? m->arch->folder_vector_shift : 0;
}

static bool turns(const mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec) {
    return mlxn_lm_source_is_folder(ld->model->source) && spec->change == MLXN_LM_NEGATIVE_EXP;
}

static bool is_view(const mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, const mlxn_lm_tensor *t) {
    return t->format == MLXN_FORMAT_F32 && t->data.offset % sizeof(float) == 0 && shift_of(ld, spec) == 0 &&
           !turns(ld, spec) && !t->row_step;
}

static mlxn_status add_vector(mlxn_lm_loader *ld, uint64_t elements) {
    uint64_t bytes;
    if (mlxn_mul_u64(elements, sizeof(float), &bytes) && mlxn_align_u64(bytes, 64, &bytes) &&
        mlxn_add_u64(ld->vector_bytes, bytes, &ld->vector_bytes))
        return MLXN_OK;
    return mlxn_fail(ld->error, MLXN_ERR_FORMAT, "%s: the vectors do not fit 64 bits", ld->model->path_name);
}

static mlxn_status add_vector_bytes(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    if (spec->cols != MLXN_LM_NONE) return MLXN_OK;
    mlxn_status status = mlxn_lm_find_tensor(ld, spec, layer, &t, &found);
    return status != MLXN_OK || !found || is_view(ld, spec, &t) ? status : add_vector(ld, t.elements);
}

/* A vector, or one for each expert, at `offset` of `buffer`. */
static mlxn_tensor view_of(mlxn_buffer *buffer, uint64_t offset, uint32_t rank, const uint64_t *dims) {
    return rank == 2 ? mlxn_tensor_2d(buffer, offset, MLXN_F32, dims[0], dims[1])
                     : mlxn_tensor_1d(buffer, offset, MLXN_F32, dims[0]);
}

/* Writes values to the model's own buffer. */
static mlxn_status store_vector(mlxn_lm_loader *ld, const float *values, uint64_t n, uint64_t *offset) {
    mlxn_model *m = ld->model;
    *offset = m->vectors_used;
    mlxn_status status = mlxn_buffer_write(m->vectors, *offset, values, n * sizeof *values, ld->error);
    if (status == MLXN_OK) m->vectors_used += (n * sizeof *values + 63) & ~(uint64_t)63;
    return status;
}

static mlxn_status decode_vector(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, const mlxn_lm_tensor *t,
                                 float *out) {
    const uint8_t *data = t->data.data;
    uint8_t *close = NULL;
    if (t->row_step) {
        close = mlxn_alloc_array(t->data.bytes, 1);
        if (!close)
            return mlxn_fail(ld->error, MLXN_ERR_MEMORY, "no memory for %llu bytes",
                             (unsigned long long)t->data.bytes);
        copy_rows(&t->data, t->elements, t->row_step, close);
        data = close;
    }
    mlxn_status status = mlxn_dequantize_row(t->format, data, t->elements, out, ld->error);
    mlxn_free(close);
    for (uint64_t i = 0; status == MLXN_OK && i < t->elements; i++) out[i] += shift_of(ld, spec);
    for (uint64_t i = 0; status == MLXN_OK && turns(ld, spec) && i < t->elements; i++) out[i] = -expf(out[i]);
    return status;
}

static mlxn_status load_vector(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, const mlxn_lm_tensor *t,
                               mlxn_tensor *out) {
    mlxn_model *m = ld->model;
    m->bytes_per_token += t->elements * sizeof(float);
    if (is_view(ld, spec, t)) {
        *out = view_of(m->parts[t->data.part], t->data.offset, t->rank, t->dims);
        return MLXN_OK;
    }
    uint64_t offset = 0;
    float *decoded = mlxn_alloc_array(t->elements, sizeof *decoded);
    mlxn_status status =
        decoded ? decode_vector(ld, spec, t, decoded)
                : mlxn_fail(ld->error, MLXN_ERR_MEMORY, "no memory for %llu floats", (unsigned long long)t->elements);
    if (status == MLXN_OK) status = store_vector(ld, decoded, t->elements, &offset);
    mlxn_free(decoded);
    if (status != MLXN_OK)
        mlxn_lm_tensor_prefix(ld, t);
    else
        *out = view_of(m->vectors, offset, t->rank, t->dims);
    return status;
}

/* Rope factors that the configuration gave. */
static mlxn_status load_computed(mlxn_lm_loader *ld) {
    mlxn_model *m = ld->model;
    mlxn_status status = MLXN_OK;
    for (int i = 0; status == MLXN_OK && i < 2; i++) {
        if (!m->rope_values[i]) continue;
        uint64_t pairs = m->shape.rope_dims / 2, offset = 0;
        status = store_vector(ld, m->rope_values[i], pairs, &offset);
        if (status == MLXN_OK) m->rope_factors[i] = view_of(m->vectors, offset, 1, &pairs);
        mlxn_free(m->rope_values[i]);
        m->rope_values[i] = NULL;
    }
    return status;
}

static mlxn_status load_one(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    mlxn_status status = mlxn_lm_find_tensor(ld, spec, layer, &t, &found);
    if (status != MLXN_OK || !found) return status;
    void *member = member_of(ld, spec, layer);
    status =
        spec->cols == MLXN_LM_NONE ? load_vector(ld, spec, &t, member) : load_matrix(ld, spec, layer, &t, member);
    return status != MLXN_OK ? status : progress(ld, &t);
}

static mlxn_status add_total(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    mlxn_status status = mlxn_lm_find_tensor(ld, spec, layer, &t, &found);
    if (status == MLXN_OK && found)
        ld->total += bytes_of(&t); /* cannot overflow: ranges do not overlap, experts apart are checked below */
    return status;
}

static mlxn_status add_matrix_bytes(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    uint64_t bytes;
    if (spec->cols == MLXN_LM_NONE) return MLXN_OK;
    mlxn_status status = mlxn_lm_find_tensor(ld, spec, layer, &t, &found);
    if (status != MLXN_OK || !found) return status;
    uint64_t experts = t.rank == 3 ? t.dims[0] : 1, staging = t.apart || t.row_step ? bytes_of(&t) : 0;
    status = mlxn_weight_device_bytes(ld->model->device, t.format, t.dims[t.rank - 2], t.dims[t.rank - 1], &bytes,
                                      ld->error);
    if (status != MLXN_OK) {
        mlxn_lm_tensor_prefix(ld, &t);
        return status;
    }
    ld->staging_bytes = mlxn_max_u64(ld->staging_bytes, staging);
    if (mlxn_mul_u64(bytes, experts, &bytes) && mlxn_add_u64(ld->weight_bytes, bytes, &ld->weight_bytes))
        return MLXN_OK;
    return mlxn_fail(ld->error, MLXN_ERR_LIMIT, "%s: the weights do not fit 64 bits", ld->model->path_name);
}

/* Refuses a model that the device's memory limit has no room for before the first matrix is packed. */
static mlxn_status admit(mlxn_lm_loader *ld) {
    uint64_t sum;
    mlxn_status status = mlxn_lm_walk(ld, add_vector_bytes);
    if (status == MLXN_OK) status = mlxn_lm_walk(ld, add_matrix_bytes);
    if (status == MLXN_OK) status = mlxn_lm_walk(ld, add_total);
    if (status != MLXN_OK) return status;
    if (!mlxn_add_u64(ld->vector_bytes, ld->weight_bytes, &sum) || !mlxn_add_u64(sum, ld->staging_bytes, &sum))
        sum = UINT64_MAX;
    status = mlxn_device_admit(ld->model->device, sum, "weights", ld->error);
    if (status != MLXN_OK) mlxn_error_prefix(ld->error, "%s", ld->model->path_name);
    return status;
}

static mlxn_status make_buffers(mlxn_lm_loader *ld) {
    mlxn_model *m = ld->model;
    m->parts = mlxn_alloc_array(m->source->part_count, sizeof *m->parts);
    if (!m->parts) return mlxn_fail(ld->error, MLXN_ERR_MEMORY, "%s: no memory for its parts", m->path_name);
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; status == MLXN_OK && i < m->source->part_count; i++)
        status = m->source->c->wrap(m->source, i, m->device, &m->parts[i], ld->error);
    if (status == MLXN_OK && ld->vector_bytes > 0)
        status = mlxn_buffer_create(m->device, ld->vector_bytes, &m->vectors, ld->error);
    return status;
}

mlxn_status mlxn_lm_load_tensors(mlxn_model *model, const mlxn_model_desc *desc, mlxn_error *error) {
    mlxn_lm_loader ld = {.model = model, .desc = desc, .error = error};
    mlxn_status status = mlxn_lm_refuse_unused(&ld);
    for (int i = 0; status == MLXN_OK && i < 2; i++)
        if (model->rope_values[i]) status = add_vector(&ld, model->shape.rope_dims / 2);
    if (status == MLXN_OK) status = admit(&ld);
    if (status == MLXN_OK) status = make_buffers(&ld);
    if (status == MLXN_OK) status = load_computed(&ld);
    if (status == MLXN_OK) status = mlxn_lm_walk(&ld, load_one);
    if (status != MLXN_OK) return status;
    if (!model->head && model->untied && !model->headless) {
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND,
                         "%s: tensor \"lm_head.weight\" is missing, and key \"tie_word_embeddings\" is false",
                         model->path_name);
    }
    if (!model->head) {
        model->head = mlxn_weight_retain(model->token_embd);
    } else { /* of the embedding one row is read, which counts as nothing; a tied head is read whole */
        model->bytes_per_token -= mlxn_weight_bytes(model->token_embd);
    }
    if (model->layer_embd) model->bytes_per_token -= mlxn_weight_bytes(model->layer_embd);
    return MLXN_OK;
}
