/* backend.c: the CPU backend: its life, memory, weights and queue. */
#include "backend/cpu/backend.h"

#include <inttypes.h>
#include <unistd.h>

#include "backend/cpu/device.h"

enum { PAGE_THRESHOLD = 256 << 10, MAX_THREADS = 256 };

static uint32_t device_count(mlxn_error *error) {
    mlxn_succeed(error);
    return 1;
}

mlxn_run_result cpu_queue_run(void *impl, mlxn_command_buffer *cb, mlxn_timeline **timeline, mlxn_error *error) {
    cpu_device *device = impl;
    cpu_program *program = cb->program;
    while (cb->cursor < program->n_segments) {
        cpu_segment *segment = &program->segments[cb->cursor];
        if (segment->kind == CPU_SEGMENT_SYNC) {
            mlxn_run_result result = mlxn_host_queue_sync(cb, segment->node, timeline, error);
            if (result != MLXN_RUN_DONE) return result;
            cb->cursor++;
            continue;
        }
        cpu_program *part = program;
        size_t first = cb->cursor, last;
        if (segment->kind == CPU_SEGMENT_LAUNCH) {
            part = segment->node->u.launch->program;
            first = 0;
            last = part->n_segments;
            cb->cursor++;
        } else {
            while (cb->cursor < program->n_segments && program->segments[cb->cursor].kind <= CPU_SEGMENT_SERIAL)
                cb->cursor++;
            last = cb->cursor;
        }
        cpu_turn_acquire(device);
        if (cb->samples && !cb->start_ns) cb->start_ns = mlxn_now_ns();
        cpu_threads_run(device, cb, part, first, last);
        if (cb->samples) cb->end_ns = mlxn_now_ns();
        int failure = atomic_exchange(&device->failure, 0);
        const char *name = atomic_exchange(&device->failed_operation, NULL);
        cpu_turn_release(device);
        if (failure) {
            mlxn_fail(error, MLXN_ERR_EXECUTION, "cpu: %s failed: %s", name ? name : "an operation",
                      mlxn_status_text((mlxn_status)failure));
            return MLXN_RUN_FAILED;
        }
    }
    if (cb->samples && !cb->start_ns) cb->start_ns = cb->end_ns = mlxn_now_ns(); /* nothing in it computes */
    return MLXN_RUN_DONE;
}

static mlxn_status open_device(mlxn_device *owner, const mlxn_device_desc *desc, void **impl, mlxn_error *error) {
    if (desc->threads > MAX_THREADS)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "device: threads is %u, want at most %d", desc->threads,
                         MAX_THREADS);
    cpu_device *device = mlxn_alloc_aligned(sizeof *device);
    if (!device) return mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for the CPU device");
    device->owner = owner;
    atomic_init(&device->state, (uint64_t)1 << 16); /* closed */
    device->n_threads = desc->threads ? desc->threads : (uint32_t)mlxn_min_u64(cpu_available_cores(), MAX_THREADS);
    device->isa = cpu_detect_isa();
    if (desc->isa_mask) device->isa &= desc->isa_mask;
    if (desc->no_isa) device->isa = 0;
    /* Each level builds on the one below. */
    if (!(device->isa & MLXN_ISA_AVX2)) device->isa = 0;
    if (!(device->isa & MLXN_ISA_AVX512)) device->isa &= MLXN_ISA_AVX2;
    cpu_detect_name(device->name, sizeof device->name);
    pthread_mutex_init(&device->slab_lock, NULL);
    pthread_mutex_init(&device->turn_lock, NULL);
    pthread_cond_init(&device->turn_changed, NULL);
    mlxn_status status = cpu_threads_start(device, error);
    if (status) {
        pthread_cond_destroy(&device->turn_changed);
        pthread_mutex_destroy(&device->turn_lock);
        pthread_mutex_destroy(&device->slab_lock);
        mlxn_free_aligned(device);
        return status;
    }
    *impl = device;
    return MLXN_OK;
}

static void close_device(void *impl) {
    cpu_device *device = impl;
    cpu_threads_stop(device);
    cpu_slabs_close(device);
    mlxn_free_aligned(device->scratch);
    mlxn_device_unaccount_as(device->owner, MLXN_MEMORY_SCRATCH, device->scratch_bytes);
    pthread_cond_destroy(&device->turn_changed);
    pthread_mutex_destroy(&device->turn_lock);
    pthread_mutex_destroy(&device->slab_lock);
    mlxn_free_aligned(device);
}

static void info(void *impl, mlxn_device_info *out) {
    cpu_device *device = impl;
    out->name = device->name;
    out->threads = device->n_threads;
    out->isa = device->isa;
    out->host_visible = true;
    out->computes = true;
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES);
    if (page > 0 && pages > 0) out->memory_total = (uint64_t)page * (uint64_t)pages;
#ifdef _SC_AVPHYS_PAGES
    long available = sysconf(_SC_AVPHYS_PAGES);
    if (page > 0 && available > 0) out->memory_free = (uint64_t)page * (uint64_t)available;
#endif
}

/* Large buffers are fresh pages: zero without being written, resident only where touched. */
static mlxn_status memory_create(void *impl, uint64_t bytes, void **storage, void **host, mlxn_error *error) {
    *storage = NULL;
    if (bytes >= PAGE_THRESHOLD)
        *storage = cpu_pages_alloc(bytes, false);
    else
        *storage = mlxn_alloc_aligned((size_t)bytes);
    *host = *storage;
    if (!*storage) return mlxn_fail(error, MLXN_ERR_MEMORY, "buffer: %" PRIu64 " bytes: out of memory", bytes);
    return MLXN_OK;
}

static void memory_destroy(void *impl, void *storage, uint64_t bytes) {
    if (bytes >= PAGE_THRESHOLD)
        cpu_pages_free(storage, bytes);
    else
        mlxn_free_aligned(storage);
}

static mlxn_status memory_wrap(void *impl, void *memory, uint64_t bytes, void **storage, void **host,
                               mlxn_error *error) {
    *storage = *host = memory;
    return MLXN_OK;
}
static void memory_unwrap(void *impl, void *storage) {}

static mlxn_status memory_read(void *impl, void *storage, uint64_t offset, void *dst, uint64_t bytes,
                               mlxn_error *error) {
    memcpy(dst, (const uint8_t *)storage + offset, bytes);
    return MLXN_OK;
}

static mlxn_status memory_write(void *impl, void *storage, uint64_t offset, const void *src, uint64_t bytes,
                                mlxn_error *error) {
    memcpy((uint8_t *)storage + offset, src, bytes);
    return MLXN_OK;
}

static mlxn_status weight_prepare(void *impl, const mlxn_weight_view *raw, const mlxn_weight_progress *progress,
                                  mlxn_weight_view *out, void **storage, mlxn_error *error) {
    return cpu_weight_pack(impl, raw, progress, out, storage, error);
}
static mlxn_status weight_bytes(void *impl, const mlxn_weight_view *raw, uint64_t *out, mlxn_error *error) {
    return cpu_weight_bytes(raw, out, error);
}
static void weight_destroy(void *impl, void *storage) { cpu_slab_free(impl, storage); }

static mlxn_status measure(void *impl, double *bytes_per_second, double *f32_flops, double *int8_ops,
                           mlxn_error *error) {
    mlxn_status status = cpu_measure_peak(impl, f32_flops, int8_ops, error);
    return status ? status : cpu_measure_bandwidth(impl, bytes_per_second, error);
}

static mlxn_status queue_create(void *impl, void **queue, mlxn_error *error) {
    return mlxn_host_queue_create(cpu_queue_run, impl, queue, error);
}

const mlxn_backend mlxn_backend_cpu = {
    .name = "cpu",
    .device_count = device_count,
    .open = open_device,
    .close = close_device,
    .info = info,
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .memory_wrap = memory_wrap,
    .memory_unwrap = memory_unwrap,
    .memory_read = memory_read,
    .memory_write = memory_write,
    .weight_prepare = weight_prepare,
    .weight_bytes = weight_bytes,
    .weight_destroy = weight_destroy,
    .kernels = cpu_kernel_rows,
    .program_create = cpu_program_create,
    .program_destroy = cpu_program_destroy,
    .program_update = cpu_program_update,
    .queue_create = queue_create,
    .queue_destroy = mlxn_host_queue_destroy,
    .submit = mlxn_host_queue_submit,
    .wait = mlxn_host_queue_wait,
    .kernel_prepare = cpu_kernel_prepare,
    .kernel_release = cpu_kernel_release,
    .measure = measure,
};
