/* Promise: every normalizer, pre-tokenizer, model, template and decoder of tokenizer.json gives, with all its
 * options, what Hugging Face's library gives, and so do four tokenizers that it trained on 400 lines in 20 scripts,
 * code and noise, there and back. The files are made by tests/vectors/make_tokenizers.py; docs/TOKENIZERS.md names
 * what is left out. */
#include <mlxn/config.h>

#include "test.h"
#include "unit/tok_tiny.h"

#define FOLDER "tests/vectors/tokenizer/json/"

typedef mlxn_config_value value;

static mlxn_config *open_file(const char *name) {
    char path[200];
    mlxn_config *config = NULL;
    mlxn_error error = {0};
    snprintf(path, sizeof path, FOLDER "%s.json", name);
    CHECK(!mlxn_config_open(path, &config, &error), "%s", error.message);
    if (!config) exit(1);
    return config;
}

static value find(const mlxn_config *c, const char *path) {
    value out = {.type = MLXN_CONFIG_NULL};
    CHECK(mlxn_config_find(c, path, &out), "%s is missing", path);
    return out;
}

static value element(const mlxn_config *c, value of, uint64_t i) {
    value out = {.type = MLXN_CONFIG_NULL};
    (void)mlxn_config_element(c, &of, i, &out);
    return out;
}

static const char *shown(mlxn_string s) {
    static char texts[4][300];
    static int turn;
    char *out = texts[turn++ % 4];
    size_t at = 0;
    for (uint64_t i = 0; i < s.size && at < 280; i++) {
        uint8_t c = (uint8_t)s.data[i];
        at += (size_t)snprintf(out + at, 8, c < 0x20 ? "\\x%02x" : "%c", c);
    }
    out[at] = 0;
    return out;
}

static bool same(mlxn_string a, mlxn_string b) {
    return a.size == b.size && (a.size == 0 || !memcmp(a.data, b.data, (size_t)a.size));
}

static mlxn_tokenizer *load(mlxn_string json) {
    mlxn_tokenizer *tok = NULL;
    mlxn_error error = {0};
    mlxn_status status = mlxn_tokenizer_from_json(json.data, json.size, NULL, 0, &tok, &error);
    CHECK(!status, "%s: %s", shown(json), error.message);
    return tok;
}

/* A tokenizer of one part and a model of no interest. */
static mlxn_tokenizer *load_part(const char *part, mlxn_string spec) {
    static char json[1 << 16];
    int n = snprintf(json, sizeof json,
                     "{\"%s\":%.*s,\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0},\"unk_token\":\"a\"}}", part,
                     (int)spec.size, spec.data);
    return load((mlxn_string){json, (uint64_t)n});
}

static void test_normalizers(const mlxn_config *c, value samples) {
    value all = find(c, "normalizers");
    mlxn_tok_work work = {0};
    for (uint64_t i = 0; i < all.v.count; i++) {
        value row = element(c, all, i), spec = element(c, row, 0), want = element(c, row, 1);
        mlxn_tokenizer *tok = load_part("normalizer", spec.v.s);
        for (uint64_t k = 0; tok && k < samples.v.count; k++) {
            mlxn_string text = element(c, samples, k).v.s, expected = element(c, want, k).v.s;
            mlxn_error error = {0};
            CHECK(mlxn_regex_begin(&work.regex, text.size) &&
                      !mlxn_tok_normalize(&tok->normalizers, &work, text.data, (uint32_t)text.size, &error),
                  "%s", error.message);
            mlxn_string got = {work.normal.data, work.normal.size};
            CHECK(same(got, expected), "%s: \"%s\": got \"%s\", want \"%s\"", shown(spec.v.s), shown(text),
                  shown(got), shown(expected));
        }
        mlxn_tokenizer_destroy(tok);
    }
    CHECK(all.v.count > 50, "%d normalizers", (int)all.v.count);
    mlxn_tok_work_free(&work);
}

static void test_pre_tokenizers(const mlxn_config *c, value samples) {
    value all = find(c, "pre_tokenizers");
    mlxn_tok_work work = {0};
    for (uint64_t i = 0; i < all.v.count; i++) {
        value row = element(c, all, i), spec = element(c, row, 0), want = element(c, row, 1);
        mlxn_tokenizer *tok = load_part("pre_tokenizer", spec.v.s);
        for (uint64_t k = 0; tok && k < samples.v.count; k++) {
            mlxn_string text = element(c, samples, k).v.s;
            value pieces = element(c, want, k);
            mlxn_error error = {0};
            if (!text.size || pieces.type != MLXN_CONFIG_ARRAY) continue; /* the library failed */
            CHECK(mlxn_regex_begin(&work.regex, text.size) &&
                      !mlxn_tok_split(&tok->splitters, &work, text.data, (uint32_t)text.size, true, &error),
                  "%s", error.message);
            bool equal = work.cuts.count == pieces.v.count;
            for (uint64_t p = 0; equal && p < pieces.v.count; p++) {
                const mlxn_tok_cut *cut = &work.cuts.data[p];
                mlxn_string got = {work.pieces.data + cut->start, cut->end - cut->start};
                equal = same(got, element(c, pieces, p).v.s);
                if (!equal) fprintf(stderr, "piece %d is \"%s\"\n", (int)p, shown(got));
            }
            CHECK(equal, "%s: \"%s\": %d pieces, want %d", shown(spec.v.s), shown(text), (int)work.cuts.count,
                  (int)pieces.v.count);
        }
        mlxn_tokenizer_destroy(tok);
    }
    CHECK(all.v.count > 100, "%d pre-tokenizers", (int)all.v.count);
    mlxn_tok_work_free(&work);
}

/* U+FFFD for what is no character, as the library's strings have it. */
static mlxn_string well_formed(const mlxn_tok_texts *texts, char *out) {
    mlxn_utf8_stream stream = {{0}, 0};
    size_t n = 0;
    for (size_t i = 0; i < texts->cuts.count; i++) {
        const mlxn_tok_cut *cut = &texts->cuts.data[i];
        n += mlxn_utf8_push(&stream, texts->bytes.data + cut->start, cut->end - cut->start, out + n);
    }
    n += mlxn_utf8_finish(&stream, out + n);
    return (mlxn_string){out, n};
}

static void test_decoders(const mlxn_config *c) {
    value all = find(c, "decoders"), lists = find(c, "tokens");
    for (uint64_t i = 0; i < all.v.count; i++) {
        value row = element(c, all, i), spec = element(c, row, 0), want = element(c, row, 1);
        mlxn_tokenizer *tok = load_part("decoder", spec.v.s);
        for (uint64_t k = 0; tok && k < lists.v.count; k++) {
            value tokens = element(c, lists, k), expected = element(c, want, k);
            mlxn_tok_texts texts = {0};
            char out[2000];
            if (expected.type != MLXN_CONFIG_STRING) continue; /* the library failed */
            for (uint64_t t = 0; t < tokens.v.count; t++) {
                mlxn_string s = element(c, tokens, t).v.s;
                uint32_t start = (uint32_t)texts.bytes.size;
                CHECK(
                    mlxn_tok_append(&texts.bytes, s.data, s.size) &&
                        mlxn_tok_cut_add(&texts.cuts, (mlxn_tok_cut){start, start + (uint32_t)s.size, false, false}),
                    "memory");
            }
            CHECK(!mlxn_tok_decode_steps(&tok->decoders, &texts, NULL), "decode");
            mlxn_string got = well_formed(&texts, out);
            CHECK(same(got, expected.v.s), "%s, list %d: got \"%s\", want \"%s\"", shown(spec.v.s), (int)k,
                  shown(got), shown(expected.v.s));
            mlxn_tok_texts_free(&texts);
        }
        mlxn_tokenizer_destroy(tok);
    }
    CHECK(all.v.count > 15, "%d decoders", (int)all.v.count);
}

static void check_ids(const mlxn_config *c, const mlxn_tokenizer *tok, mlxn_string text, const char *second,
                      uint32_t flags, value want, const char *what) {
    mlxn_token *ids = NULL;
    size_t n = 0;
    mlxn_error error = {0};
    mlxn_status status = second ? mlxn_tokenizer_encode_pair(tok, text.data, text.size, second, strlen(second), flags,
                                                             &ids, &n, &error)
                                : mlxn_tokenizer_encode(tok, text.data, text.size, flags, &ids, &n, &error);
    CHECK(!status, "%s: %s", what, error.message);
    bool equal = n == want.v.count;
    for (size_t i = 0; equal && i < n; i++) equal = ids[i] == element(c, want, i).v.i;
    CHECK(equal, "%s: \"%s\" (flags %u, %s): %d ids, want %d; the first %d %d %d", what, shown(text), flags,
          second ? "pair" : "one", (int)n, (int)want.v.count, n > 0 ? (int)ids[0] : -1, n > 1 ? (int)ids[1] : -1,
          n > 2 ? (int)ids[2] : -1);
    mlxn_free_memory(ids);
}

static void check_decode(const mlxn_config *c, const mlxn_tokenizer *tok, value list, bool special, mlxn_string want,
                         const char *what) {
    mlxn_token *ids = malloc((list.v.count + 1) * sizeof *ids);
    for (uint64_t i = 0; i < list.v.count; i++) ids[i] = (mlxn_token)element(c, list, i).v.i;
    char *text = NULL;
    size_t n = 0;
    mlxn_error error = {0};
    CHECK(!mlxn_tokenizer_decode(tok, ids, list.v.count, special, &text, &n, &error), "%s: %s", what, error.message);
    CHECK(same((mlxn_string){text, n}, want), "%s: decoded \"%s\", want \"%s\"", what, shown((mlxn_string){text, n}),
          shown(want));
    mlxn_free_memory(text);
    free(ids);
}

/* text, ids, without specials, specials as plain text, pair with "a b", decoded, decoded without specials */
static void test_tokenizers(const mlxn_config *c) {
    value all = find(c, "tokenizers");
    for (uint64_t i = 0; i < all.v.count; i++) {
        value row = element(c, all, i), spec = element(c, row, 0), rows = element(c, row, 1);
        mlxn_tokenizer *tok = load(spec.v.s);
        char what[40];
        snprintf(what, sizeof what, "tokenizer %d", (int)i);
        for (uint64_t k = 0; tok && k < rows.v.count; k++) {
            value one = element(c, rows, k), ids = element(c, one, 1);
            mlxn_string text = element(c, one, 0).v.s;
            check_ids(c, tok, text, NULL, 0, ids, what);
            check_ids(c, tok, text, NULL, MLXN_TOKENIZE_NO_BOS, element(c, one, 2), what);
            check_ids(c, tok, text, NULL, MLXN_TOKENIZE_NO_SPECIAL, element(c, one, 3), what);
            check_ids(c, tok, text, "a b", 0, element(c, one, 4), what);
            if (element(c, one, 5).type != MLXN_CONFIG_STRING) continue; /* see the script */
            check_decode(c, tok, ids, true, element(c, one, 5).v.s, what);
            check_decode(c, tok, ids, false, element(c, one, 6).v.s, what);
        }
        mlxn_tokenizer_destroy(tok);
    }
    CHECK(all.v.count > 25, "%d tokenizers", (int)all.v.count);
}

/* What the tokens' bytes give piece by piece, through the stream, is text without half characters. */
static void check_stream(const mlxn_config *c, const mlxn_tokenizer *tok, value ids) {
    mlxn_utf8_stream stream = {{0}, 0};
    static char out[4 * 65536];
    for (uint64_t i = 0; i < ids.v.count; i++) {
        size_t n, written;
        const char *piece = mlxn_tokenizer_token_bytes(tok, (mlxn_token)element(c, ids, i).v.i, &n);
        CHECK(piece && n < 65536, "token bytes");
        written = mlxn_utf8_push(&stream, piece, n, out);
        for (size_t at = 0, length; at < written; at += length) {
            length = mlxn_utf8_read(out + at, written - at, NULL, NULL);
            CHECK(length, "half a character");
            if (!length) return;
        }
    }
}

static void test_lines(void) {
    static const char *const names[] = {"bytebpe", "fallback", "wordpiece", "unigram"};
    mlxn_config *c = open_file("lines");
    value lines = find(c, "lines");
    CHECK(lines.v.count == 400, "%d lines", (int)lines.v.count);
    for (int t = 0; t < 4; t++) {
        char path[100];
        mlxn_tokenizer *tok = NULL;
        mlxn_error error = {0};
        snprintf(path, sizeof path, FOLDER "%s.json", names[t]);
        CHECK(!mlxn_tokenizer_load(path, &tok, &error), "%s", error.message);
        snprintf(path, sizeof path, "tokenizers.%s.ids", names[t]);
        value ids = find(c, path);
        snprintf(path, sizeof path, "tokenizers.%s.decoded", names[t]);
        value decoded = find(c, path);
        for (uint64_t i = 0; tok && i < lines.v.count; i++) {
            mlxn_string line = element(c, lines, i).v.s;
            value want = element(c, ids, i), text = element(c, decoded, i);
            check_ids(c, tok, line, NULL, 0, want, names[t]);
            check_decode(c, tok, want, false, text.type == MLXN_CONFIG_BOOL ? line : text.v.s, names[t]);
            check_stream(c, tok, want);
        }
        mlxn_tokenizer_destroy(tok);
    }
    mlxn_config_destroy(c);
}

int main(void) {
    mlxn_config *c = open_file("components");
    value samples = find(c, "samples");
    test_normalizers(c, samples);
    test_pre_tokenizers(c, samples);
    test_decoders(c);
    test_tokenizers(c);
    mlxn_config_destroy(c);
    test_lines();
    return TEST_DONE();
}
