/* cases.h: the operations that bench_ops measures, and their tensors. */
#ifndef BENCH_OPS_CASES_H
#define BENCH_OPS_CASES_H

#include <mlxn/mlxn.h>

enum { CASE_ARGS = 10 };

/* `args` in the order of the operation's table, a word each:
 *   t[R,4096]    a tensor of the dtype that is measured; R: as many rows as make the largest such tensor of the case
 *                as large as was asked for
 *   f b u p      the same as f32, u8, u32, and u32 that count up
 *   u[R]%1000    random numbers below 1000
 *   t[8,9]/      the view of [8,9] with its last two axes exchanged, dims [9,8]; //: the first two of them instead
 *   w[V,D]       a weight of f32
 *   t[8,9]*2     its bytes count twice, or not at all (*0); without: once
 *   -            absent */
typedef struct bench_case {
    const char *name, *family, *op, *args;
    const void *params;
    const char *dtypes; /* of "f32 f16 bf16"; NULL: all */
} bench_case;

extern const bench_case bench_cases[];
extern const uint32_t bench_case_count;

/* A case in memory, ready to run. */
typedef struct bench_run {
    const bench_case *c;
    mlxn_dtype dtype;
    mlxn_op op;
    uint32_t n_args;
    mlxn_buffer *buffers[CASE_ARGS];
    mlxn_weight *weights[CASE_ARGS];
    mlxn_tensor tensors[CASE_ARGS];
    mlxn_arg args[CASE_ARGS];
    uint64_t bytes; /* moved at least once */
} bench_run;

bool bench_has_dtype(const bench_case *c, mlxn_dtype dtype);

/* Memory filled with random numbers, outputs too: no page of it is new to the kernel. */
mlxn_status bench_run_create(mlxn_device *device, const bench_case *c, mlxn_dtype dtype, uint64_t bytes,
                             bench_run *out, mlxn_error *error);
void bench_run_destroy(bench_run *run);

#endif
