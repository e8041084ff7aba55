/* safetensors_seeds.c FOLDER: writes the seeds of fuzz_safetensors: small files that reach every branch of the
 * readers, so that the repository holds no binary files. */
#include "io/safetensors_writer.h"

static int written;

static void save(const char *folder, gw *w) {
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%02d.safetensors", folder, written++);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(w->bytes, 1, w->size, f) != w->size || fclose(f)) {
        perror(path);
        exit(1);
    }
    gw_free(w);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    static const char *const texts[] = {
        "{\"bits\":4,\"group_size\":64,\"mode\":\"affine\",\"per_tensor\":{\"lm_head\":{\"bits\":8,\"group_size\":32}"
        "}}",
        "{\"x\":[NaN,-Infinity,1.5e-3],\"quantization\":{\"bits\":4,\"group_size\":32,\"a\":{\"bits\":4,\"mode\":"
        "\"mxfp4\"},\"language_model.lm_head\":false,\"c\":true}}",
        "{\"quantization_config\":{\"quant_method\":\"mlx\",\"bits\":8,\"mode\":\"mxfp8\"}}",
        "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"x\":\"b.safetensors\",\"z\":\"a.safetensors\"}}",
    };
    gw w = {0};
    st_sample(&w), save(argv[1], &w);
    st_write(&w, "{}", 0), save(argv[1], &w);
    st_builder b = {.length = 0};
    st_add(&b, "a", "F32", "[2,2]", 16), st_add(&b, "b", "F16", "[0]", 0), st_add(&b, "c", "U8", "[3]", 3);
    st_finish(&b, &w), save(argv[1], &w);
    for (int i = 0; i < 4; i++) {
        gw_bytes(&w, texts[i], strlen(texts[i])), save(argv[1], &w);
        st_write(&w, texts[i], 0), save(argv[1], &w);
    }
    for (int cut = 8; cut < 1024; cut *= 2) { /* the sample, cut */
        st_sample(&w);
        if (w.size > (size_t)cut) w.size = (size_t)cut;
        save(argv[1], &w);
    }
    return 0;
}
