/* conversation.c: what a conversation begins with, from the options, and its prompt through the chat template. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

const char *cli_needs_template(const cli_options *options) {
    return options->system               ? "--system"
           : options->messages           ? "--messages"
           : options->tools              ? "--tools"
           : options->chat_template      ? "--chat-template"
           : options->template_variables ? "--template-variables"
                                         : NULL;
}

/* One of the two files; standard input may be taken by something else. */
static int read_json(const cli_options *options, const char *option, const char *path, json_t **json, char **text) {
    size_t bytes = 0;
    json_error_t at;
    bool taken = !strcmp(options->command, "chat") || (options->file && !strcmp(options->file, "-")) ||
                 (options->messages != path && options->messages && !strcmp(options->messages, "-"));
    if (!strcmp(path, "-") && taken)
        return cli_fail(EXIT_USAGE, "%s: standard input is read for something else; give a file", option);
    int code = cli_read_file(option, path, text, &bytes);
    if (code) return code;
    *json = json_loadb(*text, bytes, JSON_ALLOW_NUL, &at);
    if (!*json)
        return cli_fail(EXIT_FAILED, "%s: %s: no JSON: line %d, column %d: %s; give a JSON list", option, path,
                        at.line, at.column, at.text);
    return json_is_array(*json)
               ? EXIT_GOOD
               : cli_fail(EXIT_FAILED, "%s: %s: is JSON, but no list; put it in brackets", option, path);
}

/* --system goes before the messages of the file. */
static int add_system(const cli_options *options, json_t *list, cli_conversation *out) {
    const char *role = json_string_value(json_object_get(json_array_get(list, 0), "role"));
    if (role && !strcmp(role, "system"))
        return cli_fail(EXIT_USAGE, "--system: the messages of %s have a system message already; leave one out",
                        options->messages);
    json_t *message =
        json_pack("{s:s,s:o}", "role", "system", "content", cli_json_text(options->system, strlen(options->system)));
    free(out->messages);
    out->messages = json_array_insert_new(list, 0, message) ? NULL : json_dumps(list, 0);
    out->system = NULL;
    return out->messages ? EXIT_GOOD : cli_fail(EXIT_FAILED, "out of memory; give fewer messages");
}

static int open_template(const char *path, cli_conversation *out) {
    char *text = NULL;
    size_t bytes = 0;
    mlxn_error error = {0};
    if (access(path, F_OK)) {
        out->name = path;
        if (!strchr(path, '/') && !strstr(path, ".jinja")) return EXIT_GOOD;
    }
    int code = cli_read_file("--chat-template", path, &text, &bytes);
    out->name = NULL;
    if (!code && mlxn_template_compile(text, bytes, path, &out->compiled, &error))
        code =
            cli_fail(EXIT_FAILED, "--chat-template: %s; mend the template, or leave the option out", error.message);
    free(text);
    return code;
}

int cli_open_conversation(const cli_options *options, cli_conversation *out) {
    int code = EXIT_GOOD;
    out->system = options->system;
    out->variables = options->template_variables;
    if (options->chat_template) code = open_template(options->chat_template, out);
    if (!code && options->messages) {
        json_t *list = NULL;
        code = read_json(options, "--messages", options->messages, &list, &out->messages);
        if (!code && out->system) code = add_system(options, list, out);
        json_decref(list);
    }
    if (!code && options->tools) {
        json_t *list = NULL;
        code = read_json(options, "--tools", options->tools, &list, &out->tools);
        json_decref(list);
    }
    return code;
}

void cli_close_conversation(cli_conversation *c) {
    free(c->messages);
    free(c->tools);
    mlxn_template_destroy(&c->compiled);
}

int cli_chat_ids(const cli_conversation *c, const cli_runtime *runtime, const mlxn_message *messages,
                 size_t n_messages, mlxn_token **ids, size_t *n) {
    mlxn_error error = {0};
    char *text = NULL;
    size_t bytes = 0;
    mlxn_chat_desc desc = {.struct_size = sizeof desc,
                           .add_generation_prompt = true,
                           .messages_json = c->messages,
                           .messages_bytes = c->messages ? strlen(c->messages) : 0,
                           .messages = messages,
                           .n_messages = n_messages,
                           .tools = c->tools,
                           .tools_bytes = c->tools ? strlen(c->tools) : 0,
                           .variables = c->variables,
                           .variables_bytes = c->variables ? strlen(c->variables) : 0,
                           .compiled = c->compiled,
                           .template_name = c->name};
    const mlxn_tokenizer *tok = mlxn_model_tokenizer(runtime->model);
    if (!tok) return cli_fail(EXIT_FAILED, "the model has no tokenizer; give ids (generate --ids)");
    if (mlxn_chat_render(tok, &desc, &text, &bytes, NULL, &error))
        return cli_fail(EXIT_FAILED, "the chat prompt cannot be made: %s; `mlxn generate --raw` works without it",
                        error.message);
    int code = cli_tokenize(runtime, text, bytes, MLXN_TOKENIZE_NO_BOS, ids, n);
    mlxn_free_memory(text);
    return code;
}
