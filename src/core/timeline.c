/* timeline.c: monotonic 64-bit values with host wait, listeners for queues, and failed fences. */
#include <errno.h>
#include <time.h>

#include "core/core.h"

mlxn_status mlxn_timeline_create(mlxn_device *device, mlxn_timeline **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "timeline: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "timeline: device is NULL");
    mlxn_timeline *t = mlxn_alloc(sizeof *t);
    if (!t) return mlxn_fail(error, MLXN_ERR_MEMORY, "timeline: out of memory");
    atomic_init(&t->refs, 1);
    atomic_init(&t->value, 0);
    mlxn_short_lock_init(&t->lock);
    pthread_mutex_init(&t->order, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    *out = t;
    return mlxn_succeed(error);
}

mlxn_timeline *mlxn_timeline_retain(mlxn_timeline *timeline) {
    if (timeline) atomic_fetch_add_explicit(&timeline->refs, 1, memory_order_relaxed);
    return timeline;
}

void mlxn_timeline_release(mlxn_timeline **handle) {
    if (!handle || !*handle) return;
    mlxn_timeline *t = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) return;
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->order);
    mlxn_free(t->failures);
    mlxn_free(t);
}

uint64_t mlxn_timeline_value(const mlxn_timeline *timeline) {
    return timeline ? atomic_load_explicit(&timeline->value, memory_order_acquire) : 0;
}

/* With the lock held. */
static mlxn_reach reach_of(const mlxn_timeline *t, uint64_t value, mlxn_error *failure) {
    if (atomic_load_explicit(&t->value, memory_order_relaxed) < value) return MLXN_NOT_REACHED;
    for (size_t i = 0; i < t->n_failures; i++)
        if (value > t->failures[i].after && value <= t->failures[i].value) {
            if (failure) *failure = t->failures[i].error;
            return MLXN_REACHED_FAILED;
        }
    if (t->failures_lost) {
        mlxn_fail(failure, MLXN_ERR_EXECUTION,
                  "timeline: an earlier fence failed (its text was lost: out of memory)");
        return MLXN_REACHED_FAILED;
    }
    return MLXN_REACHED;
}

mlxn_reach mlxn_timeline_poll(mlxn_timeline *timeline, uint64_t value, mlxn_error *failure) {
    /* A failure is noted before the value moves past it. */
    if (atomic_load_explicit(&timeline->value, memory_order_acquire) < value) return MLXN_NOT_REACHED;
    if (!atomic_load_explicit(&timeline->failed, memory_order_relaxed)) return MLXN_REACHED;
    pthread_mutex_lock(&timeline->lock);
    mlxn_reach reach = reach_of(timeline, value, failure);
    pthread_mutex_unlock(&timeline->lock);
    return reach;
}

/* With the lock held. */
static void note_failure(mlxn_timeline *t, uint64_t after, uint64_t value, bool deferred, const mlxn_error *failure) {
    atomic_store_explicit(&t->failed, true, memory_order_relaxed);
    mlxn_fence_failure *grown = mlxn_realloc_array(t->failures, t->n_failures + 1, sizeof *grown);
    if (grown) {
        t->failures = grown;
        grown[t->n_failures++] =
            (mlxn_fence_failure){.after = after, .value = value, .deferred = deferred, .error = *failure};
    } else {
        t->failures_lost = true;
    }
}

/* With the lock held: moves on, past deferred failures too; returns the listeners to call. */
static mlxn_timeline_listener *advance(mlxn_timeline *t, uint64_t value) {
    for (size_t i = 0; i < t->n_failures; i++) { /* in the order in which they were noted, which is that of values */
        mlxn_fence_failure *f = &t->failures[i];
        if (!f->deferred || f->after > value) continue;
        f->deferred = false;
        value = mlxn_max_u64(value, f->value);
    }
    atomic_store_explicit(&t->value, value, memory_order_release);
    mlxn_timeline_listener *fire = NULL;
    for (mlxn_timeline_listener **at = &t->listeners; *at;) {
        mlxn_timeline_listener *l = *at;
        if (l->value > value) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        l->next = fire;
        fire = l;
    }
    pthread_cond_broadcast(&t->changed);
    return fire;
}

/* Outside the lock: a listener takes its queue's lock. */
static void call(mlxn_timeline_listener *fire) {
    while (fire) {
        mlxn_timeline_listener *next = fire->next;
        fire->fn(fire->user);
        fire = next;
    }
}

void mlxn_timeline_reach(mlxn_timeline *t, uint64_t value, const mlxn_error *failure) {
    pthread_mutex_lock(&t->lock);
    uint64_t now = atomic_load_explicit(&t->value, memory_order_relaxed);
    mlxn_timeline_listener *fire = NULL;
    if (value > now) {
        if (failure) note_failure(t, now, value, false, failure);
        fire = advance(t, value);
    }
    pthread_mutex_unlock(&t->lock);
    call(fire);
}

void mlxn_timeline_fail_after(mlxn_timeline *t, uint64_t after, uint64_t value, const mlxn_error *failure) {
    pthread_mutex_lock(&t->lock);
    uint64_t now = atomic_load_explicit(&t->value, memory_order_relaxed);
    mlxn_timeline_listener *fire = NULL;
    if (value > now) {
        size_t noted = t->n_failures;
        note_failure(t, after, value, now < after, failure);
        if (now >= after || t->n_failures == noted) fire = advance(t, value);
    }
    pthread_mutex_unlock(&t->lock);
    call(fire);
}

bool mlxn_timeline_listen(mlxn_timeline *t, mlxn_timeline_listener *listener) {
    pthread_mutex_lock(&t->lock);
    bool waits = atomic_load_explicit(&t->value, memory_order_relaxed) < listener->value;
    if (waits) {
        listener->next = t->listeners;
        t->listeners = listener;
    }
    pthread_mutex_unlock(&t->lock);
    return waits;
}

void mlxn_timeline_signal(mlxn_timeline *timeline, uint64_t value) {
    if (timeline) mlxn_timeline_reach(timeline, value, NULL);
}

void mlxn_timeline_fail(mlxn_timeline *timeline, uint64_t value, const char *message) {
    if (!timeline) return;
    mlxn_error failure;
    mlxn_fail(&failure, MLXN_ERR_EXECUTION, "%s", message && *message ? message : "given up by its owner");
    mlxn_timeline_reach(timeline, value, &failure);
}

mlxn_status mlxn_timeline_wait(mlxn_timeline *t, uint64_t value, uint64_t timeout_ns, mlxn_error *error) {
    if (!t) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "timeline wait: timeline is NULL");
    struct timespec until;
    bool bounded = timeout_ns != UINT64_MAX;
    if (bounded) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t seconds = timeout_ns / 1000000000u, ns = (uint64_t)until.tv_nsec + timeout_ns % 1000000000u;
        until.tv_sec += (time_t)(seconds < 1000000000u ? seconds : 1000000000u) + (time_t)(ns / 1000000000u);
        until.tv_nsec = (long)(ns % 1000000000u);
    }
    mlxn_error failure;
    pthread_mutex_lock(&t->lock);
    mlxn_reach reach;
    int rc = 0;
    while ((reach = reach_of(t, value, &failure)) == MLXN_NOT_REACHED && rc != ETIMEDOUT)
        rc = bounded ? pthread_cond_timedwait(&t->changed, &t->lock, &until)
                     : pthread_cond_wait(&t->changed, &t->lock);
    uint64_t now = atomic_load_explicit(&t->value, memory_order_relaxed);
    pthread_mutex_unlock(&t->lock);
    if (reach == MLXN_REACHED) return mlxn_succeed(error);
    if (reach == MLXN_REACHED_FAILED) {
        if (error) *error = failure;
        return failure.status;
    }
    return mlxn_fail(error, MLXN_ERR_TIMEOUT, "timeline wait: value is %llu after %.3f s, want %llu",
                     (unsigned long long)now, (double)timeout_ns * 1e-9, (unsigned long long)value);
}
