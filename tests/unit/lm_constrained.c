/* Promise: under a grammar, generate gives texts of that grammar alone, ends where they end, and moves the constraint
 * along; log-probabilities are those of the logits before and of the draw after the sampler's steps. */
#include <mlxn/grammar.h>
#include <pthread.h>

#include "base/base.h"
#include "lm/lm_internal.h"
#include "lm_tiny.h"

static mlxn_model *model;
static mlxn_context *context;
static const mlxn_token prompt[] = {1, 260, 270, 280};

typedef struct heard {
    char text[4000];
    size_t n;
    int calls;
    uint32_t n_top;
    mlxn_logprob chosen[300], top[300][4];
} heard;

static bool on_token(void *user, mlxn_token token, const char *text, size_t bytes) {
    heard *h = user;
    (void)token;
    if (h->n + bytes < sizeof h->text) memcpy(h->text + h->n, text, bytes), h->n += bytes;
    return true;
}

static void on_logprobs(void *user, const mlxn_logprob *chosen, const mlxn_logprob *top, uint32_t n_top) {
    heard *h = user;
    h->n_top = n_top;
    h->chosen[h->calls] = *chosen;
    memcpy(h->top[h->calls++], top, n_top * sizeof *top);
}

static mlxn_constraint *constraint(const char *grammar) {
    mlxn_grammar *g = NULL;
    mlxn_constraint *c = NULL;
    mlxn_error error;
    CHECK(mlxn_grammar_from_gbnf(grammar, strlen(grammar), &g, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_constraint_create(model, g, &c, &error) == MLXN_OK, "%s", error.message);
    mlxn_grammar_release(&g);
    return c;
}

static mlxn_generate_result go(mlxn_sampler_desc sampling, mlxn_generate_desc d, heard *h, mlxn_status want,
                               mlxn_error *error) {
    mlxn_sampler *s = NULL;
    mlxn_generate_result result;
    sampling.struct_size = sizeof sampling;
    d.struct_size = sizeof d;
    d.on_token = on_token, d.on_token_user = h;
    d.on_logprobs = on_logprobs, d.on_logprobs_user = h;
    CHECK(mlxn_sampler_create(&sampling, TINY_VOCAB, &s, NULL) == MLXN_OK, "sampler");
    mlxn_context_truncate(context, 0, 0, NULL);
    mlxn_status status = mlxn_generate(context, prompt, 4, s, &d, &result, error);
    CHECK(status == want, "%s: %s", mlxn_status_name(status), error->message);
    mlxn_sampler_destroy(s);
    return result;
}

/* Twenty seeds: each text is one of the grammar's, and generation stops by itself. */
static void test_texts(void) {
    mlxn_constraint *c =
        constraint("root ::= \"[\" (item (\",\" item){0,5})? \"]\"\nitem ::= [0-9]{1,3} | \"word\" [0-9]{3}");
    mlxn_constraint *again = NULL;
    mlxn_error error;
    for (uint64_t seed = 0; seed < 20; seed++) {
        heard h = {.n = 0};
        mlxn_constraint_reset(c);
        CHECK(mlxn_constraint_copy(c, &again, NULL) == MLXN_OK, "copy");
        mlxn_generate_result r =
            go((mlxn_sampler_desc){.temp = seed ? 1.5f : 0, .seed = seed, .repeat_penalty = 1.2f},
               (mlxn_generate_desc){.constraint = c, .ignore_eos = seed & 1}, &h, MLXN_OK, &error);
        CHECK(r.finish == MLXN_FINISH_STOP && mlxn_constraint_is_done(c), "seed %d: finish %d", (int)seed, r.finish);
        CHECK(mlxn_constraint_accept_text(again, h.text, h.n, &error) == MLXN_OK && mlxn_constraint_is_done(again),
              "seed %d: \"%.*s\": %s", (int)seed, (int)h.n, h.text, error.message);
        CHECK(h.n >= 2 && h.calls == (int)r.n_ids, "%zu bytes, %d calls", h.n, h.calls);
        mlxn_free_memory(r.ids);
        mlxn_constraint_destroy(again);
    }
    mlxn_constraint_destroy(c);
}

static void test_ends(void) {
    mlxn_error error;
    heard h = {.n = 0};
    /* Nothing at all is the only text: no token is drawn. */
    mlxn_constraint *c = constraint("root ::= \"\"");
    mlxn_generate_result r =
        go((mlxn_sampler_desc){.temp = 0}, (mlxn_generate_desc){.constraint = c}, &h, MLXN_OK, &error);
    CHECK(r.n_ids == 0 && r.finish == MLXN_FINISH_STOP && r.n_prompt == 4, "%zu tokens", r.n_ids);
    mlxn_free_memory(r.ids);
    mlxn_constraint_destroy(c);
    /* Endless ones go on to the limit, with ignore_eos even where the end would be allowed. */
    c = constraint("root ::= [a-c]*");
    r = go((mlxn_sampler_desc){.temp = 2, .seed = 5},
           (mlxn_generate_desc){.constraint = c, .ignore_eos = true, .n_predict = 100}, &h, MLXN_OK, &error);
    CHECK(r.n_ids == 100 && r.finish == MLXN_FINISH_LENGTH && strspn(h.text, "abc") == h.n && h.n == 100, "%s",
          h.text);
    CHECK(mlxn_constraint_is_complete(c) && !mlxn_constraint_is_done(c), "the constraint moved along");
    mlxn_free_memory(r.ids);
    int ended = 0;
    for (uint64_t seed = 0; seed < 10; seed++) {
        mlxn_constraint_reset(c);
        r = go((mlxn_sampler_desc){.temp = 3, .seed = seed}, (mlxn_generate_desc){.constraint = c, .n_predict = 40},
               &h, MLXN_OK, &error);
        ended += r.finish == MLXN_FINISH_STOP;
        mlxn_free_memory(r.ids);
        h.calls = 0;
    }
    CHECK(ended > 0, "the end token is allowed where the text is complete");
    mlxn_constraint_destroy(c);
    /* The tokens have no such bytes as a whole, but bytes one by one: no dead end there. */
    h = (heard){.n = 0};
    c = constraint("root ::= \"\xc3\xa9\" \"\xe2\x82\xac\"");
    r = go((mlxn_sampler_desc){.temp = 0}, (mlxn_generate_desc){.constraint = c}, &h, MLXN_OK, &error);
    CHECK(r.n_ids == 5 && h.n == 5 && !memcmp(h.text, "\xc3\xa9\xe2\x82\xac", 5), "%zu ids", r.n_ids);
    mlxn_free_memory(r.ids);
    CHECK(mlxn_constraint_accept_text(c, "x", 1, NULL) == MLXN_ERR_ARGUMENT, "it is at its end");
    mlxn_constraint_destroy(c);
    r = go((mlxn_sampler_desc){.temp = 0}, (mlxn_generate_desc){.n_logprobs = TINY_VOCAB + 1}, &h, MLXN_ERR_ARGUMENT,
           &error);
    CHECK(strstr(error.message, "301") && strstr(error.message, "300"), "%s", error.message);
}

/* Against log-softmax in double over the logits that decoding by hand gives. */
static void test_logprobs(float temp) {
    enum { N = 12 };
    heard h = {.n = 0};
    mlxn_error error;
    mlxn_generate_result r =
        go((mlxn_sampler_desc){.temp = temp, .top_k = 3, .seed = 9, .frequency_penalty = 0.5f},
           (mlxn_generate_desc){.n_predict = N, .ignore_eos = true, .n_logprobs = 4}, &h, MLXN_OK, &error);
    CHECK(r.n_ids == N && h.calls == N && h.n_top == 4, "%d calls", h.calls);
    mlxn_context_truncate(context, 0, 0, NULL);
    const float *x = NULL;
    double mass = 0;
    for (int i = 0; i < 4 + N - 1; i++) {
        mlxn_batch_row row = {.token = i < 4 ? prompt[i] : r.ids[i - 4], .logits = i >= 3};
        CHECK(mlxn_context_decode(context, &row, 1, NULL, NULL, &x, NULL) == MLXN_OK, "decode");
        if (i < 3) continue;
        const mlxn_logprob *chosen = &h.chosen[i - 3], *top = h.top[i - 3];
        double sum = 0;
        for (int k = 0; k < TINY_VOCAB; k++) sum += exp((double)x[k]);
        CHECK(chosen->token == r.ids[i - 3], "token %d", i - 3);
        CHECK(fabs((double)chosen->logprob - ((double)x[chosen->token] - log(sum))) < 1e-4, "token %d: %g", i - 3,
              (double)chosen->logprob);
        double sampled = 0;
        for (int k = 0; k < 4; k++) {
            int better = 0;
            for (int j = 0; j < TINY_VOCAB; j++) better += x[j] > x[top[k].token];
            CHECK(better == k, "place %d of token %d has %d before it", k, i - 3, better);
            CHECK(fabs((double)top[k].logprob - ((double)x[top[k].token] - log(sum))) < 1e-4, "place %d", k);
            sampled += exp((double)top[k].sampled);
        }
        bool among = false;
        for (int k = 0; k < 4; k++) among = among || top[k].token == chosen->token;
        CHECK(sampled <= 1 + 1e-5 && (temp > 0 || chosen->sampled == 0), "drawn with %g", sampled);
        CHECK(isfinite(chosen->sampled) && (!among || sampled >= exp((double)chosen->sampled) - 1e-6),
              "its own part");
        mass += sampled;
    }
    CHECK(mass > N * 0.5, "the likeliest are among the drawn: %g", mass);
    mlxn_free_memory(r.ids);
}

/* Logits of the edges: infinite, NaN, equal, fewer than asked for. */
static void test_edges(void) {
    float x[6] = {1, NAN, INFINITY, -INFINITY, INFINITY, 1};
    mlxn_logprob chosen = {.token = 4}, top[6];
    CHECK(mlxn_lm_logprobs(x, 6, &chosen, top, 6) == 5, "NaN is left out");
    CHECK(top[0].token == 2 && top[1].token == 4 && top[2].token == 0 && top[3].token == 5 && top[4].token == 3,
          "order");
    CHECK(fabsf(top[0].logprob + logf(2)) < 1e-6f && fabsf(chosen.logprob + logf(2)) < 1e-6f, "two share all");
    CHECK(isinf(top[2].logprob) && top[2].logprob < 0 && isinf(top[4].logprob), "nothing is left for the others");
    CHECK(mlxn_lm_logprobs(x, 2, &(mlxn_logprob){.token = 0}, NULL, 0) == 0, "none asked for");
}

static void *constrain(void *grammar) {
    mlxn_constraint *c = NULL;
    const uint32_t *bits = NULL;
    if (mlxn_constraint_create(model, grammar, &c, NULL) || mlxn_constraint_mask(c, &bits, NULL)) return NULL;
    size_t allowed = 0;
    for (int i = 0; i < (TINY_VOCAB + 31) / 32; i++) allowed += (size_t)__builtin_popcount(bits[i]);
    mlxn_constraint_destroy(c);
    return (void *)allowed;
}

/* The first constraints of a model, made at once: all see the same vocabulary. */
static void test_threads(void) {
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    mlxn_grammar *g = NULL;
    CHECK(mlxn_grammar_from_gbnf("root ::= [a-e]", 14, &g, NULL) == MLXN_OK, "grammar");
    for (int i = 0; i < THREADS; i++) CHECK(!pthread_create(&threads[i], NULL, constrain, g), "thread");
    for (int i = 0; i < THREADS; i++) {
        void *allowed = NULL;
        pthread_join(threads[i], &allowed);
        CHECK((size_t)allowed == 5, "thread %d: %zu tokens", i, (size_t)allowed);
    }
    mlxn_grammar_release(&g);
}

int main(void) {
    mlxn_device *device = tiny_device(MLXN_PRECISION_F32, 1);
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 200};
    model = tiny_load(device, "llama");
    CHECK(mlxn_context_create(model, &desc, &context, NULL) == MLXN_OK, "context");
    test_threads();
    test_texts();
    test_ends();
    test_logprobs(0);
    test_logprobs(0.8f);
    test_edges();
    mlxn_context_destroy(context);
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return TEST_DONE();
}
