/* encode_search.c: the scale searches of the encoders, see encode_search.h. */
#include "quant/encode_search.h"

float mlxn_extreme(const float *x, int n) {
    float best = 0.0f, magnitude = 0.0f;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > magnitude) {
            magnitude = fabsf(x[i]);
            best = x[i];
        }
    }
    return best;
}

/* Weighted error of the codes. */
static float affine_error(const mlxn_affine_search *rule, const float *x, const float *w, const uint8_t *q,
                          float scale, float low) {
    float error = 0.0f;
    for (int i = 0; i < rule->n; i++) {
        float diff = scale * (float)q[i] + low - x[i];
        error += w[i] * (rule->squares ? diff * diff : fabsf(diff));
    }
    return error;
}

float mlxn_search_affine(const mlxn_affine_search *rule, const float *x, const float *w, uint8_t *q, float *minimum) {
    int n = rule->n, nmax = rule->nmax;
    float low = x[0], high = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    for (int i = 1; i < n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (low > 0.0f) low = 0.0f;
    *minimum = 0.0f - low; /* never -0 */
    if (high == low) {
        for (int i = 0; i < n; i++) q[i] = 0;
        return 0.0f;
    }
    float inverse = (float)nmax / (high - low), scale = 1.0f / inverse;
    for (int i = 0; i < n; i++) q[i] = (uint8_t)mlxn_round_clamp(inverse * (x[i] - low), 0, nmax);
    float best = affine_error(rule, x, w, q, scale, low);
    for (int t = 0; t <= rule->steps; t++) {
        uint8_t p[MLXN_SEARCH_MAX];
        inverse = (rule->first + rule->step * (float)t + (float)nmax) / (high - low);
        float sum_p = 0.0f, sum_p2 = 0.0f, sum_px = 0.0f;
        for (int i = 0; i < n; i++) {
            p[i] = (uint8_t)mlxn_round_clamp(inverse * (x[i] - low), 0, nmax);
            float code = (float)p[i];
            sum_p += w[i] * code;
            sum_p2 += w[i] * code * code;
            sum_px += w[i] * code * x[i];
        }
        float det = sum_w * sum_p2 - sum_p * sum_p;
        if (!(det > 0.0f)) continue;
        float a = (sum_w * sum_px - sum_x * sum_p) / det;
        float b = (sum_p2 * sum_x - sum_p * sum_px) / det;
        if (b > 0.0f) { /* a minimum is stored without sign */
            b = 0.0f;
            a = sum_px / sum_p2;
        }
        float error = affine_error(rule, x, w, p, a, b);
        if (error < best) {
            for (int i = 0; i < n; i++) q[i] = p[i];
            best = error;
            scale = a;
            low = b; /* the steps that follow start from it */
        }
    }
    *minimum = 0.0f - low;
    return scale;
}

typedef struct sums {
    float xl, l2; /* of w x l and of w l² */
} sums;

/* Codes of x for one inverse scale, and their sums. */
static sums code_symmetric(int n, int nmax, const float *x, const float *w, float inverse, int *codes) {
    sums s = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        int code = codes[i] = mlxn_round_clamp(inverse * x[i], -nmax, nmax - 1);
        float weight = w ? w[i] : x[i] * x[i];
        s.xl += weight * x[i] * (float)code;
        s.l2 += weight * (float)code * (float)code;
    }
    return s;
}

static float fit(sums s) { return s.l2 > 0.0f ? s.xl / s.l2 : 0.0f; }

float mlxn_search_symmetric(int n, int nmax, const float *x, const float *w, uint8_t *q) {
    float extreme = mlxn_extreme(x, n), scale = 0.0f, best = 0.0f;
    for (int i = 0; i < n; i++) q[i] = 0;
    if (fabsf(extreme) < MLXN_SEARCH_EPSILON) return 0.0f;
    for (int k = -10; k <= 9; k++) {
        int t = k == -10 ? 0 : k; /* 0 comes first and not again */
        if (k == 0) continue;
        int codes[MLXN_SEARCH_MAX];
        sums s = code_symmetric(n, nmax, x, w, -((float)nmax + 0.1f * (float)t) / extreme, codes);
        if (k != -10 && !(s.l2 > 0.0f && s.xl * s.xl > best * s.l2)) continue;
        for (int i = 0; i < n; i++) q[i] = (uint8_t)(codes[i] + nmax);
        scale = fit(s);
        best = scale * s.xl;
    }
    return scale;
}

/* Moves single codes, each held in low … high, to where the rest of the run wants them, while that lowers the error:
 * at most five sweeps. */
static sums move_codes(int n, int low, int high, const float *x, const float *w, int *codes, sums s) {
    bool moved = true;
    for (int sweep = 0; sweep < 5 && moved; sweep++) {
        moved = false;
        for (int i = 0; i < n; i++) {
            float weight = w ? w[i] : x[i] * x[i], code = (float)codes[i];
            sums rest = {s.xl - weight * x[i] * code, s.l2 - weight * code * code};
            if (!(rest.xl > 0.0f) || (low == 0 && !(rest.l2 > 0.0f))) continue;
            int next = mlxn_round_clamp(x[i] * rest.l2 / rest.xl, low, high);
            if (next == codes[i]) continue;
            rest.xl += weight * x[i] * (float)next;
            rest.l2 += weight * (float)next * (float)next;
            if (!(rest.l2 > 0.0f && rest.xl * rest.xl * s.l2 > s.xl * s.xl * rest.l2)) continue;
            codes[i] = next;
            s = rest;
            moved = true;
        }
    }
    return s;
}

float mlxn_search_descent(int n, int nmax, const float *x, uint8_t *q) {
    float extreme = mlxn_extreme(x, n);
    for (int i = 0; i < n; i++) q[i] = 0;
    if (fabsf(extreme) < MLXN_SEARCH_EPSILON) return 0.0f;
    int codes[MLXN_SEARCH_MAX];
    sums s = code_symmetric(n, nmax, x, NULL, -(float)nmax / extreme, codes);
    s = move_codes(n, -nmax, nmax - 1, x, NULL, codes, s);
    for (int i = 0; i < n; i++) q[i] = (uint8_t)(codes[i] + nmax);
    return fit(s);
}

float mlxn_search_positive(int n, int nmax, const float *x, const float *w, uint8_t *q) {
    float most = fmaxf(mlxn_extreme(x, n), 0.0f), inverse = 0.0f, least = INFINITY;
    for (int i = 0; i < n; i++) q[i] = 0;
    if (most < MLXN_SEARCH_EPSILON) return 0.0f;
    for (int k = -5; k <= 4; k++) {
        int t = k == -5 ? 0 : k; /* 0 comes first and not again */
        if (k == 0) continue;
        float tried = (0.1f * (float)t + (float)nmax) / most, scale = 1.0f / tried, error = 0.0f;
        for (int i = 0; i < n; i++) {
            float diff = x[i] - scale * (float)mlxn_round_clamp(tried * x[i], 0, nmax);
            error += w[i] * diff * diff;
        }
        if (!(error < least)) continue;
        least = error;
        inverse = tried;
    }
    int codes[MLXN_SEARCH_MAX];
    sums s = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        codes[i] = mlxn_round_clamp(inverse * x[i], 0, nmax);
        s.xl += w[i] * x[i] * (float)codes[i];
        s.l2 += w[i] * (float)codes[i] * (float)codes[i];
    }
    s = move_codes(n, 0, nmax, x, w, codes, s);
    for (int i = 0; i < n; i++) q[i] = (uint8_t)codes[i];
    return fit(s);
}

float mlxn_mean_square(const float *x, uint64_t n) {
    float sum = 0.0f;
    for (uint64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum / (float)n;
}

float mlxn_weigh_run(int n, const float *x, const float *importance, float variance, float *w) {
    bool some = false;
    for (int i = 0; i < n; i++) some |= importance[i] > 0.0f;
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        w[i] = (some ? importance[i] : 1e-10f) * sqrtf(variance + x[i] * x[i]);
        sum += w[i];
    }
    return sum;
}
