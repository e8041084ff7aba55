/* Promise: a conversation becomes the prompt that Jinja2 gives when transformers calls it, with system messages,
 * tools and special tokens: every case of tests/vectors/chat/cases.json (tests/vectors/make_chats.py), for templates
 * of well-known families and for those of the models' own files. The right template is chosen, and what is wrong is
 * named: a template's place, what it raises, what is no JSON. */
#define _GNU_SOURCE /* setenv, memmem */
#include <jansson.h>
#include <mlxn/chat.h>
#include <time.h>

#include "base/base.h"
#include "test.h"

static const char vocabulary[] =
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]},\"added_tokens\":["
    "{\"id\":2,\"content\":\"<s>\",\"special\":true},{\"id\":3,\"content\":\"</s>\",\"special\":true}]}";

/* A tokenizer with BOS and EOS whose tokenizer_config.json has that chat_template, which is taken over. */
static mlxn_tokenizer *tokenizer(json_t *template) {
    json_t *config = json_pack("{s:s,s:s}", "bos_token", "<s>", "eos_token", "</s>");
    if (template) json_object_set_new(config, "chat_template", template);
    char *text = json_dumps(config, 0);
    mlxn_tokenizer *tok = NULL;
    mlxn_error error = {0};
    CHECK(!mlxn_tokenizer_from_json(vocabulary, sizeof vocabulary - 1, text, strlen(text), &tok, &error), "%s",
          error.message);
    free(text);
    json_decref(config);
    return tok;
}

static char *dump(json_t *j, size_t *bytes) {
    char *text = j ? json_dumps(j, 0) : NULL;
    *bytes = text ? strlen(text) : 0;
    return text;
}

static void check_case(const mlxn_tokenizer *tok, const char *name, size_t i, json_t *c, int64_t now) {
    mlxn_chat_desc d = {.struct_size = sizeof d, .now = now};
    char *messages = dump(json_object_get(c, "messages"), &d.messages_bytes), *got = NULL;
    char *tools = dump(json_object_get(c, "tools"), &d.tools_bytes);
    char *variables = dump(json_object_get(c, "variables"), &d.variables_bytes);
    d.messages_json = messages, d.tools = tools, d.variables = variables;
    d.add_generation_prompt = json_is_true(json_object_get(c, "add_generation_prompt"));
    json_t *want = json_object_get(c, "output");
    const char *raised = json_string_value(json_object_get(c, "error"));
    size_t bytes = 0;
    bool has_bos = false;
    mlxn_error error = {0};
    mlxn_status status = mlxn_chat_render(tok, &d, &got, &bytes, &has_bos, &error);
    mlxn_string template = mlxn_tokenizer_chat_template(tok);
    if (tools && !memmem(template.data, template.size, "tools", 5)) { /* Jinja2 drops them without a word */
        CHECK(status == MLXN_ERR_UNSUPPORTED && strstr(error.message, "mention"), "%s %zu: %s", name, i,
              error.message);
    } else if (want) {
        CHECK(!status && bytes == json_string_length(want) && !memcmp(got, json_string_value(want), bytes),
              "%s %zu: %s\n--- got\n%s\n--- want\n%s", name, i, error.message, got ? got : "",
              json_string_value(want));
        CHECK(!got || mlxn_tokenizer_bos(tok) != 2 || has_bos == !strncmp(got, "<s>", 3), "%s %zu: has_bos", name, i);
    } else {
        CHECK(status && !got && strstr(error.message, "chat template: line "), "%s %zu: %s, want \"%s\"", name, i,
              error.message, raised);
    }
    mlxn_free_memory(got);
    free(messages);
    free(tools);
    free(variables);
}

static void test_families(json_t *file, int64_t now) {
    size_t i, k, n = 0;
    json_t *family, *c;
    json_array_foreach(json_object_get(file, "families"), i, family) {
        mlxn_tokenizer *tok = tokenizer(json_incref(json_object_get(family, "template")));
        json_array_foreach(json_object_get(family, "cases"), k, c) {
            check_case(tok, json_string_value(json_object_get(family, "name")), k, c, now);
            n++;
        }
        mlxn_tokenizer_destroy(tok);
    }
    CHECK(n >= 80, "%zu cases", n);
}

static void test_models(json_t *file, int64_t now) {
    size_t i, k;
    json_t *model, *c;
    json_array_foreach(json_object_get(file, "models"), i, model) {
        char path[200];
        const char *name = json_string_value(json_object_get(model, "file"));
        snprintf(path, sizeof path, "models/%s", name);
        FILE *there = fopen(path, "rb");
        if (!there) {
            test_skips++;
            fprintf(stderr, "skipped: %s is not there (tools/get-model fetches it)\n", path);
            continue;
        }
        (void)fclose(there);
        mlxn_tokenizer *tok = NULL;
        mlxn_error error = {0};
        CHECK(!mlxn_tokenizer_load(path, &tok, &error), "%s", error.message);
        json_array_foreach(json_object_get(model, "cases"), k, c) check_case(tok, name, k, c, now);
        mlxn_tokenizer_destroy(tok);
    }
}

static const mlxn_message hi[] = {{"user", "Hi"}};

/* What `d` gives; the text of `want`, or an error of that status whose message has `want` in it. */
static void expect(const mlxn_tokenizer *tok, mlxn_chat_desc d, mlxn_status status, const char *want) {
    char *text = NULL;
    mlxn_error error = {0};
    d.struct_size = sizeof d;
    mlxn_status got = mlxn_chat_render(tok, &d, &text, NULL, NULL, &error);
    CHECK(got == status && (status ? !text && strstr(error.message, want) : !strcmp(text, want)),
          "status %d, want %d: \"%s\", want \"%s\"", got, status, got ? error.message : text, want);
    mlxn_free_memory(text);
}

#define SAY .messages = hi, .n_messages = 1
#define JSON(member, text) .member = text, .member##_bytes = sizeof text - 1

static void test_choice(void) {
    json_t *both = json_pack("[{s:s,s:s},{s:s,s:s}]", "name", "tool_use", "template", "{{ tools[0] }}", "name",
                             "default", "template", "{{ tools is none }} {{ messages[0].content }}");
    mlxn_tokenizer *tok = tokenizer(both), *bare = tokenizer(NULL);
    expect(tok, (mlxn_chat_desc){SAY}, MLXN_OK, "True Hi");
    expect(tok, (mlxn_chat_desc){SAY, JSON(tools, "[5]")}, MLXN_OK, "5");
    expect(tok, (mlxn_chat_desc){SAY, JSON(tools, "[5]"), .template_name = "default"}, MLXN_OK, "False Hi");
    expect(tok, (mlxn_chat_desc){SAY, .template_name = "no"}, MLXN_ERR_NOT_FOUND,
           "no template \"no\", want one of \"tool_use\", \"default\", \"chatml\"");
    expect(tok, (mlxn_chat_desc){SAY, JSON(tools, "[5]"), .template_name = "chatml"}, MLXN_ERR_UNSUPPORTED,
           "does not mention \"tools\"");
    expect(bare, (mlxn_chat_desc){SAY}, MLXN_ERR_UNSUPPORTED, "no chat template");
    static const mlxn_message talk[] = {{"system", "S"}, {"user", " a "}, {"assistant", "b"}, {"user", "c"}};
    mlxn_chat_desc d = {.messages = talk, .n_messages = 4, .add_generation_prompt = true, .template_name = "chatml"};
    expect(bare, d, MLXN_OK,
           "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n a <|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
           "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n");
    d.template_name = "gemma";
    expect(bare, d, MLXN_OK,
           "<s><start_of_turn>user\nS\n\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"
           "<start_of_turn>user\nc<end_of_turn>\n<start_of_turn>model\n");
    d.template_name = "llama3", d.n_messages = 2;
    expect(bare, d, MLXN_OK,
           "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\na"
           "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
    /* Messages of the list come first; variables hide what is there. */
    d = (mlxn_chat_desc){SAY, .template_name = "chatml", .messages_json = "[{\"role\":\"x\",\"content\":\"y\"}]",
                         .messages_bytes = 28, JSON(variables, "{\"add_generation_prompt\":true}")};
    expect(bare, d, MLXN_OK, "<|im_start|>x\ny<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    mlxn_tokenizer_destroy(tok);
    mlxn_tokenizer_destroy(bare);
}

static void test_errors(void) {
    mlxn_tokenizer *tok =
        tokenizer(json_string("{{ bos_token }}\n {{ raise_exception('only ' ~ messages|length) }}"));
    static const mlxn_message hole[] = {{"user", NULL}}, none[] = {{NULL, "a"}};
    expect(tok, (mlxn_chat_desc){SAY}, MLXN_ERR_ARGUMENT,
           "chat template: line 2, column 20: the template refuses: only 1");
    expect(tok, (mlxn_chat_desc){.add_generation_prompt = true}, MLXN_ERR_ARGUMENT, "no messages");
    expect(tok, (mlxn_chat_desc){.messages_json = "[]", .messages_bytes = 2}, MLXN_ERR_ARGUMENT, "no messages");
    expect(tok, (mlxn_chat_desc){.messages = hole, .n_messages = 1}, MLXN_ERR_ARGUMENT, "message 0 has no content");
    expect(tok, (mlxn_chat_desc){.messages = none, .n_messages = 1}, MLXN_ERR_ARGUMENT, "message 0 has no role");
    expect(tok, (mlxn_chat_desc){.messages_json = "[{\"role\":1}]", .messages_bytes = 12}, MLXN_ERR_ARGUMENT,
           "message 0 is no JSON object with a text \"role\"");
    expect(tok, (mlxn_chat_desc){.messages_json = "[3", .messages_bytes = 2}, MLXN_ERR_ARGUMENT, "line 1, column 2");
    expect(tok, (mlxn_chat_desc){SAY, JSON(tools, "{}")}, MLXN_ERR_ARGUMENT, "tools are JSON, but no list");
    expect(tok, (mlxn_chat_desc){SAY, JSON(variables, "[]")}, MLXN_ERR_ARGUMENT, "variables are JSON, but no object");
    mlxn_tokenizer_destroy(tok);
    tok = tokenizer(json_string("{% for m in messages %}\n{{ m.role | }}"));
    expect(tok, (mlxn_chat_desc){SAY}, MLXN_ERR_FORMAT, "chat template: line 2, column ");
    mlxn_tokenizer_destroy(tok);
    /* As good as for ever: the steps end it, those asked for and those that are the default. */
    tok =
        tokenizer(json_string("{% for a in range(99999) %}{% for b in messages %}{% for c in 'xxxxxxxxxxxxxxxxxxxxxxx"
                              "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' %}{% if a == b %}"
                              "{% endif %}{% endfor %}{% endfor %}{% endfor %}"));
    expect(tok, (mlxn_chat_desc){SAY, .max_steps = 10000}, MLXN_ERR_LIMIT, "limit of 10000: it may loop for ever");
    expect(tok, (mlxn_chat_desc){SAY}, MLXN_ERR_LIMIT, "limit of");
    mlxn_tokenizer_destroy(tok);
}

static void test_no_memory(void) {
    mlxn_tokenizer *tok = tokenizer(NULL);
    mlxn_chat_desc d = {.struct_size = sizeof d, SAY, .template_name = "gemma"};
    uint64_t live = mlxn_alloc_live();
    bool done = false;
    for (uint64_t k = 1; !done && k < 100; k++) {
        char *text = NULL;
        mlxn_error error = {0};
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_chat_render(tok, &d, &text, NULL, NULL, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status ? status == MLXN_ERR_MEMORY && !text && error.message[0] : text != NULL, "k = %d", (int)k);
        done = !status;
        mlxn_free_memory(text);
        CHECK(mlxn_alloc_live() == live, "k = %d leaks", (int)k);
    }
    CHECK(done, "allocations end");
    mlxn_tokenizer_destroy(tok);
}

int main(void) {
    setenv("TZ", "UTC", 1);
    tzset();
    json_error_t error;
    json_t *file = json_load_file("tests/vectors/chat/cases.json", 0, &error);
    CHECK(file, "%s", error.text);
    int64_t now = json_integer_value(json_object_get(file, "now"));
    test_families(file, now);
    test_models(file, now);
    test_choice();
    test_errors();
    test_no_memory();
    json_decref(file);
    return TEST_DONE();
}
