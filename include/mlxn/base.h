/* mlxn/base.h: status codes, error records, element types, number formats, version.
 *
 * Everything here is plain data or a pure function: callable from any thread at any time. */
#ifndef MLXN_BASE_H
#define MLXN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLXN_VERSION_MAJOR 0
#define MLXN_VERSION_MINOR 1
#define MLXN_VERSION_PATCH 0

#if defined(_WIN32)
#define MLXN_API
#else
#define MLXN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Status of a call. The list is append-only; values never change meaning. */
typedef enum mlxn_status {
    MLXN_OK = 0,
    MLXN_ERR_ARGUMENT = 1,    /* a caller's argument, shape, dtype or option is wrong */
    MLXN_ERR_STATE = 2,       /* the object is not in a state that allows the call */
    MLXN_ERR_MEMORY = 3,      /* an allocation failed */
    MLXN_ERR_IO = 4,          /* open, read, write or map failed; driver_code holds errno */
    MLXN_ERR_FORMAT = 5,      /* a file breaks the rules of its format */
    MLXN_ERR_UNSUPPORTED = 6, /* valid, but this build or device has no code for it */
    MLXN_ERR_NOT_FOUND = 7,   /* no tensor, key, kernel, model or device of that name */
    MLXN_ERR_DEVICE = 8,      /* the device or its driver is absent or broken */
    MLXN_ERR_EXECUTION = 9,   /* work in flight failed */
    MLXN_ERR_TIMEOUT = 10,    /* a bounded wait ran out */
    MLXN_ERR_CANCELLED = 11,  /* the work was cancelled by its owner */
    MLXN_ERR_LIMIT = 12,      /* a configured limit (memory, context, steps) would be passed */
    MLXN_ERR_COMPILE = 13,    /* kernel source did not compile */
    MLXN_ERR_INTERNAL = 14    /* a defect of mlxn itself */
} mlxn_status;

/* Filled by calls that take a `mlxn_error *` (which may always be NULL). The caller owns the memory.
 * On success status is MLXN_OK and message is empty. */
typedef struct mlxn_error {
    mlxn_status status;
    int32_t driver_code; /* errno or the driver's own code, 0 if none */
    char message[504];   /* one line, no trailing newline; names the thing and both values */
} mlxn_error;

/* "ARGUMENT", "STATE", …; never NULL, "UNKNOWN" for a value outside the list. */
MLXN_API const char *mlxn_status_name(mlxn_status status);
/* One short sentence per status; never NULL. */
MLXN_API const char *mlxn_status_text(mlxn_status status);
/* "0.1.0" */
MLXN_API const char *mlxn_version(void);

/* Element types of tensors. */
typedef enum mlxn_dtype {
    MLXN_F32 = 0,
    MLXN_F16 = 1,
    MLXN_BF16 = 2,
    MLXN_U8 = 3,
    MLXN_U16 = 4,
    MLXN_U32 = 5,
    MLXN_I32 = 6,
    MLXN_DTYPE_COUNT = 7
} mlxn_dtype;

/* Bytes per element; 0 for a value outside the list. */
MLXN_API size_t mlxn_dtype_size(mlxn_dtype dtype);
/* "f32", "bf16", …; "?" for a value outside the list. */
MLXN_API const char *mlxn_dtype_name(mlxn_dtype dtype);
/* Inverse of mlxn_dtype_name; false if `name` is none of them. */
MLXN_API bool mlxn_dtype_parse(const char *name, mlxn_dtype *out);

/* Storage formats of weights. Values below 1000 are the type ids of the GGUF specification; from 1000 on stand those
 * of MLX, which keep codes, scales and biases in tensors of their own: affine<bits>_g<group> is 1000 + 10 * bits + 0,
 * 1 or 2 for groups of 32, 64 and 128. */
typedef enum mlxn_format {
    MLXN_FORMAT_F32 = 0,
    MLXN_FORMAT_F16 = 1,
    MLXN_FORMAT_Q4_0 = 2,
    MLXN_FORMAT_Q4_1 = 3,
    MLXN_FORMAT_Q5_0 = 6,
    MLXN_FORMAT_Q5_1 = 7,
    MLXN_FORMAT_Q8_0 = 8,
    MLXN_FORMAT_Q8_1 = 9, /* of activations, as Q8_K is: no weights are stored so */
    MLXN_FORMAT_Q2_K = 10,
    MLXN_FORMAT_Q3_K = 11,
    MLXN_FORMAT_Q4_K = 12,
    MLXN_FORMAT_Q5_K = 13,
    MLXN_FORMAT_Q6_K = 14,
    MLXN_FORMAT_Q8_K = 15,
    MLXN_FORMAT_IQ2_XXS = 16,
    MLXN_FORMAT_IQ2_XS = 17,
    MLXN_FORMAT_IQ3_XXS = 18,
    MLXN_FORMAT_IQ1_S = 19,
    MLXN_FORMAT_IQ4_NL = 20,
    MLXN_FORMAT_IQ3_S = 21,
    MLXN_FORMAT_IQ2_S = 22,
    MLXN_FORMAT_IQ4_XS = 23,
    MLXN_FORMAT_I8 = 24,
    MLXN_FORMAT_I16 = 25,
    MLXN_FORMAT_I32 = 26,
    MLXN_FORMAT_I64 = 27,
    MLXN_FORMAT_F64 = 28,
    MLXN_FORMAT_IQ1_M = 29,
    MLXN_FORMAT_BF16 = 30,
    MLXN_FORMAT_TQ1_0 = 34,
    MLXN_FORMAT_TQ2_0 = 35,
    MLXN_FORMAT_MXFP4 = 39,
    MLXN_FORMAT_NVFP4 = 40,
    MLXN_FORMAT_Q1_0 = 41,
    MLXN_FORMAT_Q2_0 = 42,
    MLXN_FORMAT_AFFINE2_G32 = 1020,
    MLXN_FORMAT_AFFINE2_G64 = 1021,
    MLXN_FORMAT_AFFINE2_G128 = 1022,
    MLXN_FORMAT_AFFINE3_G32 = 1030,
    MLXN_FORMAT_AFFINE3_G64 = 1031,
    MLXN_FORMAT_AFFINE3_G128 = 1032,
    MLXN_FORMAT_AFFINE4_G32 = 1040,
    MLXN_FORMAT_AFFINE4_G64 = 1041,
    MLXN_FORMAT_AFFINE4_G128 = 1042,
    MLXN_FORMAT_AFFINE5_G32 = 1050,
    MLXN_FORMAT_AFFINE5_G64 = 1051,
    MLXN_FORMAT_AFFINE5_G128 = 1052,
    MLXN_FORMAT_AFFINE6_G32 = 1060,
    MLXN_FORMAT_AFFINE6_G64 = 1061,
    MLXN_FORMAT_AFFINE6_G128 = 1062,
    MLXN_FORMAT_AFFINE8_G32 = 1080,
    MLXN_FORMAT_AFFINE8_G64 = 1081,
    MLXN_FORMAT_AFFINE8_G128 = 1082,
    MLXN_FORMAT_MLX_MXFP4 = 1100,
    MLXN_FORMAT_MLX_MXFP8 = 1101,
    MLXN_FORMAT_MLX_NVFP4 = 1102
} mlxn_format;

#ifdef __cplusplus
}
#endif
#endif
