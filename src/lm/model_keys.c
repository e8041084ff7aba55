/* model_keys.c: metadata of a model: keys with the architecture's prefix, their checks, and the shape they give.
 *
 * Nothing that a file says is used before it is checked here: a shape that leaves this file has no zero dimension,
 * heads that divide, and products that fit 32 bits. */
#include <math.h>
#include <stdio.h>

#include "lm/lm_internal.h"

bool mlxn_lm_key_name(const mlxn_model *model, const char *key, char *out, size_t size) {
    int n = snprintf(out, size, "%s.%s", model->arch->name, key);
    return n > 0 && (size_t)n < size;
}

/* Finds the key under its full name, which `name` (128 bytes) receives. */
static bool find(const mlxn_model *model, const char *key, char *name) {
    mlxn_gguf_value value;
    return mlxn_lm_key_name(model, key, name, 128) && mlxn_gguf_find(model->file, name, &value);
}

static mlxn_status missing(const mlxn_model *model, const char *name, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: key \"%s\" is missing", model->path_name, name);
}

static mlxn_status prefixed(const mlxn_model *model, mlxn_status status, mlxn_error *error) {
    mlxn_error_prefix(error, "%s", model->path_name);
    return status;
}

static mlxn_status read_u32(const mlxn_model *model, const char *name, uint32_t *out, mlxn_error *error) {
    uint64_t value;
    mlxn_status status = mlxn_gguf_get_u64(model->file, name, &value, error);
    if (status != MLXN_OK) return prefixed(model, status, error);
    if (value == 0 || value > INT32_MAX) {
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: key \"%s\" is %llu, want 1 to %d", model->path_name, name,
                         (unsigned long long)value, INT32_MAX);
    }
    *out = (uint32_t)value;
    return MLXN_OK;
}

static mlxn_status read_f32(const mlxn_model *model, const char *name, float *out, mlxn_error *error) {
    double value;
    mlxn_status status = mlxn_gguf_get_f64(model->file, name, &value, error);
    if (status != MLXN_OK) return prefixed(model, status, error);
    if (!(value > 0) || !((float)value > 0) || isinf((float)value)) {
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: key \"%s\" is %g, want a positive number", model->path_name,
                         name, value);
    }
    *out = (float)value;
    return MLXN_OK;
}

mlxn_status mlxn_lm_key_u32(const mlxn_model *model, const char *key, uint32_t *out, mlxn_error *error) {
    char name[128];
    return find(model, key, name) ? read_u32(model, name, out, error) : missing(model, name, error);
}

mlxn_status mlxn_lm_key_u32_or(const mlxn_model *model, const char *key, uint32_t otherwise, uint32_t *out,
                               mlxn_error *error) {
    char name[128];
    *out = otherwise;
    return find(model, key, name) ? read_u32(model, name, out, error) : MLXN_OK;
}

mlxn_status mlxn_lm_key_f32(const mlxn_model *model, const char *key, float *out, mlxn_error *error) {
    char name[128];
    return find(model, key, name) ? read_f32(model, name, out, error) : missing(model, name, error);
}

mlxn_status mlxn_lm_key_f32_or(const mlxn_model *model, const char *key, float otherwise, float *out,
                               mlxn_error *error) {
    char name[128];
    *out = otherwise;
    return find(model, key, name) ? read_f32(model, name, out, error) : MLXN_OK;
}

/* Only the linear form of context scaling changes nothing but the frequencies' factor; others are named and refused.
 */
static mlxn_status read_rope_scaling(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    s->rope_freq_scale = 1;
    char name[128];
    if (!find(model, "rope.scaling.type", name)) {
        float factor;
        mlxn_status status = mlxn_lm_key_f32_or(model, "rope.scale_linear", 1, &factor, error);
        s->rope_freq_scale = 1 / factor;
        return status;
    }
    mlxn_string type;
    mlxn_status status = mlxn_gguf_get_string(model->file, name, &type, error);
    if (status != MLXN_OK) return prefixed(model, status, error);
    if (type.size == 4 && memcmp(type.data, "none", 4) == 0) return MLXN_OK;
    if (type.size == 6 && memcmp(type.data, "linear", 6) == 0) {
        float factor;
        status = mlxn_lm_key_f32(model, "rope.scaling.factor", &factor, error);
        if (status == MLXN_OK) s->rope_freq_scale = 1 / factor;
        return status;
    }
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: key \"%s\" is \"%.*s\", want \"none\" or \"linear\"",
                     model->path_name, name, (int)mlxn_min_u64(type.size, 32), type.data);
}

/* Heads: how many, how wide, and that keys and values are as wide as queries. */
static mlxn_status read_heads(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    mlxn_status status = mlxn_lm_key_u32(model, "attention.head_count", &s->n_heads, error);
    if (status != MLXN_OK) return status;
    status = mlxn_lm_key_u32_or(model, "attention.head_count_kv", s->n_heads, &s->n_kv_heads, error);
    if (status != MLXN_OK) return status;
    if (s->n_heads % s->n_kv_heads != 0) {
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: %s.attention.head_count is %u, want a multiple of head_count_kv %u", model->path_name,
                         model->arch->name, s->n_heads, s->n_kv_heads);
    }
    char name[128];
    if (find(model, "attention.key_length", name)) {
        status = read_u32(model, name, &s->head_dim, error);
        if (status != MLXN_OK) return status;
    } else if (s->n_embd % s->n_heads != 0) {
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: %s.embedding_length is %u, want a multiple of attention.head_count %u",
                         model->path_name, model->arch->name, s->n_embd, s->n_heads);
    } else {
        s->head_dim = s->n_embd / s->n_heads;
    }
    uint32_t value_length;
    status = mlxn_lm_key_u32_or(model, "attention.value_length", s->head_dim, &value_length, error);
    if (status != MLXN_OK) return status;
    if (value_length != s->head_dim) {
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "%s: %s.attention.value_length is %u, want %u (the length of keys)", model->path_name,
                         model->arch->name, value_length, s->head_dim);
    }
    status = mlxn_lm_key_u32_or(model, "rope.dimension_count", s->head_dim, &s->rope_dims, error);
    if (status != MLXN_OK) return status;
    if (s->rope_dims > s->head_dim || s->rope_dims % 2 != 0) {
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: %s.rope.dimension_count is %u, want an even number up to %u (the length of a head)",
                         model->path_name, model->arch->name, s->rope_dims, s->head_dim);
    }
    if ((uint64_t)s->n_heads * s->head_dim > INT32_MAX) {
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %u heads of %u elements, want at most %d elements",
                         model->path_name, s->n_heads, s->head_dim, INT32_MAX);
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_read_shape(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    mlxn_status status = mlxn_lm_key_u32(model, "block_count", &s->n_layers, error);
    if (status == MLXN_OK) status = mlxn_lm_key_u32(model, "embedding_length", &s->n_embd, error);
    if (status == MLXN_OK) status = mlxn_lm_key_u32(model, "feed_forward_length", &s->n_ff, error);
    if (status == MLXN_OK) status = mlxn_lm_key_u32(model, "context_length", &s->n_ctx_train, error);
    if (status == MLXN_OK) status = read_heads(model, error);
    if (status == MLXN_OK) {
        status = mlxn_lm_key_f32(model, "attention.layer_norm_rms_epsilon", &s->norm_eps, error);
    }
    if (status == MLXN_OK) status = mlxn_lm_key_f32_or(model, "rope.freq_base", 10000, &s->rope_base, error);
    if (status == MLXN_OK) status = read_rope_scaling(model, error);
    if (status != MLXN_OK) return status;

    char name[128];
    uint64_t experts;
    if (find(model, "expert_count", name) && mlxn_gguf_get_u64(model->file, name, &experts, NULL) == MLXN_OK &&
        experts != 0) {
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "%s: key \"%s\" is %llu, want 0: mixtures of experts are not "
                         "supported",
                         model->path_name, name, (unsigned long long)experts);
    }
    uint64_t tensors = mlxn_gguf_tensor_count(model->file);
    if (s->n_layers > tensors && !model->vocab_only) {
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %s.block_count is %u, but the file has only %llu tensors",
                         model->path_name, model->arch->name, s->n_layers, (unsigned long long)tensors);
    }
    s->attention_scale = 1 / sqrtf((float)s->head_dim);
    s->rope_base_window = s->rope_base;
    if (model->vocab_only) return MLXN_OK;
    model->layers = mlxn_alloc_array(s->n_layers, sizeof *model->layers);
    if (!model->layers) {
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for %u layers", model->path_name, s->n_layers);
    }
    return model->arch->configure ? model->arch->configure(model, error) : MLXN_OK;
}
