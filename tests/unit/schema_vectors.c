/* Promise: the grammar of a JSON schema accepts the documents that jsonschema holds valid, but for the documented
 * exceptions, and none that it holds invalid, in every spelling; what cannot be obeyed is refused with pointer and
 * keyword. The cases are those of tests/vectors/schema/make_schema.py. With `--suite FILE`, a report on cases of
 * other origin: then schemas may be unsupported and valid documents may be left out, but no invalid one may be
 * accepted. */
#include <jansson.h>
#include <mlxn/lm.h>

#include "base/base.h"
#include "lm/grammar/automaton.h"
#include "test.h"

static bool report; /* --suite */
static int n_unsupported, n_valid, n_left_out;

static bool accepts(mlxn_automaton *a, const char *text, size_t n) {
    uint32_t state = MLXN_AU_START;
    for (size_t i = 0; i < n && state != MLXN_AU_FAILED; i++) state = mlxn_au_step(a, state, (uint8_t)text[i]);
    CHECK(state != MLXN_AU_FAILED, "%.80s: %s", text, a->error.message);
    return state != MLXN_AU_FAILED && a->states.data[state].accepts;
}

static void judge(mlxn_automaton *a, const char *schema, const json_t *documents, bool want) {
    for (size_t i = 0; i < json_array_size(documents); i++) {
        const char *text = json_string_value(json_array_get(documents, i));
        bool got = accepts(a, text, json_string_length(json_array_get(documents, i)));
        n_valid += want;
        n_left_out += want && !got;
        if (report && want) continue;
        CHECK(got == want, "%s: %s is %s", schema, text, got ? "accepted" : "refused");
    }
}

static void one(const json_t *one_case) {
    char *schema = json_dumps(json_object_get(one_case, "schema"), JSON_COMPACT | JSON_ENCODE_ANY), *text = NULL;
    mlxn_grammar *g = NULL;
    mlxn_automaton a;
    mlxn_error error;
    mlxn_status status = mlxn_grammar_from_schema(schema, strlen(schema), &g, &error);
    if (report && status) {
        n_unsupported += status == MLXN_ERR_UNSUPPORTED;
        if (status != MLXN_ERR_ARGUMENT)
            fprintf(stderr, "%s: %s\n", json_string_value(json_object_get(one_case, "name")), error.message);
        free(schema);
        return;
    }
    CHECK(status == MLXN_OK, "%s: %s", schema, error.message);
    if (!status && mlxn_au_init(&a, g, mlxn_free, NULL) == MLXN_OK) {
        judge(&a, schema, json_object_get(one_case, "valid"), true);
        judge(&a, schema, json_object_get(one_case, "invalid"), false);
        judge(&a, schema, json_object_get(one_case, "narrower"), false);
        mlxn_au_free(&a);
    }
    CHECK(mlxn_schema_to_gbnf(schema, strlen(schema), &text, NULL, NULL) == MLXN_OK && strstr(text, "root ::= "),
          "text");
    if (test_failures && getenv("SHOW_GRAMMAR")) fprintf(stderr, "%s\n", text);
    mlxn_free_memory(text);
    mlxn_grammar_release(&g);
    free(schema);
}

static void refused(const json_t *one_case) {
    char *schema = json_dumps(json_object_get(one_case, "schema"), JSON_COMPACT | JSON_ENCODE_ANY);
    const char *want = json_string_value(json_object_get(one_case, "status"));
    mlxn_grammar *g = NULL;
    mlxn_error error = {0};
    mlxn_status status = mlxn_grammar_from_schema(schema, strlen(schema), &g, &error);
    CHECK(!g && !strcmp(mlxn_status_name(status), want), "%s: %s, want %s: %s", schema, mlxn_status_name(status),
          want, error.message);
    const json_t *parts = json_object_get(one_case, "message");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const char *part = json_string_value(json_array_get(parts, i));
        CHECK(strstr(error.message, part), "%s: \"%s\" lacks \"%s\"", schema, error.message, part);
    }
    mlxn_grammar_release(&g);
    free(schema);
}

int main(int argc, char **argv) {
    report = argc == 3 && !strcmp(argv[1], "--suite");
    json_error_t problem;
    json_t *file = json_load_file(report ? argv[2] : "tests/vectors/schema/cases.json", JSON_ALLOW_NUL, &problem),
           *entry;
    size_t i;
    CHECK(file != NULL, "line %d: %s", problem.line, problem.text);
    CHECK(json_array_size(json_object_get(file, "cases")) > 50, "cases");
    json_array_foreach(json_object_get(file, "cases"), i, entry) one(entry);
    json_array_foreach(json_object_get(file, "errors"), i, entry) refused(entry);
    if (report)
        printf("%d schemas, %d unsupported; %d valid documents, %d left out\n",
               (int)json_array_size(json_object_get(file, "cases")), n_unsupported, n_valid, n_left_out);
    json_decref(file);
    return TEST_DONE();
}
