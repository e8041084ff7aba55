/* encode_rows.h: rows of one format into another, on several threads. */
#ifndef MLXN_SRC_CONVERT_ENCODE_ROWS_H
#define MLXN_SRC_CONVERT_ENCODE_ROWS_H

#include <mlxn/quant.h>

#include "base/base.h"

typedef struct mlxn_rows_job {
    mlxn_format from, to;
    const uint8_t *src; /* rows close together, any alignment */
    uint64_t src_row_bytes, cols, rows;
    uint8_t *dst;
    uint64_t dst_row_bytes;
} mlxn_rows_job;

/* Decodes and encodes each row. Every row is by itself, so that the result does not depend on `threads`. Messages
 * name the row. Errors: those of mlxn_dequantize_row and mlxn_quantize_row, MEMORY. */
mlxn_status mlxn_encode_rows(const mlxn_rows_job *job, uint32_t threads, mlxn_error *error);

/* What `threads` of 0 stands for. */
uint32_t mlxn_encode_threads(uint32_t threads);

#endif
