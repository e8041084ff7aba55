/* Promise: byte-level BPE joins by rank, leftmost first; finds special tokens longest first; keeps every byte of any
 * input for which the vocabulary has a token; obeys the BOS rules; and decodes what it encoded. */
#include "test.h"
#include "unit/tok_tiny.h"

/* 256 he, 257 ll, 258 hell, 259 hello, 260 Ġhello, 261 ab, 262 bc, 263 a space pair, 264 é, 265 aa */
static const char *const merges[] = {
    "h e", "l l", "he ll", "hell o", "\xc4\xa0 hello", "a b", "b c", "\xc4\xa0 \xc4\xa0", "\xc3\x83 \xc2\xa9",
    "a a", NULL};
enum { ADDED = 266 };
/* 266.. */
static const tiny_token added[] = {
    {"<s>", 3, 0}, {"<end>", 3, 0},      {"<<", 4, 0},  {"<<<", 4, 0},   {"<pad", 5, 0},
    {"[x]", 1, 0}, {"<|im_end|>", 1, 0}, {"ab<", 4, 0}, {"whole", 1, 0},
};
static const tiny_spec plain = {
    .model = "gpt2", .pre = "gpt-2", .tokens = added, .n_tokens = 9, .merges = merges, .bos = 266, .eos = 267};

static void test_joining(void) {
    tiny t = tiny_make(&plain);
    CHECK_IDS(t.tok, "", 0, "");
    CHECK_IDS(t.tok, "hello hello", 0, "259 260");
    CHECK_IDS(t.tok, "hell", 0, "258");
    CHECK_IDS(t.tok, "hel", 0, "256 108");
    CHECK_IDS(t.tok, "abc", 0, "261 99"); /* a b before b c */
    CHECK_IDS(t.tok, "aaa", 0, "265 97"); /* leftmost among equals */
    CHECK_IDS(t.tok, "aab", 0, "97 261"); /* rank before place */
    CHECK_IDS(t.tok, "\xc3\xa9", 0, "264");
    CHECK_IDS(t.tok, "whole", 0, "119 104 111 108 101"); /* a token that no merges lead to */
    CHECK_IDS(t.tok, "   hello", 0, "263 260");
    CHECK_IDS(t.tok, "\xff\xc3(", 0, "255 195 40"); /* invalid UTF-8 stays */
    CHECK_IDS(t.tok, "a\0b", 0, "97 0 98");
    tiny_free(&t);
}

static void test_special(void) {
    tiny t = tiny_make(&plain);
    CHECK_IDS(t.tok, "<s>hello<end>", 0, "266 259 267");
    CHECK_IDS(t.tok, "<s>hello<end>", MLXN_TOKENIZE_NO_SPECIAL, "60 115 62 259 60 101 110 100 62");
    CHECK_IDS(t.tok, "a<<<<b", 0, "97 269 60 98"); /* the longest first */
    CHECK_IDS(t.tok, "a<<<<<b", 0, "97 269 268 98");
    CHECK_IDS(t.tok, "a<<<<<b", MLXN_TOKENIZE_NO_SPECIAL, "97 269 268 98"); /* user-defined ones are always found */
    CHECK_IDS(t.tok, "ab<<<", 0, "261 269");   /* ab< and <<< are as long: the lower id, <<<, goes first */
    CHECK_IDS(t.tok, "ab<end>", 0, "261 267"); /* <end> is longer than ab< */
    CHECK_IDS(t.tok, "<pad[x]", 0, "60 112 97 100 91 120 93"); /* unused and normal tokens are text */
    CHECK_IDS(t.tok, "<|im_end|>", 0, "272");                  /* a name that means the end, whatever its type */
    CHECK_IDS(t.tok, "<|im_end|>", MLXN_TOKENIZE_NO_SPECIAL, "60 124 105 109 95 101 110 100 124 62");
    CHECK(mlxn_tokenizer_is_special(t.tok, 266) && mlxn_tokenizer_is_special(t.tok, 267), "control tokens");
    CHECK(!mlxn_tokenizer_is_special(t.tok, 268) && !mlxn_tokenizer_is_special(t.tok, 97), "others");
    CHECK(!mlxn_tokenizer_is_special(t.tok, -1) && !mlxn_tokenizer_is_special(t.tok, 99999), "out of range");
    CHECK(mlxn_tokenizer_is_end(t.tok, 267) && mlxn_tokenizer_is_end(t.tok, 272), "ends");
    CHECK(!mlxn_tokenizer_is_end(t.tok, 266) && !mlxn_tokenizer_is_end(t.tok, -1), "not ends");
    tiny_free(&t);
}

static void test_bos(void) {
    tiny t = tiny_make(&plain);
    CHECK(!mlxn_tokenizer_adds_bos(t.tok) && mlxn_tokenizer_bos(t.tok) == 266 && mlxn_tokenizer_eos(t.tok) == 267,
          "ids");
    CHECK_IDS(t.tok, "ab", MLXN_TOKENIZE_BOS, "266 261");
    CHECK_IDS(t.tok, "", MLXN_TOKENIZE_BOS, "266");
    CHECK_IDS(t.tok, "ab", MLXN_TOKENIZE_NO_BOS, "261");
    CHECK(strstr(tiny_ids(t.tok, "a", 1, MLXN_TOKENIZE_BOS | MLXN_TOKENIZE_NO_BOS), "exclude"), "both flags");
    tiny_free(&t);
    tiny_spec spec = plain;
    spec.add_bos = 1;
    t = tiny_make(&spec);
    CHECK(mlxn_tokenizer_adds_bos(t.tok), "as the file says");
    CHECK_IDS(t.tok, "ab", 0, "266 261");
    CHECK_IDS(t.tok, "<s>ab", 0, "266 266 261"); /* a BOS in the text is the text's */
    CHECK_IDS(t.tok, "ab", MLXN_TOKENIZE_NO_BOS, "261");
    tiny_free(&t);
    spec.bos = 0;
    t = tiny_make(&spec);
    CHECK(!mlxn_tokenizer_adds_bos(t.tok) && mlxn_tokenizer_bos(t.tok) == -1, "none to add");
    CHECK(strstr(tiny_ids(t.tok, "a", 1, MLXN_TOKENIZE_BOS), "no BOS"), "asked for");
    tiny_free(&t);
}

static void test_whole_pieces(void) {
    tiny_spec spec = plain;
    spec.pre = "llama-bpe";
    tiny t = tiny_make(&spec);
    CHECK(strcmp(mlxn_tokenizer_name(t.tok), "gpt2/llama-bpe") == 0, "%s", mlxn_tokenizer_name(t.tok));
    CHECK_IDS(t.tok, "whole", 0, "266 274"); /* taken whole; this pre-tokenizer adds BOS by default */
    spec.add_bos = -1;
    tiny_free(&t);
    t = tiny_make(&spec);
    CHECK_IDS(t.tok, "whole hello", 0, "274 260");
    tiny_free(&t);
}

static void test_missing_byte(void) {
    tiny_spec spec = plain;
    spec.missing_byte = 4;
    tiny t = tiny_make(&spec);
    CHECK_IDS(t.tok,
              "a\x04"
              "b",
              0, "97 98");
    tiny_free(&t);
}

static void test_decode(void) {
    tiny t = tiny_make(&plain);
    static const mlxn_token ids[] = {266, 259, 260, 263, 264, 255, 272, 267};
    char *text;
    size_t n, size;
    mlxn_error error = {0};
    CHECK(!mlxn_tokenizer_decode(t.tok, ids, 8, false, &text, &n, &error), "%s", error.message);
    CHECK(n == 26 && !memcmp(text, "hello hello  \xc3\xa9\xff<|im_end|>", 27), "%zu %s", n, text);
    mlxn_free(text);
    CHECK(!mlxn_tokenizer_decode(t.tok, ids, 8, true, &text, NULL, &error), "%s", error.message);
    CHECK(!strcmp(text, "<s>hello hello  \xc3\xa9\xff<|im_end|><end>"), "%s", text);
    mlxn_free(text);
    CHECK(!mlxn_tokenizer_decode(t.tok, NULL, 0, true, &text, &n, &error) && n == 0 && !text[0], "empty");
    mlxn_free(text);
    static const mlxn_token wrong[] = {97, 275};
    CHECK(mlxn_tokenizer_decode(t.tok, wrong, 2, true, &text, &n, &error) == MLXN_ERR_ARGUMENT && !text, "range");
    CHECK(strstr(error.message, "275") && strstr(error.message, "token 1"), "%s", error.message);
    CHECK(mlxn_tokenizer_size(t.tok) == 275, "%u", mlxn_tokenizer_size(t.tok));
    CHECK(!mlxn_tokenizer_token_bytes(t.tok, 275, &size) && !mlxn_tokenizer_token_bytes(t.tok, -1, &size), "range");
    const char *bytes = mlxn_tokenizer_token_bytes(t.tok, 260, &size);
    CHECK(size == 6 && !memcmp(bytes, " hello", 6), "%zu", size);
    CHECK(mlxn_tokenizer_find(t.tok, "\xc4\xa0hello", 7) == 260 && mlxn_tokenizer_find(t.tok, "no", 2) == -1, "find");
    tiny_free(&t);
}

static void test_round_trip(void) {
    static const char *const pres[] = {"gpt-2", "smollm", "qwen2", "llama-bpe", "default"};
    uint64_t state = 7;
    for (size_t p = 0; p < 5; p++) {
        tiny_spec spec = plain;
        spec.pre = pres[p];
        spec.add_bos = -1;
        tiny t = tiny_make(&spec);
        for (int round = 0; round < 3000; round++) {
            char text[40];
            size_t n = (size_t)(round % 40);
            for (size_t i = 0; i < n; i++) {
                static const char alphabet[] = "ab<>helo  \n\r'\xc3\xa9\xff\xe2\x82\xac\t19\xf0\x9f\x98\x80.s";
                state = state * 6364136223846793005u + 1442695040888963407u;
                text[i] = round % 2 ? (char)(state >> 40) : alphabet[(state >> 33) % (sizeof alphabet - 1)];
            }
            CHECK(tiny_round_trip(t.tok, text, n, round & 4), "%s, round %d", pres[p], round);
        }
        tiny_free(&t);
    }
}

int main(void) {
    test_joining();
    test_special();
    test_bos();
    test_whole_pieces();
    test_missing_byte();
    test_decode();
    test_round_trip();
    return TEST_DONE();
}
