/* graph_memory.c: temporaries of a graph: buffers without memory while the capture goes on, ranges of one arena once
 * their lives are known. */
#include "core/graph.h"

enum { ALIGNMENT = 64 };

/* ---- the buffers that callers record with ---- */

mlxn_status mlxn_encoder_temporary(mlxn_encoder *encoder, uint64_t bytes, mlxn_buffer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "temporary: out is NULL");
    *out = NULL;
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "temporary: encoder is NULL");
    if (encoder->error.status) {
        if (error) *error = encoder->error;
        return encoder->error.status;
    }
    if (!encoder->capturing)
        return mlxn_fail(error, MLXN_ERR_STATE, "temporary: the encoder is not capturing, start_capture comes first");
    if (!bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "temporary: size is 0 bytes, want at least 1");
    if (encoder->n_temporaries == encoder->temporary_capacity) {
        uint32_t capacity = encoder->temporary_capacity ? encoder->temporary_capacity * 2 : 16;
        mlxn_buffer **grown = mlxn_realloc_array(encoder->temporaries, capacity, sizeof(mlxn_buffer *));
        if (!grown) return mlxn_fail(error, MLXN_ERR_MEMORY, "temporary: out of memory for its record");
        encoder->temporaries = grown;
        encoder->temporary_capacity = capacity;
    }
    mlxn_buffer *buffer = mlxn_alloc(sizeof *buffer);
    if (!buffer) return mlxn_fail(error, MLXN_ERR_MEMORY, "temporary: out of memory for its record");
    atomic_init(&buffer->counts, MLXN_BUFFER_HANDLE | MLXN_BUFFER_REF);
    buffer->size = bytes;
    buffer->capture = encoder->capture_id;
    buffer->temporary = encoder->n_temporaries;
    buffer->device = mlxn_device_retain(encoder->device);
    buffer->id = atomic_fetch_add_explicit(&encoder->device->next_buffer_id, 1, memory_order_relaxed);
    if (!mlxn_list_keep(&encoder->capture, buffer, MLXN_KEEP_BUFFER)) {
        mlxn_buffer_release(&buffer);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "temporary: out of memory for its record");
    }
    encoder->temporaries[encoder->n_temporaries++] = buffer;
    *out = buffer;
    return mlxn_succeed(error);
}

void mlxn_temporary_free(mlxn_buffer *buffer) {
    mlxn_device *device = buffer->device;
    mlxn_free(buffer);
    mlxn_device_release(&device);
}

mlxn_status mlxn_temporary_refuse(const char *what, const char *name, mlxn_error *failure) {
    return mlxn_fail(failure, MLXN_ERR_STATE,
                     "%s: %s is a temporary of a graph, of use only in the capture that made it", what, name);
}

/* ---- uses ---- */

static mlxn_binding copy_binding(const mlxn_node *node, uint32_t arg) {
    if (node->kind == MLXN_NODE_FILL)
        return (mlxn_binding){arg ? node->u.fill.dst : NULL, node->u.fill.offset, 0};
    return arg ? (mlxn_binding){node->u.copy.dst, node->u.copy.dst_offset, 0}
               : (mlxn_binding){node->u.copy.src, node->u.copy.src_offset, 0};
}

static uint32_t n_bindings(const mlxn_node *node) {
    return node->kind == MLXN_NODE_DISPATCH ? node->u.dispatch->n_args
           : node->kind == MLXN_NODE_KERNEL ? node->u.kernel->n_bindings
                                            : 2;
}

static mlxn_binding binding_of(const mlxn_node *node, uint32_t arg) {
    return node->kind == MLXN_NODE_DISPATCH ? node->u.dispatch->bindings[arg]
           : node->kind == MLXN_NODE_KERNEL ? node->u.kernel->bindings[arg].memory
                                            : copy_binding(node, arg);
}

bool mlxn_temporaries_find(mlxn_graph_source *source, mlxn_buffer *const *temporaries, uint32_t n) {
    if (!n) return true;
    source->temporaries = mlxn_alloc_array(n, sizeof *source->temporaries);
    if (!source->temporaries) return false;
    source->n_temporaries = n;
    for (uint32_t t = 0; t < n; t++) source->temporaries[t].buffer = temporaries[t];
    uint32_t count = 0;
    for (int pass = 0; pass < 2; pass++) { /* count, then fill */
        for (uint32_t i = 0, at = 0; i < source->count; i++)
            for (uint32_t a = 0; a < n_bindings(&source->nodes[i]); a++) {
                mlxn_binding b = binding_of(&source->nodes[i], a);
                if (!b.buffer || !b.buffer->capture) continue;
                if (pass) source->uses[at++] = (mlxn_temporary_use){i, a, b.buffer->temporary, b.offset};
                count += !pass;
            }
        if (pass) break;
        source->uses = mlxn_alloc_array(count ? count : 1, sizeof *source->uses);
        if (!source->uses) return false;
    }
    source->n_uses = count;
    return true;
}

/* Lets one use refer to `start` of `buffer`. */
static void bind(mlxn_node *node, uint32_t arg, mlxn_buffer *buffer, uint64_t start) {
    void *address = buffer->host ? buffer->host + start : NULL;
    mlxn_binding *b;
    switch (node->kind) {
        case MLXN_NODE_DISPATCH:
            b = &node->u.dispatch->bindings[arg];
            *b = (mlxn_binding){buffer, start, start + (b->end - b->offset)};
            node->u.dispatch->args[arg].data = address;
            break;
        case MLXN_NODE_KERNEL:
            b = &node->u.kernel->bindings[arg].memory;
            *b = (mlxn_binding){buffer, start, start + (b->end - b->offset)};
            node->u.kernel->bindings[arg].address = address;
            break;
        case MLXN_NODE_COPY:
            *(arg ? &node->u.copy.dst : &node->u.copy.src) = buffer;
            *(arg ? &node->u.copy.dst_offset : &node->u.copy.src_offset) = start;
            break;
        default:
            node->u.fill.dst = buffer;
            node->u.fill.offset = start;
    }
}

void mlxn_temporaries_bind(mlxn_graph_source *source) {
    if (!source->arena) return;
    for (uint32_t i = 0; i < source->n_uses; i++) {
        const mlxn_temporary_use *use = &source->uses[i];
        bind(&source->nodes[use->node], use->arg, source->arena,
             source->temporaries[use->temporary].offset + use->start);
    }
}

void mlxn_temporaries_unbind(mlxn_graph_source *source) {
    for (uint32_t i = 0; i < source->n_uses; i++) {
        const mlxn_temporary_use *use = &source->uses[i];
        bind(&source->nodes[use->node], use->arg, source->temporaries[use->temporary].buffer, use->start);
    }
}

/* ---- places ---- */

static void find_lives(mlxn_graph_source *source) {
    for (uint32_t t = 0; t < source->n_temporaries; t++) source->temporaries[t].first = 0;
    for (uint32_t i = 0; i < source->n_uses; i++) {
        mlxn_temporary *t = &source->temporaries[source->uses[i].temporary];
        uint32_t group = source->level[source->uses[i].node];
        if (!t->first) t->first = t->last = group;
        if (group < t->first) t->first = group;
        if (group > t->last) t->last = group;
    }
}

static uint64_t size_of(const mlxn_temporary *t) {
    return (t->buffer->size + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

/* The largest first; those of one size as they were made. */
static int larger(const void *a, const void *b) {
    const mlxn_temporary *x = *(const mlxn_temporary *const *)a, *y = *(const mlxn_temporary *const *)b;
    uint64_t p = size_of(x), q = size_of(y);
    if (p != q) return p > q ? -1 : 1;
    return x < y ? -1 : 1;
}

/* The smallest gap that holds t between those already placed that live at the same time, or the end of them all.
 * `placed` is sorted by offset. */
static uint64_t best_fit(const mlxn_temporary *t, mlxn_temporary *const *placed, uint32_t n, const uint64_t *offsets,
                         const mlxn_temporary *base) {
    uint64_t end = 0, size = size_of(t), best = UINT64_MAX, best_gap = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        const mlxn_temporary *p = placed[i];
        if (p->last < t->first || t->last < p->first) continue;
        uint64_t offset = offsets[p - base];
        if (offset > end && offset - end >= size && offset - end < best_gap) {
            best = end;
            best_gap = offset - end;
        }
        end = mlxn_max_u64(end, offset + size_of(p));
    }
    return best_gap == UINT64_MAX ? end : best;
}

/* Places all that are used; false if the sum of sizes does not fit 64 bits. */
static bool place_all(mlxn_graph_source *source, mlxn_temporary **order, mlxn_temporary **placed, uint64_t *offsets,
                      uint64_t *bytes, uint64_t *sum) {
    uint32_t n = 0;
    *bytes = *sum = 0;
    for (uint32_t i = 0; i < source->n_temporaries; i++) {
        mlxn_temporary *t = &source->temporaries[i];
        uint64_t size;
        if (!t->first) continue;
        if (!mlxn_align_u64(t->buffer->size, ALIGNMENT, &size) || !mlxn_add_u64(*sum, size, sum)) return false;
        order[n++] = t;
    }
    qsort(order, n, sizeof *order, larger);
    for (uint32_t i = 0; i < n; i++) {
        mlxn_temporary *t = order[i];
        uint64_t offset = best_fit(t, placed, i, offsets, source->temporaries);
        offsets[t - source->temporaries] = offset;
        uint32_t at = i;
        for (; at > 0 && offsets[placed[at - 1] - source->temporaries] > offset; at--) placed[at] = placed[at - 1];
        placed[at] = t;
        *bytes = mlxn_max_u64(*bytes, offset + size_of(t));
    }
    return true;
}

mlxn_status mlxn_temporaries_plan(mlxn_device *device, mlxn_graph_source *source, mlxn_error *error) {
    uint32_t n = source->n_temporaries;
    if (!n) return MLXN_OK;
    find_lives(source);
    mlxn_temporary **order = mlxn_alloc_array(n, 2 * sizeof(mlxn_temporary *));
    uint64_t *offsets = mlxn_alloc_array(n, sizeof *offsets), bytes = 0, sum = 0;
    mlxn_status status = MLXN_OK;
    if (!order || !offsets)
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for the places of %u temporaries", n);
    else if (!place_all(source, order, order + n, offsets, &bytes, &sum))
        status = mlxn_fail(error, MLXN_ERR_LIMIT, "graph: the sizes of %u temporaries overflow 64 bits", n);
    mlxn_buffer *arena = NULL;
    if (!status && bytes && (!source->arena || source->arena->size < bytes)) {
        status = mlxn_buffer_create(device, bytes, &arena, error);
        if (status) mlxn_error_prefix(error, "graph: temporaries");
    }
    if (!status) {
        if (arena) {
            mlxn_buffer_release(&source->arena);
            source->arena = arena;
        }
        for (uint32_t t = 0; t < n; t++) source->temporaries[t].offset = offsets[t];
        source->temporary_bytes = bytes;
        source->temporary_sum = sum;
    }
    mlxn_free(order);
    mlxn_free(offsets);
    return status;
}
