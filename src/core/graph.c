/* graph.c: the life of graphs and of what their launches run: capture, taking it, references. */
#include "core/graph.h"

/* ---- capture ---- */

mlxn_status mlxn_encoder_start_capture(mlxn_encoder *encoder, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture: encoder is NULL");
    if (encoder->error.status) {
        if (error) *error = encoder->error;
        return encoder->error.status;
    }
    mlxn_list_clear(&encoder->capture);
    mlxn_encoder_restart_stats(encoder);
    encoder->capture_dispatches = encoder->capture_barriers = 0;
    encoder->capture_has_dispatch = false;
    encoder->n_temporaries = 0;
    encoder->capture_id = 1 + atomic_fetch_add_explicit(&encoder->device->next_capture_id, 1, memory_order_relaxed);
    encoder->capturing = true;
    return mlxn_succeed(error);
}

bool mlxn_encoder_is_capturing(const mlxn_encoder *encoder) { return encoder && encoder->capturing; }

/* ---- instances ---- */

mlxn_graph_instance *mlxn_graph_instance_create(mlxn_device *device, uint32_t count) {
    mlxn_graph_instance *instance = mlxn_alloc(sizeof *instance);
    mlxn_graph_source *source = mlxn_alloc(sizeof *source);
    if (!instance || !source) {
        mlxn_free(instance);
        mlxn_free(source);
        return NULL;
    }
    atomic_init(&instance->refs, 1);
    instance->device = mlxn_device_retain(device);
    instance->source = source;
    source->nodes = mlxn_alloc_array(count, sizeof *source->nodes);
    source->barriers = mlxn_alloc_array((size_t)count + 1, sizeof *source->barriers);
    source->level = mlxn_alloc_array(count, sizeof *source->level);
    source->place = mlxn_alloc_array(count, sizeof *source->place);
    source->ordinal = mlxn_alloc_array(count, sizeof *source->ordinal);
    if (source->nodes && source->barriers && source->level && source->place && source->ordinal) return instance;
    mlxn_graph_instance_drop(instance);
    return NULL;
}

void mlxn_graph_instance_hold(mlxn_graph_instance *instance) {
    atomic_fetch_add_explicit(&instance->refs, 1, memory_order_relaxed);
}

static void free_source(mlxn_graph_source *source) {
    mlxn_buffer_release(&source->arena);
    mlxn_free(source->nodes);
    mlxn_free(source->barriers);
    mlxn_free(source->level);
    mlxn_free(source->place);
    mlxn_free(source->ordinal);
    mlxn_free(source->spare);
    mlxn_free(source->temporaries);
    mlxn_free(source->uses);
    mlxn_free(source);
}

void mlxn_graph_instance_drop(mlxn_graph_instance *instance) {
    if (atomic_fetch_sub_explicit(&instance->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_device *device = instance->device;
    if (instance->program) device->backend->program_destroy(device->impl, instance->program);
    free_source(instance->source);
    mlxn_list_free(&instance->list);
    mlxn_free(instance);
    mlxn_device_release(&device);
}

/* ---- taking a capture ---- */

/* The nodes of a captured list without the barriers that the hazard tracker placed. */
static void fill_source(mlxn_graph_source *source, const mlxn_node_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        const mlxn_node *node = &list->nodes[i];
        if (mlxn_node_computes(node))
            source->nodes[source->count++] = *node;
        else
            source->barriers[source->count] += node->u.asked;
    }
}

static mlxn_status check_desc(const mlxn_encoder *encoder, const mlxn_graph_desc *given, mlxn_graph_desc *desc,
                              mlxn_error *error) {
    *desc = (mlxn_graph_desc){.struct_size = sizeof *desc};
    if (!given) return MLXN_OK;
    if (!given->struct_size) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: desc: struct_size is 0");
    memcpy(desc, given, mlxn_min_u64(given->struct_size, sizeof *desc));
    if ((unsigned)desc->fuse > MLXN_FUSE_ALL)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: desc: fuse is %d, want 0 to %d", (int)desc->fuse,
                         MLXN_FUSE_ALL);
    if (desc->n_dead && !desc->dead)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: desc: dead is NULL, n_dead is %u", desc->n_dead);
    for (uint32_t i = 0; i < desc->n_dead; i++) {
        const mlxn_range *r = &desc->dead[i];
        uint64_t end;
        if (!r->buffer || r->buffer->device != encoder->device)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: dead[%u]: %s", i,
                             r->buffer ? "the buffer belongs to another device" : "buffer is NULL");
        if (!mlxn_add_u64(r->offset, r->bytes, &end) || end > r->buffer->size)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph: dead[%u]: range is %llu + %llu bytes, buffer has %llu",
                             i, (unsigned long long)r->offset, (unsigned long long)r->bytes,
                             (unsigned long long)r->buffer->size);
    }
    return MLXN_OK;
}

/* The graph owns the captured list while it is made, and gives it back if that fails. */
static mlxn_status make(mlxn_encoder *encoder, mlxn_graph *graph, const mlxn_graph_desc *desc, bool program,
                        mlxn_error *error) {
    mlxn_graph_instance *instance = graph->instance;
    mlxn_graph_source *source = instance->source;
    fill_source(source, &encoder->capture);
    source->serial = encoder->serial;
    source->reorder = desc->reorder;
    if (desc->fuse && !mlxn_graph_fuse(encoder->device, source, &encoder->capture, desc))
        return mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for fusing %u nodes", source->count);
    if (!mlxn_temporaries_find(source, encoder->temporaries, encoder->n_temporaries))
        return mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for %u temporaries", encoder->n_temporaries);
    instance->list = encoder->capture;
    mlxn_status status = mlxn_graph_derive(instance, &graph->levels, program, error);
    encoder->capture = status ? instance->list : (mlxn_node_list){0};
    if (status) {
        instance->list = (mlxn_node_list){0};
        mlxn_temporaries_unbind(source);
    }
    return status;
}

mlxn_status mlxn_graph_take(mlxn_encoder *encoder, const mlxn_graph_desc *given, bool program, mlxn_graph **out,
                            mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture: out is NULL");
    *out = NULL;
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture: encoder is NULL");
    if (encoder->error.status) {
        if (error) *error = encoder->error;
        return encoder->error.status;
    }
    if (!encoder->capturing)
        return mlxn_fail(error, MLXN_ERR_STATE, "capture: the encoder is not capturing, start_capture comes first");
    mlxn_graph_desc desc;
    mlxn_status status = check_desc(encoder, given, &desc, error);
    if (status) return status;
    if (encoder->capture.count >= UINT32_MAX / 4)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "graph: %zu nodes, want fewer than 2^30", encoder->capture.count);
    mlxn_graph *graph = mlxn_alloc(sizeof *graph);
    if (graph) graph->instance = mlxn_graph_instance_create(encoder->device, (uint32_t)encoder->capture.count);
    if (!graph || !graph->instance) {
        mlxn_free(graph);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for its record");
    }
    graph->device = mlxn_device_retain(encoder->device);
    /* What follows is ordered against what the open command buffer held before the capture by a barrier. It comes
     * first, and goes again if the graph cannot be made: so a failure leaves the capture as it was. */
    mlxn_node_list *open = encoder->open && encoder->open->has_dispatch ? &encoder->open->list : NULL;
    mlxn_node *barrier = open ? mlxn_list_add(open, MLXN_NODE_BARRIER) : NULL;
    if (barrier) barrier->u.asked = false;
    if (open && !barrier)
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for a barrier");
    else
        status = make(encoder, graph, &desc, program, error);
    if (status) {
        if (barrier) open->count--;
        mlxn_graph_destroy(graph);
        return status;
    }
    encoder->capturing = false;
    encoder->n_temporaries = 0;
    mlxn_encoder_restart_stats(encoder);
    *out = graph;
    return mlxn_succeed(error);
}

mlxn_status mlxn_encoder_take_capture_with(mlxn_encoder *encoder, const mlxn_graph_desc *desc, mlxn_graph **out,
                                           mlxn_error *error) {
    return mlxn_graph_take(encoder, desc, true, out, error);
}

mlxn_status mlxn_encoder_take_capture(mlxn_encoder *encoder, mlxn_graph **out, mlxn_error *error) {
    return mlxn_graph_take(encoder, NULL, true, out, error);
}

/* ---- graphs ---- */

/* What the nodes use and nothing else. Without memory for that, too much is kept until the next time. */
static void keep_again(mlxn_graph_instance *instance) {
    mlxn_graph_source *source = instance->source;
    mlxn_node_list fresh = {0};
    bool good = true;
    for (uint32_t i = 0; good && i < source->count; i++) good = mlxn_list_keep_node(&fresh, &source->nodes[i]);
    for (uint32_t i = 0; good && i < source->n_temporaries; i++)
        good = mlxn_list_keep(&fresh, source->temporaries[i].buffer, MLXN_KEEP_BUFFER);
    if (good) {
        struct mlxn_keep keep = instance->list.keep;
        instance->list.keep = fresh.keep;
        fresh.keep = keep;
        source->stale_keep = false;
    }
    mlxn_list_free(&fresh);
}

mlxn_status mlxn_graph_ready(mlxn_graph *graph, mlxn_error *error) {
    mlxn_graph_source *source = graph->instance->source;
    mlxn_status status = MLXN_OK;
    if (source->stale_order)
        status = mlxn_graph_derive(graph->instance, &graph->levels, true, error);
    else if (source->stale_program)
        status = mlxn_graph_program(graph->instance, error);
    if (!status && source->stale_keep) keep_again(graph->instance);
    return status;
}

void mlxn_graph_destroy(mlxn_graph *graph) {
    if (!graph) return;
    mlxn_graph_instance_drop(graph->instance);
    mlxn_levels_free(&graph->levels);
    mlxn_device_release(&graph->device);
    mlxn_free(graph);
}

uint64_t mlxn_graph_dispatch_count(const mlxn_graph *graph) { return graph ? graph->instance->dispatches : 0; }
uint64_t mlxn_graph_barrier_count(const mlxn_graph *graph) { return graph ? graph->instance->barriers : 0; }

mlxn_status mlxn_graph_get_info(const mlxn_graph *graph, mlxn_graph_info *out) {
    if (!graph || !out || !out->struct_size) return MLXN_ERR_ARGUMENT;
    const mlxn_graph_source *source = graph->instance->source;
    mlxn_graph_info info = {.struct_size = out->struct_size,
                            .nodes = source->count,
                            .barriers = graph->instance->barriers,
                            .groups = source->groups,
                            .fusions = source->fusions,
                            .patches = graph->patches,
                            .moved = source->moved,
                            .temporary_bytes = source->temporary_bytes,
                            .temporary_sum = source->temporary_sum};
    memcpy(out, &info, mlxn_min_u64(out->struct_size, sizeof info));
    return MLXN_OK;
}

uint64_t mlxn_graph_node_count(const mlxn_graph *graph) { return graph ? graph->instance->source->count : 0; }

const char *mlxn_graph_node_name(const mlxn_graph *graph, uint64_t node) {
    if (node >= mlxn_graph_node_count(graph)) return NULL;
    return mlxn_node_name(&graph->instance->source->nodes[node]);
}

uint64_t mlxn_graph_find_node(const mlxn_graph *graph, const char *name, uint64_t n) {
    uint64_t count = name ? mlxn_graph_node_count(graph) : 0;
    for (uint64_t i = 0; i < count; i++)
        if (!strcmp(mlxn_graph_node_name(graph, i), name) && n-- == 0) return i;
    return UINT64_MAX;
}
