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
} mlxn_kernel_row;

typedef enum mlxn_node_kind {
    MLXN_NODE_DISPATCH,
    MLXN_NODE_COPY,
    MLXN_NODE_FILL,
    MLXN_NODE_BARRIER,
    MLXN_NODE_SIGNAL,
    MLXN_NODE_WAIT,
    MLXN_NODE_LAUNCH
} mlxn_node_kind;

typedef struct mlxn_dispatch {
    const mlxn_op_def *op;
    const mlxn_kernel_row *kernel; /* NULL: the reference */
    uint32_t n_args;
    mlxn_view args[MLXN_MAX_ARGS];
    mlxn_buffer *buffers[MLXN_MAX_ARGS]; /* NULL for weights and absent arguments */
    uint64_t offsets[MLXN_MAX_ARGS];
    uint64_t params[MLXN_MAX_PARAMS / 8];
} mlxn_dispatch;

typedef struct mlxn_node {
    mlxn_node_kind kind;
    union {
        mlxn_dispatch dispatch;
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
        struct mlxn_graph *launch;
    } u;
} mlxn_node;

struct mlxn_command_buffer;

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

    /* The device's own layout of a weight: fills packed, packed_bytes, read_row of *out. */
    mlxn_status (*weight_prepare)(void *impl, const mlxn_weight_view *raw, mlxn_weight_view *out, void **storage,
                                  mlxn_error *error);
    void (*weight_destroy)(void *impl, void *storage);

    const mlxn_kernel_row *(*kernels)(size_t *count);

    /* A program refers to the nodes, which stay where they are until program_destroy. *program may come in as an
     * old program of the same device, whose memory is reused. */
    mlxn_status (*program_create)(void *impl, const mlxn_node *nodes, size_t n, void **program, mlxn_error *error);
    void (*program_destroy)(void *impl, void *program);

    /* The queue. submit takes a reference of `cb`; will_wait: the caller is about to wait for it. */
    mlxn_status (*submit)(void *impl, struct mlxn_command_buffer *cb, bool will_wait, mlxn_error *error);
    /* True when cb is no longer in flight; timeout_ns UINT64_MAX = for ever. */
    bool (*wait)(void *impl, struct mlxn_command_buffer *cb, uint64_t timeout_ns);

    /* null: recorded text; NULL elsewhere. */
    const char *(*stream_text)(void *impl);
    void (*stream_clear)(void *impl);
} mlxn_backend;

/* In order of preference; ends with NULL. Defined in backends.c, the one file that names concrete backends. */
extern const mlxn_backend *const mlxn_backends[];
/* One more, for tests; NULL otherwise. Not listed, found by its name. */
extern const mlxn_backend *mlxn_backend_extra;

#endif
