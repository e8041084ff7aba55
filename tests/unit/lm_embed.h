/* lm_embed.h: the tiny embedding models of make_embed.py as folders of sentence-transformers. */
#ifndef MLXN_TESTS_LM_EMBED_H
#define MLXN_TESTS_LM_EMBED_H

#include "lm_folder.h"

static inline void fm_write_json(const char *folder, const char *name, const json_t *value) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    mkdir(path, 0777); /* it may be there */
    *slash = '/';
    CHECK(!json_dump_file(value, path, 0), "%s", path);
}

static inline void fm_write_dense(const char *folder, json_t *layer) {
    fm_tensor tensors[2];
    char names[2][40], path[600];
    size_t i, n = json_array_size(layer);
    json_t *one;
    mlxn_safetensors_writer *w = NULL;
    mlxn_error error = {0};
    const char *full = json_string_value(json_array_get(json_array_get(layer, 0), 0));
    snprintf(path, sizeof path, "%s/%.*s", folder, (int)strcspn(full, "."), full);
    CHECK(!mlxn_safetensors_writer_create(path, 0, true, &w, &error), "%s", error.message);
    json_array_foreach(layer, i, one) {
        json_t *dims = json_array_get(one, 1);
        fm_tensor *t = &tensors[i];
        *t = (fm_tensor){.name = json_string_value(json_array_get(one, 0)),
                         .dtype = "F32",
                         .rank = (uint32_t)json_array_size(dims),
                         .elements = 1,
                         .spread = json_number_value(json_array_get(one, 4))};
        for (uint32_t k = 0; k < t->rank; k++) {
            t->dims[k] = (uint64_t)json_integer_value(json_array_get(dims, k));
            t->elements *= t->dims[k];
        }
        snprintf(names[i], sizeof names[i], "%s", strchr(t->name, '.') + 1);
        CHECK(!mlxn_safetensors_writer_add(w, names[i], MLXN_ST_F32, t->rank, t->dims, &error), "%s", error.message);
    }
    for (i = 0; i < n; i++) {
        float *values = fm_values(&tensors[i]); /* by the full name */
        CHECK(!mlxn_safetensors_writer_write(w, values, tensors[i].elements * 4, &error), "%s", error.message);
        free(values);
    }
    CHECK(!mlxn_safetensors_writer_finish(&w, &error), "%s", error.message);
}

static inline const char *fm_write_model(const fm *m, fm_rule rule, const void *user) {
    const char *folder = fm_write(m, 0, rule, user), *name;
    json_t *value;
    size_t i;
    json_object_foreach(json_object_get(m->root, "files"), name, value) fm_write_json(folder, name, value);
    json_array_foreach(json_object_get(m->root, "dense"), i, value) fm_write_dense(folder, value);
    return folder;
}

static inline void fm_remove_model(const char *folder) {
    static const char *const subs[] = {"1_Pooling", "2_Dense", "3_Dense"};
    char path[300];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, subs[i]);
        if (!access(path, F_OK)) fm_remove_folder(path);
    }
    fm_remove_folder(folder);
}

#endif
