/* model_rope.c: rotary position embedding: how many dims turn, by which base, and how frequencies are scaled for
 * contexts longer than those of training.
 *
 * Every scaling but the linear one becomes factors that divide the frequency of each pair, computed here in double:
 * Llama 3 (Dubey et al. 2024, as its reference code has it), YaRN (Peng et al. 2023), LongRoPE (Ding et al. 2024). */
#include <math.h>
#include <stdio.h>

#include "lm/lm_internal.h"

/* Where a folder keeps its rope parameters: an object, and names in it; GGUF has keys of its own for each. */
typedef struct rope_key {
    char folder[96];
    mlxn_lm_names names;
} rope_key;

static mlxn_lm_names named(rope_key *key, const char *object, const char *name, const char *gguf) {
    snprintf(key->folder, sizeof key->folder, "%s.%s", object, name);
    key->names = (mlxn_lm_names){gguf, key->folder};
    return key->names;
}

static bool is(mlxn_string text, const char *word) {
    return text.size == strlen(word) && memcmp(text.data, word, (size_t)text.size) == 0;
}

/* The object of the layers that see everything: "rope_parameters" as transformers 5 writes it (per type of layer or
 * not), "rope_scaling" as versions before did. "" if there is none. */
static const char *find_object(const mlxn_model *model) {
    static const char *const objects[] = {"rope_parameters.full_attention", "rope_parameters", "rope_scaling"};
    mlxn_lm_value value;
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        if (mlxn_lm_find(model, MLXN_LM_KEY(NULL, objects[i]), &value)) return objects[i];
    return "";
}

/* base / context / factor of what is scaled. */
typedef struct scaling {
    const char *object;
    float factor;
    uint32_t context; /* of training before it was extended */
} scaling;

static float *make_factors(mlxn_model *model, mlxn_error *error) {
    uint32_t pairs = model->shape.rope_dims / 2;
    float *factors = mlxn_alloc_array(pairs, sizeof *factors);
    if (!factors) (void)mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for %u factors", model->path_name, pairs);
    return factors;
}

/* Frequencies of pairs that turn fewer than low_freq_factor times in the training context are divided by `factor`,
 * of those that turn more than high_freq_factor times not at all; between, the two are mixed. */
static mlxn_status llama3_factors(mlxn_model *model, const scaling *sc, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    rope_key key;
    float low, high;
    mlxn_status status = mlxn_lm_key_f32(model, named(&key, sc->object, "low_freq_factor", NULL), &low, error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_f32(model, named(&key, sc->object, "high_freq_factor", NULL), &high, error);
    if (status != MLXN_OK) return status;
    if (high <= low) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key.names, error, "is %g, want more than low_freq_factor %g",
                                (double)high, (double)low);
    }
    float *factors = model->rope_values[0] = make_factors(model, error);
    if (!factors) return MLXN_ERR_MEMORY;
    const double pi = 3.14159265358979323846;
    for (uint32_t i = 0; i < s->rope_dims / 2; i++) {
        double turns = sc->context * pow((double)s->rope_base, -2.0 * i / s->rope_dims) / (2 * pi);
        double mix = fmin(fmax((turns - (double)low) / ((double)high - (double)low), 0), 1);
        factors[i] = (float)(1 / ((1 - mix) / (double)sc->factor + mix));
    }
    return MLXN_OK;
}

static double yarn_scale(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1; }

static mlxn_status yarn_factors(mlxn_model *model, const scaling *sc, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    rope_key key;
    float fast, slow, attention, m, m_all;
    bool whole = true;
    mlxn_status status = mlxn_lm_key_f32_or(
        model, named(&key, sc->object, "beta_fast", "rope.scaling.yarn_beta_fast"), 32, &fast, error);
    if (status == MLXN_OK) {
        named(&key, sc->object, "beta_slow", "rope.scaling.yarn_beta_slow");
        status = mlxn_lm_key_f32_or(model, key.names, 1, &slow, error);
    }
    if (status == MLXN_OK) status = mlxn_lm_key_f32_or(model, named(&key, sc->object, "mscale", NULL), 0, &m, error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_f32_or(model, named(&key, sc->object, "mscale_all_dim", NULL), 0, &m_all, error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_bool_or(model, named(&key, sc->object, "truncate", NULL), !model->arch->yarn_fractions,
                                     &whole, error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_f32_or(model, named(&key, sc->object, "attention_factor", NULL), 0, &attention, error);
    if (status != MLXN_OK) return status;
    double factor = (double)sc->factor;
    double usual = m > 0 && m_all > 0 ? yarn_scale(factor, (double)m) / yarn_scale(factor, (double)m_all)
                                      : yarn_scale(factor, 1);
    s->rope_attn_factor *= attention > 0 ? attention : (float)usual;
    float *factors = model->rope_values[0] = make_factors(model, error);
    if (!factors) return MLXN_ERR_MEMORY;
    float low, high;
    mlxn_rope_yarn_ramp(s->rope_dims, (double)s->rope_base, sc->context, (double)fast, (double)slow, whole, &low,
                        &high);
    for (uint32_t i = 0; i < s->rope_dims / 2; i++) {
        double ramp = fmin(fmax((i - (double)low) / fmax(0.001, (double)high - (double)low), 0), 1);
        factors[i] = (float)(1 / (ramp / factor + 1 - ramp));
    }
    return MLXN_OK;
}

/* Reads a list of one factor for each pair. */
static mlxn_status read_factors(mlxn_model *model, mlxn_lm_names key, float **out, mlxn_error *error) {
    uint32_t pairs = model->shape.rope_dims / 2;
    mlxn_lm_value list, one;
    if (!mlxn_lm_find(model, key, &list) || list.type != MLXN_LM_LIST)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is no list, want %u factors", pairs);
    if (list.v.count != pairs) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "has %llu elements, want %u (pairs of dims)",
                                (unsigned long long)list.v.count, pairs);
    }
    float *factors = *out = make_factors(model, error);
    if (!factors) return MLXN_ERR_MEMORY;
    for (uint32_t i = 0; i < pairs; i++) {
        bool number = model->source->c->element(model->source, &list, i, &one) &&
                      (one.type == MLXN_LM_REAL || one.type == MLXN_LM_INTEGER);
        factors[i] = !number ? 0 : one.type == MLXN_LM_REAL ? (float)one.v.f : (float)one.v.i;
        if (!(factors[i] > 0) || isinf(factors[i]))
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "element %u is no positive number", i);
    }
    return MLXN_OK;
}

/* Two sets of factors: a context longer than that of training takes the second. */
static mlxn_status long_factors(mlxn_model *model, const scaling *sc, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    rope_key key;
    float attention;
    mlxn_status status =
        read_factors(model, named(&key, sc->object, "short_factor", NULL), &model->rope_values[0], error);
    if (status == MLXN_OK)
        status = read_factors(model, named(&key, sc->object, "long_factor", NULL), &model->rope_values[1], error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_f32_or(model, named(&key, sc->object, "attention_factor", NULL), 0, &attention, error);
    if (status != MLXN_OK) return status;
    double usual = sc->factor <= 1 ? 1 : sqrt(1 + log((double)sc->factor) / log(sc->context));
    s->rope_attn_factor = attention > 0 ? attention : (float)usual;
    s->rope_long_from = sc->context;
    return MLXN_OK;
}

static mlxn_status apply(mlxn_model *model, mlxn_lm_names key, mlxn_string type, const scaling *sc,
                         mlxn_error *error) {
    if (is(type, "linear")) {
        model->shape.rope_freq_scale = 1 / sc->factor;
        return MLXN_OK;
    }
    if (is(type, "proportional") && model->arch->proportional) {
        model->shape.rope_pairing = MLXN_ROPE_HEAD_HALF;
        model->shape.rope_freq_scale = 1 / sc->factor;
        return MLXN_OK;
    }
    if (is(type, "yarn") && !model->arch->yarn_is_long) return yarn_factors(model, sc, error);
    bool folder = mlxn_lm_source_is_folder(model->source);
    if (folder && is(type, "llama3")) return llama3_factors(model, sc, error);
    if (folder && (is(type, "longrope") || is(type, "su") || is(type, "yarn"))) return long_factors(model, sc, error);
    return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key, error, "is \"%.*s\", want %s",
                            (int)mlxn_min_u64(type.size, 32), type.data,
                            folder ? "\"default\", \"linear\", \"llama3\", \"yarn\" or \"longrope\""
                                   : "\"none\", \"linear\" or \"yarn\"");
}

static mlxn_status read_gguf_scaling(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    const mlxn_lm_names key_type = {"rope.scaling.type", NULL};
    const mlxn_lm_names key_context = {"rope.scaling.original_context_length", NULL};
    scaling sc = {.object = ""};
    mlxn_lm_value type;
    mlxn_status status = mlxn_lm_key_u32_or(model, key_context, s->n_ctx_train, &sc.context, error);
    if (status == MLXN_OK) {
        status =
            mlxn_lm_key_f32_or(model, MLXN_LM_KEY("rope.scaling.attn_factor", NULL), 1, &s->rope_attn_factor, error);
    }
    if (status != MLXN_OK) return status;
    s->rope_long_from = sc.context; /* where there are two sets of factors */
    if (!mlxn_lm_find(model, key_type, &type)) {
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("rope.scale_linear", NULL), 1, &sc.factor, error);
        s->rope_freq_scale = 1 / sc.factor;
        return status;
    }
    if (type.type != MLXN_LM_STRING) return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_type, error, "is no string");
    if (is(type.v.s, "none")) return MLXN_OK;
    status = mlxn_lm_key_f32(model, MLXN_LM_KEY("rope.scaling.factor", NULL), &sc.factor, error);
    return status != MLXN_OK ? status : apply(model, key_type, type.v.s, &sc, error);
}

static mlxn_status read_folder_scaling(mlxn_model *model, const char *object, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    scaling sc = {.object = object};
    rope_key type_key, key;
    mlxn_lm_value type;
    named(&type_key, object, "rope_type", NULL);
    if (!mlxn_lm_find(model, type_key.names, &type) &&
        !mlxn_lm_find(model, named(&type_key, object, "type", NULL), &type))
        return MLXN_OK;
    if (type.type != MLXN_LM_STRING)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, type_key.names, error, "is no string");
    if (is(type.v.s, "default")) return MLXN_OK;
    named(&key, object, "original_max_position_embeddings", NULL);
    mlxn_lm_value context;
    if (!mlxn_lm_find(model, key.names, &context)) key.names = MLXN_LM_KEY(NULL, "original_max_position_embeddings");
    mlxn_status status = mlxn_lm_key_u32_or(model, key.names, s->n_ctx_train, &sc.context, error);
    if (status != MLXN_OK) return status;
    status = mlxn_lm_key_f32_or(model, named(&key, object, "factor", NULL),
                                (float)((double)s->n_ctx_train / sc.context), &sc.factor, error);
    return status != MLXN_OK ? status : apply(model, type_key.names, type.v.s, &sc, error);
}

static mlxn_status read_dims(mlxn_model *model, const char *object, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_names name = {"rope.dimension_count", "partial_rotary_factor"};
    rope_key key;
    float part;
    mlxn_status status;
    if (mlxn_lm_source_is_folder(model->source)) {
        mlxn_lm_value value;
        if (mlxn_lm_find(model, named(&key, object, name.folder, NULL), &value)) name = key.names;
        status = mlxn_lm_key_f32_or(model, name, 1, &part, error);
        if (status == MLXN_OK && part > 1)
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, name, error, "is %g, want at most 1", (double)part);
        s->rope_dims = (uint32_t)(s->head_dim * (double)part);
    } else {
        status = mlxn_lm_key_u32_or(model, name, s->head_dim, &s->rope_dims, error);
    }
    if (status != MLXN_OK) return status;
    if (s->rope_dims == 0 || s->rope_dims > s->head_dim || s->rope_dims % 2 != 0) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, name, error,
                                "gives %u dims, want an even number up to %u (the length of a head)", s->rope_dims,
                                s->head_dim);
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_read_rope(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    bool folder = mlxn_lm_source_is_folder(model->source);
    const char *object = folder ? find_object(model) : "";
    rope_key key;
    mlxn_lm_value value;
    s->rope_pairing = folder ? MLXN_ROPE_HALF : model->arch->gguf_pairing;
    s->rope_freq_scale = s->rope_attn_factor = 1;
    mlxn_lm_names base = {"rope.freq_base", "rope_theta"};
    if (folder && mlxn_lm_find(model, named(&key, object, "rope_theta", NULL), &value)) base = key.names;
    mlxn_status status = mlxn_lm_key_f32_or(model, base, 10000, &s->rope_base, error);
    if (status == MLXN_OK) status = read_dims(model, object, error);
    if (status != MLXN_OK) return status;
    return folder ? read_folder_scaling(model, object, error) : read_gguf_scaling(model, error);
}
