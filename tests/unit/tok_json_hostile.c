/* Promise: a megabyte of the least kind text (one letter, spaces, combining marks in every order, random bytes, one
 * word) goes through every kind of model, normalizer and pre-tokenizer of tokenizer.json, which quadratic work would
 * not let it in the time that the test runner allows; a regular expression that backtracks for ever gives an error
 * that names it; long tokens, deep classes and many added tokens do no harm; what is translated for PCRE2 cannot
 * change PCRE2's limits. */
#include "test.h"
#include "unit/tok_tiny.h"

enum { SIZE = 1 << 20 };

static uint64_t state = 9;
static uint32_t next_random(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void repeat(char *text, const char *pattern) {
    size_t n = strlen(pattern);
    for (size_t i = 0; i < SIZE; i++) text[i] = i - i % n + n <= SIZE ? pattern[i % n] : 'x';
}

/* Marks of different classes, so that each would have to move. */
static void marks(char *text) {
    static const char *const kinds[] = {"\xcc\x81", "\xcc\xa3", "\xcc\xb4", "\xcd\x9c", "\xd6\xb0", "\xd9\x90"};
    text[0] = text[1] = 'a';
    for (size_t i = 2; i < SIZE; i += 2) memcpy(text + i, kinds[next_random() % 6], 2);
}

static void fill(char *text, int kind) {
    static const char *const patterns[] = {"a",
                                           " ",
                                           "a ",
                                           "\n ",
                                           "=",
                                           "\xe4\xbd\xa0",
                                           "\xe2\x96\x81",
                                           "<s",
                                           "'",
                                           "1",
                                           "\xef\xbf\xbd",
                                           "\xf0\x9f\x91\xa8\xe2\x80\x8d",
                                           "ab"};
    if (kind < 13) {
        repeat(text, patterns[kind]);
    } else if (kind == 13) {
        marks(text);
    } else {
        for (size_t i = 0; i < SIZE; i++) text[i] = (char)(kind == 14 ? next_random() : 'a' + next_random() % 26);
    }
}

enum { KINDS = 16 };

static void run(const mlxn_tokenizer *tok, const char *text, size_t n, const char *what, int kind) {
    mlxn_token *ids = NULL;
    char *back = NULL;
    size_t n_ids = 0, n_back = 0;
    mlxn_error error = {0};
    CHECK(!mlxn_tokenizer_encode(tok, text, n, 0, &ids, &n_ids, &error), "%s, text %d: %s", what, kind,
          error.message);
    CHECK(!mlxn_tokenizer_decode(tok, ids, n_ids, true, &back, &n_back, &error), "%s, text %d: %s", what, kind,
          error.message);
    mlxn_free(ids);
    mlxn_free(back);
}

static void test_trained(char *text) {
    static const char *const names[] = {"bytebpe", "fallback", "wordpiece", "unigram"};
    for (int t = 0; t < 4; t++) {
        char path[100];
        mlxn_tokenizer *tok = NULL;
        mlxn_error error = {0};
        snprintf(path, sizeof path, "tests/vectors/tokenizer/json/%s.json", names[t]);
        CHECK(!mlxn_tokenizer_load(path, &tok, &error), "%s", error.message);
        for (int kind = 0; tok && kind < KINDS; kind++) {
            fill(text, kind);
            run(tok, text, SIZE, names[t], kind);
        }
        mlxn_tokenizer_destroy(tok);
    }
}

static mlxn_tokenizer *load(const char *json, mlxn_error *error) {
    mlxn_tokenizer *tok = NULL;
    (void)mlxn_tokenizer_from_json(json, strlen(json), NULL, 0, &tok, error);
    return tok;
}

#define BPE                                                                                                  \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,\"vocab\":{\"?\":0,\"a\":1,\"aa\":2," \
    "\"aaaa\":3,\"=\":4,\"==\":5},\"merges\":[\"a a\",\"aa aa\",\"= =\"]}}"
#define WIDE                                                                                      \
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"?\",\"continuing_subword_prefix\":\"##\"," \
    "\"max_input_chars_per_word\":10000000,\"vocab\":{\"?\":0,\"a\":1,\"##a\":2,\"##aa\":3,\"##aaaaaaaaaaaa\":4}}}"

/* Each step by itself over a quarter of a megabyte. */
static void test_steps(char *text) {
    static const char *const files[] = {
        "{\"normalizer\":{\"type\":\"NFC\"}," BPE,
        "{\"normalizer\":{\"type\":\"NFKD\"}," BPE,
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\"},{\"type\":\"Nmt\"},"
        "{\"type\":\"BertNormalizer\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"aaaaaaaaaaaaaaaaaaaaaaaab\"},\"content\":\" \"}]}," BPE,
        "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"DAAAAAAEAAABAAAAAAAAgGEA\"}," BPE,
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+$|\\\\w+|a*b|.\"},"
        "\"behavior\":\"MergedWithNext\"}," BPE,
        "{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," BPE,
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},{\"type\":\"Digits\"}"
        ","
        "{\"type\":\"Punctuation\"},{\"type\":\"BertPreTokenizer\"},{\"type\":\"FixedLength\",\"length\":7}]}," BPE,
        "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"a\"}," BPE,
        "{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}," WIDE,
        "{\"added_tokens\":[{\"id\":7,\"content\":\"<s>\",\"lstrip\":true,\"rstrip\":true},{\"id\":8,\"content\":\" "
        "\","
        "\"lstrip\":true},{\"id\":9,\"content\":\"aab\",\"single_word\":true}],\"decoder\":{\"type\":\"WordPiece\","
        "\"prefix\":\"##\",\"cleanup\":true}," BPE,
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        mlxn_error error = {0};
        char what[20];
        snprintf(what, sizeof what, "step %d", (int)i);
        mlxn_tokenizer *tok = load(files[i], &error);
        CHECK(tok, "%s: %s", what, error.message);
        for (int kind = 0; tok && kind < KINDS; kind++) {
            fill(text, kind);
            run(tok, text, SIZE / 4, what, kind);
        }
        mlxn_tokenizer_destroy(tok);
    }
}

/* Expressions that run as machine code, without a budget. */
static void test_known(char *text) {
    size_t count = 0;
    for (const char *regex; (regex = mlxn_regex_known(count)); count++) {
        static const char begin[] = "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"",
                          end[] = "\"},\"behavior\":\"Isolated\"}," BPE;
        char json[3000];
        size_t at = sizeof begin - 1;
        memcpy(json, begin, at);
        for (const char *c = regex; *c; c++) {
            if (*c == '\\') json[at++] = '\\';
            json[at++] = *c;
        }
        memcpy(json + at, end, sizeof end);
        mlxn_error error = {0};
        mlxn_tokenizer *tok = load(json, &error);
        CHECK(tok, "%s: %s", regex, error.message);
        for (int kind = 0; tok && kind < KINDS; kind++) {
            fill(text, kind);
            run(tok, text, SIZE / 4, regex, kind);
        }
        mlxn_tokenizer_destroy(tok);
    }
    CHECK(count > 8, "%d expressions", (int)count);
}

static void test_bombs(char *text) {
    static const char *const bombs[] = {"(a+)+$",     "(a|aa)+$",      "(?:a?){30}a{30}(?=b)",
                                        "(.*)*(?=b)", "a*a*a*a*(?=b)", "(?:(?:a+)+)+(?=b)"};
    repeat(text, "a");
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        char json[400];
        mlxn_error error = {0};
        mlxn_token *ids = NULL;
        size_t n = 0;
        snprintf(
            json, sizeof json,
            "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\"}," BPE,
            bombs[i]);
        mlxn_tokenizer *tok = load(json, &error);
        CHECK(tok, "%s: %s", bombs[i], error.message);
        if (!tok) continue;
        text[5000] = 'x'; /* nothing ends here */
        CHECK(mlxn_tokenizer_encode(tok, text, 6000, 0, &ids, &n, &error) == MLXN_ERR_LIMIT && !ids &&
                  strstr(error.message, bombs[i]) && strstr(error.message, "backtracks too much"),
              "%s: %s", bombs[i], error.message);
        CHECK(!mlxn_tokenizer_encode(tok, "aab a", 5, 0, &ids, &n, &error), "%s", error.message);
        mlxn_free(ids);
        mlxn_tokenizer_destroy(tok);
    }
}

/* Expressions that would be large or deep when compiled. */
static void test_compile_bombs(void) {
    static char json[70000], regex[60000];
    static const char *const starts[] = {
        "((((((((((a{1,100}){1,100}){1,100}){1,100}){1,100}){1,100}){1,100}){1,100})))"};
    for (int kind = 0; kind < 3; kind++) {
        regex[0] = 0;
        if (kind == 0) strcpy(regex, starts[0]);
        for (int i = 0; kind > 0 && i < 2000; i++) strcat(regex, kind == 1 ? "(" : "[a");
        snprintf(
            json, sizeof json,
            "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\"}," BPE,
            regex);
        mlxn_error error = {0};
        mlxn_tokenizer *tok = load(json, &error);
        CHECK(!tok && error.message[0] && strstr(error.message, "pre_tokenizer.pattern.Regex"), "kind %d: %s", kind,
              error.message);
        mlxn_tokenizer_destroy(tok);
    }
}

/* Ten thousand added tokens that begin alike, and one of 60,000 bytes. */
static void test_many_added(char *text) {
    size_t room = 2 << 20, at = 0;
    char *json = malloc(room);
    if (!json) exit(2);
    at += (size_t)snprintf(json + at, room - at, "{\"added_tokens\":[");
    for (int i = 0; i < 10000; i++)
        at += (size_t)snprintf(json + at, room - at, "{\"id\":%d,\"content\":\"aaaaaaaaaaaaaaaaaaaaaaaaa%d\"},",
                               10 + i, i);
    at += (size_t)snprintf(json + at, room - at, "{\"id\":10010,\"content\":\"");
    memset(json + at, 'a', 60000);
    at += 60000;
    snprintf(json + at, room - at, "\"}]," BPE);
    mlxn_error error = {0};
    mlxn_tokenizer *tok = load(json, &error);
    CHECK(tok, "%s", error.message);
    repeat(text, "aaaaaaaaaaaaaaaaaaaaaaaaa99");
    if (tok) run(tok, text, 1 << 16, "added", 0);
    mlxn_tokenizer_destroy(tok);
    free(json);
}

int main(void) {
    char *text = malloc(SIZE);
    if (!text) return 2;
    test_trained(text);
    test_steps(text);
    test_known(text);
    test_bombs(text);
    test_compile_bombs();
    test_many_added(text);
    free(text);
    return TEST_DONE();
}
