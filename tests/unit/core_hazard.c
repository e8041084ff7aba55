/* Promise: the hazard tracker reports a conflict exactly when two accesses of one buffer overlap and one of them
 * writes: half-open ranges, views with their own length, never two different buffers. Compared with a brute-force
 * byte map over random accesses, few and thousands per buffer. Its sets stay sorted and merged, a warm tracker
 * allocates nothing, and one that runs out of memory says so and stays usable. */
#include "base/base.h"
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
    static int x, y;
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

/* Sorted, at least a byte apart, no empty leaf, and the index tells the truth. Returns the number of intervals. */
static uint64_t check_set(const mlxn_hazards *h, const mlxn_interval_set *set) {
    if (!set->index) {
        for (uint32_t i = 1; i < set->count; i++) CHECK(set->few[i - 1].end < set->few[i].start, "apart");
        return set->count;
    }
    const mlxn_leaf_index *index = &h->indices[set->index - 1];
    uint64_t last = 0, n = 0;
    for (uint32_t l = 0; l < index->count; l++) {
        const mlxn_interval_leaf *leaf = index->refs[l].leaf;
        CHECK(leaf->count && leaf->count <= MLXN_LEAF_INTERVALS, "leaf %u has %u intervals", l, leaf->count);
        CHECK(index->refs[l].start == leaf->items[0].start, "leaf %u begins where the index says", l);
        for (uint32_t i = 0; i < leaf->count; i++, n++) {
            CHECK(leaf->items[i].start < leaf->items[i].end, "not empty");
            CHECK(!n || last < leaf->items[i].start, "interval %u of leaf %u is apart", i, l);
            last = leaf->items[i].end;
        }
    }
    CHECK(set->few[0].end == last && set->few[0].start == index->refs[0].start, "span");
    return n;
}

enum { WIDE = 1 << 14, MANY = 2500 };

/* Access i of a round: short ranges in ascending, descending or random order, and now and then a long one. */
static void draw(unsigned pattern, unsigned i, unsigned *start, unsigned *end) {
    unsigned slot = pattern == 0 ? i : pattern == 1 ? MANY - 1 - i : next(MANY);
    *start = slot * 6 + (pattern == 3 ? next(6) : 0);
    *end = *start + 1 + next(pattern == 3 ? 7 : 4);
    if (pattern > 2 && next(200) == 0) *end = *start + next(3000) + 1;
    if (*end > WIDE) *end = WIDE;
}

static void test_leaves(void) {
    mlxn_hazards h = {.group = UINT32_MAX - 9}; /* the stamps begin anew on the way */
    static unsigned char map[2][WIDE];
    static int keys[2];
    uint64_t most = 0;
    for (unsigned round = 0; round < 24; round++) {
        memset(map, 0, sizeof map);
        for (unsigned i = 0; i < MANY; i++) {
            unsigned start, end, b = next(16) == 0, write = next(3) != 0;
            draw(round % 4, i, &start, &end);
            bool want = false;
            for (unsigned k = start; k < end; k++) want = want || (map[b][k] & (write ? 3 : 2));
            bool got = mlxn_hazards_conflict(&h, &keys[b], start, end, write);
            CHECK(got == want, "round %u: [%u, %u) %s of buffer %u: got %d, want %d", round, start, end,
                  write ? "write" : "read", b, got, want);
            CHECK(mlxn_hazards_add(&h, &keys[b], start, end, write), "add");
            for (unsigned k = start; k < end; k++) map[b][k] |= write ? 2 : 1;
        }
        for (uint32_t i = 0; i < h.used; i++) {
            uint64_t n = check_set(&h, &h.entries[i].writes) + check_set(&h, &h.entries[i].reads);
            most = n > most ? n : most;
        }
        mlxn_hazards_reset(&h);
    }
    CHECK(most > 1000, "the rounds are large: %d intervals of one buffer", (int)most);
    mlxn_hazards_free(&h);
}

/* One and the same group of many buffers and many ranges. */
static bool fill_group(mlxn_hazards *h, unsigned long long seed) {
    static int keys[500];
    state = seed;
    for (int i = 0; i < 500; i++) {
        if (!mlxn_hazards_add(h, &keys[i], 0, 8, i & 1)) return false;
        unsigned at = next(4000) * 8;
        if (!mlxn_hazards_add(h, &keys[i & 3], at + 16, at + 18, true)) return false;
        CHECK(mlxn_hazards_conflict(h, &keys[i & 3], at + 17, at + 19, false), "what was added is there");
    }
    return true;
}

static void test_warm(void) {
    mlxn_hazards h = {0};
    CHECK(fill_group(&h, 3), "fill");
    mlxn_hazards_reset(&h);
    uint64_t before = mlxn_alloc_count();
    for (int i = 0; i < 50; i++) {
        CHECK(fill_group(&h, 3), "fill");
        mlxn_hazards_reset(&h);
    }
    CHECK(mlxn_alloc_count() == before, "%d allocations once warm", (int)(mlxn_alloc_count() - before));
    mlxn_hazards_free(&h);
}

static void test_out_of_memory(void) {
    int failed = 0;
    for (uint64_t k = 1;; k++) {
        mlxn_hazards h = {0};
        mlxn_alloc_fail_at(k);
        bool good = fill_group(&h, 5);
        mlxn_alloc_fail_at(0);
        failed += !good;
        mlxn_hazards_reset(&h);
        CHECK(fill_group(&h, 5), "usable after a failure of allocation %d", (int)k);
        mlxn_hazards_free(&h);
        if (good) break;
    }
    CHECK(failed > 10, "%d allocations could fail", failed);
}

/* Thousands of buffers over many groups: those of earlier groups leave nothing behind. */
static void test_many_buffers(void) {
    mlxn_hazards h = {0};
    static char keys[20000];
    for (int group = 0; group < 200; group++) {
        for (int i = 0; i < 100; i++) CHECK(mlxn_hazards_add(&h, &keys[group * 100 + i], 0, 4, true), "add");
        CHECK(mlxn_hazards_conflict(&h, &keys[group * 100 + 50], 0, 1, false), "this group is seen");
        if (group) CHECK(!mlxn_hazards_conflict(&h, &keys[group * 100 - 50], 0, 1, false), "the last one is not");
        mlxn_hazards_reset(&h);
    }
    CHECK(h.capacity <= 256, "the table holds the live entries only, capacity is %d", (int)h.capacity);
    mlxn_hazards_free(&h);
}

int main(void) {
    test_pinned();
    test_random();
    test_leaves();
    test_warm();
    test_out_of_memory();
    test_many_buffers();
    return TEST_DONE();
}
