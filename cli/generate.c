/* generate.c: `mlxn generate`: one prompt, one answer. Text streams to stdout as it comes; with --json or --ids the
 * whole result is printed at the end, also when Ctrl-C ended it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

typedef struct output {
    bool stream; /* print text at once */
    char *text;  /* else keep it */
    size_t bytes, room;
    bool failed;
    char last;            /* last byte printed */
    uint64_t first_token; /* clock at the first token, 0 before */
    const mlxn_model *model;
    json_t *logprobs; /* array; NULL: not asked for */
} output;

static bool on_token(void *user, mlxn_token token, const char *text, size_t bytes) {
    output *out = user;
    (void)token;
    if (!out->first_token) out->first_token = cli_now();
    if (!bytes) return true;
    if (out->stream) {
        out->last = text[bytes - 1];
        out->failed = fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout);
        return !out->failed; /* nobody reads any more, or the disk is full: stop computing */
    }
    if (out->bytes + bytes > out->room) {
        size_t room = (out->bytes + bytes) * 2;
        char *more = realloc(out->text, room);
        out->failed = more == NULL;
        if (!more) return false;
        out->text = more;
        out->room = room;
    }
    memcpy(out->text + out->bytes, text, bytes);
    out->bytes += bytes;
    return true;
}

/* {"id", "text", "logprob", "sampled_logprob"}; null stands for minus infinity. */
static json_t *logprob_json(const mlxn_model *model, const mlxn_logprob *p) {
    size_t n = 0;
    const char *bytes = mlxn_token_bytes(model, p->token, &n);
    return json_pack("{s:i,s:o,s:o,s:o}", "id", (int)p->token, "text", cli_json_text(bytes ? bytes : "", n),
                     "logprob", cli_json_real((double)p->logprob), "sampled_logprob",
                     cli_json_real((double)p->sampled));
}

static void on_logprobs(void *user, const mlxn_logprob *chosen, const mlxn_logprob *top, uint32_t n_top) {
    output *out = user;
    json_t *row = logprob_json(out->model, chosen), *list = json_array();
    for (uint32_t i = 0; i < n_top && list; i++)
        if (json_array_append_new(list, logprob_json(out->model, &top[i]))) out->failed = true;
    if (json_object_set_new(row, "top", list) || json_array_append_new(out->logprobs, row)) out->failed = true;
}

static const char *finish_name(mlxn_finish finish) {
    switch (finish) {
        case MLXN_FINISH_STOP:
            return "stop";
        case MLXN_FINISH_LENGTH:
            return "length";
        case MLXN_FINISH_CANCELLED:
            return "cancelled";
    }
    return "stop";
}

static double milliseconds(uint64_t ns) { return (double)ns / 1e6; }

static json_t *timings_json(const cli_runtime *runtime, const mlxn_generate_result *result, uint64_t first_ns) {
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:o,s:I,s:I}", "load_ms", cli_json_real(milliseconds(runtime->load_ns)),
        "prompt_ms", cli_json_real(milliseconds(result->prompt_ns)), "decode_ms",
        cli_json_real(milliseconds(result->decode_ns)), "first_token_ms", cli_json_real(milliseconds(first_ns)),
        "prompt_tokens", (json_int_t)result->n_prompt, "decode_tokens", (json_int_t)result->n_decode,
        "prompt_tokens_per_second", cli_json_real(cli_rate(result->n_prompt, result->prompt_ns)),
        "decode_tokens_per_second", cli_json_real(cli_rate(result->n_decode, result->decode_ns)), "drafted",
        (json_int_t)result->n_drafted, "accepted", (json_int_t)result->n_accepted);
}

static int print_result(const cli_options *options, const cli_runtime *runtime, const mlxn_token *prompt,
                        size_t n_prompt, const mlxn_generate_result *result, const output *out, uint64_t seed) {
    if (options->json) {
        uint64_t first = out->first_token ? out->first_token - cli_started() : 0;
        json_t *json = json_pack("{s:o,s:o,s:o,s:s,s:o,s:o}", "prompt_ids", cli_json_ids(prompt, n_prompt), "ids",
                                 cli_json_ids(result->ids, result->n_ids), "text",
                                 cli_json_text(out->text ? out->text : "", out->bytes), "finish_reason",
                                 finish_name(result->finish), "timings", timings_json(runtime, result, first), "seed",
                                 json_integer((json_int_t)seed));
        if (out->logprobs && json_object_set(json, "logprobs", out->logprobs)) {
            json_decref(json);
            json = NULL;
        }
        return cli_print_json(json);
    }
    if (options->ids) {
        for (size_t i = 0; i < result->n_ids; i++) printf(i ? ",%d" : "%d", (int)result->ids[i]);
        putchar('\n');
    } else if (out->last != '\n') {
        putchar('\n');
    }
    return EXIT_GOOD;
}

static void print_statistics(const cli_options *options, const cli_runtime *runtime,
                             const mlxn_generate_result *result, const output *out, uint64_t seed) {
    cli_note(options->quiet,
             "prompt: %llu tokens, %.1f tokens/s; generated: %zu tokens, %.1f tokens/s; first token after %.0f ms "
             "(load %.0f ms); finish: %s; seed: %llu",
             (unsigned long long)result->n_prompt, cli_rate(result->n_prompt, result->prompt_ns), result->n_ids,
             cli_rate(result->n_decode, result->decode_ns),
             out->first_token ? milliseconds(out->first_token - cli_started()) : 0.0, milliseconds(runtime->load_ns),
             finish_name(result->finish), (unsigned long long)seed);
    if (result->n_drafted)
        cli_note(options->quiet, "guessed ahead: %llu tokens, of which %llu were right",
                 (unsigned long long)result->n_drafted, (unsigned long long)result->n_accepted);
}

static int fail_generation(const cli_options *options, mlxn_status status, const mlxn_error *error) {
    bool constrained = options->grammar || options->json_schema;
    return cli_fail(EXIT_FAILED, "generation failed: %s; %s", error->message,
                    constrained && (status == MLXN_ERR_STATE || status == MLXN_ERR_LIMIT)
                        ? "another grammar may help"
                        : "a smaller -c or -n may help");
}

static int generate(const cli_options *options, cli_runtime *runtime, const mlxn_token *prompt, size_t n_prompt,
                    mlxn_constraint *constraint) {
    mlxn_sampler *sampler = NULL;
    uint64_t seed = 0;
    uint32_t kept = 0;
    mlxn_context *draft = NULL;
    int code = cli_open_draft(options, runtime, &draft);
    if (!code) code = cli_restore_prompt(options, runtime, prompt, n_prompt, &kept);
    if (!code) code = cli_open_sampler(options, runtime, &sampler, &seed);
    if (code) return code;
    for (uint32_t i = 0; i < kept; i++) mlxn_sampler_accept(sampler, prompt[i]); /* penalties see the whole prompt */
    output out = {.stream = !options->json && !options->ids, .model = runtime->model};
    if (options->logprobs >= 0) out.logprobs = json_array();
    cli_progress progress;
    cli_progress_begin(&progress, "reading the prompt", options->quiet);
    mlxn_generate_desc desc = {.struct_size = sizeof desc,
                               .n_predict = (uint32_t)options->n_predict,
                               .ignore_eos = options->ignore_eos,
                               .constraint = constraint,
                               .on_logprobs = out.logprobs ? on_logprobs : NULL,
                               .on_logprobs_user = &out,
                               .n_logprobs = options->logprobs > 0 ? (uint32_t)options->logprobs : 0,
                               .draft = draft,
                               .lookup = options->lookup,
                               .draft_max = (uint32_t)options->draft_max,
                               .on_token = on_token,
                               .on_token_user = &out,
                               .on_prompt = cli_progress_step,
                               .on_prompt_user = &progress};
    mlxn_generate_result result;
    memset(&result, 0, sizeof result);
    mlxn_error error = {0};
    cli_interrupt_arm(runtime->context);
    mlxn_status status =
        mlxn_generate(runtime->context, prompt + kept, n_prompt - kept, sampler, &desc, &result, &error);
    bool interrupted = cli_interrupted();
    cli_interrupt_disarm();
    cli_progress_end(&progress);
    if (status == MLXN_ERR_CANCELLED) {
        status = MLXN_OK;
        result.finish = MLXN_FINISH_CANCELLED;
    }
    if (status) {
        if (out.bytes || out.last) putchar('\n');
        code = fail_generation(options, status, &error);
    } else if (out.failed) {
        code = out.stream ? EXIT_GOOD /* main reports what happened to stdout */
                          : cli_fail(EXIT_FAILED, "out of memory for the text; give a smaller -n");
    } else {
        code = print_result(options, runtime, prompt, n_prompt, &result, &out, seed);
        fflush(stdout);
        print_statistics(options, runtime, &result, &out, seed);
        if (constraint && !mlxn_constraint_is_complete(constraint))
            cli_note(options->quiet, "the text ends before the grammar does");
        if (kept) cli_note(options->quiet, "%u tokens of the prompt came from %s", kept, options->prompt_cache);
        int saved = cli_save_prompt(options, runtime);
        code = code ? code : saved;
        if (!code && (interrupted || result.finish == MLXN_FINISH_CANCELLED)) code = EXIT_INTERRUPTED;
    }
    mlxn_free_memory(result.ids);
    mlxn_sampler_destroy(sampler);
    free(out.text);
    json_decref(out.logprobs);
    return code;
}

int cmd_generate(const cli_options *options) {
    cli_runtime runtime = {0};
    mlxn_token *prompt = NULL;
    mlxn_grammar *grammar = NULL;
    mlxn_constraint *constraint = NULL;
    cli_conversation conversation = {0};
    size_t n_prompt = 0;
    int code = EXIT_GOOD;
    /* What needs no model is checked before seconds go into loading one. */
    const char *needs = options->raw || options->ids ? cli_needs_template(options) : NULL;
    if (needs)
        code = cli_fail(EXIT_USAGE, "%s needs a chat template; leave it out, or %s", needs,
                        options->raw ? "--raw" : "--ids");
    else if (!options->prompt && !options->file && !options->messages)
        code = cli_fail(EXIT_USAGE, "generate: there is no prompt; give -p TEXT, or -f FILE (- is standard input)");
    else if (options->prompt && !*options->prompt)
        code = cli_fail(EXIT_USAGE, "the prompt is empty; give some text after -p or in the file of -f");
    else if (options->logprobs >= 0 && !options->json)
        code = cli_fail(EXIT_USAGE, "--logprobs needs --json, which prints them");
    if (!code) code = cli_open_grammar(options, options->file && !strcmp(options->file, "-") ? "-f" : NULL, &grammar);
    if (!code) code = cli_open_conversation(options, &conversation);
    if (!code) code = cli_open_model(options, false, &runtime);
    if (!code && grammar) code = cli_open_constraint(&runtime, grammar, &constraint);
    if (!code) code = cli_prompt_ids(options, &runtime, options->raw ? NULL : &conversation, &prompt, &n_prompt);
    if (!code) code = cli_open_context(options, cli_ctx_size(options), 1, &runtime);
    if (!code && n_prompt > mlxn_context_size(runtime.context)) code = cli_fail_too_long(&runtime, n_prompt);
    if (!code) code = generate(options, &runtime, prompt, n_prompt, constraint);
    free(prompt);
    mlxn_constraint_destroy(constraint);
    mlxn_grammar_release(&grammar);
    cli_close_conversation(&conversation);
    cli_runtime_close(&runtime);
    return code;
}
