/* chat.c: `mlxn chat`: a conversation. Standard input gives one message per line, standard output gets the answers.
 *
 * The whole conversation is rendered through the model's chat template at every turn, but only the tokens that the
 * context does not hold yet are computed: the common beginning of what it holds and what is wanted stays
 * (mlxn_context_reuse). Ctrl-C stops the answer, and what was said of it remains part of the conversation. */
#define _GNU_SOURCE /* ppoll */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

typedef struct chat {
    const cli_options *options;
    cli_runtime *runtime;
    cli_conversation conversation; /* what it begins with */
    mlxn_sampler *sampler;
    mlxn_constraint *constraint; /* that each answer follows, or NULL */
    mlxn_message *messages;      /* contents are owned */
    size_t n_messages, room;
    bool terminal; /* a person types */
} chat;

typedef struct answer {
    char *text;
    size_t bytes, room;
    bool failed;
} answer;

static void forget(chat *c, size_t keep) {
    while (c->n_messages > keep) free((char *)c->messages[--c->n_messages].content);
}

static bool add_message(chat *c, const char *role, const char *content) {
    if (c->n_messages == c->room) {
        size_t room = c->room * 2 + 8;
        mlxn_message *more = realloc(c->messages, room * sizeof *more);
        if (!more) return false;
        c->messages = more;
        c->room = room;
    }
    char *copy = strdup(content);
    if (!copy) return false;
    c->messages[c->n_messages++] = (mlxn_message){role, copy};
    return true;
}

/* The conversation before the first question: the system message, if there is one. */
static bool start(chat *c) {
    forget(c, 0);
    return !c->conversation.system || add_message(c, "system", c->conversation.system);
}

static bool on_token(void *user, mlxn_token token, const char *text, size_t bytes) {
    answer *a = user;
    (void)token;
    if (!bytes) return true;
    if (fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout)) a->failed = true;
    if (a->bytes + bytes + 1 > a->room) {
        size_t room = (a->bytes + bytes + 1) * 2;
        char *more = realloc(a->text, room);
        if (!more) a->failed = true;
        if (!more) return false;
        a->text = more;
        a->room = room;
    }
    memcpy(a->text + a->bytes, text, bytes);
    a->bytes += bytes;
    a->text[a->bytes] = 0;
    return !a->failed;
}

static int generate(chat *c, const mlxn_token *ids, size_t n, answer *a, mlxn_generate_result *result) {
    uint32_t keep = 0;
    int code = EXIT_GOOD;
    mlxn_error error = {0};
    if (mlxn_context_reuse(c->runtime->context, 0, ids, n, &keep, &error))
        return cli_fail(EXIT_FAILED, "the context could not be cut: %s; start the chat again", error.message);
    cli_progress progress;
    cli_progress_begin(&progress, "reading", c->options->quiet);
    mlxn_generate_desc desc = {.struct_size = sizeof desc,
                               .n_predict = (uint32_t)c->options->n_predict,
                               .ignore_eos = c->options->ignore_eos,
                               .constraint = c->constraint,
                               .on_token = on_token,
                               .on_token_user = a,
                               .on_prompt = cli_progress_step,
                               .on_prompt_user = &progress};
    mlxn_status status = MLXN_OK;
    cli_interrupt_arm(c->runtime->context);
    /* A Ctrl-C that came between two answers has cancelled the next call: that one is not to blame. */
    for (int attempt = 0; attempt < 2; attempt++) {
        mlxn_constraint_reset(c->constraint);
        status = mlxn_generate(c->runtime->context, ids + keep, n - keep, c->sampler, &desc, result, &error);
        bool stale = result->finish == MLXN_FINISH_CANCELLED && !result->n_ids && !cli_interrupted();
        if (status || !stale || a->failed || mlxn_context_length(c->runtime->context, 0) != keep) break;
        mlxn_free_memory(result->ids);
        memset(result, 0, sizeof *result);
    }
    cli_interrupt_disarm();
    cli_progress_end(&progress);
    if (status == MLXN_ERR_CANCELLED) {
        result->finish = MLXN_FINISH_CANCELLED;
        status = MLXN_OK;
    }
    if (status) code = cli_fail(EXIT_FAILED, "the answer failed: %s; /reset starts over", error.message);
    return code;
}

static void print_statistics(const chat *c, const mlxn_generate_result *result) {
    if (!c->terminal) return;
    cli_note(c->options->quiet, "[%llu tokens read, %.1f tokens/s; %zu written, %.1f tokens/s; %u of %u in use%s]",
             (unsigned long long)result->n_prompt, cli_rate(result->n_prompt, result->prompt_ns), result->n_ids,
             cli_rate(result->n_decode, result->decode_ns), mlxn_context_length(c->runtime->context, 0),
             mlxn_context_size(c->runtime->context), result->finish == MLXN_FINISH_CANCELLED ? "; stopped" : "");
}

/* One question. Failures that leave the chat usable are told and forgotten; *code stays good for them. */
static int take_turn(chat *c, const char *question) {
    size_t before = c->n_messages, n = 0;
    mlxn_token *ids = NULL;
    answer a = {0};
    mlxn_generate_result result;
    memset(&result, 0, sizeof result);
    if (!add_message(c, "user", question)) return cli_fail(EXIT_FAILED, "out of memory; /reset starts over");
    int code = cli_chat_ids(&c->conversation, c->runtime, c->messages, c->n_messages, &ids, &n);
    if (!code && n >= mlxn_context_size(c->runtime->context))
        code = cli_fail(EXIT_FAILED,
                        "the conversation has %zu tokens, the context holds %u; /reset starts over, a larger "
                        "-c holds more",
                        n, mlxn_context_size(c->runtime->context));
    if (!code) code = generate(c, ids, n, &a, &result);
    if (a.bytes && a.text[a.bytes - 1] != '\n') putchar('\n');
    fflush(stdout);
    if (!code && (a.failed || !add_message(c, "assistant", a.text ? a.text : "")))
        code = cli_fail(EXIT_FAILED, "the answer could not be kept or written; /reset starts over");
    if (code)
        forget(c, before);
    else
        print_statistics(c, &result);
    mlxn_free_memory(result.ids);
    free(a.text);
    free(ids);
    return code;
}

/* Lines that begin with '/'. True when the chat is to go on. */
static bool obey(chat *c, const char *line) {
    if (!strcmp(line, "/exit") || !strcmp(line, "/quit")) return false;
    if (!strcmp(line, "/reset")) {
        if (start(c)) cli_note(c->options->quiet, "[a new conversation]");
    } else if (!strcmp(line, "/help")) {
        cli_note(false, "/reset  forget the conversation");
        cli_note(false, "/exit   leave (so does the end of input, Ctrl-D)");
        cli_note(false, "/help   print this");
        cli_note(false, "Ctrl-C  stop the answer");
    } else {
        cli_note(false, "there is no command \"%s\"; /help lists them", line);
    }
    return true;
}

/* Waits until the terminal has a line. Ctrl-C is let in only while waiting, so that it cannot fall between the look
 * at the flag and the wait. */
static void await_line(void) {
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    pthread_sigmask(SIG_BLOCK, &block, &before);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (!cli_interrupted()) ppoll(&input, 1, NULL, &before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* One line without its end, or NULL at the end of input. *interrupted: Ctrl-C instead of a line. */
static char *read_line(const chat *c, char **line, size_t *room, bool *interrupted) {
    *interrupted = false;
    cli_interrupt_arm(NULL); /* before the prompt: whoever sees it may press Ctrl-C */
    if (c->terminal) {
        fprintf(stderr, "> ");
        await_line();
    }
    errno = 0;
    ssize_t n = cli_interrupted() ? -1 : getline(line, room, stdin);
    int reason = errno;
    *interrupted = cli_interrupted();
    cli_interrupt_disarm();
    if (n < 0 && (reason == EINTR || *interrupted)) {
        *interrupted = true;
        clearerr(stdin);
        return NULL;
    }
    if (n < 0) return NULL;
    while (n > 0 && ((*line)[n - 1] == '\n' || (*line)[n - 1] == '\r')) (*line)[--n] = 0;
    return *line;
}

static int converse(chat *c) {
    char *line = NULL;
    size_t room = 0;
    bool interrupted = false, warned = false;
    int code = EXIT_GOOD;
    for (;;) {
        char *text = read_line(c, &line, &room, &interrupted);
        if (interrupted) {
            if (warned || !c->terminal) {
                code = EXIT_INTERRUPTED;
                break;
            }
            warned = true;
            fprintf(stderr, "\n(Ctrl-C once more, or /exit, leaves)\n");
            continue;
        }
        if (!text) break;
        warned = false;
        text += strspn(text, " \t");
        if (!*text) continue;
        if (*text == '/') {
            if (!obey(c, text)) break;
            continue;
        }
        int turn = take_turn(c, text);
        if (ferror(stdout)) break;
        if (turn && !c->terminal) code = turn; /* a script sees it; a person has read it */
    }
    if (c->terminal) fputc('\n', stderr);
    free(line);
    return code;
}

int cmd_chat(const cli_options *options) {
    cli_runtime runtime = {0};
    chat c = {.options = options, .runtime = &runtime, .terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO)};
    uint64_t seed = 0;
    mlxn_grammar *grammar = NULL;
    int code = cli_open_grammar(options, "chat", &grammar);
    if (!code) code = cli_open_conversation(options, &c.conversation);
    if (!code) code = cli_open_model(options, false, &runtime);
    if (!code && !runtime.info.has_chat_template && !c.conversation.name && !c.conversation.compiled)
        code =
            cli_fail(EXIT_FAILED,
                     "the model has no chat template; give one with --chat-template, or use `mlxn generate --raw`");
    if (!code) code = cli_open_context(options, cli_ctx_size(options), 1, &runtime);
    if (!code) code = cli_open_sampler(options, &runtime, &c.sampler, &seed);
    if (!code && grammar) code = cli_open_constraint(&runtime, grammar, &c.constraint);
    if (!code && !start(&c)) code = cli_fail(EXIT_FAILED, "out of memory; close other programs");
    if (!code) {
        cli_note(options->quiet, "%s, %u tokens of context, seed %llu; /help lists commands",
                 runtime.info.name ? runtime.info.name : "model", mlxn_context_size(runtime.context),
                 (unsigned long long)seed);
        code = converse(&c);
    }
    forget(&c, 0);
    free(c.messages);
    mlxn_sampler_destroy(c.sampler);
    mlxn_constraint_destroy(c.constraint);
    mlxn_grammar_release(&grammar);
    cli_close_conversation(&c.conversation);
    cli_runtime_close(&runtime);
    return code;
}
