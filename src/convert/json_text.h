/* json_text.h: a configuration back as JSON text. */
#ifndef MLXN_SRC_CONVERT_JSON_TEXT_H
#define MLXN_SRC_CONVERT_JSON_TEXT_H

#include <mlxn/config.h>

#include "io/out_file.h"

/* A member of the outermost object that is written instead of the one of its name, or as well. */
typedef struct mlxn_json_member {
    const char *name;
    const char *text; /* JSON; NULL: the member is left out */
} mlxn_json_member;

/* The whole of `config`, which is an object, in byte order of the names, indented by four spaces, as MLX's tools
 * write it. Reals have as many digits as it takes to read them back. Memory shows in to->failed. */
void mlxn_json_write(mlxn_bytes *to, const mlxn_config *config, const mlxn_json_member *changes, size_t n);

#endif
