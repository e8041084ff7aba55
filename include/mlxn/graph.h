/* mlxn/graph.h: record once, launch many times.
 *
 * While an encoder captures, records go to a list instead of the command buffer. take_capture turns the list into a
 * graph: kernels chosen, barriers placed, scratch memory allocated. A launch replays it in order; values that change
 * from launch to launch (tokens, positions) are read from device buffers by the operations. Launching allocates
 * nothing on the CPU device. A graph holds references to all buffers and weights that it uses.
 *
 * Thread rule: one thread at a time per graph; launches of one graph never overlap each other. */
#ifndef MLXN_GRAPH_H
#define MLXN_GRAPH_H

#include <mlxn/encoder.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_graph mlxn_graph;

/* Begins a fresh list; a list begun before is dropped. */
MLXN_API mlxn_status mlxn_encoder_start_capture(mlxn_encoder *encoder, mlxn_error *error);
MLXN_API bool mlxn_encoder_is_capturing(const mlxn_encoder *encoder);
/* Ends capturing and instantiates. Errors: STATE (not capturing), MEMORY, the sticky error. */
MLXN_API mlxn_status mlxn_encoder_take_capture(mlxn_encoder *encoder, mlxn_graph **out, mlxn_error *error);
/* Records one replay; it is ordered after what precedes and before what follows. */
MLXN_API mlxn_status mlxn_encoder_launch(mlxn_encoder *encoder, mlxn_graph *graph);
/* Work in flight keeps what it needs. */
MLXN_API void mlxn_graph_destroy(mlxn_graph *graph);
MLXN_API uint64_t mlxn_graph_dispatch_count(const mlxn_graph *graph);
MLXN_API uint64_t mlxn_graph_barrier_count(const mlxn_graph *graph);

#ifdef __cplusplus
}
#endif
#endif
