/* Promise: a template gives the text that Jinja2 gives, or fails where it fails: every case of
 * tests/vectors/jinja/cases.json, which tests/vectors/make_jinja.py made with Python's jinja2. Failures name a line.
 */
#define _GNU_SOURCE /* setenv */
#include <jansson.h>
#include <mlxn/chat.h>
#include <time.h>

#include "base/base.h"
#include "test.h"

static void check_case(size_t i, json_t *c, json_t *contexts, int64_t now) {
    json_t *text = json_object_get(c, "template"), *want = json_object_get(c, "output");
    const char *error_kind = json_string_value(json_object_get(c, "error"));
    json_t *variables = json_array_get(contexts, (size_t)json_integer_value(json_object_get(c, "context")));
    char *context = json_dumps(variables, 0), *got = NULL;
    mlxn_template *t = NULL;
    mlxn_error error = {0};
    mlxn_template_desc desc = {
        .struct_size = sizeof desc, .variables = context, .variables_bytes = strlen(context), .now = now};
    size_t bytes = 0;
    mlxn_status status = mlxn_template_compile(json_string_value(text), json_string_length(text), "case", &t, &error);
    bool compiled = status == MLXN_OK;
    if (compiled) status = mlxn_template_render(t, &desc, &got, &bytes, &error);
    if (want) {
        CHECK(status == MLXN_OK && bytes == json_string_length(want) && !memcmp(got, json_string_value(want), bytes),
              "case %zu: %s\n--- template\n%s\n--- got\n%s\n--- want\n%s", i, error.message, json_string_value(text),
              got ? got : "", json_string_value(want));
    } else {
        CHECK(status != MLXN_OK && !got, "case %zu: no error, want \"%s\"\n%s\n%s", i,
              json_string_value(json_object_get(c, "message")), json_string_value(text), got ? got : "");
        CHECK(status == MLXN_OK || strstr(error.message, "case: line "), "case %zu: no line: %s", i, error.message);
        CHECK(status != MLXN_ERR_INTERNAL && status != MLXN_ERR_MEMORY, "case %zu: %s", i, error.message);
        if (!strcmp(error_kind, "syntax"))
            CHECK(status == MLXN_OK || !compiled || status == MLXN_ERR_UNSUPPORTED, "case %zu: compiled: %s", i,
                  json_string_value(text));
        else
            CHECK(compiled, "case %zu: %s: %s", i, json_string_value(text), error.message);
    }
    mlxn_free_memory(got);
    mlxn_template_destroy(&t);
    free(context);
}

int main(void) {
    setenv("TZ", "UTC", 1);
    tzset();
    uint64_t live = mlxn_alloc_live();
    json_error_t error;
    json_t *file = json_load_file("tests/vectors/jinja/cases.json", 0, &error);
    CHECK(file, "%s", error.text);
    json_t *cases = json_object_get(file, "cases");
    CHECK(json_array_size(cases) >= 300, "%zu cases", json_array_size(cases));
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(i, json_array_get(cases, i), json_object_get(file, "contexts"),
                   json_integer_value(json_object_get(file, "now")));
    json_decref(file);
    CHECK(mlxn_alloc_live() == live, "%d blocks leak", (int)(mlxn_alloc_live() - live));
    return TEST_DONE();
}
