/* masks.c MODEL: how long a constraint takes for each token of texts: mlxn_constraint_mask and
 * mlxn_constraint_accept, for a JSON grammar and for a schema, at the first time and once their states are known.
 * Prints a Markdown table of microseconds; the model's file is read for its vocabulary alone. */
#define _GNU_SOURCE
#include <mlxn/grammar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TOKENS = 4096, REPETITIONS = 5 };

static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\"},\"year\":{\"type\":\"integer\",\"minimum\":"
    "1900,"
    "\"maximum\":2100},\"rating\":{\"type\":\"number\",\"minimum\":0,\"maximum\":10},\"tags\":{\"type\":\"array\","
    "\"items\":"
    "{\"enum\":[\"drama\",\"comedy\",\"science "
    "fiction\",\"documentary\"]}},\"cast\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"role\":{\"type\":[\"string\",\"null\"]}},"
    "\"required\":"
    "[\"name\",\"role\"]}},\"released\":{\"type\":\"string\",\"format\":\"date\"}},\"required\":[\"title\",\"year\","
    "\"cast\"]}";
static const char bounded[] =
    "{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\",\"maxLength\":200},\"plot\":{\"type\":"
    "\"string\","
    "\"minLength\":10,\"maxLength\":2000}},\"required\":[\"title\",\"plot\"]}";
static const char film[] =
    "{\n  \"title\": \"Solaris\",\n  \"year\": 1972,\n  \"rating\": 7.9,\n  \"tags\": [\"drama\", \"science "
    "fiction\"],\n"
    "  \"cast\": [\n    {\"name\": \"Donatas Banionis\", \"role\": \"Kris Kelvin\"},\n    {\"name\": \"Natalya "
    "Bondarchuk\", "
    "\"role\": \"Hari, the visitor \\\"from\\\" the ocean\"},\n    {\"name\": \"J\xc3\xbcri J\xc3\xa4rvet\", "
    "\"role\": null}\n"
    "  ],\n  \"released\": \"1972-03-20\"\n}";
static const char plot[] =
    "{\"title\": \"Solaris\", \"plot\": \"A psychologist is sent to a station orbiting a distant planet in order to "
    "discover "
    "what has caused the crew to go insane. He finds one of the scientists dead, and visitors who cannot be "
    "there.\"}";
static const char text_rules[] =
    "root ::= (line \"\\n\")+\nline ::= [0-9]+ \". \" word (\" \" word){0,11} [.!?]\nword ::= [A-Za-z'-]+ [,;:]?";
static const char lines[] =
    "1. Put the kettle on the stove.\n2. Warm the pot, then add three spoons of tea.\n3. Wait, and don't stir!\n";

static const struct {
    const char *name, *grammar, *text;
    bool is_schema;
} cases[] = {{"any JSON", "{}", film, true},
             {"a schema", schema, film, true},
             {"a schema with maxLength", bounded, plot, true},
             {"a grammar of lines", text_rules, lines, false}};

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void need(mlxn_status status, const mlxn_error *error) {
    if (!status) return;
    fprintf(stderr, "masks: %s\n", error->message);
    exit(1);
}

/* One pass over the text; microseconds of each token into `us`. */
static void pass(mlxn_constraint *c, const mlxn_token *ids, size_t n, double *us) {
    mlxn_error error;
    mlxn_constraint_reset(c);
    for (size_t i = 0; i < n; i++) {
        const uint32_t *bits;
        uint64_t start = now();
        need(mlxn_constraint_mask(c, &bits, &error), &error);
        bool fits = bits[ids[i] / 32] >> (ids[i] % 32) & 1;
        need(fits ? mlxn_constraint_accept(c, ids[i], &error) : MLXN_OK, &error);
        us[i] = (double)(now() - start) / 1e3;
        if (!fits) {
            fprintf(stderr, "masks: token %zu of the text does not fit\n", i);
            exit(1);
        }
    }
    if (!mlxn_constraint_is_complete(c)) {
        fprintf(stderr, "masks: the text is not complete\n");
        exit(1);
    }
}

static void print(const char *name, const char *when, double *us, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += us[i];
    qsort(us, n, sizeof *us, by_value);
    printf("| %s | %s | %zu | %.1f | %.1f | %.1f | %.1f |\n", name, when, n, us[n / 2], sum / (double)n,
           us[n * 99 / 100], us[n - 1]);
}

static void measure(mlxn_model *model, size_t k) {
    mlxn_grammar *g = NULL;
    mlxn_constraint *c = NULL;
    mlxn_error error;
    mlxn_token *ids = NULL;
    size_t n = 0;
    double first[MAX_TOKENS], best[MAX_TOKENS], us[MAX_TOKENS];
    need(cases[k].is_schema ? mlxn_grammar_from_schema(cases[k].grammar, strlen(cases[k].grammar), &g, &error)
                            : mlxn_grammar_from_gbnf(cases[k].grammar, strlen(cases[k].grammar), &g, &error),
         &error);
    need(mlxn_constraint_create(model, g, &c, &error), &error);
    need(mlxn_tokenize(model, cases[k].text, strlen(cases[k].text), MLXN_TOKENIZE_NO_BOS, &ids, &n, &error), &error);
    if (n > MAX_TOKENS) n = MAX_TOKENS;
    pass(c, ids, n, first);
    for (int r = 0; r < REPETITIONS; r++) {
        pass(c, ids, n, us);
        for (size_t i = 0; i < n; i++) best[i] = r && best[i] < us[i] ? best[i] : us[i];
    }
    print(cases[k].name, "first", first, n);
    print(cases[k].name, "later", best, n);
    mlxn_free_memory(ids);
    mlxn_constraint_destroy(c);
    mlxn_grammar_release(&g);
}

int main(int argc, char **argv) {
    mlxn_model_desc desc = {.struct_size = sizeof desc, .vocab_only = true};
    mlxn_model_info info = {.struct_size = sizeof info};
    mlxn_model *model = NULL;
    mlxn_grammar *g = NULL;
    mlxn_constraint *c = NULL;
    mlxn_error error;
    if (argc != 2) {
        fprintf(stderr, "usage: masks MODEL\n");
        return 2;
    }
    need(mlxn_model_load(NULL, argv[1], &desc, &model, &error), &error);
    mlxn_model_get_info(model, &info);
    need(mlxn_grammar_from_gbnf("root ::= \"\"", 11, &g, &error), &error);
    uint64_t start = now();
    need(mlxn_constraint_create(model, g, &c, &error), &error);
    printf("%s: %u tokens, sorted in %.0f ms. Microseconds per token:\n\n", info.name, info.n_vocab,
           (double)(now() - start) / 1e6);
    mlxn_constraint_destroy(c);
    mlxn_grammar_release(&g);
    printf("| grammar | pass | tokens | median | mean | 99 %% | most |\n|---|---|---|---|---|---|---|\n");
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) measure(model, k);
    mlxn_model_release(&model);
    return 0;
}
