/* Promise: whatever bytes are restored as a saved sequence: either the sequence holds tokens of the vocabulary and
 * goes on, or there is an error with a text and it holds what it held. Entry point for fuzz_driver.c. */
#include "lm/lm_internal.h"

#include "unit/lm_tiny.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static mlxn_context *context(void) {
    static mlxn_context *c;
    if (c) return c;
    mlxn_device *device = tiny_device(MLXN_PRECISION_F32, 1);
    mlxn_model *model = tiny_load(device, "gemma3");
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 64, .n_batch = 8};
    if (mlxn_context_create(model, &desc, &c, NULL)) abort();
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return c;
}

static void feed(mlxn_context *c, mlxn_token token) {
    mlxn_batch_row row = {token, 0, true};
    const float *logits;
    if (mlxn_context_decode(c, &row, 1, NULL, NULL, &logits, NULL)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    (void)test_skips;
    static unsigned runs;
    mlxn_context *c = context();
    mlxn_safetensors *file = NULL;
    mlxn_error error = {0};
    uint32_t n;
    if (mlxn_context_truncate(c, 0, 0, NULL)) abort();
    if (runs % 64 == 0) feed(c, 7);
    uint32_t held = mlxn_context_length(c, 0);
    mlxn_status status = mlxn_safetensors_open_memory(data, size, "fuzz", &file, &error);
    if (!status) status = mlxn_lm_restore(c, 0, file, "fuzz", &error);
    mlxn_safetensors_close(file);
    if (status && (!error.message[0] || mlxn_context_length(c, 0) != held)) abort();
    const mlxn_token *ids = mlxn_context_tokens(c, 0, &n);
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= TINY_VOCAB) abort();
    if (runs++ % 64 == 0 && n < mlxn_context_size(c)) feed(c, 5);
    return 0;
}
