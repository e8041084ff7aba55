/* Promise: a folder of config.json and safetensors, of each architecture and in each spelling of its config, gives
 * the logits that Hugging Face transformers computed in float32 (tests/vectors/models), at once and token by token,
 * with prompts longer than the sliding window; however it is cut into shards, and loaded from GGUF, it gives the
 * same.
 */
#include "lm_folder.h"

#include "lm/lm_internal.h"

static mlxn_device *device;

static const char *const names[] = {"llama",      "llama3", "llama3-old", "llama-linear", "llama-yarn",
                                    "mistral",    "qwen2",  "qwen3",      "gemma2",       "gemma3",
                                    "gemma3-old", "phi3",   "phi3-short"};

/* The largest difference from the stored rows, over the largest logit. */
static double distance(const fm *m, const float *logits) {
    json_t *rows = json_object_get(m->root, "rows"), *stored = json_object_get(m->root, "logits");
    double worst = 0, largest = 0;
    for (size_t r = 0; r < json_array_size(rows); r++) {
        size_t row = (size_t)json_integer_value(json_array_get(rows, r));
        json_t *want = json_array_get(stored, r);
        size_t width = json_array_size(want);
        for (size_t i = 0; i < width; i++) {
            double w = json_number_value(json_array_get(want, i)), got = (double)logits[row * width + i];
            if (!(fabs(got) < 1e30)) return INFINITY;
            worst = fmax(worst, fabs(w - got));
            largest = fmax(largest, fabs(w));
        }
    }
    return worst / largest;
}

static void compare(const fm *m, mlxn_model *model, const char *how) {
    const struct {
        size_t first;
        uint32_t n_batch;
    } ways[] = {{m->n_ids, 0}, {m->n_ids, 5}, {1, 0}, {m->n_ids / 2, 16}};
    for (size_t i = 0; model && i < sizeof ways / sizeof *ways; i++) {
        float *logits = fm_run(model, m, ways[i].first, ways[i].n_batch);
        double d = distance(m, logits);
        CHECK(d < 1e-4, "%s, %s, way %zu: logits are off by %g of the largest", m->name, how, i, d);
        if (i == 0) printf("%s, %s: off by %.2g of the largest logit\n", m->name, how, d);
        free(logits);
    }
}

static void test_transformers(void) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fm m;
        if (!fm_open(&m, names[i])) continue;
        const char *folder = fm_write(&m, 0, NULL, NULL);
        mlxn_model *model = fm_load(device, folder);
        fm_remove_folder(folder); /* the maps stay */
        compare(&m, model, "folder");
        mlxn_model_release(&model);
        fm_close(&m);
    }
}

static void test_shards(void) {
    fm m;
    if (!fm_open(&m, "gemma3")) return;
    const char *folders[2] = {fm_write(&m, 0, NULL, NULL), fm_write(&m, 40000, NULL, NULL)};
    float *logits[2];
    for (int i = 0; i < 2; i++) {
        mlxn_model *model = fm_load(device, folders[i]);
        if (i) CHECK(model && model->source->part_count > 3, "shards");
        logits[i] = fm_run(model, &m, m.n_ids, 0);
        mlxn_model_release(&model);
        fm_remove_folder(folders[i]);
    }
    CHECK(memcmp(logits[0], logits[1], m.n_ids * 128 * sizeof **logits) == 0, "shards change logits");
    free(logits[0]);
    free(logits[1]);
    fm_close(&m);
}

int main(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 2};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    test_transformers();
    test_shards();
    mlxn_device_release(&device);
    return TEST_DONE();
}
