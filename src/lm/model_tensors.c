/* model_tensors.c: from the source's tensors to weights and vectors on the device.
 *
 * Matrices become weights in the device's own layout; their pages of the map are given back at once, so that only one
 * copy stays in memory. Vectors of aligned f32 are views of the mapped files; others are decoded into one buffer. */
#include <stdio.h>

#include "lm/lm_internal.h"

typedef struct loader {
    mlxn_model *model;
    const mlxn_model_desc *desc;
    uint64_t done, total;                /* bytes of tensor data */
    uint64_t vector_bytes, weight_bytes; /* that the model takes of the device */
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
        case MLXN_LM_FF_TWICE:
            return 2 * (uint64_t)shape->n_ff;
        case MLXN_LM_Q_KV:
            return ((uint64_t)shape->n_heads + shape->n_kv_heads) * shape->head_dim;
        case MLXN_LM_Q_KV_KV:
            return ((uint64_t)shape->n_heads + 2 * (uint64_t)shape->n_kv_heads) * shape->head_dim;
    }
    return 0;
}

static const char *dim_text(const mlxn_model *model, mlxn_lm_dim dim) {
    bool folder = mlxn_lm_source_is_folder(model->source);
    switch (dim) {
        case MLXN_LM_NONE:
            return "";
        case MLXN_LM_EMBD:
            return folder ? "hidden_size" : "embedding_length";
        case MLXN_LM_FF:
            return folder ? "intermediate_size" : "feed_forward_length";
        case MLXN_LM_HEAD:
            return "length of a head";
        case MLXN_LM_Q:
            return "heads x their length";
        case MLXN_LM_KV:
            return "KV heads x their length";
        case MLXN_LM_VOCAB:
            return folder ? "vocab_size" : "tokens of the tokenizer";
        case MLXN_LM_ROPE_PAIRS:
            return "half of rope.dimension_count";
        case MLXN_LM_FF_TWICE:
            return folder ? "2 x intermediate_size" : "2 x feed_forward_length";
        case MLXN_LM_Q_KV:
        case MLXN_LM_Q_KV_KV:
            return "(heads + 2 x KV heads) x their length";
    }
    return "";
}

/* Tensors of no layer. */
#define GLOBAL(gguf, folder, member, rows, cols, optional) \
    { {gguf, folder}, offsetof(mlxn_model, member), rows, cols, optional, MLXN_LM_NONE, MLXN_LM_NONE }
static const mlxn_lm_tensor_spec globals[] = {
    GLOBAL("token_embd.weight", "model.embed_tokens.weight", token_embd, MLXN_LM_VOCAB, MLXN_LM_EMBD, false),
    GLOBAL("output.weight", "lm_head.weight", head, MLXN_LM_VOCAB, MLXN_LM_EMBD, true),
    GLOBAL("output_norm.weight", "model.norm.weight", output_norm, MLXN_LM_EMBD, MLXN_LM_NONE, false),
    GLOBAL("rope_freqs.weight", NULL, rope_factors[0], MLXN_LM_ROPE_PAIRS, MLXN_LM_NONE, true),
    GLOBAL("rope_factors_short.weight", NULL, rope_factors[0], MLXN_LM_ROPE_PAIRS, MLXN_LM_NONE, true),
    GLOBAL("rope_factors_long.weight", NULL, rope_factors[1], MLXN_LM_ROPE_PAIRS, MLXN_LM_NONE, true),
    MLXN_LM_END,
};

/* Is the tensor of a folder's layer the spec's, or one of the parts of the spec's quantized matrix? */
static bool covers(const mlxn_lm_tensor_spec *spec, mlxn_string name) {
    static const char *const suffixes[] = {".weight", ".scales", ".biases"};
    const char *want = spec->names.folder;
    if (!want) return false;
    if (strlen(want) == name.size && memcmp(want, name.data, (size_t)name.size) == 0) return true;
    size_t base = strlen(want);
    if (base <= 7 || strcmp(want + base - 7, suffixes[0]) != 0) return false;
    base -= 7;
    for (int i = 1; i < 3; i++)
        if (name.size == base + 7 && memcmp(name.data, want, base) == 0 &&
            memcmp(name.data + base, suffixes[i], 7) == 0)
            return true;
    return false;
}

/* Calls `each` for the specs of no layer, then for those of every layer in turn, until one fails. */
static mlxn_status walk(loader *ld, mlxn_status (*each)(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer)) {
    mlxn_status status = MLXN_OK;
    for (const mlxn_lm_tensor_spec *s = globals; status == MLXN_OK && !mlxn_lm_spec_ends(s); s++)
        status = each(ld, s, -1);
    for (int64_t i = 0; status == MLXN_OK && i < ld->model->shape.n_layers; i++) {
        for (const mlxn_lm_tensor_spec *s = ld->model->arch->layer_tensors;
             status == MLXN_OK && !mlxn_lm_spec_ends(s); s++)
            status = each(ld, s, i);
    }
    return status;
}

/* Where the weight or the vector of a spec goes. */
static void *member_of(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    return (layer < 0 ? (char *)ld->model : (char *)&ld->model->layers[layer]) + spec->member;
}

/* "<model>: [<file>: ]tensor "<name>": <text>" */
static mlxn_status tensor_fail(loader *ld, mlxn_status status, const mlxn_lm_tensor *t, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static mlxn_status tensor_fail(loader *ld, mlxn_status status, const mlxn_lm_tensor *t, const char *format, ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    return mlxn_fail(ld->error, status, "%s%s%s: tensor \"%.*s\": %s", ld->model->path_name, t->file ? ": " : "",
                     t->file ? t->file : "", (int)mlxn_min_u64(t->name.size, 128), t->name.data, text);
}

static void tensor_prefix(loader *ld, const mlxn_lm_tensor *t) {
    mlxn_error_prefix(ld->error, "%s%s%s: tensor \"%.*s\"", ld->model->path_name, t->file ? ": " : "",
                      t->file ? t->file : "", (int)mlxn_min_u64(t->name.size, 128), t->name.data);
}

/* The tensor of a spec, whatever its dims. */
static mlxn_status look_up(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer, mlxn_lm_tensor *out,
                           bool *found) {
    const mlxn_model *m = ld->model;
    char name[160];
    *found = false;
    if (m->tied && layer < 0 && spec->member == offsetof(mlxn_model, head)) return MLXN_OK;
    if (!m->source->c->tensor_name(m->source, spec->names, layer, name, sizeof name)) return MLXN_OK;
    mlxn_status status = m->source->c->tensor(m->source, name, out, found, ld->error);
    if (status != MLXN_OK) mlxn_error_prefix(ld->error, "%s", m->path_name);
    if (status != MLXN_OK || *found || spec->optional) return status;
    return mlxn_fail(ld->error, MLXN_ERR_NOT_FOUND, "%s: tensor \"%s\" is missing", m->path_name, name);
}

static uint64_t dim(const loader *ld, mlxn_lm_dim which) { return mlxn_lm_dim_value(&ld->model->shape, which); }

/* The rows of a spec's slice alone. All parts of a tensor have as many rows. */
static void take_rows(loader *ld, const mlxn_lm_tensor_spec *spec, mlxn_lm_tensor *t) {
    mlxn_lm_range *ranges[] = {&t->data, &t->scales, &t->biases};
    uint64_t begin = dim(ld, spec->begin), rows = dim(ld, spec->rows), whole = t->dims[0];
    for (int i = 0; i < 3; i++) {
        uint64_t row = ranges[i]->bytes / whole; /* whole rows: the readers have checked it */
        ranges[i]->offset += begin * row;
        ranges[i]->data += begin * row;
        ranges[i]->bytes = rows * row;
    }
    t->elements = t->elements / whole * rows;
    t->dims[0] = rows;
}

/* The same with rank, dims and format checked, and cut to the spec's rows. *found is false (and the result OK) if it
 * is absent and optional. */
static mlxn_status find_tensor(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer, mlxn_lm_tensor *out,
                               bool *found) {
    mlxn_status status = look_up(ld, spec, layer, out, found);
    if (status != MLXN_OK || !*found) return status;
    mlxn_lm_dim want[2] = {spec->whole ? spec->whole : spec->rows, spec->cols};
    uint32_t rank = spec->cols == MLXN_LM_NONE ? 1 : 2;
    if (out->rank != rank) return tensor_fail(ld, MLXN_ERR_FORMAT, out, "rank is %u, want %u", out->rank, rank);
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t n = dim(ld, want[i]);
        if (out->dims[i] == n) continue;
        return tensor_fail(ld, MLXN_ERR_FORMAT, out, "dim[%u] is %llu, want %llu (%s)", i,
                           (unsigned long long)out->dims[i], (unsigned long long)n, dim_text(ld->model, want[i]));
    }
    if (out->known) {
        if (spec->whole) take_rows(ld, spec, out);
        return MLXN_OK;
    }
    if (out->file)
        return tensor_fail(ld, MLXN_ERR_UNSUPPORTED, out, "dtype is %s, want F32, F16 or BF16", out->type_name);
    return tensor_fail(ld, MLXN_ERR_UNSUPPORTED, out, "type %u (%s) cannot be decoded", (unsigned)out->format,
                       out->type_name);
}

static uint64_t bytes_of(const mlxn_lm_tensor *t) { return t->data.bytes + t->scales.bytes + t->biases.bytes; }

static mlxn_status progress(loader *ld, const mlxn_lm_tensor *t) {
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

static mlxn_status load_matrix(loader *ld, const mlxn_lm_tensor *t, mlxn_weight **out) {
    mlxn_model *m = ld->model;
    release_state state = {.source = m->source, .left = t->data, .row_bytes = t->data.bytes / t->dims[0]};
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .packed = release_rows,
                             .packed_user = &state,
                             .format = t->format,
                             .rows = t->dims[0],
                             .cols = t->dims[1],
                             .data = m->parts[t->data.part],
                             .offset = t->data.offset};
    if (t->scales.bytes) {
        desc.scales = m->parts[t->scales.part];
        desc.scales_offset = t->scales.offset;
        desc.scale_dtype = t->scale_dtype;
    }
    if (t->biases.bytes) {
        desc.biases = m->parts[t->biases.part];
        desc.biases_offset = t->biases.offset;
    }
    mlxn_status status = mlxn_weight_create(m->device, &desc, out, ld->error);
    if (status != MLXN_OK) {
        tensor_prefix(ld, t);
        return status;
    }
    m->source->c->release_pages(m->source, &t->data);
    m->source->c->release_pages(m->source, &t->scales);
    m->source->c->release_pages(m->source, &t->biases);
    m->bytes_per_token += mlxn_weight_bytes(*out);
    return MLXN_OK;
}

/* What is added to a vector. */
static float shift_of(const loader *ld) {
    return mlxn_lm_source_is_folder(ld->model->source) ? ld->model->arch->folder_vector_shift : 0;
}

static bool is_view(const loader *ld, const mlxn_lm_tensor *t) {
    return t->format == MLXN_FORMAT_F32 && t->data.offset % sizeof(float) == 0 && shift_of(ld) == 0;
}

static mlxn_status add_vector(loader *ld, uint64_t elements) {
    uint64_t bytes;
    if (mlxn_mul_u64(elements, sizeof(float), &bytes) && mlxn_align_u64(bytes, 64, &bytes) &&
        mlxn_add_u64(ld->vector_bytes, bytes, &ld->vector_bytes))
        return MLXN_OK;
    return mlxn_fail(ld->error, MLXN_ERR_FORMAT, "%s: the vectors do not fit 64 bits", ld->model->path_name);
}

static mlxn_status add_vector_bytes(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    if (spec->cols != MLXN_LM_NONE) return MLXN_OK;
    mlxn_status status = find_tensor(ld, spec, layer, &t, &found);
    return status != MLXN_OK || !found || is_view(ld, &t) ? status : add_vector(ld, t.elements);
}

/* Writes a vector to the model's own buffer. */
static mlxn_status store_vector(loader *ld, const float *values, uint64_t n, mlxn_tensor *out) {
    mlxn_model *m = ld->model;
    uint64_t offset = m->vectors_used;
    mlxn_status status = mlxn_buffer_write(m->vectors, offset, values, n * sizeof *values, ld->error);
    if (status != MLXN_OK) return status;
    m->vectors_used += (n * sizeof *values + 63) & ~(uint64_t)63;
    *out = mlxn_tensor_1d(m->vectors, offset, MLXN_F32, n);
    return MLXN_OK;
}

static mlxn_status load_vector(loader *ld, const mlxn_lm_tensor *t, mlxn_tensor *out) {
    mlxn_model *m = ld->model;
    m->bytes_per_token += t->elements * sizeof(float);
    if (is_view(ld, t)) {
        *out = mlxn_tensor_1d(m->parts[t->data.part], t->data.offset, MLXN_F32, t->elements);
        return MLXN_OK;
    }
    float *decoded = mlxn_alloc_array(t->elements, sizeof *decoded);
    if (!decoded) {
        return tensor_fail(ld, MLXN_ERR_MEMORY, t, "no memory for %llu floats", (unsigned long long)t->elements);
    }
    mlxn_status status = mlxn_dequantize_row(t->format, t->data.data, t->elements, decoded, ld->error);
    for (uint64_t i = 0; status == MLXN_OK && i < t->elements; i++) decoded[i] += shift_of(ld);
    if (status == MLXN_OK) status = store_vector(ld, decoded, t->elements, out);
    mlxn_free(decoded);
    if (status != MLXN_OK) tensor_prefix(ld, t);
    return status;
}

/* Rope factors that the configuration gave. */
static mlxn_status load_computed(loader *ld) {
    mlxn_model *m = ld->model;
    mlxn_status status = MLXN_OK;
    for (int i = 0; status == MLXN_OK && i < 2; i++) {
        if (!m->rope_values[i]) continue;
        status = store_vector(ld, m->rope_values[i], m->shape.rope_dims / 2, &m->rope_factors[i]);
        mlxn_free(m->rope_values[i]);
        m->rope_values[i] = NULL;
    }
    return status;
}

/* A tensor of a layer that the architecture does not use must not be left out in silence. */
static mlxn_status refuse_unused(loader *ld) {
    static const char inv_freq[] = "self_attn.rotary_emb.inv_freq"; /* old files keep what follows from the config */
    const mlxn_model *m = ld->model;
    uint64_t layer;
    mlxn_string rest;
    for (uint64_t i = 0; mlxn_lm_source_is_folder(m->source) && i < m->source->tensor_count; i++) {
        if (!mlxn_lm_folder_layer_tensor(m->source, i, &layer, &rest) || layer >= m->shape.n_layers) continue;
        const mlxn_lm_tensor_spec *s = m->arch->layer_tensors;
        while (!mlxn_lm_spec_ends(s) && !covers(s, rest)) s++;
        if (!mlxn_lm_spec_ends(s) || strcmp(rest.data, inv_freq) == 0) continue;
        return mlxn_fail(ld->error, MLXN_ERR_UNSUPPORTED,
                         "%s: tensor \"%.*s\" of layer %llu is none that architecture %s has", m->path_name,
                         (int)mlxn_min_u64(rest.size, 128), rest.data, (unsigned long long)layer, m->arch->name);
    }
    return MLXN_OK;
}

static mlxn_status load_one(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    mlxn_status status = find_tensor(ld, spec, layer, &t, &found);
    if (status != MLXN_OK || !found) return status;
    void *member = member_of(ld, spec, layer);
    status = spec->cols == MLXN_LM_NONE ? load_vector(ld, &t, member) : load_matrix(ld, &t, member);
    return status != MLXN_OK ? status : progress(ld, &t);
}

static mlxn_status add_total(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    mlxn_status status = find_tensor(ld, spec, layer, &t, &found);
    if (status == MLXN_OK && found) ld->total += bytes_of(&t); /* cannot overflow: ranges do not overlap */
    return status;
}

static mlxn_status add_matrix_bytes(loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer) {
    mlxn_lm_tensor t;
    bool found;
    uint64_t bytes;
    if (spec->cols == MLXN_LM_NONE) return MLXN_OK;
    mlxn_status status = find_tensor(ld, spec, layer, &t, &found);
    if (status != MLXN_OK || !found) return status;
    status = mlxn_weight_device_bytes(ld->model->device, t.format, t.dims[0], t.dims[1], &bytes, ld->error);
    if (status != MLXN_OK) {
        tensor_prefix(ld, &t);
        return status;
    }
    if (mlxn_add_u64(ld->weight_bytes, bytes, &ld->weight_bytes)) return MLXN_OK;
    return mlxn_fail(ld->error, MLXN_ERR_LIMIT, "%s: the weights do not fit 64 bits", ld->model->path_name);
}

/* Refuses a model that the device's memory limit has no room for before the first matrix is packed. */
static mlxn_status admit(loader *ld) {
    uint64_t sum;
    mlxn_status status = walk(ld, add_vector_bytes);
    if (status == MLXN_OK) status = walk(ld, add_matrix_bytes);
    if (status == MLXN_OK) status = walk(ld, add_total);
    if (status != MLXN_OK) return status;
    if (!mlxn_add_u64(ld->vector_bytes, ld->weight_bytes, &sum)) sum = UINT64_MAX;
    status = mlxn_device_admit(ld->model->device, sum, "weights", ld->error);
    if (status != MLXN_OK) mlxn_error_prefix(ld->error, "%s", ld->model->path_name);
    return status;
}

static mlxn_status make_buffers(loader *ld) {
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
    loader ld = {.model = model, .desc = desc, .error = error};
    mlxn_status status = refuse_unused(&ld);
    for (int i = 0; status == MLXN_OK && i < 2; i++)
        if (model->rope_values[i]) status = add_vector(&ld, model->shape.rope_dims / 2);
    if (status == MLXN_OK) status = admit(&ld);
    if (status == MLXN_OK) status = make_buffers(&ld);
    if (status == MLXN_OK) status = load_computed(&ld);
    if (status == MLXN_OK) status = walk(&ld, load_one);
    if (status != MLXN_OK) return status;
    if (!model->head && model->untied) {
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND,
                         "%s: tensor \"lm_head.weight\" is missing, and key \"tie_word_embeddings\" is false",
                         model->path_name);
    }
    if (!model->head) {
        model->head = mlxn_weight_retain(model->token_embd);
    } else { /* of the embedding one row is read, which counts as nothing; a tied head is read whole */
        model->bytes_per_token -= mlxn_weight_bytes(model->token_embd);
    }
    return MLXN_OK;
}
