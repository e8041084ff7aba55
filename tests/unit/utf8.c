/* Promise: streamed text never contains half a character, invalid bytes become U+FFFD as Unicode recommends (one per
 * maximal subpart), and how the bytes are cut into pushes does not change the text. */
#include "lm/utf8.h"

#include <mlxn/lm.h>

#include "test.h"

typedef struct sample {
    const char *in, *out;
} sample;

#define R "\xef\xbf\xbd"
static const sample samples[] = {
    {"", ""},
    {"plain", "plain"},
    {"\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80.", "\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80."},
    {"\x80", R},
    {"\xc3", R},
    {"\xc3(", R "("},
    {"\xe2\x82", R},
    {"\xe2\x82x", R "x"},
    {"\xe2\x82\xe2\x82\xac", R "\xe2\x82\xac"},
    {"\xf0\x9f\x98", R},
    {"\xf0\x9f\x98\xc3\xa9", R "\xc3\xa9"},
    {"\xc0\xaf", R R},                /* overlong */
    {"\xe0\x80\xaf", R R R},          /* overlong: E0 80 begins nothing */
    {"\xed\xa0\x80", R R R},          /* surrogate */
    {"\xed\x9f\xbf", "\xed\x9f\xbf"}, /* the last before them */
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
    {"\xf4\x90\x80\x80", R R R R}, /* above U+10FFFF */
    {"\xf5\xff", R R},
    {"\xf1\x80\x80\x41\xf1\x80\x80\x80", R "A\xf1\x80\x80\x80"},
    /* Unicode 15, table 3-8 */
    {"\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64", "a" R R R "b" R "c" R R "d"},
};

/* Pushes `in` in pieces of `step` bytes. */
static size_t stream(const char *in, size_t n, size_t step, char *out) {
    mlxn_utf8_stream s = {{0}, 0};
    size_t at = 0;
    for (size_t i = 0; i < n; i += step) {
        size_t before = at;
        at += mlxn_utf8_push(&s, in + i, n - i < step ? n - i : step, out + at);
        for (size_t k = before; k < at;) { /* every push hands out whole characters */
            uint32_t length = mlxn_utf8_read(out + k, at - k, NULL, NULL);
            CHECK(length > 0, "byte %zu of the output is no character", k);
            k += length ? length : 1;
        }
    }
    return at + mlxn_utf8_finish(&s, out + at);
}

static void test_samples(void) {
    char out[256];
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        size_t n = strlen(samples[i].in), want = strlen(samples[i].out);
        for (size_t step = 1; step <= (n ? n : 1); step++) {
            size_t got = stream(samples[i].in, n, step, out);
            CHECK(got == want && memcmp(out, samples[i].out, want) == 0, "sample %zu, pushes of %zu: \"%.*s\"", i,
                  step, (int)got, out);
        }
    }
}

static void test_any_cut_gives_the_same(void) {
    static const char alphabet[] = "a\x7f\x80\xbf\xc2\xc3\xe0\xe2\x9f\xa0\xed\xef\xf0\xf4\x8f\x90\xff\x82\xac\x98";
    uint64_t state = 1;
    for (int round = 0; round < 20000; round++) {
        char in[24], whole[3 * 28], parts[3 * 28];
        size_t n = 1 + (size_t)(round % 23);
        for (size_t i = 0; i < n; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            in[i] = alphabet[(state >> 33) % (sizeof alphabet - 1)];
        }
        size_t a = stream(in, n, n, whole), b = stream(in, n, 1 + (size_t)(state >> 40) % 3, parts);
        CHECK(a == b && memcmp(whole, parts, a) == 0, "round %d", round);
    }
}

static void test_every_character(void) {
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code >= 0xd800 && code < 0xe000) continue;
        char text[4];
        uint32_t n = mlxn_utf8_write(code, text), back = 0, bad = 9;
        int good = mlxn_utf8_read(text, n, &back, NULL) == n && back == code;
        for (uint32_t cut = 1; cut < n; cut++)
            good = good && mlxn_utf8_read(text, cut, NULL, &bad) == 0 && bad == cut;
        if (!good) CHECK(good, "U+%04X", code);
    }
    CHECK(1, "all read");
}

int main(void) {
    test_samples();
    test_any_cut_gives_the_same();
    test_every_character();
    return TEST_DONE();
}
