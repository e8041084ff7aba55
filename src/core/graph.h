/* graph.h: what the files of the graph share: the source of an instance, and the steps from it to a program.
 *
 * The source is the list of nodes in order of capture, after fusion. Order, barriers and places of temporaries are
 * derived from it (graph_derive.c, graph_memory.c), once when the capture is taken and again after a patch that
 * changed which bytes are touched. In the source, temporaries are the buffers that the caller recorded; in what runs
 * they are ranges of the arena. Both are the same arguments: they are bound and unbound in place. */
#ifndef MLXN_SRC_GRAPH_H
#define MLXN_SRC_GRAPH_H

#include "core/core.h"
#include "core/levels.h"

/* An argument that is a temporary: the memory behind binding `arg` of a dispatch or kernel, or source (0) or
 * destination (1) of a copy, or destination (1) of a fill. */
typedef struct mlxn_temporary_use {
    uint32_t node, arg, temporary;
    uint64_t start; /* within the temporary */
} mlxn_temporary_use;

typedef struct mlxn_temporary {
    mlxn_buffer *buffer; /* kept by the list */
    uint64_t offset;     /* in the arena */
    uint32_t first, last; /* groups; first 0: unused */
} mlxn_temporary;

typedef struct mlxn_graph_source {
    mlxn_node *nodes;   /* those that compute */
    uint32_t *barriers; /* explicit ones before each node, and after the last: count + 1 elements */
    uint32_t count;
    uint32_t *level;   /* group of each node, from 1 */
    uint32_t *place;   /* where it lies in list.nodes */
    uint32_t *ordinal; /* how many nodes that compute run before it */
    mlxn_node *spare;  /* the next list.nodes is written here */
    size_t spare_capacity;
    bool reorder, serial;
    uint64_t groups, fusions, moved, fences;
    uint64_t temporary_bytes, temporary_sum;
    mlxn_temporary *temporaries;
    mlxn_temporary_use *uses;
    uint32_t n_temporaries, n_uses;
    mlxn_buffer *arena; /* held */
    /* What patches left to do before the next launch. */
    bool stale_order, stale_program, stale_keep;
} mlxn_graph_source;

struct mlxn_graph {
    mlxn_device *device;
    mlxn_graph_instance *instance;
    uint64_t patches;      /* that were applied */
    mlxn_level_map levels; /* memory of derivations */
};

/* ---- graph.c ---- */
/* Takes the capture of an encoder without making a program of it: for those that replay the nodes. */
mlxn_status mlxn_graph_take(mlxn_encoder *encoder, const mlxn_graph_desc *desc, bool program, mlxn_graph **out,
                            mlxn_error *error);
/* An instance without nodes, whose source has room for `count`; NULL: out of memory. */
mlxn_graph_instance *mlxn_graph_instance_create(mlxn_device *device, uint32_t count);

/* ---- graph_derive.c ---- */
/* Order, groups and barriers of the source, places of the temporaries, and (if asked) a program. A failure leaves
 * list.nodes and the bindings of temporaries as they were, but the program unusable. */
mlxn_status mlxn_graph_derive(mlxn_graph_instance *instance, mlxn_level_map *levels, bool program, mlxn_error *error);
mlxn_status mlxn_graph_program(mlxn_graph_instance *instance, mlxn_error *error);

/* ---- graph_memory.c ---- */
/* Finds the uses of temporaries in a source that names them. False: out of memory. */
bool mlxn_temporaries_find(mlxn_graph_source *source, mlxn_buffer *const *temporaries, uint32_t n);
/* Offsets from levels, and an arena that is large enough. */
mlxn_status mlxn_temporaries_plan(mlxn_device *device, mlxn_graph_source *source, mlxn_error *error);
void mlxn_temporaries_bind(mlxn_graph_source *source);   /* to the arena */
void mlxn_temporaries_unbind(mlxn_graph_source *source); /* back to the buffers of the caller */

/* ---- graph_patch.c ---- */
/* A dispatch to be tried out: `d` refers to the other members. */
typedef struct mlxn_stack_dispatch {
    mlxn_dispatch d;
    mlxn_view args[MLXN_MAX_ARGS];
    mlxn_binding bindings[MLXN_MAX_ARGS];
    mlxn_weight *weights[MLXN_MAX_ARGS];
    uint64_t params[MLXN_MAX_PARAMS / 8];
    uint32_t op;
} mlxn_stack_dispatch;
/* A copy in the arena of `list`; NULL: out of memory. */
mlxn_dispatch *mlxn_dispatch_copy(mlxn_node_list *list, const mlxn_dispatch *from);

/* ---- fuse.c ---- */
/* Applies the rules until none fits any more. Fused dispatches come from the arena of `list`. False: out of memory.
 */
bool mlxn_graph_fuse(const mlxn_device *device, mlxn_graph_source *source, mlxn_node_list *list,
                     const mlxn_graph_desc *desc);

#endif
