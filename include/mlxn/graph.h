/* mlxn/graph.h: record once, patch, launch many times.
 *
 * While an encoder captures, records go to a list instead of the command buffer. take_capture turns the list into a
 * graph: operations fused and reordered if asked, kernels chosen, barriers placed, memory of temporaries planned. A
 * launch replays it; values that change from launch to launch (tokens, positions) are read from device buffers by the
 * operations, others are patched. Launching, and patching parameters of a graph that nothing in flight uses, allocate
 * nothing on the CPU device. A graph holds references to all buffers and weights that it uses.
 *
 * Thread rule: one thread at a time per graph. One graph may be launched any number of times, by any encoder of its
 * device. Launches on one queue run in their order. Between queues timelines alone give an order; on the CPU and null
 * devices launches of a graph that meet on two queues run one after the other, whichever comes first. */
#ifndef MLXN_GRAPH_H
#define MLXN_GRAPH_H

#include <mlxn/encoder.h>
#include <mlxn/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_graph mlxn_graph;

/* ---- capture ---- */

/* Begins a fresh list; a list begun before is dropped, with its temporaries. */
MLXN_API mlxn_status mlxn_encoder_start_capture(mlxn_encoder *encoder, mlxn_error *error);
MLXN_API bool mlxn_encoder_is_capturing(const mlxn_encoder *encoder);

/* Scratch memory of the graph that is being captured: a buffer without memory of its own until take_capture, which
 * lays all temporaries of a graph into one allocation such that two share bytes only if no group of dispatches lies
 * within the lives of both. A life lasts from the first use to the last, so what a temporary holds before its first
 * write in a launch, and after the last, is undefined. The caller owns a reference and may release it at once. Use
 * outside its capture and access by the host are errors of STATE. Errors: STATE (not capturing), ARGUMENT (0 bytes),
 * MEMORY, the sticky error. */
MLXN_API mlxn_status mlxn_encoder_temporary(mlxn_encoder *encoder, uint64_t bytes, mlxn_buffer **out,
                                            mlxn_error *error);

typedef enum mlxn_fuse_mode {
    MLXN_FUSE_NONE = 0,
    MLXN_FUSE_EXACT = 1, /* where the intermediate is f32: the results have the same bits */
    MLXN_FUSE_ALL = 2    /* also where it is f16 or bf16: then the intermediate is not rounded */
} mlxn_fuse_mode;

/* Bytes [offset, offset + bytes) of a buffer; bytes 0 = to its end. */
typedef struct mlxn_range {
    mlxn_buffer *buffer;
    uint64_t offset, bytes;
} mlxn_range;

/* Zero every field that you do not set. */
typedef struct mlxn_graph_desc {
    uint32_t struct_size;
    /* Pairs of operations become one where the table of rules (docs/GRAPHS.md) has a row for them and nobody can see
     * the difference: the intermediate is written by the first and read by the second only, nothing between the two
     * touches it or writes an input of the first, and afterwards it is a temporary, overwritten before it is read, or
     * declared dead. */
    mlxn_fuse_mode fuse;
    /* Groups of the least possible number, the length of the longest chain of conflicts: each operation goes as far
     * forward as its conflicts allow; within a group the order stays. Kernels whose arguments have unknown roles keep
     * their place. Barriers of the caller are dropped. Without it they are kept, and the order of capture too. */
    bool reorder;
    const mlxn_range *dead; /* contents that nobody reads after a launch */
    uint32_t n_dead;
} mlxn_graph_desc;

/* Ends capturing and instantiates; `desc` may be NULL. On a failure the encoder goes on capturing. Errors: STATE (not
 * capturing), ARGUMENT, MEMORY, LIMIT (temporaries), the sticky error. */
MLXN_API mlxn_status mlxn_encoder_take_capture_with(mlxn_encoder *encoder, const mlxn_graph_desc *desc,
                                                    mlxn_graph **out, mlxn_error *error);
MLXN_API mlxn_status mlxn_encoder_take_capture(mlxn_encoder *encoder, mlxn_graph **out, mlxn_error *error);

/* Records one replay; it is ordered after what precedes and before what follows. Barriers are derived anew first if
 * patches changed what is touched (errors, sticky: MEMORY, LIMIT). */
MLXN_API mlxn_status mlxn_encoder_launch(mlxn_encoder *encoder, mlxn_graph *graph);
/* Work in flight keeps what it needs. */
MLXN_API void mlxn_graph_destroy(mlxn_graph *graph);
MLXN_API uint64_t mlxn_graph_dispatch_count(const mlxn_graph *graph);
MLXN_API uint64_t mlxn_graph_barrier_count(const mlxn_graph *graph);

typedef struct mlxn_graph_info {
    uint32_t struct_size;
    uint64_t nodes;           /* operations, kernels, copies and fills, after fusion */
    uint64_t barriers;        /* explicit ones included; after a patch: as of the last launch */
    uint64_t groups;          /* of nodes that may run at the same time */
    uint64_t fusions;         /* pairs that became one */
    uint64_t moved;           /* positions of the order of capture that hold another node now */
    uint64_t temporary_bytes; /* of the one allocation */
    uint64_t temporary_sum;   /* what the temporaries in use would take apart, each rounded up to 64 bytes */
    uint64_t patches;         /* that were applied since the graph was made */
} mlxn_graph_info;
/* Sets out->struct_size bytes at most; set it first. Errors: ARGUMENT. */
MLXN_API mlxn_status mlxn_graph_get_info(const mlxn_graph *graph, mlxn_graph_info *out);

/* ---- patches ----
 * Nodes are numbered in the order of capture, barriers not counted; a fused node stands in the place of the second of
 * its pair. A patch is checked exactly as recording checks, with the same messages, and changes nothing if it fails.
 * It holds for launches recorded after it: those recorded before keep what they were recorded with (if any are, the
 * first patch copies the graph). Errors of all: ARGUMENT, MEMORY, STATE (temporaries). */

MLXN_API uint64_t mlxn_graph_node_count(const mlxn_graph *graph);
/* The operation of a node, "copy_bytes", "fill_bytes", or the name of a kernel; NULL past the end. */
MLXN_API const char *mlxn_graph_node_name(const mlxn_graph *graph, uint64_t node);
/* The n-th node (from 0) of that name; UINT64_MAX if there is none. */
MLXN_API uint64_t mlxn_graph_find_node(const mlxn_graph *graph, const char *name, uint64_t n);

/* Argument `arg` of an operation, by its place in the argument table. `tensor` NULL = absent (optional ones). */
MLXN_API mlxn_status mlxn_graph_set_argument(mlxn_graph *graph, uint64_t node, uint32_t arg,
                                             const mlxn_tensor *tensor, mlxn_error *error);
MLXN_API mlxn_status mlxn_graph_set_weight(mlxn_graph *graph, uint64_t node, uint32_t arg, mlxn_weight *weight,
                                           mlxn_error *error);
MLXN_API mlxn_status mlxn_graph_set_params(mlxn_graph *graph, uint64_t node, const void *params, uint32_t params_size,
                                           mlxn_error *error);
/* All arguments and parameters at once, for shapes that change together; as mlxn_encode. */
MLXN_API mlxn_status mlxn_graph_set_node(mlxn_graph *graph, uint64_t node, const mlxn_arg *args, uint32_t n_args,
                                         const void *params, uint32_t params_size, mlxn_error *error);
/* As mlxn_encoder_copy and mlxn_encoder_fill; bytes must be at least 1. */
MLXN_API mlxn_status mlxn_graph_set_copy(mlxn_graph *graph, uint64_t node, mlxn_buffer *src, uint64_t src_offset,
                                         mlxn_buffer *dst, uint64_t dst_offset, uint64_t bytes, mlxn_error *error);
MLXN_API mlxn_status mlxn_graph_set_fill(mlxn_graph *graph, uint64_t node, mlxn_buffer *dst, uint64_t offset,
                                         uint64_t bytes, uint8_t value, mlxn_error *error);
/* Of a kernel of the user's own: the memory behind a slot (bytes 0 = to the end), and inline bytes, of which there
 * are as many as were recorded. The role stays. */
MLXN_API mlxn_status mlxn_graph_set_kernel_buffer(mlxn_graph *graph, uint64_t node, uint32_t slot,
                                                  mlxn_buffer *buffer, uint64_t offset, uint64_t bytes,
                                                  mlxn_error *error);
MLXN_API mlxn_status mlxn_graph_set_kernel_bytes(mlxn_graph *graph, uint64_t node, uint32_t slot, const void *data,
                                                 uint32_t bytes, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
