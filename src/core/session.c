/* session.c: the multi-stage encoder session: a small state machine over one encoder and one timeline. */
#include "core/core.h"

typedef struct mlxn_stage {
    uint64_t value; /* the fence that it signals, 0 if none */
    mlxn_command_buffer *cb;
} mlxn_stage;

struct mlxn_session {
    mlxn_encoder *encoder;
    mlxn_timeline *timeline;
    bool shared; /* the timeline is the caller's */
    bool wait_on_destroy;
    bool drained, pending;
    uint64_t fence_value, wait_count, wait_value;
    char *label;
    mlxn_error error;   /* the first failure; sticky */
    mlxn_stage *stages; /* submitted and not yet seen to have completed, in order */
    size_t n_stages, capacity;
    uint64_t failed_value; /* fence of the failed stage, 0 if none */
};

bool mlxn_session_env_enabled(void) { return mlxn_gate_on(MLXN_GATE_ENCODER_SESSION); }

mlxn_status mlxn_device_encoder_session(mlxn_device *device, mlxn_session **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session: out is NULL");
    *out = NULL;
    return mlxn_session_env_enabled() ? mlxn_session_create(device, out, error) : mlxn_succeed(error);
}

mlxn_status mlxn_session_create_with(mlxn_device *device, const mlxn_session_desc *user, mlxn_session **out,
                                     mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session: device is NULL");
    mlxn_session_desc desc = {0};
    if (user) {
        if (user->struct_size < offsetof(mlxn_session_desc, timeline))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "session: struct_size is %u, want sizeof(mlxn_session_desc) = %zu", user->struct_size,
                             sizeof desc);
        memcpy(&desc, user, mlxn_min_u64(user->struct_size, sizeof desc));
    }
    if (!desc.queue) desc.queue = device->queue;
    if (desc.queue->device != device)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session: queue belongs to another device");
    mlxn_session *session = mlxn_alloc(sizeof *session);
    if (!session) return mlxn_fail(error, MLXN_ERR_MEMORY, "session: out of memory for its record");
    mlxn_status status = mlxn_encoder_create_on(desc.queue, &session->encoder, error);
    if (status) {
        mlxn_free(session);
        return status;
    }
    session->encoder->owned = true;
    session->timeline = mlxn_timeline_retain(desc.timeline);
    session->shared = desc.timeline != NULL;
    session->wait_on_destroy = desc.wait_on_destroy;
    *out = session;
    return mlxn_succeed(error);
}

mlxn_status mlxn_session_create(mlxn_device *device, mlxn_session **out, mlxn_error *error) {
    return mlxn_session_create_with(device, NULL, out, error);
}

void mlxn_session_destroy(mlxn_session *session) {
    if (!session) return;
    if (session->wait_on_destroy) mlxn_session_wait_all(session, UINT64_MAX, NULL);
    for (size_t i = 0; i < session->n_stages; i++) mlxn_command_buffer_release(&session->stages[i].cb);
    mlxn_free(session->stages);
    mlxn_encoder_destroy(session->encoder);
    mlxn_timeline_release(&session->timeline);
    mlxn_free(session->label);
    mlxn_free(session);
}

static mlxn_status give_error(const mlxn_session *session, mlxn_error *error) {
    if (error) *error = session->error;
    return session->error.status;
}

/* Forgets stages that completed, keeps the first failure. */
static void harvest(mlxn_session *session) {
    size_t kept = 0;
    for (size_t i = 0; i < session->n_stages; i++) {
        mlxn_stage stage = session->stages[i];
        mlxn_cb_state state = mlxn_command_buffer_state(stage.cb);
        if (state == MLXN_CB_COMMITTED) {
            session->stages[kept++] = stage;
            continue;
        }
        if (state == MLXN_CB_FAILED && !session->error.status) {
            mlxn_command_buffer_wait(stage.cb, 0, &session->error);
            session->failed_value = stage.value;
        }
        mlxn_command_buffer_release(&stage.cb);
    }
    session->n_stages = kept;
}

static mlxn_status check(mlxn_session *session, const char *call, mlxn_error *error) {
    if (!session) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session %s: session is NULL", call);
    harvest(session);
    /* Misuse of the encoder while nothing is open to be submitted would be forgotten otherwise. */
    if (!session->error.status && session->drained) mlxn_encoder_status(session->encoder, &session->error);
    return session->error.status ? give_error(session, error) : mlxn_succeed(error);
}

static void set_drained(mlxn_session *session, bool drained, bool pending) {
    session->drained = session->encoder->drained = drained;
    session->pending = pending;
}

static mlxn_status set_label(mlxn_session *session, const char *label, mlxn_error *error) {
    char *copy = label && *label ? mlxn_strdup(label) : NULL;
    if (label && *label && !copy) return mlxn_fail(error, MLXN_ERR_MEMORY, "session: out of memory for a label");
    mlxn_free(session->label);
    session->label = copy;
    session->encoder->stage = copy;
    return MLXN_OK;
}

mlxn_status mlxn_session_begin_stage(mlxn_session *session, const char *label) {
    mlxn_status status = check(session, "begin_stage", NULL);
    if (status) return status;
    return set_label(session, label, NULL);
}

mlxn_encoder *mlxn_session_encoder(mlxn_session *session) { return session ? session->encoder : NULL; }

static bool reserve_stage(mlxn_session *session) {
    if (session->n_stages < session->capacity) return true;
    size_t capacity = session->capacity ? session->capacity * 2 : 8;
    mlxn_stage *grown = mlxn_realloc_array(session->stages, capacity, sizeof *grown);
    if (!grown) return false;
    session->stages = grown;
    session->capacity = capacity;
    return true;
}

/* Submits the open command buffer and remembers it. A stage that cannot be submitted has failed, and with it the
 * session: whoever waits for its fence is told so. */
static mlxn_status submit(mlxn_session *session, uint64_t value, mlxn_error *error) {
    mlxn_error failure;
    mlxn_status status = reserve_stage(session) ? MLXN_OK : mlxn_encoder_stick_memory(session->encoder, "stage");
    if (!status)
        status = mlxn_encoder_submit(session->encoder, session->label, false, &failure);
    else
        mlxn_encoder_status(session->encoder, &failure);
    if (status) {
        session->error = failure;
        session->failed_value = value;
        return give_error(session, error);
    }
    mlxn_command_buffer *cb = mlxn_command_buffer_retain(mlxn_encoder_command_buffer(session->encoder));
    session->stages[session->n_stages++] = (mlxn_stage){value, cb};
    return MLXN_OK;
}

mlxn_status mlxn_session_commit_stage(mlxn_session *session, mlxn_error *error) {
    mlxn_status status = check(session, "commit_stage", error);
    if (status || session->drained) return status;
    status = submit(session, 0, error);
    set_drained(session, true, false);
    return status;
}

mlxn_status mlxn_session_commit_and_wait(mlxn_session *session, mlxn_error *error) {
    mlxn_status status = check(session, "commit_and_wait", error);
    if (status || session->drained) return status;
    mlxn_error failure;
    session->drained = true; /* before the blocking part: a failing wait leaves the session drained */
    session->pending = false;
    status = mlxn_encoder_submit_and_wait(session->encoder, session->label, &failure);
    session->encoder->drained = true;
    harvest(session); /* the queue is in order: every earlier stage has completed too */
    if (!session->error.status && status) session->error = failure;
    return session->error.status ? give_error(session, error) : mlxn_succeed(error);
}

/* Submits the stage with the signal of `value`. On a shared timeline the signal comes after all that were promised
 * before, so that a value means what it says whatever queue is faster. */
static mlxn_status submit_fence(mlxn_session *session, uint64_t value, mlxn_error *error) {
    /* A sticky error of the recorded stage: submit reports it, and the fence must still advance. */
    if (session->shared && value > 1) mlxn_encoder_wait(session->encoder, session->timeline, value - 1);
    mlxn_encoder_signal(session->encoder, session->timeline, value);
    mlxn_status status = submit(session, value, error);
    set_drained(session, true, true);
    session->fence_value = value;
    if (status) mlxn_timeline_fail_after(session->timeline, value - 1, value, &session->error);
    return status;
}

mlxn_status mlxn_session_fence_stage(mlxn_session *session, const char *label, mlxn_error *error) {
    mlxn_status status = check(session, "fence_stage", error);
    if (status || session->drained) return status;
    if (label && *label && (status = set_label(session, label, error))) return status;
    if (!session->timeline &&
        (status = mlxn_timeline_create(mlxn_encoder_device(session->encoder), &session->timeline, error)))
        return status;
    if (!session->shared) return submit_fence(session, session->fence_value + 1, error);
    /* One after the other: on one queue a later value submitted first would wait for ever. */
    mlxn_timeline *t = session->timeline;
    pthread_mutex_lock(&t->order);
    uint64_t value = mlxn_max_u64(t->scheduled, mlxn_timeline_value(t)) + 1;
    t->scheduled = value;
    status = submit_fence(session, value, error);
    pthread_mutex_unlock(&t->order);
    return status;
}

mlxn_status mlxn_session_reset_for_next_stage(mlxn_session *session, mlxn_error *error) {
    mlxn_status status = check(session, "reset_for_next_stage", error);
    if (status || !session->drained) return status;
    session->encoder->drained = false;
    status = mlxn_encoder_open(session->encoder, error);
    if (status) {
        session->encoder->drained = true;
        return status;
    }
    if (session->pending) {
        status = mlxn_encoder_wait(session->encoder, session->timeline, session->fence_value);
        if (status) {
            mlxn_encoder_status(session->encoder, &session->error);
            return give_error(session, error);
        }
        session->wait_count++;
        session->wait_value = session->fence_value;
    }
    set_drained(session, false, false);
    return set_label(session, NULL, error);
}

bool mlxn_session_is_drained(const mlxn_session *s) { return s && s->drained; }
bool mlxn_session_is_fence_pending(const mlxn_session *s) { return s && s->pending; }
bool mlxn_session_has_event(const mlxn_session *s) { return s && s->fence_value > 0; }
uint64_t mlxn_session_fence_value(const mlxn_session *s) { return s ? s->fence_value : 0; }
uint64_t mlxn_session_wait_count(const mlxn_session *s) { return s ? s->wait_count : 0; }
uint64_t mlxn_session_wait_value(const mlxn_session *s) { return s ? s->wait_value : 0; }
mlxn_timeline *mlxn_session_timeline(mlxn_session *s) { return s ? s->timeline : NULL; }
mlxn_command_buffer *mlxn_session_command_buffer(mlxn_session *s) {
    return s ? mlxn_encoder_command_buffer(s->encoder) : NULL;
}

static bool stage_residency(mlxn_session *session, mlxn_buffer *buffer, bool add) {
    if (!session || !buffer) return false;
    mlxn_device *device = mlxn_encoder_device(session->encoder);
    if (!device->residency || buffer->device != device) return false;
    if (add)
        mlxn_residency_add(buffer, NULL);
    else
        mlxn_residency_remove(buffer);
    return true;
}
bool mlxn_session_add_to_residency_set(mlxn_session *s, mlxn_buffer *b) { return stage_residency(s, b, true); }
bool mlxn_session_remove_from_residency_set(mlxn_session *s, mlxn_buffer *b) { return stage_residency(s, b, false); }

static mlxn_stage *find_stage(mlxn_session *session, uint64_t value) {
    for (size_t i = 0; i < session->n_stages; i++)
        if (session->stages[i].value == value) return &session->stages[i];
    return NULL;
}

static mlxn_status check_value(const mlxn_session *session, const char *call, uint64_t value, mlxn_error *error) {
    if (!session) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session %s: session is NULL", call);
    if (!value || value > session->fence_value)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session %s: fence value is %llu, want 1 to %llu", call,
                         (unsigned long long)value, (unsigned long long)session->fence_value);
    return MLXN_OK;
}

mlxn_status mlxn_session_wait_fence(mlxn_session *session, uint64_t value, uint64_t timeout_ns, mlxn_error *error) {
    mlxn_status status = check_value(session, "wait_fence", value, error);
    if (status) return status;
    mlxn_stage *stage = find_stage(session, value);
    if (stage) {
        status = mlxn_command_buffer_wait(stage->cb, timeout_ns, error);
        if (status == MLXN_ERR_TIMEOUT) return status;
    }
    harvest(session);
    return mlxn_timeline_wait(session->timeline, value, timeout_ns, error);
}

mlxn_status mlxn_session_wait_all(mlxn_session *session, uint64_t timeout_ns, mlxn_error *error) {
    if (!session) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session wait_all: session is NULL");
    /* In order: the last one completes last. */
    if (session->n_stages &&
        mlxn_command_buffer_wait(session->stages[session->n_stages - 1].cb, timeout_ns, NULL) == MLXN_ERR_TIMEOUT) {
        size_t i = 0;
        while (i + 1 < session->n_stages && mlxn_command_buffer_state(session->stages[i].cb) != MLXN_CB_COMMITTED)
            i++;
        return mlxn_fail(error, MLXN_ERR_TIMEOUT, "session wait_all: stage \"%s\" not completed after %.3f s",
                         mlxn_command_buffer_label(session->stages[i].cb), (double)timeout_ns * 1e-9);
    }
    return check(session, "wait_all", error);
}

mlxn_status mlxn_session_status(mlxn_session *session, mlxn_error *error) { return check(session, "status", error); }

mlxn_status mlxn_session_stage_status(mlxn_session *session, uint64_t value, mlxn_error *error) {
    mlxn_status status = check_value(session, "stage_status", value, error);
    if (status) return status;
    mlxn_error failure;
    if (mlxn_timeline_poll(session->timeline, value, &failure) != MLXN_REACHED_FAILED) return mlxn_succeed(error);
    if (error) *error = failure;
    return failure.status;
}

void mlxn_session_counters(const mlxn_session *session, mlxn_counters *out) {
    mlxn_encoder_counters(session ? session->encoder : NULL, out);
}

mlxn_status mlxn_session_stage_state(mlxn_session *session, uint64_t value, mlxn_cb_state *out, mlxn_error *error) {
    mlxn_status status = check_value(session, "stage_state", value, error);
    if (status) return status;
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "session stage_state: out is NULL");
    /* The fence decides; the command buffer itself may be a moment behind it. */
    switch (mlxn_timeline_poll(session->timeline, value, NULL)) {
        case MLXN_REACHED:
            *out = MLXN_CB_COMPLETED;
            break;
        case MLXN_REACHED_FAILED:
            *out = MLXN_CB_FAILED;
            break;
        default:
            *out = MLXN_CB_COMMITTED;
    }
    return mlxn_succeed(error);
}
