/* residency.c: the residency set of a device, and the process-wide counters of the system that mlxn matches.
 *
 * The set is a hint, which host memory does not need; membership is kept all the same, so that a backend that has one
 * finds it here. Two things are told apart. The counters follow calls: an add counts at once, also a second one of
 * the same buffer, and the loss of the last handle counts as a removal at once. Membership follows use: a buffer is a
 * member once however often it is added, and one that is taken out stays a member until the last work that uses it
 * has completed. Changes are committed together, at the next submission. */
#include "core/core.h"

static _Atomic uint64_t allocations, commits, waiting;

#define LOAD(cell) atomic_load_explicit(&(cell), memory_order_relaxed)
#define ADD(cell, n) atomic_fetch_add_explicit(&(cell), n, memory_order_relaxed)
#define SUB(cell, n) atomic_fetch_sub_explicit(&(cell), n, memory_order_relaxed)

static void count_removal(void) {
    uint64_t now = LOAD(allocations);
    while (now && !atomic_compare_exchange_weak_explicit(&allocations, &now, now - 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
    }
}

static void stage(mlxn_residency_set *set) { atomic_store_explicit(&set->staged, true, memory_order_relaxed); }

/* The rest is called with the lock of the set held. */

static void link_into(mlxn_buffer **list, mlxn_buffer *buffer) {
    buffer->set.next = *list;
    buffer->set.link = list;
    if (*list) (*list)->set.link = &buffer->set.next;
    *list = buffer;
}

static void unlink_member(mlxn_buffer *buffer) {
    *buffer->set.link = buffer->set.next;
    if (buffer->set.next) buffer->set.next->set.link = buffer->set.link;
    buffer->set.next = NULL;
    buffer->set.link = NULL;
}

static void join(mlxn_residency_set *set, mlxn_buffer *buffer) {
    link_into(&set->members, buffer);
    buffer->set.member = true;
    set->count++;
    set->bytes += buffer->size;
}

static void end_membership(mlxn_residency_set *set, mlxn_buffer *buffer) {
    unlink_member(buffer);
    buffer->set.member = false;
    buffer->set.registrar = NULL;
    set->count--;
    set->bytes -= buffer->size;
    stage(set);
}

static void begin_leaving(mlxn_residency_set *set, mlxn_buffer *buffer) {
    buffer->set.leaving = true;
    set->pending++;
    ADD(waiting, 1);
}

static void end_leaving(mlxn_residency_set *set, mlxn_buffer *buffer) {
    if (buffer->set.listed) SUB(set->n_leaving, 1);
    buffer->set.leaving = buffer->set.listed = false;
    set->pending--;
    SUB(waiting, 1);
}

/* A member, taken out by a call. Handles alone do not keep it in. */
static void take_out(mlxn_residency_set *set, mlxn_buffer *buffer) {
    if (!mlxn_buffer_has_work(buffer)) {
        end_membership(set, buffer);
        return;
    }
    begin_leaving(set, buffer);
    unlink_member(buffer);
    link_into(&set->leaving, buffer);
    buffer->set.registrar = NULL;
    buffer->set.listed = true;
    ADD(set->n_leaving, 1);
}

/* ---- calls ---- */

void mlxn_residency_add(mlxn_buffer *buffer, const void *registrar) {
    mlxn_residency_set *set = &buffer->device->set;
    ADD(allocations, 1);
    pthread_mutex_lock(&set->lock);
    if (buffer->set.leaving) {
        end_leaving(set, buffer);
        unlink_member(buffer);
        link_into(&set->members, buffer);
    } else if (!buffer->set.member) {
        join(set, buffer);
    }
    if (registrar) buffer->set.registrar = registrar;
    stage(set);
    pthread_mutex_unlock(&set->lock);
}

void mlxn_residency_remove(mlxn_buffer *buffer) {
    mlxn_residency_set *set = &buffer->device->set;
    count_removal();
    pthread_mutex_lock(&set->lock);
    if (buffer->set.member && !buffer->set.leaving) take_out(set, buffer);
    stage(set);
    pthread_mutex_unlock(&set->lock);
}

void mlxn_residency_last_handle(mlxn_buffer *buffer) {
    mlxn_residency_set *set = &buffer->device->set;
    pthread_mutex_lock(&set->lock);
    if (buffer->set.member && !buffer->set.leaving) {
        begin_leaving(set, buffer); /* it stays in its list: mlxn_residency_leave comes with the memory's end */
        count_removal();
        stage(set);
    }
    pthread_mutex_unlock(&set->lock);
}

void mlxn_residency_leave(mlxn_buffer *buffer) {
    mlxn_residency_set *set = &buffer->device->set;
    pthread_mutex_lock(&set->lock);
    if (buffer->set.leaving) end_leaving(set, buffer);
    if (buffer->set.member) end_membership(set, buffer);
    pthread_mutex_unlock(&set->lock);
}

void mlxn_residency_remove_all(mlxn_device *device, const void *registrar) {
    mlxn_residency_set *set = &device->set;
    pthread_mutex_lock(&set->lock);
    for (mlxn_buffer *buffer = set->members, *next; buffer; buffer = next) {
        next = buffer->set.next;
        if (buffer->set.registrar != registrar || buffer->set.leaving) continue;
        count_removal();
        take_out(set, buffer);
        stage(set);
    }
    /* A later pool may have the address of this one. */
    for (mlxn_buffer *buffer = set->members; buffer; buffer = buffer->set.next)
        if (buffer->set.registrar == registrar) buffer->set.registrar = NULL;
    pthread_mutex_unlock(&set->lock);
}

bool mlxn_residency_is_member(mlxn_buffer *buffer) {
    mlxn_residency_set *set = &buffer->device->set;
    pthread_mutex_lock(&set->lock);
    bool member = buffer->set.member && !buffer->set.leaving;
    pthread_mutex_unlock(&set->lock);
    return member;
}

void mlxn_residency_settle(mlxn_device *device) {
    mlxn_residency_set *set = &device->set;
    if (!LOAD(set->n_leaving)) return;
    pthread_mutex_lock(&set->lock);
    for (mlxn_buffer *buffer = set->leaving, *next; buffer; buffer = next) {
        next = buffer->set.next;
        if (mlxn_buffer_has_work(buffer)) continue;
        end_leaving(set, buffer);
        end_membership(set, buffer);
    }
    pthread_mutex_unlock(&set->lock);
}

void mlxn_residency_flush(mlxn_device *device) {
    mlxn_residency_set *set = &device->set;
    if (!device->residency) return;
    mlxn_residency_settle(device);
    if (!LOAD(set->staged) || !atomic_exchange_explicit(&set->staged, false, memory_order_relaxed)) return;
    ADD(commits, 1);
    pthread_mutex_lock(&set->lock);
    set->commits++;
    pthread_mutex_unlock(&set->lock);
}

/* ---- queries ---- */

void mlxn_device_residency(mlxn_device *device, mlxn_residency_info *out) {
    if (!out) return;
    *out = (mlxn_residency_info){0};
    if (!device || !device->residency) return;
    mlxn_residency_set *set = &device->set;
    mlxn_residency_settle(device);
    pthread_mutex_lock(&set->lock);
    *out = (mlxn_residency_info){set->count, set->bytes, set->pending, set->commits};
    pthread_mutex_unlock(&set->lock);
}

bool mlxn_buffer_is_resident(mlxn_buffer *buffer) {
    if (!buffer || !buffer->device->residency) return false;
    mlxn_residency_settle(buffer->device);
    pthread_mutex_lock(&buffer->device->set.lock);
    bool member = buffer->set.member;
    pthread_mutex_unlock(&buffer->device->set.lock);
    return member;
}

uint64_t mlxn_residency_allocation_count(void) { return LOAD(allocations); }
uint64_t mlxn_residency_commit_count(void) { return LOAD(commits); }
uint64_t mlxn_residency_pending_count(void) { return LOAD(waiting); }
void mlxn_residency_reset_counters(void) {
    atomic_store_explicit(&allocations, 0, memory_order_relaxed);
    atomic_store_explicit(&commits, 0, memory_order_relaxed);
}
