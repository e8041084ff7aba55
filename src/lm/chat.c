/* chat.c: from a conversation to the text of a prompt: chooses the template, checks the JSON, sets the variables. */
#include <jansson.h>
#include <mlxn/chat.h>

#include "lm/jinja/jinja.h"
#include "lm/lm_internal.h"
#include "lm/tok_internal.h"

/* Templates of common forms, for models that come without one. */
static const struct {
    const char *name, *text;
} known[] = {
    {"chatml",
     "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
     "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"},
    {"gemma", /* a system message goes before the next message */
     "{{ bos_token }}{% set ns = namespace(before='') %}{% for m in messages %}{% if m.role == 'system' %}"
     "{% set ns.before = ns.before + m.content + '\n\n' %}{% else %}"
     "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ ns.before }}{{ m.content | trim }}"
     "<end_of_turn>\n{% set ns.before = '' %}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"},
    {"llama3",
     "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
     "{{ m.content | trim }}<|eot_id|>{% endfor %}"
     "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"},
};
enum { N_KNOWN = sizeof known / sizeof *known };

/* ---- choice of the template ---- */

static bool find_own(const mlxn_tokenizer *tok, const char *want, mlxn_string *text) {
    mlxn_string name;
    for (uint32_t i = 0; mlxn_tokenizer_chat_template_at(tok, i, &name, text); i++)
        if (name.size == strlen(want) && !memcmp(name.data, want, name.size)) return true;
    *text = (mlxn_string){NULL, 0};
    return false;
}

static mlxn_status fail_name(const mlxn_tokenizer *tok, const char *want, mlxn_error *error) {
    char names[300] = "";
    size_t used = 0;
    mlxn_string name;
    for (uint32_t i = 0; mlxn_tokenizer_chat_template_at(tok, i, &name, NULL) && used < 200; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "\"%.*s\", ", (int)mlxn_min_u64(name.size, 60),
                                 name.data);
    return mlxn_fail(error, MLXN_ERR_NOT_FOUND,
                     "chat: there is no template \"%.60s\", want one of %s\"chatml\", \"gemma\", \"llama3\"", want,
                     names);
}

static mlxn_status choose(const mlxn_tokenizer *tok, const mlxn_chat_desc *d, mlxn_template **out,
                          mlxn_error *error) {
    mlxn_string text = {NULL, 0};
    char name[100] = "chat template";
    const char *want = d->template_name ? d->template_name : d->tools ? "tool_use" : NULL;
    bool found = want && find_own(tok, want, &text);
    for (size_t i = 0; !found && d->template_name && i < N_KNOWN; i++)
        if (!strcmp(known[i].name, want)) {
            found = true;
            text = (mlxn_string){known[i].text, strlen(known[i].text)};
        }
    if (!found && d->template_name) return fail_name(tok, want, error);
    if (found) snprintf(name, sizeof name, "chat template \"%.60s\"", want);
    if (!found) text = mlxn_tokenizer_chat_template(tok);
    if (!text.size)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "chat: the model has no chat template; it is a base model: give it plain text (--raw), or "
                         "name a template (--chat-template)");
    return mlxn_template_compile(text.data, text.size, name, out, error);
}

/* ---- JSON ---- */

static mlxn_status parse(const char *what, const char *text, size_t bytes, bool list, json_t **out,
                         mlxn_error *error) {
    json_error_t at;
    *out = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_DECODE_ANY, &at);
    if (!*out)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: %s are no JSON: line %d, column %d: %s", what, at.line,
                         at.column, at.text);
    if (list ? json_is_array(*out) : json_is_object(*out)) return MLXN_OK;
    json_decref(*out);
    *out = NULL;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: %s are JSON, but no %s", what, list ? "list" : "object");
}

static mlxn_status check_json(const mlxn_chat_desc *d, size_t *n_messages, mlxn_error *error) {
    json_t *j = NULL;
    *n_messages = 0;
    if (d->tools) {
        mlxn_status status = parse("the tools", d->tools, d->tools_bytes, true, &j, error);
        if (status) return status;
        json_decref(j);
    }
    if (d->variables) {
        mlxn_status status = parse("the variables", d->variables, d->variables_bytes, false, &j, error);
        if (status) return status;
        json_decref(j);
    }
    if (!d->messages_json) return MLXN_OK;
    mlxn_status status = parse("the messages", d->messages_json, d->messages_bytes, true, &j, error);
    for (size_t i = 0; !status && i < json_array_size(j); i++)
        if (!json_is_string(json_object_get(json_array_get(j, i), "role")))
            status =
                mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: message %zu is no JSON object with a text \"role\"", i);
    *n_messages = json_array_size(j);
    json_decref(j);
    return status;
}

static mlxn_status check(const mlxn_chat_desc *d, mlxn_error *error) {
    size_t n = 0;
    if (d->n_messages && !d->messages) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: messages is NULL");
    for (size_t i = 0; i < d->n_messages; i++)
        if (!d->messages[i].role || !d->messages[i].content)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: message %zu has no %s", i,
                             d->messages[i].role ? "content" : "role");
    mlxn_status status = check_json(d, &n, error);
    if (status) return status;
    return n + d->n_messages ? MLXN_OK : mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: no messages");
}

/* ---- rendering ---- */

static mlxn_status render(const mlxn_tokenizer *tok, const mlxn_chat_desc *d, const mlxn_template *t, char **text,
                          size_t *bytes, bool *has_bos, mlxn_error *error) {
    const struct {
        const char *name;
        mlxn_token id;
    } tokens[] = {{"bos_token", mlxn_tokenizer_bos(tok)},
                  {"eos_token", mlxn_tokenizer_eos(tok)},
                  {"pad_token", mlxn_tokenizer_pad(tok)},
                  {"unk_token", mlxn_tokenizer_unknown(tok)}};
    mlxn_jn_variable variables[4], json[2] = {{"tools", "null", 4}, {"documents", "null", 4}};
    size_t n = 0;
    if (d->tools) json[0] = (mlxn_jn_variable){"tools", d->tools, d->tools_bytes};
    for (size_t i = 0; i < 4; i++) {
        if (tokens[i].id < 0 || (uint32_t)tokens[i].id >= tok->tokens.count) continue;
        variables[n++] = (mlxn_jn_variable){tokens[i].name, mlxn_tok_text(&tok->tokens, (uint32_t)tokens[i].id),
                                            tok->tokens.items[tokens[i].id].size};
    }
    mlxn_jn_context context = {.variables = variables,
                               .n_variables = n,
                               .json = json,
                               .n_json = 2,
                               .messages_json = d->messages_json,
                               .messages_bytes = d->messages_bytes,
                               .messages = d->messages,
                               .n_messages = d->n_messages,
                               .add_generation_prompt = d->add_generation_prompt,
                               .has_add_generation_prompt = true};
    mlxn_template_desc desc = {.struct_size = sizeof desc,
                               .variables = d->variables,
                               .variables_bytes = d->variables_bytes,
                               .max_steps = d->max_steps,
                               .now = d->now};
    size_t size = 0;
    mlxn_status status = mlxn_jn_render(t, &context, &desc, text, &size, error);
    if (status) return status;
    if (bytes) *bytes = size;
    bool first = n && variables[0].name == tokens[0].name && variables[0].bytes && size >= variables[0].bytes;
    if (has_bos) *has_bos = first && !memcmp(*text, variables[0].text, variables[0].bytes);
    return MLXN_OK;
}

mlxn_status mlxn_chat_render(const mlxn_tokenizer *tok, const mlxn_chat_desc *desc, char **text, size_t *bytes,
                             bool *has_bos, mlxn_error *error) {
    mlxn_template *own = NULL;
    mlxn_chat_desc d;
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: text is NULL");
    *text = NULL;
    if (bytes) *bytes = 0;
    if (has_bos) *has_bos = false;
    if (!tok) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: tok is NULL");
    if (!mlxn_lm_copy_desc(&d, sizeof d, desc))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: desc.struct_size is 0, want %zu", sizeof d);
    mlxn_status status = check(&d, error);
    if (!status && !d.compiled) status = choose(tok, &d, &own, error);
    const mlxn_template *t = own ? own : d.compiled;
    if (!status && d.tools && !mlxn_jn_uses(t, "tools"))
        status = mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                           "chat: tools are given, but the chat template does not mention \"tools\"");
    if (!status) status = render(tok, &d, t, text, bytes, has_bos, error);
    mlxn_template_destroy(&own);
    return status ? status : mlxn_succeed(error);
}
