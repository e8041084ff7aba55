/* graph_patch.c: changing what a graph does between launches. A patch is checked on a copy on the stack; then the
 * instance is made the graph's alone, and only then changed. */
#include <stdio.h>

#include "core/graph.h"
#include "core/kernel.h"

/* ---- copies of instances ---- */

mlxn_dispatch *mlxn_dispatch_copy(mlxn_node_list *list, const mlxn_dispatch *from) {
    mlxn_dispatch *d = mlxn_list_dispatch(list, from->op, from->n_args);
    if (!d) return NULL;
    d->kernel = from->kernel;
    memcpy(d->args, from->args, d->n_args * sizeof *d->args);
    memcpy(d->bindings, from->bindings, d->n_args * sizeof *d->bindings);
    memcpy(d->weights, from->weights, d->n_args * sizeof *d->weights);
    memcpy(d->params, from->params, d->op->params_size);
    return d;
}

static mlxn_kernel_launch *copy_kernel(mlxn_node_list *list, const mlxn_kernel_launch *from) {
    size_t bindings = from->n_bindings * sizeof *from->bindings;
    mlxn_kernel_launch *k = mlxn_list_alloc(list, sizeof *k + bindings);
    if (!k) return NULL;
    *k = *from;
    k->bindings = (mlxn_kernel_binding *)(k + 1);
    memcpy(k->bindings, from->bindings, bindings);
    for (uint32_t i = 0; i < k->n_bindings; i++) {
        mlxn_kernel_binding *b = &k->bindings[i];
        if (b->memory.buffer || !b->address) continue;
        void *bytes = mlxn_list_alloc(list, b->bytes);
        if (!bytes) return NULL;
        memcpy(bytes, b->address, b->bytes);
        b->address = bytes;
    }
    return k;
}

static bool copy_node(mlxn_node_list *list, const mlxn_node *from, mlxn_node *to) {
    *to = *from;
    if (to->kind == MLXN_NODE_DISPATCH) return (to->u.dispatch = mlxn_dispatch_copy(list, from->u.dispatch)) != NULL;
    if (to->kind == MLXN_NODE_KERNEL) return (to->u.kernel = copy_kernel(list, from->u.kernel)) != NULL;
    return true;
}

static bool copy_temporaries(mlxn_graph_source *to, mlxn_node_list *list, const mlxn_graph_source *from) {
    to->arena = mlxn_buffer_retain(from->arena);
    if (!from->n_temporaries) return true;
    to->temporaries = mlxn_alloc_array(from->n_temporaries, sizeof *to->temporaries);
    to->uses = mlxn_alloc_array(from->n_uses, sizeof *to->uses);
    if (!to->temporaries || !to->uses) return false;
    memcpy(to->temporaries, from->temporaries, from->n_temporaries * sizeof *to->temporaries);
    memcpy(to->uses, from->uses, from->n_uses * sizeof *to->uses);
    to->n_temporaries = from->n_temporaries;
    to->n_uses = from->n_uses;
    for (uint32_t i = 0; i < to->n_temporaries; i++)
        if (!mlxn_list_keep(list, to->temporaries[i].buffer, MLXN_KEEP_BUFFER)) return false;
    return true;
}

static bool copy_source(mlxn_graph_instance *instance, const mlxn_graph_instance *old) {
    mlxn_graph_source *to = instance->source;
    const mlxn_graph_source *from = old->source;
    size_t n = from->count;
    mlxn_node_list *list = &instance->list;
    list->nodes = mlxn_alloc_array(old->list.count, sizeof *list->nodes);
    if (!list->nodes) return false;
    list->capacity = list->count = old->list.count;
    memcpy(list->nodes, old->list.nodes, list->count * sizeof *list->nodes);
    for (size_t i = 0; i < n; i++) {
        if (!copy_node(list, &from->nodes[i], &to->nodes[i]) || !mlxn_list_keep_node(list, &to->nodes[i]))
            return false;
        list->nodes[from->place[i]] = to->nodes[i];
    }
    memcpy(to->barriers, from->barriers, (n + 1) * sizeof *to->barriers);
    memcpy(to->level, from->level, n * sizeof *to->level);
    memcpy(to->place, from->place, n * sizeof *to->place);
    memcpy(to->ordinal, from->ordinal, n * sizeof *to->ordinal);
    to->count = from->count;
    to->reorder = from->reorder;
    to->serial = from->serial;
    to->groups = from->groups;
    to->fusions = from->fusions;
    to->moved = from->moved;
    to->fences = from->fences;
    to->temporary_bytes = from->temporary_bytes;
    to->temporary_sum = from->temporary_sum;
    to->stale_order = from->stale_order;
    to->stale_program = true;
    instance->dispatches = old->dispatches;
    instance->barriers = old->barriers;
    return copy_temporaries(to, list, from);
}

/* Makes the graph's instance its own: others that refer to it go on with what they have. An instance that is stale is
 * the graph's own already, since launches make it ready. */
static mlxn_status own(mlxn_graph *graph, mlxn_error *error) {
    mlxn_graph_instance *old = graph->instance;
    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1) return MLXN_OK;
    mlxn_graph_instance *instance = mlxn_graph_instance_create(graph->device, old->source->count);
    if (!instance || !copy_source(instance, old)) {
        if (instance) mlxn_graph_instance_drop(instance);
        return mlxn_fail(error, MLXN_ERR_MEMORY,
                         "graph: out of memory for a copy of %u nodes that work in flight uses", old->source->count);
    }
    graph->instance = instance;
    mlxn_graph_instance_drop(old);
    return MLXN_OK;
}

/* ---- what all patches share ---- */

static mlxn_status find(const mlxn_graph *graph, uint64_t node, mlxn_node_kind kind, const char *want,
                        const mlxn_node **out, mlxn_error *error) {
    if (!graph) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: graph is NULL");
    const mlxn_graph_source *source = graph->instance->source;
    if (node >= source->count)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: node is %llu, want below %u", (unsigned long long)node,
                         source->count);
    *out = &source->nodes[node];
    if ((*out)->kind != kind)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: node %llu is %s, want %s", (unsigned long long)node,
                         mlxn_node_name(*out), want);
    return MLXN_OK;
}

static bool same_range(const mlxn_binding *a, const mlxn_binding *b) {
    return a->buffer == b->buffer && a->offset == b->offset && a->end == b->end;
}

/* Argument `arg` of a node no longer is the temporary that it was. */
static void forget_temporary(mlxn_graph_source *source, uint64_t node, uint32_t arg) {
    for (uint32_t i = 0; i < source->n_uses; i++)
        if (source->uses[i].node == node && source->uses[i].arg == arg)
            source->uses[i--] = source->uses[--source->n_uses];
}

/* The node was changed; `moved`: it touches other bytes than before. */
static void changed(mlxn_graph *graph, uint64_t node, bool moved) {
    mlxn_graph_instance *instance = graph->instance;
    graph->patches++;
    mlxn_graph_source *source = instance->source;
    if (moved) source->stale_order = source->stale_keep = true;
    if (source->stale_order) return;
    mlxn_node *runs = &instance->list.nodes[source->place[node]];
    *runs = source->nodes[node];
    if (source->stale_program) return;
    const mlxn_backend *backend = instance->device->backend;
    if (!backend->program_update ||
        !backend->program_update(instance->device->impl, instance->program, runs, source->ordinal[node]))
        source->stale_program = true;
}

static mlxn_status keep(mlxn_graph *graph, void *object, mlxn_keep_kind kind, mlxn_error *error) {
    if (!object || mlxn_list_keep(&graph->instance->list, object, kind)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for what a patch refers to");
}

/* ---- operations ---- */

static uint32_t op_of(const mlxn_dispatch *d) {
    if (d->kernel) return d->kernel->op;
    uint32_t op = 0;
    while (mlxn_op_get(op) != d->op) op++;
    return op;
}

static mlxn_status begin(const mlxn_graph *graph, uint64_t node, mlxn_stack_dispatch *c, mlxn_error *error) {
    const mlxn_node *found = NULL;
    mlxn_status status = find(graph, node, MLXN_NODE_DISPATCH, "an operation", &found, error);
    if (status) return status;
    const mlxn_dispatch *d = found->u.dispatch;
    c->d = *d;
    c->op = op_of(d);
    c->d.args = memcpy(c->args, d->args, d->n_args * sizeof *d->args);
    c->d.bindings = memcpy(c->bindings, d->bindings, d->n_args * sizeof *d->bindings);
    c->d.weights = memcpy(c->weights, d->weights, d->n_args * sizeof *d->weights);
    c->d.params = memcpy(c->params, d->params, d->op->params_size);
    return MLXN_OK;
}

/* The candidate passed all checks: let the node be like it. */
static mlxn_status commit(mlxn_graph *graph, uint64_t node, const mlxn_stack_dispatch *c, mlxn_error *error) {
    mlxn_status status = own(graph, error);
    if (status) return status;
    mlxn_graph_source *source = graph->instance->source;
    mlxn_dispatch *d = source->nodes[node].u.dispatch;
    bool moved = false;
    for (uint32_t i = 0; i < d->n_args; i++) {
        if (d->weights[i] != c->weights[i]) {
            if ((status = keep(graph, c->weights[i], MLXN_KEEP_WEIGHT, error))) return status;
            source->stale_keep = true;
        }
        if (same_range(&d->bindings[i], &c->bindings[i])) continue;
        if (d->bindings[i].buffer != c->bindings[i].buffer &&
            (status = keep(graph, c->bindings[i].buffer, MLXN_KEEP_BUFFER, error)))
            return status;
        moved = true;
    }
    for (uint32_t i = 0; moved && i < d->n_args; i++)
        if (!same_range(&d->bindings[i], &c->bindings[i])) forget_temporary(source, node, i);
    d->kernel = c->d.kernel;
    memcpy(d->args, c->args, d->n_args * sizeof *d->args);
    memcpy(d->bindings, c->bindings, d->n_args * sizeof *d->bindings);
    memcpy(d->weights, c->weights, d->n_args * sizeof *d->weights);
    memcpy(d->params, c->params, d->op->params_size);
    changed(graph, node, moved);
    return mlxn_succeed(error);
}

static mlxn_status set_one(mlxn_graph *graph, uint64_t node, uint32_t arg, const mlxn_arg *value, mlxn_error *error) {
    mlxn_stack_dispatch c;
    mlxn_error failure;
    mlxn_status status = begin(graph, node, &c, error);
    if (status) return status;
    const mlxn_op_def *op = c.d.op;
    if (arg >= c.d.n_args)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: argument is %u, want below %u", op->name, arg, c.d.n_args);
    if (mlxn_dispatch_argument(graph->device, &c.d, arg, value, &failure) ||
        mlxn_dispatch_check(graph->device, &c.d, c.op, op->params_size ? c.params : NULL, op->params_size,
                            &failure) ||
        mlxn_temporary_check(c.bindings[arg].buffer, 0, op->name, op->args[arg].name, &failure)) {
        if (error) *error = failure;
        return failure.status;
    }
    return commit(graph, node, &c, error);
}

mlxn_status mlxn_graph_set_argument(mlxn_graph *graph, uint64_t node, uint32_t arg, const mlxn_tensor *tensor,
                                    mlxn_error *error) {
    return set_one(graph, node, arg, &(mlxn_arg){.tensor = tensor}, error);
}

mlxn_status mlxn_graph_set_weight(mlxn_graph *graph, uint64_t node, uint32_t arg, mlxn_weight *weight,
                                  mlxn_error *error) {
    return set_one(graph, node, arg, &(mlxn_arg){.weight = weight}, error);
}

mlxn_status mlxn_graph_set_params(mlxn_graph *graph, uint64_t node, const void *params, uint32_t params_size,
                                  mlxn_error *error) {
    mlxn_stack_dispatch c;
    mlxn_error failure;
    mlxn_status status = begin(graph, node, &c, error);
    if (status) return status;
    if (mlxn_dispatch_check(graph->device, &c.d, c.op, params, params_size, &failure)) {
        if (error) *error = failure;
        return failure.status;
    }
    return commit(graph, node, &c, error);
}

mlxn_status mlxn_graph_set_node(mlxn_graph *graph, uint64_t node, const mlxn_arg *args, uint32_t n_args,
                                const void *params, uint32_t params_size, mlxn_error *error) {
    mlxn_stack_dispatch c;
    mlxn_error failure;
    mlxn_status status = begin(graph, node, &c, error);
    if (status) return status;
    if (n_args != c.d.n_args || !args)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: got %u arguments, want %u", c.d.op->name, args ? n_args : 0,
                         c.d.n_args);
    status = mlxn_dispatch_build(graph->device, &c.d, c.op, args, params, params_size, &failure);
    for (uint32_t i = 0; !status && i < n_args; i++)
        status = mlxn_temporary_check(c.bindings[i].buffer, 0, c.d.op->name, c.d.op->args[i].name, &failure);
    if (status) {
        if (error) *error = failure;
        return status;
    }
    return commit(graph, node, &c, error);
}

/* ---- copies and fills ---- */

static mlxn_status commit_move(mlxn_graph *graph, uint64_t node, const mlxn_node *next, bool moved, mlxn_buffer *src,
                               mlxn_buffer *dst, mlxn_error *error) {
    mlxn_status status = own(graph, error);
    if (!status) status = keep(graph, src, MLXN_KEEP_BUFFER, error);
    if (!status) status = keep(graph, dst, MLXN_KEEP_BUFFER, error);
    if (status) return status;
    graph->instance->source->nodes[node] = *next;
    if (moved)
        for (uint32_t arg = 0; arg < 2; arg++) forget_temporary(graph->instance->source, node, arg);
    changed(graph, node, moved);
    return mlxn_succeed(error);
}

mlxn_status mlxn_graph_set_copy(mlxn_graph *graph, uint64_t node, mlxn_buffer *src, uint64_t src_offset,
                                mlxn_buffer *dst, uint64_t dst_offset, uint64_t bytes, mlxn_error *error) {
    const mlxn_node *found = NULL;
    mlxn_error failure;
    mlxn_status status = find(graph, node, MLXN_NODE_COPY, "copy_bytes", &found, error);
    if (status) return status;
    if (mlxn_copy_check(graph->device, src, src_offset, dst, dst_offset, bytes, &failure) ||
        mlxn_temporary_check(src, 0, "copy", "src", &failure) ||
        mlxn_temporary_check(dst, 0, "copy", "dst", &failure)) {
        if (error) *error = failure;
        return failure.status;
    }
    if (!bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "copy: bytes is 0, want at least 1 in a graph");
    mlxn_node next = {.kind = MLXN_NODE_COPY};
    next.u.copy.src = src;
    next.u.copy.dst = dst;
    next.u.copy.src_offset = src_offset;
    next.u.copy.dst_offset = dst_offset;
    next.u.copy.bytes = bytes;
    bool moved = src != found->u.copy.src || dst != found->u.copy.dst || bytes != found->u.copy.bytes ||
                 src_offset != found->u.copy.src_offset || dst_offset != found->u.copy.dst_offset;
    return commit_move(graph, node, &next, moved, src, dst, error);
}

mlxn_status mlxn_graph_set_fill(mlxn_graph *graph, uint64_t node, mlxn_buffer *dst, uint64_t offset, uint64_t bytes,
                                uint8_t value, mlxn_error *error) {
    const mlxn_node *found = NULL;
    mlxn_error failure;
    mlxn_status status = find(graph, node, MLXN_NODE_FILL, "fill_bytes", &found, error);
    if (status) return status;
    if (mlxn_fill_check(graph->device, dst, offset, bytes, &failure) ||
        mlxn_temporary_check(dst, 0, "fill", "dst", &failure)) {
        if (error) *error = failure;
        return failure.status;
    }
    if (!bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "fill: bytes is 0, want at least 1 in a graph");
    mlxn_node next = {.kind = MLXN_NODE_FILL};
    next.u.fill.dst = dst;
    next.u.fill.offset = offset;
    next.u.fill.bytes = bytes;
    next.u.fill.value = value;
    bool moved = dst != found->u.fill.dst || offset != found->u.fill.offset || bytes != found->u.fill.bytes;
    return commit_move(graph, node, &next, moved, NULL, dst, error);
}

/* ---- kernels of the user's own ---- */

static mlxn_status find_slot(const mlxn_graph *graph, uint64_t node, uint32_t slot, const mlxn_kernel_launch **launch,
                             uint32_t *index, mlxn_error *error) {
    const mlxn_node *found = NULL;
    mlxn_status status = find(graph, node, MLXN_NODE_KERNEL, "a kernel of the user's own", &found, error);
    if (status) return status;
    *launch = found->u.kernel;
    for (*index = 0; *index < (*launch)->n_bindings; ++*index)
        if ((*launch)->bindings[*index].slot == slot) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": slot %u: nothing was bound to it",
                     (*launch)->kernel->label, slot);
}

mlxn_status mlxn_graph_set_kernel_buffer(mlxn_graph *graph, uint64_t node, uint32_t slot, mlxn_buffer *buffer,
                                         uint64_t offset, uint64_t bytes, mlxn_error *error) {
    const mlxn_kernel_launch *launch;
    uint32_t index;
    mlxn_error failure;
    mlxn_status status = find_slot(graph, node, slot, &launch, &index, error);
    if (status) return status;
    const char *label = launch->kernel->label;
    if (!buffer || !launch->bindings[index].memory.buffer)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": slot %u: %s", label, slot,
                         buffer ? "inline bytes were recorded there" : "the buffer is NULL");
    if (buffer->device != graph->device)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": slot %u: the buffer belongs to another device",
                         label, slot);
    uint64_t end = buffer->size;
    if (offset >= end || (bytes && !mlxn_add_u64(offset, bytes, &end)) || end > buffer->size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "kernel \"%s\": slot %u: range is %llu + %llu bytes, buffer has %llu", label, slot,
                         (unsigned long long)offset, (unsigned long long)bytes, (unsigned long long)buffer->size);
    char name[16];
    snprintf(name, sizeof name, "slot %u", slot);
    if (mlxn_temporary_check(buffer, 0, label, name, &failure)) {
        if (error) *error = failure;
        return failure.status;
    }
    const mlxn_binding next = {buffer, offset, end};
    for (uint32_t i = 0; i < launch->n_bindings; i++) {
        const mlxn_kernel_binding *b = &launch->bindings[i];
        bool writes = b->role & MLXN_KERNEL_WRITE || launch->bindings[index].role & MLXN_KERNEL_WRITE;
        if (i == index || !writes || b->memory.buffer != buffer || b->memory.offset >= end || offset >= b->memory.end)
            continue;
        uint32_t w = launch->bindings[index].role & MLXN_KERNEL_WRITE ? index : i, other = w == index ? i : index;
        return mlxn_fail(
            error, MLXN_ERR_ARGUMENT,
            "kernel \"%s\": slot %u, which is written, overlaps slot %u in bytes [%llu, %llu) of one buffer", label,
            launch->bindings[w].slot, launch->bindings[other].slot,
            (unsigned long long)mlxn_max_u64(offset, b->memory.offset),
            (unsigned long long)mlxn_min_u64(end, b->memory.end));
    }
    status = own(graph, error);
    if (!status) status = keep(graph, buffer, MLXN_KEEP_BUFFER, error);
    if (status) return status;
    mlxn_kernel_binding *b = &graph->instance->source->nodes[node].u.kernel->bindings[index];
    bool moved = !same_range(&b->memory, &next);
    if (moved) forget_temporary(graph->instance->source, node, index);
    b->memory = next;
    b->address = buffer->host ? buffer->host + offset : NULL;
    b->bytes = end - offset;
    changed(graph, node, moved);
    return mlxn_succeed(error);
}

mlxn_status mlxn_graph_set_kernel_bytes(mlxn_graph *graph, uint64_t node, uint32_t slot, const void *data,
                                        uint32_t bytes, mlxn_error *error) {
    const mlxn_kernel_launch *launch;
    uint32_t index;
    mlxn_status status = find_slot(graph, node, slot, &launch, &index, error);
    if (status) return status;
    const mlxn_kernel_binding *b = &launch->bindings[index];
    if (b->memory.buffer || !data)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": slot %u: %s", launch->kernel->label, slot,
                         data ? "a buffer was recorded there" : "data is NULL");
    if (bytes != b->bytes)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "kernel \"%s\": slot %u: got %u inline bytes, want %llu as recorded", launch->kernel->label,
                         slot, bytes, (unsigned long long)b->bytes);
    status = own(graph, error);
    if (status) return status;
    memcpy(graph->instance->source->nodes[node].u.kernel->bindings[index].address, data, bytes);
    changed(graph, node, false);
    return mlxn_succeed(error);
}
