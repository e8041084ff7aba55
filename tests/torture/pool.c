/* Promise: whichever allocation or backend call fails while a pool hands out, takes back, resets, trims and
 * registers: the call says so, a batch gives all or nothing, the statistics stay true, no two handles share memory,
 * nothing leaks, and the same work then gives the same bytes. */
#include "torture/torture.h"

enum { ITEMS = 12 };

typedef struct world {
    mlxn_pool *pool;
    mlxn_encoder *e;
    mlxn_buffer *one[ITEMS], *batch[ITEMS], *outside;
    void *mapped;
} world;

static void check_stats(const world *w) {
    if (!w->pool) return;
    mlxn_pool_stats s;
    mlxn_pool_get_stats(w->pool, &s);
    uint64_t held = 0, bytes = 0;
    for (int i = 0; i < ITEMS; i++) {
        held += w->one[i] != NULL;
        held += w->batch[i] != NULL;
        bytes += (w->one[i] ? mlxn_buffer_size(w->one[i]) : 0) + (w->batch[i] ? mlxn_buffer_size(w->batch[i]) : 0);
    }
    CHECK(s.in_use_count == held && s.in_use_bytes == bytes, "%d in use (%d bytes), of which we hold %d (%d)",
          (int)s.in_use_count, (int)s.in_use_bytes, (int)held, (int)bytes);
    CHECK(s.free_bytes + s.in_use_bytes <= s.peak_bytes, "peak");
}

/* Nobody else writes what a handle has. */
static void check_aliases(const world *w) {
    for (int i = 0; i < ITEMS; i++)
        for (int k = 0; k < ITEMS; k++) {
            if (!w->one[i]) continue;
            CHECK(w->one[i] != w->batch[k], "%d and item %d of the batch are one buffer", i, k);
            CHECK(i == k || w->one[i] != w->one[k], "%d and %d are one buffer", i, k);
        }
}

static mlxn_status alloc_batch(world *w, mlxn_error *error) {
    uint64_t sizes[ITEMS];
    for (int i = 0; i < ITEMS; i++) sizes[i] = 100u * (unsigned)(i + 1);
    mlxn_status status = mlxn_pool_alloc_batch(w->pool, ITEMS, sizes, w->batch, error);
    if (status)
        for (int i = 0; i < ITEMS; i++) CHECK(!w->batch[i], "item %d of a batch that failed", i);
    return status;
}

static mlxn_status round_of(world *w, int round, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (int i = 0; i < ITEMS; i++) STEP(mlxn_pool_alloc(w->pool, 64u << (i + round) % 8, &w->one[i], error));
    STEP(alloc_batch(w, error));
    check_stats(w);
    check_aliases(w);
    for (int i = 0; !status && i < ITEMS; i++) {
        RECORD(w->e, mlxn_encoder_fill(w->e, w->one[i], 0, 64, (uint8_t)(i + round)));
        RECORD(w->e, mlxn_encoder_copy(w->e, w->one[i], 0, w->batch[i], 0, 64));
        RECORD(w->e, mlxn_encoder_copy(w->e, w->batch[i], 0, w->outside, 64u * (unsigned)i, 64));
    }
    STEP(mlxn_encoder_commit(w->e, "round", error));
    for (int i = 0; i < ITEMS; i++) {
        if (i % 2 && w->one[i]) STEP(mlxn_pool_release(w->pool, &w->one[i], error));
        mlxn_buffer_release(&w->one[i]);
        mlxn_buffer_release(&w->batch[i]);
    }
    if (!status) {
        mlxn_pool_reset(w->pool);
        check_stats(w);
    }
    STEP(mlxn_encoder_wait_completed(w->e, error));
    return status;
}

static mlxn_status work(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    world w = {0};
    mlxn_status status = mlxn_pool_create(device, &w.pool, error);
    STEP(mlxn_buffer_create(device, 1024, &w.outside, error));
    STEP(mlxn_pool_register_existing(w.pool, w.outside, error));
    STEP(mlxn_encoder_create(device, &w.e, error));
    for (int i = 0; i < 3; i++) {
        STEP(round_of(&w, i, error));
        if (i == 1 && !status) mlxn_pool_trim(w.pool, 1000);
    }
    STEP(mlxn_buffer_read(w.outside, 0, out, 1024, error));
    STEP(mlxn_buffer_map(w.outside, 0, 64, MLXN_MAP_READ, &w.mapped, error));
    if (w.mapped) STEP(mlxn_buffer_unmap(w.outside, w.mapped, error));
    for (int i = 0; i < ITEMS; i++) {
        mlxn_buffer_release(&w.one[i]);
        mlxn_buffer_release(&w.batch[i]);
    }
    mlxn_encoder_destroy(w.e);
    mlxn_pool_destroy(w.pool);
    mlxn_buffer_release(&w.outside);
    return status;
}

int main(void) {
    torture_all("pool", work, NULL, 20);
    torture_all("pool, checked", work, &(mlxn_device_desc){.checked = true}, 20);
    return TEST_DONE();
}
