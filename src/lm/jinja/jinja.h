/* jinja.h: the engine for the template language of chat templates, as the rest of the model layer sees it.
 *
 * A template is compiled once and may be rendered by any number of threads at a time. The language is that of Jinja2
 * in the form in which chat templates are run (docs/CHAT-TEMPLATES.md). */
#ifndef MLXN_LM_JINJA_H
#define MLXN_LM_JINJA_H

#include <mlxn/chat.h>

/* What a caller puts in the context beside its JSON: C strings, so that text need not be valid UTF-8. */
typedef struct mlxn_jn_variable {
    const char *name;
    const char *text; /* not zero-terminated */
    size_t bytes;
} mlxn_jn_variable;

/* What a rendering sees, in increasing order of precedence: `variables`, then `json` (texts of JSON values), then the
 * messages (those of the JSON list come first), the flag, then the members of the JSON object in `desc`. */
typedef struct mlxn_jn_context {
    const mlxn_jn_variable *variables;
    size_t n_variables;
    const mlxn_jn_variable *json;
    size_t n_json;
    const char *messages_json; /* a list; NULL: none */
    size_t messages_bytes;
    const mlxn_message *messages; /* both NULL: no variable "messages" */
    size_t n_messages;
    bool add_generation_prompt, has_add_generation_prompt;
} mlxn_jn_context;

mlxn_status mlxn_jn_render(const mlxn_template *t, const mlxn_jn_context *context, const mlxn_template_desc *desc,
                           char **text, size_t *bytes, mlxn_error *error);
/* True if a name of that spelling stands in an expression of the template. */
bool mlxn_jn_uses(const mlxn_template *t, const char *name);

#endif
