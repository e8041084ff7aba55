/* generate.c: prompt in, tokens out, on sequence 0. */
#include "lm/sampler_internal.h"
#include "lm/speculate.h"

typedef struct run {
    mlxn_context *c;
    mlxn_sampler *sampler;
    const mlxn_generate_desc *desc;
    mlxn_generate_result *result;
    size_t capacity; /* of result->ids */
    mlxn_lm_speculator speculator;
    mlxn_logprob *top; /* [desc->n_logprobs] */
    mlxn_utf8_stream stream;
    char *text; /* complete characters of one token */
    size_t text_capacity;
    mlxn_error *error;
} run;

static mlxn_status no_memory(run *r) {
    return mlxn_fail(r->error, MLXN_ERR_MEMORY, "generate: no memory after %zu tokens", r->result->n_ids);
}

static mlxn_status decode_prompt(run *r, const mlxn_token *prompt, size_t n, const float **logits) {
    uint32_t length = mlxn_context_length(r->c, 0), size = mlxn_context_size(r->c);
    if (n > size - length) {
        return mlxn_fail(r->error, MLXN_ERR_LIMIT,
                         "the prompt has %zu tokens, but the context of %u has room for %u: a larger context or a "
                         "shorter prompt would help",
                         n, size, size - length);
    }
    mlxn_batch_row *rows = mlxn_alloc_array(n, sizeof *rows);
    if (!rows) return no_memory(r);
    for (size_t i = 0; i < n; i++) rows[i] = (mlxn_batch_row){.token = prompt[i], .logits = i + 1 == n};
    uint64_t start = mlxn_now_ns();
    mlxn_status status =
        mlxn_context_decode(r->c, rows, n, r->desc->on_prompt, r->desc->on_prompt_user, logits, r->error);
    r->result->prompt_ns = mlxn_now_ns() - start;
    r->result->n_prompt = mlxn_context_length(r->c, 0) - length;
    mlxn_free(rows);
    return status;
}

/* Room for the text of the longest token comes with the first tokens, ids grow by doubling. */
static mlxn_status append(run *r, mlxn_token token) {
    mlxn_generate_result *result = r->result;
    if (result->n_ids == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 256;
        mlxn_token *ids = mlxn_realloc_array(result->ids, capacity, sizeof *ids);
        if (!ids) return no_memory(r);
        result->ids = ids;
        r->capacity = capacity;
    }
    result->ids[result->n_ids++] = token;
    return MLXN_OK;
}

/* Tells the callback about a token; *go_on is its answer. */
static mlxn_status tell(run *r, mlxn_token token, bool *go_on) {
    *go_on = true;
    if (!r->desc->on_token) return MLXN_OK;
    size_t n = 0, written = 0;
    const char *bytes = mlxn_token_is_special(r->c->model, token) ? NULL : mlxn_token_bytes(r->c->model, token, &n);
    if (bytes && n > 0) {
        size_t need = 3 * (n + 4);
        if (need > r->text_capacity) {
            size_t capacity = need < 4096 ? 4096 : need;
            char *text = mlxn_realloc_array(r->text, capacity, 1);
            if (!text) return no_memory(r);
            r->text = text;
            r->text_capacity = capacity;
        }
        written = mlxn_utf8_push(&r->stream, bytes, n, r->text);
    }
    *go_on = r->desc->on_token(r->desc->on_token_user, token, written ? r->text : "", written);
    return MLXN_OK;
}

/* Bytes of a character that never became complete. */
static void tell_rest(run *r) {
    char rest[12];
    if (!r->desc->on_token) return;
    size_t n = mlxn_utf8_finish(&r->stream, rest);
    if (n > 0) r->desc->on_token(r->desc->on_token_user, -1, rest, n);
}

/* Tells the other callback how likely a token was. */
static void tell_logprobs(const run *r, mlxn_token token, const float *logits) {
    const mlxn_generate_desc *d = r->desc;
    if (!d->on_logprobs) return;
    mlxn_logprob chosen = {.token = token};
    uint32_t n = mlxn_lm_logprobs(logits, r->c->model->shape.n_vocab, &chosen, r->top, d->n_logprobs);
    chosen.sampled = mlxn_sampler_logprob(r->sampler, token);
    for (uint32_t i = 0; i < n; i++) r->top[i].sampled = mlxn_sampler_logprob(r->sampler, r->top[i].token);
    d->on_logprobs(d->on_logprobs_user, &chosen, r->top, n);
}

/* The next token; -1 with MLXN_OK where the constraint has come to its end. */
static mlxn_status choose(run *r, const float *logits, mlxn_token *token) {
    mlxn_constraint *c = r->desc->constraint;
    const uint32_t *bits;
    *token = -1;
    if (c && mlxn_constraint_is_done(c)) return MLXN_OK;
    mlxn_status status = c ? mlxn_constraint_mask(c, &bits, r->error) : MLXN_OK;
    if (status != MLXN_OK) return status;
    *token = mlxn_sampler_sample(r->sampler, logits);
    if (*token >= 0) return c ? mlxn_constraint_accept(c, *token, r->error) : MLXN_OK;
    return mlxn_fail(r->error, MLXN_ERR_STATE,
                     "after %zu tokens no token of the vocabulary fits the grammar, or all that fit have no logit",
                     r->result->n_ids);
}

static mlxn_status generate(run *r, const float *logits) {
    mlxn_generate_result *result = r->result;
    for (;;) {
        mlxn_token token;
        mlxn_status status = choose(r, logits, &token);
        result->finish = MLXN_FINISH_STOP;
        if (status != MLXN_OK || token < 0) return status;
        mlxn_sampler_accept(r->sampler, token);
        if (!r->desc->ignore_eos && mlxn_token_is_end(r->c->model, token)) {
            return MLXN_OK;
        }
        bool go_on;
        tell_logprobs(r, token, logits);
        status = append(r, token);
        if (status == MLXN_OK) status = tell(r, token, &go_on);
        if (status != MLXN_OK) return status;
        result->finish = MLXN_FINISH_CANCELLED;
        if (!go_on) return MLXN_OK;
        result->finish = MLXN_FINISH_STOP;
        if (r->desc->constraint && mlxn_constraint_is_done(r->desc->constraint)) return MLXN_OK;
        result->finish = MLXN_FINISH_LENGTH;
        if (r->desc->n_predict > 0 && result->n_ids >= r->desc->n_predict) return MLXN_OK;
        if (mlxn_lm_speculator_length(&r->speculator) >= mlxn_context_size(r->c)) return MLXN_OK;
        status = mlxn_lm_speculator_next(&r->speculator, token, &logits, r->error);
        if (status != MLXN_OK) return status;
        result->n_decode++;
    }
}

/* Attaches the constraint and makes room for the likeliest tokens. */
static mlxn_status begin(run *r) {
    uint32_t n_vocab = r->c->model->shape.n_vocab;
    if (r->desc->n_logprobs > n_vocab)
        return mlxn_fail(r->error, MLXN_ERR_ARGUMENT, "generate: n_logprobs is %u, the vocabulary has %u tokens",
                         r->desc->n_logprobs, n_vocab);
    if (r->desc->on_logprobs) r->top = mlxn_alloc_array(r->desc->n_logprobs, sizeof *r->top);
    if (r->desc->on_logprobs && !r->top) return no_memory(r);
    if (!r->desc->constraint) return MLXN_OK;
    mlxn_status status = mlxn_sampler_set_constraint(r->sampler, r->desc->constraint, r->error);
    r->sampler->no_end = r->desc->ignore_eos;
    return status;
}

mlxn_status mlxn_generate(mlxn_context *context, const mlxn_token *prompt, size_t n_prompt, mlxn_sampler *sampler,
                          const mlxn_generate_desc *desc, mlxn_generate_result *result, mlxn_error *error) {
    if (!result) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "generate: result is NULL");
    memset(result, 0, sizeof *result);
    if (!context || !sampler) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "generate: %s is NULL", context ? "sampler" : "context");
    }
    if (!prompt || n_prompt == 0) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "the prompt is empty");
    mlxn_generate_desc d;
    if (!mlxn_lm_copy_desc(&d, sizeof d, desc)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "generate: desc.struct_size is 0, want %zu", sizeof d);
    }
    run r = {.c = context, .sampler = sampler, .desc = &d, .result = result, .error = error};
    const float *logits;
    mlxn_status status = mlxn_lm_speculator_begin(&r.speculator, context, &d, error);
    if (status == MLXN_OK) status = begin(&r);
    if (status == MLXN_OK) status = decode_prompt(&r, prompt, n_prompt, &logits);
    if (status == MLXN_OK) {
        for (size_t i = 0; i < n_prompt; i++) mlxn_sampler_accept(sampler, prompt[i]);
        uint64_t start = mlxn_now_ns();
        status = generate(&r, logits);
        result->decode_ns = mlxn_now_ns() - start;
    }
    if (status == MLXN_ERR_CANCELLED) {
        result->finish = MLXN_FINISH_CANCELLED;
        status = MLXN_OK;
    }
    mlxn_lm_speculator_end(&r.speculator);
    result->n_drafted = r.speculator.drafted;
    result->n_accepted = r.speculator.accepted;
    tell_rest(&r);
    if (d.constraint) mlxn_sampler_set_constraint(sampler, NULL, NULL);
    mlxn_free(r.text);
    mlxn_free(r.top);
    if (status != MLXN_OK) {
        mlxn_free(result->ids);
        memset(result, 0, sizeof *result);
        return status;
    }
    return mlxn_succeed(error);
}
