/* tokenizer_json_seeds.c FOLDER: writes the seeds of fuzz_tokenizer_json: small files that reach every part of the
 * reader and of the pipeline. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/tok_samples.h"

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    static const char config[] =
        "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"add_bos_token\":true,"
        "\"tokenizer_class\":\"LlamaTokenizer\",\"chat_template\":[{\"name\":\"default\","
        "\"template\":\"T\"}]}",
                      text[] = "ab xX 12 <s> it's \xe4\xbd\xa0";
    for (size_t i = 0; i < sizeof tok_samples / sizeof *tok_samples; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%02d.tokenizer_json", argv[1], (int)i);
        FILE *f = fopen(path, "wb");
        /* Every second one with the other two parts. */
        bool good = f && fwrite(tok_samples[i], 1, strlen(tok_samples[i]), f) == strlen(tok_samples[i]);
        if (good && i % 2) good = fputc(0, f) == 0 && fwrite(config, 1, sizeof config, f) == sizeof config;
        if (good && i % 2) good = fwrite(text, 1, sizeof text - 1, f) == sizeof text - 1;
        if (!good || fclose(f)) {
            perror(path);
            exit(1);
        }
    }
    return 0;
}
