/* Promise: what a right safetensors file holds is found as written: names, every dtype of the format, shapes, bytes,
 * metadata; tensors load as exact copies or are seen in place; what cannot be loaded is refused by name. */
#include <mlxn/io.h>

#include "io/safetensors_writer.h"
#include "test.h"

static mlxn_safetensors *open_sample(gw *w) {
    mlxn_safetensors *file = NULL;
    mlxn_error error;
    st_sample(w);
    CHECK(mlxn_safetensors_open_memory(w->bytes, w->size, "s.safetensors", &file, &error) == MLXN_OK, "%s",
          error.message);
    if (!file) exit(1);
    return file;
}

static bool is(mlxn_string text, const char *want) {
    return text.size == strlen(want) && !memcmp(text.data, want, (size_t)text.size) && text.data[text.size] == 0;
}

static void test_accessors(void) {
    static const char *const order[] = {"b.weight", "a.bias", "none", "bool", "f4",  "f6",  "f6b", "u8",
                                        "i8",       "f8a",    "f8b",  "f8c",  "f8d", "f8e", "i16", "u16",
                                        "f16",      "i32",    "u32",  "c64",  "f64", "i64", "u64", "new"};
    gw w = {0};
    mlxn_safetensors *file = open_sample(&w);
    mlxn_safetensors_tensor t, found;
    CHECK(mlxn_safetensors_tensor_count(file) == 24, "24 tensors");
    CHECK(mlxn_safetensors_file_size(file) == w.size && mlxn_safetensors_shard_count(file) == 1, "one file");
    CHECK(!strcmp(mlxn_safetensors_shard_name(file, 0), "s.safetensors") && !mlxn_safetensors_shard_name(file, 1),
          "its name");
    uint64_t at = w.size - 109;
    for (uint64_t i = 0; i < 24; i++) {
        CHECK(mlxn_safetensors_tensor_at(file, i, &t) && is(t.name, order[i]), "tensor %d is %s", (int)i, order[i]);
        CHECK(t.offset == at && t.data == w.bytes + at && t.shard == 0, "%s: where the data lies", order[i]);
        at += t.bytes;
        CHECK(
            mlxn_safetensors_find_tensor(file, order[i], &found) && found.data == t.data && is(found.name, order[i]),
            "%s is found", order[i]);
        if (t.dtype) CHECK(t.bytes * 8 == t.elements * mlxn_st_dtype_bits(t.dtype), "%s: bytes", order[i]);
        CHECK(!strcmp(t.dtype_name, t.dtype ? mlxn_st_dtype_name(t.dtype) : "X7"), "%s: dtype", order[i]);
        CHECK(strcmp(order[i], "none") ? t.elements > 0 : t.elements == 0, "%s: elements", order[i]);
    }
    CHECK(!mlxn_safetensors_tensor_at(file, 24, &t), "no 25th");
    CHECK(!mlxn_safetensors_find_tensor(file, "b", &t) && !mlxn_safetensors_find_tensor(file, "", &t) &&
              !mlxn_safetensors_find_tensor(file, "__metadata__", &t),
          "what is no tensor is not found");
    CHECK(mlxn_safetensors_find_tensor(file, "b.weight", &t) && t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 3 &&
              t.dtype == MLXN_ST_F32 && t.elements == 6,
          "b.weight");
    CHECK(mlxn_safetensors_find_tensor(file, "i32", &t) && t.rank == 0 && t.elements == 1, "a scalar");
    CHECK(mlxn_safetensors_find_tensor(file, "u32", &t) && t.rank == 5 && t.dims[4] == 1, "five axes");
    CHECK(mlxn_safetensors_find_tensor(file, "new", &t) && t.dtype == MLXN_ST_UNKNOWN && t.bytes == 11, "unknown");
    for (uint64_t i = 1; i < 24; i++)
        CHECK(strcmp(mlxn_safetensors_name(file, i - 1).data, mlxn_safetensors_name(file, i).data) < 0,
              "names are sorted");
    CHECK(is(mlxn_safetensors_name(file, 0), "a.bias") && is(mlxn_safetensors_name(file, 24), ""), "first and none");
    mlxn_safetensors_close(file);
    gw_free(&w);
}

static void test_metadata(void) {
    gw w = {0};
    mlxn_safetensors *file = open_sample(&w);
    mlxn_string key, value;
    CHECK(mlxn_safetensors_metadata_count(file, 0) == 2 && mlxn_safetensors_metadata_count(file, 1) == 0, "two");
    CHECK(mlxn_safetensors_metadata_at(file, 0, 0, &key, &value) && is(key, "caf\xc3\xa9") &&
              is(value, "a\nb \xf0\x9f\x98\x80"),
          "escapes are decoded");
    CHECK(!mlxn_safetensors_metadata_at(file, 0, 2, &key, &value), "no third");
    CHECK(mlxn_safetensors_metadata(file, "format", &value) && is(value, "mlx"), "format");
    CHECK(!mlxn_safetensors_metadata(file, "forma", &value), "no such key");
    mlxn_safetensors_close(file);
    gw_free(&w);
    st_write(&w, "{}", 0);
    CHECK(mlxn_safetensors_open_memory(w.bytes, w.size, NULL, &file, NULL) == MLXN_OK, "no tensors, no metadata");
    CHECK(mlxn_safetensors_tensor_count(file) == 0 && !mlxn_safetensors_metadata(file, "format", &value), "nothing");
    mlxn_safetensors_close(file);
    gw_free(&w);
}

static void test_dtypes(void) {
    static const struct {
        mlxn_st_dtype from;
        mlxn_dtype to;
    } same[] = {{MLXN_ST_F32, MLXN_F32}, {MLXN_ST_F16, MLXN_F16}, {MLXN_ST_BF16, MLXN_BF16}, {MLXN_ST_U8, MLXN_U8},
                {MLXN_ST_U16, MLXN_U16}, {MLXN_ST_U32, MLXN_U32}, {MLXN_ST_I32, MLXN_I32}};
    int loadable = 0;
    for (int i = -1; i <= MLXN_ST_DTYPE_COUNT; i++) {
        mlxn_dtype to = MLXN_DTYPE_COUNT;
        loadable += mlxn_st_dtype_to_dtype((mlxn_st_dtype)i, &to);
        bool listed = i > 0 && i < MLXN_ST_DTYPE_COUNT;
        CHECK((mlxn_st_dtype_bits((mlxn_st_dtype)i) > 0) == listed, "bits of %d", i);
        CHECK((strcmp(mlxn_st_dtype_name((mlxn_st_dtype)i), "?") != 0) == listed, "name of %d", i);
        for (int k = 0; k < 7; k++)
            if ((int)same[k].from == i) {
                CHECK(to == same[k].to, "%s", mlxn_st_dtype_name((mlxn_st_dtype)i));
                CHECK(mlxn_st_dtype_bits((mlxn_st_dtype)i) == 8 * mlxn_dtype_size(to), "size of %d", i);
            }
    }
    CHECK(loadable == 7, "%d dtypes can be loaded, want 7", loadable);
}

static void test_load(mlxn_device *device) {
    gw w = {0};
    mlxn_safetensors *file = open_sample(&w);
    mlxn_safetensors_tensor t;
    mlxn_buffer *buffer = NULL;
    mlxn_tensor view;
    mlxn_error error;
    static const char *const loadable[] = {"b.weight", "a.bias", "u8", "u16", "f16", "i32", "u32"};
    for (int i = 0; i < 7; i++) {
        CHECK(mlxn_safetensors_load_tensor(file, loadable[i], device, &buffer, &error) == MLXN_OK, "%s",
              error.message);
        if (!buffer) continue;
        mlxn_safetensors_find_tensor(file, loadable[i], &t);
        CHECK(mlxn_buffer_size(buffer) == t.bytes, "%s: exact size", loadable[i]);
        CHECK(!memcmp(mlxn_buffer_contents(buffer), t.data, (size_t)t.bytes), "%s: same bytes", loadable[i]);
        mlxn_status status = mlxn_safetensors_view(&t, buffer, 0, &view, &error);
        if (t.rank > MLXN_MAX_RANK) {
            CHECK(status == MLXN_ERR_UNSUPPORTED && strstr(error.message, "rank is 5"), "%s", error.message);
        } else {
            CHECK(status == MLXN_OK && view.buffer == buffer && mlxn_tensor_elements(&view) == t.elements, "%s: %s",
                  loadable[i], error.message);
            CHECK(view.rank == (t.rank ? t.rank : 1) && mlxn_tensor_is_contiguous(&view), "%s: rank", loadable[i]);
        }
        mlxn_buffer_release(&buffer);
    }
    static const char *const others[] = {"bool", "f4",  "f6",  "f6b", "i8",  "f8a", "f8b", "f8c",
                                         "f8d",  "f8e", "i16", "c64", "f64", "i64", "u64", "new"};
    for (int i = 0; i < 16; i++) {
        char want[32];
        mlxn_safetensors_find_tensor(file, others[i], &t);
        snprintf(want, sizeof want, "dtype is \"%s\"", t.dtype_name);
        CHECK(mlxn_safetensors_load_tensor(file, others[i], device, &buffer, &error) == MLXN_ERR_UNSUPPORTED &&
                  !buffer && strstr(error.message, want) && strstr(error.message, others[i]),
              "%s: %s", others[i], error.message);
    }
    CHECK(mlxn_safetensors_load_tensor(file, "none", device, &buffer, &error) == MLXN_ERR_ARGUMENT && !buffer &&
              strstr(error.message, "empty"),
          "%s", error.message);
    CHECK(mlxn_safetensors_load_tensor(file, "no.such", device, &buffer, &error) == MLXN_ERR_NOT_FOUND && !buffer &&
              strstr(error.message, "\"no.such\""),
          "%s", error.message);
    mlxn_buffer *all[24];
    memset(all, 0xff, sizeof all);
    CHECK(mlxn_safetensors_load_all(file, device, all, &error) == MLXN_ERR_UNSUPPORTED, "stops at the first BOOL");
    for (int i = 0; i < 24; i++) CHECK(all[i] == NULL, "nothing is left of it: %d", i);
    mlxn_safetensors_close(file);
    gw_free(&w);
}

static void test_load_all(mlxn_device *device) {
    gw w = {0};
    st_builder b = {.length = 0};
    mlxn_safetensors *file = NULL;
    mlxn_buffer *all[3];
    mlxn_error error;
    st_add(&b, "x", "F32", "[4]", 16), st_add(&b, "empty", "F16", "[0]", 0), st_add(&b, "y", "U8", "[5]", 5);
    st_finish(&b, &w);
    CHECK(mlxn_safetensors_open_memory(w.bytes, w.size, "a", &file, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_safetensors_load_all(file, device, all, &error) == MLXN_OK, "%s", error.message);
    mlxn_safetensors_close(file); /* buffers do not need it */
    CHECK(all[0] && !all[1] && all[2], "two buffers and an empty one");
    CHECK(mlxn_buffer_size(all[0]) == 16 && ((uint8_t *)mlxn_buffer_contents(all[0]))[15] == 15, "x");
    CHECK(mlxn_buffer_size(all[2]) == 5 && ((uint8_t *)mlxn_buffer_contents(all[2]))[4] == 20, "y");
    for (int i = 0; i < 3; i++) mlxn_buffer_release(&all[i]);
    gw_free(&w);
}

static void test_wrap(mlxn_device *device) {
    gw w = {0};
    mlxn_safetensors *file = open_sample(&w);
    mlxn_safetensors_tensor t;
    mlxn_buffer *buffer = NULL;
    mlxn_tensor view;
    mlxn_error error;
    CHECK(mlxn_safetensors_wrap(file, 0, device, &buffer, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_contents(buffer) == w.bytes && mlxn_buffer_size(buffer) == w.size, "no copy");
    mlxn_safetensors_find_tensor(file, "u8", &t);
    CHECK(mlxn_safetensors_view(&t, buffer, t.offset, &view, &error) == MLXN_OK && view.offset == t.offset, "%s",
          error.message);
    mlxn_safetensors_find_tensor(file, "b.weight", &t);
    mlxn_status status = mlxn_safetensors_view(&t, buffer, t.offset, &view, &error);
    CHECK(t.offset % 4 ? status == MLXN_ERR_UNSUPPORTED : status == MLXN_OK, "%s", error.message);
    CHECK(mlxn_safetensors_view(&t, buffer, 2, &view, &error) == MLXN_ERR_UNSUPPORTED &&
              strstr(error.message, "byte offset is 2, want a multiple of 4"),
          "%s", error.message);
    mlxn_safetensors_find_tensor(file, "i64", &t);
    CHECK(mlxn_safetensors_view(&t, buffer, 0, &view, &error) == MLXN_ERR_UNSUPPORTED && !view.buffer, "%s",
          error.message);
    mlxn_buffer_release(&buffer);
    CHECK(mlxn_safetensors_wrap(file, 1, device, &buffer, &error) == MLXN_ERR_ARGUMENT && !buffer &&
              !strcmp(error.message, "s.safetensors: shard is 1, want below 1"),
          "%s", error.message);
    mlxn_safetensors_close(file);
    gw_free(&w);
}

int main(void) {
    mlxn_device *device = NULL;
    mlxn_error error;
    CHECK(mlxn_device_create(NULL, &device, &error) == MLXN_OK, "%s", error.message);
    if (!device) return TEST_DONE();
    test_accessors();
    test_metadata();
    test_dtypes();
    test_load(device);
    test_load_all(device);
    test_wrap(device);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    CHECK(info.memory_used == 0, "%llu bytes of buffers are left", (unsigned long long)info.memory_used);
    mlxn_device_release(&device);
    mlxn_safetensors_close(NULL);
    return TEST_DONE();
}
