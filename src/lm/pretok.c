/* pretok.c: how byte-level BPE cuts a text into pieces before joining, by regular expressions (PCRE2).
 *
 * The expressions are those that the models' makers published in their tokenizer files. Each of a row's expressions
 * is applied to the pieces that the one before it left; what lies between two matches is a piece too. White space is
 * spelled out, because \s of PCRE2 also means U+180E, which Unicode's White_Space (and the tokenizers that trained
 * these vocabularies) does not. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "lm/tok_internal.h"
#include "lm/utf8.h"

#define WHITE "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
/* With the digits of Unicode 15, which a PCRE2 before 10.43 does not know: ids must not depend on its version. */
#define N "\\p{N}\\x{11f50}-\\x{11f59}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}"
#define LAST_SPACES "[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?[" N "]+| ?[^" WHITE "\\p{L}" N "]+|" LAST_SPACES
#define CASELESS "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define LLAMA3(count)                                                                                     \
    CASELESS "|[^\\r\\n\\p{L}" N "]?\\p{L}+|[" N "]" count "| ?[^" WHITE "\\p{L}" N "]+[\\r\\n]*|[" WHITE \
             "]*[\\r\\n]+|" LAST_SPACES

struct mlxn_pretok {
    const char *name;
    const char *expressions[4];
    bool ignores_merges, adds_bos;
};

static const mlxn_pretok rows[] = {
    {"smollm", {"[" N "]", GPT2}, false, false},
    {"qwen2", {LLAMA3("")}, false, false},
    {"gpt-2", {GPT2}, false, false},
    {"llama-bpe", {LLAMA3("{1,3}")}, true, true},
    {"default", {"[\\p{P}$+<=>^~|]+", GPT2, "[" N "]+", "[0-9][0-9][0-9]"}, false, false},
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

/* PCRE2's memory is ours, so that tests can make it fail. */
static void *regex_alloc(size_t bytes, void *user) {
    (void)user;
    return mlxn_alloc(bytes);
}
static void regex_free(void *memory, void *user) {
    (void)user;
    mlxn_free(memory);
}

static mlxn_status compile(mlxn_tokenizer *tok, pcre2_compile_context *context, mlxn_error *error) {
    for (uint32_t i = tok->n_regex; i < 4 && tok->pretok->expressions[i]; i++) {
        int code;
        PCRE2_SIZE offset;
        pcre2_code *regex = pcre2_compile((PCRE2_SPTR)tok->pretok->expressions[i], PCRE2_ZERO_TERMINATED,
                                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, context);
        if (!regex && (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED))
            return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for the pre-tokenizer \"%s\"",
                             tok->pretok->name);
        if (!regex)
            return mlxn_fail_code(error, MLXN_ERR_INTERNAL, code,
                                  "tokenize: pre-tokenizer \"%s\", expression %u: PCRE2 error %d at %zu",
                                  tok->pretok->name, i, code, (size_t)offset);
        /* A system that forbids new machine code refuses; then the interpreter runs. */
        (void)pcre2_jit_compile(regex, PCRE2_JIT_COMPLETE);
        tok->regex[tok->n_regex++] = regex;
    }
    return MLXN_OK;
}

static mlxn_status prepare(mlxn_tokenizer *tok, mlxn_error *error) {
    if (atomic_load_explicit(&tok->regex_ready, memory_order_acquire)) return MLXN_OK;
    pthread_mutex_lock(&tok->regex_lock);
    mlxn_status status = MLXN_OK;
    if (!atomic_load_explicit(&tok->regex_ready, memory_order_relaxed)) {
        pcre2_general_context *general = pcre2_general_context_create(regex_alloc, regex_free, NULL);
        pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
        status = context ? compile(tok, context, error)
                         : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for the pre-tokenizer");
        pcre2_compile_context_free(context);
        pcre2_general_context_free(general);
    }
    if (status == MLXN_OK) atomic_store_explicit(&tok->regex_ready, true, memory_order_release);
    pthread_mutex_unlock(&tok->regex_lock);
    return status;
}

void mlxn_pretok_free(mlxn_tokenizer *tok) {
    for (uint32_t i = 0; i < tok->n_regex; i++) pcre2_code_free(tok->regex[i]);
    tok->n_regex = 0;
}

typedef struct cuts {
    uint32_t *ends;
    size_t count, capacity;
} cuts;

static bool cut(cuts *c, uint32_t end) {
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? c->capacity * 2 : 256;
        uint32_t *grown = mlxn_realloc_array(c->ends, capacity, sizeof *grown);
        if (!grown) return false;
        c->ends = grown;
        c->capacity = capacity;
    }
    c->ends[c->count++] = end;
    return true;
}

/* Runs of well-formed and of ill-formed text: the expressions see only the former. */
static bool cut_ill_formed(const char *text, uint32_t n, cuts *out) {
    bool last = true; /* is the run well-formed? */
    for (uint32_t i = 0, length; i < n; i += length) {
        uint64_t word = UINT64_MAX;
        if (last && n - i >= 8) memcpy(&word, text + i, 8);
        length = 8;
        if (!(word & 0x8080808080808080u)) continue; /* eight bytes of ASCII at a time */
        length = mlxn_utf8_read(text + i, n - i, NULL, NULL);
        bool good = length != 0;
        if (good != last && i && !cut(out, i)) return false;
        last = good;
        if (!good) length = 1;
    }
    return cut(out, n);
}

/* Cuts each piece of `in` by one expression. */
static mlxn_status cut_by(const mlxn_tokenizer *tok, pcre2_code *regex, pcre2_match_data *found,
                          pcre2_match_context *limits, const char *text, const cuts *in, cuts *out,
                          mlxn_error *error) {
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(found);
    uint32_t start = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < in->count; i++) {
        uint32_t end = in->ends[i];
        /* Ill-formed runs begin with a byte that no character begins with or that is followed by no good one. */
        uint32_t at = mlxn_utf8_read(text + start, end - start, NULL, NULL) ? start : end;
        while (ok && at < end) {
            int rc = pcre2_match(regex, (PCRE2_SPTR)text + start, end - start, at - start, PCRE2_NO_UTF_CHECK, found,
                                 limits);
            if (rc == PCRE2_ERROR_NOMATCH) break;
            if (rc == PCRE2_ERROR_NOMEMORY)
                return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory to match \"%s\"", tok->pretok->name);
            if (rc < 0)
                return mlxn_fail_code(error, MLXN_ERR_INTERNAL, rc,
                                      "tokenize: pre-tokenizer \"%s\": PCRE2 error %d at byte %u", tok->pretok->name,
                                      rc, at);
            uint32_t first = start + (uint32_t)range[0], last = start + (uint32_t)range[1];
            if (first > at) ok = cut(out, first);
            if (ok && last < end) ok = cut(out, last);
            at = last > first ? last : end; /* no row matches the empty string */
        }
        ok = ok && cut(out, end);
        start = end;
    }
    return ok ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for the pieces of the text");
}

mlxn_status mlxn_pretok_split(mlxn_tokenizer *tok, const char *text, uint32_t n, uint32_t **ends, size_t *n_ends,
                              mlxn_error *error) {
    *ends = NULL;
    *n_ends = 0;
    mlxn_status status = prepare(tok, error);
    if (status != MLXN_OK) return status;
    cuts now = {0}, next = {0};
    pcre2_general_context *general = pcre2_general_context_create(regex_alloc, regex_free, NULL);
    pcre2_match_data *found = general ? pcre2_match_data_create(1, general) : NULL;
    pcre2_match_context *limits = general ? pcre2_match_context_create(general) : NULL;
    bool ok = found && limits && cut_ill_formed(text, n, &now);
    /* Backtracking is at most one step per byte of a run of white space; the limit only guards against a mistake
     * here. */
    if (ok) pcre2_set_match_limit(limits, 10000000u + 4u * n);
    if (!ok) status = mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for the pieces of the text");
    for (uint32_t i = 0; status == MLXN_OK && i < tok->n_regex; i++) {
        next.count = 0;
        status = cut_by(tok, tok->regex[i], found, limits, text, &now, &next, error);
        cuts swap = now;
        now = next;
        next = swap;
    }
    pcre2_match_data_free(found);
    pcre2_match_context_free(limits);
    pcre2_general_context_free(general);
    mlxn_free(next.ends);
    if (status != MLXN_OK) {
        mlxn_free(now.ends);
        return status;
    }
    *ends = now.ends;
    *n_ends = now.count;
    return MLXN_OK;
}
