/* experts.c: mixtures of experts: what the source says of them, and their part of the pass (Shazeer et al. 2017). */
#include "lm/lm_internal.h"

mlxn_status mlxn_lm_read_experts(mlxn_model *model, mlxn_error *error) {
    static const mlxn_lm_names names[] = {
        {"expert_count", "num_experts"}, {NULL, "num_local_experts"}, {NULL, "n_routed_experts"}};
    static const mlxn_lm_names key_used = {"expert_used_count", "num_experts_per_tok"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_value value;
    mlxn_lm_names key = names[0];
    for (size_t i = sizeof names / sizeof names[0]; i-- > 0;)
        if (mlxn_lm_find(model, names[i], &value)) key = names[i];
    mlxn_status status = mlxn_lm_key_u32(model, key, &s->n_experts, error);
    if (status == MLXN_OK) status = mlxn_lm_key_u32(model, key_used, &s->n_experts_used, error);
    if (status == MLXN_OK && s->n_experts_used > s->n_experts) {
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_used, error, "is %u, want at most %s %u",
                                s->n_experts_used, mlxn_lm_key_name(model, key).s, s->n_experts);
    }
    if (status != MLXN_OK) return status;
    return mlxn_lm_key_u32_or(model, MLXN_LM_KEY("expert_feed_forward_length", "moe_intermediate_size"), s->n_ff,
                              &s->n_ff_expert, error);
}

void mlxn_lm_experts(const mlxn_lm_forward *f, const mlxn_lm_layer *layer) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_work *w = f->work;
    const mlxn_tensor none = {0};
    const mlxn_moe_route_params route = {
        .score = s->route_selected ? MLXN_ROUTE_SELECTED_SOFTMAX : MLXN_ROUTE_SOFTMAX,
        .normalize = s->normalize_experts ? MLXN_ROUTE_NORMALIZE : MLXN_ROUTE_AS_IS,
        .factor = s->route_factor,
        .groups = s->route_groups,
        .top_groups = s->route_top_groups,
        .group_best = s->route_groups ? 1 : 0};
    const mlxn_glu_params glu = {.fn = MLXN_GLU_SILU_CLAMPED, .alpha = s->glu_alpha, .limit = s->glu_limit};
    uint64_t n = f->n, used = s->n_experts_used;
    mlxn_tensor router = mlxn_tensor_2d(w->router, 0, MLXN_F32, n, s->n_experts);
    mlxn_tensor ids = mlxn_tensor_2d(w->expert_ids, 0, MLXN_U32, n, used);
    mlxn_tensor weights = mlxn_tensor_2d(w->expert_weights, 0, MLXN_F32, n, used);
    mlxn_tensor gate = mlxn_tensor_2d(w->expert_gate, 0, MLXN_F32, n * used, s->n_ff_expert);
    mlxn_tensor up = mlxn_tensor_2d(w->expert_up, 0, MLXN_F32, n * used, s->n_ff_expert);
    mlxn_tensor out = mlxn_tensor_2d(w->expert_out, 0, MLXN_F32, n * used, s->n_embd);
    mlxn_encoder *e = f->encoder;

    mlxn_matmul(e, f->h, layer->router, layer->router_bias, none, router);
    mlxn_moe_route(e, router, none, none, ids, weights, &route);
    mlxn_matmul_id(e, f->h, layer->gate_experts, ids, layer->gate_experts_bias, gate);
    mlxn_matmul_id(e, f->h, layer->up_experts, ids, layer->up_experts_bias, up);
    if (s->glu_limit > 0)
        mlxn_glu(e, gate, up, gate, &glu);
    else
        mlxn_silu_mul(e, gate, up, gate);
    mlxn_matmul_id(e, gate, layer->down_experts, ids, layer->down_experts_bias, out);
    mlxn_tensor shared = none, score = none;
    if (layer->shared_gate) {
        mlxn_tensor g = mlxn_tensor_2d(w->gate, 0, MLXN_F32, n, s->n_ff_shared);
        mlxn_tensor u = mlxn_tensor_2d(w->up, 0, MLXN_F32, n, s->n_ff_shared);
        shared = mlxn_tensor_2d(w->shared, 0, MLXN_F32, n, s->n_embd);
        score = mlxn_tensor_1d(w->shared_score, 0, MLXN_F32, n);
        mlxn_matmul(e, f->h, layer->gate_shared, none, none, g);
        mlxn_matmul(e, f->h, layer->up_shared, none, none, u);
        mlxn_silu_mul(e, g, u, g);
        mlxn_matmul(e, g, layer->down_shared, none, none, shared);
        mlxn_matmul(e, f->h, layer->shared_gate, none, none, mlxn_tensor_2d(w->shared_score, 0, MLXN_F32, n, 1));
    }
    mlxn_moe_sum(e, mlxn_tensor_3d(w->expert_out, 0, MLXN_F32, n, used, s->n_embd), weights, shared, score, f->x,
                 f->x);
}
