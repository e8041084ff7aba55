/* runtime.c: from options to a device, a model, a context, a sampler and a prompt in tokens. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* ---- device ---- */

static bool backend_is_built(const char *name) {
    for (uint32_t i = 0; mlxn_backend_name(i); i++)
        if (!strcmp(mlxn_backend_name(i), name)) return true;
    return false;
}

/* "cuda:1" to a backend and an index. */
static int parse_device(const char *text, char backend[16], uint32_t *index) {
    size_t n = strcspn(text, ":");
    bool good = n > 0 && n < 16;
    *index = 0;
    if (good && text[n]) {
        char *end = NULL;
        unsigned long value = strtoul(text + n + 1, &end, 10);
        good = text[n + 1] >= '0' && text[n + 1] <= '9' && !*end && value < 1024;
        *index = (uint32_t)value;
    }
    if (!good)
        return cli_fail(EXIT_USAGE, "--device: \"%s\" is no device; write cpu, or what `mlxn devices` lists", text);
    memcpy(backend, text, n);
    backend[n] = 0;
    if (backend_is_built(backend)) return EXIT_GOOD;
    bool planned = !strcmp(backend, "metal");
    return cli_fail(EXIT_USAGE, "--device: %s \"%s\"; use --device cpu, or what `mlxn devices` lists",
                    planned ? "this version is built without the backend" : "there is no backend", backend);
}

int cli_open_device(const cli_options *options, cli_runtime *runtime) {
    char backend[16];
    mlxn_error error = {0};
    mlxn_device_desc desc = {.struct_size = sizeof desc};
    int code = parse_device(options->device, backend, &desc.index);
    if (code) return code;
    desc.backend = backend;
    desc.threads = (uint32_t)options->threads;
    desc.precision = !strcmp(options->precision, "f32") ? MLXN_PRECISION_F32 : MLXN_PRECISION_FAST;
    desc.memory_limit = options->memory_limit;
    if (mlxn_device_create(&desc, &runtime->device, &error))
        return cli_fail(EXIT_FAILED, "device %s: %s; `mlxn devices` lists what is there, --device cpu always is",
                        options->device, error.message);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(runtime->device, &info);
    if (!info.computes)
        return cli_fail(EXIT_USAGE, "--device: %s records commands and computes no values; use --device cpu",
                        backend);
    return EXIT_GOOD;
}

/* ---- model ---- */

int cli_check_model_path(const char *path) {
    struct stat status, config;
    if (!*path) return cli_fail(EXIT_USAGE, "the model's path is empty; give -m a .gguf file or a model's folder");
    if (stat(path, &status))
        return cli_fail(EXIT_FAILED, "model \"%s\": %s; give -m a .gguf file or a model's folder", path,
                        strerror(errno));
    if (!S_ISDIR(status.st_mode)) return EXIT_GOOD;
    size_t room = strlen(path) + sizeof "/config.json";
    char *name = malloc(room);
    if (!name) return cli_fail(EXIT_FAILED, "model \"%s\": memory is short; close other programs", path);
    snprintf(name, room, "%s/config.json", path);
    bool there = stat(name, &config) == 0;
    free(name);
    if (there) return EXIT_GOOD;
    return cli_fail(EXIT_FAILED,
                    "model \"%s\" is a folder without config.json; give -m a .gguf file, or a folder that has "
                    "config.json and .safetensors files",
                    path);
}

bool cli_is_folder(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static const char *load_cure(mlxn_status status) {
    switch (status) {
        case MLXN_ERR_FORMAT:
            return "`mlxn check` tells what is wrong with a file or folder";
        case MLXN_ERR_UNSUPPORTED:
            return "`mlxn info FILE` tells what it holds; use a model that README.md lists";
        case MLXN_ERR_NOT_FOUND:
            return "the file is incomplete: convert or fetch it again";
        case MLXN_ERR_LIMIT:
            return "raise --memory-limit or take a smaller model";
        case MLXN_ERR_MEMORY:
            return "close other programs or take a smaller model";
        case MLXN_ERR_IO:
            return "check that the file can be read";
        default:
            return "`mlxn check FILE` validates the file";
    }
}

static int load(const cli_options *options, const char *path, bool vocab_only, mlxn_device *device,
                mlxn_model **out) {
    cli_progress progress;
    cli_progress_begin(&progress, "loading", options->quiet);
    mlxn_model_desc desc = {.struct_size = sizeof desc,
                            .vocab_only = vocab_only,
                            .progress = cli_progress_step,
                            .progress_user = &progress};
    mlxn_error error = {0};
    cli_interrupt_arm(NULL);
    mlxn_status status = mlxn_model_load(device, path, &desc, out, &error);
    cli_interrupt_disarm();
    cli_progress_end(&progress);
    if (status == MLXN_ERR_CANCELLED) return cli_fail_interrupted();
    return status ? cli_fail_file(EXIT_FAILED, path, error.message, load_cure(status)) : EXIT_GOOD;
}

int cli_open_model(const cli_options *options, bool vocab_only, cli_runtime *runtime) {
    const char *path = options->model;
    if (!path)
        return cli_fail(EXIT_USAGE, "%s: there is no model; give -m MODEL or set MLXN_MODEL", options->command);
    int code = cli_check_model_path(path);
    if (!code && !vocab_only) code = cli_open_device(options, runtime);
    if (code) return code;
    uint64_t begun = cli_now();
    code = load(options, path, vocab_only, runtime->device, &runtime->model);
    if (code) return code;
    runtime->load_ns = cli_now() - begun;
    runtime->info.struct_size = sizeof runtime->info;
    mlxn_model_get_info(runtime->model, &runtime->info);
    return EXIT_GOOD;
}

int cli_open_draft(const cli_options *options, cli_runtime *runtime, mlxn_context **out) {
    *out = NULL;
    if (!options->draft) return EXIT_GOOD;
    mlxn_model *model = NULL;
    int code = cli_check_model_path(options->draft);
    if (!code) code = load(options, options->draft, false, runtime->device, &model);
    if (code) return code;
    mlxn_error error = {0};
    /* As long as the text may become; its cache is small. */
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = mlxn_context_size(runtime->context)};
    if (mlxn_context_create(model, &desc, &runtime->draft, &error))
        code =
            cli_fail(EXIT_FAILED, "the context of the draft could not be made: %s; give a smaller -c", error.message);
    mlxn_model_release(&model);
    *out = runtime->draft;
    return code;
}

uint32_t cli_ctx_size(const cli_options *options) {
    if (options->ctx_size < 0) return 0;
    return options->ctx_size == 0 ? MLXN_CTX_MODEL : (uint32_t)options->ctx_size;
}

/* "q8_0", or "k=q8_0,v=tq4" in any order; NULL leaves both as they are. */
static int parse_kv_type(const char *text, mlxn_kv_type *k, mlxn_kv_type *v) {
    mlxn_error error = {0};
    if (!text) return EXIT_GOOD;
    for (const char *at = text;;) {
        const char *end = at + strcspn(at, ",");
        bool key = end - at > 2 && (at[0] == 'k' || at[0] == 'v') && at[1] == '=';
        const char *name = key ? at + 2 : at;
        mlxn_kv_type type;
        if (mlxn_kv_type_parse(name, (size_t)(end - name), &type, &error))
            return cli_fail(EXIT_USAGE, "--kv-type: %s; give one of them, or two as k=q8_0,v=tq4", error.message);
        if (!key && (at != text || *end))
            return cli_fail(EXIT_USAGE, "--kv-type: \"%s\" has several types; give two as k=q8_0,v=tq4", text);
        if (!key || at[0] == 'k') *k = type;
        if (!key || at[0] == 'v') *v = type;
        if (!*end) return EXIT_GOOD;
        at = end + 1;
    }
}

int cli_open_context(const cli_options *options, uint32_t n_ctx, uint32_t n_sequences, cli_runtime *runtime) {
    mlxn_error error = {0};
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = n_ctx, .n_sequences = n_sequences};
    int code = parse_kv_type(options->kv_type, &desc.k_type, &desc.v_type);
    if (code) return code;
    mlxn_status status = mlxn_context_create(runtime->model, &desc, &runtime->context, &error);
    if (!status) return EXIT_GOOD;
    const char *cure = status == MLXN_ERR_LIMIT || status == MLXN_ERR_MEMORY
                           ? "give a smaller -c, or raise --memory-limit"
                       : options->kv_type ? "give another --kv-type, or a smaller -c"
                                          : "give a smaller -c";
    return cli_fail(EXIT_FAILED, "the context could not be made: %s; %s", error.message, cure);
}

void cli_runtime_close(cli_runtime *runtime) {
    cli_interrupt_disarm();
    mlxn_context_destroy(runtime->context);
    mlxn_context_destroy(runtime->draft);
    runtime->context = runtime->draft = NULL;
    mlxn_model_release(&runtime->model);
    mlxn_device_release(&runtime->device);
}

/* ---- prompts ---- */

int cli_parse_ids(const char *option, uint32_t n_vocab, const char *text, mlxn_token **ids, size_t *n) {
    size_t room = 1;
    for (const char *c = text; *c; c++) room += *c == ',';
    mlxn_token *out = malloc(room * sizeof *out);
    if (!out) return cli_fail(EXIT_FAILED, "out of memory; give fewer ids");
    size_t used = 0;
    const char *at = text + strspn(text, " \t\r\n");
    while (*at) {
        char *end = NULL;
        errno = 0;
        unsigned long long value = strtoull(at, &end, 10);
        bool good = *at >= '0' && *at <= '9' && !errno;
        const char *next = good ? end + strspn(end, " \t\r\n") : at;
        good = good && (*next == ',' ? next[1 + strspn(next + 1, " \t\r\n")] != 0 : *next == 0);
        if (!good || value >= n_vocab) {
            size_t word = strcspn(at, ",");
            int code = good ? cli_fail(EXIT_USAGE, "%s: %llu is beyond the vocabulary; give ids from 0 to %u", option,
                                       value, n_vocab - 1)
                            : cli_fail(EXIT_USAGE, "%s: \"%.*s\" is no token id; give numbers such as 1,2,3", option,
                                       word < 40 ? (int)word : 40, at);
            free(out);
            return code;
        }
        out[used++] = (mlxn_token)value;
        at = *next ? next + 1 : next;
        at += strspn(at, " \t\r\n");
    }
    *ids = out;
    *n = used;
    return EXIT_GOOD;
}

/* The library's allocation as one that free() takes. */
static int own_ids(mlxn_token *from, size_t n, mlxn_token **ids) {
    *ids = malloc((n + 1) * sizeof **ids);
    if (*ids && n) memcpy(*ids, from, n * sizeof *from);
    mlxn_free_memory(from);
    return *ids ? EXIT_GOOD : cli_fail(EXIT_FAILED, "out of memory; give a shorter prompt");
}

int cli_tokenize(const cli_runtime *runtime, const char *text, size_t bytes, uint32_t flags, mlxn_token **ids,
                 size_t *n) {
    mlxn_error error = {0};
    mlxn_token *found = NULL;
    if (mlxn_tokenize(runtime->model, text, bytes, flags, &found, n, &error))
        return cli_fail(EXIT_FAILED, "the prompt cannot be tokenized: %s; `mlxn info` tells about the tokenizer",
                        error.message);
    return own_ids(found, *n, ids);
}

static int text_ids(const cli_options *options, const cli_runtime *runtime, const cli_conversation *conversation,
                    const char *text, size_t bytes, mlxn_token **ids, size_t *n) {
    if (options->ids) return cli_parse_ids("--ids", runtime->info.n_vocab, text, ids, n);
    bool named = conversation && (conversation->name || conversation->compiled);
    if (!conversation || (!runtime->info.has_chat_template && !named)) {
        const char *option = cli_needs_template(options);
        if (option) return cli_fail(EXIT_USAGE, "%s needs a chat template; leave it out, and --raw too", option);
        return cli_tokenize(runtime, text, bytes, 0, ids, n);
    }
    if (strlen(text) != bytes)
        return cli_fail(EXIT_USAGE, "the prompt holds a zero byte, which a chat message cannot; give --raw");
    mlxn_message messages[2];
    size_t count = 0;
    if (conversation->system) messages[count++] = (mlxn_message){"system", conversation->system};
    if (bytes) messages[count++] = (mlxn_message){"user", text};
    return cli_chat_ids(conversation, runtime, messages, count, ids, n);
}

int cli_prompt_ids(const cli_options *options, const cli_runtime *runtime, const cli_conversation *conversation,
                   mlxn_token **ids, size_t *n) {
    char *text = NULL;
    size_t bytes = 0;
    *ids = NULL;
    *n = 0;
    if (!options->prompt && !options->file && options->messages) /* the messages are the prompt */
        return text_ids(options, runtime, conversation, "", 0, ids, n);
    int code = cli_read_prompt(options, "prompt", &text, &bytes);
    if (code) return code;
    if (bytes == 0)
        code = cli_fail(EXIT_USAGE, "the prompt is empty; give some text after -p or in the file of -f");
    else
        code = text_ids(options, runtime, conversation, text, bytes, ids, n);
    free(text);
    if (!code && *n == 0) {
        code = cli_fail(EXIT_USAGE, "the prompt has no tokens; give some text after -p or in the file of -f");
        free(*ids);
        *ids = NULL;
    }
    return code;
}

int cli_fail_too_long(const cli_runtime *runtime, size_t n_prompt) {
    return cli_fail(
        EXIT_FAILED,
        "the prompt has %zu tokens, the context holds %u; shorten the prompt or give a larger -c (the model "
        "was made for %u)",
        n_prompt, mlxn_context_size(runtime->context), runtime->info.n_ctx_train);
}

/* ---- sampling and logits ---- */

/* The tokens that have one of the characters; a backslash and an n stand for a line break. */
static mlxn_token *breaker_tokens(const cli_runtime *runtime, const char *text, size_t *count) {
    char chars[256];
    size_t n = 0;
    for (; *text && n + 1 < sizeof chars; text++) {
        bool line = text[0] == '\\' && text[1] == 'n';
        chars[n++] = line ? '\n' : *text;
        text += line;
    }
    chars[n] = 0;
    mlxn_token *ids = malloc(sizeof *ids * runtime->info.n_vocab);
    *count = 0;
    for (uint32_t id = 0; ids && id < runtime->info.n_vocab; id++) {
        size_t bytes = 0;
        const char *token = mlxn_token_bytes(runtime->model, (mlxn_token)id, &bytes);
        bool has = false;
        for (size_t i = 0; token && i < bytes && !has; i++) has = token[i] && strchr(chars, token[i]);
        if (has) ids[(*count)++] = (mlxn_token)id;
    }
    return ids;
}

int cli_restore_prompt(const cli_options *options, const cli_runtime *runtime, const mlxn_token *ids, size_t n,
                       uint32_t *kept) {
    mlxn_error error = {0};
    *kept = 0;
    if (!options->prompt_cache) return EXIT_GOOD;
    size_t n_path = strlen(options->prompt_cache), n_end = strlen(".safetensors");
    if (n_path <= n_end || strcmp(options->prompt_cache + n_path - n_end, ".safetensors") != 0)
        return cli_fail(EXIT_USAGE, "--prompt-cache: \"%s\" is no name of a cache; let it end with .safetensors",
                        options->prompt_cache);
    if (access(options->prompt_cache, F_OK)) return EXIT_GOOD;
    if (mlxn_context_restore(runtime->context, 0, options->prompt_cache, &error))
        return cli_fail_file(EXIT_FAILED, options->prompt_cache, error.message,
                             "use the options that it was made with, or remove it");
    mlxn_context_reuse(runtime->context, 0, ids, n, kept, NULL); /* the sequence is there */
    return EXIT_GOOD;
}

int cli_save_prompt(const cli_options *options, const cli_runtime *runtime) {
    mlxn_error error = {0};
    if (!options->prompt_cache) return EXIT_GOOD;
    if (!mlxn_context_save(runtime->context, 0, options->prompt_cache, &error)) return EXIT_GOOD;
    return cli_fail_file(EXIT_FAILED, options->prompt_cache, error.message, "check the path given to --prompt-cache");
}

int cli_open_sampler(const cli_options *options, const cli_runtime *runtime, mlxn_sampler **out, uint64_t *seed) {
    mlxn_error error = {0};
    uint64_t value = options->seed;
    /* 53 bits, so that a seed read back from JSON is the same number in every language. */
    if (!options->seed_given && getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value) value = cli_now();
    if (!options->seed_given) value &= (UINT64_C(1) << 53) - 1;
    bool greedy = options->temp == 0;
    mlxn_sampler_desc desc = {.struct_size = sizeof desc,
                              .temp = (float)options->temp,
                              .top_k = (uint32_t)options->top_k,
                              .top_p = (float)options->top_p,
                              .min_p = (float)options->min_p,
                              .seed = value,
                              .penalty_window = (uint32_t)options->repeat_last_n,
                              .typical_p = (float)options->typical_p,
                              .xtc_probability = (float)options->xtc_probability,
                              .xtc_threshold = (float)options->xtc_threshold,
                              .mirostat = (uint32_t)options->mirostat,
                              .mirostat_tau = (float)options->mirostat_tau,
                              .mirostat_eta = (float)options->mirostat_eta};
    mlxn_token *breakers = NULL;
    if (!greedy) {
        desc.repeat_penalty = (float)options->repeat_penalty;
        desc.frequency_penalty = (float)options->frequency_penalty;
        desc.presence_penalty = (float)options->presence_penalty;
        desc.dry_multiplier = (float)options->dry_multiplier;
        desc.dry_base = (float)options->dry_base;
        desc.dry_allowed_length = (uint32_t)options->dry_allowed_length;
        desc.dry_window = (uint32_t)options->dry_window;
        if (options->dry_multiplier > 0) {
            breakers = breaker_tokens(runtime, options->dry_breakers, &desc.n_dry_breakers);
            desc.dry_breakers = breakers;
        }
    }
    *seed = value;
    mlxn_status status = mlxn_sampler_create(&desc, runtime->info.n_vocab, out, &error);
    free(breakers);
    if (!status) return EXIT_GOOD;
    return cli_fail(EXIT_FAILED, "the sampler could not be made: %s; check the sampling options", error.message);
}

uint32_t cli_rows_with_logits(const cli_runtime *runtime) {
    uint64_t rows = (UINT64_C(64) << 20) / (sizeof(float) * (uint64_t)runtime->info.n_vocab + 1);
    return rows < 1 ? 1 : rows > 512 ? 512 : (uint32_t)rows;
}

double cli_log_sum_exp(const float *x, uint32_t n) {
    float top = -INFINITY;
    for (uint32_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)top);
    return (double)top + log(sum);
}
