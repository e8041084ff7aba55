/* Promise: every status code and element type has its own name and text, names outside the lists are safe, and the
 * version text agrees with the version numbers. */
#include <mlxn/base.h>

#include "test.h"

int main(void) {
    static const char *const names[] = {"OK",      "ARGUMENT",    "STATE",     "MEMORY",  "IO",
                                        "FORMAT",  "UNSUPPORTED", "NOT_FOUND", "DEVICE",  "EXECUTION",
                                        "TIMEOUT", "CANCELLED",   "LIMIT",     "COMPILE", "INTERNAL"};
    enum { COUNT = sizeof names / sizeof names[0] };
    for (int i = 0; i < COUNT; i++) {
        CHECK(!strcmp(mlxn_status_name((mlxn_status)i), names[i]), "status %d is %s", i, names[i]);
        CHECK(strlen(mlxn_status_text((mlxn_status)i)) > 10, "text of %s", names[i]);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(mlxn_status_text((mlxn_status)i), mlxn_status_text((mlxn_status)j)), "%d and %d", i, j);
    }
    CHECK(!strcmp(mlxn_status_name((mlxn_status)COUNT), "UNKNOWN"), "past the end");
    CHECK(!strcmp(mlxn_status_name((mlxn_status)-1), "UNKNOWN") && mlxn_status_text((mlxn_status)-1), "negative");

    static const struct {
        const char *name;
        size_t size;
    } dtypes[MLXN_DTYPE_COUNT] = {{"f32", 4}, {"f16", 2}, {"bf16", 2}, {"u8", 1}, {"u16", 2}, {"u32", 4}, {"i32", 4}};
    mlxn_dtype parsed;
    for (int i = 0; i < MLXN_DTYPE_COUNT; i++) {
        CHECK(!strcmp(mlxn_dtype_name((mlxn_dtype)i), dtypes[i].name), "dtype %d", i);
        CHECK(mlxn_dtype_size((mlxn_dtype)i) == dtypes[i].size, "size of %s", dtypes[i].name);
        CHECK(mlxn_dtype_parse(dtypes[i].name, &parsed) && parsed == (mlxn_dtype)i, "parse %s", dtypes[i].name);
    }
    CHECK(mlxn_dtype_size(MLXN_DTYPE_COUNT) == 0 && !strcmp(mlxn_dtype_name(MLXN_DTYPE_COUNT), "?"), "past the end");
    CHECK(!mlxn_dtype_parse("f64", &parsed) && !mlxn_dtype_parse("", &parsed) && !mlxn_dtype_parse(NULL, &parsed),
          "no dtype");

    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", MLXN_VERSION_MAJOR, MLXN_VERSION_MINOR, MLXN_VERSION_PATCH);
    CHECK(!strcmp(mlxn_version(), version), "%s, want %s", mlxn_version(), version);
    return TEST_DONE();
}
