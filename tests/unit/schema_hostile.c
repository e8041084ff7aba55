/* Promise: hostile and broken schemas cost bounded time and memory and end in an error; no failed allocation is
 * missed or leaks; what is generated under a schema is JSON that it allows, whatever the model says. */
#include <jansson.h>

#include <mlxn/grammar.h>
#include "base/base.h"
#include "lm_tiny.h"

static mlxn_status try(const char *schema, size_t n, mlxn_error *error) {
    mlxn_grammar *g = NULL;
    mlxn_status status = mlxn_grammar_from_schema(schema, n, &g, error);
    CHECK(!g == (status != MLXN_OK), "%s", mlxn_status_name(status));
    mlxn_grammar_release(&g);
    return status;
}

static void refuse(const char *schema, size_t n, mlxn_status want, const char *part) {
    mlxn_error error = {0};
    mlxn_status status = try(schema, n, &error);
    CHECK(status == want && strstr(error.message, part), "%.60s: %s: %s", schema, mlxn_status_name(status),
          error.message);
}

/* `open` n times, `middle`, `close` n times. */
static char *nest(const char *open, const char *middle, const char *close, int n) {
    char *text = malloc((strlen(open) + strlen(close)) * (size_t)n + strlen(middle) + 1), *at = text;
    for (int i = 0; i < n; i++) at = stpcpy(at, open);
    at = stpcpy(at, middle);
    for (int i = 0; i < n; i++) at = stpcpy(at, close);
    return text;
}

static void test_hostile(void) {
    refuse("", 0, MLXN_ERR_FORMAT, "no JSON");
    refuse("{\"type\":", 8, MLXN_ERR_FORMAT, "line 1");
    refuse("{\"type\":\"null\",\"type\":\"null\"}", 30, MLXN_ERR_FORMAT, "no JSON");
    refuse("{\"type\":\"\xff\"}", 12, MLXN_ERR_FORMAT, "no JSON");
    refuse("{} {}", 5, MLXN_ERR_FORMAT, "no JSON");
    refuse("{\"pattern\":\"a\\u0000b\"}", 22, MLXN_ERR_UNSUPPORTED, "zero character");
    char *big = nest(" ", "{}", " ", 3000000);
    refuse(big, strlen(big), MLXN_ERR_LIMIT, "bytes, at most");
    free(big);
    static const struct {
        const char *open, *middle, *close;
        int n;
        mlxn_status want;
    } nested[] = {
        {"{\"items\":", "{}", "}", 1000, MLXN_ERR_LIMIT},
        {"{\"items\":", "{}", "}", 5000, MLXN_ERR_FORMAT}, /* beyond what the JSON parser takes */
        {"{\"allOf\":[", "{}", "]}", 1000, MLXN_ERR_FORMAT},
        {"{\"anyOf\":[", "{}", ",{}]}", 900, MLXN_ERR_LIMIT},
        {"{\"properties\":{\"a\":", "{}", "}}", 900, MLXN_ERR_LIMIT},
        {"[", "", "]", 5000, MLXN_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof nested / sizeof *nested; i++) {
        char *text = nest(nested[i].open, nested[i].middle, nested[i].close, nested[i].n);
        mlxn_error error = {0};
        mlxn_status status = try(text, strlen(text), &error);
        CHECK(status == nested[i].want && error.message[0], "%s: %s: %s", nested[i].open, mlxn_status_name(status),
              error.message);
        free(text);
    }
    /* Alternatives that multiply, lists that multiply, patterns that multiply. */
    char *text = malloc(1000000), *at = text + sprintf(text, "{\"type\":\"object\",\"allOf\":[");
    for (int i = 0; i < 20; i++) {
        at += sprintf(at, "%s{\"anyOf\":[", i ? "," : "");
        for (int k = 0; k < 10; k++) at += sprintf(at, "%s{\"required\":[\"a%d\"]}", k ? "," : "", i * 10 + k);
        at += sprintf(at, "]}");
    }
    at += sprintf(at, "]}");
    refuse(text, (size_t)(at - text), MLXN_ERR_LIMIT, "256 alternatives");
    at = text + sprintf(text, "{\"$defs\":{\"d0\":{}");
    for (int i = 1; i < 60; i++)
        at += sprintf(at, ",\"d%d\":{\"prefixItems\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]}", i,
                      i - 1, i - 1);
    at += sprintf(at, "},\"$ref\":\"#/$defs/d59\"}");
    mlxn_error error = {0};
    CHECK(try(text, (size_t)(at - text), &error) == MLXN_OK, "shared parts are converted once: %s", error.message);
    at = text + sprintf(text, "{\"pattern\":\"^((((((a{90}){90}){90}){90}){90}){90})$\"}");
    refuse(text, (size_t)(at - text), MLXN_ERR_LIMIT, "states");
    at = text + sprintf(text, "{\"pattern\":\"");
    for (int i = 0; i < 1000; i++) *at++ = '(';
    at += sprintf(at, "\"}");
    refuse(text, (size_t)(at - text), MLXN_ERR_UNSUPPORTED, "nested too deeply");
    at = text + sprintf(text, "{\"additionalProperties\":true,\"properties\":{\"");
    memset(at, 'k', 500000), at += 500000;
    at += sprintf(at, "\":{}}}");
    CHECK(try(text, (size_t)(at - text), &error) == MLXN_OK, "a long key: %s", error.message);
    free(text);
    text = malloc(4200000);
    at = text + sprintf(text, "{\"type\":\"object\",\"properties\":{\"a\":{}");
    for (int i = 0; i < 100000; i++) at += sprintf(at, ",\"p%d\":{}", i);
    at += sprintf(at, "},\"required\":[\"a\"");
    for (int i = 0; i < 100000; i++) at += sprintf(at, ",\"p%d\"", i);
    at += sprintf(at, "]}");
    refuse(text, (size_t)(at - text), MLXN_ERR_LIMIT, "too many names");
    at = text + sprintf(text, "{\"properties\":{\"a\":{}");
    for (int i = 0; i < 20000; i++) at += sprintf(at, ",\"p%d\":{}", i);
    at += sprintf(at, "},\"anyOf\":[{}");
    for (int i = 0; i < 900; i++) at += sprintf(at, ",{\"properties\":{\"q%d\":{}}}", i);
    at += sprintf(at, "]}");
    refuse(text, (size_t)(at - text), MLXN_ERR_LIMIT, "too many names");
    at = text + sprintf(text, "{\"type\":\"string\",\"enum\":[");
    for (int i = 0; i < 20000; i++) at += sprintf(at, "%s\"value number %d\"", i ? "," : "", i);
    at += sprintf(at, "]}");
    CHECK(try(text, (size_t)(at - text), &error) == MLXN_OK, "a long list: %s", error.message);
    free(text);
}

static void test_no_memory(void) {
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":-5},\"b\":{\"enum\":[1,\"x\",["
        "2]]},"
        "\"c\":{\"anyOf\":[{\"pattern\":\"^[a-f]{2}\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"maxItems\":3}"
        "]},"
        "\"d\":{\"allOf\":[{\"properties\":{\"x\":{}}},{\"properties\":{\"x\":{\"type\":\"null\"}}}]}},"
        "\"additionalProperties\":{\"format\":\"date\"}}";
    uint64_t live = mlxn_alloc_live(), before = mlxn_alloc_count(), failed = 0;
    CHECK(try(schema, sizeof schema - 1, NULL) == MLXN_OK, "schema");
    uint64_t n = mlxn_alloc_count() - before;
    for (uint64_t k = 1; k <= n; k++) { /* of a few nothing comes: text that turns out not to be needed */
        mlxn_error error = {0};
        mlxn_alloc_fail_at(k);
        mlxn_status status = try(schema, sizeof schema - 1, &error);
        mlxn_alloc_fail_at(0);
        CHECK(!status || status == MLXN_ERR_MEMORY, "allocation %d: %s", (int)k, mlxn_status_name(status));
        CHECK(mlxn_alloc_live() == live, "allocation %d leaks", (int)k);
        failed += status != MLXN_OK;
    }
    CHECK(n > 200 && failed > n * 9 / 10, "%d of %d allocations failed", (int)failed, (int)n);
    CHECK(mlxn_grammar_from_schema(NULL, 3, NULL, NULL) == MLXN_ERR_ARGUMENT, "no out");
}

/* A model of random weights at high temperature, by twenty seeds. */
static void test_generation(mlxn_model *model, mlxn_context *context, const char *schema, const char *member) {
    static const mlxn_token prompt[] = {1, 260, 270};
    mlxn_grammar *g = NULL;
    mlxn_constraint *c = NULL;
    mlxn_error error;
    CHECK(mlxn_grammar_from_schema(schema, strlen(schema), &g, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_constraint_create(model, g, &c, &error) == MLXN_OK, "%s", error.message);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        mlxn_sampler_desc sampling = {
            .struct_size = sizeof sampling, .temp = 2, .seed = seed, .top_k = seed % 3 * 20};
        mlxn_generate_desc desc = {.struct_size = sizeof desc, .constraint = c};
        mlxn_generate_result result;
        mlxn_sampler *s = NULL;
        CHECK(mlxn_sampler_create(&sampling, TINY_VOCAB, &s, NULL) == MLXN_OK, "sampler");
        mlxn_context_truncate(context, 0, 0, NULL);
        mlxn_constraint_reset(c);
        CHECK(mlxn_generate(context, prompt, 3, s, &desc, &result, &error) == MLXN_OK, "%s", error.message);
        CHECK(result.finish == MLXN_FINISH_STOP, "seed %d: finish %d after %zu", (int)seed, result.finish,
              result.n_ids);
        char *text = NULL;
        CHECK(mlxn_detokenize(model, result.ids, result.n_ids, true, &text, NULL, NULL) == MLXN_OK, "text");
        json_error_t problem;
        json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
        CHECK(json != NULL, "seed %d: %s: %s", (int)seed, text, problem.text);
        CHECK(!member || json_object_get(json, member), "seed %d: %s has no %s", (int)seed, text, member);
        json_decref(json);
        mlxn_free_memory(text);
        mlxn_free_memory(result.ids);
        mlxn_sampler_destroy(s);
    }
    mlxn_constraint_destroy(c);
    mlxn_grammar_release(&g);
}

int main(void) {
    test_hostile();
    test_no_memory();
    mlxn_device *device = tiny_device(MLXN_PRECISION_F32, 1);
    mlxn_model *model = tiny_load(device, "llama");
    mlxn_context *context = NULL;
    CHECK(mlxn_context_create(model, NULL, &context, NULL) == MLXN_OK, "context");
    test_generation(model, context, "{\"type\":[\"integer\",\"null\",\"boolean\"]}", NULL);
    test_generation(
        model, context,
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":6},\"when\":{\"format\":"
        "\"date\"},\"n\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":500},"
        "\"maxItems\":4}},"
        "\"required\":[\"n\"]}",
        "n");
    test_generation(model, context,
                    "{\"anyOf\":[{\"const\":{\"a\":[1,2]}},{\"enum\":[\"\xc3\xa9\\\"\",3.5]},{\"pattern\":\"^["
                    "\\\\s\\\\S]{0,3}$\"}]}",
                    NULL);
    mlxn_context_destroy(context);
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return TEST_DONE();
}
