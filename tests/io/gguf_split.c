/* Promise: a model split over several files opens as one, from any of its parts, with each tensor in its part; parts
 * that are missing, misnamed, foreign or too few are named. Maps of real files can be wrapped and given back. */
#include <mlxn/io.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/gguf_walk.h"
#include "io/gguf_writer.h"
#include "test.h"

static char folder[160];

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void save(const gw *w, const char *name) {
    FILE *f = fopen(path_of(name), "wb");
    if (!f || fwrite(w->bytes, 1, w->size, f) != w->size || fclose(f)) {
        perror(name);
        exit(3);
    }
}

static const char *names[3] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};

/* Part `number` of three: one tensor "t<number>" of four floats that all are `number`, part 0 with one key more. */
static void write_part(uint16_t number, uint16_t count, uint32_t total, const char *tensor, const char *file) {
    gw w = {0};
    gw_header(&w, 3, 1, number ? 3 : 4);
    if (!number) gw_key_text(&w, "general.architecture", "llama");
    gw_key_u16(&w, "split.no", number);
    gw_key_u16(&w, "split.count", count);
    gw_key(&w, "split.tensors.count", 5), gw_u32(&w, total);
    gw_tensor(&w, tensor, 1, (uint64_t[]){4}, 0, 0);
    gw_align(&w, 32);
    for (int i = 0; i < 4; i++) gw_f32(&w, number);
    save(&w, file);
    gw_free(&w);
}

static void write_all(void) {
    write_part(0, 3, 3, "t0", names[0]);
    write_part(1, 3, 3, "t1", names[1]);
    write_part(2, 3, 3, "t2", names[2]);
}

static void test_open(void) {
    for (int from = 0; from < 3; from++) {
        mlxn_gguf *file;
        mlxn_error error;
        mlxn_string text;
        uint64_t size = 0;
        mlxn_status status = mlxn_gguf_open(path_of(names[from]), &file, &error);
        CHECK(status == MLXN_OK, "%s", error.message);
        if (status) continue;
        CHECK(mlxn_gguf_part_count(file) == 3 && mlxn_gguf_tensor_count(file) == 3, "three of each");
        CHECK(mlxn_gguf_get_string(file, "general.architecture", &text, NULL) == MLXN_OK, "keys of the first part");
        for (uint32_t i = 0; i < 3; i++) {
            char name[8];
            float value;
            struct stat info;
            mlxn_gguf_tensor t;
            snprintf(name, sizeof name, "t%u", i);
            CHECK(mlxn_gguf_find_tensor(file, name, &t) && t.part == i, "%s opened from part %d", name, from);
            memcpy(&value, t.data, 4);
            CHECK(value == (float)i, "%s holds %g", name, value);
            mlxn_gguf_release_pages(file, &t);
            memcpy(&value, t.data, 4);
            CHECK(value == (float)i, "%s after its pages were given back", name);
            if (!stat(path_of(names[i]), &info)) size += (uint64_t)info.st_size;
        }
        CHECK(mlxn_gguf_file_size(file) == size, "size of all parts");
        walk_file(file);
        mlxn_gguf_close(file);
    }
}

static void refuse(const char *name, mlxn_status want, const char *text) {
    mlxn_gguf *file = NULL;
    mlxn_error error;
    mlxn_status status = mlxn_gguf_open(path_of(name), &file, &error);
    CHECK(status == want && !file, "%s: got %s", text, mlxn_status_name(status));
    CHECK(strstr(error.message, text) != NULL, "\"%s\" lacks \"%s\"", error.message, text);
    mlxn_gguf_close(file);
}

static void test_refusals(void) {
    unlink(path_of(names[1]));
    refuse(names[0], MLXN_ERR_IO, "m-00001-of-00003.gguf: part 2 of 3 cannot be opened: ");
    refuse(names[0], MLXN_ERR_IO, "/m-00002-of-00003.gguf: cannot open: No such file");
    write_part(2, 3, 3, "t1", names[1]);
    refuse(names[0], MLXN_ERR_FORMAT, "m-00002-of-00003.gguf: says that it is part 3 of 3, want part 2 of 3");
    write_part(1, 4, 3, "t1", names[1]);
    refuse(names[0], MLXN_ERR_FORMAT, "says that it is part 2 of 4, want part 2 of 3");
    write_part(1, 3, 3, "t0", names[1]);
    refuse(names[2], MLXN_ERR_FORMAT, "m-00002-of-00003.gguf: tensor 1 \"t0\": has the name of tensor 0 at byte ");
    write_part(1, 3, 3, "t1", names[1]);
    write_part(0, 3, 4, "t0", names[0]);
    refuse(names[0], MLXN_ERR_FORMAT, "key \"split.tensors.count\": is 4, the parts hold 3");
    write_part(3, 3, 3, "t0", names[0]);
    refuse(names[0], MLXN_ERR_FORMAT, "key \"split.no\": is 3, want a number below 3 (split.count)");
    write_part(0, 3, 3, "t0", "other.gguf");
    refuse("other.gguf", MLXN_ERR_FORMAT,
           "other.gguf: is part 1 of 3, but its name does not end in \"-00001-of-00003.gguf\"");
    write_part(0, 1, 1, "t0", "single.gguf"); /* a split of one part is a file like any other */
    mlxn_gguf *file = NULL;
    CHECK(mlxn_gguf_open(path_of("single.gguf"), &file, NULL) == MLXN_OK, "one part");
    mlxn_gguf_close(file);
    FILE *empty = fopen(path_of("empty.gguf"), "wb");
    if (empty) fclose(empty);
    refuse("empty.gguf", MLXN_ERR_ARGUMENT, "/empty.gguf: is empty");
}

int main(void) {
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/mlxn-split-XXXXXX", base && strlen(base) < 100 ? base : P_tmpdir);
    if (!mkdtemp(folder)) {
        perror(folder);
        return 3;
    }
    write_all();
    test_open();
    test_refusals();
    static const char *const made[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                       "m-00003-of-00003.gguf", "other.gguf",
                                       "single.gguf",           "empty.gguf"};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) unlink(path_of(made[i]));
    CHECK(rmdir(folder) == 0, "%s is left behind", folder);
    return TEST_DONE();
}
