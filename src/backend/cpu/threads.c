/* threads.c: the worker pool. All threads walk the segments of a job in step; a barrier ends each segment and each
 * phase. Threads spin for a bounded time, then park, so that an idle process uses no CPU. */
#include <errno.h>

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

/* How long a thread spins for the next barrier of a job, and for the next job. */
static const uint64_t spin_barrier_ns = 200000, spin_job_ns = 100000;

static inline void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns once *word differs from `old`. */
static void await_change(_Atomic uint32_t *word, uint32_t old, _Atomic uint32_t *sleepers, uint64_t spin_ns) {
    uint64_t deadline = 0;
    for (;;) {
        for (int i = 0; i < 256; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != old) return;
            pause_cpu();
        }
        uint64_t now = mlxn_now_ns();
        if (!deadline)
            deadline = now + spin_ns;
        else if (now > deadline)
            break;
    }
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == old) park(word, old);
    atomic_fetch_sub(sleepers, 1);
}

static void publish(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers) {
    atomic_store(word, value);
    if (atomic_load(sleepers)) unpark_all(word);
}

static void reset_items(cpu_program *program, const cpu_segment *segment) {
    for (size_t i = 0; i < segment->count; i++)
        for (uint32_t p = 0; p < CPU_MAX_PHASES; p++)
            atomic_store_explicit(&program->items[segment->first + i].next[p], 0, memory_order_relaxed);
}

/* Every thread of the job arrives; the last one readies the segment for its next launch and lets the others go. */
static void meet(cpu_device *device, cpu_program *program, const cpu_segment *finished) {
    if (device->n_threads == 1) {
        if (finished) reset_items(program, finished);
        return;
    }
    uint32_t generation = atomic_load_explicit(&device->barrier_generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&device->barrier_count, 1, memory_order_acq_rel) + 1 == device->n_threads) {
        if (finished) reset_items(program, finished);
        atomic_store_explicit(&device->barrier_count, 0, memory_order_relaxed);
        publish(&device->barrier_generation, generation + 1, &device->barrier_sleepers);
    } else {
        await_change(&device->barrier_generation, generation, &device->barrier_sleepers, spin_barrier_ns);
    }
}

static void run_item(cpu_device *device, cpu_item *item, uint32_t phase, uint32_t thread, uint8_t *local,
                     uint8_t *shared) {
    cpu_run run = {
        .args = item->args,
        .params = item->params,
        .thread = thread,
        .n_threads = device->n_threads,
        .phase = phase,
        .shared = shared + item->shared_offset,
        .local = local,
        .chunks = item->plan.chunks[phase],
        .next = &item->next[phase],
        .failure = &device->failure,
    };
    item->run(&run);
}

static void run_segments(cpu_device *device, cpu_job *job, uint32_t thread) {
    /* Copied: once the last barrier opens, the executor may already write the next job. */
    cpu_program *program = job->program;
    const size_t last = job->last;
    uint8_t *local = device->scratch + (uint64_t)thread * device->local_bytes;
    uint8_t *shared = device->scratch + (uint64_t)device->n_threads * device->local_bytes;
    for (size_t s = job->first; s < last; s++) {
        const cpu_segment *segment = &program->segments[s];
        cpu_item *items = &program->items[segment->first];
        if (segment->kind == CPU_SEGMENT_SERIAL) {
            if (thread == 0)
                for (size_t i = 0; i < segment->count; i++) run_item(device, &items[i], 0, 0, local, shared);
        } else {
            for (uint32_t phase = 0; phase < segment->phases; phase++) {
                if (phase) meet(device, program, NULL);
                for (size_t i = 0; i < segment->count; i++)
                    if (phase < items[i].plan.phases) run_item(device, &items[i], phase, thread, local, shared);
            }
        }
        meet(device, program, segment);
    }
}

static void run_chunks(cpu_device *device, cpu_job *job) {
    uint64_t chunk;
    while ((chunk = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed)) < job->chunks)
        job->fn(job->arg, chunk);
    meet(device, NULL, NULL);
}

static void run_job(cpu_device *device, uint32_t thread) {
    if (device->job.program)
        run_segments(device, &device->job, thread);
    else
        run_chunks(device, &device->job);
}

void cpu_threads_run(cpu_device *device) {
    if (device->n_threads > 1)
        publish(&device->job_generation, atomic_load_explicit(&device->job_generation, memory_order_relaxed) + 1,
                &device->job_sleepers);
    run_job(device, 0);
}

typedef struct worker_start {
    cpu_device *device;
    uint32_t thread;
} worker_start;

static void *worker(void *user) {
    worker_start start = *(worker_start *)user;
    mlxn_free(user);
    cpu_device *device = start.device;
    /* A job may have been published before this thread first looked; every job needs every thread. */
    for (uint32_t seen = 0;;) {
        await_change(&device->job_generation, seen, &device->job_sleepers, spin_job_ns);
        seen++;
        if (atomic_load(&device->stop)) return NULL;
        run_job(device, start.thread);
    }
}

mlxn_status cpu_threads_start(cpu_device *device, mlxn_error *error) {
    uint32_t n = device->n_threads - 1;
    device->workers = mlxn_alloc_array(n ? n : 1, sizeof *device->workers);
    if (!device->workers) return mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for %u workers", n);
    for (; device->n_workers < n; device->n_workers++) {
        worker_start *start = mlxn_alloc(sizeof *start);
        int rc = ENOMEM;
        if (start) {
            *start = (worker_start){device, device->n_workers + 1};
            rc = pthread_create(&device->workers[device->n_workers], NULL, worker, start);
        }
        if (rc) {
            mlxn_free(start);
            mlxn_fail_code(error, MLXN_ERR_DEVICE, rc,
                           "device: worker thread %u of %u could not be started (error %d)", device->n_workers + 1, n,
                           rc);
            cpu_threads_stop(device);
            return MLXN_ERR_DEVICE;
        }
    }
    return MLXN_OK;
}

void cpu_threads_stop(cpu_device *device) {
    atomic_store(&device->stop, true);
    publish(&device->job_generation, atomic_load(&device->job_generation) + 1, &device->job_sleepers);
    for (uint32_t i = 0; i < device->n_workers; i++) pthread_join(device->workers[i], NULL);
    mlxn_free(device->workers);
    device->workers = NULL;
    device->n_workers = 0;
}

void cpu_parallel(cpu_device *device, uint64_t chunks, void (*fn)(void *arg, uint64_t chunk), void *arg) {
    mlxn_queue_acquire(&device->queue);
    device->job.program = NULL;
    device->job.fn = fn;
    device->job.arg = arg;
    device->job.chunks = chunks;
    atomic_store_explicit(&device->job.next, 0, memory_order_relaxed);
    cpu_threads_run(device);
    mlxn_queue_release(&device->queue);
}
