/* table.c: the architectures, one row each. Adding one: a file beside this one, a word here. */
#include "lm/lm_internal.h"

#define ARCHITECTURES(X)                                                                                    \
    X(deepseek_v2)                                                                                          \
    X(gemma2)                                                                                               \
    X(gemma3) X(gemma4) X(gpt_oss) X(llama) X(mistral) X(phi3) X(qwen2) X(qwen3) X(qwen3_moe) X(qwen3_next) \
        X(qwen3_5) X(qwen3_5_moe)

#define DECLARE(name) extern const mlxn_lm_arch mlxn_lm_arch_##name;
ARCHITECTURES(DECLARE)
#define ROW(name) &mlxn_lm_arch_##name,
static const mlxn_lm_arch *const rows[] = {ARCHITECTURES(ROW)};
#define NAME(name) ", " #name
const char *mlxn_lm_arch_names(void) { return ARCHITECTURES(NAME) + 2; }

/* True if `words`, separated by spaces, has the name. */
static bool has_word(const char *words, mlxn_string name) {
    while (words && *words) {
        size_t length = strcspn(words, " ");
        if (length == name.size && memcmp(words, name.data, length) == 0) return true;
        words += length + (words[length] == ' ');
    }
    return false;
}

const mlxn_lm_arch *mlxn_lm_arch_find(mlxn_string name, bool folder) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (has_word(folder ? rows[i]->folder : rows[i]->gguf, name)) return rows[i];
    return NULL;
}
