/* Promise: a GGUF file that is written reads back with the same keys, values and tensors, byte for byte; nothing has
 * the file's name before it is complete; what is there is kept unless overwriting was asked for; a second writer of
 * one file is refused, and what a crash left is taken over; wrong calls and wrong shapes get messages, and then the
 * writer goes on. */
#include <mlxn/write.h>
#include <sys/stat.h>

#include "io/gguf_walk.h"
#include "io/safetensors_writer.h"
#include "test.h"

static bool there(const char *name) {
    struct stat info;
    return !stat(st_path(name), &info);
}

static char *named(mlxn_string name) {
    char *copy = strndup(name.data, (size_t)name.size);
    if (!copy) exit(3);
    return copy;
}

static bool same_value(const mlxn_gguf_value *a, const mlxn_gguf_value *b) {
    if (a->type != b->type) return false;
    if (a->type == MLXN_GGUF_STRING)
        return a->v.s.size == b->v.s.size && !memcmp(a->v.s.data, b->v.s.data, (size_t)a->v.s.size);
    if (a->type != MLXN_GGUF_ARRAY) return a->v.u == b->v.u;
    return a->v.array.element == b->v.array.element && a->v.array.count == b->v.array.count &&
           a->v.array.bytes == b->v.array.bytes &&
           !memcmp(a->v.array.data, b->v.array.data, (size_t)a->v.array.bytes);
}

/* Everything of `file` but its tensor of unknown type. */
static void copy_records(const mlxn_gguf *file, mlxn_gguf_writer *writer) {
    mlxn_gguf_tensor t;
    for (uint64_t i = 0; i < mlxn_gguf_key_count(file); i++) {
        char *name = named(mlxn_gguf_key(file, i));
        mlxn_gguf_value value = mlxn_gguf_value_at(file, i);
        CHECK(!mlxn_gguf_writer_set(writer, name, &value, NULL), "%s", name);
        free(name);
    }
    for (uint64_t i = 0; mlxn_gguf_tensor_at(file, i, &t); i++) {
        char *name = named(t.name);
        if (t.bytes) CHECK(!mlxn_gguf_writer_add_tensor(writer, name, t.type, t.rank, t.dims, NULL), "%s", name);
        free(name);
    }
}

static void check_copy(const mlxn_gguf *a, const mlxn_gguf *b) {
    uint64_t keys = 0, tensors = 0;
    mlxn_gguf_tensor t, u;
    for (uint64_t i = 0; i < mlxn_gguf_key_count(a); i++) {
        char *name = named(mlxn_gguf_key(a, i));
        mlxn_gguf_value value = mlxn_gguf_value_at(a, i), copy;
        bool own = !strcmp(name, "general.alignment");
        CHECK(mlxn_gguf_find(b, name, &copy) == !own, "%s", name);
        if (!own) CHECK(same_value(&value, &copy), "%s", name);
        if (!own) CHECK(mlxn_gguf_key(b, keys++).size == strlen(name), "order of %s", name);
        free(name);
    }
    CHECK(mlxn_gguf_key_count(b) == keys, "no other keys");
    for (uint64_t i = 0; mlxn_gguf_tensor_at(a, i, &t); i++) {
        if (!t.bytes) continue;
        char *name = named(t.name);
        bool found = mlxn_gguf_find_tensor(b, name, &u);
        CHECK(found, "%s", name);
        CHECK(found && t.type == u.type && t.rank == u.rank && !memcmp(t.dims, u.dims, sizeof t.dims) &&
                  t.bytes == u.bytes && !memcmp(t.data, u.data, (size_t)t.bytes),
              "%s", name);
        CHECK(found && u.offset % 32 == 0, "%s: alignment", name);
        free(name);
        tensors++;
    }
    CHECK(mlxn_gguf_tensor_count(b) == tensors, "no other tensors");
}

/* In pieces of 7 bytes. */
static void write_pieces(mlxn_gguf_writer *writer, const uint8_t *data, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at += 7) {
        mlxn_error error;
        CHECK(!mlxn_gguf_writer_write(writer, data + at, at + 7 < bytes ? 7 : bytes - at, &error), "%s",
              error.message);
    }
}

static void test_round_trip(void) {
    gw w = {0};
    gw_sample(&w, 3);
    mlxn_gguf *file = NULL, *copy = NULL;
    mlxn_gguf_writer *writer = NULL;
    mlxn_error error;
    CHECK(!mlxn_gguf_open_memory(w.bytes, w.size, "sample", &file, &error), "%s", error.message);
    CHECK(!mlxn_gguf_writer_create(st_path("copy.gguf"), false, &writer, &error), "%s", error.message);
    copy_records(file, writer);
    mlxn_gguf_tensor t;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(file, i, &t); i++) write_pieces(writer, t.data, t.bytes);
    CHECK(!there("copy.gguf") && there("copy.gguf.partial"), "no name before the end");
    CHECK(!mlxn_gguf_writer_finish(&writer, &error) && !writer, "%s", error.message);
    CHECK(there("copy.gguf") && !there("copy.gguf.partial"), "its name, and no other");
    CHECK(!mlxn_gguf_open(st_path("copy.gguf"), &copy, &error), "%s", error.message);
    if (copy) check_copy(file, copy);
    mlxn_gguf_close(copy);
    mlxn_gguf_close(file);
    gw_free(&w);
}

static void test_setters(void) {
    mlxn_gguf_writer *writer = NULL;
    mlxn_gguf *file = NULL;
    mlxn_error error;
    const mlxn_string words[] = {{"a", 1}, {"", 0}, {"b\0c", 3}};
    CHECK(!mlxn_gguf_writer_create(st_path("set.gguf"), false, &writer, NULL), "create");
    CHECK(!mlxn_gguf_writer_set_u32(writer, "n", 1, NULL) && !mlxn_gguf_writer_set_u32(writer, "gone", 5, NULL),
          "set");
    CHECK(!mlxn_gguf_writer_set_f32(writer, "x", 0.1f, NULL) && !mlxn_gguf_writer_set_bool(writer, "yes", true, NULL),
          "set");
    CHECK(!mlxn_gguf_writer_set_text(writer, "t", "text", NULL) &&
              !mlxn_gguf_writer_set_strings(writer, "w", words, 3, NULL),
          "set");
    CHECK(!mlxn_gguf_writer_set_u32(writer, "n", 7, NULL) && !mlxn_gguf_writer_remove(writer, "gone", NULL), "again");
    CHECK(!mlxn_gguf_writer_remove(writer, "never", NULL), "nothing to remove");
    CHECK(!mlxn_gguf_writer_finish(&writer, &error), "no tensors: %s", error.message);
    CHECK(!mlxn_gguf_open(st_path("set.gguf"), &file, &error), "%s", error.message);
    if (!file) return;
    uint64_t n = 0, cursor = 0, i = 0;
    double x = 0;
    bool yes = false;
    mlxn_string s;
    mlxn_gguf_value v;
    CHECK(!mlxn_gguf_get_u64(file, "n", &n, NULL) && n == 7, "replaced");
    CHECK(!mlxn_gguf_get_f64(file, "x", &x, NULL) && x == (double)0.1f, "f32");
    CHECK(!mlxn_gguf_get_bool(file, "yes", &yes, NULL) && yes, "bool");
    CHECK(!mlxn_gguf_get_string(file, "t", &s, NULL) && s.size == 4, "text");
    CHECK(mlxn_gguf_find(file, "w", &v) && v.v.array.count == 3, "strings");
    for (; mlxn_gguf_next_string(&v, &cursor, &s); i++)
        CHECK(s.size == words[i].size && !memcmp(s.data, words[i].data, (size_t)s.size), "string %d", (int)i);
    CHECK(mlxn_gguf_key_count(file) == 5 && !mlxn_gguf_find(file, "gone", &v), "removed");
    mlxn_gguf_close(file);
}

static void test_names(void) {
    mlxn_gguf_writer *a = NULL, *b = NULL;
    mlxn_error error;
    st_save_text("keep me", "old.gguf");
    CHECK(mlxn_gguf_writer_create(st_path("old.gguf"), false, &a, &error) == MLXN_ERR_IO && !a, "refused");
    CHECK(strstr(error.message, "old.gguf: is there already"), "%s", error.message);
    CHECK(mlxn_gguf_writer_create(st_folder, true, &a, &error) == MLXN_ERR_ARGUMENT && !a, "a folder");
    CHECK(mlxn_gguf_writer_create("", true, &a, &error) == MLXN_ERR_ARGUMENT, "no path");
    CHECK(mlxn_gguf_writer_create(st_path("absent/x.gguf"), true, &a, &error) == MLXN_ERR_IO, "no folder");
    CHECK(strstr(error.message, "absent/x.gguf.partial"), "%s", error.message);

    CHECK(!mlxn_gguf_writer_create(st_path("new.gguf"), false, &a, &error), "%s", error.message);
    CHECK(mlxn_gguf_writer_create(st_path("new.gguf"), false, &b, &error) == MLXN_ERR_IO && !b, "two writers");
    CHECK(strstr(error.message, "another process is writing it"), "%s", error.message);
    CHECK(there("new.gguf.partial"), "the first one's file stays");
    mlxn_gguf_writer_destroy(a);
    CHECK(!there("new.gguf.partial") && !there("new.gguf"), "nothing is left");

    st_save_text("left by a crash", "new.gguf.partial");
    CHECK(!mlxn_gguf_writer_create(st_path("new.gguf"), false, &a, &error), "%s", error.message);
    st_save_text("came meanwhile", "new.gguf");
    CHECK(mlxn_gguf_writer_finish(&a, &error) == MLXN_ERR_IO, "the name is taken");
    CHECK(!there("new.gguf.partial"), "nothing is left");
    struct stat info;
    CHECK(!stat(st_path("new.gguf"), &info) && info.st_size == 14, "what came is whole");
    CHECK(!mlxn_gguf_writer_create(st_path("new.gguf"), true, &a, &error), "%s", error.message);
    CHECK(!stat(st_path("new.gguf"), &info) && info.st_size == 14, "it is there until the end");
    CHECK(!mlxn_gguf_writer_finish(&a, &error), "%s", error.message);
    CHECK(!stat(st_path("new.gguf"), &info) && info.st_size == 32, "overwritten, %d bytes", (int)info.st_size);

    /* A crash between the two names of a finished file: its bytes are not touched by the next writer. */
    CHECK(!link(st_path("new.gguf"), st_path("new2.gguf.partial")), "link");
    CHECK(!mlxn_gguf_writer_create(st_path("new2.gguf"), false, &a, &error), "%s", error.message);
    CHECK(!stat(st_path("new.gguf"), &info) && info.st_size == 32, "the other name keeps the bytes");
    mlxn_gguf_writer_destroy(a);
}

static void test_wrong_calls(void) {
    static const uint8_t data[64];
    mlxn_gguf_writer *w = NULL;
    mlxn_error e;
    const uint64_t two[] = {2, 32}, odd[] = {2, 33}, none[] = {0}, huge[] = {1ull << 40, 1ull << 40};
    CHECK(!mlxn_gguf_writer_create(st_path("wrong.gguf"), false, &w, NULL), "create");
    CHECK(mlxn_gguf_writer_set_u32(w, "", 1, &e) == MLXN_ERR_ARGUMENT && strstr(e.message, "0 bytes"), "%s",
          e.message);
    CHECK(mlxn_gguf_writer_set(w, "k", &(mlxn_gguf_value){.type = (mlxn_gguf_type)13}, &e) == MLXN_ERR_ARGUMENT,
          "type");
    CHECK(mlxn_gguf_writer_add_tensor(w, "t", MLXN_FORMAT_Q4_0, 2, odd, &e) == MLXN_ERR_ARGUMENT, "blocks");
    CHECK(strstr(e.message, "33") && strstr(e.message, "32") && strstr(e.message, "\"t\""), "%s", e.message);
    CHECK(mlxn_gguf_writer_add_tensor(w, "t", 200, 2, two, &e) == MLXN_ERR_UNSUPPORTED, "%s", e.message);
    CHECK(mlxn_gguf_writer_add_tensor(w, "t", 0, 5, two, &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(mlxn_gguf_writer_add_tensor(w, "t", 0, 1, none, &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(mlxn_gguf_writer_add_tensor(w, "t", 0, 2, huge, &e) == MLXN_ERR_LIMIT, "%s", e.message);
    CHECK(mlxn_gguf_writer_add_tensor(w, "", 0, 2, two, &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(!mlxn_gguf_writer_add_tensor(w, "t", MLXN_FORMAT_Q4_0, 2, two, &e), "%s", e.message);
    CHECK(mlxn_gguf_writer_tensor_bytes(w, 0) == 36 && mlxn_gguf_writer_tensor_bytes(w, 1) == 0, "bytes");
    CHECK(mlxn_gguf_writer_write(w, data, 37, &e) == MLXN_ERR_ARGUMENT, "too much");
    CHECK(strstr(e.message, "37 bytes for \"t\", which takes 36 more"), "%s", e.message);
    CHECK(!mlxn_gguf_writer_write(w, data, 20, &e), "%s", e.message);
    CHECK(mlxn_gguf_writer_set_u32(w, "k", 1, &e) == MLXN_ERR_STATE, "too late for keys");
    CHECK(mlxn_gguf_writer_add_tensor(w, "u", 0, 2, two, &e) == MLXN_ERR_STATE, "too late for tensors");
    CHECK(!mlxn_gguf_writer_write(w, data, 16, &e), "%s", e.message);
    CHECK(mlxn_gguf_writer_write(w, data, 1, &e) == MLXN_ERR_ARGUMENT && strstr(e.message, "no tensor"), "%s",
          e.message);
    CHECK(!mlxn_gguf_writer_finish(&w, &e), "after all that: %s", e.message);

    CHECK(!mlxn_gguf_writer_create(st_path("short.gguf"), false, &w, NULL), "create");
    CHECK(!mlxn_gguf_writer_add_tensor(w, "t", 0, 2, two, NULL), "declare");
    CHECK(mlxn_gguf_writer_finish(&w, &e) == MLXN_ERR_STATE && strstr(e.message, "1 of 1 tensors"), "%s", e.message);
    CHECK(!there("short.gguf") && !there("short.gguf.partial") && !w, "nothing is left");
    CHECK(!mlxn_gguf_writer_create(st_path("twice.gguf"), false, &w, NULL), "create");
    for (int i = 0; i < 2; i++) CHECK(!mlxn_gguf_writer_add_tensor(w, "t", 0, 2, two, NULL), "declare");
    CHECK(mlxn_gguf_writer_write(w, data, 1, &e) == MLXN_ERR_ARGUMENT && strstr(e.message, "0 and 1"), "%s",
          e.message);
    mlxn_gguf_writer_destroy(w);
    mlxn_gguf_writer_destroy(NULL);
}

int main(void) {
    st_make_folder();
    test_round_trip();
    test_setters();
    test_names();
    test_wrong_calls();
    st_remove_folder();
    return TEST_DONE();
}
