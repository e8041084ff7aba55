/* gguf_seeds.c FOLDER: writes the seeds of fuzz_gguf: small files that reach every branch of the parser, so that the
 * repository holds no binary files. */
#include <stdbool.h>

#include "io/gguf_writer.h"

static const char *folder;
static int written;

static void save(gw *w) {
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%02d.gguf", folder, written++);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(w->bytes, 1, w->size, f) == w->size;
    if (!f || fclose(f) || !good) {
        perror(path);
        exit(1);
    }
    gw_free(w);
}

/* One tensor of every type id of the format, one block wide. */
static void all_types(gw *w) {
    enum { TYPES = 43 };
    gw_header(w, 3, TYPES, 0);
    uint64_t offset = 0;
    for (uint32_t type = 0; type < TYPES; type++) {
        char name[8];
        bool retired = type == 4 || type == 5 || (type >= 31 && type <= 33) || (type >= 36 && type <= 38);
        snprintf(name, sizeof name, "t%u", type);
        bool plain = retired || type < 2 || (type >= 24 && type <= 28) || type == 30;
        gw_tensor(w, name, 1 + type % 4, (uint64_t[]){plain ? 1 : 256, 1, 1, 1}, retired ? 0 : type, offset);
        offset += 320; /* Q8_0 takes the most: 272 for 256 elements */
    }
    gw_align(w, 32);
    gw_zeros(w, (size_t)offset);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    gw w = {0};
    gw_header(&w, 3, 0, 0), save(&w);
    gw_sample(&w, 2), save(&w);
    gw_sample(&w, 3), save(&w);
    all_types(&w), save(&w);
    gw_header(&w, 3, 1, 3);
    gw_key_u16(&w, "split.no", 0), gw_key_u16(&w, "split.count", 1), gw_key_u32(&w, "split.tensors.count", 1);
    gw_tensor(&w, "t", 1, (uint64_t[]){1}, 0, 0), gw_align(&w, 32), gw_zeros(&w, 4), save(&w);
    gw_header(&w, 3, 0, 1);
    gw_key(&w, "nest", 9);
    for (int i = 0; i < 3; i++) gw_array(&w, 9, 1);
    gw_array(&w, 7, 2), gw_u8(&w, 0), gw_u8(&w, 1), save(&w);
    for (int cut = 8; cut < 1024; cut *= 2) { /* the sample, cut */
        gw_sample(&w, 3);
        if (w.size > (size_t)cut) w.size = (size_t)cut;
        save(&w);
    }
    return 0;
}
