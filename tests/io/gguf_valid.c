/* Promise: valid GGUF files of versions 2 and 3 are read completely and exactly: every value type, arrays, nested
 * arrays, shapes, offsets; conversions lose nothing or fail; a tensor of unknown type does not stop the rest. */
#include <mlxn/io.h>

#include "io/gguf_walk.h"
#include "io/gguf_writer.h"
#include "test.h"

static bool same(mlxn_string s, const char *text) { return s.size == strlen(text) && !memcmp(s.data, text, s.size); }

static mlxn_gguf *open_bytes(const gw *w) {
    mlxn_gguf *file = NULL;
    mlxn_error error;
    mlxn_status status = mlxn_gguf_open_memory(w->bytes, w->size, "test.gguf", &file, &error);
    CHECK(status == MLXN_OK, "%s", error.message);
    if (status) exit(TEST_DONE());
    CHECK(error.status == MLXN_OK && !error.message[0], "success leaves a clean record");
    return file;
}

static void test_scalars(const mlxn_gguf *file) {
    static const struct {
        const char *key;
        bool fits;
        uint64_t value;
    } unsigned_cases[] = {
        {"t.u8", true, 200},         {"t.i8", false, 0},  {"t.u16", true, 60000}, {"t.i16", false, 0},
        {"t.u32", true, 4000000000}, {"t.i32", false, 0}, {"t.f32", false, 0},    {"t.bool", true, 1},
        {"t.u64", true, UINT64_MAX}, {"t.i64", false, 0}, {"t.f64", false, 0},    {"general.architecture", false, 0},
        {"t.tokens", false, 0},
    };
    for (size_t i = 0; i < sizeof unsigned_cases / sizeof unsigned_cases[0]; i++) {
        uint64_t value = 0;
        mlxn_error error;
        mlxn_status status = mlxn_gguf_get_u64(file, unsigned_cases[i].key, &value, &error);
        CHECK(status == (unsigned_cases[i].fits ? MLXN_OK : MLXN_ERR_FORMAT), "%s", unsigned_cases[i].key);
        CHECK(value == unsigned_cases[i].value, "%s", unsigned_cases[i].key);
    }
    static const struct {
        const char *key;
        bool fits;
        double value;
    } float_cases[] = {
        {"t.u8", true, 200},  {"t.i8", true, -100},          {"t.i16", true, -30000}, {"t.i32", true, -2000000000.0},
        {"t.f32", true, 0.5}, {"t.f64", true, 1e-5},         {"t.u64", false, 0}, /* 2^64 - 1 is no double */
        {"t.i64", false, 0},  {"t.u32", true, 4000000000.0}, {"t.tokens", false, 0},
    };
    for (size_t i = 0; i < sizeof float_cases / sizeof float_cases[0]; i++) {
        double value = 0;
        mlxn_status status = mlxn_gguf_get_f64(file, float_cases[i].key, &value, NULL);
        CHECK(status == (float_cases[i].fits ? MLXN_OK : MLXN_ERR_FORMAT), "%s", float_cases[i].key);
        CHECK(value == float_cases[i].value, "%s: %g", float_cases[i].key, value);
    }
    bool flag = false;
    CHECK(mlxn_gguf_get_bool(file, "t.bool", &flag, NULL) == MLXN_OK && flag, "bool");
    CHECK(mlxn_gguf_get_bool(file, "t.u8", &flag, NULL) == MLXN_ERR_FORMAT, "200 is no bool");
    mlxn_string text;
    CHECK(mlxn_gguf_get_string(file, "general.architecture", &text, NULL) == MLXN_OK && same(text, "llama"), "text");
    mlxn_error error;
    CHECK(mlxn_gguf_get_string(file, "t.i64", &text, &error) == MLXN_ERR_FORMAT, "an integer is no text");
    CHECK(strstr(error.message, "key \"t.i64\": is -9,223,372,036,854,775,808 (i64), want a string (byte "), "%s",
          error.message);
    CHECK(mlxn_gguf_get_u64(file, "no.such", &(uint64_t){0}, &error) == MLXN_ERR_NOT_FOUND, "absent");
    CHECK(!strcmp(error.message, "test.gguf: has no key \"no.such\""), "%s", error.message);
}

static void test_arrays(const mlxn_gguf *file) {
    mlxn_gguf_value value, inner;
    mlxn_string text;
    uint64_t cursor = 0;
    int64_t integer = 0;
    double number = 0;
    CHECK(mlxn_gguf_find(file, "t.tokens", &value) && value.type == MLXN_GGUF_ARRAY, "tokens");
    CHECK(value.v.array.count == 3 && value.v.array.element == MLXN_GGUF_STRING, "tokens");
    CHECK(mlxn_gguf_next_string(&value, &cursor, &text) && same(text, "a"), "token 0");
    CHECK(mlxn_gguf_next_string(&value, &cursor, &text) && same(text, ""), "token 1");
    CHECK(mlxn_gguf_next_string(&value, &cursor, &text) && same(text, "\xc3\xa9t\xc3\xa9"), "token 2");
    CHECK(!mlxn_gguf_next_string(&value, &cursor, &text), "no token 3");
    CHECK(!mlxn_gguf_array_f64(&value, 0, &number), "a string is no number");
    CHECK(mlxn_gguf_find(file, "t.scores", &value), "scores");
    CHECK(mlxn_gguf_array_f64(&value, 0, &number) && number == -1.5, "score 0: %g", number);
    CHECK(mlxn_gguf_array_f64(&value, 2, &number) && number == 2.25, "score 2: %g", number);
    CHECK(!mlxn_gguf_array_f64(&value, 3, &number), "no score 3");
    CHECK(!mlxn_gguf_array_i64(&value, 0, &integer), "a float is no integer");
    CHECK(mlxn_gguf_find(file, "t.types", &value), "types");
    CHECK(mlxn_gguf_array_i64(&value, 1, &integer) && integer == -7, "type 1");
    CHECK(mlxn_gguf_array_f64(&value, 0, &number) && number == 7, "type 0 as double");
    CHECK(mlxn_gguf_find(file, "t.nested", &value) && value.v.array.element == MLXN_GGUF_ARRAY, "nested");
    cursor = 0;
    CHECK(!mlxn_gguf_next_string(&value, &cursor, &text), "arrays are not strings");
    CHECK(mlxn_gguf_next_array(&value, &cursor, &inner) && inner.v.array.count == 3, "inner 0");
    CHECK(mlxn_gguf_array_i64(&inner, 2, &integer) && integer == 3, "inner 0, element 2");
    CHECK(mlxn_gguf_next_array(&value, &cursor, &inner) && inner.v.array.element == MLXN_GGUF_STRING, "inner 1");
    cursor = 0;
    CHECK(mlxn_gguf_next_string(&inner, &cursor, &text) && same(text, "deep"), "inner 1, element 0");
    CHECK(!mlxn_gguf_next_string(&inner, &cursor, &text), "inner 1 has one element");
}

static void test_tensors(const mlxn_gguf *file, const gw *w) {
    mlxn_gguf_tensor t;
    size_t data = w->size - 322;
    CHECK(mlxn_gguf_tensor_count(file) == 4, "four tensors");
    CHECK(mlxn_gguf_find_tensor(file, "a.weight", &t) && t.known && t.rank == 2, "a.weight");
    CHECK(t.dims[0] == 3 && t.dims[1] == 64 && t.elements == 192 && t.bytes == 108, "a.weight: outermost first");
    CHECK(t.part == 0 && t.offset == data && t.data == w->bytes + data && t.data[7] == 7, "a.weight's data");
    CHECK(mlxn_gguf_tensor_at(file, 1, &t) && same(t.name, "b.bias") && t.bytes == 20, "b.bias");
    CHECK(t.offset == data + 192 && t.data[0] == 192, "b.bias's data");
    CHECK(mlxn_gguf_find_tensor(file, "c.odd", &t) && !t.known && !t.bytes && !t.data && t.type == 43, "c.odd");
    CHECK(!strcmp(mlxn_gguf_tensor_type_name(16), "IQ2_XXS"), "the name of a type");
    CHECK(!strcmp(mlxn_gguf_tensor_type_name(4711), "?"), "no name");
    CHECK(mlxn_gguf_find_tensor(file, "d.scalar", &t) && t.rank == 1 && t.dims[0] == 1 && t.bytes == 2, "d.scalar");
    CHECK(!mlxn_gguf_find_tensor(file, "a.weigh", &t) && !mlxn_gguf_find_tensor(file, "a.weights", &t), "no prefix");
    CHECK(!mlxn_gguf_tensor_at(file, 4, &t), "no fifth");
    mlxn_gguf_release_pages((mlxn_gguf *)file, &t); /* memory of the caller: nothing happens */
}

static void test_sample(uint32_t version) {
    gw w = {0};
    gw_sample(&w, version);
    mlxn_gguf *file = open_bytes(&w);
    CHECK(mlxn_gguf_version(file) == version, "version %u", version);
    CHECK(mlxn_gguf_file_size(file) == w.size && mlxn_gguf_part_count(file) == 1, "size");
    CHECK(mlxn_gguf_key_count(file) == 17, "keys");
    CHECK(same(mlxn_gguf_key(file, 0), "general.architecture") && same(mlxn_gguf_key(file, 16), "t.nested"), "order");
    CHECK(mlxn_gguf_key(file, 17).size == 0, "past the end");
    CHECK(mlxn_gguf_value_at(file, 3).v.i == -100, "value in file order");
    test_scalars(file);
    test_arrays(file);
    test_tensors(file, &w);
    walk_file(file);
    mlxn_gguf_close(file);
    gw_free(&w);
}

/* No keys and no tensors; a header alone; empty arrays; a file that ends where its last tensor ends. */
static void test_small(void) {
    gw w = {0};
    gw_header(&w, 3, 0, 0);
    mlxn_gguf *file = open_bytes(&w);
    mlxn_gguf_value value;
    mlxn_gguf_tensor tensor;
    CHECK(!mlxn_gguf_find(file, "x", &value) && !mlxn_gguf_find_tensor(file, "x", &tensor), "empty");
    mlxn_gguf_close(file);
    gw_free(&w);

    gw_header(&w, 3, 1, 2);
    gw_key(&w, "empty", 9), gw_array(&w, 8, 0);
    gw_key(&w, "deep", 9), gw_array(&w, 9, 1), gw_array(&w, 9, 1), gw_array(&w, 9, 1), gw_array(&w, 0, 0);
    gw_tensor(&w, "w", 4, (uint64_t[]){4, 3, 2, 1}, 30, 0);
    gw_align(&w, 32);
    gw_zeros(&w, 48);
    file = open_bytes(&w);
    uint64_t cursor = 0;
    mlxn_string text;
    CHECK(mlxn_gguf_find(file, "empty", &value) && !mlxn_gguf_next_string(&value, &cursor, &text), "empty array");
    CHECK(mlxn_gguf_find_tensor(file, "w", &tensor) && tensor.dims[0] == 1 && tensor.dims[3] == 4, "rank 4");
    walk_file(file);
    mlxn_gguf_close(file);
    gw_free(&w);
}

/* Tensors may lie in any order; alignment may be given by any unsigned type. */
static void test_order(void) {
    gw w = {0};
    gw_header(&w, 3, 3, 1);
    gw_key_u16(&w, "general.alignment", 8);
    gw_tensor(&w, "third", 1, (uint64_t[]){2}, 0, 16);
    gw_tensor(&w, "first", 1, (uint64_t[]){2}, 0, 0);
    gw_tensor(&w, "second", 1, (uint64_t[]){2}, 0, 8);
    gw_align(&w, 8);
    gw_zeros(&w, 24);
    mlxn_gguf *file = open_bytes(&w);
    mlxn_gguf_tensor a, b;
    CHECK(mlxn_gguf_find_tensor(file, "first", &a) && mlxn_gguf_find_tensor(file, "third", &b), "both");
    CHECK(b.offset - a.offset == 16, "offsets");
    mlxn_gguf_close(file);
    gw_free(&w);
}

int main(void) {
    test_sample(2);
    test_sample(3);
    test_small();
    test_order();
    return TEST_DONE();
}
