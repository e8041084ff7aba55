/* Promise: grammars in GBNF notation accept the texts that they describe and no others, whatever their form; wrong,
 * endless, left-recursive and oversized ones are refused with line, column and rule, in bounded time and memory. */
#include "base/base.h"
#include "lm/grammar/automaton.h"
#include "test.h"

static mlxn_grammar *make(const char *text) {
    mlxn_grammar *g = NULL;
    mlxn_error error;
    CHECK(mlxn_grammar_from_gbnf(text, strlen(text), &g, &error) == MLXN_OK, "%s: %s", text, error.message);
    return g;
}

/* 'y': a text of the grammar, 'b': the beginning of one, 'n': neither. */
static char judge(const mlxn_grammar *g, const char *text, size_t n) {
    mlxn_automaton a;
    CHECK(mlxn_au_init(&a, g, mlxn_free, NULL) == MLXN_OK, "automaton");
    uint32_t state = MLXN_AU_START;
    for (size_t i = 0; i < n && state != MLXN_AU_FAILED; i++) state = mlxn_au_step(&a, state, (uint8_t)text[i]);
    char answer = state == MLXN_AU_FAILED ? 'f' : a.states.data[state].accepts ? 'y' : state ? 'b' : 'n';
    mlxn_au_free(&a);
    return answer;
}

/* `yes`, `no` and `begins` are lists with '\n' behind each text. */
static void lines(const mlxn_grammar *g, const char *grammar, const char *list, char want) {
    while (*list) {
        size_t n = strcspn(list, "\n");
        char got = judge(g, list, n);
        CHECK(got == want, "%s: \"%.*s\" is %c, want %c", grammar, (int)n, list, got, want);
        list += n + (list[n] == '\n');
    }
}

static void test_tables(void) {
    static const struct {
        const char *grammar, *yes, *begins, *no;
    } cases[] = {
        {"root ::= \"ab\"", "ab\n", "\na\n", "b\nabc\naa\nA\n"},
        {"root ::= \"a\" | \"bc\" |", "\na\nbc\n", "b\n", "c\nab\nbcc\n"},
        {"root ::= [a-cx]*", "\na\nabcx\n", "", "d\nab-\n"},
        {"root ::= [^a-c\\n]+ \"!\"", "d!\nzz!\nd!!\n\xc3\xa9!\n", "\nd\nd!!\xe2\x82\xac\n", "a\nda\n"},
        {"root ::= [\\x41-\\u0043\\U0001F600]", "A\nB\nC\n\xf0\x9f\x98\x80\n", "\n\xf0\x9f\n",
         "D\n\xf0\x9f\x98\x81\nAA\n"},
        {"root ::= [\\]\\\\\\-^a-]", "]\n\\\n-\n^\na\n", "\n", "b\n[\n"},
        {"root ::= . .", "ab\n\xc3\xa9\xe2\x82\xac\n", "\na\n\xc3\xa9\xe2\x82\n",
         "abc\n\xc3\xc3\n\xed\xa0\n\xf4\x90\n\xc0\n\xff\n"},
        {"root ::= \"a\"{3}", "aaa\n", "\na\naa\n", "aaaa\nb\n"},
        {"root ::= \"a\"{2,}", "aa\naaaaaa\n", "\na\n", "b\naab\n"},
        {"root ::= \"a\"{1,3} \"b\"", "ab\naaab\n", "\naaa\n", "b\naaaa\n"},
        {"root ::= \"a\"{,2}", "\na\naa\n", "", "aaa\n"},
        {"root ::= \"a\"{0} \"b\"", "b\n", "\n", "a\n"},
        {"root ::= (\"a\" | \"b\" \"c\")+ \"d\"?", "a\nbc\nabcad\n", "\nb\n", "d\nac\nadd\n"},
        {"root ::= (\"a\"*)*", "\naaa\n", "", "b\n"},
        {"root ::= ((\"a\"?)+)* \"b\"", "b\naab\n", "\naa\n", "ba\n"},
        {"root ::= a b\na ::= \"x\"* # comment\n\n  # another\nb ::= \"y\" | a", "\nx\ny\nxxy\nxx\n", "", "yx\nyy\n"},
        {"root ::= \"(\" root? \")\"", "()\n((()))\n", "\n((\n(()\n", ")\n()()\n())\n"},
        {"root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\"", "a\naab\naaabc\naaaacbb\n", "\n", "b\nabb\naabb\n"},
        {"root ::= item root | \"\"\nitem ::= [0-9] \",\"", "\n1,\n1,2,3,\n", "1\n1,2\n", ",\n12\n"},
        {"root ::= x y \"z\"\nx ::= y?\ny ::= \"\" | \"q\"", "z\nqz\nqqz\n", "\nqq\n", "qqq\n"},
        {"long-name_1 ::= \"k\"\nroot ::=\n  long-name_1\n  | long-name_1 long-name_1\n", "k\nkk\n", "\n", "kkk\n"},
        {"root ::= [\\n\\t\\r \\\"] \"\\\"\\\\\\n\"?", "\t\n \n\"\n", "\n", "n\n"},
        {"root ::= \"\xe2\x82\xac\" | \"\xe2\x82\xad\"", "\xe2\x82\xac\n\xe2\x82\xad\n", "\xe2\n\xe2\x82\n",
         "\xe2\x82\xae\n"},
        {"root ::= [\\u0080-\\U0010FFFF]", "\xc2\x80\n\xed\x9f\xbf\n\xee\x80\x80\n\xf4\x8f\xbf\xbf\n", "\xed\n\xe0\n",
         "\x7f\n\xed\xa0\n\xe0\x80\n\xf0\x80\n\xf5\n\xc1\n"},
        {"root ::= [\\u07fd-\\u0802]", "\xdf\xbd\n\xdf\xbf\n\xe0\xa0\x80\n\xe0\xa0\x82\n", "\xdf\n\xe0\n",
         "\xdf\xbc\n\xe0\xa0\x83\n\xe0\xa1\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mlxn_grammar *g = make(cases[i].grammar);
        if (!g) continue;
        lines(g, cases[i].grammar, cases[i].yes, 'y');
        lines(g, cases[i].grammar, cases[i].no, 'n');
        if (!strcmp(cases[i].begins, "\n") || cases[i].begins[0] != 0)
            lines(g, cases[i].grammar, cases[i].begins, 'b');
        mlxn_grammar_release(&g);
    }
    mlxn_grammar *g = make("root ::= \"a\\x00b\"");
    CHECK(judge(g, "a\0b", 3) == 'y' && judge(g, "a", 1) == 'b', "a zero byte is a character");
    mlxn_grammar_release(&g);
}

/* Every class of two ranges takes exactly its characters, by all code points. */
static void test_every_character(void) {
    static const uint32_t edges[] = {0,      0x41,   0x7f,    0x80,    0x7ff,   0x800,   0xd7ff,
                                     0xe000, 0xffff, 0x10000, 0x1f600, 0x3ffff, 0x40000, 0x10ffff};
    enum { N = sizeof edges / sizeof *edges };
    for (int i = 0; i < N; i++) {
        for (int k = i; k < N; k += 3) {
            char text[64];
            snprintf(text, sizeof text, "root ::= [\\U%08X-\\U%08X]", edges[i], edges[k]);
            mlxn_grammar *g = make(text);
            mlxn_automaton a;
            CHECK(mlxn_au_init(&a, g, mlxn_free, NULL) == MLXN_OK, "automaton");
            uint32_t wrong = 0;
            for (uint32_t code = 0; code <= 0x10ffff; code += code < 0x11000 ? 1 : 61) {
                if (code >= 0xd800 && code < 0xe000) continue;
                uint8_t b[4] = {(uint8_t)code};
                int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
                for (int j = n - 1, rest = (int)code; n > 1 && j > 0; j--, rest >>= 6) b[j] = 0x80 | (rest & 0x3f);
                if (n > 1) b[0] = (uint8_t)((0xf00 >> n & 0xff) | code >> (6 * (n - 1)));
                uint32_t s = MLXN_AU_START;
                for (int j = 0; j < n; j++) s = mlxn_au_step(&a, s, b[j]);
                wrong += a.states.data[s].accepts != (code >= edges[i] && code <= edges[k]);
            }
            CHECK(!wrong, "%s: %u characters judged wrongly", text, wrong);
            mlxn_au_free(&a);
            mlxn_grammar_release(&g);
        }
    }
}

static void refuse(const char *text, size_t n, mlxn_status want, const char *part) {
    mlxn_grammar *g = NULL;
    mlxn_error error;
    mlxn_status status = mlxn_grammar_from_gbnf(text, n, &g, &error);
    CHECK(status == want && !g, "%.60s: status %s", text, mlxn_status_name(status));
    CHECK(strstr(error.message, part), "%.60s: \"%s\" lacks \"%s\"", text, error.message, part);
    mlxn_grammar_release(&g);
}

static void test_errors(void) {
    static const struct {
        const char *grammar, *part;
    } cases[] = {
        {"", "no rule root"},
        {"a ::= \"x\"", "no rule root"},
        {"root ::= \"ab", "line 1, column 10: the text that begins here has no closing quote"},
        {"root ::= [ab", "column 10: the class that begins here has no closing bracket"},
        {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule root is defined twice"},
        {"root ::= x", "line 1, column 10: rule x is not defined"},
        {"root ::= \"a\"\n  )", "line 2, column 3: ')' closes no group"},
        {"root ::= (\"a\"", "column 10: the group that begins here is not closed: the end of the text"},
        {"root ::= (\"a\"\nb ::= \"c\"", "is not closed: the next rule"},
        {"root ::= *", "column 10: '*' has nothing to repeat"},
        {"root ::= \"a\"{3,2}", "column 13: the repetition wants at least 3 and at most 2"},
        {"root ::= \"a\"{x}", "a number is wanted, not 'x'"},
        {"root ::= \"a\"{1", "'}' is wanted, not the end of the text"},
        {"root ::= \"\\q\"", "column 11: the escape \\ and 'q' is unknown"},
        {"root ::= \"\\x4\"", "wants 2 hexadecimal digits, has 1"},
        {"root ::= \"\\uD800\"", "U+D800 is half of a surrogate pair"},
        {"root ::= \"\\U00110000\"", "U+110000 is no character"},
        {"root ::= [z-a]", "column 11: the range goes down, from U+007A to U+0061"},
        {"root ::= []", "no character fits the class"},
        {"root ::= [^\\x00-\\U0010FFFF]", "no character fits the class"},
        {"root = \"a\"", "column 6: \"::=\" is wanted, not '='"},
        {"root ::= \"a\" ; b", "column 14: ';' is not expected here"},
        {"root ::= <eos>", "special tokens are no part of the text"},
        {"root ::= \"\xc3(\"", "column 11: byte 0xC3 is not UTF-8"},
        {"\xc3\xa9 ::= \"a\"", "the name of a rule is wanted, not '\xc3\xa9'"},
        {"root ::= root \"a\" | \"b\"", "line 1, column 1: rule root is left-recursive"},
        {"root ::= a\na ::= b? a \"x\" | \"y\"\nb ::= \"z\"", "rule a is left-recursive"},
        {"root ::= \"q\" a\na ::= b \"1\" | \"1\"\nb ::= c\nc ::= a", "is left-recursive"},
        {"root ::= \"a\" root", "rule root can never end"},
        {"root ::= \"a\" | b\nb ::= \"x\" c\nc ::= \"y\" b", "can never end"},
        {"root ::= \"a\"????????*", "more than 8 repetitions"},
        {"root ::= \"a\"{70000}", "repetition is limited to 65535"},
        {"root ::= ((((\"a\"{9999}){9999}){9999}){9999})", "needs more than"},
        {"root ::= (((((\"\"{9999}){9999}){9999}){9999}){9999}){9999}", "too many repetitions within repetitions"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mlxn_grammar *g = NULL;
        mlxn_error error;
        mlxn_status status = mlxn_grammar_from_gbnf(cases[i].grammar, strlen(cases[i].grammar), &g, &error);
        CHECK((status == MLXN_ERR_FORMAT || status == MLXN_ERR_LIMIT) && !g, "%s: %s", cases[i].grammar,
              mlxn_status_name(status));
        CHECK(strstr(error.message, cases[i].part), "%s: \"%s\" lacks \"%s\"", cases[i].grammar, error.message,
              cases[i].part);
        mlxn_grammar_release(&g);
    }
}

static char *many(const char *begin, const char *middle, int times, const char *end) {
    char *text = malloc(strlen(begin) + strlen(middle) * (size_t)times + strlen(end) + 1), *at = text;
    at = stpcpy(at, begin);
    for (int i = 0; i < times; i++) at = stpcpy(at, middle);
    strcpy(at, end);
    return text;
}

static void test_hostile(void) {
    char *text = many("root ::= ", "(", 100000, "");
    refuse(text, strlen(text), MLXN_ERR_LIMIT, "nested more than 200 deep");
    free(text);
    text = many("root ::= \"", "x", 9000000, "\"");
    refuse(text, strlen(text), MLXN_ERR_LIMIT, "bytes, at most");
    free(text);
    text = malloc(4000000);
    char *at = text + sprintf(text, "root ::= a0\n");
    for (int i = 0; i < 60000; i++) at += sprintf(at, "a%d ::= a%d\n", i, i + 1);
    at += sprintf(at, "a60000 ::= \"x\" | \"y\" a0");
    mlxn_grammar *g = make(text); /* a long chain: no recursion of ours is as deep */
    CHECK(judge(g, "yyx", 3) == 'y' && judge(g, "yy", 2) == 'b' && judge(g, "xx", 2) == 'n', "chain");
    mlxn_grammar_release(&g);
    at = text;
    for (int i = 0; i < 70000; i++) at += sprintf(at, "a%d ::= \"x\"\n", i);
    refuse(text, (size_t)(at - text), MLXN_ERR_LIMIT, "more than 65536 rules");
    free(text);
    /* Exponentially many ways, which contexts share. */
    g = make("root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\"");
    text = many("", "a", 20000, "bcbc");
    CHECK(judge(g, text, strlen(text)) == 'b', "20000 calls within each other");
    mlxn_grammar_release(&g);
    free(text);
    g = make("root ::= (\"a\"? \"a\"?){1000}");
    text = many("", "a", 2000, "");
    CHECK(judge(g, text, 2000) == 'y', "ambiguous repetition");
    mlxn_grammar_release(&g);
    g = make("root ::= x*\nx ::= \"a\" | \"a\" x | x2 x2\nx2 ::= \"a\" x2? x2?");
    CHECK(judge(g, text, 300) == 'y', "ambiguous calls");
    free(text);
    mlxn_grammar_release(&g);
}

/* Right recursion and repetition leave no trace: a long text needs no more states than a short one. */
static void test_states_are_shared(void) {
    static const char *const grammars[] = {"root ::= item root | \"\"\nitem ::= \"[\" [a-z]* \"]\"",
                                           "root ::= item*\nitem ::= \"[\" [a-z]* \"]\""};
    for (int i = 0; i < 2; i++) {
        mlxn_grammar *g = make(grammars[i]);
        mlxn_automaton a;
        CHECK(mlxn_au_init(&a, g, mlxn_free, NULL) == MLXN_OK, "automaton");
        uint32_t s = MLXN_AU_START, states = 0, contexts = 0;
        for (int k = 0; k < 10000; k++) {
            for (const char *c = "[abc]"; *c; c++) s = mlxn_au_step(&a, s, (uint8_t)*c);
            if (k == 2) states = a.states.count, contexts = a.contexts.count;
        }
        CHECK(a.states.data[s].accepts && a.states.count == states && a.contexts.count == contexts,
              "%u states and %u contexts, later %u and %u", states, contexts, a.states.count, a.contexts.count);
        mlxn_au_free(&a);
        mlxn_grammar_release(&g);
    }
}

/* After compaction the places that were kept go on as before, and the rest is gone. */
static void test_compaction(void) {
    mlxn_grammar *g = make("root ::= \"(\" (root | [a-z]{1,30})* \")\" | \"[\" root \"]\"");
    mlxn_automaton a;
    CHECK(mlxn_au_init(&a, g, mlxn_free, NULL) == MLXN_OK, "automaton");
    uint32_t places[3] = {MLXN_AU_START, MLXN_AU_START, MLXN_AU_START};
    static const char *const texts[] = {"((ab)([(q", "[[[(", "(abcdefghij"}, *const rest[] = {")])x)", ")]]]",
                                                                                              "(z))"};
    for (int i = 0; i < 3; i++)
        for (const char *c = texts[i]; *c; c++) places[i] = mlxn_au_step(&a, places[i], (uint8_t)*c);
    for (int depth = 0, s = MLXN_AU_START; depth < 3000; depth++) s = (int)mlxn_au_step(&a, (uint32_t)s, '(');
    uint64_t before = mlxn_au_bytes(&a);
    for (int round = 0; round < 2; round++) {
        CHECK(mlxn_au_compact(&a, places, 3, NULL) == MLXN_OK, "compact");
        CHECK(mlxn_au_bytes(&a) < before / 4, "%zu bytes, before %zu", (size_t)mlxn_au_bytes(&a), (size_t)before);
    }
    for (int i = 0; i < 3; i++) {
        for (const char *c = rest[i]; *c; c++) {
            CHECK(!a.states.data[places[i]].accepts, "text %d is complete too early", i);
            places[i] = mlxn_au_step(&a, places[i], (uint8_t)*c);
            CHECK(places[i] != MLXN_AU_DEAD, "text %d: '%c' does not fit", i, *c);
        }
        CHECK(a.states.data[places[i]].accepts, "text %d is not complete", i);
    }
    mlxn_au_free(&a);
    mlxn_grammar_release(&g);
}

/* Each allocation of parsing and of running fails once: an error each time, nothing leaks. */
static void test_no_memory(void) {
    static const char text[] =
        "root ::= (\"a\" x){2,9} [^q]*\nx ::= \"(\" x* \")\" | \"b\" y\ny ::= [a-z]? | \"\xc3\xa9\"";
    uint64_t live = mlxn_alloc_live();
    for (uint64_t k = 1;; k++) {
        mlxn_grammar *g = NULL;
        mlxn_automaton a = {0};
        mlxn_error error = {0};
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_grammar_from_gbnf(text, sizeof text - 1, &g, &error);
        if (!status) status = mlxn_au_init(&a, g, mlxn_free, &error);
        uint32_t s = MLXN_AU_START;
        for (const char *c = "a(bc(b)()b\xc3\xa9)a(b)"; *c && !status; c++) {
            s = mlxn_au_step(&a, s, (uint8_t)*c);
            if (s == MLXN_AU_FAILED) status = a.status;
        }
        if (!status) status = mlxn_au_compact(&a, &s, 1, &error);
        bool failed = mlxn_alloc_fail_at(0) && status;
        CHECK(!status || status == MLXN_ERR_MEMORY, "allocation %d: %s", (int)k, mlxn_status_name(status));
        if (!status) CHECK(s != MLXN_AU_DEAD, "the text fits");
        if (g) mlxn_au_free(&a);
        mlxn_grammar_release(&g);
        CHECK(mlxn_alloc_live() == live, "allocation %d leaks", (int)k);
        if (!failed) {
            CHECK(k > 30, "only %d allocations", (int)k);
            break;
        }
    }
}

int main(void) {
    test_tables();
    test_every_character();
    test_errors();
    test_hostile();
    test_states_are_shared();
    test_compaction();
    test_no_memory();
    return TEST_DONE();
}
