/* mlxn/safetensors.h: safetensors files and folders over mmap, quantisation configs, quantised weights of MLX
 * folders. Part of libmlxn-lm; mlxn/io.h includes it.
 *
 * Open reads each header once and validates all of it: header length (at most 100,000,000 bytes), JSON (nesting at
 * most 32, no duplicate names), shapes without overflow, size == shape x dtype, data ranges inside the file, without
 * overlap and without a hole. Memory is bounded by a small multiple of the header's bytes, whatever the header says.
 * After that every accessor is pure and may be called from any thread; a find takes O(log n). Tensor data points into
 * the map and is valid while the file is open, as are all strings. */
#ifndef MLXN_SAFETENSORS_H
#define MLXN_SAFETENSORS_H

#include <mlxn/io.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element types of the format. Only those of mlxn_dtype can be loaded; the others are listed with their sizes. */
typedef enum mlxn_st_dtype {
    MLXN_ST_UNKNOWN = 0, /* a name that this list lacks: the size is that of data_offsets */
    MLXN_ST_BOOL = 1,
    MLXN_ST_F4 = 2,      /* E2M1, two in a byte */
    MLXN_ST_F6_E2M3 = 3, /* four in three bytes */
    MLXN_ST_F6_E3M2 = 4,
    MLXN_ST_U8 = 5,
    MLXN_ST_I8 = 6,
    MLXN_ST_F8_E5M2 = 7,
    MLXN_ST_F8_E4M3 = 8,
    MLXN_ST_F8_E8M0 = 9,
    MLXN_ST_F8_E4M3FNUZ = 10,
    MLXN_ST_F8_E5M2FNUZ = 11,
    MLXN_ST_I16 = 12,
    MLXN_ST_U16 = 13,
    MLXN_ST_F16 = 14,
    MLXN_ST_BF16 = 15,
    MLXN_ST_I32 = 16,
    MLXN_ST_U32 = 17,
    MLXN_ST_F32 = 18,
    MLXN_ST_C64 = 19,
    MLXN_ST_F64 = 20,
    MLXN_ST_I64 = 21,
    MLXN_ST_U64 = 22,
    MLXN_ST_DTYPE_COUNT = 23
} mlxn_st_dtype;

/* "BF16", …; "?" for UNKNOWN and outside the list. */
MLXN_API const char *mlxn_st_dtype_name(mlxn_st_dtype dtype);
/* Bits of one element; 0 for UNKNOWN and outside the list. */
MLXN_API uint32_t mlxn_st_dtype_bits(mlxn_st_dtype dtype);
/* The mlxn_dtype of the same elements; false if there is none. */
MLXN_API bool mlxn_st_dtype_to_dtype(mlxn_st_dtype dtype, mlxn_dtype *out);

/* One file, or the files ("shards") of one model. */
typedef struct mlxn_safetensors mlxn_safetensors;

/* `path` is a .safetensors file, an index (….index.json), or a folder. A folder with model.safetensors.index.json
 * opens the shards that its weight_map names: each must lie beside it and hold the tensors that it is said to hold;
 * files that the map does not name are ignored. A folder without one opens all its *.safetensors (hidden files left
 * out), sorted by name. No tensor name may be in two shards. Errors: IO (also "No .safetensors files in …"), FORMAT,
 * MEMORY, ARGUMENT (an empty file), LIMIT (over 10,000 shards).
 */
MLXN_API mlxn_status mlxn_safetensors_open(const char *path, mlxn_safetensors **out, mlxn_error *error);
/* The same rules on one file in memory that the caller keeps valid and unchanged until close. `name` is for messages.
 */
MLXN_API mlxn_status mlxn_safetensors_open_memory(const void *data, uint64_t size, const char *name,
                                                  mlxn_safetensors **out, mlxn_error *error);
MLXN_API void mlxn_safetensors_close(mlxn_safetensors *file);

typedef struct mlxn_safetensors_tensor {
    mlxn_string name; /* UTF-8; a zero follows it */
    mlxn_st_dtype dtype;
    const char *dtype_name; /* as the file writes it */
    uint32_t rank;          /* any; 0 is a scalar */
    const uint64_t *dims;   /* `rank` numbers, outermost first; 0 is allowed */
    uint64_t elements;      /* product of dims, 1 for a scalar */
    uint64_t bytes;
    uint32_t shard;      /* which file, 0-based */
    uint64_t offset;     /* bytes from the start of that file; any alignment */
    const uint8_t *data; /* little endian, row-major */
} mlxn_safetensors_tensor;

/* Tensors are numbered by shard and, within it, by where their data lies: the order in which to read them. */
MLXN_API uint64_t mlxn_safetensors_tensor_count(const mlxn_safetensors *file);
MLXN_API bool mlxn_safetensors_tensor_at(const mlxn_safetensors *file, uint64_t i, mlxn_safetensors_tensor *out);
MLXN_API bool mlxn_safetensors_find_tensor(const mlxn_safetensors *file, const char *name,
                                           mlxn_safetensors_tensor *out);
/* The i-th name in byte order: the same list however the tensors are spread over files. Empty past the end. */
MLXN_API mlxn_string mlxn_safetensors_name(const mlxn_safetensors *file, uint64_t i);

MLXN_API uint32_t mlxn_safetensors_shard_count(const mlxn_safetensors *file);
/* The file's name without its folder; NULL past the end. */
MLXN_API const char *mlxn_safetensors_shard_name(const mlxn_safetensors *file, uint32_t shard);
MLXN_API uint64_t mlxn_safetensors_file_size(const mlxn_safetensors *file); /* of all shards */

/* The map of strings __metadata__ of one shard, in byte order of the keys; a zero follows keys and values. */
MLXN_API uint64_t mlxn_safetensors_metadata_count(const mlxn_safetensors *file, uint32_t shard);
MLXN_API bool mlxn_safetensors_metadata_at(const mlxn_safetensors *file, uint32_t shard, uint64_t i, mlxn_string *key,
                                           mlxn_string *value);
/* Of the first shard that has the key; false if none has. */
MLXN_API bool mlxn_safetensors_metadata(const mlxn_safetensors *file, const char *key, mlxn_string *value);

/* One buffer that wraps a whole mapped shard, zero copy; views of it address tensors by their `offset`. The buffer
 * may outlive nothing: keep the file open while it or work that uses it is alive. Read-only. Errors: ARGUMENT,
 * UNSUPPORTED (the device cannot see host memory). */
MLXN_API mlxn_status mlxn_safetensors_wrap(mlxn_safetensors *file, uint32_t shard, mlxn_device *device,
                                           mlxn_buffer **out, mlxn_error *error);
/* A fresh buffer of exactly the tensor's bytes, in one copy. The caller owns a reference; the file may be closed.
 * Errors: NOT_FOUND, UNSUPPORTED (a dtype that mlxn_dtype lacks), ARGUMENT (the tensor is empty), MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_safetensors_load_tensor(mlxn_safetensors *file, const char *name, mlxn_device *device,
                                                  mlxn_buffer **out, mlxn_error *error);
/* All tensors: buffers[i] for tensor i, room for mlxn_safetensors_tensor_count of them; NULL for an empty tensor. On
 * an error (see mlxn_safetensors_load_tensor) all are released and NULL. */
MLXN_API mlxn_status mlxn_safetensors_load_all(mlxn_safetensors *file, mlxn_device *device, mlxn_buffer **buffers,
                                               mlxn_error *error);
/* A view of the tensor at byte `offset` of `buffer`: 0 for a loaded buffer, tensor->offset for a wrapped shard. A
 * scalar becomes one element of one axis. Errors: UNSUPPORTED (dtype; rank over MLXN_MAX_RANK; an offset that is no
 * multiple of the element size, which the format allows: load such a tensor). */
MLXN_API mlxn_status mlxn_safetensors_view(const mlxn_safetensors_tensor *tensor, mlxn_buffer *buffer,
                                           uint64_t offset, mlxn_tensor *out, mlxn_error *error);
/* Gives the resident pages of a tensor's data back to the system (they are read from the file again when needed). */
MLXN_API void mlxn_safetensors_release_pages(mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor);

/* "affine", "mxfp4", …; "?" outside the list. */
MLXN_API const char *mlxn_quant_mode_name(mlxn_quant_mode mode);

typedef struct mlxn_quant_params {
    bool quantized; /* false: the config says that this module is not quantised; the rest is then the defaults */
    mlxn_quant_mode mode;
    uint32_t bits;       /* 1 to 8 */
    uint32_t group_size; /* 1 to 65,536 */
} mlxn_quant_params;

/* Default parameters and those of single modules. Immutable; any thread. */
typedef struct mlxn_quant_config mlxn_quant_config;

/* The form of quantization_config.json: `bits`, `group_size`, `mode`, all optional, and `per_tensor`, an object of
 * {bits, group_size}, both required. Unknown keys are ignored. `text` needs no zero at its end.
 * Errors: FORMAT ("cannot parse …" for malformed JSON; numbers out of range; duplicates), UNSUPPORTED (a mode outside
 * the list), MEMORY. */
MLXN_API mlxn_status mlxn_quant_config_from_json(const char *text, uint64_t size, mlxn_quant_config **out,
                                                 mlxn_error *error);
/* Adds IO (the file cannot be read). Files of at most 100,000,000 bytes. */
MLXN_API mlxn_status mlxn_quant_config_from_file(const char *path, mlxn_quant_config **out, mlxn_error *error);
/* The form of config.json: the object `quantization`, or `quantization_config` where that is absent and has `bits`.
 * In it `bits`, `group_size` and `mode` are the defaults; any other key whose value is an object with `bits` is a
 * module of its own parameters (group_size and mode default to the section's), `false` is a module that is not
 * quantised, `true` one with the defaults; other keys are ignored. Errors: as above, and NOT_FOUND (no such section).
 */
MLXN_API mlxn_status mlxn_quant_config_from_model_json(const char *text, uint64_t size, mlxn_quant_config **out,
                                                       mlxn_error *error);
MLXN_API mlxn_status mlxn_quant_config_from_model_file(const char *path, mlxn_quant_config **out, mlxn_error *error);
/* The config of a folder: quantization_config.json, or config.json where that is absent. Errors: as above, and IO
 * (neither is there). */
MLXN_API mlxn_status mlxn_quant_config_from_folder(const char *folder, mlxn_quant_config **out, mlxn_error *error);
MLXN_API void mlxn_quant_config_destroy(mlxn_quant_config *config);

MLXN_API mlxn_quant_params mlxn_quant_config_defaults(const mlxn_quant_config *config);
/* What holds for a tensor or module. Looked up in this order, first match: the name; without .weight, .scales or
 * .biases; without the prefix "language_model." (then also without the suffix); with that prefix (then also without
 * the suffix); the defaults. Keys are names, not patterns. */
MLXN_API mlxn_quant_params mlxn_quant_config_lookup(const mlxn_quant_config *config, const char *name);
/* The modules with parameters of their own, in byte order of their names. */
MLXN_API uint64_t mlxn_quant_config_override_count(const mlxn_quant_config *config);
MLXN_API bool mlxn_quant_config_override_at(const mlxn_quant_config *config, uint64_t i, mlxn_string *name,
                                            mlxn_quant_params *out);

/* The tensors of one quantised matrix, or stack of matrices, where they lie in the files. */
typedef struct mlxn_quant_tensors {
    mlxn_quant_params params;
    uint32_t rank;                /* 1 to MLXN_MAX_RANK */
    uint64_t dims[MLXN_MAX_RANK]; /* logical: what the packed words hold; last = packed last x 32 / bits */
    uint64_t elements;            /* product of dims */
    uint64_t num_groups;          /* of one row: ceil(last dim / group_size) */
    mlxn_dtype scales_dtype;      /* F32, F16 or BF16; U8 in the other modes than affine */
    mlxn_safetensors_tensor weight, scales;
    mlxn_safetensors_tensor biases; /* data NULL if there are none */
} mlxn_quant_tensors;
/* Finds <base>.scales, <base>.weight (or <base>) and <base>.biases, and checks shapes and dtypes against the config.
 * *found is false, and the result OK, if there are no scales or the config says that the module is not quantised.
 * Errors: FORMAT (scales without a weight, shapes or dtypes that do not fit), MEMORY. */
MLXN_API mlxn_status mlxn_quant_tensors_find(const mlxn_safetensors *file, const mlxn_quant_config *config,
                                             const char *base, mlxn_quant_tensors *out, bool *found,
                                             mlxn_error *error);

/* One quantised matrix, or stack of matrices, of an MLX folder. Tensors are views of buffers of their exact size,
 * which the list owns: retain a buffer to keep it longer. */
typedef struct mlxn_quant_weight {
    const char *name; /* without .weight */
    mlxn_quant_params params;
    uint32_t rank;                /* 1 to MLXN_MAX_RANK */
    uint64_t dims[MLXN_MAX_RANK]; /* logical: what the packed words hold; last = packed last x 32 / bits */
    uint64_t elements;            /* product of dims */
    uint64_t num_groups;          /* of one row: ceil(last dim / group_size) */
    mlxn_dtype scales_dtype;      /* F32, F16 or BF16; U8 in the other modes than affine */
    mlxn_tensor weight;           /* U32, packed dims */
    mlxn_tensor scales;           /* [leading dims, num_groups] */
    mlxn_tensor biases;           /* like scales; buffer NULL if there are none */
} mlxn_quant_weight;

typedef struct mlxn_quant_weights mlxn_quant_weights;

/* Loads the quantised weights of a folder: for each <base>.scales (that the config does not say to be unquantised)
 * its <base>.weight or <base>, and <base>.biases where there is one; shapes and dtypes are checked against the
 * config. Other tensors are not read. The config is quantization_config.json, or config.json where that is absent.
 * Errors: IO (a file is missing or cannot be read; "No .safetensors files"), FORMAT (scales without a weight, shapes
 * or dtypes that do not fit), NOT_FOUND, UNSUPPORTED, MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_load_quantized_weights(const char *folder, mlxn_device *device, mlxn_quant_weights **out,
                                                 mlxn_error *error);
MLXN_API uint64_t mlxn_quant_weights_count(const mlxn_quant_weights *weights);
/* In byte order of the names. Borrowed from the list; NULL past the end. */
MLXN_API const mlxn_quant_weight *mlxn_quant_weights_at(const mlxn_quant_weights *weights, uint64_t i);
/* By the name without .weight; NULL if there is none. */
MLXN_API const mlxn_quant_weight *mlxn_quant_weights_find(const mlxn_quant_weights *weights, const char *name);
MLXN_API void mlxn_quant_weights_destroy(mlxn_quant_weights *weights);
/* A weight of the device that holds the tensors, in packed form; a stack of matrices if of rank 3 or 4. It does
 * not need the list any more. Errors: UNSUPPORTED (no such format, see mlxn_format_of_groups), FORMAT (affine without
 * biases), ARGUMENT (columns that are no whole groups), MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_quant_weight_create(const mlxn_quant_weight *from, mlxn_weight **out, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
