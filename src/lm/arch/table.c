/* table.c: the architectures, one row each. Adding one: a file beside this one, a word here. */
#include "lm/lm_internal.h"

#define ARCHITECTURES(X) X(gemma3) X(llama) X(qwen2)

#define DECLARE(name) extern const mlxn_lm_arch mlxn_lm_arch_##name;
ARCHITECTURES(DECLARE)
#define ROW(name) &mlxn_lm_arch_##name,
static const mlxn_lm_arch *const rows[] = {ARCHITECTURES(ROW)};
#define NAME(name) ", " #name
const char *mlxn_lm_arch_names(void) { return ARCHITECTURES(NAME) + 2; }

const mlxn_lm_arch *mlxn_lm_arch_find(mlxn_string name) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strlen(rows[i]->name) == name.size && memcmp(rows[i]->name, name.data, name.size) == 0) return rows[i];
    }
    return NULL;
}
