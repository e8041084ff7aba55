/* Promise: whichever allocation or backend call fails while a profiler listens: making the profiler or writing its
 * trace says so; work that cannot be measured runs all the same and is counted as unmeasured; nothing leaks, and the
 * profiled work gives the same bytes. */
#include "torture/torture.h"

static char path[64];

static mlxn_status submit(mlxn_device *device, mlxn_buffer *a, mlxn_graph **graph, mlxn_encoder **e,
                          mlxn_error *error) {
    mlxn_status status = mlxn_encoder_create(device, e, error);
    mlxn_tensor t = mlxn_tensor_1d(a, 0, MLXN_F32, 64);
    STEP(mlxn_encoder_start_capture(*e, error));
    if (!status) RECORD(*e, mlxn_elementwise_mul(*e, t, t, t));
    STEP(mlxn_encoder_take_capture(*e, graph, error));
    for (int i = 0; !status && i < 6; i++) {
        char label[32];
        snprintf(label, sizeof label, "stage %d", i);
        RECORD(*e, mlxn_elementwise_add(*e, t, t, t));
        for (int k = 0; k < (i == 3 ? 80 : 1); k++) RECORD(*e, mlxn_encoder_copy(*e, a, 0, a, 256, 256));
        RECORD(*e, mlxn_encoder_launch(*e, *graph));
        STEP(mlxn_encoder_commit(*e, label, error));
    }
    STEP(mlxn_encoder_wait_completed(*e, error));
    STEP(torture_queue_status(device, error));
    return status;
}

static void check_counts(mlxn_device *device, mlxn_profiler *p, bool all) {
    mlxn_profiler_stats s;
    mlxn_profile_row rows[8];
    mlxn_profile_event events[16];
    mlxn_device_wait_idle(device, UINT64_MAX, NULL);
    mlxn_profiler_get_stats(p, &s);
    CHECK(s.in_flight == 0, "nothing is in flight: %d", (int)s.in_flight);
    if (all)
        CHECK(s.command_buffers + s.unmeasured == 6, "%d seen, %d unmeasured", (int)s.command_buffers,
              (int)s.unmeasured);
    CHECK(mlxn_profiler_events(p, 0, events, 16) <= 16, "events");
    CHECK(mlxn_profiler_rows(p, MLXN_PROFILE_BY_LABEL, rows, 8) <= 8, "rows");
}

static mlxn_status work(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    mlxn_profiler *p = NULL;
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    mlxn_buffer *a = NULL;
    float values[64];
    for (int i = 0; i < 64; i++) values[i] = (float)i / 64 - 0.5f;
    mlxn_profiler_desc desc = {.struct_size = sizeof desc, .max_events = 64};
    mlxn_status status = mlxn_profiler_create(device, &desc, &p, error);
    STEP(mlxn_buffer_create(device, 512, &a, error));
    STEP(mlxn_buffer_write(a, 0, values, sizeof values, error));
    STEP(mlxn_profiler_start(p, error));
    STEP(submit(device, a, &graph, &e, error));
    mlxn_profiler_stop(p);
    if (p) check_counts(device, p, !status);
    STEP(mlxn_profiler_write_trace(p, path, error));
    STEP(mlxn_buffer_read(a, 0, out, 512, error));
    mlxn_profiler_destroy(p);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
    return status;
}

int main(void) {
    snprintf(path, sizeof path, "%s/mlxn-torture-%d.json", P_tmpdir, (int)getpid());
    torture_all("profile", work, NULL, 10);
    unlink(path);
    return TEST_DONE();
}
