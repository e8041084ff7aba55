/* tok_regex.c: compiling and matching with PCRE2, with limits on both. */
#include "lm/tok_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/base.h"

enum {
    MAX_SOURCE = 1 << 16,
    HEAP_KIB = 256 << 10, /* for backtracking */
    FIRST_STEPS = 128,    /* what a match may take without being charged */
    STEPS_PER_BYTE = 256,
    STEPS_AT_LEAST = 1000000
};

struct mlxn_regex {
    pcre2_code *code;
    bool known;
    char shown[64]; /* the beginning of the source, for messages */
};

/* PCRE2's memory is ours, so that tests can make it fail. */
static void *take(size_t bytes, void *user) {
    (void)user;
    return mlxn_alloc(bytes);
}
static void give(void *memory, void *user) {
    (void)user;
    mlxn_free(memory);
}

static bool is_memory(int code) { return code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED; }

static mlxn_status compile(mlxn_regex *regex, const char *text, const char *where, mlxn_error *error) {
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    if (!context) {
        pcre2_general_context_free(general);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for the regular expression", where);
    }
    int code = 0;
    PCRE2_SIZE offset = 0;
    PCRE2_UCHAR message[160] = "";
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    regex->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (!regex->code && is_memory(code))
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for the regular expression", where);
    if (!regex->code) {
        (void)pcre2_get_error_message(code, message, sizeof message);
        return mlxn_fail_code(error, MLXN_ERR_FORMAT, code, "%s: the regular expression \"%s\" is not usable: %s",
                              where, regex->shown, (const char *)message);
    }
    /* A system that forbids new machine code refuses; then the interpreter runs. */
    if (regex->known) (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    return MLXN_OK;
}

static mlxn_status create(mlxn_string shown, bool known, const char *text, const char *where, mlxn_regex **out,
                          mlxn_error *error) {
    *out = NULL;
    mlxn_regex *regex = mlxn_alloc(sizeof *regex);
    if (!regex) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for the regular expression", where);
    memcpy(regex->shown, shown.data, (size_t)mlxn_min_u64(shown.size, sizeof regex->shown - 1));
    regex->known = known;
    mlxn_status status = compile(regex, text, where, error);
    if (status != MLXN_OK) {
        mlxn_regex_destroy(regex);
        return status;
    }
    *out = regex;
    return MLXN_OK;
}

mlxn_status mlxn_regex_create(mlxn_string source, const char *where, mlxn_regex **out, mlxn_error *error) {
    *out = NULL;
    if (source.size > MAX_SOURCE)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: the regular expression has %llu bytes, at most %d", where,
                         (unsigned long long)source.size, MAX_SOURCE);
    char *text = NULL;
    mlxn_status status = mlxn_regex_translate(source, where, &text, error);
    if (status == MLXN_OK) status = create(source, mlxn_regex_is_known(source), text, where, out, error);
    mlxn_free(text);
    return status;
}

mlxn_status mlxn_regex_create_native(const char *text, const char *where, mlxn_regex **out, mlxn_error *error) {
    return create((mlxn_string){text, strlen(text)}, true, text, where, out, error);
}

void mlxn_regex_destroy(mlxn_regex *regex) {
    if (!regex) return;
    pcre2_code_free(regex->code);
    mlxn_free(regex);
}

bool mlxn_regex_begin(mlxn_regex_work *work, uint64_t n) {
    work->budget = STEPS_AT_LEAST + STEPS_PER_BYTE * n;
    if (work->limits) return true;
    if (!work->general) work->general = pcre2_general_context_create(take, give, NULL);
    if (work->general && !work->found) work->found = pcre2_match_data_create(1, work->general);
    if (work->found) work->limits = pcre2_match_context_create(work->general);
    if (!work->limits) return false;
    (void)pcre2_set_heap_limit(work->limits, HEAP_KIB);
    return true;
}

void mlxn_regex_work_free(mlxn_regex_work *work) {
    pcre2_match_context_free(work->limits);
    pcre2_match_data_free(work->found);
    pcre2_general_context_free(work->general);
    memset(work, 0, sizeof *work);
}

/* A match that takes more than a few steps is tried again with four times as many, which are taken from the budget:
 * PCRE2 does not tell how many it took. */
static int match_within(const mlxn_regex *regex, mlxn_regex_work *work, const char *text, uint32_t n, uint32_t at) {
    uint64_t steps = FIRST_STEPS;
    uint32_t options = PCRE2_NO_UTF_CHECK | (regex->known ? 0 : PCRE2_NO_JIT);
    if (regex->known) steps = UINT32_MAX;
    for (;;) {
        (void)pcre2_set_match_limit(work->limits, (uint32_t)steps);
        int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, n, at, options, work->found, work->limits);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !(options & PCRE2_NO_JIT)) {
            options |= PCRE2_NO_JIT;
            steps = FIRST_STEPS;
            continue;
        }
        if (rc != PCRE2_ERROR_MATCHLIMIT) return rc;
        steps *= 4;
        if (work->budget < steps || steps > UINT32_MAX) return rc;
        work->budget -= steps;
    }
}

mlxn_status mlxn_regex_next(const mlxn_regex *regex, mlxn_regex_work *work, const char *text, uint32_t n, uint32_t at,
                            uint32_t *start, uint32_t *end, mlxn_error *error) {
    *start = *end = UINT32_MAX;
    int rc = match_within(regex, work, text, n, at);
    if (rc == PCRE2_ERROR_NOMATCH) return MLXN_OK;
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT)
        return mlxn_fail_code(
            error, MLXN_ERR_LIMIT, rc,
            "tokenize: the regular expression \"%s\" backtracks too much at byte %u of %u: more than "
            "%d steps per byte or %d MiB",
            regex->shown, at, n, STEPS_PER_BYTE, HEAP_KIB >> 10);
    if (is_memory(rc)) return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory to match \"%s\"", regex->shown);
    if (rc < 0)
        return mlxn_fail_code(error, MLXN_ERR_FORMAT, rc,
                              "tokenize: the regular expression \"%s\" fails at byte %u of %u: PCRE2 error %d",
                              regex->shown, at, n, rc);
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(work->found);
    *start = (uint32_t)range[0];
    *end = (uint32_t)range[1];
    if (*start > *end) *start = *end; /* \K in a look-ahead */
    if (*start < at) *start = at;
    return MLXN_OK;
}
