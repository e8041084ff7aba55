/* activation.c (CPU kernels): softcap, silu, gelu, silu_mul, gelu_mul. Computed in f32, rounded once;
 * the gated products have the bits of the gate and elementwise_mul in turn. */
#include "backend/cpu/kernels/activation_fn.h"
#include "backend/cpu/kernels/rows.h"

static void plan_unary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    map_plan(args, 2, out);
}
static void plan_binary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    map_plan(args, 3, out);
}

SIMD_INLINE v16 fn_softcap(v16 x, v16 unused, float cap) {
    v16 c = v16_set1(cap);
    return v16_mul(c, v16_tanh(v16_mul(x, v16_set1(1.0f / cap))));
}

SIMD_INLINE v16 fn_silu(v16 x, v16 unused, float none) { return act_silu(x); }
SIMD_INLINE v16 fn_gelu(v16 x, v16 unused, float none) { return act_gelu(x); }
SIMD_INLINE v16 fn_silu_mul(v16 g, v16 up, float none) { return v16_mul(act_silu(g), up); }
SIMD_INLINE v16 fn_gelu_mul(v16 g, v16 up, float none) { return v16_mul(act_gelu(g), up); }

static void run_softcap(cpu_run *run) {
    map_run(run, fn_softcap, ((const mlxn_softcap_params *)run->params)->cap, false);
}
static void run_silu(cpu_run *run) { map_run(run, fn_silu, 0.0f, false); }
static void run_gelu(cpu_run *run) { map_run(run, fn_gelu, 0.0f, false); }
static void run_silu_mul(cpu_run *run) { map_run(run, fn_silu_mul, 0.0f, true); }
static void run_gelu_mul(cpu_run *run) { map_run(run, fn_gelu_mul, 0.0f, true); }

extern const cpu_kernel CPU_ISA(cpu_kernels_activation)[];
const cpu_kernel CPU_ISA(cpu_kernels_activation)[] = {
    {MLXN_OP_softcap, "softcap_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_softcap},
    {MLXN_OP_silu, "silu_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_silu},
    {MLXN_OP_gelu, "gelu_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_gelu},
    {MLXN_OP_silu_mul, "silu_mul_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_binary, run_silu_mul},
    {MLXN_OP_gelu_mul, "gelu_mul_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_binary, run_gelu_mul},
    {0},
};
