/* Promise: how a module is quantised is read from both JSON forms and found by any of its tensors' names; numbers out
 * of range, malformed text and other programs' configs are refused by name, never guessed. */
#include <mlxn/io.h>

#include "base/base.h"
#include "io/safetensors_writer.h"
#include "test.h"

typedef mlxn_status (*from_text)(const char *, uint64_t, mlxn_quant_config **, mlxn_error *);

static mlxn_quant_config *good(from_text read, const char *text) {
    mlxn_quant_config *config = NULL;
    mlxn_error error;
    char *exact = malloc(strlen(text) + 1); /* without a zero at the end, which the reader must not need */
    if (!exact) exit(3);
    memcpy(exact, text, strlen(text));
    CHECK(read(exact, strlen(text), &config, &error) == MLXN_OK, "%s: %s", text, error.message);
    free(exact);
    if (!config) exit(1);
    return config;
}

static void refuse(from_text read, const char *text, mlxn_status want, const char *part) {
    mlxn_quant_config *config = (mlxn_quant_config *)&want;
    mlxn_error error;
    mlxn_status status = read(text, strlen(text), &config, &error);
    CHECK(status == want && error.status == want && !config, "%s: got %s", text, mlxn_status_name(status));
    CHECK(strstr(error.message, part) != NULL, "want \"%s\" in: %s", part, error.message);
}

static void expect(const mlxn_quant_config *config, const char *name, uint32_t bits, uint32_t group) {
    mlxn_quant_params p = mlxn_quant_config_lookup(config, name);
    CHECK(p.quantized && p.bits == bits && p.group_size == group, "%s: got %u and %u, want %u and %u", name, p.bits,
          p.group_size, bits, group);
}

static void test_defaults(void) {
    static const char *const texts[] = {"{}", " {\"bits\":null,\"group_size\":null} ", "{\"per_tensor\":{}}",
                                        "{\"unknown\":[1,{\"a\":-1.5e-3}],\"bits\":4}", "{\"mode\":\"affine\"}"};
    for (int i = 0; i < 5; i++) {
        mlxn_quant_config *config = good(mlxn_quant_config_from_json, texts[i]);
        mlxn_quant_params p = mlxn_quant_config_defaults(config);
        CHECK(p.quantized && p.bits == 4 && p.group_size == 64 && p.mode == MLXN_QUANT_AFFINE, "%s", texts[i]);
        expect(config, "any.weight", 4, 64);
        CHECK(mlxn_quant_config_override_count(config) == 0, "no overrides");
        mlxn_quant_config_destroy(config);
    }
    mlxn_quant_config_destroy(NULL);
}

static void test_plain(void) {
    mlxn_quant_config *config = good(mlxn_quant_config_from_json,
                                     "{\"bits\":6,\"group_size\":32,\"per_tensor\":{"
                                     "\"model.layers.0.mlp.down_proj\":{\"bits\":8,\"group_size\":128},"
                                     "\"lm_head.weight\":{\"group_size\":64,\"bits\":3,\"note\":\"x\"}}}");
    expect(config, "model.layers.0.mlp.down_proj", 8, 128);
    expect(config, "model.layers.0.mlp.down_proj.weight", 8, 128);
    expect(config, "model.layers.0.mlp.down_proj.scales", 8, 128);
    expect(config, "model.layers.0.mlp.down_proj.biases", 8, 128);
    expect(config, "model.layers.0.mlp.down_proj.bias", 6, 32);
    expect(config, "model.layers.0.mlp.up_proj.weight", 6, 32);
    expect(config, "lm_head.weight", 3, 64); /* an exact name goes first … */
    expect(config, "lm_head.scales", 6, 32); /* … and is that tensor only */
    expect(config, "", 6, 32);
    mlxn_string name;
    mlxn_quant_params p;
    CHECK(mlxn_quant_config_override_count(config) == 2, "two");
    CHECK(mlxn_quant_config_override_at(config, 0, &name, &p) && !strcmp(name.data, "lm_head.weight") && p.bits == 3,
          "in byte order");
    CHECK(!mlxn_quant_config_override_at(config, 2, &name, &p), "no third");
    mlxn_quant_config_destroy(config);
}

static void test_prefix(void) {
    mlxn_quant_config *config = good(mlxn_quant_config_from_model_json,
                                     "{\"quantization\":{\"bits\":4,\"group_size\":64,"
                                     "\"model.a\":{\"bits\":8},"
                                     "\"language_model.model.b\":{\"bits\":6,\"group_size\":32},"
                                     "\"language_model.model.c\":{\"bits\":5},\"model.c\":{\"bits\":3},"
                                     "\"language_model.model.d.weight\":{\"bits\":2}}}");
    expect(config, "model.a.weight", 8, 64); /* group_size of the section */
    expect(config, "language_model.model.a", 8, 64);
    expect(config, "language_model.model.a.scales", 8, 64);
    expect(config, "model.b", 6, 32);
    expect(config, "model.b.biases", 6, 32);
    expect(config, "language_model.model.b.weight", 6, 32);
    expect(config, "model.c.weight", 3, 64); /* without a prefix before with one, and the other way round */
    expect(config, "language_model.model.c.weight", 5, 64);
    expect(config, "model.d.weight", 2, 64);
    expect(config, "model.d.scales", 4, 64);
    expect(config, "language_model.language_model.model.a", 4, 64); /* one prefix, not two */
    expect(config, "language_model.", 4, 64);
    mlxn_quant_config_destroy(config);
}

static void test_model(void) {
    static const char text[] =
        "{\"model_type\":\"qwen3_moe\",\"rope_scaling\":null,\"limits\":[0.0,Infinity,-Infinity,NaN],"
        "\"quantization_config\":{\"bits\":2,\"group_size\":32},"
        "\"quantization\":{\"quant_method\":\"any\",\"head\":{\"bits\":8,\"group_size\":32,\"mode\":\"affine\"},"
        "\"router\":false,\"embed\":true,\"note\":{\"x\":1},\"list\":[1],\"bits\":3,\"group_size\":128}}";
    mlxn_quant_config *config = good(mlxn_quant_config_from_model_json, text);
    expect(config, "other", 3, 128);
    expect(config, "head.weight", 8, 32);
    expect(config, "embed.weight", 3, 128);
    expect(config, "note", 3, 128);
    mlxn_quant_params p = mlxn_quant_config_lookup(config, "language_model.router.weight");
    CHECK(!p.quantized && p.bits == 3, "false: not quantised");
    CHECK(mlxn_quant_config_override_count(config) == 3, "head, router, embed");
    mlxn_quant_config_destroy(config);
    config = good(mlxn_quant_config_from_model_json, "{\"quantization\":null,\"quantization_config\":{\"bits\":8}}");
    expect(config, "x", 8, 64);
    mlxn_quant_config_destroy(config);
    refuse(mlxn_quant_config_from_model_json, "{}", MLXN_ERR_NOT_FOUND, "\"quantization\"");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":null}", MLXN_ERR_NOT_FOUND, "\"quantization\"");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization_config\":{\"load_in_8bit\":true}}", MLXN_ERR_NOT_FOUND,
           "\"quantization\"");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":4}", MLXN_ERR_FORMAT,
           "quantization is not an object");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":{},\"quantization\":{}}", MLXN_ERR_FORMAT,
           "quantization is given twice");
    refuse(mlxn_quant_config_from_model_json,
           "{\"quantization_config\":{\"group_size\":-1,\"bits\":4,\"quant_method\":\"gptq\"}}", MLXN_ERR_UNSUPPORTED,
           "quant_method is \"gptq\"");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":{\"a\":{\"bits\":4},\"a\":{\"bits\":8}}}",
           MLXN_ERR_FORMAT, "\"a\" is given twice");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":{}} x", MLXN_ERR_FORMAT, "cannot parse");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":{\"a\":tru}}", MLXN_ERR_FORMAT, "cannot parse");
}

static void test_modes(void) {
    static const struct {
        const char *name;
        mlxn_quant_mode mode;
        uint32_t bits, group;
    } modes[] = {{"affine", MLXN_QUANT_AFFINE, 4, 64},
                 {"mxfp4", MLXN_QUANT_MXFP4, 4, 32},
                 {"mxfp8", MLXN_QUANT_MXFP8, 8, 32},
                 {"nvfp4", MLXN_QUANT_NVFP4, 4, 16}};
    for (int i = 0; i < 4; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"quantization\":{\"mode\":\"%s\",\"a\":{\"bits\":%u}}}", modes[i].name,
                 modes[i].bits);
        mlxn_quant_config *config = good(mlxn_quant_config_from_model_json, text);
        mlxn_quant_params p = mlxn_quant_config_lookup(config, "a");
        CHECK(p.mode == modes[i].mode && p.bits == modes[i].bits && p.group_size == modes[i].group, "%s", text);
        CHECK(!strcmp(mlxn_quant_mode_name(p.mode), modes[i].name), "%s", modes[i].name);
        mlxn_quant_config_destroy(config);
    }
    CHECK(!strcmp(mlxn_quant_mode_name((mlxn_quant_mode)4), "?"), "outside the list");
    mlxn_quant_config *config = good(mlxn_quant_config_from_model_json,
                                     "{\"quantization\":{\"group_size\":128,\"bits\":4,\"m\":{\"mode\":\"mxfp8\","
                                     "\"bits\":8},\"n\":{\"bits\":6}}}");
    mlxn_quant_params p = mlxn_quant_config_lookup(config, "m");
    CHECK(p.mode == MLXN_QUANT_MXFP8 && p.group_size == 32, "another mode has defaults of its own");
    expect(config, "n", 6, 128);
    mlxn_quant_config_destroy(config);
    refuse(mlxn_quant_config_from_json, "{\"mode\":\"int7\"}", MLXN_ERR_UNSUPPORTED, "mode is \"int7\"");
    refuse(mlxn_quant_config_from_json, "{\"mode\":\"mxfp4\",\"bits\":8}", MLXN_ERR_FORMAT,
           "mode mxfp4 has 8 bits in groups of 32, want 4 and 32");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":{\"mode\":\"nvfp4\",\"a\":{\"bits\":8}}}",
           MLXN_ERR_FORMAT, "\"a\": mode nvfp4 has 8 bits in groups of 16, want 4 and 16");
}

static void test_refused(void) {
    static const char *const malformed[] = {"",         "{",   "[]",   "{\"bits\"}",    "{\"bits\":}",
                                            "{bits:4}", "nul", "{}{}", "{\"bits\":4,}", "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        refuse(mlxn_quant_config_from_json, malformed[i], MLXN_ERR_FORMAT, "parse");
        refuse(mlxn_quant_config_from_model_json, malformed[i], MLXN_ERR_FORMAT, "parse");
    }
    refuse(mlxn_quant_config_from_json, "{\"per_tensor\":{\"a\":{\"bits\":4}}}", MLXN_ERR_FORMAT,
           "cannot parse per_tensor: \"a\" has no group_size");
    refuse(mlxn_quant_config_from_json, "{\"per_tensor\":{\"a\":{\"group_size\":4}}}", MLXN_ERR_FORMAT,
           "cannot parse per_tensor: \"a\" has no bits");
    refuse(mlxn_quant_config_from_json, "{\"per_tensor\":{\"a\":8}}", MLXN_ERR_FORMAT, "parse");
    refuse(mlxn_quant_config_from_json, "{\"per_tensor\":{},\"per_tensor\":{}}", MLXN_ERR_FORMAT, "given twice");
    refuse(mlxn_quant_config_from_json, "{\"bits\":4,\"bits\":4}", MLXN_ERR_FORMAT, "bits is given twice");
    refuse(mlxn_quant_config_from_json, "{\"bits\":0}", MLXN_ERR_FORMAT, "bits is 0, want 1 to 8 (byte 8)");
    refuse(mlxn_quant_config_from_json, "{\"bits\":9}", MLXN_ERR_FORMAT, "bits is 9, want 1 to 8");
    refuse(mlxn_quant_config_from_json, "{\"bits\":260}", MLXN_ERR_FORMAT, "bits is 260, want 1 to 8");
    refuse(mlxn_quant_config_from_json, "{\"bits\":4.0}", MLXN_ERR_FORMAT, "bits is not an integer");
    refuse(mlxn_quant_config_from_json, "{\"bits\":-4}", MLXN_ERR_FORMAT, "bits is not an integer from 0 up");
    refuse(mlxn_quant_config_from_json, "{\"bits\":\"4\"}", MLXN_ERR_FORMAT, "bits is not an integer from 0 up");
    refuse(mlxn_quant_config_from_json, "{\"group_size\":0}", MLXN_ERR_FORMAT, "group_size is 0, want 1 to 65,536");
    refuse(mlxn_quant_config_from_json, "{\"group_size\":4294967360}", MLXN_ERR_FORMAT,
           "group_size is 4,294,967,360");
    refuse(mlxn_quant_config_from_model_json, "{\"quantization\":{\"a\":{\"bits\":256}}}", MLXN_ERR_FORMAT,
           "bits is 256, want 1 to 8");
    char deep[1200];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    deep[sizeof deep - 1] = 0;
    refuse(mlxn_quant_config_from_json, deep, MLXN_ERR_FORMAT, "nested deeper than 32");
    refuse(mlxn_quant_config_from_model_json, deep, MLXN_ERR_FORMAT, "nested deeper than 32");
    mlxn_quant_config *config = (mlxn_quant_config *)deep;
    CHECK(mlxn_quant_config_from_json(NULL, 0, &config, NULL) == MLXN_ERR_ARGUMENT && !config, "no text");
    CHECK(mlxn_quant_config_from_model_json(NULL, 0, &config, NULL) == MLXN_ERR_ARGUMENT && !config, "no text");
}

static void test_files(void) {
    mlxn_quant_config *config = NULL;
    mlxn_error error;
    st_make_folder();
    CHECK(mlxn_quant_config_from_file(st_path("none.json"), &config, &error) == MLXN_ERR_IO && !config &&
              strstr(error.message, "none.json") && error.driver_code,
          "%s", error.message);
    CHECK(mlxn_quant_config_from_model_file(st_folder, &config, &error) == MLXN_ERR_IO && !config, "a folder: %s",
          error.message);
    st_save_text("{\"bits\":8,\"quantization\":{\"bits\":2}}", "c.json");
    CHECK(mlxn_quant_config_from_file(st_path("c.json"), &config, &error) == MLXN_OK, "%s", error.message);
    expect(config, "x", 8, 64);
    mlxn_quant_config_destroy(config);
    CHECK(mlxn_quant_config_from_model_file(st_path("c.json"), &config, &error) == MLXN_OK, "%s", error.message);
    expect(config, "x", 2, 64);
    mlxn_quant_config_destroy(config);
    st_save_text("{\"bits\":", "c.json");
    CHECK(mlxn_quant_config_from_file(st_path("c.json"), &config, &error) == MLXN_ERR_FORMAT && !config &&
              !strcmp(error.message, "c.json: cannot parse the JSON: got the end, want a value (byte 8)"),
          "%s", error.message);
    unlink(st_path("c.json"));
    rmdir(st_folder);
}

static void test_allocations(void) {
    static const char text[] = "{\"quantization\":{\"a\":{\"bits\":4},\"b\":false}}";
    uint64_t failures = 0;
    for (uint64_t k = 1; k < 100; k++) {
        mlxn_quant_config *config = NULL;
        mlxn_error error;
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_quant_config_from_model_json(text, strlen(text), &config, &error);
        mlxn_alloc_fail_at(0);
        mlxn_quant_config_destroy(config);
        if (status == MLXN_OK) break;
        failures++;
        CHECK(status == MLXN_ERR_MEMORY && !config && error.message[0], "%s", error.message);
    }
    CHECK(failures == 3, "%llu allocations were seen, want 3", (unsigned long long)failures);
}

int main(void) {
    test_defaults();
    test_plain();
    test_prefix();
    test_model();
    test_modes();
    test_refused();
    test_files();
    test_allocations();
    return TEST_DONE();
}
