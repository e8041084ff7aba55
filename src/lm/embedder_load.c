/* embedder_load.c: the shape and the tensors of a BERT model (Devlin et al. 2019), or of a RoBERTa or XLM-RoBERTa,
 * whose positions begin behind that of padding (Liu et al. 2019, Conneau et al. 2020), under the names of folders,
 * with and without the model's name before them, and of GGUF files. */
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lm/embedder.h"

typedef struct loader {
    mlxn_embedder *m;
    const char *prefix;   /* of a folder's tensors */
    uint64_t used, bytes; /* of m->vectors */
    float *values;        /* what goes to m->vectors, while it is collected */
    mlxn_error *error;
} loader;

/* ---- keys ---- */

static const char *key_text(const mlxn_embedder *m, mlxn_lm_names key, char out[96]) {
    if (mlxn_lm_source_is_folder(m->source))
        snprintf(out, 96, "%s", key.folder);
    else
        snprintf(out, 96, "bert.%s", key.gguf);
    return out;
}

static bool find(const mlxn_embedder *m, mlxn_lm_names key, mlxn_lm_value *out) {
    char name[96];
    if (!(mlxn_lm_source_is_folder(m->source) ? key.folder : key.gguf)) return false;
    return m->source->c->value(m->source, key_text(m, key, name), out) && out->type != MLXN_LM_NULL;
}

static mlxn_status read_u32(const mlxn_embedder *m, mlxn_lm_names key, uint32_t most, uint32_t *out,
                            mlxn_error *error) {
    char name[96];
    mlxn_lm_value v;
    if (!find(m, key, &v))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: key \"%s\" is missing", m->path_name,
                         key_text(m, key, name));
    if (v.type != MLXN_LM_INTEGER || v.v.i < 1 || v.v.i > (int64_t)most)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: key \"%s\" is %lld, want an integer from 1 to %u", m->path_name,
                         key_text(m, key, name), v.type == MLXN_LM_INTEGER ? (long long)v.v.i : 0, most);
    *out = (uint32_t)v.v.i;
    return MLXN_OK;
}

static bool is(mlxn_string s, const char *text) {
    return s.size == strlen(text) && !memcmp(s.data, text, (size_t)s.size);
}

static mlxn_status read_activation(mlxn_embedder *m, mlxn_error *error) {
    static const struct {
        const char *name;
        uint32_t fn;
    } rows[] = {{"gelu", MLXN_UNARY_GELU_ERF},
                {"gelu_new", MLXN_UNARY_GELU},
                {"gelu_pytorch_tanh", MLXN_UNARY_GELU},
                {"relu", MLXN_UNARY_RELU},
                {"silu", MLXN_UNARY_SILU}};
    mlxn_lm_value v;
    m->shape.activation = MLXN_UNARY_GELU_ERF;
    if (!find(m, (mlxn_lm_names){NULL, "hidden_act"}, &v)) return MLXN_OK;
    for (size_t i = 0; v.type == MLXN_LM_STRING && i < sizeof rows / sizeof rows[0]; i++) {
        if (!is(v.v.s, rows[i].name)) continue;
        m->shape.activation = rows[i].fn;
        return MLXN_OK;
    }
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                     "%s: key \"hidden_act\" is \"%.*s\", want gelu, gelu_new, relu or silu", m->path_name,
                     v.type == MLXN_LM_STRING ? (int)mlxn_min_u64(v.v.s.size, 40) : 0,
                     v.type == MLXN_LM_STRING ? v.v.s.data : "");
}

/* RoBERTa's positions begin behind that of the padding token, 1 unless the config says otherwise. */
static mlxn_status read_first_position(mlxn_embedder *m, mlxn_error *error) {
    mlxn_emb_shape *s = &m->shape;
    mlxn_lm_value v;
    if (!mlxn_lm_source_is_folder(m->source) || !m->source->c->value(m->source, "model_type", &v) ||
        is(v.v.s, "bert"))
        return MLXN_OK;
    int64_t pad = 1;
    if (find(m, (mlxn_lm_names){NULL, "pad_token_id"}, &v)) pad = v.type == MLXN_LM_INTEGER ? v.v.i : -1;
    if (pad < 0 || pad + 1 >= s->n_ctx)
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: key \"pad_token_id\" is %lld, want 0 to %lld (two less than max_position_embeddings)",
                         m->path_name, (long long)pad, (long long)s->n_ctx - 2);
    s->first_position = (uint32_t)pad + 1;
    s->n_ctx -= s->first_position;
    return MLXN_OK;
}

static mlxn_status read_shape(mlxn_embedder *m, mlxn_error *error) {
    static const mlxn_lm_names eps = {"attention.layer_norm_epsilon", "layer_norm_eps"};
    mlxn_emb_shape *s = &m->shape;
    mlxn_lm_value v;
    const struct {
        mlxn_lm_names key;
        uint32_t most, *out;
    } numbers[] = {{{"block_count", "num_hidden_layers"}, 1000, &s->n_layers},
                   {{"embedding_length", "hidden_size"}, 1 << 20, &s->n_embd},
                   {{"feed_forward_length", "intermediate_size"}, 1 << 22, &s->n_ff},
                   {{"attention.head_count", "num_attention_heads"}, 4096, &s->n_heads},
                   {{"context_length", "max_position_embeddings"}, 1 << 20, &s->n_ctx}};
    mlxn_status status = MLXN_OK;
    for (size_t i = 0; !status && i < sizeof numbers / sizeof numbers[0]; i++)
        status = read_u32(m, numbers[i].key, numbers[i].most, numbers[i].out, error);
    if (!status) status = read_first_position(m, error);
    if (!status) status = read_activation(m, error);
    if (status) return status;
    if (s->n_embd % s->n_heads)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %u elements are no whole heads, of which there are %u",
                         m->path_name, s->n_embd, s->n_heads);
    if (s->n_layers > m->source->tensor_count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %u layers, but only %llu tensors", m->path_name, s->n_layers,
                         (unsigned long long)m->source->tensor_count);
    if (find(m, (mlxn_lm_names){NULL, "position_embedding_type"}, &v) && v.type == MLXN_LM_STRING &&
        !is(v.v.s, "absolute"))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "%s: key \"position_embedding_type\" is \"%.*s\", want \"absolute\"", m->path_name,
                         (int)mlxn_min_u64(v.v.s.size, 40), v.v.s.data);
    s->eps = 1e-12f;
    if (find(m, eps, &v) && (v.type == MLXN_LM_REAL || v.type == MLXN_LM_INTEGER))
        s->eps = v.type == MLXN_LM_REAL ? (float)v.v.f : (float)v.v.i;
    char name[96];
    if (!(s->eps > 0) || isinf(s->eps))
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: key \"%s\" is %g, want a positive number", m->path_name,
                         key_text(m, eps, name), (double)s->eps);
    return MLXN_OK;
}

/* ---- tokenizer ---- */

/* A folder without tokenizer.json has none, and takes ids. */
static mlxn_status read_tokenizer(mlxn_embedder *m, const char *path, mlxn_error *error) {
    static const char name[] = "/tokenizer.json";
    struct stat info;
    size_t n = strlen(path);
    char *file = mlxn_alloc(n + sizeof name);
    if (!file) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", m->path_name);
    memcpy(file, path, n);
    memcpy(file + n, name, sizeof name);
    bool there = mlxn_lm_source_is_folder(m->source) && !stat(file, &info);
    mlxn_free(file);
    return there ? mlxn_tokenizer_load(path, &m->tokenizer, error) : MLXN_OK;
}

/* ---- tensors ---- */

static void full_name(const loader *ld, mlxn_lm_names names, int64_t layer, const char *suffix, char out[200]) {
    bool folder = mlxn_lm_source_is_folder(ld->m->source);
    if (layer < 0)
        snprintf(out, 200, "%s%s%s", folder ? ld->prefix : "", folder ? names.folder : names.gguf, suffix);
    else if (folder)
        snprintf(out, 200, "%sencoder.layer.%lld.%s%s", ld->prefix, (long long)layer, names.folder, suffix);
    else
        snprintf(out, 200, "blk.%lld.%s%s", (long long)layer, names.gguf, suffix);
}

static mlxn_status find_tensor(loader *ld, const char *name, uint32_t rank, uint64_t rows, uint64_t cols,
                               mlxn_lm_tensor *out) {
    mlxn_embedder *m = ld->m;
    bool found;
    mlxn_status status = m->source->c->tensor(m->source, name, out, &found, ld->error);
    if (status) return status;
    if (!found) return mlxn_fail(ld->error, MLXN_ERR_NOT_FOUND, "%s: tensor \"%s\" is missing", m->path_name, name);
    if (!out->known)
        return mlxn_fail(ld->error, MLXN_ERR_UNSUPPORTED, "%s: tensor \"%s\" is %s, which cannot be decoded",
                         m->path_name, name, out->type_name);
    if (out->rank == rank && out->dims[0] == (rank == 1 ? cols : rows) && (rank == 1 || out->dims[1] == cols)) {
        m->n_params += out->elements;
        return MLXN_OK;
    }
    return mlxn_fail(
        ld->error, MLXN_ERR_FORMAT, "%s: tensor \"%s\" is [%llu, %llu] of rank %u, want [%llu, %llu] of rank %u",
        m->path_name, name, (unsigned long long)out->dims[0], (unsigned long long)(out->rank > 1 ? out->dims[1] : 1),
        out->rank, (unsigned long long)(rank == 1 ? cols : rows), (unsigned long long)(rank == 1 ? 1 : cols), rank);
}

static mlxn_status load_matrix(loader *ld, const char *name, uint64_t rows, uint64_t cols, mlxn_weight **out) {
    mlxn_embedder *m = ld->m;
    mlxn_lm_tensor t;
    mlxn_status status = find_tensor(ld, name, 2, rows, cols, &t);
    if (status) return status;
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = t.format,
                             .rows = rows,
                             .cols = cols,
                             .data = m->parts[t.data.part],
                             .offset = t.data.offset};
    if (t.scales.bytes) {
        desc.scales = m->parts[t.scales.part];
        desc.scales_offset = t.scales.offset;
        desc.scale_dtype = t.scale_dtype;
    }
    if (t.biases.bytes) {
        desc.biases = m->parts[t.biases.part];
        desc.biases_offset = t.biases.offset;
    }
    status = mlxn_weight_create(m->device, &desc, out, ld->error);
    if (status) mlxn_error_prefix(ld->error, "%s: tensor \"%s\"", m->path_name, name);
    m->source->c->release_pages(m->source, &t.data);
    return status;
}

/* Row `r` of a tensor, plain, in blocks or in MLX's groups. */
static mlxn_status decode_row(const mlxn_lm_tensor *t, uint64_t r, uint64_t rows, uint64_t cols, float *out,
                              mlxn_error *error) {
    uint64_t bytes = t->data.bytes / rows, scales = t->scales.bytes / rows, biases = t->biases.bytes / rows;
    if (!t->scales.bytes) return mlxn_dequantize_row(t->format, t->data.data + r * bytes, cols, out, error);
    const mlxn_group_row row = {.codes = (void *)(uintptr_t)(t->data.data + r * bytes),
                                .scales = (void *)(uintptr_t)(t->scales.data + r * scales),
                                .biases = biases ? (void *)(uintptr_t)(t->biases.data + r * biases) : NULL,
                                .scale_dtype = t->scale_dtype};
    return mlxn_dequantize_groups(t->format, &row, cols, out, error);
}

/* Decodes rows into ld->values; *out will be their place in m->vectors. */
static mlxn_status load_rows(loader *ld, const char *name, uint32_t rank, uint64_t rows, uint64_t cols,
                             mlxn_tensor *out) {
    mlxn_embedder *m = ld->m;
    mlxn_lm_tensor t;
    mlxn_status status = find_tensor(ld, name, rank, rows, cols, &t);
    for (uint64_t r = 0; !status && r < rows; r++)
        status = decode_row(&t, r, rows, cols, ld->values + ld->used + r * cols, ld->error);
    if (status) return status;
    *out = rank == 1 ? mlxn_tensor_1d(m->vectors, ld->used * 4, MLXN_F32, cols)
                     : mlxn_tensor_2d(m->vectors, ld->used * 4, MLXN_F32, rows, cols);
    ld->used += rows * cols;
    return MLXN_OK;
}

static mlxn_status load_norm(loader *ld, mlxn_lm_names names, int64_t layer, mlxn_emb_norm *out) {
    char name[200];
    full_name(ld, names, layer, ".weight", name);
    mlxn_status status = load_rows(ld, name, 1, 1, ld->m->shape.n_embd, &out->w);
    full_name(ld, names, layer, ".bias", name);
    return status ? status : load_rows(ld, name, 1, 1, ld->m->shape.n_embd, &out->bias);
}

static mlxn_status load_linear(loader *ld, mlxn_lm_names names, int64_t layer, uint64_t rows, uint64_t cols,
                               mlxn_emb_linear *out) {
    char name[200];
    full_name(ld, names, layer, ".weight", name);
    mlxn_status status = load_matrix(ld, name, rows, cols, &out->w);
    full_name(ld, names, layer, ".bias", name);
    return status ? status : load_rows(ld, name, 1, 1, rows, &out->bias);
}

static mlxn_status load_layer(loader *ld, uint32_t i) {
    const mlxn_emb_shape *s = &ld->m->shape;
    mlxn_emb_layer *l = &ld->m->layers[i];
    const struct {
        mlxn_lm_names names;
        uint64_t rows, cols;
        mlxn_emb_linear *out;
    } linears[] = {{{"attn_q", "attention.self.query"}, s->n_embd, s->n_embd, &l->q},
                   {{"attn_k", "attention.self.key"}, s->n_embd, s->n_embd, &l->k},
                   {{"attn_v", "attention.self.value"}, s->n_embd, s->n_embd, &l->v},
                   {{"attn_output", "attention.output.dense"}, s->n_embd, s->n_embd, &l->o},
                   {{"ffn_up", "intermediate.dense"}, s->n_ff, s->n_embd, &l->up},
                   {{"ffn_down", "output.dense"}, s->n_embd, s->n_ff, &l->down}};
    mlxn_status status = MLXN_OK;
    for (size_t k = 0; !status && k < sizeof linears / sizeof linears[0]; k++)
        status = load_linear(ld, linears[k].names, i, linears[k].rows, linears[k].cols, linears[k].out);
    if (!status)
        status = load_norm(ld, (mlxn_lm_names){"attn_output_norm", "attention.output.LayerNorm"}, i, &l->attention);
    return status ? status : load_norm(ld, (mlxn_lm_names){"layer_output_norm", "output.LayerNorm"}, i, &l->out);
}

/* Positions and the first of the token types are added once, here, instead of in each pass. */
static mlxn_status load_positions(loader *ld) {
    static const mlxn_lm_names names[] = {{"position_embd.weight", "embeddings.position_embeddings.weight"},
                                          {"token_types.weight", "embeddings.token_type_embeddings.weight"}};
    mlxn_embedder *m = ld->m;
    const mlxn_emb_shape *s = &m->shape;
    mlxn_tensor types;
    mlxn_lm_tensor t;
    char name[200];
    bool found = false;
    uint64_t first = ld->used, rows_there = (uint64_t)s->first_position + s->n_ctx;
    full_name(ld, names[0], -1, "", name);
    mlxn_status status = load_rows(ld, name, 2, rows_there, s->n_embd, &m->positions);
    m->positions = mlxn_tensor_2d(m->vectors, (first + (uint64_t)s->first_position * s->n_embd) * 4, MLXN_F32,
                                  s->n_ctx, s->n_embd);
    full_name(ld, names[1], -1, "", name);
    if (!status) status = m->source->c->tensor(m->source, name, &t, &found, ld->error);
    if (status || !found) return status;
    uint64_t rows = t.rank == 2 && t.dims[0] <= 16 ? t.dims[0] : 1, at = ld->used;
    status = load_rows(ld, name, 2, rows, s->n_embd, &types);
    for (uint64_t i = 0; !status && i < rows_there * s->n_embd; i++)
        ld->values[first + i] += ld->values[at + i % s->n_embd];
    ld->used = at; /* they are in the positions now */
    return status;
}

static mlxn_status load_all(loader *ld) {
    mlxn_embedder *m = ld->m;
    char name[200];
    full_name(ld, (mlxn_lm_names){"token_embd.weight", "embeddings.word_embeddings.weight"}, -1, "", name);
    mlxn_status status = load_matrix(ld, name, m->shape.n_vocab, m->shape.n_embd, &m->tokens);
    if (!status) status = load_positions(ld);
    if (!status) status = load_norm(ld, (mlxn_lm_names){"token_embd_norm", "embeddings.LayerNorm"}, -1, &m->norm);
    for (uint32_t i = 0; !status && i < m->shape.n_layers; i++) status = load_layer(ld, i);
    return status ? status : mlxn_buffer_write(m->vectors, 0, ld->values, ld->used * 4, ld->error);
}

/* "", "bert." or "roberta.", and the size of the vocabulary. */
static mlxn_status look(loader *ld) {
    mlxn_embedder *m = ld->m;
    mlxn_lm_tensor t;
    char name[200];
    static const char *const prefixes[] = {"", "bert.", "roberta."}; /* XLM-RoBERTa's is the last, too */
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        bool found;
        ld->prefix = prefixes[i];
        full_name(ld, (mlxn_lm_names){"token_embd.weight", "embeddings.word_embeddings.weight"}, -1, "", name);
        mlxn_status status = m->source->c->tensor(m->source, name, &t, &found, ld->error);
        if (status) return status;
        if (!found || t.rank != 2 || t.dims[0] > INT32_MAX) continue;
        m->shape.n_vocab = (uint32_t)t.dims[0];
        return MLXN_OK;
    }
    return mlxn_fail(ld->error, MLXN_ERR_FORMAT, "%s: there is no matrix \"%s\"", m->path_name, name);
}

mlxn_status mlxn_emb_load(mlxn_embedder *m, const char *path, mlxn_error *error) {
    loader ld = {.m = m, .error = error};
    mlxn_emb_shape *s = &m->shape;
    mlxn_status status = read_shape(m, error);
    if (!status) status = read_tokenizer(m, path, error);
    if (!status) status = look(&ld);
    if (status) return status;
    /* Of positions and up to 16 types, norms and biases; each factor was bounded. */
    uint64_t n = ((uint64_t)s->n_ctx + s->first_position + 16 + 2 + (uint64_t)s->n_layers * 9) * s->n_embd +
                 (uint64_t)s->n_layers * s->n_ff;
    if (n > SIZE_MAX / 8) return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: its vectors do not fit memory", m->path_name);
    ld.values = mlxn_alloc_array((size_t)n, sizeof *ld.values);
    m->layers = mlxn_alloc_array(s->n_layers, sizeof *m->layers);
    m->parts = mlxn_alloc_array(m->source->part_count, sizeof *m->parts);
    if (!ld.values || !m->layers || !m->parts)
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for its vectors", m->path_name);
    if (!status) status = mlxn_buffer_create(m->device, n * 4, &m->vectors, error);
    for (uint32_t i = 0; !status && i < m->source->part_count; i++)
        status = m->source->c->wrap(m->source, i, m->device, &m->parts[i], error);
    if (!status) status = load_all(&ld);
    mlxn_free(ld.values);
    return status;
}
