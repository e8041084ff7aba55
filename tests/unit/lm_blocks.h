/* lm_blocks.h: the tiny gpt-oss as a folder of the form in which gpt-oss was published: experts as blocks of mxfp4.
 */
#ifndef MLXN_TESTS_LM_BLOCKS_H
#define MLXN_TESTS_LM_BLOCKS_H

#include "lm_folder.h"

/* The rule that goes with it; user: not NULL: dequantized. */
static const fm_quant fm_expert_quant = {MLXN_QUANT_MXFP4, 4, 32, MLXN_U8, false};

static inline const fm_quant *fm_experts_alone(const fm_tensor *t, const void *user) {
    static fm_quant out;
    if (t->rank != 3) return NULL;
    out = fm_expert_quant;
    out.dequantized = user != NULL;
    return &out;
}

static inline const fm_tensor *fm_partner(const fm *m, const fm_tensor *gate) {
    char name[160];
    const char *at = strstr(gate->name, "gate_proj");
    snprintf(name, sizeof name, "%.*sup_proj%s", (int)(at - gate->name), gate->name, at + strlen("gate_proj"));
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!strcmp(m->tensors[i].name, name)) return &m->tensors[i];
    return NULL;
}

/* Rows of a and b in turns (b NULL: those of a). */
static inline void fm_put_rows(mlxn_safetensors_writer *w, const uint8_t *a, const uint8_t *b, uint64_t rows,
                               uint64_t bytes) {
    mlxn_error error = {0};
    for (uint64_t r = 0; r < rows; r++) {
        CHECK(!mlxn_safetensors_writer_write(w, a + r * bytes, bytes, &error) &&
                  (!b || !mlxn_safetensors_writer_write(w, b + r * bytes, bytes, &error)),
              "%s", error.message);
    }
}

/* Declares, or writes, what stands for one tensor; the up parts go with the gates. */
static inline void fm_put_blocks(mlxn_safetensors_writer *w, const fm *m, const fm_tensor *t, bool declare) {
    const char *experts = strstr(t->name, ".experts.");
    bool gate = strstr(t->name, "gate_proj"), bias = strstr(t->name, ".bias");
    if (!experts) {
        if (declare)
            fm_declare(w, t, NULL);
        else
            fm_store(w, t, NULL);
        return;
    }
    if (strstr(t->name, "up_proj")) return;
    const fm_tensor *up = gate ? fm_partner(m, t) : NULL;
    mlxn_error error = {0};
    char name[160], part[200];
    snprintf(name, sizeof name, "%.*s%s", (int)(experts - t->name + 9), t->name, gate ? "gate_up_proj" : "down_proj");
    uint64_t turns = gate ? 2 : 1, dims[4] = {t->dims[0], t->dims[1] * turns, t->dims[2] / 32, 16};
    if (declare) {
        snprintf(part, sizeof part, "%s%s", name, bias ? "_bias" : "_blocks");
        CHECK(!mlxn_safetensors_writer_add(w, part, bias ? MLXN_ST_F32 : MLXN_ST_U8, bias ? 2 : 4, dims, &error),
              "%s", error.message);
        snprintf(part, sizeof part, "%s_scales", name);
        if (!bias) CHECK(!mlxn_safetensors_writer_add(w, part, MLXN_ST_U8, 3, dims, &error), "%s", error.message);
        return;
    }
    float *values = fm_values(t), *ups = up ? fm_values(up) : NULL;
    if (bias) {
        fm_put_rows(w, (uint8_t *)values, (uint8_t *)ups, t->elements, sizeof *values);
    } else {
        fm_coded a = fm_encode(t, &fm_expert_quant, values), b = {0};
        if (up) b = fm_encode(up, &fm_expert_quant, ups);
        fm_put_rows(w, a.codes, b.codes, fm_rows(t), a.row_bytes);
        fm_put_rows(w, a.scales, b.scales, fm_rows(t), a.groups);
        free(a.codes);
        free(b.codes);
    }
    free(values);
    free(ups);
}

static inline const char *fm_write_blocks(const fm *m) {
    const char *folder = fm_new_folder();
    mlxn_safetensors_writer *w = NULL;
    mlxn_error error = {0};
    CHECK(!mlxn_safetensors_writer_create(folder, 0, false, &w, &error), "%s", error.message);
    for (size_t i = 0; i < m->n_tensors; i++) fm_put_blocks(w, m, &m->tensors[i], true);
    for (size_t i = 0; i < m->n_tensors; i++) fm_put_blocks(w, m, &m->tensors[i], false);
    CHECK(!mlxn_safetensors_writer_finish(&w, &error), "%s", error.message);
    fm_write_config(m, folder);
    return folder;
}

#endif
