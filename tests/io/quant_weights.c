/* Promise: the quantised weights of an MLX folder come in name order with the logical shape that bits and packed
 * shape give, views of their exact bytes, and the dtype of their scales; other tensors are not loaded; what does not
 * fit together is refused by name; nothing is left behind, also when an allocation fails. */
#include <mlxn/io.h>

#include "base/base.h"
#include "io/safetensors_writer.h"
#include "test.h"

static mlxn_device *device;

static uint64_t used(void) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.memory_used;
}

static void save(st_builder *b, const char *name) {
    gw w = {0};
    st_finish(b, &w);
    st_save(&w, name);
}

/* weight, scales and biases of one module of `rows` rows. */
static void add_linear(st_builder *b, const char *base, int rows, int words, int groups, const char *scales) {
    char name[64], shape[64];
    size_t size = strcmp(scales, "F32") ? 2 : 4;
    snprintf(name, sizeof name, "%s.weight", base), snprintf(shape, sizeof shape, "[%d,%d]", rows, words);
    st_add(b, name, "U32", shape, (size_t)rows * (size_t)words * 4);
    snprintf(shape, sizeof shape, "[%d,%d]", rows, groups);
    snprintf(name, sizeof name, "%s.scales", base), st_add(b, name, scales, shape, (size_t)(rows * groups) * size);
    snprintf(name, sizeof name, "%s.biases", base), st_add(b, name, scales, shape, (size_t)(rows * groups) * size);
}

static void write_good(void) {
    st_builder b = {.length = 0};
    st_add(&b, "norm.weight", "BF16", "[4096]", 8192); /* not quantised: must not be loaded */
    add_linear(&b, "q", 3, 16, 2, "BF16");             /* 4 bits, 64: 128 columns */
    add_linear(&b, "q.sub", 2, 12, 4, "F16");          /* 3 bits, 32: 128 columns */
    add_linear(&b, "odd", 1, 12, 2, "F32");            /* 4 bits, 64: 96 columns, the last group is half full */
    save(&b, "a.safetensors");
    st_add(&b, "experts.weight", "U32", "[2,3,16]", 384); /* 8 bits, 32: 64 columns */
    st_add(&b, "experts.scales", "BF16", "[2,3,2]", 24);
    st_add(&b, "experts.biases", "BF16", "[2,3,2]", 24);
    st_add(&b, "plain", "U32", "[1,8]", 32); /* no .weight, no biases */
    st_add(&b, "plain.scales", "F16", "[1,1]", 2);
    st_add(&b, "mx.weight", "U32", "[2,8]", 64); /* mxfp4: 64 columns */
    st_add(&b, "mx.scales", "U8", "[2,2]", 4);
    st_add(&b, "router.scales", "F32", "[7]", 28); /* the config says that router is not quantised */
    save(&b, "b.safetensors");
    st_save_text(
        "{\"quantization\":{\"group_size\":64,\"bits\":4,\"q.sub\":{\"bits\":3,\"group_size\":32},"
        "\"experts\":{\"bits\":8,\"group_size\":32},\"mx\":{\"bits\":4,\"group_size\":32,\"mode\":\"mxfp4\"},"
        "\"router\":false}}",
        "config.json");
}

/* The weight of a module gives what its tensors stand for. */
static void check_weight(const mlxn_quant_weight *w, uint64_t rows, uint64_t experts) {
    mlxn_weight *weight = NULL;
    mlxn_error error;
    CHECK(!mlxn_quant_weight_create(w, &weight, &error), "%s: %s", w->name, error.message);
    if (!weight) return;
    CHECK(mlxn_weight_rows(weight) * experts == rows && mlxn_weight_experts(weight) == experts, "%s: shape", w->name);
    uint64_t cols = mlxn_weight_cols(weight), size = mlxn_dtype_size(w->scales_dtype);
    float got[128], want[128];
    for (uint64_t r = 0; r < rows; r++) {
        uint8_t *scales = mlxn_buffer_contents(w->scales.buffer);
        uint8_t *biases = w->biases.buffer ? mlxn_buffer_contents(w->biases.buffer) : NULL;
        mlxn_group_row row = {
            .codes = (uint8_t *)mlxn_buffer_contents(w->weight.buffer) + r * cols * w->params.bits / 8,
            .scales = scales + r * w->num_groups * size,
            .biases = biases ? biases + r * w->num_groups * size : NULL,
            .scale_dtype = w->scales_dtype};
        CHECK(!mlxn_dequantize_groups(mlxn_weight_format(weight), &row, cols, want, &error), "%s", error.message);
        CHECK(!mlxn_weight_read_row(weight, r, got, &error), "%s", error.message);
        for (uint64_t k = 0; k < cols; k++)
            CHECK(got[k] == want[k] || got[k] != got[k], "%s [%u, %u]: %g, want %g", w->name, (unsigned)r,
                  (unsigned)k, got[k], want[k]);
    }
    mlxn_weight_release(&weight);
}

static void check_weights(const mlxn_quant_weights *weights) {
    check_weight(mlxn_quant_weights_find(weights, "experts"), 6, 2);
    check_weight(mlxn_quant_weights_find(weights, "mx"), 2, 1);
    check_weight(mlxn_quant_weights_find(weights, "q"), 3, 1);
    check_weight(mlxn_quant_weights_find(weights, "q.sub"), 2, 1);
    mlxn_weight *none = NULL;
    mlxn_error error;
    CHECK(mlxn_quant_weight_create(mlxn_quant_weights_find(weights, "odd"), &none, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "odd: weight: row of affine4_g64: cols is 96, want a multiple of 64"),
          "%s", error.message);
    CHECK(mlxn_quant_weight_create(mlxn_quant_weights_find(weights, "plain"), &none, &error) == MLXN_ERR_FORMAT &&
              strstr(error.message, "plain: mode affine without biases"),
          "%s", error.message);
}

static void test_good(void) {
    static const struct {
        const char *name;
        uint32_t rank, bits, group;
        uint64_t rows, cols, groups;
        mlxn_dtype scales;
        bool biases;
    } want[] = {
        {"experts", 3, 8, 32, 6, 64, 2, MLXN_BF16, true}, {"mx", 2, 4, 32, 2, 64, 2, MLXN_U8, false},
        {"odd", 2, 4, 64, 1, 96, 2, MLXN_F32, true},      {"plain", 2, 4, 64, 1, 64, 1, MLXN_F16, false},
        {"q", 2, 4, 64, 3, 128, 2, MLXN_BF16, true},      {"q.sub", 2, 3, 32, 2, 128, 4, MLXN_F16, true},
    };
    mlxn_quant_weights *weights = NULL;
    mlxn_error error;
    CHECK(mlxn_load_quantized_weights(st_folder, device, &weights, &error) == MLXN_OK, "%s", error.message);
    if (!weights) return;
    CHECK(mlxn_quant_weights_count(weights) == 6 && !mlxn_quant_weights_at(weights, 6), "six");
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 6; i++) {
        const mlxn_quant_weight *w = mlxn_quant_weights_at(weights, i);
        CHECK(!strcmp(w->name, want[i].name), "%s, want %s", w->name, want[i].name);
        CHECK(mlxn_quant_weights_find(weights, want[i].name) == w, "%s is found", w->name);
        CHECK(w->params.bits == want[i].bits && w->params.group_size == want[i].group, "%s: parameters", w->name);
        CHECK(w->rank == want[i].rank && w->dims[w->rank - 1] == want[i].cols, "%s: columns", w->name);
        CHECK(w->elements == want[i].rows * want[i].cols && w->num_groups == want[i].groups, "%s: sizes", w->name);
        CHECK(w->scales_dtype == want[i].scales && w->scales.dtype == want[i].scales, "%s: scales", w->name);
        CHECK(w->weight.dtype == MLXN_U32 && w->weight.rank == w->rank, "%s: packed words", w->name);
        CHECK(mlxn_tensor_elements(&w->weight) * 32 == w->elements * w->params.bits, "%s: as many bits", w->name);
        CHECK(mlxn_tensor_elements(&w->scales) == want[i].rows * want[i].groups, "%s: scales", w->name);
        CHECK((w->biases.buffer != NULL) == want[i].biases, "%s: biases", w->name);
        CHECK(mlxn_buffer_size(w->weight.buffer) == mlxn_tensor_elements(&w->weight) * 4, "%s: exact size", w->name);
        bytes += mlxn_buffer_size(w->weight.buffer) + mlxn_buffer_size(w->scales.buffer) +
                 (w->biases.buffer ? mlxn_buffer_size(w->biases.buffer) : 0);
    }
    CHECK(mlxn_quant_weights_at(weights, 1)->params.mode == MLXN_QUANT_MXFP4, "mx");
    CHECK(used() == bytes, "%llu bytes are held, want %llu: nothing else was loaded", (unsigned long long)used(),
          (unsigned long long)bytes);
    CHECK(!mlxn_quant_weights_find(weights, "norm") && !mlxn_quant_weights_find(weights, "router"), "not quantised");
    check_weights(weights);
    const mlxn_quant_weight *q = mlxn_quant_weights_find(weights, "q");
    /* The writer's data counts bytes from 0; q.weight is behind norm.weight's 8,192. */
    const uint8_t *content = mlxn_buffer_contents(q->weight.buffer);
    for (int i = 0; i < 192; i++) CHECK(content[i] == (uint8_t)i, "q.weight, byte %d", i);
    CHECK(((const uint8_t *)mlxn_buffer_contents(q->scales.buffer))[0] == 192, "q.scales");
    mlxn_buffer *kept = mlxn_buffer_retain(q->scales.buffer);
    mlxn_quant_weights_destroy(weights);
    CHECK(used() == 12, "a buffer that was retained outlives the list");
    mlxn_buffer_release(&kept);
    CHECK(used() == 0, "nothing is left");
    mlxn_quant_weights_destroy(NULL);
}

static void refuse(mlxn_status want, const char *first, const char *second) {
    mlxn_quant_weights *weights = (mlxn_quant_weights *)&want;
    mlxn_error error;
    mlxn_status status = mlxn_load_quantized_weights(st_folder, device, &weights, &error);
    CHECK(status == want && !weights, "got %s: %s", mlxn_status_name(status), error.message);
    CHECK(strstr(error.message, first) && strstr(error.message, second), "want \"%s\" and \"%s\" in: %s", first,
          second, error.message);
    CHECK(used() == 0, "a failed load leaves %llu bytes", (unsigned long long)used());
}

static void test_config_files(void) {
    refuse(MLXN_ERR_IO, "quantization_config.json", "config.json");
    st_save_text("{\"bits\":4}", "quantization_config.json");
    refuse(MLXN_ERR_IO, "No .safetensors files", st_folder);
    st_save_text("{\"bits\":", "quantization_config.json");
    refuse(MLXN_ERR_FORMAT, "quantization_config.json", "parse");
    unlink(st_path("quantization_config.json"));
    st_save_text("{\"hidden_size\":4}", "config.json");
    refuse(MLXN_ERR_NOT_FOUND, "config.json", "quantization");
    unlink(st_path("config.json"));
    mlxn_quant_weights *weights;
    CHECK(mlxn_load_quantized_weights("", device, &weights, NULL) == MLXN_ERR_ARGUMENT && !weights, "no path");
}

/* One module with the given parts; NULL leaves a part out. */
typedef struct parts {
    const char *weight_dtype, *weight_shape;
    size_t weight_bytes;
    const char *scales_dtype, *scales_shape;
    size_t scales_bytes;
    const char *biases_dtype, *biases_shape;
    size_t biases_bytes;
} parts;

static void refuse_parts(parts p, const char *first, const char *second) {
    st_builder b = {.length = 0};
    if (p.weight_dtype) st_add(&b, "m.weight", p.weight_dtype, p.weight_shape, p.weight_bytes);
    st_add(&b, "m.scales", p.scales_dtype, p.scales_shape, p.scales_bytes);
    if (p.biases_dtype) st_add(&b, "m.biases", p.biases_dtype, p.biases_shape, p.biases_bytes);
    save(&b, "m.safetensors");
    refuse(MLXN_ERR_FORMAT, first, second);
}

static void test_refused(void) {
    st_save_text("{\"bits\":4,\"group_size\":64}", "quantization_config.json");
    refuse_parts((parts){NULL, NULL, 0, "F16", "[1,1]", 2, NULL, NULL, 0}, "m.safetensors: tensor \"m.scales\"",
                 "there is neither \"m\".weight nor \"m\"");
    refuse_parts((parts){"F16", "[1,8]", 16, "F16", "[1,1]", 2, NULL, NULL, 0}, "\"m.weight\"",
                 "dtype is \"F16\", want U32");
    refuse_parts((parts){"U32", "[1,8]", 32, "U8", "[1,1]", 1, NULL, NULL, 0}, "\"m.scales\"",
                 "dtype is \"U8\", want F32, F16 or BF16");
    refuse_parts((parts){"U32", "[]", 4, "F16", "[1]", 2, NULL, NULL, 0}, "\"m.weight\"", "rank is 0, want 1 to 4");
    refuse_parts((parts){"U32", "[1,1,1,1,8]", 32, "F16", "[1,1,1,1,1]", 2, NULL, NULL, 0}, "\"m.weight\"",
                 "rank is 5, want 1 to 4");
    refuse_parts((parts){"U32", "[0,8]", 0, "F16", "[0,1]", 0, NULL, NULL, 0}, "\"m.weight\"", "is empty: [0, 8]");
    refuse_parts((parts){"U32", "[2,8]", 64, "F16", "[2,2]", 8, NULL, NULL, 0}, "\"m.scales\"",
                 "shape is [2, 2]; the weight is [2, 8] with 4 bits in groups of 64: want rows of 1");
    refuse_parts((parts){"U32", "[2,8]", 64, "F16", "[3,1]", 6, NULL, NULL, 0}, "\"m.scales\"", "shape is [3, 1]");
    refuse_parts((parts){"U32", "[2,8]", 64, "F16", "[2]", 4, NULL, NULL, 0}, "\"m.scales\"", "shape is [2]");
    refuse_parts((parts){"U32", "[2,8]", 64, "F16", "[2,1]", 4, "BF16", "[2,1]", 4}, "\"m.biases\"",
                 "dtype is \"BF16\", but the scales are F16");
    refuse_parts((parts){"U32", "[2,8]", 64, "F16", "[2,1]", 4, "F16", "[1,2]", 4}, "\"m.biases\"",
                 "shape is [1, 2], but the scales are [2, 1]");
    st_save_text("{\"bits\":3,\"group_size\":64}", "quantization_config.json");
    refuse_parts((parts){"U32", "[2,8]", 64, "F16", "[2,2]", 8, NULL, NULL, 0}, "\"m.weight\"",
                 "rows of 8 words hold no whole number");
    st_save_text("{\"mode\":\"mxfp4\"}", "quantization_config.json");
    refuse_parts((parts){"U32", "[2,4]", 32, "F16", "[2,1]", 4, NULL, NULL, 0}, "\"m.scales\"",
                 "want U8 in mode mxfp4");
    refuse_parts((parts){"U32", "[2,4]", 32, "U8", "[2,1]", 2, "U8", "[2,1]", 2}, "\"m.biases\"",
                 "mode mxfp4 has no biases");
    unlink(st_path("quantization_config.json"));
    unlink(st_path("m.safetensors"));
}

static void test_allocations(void) {
    uint64_t failures = 0;
    for (uint64_t k = 1; k < 1000; k++) {
        mlxn_quant_weights *weights = NULL;
        mlxn_error error;
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_load_quantized_weights(st_folder, device, &weights, &error);
        mlxn_alloc_fail_at(0);
        mlxn_quant_weights_destroy(weights);
        CHECK(used() == 0, "allocation %llu: bytes are left", (unsigned long long)k);
        if (status == MLXN_OK) break;
        failures++;
        CHECK(status == MLXN_ERR_MEMORY && error.message[0], "allocation %llu: %s: %s", (unsigned long long)k,
              mlxn_status_name(status), error.message);
    }
    CHECK(failures >= 40 && failures < 999, "%llu allocations were seen", (unsigned long long)failures);
}

int main(void) {
    mlxn_error error;
    CHECK(mlxn_device_create(NULL, &device, &error) == MLXN_OK, "%s", error.message);
    if (!device) return TEST_DONE();
    st_make_folder();
    test_config_files();
    test_refused();
    write_good();
    test_good();
    test_allocations();
    static const char *const files[] = {"a.safetensors", "b.safetensors", "config.json"};
    for (int i = 0; i < 3; i++) unlink(st_path(files[i]));
    CHECK(rmdir(st_folder) == 0, "%s is left", st_folder);
    mlxn_device_release(&device);
    return TEST_DONE();
}
