/* mlxn/io.h: GGUF files over mmap; includes config.h and safetensors.h. Part of libmlxn-lm.
 *
 * Open validates everything: counts against the bytes left, overflow, alignment, overlap, nesting, duplicate names,
 * data ranges. After that every accessor is pure and may be called from any thread. Nothing is copied: strings,
 * arrays and tensor data point into the map and are valid while the file is open. */
#ifndef MLXN_IO_H
#define MLXN_IO_H

#include <mlxn/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_gguf mlxn_gguf;

/* Versions 2 and 3, little endian. A split file (`…-00001-of-0000N.gguf`, key split.count) opens all its parts, which
 * must lie beside it. Errors: IO, FORMAT ("model.gguf: tensor 12 "blk.0.ffn_up.weight": data ends at 98,400,000, file
 * at 98,362,432 (byte 1,204)"), MEMORY, ARGUMENT (a folder, an empty file). Any part of a split file may be named. */
MLXN_API mlxn_status mlxn_gguf_open(const char *path, mlxn_gguf **out, mlxn_error *error);
/* The same rules on memory that the caller keeps valid and unchanged until close. `name` is for messages. */
MLXN_API mlxn_status mlxn_gguf_open_memory(const void *data, uint64_t size, const char *name, mlxn_gguf **out,
                                           mlxn_error *error);
MLXN_API void mlxn_gguf_close(mlxn_gguf *file);

typedef enum mlxn_gguf_type {
    MLXN_GGUF_U8 = 0,
    MLXN_GGUF_I8 = 1,
    MLXN_GGUF_U16 = 2,
    MLXN_GGUF_I16 = 3,
    MLXN_GGUF_U32 = 4,
    MLXN_GGUF_I32 = 5,
    MLXN_GGUF_F32 = 6,
    MLXN_GGUF_BOOL = 7,
    MLXN_GGUF_STRING = 8,
    MLXN_GGUF_ARRAY = 9,
    MLXN_GGUF_U64 = 10,
    MLXN_GGUF_I64 = 11,
    MLXN_GGUF_F64 = 12
} mlxn_gguf_type;

typedef struct mlxn_string { /* not zero-terminated */
    const char *data;
    uint64_t size;
} mlxn_string;

/* One metadata value. For arrays: `element` and `count`; fixed-size elements lie packed (unaligned, little endian) at
 * `data`; arrays of strings and of arrays are walked with mlxn_gguf_next_string and mlxn_gguf_next_array. */
typedef struct mlxn_gguf_value {
    mlxn_gguf_type type;
    union {
        uint64_t u; /* U8, U16, U32, U64, BOOL */
        int64_t i;  /* I8, I16, I32, I64 */
        double f;   /* F32, F64 */
        mlxn_string s;
        struct {
            mlxn_gguf_type element;
            uint64_t count;
            const uint8_t *data;
            uint64_t bytes; /* of the packed elements */
        } array;
    } v;
} mlxn_gguf_value;

MLXN_API uint32_t mlxn_gguf_version(const mlxn_gguf *file);
MLXN_API uint64_t mlxn_gguf_file_size(const mlxn_gguf *file);  /* of all parts */
MLXN_API uint32_t mlxn_gguf_part_count(const mlxn_gguf *file); /* 1 unless the file is split */
MLXN_API uint64_t mlxn_gguf_key_count(const mlxn_gguf *file);
/* In file order. */
MLXN_API mlxn_string mlxn_gguf_key(const mlxn_gguf *file, uint64_t i);
MLXN_API mlxn_gguf_value mlxn_gguf_value_at(const mlxn_gguf *file, uint64_t i);
/* false if there is no such key. */
MLXN_API bool mlxn_gguf_find(const mlxn_gguf *file, const char *key, mlxn_gguf_value *out);
/* Conversions that lose nothing: any integer type (or bool) that fits; f32 or f64 or an integer; a string.
 * NOT_FOUND if the key is absent, FORMAT if it has another type or does not fit. */
MLXN_API mlxn_status mlxn_gguf_get_u64(const mlxn_gguf *file, const char *key, uint64_t *out, mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_get_f64(const mlxn_gguf *file, const char *key, double *out, mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_get_bool(const mlxn_gguf *file, const char *key, bool *out, mlxn_error *error);
MLXN_API mlxn_status mlxn_gguf_get_string(const mlxn_gguf *file, const char *key, mlxn_string *out,
                                          mlxn_error *error);
/* Walks an array of strings: *cursor starts at 0 and is the library's; false after the last. */
MLXN_API bool mlxn_gguf_next_string(const mlxn_gguf_value *array, uint64_t *cursor, mlxn_string *out);
/* The same for an array of arrays. */
MLXN_API bool mlxn_gguf_next_array(const mlxn_gguf_value *array, uint64_t *cursor, mlxn_gguf_value *out);
/* Element i of an array of numbers as a double, or as an integer; false if out of range or no number. */
MLXN_API bool mlxn_gguf_array_f64(const mlxn_gguf_value *array, uint64_t i, double *out);
MLXN_API bool mlxn_gguf_array_i64(const mlxn_gguf_value *array, uint64_t i, int64_t *out);

typedef struct mlxn_gguf_tensor {
    mlxn_string name;
    uint32_t type;    /* GGUF type id, see mlxn_format */
    bool known;       /* a format that this build can decode as a weight (mlxn_format_get_info) */
    uint32_t rank;    /* 1 to 4; a scalar is shown as one element of one axis */
    uint64_t dims[4]; /* outermost first; file order reversed */
    uint64_t elements;
    uint64_t bytes;      /* 0 for a type of unknown size: neither known nor I8, I16, I32, I64, F64 */
    uint32_t part;       /* which file of a split model, 0-based */
    uint64_t offset;     /* bytes from the start of that part */
    const uint8_t *data; /* NULL if bytes is 0 */
} mlxn_gguf_tensor;

MLXN_API uint64_t mlxn_gguf_tensor_count(const mlxn_gguf *file);
MLXN_API bool mlxn_gguf_tensor_at(const mlxn_gguf *file, uint64_t i, mlxn_gguf_tensor *out);
MLXN_API bool mlxn_gguf_find_tensor(const mlxn_gguf *file, const char *name, mlxn_gguf_tensor *out);

/* "Q4_K", …: names of all type ids of the format, also those that this build cannot decode; "?" outside the list. */
MLXN_API const char *mlxn_gguf_tensor_type_name(uint32_t type);

/* One buffer that wraps the whole mapped part, zero copy; views of it address tensors by their `offset`. The buffer
 * may outlive nothing: keep the file open while it or work that uses it is alive. */
MLXN_API mlxn_status mlxn_gguf_wrap(mlxn_gguf *file, uint32_t part, mlxn_device *device, mlxn_buffer **out,
                                    mlxn_error *error);
/* A fresh buffer of exactly the tensor's bytes as the file has them, in one copy. The caller owns a reference; the
 * file may be closed. Errors: NOT_FOUND, UNSUPPORTED (a type of unknown size), MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_gguf_load_tensor(mlxn_gguf *file, const char *name, mlxn_device *device, mlxn_buffer **out,
                                           mlxn_error *error);
/* The same, and the pool makes the buffer a member of its device's residency set (mlxn_pool_register_existing). It is
 * the caller's: of exactly the tensor's bytes, neither counted nor recycled by the pool, which it may outlive.
 * Errors: as above, and ARGUMENT (the pool is of another device: "cannot mix residency-enabled devices"). */
MLXN_API mlxn_status mlxn_gguf_load_tensor_into_pool(mlxn_gguf *file, const char *name, mlxn_device *device,
                                                     mlxn_pool *pool, mlxn_buffer **out, mlxn_error *error);
/* As mlxn_gguf_load_tensor, decoded to F32, elements in the same order: formats by mlxn_dequantize_row, I8 to I64 and
 * F64 by conversion (rounded to nearest). Type ids are those of the published list: 25 is I16, 17 is IQ2_XS, which is
 * refused. */
MLXN_API mlxn_status mlxn_gguf_load_tensor_f32(mlxn_gguf *file, const char *name, mlxn_device *device,
                                               mlxn_buffer **out, mlxn_error *error);
/* Gives the resident pages of a tensor's data back to the system (they are read from the file again when needed). */
MLXN_API void mlxn_gguf_release_pages(mlxn_gguf *file, const mlxn_gguf_tensor *tensor);

#ifdef __cplusplus
}
#endif

#include <mlxn/config.h>
#include <mlxn/safetensors.h> /* behind the types above, which it uses */
#endif
