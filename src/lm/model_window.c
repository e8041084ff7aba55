/* model_window.c: sliding windows: how wide, and which layers have one. */
#include "lm/lm_internal.h"

/* One element for every layer: not 0 where it slides. */
static mlxn_status read_list(mlxn_model *model, mlxn_lm_names key, const mlxn_lm_value *list, mlxn_error *error) {
    if (list->v.count != model->shape.n_layers) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "has %llu elements, want %u (layers)",
                                (unsigned long long)list->v.count, model->shape.n_layers);
    }
    for (uint32_t i = 0; i < model->shape.n_layers; i++) {
        mlxn_lm_value slides;
        if (!model->source->c->element(model->source, list, i, &slides) || slides.type != MLXN_LM_INTEGER)
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is no list of integers");
        model->layers[i].sliding = slides.v.i != 0;
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_read_pattern(mlxn_model *model, uint32_t every, mlxn_error *error) {
    const mlxn_lm_names key = {"attention.sliding_window_pattern", "sliding_window_pattern"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_value list;
    mlxn_status status =
        mlxn_lm_key_u32(model, MLXN_LM_KEY("attention.sliding_window", "sliding_window"), &s->window, error);
    if (status != MLXN_OK) return status;
    if (mlxn_lm_find(model, key, &list) && list.type == MLXN_LM_LIST) return read_list(model, key, &list, error);
    status = mlxn_lm_key_u32_or(model, key, every, &every, error);
    if (status != MLXN_OK) return status;
    for (uint32_t i = 0; i < s->n_layers; i++) model->layers[i].sliding = (i + 1) % every != 0;
    return MLXN_OK;
}
