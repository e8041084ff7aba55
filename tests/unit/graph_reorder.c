/* Promise: a reordered graph computes the bits of the order of capture, in the least possible number of groups: the
 * longest chain of conflicts, found here by brute force over random sequences of operations on few buffers. In order
 * of capture the groups are the greedy ones, and explicit barriers stay. Nodes that may touch anything keep their
 * place. Memory of earlier groups does not make the derivation slower. */
#include <mlxn/mlxn.h>

#include "base/base.h"
#include "core/graph.h"
#include "core/kernel.h"
#include "test.h"

#define OK(call) CHECK((call) == MLXN_OK, "%s", error.message)

enum { BUFFERS = 4, ELEMENTS = 96, MOST = 200 };

static mlxn_error error;
static char log_line[512];
static void keep_line(void *user, const char *line) { snprintf(log_line, sizeof log_line, "%s", line); }

static unsigned long long state = 7;
static unsigned next(unsigned n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % n;
}

/* One random node: at most two reads and a write, in elements. */
typedef struct step {
    enum { ADD, MUL, SCALE, COPY, FILL, KINDS } kind;
    unsigned buffer[3], at[3], n; /* inputs, output */
    bool barrier;                 /* explicit, before it */
    bool fence;                   /* in place of it stands a kernel of unknown roles */
} step;

static bool reads(const step *s, int i) { return i < (s->kind == FILL ? 0 : s->kind >= SCALE ? 1 : 2); }

static bool meet(const step *a, int i, const step *b, int k) {
    return a->buffer[i] == b->buffer[k] && a->at[i] < b->at[k] + b->n && b->at[k] < a->at[i] + a->n;
}

static bool conflict(const step *a, const step *b) {
    if (a->fence || b->fence || meet(a, 2, b, 2)) return true;
    for (int i = 0; i < 2; i++)
        if ((reads(a, i) && meet(a, i, b, 2)) || (reads(b, i) && meet(b, i, a, 2))) return true;
    return false;
}

static step random_step(void) {
    for (;;) {
        step s = {.kind = next(KINDS), .n = 1 + next(24), .barrier = next(12) == 0};
        for (int i = 0; i < 3; i++) {
            s.buffer[i] = next(BUFFERS);
            s.at[i] = next(ELEMENTS - s.n + 1);
        }
        if (next(4) == 0) { /* in place */
            s.buffer[2] = s.buffer[0];
            s.at[2] = s.at[0];
        }
        bool good = true; /* an output overlaps an input nowhere, or is it; a copy never */
        for (int i = 0; i < 2; i++)
            if (reads(&s, i) && meet(&s, i, &s, 2) && (s.kind == COPY || s.at[i] != s.at[2])) good = false;
        if (good) return s;
    }
}

static mlxn_tensor view(mlxn_buffer *const *b, const step *s, int i) {
    return mlxn_tensor_1d(b[s->buffer[i]], 4 * s->at[i], MLXN_F32, s->n);
}

static void record(mlxn_encoder *e, mlxn_buffer *const *b, const step *s) {
    if (s->barrier) mlxn_encoder_barrier(e);
    switch (s->kind) {
        case ADD:
            mlxn_elementwise_add(e, view(b, s, 0), view(b, s, 1), view(b, s, 2));
            break;
        case MUL:
            mlxn_elementwise_mul(e, view(b, s, 0), view(b, s, 1), view(b, s, 2));
            break;
        case SCALE:
            mlxn_scalar_mul(e, view(b, s, 0), view(b, s, 2), &(mlxn_scalar_mul_params){0.75f});
            break;
        case COPY:
            mlxn_encoder_copy(e, b[s->buffer[0]], 4 * s->at[0], b[s->buffer[2]], 4 * s->at[2], 4 * s->n);
            break;
        default:
            mlxn_encoder_fill(e, b[s->buffer[2]], 4 * s->at[2], 4 * s->n, 0x3f);
    }
}

static void reset(mlxn_buffer *const *b) {
    for (unsigned i = 0; i < BUFFERS; i++)
        for (unsigned k = 0; k < ELEMENTS; k++)
            ((float *)mlxn_buffer_contents(b[i]))[k] = 0.5f + (float)((i * 37 + k * 11) % 64) / 64;
}

static void save(mlxn_buffer *const *b, float *out) {
    for (unsigned i = 0; i < BUFFERS; i++) memcpy(out + i * ELEMENTS, mlxn_buffer_contents(b[i]), 4 * ELEMENTS);
}

/* Groups of the longest chain, and of the greedy order with the explicit barriers. */
static unsigned longest_chain(const step *s, unsigned n) {
    unsigned level[MOST], most = 0;
    for (unsigned i = 0; i < n; i++) {
        level[i] = 1;
        for (unsigned k = 0; k < i; k++)
            if (level[k] >= level[i] && conflict(&s[k], &s[i])) level[i] = level[k] + 1;
        if (level[i] > most) most = level[i];
    }
    return most;
}

static unsigned greedy_groups(const step *s, unsigned n) {
    unsigned groups = 1, first = 0;
    for (unsigned i = 1; i < n; i++) {
        bool apart = s[i].barrier;
        for (unsigned k = first; k < i; k++) apart = apart || conflict(&s[k], &s[i]);
        if (!apart) continue;
        groups++;
        first = i;
    }
    return groups;
}

static mlxn_graph_info info_of(const mlxn_graph *graph) {
    mlxn_graph_info info = {.struct_size = sizeof info};
    mlxn_graph_get_info(graph, &info);
    return info;
}

static void test_random(mlxn_device *device, mlxn_buffer *const *b, unsigned n) {
    static float want[2][BUFFERS * ELEMENTS], got[BUFFERS * ELEMENTS];
    step steps[MOST];
    mlxn_encoder *e = NULL;
    OK(mlxn_encoder_create(device, &e, &error));
    unsigned asked = 0;
    for (unsigned i = 0; i < n; i++) {
        steps[i] = random_step();
        if (!i) steps[i].barrier = false;
        asked += steps[i].barrier;
    }
    reset(b);
    for (int run = 0; run < 2; run++) {
        for (unsigned i = 0; i < n; i++) record(e, b, &steps[i]);
        OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
        save(b, want[run]);
    }
    for (int reorder = 0; reorder < 2; reorder++) {
        mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = reorder};
        mlxn_graph *graph = NULL;
        OK(mlxn_encoder_start_capture(e, &error));
        for (unsigned i = 0; i < n; i++) record(e, b, &steps[i]);
        OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
        mlxn_graph_info info = info_of(graph);
        unsigned least = reorder ? longest_chain(steps, n) : greedy_groups(steps, n);
        CHECK(info.groups == least && info.nodes == n, "reorder %d: %d groups of %d nodes, want %d", reorder,
              (int)info.groups, (int)info.nodes, (int)least);
        CHECK(info.barriers == least - 1, "%d barriers in %d groups, %d explicit", (int)info.barriers, (int)least,
              (int)asked);
        CHECK(reorder || info.moved == 0, "nothing moves in order");
        reset(b);
        for (int run = 0; run < 2; run++) {
            OK(mlxn_encoder_launch(e, graph));
            OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
            save(b, got);
            CHECK(!memcmp(got, want[run], sizeof got), "reorder %d, launch %d of %u nodes: bits differ", reorder, run,
                  n);
        }
        mlxn_graph_destroy(graph);
    }
    mlxn_encoder_destroy(e);
}

/* Sequences with nodes of unknown effect: derived, not run. */
static void test_fences(mlxn_device *device, mlxn_buffer *const *b) {
    mlxn_kernel *kernel = mlxn_alloc(sizeof *kernel);
    atomic_init(&kernel->refs, 1000000);
    kernel->name = kernel->label = "unknown";
    for (int round = 0; round < 60; round++) {
        step steps[MOST];
        unsigned n = 5 + next(MOST - 5);
        mlxn_encoder *e = NULL;
        OK(mlxn_encoder_create(device, &e, &error));
        OK(mlxn_encoder_start_capture(e, &error));
        for (unsigned i = 0; i < n; i++) {
            steps[i] = random_step();
            steps[i].barrier = false;
            steps[i].fence = next(15) == 0;
            if (!steps[i].fence) {
                record(e, b, &steps[i]);
                continue;
            }
            mlxn_kernel_launch *k = mlxn_list_alloc(&e->capture, sizeof *k + sizeof *k->bindings);
            *k = (mlxn_kernel_launch){.kernel = kernel, .n_bindings = 1, .bindings = (mlxn_kernel_binding *)(k + 1)};
            k->bindings[0] = (mlxn_kernel_binding){0, MLXN_KERNEL_UNKNOWN, {b[0], 0, 4}, NULL, 4};
            mlxn_list_add(&e->capture, MLXN_NODE_KERNEL)->u.kernel = k;
            CHECK(mlxn_list_keep_node(&e->capture, &e->capture.nodes[e->capture.count - 1]), "kept");
        }
        for (int reorder = 0; reorder < 2; reorder++) {
            mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = reorder};
            mlxn_graph *graph = NULL;
            if (reorder) OK(mlxn_graph_take(e, &desc, false, &graph, &error));
            if (!graph) continue;
            const mlxn_graph_source *source = graph->instance->source;
            CHECK(source->groups == longest_chain(steps, n), "%d groups, want %d", (int)source->groups,
                  (int)longest_chain(steps, n));
            for (unsigned i = 0; i < n; i++)
                for (unsigned k = 0; k < i; k++)
                    if (conflict(&steps[k], &steps[i]))
                        CHECK(source->level[k] < source->level[i] && source->place[k] < source->place[i],
                              "%u before %u", k, i);
            mlxn_graph_destroy(graph);
        }
        mlxn_encoder_destroy(e);
    }
    mlxn_free(kernel);
}

/* An explicit barrier where no conflict is: kept in order, dropped when reordered. */
static void test_explicit(mlxn_device *device, mlxn_buffer *const *b) {
    for (int reorder = 0; reorder < 2; reorder++) {
        mlxn_encoder *e = NULL;
        mlxn_graph *graph = NULL;
        OK(mlxn_encoder_create(device, &e, &error));
        mlxn_counters before, after;
        mlxn_counters_read(&before);
        OK(mlxn_encoder_start_capture(e, &error));
        mlxn_encoder_fill(e, b[0], 0, 4, 0);
        for (int i = 0; i < 3; i++) mlxn_encoder_barrier(e);
        mlxn_counters_read(&after);
        CHECK(after.barrier_count == before.barrier_count && after.barrier_total_ns == before.barrier_total_ns,
              "captured barriers are not counted as issued");
        mlxn_encoder_stats stats;
        mlxn_encoder_get_stats(e, &stats);
        CHECK(stats.barriers == 3, "but recorded: %d", (int)stats.barriers);
        mlxn_encoder_fill(e, b[1], 0, 4, 0);
        mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = reorder};
        OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
        mlxn_graph_info info = info_of(graph);
        CHECK(info.barriers == (reorder ? 0 : 3) && info.groups == (reorder ? 1 : 2), "%d barriers, %d groups",
              (int)info.barriers, (int)info.groups);
        mlxn_graph_destroy(graph);
        mlxn_encoder_destroy(e);
    }
}

static void test_gates(mlxn_device *device, mlxn_buffer *const *b) {
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = true};
    setenv("HF2Q_FORCE_SERIAL_DISPATCH", "1", 1);
    setenv("HF2Q_REORDER_DUMP", "1", 1);
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_encoder_start_capture(e, &error));
    for (int i = 0; i < 3; i++) mlxn_encoder_fill(e, b[i], 0, 4, 0);
    OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
    unsetenv("HF2Q_FORCE_SERIAL_DISPATCH");
    unsetenv("HF2Q_REORDER_DUMP");
    CHECK(info_of(graph).groups == 3 && info_of(graph).moved == 0, "serial: each alone");
    CHECK(strstr(log_line, "reorder: 3 nodes, 0 moved, 3 groups"), "%s", log_line);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    e = NULL;
    desc.struct_size = 0;
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_encoder_start_capture(e, &error));
    CHECK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error) == MLXN_ERR_ARGUMENT && !graph, "struct_size 0");
    desc = (mlxn_graph_desc){.struct_size = sizeof desc, .fuse = 3};
    CHECK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    mlxn_range range = {b[0], 4, 4 * ELEMENTS};
    desc = (mlxn_graph_desc){.struct_size = sizeof desc, .dead = &range, .n_dead = 1};
    CHECK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    OK(mlxn_encoder_take_capture_with(e, NULL, &graph, &error)); /* still capturing; nothing in it */
    OK(mlxn_encoder_launch(e, graph));
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    CHECK(info_of(graph).groups == 0 && info_of(graph).nodes == 0, "an empty graph");
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
}

/* 2,000 nodes on 2,000 ranges of one buffer: the time per node is that of 200. */
static void report_speed(mlxn_device *device) {
    mlxn_buffer *b = NULL;
    OK(mlxn_buffer_create(device, 64 * 2000, &b, &error));
    for (int n = 200; n <= 2000; n *= 10) {
        uint64_t best = UINT64_MAX;
        for (int run = 0; run < 10; run++) {
            mlxn_encoder *e = NULL;
            mlxn_graph *graph = NULL;
            mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = true};
            OK(mlxn_encoder_create(device, &e, &error));
            OK(mlxn_encoder_start_capture(e, &error));
            for (int i = 0; i < n; i++) mlxn_encoder_fill(e, b, 64 * (uint64_t)((i * 7) % n), 64, 1);
            uint64_t begun = mlxn_now_ns();
            OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
            uint64_t ns = mlxn_now_ns() - begun;
            if (ns < best) best = ns;
            mlxn_graph_destroy(graph);
            mlxn_encoder_destroy(e);
        }
        fprintf(stderr, "taking and reordering %d nodes: %.0f ns per node\n", n, (double)best / n);
    }
    mlxn_buffer_release(&b);
}

int main(void) {
    for (uint32_t threads = 1; threads <= 3; threads++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc, .threads = threads, .log = keep_line};
        mlxn_device *device = NULL;
        mlxn_buffer *b[BUFFERS];
        OK(mlxn_device_create(&desc, &device, &error));
        for (int i = 0; i < BUFFERS; i++) OK(mlxn_buffer_create(device, 4 * ELEMENTS, &b[i], &error));
        for (int round = 0; round < 150; round++) test_random(device, b, 1 + next(MOST - 1));
        test_fences(device, b);
        test_explicit(device, b);
        test_gates(device, b);
        if (threads == 1) report_speed(device);
        for (int i = 0; i < BUFFERS; i++) mlxn_buffer_release(&b[i]);
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
