/* fill.c (CPU kernels): fill_value. */
#include "backend/cpu/kernels/rows.h"

static void plan_fill(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *o = &args[0];
    rows_shape shape = rows_of(&o, 1, false);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

/* The value's bits in one element. */
static uint32_t fill_bits(mlxn_dtype dtype, double value) {
    union {
        uint32_t u;
        int32_t i;
        float f;
    } bits = {0};
    mlxn_view one = {.present = true, .dtype = dtype, .rank = 1, .dims = {1}, .strides = {1}, .data = &bits};
    mlxn_view_set(&one, (const uint64_t[]){0}, value);
    return bits.u;
}

static void run_fill(cpu_run *run) {
    const mlxn_view *out = &run->args[0];
    rows_shape shape = rows_of(&out, 1, false);
    size_t size = mlxn_dtype_size(out->dtype);
    uint32_t bits = fill_bits(out->dtype, ((const mlxn_fill_value_params *)run->params)->value);
    int64_t step = shape.flat ? 1 : rows_stride(out);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            char *o = shape.flat ? out->data : rows_at(out, r, size);
            if (size == 4)
                for (uint64_t i = p.begin; i < p.begin + p.n; i++) ((uint32_t *)o)[(int64_t)i * step] = bits;
            else if (size == 2)
                for (uint64_t i = p.begin; i < p.begin + p.n; i++)
                    ((uint16_t *)o)[(int64_t)i * step] = (uint16_t)bits;
            else
                for (uint64_t i = p.begin; i < p.begin + p.n; i++) ((uint8_t *)o)[(int64_t)i * step] = (uint8_t)bits;
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_fill)[];
const cpu_kernel CPU_ISA(cpu_kernels_fill)[] = {
    {MLXN_OP_fill_value, "fill_value_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_fill, run_fill},
    {0},
};
