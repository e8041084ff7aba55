/* mlxn/config.h: the configuration of a model folder, config.json and files like it: JSON as typed values.
 *
 * The whole text is checked when it is opened: syntax (RFC 8259, and the NaN and Infinity that Python writes), UTF-8,
 * nesting up to 32, no name twice in one object, at most 4,000,000 bytes. Afterwards immutable; any thread. Part of
 * libmlxn-lm; mlxn/io.h includes it. */
#ifndef MLXN_CONFIG_H
#define MLXN_CONFIG_H

#include <mlxn/io.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_config mlxn_config;

typedef enum mlxn_config_type {
    MLXN_CONFIG_NULL = 0,
    MLXN_CONFIG_BOOL = 1,
    MLXN_CONFIG_INTEGER = 2, /* written without fraction and exponent, and within 64 bits with sign */
    MLXN_CONFIG_REAL = 3,    /* every other number; NaN and infinities too */
    MLXN_CONFIG_STRING = 4,
    MLXN_CONFIG_ARRAY = 5,
    MLXN_CONFIG_OBJECT = 6
} mlxn_config_type;

typedef struct mlxn_config_value {
    mlxn_config_type type;
    uint32_t node; /* the library's, for mlxn_config_element and mlxn_config_member */
    union {
        bool b;
        int64_t i;
        double f;
        mlxn_string s;  /* UTF-8; a zero follows it; valid while the config lives */
        uint64_t count; /* of an ARRAY or OBJECT */
    } v;
} mlxn_config_value;

/* *out is the caller's to destroy; NULL after an error. Errors name the file and the byte: IO (it cannot be read),
 * FORMAT, LIMIT (too long), MEMORY. */
MLXN_API mlxn_status mlxn_config_open(const char *path, mlxn_config **out, mlxn_error *error);
/* The same rules on text in memory, which is not needed any more afterwards. `name` is for messages. */
MLXN_API mlxn_status mlxn_config_from_json(const char *text, uint64_t size, const char *name, mlxn_config **out,
                                           mlxn_error *error);
MLXN_API void mlxn_config_destroy(mlxn_config *config);

/* The value at a path of names of objects with points between them ("text_config.rope_parameters.rope_theta"); "" is
 * the whole. False if there is none. */
MLXN_API bool mlxn_config_find(const mlxn_config *config, const char *path, mlxn_config_value *out);
/* Element i of an ARRAY; false past its end. */
MLXN_API bool mlxn_config_element(const mlxn_config *config, const mlxn_config_value *array, uint64_t i,
                                  mlxn_config_value *out);
/* Member i of an OBJECT, in byte order of the names; false past its end. */
MLXN_API bool mlxn_config_member(const mlxn_config *config, const mlxn_config_value *object, uint64_t i,
                                 mlxn_string *name, mlxn_config_value *out);

#ifdef __cplusplus
}
#endif
#endif
