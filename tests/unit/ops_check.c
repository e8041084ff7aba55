/* ops_check.c: every operation refuses arguments that break its rules, with a message that names operation, argument
 * and both values; and accepts the first case of its own harness. Other names lead to operations. */
#include "../test.h"

#include <math.h>

#include <stdlib.h>

#include "ops/case.h"

static void contiguous(mlxn_view *view) {
    int64_t stride = 1;
    for (uint32_t i = view->rank; i-- > 0; stride *= (int64_t)view->dims[i]) view->strides[i] = stride;
}

static mlxn_view tensor(mlxn_dtype dtype, uint32_t rank, uint64_t d0, uint64_t d1, uint64_t d2, uint64_t d3) {
    mlxn_view view = {.present = true, .dtype = dtype, .rank = rank, .dims = {d0, d1, d2, d3}};
    contiguous(&view);
    return view;
}

typedef struct call {
    const mlxn_op_def *def;
    mlxn_view args[MLXN_MAX_ARGS];
    mlxn_weight_view weights[MLXN_MAX_ARGS];
    uint64_t params[MLXN_MAX_PARAMS / 8];
} call;

static void make_call(call *k, uint32_t op) {
    mlxn_case c;
    *k = (call){.def = mlxn_op_get(op)};
    CHECK(k->def->make_case(0, &c), "%s has no case", k->def->name);
    memcpy(k->params, c.params, sizeof c.params);
    for (uint32_t i = 0; i < k->def->n_args; i++) {
        const mlxn_case_arg *a = &c.args[i];
        if (!a->present) continue;
        k->args[i] = tensor(a->dtype, a->rank, a->dims[0], a->dims[1], a->dims[2], a->dims[3]);
        if (!a->weight) continue;
        k->weights[i] = (mlxn_weight_view){.format = a->format, .rows = a->dims[0], .cols = a->dims[1]};
        k->args[i].weight = &k->weights[i];
    }
}

static char message[600];

static mlxn_status check(const call *k, uint32_t n_args, uint32_t params_size) {
    mlxn_error error = {0};
    mlxn_status status = mlxn_op_check(k->def, k->args, n_args, k->params, params_size, &error);
    snprintf(message, sizeof message, "%s", error.message);
    return status;
}

static bool refused(const call *k, const char *part) {
    size_t length = strlen(k->def->name);
    return check(k, k->def->n_args, k->def->params_size) == MLXN_ERR_ARGUMENT &&
           !strncmp(message, k->def->name, length) && message[length] == ':' && strstr(message, part);
}

/* The rules that all operations share. */
static void shared_rules(uint32_t op) {
    call good, bad;
    make_call(&good, op);
    const mlxn_op_def *def = good.def;
    CHECK(check(&good, def->n_args, def->params_size) == MLXN_OK, "%s", message);
    CHECK(check(&good, def->n_args + 1, def->params_size) == MLXN_ERR_ARGUMENT, "one argument too many");
    CHECK(check(&good, def->n_args, def->params_size + 4) == MLXN_ERR_ARGUMENT, "parameters too long");
    for (uint32_t i = 0; i < def->n_args; i++) {
        const mlxn_arg_spec *spec = &def->args[i];
        if (!good.args[i].present) continue;
        char part[96];
        bad = good;
        bad.args[i].present = false;
        snprintf(part, sizeof part, "%s: is absent", spec->name);
        if (!spec->optional) CHECK(refused(&bad, part), "%s", message);
        if (spec->is_weight) {
            bad = good;
            bad.args[i].weight = NULL;
            CHECK(refused(&bad, "is a tensor, want a weight"), "%s", message);
            continue;
        }
        bad = good;
        bad.args[i].weight = &bad.weights[i];
        CHECK(refused(&bad, "is a weight, want a tensor"), "%s", message);
        bad = good;
        bad.args[i].rank = MLXN_MAX_RANK + 1;
        snprintf(part, sizeof part, "%s: rank is %d", spec->name, MLXN_MAX_RANK + 1);
        CHECK(refused(&bad, part), "%s", message);
        bad = good;
        bad.args[i].dims[0] = 0;
        snprintf(part, sizeof part, "%s: dim[0] is 0, want 1 or more", spec->name);
        CHECK(refused(&bad, part), "%s", message);
        bad = good;
        bad.args[i].dims[0] = UINT64_MAX;
        snprintf(part, sizeof part, "%s: the product", spec->name);
        CHECK(refused(&bad, part), "%s", message);
        bad = good;
        bad.args[i].dims[0] = 3;
        bad.args[i].strides[0] = -1;
        snprintf(part, sizeof part, "%s: stride[0] is -1", spec->name);
        CHECK(refused(&bad, part), "%s", message);
        bad.args[i].strides[0] = 0;
        snprintf(part, sizeof part, "%s: stride[0] is 0", spec->name);
        if (spec->role != MLXN_ROLE_IN) CHECK(refused(&bad, part), "%s", message);
        for (uint32_t d = 0; d < MLXN_DTYPE_COUNT; d++) {
            if (spec->dtypes >> d & 1) continue;
            bad = good;
            bad.args[i].dtype = (mlxn_dtype)d;
            snprintf(part, sizeof part, "%s: dtype is %s, want ", spec->name, mlxn_dtype_name((mlxn_dtype)d));
            CHECK(refused(&bad, part), "%s", message);
        }
    }
}

static void says(const mlxn_op_def *def, const mlxn_view *args, const void *params, const char *want) {
    mlxn_error error = {0};
    mlxn_status status = mlxn_op_check(def, args, def->n_args, params, def->params_size, &error);
    CHECK(status == MLXN_ERR_ARGUMENT && !strcmp(error.message, want), "got \"%s\", want \"%s\"", error.message,
          want);
}

/* Relations between arguments, and parameters: the whole message. */
static void relations(void) {
    mlxn_view x = tensor(MLXN_F32, 2, 3, 576, 0, 0), narrow = tensor(MLXN_F32, 2, 3, 512, 0, 0);
    mlxn_view half = tensor(MLXN_F16, 2, 3, 576, 0, 0), absent = {0};
    mlxn_rms_norm_params norm = {1e-5f}, no_eps = {0};
    says(&mlxn_opdef_rms_norm, (mlxn_view[]){x, tensor(MLXN_F32, 1, 512, 0, 0, 0), x}, &norm,
         "rms_norm: w: dim[0] is 512, want 576 (last dim of x)");
    says(&mlxn_opdef_rms_norm, (mlxn_view[]){x, absent, half}, &norm, "rms_norm: out: dtype is f16, want f32 (as x)");
    says(&mlxn_opdef_rms_norm, (mlxn_view[]){x, absent, x}, &no_eps,
         "rms_norm: params: eps is 0, want a number above 0");
    says(&mlxn_opdef_elementwise_add, (mlxn_view[]){x, narrow, x}, NULL,
         "elementwise_add: b: dim[1] is 512, want 576 (as a)");
    says(&mlxn_opdef_elementwise_mul, (mlxn_view[]){x, tensor(MLXN_F32, 1, 576, 0, 0, 0), x}, NULL,
         "elementwise_mul: b: rank is 1, want 2 (as a)");
    says(&mlxn_opdef_softcap, (mlxn_view[]){x, x}, &(mlxn_softcap_params){-1},
         "softcap: params: cap is -1, want a number above 0");

    mlxn_weight_view w = {.format = MLXN_FORMAT_F32, .rows = 100, .cols = 512};
    mlxn_view weight = {.present = true, .rank = 2, .dims = {100, 512}, .weight = &w};
    mlxn_view out = tensor(MLXN_F32, 2, 3, 100, 0, 0);
    says(&mlxn_opdef_matmul, (mlxn_view[]){x, weight, absent, absent, out}, NULL,
         "matmul: w: dim[1] is 512, want 576 (last dim of x)");
    says(&mlxn_opdef_matmul, (mlxn_view[]){narrow, weight, absent, absent, narrow}, NULL,
         "matmul: out: dim[1] is 512, want 100 (rows of w)");
    says(&mlxn_opdef_matmul, (mlxn_view[]){narrow, weight, tensor(MLXN_F32, 1, 99, 0, 0, 0), absent, out}, NULL,
         "matmul: bias: dim[0] is 99, want 100 (rows of w)");

    mlxn_weight_view stack = {.format = MLXN_FORMAT_F32, .rows = 100, .cols = 576, .experts = 4};
    mlxn_view experts = {.present = true, .rank = 2, .dims = {100, 576}, .weight = &stack};
    mlxn_view ids = tensor(MLXN_U32, 2, 4, 2, 0, 0), slots = tensor(MLXN_F32, 2, 8, 100, 0, 0);
    says(&mlxn_opdef_matmul, (mlxn_view[]){x, experts, absent, absent, out}, NULL,
         "matmul: w: is a stack of 4 matrices, want one");
    says(&mlxn_opdef_matmul_id, (mlxn_view[]){x, experts, ids, absent, slots}, NULL,
         "matmul_id: x: dim[0] is 3, want 4 (rows of ids, or all elements of ids)");
    says(&mlxn_opdef_matmul_id, (mlxn_view[]){tensor(MLXN_F32, 2, 8, 576, 0, 0), experts, ids, slots, slots}, NULL,
         "matmul_id: bias: dim[0] is 8, want 4 (matrices of w)");
    mlxn_view many = tensor(MLXN_F32, 3, 4, 5, 64, 0), some = tensor(MLXN_F32, 3, 3, 7, 64, 0);
    says(&mlxn_opdef_dense_matmul, (mlxn_view[]){many, some, tensor(MLXN_F32, 3, 4, 5, 7, 0)}, NULL,
         "dense_matmul: b: dim[0] is 3, want a divisor of 4 (as a)");

    mlxn_view q = tensor(MLXN_F32, 3, 2, 9, 64, 0), n = tensor(MLXN_U32, 1, 2, 0, 0, 0);
    mlxn_rope_params rope = {MLXN_ROLE_IN + 6, 0, 1e4f, 0}, odd = {MLXN_ROPE_HALF, 33, 1e4f, 0};
    says(&mlxn_opdef_rope, (mlxn_view[]){q, n, absent, q}, &rope,
         "rope: params: pairing is 7, want 0 (interleaved), 1 (half) or 2 (half a head)");
    says(&mlxn_opdef_rope, (mlxn_view[]){q, n, absent, q}, &odd,
         "rope: params: rope_dims is 33, want an even number up to 64 (last dim of x)");
    mlxn_rope_multi_params sections = {
        .pairing = MLXN_ROPE_HALF, .base = 1e4f, .axes = 1, .sections = {8, 12, 12, 0}};
    says(&mlxn_opdef_rope_multi, (mlxn_view[]){q, n, absent, q}, &sections,
         "rope_multi: positions: has 1 axes, want 3 or more (axes is 1)");
    /* dims ln(4096 / 64 pi) / (2 ln 10000) is 20.9, and with 2 pi 45.0 */
    float low, high;
    mlxn_rope_yarn_ramp(128, 10000, 4096, 32, 1, true, &low, &high);
    CHECK(low == 20 && high == 46, "the ramp goes from %g to %g, want 20 to 46", (double)low, (double)high);
    mlxn_rope_yarn_ramp(128, 10000, 4096, 32, 1, false, &low, &high);
    CHECK(fabsf(low - 20.944f) < 1e-3f && fabsf(high - 45.027f) < 1e-3f, "the ramp goes from %g to %g", (double)low,
          (double)high);
    double base = mlxn_rope_ntk_base(66, 10000, 64);
    CHECK(fabs(base - 10000 * 64 * pow(64, 2.0 / 64)) < 1e-6, "the stretched base is %g", base);
    mlxn_view cache = tensor(MLXN_F16, 4, 1, 2, 128, 64), wide = tensor(MLXN_F16, 4, 1, 3, 128, 65);
    says(&mlxn_opdef_attention, (mlxn_view[]){q, cache, cache, n, n, absent, absent, q},
         &(mlxn_attention_params){.scale = 0.125f},
         "attention: q: dim[1] is 9, want a multiple of 2 (heads of k_cache)");
    says(&mlxn_opdef_attention, (mlxn_view[]){q, wide, wide, n, n, absent, absent, q},
         &(mlxn_attention_params){.scale = 0.125f}, "attention: k_cache: dim[3] is 65, want 64 (values of a row)");
    says(&mlxn_opdef_kv_write, (mlxn_view[]){q, q, n, n, cache, cache}, &(mlxn_kv_write_params){0, 0},
         "kv_write: k_cache: dim[1] is 2, want 9 (heads of k)");
}

/* Other names: each leads to one operation, and none hides an operation's own name. */
static void other_names(void) {
    mlxn_op_alias_info a, b;
    CHECK(mlxn_op_alias(0, &a), "there are no other names");
    for (uint32_t i = 0; mlxn_op_alias(i, &a); i++) {
        CHECK(a.name && a.how && mlxn_op_name(a.op), "other name %u is not complete", i);
        CHECK(mlxn_op_find(a.name) == UINT32_MAX, "%s is an operation of its own", a.name);
        for (uint32_t k = 0; k < i && mlxn_op_alias(k, &b); k++)
            CHECK(strcmp(a.name, b.name), "%s stands in the table twice", a.name);
    }
    CHECK(!mlxn_op_alias(UINT32_MAX, &a));
}

int main(void) {
    for (uint32_t op = 0; op < MLXN_OP_COUNT; op++) shared_rules(op);
    relations();
    other_names();
    return TEST_DONE();
}
