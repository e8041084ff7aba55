/* Promise: a folder of safetensors files opens as one model, by its index or by listing it, in one order; what the
 * index says is checked; it cannot reach files outside its folder; a name in two files is refused with both files. */
#include <mlxn/io.h>

#include "base/base.h"
#include "io/safetensors_walk.h"
#include "io/safetensors_writer.h"
#include "test.h"

static const char index_file[] = "model.safetensors.index.json";

/* A file with tensors of one float each, all names separated by spaces. */
static void write_shard(const char *file, const char *names) {
    gw w = {0};
    st_builder b = {.length = 0};
    char copy[256];
    snprintf(copy, sizeof copy, "%s", names);
    for (char *name = strtok(copy, " "); name; name = strtok(NULL, " ")) st_add(&b, name, "F32", "[1]", 4);
    st_finish(&b, &w);
    st_save(&w, file);
}

static mlxn_safetensors *open_good(const char *path) {
    mlxn_safetensors *file = NULL;
    mlxn_error error;
    CHECK(mlxn_safetensors_open(path, &file, &error) == MLXN_OK, "%s", error.message);
    return file;
}

static void refuse(const char *path, mlxn_status want, const char *first, const char *second) {
    mlxn_safetensors *file = (mlxn_safetensors *)&want;
    mlxn_error error;
    mlxn_status status = mlxn_safetensors_open(path, &file, &error);
    CHECK(status == want && !file, "%s: got %s: %s", path, mlxn_status_name(status), error.message);
    CHECK(strstr(error.message, first) && strstr(error.message, second), "want \"%s\" and \"%s\" in: %s", first,
          second, error.message);
}

static void test_listing(void) {
    refuse(st_folder, MLXN_ERR_IO, "No .safetensors files", st_folder);
    write_shard("b.safetensors", "x y");
    write_shard("a.safetensors", "z");
    st_save_text("not one", "c.safetensors.bak");
    st_save_text("not one", "._a.safetensors");
    mlxn_safetensors *file = open_good(st_folder);
    mlxn_safetensors_tensor t;
    if (!file) return;
    CHECK(mlxn_safetensors_shard_count(file) == 2 && mlxn_safetensors_tensor_count(file) == 3,
          "two files, three tensors");
    CHECK(!strcmp(mlxn_safetensors_shard_name(file, 0), "a.safetensors"), "sorted by name");
    CHECK(mlxn_safetensors_tensor_at(file, 0, &t) && !strcmp(t.name.data, "z") && t.shard == 0, "z is first");
    CHECK(mlxn_safetensors_find_tensor(file, "y", &t) && t.shard == 1, "y is in the second");
    CHECK(!strcmp(mlxn_safetensors_name(file, 0).data, "x"), "names are sorted over all files");
    walk_safetensors(file);
    mlxn_safetensors_release_pages(file, &t);
    CHECK(t.data[0] == 4, "read again");
    mlxn_device *device = NULL;
    mlxn_buffer *buffer = NULL;
    mlxn_error error;
    CHECK(mlxn_device_create(NULL, &device, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_safetensors_wrap(file, 1, device, &buffer, &error) == MLXN_OK, "%s", error.message);
    CHECK(!memcmp((uint8_t *)mlxn_buffer_contents(buffer) + t.offset, t.data, 4), "a mapped shard in place");
    mlxn_buffer_release(&buffer);
    CHECK(mlxn_safetensors_load_tensor(file, "q", device, &buffer, &error) == MLXN_ERR_NOT_FOUND &&
              !strcmp(error.message, "a.safetensors and the other shards: there is no tensor \"q\""),
          "%s", error.message);
    mlxn_device_release(&device);
    mlxn_safetensors_close(file);
    file = open_good(st_path("a.safetensors")); /* one file of a folder, by itself */
    CHECK(file && mlxn_safetensors_tensor_count(file) == 1, "one file");
    mlxn_safetensors_close(file);
    write_shard("d.safetensors", "w z");
    refuse(st_folder, MLXN_ERR_FORMAT, "tensor \"z\" is both in a.safetensors", "and in d.safetensors");
    st_save_text("", "d.safetensors");
    refuse(st_folder, MLXN_ERR_ARGUMENT, "d.safetensors", "empty");
    unlink(st_path("d.safetensors"));
}

static void refuse_index(const char *text, mlxn_status want, const char *first, const char *second) {
    st_save_text(text, index_file);
    refuse(st_folder, want, first, second);
}

static void test_index(void) {
    write_shard("e.safetensors", "x"); /* a copy of x that the index does not name */
    st_save_text(
        "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"x\":\"b.safetensors\",\"z\":\"a.safetensors\","
        "\"y\":\"b.safetensors\"}}",
        index_file);
    mlxn_safetensors *file = open_good(st_folder);
    if (file) {
        CHECK(mlxn_safetensors_shard_count(file) == 2 && mlxn_safetensors_tensor_count(file) == 3, "what it names");
        mlxn_safetensors_close(file);
    }
    file = open_good(st_path(index_file));
    CHECK(file && mlxn_safetensors_tensor_count(file) == 3, "by the index's own path");
    mlxn_safetensors_close(file);
    char here[256];
    if (getcwd(here, sizeof here) && chdir(st_folder) == 0) { /* paths without a folder */
        file = open_good(index_file);
        mlxn_safetensors_close(file);
        file = open_good(".");
        mlxn_safetensors_close(file);
        CHECK(chdir(here) == 0, "back to %s", here);
    }
    refuse_index("{\"weight_map\":{\"x\":\"b.safetensors\",\"q\":\"a.safetensors\"}}", MLXN_ERR_FORMAT,
                 "index.json: tensor \"q\" is not in \"a.safetensors\"", "");
    refuse_index("{\"weight_map\":{\"x\":\"b.safetensors\",\"y\":\"a.safetensors\"}}", MLXN_ERR_FORMAT,
                 "index.json: tensor \"y\" is not in \"a.safetensors\"", "but in b.safetensors");
    refuse_index("{\"weight_map\":{\"x\":\"b.safetensors\",\"x\":\"b.safetensors\"}}", MLXN_ERR_FORMAT,
                 "tensor \"x\" is given twice", "");
    refuse_index("{\"weight_map\":{\"x\":\"b.safetensors\",\"x\":\"a.safetensors\"}}", MLXN_ERR_FORMAT,
                 "tensor \"x\" is not in \"a.safetensors\"", "");
    refuse_index("{\"weight_map\":{\"x\":\"b.safetensors\",\"z\":\"e.safetensors\"}}", MLXN_ERR_FORMAT,
                 "tensor \"x\" is both in b.safetensors", "and in e.safetensors");
    refuse_index("{\"weight_map\":{\"x\":\"f.safetensors\"}}", MLXN_ERR_IO, "index.json: a shard cannot be opened",
                 "f.safetensors");
    refuse_index("{\"weight_map\":{}}", MLXN_ERR_FORMAT, "weight_map is empty", index_file);
    refuse_index("{}", MLXN_ERR_FORMAT, "weight_map is missing", index_file);
    refuse_index("{\"weight_map\":{\"x\":\"b.safetensors\"},\"weight_map\":{}}", MLXN_ERR_FORMAT,
                 "weight_map is given twice", index_file);
    refuse_index("{\"weight_map\":[]}", MLXN_ERR_FORMAT, "cannot parse", index_file);
    refuse_index("{\"weight_map\":{\"x\":1}}", MLXN_ERR_FORMAT, "cannot parse", index_file);
    refuse_index("{\"weight_map\":{\"x\":\"b.safetensors\"}", MLXN_ERR_FORMAT, "cannot parse", index_file);
    static const char *const outside[] = {"../b.safetensors",
                                          "/etc/b.safetensors",
                                          "a/b.safetensors",
                                          "..safetensors",
                                          "a\\\\b.safetensors",
                                          "c:b.safetensors",
                                          ".safetensors",
                                          "config.json",
                                          "b.safetensors\\u0000.safetensors",
                                          ""};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"weight_map\":{\"x\":\"%s\"}}", outside[i]);
        refuse_index(text, MLXN_ERR_FORMAT, "want the name of a .safetensors file of this folder", index_file);
    }
    st_save_text("", index_file);
    refuse(st_folder, MLXN_ERR_ARGUMENT, index_file, "empty");
}

static void test_allocations(void) {
    st_save_text("{\"weight_map\":{\"x\":\"b.safetensors\",\"z\":\"a.safetensors\"}}", index_file);
    for (int indexed = 1; indexed >= 0; indexed--) {
        uint64_t failures = 0;
        if (!indexed) unlink(st_path(index_file)), unlink(st_path("e.safetensors"));
        for (uint64_t k = 1; k < 1000; k++) {
            mlxn_safetensors *file = NULL;
            mlxn_error error;
            mlxn_alloc_fail_at(k);
            mlxn_status status = mlxn_safetensors_open(st_folder, &file, &error);
            mlxn_alloc_fail_at(0);
            mlxn_safetensors_close(file);
            if (status == MLXN_OK) break;
            failures++;
            CHECK(status == MLXN_ERR_MEMORY && !file, "allocation %llu: %s", (unsigned long long)k, error.message);
        }
        CHECK(failures >= 12 && failures < 999, "%llu allocations were seen", (unsigned long long)failures);
    }
}

int main(void) {
    st_make_folder();
    test_listing();
    test_index();
    test_allocations();
    static const char *const files[] = {"a.safetensors", "b.safetensors", "c.safetensors.bak", "._a.safetensors"};
    for (int i = 0; i < 4; i++) unlink(st_path(files[i]));
    CHECK(rmdir(st_folder) == 0, "%s is left", st_folder);
    return TEST_DONE();
}
