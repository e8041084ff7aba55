/* context_decode.c: running rows through the model.
 *
 * A call is cut into steps of at most n_batch rows; a step is one stage of the context's encoder session. While a
 * stage runs, the next one is recorded; it is submitted when its predecessor has completed, has been accounted for
 * and nobody has cancelled. Few rows (token generation) replay a recorded graph whose inputs lie in fixed buffers.
 *
 * A sequence's length counts rows of completed steps: after a failure or a cancel, what was computed stays. */
#include <stdio.h>

#include "lm/lm_internal.h"

/* One call to decode. */
typedef struct call {
    mlxn_context *c;
    const mlxn_batch_row *rows;
    uint64_t n, n_out;  /* rows, rows that want logits */
    uint64_t last_step; /* steps begin at multiples of n_batch below it, and there */
    mlxn_progress_fn progress;
    void *progress_user;
    mlxn_error *error;
} call;

/* ---- what architectures use ---- */

mlxn_tensor mlxn_lm_heads(mlxn_tensor t, uint32_t heads) {
    return mlxn_tensor_3d(t.buffer, t.offset, t.dtype, t.dims[0], heads, t.dims[1] / heads);
}

void mlxn_lm_rope(const mlxn_lm_forward *f, uint32_t layer, mlxn_tensor x) {
    const mlxn_lm_shape *s = &f->model->shape;
    bool local = f->model->layers[layer].sliding && s->rope_base_window > 0;
    const mlxn_tensor none = {0};
    bool second = f->long_context && f->model->rope_factors[1].buffer;
    mlxn_tensor factors = local ? none : f->model->rope_factors[second];
    if (!local && s->rope_attn_factor != 1) {
        const mlxn_rope_multi_params multi = {.pairing = s->rope_pairing,
                                              .rope_dims = s->rope_dims,
                                              .base = s->rope_base,
                                              .freq_scale = s->rope_freq_scale,
                                              .attn_factor = s->rope_attn_factor};
        mlxn_rope_multi(f->encoder, x, f->positions, factors, x, &multi);
        return;
    }
    const mlxn_rope_params params = {.pairing = s->rope_pairing,
                                     .rope_dims = s->rope_dims,
                                     .base = local ? s->rope_base_window : s->rope_base,
                                     .freq_scale = local ? 1 : s->rope_freq_scale};
    mlxn_rope(f->encoder, x, f->positions, factors, x, &params);
}

/* The first n rows of a work buffer. */
static mlxn_tensor rows_of(mlxn_buffer *buffer, uint32_t n, uint64_t width) {
    return mlxn_tensor_2d(buffer, 0, MLXN_F32, n, width);
}

/* Views of n rows of everything that a layer computes after its cache was written. */
static void set_rows(mlxn_lm_forward *f, const mlxn_lm_work *w, uint32_t n) {
    const mlxn_lm_shape *s = &f->model->shape;
    f->h = rows_of(w->h, n, s->n_embd);
    f->att = rows_of(w->att, n, mlxn_lm_dim_value(s, MLXN_LM_VALUES));
    f->gate = rows_of(w->gate, n, s->n_ff);
    f->up = rows_of(w->up, n, s->n_ff);
}

void mlxn_lm_set_rows(mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_work *w = f->work;
    f->x = rows_of(w->x, f->n, s->n_embd);
    f->q = rows_of(w->q, f->n, mlxn_lm_dim_value(s, MLXN_LM_Q));
    f->k = rows_of(w->k, f->n, mlxn_lm_dim_value(s, MLXN_LM_KV));
    f->v = rows_of(w->v, f->n, (uint64_t)s->n_kv_heads * s->v_head_dim);
    set_rows(f, w, f->n);
}

void mlxn_lm_enter_layer(mlxn_lm_forward *f, uint32_t layer) {
    const struct {
        mlxn_tensor *t;
        mlxn_lm_dim width;
    } all[] = {{&f->q, MLXN_LM_Q},        {&f->k, MLXN_LM_KV},    {&f->v, MLXN_LM_KV_VALUES},
               {&f->att, MLXN_LM_VALUES}, {&f->gate, MLXN_LM_FF}, {&f->up, MLXN_LM_FF}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i].t = rows_of(all[i].t->buffer, f->n, mlxn_lm_layer_dim(f->model, layer, all[i].width));
}

bool mlxn_lm_keep_outputs(mlxn_lm_forward *f) {
    if (f->n_out == 0) return false;
    if (f->n_out == f->n) return true;
    f->out_q = rows_of(f->out_q.buffer, f->n_out, f->q.dims[1]);
    mlxn_gather(f->encoder, f->x, f->out_rows, f->out_x);
    mlxn_gather(f->encoder, f->q, f->out_rows, f->out_q);
    f->x = f->out_x;
    f->q = f->out_q;
    f->h.dims[0] = f->att.dims[0] = f->gate.dims[0] = f->up.dims[0] = f->n_out;
    f->positions = f->out_positions;
    f->sequences = f->out_sequences;
    f->n = f->n_out;
    return true;
}

void mlxn_lm_head(mlxn_lm_forward *f) {
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = f->model->shape.norm_eps};
    mlxn_rms_norm(f->encoder, f->x, f->model->output_norm, f->h, &norm);
    if (f->texts) return;
    mlxn_matmul(f->encoder, f->h, f->model->head, none, none, f->logits);
    const mlxn_softcap_params cap = {f->model->shape.logit_softcap};
    if (cap.cap > 0) mlxn_softcap(f->encoder, f->logits, f->logits, &cap);
}

/* ---- one step ---- */

/* Records the pass of n rows whose inputs start at row `first` of `inputs` (arrays of `stride` elements), with the
 * logits of n_out rows going to row `first_out` of `logits`. */
static void record(mlxn_context *c, mlxn_encoder *encoder, uint32_t n, uint32_t n_out, bool one_sequence,
                   mlxn_buffer *inputs, uint64_t stride, uint64_t first, mlxn_buffer *logits, uint64_t first_out) {
    const mlxn_lm_shape *s = &c->model->shape;
    mlxn_lm_forward f = {.encoder = encoder,
                         .model = c->model,
                         .kv = &c->kv,
                         .work = &c->work,
                         .n = n,
                         .n_out = n_out,
                         .one_sequence = one_sequence,
                         .long_context = c->n_ctx > s->rope_long_from};
    mlxn_tensor *arrays[6] = {&f.tokens, &f.positions, &f.sequences, &f.out_rows, &f.out_positions, &f.out_sequences};
    bool selects = n_out > 0 && n_out < n;
    for (uint64_t i = 0; i < (selects ? 6 : 3); i++) {
        uint64_t begin = i < 3 ? first : first_out;
        *arrays[i] = mlxn_tensor_1d(inputs, (i * stride + begin) * sizeof(uint32_t), MLXN_U32, i < 3 ? n : n_out);
    }
    mlxn_lm_set_rows(&f);
    if (selects) {
        f.out_x = rows_of(c->work.out_x, n_out, s->n_embd);
        f.out_q = rows_of(c->work.out_q, n_out, f.q.dims[1]);
    }
    if (n_out > 0) {
        f.logits = mlxn_tensor_2d(logits, first_out * s->n_vocab * sizeof(float), MLXN_F32, n_out, s->n_vocab);
    }
    c->model->arch->forward(&f);
}

/* A drained session gets its next command buffer; one that failed was destroyed and is made anew. */
static mlxn_status open_stage(mlxn_context *c, const char *label, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    if (!c->session) {
        status = mlxn_session_create(c->device, &c->session, error);
    } else if (mlxn_session_is_drained(c->session)) {
        status = mlxn_session_reset_for_next_stage(c->session, error);
    }
    if (status == MLXN_OK) {
        status = mlxn_session_begin_stage(c->session, label);
        /* The stage before may have failed since it was submitted: then the session has the text. */
        if (status != MLXN_OK && mlxn_session_status(c->session, error) == MLXN_OK)
            status = mlxn_fail(error, status, "decode: a stage cannot begin");
    }
    return status;
}

/* After an error or a cancel: what runs is waited for, because its inputs will be written again; what was only
 * recorded is dropped with the session. */
static void drop_session(mlxn_context *c) {
    if (!c->session) return;
    mlxn_session_wait_all(c->session, UINT64_MAX, NULL);
    mlxn_session_destroy(c->session);
    c->session = NULL;
}

/* A cancel is consumed by the call that reports it. */
static bool take_cancel(mlxn_context *c) { return atomic_exchange(&c->cancelled, 0) != 0; }

static mlxn_status cancelled(call *k, uint64_t done) {
    return mlxn_fail(k->error, MLXN_ERR_CANCELLED, "decode: cancelled after %llu of %llu rows",
                     (unsigned long long)done, (unsigned long long)k->n);
}

/* The rows of a step are submitted: their slots of the cache may change from now on. */
static void note_written(mlxn_context *c, const mlxn_batch_row *rows, uint64_t n, const uint32_t *positions) {
    mlxn_lm_checkpoint_submitted(c, rows, n);
    for (uint64_t i = 0; i < n; i++) {
        mlxn_lm_sequence *s = &c->sequences[rows[i].seq];
        if (positions[i] >= s->written) s->written = positions[i] + 1;
    }
}

static bool note_done(call *k, uint64_t first, uint64_t n) {
    for (uint64_t i = first; i < first + n; i++) {
        mlxn_lm_sequence *s = &k->c->sequences[k->rows[i].seq];
        s->tokens[s->length++] = k->rows[i].token;
    }
    return !k->progress || k->progress(k->progress_user, first + n, k->n);
}

/* ---- a call of few rows ---- */

static mlxn_status make_graph(mlxn_context *c, uint32_t n, bool wants, mlxn_error *error) {
    mlxn_encoder *encoder = mlxn_session_encoder(c->session);
    mlxn_status status = mlxn_encoder_start_capture(encoder, error);
    if (status != MLXN_OK) return status;
    record(c, encoder, n, wants ? n : 0, n == 1, c->graph_inputs, c->graph_rows, 0, c->graph_logits, 0);
    const mlxn_graph_desc desc = {.struct_size = sizeof desc,
                                  .fuse = c->graph_flags & MLXN_LM_GRAPH_FUSE ? MLXN_FUSE_EXACT : MLXN_FUSE_NONE,
                                  .reorder = c->graph_flags & MLXN_LM_GRAPH_REORDER};
    return mlxn_encoder_take_capture_with(encoder, &desc, &c->graphs[n - 1][wants], error);
}

static mlxn_status run_graph(call *k) {
    mlxn_context *c = k->c;
    uint32_t n = (uint32_t)k->n, inputs[3 * MLXN_LM_GRAPH_ROWS] = {0};
    uint32_t *positions = inputs + c->graph_rows;
    bool wants = k->n_out > 0;
    for (uint32_t i = 0; i < n; i++) c->sequences[k->rows[i].seq].added = 0;
    for (uint32_t i = 0; i < n; i++) {
        mlxn_lm_sequence *s = &c->sequences[k->rows[i].seq];
        inputs[i] = (uint32_t)k->rows[i].token;
        positions[i] = s->length + s->added++;
        inputs[2 * c->graph_rows + i] = k->rows[i].seq;
    }
    mlxn_status status =
        mlxn_buffer_write(c->graph_inputs, 0, inputs, 3 * sizeof(uint32_t) * c->graph_rows, k->error);
    if (status == MLXN_OK) status = open_stage(c, NULL, k->error);
    if (status == MLXN_OK && !c->graphs[n - 1][wants]) status = make_graph(c, n, wants, k->error);
    if (status == MLXN_OK) {
        mlxn_encoder *encoder = mlxn_session_encoder(c->session);
        mlxn_lm_checkpoint_record(c, encoder, k->rows, n);
        note_written(c, k->rows, n, positions);
        mlxn_encoder_set_label(encoder, "decode"); /* a command buffer keeps its label's memory, a session does not */
        status = mlxn_encoder_launch(encoder, c->graphs[n - 1][wants]);
        mlxn_status commit = mlxn_session_commit_and_wait(c->session, k->error);
        if (commit != MLXN_OK) {
            status = commit;
        } else if (status != MLXN_OK) {
            status = mlxn_fail(k->error, status, "decode: the graph cannot be launched");
        }
    }
    if (status == MLXN_OK && !note_done(k, 0, n)) status = cancelled(k, n);
    return status;
}

/* ---- a call of any size ---- */

static mlxn_status grow_inputs(mlxn_context *c, uint64_t n, mlxn_error *error) {
    if (n <= c->input_rows) return MLXN_OK;
    uint64_t bytes, rows = mlxn_max_u64(n, c->n_batch);
    mlxn_free(c->staging);
    mlxn_buffer_release(&c->inputs);
    c->input_rows = 0;
    c->staging = mlxn_alloc_array(rows, 6 * sizeof *c->staging);
    if (!c->staging || !mlxn_mul_u64(rows, 6 * sizeof *c->staging, &bytes)) {
        return mlxn_fail(error, MLXN_ERR_MEMORY, "decode: no memory for the inputs of %llu rows",
                         (unsigned long long)n);
    }
    mlxn_status status = mlxn_buffer_create(c->device, bytes, &c->inputs, error);
    if (status == MLXN_OK) c->input_rows = rows;
    return status;
}

static mlxn_status grow_logits(mlxn_context *c, uint64_t n, mlxn_error *error) {
    if (n <= c->logits_rows) return MLXN_OK;
    uint64_t bytes;
    mlxn_buffer_release(&c->logits);
    c->logits_rows = 0;
    if (!mlxn_mul_u64(n * sizeof(float), c->model->shape.n_vocab, &bytes)) {
        return mlxn_fail(error, MLXN_ERR_LIMIT, "decode: logits of %llu rows do not fit 64 bits",
                         (unsigned long long)n);
    }
    mlxn_status status = mlxn_buffer_create(c->device, bytes, &c->logits, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "decode: logits of %llu rows", (unsigned long long)n);
        return status;
    }
    c->logits_rows = n;
    return MLXN_OK;
}

/* Rows of the step that begins at row `first`. */
static uint32_t step_rows(const call *k, uint64_t first) {
    return (uint32_t)mlxn_min_u64(k->c->n_batch, (first < k->last_step ? k->last_step : k->n) - first);
}

static bool is_one_sequence(const mlxn_batch_row *rows, uint64_t n) {
    for (uint64_t i = 1; i < n; i++)
        if (rows[i].seq != rows[0].seq) return false;
    return true;
}

/* The last row of a prompt becomes a step of its own where layers are recurrent: checkpoints are taken between steps,
 * and the same prompt again needs one just before it. */
static uint64_t last_step(const call *k) {
    return k->c->n_checkpoints && k->n >= MLXN_LM_LONG_PROMPT && is_one_sequence(k->rows, k->n) ? k->n - 1 : k->n;
}

/* Inputs of all steps. out_rows count from the start of their step. */
static mlxn_status write_inputs(call *k) {
    mlxn_context *c = k->c;
    uint64_t stride = c->input_rows, out = 0;
    uint32_t *arrays = c->staging;
    for (uint64_t i = 0; i < k->n; i++) c->sequences[k->rows[i].seq].added = 0;
    for (uint64_t i = 0; i < k->n; i++) {
        mlxn_lm_sequence *s = &c->sequences[k->rows[i].seq];
        uint32_t position = s->length + s->added++;
        arrays[i] = (uint32_t)k->rows[i].token;
        arrays[stride + i] = position;
        arrays[2 * stride + i] = k->rows[i].seq;
        if (!k->rows[i].logits) continue;
        arrays[3 * stride + out] = (uint32_t)(i < k->last_step ? i % c->n_batch : i - k->last_step);
        arrays[4 * stride + out] = position;
        arrays[5 * stride + out] = k->rows[i].seq;
        out++;
    }
    return mlxn_buffer_write(c->inputs, 0, arrays, 6 * stride * sizeof *arrays, k->error);
}

/* One step as a recorded graph session in two parts. */
static mlxn_status run_dual_step(call *k, uint64_t first, uint32_t n, uint32_t n_out, uint64_t out) {
    mlxn_context *c = k->c;
    mlxn_graph_session *session;
    const mlxn_finish_options options = {
        .struct_size = sizeof options,
        .fuse = c->graph_flags & MLXN_LM_GRAPH_FUSE ? MLXN_FUSE_EXACT : MLXN_FUSE_NONE,
        .reorder = c->graph_flags & MLXN_LM_GRAPH_REORDER,
        .dual = true,
        .timing = true};
    mlxn_status status = mlxn_executor_begin_recorded(c->executor, &session, k->error);
    if (status != MLXN_OK) return status;
    mlxn_lm_checkpoint_record(c, mlxn_graph_session_encoder(session), k->rows + first, n);
    record(c, mlxn_graph_session_encoder(session), n, n_out, is_one_sequence(k->rows + first, n), c->inputs,
           c->input_rows, first, c->logits, out);
    note_written(c, k->rows + first, n, c->staging + c->input_rows + first);
    status = mlxn_graph_session_finish(&session, &options, NULL, k->error);
    if (status != MLXN_OK) return status;
    bool go_on = note_done(k, first, n);
    return go_on && !(first + n < k->n && take_cancel(c)) ? MLXN_OK : cancelled(k, first + n);
}

static mlxn_status run_steps(call *k) {
    mlxn_context *c = k->c;
    k->last_step = last_step(k);
    mlxn_status status = grow_inputs(c, k->n, k->error);
    if (status == MLXN_OK && k->n_out > 0) status = grow_logits(c, k->n_out, k->error);
    if (status == MLXN_OK) status = write_inputs(k);
    uint64_t out = 0, before = 0; /* logits rows so far; rows of the stage that runs */
    for (uint64_t first = 0; status == MLXN_OK && first < k->n;) {
        uint32_t n = step_rows(k, first), n_out = 0;
        for (uint32_t i = 0; i < n; i++) n_out += k->rows[first + i].logits;
        if (c->executor) {
            status = run_dual_step(k, first, n, n_out, out);
            out += n_out;
            first += n;
            continue;
        }
        char label[64];
        snprintf(label, sizeof label, "prefill %llu+%u", (unsigned long long)first, n);
        status = open_stage(c, label, k->error);
        if (status != MLXN_OK) break;
        mlxn_lm_checkpoint_record(c, mlxn_session_encoder(c->session), k->rows + first, n);
        record(c, mlxn_session_encoder(c->session), n, n_out, is_one_sequence(k->rows + first, n), c->inputs,
               c->input_rows, first, c->logits, out);
        if (before > 0) {
            status = mlxn_session_wait_fence(c->session, mlxn_session_fence_value(c->session), UINT64_MAX, k->error);
            if (status != MLXN_OK) break;
            bool go_on = note_done(k, first - before, before);
            before = 0;
            if (!go_on || take_cancel(c)) return cancelled(k, first);
        }
        note_written(c, k->rows + first, n, c->staging + c->input_rows + first);
        bool last = first + n == k->n;
        status = last ? mlxn_session_commit_and_wait(c->session, k->error)
                      : mlxn_session_fence_stage(c->session, NULL, k->error);
        if (status == MLXN_OK && last && !note_done(k, first, n)) status = cancelled(k, k->n);
        before = n;
        out += n_out;
        first += n;
    }
    return status;
}

/* ---- entry ---- */

/* Everything that can be wrong with a call is found before anything changes. */
static mlxn_status check_rows(call *k) {
    mlxn_context *c = k->c;
    uint32_t n_vocab = c->model->shape.n_vocab;
    for (uint64_t i = 0; i < k->n; i++) {
        const mlxn_batch_row *row = &k->rows[i];
        if (row->token < 0 || (uint32_t)row->token >= n_vocab) {
            return mlxn_fail(k->error, MLXN_ERR_ARGUMENT, "decode: row %llu: token is %d, want 0 to %u",
                             (unsigned long long)i, row->token, n_vocab - 1);
        }
        if (row->seq >= c->n_sequences) {
            return mlxn_fail(k->error, MLXN_ERR_ARGUMENT, "decode: row %llu: sequence is %u, want below %u",
                             (unsigned long long)i, row->seq, c->n_sequences);
        }
        c->sequences[row->seq].added = 0;
        k->n_out += row->logits;
    }
    for (uint64_t i = 0; i < k->n; i++) {
        mlxn_lm_sequence *s = &c->sequences[k->rows[i].seq];
        if (s->length + s->added++ < c->n_ctx) continue;
        uint64_t wanted = 0;
        for (uint64_t j = 0; j < k->n; j++) wanted += k->rows[j].seq == k->rows[i].seq;
        return mlxn_fail(k->error, MLXN_ERR_LIMIT,
                         "decode: sequence %u holds %u tokens and gets %llu more, but the context holds %u",
                         k->rows[i].seq, s->length, (unsigned long long)wanted, c->n_ctx);
    }
    return MLXN_OK;
}

/* The logits as the caller sees them: in place if the device's memory is host-visible, else read back. */
static mlxn_status show_logits(call *k, mlxn_buffer *buffer, const float **logits) {
    mlxn_context *c = k->c;
    *logits = mlxn_buffer_contents(buffer);
    if (*logits) return MLXN_OK;
    uint64_t row = (uint64_t)c->model->shape.n_vocab * sizeof(float);
    if (c->host_logits_rows < k->n_out) {
        mlxn_free(c->host_logits);
        c->host_logits_rows = 0;
        c->host_logits = mlxn_alloc_array(k->n_out, row);
        if (!c->host_logits) {
            return mlxn_fail(k->error, MLXN_ERR_MEMORY, "decode: no memory for logits of %llu rows",
                             (unsigned long long)k->n_out);
        }
        c->host_logits_rows = k->n_out;
    }
    *logits = c->host_logits;
    return mlxn_buffer_read(buffer, 0, c->host_logits, k->n_out * row, k->error);
}

mlxn_status mlxn_context_decode(mlxn_context *context, const mlxn_batch_row *rows, size_t n,
                                mlxn_progress_fn progress, void *progress_user, const float **logits,
                                mlxn_error *error) {
    if (logits) *logits = NULL;
    if (!context) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "decode: context is NULL");
    if (!rows || n == 0) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "decode: there are no rows");
    call k = {
        .c = context, .rows = rows, .n = n, .progress = progress, .progress_user = progress_user, .error = error};
    mlxn_status status = check_rows(&k);
    if (status != MLXN_OK) return status;
    if (take_cancel(context)) return cancelled(&k, 0);
    bool uniform = k.n_out == 0 || k.n_out == n;
    bool small = uniform && n <= context->graph_rows && !(context->graph_flags & MLXN_LM_GRAPH_NONE);
    status = small ? run_graph(&k) : run_steps(&k);
    if (status != MLXN_OK) {
        drop_session(context);
        mlxn_lm_checkpoint_failed(context);
        return status;
    }
    if (logits && k.n_out > 0) {
        status = show_logits(&k, small ? context->graph_logits : context->logits, logits);
        if (status != MLXN_OK) return status;
    }
    return mlxn_succeed(error);
}
