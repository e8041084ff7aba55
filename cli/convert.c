/* convert.c: `mlxn convert`: between GGUF files and folders. */
#include <string.h>

#include "cli.h"

static bool is_gguf(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

int cmd_convert(const cli_options *options) {
    if (options->n_rest < 2)
        return cli_fail(EXIT_USAGE, "convert: got %d arguments, want 2; write mlxn convert SOURCE RESULT",
                        options->n_rest);
    if (is_gguf(options->rest[0]) && is_gguf(options->rest[1]))
        return cli_fail(EXIT_USAGE, "convert: both are GGUF files; that is `mlxn quantize SOURCE RESULT TYPE`");
    cli_progress progress;
    mlxn_error error = {0};
    mlxn_quantize_result result;
    const mlxn_convert_options how = {.struct_size = sizeof how,
                                      .quantize = options->quantize,
                                      .dtype = options->dtype,
                                      .overwrite = options->overwrite,
                                      .threads = (uint32_t)options->threads,
                                      .shard_bytes = options->shard_size,
                                      .progress = cli_progress_step,
                                      .progress_user = &progress};
    cli_progress_begin(&progress, "converting", options->quiet);
    cli_interrupt_arm(NULL);
    mlxn_status status = is_gguf(options->rest[1])
                             ? mlxn_convert_gguf(options->rest[0], options->rest[1], &how, &result, &error)
                             : mlxn_convert_folder(options->rest[0], options->rest[1], &how, &result, &error);
    cli_interrupt_disarm();
    cli_progress_end(&progress);
    return status ? cli_fail_conversion(&error, options->command)
                  : cli_print_conversion(options, options->quantize ? options->quantize : "none", &result);
}
