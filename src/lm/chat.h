/* chat.h: from messages to the text of a model's chat prompt.
 *
 * The file's template (a Jinja program, key tokenizer.chat_template) is not run. It is recognised as one of the forms
 * that mlxn knows, and what differs between models of one form (a default system message, trimming, a leading BOS,
 * the dates of Llama 3.1) is taken from its text. */
#ifndef MLXN_LM_CHAT_H
#define MLXN_LM_CHAT_H

#include <mlxn/io.h>
#include <mlxn/lm.h>

/* `chat_template` has size 0 if the file has none. `bos` is the text of the BOS token (size 0 if the model has none):
 * forms whose template begins with bos_token put it first and set *has_bos (may be NULL). *text is allocated with
 * mlxn_alloc, zero-terminated. Errors: UNSUPPORTED (no template, unknown form), ARGUMENT (no messages, NULL strings,
 * role other than "system", "user", "assistant", or an order that the form cannot express), MEMORY. */
mlxn_status mlxn_chat_format(mlxn_string chat_template, mlxn_string bos, const mlxn_message *messages, size_t n,
                             bool add_generation_prompt, char **text, bool *has_bos, mlxn_error *error);
/* "chatml", "gemma", "llama3", or NULL if the template is of none of these forms. */
const char *mlxn_chat_form(mlxn_string chat_template);

#endif
