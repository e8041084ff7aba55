/* ops_alias_walk.h: which test program calls which other names (src/ops/aliases.def), and the walk over those of one:
 * a program has a row for each name, with words of how the name's own row says it is called, and the call. */
#ifndef MLXN_TESTS_OPS_ALIAS_WALK_H
#define MLXN_TESTS_OPS_ALIAS_WALK_H

#include "ops_device.h"

typedef enum alias_program { FUNCTIONS, VIEWS, PRODUCTS, LAYERS, ATTENTION, NOWHERE } alias_program;

/* The program of an operation's other names. */
static inline alias_program alias_program_of(const char *operation) {
    static const struct {
        alias_program program;
        const char *operations; /* between blanks */
    } groups[] = {
        {FUNCTIONS, " unary unary_backward binary glu reduce scan compare "},
        {VIEWS,
         " copy cast gather scatter scatter_add take_along put_along put_along_add fill_value pad diag_mask "
         "argsort top_k softmax qdq adamw "},
        {PRODUCTS, " matmul matmul_id dense_matmul embedding "},
        {LAYERS,
         " rms_norm row_norm norm_multi norm_add moe_sum_norm rope rope_multi norm_rope moe_route moe_sum "
         "gelu_mul ssm_conv conv1d conv1d_causal_backward resize2d pool2d pool2d_backward col2im "},
        {ATTENTION, " attention attention_backward hadamard kv_write kv_read gated_delta_net wkv6 wkv7 gla "},
    };
    char name[64];
    snprintf(name, sizeof name, " %s ", operation);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strstr(groups[i].operations, name)) return groups[i].program;
    return NOWHERE;
}

typedef struct alias_case {
    const char *name, *how; /* words of the row's text, "" where that is empty */
    void (*call)(void);
} alias_case;

static const char *now; /* the name in hand */

static inline void walk_aliases(alias_program program, const alias_case *cases, size_t count) {
    mlxn_op_alias_info alias;
    size_t called = 0;
    for (uint32_t i = 0; mlxn_op_alias(i, &alias); i++) {
        size_t c = 0;
        if (alias_program_of(mlxn_op_name(alias.op)) != program) continue;
        while (c < count && strcmp(cases[c].name, alias.name)) c++;
        CHECK(c < count, "%s has no meaning here", alias.name);
        if (c == count) continue;
        CHECK(strstr(alias.how, cases[c].how) && (!*alias.how || *cases[c].how), "%s: %s", alias.name, alias.how);
        now = alias.name;
        cases[c].call();
        called++;
    }
    CHECK(called == count, "%u of %u names were called", (unsigned)called, (unsigned)count);
}

/* ---- numbers ---- */

static inline void is_near(mlxn_tensor out, uint64_t i, double want, double far) {
    double got = (double)f(out)[i];
    CHECK(got == want || fabs(got - want) <= far * (1 + fabs(want)), "%s: element %u is %.9g, want %.9g", now,
          (unsigned)i, got, want);
}
static inline void is(mlxn_tensor out, uint64_t i, double want) { is_near(out, i, want, 1e-6); }

/* Numbers of either sign, each other than its neighbours. */
static inline void fill(mlxn_tensor t, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) f(t)[i] = (float)(i * 37 % 101) * 0.25f - 9;
}
static inline mlxn_tensor filled(uint64_t n) {
    mlxn_tensor t = row(MLXN_F32, n);
    fill(t, n);
    return t;
}
static inline mlxn_tensor zeros(uint64_t d0, uint64_t d1) {
    mlxn_tensor t = rows(MLXN_F32, d0, d1);
    memset(f(t), 0, d0 * d1 * 4);
    return t;
}
/* Up to four axes of a tensor, from element `first` on. */
static inline mlxn_tensor view(mlxn_tensor t, uint64_t first, uint32_t rank, const uint64_t *dims,
                               const int64_t *strides) {
    mlxn_tensor out = t;
    out.offset += first * mlxn_dtype_size(t.dtype);
    out.rank = rank;
    for (uint32_t i = 0; i < rank; i++) out.dims[i] = dims[i], out.strides[i] = strides[i];
    return out;
}
#define D(...) \
    (const uint64_t[]) { __VA_ARGS__ }
#define S(...) \
    (const int64_t[]) { __VA_ARGS__ }

#endif
