/* device.h: the CPU device and its programs, shared by the files of this folder. */
#ifndef MLXN_SRC_CPU_DEVICE_H
#define MLXN_SRC_CPU_DEVICE_H

#include "backend/cpu/cpu.h"
#include "core/host_queue.h"

/* One dispatch, copy or fill, planned. */
typedef struct cpu_item {
    void (*run)(cpu_run *run);
    const mlxn_view *args;
    const void *params; /* of the op, or a launch of a user's kernel; the node itself for copies, fills, references */
    cpu_plan plan;
    uint64_t shared_offset;
    _Atomic uint64_t next[CPU_MAX_PHASES];
} cpu_item;

typedef enum cpu_segment_kind {
    CPU_SEGMENT_GROUP,  /* items that do not conflict: all threads, phase by phase */
    CPU_SEGMENT_SERIAL, /* items too small to share, in order: the first thread */
    CPU_SEGMENT_SYNC,   /* wait or signal */
    CPU_SEGMENT_LAUNCH
} cpu_segment_kind;

typedef struct cpu_segment {
    cpu_segment_kind kind;
    uint32_t phases;
    size_t first, count; /* items */
    const mlxn_node *node;
} cpu_segment;

typedef struct cpu_program {
    cpu_item *items;
    cpu_segment *segments;
    size_t n_items, n_segments, item_capacity, segment_capacity;
    uint64_t shared_bytes, local_bytes;
} cpu_program;

/* What the threads share at present: a phase of some items, or (fn != NULL) chunks of a function. */
typedef struct cpu_task {
    cpu_item *items;
    size_t count;
    uint32_t phase;
    mlxn_sample *samples; /* of the items, NULL when nobody listens */
    void (*fn)(void *arg, uint64_t chunk);
    void *arg;
    uint64_t chunks;
    _Atomic uint64_t next;
} cpu_task;

typedef struct cpu_slab cpu_slab;

struct cpu_device {
    mlxn_device *owner;
    uint32_t n_threads, isa;
    char name[128];
    pthread_t *workers;
    uint32_t n_workers;

    /* The threads and the scratch serve one of the queues, or one call of cpu_parallel, at a time; first come, first
     * served. */
    pthread_mutex_t turn_lock;
    pthread_cond_t turn_changed;
    uint64_t turn_next, turn_now;

    /* Threads meet here: see threads.c. */
    _Alignas(64) _Atomic uint64_t state; /* epoch and workers inside */
    _Alignas(64) _Atomic uint32_t wake_generation;
    _Atomic uint32_t sleepers;
    _Atomic int waker_processor; /* of the thread that woke workers last, -1 if unknown */
    _Atomic bool stop;
    cpu_task task;
    _Atomic int failure;                  /* mlxn_status of an operation that failed, 0 if none */
    const char *_Atomic failed_operation; /* its name, NULL if unknown */

    uint8_t *scratch; /* local of each thread, then shared */
    uint64_t scratch_bytes;
    _Atomic uint64_t local_bytes, shared_bytes;

    pthread_mutex_t slab_lock;
    cpu_slab *slab; /* the one that has room */
};

/* backend.c: the function of the device's queues. Runs segments until the end or an unreached wait. */
mlxn_run_result cpu_queue_run(void *impl, mlxn_command_buffer *cb, mlxn_timeline **timeline, mlxn_error *error);

/* threads.c */
mlxn_status cpu_threads_start(cpu_device *device, mlxn_error *error);
void cpu_threads_stop(cpu_device *device);
/* Waits for this thread's turn to use the threads and the scratch; release gives it to the next. */
void cpu_turn_acquire(cpu_device *device);
void cpu_turn_release(cpu_device *device);
/* Runs segments [first, last), which compute, and fills the samples of cb if it has some. The caller is the executor.
 */
void cpu_threads_run(cpu_device *device, mlxn_command_buffer *cb, cpu_program *program, size_t first, size_t last);

/* program.c */
mlxn_status cpu_program_create(void *impl, const mlxn_node *nodes, size_t n, void **program, mlxn_error *error);
void cpu_program_destroy(void *impl, void *program);
bool cpu_program_update(void *impl, void *program, const mlxn_node *node, size_t i);
/* Grows the device's scratch to what the program needs. The caller is the executor. */
mlxn_status cpu_scratch_reserve(cpu_device *device, const cpu_program *program, mlxn_error *error);

/* user_kernel.c */
mlxn_status cpu_kernel_prepare(void *impl, const struct mlxn_kernel *kernel, const void *cached,
                               uint64_t cached_bytes, void **prepared, void **blob, uint64_t *blob_bytes,
                               mlxn_error *error);
void cpu_kernel_release(void *impl, void *prepared);
void cpu_user_kernel_plan(const mlxn_kernel_launch *launch, uint32_t n_threads, cpu_plan *out);
void cpu_user_kernel_run(cpu_run *run); /* params: the launch */

/* isa.c */
uint32_t cpu_detect_isa(void);
void cpu_detect_name(char *out, size_t size);
uint32_t cpu_available_cores(void);

/* kernels.c */
const mlxn_kernel_row *cpu_kernel_rows(size_t *count);

/* peak.c: what all threads of the device reach together, for profiles. Both hold the device's queue while they
 * measure: work submitted meanwhile waits. On failure the figures are 0. Errors: MEMORY, LIMIT. */
/* Operations in registers, a multiply-add counting as two; some 60 ms. */
mlxn_status cpu_measure_peak(cpu_device *device, double *f32_flops, double *int8_ops, mlxn_error *error);
/* Reading 256 MB, which is pages of the system for as long as it takes (some tenths of a second). */
mlxn_status cpu_measure_bandwidth(cpu_device *device, double *bytes_per_second, mlxn_error *error);

/* slab.c */
void *cpu_pages_alloc(uint64_t bytes, bool huge); /* zeroed, page-aligned; NULL on failure */
void cpu_pages_free(void *memory, uint64_t bytes);
void cpu_slabs_close(cpu_device *device);

#endif
