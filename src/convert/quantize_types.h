/* quantize_types.h: what a type of `mlxn quantize` makes of each tensor. */
#ifndef MLXN_SRC_CONVERT_QUANTIZE_TYPES_H
#define MLXN_SRC_CONVERT_QUANTIZE_TYPES_H

#include <mlxn/convert.h>

#include "base/base.h"

typedef struct mlxn_quantize_type {
    const char *name, *about;
    uint32_t file_type; /* general.file_type of the GGUF specification */
    mlxn_format format;
    /* Mixes: the format of the output matrix, and of values and down projections in the layers where bits pay most;
     * the same as `format` in all other types. */
    mlxn_format more;
} mlxn_quantize_type;

/* NULL if there is none. Case does not matter. */
const mlxn_quantize_type *mlxn_quantize_type_find(const char *name);
/* What the tensor becomes, before its row length is looked at: its own type if it stays as it is. `n_layers` of the
 * model, 0 if unknown; `tied`: the token embeddings are the output matrix too. */
mlxn_format mlxn_quantize_format_of(const mlxn_quantize_type *type, const mlxn_gguf_tensor *tensor, uint64_t n_layers,
                                    bool tied);
typedef enum mlxn_tensor_use { MLXN_USE_KEEP, MLXN_USE_MATRIX, MLXN_USE_EMBEDDING, MLXN_USE_OUTPUT } mlxn_tensor_use;
mlxn_tensor_use mlxn_quantize_use_of(const mlxn_gguf_tensor *tensor);
/* The nearest format whose blocks divide `cols`. */
mlxn_format mlxn_quantize_fallback(mlxn_format format, uint64_t cols);

#endif
