/* model_folder.c: what a folder has beside hyper-parameters and tensors: its name, its end tokens, and its tokenizer
 * with the chat template. */
#include <stdio.h>
#include <sys/stat.h>

#include "lm/lm_internal.h"

enum { MAX_ENDS = 1000 }; /* of one file */

/* Adds a token id, or each of a list of them. */
static mlxn_status add_ends(mlxn_model *m, const mlxn_config *config, const char *file,
                            const mlxn_config_value *value, mlxn_error *error) {
    mlxn_config_value one = *value;
    uint64_t n = value->type == MLXN_CONFIG_ARRAY ? value->v.count : 1;
    if (n > MAX_ENDS) {
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %s: key \"eos_token_id\" has %llu ids, want at most %d",
                         m->path_name, file, (unsigned long long)n, MAX_ENDS);
    }
    for (uint64_t i = 0; i < n; i++) {
        if (value->type == MLXN_CONFIG_ARRAY) (void)mlxn_config_element(config, value, i, &one);
        if (one.type != MLXN_CONFIG_INTEGER || one.v.i < 0 || one.v.i > INT32_MAX) {
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %s: key \"eos_token_id\" is no token id, want 0 to %d",
                             m->path_name, file, INT32_MAX);
        }
        mlxn_token *grown = mlxn_realloc_array(m->ends, m->n_ends + 1, sizeof *grown);
        if (!grown) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", m->path_name);
        m->ends = grown;
        m->ends[m->n_ends++] = (mlxn_token)one.v.i;
    }
    return MLXN_OK;
}

/* eos_token_id of one file of the folder, where it lies in "text_config" too. A file that is not there has none. */
static mlxn_status read_ends(mlxn_model *m, const char *folder, const char *file, mlxn_error *error) {
    static const char *const paths[] = {"eos_token_id", "text_config.eos_token_id"};
    size_t length = strlen(folder) + strlen(file) + 2;
    struct stat info;
    mlxn_config *config = NULL;
    mlxn_config_value value;
    char *path = mlxn_alloc(length);
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", m->path_name);
    snprintf(path, length, "%s/%s", folder, file);
    bool there = stat(path, &info) == 0;
    mlxn_status status = there ? mlxn_config_open(path, &config, error) : MLXN_OK;
    mlxn_free(path);
    if (status != MLXN_OK) mlxn_error_prefix(error, "%s", m->path_name);
    for (int i = 0; config && status == MLXN_OK && i < 2; i++) {
        if (!mlxn_config_find(config, paths[i], &value) || value.type == MLXN_CONFIG_NULL) continue;
        status = add_ends(m, config, file, &value, error);
        break;
    }
    mlxn_config_destroy(config);
    return status;
}

/* A folder without tokenizer.json is a model that takes and gives ids. */
static mlxn_status load_tokenizer(mlxn_model *m, const char *folder, mlxn_error *error) {
    static const char file[] = "tokenizer.json";
    size_t length = strlen(folder) + sizeof file + 1;
    struct stat info;
    char *path = mlxn_alloc(length);
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", m->path_name);
    snprintf(path, length, "%s/%s", folder, file);
    bool there = stat(path, &info) == 0;
    mlxn_free(path);
    if (!there) return MLXN_OK;
    mlxn_status status = mlxn_tokenizer_load_folder(folder, &m->tokenizer, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "%s", m->path_name);
        return status;
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_prepare_folder(mlxn_model *model, const char *path, mlxn_error *error) {
    model->name = mlxn_strdup(model->path_name);
    if (!model->name) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", model->path_name);
    mlxn_status status = read_ends(model, path, "config.json", error);
    if (status == MLXN_OK) status = read_ends(model, path, "generation_config.json", error);
    return status != MLXN_OK ? status : load_tokenizer(model, path, error);
}
