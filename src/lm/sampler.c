/* sampler.c: from logits to a token.
 *
 * Order: repeat penalty, top-k, top-p, min-p, temperature, draw. top-p and min-p look at the probabilities at
 * temperature 1 of what top-k left over; the temperature then shapes the draw among the survivors. Candidates are
 * ordered by logit, then by lower id, so the result is a pure function of logits, history, options and draw number.
 *
 * No step sorts the vocabulary: the k best are found with a heap that only sees the few logits above its smallest
 * member, and top-p without top-k grows such a selection until its mass suffices. NaN logits are never chosen. */
#include <math.h>

#include "base/base.h"
#include "lm/lm_internal.h"
#include "lm/philox.h"

enum { PENALTY_WINDOW = 64, SCAN_BLOCK = 64, FIRST_SELECTION = 256 };

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

struct mlxn_sampler {
    mlxn_sampler_desc desc;
    uint32_t n_vocab;
    uint64_t draws;
    mlxn_token recent[PENALTY_WINDOW];
    uint64_t n_recent; /* tokens accepted so far; the ring holds the last PENALTY_WINDOW */
    float *penalized;  /* [n_vocab], only if there is a penalty */
    candidate *found;  /* [n_vocab] */
    double *weights;   /* [n_vocab] */
};

mlxn_status mlxn_sampler_create(const mlxn_sampler_desc *desc, uint32_t n_vocab, mlxn_sampler **out,
                                mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: out is NULL");
    *out = NULL;
    mlxn_sampler_desc d;
    if (!mlxn_lm_copy_desc(&d, sizeof d, desc)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: desc.struct_size is 0, want %zu", sizeof d);
    }
    if (n_vocab == 0) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: n_vocab is 0, want at least 1");
    if (isnan(d.temp) || isinf(d.temp)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: temp is %g, want a number", (double)d.temp);
    }
    if (!(d.top_p >= 0)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: top_p is %g, want 0 to 1", (double)d.top_p);
    }
    if (!(d.min_p >= 0 && d.min_p <= 1)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: min_p is %g, want 0 to 1", (double)d.min_p);
    }
    if (!(d.repeat_penalty >= 0) || isinf(d.repeat_penalty)) {
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: repeat_penalty is %g, want a positive number",
                         (double)d.repeat_penalty);
    }
    mlxn_sampler *s = mlxn_alloc(sizeof *s);
    if (s) {
        s->desc = d;
        s->n_vocab = n_vocab;
        s->found = mlxn_alloc_array(n_vocab, sizeof *s->found);
        s->weights = mlxn_alloc_array(n_vocab, sizeof *s->weights);
        bool penalty = d.repeat_penalty != 0 && d.repeat_penalty != 1;
        if (penalty) s->penalized = mlxn_alloc_array(n_vocab, sizeof *s->penalized);
        if (s->found && s->weights && (!penalty || s->penalized)) {
            *out = s;
            return mlxn_succeed(error);
        }
    }
    mlxn_sampler_destroy(s);
    return mlxn_fail(error, MLXN_ERR_MEMORY, "sampler: no memory for a vocabulary of %u", n_vocab);
}

void mlxn_sampler_destroy(mlxn_sampler *sampler) {
    if (!sampler) return;
    mlxn_free(sampler->penalized);
    mlxn_free(sampler->found);
    mlxn_free(sampler->weights);
    mlxn_free(sampler);
}

void mlxn_sampler_accept(mlxn_sampler *sampler, mlxn_token token) {
    if (sampler) sampler->recent[sampler->n_recent++ % PENALTY_WINDOW] = token;
}

/* Logits with the penalty: a recent token's positive logit is divided by it, a negative one multiplied (Keskar et al.
 * 2019). Each token once, however often it occurred. */
static const float *penalize(mlxn_sampler *s, const float *logits) {
    if (!s->penalized || s->n_recent == 0) return logits;
    memcpy(s->penalized, logits, (size_t)s->n_vocab * sizeof *logits);
    uint64_t n = mlxn_min_u64(s->n_recent, PENALTY_WINDOW);
    for (uint64_t i = 0; i < n; i++) {
        mlxn_token t = s->recent[i];
        if (t < 0 || (uint32_t)t >= s->n_vocab) continue;
        float x = logits[t]; /* from the original, so that repetitions do not add up */
        s->penalized[t] = x > 0 ? x / s->desc.repeat_penalty : x * s->desc.repeat_penalty;
    }
    return s->penalized;
}

static inline bool is_better(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Min-heap on is_better: the worst candidate is at the root. */
static void sift_down(candidate *heap, size_t n, size_t i) {
    candidate moving = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && is_better(heap[child], heap[child + 1])) child++;
        if (!is_better(moving, heap[child])) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

/* True if any of the block's logits is above `floor`: a loop without a branch, which compilers turn into vectors. */
static inline bool any_above(const float *logits, float floor) {
    int any = 0;
    for (int i = 0; i < SCAN_BLOCK; i++) any |= logits[i] > floor;
    return any != 0;
}

static void make_heap(candidate *heap, size_t n) {
    for (size_t i = n / 2; i-- > 0;) sift_down(heap, n, i);
}

/* Best first: the root, which is the worst of what is left, goes to the end. */
static void sort_heap(candidate *heap, size_t n) {
    while (n > 1) {
        candidate worst = heap[0];
        heap[0] = heap[--n];
        sift_down(heap, n, 0);
        heap[n] = worst;
    }
}

/* The k best candidates, best first, into s->found; returns how many there are (fewer when logits are NaN). Ids come
 * in rising order, so a later equal logit never replaces an earlier one. */
static size_t select_best(mlxn_sampler *s, const float *logits, size_t k) {
    candidate *heap = s->found;
    size_t n = 0, n_vocab = s->n_vocab, i = 0;
    for (; i < n_vocab && n < k; i++) {
        if (!isnan(logits[i])) heap[n++] = (candidate){logits[i], (uint32_t)i};
    }
    make_heap(heap, n);
    while (i < n_vocab) {
        size_t end = i + SCAN_BLOCK;
        if (end <= n_vocab && !any_above(logits + i, heap[0].logit)) {
            i = end;
            continue;
        }
        if (end > n_vocab) end = n_vocab;
        for (; i < end; i++) {
            if (!(logits[i] > heap[0].logit)) continue;
            heap[0] = (candidate){logits[i], (uint32_t)i};
            sift_down(heap, n, 0);
        }
    }
    sort_heap(heap, n);
    return n;
}

/* The lowest id of the largest logit, by way of a block scan. 0 if all are NaN. */
static uint32_t best_of(const float *logits, size_t n) {
    size_t i = 0;
    while (i < n && isnan(logits[i])) i++;
    if (i == n) return 0;
    size_t best = i++;
    while (i < n) {
        if (i + SCAN_BLOCK <= n && !any_above(logits + i, logits[best])) {
            i += SCAN_BLOCK;
            continue;
        }
        size_t end = i + SCAN_BLOCK < n ? i + SCAN_BLOCK : n;
        for (; i < end; i++) {
            if (logits[i] > logits[best]) best = i;
        }
    }
    return (uint32_t)best;
}

/* Probability weight of a logit against the largest; at an infinite maximum only its equals count. */
static inline double weight_of(float logit, float max, double inverse_temp) {
    if (logit == max) return 1;
    return exp(((double)logit - (double)max) * inverse_temp);
}

/* How many of the n best (sorted) hold top_p of `total`; n + 1 if they do not reach it. */
static size_t top_p_prefix(const mlxn_sampler *s, size_t n, double total) {
    double sum = 0, want = (double)s->desc.top_p * total;
    for (size_t i = 0; i < n; i++) {
        sum += weight_of(s->found[i].logit, s->found[0].logit, 1);
        if (sum >= want) return i + 1;
    }
    return n + 1;
}

static bool has_top_p(const mlxn_sampler *s) { return s->desc.top_p > 0 && s->desc.top_p < 1; }

/* All that min-p leaves (every number if it is off), unsorted, into s->found. */
static size_t min_p_of_all(mlxn_sampler *s, const float *logits, float max) {
    double least = s->desc.min_p > 0 ? (double)s->desc.min_p : 0;
    float floor =
        least > 0 ? (float)((double)max + log(least)) - 1 : -INFINITY; /* a cheap test before the exact one */
    size_t n = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        if (!(logits[i] >= floor) || weight_of(logits[i], max, 1) < least) continue;
        s->found[n++] = (candidate){logits[i], (uint32_t)i};
    }
    return n;
}

/* Top-p and min-p over the whole vocabulary. Both keep a prefix of the sorted candidates, so the shorter one decides:
 * with min-p on, only its few survivors are sorted; else a selection grows until it holds the mass. */
static size_t top_p_of_all(mlxn_sampler *s, const float *logits, float max) {
    double total = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        if (!isnan(logits[i])) total += weight_of(logits[i], max, 1);
    }
    if (s->desc.min_p > 0) {
        size_t n = min_p_of_all(s, logits, max);
        make_heap(s->found, n);
        sort_heap(s->found, n);
        return mlxn_min_u64(top_p_prefix(s, n, total), n);
    }
    for (size_t k = FIRST_SELECTION;; k *= 8) {
        size_t n = select_best(s, logits, mlxn_min_u64(k, s->n_vocab));
        size_t kept = top_p_prefix(s, n, total);
        if (kept <= n) return kept;
        if (k >= s->n_vocab) return n;
    }
}

/* The survivors of min-p among the n sorted candidates: a prefix, never empty. */
static size_t min_p_prefix(const mlxn_sampler *s, size_t n) {
    if (!(s->desc.min_p > 0)) return n;
    size_t kept = 1;
    while (kept < n && weight_of(s->found[kept].logit, s->found[0].logit, 1) >= (double)s->desc.min_p) kept++;
    return kept;
}

static mlxn_token draw(mlxn_sampler *s, size_t n, float max) {
    double sum = 0, inverse_temp = 1 / (double)s->desc.temp;
    for (size_t i = 0; i < n; i++) {
        s->weights[i] = weight_of(s->found[i].logit, max, inverse_temp);
        sum += s->weights[i];
    }
    double left = mlxn_philox_uniform(s->desc.seed, s->draws++) * sum;
    for (size_t i = 0; i < n; i++) {
        left -= s->weights[i];
        if (left < 0) return (mlxn_token)s->found[i].id;
    }
    /* Rounding may leave a rest: the last candidate with any weight takes it. */
    while (n > 1 && s->weights[n - 1] == 0) n--;
    return (mlxn_token)s->found[n - 1].id;
}

mlxn_token mlxn_sampler_sample(mlxn_sampler *sampler, const float *logits) {
    if (!sampler || !logits) return 0;
    mlxn_sampler *s = sampler;
    logits = penalize(s, logits);
    if (s->desc.temp <= 0) return (mlxn_token)best_of(logits, s->n_vocab);
    size_t n;
    float max;
    if (s->desc.top_k > 0) {
        n = select_best(s, logits, mlxn_min_u64(s->desc.top_k, s->n_vocab));
        if (n == 0) return 0;
        max = s->found[0].logit;
        if (has_top_p(s)) {
            double total = 0;
            for (size_t i = 0; i < n; i++) total += weight_of(s->found[i].logit, max, 1);
            n = mlxn_min_u64(top_p_prefix(s, n, total), n);
        }
        n = min_p_prefix(s, n);
    } else {
        max = logits[best_of(logits, s->n_vocab)];
        if (isnan(max)) return 0;
        n = has_top_p(s) ? top_p_of_all(s, logits, max) : min_p_of_all(s, logits, max);
    }
    return draw(s, n, max);
}
