/* Promise: the residency counters follow calls, at once and never below 0; membership is of each buffer once and ends
 * with the last work that uses it; changes are committed once for each submission; without a set nothing moves. */
#include <mlxn/mlxn.h>

#include "core/gates.h"
#include "test.h"

static mlxn_device *device;
static mlxn_error error;

static uint64_t count(void) { return mlxn_residency_allocation_count(); }
static mlxn_residency_info info(void) {
    mlxn_residency_info i;
    mlxn_device_residency(device, &i);
    return i;
}

static mlxn_buffer *make(uint64_t bytes) {
    mlxn_buffer *b = NULL;
    CHECK(mlxn_buffer_create(device, bytes, &b, &error) == MLXN_OK, "%s", error.message);
    return b;
}

static void submit_empty(void) {
    mlxn_encoder *e = NULL;
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "%s", error.message);
    mlxn_encoder_destroy(e);
}

static void test_alloc_and_drop(void) {
    mlxn_buffer *b[10];
    submit_empty();
    mlxn_residency_reset_counters();
    uint64_t members = info().members, bytes = info().bytes;
    for (int i = 0; i < 10; i++) b[i] = make(100);
    CHECK(count() == 10 && info().members == members + 10 && info().bytes == bytes + 1000, "ten members");
    CHECK(mlxn_buffer_is_resident(b[3]), "one of them");
    for (int i = 0; i < 10; i++) mlxn_buffer_release(&b[i]);
    CHECK(count() == 0 && info().members == members && info().bytes == bytes, "none is left");
    b[0] = make(64);
    mlxn_residency_reset_counters();
    mlxn_buffer_release(&b[0]);
    CHECK(count() == 0, "never below 0");
    CHECK(mlxn_residency_pending_count() == 0 && info().pending == 0, "nothing waits");
}

static void test_clones_and_views(void) {
    mlxn_residency_reset_counters();
    mlxn_buffer *b = make(64), *clones[5];
    mlxn_tensor whole = mlxn_tensor_1d(b, 0, MLXN_F32, 16), view;
    CHECK(mlxn_tensor_slice(&whole, 0, 4, 4, &view, &error) == MLXN_OK, "%s", error.message);
    for (int i = 0; i < 5; i++) clones[i] = mlxn_buffer_retain(b);
    CHECK(count() == 1 && info().members >= 1, "clones and views are no members of their own");
    mlxn_buffer_release(&b);
    for (int i = 0; i < 4; i++) mlxn_buffer_release(&clones[i]);
    CHECK(count() == 1, "one handle is left");
    mlxn_buffer_release(&clones[4]);
    CHECK(count() == 0, "the last one counts");
}

static void test_commits(void) {
    submit_empty();
    mlxn_residency_reset_counters();
    uint64_t commits = info().commits;
    for (int i = 0; i < 100; i++) {
        mlxn_buffer *b = make(64);
        mlxn_buffer_release(&b);
    }
    CHECK(mlxn_residency_commit_count() == 0, "nothing is committed before a submission");
    submit_empty();
    CHECK(mlxn_residency_commit_count() == 1 && info().commits == commits + 1, "100 and 100 changes, one commit");
    submit_empty();
    CHECK(mlxn_residency_commit_count() == 1, "no change, no commit");
}

static void test_pool_batch(void) {
    mlxn_pool *pool = NULL;
    mlxn_buffer *b[4];
    CHECK(mlxn_pool_create(device, &pool, &error) == MLXN_OK, "%s", error.message);
    submit_empty();
    mlxn_residency_reset_counters();
    CHECK(mlxn_pool_alloc_batch(pool, 4, (const uint64_t[]){10, 100, 1000, 10}, b, &error) == MLXN_OK, "%s",
          error.message);
    CHECK(count() == 4 && mlxn_residency_commit_count() == 1, "batch of 4: %d, %d commits", (int)count(),
          (int)mlxn_residency_commit_count());
    CHECK(mlxn_pool_alloc_batch(pool, 0, NULL, NULL, &error) == MLXN_OK, "empty batch");
    CHECK(count() == 4 && mlxn_residency_commit_count() == 1, "an empty batch moves nothing");
    for (int i = 0; i < 4; i++) mlxn_buffer_release(&b[i]);
    CHECK(count() == 4, "the pool holds them");
    mlxn_pool_reset(pool);
    CHECK(mlxn_pool_alloc_batch(pool, 2, (const uint64_t[]){9, 1000}, b, &error) == MLXN_OK, "%s", error.message);
    CHECK(count() == 4 && mlxn_residency_commit_count() == 1, "recycled memory is a member already");
    for (int i = 0; i < 2; i++) mlxn_buffer_release(&b[i]);
    mlxn_pool_reset(pool);
    mlxn_pool_clear(pool);
    CHECK(count() == 0, "reset and clear: %d", (int)count());
    mlxn_pool_destroy(pool);
    CHECK(count() == 0, "the pool's end moves nothing more");
}

/* A command buffer that stands still until the timeline is signalled. */
static mlxn_encoder *blocked(mlxn_timeline *gate) {
    mlxn_encoder *e = NULL;
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    return e;
}

static void test_work_in_flight(void) {
    mlxn_timeline *gate = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_session *s = NULL;
    CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
    mlxn_residency_reset_counters();
    uint64_t members = info().members;
    mlxn_buffer *dropped = make(64), *removed = make(64), *back = make(64);
    mlxn_encoder *e = blocked(gate);
    CHECK(mlxn_encoder_fill(e, dropped, 0, 64, 1) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_fill(e, removed, 0, 64, 1) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_fill(e, back, 0, 64, 1) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer_release(&dropped);
    CHECK(mlxn_session_remove_from_residency_set(s, removed), "remove");
    CHECK(mlxn_session_remove_from_residency_set(s, back), "remove");
    CHECK(count() == 0, "the counter follows the calls: %d", (int)count());
    CHECK(info().members == members + 3 && info().pending == 3, "membership waits: %d, %d", (int)info().members,
          (int)info().pending);
    CHECK(mlxn_residency_pending_count() == 3, "also over all devices");
    CHECK(mlxn_session_add_to_residency_set(s, back), "add");
    CHECK(count() == 1 && info().pending == 2 && info().members == members + 3, "taken back in time");
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_encoder_wait_completed(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(info().members == members + 1 && info().pending == 0, "the work is done: %d, %d", (int)info().members,
          (int)info().pending);
    CHECK(!mlxn_buffer_is_resident(removed) && mlxn_buffer_is_resident(back), "which of them");
    CHECK(mlxn_residency_pending_count() == 0, "nothing waits");
    mlxn_buffer_release(&removed);
    CHECK(count() == 1, "what is no member does not count when it goes");
    mlxn_buffer_release(&back);
    CHECK(count() == 0 && info().members == members, "the end");
    mlxn_encoder_destroy(e);
    mlxn_session_destroy(s);
    mlxn_timeline_release(&gate);
}

static void test_calls_and_membership(void) {
    mlxn_session *s = NULL;
    CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
    mlxn_residency_reset_counters();
    uint64_t members = info().members;
    mlxn_buffer *b = make(64);
    CHECK(mlxn_session_add_to_residency_set(s, b), "add");
    CHECK(count() == 2 && info().members == members + 1, "a second add counts, but is no second member");
    CHECK(mlxn_session_remove_from_residency_set(s, b), "remove");
    CHECK(count() == 1 && info().members == members, "one removal ends the membership");
    CHECK(mlxn_session_remove_from_residency_set(s, b), "remove");
    CHECK(mlxn_session_remove_from_residency_set(s, b), "remove");
    CHECK(count() == 0 && info().members == members, "saturates");
    mlxn_buffer_release(&b);
    static float memory[16];
    CHECK(mlxn_buffer_wrap(device, memory, sizeof memory, NULL, NULL, &b, &error) == MLXN_OK, "%s", error.message);
    CHECK(count() == 0 && !mlxn_buffer_is_resident(b), "wrapped memory is no member by itself");
    CHECK(mlxn_session_add_to_residency_set(s, b), "add");
    CHECK(count() == 1 && mlxn_buffer_is_resident(b), "but by a call");
    mlxn_buffer_release(&b);
    CHECK(count() == 0 && info().members == members, "until its last handle goes");
    mlxn_device *other = NULL;
    CHECK(mlxn_device_create(&(mlxn_device_desc){.struct_size = sizeof(mlxn_device_desc), .backend = "null"}, &other,
                             &error) == MLXN_OK,
          "%s", error.message);
    CHECK(mlxn_buffer_create(other, 64, &b, &error) == MLXN_OK, "%s", error.message);
    mlxn_residency_info theirs;
    mlxn_device_residency(other, &theirs);
    CHECK(theirs.members == 1 && theirs.bytes == 64 && info().members == members, "each device has its own set");
    CHECK(!mlxn_session_add_to_residency_set(s, b), "a buffer of another device");
    mlxn_buffer_release(&b);
    mlxn_device_release(&other);
    mlxn_session_destroy(s);
}

static void test_graph_keeps_membership(void) {
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    mlxn_session *s = NULL;
    uint64_t members = info().members;
    mlxn_buffer *b = make(64);
    CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_encoder_start_capture(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_encoder_fill(e, b, 0, 64, 1) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_take_capture(e, &graph, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_session_remove_from_residency_set(s, b), "remove");
    CHECK(info().members == members + 1 && info().pending == 1, "the graph may be launched at any time");
    mlxn_graph_destroy(graph);
    CHECK(info().members == members && info().pending == 0, "until it goes");
    mlxn_buffer_release(&b);
    mlxn_encoder_destroy(e);
    mlxn_session_destroy(s);
}

static void test_opt_out(void) {
    setenv("HF2Q_NO_RESIDENCY", "1", 1);
    mlxn_gates_forget();
    mlxn_device *off = NULL;
    mlxn_session *s = NULL;
    mlxn_pool *pool = NULL;
    mlxn_buffer *b = NULL, *p = NULL;
    CHECK(mlxn_device_create(NULL, &off, &error) == MLXN_OK, "%s", error.message);
    CHECK(!mlxn_device_residency_sets_enabled(off), "off");
    mlxn_residency_reset_counters();
    CHECK(mlxn_buffer_create(off, 64, &b, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_pool_create(off, &pool, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_pool_alloc_batch(pool, 1, (const uint64_t[]){64}, &p, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_pool_register_existing(pool, b, &error) == MLXN_OK, "nothing to do: %s", error.message);
    CHECK(mlxn_session_create(off, &s, &error) == MLXN_OK, "%s", error.message);
    CHECK(!mlxn_session_add_to_residency_set(s, b) && !mlxn_session_remove_from_residency_set(s, b), "no set");
    CHECK(mlxn_session_commit_and_wait(s, &error) == MLXN_OK, "%s", error.message);
    mlxn_residency_info none;
    mlxn_device_residency(off, &none);
    CHECK(count() == 0 && mlxn_residency_commit_count() == 0 && none.members == 0 && !mlxn_buffer_is_resident(b),
          "no counter moves");
    mlxn_pool *mixed = NULL;
    CHECK(mlxn_pool_create(device, &mixed, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_pool_register_existing(mixed, b, &error) == MLXN_ERR_ARGUMENT, "one device has a set, one has none");
    CHECK(strstr(error.message, "cannot mix residency-enabled devices"), "%s", error.message);
    mlxn_pool_destroy(mixed);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&p);
    mlxn_session_destroy(s);
    mlxn_pool_destroy(pool);
    mlxn_device_release(&off);
    unsetenv("HF2Q_NO_RESIDENCY");
    mlxn_gates_forget();
}

int main(void) {
    unsetenv("HF2Q_NO_RESIDENCY");
    const char *backends[] = {"cpu", "null"};
    for (int i = 0; i < 2; i++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backends[i], .threads = 2};
        CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
        CHECK(mlxn_device_residency_sets_enabled(device), "enabled");
        test_alloc_and_drop();
        test_clones_and_views();
        test_commits();
        test_pool_batch();
        test_work_in_flight();
        test_calls_and_membership();
        test_graph_keeps_membership();
        test_opt_out();
        mlxn_device_release(&device);
        /* The same where command buffers hold no references. */
        desc.unretained = true;
        CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
        test_alloc_and_drop();
        test_work_in_flight();
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
