/* model.c: loading, information and lifetime of a model. */
#include <stdio.h>
#include <sys/stat.h>

#include "lm/lm_internal.h"
#include "lm/token_trie.h"

static void destroy(mlxn_model *m) {
    if (m->layers) {
        for (uint32_t i = 0; i < m->shape.n_layers; i++) {
            for (const mlxn_lm_tensor_spec *spec = m->arch->layer_tensors; !mlxn_lm_spec_ends(spec); spec++) {
                if (spec->cols == MLXN_LM_NONE) continue;
                mlxn_weight_release((mlxn_weight **)((char *)&m->layers[i] + spec->member));
            }
        }
        mlxn_free(m->layers);
    }
    mlxn_weight_release(&m->token_embd);
    mlxn_weight_release(&m->head);
    mlxn_weight_release(&m->layer_embd);
    mlxn_weight_release(&m->layer_projection);
    mlxn_buffer_release(&m->vectors);
    for (int i = 0; i < 2; i++) mlxn_free(m->rope_values[i]);
    mlxn_free(m->ends);
    for (uint32_t i = 0; m->parts && i < m->source->part_count; i++) mlxn_buffer_release(&m->parts[i]);
    mlxn_free(m->parts);
    mlxn_token_trie_destroy(atomic_load(&m->trie));
    mlxn_tokenizer_destroy(m->tokenizer);
    mlxn_lm_source_close(m->source); /* last: buffers and the tokenizer point into it */
    mlxn_device_release(&m->device);
    mlxn_free(m->path_name);
    mlxn_free(m->name);
    mlxn_free(m);
}

/* The file's or folder's own name. */
static char *copy_of_path_name(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return mlxn_strndup(path + begin, end - begin);
}

static mlxn_status no_memory(const mlxn_model *m, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", m->path_name);
}

static mlxn_status find_arch(mlxn_model *m, mlxn_error *error) {
    bool folder = mlxn_lm_source_is_folder(m->source);
    const char *file = m->source->values_file, *key = folder ? "model_type" : "general.architecture";
    const char *colon = file ? ": " : "";
    mlxn_lm_value value;
    if (!file) file = "";
    if (!m->source->c->value(m->source, key, &value)) {
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s%s%s: key \"%s\" is missing", m->path_name, colon, file, key);
    }
    if (value.type != MLXN_LM_STRING)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s%s%s: key \"%s\" is no string", m->path_name, colon, file, key);
    m->arch = mlxn_lm_arch_find(value.v.s, folder);
    if (m->arch) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s%s%s: architecture \"%.*s\" is not supported, want one of %s",
                     m->path_name, colon, file, (int)mlxn_min_u64(value.v.s.size, 64), value.v.s.data,
                     mlxn_lm_arch_names());
}

static mlxn_status prepare_gguf(mlxn_model *m, mlxn_error *error) {
    mlxn_string name;
    bool named = mlxn_gguf_get_string(m->source->gguf, "general.name", &name, NULL) == MLXN_OK && name.size > 0;
    m->name = named ? mlxn_strndup(name.data, name.size) : mlxn_strdup(m->path_name);
    if (!m->name) return no_memory(m, error);
    mlxn_status status = mlxn_tokenizer_create(m->source->gguf, &m->tokenizer, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "%s", m->path_name);
        return status;
    }
    m->shape.n_vocab = mlxn_tokenizer_size(m->tokenizer);
    return MLXN_OK;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static mlxn_status load(mlxn_model *m, const char *path, const mlxn_model_desc *desc, mlxn_error *error) {
    bool folder = is_folder(path);
    mlxn_status status = folder ? mlxn_lm_source_open_folder(path, &m->source, error)
                                : mlxn_lm_source_open_gguf(path, &m->source, error);
    if (status != MLXN_OK && folder) mlxn_error_prefix(error, "%s", m->path_name);
    if (status == MLXN_OK) status = find_arch(m, error);
    if (status == MLXN_OK) status = folder ? mlxn_lm_prepare_folder(m, path, error) : prepare_gguf(m, error);
    if (status == MLXN_OK) status = mlxn_lm_read_shape(m, error);
    if (status != MLXN_OK || m->vocab_only) return status;
    return mlxn_lm_load_tensors(m, desc, error);
}

static mlxn_status load_as(mlxn_device *device, const char *path, const mlxn_model_desc *desc, bool headless,
                           mlxn_model **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "model: out is NULL");
    *out = NULL;
    mlxn_model_desc d;
    if (!mlxn_lm_copy_desc(&d, sizeof d, desc)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "model: desc.struct_size is 0, want %zu", sizeof d);
    }
    if (!path || !*path) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "model: path is empty");
    if (!device && !d.vocab_only) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "model: device is NULL, which only vocab_only allows");
    }
    mlxn_model *m = mlxn_alloc(sizeof *m);
    if (!m) return mlxn_fail(error, MLXN_ERR_MEMORY, "model: no memory");
    atomic_init(&m->references, 1);
    m->vocab_only = d.vocab_only;
    m->headless = headless;
    if (device && !d.vocab_only) m->device = mlxn_device_retain(device);
    m->path_name = copy_of_path_name(path);
    mlxn_status status =
        m->path_name ? load(m, path, &d, error) : mlxn_fail(error, MLXN_ERR_MEMORY, "model: no memory");
    if (status != MLXN_OK) {
        destroy(m);
        return status;
    }
    *out = m;
    return mlxn_succeed(error);
}

mlxn_status mlxn_model_load(mlxn_device *device, const char *path, const mlxn_model_desc *desc, mlxn_model **out,
                            mlxn_error *error) {
    return load_as(device, path, desc, false, out, error);
}

mlxn_status mlxn_lm_load_headless(mlxn_device *device, const char *path, mlxn_model **out, mlxn_error *error) {
    return load_as(device, path, NULL, true, out, error);
}

mlxn_model *mlxn_model_retain(mlxn_model *model) {
    if (model) atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void mlxn_model_release(mlxn_model **model) {
    if (!model || !*model) return;
    mlxn_model *m = *model;
    *model = NULL;
    if (atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) == 1) destroy(m);
}

mlxn_status mlxn_model_get_info(const mlxn_model *model, mlxn_model_info *out) {
    if (!model || !out || out->struct_size == 0) return MLXN_ERR_ARGUMENT;
    const mlxn_lm_shape *s = &model->shape;
    mlxn_model_info info = {
        .struct_size = out->struct_size,
        .architecture = model->arch->name,
        .name = model->name,
        .tokenizer = model->tokenizer ? mlxn_tokenizer_name(model->tokenizer) : NULL,
        .n_layers = s->n_layers,
        .n_embd = s->n_embd,
        .n_ff = s->n_ff,
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .head_dim = s->head_dim,
        .n_vocab = s->n_vocab,
        .n_ctx_train = s->n_ctx_train,
        .sliding_window = s->window,
        .n_params = model->n_params,
        .file_bytes = model->source->file_bytes,
        .bytes_per_token = model->bytes_per_token,
        .has_chat_template = model->tokenizer && mlxn_tokenizer_chat_template(model->tokenizer).size > 0,
    };
    memcpy(out, &info, mlxn_min_u64(out->struct_size, sizeof info));
    return MLXN_OK;
}

mlxn_device *mlxn_model_device(const mlxn_model *model) { return model ? model->device : NULL; }
