/* Promise: whichever allocation fails while model files are written or quantized: an error that says so, no file
 * under the result's name and no partial one, nothing leaked; the same call then gives the same bytes. */
#include <mlxn/convert.h>

#include "io/safetensors_writer.h"
#include "torture/torture.h"

static bool there(const char *name) { return !access(st_path(name), F_OK); }

static void keep_bytes(const char *name, uint8_t **out) {
    FILE *f = fopen(st_path(name), "rb");
    if (!f) return;
    uint8_t bytes[1024];
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;)
        for (size_t i = 0; i < n; i++) (*out)[i % 256] = (uint8_t)((*out)[i % 256] * 31 + bytes[i]);
    fclose(f);
    *out += 256;
}

static mlxn_status quantize(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    (void)device;
    const mlxn_quantize_options options = {
        .struct_size = sizeof options, .type = "q8_0", .requantize = true, .threads = 1};
    unlink(st_path("out.gguf"));
    mlxn_status status = mlxn_quantize_gguf(st_path("in.gguf"), st_path("out.gguf"), &options, NULL, error);
    CHECK(there("out.gguf") == !status && !there("out.gguf.partial"), "files: %s", error->message);
    if (!status) keep_bytes("out.gguf", &out);
    return status;
}

static mlxn_status write_shards(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    (void)device;
    static const uint8_t data[16] = {1, 2, 3};
    static const char *const names[] = {"model.safetensors.index.json", "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    const uint64_t dims[] = {16};
    mlxn_safetensors_writer *w = NULL;
    for (int i = 0; i < 3; i++) unlink(st_path(names[i]));
    mlxn_status status = mlxn_safetensors_writer_create(st_folder, 16, false, &w, error);
    STEP(mlxn_safetensors_writer_metadata(w, "a", "b", error));
    STEP(mlxn_safetensors_writer_add(w, "x", MLXN_ST_U8, 1, dims, error));
    STEP(mlxn_safetensors_writer_add(w, "y", MLXN_ST_U8, 1, dims, error));
    STEP(mlxn_safetensors_writer_write(w, data, 16, error));
    STEP(mlxn_safetensors_writer_write(w, data, 16, error));
    STEP(mlxn_safetensors_writer_finish(&w, error));
    mlxn_safetensors_writer_destroy(w);
    for (int i = 0; i < 3; i++) {
        char partial[96];
        snprintf(partial, sizeof partial, "%s.partial", names[i]);
        CHECK(!there(partial), "%s is left", partial);
        if (!status) keep_bytes(names[i], &out);
    }
    /* With the index but without a shard, or with a shard but without the index and the other: no reader takes it. */
    if (status) CHECK(!there(names[1]) || !there(names[2]) || there(names[0]), "a part looks whole");
    return status;
}

int main(void) {
    gw w = {0};
    st_make_folder();
    gw_header(&w, 3, 2, 1);
    gw_key_text(&w, "general.architecture", "llama");
    gw_tensor(&w, "blk.0.ffn_up.weight", 2, (uint64_t[]){64, 3}, 0, 0);
    gw_tensor(&w, "blk.0.ffn_norm.weight", 1, (uint64_t[]){64}, 0, 768);
    gw_align(&w, 32);
    for (int i = 0; i < 256; i++) gw_f32(&w, (float)i);
    st_save(&w, "in.gguf");
    torture_one_kind(&torture_kinds[0], "quantize", quantize, NULL, 8); /* no device takes part */
    torture_one_kind(&torture_kinds[0], "safetensors writer", write_shards, NULL, 8);
    st_remove_folder();
    return TEST_DONE();
}
