/* model_window.c: sliding windows: how wide, and which layers have one. */
#include "lm/lm_internal.h"

/* One element for every layer: not 0, or "sliding_attention", where it slides. */
static mlxn_status read_list(mlxn_model *model, mlxn_lm_names key, const mlxn_lm_value *list, mlxn_error *error) {
    static const char *const words[] = {"full_attention", "sliding_attention"};
    if (list->v.count != model->shape.n_layers) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "has %llu elements, want %u (layers)",
                                (unsigned long long)list->v.count, model->shape.n_layers);
    }
    for (uint32_t i = 0; i < model->shape.n_layers; i++) {
        mlxn_lm_value one;
        int slides = -1;
        if (!model->source->c->element(model->source, list, i, &one)) one.type = MLXN_LM_OTHER;
        if (one.type == MLXN_LM_INTEGER || one.type == MLXN_LM_BOOL) slides = one.v.i != 0;
        for (int k = 0; k < 2 && one.type == MLXN_LM_STRING; k++)
            if (one.v.s.size == strlen(words[k]) && memcmp(one.v.s.data, words[k], (size_t)one.v.s.size) == 0)
                slides = k;
        if (slides < 0) {
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "element %u is neither \"%s\" nor \"%s\"", i,
                                    words[0], words[1]);
        }
        model->layers[i].sliding = slides;
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_read_window(mlxn_model *model, mlxn_lm_slide rule, uint32_t n, mlxn_error *error) {
    static const mlxn_lm_names key_width = {"attention.sliding_window", "sliding_window"};
    static const mlxn_lm_names key_types = {NULL, "layer_types"};
    static const mlxn_lm_names key_pattern = {"attention.sliding_window_pattern", "sliding_window_pattern"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_value value;
    bool there = mlxn_lm_find(model, key_width, &value);
    if (mlxn_lm_source_is_folder(model->source) ||
        rule == MLXN_LM_SLIDE_ALL) { /* then 0 says that there is none, too */
        if (!there || (value.type == MLXN_LM_INTEGER && value.v.i == 0)) return MLXN_OK;
    }
    mlxn_status status = mlxn_lm_key_u32(model, key_width, &s->window, error);
    if (status != MLXN_OK) return status;
    if (mlxn_lm_find(model, key_types, &value) && value.type == MLXN_LM_LIST)
        return read_list(model, key_types, &value, error);
    if (mlxn_lm_find(model, key_pattern, &value) && value.type == MLXN_LM_LIST)
        return read_list(model, key_pattern, &value, error);
    if (rule == MLXN_LM_SLIDE_ALL_BUT_NTH) status = mlxn_lm_key_u32_or(model, key_pattern, n, &n, error);
    for (uint32_t i = 0; status == MLXN_OK && i < s->n_layers; i++) {
        model->layers[i].sliding =
            rule == MLXN_LM_SLIDE_ALL || (rule == MLXN_LM_SLIDE_FROM ? i >= n : (i + 1) % n != 0);
    }
    return status;
}
