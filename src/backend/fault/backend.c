/* backend.c: forwards every call to the CPU backend and lets one of them fail. */
#include "backend/fault/backend.h"

#include <inttypes.h>

#include "backend/cpu/backend.h"
#include "backend/cpu/device.h"

static _Atomic uint64_t calls, fails_at;
static mlxn_command_buffer *_Atomic doomed; /* accepted, to fail when it executes; never looked into, may be gone */

uint64_t mlxn_fault_at(uint64_t k) {
    uint64_t now = atomic_load(&calls);
    atomic_store(&doomed, NULL);
    atomic_store(&fails_at, k ? now + k : 0);
    return now;
}

static bool fails(void) { return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&fails_at); }

#define FAIL_HERE(name)                                                                          \
    do {                                                                                         \
        if (fails()) return mlxn_fail(error, MLXN_ERR_DEVICE, "fault: %s fails as asked", name); \
    } while (0)

static uint32_t device_count(mlxn_error *error) { return mlxn_backend_cpu.device_count(error); }
static mlxn_status open_device(mlxn_device *device, const mlxn_device_desc *desc, void **impl, mlxn_error *error) {
    FAIL_HERE("open");
    return mlxn_backend_cpu.open(device, desc, impl, error);
}
static void close_device(void *impl) { mlxn_backend_cpu.close(impl); }
static void info(void *impl, mlxn_device_info *out) { mlxn_backend_cpu.info(impl, out); }
static mlxn_status memory_create(void *impl, uint64_t bytes, void **storage, void **host, mlxn_error *error) {
    FAIL_HERE("memory_create");
    return mlxn_backend_cpu.memory_create(impl, bytes, storage, host, error);
}
static void memory_destroy(void *impl, void *storage, uint64_t bytes) {
    mlxn_backend_cpu.memory_destroy(impl, storage, bytes);
}
static mlxn_status memory_wrap(void *impl, void *memory, uint64_t bytes, void **storage, void **host,
                               mlxn_error *error) {
    FAIL_HERE("memory_wrap");
    return mlxn_backend_cpu.memory_wrap(impl, memory, bytes, storage, host, error);
}
static void memory_unwrap(void *impl, void *storage) { mlxn_backend_cpu.memory_unwrap(impl, storage); }
static mlxn_status memory_read(void *impl, void *storage, uint64_t offset, void *dst, uint64_t bytes,
                               mlxn_error *error) {
    FAIL_HERE("memory_read");
    return mlxn_backend_cpu.memory_read(impl, storage, offset, dst, bytes, error);
}
static mlxn_status memory_write(void *impl, void *storage, uint64_t offset, const void *src, uint64_t bytes,
                                mlxn_error *error) {
    FAIL_HERE("memory_write");
    return mlxn_backend_cpu.memory_write(impl, storage, offset, src, bytes, error);
}
static mlxn_status weight_prepare(void *impl, const mlxn_weight_view *raw, const mlxn_weight_progress *progress,
                                  mlxn_weight_view *out, void **storage, mlxn_error *error) {
    FAIL_HERE("weight_prepare");
    return mlxn_backend_cpu.weight_prepare(impl, raw, progress, out, storage, error);
}
static mlxn_status weight_bytes(void *impl, const mlxn_weight_view *raw, uint64_t *out, mlxn_error *error) {
    return mlxn_backend_cpu.weight_bytes(impl, raw, out, error);
}
static void weight_destroy(void *impl, void *storage) { mlxn_backend_cpu.weight_destroy(impl, storage); }
static const mlxn_kernel_row *kernels(size_t *count) { return mlxn_backend_cpu.kernels(count); }
static mlxn_status program_create(void *impl, const mlxn_node *nodes, size_t n, void **program, mlxn_error *error) {
    FAIL_HERE("program_create");
    return mlxn_backend_cpu.program_create(impl, nodes, n, program, error);
}
static void program_destroy(void *impl, void *program) { mlxn_backend_cpu.program_destroy(impl, program); }
static bool program_update(void *impl, void *program, const mlxn_node *node, size_t i) {
    return !fails() && mlxn_backend_cpu.program_update(impl, program, node, i);
}
static mlxn_run_result run(void *impl, mlxn_command_buffer *cb, mlxn_timeline **timeline, mlxn_error *error) {
    mlxn_command_buffer *this_one = cb;
    if (atomic_compare_exchange_strong(&doomed, &this_one, NULL)) {
        mlxn_fail(error, MLXN_ERR_EXECUTION, "fault: execution fails as asked");
        return MLXN_RUN_FAILED;
    }
    return cpu_queue_run(impl, cb, timeline, error);
}
static mlxn_status queue_create(void *impl, void **queue, mlxn_error *error) {
    FAIL_HERE("queue_create");
    return mlxn_host_queue_create(run, impl, queue, error);
}
static void queue_destroy(void *impl, void *queue) { mlxn_backend_cpu.queue_destroy(impl, queue); }
static mlxn_status submit(void *impl, void *queue, mlxn_command_buffer *cb, bool will_wait, mlxn_error *error) {
    FAIL_HERE("submit");
    if (fails()) atomic_store(&doomed, cb);
    return mlxn_backend_cpu.submit(impl, queue, cb, will_wait, error);
}
static bool wait_for(void *impl, void *queue, mlxn_command_buffer *cb, uint64_t timeout_ns) {
    return mlxn_backend_cpu.wait(impl, queue, cb, timeout_ns);
}
static mlxn_status kernel_prepare(void *impl, const struct mlxn_kernel *kernel, const void *cached,
                                  uint64_t cached_bytes, void **prepared, void **blob, uint64_t *blob_bytes,
                                  mlxn_error *error) {
    FAIL_HERE("kernel_prepare");
    return mlxn_backend_cpu.kernel_prepare(impl, kernel, cached, cached_bytes, prepared, blob, blob_bytes, error);
}
static void kernel_release(void *impl, void *prepared) { mlxn_backend_cpu.kernel_release(impl, prepared); }

static mlxn_status measure(void *impl, double *bytes_per_second, double *f32_flops, double *int8_ops,
                           mlxn_error *error) {
    FAIL_HERE("measure");
    return mlxn_backend_cpu.measure(impl, bytes_per_second, f32_flops, int8_ops, error);
}

const mlxn_backend mlxn_backend_fault = {
    .name = "fault",
    .device_count = device_count,
    .open = open_device,
    .close = close_device,
    .info = info,
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .memory_wrap = memory_wrap,
    .memory_unwrap = memory_unwrap,
    .memory_read = memory_read,
    .memory_write = memory_write,
    .weight_prepare = weight_prepare,
    .weight_bytes = weight_bytes,
    .weight_destroy = weight_destroy,
    .kernels = kernels,
    .program_create = program_create,
    .program_destroy = program_destroy,
    .program_update = program_update,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .submit = submit,
    .wait = wait_for,
    .kernel_prepare = kernel_prepare,
    .kernel_release = kernel_release,
    .measure = measure,
};
