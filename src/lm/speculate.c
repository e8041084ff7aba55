/* speculate.c: several tokens in one pass. The idea: Leviathan et al. 2022 (arXiv:2211.17192); guesses from the
 * text's own repetitions: prompt lookup decoding. Guesses are compared with what the sampler takes, not accepted by a
 * test of their own, because the sampler's random numbers belong to positions: so the result is that of plain
 * decoding. */
#include "lm/speculate.h"

enum { FIRST_GUESSES = 4, LONGEST_MATCH = 4, SHORTEST_MATCH = 2 };

static mlxn_status check_vocabularies(const mlxn_model *a, const mlxn_model *b, mlxn_error *error) {
    if (a->shape.n_vocab != b->shape.n_vocab)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "draft: vocabularies differ: %s has %u tokens, %s has %u",
                         a->path_name, a->shape.n_vocab, b->path_name, b->shape.n_vocab);
    for (uint32_t i = 0; i < a->shape.n_vocab; i++) {
        size_t n = 0, m = 0;
        const char *x = mlxn_token_bytes(a, (mlxn_token)i, &n), *y = mlxn_token_bytes(b, (mlxn_token)i, &m);
        if (n != m || !x != !y || (x && memcmp(x, y, n) != 0))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "draft: vocabularies differ: token %u is %zu bytes in %s, %s%zu in %s", i, n,
                             a->path_name, n == m ? "other " : "", m, b->path_name);
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_speculator_begin(mlxn_lm_speculator *s, mlxn_context *c, const mlxn_generate_desc *desc,
                                     mlxn_error *error) {
    *s = (mlxn_lm_speculator){.c = c, .draft = desc->draft, .lookup = desc->lookup};
    if (!s->draft && !s->lookup) return MLXN_OK;
    s->most = desc->draft_max ? (uint32_t)mlxn_min_u64(desc->draft_max, MLXN_LM_MOST_DRAFTED) : 8;
    s->most = (uint32_t)mlxn_min_u64(s->most, c->n_batch - 1); /* so that rings still hold what a step back needs */
    s->wanted = (uint32_t)mlxn_min_u64(FIRST_GUESSES, s->most);
    if (c->kv.n_states && !c->n_checkpoints)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "draft: %s has recurrent layers, whose states go back to checkpoints, and the context has "
                         "none",
                         c->model->path_name);
    if (c->kv.n_states) s->most = (uint32_t)mlxn_min_u64(s->most, MLXN_LM_LONG_PROMPT - 2);
    if (s->draft == c) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "draft: it is the context itself");
    mlxn_status status = s->draft ? check_vocabularies(c->model, s->draft->model, error) : MLXN_OK;
    if (status) return status;
    s->text = mlxn_alloc_array((size_t)c->n_ctx + 1, sizeof *s->text);
    if (!s->text) return mlxn_fail(error, MLXN_ERR_MEMORY, "generate: no memory for the ids of %u tokens", c->n_ctx);
    return MLXN_OK;
}

uint32_t mlxn_lm_speculator_length(const mlxn_lm_speculator *s) {
    return s->logits ? s->base + 1 + s->n_kept : mlxn_context_length(s->c, 0);
}

/* ---- guesses ---- */

/* What followed the latest earlier place where the last tokens stand too; the longest match first. */
static uint32_t look_up(const mlxn_token *text, uint32_t n, uint32_t most, mlxn_token *out) {
    for (uint32_t m = LONGEST_MATCH; m >= SHORTEST_MATCH; m--) {
        if (n <= m) continue;
        const mlxn_token *end = text + n - m;
        for (uint32_t at = n - m; at-- > 0;) {
            if (text[at] != end[0] || memcmp(text + at, end, m * sizeof *text) != 0) continue;
            uint32_t count = (uint32_t)mlxn_min_u64(most, n - at - m);
            memcpy(out, text + at + m, count * sizeof *out);
            return count;
        }
    }
    return 0;
}

static mlxn_token likeliest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (mlxn_token)best;
}

/* The smaller model takes in what it lacks and goes on greedily. One that is full guesses nothing. */
static mlxn_status ask_draft(mlxn_lm_speculator *s, uint32_t n, uint32_t most, uint32_t *count, mlxn_error *error) {
    mlxn_context *d = s->draft;
    const float *logits = NULL;
    uint32_t kept = 0, n_vocab = d->model->shape.n_vocab;
    *count = 0;
    if (n + most > d->n_ctx) return MLXN_OK;
    mlxn_status status = mlxn_context_reuse(d, 0, s->text, n, &kept, error);
    mlxn_batch_row *rows = status ? NULL : mlxn_alloc_array(n - kept, sizeof *rows);
    if (!status && !rows) status = mlxn_fail(error, MLXN_ERR_MEMORY, "draft: no memory for %u rows", n - kept);
    for (uint32_t i = kept; !status && i < n; i++)
        rows[i - kept] = (mlxn_batch_row){.token = s->text[i], .logits = i + 1 == n};
    if (!status) status = mlxn_context_decode(d, rows, n - kept, NULL, NULL, &logits, error);
    mlxn_free(rows);
    for (uint32_t i = 0; !status && i < most; i++) {
        mlxn_batch_row row = {.token = likeliest(logits, n_vocab), .logits = true};
        s->guessed[(*count)++] = row.token;
        if (mlxn_token_is_end(d->model, row.token) || i + 1 == most) break;
        status = mlxn_context_decode(d, &row, 1, NULL, NULL, &logits, error);
    }
    return status;
}

static mlxn_status guess(mlxn_lm_speculator *s, mlxn_token token, mlxn_error *error) {
    uint32_t n = s->base;
    s->n_guessed = s->n_kept = 0;
    uint32_t most = (uint32_t)mlxn_min_u64(s->wanted, s->c->n_ctx - n - 1);
    if (!most) return MLXN_OK;
    if (n) memcpy(s->text, s->c->sequences[0].tokens, n * sizeof *s->text);
    s->text[n] = token;
    if (s->lookup) s->n_guessed = look_up(s->text, n + 1, most, s->guessed);
    if (!s->n_guessed && s->draft) return ask_draft(s, n + 1, most, &s->n_guessed, error);
    return MLXN_OK;
}

/* ---- passes ---- */

/* The sequence forgets wrong guesses. A recurrent state goes back to the checkpoint before the pass, and takes in
 * what was right again. */
static mlxn_status forget(mlxn_lm_speculator *s, uint32_t length, mlxn_error *error) {
    mlxn_context *c = s->c;
    uint32_t n = length - s->base;
    if (!c->kv.n_states || length == mlxn_context_length(c, 0)) return mlxn_context_truncate(c, 0, length, error);
    mlxn_batch_row rows[1 + MLXN_LM_MOST_DRAFTED];
    for (uint32_t i = 0; i < n; i++) rows[i] = (mlxn_batch_row){.token = c->sequences[0].tokens[s->base + i]};
    mlxn_status status = mlxn_context_truncate(c, 0, s->base, error);
    return status ? status : mlxn_context_decode(c, rows, n, NULL, NULL, NULL, error);
}

/* After a pass whose guesses were all right, more are made; else about as many as were right. */
static mlxn_status settle(mlxn_lm_speculator *s, mlxn_error *error) {
    if (!s->logits) return MLXN_OK;
    if (s->n_guessed)
        s->wanted = (uint32_t)mlxn_min_u64(s->most, s->n_kept == s->n_guessed ? s->wanted + 2 : s->n_kept + 1);
    s->drafted += s->n_guessed;
    s->accepted += s->n_kept;
    uint32_t length = mlxn_lm_speculator_length(s);
    s->logits = NULL;
    return forget(s, length, error);
}

mlxn_status mlxn_lm_speculator_next(mlxn_lm_speculator *s, mlxn_token token, const float **logits,
                                    mlxn_error *error) {
    if (s->logits && s->n_kept < s->n_guessed && s->guessed[s->n_kept] == token) {
        *logits = s->logits + (uint64_t)++s->n_kept * s->c->model->shape.n_vocab;
        return MLXN_OK;
    }
    mlxn_status status = settle(s, error);
    if (status) return status;
    s->base = mlxn_context_length(s->c, 0);
    if ((status = guess(s, token, error))) return status;
    mlxn_batch_row rows[1 + MLXN_LM_MOST_DRAFTED] = {{.token = token, .logits = true}};
    for (uint32_t i = 0; i < s->n_guessed; i++)
        rows[i + 1] = (mlxn_batch_row){.token = s->guessed[i], .logits = true};
    if (s->n_guessed) mlxn_lm_checkpoint_ask(s->c, &s->c->sequences[0]);
    status = mlxn_context_decode(s->c, rows, 1 + s->n_guessed, NULL, NULL, &s->logits, error);
    if (status) s->logits = NULL;
    *logits = s->logits;
    return status;
}

void mlxn_lm_speculator_end(mlxn_lm_speculator *s) {
    settle(s, NULL);
    mlxn_free(s->text);
    s->text = NULL;
}
