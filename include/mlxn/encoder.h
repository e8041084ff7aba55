/* mlxn/encoder.h: recording work, submitting it, and waiting for it.
 *
 * An encoder owns one open command buffer at a time. Operations (ops.h) are recorded into it; commit hands it to the
 * device's queue, which executes command buffers asynchronously in commit order. Hazards are tracked per byte range
 * of every buffer, from the argument roles of each operation, and barriers are inserted where two operations
 * conflict; explicit barriers are never needed for correctness.
 *
 * Errors are sticky: the first record that fails keeps its text (operation, argument, got, want, label); later
 * records do nothing and return the same status; commit returns it and submits nothing. Recording into a session's
 * encoder whose stage is submitted, and committing such an encoder by itself, are errors of STATE, sticky too.
 *
 * Thread rule: one thread at a time per encoder; an encoder may move between threads. */
#ifndef MLXN_ENCODER_H
#define MLXN_ENCODER_H

#include <mlxn/buffer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_encoder mlxn_encoder;
typedef struct mlxn_command_buffer mlxn_command_buffer;
typedef struct mlxn_timeline mlxn_timeline;

/* On the default queue of the device, or on the queue given. */
MLXN_API mlxn_status mlxn_encoder_create(mlxn_device *device, mlxn_encoder **out, mlxn_error *error);
MLXN_API mlxn_status mlxn_encoder_create_on(mlxn_queue *queue, mlxn_encoder **out, mlxn_error *error);
/* Discards uncommitted work; committed work goes on. */
MLXN_API void mlxn_encoder_destroy(mlxn_encoder *encoder);
/* Borrowed. */
MLXN_API mlxn_device *mlxn_encoder_device(const mlxn_encoder *encoder);
MLXN_API mlxn_queue *mlxn_encoder_queue(const mlxn_encoder *encoder);

/* The sticky error: MLXN_OK, or the first failure with its text in *error. */
MLXN_API mlxn_status mlxn_encoder_status(const mlxn_encoder *encoder, mlxn_error *error);

/* Applied to the open command buffer; NULL or "" is ignored. Copied. A fresh command buffer has none. */
MLXN_API void mlxn_encoder_set_label(mlxn_encoder *encoder, const char *label);
/* Orders everything before against everything after. Nothing is recorded (or counted) when no dispatch precedes it.
 */
MLXN_API void mlxn_encoder_barrier(mlxn_encoder *encoder);
/* Byte copies and fills, ordered like operations. Source and destination must not overlap within one copy. */
MLXN_API mlxn_status mlxn_encoder_copy(mlxn_encoder *encoder, mlxn_buffer *src, uint64_t src_offset, mlxn_buffer *dst,
                                       uint64_t dst_offset, uint64_t bytes);
MLXN_API mlxn_status mlxn_encoder_fill(mlxn_encoder *encoder, mlxn_buffer *dst, uint64_t offset, uint64_t bytes,
                                       uint8_t value);
/* The rest of the command buffer starts once `timeline` has reached `value`. */
MLXN_API mlxn_status mlxn_encoder_wait(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value);
/* `timeline` reaches `value` when everything recorded before has completed. */
MLXN_API mlxn_status mlxn_encoder_signal(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value);

/* Hand the command buffer over and open a fresh one at the next record. `label` may be NULL.
 * An empty command buffer commits and completes. Errors: the sticky error, MEMORY. */
MLXN_API mlxn_status mlxn_encoder_commit(mlxn_encoder *encoder, const char *label, mlxn_error *error);
/* The same, then waits until it has completed and returns the failure of its execution, if any. */
MLXN_API mlxn_status mlxn_encoder_commit_and_wait(mlxn_encoder *encoder, const char *label, mlxn_error *error);
/* Waits for the last command buffer that this encoder committed; OK if there is none. */
MLXN_API mlxn_status mlxn_encoder_wait_completed(mlxn_encoder *encoder, mlxn_error *error);
/* The command buffer last committed, or the open one if nothing was committed since it was opened; borrowed until the
 * encoder's next call; NULL if there is neither. */
MLXN_API mlxn_command_buffer *mlxn_encoder_command_buffer(mlxn_encoder *encoder);

/* Of the open command buffer, or of the capture. A group is what stands between two barriers: its dispatches may run
 * at the same time. */
typedef struct mlxn_encoder_stats {
    uint64_t dispatches;      /* operations, kernels, copies and fills */
    uint64_t barriers;        /* all of them */
    uint64_t hazard_barriers; /* those that the hazard tracker inserted */
    uint64_t tracked_ranges;  /* byte ranges in the current group */
    uint64_t groups;          /* the current one included */
    uint64_t group_sizes[8];  /* groups of 1, 2, …, 7 and of 8 or more dispatches */
    /* Explicit barriers as checks: those that some later operation conflicts across, and those that the next explicit
     * barrier or the end found superfluous (the tracker would have placed none there, or has placed one already). */
    uint64_t barriers_needed, barriers_redundant;
} mlxn_encoder_stats;
MLXN_API void mlxn_encoder_get_stats(const mlxn_encoder *encoder, mlxn_encoder_stats *out);
/* The process-wide counters (device.h) as far as this encoder moved them, since its creation. */
MLXN_API void mlxn_encoder_counters(const mlxn_encoder *encoder, mlxn_counters *out);

/* Command buffers: counted handles; any thread. */
typedef enum mlxn_cb_state {
    MLXN_CB_RECORDING = 0,
    MLXN_CB_COMMITTED = 1,
    MLXN_CB_COMPLETED = 2,
    MLXN_CB_FAILED = 3,
    MLXN_CB_DISCARDED = 4 /* its encoder was destroyed or failed before a commit */
} mlxn_cb_state;

MLXN_API mlxn_command_buffer *mlxn_command_buffer_retain(mlxn_command_buffer *cb);
MLXN_API void mlxn_command_buffer_release(mlxn_command_buffer **cb);
/* "" if unlabelled; valid while the handle lives and, before commit, until the label changes. */
MLXN_API const char *mlxn_command_buffer_label(const mlxn_command_buffer *cb);
MLXN_API mlxn_cb_state mlxn_command_buffer_state(const mlxn_command_buffer *cb);
/* Waits for completion. timeout_ns: UINT64_MAX = for ever. Errors: STATE (not committed), TIMEOUT, EXECUTION. */
MLXN_API mlxn_status mlxn_command_buffer_wait(mlxn_command_buffer *cb, uint64_t timeout_ns, mlxn_error *error);

/* Timelines: 64-bit values that only grow, across queues and devices, with host signal and wait. Counted; any thread.
 */
MLXN_API mlxn_status mlxn_timeline_create(mlxn_device *device, mlxn_timeline **out, mlxn_error *error);
MLXN_API mlxn_timeline *mlxn_timeline_retain(mlxn_timeline *timeline);
MLXN_API void mlxn_timeline_release(mlxn_timeline **timeline);
MLXN_API uint64_t mlxn_timeline_value(const mlxn_timeline *timeline);
/* A value not above the present one changes nothing. */
MLXN_API void mlxn_timeline_signal(mlxn_timeline *timeline, uint64_t value);
/* The same for a value whose work failed or was given up: waiters go on and get EXECUTION with this message. */
MLXN_API void mlxn_timeline_fail(mlxn_timeline *timeline, uint64_t value, const char *message);
/* TIMEOUT if the value is not reached in time. EXECUTION if the fence that reached it belongs to failed work. */
MLXN_API mlxn_status mlxn_timeline_wait(mlxn_timeline *timeline, uint64_t value, uint64_t timeout_ns,
                                        mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
