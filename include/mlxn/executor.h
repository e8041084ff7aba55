/* mlxn/executor.h: one pass of a model as a graph session: recorded directly, or captured first and then fused,
 * reordered and split over two command buffers on the way to the device.
 *
 * A session lends an encoder; all operations are recorded there. Barriers are never needed for correctness: the
 * session's own calls (barrier, barrier_between, track_dispatch) are checks and statistics, by the names of the
 * system that mlxn matches. Its ways to finish are options here:
 *
 *     finish                                   {0}                        one blocking commit
 *     finish_with_timing(start)                {timing, start_ns}         encode_ns, wait_ns
 *     finish_with_gpu_time                     {timing}                   gpu_ns
 *     finish_with_fusion [_and_timing]         {fuse} [timing]            fusions
 *     finish_with_fusion_and_reorder [_timing] {fuse, reorder} [timing]   fusions, moved
 *     finish_optimized [_with_timing]          {fuse, reorder, dual} [timing]   fusions, moved, barriers0, barriers1
 *     commit                                   mlxn_graph_session_commit
 *
 * Without `timing` the last commit is a blocking one and moves the counter of blocking commits; with it the commit
 * and the wait are apart, and the counter stays. In a direct session fuse, reorder and dual have no effect.
 *
 * With MLX_METAL_CAPTURE and METAL_CAPTURE_ENABLED=1 the first session of the process is a capture scope (profile.h):
 * from its beginning to its end, whatever that is.
 *
 * Thread rule: an executor may be used by any thread; a session by one at a time. */
#ifndef MLXN_EXECUTOR_H
#define MLXN_EXECUTOR_H

#include <mlxn/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_executor mlxn_executor;
typedef struct mlxn_graph_session mlxn_graph_session;

/* Retains the device. Errors: ARGUMENT, MEMORY. */
MLXN_API mlxn_status mlxn_executor_create(mlxn_device *device, mlxn_executor **out, mlxn_error *error);
/* Sessions go on. */
MLXN_API void mlxn_executor_destroy(mlxn_executor *executor);
/* Borrowed. */
MLXN_API mlxn_device *mlxn_executor_device(const mlxn_executor *executor);

/* A session that records into a command buffer, or into a list that finish makes a graph of. Errors: ARGUMENT,
 * MEMORY.
 */
MLXN_API mlxn_status mlxn_executor_begin(mlxn_executor *executor, mlxn_graph_session **out, mlxn_error *error);
MLXN_API mlxn_status mlxn_executor_begin_recorded(mlxn_executor *executor, mlxn_graph_session **out,
                                                  mlxn_error *error);
/* Abandons the session: nothing of it was submitted. */
MLXN_API void mlxn_graph_session_destroy(mlxn_graph_session *session);

/* Borrowed; not to be committed by itself. Temporaries (graph.h) may be made in a recorded session. */
MLXN_API mlxn_encoder *mlxn_graph_session_encoder(mlxn_graph_session *session);
/* Borrowed. */
MLXN_API mlxn_device *mlxn_graph_session_device(const mlxn_graph_session *session);
MLXN_API bool mlxn_graph_session_is_recording(const mlxn_graph_session *session);

/* A barrier, always; the session's ranges are forgotten and its group ends. */
MLXN_API void mlxn_graph_session_barrier(mlxn_graph_session *session);
/* For the dispatch that comes next, which reads and writes these ranges: a barrier if a read overlaps what the group
 * writes, or a write what it reads or writes. Then the dispatch is counted and its ranges join the group. Errors:
 * ARGUMENT (range; nothing is done), MEMORY. */
MLXN_API mlxn_status mlxn_graph_session_barrier_between(mlxn_graph_session *session, const mlxn_range *reads,
                                                        uint32_t n_reads, const mlxn_range *writes, uint32_t n_writes,
                                                        mlxn_error *error);
/* The ranges of a dispatch that was recorded already join the group, unchecked and uncounted. */
MLXN_API mlxn_status mlxn_graph_session_track_dispatch(mlxn_graph_session *session, const mlxn_range *reads,
                                                       uint32_t n_reads, const mlxn_range *writes, uint32_t n_writes,
                                                       mlxn_error *error);
/* Barriers that the session's calls placed. */
MLXN_API uint64_t mlxn_graph_session_barrier_count(const mlxn_graph_session *session);

/* Of what went through barrier_between. What the encoder did itself is in mlxn_encoder_get_stats. */
typedef struct mlxn_graph_session_stats {
    uint64_t dispatches, barriers;
    uint64_t groups;         /* the current one included */
    uint64_t group_sizes[8]; /* groups of 1, 2, …, 7 and of 8 or more dispatches */
} mlxn_graph_session_stats;
MLXN_API void mlxn_graph_session_get_stats(const mlxn_graph_session *session, mlxn_graph_session_stats *out);
/* The same as one line of the device's log. */
MLXN_API void mlxn_graph_session_log_stats(const mlxn_graph_session *session);

/* Zero every field that you do not set. */
typedef struct mlxn_finish_options {
    uint32_t struct_size;
    mlxn_fuse_mode fuse;
    bool reorder;
    /* The first max(64, a tenth of all) dispatches go into a command buffer of their own, which is submitted at once;
     * the rest follows in a second one. */
    bool dual;
    bool timing;
    uint64_t start_ns;      /* where encode_ns begins, of mlxn's monotonic clock; 0 = the beginning of the session */
    const mlxn_range *dead; /* as in mlxn_graph_desc */
    uint32_t n_dead;
} mlxn_finish_options;

typedef struct mlxn_finish_result {
    uint64_t encode_ns, wait_ns; /* up to the last commit; from there to completion */
    uint64_t gpu_ns; /* from the start of the first command buffer to the end of the last, on the device */
    uint64_t fusions, moved;
    uint64_t barriers0, barriers1; /* in the first and in the second command buffer */
} mlxn_finish_result;

/* Submits, waits for completion and ends the session, whatever the result; *session becomes NULL. `options` and
 * `result` may be NULL. Errors: those of take_capture_with, the sticky error of the encoder, EXECUTION of either
 * command buffer (the first one's if both failed). */
MLXN_API mlxn_status mlxn_graph_session_finish(mlxn_graph_session **session, const mlxn_finish_options *options,
                                               mlxn_finish_result *result, mlxn_error *error);
/* Submits in order without waiting and ends the session: *encoder is the caller's from then on, to wait with
 * (mlxn_encoder_wait_completed) and to destroy. On an error *encoder is NULL and nothing was submitted. */
MLXN_API mlxn_status mlxn_graph_session_commit(mlxn_graph_session **session, mlxn_encoder **encoder,
                                               mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
