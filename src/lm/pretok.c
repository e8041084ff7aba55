/* pretok.c: how byte-level BPE cuts a text into pieces: the regular expressions that the models' makers published,
 * and the names under which GGUF files mean them.
 *
 * Each of a row's expressions is applied to the pieces that the one before it left; what lies between two matches is
 * a piece too. All of them are linear in the text: no repeat is followed by something that could fail after it for
 * more than one alternative, so tokenizer.json files that hold one of them run it as machine code. */
#include <stdio.h>

#include "lm/tok_internal.h"

#define LAST_SPACES "\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" LAST_SPACES
#define LLAMA3(count)                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" count \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" LAST_SPACES
#define O200K_WORD(first, second) "[^\\r\\n\\p{L}\\p{N}]?[" first "]" second
#define O200K_LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define O200K_UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define O200K_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" LAST_SPACES
#define O200K_SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

struct mlxn_pretok {
    const char *name;
    const char *expressions[4];
    bool ignores_merges, adds_bos;
};

static const mlxn_pretok rows[] = {
    {"smollm", {"\\p{N}", GPT2}, false, false},
    {"qwen2", {LLAMA3("")}, false, false},
    {"gpt-2", {GPT2}, false, false},
    {"llama-bpe", {LLAMA3("{1,3}")}, true, true},
    {"default", {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
};

/* Further expressions of tokenizer.json files: GPT-4o and what follows it, with and without endings of words, and
 * Mistral's. */
static const char *const known[] = {
    O200K_WORD(O200K_UPPER, "*[" O200K_LOWER "]+" O200K_SUFFIX) "|" O200K_WORD(
        O200K_UPPER, "+[" O200K_LOWER "]*" O200K_SUFFIX) "|\\p{N}{1,3}" O200K_REST,
    O200K_WORD(O200K_UPPER, "*[" O200K_LOWER "]+") "|" O200K_WORD(O200K_UPPER,
                                                                  "+[" O200K_LOWER "]*") "|\\p{N}" O200K_REST,
};

/* Other names under which converters write the same rules. */
/* clang-format off */
static const struct {
    const char *name, *same_as;
} aliases[] = {
    {"llama3", "llama-bpe"},  {"llama-v3", "llama-bpe"}, {"falcon3", "llama-bpe"},  {"falcon-h1", "llama-bpe"},
    {"pixtral", "llama-bpe"}, {"lfm2", "llama-bpe"},     {"midm-2.0", "llama-bpe"}, {"megrez", "qwen2"},
    {"stablelm2", "qwen2"},   {"hunyuan", "qwen2"},      {"solar-open", "qwen2"},   {"deepseek-r1-qwen", "qwen2"},
    {"kormo", "qwen2"},       {"phi-2", "gpt-2"},        {"mpt", "gpt-2"},          {"olmo", "gpt-2"},
    {"jais", "gpt-2"},        {"exaone4", "gpt-2"},      {"trillion", "gpt-2"},     {"mellum", "gpt-2"},
    {"gigachat", "gpt-2"},    {"starcoder", "smollm"},   {"refact", "smollm"},      {"command-r", "smollm"},
    {"codeshell", "smollm"},  {"exaone", "smollm"},      {"minerva-7b", "smollm"},
};
/* clang-format on */

static bool is(mlxn_string s, const char *text) {
    return s.size == strlen(text) && memcmp(s.data, text, s.size) == 0;
}

const char *mlxn_regex_known(size_t i) {
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (size_t j = 0; j < 4 && rows[k].expressions[j]; j++)
            if (!i--) return rows[k].expressions[j];
    return i < sizeof known / sizeof *known ? known[i] : NULL;
}

bool mlxn_regex_is_known(mlxn_string source) {
    const char *text;
    for (size_t i = 0; (text = mlxn_regex_known(i)); i++)
        if (is(source, text)) return true;
    return false;
}

const mlxn_pretok *mlxn_pretok_find(mlxn_string name) {
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (is(name, aliases[i].name)) name = (mlxn_string){aliases[i].same_as, strlen(aliases[i].same_as)};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (is(name, rows[i].name)) return &rows[i];
    return NULL;
}

const char *mlxn_pretok_name(const mlxn_pretok *pretok) { return pretok->name; }
bool mlxn_pretok_ignores_merges(const mlxn_pretok *pretok) { return pretok->ignores_merges; }
bool mlxn_pretok_adds_bos(const mlxn_pretok *pretok) { return pretok->adds_bos; }

void mlxn_pretok_names(char *out, size_t size) {
    size_t at = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s\"%s\"", i ? ", " : "", rows[i].name);
}

static mlxn_status add_expression(mlxn_tokenizer *tok, const char *expression, mlxn_error *error) {
    mlxn_tok_step step = {.op = MLXN_SPLIT_PATTERN, .behavior = MLXN_ISOLATED};
    mlxn_status status =
        mlxn_regex_create((mlxn_string){expression, strlen(expression)}, "tokenizer", &step.regex, error);
    return status == MLXN_OK ? mlxn_tok_steps_add(&tok->splitters, &step, error) : status;
}

mlxn_status mlxn_pretok_install(mlxn_tokenizer *tok, const mlxn_pretok *pretok, mlxn_error *error) {
    for (size_t i = 0; i < 4 && pretok->expressions[i]; i++) {
        mlxn_status status = add_expression(tok, pretok->expressions[i], error);
        if (status != MLXN_OK) return status;
    }
    return mlxn_tok_steps_add(&tok->splitters, &(mlxn_tok_step){.op = MLXN_SPLIT_BYTE_LEVEL}, error);
}

mlxn_status mlxn_pretok_byte_level(mlxn_tokenizer *tok, bool space, bool expression, mlxn_error *error) {
    mlxn_tok_step step = {.op = MLXN_SPLIT_BYTE_LEVEL, .flag = {space, true}};
    mlxn_status status = MLXN_OK;
    if (space) status = mlxn_tok_steps_add(&tok->splitters, &step, error);
    if (status == MLXN_OK && expression) status = add_expression(tok, GPT2, error);
    return status == MLXN_OK
               ? mlxn_tok_steps_add(&tok->splitters, &(mlxn_tok_step){.op = MLXN_SPLIT_BYTE_LEVEL}, error)
               : status;
}
