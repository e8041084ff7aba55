/* Promise: the "llama" engine joins the best-scoring pair first, writes spaces as U+2581, prefixes a space where the
 * file says so, and turns characters without a token into byte tokens. */
#include "test.h"
#include "unit/tok_tiny.h"

#define S "\xe2\x96\x81"
enum { T = 259 };
static const tiny_token tokens[] = {
    {S, 1, -10},         {"a", 1, -11},  {"b", 1, -12},   {"ab", 1, -3},  {S "a", 1, -2}, {"c", 1, -13},   /* 259.. */
    {"bc", 1, -1},       {"abc", 1, -5}, {S "ab", 1, -4}, {"\n\n", 4, 0}, {"[u]", 4, 0},  {"<eot>", 3, 0}, /* 265.. */
    {"\xc3\xa9", 1, -6}, {S S, 1, -7},   {"  ", 4, 0},
};
static const tiny_spec plain = {.model = "llama",
                                .tokens = tokens,
                                .n_tokens = sizeof tokens / sizeof *tokens,
                                .space_prefix = -1,
                                .add_bos = -1};

static void test_joining(void) {
    tiny t = tiny_make(&plain);
    CHECK(!strcmp(mlxn_tokenizer_name(t.tok), "llama"), "%s", mlxn_tokenizer_name(t.tok));
    CHECK_IDS(t.tok, "", 0, "");
    CHECK_IDS(t.tok, "ab", 0, "262");
    CHECK_IDS(t.tok, "abc", 0, "266");      /* bc (-1) before ab (-3), then a bc = abc */
    CHECK_IDS(t.tok, " ab", 0, "267");      /* _a (-2) before ab (-3), then _ab */
    CHECK_IDS(t.tok, " abc", 0, "263 265"); /* bc, _a; no token _abc */
    CHECK_IDS(t.tok, "\xc3\xa9", 0, "271");
    CHECK_IDS(t.tok, "\xc3\xaa", 0, "198 173");                /* bytes C3, AA */
    CHECK_IDS(t.tok, "a\xe2\x82 b", 0, "260 229 133 259 261"); /* ill-formed: byte tokens, the rest as ever */
    CHECK_IDS(t.tok, "a\0a", 0, "260 3 260");
    tiny_free(&t);
}

static void test_special(void) {
    tiny t = tiny_make(&plain);
    CHECK_IDS(t.tok, "a\n\nb", 0, "260 268 261");
    CHECK_IDS(t.tok, "a\n\nb", MLXN_TOKENIZE_NO_SPECIAL, "260 268 261");
    CHECK_IDS(t.tok, "a\n\n\nb", 0, "260 268 13 261");
    CHECK_IDS(t.tok, "a  b", 0, "260 273 261"); /* user-defined with plain spaces */
    CHECK_IDS(t.tok, "a<eot>b", 0, "260 270 261");
    CHECK_IDS(t.tok, "<s>a", 0, "1 260");
    CHECK_IDS(t.tok, "<s>", MLXN_TOKENIZE_NO_SPECIAL, "63 118 65");
    CHECK_IDS(t.tok, "<unk>", 0, "0");
    CHECK_IDS(t.tok, "<0x41>", 0, "63 51 123 55 52 65"); /* the name of a byte token is text */
    CHECK(mlxn_tokenizer_is_end(t.tok, 2) && !mlxn_tokenizer_is_end(t.tok, 1), "the default end is </s>");
    tiny_free(&t);
}

static void test_prefix_and_bos(void) {
    tiny_spec spec = plain;
    spec.space_prefix = spec.add_bos = 0; /* the defaults of this kind of file: both */
    tiny t = tiny_make(&spec);
    CHECK(mlxn_tokenizer_adds_bos(t.tok) && mlxn_tokenizer_bos(t.tok) == 1 && mlxn_tokenizer_eos(t.tok) == 2,
          "defaults");
    CHECK_IDS(t.tok, "", 0, "1");
    CHECK_IDS(t.tok, "ab", 0, "1 267");
    CHECK_IDS(t.tok, "ab<eot>ab\n\nab", 0, "1 267 270 267 268 267"); /* after every special token */
    CHECK_IDS(t.tok, "ab", MLXN_TOKENIZE_NO_BOS, "267");
    tiny_free(&t);
}

static void test_decode(void) {
    tiny t = tiny_make(&plain);
    static const mlxn_token ids[] = {1, 263, 198, 172, 268, 272, 270, 0, 266};
    char *text;
    size_t n;
    CHECK(!mlxn_tokenizer_decode(t.tok, ids, 9, false, &text, &n, NULL), "decode");
    CHECK(!strcmp(text, " a\xc3\xa9\n\n  abc"), "\"%s\"", text);
    mlxn_free(text);
    CHECK(!mlxn_tokenizer_decode(t.tok, ids, 9, true, &text, &n, NULL), "decode");
    CHECK(!strcmp(text, "<s> a\xc3\xa9\n\n  <eot><unk>abc"), "\"%s\"", text);
    mlxn_free(text);
    uint64_t state = 11;
    for (int round = 0; round < 4000; round++) {
        char in[40];
        size_t size = (size_t)(round % 40);
        for (size_t i = 0; i < size; i++) {
            static const char alphabet[] = "abc  \n<>s\xc3\xa9\xe2\x82\xac\xff[u]";
            state = state * 6364136223846793005u + 1442695040888963407u;
            in[i] = round % 2 ? (char)(state >> 40) : alphabet[(state >> 33) % (sizeof alphabet - 1)];
        }
        /* U+2581 itself comes back as a space: that is how these vocabularies spell it. */
        CHECK(tiny_round_trip(t.tok, in, size, round & 4), "round %d", round);
    }
    tiny_free(&t);
}

int main(void) {
    test_joining();
    test_special();
    test_prefix_and_bos();
    test_decode();
    return TEST_DONE();
}
