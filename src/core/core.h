/* core.h: the objects behind the public handles, and what core files share. */
#ifndef MLXN_SRC_CORE_H
#define MLXN_SRC_CORE_H

#include <mlxn/mlxn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/backend.h"
#include "core/hazard.h"

struct mlxn_device {
    _Atomic uint32_t refs;
    const mlxn_backend *backend;
    void *impl;
    mlxn_precision precision;
    bool residency;
    uint64_t memory_limit;
    _Atomic uint64_t memory_used, memory_peak;
    mlxn_log_fn log;
    void *log_user;
    mlxn_device_info info; /* of the backend, at open */
    /* Kernel rows that this device may use, by op: kernels[first[op] .. first[op + 1]). */
    const mlxn_kernel_row **kernels;
    uint32_t first[MLXN_OP_COUNT + 1];
    pthread_mutex_t cache_lock;
    struct mlxn_command_buffer *cache; /* completed command buffers whose memory is reused */
    uint32_t cached;
    _Atomic uint64_t next_buffer_id;
};

/* handles: public references. refs: all of them, work in flight included. */
struct mlxn_buffer {
    _Atomic uint32_t refs, handles;
    mlxn_device *device;
    void *storage;
    uint8_t *host;
    uint64_t size;
    uint64_t id;
    bool wrapped;
    mlxn_free_fn free_fn;
    void *free_user, *free_memory;
    _Atomic bool resident; /* this buffer is a member of the residency set */
};

struct mlxn_weight {
    _Atomic uint32_t refs;
    mlxn_device *device;
    mlxn_weight_view view;
    void *storage;
    mlxn_buffer *source; /* kept if asked */
    uint64_t accounted;
};

typedef struct mlxn_fence_failure {
    uint64_t after, value; /* values in (after, value] were reached by failed work */
    bool deferred;         /* the value moves on to `value` once it has reached `after` */
    mlxn_error error;
} mlxn_fence_failure;

typedef struct mlxn_timeline_listener {
    uint64_t value;
    void (*fn)(void *user);
    void *user;
    struct mlxn_timeline_listener *next;
} mlxn_timeline_listener;

struct mlxn_timeline {
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic uint64_t value;
    mlxn_fence_failure *failures;
    size_t n_failures;
    bool failures_lost; /* a failure could not be stored: every later value counts as failed */
    mlxn_timeline_listener *listeners;
};

/* A list of nodes and everything that they keep alive; each object once. */
typedef struct mlxn_node_list {
    mlxn_node *nodes;
    size_t count, capacity;
    struct mlxn_keep {
        void **slots; /* open-addressed set of tagged pointers */
        void **order;
        size_t count, capacity;
    } keep;
} mlxn_node_list;

struct mlxn_command_buffer {
    _Atomic uint32_t refs;
    mlxn_device *device; /* retained while the object is not in the cache */
    char *label;
    size_t label_capacity;
    _Atomic int state;
    mlxn_error error; /* valid once FAILED */
    mlxn_node_list list;
    void *program;
    bool has_dispatch;
    uint64_t dispatches, barriers, hazard_barriers;
    /* owned by the queue while in flight */
    struct mlxn_command_buffer *next;
    size_t cursor;
    mlxn_timeline_listener listener;
};

struct mlxn_encoder {
    mlxn_device *device;
    mlxn_command_buffer *open, *last;
    mlxn_hazards hazards;
    mlxn_error error; /* sticky */
    bool capturing;
    mlxn_node_list capture;
    uint64_t capture_dispatches, capture_barriers;
    bool capture_has_dispatch;
};

struct mlxn_graph {
    _Atomic uint32_t refs;
    mlxn_device *device;
    mlxn_node_list list;
    void *program;
    uint64_t dispatches, barriers;
};

/* device.c */
void mlxn_device_log(mlxn_device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));
mlxn_status mlxn_device_account(mlxn_device *device, uint64_t bytes, const char *what, mlxn_error *error);
void mlxn_device_unaccount(mlxn_device *device, uint64_t bytes);
const mlxn_kernel_row *mlxn_device_select(const mlxn_device *device, uint32_t op, const mlxn_view *args,
                                          const void *params);

/* buffer.c: references of work in flight */
void mlxn_buffer_hold(mlxn_buffer *buffer);
void mlxn_buffer_drop(mlxn_buffer *buffer);

/* graph.c */
void mlxn_graph_hold(mlxn_graph *graph);
void mlxn_graph_drop(mlxn_graph *graph);

/* residency.c */
bool mlxn_residency_enabled(void); /* the cached gate */
void mlxn_residency_stage(bool add);
void mlxn_residency_flush(void);
void mlxn_residency_pending(int delta);

/* counters.c */
typedef struct mlxn_counter_cells {
    _Atomic uint64_t sync, dispatch, cmd_buf, barrier, auto_barrier, auto_concurrent, hazard, launch;
} mlxn_counter_cells;
extern mlxn_counter_cells mlxn_counter;
#define MLXN_COUNT(cell) atomic_fetch_add_explicit(&mlxn_counter.cell, 1, memory_order_relaxed)

/* node_list.c */
typedef enum mlxn_keep_kind {
    MLXN_KEEP_BUFFER = 0,
    MLXN_KEEP_WEIGHT = 1,
    MLXN_KEEP_TIMELINE = 2,
    MLXN_KEEP_GRAPH = 3
} mlxn_keep_kind;
mlxn_node *mlxn_list_add(mlxn_node_list *list, mlxn_node_kind kind); /* NULL: out of memory */
bool mlxn_list_keep(mlxn_node_list *list, void *object, mlxn_keep_kind kind);
/* Releases what is kept and forgets the nodes; memory stays for reuse. */
void mlxn_list_clear(mlxn_node_list *list);
void mlxn_list_free(mlxn_node_list *list);

/* command.c */
mlxn_command_buffer *mlxn_cb_begin(mlxn_device *device); /* NULL: out of memory */
bool mlxn_cb_set_label(mlxn_command_buffer *cb, const char *label);
mlxn_status mlxn_cb_submit(mlxn_command_buffer *cb, bool will_wait, mlxn_error *error);
/* Called by the queue when cb has finished: drops what it kept, then publishes the state. */
void mlxn_cb_finish(mlxn_command_buffer *cb, const mlxn_error *failure);
void mlxn_cb_discard(mlxn_command_buffer *cb);

/* encoder.c */
mlxn_status mlxn_encoder_open(mlxn_encoder *encoder, mlxn_error *error); /* opens a command buffer if none is open */

/* timeline.c */
typedef enum mlxn_reach { MLXN_NOT_REACHED = 0, MLXN_REACHED = 1, MLXN_REACHED_FAILED = 2 } mlxn_reach;
mlxn_reach mlxn_timeline_poll(mlxn_timeline *timeline, uint64_t value, mlxn_error *failure);
/* Signals; `failure` (may be NULL) marks the values as reached by failed work. */
void mlxn_timeline_reach(mlxn_timeline *timeline, uint64_t value, const mlxn_error *failure);
/* For a fence whose work was never submitted: once the value reaches `after`, it moves on to `value`, failed. */
void mlxn_timeline_fail_after(mlxn_timeline *timeline, uint64_t after, uint64_t value, const mlxn_error *failure);
/* Calls fn once value is reached, at once if it is already (then returns false and does not call). */
bool mlxn_timeline_listen(mlxn_timeline *timeline, mlxn_timeline_listener *listener);

#endif
