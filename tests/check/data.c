/* data.c: contents of a case: layouts in memory, random numbers, weights, and the reference's results. */
#include <math.h>

#include "check.h"

/* splitmix64: small, and any seed is a good one. */
typedef struct rng {
    uint64_t state;
} rng;

static uint64_t next_u64(rng *r) {
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static double uniform(rng *r) { return (double)(next_u64(r) >> 11) * 0x1p-53; }
static double normal(rng *r) {
    double u = 1 - uniform(r), v = uniform(r);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* Strides by memory order: `order` lists the axes, innermost first; `pad` elements follow each run of an axis. */
static void set_strides(const mlxn_case_arg *arg, mlxn_view *view) {
    uint32_t order[MLXN_MAX_RANK], rank = arg->rank;
    for (uint32_t i = 0; i < rank; i++) order[i] = arg->layout == MLXN_LAYOUT_TRANSPOSED ? i : rank - 1 - i;
    if (arg->layout == MLXN_LAYOUT_OUTER && rank >= 3) {
        order[rank - 1] = 1;
        order[rank - 2] = 0;
    }
    int64_t at = arg->layout == MLXN_LAYOUT_INNER ? 2 : 1;
    int64_t gap = arg->layout != MLXN_LAYOUT_GAPS ? 0 : arg->gap ? arg->gap : 3;
    for (uint32_t i = 0; i < rank; i++) {
        view->strides[order[i]] = at;
        at = at * (int64_t)arg->dims[order[i]] + gap;
    }
}

static double fill_float(const mlxn_case_arg *arg, rng *r) {
    double lo = arg->lo, hi = arg->lo == 0 && arg->hi == 0 ? 1 : arg->hi;
    switch (arg->fill) {
        case MLXN_FILL_UNIFORM:
            return lo + uniform(r) * (hi - lo);
        case MLXN_FILL_CONST:
            return lo;
        case MLXN_FILL_TIES:
            return (double)(next_u64(r) % 5) - 2;
        case MLXN_FILL_SPECIAL: {
            static const double specials[] = {INFINITY, -INFINITY, NAN, 0.0, -0.0, 1e-40, -1e-42, 6e-8};
            uint64_t k = next_u64(r);
            return k % 16 ? lo + hi * normal(r) : specials[k / 16 % 8];
        }
        default:
            return lo + hi * normal(r);
    }
}

static void fill_tensor(const mlxn_case_arg *arg, const mlxn_view *view, rng *r) {
    uint64_t n = mlxn_view_elements(view), at[MLXN_MAX_RANK];
    uint32_t sequences = arg->n ? arg->n : 1;
    size_t size = mlxn_dtype_size(view->dtype);
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(view, i, at);
        double value;
        if (arg->fill == MLXN_FILL_BYTES) {
            int64_t offset = 0;
            for (uint32_t k = 0; k < view->rank; k++) offset += (int64_t)at[k] * view->strides[k];
            uint64_t bits = next_u64(r);
            memcpy((uint8_t *)view->data + offset * (int64_t)size, &bits, size);
            continue;
        }
        if (arg->fill == MLXN_FILL_INDEX) {
            value = arg->lo + (double)(next_u64(r) % (uint64_t)(arg->hi - arg->lo + 1));
            if (n > 1 && i < 2) value = i ? arg->lo : arg->hi;
        } else if (arg->fill == MLXN_FILL_POSITION) {
            value = arg->lo + (double)(i / sequences) + (double)(i % sequences) * arg->hi;
        } else if (arg->fill == MLXN_FILL_SEQUENCE) {
            value = (double)(sequences - 1 - i % sequences);
        } else {
            value = fill_float(arg, r);
        }
        mlxn_view_set(view, at, value);
    }
}

static void put_half(uint8_t *at, double value) {
    uint16_t bits = mlxn_f32_to_f16((float)value);
    memcpy(at, &bits, 2);
}

/* Random blocks with scales as files have them: random bits, then the binary16 scales at their offsets. Now and then
 * a scale is 0 or negative. */
static void random_blocks(mlxn_format format, uint8_t *raw, size_t bytes, rng *r) {
    static const struct {
        mlxn_format format;
        int first, second; /* byte offsets of the scales, -1 = none */
        double scale, offset;
    } layouts[] = {{MLXN_FORMAT_Q4_0, 0, -1, 0.01, 0},       {MLXN_FORMAT_Q4_1, 0, 2, 0.01, 0.08},
                   {MLXN_FORMAT_Q5_0, 0, -1, 0.005, 0},      {MLXN_FORMAT_Q5_1, 0, 2, 0.005, 0.08},
                   {MLXN_FORMAT_Q8_0, 0, -1, 0.0008, 0},     {MLXN_FORMAT_Q4_K, 0, 2, 4e-4, 1.5e-3},
                   {MLXN_FORMAT_Q5_K, 0, 2, 2e-4, 1.5e-3},   {MLXN_FORMAT_Q6_K, 208, -1, 4e-5, 0},
                   {MLXN_FORMAT_Q2_K, 80, 82, 1e-3, 1.5e-3}, {MLXN_FORMAT_Q3_K, 108, -1, 2e-4, 0},
                   {MLXN_FORMAT_IQ2_XXS, 0, -1, 5e-4, 0},    {MLXN_FORMAT_IQ2_XS, 0, -1, 5e-4, 0},
                   {MLXN_FORMAT_IQ2_S, 0, -1, 5e-4, 0},      {MLXN_FORMAT_IQ3_XXS, 0, -1, 3e-4, 0},
                   {MLXN_FORMAT_IQ3_S, 0, -1, 3e-4, 0},      {MLXN_FORMAT_IQ1_S, 0, -1, 6e-3, 0},
                   {MLXN_FORMAT_IQ4_NL, 0, -1, 1e-3, 0},     {MLXN_FORMAT_IQ4_XS, 0, -1, 3e-5, 0},
                   {MLXN_FORMAT_TQ1_0, 52, -1, 0.05, 0},     {MLXN_FORMAT_TQ2_0, 64, -1, 0.05, 0},
                   {MLXN_FORMAT_Q1_0, 0, -1, 0.05, 0},       {MLXN_FORMAT_Q2_0, 0, -1, 0.05, 0},
                   {MLXN_FORMAT_Q8_1, 0, 2, 0.0008, 0.08}};
    mlxn_format_info info;
    mlxn_format_get_info(format, &info);
    for (size_t i = 0; i < bytes; i++) raw[i] = (uint8_t)next_u64(r);
    for (size_t at = 0; at + info.block_bytes <= bytes; at += info.block_bytes) { /* scales of one byte */
        if (format == MLXN_FORMAT_MXFP4) raw[at] = (uint8_t)(116 + next_u64(r) % 8);
        for (int k = 0; k < 4 && format == MLXN_FORMAT_NVFP4; k++) raw[at + k] = (uint8_t)(next_u64(r) % 24);
        if (format == MLXN_FORMAT_Q8_K) { /* binary32 */
            float d = (float)(0.0008 * (uniform(r) - 0.25));
            memcpy(raw + at, &d, sizeof d);
        }
        if (format == MLXN_FORMAT_IQ1_M) /* binary16 in the top nibbles of four words */
            for (int k = 0; k < 4; k++)
                raw[at + 49 + 2 * k] = (uint8_t)((raw[at + 49 + 2 * k] & 15) | (k == 3 ? 0x10 : 0x80));
    }
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (layouts[i].format != format) continue;
        for (size_t at = 0; at + info.block_bytes <= bytes; at += info.block_bytes) {
            uint64_t k = next_u64(r);
            double sign = k % 8 == 0 ? 0 : k % 8 == 1 ? -1 : 1;
            put_half(raw + at + layouts[i].first, sign * layouts[i].scale * (0.5 + uniform(r)));
            if (layouts[i].second >= 0)
                put_half(raw + at + layouts[i].second, sign * layouts[i].offset * (uniform(r) - 0.3));
        }
    }
}

/* One row: encoded normal numbers, or random blocks, whose scales may be zero or negative, in every other row, where
 * there is no encoder or where the case wants them. */
static bool make_row(const mlxn_case_arg *arg, const mlxn_weight_view *w, uint64_t row, float *values, rng *r) {
    for (uint64_t k = 0; k < w->cols; k++) values[k] = (float)(0.05 * normal(r));
    mlxn_group_info groups;
    if (mlxn_format_get_groups(w->format, &groups)) {
        mlxn_group_row to = mlxn_weight_view_group_row(w, row);
        return !mlxn_quantize_groups(w->format, values, w->cols, &to, NULL);
    }
    mlxn_format_info info;
    uint8_t *to = (uint8_t *)(uintptr_t)mlxn_weight_view_raw_row(w, row);
    bool random =
        (arg->fill == MLXN_FILL_BYTES || row % 2) && mlxn_format_get_info(w->format, &info) && info.block_values > 1;
    mlxn_status status = random ? MLXN_ERR_UNSUPPORTED : mlxn_quantize_row(w->format, values, w->cols, to, NULL);
    if (status == MLXN_ERR_UNSUPPORTED) {
        random_blocks(w->format, to, w->row_bytes, r);
        status = MLXN_OK;
    }
    return !status;
}

/* The region holds the codes or blocks of all rows and then, for MLX formats, scales and biases. The reference
 * decodes these bytes, whatever layout the device keeps. */
static bool make_weight(const mlxn_case_arg *arg, check_operand *operand, rng *r) {
    mlxn_weight_view *w = &operand->weight;
    *w = (mlxn_weight_view){.format = arg->format,
                            .rows = arg->dims[0],
                            .cols = arg->dims[1],
                            .experts = arg->experts,
                            .scale_dtype = arg->dtype,
                            .global_scale = arg->global_scale,
                            .read_row = mlxn_weight_view_read_raw};
    if (mlxn_format_row_bytes(w->format, w->cols, &w->row_bytes, NULL)) return false;
    uint64_t rows = w->rows * mlxn_weight_view_experts(w), codes = rows * w->row_bytes;
    operand->bytes = mlxn_weight_view_bytes(w);
    operand->init = mlxn_alloc_aligned(operand->bytes);
    float *values = mlxn_alloc_array(w->cols, sizeof *values);
    bool good = operand->init && values;
    mlxn_group_info groups;
    w->raw = operand->init;
    if (good && mlxn_format_get_groups(w->format, &groups)) {
        uint64_t scales = rows * (w->cols / groups.group_size) * mlxn_dtype_size(w->scale_dtype);
        w->scales = operand->init + codes;
        if (groups.mode == MLXN_QUANT_AFFINE) w->biases = operand->init + codes + scales;
    }
    for (uint64_t i = 0; good && i < rows; i++) good = make_row(arg, w, i, values, r);
    mlxn_free(values);
    operand->view = (mlxn_view){
        .present = true, .rank = 2, .dims = {w->rows, w->cols}, .strides = {(int64_t)w->cols, 1}, .weight = w};
    return good;
}

static bool make_tensor(const mlxn_case_arg *arg, bool input, check_operand *operand, rng *r) {
    mlxn_view *view = &operand->view;
    *view = (mlxn_view){.present = true, .dtype = arg->dtype, .rank = arg->rank};
    memcpy(view->dims, arg->dims, sizeof view->dims);
    set_strides(arg, view);
    size_t size = mlxn_dtype_size(arg->dtype);
    uint64_t last = 0;
    for (uint32_t i = 0; i < arg->rank; i++) last += (arg->dims[i] - 1) * (uint64_t)view->strides[i];
    operand->first = CHECK_GUARD + arg->shift * size;
    operand->bytes = operand->first + (last + 1) * size + CHECK_GUARD;
    operand->init = mlxn_alloc_aligned(operand->bytes);
    if (!operand->init) return false;
    memset(operand->init, 0xff, operand->bytes);
    view->data = operand->init + operand->first;
    if (input) fill_tensor(arg, view, r);
    return true;
}

bool check_instantiate(check_instance *instance, uint32_t op, uint32_t number, const mlxn_case *c, uint64_t seed) {
    const mlxn_op_def *def = mlxn_op_get(op);
    *instance = (check_instance){.op = op, .number = number, .def = def, .c = *c};
    rng r = {seed * 0x100000001b3u + ((uint64_t)op << 32) + number};
    mlxn_view inputs[MLXN_MAX_ARGS] = {0};
    for (uint32_t i = 0; i < def->n_args; i++) {
        check_operand *operand = &instance->operands[i];
        if (!c->args[i].present) continue;
        bool good = c->args[i].weight ? make_weight(&c->args[i], operand, &r)
                                      : make_tensor(&c->args[i], def->args[i].role != MLXN_ROLE_OUT, operand, &r);
        if (!good) return false;
        inputs[i] = operand->view;
    }
    if (c->prepare) c->prepare(inputs, c->params);
    for (uint32_t i = 0; i < def->n_args; i++) {
        check_operand *operand = &instance->operands[i];
        instance->ref_args[i] = inputs[i];
        if (!inputs[i].present || def->args[i].role == MLXN_ROLE_IN) continue;
        operand->ref = mlxn_alloc_aligned(operand->bytes);
        if (!operand->ref) return false;
        memcpy(operand->ref, operand->init, operand->bytes);
        instance->ref_args[i].data = operand->ref + operand->first;
    }
    mlxn_error error;
    if (mlxn_op_check(def, instance->ref_args, def->n_args, c->params, def->params_size, &error)) {
        fprintf(stderr, "check: case %u of %s is not valid: %s\n", number, def->name, error.message);
        return false;
    }
    return !def->ref(instance->ref_args, c->params);
}

void check_release(check_instance *instance) {
    for (uint32_t i = 0; i < MLXN_MAX_ARGS; i++) {
        mlxn_free_aligned(instance->operands[i].init);
        mlxn_free_aligned(instance->operands[i].ref);
        mlxn_free(instance->bounds[0][i]);
        mlxn_free(instance->bounds[1][i]);
    }
}

bool check_bounds(check_instance *instance, bool fast) {
    const mlxn_op_def *def = instance->def;
    if (!def->bound || instance->bounded[fast]) return true;
    mlxn_view args[MLXN_MAX_ARGS];
    memcpy(args, instance->ref_args, sizeof args);
    for (uint32_t i = 0; def->bound_before && i < def->n_args; i++)
        if (def->args[i].role == MLXN_ROLE_INOUT) args[i].data = instance->operands[i].view.data;
    for (uint32_t i = 0; i < def->n_args; i++) {
        if (!instance->ref_args[i].present || def->args[i].role == MLXN_ROLE_IN) continue;
        double *bounds = mlxn_alloc_array(mlxn_view_elements(&instance->ref_args[i]), sizeof *bounds);
        if (!bounds) return false;
        instance->bounds[fast][i] = bounds;
        if (def->bound(args, instance->c.params, fast, i, bounds)) return false;
    }
    instance->bounded[fast] = true;
    return true;
}
