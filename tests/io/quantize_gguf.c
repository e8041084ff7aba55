/* Promise: `mlxn_quantize_gguf` gives each matrix exactly the bytes that mlxn_quantize_row gives its rows, whatever
 * the number of threads; what is small or sensitive stays byte for byte; mixes and fallbacks choose as documented;
 * keys are kept and the file type is set; models that are quantized already are taken only on demand; cancelling,
 * errors in the data and full names leave nothing behind. */
#include <math.h>
#include <mlxn/convert.h>

#include "io/safetensors_writer.h"
#include "test.h"

enum { LAYERS = 16, ROWS = 37, COLS = 512, NARROW = 96 };

static float value_at(uint64_t i) { return (float)sin(0.37 * (double)i) * (1.0f + (float)(i % 61) / 16); }

static void add(gw *w, uint64_t *offset, const char *name, uint64_t rows, uint64_t cols, uint32_t type,
                uint64_t bytes) {
    const uint64_t dims[] = {cols, rows};
    gw_tensor(w, name, rows ? 2 : 1, dims, type, *offset);
    *offset += (bytes + 31) / 32 * 32;
}

static void put_floats(gw *w, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) gw_f32(w, value_at(i));
    gw_align(w, 32);
}

/* Layers with a value matrix, a router and a norm each; embeddings; an output matrix or none; one of narrow rows. */
static void write_model(const char *name, bool output, uint32_t narrow_type) {
    gw w = {0};
    uint64_t offset = 0;
    gw_header(&w, 3, 3 * LAYERS + 2 + output, 4);
    gw_key_text(&w, "general.architecture", "test");
    gw_key_u32(&w, "test.block_count", LAYERS);
    gw_key_u32(&w, "split.count", 1);
    gw_key_u32(&w, "general.file_type", 0);
    for (int i = 0; i < LAYERS; i++) {
        char text[64];
        snprintf(text, sizeof text, "blk.%d.attn_v.weight", i);
        add(&w, &offset, text, ROWS, COLS, 0, 4 * ROWS * COLS);
        snprintf(text, sizeof text, "blk.%d.ffn_gate_inp.weight", i);
        add(&w, &offset, text, 4, COLS, 0, 4 * 4 * COLS);
        snprintf(text, sizeof text, "blk.%d.attn_norm.weight", i);
        add(&w, &offset, text, 0, COLS, 0, 4 * COLS);
    }
    add(&w, &offset, "token_embd.weight", ROWS, COLS, 0, 4 * ROWS * COLS);
    if (output) add(&w, &offset, "output.weight", ROWS, COLS, 0, 4 * ROWS * COLS);
    uint64_t narrow = narrow_type == 0 ? 4 * 3 * NARROW : 3 * NARROW / 32 * 18;
    add(&w, &offset, "blk.3.ffn_up.weight", 3, NARROW, narrow_type, narrow);
    gw_align(&w, 32);
    for (int i = 0; i < LAYERS; i++) put_floats(&w, ROWS * COLS), put_floats(&w, 4 * COLS), put_floats(&w, COLS);
    put_floats(&w, ROWS * COLS);
    if (output) put_floats(&w, ROWS * COLS);
    if (narrow_type == 0)
        put_floats(&w, 3 * NARROW);
    else
        gw_zeros(&w, narrow), gw_align(&w, 32);
    st_save(&w, name);
}

static const mlxn_quantize_options base = {.struct_size = sizeof base, .overwrite = true};

static mlxn_status quantize(const char *from, const char *to, const char *type, mlxn_quantize_result *result,
                            mlxn_error *error) {
    mlxn_quantize_options options = base;
    options.type = type;
    return mlxn_quantize_gguf(st_path(from), st_path(to), &options, result, error);
}

/* The tensor holds what encoding its rows gives. */
static void check_rows(const mlxn_gguf *file, const char *name, mlxn_format format, uint64_t cols) {
    mlxn_gguf_tensor t;
    bool found = mlxn_gguf_find_tensor(file, name, &t);
    CHECK(found && t.type == (uint32_t)format, "%s: %s, want %s", name,
          found ? mlxn_gguf_tensor_type_name(t.type) : "nothing", mlxn_format_name(format));
    if (!found || t.type != (uint32_t)format) return;
    static float row[COLS];
    static uint8_t bytes[4 * COLS];
    uint64_t row_bytes = 0;
    CHECK(!mlxn_format_row_bytes(format, cols, &row_bytes, NULL) && row_bytes * (t.elements / cols) == t.bytes, "%s",
          name);
    for (uint64_t r = 0; r < t.elements / cols; r++) {
        for (uint64_t c = 0; c < cols; c++) row[c] = value_at(r * cols + c);
        CHECK(!mlxn_quantize_row(format, row, cols, bytes, NULL), "%s", name);
        CHECK(!memcmp(bytes, t.data + r * row_bytes, (size_t)row_bytes), "%s: row %d", name, (int)r);
    }
}

static mlxn_gguf *reopen(const char *name) {
    mlxn_gguf *file = NULL;
    mlxn_error error;
    CHECK(!mlxn_gguf_open(st_path(name), &file, &error), "%s", error.message);
    return file;
}

static void test_types(void) {
    const char *name, *about;
    int n = 0;
    for (uint32_t i = 0; mlxn_quantize_type_at(i, &name, &about); i++, n++) {
        mlxn_error error;
        mlxn_quantize_result result;
        CHECK(!quantize("model.gguf", "out.gguf", name, &result, &error), "%s: %s", name, error.message);
        CHECK(about[0] && result.tensors == 3 * LAYERS + 3, "%s", name);
        CHECK(result.quantized == (strcmp(name, "f32") ? LAYERS + 3u : 0), "%s: %d", name, (int)result.quantized);
        mlxn_gguf *file = reopen("out.gguf");
        if (!file) continue;
        mlxn_gguf_tensor t;
        for (uint64_t k = 0; mlxn_gguf_tensor_at(file, k, &t); k++) {
            char text[64];
            snprintf(text, sizeof text, "%.*s", (int)t.name.size, t.name.data);
            bool small = strstr(text, "norm") || strstr(text, "gate_inp");
            check_rows(file, text, small ? MLXN_FORMAT_F32 : (mlxn_format)t.type, t.dims[t.rank - 1]);
        }
        mlxn_gguf_close(file);
    }
    CHECK(n >= 20, "%d types", n);
}

static void test_mix(void) {
    /* of 16 layers: the first and last two, and of the others every third, from the fifth on */
    static const bool more[LAYERS] = {1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1};
    mlxn_quantize_result result;
    mlxn_error error;
    CHECK(!quantize("model.gguf", "out.gguf", "Q4_K_M", &result, &error), "%s", error.message);
    CHECK(result.fallbacks == 1, "%d fallbacks", (int)result.fallbacks);
    mlxn_gguf *file = reopen("out.gguf");
    if (!file) return;
    for (int i = 0; i < LAYERS; i++) {
        char text[64];
        snprintf(text, sizeof text, "blk.%d.attn_v.weight", i);
        check_rows(file, text, more[i] ? MLXN_FORMAT_Q6_K : MLXN_FORMAT_Q4_K, COLS);
    }
    check_rows(file, "token_embd.weight", MLXN_FORMAT_Q4_K, COLS);
    check_rows(file, "output.weight", MLXN_FORMAT_Q6_K, COLS);
    check_rows(file, "blk.3.ffn_up.weight", MLXN_FORMAT_Q5_0, NARROW);
    uint64_t value = 0;
    mlxn_gguf_value v;
    CHECK(!mlxn_gguf_get_u64(file, "general.file_type", &value, NULL) && value == 15, "file type");
    CHECK(!mlxn_gguf_get_u64(file, "general.quantization_version", &value, NULL) && value == 2, "version");
    CHECK(!mlxn_gguf_get_u64(file, "test.block_count", &value, NULL) && value == LAYERS, "keys");
    CHECK(!mlxn_gguf_find(file, "split.count", &v), "keys of split files");
    mlxn_gguf_close(file);

    CHECK(!quantize("tied.gguf", "out.gguf", "q4_k_m", NULL, &error), "%s", error.message);
    if ((file = reopen("out.gguf"))) check_rows(file, "token_embd.weight", MLXN_FORMAT_Q6_K, COLS);
    mlxn_gguf_close(file);

    mlxn_quantize_options options = base;
    options.type = "q4_0", options.output_type = "q8_0", options.embedding_type = "f16";
    CHECK(!mlxn_quantize_gguf(st_path("model.gguf"), st_path("out.gguf"), &options, NULL, &error), "%s",
          error.message);
    if ((file = reopen("out.gguf"))) {
        check_rows(file, "output.weight", MLXN_FORMAT_Q8_0, COLS);
        check_rows(file, "token_embd.weight", MLXN_FORMAT_F16, COLS);
        check_rows(file, "blk.7.attn_v.weight", MLXN_FORMAT_Q4_0, COLS);
    }
    mlxn_gguf_close(file);
}

static void test_threads(void) {
    mlxn_quantize_options options = base;
    mlxn_gguf *first = NULL;
    mlxn_error error;
    options.type = "q3_k_m";
    for (uint32_t threads = 1; threads < 9; threads += 3) {
        const char *path = threads == 1 ? "one.gguf" : "many.gguf";
        options.threads = threads;
        CHECK(!mlxn_quantize_gguf(st_path("model.gguf"), st_path(path), &options, NULL, &error), "%s", error.message);
        mlxn_gguf *file = reopen(path);
        mlxn_gguf_tensor a, b;
        for (uint64_t i = 0; first && file && mlxn_gguf_tensor_at(first, i, &a) && mlxn_gguf_tensor_at(file, i, &b);
             i++)
            CHECK(a.bytes == b.bytes && !memcmp(a.data, b.data, (size_t)a.bytes), "%u threads, tensor %d", threads,
                  (int)i);
        if (!first)
            first = file;
        else
            mlxn_gguf_close(file);
    }
    mlxn_gguf_close(first);
}

static bool stop(void *user, uint64_t done, uint64_t total) {
    CHECK(done <= total && done, "%d of %d", (int)done, (int)total);
    return --*(int *)user > 0;
}

static void test_refusals(void) {
    mlxn_quantize_options options = base;
    mlxn_error e;
    int steps = 5;
    options.type = "q8_0";
    unlink(st_path("out.gguf"));
    CHECK(quantize("model.gguf", "out.gguf", "q9", NULL, &e) == MLXN_ERR_ARGUMENT && strstr(e.message, "\"q9\""),
          "%s", e.message);
    CHECK(quantize("absent.gguf", "out.gguf", "q8_0", NULL, &e) == MLXN_ERR_IO, "%s", e.message);
    CHECK(quantize("model.gguf", "model.gguf", "q8_0", NULL, &e) == MLXN_ERR_ARGUMENT, "onto itself");
    CHECK(strstr(e.message, "is the source itself"), "%s", e.message);
    CHECK(quantize("already.gguf", "out.gguf", "q8_0", NULL, &e) == MLXN_ERR_ARGUMENT, "quantized already");
    CHECK(strstr(e.message, "blk.3.ffn_up.weight") && strstr(e.message, "Q4_0"), "%s", e.message);
    options.requantize = true;
    CHECK(!mlxn_quantize_gguf(st_path("already.gguf"), st_path("out.gguf"), &options, NULL, &e), "%s", e.message);
    options.overwrite = false;
    CHECK(mlxn_quantize_gguf(st_path("model.gguf"), st_path("out.gguf"), &options, NULL, &e) == MLXN_ERR_IO,
          "there already");
    unlink(st_path("out.gguf"));
    options.progress = stop, options.progress_user = &steps;
    CHECK(mlxn_quantize_gguf(st_path("model.gguf"), st_path("out.gguf"), &options, NULL, &e) == MLXN_ERR_CANCELLED,
          "cancel");
    CHECK(steps == 0, "%d steps more", steps);
    options.struct_size = 0;
    CHECK(mlxn_quantize_gguf(st_path("model.gguf"), st_path("out.gguf"), &options, NULL, &e) == MLXN_ERR_ARGUMENT,
          "size");

    /* A value that the format cannot hold: row 1 of the first matrix. */
    gw w = {0};
    uint64_t offset = 0;
    gw_header(&w, 3, 1, 0);
    add(&w, &offset, "blk.0.ffn_up.weight", 2, 32, 0, 256);
    gw_align(&w, 32);
    for (int i = 0; i < 64; i++) gw_f32(&w, i == 40 ? NAN : 1);
    st_save(&w, "nan.gguf");
    CHECK(quantize("nan.gguf", "out.gguf", "q4_0", NULL, &e) == MLXN_ERR_ARGUMENT, "NaN");
    CHECK(strstr(e.message, "blk.0.ffn_up.weight") && strstr(e.message, "row 1") && strstr(e.message, "element 8"),
          "%s", e.message);
    CHECK(access(st_path("out.gguf"), F_OK) && access(st_path("out.gguf.partial"), F_OK), "nothing is left");
}

int main(void) {
    st_make_folder();
    write_model("model.gguf", true, 0);
    write_model("tied.gguf", false, 0);
    write_model("already.gguf", true, 2);
    test_types();
    test_mix();
    test_threads();
    test_refusals();
    st_remove_folder();
    return TEST_DONE();
}
