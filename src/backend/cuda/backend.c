/* backend.c: the CUDA backend: its life, and its queues.
 *
 * A queue is a stream behind the software queue of the host (host_queue.h): command buffers are launched in order of
 * submission without waiting for the device between their nodes; before a fence is signalled, and at the end of a
 * command buffer, the host waits for the stream. */
#include "backend/cuda/backend.h"

#include <stdio.h>

#include "backend/cuda/device.h"
#include "backend/cuda/weight.h"

enum { LEAST_MAJOR = 8 };

mlxn_status cuda_enter(const cuda_device *device, mlxn_error *error) {
    CUresult code = device->driver->context_push(device->context);
    return code ? cuda_fail(device->driver, code, MLXN_ERR_DEVICE, "entering the context of the device", error)
                : MLXN_OK;
}

void cuda_leave(const cuda_device *device) {
    CUcontext own;
    device->driver->context_pop(&own);
}

static uint32_t device_count(mlxn_error *error) {
    if (!cuda_fatbin()) {
        mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                  "cuda: this build has no kernels for GPUs: install nvcc of the CUDA toolkit and build with "
                  "-DMLXN_CUDA=ON, or use the cpu device");
        return 0;
    }
    const cuda_driver *driver = cuda_driver_open(error);
    if (!driver) return 0;
    int count = 0;
    CUresult code = driver->device_count(&count);
    if (code) {
        cuda_fail(driver, code, MLXN_ERR_DEVICE, "counting devices", error);
        return 0;
    }
    if (count > 0) {
        mlxn_succeed(error);
        return (uint32_t)count;
    }
    mlxn_fail(
        error, MLXN_ERR_DEVICE,
        "cuda: the driver finds no NVIDIA GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use the cpu device");
    return 0;
}

/* ---- queues ---- */

static CUresult compute(cuda_queue *queue, const cuda_item *item) {
    const cuda_driver *driver = queue->device->driver;
    const mlxn_node *node = item->node;
    if (node->kind == MLXN_NODE_DISPATCH) {
        const cuda_launch *l = &item->launch;
        void *arguments[] = {(void *)l->arguments};
        return driver->launch(queue->device->functions[l->kernel], l->grid[0], l->grid[1], l->grid[2], l->block[0],
                              l->block[1], l->block[2], l->shared_bytes, queue->stream, arguments, NULL);
    }
    if (node->kind == MLXN_NODE_COPY) {
        const cuda_memory *src = node->u.copy.src->storage, *dst = node->u.copy.dst->storage;
        return driver->copy_within(dst->address + node->u.copy.dst_offset, src->address + node->u.copy.src_offset,
                                   (size_t)node->u.copy.bytes, queue->stream);
    }
    const cuda_memory *dst = node->u.fill.dst->storage;
    return driver->fill(dst->address + node->u.fill.offset, node->u.fill.value, (size_t)node->u.fill.bytes,
                        queue->stream);
}

/* One node; measured, by itself, where somebody listens. */
static CUresult run_item(cuda_queue *queue, mlxn_command_buffer *cb, const cuda_item *item) {
    if (!mlxn_node_computes(item->node)) return CUDA_OK; /* a barrier */
    mlxn_sample *sample = mlxn_cb_take_samples(cb, 1);
    if (!sample) return compute(queue, item);
    const cuda_driver *driver = queue->device->driver;
    float milliseconds = 0;
    CUresult code = driver->event_record(queue->before, queue->stream);
    if (!code) code = compute(queue, item);
    if (!code) code = driver->event_record(queue->after, queue->stream);
    if (!code) code = driver->event_wait(queue->after);
    if (!code) code = driver->event_elapsed(&milliseconds, queue->before, queue->after);
    sample->end_ns = mlxn_now_ns();
    sample->start_ns = sample->end_ns - (uint64_t)((double)milliseconds * 1e6);
    sample->busy_ns = sample->end_ns - sample->start_ns;
    return code;
}

static mlxn_status failed(const cuda_queue *queue, const mlxn_node *node, CUresult code, mlxn_error *error) {
    return cuda_fail(queue->device->driver, code, MLXN_ERR_EXECUTION, node ? mlxn_node_name(node) : "the stream",
                     error);
}

static mlxn_run_result run_nodes(cuda_queue *queue, mlxn_command_buffer *cb, mlxn_timeline **timeline,
                                 mlxn_error *error) {
    const cuda_driver *driver = queue->device->driver;
    const cuda_program *program = cb->program;
    size_t count = program ? program->count : 0;
    if (cb->samples && !cb->start_ns) cb->start_ns = mlxn_now_ns();
    for (; cb->cursor < count; cb->cursor++) {
        const cuda_item *item = &program->items[cb->cursor];
        const mlxn_node *node = item->node;
        CUresult code = CUDA_OK;
        if (node->kind == MLXN_NODE_SIGNAL || node->kind == MLXN_NODE_WAIT) {
            if (node->kind == MLXN_NODE_SIGNAL) code = driver->stream_wait(queue->stream);
            if (code) return failed(queue, NULL, code, error), MLXN_RUN_FAILED;
            mlxn_run_result result = mlxn_host_queue_sync(cb, node, timeline, error);
            if (result != MLXN_RUN_DONE) return result;
            continue;
        }
        if (node->kind == MLXN_NODE_LAUNCH) {
            const cuda_program *part = node->u.launch->program;
            for (size_t i = 0; i < part->count && !code; i++) {
                node = part->items[i].node;
                code = run_item(queue, cb, &part->items[i]);
            }
        } else {
            code = run_item(queue, cb, item);
        }
        if (code) return failed(queue, node, code, error), MLXN_RUN_FAILED;
    }
    CUresult code = driver->stream_wait(queue->stream);
    if (code) return failed(queue, NULL, code, error), MLXN_RUN_FAILED;
    if (cb->samples) cb->end_ns = mlxn_now_ns();
    return MLXN_RUN_DONE;
}

static mlxn_run_result run(void *impl, mlxn_command_buffer *cb, mlxn_timeline **timeline, mlxn_error *error) {
    cuda_queue *queue = impl;
    if (cuda_enter(queue->device, error)) return MLXN_RUN_FAILED;
    mlxn_run_result result = run_nodes(queue, cb, timeline, error);
    /* What failed may have left work in the stream: memory that it uses ends only behind it. */
    if (result == MLXN_RUN_FAILED) queue->device->driver->stream_wait(queue->stream);
    cuda_leave(queue->device);
    return result;
}

static void free_queue(cuda_queue *queue) {
    const cuda_driver *driver = queue->device->driver;
    if (!cuda_enter(queue->device, NULL)) {
        if (queue->before) driver->event_destroy(queue->before);
        if (queue->after) driver->event_destroy(queue->after);
        if (queue->stream) driver->stream_destroy(queue->stream);
        cuda_leave(queue->device);
    }
    mlxn_free(queue);
}

static mlxn_status queue_create(void *impl, void **out, mlxn_error *error) {
    cuda_device *device = impl;
    cuda_queue *queue = mlxn_alloc(sizeof *queue);
    if (!queue) return mlxn_fail(error, MLXN_ERR_MEMORY, "queue: out of memory for its record");
    queue->device = device;
    mlxn_status status = cuda_enter(device, error);
    if (!status) {
        CUresult code = device->driver->stream_create(&queue->stream, CUDA_STREAM_NON_BLOCKING);
        if (!code) code = device->driver->event_create(&queue->before, 0);
        if (!code) code = device->driver->event_create(&queue->after, 0);
        if (code) status = cuda_fail(device->driver, code, MLXN_ERR_DEVICE, "queue: its stream", error);
        cuda_leave(device);
    }
    if (!status) status = mlxn_host_queue_create(run, queue, &queue->host, error);
    if (status) {
        free_queue(queue);
        return status;
    }
    *out = queue;
    return MLXN_OK;
}

static void queue_destroy(void *impl, void *handle) {
    cuda_queue *queue = handle;
    mlxn_host_queue_destroy(queue, queue->host);
    free_queue(queue);
}

static mlxn_status submit(void *impl, void *handle, mlxn_command_buffer *cb, bool will_wait, mlxn_error *error) {
    cuda_queue *queue = handle;
    return mlxn_host_queue_submit(queue, queue->host, cb, will_wait, error);
}

static bool wait(void *impl, void *handle, mlxn_command_buffer *cb, uint64_t timeout_ns) {
    cuda_queue *queue = handle;
    return mlxn_host_queue_wait(queue, queue->host, cb, timeout_ns);
}

/* ---- the device ---- */

static mlxn_status describe(cuda_device *device, mlxn_error *error) {
    const cuda_driver *driver = device->driver;
    int major = 0, minor = 0, processors = 0, version = 0, shared = 0;
    char name[112] = "";
    CUresult code = driver->device_name(name, sizeof name, device->ordinal);
    if (!code) code = driver->device_attribute(&major, CUDA_ATTRIBUTE_MAJOR, device->ordinal);
    if (!code) code = driver->device_attribute(&minor, CUDA_ATTRIBUTE_MINOR, device->ordinal);
    if (!code) code = driver->device_attribute(&processors, CUDA_ATTRIBUTE_PROCESSORS, device->ordinal);
    if (!code) code = driver->device_attribute(&shared, CUDA_ATTRIBUTE_SHARED, device->ordinal);
    if (!code) code = driver->driver_version(&version);
    if (code) return cuda_fail(driver, code, MLXN_ERR_DEVICE, "device: its attributes", error);
    if (major < LEAST_MAJOR)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "cuda: %s has compute capability %d.%d, want %d.0 or more; use the cpu device", name, major,
                         minor, LEAST_MAJOR);
    device->processors = processors > 0 ? (uint32_t)processors : 1;
    device->shared_bytes = shared > 0 ? (uint32_t)shared : 48 << 10;
    snprintf(device->name, sizeof device->name, "%s (compute capability %d.%d, CUDA driver %d.%d)", name, major,
             minor, version / 1000, version % 1000 / 10);
    return MLXN_OK;
}

static mlxn_status load_kernels(cuda_device *device, mlxn_error *error) {
    static const struct {
        const char *name;
        bool large;
    } kernels[] = {
#define CUDA_KERNEL(name) {#name, false},
#define CUDA_KERNEL_LARGE(name) {#name, true},
#include "backend/cuda/kernels.def"
#undef CUDA_KERNEL
    };
    CUresult code = device->driver->module_load(&device->module, cuda_fatbin());
    if (code)
        return cuda_fail(device->driver, code, MLXN_ERR_DEVICE,
                         "loading the kernels (the driver may be too old for this build: update it)", error);
    for (size_t i = 0; i < CUDA_KERNEL_COUNT; i++) {
        code = device->driver->module_function(&device->functions[i], device->module, kernels[i].name);
        if (!code && kernels[i].large)
            code =
                device->driver->function_set(device->functions[i], CUDA_FUNCTION_SHARED, (int)device->shared_bytes);
        if (code) return cuda_fail(device->driver, code, MLXN_ERR_DEVICE, kernels[i].name, error);
    }
    return MLXN_OK;
}

static void close_device(void *impl) {
    cuda_device *device = impl;
    const cuda_driver *driver = device->driver;
    if (device->grids) cuda_memory_destroy(device, device->grids, device->grids->bytes);
    if (device->context) {
        if (!cuda_enter(device, NULL)) {
            cuda_memory_close(device);
            for (int i = 0; i < 2; i++)
                if (device->staged[i]) driver->event_destroy(device->staged[i]);
            if (device->transfer) driver->stream_destroy(device->transfer);
            if (device->module) driver->module_unload(device->module);
            cuda_leave(device);
        }
        driver->context_release(device->ordinal);
    }
    pthread_mutex_destroy(&device->grid_lock);
    pthread_mutex_destroy(&device->transfer_lock);
    pthread_mutex_destroy(&device->pool_lock);
    mlxn_free(device);
}

static mlxn_status start(cuda_device *device, mlxn_error *error) {
    const cuda_driver *driver = device->driver;
    CUresult code = driver->context_retain(&device->context, device->ordinal);
    if (code) {
        device->context = NULL;
        return cuda_fail(driver, code, MLXN_ERR_DEVICE, "device: its context", error);
    }
    mlxn_status status = cuda_enter(device, error);
    if (status) return status;
    size_t free_bytes = 0, total = 0;
    code = driver->memory_info(&free_bytes, &total);
    device->memory_total = total;
    if (!code) code = driver->stream_create(&device->transfer, CUDA_STREAM_NON_BLOCKING);
    for (int i = 0; i < 2 && !code; i++) code = driver->event_create(&device->staged[i], 0);
    status =
        code ? cuda_fail(driver, code, MLXN_ERR_DEVICE, "device: its stream", error) : load_kernels(device, error);
    cuda_leave(device);
    return status;
}

static mlxn_status open_device(mlxn_device *owner, const mlxn_device_desc *desc, void **impl, mlxn_error *error) {
    const cuda_driver *driver = cuda_driver_open(error);
    if (!driver) return MLXN_ERR_DEVICE;
    cuda_device *device = mlxn_alloc(sizeof *device);
    if (!device) return mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for the CUDA device");
    device->owner = owner;
    device->driver = driver;
    pthread_mutex_init(&device->pool_lock, NULL);
    pthread_mutex_init(&device->transfer_lock, NULL);
    pthread_mutex_init(&device->grid_lock, NULL);
    CUresult code = driver->device_get(&device->ordinal, (int)desc->index);
    mlxn_status status = code ? cuda_fail(driver, code, MLXN_ERR_DEVICE, "device", error) : describe(device, error);
    if (!status) status = start(device, error);
    if (status) {
        close_device(device);
        return status;
    }
    *impl = device;
    return MLXN_OK;
}

/* 0 if the driver does not say. */
static uint64_t memory_free(const cuda_device *device) {
    size_t bytes = 0, total = 0;
    if (cuda_enter(device, NULL)) return 0;
    CUresult code = device->driver->memory_info(&bytes, &total);
    cuda_leave(device);
    return code ? 0 : bytes;
}

static void info(void *impl, mlxn_device_info *out) {
    cuda_device *device = impl;
    out->name = device->name;
    out->threads = device->processors;
    out->computes = true;
    out->memory_total = device->memory_total;
    out->memory_free = memory_free(device);
}

const mlxn_backend mlxn_backend_cuda = {
    .name = "cuda",
    .device_count = device_count,
    .open = open_device,
    .close = close_device,
    .info = info,
    .memory_create = cuda_memory_create,
    .memory_destroy = cuda_memory_destroy,
    .memory_wrap = cuda_memory_wrap,
    .memory_unwrap = cuda_memory_unwrap,
    .memory_read = cuda_memory_read,
    .memory_write = cuda_memory_write,
    .weight_prepare = cuda_weight_prepare,
    .weight_bytes = cuda_weight_bytes,
    .weight_destroy = cuda_weight_destroy,
    .kernels = cuda_kernel_rows,
    .program_create = cuda_program_create,
    .program_destroy = cuda_program_destroy,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .submit = submit,
    .wait = wait,
};
