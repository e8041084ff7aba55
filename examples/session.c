/* session.c: a session of two stages on the CPU, with libmlxn alone.
 *
 * Stage 1 computes sum = a + b; stage 2, in a command buffer of its own that waits for stage 1's fence, computes
 * product = sum * b. The host waits once, at the end. */
#include <mlxn/mlxn.h>
#include <stdio.h>

enum { N = 8 };

static int fail(const char *what, const mlxn_error *error) {
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 1;
}

int main(void) {
    mlxn_error error = {0};
    mlxn_device *device = NULL;
    mlxn_session *session = NULL;
    mlxn_buffer *memory = NULL;
    float values[2 * N];
    for (int i = 0; i < N; i++) values[i] = (float)i, values[N + i] = 0.5f;

    if (mlxn_device_create(NULL, &device, &error)) return fail("device", &error);
    if (mlxn_buffer_create(device, 4 * N * sizeof(float), &memory, &error)) return fail("buffer", &error);
    if (mlxn_buffer_write(memory, 0, values, sizeof values, &error)) return fail("write", &error);
    mlxn_tensor a = mlxn_tensor_1d(memory, 0 * N * sizeof(float), MLXN_F32, N);
    mlxn_tensor b = mlxn_tensor_1d(memory, 1 * N * sizeof(float), MLXN_F32, N);
    mlxn_tensor sum = mlxn_tensor_1d(memory, 2 * N * sizeof(float), MLXN_F32, N);
    mlxn_tensor product = mlxn_tensor_1d(memory, 3 * N * sizeof(float), MLXN_F32, N);

    if (mlxn_session_create(device, &session, &error)) return fail("session", &error);
    mlxn_session_begin_stage(session, "sum");
    mlxn_elementwise_add(mlxn_session_encoder(session), a, b, sum);
    if (mlxn_session_fence_stage(session, NULL, &error)) return fail("stage 1", &error); /* nothing waits here */
    if (mlxn_session_reset_for_next_stage(session, &error)) return fail("reset", &error);
    mlxn_session_begin_stage(session, "product");
    mlxn_elementwise_mul(mlxn_session_encoder(session), sum, b, product);
    if (mlxn_session_commit_and_wait(session, &error)) return fail("stage 2", &error);

    int wrong = 0;
    const float *out = mlxn_buffer_contents(memory);
    for (int i = 0; i < N; i++) {
        printf("(%g + 0.5) * 0.5 = %g\n", values[i], out[3 * N + i]);
        wrong += out[3 * N + i] != (values[i] + 0.5f) * 0.5f;
    }
    mlxn_session_destroy(session);
    mlxn_buffer_release(&memory);
    mlxn_device_release(&device);
    return wrong != 0;
}
