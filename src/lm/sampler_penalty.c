/* sampler_penalty.c: penalties on what was said before: repetition, frequency, presence, and DRY on whole phrases. */
#include <math.h>

#include "lm/sampler_internal.h"

static bool has_counts(const mlxn_sampler_desc *d) {
    return (d->repeat_penalty != 0 && d->repeat_penalty != 1) || d->frequency_penalty != 0 ||
           d->presence_penalty != 0;
}
static bool has_dry(const mlxn_sampler_desc *d) { return d->dry_multiplier > 0; }

static mlxn_status check(const mlxn_sampler_desc *d, mlxn_error *error) {
    if (!(d->repeat_penalty >= 0) || isinf(d->repeat_penalty))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: repeat_penalty is %g, want a positive number",
                         (double)d->repeat_penalty);
    if (!isfinite(d->frequency_penalty) || !isfinite(d->presence_penalty))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "sampler: frequency_penalty is %g and presence_penalty %g, want numbers",
                         (double)d->frequency_penalty, (double)d->presence_penalty);
    if (!(d->dry_multiplier >= 0) || isinf(d->dry_multiplier))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: dry_multiplier is %g, want 0 or more",
                         (double)d->dry_multiplier);
    if (has_dry(d) && !(d->dry_base >= 1 && isfinite(d->dry_base)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: dry_base is %g, want 1 or more", (double)d->dry_base);
    if (has_dry(d) && d->n_dry_breakers && !d->dry_breakers)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "sampler: dry_breakers is NULL, want %zu tokens",
                         d->n_dry_breakers);
    return MLXN_OK;
}

mlxn_status mlxn_sampler_penalty_init(mlxn_sampler *s, mlxn_error *error) {
    mlxn_sampler_desc *d = &s->desc;
    if (d->penalty_window == 0) d->penalty_window = 64;
    if (d->dry_window == 0) d->dry_window = 1024;
    mlxn_status status = check(d, error);
    if (status) return status;
    if (!has_counts(d) && !has_dry(d)) return MLXN_OK;
    s->n_ring = has_dry(d) && d->dry_window > d->penalty_window ? d->dry_window : d->penalty_window;
    s->recent = mlxn_alloc_array(s->n_ring, sizeof *s->recent);
    s->penalized = mlxn_alloc_array(s->n_vocab, sizeof *s->penalized);
    bool good = s->recent && s->penalized;
    if (has_dry(d)) {
        s->breaks = mlxn_alloc_array(s->n_vocab, sizeof *s->breaks);
        s->dry = mlxn_alloc_array(2 * (size_t)d->dry_window, sizeof *s->dry);
        good = good && s->breaks && s->dry;
        for (size_t i = 0; good && i < d->n_dry_breakers; i++) {
            mlxn_token t = d->dry_breakers[i];
            if (t >= 0 && (uint32_t)t < s->n_vocab) s->breaks[t] = 1;
        }
    }
    d->dry_breakers = NULL; /* the caller's memory */
    return good ? MLXN_OK
                : mlxn_fail(error, MLXN_ERR_MEMORY, "sampler: no memory for a vocabulary of %u", s->n_vocab);
}

/* Token number i from the newest, which is 0. */
static mlxn_token newest(const mlxn_sampler *s, uint64_t i) { return s->recent[(s->n_recent - 1 - i) % s->n_ring]; }

static bool in_vocabulary(const mlxn_sampler *s, mlxn_token t) { return t >= 0 && (uint32_t)t < s->n_vocab; }

/* Each token once: a positive logit is divided by repeat_penalty, another multiplied (Keskar et al. 2019); then
 * presence_penalty, and frequency_penalty for each time that it occurred, are taken off. */
static void count_penalties(mlxn_sampler *s, const float *logits) {
    const mlxn_sampler_desc *d = &s->desc;
    uint64_t n = mlxn_min_u64(mlxn_min_u64(s->n_recent, s->n_ring), d->penalty_window);
    float repeat = d->repeat_penalty == 0 ? 1 : d->repeat_penalty;
    for (uint64_t i = 0; i < n; i++) {
        mlxn_token t = newest(s, i);
        if (!in_vocabulary(s, t)) continue;
        float x = logits[t]; /* from the original, so that repetitions of the token do not add up */
        float y = x > 0 ? x / repeat : x * repeat;
        if (d->frequency_penalty != 0 || d->presence_penalty != 0) {
            uint32_t count = 0;
            for (uint64_t k = 0; k < n; k++) count += newest(s, k) == t;
            y -= (float)count * d->frequency_penalty + d->presence_penalty;
        }
        s->penalized[t] = y;
    }
}

/* DRY ("don't repeat yourself"): a token that would prolong a repetition of the last `length` tokens loses
 * multiplier * base^(length - allowed_length), for the longest such repetition. A breaker ends the phrase: matches
 * hold only tokens after the last one. Lengths by Z's algorithm on the reversed context, in linear time. */
static void dry_penalty(mlxn_sampler *s) {
    const mlxn_sampler_desc *d = &s->desc;
    uint32_t n = (uint32_t)mlxn_min_u64(mlxn_min_u64(s->n_recent, s->n_ring), d->dry_window);
    uint32_t *text = s->dry, *match = s->dry + d->dry_window, limit = 0;
    for (uint32_t i = 0; i < n; i++) text[i] = (uint32_t)newest(s, i);
    while (limit < n && !(in_vocabulary(s, (mlxn_token)text[limit]) && s->breaks[text[limit]])) limit++;
    if (limit < d->dry_allowed_length || limit == 0) return;
    for (uint32_t i = 1, left = 0, right = 0; i < n; i++) {
        uint32_t z = i < right ? (uint32_t)mlxn_min_u64(right - i, match[i - left]) : 0;
        while (i + z < n && text[z] == text[i + z]) z++;
        if (i + z > right) left = i, right = i + z;
        match[i] = z;
    }
    /* What came after the match that ends at i is the token before it in the reversed text. A token's penalty is that
     * of its longest match: the subtraction is done where no later place has a longer one. */
    double most = log(3.0e38) / log(d->dry_base > 1.000001f ? (double)d->dry_base : 1.000001);
    for (uint32_t i = 1; i < n; i++) {
        uint32_t length = match[i] < limit ? match[i] : limit;
        mlxn_token next = (mlxn_token)text[i - 1];
        if (length < d->dry_allowed_length || length == 0 || !in_vocabulary(s, next) || s->breaks[next]) continue;
        bool longest = true;
        for (uint32_t k = 1; k < n && longest; k++) {
            uint32_t other = match[k] < limit ? match[k] : limit;
            if (k != i && text[k - 1] == text[i - 1]) longest = other < length || (other == length && k > i);
        }
        if (!longest) continue;
        double power = fmin((double)length - (double)d->dry_allowed_length, most);
        s->penalized[next] -= (float)((double)d->dry_multiplier * pow((double)d->dry_base, power));
    }
}

const float *mlxn_sampler_penalize(mlxn_sampler *s, const float *logits) {
    if (!s->penalized || s->n_recent == 0) return logits;
    memcpy(s->penalized, logits, (size_t)s->n_vocab * sizeof *logits);
    if (has_counts(&s->desc)) count_penalties(s, logits);
    if (has_dry(&s->desc)) dry_penalty(s);
    return s->penalized;
}
