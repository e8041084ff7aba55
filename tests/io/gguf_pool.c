/* Promise: a tensor that is loaded into a pool keeps its exact length, is a member of the residency set once, belongs
 * to the caller and not to the pool (which neither counts nor recycles it), and outlives pool and file. */
#include <mlxn/io.h>

#include "base/base.h"
#include "io/gguf_writer.h"
#include "test.h"

static mlxn_error error;
#define OK(call) CHECK((call) == MLXN_OK, "%s", error.message)

/* Two F32 tensors of 1024 and 1028 bytes: neither grows to a bucket of the pool. */
static void write_file(gw *w) {
    gw_header(w, 3, 3, 1);
    gw_key_u32(w, "general.alignment", 32);
    gw_tensor(w, "even", 1, (uint64_t[]){256}, 0, 0);
    gw_tensor(w, "odd", 1, (uint64_t[]){257}, 0, 1024);
    gw_tensor(w, "unknown", 1, (uint64_t[]){256}, 43, 2080); /* of a later version */
    gw_align(w, 32);
    for (int i = 0; i < 257 + 256; i++) gw_f32(w, (float)i);
    gw_zeros(w, 28 + 66);
}

static mlxn_residency_info set_of(mlxn_device *device) {
    mlxn_residency_info set;
    mlxn_device_residency(device, &set);
    return set;
}

static void test_load(mlxn_gguf *file, mlxn_device *device) {
    static const struct {
        const char *name;
        uint64_t bytes;
        float first;
    } tensors[] = {{"even", 1024, 0}, {"odd", 1028, 256}};
    mlxn_pool *pool = NULL;
    mlxn_buffer *loaded[2] = {NULL, NULL};
    mlxn_pool_stats stats;
    uint64_t member = mlxn_device_residency_sets_enabled(device);
    OK(mlxn_pool_create(device, &pool, &error));
    for (uint64_t i = 0; i < 2; i++) {
        OK(mlxn_gguf_load_tensor_into_pool(file, tensors[i].name, device, pool, &loaded[i], &error));
        CHECK(mlxn_buffer_size(loaded[i]) == tensors[i].bytes, "%s: %d bytes", tensors[i].name,
              (int)mlxn_buffer_size(loaded[i]));
        float first = -1;
        OK(mlxn_buffer_read(loaded[i], 0, &first, 4, &error));
        CHECK(first == tensors[i].first, "%s: first value %g", tensors[i].name, first);
        CHECK(set_of(device).members == (i + 1) * member, "a member, once");
        CHECK(mlxn_pool_requested_bytes(pool, loaded[i]) == 0, "not of the pool");
    }
    mlxn_pool_get_stats(pool, &stats);
    CHECK(stats.in_use_count == 0 && stats.free_count == 0 && stats.peak_bytes == 0, "the pool counts neither");
    mlxn_buffer *wrong = loaded[0];
    CHECK(mlxn_pool_release(pool, &wrong, &error) == MLXN_ERR_ARGUMENT && wrong, "nor takes it back");
    mlxn_pool_reset(pool);
    mlxn_pool_destroy(pool);
    CHECK(set_of(device).members == 2 * member, "they outlive the pool as members");
    memset(mlxn_buffer_contents(loaded[1]), 1, 1028);
    mlxn_buffer_release(&loaded[0]);
    mlxn_buffer_release(&loaded[1]);
    CHECK(set_of(device).members == 0, "until their last handle goes");
}

static void test_refused(mlxn_gguf *file, mlxn_device *device) {
    mlxn_pool *pool = NULL;
    mlxn_device *other = NULL;
    mlxn_buffer *b = NULL;
    mlxn_device_info info = {.struct_size = sizeof info};
    OK(mlxn_pool_create(device, &pool, &error));
    OK(mlxn_device_create(NULL, &other, &error));
    CHECK(mlxn_gguf_load_tensor_into_pool(file, "none", device, pool, &b, &error) == MLXN_ERR_NOT_FOUND && !b, "%s",
          error.message);
    CHECK(mlxn_gguf_load_tensor_into_pool(file, "unknown", device, pool, &b, &error) == MLXN_ERR_UNSUPPORTED && !b,
          "%s", error.message);
    CHECK(mlxn_gguf_load_tensor_into_pool(file, "even", device, NULL, &b, &error) == MLXN_ERR_ARGUMENT && !b, "%s",
          error.message);
    if (mlxn_device_residency_sets_enabled(other)) {
        CHECK(mlxn_gguf_load_tensor_into_pool(file, "even", other, pool, &b, &error) == MLXN_ERR_ARGUMENT && !b,
              "another device");
        CHECK(strstr(error.message, "test.gguf: tensor \"even\": ") &&
                  strstr(error.message, "cannot mix residency-enabled devices"),
              "%s", error.message);
    }
    mlxn_device_get_info(other, &info);
    CHECK(info.memory_used == 0, "nothing is left of it");
    mlxn_pool_destroy(pool);
    mlxn_device_release(&other);
}

int main(void) {
    gw w = {0};
    write_file(&w);
    mlxn_gguf *file = NULL;
    mlxn_device *device = NULL;
    OK(mlxn_gguf_open_memory(w.bytes, w.size, "test.gguf", &file, &error));
    OK(mlxn_device_create(NULL, &device, &error));
    if (file && device) {
        test_load(file, device);
        test_refused(file, device);
    }
    mlxn_device_release(&device);
    mlxn_gguf_close(file);
    gw_free(&w);
    return TEST_DONE();
}
