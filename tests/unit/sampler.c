/* Promise: the sampler draws from exactly the distribution that its options describe (penalty, top-k, top-p, min-p,
 * temperature, in this order), is deterministic for a seed, and copes with ties, NaN and infinities. */
#include <math.h>
#include <mlxn/lm.h>

#include "lm/philox.h"
#include "test.h"

enum { MAX_VOCAB = 2000 };

static mlxn_sampler *make(mlxn_sampler_desc desc, uint32_t n) {
    mlxn_sampler *s = NULL;
    mlxn_error error;
    desc.struct_size = sizeof desc;
    mlxn_status status = mlxn_sampler_create(&desc, n, &s, &error);
    CHECK(status == MLXN_OK, "%s", error.message);
    return s;
}

static mlxn_token once(mlxn_sampler_desc desc, const float *logits, uint32_t n) {
    mlxn_sampler *s = make(desc, n);
    mlxn_token t = mlxn_sampler_sample(s, logits);
    mlxn_sampler_destroy(s);
    return t;
}

/* Random logits that differ from one another; shuffled by a counter-based generator. */
static void fill(float *logits, uint32_t n, uint64_t seed, double spread) {
    for (uint32_t i = 0; i < n; i++) logits[i] = (float)((mlxn_philox_uniform(seed, i) - 0.5) * spread);
}

typedef struct ranked {
    float logit;
    uint32_t id;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The distribution by definition: sort everything, cut, cut, cut, reshape. */
static void expected(const mlxn_sampler_desc *d, const float *logits, uint32_t n, double *p) {
    static ranked all[MAX_VOCAB];
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        p[i] = 0;
        if (!isnan(logits[i])) all[m++] = (ranked){logits[i], i};
    }
    qsort(all, m, sizeof *all, by_rank);
    if (d->top_k > 0 && d->top_k < m) m = d->top_k;
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < m; i++) total += exp((double)all[i].logit - all[0].logit);
    if (d->top_p > 0 && d->top_p < 1) {
        uint32_t kept = 0;
        for (double mass = 0; kept < m && mass < d->top_p * total; kept++) {
            mass += exp((double)all[kept].logit - all[0].logit);
        }
        m = kept;
    }
    while (m > 1 && exp((double)all[m - 1].logit - all[0].logit) < (double)d->min_p) m--;
    for (uint32_t i = 0; i < m; i++) sum += exp(((double)all[i].logit - all[0].logit) / d->temp);
    for (uint32_t i = 0; i < m; i++) p[all[i].id] = exp(((double)all[i].logit - all[0].logit) / d->temp) / sum;
}

/* Draws many times; no token outside the support, and every frequency within five standard deviations. */
static void check_distribution(mlxn_sampler_desc d, const float *logits, uint32_t n, const char *what) {
    const int draws = n < 100 ? 20000 : 5000; /* a draw from n tokens costs n exponentials */
    static double p[MAX_VOCAB];
    static uint32_t count[MAX_VOCAB];
    memset(count, 0, sizeof count);
    d.seed = 99;
    expected(&d, logits, n, p);
    mlxn_sampler *s = make(d, n);
    for (int i = 0; i < draws; i++) {
        mlxn_token t = mlxn_sampler_sample(s, logits);
        if (t < 0 || (uint32_t)t >= n || p[t] == 0) {
            CHECK(0, "%s: token %d is outside the support", what, t);
            break;
        }
        count[t]++;
    }
    for (uint32_t i = 0; i < n; i++) {
        double mean = p[i] * draws, tolerance = 5 * sqrt(p[i] * (1 - p[i]) * draws) + 3;
        if (fabs(count[i] - mean) > tolerance) {
            CHECK(0, "%s: token %u drawn %u times, want %g +- %g", what, i, count[i], mean, tolerance);
        }
    }
    test_checks++;
    mlxn_sampler_destroy(s);
}

static void test_distributions(void) {
    static float logits[MAX_VOCAB];
    const uint32_t sizes[] = {1, 2, 63, 64, 65, 600, MAX_VOCAB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t n = sizes[i];
        fill(logits, n, 5 + i, 12);
        check_distribution((mlxn_sampler_desc){.temp = 1}, logits, n, "temperature alone");
        check_distribution((mlxn_sampler_desc){.temp = 0.5f, .top_k = 10}, logits, n, "top-k");
        check_distribution((mlxn_sampler_desc){.temp = 2, .top_k = 1}, logits, n, "top-k 1");
        check_distribution((mlxn_sampler_desc){.temp = 1.5f, .top_p = 0.7f}, logits, n, "top-p");
        check_distribution((mlxn_sampler_desc){.temp = 1, .top_p = 0.99f}, logits, n, "wide top-p");
        check_distribution((mlxn_sampler_desc){.temp = 0.8f, .min_p = 0.2f}, logits, n, "min-p");
        check_distribution((mlxn_sampler_desc){.temp = 1, .top_p = 0.9f, .min_p = 0.3f}, logits, n, "min-p decides");
        check_distribution((mlxn_sampler_desc){.temp = 1, .top_p = 0.1f, .min_p = 0.01f}, logits, n, "top-p decides");
        check_distribution((mlxn_sampler_desc){.temp = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f}, logits, n,
                           "the program's defaults");
        check_distribution((mlxn_sampler_desc){.temp = 1, .top_k = 1u << 30, .top_p = 0.5f, .min_p = 0.9f}, logits, n,
                           "top-k beyond the vocabulary");
    }
}

static void test_greedy_and_ties(void) {
    static float logits[300];
    for (int i = 0; i < 300; i++) logits[i] = -1;
    logits[170] = logits[200] = logits[299] = 3;
    CHECK(once((mlxn_sampler_desc){.temp = 0}, logits, 300) == 170, "the lowest of equal ids");
    CHECK(once((mlxn_sampler_desc){.temp = -1}, logits, 300) == 170, "a negative temperature is greedy");
    CHECK(once((mlxn_sampler_desc){.temp = 1, .top_k = 1}, logits, 300) == 170, "top-k 1 keeps the lowest of equals");
    logits[5] = NAN;
    logits[100] = INFINITY;
    CHECK(once((mlxn_sampler_desc){.temp = 0}, logits, 300) == 100, "infinity wins");
    CHECK(once((mlxn_sampler_desc){.temp = 1}, logits, 300) == 100, "infinity has all the mass");
    CHECK(once((mlxn_sampler_desc){.temp = 1, .top_k = 20, .top_p = 0.5f}, logits, 300) == 100, "also in top-k");
    for (int i = 0; i < 300; i++) logits[i] = NAN;
    CHECK(once((mlxn_sampler_desc){.temp = 0}, logits, 300) == 0, "all NaN, greedy");
    CHECK(once((mlxn_sampler_desc){.temp = 1}, logits, 300) == 0, "all NaN");
    CHECK(once((mlxn_sampler_desc){.temp = 1, .top_k = 7}, logits, 300) == 0, "all NaN, top-k");
    logits[42] = -5;
    CHECK(once((mlxn_sampler_desc){.temp = 0}, logits, 300) == 42, "one number among NaN, greedy");
    CHECK(once((mlxn_sampler_desc){.temp = 1, .top_k = 7, .top_p = 0.9f}, logits, 300) == 42, "one number, top-k");
    CHECK(once((mlxn_sampler_desc){.temp = 1, .top_p = 0.9f}, logits, 300) == 42, "one number, top-p");
    for (int i = 0; i < 300; i++) logits[i] = -INFINITY;
    mlxn_token t = once((mlxn_sampler_desc){.temp = 1}, logits, 300);
    CHECK(t >= 0 && t < 300, "all minus infinity: %d", t);
    logits[7] = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        t = once((mlxn_sampler_desc){.temp = 1, .seed = seed}, logits, 300);
        CHECK(t == 7, "minus infinity has no mass: %d", t);
    }
}

static void test_determinism(void) {
    static float logits[1000];
    fill(logits, 1000, 3, 6);
    mlxn_sampler_desc d = {.temp = 1, .top_k = 50, .seed = 1234567890123ull};
    mlxn_sampler *a = make(d, 1000), *b = make(d, 1000);
    d.seed++;
    mlxn_sampler *c = make(d, 1000);
    int same = 0;
    for (int i = 0; i < 200; i++) {
        mlxn_token x = mlxn_sampler_sample(a, logits), y = mlxn_sampler_sample(b, logits);
        CHECK(x == y, "draw %d: %d and %d", i, x, y);
        same += x == mlxn_sampler_sample(c, logits);
    }
    CHECK(same < 100, "another seed gave the same token %d times of 200", same);
    mlxn_sampler_destroy(a);
    mlxn_sampler_destroy(b);
    mlxn_sampler_destroy(c);
}

static void test_penalty(void) {
    float logits[100] = {0};
    logits[10] = 4;
    logits[20] = 3;
    logits[30] = 2.5f;
    mlxn_sampler *s = make((mlxn_sampler_desc){.temp = 0, .repeat_penalty = 1.5f}, 100);
    CHECK(mlxn_sampler_sample(s, logits) == 10, "no history, no penalty");
    mlxn_sampler_accept(s, 10);
    mlxn_sampler_accept(s, 10); /* twice must not count twice: 4 / 1.5 = 2.67 stays above 2.5 */
    CHECK(mlxn_sampler_sample(s, logits) == 20, "the penalty moves the choice");
    mlxn_sampler_accept(s, 20);
    CHECK(mlxn_sampler_sample(s, logits) == 10, "penalized once, not squared");
    mlxn_sampler_accept(s, -1); /* ids outside the vocabulary are ignored */
    mlxn_sampler_accept(s, 100);
    CHECK(mlxn_sampler_sample(s, logits) == 10, "odd ids in the history change nothing");
    for (int i = 0; i < 60; i++) mlxn_sampler_accept(s, 99);
    CHECK(mlxn_sampler_sample(s, logits) == 10,
          "64 tokens back still counts: 10 was accepted 65 tokens ago, 20 less");
    for (int i = 0; i < 4; i++) mlxn_sampler_accept(s, 99);
    CHECK(mlxn_sampler_sample(s, logits) == 10, "beyond 64 tokens the full logit returns");
    mlxn_sampler_destroy(s);

    float negative[3] = {-1, -1.2f, -9};
    s = make((mlxn_sampler_desc){.temp = 0, .repeat_penalty = 2}, 3);
    mlxn_sampler_accept(s, 0);
    CHECK(mlxn_sampler_sample(s, negative) == 1, "a negative logit is multiplied");
    mlxn_sampler_destroy(s);
}

/* The window is exactly 64 tokens long. */
static void test_penalty_window(void) {
    float logits[100] = {0};
    logits[10] = 4;
    logits[20] = 3;
    mlxn_sampler *s = make((mlxn_sampler_desc){.temp = 0, .repeat_penalty = 2}, 100);
    mlxn_sampler_accept(s, 10);
    for (int i = 0; i < 63; i++) mlxn_sampler_accept(s, 50);
    CHECK(mlxn_sampler_sample(s, logits) == 20, "the 64th token back is penalized");
    mlxn_sampler_accept(s, 50);
    CHECK(mlxn_sampler_sample(s, logits) == 10, "the 65th is not");
    mlxn_sampler_destroy(s);
}

static void test_bad_options(void) {
    const struct {
        mlxn_sampler_desc desc;
        uint32_t n;
        const char *names;
    } bad[] = {
        {{.struct_size = sizeof(mlxn_sampler_desc), .temp = NAN}, 10, "temp"},
        {{.struct_size = sizeof(mlxn_sampler_desc), .temp = INFINITY}, 10, "temp"},
        {{.struct_size = sizeof(mlxn_sampler_desc), .temp = 1, .top_p = -1}, 10, "top_p"},
        {{.struct_size = sizeof(mlxn_sampler_desc), .temp = 1, .top_p = NAN}, 10, "top_p"},
        {{.struct_size = sizeof(mlxn_sampler_desc), .temp = 1, .min_p = 1.5f}, 10, "min_p"},
        {{.struct_size = sizeof(mlxn_sampler_desc), .temp = 1, .repeat_penalty = -1}, 10, "repeat_penalty"},
        {{.struct_size = sizeof(mlxn_sampler_desc), .temp = 1}, 0, "n_vocab"},
        {{.temp = 1}, 10, "struct_size"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mlxn_sampler *s = (mlxn_sampler *)1;
        mlxn_error error;
        mlxn_status status = mlxn_sampler_create(&bad[i].desc, bad[i].n, &s, &error);
        CHECK(status == MLXN_ERR_ARGUMENT && !s, "case %zu: status %d", i, status);
        CHECK(strstr(error.message, bad[i].names), "case %zu: \"%s\" does not name %s", i, error.message,
              bad[i].names);
    }
    mlxn_sampler *s = NULL;
    CHECK(mlxn_sampler_create(NULL, 10, &s, NULL) == MLXN_OK, "NULL is the default: greedy");
    mlxn_sampler_destroy(s);
    mlxn_sampler_destroy(NULL);
}

int main(void) {
    test_distributions();
    test_greedy_and_ties();
    test_determinism();
    test_penalty();
    test_penalty_window();
    test_bad_options();
    return TEST_DONE();
}
