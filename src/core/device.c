/* device.c: creation, information, memory accounting, the kernels that it may use. */
#include <stdio.h>

#include "core/core.h"

const mlxn_backend *mlxn_backend_extra;

static const mlxn_backend *find_backend(const char *name) {
    if (mlxn_backend_extra && !strcmp(mlxn_backend_extra->name, name)) return mlxn_backend_extra;
    for (size_t i = 0; mlxn_backends[i]; i++)
        if (!strcmp(mlxn_backends[i]->name, name)) return mlxn_backends[i];
    return NULL;
}

const char *mlxn_backend_name(uint32_t i) {
    for (uint32_t k = 0; mlxn_backends[k]; k++)
        if (k == i) return mlxn_backends[k]->name;
    return NULL;
}

uint32_t mlxn_backend_device_count(const char *name, mlxn_error *error) {
    const mlxn_backend *backend = name ? find_backend(name) : NULL;
    if (!backend) {
        mlxn_fail(error, MLXN_ERR_NOT_FOUND, "device: this build has no backend \"%s\"", name ? name : "(null)");
        return 0;
    }
    mlxn_succeed(error);
    return backend->device_count(error);
}

/* Gathers, by op, the rows that the instruction sets and the precision allow. */
static bool collect_kernels(mlxn_device *device) {
    size_t n;
    const mlxn_kernel_row *rows = device->backend->kernels(&n);
    device->kernels = mlxn_alloc_array(n ? n : 1, sizeof *device->kernels);
    if (!device->kernels) return false;
    uint32_t used = 0;
    for (uint32_t op = 0; op < MLXN_OP_COUNT; op++) {
        device->first[op] = used;
        for (size_t i = 0; i < n; i++)
            if (rows[i].op == op && (rows[i].isa & ~device->info.isa) == 0 &&
                (rows[i].precision & (1u << device->precision)))
                device->kernels[used++] = &rows[i];
    }
    device->first[MLXN_OP_COUNT] = used;
    return true;
}

bool mlxn_kernel_list(uint32_t i, mlxn_kernel_info *out) {
    static const struct {
        uint32_t isa;
        const char *name;
    } needs[] = {{0, ""},
                 {MLXN_ISA_AVX2, "avx2"},
                 {MLXN_ISA_AVX2 | MLXN_ISA_AVX512, "avx512"},
                 {MLXN_ISA_AVX2 | MLXN_ISA_AVX512 | MLXN_ISA_VNNI, "avx512+vnni"}};
    uint32_t at = 0;
    for (uint32_t op = 0; op < MLXN_OP_COUNT; op++)
        for (size_t b = 0; mlxn_backends[b]; b++) {
            size_t n;
            const mlxn_kernel_row *rows = mlxn_backends[b]->kernels(&n);
            for (size_t k = 0; k < n; k++) {
                if (rows[k].op != op || at++ != i) continue;
                const char *text = "?";
                for (size_t j = 0; j < sizeof needs / sizeof *needs; j++)
                    if (needs[j].isa == rows[k].isa) text = needs[j].name;
                if (out) *out = (mlxn_kernel_info){mlxn_op_get(op)->name, mlxn_backends[b]->name, rows[k].name, text};
                return true;
            }
        }
    return false;
}

mlxn_status mlxn_device_create(const mlxn_device_desc *user, mlxn_device **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "device: out is NULL");
    *out = NULL;
    mlxn_device_desc desc = {.struct_size = sizeof desc};
    if (user) {
        if (user->struct_size < offsetof(mlxn_device_desc, threads))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "device: struct_size is %u, want sizeof(mlxn_device_desc) = %zu", user->struct_size,
                             sizeof desc);
        memcpy(&desc, user, mlxn_min_u64(user->struct_size, sizeof desc));
    }
    if (desc.precision != MLXN_PRECISION_FAST && desc.precision != MLXN_PRECISION_F32)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "device: precision is %d, want fast (0) or f32 (1)",
                         desc.precision);
    const char *name = desc.backend ? desc.backend : "cpu";
    const mlxn_backend *backend = find_backend(name);
    if (!backend) {
        char known[128] = "";
        for (size_t i = 0; mlxn_backends[i]; i++) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", mlxn_backends[i]->name);
        }
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "device: backend is \"%s\", this build has %s", name, known);
    }
    uint32_t count = backend->device_count(error);
    if (!count) return error && error->status ? error->status : MLXN_ERR_DEVICE;
    if (desc.index >= count)
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "device: index is %u, %s has %u", desc.index, name, count);

    mlxn_device *device = mlxn_alloc(sizeof *device);
    if (!device) return mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for its record");
    atomic_init(&device->refs, 1);
    device->backend = backend;
    device->precision = desc.precision;
    device->memory_limit = desc.memory_limit;
    device->log = desc.log;
    device->log_user = desc.log_user;
    device->checked = desc.checked;
    device->residency = !mlxn_gate_on(MLXN_GATE_NO_RESIDENCY);
    device->unretained = desc.unretained || mlxn_gate_on(MLXN_GATE_UNRETAINED);
    mlxn_short_lock_init(&device->cache_lock);
    mlxn_short_lock_init(&device->live.lock);
    mlxn_short_lock_init(&device->set.lock);
    mlxn_counters_open(device);
    mlxn_status status = backend->open(device, &desc, &device->impl, error);
    if (status) goto fail;
    backend->info(device->impl, &device->info);
    if (!collect_kernels(device))
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for the kernel table");
    if (!status) status = mlxn_queue_open(device, true, &device->queue, error);
    if (status) {
        backend->close(device->impl);
        goto fail;
    }
    if (mlxn_gate_on(MLXN_GATE_LOG_INIT))
        mlxn_device_log(device, "mlxn: device %s (%s): residency %s", device->info.name, name,
                        device->residency ? "on" : "off: HF2Q_NO_RESIDENCY=1");
    if (mlxn_gate_on(MLXN_GATE_TENSOR_PROBE))
        mlxn_device_log(device, "mlxn: device %s (%s): matrix instructions: %s", device->info.name, name,
                        device->info.isa & MLXN_ISA_VNNI ? "8-bit dot products (AVX-512 VNNI)" : "none");
    *out = device;
    return mlxn_succeed(error);
fail:
    mlxn_counters_close(device);
    pthread_mutex_destroy(&device->set.lock);
    pthread_mutex_destroy(&device->live.lock);
    pthread_mutex_destroy(&device->cache_lock);
    mlxn_free(device->kernels);
    mlxn_free(device);
    return status;
}

mlxn_device *mlxn_device_retain(mlxn_device *device) {
    if (device) atomic_fetch_add_explicit(&device->refs, 1, memory_order_relaxed);
    return device;
}

static void free_cached(mlxn_device *device) {
    while (device->cache) {
        mlxn_command_buffer *cb = device->cache;
        device->cache = cb->next;
        mlxn_cb_free(device, cb);
    }
}

void mlxn_device_release(mlxn_device **handle) {
    if (!handle || !*handle) return;
    mlxn_device *device = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&device->refs, 1, memory_order_acq_rel) != 1) return;
    free_cached(device);
    mlxn_queue_close_default(device->queue);
    device->backend->close(device->impl);
    mlxn_free(device->kernels);
    mlxn_counters_close(device);
    pthread_mutex_destroy(&device->set.lock);
    pthread_mutex_destroy(&device->live.lock);
    pthread_mutex_destroy(&device->cache_lock);
    mlxn_free(device);
}

mlxn_status mlxn_device_get_info(mlxn_device *device, mlxn_device_info *out) {
    if (!device || !out) return MLXN_ERR_ARGUMENT;
    mlxn_device_info info = {0};
    device->backend->info(device->impl, &info);
    info.struct_size = out->struct_size;
    info.backend = device->backend->name;
    info.precision = device->precision;
    info.memory_used = atomic_load(&device->memory_used);
    info.memory_peak = atomic_load(&device->memory_peak);
    info.memory_limit = device->memory_limit;
    info.memory_buffers = atomic_load(&device->memory_by_kind[MLXN_MEMORY_BUFFER]);
    info.memory_weights = atomic_load(&device->memory_by_kind[MLXN_MEMORY_WEIGHT]);
    info.memory_scratch = atomic_load(&device->memory_by_kind[MLXN_MEMORY_SCRATCH]);
    memcpy(out, &info, mlxn_min_u64(out->struct_size, sizeof info));
    return MLXN_OK;
}

bool mlxn_device_residency_sets_enabled(const mlxn_device *device) { return device && device->residency; }

const char *mlxn_device_command_stream(mlxn_device *device) {
    return device && device->backend->stream_text ? device->backend->stream_text(device->impl) : "";
}

void mlxn_device_clear_command_stream(mlxn_device *device) {
    if (device && device->backend->stream_clear) device->backend->stream_clear(device->impl);
}

void mlxn_device_log(mlxn_device *device, const char *format, ...) {
    if (!device->log) return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    device->log(device->log_user, line);
}

/* What would be in use with `bytes` more; LIMIT with numbers if that is too much. */
static mlxn_status fits(const mlxn_device *device, uint64_t used, uint64_t bytes, const char *what, uint64_t *next,
                        mlxn_error *error) {
    if (mlxn_add_u64(used, bytes, next) && (!device->memory_limit || *next <= device->memory_limit)) return MLXN_OK;
    if (!device->memory_limit)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: %llu bytes with %llu in use pass 2^64", what,
                         (unsigned long long)bytes, (unsigned long long)used);
    return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: %llu bytes with %llu in use pass the memory limit of %llu", what,
                     (unsigned long long)bytes, (unsigned long long)used, (unsigned long long)device->memory_limit);
}

mlxn_status mlxn_device_admit(mlxn_device *device, uint64_t bytes, const char *what, mlxn_error *error) {
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "admit: device is NULL");
    uint64_t next;
    mlxn_status status = fits(device, atomic_load(&device->memory_used), bytes, what ? what : "admit", &next, error);
    return status ? status : mlxn_succeed(error);
}

mlxn_status mlxn_device_account_as(mlxn_device *device, mlxn_memory_kind kind, uint64_t bytes, const char *what,
                                   mlxn_error *error) {
    uint64_t used = atomic_load(&device->memory_used), next;
    do {
        mlxn_status status = fits(device, used, bytes, what, &next, error);
        if (status) return status;
    } while (!atomic_compare_exchange_weak(&device->memory_used, &used, next));
    atomic_fetch_add(&device->memory_by_kind[kind], bytes);
    uint64_t peak = atomic_load(&device->memory_peak);
    while (peak < next && !atomic_compare_exchange_weak(&device->memory_peak, &peak, next)) {
    }
    return MLXN_OK;
}

void mlxn_device_unaccount_as(mlxn_device *device, mlxn_memory_kind kind, uint64_t bytes) {
    atomic_fetch_sub(&device->memory_by_kind[kind], bytes);
    atomic_fetch_sub(&device->memory_used, bytes);
}

mlxn_status mlxn_device_account(mlxn_device *device, uint64_t bytes, const char *what, mlxn_error *error) {
    return mlxn_device_account_as(device, MLXN_MEMORY_BUFFER, bytes, what, error);
}

void mlxn_device_unaccount(mlxn_device *device, uint64_t bytes) {
    mlxn_device_unaccount_as(device, MLXN_MEMORY_BUFFER, bytes);
}
