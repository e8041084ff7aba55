/* mlxn/profile.h: where the time goes: profilers, the process-wide tables, capture scopes, the roofs of a device.
 *
 * Nothing here changes the schedule: work that is profiled is committed, overlapped and waited for as it would be
 * otherwise, fenced stages, plain commits and launched graphs included. (The system that mlxn matches turns labelled
 * commits into blocking ones while it profiles, and does not see fenced work.) While nobody listens a commit costs
 * one load more.
 *
 * Times are nanoseconds of the host's monotonic clock. What a command buffer did is added when it has finished, just
 * before mlxn_command_buffer_state says so; a fence that it signals may be reached a moment earlier. So wait for the
 * device or the queue to be idle (mlxn_device_wait_idle) before reading what must be complete.
 *
 * Thread rule: any thread, at once, also while work runs; but nobody may use a profiler while or after it is
 * destroyed, other than the work in flight, which keeps what it needs. */
#ifndef MLXN_PROFILE_H
#define MLXN_PROFILE_H

#include <mlxn/encoder.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- profilers ---- */

typedef struct mlxn_profiler mlxn_profiler;

typedef struct mlxn_profiler_desc {
    uint32_t struct_size;
    uint64_t max_events; /* kept; those beyond are counted as dropped. 0 = 65536. Memory: some 112 bytes each */
} mlxn_profiler_desc;

/* `desc` may be NULL. Retains the device. All memory for events is reserved here. Errors: ARGUMENT, MEMORY. */
MLXN_API mlxn_status mlxn_profiler_create(mlxn_device *device, const mlxn_profiler_desc *desc, mlxn_profiler **out,
                                          mlxn_error *error);
/* From here on what is committed to any queue of the device is measured. One profiler of a device listens at a time:
 * STATE if another one does. Starting the one that listens changes nothing. */
MLXN_API mlxn_status mlxn_profiler_start(mlxn_profiler *profiler, mlxn_error *error);
/* What is committed later is not measured; work in flight that was committed before still adds its events. */
MLXN_API void mlxn_profiler_stop(mlxn_profiler *profiler);
/* Forgets events, rows and counts. Work in flight still adds what it measured. */
MLXN_API void mlxn_profiler_reset(mlxn_profiler *profiler);
/* Stops it. It may be destroyed while work is in flight: what that work measured is lost. */
MLXN_API void mlxn_profiler_destroy(mlxn_profiler *profiler);

typedef enum mlxn_profile_kind {
    MLXN_PROFILE_OPERATION = 0, /* an operation, kernel, copy or fill */
    MLXN_PROFILE_COMMAND_BUFFER = 1
} mlxn_profile_kind;

/* Strings are valid while the profiler lives. */
typedef struct mlxn_profile_event {
    mlxn_profile_kind kind;
    uint32_t index;          /* of an operation in its command buffer, in order; of a command buffer: operations */
    const char *op;          /* "matmul", a kernel's name, "copy_bytes", "fill_bytes"; "" for command buffers */
    const char *kernel;      /* "matmul_f32_avx512": the row that ran; "reference"; "none" where nothing computes */
    const char *label;       /* of the command buffer: the stage; "" if it has none */
    uint64_t queue;          /* 0: the default queue */
    uint64_t command_buffer; /* a number that no other command buffer of the device has */
    uint64_t commit_ns;      /* when the command buffer was committed */
    uint64_t start_ns;       /* the first thread that began */
    uint64_t end_ns;         /* the last that ended */
    uint64_t busy_ns;        /* of all threads together, 0 if the device cannot tell */
    double bytes, flops;     /* that the operation needs, from its shapes; of all operations for a command buffer */
    double int8_ops; /* 8-bit operations that the kernel does instead of the flops; 0 if it computes in floats */
} mlxn_profile_event;

/* Copies up to `n` events from number `first` on, in the order in which command buffers finished, each one before its
 * operations. Returns how many. */
MLXN_API uint64_t mlxn_profiler_events(mlxn_profiler *profiler, uint64_t first, mlxn_profile_event *out, uint64_t n);

typedef struct mlxn_profiler_stats {
    uint64_t events;          /* kept */
    uint64_t dropped;         /* not kept for want of room; rows count them all the same */
    uint64_t command_buffers; /* seen */
    uint64_t operations;      /* seen */
    uint64_t unmeasured;      /* command buffers that could not be measured, for want of memory */
    uint64_t in_flight;       /* command buffers that will still add something */
    uint64_t other_names;     /* labels and rows that went under "(other)" because there were too many */
} mlxn_profiler_stats;
MLXN_API void mlxn_profiler_get_stats(mlxn_profiler *profiler, mlxn_profiler_stats *out);

typedef enum mlxn_profile_group {
    MLXN_PROFILE_BY_KERNEL = 0, /* operations by op and kernel */
    MLXN_PROFILE_BY_LABEL = 1   /* command buffers by label */
} mlxn_profile_group;

typedef struct mlxn_profile_row {
    const char *op, *kernel; /* "" by label */
    const char *label;       /* "" by kernel */
    uint64_t count;
    uint64_t total_ns, min_ns, max_ns; /* from start to end; operations that run side by side count each in full */
    uint64_t busy_ns;
    double bytes, flops, int8_ops;
} mlxn_profile_row;

/* Copies up to `n` rows, the largest total first. Returns how many there are. */
MLXN_API uint32_t mlxn_profiler_rows(mlxn_profiler *profiler, mlxn_profile_group group, mlxn_profile_row *out,
                                     uint32_t n);

/* Writes the events as a trace that ui.perfetto.dev and chrome://tracing open: a process for the device, for every
 * queue a track of command buffers and tracks of operations (as many as run side by side). Errors: IO, MEMORY. */
MLXN_API mlxn_status mlxn_profiler_write_trace(mlxn_profiler *profiler, const char *path, mlxn_error *error);

/* ---- tables of the process ---- */

/* MLX_PROFILE_CB: command buffers with a label, by label, from commit, fence or launch on any device. At most 1,024
 * labels; times under more are counted in *_lost. */
MLXN_API bool mlxn_profile_cb_enabled(void);
MLXN_API void mlxn_profile_cb_record(const char *label, uint64_t ns);
typedef struct mlxn_profile_cb_entry {
    const char *label; /* valid until the reset */
    uint64_t count, total_ns, min_ns, max_ns;
} mlxn_profile_cb_entry;
/* Row `i`, the largest total first; false past the last. */
MLXN_API bool mlxn_profile_cb_row(uint32_t i, mlxn_profile_cb_entry *out);
MLXN_API uint64_t mlxn_profile_cb_lost(void);
MLXN_API void mlxn_profile_cb_reset(void);
/* The table as text. Writes at most `size` bytes, the last a zero; returns the length of the whole text. */
MLXN_API size_t mlxn_profile_cb_text(char *out, size_t size);

/* MLX_PROFILE_DISPATCH: operations of command buffers with a label. At most 65,536; more are counted in *_lost. */
MLXN_API bool mlxn_profile_dispatch_enabled(void);
typedef struct mlxn_profile_dispatch_entry {
    const char *label; /* of the command buffer; valid until the reset, as is `op` */
    const char *op;
    uint32_t index; /* in its command buffer */
    uint64_t duration_ns, start_ns, end_ns;
} mlxn_profile_dispatch_entry;
MLXN_API void mlxn_profile_dispatch_record(const mlxn_profile_dispatch_entry *entry);
/* Row `i`: labels in the order in which they first came, the operations of one in the order in which they came; false
 * past the last. Rising `i` are found at once. */
MLXN_API bool mlxn_profile_dispatch_row(uint32_t i, mlxn_profile_dispatch_entry *out);
MLXN_API uint64_t mlxn_profile_dispatch_lost(void);
MLXN_API void mlxn_profile_dispatch_reset(void);
MLXN_API size_t mlxn_profile_dispatch_text(char *out, size_t size);

/* ---- capture scopes ---- */

typedef struct mlxn_capture mlxn_capture;

/* The capture that the environment asks for: *out is NULL (and the status OK) unless MLX_METAL_CAPTURE names a path
 * and METAL_CAPTURE_ENABLED is 1; without the latter the device's log gets a warning. Once per process: the first
 * call that finds a path takes the turn, also if nothing comes of it. On devices without a GPU trace of their own the
 * path gets what mlxn_profiler_write_trace writes. Errors: ARGUMENT, MEMORY. */
MLXN_API mlxn_status mlxn_capture_from_env(mlxn_device *device, mlxn_capture **out, mlxn_error *error);
/* A second begin, and one after the end, changes nothing. Errors: STATE (a profiler listens). */
MLXN_API mlxn_status mlxn_capture_begin(mlxn_capture *capture, mlxn_error *error);
/* Nothing without begin, or a second time. Does not wait: the trace is written when the work that was committed since
 * begin has finished, here if it has. Errors of writing go to the log too. */
MLXN_API mlxn_status mlxn_capture_end(mlxn_capture *capture, mlxn_error *error);
/* Ends it. */
MLXN_API void mlxn_capture_destroy(mlxn_capture *capture);

/* ---- roofs ---- */

typedef struct mlxn_device_roofs {
    uint32_t struct_size;
    double bytes_per_second; /* read from memory by all threads together */
    double f32_flops;        /* per second, in registers, a multiply-add counting as two */
    double int8_ops;         /* the same of 8-bit products; 0 if the device has none */
} mlxn_device_roofs;
/* Measures; some tenths of a second, in which the device does nothing else. Set out->struct_size first. Errors:
 * UNSUPPORTED (the device computes nothing), MEMORY, LIMIT (it needs 256 MiB for as long as it takes), ARGUMENT. */
MLXN_API mlxn_status mlxn_device_measure(mlxn_device *device, mlxn_device_roofs *out, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
