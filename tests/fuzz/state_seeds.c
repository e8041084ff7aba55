/* Writes the seeds of fuzz_state to the folder that is given: sequences of a tiny model, saved at several lengths. */
#include "unit/lm_tiny.h"

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    mlxn_device *device = tiny_device(MLXN_PRECISION_F32, 1);
    mlxn_model *model = tiny_load(device, "gemma3");
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 64, .n_batch = 8};
    mlxn_context *c = NULL;
    CHECK(!mlxn_context_create(model, &desc, &c, NULL), "context");
    for (uint32_t n = 0; n <= 48; n++) {
        char path[512], name[520];
        snprintf(path, sizeof path, "%s/%u.safetensors", argv[1], n);
        snprintf(name, sizeof name, "%s/%u.state", argv[1], n);
        if (n % 16 == 0) CHECK(!mlxn_context_save(c, 0, path, NULL) && !rename(path, name), "%s", name);
        mlxn_batch_row row = {(mlxn_token)(n * 31 % TINY_VOCAB), 0, false};
        CHECK(!mlxn_context_decode(c, &row, 1, NULL, NULL, NULL, NULL), "token %u", n);
    }
    mlxn_context_destroy(c);
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return TEST_DONE();
}
