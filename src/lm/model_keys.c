/* model_keys.c: the hyper-parameters of a model, their checks, and the shape they give.
 *
 * Nothing that a file says is used before it is checked here: a shape that leaves this file has no zero dimension,
 * heads that divide, and products that fit 32 bits. */
#include <math.h>
#include <stdio.h>

#include "lm/lm_internal.h"

mlxn_lm_full_name mlxn_lm_key_name(const mlxn_model *model, mlxn_lm_names key) {
    mlxn_lm_full_name out;
    if (mlxn_lm_source_is_folder(model->source))
        snprintf(out.s, sizeof out.s, "%s", key.folder ? key.folder : "");
    else
        snprintf(out.s, sizeof out.s, "%s.%s", model->arch->gguf, key.gguf ? key.gguf : "");
    return out;
}

bool mlxn_lm_find(const mlxn_model *model, mlxn_lm_names key, mlxn_lm_value *out) {
    bool folder = mlxn_lm_source_is_folder(model->source);
    if (folder ? !key.folder : !key.gguf) return false;
    if (model->source->c->value(model->source, mlxn_lm_key_name(model, key).s, out)) return out->type != MLXN_LM_NULL;
    const mlxn_lm_default *d = folder ? model->arch->folder_defaults : NULL;
    while (d && d->key && strcmp(d->key, key.folder) != 0) d++;
    if (!d || !d->key) return false;
    *out = (mlxn_lm_value){.type = MLXN_LM_REAL, .v = {.f = d->value}};
    if (d->value == floor(d->value) && fabs(d->value) < 1e15)
        *out = (mlxn_lm_value){.type = MLXN_LM_INTEGER, .v = {.i = (int64_t)d->value}};
    return true;
}

mlxn_status mlxn_lm_key_fail(const mlxn_model *model, mlxn_status status, mlxn_lm_names key, mlxn_error *error,
                             const char *format, ...) {
    char text[240];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    const char *file = model->source->values_file;
    return mlxn_fail(error, status, "%s%s%s: key \"%s\" %s", model->path_name, file ? ": " : "", file ? file : "",
                     mlxn_lm_key_name(model, key).s, text);
}

static const char *type_text(mlxn_lm_value_type type) {
    static const char *const texts[] = {"an integer", "a real number", "true or false", "a string", "a list", "null"};
    return type < MLXN_LM_OTHER ? texts[type] : "no number that fits";
}

static mlxn_status read_u32(const mlxn_model *model, mlxn_lm_names key, const mlxn_lm_value *value, uint32_t *out,
                            mlxn_error *error) {
    if (value->type != MLXN_LM_INTEGER) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %s, want an integer", type_text(value->type));
    }
    if (value->v.i <= 0 || value->v.i > INT32_MAX) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %lld, want 1 to %d", (long long)value->v.i,
                                INT32_MAX);
    }
    *out = (uint32_t)value->v.i;
    return MLXN_OK;
}

static mlxn_status read_f32(const mlxn_model *model, mlxn_lm_names key, const mlxn_lm_value *value, float *out,
                            mlxn_error *error) {
    if (value->type != MLXN_LM_INTEGER && value->type != MLXN_LM_REAL) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %s, want a number", type_text(value->type));
    }
    double f = value->type == MLXN_LM_INTEGER ? (double)value->v.i : value->v.f;
    if (!(f > 0) || !((float)f > 0) || isinf((float)f)) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %g, want a positive number", f);
    }
    *out = (float)f;
    return MLXN_OK;
}

static mlxn_status missing(const mlxn_model *model, mlxn_lm_names key, mlxn_error *error) {
    return mlxn_lm_key_fail(model, MLXN_ERR_NOT_FOUND, key, error, "is missing");
}

mlxn_status mlxn_lm_key_u32(const mlxn_model *model, mlxn_lm_names key, uint32_t *out, mlxn_error *error) {
    mlxn_lm_value value;
    return mlxn_lm_find(model, key, &value) ? read_u32(model, key, &value, out, error) : missing(model, key, error);
}

mlxn_status mlxn_lm_key_u32_or(const mlxn_model *model, mlxn_lm_names key, uint32_t otherwise, uint32_t *out,
                               mlxn_error *error) {
    mlxn_lm_value value;
    *out = otherwise;
    return mlxn_lm_find(model, key, &value) ? read_u32(model, key, &value, out, error) : MLXN_OK;
}

mlxn_status mlxn_lm_key_f32(const mlxn_model *model, mlxn_lm_names key, float *out, mlxn_error *error) {
    mlxn_lm_value value;
    return mlxn_lm_find(model, key, &value) ? read_f32(model, key, &value, out, error) : missing(model, key, error);
}

mlxn_status mlxn_lm_key_f32_or(const mlxn_model *model, mlxn_lm_names key, float otherwise, float *out,
                               mlxn_error *error) {
    mlxn_lm_value value;
    *out = otherwise;
    return mlxn_lm_find(model, key, &value) ? read_f32(model, key, &value, out, error) : MLXN_OK;
}

mlxn_status mlxn_lm_key_bool_or(const mlxn_model *model, mlxn_lm_names key, bool otherwise, bool *out,
                                mlxn_error *error) {
    mlxn_lm_value value;
    *out = otherwise;
    if (!mlxn_lm_find(model, key, &value)) return MLXN_OK;
    if (value.type != MLXN_LM_BOOL) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %s, want true or false",
                                type_text(value.type));
    }
    *out = value.v.i != 0;
    return MLXN_OK;
}

static const mlxn_lm_names key_heads = {"attention.head_count", "num_attention_heads"};
static const mlxn_lm_names key_kv_heads = {"attention.head_count_kv", "num_key_value_heads"};
static const mlxn_lm_names key_embd = {"embedding_length", "hidden_size"};
static const mlxn_lm_names key_layers = {"block_count", "num_hidden_layers"};

/* Heads: how many, how wide, and that keys and values are as wide as queries. */
static mlxn_status read_heads(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    const mlxn_lm_names key_head_dim = {"attention.key_length",
                                        model->arch->folder_rotary ? model->arch->folder_rotary : "head_dim"};
    mlxn_status status = mlxn_lm_key_u32(model, key_heads, &s->n_heads, error);
    if (status != MLXN_OK) return status;
    status = mlxn_lm_key_u32_or(model, key_kv_heads, s->n_heads, &s->n_kv_heads, error);
    if (status != MLXN_OK) return status;
    if (s->n_heads % s->n_kv_heads != 0) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_heads, error, "is %u, want a multiple of %s %u",
                                s->n_heads, mlxn_lm_key_name(model, key_kv_heads).s, s->n_kv_heads);
    }
    status = mlxn_lm_key_u32_or(model, key_head_dim, 0, &s->head_dim, error);
    if (status != MLXN_OK) return status;
    if (s->head_dim == 0 && s->n_embd % s->n_heads != 0) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_embd, error, "is %u, want a multiple of %s %u", s->n_embd,
                                mlxn_lm_key_name(model, key_heads).s, s->n_heads);
    }
    if (s->head_dim == 0) s->head_dim = s->n_embd / s->n_heads;
    const mlxn_lm_names key_values = {"attention.value_length", NULL};
    status = mlxn_lm_key_u32_or(model, key_values, s->head_dim, &s->v_head_dim, error);
    if (status != MLXN_OK) return status;
    if (s->v_head_dim != s->head_dim && !model->arch->values_differ) {
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_values, error, "is %u, want %u (the length of keys)",
                                s->v_head_dim, s->head_dim);
    }
    if ((uint64_t)s->n_heads * s->head_dim > INT32_MAX) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_heads, error,
                                "is %u, which with heads of %u elements passes %d elements", s->n_heads, s->head_dim,
                                INT32_MAX);
    }
    return MLXN_OK;
}

/* What a config says of the feed-forward part and of the head, against what the architecture does. */
static mlxn_status read_folder_rest(mlxn_model *model, mlxn_error *error) {
    static const mlxn_lm_names keys[] = {{NULL, "hidden_activation"}, {NULL, "hidden_act"}};
    static const mlxn_lm_names key_tied = {NULL, "tie_word_embeddings"};
    static const mlxn_lm_names key_both_ways = {NULL, "use_bidirectional_attention"};
    const char *want = model->arch->activation;
    mlxn_lm_value value;
    for (int i = 0; i < 2; i++) {
        if (!mlxn_lm_find(model, keys[i], &value)) continue;
        if (value.type == MLXN_LM_STRING && value.v.s.size == strlen(want) &&
            memcmp(value.v.s.data, want, (size_t)value.v.s.size) == 0)
            break; /* the first of the two counts */
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, keys[i], error, "is %s%.*s%s, want \"%s\"",
                                value.type == MLXN_LM_STRING ? "\"" : type_text(value.type),
                                value.type == MLXN_LM_STRING ? (int)mlxn_min_u64(value.v.s.size, 32) : 0,
                                value.type == MLXN_LM_STRING ? value.v.s.data : "",
                                value.type == MLXN_LM_STRING ? "\"" : "", want);
    }
    bool both_ways = false;
    mlxn_status status = MLXN_OK;
    /* "vision": images alone see what follows */
    if (!mlxn_lm_find(model, key_both_ways, &value) || value.type != MLXN_LM_STRING || value.v.s.size != 6 ||
        memcmp(value.v.s.data, "vision", 6) != 0)
        status = mlxn_lm_key_bool_or(model, key_both_ways, false, &both_ways, error);
    model->shape.both_ways = both_ways;
    if (status == MLXN_OK && both_ways && !model->headless) /* it can embed, not continue */
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_both_ways, error, "is true, want false");
    if (status == MLXN_OK) {
        status = mlxn_lm_key_bool_or(model, key_tied, model->arch->tied, &model->tied, error);
        model->untied = !model->tied && mlxn_lm_find(model, key_tied, &value);
    }
    if (status != MLXN_OK) return status;
    return mlxn_lm_key_u32(model, MLXN_LM_KEY(NULL, "vocab_size"), &model->shape.n_vocab, error);
}

mlxn_status mlxn_lm_read_shape(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    mlxn_status status = mlxn_lm_key_u32(model, key_layers, &s->n_layers, error);
    if (status == MLXN_OK) status = mlxn_lm_key_u32(model, key_embd, &s->n_embd, error);
    if (status == MLXN_OK) {
        status = mlxn_lm_key_u32(model, MLXN_LM_KEY("feed_forward_length", "intermediate_size"), &s->n_ff, error);
    }
    if (status == MLXN_OK) {
        status =
            mlxn_lm_key_u32(model, MLXN_LM_KEY("context_length", "max_position_embeddings"), &s->n_ctx_train, error);
    }
    if (status == MLXN_OK) status = read_heads(model, error);
    if (status == MLXN_OK) {
        status = mlxn_lm_key_f32(model, MLXN_LM_KEY("attention.layer_norm_rms_epsilon", "rms_norm_eps"), &s->norm_eps,
                                 error);
    }
    if (status == MLXN_OK) status = mlxn_lm_read_rope(model, error);
    if (status == MLXN_OK && mlxn_lm_source_is_folder(model->source)) status = read_folder_rest(model, error);
    if (status != MLXN_OK) return status;

    const mlxn_lm_names key_experts = {"expert_count", NULL};
    mlxn_lm_value experts;
    if (model->arch->experts) {
        status = mlxn_lm_read_experts(model, error);
        if (status != MLXN_OK) return status;
    } else if (mlxn_lm_find(model, key_experts, &experts) && experts.type == MLXN_LM_INTEGER && experts.v.i != 0) {
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_experts, error,
                                "is %lld, want 0: this architecture has no mixtures of experts",
                                (long long)experts.v.i);
    }
    if (s->n_layers > model->source->tensor_count && !model->vocab_only) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_layers, error, "is %u, but there are only %llu tensors",
                                s->n_layers, (unsigned long long)model->source->tensor_count);
    }
    s->attention_scale = 1 / sqrtf((float)s->head_dim);
    return model->vocab_only ? MLXN_OK : mlxn_lm_read_layers(model, error);
}

mlxn_status mlxn_lm_read_layers(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    model->layers = mlxn_alloc_array(s->n_layers, sizeof *model->layers);
    if (!model->layers) {
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for %u layers", model->path_name, s->n_layers);
    }
    for (uint32_t i = 0; i < s->n_layers; i++) model->layers[i].cache = i;
    mlxn_status configured = model->arch->configure ? model->arch->configure(model, error) : MLXN_OK;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        mlxn_lm_layer *l = &model->layers[i];
        if (!l->n_kv_heads) l->n_kv_heads = s->n_kv_heads;
        if (!l->head_dim) l->head_dim = s->head_dim;
        if (!l->v_head_dim) l->v_head_dim = s->v_head_dim;
        if (!l->n_ff) l->n_ff = s->n_ff;
    }
    return configured;
}
