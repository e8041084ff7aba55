/* sampler.c: from logits to a token.
 *
 * Order: constraint, penalties (repetition, frequency, presence, DRY), top-k, typical, top-p, min-p, XTC,
 * temperature, draw. The cuts look at the probabilities at temperature 1 of what the ones before left over; the
 * temperature then shapes the draw among the survivors. Mirostat takes the place of all cuts, after the temperature.
 * Candidates are ordered by logit, then by lower id, so the result is a pure function of logits, history, options and
 * draw number.
 *
 * Only mirostat, and typical sampling without top-k, sort the vocabulary: the k best are found with a heap that sees
 * the few logits above its smallest member, and top-p without top-k grows such a selection until its mass suffices.
 * NaN logits are never chosen. */
#include <math.h>

#include "lm/philox.h"
#include "lm/sampler_internal.h"

enum { SCAN_BLOCK = 64, FIRST_SELECTION = 256 };

/* A number from `least` to `most`, and none of the not-a-numbers. */
static mlxn_status check_range(const char *name, float value, double least, double most, mlxn_error *error) {
    if ((double)value >= least && (double)value <= most) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: %s is %g, want %g to %g", name, (double)value, least, most);
}

static mlxn_status check_cuts(const mlxn_sampler_desc *d, mlxn_error *error) {
    mlxn_status status = check_range("typical_p", d->typical_p, 0, 1, error);
    if (!status) status = check_range("xtc_probability", d->xtc_probability, 0, 1, error);
    if (!status) status = check_range("xtc_threshold", d->xtc_threshold, 0, 1, error);
    if (!status && d->mirostat > 2)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: mirostat is %u, want 0, 1 or 2", d->mirostat);
    if (!status && d->mirostat) status = check_range("mirostat_tau", d->mirostat_tau, 0, 1e6, error);
    if (!status && d->mirostat) status = check_range("mirostat_eta", d->mirostat_eta, 0, 1e6, error);
    return status;
}

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
    mlxn_status status = check_cuts(&d, error);
    if (status) return status;
    mlxn_sampler *s = mlxn_alloc(sizeof *s);
    if (s) {
        s->desc = d;
        s->n_vocab = n_vocab;
        s->found = mlxn_alloc_array(n_vocab, sizeof *s->found);
        s->weights = mlxn_alloc_array(n_vocab, sizeof *s->weights);
        s->mirostat_mu = 2 * (double)d.mirostat_tau;
        status = mlxn_sampler_penalty_init(s, error);
        if (status) {
            mlxn_sampler_destroy(s);
            return status;
        }
        if (s->found && s->weights) {
            *out = s;
            return mlxn_succeed(error);
        }
    }
    mlxn_sampler_destroy(s);
    return mlxn_fail(error, MLXN_ERR_MEMORY, "sampler: no memory for a vocabulary of %u", n_vocab);
}

void mlxn_sampler_destroy(mlxn_sampler *sampler) {
    if (!sampler) return;
    mlxn_free(sampler->recent);
    mlxn_free(sampler->penalized);
    mlxn_free(sampler->breaks);
    mlxn_free(sampler->dry);
    mlxn_free(sampler->found);
    mlxn_free(sampler->weights);
    mlxn_free(sampler->allowed);
    mlxn_free(sampler);
}

void mlxn_sampler_accept(mlxn_sampler *sampler, mlxn_token token) {
    if (sampler && sampler->recent) sampler->recent[sampler->n_recent++ % sampler->n_ring] = token;
}

double mlxn_sampler_uniform(mlxn_sampler *s) { return mlxn_philox_uniform(s->desc.seed, s->draws++); }

/* Min-heap on mlxn_candidate_is_better: the worst candidate is at the root. */
static void sift_down(candidate *heap, size_t n, size_t i) {
    candidate moving = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && mlxn_candidate_is_better(heap[child], heap[child + 1])) child++;
        if (!mlxn_candidate_is_better(moving, heap[child])) break;
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

void mlxn_candidates_sort(candidate *items, size_t n) {
    make_heap(items, n);
    sort_heap(items, n);
}

/* Ids come in rising order, so a later equal logit never replaces an earlier one. */
size_t mlxn_sampler_select(mlxn_sampler *s, const float *logits, size_t k) {
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

static bool has_typical(const mlxn_sampler *s) { return s->desc.typical_p > 0 && s->desc.typical_p < 1; }
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
        mlxn_candidates_sort(s->found, n);
        return mlxn_min_u64(top_p_prefix(s, n, total), n);
    }
    for (size_t k = FIRST_SELECTION;; k *= 8) {
        size_t n = mlxn_sampler_select(s, logits, mlxn_min_u64(k, s->n_vocab));
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

size_t mlxn_sampler_draw(mlxn_sampler *s, size_t n, float max) {
    double sum = 0, inverse_temp = 1 / (double)s->desc.temp;
    for (size_t i = 0; i < n; i++) {
        s->weights[i] = weight_of(s->found[i].logit, max, inverse_temp);
        sum += s->weights[i];
    }
    s->n_kept = n;
    s->total = sum;
    double left = mlxn_sampler_uniform(s) * sum;
    for (size_t i = 0; i < n; i++) {
        left -= s->weights[i];
        if (left < 0) return i;
    }
    /* Rounding may leave a rest: the last candidate with any weight takes it. */
    while (n > 1 && s->weights[n - 1] == 0) n--;
    return n - 1;
}

/* The cuts on n candidates, sorted best first. */
static size_t cut(mlxn_sampler *s, size_t n) {
    n = mlxn_sampler_typical(s, n);
    if (has_top_p(s)) {
        double total = 0;
        for (size_t i = 0; i < n; i++) total += weight_of(s->found[i].logit, s->found[0].logit, 1);
        n = mlxn_min_u64(top_p_prefix(s, n, total), n);
    }
    return mlxn_sampler_xtc(s, min_p_prefix(s, n));
}

float mlxn_sampler_logprob(const mlxn_sampler *sampler, mlxn_token token) {
    if (!sampler) return -INFINITY;
    if (sampler->n_kept == 0) return token == sampler->last ? 0 : -INFINITY;
    for (size_t i = 0; i < sampler->n_kept; i++)
        if (sampler->found[i].id == (uint32_t)token) return (float)log(sampler->weights[i] / sampler->total);
    return -INFINITY;
}

/* The choice that needs no draw, noted for mlxn_sampler_logprob. */
static mlxn_token certain(mlxn_sampler *s, uint32_t token) {
    s->n_kept = 0;
    return s->last = (mlxn_token)token;
}

mlxn_token mlxn_sampler_sample(mlxn_sampler *sampler, const float *logits) {
    if (!sampler || !logits) return 0;
    mlxn_sampler *s = sampler;
    if (s->constraint) logits = mlxn_sampler_constrain(s, logits);
    if (!logits) return -1;
    logits = mlxn_sampler_penalize(s, logits);
    uint32_t best = best_of(logits, s->n_vocab);
    float max = logits[best];
    if (isnan(max)) return s->constraint ? -1 : certain(s, 0); /* all are */
    if (s->desc.temp <= 0) return certain(s, best);
    size_t n;
    if (s->desc.mirostat) return (mlxn_token)s->found[mlxn_sampler_mirostat(s, logits)].id;
    if (s->desc.top_k > 0 || has_typical(s)) {
        n = mlxn_sampler_select(s, logits, s->desc.top_k ? mlxn_min_u64(s->desc.top_k, s->n_vocab) : s->n_vocab);
        n = cut(s, n);
    } else {
        n = has_top_p(s) ? top_p_of_all(s, logits, max) : min_p_of_all(s, logits, max);
        if (has_top_p(s)) n = min_p_prefix(s, n);
        if (s->desc.xtc_probability > 0) {
            mlxn_candidates_sort(s->found, n);
            n = mlxn_sampler_xtc(s, n);
        }
    }
    if (s->desc.top_k > 0 || has_typical(s) || s->desc.xtc_probability > 0) max = s->found[0].logit;
    return (mlxn_token)s->found[mlxn_sampler_draw(s, n, max)].id;
}
