/* graph.c: capture, instantiation, launch. */
#include "core/core.h"

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
    encoder->capturing = true;
    return mlxn_succeed(error);
}

bool mlxn_encoder_is_capturing(const mlxn_encoder *encoder) { return encoder && encoder->capturing; }

mlxn_status mlxn_encoder_take_capture(mlxn_encoder *encoder, mlxn_graph **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture: out is NULL");
    *out = NULL;
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "capture: encoder is NULL");
    if (encoder->error.status) {
        if (error) *error = encoder->error;
        return encoder->error.status;
    }
    if (!encoder->capturing)
        return mlxn_fail(error, MLXN_ERR_STATE, "capture: the encoder is not capturing, start_capture comes first");
    mlxn_graph *graph = mlxn_alloc(sizeof *graph);
    mlxn_graph_instance *instance = mlxn_alloc(sizeof *instance);
    if (!graph || !instance) {
        mlxn_free(graph);
        mlxn_free(instance);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for its record");
    }
    mlxn_device *device = encoder->device;
    mlxn_status status = device->backend->program_create(device->impl, encoder->capture.nodes, encoder->capture.count,
                                                         &instance->program, error);
    if (status) {
        device->backend->program_destroy(device->impl, instance->program); /* what there is of it */
        mlxn_free(instance);
        mlxn_free(graph);
        return status;
    }
    atomic_init(&instance->refs, 1);
    instance->device = mlxn_device_retain(device);
    instance->list = encoder->capture;
    instance->dispatches = encoder->capture_dispatches;
    instance->barriers = encoder->capture_barriers;
    graph->device = mlxn_device_retain(device);
    graph->instance = instance;
    encoder->capture = (mlxn_node_list){0};
    encoder->capturing = false;
    /* What follows is ordered against what the open command buffer held before the capture by a barrier. */
    mlxn_encoder_restart_stats(encoder);
    if (encoder->open && encoder->open->has_dispatch && !mlxn_list_add(&encoder->open->list, MLXN_NODE_BARRIER)) {
        mlxn_graph_destroy(graph);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory");
    }
    *out = graph;
    return mlxn_succeed(error);
}

void mlxn_graph_instance_hold(mlxn_graph_instance *instance) {
    atomic_fetch_add_explicit(&instance->refs, 1, memory_order_relaxed);
}

void mlxn_graph_instance_drop(mlxn_graph_instance *instance) {
    if (atomic_fetch_sub_explicit(&instance->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_device *device = instance->device;
    device->backend->program_destroy(device->impl, instance->program);
    mlxn_list_free(&instance->list);
    mlxn_free(instance);
    mlxn_device_release(&device);
}

void mlxn_graph_destroy(mlxn_graph *graph) {
    if (!graph) return;
    mlxn_graph_instance_drop(graph->instance);
    mlxn_device_release(&graph->device);
    mlxn_free(graph);
}

uint64_t mlxn_graph_dispatch_count(const mlxn_graph *graph) { return graph ? graph->instance->dispatches : 0; }
uint64_t mlxn_graph_barrier_count(const mlxn_graph *graph) { return graph ? graph->instance->barriers : 0; }
