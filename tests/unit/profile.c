/* Promise: profiling sees all work and changes none of it. Events cover fenced, asynchronous, blocking and launched
 * work of every queue with exact counts, also of what was dropped; times are in order and threads are not busier than
 * they can be; steady work allocates nothing; a profiler may go while work is in flight; the process's tables have
 * the pinned form; traces are JSON in which tracks do not overlap; capture scopes follow their rules. On cpu and
 * null. */
#include <jansson.h>
#include <mlxn/mlxn.h>
#include <pthread.h>
#include <unistd.h>

#include "core/profile.h"
#include "test.h"

static mlxn_error error;
static const char *backend;
static char log_text[4096];

#define OK(call)                                             \
    do {                                                     \
        mlxn_status status_ = (call);                        \
        CHECK(status_ == MLXN_OK, "%s: %d", #call, status_); \
    } while (0)

static void on_log(void *user, const char *line) {
    (void)user;
    size_t used = strlen(log_text);
    snprintf(log_text + used, sizeof log_text - used, "%s\n", line);
}

static mlxn_device *open_device(uint32_t threads) {
    mlxn_device_desc desc = {
        .struct_size = sizeof desc, .backend = backend, .threads = threads, .log = on_log, .no_stream = true};
    mlxn_device *device = NULL;
    OK(mlxn_device_create(&desc, &device, &error));
    return device;
}

static mlxn_buffer *make(mlxn_device *device, uint64_t n) {
    mlxn_buffer *buffer = NULL;
    OK(mlxn_buffer_create(device, 4 * n, &buffer, &error));
    return buffer;
}

static mlxn_tensor vec(mlxn_buffer *buffer, uint64_t n) { return mlxn_tensor_1d(buffer, 0, MLXN_F32, n); }

enum { N = 4096 };

/* A device with three buffers, an encoder and a profiler that listens. */
typedef struct stand {
    mlxn_device *device;
    mlxn_buffer *a, *b, *c;
    mlxn_encoder *encoder;
    mlxn_profiler *profiler;
} stand;

static void set_up(stand *s, uint32_t threads, uint64_t max_events) {
    *s = (stand){.device = open_device(threads)};
    s->a = make(s->device, N);
    s->b = make(s->device, N);
    s->c = make(s->device, N);
    OK(mlxn_encoder_create(s->device, &s->encoder, &error));
    mlxn_profiler_desc desc = {.struct_size = sizeof desc, .max_events = max_events};
    OK(mlxn_profiler_create(s->device, &desc, &s->profiler, &error));
    OK(mlxn_profiler_start(s->profiler, &error));
}

static void tear_down(stand *s) {
    mlxn_encoder_destroy(s->encoder);
    mlxn_profiler_destroy(s->profiler);
    mlxn_buffer_release(&s->a);
    mlxn_buffer_release(&s->b);
    mlxn_buffer_release(&s->c);
    mlxn_device_release(&s->device);
}

/* Two operations, a copy and a fill. */
enum { OPS = 4 };
static void record(mlxn_encoder *encoder, const stand *s) {
    OK(mlxn_elementwise_add(encoder, vec(s->a, N), vec(s->b, N), vec(s->c, N)));
    OK(mlxn_elementwise_mul(encoder, vec(s->c, N), vec(s->b, N), vec(s->c, N)));
    OK(mlxn_encoder_copy(encoder, s->c, 0, s->a, 0, 4 * N));
    OK(mlxn_encoder_fill(encoder, s->b, 0, 4 * N, 1));
}

/* What every list of events keeps to. */
static void check_events(const mlxn_profile_event *e, uint64_t n, uint32_t threads) {
    static const char *const names[OPS] = {"elementwise_add", "elementwise_mul", "copy_bytes", "fill_bytes"};
    const mlxn_profile_event *cb = NULL;
    uint32_t next = 0;
    for (uint64_t i = 0; i < n; i++) {
        CHECK(e[i].commit_ns && e[i].commit_ns <= e[i].start_ns && e[i].start_ns <= e[i].end_ns, "event %d", (int)i);
        if (e[i].kind == MLXN_PROFILE_COMMAND_BUFFER) {
            CHECK(!cb || next == cb->index, "%u operations, announced were %u", next, cb->index);
            cb = &e[i];
            next = 0;
            continue;
        }
        CHECK(cb && e[i].command_buffer == cb->command_buffer && e[i].queue == cb->queue && e[i].label == cb->label,
              "event %d belongs to another command buffer", (int)i);
        if (!cb) return;
        CHECK(e[i].index == next++, "index is %u", e[i].index);
        CHECK(!strcmp(e[i].op, names[e[i].index % OPS]), "operation %u is %s", e[i].index, e[i].op);
        CHECK(e[i].bytes > 0, "%s has no bytes", e[i].op);
        CHECK(e[i].start_ns >= cb->start_ns && e[i].end_ns <= cb->end_ns, "%s lies outside", e[i].op);
        CHECK(e[i].busy_ns <= threads * (e[i].end_ns - e[i].start_ns), "%u threads were busy %d ns in %d ns", threads,
              (int)e[i].busy_ns, (int)(e[i].end_ns - e[i].start_ns));
    }
    CHECK(cb && next == cb->index, "the last command buffer has %u operations", next);
}

static uint64_t count_label(const mlxn_profile_event *e, uint64_t n, const char *label, mlxn_profile_kind kind) {
    uint64_t found = 0;
    for (uint64_t i = 0; i < n; i++) found += e[i].kind == kind && !strcmp(e[i].label, label);
    return found;
}

static void test_coverage(uint32_t threads) {
    stand s;
    set_up(&s, threads, 0);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(s.device, &info);
    /* blocking, asynchronous, without label */
    record(s.encoder, &s);
    OK(mlxn_encoder_commit_and_wait(s.encoder, "blocking", &error));
    record(s.encoder, &s);
    OK(mlxn_encoder_commit(s.encoder, "async", &error));
    record(s.encoder, &s);
    OK(mlxn_encoder_commit(s.encoder, NULL, &error));
    /* another queue */
    mlxn_queue *queue = NULL;
    mlxn_encoder *side = NULL;
    OK(mlxn_queue_create(s.device, &queue, &error));
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));
    OK(mlxn_encoder_create_on(queue, &side, &error));
    record(side, &s);
    OK(mlxn_encoder_commit_and_wait(side, "side", &error));
    /* fenced stages */
    mlxn_session *session = NULL;
    OK(mlxn_session_create(s.device, &session, &error));
    for (int i = 0; i < 3; i++) {
        OK(mlxn_session_begin_stage(session, "stage"));
        record(mlxn_session_encoder(session), &s);
        OK(mlxn_session_fence_stage(session, i ? "fenced" : NULL, &error));
        OK(mlxn_session_reset_for_next_stage(session, &error));
    }
    mlxn_session_destroy(session);
    /* a graph, launched twice in one command buffer */
    mlxn_graph *graph = NULL;
    OK(mlxn_encoder_start_capture(s.encoder, &error));
    record(s.encoder, &s);
    OK(mlxn_encoder_take_capture(s.encoder, &graph, &error));
    OK(mlxn_encoder_launch(s.encoder, graph));
    OK(mlxn_encoder_launch(s.encoder, graph));
    OK(mlxn_encoder_commit(s.encoder, "graph", &error));
    mlxn_graph_destroy(graph);
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));

    static mlxn_profile_event e[256];
    uint64_t n = mlxn_profiler_events(s.profiler, 0, e, 256);
    enum { COMMAND_BUFFERS = 8, OPERATIONS = 9 * OPS };
    CHECK(n == COMMAND_BUFFERS + OPERATIONS, "%d events", (int)n);
    check_events(e, n, info.threads);
    CHECK(count_label(e, n, "blocking", MLXN_PROFILE_OPERATION) == OPS, "blocking");
    CHECK(count_label(e, n, "async", MLXN_PROFILE_OPERATION) == OPS, "async");
    CHECK(count_label(e, n, "", MLXN_PROFILE_OPERATION) == OPS, "no label");
    CHECK(count_label(e, n, "side", MLXN_PROFILE_OPERATION) == OPS, "another queue");
    CHECK(count_label(e, n, "stage", MLXN_PROFILE_COMMAND_BUFFER) == 1, "first stage");
    CHECK(count_label(e, n, "fenced", MLXN_PROFILE_OPERATION) == 2 * OPS, "fenced");
    CHECK(count_label(e, n, "graph", MLXN_PROFILE_OPERATION) == 2 * OPS, "graph");
    for (uint64_t i = 0; i < n; i++)
        CHECK((e[i].queue != 0) == !strcmp(e[i].label, "side"), "queue %d for %s", (int)e[i].queue, e[i].label);
    for (uint64_t i = 0; i < n && info.computes; i++)
        if (e[i].kind == MLXN_PROFILE_OPERATION)
            CHECK(e[i].busy_ns > 0 && strncmp(e[i].kernel, e[i].op, 4) == 0, "%s %s", e[i].op, e[i].kernel);

    mlxn_profiler_stats stats;
    mlxn_profiler_get_stats(s.profiler, &stats);
    CHECK(stats.events == n && stats.command_buffers == COMMAND_BUFFERS && stats.operations == OPERATIONS &&
              !stats.dropped && !stats.in_flight && !stats.unmeasured && !stats.other_names,
          "stats");
    mlxn_profile_row rows[16];
    CHECK(mlxn_profiler_rows(s.profiler, MLXN_PROFILE_BY_KERNEL, rows, 16) == OPS, "rows by kernel");
    for (uint32_t i = 0; i < OPS; i++) {
        CHECK(rows[i].count == 9, "%s: %d", rows[i].op, (int)rows[i].count);
        CHECK(rows[i].min_ns <= rows[i].max_ns && rows[i].total_ns <= 9 * rows[i].max_ns &&
                  rows[i].total_ns >= 9 * rows[i].min_ns,
              "%s", rows[i].op);
        CHECK(!i || rows[i].total_ns <= rows[i - 1].total_ns, "rows are not sorted");
        double bytes = 4.0 * N * (!strcmp(rows[i].op, "fill_bytes") ? 1 : !strcmp(rows[i].op, "copy_bytes") ? 2 : 3);
        CHECK(rows[i].bytes == 9 * bytes, "%s: %g bytes", rows[i].op, rows[i].bytes);
    }
    uint32_t labels = mlxn_profiler_rows(s.profiler, MLXN_PROFILE_BY_LABEL, rows, 16);
    CHECK(labels == 7, "%u labels", labels);
    for (uint32_t i = 0; i < labels && i < 16; i++)
        CHECK(rows[i].count == (strcmp(rows[i].label, "fenced") ? 1 : 2) && rows[i].bytes > 0, "%s", rows[i].label);

    mlxn_profiler_reset(s.profiler);
    mlxn_profiler_get_stats(s.profiler, &stats);
    CHECK(!stats.events && !stats.operations && !mlxn_profiler_rows(s.profiler, MLXN_PROFILE_BY_KERNEL, rows, 16) &&
              !mlxn_profiler_events(s.profiler, 0, e, 256),
          "reset");
    mlxn_profiler_stop(s.profiler);
    record(s.encoder, &s);
    OK(mlxn_encoder_commit_and_wait(s.encoder, "after", &error));
    CHECK(!mlxn_profiler_events(s.profiler, 0, e, 256), "stopped, but it goes on");
    mlxn_encoder_destroy(side);
    mlxn_queue_release(&queue);
    tear_down(&s);
}

static void test_bounds(void) {
    stand s;
    set_up(&s, 1, 7);
    for (int i = 0; i < 3; i++) {
        record(s.encoder, &s);
        OK(mlxn_encoder_commit_and_wait(s.encoder, "cut", &error));
    }
    mlxn_profile_event e[16];
    mlxn_profiler_stats stats;
    mlxn_profiler_get_stats(s.profiler, &stats);
    CHECK(mlxn_profiler_events(s.profiler, 0, e, 16) == 7 && stats.events == 7 && stats.dropped == 3 * (OPS + 1) - 7,
          "%d kept, %d dropped", (int)stats.events, (int)stats.dropped);
    CHECK(stats.operations == 3 * OPS && stats.command_buffers == 3, "counts of what was dropped");
    CHECK(mlxn_profiler_events(s.profiler, 5, e, 16) == 2 && mlxn_profiler_events(s.profiler, 7, e, 16) == 0,
          "reading from a place");
    mlxn_profile_row row;
    CHECK(mlxn_profiler_rows(s.profiler, MLXN_PROFILE_BY_LABEL, &row, 1) == 1 && row.count == 3, "rows count all");

    mlxn_profiler *second = NULL;
    OK(mlxn_profiler_create(s.device, NULL, &second, &error));
    CHECK(mlxn_profiler_start(second, &error) == MLXN_ERR_STATE, "two at a time");
    OK(mlxn_profiler_start(s.profiler, &error));
    mlxn_profiler_stop(second); /* it does not listen: the first goes on */
    mlxn_profiler_reset(s.profiler);
    record(s.encoder, &s);
    OK(mlxn_encoder_commit_and_wait(s.encoder, "first", &error));
    mlxn_profiler_stop(s.profiler);
    OK(mlxn_profiler_start(second, &error));
    record(s.encoder, &s);
    OK(mlxn_encoder_commit_and_wait(s.encoder, "second", &error));
    mlxn_profiler_get_stats(s.profiler, &stats);
    CHECK(stats.command_buffers == 1, "the first");
    mlxn_profiler_get_stats(second, &stats);
    CHECK(stats.command_buffers == 1, "the second");
    mlxn_profiler_destroy(second); /* while it listens */
    record(s.encoder, &s);
    OK(mlxn_encoder_commit_and_wait(s.encoder, "nobody", &error));

    CHECK(mlxn_profiler_create(NULL, NULL, &second, &error) == MLXN_ERR_ARGUMENT && !second, "no device");
    CHECK(mlxn_profiler_start(NULL, &error) == MLXN_ERR_ARGUMENT, "no profiler");
    mlxn_profiler_desc small = {.struct_size = 1};
    CHECK(mlxn_profiler_create(s.device, &small, &second, &error) == MLXN_ERR_ARGUMENT, "struct_size");
    mlxn_profiler_desc huge = {.struct_size = sizeof huge, .max_events = UINT64_MAX / 2};
    CHECK(mlxn_profiler_create(s.device, &huge, &second, &error) == MLXN_ERR_MEMORY, "more than there is");
    mlxn_profiler_stop(NULL);
    mlxn_profiler_reset(NULL);
    mlxn_profiler_destroy(NULL);
    tear_down(&s);
}

/* After warm-up neither a commit nor a launch allocates, profiled or not; failing allocations lose measurements only.
 */
static void test_memory(void) {
    stand s;
    set_up(&s, 1, 0);
    for (int i = 0; i < 4; i++) {
        record(s.encoder, &s);
        OK(mlxn_encoder_commit_and_wait(s.encoder, "warm", &error));
    }
    uint64_t before = mlxn_alloc_count();
    for (int i = 0; i < 100; i++) {
        record(s.encoder, &s);
        OK(mlxn_encoder_commit_and_wait(s.encoder, "warm", &error));
    }
    CHECK(mlxn_alloc_count() == before, "%d allocations", (int)(mlxn_alloc_count() - before));
    uint64_t lost = 0;
    for (uint64_t k = 1; k < 64; k++) {
        mlxn_profiler_reset(s.profiler);
        char label[32];
        snprintf(label, sizeof label, "label %d", (int)k);
        stand fresh = s;
        OK(mlxn_encoder_create(s.device, &fresh.encoder, &error));
        for (int i = 0; i < 70; i++) record(fresh.encoder, &s); /* more samples than any command buffer had so far */
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_encoder_commit_and_wait(fresh.encoder, label, &error);
        mlxn_alloc_fail_at(0);
        mlxn_profiler_stats stats;
        mlxn_profiler_get_stats(s.profiler, &stats);
        CHECK(!stats.in_flight, "in flight after failure %d", (int)k);
        if (!status)
            CHECK(stats.command_buffers + stats.unmeasured == 1, "%d measured, %d not", (int)stats.command_buffers,
                  (int)stats.unmeasured);
        lost += stats.unmeasured + stats.other_names;
        mlxn_encoder_destroy(fresh.encoder);
    }
    CHECK(lost > 0, "no allocation of the profiler's failed");
    tear_down(&s);
}

static void test_destroyed_in_flight(void) {
    stand s;
    set_up(&s, 2, 0);
    mlxn_timeline *gate = NULL;
    OK(mlxn_timeline_create(s.device, &gate, &error));
    OK(mlxn_encoder_wait(s.encoder, gate, 1));
    record(s.encoder, &s);
    OK(mlxn_encoder_commit(s.encoder, "late", &error));
    record(s.encoder, &s);
    OK(mlxn_encoder_commit(s.encoder, "later", &error));
    mlxn_profiler_stats stats;
    mlxn_profiler_get_stats(s.profiler, &stats);
    CHECK(stats.in_flight == 2 && !stats.events, "%d in flight", (int)stats.in_flight);
    mlxn_profiler_destroy(s.profiler);
    s.profiler = NULL;
    mlxn_timeline_signal(gate, 1);
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));
    mlxn_timeline_release(&gate);
    tear_down(&s);
}

/* Readers, starts and stops against work that runs. */
static void *commit_many(void *user) {
    stand *s = user;
    mlxn_encoder *encoder = NULL;
    mlxn_error mine;
    mlxn_encoder_create(s->device, &encoder, &mine);
    for (int i = 0; i < 300; i++) {
        mlxn_encoder_fill(encoder, s->b, 0, 64, 1);
        mlxn_encoder_commit(encoder, i % 2 ? "odd" : "even", &mine);
    }
    mlxn_encoder_wait_completed(encoder, &mine);
    mlxn_encoder_destroy(encoder);
    return NULL;
}

static void test_threads(void) {
    stand s;
    set_up(&s, 2, 256);
    pthread_t workers[3];
    for (int i = 0; i < 3; i++) pthread_create(&workers[i], NULL, commit_many, &s);
    mlxn_profile_event e[64];
    mlxn_profile_row rows[8];
    mlxn_profiler_stats stats;
    for (int i = 0; i < 200; i++) {
        if (i % 3 == 0) mlxn_profiler_stop(s.profiler);
        if (i % 3 == 1) mlxn_profiler_start(s.profiler, NULL);
        if (i % 7 == 0) mlxn_profiler_reset(s.profiler);
        mlxn_profiler_events(s.profiler, 0, e, 64);
        mlxn_profiler_rows(s.profiler, MLXN_PROFILE_BY_LABEL, rows, 8);
    }
    for (int i = 0; i < 3; i++) pthread_join(workers[i], NULL);
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));
    mlxn_profiler_get_stats(s.profiler, &stats);
    CHECK(!stats.in_flight, "%d in flight", (int)stats.in_flight);
    tear_down(&s);
}

/* ---- the process's tables ---- */

static void test_tables(void) {
    mlxn_profile_cb_entry row;
    mlxn_profile_cb_reset();
    mlxn_profile_cb_record("B", 50);
    mlxn_profile_cb_record("A", 100);
    mlxn_profile_cb_record("A", 200);
    CHECK(mlxn_profile_cb_row(0, &row) && !strcmp(row.label, "A") && row.count == 2 && row.total_ns == 300 &&
              row.min_ns == 100 && row.max_ns == 200,
          "A");
    CHECK(mlxn_profile_cb_row(1, &row) && !strcmp(row.label, "B") && row.count == 1 && row.total_ns == 50, "B");
    CHECK(!mlxn_profile_cb_row(2, &row), "a third");
    char text[512], cut[16];
    size_t length = mlxn_profile_cb_text(text, sizeof text);
    CHECK(length == strlen(text) && strstr(text, "\nA ") < strstr(text, "\nB "), "%s", text);
    CHECK(mlxn_profile_cb_text(cut, sizeof cut) == length && strlen(cut) == sizeof cut - 1, "cut text");
    mlxn_profile_cb_record("A", UINT64_MAX);
    CHECK(mlxn_profile_cb_row(0, &row) && row.total_ns == UINT64_MAX, "sums saturate");
    mlxn_profile_cb_reset();
    CHECK(!mlxn_profile_cb_row(0, &row), "reset");
    for (int i = 0; i < 1030; i++) {
        snprintf(text, sizeof text, "label %d", i);
        mlxn_profile_cb_record(text, 1);
    }
    CHECK(mlxn_profile_cb_row(1023, &row) && !mlxn_profile_cb_row(1024, &row) && mlxn_profile_cb_lost() == 6,
          "%d lost", (int)mlxn_profile_cb_lost());
    mlxn_profile_cb_reset();

    mlxn_profile_dispatch_entry d;
    mlxn_profile_dispatch_reset();
    for (uint32_t i = 0; i < 6; i++)
        mlxn_profile_dispatch_record(
            &(mlxn_profile_dispatch_entry){i % 2 ? "x" : "y", "Sdpa", i, 5, 10 * i, 10 * i + 5});
    static const uint32_t want[] = {0, 2, 4, 1, 3, 5};
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < 6; i++)
            CHECK(mlxn_profile_dispatch_row(i, &d) && d.index == want[i] && !strcmp(d.label, i < 3 ? "y" : "x"),
                  "row %u has index %u", i, d.index);
    CHECK(mlxn_profile_dispatch_row(1, &d) && d.index == 2 && !mlxn_profile_dispatch_row(6, &d), "back, and past");
    mlxn_profile_dispatch_text(text, sizeof text);
    CHECK(!strncmp(text, "y\n", 2) && strstr(text, "\nx\n") && strstr(text, "Sdpa"), "%s", text);
    mlxn_profile_dispatch_reset();
    CHECK(!mlxn_profile_dispatch_row(0, &d), "reset");
    for (uint32_t i = 0; i < 65540; i++)
        mlxn_profile_dispatch_record(&(mlxn_profile_dispatch_entry){"l", "o", i, 0, 1, 1});
    CHECK(mlxn_profile_dispatch_row(65535, &d) && d.index == 65535 && mlxn_profile_dispatch_lost() == 4, "%d lost",
          (int)mlxn_profile_dispatch_lost());
    mlxn_profile_dispatch_reset();
}

static void gates(const char *cb, const char *dispatch) {
    if (cb)
        setenv("MLX_PROFILE_CB", cb, 1);
    else
        unsetenv("MLX_PROFILE_CB");
    if (dispatch)
        setenv("MLX_PROFILE_DISPATCH", dispatch, 1);
    else
        unsetenv("MLX_PROFILE_DISPATCH");
    mlxn_gates_forget();
    mlxn_profile_forget_gates();
}

static void test_gates(void) {
    mlxn_profile_cb_entry row;
    mlxn_profile_dispatch_entry first, second;
    gates(NULL, "0");
    CHECK(!mlxn_profile_cb_enabled() && !mlxn_profile_dispatch_enabled(), "off when unset or 0");
    stand s;
    set_up(&s, 0, 0);
    mlxn_profiler_stop(s.profiler);
    record(s.encoder, &s);
    OK(mlxn_encoder_commit_and_wait(s.encoder, "off", &error));
    CHECK(!mlxn_profile_cb_row(0, &row) && !mlxn_profile_dispatch_row(0, &first), "off, but a row");
    gates("", "1");
    CHECK(mlxn_profile_cb_enabled() && mlxn_profile_dispatch_enabled(), "on");
    /* Asynchronous work stays so: commit returns while it cannot have run. */
    mlxn_timeline *hold = NULL;
    OK(mlxn_timeline_create(s.device, &hold, &error));
    OK(mlxn_encoder_wait(s.encoder, hold, 1));
    OK(mlxn_elementwise_add(s.encoder, vec(s.a, N), vec(s.b, N), vec(s.c, N)));
    OK(mlxn_elementwise_mul(s.encoder, vec(s.c, N), vec(s.b, N), vec(s.c, N)));
    OK(mlxn_encoder_commit(s.encoder, "held", &error));
    OK(mlxn_encoder_fill(s.encoder, s.a, 0, 4, 0));
    OK(mlxn_encoder_commit(s.encoder, NULL, &error)); /* no label: not in the tables */
    CHECK(!mlxn_profile_cb_row(0, &row), "a row before it ran");
    mlxn_timeline_signal(hold, 1);
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));
    CHECK(mlxn_profile_cb_row(0, &row) && !strcmp(row.label, "held") && row.count == 1, "the label");
    CHECK(!mlxn_profile_cb_row(1, NULL), "one label");
    CHECK(mlxn_profile_dispatch_row(0, &first) && mlxn_profile_dispatch_row(1, &second) &&
              !mlxn_profile_dispatch_row(2, NULL),
          "two operations");
    CHECK(first.index == 0 && second.index == 1 && first.end_ns >= first.start_ns &&
              second.end_ns >= second.start_ns && second.start_ns >= first.end_ns,
          "order");
    CHECK(first.duration_ns == first.end_ns - first.start_ns, "duration");
    CHECK(!strcmp(first.op, "elementwise_add") && !strcmp(second.op, "elementwise_mul"), "%s %s", first.op,
          second.op);
    CHECK(row.total_ns >= first.duration_ns + second.duration_ns, "the whole is less than its parts");
    /* A fenced stage is seen as well. */
    mlxn_session *session = NULL;
    OK(mlxn_session_create(s.device, &session, &error));
    record(mlxn_session_encoder(session), &s);
    OK(mlxn_session_fence_stage(session, "fence", &error));
    mlxn_session_destroy(session);
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));
    bool seen = false;
    for (uint32_t i = 0; mlxn_profile_cb_row(i, &row); i++) seen = seen || !strcmp(row.label, "fence");
    CHECK(seen, "the fenced stage is missing");
    mlxn_profile_cb_reset();
    mlxn_profile_dispatch_reset();
    gates(NULL, NULL);
    mlxn_timeline_release(&hold);
    tear_down(&s);
}

/* ---- traces ---- */

/* Parses and checks a trace; returns the number of operations, -1 if it is none. */
static int check_trace(const char *path, const char *label) {
    json_error_t problem;
    json_t *root = json_load_file(path, 0, &problem);
    CHECK(root, "%s: %s", path, problem.text);
    if (!root) return -1;
    json_t *list = json_object_get(root, "traceEvents"), *event;
    size_t i;
    int operations = 0, labels = 0, names = 0;
    double ends[1024] = {0};
    json_array_foreach(list, i, event) {
        const char *kind = json_string_value(json_object_get(event, "ph"));
        json_int_t track = json_integer_value(json_object_get(event, "tid"));
        CHECK(json_integer_value(json_object_get(event, "pid")) == 1 && track >= 0 && track < 1024, "event %d",
              (int)i);
        names += !strcmp(kind, "M");
        if (strcmp(kind, "X") != 0) continue;
        double ts = json_number_value(json_object_get(event, "ts"));
        double dur = json_number_value(json_object_get(event, "dur"));
        CHECK(ts >= 0 && dur >= 0 && track < 1024 && ts >= ends[track] - 1e-3, "event %d at %g, before %g", (int)i,
              ts, ends[track]);
        ends[track] = ts + dur;
        json_t *args = json_object_get(event, "args");
        operations += json_object_get(args, "kernel") != NULL;
        labels += !strcmp(json_string_value(json_object_get(args, "label")), label);
    }
    CHECK(labels > 0, "no event has the label %s", label);
    CHECK(names >= 5, "%d names", names);
    json_decref(root);
    return operations;
}

static void test_trace(void) {
    static const char hostile[] = "a\"b\\c</script>\n\x01 \xc3\xa4 \xff\xc0\xaf\xed\xa0\x80";
    static const char shown[] =
        "a\"b\\c</script>\n\x01 \xc3\xa4 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf"
        "\xbd\xef\xbf\xbd";
    char path[64];
    snprintf(path, sizeof path, "/tmp/mlxn-trace-%d.json", (int)getpid());
    stand s;
    set_up(&s, 2, 0);
    OK(mlxn_profiler_write_trace(s.profiler, path, &error)); /* of nothing */
    for (int i = 0; i < 3; i++) {
        record(s.encoder, &s);
        for (int k = 0; k < 8; k++) OK(mlxn_encoder_fill(s.encoder, s.a, 64 * (uint64_t)k, 64, 0)); /* side by side */
        OK(mlxn_encoder_commit(s.encoder, hostile, &error));
    }
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));
    OK(mlxn_profiler_write_trace(s.profiler, path, &error));
    CHECK(check_trace(path, shown) == 3 * (OPS + 8), "operations in the trace");
    CHECK(mlxn_profiler_write_trace(s.profiler, "/nowhere/at/all.json", &error) == MLXN_ERR_IO &&
              strstr(error.message, "/nowhere/at/all.json"),
          "%s", error.message);
    if (!access("/dev/full", W_OK))
        CHECK(mlxn_profiler_write_trace(s.profiler, "/dev/full", &error) == MLXN_ERR_IO, "a full disk");
    CHECK(mlxn_profiler_write_trace(NULL, path, &error) == MLXN_ERR_ARGUMENT, "no profiler");
    unlink(path);
    tear_down(&s);
}

/* ---- capture scopes ---- */

static void test_capture(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/mlxn-capture-%d.json", (int)getpid());
    unlink(path);
    stand s;
    set_up(&s, 1, 0);
    mlxn_profiler_stop(s.profiler);
    mlxn_capture *capture = NULL;
    unsetenv("MLX_METAL_CAPTURE");
    unsetenv("METAL_CAPTURE_ENABLED");
    mlxn_capture_reset_latch();
    OK(mlxn_capture_from_env(s.device, &capture, &error));
    CHECK(!capture, "unset");
    setenv("MLX_METAL_CAPTURE", "", 1);
    OK(mlxn_capture_from_env(s.device, &capture, &error));
    CHECK(!capture, "empty");
    /* Not permitted: one warning, and the turn is taken. */
    setenv("MLX_METAL_CAPTURE", path, 1);
    log_text[0] = 0;
    OK(mlxn_capture_from_env(s.device, &capture, &error));
    CHECK(!capture && strstr(log_text, "METAL_CAPTURE_ENABLED"), "log: %s", log_text);
    log_text[0] = 0;
    setenv("METAL_CAPTURE_ENABLED", "1", 1);
    OK(mlxn_capture_from_env(s.device, &capture, &error));
    CHECK(!capture && !log_text[0], "the second of the process: %s", log_text);

    mlxn_capture_reset_latch();
    OK(mlxn_capture_from_env(s.device, &capture, &error));
    CHECK(capture, "permitted");
    mlxn_capture *again = capture;
    OK(mlxn_capture_from_env(s.device, &again, &error));
    CHECK(!again, "once per process");
    OK(mlxn_capture_end(capture, &error)); /* without begin: nothing */
    CHECK(access(path, F_OK), "end without begin wrote");
    OK(mlxn_capture_begin(capture, &error));
    OK(mlxn_capture_begin(capture, &error));
    CHECK(mlxn_profiler_start(s.profiler, &error) == MLXN_ERR_STATE, "the capture listens");
    /* The end does not wait: the trace comes with the last command buffer. */
    mlxn_timeline *hold = NULL;
    OK(mlxn_timeline_create(s.device, &hold, &error));
    OK(mlxn_encoder_wait(s.encoder, hold, 1));
    record(s.encoder, &s);
    OK(mlxn_encoder_commit(s.encoder, "captured", &error));
    OK(mlxn_capture_end(capture, &error));
    OK(mlxn_capture_end(capture, &error));
    CHECK(access(path, F_OK), "written before the work was done");
    record(s.encoder, &s);
    OK(mlxn_encoder_commit(s.encoder, "behind", &error));
    mlxn_capture_destroy(capture);
    mlxn_timeline_signal(hold, 1);
    OK(mlxn_device_wait_idle(s.device, UINT64_MAX, &error));
    CHECK(check_trace(path, "captured") == OPS, "the trace holds more, or less");
    unlink(path);
    OK(mlxn_profiler_start(s.profiler, &error)); /* nobody listens any more */

    /* A profiler listens: the helper of graph sessions says why there is no capture. */
    mlxn_capture_reset_latch();
    log_text[0] = 0;
    CHECK(!mlxn_capture_begin_from_env(s.device) && strstr(log_text, "another profiler"), "log: %s", log_text);
    mlxn_profiler_stop(s.profiler);
    mlxn_capture_reset_latch();
    capture = mlxn_capture_begin_from_env(s.device);
    CHECK(capture, "begun");
    record(s.encoder, &s);
    OK(mlxn_encoder_commit_and_wait(s.encoder, "dropped", &error));
    mlxn_capture_destroy(capture); /* ends it */
    CHECK(check_trace(path, "dropped") == OPS, "destroy does not end");
    unlink(path);
    mlxn_capture_reset_latch();
    setenv("MLX_METAL_CAPTURE", "/nowhere/at/all", 1);
    log_text[0] = 0;
    capture = mlxn_capture_begin_from_env(s.device);
    CHECK(mlxn_capture_end(capture, &error) == MLXN_ERR_IO && strstr(log_text, "/nowhere"), "%s", log_text);
    mlxn_capture_destroy(capture);
    unsetenv("MLX_METAL_CAPTURE");
    unsetenv("METAL_CAPTURE_ENABLED");
    mlxn_capture_destroy(NULL);
    mlxn_timeline_release(&hold);
    tear_down(&s);
}

static void test_roofs(void) {
    mlxn_device *device = open_device(0);
    mlxn_device_roofs roofs = {.struct_size = sizeof roofs};
    if (!strcmp(backend, "null")) {
        CHECK(mlxn_device_measure(device, &roofs, &error) == MLXN_ERR_UNSUPPORTED, "null has roofs");
    } else {
        OK(mlxn_device_measure(device, &roofs, &error));
        CHECK(roofs.bytes_per_second > 1e8 && roofs.f32_flops > 1e8 && roofs.int8_ops > 0, "%g %g %g",
              roofs.bytes_per_second, roofs.f32_flops, roofs.int8_ops);
    }
    CHECK(mlxn_device_measure(NULL, &roofs, &error) == MLXN_ERR_ARGUMENT, "no device");
    roofs.struct_size = 0;
    CHECK(mlxn_device_measure(device, &roofs, &error) == MLXN_ERR_ARGUMENT, "struct_size");
    mlxn_device_release(&device);
}

int main(void) {
    test_tables();
    static const char *const backends[] = {"cpu", "null"};
    for (int i = 0; i < 2; i++) {
        backend = backends[i];
        test_coverage(1);
        test_coverage(3);
        test_bounds();
        test_memory();
        test_destroyed_in_flight();
        test_threads();
        test_gates();
        test_trace();
        test_capture();
        test_roofs();
    }
    return TEST_DONE();
}
