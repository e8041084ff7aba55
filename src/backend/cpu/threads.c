/* threads.c: the worker pool. The executing thread walks the segments; for each one that is worth sharing it opens an
 * epoch, in which workers take chunks beside it, and goes on when all that was taken is done. Workers spin for a
 * bounded time, then park, so that an idle process uses no CPU. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>

#include "backend/cpu/device.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
static void park(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}
static void unpark_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}
#else
/* One lock for all parked threads: correct everywhere, and parking is the slow path. */
static pthread_mutex_t park_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t park_changed = PTHREAD_COND_INITIALIZER;
static void park(_Atomic uint32_t *word, uint32_t expected) {
    pthread_mutex_lock(&park_lock);
    while (atomic_load(word) == expected) pthread_cond_wait(&park_changed, &park_lock);
    pthread_mutex_unlock(&park_lock);
}
static void unpark_all(_Atomic uint32_t *word) {
    pthread_mutex_lock(&park_lock);
    pthread_cond_broadcast(&park_changed);
    pthread_mutex_unlock(&park_lock);
}
#endif

/* A system may wake a parked worker on the processor of the thread that wakes it, although others are idle (seen in
 * virtual machines, after pauses of some milliseconds). Both then share one processor for many milliseconds, because
 * neither ever sleeps long. So the waking thread says where it runs, and a worker that finds itself there moves away:
 * it forbids itself that processor and at once allows it again, which keeps the affinity that its user chose. */
#if defined(__linux__)
static int this_processor(void) { return sched_getcpu(); }
static void leave_processor(int processor) {
    cpu_set_t allowed, others;
    if (processor < 0 || processor >= CPU_SETSIZE || sched_getcpu() != processor) return;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    others = allowed;
    CPU_CLR((size_t)processor, &others);
    if (!CPU_COUNT(&others) || sched_setaffinity(0, sizeof others, &others)) return;
    (void)sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
static int this_processor(void) { return -1; }
static void leave_processor(int processor) { (void)processor; }
#endif

/* How long a worker spins for more to do before it parks. */
static const uint64_t spin_ns = 100000;
/* How long the executor spins for a worker that still computes before it offers its processor to it. */
enum { SPINS_BEFORE_YIELD = 4096 };

/* The state word: an epoch and, below it, the number of workers inside. Workers may enter while the epoch is even
 * (open); the executor closes it when nobody is inside. */
enum { INSIDE_BITS = 16 };
static inline bool is_open(uint64_t state) { return !((state >> INSIDE_BITS) & 1); }
static inline uint64_t epoch_of(uint64_t state) { return state >> INSIDE_BITS; }

static void open_epoch(cpu_device *device) {
    uint64_t closed = atomic_load_explicit(&device->state, memory_order_relaxed);
    atomic_store(&device->state, (epoch_of(closed) + 1) << INSIDE_BITS);
    if (atomic_load(&device->sleepers)) {
        atomic_store_explicit(&device->waker_processor, this_processor(), memory_order_relaxed);
        atomic_fetch_add(&device->wake_generation, 1);
        unpark_all(&device->wake_generation);
    }
}

/* Returns once no worker is inside: everything that was taken is done, and nobody can come in any more. */
static void close_epoch(cpu_device *device) {
    for (uint32_t spins = 0;; spins++) {
        uint64_t state = atomic_load_explicit(&device->state, memory_order_relaxed);
        uint64_t empty = epoch_of(state) << INSIDE_BITS;
        if (state == empty &&
            atomic_compare_exchange_weak_explicit(&device->state, &state, (epoch_of(state) + 1) << INSIDE_BITS,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return;
        if (spins < SPINS_BEFORE_YIELD)
            mlxn_cpu_relax();
        else
            sched_yield(); /* the worker may have lost its processor */
    }
}

static inline void run_item(cpu_device *device, const cpu_task *task, cpu_item *item, uint32_t thread) {
    cpu_run run = {
        .args = item->args,
        .params = item->params,
        .thread = thread,
        .n_threads = device->n_threads,
        .phase = task->phase,
        .shared = device->scratch + (uint64_t)device->n_threads * device->local_bytes + item->shared_offset,
        .local = device->scratch + (uint64_t)thread * device->local_bytes,
        .chunks = item->plan.chunks[task->phase],
        .next = &item->next[task->phase],
        .failed_operation = &device->failed_operation,
        .failure = &device->failure,
    };
    item->run(&run);
}

static void run_items(cpu_device *device, const cpu_task *task, uint32_t thread) {
    for (size_t i = 0; i < task->count; i++)
        if (task->phase < task->items[i].plan.phases) run_item(device, task, &task->items[i], thread);
}

/* The same, timed. A thread that finds nothing left of an item leaves no trace in its sample. What follows an item at
 * once begins when that ended: one look at the clock for both. */
static void run_items_sampled(cpu_device *device, const cpu_task *task, uint32_t thread) {
    uint64_t now = 0;
    for (size_t i = 0; i < task->count; i++) {
        cpu_item *item = &task->items[i];
        mlxn_sample *sample = &task->samples[i];
        if (task->phase >= item->plan.phases) continue;
        uint64_t seen = __atomic_load_n(&sample->start_ns, __ATOMIC_RELAXED);
        uint64_t taken = atomic_load_explicit(&item->next[task->phase], memory_order_relaxed);
        if (seen && taken >= item->plan.chunks[task->phase]) continue;
        const uint64_t begun = now ? now : mlxn_now_ns();
        while ((!seen || begun < seen) && !__atomic_compare_exchange_n(&sample->start_ns, &seen, begun, true,
                                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
        run_item(device, task, item, thread);
        const uint64_t ended = now = mlxn_now_ns();
        uint64_t last = __atomic_load_n(&sample->end_ns, __ATOMIC_RELAXED);
        while (last < ended && !__atomic_compare_exchange_n(&sample->end_ns, &last, ended, true, __ATOMIC_RELAXED,
                                                            __ATOMIC_RELAXED)) {
        }
        __atomic_fetch_add(&sample->busy_ns, ended - begun, __ATOMIC_RELAXED);
    }
}

static void run_task(cpu_device *device, uint32_t thread) {
    cpu_task *task = &device->task;
    if (!task->fn) {
        if (task->samples)
            run_items_sampled(device, task, thread);
        else
            run_items(device, task, thread);
        return;
    }
    uint64_t chunk;
    while ((chunk = atomic_fetch_add_explicit(&task->next, 1, memory_order_relaxed)) < task->chunks)
        task->fn(task->arg, chunk);
}

/* The executor's part of a task that is worth sharing: workers that are awake join in, nobody is waited for but those
 * who did. A worker that the system keeps from running therefore costs its help, not our time. */
static void share_task(cpu_device *device) {
    if (device->n_threads > 1) open_epoch(device);
    run_task(device, 0);
    if (device->n_threads > 1) close_epoch(device);
}

static void reset_items(cpu_item *items, size_t count, uint32_t phase) {
    for (size_t i = 0; i < count; i++) atomic_store_explicit(&items[i].next[phase], 0, memory_order_relaxed);
}

void cpu_threads_run(cpu_device *device, mlxn_command_buffer *cb, cpu_program *program, size_t first, size_t last) {
    cpu_task *task = &device->task;
    task->fn = NULL;
    for (size_t s = first; s < last; s++) {
        const cpu_segment *segment = &program->segments[s];
        task->items = &program->items[segment->first];
        task->count = segment->count;
        task->samples = mlxn_cb_take_samples(cb, segment->count);
        for (task->phase = 0; task->phase < segment->phases; task->phase++) {
            reset_items(task->items, task->count, task->phase);
            if (segment->kind == CPU_SEGMENT_SERIAL)
                run_task(device, 0);
            else
                share_task(device);
        }
    }
}

typedef struct worker_start {
    cpu_device *device;
    uint32_t thread;
} worker_start;

/* Waits for an open epoch other than `seen`; false when the device stops. */
static bool await_open(cpu_device *device, uint64_t seen, uint64_t *state) {
    uint64_t deadline = 0;
    for (;;) {
        for (int i = 0; i < 256; i++) {
            *state = atomic_load_explicit(&device->state, memory_order_acquire);
            if (is_open(*state) && epoch_of(*state) != seen) return true;
            mlxn_cpu_relax();
        }
        if (atomic_load(&device->stop)) return false;
        uint64_t now = mlxn_now_ns();
        if (!deadline) deadline = now + spin_ns;
        if (now <= deadline) continue;
        /* Announce first, then look again: whoever opens an epoch after this look sees the announcement. */
        uint32_t generation = atomic_load(&device->wake_generation);
        atomic_fetch_add(&device->sleepers, 1);
        *state = atomic_load(&device->state);
        if (!atomic_load(&device->stop) && !(is_open(*state) && epoch_of(*state) != seen))
            park(&device->wake_generation, generation);
        atomic_fetch_sub(&device->sleepers, 1);
        if (atomic_load(&device->wake_generation) != generation)
            leave_processor(atomic_load_explicit(&device->waker_processor, memory_order_relaxed));
        deadline = 0;
    }
}

static void *worker(void *user) {
    worker_start start = *(worker_start *)user;
    mlxn_free(user);
    cpu_device *device = start.device;
    uint64_t seen = UINT64_MAX, state;
    while (await_open(device, seen, &state)) {
        if (!atomic_compare_exchange_strong_explicit(&device->state, &state, state + 1, memory_order_acq_rel,
                                                     memory_order_relaxed))
            continue; /* closed, or another worker came in: look again */
        seen = epoch_of(state);
        run_task(device, start.thread);
        atomic_fetch_sub_explicit(&device->state, 1, memory_order_release);
    }
    return NULL;
}

mlxn_status cpu_threads_start(cpu_device *device, mlxn_error *error) {
    uint32_t n = device->n_threads - 1;
    device->workers = mlxn_alloc_array(n ? n : 1, sizeof *device->workers);
    if (!device->workers) return mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for %u workers", n);
    while (device->n_workers < n) {
        const uint32_t number = device->n_workers + 1;
        mlxn_status status = MLXN_OK;
        worker_start *start = mlxn_alloc(sizeof *start);
        if (!start) {
            status = mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for worker thread %u of %u", number, n);
        } else {
            *start = (worker_start){device, number};
            int rc = pthread_create(&device->workers[number - 1], NULL, worker, start);
            if (rc) {
                mlxn_free(start);
                status =
                    mlxn_fail_code(error, MLXN_ERR_DEVICE, rc,
                                   "device: worker thread %u of %u could not be started (error %d)", number, n, rc);
            }
        }
        if (status) {
            cpu_threads_stop(device);
            return status;
        }
        device->n_workers = number;
    }
    return MLXN_OK;
}

void cpu_threads_stop(cpu_device *device) {
    atomic_store(&device->stop, true);
    atomic_fetch_add(&device->wake_generation, 1);
    unpark_all(&device->wake_generation);
    for (uint32_t i = 0; i < device->n_workers; i++) pthread_join(device->workers[i], NULL);
    mlxn_free(device->workers);
    device->workers = NULL;
    device->n_workers = 0;
}

void cpu_turn_acquire(cpu_device *device) {
    pthread_mutex_lock(&device->turn_lock);
    uint64_t mine = device->turn_next++;
    while (device->turn_now != mine) pthread_cond_wait(&device->turn_changed, &device->turn_lock);
    pthread_mutex_unlock(&device->turn_lock);
}

void cpu_turn_release(cpu_device *device) {
    pthread_mutex_lock(&device->turn_lock);
    device->turn_now++;
    if (device->turn_now != device->turn_next) pthread_cond_broadcast(&device->turn_changed);
    pthread_mutex_unlock(&device->turn_lock);
}

void cpu_parallel(cpu_device *device, uint64_t chunks, void (*fn)(void *arg, uint64_t chunk), void *arg) {
    cpu_turn_acquire(device);
    device->task.fn = fn;
    device->task.arg = arg;
    device->task.chunks = chunks;
    atomic_store_explicit(&device->task.next, 0, memory_order_relaxed);
    share_task(device);
    cpu_turn_release(device);
}
