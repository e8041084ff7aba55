/* Promise: the fuzz target of the tokenizer holds on some ten thousand fixed inputs: seeds, and seeds with changed
 * bytes. It aborts where it does not hold. Longer runs: tests/fuzz. */
#include "fuzz/fuzz_tokenizer.c"
#include "test.h"

static uint64_t state = 2024;

static uint32_t below(uint32_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

static void run_changed(const uint8_t *seed, size_t size, int rounds) {
    uint8_t *copy = malloc(size);
    if (!copy) exit(2);
    for (int i = 0; i < rounds; i++) {
        memcpy(copy, seed, size);
        for (uint32_t n = below(6); n; n--) copy[1 + below((uint32_t)size - 1)] = (uint8_t)below(256);
        LLVMFuzzerTestOneInput(copy, below(4) ? size : 1 + below((uint32_t)size));
        test_checks++;
    }
    free(copy);
}

int main(void) {
    static const char text[] =
        "?<s>ab  abc \n\n\n caf\xc3\xa9 12 \xff\xe2\x82 <<<< it's <|im_end|> \xf0\x9f\x98\x80 'LL "
        "<|im_start|>system\nYou x<|im_end|> messages[0]['content'] + '\\n' <start_of_turn>"
        "<end_of_turn> bos_token";
    uint8_t seed[sizeof text];
    memcpy(seed, text, sizeof text);
    for (int kind = 0; kind < KINDS; kind++) {
        seed[0] = (uint8_t)(kind | (kind & 1 ? 0x80 : 0));
        run_changed(seed, sizeof text - 1, 1000);
    }
    for (int i = 0; i < 2; i++) {
        gw w = {0};
        tiny_spec spec = {.model = i ? "llama" : "gpt2",
                          .pre = "qwen2",
                          .tokens = i ? spm_tokens : bpe_tokens,
                          .n_tokens = 5,
                          .merges = merges,
                          .bos = 3,
                          .eos = 4};
        tiny_write(&w, &spec);
        run_changed(w.bytes, w.size, 2000);
        gw_free(&w);
    }
    for (int kind = 0; kind < KINDS; kind++) tiny_free(vocabulary(kind));
    int inputs = test_checks;
    CHECK(inputs == 10000, "%d inputs", inputs);
    return TEST_DONE();
}
