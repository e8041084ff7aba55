/* Promise: a chat prompt is what the model's own template gives when Jinja runs it. The expected texts were made with
 * jinja2 from the templates of the published models; the templates below are cut down to what tells the forms apart.
 */
#include "lm/chat.h"

#include "base/base.h"
#include "test.h"

static mlxn_string str(const char *s) { return (mlxn_string){s, s ? strlen(s) : 0}; }

static const char chatml[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are a "
    "helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}";
static const char chatml_tools[] =
    "{{- '<|im_start|>system\\n' }}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{{- \"<|im_start|>system\\nYou're \\\"Q\\\".\\nYes.<|im_end|>\\n\" }}";
static const char chatml_bare[] =
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}";
static const char gemma[] =
    "{{ bos_token }}\n{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}{{ '<start_of_turn>' + role + "
    "'\\n' + "
    "(first_user_prefix if loop.first else \"\") }}{{ message['content'] | trim }}{{ '<end_of_turn>\\n' }}";
static const char gemma_old[] =
    "{{ bos_token }}{{ '<start_of_turn>' + role + '\n' + (message['content'] | trim) + "
    "'<end_of_turn>\n' }}";
static const char gemma_one_line[] = "{{ messages[0]['content'] + '\\n' }}<start_of_turn><end_of_turn>";
static const char llama3[] =
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}";
static const char llama31[] =
    "{{- bos_token }}{%- set date_string = \"26 Jul 2024\" %}{{- "
    "\"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}"
    "{{- \"Cutting Knowledge Date: December 2023\\n\" }}{{- \"Today Date: \" + date_string + \"\\n\\n\" }}{{- "
    "\"<|eot_id|>\" }}";

static const mlxn_message one[] = {{"user", "Hi"}};
static const mlxn_message four[] = {
    {"system", "Be brief."}, {"user", "Hi\n"}, {"assistant", " Hello! "}, {"user", "  2+2?\xc2\xa0"}};
static const mlxn_message two[] = {{"user", "a"}, {"assistant", "b"}};
static const mlxn_message empty[] = {{"user", " \t\n"}};

typedef struct prompt_case {
    const char *chat_template, *bos;
    const mlxn_message *messages;
    size_t n;
    bool generate, has_bos;
    const char *want;
} prompt_case;

#define SMOL "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
#define FOUR                                                                                                     \
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi\n<|im_end|>\n<|im_start|>assistant\n Hello! " \
    "<|im_end|>\n<|im_start|>user\n  2+2?\xc2\xa0<|im_end|>\n<|im_start|>assistant\n"
#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
static const prompt_case cases[] = {
    {chatml, "<s>", one, 1, true, false, SMOL "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {chatml, "<s>", four, 4, true, false, FOUR},
    {chatml, "", two, 2, false, false, SMOL "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"},
    {chatml_tools, "", one, 1, false, false,
     "<|im_start|>system\nYou're \"Q\".\nYes.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"},
    {chatml_tools, "", four, 4, true, false, FOUR},
    {chatml_bare, "", one, 1, true, false, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {gemma, "<bos>", one, 1, true, true, "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"},
    {gemma, "<bos>", four, 4, true, true,
     "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
     "<start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n"},
    {gemma, "", one, 1, false, false, "<start_of_turn>user\nHi<end_of_turn>\n"},
    {gemma_old, "<bos>", four, 2, false, true, "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"},
    {gemma_one_line, "<bos>", four, 2, false, false, "<start_of_turn>user\nBe brief.\nHi<end_of_turn>\n"},
    {gemma_old, "<bos>", empty, 1, false, true, "<bos><start_of_turn>user\n<end_of_turn>\n"},
    {llama3, "<|begin_of_text|>", four, 4, true, true,
     "<|begin_of_text|>" HEADER("system") "Be brief.<|eot_id|>" HEADER("user") "Hi<|eot_id|>" HEADER(
         "assistant") "Hello!<|eot_id|>" HEADER("user") "2+2?<|eot_id|>" HEADER("assistant")},
    {llama31, "<|begin_of_text|>", one, 1, true, true,
     "<|begin_of_text|>" HEADER("system") "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul "
                                          "2024\n\n<|eot_id|>" HEADER("user") "Hi<|eot_id|>" HEADER("assistant")},
    {llama31, "<|begin_of_text|>", four, 2, false, true,
     "<|begin_of_text|>" HEADER(
         "system") "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief."
                   "<|eot_id|>" HEADER("user") "Hi<|eot_id|>"},
};

static void test_forms(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const prompt_case *c = &cases[i];
        char *text = NULL;
        bool has_bos = !c->has_bos;
        mlxn_error error = {0};
        mlxn_status status = mlxn_chat_format(str(c->chat_template), str(c->bos), c->messages, c->n, c->generate,
                                              &text, &has_bos, &error);
        CHECK(!status && !strcmp(text, c->want), "case %zu: %s\n--- got\n%s\n--- want\n%s", i, error.message,
              text ? text : "", c->want);
        CHECK(has_bos == c->has_bos, "case %zu: has_bos", i);
        mlxn_free(text);
    }
    CHECK(!strcmp(mlxn_chat_form(str(chatml)), "chatml") && !strcmp(mlxn_chat_form(str(gemma)), "gemma") &&
              !strcmp(mlxn_chat_form(str(llama31)), "llama3"),
          "names of the forms");
    CHECK(!mlxn_chat_form(str("{{ messages }}")) && !mlxn_chat_form(str("")), "no form");
}

static void refuse(const char *chat_template, const mlxn_message *m, size_t n, mlxn_status want, const char *says) {
    char *text = (char *)says;
    mlxn_error error = {0};
    mlxn_status got = mlxn_chat_format(str(chat_template), str("<bos>"), m, n, true, &text, NULL, &error);
    CHECK(got == want && !text && strstr(error.message, says), "status %d, want %d: %s", got, want, error.message);
}

static void test_errors(void) {
    static const mlxn_message tool[] = {{"user", "a"}, {"tool", "b"}}, hole[] = {{"user", NULL}},
                              none[] = {{NULL, "a"}};
    static const mlxn_message twice[] = {{"user", "a"}, {"user", "b"}}, late[] = {{"user", "a"}, {"system", "b"}};
    refuse("", one, 1, MLXN_ERR_UNSUPPORTED, "--raw");
    refuse("[INST] {{ x }} [/INST]", one, 1, MLXN_ERR_UNSUPPORTED, "ChatML, Gemma, Llama 3");
    refuse("<|im_start|>user<|im_sep|>x<|im_end|>", one, 1, MLXN_ERR_UNSUPPORTED, "none of");
    refuse(chatml, one, 0, MLXN_ERR_ARGUMENT, "no messages");
    refuse(chatml, NULL, 1, MLXN_ERR_ARGUMENT, "no messages");
    refuse(chatml, tool, 2, MLXN_ERR_ARGUMENT, "message 1 has role \"tool\"");
    refuse(chatml, hole, 1, MLXN_ERR_ARGUMENT, "message 0 has no content");
    refuse(chatml, none, 1, MLXN_ERR_ARGUMENT, "message 0 has no role");
    refuse(gemma, twice, 2, MLXN_ERR_ARGUMENT, "message 1 has role \"user\", want \"assistant\"");
    refuse(gemma, late, 2, MLXN_ERR_ARGUMENT, "message 1 has role \"system\"");
    refuse(gemma, four, 1, MLXN_ERR_ARGUMENT, "only message");
    refuse("<|start_header_id|><|end_header_id|><|eot_id|>\"Cutting Knowledge Date: x\\n\"", one, 1,
           MLXN_ERR_UNSUPPORTED, "date_string");
    refuse("<|start_header_id|><|end_header_id|><|eot_id|>\"Cutting Knowledge Date: \" + d", one, 1,
           MLXN_ERR_UNSUPPORTED, "not a literal");
}

static void test_no_memory(void) {
    static char large[3000];
    memset(large, 'x', sizeof large - 1);
    const mlxn_message m[] = {{"user", large}, {"assistant", large}};
    int done = 0;
    for (uint64_t k = 1; !done && k < 50; k++) {
        char *text = NULL;
        mlxn_error error = {0};
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_chat_format(str(chatml), str(""), m, 2, true, &text, NULL, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status ? status == MLXN_ERR_MEMORY && !text && error.message[0] : text != NULL, "k = %d", (int)k);
        done = !status;
        mlxn_free(text);
    }
    CHECK(done, "allocations end");
}

/* The files' own templates. */
static void test_models(void) {
    static const struct {
        const char *path, *one, *two;
    } models[] = {
        {"models/smollm2.gguf", SMOL "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
         SMOL "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"},
        {"models/qwen2.5-1.5b.gguf",
         "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
         "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
         "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"},
        {"models/gemma3-270m.gguf", NULL, NULL}, /* a base model without a template */
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        mlxn_gguf *file;
        mlxn_error error = {0};
        FILE *there = fopen(models[i].path, "rb");
        if (!there) {
            test_skips++;
            fprintf(stderr, "skipped: %s is not there (tools/get-model fetches it)\n", models[i].path);
            continue;
        }
        fclose(there);
        CHECK(!mlxn_gguf_open(models[i].path, &file, &error), "%s", error.message);
        mlxn_string t = {NULL, 0};
        mlxn_gguf_get_string(file, "tokenizer.chat_template", &t, NULL);
        CHECK((t.size > 0) == (models[i].one != NULL), "%s: template of %d bytes", models[i].path, (int)t.size);
        char *text = NULL;
        if (t.size) {
            CHECK(!mlxn_chat_format(t, str("<s>"), one, 1, true, &text, NULL, &error) && !strcmp(text, models[i].one),
                  "%s: %s%s", models[i].path, error.message, text ? text : "");
            mlxn_free(text);
            CHECK(
                !mlxn_chat_format(t, str("<s>"), two, 2, false, &text, NULL, &error) && !strcmp(text, models[i].two),
                "%s: %s%s", models[i].path, error.message, text ? text : "");
            mlxn_free(text);
            CHECK(!mlxn_chat_format(t, str("<s>"), four, 4, true, &text, NULL, &error) && !strcmp(text, FOUR),
                  "%s: %s%s", models[i].path, error.message, text ? text : "");
            mlxn_free(text);
        }
        mlxn_gguf_close(file);
    }
}

int main(void) {
    test_forms();
    test_errors();
    test_no_memory();
    test_models();
    return TEST_DONE();
}
