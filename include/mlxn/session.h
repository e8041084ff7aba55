/* mlxn/session.h: the multi-stage encoder session.
 *
 * A session drives stages, each one command buffer, through one encoder. `fence_stage` submits a stage and makes the
 * session's timeline reach the next value (1, 2, 3, …) when it completes; `reset_for_next_stage` opens the next
 * command buffer, whose first item waits for that value. Nothing blocks until `commit_and_wait`.
 *
 *   state              is_drained  is_fence_pending
 *   empty or encoding  false       false
 *   drained            true        false             (after commit_stage or commit_and_wait)
 *   fenced             true        true              (after fence_stage)
 *
 * Calls that make no sense in a state succeed and change nothing: fence or commit when drained, reset when encoding.
 * Recording while drained, and committing the borrowed encoder, are misuse: MLXN_ERR_STATE, which the session keeps
 * as its first error. After a stage has failed every call returns that first error; the fence of a failed stage still
 * advances and is marked failed, so that nobody who waits for it hangs.
 *
 * Thread rule: one thread at a time per session; a session may move between threads. */
#ifndef MLXN_SESSION_H
#define MLXN_SESSION_H

#include <mlxn/encoder.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_session mlxn_session;

/* The gate HF2Q_ENCODER_SESSION: true iff it is exactly "1"; read once per process and cached. */
MLXN_API bool mlxn_session_env_enabled(void);
/* Gated: *out is NULL (and the result MLXN_OK) when the gate is off. */
MLXN_API mlxn_status mlxn_device_encoder_session(mlxn_device *device, mlxn_session **out, mlxn_error *error);
/* Not gated. Opens a command buffer at once. */
MLXN_API mlxn_status mlxn_session_create(mlxn_device *device, mlxn_session **out, mlxn_error *error);

typedef struct mlxn_session_desc {
    uint32_t struct_size;
    mlxn_queue *queue; /* NULL = the device's default queue */
    /* NULL = a timeline of its own, made at the first fence. Sessions on any queues and devices may share one: fences
     * then take the values of the timeline in the order of their calls, and a fence is reached only when all before
     * it are. Nobody else may signal it meanwhile. */
    mlxn_timeline *timeline;
    bool wait_on_destroy; /* destroy waits until the submitted stages have completed */
} mlxn_session_desc;
/* `desc` may be NULL. Errors: ARGUMENT (the queue is of another device), MEMORY. */
MLXN_API mlxn_status mlxn_session_create_with(mlxn_device *device, const mlxn_session_desc *desc, mlxn_session **out,
                                              mlxn_error *error);
/* Safe in every state and on any thread: uncommitted work is discarded, submitted work goes on, nothing waits unless
 * wait_on_destroy was asked for. */
MLXN_API void mlxn_session_destroy(mlxn_session *session);

/* Remembers the label of this stage (copied); NULL counts as "". */
MLXN_API mlxn_status mlxn_session_begin_stage(mlxn_session *session, const char *label);
/* Borrowed: record the stage's work into it; never commit it directly. */
MLXN_API mlxn_encoder *mlxn_session_encoder(mlxn_session *session);
/* Submits without blocking -> drained. */
MLXN_API mlxn_status mlxn_session_commit_stage(mlxn_session *session, mlxn_error *error);
/* Submits and waits for every stage submitted so far -> drained. When already drained it returns at once. */
MLXN_API mlxn_status mlxn_session_commit_and_wait(mlxn_session *session, mlxn_error *error);
/* Submits and signals fence value + 1 on completion -> fenced. `label` (may be NULL) wins over begin_stage's. */
MLXN_API mlxn_status mlxn_session_fence_stage(mlxn_session *session, const char *label, mlxn_error *error);
/* Opens the next command buffer; after a fence its first item waits for that fence's value. Clears the label. */
MLXN_API mlxn_status mlxn_session_reset_for_next_stage(mlxn_session *session, mlxn_error *error);

MLXN_API bool mlxn_session_is_drained(const mlxn_session *session);
MLXN_API bool mlxn_session_is_fence_pending(const mlxn_session *session);
MLXN_API bool mlxn_session_has_event(const mlxn_session *session);
MLXN_API uint64_t mlxn_session_fence_value(const mlxn_session *session);
MLXN_API uint64_t mlxn_session_wait_count(const mlxn_session *session);
MLXN_API uint64_t mlxn_session_wait_value(const mlxn_session *session);
/* The current command buffer: after a fence the fenced one, after a reset the new one. Borrowed until the next call.
 */
MLXN_API mlxn_command_buffer *mlxn_session_command_buffer(mlxn_session *session);
/* The session's timeline, NULL before the first fence. Borrowed. */
MLXN_API mlxn_timeline *mlxn_session_timeline(mlxn_session *session);

/* Stage the buffer in or out of the device's residency set; false if the device has none. */
MLXN_API bool mlxn_session_add_to_residency_set(mlxn_session *session, mlxn_buffer *buffer);
MLXN_API bool mlxn_session_remove_from_residency_set(mlxn_session *session, mlxn_buffer *buffer);

/* Host wait for a fence value. TIMEOUT; EXECUTION with the stage's error if that stage failed; ARGUMENT if the value
 * was never signalled or scheduled (it would wait for ever). */
MLXN_API mlxn_status mlxn_session_wait_fence(mlxn_session *session, uint64_t value, uint64_t timeout_ns,
                                             mlxn_error *error);
/* Waits until every stage submitted so far has completed; returns the first failure. */
MLXN_API mlxn_status mlxn_session_wait_all(mlxn_session *session, uint64_t timeout_ns, mlxn_error *error);
/* The failure of the stage of fence `value`: OK while it runs or when it completed well. ARGUMENT if there is none.
 */
MLXN_API mlxn_status mlxn_session_stage_status(mlxn_session *session, uint64_t value, mlxn_error *error);
/* The session's first error, OK if there is none so far; nothing waits. */
MLXN_API mlxn_status mlxn_session_status(mlxn_session *session, mlxn_error *error);
/* The process-wide counters (device.h) as far as this session moved them. */
MLXN_API void mlxn_session_counters(const mlxn_session *session, mlxn_counters *out);
/* State of the stage that signalled (or will signal) fence `value`. ARGUMENT if there is none. */
MLXN_API mlxn_status mlxn_session_stage_state(mlxn_session *session, uint64_t value, mlxn_cb_state *out,
                                              mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
