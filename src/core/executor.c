/* executor.c: graph sessions of executor.h. A recorded session takes its capture without a program and replays the
 * nodes into command buffers, which then hold the instance. */
#include <mlxn/executor.h>

#include "core/graph.h"
#include "core/profile.h"

enum { DUAL_LEAST = 64, DUAL_PART = 10 };

struct mlxn_executor {
    mlxn_device *device;
};

struct mlxn_graph_session {
    mlxn_encoder *encoder;
    bool recorded;
    uint64_t begun_ns;
    mlxn_capture *capture; /* MLX_METAL_CAPTURE, NULL if not this session's; ends with it */
    mlxn_hazards ranges;   /* of the present group, as the caller stated them */
    uint64_t barriers, dispatches, group_size, groups, group_sizes[MLXN_GROUP_BINS];
};

mlxn_status mlxn_executor_create(mlxn_device *device, mlxn_executor **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "executor: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "executor: device is NULL");
    mlxn_executor *executor = mlxn_alloc(sizeof *executor);
    if (!executor) return mlxn_fail(error, MLXN_ERR_MEMORY, "executor: out of memory for its record");
    executor->device = mlxn_device_retain(device);
    *out = executor;
    return mlxn_succeed(error);
}

void mlxn_executor_destroy(mlxn_executor *executor) {
    if (!executor) return;
    mlxn_device_release(&executor->device);
    mlxn_free(executor);
}

mlxn_device *mlxn_executor_device(const mlxn_executor *executor) { return executor ? executor->device : NULL; }

static mlxn_status begin(mlxn_executor *executor, bool recorded, mlxn_graph_session **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: out is NULL");
    *out = NULL;
    if (!executor) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: executor is NULL");
    mlxn_graph_session *session = mlxn_alloc(sizeof *session);
    if (!session) return mlxn_fail(error, MLXN_ERR_MEMORY, "graph session: out of memory for its record");
    session->recorded = recorded;
    session->begun_ns = mlxn_now_ns();
    session->ranges.group = 1;
    mlxn_status status = mlxn_encoder_create(executor->device, &session->encoder, error);
    if (!status && recorded) status = mlxn_encoder_start_capture(session->encoder, error);
    if (status) {
        mlxn_graph_session_destroy(session);
        return status;
    }
    session->capture = mlxn_capture_begin_from_env(executor->device);
    session->encoder->owned = true; /* finish and commit submit, and nobody else */
    *out = session;
    return mlxn_succeed(error);
}

mlxn_status mlxn_executor_begin(mlxn_executor *executor, mlxn_graph_session **out, mlxn_error *error) {
    return begin(executor, false, out, error);
}

mlxn_status mlxn_executor_begin_recorded(mlxn_executor *executor, mlxn_graph_session **out, mlxn_error *error) {
    return begin(executor, true, out, error);
}

void mlxn_graph_session_destroy(mlxn_graph_session *session) {
    if (!session) return;
    mlxn_capture_destroy(session->capture);
    mlxn_encoder_destroy(session->encoder);
    mlxn_hazards_free(&session->ranges);
    mlxn_free(session);
}

mlxn_encoder *mlxn_graph_session_encoder(mlxn_graph_session *session) { return session ? session->encoder : NULL; }
mlxn_device *mlxn_graph_session_device(const mlxn_graph_session *session) {
    return session ? session->encoder->device : NULL;
}
bool mlxn_graph_session_is_recording(const mlxn_graph_session *session) { return session && session->recorded; }

/* ---- barriers by hand ---- */

static void close_group(mlxn_graph_session *session) {
    if (session->group_size) {
        session->group_sizes[mlxn_min_u64(session->group_size, MLXN_GROUP_BINS) - 1]++;
        session->groups++;
    }
    session->group_size = 0;
}

void mlxn_graph_session_barrier(mlxn_graph_session *session) {
    if (!session) return;
    mlxn_encoder_barrier(session->encoder);
    mlxn_hazards_reset(&session->ranges);
    session->barriers++;
    close_group(session);
}

static uint64_t end_of(const mlxn_range *r) { return r->bytes ? r->offset + r->bytes : r->buffer->size; }

static mlxn_status check_ranges(const mlxn_graph_session *session, const mlxn_range *ranges, uint32_t n,
                                const char *what, mlxn_error *error) {
    if (n && !ranges) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: %s is NULL", what);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t end;
        if (!ranges[i].buffer || ranges[i].buffer->device != session->encoder->device)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: %s[%u]: %s", what, i,
                             ranges[i].buffer ? "the buffer belongs to another device" : "buffer is NULL");
        if (!mlxn_add_u64(ranges[i].offset, ranges[i].bytes, &end) || end > ranges[i].buffer->size)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "graph session: %s[%u]: range is %llu + %llu bytes, buffer has %llu", what, i,
                             (unsigned long long)ranges[i].offset, (unsigned long long)ranges[i].bytes,
                             (unsigned long long)ranges[i].buffer->size);
    }
    return MLXN_OK;
}

static bool conflicts(const mlxn_graph_session *session, const mlxn_range *ranges, uint32_t n, bool write) {
    for (uint32_t i = 0; i < n; i++)
        if (mlxn_hazards_conflict(&session->ranges, ranges[i].buffer, ranges[i].offset, end_of(&ranges[i]), write))
            return true;
    return false;
}

static mlxn_status track(mlxn_graph_session *session, const mlxn_range *reads, uint32_t n_reads,
                         const mlxn_range *writes, uint32_t n_writes, bool check, mlxn_error *error) {
    if (!session) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: session is NULL");
    mlxn_status status = check_ranges(session, reads, n_reads, "reads", error);
    if (!status) status = check_ranges(session, writes, n_writes, "writes", error);
    if (status) return status;
    if (check) {
        if (conflicts(session, reads, n_reads, false) || conflicts(session, writes, n_writes, true))
            mlxn_graph_session_barrier(session);
        session->dispatches++;
        session->group_size++;
    }
    for (uint32_t i = 0; i < n_reads + n_writes; i++) {
        bool write = i >= n_reads;
        const mlxn_range *r = write ? &writes[i - n_reads] : &reads[i];
        if (!mlxn_hazards_add(&session->ranges, r->buffer, r->offset, end_of(r), write))
            return mlxn_fail(error, MLXN_ERR_MEMORY, "graph session: out of memory for its ranges");
    }
    return mlxn_succeed(error);
}

mlxn_status mlxn_graph_session_barrier_between(mlxn_graph_session *session, const mlxn_range *reads, uint32_t n_reads,
                                               const mlxn_range *writes, uint32_t n_writes, mlxn_error *error) {
    return track(session, reads, n_reads, writes, n_writes, true, error);
}

mlxn_status mlxn_graph_session_track_dispatch(mlxn_graph_session *session, const mlxn_range *reads, uint32_t n_reads,
                                              const mlxn_range *writes, uint32_t n_writes, mlxn_error *error) {
    return track(session, reads, n_reads, writes, n_writes, false, error);
}

uint64_t mlxn_graph_session_barrier_count(const mlxn_graph_session *session) {
    return session ? session->barriers : 0;
}

void mlxn_graph_session_get_stats(const mlxn_graph_session *session, mlxn_graph_session_stats *out) {
    if (!out) return;
    *out = (mlxn_graph_session_stats){0};
    if (!session) return;
    out->dispatches = session->dispatches;
    out->barriers = session->barriers;
    out->groups = session->groups + (session->group_size > 0);
    memcpy(out->group_sizes, session->group_sizes, sizeof session->group_sizes);
    if (session->group_size) out->group_sizes[mlxn_min_u64(session->group_size, MLXN_GROUP_BINS) - 1]++;
}

void mlxn_graph_session_log_stats(const mlxn_graph_session *session) {
    mlxn_graph_session_stats s;
    mlxn_graph_session_get_stats(session, &s);
    if (!session) return;
    unsigned long long n[MLXN_GROUP_BINS];
    for (int i = 0; i < MLXN_GROUP_BINS; i++) n[i] = (unsigned long long)s.group_sizes[i];
    mlxn_device_log(session->encoder->device,
                    "mlxn: graph session: %llu dispatches, %llu barriers, %llu groups, %.2f dispatches per group, "
                    "sizes 1 to 8+: %llu %llu %llu %llu %llu %llu %llu %llu",
                    (unsigned long long)s.dispatches, (unsigned long long)s.barriers, (unsigned long long)s.groups,
                    s.groups ? (double)s.dispatches / (double)s.groups : 0.0, n[0], n[1], n[2], n[3], n[4], n[5],
                    n[6], n[7]);
}

/* ---- finishing ---- */

/* Nodes [first, last) of what the graph runs, into the open command buffer. */
static mlxn_status replay(mlxn_encoder *encoder, mlxn_graph_instance *instance, size_t first, size_t last,
                          uint64_t *barriers) {
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list) return encoder->error.status;
    if (first < last && !mlxn_list_keep(list, instance, MLXN_KEEP_GRAPH))
        return mlxn_encoder_stick_memory(encoder, "replay");
    for (size_t i = first; i < last; i++) {
        mlxn_node *node = mlxn_list_add(list, instance->list.nodes[i].kind);
        if (!node) return mlxn_encoder_stick_memory(encoder, "replay");
        *node = instance->list.nodes[i];
        if (mlxn_node_computes(node)) {
            mlxn_encoder_note_work(encoder);
        } else {
            mlxn_encoder_new_group(encoder);
            encoder->open->barriers++;
            ++*barriers;
        }
    }
    mlxn_encoder_new_group(encoder);
    return MLXN_OK;
}

/* Behind the first `n` nodes that compute. */
static size_t behind(const mlxn_node_list *list, uint64_t n) {
    size_t i = 0;
    for (; i < list->count && n; i++) n -= mlxn_node_computes(&list->nodes[i]);
    return i;
}

typedef struct finish {
    mlxn_encoder *encoder;
    mlxn_finish_options options;
    mlxn_finish_result result;
    mlxn_command_buffer *first; /* of two */
    uint64_t taken_ns;
} finish;

static mlxn_status submit_first(finish *f, mlxn_error *error) {
    if (f->encoder->open) f->encoder->open->timed = true;
    mlxn_status status = mlxn_encoder_submit(f->encoder, "graph session 0", false, error);
    if (!status) f->first = mlxn_command_buffer_retain(f->encoder->last);
    return status;
}

/* The recorded nodes, up to what the last command buffer holds. */
static mlxn_status play(finish *f, mlxn_error *error) {
    const mlxn_graph_desc desc = {.struct_size = sizeof desc,
                                  .fuse = f->options.fuse,
                                  .reorder = f->options.reorder,
                                  .dead = f->options.dead,
                                  .n_dead = f->options.n_dead};
    mlxn_graph *graph;
    mlxn_status status = mlxn_graph_take(f->encoder, &desc, false, &graph, error);
    if (status) return status;
    mlxn_graph_instance *instance = graph->instance;
    const mlxn_graph_source *source = instance->source;
    f->taken_ns = mlxn_now_ns();
    f->result.fusions = source->fusions;
    f->result.moved = source->moved;
    if (f->options.reorder && source->fences && mlxn_gate_on(MLXN_GATE_TIMING))
        mlxn_device_log(f->encoder->device,
                        "mlxn: graph session: %llu of %u dispatches have arguments of unknown role and stay in place",
                        (unsigned long long)source->fences, source->count);
    size_t middle = instance->list.count;
    if (f->options.dual)
        middle = behind(&instance->list, mlxn_max_u64(DUAL_LEAST, (uint64_t)source->count / DUAL_PART));
    status = replay(f->encoder, instance, 0, middle, &f->result.barriers0);
    /* The queue orders one command buffer after the other: a barrier between the two is not needed. */
    while (middle < instance->list.count && !mlxn_node_computes(&instance->list.nodes[middle])) middle++;
    if (!status && middle < instance->list.count) {
        status = submit_first(f, error);
        if (!status) status = replay(f->encoder, instance, middle, instance->list.count, &f->result.barriers1);
    }
    mlxn_graph_destroy(graph);
    return status ? mlxn_encoder_status(f->encoder, error) : MLXN_OK;
}

static mlxn_status submit_last(finish *f, mlxn_error *error) {
    if (f->encoder->open) f->encoder->open->timed = true;
    const char *label = f->first ? "graph session 1" : "graph session";
    mlxn_status status = mlxn_encoder_submit(f->encoder, label, true, error);
    if (!status && !f->options.timing) MLXN_COUNT(f->encoder, sync);
    return status;
}

static void read_times(finish *f) {
    const uint64_t *last = f->encoder->last->ran_ns, *first = f->first ? f->first->ran_ns : last;
    f->result.gpu_ns = last[1] > first[0] && first[0] ? last[1] - first[0] : 0;
}

static mlxn_status run(finish *f, bool recorded, uint64_t start_ns, mlxn_error *error) {
    mlxn_status status = recorded ? play(f, error) : MLXN_OK;
    if (!status) status = submit_last(f, error);
    uint64_t committed = mlxn_now_ns();
    f->result.encode_ns = committed > start_ns ? committed - start_ns : 0;
    mlxn_status waited = status;
    if (!status) {
        waited = mlxn_encoder_wait_completed(f->encoder, error);
        f->result.wait_ns = mlxn_now_ns() - committed;
    }
    /* What went wrong first is the cause of what went wrong later. */
    mlxn_error failure;
    mlxn_status before = f->first ? mlxn_command_buffer_wait(f->first, UINT64_MAX, &failure) : MLXN_OK;
    if (before && error) *error = failure;
    if (!status) read_times(f);
    return before ? before : waited;
}

mlxn_status mlxn_graph_session_finish(mlxn_graph_session **handle, const mlxn_finish_options *options,
                                      mlxn_finish_result *result, mlxn_error *error) {
    if (result) *result = (mlxn_finish_result){0};
    if (!handle || !*handle) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: session is NULL");
    mlxn_graph_session *session = *handle;
    *handle = NULL;
    finish f = {.encoder = session->encoder};
    mlxn_status status = MLXN_OK;
    if (options && !options->struct_size)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: options: struct_size is 0");
    else if (options)
        memcpy(&f.options, options, mlxn_min_u64(options->struct_size, sizeof f.options));
    uint64_t begun = mlxn_now_ns();
    if (!status) {
        uint64_t start = f.options.start_ns ? f.options.start_ns : session->begun_ns;
        status = run(&f, session->recorded, start, error);
    }
    if (session->recorded && f.taken_ns && mlxn_gate_on(MLXN_GATE_GRAPH_DIAG))
        mlxn_device_log(f.encoder->device,
                        "mlxn: graph session: graph %.1f us, replay and wait %.1f us, wait %.1f us, device %.1f us, "
                        "%llu fused, %llu moved, %llu + %llu barriers",
                        (double)(f.taken_ns - begun) * 1e-3, (double)(mlxn_now_ns() - f.taken_ns) * 1e-3,
                        (double)f.result.wait_ns * 1e-3, (double)f.result.gpu_ns * 1e-3,
                        (unsigned long long)f.result.fusions, (unsigned long long)f.result.moved,
                        (unsigned long long)f.result.barriers0, (unsigned long long)f.result.barriers1);
    mlxn_command_buffer_release(&f.first);
    mlxn_graph_session_destroy(session);
    if (result) *result = f.result;
    return status ? status : mlxn_succeed(error);
}

mlxn_status mlxn_graph_session_commit(mlxn_graph_session **handle, mlxn_encoder **encoder, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: encoder is NULL");
    *encoder = NULL;
    if (!handle || !*handle) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "graph session: session is NULL");
    mlxn_graph_session *session = *handle;
    *handle = NULL;
    finish f = {.encoder = session->encoder};
    mlxn_status status = session->recorded ? play(&f, error) : MLXN_OK;
    if (!status) status = mlxn_encoder_submit(session->encoder, "graph session", false, error);
    if (!status) {
        session->encoder->owned = false;
        *encoder = session->encoder;
        session->encoder = NULL;
    }
    mlxn_graph_session_destroy(session);
    return status ? status : mlxn_succeed(error);
}
