/* program.c: turns a list of nodes into segments of planned items. */
#include <inttypes.h>

#include "backend/cpu/device.h"

enum { COPY_CHUNK = 1 << 20 };

static void run_copy(cpu_run *run) {
    const mlxn_node *node = run->params;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t begin = chunk * COPY_CHUNK, n = mlxn_min_u64(COPY_CHUNK, node->u.copy.bytes - begin);
        memcpy(node->u.copy.dst->host + node->u.copy.dst_offset + begin,
               node->u.copy.src->host + node->u.copy.src_offset + begin, n);
    }
}

static void run_fill(cpu_run *run) {
    const mlxn_node *node = run->params;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t begin = chunk * COPY_CHUNK, n = mlxn_min_u64(COPY_CHUNK, node->u.fill.bytes - begin);
        memset(node->u.fill.dst->host + node->u.fill.offset + begin, node->u.fill.value, n);
    }
}

static void run_reference(cpu_run *run) {
    const mlxn_dispatch *d = ((const mlxn_node *)run->params)->u.dispatch;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        mlxn_status status = d->op->ref(d->args, d->params);
        if (!status) continue;
        atomic_store(run->failed_operation, d->op->name);
        atomic_store(run->failure, (int)status);
    }
}

static void plan_item(cpu_item *item, const mlxn_node *node, uint32_t n_threads) {
    item->params = node;
    item->args = NULL;
    item->plan = (cpu_plan){.phases = 1, .chunks = {1}};
    switch (node->kind) {
        case MLXN_NODE_COPY:
            item->run = run_copy;
            item->plan.chunks[0] = (node->u.copy.bytes + COPY_CHUNK - 1) / COPY_CHUNK;
            break;
        case MLXN_NODE_FILL:
            item->run = run_fill;
            item->plan.chunks[0] = (node->u.fill.bytes + COPY_CHUNK - 1) / COPY_CHUNK;
            break;
        case MLXN_NODE_KERNEL:
            item->run = cpu_user_kernel_run;
            item->params = node->u.kernel;
            cpu_user_kernel_plan(node->u.kernel, n_threads, &item->plan);
            break;
        default: {
            const mlxn_dispatch *d = node->u.dispatch;
            if (!d->kernel) {
                item->run = run_reference;
                break;
            }
            const cpu_kernel *kernel = d->kernel->entry;
            item->run = kernel->run;
            item->args = d->args;
            item->params = d->params;
            item->plan = (cpu_plan){0};
            kernel->plan(d->args, d->params, n_threads, &item->plan);
        }
    }
}

static bool reserve(void **array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return true;
    size_t grown_capacity = *capacity ? *capacity * 2 : 16;
    while (grown_capacity < need) grown_capacity *= 2;
    void *grown = mlxn_realloc_array(*array, grown_capacity, size);
    if (!grown) return false;
    *array = grown;
    *capacity = grown_capacity;
    return true;
}

static cpu_segment *add_segment(cpu_program *program, cpu_segment_kind kind, const mlxn_node *node) {
    if (!reserve((void **)&program->segments, &program->segment_capacity, program->n_segments + 1,
                 sizeof *program->segments))
        return NULL;
    cpu_segment *segment = &program->segments[program->n_segments++];
    *segment = (cpu_segment){.kind = kind, .first = program->n_items, .node = node, .phases = 1};
    return segment;
}

/* Items [first, n_items) stand between two barriers: make them a segment. */
static bool close_group(cpu_program *program, size_t first) {
    size_t count = program->n_items - first;
    if (!count) return true;
    bool serial = true;
    uint32_t phases = 1;
    uint64_t shared = 0;
    for (size_t i = first; i < program->n_items; i++) {
        cpu_item *item = &program->items[i];
        serial = serial && item->plan.phases == 1 && item->plan.chunks[0] == 1;
        if (item->plan.phases > phases) phases = item->plan.phases;
        item->shared_offset = shared;
        shared += (item->plan.shared_bytes + 63) & ~(uint64_t)63;
        program->local_bytes = mlxn_max_u64(program->local_bytes, (item->plan.local_bytes + 63) & ~(uint64_t)63);
    }
    program->shared_bytes = mlxn_max_u64(program->shared_bytes, shared);
    cpu_segment *last = program->n_segments ? &program->segments[program->n_segments - 1] : NULL;
    if (serial && last && last->kind == CPU_SEGMENT_SERIAL && last->first + last->count == first) {
        last->count += count; /* the first thread runs both in order: no barrier between */
        return true;
    }
    cpu_segment *segment = add_segment(program, serial ? CPU_SEGMENT_SERIAL : CPU_SEGMENT_GROUP, NULL);
    if (!segment) return false;
    segment->first = first;
    segment->count = count;
    segment->phases = phases;
    return true;
}

mlxn_status cpu_program_create(void *impl, const mlxn_node *nodes, size_t n, void **out, mlxn_error *error) {
    cpu_device *device = impl;
    cpu_program *program = *out ? *out : mlxn_alloc(sizeof *program);
    if (!program) return mlxn_fail(error, MLXN_ERR_MEMORY, "program: out of memory for its record");
    *out = program;
    program->n_items = program->n_segments = 0;
    program->shared_bytes = program->local_bytes = 0;
    bool good = reserve((void **)&program->items, &program->item_capacity, n, sizeof *program->items);
    size_t first = 0;
    for (size_t i = 0; good && i < n; i++) {
        switch (nodes[i].kind) {
            case MLXN_NODE_BARRIER:
                good = close_group(program, first);
                first = program->n_items;
                break;
            case MLXN_NODE_WAIT:
            case MLXN_NODE_SIGNAL:
            case MLXN_NODE_LAUNCH:
                good = close_group(program, first) &&
                       add_segment(program, nodes[i].kind == MLXN_NODE_LAUNCH ? CPU_SEGMENT_LAUNCH : CPU_SEGMENT_SYNC,
                                   &nodes[i]);
                first = program->n_items;
                break;
            default: {
                cpu_item *item = &program->items[program->n_items++];
                plan_item(item, &nodes[i], device->n_threads);
                for (uint32_t p = 0; p < CPU_MAX_PHASES; p++) atomic_init(&item->next[p], 0);
            }
        }
    }
    good = good && close_group(program, first);
    if (!good) return mlxn_fail(error, MLXN_ERR_MEMORY, "program: out of memory for %zu commands", n);
    /* Scratch grows now, so that launching needs no memory; only growing has to wait for work in flight. */
    if (program->local_bytes <= atomic_load(&device->local_bytes) &&
        program->shared_bytes <= atomic_load(&device->shared_bytes))
        return MLXN_OK;
    cpu_turn_acquire(device);
    mlxn_status status = cpu_scratch_reserve(device, program, error);
    cpu_turn_release(device);
    return status;
}

bool cpu_program_update(void *impl, void *handle, const mlxn_node *node, size_t i) {
    cpu_device *device = impl;
    cpu_program *program = handle;
    cpu_item *item = &program->items[i], next;
    size_t low = 0, high = program->n_segments;
    while (high - low > 1) { /* segments lie in the order of their items */
        size_t mid = low + (high - low) / 2;
        if (program->segments[mid].first <= i)
            low = mid;
        else
            high = mid;
    }
    const cpu_segment *segment = &program->segments[low];
    plan_item(&next, node, device->n_threads);
    bool serial = next.plan.phases == 1 && next.plan.chunks[0] == 1;
    if (segment->kind == CPU_SEGMENT_SERIAL ? !serial : next.plan.phases > segment->phases) return false;
    if (next.plan.shared_bytes > item->plan.shared_bytes || next.plan.local_bytes > program->local_bytes)
        return false;
    next.plan.shared_bytes = item->plan.shared_bytes; /* what it may use stays */
    item->run = next.run;
    item->args = next.args;
    item->params = next.params;
    item->plan = next.plan;
    return true;
}

void cpu_program_destroy(void *impl, void *handle) {
    cpu_program *program = handle;
    if (!program) return;
    mlxn_free(program->items);
    mlxn_free(program->segments);
    mlxn_free(program);
}

mlxn_status cpu_scratch_reserve(cpu_device *device, const cpu_program *program, mlxn_error *error) {
    uint64_t local = mlxn_max_u64(program->local_bytes, atomic_load(&device->local_bytes));
    uint64_t shared = mlxn_max_u64(program->shared_bytes, atomic_load(&device->shared_bytes));
    uint64_t bytes = 0;
    uint8_t *scratch = NULL;
    if (!mlxn_mul_u64(local, device->n_threads, &bytes) || !mlxn_add_u64(bytes, shared, &bytes) || bytes > SIZE_MAX)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "program: scratch of %" PRIu64 " bytes for each thread", local);
    /* The old one is needed if the new one cannot be had, so both are held for a moment. */
    mlxn_status status = mlxn_device_account_as(device->owner, MLXN_MEMORY_SCRATCH, bytes, "program: scratch", error);
    if (status) return status;
    scratch = mlxn_alloc_aligned((size_t)bytes);
    if (!scratch) {
        mlxn_device_unaccount_as(device->owner, MLXN_MEMORY_SCRATCH, bytes);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "program: out of memory for %" PRIu64 " bytes of scratch", bytes);
    }
    mlxn_free_aligned(device->scratch);
    mlxn_device_unaccount_as(device->owner, MLXN_MEMORY_SCRATCH, device->scratch_bytes);
    device->scratch = scratch;
    device->scratch_bytes = bytes;
    atomic_store(&device->local_bytes, local);
    atomic_store(&device->shared_bytes, shared);
    return MLXN_OK;
}
