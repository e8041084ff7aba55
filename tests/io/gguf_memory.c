/* Promise: when any allocation of an open fails, the call returns MEMORY with a text, leaks nothing, and the next try
 * works. */
#include <mlxn/io.h>

#include "base/base.h"
#include "io/gguf_writer.h"
#include "test.h"

int main(void) {
    gw w = {0};
    gw_sample(&w, 3);
    uint64_t failures = 0;
    for (uint64_t k = 1; k < 1000; k++) {
        mlxn_gguf *file = NULL;
        mlxn_error error;
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_gguf_open_memory(w.bytes, w.size, "test.gguf", &file, &error);
        mlxn_alloc_fail_at(0);
        mlxn_gguf_close(file);
        if (status == MLXN_OK) break;
        failures++;
        CHECK(status == MLXN_ERR_MEMORY && !file, "allocation %llu: %s", (unsigned long long)k, error.message);
        CHECK(strstr(error.message, "test.gguf: no memory") != NULL, "%s", error.message);
    }
    CHECK(failures >= 6, "only %llu allocations were seen", (unsigned long long)failures);
    mlxn_gguf *file = NULL;
    CHECK(mlxn_gguf_open_memory(w.bytes, w.size, "test.gguf", &file, NULL) == MLXN_OK, "after all failures");
    mlxn_gguf_close(file);
    gw_free(&w);
    return TEST_DONE();
}
