/* encode_rows.c: rows of one format into another, on several threads. */
#include "convert/encode_rows.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

enum { ROWS_AT_ONCE = 8, MOST_THREADS = 256 };

typedef struct shared {
    const mlxn_rows_job *job;
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

static mlxn_status encode_row(const mlxn_rows_job *job, uint64_t row, float *values, mlxn_error *error) {
    mlxn_status status =
        mlxn_dequantize_row(job->from, job->src + row * job->src_row_bytes, job->cols, values, error);
    if (!status) status = mlxn_quantize_row(job->to, values, job->cols, job->dst + row * job->dst_row_bytes, error);
    if (status) mlxn_error_prefix(error, "row %" PRIu64, row);
    return status;
}

static void *work(void *argument) {
    shared *s = argument;
    const mlxn_rows_job *job = s->job;
    mlxn_error error = {0};
    float *values = mlxn_alloc_array((size_t)job->cols, sizeof *values);
    if (!values) {
        mlxn_fail(&error, MLXN_ERR_MEMORY, "out of memory for a row of %" PRIu64 " elements", job->cols);
        keep_error(s, 0, &error);
        return NULL;
    }
    while (!atomic_load(&s->stop)) {
        uint64_t row = atomic_fetch_add(&s->next, ROWS_AT_ONCE);
        if (row >= job->rows) break;
        for (uint64_t end = mlxn_min_u64(row + ROWS_AT_ONCE, job->rows); row < end; row++) {
            if (!encode_row(job, row, values, &error)) continue;
            keep_error(s, row, &error);
            break;
        }
    }
    mlxn_free(values);
    return NULL;
}

uint32_t mlxn_encode_threads(uint32_t threads) {
    long cores = threads ? (long)threads : sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > MOST_THREADS ? MOST_THREADS : (uint32_t)cores;
}

mlxn_status mlxn_encode_rows(const mlxn_rows_job *job, uint32_t threads, mlxn_error *error) {
    shared s = {.job = job};
    uint64_t parts = (job->rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
    uint32_t n = (uint32_t)mlxn_min_u64(mlxn_encode_threads(threads), parts), started = 0;
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
