/* runtime.c: what the runtime itself costs: recording, barriers, command buffers, events, residency, graph launches.
 * Figures that are a difference of two measurements are 0 where the difference is below the noise.
 *
 * Each figure is measured in 20 runs, of which median, minimum and spread ((max - min) / median) are printed, beside
 * the figure that the authors of the system that mlxn matches measured on their machine (Apple M5 Max, GPU). The
 * machines differ, so the comparison says what a program pays here and there, not which processor is faster.
 *
 * Usage: runtime [--json] [--threads N] */
#include <mlxn/mlxn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 20 };

static mlxn_device *cpu, *null_device;
static mlxn_error error;

static void must(mlxn_status status, const char *what) {
    if (status == MLXN_OK) return;
    fprintf(stderr, "runtime: %s: %s (%s)\n", what, error.message, mlxn_status_name(status));
    exit(1);
}
#define MUST(call) must(call, #call)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static mlxn_buffer *make(mlxn_device *device, uint64_t bytes) {
    mlxn_buffer *b = NULL;
    MUST(mlxn_buffer_create(device, bytes, &b, &error));
    return b;
}

static mlxn_encoder *encoder_of(mlxn_device *device) {
    mlxn_encoder *e = NULL;
    MUST(mlxn_encoder_create(device, &e, &error));
    return e;
}

/* ---- one run of each measurement: nanoseconds ---- */

/* Recording alone, hazards tracked: out[i] = a + b over rotating views, 2,000 dispatches in one command buffer. The
 * tracker begins a new group whenever a view comes round again. The first pass fills caches. */
static double encode_in_groups(int views) {
    enum { N = 2000, PASSES = 5 };
    mlxn_encoder *e = encoder_of(null_device);
    mlxn_buffer *a = make(null_device, 64), *b = make(null_device, 64),
                *out = make(null_device, 64 * (uint64_t)views);
    mlxn_tensor ta = mlxn_tensor_1d(a, 0, MLXN_F32, 4), tb = mlxn_tensor_1d(b, 0, MLXN_F32, 4);
    double sum = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double begun = now();
        for (int i = 0; i < N; i++)
            mlxn_elementwise_add(e, ta, tb, mlxn_tensor_1d(out, 64 * (uint64_t)(i % views), MLXN_F32, 4));
        if (pass) sum += (now() - begun) / N;
        MUST(mlxn_encoder_commit_and_wait(e, NULL, &error));
    }
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
    return sum / (PASSES - 1);
}
static double encode_one(void) { return encode_in_groups(500); }
static double encode_groups_of_8(void) { return encode_in_groups(8); }
static double encode_group_of_2000(void) { return encode_in_groups(2000); }

/* Time of 256 adds of `elements` elements in one command buffer, eight after each other into different memory, with
 * an explicit barrier behind every `apart` of them: the same memory and work whatever `apart` is. */
enum { ADDS = 256, SIDE_BY_SIDE = 8 };
static double run_adds(uint64_t elements, int apart) {
    mlxn_encoder *e = encoder_of(cpu);
    mlxn_buffer *a = make(cpu, 4 * elements), *out = make(cpu, 4 * elements * SIDE_BY_SIDE);
    mlxn_tensor ta = mlxn_tensor_1d(a, 0, MLXN_F32, elements);
    double best = 0;
    for (int pass = 0; pass < 6; pass++) {
        for (int i = 0; i < ADDS; i++) {
            uint64_t at = 4 * elements * (uint64_t)(i % SIDE_BY_SIDE);
            mlxn_elementwise_add(e, ta, ta, mlxn_tensor_1d(out, at, MLXN_F32, elements));
            if ((i + 1) % apart == 0) mlxn_encoder_barrier(e);
        }
        double begun = now();
        MUST(mlxn_encoder_commit_and_wait(e, NULL, &error));
        double time = now() - begun;
        if (pass == 1 || (pass > 1 && time < best)) best = time;
    }
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&out);
    return best;
}

/* What a barrier adds to the execution: 256 barriers between 256 operations against 32. An operation of 1024 elements
 * is one piece for one thread; one of 32768 elements is two, so that a barrier waits for both threads. */
static double barrier_of(uint64_t elements) {
    double apart = run_adds(elements, 1), together = run_adds(elements, SIDE_BY_SIDE);
    return apart > together ? (apart - together) / (ADDS - ADDS / SIDE_BY_SIDE) : 0;
}
static double barrier(void) { return barrier_of(1024); }
static double barrier_shared(void) { return barrier_of(32768); }

static double empty_async(mlxn_device *device) {
    enum { N = 2000 };
    mlxn_encoder *e = encoder_of(device);
    double time = 0;
    for (int pass = 0; pass < 2; pass++) {
        double begun = now();
        for (int i = 0; i < N; i++) MUST(mlxn_encoder_commit(e, NULL, &error));
        MUST(mlxn_encoder_wait_completed(e, &error));
        time = (now() - begun) / N;
    }
    mlxn_encoder_destroy(e);
    return time;
}
static double empty_async_cpu(void) { return empty_async(cpu); }

static double empty_blocking(void) {
    enum { N = 1000 };
    mlxn_encoder *e = encoder_of(cpu);
    double begun = now();
    for (int i = 0; i < N; i++) MUST(mlxn_encoder_commit_and_wait(e, NULL, &error));
    double time = (now() - begun) / N;
    mlxn_encoder_destroy(e);
    return time;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Command buffers that wait and signal, less empty ones: the median of batches in turns, so that a thread that
 * loses its processor spoils a batch and not the figure. */
static double signal_wait(void) {
    enum { N = 2000, BATCHES = 11 };
    mlxn_encoder *e = encoder_of(cpu);
    mlxn_timeline *t = NULL;
    MUST(mlxn_timeline_create(cpu, &t, &error));
    uint64_t value = 0;
    double more[BATCHES];
    for (int batch = 0; batch < BATCHES; batch++) {
        double begun = now();
        for (int i = 0; i < N; i++) {
            MUST(mlxn_encoder_wait(e, t, value));
            MUST(mlxn_encoder_signal(e, t, ++value));
            MUST(mlxn_encoder_commit(e, NULL, &error));
        }
        MUST(mlxn_encoder_wait_completed(e, &error));
        double between = now();
        for (int i = 0; i < N; i++) MUST(mlxn_encoder_commit(e, NULL, &error));
        MUST(mlxn_encoder_wait_completed(e, &error));
        more[batch] = (between - begun - (now() - between)) / N;
    }
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&t);
    qsort(more, BATCHES, sizeof *more, compare);
    return more[BATCHES / 2] > 0 ? more[BATCHES / 2] : 0;
}

static double residency(void) {
    enum { N = 20000 };
    mlxn_session *s = NULL;
    mlxn_buffer *b = make(cpu, 64);
    MUST(mlxn_session_create(cpu, &s, &error));
    double begun = now();
    for (int i = 0; i < N; i++) {
        mlxn_session_remove_from_residency_set(s, b);
        mlxn_session_add_to_residency_set(s, b);
    }
    double time = (now() - begun) / N;
    mlxn_session_destroy(s);
    mlxn_buffer_release(&b);
    return time;
}

/* A session of three stages, each with one small operation, from create to destroy: per stage. */
static double session_stage(void) {
    enum { N = 300 };
    mlxn_buffer *a = make(cpu, 64);
    mlxn_tensor t = mlxn_tensor_1d(a, 0, MLXN_F32, 4);
    double begun = now();
    for (int i = 0; i < N; i++) {
        mlxn_session *s = NULL;
        MUST(mlxn_session_create(cpu, &s, &error));
        for (int stage = 0; stage < 3; stage++) {
            MUST(mlxn_elementwise_add(mlxn_session_encoder(s), t, t, t));
            if (stage == 2) break;
            MUST(mlxn_session_fence_stage(s, NULL, &error));
            MUST(mlxn_session_reset_for_next_stage(s, &error));
        }
        MUST(mlxn_session_commit_and_wait(s, &error));
        mlxn_session_destroy(s);
    }
    double time = (now() - begun) / (3 * N);
    mlxn_buffer_release(&a);
    return time;
}

/* A graph of 1,000 small operations on the CPU device: out[i] = scale * x[i], each patched, then launched. */
enum { NODES = 1000 };
typedef struct graph_run {
    double record, patch, launch; /* nanoseconds per node */
} graph_run;

static graph_run run_graph(bool arguments) {
    mlxn_buffer *x = make(cpu, 64 * NODES), *out = make(cpu, 64 * NODES);
    mlxn_encoder *e = encoder_of(cpu);
    mlxn_graph *graph = NULL;
    graph_run r = {0};
    enum { PASSES = 4 };
    for (int pass = 0; pass < PASSES; pass++) { /* recorded and run without a graph */
        double begun = now();
        for (uint64_t i = 0; i < NODES; i++) {
            mlxn_scalar_mul_params p = {2};
            mlxn_scalar_mul(e, mlxn_tensor_1d(x, 64 * i, MLXN_F32, 4), mlxn_tensor_1d(out, 64 * i, MLXN_F32, 4), &p);
        }
        MUST(mlxn_encoder_commit_and_wait(e, NULL, &error));
        if (pass) r.record += (now() - begun) / NODES / (PASSES - 1);
    }
    MUST(mlxn_encoder_start_capture(e, &error));
    for (uint64_t i = 0; i < NODES; i++) {
        mlxn_scalar_mul_params p = {2};
        mlxn_scalar_mul(e, mlxn_tensor_1d(x, 64 * i, MLXN_F32, 4), mlxn_tensor_1d(out, 64 * i, MLXN_F32, 4), &p);
    }
    MUST(mlxn_encoder_take_capture(e, &graph, &error));
    for (int pass = 0; pass < PASSES; pass++) {
        double begun = now();
        for (uint64_t i = 0; i < NODES; i++) {
            if (arguments) {
                mlxn_tensor other = mlxn_tensor_1d(x, 64 * i + (pass & 1 ? 16 : 0), MLXN_F32, 4);
                MUST(mlxn_graph_set_argument(graph, i, 0, &other, &error));
            } else {
                mlxn_scalar_mul_params p = {(float)pass};
                MUST(mlxn_graph_set_params(graph, i, &p, sizeof p, &error));
            }
        }
        double patched = now();
        MUST(mlxn_encoder_launch(e, graph));
        MUST(mlxn_encoder_commit_and_wait(e, NULL, &error));
        double ended = now();
        if (!pass) continue;
        r.patch += (patched - begun) / NODES / (PASSES - 1);
        r.launch += (ended - patched) / NODES / (PASSES - 1);
    }
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&out);
    return r;
}

static double graph_record(void) { return run_graph(false).record; }
static double graph_patch(void) { return run_graph(false).patch; }
static double graph_launch(void) { return run_graph(false).launch; }
static double graph_patch_argument(void) { return run_graph(true).patch; }
static double graph_launch_argument(void) { return run_graph(true).launch; }

enum { OPS = 120 };

static double ops_blocking(void) {
    mlxn_buffer *a = make(cpu, 4096), *b = make(cpu, 4096), *o = make(cpu, 4096);
    mlxn_tensor ta = mlxn_tensor_1d(a, 0, MLXN_F32, 1024), tb = mlxn_tensor_1d(b, 0, MLXN_F32, 1024),
                to = mlxn_tensor_1d(o, 0, MLXN_F32, 1024);
    mlxn_encoder *e = encoder_of(cpu);
    double begun = now();
    for (int i = 0; i < OPS; i++) {
        MUST(mlxn_elementwise_add(e, ta, tb, to));
        MUST(mlxn_encoder_commit_and_wait(e, NULL, &error));
    }
    double time = now() - begun;
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&o);
    return time;
}

static double ops_together(void) {
    mlxn_buffer *a = make(cpu, 4096), *b = make(cpu, 4096), *o = make(cpu, 4096);
    mlxn_tensor ta = mlxn_tensor_1d(a, 0, MLXN_F32, 1024), tb = mlxn_tensor_1d(b, 0, MLXN_F32, 1024),
                to = mlxn_tensor_1d(o, 0, MLXN_F32, 1024);
    mlxn_encoder *e = encoder_of(cpu);
    double begun = now();
    for (int i = 0; i < OPS; i++) MUST(mlxn_elementwise_add(e, ta, tb, to));
    MUST(mlxn_encoder_commit_and_wait(e, NULL, &error));
    double time = now() - begun;
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&o);
    return time;
}

/* ---- the table ---- */

typedef struct row {
    const char *name;
    double (*measure)(void);
    double theirs, target; /* nanoseconds; 0 = none */
    double values[RUNS];
} row;

static row rows[] = {
    {"encode a dispatch, hazards tracked (null)", encode_one, 160, 100, {0}},
    {"encode a dispatch in groups of 8 (null)", encode_groups_of_8, 160, 100, {0}},
    {"encode a dispatch in one group of 2,000 (null)", encode_group_of_2000, 160, 100, {0}},
    {"barrier, operations of one thread (cpu)", barrier, 7700, 500, {0}},
    {"barrier, operations of all threads (cpu)", barrier_shared, 7700, 500, {0}},
    {"empty command buffer, asynchronous (cpu)", empty_async_cpu, 1650, 1000, {0}},
    {"empty command buffer, blocking (cpu)", empty_blocking, 13300, 8000, {0}},
    {"event signal + wait pair (cpu)", signal_wait, 1250, 500, {0}},
    {"residency remove + add (cpu)", residency, 2790, 200, {0}},
    {"session stage with one operation (cpu)", session_stage, 0, 0, {0}},
    {"1,000 operations recorded and run, per operation (cpu)", graph_record, 0, 0, {0}},
    {"graph of 1,000 nodes: patch parameters, per node (cpu)", graph_patch, 0, 0, {0}},
    {"graph of 1,000 nodes: launch after it, per node (cpu)", graph_launch, 0, 0, {0}},
    {"graph of 1,000 nodes: patch an argument, per node (cpu)", graph_patch_argument, 0, 0, {0}},
    {"graph of 1,000 nodes: launch after it, barriers anew, per node (cpu)", graph_launch_argument, 0, 0, {0}},
    {"120 operations, a blocking command buffer each (cpu)", ops_blocking, 18016000, 0, {0}},
    {"120 operations in one command buffer (cpu)", ops_together, 383000, 0, {0}},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static double median(const row *r) { return (r->values[RUNS / 2 - 1] + r->values[RUNS / 2]) / 2; }

static const char *time_text(double ns, char out[32]) {
    if (ns < 1000)
        snprintf(out, 32, "%.0f ns", ns);
    else if (ns < 1e6)
        snprintf(out, 32, "%.2f us", ns / 1e3);
    else
        snprintf(out, 32, "%.2f ms", ns / 1e6);
    return out;
}

static void print_text(uint32_t threads) {
    char a[32], b[32], c[32], d[32];
    printf(
        "mlxn %s, cpu device with %u threads; medians of %d runs. \"theirs\": Apple M5 Max, its authors' "
        "figures.\n\n",
        mlxn_version(), threads, RUNS);
    printf("| what | median | minimum | spread | theirs | aim |\n|---|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        double m = median(r), spread = m > 0 ? (r->values[RUNS - 1] - r->values[0]) / m : 0;
        printf("| %s | %s | %s | %.0f %% | %s | %s%s |\n", r->name, time_text(m, a), time_text(r->values[0], b),
               100 * spread, r->theirs > 0 ? time_text(r->theirs, c) : "-", r->target > 0 ? "<= " : "-",
               r->target > 0 ? time_text(r->target, d) : "");
    }
    double apart = median(&rows[N_ROWS - 2]), together = median(&rows[N_ROWS - 1]);
    printf("\n120 blocking command buffers take %.1f times as long as one with 120 operations (theirs: 47 times).\n",
           together > 0 ? apart / together : 0);
}

static void print_json(uint32_t threads) {
    printf("{\"version\":\"%s\",\"threads\":%u,\"runs\":%d,\"unit\":\"ns\",\"rows\":[", mlxn_version(), threads,
           RUNS);
    for (int i = 0; i < N_ROWS; i++)
        printf("%s\n{\"name\":\"%s\",\"median\":%.1f,\"min\":%.1f,\"max\":%.1f,\"theirs\":%.0f,\"target\":%.0f}",
               i ? "," : "", rows[i].name, median(&rows[i]), rows[i].values[0], rows[i].values[RUNS - 1],
               rows[i].theirs, rows[i].target);
    printf("]}\n");
}

int main(int argc, char **argv) {
    bool json = false;
    mlxn_device_desc desc = {.struct_size = sizeof desc};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json")) {
            json = true;
        } else if (!strcmp(argv[i], "--threads") && i + 1 < argc) {
            desc.threads = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: runtime [--json] [--threads N]\n");
            return 2;
        }
    }
    MUST(mlxn_device_create(&desc, &cpu, &error));
    desc = (mlxn_device_desc){.struct_size = sizeof desc, .backend = "null", .no_stream = true};
    MUST(mlxn_device_create(&desc, &null_device, &error));
    /* Rows take turns, so that a disturbance of the machine does not hit one alone. */
    for (int run = 0; run < RUNS; run++)
        for (int i = 0; i < N_ROWS; i++) rows[i].values[run] = rows[i].measure();
    for (int i = 0; i < N_ROWS; i++) qsort(rows[i].values, RUNS, sizeof(double), compare);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(cpu, &info);
    (json ? print_json : print_text)(info.threads);
    mlxn_device_release(&cpu);
    mlxn_device_release(&null_device);
    return 0;
}
