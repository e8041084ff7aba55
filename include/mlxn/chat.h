/* mlxn/chat.h: chat templates: from messages, tools and documents to the text of a prompt. Part of libmlxn-lm.
 *
 * Templates are written in the language of Jinja2; docs/CHAT-TEMPLATES.md has what of it runs and where it differs. A
 * template is untrusted input: it can reach nothing but what it is given, and its steps, nesting, memory and output
 * are limited. */
#ifndef MLXN_CHAT_H
#define MLXN_CHAT_H

#include <mlxn/lm.h>
#include <mlxn/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable after it was compiled: any thread may render it, several at a time. */
typedef struct mlxn_template mlxn_template;

/* `text` is copied (UTF-8, `bytes` without a final zero; at most 4 MiB). `name` stands in the messages of errors
 * (NULL: "template"). Errors, each with line and column (counted from 1, in characters): FORMAT (what the language
 * has no meaning for), UNSUPPORTED (include, import, extends, blocks, autoescape), LIMIT (nesting, size), ARGUMENT,
 * MEMORY. */
MLXN_API mlxn_status mlxn_template_compile(const char *text, size_t bytes, const char *name, mlxn_template **out,
                                           mlxn_error *error);
/* Sets *t to NULL; *t may be NULL. */
MLXN_API void mlxn_template_destroy(mlxn_template **t);

/* How a template is rendered; all zero but struct_size: with an empty context, the defaults, and the system's clock.
 */
typedef struct mlxn_template_desc {
    uint32_t struct_size;
    uint32_t max_depth;    /* nested expressions, statements, calls and values; 0 = 500, the most that is allowed */
    const char *variables; /* text of a JSON object: the variables; NULL = none */
    size_t variables_bytes;
    uint64_t max_steps;  /* about one per operation and per 32 bytes of text looked at; 0 = 20,000,000 */
    uint64_t max_memory; /* bytes of all values made; 0 = 256 MiB */
    uint64_t max_output; /* bytes of the longest text; 0 = 32 MiB */
    int64_t now;         /* what strftime_now tells, in local time: seconds since 1970 UTC; 0 = the system's clock */
} mlxn_template_desc;

/* `desc` may be NULL. *text is allocated and zero-terminated, free it with mlxn_free_memory; *bytes (may be NULL) is
 * its size. Errors, those of the template with line and column: ARGUMENT (an operation that its values do not allow,
 * raise_exception, variables that are not a JSON object), UNSUPPORTED (an unknown filter or test, a function that is
 * refused), LIMIT, MEMORY. */
MLXN_API mlxn_status mlxn_template_render(const mlxn_template *t, const mlxn_template_desc *desc, char **text,
                                          size_t *bytes, mlxn_error *error);

/* A conversation for mlxn_chat_render; what is not used stays zero. */
typedef struct mlxn_chat_desc {
    uint32_t struct_size;
    bool add_generation_prompt; /* open the assistant's turn */
    /* The conversation: the messages of a JSON list (objects, each with a text "role"), then those of the array. At
     * least one. */
    const char *messages_json;
    size_t messages_bytes;
    const mlxn_message *messages;
    size_t n_messages;
    const char *tools; /* JSON list of what the model may call, as the template wants it; NULL = none */
    size_t tools_bytes;
    /* JSON object of further variables, which hide those that are there: {"enable_thinking": false}, or "documents",
     * "date_string" ...; NULL = none. */
    const char *variables;
    size_t variables_bytes;
    /* Which template: a compiled one; else that of a name, the model's ("default", "tool_use" ...) or one of
     * "chatml", "gemma", "llama3", which are always there; else the model's "tool_use" if there are tools and it has
     * one, else its default one. */
    const mlxn_template *compiled;
    const char *template_name;
    uint64_t max_steps; /* as in mlxn_template_desc; this too: */
    int64_t now;
} mlxn_chat_desc;

/* The prompt of a conversation. The template sees `messages`, `tools` and `documents` (none unless given),
 * `add_generation_prompt`, `bos_token`, `eos_token`, `pad_token`, `unk_token` as far as the tokenizer has them, and
 * `variables`. *text is allocated and zero-terminated, free it with mlxn_free_memory; *bytes (may be NULL) is its
 * size, *has_bos (may be NULL) tells that it begins with the BOS token. Tokenize it with MLXN_TOKENIZE_NO_BOS.
 * Errors: UNSUPPORTED (no template, or tools given to a template that does not mention them), NOT_FOUND (no template
 * of that name; those that there are), ARGUMENT (what is no such JSON; no messages), and those of
 * mlxn_template_compile and mlxn_template_render, whose messages have the line and column and what raise_exception
 * said. Any thread. */
MLXN_API mlxn_status mlxn_chat_render(const mlxn_tokenizer *tok, const mlxn_chat_desc *desc, char **text,
                                      size_t *bytes, bool *has_bos, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
