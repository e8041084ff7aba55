/* check.h: what the files of the program `check` share.
 *
 * A case (ops/case.h) is instantiated once: every tensor gets a region of bytes with guards on both sides, all of
 * them 0xff (NaN in every float type) wherever no element lies; the reference runs on a copy of the regions. Then
 * every kernel row that serves the case runs on fresh device buffers with the same bytes, and the whole regions are
 * compared. */
#ifndef MLXN_TESTS_CHECK_H
#define MLXN_TESTS_CHECK_H

#include <stdio.h>

#include "core/core.h"
#include "ops/case.h"

enum { CHECK_GUARD = 256, CHECK_MAX_THREADS = 3, CHECK_BENCH_THREADS = 2 };

/* One operand of an instantiated case. */
typedef struct check_operand {
    uint8_t *init; /* the region before the run; raw rows for a weight */
    uint8_t *ref;  /* the region after the reference */
    size_t bytes;
    size_t first;   /* byte offset of the first element */
    mlxn_view view; /* of init */
    mlxn_weight_view weight;
} check_operand;

typedef struct check_instance {
    uint32_t op, number;
    const mlxn_op_def *def;
    mlxn_case c;
    check_operand operands[MLXN_MAX_ARGS];
    mlxn_view ref_args[MLXN_MAX_ARGS]; /* inputs: init, outputs: ref */
    double *bounds[2][MLXN_MAX_ARGS];  /* [fast][output], row-major; NULL: not computed or exact */
    bool bounded[2];
} check_instance;

typedef struct check_options {
    const char *op, *kernel, *backend, *source;
    uint64_t seed;
    long number; /* case, -1 = all */
    long isa;    /* level 0 to 3, -1 = all */
    bool quick;
    uint64_t part; /* quick runs take one case in so many */
} check_options;

/* data.c */
bool check_instantiate(check_instance *instance, uint32_t op, uint32_t number, const mlxn_case *c, uint64_t seed);
void check_release(check_instance *instance);
/* NULL-free on return: the bounds of every output for one precision. */
bool check_bounds(check_instance *instance, bool fast);

/* compare.c: false with a text if the result in `region` (laid out as `view`, whose data points into it) is wrong. */
bool check_output(check_instance *instance, uint32_t arg, const mlxn_view *got, bool fast, double *worst, char *text,
                  size_t size);
/* Bytes of the region that belong to no element of the view must be 0xff still. */
bool check_surroundings(const check_operand *operand, const uint8_t *region, char *text, size_t size);

/* devices.c: devices by instruction-set level (0 to 3), precision and threads, created on first use. */
mlxn_device *check_device(const check_options *options, uint32_t level, mlxn_precision precision, uint32_t threads);
uint32_t check_machine_level(const check_options *options);
uint32_t check_row_level(const mlxn_kernel_row *row);
void check_devices_close(void);
/* From now on the device tries this row first; with NULL, the device of the last call has its own order again. */
void check_force_row(mlxn_device *device, const mlxn_kernel_row *row);

/* run.c */
typedef enum check_result { CHECK_PASSED, CHECK_FAILED, CHECK_NOT_SERVED } check_result;
typedef struct check_tally {
    uint64_t runs, cases, failures;
    double worst;
    uint32_t worst_case;
} check_tally;
check_result check_run_case(const check_options *options, check_instance *instance, const mlxn_kernel_row *row,
                            check_tally *tally, char *text, size_t size);
/* walk.c: all operations, cases and rows that the options leave; 0 if nothing failed. list: only names the cases. */
int check_walk(const check_options *options, bool list);
/* A recorded operation on one device; used by run.c and bench.c. */
typedef struct check_set {
    mlxn_buffer *buffers[MLXN_MAX_ARGS];
    mlxn_weight *weights[MLXN_MAX_ARGS];
    mlxn_tensor tensors[MLXN_MAX_ARGS];
    mlxn_arg args[MLXN_MAX_ARGS];
    uint8_t *copies[MLXN_MAX_ARGS]; /* of buffers that the host does not see, as last read */
} check_set;
/* in_place: the argument whose memory the last output shares, UINT32_MAX for none. */
bool check_set_create(check_set *set, mlxn_device *device, const check_instance *instance, uint32_t in_place,
                      mlxn_error *error);
void check_set_release(check_set *set);
/* Row chosen by the last recorded dispatch. */
const mlxn_kernel_row *check_last_row(const mlxn_encoder *encoder);

/* selftest.c, bench.c, print.c */
int check_self_test(const check_options *options);
int check_bench(const check_options *options);
void check_print_header(FILE *out);
void check_print_typed(FILE *out);
int check_verify_header(const char *source); /* 0 if both files are current */

#endif
