/* Promise: eight threads that allocate, record, fence, drop and wait on one device, one pool, one timeline and one
 * registry, and that hand sessions, encoders and buffers to each other in every state, see no wrong result and no
 * error that nobody asked for; afterwards nothing is left. The thread sanitizer watches the same program.
 *
 * Usage: threads [seconds] (2) */
#include <pthread.h>
#include <stdatomic.h>

#include "torture/torture.h"

enum { THREADS = 8, N = 48, SLOTS = 16 };

static mlxn_device *device;
static mlxn_pool *pool;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static mlxn_timeline *shared;
static mlxn_registry *registry;
static _Atomic uint64_t shared_next = 1, rounds, failures;
static _Atomic bool stop;
/* Left by one thread, taken by another. */
static mlxn_session *_Atomic sessions[SLOTS];
static mlxn_encoder *_Atomic encoders[SLOTS];
static mlxn_buffer *_Atomic buffers[SLOTS];

/* CHECK counts without a lock: this is for threads. */
#define EXPECT(cond, ...)                                                      \
    do {                                                                       \
        if (!(cond) && atomic_fetch_add(&failures, 1) < 20) {                  \
            fprintf(stderr, "%s:%d: FAILED: %s: ", __FILE__, __LINE__, #cond); \
            fprintf(stderr, __VA_ARGS__);                                      \
            fprintf(stderr, "\n");                                             \
        }                                                                      \
    } while (0)
#define GOOD(call) EXPECT((call) == MLXN_OK, "%s", error.message)

typedef struct self {
    uint64_t random;
    uint32_t number;
} self;

static uint32_t next(self *me, uint32_t n) {
    me->random = me->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(me->random >> 33) % n;
}

static mlxn_tensor row(mlxn_buffer *b) { return mlxn_tensor_1d(b, 0, MLXN_F32, N); }

static mlxn_buffer *make(float value) {
    mlxn_buffer *b = NULL;
    mlxn_error error;
    float values[N];
    for (int i = 0; i < N; i++) values[i] = value;
    GOOD(mlxn_buffer_create(device, sizeof values, &b, &error));
    if (b) GOOD(mlxn_buffer_write(b, 0, values, sizeof values, &error));
    return b;
}

static void expect_value(mlxn_buffer *b, float want, const char *what) {
    float got[N];
    mlxn_error error;
    GOOD(mlxn_buffer_read(b, 0, got, sizeof got, &error));
    for (int i = 0; i < N; i++) EXPECT(got[i] == want, "%s: element %d is %g, want %g", what, i, got[i], want);
}

/* ---- what a thread does ---- */

static void encode_and_drop(self *me) {
    mlxn_error error;
    mlxn_encoder *e = NULL;
    mlxn_buffer *a = make(1), *b = make(2), *c = make(0);
    GOOD(mlxn_encoder_create(device, &e, &error));
    mlxn_elementwise_add(e, row(a), row(b), row(c));
    mlxn_elementwise_add(e, row(c), row(b), row(c));
    GOOD(mlxn_encoder_commit(e, "dropped", &error));
    mlxn_buffer_release(&a); /* in flight */
    mlxn_buffer_release(&b);
    if (next(me, 2)) {
        GOOD(mlxn_encoder_wait_completed(e, &error));
        expect_value(c, 5, "encoder");
    }
    mlxn_buffer_release(&c);
    mlxn_encoder_destroy(e);
}

static void session_stages(self *me) {
    mlxn_error error;
    mlxn_session *s = NULL;
    mlxn_session_desc desc = {.struct_size = sizeof desc, .wait_on_destroy = next(me, 4) == 0};
    mlxn_buffer *one = make(1), *sum = make(0);
    uint32_t stages = 1 + next(me, 5);
    GOOD(mlxn_session_create_with(device, &desc, &s, &error));
    for (uint32_t i = 0; i < stages; i++) {
        GOOD(mlxn_session_begin_stage(s, "stage"));
        mlxn_elementwise_add(mlxn_session_encoder(s), row(one), row(sum), row(sum));
        GOOD(mlxn_session_fence_stage(s, NULL, &error));
        if (next(me, 4) == 0) GOOD(mlxn_session_wait_fence(s, i + 1, UINT64_MAX, &error));
        if (i + 1 < stages || next(me, 2)) GOOD(mlxn_session_reset_for_next_stage(s, &error));
    }
    if (next(me, 2)) {
        GOOD(mlxn_session_wait_all(s, UINT64_MAX, &error));
        expect_value(sum, (float)stages, "session");
    }
    mlxn_buffer_release(&one);
    mlxn_buffer_release(&sum);
    s = atomic_exchange(&sessions[next(me, SLOTS)], s); /* whoever comes next drops ours, we drop what lay there */
    mlxn_session_destroy(s);
}

static void use_pool(self *me) {
    mlxn_error error;
    mlxn_encoder *e = NULL;
    mlxn_buffer *b[3] = {NULL, NULL, NULL};
    uint64_t sizes[3] = {4 * N, 4 * N + 1, 64u << next(me, 5)};
    pthread_mutex_lock(&pool_lock);
    GOOD(mlxn_pool_alloc_batch(pool, 3, sizes, b, &error));
    pthread_mutex_unlock(&pool_lock);
    GOOD(mlxn_encoder_create(device, &e, &error));
    uint8_t mark = (uint8_t)(1 + next(me, 255));
    mlxn_encoder_fill(e, b[0], 0, 4 * N, mark);
    mlxn_encoder_copy(e, b[0], 0, b[1], 0, 4 * N);
    GOOD(mlxn_encoder_commit(e, "pool", &error));
    if (next(me, 2)) {
        uint8_t got[4 * N];
        GOOD(mlxn_encoder_wait_completed(e, &error));
        GOOD(mlxn_buffer_read(b[1], 0, got, sizeof got, &error));
        for (int i = 0; i < 4 * N; i++) EXPECT(got[i] == mark, "pool: byte %d is %d, want %d", i, got[i], mark);
    }
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&b[2]); /* outside the lock: handles are free */
    pthread_mutex_lock(&pool_lock);
    GOOD(mlxn_pool_release(pool, &b[0], &error));
    mlxn_buffer_release(&b[1]);
    if (next(me, 8) == 0) mlxn_pool_reset(pool);
    if (next(me, 64) == 0) mlxn_pool_clear(pool);
    mlxn_pool_stats stats;
    mlxn_pool_get_stats(pool, &stats);
    pthread_mutex_unlock(&pool_lock);
    EXPECT(stats.free_bytes + stats.in_use_bytes <= stats.peak_bytes, "pool statistics");
}

/* A value of the shared timeline: signalled by work on a queue of its own, waited for by others. */
static void share_timeline(self *me) {
    mlxn_error error;
    mlxn_queue *queue = NULL;
    mlxn_encoder *e = NULL;
    uint64_t value = atomic_fetch_add(&shared_next, 1);
    GOOD(mlxn_queue_create(device, &queue, &error));
    GOOD(mlxn_encoder_create_on(queue, &e, &error));
    mlxn_queue_release(&queue);
    mlxn_encoder_wait(e, shared, value - 1);
    mlxn_encoder_signal(e, shared, value);
    GOOD(mlxn_encoder_commit(e, "signal", &error));
    mlxn_status status = mlxn_timeline_wait(shared, value, next(me, 2) ? 100000 : UINT64_MAX, &error);
    EXPECT(status == MLXN_OK || status == MLXN_ERR_TIMEOUT, "%s", error.message);
    e = atomic_exchange(&encoders[next(me, SLOTS)], e);
    mlxn_encoder_destroy(e);
}

static void twice(const mlxn_kernel_group *g) {
    const float *x = g->slots[0];
    float *y = g->slots[1];
    for (uint64_t i = g->begin[0]; i < g->end[0]; i++) y[i] = 2 * x[i];
}

static void graph_and_kernel(self *me) {
    mlxn_error error;
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    mlxn_kernel *kernel = NULL;
    mlxn_buffer *x = make(3), *y = make(0);
    mlxn_constant c = {.index = 0, .kind = MLXN_CONSTANT_INT, .v.i = (int32_t)next(me, 4)};
    if (next(me, 16) == 0) GOOD(mlxn_registry_register_function(registry, "twice", twice, NULL, &error));
    GOOD(mlxn_registry_get(registry, "twice", &c, 1, &kernel, &error));
    GOOD(mlxn_encoder_create(device, &e, &error));
    GOOD(mlxn_encoder_start_capture(e, &error));
    mlxn_kernel_arg args[2] = {{.slot = 0, .role = MLXN_KERNEL_READ, .buffer = x},
                               {.slot = 1, .role = MLXN_KERNEL_WRITE, .buffer = y}};
    mlxn_kernel_grid grid = {.size = {N, 1, 1}, .group = {8, 1, 1}};
    GOOD(mlxn_encode_kernel(e, kernel, args, 2, &grid));
    mlxn_elementwise_add(e, row(x), row(y), row(x));
    GOOD(mlxn_encoder_take_capture(e, &graph, &error));
    mlxn_encoder_launch(e, graph);
    mlxn_encoder_launch(e, graph);
    GOOD(mlxn_encoder_commit(e, "graph", &error));
    mlxn_graph_destroy(graph);
    mlxn_kernel_release(&kernel);
    GOOD(mlxn_encoder_wait_completed(e, &error));
    expect_value(x, 27, "graph");
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&y);
    x = atomic_exchange(&buffers[next(me, SLOTS)], x);
    mlxn_buffer_release(&x);
}

/* What another thread left in some state: use it or drop it. */
static void take_over(self *me) {
    mlxn_error error;
    mlxn_session *s = atomic_exchange(&sessions[next(me, SLOTS)], NULL);
    if (s && next(me, 2)) {
        GOOD(mlxn_session_reset_for_next_stage(s, &error));
        GOOD(mlxn_session_commit_and_wait(s, &error));
    }
    mlxn_session_destroy(s);
    mlxn_encoder *e = atomic_exchange(&encoders[next(me, SLOTS)], NULL);
    if (e && next(me, 2)) GOOD(mlxn_encoder_wait_completed(e, &error));
    mlxn_encoder_destroy(e);
    mlxn_buffer *b = atomic_exchange(&buffers[next(me, SLOTS)], NULL);
    if (b) expect_value(b, 27, "handed over");
    mlxn_buffer_release(&b);
}

static void ask_and_profile(self *me) {
    mlxn_error error;
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_residency_info set;
    mlxn_counters counters;
    mlxn_device_get_info(device, &info);
    mlxn_device_residency(device, &set);
    mlxn_device_counters(device, &counters);
    if (next(me, 8)) return;
    if (next(me, 2)) {
        mlxn_status status = mlxn_device_wait_idle(device, 1000000, &error);
        EXPECT(status == MLXN_OK || status == MLXN_ERR_TIMEOUT, "%s", error.message);
        return;
    }
    mlxn_profiler *p = NULL;
    mlxn_profiler_desc desc = {.struct_size = sizeof desc, .max_events = 100};
    GOOD(mlxn_profiler_create(device, &desc, &p, &error));
    mlxn_status status = mlxn_profiler_start(p, &error);
    EXPECT(status == MLXN_OK || status == MLXN_ERR_STATE, "%s", error.message);
    encode_and_drop(me);
    mlxn_profiler_destroy(p);
}

static void *run(void *user) {
    static void (*const what[])(self *) = {encode_and_drop, session_stages,   use_pool, share_timeline,
                                           take_over,       graph_and_kernel, use_pool, session_stages,
                                           ask_and_profile, encode_and_drop};
    self *me = user;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        what[next(me, sizeof what / sizeof *what)](me);
        atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

static void torture(const char *backend, const mlxn_device_desc *more, unsigned seconds) {
    pthread_t threads[THREADS];
    self selves[THREADS];
    mlxn_error error;
    uint64_t blocks = mlxn_alloc_live();
    device = torture_open(backend, more);
    atomic_store(&stop, false);
    atomic_store(&shared_next, 1);
    atomic_store(&rounds, 0);
    CHECK(mlxn_pool_create(device, &pool, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_timeline_create(device, &shared, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_registry_create(device, &registry, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_registry_register_function(registry, "twice", twice, NULL, &error) == MLXN_OK, "%s", error.message);
    for (uint32_t i = 0; i < THREADS; i++) {
        selves[i] = (self){.random = i * 77u + 5, .number = i};
        CHECK(!pthread_create(&threads[i], NULL, run, &selves[i]), "thread %u", i);
    }
    for (unsigned i = 0; i < 10 * seconds; i++) {
        torture_watch("threads", backend, i); /* a second of any thread's is far less */
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < SLOTS; i++) {
        mlxn_session_destroy(atomic_exchange(&sessions[i], NULL));
        mlxn_encoder_destroy(atomic_exchange(&encoders[i], NULL));
        mlxn_buffer *b = atomic_exchange(&buffers[i], NULL);
        mlxn_buffer_release(&b);
    }
    mlxn_registry_destroy(registry);
    mlxn_timeline_release(&shared);
    mlxn_pool_destroy(pool);
    torture_check_idle(device, "threads", backend, 0);
    mlxn_device_release(&device);
    CHECK(torture_settled(blocks), "%s: %lld blocks of memory are left", backend,
          (long long)(mlxn_alloc_live() - blocks));
    torture_unwatch();
    CHECK(atomic_load(&rounds) > THREADS, "%s: work was done", backend);
    CHECK(atomic_load(&failures) == 0, "%s: %d failures in threads", backend, (int)atomic_load(&failures));
    fprintf(stderr, "%s: %llu rounds in %u s\n", backend, (unsigned long long)atomic_load(&rounds), seconds);
}

int main(int argc, char **argv) {
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 2;
    unsigned half = seconds > 1 ? seconds / 2 : 1;
    torture("cpu", NULL, seconds - half ? seconds - half : 1);
    torture("cpu", &(mlxn_device_desc){.checked = true, .unretained = true}, half);
    return TEST_DONE();
}
