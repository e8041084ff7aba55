/* checkpoints.c: going back in models with recurrent layers.
 *
 * A state holds all that was before and cannot give a token back. So a context keeps the states of some positions
 * of each sequence, and going back means to the nearest of them at or before a length, or to the beginning. A
 * checkpoint is taken before a step: `checkpoint_every` tokens behind the one before, and before the last row of a
 * long prompt, which is where the same prompt, or its continuation, goes on; and where speculation asks for one.
 * Where there is no room, the one goes whose neighbours lie closest together, so that old ones are far apart and
 * new ones close.
 *
 * States are copied on the device, as part of the step: nothing is changed by going back until then. What a step
 * that was submitted does to a state is certain only when it is done; after a failure the sequence goes back. */
#include "lm/lm_internal.h"

static mlxn_lm_sequence *sequence_of(mlxn_context *c, const mlxn_batch_row *row) { return &c->sequences[row->seq]; }

uint32_t mlxn_lm_checkpoint_before(const mlxn_context *c, const mlxn_lm_sequence *s, uint32_t length) {
    uint32_t best = 0;
    if (!c->kv.n_states || length == s->length) return length;
    for (uint32_t i = 0; i < s->n_checkpoints; i++)
        if (s->checkpoints[i].position <= length) best = s->checkpoints[i].position;
    return best;
}

void mlxn_lm_checkpoint_ask(mlxn_context *c, mlxn_lm_sequence *s) { s->asked = c->n_checkpoints > 0; }

void mlxn_lm_checkpoint_return(mlxn_context *c, mlxn_lm_sequence *s, uint32_t length) {
    if (!c->kv.n_states || length == s->length) return;
    while (s->n_checkpoints && s->checkpoints[s->n_checkpoints - 1].position > length) s->n_checkpoints--;
    s->stale = true;
    s->from_zero = length == 0;
    if (length) s->source = s->checkpoints[s->n_checkpoints - 1].state;
    s->submitted = length;
    s->last_rows = 0;
}

uint32_t mlxn_lm_state_of(const mlxn_context *c, uint32_t seq, bool *zero) {
    const mlxn_lm_sequence *s = &c->sequences[seq];
    *zero = s->stale && s->from_zero;
    return s->stale && !s->from_zero ? s->source : seq;
}

/* ---- steps ---- */

/* Number `to` of the states of every recurrent layer becomes number `from`, or 0. */
static void record_copy(mlxn_context *c, mlxn_encoder *e, uint32_t from, bool zero, uint32_t to) {
    const mlxn_fill_value_params nothing = {0};
    for (uint32_t i = 0; i < c->kv.n_layers; i++) {
        const mlxn_lm_kv_layer *l = &c->kv.layers[i];
        mlxn_buffer *buffers[] = {l->conv, l->state};
        const uint64_t floats[] = {c->kv.conv_floats, c->kv.state_floats};
        for (int k = 0; l->state && k < 2; k++) {
            uint64_t bytes = floats[k] * sizeof(float);
            mlxn_tensor out = mlxn_tensor_1d(buffers[k], to * bytes, MLXN_F32, floats[k]);
            if (zero)
                mlxn_fill_value(e, out, &nothing);
            else
                mlxn_copy(e, mlxn_tensor_1d(buffers[k], from * bytes, MLXN_F32, floats[k]), out);
        }
    }
}

/* A state that no checkpoint has, nor the next step needs to begin. Takes one from them if there is none. */
static uint32_t free_state(mlxn_context *c, mlxn_lm_sequence *s) {
    if (s->n_checkpoints == c->n_checkpoints) {
        uint32_t gap = UINT32_MAX, least = 0;
        for (uint32_t i = 0; i + 1 < s->n_checkpoints; i++) {
            uint32_t around = s->checkpoints[i + 1].position - (i ? s->checkpoints[i - 1].position : 0);
            if (around < gap) {
                gap = around;
                least = i;
            }
        }
        s->n_checkpoints--;
        memmove(s->checkpoints + least, s->checkpoints + least + 1,
                (s->n_checkpoints - least) * sizeof *s->checkpoints);
    }
    uint32_t first = c->n_sequences + (uint32_t)(s - c->sequences) * c->n_checkpoints;
    for (uint32_t state = first;; state++) { /* fewer checkpoints than states */
        bool used = false;
        for (uint32_t i = 0; i < s->n_checkpoints; i++) used |= s->checkpoints[i].state == state;
        if (!used) return state;
    }
}

static bool wants_checkpoint(const mlxn_context *c, const mlxn_lm_sequence *s) {
    uint32_t last = s->n_checkpoints ? s->checkpoints[s->n_checkpoints - 1].position : 0;
    if (!c->n_checkpoints || s->submitted <= last) return false;
    uint32_t behind = s->submitted - last;
    if (s->asked) return true;
    bool ends_prompt = s->step_rows == 1 && s->last_rows > 1;
    return behind >= c->checkpoint_every || (ends_prompt && behind >= MLXN_LM_LONG_PROMPT);
}

void mlxn_lm_checkpoint_record(mlxn_context *c, mlxn_encoder *encoder, const mlxn_batch_row *rows, uint64_t n) {
    if (!c->kv.n_states) return;
    for (uint64_t i = 0; i < n; i++) {
        sequence_of(c, &rows[i])->step_rows = 0;
        sequence_of(c, &rows[i])->seen = false;
    }
    for (uint64_t i = 0; i < n; i++) sequence_of(c, &rows[i])->step_rows++;
    for (uint64_t i = 0; i < n; i++) {
        mlxn_lm_sequence *s = sequence_of(c, &rows[i]);
        if (s->seen) continue;
        s->seen = true;
        s->taking = false;
        if (s->stale) { /* its own checkpoint is there */
            record_copy(c, encoder, s->source, s->from_zero, rows[i].seq);
        } else if (wants_checkpoint(c, s)) {
            s->next = (mlxn_lm_checkpoint){s->submitted, free_state(c, s)};
            s->taking = true;
            record_copy(c, encoder, rows[i].seq, false, s->next.state);
        }
    }
}

void mlxn_lm_checkpoint_submitted(mlxn_context *c, const mlxn_batch_row *rows, uint64_t n) {
    if (!c->kv.n_states) return;
    for (uint64_t i = 0; i < n; i++) {
        mlxn_lm_sequence *s = sequence_of(c, &rows[i]);
        s->stale = false;
        if (s->taking) s->checkpoints[s->n_checkpoints++] = s->next;
        s->taking = s->asked = false;
        s->submitted++;
        s->last_rows = s->step_rows;
    }
}

void mlxn_lm_checkpoint_failed(mlxn_context *c) {
    if (!c->kv.n_states) return;
    for (uint32_t i = 0; i < c->n_sequences; i++) {
        mlxn_lm_sequence *s = &c->sequences[i];
        s->taking = s->asked = false;
        if (s->submitted == s->length) continue;
        /* What the step that failed took is uncertain, too. */
        while (s->n_checkpoints && s->checkpoints[s->n_checkpoints - 1].position >= s->length) s->n_checkpoints--;
        uint32_t back = s->n_checkpoints ? s->checkpoints[s->n_checkpoints - 1].position : 0;
        uint32_t length = s->length;
        s->length = UINT32_MAX; /* it is at no length that it could stay at */
        mlxn_lm_checkpoint_return(c, s, back);
        s->length = back < length ? back : length;
    }
}
