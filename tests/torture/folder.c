/* Promise: whichever allocation or backend call fails while a folder is loaded, plain in shards or quantized: the
 * call returns an error with a text, nothing is left of it, and the same call then succeeds. */
#include "../unit/lm_folder.h"
#include "torture/torture.h"

static const char *path;

static mlxn_status load(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    mlxn_model *model = NULL;
    mlxn_model_info info = {.struct_size = sizeof info};
    mlxn_status status = mlxn_model_load(device, path, NULL, &model, error);
    if (!status && !mlxn_model_get_info(model, &info)) {
        memcpy(out, &info.n_params, sizeof info.n_params);
        memcpy(out + 8, &info.bytes_per_token, sizeof info.bytes_per_token);
    }
    mlxn_model_release(&model);
    return status;
}

int main(void) {
    static const fm_quant quant = {MLXN_QUANT_AFFINE, 4, 32, MLXN_BF16, false};
    static const char *const names[] = {"gemma3-old", "phi3", "qwen3_moe"};
    mlxn_backend_extra = &mlxn_backend_fault;
    for (size_t i = 0; i < 3; i++) {
        fm m;
        char name[64];
        if (!fm_open(&m, names[i])) continue;
        bool packed = i == 1;
        if (packed)
            json_object_set_new(m.config, "quantization", json_pack("{s:i,s:i}", "bits", 4, "group_size", 32));
        path = packed ? fm_write(&m, 0, fm_all, &quant) : fm_write(&m, 100000, NULL, NULL);
        snprintf(name, sizeof name, "load folder %s", names[i]);
        for (size_t kind = 0; kind < 3; kind++) torture_one_kind(&torture_kinds[kind], name, load, NULL, 10);
        fm_remove_folder(path);
        fm_close(&m);
    }
    return TEST_DONE();
}
