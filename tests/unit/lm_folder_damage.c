/* Promise: a folder with any of its bytes changed is loaded or refused, and nothing else: what is refused is named,
 * what is loaded can be run, and nothing is left of either. Plain folders, quantized ones, experts apart. */
#include "lm/philox.h"
#include "lm_folder.h"

static mlxn_device *device;

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

static bytes read_file(const char *path) {
    bytes out = {0};
    struct stat info;
    FILE *file = fopen(path, "rb");
    CHECK(file && fstat(fileno(file), &info) == 0, "cannot read %s", path);
    out.size = (size_t)info.st_size;
    out.data = malloc(out.size);
    CHECK(fread(out.data, 1, out.size, file) == out.size, "cannot read %s", path);
    fclose(file);
    return out;
}

static void write_file(const char *path, bytes b) {
    FILE *file = fopen(path, "r+b"); /* of the same size */
    CHECK(file && fwrite(b.data, 1, b.size, file) == b.size && fclose(file) == 0, "cannot write %s", path);
}

/* What loads must also run; damage that is still a model gives some logits. */
static void try_folder(const char *folder, const char *what, uint64_t *loaded) {
    mlxn_model *model = NULL;
    mlxn_error error = {0};
    mlxn_status status = mlxn_model_load(device, folder, NULL, &model, &error);
    if (status != MLXN_OK) {
        const char *name = strrchr(folder, '/') + 1;
        CHECK(!model && strncmp(error.message, name, strlen(name)) == 0, "%s: %s", what, error.message);
        CHECK(status != MLXN_ERR_INTERNAL && status != MLXN_ERR_MEMORY, "%s: %s", what, error.message);
    } else {
        mlxn_context *context = NULL;
        mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 16};
        const mlxn_batch_row rows[3] = {{1, 0, false}, {2, 0, false}, {3, 0, true}};
        mlxn_status made = mlxn_context_create(model, &desc, &context, &error);
        if (made == MLXN_OK) made = mlxn_context_decode(context, rows, 3, NULL, NULL, NULL, &error);
        CHECK(made == MLXN_OK || error.message[0], "%s: %s", what, error.message);
        mlxn_context_destroy(context);
        ++*loaded;
    }
    mlxn_model_release(&model);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    CHECK(info.memory_used == info.memory_scratch, "%s: device memory is left", what);
}

/* Changes up to three bytes of the first `range` bytes of a file, many times. */
static void damage(const char *folder, const char *file, size_t range, uint64_t seed, int rounds) {
    static const char bytes_of_json[] = "\"{}[]:,0123456789-.eEFU\\ \x80\xff";
    char path[400], what[480];
    uint64_t draw = 0, loaded = 0;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    bytes whole = read_file(path), copy = {malloc(whole.size), whole.size};
    if (range == 0 || range > whole.size) range = whole.size;
    for (int i = 0; i < rounds; i++) {
        memcpy(copy.data, whole.data, whole.size);
        int n = 1 + i % 3;
        for (int k = 0; k < n; k++) {
            size_t at = (size_t)(mlxn_philox_uniform(seed, draw++) * (double)range);
            double which = mlxn_philox_uniform(seed, draw++);
            copy.data[at] = (uint8_t)bytes_of_json[(size_t)(which * (sizeof bytes_of_json - 1))];
        }
        snprintf(what, sizeof what, "%s of %s, round %d", file, folder, i);
        write_file(path, copy);
        try_folder(folder, what, &loaded);
    }
    write_file(path, whole);
    printf("%s: %d times damaged, %d still loaded\n", file, rounds, (int)loaded);
    free(copy.data);
    free(whole.data);
}

static size_t header_bytes(const char *folder) {
    char path[400];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    bytes b = read_file(path);
    size_t n = 8 + (size_t)b.data[0] + ((size_t)b.data[1] << 8) + ((size_t)b.data[2] << 16);
    free(b.data);
    return n;
}

int main(void) {
    static const fm_quant quant = {MLXN_QUANT_AFFINE, 4, 32, MLXN_BF16, false};
    static const char *const names[] = {"phi3", "gemma3-old", "qwen3_moe", "llama3", "qwen3_5_moe", "qwen3_next-mlx"};
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 1};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fm m;
        if (!fm_open(&m, names[i])) continue;
        bool packed = i < 2;
        if (packed)
            json_object_set_new(m.config, "quantization", json_pack("{s:i,s:i}", "bits", 4, "group_size", 32));
        const char *folder = fm_write(&m, 0, packed ? fm_all : NULL, &quant);
        uint64_t loaded = 0;
        try_folder(folder, names[i], &loaded);
        CHECK(loaded == 1, "%s is right before it is damaged", names[i]);
        damage(folder, "config.json", 0, 2 * i, 300);
        damage(folder, "model.safetensors", header_bytes(folder), 2 * i + 1, 300);
        fm_remove_folder(folder);
        fm_close(&m);
    }
    mlxn_device_release(&device);
    return TEST_DONE();
}
