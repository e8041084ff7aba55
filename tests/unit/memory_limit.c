/* Promise: a device never holds more than its memory limit. Whatever would pass it (a buffer, a pool's bucket, a
 * weight, the temporaries of a graph, the work memory of threads, a bandwidth measurement, a model, a context) is
 * refused with LIMIT before anything is allocated, with the bytes asked for, in use and allowed; what is refused
 * leaves nothing, and the same call succeeds once there is room. Wrapped memory does not count. */
#include <inttypes.h>
#include <mlxn/mlxn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "../unit/lm_tiny.h"
#include "base/base.h"

static mlxn_error error;
#define OK(call) CHECK((call) == MLXN_OK, "%s", error.message)

/* One device at a time. The one before may still be closing on a thread of its own, which would move the number of
 * blocks: waits for it, and leaks show here. */
static mlxn_device *open_limited(const char *backend, uint64_t limit) {
    for (int i = 0; i < 5000 && mlxn_alloc_live(); i++) nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(mlxn_alloc_live() == 0, "%d blocks of earlier devices are left", (int)mlxn_alloc_live());
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .threads = 2, .memory_limit = limit};
    mlxn_device *device = NULL;
    OK(mlxn_device_create(&desc, &device, &error));
    return device;
}

static mlxn_device_info info_of(mlxn_device *device) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    CHECK(info.memory_used == info.memory_buffers + info.memory_weights + info.memory_scratch,
          "the parts are the whole");
    CHECK(info.memory_used <= info.memory_peak && (!info.memory_limit || info.memory_peak <= info.memory_limit),
          "used %" PRIu64 ", peak %" PRIu64 ", limit %" PRIu64, info.memory_used, info.memory_peak,
          info.memory_limit);
    return info;
}

/* The refusal says what it must, and neither the device's account nor the number of blocks has changed. */
static void check_refused(mlxn_device *device, mlxn_status status, const char *what, uint64_t asked,
                          const mlxn_device_info *before, uint64_t blocks) {
    char numbers[160];
    snprintf(numbers, sizeof numbers, "%" PRIu64 " bytes with %" PRIu64 " in use pass the memory limit of %" PRIu64,
             asked, before->memory_used, before->memory_limit);
    CHECK(status == MLXN_ERR_LIMIT, "%s: status %s", what, mlxn_status_name(status));
    CHECK(strstr(error.message, what) && strstr(error.message, numbers), "want \"%s\" and \"%s\" in: %s", what,
          numbers, error.message);
    mlxn_device_info after = info_of(device);
    CHECK(after.memory_used == before->memory_used && after.memory_peak == before->memory_peak,
          "%s: used %" PRIu64 ", before %" PRIu64, what, after.memory_used, before->memory_used);
    /* Fewer: a worker that has begun frees what it was told. */
    CHECK(mlxn_alloc_live() <= blocks, "%s: %d blocks are left", what, (int)(mlxn_alloc_live() - blocks));
}

static void test_buffers(const char *backend) {
    mlxn_device *device = open_limited(backend, 10000);
    mlxn_buffer *a = NULL, *b = NULL, *wrapped = NULL;
    static float memory[8192];
    OK(mlxn_buffer_create(device, 6000, &a, &error));
    mlxn_device_info before = info_of(device);
    uint64_t blocks = mlxn_alloc_live();
    check_refused(device, mlxn_buffer_create(device, 4001, &b, &error), "buffer", 4001, &before, blocks);
    check_refused(device, mlxn_buffer_create(device, UINT64_MAX, &b, &error), "buffer", UINT64_MAX, &before, blocks);
    check_refused(device, mlxn_device_admit(device, 4001, "what is to come", &error), "what is to come", 4001,
                  &before, blocks);
    OK(mlxn_device_admit(device, 4000, "what is to come", &error));
    CHECK(info_of(device).memory_used == 6000, "admit takes nothing");
    OK(mlxn_buffer_wrap(device, memory, sizeof memory, NULL, NULL, &wrapped, &error));
    CHECK(info_of(device).memory_used == 6000, "wrapped memory does not count");
    OK(mlxn_buffer_create(device, 4000, &b, &error)); /* to the last byte */
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&wrapped);
    mlxn_device_info after = info_of(device);
    CHECK(after.memory_used == 0 && after.memory_peak == 10000, "all given back; the peak stays");
    mlxn_device_release(&device);
}

/* What lies free in a pool gives way before a refusal. */
static void test_pool(const char *backend) {
    mlxn_device *device = open_limited(backend, 4096);
    mlxn_pool *pool = NULL;
    mlxn_buffer *a = NULL, *b = NULL, *c = NULL;
    mlxn_pool_stats stats;
    OK(mlxn_pool_create(device, &pool, &error));
    OK(mlxn_pool_alloc(pool, 1500, &a, &error));
    OK(mlxn_pool_alloc(pool, 1000, &b, &error));
    CHECK(info_of(device).memory_used == 2048 + 1024, "buckets count, not requests");
    mlxn_device_info before = info_of(device);
    uint64_t blocks = mlxn_alloc_live();
    check_refused(device, mlxn_pool_alloc(pool, 2000, &c, &error), "buffer", 2048, &before, blocks);
    OK(mlxn_pool_release(pool, &a, &error));
    OK(mlxn_pool_release(pool, &b, &error));
    OK(mlxn_pool_alloc(pool, 4000, &c, &error)); /* needs both */
    mlxn_pool_get_stats(pool, &stats);
    CHECK(stats.trimmed_bytes == 3072 && stats.free_bytes == 0 && stats.in_use_bytes == 4096, "trimmed %d",
          (int)stats.trimmed_bytes);
    uint64_t sizes[2] = {1, 1};
    mlxn_buffer *batch[2] = {NULL, NULL};
    before = info_of(device);
    blocks = mlxn_alloc_live();
    check_refused(device, mlxn_pool_alloc_batch(pool, 2, sizes, batch, &error), "item 0 of 2", 1, &before, blocks);
    mlxn_buffer_release(&c);
    mlxn_pool_destroy(pool);
    CHECK(info_of(device).memory_used == 0, "all given back");
    mlxn_device_release(&device);
}

static void test_weight(const char *backend) {
    enum { ROWS = 32, COLS = 64 };
    uint64_t raw = 4 * ROWS * COLS, packed = 0;
    mlxn_device *probe = open_limited(backend, 0);
    OK(mlxn_weight_device_bytes(probe, MLXN_FORMAT_F32, ROWS, COLS, &packed, &error));
    mlxn_device_release(&probe);
    for (int room = 0; room < 2; room++) {
        mlxn_device *device = open_limited(backend, raw + packed - !room);
        mlxn_buffer *data = NULL;
        mlxn_weight *w = NULL;
        OK(mlxn_buffer_create(device, raw, &data, &error));
        mlxn_weight_desc desc = {
            .struct_size = sizeof desc, .format = MLXN_FORMAT_F32, .rows = ROWS, .cols = COLS, .data = data};
        mlxn_device_info before = info_of(device);
        uint64_t blocks = mlxn_alloc_live();
        mlxn_status status = mlxn_weight_create(device, &desc, &w, &error);
        if (room)
            CHECK(status == MLXN_OK && info_of(device).memory_weights == packed, "fits to the last byte: %s",
                  error.message);
        else
            check_refused(device, status, "weight", packed, &before, blocks);
        mlxn_weight_release(&w);
        mlxn_buffer_release(&data);
        CHECK(info_of(device).memory_used == 0, "all given back");
        mlxn_device_release(&device);
    }
}

/* Two temporaries that live at the same time: 2 x 1024 bytes beside the 256 of the buffer. */
static void test_temporaries(const char *backend) {
    mlxn_device *device = open_limited(backend, 256 + 2047);
    mlxn_buffer *x = NULL, *t[2] = {NULL, NULL};
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    OK(mlxn_buffer_create(device, 256, &x, &error));
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_encoder_start_capture(e, &error));
    for (int i = 0; i < 2; i++) {
        OK(mlxn_encoder_temporary(e, 1024, &t[i], &error));
        mlxn_encoder_fill(e, t[i], 0, 1024, 1);
    }
    mlxn_elementwise_add(e, mlxn_tensor_1d(t[0], 0, MLXN_F32, 64), mlxn_tensor_1d(t[1], 0, MLXN_F32, 64),
                         mlxn_tensor_1d(x, 0, MLXN_F32, 64));
    mlxn_device_info before = info_of(device);
    uint64_t blocks = mlxn_alloc_live();
    check_refused(device, mlxn_encoder_take_capture(e, &graph, &error), "graph: temporaries", 2048, &before, blocks);
    CHECK(!graph && mlxn_encoder_is_capturing(e), "the capture goes on");
    mlxn_encoder_destroy(e);
    for (int i = 0; i < 2; i++) mlxn_buffer_release(&t[i]);
    mlxn_buffer_release(&x);
    CHECK(info_of(device).memory_used == 0, "all given back");
    mlxn_device_release(&device);
}

/* The work memory of the threads, which a program needs, is asked for when work is committed. */
static void test_scratch(void) {
    enum { M = 64 };
    uint64_t scratch = 0, used = 0;
    for (int room = 2; room >= 0;
         room--) { /* 2: without a limit, to learn what it takes; then with, and without room */
        mlxn_device *device = open_limited("cpu", room == 2 ? 0 : used - !room);
        mlxn_buffer *b[2] = {NULL, NULL};
        mlxn_weight *w = NULL;
        mlxn_encoder *e = NULL;
        for (int i = 0; i < 2; i++) OK(mlxn_buffer_create(device, 4 * M * M, &b[i], &error));
        mlxn_weight_desc desc = {
            .struct_size = sizeof desc, .format = MLXN_FORMAT_F32, .rows = M, .cols = M, .data = b[0]};
        OK(mlxn_weight_create(device, &desc, &w, &error));
        OK(mlxn_encoder_create(device, &e, &error));
        mlxn_tensor x = mlxn_tensor_2d(b[0], 0, MLXN_F32, M, M), y = mlxn_tensor_2d(b[1], 0, MLXN_F32, M, M);
        mlxn_matmul(e, x, w, (mlxn_tensor){0}, (mlxn_tensor){0}, y);
        mlxn_device_info before = info_of(device);
        mlxn_status status = mlxn_encoder_commit_and_wait(e, "product", &error);
        if (room == 2) {
            used = info_of(device).memory_peak;
            scratch = info_of(device).memory_scratch;
            CHECK(status == MLXN_OK && scratch > 0, "the product needs work memory");
        } else if (room) {
            CHECK(status == MLXN_OK, "fits to the last byte: %s", error.message);
        } else {
            check_refused(device, status, "scratch", scratch, &before, mlxn_alloc_live());
            CHECK(strstr(error.message, "\"product\""), "the command buffer is named: %s", error.message);
        }
        mlxn_encoder_destroy(e);
        mlxn_weight_release(&w);
        for (int i = 0; i < 2; i++) mlxn_buffer_release(&b[i]);
        mlxn_device_release(&device);
    }
}

static void test_measure(void) {
    mlxn_device *device = open_limited("cpu", 1 << 20);
    mlxn_device_roofs roofs = {.struct_size = sizeof roofs};
    mlxn_device_info before = info_of(device);
    uint64_t blocks = mlxn_alloc_live();
    check_refused(device, mlxn_device_measure(device, &roofs, &error), "bandwidth", 256 << 20, &before, blocks);
    mlxn_device_release(&device);
}

/* A model, and a context, that fit to the last byte; with a byte less they are refused before any work. */
static void test_model(void) {
    const char *path = tiny_file(&(tiny){.arch = "llama"});
    mlxn_model *model = NULL;
    mlxn_context *context = NULL;
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 64, .n_batch = 8};
    mlxn_device *device = open_limited("cpu", 0);
    OK(mlxn_model_load(device, path, NULL, &model, &error));
    uint64_t weights = info_of(device).memory_peak;
    OK(mlxn_context_create(model, &desc, &context, &error));
    uint64_t all = info_of(device).memory_used;
    mlxn_context_destroy(context);
    mlxn_model_release(&model);
    mlxn_device_release(&device);

    device = open_limited("cpu", weights - 1);
    mlxn_status status = mlxn_model_load(device, path, NULL, &model, &error);
    CHECK(status == MLXN_ERR_LIMIT && !model && strstr(error.message, "with 0 in use pass the memory limit of"),
          "model: %s", error.message);
    CHECK(info_of(device).memory_peak == 0, "refused before the first weight was packed");
    mlxn_device_release(&device);

    device = open_limited("cpu", all - 1);
    OK(mlxn_model_load(device, path, NULL, &model, &error));
    mlxn_device_info before = info_of(device);
    status = mlxn_context_create(model, &desc, &context, &error);
    CHECK(status == MLXN_ERR_LIMIT && !context && strstr(error.message, "pass the memory limit of"), "context: %s",
          error.message);
    CHECK(info_of(device).memory_peak == before.memory_peak, "refused before its first buffer");
    desc.n_ctx = 32;
    OK(mlxn_context_create(model, &desc, &context, &error));
    mlxn_context_destroy(context);
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    unlink(path);
}

/* Whatever the limit: a model that talks, or LIMIT with the numbers and nothing left. */
static mlxn_status talk(mlxn_device *device, const char *path) {
    const mlxn_token prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    mlxn_model *model = NULL;
    mlxn_context *context = NULL;
    mlxn_sampler *sampler = NULL;
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 32, .n_batch = 4};
    mlxn_generate_desc how = {.struct_size = sizeof how, .n_predict = 3, .ignore_eos = true};
    mlxn_generate_result result = {0};
    mlxn_status status = mlxn_sampler_create(NULL, TINY_VOCAB, &sampler, &error);
    if (!status) status = mlxn_model_load(device, path, NULL, &model, &error);
    if (!status) status = mlxn_context_create(model, &desc, &context, &error);
    if (!status) status = mlxn_generate(context, prompt, 9, sampler, &how, &result, &error);
    mlxn_free_memory(result.ids);
    mlxn_sampler_destroy(sampler);
    mlxn_context_destroy(context);
    mlxn_model_release(&model);
    return status;
}

static void test_every_limit(void) {
    enum { STEPS = 64 };
    const char *path = tiny_file(&(tiny){.arch = "llama"});
    mlxn_device *device = open_limited("cpu", 0);
    CHECK(talk(device, path) == MLXN_OK, "%s", error.message);
    uint64_t peak = info_of(device).memory_peak;
    mlxn_device_release(&device);
    int good = 0;
    for (uint64_t i = 1; i <= STEPS; i++) { /* the last: exactly what it takes */
        device = open_limited("cpu", i == STEPS ? peak : i == STEPS - 1 ? peak - 1 : peak * i / STEPS);
        mlxn_status status = talk(device, path);
        good += status == MLXN_OK;
        CHECK(status == MLXN_OK || (status == MLXN_ERR_LIMIT && strstr(error.message, "pass the memory limit of")),
              "limit %" PRIu64 ": %s", info_of(device).memory_limit, error.message);
        CHECK(info_of(device).memory_used == info_of(device).memory_scratch, "nothing is left");
        mlxn_device_release(&device);
    }
    CHECK(good >= 1 && good < STEPS, "%d of %d limits were enough", good, STEPS);
    unlink(path);
}

/* ---- threads ---- */

enum { THREADS = 4, TRIES = 2000, SIZE = 100, MOST = 5 };
static mlxn_device *crowded;
static _Atomic int held, given, refused, wrong;

static void *grab(void *user) {
    for (int i = 0; i < TRIES; i++) {
        mlxn_buffer *b = NULL;
        mlxn_status status = mlxn_buffer_create(crowded, SIZE, &b, NULL);
        if (status == MLXN_OK) {
            if (atomic_fetch_add(&held, 1) >= MOST) atomic_fetch_add(&wrong, 1);
            atomic_fetch_add(&given, 1);
            atomic_fetch_sub(&held, 1);
            mlxn_buffer_release(&b);
        } else {
            atomic_fetch_add(status == MLXN_ERR_LIMIT ? &refused : &wrong, 1);
        }
    }
    return user;
}

static void test_threads(void) {
    pthread_t threads[THREADS];
    mlxn_buffer *kept[MOST - 1];
    crowded = open_limited("null", SIZE * MOST);
    for (int i = 0; i < MOST - 1; i++) OK(mlxn_buffer_create(crowded, SIZE, &kept[i], &error));
    atomic_store(&held, MOST - 1); /* room for one more */
    for (int i = 0; i < THREADS; i++) CHECK(!pthread_create(&threads[i], NULL, grab, NULL), "thread");
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK(atomic_load(&wrong) == 0, "more than fits, or another error: %d", atomic_load(&wrong));
    CHECK(atomic_load(&given) + atomic_load(&refused) == THREADS * TRIES && atomic_load(&given) > 0, "each answered");
    CHECK(info_of(crowded).memory_used == SIZE * (MOST - 1), "the account is exact");
    for (int i = 0; i < MOST - 1; i++) mlxn_buffer_release(&kept[i]);
    CHECK(info_of(crowded).memory_used == 0 && info_of(crowded).memory_peak <= SIZE * MOST, "never above the limit");
    mlxn_device_release(&crowded);
}

int main(void) {
    const char *backends[] = {"cpu", "null"};
    for (int i = 0; i < 2; i++) {
        test_buffers(backends[i]);
        test_pool(backends[i]);
        test_weight(backends[i]);
        test_temporaries(backends[i]);
    }
    test_scratch();
    test_measure();
    test_model();
    test_every_limit();
    test_threads();
    return TEST_DONE();
}
