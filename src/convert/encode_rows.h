/* encode_rows.h: work on the rows of a matrix, on several threads. */
#ifndef MLXN_SRC_CONVERT_ENCODE_ROWS_H
#define MLXN_SRC_CONVERT_ENCODE_ROWS_H

#include <mlxn/quant.h>

#include "base/base.h"

/* Does one row; `values` is memory for its elements, of the thread. */
typedef mlxn_status (*mlxn_row_fn)(const void *job, uint64_t row, float *values, mlxn_error *error);

/* Calls `fn` once for each of `rows` rows of `cols` elements. Every row is by itself, so that the result does not
 * depend on `threads`; of several errors the one of the first row counts, and is told with its number. MEMORY. */
mlxn_status mlxn_each_row(mlxn_row_fn fn, const void *job, uint64_t rows, uint64_t cols, uint32_t threads,
                          mlxn_error *error);

/* For mlxn_each_row: decodes rows that lie close together and encodes them, in formats whose rows are one piece. */
typedef struct mlxn_rows_job {
    mlxn_format from, to;
    const uint8_t *src;
    uint64_t src_row_bytes, cols;
    uint8_t *dst;
    uint64_t dst_row_bytes;
} mlxn_rows_job;
mlxn_status mlxn_encode_row(const void *job, uint64_t row, float *values, mlxn_error *error);

#endif
