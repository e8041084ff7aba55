/* host_queue.h: an in-order software queue for backends that execute on the host.
 *
 * Command buffers run in submission order, one at a time. A thread of the queue's own runs them; a thread that waits
 * for a result takes over while nobody else executes, so that a blocking commit costs no thread switch. A command
 * buffer that waits for a timeline value gives the executing thread back until the value is reached. */
#ifndef MLXN_SRC_HOST_QUEUE_H
#define MLXN_SRC_HOST_QUEUE_H

#include "core/core.h"

typedef enum mlxn_run_result { MLXN_RUN_DONE, MLXN_RUN_FAILED, MLXN_RUN_BLOCKED } mlxn_run_result;

/* Executes from cb->cursor on. BLOCKED: cb->listener.value and *timeline tell for what; cursor stands at the wait.
 * FAILED: *error says why; mlxn_cb_finish gives the signals that are still open. */
typedef mlxn_run_result (*mlxn_host_queue_run_fn)(void *impl, mlxn_command_buffer *cb, mlxn_timeline **timeline,
                                                  mlxn_error *error);

typedef struct mlxn_host_queue {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    mlxn_command_buffer *head, *tail;
    bool executing, blocked, stop, sleeping, spin;
    _Atomic uint32_t news; /* changes when there may be something to do for the queue's thread */
    bool *gone; /* set when the queue is closed on its own thread */
    pthread_t thread;
    mlxn_host_queue_run_fn run;
    void *impl;
} mlxn_host_queue;

mlxn_status mlxn_host_queue_create(mlxn_host_queue_run_fn run, void *impl, void **queue, mlxn_error *error);
/* The functions of a backend (backend.h). Destroyed on the queue's own thread, that thread ends by itself. */
void mlxn_host_queue_destroy(void *impl, void *queue);
mlxn_status mlxn_host_queue_submit(void *impl, void *queue, mlxn_command_buffer *cb, bool will_wait,
                                   mlxn_error *error);
bool mlxn_host_queue_wait(void *impl, void *queue, mlxn_command_buffer *cb, uint64_t timeout_ns);
/* The wait and signal nodes, the same for every host backend. */
mlxn_run_result mlxn_host_queue_sync(mlxn_command_buffer *cb, const mlxn_node *node, mlxn_timeline **timeline,
                                     mlxn_error *error);

#endif
