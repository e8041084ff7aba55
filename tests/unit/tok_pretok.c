/* Promise: each pre-tokenizer cuts text as the model's makers published it: the pieces below are what the Hugging
 * Face `tokenizers` library gives for the same expressions. */
#include "test.h"
#include "unit/tok_tiny.h"

/* The steps of the vocabulary but the last, which spells bytes as characters. */
static void tiny_cut(const tiny *t, mlxn_tok_work *work, const char *text, uint32_t n) {
    mlxn_tok_steps steps = t->tok->splitters;
    mlxn_error error = {0};
    CHECK(steps.items[--steps.count].op == MLXN_SPLIT_BYTE_LEVEL, "the last step");
    CHECK(mlxn_regex_begin(&work->regex, n) && !mlxn_tok_split(&steps, work, text, n, true, &error), "%s",
          error.message);
}

typedef struct cut_case {
    const char *pre, *text, *pieces; /* the pieces, each closed by U+00A6 */
} cut_case;

#define B "\xc2\xa6"
static const cut_case cases[] = {
    {"gpt-2", "Hello world", "Hello" B " world" B},
    {"gpt-2", "I'll they've HE'S", "I" B "'ll" B " they" B "'ve" B " HE" B "'" B "S" B},
    {"gpt-2", "a  b   c", "a" B " " B " b" B "  " B " c" B},
    {"gpt-2", "end  \n", "end" B "  \n" B},
    {"gpt-2", "x\n\ny", "x" B "\n" B "\n" B "y" B},
    {"gpt-2", "12345 678", "12345" B " 678" B},
    {"gpt-2", "f(x) => {\t}", "f" B "(" B "x" B ")" B " =>" B " {" B "\t" B "}" B},
    {"gpt-2", "na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd", "na\xc3\xafve" B " \xe4\xbd\xa0\xe5\xa5\xbd" B},
    {"gpt-2",
     "a\xc2\xa0"
     "b",
     "a" B "\xc2\xa0" B "b" B}, /* no-break space is white space */
    {"gpt-2",
     "a\xe1\xa0\x8e"
     "b",
     "a" B "\xe1\xa0\x8e" B "b" B}, /* U+180E is not */
    {"gpt-2", " \xe1\xa0\x8e", " \xe1\xa0\x8e" B},
    {"gpt-2", "e\xcc\x81t", "e" B "\xcc\x81" B "t" B},                  /* marks are neither letters nor digits */
    {"gpt-2", "\xe2\x85\xa7 \xc2\xbd", "\xe2\x85\xa7" B " \xc2\xbd" B}, /* N is more than decimal digits */
    {"smollm", "in 2024, 3.14", "in" B " " B "2" B "0" B "2" B "4" B "," B " " B "3" B "." B "1" B "4" B},
    {"smollm", "a  7", "a" B "  " B "7" B},
    {"smollm", "7's x7y", "7" B "'s" B " x" B "7" B "y" B},
    {"smollm", "\xef\xbc\x91\xef\xbc\x92", "\xef\xbc\x91" B "\xef\xbc\x92" B},
    {"qwen2", "I'LL we'Re 'tis", "I" B "'LL" B " we" B "'Re" B " '" B "tis" B},
    {"qwen2", "x=12 (ab)", "x" B "=" B "1" B "2" B " (" B "ab" B ")" B},
    {"qwen2", "a\n\n  b", "a" B "\n\n" B " " B " b" B},
    {"qwen2", "a;\r\n\r\nb", "a" B ";\r\n\r\n" B "b" B},
    {"qwen2", "a \n \nb", "a" B " \n \n" B "b" B},
    {"qwen2", "_name .dot", "_name" B " ." B "dot" B},
    {"qwen2", " \xf0\x9d\x8b\x80", " " B "\xf0\x9d\x8b\x80" B}, /* U+1D2C0, a number since Unicode 15 */
    {"llama-bpe", "1234567", "123" B "456" B "7" B},
    {"llama-bpe", "we'Re 12 ab", "we" B "'Re" B " " B "12" B " ab" B},
    {"default", "a+b == 1234", "a" B "+" B "b" B " " B "==" B " " B "123" B "4" B},
    {"default", "(12)", "(" B "12" B ")" B},
    {"starcoder", "a12", "a" B "1" B "2" B}, /* another name for the rules of smollm */
    /* Ill-formed bytes are pieces of their own. */
    {"gpt-2",
     "ab\xff\xfe"
     "cd",
     "ab" B "\xff\xfe" B "cd" B},
    {"qwen2", "\xe2\x82 \xe2\x82\xac", "\xe2\x82" B " \xe2\x82\xac" B},
    {"qwen2", "abcdefgh\x80", "abcdefgh" B "\x80" B},
};

static void test_cases(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cut_case *c = &cases[i];
        tiny_spec spec = {.model = "gpt2", .pre = c->pre};
        tiny t = tiny_make(&spec);
        mlxn_tok_work work = {0};
        char got[400] = "";
        tiny_cut(&t, &work, c->text, (uint32_t)strlen(c->text));
        for (size_t k = 0; k < work.cuts.count; k++) {
            const mlxn_tok_cut *cut = &work.cuts.data[k];
            strncat(got, work.pieces.data + cut->start, cut->end - cut->start);
            strcat(got, B);
        }
        CHECK(!strcmp(got, c->pieces), "%s: \"%s\": got %s, want %s", c->pre, c->text, got, c->pieces);
        mlxn_tok_work_free(&work);
        tiny_free(&t);
    }
}

/* The pieces of any bytes lie side by side and cover the text. */
static void test_cover(void) {
    static const char *const pres[] = {"gpt-2", "smollm", "qwen2", "llama-bpe", "default"};
    uint64_t state = 3;
    for (size_t p = 0; p < 5; p++) {
        tiny_spec spec = {.model = "gpt2", .pre = pres[p]};
        tiny t = tiny_make(&spec);
        mlxn_tok_work work = {0};
        for (int round = 0; round < 2000; round++) {
            char text[60];
            uint32_t n = 1 + (uint32_t)round % 60, at = 0;
            int ascending = 1;
            for (uint32_t i = 0; i < n; i++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                text[i] = (char)(state >> 41);
            }
            tiny_cut(&t, &work, text, n);
            for (size_t k = 0; k < work.cuts.count; at = work.cuts.data[k++].end)
                ascending &= work.cuts.data[k].start == at && work.cuts.data[k].end > at;
            CHECK(ascending && at == n, "%s, round %d", pres[p], round);
        }
        mlxn_tok_work_free(&work);
        tiny_free(&t);
    }
}

static void test_names(void) {
    char names[200];
    mlxn_pretok_names(names, sizeof names);
    CHECK(strstr(names, "\"smollm\", \"qwen2\", \"gpt-2\", \"llama-bpe\""), "%s", names);
    CHECK(!mlxn_pretok_find((mlxn_string){"smoll", 5}) && !mlxn_pretok_find((mlxn_string){"", 0}), "unknown names");
    const mlxn_pretok *row = mlxn_pretok_find((mlxn_string){"llama3", 6});
    CHECK(row && !strcmp(mlxn_pretok_name(row), "llama-bpe"), "alias");
    CHECK(row && mlxn_pretok_ignores_merges(row) && mlxn_pretok_adds_bos(row), "rules of the alias");
}

int main(void) {
    test_cases();
    test_cover();
    test_names();
    return TEST_DONE();
}
