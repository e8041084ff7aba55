/* Promise: each step of the sampler's chain beyond top-k, top-p and min-p does what its definition says: penalties on
 * frequency and presence, DRY, typical sampling, XTC, mirostat 1 and 2. Kept sets of typical sampling and the
 * penalized logits are those of transformers (TypicalLogitsWarper, RepetitionPenaltyLogitsProcessor). */
#include <math.h>
#include <mlxn/lm.h>

#include "lm/philox.h"
#include "test.h"

enum { N = 10 };
/* Falling, so that the place in the order is the id. */
static const float logits[N] = {2.5f, 2.25f, 1.75f, 1.0f, 0.5f, 0.25f, -0.5f, -1.25f, -2.0f, -3.0f};

static mlxn_sampler *make(mlxn_sampler_desc desc) {
    mlxn_sampler *s = NULL;
    mlxn_error error;
    desc.struct_size = sizeof desc;
    CHECK(mlxn_sampler_create(&desc, N, &s, &error) == MLXN_OK, "%s", error.message);
    return s;
}

static void softmax(const float *x, double temp, double *p) {
    double sum = 0;
    for (int i = 0; i < N; i++) sum += p[i] = exp((double)x[i] / temp);
    for (int i = 0; i < N; i++) p[i] /= sum;
}

/* Draws 40000 times; every frequency within five standard deviations of want[], which may have any sum. */
static void frequencies(mlxn_sampler_desc desc, const double *want, const char *what) {
    enum { DRAWS = 40000 };
    double sum = 0;
    int count[N] = {0};
    for (int i = 0; i < N; i++) sum += want[i];
    desc.seed = 31;
    mlxn_sampler *s = make(desc);
    for (int i = 0; i < DRAWS; i++) count[mlxn_sampler_sample(s, logits)]++;
    for (int i = 0; i < N; i++) {
        double p = want[i] / sum, off = fabs(count[i] - DRAWS * p);
        CHECK(p > 0 ? off <= 5 * sqrt(DRAWS * p * (1 - p)) + 1 : !count[i], "%s: token %d %d times, want %.0f", what,
              i, count[i], DRAWS * p);
    }
    mlxn_sampler_destroy(s);
}

static void typical(void) {
    /* from transformers, for these logits */
    static const struct {
        float mass;
        bool kept[N];
    } cases[] = {{0.2f, {0, 1, 1}}, {0.5f, {1, 1, 1}}, {0.8f, {1, 1, 1}}, {0.95f, {1, 1, 1, 1, 1, 1}}};
    for (int c = 0; c < 4; c++)
        for (int k = 0; k < 2; k++) { /* without and with a top-k that cuts nothing */
            double p[N];
            softmax(logits, 0.7, p);
            for (int i = 0; i < N; i++) p[i] *= cases[c].kept[i];
            frequencies((mlxn_sampler_desc){.temp = 0.7f, .typical_p = cases[c].mass, .top_k = k ? N : 0}, p,
                        "typical");
        }
    double p[N];
    softmax(logits, 1, p);
    p[0] = 0; /* 0.2 leaves 1 and 2; of these top-p 0.3 leaves the first */
    for (int i = 2; i < N; i++) p[i] = 0;
    frequencies((mlxn_sampler_desc){.temp = 1, .typical_p = 0.2f, .top_p = 0.3f}, p, "typical, then top-p");
}

static void exclude_top(void) {
    double p[N], want[N];
    softmax(logits, 1, p); /* 0.35, 0.27, 0.17, 0.08 … */
    for (int k = 0; k < 3; k++) {
        static const float often[] = {1, 0.25f, 1};
        static const float least[] = {0.15f, 0.15f, 0.3f}; /* three tokens reach it, or one: then nothing goes */
        double rest = 0;
        for (int i = k < 2 ? 2 : 0; i < N; i++) rest += p[i];
        for (int i = 0; i < N; i++) {
            double without = k < 2 && i < 2 ? 0 : p[i] / rest;
            want[i] = (double)often[k] * without + (1 - (double)often[k]) * p[i];
        }
        frequencies((mlxn_sampler_desc){.temp = 1, .xtc_probability = often[k], .xtc_threshold = least[k]}, want,
                    "XTC");
        frequencies(
            (mlxn_sampler_desc){.temp = 1, .xtc_probability = often[k], .xtc_threshold = least[k], .top_k = N}, want,
            "XTC after top-k");
    }
    frequencies((mlxn_sampler_desc){.temp = 1, .xtc_probability = 1, .xtc_threshold = 0.51f}, p, "XTC above a half");
}

/* What the penalties make of each logit, seen through the likeliest token: its logit plus x is raised above all
 * others by a search for the x at which the choice turns to it. */
static double seen_logit(mlxn_sampler *s, int token) {
    float x[N];
    for (int i = 0; i < N; i++) x[i] = i == token ? logits[i] : -1e6f;
    int other = token == N - 1 ? N - 2 : N - 1; /* a token that no history here has */
    double low = -50, high = 50;
    for (int i = 0; i < 60; i++) {
        double mid = (low + high) / 2;
        x[other] = (float)mid;
        if (mlxn_sampler_sample(s, x) == token)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static void counted(void) {
    mlxn_sampler *s = make((mlxn_sampler_desc){.repeat_penalty = 1.5f});
    static const mlxn_token history[] = {0, 3, 8, 8};
    for (int i = 0; i < 4; i++) mlxn_sampler_accept(s, history[i]);
    static const double repeat[] = {1.6667, 2.25, 1.75, 0.6667, 0.5, 0.25, -0.5, -1.25, -3.0};
    for (int i = 0; i < 9; i++)
        CHECK(fabs(seen_logit(s, i) - repeat[i]) < 1e-4, "token %d: logit %g, want %g", i, seen_logit(s, i),
              repeat[i]);
    mlxn_sampler_destroy(s);
    s = make((mlxn_sampler_desc){
        .repeat_penalty = 2, .frequency_penalty = 0.25f, .presence_penalty = 0.5f, .penalty_window = 3});
    for (int i = 0; i < 4; i++) mlxn_sampler_accept(s, history[i]);
    static const double both[] = {2.5, 2.25, 1.75, 0.5 - 0.75, 0.5, 0.25, -0.5, -1.25, -4 - 1.0};
    for (int i = 0; i < 9; i++)
        CHECK(fabs(seen_logit(s, i) - both[i]) < 1e-4, "token %d: logit %g, want %g", i, seen_logit(s, i), both[i]);
    mlxn_sampler_destroy(s);
}

static void dry_case(const char *text, const char *breakers, uint32_t allowed, uint32_t window, const double *off) {
    mlxn_token ends[N];
    size_t n = 0;
    for (; breakers[n]; n++) ends[n] = breakers[n] - '0';
    mlxn_sampler *s = make((mlxn_sampler_desc){.dry_multiplier = 0.5f,
                                               .dry_base = 2,
                                               .dry_allowed_length = allowed,
                                               .dry_window = window,
                                               .dry_breakers = ends,
                                               .n_dry_breakers = n});
    for (const char *c = text; *c; c++) mlxn_sampler_accept(s, *c - '0');
    for (int i = 0; i < 8; i++) {
        double got = (double)logits[i] - seen_logit(s, i);
        CHECK(fabs(got - off[i]) < 1e-4, "DRY after %s: token %d loses %g, want %g", text, i, got, off[i]);
    }
    mlxn_sampler_destroy(s);
}

static void dont_repeat(void) {
    /* 1 2 3 was followed by 4, and now comes 1 2 3: length 3, one beyond the allowed two */
    dry_case("12345123", "", 2, 0, (double[8]){[4] = 1});
    dry_case("12345123", "", 3, 0, (double[8]){[4] = 0.5});
    dry_case("12345123", "", 4, 0, (double[8]){0});
    /* the longest of several matches counts, and each token by its own */
    dry_case("0123451236123", "", 2, 0, (double[8]){[4] = 1, [6] = 1});
    dry_case("7123402361236123", "", 2, 0, (double[8]){[4] = 1, [6] = 8});
    /* a run: 5 5 5 5 repeats itself with overlap, length 3 */
    dry_case("5555", "", 2, 0, (double[8]){[5] = 1});
    /* a breaker inside the phrase: only what follows it is compared, and breakers are never penalized */
    dry_case("12345123", "2", 1, 0, (double[8]){[4] = 0.5});
    dry_case("12345123", "3", 1, 0, (double[8]){0});
    dry_case("12345123", "4", 2, 0, (double[8]){0});
    /* beyond the window nothing is found */
    dry_case("12345123", "", 2, 5, (double[8]){0});
}

/* The same steps from the definition: probabilities of sorted tokens, cut, drawn from the left, mu updated. */
static void mirostat(uint32_t version) {
    const double tau = 2.0, eta = 0.3, temp = 1.25;
    mlxn_sampler *s = make((mlxn_sampler_desc){.temp = (float)temp,
                                               .mirostat = version,
                                               .mirostat_tau = (float)tau,
                                               .mirostat_eta = (float)eta,
                                               .seed = 77});
    double mu = 2 * (double)(float)tau, p[N], mean = 0;
    const int steps = 400;
    for (int t = 0; t < steps; t++) {
        float x[N];
        for (int i = 0; i < N; i++) x[i] = logits[i] * (float)(1 + 0.5 * (t % 3)); /* order stays */
        softmax(x, (double)(float)temp, p);
        int kept = 1;
        if (version == 2) {
            while (kept < N && p[kept] >= exp2(-mu)) kept++;
        } else {
            double tb = 0, tt = 0;
            for (int i = 0; i + 1 < N; i++) {
                double step = log((i + 2.0) / (i + 1.0));
                tb += step * log(p[i] / p[i + 1]);
                tt += step * step;
            }
            double z = tb / tt, k = pow((z - 1) * exp2(mu) / (1 - pow(N, 1 - z)), 1 / z);
            kept = k < 1 ? 1 : k > N ? N : (int)k;
        }
        double sum = 0, left, at = 0;
        for (int i = 0; i < kept; i++) sum += p[i];
        left = mlxn_philox_uniform(77, (uint64_t)t) * sum;
        int want = 0;
        while (want + 1 < kept && left >= at + p[want]) at += p[want++];
        mlxn_token got = mlxn_sampler_sample(s, x);
        CHECK(got == want, "mirostat %u, step %d: token %d, want %d of %d", version, t, got, want, kept);
        double surprise = -log2(p[want] / sum);
        mean += surprise / steps;
        mu -= (double)(float)eta * (surprise - (double)(float)tau);
    }
    CHECK(fabs(mean - tau) < 0.3, "mirostat %u: mean surprise %g bits, want %g", version, mean, tau);
    mlxn_sampler_destroy(s);
}

static void refusals(void) {
    static const struct {
        mlxn_sampler_desc desc;
        const char *part;
    } bad[] = {{{.typical_p = 2}, "typical_p is 2, want 0 to 1"},
               {{.xtc_probability = -1}, "xtc_probability is -1"},
               {{.xtc_threshold = NAN}, "xtc_threshold is"},
               {{.mirostat = 3}, "mirostat is 3, want 0, 1 or 2"},
               {{.mirostat = 2, .mirostat_tau = -1}, "mirostat_tau is -1"},
               {{.frequency_penalty = INFINITY}, "frequency_penalty is inf"},
               {{.dry_multiplier = 1, .dry_base = 0.5f}, "dry_base is 0.5, want 1 or more"},
               {{.dry_multiplier = 1, .dry_base = 2, .n_dry_breakers = 4}, "dry_breakers is NULL"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mlxn_sampler_desc d = bad[i].desc;
        mlxn_sampler *s = NULL;
        mlxn_error error = {0};
        d.struct_size = sizeof d;
        mlxn_status status = mlxn_sampler_create(&d, N, &s, &error);
        CHECK(status == MLXN_ERR_ARGUMENT && !s && strstr(error.message, bad[i].part), "got \"%s\", want \"%s\"",
              error.message, bad[i].part);
    }
}

int main(void) {
    typical();
    exclude_top();
    counted();
    dont_repeat();
    mirostat(1);
    mirostat(2);
    refusals();
    return TEST_DONE();
}
