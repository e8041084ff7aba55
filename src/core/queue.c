/* queue.c: queues as callers see them: life, sticky first failure, waiting until they are idle. */
#include "core/core.h"

mlxn_status mlxn_queue_open(mlxn_device *device, bool is_default, mlxn_queue **out, mlxn_error *error) {
    *out = NULL;
    mlxn_queue *queue = mlxn_alloc(sizeof *queue);
    if (!queue) return mlxn_fail(error, MLXN_ERR_MEMORY, "queue: out of memory for its record");
    mlxn_status status = device->backend->queue_create(device->impl, &queue->impl, error);
    if (status) {
        mlxn_free(queue);
        return status;
    }
    atomic_init(&queue->refs, 1);
    pthread_mutex_init(&queue->lock, NULL);
    queue->is_default = is_default;
    queue->id = atomic_fetch_add(&device->next_queue_id, 1);
    queue->device = is_default ? device : mlxn_device_retain(device);
    *out = queue;
    return MLXN_OK;
}

static void close_queue(mlxn_queue *queue) {
    queue->device->backend->queue_destroy(queue->device->impl, queue->impl);
    pthread_mutex_destroy(&queue->lock);
    mlxn_free(queue);
}

void mlxn_queue_close_default(mlxn_queue *queue) {
    if (queue) close_queue(queue);
}

mlxn_status mlxn_queue_create(mlxn_device *device, mlxn_queue **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "queue: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "queue: device is NULL");
    mlxn_status status = mlxn_queue_open(device, false, out, error);
    return status ? status : mlxn_succeed(error);
}

mlxn_queue *mlxn_device_queue(mlxn_device *device) { return device ? device->queue : NULL; }
mlxn_device *mlxn_queue_device(const mlxn_queue *queue) { return queue ? queue->device : NULL; }

mlxn_queue *mlxn_queue_retain(mlxn_queue *queue) {
    if (!queue) return NULL;
    if (queue->is_default)
        mlxn_device_retain(queue->device);
    else
        atomic_fetch_add_explicit(&queue->refs, 1, memory_order_relaxed);
    return queue;
}

void mlxn_queue_release(mlxn_queue **handle) {
    if (!handle || !*handle) return;
    mlxn_queue *queue = *handle;
    mlxn_device *device = queue->device;
    *handle = NULL;
    if (!queue->is_default) {
        if (atomic_fetch_sub_explicit(&queue->refs, 1, memory_order_acq_rel) != 1) return;
        close_queue(queue);
    }
    mlxn_device_release(&device);
}

void mlxn_queue_note_failure(mlxn_queue *queue, const mlxn_error *failure) {
    pthread_mutex_lock(&queue->lock);
    if (!queue->error.status) queue->error = *failure;
    pthread_mutex_unlock(&queue->lock);
}

mlxn_status mlxn_queue_status(mlxn_queue *queue, mlxn_error *error) {
    if (!queue) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "queue status: queue is NULL");
    pthread_mutex_lock(&queue->lock);
    mlxn_status status = queue->error.status;
    if (error) *error = queue->error;
    pthread_mutex_unlock(&queue->lock);
    return status ? status : mlxn_succeed(error);
}

void mlxn_queue_clear_status(mlxn_queue *queue) {
    if (!queue) return;
    pthread_mutex_lock(&queue->lock);
    mlxn_succeed(&queue->error);
    pthread_mutex_unlock(&queue->lock);
}

/* The oldest committed command buffer with a serial up to `upto` (on `queue`, or on any), retained; NULL if none. */
static mlxn_command_buffer *oldest(mlxn_device *device, const mlxn_queue *queue, uint64_t upto) {
    mlxn_command_buffer *cb;
    pthread_mutex_lock(&device->live.lock);
    for (cb = device->live.first; cb && cb->serial <= upto; cb = cb->live_after)
        if ((!queue || cb->queue == queue) && mlxn_command_buffer_state(cb) == MLXN_CB_COMMITTED) break;
    if (cb && cb->serial > upto) cb = NULL;
    mlxn_command_buffer_retain(cb);
    pthread_mutex_unlock(&device->live.lock);
    return cb;
}

static mlxn_status wait_idle(mlxn_device *device, const mlxn_queue *queue, uint64_t timeout_ns, mlxn_error *error) {
    pthread_mutex_lock(&device->live.lock);
    uint64_t upto = device->live.next_serial;
    pthread_mutex_unlock(&device->live.lock);
    uint64_t begun = mlxn_now_ns();
    for (mlxn_command_buffer *cb; (cb = oldest(device, queue, upto));) {
        uint64_t left = timeout_ns, past = mlxn_now_ns() - begun;
        if (timeout_ns != UINT64_MAX) left = past < timeout_ns ? timeout_ns - past : 0;
        bool done = device->backend->wait(device->impl, cb->queue->impl, cb, left);
        if (!done)
            mlxn_fail(error, MLXN_ERR_TIMEOUT, "wait idle: command buffer \"%s\" not completed after %.3f s",
                      mlxn_command_buffer_label(cb), (double)timeout_ns * 1e-9);
        mlxn_command_buffer_release(&cb);
        if (!done) return MLXN_ERR_TIMEOUT;
    }
    return mlxn_succeed(error);
}

mlxn_status mlxn_queue_wait_idle(mlxn_queue *queue, uint64_t timeout_ns, mlxn_error *error) {
    if (!queue) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "wait idle: queue is NULL");
    return wait_idle(queue->device, queue, timeout_ns, error);
}

mlxn_status mlxn_device_wait_idle(mlxn_device *device, uint64_t timeout_ns, mlxn_error *error) {
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "wait idle: device is NULL");
    return wait_idle(device, NULL, timeout_ns, error);
}
