/* Promise: whichever allocation fails while a model is loaded, a context made, text decoded and generated: the call
 * returns an error with a message, nothing is left of it, and the same call succeeds afterwards. */
#include "../unit/lm_tiny.h"

#include "base/base.h"

static mlxn_device *device;
static const char *path;

/* But for the threads' work memory, which stays with the device. */
static uint64_t memory_used(void) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.memory_used - info.memory_scratch;
}

typedef struct state {
    mlxn_model *model;
    mlxn_context *context;
    mlxn_sampler *sampler;
} state;

static mlxn_status load(state *s, mlxn_error *error) { return mlxn_model_load(device, path, NULL, &s->model, error); }

static mlxn_status make_context(state *s, mlxn_error *error) {
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 100, .n_batch = 8, .n_sequences = 2};
    return mlxn_context_create(s->model, &desc, &s->context, error);
}

static mlxn_status make_sampler(state *s, mlxn_error *error) {
    mlxn_sampler_desc desc = {.struct_size = sizeof desc, .temp = 1, .repeat_penalty = 1.1f};
    return mlxn_sampler_create(&desc, TINY_VOCAB, &s->sampler, error);
}

static mlxn_status prefill(state *s, mlxn_error *error) {
    mlxn_batch_row rows[20];
    for (int i = 0; i < 20; i++) rows[i] = (mlxn_batch_row){i, (uint32_t)i % 2, i % 3 == 0};
    const float *logits;
    mlxn_status status = mlxn_context_decode(s->context, rows, 20, NULL, NULL, &logits, error);
    /* Steps that were complete stay: back to empty, so that every try does the same. */
    for (uint32_t seq = 0; seq < 2; seq++) mlxn_context_truncate(s->context, seq, 0, NULL);
    return status;
}

static mlxn_status step(state *s, mlxn_error *error) {
    mlxn_batch_row rows[2] = {{3, 0, true}, {4, 1, true}};
    const float *logits;
    mlxn_status status = mlxn_context_decode(s->context, rows, 2, NULL, NULL, &logits, error);
    for (uint32_t seq = 0; seq < 2; seq++) mlxn_context_truncate(s->context, seq, 0, NULL);
    return status;
}

static bool hear(void *user, mlxn_token token, const char *text, size_t bytes) { return true; }

static mlxn_status generate(state *s, mlxn_error *error) {
    const mlxn_token prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    mlxn_generate_desc desc = {.struct_size = sizeof desc, .n_predict = 5, .ignore_eos = true, .on_token = hear};
    mlxn_generate_result result;
    mlxn_status status = mlxn_generate(s->context, prompt, 11, s->sampler, &desc, &result, error);
    mlxn_context_truncate(s->context, 0, 0, NULL);
    CHECK(status == MLXN_OK || !result.ids, "an error leaves no ids");
    mlxn_free_memory(result.ids);
    return status;
}

/* Lets allocation 1, 2, 3, ... of one call fail until the call no longer reaches the failing one. */
static void torture(state *s, const char *what, mlxn_status (*call)(state *, mlxn_error *), bool keeps) {
    uint64_t before = memory_used();
    for (uint64_t k = 1;; k++) {
        mlxn_error error = {0};
        uint64_t start = mlxn_alloc_count();
        mlxn_alloc_fail_at(k);
        mlxn_status status = call(s, &error);
        mlxn_alloc_fail_at(0);
        uint64_t made = mlxn_alloc_count() - start;
        if (status == MLXN_OK && made < k) return; /* the failing allocation was not reached */
        if (status == MLXN_OK) continue;           /* it could be done without */
        CHECK(error.status == status && error.message[0], "%s: allocation %d: status %s, message \"%s\"", what,
              (int)k, mlxn_status_name(status), error.message);
        if (keeps) {
            CHECK(memory_used() == before, "%s: allocation %d: %lld bytes of device memory leak", what, (int)k,
                  (long long)(memory_used() - before));
        }
        if (k > 100000) {
            CHECK(0, "%s: no end", what);
            return;
        }
    }
}

int main(void) {
    const char *archs[] = {"llama", "gemma3"};
    device = tiny_device(MLXN_PRECISION_FAST, 2);
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        state s = {0};
        path = tiny_file(&(tiny){.arch = archs[i]});
        torture(&s, "load", load, true);
        torture(&s, "context", make_context, true);
        torture(&s, "sampler", make_sampler, true);
        torture(&s, "prefill", prefill, false); /* what grows with the calls may stay */
        torture(&s, "step", step, false);
        torture(&s, "generate", generate, false);
        mlxn_sampler_destroy(s.sampler);
        mlxn_context_destroy(s.context);
        mlxn_model_release(&s.model);
        CHECK(memory_used() == 0, "%s: %llu bytes of device memory are left", archs[i],
              (unsigned long long)memory_used());
        unlink(path);
    }
    mlxn_device_release(&device);
    return TEST_DONE();
}
