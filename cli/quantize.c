/* quantize.c: `mlxn quantize`: a GGUF model into one of another number format. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

void cli_print_types(void) {
    const char *name, *about;
    printf("\ntypes:\n");
    for (uint32_t i = 0; mlxn_quantize_type_at(i, &name, &about); i++) printf("  %-10s %s\n", name, about);
}

static bool is_type(const char *name) {
    const char *known;
    for (uint32_t i = 0; name && mlxn_quantize_type_at(i, &known, NULL); i++) {
        size_t k = 0;
        while (known[k] && (name[k] | 0x20) == (known[k] | 0x20)) k++;
        if (!known[k] && !name[k]) return true;
    }
    return !name;
}

static int check_type(const char *what, const char *name) {
    if (is_type(name)) return EXIT_GOOD;
    return cli_fail(EXIT_USAGE, "quantize: %s \"%s\" is unknown; `mlxn quantize --help` lists the types", what, name);
}

int cli_print_conversion(const cli_options *options, const char *type, const mlxn_quantize_result *r) {
    const char *path = options->rest[1];
    if (options->json)
        return cli_print_json(json_pack("{s:o,s:s,s:I,s:I,s:I,s:I,s:I}", "file", cli_json_text(path, strlen(path)),
                                        "type", type, "tensors", (json_int_t)r->tensors, "quantized",
                                        (json_int_t)r->quantized, "fallbacks", (json_int_t)r->fallbacks,
                                        "source_bytes", (json_int_t)r->source_bytes, "bytes", (json_int_t)r->bytes));
    char before[32], after[32];
    printf("%s: %s to %s, %" PRIu64 " of %" PRIu64 " tensors quantized\n", path, cli_bytes(r->source_bytes, before),
           cli_bytes(r->bytes, after), r->quantized, r->tensors);
    if (r->fallbacks)
        cli_note(options->quiet,
                 "%" PRIu64 " tensors have rows that are no whole blocks of their type and got one of smaller blocks",
                 r->fallbacks);
    return EXIT_GOOD;
}

int cli_fail_conversion(const mlxn_error *error, const char *command) {
    char cure[64];
    snprintf(cure, sizeof cure, "see `mlxn %s --help`", command);
    const char *text = cure;
    if (error->status == MLXN_ERR_CANCELLED) return cli_fail_interrupted();
    if (strstr(error->message, "not to be overwritten")) text = "give another name, or --overwrite";
    if (strstr(error->message, "was not asked for")) text = "take the unquantized model, or give --allow-requantize";
    if (error->status == MLXN_ERR_FORMAT) text = "fetch or convert the file again";
    if (error->status == MLXN_ERR_MEMORY) text = "close other programs";
    return cli_fail(EXIT_FAILED, "%s; %s", error->message, text);
}

int cmd_quantize(const cli_options *options) {
    if (options->n_rest < 3)
        return cli_fail(EXIT_USAGE, "quantize: got %d arguments, want 3; write mlxn quantize SOURCE RESULT TYPE",
                        options->n_rest);
    int code = check_type("type", options->rest[2]);
    if (!code) code = check_type("--output-type", options->output_type);
    if (!code) code = check_type("--embedding-type", options->embedding_type);
    if (!code) code = cli_check_model_path(options->rest[0]);
    if (code) return code;
    cli_progress progress;
    mlxn_error error = {0};
    mlxn_quantize_result result;
    const mlxn_quantize_options how = {.struct_size = sizeof how,
                                       .type = options->rest[2],
                                       .output_type = options->output_type,
                                       .embedding_type = options->embedding_type,
                                       .overwrite = options->overwrite,
                                       .requantize = options->requantize,
                                       .threads = (uint32_t)options->threads,
                                       .progress = cli_progress_step,
                                       .progress_user = &progress};
    cli_progress_begin(&progress, "quantizing", options->quiet);
    cli_interrupt_arm(NULL);
    mlxn_status status = mlxn_quantize_gguf(options->rest[0], options->rest[1], &how, &result, &error);
    cli_interrupt_disarm();
    cli_progress_end(&progress);
    return status ? cli_fail_conversion(&error, options->command)
                  : cli_print_conversion(options, options->rest[2], &result);
}
