/* model.c: loading, information and lifetime of a model. */
#include <stdio.h>

#include "lm/lm_internal.h"

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
    mlxn_buffer_release(&m->vectors);
    for (uint32_t i = 0; m->parts && i < m->source->part_count; i++) mlxn_buffer_release(&m->parts[i]);
    mlxn_free(m->parts);
    mlxn_tokenizer_destroy(m->tokenizer);
    mlxn_lm_source_close(m->source); /* last: buffers and the tokenizer point into it */
    mlxn_device_release(&m->device);
    mlxn_free(m->path_name);
    mlxn_free(m->name);
    mlxn_free(m);
}

/* general.name, or the file's name where there is none. */
static char *read_name(const mlxn_model *m) {
    mlxn_string name;
    if (mlxn_gguf_get_string(m->source->gguf, "general.name", &name, NULL) == MLXN_OK && name.size > 0) {
        return mlxn_strndup(name.data, name.size);
    }
    return mlxn_strdup(m->path_name);
}

static char *copy_of_path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return mlxn_strdup(slash && slash[1] ? slash + 1 : path);
}

static mlxn_status find_arch(mlxn_model *m, mlxn_error *error) {
    mlxn_string arch;
    mlxn_status status = mlxn_gguf_get_string(m->source->gguf, "general.architecture", &arch, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "%s", m->path_name);
        return status;
    }
    m->arch = mlxn_lm_arch_find(arch);
    if (m->arch) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: architecture \"%.*s\" is not supported, want one of %s",
                     m->path_name, (int)mlxn_min_u64(arch.size, 64), arch.data, mlxn_lm_arch_names());
}

static mlxn_status load(mlxn_model *m, const char *path, const mlxn_model_desc *desc, mlxn_error *error) {
    mlxn_status status = mlxn_lm_source_open_gguf(path, &m->source, error);
    if (status != MLXN_OK) return status;
    m->name = read_name(m);
    if (!m->name) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", m->path_name);
    status = find_arch(m, error);
    if (status != MLXN_OK) return status;
    status = mlxn_tokenizer_create(m->source->gguf, &m->tokenizer, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "%s", m->path_name);
        return status;
    }
    if (mlxn_gguf_get_string(m->source->gguf, "tokenizer.chat_template", &m->chat_template, NULL) != MLXN_OK) {
        m->chat_template = (mlxn_string){0};
    }
    m->shape.n_vocab = mlxn_tokenizer_size(m->tokenizer);
    status = mlxn_lm_read_shape(m, error);
    if (status != MLXN_OK || m->vocab_only) return status;
    return mlxn_lm_load_tensors(m, desc, error);
}

mlxn_status mlxn_model_load(mlxn_device *device, const char *path, const mlxn_model_desc *desc, mlxn_model **out,
                            mlxn_error *error) {
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
        .tokenizer = mlxn_tokenizer_name(model->tokenizer),
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
        .has_chat_template = model->chat_template.size > 0,
    };
    memcpy(out, &info, mlxn_min_u64(out->struct_size, sizeof info));
    return MLXN_OK;
}

mlxn_device *mlxn_model_device(const mlxn_model *model) { return model ? model->device : NULL; }
