/* Promise: generate gives what decoding and sampling by hand gives, stops for the reasons that it names, reports its
 * text in complete characters, and can be stopped from the callback and from another thread. */
#include <pthread.h>

#include "base/base.h"
#include "lm_tiny.h"

static mlxn_model *model;

static mlxn_context *make(uint32_t n_ctx) {
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = n_ctx, .n_batch = 16};
    mlxn_context *context = NULL;
    mlxn_error error;
    CHECK(mlxn_context_create(model, &desc, &context, &error) == MLXN_OK, "%s", error.message);
    return context;
}

static mlxn_sampler *sampler(float temp, uint64_t seed) {
    mlxn_sampler_desc desc = {.struct_size = sizeof desc, .temp = temp, .top_k = 40, .seed = seed};
    mlxn_sampler *s = NULL;
    CHECK(mlxn_sampler_create(&desc, TINY_VOCAB, &s, NULL) == MLXN_OK, "sampler");
    return s;
}

typedef struct heard {
    size_t n, stop_after, n_text;
    mlxn_token tokens[300];
    char text[4000];
    mlxn_context *cancel;
} heard;

static bool hear(void *user, mlxn_token token, const char *text, size_t bytes) {
    heard *h = user;
    memcpy(h->text + h->n_text, text, bytes);
    h->n_text += bytes;
    if (token < 0) return true;
    h->tokens[h->n++] = token;
    if (h->n == h->stop_after && h->cancel) {
        mlxn_context_cancel(h->cancel);
        return true;
    }
    return h->n != h->stop_after;
}

static const mlxn_token prompt[] = {1, 260, 270, 280, 5, 6, 7, 8, 9, 10, 11, 290, 12, 13, 14, 15, 16, 17, 18, 19};
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

static mlxn_generate_result go(mlxn_context *c, mlxn_sampler *s, mlxn_generate_desc d, heard *h, mlxn_status want) {
    mlxn_generate_result result;
    mlxn_error error;
    d.struct_size = sizeof d;
    if (h) d.on_token = hear, d.on_token_user = h;
    mlxn_status status = mlxn_generate(c, prompt, N_PROMPT, s, &d, &result, &error);
    CHECK(status == want, "status is %s, want %s: %s", mlxn_status_name(status), mlxn_status_name(want),
          error.message);
    return result;
}

static void test_by_hand(float temp) {
    enum { N = 60 };
    mlxn_context *c = make(200);
    mlxn_sampler *s = sampler(temp, 11);
    mlxn_token want[N];
    mlxn_batch_row rows[N_PROMPT];
    const float *logits = NULL;
    for (int i = 0; i < N_PROMPT; i++) rows[i] = (mlxn_batch_row){prompt[i], 0, i + 1 == N_PROMPT};
    CHECK(mlxn_context_decode(c, rows, N_PROMPT, NULL, NULL, &logits, NULL) == MLXN_OK, "prompt");
    for (int i = 0; i < N; i++) {
        want[i] = mlxn_sampler_sample(s, logits);
        rows[0] = (mlxn_batch_row){want[i], 0, true};
        CHECK(mlxn_context_decode(c, rows, 1, NULL, NULL, &logits, NULL) == MLXN_OK, "token %d", i);
    }
    mlxn_context_truncate(c, 0, 0, NULL);
    mlxn_sampler_destroy(s);
    s = sampler(temp, 11);
    heard h = {0};
    mlxn_generate_result r = go(c, s, (mlxn_generate_desc){.n_predict = N, .ignore_eos = true}, &h, MLXN_OK);
    CHECK(r.n_ids == N && memcmp(r.ids, want, sizeof want) == 0, "temp %g: tokens differ", (double)temp);
    CHECK(h.n == N && memcmp(h.tokens, want, sizeof want) == 0, "the callback heard other tokens");
    CHECK(r.finish == MLXN_FINISH_LENGTH, "finish is %d", (int)r.finish);
    CHECK(r.n_prompt == N_PROMPT && r.n_decode == N - 1 && r.prompt_ns > 0 && r.decode_ns > 0, "%d prompt, %d decode",
          (int)r.n_prompt, (int)r.n_decode);
    CHECK(mlxn_context_length(c, 0) == N_PROMPT + N - 1, "the last token was not computed");
    /* The text is the tokens' bytes with invalid ones replaced, and is valid UTF-8 as a whole. */
    mlxn_utf8_stream stream = {0};
    char text[4000];
    size_t n = 0, bytes;
    for (int i = 0; i < N; i++) {
        if (mlxn_token_is_special(model, want[i])) continue;
        const char *token = mlxn_token_bytes(model, want[i], &bytes);
        n += mlxn_utf8_push(&stream, token, bytes, text + n);
    }
    n += mlxn_utf8_finish(&stream, text + n);
    CHECK(n > 0 && n == h.n_text && memcmp(text, h.text, n) == 0, "text: %zu bytes, want %zu", h.n_text, n);
    mlxn_free_memory(r.ids);
    mlxn_sampler_destroy(s);
    mlxn_context_destroy(c);
}

static void test_finish(void) {
    mlxn_context *c = make(50);
    mlxn_sampler *s = sampler(0, 0);
    /* Full: 50 positions are computed, and the token after them is known too. */
    mlxn_generate_result r = go(c, s, (mlxn_generate_desc){.ignore_eos = true}, NULL, MLXN_OK);
    CHECK(r.finish == MLXN_FINISH_LENGTH && r.n_ids == 50 - N_PROMPT + 1, "%zu tokens, finish %d", r.n_ids,
          (int)r.finish);
    mlxn_free_memory(r.ids);
    r = go(c, s, (mlxn_generate_desc){.n_predict = 1}, NULL, MLXN_ERR_LIMIT);
    CHECK(!r.ids && r.n_ids == 0, "nothing after an error");
    mlxn_context_truncate(c, 0, 0, NULL);

    heard h = {.stop_after = 5};
    r = go(c, s, (mlxn_generate_desc){.ignore_eos = true}, &h, MLXN_OK);
    CHECK(r.finish == MLXN_FINISH_CANCELLED && r.n_ids == 5, "stopped by the callback: %zu tokens", r.n_ids);
    mlxn_free_memory(r.ids);
    mlxn_context_truncate(c, 0, 0, NULL);

    h = (heard){.stop_after = 7, .cancel = c};
    r = go(c, s, (mlxn_generate_desc){.ignore_eos = true}, &h, MLXN_OK);
    CHECK(r.finish == MLXN_FINISH_CANCELLED && r.n_ids == 7, "cancelled: %zu tokens", r.n_ids);
    mlxn_free_memory(r.ids);
    mlxn_context_truncate(c, 0, 0, NULL);

    mlxn_context_cancel(c);
    r = go(c, s, (mlxn_generate_desc){.n_predict = 3}, NULL, MLXN_OK);
    CHECK(r.finish == MLXN_FINISH_CANCELLED && r.n_ids == 0, "cancelled in the prompt: %zu tokens", r.n_ids);
    mlxn_free_memory(r.ids);

    mlxn_error error;
    CHECK(mlxn_generate(c, prompt, 0, s, NULL, &r, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "empty"),
          "%s", error.message);
    CHECK(mlxn_generate(c, prompt, 1, NULL, NULL, &r, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    mlxn_token bad = TINY_VOCAB;
    CHECK(mlxn_generate(c, &bad, 1, s, NULL, &r, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "300"), "%s",
          error.message);
    mlxn_sampler_destroy(s);
    mlxn_context_destroy(c);
}

/* With a high temperature over 300 tokens </s> comes by itself; the tokens before it are what ignore_eos gives. */
static void test_end_token(void) {
    int stopped = 0;
    for (uint64_t seed = 0; seed < 40 && stopped < 3; seed++) {
        mlxn_context *c = make(256);
        mlxn_sampler_desc desc = {.struct_size = sizeof desc, .temp = 20, .seed = seed};
        mlxn_sampler *s = NULL;
        mlxn_sampler_create(&desc, TINY_VOCAB, &s, NULL);
        mlxn_generate_result all =
            go(c, s, (mlxn_generate_desc){.n_predict = 100, .ignore_eos = true}, NULL, MLXN_OK);
        mlxn_sampler_destroy(s);
        mlxn_sampler_create(&desc, TINY_VOCAB, &s, NULL);
        mlxn_context_truncate(c, 0, 0, NULL);
        mlxn_generate_result r = go(c, s, (mlxn_generate_desc){.n_predict = 100}, NULL, MLXN_OK);
        size_t end = 0;
        while (end < all.n_ids && all.ids[end] != 2) end++;
        CHECK(r.n_ids == end, "seed %d: %zu tokens, want %zu", (int)seed, r.n_ids, end);
        CHECK(r.finish == (end < 100 ? MLXN_FINISH_STOP : MLXN_FINISH_LENGTH), "seed %d: finish %d", (int)seed,
              (int)r.finish);
        CHECK(memcmp(r.ids, all.ids, r.n_ids * sizeof *r.ids) == 0, "seed %d: tokens differ", (int)seed);
        stopped += end < 100;
        mlxn_free_memory(all.ids);
        mlxn_free_memory(r.ids);
        mlxn_sampler_destroy(s);
        mlxn_context_destroy(c);
    }
    CHECK(stopped == 3, "</s> never came");
}

static void *cancel_soon(void *context) {
    usleep(2000);
    mlxn_context_cancel(context);
    return NULL;
}

static void test_cancel_from_thread(void) {
    mlxn_context *c = make(256);
    mlxn_sampler *s = sampler(1, 5);
    bool cancelled = false;
    for (int i = 0; i < 200 && !cancelled; i++) {
        pthread_t thread;
        mlxn_context_truncate(c, 0, 0, NULL);
        CHECK(pthread_create(&thread, NULL, cancel_soon, c) == 0, "thread");
        mlxn_generate_result r = go(c, s, (mlxn_generate_desc){.ignore_eos = true}, NULL, MLXN_OK);
        pthread_join(thread, NULL);
        cancelled = r.finish == MLXN_FINISH_CANCELLED;
        mlxn_free_memory(r.ids);
    }
    CHECK(cancelled, "no run was cancelled");
    mlxn_sampler_destroy(s);
    mlxn_context_destroy(c);
}

int main(void) {
    mlxn_device *device = tiny_device(MLXN_PRECISION_FAST, 2);
    model = tiny_load(device, "llama");
    test_by_hand(0);
    test_by_hand(3);
    test_finish();
    test_end_token();
    test_cancel_from_thread();
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return TEST_DONE();
}
