/* Promise: whichever allocation or backend call fails while models with recurrent layers compute, the sequence is at
 * a length from which it goes on to the logits that it would have had: never with a state of another length. */
#include "../unit/lm_folder.h"
#include "torture/torture.h"

enum { HELD = 20, LENGTH = 60, VOCAB = 128 };

static mlxn_token token_at(uint32_t i) { return (mlxn_token)((i * 29 + i * i * 3 + 7) % VOCAB); }

/* Tokens [from, to) in one call. */
static mlxn_status feed(mlxn_context *c, uint32_t from, uint32_t to, float *last, mlxn_error *error) {
    mlxn_batch_row rows[LENGTH];
    const float *logits = NULL;
    for (uint32_t i = from; i < to; i++) rows[i - from] = (mlxn_batch_row){token_at(i), 0, i + 1 == to};
    mlxn_status status = mlxn_context_decode(c, rows, to - from, NULL, NULL, &logits, error);
    if (!status && last) memcpy(last, logits, VOCAB * sizeof *last);
    return status;
}

static double difference(const float *a, const float *b) {
    double worst = 0, largest = 0;
    for (int i = 0; i < VOCAB; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

/* A call of several steps; then steps of one row, which replay a graph. */
static mlxn_status work(mlxn_context *c, bool one_by_one, float *last, mlxn_error *error) {
    if (!one_by_one) return feed(c, HELD, LENGTH, last, error);
    mlxn_status status = MLXN_OK;
    for (uint32_t i = HELD; !status && i < LENGTH; i++) status = feed(c, i, i + 1, last, error);
    return status;
}

static void test(mlxn_model *model, const torture_kind *kind, bool one_by_one) {
    const mlxn_context_desc desc = {
        .struct_size = sizeof desc, .n_ctx = 64, .n_batch = 16, .n_checkpoints = 2, .checkpoint_every = 8};
    float want[VOCAB], got[VOCAB];
    mlxn_error error = {0};
    mlxn_context *c = NULL;
    int failures = 0, shorter = 0;
    CHECK(!mlxn_context_create(model, &desc, &c, &error), "%s", error.message);
    CHECK(!feed(c, 0, HELD, NULL, &error) && !work(c, one_by_one, want, &error), "%s", error.message);
    mlxn_context_destroy(c);
    for (uint64_t k = 1;; k += one_by_one ? 7 : 1) {
        CHECK(!mlxn_context_create(model, &desc, &c, &error), "%s", error.message);
        CHECK(!feed(c, 0, HELD, NULL, &error), "%s", error.message);
        torture_watch(kind->backend, kind->what, k);
        uint64_t start = kind->fail_at(k);
        mlxn_status status = work(c, one_by_one, got, &error);
        bool reached = kind->fail_at(0) - start >= k;
        mlxn_device_wait_idle(mlxn_model_device(model), UINT64_MAX, NULL);
        mlxn_queue_clear_status(mlxn_device_queue(mlxn_model_device(model)));
        uint32_t length = mlxn_context_length(c, 0);
        if (status) {
            CHECK(error.message[0], "%s %d: no text", kind->what, (int)k);
            failures++;
            shorter += length < HELD;
            if (length == LENGTH) CHECK(!mlxn_context_truncate(c, 0, 0, &error), "%s", error.message);
            length = mlxn_context_length(c, 0);
            CHECK(!feed(c, length, LENGTH, got, &error), "%s", error.message);
        }
        CHECK(difference(got, want) < 1e-5, "%s: %s %d failed at %u tokens: logits are off by %g", kind->backend,
              kind->what, (int)k, length, difference(got, want));
        mlxn_context_destroy(c);
        if (!reached) break;
    }
    torture_unwatch();
    CHECK(failures > 0, "%s: no %s ever failed", kind->backend, kind->what);
    printf("%s: %d failures by a %s, %d of them went back\n", kind->backend, failures, kind->what, shorter);
}

int main(void) {
    fm m;
    mlxn_backend_extra = &mlxn_backend_fault;
    if (!fm_open(&m, "qwen3_5")) return TEST_DONE();
    const char *folder = fm_write(&m, 0, NULL, NULL);
    const mlxn_device_desc desc = {.precision = MLXN_PRECISION_F32};
    for (size_t i = 0; i < 3; i += 2) { /* allocations of the CPU backend, and calls of the fault backend */
        mlxn_device *device = torture_open(torture_kinds[i].backend, &desc);
        mlxn_model *model = fm_load(device, folder);
        for (int k = 0; k < 2; k++) test(model, &torture_kinds[i], k);
        mlxn_model_release(&model);
        mlxn_device_release(&device);
    }
    fm_remove_folder(folder);
    fm_close(&m);
    return TEST_DONE();
}
