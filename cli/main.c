/* main.c: the program `mlxn`: finds the subcommand, parses its options, and makes sure that the result was written.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

const cli_command cli_commands[] = {
    {CMD_GENERATE, "generate", "-m MODEL -p TEXT", "write text that follows a prompt",
     "mlxn generate -m model.gguf -p \"Why is the sky blue?\" -n 100", cmd_generate, 0},
    {CMD_CHAT, "chat", "-m MODEL", "talk with a model", "mlxn chat -m model.gguf", cmd_chat, 0},
    {CMD_TOKENIZE, "tokenize", "-m MODEL -p TEXT", "turn text into token ids",
     "mlxn tokenize -m model.gguf -p \"Hello\" --json", cmd_tokenize, 0},
    {CMD_LOGITS, "logits", "-m MODEL -p TEXT", "the largest logits after a prompt, or all of them",
     "mlxn logits -m model.gguf --ids -p 1,2,3 --top 10 --json", cmd_logits, 0},
    {CMD_PERPLEXITY, "perplexity", "-m MODEL -f FILE", "how well a model predicts a text",
     "mlxn perplexity -m model.gguf -f text.txt -c 1024", cmd_perplexity, 0},
    {CMD_BENCH, "bench", "-m MODEL", "measure prompt processing and decoding",
     "mlxn bench -m model.gguf -p 512 -n 128 -d 0,512 -o md", cmd_bench, 0},
    {CMD_PROFILE, "profile", "-m MODEL", "where the time goes, operation by operation",
     "mlxn profile -m model.gguf -n 32 --html profile.html --trace trace.json", cmd_profile, 0},
    {CMD_EMBED, "embed", "-m FOLDER -p TEXT", "vectors of texts, by an encoder model",
     "mlxn embed -m all-MiniLM-L6-v2 -p \"A sentence.\" -p \"Another.\" --json", cmd_embed, 0},
    {CMD_QUANTIZE, "quantize", "SOURCE RESULT TYPE", "a model in another number format",
     "mlxn quantize model-f16.gguf model-q4.gguf q4_k_m", cmd_quantize, 3},
    {CMD_CONVERT, "convert", "SOURCE RESULT", "a model from GGUF into a folder, or back, or in another format",
     "mlxn convert model.gguf model-4bit --quantize affine4g64", cmd_convert, 2},
    {CMD_INFO, "info", "MODEL", "what a model file or folder holds", "mlxn info model.gguf --json", cmd_info, 1},
    {CMD_CHECK, "check", "MODEL...", "validate model files and folders", "mlxn check model.gguf", cmd_check, -1},
    {CMD_OPS, "ops", "", "the matrix of operations, backends and kernels", "mlxn ops", cmd_ops, 0},
    {CMD_DEVICES, "devices", "", "the devices of this build and machine", "mlxn devices --env", cmd_devices, 0},
    {0, NULL, NULL, NULL, NULL, NULL, 0},
};

static const cli_command *find_command(const char *name) {
    for (const cli_command *c = cli_commands; c->name; c++)
        if (!strcmp(c->name, name)) return c;
    return NULL;
}

static int unknown_command(const char *name) {
    const char *best = NULL;
    int distance = 3;
    for (const cli_command *c = cli_commands; c->name; c++) {
        int d = cli_edit_distance(name, c->name);
        if (d < distance) distance = d, best = c->name;
    }
    if (best) return cli_fail(EXIT_USAGE, "there is no command \"%s\"; did you mean %s?", name, best);
    return cli_fail(EXIT_USAGE, "there is no command \"%s\"; `mlxn help` lists them", name);
}

static void print_overview(FILE *out) {
    fprintf(out, "mlxn %s: language models on this machine\n\nusage: mlxn COMMAND [OPTIONS]\n\n", mlxn_version());
    for (const cli_command *c = cli_commands; c->name; c++) fprintf(out, "  %-12s %s\n", c->name, c->summary);
    fprintf(out,
            "\n`mlxn help COMMAND` (or `mlxn COMMAND --help`) prints its options, `mlxn --version` the version.\n"
            "example: %s\n",
            cli_commands[0].example);
}

/* `mlxn help [COMMAND]`; `mlxn help --list [COMMAND]` prints words for the shell to complete. */
static int help(int argc, char **argv) {
    bool list = argc > 0 && !strcmp(argv[0], "--list");
    if (list) argc--, argv++;
    if (argc > 1) return cli_fail(EXIT_USAGE, "help takes one command; write mlxn help %s", argv[0]);
    const cli_command *command = argc ? find_command(argv[0]) : NULL;
    if (argc && !command) return unknown_command(argv[0]);
    if (command && list) {
        cli_print_names(command);
    } else if (command) {
        cli_print_help(command);
    } else if (list) {
        for (const cli_command *c = cli_commands; c->name; c++) printf("%s\n", c->name);
        printf("help\n--help\n--version\n");
    } else {
        print_overview(stdout);
    }
    return EXIT_GOOD;
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("mlxn %s\n", mlxn_version());
        return EXIT_GOOD;
    }
    if (!strcmp(word, "help") || !strcmp(word, "--help") || !strcmp(word, "-h")) return help(argc - 2, argv + 2);
    if (word[0] == '-')
        return cli_fail(EXIT_USAGE,
                        "\"%s\" stands before a command; write mlxn COMMAND %s, `mlxn help` lists commands", word,
                        word);
    const cli_command *command = find_command(word);
    if (!command) return unknown_command(word);
    cli_options options;
    int code = cli_parse(command, argc - 2, argv + 2, &options);
    if (code) return code;
    if (options.help) {
        cli_print_help(command);
        return EXIT_GOOD;
    }
    return command->run(&options);
}

int main(int argc, char **argv) {
    cli_mark_start();
    int code = run(argc, argv);
    /* A full disk or a closed pipe must not look like success. */
    errno = 0;
    if (fflush(stdout) || ferror(stdout)) {
        int reason = errno;
        if (code == EXIT_GOOD)
            code = cli_fail(EXIT_FAILED, "the result could not be written: %s; is the disk full?",
                            reason ? strerror(reason) : "write error");
    }
    return code;
}
