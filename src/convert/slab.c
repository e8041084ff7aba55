/* slab.c: what every conversion has: see slab.h. */
#include "convert/slab.h"

#include <inttypes.h>

mlxn_status mlxn_cv_reserve(mlxn_cv_slab *slab, uint64_t bytes, mlxn_error *error) {
    if (bytes <= slab->bytes) return MLXN_OK;
    uint8_t *grown = bytes > SIZE_MAX / 2 ? NULL : mlxn_alloc((size_t)bytes);
    if (!grown)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for %" PRIu64 " bytes", slab->what, bytes);
    mlxn_free(slab->data);
    slab->data = grown;
    slab->bytes = bytes;
    return MLXN_OK;
}

uint64_t mlxn_cv_rows_at_once(uint64_t rows, uint64_t row_bytes) {
    return mlxn_min_u64(rows, mlxn_max_u64(1, MLXN_CV_SLAB_BYTES / row_bytes));
}

mlxn_status mlxn_cv_step(mlxn_cv_slab *slab, uint64_t bytes, uint64_t total, mlxn_error *error) {
    slab->done += bytes;
    if (!slab->progress || slab->progress(slab->progress_user, slab->done, total)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_CANCELLED, "%s: cancelled", slab->what);
}

mlxn_status mlxn_cv_begin(const char *what, const char *source, const char *path, const void *given, void *options,
                          size_t size, mlxn_quantize_result *result, mlxn_error *error) {
    uint32_t given_size = 0; /* the first member of every version */
    if (result) *result = (mlxn_quantize_result){0};
    if (given) memcpy(&given_size, given, sizeof given_size);
    if (given && !given_size) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: options: struct_size is 0", what);
    if (given) memcpy(options, given, (size_t)mlxn_min_u64(given_size, size));
    if (source && source[0] && path && path[0]) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: the path of the %s is empty", what,
                     source && source[0] ? "result" : "source");
}

mlxn_status mlxn_cv_end(mlxn_status status, const mlxn_error *failure, const mlxn_quantize_result *made,
                        mlxn_quantize_result *result, mlxn_error *error) {
    if (status) {
        if (error) *error = *failure;
        return status;
    }
    if (result) *result = *made;
    return mlxn_succeed(error);
}
