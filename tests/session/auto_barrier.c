/* Promise: tracked dispatches give the results of plain ones whatever the gate HF2Q_AUTO_BARRIER says; their counters
 * move exactly when it is on, and not for captured work.
 *
 * The gate is read once per process, so ctest runs this program twice, with the gate off and on. */
#include "session/common.h"

static mlxn_status tracked_add(mlxn_encoder *encoder, mlxn_tensor a, mlxn_tensor b, mlxn_tensor out) {
    mlxn_arg args[] = {{.tensor = &a}, {.tensor = &b}, {.tensor = &out}};
    return mlxn_encode_tracked(encoder, mlxn_op_find("elementwise_add"), args, 3, NULL, 0);
}

int main(void) {
    const char *value = getenv("HF2Q_AUTO_BARRIER");
    bool on = value && !strcmp(value, "1");
    mlxn_device *device = make_device();
    mlxn_buffer *a = floats(device, 8, (float[]){1, 1, 1, 1, 2, 2, 2, 2}), *out = floats(device, 8, NULL);
    mlxn_tensor low = mlxn_tensor_1d(a, 0, MLXN_F32, 4), high = mlxn_tensor_1d(a, 16, MLXN_F32, 4);
    mlxn_tensor out_low = mlxn_tensor_1d(out, 0, MLXN_F32, 4), out_high = mlxn_tensor_1d(out, 16, MLXN_F32, 4);
    mlxn_encoder *e = NULL;
    OK(mlxn_encoder_create(device, &e, NULL));
    mlxn_counters before, after;
    mlxn_counters_read(&before);
    OK(tracked_add(e, low, high, out_low));     /* first: concurrent */
    OK(tracked_add(e, high, high, out_high));   /* disjoint half: concurrent */
    OK(tracked_add(e, out_low, out_high, low)); /* reads both results: barrier */
    OK(mlxn_encoder_commit_and_wait(e, NULL, NULL));
    mlxn_counters_read(&after);
    expect(out, 8, (float[]){3, 3, 3, 3, 4, 4, 4, 4});
    expect(a, 4, (float[]){7, 7, 7, 7});
    uint64_t barriers = after.auto_barrier_count - before.auto_barrier_count;
    uint64_t concurrent = after.auto_barrier_concurrent_count - before.auto_barrier_concurrent_count;
    CHECK(barriers == (on ? 1 : 0) && concurrent == (on ? 2 : 0), "gate %d: %d barriers, %d concurrent", on,
          (int)barriers, (int)concurrent);
    OK(mlxn_encoder_start_capture(e, NULL));
    OK(tracked_add(e, low, low, low));
    mlxn_graph *graph = NULL;
    OK(mlxn_encoder_take_capture(e, &graph, NULL));
    mlxn_counters_read(&before);
    CHECK(before.auto_barrier_concurrent_count == after.auto_barrier_concurrent_count, "captured: not counted");
    CHECK(tracked_add(NULL, low, low, low) == MLXN_ERR_ARGUMENT, "no encoder");
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&out);
    mlxn_device_release(&device);
    return TEST_DONE();
}
