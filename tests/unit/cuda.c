/* cuda.c: what the CUDA backend promises. Without a GPU, a driver or kernels in the build: no device, an error that
 * names the cure, and a process that goes on. With one: fresh buffers are zero even where memory is used again; reads
 * and writes of every size around the staging memory bring back the bytes; copies and fills between device memory and
 * wrapped memory; rows of a weight come back bit for bit, whatever its layout, from wrapped and from device memory;
 * an operation without a kernel is an error of the commit that names it, and the device goes on; more memory than the
 * card has is an error that says so. */
#include <mlxn/mlxn.h>

#include "core/core.h"
#include "test.h"

#define OK(call)                                                                                    \
    do {                                                                                            \
        mlxn_status status_ = (call);                                                               \
        CHECK(status_ == MLXN_OK, "%s: %s: %s", #call, mlxn_status_name(status_), failure.message); \
    } while (0)

static mlxn_error failure;
static mlxn_device *device;

static void test_absent(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = "cuda"};
    mlxn_device *none = (mlxn_device *)&desc;
    CHECK(mlxn_backend_device_count("cuda", &failure) == 0 && failure.status != MLXN_OK, "an error");
    CHECK(strstr(failure.message, "cuda: ") && strstr(failure.message, "cpu device"), "%s", failure.message);
    mlxn_status status = failure.status;
    CHECK(mlxn_device_create(&desc, &none, &failure) == status && !none, "%s", failure.message);
    OK(mlxn_device_create(NULL, &none, &failure)); /* the default one is there all the same */
    mlxn_device_release(&none);
}

static uint8_t byte_at(uint64_t i, uint32_t seed) {
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u + seed;
    return (uint8_t)((z ^ z >> 29) * 0xbf58476d1ce4e5b9u >> 56);
}

static bool is_zero(const uint8_t *bytes, uint64_t n) {
    uint8_t any = 0;
    for (uint64_t i = 0; i < n; i++) any |= bytes[i];
    return !any;
}

static void test_read_and_write(void) {
    static const uint64_t sizes[] = {1, 3, 511, 4096, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, (8 << 20) + 7, 13 << 20};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint32_t again = 0; again < 2; again++) { /* the second time in memory that the first one dirtied */
            uint64_t n = sizes[s], skip = n / 3;
            uint8_t *sent = malloc(n), *got = malloc(n);
            mlxn_buffer *buffer = NULL;
            CHECK(sent && got, "memory");
            OK(mlxn_buffer_create(device, n, &buffer, &failure));
            memset(got, 0xff, n);
            OK(mlxn_buffer_read(buffer, 0, got, n, &failure));
            CHECK(is_zero(got, n), "%llu bytes are zero", (unsigned long long)n);
            for (uint64_t i = 0; i < n; i++) sent[i] = byte_at(i, again);
            OK(mlxn_buffer_write(buffer, 0, sent, n, &failure));
            OK(mlxn_buffer_read(buffer, 0, got, n, &failure));
            CHECK(!memcmp(sent, got, n), "%llu bytes come back", (unsigned long long)n);
            memset(got, 0, n);
            OK(mlxn_buffer_read(buffer, skip, got, n - skip, &failure));
            CHECK(!memcmp(sent + skip, got, n - skip), "from the middle");
            mlxn_buffer_release(&buffer);
            free(sent);
            free(got);
        }
}

static void test_map_is_refused(void) {
    mlxn_buffer *buffer = NULL;
    void *at = &buffer;
    OK(mlxn_buffer_create(device, 64, &buffer, &failure));
    CHECK(!mlxn_buffer_contents(buffer), "the host does not see it");
    CHECK(mlxn_buffer_map(buffer, 0, 64, MLXN_MAP_READ, &at, &failure) == MLXN_ERR_UNSUPPORTED && !at, "map");
    CHECK(strstr(failure.message, "cuda"), "%s", failure.message);
    mlxn_buffer_release(&buffer);
}

static void test_copies_and_wrapped_memory(void) {
    enum { N = 3000 };
    static uint8_t own[N], got[N];
    mlxn_buffer *wrapped = NULL, *a = NULL, *b = NULL;
    mlxn_encoder *e = NULL;
    for (int i = 0; i < N; i++) own[i] = byte_at((uint64_t)i, 5);
    OK(mlxn_buffer_wrap(device, own, N, NULL, NULL, &wrapped, &failure));
    OK(mlxn_buffer_create(device, N, &a, &failure));
    OK(mlxn_buffer_create(device, N, &b, &failure));
    OK(mlxn_encoder_create(device, &e, &failure));
    OK(mlxn_encoder_copy(e, wrapped, 1, a, 0, N - 1));
    OK(mlxn_encoder_copy(e, a, 0, b, 1, N - 1)); /* behind it, by the hazard tracker */
    OK(mlxn_encoder_fill(e, wrapped, 100, 50, 0xab));
    OK(mlxn_encoder_commit_and_wait(e, "copies", &failure));
    OK(mlxn_buffer_read(b, 0, got, N, &failure));
    bool good = got[0] == 0;
    for (int i = 1; i < N; i++) good = good && got[i] == byte_at((uint64_t)i, 5);
    CHECK(good, "there and on");
    good = true;
    for (int i = 0; i < N; i++) good = good && own[i] == (i >= 100 && i < 150 ? 0xab : byte_at((uint64_t)i, 5));
    CHECK(good, "the fill arrived in the memory that was wrapped, and nothing else did");
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&wrapped);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
}

/* One graph, launched twice in one command buffer. */
static void test_graph(void) {
    mlxn_buffer *x = NULL;
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    float values[4] = {1, 2, 3, 4};
    OK(mlxn_buffer_create(device, 16, &x, &failure));
    OK(mlxn_buffer_write(x, 0, values, 16, &failure));
    mlxn_tensor t = mlxn_tensor_1d(x, 0, MLXN_F32, 4);
    OK(mlxn_encoder_create(device, &e, &failure));
    OK(mlxn_encoder_start_capture(e, &failure));
    OK(mlxn_elementwise_add(e, t, t, t));
    OK(mlxn_elementwise_mul(e, t, t, t));
    OK(mlxn_encoder_take_capture(e, &graph, &failure));
    OK(mlxn_encoder_launch(e, graph));
    OK(mlxn_encoder_launch(e, graph));
    OK(mlxn_encoder_commit_and_wait(e, "twice", &failure));
    OK(mlxn_buffer_read(x, 0, values, 16, &failure));
    for (int i = 0; i < 4; i++) {
        float v = (float)(i + 1);
        v = (v + v) * (v + v);
        CHECK(values[i] == (v + v) * (v + v), "element %d is %g", i, (double)values[i]);
    }
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
}

static void test_errors(void) {
    mlxn_buffer *x = NULL, *huge = NULL;
    mlxn_encoder *e = NULL;
    OK(mlxn_buffer_create(device, 64, &x, &failure));
    OK(mlxn_encoder_create(device, &e, &failure));
    mlxn_tensor t = mlxn_tensor_1d(x, 0, MLXN_F32, 4), odd = mlxn_tensor_1d(x, 2, MLXN_F32, 4);
    CHECK(mlxn_elementwise_add(e, odd, odd, odd) == MLXN_ERR_ARGUMENT, "an offset between elements");
    mlxn_encoder_destroy(e);
    e = NULL;
    OK(mlxn_encoder_create(device, &e, &failure));
    mlxn_scan_params scan = {0};
    if (!mlxn_scan(e, t, t, &scan)) {
        CHECK(mlxn_encoder_commit_and_wait(e, NULL, &failure) == MLXN_ERR_UNSUPPORTED, "no kernel");
        CHECK(strstr(failure.message, "scan") && strstr(failure.message, "cuda"), "%s", failure.message);
    }
    mlxn_encoder_destroy(e);
    CHECK(mlxn_buffer_create(device, (uint64_t)1 << 50, &huge, &failure) == MLXN_ERR_MEMORY && !huge, "2^50 bytes");
    CHECK(strstr(failure.message, "cuda: buffer"), "%s", failure.message);
    mlxn_queue_clear_status(mlxn_device_queue(device));
    mlxn_buffer_release(&x);
    test_graph(); /* the device goes on */
}

/* Rows of two matrices of 3 rows each: as they are encoded, so they are read. */
static void check_weight(mlxn_format format, uint64_t cols, bool wrapped) {
    enum { ROWS = 3, EXPERTS = 2 };
    uint64_t row_bytes = 0;
    float values[600], want[600], got[600];
    OK(mlxn_format_row_bytes(format, cols, &row_bytes, &failure));
    uint64_t bytes = ROWS * EXPERTS * row_bytes;
    uint8_t *raw = malloc(bytes + 1);
    mlxn_buffer *buffer = NULL;
    mlxn_weight *weight = NULL;
    CHECK(raw, "memory");
    for (uint64_t r = 0; r < ROWS * EXPERTS; r++) {
        for (uint64_t i = 0; i < cols; i++) values[i] = (float)(byte_at(r * cols + i, 7) - 128) / 64;
        OK(mlxn_quantize_row(format, values, cols, raw + 1 + r * row_bytes, &failure));
    }
    if (wrapped) {
        OK(mlxn_buffer_wrap(device, raw, bytes + 1, NULL, NULL, &buffer, &failure));
    } else {
        OK(mlxn_buffer_create(device, bytes + 1, &buffer, &failure));
        OK(mlxn_buffer_write(buffer, 0, raw, bytes + 1, &failure));
    }
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = format,
                             .rows = ROWS,
                             .cols = cols,
                             .experts = EXPERTS,
                             .data = buffer,
                             .offset = 1};
    OK(mlxn_weight_create(device, &desc, &weight, &failure));
    for (uint64_t r = 0; weight && r < ROWS * EXPERTS; r++) {
        OK(mlxn_dequantize_row(format, raw + 1 + r * row_bytes, cols, want, &failure));
        OK(mlxn_weight_read_row(weight, r, got, &failure));
        CHECK(!memcmp(want, got, cols * sizeof *want), "%s: row %u", mlxn_format_name(format), (unsigned)r);
    }
    mlxn_weight_release(&weight);
    desc.keep_source = true;
    mlxn_status status = mlxn_weight_create(device, &desc, &weight, &failure);
    CHECK(status == (wrapped ? MLXN_OK : MLXN_ERR_UNSUPPORTED), "keep_source: %s", failure.message);
    mlxn_weight_release(&weight);
    mlxn_buffer_release(&buffer);
    free(raw);
}

static void test_weights(void) {
    static const struct {
        mlxn_format format;
        uint64_t cols;
    } kinds[] = {{MLXN_FORMAT_F32, 7},    {MLXN_FORMAT_BF16, 33},  {MLXN_FORMAT_F16, 576},  {MLXN_FORMAT_Q4_0, 96},
                 {MLXN_FORMAT_Q8_0, 576}, {MLXN_FORMAT_Q4_K, 512}, {MLXN_FORMAT_Q6_K, 256}, {MLXN_FORMAT_MXFP4, 64}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        check_weight(kinds[i].format, kinds[i].cols, true);
        check_weight(kinds[i].format, kinds[i].cols, false);
    }
}

int main(void) {
    if (!mlxn_backend_device_count("cuda", &failure)) {
        fprintf(stderr, "skipped: %s\n", failure.message);
        test_skips++;
        test_absent();
        return TEST_DONE();
    }
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = "cuda"};
    OK(mlxn_device_create(&desc, &device, &failure));
    if (!device) return TEST_DONE();
    mlxn_device_info info = {.struct_size = sizeof info};
    OK(mlxn_device_get_info(device, &info));
    CHECK(info.computes && !info.host_visible && info.memory_total && info.memory_free <= info.memory_total, "info");
    fprintf(stderr, "cuda: %s, %llu MiB\n", info.name, (unsigned long long)(info.memory_total >> 20));
    test_read_and_write();
    test_map_is_refused();
    test_copies_and_wrapped_memory();
    test_graph();
    test_weights();
    test_errors();
    OK(mlxn_device_get_info(device, &info));
    CHECK(info.memory_used == 0, "%llu bytes are left", (unsigned long long)info.memory_used);
    mlxn_device_release(&device);
    return TEST_DONE();
}
