/* model_rope.c: rotary position embedding: base, pairing, and how frequencies are scaled for longer contexts. */
#include "lm/lm_internal.h"

static bool is(mlxn_string text, const char *word) {
    return text.size == strlen(word) && memcmp(text.data, word, (size_t)text.size) == 0;
}

/* Only the linear form changes nothing but the frequencies' factor; others are named and refused. */
static mlxn_status read_gguf_scaling(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    const mlxn_lm_names key_type = {"rope.scaling.type", NULL}, key_factor = {"rope.scaling.factor", NULL};
    mlxn_lm_value type;
    float factor = 1;
    mlxn_status status;
    if (!mlxn_lm_find(model, key_type, &type)) {
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("rope.scale_linear", NULL), 1, &factor, error);
    } else if (type.type != MLXN_LM_STRING) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_type, error, "is no string");
    } else if (is(type.v.s, "none")) {
        return MLXN_OK;
    } else if (is(type.v.s, "linear")) {
        status = mlxn_lm_key_f32(model, key_factor, &factor, error);
    } else {
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_type, error,
                                "is \"%.*s\", want \"none\" or \"linear\"", (int)mlxn_min_u64(type.v.s.size, 32),
                                type.v.s.data);
    }
    s->rope_freq_scale = 1 / factor;
    return status;
}

mlxn_status mlxn_lm_read_rope(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    s->rope_pairing = model->arch->gguf_pairing;
    s->rope_freq_scale = s->rope_attn_factor = 1;
    mlxn_status status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("rope.freq_base", NULL), 10000, &s->rope_base, error);
    return status != MLXN_OK ? status : read_gguf_scaling(model, error);
}
