/* folder_files.c: the files of a model folder that are no weights. */
#include "convert/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "convert/json_text.h"
#include "io/out_file.h"

enum { MOST_BYTES = 1000000000 };

mlxn_status mlxn_folder_config(const char *folder, mlxn_config **out, mlxn_error *error) {
    char *path = mlxn_path_in(folder, "config.json");
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for a path");
    mlxn_config_value whole;
    mlxn_status status = mlxn_config_open(path, out, error);
    if (!status && (!mlxn_config_find(*out, "", &whole) || whole.type != MLXN_CONFIG_OBJECT))
        status = mlxn_fail(error, MLXN_ERR_FORMAT, "%s: is no JSON object", path);
    mlxn_free(path);
    return status;
}

mlxn_status mlxn_folder_make(const char *source, const char *path, mlxn_error *error) {
    struct stat a, b;
    if (mkdir(path, 0777) && errno != EEXIST) return mlxn_fail_errno(error, path, "cannot make the folder");
    if (stat(path, &b)) return mlxn_fail_errno(error, path, "cannot open the folder");
    if (!S_ISDIR(b.st_mode)) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is no folder", path);
    if (!stat(source, &a) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is the source itself", path);
    return MLXN_OK;
}

mlxn_status mlxn_folder_write(const char *folder, const char *name, const void *data, uint64_t bytes, bool overwrite,
                              mlxn_error *error) {
    mlxn_out_file file = {0};
    char *path = mlxn_path_in(folder, name);
    mlxn_status status = MLXN_OK;
    if (!path) status = mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for a path");
    if (!status) status = mlxn_out_open(&file, path, overwrite, error);
    if (!status) status = mlxn_out_write(&file, data, bytes, error);
    if (!status) status = mlxn_out_sync(&file, error);
    if (!status) status = mlxn_out_name(&file, error);
    mlxn_out_abandon(&file);
    mlxn_free(path);
    return status;
}

/* ---- config.json ---- */

mlxn_status mlxn_folder_write_config(const char *path, const mlxn_config *config, const mlxn_folder_change *change,
                                     bool overwrite, mlxn_error *error) {
    char dtype[24];
    mlxn_config_value value;
    mlxn_json_member changes[5];
    size_t n = 0;
    const char *name = !change->dtype                   ? NULL
                       : !strcmp(change->dtype, "F16")  ? "float16"
                       : !strcmp(change->dtype, "BF16") ? "bfloat16"
                                                        : "float32";
    snprintf(dtype, sizeof dtype, "\"%s\"", name ? name : "");
    /* In byte order of the names. A name of the machine that the model came from is of no use to others. */
    changes[n++] = (mlxn_json_member){"_name_or_path", NULL};
    bool newer = mlxn_config_find(config, "dtype", &value); /* the spelling of transformers 5 */
    if (name && newer) changes[n++] = (mlxn_json_member){"dtype", dtype};
    if (change->quantization) changes[n++] = (mlxn_json_member){"quantization", change->quantization};
    if (change->quantization) changes[n++] = (mlxn_json_member){"quantization_config", change->quantization};
    if (name && !newer) changes[n++] = (mlxn_json_member){"torch_dtype", dtype};
    mlxn_bytes text = {0};
    mlxn_json_write(&text, config, changes, n);
    mlxn_status status = text.failed ? mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for config.json")
                                     : mlxn_folder_write(path, "config.json", text.data, text.size, overwrite, error);
    mlxn_bytes_free(&text);
    return status;
}

/* ---- files that stay as they are ---- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static bool is_copied(const char *name) {
    if (name[0] == '.' || !strcmp(name, "config.json") || ends_with(name, ".index.json")) return false;
    return ends_with(name, ".json") || ends_with(name, ".jinja") || ends_with(name, ".txt") ||
           ends_with(name, ".model");
}

static mlxn_status copy_file(const char *source, const char *path, const char *name, bool overwrite,
                             mlxn_error *error) {
    char *from = mlxn_path_in(source, name);
    if (!from) return mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for a path");
    struct stat info;
    mlxn_mapping map = {0};
    mlxn_status status = MLXN_OK;
    if (stat(from, &info) || !S_ISREG(info.st_mode) || info.st_size > MOST_BYTES) {
        mlxn_free(from); /* not what it looks like: left out */
        return MLXN_OK;
    }
    if (info.st_size) status = mlxn_map_file(from, &map, error);
    if (!status) status = mlxn_folder_write(path, name, map.data, map.size, overwrite, error);
    mlxn_unmap_file(&map);
    mlxn_free(from);
    return status;
}

mlxn_status mlxn_folder_copy(const char *source, const char *path, bool overwrite, mlxn_error *error) {
    DIR *dir = opendir(source);
    if (!dir) return mlxn_fail_errno(error, source, "cannot open the folder");
    mlxn_status status = MLXN_OK;
    for (struct dirent *e; !status && (e = readdir(dir));)
        if (is_copied(e->d_name)) status = copy_file(source, path, e->d_name, overwrite, error);
    closedir(dir);
    return status;
}
