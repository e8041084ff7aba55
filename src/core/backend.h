/* backend.h: what a backend is. Some twenty functions, none of which names an operation.
 *
 * Core records work as a list of nodes (validated, hazards resolved, kernels chosen); a backend turns such a list
 * into a program (for a command buffer at commit, for a graph once) and executes command buffers in commit order. */
#ifndef MLXN_SRC_BACKEND_H
#define MLXN_SRC_BACKEND_H

#include "ops/op.h"

/* One kernel of a backend. Rows of one op stand together, fastest first. */
typedef struct mlxn_kernel_row {
    uint32_t op;
    const char *name;
    uint32_t isa;       /* MLXN_ISA_* bits that must be present */
    uint32_t precision; /* bit (1 << mlxn_precision) for each setting that it may serve */
    bool (*fits)(const mlxn_view *args, const void *params); /* NULL = always */
    const void *entry;                                       /* the backend's own */
    /* For profiles: 8-bit multiply-adds that it does for one of the op's cost; 0: it computes in floats. */
    uint32_t int8_passes;
} mlxn_kernel_row;

/* ---- recorded work ---- */

typedef enum mlxn_node_kind {
    MLXN_NODE_DISPATCH,
    MLXN_NODE_KERNEL, /* a kernel of the user's own */
    MLXN_NODE_COPY,
    MLXN_NODE_FILL,
    MLXN_NODE_BARRIER,
    MLXN_NODE_SIGNAL,
    MLXN_NODE_WAIT,
    MLXN_NODE_LAUNCH
} mlxn_node_kind;

/* The bytes [offset, end) of a buffer that an argument touches; buffer == NULL for weights and absent arguments. */
typedef struct mlxn_binding {
    mlxn_buffer *buffer;
    uint64_t offset, end;
} mlxn_binding;

/* One operation. It lies in the arena of its list together with its arrays, which have n_args elements. */
typedef struct mlxn_dispatch {
    const mlxn_op_def *op;
    const mlxn_kernel_row *kernel; /* NULL: the reference */
    uint32_t n_args;
    mlxn_view *args;
    mlxn_binding *bindings;
    mlxn_weight **weights; /* NULL elements for tensors */
    uint64_t *params;      /* op->params_size bytes */
} mlxn_dispatch;

/* One argument of a user's kernel: memory, or bytes that were copied when it was recorded. */
typedef struct mlxn_kernel_binding {
    uint32_t slot;
    uint32_t role; /* mlxn_kernel_role; 0: unknown, then the node is a fence for all that moves nodes */
    mlxn_binding memory;
    void *address; /* host address of the memory, or of the bytes; NULL where the host cannot see it */
    uint64_t bytes;
} mlxn_kernel_binding;

/* One launch of a user's kernel; in the arena of its list too. */
typedef struct mlxn_kernel_launch {
    struct mlxn_kernel *kernel;
    uint32_t n_bindings;
    mlxn_kernel_binding *bindings;
    uint64_t threads[3];   /* in all; a ragged edge is the backend's to cut */
    uint32_t group[3];     /* threads of a group */
    uint64_t groups[3];    /* ceil(threads / group) */
    uint64_t group_memory; /* bytes that the threads of a group share */
} mlxn_kernel_launch;

typedef struct mlxn_node {
    mlxn_node_kind kind;
    union {
        mlxn_dispatch *dispatch;
        mlxn_kernel_launch *kernel;
        struct {
            mlxn_buffer *src, *dst;
            uint64_t src_offset, dst_offset, bytes;
        } copy;
        struct {
            mlxn_buffer *dst;
            uint64_t offset, bytes;
            uint8_t value;
        } fill;
        struct {
            struct mlxn_timeline *timeline;
            uint64_t value;
        } sync;
        struct mlxn_graph_instance *launch;
        bool asked; /* barrier: by the caller, not by the hazard tracker */
    } u;
} mlxn_node;

/* When a node that computes ran, as the device's clock (mlxn_now_ns on host backends) saw it. */
typedef struct mlxn_sample {
    uint64_t start_ns, end_ns; /* of the first thread that began and the last that ended */
    uint64_t busy_ns;          /* summed over threads; 0 where the backend cannot tell */
} mlxn_sample;

struct mlxn_command_buffer;
struct mlxn_kernel;

typedef struct mlxn_weight_progress {
    void (*packed)(void *user, uint64_t rows); /* NULL: nobody listens */
    void *user;
} mlxn_weight_progress;

typedef struct mlxn_backend {
    const char *name;
    /* 0 with a reason and its cure in *error if there is none. */
    uint32_t (*device_count)(mlxn_error *error);
    mlxn_status (*open)(mlxn_device *device, const mlxn_device_desc *desc, void **impl, mlxn_error *error);
    /* Nothing is in flight. May be called on the backend's own queue thread. */
    void (*close)(void *impl);
    void (*info)(void *impl, mlxn_device_info *out); /* fills name, threads, isa, host_visible, computes, memory_* */

    /* Memory: 64-byte aligned and zero. *host is NULL where the host cannot see it. */
    mlxn_status (*memory_create)(void *impl, uint64_t bytes, void **storage, void **host, mlxn_error *error);
    void (*memory_destroy)(void *impl, void *storage, uint64_t bytes);
    /* NULL if the device cannot use host memory in place. */
    mlxn_status (*memory_wrap)(void *impl, void *memory, uint64_t bytes, void **storage, void **host,
                               mlxn_error *error);
    void (*memory_unwrap)(void *impl, void *storage);
    mlxn_status (*memory_read)(void *impl, void *storage, uint64_t offset, void *dst, uint64_t bytes,
                               mlxn_error *error);
    mlxn_status (*memory_write)(void *impl, void *storage, uint64_t offset, const void *src, uint64_t bytes,
                                mlxn_error *error);

    /* The device's own layout of a weight: fills packed, packed_bytes, read_row of *out. A backend that packs in
     * slices reports how many rows of the source it needs no more; the others ignore progress. */
    mlxn_status (*weight_prepare)(void *impl, const mlxn_weight_view *raw, const mlxn_weight_progress *progress,
                                  mlxn_weight_view *out, void **storage, mlxn_error *error);
    /* The bytes that weight_prepare will take. NULL: those of the format. */
    mlxn_status (*weight_bytes)(void *impl, const mlxn_weight_view *raw, uint64_t *out, mlxn_error *error);
    void (*weight_destroy)(void *impl, void *storage);

    const mlxn_kernel_row *(*kernels)(size_t *count);

    /* A program refers to the nodes, which stay where they are until program_destroy. *program may come in as an
     * old program of the same device, whose memory is reused. */
    mlxn_status (*program_create)(void *impl, const mlxn_node *nodes, size_t n, void **program, mlxn_error *error);
    void (*program_destroy)(void *impl, void *program);
    /* The node behind the i-th of the nodes that compute changed in place, and is of the same kind as before; nothing
     * runs the program. False: the program cannot follow and has to be created anew. NULL: it never can. */
    bool (*program_update)(void *impl, void *program, const mlxn_node *node, size_t i);

    /* Queues: each executes its command buffers in order, and none waits for another but through timelines. A queue
     * is destroyed when nothing is in flight on it, possibly on its own thread. submit takes a reference of `cb`;
     * will_wait: the caller is about to wait for it. */
    mlxn_status (*queue_create)(void *impl, void **queue, mlxn_error *error);
    void (*queue_destroy)(void *impl, void *queue);
    mlxn_status (*submit)(void *impl, void *queue, struct mlxn_command_buffer *cb, bool will_wait, mlxn_error *error);
    /* True when cb is no longer in flight; timeout_ns UINT64_MAX = for ever. */
    bool (*wait)(void *impl, void *queue, struct mlxn_command_buffer *cb, uint64_t timeout_ns);

    /* Kernels of the user's own (registry.c). *prepared is the backend's; *blob (mlxn_alloc, may stay NULL) is what a
     * disk cache would keep of it, and `cached` such a blob of an earlier run, or NULL. A backend that takes `cached`
     * leaves *blob NULL; one that refuses it prepares anew. blob is NULL where nobody wants one. An error of COMPILE
     * carries the compiler's text (mlxn_kernel_compile_failed). Called from several threads, also at the same time.
     * NULL: the backend runs none. */
    mlxn_status (*kernel_prepare)(void *impl, const struct mlxn_kernel *kernel, const void *cached,
                                  uint64_t cached_bytes, void **prepared, void **blob, uint64_t *blob_bytes,
                                  mlxn_error *error);
    void (*kernel_release)(void *impl, void *prepared);

    /* Roofs of the device for profiles (profile.h). NULL: unknown. */
    mlxn_status (*measure)(void *impl, double *bytes_per_second, double *f32_flops, double *int8_ops,
                           mlxn_error *error);

    /* null: recorded text; NULL elsewhere. */
    const char *(*stream_text)(void *impl);
    void (*stream_clear)(void *impl);
} mlxn_backend;

/* In order of preference; ends with NULL. Defined in backends.c, the one file that names concrete backends. */
extern const mlxn_backend *const mlxn_backends[];
/* One more, for tests; NULL otherwise. Not listed, found by its name. */
extern const mlxn_backend *mlxn_backend_extra;

#endif
