/* command.c: command buffers: recorded, submitted, finished, reused. */
#include <stdio.h>

#include "core/profile.h"

/* How many completed command buffers a device keeps for reuse: a few of any size; many small ones, for those who have
 * hundreds in flight. */
enum { CACHED = 16, CACHED_SMALL = 1024, SMALL_NODES = 16 };

mlxn_command_buffer *mlxn_cb_begin(mlxn_queue *queue) {
    mlxn_device *device = queue->device;
    pthread_mutex_lock(&device->cache_lock);
    mlxn_command_buffer *cb = device->cache;
    if (cb) {
        device->cache = cb->next;
        device->cached--;
    }
    pthread_mutex_unlock(&device->cache_lock);
    if (!cb) cb = mlxn_alloc(sizeof *cb);
    if (!cb) return NULL;
    atomic_store_explicit(&cb->refs, 1, memory_order_relaxed);
    atomic_store_explicit(&cb->state, MLXN_CB_RECORDING, memory_order_relaxed);
    cb->device = mlxn_device_retain(device);
    cb->queue = mlxn_queue_retain(queue);
    if (cb->label) cb->label[0] = 0;
    cb->error.status = MLXN_OK;
    cb->error.message[0] = 0;
    cb->has_dispatch = false;
    cb->dispatches = cb->barriers = cb->hazard_barriers = 0;
    cb->next = NULL;
    cb->cursor = 0;
    cb->started = cb->timed = cb->retired = false;
    cb->ran_ns[0] = cb->ran_ns[1] = 0;
    mlxn_live_add(device, cb);
    return cb;
}

mlxn_command_buffer *mlxn_command_buffer_retain(mlxn_command_buffer *cb) {
    if (cb) atomic_fetch_add_explicit(&cb->refs, 1, memory_order_relaxed);
    return cb;
}

void mlxn_command_buffer_release(mlxn_command_buffer **handle) {
    if (!handle || !*handle) return;
    mlxn_command_buffer *cb = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&cb->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_device *device = cb->device;
    mlxn_queue *queue = cb->queue;
    mlxn_list_clear(&cb->list);
    cb->device = NULL;
    cb->queue = NULL;
    pthread_mutex_lock(&device->cache_lock);
    bool keep = device->cached < CACHED || (device->cached < CACHED_SMALL && cb->list.capacity <= SMALL_NODES);
    if (keep) {
        cb->next = device->cache;
        device->cache = cb;
        device->cached++;
    }
    pthread_mutex_unlock(&device->cache_lock);
    if (!keep) mlxn_cb_free(device, cb);
    mlxn_queue_release(&queue);
    mlxn_device_release(&device);
}

void mlxn_cb_free(mlxn_device *device, mlxn_command_buffer *cb) {
    if (cb->program) device->backend->program_destroy(device->impl, cb->program);
    mlxn_list_free(&cb->list);
    mlxn_free(cb->label);
    mlxn_free(cb->sample_memory);
    mlxn_free(cb);
}

const char *mlxn_command_buffer_label(const mlxn_command_buffer *cb) { return cb && cb->label ? cb->label : ""; }

mlxn_cb_state mlxn_command_buffer_state(const mlxn_command_buffer *cb) {
    return cb ? (mlxn_cb_state)atomic_load_explicit(&cb->state, memory_order_acquire) : MLXN_CB_DISCARDED;
}

bool mlxn_cb_set_label(mlxn_command_buffer *cb, const char *label) {
    if (!label || !*label) return true;
    size_t need = strlen(label) + 1;
    if (need > cb->label_capacity) {
        char *grown = mlxn_realloc_array(cb->label, need, 1);
        if (!grown) return false;
        cb->label = grown;
        cb->label_capacity = need;
    }
    memcpy(cb->label, label, need);
    return true;
}

mlxn_status mlxn_cb_submit(mlxn_command_buffer *cb, bool will_wait, mlxn_error *error) {
    mlxn_device *device = cb->device;
    mlxn_status status =
        device->backend->program_create(device->impl, cb->list.nodes, cb->list.count, &cb->program, error);
    if (status) return status;
    status = mlxn_access_commit(cb, error);
    if (status) return status;
    mlxn_residency_flush(device);
    mlxn_profile_begin(cb);
    status = device->backend->submit(device->impl, cb->queue->impl, cb, will_wait, error);
    if (status) {
        if (cb->samples) mlxn_profile_detach(cb);
        atomic_store_explicit(&cb->state, MLXN_CB_DISCARDED, memory_order_release);
    }
    return status;
}

/* The fences that failed work leaves open advance all the same, marked failed. */
static void fail_signals(mlxn_command_buffer *cb) {
    for (size_t i = 0; i < cb->list.count; i++)
        if (cb->list.nodes[i].kind == MLXN_NODE_SIGNAL)
            mlxn_timeline_reach(cb->list.nodes[i].u.sync.timeline, cb->list.nodes[i].u.sync.value, &cb->error);
}

void mlxn_cb_finish(mlxn_command_buffer *cb, const mlxn_error *failure) {
    if (failure) {
        cb->error = *failure;
        if (cb->label && cb->label[0]) mlxn_error_prefix(&cb->error, "command buffer \"%s\"", cb->label);
        fail_signals(cb);
        mlxn_queue_note_failure(cb->queue, &cb->error);
        mlxn_device_log(cb->device, "mlxn: %s", cb->error.message);
    }
    if (cb->samples) mlxn_profile_collect(cb);
    mlxn_live_retire(cb->device, cb);
    mlxn_list_clear(&cb->list);
    mlxn_residency_settle(cb->device);
    atomic_store_explicit(&cb->state, failure ? MLXN_CB_FAILED : MLXN_CB_COMPLETED, memory_order_release);
    mlxn_live_remove(cb->device, cb); /* behind the state: who waits for all that live misses nothing */
}

void mlxn_cb_discard(mlxn_command_buffer *cb) {
    atomic_store_explicit(&cb->state, MLXN_CB_DISCARDED, memory_order_release);
    mlxn_live_remove(cb->device, cb);
    mlxn_command_buffer_release(&cb);
}

mlxn_status mlxn_command_buffer_wait(mlxn_command_buffer *cb, uint64_t timeout_ns, mlxn_error *error) {
    if (!cb) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "command buffer wait: command buffer is NULL");
    mlxn_cb_state state = mlxn_command_buffer_state(cb);
    if (state == MLXN_CB_RECORDING || state == MLXN_CB_DISCARDED)
        return mlxn_fail(error, MLXN_ERR_STATE, "command buffer wait: \"%s\" was never committed",
                         mlxn_command_buffer_label(cb));
    if (state == MLXN_CB_COMMITTED && !cb->device->backend->wait(cb->device->impl, cb->queue->impl, cb, timeout_ns))
        return mlxn_fail(error, MLXN_ERR_TIMEOUT, "command buffer wait: \"%s\" not completed after %.3f s",
                         mlxn_command_buffer_label(cb), (double)timeout_ns * 1e-9);
    if (mlxn_command_buffer_state(cb) == MLXN_CB_FAILED) {
        if (error) *error = cb->error;
        return cb->error.status;
    }
    return mlxn_succeed(error);
}
