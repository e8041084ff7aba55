/* slab.h: what every conversion has: the memory for the rows in work, progress, and the two ends of a call. */
#ifndef MLXN_SRC_CONVERT_SLAB_H
#define MLXN_SRC_CONVERT_SLAB_H

#include <mlxn/convert.h>

#include "base/base.h"

enum { MLXN_CV_SLAB_BYTES = 16 << 20 }; /* of encoded rows: what is held in memory at a time */

/* Zeroed but for the first three: empty. */
typedef struct mlxn_cv_slab {
    const char *what; /* "convert", before messages */
    mlxn_progress_fn progress;
    void *progress_user;
    uint8_t *data;
    uint64_t bytes, done; /* done: of the source */
} mlxn_cv_slab;

/* At least `bytes` of memory in `data`; what was in it is lost. MEMORY. */
mlxn_status mlxn_cv_reserve(mlxn_cv_slab *slab, uint64_t bytes, mlxn_error *error);
/* How many of `rows` rows of `row_bytes` are held at a time; at least one. */
uint64_t mlxn_cv_rows_at_once(uint64_t rows, uint64_t row_bytes);
/* `bytes` more of `total` are done. CANCELLED. */
mlxn_status mlxn_cv_step(mlxn_cv_slab *slab, uint64_t bytes, uint64_t total, mlxn_error *error);

/* Begins a call: clears *result if it is given, copies the caller's options of any version into the `size` zeroed
 * bytes of `options`, and checks them and the paths. `given` may be NULL. ARGUMENT. */
mlxn_status mlxn_cv_begin(const char *what, const char *source, const char *path, const void *given, void *options,
                          size_t size, mlxn_quantize_result *result, mlxn_error *error);
/* Ends it: `made` goes to *result, or `failure`, which is not the caller's error while things are let go, to *error.
 */
mlxn_status mlxn_cv_end(mlxn_status status, const mlxn_error *failure, const mlxn_quantize_result *made,
                        mlxn_quantize_result *result, mlxn_error *error);

#endif
