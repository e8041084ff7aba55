/* Promise: whichever allocation or backend call fails while an embedder with dense layers, a prompt and a tokenizer
 * is loaded and computes: the call returns an error with a text, nothing is left of it, and the same calls then give
 * the same vector. */
#include <mlxn/embed.h>

#include "../unit/lm_embed.h"
#include "torture/torture.h"

static const char *path;

static mlxn_status embed(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    const mlxn_embedder_desc desc = {.struct_size = sizeof desc, .n_batch = 2, .prompt_name = "query"};
    const char *text = "abcdefg"; /* longer than a pass: its buffers are made anew */
    mlxn_embedder *e = NULL;
    float vector[64] = {0};
    mlxn_status status = mlxn_embedder_load(device, path, &desc, &e, error);
    STEP(mlxn_embed_texts(e, &text, NULL, 1, vector, NULL, error));
    if (!status) memcpy(out, vector, sizeof vector);
    mlxn_embedder_destroy(e);
    return status;
}

int main(void) {
    fm m;
    if (!fm_open(&m, "embeddinggemma")) return TEST_DONE();
    path = fm_write_model(&m, NULL, NULL);
    fm_write_tokenizer(path);
    json_t *prompts = json_pack("{s:{s:s}}", "prompts", "query", "xy:");
    fm_write_json(path, "config_sentence_transformers.json", prompts);
    json_decref(prompts);
    mlxn_backend_extra = &mlxn_backend_fault;
    for (size_t kind = 0; kind < 3; kind++) torture_one_kind(&torture_kinds[kind], "embed", embed, NULL, 10);
    fm_remove_model(path);
    fm_close(&m);
    return TEST_DONE();
}
