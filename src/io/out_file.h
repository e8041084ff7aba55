/* out_file.h: a file that appears under its name when it is complete, and growing byte strings for its header. */
#ifndef MLXN_SRC_IO_OUT_FILE_H
#define MLXN_SRC_IO_OUT_FILE_H

#include "io/shared.h"

/* "folder/name", to be given to mlxn_free; NULL without memory. */
char *mlxn_path_in(const char *folder, const char *name);

/* Zeroed: not open. */
typedef struct mlxn_out_file {
    char *path, *partial;
    int fd_plus_one; /* 0: not open */
    bool overwrite;
    uint64_t at; /* bytes written */
} mlxn_out_file;

/* Makes and locks PATH.partial. Errors: ARGUMENT, IO, MEMORY. */
mlxn_status mlxn_out_open(mlxn_out_file *file, const char *path, bool overwrite, mlxn_error *error);
mlxn_status mlxn_out_write(mlxn_out_file *file, const void *data, uint64_t bytes, mlxn_error *error);
/* Zeros up to the next multiple of `align`, at most 4,096. */
mlxn_status mlxn_out_pad(mlxn_out_file *file, uint64_t align, mlxn_error *error);
/* Brings the bytes to the disk; then the file has only to get its name, by mlxn_out_name. */
mlxn_status mlxn_out_sync(mlxn_out_file *file, mlxn_error *error);
/* PATH, and the file is closed in any case. Errors: IO (PATH appeared meanwhile, and `overwrite` is not set). */
mlxn_status mlxn_out_name(mlxn_out_file *file, mlxn_error *error);
/* Closes and removes what was not named. */
void mlxn_out_abandon(mlxn_out_file *file);

/* Bytes that grow. `failed`: memory ran out, and what follows is not kept. */
typedef struct mlxn_bytes {
    uint8_t *data;
    uint64_t size, room;
    bool failed;
} mlxn_bytes;
void mlxn_bytes_add(mlxn_bytes *to, const void *data, uint64_t size);
void mlxn_bytes_int(mlxn_bytes *to, uint64_t value, unsigned size); /* little endian */
void mlxn_bytes_text(mlxn_bytes *to, const char *text);             /* without the zero */
/* In quotes, as JSON writes it; UTF-8 as it is. */
void mlxn_bytes_json_string(mlxn_bytes *to, const char *text);
void mlxn_bytes_free(mlxn_bytes *bytes);

#endif
