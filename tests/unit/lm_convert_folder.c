/* Promise: a folder of an architecture with a mixture of experts, latent attention, YaRN, Llama 3's scaling or
 * LongRoPE is the same model as a GGUF file that mlxn_convert_gguf writes of it, and as a folder that
 * mlxn_convert_folder writes of that file: its logits are those of the first folder. What has no form in GGUF is
 * refused by name. */
#include <mlxn/convert.h>

#include "lm_folder.h"

static mlxn_device *device;

static double largest_difference(const float *a, const float *b, size_t n) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

static void test_same(const char *name) {
    fm m;
    char file[150], back[150];
    mlxn_error error = {0};
    const mlxn_convert_options options = {.struct_size = sizeof options, .overwrite = true};
    if (!fm_open(&m, name)) return;
    const char *folder = fm_write(&m, 0, NULL, NULL);
    fm_write_tokenizer(folder);
    snprintf(file, sizeof file, "%s.gguf", folder);
    snprintf(back, sizeof back, "%s.back", folder);
    CHECK(!mlxn_convert_gguf(folder, file, &options, NULL, &error), "%s: %s", name, error.message);
    CHECK(!mlxn_convert_folder(file, back, &options, NULL, &error), "%s: %s", name, error.message);
    const char *paths[] = {folder, file, back};
    float *logits[3] = {NULL, NULL, NULL};
    for (int i = 0; i < 3; i++) {
        mlxn_model *model = fm_load(device, paths[i]);
        if (model) logits[i] = fm_run(model, &m, m.n_ids, 0);
        mlxn_model_release(&model);
    }
    for (int i = 1; i < 3 && logits[0] && logits[i]; i++) {
        double d = largest_difference(logits[i], logits[0], m.n_ids * 128);
        CHECK(d < 1e-5, "%s: %s: logits are off by %g of the largest", name, i == 1 ? "GGUF" : "folder again", d);
        printf("%s, %s: off by %.2g\n", name, i == 1 ? "GGUF" : "folder again", d);
    }
    for (int i = 0; i < 3; i++) free(logits[i]);
    if (getenv("MLXN_KEEP")) { /* tests/model/peer_tiny.py lets llama.cpp read them */
        printf("kept %s %s\n", name, folder);
    } else {
        unlink(file);
        fm_remove_folder(folder);
        fm_remove_folder(back);
    }
    fm_close(&m);
}

static void test_refused(const char *name, const char *key, json_t *value, const char *text) {
    fm m;
    char file[400];
    mlxn_error error = {0};
    const mlxn_convert_options options = {.struct_size = sizeof options};
    if (!fm_open(&m, name)) return;
    if (key) json_object_set_new(m.config, key, value);
    const char *folder = fm_write(&m, 0, NULL, NULL);
    fm_write_tokenizer(folder);
    snprintf(file, sizeof file, "%s.gguf", folder);
    mlxn_status status = mlxn_convert_gguf(folder, file, &options, NULL, &error);
    CHECK(status == MLXN_ERR_UNSUPPORTED && strstr(error.message, text), "%s: status %d: \"%s\", want \"%s\"", name,
          status, error.message, text);
    CHECK(access(file, F_OK) != 0, "%s: a file was left", name);
    fm_remove_folder(folder);
    fm_close(&m);
}

int main(void) {
    static const char *const names[] = {"llama3",      "llama3-old",    "llama-linear", "llama-yarn",
                                        "phi3",        "phi3-short",    "gpt_oss",      "deepseek_v2-groups",
                                        "deepseek_v2", "qwen3_moe-mlx", "qwen3_moe",    "gemma3"};
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 2};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) test_same(names[i]);
    test_refused("gemma4", NULL, NULL, "gemma4");
    mlxn_device_release(&device);
    return TEST_DONE();
}
