/* Promise: a part of a file becomes one device buffer without a copy: same address, same bytes, and closing the file
 * after the buffer is released leaves nothing behind. */
#include <mlxn/io.h>

#include "io/gguf_writer.h"
#include "test.h"

int main(void) {
    gw w = {0};
    gw_sample(&w, 3);
    mlxn_gguf *file = NULL;
    mlxn_device *device = NULL;
    mlxn_buffer *buffer = NULL;
    mlxn_error error;
    mlxn_gguf_tensor t;
    CHECK(mlxn_gguf_open_memory(w.bytes, w.size, "test.gguf", &file, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_device_create(NULL, &device, &error) == MLXN_OK, "%s", error.message);
    if (file && device) {
        CHECK(mlxn_gguf_wrap(file, 0, device, &buffer, &error) == MLXN_OK, "%s", error.message);
        CHECK(mlxn_buffer_size(buffer) == w.size, "the whole part");
        CHECK(mlxn_buffer_contents(buffer) == w.bytes, "no copy");
        uint8_t bytes[8];
        CHECK(mlxn_gguf_find_tensor(file, "a.weight", &t), "a.weight");
        CHECK(mlxn_buffer_read(buffer, t.offset, bytes, sizeof bytes, &error) == MLXN_OK, "%s", error.message);
        CHECK(memcmp(bytes, t.data, sizeof bytes) == 0, "offsets of tensors are offsets in the buffer");
        mlxn_buffer_release(&buffer);
        CHECK(mlxn_gguf_wrap(file, 1, device, &buffer, &error) == MLXN_ERR_ARGUMENT && !buffer, "no second part");
        CHECK(!strcmp(error.message, "test.gguf: part is 1, want below 1"), "%s", error.message);
    }
    mlxn_device_release(&device);
    mlxn_gguf_close(file);
    gw_free(&w);
    return TEST_DONE();
}
