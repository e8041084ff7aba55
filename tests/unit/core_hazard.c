/* Promise: the hazard tracker reports a conflict exactly when two accesses of one buffer overlap and one of them
 * writes: half-open ranges, views with their own length, never two different buffers. Compared with a brute-force
 * byte map over random accesses. */
#include "core/hazard.h"
#include "test.h"

enum { BYTES = 96, BUFFERS = 5 };

static unsigned long long state = 1;
static unsigned next(unsigned n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % n;
}

static void test_pinned(void) {
    mlxn_hazards h = {.group = 1};
    int x, y;
    CHECK(!mlxn_hazards_conflict(&h, &x, 0, 8, true), "empty accepts anything");
    CHECK(mlxn_hazards_add(&h, &x, 0, 16, false), "add");
    CHECK(!mlxn_hazards_conflict(&h, &x, 0, 16, false), "read after read");
    CHECK(mlxn_hazards_conflict(&h, &x, 0, 16, true), "write after read");
    CHECK(!mlxn_hazards_conflict(&h, &y, 0, 16, true), "another buffer");
    mlxn_hazards_reset(&h);
    CHECK(mlxn_hazards_add(&h, &x, 0, 8, true), "add");
    CHECK(!mlxn_hazards_conflict(&h, &x, 8, 16, true), "two disjoint halves do not conflict, low then high");
    mlxn_hazards_reset(&h);
    CHECK(mlxn_hazards_add(&h, &x, 8, 16, true), "add");
    CHECK(!mlxn_hazards_conflict(&h, &x, 0, 8, true), "nor high then low");
    CHECK(mlxn_hazards_conflict(&h, &x, 7, 9, false), "read after write over the edge");
    CHECK(mlxn_hazards_conflict(&h, &x, 8, 9, true), "write after write");
    mlxn_hazards_reset(&h);
    CHECK(!mlxn_hazards_conflict(&h, &x, 0, 99, true), "a reset forgets");
    mlxn_hazards_free(&h);
}

static void test_random(void) {
    mlxn_hazards h = {.group = 1};
    static unsigned char map[BUFFERS][BYTES]; /* bit 0 read, bit 1 written */
    static int keys[BUFFERS];
    for (int round = 0; round < 400; round++) {
        memset(map, 0, sizeof map);
        for (int i = 0; i < 60; i++) {
            unsigned b = next(BUFFERS), start = next(BYTES), end = start + next(BYTES - start) + 1, write = next(2);
            bool want = false;
            for (unsigned k = start; k < end; k++) want = want || (map[b][k] & (write ? 3 : 2));
            bool got = mlxn_hazards_conflict(&h, &keys[b], start, end, write);
            CHECK(got == want, "round %d: [%u, %u) %s of buffer %u: got %d, want %d", round, start, end,
                  write ? "write" : "read", b, got, want);
            CHECK(mlxn_hazards_add(&h, &keys[b], start, end, write), "add");
            for (unsigned k = start; k < end; k++) map[b][k] |= write ? 2 : 1;
        }
        mlxn_hazards_reset(&h);
    }
    mlxn_hazards_free(&h);
}

/* Thousands of buffers over many groups: stale entries are dropped, not accumulated. */
static void test_many_buffers(void) {
    mlxn_hazards h = {.group = 1};
    static char keys[20000];
    for (int group = 0; group < 200; group++) {
        for (int i = 0; i < 100; i++) CHECK(mlxn_hazards_add(&h, &keys[group * 100 + i], 0, 4, true), "add");
        CHECK(mlxn_hazards_conflict(&h, &keys[group * 100 + 50], 0, 1, false), "this group is seen");
        if (group) CHECK(!mlxn_hazards_conflict(&h, &keys[group * 100 - 50], 0, 1, false), "the last one is not");
        mlxn_hazards_reset(&h);
    }
    CHECK(h.capacity <= 1024, "the table holds the live entries only, capacity is %d", (int)h.capacity);
    mlxn_hazards_free(&h);
}

int main(void) {
    test_pinned();
    test_random();
    test_many_buffers();
    return TEST_DONE();
}
