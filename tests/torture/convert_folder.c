/* Promise: whichever allocation fails while a folder with experts (joined, one by one, or in blocks of mxfp4) is
 * quantized into MLX's layout: an error that says so, no weights under the result's name, nothing leaked; the same
 * call then gives the same config.json. */
#include <mlxn/convert.h>

#include "../unit/lm_blocks.h"
#include "torture/torture.h"

static const char *source;
static char result[300];

static mlxn_status convert(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    (void)device;
    const mlxn_convert_options options = {
        .struct_size = sizeof options, .quantize = "affine4g32", .overwrite = true, .threads = 1};
    char path[340];
    snprintf(path, sizeof path, "%s/model.safetensors", result);
    unlink(path);
    mlxn_status status = mlxn_convert_folder(source, result, &options, NULL, error);
    CHECK(!access(path, F_OK) == !status, "weights after status %d: %s", status, error->message);
    snprintf(path, sizeof path, "%s/config.json", result);
    FILE *f = status ? NULL : fopen(path, "rb");
    for (int c, i = 0; f && (c = fgetc(f)) != EOF; i = (i + 1) % 256) out[i] = (uint8_t)(out[i] * 31 + c);
    if (f) fclose(f);
    return status;
}

int main(void) {
    static const char *const names[] = {"qwen3_5_moe", "qwen3_moe", "gpt_oss"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fm m;
        char name[64];
        if (!fm_open(&m, names[i])) continue;
        bool blocks = i == 2;
        if (blocks) json_object_set_new(m.config, "quantization_config", json_pack("{s:s}", "quant_method", "mxfp4"));
        source = blocks ? fm_write_blocks(&m) : fm_write(&m, 0, NULL, NULL);
        snprintf(result, sizeof result, "%s.mlx", source);
        snprintf(name, sizeof name, "quantize folder %s", names[i]);
        torture_one_kind(&torture_kinds[0], name, convert, NULL, 40); /* no device takes part */
        fm_remove_folder(source);
        fm_remove_folder(result);
        fm_close(&m);
    }
    return TEST_DONE();
}
