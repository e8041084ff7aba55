/* Promise: whichever allocation or backend call fails, the core reports it, leaks nothing and goes on working. The
 * scenario below is run with the k-th one failing, for every k; leaks show under the address sanitizer. A failed
 * execution reaches the caller with the label of its stage, and its fences advance. */
#include <mlxn/mlxn.h>

#include "backend/fault/backend.h"
#include "base/base.h"
#include "test.h"

/* Every object of the runtime once. MLXN_OK if all went well; every failure must say MEMORY or LIMIT. */
static mlxn_status scenario(const char *backend) {
    mlxn_device *device = NULL;
    mlxn_buffer *a = NULL, *b = NULL, *pooled = NULL;
    mlxn_pool *pool = NULL;
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    mlxn_session *s = NULL;
    mlxn_weight *w = NULL;
    mlxn_error error;
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .threads = 2};
    mlxn_status status = mlxn_device_create(&desc, &device, &error);
#define STEP(call)            \
    do {                      \
        if (status) goto out; \
        status = (call);      \
    } while (0)
    STEP(mlxn_buffer_create(device, 4096, &a, &error));
    STEP(mlxn_buffer_create(device, 4096, &b, &error));
    STEP(mlxn_pool_create(device, &pool, &error));
    STEP(mlxn_pool_alloc(pool, 100, &pooled, &error));
    STEP(mlxn_encoder_create(device, &e, &error));
    if (!status) {
        mlxn_tensor ta = mlxn_tensor_2d(a, 0, MLXN_F32, 16, 64), tb = mlxn_tensor_2d(b, 0, MLXN_F32, 16, 64);
        mlxn_weight_desc wd = {
            .struct_size = sizeof wd, .format = MLXN_FORMAT_F32, .rows = 16, .cols = 64, .data = a};
        STEP(mlxn_weight_create(device, &wd, &w, &error));
        STEP(mlxn_elementwise_add(e, ta, tb, tb));
        STEP(mlxn_encoder_commit_and_wait(e, "one", &error));
        STEP(mlxn_encoder_start_capture(e, &error));
        STEP(mlxn_elementwise_add(e, ta, tb, tb));
        STEP(mlxn_matmul(e, ta, w, (mlxn_tensor){0}, (mlxn_tensor){0}, mlxn_tensor_2d(b, 0, MLXN_F32, 16, 16)));
        STEP(mlxn_encoder_take_capture(e, &graph, &error));
        STEP(mlxn_encoder_launch(e, graph));
        STEP(mlxn_encoder_commit(e, "two", &error));
        STEP(mlxn_session_create(device, &s, &error));
        for (int i = 0; i < 3; i++) {
            STEP(mlxn_session_begin_stage(s, "stage"));
            STEP(mlxn_elementwise_mul(mlxn_session_encoder(s), ta, tb, tb));
            STEP(mlxn_encoder_copy(mlxn_session_encoder(s), a, 0, b, 0, 64));
            STEP(mlxn_session_fence_stage(s, NULL, &error));
            STEP(mlxn_session_reset_for_next_stage(s, &error));
        }
        STEP(mlxn_session_commit_and_wait(s, &error));
    }
out:
    mlxn_session_destroy(s);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_weight_release(&w);
    mlxn_buffer_release(&pooled);
    mlxn_pool_destroy(pool);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_device_release(&device);
    return status;
}

typedef uint64_t (*fail_at_fn)(uint64_t k);

static void torture(const char *backend, const char *what, fail_at_fn fail_at) {
    CHECK(scenario(backend) == MLXN_OK, "the scenario works");
    uint64_t before = fail_at(0);
    CHECK(scenario(backend) == MLXN_OK, "and again");
    uint64_t total = fail_at(0) - before;
    int failed = 0;
    for (uint64_t k = 1; k <= total; k++) {
        fail_at(k);
        mlxn_status status = scenario(backend);
        fail_at(0);
        CHECK(status == MLXN_OK || status == MLXN_ERR_MEMORY || status == MLXN_ERR_DEVICE ||
                  status == MLXN_ERR_EXECUTION,
              "%s: %s %d fails: %s", backend, what, (int)k, mlxn_status_name(status));
        failed += status != MLXN_OK;
        CHECK(scenario(backend) == MLXN_OK, "%s: the process goes on after %s %d failed", backend, what, (int)k);
    }
    fprintf(stderr, "%s: %d of %d runs failed, one %s each\n", backend, failed, (int)total, what);
    CHECK(failed > 10, "failures were injected: %d", failed);
}

/* Stage 2 of 3 is accepted and fails while it executes. */
static void test_failed_execution(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = "fault"};
    mlxn_device *device = NULL;
    mlxn_session *s = NULL;
    mlxn_buffer *a = NULL;
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_create(device, 64, &a, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
    mlxn_tensor t = mlxn_tensor_1d(a, 0, MLXN_F32, 16);
    mlxn_status status = MLXN_OK;
    for (int i = 1; i <= 3 && !status; i++) {
        char label[16];
        snprintf(label, sizeof label, "stage %d", i);
        if (i == 2) {
            mlxn_session_wait_all(s, UINT64_MAX, NULL); /* so that the fault does not meet stage 1 */
            mlxn_fault_at(3);                           /* program_create, submit, execution */
        }
        mlxn_elementwise_add(mlxn_session_encoder(s), t, t, t);
        status = mlxn_session_fence_stage(s, label, &error);
        if (!status) status = mlxn_session_reset_for_next_stage(s, &error);
    }
    mlxn_fault_at(0);
    status = mlxn_session_wait_all(s, UINT64_MAX, &error);
    CHECK(status == MLXN_ERR_EXECUTION, "status %s", mlxn_status_name(status));
    CHECK(strstr(error.message, "\"stage 2\""), "the failed stage is named: %s", error.message);
    mlxn_error later;
    CHECK(mlxn_session_commit_and_wait(s, &later) == status && !strcmp(later.message, error.message), "sticky");
    mlxn_cb_state state;
    CHECK(mlxn_session_stage_state(s, 1, &state, &error) == MLXN_OK && state == MLXN_CB_COMPLETED, "stage 1 is good");
    CHECK(mlxn_session_wait_fence(s, 2, UINT64_MAX, &error) == MLXN_ERR_EXECUTION, "fence 2 is marked failed");
    CHECK(mlxn_timeline_value(mlxn_session_timeline(s)) >= 2, "and has advanced");
    if (mlxn_session_fence_value(s) >= 3)
        CHECK(mlxn_session_wait_fence(s, 3, UINT64_MAX, &error) == MLXN_ERR_EXECUTION,
              "stage 3 waited for stage 2, so it failed too");
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_device_release(&device);
}

int main(void) {
    mlxn_backend_extra = &mlxn_backend_fault;
    torture("cpu", "allocation", mlxn_alloc_fail_at);
    torture("null", "allocation", mlxn_alloc_fail_at);
    torture("fault", "backend call", mlxn_fault_at);
    test_failed_execution();
    return TEST_DONE();
}
