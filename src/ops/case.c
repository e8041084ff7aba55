/* case.c: building blocks of the families' cases. */
#include "ops/case.h"

#include <stdio.h>

mlxn_case_arg mlxn_case_tensor(mlxn_dtype dtype, uint32_t rank, const uint64_t *dims) {
    mlxn_case_arg a = {.present = true, .dtype = dtype, .rank = rank};
    for (uint32_t i = 0; i < rank; i++) a.dims[i] = dims[i];
    return a;
}

mlxn_case_arg mlxn_case_weight(mlxn_format format, uint64_t rows, uint64_t cols) {
    mlxn_case_arg a = {.present = true, .weight = true, .rank = 2, .dims = {rows, cols}, .format = format};
    mlxn_group_info groups;
    if (!mlxn_format_get_groups(format, &groups)) return a;
    bool affine = groups.mode == MLXN_QUANT_AFFINE;
    a.dtype = affine ? mlxn_case_float((uint32_t)(rows + cols / 32)) : MLXN_U8;
    if (groups.mode == MLXN_QUANT_NVFP4 && rows % 3 == 0) a.global_scale = 0.25f;
    return a;
}

mlxn_case_arg mlxn_case_spread(mlxn_case_arg a, uint32_t layout, uint32_t shift) {
    if (layout == 1) a.shift = shift;
    if (layout == 2) a.layout = shift % 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_INNER;
    if (layout == 3) a.layout = shift % 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_GAPS;
    return a;
}

mlxn_format mlxn_case_format(uint32_t i) {
    static const mlxn_format formats[MLXN_CASE_FORMATS] = {
        MLXN_FORMAT_F32,          MLXN_FORMAT_F16,          MLXN_FORMAT_BF16,         MLXN_FORMAT_Q4_0,
        MLXN_FORMAT_Q4_1,         MLXN_FORMAT_Q5_0,         MLXN_FORMAT_Q5_1,         MLXN_FORMAT_Q8_0,
        MLXN_FORMAT_Q4_K,         MLXN_FORMAT_Q5_K,         MLXN_FORMAT_Q6_K,         MLXN_FORMAT_AFFINE2_G32,
        MLXN_FORMAT_AFFINE2_G128, MLXN_FORMAT_AFFINE3_G32,  MLXN_FORMAT_AFFINE3_G64,  MLXN_FORMAT_AFFINE4_G32,
        MLXN_FORMAT_AFFINE4_G64,  MLXN_FORMAT_AFFINE4_G128, MLXN_FORMAT_AFFINE5_G64,  MLXN_FORMAT_AFFINE6_G32,
        MLXN_FORMAT_AFFINE6_G64,  MLXN_FORMAT_AFFINE8_G64,  MLXN_FORMAT_AFFINE8_G128, MLXN_FORMAT_MLX_MXFP4,
        MLXN_FORMAT_MLX_MXFP8,    MLXN_FORMAT_MLX_NVFP4,    MLXN_FORMAT_Q2_K,         MLXN_FORMAT_Q3_K,
        MLXN_FORMAT_IQ2_XXS,      MLXN_FORMAT_IQ2_XS,       MLXN_FORMAT_IQ2_S,        MLXN_FORMAT_IQ3_XXS,
        MLXN_FORMAT_IQ3_S,        MLXN_FORMAT_IQ1_S,        MLXN_FORMAT_IQ1_M,        MLXN_FORMAT_IQ4_NL,
        MLXN_FORMAT_IQ4_XS,       MLXN_FORMAT_TQ1_0,        MLXN_FORMAT_TQ2_0,        MLXN_FORMAT_MXFP4,
        MLXN_FORMAT_NVFP4,        MLXN_FORMAT_Q1_0,         MLXN_FORMAT_Q2_0,         MLXN_FORMAT_Q8_1,
        MLXN_FORMAT_Q8_K};
    return formats[i % MLXN_CASE_FORMATS];
}

uint32_t mlxn_case_smallest_cols(mlxn_format format) {
    mlxn_format_info info;
    if (!mlxn_format_get_info(format, &info)) return 1;
    return info.block_values;
}

mlxn_dtype mlxn_case_float(uint32_t i) {
    static const mlxn_dtype floats[] = {MLXN_F32, MLXN_F16, MLXN_BF16};
    return floats[i % 3];
}

void mlxn_case_name(mlxn_case *c, const char *format, ...) {
    size_t used = strlen(c->name);
    va_list list;
    va_start(list, format);
    vsnprintf(c->name + used, sizeof c->name - used, format, list);
    va_end(list);
}

void mlxn_case_name_arg(mlxn_case *c, const char *name, uint32_t arg) {
    static const char *const layouts[] = {"", " gaps", " outer", " inner", " transposed"};
    const mlxn_case_arg *a = &c->args[arg];
    if (a->present && !a->shift && a->layout == MLXN_LAYOUT_CONTIGUOUS && !name) return;
    mlxn_case_name(c, "%s%s ", c->name[0] ? ", " : "", name ? name : "");
    if (!a->present) {
        mlxn_case_name(c, "absent");
        return;
    }
    bool weight = c->args[arg].weight;
    mlxn_case_name(c, "%s[", weight ? mlxn_format_name(a->format) : mlxn_dtype_name(a->dtype));
    if (weight && a->experts) mlxn_case_name(c, "%llu x ", (unsigned long long)a->experts);
    for (uint32_t i = 0; i < a->rank; i++) mlxn_case_name(c, "%s%llu", i ? "," : "", (unsigned long long)a->dims[i]);
    mlxn_case_name(c, "]%s", layouts[a->layout]);
    if (a->shift) mlxn_case_name(c, " +%u", a->shift);
}

/* Sizes around the widths of vectors (8, 16, 32) and the model widths 576, 640, 1536, 2048, 8960. */
static const struct {
    uint32_t rank;
    uint64_t dims[4];
} shapes[] = {{1, {1}},       {1, {15}},       {1, {33}},       {1, {1023}},       {2, {3, 5}},
              {2, {1, 576}},  {2, {7, 640}},   {2, {2, 1536}},  {2, {5, 17}},      {2, {64, 2048}},
              {2, {3, 8960}}, {3, {2, 3, 31}}, {3, {4, 9, 64}}, {4, {2, 3, 5, 7}}, {4, {2, 1, 3, 16}},
              {2, {33, 576}}, {1, {65}},       {2, {9, 129}}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_LAYOUTS = 5 };

/* Layout variants: how inputs and output lie, and how far they are off alignment. */
static const struct {
    mlxn_layout in, in2, out;
    uint32_t shift;
} variants[N_LAYOUTS] = {{0, 0, 0, 0},
                         {0, 0, 0, 1},
                         {MLXN_LAYOUT_GAPS, 0, MLXN_LAYOUT_GAPS, 0},
                         {MLXN_LAYOUT_INNER, MLXN_LAYOUT_GAPS, 0, 3},
                         {MLXN_LAYOUT_TRANSPOSED, 0, MLXN_LAYOUT_INNER, 0}};

static bool common(uint32_t i, uint32_t inputs, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), shape = mlxn_case_digit(&i, N_SHAPES),
             v = mlxn_case_digit(&i, N_LAYOUTS);
    if (i) return false;
    for (uint32_t k = 0; k <= inputs; k++) {
        mlxn_case_arg a = mlxn_case_tensor(mlxn_case_float(dtype), shapes[shape].rank, shapes[shape].dims);
        a.layout = k == inputs ? variants[v].out : k ? variants[v].in2 : variants[v].in;
        a.shift = variants[v].shift * (k + 1);
        a.hi = 2;
        out->args[k] = a;
    }
    if (v == 0 && shape % 3 == 1) out->args[0].fill = MLXN_FILL_SPECIAL;
    mlxn_case_name_arg(out, "x", 0);
    if (v) mlxn_case_name_arg(out, "out", inputs);
    return true;
}

bool mlxn_cases_unary(uint32_t i, mlxn_case *out) { return common(i, 1, out); }
bool mlxn_cases_binary(uint32_t i, mlxn_case *out) { return common(i, 2, out); }
uint32_t mlxn_cases_unary_count(void) { return 3 * N_SHAPES * N_LAYOUTS; }
