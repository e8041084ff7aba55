/* host_queue.c: the in-order software queue of host_queue.h. */
#include "core/host_queue.h"

#include <errno.h>
#include <time.h>

enum { SPINS = 500 };

/* With the lock held: there may be something to do for the queue's thread. True: it sleeps, and the caller wakes it
 * with pthread_cond_signal, best when it has given the lock up. */
static bool tell(mlxn_host_queue *queue) {
    atomic_fetch_add_explicit(&queue->news, 1, memory_order_relaxed);
    return queue->sleeping;
}

static void unblock(void *user) {
    mlxn_host_queue *queue = user;
    pthread_mutex_lock(&queue->lock);
    queue->blocked = false;
    if (tell(queue)) pthread_cond_signal(&queue->work);
    pthread_cond_broadcast(&queue->done);
    pthread_mutex_unlock(&queue->lock);
}

/* With the lock held: runs the first command buffer if that is possible now. The lock is given up meanwhile. *gone
 * tells that the queue died with its last command buffer: then the lock is not held and the queue must not be
 * touched. */
static bool step(mlxn_host_queue *queue, bool *gone) {
    if (queue->executing || queue->blocked || !queue->head) return false;
    queue->executing = true;
    mlxn_command_buffer *cb = queue->head;
    pthread_mutex_unlock(&queue->lock);

    mlxn_error failure;
    mlxn_timeline *timeline = NULL;
    if (cb->timed && !cb->ran_ns[0]) cb->ran_ns[0] = mlxn_now_ns();
    mlxn_run_result result = queue->run(queue->impl, cb, &timeline, &failure);
    if (cb->timed) cb->ran_ns[1] = mlxn_now_ns();
    if (result == MLXN_RUN_BLOCKED) {
        cb->listener.fn = unblock;
        cb->listener.user = queue;
        pthread_mutex_lock(&queue->lock);
        queue->executing = false;
        queue->blocked = true;
        pthread_mutex_unlock(&queue->lock);
        bool waits = mlxn_timeline_listen(timeline, &cb->listener);
        pthread_mutex_lock(&queue->lock);
        if (!waits) queue->blocked = false;
        return true;
    }
    mlxn_cb_finish(cb, result == MLXN_RUN_FAILED ? &failure : NULL);

    pthread_mutex_lock(&queue->lock);
    queue->head = cb->next;
    if (!queue->head) queue->tail = NULL;
    queue->executing = false;
    pthread_cond_broadcast(&queue->done);
    pthread_mutex_unlock(&queue->lock);
    mlxn_command_buffer_release(&cb); /* may be the last thing that keeps the device alive */
    if (gone && *gone) return true;
    pthread_mutex_lock(&queue->lock);
    return true;
}

/* With the lock held and nothing to do: watches for news for some microseconds without it, then sleeps. Whoever
 * commits one command buffer after the other then pays no thread switch for each, and an idle queue costs nothing. */
static void rest(mlxn_host_queue *queue) {
    uint32_t seen = atomic_load_explicit(&queue->news, memory_order_relaxed);
    if (queue->spin) {
        queue->spin = false; /* until there was work again */
        pthread_mutex_unlock(&queue->lock);
        for (int i = 0; i < SPINS && atomic_load_explicit(&queue->news, memory_order_relaxed) == seen; i++)
            mlxn_cpu_relax();
        pthread_mutex_lock(&queue->lock);
    }
    if (atomic_load_explicit(&queue->news, memory_order_relaxed) != seen) return;
    queue->sleeping = true;
    pthread_cond_wait(&queue->work, &queue->lock);
    queue->sleeping = false;
}

static void *queue_thread(void *user) {
    mlxn_host_queue *queue = user;
    bool gone = false;
    pthread_mutex_lock(&queue->lock);
    queue->gone = &gone;
    while (!queue->stop) {
        bool stepped = step(queue, &gone);
        if (gone) return NULL; /* the queue died with what it ran */
        if (stepped)
            queue->spin = true;
        else
            rest(queue);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

mlxn_status mlxn_host_queue_create(mlxn_host_queue_run_fn run, void *impl, void **out, mlxn_error *error) {
    mlxn_host_queue *queue = mlxn_alloc(sizeof *queue);
    if (!queue) return mlxn_fail(error, MLXN_ERR_MEMORY, "queue: out of memory for the host's queue");
    queue->run = run;
    queue->impl = impl;
    mlxn_short_lock_init(&queue->lock);
    pthread_cond_init(&queue->work, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->done, &attr);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&queue->thread, NULL, queue_thread, queue);
    if (!rc) {
        *out = queue;
        return MLXN_OK;
    }
    pthread_cond_destroy(&queue->done);
    pthread_cond_destroy(&queue->work);
    pthread_mutex_destroy(&queue->lock);
    mlxn_free(queue);
    return mlxn_fail_code(error, MLXN_ERR_DEVICE, rc, "queue: its thread could not be started (error %d)", rc);
}

void mlxn_host_queue_destroy(void *impl, void *handle) {
    mlxn_host_queue *queue = handle;
    if (pthread_equal(pthread_self(), queue->thread)) {
        *queue->gone = true;
        pthread_detach(queue->thread);
    } else {
        pthread_mutex_lock(&queue->lock);
        queue->stop = true;
        if (tell(queue)) pthread_cond_signal(&queue->work);
        pthread_mutex_unlock(&queue->lock);
        pthread_join(queue->thread, NULL);
    }
    pthread_cond_destroy(&queue->done);
    pthread_cond_destroy(&queue->work);
    pthread_mutex_destroy(&queue->lock);
    mlxn_free(queue);
}

mlxn_status mlxn_host_queue_submit(void *impl, void *handle, mlxn_command_buffer *cb, bool will_wait,
                                   mlxn_error *error) {
    mlxn_host_queue *queue = handle;
    mlxn_command_buffer_retain(cb);
    pthread_mutex_lock(&queue->lock);
    cb->next = NULL;
    if (queue->tail)
        queue->tail->next = cb;
    else
        queue->head = cb;
    queue->tail = cb;
    bool wake = !will_wait && tell(queue);
    pthread_mutex_unlock(&queue->lock);
    if (wake) pthread_cond_signal(&queue->work);
    return MLXN_OK;
}

bool mlxn_host_queue_wait(void *impl, void *handle, mlxn_command_buffer *cb, uint64_t timeout_ns) {
    mlxn_host_queue *queue = handle;
    bool bounded = timeout_ns != UINT64_MAX, expired = false;
    struct timespec until = {0};
    if (bounded) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t seconds = mlxn_min_u64(timeout_ns / 1000000000u, 1000000000u);
        uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns % 1000000000u;
        until.tv_sec += (time_t)(seconds + ns / 1000000000u);
        until.tv_nsec = (long)(ns % 1000000000u);
    }
    pthread_mutex_lock(&queue->lock);
    while (mlxn_command_buffer_state(cb) == MLXN_CB_COMMITTED && !expired) {
        /* A bounded wait cannot lend its thread: what it would run may take longer. */
        if (bounded) {
            if (tell(queue)) pthread_cond_signal(&queue->work);
            expired = pthread_cond_timedwait(&queue->done, &queue->lock, &until) == ETIMEDOUT;
        } else if (!step(queue, NULL)) {
            pthread_cond_wait(&queue->done, &queue->lock);
        }
    }
    if (queue->head && tell(queue))
        pthread_cond_signal(&queue->work); /* the rest is the queue's own thread's again */
    pthread_mutex_unlock(&queue->lock);
    return mlxn_command_buffer_state(cb) != MLXN_CB_COMMITTED;
}

mlxn_run_result mlxn_host_queue_sync(mlxn_command_buffer *cb, const mlxn_node *node, mlxn_timeline **timeline,
                                     mlxn_error *error) {
    mlxn_timeline *t = node->u.sync.timeline;
    if (node->kind == MLXN_NODE_SIGNAL) {
        mlxn_timeline_reach(t, node->u.sync.value, NULL);
        return MLXN_RUN_DONE;
    }
    switch (mlxn_timeline_poll(t, node->u.sync.value, error)) {
        case MLXN_REACHED:
            return MLXN_RUN_DONE;
        case MLXN_REACHED_FAILED:
            mlxn_error_prefix(error, "waited for fence %llu, which failed", (unsigned long long)node->u.sync.value);
            return MLXN_RUN_FAILED;
        default:
            cb->listener.value = node->u.sync.value;
            *timeline = t;
            return MLXN_RUN_BLOCKED;
    }
}
