/* constrain.c: --grammar and --json-schema. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

int cli_open_grammar(const cli_options *options, const char *input, mlxn_grammar **out) {
    *out = NULL;
    bool schema = options->json_schema != NULL;
    const char *path = schema ? options->json_schema : options->grammar,
               *name = schema ? "--json-schema" : "--grammar";
    if (!path) return EXIT_GOOD;
    if (options->grammar && schema)
        return cli_fail(EXIT_USAGE, "both --grammar and --json-schema are given; leave one out");
    if (input && !strcmp(path, "-"))
        return cli_fail(EXIT_USAGE, "%s and %s both read standard input; give one of them a file", input, name);
    char *text = NULL;
    size_t bytes = 0;
    int code = cli_read_file(name, path, &text, &bytes);
    if (code) return code;
    mlxn_error error = {0};
    mlxn_status status = schema ? mlxn_grammar_from_schema(text, bytes, out, &error)
                                : mlxn_grammar_from_gbnf(text, bytes, out, &error);
    free(text);
    if (!status) return EXIT_GOOD;
    return cli_fail(EXIT_FAILED, "%s %s: %s; docs/CONSTRAINED.md says what can be written", name, path,
                    error.message);
}

int cli_open_constraint(const cli_runtime *runtime, mlxn_grammar *grammar, mlxn_constraint **out) {
    mlxn_error error = {0};
    if (!mlxn_constraint_create(runtime->model, grammar, out, &error)) return EXIT_GOOD;
    return cli_fail(EXIT_FAILED, "the grammar cannot be used: %s; another grammar may help", error.message);
}
