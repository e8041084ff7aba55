/* work.c: the buffers of a pass, which contexts and embedders have. */
#include "lm/lm_internal.h"

enum { WORK_BUFFERS = 35 };
typedef struct work_buffer {
    mlxn_buffer **buffer;
    uint64_t rows, width; /* of four bytes */
    const char *name;
} work_buffer;

static void list_work(const mlxn_model *model, uint64_t n, mlxn_lm_work *w, work_buffer list[WORK_BUFFERS]) {
    const mlxn_lm_shape *s = &model->shape;
    uint64_t q = mlxn_lm_widest(model, MLXN_LM_Q), kv = mlxn_lm_widest(model, MLXN_LM_KV), used = s->n_experts_used,
             own = mlxn_lm_dim_value(s, MLXN_LM_EMBD_LAYERS);
    uint64_t ff = mlxn_max_u64(mlxn_max_u64(mlxn_lm_widest(model, MLXN_LM_FF), s->n_ff_shared), s->n_embd_layer);
    work_buffer all[WORK_BUFFERS] = {
        {&w->x, n, s->n_embd, "x"},
        {&w->h, n, s->n_embd, "h"},
        {&w->q, n, q, "q"},
        {&w->k, n, kv, "k"},
        {&w->v, n, mlxn_lm_widest(model, MLXN_LM_KV_VALUES), "v"},
        {&w->att, n, mlxn_lm_widest(model, MLXN_LM_VALUES), "att"},
        {&w->gate, n, ff, "gate"},
        {&w->up, n, ff, "up"},
        {&w->out_x, n, s->n_embd, "out_x"},
        {&w->out_q, n, q, "out_q"},
        {&w->q_a, n, s->q_rank, "q_a"}, /* of latent attention: width 0 in other models; so all of these */
        {&w->kv_a, n, s->kv_rank ? mlxn_lm_dim_value(s, MLXN_LM_KV_A) : 0, "kv_a"},
        {&w->latent, n, s->kv_rank, "latent"},
        {&w->kv_b, n, s->kv_rank ? mlxn_lm_dim_value(s, MLXN_LM_KV_B) : 0, "kv_b"},
        {&w->wide, n, s->attention_gate ? 2 * q : 0, "wide"},
        {&w->out_wide, n, s->attention_gate ? 2 * q : 0, "out_wide"},
        {&w->delta_fused, n, mlxn_lm_dim_value(s, MLXN_LM_DELTA_QKVZ),
         "delta_fused"}, /* of gated delta net: so too */
        {&w->delta_mix, n, mlxn_lm_dim_value(s, MLXN_LM_DELTA_QKV), "delta_mix"},
        {&w->delta_z, n, mlxn_lm_dim_value(s, MLXN_LM_DELTA_VALUES), "delta_z"},
        {&w->delta_ba, n, 2 * (uint64_t)s->delta_v_heads, "delta_ba"},
        {&w->delta_a, n, s->delta_v_heads, "delta_a"},
        {&w->delta_b, n, s->delta_v_heads, "delta_b"},
        {&w->delta_g, n, s->delta_v_heads, "delta_g"},
        {&w->delta_beta, n, s->delta_v_heads, "delta_beta"},
        {&w->delta_out, n, mlxn_lm_dim_value(s, MLXN_LM_DELTA_VALUES), "delta_out"},
        {&w->shared, n, model->layers[0].shared_gate ? s->n_embd : 0, "shared"},
        {&w->shared_score, n, model->layers[0].shared_gate ? 1 : 0, "shared_score"},
        {&w->layer_inputs, n, own, "layer_inputs"}, /* where layers have inputs of their own */
        {&w->layer_scratch, n, own, "layer_scratch"},
        {&w->router, n, s->n_experts, "router"}, /* of mixtures of experts: width 0 in other models */
        {&w->expert_ids, n, used, "expert_ids"},
        {&w->expert_weights, n, used, "expert_weights"},
        {&w->expert_gate, n * used, s->n_ff_expert, "expert_gate"},
        {&w->expert_up, n * used, s->n_ff_expert, "expert_up"},
        {&w->expert_out, n * used, used ? s->n_embd : 0, "expert_out"},
    };
    memcpy(list, all, sizeof all);
}

static mlxn_status bytes_of(const work_buffer *b, uint64_t *out, mlxn_error *error) {
    if (mlxn_mul_u64(b->rows * 4, b->width, out)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_LIMIT, "context: %llu rows of %s do not fit 64 bits",
                     (unsigned long long)b->rows, b->name);
}

mlxn_status mlxn_lm_work_create(const mlxn_model *model, uint32_t n, mlxn_lm_work *work, mlxn_error *error) {
    work_buffer list[WORK_BUFFERS];
    list_work(model, n, work, list);
    for (int i = 0; i < WORK_BUFFERS; i++) {
        uint64_t bytes = 0;
        mlxn_status status = bytes_of(&list[i], &bytes, error);
        if (status == MLXN_OK && bytes > 0) status = mlxn_buffer_create(model->device, bytes, list[i].buffer, error);
        if (status != MLXN_OK) {
            mlxn_error_prefix(error, "context: work buffer %s of %llu rows", list[i].name,
                              (unsigned long long)list[i].rows);
            return status;
        }
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_work_bytes(const mlxn_model *model, uint32_t n, uint64_t *sum, mlxn_error *error) {
    mlxn_lm_work none;
    work_buffer list[WORK_BUFFERS];
    list_work(model, n, &none, list);
    for (int i = 0; i < WORK_BUFFERS; i++) {
        uint64_t bytes = 0;
        mlxn_status status = bytes_of(&list[i], &bytes, error);
        if (status != MLXN_OK) return status;
        if (!mlxn_add_u64(*sum, bytes, sum))
            return mlxn_fail(error, MLXN_ERR_LIMIT, "context: its buffers do not fit 64 bits");
    }
    return MLXN_OK;
}

void mlxn_lm_work_destroy(const mlxn_model *model, mlxn_lm_work *work) {
    work_buffer list[WORK_BUFFERS];
    list_work(model, 1, work, list);
    for (int i = 0; i < WORK_BUFFERS; i++) mlxn_buffer_release(list[i].buffer);
}
