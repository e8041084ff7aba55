/* logprobs.c: log-softmax of logits, for the tokens that one wants to know. */
#include <math.h>

#include "lm/lm_internal.h"

static bool is_better(const mlxn_logprob *a, const mlxn_logprob *b) {
    return a->logprob > b->logprob || (a->logprob == b->logprob && a->token < b->token);
}

/* Puts one logit among the best so far, which are sorted; few of the vocabulary get past the first test. */
static uint32_t insert(mlxn_logprob *top, uint32_t count, uint32_t n, mlxn_logprob x) {
    if (count == n && (n == 0 || !is_better(&x, &top[n - 1]))) return count;
    uint32_t at = count < n ? count++ : n - 1;
    for (; at > 0 && is_better(&x, &top[at - 1]); at--) top[at] = top[at - 1];
    top[at] = x;
    return count;
}

uint32_t mlxn_lm_logprobs(const float *logits, uint32_t n_vocab, mlxn_logprob *chosen, mlxn_logprob *top,
                          uint32_t n) {
    uint32_t count = 0;
    float max = -INFINITY;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (isnan(logits[i])) continue;
        if (logits[i] > max) max = logits[i];
        count = insert(top, count, n, (mlxn_logprob){(mlxn_token)i, logits[i], 0});
    }
    double sum = 0; /* infinite logits share all probability among themselves */
    for (uint32_t i = 0; i < n_vocab; i++)
        if (!isnan(logits[i])) sum += logits[i] == max ? 1 : exp((double)logits[i] - (double)max);
    double log_sum = log(sum);
    float own = logits[chosen->token];
    chosen->logprob = (float)((own == max ? 0 : (double)own - (double)max) - log_sum);
    for (uint32_t i = 0; i < count; i++)
        top[i].logprob = (float)((top[i].logprob == max ? 0 : (double)top[i].logprob - (double)max) - log_sum);
    return count;
}
