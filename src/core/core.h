/* core.h: the objects behind the public handles, and what core files share. */
#ifndef MLXN_SRC_CORE_H
#define MLXN_SRC_CORE_H

#include <mlxn/mlxn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/backend.h"
#include "core/gates.h"
#include "core/hazard.h"

/* Counters of an encoder: its owner's alone to move, anybody's to read. */
typedef struct mlxn_counter_cells {
    _Atomic uint64_t sync, dispatch, cmd_buf, barrier, barrier_ns, auto_barrier, auto_concurrent, hazard, launch;
    struct mlxn_counter_cells *next, **link; /* of its device, guarded by the book's lock */
} mlxn_counter_cells;

/* Counters of a device: those of its encoders, and what others had counted until they were destroyed. */
typedef struct mlxn_counter_book {
    pthread_mutex_t lock;
    mlxn_counters gone;
    mlxn_counter_cells *first;
    struct mlxn_device *after, **link; /* of the process */
} mlxn_counter_book;

/* Command buffers from begin to finish, oldest first: `serial` grows along the list. */
typedef struct mlxn_live_list {
    pthread_mutex_t lock;
    struct mlxn_command_buffer *first, *last;
    uint64_t next_serial;
    /* Unretained mode: the command buffers that name a buffer, by the moment at which they named their first. An open
     * one that names none is not here, so that it holds nobody up. */
    struct mlxn_command_buffer *first_use, *last_use;
    uint64_t next_use;
    struct mlxn_buffer *first_deferred, *last_deferred; /* without references, by last_use; to be destroyed */
    struct mlxn_mapping_record *maps;                   /* checked mode: host pointers handed out */
} mlxn_live_list;

/* The residency set of a device: which buffers are members. Lists are linked through the buffers. */
typedef struct mlxn_residency_set {
    pthread_mutex_t lock;
    struct mlxn_buffer *members; /* but those in `leaving` */
    struct mlxn_buffer *leaving; /* taken out by a call while something still uses them */
    uint64_t count, bytes, pending, commits;
    _Atomic bool staged; /* something changed since the last commit of the set */
    _Atomic uint64_t n_leaving;
} mlxn_residency_set;

/* What the bytes of a device are spent on. */
typedef enum mlxn_memory_kind {
    MLXN_MEMORY_BUFFER,
    MLXN_MEMORY_WEIGHT,
    MLXN_MEMORY_SCRATCH,
    MLXN_MEMORY_KINDS
} mlxn_memory_kind;

struct mlxn_device {
    _Atomic uint32_t refs;
    const mlxn_backend *backend;
    void *impl;
    mlxn_precision precision;
    bool residency, checked, unretained;
    mlxn_queue *queue; /* the default one; it lives as long as the device */
    mlxn_counter_book counters;
    mlxn_live_list live;
    mlxn_residency_set set;
    struct mlxn_profiler *_Atomic profiler; /* that listens at present, NULL if none */
    uint64_t memory_limit;
    _Atomic uint64_t memory_used, memory_peak, memory_by_kind[MLXN_MEMORY_KINDS];
    mlxn_log_fn log;
    void *log_user;
    mlxn_device_info info; /* of the backend, at open */
    /* Kernel rows that this device may use, by op: kernels[first[op] .. first[op + 1]). */
    const mlxn_kernel_row **kernels;
    uint32_t first[MLXN_OP_COUNT + 1];
    pthread_mutex_t cache_lock;
    struct mlxn_command_buffer *cache; /* completed command buffers whose memory is reused */
    uint32_t cached;
    _Atomic uint64_t next_buffer_id, next_queue_id, next_capture_id;
};

/* An in-order queue of command buffers. The default queue of a device has no references of its own: they are the
 * device's. */
struct mlxn_queue {
    _Atomic uint32_t refs;
    mlxn_device *device; /* retained, but by the default queue */
    bool is_default;
    uint64_t id; /* 0 for the default one */
    void *impl;
    pthread_mutex_t lock; /* error */
    mlxn_error error;     /* the first failure of a command buffer of this queue; sticky */
};

/* counts: public handles in the high half; in the low half all references, those handles and work in flight. One
 * word, so that "only the handles are left" is one load. */
#define MLXN_BUFFER_REF ((uint64_t)1)
#define MLXN_BUFFER_HANDLE ((uint64_t)1 << 32)
static inline uint32_t mlxn_buffer_refs_of(uint64_t counts) { return (uint32_t)counts; }
static inline uint32_t mlxn_buffer_handles_of(uint64_t counts) { return (uint32_t)(counts >> 32); }

struct mlxn_buffer {
    _Atomic uint64_t counts;
    mlxn_device *device;
    void *storage;
    uint8_t *host;
    uint64_t size;
    uint64_t id;
    /* Unretained mode: use_serial of the latest command buffer that names it, 0 if none does. */
    _Atomic uint64_t last_use;
    mlxn_buffer *deferred_before, *deferred_after; /* guarded by device->live.lock */
    bool wrapped;
    mlxn_free_fn free_fn;
    void *free_user, *free_memory;
    /* A temporary of a capture has no memory; the number of that capture, from 1, and its own within it. */
    uint64_t capture;
    uint32_t temporary;
    struct { /* guarded by device->set.lock */
        bool member;
        bool leaving; /* taken out by a call or with the last handle; it stays until the last work has completed */
        bool listed;  /* among those that a call took out; else only the memory's end ends the membership */
        const void *registrar; /* the pool that made it a member, NULL if none did */
        mlxn_buffer *next, **link;
    } set;
    struct { /* guarded by the owner's thread; see pool.c */
        _Atomic(mlxn_pool *) owner;
        mlxn_buffer *before, *after;
        uint64_t requested, epoch; /* bytes asked for, and when, of the last hand-out */
        bool given;                /* back by mlxn_pool_release */
    } pool;
};

struct mlxn_weight {
    _Atomic uint32_t refs;
    mlxn_device *device;
    mlxn_weight_view view;
    void *storage;
    mlxn_buffer *source[3]; /* data, scales, biases; kept if asked */
    uint64_t accounted;
};

/* One access of a node: bytes [start, end) of a buffer. */
typedef struct mlxn_access {
    mlxn_buffer *buffer;
    uint64_t start, end;
    bool write;
} mlxn_access;

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
    /* Sessions that share the timeline take their values here and submit before the next one does. */
    pthread_mutex_t order;
    uint64_t scheduled;
    /* What recording threads touch stands above, what executing threads touch below, on other cache lines. */
    char apart[64];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic uint64_t value;
    _Atomic bool failed; /* there are failures, or some were lost */
    mlxn_fence_failure *failures;
    size_t n_failures;
    bool failures_lost; /* a failure could not be stored: every later value counts as failed */
    mlxn_timeline_listener *listeners;
};

/* A list of nodes and everything that they keep alive; each object once. Dispatches and kernel launches lie in the
 * arena, whose blocks stay for reuse when the list is cleared. */
typedef struct mlxn_arena_block mlxn_arena_block;
typedef struct mlxn_node_list {
    mlxn_node *nodes;
    size_t count, capacity;
    mlxn_arena_block *blocks, *block; /* all of them; the one in use */
    size_t used;                      /* bytes of the one in use */
    struct mlxn_keep {
        void **slots; /* open-addressed set of tagged pointers */
        void **order;
        size_t count, capacity;
    } keep;
} mlxn_node_list;

struct mlxn_command_buffer {
    _Atomic uint32_t refs;
    mlxn_device *device; /* both retained while the object is not in the cache */
    mlxn_queue *queue;
    char *label;
    size_t label_capacity;
    _Atomic int state;
    mlxn_error error; /* valid once FAILED */
    mlxn_node_list list;
    void *program;
    bool has_dispatch;
    uint64_t dispatches, barriers, hazard_barriers;
    /* owned by device->live */
    uint64_t serial;
    struct mlxn_command_buffer *live_before, *live_after;
    bool retired;        /* its work is done, its nodes go: host access passes it by */
    uint64_t use_serial; /* unretained mode; 0 while it names no buffer */
    struct mlxn_command_buffer *use_before, *use_after;
    /* owned by the queue while in flight */
    struct mlxn_command_buffer *next;
    size_t cursor;
    bool started; /* the backend has begun it; it may have to wait again at the same node */
    mlxn_timeline_listener listener;
    /* Profiling (profile.c): one sample for each node that computes, in order of execution, those of launched graphs
     * in their place. NULL when nobody listens. The backend fills samples[sample++]. */
    mlxn_sample *samples;
    size_t n_samples, sample;
    uint64_t commit_ns, start_ns, end_ns; /* start and end are the backend's, 0 if it did not run */
    /* Somebody wants to know when it ran, without samples: host_queue.c notes it. */
    bool timed;
    uint64_t ran_ns[2];
    mlxn_sample *sample_memory; /* kept for reuse */
    size_t sample_capacity;
    struct mlxn_profiler *profiler; /* retained while this is measured for it */
};

/* Dispatches between two barriers make a group; groups[i] counts those of i + 1 dispatches, the last bin all larger.
 */
enum { MLXN_GROUP_BINS = 8 };

struct mlxn_encoder {
    mlxn_device *device;
    mlxn_queue *queue;
    mlxn_command_buffer *open, *last;
    mlxn_hazards hazards;
    mlxn_error error;  /* sticky */
    bool owned;        /* by a session: it alone commits */
    const char *stage; /* label of the session's stage, the session's; NULL if none */
    bool drained;      /* the session's stage is submitted: records are misuse */
    bool serial;       /* HF2Q_FORCE_SERIAL_DISPATCH: a barrier between any two nodes */
    mlxn_counter_cells counters;
    /* Groups of the open command buffer or capture. */
    uint64_t group_size, n_groups, groups[MLXN_GROUP_BINS];
    bool fenced; /* the last node may touch anything */
    /* Explicit barriers as checks: what stood before the last one, until a node shows that it was needed. */
    mlxn_hazards before;
    bool judging;
    uint64_t barriers_needed, barriers_redundant;
    bool capturing;
    mlxn_node_list capture;
    uint64_t capture_dispatches, capture_barriers;
    bool capture_has_dispatch;
    uint64_t capture_id;       /* of the capture that goes on, for its temporaries */
    mlxn_buffer **temporaries; /* of that capture, kept by its list */
    uint32_t n_temporaries, temporary_capacity;
};

/* What a launch runs: immutable once anybody else refers to it. A patch of a graph whose instance is in use makes a
 * copy. graph.h has what the files of the graph share. */
typedef struct mlxn_graph_instance {
    _Atomic uint32_t refs;
    mlxn_device *device;
    mlxn_node_list list; /* in order of execution, with barriers */
    void *program;
    uint64_t dispatches, barriers;
    struct mlxn_graph_source *source; /* what it was made from, in order of capture */
} mlxn_graph_instance;

/* device.c */
void mlxn_device_log(mlxn_device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Every byte that the device holds is accounted before it is allocated. The two without a kind are for buffers. */
mlxn_status mlxn_device_account_as(mlxn_device *device, mlxn_memory_kind kind, uint64_t bytes, const char *what,
                                   mlxn_error *error);
void mlxn_device_unaccount_as(mlxn_device *device, mlxn_memory_kind kind, uint64_t bytes);
mlxn_status mlxn_device_account(mlxn_device *device, uint64_t bytes, const char *what, mlxn_error *error);
void mlxn_device_unaccount(mlxn_device *device, uint64_t bytes);

/* buffer.c: references of work in flight */
void mlxn_buffer_hold(mlxn_buffer *buffer);
void mlxn_buffer_drop(mlxn_buffer *buffer);
void mlxn_buffer_destroy(mlxn_buffer *buffer); /* nobody refers to it, no work names it */
/* Is it held by more than public handles: by recorded work, work in flight or a graph? */
bool mlxn_buffer_has_work(const mlxn_buffer *buffer);

/* host_access.c: host access beside work in flight */
typedef struct mlxn_mapping_record {
    mlxn_buffer *buffer;
    uint64_t start, end;
    bool write;
    bool owned; /* of mlxn_buffer_map: to be freed; else of a copy under way */
    struct mlxn_mapping_record *next;
} mlxn_mapping_record;
/* Checked devices: refuses what committed work conflicts with; else enters the record, until mlxn_access_end. */
mlxn_status mlxn_access_begin(mlxn_mapping_record *record, const char *verb, mlxn_error *error);
void mlxn_access_end(mlxn_mapping_record *record);
void mlxn_access_forget(mlxn_buffer *buffer); /* the buffer dies */
/* Marks cb committed; refused while the host has mapped what it uses. */
mlxn_status mlxn_access_commit(mlxn_command_buffer *cb, mlxn_error *error);

/* graph.c */
/* Makes the instance ready for launches: barriers, memory of temporaries and program follow the patches. */
mlxn_status mlxn_graph_ready(mlxn_graph *graph, mlxn_error *error);
void mlxn_graph_instance_hold(mlxn_graph_instance *instance);
void mlxn_graph_instance_drop(mlxn_graph_instance *instance);

/* residency.c */
/* The calls of the public interface: they move the counters at once, each time. */
void mlxn_residency_add(mlxn_buffer *buffer, const void *registrar);
void mlxn_residency_remove(mlxn_buffer *buffer);
/* The last handle went: counts as a removal; the membership ends with the memory. */
void mlxn_residency_last_handle(mlxn_buffer *buffer);
void mlxn_residency_leave(mlxn_buffer *buffer);                             /* the memory goes */
void mlxn_residency_remove_all(mlxn_device *device, const void *registrar); /* what that one made a member */
bool mlxn_residency_is_member(mlxn_buffer *buffer);
void mlxn_residency_flush(mlxn_device *device);  /* commits the set if it changed */
void mlxn_residency_settle(mlxn_device *device); /* ends memberships that waited for work which has completed */

/* counters.c */
#define MLXN_COUNT_N(encoder, cell, n)                                                                 \
    atomic_store_explicit(&(encoder)->counters.cell,                                                   \
                          atomic_load_explicit(&(encoder)->counters.cell, memory_order_relaxed) + (n), \
                          memory_order_relaxed)
#define MLXN_COUNT(encoder, cell) MLXN_COUNT_N(encoder, cell, 1)
void mlxn_counter_cells_read(const mlxn_counter_cells *cells, mlxn_counters *out);
/* A device enters and leaves the sums of the process, an encoder those of its device. */
void mlxn_counters_open(mlxn_device *device);
void mlxn_counters_close(mlxn_device *device);
void mlxn_counters_join(mlxn_device *device, mlxn_counter_cells *cells);
void mlxn_counters_leave(mlxn_device *device, mlxn_counter_cells *cells);

/* queue.c */
mlxn_status mlxn_queue_open(mlxn_device *device, bool is_default, mlxn_queue **out, mlxn_error *error);
void mlxn_queue_close_default(mlxn_queue *queue);
void mlxn_queue_note_failure(mlxn_queue *queue, const mlxn_error *failure);

/* live.c: the live list */
void mlxn_live_add(mlxn_device *device, mlxn_command_buffer *cb);
/* Its work is done: nothing that it names is in use by it any more. It stays in the list until its state says so. */
void mlxn_live_retire(mlxn_device *device, mlxn_command_buffer *cb);
void mlxn_live_remove(mlxn_device *device, mlxn_command_buffer *cb);
/* Unretained mode: cb is about to name its first buffer. */
void mlxn_live_begin_use(mlxn_device *device, mlxn_command_buffer *cb);
/* May live work name a buffer with this last_use? */
bool mlxn_live_uses(mlxn_device *device, uint64_t last_use);
/* Takes over a buffer without references until no live work can name it; false if none can now. */
bool mlxn_live_defer(mlxn_device *device, mlxn_buffer *buffer);

/* node_list.c */
typedef enum mlxn_keep_kind {
    MLXN_KEEP_BUFFER = 0,
    MLXN_KEEP_WEIGHT = 1,
    MLXN_KEEP_TIMELINE = 2,
    MLXN_KEEP_GRAPH = 3, /* an instance */
    MLXN_KEEP_KERNEL = 4
} mlxn_keep_kind;
bool mlxn_list_grow(mlxn_node_list *list); /* room for one more node at least; false: out of memory */
/* NULL: out of memory. */
static inline mlxn_node *mlxn_list_add(mlxn_node_list *list, mlxn_node_kind kind) {
    if (list->count == list->capacity && !mlxn_list_grow(list)) return NULL;
    mlxn_node *node = &list->nodes[list->count++];
    node->kind = kind;
    return node;
}
/* Memory in the list's arena, aligned to 16, not zeroed; it stays where it is until the list is cleared. */
void *mlxn_list_alloc(mlxn_node_list *list, size_t bytes);
/* A dispatch with room for its arrays, which are not zeroed. */
mlxn_dispatch *mlxn_list_dispatch(mlxn_node_list *list, const mlxn_op_def *op, uint32_t n_args);
bool mlxn_list_keep(mlxn_node_list *list, void *object, mlxn_keep_kind kind);
/* All that a node that computes refers to. */
bool mlxn_list_keep_node(mlxn_node_list *list, const mlxn_node *node);
/* Releases what is kept and forgets the nodes; memory stays for reuse. */
void mlxn_list_clear(mlxn_node_list *list);
void mlxn_list_free(mlxn_node_list *list);

/* For backends: the next `n` samples, NULL when nobody listens. */
static inline mlxn_sample *mlxn_cb_take_samples(mlxn_command_buffer *cb, size_t n) {
    if (!cb->samples || n > cb->n_samples - cb->sample) return NULL;
    cb->sample += n;
    return cb->samples + cb->sample - n;
}

/* command.c */
mlxn_command_buffer *mlxn_cb_begin(mlxn_queue *queue); /* NULL: out of memory */
bool mlxn_cb_set_label(mlxn_command_buffer *cb, const char *label);
mlxn_status mlxn_cb_submit(mlxn_command_buffer *cb, bool will_wait, mlxn_error *error);
/* Called by the queue when cb has finished: puts its label before the failure (NULL: none), gives the signals that a
 * failure left open, drops what it kept, then publishes the state. */
void mlxn_cb_finish(mlxn_command_buffer *cb, const mlxn_error *failure);
void mlxn_cb_discard(mlxn_command_buffer *cb);
void mlxn_cb_free(mlxn_device *device, mlxn_command_buffer *cb); /* one that nobody refers to */

/* encoder.c */
mlxn_status mlxn_encoder_open(mlxn_encoder *encoder, mlxn_error *error); /* opens a command buffer if none is open */
/* Commit, also of an encoder that a session owns. */
mlxn_status mlxn_encoder_submit(mlxn_encoder *encoder, const char *label, bool will_wait, mlxn_error *error);
mlxn_status mlxn_encoder_submit_and_wait(mlxn_encoder *encoder, const char *label, mlxn_error *error);
/* Keeps the first failure, with the label of the command buffer in front; returns its status. */
mlxn_status mlxn_encoder_stick(mlxn_encoder *encoder, const mlxn_error *failure);
mlxn_status mlxn_encoder_stick_memory(mlxn_encoder *encoder, const char *what);
/* Readies the list that records go to; NULL after a sticky error or misuse. */
mlxn_node_list *mlxn_encoder_ready_target(mlxn_encoder *encoder);
static inline mlxn_node_list *mlxn_encoder_target(mlxn_encoder *encoder) {
    mlxn_command_buffer *open = encoder->open;
    bool ready = open && !encoder->error.status && !encoder->capturing && !encoder->drained;
    return ready ? &open->list : mlxn_encoder_ready_target(encoder);
}
/* Keeps a buffer alive until what is recorded into `list` has completed. False: out of memory. */
bool mlxn_encoder_keep(mlxn_encoder *encoder, mlxn_node_list *list, mlxn_buffer *buffer);

/* dispatch.c */
/* Fills a dispatch made by mlxn_list_dispatch from a caller's arguments: views, bounds, aliasing, parameters, kernel.
 */
mlxn_status mlxn_dispatch_build(const mlxn_device *device, mlxn_dispatch *d, uint32_t op, const mlxn_arg *args,
                                const void *params, uint32_t params_size, mlxn_error *failure);
/* One argument of it, without the checks that look at several. */
mlxn_status mlxn_dispatch_argument(const mlxn_device *device, mlxn_dispatch *d, uint32_t i, const mlxn_arg *arg,
                                   mlxn_error *failure);
/* The second half, for a dispatch whose views, bindings or parameters were changed in place. */
mlxn_status mlxn_dispatch_check(const mlxn_device *device, mlxn_dispatch *d, uint32_t op, const void *params,
                                uint32_t params_size, mlxn_error *failure);

/* Of copies and fills. */
mlxn_status mlxn_copy_check(const mlxn_device *device, mlxn_buffer *src, uint64_t src_offset, mlxn_buffer *dst,
                            uint64_t dst_offset, uint64_t bytes, mlxn_error *failure);
mlxn_status mlxn_fill_check(const mlxn_device *device, mlxn_buffer *dst, uint64_t offset, uint64_t bytes,
                            mlxn_error *failure);

/* graph_memory.c */
/* A temporary is for the capture `capture` alone (0: for none). `what` and `name` begin the message. */
mlxn_status mlxn_temporary_refuse(const char *what, const char *name, mlxn_error *failure);
static inline mlxn_status mlxn_temporary_check(const mlxn_buffer *buffer, uint64_t capture, const char *what,
                                               const char *name, mlxn_error *failure) {
    if (!buffer || !buffer->capture || buffer->capture == capture) return MLXN_OK;
    return mlxn_temporary_refuse(what, name, failure);
}
/* The last reference is gone. */
void mlxn_temporary_free(mlxn_buffer *buffer);

/* order.c: hazards and barriers of recording */
/* Puts a barrier before the next node if it conflicts with the group, then adds its accesses (at most
 * MLXN_MAX_ACCESS) to the group and keeps their buffers in the list. A node that may touch anything is a fence: a
 * barrier before and after. False: out of memory. */
bool mlxn_encoder_order(mlxn_encoder *encoder, mlxn_node_list *list, const mlxn_access *access, size_t n, bool fence);
/* Everything after is ordered against everything before by other means: a new group begins. */
void mlxn_encoder_new_group(mlxn_encoder *encoder);
/* A fresh command buffer or capture. */
void mlxn_encoder_restart_stats(mlxn_encoder *encoder);
/* Called after the node of a dispatch, kernel, copy or fill was added. */
static inline void mlxn_encoder_note_work(mlxn_encoder *encoder) {
    encoder->group_size++;
    if (encoder->capturing) {
        encoder->capture_has_dispatch = true;
        encoder->capture_dispatches++;
    } else {
        encoder->open->has_dispatch = true;
        encoder->open->dispatches++;
    }
}

/* access.c: what a node touches, the one place that knows for every kind */
enum { MLXN_MAX_ACCESS = 64 };
typedef struct mlxn_access_list {
    mlxn_access items[MLXN_MAX_ACCESS];
    size_t count;
    bool fence; /* it may touch more than the list says: nothing may move across it */
} mlxn_access_list;
/* Of a node that computes; barriers, waits, signals and launches are fences without accesses. */
void mlxn_node_accesses(const mlxn_node *node, mlxn_access_list *out);
bool mlxn_accesses_conflict(const mlxn_access_list *a, const mlxn_access_list *b);
bool mlxn_node_computes(const mlxn_node *node); /* dispatch, kernel, copy or fill: it has a sample */
/* "rms_norm", "copy", the kernel's name, …; for messages, profiles and streams. */
const char *mlxn_node_name(const mlxn_node *node);
mlxn_cost mlxn_node_cost(const mlxn_node *node);

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
