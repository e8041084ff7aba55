/* Promise: whatever a template does, it ends within its limits with an error that names line, column and cause, and
 * nothing leaks; statements that reach outside the template are refused; failing allocations are errors. */
#include <mlxn/chat.h>

#include "base/base.h"
#include "test.h"

static mlxn_status run(const char *text, const mlxn_template_desc *desc, mlxn_error *error) {
    mlxn_template *t = NULL;
    char *out = NULL;
    mlxn_status status = mlxn_template_compile(text, strlen(text), "T", &t, error);
    if (status == MLXN_OK) status = mlxn_template_render(t, desc, &out, NULL, error);
    CHECK((status == MLXN_OK) == (out != NULL), "%s", text);
    mlxn_free_memory(out);
    mlxn_template_destroy(&t);
    return status;
}

static void refuse(const char *text, mlxn_status want, const char *says) {
    mlxn_error error = {0};
    mlxn_status got = run(text, NULL, &error);
    CHECK(got == want && strstr(error.message, says), "%.80s: status %d, want %d; \"%s\", want \"%s\"", text, got,
          want, error.message, says);
}

static void test_places(void) {
    refuse("a\n  {{ x.y }}", MLXN_ERR_ARGUMENT, "T: line 2, column 7: 'x' is undefined");
    refuse("\xc5\xbc\xc3\xb3\xc5\x82w {{ 1 / 0 }}", MLXN_ERR_ARGUMENT, "line 1, column 11: division by zero");
    refuse("\r\n\r\n{{ raise_exception('no\nway') }}", MLXN_ERR_ARGUMENT,
           "line 3, column 19: the template refuses: no way");
    refuse("{% if x %}\n\n{{ y }}", MLXN_ERR_FORMAT, "line 1, column 4: the block 'if' does not end");
    refuse("{{ a b }}", MLXN_ERR_FORMAT, "line 1, column 6: got 'b', want \"}}\"");
    refuse("{{ 'abc", MLXN_ERR_FORMAT, "column 4: the string does not end");
    refuse("{% break %}", MLXN_ERR_FORMAT, "'break' outside a loop");
    refuse("{% raw %}x", MLXN_ERR_FORMAT, "the raw block does not end");
    refuse("{{ 99999999999999999999 }}", MLXN_ERR_FORMAT, "does not fit into 64 bits");
    refuse("{{ 9223372036854775807 + 1 }}", MLXN_ERR_ARGUMENT, "the result of + does not fit into 64 bits");
    refuse("{{ 10 ** 40 }}", MLXN_ERR_ARGUMENT, "does not fit");
    refuse("{% include 'x' %}", MLXN_ERR_UNSUPPORTED, "column 4: the statement 'include' is not supported");
    refuse("{% import 'x' as y %}", MLXN_ERR_UNSUPPORTED, "'import'");
    refuse("{% extends 'x' %}", MLXN_ERR_UNSUPPORTED, "'extends'");
    refuse("{% block x %}{% endblock %}", MLXN_ERR_UNSUPPORTED, "'block'");
    refuse("{{ [1] | random }}", MLXN_ERR_UNSUPPORTED, "random is refused");
    refuse("{{ lipsum() }}", MLXN_ERR_UNSUPPORTED, "lipsum is refused");
    refuse("{{ 1 | nope }}", MLXN_ERR_UNSUPPORTED, "No filter named 'nope'.");
    refuse("{{ 1 is nope }}", MLXN_ERR_UNSUPPORTED, "No test named 'nope'.");
}

/* Templates that would run for ever or take all memory. */
static void test_limits(void) {
    refuse("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", MLXN_ERR_LIMIT,
           "limit of");
    refuse("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", MLXN_ERR_LIMIT, "limit of 500 levels");
    refuse("{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
           MLXN_ERR_LIMIT, "limit of");
    refuse("{{ 'x' * 9000000000000000000 }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ [1] * 9000000000000000000 }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ 'x' | center(9000000000000000000) }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ 'x'.ljust(9000000000000000000) }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ 'x'.zfill(9000000000000000000) }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ [1] | batch(9000000000000000000, 1) | list }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ [1] | slice(9000000000000000000) | list }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ 'x' | indent(9000000000000000000) }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ [1] | tojson(indent=9000000000000000000) }}", MLXN_ERR_LIMIT, "limit of");
    refuse("{{ '%99999999999d' % 1 }}", MLXN_ERR_ARGUMENT, "at most");
    refuse("{{ range(9000000000000000000) }}", MLXN_ERR_LIMIT, "Range too big");
    refuse("{% set n = namespace() %}{% set n.n = n %}{{ n }}", MLXN_ERR_LIMIT, "levels");
    refuse("{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
           MLXN_ERR_LIMIT, "levels");
    refuse(
        "{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l == [n.l] }}",
        MLXN_ERR_LIMIT, "levels");
    char deep[5000] = "{{ ";
    memset(deep + 3, '(', 2000);
    memset(deep + 2003, ')', 2000);
    memcpy(deep + 4003, " }}", 3);
    refuse(deep, MLXN_ERR_LIMIT, "limit of 200 levels");
    memset(deep + 3, '-', 2000);
    memcpy(deep + 2003, " }}", 4);
    refuse(deep, MLXN_ERR_LIMIT, "limit of 200 levels");
    for (size_t i = 3; i < 2003; i += 4) memcpy(deep + i, "not ", 4);
    refuse(deep, MLXN_ERR_LIMIT, "limit of 200 levels");
}

static void test_own_limits(void) {
    mlxn_error error = {0};
    mlxn_template_desc d = {.struct_size = sizeof d, .max_output = 10};
    CHECK(run("0123456789", &d, &error) == MLXN_OK, "%s", error.message);
    CHECK(run("0123456789x", &d, &error) == MLXN_ERR_LIMIT && strstr(error.message, "10 bytes"), "%s", error.message);
    d = (mlxn_template_desc){.struct_size = sizeof d, .max_steps = 100};
    CHECK(run("{% for i in range(50) %}{{ i }}{% endfor %}", &d, &error) == MLXN_ERR_LIMIT, "%s", error.message);
    d = (mlxn_template_desc){.struct_size = sizeof d, .max_memory = 100000};
    CHECK(run("{{ ('x' * 99999) ~ 'y' }}", &d, &error) == MLXN_ERR_LIMIT && strstr(error.message, "100000"), "%s",
          error.message);
    d = (mlxn_template_desc){.struct_size = sizeof d, .max_depth = 501};
    CHECK(run("", &d, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "max_depth is 501"), "%s", error.message);
    d = (mlxn_template_desc){0};
    CHECK(run("", &d, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "struct_size"), "%s", error.message);
    static const char *const bad[] = {"[1]", "{", "{\"a\": 1e999}", "{\"a\": 99999999999999999999}",
                                      "{\"a\": \"\xff\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        d = (mlxn_template_desc){.struct_size = sizeof d, .variables = bad[i], .variables_bytes = strlen(bad[i])};
        CHECK(run("", &d, &error) == MLXN_ERR_ARGUMENT, "%s: %s", bad[i], error.message);
    }
    char nested[3000];
    memset(nested, '[', sizeof nested);
    memcpy(nested, "{\"a\":", 5);
    for (size_t i = 0; i < 1400; i++) nested[5 + 1400 + i] = ']';
    nested[2805] = '}';
    d = (mlxn_template_desc){.struct_size = sizeof d, .variables = nested, .variables_bytes = 2806};
    CHECK(run("", &d, &error) == MLXN_ERR_LIMIT && strstr(error.message, "levels"), "%s", error.message);
}

static void test_no_memory(void) {
    static const char text[] = "{% for x in l %}{{ x ~ ('y' * 20000) }}{% endfor %}";
    static const char context[] = "{\"l\": [1, 2, 3]}";
    mlxn_template_desc d = {.struct_size = sizeof d, .variables = context, .variables_bytes = sizeof context - 1};
    bool done = false;
    for (uint64_t k = 1; !done && k < 100; k++) {
        mlxn_error error = {0};
        mlxn_alloc_fail_at(k);
        mlxn_status status = run(text, &d, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status == MLXN_OK || status == MLXN_ERR_MEMORY, "k = %d: %s", (int)k, error.message);
        done = status == MLXN_OK;
    }
    CHECK(done, "allocations end");
}

int main(void) {
    uint64_t live = mlxn_alloc_live();
    test_places();
    test_limits();
    test_own_limits();
    test_no_memory();
    CHECK(mlxn_alloc_live() == live, "%d blocks leak", (int)(mlxn_alloc_live() - live));
    return TEST_DONE();
}
