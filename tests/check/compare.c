/* compare.c: a kernel's result against the reference's. */
#include <math.h>

#include "check.h"

static uint64_t element_bits(const mlxn_view *view, const uint64_t *at) {
    int64_t offset = 0;
    for (uint32_t i = 0; i < view->rank; i++) offset += (int64_t)at[i] * view->strides[i];
    size_t size = mlxn_dtype_size(view->dtype);
    uint64_t bits = 0;
    memcpy(&bits, (const uint8_t *)view->data + offset * (int64_t)size, size);
    return bits;
}

static bool is_float(mlxn_dtype dtype) { return dtype == MLXN_F32 || dtype == MLXN_F16 || dtype == MLXN_BF16; }

bool check_output(check_instance *instance, uint32_t arg, const mlxn_view *got, bool fast, double *worst, char *text,
                  size_t size) {
    const mlxn_view *want = &instance->ref_args[arg];
    const double *bounds = instance->bounds[fast][arg];
    uint64_t n = mlxn_view_elements(want), at[MLXN_MAX_RANK], bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(want, i, at);
        double w = mlxn_view_get(want, at), g = mlxn_view_get(got, at);
        double limit = bounds ? bounds[i] : 0, ratio = 0;
        bool good;
        if (is_float(want->dtype) && (isnan(w) || isnan(g))) {
            good = isnan(w) && isnan(g);
        } else if (!bounds) {
            good = element_bits(want, at) == element_bits(got, at);
        } else if (isinf(w) || isinf(g)) {
            good = w == g;
        } else {
            double off = fabs(w - g);
            ratio = limit > 0 ? off / limit : off > 0 ? INFINITY : 0;
            good = ratio <= 1;
        }
        if (good && ratio > *worst) *worst = ratio;
        if (good || bad++) continue;
        int used = snprintf(text, size, "%s[", instance->def->args[arg].name);
        for (uint32_t k = 0; k < want->rank; k++)
            used += snprintf(text + used, size - (size_t)used, "%s%llu", k ? "," : "", (unsigned long long)at[k]);
        snprintf(text + used, size - (size_t)used, "] is %.9g, want %.9g within %.3g", g, w, limit);
    }
    if (!bad) return true;
    size_t used = strlen(text);
    snprintf(text + used, size - used, " (%llu of %llu elements wrong)", (unsigned long long)bad,
             (unsigned long long)n);
    return false;
}

bool check_surroundings(const check_operand *operand, const uint8_t *region, char *text, size_t size) {
    uint8_t *mine = mlxn_alloc(operand->bytes);
    if (!mine) return snprintf(text, size, "out of memory"), false;
    size_t element = mlxn_dtype_size(operand->view.dtype);
    uint64_t n = mlxn_view_elements(&operand->view), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&operand->view, i, at);
        int64_t offset = 0;
        for (uint32_t k = 0; k < operand->view.rank; k++) offset += (int64_t)at[k] * operand->view.strides[k];
        memset(mine + operand->first + offset * (int64_t)element, 1, element);
    }
    bool good = true;
    for (size_t i = 0; good && i < operand->bytes; i++) {
        if (mine[i] || region[i] == 0xff) continue;
        snprintf(text, size, "byte %lld, counted from the first element, was written and belongs to no element",
                 (long long)i - (long long)operand->first);
        good = false;
    }
    mlxn_free(mine);
    return good;
}
