/* live.c: the command buffers of a device from begin to finish, oldest first. What must outlive work in flight, and
 * what must not meet it, is asked here.
 *
 * Unretained mode. A command buffer names buffers without holding references. When it names its first it gets a
 * use_serial, larger than any before, and each buffer that it names keeps the largest use_serial of those that name
 * it (last_use). A buffer whose last reference goes is destroyed once no live command buffer has a use_serial up to
 * its last_use: those that name it are among them. */
#include "core/core.h"

void mlxn_live_add(mlxn_device *device, mlxn_command_buffer *cb) {
    mlxn_live_list *live = &device->live;
    pthread_mutex_lock(&live->lock);
    cb->serial = ++live->next_serial;
    cb->live_after = NULL;
    cb->live_before = live->last;
    if (live->last)
        live->last->live_after = cb;
    else
        live->first = cb;
    live->last = cb;
    pthread_mutex_unlock(&live->lock);
}

void mlxn_live_begin_use(mlxn_device *device, mlxn_command_buffer *cb) {
    mlxn_live_list *live = &device->live;
    pthread_mutex_lock(&live->lock);
    cb->use_serial = ++live->next_use;
    cb->use_after = NULL;
    cb->use_before = live->last_use;
    if (live->last_use)
        live->last_use->use_after = cb;
    else
        live->first_use = cb;
    live->last_use = cb;
    pthread_mutex_unlock(&live->lock);
}

static void end_use(mlxn_live_list *live, mlxn_command_buffer *cb) {
    if (cb->use_before)
        cb->use_before->use_after = cb->use_after;
    else
        live->first_use = cb->use_after;
    if (cb->use_after)
        cb->use_after->use_before = cb->use_before;
    else
        live->last_use = cb->use_before;
    cb->use_serial = 0;
}

static bool may_name(const mlxn_live_list *live, uint64_t last_use) {
    return live->first_use && live->first_use->use_serial <= last_use;
}

/* Takes the buffers off the deferred list that no live work can name any more. */
static mlxn_buffer *take_idle(mlxn_live_list *live) {
    mlxn_buffer *idle = live->first_deferred, *end = idle, *last = NULL;
    while (end && !may_name(live, atomic_load_explicit(&end->last_use, memory_order_relaxed))) {
        last = end;
        end = end->deferred_after;
    }
    if (!last) return NULL;
    last->deferred_after = NULL;
    live->first_deferred = end;
    if (end)
        end->deferred_before = NULL;
    else
        live->last_deferred = NULL;
    return idle;
}

/* With the lock held: unretained mode, cb names nothing any more. Returns the buffers that die with that. */
static mlxn_buffer *drop_uses(mlxn_live_list *live, mlxn_command_buffer *cb) {
    if (!cb->use_serial) return NULL;
    end_use(live, cb);
    return take_idle(live);
}

/* Without the lock: callbacks of wrapped memory are the user's. */
static void destroy_all(mlxn_buffer *idle) {
    while (idle) {
        mlxn_buffer *next = idle->deferred_after;
        mlxn_buffer_destroy(idle);
        idle = next;
    }
}

void mlxn_live_retire(mlxn_device *device, mlxn_command_buffer *cb) {
    if (!device->checked && !cb->use_serial) return;
    pthread_mutex_lock(&device->live.lock);
    cb->retired = true;
    mlxn_buffer *idle = drop_uses(&device->live, cb);
    pthread_mutex_unlock(&device->live.lock);
    destroy_all(idle);
}

void mlxn_live_remove(mlxn_device *device, mlxn_command_buffer *cb) {
    mlxn_live_list *live = &device->live;
    pthread_mutex_lock(&live->lock);
    if (cb->serial) {
        if (cb->live_before)
            cb->live_before->live_after = cb->live_after;
        else
            live->first = cb->live_after;
        if (cb->live_after)
            cb->live_after->live_before = cb->live_before;
        else
            live->last = cb->live_before;
        cb->serial = 0;
    }
    mlxn_buffer *idle = drop_uses(live, cb);
    pthread_mutex_unlock(&live->lock);
    destroy_all(idle);
}

bool mlxn_live_uses(mlxn_device *device, uint64_t last_use) {
    if (!last_use) return false;
    pthread_mutex_lock(&device->live.lock);
    bool uses = may_name(&device->live, last_use);
    pthread_mutex_unlock(&device->live.lock);
    return uses;
}

bool mlxn_live_defer(mlxn_device *device, mlxn_buffer *buffer) {
    mlxn_live_list *live = &device->live;
    uint64_t last_use = atomic_load_explicit(&buffer->last_use, memory_order_relaxed);
    pthread_mutex_lock(&live->lock);
    bool defer = may_name(live, last_use);
    if (defer) {
        /* Buffers mostly die in the order of their uses, so the place is near the end. */
        mlxn_buffer *before = live->last_deferred;
        while (before && atomic_load_explicit(&before->last_use, memory_order_relaxed) > last_use)
            before = before->deferred_before;
        buffer->deferred_before = before;
        buffer->deferred_after = before ? before->deferred_after : live->first_deferred;
        *(before ? &before->deferred_after : &live->first_deferred) = buffer;
        *(buffer->deferred_after ? &buffer->deferred_after->deferred_before : &live->last_deferred) = buffer;
    }
    pthread_mutex_unlock(&live->lock);
    return defer;
}
