/* record.c: recording. Every record is validated, its hazards resolved and its kernel chosen here, once. */
#include "core/core.h"
#include "core/graph.h"

/* ---- copies, fills, waits, signals ---- */

static mlxn_status check_span(const mlxn_device *device, const char *what, const char *name,
                              const mlxn_buffer *buffer, uint64_t offset, uint64_t bytes, mlxn_error *failure) {
    uint64_t end;
    if (!buffer) return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s is NULL", what, name);
    if (buffer->device != device)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", what, name);
    if (!mlxn_add_u64(offset, bytes, &end) || end > buffer->size)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: range is %llu + %llu bytes, buffer has %llu", what,
                         name, (unsigned long long)offset, (unsigned long long)bytes,
                         (unsigned long long)buffer->size);
    return MLXN_OK;
}

mlxn_status mlxn_copy_check(const mlxn_device *device, mlxn_buffer *src, uint64_t src_offset, mlxn_buffer *dst,
                            uint64_t dst_offset, uint64_t bytes, mlxn_error *failure) {
    if (check_span(device, "copy", "src", src, src_offset, bytes, failure) ||
        check_span(device, "copy", "dst", dst, dst_offset, bytes, failure))
        return failure->status;
    if (src == dst && src_offset < dst_offset + bytes && dst_offset < src_offset + bytes)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT,
                         "copy: source at %llu and destination at %llu overlap over %llu bytes",
                         (unsigned long long)src_offset, (unsigned long long)dst_offset, (unsigned long long)bytes);
    return MLXN_OK;
}

mlxn_status mlxn_fill_check(const mlxn_device *device, mlxn_buffer *dst, uint64_t offset, uint64_t bytes,
                            mlxn_error *failure) {
    return check_span(device, "fill", "dst", dst, offset, bytes, failure);
}

/* The capture whose temporaries may be used. */
static uint64_t capture_of(const mlxn_encoder *encoder) { return encoder->capturing ? encoder->capture_id : 0; }

mlxn_status mlxn_encoder_copy(mlxn_encoder *encoder, mlxn_buffer *src, uint64_t src_offset, mlxn_buffer *dst,
                              uint64_t dst_offset, uint64_t bytes) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (mlxn_copy_check(encoder->device, src, src_offset, dst, dst_offset, bytes, &failure) ||
        mlxn_temporary_check(src, capture_of(encoder), "copy", "src", &failure) ||
        mlxn_temporary_check(dst, capture_of(encoder), "copy", "dst", &failure))
        return mlxn_encoder_stick(encoder, &failure);
    if (!bytes) return MLXN_OK;
    mlxn_access access[2] = {{src, src_offset, src_offset + bytes, false},
                             {dst, dst_offset, dst_offset + bytes, true}};
    mlxn_node *node;
    if (!mlxn_encoder_order(encoder, list, access, 2, false) || !(node = mlxn_list_add(list, MLXN_NODE_COPY)))
        return mlxn_encoder_stick_memory(encoder, "copy");
    node->u.copy.src = src;
    node->u.copy.dst = dst;
    node->u.copy.src_offset = src_offset;
    node->u.copy.dst_offset = dst_offset;
    node->u.copy.bytes = bytes;
    mlxn_encoder_note_work(encoder);
    return MLXN_OK;
}

mlxn_status mlxn_encoder_fill(mlxn_encoder *encoder, mlxn_buffer *dst, uint64_t offset, uint64_t bytes,
                              uint8_t value) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (mlxn_fill_check(encoder->device, dst, offset, bytes, &failure) ||
        mlxn_temporary_check(dst, capture_of(encoder), "fill", "dst", &failure))
        return mlxn_encoder_stick(encoder, &failure);
    if (!bytes) return MLXN_OK;
    mlxn_access access = {dst, offset, offset + bytes, true};
    mlxn_node *node;
    if (!mlxn_encoder_order(encoder, list, &access, 1, false) || !(node = mlxn_list_add(list, MLXN_NODE_FILL)))
        return mlxn_encoder_stick_memory(encoder, "fill");
    node->u.fill.dst = dst;
    node->u.fill.offset = offset;
    node->u.fill.bytes = bytes;
    node->u.fill.value = value;
    mlxn_encoder_note_work(encoder);
    return MLXN_OK;
}

static mlxn_status sync(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value, mlxn_node_kind kind,
                        const char *what) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (!timeline) {
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "%s: timeline is NULL", what);
        return mlxn_encoder_stick(encoder, &failure);
    }
    if (encoder->capturing) {
        mlxn_fail(&failure, MLXN_ERR_STATE, "%s: cannot be captured into a graph; record it around the launch", what);
        return mlxn_encoder_stick(encoder, &failure);
    }
    mlxn_node *node;
    if (!mlxn_list_keep(list, timeline, MLXN_KEEP_TIMELINE) || !(node = mlxn_list_add(list, kind)))
        return mlxn_encoder_stick_memory(encoder, what);
    node->u.sync.timeline = timeline;
    node->u.sync.value = value;
    mlxn_encoder_new_group(encoder); /* both order everything before against everything after */
    return MLXN_OK;
}

mlxn_status mlxn_encoder_wait(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value) {
    return sync(encoder, timeline, value, MLXN_NODE_WAIT, "wait");
}

mlxn_status mlxn_encoder_signal(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value) {
    return sync(encoder, timeline, value, MLXN_NODE_SIGNAL, "signal");
}

mlxn_status mlxn_encoder_launch(mlxn_encoder *encoder, mlxn_graph *graph) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (!graph || graph->device != encoder->device || encoder->capturing) {
        mlxn_fail(&failure, graph && encoder->capturing ? MLXN_ERR_STATE : MLXN_ERR_ARGUMENT, "launch: %s",
                  !graph               ? "graph is NULL"
                  : encoder->capturing ? "a launch cannot be captured into another graph"
                                       : "graph belongs to another device");
        return mlxn_encoder_stick(encoder, &failure);
    }
    if (mlxn_graph_ready(graph, &failure)) return mlxn_encoder_stick(encoder, &failure);
    mlxn_node *node;
    if (!mlxn_list_keep(list, graph->instance, MLXN_KEEP_GRAPH) || !(node = mlxn_list_add(list, MLXN_NODE_LAUNCH)))
        return mlxn_encoder_stick_memory(encoder, "launch");
    node->u.launch = graph->instance;
    mlxn_encoder_new_group(encoder);
    encoder->open->has_dispatch = true;
    MLXN_COUNT(encoder, launch);
    return MLXN_OK;
}

/* ---- operations ---- */

bool mlxn_encoder_keep(mlxn_encoder *encoder, mlxn_node_list *list, mlxn_buffer *buffer) {
    mlxn_command_buffer *cb = encoder->open;
    /* What is captured lives as long as its graph, so that it retains always. */
    if (!encoder->device->unretained || !cb || list != &cb->list)
        return mlxn_list_keep(list, buffer, MLXN_KEEP_BUFFER);
    if (!cb->use_serial) mlxn_live_begin_use(encoder->device, cb);
    uint64_t last = atomic_load_explicit(&buffer->last_use, memory_order_relaxed);
    while (last < cb->use_serial &&
           !atomic_compare_exchange_weak_explicit(&buffer->last_use, &last, cb->use_serial, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
    return true;
}

mlxn_status mlxn_encode(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t n_args, const void *params,
                        uint32_t params_size) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (op >= MLXN_OP_COUNT) {
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "encode: op is %u, the table has %d", op, (int)MLXN_OP_COUNT);
        return mlxn_encoder_stick(encoder, &failure);
    }
    const mlxn_op_def *def = mlxn_op_get(op);
    if (n_args != def->n_args || !args) {
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "%s: got %u arguments, want %u", def->name, args ? n_args : 0,
                  def->n_args);
        return mlxn_encoder_stick(encoder, &failure);
    }
    mlxn_dispatch *d = mlxn_list_dispatch(list, def, n_args);
    if (!d) return mlxn_encoder_stick_memory(encoder, def->name);
    if (mlxn_dispatch_build(encoder->device, d, op, args, params, params_size, &failure))
        return mlxn_encoder_stick(encoder, &failure);
    uint64_t capture = capture_of(encoder);
    mlxn_access used[MLXN_MAX_ARGS];
    size_t n_used = 0;
    for (uint32_t i = 0; i < n_args; i++) {
        const mlxn_binding *b = &d->bindings[i];
        if (d->weights[i]) {
            if (!mlxn_list_keep(list, d->weights[i], MLXN_KEEP_WEIGHT))
                return mlxn_encoder_stick_memory(encoder, def->name);
        } else if (b->buffer) {
            if (mlxn_temporary_check(b->buffer, capture, def->name, def->args[i].name, &failure))
                return mlxn_encoder_stick(encoder, &failure);
            /* A write conflicts with reads too, so in-out needs no second entry. */
            used[n_used++] = (mlxn_access){b->buffer, b->offset, b->end, (def->args[i].role & MLXN_ROLE_OUT) != 0};
        }
    }
    mlxn_node *node;
    if (!mlxn_encoder_order(encoder, list, used, n_used, false) || !(node = mlxn_list_add(list, MLXN_NODE_DISPATCH)))
        return mlxn_encoder_stick_memory(encoder, def->name);
    node->u.dispatch = d;
    mlxn_encoder_note_work(encoder);
    MLXN_COUNT(encoder, dispatch);
    return MLXN_OK;
}

mlxn_status mlxn_encode_tracked(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t n_args,
                                const void *params, uint32_t params_size) {
    uint64_t before = encoder && encoder->open ? encoder->open->hazard_barriers : 0;
    mlxn_status status = mlxn_encode(encoder, op, args, n_args, params, params_size);
    if (status || encoder->capturing || !mlxn_gate_on(MLXN_GATE_AUTO_BARRIER)) return status;
    if (encoder->open->hazard_barriers > before)
        MLXN_COUNT(encoder, auto_barrier);
    else
        MLXN_COUNT(encoder, auto_concurrent);
    return status;
}
