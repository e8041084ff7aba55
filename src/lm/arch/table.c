/* table.c: the architectures, one row each. Adding one: a file beside this one, a line here. */
#include "lm/lm_internal.h"

extern const mlxn_lm_arch mlxn_lm_arch_gemma3, mlxn_lm_arch_llama, mlxn_lm_arch_qwen2;

static const mlxn_lm_arch *const rows[] = {&mlxn_lm_arch_gemma3, &mlxn_lm_arch_llama, &mlxn_lm_arch_qwen2};

const char *mlxn_lm_arch_names(void) { return "gemma3, llama, qwen2"; }

const mlxn_lm_arch *mlxn_lm_arch_find(mlxn_string name) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strlen(rows[i]->name) == name.size && memcmp(rows[i]->name, name.data, name.size) == 0) return rows[i];
    }
    return NULL;
}
