/* Promise: a kernel is prepared once for each set of constants, whatever their order and however many threads ask at
 * once; registering a name again forgets its variants and leaves kernels in use alone; a failure changes nothing and
 * says which kernel and why; a cache of the disk is used when it is whole and replaced when it is not. */
#include <dirent.h>
#include <mlxn/mlxn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "test.h"

static mlxn_error error;

static mlxn_device *open_device(const char *backend, mlxn_log_fn log, void *user) {
    mlxn_device_desc desc = {
        .struct_size = sizeof desc, .backend = backend, .threads = 1, .log = log, .log_user = user};
    mlxn_device *device = NULL;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    return device;
}

static mlxn_registry *open_registry(mlxn_device *device) {
    mlxn_registry *r = NULL;
    CHECK(mlxn_registry_create(device, &r, &error) == MLXN_OK && r, "%s", error.message);
    return r;
}

static mlxn_constant int_constant(uint32_t index, int32_t value) {
    return (mlxn_constant){.index = index, .kind = MLXN_CONSTANT_INT, .v.i = value};
}
static mlxn_constant bool_constant(uint32_t index, bool value) {
    return (mlxn_constant){.index = index, .kind = MLXN_CONSTANT_BOOL, .v.b = value};
}
static mlxn_constant float_constant(uint32_t index, float value) {
    return (mlxn_constant){.index = index, .kind = MLXN_CONSTANT_FLOAT, .v.f = value};
}

static mlxn_kernel *get(mlxn_registry *r, const char *name, const mlxn_constant *constants, uint32_t n) {
    mlxn_kernel *k = NULL;
    CHECK(mlxn_registry_get(r, name, constants, n, &k, &error) == MLXN_OK && k, "%s: %s", name, error.message);
    return k;
}

/* The label of a kernel that is looked up and let go. */
static void check_label(mlxn_registry *r, const char *name, const mlxn_constant *constants, uint32_t n,
                        const char *want) {
    mlxn_kernel *k = get(r, name, constants, n);
    CHECK(!strcmp(mlxn_kernel_label(k), want), "label is %s, want %s", mlxn_kernel_label(k), want);
    CHECK(!strcmp(mlxn_kernel_name(k), name), "name is %s", mlxn_kernel_name(k));
    CHECK(mlxn_registry_is_cached(r, want), "%s is cached", want);
    mlxn_kernel_release(&k);
    CHECK(!k, "the handle is cleared");
}

static void check_refused(mlxn_status got, mlxn_status want, const char *message) {
    CHECK(got == want && error.status == want, "status is %s", mlxn_status_name(got));
    CHECK(!strcmp(error.message, message), "got \"%s\", want \"%s\"", error.message, message);
}

static void nothing(const mlxn_kernel_group *group) { (void)group; }
static void nothing_else(const mlxn_kernel_group *group) { (void)group; }

/* ---- what the reference pins ---- */

static void test_pinned(const char *backend) {
    mlxn_device *device = open_device(backend, NULL, NULL);
    mlxn_registry *r = open_registry(device);
    const char *name = "int_fc_test_kernel";
    CHECK(mlxn_registry_source_count(r) == 0 && mlxn_registry_cached_count(r) == 0, "empty");
    CHECK(mlxn_registry_register_function(r, name, nothing, NULL, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_registry_source_count(r) == 1 && mlxn_registry_cached_count(r) == 0, "nothing is prepared before use");
    CHECK(!mlxn_registry_is_cached(r, name), "not cached before");
    mlxn_kernel *a = get(r, name, NULL, 0), *b = get(r, name, NULL, 0);
    CHECK(mlxn_registry_is_cached(r, name) && mlxn_registry_cached_count(r) == 1, "cached after");
    CHECK(a == b, "the same object twice");
    mlxn_constant four = int_constant(0, 4), eight = int_constant(0, 8), seven = int_constant(100, 7),
                  thirteen = int_constant(100, 13);
    mlxn_kernel *n4 = get(r, name, &four, 1), *n8 = get(r, name, &eight, 1);
    CHECK(n4 != n8 && n4 != a && mlxn_registry_cached_count(r) == 3, "N=4 and N=8 are two entries");
    mlxn_kernel *again = get(r, name, &four, 1);
    CHECK(again == n4 && mlxn_registry_cached_count(r) == 3, "repeating N=4 adds none");
    check_label(r, name, &seven, 1, "int_fc_test_kernel|100:i7");
    check_label(r, name, &thirteen, 1, "int_fc_test_kernel|100:i13");
    CHECK(!mlxn_registry_is_cached(r, "int_fc_test_kernel|100:i8"), "another value is not");
    mlxn_kernel *missing = (mlxn_kernel *)r;
    check_refused(mlxn_registry_get(r, "no such kernel", NULL, 0, &missing, &error), MLXN_ERR_NOT_FOUND,
                  "kernel \"no such kernel\": nothing is registered under that name");
    CHECK(!missing && mlxn_registry_cached_count(r) == 5 && mlxn_registry_source_count(r) == 1, "nothing changed");
    mlxn_registry_destroy(r);
    CHECK(!strcmp(mlxn_kernel_label(n8), "int_fc_test_kernel|0:i8"), "kernels outlive their registry");
    mlxn_kernel *all[] = {a, b, n4, n8, again};
    mlxn_device_release(&device);
    for (int i = 0; i < 5; i++) mlxn_kernel_release(&all[i]); /* the last one ends the device */
}

static void test_keys(void) {
    mlxn_device *device = open_device("cpu", NULL, NULL);
    mlxn_registry *r = open_registry(device);
    CHECK(mlxn_registry_register_function(r, "k", nothing, NULL, &error) == MLXN_OK, "%s", error.message);
    mlxn_constant set[4] = {int_constant(7, -1), bool_constant(2, true), float_constant(30, 1.5f),
                            bool_constant(0, false)};
    const char *label = "k|0:b0|2:b1|7:i-1|30:f3fc00000";
    mlxn_kernel *first = get(r, "k", set, 4);
    CHECK(!strcmp(mlxn_kernel_label(first), label), "%s", mlxn_kernel_label(first));
    int orders = 0;
    for (int i = 0; i < 256; i++) {
        int p[4] = {i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6};
        if (((1 << p[0]) | (1 << p[1]) | (1 << p[2]) | (1 << p[3])) != 15) continue;
        mlxn_constant shuffled[4] = {set[p[0]], set[p[1]], set[p[2]], set[p[3]]};
        mlxn_kernel *k = get(r, "k", shuffled, 4);
        CHECK(k == first, "order %d gives %s", orders, mlxn_kernel_label(k));
        mlxn_kernel_release(&k);
        orders++;
    }
    CHECK(orders == 24 && mlxn_registry_cached_count(r) == 1, "all orders, one entry");
    mlxn_kernel_release(&first);

    /* Kinds and values are told apart; what the union holds beside the value is not looked at. */
    mlxn_constant c;
    memset(&c, 0xff, sizeof c);
    c.index = 1, c.kind = MLXN_CONSTANT_BOOL, c.v.b = true;
    check_label(r, "k", &c, 1, "k|1:b1");
    c = int_constant(1, 1);
    check_label(r, "k", &c, 1, "k|1:i1");
    c = float_constant(1, 1);
    check_label(r, "k", &c, 1, "k|1:f3f800000");
    c = float_constant(1, -0.0f);
    check_label(r, "k", &c, 1, "k|1:f80000000");
    c = float_constant(1, 0.0f);
    check_label(r, "k", &c, 1, "k|1:f00000000");
    c = int_constant(UINT32_MAX, INT32_MIN);
    check_label(r, "k", &c, 1, "k|4294967295:i-2147483648");
    mlxn_constant many[65];
    for (uint32_t i = 0; i < 65; i++) many[i] = int_constant(UINT32_MAX - i, INT32_MIN);
    mlxn_kernel *k = get(r, "k", many, 64);
    CHECK(strlen(mlxn_kernel_label(k)) == 1 + 64 * 24, "the longest label has %zu", strlen(mlxn_kernel_label(k)));
    mlxn_kernel_release(&k);

    /* Hits need no memory. */
    uint64_t before = mlxn_alloc_count();
    k = get(r, "k", many, 64);
    CHECK(mlxn_alloc_count() == before, "a hit allocates nothing");
    mlxn_kernel_release(&k);

    check_refused(mlxn_registry_get(r, "k", many, 65, &k, &error), MLXN_ERR_ARGUMENT,
                  "kernel \"k\": got 65 constants, want at most 64");
    mlxn_constant twice[3] = {int_constant(3, 1), int_constant(1, 1), bool_constant(3, true)};
    check_refused(mlxn_registry_get(r, "k", twice, 3, &k, &error), MLXN_ERR_ARGUMENT,
                  "kernel \"k\": two constants have the index 3");
    twice[2].kind = (mlxn_constant_kind)9;
    check_refused(mlxn_registry_get(r, "k", twice, 3, &k, &error), MLXN_ERR_ARGUMENT,
                  "kernel \"k\": constant 3: kind is 9, which is none");
    check_refused(mlxn_registry_get(r, "k", NULL, 1, &k, &error), MLXN_ERR_ARGUMENT,
                  "kernel \"k\": constants is NULL, but n is 1");
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

static void test_names(void) {
    mlxn_device *device = open_device("null", NULL, NULL);
    mlxn_registry *r = open_registry(device);
    char longest[258];
    memset(longest, 'n', sizeof longest);
    longest[255] = 0;
    CHECK(mlxn_registry_register_source(r, longest, "text", &error) == MLXN_OK, "%s", error.message);
    mlxn_kernel *k = get(r, longest, NULL, 0);
    mlxn_kernel_release(&k);
    longest[255] = 'n', longest[256] = 0;
    check_refused(mlxn_registry_register_source(r, longest, "text", &error), MLXN_ERR_ARGUMENT,
                  "kernel \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...\": name has 256 bytes, want at most 255");
    check_refused(mlxn_registry_register_source(r, "", "text", &error), MLXN_ERR_ARGUMENT, "kernel: name is empty");
    check_refused(mlxn_registry_register_source(r, NULL, "text", &error), MLXN_ERR_ARGUMENT, "kernel: name is NULL");
    check_refused(mlxn_registry_register_source(r, "a|b", "text", &error), MLXN_ERR_ARGUMENT,
                  "kernel \"a|b\": byte 1 of the name is '|' (0x7c)");
    check_refused(mlxn_registry_register_source(r, "ab\n", "text", &error), MLXN_ERR_ARGUMENT,
                  "kernel \"ab?\": byte 2 of the name is '?' (0x0a)");
    check_refused(mlxn_registry_register_source(r, "a", NULL, &error), MLXN_ERR_ARGUMENT,
                  "kernel \"a\": text is NULL");
    check_refused(mlxn_registry_register_function(r, "a", NULL, NULL, &error), MLXN_ERR_ARGUMENT,
                  "kernel \"a\": fn is NULL");
    CHECK(mlxn_registry_source_count(r) == 1, "none of them came in");

    /* More names than the table begins with. */
    char name[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "name_%d", i);
        CHECK(mlxn_registry_register_source(r, name, "text", &error) == MLXN_OK, "%s", error.message);
    }
    CHECK(mlxn_registry_source_count(r) == 1001, "%u names", mlxn_registry_source_count(r));
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "name_%d", i);
        k = get(r, name, NULL, 0);
        CHECK(!strcmp(mlxn_kernel_name(k), name), "%s", mlxn_kernel_name(k));
        mlxn_kernel_release(&k);
    }
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
    mlxn_registry_destroy(NULL);
    check_refused(mlxn_registry_create(NULL, &r, &error), MLXN_ERR_ARGUMENT, "registry: device is NULL");
}

static void test_again(void) {
    mlxn_device *device = open_device("cpu", NULL, NULL);
    mlxn_registry *r = open_registry(device);
    mlxn_constant c = int_constant(1, 1);
    CHECK(!mlxn_registry_register_function(r, "a", nothing, NULL, &error) &&
              !mlxn_registry_register_function(r, "b", nothing, NULL, &error),
          "%s", error.message);
    mlxn_kernel *plain = get(r, "a", NULL, 0), *variant = get(r, "a", &c, 1), *other = get(r, "b", &c, 1);
    CHECK(mlxn_registry_cached_count(r) == 3, "three");
    CHECK(!mlxn_registry_register_function(r, "a", nothing_else, NULL, &error), "%s", error.message);
    CHECK(mlxn_registry_cached_count(r) == 1 && mlxn_registry_is_cached(r, "b|1:i1"), "those of the name, no others");
    CHECK(!mlxn_registry_is_cached(r, "a") && !mlxn_registry_is_cached(r, "a|1:i1"), "all variants are forgotten");
    CHECK(mlxn_registry_source_count(r) == 2, "replaced, not added");
    CHECK(!strcmp(mlxn_kernel_label(variant), "a|1:i1") && !strcmp(mlxn_kernel_label(plain), "a"), "still valid");
    mlxn_kernel *fresh = get(r, "a", &c, 1);
    CHECK(fresh != variant, "the next lookup gives a new one");
    /* Registering text keeps the function; it is text alone that this device cannot run. */
    CHECK(!mlxn_registry_register_source(r, "a", "text", &error), "%s", error.message);
    mlxn_kernel *both = get(r, "a", NULL, 0), *none = NULL;
    CHECK(!mlxn_registry_register_source(r, "t", "text", &error), "%s", error.message);
    check_refused(mlxn_registry_get(r, "t", NULL, 0, &none, &error), MLXN_ERR_UNSUPPORTED,
                  "kernel \"t\": it has source text alone, which the cpu backend does not compile: register a C "
                  "function");
    CHECK(!mlxn_registry_is_cached(r, "t"), "a failure leaves nothing");
    mlxn_kernel *all[] = {plain, variant, other, fresh, both};
    for (int i = 0; i < 5; i++) mlxn_kernel_release(&all[i]);
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

/* ---- compiler errors ---- */

typedef struct log_lines {
    int count;
    char last[256];
} log_lines;
static void on_log(void *user, const char *line) {
    log_lines *lines = user;
    if (strncmp(line, "mlxn: kernel", 12)) return;
    lines->count++;
    snprintf(lines->last, sizeof lines->last, "%s", line);
}

static void test_compile(void) {
    log_lines lines = {0};
    mlxn_device *device = open_device("null", on_log, &lines);
    mlxn_registry *r = open_registry(device);
    mlxn_kernel *k = NULL;
    mlxn_constant c = bool_constant(4, true);
    CHECK(!mlxn_registry_register_source(r, "bad", "int x;\n  #error no such\ttype\nint y;\n#error twice", &error),
          "registering compiles nothing");
    check_refused(mlxn_registry_get(r, "bad", NULL, 0, &k, &error), MLXN_ERR_COMPILE,
                  "kernel \"bad\": line 2: #error no such type; line 4: #error twice");
    CHECK(lines.count == 2 && !strcmp(lines.last, "mlxn: kernel \"bad\": line 4: #error twice"), "%d lines, last %s",
          lines.count, lines.last);
    check_refused(mlxn_registry_get(r, "bad", &c, 1, &k, &error), MLXN_ERR_COMPILE,
                  "kernel \"bad|4:b1\": line 2: #error no such type; line 4: #error twice");
    CHECK(!k && mlxn_registry_cached_count(r) == 0, "nothing is cached");
    /* A failing text does not outlive its repair, and a broken one forgets what the good one gave. */
    CHECK(!mlxn_registry_register_source(r, "bad", "int x;", &error), "%s", error.message);
    k = get(r, "bad", NULL, 0);
    CHECK(!mlxn_registry_register_source(r, "bad", "#error again", &error), "%s", error.message);
    mlxn_kernel *none = NULL;
    CHECK(mlxn_registry_get(r, "bad", NULL, 0, &none, &error) == MLXN_ERR_COMPILE && !none, "%s", error.message);
    mlxn_kernel_release(&k);

    /* Long texts are cut between characters and say so, whatever the length of what stands before. */
    char text[2048], name[300];
    for (size_t shift = 0; shift < 4; shift++)
        for (size_t length = 1; length <= 255; length += 127) {
            memset(name, 'n', length);
            name[length] = 0;
            size_t used = (size_t)snprintf(text, sizeof text, "#error %.*s", (int)shift, "abc");
            while (used + 4 < sizeof text) used += (size_t)snprintf(text + used, 4, "\xe2\x82\xac");
            CHECK(!mlxn_registry_register_source(r, name, text, &error), "%s", error.message);
            CHECK(mlxn_registry_get(r, name, NULL, 0, &none, &error) == MLXN_ERR_COMPILE, "%s", error.message);
            size_t got = strlen(error.message);
            CHECK(got <= 503 && got >= 503 - 3 && !strcmp(error.message + got - 3, "..."), "%zu bytes: %s", got,
                  error.message);
            CHECK((unsigned char)error.message[got - 4] == 0xac && strstr(error.message, "line 1: #error"),
                  "whole characters, with the reason: %s", error.message);
        }
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

static void test_prewarm(void) {
    mlxn_device *device = open_device("null", NULL, NULL);
    mlxn_registry *r = open_registry(device);
    uint32_t prepared = 9;
    CHECK(mlxn_registry_prewarm(r, NULL, 0, &prepared, &error) == MLXN_OK && prepared == 0, "of nothing");
    const char *good[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) CHECK(!mlxn_registry_register_source(r, good[i], "text", &error), "register");
    const char *some[] = {"b", "b"};
    CHECK(mlxn_registry_prewarm(r, some, 2, &prepared, &error) == MLXN_OK && prepared == 2, "%s", error.message);
    CHECK(mlxn_registry_cached_count(r) == 1 && mlxn_registry_is_cached(r, "b"), "those named");
    CHECK(!mlxn_registry_register_source(r, "broken", "#error why", &error), "register");
    const char *mixed[] = {"a", "broken", "missing"};
    check_refused(mlxn_registry_prewarm(r, mixed, 3, &prepared, &error), MLXN_ERR_COMPILE,
                  "kernel \"broken\": line 1: #error why");
    CHECK(prepared == 1 && mlxn_registry_is_cached(r, "a"), "%u", prepared);
    CHECK(mlxn_registry_prewarm(r, NULL, 0, &prepared, &error) == MLXN_ERR_COMPILE, "the broken one among all");
    CHECK(prepared == 3 && mlxn_registry_cached_count(r) == 3, "it goes on after a failure: %u", prepared);
    check_refused(mlxn_registry_prewarm(r, NULL, 2, NULL, &error), MLXN_ERR_ARGUMENT,
                  "prewarm: names is NULL, but n is 2");
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

/* ---- the cache of the disk ---- */

/* One blob, and what was asked. `slow` holds a load up until eight threads are on their way. */
typedef struct shelf {
    _Atomic int loads, stores, frees, started;
    char key[256], stored_key[256];
    unsigned char blob[256];
    uint64_t bytes;
    bool slow;
} shelf;

static bool shelf_load(void *user, const char *key, void **data, uint64_t *bytes) {
    shelf *s = user;
    atomic_fetch_add(&s->loads, 1);
    snprintf(s->key, sizeof s->key, "%s", key);
    if (s->slow) {
        while (atomic_load(&s->started) < 8) sched_yield();
        usleep(20000);
    }
    if (!s->bytes) return false;
    *data = malloc(s->bytes);
    memcpy(*data, s->blob, s->bytes);
    *bytes = s->bytes;
    return true;
}
static void shelf_free(void *user, void *data) {
    atomic_fetch_add(&((shelf *)user)->frees, 1);
    free(data);
}
static bool shelf_store(void *user, const char *key, const void *data, uint64_t bytes) {
    shelf *s = user;
    atomic_fetch_add(&s->stores, 1);
    snprintf(s->stored_key, sizeof s->stored_key, "%s", key);
    s->bytes = bytes < sizeof s->blob ? bytes : 0;
    memcpy(s->blob, data, s->bytes);
    return true;
}

/* A registry of its own, as in a process of its own: looks "k" up. */
static void look_up(mlxn_device *device, shelf *s, const char *text, const mlxn_constant *c, int stores, int frees) {
    mlxn_registry *r = open_registry(device);
    mlxn_kernel_cache cache = {sizeof cache, shelf_load, shelf_free, shelf_store, s};
    CHECK(mlxn_registry_set_cache(r, &cache, &error) == MLXN_OK, "%s", error.message);
    memset(&cache, 0xff, sizeof cache); /* it was copied */
    CHECK(!mlxn_registry_register_source(r, "k/\xc3\xa9 .", text, &error), "%s", error.message);
    atomic_store(&s->loads, 0);
    atomic_store(&s->stores, 0);
    atomic_store(&s->frees, 0);
    mlxn_kernel *k = get(r, "k/\xc3\xa9 .", c, c != NULL), *again = get(r, "k/\xc3\xa9 .", c, c != NULL);
    CHECK(s->loads == 1, "asked once: %d", s->loads);
    CHECK(s->stores == stores && s->frees == frees, "stores %d, frees %d", s->stores, s->frees);
    if (stores) CHECK(!strcmp(s->key, s->stored_key), "%s and %s", s->key, s->stored_key);
    mlxn_kernel_release(&k);
    mlxn_kernel_release(&again);
    mlxn_registry_destroy(r);
}

static void test_cache(void) {
    mlxn_device *device = open_device("null", NULL, NULL);
    static shelf s;
    look_up(device, &s, "one", NULL, 1, 0); /* none there: prepared and stored */
    CHECK(s.bytes > 0, "a blob");
    char first[256];
    snprintf(first, sizeof first, "%s", s.key);
    CHECK(strspn(first, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == strlen(first),
          "file name: %s", first);
    CHECK(!strncmp(first, "null-k_", 7) && strlen(first) <= 140, "it says what it is: %s", first);
    look_up(device, &s, "one", NULL, 0, 1); /* taken as it is */
    CHECK(!strcmp(first, s.key), "the same key in another registry");
    for (uint64_t at = 0; at < 2; at++) { /* damaged: prepared anew and stored over */
        s.blob[at ? s.bytes - 1 : 0] ^= 1;
        look_up(device, &s, "one", NULL, 1, 1);
        look_up(device, &s, "one", NULL, 0, 1);
    }
    s.bytes--; /* cut */
    look_up(device, &s, "one", NULL, 1, 1);
    mlxn_constant c = int_constant(1, 2);
    look_up(device, &s, "one", &c, 1, 1); /* the shelf gives the wrong blob: refused */
    CHECK(strcmp(first, s.key), "constants have a key of their own");
    look_up(device, &s, "two", NULL, 1, 1);
    CHECK(strcmp(first, s.key), "so has another text");
    /* Registering anew under a cache asks again. */
    mlxn_registry *r = open_registry(device);
    mlxn_kernel_cache cache = {sizeof cache, shelf_load, NULL, shelf_store, &s};
    check_refused(mlxn_registry_set_cache(r, &cache, &error), MLXN_ERR_ARGUMENT,
                  "kernel cache: free_data is NULL, but load is set");
    cache.struct_size = 4;
    CHECK(mlxn_registry_set_cache(r, &cache, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_registry_set_cache(r, NULL, &error) == MLXN_OK, "none");
    /* Functions have no text that a key could stand for: they are not kept. */
    cache = (mlxn_kernel_cache){sizeof cache, shelf_load, shelf_free, shelf_store, &s};
    CHECK(mlxn_registry_set_cache(r, &cache, &error) == MLXN_OK, "%s", error.message);
    CHECK(!mlxn_registry_register_function(r, "f", nothing, NULL, &error), "register");
    s.loads = s.stores = 0;
    mlxn_kernel *k = get(r, "f", NULL, 0);
    CHECK(s.loads == 0 && s.stores == 0, "asked %d, stored %d", s.loads, s.stores);
    mlxn_kernel_release(&k);
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

/* The one file of a folder; returns the number of files. */
static int only_file(const char *folder, char path[512]) {
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.' && ++n) snprintf(path, 512, "%s/%s", folder, e->d_name);
    if (dir) closedir(dir);
    return n;
}

static void folder_get(mlxn_device *device, const char *folder) {
    mlxn_registry *r = open_registry(device);
    CHECK(mlxn_registry_set_cache_folder(r, folder, &error) == MLXN_OK, "%s", error.message);
    CHECK(!mlxn_registry_register_source(r, "k", "text", &error), "register");
    mlxn_kernel *k = get(r, "k", NULL, 0);
    mlxn_kernel_release(&k);
    mlxn_registry_destroy(r);
}

static void flip(const char *path, long at) {
    FILE *f = fopen(path, "r+b");
    CHECK(f && !fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), "open %s", path);
    if (!f) return;
    int c = fgetc(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

static void test_folder(void) {
    mlxn_device *device = open_device("null", NULL, NULL);
    char folder[] = "/tmp/mlxn-registry-XXXXXX", path[512], missing[64];
    CHECK(mkdtemp(folder), "folder");
    folder_get(device, folder);
    CHECK(only_file(folder, path) == 1, "one file, no temporary one left");
    struct stat before, after;
    CHECK(!stat(path, &before) && before.st_size > 40, "%s", path);
    folder_get(device, folder);
    CHECK(!stat(path, &after) && after.st_ino == before.st_ino, "taken: not written again");
    long places[] = {0, 9, 41, -1}; /* magic number, digest, blob, its end */
    for (int i = 0; i < 4; i++) {
        flip(path, places[i]);
        struct stat damaged, mended;
        CHECK(!stat(path, &damaged), "damaged");
        folder_get(device, folder);
        CHECK(only_file(folder, path) == 1 && !stat(path, &mended), "one file");
        CHECK(mended.st_ino != damaged.st_ino && mended.st_size == before.st_size, "written anew, place %d", i);
        folder_get(device, folder);
        CHECK(!stat(path, &after) && after.st_ino == mended.st_ino, "and whole again");
    }
    for (off_t cut = 0; cut < before.st_size; cut += 20) {
        CHECK(!truncate(path, cut), "cut");
        folder_get(device, folder);
        CHECK(!stat(path, &after) && after.st_size == before.st_size, "mended after a cut to %d", (int)cut);
    }
    /* Something else in its place: it cannot be replaced, and the kernel is prepared all the same. */
    unlink(path);
    CHECK(!mkdir(path, 0700), "a folder of this name");
    folder_get(device, folder);
    CHECK(only_file(folder, path) == 1, "nothing left over");
    rmdir(path);
    CHECK(!mkfifo(path, 0600), "a pipe of this name");
    folder_get(device, folder);
    CHECK(!stat(path, &after) && S_ISREG(after.st_mode), "replaced");

    mlxn_registry *r = open_registry(device);
    CHECK(mlxn_registry_set_cache_folder(r, path, &error) == MLXN_ERR_IO, "a file is no folder: %s", error.message);
    snprintf(missing, sizeof missing, "%s/none", folder);
    CHECK(mlxn_registry_set_cache_folder(r, missing, &error) == MLXN_ERR_IO && error.driver_code, "%s",
          error.message);
    CHECK(strstr(error.message, missing), "it is named: %s", error.message);
    CHECK(mlxn_registry_set_cache_folder(r, NULL, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    /* The folder disappears afterwards: slower, not broken. */
    CHECK(mlxn_registry_set_cache_folder(r, folder, &error) == MLXN_OK, "%s", error.message);
    unlink(path);
    CHECK(!rmdir(folder), "empty");
    CHECK(!mlxn_registry_register_source(r, "k", "text", &error), "register");
    mlxn_kernel *k = get(r, "k", NULL, 0);
    mlxn_kernel_release(&k);
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

/* ---- threads ---- */

typedef struct seeker {
    mlxn_registry *registry;
    shelf *shelf;
    mlxn_kernel *kernel;
    mlxn_status status;
    mlxn_error error;
} seeker;

static void *seek(void *user) {
    seeker *s = user;
    atomic_fetch_add(&s->shelf->started, 1);
    s->status = mlxn_registry_get(s->registry, "k", NULL, 0, &s->kernel, &s->error);
    return NULL;
}

static void at_once(const char *text, mlxn_status want, const char *message) {
    mlxn_device *device = open_device("null", NULL, NULL);
    mlxn_registry *r = open_registry(device);
    static shelf s;
    memset(&s, 0, sizeof s);
    s.slow = true;
    mlxn_kernel_cache cache = {sizeof cache, shelf_load, shelf_free, shelf_store, &s};
    CHECK(mlxn_registry_set_cache(r, &cache, &error) == MLXN_OK, "%s", error.message);
    CHECK(!mlxn_registry_register_source(r, "k", text, &error), "register");
    pthread_t threads[8];
    seeker seekers[8];
    for (int i = 0; i < 8; i++) {
        seekers[i] = (seeker){.registry = r, .shelf = &s};
        CHECK(!pthread_create(&threads[i], NULL, seek, &seekers[i]), "thread");
    }
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    /* Who comes after a failure has been handed out tries again, which is right; those that wait do not. */
    CHECK(want ? s.loads >= 1 && s.loads < 8 : s.loads == 1, "prepared %d times", s.loads);
    for (int i = 0; i < 8; i++) {
        CHECK(seekers[i].status == want && !seekers[i].kernel == !!want, "%s", seekers[i].error.message);
        CHECK(seekers[i].kernel == seekers[0].kernel, "one object");
        CHECK(!strcmp(seekers[i].error.message, message), "%s", seekers[i].error.message);
    }
    for (int i = 0; i < 8; i++) mlxn_kernel_release(&seekers[i].kernel);
    CHECK(mlxn_registry_cached_count(r) == !want, "%u", mlxn_registry_cached_count(r));
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

/* Threads look up, register again and count, all at once; every kernel that comes out is whole. */
static void *stir(void *user) {
    seeker *s = user;
    for (int i = 0; i < 400; i++) {
        mlxn_constant c = int_constant(1, i % 5);
        mlxn_kernel *k = NULL;
        s->status = mlxn_registry_get(s->registry, i & 1 ? "a" : "b", &c, 1, &k, &s->error);
        if (s->status) return NULL;
        if (strncmp(mlxn_kernel_label(k), i & 1 ? "a|1:i" : "b|1:i", 5)) s->status = MLXN_ERR_INTERNAL;
        mlxn_kernel_release(&k);
        if (i % 16 == 0) s->status = mlxn_registry_register_source(s->registry, "a", i & 32 ? "x" : "y", &s->error);
        if (mlxn_registry_cached_count(s->registry) > 10) s->status = MLXN_ERR_INTERNAL;
        if (s->status) return NULL;
    }
    return NULL;
}

static void test_threads(void) {
    at_once("text", MLXN_OK, "");
    at_once("#error no", MLXN_ERR_COMPILE, "kernel \"k\": line 1: #error no");
    mlxn_device *device = open_device("null", NULL, NULL);
    mlxn_registry *r = open_registry(device);
    CHECK(!mlxn_registry_register_source(r, "a", "x", &error) && !mlxn_registry_register_source(r, "b", "x", &error),
          "register");
    pthread_t threads[8];
    seeker seekers[8];
    for (int i = 0; i < 8; i++) {
        seekers[i] = (seeker){.registry = r};
        CHECK(!pthread_create(&threads[i], NULL, stir, &seekers[i]), "thread");
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        CHECK(seekers[i].status == MLXN_OK, "%s", seekers[i].error.message);
    }
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

/* ---- the k-th allocation fails ---- */

static void test_memory(void) {
    mlxn_device *device = open_device("null", NULL, NULL);
    char folder[] = "/tmp/mlxn-registry-XXXXXX", path[512] = "";
    CHECK(mkdtemp(folder), "folder");
    uint64_t k = 1;
    for (bool failed = true; failed && k < 200; k++) {
        mlxn_registry *r = NULL;
        mlxn_kernel *kernel = NULL;
        mlxn_constant c = int_constant(1, 1);
        uint32_t prepared;
        unlink(path);
        uint64_t first = mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_registry_create(device, &r, &error);
        if (!status) status = mlxn_registry_set_cache_folder(r, folder, &error);
        if (!status) status = mlxn_registry_register_source(r, "k", "int x;", &error);
        if (!status) status = mlxn_registry_register_function(r, "k", nothing, NULL, &error);
        if (!status) status = mlxn_registry_get(r, "k", &c, 1, &kernel, &error);
        if (!status) status = mlxn_registry_prewarm(r, NULL, 0, &prepared, &error);
        if (!status) status = mlxn_registry_register_source(r, "k", "int y;", &error);
        failed = mlxn_alloc_count() - first >= k;
        mlxn_alloc_fail_at(0);
        /* What only serves the disk may fail unseen. */
        CHECK(status == MLXN_OK || (failed && status == MLXN_ERR_MEMORY), "%d: %s", (int)k, error.message);
        CHECK(!status || strstr(error.message, "out of memory"), "%s", error.message);
        mlxn_kernel_release(&kernel);
        if (r) { /* it works again */
            CHECK(!mlxn_registry_register_source(r, "k", "int x;", &error), "%s", error.message);
            CHECK(mlxn_registry_get(r, "k", &c, 1, &kernel, &error) == MLXN_OK && kernel, "%s", error.message);
            CHECK(mlxn_registry_cached_count(r) == 1 && mlxn_registry_source_count(r) == 1, "counts");
            mlxn_kernel_release(&kernel);
        }
        mlxn_registry_destroy(r);
        while (only_file(folder, path)) unlink(path);
    }
    CHECK(k > 20 && k < 200, "all of %d allocations", (int)k);
    CHECK(!rmdir(folder), "no file left");
    mlxn_device_release(&device);
}

/* A failure is not remembered: the next lookup tries again, without registering. */
static void test_retry(void) {
    mlxn_device *device = open_device("null", NULL, NULL);
    mlxn_registry *r = open_registry(device);
    CHECK(!mlxn_registry_register_source(r, "k", "int x;", &error), "register");
    int failed = 0;
    for (uint64_t k = 1; k < 50; k++) {
        mlxn_constant c = int_constant(1, (int32_t)k);
        mlxn_kernel *kernel = NULL;
        uint32_t cached = mlxn_registry_cached_count(r);
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_registry_get(r, "k", &c, 1, &kernel, &error);
        mlxn_alloc_fail_at(0);
        if (status) {
            failed++;
            CHECK(status == MLXN_ERR_MEMORY && !kernel, "%s", error.message);
            CHECK(mlxn_registry_cached_count(r) == cached, "the cache is as it was");
            kernel = get(r, "k", &c, 1);
        }
        CHECK(mlxn_registry_cached_count(r) == cached + 1, "and takes it afterwards");
        mlxn_kernel_release(&kernel);
    }
    CHECK(failed > 5 && failed < 40, "%d failures", failed);
    mlxn_registry_destroy(r);
    mlxn_device_release(&device);
}

int main(void) {
    test_pinned("cpu");
    test_pinned("null");
    test_keys();
    test_names();
    test_again();
    test_compile();
    test_prewarm();
    test_cache();
    test_folder();
    test_threads();
    test_memory();
    test_retry();
    return TEST_DONE();
}
