/* Promise: whichever allocation or backend call fails while a model is loaded, a context made, a prompt taken in and
 * tokens generated: the call returns an error with a text, nothing is left of it, and the same calls then give the
 * same logits and the same tokens on the same device and model. */
#include "../unit/lm_tiny.h"
#include "torture/torture.h"

static const char *path;
static mlxn_model *model;
static char saved[300]; /* a sequence of its */

/* Everything that was computed, as one number. */
static uint64_t digest(uint64_t hash, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3ull;
    return hash;
}

static mlxn_status load(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    mlxn_model *m = NULL;
    mlxn_token *ids = NULL;
    char *text = NULL;
    size_t n = 0, bytes = 0;
    mlxn_status status = mlxn_model_load(device, path, NULL, &m, error);
    STEP(mlxn_tokenize(m, "torture", 7, 0, &ids, &n, error));
    STEP(mlxn_detokenize(m, ids, n, true, &text, &bytes, error));
    if (!status) memcpy(out, text, mlxn_min_u64(bytes, TORTURE_BYTES));
    mlxn_free_memory(text);
    mlxn_free_memory(ids);
    mlxn_model_release(&m);
    return status;
}

static void open_model(mlxn_device *device) {
    mlxn_error error;
    CHECK(mlxn_model_load(device, path, NULL, &model, &error) == MLXN_OK, "%s", error.message);
}
static void close_model(mlxn_device *device) { mlxn_model_release(&model); }

/* Rows of two sequences in several steps, some of them with logits. */
static mlxn_status decode(mlxn_context *c, int n, uint64_t *hash, mlxn_error *error) {
    mlxn_batch_row rows[20];
    const float *logits = NULL;
    size_t wanted = 0;
    for (int i = 0; i < n; i++) {
        rows[i] = (mlxn_batch_row){i, (uint32_t)i % 2, i % 3 == 0};
        wanted += rows[i].logits;
    }
    mlxn_status status = mlxn_context_decode(c, rows, (size_t)n, NULL, NULL, &logits, error);
    if (!status) *hash = digest(*hash, logits, wanted * TINY_VOCAB * sizeof *logits);
    return status;
}

static mlxn_status generate(mlxn_context *c, uint64_t *hash, mlxn_error *error) {
    const mlxn_token prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    mlxn_sampler *sampler = NULL;
    mlxn_sampler_desc how = {.struct_size = sizeof how, .temp = 1, .repeat_penalty = 1.1f, .seed = 5};
    mlxn_generate_desc desc = {.struct_size = sizeof desc, .n_predict = 5, .ignore_eos = true};
    mlxn_generate_result result = {0};
    mlxn_status status = mlxn_sampler_create(&how, TINY_VOCAB, &sampler, error);
    STEP(mlxn_generate(c, prompt, 11, sampler, &desc, &result, error));
    CHECK(status == MLXN_OK || !result.ids, "an error leaves no ids");
    if (!status) *hash = digest(*hash, result.ids, result.n_ids * sizeof *result.ids);
    mlxn_free_memory(result.ids);
    mlxn_sampler_destroy(sampler);
    return status;
}

static mlxn_status talk(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    mlxn_context *c = NULL;
    uint64_t hash = 0xcbf29ce484222325ull;
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 100, .n_batch = 8, .n_sequences = 2};
    mlxn_status status = mlxn_context_create(model, &desc, &c, error);
    STEP(decode(c, 20, &hash, error));
    STEP(decode(c, 2, &hash, error));
    STEP(mlxn_context_save(c, 0, saved, error));
    STEP(mlxn_context_restore(c, 1, saved, error));
    for (uint32_t seq = 0; seq < 2; seq++) STEP(mlxn_context_truncate(c, seq, 0, error));
    STEP(generate(c, &hash, error));
    mlxn_context_destroy(c);
    if (!status) memcpy(out, &hash, sizeof hash);
    return status;
}

/* A context that an error met goes on: what it had computed is kept, and the same step then succeeds. */
static void test_goes_on(void) {
    mlxn_device *device = torture_open("fault", NULL);
    open_model(device);
    mlxn_context *c = NULL;
    mlxn_error error;
    uint64_t good = 0, hash = 0;
    CHECK(mlxn_context_create(model, NULL, &c, &error) == MLXN_OK, "%s", error.message);
    mlxn_batch_row row = {7, 0, true};
    const float *logits = NULL;
    for (uint64_t k = 0; k < 40; k++) {
        torture_watch("a context goes on", "backend call", k);
        if (k) {
            mlxn_fault_at(k);
            mlxn_status status = mlxn_context_decode(c, &row, 1, NULL, NULL, &logits, &error);
            mlxn_fault_at(0);
            if (status) CHECK(torture_is_clean(&torture_kinds[2], status, &error), "%s", error.message);
            CHECK(mlxn_context_truncate(c, 0, 0, &error) == MLXN_OK, "%s", error.message);
        }
        mlxn_status status = mlxn_context_decode(c, &row, 1, NULL, NULL, &logits, &error);
        CHECK(status == MLXN_OK, "after backend call %d failed: %s", (int)k, error.message);
        if (status) break;
        hash = digest(0, logits, TINY_VOCAB * sizeof *logits);
        if (!k) good = hash;
        CHECK(hash == good, "other logits after backend call %d failed", (int)k);
        CHECK(mlxn_context_truncate(c, 0, 0, &error) == MLXN_OK, "%s", error.message);
    }
    torture_unwatch();
    mlxn_context_destroy(c);
    close_model(device);
    mlxn_device_release(&device);
}

int main(void) {
    const char *archs[] = {"llama", "gemma3"};
    mlxn_backend_extra = &mlxn_backend_fault;
    for (size_t i = 0; i < 2; i++) {
        char name[64];
        path = tiny_file(&(tiny){.arch = archs[i]});
        snprintf(saved, sizeof saved, "%s.safetensors", path);
        for (size_t kind = 0; kind < 3; kind += 2) { /* null has no logits */
            snprintf(name, sizeof name, "load %s", archs[i]);
            torture_one_kind(&torture_kinds[kind], name, load, NULL, 20);
            torture_prepare = open_model;
            torture_cleanup = close_model;
            snprintf(name, sizeof name, "talk to %s", archs[i]);
            torture_one_kind(&torture_kinds[kind], name, talk, NULL, 20);
            torture_prepare = torture_cleanup = NULL;
        }
        if (i == 0) test_goes_on();
        unlink(path);
        unlink(saved);
    }
    return TEST_DONE();
}
