/* Promise: on the three test models, ids equal those of llama.cpp (made with xllamacpp 2026.10.11549, special tokens
 * recognised, BOS as the model says), every line of the tokenizer vectors comes back from its ids, and loading is
 * quick. Without the model files the test counts as skipped. */
#include "test.h"
#include "unit/tok_tiny.h"

enum { N_LINES = 11 };
static const char *const lines[N_LINES] = {
    "Hello, world!",
    "The quick brown fox jumps over 13 lazy dogs; it's 2024-07-01.",
    "def f(x):\n    return x ** 2  # squared\n\n\tif x:\r\n",
    "na\303\257ve caf\303\251 \303\274ber Stra\303\237e e\314\201 \344\275\240\345\245\275\344\270\226\347\225\214 "
    "\343\201\223\343\202\223 \355\225\234\352\265\255\354\226\264 \320\277\321\200\320\270\320\262\320\265\321\202",
    "\360\237\221\250\342\200\215\360\237\221\251\342\200\215\360\237\221\247 "
    "\360\237\217\263\357\270\217\342\200\215\360\237\214\210 ok",
    "<|im_start|>user\nHi<|im_end|>\n<start_of_turn>user\nHi<end_of_turn><bos></s><|endoftext|>",
    "  leading,   inner    and trailing spaces   ",
    "12345 \331\243\331\244 \342\205\247 \302\275 x\302\262",
    "a\302\240b\342\200\203c\342\200\250d\341\240\216e\342\200\213f\302\205g",
    "I'LL WE'RE don't 'tis 'S",
    "tab\tnul\001esc\033del\177\n\n\n\n\nend",
};

typedef struct model_case {
    const char *path;
    const char *ids[N_LINES];
} model_case;

static const model_case models[] = {
    {
        "models/smollm2.gguf",
        {
            "19556 28 905 17",
            "504 2365 6354 16438 27003 690 216 33 35 23790 5046 43 357 506 216 34 32 34 36 29 32 39 29 32 33 30",
            "1604 275 24 104 727 472 1003 1792 1903 216 34 216 907 27402 1116 197 342 1792 42 2738",
            "3546 46494 37366 5549 137 593 19144 34878 85 297 151 219 216 18645 250 48392 138 7906 240 178 239 230 "
            "46673 237 10391 237 216 33085 246 181 130 251 183 240 129 21985 46879 16464 32547",
            "10813 235 118 321 231 10813 235 119 321 231 10813 235 117 15107 233 128 31752 321 231 10813 230 226 "
            "10907",
            "1 4093 198 26843 2 198 44 3738 79 1714 79 20589 46 4093 198 26843 44 486 79 1714 79 20589 21198 34761 "
            "29299 99 46 0",
            "216 2899 28 256 6210 333 284 35079 5600 333",
            "33 34 35 36 37 216 164 113 164 114 216 173 223 117 216 16738 1792 19133",
            "81 15442 82 321 221 83 321 118 84 172 250 232 85 321 229 86 141 223 87",
            "57 23 16421 26587 23 3256 1326 982 637 34818 637 67",
            "15999 197 94 336 191 2599 212 11074 217 22342 198 486",
        },
    },
    {
        "models/gemma3-270m.gguf",
        {
            "2 9259 236764 1902 236888",
            "2 818 3823 8864 37423 38167 1024 236743 236770 236800 31770 12414 236793 625 236789 236751 236743 "
            "236778 236771 236778 236812 236772 236771 236832 236772 236771 236770 236761",
            "2 2063 517 236769 236781 1473 107 140 2060 1123 5213 236743 236778 138 236865 20218 108 255968 584 1123 "
            "236787 251 107",
            "2 1789 238527 560 33443 8046 80176 545 238288 43758 237389 12811 22446 237249 50413 237430 36097",
            "2 243874 237243 243767 237243 244814 236743 248177 238178 237243 243712 7546",
            "2 236820 236909 548 236779 3041 111038 2364 107 10979 236820 236909 548 236779 643 111038 107 105 2364 "
            "107 10979 106 2 212 236820 236909 643 1340 1005 111038",
            "2 138 26016 236764 139 3859 140 624 45330 9952 139",
            "2 236770 236778 236800 236812 236810 223766 242090 236743 251329 47041 1123 238131",
            "2 236746 432 398 236763 464 366 369 236755 464 366 406 236753 463 398 380 236744 237141 236760 432 371 "
            "236759",
            "2 236777 236789 2182 19716 236789 1357 1537 236789 236745 756 55188 756 236773",
            "2 4823 255968 163085 249732 14323 239473 7796 251541 111 643",
        },
    },
    {
        "models/qwen2.5-1.5b.gguf",
        {
            "9707 11 1879 0",
            "785 3974 13876 38835 34208 916 220 16 18 15678 12590 26 432 594 220 17 15 17 19 12 15 22 12 15 16 13",
            "750 282 2075 982 262 470 856 3070 220 17 220 671 52263 271 743 856 2834",
            "3376 37572 586 51950 13785 26647 23455 384 53839 220 108386 99489 220 68747 130092 31079 12281 26991 "
            "8178",
            "145367 378 235 145233 378 235 145665 11162 237 111 30543 378 235 145354 5394",
            "151644 872 198 13048 151645 198 27 2468 3575 37274 29 872 198 13048 27 408 3575 37274 1784 78448 29 "
            "128247 151643",
            "220 6388 11 256 9179 262 323 27748 12621 262",
            "16 17 18 19 20 220 149 96 149 97 220 70467 100 220 26062 856 29456",
            "64 4102 65 378 225 66 378 101 67 123970 236 68 15692 69 126 227 70",
            "40 6 4086 19677 94153 1513 944 364 83 285 364 50",
            "6192 9038 360 189 3300 215 9588 221 14621 408",
        },
    },
};

/* Two kinds of line do not come back: with a byte for which SmolLM2 has no token, and with U+2581, which is how
 * "llama" vocabularies spell a space. */
static bool is_lossy(const mlxn_tokenizer *tok, const char *line, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (tok->byte_ids[(uint8_t)line[i]] < 0) return true;
        if (tok->model == MLXN_TOK_SCORES && n - i >= 3 && !memcmp(line + i, "\xe2\x96\x81", 3)) return true;
    }
    return false;
}

static void test_round_trip(const mlxn_tokenizer *tok) {
    FILE *f = fopen("tests/vectors/tokenizer/lines.txt", "rb");
    CHECK(f, "tests/vectors/tokenizer/lines.txt");
    if (!f) return;
    static char line[1 << 16];
    int n = 0, lossy = 0;
    while (fgets(line, sizeof line, f)) {
        size_t size = strlen(line);
        if (size && line[size - 1] == '\n') size--;
        bool expected = !is_lossy(tok, line, size), same = tiny_round_trip(tok, line, size, MLXN_TOKENIZE_NO_BOS);
        CHECK(same == expected, "%s, line %d: %s", mlxn_tokenizer_name(tok), n + 1, line);
        lossy += !expected;
        n++;
    }
    fclose(f);
    CHECK(n == 1000 && lossy < 200, "%d lines, %d lossy", n, lossy);
}

static void test_model(const model_case *m) {
    mlxn_gguf *file;
    mlxn_tokenizer *tok;
    mlxn_error error = {0};
    CHECK(!mlxn_gguf_open(m->path, &file, &error), "%s", error.message);
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 3; round++) {
        uint64_t start = mlxn_now_ns();
        CHECK(!mlxn_tokenizer_create(file, &tok, &error), "%s", error.message);
        best = mlxn_min_u64(best, mlxn_now_ns() - start);
        if (round < 2) mlxn_tokenizer_destroy(tok);
    }
    /* The bound is wide: sanitizer builds and busy machines run this too. A usual figure is 5 to 25 ms. */
    fprintf(stderr, "%s: %s, %u tokens in %.1f ms\n", m->path, mlxn_tokenizer_name(tok), mlxn_tokenizer_size(tok),
            (double)best * 1e-6);
    CHECK(best < 1000000000u, "%s: %.1f ms", m->path, (double)best * 1e-6);
    for (int i = 0; i < N_LINES; i++) {
        const char *got = tiny_ids(tok, lines[i], strlen(lines[i]), 0);
        CHECK(!strcmp(got, m->ids[i]), "%s: \"%s\": got %s, want %s", m->path, lines[i], got, m->ids[i]);
    }
    test_round_trip(tok);
    mlxn_tokenizer_destroy(tok);
    mlxn_gguf_close(file);
}

static void test_ends(void) {
    static const struct {
        const char *path, *text;
        mlxn_token id;
        bool is_end;
    } ends[] = {
        {"models/smollm2.gguf", "<|im_end|>", 2, true},
        {"models/smollm2.gguf", "<|endoftext|>", 0, true},
        {"models/smollm2.gguf", "<|im_start|>", 1, false},
        {"models/gemma3-270m.gguf", "<eos>", 1, true},
        {"models/gemma3-270m.gguf", "<end_of_turn>", 106, true},
        {"models/gemma3-270m.gguf", "</s>", 212, false},
        {"models/qwen2.5-1.5b.gguf", "<|im_end|>", 151645, true},
        {"models/qwen2.5-1.5b.gguf", "<|endoftext|>", 151643, true},
        {"models/qwen2.5-1.5b.gguf", "</s>", 128247, false},
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        mlxn_gguf *file;
        mlxn_tokenizer *tok = NULL;
        if (mlxn_gguf_open(ends[i].path, &file, NULL)) continue;
        CHECK(!mlxn_tokenizer_create(file, &tok, NULL), "%s", ends[i].path);
        mlxn_token id = mlxn_tokenizer_find(tok, ends[i].text, strlen(ends[i].text));
        CHECK(id == ends[i].id && mlxn_tokenizer_is_end(tok, id) == ends[i].is_end, "%s: %s is %d", ends[i].path,
              ends[i].text, (int)id);
        mlxn_tokenizer_destroy(tok);
        mlxn_gguf_close(file);
    }
}

int main(void) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        FILE *there = fopen(models[i].path, "rb");
        if (there) {
            fclose(there);
            test_model(&models[i]);
        } else {
            test_skips++;
            fprintf(stderr, "skipped: %s is not there (tools/get-model fetches it)\n", models[i].path);
        }
    }
    test_ends();
    return TEST_DONE();
}
