/* Promise: every environment variable of the table changes what its row says, and nothing less than its rule turns it
 * on: a flag is on at "1" alone, a switch at any value but 0, false and off. What is read once per process stays as
 * it was first read; the rest follows the environment. mlxn_gate_list tells name, value, effect and meaning of each,
 * and docs/ENVIRONMENT.md has them all. */
#include <math.h>
#include <mlxn/mlxn.h>
#include <unistd.h>

#include "core/core.h"
#include "core/profile.h"
#include "test.h"

static mlxn_error error;
#define OK(call) CHECK((call) == MLXN_OK, "%s: %s", #call, error.message)

/* ---- what a gate changes ---- */

static char log_text[4096];
static void on_log(void *user, const char *line) {
    size_t used = strlen(log_text);
    snprintf(log_text + used, sizeof log_text - used, "%s\n", line);
}

typedef struct stand {
    mlxn_device *device;
    mlxn_encoder *e;
    mlxn_buffer *a, *b;
} stand;

static void set_up(stand *s) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = "null", .log = on_log};
    *s = (stand){0};
    log_text[0] = 0;
    OK(mlxn_device_create(&desc, &s->device, &error));
    OK(mlxn_buffer_create(s->device, 256, &s->a, &error));
    OK(mlxn_buffer_create(s->device, 256, &s->b, &error));
    OK(mlxn_encoder_create(s->device, &s->e, &error));
}

static void tear_down(stand *s) {
    mlxn_encoder_destroy(s->e);
    mlxn_buffer_release(&s->a);
    mlxn_buffer_release(&s->b);
    mlxn_device_release(&s->device);
}

/* Adds of a buffer to itself: two of them depend on each other if they name the same. */
static mlxn_status add(const stand *s, mlxn_buffer *b) {
    mlxn_tensor t = mlxn_tensor_1d(b, 0, MLXN_F32, 64);
    return mlxn_elementwise_add(s->e, t, t, t);
}

static bool sees_session(stand *s) {
    mlxn_session *session = NULL;
    OK(mlxn_device_encoder_session(s->device, &session, &error));
    bool seen = session != NULL;
    CHECK(seen == mlxn_session_env_enabled(), "the query agrees");
    mlxn_session_destroy(session);
    return seen;
}

static bool sees_no_residency(stand *s) { return !mlxn_device_residency_sets_enabled(s->device); }

static bool sees_auto_barrier(stand *s) {
    mlxn_counters before, after;
    mlxn_counters_read(&before);
    mlxn_tensor t = mlxn_tensor_1d(s->a, 0, MLXN_F32, 64);
    mlxn_arg args[] = {{.tensor = &t}, {.tensor = &t}, {.tensor = &t}};
    for (int i = 0; i < 2; i++) OK(mlxn_encode_tracked(s->e, mlxn_op_find("elementwise_add"), args, 3, NULL, 0));
    mlxn_counters_read(&after);
    uint64_t barriers = after.auto_barrier_count - before.auto_barrier_count;
    uint64_t none = after.auto_barrier_concurrent_count - before.auto_barrier_concurrent_count;
    CHECK(barriers == none && barriers < 2, "%d, %d", (int)barriers, (int)none);
    return barriers;
}

static bool sees_serial(stand *s) {
    mlxn_encoder_stats stats;
    OK(add(s, s->a));
    OK(add(s, s->b));
    mlxn_encoder_get_stats(s->e, &stats);
    return stats.barriers == 1;
}

static bool sees_unretained(stand *s) {
    OK(add(s, s->a));
    return mlxn_buffer_refs_of(atomic_load(&s->a->counts)) == 1; /* the handle alone */
}

static bool sees_barrier_time(stand *s) {
    mlxn_counters c;
    OK(add(s, s->a));
    for (int i = 0; i < 1000; i++) mlxn_encoder_barrier(s->e);
    mlxn_encoder_counters(s->e, &c);
    CHECK(c.barrier_count == 1000, "%d barriers", (int)c.barrier_count);
    return c.barrier_total_ns > 0;
}

static bool sees_cb_rows(stand *s) {
    mlxn_profile_cb_entry row;
    OK(add(s, s->a));
    OK(mlxn_encoder_commit_and_wait(s->e, "stage", &error));
    bool seen = mlxn_profile_cb_row(0, &row) && !strcmp(row.label, "stage");
    mlxn_profile_cb_reset();
    mlxn_profile_dispatch_reset();
    return seen;
}

static bool sees_dispatch_rows(stand *s) {
    mlxn_profile_dispatch_entry row;
    OK(add(s, s->a));
    OK(mlxn_encoder_commit_and_wait(s->e, "stage", &error));
    bool seen = mlxn_profile_dispatch_row(0, &row) && !strcmp(row.op, "elementwise_add");
    mlxn_profile_cb_reset();
    mlxn_profile_dispatch_reset();
    return seen;
}

/* A graph session with a kernel whose role nobody knows, finished with everything on. */
static void run_graph_session(stand *s) {
    mlxn_executor *executor = NULL;
    mlxn_graph_session *session = NULL;
    mlxn_registry *registry = NULL;
    mlxn_kernel *kernel = NULL;
    OK(mlxn_registry_create(s->device, &registry, &error));
    OK(mlxn_registry_register_source(registry, "k", "k", &error));
    OK(mlxn_registry_get(registry, "k", NULL, 0, &kernel, &error));
    OK(mlxn_executor_create(s->device, &executor, &error));
    OK(mlxn_executor_begin_recorded(executor, &session, &error));
    mlxn_kernel_arg arg = {.buffer = s->a};
    OK(mlxn_encode_kernel(mlxn_graph_session_encoder(session), kernel, &arg, 1, &(mlxn_kernel_grid){.size = {1}}));
    mlxn_finish_options options = {.struct_size = sizeof options, .fuse = MLXN_FUSE_ALL, .reorder = true};
    OK(mlxn_graph_session_finish(&session, &options, NULL, &error));
    mlxn_executor_destroy(executor);
    mlxn_kernel_release(&kernel);
    mlxn_registry_destroy(registry);
}

static char trace[64];
static bool sees_trace(stand *s) {
    mlxn_capture_reset_latch();
    run_graph_session(s);
    bool seen = !access(trace, F_OK);
    unlink(trace);
    return seen;
}

static bool sees_log_of_sessions(stand *s, const char *text) {
    run_graph_session(s);
    return strstr(log_text, text) != NULL;
}
static bool sees_reorder_line(stand *s) { return sees_log_of_sessions(s, "mlxn: reorder: "); }
static bool sees_timing_line(stand *s) {
    return sees_log_of_sessions(s, "1 of 1 dispatches have arguments of unknown");
}
static bool sees_diagnosis(stand *s) { return sees_log_of_sessions(s, "replay and wait"); }

static bool sees_init_line(stand *s) { return strstr(log_text, ": residency on") != NULL; }
static bool sees_probe(stand *s) { return strstr(log_text, ": matrix instructions: none") != NULL; }

static bool sees_registrations(stand *s) {
    mlxn_pool *pool = NULL;
    mlxn_buffer *b = NULL;
    OK(mlxn_pool_create(s->device, &pool, &error));
    OK(mlxn_pool_alloc(pool, 10, &b, &error));
    mlxn_buffer_release(&b);
    mlxn_pool_destroy(pool);
    return strstr(log_text, "mlxn: pool registration") != NULL;
}

/* Attention over a TurboQuant cache, 700 keys of 64: the sums of parts are merged in other places for other numbers
 * of parts, so that the last bits differ and nothing else does. */
static void attend(float out[64]) {
    enum { KEYS = 700, D = 64, ROW = 4 + D };
    mlxn_device *device = NULL;
    mlxn_encoder *e = NULL;
    mlxn_buffer *b = NULL;
    OK(mlxn_device_create(NULL, &device, &error));
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_buffer_create(device, KEYS * ROW + 8 * D + 8, &b, &error));
    uint8_t *cache = mlxn_buffer_contents(b);
    float *q = (float *)(void *)(cache + KEYS * ROW), x[D];
    uint32_t *where = (uint32_t *)(void *)(q + 2 * D), state = 1;
    for (int i = 0; i < KEYS + 1; i++) {
        for (int k = 0; k < D; k++) x[k] = (float)((state = state * 1664525u + 1013904223u) >> 16) / 32768 - 1;
        if (i < KEYS) OK(mlxn_kv_encode_row(MLXN_KV_TQ8, x, D, cache + i * ROW, ROW, &error));
    }
    memcpy(q, x, sizeof x);
    where[0] = 0;
    where[1] = KEYS - 1;
    mlxn_tensor keys = mlxn_tensor_4d(b, 0, MLXN_U8, 1, 1, KEYS, ROW), none = {0};
    uint64_t at = KEYS * ROW;
    mlxn_attention_params p = {.scale = 0.5f, .k_type = MLXN_KV_TQ8, .v_type = MLXN_KV_TQ8};
    OK(mlxn_attention(e, mlxn_tensor_3d(b, at, MLXN_F32, 1, 1, D), keys, keys,
                      mlxn_tensor_1d(b, at + 8 * D, MLXN_U32, 1), mlxn_tensor_1d(b, at + 8 * D + 4, MLXN_U32, 1),
                      none, none, mlxn_tensor_3d(b, at + 4 * D, MLXN_F32, 1, 1, D), &p));
    OK(mlxn_encoder_commit_and_wait(e, "attend", &error));
    memcpy(out, q + D, D * 4);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&b);
    mlxn_device_release(&device);
}

/* ---- the table ---- */

typedef enum kind { FLAG, SWITCH, INTEGER, TEXT } kind;
static const struct row {
    const char *name;
    kind kind;
    bool once;
    bool (*sees)(stand *s); /* does the device show the effect? NULL: nothing of this build reads it */
    int64_t normal, low, high;
    const char *companion; /* must be 1 as well */
} table[] = {
    {"HF2Q_ENCODER_SESSION", FLAG, true, sees_session, 0, 0, 0, NULL},
    {"HF2Q_NO_RESIDENCY", FLAG, true, sees_no_residency, 0, 0, 0, NULL},
    {"HF2Q_AUTO_BARRIER", FLAG, true, sees_auto_barrier, 0, 0, 0, NULL},
    {"HF2Q_FORCE_SERIAL_DISPATCH", FLAG, false, sees_serial, 0, 0, 0, NULL},
    {"MLX_UNRETAINED_REFS", FLAG, true, sees_unretained, 0, 0, 0, NULL},
    {"MLX_PROFILE_BARRIERS", FLAG, true, sees_barrier_time, 0, 0, 0, NULL},
    {"MLX_PROFILE_CB", SWITCH, true, sees_cb_rows, 0, 0, 0, NULL},
    {"MLX_PROFILE_DISPATCH", SWITCH, true, sees_dispatch_rows, 0, 0, 0, NULL},
    {"MLX_METAL_CAPTURE", TEXT, false, sees_trace, 0, 0, 0, "METAL_CAPTURE_ENABLED"},
    {"METAL_CAPTURE_ENABLED", FLAG, false, sees_trace, 0, 0, 0, NULL},
    {"MLX_NATIVE_LOG_INIT", FLAG, false, sees_init_line, 0, 0, 0, NULL},
    {"HF2Q_PROFILE_RESIDENCY_ABORT", SWITCH, false, sees_registrations, 0, 0, 0, NULL},
    {"HF2Q_REORDER_DUMP", SWITCH, false, sees_reorder_line, 0, 0, 0, NULL},
    {"HF2Q_MLX_TIMING", SWITCH, false, sees_timing_line, 0, 0, 0, NULL},
    {"HF2Q_GRAPH_DIAG", SWITCH, false, sees_diagnosis, 0, 0, 0, NULL},
    {"MLX_LOG_TENSOR_PROBE", SWITCH, false, sees_probe, 0, 0, 0, NULL},
    {"HF2Q_DISABLE_TENSOR_MM_ID", SWITCH, true, NULL, 0, 0, 0, NULL},
    {"HF2Q_MM_ID_ROUTING_THRESHOLD", INTEGER, true, NULL, 8, 0, INT32_MAX, NULL},
    {"HF2Q_TQ_NWG", INTEGER, true, NULL, 0, 1, 32, NULL},
};

static void set(const char *name, const char *value) {
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static void forget(void) {
    mlxn_gates_forget();
    mlxn_profile_forget_gates();
}

static bool sees(const struct row *row) {
    stand s;
    set_up(&s);
    bool seen = row->sees(&s);
    tear_down(&s);
    return seen;
}

static void check(uint32_t i, const char *value, bool want) {
    const struct row *row = &table[i];
    mlxn_gate_info info = {0};
    set(row->name, value);
    forget();
    CHECK(mlxn_gate_list(i, &info), "%s is listed", row->name);
    CHECK(!strcmp(info.name, row->name), "row %u is %s, want %s", i, info.name, row->name);
    CHECK(value ? info.value && !strcmp(info.value, value) : !info.value, "value of %s", row->name);
    CHECK(info.on == want, "%s=%s: listed as %s", row->name, value ? value : "(unset)", info.on ? "on" : "off");
    CHECK(info.meaning && strlen(info.meaning) > 20, "%s has a meaning", row->name);
    if (row->sees)
        CHECK(sees(row) == want, "%s=%s: want %s", row->name, value ? value : "(unset)", want ? "on" : "off");
}

static void test_flag(uint32_t i) {
    check(i, "1", true);
    const char *off[] = {NULL, "0", "", "2", "11", "on", "true", " 1"};
    for (size_t k = 0; k < sizeof off / sizeof *off; k++) check(i, off[k], false);
}

static void test_switch(uint32_t i) {
    const char *on[] = {"1", "", "on", "yes", "00"}, *off[] = {NULL, "0", "false", "off", "FALSE", "Off"};
    for (size_t k = 0; k < sizeof on / sizeof *on; k++) check(i, on[k], true);
    for (size_t k = 0; k < sizeof off / sizeof *off; k++) check(i, off[k], false);
}

static void test_integer(uint32_t i) {
    const struct row *row = &table[i];
    const struct {
        const char *text;
        int64_t value;
    } cases[] = {{NULL, row->normal},
                 {"", row->normal},
                 {"x", row->normal},
                 {"3x", row->normal},
                 {"-1", row->normal},
                 {"99999999999999999999", row->normal},
                 {"3", 3},
                 {"17", 17}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        check(i, cases[k].text, cases[k].value != row->normal);
        CHECK(mlxn_gate_integer((mlxn_gate)i) == cases[k].value, "%s=%s is %d", row->name,
              cases[k].text ? cases[k].text : "(unset)", (int)mlxn_gate_integer((mlxn_gate)i));
    }
    char text[32];
    for (int side = 0; side < 2; side++) {
        int64_t edge = side ? row->high : row->low, beyond = side ? edge + 1 : edge - 1;
        snprintf(text, sizeof text, "%lld", (long long)edge);
        check(i, text, true);
        CHECK(mlxn_gate_integer((mlxn_gate)i) == edge, "%s may be %s", row->name, text);
        snprintf(text, sizeof text, "%lld", (long long)beyond);
        check(i, text, false);
    }
}

static void test_text(uint32_t i) {
    check(i, trace, true);
    check(i, "", false);
    check(i, NULL, false);
}

/* Without forgetting, what is read once stays, and what is not follows. */
static void test_once(uint32_t i) {
    const struct row *row = &table[i];
    if (!row->sees || row->kind == TEXT) return;
    set(row->name, NULL);
    forget();
    CHECK(!sees(row), "%s is off", row->name);
    set(row->name, "1");
    CHECK(sees(row) == !row->once, "%s is read %s", row->name, row->once ? "once" : "each time");
    set(row->name, NULL);
}

static void test_document(void) {
    static char text[32768];
    FILE *f = fopen("docs/ENVIRONMENT.md", "rb");
    CHECK(f != NULL, "docs/ENVIRONMENT.md");
    if (!f) return;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    CHECK(n < sizeof text - 1, "it fits");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char row[80];
        snprintf(row, sizeof row, "\n| `%s` |", table[i].name);
        CHECK(strstr(text, row) != NULL, "docs/ENVIRONMENT.md lacks %s", table[i].name);
    }
}

/* The kernel that an expert-routed product of `rows` rows takes. */
static void product(uint32_t rows, char name[64], float out[16 * 32]) {
    enum { K = 32, EXPERTS = 2 };
    mlxn_device *device = NULL;
    mlxn_encoder *e = NULL;
    mlxn_buffer *b = NULL;
    mlxn_weight *w = NULL;
    mlxn_profiler *profiler = NULL;
    mlxn_profiler_desc desc = {.struct_size = sizeof desc};
    OK(mlxn_device_create(NULL, &device, &error));
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_buffer_create(device, 4 * (EXPERTS * K * K + 16 * K * 2 + 16), &b, &error));
    float *data = mlxn_buffer_contents(b);
    for (int i = 0; i < EXPERTS * K * K + 16 * K; i++) data[i] = (float)(i % 23) / 16 - 0.5f;
    uint64_t x = 4 * EXPERTS * K * K, y = x + 4 * 16 * K, ids = y + 4 * 16 * K;
    for (uint32_t i = 0; i < rows; i++) ((uint32_t *)(void *)((char *)data + ids))[i] = i * 5 % 3 % EXPERTS;
    OK(mlxn_weight_create(device,
                          &(mlxn_weight_desc){.struct_size = sizeof(mlxn_weight_desc),
                                              .format = MLXN_FORMAT_F32,
                                              .rows = K,
                                              .cols = K,
                                              .experts = EXPERTS,
                                              .data = b},
                          &w, &error));
    OK(mlxn_profiler_create(device, &desc, &profiler, &error));
    OK(mlxn_profiler_start(profiler, &error));
    OK(mlxn_matmul_id(e, mlxn_tensor_2d(b, x, MLXN_F32, rows, K), w, mlxn_tensor_1d(b, ids, MLXN_U32, rows),
                      (mlxn_tensor){0}, mlxn_tensor_2d(b, y, MLXN_F32, rows, K)));
    OK(mlxn_encoder_commit_and_wait(e, "product", &error));
    memcpy(out, (char *)data + y, rows * K * 4);
    mlxn_profile_row row = {0};
    CHECK(mlxn_profiler_rows(profiler, MLXN_PROFILE_BY_KERNEL, &row, 1) == 1, "one kernel ran");
    snprintf(name, 64, "%s", row.kernel ? row.kernel : "");
    mlxn_profiler_destroy(profiler);
    mlxn_weight_release(&w);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&b);
    mlxn_device_release(&device);
}

static void test_routing(void) {
    static const struct {
        const char *value;
        uint32_t rows;
        bool each;
    } cases[] = {{NULL, 7, true},  {NULL, 8, false},  {"0", 1, false},
                 {"12", 11, true}, {"12", 12, false}, {"x", 7, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        float got[16 * 32], want[16 * 32];
        set("HF2Q_MM_ID_ROUTING_THRESHOLD", cases[i].value);
        forget();
        product(cases[i].rows, name, got);
        CHECK(!strncmp(name, "matmul_id", 9) && (strstr(name, "_each_") != NULL) == cases[i].each,
              "threshold %s, %u rows: %s", cases[i].value ? cases[i].value : "unset", cases[i].rows, name);
        set("HF2Q_MM_ID_ROUTING_THRESHOLD", cases[i].each ? "0" : "1000");
        forget();
        product(cases[i].rows, name, want);
        CHECK(!memcmp(got, want, cases[i].rows * 32 * 4), "threshold %s: other bits",
              cases[i].value ? cases[i].value : "unset");
    }
    set("HF2Q_MM_ID_ROUTING_THRESHOLD", NULL);
    forget();
}

static void test_parts(void) {
    float usual[64], one[64], many[64], off[64];
    set("HF2Q_TQ_NWG", NULL);
    forget();
    attend(usual);
    set("HF2Q_TQ_NWG", "1");
    forget();
    attend(one);
    set("HF2Q_TQ_NWG", "32");
    forget();
    attend(many);
    set("HF2Q_TQ_NWG", "0");
    forget();
    attend(off);
    set("HF2Q_TQ_NWG", NULL);
    forget();
    CHECK(memcmp(usual, one, sizeof one) && memcmp(one, many, sizeof one), "the number of parts changes nothing");
    CHECK(!memcmp(usual, off, sizeof off), "HF2Q_TQ_NWG=0 is not off");
    for (int i = 0; i < 64; i++)
        CHECK(fabsf(usual[i] - one[i]) < 1e-5f && fabsf(usual[i] - many[i]) < 1e-5f, "%d: %g, %g, %g", i,
              (double)usual[i], (double)one[i], (double)many[i]);
}

int main(void) {
    snprintf(trace, sizeof trace, "/tmp/mlxn-gates-%d.json", (int)getpid());
    uint32_t rows = sizeof table / sizeof *table;
    CHECK(rows == MLXN_GATE_COUNT && !mlxn_gate_list(rows, NULL), "the table has %u rows, the library %d", rows,
          MLXN_GATE_COUNT);
    for (uint32_t i = 0; i < rows; i++) set(table[i].name, NULL);
    for (uint32_t i = 0; i < rows; i++) {
        static void (*const tests[])(uint32_t) = {test_flag, test_switch, test_integer, test_text};
        if (table[i].companion) set(table[i].companion, "1");
        if (i == MLXN_GATE_CAPTURE_ENABLED) set("MLX_METAL_CAPTURE", trace);
        tests[table[i].kind](i);
        test_once(i);
        set(table[i].name, NULL);
        if (table[i].companion) set(table[i].companion, NULL);
        set("MLX_METAL_CAPTURE", NULL);
    }
    test_parts();
    test_routing();
    test_document();
    return TEST_DONE();
}
