/* Promise: the pool hands memory out again only when nobody holds it and no work uses it, however release, reset and
 * plain handles are mixed; buckets, batches, registrations, statistics and trimming do what buffer.h says. */
#include <mlxn/mlxn.h>

#include "base/base.h"
#include "test.h"

static mlxn_device *device;
static mlxn_error error;
static char logged[4096];

static void on_log(void *user, const char *line) {
    size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

static mlxn_pool *make_pool(void) {
    mlxn_pool *pool = NULL;
    CHECK(mlxn_pool_create(device, &pool, &error) == MLXN_OK, "%s", error.message);
    return pool;
}

static mlxn_buffer *take(mlxn_pool *pool, uint64_t bytes) {
    mlxn_buffer *b = NULL;
    CHECK(mlxn_pool_alloc(pool, bytes, &b, &error) == MLXN_OK, "%s", error.message);
    return b;
}

static mlxn_pool_stats stats_of(const mlxn_pool *pool) {
    mlxn_pool_stats s;
    mlxn_pool_get_stats(pool, &s);
    return s;
}

static void test_reference(void) {
    mlxn_pool *pool = make_pool();
    mlxn_buffer *a = take(pool, 100), *b, *c;
    void *first = mlxn_buffer_contents(a);
    CHECK(mlxn_buffer_size(a) == 128 && mlxn_pool_requested_bytes(pool, a) == 100, "100 -> 128");
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK && stats_of(pool).free_count == 1, "one is free");
    a = take(pool, 128);
    CHECK(mlxn_buffer_contents(a) == first && stats_of(pool).free_count == 0, "the same memory");
    b = take(pool, 200);
    CHECK(mlxn_buffer_size(b) == 256, "200 -> 256");
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK, "%s", error.message);
    CHECK(stats_of(pool).in_use_count == 1 && stats_of(pool).free_count == 1, "release: one in use, one free");
    CHECK(mlxn_pool_release(pool, &b, &error) == MLXN_OK, "%s", error.message);
    mlxn_pool_clear(pool);
    CHECK(stats_of(pool).free_count == 0, "clear");
    a = take(pool, 64), b = take(pool, 64), c = take(pool, 64);
    CHECK(stats_of(pool).in_use_count == 3 && stats_of(pool).free_count == 0, "three in use");
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&c);
    CHECK(stats_of(pool).in_use_count == 3, "until they are taken back");
    mlxn_pool_reset(pool);
    CHECK(stats_of(pool).in_use_count == 0 && stats_of(pool).free_count == 3, "reset: three free");
    mlxn_pool_reset(pool);
    a = take(pool, 64), b = take(pool, 64);
    CHECK(stats_of(pool).in_use_count == 2 && stats_of(pool).free_count == 1, "two in use, one free");
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    CHECK(stats_of(pool).hits == 3 && stats_of(pool).misses == 5, "hits %d, misses %d", (int)stats_of(pool).hits,
          (int)stats_of(pool).misses);
    mlxn_pool_destroy(pool);
    mlxn_pool_destroy(NULL);
}

static void test_zero(void) {
    mlxn_pool *pool = make_pool();
    mlxn_buffer *a = take(pool, 100);
    unsigned char *p = mlxn_buffer_contents(a);
    int sum = 0;
    for (int i = 0; i < 128; i++) sum += p[i];
    CHECK(sum == 0, "fresh memory is zero, the whole bucket");
    memset(p, 7, 128);
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK, "%s", error.message);
    a = take(pool, 100);
    CHECK(((unsigned char *)mlxn_buffer_contents(a))[127] == 7, "recycled memory is as it was left");
    mlxn_buffer_release(&a);
    mlxn_pool_destroy(pool);
}

static void test_misuse(void) {
    mlxn_pool *pool = make_pool(), *other = make_pool();
    mlxn_buffer *a = take(pool, 64), *extra = mlxn_buffer_retain(a), *again = extra, *foreign = NULL;
    CHECK(mlxn_pool_release(other, &a, &error) == MLXN_ERR_ARGUMENT && a, "of another pool");
    CHECK(strstr(error.message, "64 bytes is not of this pool"), "%s", error.message);
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK && !a, "%s", error.message);
    CHECK(mlxn_pool_release(pool, &again, &error) == MLXN_ERR_ARGUMENT && again, "twice");
    CHECK(strstr(error.message, "released before"), "%s", error.message);
    mlxn_buffer_release(&extra);
    CHECK(mlxn_buffer_create(device, 64, &foreign, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_pool_release(pool, &foreign, &error) == MLXN_ERR_ARGUMENT, "of no pool");
    mlxn_buffer_release(&foreign);
    CHECK(mlxn_pool_alloc(pool, 0, &a, &error) == MLXN_ERR_ARGUMENT && !a, "0 bytes");
    CHECK(mlxn_pool_alloc(pool, UINT64_MAX, &a, &error) == MLXN_ERR_ARGUMENT && !a, "too much");
    /* A buffer that a reset took back may be given back all the same. */
    a = take(pool, 64);
    mlxn_pool_reset(pool);
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK && !a, "%s", error.message);
    CHECK(stats_of(pool).free_count == 1 && stats_of(pool).in_use_count == 0, "one free");
    mlxn_pool_destroy(pool);
    mlxn_pool_destroy(other);
}

/* The reference lets two hand-outs share memory after release + reset. */
static void test_no_alias(void) {
    mlxn_pool *pool = make_pool();
    mlxn_buffer *a = take(pool, 64), *b, *c;
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_OK, "%s", error.message);
    mlxn_pool_reset(pool);
    a = take(pool, 64), b = take(pool, 64);
    CHECK(mlxn_buffer_contents(a) != mlxn_buffer_contents(b), "release and reset in one cycle");
    mlxn_pool_reset(pool); /* both are still held */
    c = take(pool, 64);
    CHECK(c != a && c != b, "a handle that is kept over a reset keeps its buffer out");
    CHECK(stats_of(pool).in_use_count == 3, "and counts as in use");
    mlxn_buffer_release(&a);
    mlxn_buffer *d = take(pool, 64);
    CHECK(d != b && d != c && stats_of(pool).misses == 3, "the one let go is handed out");
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&c);
    mlxn_buffer_release(&d);
    mlxn_pool_destroy(pool);

    /* At random: no two live handles ever share memory, and each buffer keeps what its holder wrote. */
    pool = make_pool();
    enum { LIVE = 40 };
    mlxn_buffer *live[LIVE] = {0};
    uint32_t seed = 1;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t slot = (seed >> 8) % LIVE, act = seed >> 28;
        if (live[slot]) {
            CHECK(*(uint32_t *)mlxn_buffer_contents(live[slot]) == slot, "step %d: slot %d was overwritten", step,
                  (int)slot);
            if (act < 5)
                mlxn_buffer_release(&live[slot]);
            else if (mlxn_pool_release(pool, &live[slot], &error))
                CHECK(0, "%s", error.message);
        } else {
            live[slot] = take(pool, 4u << (seed >> 24) % 4);
            *(uint32_t *)mlxn_buffer_contents(live[slot]) = slot;
        }
        if (act == 15) mlxn_pool_reset(pool);
        if ((seed >> 16) % 500 == 0) mlxn_pool_trim(pool, 64);
    }
    CHECK(stats_of(pool).peak_bytes <= LIVE * 64, "the pool grew to %d", (int)stats_of(pool).peak_bytes);
    for (int i = 0; i < LIVE; i++) mlxn_buffer_release(&live[i]);
    mlxn_pool_destroy(pool);
}

/* Memory of work in flight, recorded or committed, is not handed out; once the work is done it is. */
static void test_work_in_flight(void) {
    mlxn_pool *pool = make_pool();
    mlxn_timeline *gate = NULL;
    mlxn_encoder *e = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *a = take(pool, 64), *b, *c;
    const mlxn_buffer *was = a;
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_encoder_fill(e, a, 0, 64, 9) == MLXN_OK, "fill");
    mlxn_buffer_release(&a);
    mlxn_pool_reset(pool);
    b = take(pool, 64);
    CHECK(b != was, "recorded work keeps it");
    CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_OK, "%s", error.message);
    c = take(pool, 64);
    CHECK(c != was && stats_of(pool).waiting_count == 1 && stats_of(pool).waiting_bytes == 64,
          "so does running work");
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_encoder_wait_completed(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(stats_of(pool).waiting_count == 0, "done");
    a = take(pool, 64);
    CHECK(a == was, "now it comes round");
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&c);
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&gate);
    mlxn_pool_destroy(pool);
}

static void test_batch(void) {
    mlxn_pool *pool = make_pool();
    mlxn_buffer *b[5];
    CHECK(mlxn_pool_alloc_batch(pool, 5, (const uint64_t[]){1, 2, 3, 100, 3}, b, &error) == MLXN_OK, "%s",
          error.message);
    CHECK(mlxn_buffer_size(b[2]) == 4 && mlxn_buffer_size(b[3]) == 128 && b[2] != b[4], "sizes");
    for (int i = 0; i < 5; i++) CHECK(mlxn_pool_release(pool, &b[i], &error) == MLXN_OK, "%s", error.message);
    mlxn_pool_stats before = stats_of(pool);
    CHECK(mlxn_pool_alloc_batch(pool, 3, (const uint64_t[]){1, 1000, 0}, b, &error) == MLXN_ERR_ARGUMENT, "0 bytes");
    CHECK(strstr(error.message, "item 2 of 3") && !b[0] && !b[1] && !b[2], "none at all: %s", error.message);
    CHECK(stats_of(pool).in_use_count == 0 && stats_of(pool).hits == before.hits, "nothing is in use");
    CHECK(stats_of(pool).free_count == 6, "what was made is free");
    CHECK(mlxn_pool_alloc_batch(pool, 1, NULL, b, &error) == MLXN_ERR_ARGUMENT, "no sizes");
    CHECK(mlxn_pool_alloc_batch(pool, 0, NULL, NULL, &error) == MLXN_OK, "empty");
    for (uint64_t k = 1;; k++) {
        mlxn_pool *fresh = make_pool();
        uint64_t start = mlxn_alloc_count();
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_pool_alloc_batch(fresh, 3, (const uint64_t[]){8, 16, 8}, b, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status == MLXN_OK || (!b[0] && !b[1] && !b[2] && stats_of(fresh).in_use_count == 0), "all or nothing");
        bool done = mlxn_alloc_count() - start < k;
        for (int i = 0; i < 3; i++) mlxn_buffer_release(&b[i]);
        mlxn_pool_destroy(fresh);
        if (done) break;
    }
    mlxn_pool_destroy(pool);
}

static void test_register(void) {
    mlxn_pool *pool = make_pool(), *second = make_pool();
    mlxn_buffer *own = NULL, *wrapped = NULL, *short_lived = NULL, *foreign = NULL;
    static float memory[16];
    mlxn_residency_info before, now;
    CHECK(mlxn_buffer_create(device, 64, &own, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_wrap(device, memory, 64, NULL, NULL, &wrapped, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_wrap(device, memory, 32, NULL, NULL, &short_lived, &error) == MLXN_OK, "%s", error.message);
    mlxn_device_residency(device, &before);
    mlxn_residency_reset_counters();
    CHECK(mlxn_pool_register_existing(pool, own, &error) == MLXN_OK, "a member already: %s", error.message);
    CHECK(mlxn_residency_allocation_count() == 0 && stats_of(pool).registrations == 0, "nothing to do");
    CHECK(mlxn_pool_register_existing(pool, wrapped, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_pool_register_existing(pool, wrapped, &error) == MLXN_OK, "twice is harmless: %s", error.message);
    CHECK(mlxn_pool_register_existing(second, wrapped, &error) == MLXN_OK, "so is another pool: %s", error.message);
    CHECK(mlxn_pool_register_existing(pool, short_lived, &error) == MLXN_OK, "%s", error.message);
    mlxn_device_residency(device, &now);
    CHECK(now.members == before.members + 2 && mlxn_residency_allocation_count() == 2, "two members more");
    mlxn_pool_stats s = stats_of(pool);
    CHECK(s.in_use_count == 0 && s.free_count == 0 && s.registrations == 2, "they are not the pool's");
    mlxn_buffer_release(&short_lived);
    CHECK(mlxn_residency_allocation_count() == 1, "the pool does not keep it alive");
    mlxn_pool_reset(pool);
    mlxn_pool_clear(pool);
    CHECK(mlxn_buffer_is_resident(wrapped), "reset and clear leave it");
    mlxn_pool_destroy(second);
    CHECK(mlxn_buffer_is_resident(wrapped), "the other pool did not make it a member");
    mlxn_pool_destroy(pool);
    CHECK(!mlxn_buffer_is_resident(wrapped) && mlxn_buffer_is_resident(own), "the pool takes out what it put in");
    CHECK(mlxn_residency_allocation_count() == 0, "count is %d", (int)mlxn_residency_allocation_count());
    mlxn_device *other = NULL;
    CHECK(mlxn_device_create(&(mlxn_device_desc){.struct_size = sizeof(mlxn_device_desc), .backend = "null"}, &other,
                             &error) == MLXN_OK,
          "%s", error.message);
    CHECK(mlxn_buffer_create(other, 64, &foreign, &error) == MLXN_OK, "%s", error.message);
    pool = make_pool();
    CHECK(mlxn_pool_register_existing(pool, foreign, &error) == MLXN_ERR_ARGUMENT, "of another device");
    CHECK(strstr(error.message, "cannot mix residency-enabled devices"), "%s", error.message);
    CHECK(mlxn_pool_register_existing(pool, NULL, &error) == MLXN_ERR_ARGUMENT, "no buffer");
    mlxn_pool_destroy(pool);
    mlxn_buffer_release(&foreign);
    mlxn_buffer_release(&own);
    mlxn_buffer_release(&wrapped);
    mlxn_device_release(&other);
}

static void test_log(void) {
    mlxn_pool *pool = make_pool();
    mlxn_buffer *a, *wrapped = NULL;
    static float memory[16];
    CHECK(mlxn_buffer_wrap(device, memory, 64, NULL, NULL, &wrapped, &error) == MLXN_OK, "%s", error.message);
    logged[0] = 0;
    a = take(pool, 64);
    CHECK(!logged[0], "silent by default: %s", logged);
    setenv("HF2Q_PROFILE_RESIDENCY_ABORT", "0", 1);
    mlxn_buffer *quiet = take(pool, 64);
    CHECK(!logged[0], "0 means off: %s", logged);
    setenv("HF2Q_PROFILE_RESIDENCY_ABORT", "", 1);
    mlxn_buffer *b = take(pool, 64);
    char address[32];
    snprintf(address, sizeof address, "%p", mlxn_buffer_contents(b));
    CHECK(strstr(logged, "registration 3") && strstr(logged, address) && !strstr(logged, "duplicate"), "%s", logged);
    CHECK(mlxn_pool_register_existing(pool, wrapped, &error) == MLXN_OK, "%s", error.message);
    CHECK(strstr(logged, "registration 4") && !strstr(logged, "duplicate"), "%s", logged);
    CHECK(mlxn_pool_register_existing(pool, wrapped, &error) == MLXN_OK, "%s", error.message);
    CHECK(strstr(logged, "duplicate"), "%s", logged);
    unsetenv("HF2Q_PROFILE_RESIDENCY_ABORT");
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&quiet);
    mlxn_buffer_release(&wrapped);
    mlxn_pool_destroy(pool);
}

static void test_stats_and_trim(void) {
    mlxn_pool *pool = make_pool();
    mlxn_buffer *b[4] = {take(pool, 1000), take(pool, 600), take(pool, 3000), take(pool, 10)};
    mlxn_pool_stats s = stats_of(pool);
    CHECK(s.in_use_bytes == 1024 + 1024 + 4096 + 16 && s.requested_bytes == 4610, "fragmentation: %d of %d",
          (int)s.requested_bytes, (int)s.in_use_bytes);
    CHECK(s.hit_rate == 0 && s.misses == 4 && s.peak_bytes == s.in_use_bytes, "at first");
    for (int i = 0; i < 4; i++) CHECK(mlxn_pool_release(pool, &b[i], &error) == MLXN_OK, "%s", error.message);
    for (int i = 0; i < 12; i++) {
        b[0] = take(pool, 10);
        CHECK(mlxn_pool_release(pool, &b[0], &error) == MLXN_OK, "%s", error.message);
    }
    CHECK(stats_of(pool).hit_rate == 0.75, "12 of 16: %g", stats_of(pool).hit_rate);
    CHECK(mlxn_pool_trim(pool, 6160) == 0, "few enough");
    CHECK(mlxn_pool_trim(pool, 2048) == 4096 + 1024, "the largest go first");
    CHECK(stats_of(pool).free_bytes == 1040, "left: %d", (int)stats_of(pool).free_bytes);
    CHECK(mlxn_pool_trim(pool, 0) == 1040 && stats_of(pool).free_count == 0, "all");
    CHECK(stats_of(pool).trimmed_bytes == 6160 && stats_of(pool).peak_bytes == 6160, "kept account");
    /* What 64 resets in a row did not hand out goes by itself; what they use stays. */
    b[0] = take(pool, 1 << 20);
    CHECK(mlxn_pool_release(pool, &b[0], &error) == MLXN_OK, "%s", error.message);
    for (int i = 0; i < 200; i++) {
        b[0] = take(pool, 64);
        mlxn_buffer_release(&b[0]);
        mlxn_pool_reset(pool);
    }
    s = stats_of(pool);
    CHECK(s.free_count == 1 && s.free_bytes == 64 && s.resets == 200, "aged: %d left", (int)s.free_count);
    mlxn_pool_destroy(pool);
}

/* The leak of the reference: a caller that drops its handles but never calls reset. */
static void test_does_not_grow(void) {
    mlxn_pool *pool = make_pool();
    for (int i = 0; i < 10000; i++) {
        mlxn_buffer *a = take(pool, 100), *b = take(pool, 100);
        mlxn_buffer_release(&a);
        mlxn_buffer_release(&b);
    }
    CHECK(stats_of(pool).misses == 2 && stats_of(pool).peak_bytes == 256, "%d buffers made",
          (int)stats_of(pool).misses);
    /* Many that are held do not hide the few that are not. */
    mlxn_buffer *held[300];
    for (int i = 0; i < 300; i++) held[i] = take(pool, 100);
    for (int i = 0; i < 1000; i++) {
        mlxn_buffer *a = take(pool, 100);
        mlxn_buffer_release(&a);
    }
    CHECK(stats_of(pool).misses == 301, "%d buffers made for 301", (int)stats_of(pool).misses);
    for (int i = 0; i < 300; i++) mlxn_buffer_release(&held[i]);
    mlxn_pool_destroy(pool);
}

static int freed;
static void on_free(void *user, void *memory, uint64_t bytes) { freed++; }

static void test_outlives(void) {
    mlxn_pool *pool = make_pool();
    mlxn_buffer *a = take(pool, 64), *w = NULL;
    static float memory[16];
    CHECK(mlxn_buffer_wrap(device, memory, 64, on_free, NULL, &w, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_pool_register_existing(pool, w, &error) == MLXN_OK, "%s", error.message);
    mlxn_pool_destroy(pool);
    memset(mlxn_buffer_contents(a), 1, 64);
    CHECK(!freed, "registered memory outlives the pool");
    mlxn_buffer_release(&w);
    CHECK(freed == 1, "and ends with its own handle");
    pool = make_pool();
    CHECK(mlxn_pool_release(pool, &a, &error) == MLXN_ERR_ARGUMENT, "of a pool that is gone");
    mlxn_buffer_release(&a);
    mlxn_pool_destroy(pool);
    freed = 0;
}

int main(void) {
    const char *backends[] = {"cpu", "null"};
    for (int i = 0; i < 4; i++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc,
                                 .backend = backends[i % 2],
                                 .threads = 2,
                                 .log = on_log,
                                 .unretained = i >= 2};
        CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
        test_reference();
        test_zero();
        test_misuse();
        test_no_alias();
        test_work_in_flight();
        test_batch();
        test_register();
        test_log();
        test_stats_and_trim();
        test_does_not_grow();
        test_outlives();
        mlxn_device_info info = {.struct_size = sizeof info};
        mlxn_device_get_info(device, &info);
        CHECK(info.memory_buffers == 0, "%llu bytes are left", (unsigned long long)info.memory_buffers);
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
