/* Promise: profiling does not change the schedule. The same program of random work (commits of all kinds, fenced
 * stages, launched graphs, two queues) runs with nobody listening, with a profiler, with the tables of the process,
 * and with a capture scope: barriers, groups, counters, the stream of commands and every byte of the results are the
 * same. Commits and fences do not begin to wait, operations of one group still run side by side, and the times of
 * operations that conflict are in order. Counters of encoder, session and device are exact, and separate, while all
 * of this runs on several threads. On cpu and null. */
#include <mlxn/kernel.h>
#include <mlxn/mlxn.h>
#include <pthread.h>
#include <unistd.h>

#include "core/profile.h"
#include "test.h"

static mlxn_error error;
static const char *backend;

#define OK(call)                                             \
    do {                                                     \
        mlxn_status status_ = (call);                        \
        CHECK(status_ == MLXN_OK, "%s: %d", #call, status_); \
    } while (0)

static mlxn_device *open_device(uint32_t threads) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .threads = threads};
    mlxn_device *device = NULL;
    OK(mlxn_device_create(&desc, &device, &error));
    return device;
}

static bool computes(mlxn_device *device) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.computes;
}

static void set_or_unset(const char *name, const char *value) {
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* ---- who listens ---- */

enum { NOBODY, PROFILER, TABLES, CAPTURE, MODES };
static const char *const modes[] = {"nobody", "a profiler", "tables", "a capture"};

typedef struct listener {
    mlxn_profiler *profiler;
    mlxn_capture *capture;
    char path[64];
} listener;

static void listen(listener *l, int mode, mlxn_device *device) {
    *l = (listener){0};
    snprintf(l->path, sizeof l->path, "/tmp/mlxn-schedule-%d.json", (int)getpid());
    set_or_unset("MLX_PROFILE_CB", mode == TABLES ? "1" : NULL);
    set_or_unset("MLX_PROFILE_DISPATCH", mode == TABLES ? "1" : NULL);
    set_or_unset("MLX_METAL_CAPTURE", mode == CAPTURE ? l->path : NULL);
    set_or_unset("METAL_CAPTURE_ENABLED", mode == CAPTURE ? "1" : NULL);
    mlxn_gates_forget();
    mlxn_profile_forget_gates();
    if (mode == PROFILER) {
        OK(mlxn_profiler_create(device, NULL, &l->profiler, &error));
        OK(mlxn_profiler_start(l->profiler, &error));
    }
    if (mode == CAPTURE) {
        mlxn_capture_reset_latch();
        OK(mlxn_capture_from_env(device, &l->capture, &error));
        OK(mlxn_capture_begin(l->capture, &error));
    }
}

/* That somebody did listen: otherwise the comparison says nothing. */
static void leave(listener *l, int mode, uint64_t operations) {
    mlxn_profiler_stats stats = {0};
    mlxn_profile_dispatch_entry row;
    mlxn_profiler_get_stats(l->profiler, &stats);
    if (mode == PROFILER)
        CHECK(stats.operations == operations && !stats.unmeasured, "%d of %d operations were measured",
              (int)stats.operations, (int)operations);
    if (mode == TABLES) CHECK(mlxn_profile_dispatch_row(0, &row), "the table of operations is empty");
    if (mode == CAPTURE) OK(mlxn_capture_end(l->capture, &error));
    if (mode == CAPTURE) CHECK(!access(l->path, R_OK), "the capture left no trace");
    unlink(l->path);
    mlxn_capture_destroy(l->capture);
    mlxn_profiler_destroy(l->profiler);
    mlxn_profile_cb_reset();
    mlxn_profile_dispatch_reset();
    listener none;
    listen(&none, NOBODY, NULL);
}

/* ---- one program, the same in every run ---- */

enum { BUFFERS = 3, PIECES = 6, N = 2048, BATCHES = 72, MOST_OPS = 9 };

typedef struct program {
    mlxn_device *device;
    mlxn_buffer *buffers[BUFFERS];
    uint64_t seed;
    uint64_t operations;           /* executed */
    mlxn_encoder_stats *submitted; /* as each batch was submitted */
} program;

static uint32_t roll(program *p, uint32_t n) {
    p->seed = p->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(p->seed >> 33) % n;
}

static mlxn_tensor piece(const program *p, uint32_t i) {
    return mlxn_tensor_1d(p->buffers[i % BUFFERS], 4 * N * (uint64_t)(i / BUFFERS), MLXN_F32, N);
}

static uint32_t record(program *p, mlxn_encoder *e) {
    uint32_t n = 1 + roll(p, MOST_OPS), pieces = BUFFERS * PIECES;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t a = roll(p, pieces), b = roll(p, pieces), out = roll(p, pieces);
        uint64_t from = 4 * N * (uint64_t)(a / BUFFERS), to = 4 * N * (uint64_t)(out / BUFFERS);
        mlxn_buffer *source = p->buffers[a % BUFFERS], *sink = p->buffers[out % BUFFERS];
        switch (roll(p, 6)) {
            case 0:
                OK(mlxn_elementwise_add(e, piece(p, a), piece(p, b), piece(p, out)));
                break;
            case 1:
                OK(mlxn_elementwise_mul(e, piece(p, a), piece(p, b), piece(p, out)));
                break;
            case 2:
                OK(mlxn_elementwise_mul(e, piece(p, b), piece(p, b), piece(p, out)));
                break;
            case 3:
                if (a != out)
                    OK(mlxn_encoder_copy(e, source, from, sink, to, 4 * N));
                else
                    OK(mlxn_silu_mul(e, piece(p, a), piece(p, b), piece(p, out)));
                break;
            case 4:
                OK(mlxn_encoder_fill(e, sink, to + 4 * roll(p, N), 4, 0x3f));
                break;
            default:
                OK(mlxn_silu_mul(e, piece(p, a), piece(p, b), piece(p, out)));
        }
        if (!roll(p, 5)) mlxn_encoder_barrier(e);
    }
    return n;
}

static void run_batch(program *p, int i, mlxn_encoder *plain, mlxn_encoder *side, mlxn_session *session) {
    mlxn_encoder_stats *stats = &p->submitted[i];
    mlxn_encoder *e = plain;
    char label[16];
    snprintf(label, sizeof label, "batch %d", i);
    int kind = (int)roll(p, 7);
    if (kind == 5) { /* another queue: only timelines order it, so the device rests before and after */
        OK(mlxn_device_wait_idle(p->device, UINT64_MAX, &error));
        e = side;
    }
    if (kind == 3 || kind == 4) {
        OK(mlxn_session_begin_stage(session, label));
        e = mlxn_session_encoder(session);
    }
    mlxn_graph *graph = NULL;
    if (kind == 6) {
        mlxn_graph_desc desc = {.struct_size = sizeof desc, .fuse = MLXN_FUSE_EXACT, .reorder = true};
        OK(mlxn_encoder_start_capture(e, &error));
        record(p, e);
        OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
        uint32_t launches = 1 + roll(p, 3);
        for (uint32_t k = 0; k < launches; k++) OK(mlxn_encoder_launch(e, graph));
        p->operations += launches * mlxn_graph_dispatch_count(graph);
    } else {
        p->operations += record(p, e);
    }
    mlxn_encoder_get_stats(e, stats);
    switch (kind) {
        case 0:
            OK(mlxn_encoder_commit_and_wait(e, label, &error));
            break;
        case 1:
            OK(mlxn_encoder_commit(e, NULL, &error));
            break;
        case 3:
            OK(mlxn_session_fence_stage(session, label, &error));
            OK(mlxn_session_reset_for_next_stage(session, &error));
            break;
        case 4:
            OK(mlxn_session_commit_stage(session, &error));
            OK(mlxn_session_reset_for_next_stage(session, &error));
            break;
        default:
            OK(mlxn_encoder_commit(e, label, &error));
    }
    if (kind == 5) OK(mlxn_device_wait_idle(p->device, UINT64_MAX, &error));
    mlxn_graph_destroy(graph);
}

typedef struct outcome {
    mlxn_encoder_stats submitted[BATCHES];
    mlxn_counters counters;
    float values[BUFFERS][PIECES * N];
    char *stream;
} outcome;

static void run_program(outcome *out, int mode, uint32_t threads) {
    program p = {.device = open_device(threads), .seed = 2024, .submitted = out->submitted};
    for (uint32_t b = 0; b < BUFFERS; b++) {
        OK(mlxn_buffer_create(p.device, sizeof out->values[b], &p.buffers[b], &error));
        float *values = mlxn_buffer_contents(p.buffers[b]);
        for (int i = 0; i < PIECES * N; i++) values[i] = (float)roll(&p, 1000) / 512 - 1;
    }
    listener l;
    listen(&l, mode, p.device);
    mlxn_encoder *plain = NULL, *side = NULL;
    mlxn_session *session = NULL;
    mlxn_queue *queue = NULL;
    OK(mlxn_queue_create(p.device, &queue, &error));
    OK(mlxn_encoder_create(p.device, &plain, &error));
    OK(mlxn_encoder_create_on(queue, &side, &error));
    OK(mlxn_session_create(p.device, &session, &error));
    for (int i = 0; i < BATCHES; i++) run_batch(&p, i, plain, side, session);
    OK(mlxn_device_wait_idle(p.device, UINT64_MAX, &error));
    mlxn_session_destroy(session);
    mlxn_encoder_destroy(plain);
    mlxn_encoder_destroy(side);
    mlxn_device_counters(p.device, &out->counters);
    out->stream = strdup(mlxn_device_command_stream(p.device));
    for (uint32_t b = 0; b < BUFFERS; b++)
        OK(mlxn_buffer_read(p.buffers[b], 0, out->values[b], sizeof out->values[b], &error));
    leave(&l, mode, p.operations);
    mlxn_queue_release(&queue);
    for (uint32_t b = 0; b < BUFFERS; b++) mlxn_buffer_release(&p.buffers[b]);
    mlxn_device_release(&p.device);
}

static void test_same_schedule(uint32_t threads) {
    static outcome quiet, heard;
    run_program(&quiet, NOBODY, threads);
    uint64_t barriers = 0, groups = 0;
    for (int i = 0; i < BATCHES; i++) barriers += quiet.submitted[i].barriers, groups += quiet.submitted[i].groups;
    CHECK(barriers > BATCHES && groups > BATCHES, "%d barriers, %d groups: too little to compare", (int)barriers,
          (int)groups);
    CHECK((strlen(quiet.stream) > 1000) == !strcmp(backend, "null"), "the stream has %d bytes",
          (int)strlen(quiet.stream));
    for (int mode = NOBODY; mode < MODES; mode++) { /* nobody again: the program itself is the same in each run */
        run_program(&heard, mode, threads);
        CHECK(!memcmp(quiet.submitted, heard.submitted, sizeof quiet.submitted), "%s: barriers or groups differ",
              modes[mode]);
        CHECK(!memcmp(&quiet.counters, &heard.counters, sizeof quiet.counters), "%s: counters differ", modes[mode]);
        CHECK(!strcmp(quiet.stream, heard.stream), "%s: the streams of commands differ", modes[mode]);
        CHECK(!memcmp(quiet.values, heard.values, sizeof quiet.values), "%s: the bits differ", modes[mode]);
        free(heard.stream);
    }
    free(quiet.stream);
}

/* ---- nothing begins to wait ---- */

/* Work that cannot start before the host says so: a commit, a fence or a launch that waited would not come back. The
 * alarm turns that into a failure. */
static void test_still_asynchronous(int mode) {
    mlxn_device *device = open_device(2);
    mlxn_buffer *buffer = NULL;
    mlxn_timeline *hold = NULL;
    mlxn_encoder *e = NULL;
    mlxn_session *session = NULL;
    listener l;
    listen(&l, mode, device);
    OK(mlxn_buffer_create(device, 64, &buffer, &error));
    OK(mlxn_timeline_create(device, &hold, &error));
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_session_create(device, &session, &error));
    alarm(60);
    OK(mlxn_encoder_wait(e, hold, 1));
    OK(mlxn_encoder_fill(e, buffer, 0, 64, 1));
    OK(mlxn_encoder_commit(e, "held", &error));
    mlxn_command_buffer *held = mlxn_command_buffer_retain(mlxn_encoder_command_buffer(e));
    mlxn_graph *graph = NULL;
    OK(mlxn_encoder_start_capture(e, &error));
    OK(mlxn_encoder_fill(e, buffer, 0, 64, 2));
    OK(mlxn_encoder_take_capture(e, &graph, &error));
    OK(mlxn_encoder_launch(e, graph));
    OK(mlxn_encoder_commit(e, "launched", &error));
    OK(mlxn_session_begin_stage(session, "stage"));
    OK(mlxn_encoder_fill(mlxn_session_encoder(session), buffer, 0, 64, 3));
    OK(mlxn_session_fence_stage(session, "fenced", &error));
    OK(mlxn_session_reset_for_next_stage(session, &error));
    OK(mlxn_encoder_fill(mlxn_session_encoder(session), buffer, 0, 64, 4));
    OK(mlxn_session_commit_stage(session, &error));
    CHECK(mlxn_command_buffer_state(held) == MLXN_CB_COMMITTED, "%s: the state is %d", modes[mode],
          (int)mlxn_command_buffer_state(held));
    mlxn_counters counters;
    mlxn_device_counters(device, &counters);
    CHECK(counters.sync_count == 0, "%s: %d blocking commits", modes[mode], (int)counters.sync_count);
    mlxn_timeline_signal(hold, 1);
    OK(mlxn_device_wait_idle(device, UINT64_MAX, &error));
    alarm(0);
    leave(&l, mode, 4);
    mlxn_command_buffer_release(&held);
    mlxn_graph_destroy(graph);
    mlxn_session_destroy(session);
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&hold);
    mlxn_buffer_release(&buffer);
    mlxn_device_release(&device);
}

/* ---- side by side ---- */

enum { LONG_NS_SHIFT = 35 }; /* some 34 s: what a missing partner may cost before the test fails */
static _Atomic int arrived[2];

/* The first thread of each launch waits for the other launch to begin; the second is there so that a thread of the
 * device is free to go on to the other. */
static void meet(const mlxn_kernel_group *g) {
    const int me = *(const int *)g->slots[1];
    if (g->group[0]) return;
    atomic_store(&arrived[me], 1);
    const uint64_t begun = mlxn_now_ns();
    while (!atomic_load(&arrived[!me]) && !((mlxn_now_ns() - begun) >> LONG_NS_SHIFT)) continue;
    ((int *)g->slots[0])[0] = atomic_load(&arrived[!me]);
}

static void test_side_by_side(int mode) {
    mlxn_device *device = open_device(2);
    mlxn_registry *registry = NULL;
    mlxn_kernel *kernel = NULL;
    mlxn_buffer *buffer = NULL;
    mlxn_encoder *e = NULL;
    OK(mlxn_registry_create(device, &registry, &error));
    OK(mlxn_registry_register_function(registry, "meet", meet, NULL, &error));
    OK(mlxn_registry_get(registry, "meet", NULL, 0, &kernel, &error));
    OK(mlxn_buffer_create(device, 128, &buffer, &error));
    OK(mlxn_encoder_create(device, &e, &error));
    listener l;
    listen(&l, mode, device);
    atomic_store(&arrived[0], 0);
    atomic_store(&arrived[1], 0);
    for (int me = 0; me < 2; me++) {
        mlxn_kernel_arg args[2] = {
            {.slot = 0, .role = MLXN_KERNEL_WRITE, .buffer = buffer, .offset = 64 * (uint64_t)me, .bytes = 64},
            {.slot = 1, .role = MLXN_KERNEL_READ, .data = &me, .inline_bytes = sizeof me}};
        mlxn_kernel_grid grid = {MLXN_GRID_GROUPS, {2, 0, 0}, {1, 0, 0}, 0};
        OK(mlxn_encode_kernel(e, kernel, args, 2, &grid));
    }
    OK(mlxn_encoder_commit_and_wait(e, "meet", &error));
    const int *met = mlxn_buffer_contents(buffer);
    CHECK(met[0] == 1 && met[16] == 1, "%s: two operations of one group did not run side by side", modes[mode]);
    mlxn_profile_event events[3];
    if (mode == PROFILER && mlxn_profiler_events(l.profiler, 0, events, 3) == 3)
        CHECK(events[1].start_ns < events[2].end_ns && events[2].start_ns < events[1].end_ns,
              "their times do not overlap");
    leave(&l, mode, 2);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&buffer);
    mlxn_kernel_release(&kernel);
    mlxn_registry_destroy(registry);
    mlxn_device_release(&device);
}

/* ---- times of what conflicts are in order ---- */

static void test_times_in_order(uint32_t threads) {
    enum { OPS = 400, CELLS = 12, SIZE = 4096 };
    mlxn_device *device = open_device(threads);
    mlxn_buffer *buffer = NULL;
    mlxn_encoder *e = NULL;
    program p = {.device = device, .seed = 7};
    static uint32_t reads[OPS][2], writes[OPS];
    OK(mlxn_buffer_create(device, 4 * SIZE * CELLS, &buffer, &error));
    OK(mlxn_encoder_create(device, &e, &error));
    listener l;
    listen(&l, PROFILER, device);
    for (int i = 0; i < OPS; i++) {
        mlxn_tensor t[3];
        for (int k = 0; k < 3; k++) {
            uint32_t cell = roll(&p, CELLS);
            t[k] = mlxn_tensor_1d(buffer, 4 * SIZE * (uint64_t)cell, MLXN_F32, SIZE);
            *(k < 2 ? &reads[i][k] : &writes[i]) = cell;
        }
        OK(mlxn_elementwise_add(e, t[0], t[1], t[2]));
        if (i % 50 == 49) OK(mlxn_encoder_commit(e, "part", &error)); /* also from one command buffer to the next */
    }
    OK(mlxn_device_wait_idle(device, UINT64_MAX, &error));
    static mlxn_profile_event events[2 * OPS], ops[OPS];
    uint64_t n = mlxn_profiler_events(l.profiler, 0, events, 2 * OPS), count = 0;
    for (uint64_t i = 0; i < n && count < OPS; i++)
        if (events[i].kind == MLXN_PROFILE_OPERATION) ops[count++] = events[i];
    CHECK(count == OPS, "%d operations", (int)count);
    uint64_t wrong = 0, pairs = 0;
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t k = i + 1; k < count; k++) {
            bool conflict = writes[i] == writes[k] || writes[i] == reads[k][0] || writes[i] == reads[k][1] ||
                            writes[k] == reads[i][0] || writes[k] == reads[i][1];
            pairs += conflict;
            wrong += conflict && ops[k].start_ns < ops[i].end_ns;
        }
    CHECK(pairs > OPS && !wrong, "%d of %d pairs that conflict overlap in time", (int)wrong, (int)pairs);
    leave(&l, PROFILER, OPS);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&buffer);
    mlxn_device_release(&device);
}

/* ---- counters ---- */

static void add_up(mlxn_counters *sum, const mlxn_counters *more) {
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) to[i] += from[i];
}

typedef struct counting {
    mlxn_device *device;
    uint64_t rounds;
    mlxn_counters of_encoder, of_session; /* as they said in the end */
    mlxn_counters want_encoder, want_session;
    bool good; /* every call was */
} counting;

/* Piece `to` = 2 * piece `from`; each is 16 floats. */
static void twice(mlxn_encoder *e, mlxn_buffer *b, uint64_t from, uint64_t to) {
    mlxn_tensor x = mlxn_tensor_1d(b, 64 * from, MLXN_F32, 16);
    mlxn_elementwise_add(e, x, x, mlxn_tensor_1d(b, 64 * to, MLXN_F32, 16));
}

/* Each round: an encoder commits 3 dispatches with a hazard barrier and an explicit one, waits, and launches a graph
 * of one dispatch twice; a session fences one stage of 2 independent dispatches and waits for another of 1. */
static void *count_rounds(void *user) {
    counting *c = user;
    mlxn_error mine;
    mlxn_buffer *b = NULL;
    mlxn_encoder *e = NULL;
    mlxn_session *session = NULL;
    mlxn_graph *graph = NULL;
    bool good = !mlxn_buffer_create(c->device, 64 * 4, &b, &mine) && !mlxn_encoder_create(c->device, &e, &mine) &&
                !mlxn_session_create(c->device, &session, &mine) && !mlxn_encoder_start_capture(e, &mine);
    twice(e, b, 0, 0);
    good = good && !mlxn_encoder_take_capture(e, &graph, &mine);
    for (uint64_t i = 0; good && i < c->rounds; i++) {
        twice(e, b, 0, 1);
        twice(e, b, 1, 2); /* reads what the first wrote */
        mlxn_encoder_barrier(e);
        twice(e, b, 3, 3);
        good = good && !mlxn_encoder_commit_and_wait(e, "blocking", &mine);
        good = good && !mlxn_encoder_launch(e, graph) && !mlxn_encoder_launch(e, graph);
        good = good && !mlxn_encoder_commit(e, "launches", &mine);
        good = good && !mlxn_session_begin_stage(session, "stage");
        twice(mlxn_session_encoder(session), b, 0, 1);
        twice(mlxn_session_encoder(session), b, 2, 3);
        good = good && !mlxn_session_fence_stage(session, NULL, &mine);
        good = good && !mlxn_session_reset_for_next_stage(session, &mine);
        twice(mlxn_session_encoder(session), b, 0, 1);
        good = good && !mlxn_session_commit_and_wait(session, &mine);
        if (i + 1 < c->rounds) good = good && !mlxn_session_reset_for_next_stage(session, &mine);
    }
    c->good = good;
    mlxn_encoder_counters(e, &c->of_encoder);
    mlxn_session_counters(session, &c->of_session);
    uint64_t r = c->rounds;
    c->want_encoder = (mlxn_counters){.sync_count = r,
                                      .dispatch_count = 1 + 3 * r,
                                      .cmd_buf_count = 2 * r,
                                      .barrier_count = r,
                                      .hazard_barrier_count = r,
                                      .graph_launch_count = 2 * r};
    c->want_session = (mlxn_counters){.sync_count = r, .dispatch_count = 3 * r, .cmd_buf_count = 2 * r};
    mlxn_graph_destroy(graph);
    mlxn_session_destroy(session);
    mlxn_encoder_destroy(e); /* what it counted stays with the device */
    mlxn_buffer_release(&b);
    return NULL;
}

static void show(const char *whose, const mlxn_counters *got, const mlxn_counters *want) {
    const uint64_t *a = (const uint64_t *)got, *b = (const uint64_t *)want;
    for (size_t i = 0; i < sizeof *got / sizeof *a; i++)
        CHECK(a[i] == b[i], "%s: counter %d is %d, want %d", whose, (int)i, (int)a[i], (int)b[i]);
}

static void test_counters(void) {
    enum { THREADS = 4 };
    mlxn_device *devices[2] = {open_device(1), open_device(2)};
    counting c[THREADS] = {{.device = devices[0], .rounds = 40},
                           {.device = devices[0], .rounds = 25},
                           {.device = devices[1], .rounds = 30},
                           {.device = devices[1], .rounds = 1}};
    listener l;
    listen(&l, PROFILER, devices[1]);
    mlxn_counters_reset();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, count_rounds, &c[i]);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    OK(mlxn_device_wait_idle(devices[0], UINT64_MAX, &error));
    OK(mlxn_device_wait_idle(devices[1], UINT64_MAX, &error));
    mlxn_counters all = {0}, of_device[2] = {{0}}, got;
    for (int i = 0; i < THREADS; i++) {
        CHECK(c[i].good, "a call of thread %d failed", i);
        show("encoder", &c[i].of_encoder, &c[i].want_encoder);
        show("session", &c[i].of_session, &c[i].want_session);
        for (mlxn_counters *sum = &all;; sum = &of_device[c[i].device == devices[1]]) {
            add_up(sum, &c[i].of_encoder);
            add_up(sum, &c[i].of_session);
            if (sum != &all) break;
        }
    }
    for (int i = 0; i < 2; i++) {
        mlxn_device_counters(devices[i], &got);
        show("device", &got, &of_device[i]);
    }
    mlxn_counters_read(&got);
    show("process", &got, &all);
    mlxn_counters_reset();
    mlxn_counters_read(&got);
    show("process after its reset", &got, &(mlxn_counters){0});
    mlxn_device_counters(devices[0], &got);
    show("device after the reset of the process", &got, &of_device[0]);
    /* Only what ran on the second device was heard: dispatches, and those of launches. */
    leave(&l, PROFILER, 31 * (3 + 2 + 3));
    mlxn_device_release(&devices[0]);
    mlxn_device_release(&devices[1]);
}

int main(void) {
    static const char *const backends[] = {"cpu", "null"};
    for (int i = 0; i < 2; i++) {
        backend = backends[i];
        mlxn_device *device = open_device(1);
        const bool runs = computes(device);
        mlxn_device_release(&device);
        test_same_schedule(1);
        test_same_schedule(3);
        for (int mode = NOBODY; mode < MODES; mode++) {
            test_still_asynchronous(mode);
            if (runs) test_side_by_side(mode);
        }
        if (runs) {
            test_times_in_order(1);
            test_times_in_order(3);
        }
        test_counters();
    }
    return TEST_DONE();
}
