/* Promise: an eighth of a megabyte of the least kind text is tokenized within a time that quadratic work would pass
 * by far, and any number of threads may use one tokenizer at once, all with the same result. */
#include <pthread.h>

#include "test.h"
#include "unit/tok_tiny.h"

enum { SIZE = 1 << 17, THREADS = 4 };

static const char *const merges[] = {"a a", "aa aa", "aaaa aaaa", "\xc4\xa0 \xc4\xa0", "< u", NULL};
static const tiny_token bpe_added[] = {
    {"<unused0>", 3, 0}, {"<unused1>", 3, 0}, {"\n\n", 4, 0}, {"\n\n\n\n\n\n\n", 4, 0}, {"<<<<<<<<<<<<<<<<", 4, 0}};
static const tiny_token spm_added[] = {{"a", 1, -1},
                                       {"aa", 1, -2},
                                       {"aaaa", 1, -3},
                                       {"\xe2\x96\x81", 1, -4},
                                       {"\xe2\x96\x81\xe2\x96\x81", 1, -5},
                                       {"\n\n", 4, 0},
                                       {"\n\n\n\n\n\n\n", 4, 0},
                                       {"<unused0>", 3, 0},
                                       {"<unused1>", 3, 0},
                                       {"<<<<<<<<<<<<<<<<", 4, 0}};

static const char *const patterns[] = {
    "a",    " ",        "\n",       " a",           "\r ",
    "<",    "<unused",  "<unused0", "<unused0>",    "\n\n\n ",
    "'",    "1",        "\t",       "\xc3\xa9",     "\xf0\x9f\x98\x80",
    "\xff", "\xe2\x80", "\xc2\x85", "\xe3\x80\x80", "\xcc\x81",
    ".\r",  "a'",       "'l",
};

static double seconds(void) { return (double)mlxn_now_ns() * 1e-9; }

static void fill(char *text, size_t n, const char *pattern) {
    size_t length = strlen(pattern);
    for (size_t i = 0; i < n; i++) text[i] = pattern[i % length];
}

static void test_time(const tiny_spec *spec, char *text) {
    tiny t = tiny_make(spec);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        fill(text, SIZE, patterns[i]);
        text[SIZE - 1] = 'x'; /* what a look ahead to the end would find */
        double start = seconds();
        CHECK(tiny_round_trip(t.tok, text, SIZE, 0), "%s, pattern %zu", mlxn_tokenizer_name(t.tok), i);
        double taken = seconds() - start;
        CHECK(taken < 15, "%s, pattern %zu: %.1f s", mlxn_tokenizer_name(t.tok), i, taken);
    }
    tiny_free(&t);
}

typedef struct job {
    const mlxn_tokenizer *tok;
    pthread_t thread;
    mlxn_token *ids;
    size_t n;
    mlxn_status status;
} job;

static void *run(void *user) {
    static const char text[] =
        "One tokenizer, several threads: the first of them compiles the expressions. 12 <unused0>";
    job *j = user;
    j->status = mlxn_tokenizer_encode(j->tok, text, sizeof text - 1, 0, &j->ids, &j->n, NULL);
    return NULL;
}

static void test_threads(const tiny_spec *spec) {
    for (int round = 0; round < 20; round++) {
        tiny t = tiny_make(spec);
        job jobs[THREADS];
        for (int i = 0; i < THREADS; i++) {
            jobs[i] = (job){.tok = t.tok};
            if (pthread_create(&jobs[i].thread, NULL, run, &jobs[i])) exit(2);
        }
        for (int i = 0; i < THREADS; i++) pthread_join(jobs[i].thread, NULL);
        for (int i = 0; i < THREADS; i++) {
            CHECK(!jobs[i].status && jobs[i].n == jobs[0].n && jobs[i].n > 10 &&
                      !memcmp(jobs[i].ids, jobs[0].ids, jobs[0].n * sizeof(mlxn_token)),
                  "thread %d", i);
        }
        for (int i = 0; i < THREADS; i++) mlxn_free(jobs[i].ids);
        tiny_free(&t);
    }
}

static void test_limit(const tiny_spec *spec) {
    tiny t = tiny_make(spec);
    mlxn_token *ids;
    size_t n;
    mlxn_error error = {0};
    /* The size is refused before the text is looked at. */
    mlxn_status status = mlxn_tokenizer_encode(t.tok, "x", MLXN_TOK_MAX_TEXT + 1, 0, &ids, &n, &error);
    CHECK(status == MLXN_ERR_ARGUMENT && strstr(error.message, "536870913"), "%s", error.message);
    tiny_free(&t);
}

int main(void) {
    static const char *const pres[] = {"gpt-2", "smollm", "qwen2", "llama-bpe", "default"};
    char *text = malloc(SIZE);
    if (!text) return 2;
    tiny_spec bpe = {.model = "gpt2", .tokens = bpe_added, .n_tokens = 5, .merges = merges, .add_bos = -1};
    tiny_spec spm = {.model = "llama", .tokens = spm_added, .n_tokens = 10, .add_bos = -1, .space_prefix = -1};
    for (size_t i = 0; i < 5; i++) {
        bpe.pre = pres[i];
        test_time(&bpe, text);
    }
    test_time(&spm, text);
    test_threads(&bpe);
    test_threads(&spm);
    test_limit(&spm);
    free(text);
    return TEST_DONE();
}
