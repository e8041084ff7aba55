/* chat.c: the three forms of chat prompt, recognised by the marks that their templates contain. */
#include "lm/chat.h"

#include "base/base.h"
#include "lm/utf8.h"

typedef struct text_builder {
    char *data;
    size_t size, capacity;
    bool failed;
} text_builder;

static void put(text_builder *b, const char *s, size_t n) {
    if (b->failed) return;
    if (b->capacity - b->size <= n) { /* one byte is kept for the final zero */
        size_t capacity;
        if (__builtin_add_overflow(b->size, n, &capacity) ||
            __builtin_add_overflow(capacity, capacity / 2 + 256, &capacity)) {
            b->failed = true;
            return;
        }
        char *grown = mlxn_realloc_array(b->data, capacity, 1);
        if (!grown) {
            b->failed = true;
            return;
        }
        b->data = grown;
        b->capacity = capacity;
    }
    if (n) memcpy(b->data + b->size, s, n);
    b->size += n;
    b->data[b->size] = 0;
}

static void put_text(text_builder *b, const char *s) { put(b, s, strlen(s)); }

/* The place of `what` in s[from..), or SIZE_MAX. */
static size_t find(mlxn_string s, size_t from, const char *what) {
    size_t n = strlen(what);
    while (from < s.size && s.size - from >= n) {
        const char *hit = memchr(s.data + from, what[0], s.size - from - n + 1);
        if (!hit) break;
        from = (size_t)(hit - s.data);
        if (memcmp(hit, what, n) == 0) return from;
        from++;
    }
    return SIZE_MAX;
}

static bool has(mlxn_string s, const char *what) { return find(s, 0, what) != SIZE_MAX; }

typedef enum form { FORM_NONE, FORM_CHATML, FORM_GEMMA, FORM_LLAMA3 } form;

static form recognise(mlxn_string t) {
    /* Templates with <|im_sep|> put it where ChatML has a line end. */
    if (has(t, "<|im_start|>") && has(t, "<|im_end|>") && !has(t, "<|im_sep|>")) return FORM_CHATML;
    if (has(t, "<start_of_turn>") && has(t, "<end_of_turn>")) return FORM_GEMMA;
    if (has(t, "<|start_header_id|>") && has(t, "<|end_header_id|>") && has(t, "<|eot_id|>")) return FORM_LLAMA3;
    return FORM_NONE;
}

const char *mlxn_chat_form(mlxn_string chat_template) {
    static const char *const names[] = {NULL, "chatml", "gemma", "llama3"};
    return names[recognise(chat_template)];
}

/* White space as Jinja's `trim` (Python's str.strip) has it. */
static bool is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static void put_trimmed(text_builder *b, const char *s) {
    size_t n = strlen(s), start = 0, end = 0;
    bool begun = false;
    for (size_t i = 0; i < n;) {
        uint32_t code = 'x', length = mlxn_utf8_read(s + i, n - i, &code, NULL);
        if (!length) length = 1;
        if (!is_space(code)) {
            if (!begun) start = i;
            begun = true;
            end = i + length;
        }
        i += length;
    }
    if (begun) put(b, s + start, end - start);
}

/* Reads a piece of a string literal of the template, from `at` to `until` (exclusive), undoing backslashes. Stops
 * without success at the quote that ends the literal. `quote` 0: unknown, either quote ends it. */
static bool put_literal(text_builder *b, mlxn_string t, size_t at, const char *until, char quote) {
    size_t n = strlen(until);
    for (; at < t.size; at++) {
        if (t.size - at >= n && memcmp(t.data + at, until, n) == 0) return true;
        char c = t.data[at];
        if (quote ? c == quote : c == '"' || c == '\'') return false;
        if (c == '\\' && at + 1 < t.size) {
            c = t.data[++at];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        put(b, &c, 1);
    }
    return false;
}

/* The system message that a ChatML template supplies itself: a literal of the template that opens a system turn and
 * closes it again. False if there is none. */
static bool default_system(mlxn_string t, text_builder *out) {
    static const char open[] = "<|im_start|>system";
    for (size_t at = 0; (at = find(t, at, open)) != SIZE_MAX;) {
        char quote = at && (t.data[at - 1] == '"' || t.data[at - 1] == '\'') ? t.data[at - 1] : 0;
        at += strlen(open);
        size_t text = at;
        if (text < t.size && t.data[text] == '\n')
            text++;
        else if (t.size - text >= 2 && t.data[text] == '\\' && t.data[text + 1] == 'n')
            text += 2;
        else
            continue;
        out->size = 0;
        if (put_literal(out, t, text, "<|im_end|>", quote) && out->size) return true;
    }
    out->size = 0;
    return false;
}

static bool is_role(const mlxn_message *m, const char *role) { return strcmp(m->role, role) == 0; }

static void chatml_turn(text_builder *b, const char *role, const char *content, size_t n) {
    put_text(b, "<|im_start|>");
    put_text(b, role);
    put_text(b, "\n");
    put(b, content, n);
    put_text(b, "<|im_end|>\n");
}

static mlxn_status chatml(text_builder *b, mlxn_string t, const mlxn_message *m, size_t n, bool generate) {
    if (!is_role(&m[0], "system")) {
        text_builder text = {0};
        if (default_system(t, &text)) chatml_turn(b, "system", text.data, text.size);
        b->failed |= text.failed;
        mlxn_free(text.data);
    }
    for (size_t i = 0; i < n; i++) chatml_turn(b, m[i].role, m[i].content, strlen(m[i].content));
    if (generate) put_text(b, "<|im_start|>assistant\n");
    return MLXN_OK;
}

/* What the template puts between a system message and the first user message. */
static void gemma_separator(text_builder *b, mlxn_string t) {
    static const char before[] = "messages[0]['content'] + '";
    size_t at = find(t, 0, before), size = b->size;
    if (at != SIZE_MAX && put_literal(b, t, at + strlen(before), "'", '\'')) return;
    b->size = size;
    put_text(b, "\n\n");
}

/* Gemma has no system turn: a leading system message goes before the first user message. */
static mlxn_status gemma(text_builder *b, mlxn_string t, const mlxn_message *m, size_t n, bool generate,
                         mlxn_error *error) {
    const char *prefix = NULL;
    if (is_role(&m[0], "system")) {
        prefix = m[0].content;
        if (n == 1)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "chat: the only message is a system message, which this model's "
                             "prompt can only put before a user message");
    }
    for (size_t i = prefix ? 1 : 0, turn = 0; i < n; i++, turn++) {
        const char *want = turn % 2 ? "assistant" : "user";
        if (!is_role(&m[i], want))
            return mlxn_fail(
                error, MLXN_ERR_ARGUMENT,
                "chat: message %zu has role \"%s\", want \"%s\": this model's prompt alternates user and "
                "assistant",
                i, m[i].role, want);
        put_text(b, turn % 2 ? "<start_of_turn>model\n" : "<start_of_turn>user\n");
        if (!turn && prefix) {
            put_text(b, prefix);
            gemma_separator(b, t);
        }
        put_trimmed(b, m[i].content);
        put_text(b, "<end_of_turn>\n");
    }
    if (generate) put_text(b, "<start_of_turn>model\n");
    return MLXN_OK;
}

static void llama3_open(text_builder *b, const char *role) {
    put_text(b, "<|start_header_id|>");
    put_text(b, role);
    put_text(b, "<|end_header_id|>\n\n");
}

/* Since Llama 3.1 a system turn is always there and begins with two dates. "Today" is the date that the template
 * falls back to, so that a prompt is the same on every day. */
static mlxn_status llama3_dates(text_builder *b, mlxn_string t, mlxn_error *error) {
    static const char cutting[] = "Cutting Knowledge Date: ";
    put_text(b, cutting);
    if (!put_literal(b, t, find(t, 0, cutting) + strlen(cutting), "\\n", '"'))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "chat: the template's \"Cutting Knowledge Date\" is not a literal");
    put_text(b, "\nToday Date: ");
    static const char *const names[] = {"date_string = \"", "date_string=\""};
    for (size_t i = 0; i < 2; i++) {
        size_t at = find(t, 0, names[i]);
        if (at == SIZE_MAX) continue;
        if (put_literal(b, t, at + strlen(names[i]), "\"", '"')) {
            put_text(b, "\n\n");
            return MLXN_OK;
        }
    }
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                     "chat: the template has \"Cutting Knowledge Date\" but no date_string");
}

static mlxn_status llama3(text_builder *b, mlxn_string t, const mlxn_message *m, size_t n, bool generate,
                          mlxn_error *error) {
    size_t i = 0;
    if (has(t, "Cutting Knowledge Date: ")) {
        llama3_open(b, "system");
        mlxn_status status = llama3_dates(b, t, error);
        if (status != MLXN_OK) return status;
        if (is_role(&m[0], "system")) put_trimmed(b, m[i++].content);
        put_text(b, "<|eot_id|>");
    }
    for (; i < n; i++) {
        llama3_open(b, m[i].role);
        put_trimmed(b, m[i].content);
        put_text(b, "<|eot_id|>");
    }
    if (generate) llama3_open(b, "assistant");
    return MLXN_OK;
}

static mlxn_status check_messages(const mlxn_message *m, size_t n, mlxn_error *error) {
    if (!m || !n) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: no messages");
    for (size_t i = 0; i < n; i++) {
        if (!m[i].role || !m[i].content)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "chat: message %zu has no %s", i,
                             m[i].role ? "content" : "role");
        if (!is_role(&m[i], "system") && !is_role(&m[i], "user") && !is_role(&m[i], "assistant"))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "chat: message %zu has role \"%.60s\", want \"system\", \"user\" or \"assistant\"", i,
                             m[i].role);
    }
    return MLXN_OK;
}

mlxn_status mlxn_chat_format(mlxn_string chat_template, mlxn_string bos, const mlxn_message *messages, size_t n,
                             bool add_generation_prompt, char **text, bool *has_bos, mlxn_error *error) {
    *text = NULL;
    if (has_bos) *has_bos = false;
    mlxn_status status = check_messages(messages, n, error);
    if (status != MLXN_OK) return status;
    if (!chat_template.size)
        return mlxn_fail(
            error, MLXN_ERR_UNSUPPORTED,
            "chat: the model file has no chat template (tokenizer.chat_template); it is a base model: give "
            "it plain text (--raw)");
    form which = recognise(chat_template);
    if (which == FORM_NONE)
        return mlxn_fail(
            error, MLXN_ERR_UNSUPPORTED,
            "chat: the model's chat template is none of ChatML, Gemma, Llama 3; write the prompt with its "
            "marks yourself and give it as plain text (--raw)");
    text_builder b = {0};
    put(&b, "", 0); /* there is text even if nothing follows */
    bool leads = bos.size && has(chat_template, "bos_token");
    if (leads) put(&b, bos.data, bos.size);
    if (which == FORM_CHATML) status = chatml(&b, chat_template, messages, n, add_generation_prompt);
    if (which == FORM_GEMMA) status = gemma(&b, chat_template, messages, n, add_generation_prompt, error);
    if (which == FORM_LLAMA3) status = llama3(&b, chat_template, messages, n, add_generation_prompt, error);
    if (status == MLXN_OK && b.failed) status = mlxn_fail(error, MLXN_ERR_MEMORY, "chat: no memory for the prompt");
    if (status != MLXN_OK) {
        mlxn_free(b.data);
        return status;
    }
    if (has_bos) *has_bos = leads;
    *text = b.data;
    return mlxn_succeed(error);
}
