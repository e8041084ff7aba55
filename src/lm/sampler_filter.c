/* sampler_filter.c: typical sampling, XTC and mirostat. */
#include <math.h>

#include "lm/sampler_internal.h"

enum { MIROSTAT_RANKS = 100 };

/* Probabilities at `inverse_temp` of the n candidates into s->weights; their sum is taken for 1. */
static void probabilities(mlxn_sampler *s, size_t n, double inverse_temp) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        float x = s->found[i].logit, max = s->found[0].logit;
        s->weights[i] = x == max ? 1 : exp(((double)x - (double)max) * inverse_temp);
        sum += s->weights[i];
    }
    for (size_t i = 0; i < n; i++) s->weights[i] /= sum;
}

/* Locally typical sampling (Meister et al. 2023): the tokens whose surprise is nearest to the entropy, until they
 * hold typical_p of the probability. With the candidates sorted by probability, those nearest to the entropy lie side
 * by side: the window grows on the side that is nearer, on the likelier one where both are equally near. */
size_t mlxn_sampler_typical(mlxn_sampler *s, size_t n) {
    double want = (double)s->desc.typical_p, entropy = 0;
    if (!(want > 0 && want < 1) || n < 2) return n;
    probabilities(s, n, 1);
    for (size_t i = 0; i < n; i++)
        if (s->weights[i] > 0) entropy -= s->weights[i] * log(s->weights[i]);
    size_t end = 0; /* the first candidate whose surprise is above the entropy */
    while (end < n && s->weights[end] > 0 && -log(s->weights[end]) <= entropy) end++;
    size_t begin = end;
    for (double mass = 0; mass < want && (begin > 0 || end < n);) {
        double above = begin > 0 ? fabs(-log(s->weights[begin - 1]) - entropy) : INFINITY;
        double below = end < n && s->weights[end] > 0 ? fabs(-log(s->weights[end]) - entropy) : INFINITY;
        if (isinf(above) && isinf(below)) break;
        mass += above <= below ? s->weights[--begin] : s->weights[end++];
    }
    if (begin == end) return n;
    memmove(s->found, s->found + begin, (end - begin) * sizeof *s->found);
    return end - begin;
}

/* Exclude top choices: with xtc_probability, of all tokens that have at least the probability xtc_threshold only the
 * least likely stays (and what lies below). One random number per token. */
size_t mlxn_sampler_xtc(mlxn_sampler *s, size_t n) {
    const mlxn_sampler_desc *d = &s->desc;
    if (!(d->xtc_probability > 0) || d->xtc_threshold > 0.5f) return n;
    if (mlxn_sampler_uniform(s) >= (double)d->xtc_probability || n < 2) return n;
    probabilities(s, n, 1);
    size_t top = 0;
    while (top < n && s->weights[top] >= (double)d->xtc_threshold) top++;
    if (top < 2) return n;
    memmove(s->found, s->found + top - 1, (n - top + 1) * sizeof *s->found);
    return n - top + 1;
}

/* Mirostat (Basu et al. 2021) version 1: Zipf's exponent of the most likely tokens tells how many of them give the
 * wanted surprise. */
static size_t zipf_cut(const mlxn_sampler *s, size_t n) {
    double tb = 0, tt = 0;
    size_t ranks = n < MIROSTAT_RANKS ? n : MIROSTAT_RANKS;
    for (size_t i = 0; i + 1 < ranks && s->weights[i + 1] > 0; i++) {
        double t = log((double)(i + 2) / (double)(i + 1));
        tb += t * log(s->weights[i] / s->weights[i + 1]);
        tt += t * t;
    }
    double exponent = tt > 0 ? tb / tt : 1, eps = exponent - 1;
    double k = pow(eps * exp2(s->mirostat_mu) / (1 - pow((double)s->n_vocab, -eps)), 1 / exponent);
    if (!(k >= 1)) return 1;
    return k < (double)n ? (size_t)k : n;
}

/* Version 2: tokens whose surprise is above mu are cut off. Either way mu moves towards what gives tau. */
size_t mlxn_sampler_mirostat(mlxn_sampler *s, const float *logits) {
    size_t n = mlxn_sampler_select(s, logits, s->n_vocab), kept = 1;
    double inverse = 1 / (double)s->desc.temp;
    probabilities(s, n, inverse);
    if (s->desc.mirostat == 1)
        kept = zipf_cut(s, n);
    else
        while (kept < n && -log2(s->weights[kept]) <= s->mirostat_mu) kept++;
    size_t place = mlxn_sampler_draw(s, kept, s->found[0].logit);
    double all = 0;
    for (size_t i = 0; i < kept; i++) all += s->weights[i];
    double surprise = -log2(s->weights[place] / all);
    s->mirostat_mu -= (double)s->desc.mirostat_eta * (surprise - (double)s->desc.mirostat_tau);
    return place;
}
