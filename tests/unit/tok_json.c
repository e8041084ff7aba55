/* Promise: a tokenizer.json that is damaged, contradicts itself or asks for what there is not gives an error that
 * names the place in the file and the reason; a failing allocation at any place of load, encode or decode gives a
 * clean error and leaks nothing; tokenizer_config.json in both spellings is understood. */
#include "test.h"
#include "unit/tok_samples.h"
#include "unit/tok_tiny.h"

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

typedef struct bad_case {
    const char *json;
    mlxn_status status;
    const char *where, *reason;
} bad_case;

static const bad_case bad[] = {
    {"", MLXN_ERR_FORMAT, "tokenizer.json", "byte 0"},
    {"[]", MLXN_ERR_FORMAT, "tokenizer.json", "an object"},
    {"{}", MLXN_ERR_NOT_FOUND, "tokenizer.json: model:", "missing"},
    {"{\"model\":{}}", MLXN_ERR_NOT_FOUND, "model.vocab:", "missing"},
    {"{\"model\":{\"type\":\"Foo\",\"vocab\":{}}}", MLXN_ERR_UNSUPPORTED, "model.type:", "\"Foo\" is none of"},
    {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}}", MLXN_ERR_FORMAT, "model.vocab:", "empty"},
    {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":-1}}}", MLXN_ERR_FORMAT, "model.vocab", "integer"},
    {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":99999999}}}", MLXN_ERR_LIMIT, "model.vocab:", "99999999"},
    {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":5000000}}}", MLXN_ERR_LIMIT, "model.vocab:", "ids up to"},
    {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":1,\"b\":1}}}", MLXN_ERR_FORMAT,
     "model.vocab:", "the id 1 is given to \"a\" and \"b\""},
    {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":1,\"a\":2}}}", MLXN_ERR_FORMAT,
     "model.vocab:", "\"a\" is given twice"},
    {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0},\"vocab\":{\"a\":0}}}", MLXN_ERR_FORMAT,
     "tokenizer.json", "given twice"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", MLXN_ERR_NOT_FOUND, "model.merges:", "missing"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[\"a a\",\"aa\"]}}", MLXN_ERR_FORMAT,
     "model.merges[1]:", "\"aa\""},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[[\"a\",\"a\"],[\"a\"]]}}",
     MLXN_ERR_FORMAT, "model.merges[1]:", "alone"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1},\"merges\":[[\"a\",\"a\",\"a\"]]}}", MLXN_ERR_FORMAT,
     "model.merges[0]:", "more than two"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"b\"]]}}", MLXN_ERR_FORMAT,
     "model.merges[0]:", "\"b\" is no token"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\"]]}}", MLXN_ERR_FORMAT,
     "model.merges[0]:", "\"aa\" is no token"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1],[\"b\"]]}}", MLXN_ERR_FORMAT, "model.vocab:", "entry 1"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1e999]]}}", MLXN_ERR_FORMAT, "model.vocab:", "finite"},
    {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":7,\"vocab\":[[\"a\",-1]]}}", MLXN_ERR_FORMAT,
     "model.unk_id:", "is 7, the vocabulary has 1"},
    {"{\"added_tokens\":{}," MODEL "}", MLXN_ERR_FORMAT, "added_tokens:", "array"},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"<x>\"}]," MODEL "}", MLXN_ERR_FORMAT,
     "added_tokens[0]:", "the id 1 is that of \"b\""},
    {"{\"added_tokens\":[{\"content\":\"<x>\"}]," MODEL "}", MLXN_ERR_NOT_FOUND, "added_tokens[0].id:", "missing"},
    {"{\"normalizer\":{\"type\":\"NFX\"}," MODEL "}", MLXN_ERR_UNSUPPORTED, "normalizer.type:", "\"NFX\""},
    {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\"}]}," MODEL "}",
     MLXN_ERR_NOT_FOUND, "normalizer.normalizers[1].pattern:", "missing"},
    {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA*\"}," MODEL "}", MLXN_ERR_FORMAT,
     "normalizer.precompiled_charsmap:", "base64 at 3"},
    {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}," MODEL "}", MLXN_ERR_FORMAT,
     "normalizer.precompiled_charsmap:", "4294967295 bytes"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a(b\"},\"behavior\":\"Isolated\"}," MODEL "}",
     MLXN_ERR_UNSUPPORTED, "pre_tokenizer.pattern.Regex:", "a group is not closed"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?~x)\"},\"behavior\":\"Isolated\"}," MODEL "}",
     MLXN_ERR_UNSUPPORTED, "pre_tokenizer.pattern.Regex:", "the group (?~"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(*LIMIT_MATCH=9)a\"},\"behavior\":\"Isolated\"}"
     "," MODEL "}",
     MLXN_ERR_UNSUPPORTED, "pre_tokenizer.pattern.Regex:", "(*"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"Kept\"}," MODEL "}",
     MLXN_ERR_UNSUPPORTED, "pre_tokenizer.behavior:", "\"Kept\""},
    {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}," MODEL "}", MLXN_ERR_FORMAT,
     "pre_tokenizer.replacement:", "one character"},
    {"{\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":0}," MODEL "}", MLXN_ERR_FORMAT,
     "pre_tokenizer:", "at least 1"},
    {"{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",9],\"cls\":[\"x\",0]}," MODEL "}",
     MLXN_ERR_FORMAT, "post_processor.sep[1]:", "the id 9"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
     "\"pair\":[],\"special_tokens\":{}}," MODEL "}",
     MLXN_ERR_FORMAT, "post_processor.single[0].SpecialToken:", "\"x\""},
    {"{\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":true,\"stop\":0}," MODEL "}", MLXN_ERR_FORMAT,
     "decoder.start:", "is true or false, want an integer"},
};

#define everything tok_samples[0]

static void test_errors(void) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const bad_case *c = &bad[i];
        mlxn_tokenizer *tok = (mlxn_tokenizer *)&bad;
        mlxn_error error = {0};
        uint64_t live = mlxn_alloc_live();
        mlxn_status status = mlxn_tokenizer_from_json(c->json, strlen(c->json), NULL, 0, &tok, &error);
        CHECK(status == c->status && !tok, "case %zu: got %d, want %d: %s", i, status, c->status, error.message);
        CHECK(strstr(error.message, c->where) && strstr(error.message, c->reason),
              "case %zu: \"%s\" lacks \"%s\" or "
              "\"%s\"",
              i, error.message, c->where, c->reason);
        CHECK(mlxn_alloc_live() == live, "case %zu leaks", i);
        mlxn_tokenizer_destroy(tok);
    }
}

static void test_depth(void) {
    char json[400] = "{\"x\":";
    for (int i = 0; i < 100; i++) strcat(json, "[");
    mlxn_tokenizer *tok;
    mlxn_error error = {0};
    CHECK(mlxn_tokenizer_from_json(json, strlen(json), NULL, 0, &tok, &error) == MLXN_ERR_FORMAT &&
              strstr(error.message, "nested deeper than"),
          "%s", error.message);
}

/* The k-th allocation fails, for every k until nothing fails any more. */
static void test_no_memory(const char *json) {
    static const char text[] = "Ab xx \xc3\xa9 Q 11 <s> abab and a few more words, so that something grows";
    static const char config[] = "{\"bos_token\":\"<s>\",\"chat_template\":\"{{ x }}\"}";
    mlxn_error error = {0};
    uint64_t live = mlxn_alloc_live(), k = 1;
    for (int done = 0; !done && k < 3000; k++) {
        mlxn_tokenizer *tok = NULL;
        mlxn_token *ids = NULL;
        char *back = NULL;
        size_t n, bytes;
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_tokenizer_from_json(json, strlen(json), config, sizeof config - 1, &tok, &error);
        if (!status) status = mlxn_tokenizer_encode(tok, text, sizeof text - 1, 0, &ids, &n, &error);
        if (!status) status = mlxn_tokenizer_decode(tok, ids, n, true, &back, &bytes, &error);
        mlxn_alloc_fail_at(0);
        /* Some samples meet text that they have no tokens for. */
        done = status == MLXN_OK || status == MLXN_ERR_UNSUPPORTED || status == MLXN_ERR_LIMIT;
        CHECK(done || (status == MLXN_ERR_MEMORY && error.message[0]), "k = %d: %d %s", (int)k, status,
              error.message);
        mlxn_free(ids);
        mlxn_free(back);
        mlxn_tokenizer_destroy(tok);
        CHECK(mlxn_alloc_live() == live, "k = %d leaks", (int)k);
    }
    CHECK(k > 20 && k < 3000, "%d failing allocations", (int)k);
}

static void test_config(void) {
    static const struct {
        const char *config;
        mlxn_token bos, eos, pad;
        const char *template;
        bool adds_bos;
    } cases[] = {
        {"{}", 7, 9, -1, "", true},
        {"{\"bos_token\":null,\"eos_token\":\"Q\"}", 7, 8, -1, "", true},
        {"{\"bos_token\":{\"content\":\"</s>\"},\"pad_token\":\"<s>\"}", 9, 9, 7, "", false},
        {"{\"bos_token\":\"no such token\",\"chat_template\":\"T\"}", 7, 9, -1, "T", true},
        {"{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"U\"},{\"name\":\"default\",\"template\":\"D\"}]}",
         7, 9, -1, "D", true},
        {"{\"bos_token\":\"<s>\",\"add_bos_token\":false,\"tokenizer_class\":\"LlamaTokenizer\"}", 7, 9, -1, "",
         false},
        {"{\"bos_token\":\"<s>\",\"add_bos_token\":false,\"tokenizer_class\":\"PreTrainedTokenizerFast\"}", 7, 9, -1,
         "", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mlxn_tokenizer *tok = NULL;
        mlxn_error error = {0};
        CHECK(!mlxn_tokenizer_from_json(everything, strlen(everything), cases[i].config, strlen(cases[i].config),
                                        &tok, &error),
              "case %zu: %s", i, error.message);
        if (!tok) continue;
        mlxn_string template = mlxn_tokenizer_chat_template(tok);
        CHECK(mlxn_tokenizer_bos(tok) == cases[i].bos && mlxn_tokenizer_eos(tok) == cases[i].eos &&
                  mlxn_tokenizer_pad(tok) == cases[i].pad && mlxn_tokenizer_is_end(tok, cases[i].eos),
              "case %zu: %d %d %d", i, (int)mlxn_tokenizer_bos(tok), (int)mlxn_tokenizer_eos(tok),
              (int)mlxn_tokenizer_pad(tok));
        CHECK(template.size == strlen(cases[i].template) &&
                  (!template.size || !memcmp(template.data, cases[i].template, template.size)),
              "case %zu: template", i);
        CHECK(mlxn_tokenizer_adds_bos(tok) == cases[i].adds_bos, "case %zu: adds BOS", i);
        mlxn_tokenizer_destroy(tok);
    }
    mlxn_tokenizer *tok;
    mlxn_error error = {0};
    CHECK(mlxn_tokenizer_from_json(everything, strlen(everything), "{\"bos_token\":7}", 15, &tok, &error) ==
                  MLXN_ERR_FORMAT &&
              strstr(error.message, "tokenizer_config.json: bos_token: is an integer, want a string"),
          "%s", error.message);
}

static void test_encode(void) {
    mlxn_tokenizer *tok = NULL;
    mlxn_error error = {0};
    CHECK(!mlxn_tokenizer_from_json(everything, strlen(everything), NULL, 0, &tok, &error), "%s", error.message);
    if (!tok) return;
    CHECK(!strcmp(mlxn_tokenizer_name(tok), "json/bpe") && mlxn_tokenizer_size(tok) == 10, "%s, %u",
          mlxn_tokenizer_name(tok), mlxn_tokenizer_size(tok));
    CHECK_IDS(tok, "", 0, "7");
    CHECK_IDS(tok, "AB", 0, "7 4");
    CHECK_IDS(tok, "AB", MLXN_TOKENIZE_NO_BOS, "4");
    CHECK_IDS(tok, "a xx\xef\xbc\x91", 0, "7 3 0 3 1 3 5"); /* a fullwidth 1 is a 1 in NFKC */
    CHECK_IDS(tok, "<s>abq", 0, "7 7 4 8");                 /* the user-defined token is found in normalized text */
    CHECK_IDS(tok, "<s>", MLXN_TOKENIZE_NO_SPECIAL, "7 3 6 6 6");
    CHECK_IDS(tok, "a\xff", 0, "7 3 0 6");
    CHECK_IDS(tok, "a", MLXN_TOKENIZE_BOS | MLXN_TOKENIZE_NO_BOS,
              "error: tokenize: flags BOS and NO_BOS exclude each other");
    mlxn_token *ids = NULL;
    size_t n = 0;
    CHECK(!mlxn_tokenizer_encode_pair(tok, "ab", 2, "b", 1, 0, &ids, &n, &error) && n == 3 && ids[0] == 4 &&
              ids[1] == 3 && ids[2] == 1,
          "a pair: %zu ids", n);
    char *text = NULL;
    CHECK(!mlxn_tokenizer_decode(tok, ids, n, true, &text, NULL, &error) && !strcmp(text, "ab b"), "\"%s\"", text);
    mlxn_free(text);
    mlxn_free(ids);
    mlxn_tokenizer_destroy(tok);
}

int main(void) {
    test_errors();
    test_depth();
    for (size_t i = 0; i < sizeof tok_samples / sizeof *tok_samples; i++) test_no_memory(tok_samples[i]);
    test_config();
    test_encode();
    return TEST_DONE();
}
