/* encode_rows.c: work on the rows of a matrix, on several threads. */
#include "convert/encode_rows.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

enum { ROWS_AT_ONCE = 8, MOST_THREADS = 256 };

typedef struct shared {
    mlxn_row_fn fn;
    const void *job;
    uint64_t rows, cols;
    atomic_uint_fast64_t next;
    atomic_bool stop;
    pthread_mutex_t lock;
    uint64_t failed_row; /* the first one, so that the message does not depend on the threads */
    mlxn_error error;
} shared;

static void keep_error(shared *s, uint64_t row, const mlxn_error *error) {
    pthread_mutex_lock(&s->lock);
    if (!s->error.status || row < s->failed_row) {
        s->error = *error;
        s->failed_row = row;
    }
    pthread_mutex_unlock(&s->lock);
    atomic_store(&s->stop, true);
}

static void *work(void *argument) {
    shared *s = argument;
    mlxn_error error = {0};
    float *values = mlxn_alloc_array((size_t)s->cols, sizeof *values);
    if (!values) {
        mlxn_fail(&error, MLXN_ERR_MEMORY, "out of memory for a row of %" PRIu64 " elements", s->cols);
        keep_error(s, 0, &error);
        return NULL;
    }
    while (!atomic_load(&s->stop)) {
        uint64_t row = atomic_fetch_add(&s->next, ROWS_AT_ONCE);
        if (row >= s->rows) break;
        for (uint64_t end = mlxn_min_u64(row + ROWS_AT_ONCE, s->rows); row < end; row++) {
            if (!s->fn(s->job, row, values, &error)) continue;
            mlxn_error_prefix(&error, "row %" PRIu64, row);
            keep_error(s, row, &error);
            break;
        }
    }
    mlxn_free(values);
    return NULL;
}

mlxn_status mlxn_each_row(mlxn_row_fn fn, const void *job, uint64_t rows, uint64_t cols, uint32_t threads,
                          mlxn_error *error) {
    shared s = {.fn = fn, .job = job, .rows = rows, .cols = cols};
    long cores = threads ? (long)threads : sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t parts = (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
    uint32_t n = (uint32_t)mlxn_min_u64(mlxn_min_u64(cores < 1 ? 1 : (uint64_t)cores, MOST_THREADS), parts);
    uint32_t started = 0;
    pthread_t others[MOST_THREADS];
    pthread_mutex_init(&s.lock, NULL);
    /* Fewer threads than wanted do the same work. */
    while (started + 1 < n && !pthread_create(&others[started], NULL, work, &s)) started++;
    work(&s);
    for (uint32_t i = 0; i < started; i++) pthread_join(others[i], NULL);
    pthread_mutex_destroy(&s.lock);
    if (s.error.status && error) *error = s.error;
    return s.error.status ? s.error.status : mlxn_succeed(error);
}

mlxn_status mlxn_encode_row(const void *argument, uint64_t row, float *values, mlxn_error *error) {
    const mlxn_rows_job *job = argument;
    mlxn_status status =
        mlxn_dequantize_row(job->from, job->src + row * job->src_row_bytes, job->cols, values, error);
    return status ? status
                  : mlxn_quantize_row(job->to, values, job->cols, job->dst + row * job->dst_row_bytes, error);
}
