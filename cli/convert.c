/* convert.c: `mlxn convert`: a model, file or folder, into a folder of another number format. */
#include "cli.h"

int cmd_convert(const cli_options *options) {
    if (options->n_rest < 2)
        return cli_fail(EXIT_USAGE, "convert: got %d arguments, want 2; write mlxn convert SOURCE RESULT",
                        options->n_rest);
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
    mlxn_status status = mlxn_convert_folder(options->rest[0], options->rest[1], &how, &result, &error);
    cli_interrupt_disarm();
    cli_progress_end(&progress);
    return status ? cli_fail_conversion(&error, options->command)
                  : cli_print_conversion(options, options->quantize ? options->quantize : "none", &result);
}
