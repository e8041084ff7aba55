/* Promise: buffers are zero, 64-byte aligned, exact, counted, and outlive the work that uses them; wrapped memory is
 * freed after its last use; views compose and honour their length; the pool never aliases; limits refuse with
 * numbers. */
#include <mlxn/mlxn.h>

#include "test.h"

static mlxn_device *device;
static mlxn_error error;

static void test_buffers(void) {
    for (uint64_t bytes = 1; bytes < (3u << 20); bytes = bytes * 3 + 1) {
        mlxn_buffer *b = NULL;
        CHECK(mlxn_buffer_create(device, bytes, &b, &error) == MLXN_OK, "%s", error.message);
        unsigned char *p = mlxn_buffer_contents(b);
        CHECK(((uintptr_t)p & 63) == 0, "aligned");
        CHECK(mlxn_buffer_size(b) == bytes, "exact");
        uint64_t dirty = 0;
        for (uint64_t i = 0; i < bytes; i++) dirty += p[i] != 0;
        CHECK(dirty == 0, "zero");
        memset(p, 0xff, bytes); /* so that recycled pages would show */
        mlxn_buffer_release(&b);
        CHECK(b == NULL, "handle is cleared");
    }
    mlxn_buffer *b = NULL;
    CHECK(mlxn_buffer_create(device, 0, &b, &error) == MLXN_ERR_ARGUMENT && !b, "0 bytes are refused");
    CHECK(mlxn_buffer_create(device, 8, &b, &error) == MLXN_OK, "create");
    CHECK(mlxn_buffer_write(b, 4, "12345", 5, &error) == MLXN_ERR_ARGUMENT, "write past the end");
    CHECK(strstr(error.message, "4 + 5 bytes, buffer at 8"), "both values: %s", error.message);
    char sink[2];
    CHECK(mlxn_buffer_read(b, UINT64_MAX, sink, 2, &error) == MLXN_ERR_ARGUMENT, "overflow is caught");
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&b); /* nothing */
}

static int freed;
static void on_free(void *user, void *memory, uint64_t bytes) { freed += user == &freed && memory && bytes == 64; }

static void test_wrap(void) {
    static float memory[16];
    mlxn_buffer *b = NULL, *c = NULL;
    mlxn_encoder *e = NULL;
    CHECK(mlxn_buffer_wrap(device, memory, sizeof memory, on_free, &freed, &b, &error) == MLXN_OK, "%s",
          error.message);
    CHECK(mlxn_buffer_contents(b) == memory, "in place");
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
    mlxn_tensor t = mlxn_tensor_1d(b, 0, MLXN_F32, 16);
    memory[3] = 2;
    CHECK(mlxn_elementwise_add(e, t, t, t) == MLXN_OK, "in place add");
    c = mlxn_buffer_retain(b);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&c);
    CHECK(freed == 0, "the recorded command holds it");
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "%s", error.message);
    CHECK(memory[3] == 4, "computed in place");
    CHECK(freed == 1, "freed once, after its last use: %d", freed);
    mlxn_encoder_destroy(e);
}

static void test_views(void) {
    mlxn_buffer *b = NULL;
    CHECK(mlxn_buffer_create(device, 4 * 24, &b, &error) == MLXN_OK, "create");
    float *p = mlxn_buffer_contents(b);
    for (int i = 0; i < 24; i++) p[i] = (float)i;
    mlxn_tensor t = mlxn_tensor_3d(b, 0, MLXN_F32, 2, 3, 4), rows, cell, flat;
    CHECK(mlxn_tensor_is_contiguous(&t) && mlxn_tensor_elements(&t) == 24, "whole");
    CHECK(mlxn_tensor_slice(&t, 1, 1, 2, &rows, &error) == MLXN_OK, "%s", error.message);
    CHECK(!mlxn_tensor_is_contiguous(&rows) && rows.offset == 16, "rows");
    CHECK(mlxn_tensor_slice(&rows, 2, 3, 1, &cell, &error) == MLXN_OK, "%s", error.message);
    CHECK(cell.offset == 28 && mlxn_tensor_elements(&cell) == 4, "views compose");
    CHECK(mlxn_tensor_slice(&t, 0, 1, 2, &cell, &error) == MLXN_ERR_ARGUMENT, "past the end");
    CHECK(strstr(error.message, "1 + 2 of axis 0, which has 2"), "both values: %s", error.message);
    CHECK(mlxn_tensor_reshape(&rows, 1, (uint64_t[]){16}, &flat, &error) == MLXN_ERR_ARGUMENT, "not contiguous");
    CHECK(mlxn_tensor_reshape(&t, 2, (uint64_t[]){6, 4}, &flat, &error) == MLXN_OK, "reshape");
    CHECK(mlxn_tensor_reshape(&t, 2, (uint64_t[]){6, 5}, &flat, &error) == MLXN_ERR_ARGUMENT, "30 of 24");

    mlxn_encoder *e = NULL;
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
    mlxn_tensor out = mlxn_tensor_3d(b, 0, MLXN_F32, 2, 2, 4);
    CHECK(mlxn_elementwise_add(e, rows, rows, out) == MLXN_ERR_ARGUMENT, "partial overlap is refused");
    mlxn_encoder_status(e, &error);
    CHECK(strstr(error.message, "elementwise_add: out overlaps a in bytes [16, 64)"), "named: %s", error.message);
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_ERR_ARGUMENT, "commit reports the first error");
    mlxn_encoder_destroy(e);
    mlxn_tensor huge = mlxn_tensor_2d(b, 0, MLXN_F32, UINT64_MAX / 2, 8);
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
    CHECK(mlxn_elementwise_add(e, huge, huge, huge) == MLXN_ERR_ARGUMENT, "overflowing sizes are refused");
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&b);
}

static void test_pool(void) {
    mlxn_pool *pool = NULL;
    mlxn_pool_stats stats;
    mlxn_buffer *a = NULL, *b = NULL, *c = NULL;
    CHECK(mlxn_pool_create(device, &pool, &error) == MLXN_OK, "pool");
    static const uint64_t sizes[][2] = {{1, 1}, {2, 2}, {3, 4}, {5, 8}, {1023, 1024}, {1025, 2048}};
    for (size_t i = 0; i < 6; i++) {
        CHECK(mlxn_pool_alloc(pool, sizes[i][0], &a, &error) == MLXN_OK, "alloc");
        CHECK(mlxn_buffer_size(a) == sizes[i][1], "bucket of %d", (int)sizes[i][0]);
        CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK && !a, "release");
    }
    CHECK(mlxn_pool_alloc(pool, 0, &a, &error) == MLXN_ERR_ARGUMENT, "0 bytes");
    CHECK(mlxn_pool_alloc(pool, 100, &a, &error) == MLXN_OK, "alloc");
    void *address = mlxn_buffer_contents(a);
    mlxn_buffer *extra = mlxn_buffer_retain(a);
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK, "release");
    CHECK(mlxn_pool_alloc(pool, 128, &b, &error) == MLXN_OK, "alloc");
    CHECK(mlxn_buffer_contents(b) != address, "a buffer that somebody still holds is not handed out");
    mlxn_buffer_release(&extra);
    CHECK(mlxn_pool_alloc(pool, 128, &c, &error) == MLXN_OK, "alloc");
    CHECK(mlxn_buffer_contents(c) == address, "now it is");
    mlxn_pool_get_stats(pool, &stats);
    CHECK(stats.in_use_count == 2 && stats.hits == 1, "in use %d, hits %d", (int)stats.in_use_count, (int)stats.hits);
    mlxn_buffer_release(&b);
    mlxn_pool_reset(pool);
    mlxn_pool_get_stats(pool, &stats);
    CHECK(stats.in_use_count == 1, "reset recycles what nobody holds, and only that");
    mlxn_buffer *foreign = NULL;
    CHECK(mlxn_buffer_create(device, 128, &foreign, &error) == MLXN_OK, "create");
    CHECK(mlxn_pool_release(pool, &foreign, &error) == MLXN_ERR_ARGUMENT && foreign, "not of this pool");
    mlxn_buffer_release(&foreign);
    mlxn_pool_clear(pool);
    mlxn_pool_get_stats(pool, &stats);
    CHECK(stats.free_count == 0 && stats.in_use_count == 1, "clear drops the free ones");
    mlxn_pool_destroy(pool);
    memset(mlxn_buffer_contents(c), 1, 128); /* outlives the pool */
    mlxn_buffer_release(&c);
}

static void test_residency_and_limit(void) {
    if (mlxn_device_residency_sets_enabled(device)) {
        mlxn_residency_reset_counters();
        mlxn_encoder *e = NULL;
        CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
        for (int i = 0; i < 100; i++) {
            mlxn_buffer *b = NULL;
            CHECK(mlxn_buffer_create(device, 64, &b, &error) == MLXN_OK, "create");
            mlxn_buffer *clone = mlxn_buffer_retain(b);
            CHECK(mlxn_residency_allocation_count() == 1, "clones do not count twice");
            mlxn_buffer_release(&clone);
            mlxn_buffer_release(&b);
        }
        CHECK(mlxn_residency_allocation_count() == 0, "all gone");
        CHECK(mlxn_residency_commit_count() == 0, "nothing is committed before a command buffer");
        CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "commit");
        CHECK(mlxn_residency_commit_count() == 1, "100 allocations, one set commit: %d",
              (int)mlxn_residency_commit_count());
        CHECK(mlxn_residency_pending_count() == 0, "no membership waits");
        mlxn_encoder_destroy(e);
    }
    mlxn_device_desc desc = {.struct_size = sizeof desc, .memory_limit = 1000};
    mlxn_device *small = NULL;
    CHECK(mlxn_device_create(&desc, &small, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *a = NULL, *b = NULL;
    CHECK(mlxn_buffer_create(small, 600, &a, &error) == MLXN_OK, "fits");
    CHECK(mlxn_buffer_create(small, 401, &b, &error) == MLXN_ERR_LIMIT, "does not");
    CHECK(strstr(error.message, "401 bytes with 600 in use pass the memory limit of 1000"), "%s", error.message);
    mlxn_buffer_release(&a);
    CHECK(mlxn_buffer_create(small, 1000, &b, &error) == MLXN_OK, "released memory counts no more");
    mlxn_buffer_release(&b);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(small, &info);
    CHECK(info.memory_used == 0 && info.memory_peak == 1000, "used %d, peak %d", (int)info.memory_used,
          (int)info.memory_peak);
    mlxn_device_release(&small);
    desc = (mlxn_device_desc){.struct_size = sizeof desc, .backend = "abacus"};
    CHECK(mlxn_device_create(&desc, &small, &error) == MLXN_ERR_NOT_FOUND && !small, "unknown backend");
    CHECK(strstr(error.message, "\"abacus\", this build has cpu"), "%s", error.message);
}

int main(void) {
    CHECK(mlxn_device_create(NULL, &device, &error) == MLXN_OK, "%s", error.message);
    test_buffers();
    test_wrap();
    test_views();
    test_pool();
    test_residency_and_limit();
    mlxn_device_release(&device);
    return TEST_DONE();
}
