/* Promise: safetensors folders that are written read back with the same tensors, metadata and bytes, in one file or
 * in shards with an index; the weights of two models are never mixed in one folder; an unfinished one has no file
 * that a reader would take; wrong calls get messages. */
#include <mlxn/write.h>

#include "io/safetensors_writer.h"
#include "test.h"

enum { TENSORS = 6 };

static const struct {
    const char *name;
    mlxn_st_dtype dtype;
    uint32_t rank;
    uint64_t dims[5], bytes;
} tensors[TENSORS] = {
    {"b \"quoted\\\" \xc3\xa9\n", MLXN_ST_F32, 2, {2, 3}, 24},
    {"a", MLXN_ST_BF16, 1, {5}, 10},
    {"none", MLXN_ST_F16, 2, {0, 7}, 0},
    {"scalar", MLXN_ST_I64, 0, {0}, 8},
    {"half bytes", MLXN_ST_F4, 2, {3, 2}, 3},
    {"words", MLXN_ST_U32, 5, {1, 1, 2, 1, 2}, 16},
};

static int files(const char *end) {
    DIR *dir = opendir(st_folder);
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        size_t length = strlen(e->d_name), m = strlen(end);
        n += length >= m && !strcmp(e->d_name + length - m, end);
    }
    if (dir) closedir(dir);
    return n;
}

static uint8_t byte_of(int tensor, uint64_t i) { return (uint8_t)(tensor * 50 + (int)i + 1); }

/* All of them, in pieces of `piece` bytes; pieces end where tensors do. */
static mlxn_status write_all(uint64_t shard_bytes, bool overwrite, uint64_t piece, mlxn_error *error) {
    mlxn_safetensors_writer *w = NULL;
    mlxn_status status = mlxn_safetensors_writer_create(st_folder, shard_bytes, overwrite, &w, error);
    if (status) return status;
    CHECK(!mlxn_safetensors_writer_metadata(w, "format", "mlx", error), "%s", error->message);
    CHECK(!mlxn_safetensors_writer_metadata(w, "\xc3\xa9", "a \"b\"\t", error), "%s", error->message);
    for (int i = 0; i < TENSORS; i++)
        CHECK(!mlxn_safetensors_writer_add(w, tensors[i].name, tensors[i].dtype, tensors[i].rank, tensors[i].dims,
                                           error),
              "%s", error->message);
    for (int i = 0; i < TENSORS; i++) {
        uint8_t data[64];
        for (uint64_t k = 0; k < tensors[i].bytes; k++) data[k] = byte_of(i, k);
        for (uint64_t at = 0; at < tensors[i].bytes; at += piece) {
            uint64_t n = at + piece < tensors[i].bytes ? piece : tensors[i].bytes - at;
            CHECK(!mlxn_safetensors_writer_write(w, data + at, n, error), "%s", error->message);
        }
    }
    CHECK(files(".safetensors") == 0 || overwrite, "no names before the end");
    return mlxn_safetensors_writer_finish(&w, error);
}

static void check_all(uint32_t shards) {
    mlxn_safetensors *file = NULL;
    mlxn_error error;
    CHECK(!mlxn_safetensors_open(st_folder, &file, &error), "%s", error.message);
    if (!file) return;
    CHECK(mlxn_safetensors_shard_count(file) == shards, "%u shards", mlxn_safetensors_shard_count(file));
    CHECK(mlxn_safetensors_tensor_count(file) == TENSORS, "tensors");
    CHECK(files(".partial") == 0 && files(".index.json") == (shards > 1), "other files");
    CHECK(files(".safetensors") == (int)shards, "no stale shards");
    for (int i = 0; i < TENSORS; i++) {
        mlxn_safetensors_tensor t;
        bool found = mlxn_safetensors_find_tensor(file, tensors[i].name, &t);
        CHECK(found, "%s", tensors[i].name);
        if (!found) continue;
        CHECK(t.dtype == tensors[i].dtype && t.rank == tensors[i].rank && t.bytes == tensors[i].bytes, "%s",
              tensors[i].name);
        for (uint32_t d = 0; d < t.rank; d++) CHECK(t.dims[d] == tensors[i].dims[d], "%s", tensors[i].name);
        for (uint64_t k = 0; k < t.bytes; k++)
            CHECK(t.data[k] == byte_of(i, k), "%s, byte %d", tensors[i].name, (int)k);
    }
    mlxn_string value;
    CHECK(mlxn_safetensors_metadata(file, "format", &value) && value.size == 3, "metadata");
    CHECK(mlxn_safetensors_metadata(file, "\xc3\xa9", &value) && value.size == 6, "escapes");
    mlxn_safetensors_close(file);
}

static void test_round_trips(void) {
    static const struct {
        uint64_t shard_bytes;
        uint32_t shards;
    } cases[] = {{0, 1}, {30, 3}, {1, 5}, {24, 3}, {61, 1}, {60, 2}};
    mlxn_error error;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (uint64_t piece = 1; piece < 64; piece += 31) {
            CHECK(!write_all(cases[i].shard_bytes, i || piece > 1, piece, &error), "%s", error.message);
            check_all(cases[i].shards);
        }
    CHECK(write_all(0, false, 64, &error) == MLXN_ERR_IO && strstr(error.message, "is there already"), "%s",
          error.message);
    check_all(2);
}

static void test_wrong_calls(void) {
    static const uint8_t data[64];
    const uint64_t dims[] = {3}, huge[] = {1ull << 40, 1ull << 40};
    mlxn_safetensors_writer *w = NULL;
    mlxn_error e;
    st_remove_folder();
    CHECK(mlxn_safetensors_writer_create(st_folder, 0, false, &w, &e) == MLXN_ERR_IO && !w, "no folder");
    CHECK(mlxn_safetensors_writer_create("", 0, false, &w, &e) == MLXN_ERR_ARGUMENT, "no path");
    st_make_folder();
    CHECK(!mlxn_safetensors_writer_create(st_folder, 0, false, &w, &e), "%s", e.message);
    CHECK(mlxn_safetensors_writer_add(w, "\xff", MLXN_ST_U8, 1, dims, &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(mlxn_safetensors_writer_add(w, "t", MLXN_ST_UNKNOWN, 1, dims, &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(mlxn_safetensors_writer_add(w, "t", MLXN_ST_F4, 1, dims, &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(strstr(e.message, "12 bits"), "%s", e.message);
    CHECK(mlxn_safetensors_writer_add(w, "t", MLXN_ST_F32, 2, huge, &e) == MLXN_ERR_LIMIT, "%s", e.message);
    CHECK(mlxn_safetensors_writer_metadata(w, "k", "\xff", &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(!mlxn_safetensors_writer_metadata(w, "k", "v", &e), "%s", e.message);
    CHECK(mlxn_safetensors_writer_metadata(w, "k", "w", &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(!mlxn_safetensors_writer_add(w, "t", MLXN_ST_U8, 1, dims, &e), "%s", e.message);
    CHECK(mlxn_safetensors_writer_write(w, data, 4, &e) == MLXN_ERR_ARGUMENT, "too much");
    CHECK(strstr(e.message, "4 bytes for \"t\", which takes 3 more"), "%s", e.message);
    CHECK(!mlxn_safetensors_writer_write(w, data, 2, &e), "%s", e.message);
    CHECK(mlxn_safetensors_writer_add(w, "u", MLXN_ST_U8, 1, dims, &e) == MLXN_ERR_STATE, "%s", e.message);
    CHECK(mlxn_safetensors_writer_finish(&w, &e) == MLXN_ERR_STATE && !w, "%s", e.message);
    CHECK(files(".partial") == 0 && files(".safetensors") == 0, "nothing is left");

    CHECK(!mlxn_safetensors_writer_create(st_folder, 0, false, &w, &e), "%s", e.message);
    for (int i = 0; i < 2; i++) CHECK(!mlxn_safetensors_writer_add(w, "t", MLXN_ST_U8, 1, dims, &e), "%s", e.message);
    CHECK(mlxn_safetensors_writer_write(w, data, 1, &e) == MLXN_ERR_ARGUMENT && strstr(e.message, "0 and 1"), "%s",
          e.message);
    mlxn_safetensors_writer_destroy(w);
    mlxn_safetensors_writer_destroy(NULL);

    CHECK(!mlxn_safetensors_writer_create(st_folder, 0, false, &w, &e), "%s", e.message);
    CHECK(!mlxn_safetensors_writer_finish(&w, &e), "no tensors: %s", e.message);
    mlxn_safetensors *file = NULL;
    CHECK(!mlxn_safetensors_open(st_folder, &file, &e) && mlxn_safetensors_tensor_count(file) == 0, "%s", e.message);
    mlxn_safetensors_close(file);
}

int main(void) {
    st_make_folder();
    test_round_trips();
    test_wrong_calls();
    st_remove_folder();
    return TEST_DONE();
}
