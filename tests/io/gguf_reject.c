/* Promise: a file that breaks a rule of the format is refused with FORMAT and a message that names the file, the
 * record, both values and the byte offset of the broken field; never a crash, never a huge allocation. */
#include <mlxn/io.h>

#include "base/base.h"
#include "io/gguf_writer.h"
#include "test.h"

/* Expects refusal with exactly "test.gguf: <text> (byte <at>)". Frees the writer. */
static void refuse(gw *w, size_t at, const char *text) {
    mlxn_gguf *file = (mlxn_gguf *)w;
    mlxn_error error;
    char want[512];
    snprintf(want, sizeof want, "test.gguf: %s (byte %zu)", text, at);
    uint8_t *exact = malloc(w->size ? w->size : 1); /* so that the sanitizer sees a read past the end */
    if (!exact) exit(3);
    if (w->size) memcpy(exact, w->bytes, w->size);
    mlxn_status status = mlxn_gguf_open_memory(exact, w->size, "test.gguf", &file, &error);
    CHECK(status == MLXN_ERR_FORMAT && error.status == status, "%s: got %s", text, mlxn_status_name(status));
    CHECK(file == NULL, "%s: *out must be NULL", text);
    CHECK(!strcmp(error.message, want), "got  %s\n  want %s", error.message, want);
    mlxn_gguf_close(file);
    free(exact);
    gw_free(w);
}

static void test_header(void) {
    gw w = {0};
    refuse(&w, 0, "header: not a GGUF file: starts with \"\", want \"GGUF\"");
    gw_bytes(&w, "PK\3\4abc", 7);
    refuse(&w, 0, "header: not a GGUF file: starts with \"PK\\x03\\x04\", want \"GGUF\"");
    gw_bytes(&w, "GGUF\3\0\0\0", 8);
    refuse(&w, 4, "header: needs 24 bytes, file has 8");
    gw_header(&w, 1, 0, 0);
    refuse(&w, 4, "header: version is 1, want 2 or 3");
    gw_header(&w, 4, 0, 0);
    refuse(&w, 4, "header: version is 4, want 2 or 3");
    gw_header(&w, 3u << 24, 0, 0);
    refuse(&w, 4, "header: version 3 in big-endian order; want a little-endian file");
    gw_header(&w, 3, UINT64_MAX, 0);
    refuse(&w, 8, "header: tensor count is 18,446,744,073,709,551,615, want at most 1,000,000");
    gw_header(&w, 3, 5, 0), gw_zeros(&w, 100);
    refuse(&w, 8, "header: tensor count is 5, but the 100 bytes left hold at most 4");
    gw_header(&w, 3, 0, 1000001);
    refuse(&w, 16, "header: key count is 1,000,001, want at most 1,000,000");
    gw_header(&w, 3, 0, 999999), gw_zeros(&w, 26);
    refuse(&w, 16, "header: key count is 999,999, but the 26 bytes left hold at most 2");
    gw_header(&w, 3, 1, 1), gw_key_u32(&w, "key", 1);
    gw_zeros(&w, 5); /* enough for a tensor before the key is read, not after it */
    refuse(&w, 8, "header: tensor count is 1, but the 5 bytes left hold at most 0");
}

static void test_keys(void) {
    gw w = {0};
    gw_header(&w, 3, 0, 1), gw_u64(&w, 1000), gw_zeros(&w, 20);
    refuse(&w, 24, "key 0: name is a string of 1,000 bytes, 20 left in the file");
    gw_header(&w, 3, 0, 1), gw_u64(&w, UINT64_MAX), gw_zeros(&w, 20);
    refuse(&w, 24, "key 0: name is a string of 18,446,744,073,709,551,615 bytes, 20 left in the file");
    gw_header(&w, 3, 0, 1), gw_text(&w, "0123456789"), gw_u8(&w, 4);
    refuse(&w, 42, "key 0 \"0123456789\": value type needs 4 bytes, 1 left in the file");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 13), gw_zeros(&w, 8);
    refuse(&w, 33, "key 0 \"k\": value type is 13, want 0 to 12");
    gw_header(&w, 3, 0, 1), gw_key(&w, "kk", 10), gw_zeros(&w, 7);
    refuse(&w, 38, "key 0 \"kk\": value needs 8 bytes, 7 left in the file");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 8), gw_u64(&w, 4), gw_zeros(&w, 3);
    refuse(&w, 37, "key 0 \"k\": value is a string of 4 bytes, 3 left in the file");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 7), gw_u8(&w, 2);
    refuse(&w, 37, "key 0 \"k\": bool is 2, want 0 or 1");
    gw_header(&w, 3, 0, 2), gw_key_u32(&w, "a", 1);
    size_t at = w.size;
    gw_key_u32(&w, "a", 1);
    refuse(&w, at, "key 1 \"a\": has the name of key 0 at byte 24");
    gw_header(&w, 3, 0, 1), gw_key(&w, "bad\n\"\x1b[31m\xff", 99), gw_zeros(&w, 8);
    refuse(&w, 43, "key 0 \"bad\\x0a\\\"\\x1b[31m\\xff\": value type is 99, want 0 to 12");
    char name[70001];
    memset(name, 'n', sizeof name - 1), name[sizeof name - 1] = 0;
    gw_header(&w, 3, 0, 1), gw_key_u32(&w, name, 1);
    char want[200];
    snprintf(want, sizeof want, "key 0 \"%.64s\"…: name has 70,000 bytes, want at most 65,535", name);
    refuse(&w, 24, want);
}

static void test_arrays(void) {
    gw w = {0};
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 9), gw_array(&w, 77, 0);
    refuse(&w, 37, "key 0 \"k\": array element type is 77, want 0 to 12");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 9), gw_array(&w, 10, UINT64_MAX / 4), gw_zeros(&w, 16);
    refuse(&w, 37,
           "key 0 \"k\": array of 4,611,686,018,427,387,903 elements (u64) needs at least 8 bytes each, 16 left in "
           "the file");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 9), gw_array(&w, 8, 3), gw_zeros(&w, 16);
    refuse(&w, 37, "key 0 \"k\": array of 3 elements (string) needs at least 8 bytes each, 16 left in the file");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 9), gw_array(&w, 8, 2), gw_text(&w, "ab"), gw_u64(&w, 9);
    refuse(&w, 59, "key 0 \"k\": array element is a string of 9 bytes, 0 left in the file");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 9), gw_array(&w, 7, 3), gw_u8(&w, 1), gw_u8(&w, 0), gw_u8(&w, 9);
    refuse(&w, 51, "key 0 \"k\": bool is 9, want 0 or 1");
    gw_header(&w, 3, 0, 1), gw_key(&w, "k", 9);
    for (int depth = 0; depth < 1000; depth++) gw_array(&w, 9, 1);
    refuse(&w, 85, "key 0 \"k\": arrays are nested more than 4 deep");
}

static void test_alignment(void) {
    gw w = {0};
    gw_header(&w, 3, 0, 1), gw_key_u32(&w, "general.alignment", 0);
    refuse(&w, 24, "key \"general.alignment\": is 0, want a power of two");
    gw_header(&w, 3, 0, 1), gw_key_u32(&w, "general.alignment", 24);
    refuse(&w, 24, "key \"general.alignment\": is 24, want a power of two");
    gw_header(&w, 3, 0, 1), gw_key_text(&w, "general.alignment", "32");
    refuse(&w, 24, "key \"general.alignment\": is the string \"32\", want an unsigned integer");
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "t", 1, (uint64_t[]){1}, 0, 16);
    gw_align(&w, 32), gw_zeros(&w, 64);
    refuse(&w, 49, "tensor 0 \"t\": offset is 16, want a multiple of 32 (general.alignment)");
    gw_header(&w, 3, 1, 1);
    gw_key(&w, "general.alignment", 10), gw_u64(&w, (uint64_t)1 << 63);
    size_t at = gw_tensor(&w, "t", 1, (uint64_t[]){1}, 0, (uint64_t)1 << 63);
    refuse(&w, at, "tensor 0 \"t\": data at offset 9,223,372,036,854,775,808 of 4 bytes ends past 2^64");
}

static void test_shapes(void) {
    gw w = {0};
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "t", 5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0);
    refuse(&w, 33, "tensor 0 \"t\": rank is 5, want at most 4");
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "t", 2, (uint64_t[]){0, 7}, 0, 0);
    refuse(&w, 37, "tensor 0 \"t\": dim[1] is 0, want at least 1");
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "t", 2, (uint64_t[]){(uint64_t)1 << 40, (uint64_t)1 << 24}, 0, 0);
    refuse(&w, 45, "tensor 0 \"t\": dim[0] is 16,777,216, which takes the number of elements past 2^64");
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "t", 2, (uint64_t[]){(uint64_t)1 << 40, (uint64_t)1 << 23}, 0, 0);
    refuse(&w, 53, "tensor 0 \"t\": 9,223,372,036,854,775,808 elements of F32 pass 2^64 bytes");
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "t", 2, (uint64_t[]){100, 256}, 12, 0);
    refuse(&w, 53, "tensor 0 \"t\": dim[1] is 100, want a multiple of 256 (block of Q4_K)");
    gw_header(&w, 3, 1, 0), gw_text(&w, "cut off in the middle of it"), gw_u32(&w, 2), gw_u64(&w, 32);
    refuse(&w, 71, "tensor 0 \"cut off in the middle of it\": dim needs 8 bytes, 0 left in the file");
    static const struct {
        uint32_t type;
        const char *name;
    } retired[] = {{4, "Q4_2"},      {5, "Q4_3"},        {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
                   {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}};
    for (size_t i = 0; i < sizeof retired / sizeof retired[0]; i++) {
        char want[128];
        snprintf(want, sizeof want,
                 "tensor 0 \"t\": type %u (%s) was retired from the format; convert the model again", retired[i].type,
                 retired[i].name);
        gw_header(&w, 3, 1, 0);
        gw_tensor(&w, "t", 1, (uint64_t[]){256}, retired[i].type, 0);
        refuse(&w, 45, want);
    }
}

static void test_data(void) {
    gw w = {0};
    gw_header(&w, 3, 2, 0);
    gw_tensor(&w, "a", 1, (uint64_t[]){8}, 0, 0);
    size_t at = gw_tensor(&w, "b", 1, (uint64_t[]){8}, 0, 32);
    gw_align(&w, 32), gw_zeros(&w, 63); /* header 24, records 33 each: data from 96 to 160 */
    refuse(&w, at, "tensor 1 \"b\": data ends at 160, file at 159");
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "a", 1, (uint64_t[]){8}, 0, ~(uint64_t)31);
    refuse(&w, 24, "tensor 0 \"a\": data at offset 18,446,744,073,709,551,584 of 32 bytes ends past 2^64");
    gw_header(&w, 3, 1, 0);
    gw_tensor(&w, "a", 1, (uint64_t[]){8}, MLXN_FORMAT_AFFINE4_G32, 4096); /* no type of GGUF files */
    gw_align(&w, 32);
    refuse(&w, 24, "tensor 0 \"a\": data begins at 4,160, file at 64");
    gw_header(&w, 3, 2, 0);
    at = gw_tensor(&w, "a", 1, (uint64_t[]){8}, 0, 32);
    gw_tensor(&w, "b", 1, (uint64_t[]){9}, 0, 0);
    gw_align(&w, 32), gw_zeros(&w, 64);
    refuse(&w, at, "tensor 0 \"a\": data begins at 128, inside tensor 1 \"b\", which ends at 132");
    gw_header(&w, 3, 2, 0);
    gw_tensor(&w, "a", 1, (uint64_t[]){32}, 0, 0);
    at = gw_tensor(&w, "b", 1, (uint64_t[]){256}, 43, 64);
    gw_align(&w, 32), gw_zeros(&w, 128);
    refuse(&w, at, "tensor 1 \"b\": data begins at 160, inside tensor 0 \"a\", which ends at 224");
    gw_header(&w, 3, 2, 0);
    gw_tensor(&w, "a", 1, (uint64_t[]){1}, 0, 0);
    at = gw_tensor(&w, "a", 1, (uint64_t[]){1}, 0, 32);
    gw_align(&w, 32), gw_zeros(&w, 36);
    refuse(&w, at, "tensor 1 \"a\": has the name of tensor 0 at byte 24 of test.gguf");
}

static void test_arguments(void) {
    mlxn_gguf *file = NULL;
    mlxn_error error;
    gw w = {0};
    CHECK(mlxn_gguf_open_memory(NULL, 5, "m", &file, &error) == MLXN_ERR_ARGUMENT, "NULL data");
    CHECK(mlxn_gguf_open(NULL, &file, &error) == MLXN_ERR_ARGUMENT, "NULL path");
    CHECK(mlxn_gguf_open("", &file, &error) == MLXN_ERR_ARGUMENT, "empty path");
    CHECK(mlxn_gguf_open(".", &file, &error) == MLXN_ERR_ARGUMENT, "a folder");
    CHECK(strstr(error.message, "folder"), "%s", error.message);
    CHECK(mlxn_gguf_open("/dev/null", &file, &error) == MLXN_ERR_ARGUMENT, "a device");
    CHECK(mlxn_gguf_open("no/such/model.gguf", &file, &error) == MLXN_ERR_IO && error.driver_code == 2, "absent");
    CHECK(!strcmp(error.message, "no/such/model.gguf: cannot open: No such file or directory (errno 2)"), "%s",
          error.message);
    gw_header(&w, 3, 0, 2), gw_key_u16(&w, "split.no", 0), gw_key_u16(&w, "split.count", 2);
    CHECK(mlxn_gguf_open_memory(w.bytes, w.size, "m", &file, &error) == MLXN_ERR_ARGUMENT, "a part in memory");
    CHECK(!strcmp(error.message, "m: is part 1 of 2: open a split file by its path"), "%s", error.message);
    CHECK(mlxn_gguf_open_memory("GGUX", 4, NULL, &file, NULL) == MLXN_ERR_FORMAT, "no name, no error record");
    mlxn_gguf_close(NULL);
    gw_free(&w);
}

int main(void) {
    test_header();
    test_keys();
    test_arrays();
    test_alignment();
    test_shapes();
    test_data();
    test_arguments();
    return TEST_DONE();
}
