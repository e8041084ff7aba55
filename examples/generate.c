/* generate.c: loads a model and streams text that follows a prompt, with libmlxn-lm.
 *
 *   example_generate model.gguf "The capital of France is" */
#include <mlxn/lm.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what, const mlxn_error *error) {
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 1;
}

/* Called for every token, with complete UTF-8 characters only. */
static bool print_token(void *user, mlxn_token token, const char *text, size_t bytes) {
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    return true; /* false would stop here */
}

int main(int argc, char **argv) {
    mlxn_error error = {0};
    mlxn_device *device = NULL;
    mlxn_model *model = NULL;
    mlxn_context *context = NULL;
    mlxn_sampler *sampler = NULL;
    mlxn_token *prompt = NULL;
    size_t n_prompt = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT\n", argv[0]);
        return 2;
    }
    if (mlxn_device_create(NULL, &device, &error)) return fail("device", &error);
    if (mlxn_model_load(device, argv[1], NULL, &model, &error)) return fail("model", &error);
    if (mlxn_context_create(model, NULL, &context, &error)) return fail("context", &error);
    if (mlxn_tokenize(model, argv[2], strlen(argv[2]), 0, &prompt, &n_prompt, &error)) return fail("prompt", &error);

    mlxn_model_info info = {.struct_size = sizeof info};
    mlxn_model_get_info(model, &info);
    mlxn_sampler_desc greedy = {.struct_size = sizeof greedy}; /* temperature 0 */
    if (mlxn_sampler_create(&greedy, info.n_vocab, &sampler, &error)) return fail("sampler", &error);

    mlxn_generate_desc desc = {.struct_size = sizeof desc, .n_predict = 40, .on_token = print_token};
    mlxn_generate_result result;
    if (mlxn_generate(context, prompt, n_prompt, sampler, &desc, &result, &error)) return fail("generate", &error);
    printf("\n");

    mlxn_free_memory(result.ids);
    mlxn_free_memory(prompt);
    mlxn_sampler_destroy(sampler);
    mlxn_context_destroy(context);
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return 0;
}
