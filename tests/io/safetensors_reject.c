/* Promise: a safetensors file that breaks a rule of the format is refused with FORMAT and a message that names the
 * file, the tensor, both values and where; never a crash, never a huge allocation. */
#include <mlxn/io.h>

#include "base/base.h"
#include "io/safetensors_writer.h"
#include "test.h"

/* Expects refusal with exactly "t.safetensors: <text>". Frees the writer. */
static void refuse_bytes(gw *w, const char *text) {
    mlxn_safetensors *file = (mlxn_safetensors *)w;
    mlxn_error error;
    char want[512];
    snprintf(want, sizeof want, "t.safetensors: %s", text);
    uint8_t *exact = malloc(w->size ? w->size : 1); /* so that the sanitizer sees a read past the end */
    if (!exact) exit(3);
    if (w->size) memcpy(exact, w->bytes, w->size);
    mlxn_status status = mlxn_safetensors_open_memory(exact, w->size, "t.safetensors", &file, &error);
    CHECK(status == MLXN_ERR_FORMAT && error.status == status, "%s: got %s", text, mlxn_status_name(status));
    CHECK(file == NULL, "%s: *out must be NULL", text);
    CHECK(!strcmp(error.message, want), "got  %s\n  want %s", error.message, want);
    mlxn_safetensors_close(file);
    free(exact);
    gw_free(w);
}

static void refuse(const char *header, size_t data_bytes, const char *text) {
    gw w = {0};
    st_write(&w, header, data_bytes);
    refuse_bytes(&w, text);
}

static void test_length(void) {
    gw w = {0};
    refuse_bytes(&w, "has 0 bytes, want 8 for the header's length");
    gw_zeros(&w, 7);
    refuse_bytes(&w, "has 7 bytes, want 8 for the header's length");
    gw_zeros(&w, 8);
    refuse_bytes(&w, "the header does not begin with '{' (byte 8)");
    gw_u64(&w, UINT64_MAX), gw_zeros(&w, 8);
    refuse_bytes(&w, "the header's length is 18,446,744,073,709,551,615, the format allows 100,000,000 (byte 0)");
    gw_u64(&w, 100000001), gw_zeros(&w, 8);
    refuse_bytes(&w, "the header's length is 100,000,001, the format allows 100,000,000 (byte 0)");
    gw_u64(&w, 100000000), gw_bytes(&w, "{}", 2);
    refuse_bytes(&w, "the header's length is 100,000,000, the file has 2 bytes behind it");
    gw_u64(&w, 3), gw_bytes(&w, "{}", 2);
    refuse_bytes(&w, "the header's length is 3, the file has 2 bytes behind it");
    refuse(" {}", 0, "the header does not begin with '{' (byte 8)");
    refuse("[]", 0, "the header does not begin with '{' (byte 8)");
}

static void test_json(void) {
    refuse("{", 0, "cannot parse the JSON: got the end, want a string (byte 9)");
    refuse("{}}", 0, "cannot parse the JSON: got '}', want the end (byte 10)");
    refuse("{} x", 0, "cannot parse the JSON: got 'x', want the end (byte 11)");
    refuse("{\"a\"}", 0, "cannot parse the JSON: got '}', want ':' (byte 12)");
    refuse("{\"a\":1}", 0, "cannot parse the JSON: got '1', want an object (byte 13)");
    refuse("{\"a\":{},}", 0, "tensor \"a\": dtype is missing (byte 13)");
    refuse("{\"__metadata__\":{\"a\":\"b\",}}", 0,
           "cannot parse the JSON: got '}', want something behind ',' (byte 33)");
    refuse("{\"__metadata__\":{\"a\":\"b\" \"c\"}}", 0, "cannot parse the JSON: got '\"', want ',' or '}' (byte 33)");
    refuse("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: the value of \"a\" is not a string (byte 29)");
    refuse("{\"__metadata__\":null}", 0, "cannot parse the JSON: got 'n', want an object (byte 24)");
    refuse("{\"__metadata__\":{\"a\":\"\",\"\\u0061\":\"\"}}", 0, "__metadata__: \"a\" is given twice (byte 24)");
    refuse("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is given twice (byte 42)");
    refuse("{\"\xff\":{}}", 0, "cannot parse the JSON: a string is not UTF-8 (byte 10)");
    refuse("{\"\xed\xa0\x80\":{}}", 0, "cannot parse the JSON: a string is not UTF-8 (byte 10)");
    refuse("{\"a\nb\":{}}", 0, "cannot parse the JSON: a string holds the control character 0x0a (byte 11)");
    refuse("{\"\\ud800\":{}}", 0, "cannot parse the JSON: \\ud800 is half a character (byte 16)");
    refuse("{\"\\ud800\\u0041\":{}}", 0, "cannot parse the JSON: \\ud800 is half a character (byte 16)");
    refuse("{\"\\udc00\":{}}", 0, "cannot parse the JSON: \\udc00 is half a character (byte 16)");
    refuse("{\"\\u12g4\":{}}", 0, "cannot parse the JSON: \\u needs four hexadecimal digits (byte 12)");
    refuse("{\"\\x\":{}}", 0, "cannot parse the JSON: got 'x', want one of \"\\/bfnrtu behind a backslash (byte 11)");
    refuse("{\"a", 0, "cannot parse the JSON: got the end, want the end of the string (byte 11)");
    refuse("{\"a\\", 0, "cannot parse the JSON: got the end, want an escape (byte 12)");
    refuse("{\"a\":{\"x\":01}}", 0, "cannot parse the JSON: a number begins with 0 (byte 18)");
    refuse("{\"a\":{\"x\":1.}}", 0, "cannot parse the JSON: got '}', want a digit (byte 20)");
    refuse("{\"a\":{\"x\":1e}}", 0, "cannot parse the JSON: got '}', want a digit (byte 20)");
    refuse("{\"a\":{\"x\":-}}", 0, "cannot parse the JSON: got '}', want a digit (byte 19)");
    refuse("{\"a\":{\"x\":NaN}}", 0, "cannot parse the JSON: got 'N', want a value (byte 18)");
    refuse("{\"a\":{\"x\":nul}}", 0, "cannot parse the JSON: got 'n', want a value (byte 18)");
    refuse("{\"a\":{\"x\":[1,]}}", 0, "cannot parse the JSON: got ']', want something behind ',' (byte 21)");
    refuse("{\"a\":{\"x\":[1 2]}}", 0, "cannot parse the JSON: got '2', want ',' or ']' (byte 21)");
}

static void test_depth(void) {
    enum { LEVELS = 100000 };
    gw w = {0};
    gw_u64(&w, 10 + LEVELS);
    gw_bytes(&w, "{\"a\":{\"x\":", 10);
    for (int i = 0; i < LEVELS; i++) gw_u8(&w, '[');
    refuse_bytes(&w, "cannot parse the JSON: nested deeper than 32 (byte 48)");
}

static void test_records(void) {
    refuse("{\"t\":{\"dtype\":\"U8\",\"shape\":[1]}}", 0, "tensor \"t\": data_offsets is missing (byte 13)");
    refuse("{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor \"t\": shape is missing (byte 13)");
    refuse("{\"t\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, "tensor \"t\": dtype is given twice (byte 13)");
    refuse("{\"t\":{\"dtype\":5}}", 0, "cannot parse the JSON: got '5', want a string (byte 22)");
    refuse("{\"t\":{\"shape\":[-1]}}", 0, "a number in shape is not an integer from 0 up (byte 23)");
    refuse("{\"t\":{\"shape\":[1.0]}}", 0, "a number in shape is not an integer (byte 23)");
    refuse("{\"t\":{\"shape\":[1e2]}}", 0, "a number in shape is not an integer (byte 23)");
    refuse("{\"t\":{\"shape\":[\"1\"]}}", 0, "a number in shape is not an integer from 0 up (byte 23)");
    refuse("{\"t\":{\"shape\":[18446744073709551616]}}", 0, "a number in shape is 2^64 or more (byte 23)");
    refuse("{\"t\":{\"shape\":{}}}", 0, "cannot parse the JSON: got '{', want an array (byte 22)");
    refuse("{\"t\":{\"shape\":[4294967296,4294967296]}}", 0,
           "tensor \"t\": shape[1] is 4,294,967,296, which takes the number of elements past 2^64 (byte 13)");
    refuse("{\"t\":{\"shape\":[0,4294967296,4294967296]}}", 0,
           "tensor \"t\": shape[2] is 4,294,967,296, which takes the number of elements past 2^64 (byte 13)");
    refuse("{\"t\":{\"data_offsets\":[0]}}", 0, "tensor \"t\": data_offsets has 1 numbers, want 2 (byte 13)");
    refuse("{\"t\":{\"data_offsets\":[0,1,2]}}", 0, "tensor \"t\": data_offsets has more than 2 numbers (byte 13)");
    refuse("{\"t\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
           "tensor \"t\": 4,611,686,018,427,387,904 elements of F64 pass 2^64 bits (byte 13)");
    refuse("{\"t\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2,
           "tensor \"t\": 3 elements of F4 are no whole number of bytes (byte 13)");
    refuse("{\"t\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,12]}}", 12,
           "tensor \"t\": data_offsets hold 12 bytes, want 16 for 4 elements of F32 (byte 13)");
    refuse("{\"t\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,4]}}", 4,
           "tensor \"t\": data_offsets hold 4 bytes, want 0 for 0 elements of F32 (byte 13)");
    refuse("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,1]}}", 2,
           "tensor \"t\": data_offsets is [2, 1]: the end is before the begin (byte 13)");
    refuse("{\"t\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}", 8,
           "tensor \"t\": data ends at 9, the data section at 8 (byte 13)");
    refuse("{\"t\":{\"dtype\":\"X\",\"shape\":[9],\"data_offsets\":[0,18446744073709551615]}}", 8,
           "tensor \"t\": data ends at 18,446,744,073,709,551,615, the data section at 8 (byte 13)");
}

#define U8_AT(name, begin, end, n) \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" n "],\"data_offsets\":[" begin "," end "]}"

static void test_cover(void) {
    refuse("{" U8_AT("a", "0", "4", "4") "," U8_AT("b", "3", "8", "5") "}", 8,
           "tensor \"b\": data begins at 3, inside tensor \"a\", which ends at 4 (byte 65)");
    refuse("{" U8_AT("a", "2", "6", "4") "," U8_AT("b", "0", "8", "8") "}", 8,
           "tensor \"a\": data begins at 2, inside tensor \"b\", which ends at 8 (byte 13)");
    refuse("{" U8_AT("a", "0", "8", "8") "," U8_AT("b", "0", "8", "8") "}", 8,
           "tensor \"b\": data begins at 0, inside tensor \"a\", which ends at 8 (byte 65)");
    refuse("{" U8_AT("a", "0", "8", "8") "," U8_AT("b", "4", "4", "0") "}", 8,
           "tensor \"b\": data begins at 4, inside tensor \"a\", which ends at 8 (byte 65)");
    refuse("{" U8_AT("a", "0", "3", "3") "," U8_AT("b", "4", "8", "4") "}", 8,
           "tensor \"b\": data begins at 4, but what is before it ends at 3: a hole (byte 65)");
    refuse("{" U8_AT("a", "1", "8", "7") "}", 8,
           "tensor \"a\": data begins at 1, but what is before it ends at 0: a hole (byte 13)");
    refuse("{" U8_AT("a", "0", "7", "7") "}", 8, "the tensors end at 7, the data section at 8: a hole");
    refuse("{}", 1, "the tensors end at 0, the data section at 1: a hole");
    refuse("{" U8_AT("a", "0", "4", "4") "," U8_AT("a", "4", "8", "4") "}", 8,
           "tensor \"a\" is given twice (bytes 13 and 65)");
    refuse("{" U8_AT("a", "0", "4", "4") "," U8_AT("\\u0061", "4", "8", "4") "}", 8,
           "tensor \"a\" is given twice (bytes 13 and 70)");
}

static void test_arguments(void) {
    mlxn_safetensors *file = (mlxn_safetensors *)&file;
    mlxn_error error;
    CHECK(mlxn_safetensors_open(NULL, &file, &error) == MLXN_ERR_ARGUMENT && !file, "%s", error.message);
    CHECK(mlxn_safetensors_open("", &file, &error) == MLXN_ERR_ARGUMENT && !file, "%s", error.message);
    CHECK(mlxn_safetensors_open_memory(NULL, 9, "x", &file, &error) == MLXN_ERR_ARGUMENT && !file, "%s",
          error.message);
    CHECK(mlxn_safetensors_open("/no/such/file.safetensors", &file, &error) == MLXN_ERR_IO && !file, "%s",
          error.message);
    CHECK(error.driver_code != 0 && strstr(error.message, "/no/such/file.safetensors"), "%s", error.message);
    CHECK(mlxn_safetensors_open("/no/such/file.safetensors", &file, NULL) == MLXN_ERR_IO, "without a record too");
}

int main(void) {
    test_length();
    test_json();
    test_depth();
    test_records();
    test_cover();
    test_arguments();
    return TEST_DONE();
}
