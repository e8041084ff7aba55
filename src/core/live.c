/* live.c: the command buffers of a device from begin to finish, oldest first. What must outlive work in flight, and
 * what must not meet it, is asked here. */
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
    pthread_mutex_unlock(&live->lock);
}
