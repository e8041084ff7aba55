/* mlxn/write.h: writing GGUF files and safetensors folders. Part of libmlxn-lm.
 *
 * Files are written under a temporary name beside their own ("PATH.partial", locked, so that two writers of one file
 * are told apart) and get their name when they are complete and on the disk: a crash, a full disk or an error leaves
 * nothing that looks like a model. What is there already is refused, unless `overwrite` is set. Tensor data goes
 * straight to the file: memory is that of the records. A writer is one thread's at a time. */
#ifndef MLXN_WRITE_H
#define MLXN_WRITE_H

#include <mlxn/io.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- GGUF, version 3, little endian ---- */

typedef struct mlxn_gguf_writer mlxn_gguf_writer;

/* Errors: ARGUMENT (an empty path), IO (PATH is there and `overwrite` is not set; PATH.partial cannot be made, or
 * another writer has it), MEMORY. */
MLXN_API mlxn_status mlxn_gguf_writer_create(const char *path, bool overwrite, mlxn_gguf_writer **out,
                                             mlxn_error *error);
/* Sets a key (copied), or replaces its value where it stands; keys are written in the order of their first setting.
 * The value is as mlxn_gguf_value_at gives it: elements of arrays as the file has them. general.alignment is the
 * writer's own and ignored: data is aligned to 32 bytes. Errors: ARGUMENT (an empty or too long key; no type of the
 * format), STATE (data was written), MEMORY. */
MLXN_API mlxn_status mlxn_gguf_writer_set(mlxn_gguf_writer *writer, const char *key, const mlxn_gguf_value *value,
                                          mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_writer_set_u32(mlxn_gguf_writer *writer, const char *key, uint32_t value,
                                              mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_writer_set_f32(mlxn_gguf_writer *writer, const char *key, float value,
                                              mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_writer_set_bool(mlxn_gguf_writer *writer, const char *key, bool value,
                                               mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_writer_set_text(mlxn_gguf_writer *writer, const char *key, const char *value,
                                               mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_writer_set_strings(mlxn_gguf_writer *writer, const char *key,
                                                  const mlxn_string *values, uint64_t n, mlxn_error *error);
/* Takes a key away again; nothing if it is not there. STATE as above. */
MLXN_API mlxn_status mlxn_gguf_writer_remove(mlxn_gguf_writer *writer, const char *key, mlxn_error *error);
/* Declares the next tensor: rank 1 to 4, dims outermost first, none of them 0. `type`: a format that this build knows
 * (rows must be whole blocks), or I8, I16, I32, I64 or F64 by their ids 24 to 28. Errors: ARGUMENT (also a name that
 * was declared before), UNSUPPORTED (type), LIMIT, STATE, MEMORY. */
MLXN_API mlxn_status mlxn_gguf_writer_add_tensor(mlxn_gguf_writer *writer, const char *name, uint32_t type,
                                                 uint32_t rank, const uint64_t *dims, mlxn_error *error);
/* Bytes of tensor `i` in the order of declaration; 0 past the end. */
MLXN_API uint64_t mlxn_gguf_writer_tensor_bytes(const mlxn_gguf_writer *writer, uint64_t i);
/* The next `bytes` bytes of the data of all tensors, one after the other (padding between them is the writer's); a
 * call may end within a tensor, and not pass its end. The first call writes the header. Errors: ARGUMENT (more than
 * the tensor has left, or than was declared), IO (then nothing more can be written), MEMORY. */
MLXN_API mlxn_status mlxn_gguf_writer_write(mlxn_gguf_writer *writer, const void *data, uint64_t bytes,
                                            mlxn_error *error);
/* Gives the file its name. *writer is gone and NULL in any case. Errors: STATE (data is missing), IO. */
MLXN_API mlxn_status mlxn_gguf_writer_finish(mlxn_gguf_writer **writer, mlxn_error *error);
/* Without finish: the partial file is removed. NULL is nothing. */
MLXN_API void mlxn_gguf_writer_destroy(mlxn_gguf_writer *writer);

/* ---- safetensors ---- */

typedef struct mlxn_safetensors_writer mlxn_safetensors_writer;

/* A path that ends with .safetensors is one file, whose neighbours are not looked at. Any other is a folder, which
 * must exist, and gets model.safetensors, or, where the declared tensors have more than `shard_bytes` bytes (0: 5
 * GB), model-00001-of-0000N.safetensors and so on with model.safetensors.index.json. Errors as those of
 * mlxn_gguf_writer_create. */
MLXN_API mlxn_status mlxn_safetensors_writer_create(const char *path, uint64_t shard_bytes, bool overwrite,
                                                    mlxn_safetensors_writer **out, mlxn_error *error);
/* An entry of __metadata__ of each file (UTF-8), such as "format", "mlx". Errors: ARGUMENT, STATE, MEMORY. */
MLXN_API mlxn_status mlxn_safetensors_writer_metadata(mlxn_safetensors_writer *writer, const char *key,
                                                      const char *value, mlxn_error *error);
/* Declares the next tensor: any rank up to 8; names are UTF-8. Errors: ARGUMENT (a dtype of no size, a name that was
 * declared before or is no UTF-8, a shape that is no whole number of bytes), LIMIT, STATE, MEMORY. */
MLXN_API mlxn_status mlxn_safetensors_writer_add(mlxn_safetensors_writer *writer, const char *name,
                                                 mlxn_st_dtype dtype, uint32_t rank, const uint64_t *dims,
                                                 mlxn_error *error);
/* As mlxn_gguf_writer_write and _finish. Tensors lie in the order of declaration, without gaps. */
MLXN_API mlxn_status mlxn_safetensors_writer_write(mlxn_safetensors_writer *writer, const void *data, uint64_t bytes,
                                                   mlxn_error *error);
MLXN_API mlxn_status mlxn_safetensors_writer_finish(mlxn_safetensors_writer **writer, mlxn_error *error);
MLXN_API void mlxn_safetensors_writer_destroy(mlxn_safetensors_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
