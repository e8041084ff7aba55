/* Promise: whichever allocation or backend call fails while a GGUF file, a safetensors folder, its quantisation
 * config and its quantised weights are opened and loaded: the call returns an error that names the file or the thing,
 * all buffers of a list are there or none is, nothing is left, and the same calls then give the same bytes. */
#include <mlxn/io.h>

#include "io/safetensors_writer.h"
#include "torture/torture.h"

static gw gguf;

static mlxn_status read_some(mlxn_buffer *b, uint8_t **out, mlxn_error *error) {
    uint64_t bytes = mlxn_min_u64(mlxn_buffer_size(b), 256);
    mlxn_status status = mlxn_buffer_read(b, 0, *out, bytes, error);
    *out += bytes;
    return status;
}

static mlxn_status load_gguf(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    mlxn_gguf *file = NULL;
    mlxn_pool *pool = NULL;
    mlxn_buffer *b[4] = {NULL};
    mlxn_status status = mlxn_gguf_open_memory(gguf.bytes, gguf.size, "test.gguf", &file, error);
    STEP(mlxn_pool_create(device, &pool, error));
    STEP(mlxn_gguf_wrap(file, 0, device, &b[0], error));
    STEP(mlxn_gguf_load_tensor(file, "a.weight", device, &b[1], error));
    STEP(mlxn_gguf_load_tensor_f32(file, "a.weight", device, &b[2], error));
    STEP(mlxn_gguf_load_tensor_into_pool(file, "b.bias", device, pool, &b[3], error));
    for (int i = 0; i < 4; i++) STEP(read_some(b[i], &out, error));
    for (int i = 0; i < 4; i++) mlxn_buffer_release(&b[i]);
    mlxn_pool_destroy(pool);
    mlxn_gguf_close(file);
    return status;
}

static mlxn_status load_safetensors(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    enum { TENSORS = 4 };
    mlxn_safetensors *file = NULL;
    mlxn_buffer *all[TENSORS] = {NULL}, *b[2] = {NULL};
    mlxn_quant_weights *weights = NULL;
    mlxn_quant_config *config = NULL;
    mlxn_status status = mlxn_safetensors_open(st_folder, &file, error);
    if (!status) CHECK(mlxn_safetensors_tensor_count(file) == TENSORS, "tensors of the file");
    STEP(mlxn_safetensors_wrap(file, 0, device, &b[0], error));
    STEP(mlxn_safetensors_load_tensor(file, "norm", device, &b[1], error));
    STEP(mlxn_safetensors_load_all(file, device, all, error));
    for (int i = 0; i < TENSORS; i++) CHECK(!all[i] == (status != MLXN_OK), "all buffers or none: %d", i);
    STEP(mlxn_quant_config_from_model_file(st_path("config.json"), &config, error));
    if (!status) CHECK(mlxn_quant_config_lookup(config, "q.weight").bits == 4, "config");
    STEP(mlxn_load_quantized_weights(st_folder, device, &weights, error));
    if (!status) {
        CHECK(mlxn_quant_weights_count(weights) == 1, "weights");
        STEP(read_some(mlxn_quant_weights_at(weights, 0)->weight.buffer, &out, error));
    }
    for (int i = 0; i < TENSORS; i++) STEP(read_some(all[i], &out, error));
    for (int i = 0; i < TENSORS; i++) mlxn_buffer_release(&all[i]);
    for (int i = 0; i < 2; i++) mlxn_buffer_release(&b[i]);
    mlxn_quant_weights_destroy(weights);
    mlxn_quant_config_destroy(config);
    mlxn_safetensors_close(file);
    return status;
}

static void write_folder(void) {
    st_builder b = {.length = 0};
    gw w = {0};
    st_make_folder();
    st_add(&b, "norm", "F32", "[16]", 64);
    st_add(&b, "q.weight", "U32", "[2,8]", 64); /* 4 bits, 64 columns */
    st_add(&b, "q.scales", "F16", "[2,1]", 4);
    st_add(&b, "q.biases", "F16", "[2,1]", 4);
    st_finish(&b, &w);
    st_save(&w, "model.safetensors");
    st_save_text("{\"quantization\":{\"group_size\":64,\"bits\":4,\"other\":{\"bits\":8}}}", "config.json");
}

int main(void) {
    gw_sample(&gguf, 3);
    torture_all("gguf", load_gguf, NULL, 8);
    gw_free(&gguf);
    write_folder();
    torture_all("safetensors", load_safetensors, NULL, 8);
    unlink(st_path("model.safetensors"));
    unlink(st_path("config.json"));
    rmdir(st_folder);
    return TEST_DONE();
}
