/* options.c: one table of all options; the parser, the help text and the completion words are made from it.
 *
 * A value is taken strictly: the whole word must be the number, in range. An option beats its environment variable,
 * which beats the default. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

typedef enum kind { FLAG, TEXT, INTEGER, SEED, REAL, SIZE, CHOICE, LIST, TEXTS } kind;

typedef struct row {
    uint32_t commands;
    char letter; /* 0: none */
    const char *name, *alias;
    kind kind;
    size_t offset;
    const char *value;    /* what the help calls the value */
    const char *fallback; /* the default, as one would type it */
    const char *env;
    double min, max;
    const char *choices; /* "f32|fast" */
    const char *help;
} row;

#define AT(field) offsetof(cli_options, field)
#define RUNS (CMD_GENERATE | CMD_CHAT | CMD_LOGITS | CMD_PERPLEXITY | CMD_BENCH | CMD_PROFILE)
#define COMPUTES (RUNS | CMD_EMBED)
#define PROMPTS (CMD_GENERATE | CMD_LOGITS)
#define SAMPLES (CMD_GENERATE | CMD_CHAT)
#define COUNT_MAX 1048576.0

static const row rows[] = {
    {COMPUTES | CMD_TOKENIZE | CMD_INFO, 'm', "model", NULL, TEXT, AT(model), "MODEL", NULL, "MLXN_MODEL", 0, 0, NULL,
     "the model: a .gguf file (the first part of a split one), or a folder with config.json and safetensors"},
    {PROMPTS | CMD_TOKENIZE, 'p', "prompt", NULL, TEXT, AT(prompt), "TEXT", NULL, NULL, 0, 0, NULL, "the prompt"},
    {PROMPTS | CMD_TOKENIZE | CMD_PERPLEXITY, 'f', "file", NULL, TEXT, AT(file), "FILE", NULL, NULL, 0, 0, NULL,
     "read the text from FILE; - is standard input"},
    {CMD_EMBED, 'p', "prompt", NULL, TEXTS, AT(texts), "TEXT", NULL, NULL, 0, 0, NULL,
     "a text; may be given several times"},
    {CMD_EMBED, 'f', "file", NULL, TEXT, AT(file), "FILE", NULL, NULL, 0, 0, NULL,
     "each line of FILE is a text; - is standard input"},
    {CMD_EMBED, 0, "pooling", NULL, CHOICE, AT(pooling), "HOW", "model", NULL, 0, 0, "model|mean|cls|last",
     "how the vectors of tokens become one: model, mean, cls or last"},
    {CMD_EMBED, 0, "normalize", NULL, CHOICE, AT(normalize), "HOW", "model", NULL, 0, 0, "model|yes|no",
     "whether vectors have length 1: model, yes or no"},
    {CMD_EMBED, 0, "prompt-name", NULL, TEXT, AT(prompt_name), "NAME", NULL, NULL, 0, 0, NULL,
     "which of the model's prompts comes before each text, such as query; '' is none (default: as the model says)"},
    {CMD_PROFILE, 'p', "prompt", NULL, TEXT, AT(prompt), "TEXT", NULL, NULL, 0, 0, NULL,
     "the prompt, taken as it is (default: --prompt-tokens ids of no meaning)"},
    {CMD_PROFILE, 'f', "file", NULL, TEXT, AT(file), "FILE", NULL, NULL, 0, 0, NULL,
     "read the prompt from FILE; - is standard input"},
    {CMD_PROFILE, 0, "prompt-tokens", NULL, INTEGER, AT(prompt_tokens), "N", "128", NULL, 1, COUNT_MAX, NULL,
     "length of the prompt when neither -p nor -f is given"},
    {CMD_PROFILE, 'n', "n-predict", "max-tokens", INTEGER, AT(n_predict), "N", "16", NULL, 1, COUNT_MAX, NULL,
     "tokens to decode"},
    {CMD_PROFILE, 0, "top", NULL, INTEGER, AT(top), "N", "12", NULL, 0, COUNT_MAX, NULL,
     "rows of each table, the largest share first; 0 = all. Percent of roof: the time that the measured memory "
     "bandwidth and peak arithmetic (8-bit where the kernel multiplies bytes, else f32) allow at least, as a part of "
     "the time taken; that is the attained rate / min(peak, flop per byte x bandwidth)"},
    {CMD_PROFILE, 0, "trace", NULL, TEXT, AT(trace_file), "FILE", NULL, NULL, 0, 0, NULL,
     "write a trace that ui.perfetto.dev and chrome://tracing open"},
    {CMD_PROFILE, 0, "html", NULL, TEXT, AT(html_file), "FILE", NULL, NULL, 0, 0, NULL,
     "write a page with the timeline, a roofline plot and the tables; it needs no network"},
    {CMD_BENCH, 'p', "prompt", NULL, LIST, AT(prompts), "N,...", "512", NULL, 0, COUNT_MAX, NULL,
     "prompt tokens to process; 0 = no such test"},
    {CMD_BENCH, 'n', "n-predict", "max-tokens", LIST, AT(generated), "N,...", "128", NULL, 0, COUNT_MAX, NULL,
     "tokens to decode one after the other; 0 = no such test"},
    {CMD_BENCH, 'd', "depth", NULL, LIST, AT(depths), "N,...", "0", NULL, 0, COUNT_MAX, NULL,
     "tokens that the context holds before the test begins"},
    {CMD_BENCH, 'b', "batch", NULL, LIST, AT(batches), "N,...", "1", NULL, 1, 256, NULL,
     "sequences that run side by side"},
    {CMD_BENCH, 'r', "repetitions", NULL, INTEGER, AT(repetitions), "N", "5", NULL, 1, 1000, NULL,
     "measurements of each test, after one warm-up"},
    {CMD_BENCH, 'o', "output", NULL, CHOICE, AT(format), "FORM", "md", NULL, 0, 0, "md|csv|json|jsonl",
     "form of the result: md, csv, json or jsonl"},
    {SAMPLES, 'n', "n-predict", "max-tokens", INTEGER, AT(n_predict), "N", "0", NULL, 0, 4294967295.0, NULL,
     "stop after N tokens; 0 = at the end token or when the context is full"},
    {CMD_GENERATE, 0, "prompt-cache", NULL, TEXT, AT(prompt_cache), "FILE", NULL, NULL, 0, 0, NULL,
     "keep what was computed in FILE (.safetensors), and compute only what follows the beginning that is there"},
    {CMD_GENERATE, 0, "draft", NULL, TEXT, AT(draft), "FILE", NULL, NULL, 0, 0, NULL,
     "a smaller model of the same vocabulary that guesses ahead: the same text, sooner"},
    {SAMPLES, 0, "grammar", NULL, TEXT, AT(grammar), "FILE", NULL, NULL, 0, 0, NULL,
     "answers follow the rules of FILE, in GBNF notation; - is standard input"},
    {SAMPLES, 0, "json-schema", NULL, TEXT, AT(json_schema), "FILE", NULL, NULL, 0, 0, NULL,
     "answers are JSON that the schema of FILE allows; - is standard input"},
    {CMD_GENERATE, 0, "logprobs", NULL, INTEGER, AT(logprobs), "N", NULL, NULL, 0, 1000, NULL,
     "with --json: the log-probability of each token, and those of the N likeliest in its place"},
    {CMD_GENERATE, 0, "lookup", NULL, FLAG, AT(lookup), NULL, NULL, NULL, 0, 0, NULL,
     "guess ahead from what the text repeats: the same text, sooner"},
    {CMD_GENERATE, 0, "draft-max", NULL, INTEGER, AT(draft_max), "N", "8", NULL, 1, 32, NULL,
     "tokens to guess at a time, for --draft and --lookup"},
    {SAMPLES, 0, "system", NULL, TEXT, AT(system), "TEXT", NULL, NULL, 0, 0, NULL, "the system message of the chat"},
    {SAMPLES, 0, "messages", NULL, TEXT, AT(messages), "FILE", NULL, NULL, 0, 0, NULL,
     "the conversation so far: a JSON list of messages; generate needs no -p then"},
    {SAMPLES, 0, "tools", NULL, TEXT, AT(tools), "FILE", NULL, NULL, 0, 0, NULL,
     "what the model may call: a JSON list, as the model's chat template wants it"},
    {SAMPLES, 0, "chat-template", NULL, TEXT, AT(chat_template), "FILE|NAME", NULL, NULL, 0, 0, NULL,
     "use the template of FILE, or the model's of that NAME, or one of chatml, gemma, llama3"},
    {SAMPLES, 0, "template-variables", NULL, TEXT, AT(template_variables), "JSON", NULL, NULL, 0, 0, NULL,
     "further variables of the chat template: a JSON object, such as {\"enable_thinking\": false}"},
    {CMD_GENERATE, 0, "raw", NULL, FLAG, AT(raw), NULL, NULL, NULL, 0, 0, NULL,
     "take the prompt as it is, without the model's chat template"},
    {PROMPTS, 0, "ids", NULL, FLAG, AT(ids), NULL, NULL, NULL, 0, 0, NULL,
     "the prompt is comma-separated token ids, taken as they are; so is the output"},
    {CMD_TOKENIZE, 0, "lines", NULL, FLAG, AT(lines), NULL, NULL, NULL, 0, 0, NULL,
     "every line of the text by itself, one result per line"},
    {CMD_TOKENIZE, 0, "decode", NULL, FLAG, AT(decode), NULL, NULL, NULL, 0, 0, NULL,
     "the text is comma-separated token ids: print what they stand for"},
    {CMD_TOKENIZE, 0, "no-special", NULL, FLAG, AT(no_special), NULL, NULL, NULL, 0, 0, NULL,
     "the names of special tokens are plain text; with --decode they are left out"},
    {CMD_TOKENIZE, 0, "bos", NULL, FLAG, AT(bos), NULL, NULL, NULL, 0, 0, NULL,
     "put the BOS token first (default: as the model says)"},
    {CMD_TOKENIZE, 0, "no-bos", NULL, FLAG, AT(no_bos), NULL, NULL, NULL, 0, 0, NULL, "never put BOS first"},
    {SAMPLES, 0, "temp", "temperature", REAL, AT(temp), "T", "0.8", NULL, 0, 100, NULL,
     "temperature; 0 = the likeliest token each time, without penalty"},
    {SAMPLES, 0, "top-k", NULL, INTEGER, AT(top_k), "K", "40", NULL, 0, COUNT_MAX, NULL,
     "sample from the K likeliest tokens; 0 = all"},
    {SAMPLES, 0, "top-p", NULL, REAL, AT(top_p), "P", "0.95", NULL, 0, 1, NULL,
     "sample from the likeliest tokens that together have probability P; 1 = all"},
    {SAMPLES, 0, "min-p", NULL, REAL, AT(min_p), "P", "0.05", NULL, 0, 1, NULL,
     "drop tokens less likely than P times the likeliest; 0 = none"},
    {SAMPLES, 0, "typical-p", NULL, REAL, AT(typical_p), "P", "1", NULL, 0, 1, NULL,
     "sample from the tokens whose surprise is nearest to the entropy and that hold probability P; 1 = all"},
    {SAMPLES, 0, "xtc-probability", NULL, REAL, AT(xtc_probability), "P", "0", NULL, 0, 1, NULL,
     "how often to leave out all but the last of the tokens at --xtc-threshold; 0 = never"},
    {SAMPLES, 0, "xtc-threshold", NULL, REAL, AT(xtc_threshold), "P", "0.1", NULL, 0, 1, NULL,
     "the least probability of tokens that XTC leaves out"},
    {SAMPLES, 0, "mirostat", NULL, INTEGER, AT(mirostat), "N", "0", NULL, 0, 2, NULL,
     "1 or 2: steer the surprise of the text by Mirostat, instead of top-k, top-p, min-p, typical and XTC"},
    {SAMPLES, 0, "mirostat-tau", NULL, REAL, AT(mirostat_tau), "T", "5", NULL, 0, 100, NULL,
     "the surprise that Mirostat aims at, in bits"},
    {SAMPLES, 0, "mirostat-eta", NULL, REAL, AT(mirostat_eta), "R", "0.1", NULL, 0, 100, NULL,
     "how fast Mirostat gets there"},
    {SAMPLES, 0, "repeat-penalty", NULL, REAL, AT(repeat_penalty), "R", "1.0", NULL, 0.01, 100, NULL,
     "divide the logits of recent tokens by R; 1 = no penalty"},
    {SAMPLES, 0, "repeat-last-n", NULL, INTEGER, AT(repeat_last_n), "N", "64", NULL, 1, COUNT_MAX, NULL,
     "how many tokens are recent, for the penalties on repetition, frequency and presence"},
    {SAMPLES, 0, "frequency-penalty", NULL, REAL, AT(frequency_penalty), "F", "0", NULL, -100, 100, NULL,
     "take F off the logit of a recent token for each time that it occurred"},
    {SAMPLES, 0, "presence-penalty", NULL, REAL, AT(presence_penalty), "F", "0", NULL, -100, 100, NULL,
     "take F off the logits of recent tokens"},
    {SAMPLES, 0, "dry-multiplier", NULL, REAL, AT(dry_multiplier), "F", "0", NULL, 0, 100, NULL,
     "take F x base^(length - allowed length) off the logit of a token that would prolong a repetition (DRY); 0 = "
     "off"},
    {SAMPLES, 0, "dry-base", NULL, REAL, AT(dry_base), "B", "1.75", NULL, 1, 100, NULL,
     "the base of the DRY penalty"},
    {SAMPLES, 0, "dry-allowed-length", NULL, INTEGER, AT(dry_allowed_length), "N", "2", NULL, 1, COUNT_MAX, NULL,
     "repetitions shorter than N tokens have no DRY penalty"},
    {SAMPLES, 0, "dry-penalty-last-n", NULL, INTEGER, AT(dry_window), "N", "1024", NULL, 1, COUNT_MAX, NULL,
     "how many tokens DRY searches for repetitions"},
    {SAMPLES, 0, "dry-breakers", NULL, TEXT, AT(dry_breakers), "CHARS", "\\n:\"*", NULL, 0, 0, NULL,
     "tokens with one of these characters end a phrase; \\n is a line break"},
    {SAMPLES, 's', "seed", NULL, SEED, AT(seed), "N", NULL, NULL, 0, 0, NULL,
     "seed of the random numbers (default: random, and printed)"},
    {SAMPLES, 0, "ignore-eos", NULL, FLAG, AT(ignore_eos), NULL, NULL, NULL, 0, 0, NULL,
     "go on after the end token, up to -n"},
    {CMD_LOGITS, 0, "top", NULL, INTEGER, AT(top), "N", "10", NULL, 1, COUNT_MAX, NULL,
     "how many of the largest logits to print"},
    {CMD_LOGITS, 0, "all", NULL, TEXT, AT(all_file), "FILE", NULL, NULL, 0, 0, NULL,
     "write the logits of all positions to FILE: .npy, float32, [positions, vocabulary]"},
    {CMD_LOGITS, 0, "step-by-step", NULL, FLAG, AT(step_by_step), NULL, NULL, NULL, 0, 0, NULL,
     "feed the prompt token by token instead of all at once"},
    {CMD_PERPLEXITY, 0, "per-token", NULL, TEXT, AT(per_token), "FILE", NULL, NULL, 0, 0, NULL,
     "write one line per scored token to FILE: its place in the text, its id, its negative log-likelihood"},
    {SAMPLES | CMD_LOGITS, 'c', "ctx-size", NULL, INTEGER, AT(ctx_size), "N", NULL, "MLXN_CTX_SIZE", 0, 2147483647.0,
     NULL, "tokens that the context holds; 0 = the model's (default: the model's, at most 4096)"},
    {CMD_PERPLEXITY, 'c', "ctx-size", NULL, INTEGER, AT(ctx_size), "N", NULL, "MLXN_CTX_SIZE", 0, 2147483647.0, NULL,
     "tokens per window; 0 = the model's (default: the model's, at most 2048)"},
    {COMPUTES | CMD_QUANTIZE | CMD_CONVERT, 't', "threads", NULL, INTEGER, AT(threads), "N", "0", "MLXN_THREADS", 0,
     1024, NULL, "threads that compute; 0 = one per core"},
    {COMPUTES, 0, "device", NULL, TEXT, AT(device), "DEVICE", "cpu", "MLXN_DEVICE", 0, 0, NULL,
     "cpu, cuda[:I] or metal; `mlxn devices` tells which are there"},
    {COMPUTES, 0, "precision", NULL, CHOICE, AT(precision), "MODE", "fast", "MLXN_PRECISION", 0, 0, "f32|fast",
     "f32: 32-bit activations and sums everywhere; fast: narrower activations within documented bounds"},
    {RUNS, 0, "kv-type", NULL, TEXT, AT(kv_type), "TYPE", NULL, "MLXN_KV_TYPE", 0, 0, NULL,
     "how the cache stores keys and values: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, tq8, tq6, tq5 or tq4, or "
     "two "
     "of them as k=q8_0,v=tq4 (default: f16, with --precision f32 f32)"},
    {COMPUTES, 0, "memory-limit", NULL, SIZE, AT(memory_limit), "BYTES", "0", "MLXN_MEMORY_LIMIT", 0, 0, NULL,
     "fail rather than use more memory for weights and buffers; K, M and G count; 0 = no limit"},
    {CMD_QUANTIZE, 0, "output-type", NULL, TEXT, AT(output_type), "TYPE", NULL, NULL, 0, 0, NULL,
     "the type of the output matrix (default: as TYPE says)"},
    {CMD_QUANTIZE, 0, "embedding-type", NULL, TEXT, AT(embedding_type), "TYPE", NULL, NULL, 0, 0, NULL,
     "the type of the token embeddings (default: as TYPE says)"},
    {CMD_CONVERT, 0, "quantize", NULL, TEXT, AT(quantize), "TYPE", NULL, NULL, 0, 0, NULL,
     "into a folder: affineBgS with B = 2, 3, 4, 5, 6 or 8 bits in groups of S = 32, 64 or 128, mxfp4, mxfp8 or "
     "nvfp4; "
     "into a .gguf file: a type of `mlxn quantize` (default: not quantized)"},
    {CMD_CONVERT, 0, "dtype", NULL, CHOICE, AT(dtype), "TYPE", NULL, NULL, 0, 0, "f32|f16|bf16",
     "of what is not quantized, and of scales: f32, f16 or bf16 (default: as config.json says)"},
    {CMD_CONVERT, 0, "shard-size", NULL, SIZE, AT(shard_size), "BYTES", "5000000000", NULL, 0, 0, NULL,
     "of one file of weights, at most; K, M and G count"},
    {CMD_QUANTIZE | CMD_CONVERT, 0, "overwrite", NULL, FLAG, AT(overwrite), NULL, NULL, NULL, 0, 0, NULL,
     "replace RESULT if it is there already"},
    {CMD_QUANTIZE, 0, "allow-requantize", NULL, FLAG, AT(requantize), NULL, NULL, NULL, 0, 0, NULL,
     "take a source that is quantized already: what the first time lost is lost twice"},
    {CMD_INFO, 0, "all", NULL, FLAG, AT(all_keys), NULL, NULL, NULL, 0, 0, NULL,
     "also every metadata key and every tensor"},
    {CMD_CHECK, 0, "data", NULL, FLAG, AT(data), NULL, NULL, NULL, 0, 0, NULL,
     "also decode every tensor and look for values that are no numbers"},
    {CMD_DEVICES, 0, "env", NULL, FLAG, AT(env), NULL, NULL, NULL, 0, 0, NULL,
     "also the environment variables that change behaviour"},
    {CMD_GENERATE | CMD_TOKENIZE | CMD_LOGITS | CMD_PERPLEXITY | CMD_INFO | CMD_CHECK | CMD_OPS | CMD_DEVICES |
         CMD_PROFILE | CMD_QUANTIZE | CMD_CONVERT | CMD_EMBED,
     0, "json", NULL, FLAG, AT(json), NULL, NULL, NULL, 0, 0, NULL, "print the result as JSON"},
    {RUNS | CMD_TOKENIZE | CMD_QUANTIZE | CMD_CONVERT | CMD_EMBED, 'q', "quiet", NULL, FLAG, AT(quiet), NULL, NULL,
     NULL, 0, 0, NULL, "no statistics, notes or progress on stderr"},
    {CMD_ALL, 'h', "help", NULL, FLAG, AT(help), NULL, NULL, NULL, 0, 0, NULL, "print this and exit"},
};

enum { N_ROWS = sizeof rows / sizeof rows[0] };

int cli_edit_distance(const char *a, const char *b) {
    enum { LONGEST = 32 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return 9;
    int line[LONGEST + 1];
    for (size_t j = 0; j <= m; j++) line[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = line[0];
        line[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = line[j];
            int insert = line[j - 1] + 1, erase = line[j] + 1;
            line[j] = change < insert ? (change < erase ? change : erase) : (insert < erase ? insert : erase);
        }
    }
    return line[m] < 9 ? line[m] : 9;
}

/* ---- values ---- */

/* `shown` is what the user typed or set: "--temp", "-n", "MLXN_THREADS". */
static int bad_number(const row *r, const char *shown, const char *text, const char *problem) {
    const char *example = r->fallback && strcmp(r->fallback, "0") != 0 ? r->fallback : NULL;
    return cli_fail(EXIT_USAGE, "%s: \"%s\" is %s; give %s from %.12g to %.12g%s%s", shown, text, problem,
                    r->kind == REAL ? "a number" : "a whole number", r->min, r->max, example ? ", such as " : "",
                    example ? example : "");
}

static int parse_real(const row *r, const char *shown, const char *text, double *out) {
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    bool plain = text[0] == '-' || text[0] == '.' || (text[0] >= '0' && text[0] <= '9');
    if (!plain || end == text || *end || strpbrk(text, "xX")) return bad_number(r, shown, text, "not a number");
    if (!isfinite(value) || value < r->min || value > r->max) return bad_number(r, shown, text, "out of range");
    *out = value;
    return EXIT_GOOD;
}

static int parse_integer(const row *r, const char *shown, const char *text, size_t n, int64_t *out) {
    char word[32];
    bool digits = n > 0 && n < sizeof word;
    for (size_t i = 0; i < n && digits; i++)
        digits = (text[i] >= '0' && text[i] <= '9') || (i == 0 && text[i] == '-' && n > 1);
    if (!digits) return bad_number(r, shown, text, "not a whole number");
    memcpy(word, text, n);
    word[n] = 0;
    errno = 0;
    long long value = strtoll(word, NULL, 10);
    if (errno || (double)value < r->min || (double)value > r->max) return bad_number(r, shown, text, "out of range");
    *out = value;
    return EXIT_GOOD;
}

static int parse_seed(const char *shown, const char *text, uint64_t *out) {
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return cli_fail(EXIT_USAGE, "%s: \"%s\" is no seed; give a whole number from 0 to 18446744073709551615",
                        shown, text);
    *out = value;
    return EXIT_GOOD;
}

static int parse_size(const char *shown, const char *text, uint64_t *out) {
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    int shift = 0;
    bool good = text[0] >= '0' && text[0] <= '9' && !errno;
    if (good && *end) {
        const char *units = "KMGT", *unit = strchr(units, *end & ~0x20);
        good = unit != NULL && (!end[1] || !strcmp(end + 1, "B") || !strcmp(end + 1, "iB"));
        shift = unit ? (int)(unit - units + 1) * 10 : 0;
    }
    if (!good || value > (UINT64_MAX >> shift))
        return cli_fail(EXIT_USAGE, "%s: \"%s\" is no size; give bytes, or a number with K, M, G or T, such as 2G",
                        shown, text);
    *out = (uint64_t)value << shift;
    return EXIT_GOOD;
}

/* The list lives as long as the process: options are parsed once. */
static int add_to_texts(const char *shown, const char *text, cli_texts *out) {
    const char **all = realloc(out->all, (out->n + 1) * sizeof *all);
    if (!all) return cli_fail(EXIT_FAILED, "%s: out of memory; give fewer texts", shown);
    all[out->n++] = text;
    out->all = all;
    return EXIT_GOOD;
}

static int parse_list(const row *r, const char *shown, const char *text, cli_list *out) {
    out->n = 0;
    for (const char *at = text;;) {
        const char *comma = strchr(at, ',');
        size_t n = comma ? (size_t)(comma - at) : strlen(at);
        int64_t value = 0;
        if (out->n == CLI_MAX_LIST)
            return cli_fail(EXIT_USAGE, "%s: \"%s\" has more than %d numbers; run bench twice", shown, text,
                            (int)CLI_MAX_LIST);
        int code = parse_integer(r, shown, at, n, &value);
        if (code) return code;
        out->values[out->n++] = (uint32_t)value;
        if (!comma) return EXIT_GOOD;
        at = comma + 1;
    }
}

static int parse_choice(const row *r, const char *shown, const char *text, const char **out) {
    size_t n = strlen(text);
    for (const char *at = r->choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
        size_t length = strcspn(at, "|");
        if (length == n && !memcmp(at, text, n)) {
            *out = text;
            return EXIT_GOOD;
        }
    }
    return cli_fail(EXIT_USAGE, "%s: \"%s\" is not one of %s; give one of those", shown, text, r->choices);
}

static int set_value(const row *r, const char *shown, const char *text, cli_options *options) {
    void *field = (char *)options + r->offset;
    switch (r->kind) {
        case FLAG:
            *(bool *)field = true;
            return EXIT_GOOD;
        case TEXT:
            *(const char **)field = text;
            return EXIT_GOOD;
        case INTEGER:
            return parse_integer(r, shown, text, strlen(text), field);
        case SEED:
            options->seed_given = true;
            return parse_seed(shown, text, field);
        case REAL:
            return parse_real(r, shown, text, field);
        case SIZE:
            return parse_size(shown, text, field);
        case CHOICE:
            return parse_choice(r, shown, text, field);
        case LIST:
            return parse_list(r, shown, text, field);
        case TEXTS:
            return add_to_texts(shown, text, field);
    }
    return EXIT_USAGE;
}

/* ---- words ---- */

static const row *find_long(uint32_t commands, const char *name, size_t n) {
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        if (!(r->commands & commands)) continue;
        if (strlen(r->name) == n && !memcmp(r->name, name, n)) return r;
        if (r->alias && strlen(r->alias) == n && !memcmp(r->alias, name, n)) return r;
    }
    return NULL;
}

static const row *find_letter(uint32_t commands, char letter) {
    for (int i = 0; i < N_ROWS; i++)
        if ((rows[i].commands & commands) && rows[i].letter == letter) return &rows[i];
    return NULL;
}

static int unknown_option(const cli_command *command, const char *word, size_t n) {
    bool is_long = word[1] == '-';
    const row *other = is_long ? find_long(CMD_ALL, word + 2, n - 2) : n == 2 ? find_letter(CMD_ALL, word[1]) : NULL;
    if (other) {
        char owners[160] = "";
        for (const cli_command *c = cli_commands; c->name; c++) {
            bool has = is_long ? find_long(c->bit, word + 2, n - 2) != NULL : find_letter(c->bit, word[1]) != NULL;
            if (has) snprintf(owners + strlen(owners), sizeof owners - strlen(owners), " %s", c->name);
        }
        return cli_fail(EXIT_USAGE, "%s has no option \"%.*s\", which belongs to:%s; leave it out", command->name,
                        (int)n, word, owners);
    }
    char name[40];
    snprintf(name, sizeof name, "%.*s", is_long ? (int)(n - 2) : 0, word + 2);
    const char *best = NULL;
    int distance = 3;
    for (int i = 0; i < N_ROWS && is_long; i++) {
        int d = cli_edit_distance(name, rows[i].name);
        if ((rows[i].commands & command->bit) && d < distance) {
            distance = d;
            best = rows[i].name;
        }
    }
    if (best)
        return cli_fail(EXIT_USAGE, "%s has no option \"%.*s\"; did you mean --%s?", command->name, (int)n, word,
                        best);
    return cli_fail(EXIT_USAGE, "%s has no option \"%.*s\"; `mlxn %s --help` lists those it has", command->name,
                    (int)n, word, command->name);
}

static int set_defaults(const cli_command *command, cli_options *out) {
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        if (!(r->commands & command->bit)) continue;
        int code = r->fallback ? set_value(r, r->name, r->fallback, out) : EXIT_GOOD;
        if (code) return code;
    }
    return EXIT_GOOD;
}

/* After the options: what they left open and the environment answers. Only then may its value be a mistake. */
static int take_environment(const cli_command *command, const bool *given, cli_options *out) {
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        if (!(r->commands & command->bit) || !r->env || given[i]) continue;
        const char *value = getenv(r->env);
        int code = value && *value ? set_value(r, r->env, value, out) : EXIT_GOOD;
        if (code) return code;
    }
    return EXIT_GOOD;
}

static int extra_argument(const cli_command *command, const char *word) {
    if (command->bit & (PROMPTS | CMD_TOKENIZE))
        return cli_fail(EXIT_USAGE, "%s: unexpected argument \"%s\"; a prompt goes after -p, in quotes",
                        command->name, word);
    return cli_fail(EXIT_USAGE, "%s: unexpected argument \"%s\"; usage: mlxn %s [OPTIONS]%s%s", command->name, word,
                    command->name, command->arguments[0] ? " " : "", command->arguments);
}

/* One word that begins with '-'. *used is how many words it took. */
static int parse_option(const cli_command *command, char **argv, int argc, int *used, bool *given, cli_options *out) {
    const char *word = argv[0], *value = NULL;
    size_t n = strlen(word);
    const row *r;
    if (word[1] == '-') {
        const char *equals = strchr(word, '=');
        if (equals) n = (size_t)(equals - word), value = equals + 1;
        r = find_long(command->bit, word + 2, n - 2);
    } else {
        r = find_letter(command->bit, word[1]);
        if (r && n > 2 && r->kind != FLAG) n = 2, value = word + 2;
        if (r && n > 2) r = NULL;
    }
    if (!r) return unknown_option(command, word, n);
    char shown[48];
    snprintf(shown, sizeof shown, "%.*s", (int)n, word);
    *used = 1;
    if (r->kind == FLAG) {
        if (value) return cli_fail(EXIT_USAGE, "%s takes no value; leave out \"=%s\"", shown, value);
    } else if (!value) {
        if (argc < 2) return cli_fail(EXIT_USAGE, "%s needs a value; write %s %s", shown, shown, r->value);
        value = argv[1];
        *used = 2;
    }
    given[r - rows] = true;
    return set_value(r, shown, value, out);
}

int cli_parse(const cli_command *command, int argc, char **argv, cli_options *out) {
    bool given[N_ROWS] = {false};
    memset(out, 0, sizeof *out);
    out->command = command->name;
    out->ctx_size = out->logprobs = -1;
    out->rest = argv;
    int code = set_defaults(command, out);
    bool only_arguments = false;
    for (int i = 0; i < argc && !code;) {
        int used = 1;
        if (!only_arguments && !strcmp(argv[i], "--")) {
            only_arguments = true;
        } else if (!only_arguments && argv[i][0] == '-' && argv[i][1]) {
            code = parse_option(command, argv + i, argc - i, &used, given, out);
            if (!code && out->help) return EXIT_GOOD;
        } else if (command->max_rest >= 0 && out->n_rest == command->max_rest) {
            code = extra_argument(command, argv[i]);
        } else {
            out->rest[out->n_rest++] = argv[i];
        }
        i += used;
    }
    return code ? code : take_environment(command, given, out);
}

/* ---- help ---- */

/* `text` wrapped to lines that begin at `column`. */
static void print_wrapped(const char *text, int column, int width) {
    int at = column;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > width) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", length, text);
        at += length;
        text += length;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void cli_print_help(const cli_command *command) {
    printf("mlxn %s: %s\n\nusage: mlxn %s [OPTIONS]%s%s\n\n", command->name, command->summary, command->name,
           command->arguments[0] ? " " : "", command->arguments);
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        if (!(r->commands & command->bit)) continue;
        char left[80], text[480];
        int n = r->letter ? snprintf(left, sizeof left, "  -%c, --%s", r->letter, r->name)
                          : snprintf(left, sizeof left, "      --%s", r->name);
        if (r->value) snprintf(left + n, sizeof left - (size_t)n, " %s", r->value);
        n = snprintf(text, sizeof text, "%s", r->help);
        if (r->alias) n += snprintf(text + n, sizeof text - (size_t)n, "; also --%s", r->alias);
        if (r->fallback && r->kind != FLAG)
            n += snprintf(text + n, sizeof text - (size_t)n, " (default %s)", r->fallback);
        if (r->env) snprintf(text + n, sizeof text - (size_t)n, " [%s]", r->env);
        printf("%-28s", left);
        if (strlen(left) > 27) printf("\n%28s", "");
        print_wrapped(text, 28, 100);
    }
    if (command->bit == CMD_QUANTIZE) cli_print_types();
    if (command->example) printf("\nexample: %s\n", command->example);
    printf(
        "\nNames in brackets are environment variables; an option beats its variable, which beats the default.\n"
        "Exit codes: 0 good, 1 failure, 2 usage, 130 interrupted.\n");
}

void cli_print_names(const cli_command *command) {
    uint32_t mask = command ? command->bit : CMD_ALL;
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        bool seen = false;
        for (int j = 0; j < i; j++) seen = seen || ((rows[j].commands & mask) && !strcmp(rows[j].name, r->name));
        if (!(r->commands & mask) || seen) continue;
        printf("--%s\n", r->name);
        if (r->alias) printf("--%s\n", r->alias);
        if (r->letter) printf("-%c\n", r->letter);
    }
}
