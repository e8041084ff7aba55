/* Promise: temporaries compute what separate buffers compute, in graphs of any shape, fused or not, reordered or not,
 * and after patches. Two of them share bytes only when no group lies within the lives of both; they do share. What is
 * not meant for them is an error of STATE that says so. */
#include <mlxn/mlxn.h>

#include "base/base.h"
#include "core/graph.h"
#include "test.h"

#define OK(call) CHECK((call) == MLXN_OK, "%s", error.message)

enum { ELEMENTS = 40, MOST = 60 };

static mlxn_error error;
static mlxn_device *device;

static unsigned long long state = 99;
static unsigned next(unsigned n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % n;
}

static mlxn_buffer *make(uint64_t n) {
    mlxn_buffer *b = NULL;
    OK(mlxn_buffer_create(device, 4 * n, &b, &error));
    for (uint64_t i = 0; i < n; i++) ((float *)mlxn_buffer_contents(b))[i] = 0.5f + (float)(i % 17) / 16;
    return b;
}

static mlxn_tensor row(mlxn_buffer *b) { return mlxn_tensor_2d(b, 0, MLXN_F32, 1, ELEMENTS); }

/* A random program over values: value 0 is the input, step i makes value i + 1 of two earlier ones. `values` holds
 * the buffer of each; the last goes to `out`, and so does any that the program picks. */
static void record(mlxn_encoder *e, mlxn_buffer **values, unsigned n, unsigned seed, mlxn_buffer *out) {
    unsigned long long before = state;
    state = seed;
    for (unsigned i = 1; i <= n; i++) {
        mlxn_tensor a = row(values[next(i)]), b = row(values[i - 1 - next(i < 4 ? i : 4)]), c = row(values[i]);
        switch (next(6)) {
            case 0:
                mlxn_elementwise_mul(e, a, b, c);
                break;
            case 1:
                mlxn_rms_norm(e, a, (mlxn_tensor){0}, c, &(mlxn_rms_norm_params){1e-5f});
                break;
            case 2:
                mlxn_silu(e, b, c);
                break;
            case 3:
                mlxn_encoder_copy(e, a.buffer, 0, c.buffer, 0, 4 * ELEMENTS);
                break;
            case 4:
                mlxn_encoder_fill(e, c.buffer, 0, 4 * ELEMENTS, 0x3e);
                break;
            default:
                mlxn_elementwise_add(e, a, b, c);
        }
        if (next(9) == 0 || i == n) {
            uint64_t at = 4 * ELEMENTS * (i % 8);
            mlxn_encoder_copy(e, values[i], 0, out, at, 4 * ELEMENTS);
        }
    }
    state = before;
}

/* No two lives that meet share bytes. */
static void check_places(const mlxn_graph *graph) {
    const mlxn_graph_source *s = graph->instance->source;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->n_temporaries; i++) {
        const mlxn_temporary *a = &s->temporaries[i];
        if (!a->first) continue;
        sum += (a->buffer->size + 63) / 64 * 64;
        CHECK(a->offset % 64 == 0 && a->offset + a->buffer->size <= s->arena->size, "place of %u", i);
        for (uint32_t k = 0; k < i; k++) {
            const mlxn_temporary *b = &s->temporaries[k];
            if (!b->first || a->last < b->first || b->last < a->first) continue;
            CHECK(a->offset + a->buffer->size <= b->offset || b->offset + b->buffer->size <= a->offset,
                  "%u and %u live at the same time and share", k, i);
        }
    }
    CHECK(s->temporary_sum == sum && s->temporary_bytes <= sum, "%d of %d bytes", (int)s->temporary_bytes, (int)sum);
}

static uint64_t saved, total;

static void test_random(unsigned n, unsigned seed) {
    mlxn_buffer *in = make(ELEMENTS), *out = make(8 * ELEMENTS), *values[MOST + 1] = {in};
    float want[8 * ELEMENTS];
    mlxn_encoder *e = NULL;
    OK(mlxn_encoder_create(device, &e, &error));
    for (unsigned i = 1; i <= n; i++) values[i] = make(ELEMENTS);
    record(e, values, n, seed, out);
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    memcpy(want, mlxn_buffer_contents(out), sizeof want);
    for (unsigned i = 1; i <= n; i++) mlxn_buffer_release(&values[i]);
    for (int mode = 0; mode < 4; mode++) {
        mlxn_graph_desc desc = {
            .struct_size = sizeof desc, .reorder = mode & 1, .fuse = mode & 2 ? MLXN_FUSE_EXACT : MLXN_FUSE_NONE};
        mlxn_graph *graph = NULL;
        OK(mlxn_encoder_start_capture(e, &error));
        for (unsigned i = 1; i <= n; i++)
            OK(mlxn_encoder_temporary(e, 4 * ELEMENTS + 4 * next(40), &values[i], &error));
        record(e, values, n, seed, out);
        OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
        for (unsigned i = 1; i <= n; i++) mlxn_buffer_release(&values[i]);
        check_places(graph);
        saved += graph->instance->source->temporary_sum - graph->instance->source->temporary_bytes;
        total += graph->instance->source->temporary_sum;
        for (int run = 0; run < 3; run++) {
            float *o = mlxn_buffer_contents(out);
            for (int i = 0; i < 8 * ELEMENTS; i++) o[i] = 0.5f + (float)(i % 17) / 16;
            OK(mlxn_encoder_launch(e, graph));
            OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
            CHECK(!memcmp(o, want, sizeof want), "%u steps, mode %d, launch %d: bits differ", n, mode, run);
        }
        mlxn_graph_destroy(graph);
    }
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&in);
    mlxn_buffer_release(&out);
}

/* A chain needs two places, whatever its length. */
static void test_chain(void) {
    enum { LENGTH = 50 };
    mlxn_buffer *in = make(ELEMENTS), *out = make(ELEMENTS), *t = NULL;
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_encoder_start_capture(e, &error));
    mlxn_tensor last = row(in);
    for (int i = 0; i < LENGTH; i++) {
        OK(mlxn_encoder_temporary(e, 4 * ELEMENTS, &t, &error));
        mlxn_scalar_mul(e, last, row(t), &(mlxn_scalar_mul_params){i % 2 ? 2 : 0.5f});
        last = row(t);
        mlxn_buffer_release(&t);
    }
    mlxn_scalar_mul(e, last, row(out), &(mlxn_scalar_mul_params){1});
    mlxn_device_info device_info = {.struct_size = sizeof device_info};
    mlxn_device_get_info(device, &device_info);
    uint64_t before = device_info.memory_used;
    OK(mlxn_encoder_take_capture(e, &graph, &error));
    mlxn_graph_info info = {.struct_size = sizeof info};
    mlxn_graph_get_info(graph, &info);
    CHECK(info.temporary_bytes == 2 * 192 && info.temporary_sum == LENGTH * 192, "%d of %d bytes",
          (int)info.temporary_bytes, (int)info.temporary_sum);
    mlxn_device_get_info(device, &device_info);
    CHECK(device_info.memory_used == before + info.temporary_bytes, "accounted");
    OK(mlxn_encoder_launch(e, graph));
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    CHECK(!memcmp(mlxn_buffer_contents(in), mlxn_buffer_contents(out), 4 * ELEMENTS), "as much halved as doubled");
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&in);
    mlxn_buffer_release(&out);
}

static void expect_state(mlxn_status status, const char *message) {
    CHECK(status == MLXN_ERR_STATE && strstr(message, "temporary"), "%s: %s", mlxn_status_name(status), message);
}

static void test_misuse(void) {
    mlxn_buffer *in = make(ELEMENTS), *t = NULL, *none = NULL;
    mlxn_encoder *e = NULL, *other = NULL;
    mlxn_graph *graph = NULL;
    float host[4];
    OK(mlxn_encoder_create(device, &e, &error));
    expect_state(mlxn_encoder_temporary(e, 64, &t, &error), error.message);
    OK(mlxn_encoder_start_capture(e, &error));
    CHECK(mlxn_encoder_temporary(e, 0, &none, &error) == MLXN_ERR_ARGUMENT && !none, "%s", error.message);
    OK(mlxn_encoder_temporary(e, 4 * ELEMENTS, &t, &error));
    CHECK(!mlxn_buffer_contents(t) && mlxn_buffer_size(t) == 4 * ELEMENTS, "no memory, but a size");
    expect_state(mlxn_buffer_read(t, 0, host, 4, &error), error.message);
    expect_state(mlxn_buffer_write(t, 0, host, 4, &error), error.message);
    mlxn_elementwise_add(e, row(in), row(in), row(t));
    mlxn_elementwise_add(e, row(t), row(in), row(in));
    for (int what = 0; what < 4; what++) {
        OK(mlxn_encoder_create(device, &other, &error));
        if (what == 3) OK(mlxn_encoder_start_capture(other, &error)); /* a capture, but not the temporary's */
        mlxn_status status = what == 0   ? mlxn_encoder_copy(other, t, 0, in, 0, 4)
                             : what == 1 ? mlxn_encoder_fill(other, t, 0, 4, 0)
                                         : mlxn_elementwise_add(other, row(in), row(t), row(in));
        mlxn_encoder_status(other, &error);
        expect_state(status, error.message);
        mlxn_encoder_destroy(other);
    }
    OK(mlxn_encoder_take_capture(e, &graph, &error));
    mlxn_tensor tensor = row(t);
    expect_state(mlxn_graph_set_argument(graph, 0, 0, &tensor, &error), error.message);
    mlxn_elementwise_add(e, row(t), row(in), row(in));
    mlxn_encoder_status(e, &error);
    expect_state(error.status, error.message);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&t);
    mlxn_buffer_release(&in);
}

/* Patches that change lives, while launches of before wait for their turn. */
static void test_patched(bool reorder) {
    mlxn_buffer *in = make(ELEMENTS), *other = make(ELEMENTS), *out = make(ELEMENTS), *kept = make(ELEMENTS);
    mlxn_buffer *t[3] = {0}, *results[4];
    mlxn_timeline *gate = NULL;
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    for (int i = 0; i < ELEMENTS; i++) ((float *)mlxn_buffer_contents(other))[i] = 100;
    OK(mlxn_timeline_create(device, &gate, &error));
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_encoder_start_capture(e, &error));
    for (int i = 0; i < 3; i++) OK(mlxn_encoder_temporary(e, 4 * ELEMENTS, &t[i], &error));
    mlxn_elementwise_add(e, row(in), row(in), row(t[0]));       /* 2 x */
    mlxn_elementwise_add(e, row(t[0]), row(in), row(t[1]));     /* 3 x */
    mlxn_encoder_copy(e, t[1], 0, t[2], 0, 4 * ELEMENTS);       /* 3 x, in the place of t0 */
    mlxn_elementwise_add(e, row(t[2]), row(in), row(out));      /* 4 x */
    mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = reorder};
    OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
    check_places(graph);
    mlxn_graph_info info = {.struct_size = sizeof info};
    mlxn_graph_get_info(graph, &info);
    CHECK(info.temporary_bytes == 384, "%d bytes", (int)info.temporary_bytes);
    OK(mlxn_encoder_wait(e, gate, 1));
    mlxn_tensor to = row(other), tk = row(kept);
    for (int i = 0; i < 4; i++) {
        results[i] = make(ELEMENTS);
        if (i == 1) OK(mlxn_graph_set_argument(graph, 1, 1, &to, &error)); /* 2 x + 100 */
        if (i == 2) OK(mlxn_graph_set_argument(graph, 0, 2, &tk, &error)); /* 2 x goes elsewhere… */
        if (i == 2) OK(mlxn_graph_set_argument(graph, 1, 0, &tk, &error)); /* …and comes from there */
        if (i == 3) OK(mlxn_graph_set_copy(graph, 2, other, 0, kept, 0, 4 * ELEMENTS, &error));
        if (i == 3) OK(mlxn_graph_set_argument(graph, 3, 0, &tk, &error)); /* 100 + x, t1 and t2 unused */
        OK(mlxn_encoder_launch(e, graph));
        check_places(graph);
        OK(mlxn_encoder_copy(e, out, 0, results[i], 0, 4 * ELEMENTS));
        OK(mlxn_encoder_commit(e, NULL, &error));
    }
    mlxn_timeline_signal(gate, 1);
    OK(mlxn_encoder_wait_completed(e, &error));
    for (int i = 0; i < 4; i++) {
        const float *x = mlxn_buffer_contents(in), *r = mlxn_buffer_contents(results[i]);
        int bad = 0;
        for (int k = 0; k < ELEMENTS; k++)
            bad += r[k] != (i == 0 ? 4 * x[k] : i < 3 ? 2 * x[k] + 100 + x[k] : 100 + x[k]);
        CHECK(!bad, "launch %d: %d differ", i, bad);
        mlxn_buffer_release(&results[i]);
    }
    mlxn_graph_get_info(graph, &info);
    CHECK(info.temporary_sum == 192, "one temporary is left: %d bytes", (int)info.temporary_sum);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&gate);
    for (int i = 0; i < 3; i++) mlxn_buffer_release(&t[i]);
    mlxn_buffer *list[] = {in, other, out, kept};
    for (int i = 0; i < 4; i++) mlxn_buffer_release(&list[i]);
}

/* Any allocation of take_capture fails: the encoder goes on capturing, and the next try gives the same graph. */
static void test_no_memory(void) {
    for (uint64_t k = 1; k < 100; k++) {
        mlxn_buffer *in = make(ELEMENTS), *out = make(8 * ELEMENTS), *values[11] = {in};
        mlxn_encoder *e = NULL;
        mlxn_graph *graph = NULL;
        OK(mlxn_encoder_create(device, &e, &error));
        OK(mlxn_encoder_start_capture(e, &error));
        for (int i = 1; i <= 10; i++) OK(mlxn_encoder_temporary(e, 4 * ELEMENTS, &values[i], &error));
        record(e, values, 10, 3, out);
        mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = true, .fuse = MLXN_FUSE_EXACT};
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_encoder_take_capture_with(e, &desc, &graph, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status == MLXN_OK || (status == MLXN_ERR_MEMORY && !graph && mlxn_encoder_is_capturing(e)), "%s",
              error.message);
        if (status) OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
        OK(mlxn_encoder_launch(e, graph));
        OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
        check_places(graph);
        mlxn_graph_destroy(graph);
        mlxn_encoder_destroy(e);
        for (int i = 0; i <= 10; i++) mlxn_buffer_release(&values[i]);
        mlxn_buffer_release(&out);
        if (!status) break;
        CHECK(k < 90, "never enough memory");
    }
}

int main(void) {
    for (uint32_t threads = 1; threads <= 2; threads++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc, .threads = threads};
        OK(mlxn_device_create(&desc, &device, &error));
        for (int round = 0; round < 60; round++) test_random(1 + next(MOST), 1000 + next(1000000));
        test_chain();
        test_misuse();
        test_patched(false);
        test_patched(true);
        test_no_memory();
        mlxn_device_info info = {.struct_size = sizeof info};
        mlxn_device_get_info(device, &info);
        CHECK(info.memory_used == 0, "%d bytes are left", (int)info.memory_used);
        mlxn_device_release(&device);
    }
    CHECK(saved * 2 > total, "random programs share: %d of %d bytes saved", (int)saved, (int)total);
    fprintf(stderr, "temporaries of random programs: %.0f %% of the bytes of separate buffers\n",
            100 * (double)(total - saved) / (double)total);
    return TEST_DONE();
}
