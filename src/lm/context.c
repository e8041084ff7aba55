/* context.c: making and ending a context, and the lengths of its sequences. context_decode.c computes. */
#include "lm/lm_internal.h"

enum { DEFAULT_CTX = 4096, DEFAULT_BATCH = 512, MAX_SEQUENCES = 1 << 16 };
enum { DEFAULT_CHECKPOINTS = 4, MAX_CHECKPOINTS = 1 << 10, DEFAULT_CHECKPOINT_EVERY = 512 };

/* Refuses a context that the device's memory limit has no room for before anything is made. */
static mlxn_status admit(mlxn_context *c, const mlxn_lm_kv_desc *kv, mlxn_error *error) {
    uint64_t sum = 0, few = (uint64_t)c->graph_rows * 4 * ((uint64_t)c->model->shape.n_vocab + 3);
    mlxn_status status = mlxn_lm_kv_bytes(c->model, kv, &sum, error);
    if (status == MLXN_OK) status = mlxn_lm_work_bytes(c->model, c->n_batch, &sum, error);
    if (status == MLXN_OK && !mlxn_add_u64(sum, few, &sum))
        status = mlxn_fail(error, MLXN_ERR_LIMIT, "context: its buffers do not fit 64 bits");
    if (status != MLXN_OK) return status;
    status = mlxn_device_admit(c->device, sum, "context", error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "%u sequences of %u tokens in steps of %u", c->n_sequences, c->n_ctx, c->n_batch);
    }
    return status;
}

/* Beside the work of a pass: inputs and logits of steps of few rows. */
static mlxn_status make_few(mlxn_context *c, mlxn_error *error) {
    uint64_t n = (uint64_t)c->graph_rows * 4;
    mlxn_status status = mlxn_buffer_create(c->device, n * c->model->shape.n_vocab, &c->graph_logits, error);
    if (status == MLXN_OK) status = mlxn_buffer_create(c->device, n * 3, &c->graph_inputs, error);
    if (status != MLXN_OK) mlxn_error_prefix(error, "context: inputs and logits of %u rows", c->graph_rows);
    return status;
}

/* Of models with recurrent layers. */
static mlxn_status read_checkpoints(mlxn_context *c, const mlxn_context_desc *d, mlxn_error *error) {
    bool recurrent = false;
    for (uint32_t i = 0; i < c->model->shape.n_layers; i++) recurrent |= c->model->layers[i].recurrent;
    if (!recurrent) return MLXN_OK;
    c->n_checkpoints = d->n_checkpoints == MLXN_NO_CHECKPOINTS ? 0
                       : d->n_checkpoints                      ? d->n_checkpoints
                                                               : DEFAULT_CHECKPOINTS;
    c->checkpoint_every = d->checkpoint_every ? d->checkpoint_every : DEFAULT_CHECKPOINT_EVERY;
    c->kv.n_states = c->n_sequences * (1 + c->n_checkpoints);
    if (c->n_checkpoints <= MAX_CHECKPOINTS) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "context: n_checkpoints is %u, want at most %d", c->n_checkpoints,
                     MAX_CHECKPOINTS);
}

static mlxn_status make_sequences(mlxn_context *c, mlxn_error *error) {
    c->sequences = mlxn_alloc_array(c->n_sequences, sizeof *c->sequences);
    if (!c->sequences) {
        return mlxn_fail(error, MLXN_ERR_MEMORY, "context: no memory for %u sequences", c->n_sequences);
    }
    for (uint32_t i = 0; i < c->n_sequences; i++) {
        mlxn_lm_sequence *s = &c->sequences[i];
        s->tokens = mlxn_alloc_array(c->n_ctx, sizeof *s->tokens);
        if (s->tokens && c->n_checkpoints)
            s->checkpoints = mlxn_alloc_array(c->n_checkpoints, sizeof *s->checkpoints);
        if (!s->tokens || (c->n_checkpoints && !s->checkpoints))
            return mlxn_fail(error, MLXN_ERR_MEMORY, "context: no memory for the ids of %u tokens", c->n_ctx);
    }
    return MLXN_OK;
}

static mlxn_status fill(mlxn_context *c, const mlxn_context_desc *d, mlxn_error *error) {
    const mlxn_lm_shape *s = &c->model->shape;
    c->n_ctx = d->n_ctx == MLXN_CTX_MODEL ? s->n_ctx_train
               : d->n_ctx == 0            ? (uint32_t)mlxn_min_u64(s->n_ctx_train, DEFAULT_CTX)
                                          : d->n_ctx;
    c->n_sequences = d->n_sequences ? d->n_sequences : 1;
    if (c->n_ctx > INT32_MAX) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "context: n_ctx is %u, want at most %d", c->n_ctx, INT32_MAX);
    }
    if (c->n_sequences > MAX_SEQUENCES) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "context: n_sequences is %u, want at most %d", c->n_sequences,
                         MAX_SEQUENCES);
    }
    uint64_t batch = d->n_batch ? d->n_batch : DEFAULT_BATCH;
    c->n_batch = (uint32_t)mlxn_min_u64(batch, (uint64_t)c->n_ctx * c->n_sequences);
    c->graph_rows = (uint32_t)mlxn_min_u64(mlxn_min_u64(c->n_sequences, c->n_batch), MLXN_LM_GRAPH_ROWS);

    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_status status = mlxn_device_get_info(c->device, &info);
    if (status != MLXN_OK) return mlxn_fail(error, status, "context: the device does not answer");
    mlxn_kv_type usual = info.precision == MLXN_PRECISION_F32 ? MLXN_KV_F32 : MLXN_KV_F16;
    mlxn_kv_type k_type = d->k_type ? d->k_type : usual, v_type = d->v_type ? d->v_type : usual;
    status = read_checkpoints(c, d, error);
    if (status != MLXN_OK) return status;
    const mlxn_lm_kv_desc kv = {c->n_ctx, c->n_sequences, c->n_batch, c->kv.n_states, k_type, v_type};
    status = admit(c, &kv, error);
    if (status == MLXN_OK) status = make_sequences(c, error);
    if (status == MLXN_OK) status = mlxn_lm_kv_create(c->model, &kv, &c->kv, error);
    if (status == MLXN_OK) status = mlxn_lm_work_create(c->model, c->n_batch, &c->work, error);
    if (status == MLXN_OK) status = make_few(c, error);
    if (status == MLXN_OK) status = mlxn_session_create(c->device, &c->session, error);
    c->graph_flags = d->graph_flags ? d->graph_flags : MLXN_LM_GRAPH_FUSE | MLXN_LM_GRAPH_REORDER;
    if (status == MLXN_OK && c->graph_flags & MLXN_LM_GRAPH_DUAL)
        status = mlxn_executor_create(c->device, &c->executor, error);
    return status;
}

mlxn_status mlxn_context_create(mlxn_model *model, const mlxn_context_desc *desc, mlxn_context **out,
                                mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "context: out is NULL");
    *out = NULL;
    if (!model) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "context: model is NULL");
    if (model->vocab_only) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "context: %s was loaded as vocabulary only", model->path_name);
    }
    mlxn_context_desc d;
    if (!mlxn_lm_copy_desc(&d, sizeof d, desc)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "context: desc.struct_size is 0, want %zu", sizeof d);
    }
    mlxn_context *c = mlxn_alloc(sizeof *c);
    if (!c) return mlxn_fail(error, MLXN_ERR_MEMORY, "context: no memory");
    c->model = mlxn_model_retain(model);
    c->device = mlxn_device_retain(model->device);
    atomic_init(&c->cancelled, 0);
    mlxn_status status = fill(c, &d, error);
    if (status != MLXN_OK) {
        mlxn_context_destroy(c);
        return status;
    }
    *out = c;
    return mlxn_succeed(error);
}

void mlxn_context_destroy(mlxn_context *context) {
    if (!context) return;
    mlxn_context *c = context;
    mlxn_session_destroy(c->session);
    mlxn_executor_destroy(c->executor);
    for (uint32_t i = 0; i < MLXN_LM_GRAPH_ROWS; i++) {
        mlxn_graph_destroy(c->graphs[i][0]);
        mlxn_graph_destroy(c->graphs[i][1]);
    }
    mlxn_buffer_release(&c->inputs);
    mlxn_buffer_release(&c->logits);
    mlxn_buffer_release(&c->graph_inputs);
    mlxn_buffer_release(&c->graph_logits);
    mlxn_lm_work_destroy(c->model, &c->work);
    mlxn_lm_kv_destroy(&c->kv);
    for (uint32_t i = 0; c->sequences && i < c->n_sequences; i++) {
        mlxn_free(c->sequences[i].tokens);
        mlxn_free(c->sequences[i].checkpoints);
    }
    mlxn_free(c->sequences);
    mlxn_free(c->staging);
    mlxn_free(c->host_logits);
    mlxn_device_release(&c->device);
    mlxn_model_release(&c->model);
    mlxn_free(c);
}

uint32_t mlxn_context_size(const mlxn_context *context) { return context ? context->n_ctx : 0; }

uint64_t mlxn_context_kv_bytes(const mlxn_context *context) { return context ? context->kv.bytes : 0; }

uint32_t mlxn_context_length(const mlxn_context *context, uint32_t seq) {
    return context && seq < context->n_sequences ? context->sequences[seq].length : 0;
}

mlxn_status mlxn_context_truncate(mlxn_context *context, uint32_t seq, uint32_t length, mlxn_error *error) {
    if (!context) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "truncate: context is NULL");
    if (seq >= context->n_sequences) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "truncate: sequence is %u, want below %u", seq,
                         context->n_sequences);
    }
    mlxn_lm_sequence *s = &context->sequences[seq];
    if (length > s->length) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "truncate: length is %u, sequence %u holds %u tokens", length, seq,
                         s->length);
    }
    if (length != s->length && !mlxn_lm_kv_holds(&context->kv, context->model, length, s->oldest, s->written)) {
        return mlxn_fail(
            error, MLXN_ERR_ARGUMENT,
            "truncate: length is %u, but the sliding-window cache of sequence %u, of which %u tokens were "
            "stored, no longer holds the %u tokens before it",
            length, seq, s->written, context->model->shape.window);
    }
    if (mlxn_lm_checkpoint_before(context, s, length) != length) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "truncate: length is %u, but the recurrent layers of sequence %u, at %u, go back only to "
                         "checkpoints, the nearest before it at %u",
                         length, seq, s->length, mlxn_lm_checkpoint_before(context, s, length));
    }
    mlxn_lm_checkpoint_return(context, s, length);
    s->length = length;
    if (length == 0) s->written = s->oldest = 0;
    return mlxn_succeed(error);
}

void mlxn_context_cancel(mlxn_context *context) {
    if (context) atomic_store(&context->cancelled, 1);
}
