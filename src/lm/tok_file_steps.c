/* tok_file_steps.c: normalizer, pre_tokenizer and decoder of tokenizer.json as lists of steps. Sequences, which may
 * hold sequences, become one list. */
#include <stdio.h>

#include "lm/tok_json.h"
#include "lm/utf8.h"

enum { MAX_NESTING = 8, MAX_STEPS = 256 };

typedef mlxn_status (*step_fn)(mlxn_tokenizer *, const mlxn_tj *, const mlxn_tj_at *, int);

/* The elements of a Sequence. */
static mlxn_status sequence(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, const char *list, int depth,
                            step_fn each) {
    mlxn_tj_at all, one;
    mlxn_status status = mlxn_tj_array(tj, at, list, &all);
    if (!status && depth >= MAX_NESTING)
        return mlxn_tj_fail(tj, at, MLXN_ERR_LIMIT, "nested deeper than %d", MAX_NESTING);
    for (uint64_t i = 0; !status && mlxn_tj_element(tj, &all, i, &one); i++) status = each(tok, tj, &one, depth + 1);
    return status;
}

/* The text of a member, kept. */
static mlxn_status text_of(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, const char *name,
                           mlxn_string *out) {
    mlxn_string text;
    mlxn_status status = mlxn_tj_string(tj, at, name, true, &text);
    return status ? status : mlxn_tok_keep_string(tok, text, out, tj->error);
}

/* A member that is one character; its code, too. */
static mlxn_status character_of(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, const char *name,
                                mlxn_string *out, uint64_t *code) {
    mlxn_tj_at own;
    uint32_t value = 0;
    mlxn_status status = text_of(tok, tj, at, name, out);
    if (status) return status;
    (void)mlxn_tj_member(tj, at, name, &own);
    if (!out->size || mlxn_utf8_read(out->data, (size_t)out->size, &value, NULL) != out->size)
        return mlxn_tj_fail(tj, &own, MLXN_ERR_FORMAT, "is \"%.*s\", want one character",
                            (int)mlxn_min_u64(out->size, 20), out->data);
    if (code) *code = value;
    return MLXN_OK;
}

/* {"String": "..."} or {"Regex": "..."}; Split also takes a plain string. */
static mlxn_status pattern_of(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, mlxn_tok_step *step) {
    mlxn_tj_at pattern, own;
    char where[300];
    if (!mlxn_tj_member(tj, at, "pattern", &pattern))
        return mlxn_tj_fail(tj, &pattern, MLXN_ERR_NOT_FOUND, "is missing");
    if (pattern.value.type == MLXN_CONFIG_STRING) return text_of(tok, tj, at, "pattern", &step->text);
    if (mlxn_tj_member(tj, &pattern, "String", &own)) return text_of(tok, tj, &pattern, "String", &step->text);
    if (!mlxn_tj_member(tj, &pattern, "Regex", &own) || own.value.type != MLXN_CONFIG_STRING)
        return mlxn_tj_fail(tj, &pattern, MLXN_ERR_FORMAT, "has neither a String nor a Regex");
    mlxn_tj_where(tj, &own, where, sizeof where);
    return mlxn_regex_create(own.value.v.s, where, &step->regex, tj->error);
}

static mlxn_status behavior_of(const mlxn_tj *tj, const mlxn_tj_at *at, bool wanted, mlxn_tok_behavior *out) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    mlxn_tj_at own;
    mlxn_string text = {NULL, 0};
    mlxn_status status = mlxn_tj_string(tj, at, "behavior", wanted, &text);
    if (status || !text.data) return status;
    for (int i = 0; i < 5; i++) {
        if (!mlxn_tok_is(text, names[i])) continue;
        *out = (mlxn_tok_behavior)i;
        return MLXN_OK;
    }
    (void)mlxn_tj_member(tj, at, "behavior", &own);
    return mlxn_tj_fail(tj, &own, MLXN_ERR_UNSUPPORTED,
                        "\"%.*s\" is none of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous",
                        (int)mlxn_min_u64(text.size, 40), text.data);
}

/* What all three do with a step that was read: report, or add it. */
static mlxn_status finish(mlxn_tok_steps *steps, const mlxn_tj *tj, const mlxn_tj_at *at, const mlxn_tok_step *step,
                          mlxn_status status) {
    if (!status && steps->count >= MAX_STEPS)
        status = mlxn_tj_fail(tj, at, MLXN_ERR_LIMIT, "more than %d steps", MAX_STEPS);
    if (!status) return mlxn_tok_steps_add(steps, step, tj->error);
    mlxn_regex_destroy(step->regex);
    return status;
}

/* The row of the element's type; -1 and an error if there is none. */
typedef struct type_row {
    const char *type;
    int op; /* -1: Sequence */
} type_row;

static mlxn_status type_of(const mlxn_tj *tj, const mlxn_tj_at *at, const type_row *rows, size_t n, int *op) {
    mlxn_tj_at own;
    mlxn_string type;
    mlxn_status status = mlxn_tj_string(tj, at, "type", true, &type);
    if (status) return status;
    for (size_t i = 0; i < n; i++) {
        if (!mlxn_tok_is(type, rows[i].type)) continue;
        *op = rows[i].op;
        return MLXN_OK;
    }
    (void)mlxn_tj_member(tj, at, "type", &own);
    return mlxn_tj_fail(tj, &own, MLXN_ERR_UNSUPPORTED, "\"%.*s\" is not supported", (int)mlxn_min_u64(type.size, 40),
                        type.data);
}

/* ---- normalizers ---- */

static int base64_digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static mlxn_status charsmap(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, mlxn_tok_step *step) {
    mlxn_tj_at own;
    mlxn_string text;
    mlxn_status status = mlxn_tj_string(tj, at, "precompiled_charsmap", true, &text);
    if (status) return status;
    (void)mlxn_tj_member(tj, at, "precompiled_charsmap", &own);
    char where[300], *data = mlxn_tok_keep(tok, (size_t)text.size / 4 * 3 + 4);
    if (!data) return mlxn_tj_fail(tj, &own, MLXN_ERR_MEMORY, "no memory");
    uint64_t size = 0, n = text.size;
    while (n && text.data[n - 1] == '=') n--;
    uint32_t bits = 0;
    for (uint64_t i = 0; i < n; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0) return mlxn_tj_fail(tj, &own, MLXN_ERR_FORMAT, "is not base64 at %llu", (unsigned long long)i);
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4) data[size++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    mlxn_tj_where(tj, &own, where, sizeof where);
    return mlxn_charsmap_check((mlxn_string){data, size}, step, where, tj->error);
}

static mlxn_status bert(const mlxn_tj *tj, const mlxn_tj_at *at, mlxn_tok_step *step) {
    bool *flag = step->flag;
    for (int i = 0; i < 4; i++) flag[i] = true;
    mlxn_status status = mlxn_tj_bool(tj, at, "clean_text", &flag[0]);
    if (!status) status = mlxn_tj_bool(tj, at, "handle_chinese_chars", &flag[1]);
    if (!status) status = mlxn_tj_bool(tj, at, "lowercase", &flag[3]);
    flag[2] = flag[3]; /* unless the file says otherwise */
    return status ? status : mlxn_tj_bool(tj, at, "strip_accents", &flag[2]);
}

mlxn_status mlxn_tf_normalizer(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth) {
    static const type_row rows[] = {{"Sequence", -1},
                                    {"NFC", MLXN_NORM_NFC},
                                    {"NFD", MLXN_NORM_NFD},
                                    {"NFKC", MLXN_NORM_NFKC},
                                    {"NFKD", MLXN_NORM_NFKD},
                                    {"Lowercase", MLXN_NORM_LOWERCASE},
                                    {"Strip", MLXN_NORM_STRIP},
                                    {"StripAccents", MLXN_NORM_STRIP_ACCENTS},
                                    {"Replace", MLXN_NORM_REPLACE},
                                    {"Prepend", MLXN_NORM_PREPEND},
                                    {"Append", MLXN_NORM_APPEND},
                                    {"BertNormalizer", MLXN_NORM_BERT},
                                    {"Nmt", MLXN_NORM_NMT},
                                    {"Precompiled", MLXN_NORM_CHARSMAP},
                                    {"ByteLevel", MLXN_NORM_BYTE_LEVEL}};
    int op = 0;
    mlxn_status status = type_of(tj, at, rows, sizeof rows / sizeof *rows, &op);
    if (status) return status;
    if (op < 0) return sequence(tok, tj, at, "normalizers", depth, mlxn_tf_normalizer);
    mlxn_tok_step step = {.op = (mlxn_tok_op)op};
    switch (op) {
        case MLXN_NORM_STRIP:
            step.flag[0] = step.flag[1] = true;
            status = mlxn_tj_bool(tj, at, "strip_left", &step.flag[0]);
            if (!status) status = mlxn_tj_bool(tj, at, "strip_right", &step.flag[1]);
            break;
        case MLXN_NORM_REPLACE:
            status = pattern_of(tok, tj, at, &step);
            if (!status) status = text_of(tok, tj, at, "content", &step.content);
            break;
        case MLXN_NORM_PREPEND:
        case MLXN_NORM_APPEND:
            status = text_of(tok, tj, at, op == MLXN_NORM_PREPEND ? "prepend" : "append", &step.content);
            break;
        case MLXN_NORM_BERT:
            status = bert(tj, at, &step);
            break;
        case MLXN_NORM_CHARSMAP:
            status = charsmap(tok, tj, at, &step);
            break;
        default:
            break;
    }
    return finish(&tok->normalizers, tj, at, &step, status);
}

/* ---- pre-tokenizers ---- */

/* prepend_scheme, or add_prefix_space of older files. */
static mlxn_status scheme_of(const mlxn_tj *tj, const mlxn_tj_at *at, uint64_t *out) {
    static const char *const names[] = {"always", "first", "never"};
    mlxn_tj_at own;
    mlxn_string text = {NULL, 0};
    bool prefix = true;
    mlxn_status status = mlxn_tj_bool(tj, at, "add_prefix_space", &prefix);
    *out = prefix ? MLXN_PREPEND_ALWAYS : MLXN_PREPEND_NEVER;
    if (!status) status = mlxn_tj_string(tj, at, "prepend_scheme", false, &text);
    if (status || !text.data) return status;
    for (uint64_t i = 0; i < 3; i++) {
        if (!mlxn_tok_is(text, names[i])) continue;
        *out = i;
        return MLXN_OK;
    }
    (void)mlxn_tj_member(tj, at, "prepend_scheme", &own);
    return mlxn_tj_fail(tj, &own, MLXN_ERR_UNSUPPORTED, "\"%.*s\" is none of always, first, never",
                        (int)mlxn_min_u64(text.size, 40), text.data);
}

static mlxn_status byte_level(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at) {
    bool space = true, expression = true;
    mlxn_status status = mlxn_tj_bool(tj, at, "add_prefix_space", &space);
    if (!status) status = mlxn_tj_bool(tj, at, "use_regex", &expression);
    return status ? status : mlxn_pretok_byte_level(tok, space, expression, tj->error);
}

static mlxn_status bert_words(mlxn_tokenizer *tok, const mlxn_tj *tj) {
    static const mlxn_tok_step spaces = {.op = MLXN_SPLIT_WHITESPACE, .behavior = MLXN_REMOVED},
                               marks = {.op = MLXN_SPLIT_BERT_PUNCTUATION, .behavior = MLXN_ISOLATED};
    mlxn_status status = mlxn_tok_steps_add(&tok->splitters, &spaces, tj->error);
    return status ? status : mlxn_tok_steps_add(&tok->splitters, &marks, tj->error);
}

mlxn_status mlxn_tf_pre_tokenizer(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth) {
    static const type_row rows[] = {{"Sequence", -1},
                                    {"ByteLevel", MLXN_SPLIT_BYTE_LEVEL},
                                    {"Split", MLXN_SPLIT_PATTERN},
                                    {"Metaspace", MLXN_SPLIT_METASPACE},
                                    {"Whitespace", MLXN_SPLIT_WORDS},
                                    {"WhitespaceSplit", MLXN_SPLIT_WHITESPACE},
                                    {"Digits", MLXN_SPLIT_DIGITS},
                                    {"Punctuation", MLXN_SPLIT_PUNCTUATION},
                                    {"BertPreTokenizer", MLXN_SPLIT_BERT_PUNCTUATION},
                                    {"CharDelimiterSplit", MLXN_SPLIT_CHARACTER},
                                    {"UnicodeScripts", MLXN_SPLIT_SCRIPTS},
                                    {"FixedLength", MLXN_SPLIT_FIXED}};
    int op = 0;
    mlxn_status status = type_of(tj, at, rows, sizeof rows / sizeof *rows, &op);
    if (status) return status;
    if (op < 0) return sequence(tok, tj, at, "pretokenizers", depth, mlxn_tf_pre_tokenizer);
    if (tok->splitters.count > MAX_STEPS - 4)
        return mlxn_tj_fail(tj, at, MLXN_ERR_LIMIT, "more than %d steps", MAX_STEPS);
    if (op == MLXN_SPLIT_BYTE_LEVEL) return byte_level(tok, tj, at);
    if (op == MLXN_SPLIT_BERT_PUNCTUATION) return bert_words(tok, tj);
    mlxn_tok_step step = {.op = (mlxn_tok_op)op, .behavior = MLXN_REMOVED};
    bool one_by_one = false;
    switch (op) {
        case MLXN_SPLIT_PATTERN:
            status = pattern_of(tok, tj, at, &step);
            if (!status) status = behavior_of(tj, at, true, &step.behavior);
            if (!status) status = mlxn_tj_bool(tj, at, "invert", &step.invert);
            break;
        case MLXN_SPLIT_METASPACE:
            step.behavior = MLXN_MERGED_WITH_NEXT;
            step.flag[0] = true;
            status = character_of(tok, tj, at, "replacement", &step.text, NULL);
            if (!status) status = scheme_of(tj, at, &step.number);
            if (!status) status = mlxn_tj_bool(tj, at, "split", &step.flag[0]);
            break;
        case MLXN_SPLIT_DIGITS:
            status = mlxn_tj_bool(tj, at, "individual_digits", &one_by_one);
            step.behavior = one_by_one ? MLXN_ISOLATED : MLXN_CONTIGUOUS;
            break;
        case MLXN_SPLIT_PUNCTUATION:
            step.behavior = MLXN_ISOLATED;
            status = behavior_of(tj, at, false, &step.behavior);
            break;
        case MLXN_SPLIT_CHARACTER:
            status = character_of(tok, tj, at, "delimiter", &step.text, &step.number);
            break;
        case MLXN_SPLIT_SCRIPTS:
            step.invert = true; /* what lies between is left out */
            status = mlxn_regex_scripts(&step.regex, tj->error);
            break;
        case MLXN_SPLIT_FIXED:
            step.number = 5;
            status = mlxn_tj_uint(tj, at, "length", false, &step.number);
            if (!status && !step.number)
                status = mlxn_tj_fail(tj, at, MLXN_ERR_FORMAT, "length is 0, want at least 1");
            break;
        default:
            break;
    }
    return finish(&tok->splitters, tj, at, &step, status);
}

/* ---- decoders ---- */

mlxn_status mlxn_tf_decoder(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth) {
    static const type_row rows[] = {{"Sequence", -1},
                                    {"ByteLevel", MLXN_DECODE_BYTE_LEVEL},
                                    {"WordPiece", MLXN_DECODE_WORDPIECE},
                                    {"Metaspace", MLXN_DECODE_METASPACE},
                                    {"ByteFallback", MLXN_DECODE_BYTE_FALLBACK},
                                    {"Fuse", MLXN_DECODE_FUSE},
                                    {"Strip", MLXN_DECODE_STRIP},
                                    {"Replace", MLXN_DECODE_REPLACE},
                                    {"BPEDecoder", MLXN_DECODE_BPE},
                                    {"CTC", MLXN_DECODE_CTC}};
    int op = 0;
    uint64_t scheme = 0;
    mlxn_status status = type_of(tj, at, rows, sizeof rows / sizeof *rows, &op);
    if (status) return status;
    if (op < 0) return sequence(tok, tj, at, "decoders", depth, mlxn_tf_decoder);
    mlxn_tok_step step = {.op = (mlxn_tok_op)op};
    switch (op) {
        case MLXN_DECODE_WORDPIECE:
            step.flag[0] = true;
            status = text_of(tok, tj, at, "prefix", &step.text);
            if (!status) status = mlxn_tj_bool(tj, at, "cleanup", &step.flag[0]);
            break;
        case MLXN_DECODE_METASPACE:
            status = character_of(tok, tj, at, "replacement", &step.text, NULL);
            if (!status) status = scheme_of(tj, at, &scheme);
            step.flag[0] = scheme != MLXN_PREPEND_NEVER;
            break;
        case MLXN_DECODE_STRIP:
            status = character_of(tok, tj, at, "content", &step.text, NULL);
            if (!status) status = mlxn_tj_uint(tj, at, "start", true, &step.number);
            if (!status) status = mlxn_tj_uint(tj, at, "stop", true, &step.number2);
            break;
        case MLXN_DECODE_REPLACE:
            status = pattern_of(tok, tj, at, &step);
            if (!status) status = text_of(tok, tj, at, "content", &step.content);
            break;
        case MLXN_DECODE_BPE:
            status = text_of(tok, tj, at, "suffix", &step.text);
            break;
        case MLXN_DECODE_CTC:
            step.flag[0] = true;
            status = text_of(tok, tj, at, "pad_token", &step.text);
            if (!status) status = text_of(tok, tj, at, "word_delimiter_token", &step.content);
            if (!status) status = mlxn_tj_bool(tj, at, "cleanup", &step.flag[0]);
            break;
        default:
            break;
    }
    return finish(&tok->decoders, tj, at, &step, status);
}
