/* torture.h: lets the k-th allocation, or the k-th call of the backend, fail while some work runs: for every k, until
 * the work ends before the k-th is reached.
 *
 * After each failure holds: the status is the one of that kind of failure and comes with a text; the same work on the
 * same device succeeds and gives the same bytes; with the device released, as many blocks of memory are allocated as
 * before it was made. Whatever hangs is ended by a watchdog that says where. */
#ifndef MLXN_TESTS_TORTURE_H
#define MLXN_TESTS_TORTURE_H

#include <mlxn/mlxn.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "backend/fault/backend.h"
#include "base/base.h"
#include "test.h"

enum { TORTURE_BYTES = 4096, TORTURE_SECONDS = 120, TORTURE_MOST = 100000 };

/* Does everything from nothing and leaves nothing; what it computed goes to `out`, which comes in as zeros. */
typedef mlxn_status (*torture_work)(mlxn_device *device, uint8_t out[TORTURE_BYTES], mlxn_error *error);

typedef uint64_t (*torture_fail_at)(uint64_t k);

typedef struct torture_kind {
    const char *backend, *what;
    torture_fail_at fail_at;
} torture_kind;

static const torture_kind torture_kinds[] = {
    {"cpu", "allocation", mlxn_alloc_fail_at},
    {"null", "allocation", mlxn_alloc_fail_at},
    {"fault", "backend call", mlxn_fault_at},
};

/* ---- the watchdog ---- */

static char torture_where[256];

static inline void torture_bark(int number) {
    static const char text[] = "HANG: ";
    ssize_t done = write(2, text, sizeof text - 1);
    done += write(2, torture_where, strlen(torture_where));
    _exit(done > 0 ? 3 : 4);
}

/* From here on the next TORTURE_SECONDS are for this. */
static inline void torture_watch(const char *name, const char *what, uint64_t k) {
    snprintf(torture_where, sizeof torture_where, "%s: %s %llu\n", name, what, (unsigned long long)k);
    signal(SIGALRM, torture_bark);
    alarm(TORTURE_SECONDS);
}

static inline void torture_unwatch(void) { alarm(0); }

/* ---- leaks ---- */

/* The last reference of a device may go on a thread of its own, a moment after our last call: waits for that. */
static inline bool torture_settled(uint64_t blocks) {
    for (int i = 0; i < 5000 && mlxn_alloc_live() != blocks; i++) nanosleep(&(struct timespec){0, 1000000}, NULL);
    return mlxn_alloc_live() == blocks;
}

/* What the device holds but for the work memory of its threads, which stays with it. */
static inline uint64_t torture_bytes(mlxn_device *device) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.memory_used - info.memory_scratch;
}

static inline void torture_check_idle(mlxn_device *device, const char *name, const char *what, uint64_t k) {
    mlxn_residency_info set;
    mlxn_error error;
    CHECK(mlxn_device_wait_idle(device, UINT64_MAX, &error) == MLXN_OK, "%s", error.message);
    mlxn_device_residency(device, &set);
    CHECK(torture_bytes(device) == 0, "%s: %s %d: %llu bytes of device memory are left", name, what, (int)k,
          (unsigned long long)torture_bytes(device));
    CHECK(set.members == 0 && set.pending == 0, "%s: %s %d: %llu members of the residency set are left", name, what,
          (int)k, (unsigned long long)set.members);
}

/* ---- the work, with a failure and without ---- */

/* Around each pair of runs, without failures: what the work finds and leaves. */
static void (*torture_prepare)(mlxn_device *device), (*torture_cleanup)(mlxn_device *device);

static inline mlxn_device *torture_open(const char *backend, const mlxn_device_desc *more) {
    mlxn_device_desc desc = more ? *more : (mlxn_device_desc){0};
    desc.struct_size = sizeof desc;
    desc.backend = backend;
    desc.threads = 2;
    mlxn_device *device = NULL;
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    return device;
}

static inline bool torture_is_clean(const torture_kind *kind, mlxn_status status, const mlxn_error *error) {
    if (error->status != status || !error->message[0] || strchr(error->message, '\n')) return false;
    if (kind->fail_at == mlxn_alloc_fail_at) return status == MLXN_ERR_MEMORY;
    return (status == MLXN_ERR_DEVICE || status == MLXN_ERR_EXECUTION) && strstr(error->message, "as asked");
}

/* One k. Returns whether the k-th was reached, and in *failed whether that made the work fail. */
static inline bool torture_once(const torture_kind *kind, const char *name, torture_work work,
                                const mlxn_device_desc *desc, const uint8_t *good, uint64_t k, bool *failed) {
    static uint8_t out[TORTURE_BYTES];
    mlxn_error error = {0};
    uint64_t blocks = mlxn_alloc_live();
    mlxn_device *device = torture_open(kind->backend, desc);
    torture_watch(name, kind->what, k);
    if (torture_prepare) torture_prepare(device);
    uint64_t bytes = torture_bytes(device);
    memset(out, 0, sizeof out);
    uint64_t start = kind->fail_at(k);
    mlxn_status status = work(device, out, &error);
    uint64_t reached = kind->fail_at(0) - start;
    *failed = status != MLXN_OK;
    if (*failed)
        CHECK(torture_is_clean(kind, status, &error), "%s, %s: %s %d: status %s, message \"%s\"", name, kind->backend,
              kind->what, (int)k, mlxn_status_name(status), error.message);
    else
        CHECK(!memcmp(out, good, sizeof out), "%s, %s: %s %d could be done without, but the result is another", name,
              kind->backend, kind->what, (int)k);
    mlxn_device_wait_idle(device, UINT64_MAX, NULL);
    CHECK(torture_bytes(device) == bytes, "%s, %s: %s %d: %lld bytes of device memory are left", name, kind->backend,
          kind->what, (int)k, (long long)(torture_bytes(device) - bytes));
    mlxn_queue_clear_status(mlxn_device_queue(device)); /* a failure that nobody waited for stays there */
    memset(out, 0, sizeof out);
    status = work(device, out, &error);
    CHECK(status == MLXN_OK, "%s, %s: the same work after %s %d failed: %s", name, kind->backend, kind->what, (int)k,
          error.message);
    CHECK(!memcmp(out, good, sizeof out), "%s, %s: another result after %s %d failed", name, kind->backend,
          kind->what, (int)k);
    if (torture_cleanup) torture_cleanup(device);
    torture_check_idle(device, name, kind->what, k);
    mlxn_device_release(&device);
    CHECK(torture_settled(blocks), "%s, %s: %s %d: %lld blocks of memory are left", name, kind->backend, kind->what,
          (int)k, (long long)(mlxn_alloc_live() - blocks));
    torture_unwatch();
    return reached >= k;
}

/* All k of one kind. At least `least` of the failures must make the work fail: else the test tests nothing. */
static inline void torture_one_kind(const torture_kind *kind, const char *name, torture_work work,
                                    const mlxn_device_desc *desc, int least) {
    static uint8_t good[TORTURE_BYTES];
    mlxn_error error = {0};
    mlxn_backend_extra = &mlxn_backend_fault;
    uint64_t blocks = mlxn_alloc_live();
    mlxn_device *device = torture_open(kind->backend, desc);
    memset(good, 0, sizeof good);
    torture_watch(name, "without a failure", 0);
    if (torture_prepare) torture_prepare(device);
    mlxn_status status = work(device, good, &error);
    if (torture_cleanup) torture_cleanup(device);
    CHECK(status == MLXN_OK, "%s, %s: the work itself: %s", name, kind->backend, error.message);
    mlxn_device_release(&device);
    CHECK(torture_settled(blocks), "%s, %s: the work itself leaves blocks of memory", name, kind->backend);
    if (status) return;
    int failures = 0;
    bool failed;
    uint64_t k = 1;
    for (; k < TORTURE_MOST && torture_once(kind, name, work, desc, good, k, &failed); k++) failures += failed;
    CHECK(k < TORTURE_MOST, "%s: no end", name);
    CHECK(failures >= least, "%s, %s: only %d failures", name, kind->backend, failures);
    fprintf(stderr, "%s, %s: %d of %d runs failed, one %s each\n", name, kind->backend, failures, (int)k - 1,
            kind->what);
}

static inline void torture_all(const char *name, torture_work work, const mlxn_device_desc *desc, int least) {
    for (size_t i = 0; i < sizeof torture_kinds / sizeof *torture_kinds; i++)
        torture_one_kind(&torture_kinds[i], name, work, desc, least);
}

/* What failed on the default queue without anybody waiting for it. */
static inline mlxn_status torture_queue_status(mlxn_device *device, mlxn_error *error) {
    mlxn_queue *queue = mlxn_device_queue(device);
    mlxn_status status = mlxn_queue_wait_idle(queue, UINT64_MAX, error);
    return status ? status : mlxn_queue_status(queue, error);
}

/* ---- for the works: the first failure ends them, and its text is what they return ---- */

#define STEP(call)                    \
    do {                              \
        if (!status) status = (call); \
    } while (0)
/* Records go to an encoder, whose sticky error has the text. */
#define RECORD(encoder, call)                                                             \
    do {                                                                                  \
        if (!status && (status = (call))) status = mlxn_encoder_status((encoder), error); \
    } while (0)

#endif
