/* cli.h: what the subcommands of the program `mlxn` share.
 *
 * The program uses the public headers only. One file per subcommand holds `cmd_<name>`, which gets the parsed options
 * and returns the exit code. stdout carries the result and nothing else; messages, statistics and progress go to
 * stderr, and progress only to a terminal. A message is one line: cause, then cure. */
#ifndef MLXN_CLI_H
#define MLXN_CLI_H

#include <jansson.h>
#include <mlxn/chat.h>
#include <mlxn/convert.h>
#include <mlxn/embed.h>
#include <mlxn/grammar.h>
#include <mlxn/io.h>
#include <mlxn/lm.h>
#include <mlxn/mlxn.h>
#include <mlxn/tokenizer.h>

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* ---- options (options.c) ---- */

enum {
    CMD_GENERATE = 1u << 0,
    CMD_CHAT = 1u << 1,
    CMD_TOKENIZE = 1u << 2,
    CMD_LOGITS = 1u << 3,
    CMD_PERPLEXITY = 1u << 4,
    CMD_BENCH = 1u << 5,
    CMD_INFO = 1u << 6,
    CMD_CHECK = 1u << 7,
    CMD_OPS = 1u << 8,
    CMD_DEVICES = 1u << 9,
    CMD_PROFILE = 1u << 10,
    CMD_QUANTIZE = 1u << 11,
    CMD_CONVERT = 1u << 12,
    CMD_EMBED = 1u << 13,
    CMD_ALL = (1u << 14) - 1
};

enum { CLI_MAX_LIST = 16 };

/* Counts given as a comma list: `-p 128,512`. */
typedef struct cli_list {
    uint32_t n;
    uint32_t values[CLI_MAX_LIST];
} cli_list;

/* Texts of an option that may be given several times: `-p ONE -p TWO`. `all` is allocated, and NULL if there are
 * none. */
typedef struct cli_texts {
    const char **all;
    size_t n;
} cli_texts;

/* Every option of every subcommand; those that a subcommand does not have keep their zero or default. */
typedef struct cli_options {
    const char *command;
    bool help;
    /* model and device */
    const char *model;
    const char *device;
    const char *precision;
    const char *kv_type;
    int64_t threads;
    uint64_t memory_limit;
    int64_t ctx_size; /* -1: not given */
    /* prompt */
    const char *prompt;
    const char *file;
    const char *system, *messages, *tools, *chat_template, *template_variables;
    bool ids, raw, lines, decode, no_special, bos, no_bos;
    /* generation */
    int64_t n_predict;
    double temp, top_p, min_p, typical_p, xtc_probability, xtc_threshold;
    double repeat_penalty, frequency_penalty, presence_penalty;
    double mirostat_tau, mirostat_eta, dry_multiplier, dry_base;
    int64_t top_k, repeat_last_n, mirostat, dry_allowed_length, dry_window;
    const char *dry_breakers;
    uint64_t seed;
    bool seed_given, ignore_eos;
    /* results */
    bool json, quiet, step_by_step, all_keys, env, data;
    int64_t top;
    const char *all_file;
    const char *per_token;
    const char *format;
    const char *trace_file;
    const char *html_file;
    const char *prompt_cache, *draft;
    bool lookup;
    const char *grammar, *json_schema;
    int64_t logprobs; /* -1: not asked for */
    int64_t draft_max;
    const char *output_type, *embedding_type, *quantize, *dtype;
    uint64_t shard_size;
    bool overwrite, requantize;
    int64_t prompt_tokens;
    cli_list prompts, generated, depths, batches;
    int64_t repetitions;
    cli_texts texts; /* of embed */
    const char *pooling, *normalize, *prompt_name;
    /* arguments that are no options */
    int n_rest;
    char **rest;
} cli_options;

typedef struct cli_command {
    uint32_t bit;
    const char *name;
    const char *arguments; /* shown after "mlxn NAME [OPTIONS]" */
    const char *summary;
    const char *example;
    int (*run)(const cli_options *options);
    int max_rest; /* how many arguments that are no options it takes; -1 = any number */
} cli_command;

/* Ends with a row whose name is NULL. */
extern const cli_command cli_commands[];

/* Parses argv (the words after the subcommand). EXIT_GOOD, or EXIT_USAGE after a message. */
int cli_parse(const cli_command *command, int argc, char **argv, cli_options *out);
void cli_print_help(const cli_command *command);
/* The option names of a command (of all when NULL), one per line: for shell completion and tests. */
void cli_print_names(const cli_command *command);
/* Of two words, how many edits apart they are, at most 9: for "did you mean". */
int cli_edit_distance(const char *a, const char *b);

int cmd_generate(const cli_options *options);
int cmd_chat(const cli_options *options);
int cmd_tokenize(const cli_options *options);
int cmd_logits(const cli_options *options);
int cmd_perplexity(const cli_options *options);
int cmd_bench(const cli_options *options);
int cmd_info(const cli_options *options);
int cmd_check(const cli_options *options);
int cmd_ops(const cli_options *options);
int cmd_devices(const cli_options *options);
int cmd_profile(const cli_options *options);
int cmd_quantize(const cli_options *options);
int cmd_convert(const cli_options *options);
int cmd_embed(const cli_options *options);

/* quantize.c: the types that `mlxn quantize` takes, one per line; what a conversion came to, as `type` names it; what
 * a user can do about its failure. */
void cli_print_types(void);
int cli_print_conversion(const cli_options *options, const char *type, const mlxn_quantize_result *result);
int cli_fail_conversion(const mlxn_error *error, const char *command);

/* ---- messages, time, interruption (report.c) ---- */

/* Prints "mlxn: " and one line to stderr (control characters become '?') and returns `code`. */
int cli_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "mlxn: PATH: PROBLEM; CURE". The library's messages about a file begin with its bare name: the path replaces it. */
int cli_fail_file(int code, const char *path, const char *problem, const char *cure);
/* The part of such a message after the file's name. */
const char *cli_without_name(const char *path, const char *problem);
/* A note that is no failure; nothing when `quiet`. */
void cli_note(bool quiet, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Nanoseconds of the monotonic clock. cli_started() is its value when the program began. */
uint64_t cli_now(void);
void cli_mark_start(void);
uint64_t cli_started(void);
/* Tokens per second, 0 when nothing was measured. */
double cli_rate(uint64_t count, uint64_t ns);

/* A bar on stderr when that is a terminal and `quiet` is false; it appears only when the work takes a while. */
typedef struct cli_progress {
    const char *what;
    bool shown, enabled;
    uint64_t begun, last;
} cli_progress;
void cli_progress_begin(cli_progress *progress, const char *what, bool quiet);
/* A mlxn_progress_fn; `user` is a cli_progress. Returns false once the user pressed Ctrl-C. */
bool cli_progress_step(void *user, uint64_t done, uint64_t total);
void cli_progress_end(cli_progress *progress);

/* From here on Ctrl-C is a request: it raises a flag and cancels what `context` computes (NULL: nothing yet); the
 * second ends the process. Arming again lowers the flag. */
void cli_interrupt_arm(mlxn_context *context);
/* Ctrl-C ends the process again. */
void cli_interrupt_disarm(void);
bool cli_interrupted(void);
/* The message and exit code of a command that Ctrl-C ended. */
int cli_fail_interrupted(void);

/* ---- input and output (files.c) ---- */

/* Reads the whole file that was given to an option, or standard input for "-". *text is zero-terminated and allocated
 * with malloc. */
int cli_read_file(const char *option, const char *path, char **text, size_t *bytes);
/* The text of -p or -f, exactly one of which must be there. `what` is "prompt" or "text". */
int cli_read_prompt(const cli_options *options, const char *what, char **text, size_t *bytes);
/* Prints a JSON value and a newline to stdout and drops the reference. NULL means that memory ran out. */
int cli_print_json(json_t *json);
/* null for NaN and infinities. */
json_t *cli_json_real(double value);
json_t *cli_json_ids(const mlxn_token *ids, size_t n);
/* Any bytes as a JSON string; what is no UTF-8 becomes U+FFFD. */
json_t *cli_json_text(const char *bytes, size_t n);
/* The same conversion for terminals: control characters are shown as escapes, at most `limit` bytes are taken. */
void cli_print_text(const char *bytes, size_t n, size_t limit);
/* "1.23 GB" */
const char *cli_bytes(uint64_t bytes, char out[32]);

/* A float32 .npy file of [rows, cols], written in order. */
typedef struct cli_npy {
    FILE *file;
    const char *path;
} cli_npy;
int cli_npy_open(cli_npy *npy, const char *path, uint64_t rows, uint64_t cols);
int cli_npy_write(cli_npy *npy, const float *values, uint64_t n);
/* Closes; removes the file when `keep` is false. */
int cli_npy_close(cli_npy *npy, bool keep);

/* ---- models (runtime.c) ---- */

typedef struct cli_runtime {
    mlxn_device *device;
    mlxn_model *model;
    mlxn_model_info info;
    mlxn_context *context;
    mlxn_context *draft; /* of --draft */
    uint64_t load_ns;
} cli_runtime;

/* Each returns an exit code, EXIT_GOOD when all is well; after a failure it has printed its message and
 * cli_runtime_close is still to be called. A zeroed runtime is empty. */
int cli_open_device(const cli_options *options, cli_runtime *runtime);
int cli_open_model(const cli_options *options, bool vocab_only, cli_runtime *runtime);
int cli_open_context(const cli_options *options, uint32_t n_ctx, uint32_t n_sequences, cli_runtime *runtime);
void cli_runtime_close(cli_runtime *runtime);
/* The model of --draft on the same device, and a context of it; NULL without the option. The runtime keeps both. */
int cli_open_draft(const cli_options *options, cli_runtime *runtime, mlxn_context **out);
/* n_ctx of lm.h for the option -c. */
uint32_t cli_ctx_size(const cli_options *options);
/* `path` must be a file, or a folder with config.json: the messages for what is neither. */
int cli_check_model_path(const char *path);
bool cli_is_folder(const char *path);

/* A prompt as ids (free); `flags` are MLXN_TOKENIZE_*. */
int cli_tokenize(const cli_runtime *runtime, const char *text, size_t bytes, uint32_t flags, mlxn_token **ids,
                 size_t *n);

/* conversation.c: what a conversation begins with and how it becomes a prompt, from --system, --messages, --tools,
 * --chat-template and --template-variables. */
typedef struct cli_conversation {
    const char *system;      /* to be said first; NULL: nothing, or it is in `messages` */
    char *messages, *tools;  /* JSON, or NULL */
    const char *variables;   /* JSON, or NULL */
    const char *name;        /* of a template of the model; NULL: its usual one */
    mlxn_template *compiled; /* of a file, or NULL */
} cli_conversation;
/* Before a model is loaded: reads and checks the files. */
int cli_open_conversation(const cli_options *options, cli_conversation *out);
void cli_close_conversation(cli_conversation *c);
/* Whether an option was given that only a chat template can honour; its name, or NULL. */
const char *cli_needs_template(const cli_options *options);
/* The prompt of what it begins with and then `messages`, as ids (free). */
int cli_chat_ids(const cli_conversation *c, const cli_runtime *runtime, const mlxn_message *messages,
                 size_t n_messages, mlxn_token **ids, size_t *n);

/* Comma-separated ids, each within the vocabulary. *ids: malloc. `option` is for messages. */
int cli_parse_ids(const char *option, uint32_t n_vocab, const char *text, mlxn_token **ids, size_t *n);
/* The prompt of -p or -f as ids: as they are with --ids, through the chat template where there is a conversation
 * (NULL: plain). *ids is freed with free(). An empty prompt is an error. */
int cli_prompt_ids(const cli_options *options, const cli_runtime *runtime, const cli_conversation *conversation,
                   mlxn_token **ids, size_t *n);
/* Prints that the prompt does not fit, with the cure. */
int cli_fail_too_long(const cli_runtime *runtime, size_t n_prompt);
/* With --prompt-cache: sequence 0 becomes what the file holds, if there is one, as far as `ids` begins with it; *kept
 * is how far. */
int cli_restore_prompt(const cli_options *options, const cli_runtime *runtime, const mlxn_token *ids, size_t n,
                       uint32_t *kept);
/* The other half: writes the file. */
int cli_save_prompt(const cli_options *options, const cli_runtime *runtime);
/* The grammar of --grammar or --json-schema, checked before a model is loaded; *out is NULL without these options.
 * `input`: the option that reads standard input too, or NULL. */
int cli_open_grammar(const cli_options *options, const char *input, mlxn_grammar **out);
/* A constraint of it for the model. */
int cli_open_constraint(const cli_runtime *runtime, mlxn_grammar *grammar, mlxn_constraint **out);
/* The sampler of the options; *seed is what was used. */
int cli_open_sampler(const cli_options *options, const cli_runtime *runtime, mlxn_sampler **out, uint64_t *seed);
/* Tokens of a decode call whose every row wants logits, so that the logits stay below some 64 MB. */
uint32_t cli_rows_with_logits(const cli_runtime *runtime);
/* log(sum(exp(x))) in double. */
double cli_log_sum_exp(const float *x, uint32_t n);

/* ---- folder.c ---- */

/* `mlxn info` of a folder. */
int cli_info_folder(const cli_options *options, const char *path);
typedef struct cli_folder_report {
    uint64_t tensors;
    char problem[800]; /* what is wrong; empty: nothing */
    char note[800];    /* why this build cannot run it; empty: it can */
} cli_folder_report;
/* `mlxn check` of a folder. */
void cli_check_folder(const cli_options *options, const char *path, cli_folder_report *out);

/* ---- bandwidth.c ---- */

/* Bytes per second that `threads` threads read from a buffer far larger than the caches; 0 when memory is short. */
double cli_read_bandwidth(uint32_t threads);

#endif
