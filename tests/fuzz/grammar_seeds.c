/* grammar_seeds.c FOLDER: writes the seeds of fuzz_grammar: grammars that reach every branch of parser, checks,
 * compiler and automaton, with a text each. */
#include <stdio.h>
#include <string.h>

static const struct {
    const char *grammar, *text;
} seeds[] = {
    {"root ::= object\nvalue ::= object | array | string | number | \"true\"\nobject ::= \"{\" (string \":\" value "
     "(\",\" "
     "string \":\" value)*)? \"}\"\narray ::= \"[\" (value (\",\" value)*)? \"]\"\nstring ::= \"\\\"\" "
     "([^\"\\\\\\x00-\\x1F] | "
     "\"\\\\\" [\"\\\\bfnrt])* \"\\\"\"\nnumber ::= \"-\"? [0-9]{1,15} (\".\" [0-9]+)?",
     "{\"a\":[1,-2.5,{\"b\":true}],\"\xc3\xa9\":\"x\\n\"}"},
    {"# comment\nroot ::=\n  (\"a\" | \"b\"?)+ tail # more\n  | .{2,3}\ntail ::= \"\" | \"(\" root \")\"", "ab(a())"},
    {"root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\"", "aaabc"},
    {"root ::= [\\u00e9-\\U0001F600^\\]-] [^\\n]* \"\\x41\\\"\\\\\\t\"", "\xe2\x82\xac \xf0\x9f\x98\x80"},
    {"root ::= x{,3} x{2} x{1,}\nx ::= y | z\ny ::= \"q\" z?\nz ::= \"r\" y?", "qrqrqrr"},
    {"root ::= item root | \"\"\nitem ::= [0-9] \",\"", "1,2,3,"},
    {"root ::= root \"a\" | \"b\"", ""},
    {"root ::= \"a\" root", ""},
    {"root ::= ((\"a\"?)*)+ (\"a\" \"b\"){0} nothing", ""},
    {"root ::= (\"a\"{1000}){1000}{3}", ""},
    {"root ::= \"unclosed", ""},
    {"root ::= [z-a]", ""},
};

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%02zu.grammar", argv[1], i);
        FILE *f = fopen(path, "wb");
        size_t n = strlen(seeds[i].grammar) + 1, m = strlen(seeds[i].text); /* with the zero between them */
        if (!f || fwrite(seeds[i].grammar, 1, n, f) != n || fwrite(seeds[i].text, 1, m, f) != m || fclose(f)) {
            perror(path);
            return 1;
        }
    }
    return 0;
}
