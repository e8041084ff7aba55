/* Promise: config.json is read as what it says: every type, numbers exactly or not at all, paths through objects,
 * lists and members; what is no JSON, or gives a name twice, is refused with the byte, in bounded time and memory,
 * and any allocation that fails is an error that leaves nothing. */
#include <locale.h>
#include <math.h>
#include <mlxn/io.h>

#include "base/base.h"
#include "test.h"

static mlxn_config *read_text(const char *text) {
    mlxn_config *config = NULL;
    mlxn_error error = {0};
    CHECK(mlxn_config_from_json(text, strlen(text), "config.json", &config, &error) == MLXN_OK, "%s", error.message);
    return config;
}

static mlxn_config_value at(const mlxn_config *config, const char *path) {
    mlxn_config_value value = {.type = MLXN_CONFIG_NULL, .node = 999};
    CHECK(mlxn_config_find(config, path, &value), "there is no %s", path);
    return value;
}

static void test_values(void) {
    mlxn_config *c = read_text(
        "{\"z\": 1, \"a\": {\"b\": {\"c\": -7, \"d\": \"caf\\u00e9\"}, \"list\": [1, 2.5, \"x\", [], {}, null, "
        "true]},"
        " \"n\": null, \"t\": true, \"f\": false, \"e\": 1e6, \"r\": 0.1, \"big\": 9223372036854775807,"
        " \"small\": -9223372036854775808, \"more\": 9223372036854775808, \"nan\": NaN, \"inf\": -Infinity, \"\": 5,"
        " \"tiny\": 5e-324, \"exact\": 123456789.123456789}");
    if (!c) return;
    CHECK(at(c, "z").type == MLXN_CONFIG_INTEGER && at(c, "z").v.i == 1, "integer");
    CHECK(at(c, "a.b.c").v.i == -7, "path");
    mlxn_string text = at(c, "a.b.d").v.s;
    CHECK(text.size == 5 && strcmp(text.data, "caf\xc3\xa9") == 0, "string: %s", text.data);
    CHECK(at(c, "n").type == MLXN_CONFIG_NULL, "null");
    CHECK(at(c, "t").v.b && at(c, "t").type == MLXN_CONFIG_BOOL && !at(c, "f").v.b, "bool");
    CHECK(at(c, "e").type == MLXN_CONFIG_REAL && at(c, "e").v.f == 1e6, "an exponent makes it real");
    CHECK(at(c, "r").v.f == 0.1 && at(c, "tiny").v.f == 5e-324 && at(c, "exact").v.f == 123456789.123456789, "real");
    CHECK(at(c, "big").v.i == INT64_MAX && at(c, "small").v.i == INT64_MIN, "the ends of 64 bits");
    CHECK(at(c, "more").type == MLXN_CONFIG_REAL && at(c, "more").v.f == 9223372036854775808.0, "beyond 64 bits");
    CHECK(isnan(at(c, "nan").v.f) && isinf(at(c, "inf").v.f) && at(c, "inf").v.f < 0, "what Python writes");
    mlxn_config_value list = at(c, "a.list"), one;
    CHECK(list.type == MLXN_CONFIG_ARRAY && list.v.count == 7, "list of %d", (int)list.v.count);
    CHECK(mlxn_config_element(c, &list, 1, &one) && one.v.f == 2.5, "element");
    CHECK(mlxn_config_element(c, &list, 3, &one) && one.type == MLXN_CONFIG_ARRAY && one.v.count == 0, "empty list");
    CHECK(!mlxn_config_element(c, &one, 0, &one) && !mlxn_config_element(c, &list, 7, &one), "past the end");
    mlxn_config_value whole = at(c, ""), object = at(c, "a");
    mlxn_string name;
    CHECK(whole.type == MLXN_CONFIG_OBJECT && whole.v.count == 15, "members: %d", (int)whole.v.count);
    CHECK(mlxn_config_member(c, &whole, 0, &name, &one) && name.size == 0 && one.v.i == 5, "the empty name is first");
    CHECK(mlxn_config_member(c, &whole, 14, &name, &one) && !strcmp(name.data, "z"), "z is last");
    CHECK(!mlxn_config_member(c, &whole, 15, &name, &one) && !mlxn_config_member(c, &list, 0, &name, &one),
          "no member");
    CHECK(mlxn_config_member(c, &object, 1, &name, &one) && !strcmp(name.data, "list"), "a member inside");
    static const char *const absent[] = {"y", "a.x", "a.b.c.d", "z.a", ".a", "a..b", "a.list.0", "a.b.", "A"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        CHECK(!mlxn_config_find(c, absent[i], &one), "%s is found", absent[i]);
    mlxn_config_destroy(c);
    c = read_text("17");
    CHECK(c && at(c, "").v.i == 17, "a number alone");
    mlxn_config_destroy(c);
    mlxn_config_destroy(NULL);
}

/* A process whose locale writes "0,5" reads the same numbers. */
static void test_locale(void) {
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8", "de_DE", "fr_FR"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!setlocale(LC_NUMERIC, names[i])) continue;
        mlxn_config *c = read_text("{\"x\": 2.5e-3}");
        CHECK(c && at(c, "x").v.f == 2.5e-3, "%s", names[i]);
        mlxn_config_destroy(c);
    }
    setlocale(LC_NUMERIC, "C");
}

static void refuse(const char *text, size_t size, mlxn_status want, const char *a, const char *b) {
    mlxn_config *config = (mlxn_config *)1;
    mlxn_error error = {0};
    mlxn_status status = mlxn_config_from_json(text, size, "config.json", &config, &error);
    CHECK(status == want && !config, "%.40s: got %s: %s", text ? text : "NULL", mlxn_status_name(status),
          error.message);
    CHECK(strstr(error.message, "config.json") && strstr(error.message, a) && strstr(error.message, b),
          "want \"%s\" and \"%s\" in: %s", a, b, error.message);
}

static void test_refusals(void) {
    static const struct {
        const char *text, *word, *byte;
    } cases[] = {
        {"", "the end", "byte 0"},
        {"{\"a\":1,\"a\":2}", "\"a\" is given twice", "byte 11"},
        {"{\"b\":{\"x\":1,\"y\":2,\"x\":3}}", "\"x\" is given twice", "byte 22"},
        {"{\"a\":01}", "begins with 0", "byte 5"},
        {"{\"a\":+1}", "want a value", "byte 5"},
        {"{\"a\":1,}", "behind ','", "byte 7"},
        {"[1,2", "want", "byte 4"},
        {"{\"a\":1} x", "want the end", "byte 8"},
        {"{\"a\":nul}", "want a value", "byte 5"},
        {"{\"a\":\"\xff\"}", "not UTF-8", "byte 6"},
        {"{\"a\":1.}", "a digit", "byte 7"},
        {"[1111111111111111111111111111111111111111111111111111111111111111]", "64 characters", "byte 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i].text, strlen(cases[i].text), MLXN_ERR_FORMAT, cases[i].word, cases[i].byte);
    refuse(NULL, 0, MLXN_ERR_ARGUMENT, "NULL", "");
    size_t size = 4000001;
    char *big = malloc(size);
    memset(big, '[', size);
    refuse(big, size, MLXN_ERR_LIMIT, "4,000,001", "4,000,000");
    refuse(big, size - 1, MLXN_ERR_FORMAT, "nested", "byte");
    for (size_t i = 1; i < size; i += 2) big[i] = '0', big[i + 1 < size ? i + 1 : i] = ',';
    big[size - 3] = ']'; /* nearly two million zeros: as many nodes as the text can hold */
    mlxn_config *config = NULL;
    mlxn_error error = {0};
    CHECK(mlxn_config_from_json(big, size - 2, "config.json", &config, &error) == MLXN_OK, "%s", error.message);
    if (config) CHECK(at(config, "").v.count == 1999999, "%d", (int)at(config, "").v.count);
    mlxn_config_destroy(config);
    free(big);
    CHECK(mlxn_config_open("/nonexistent/config.json", &config, &error) == MLXN_ERR_IO && !config, "no file");
    CHECK(mlxn_config_open("/", &config, &error) == MLXN_ERR_IO && !config, "a folder");
    CHECK(mlxn_config_open("", &config, &error) == MLXN_ERR_ARGUMENT && !config, "no path");
}

/* Every prefix of a text, and every byte of it changed, is taken or refused, and nothing else. */
static void test_damage(void) {
    static const char text[] = "{\"a\":[1,-2.5e3,{\"b\":\"\\u00e9\\n\"}],\"c\":{\"d\":true,\"e\":null},\"f\":NaN}";
    static const char bytes[] = "\0\"{}[],:0-.eN\\x\xc3\x80\xff";
    char copy[sizeof text];
    for (size_t i = 0; i < sizeof text - 1; i++) {
        mlxn_config *config = NULL;
        CHECK(mlxn_config_from_json(text, i, "x", &config, NULL) != MLXN_OK && !config, "%d bytes are taken", (int)i);
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            memcpy(copy, text, sizeof text);
            copy[i] = bytes[k];
            (void)mlxn_config_from_json(copy, sizeof text - 1, "x", &config, NULL);
            mlxn_config_destroy(config);
            config = NULL;
        }
    }
}

static void test_memory(void) {
    static const char text[] = "{\"a\":[1,2,3],\"b\":{\"c\":\"d\"}}";
    uint64_t live = mlxn_alloc_live(), failed = 0;
    for (uint64_t k = 1; k < 100; k++) {
        mlxn_config *config = NULL;
        mlxn_error error = {0};
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_config_from_json(text, strlen(text), "x", &config, &error);
        mlxn_alloc_fail_at(0);
        mlxn_config_destroy(config);
        CHECK(mlxn_alloc_live() == live, "allocation %d: something is left", (int)k);
        if (status == MLXN_OK) break;
        CHECK(status == MLXN_ERR_MEMORY && !config, "allocation %d: %s", (int)k, error.message);
        failed++;
    }
    CHECK(failed >= 4, "%d allocations were made to fail", (int)failed);
}

int main(void) {
    test_values();
    test_locale();
    test_refusals();
    test_damage();
    test_memory();
    return TEST_DONE();
}
