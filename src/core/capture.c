/* capture.c: capture scopes: a profiler from begin to end, whose trace goes to the path of the environment. */
#include "core/profile.h"

struct mlxn_capture {
    mlxn_profiler *profiler;
    char *path; /* NULL once ended */
    bool begun;
};

static _Atomic bool taken;

void mlxn_capture_reset_latch(void) { atomic_store(&taken, false); }

mlxn_status mlxn_capture_from_env(mlxn_device *device, mlxn_capture **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture: device is NULL");
    const char *path = mlxn_gate_text(MLXN_GATE_CAPTURE_PATH);
    if (!path || atomic_exchange(&taken, true)) return mlxn_succeed(error);
    if (!mlxn_gate_on(MLXN_GATE_CAPTURE_ENABLED)) {
        mlxn_device_log(device, "mlxn: capture: MLX_METAL_CAPTURE is set, but METAL_CAPTURE_ENABLED=1 is not");
        return mlxn_succeed(error);
    }
    mlxn_capture *capture = mlxn_alloc(sizeof *capture);
    if (capture) capture->path = mlxn_strdup(path);
    if (!capture || !capture->path) {
        mlxn_free(capture);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "capture: out of memory for its record");
    }
    mlxn_status status = mlxn_profiler_create(device, NULL, &capture->profiler, error);
    if (status) {
        mlxn_free(capture->path);
        mlxn_free(capture);
        return status;
    }
    *out = capture;
    return mlxn_succeed(error);
}

mlxn_status mlxn_capture_begin(mlxn_capture *capture, mlxn_error *error) {
    if (!capture) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture begin: capture is NULL");
    if (capture->begun || !capture->path) return mlxn_succeed(error);
    mlxn_status status = mlxn_profiler_start(capture->profiler, error);
    capture->begun = !status;
    return status;
}

mlxn_status mlxn_capture_end(mlxn_capture *capture, mlxn_error *error) {
    if (!capture || !capture->begun || !capture->path) return mlxn_succeed(error);
    char *path = capture->path;
    capture->path = NULL;
    return mlxn_profiler_finish_to(capture->profiler, path, error);
}

void mlxn_capture_destroy(mlxn_capture *capture) {
    if (!capture) return;
    mlxn_capture_end(capture, NULL);
    mlxn_profiler_destroy(capture->profiler);
    mlxn_free(capture->path);
    mlxn_free(capture);
}

mlxn_capture *mlxn_capture_begin_from_env(mlxn_device *device) {
    mlxn_capture *capture;
    mlxn_error error;
    mlxn_status status = mlxn_capture_from_env(device, &capture, &error);
    if (!status && capture) status = mlxn_capture_begin(capture, &error);
    if (!status) return capture;
    mlxn_device_log(device, "mlxn: capture: %s", error.message);
    mlxn_capture_destroy(capture);
    return NULL;
}
