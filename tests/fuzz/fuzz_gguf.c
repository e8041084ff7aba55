/* Promise: whatever bytes are opened as a GGUF file, the result is an error with a text or a file of which everything
 * can be touched. Entry point for libFuzzer and for fuzz_driver.c. */
#include <mlxn/io.h>

#include "io/gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static volatile uint64_t sink;
    mlxn_gguf *file = NULL;
    mlxn_error error;
    if (mlxn_gguf_open_memory(data, size, "fuzz", &file, &error)) {
        if (file || !error.message[0] || error.status == MLXN_ERR_INTERNAL) abort();
        return 0;
    }
    if (!file || error.status) abort();
    sink += walk_file(file);
    mlxn_gguf_close(file);
    return 0;
}
