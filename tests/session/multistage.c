/* Promise: the multi-stage encoder session keeps its contract: fences chain stages on a monotonic event, results of
 * every stage are right, residency follows handles, a fenced session may be dropped, and memory outlives work in
 * flight. The six tests carry the names of the contract they pin.
 *
 * Usage: multistage [TEST|all [cpu|null]]. Without HF2Q_ENCODER_SESSION=1 every test prints a skip line and passes.
 */
#include "session/common.h"

static bool gate(const char *test) {
    if (mlxn_session_env_enabled()) return true;
    fprintf(stderr, "skip %s: HF2Q_ENCODER_SESSION=1 is not set\n", test);
    test_skips++;
    return false;
}

static mlxn_session *open_session(mlxn_device *device) {
    mlxn_session *session = NULL;
    OK(mlxn_device_encoder_session(device, &session, NULL));
    CHECK(session, "the factory gives a session when the gate is on");
    return session;
}

static void check_states(mlxn_session *s, bool drained, bool pending, uint64_t value) {
    CHECK(mlxn_session_is_drained(s) == drained, "drained is %d", mlxn_session_is_drained(s));
    CHECK(mlxn_session_is_fence_pending(s) == pending, "pending is %d", mlxn_session_is_fence_pending(s));
    CHECK(mlxn_session_fence_value(s) == value, "fence value is %llu, want %llu",
          (unsigned long long)mlxn_session_fence_value(s), (unsigned long long)value);
}

static const char *label_of(mlxn_session *s) { return mlxn_command_buffer_label(mlxn_session_command_buffer(s)); }

static void test_session_fence_stage_then_reset_then_begin_stage(void) {
    if (!gate(__func__)) return;
    mlxn_device *device = make_device();
    mlxn_buffer *a1 = floats(device, 4, (float[]){1, 2, 3, 4}), *b1 = floats(device, 4, (float[]){10, 20, 30, 40});
    mlxn_buffer *a2 = floats(device, 4, (float[]){100, 200, 300, 400}),
                *b2 = floats(device, 4, (float[]){7, 8, 9, 10});
    mlxn_buffer *out1 = floats(device, 4, NULL), *out2 = floats(device, 4, NULL);
    mlxn_session *s = open_session(device);
    CHECK(!mlxn_session_has_event(s), "no event before the first fence");
    check_states(s, false, false, 0);

    const char *fence = "phase.iter89e2b_stage1.fence";
    OK(mlxn_session_begin_stage(s, "phase.iter89e2b_stage1"));
    OK(add(mlxn_session_encoder(s), a1, b1, out1, 4));
    OK(mlxn_session_fence_stage(s, fence, NULL));
    check_states(s, true, true, 1);
    CHECK(mlxn_session_has_event(s), "the first fence makes the event");
    CHECK(!strcmp(label_of(s), fence), "label is \"%s\"", label_of(s));

    OK(mlxn_session_reset_for_next_stage(s, NULL));
    check_states(s, false, false, 1);
    CHECK(strcmp(label_of(s), fence), "a fresh command buffer has no old label");

    OK(mlxn_session_begin_stage(s, "phase.iter89e2b_stage2"));
    OK(add(mlxn_session_encoder(s), a2, b2, out2, 4));
    OK(mlxn_session_commit_and_wait(s, NULL));
    check_states(s, true, false, 1);
    expect(out1, 4, (float[]){11, 22, 33, 44});
    expect(out2, 4, (float[]){107, 208, 309, 410});
    CHECK(!strcmp(label_of(s), "phase.iter89e2b_stage2"), "label is \"%s\"", label_of(s));

    mlxn_session_destroy(s);
    mlxn_buffer *all[] = {a1, b1, a2, b2, out1, out2};
    for (int i = 0; i < 6; i++) mlxn_buffer_release(&all[i]);
    mlxn_device_release(&device);
}

static void test_session_fence_event_signal_wait_round_trip(void) {
    if (!gate(__func__)) return;
    mlxn_device *device = make_device();
    mlxn_buffer *a[3], *b[3], *out[3];
    for (int i = 0; i < 3; i++) {
        a[i] = floats(device, 2, (float[]){100.0f * (float)i + 1, 100.0f * (float)i + 2});
        b[i] = floats(device, 2, (float[]){10, 20});
        out[i] = floats(device, 2, NULL);
    }
    mlxn_session *s = open_session(device);
    check_states(s, false, false, 0);
    CHECK(!mlxn_session_has_event(s), "no event before the first fence");
    for (uint64_t i = 0; i < 3; i++) {
        char label[64];
        snprintf(label, sizeof label, "phase.iter89e2b_chain_stage%d", (int)i);
        OK(mlxn_session_begin_stage(s, label));
        OK(add(mlxn_session_encoder(s), a[i], b[i], out[i], 2));
        OK(mlxn_session_fence_stage(s, NULL, NULL));
        check_states(s, true, true, i + 1);
        CHECK(mlxn_session_has_event(s), "event");
        OK(mlxn_session_reset_for_next_stage(s, NULL));
        check_states(s, false, false, i + 1);
    }
    OK(mlxn_session_begin_stage(s, "phase.iter89e2b_chain_drain"));
    OK(add(mlxn_session_encoder(s), a[0], b[0], out[0], 2));
    OK(mlxn_session_commit_and_wait(s, NULL));
    for (int i = 0; i < 3; i++) expect(out[i], 2, (float[]){100.0f * (float)i + 11, 100.0f * (float)i + 22});
    CHECK(mlxn_session_fence_value(s) == 3, "fence value");
    mlxn_session_destroy(s);
    for (int i = 0; i < 3; i++) {
        mlxn_buffer_release(&a[i]);
        mlxn_buffer_release(&b[i]);
        mlxn_buffer_release(&out[i]);
    }
    mlxn_device_release(&device);
}

static bool residency_on(mlxn_device *device, const char *test) {
    if (mlxn_device_residency_sets_enabled(device)) return true;
    fprintf(stderr, "skip %s: residency is off (HF2Q_NO_RESIDENCY)\n", test);
    test_skips++;
    return false;
}

#define RC(want)                                                                   \
    CHECK(mlxn_residency_allocation_count() == (want), "count is %llu, want %llu", \
          (unsigned long long)mlxn_residency_allocation_count(), (unsigned long long)(want))

static void test_session_residency_delegation_round_trip(void) {
    if (!gate(__func__)) return;
    mlxn_device *device = make_device();
    if (residency_on(device, __func__)) {
        mlxn_residency_reset_counters();
        uint64_t base = mlxn_residency_allocation_count();
        CHECK(base == 0, "reset");
        mlxn_buffer *buffer = floats(device, 256, NULL);
        RC(base + 1);
        mlxn_session *s = open_session(device);
        CHECK(mlxn_session_remove_from_residency_set(s, buffer), "remove");
        RC(base);
        CHECK(mlxn_session_add_to_residency_set(s, buffer), "add");
        RC(base + 1);
        mlxn_session_destroy(s);
        mlxn_buffer_release(&buffer);
        RC(base);
    }
    mlxn_device_release(&device);
}

static void test_session_drop_with_open_fence_drains_synchronously(void) {
    if (!gate(__func__)) return;
    mlxn_device *device = make_device();
    mlxn_buffer *a = floats(device, 4, (float[]){5, 6, 7, 8}), *b = floats(device, 4, (float[]){1, 2, 3, 4});
    mlxn_buffer *out = floats(device, 4, NULL);
    mlxn_encoder *plain = NULL;
    OK(mlxn_encoder_create(device, &plain, NULL));
    mlxn_session *s = open_session(device);
    OK(mlxn_session_begin_stage(s, "phase.iter89e2b_drop_fenced"));
    OK(add(mlxn_session_encoder(s), a, b, out, 4));
    OK(mlxn_session_fence_stage(s, NULL, NULL));
    check_states(s, true, true, 1);
    OK(mlxn_command_buffer_wait(mlxn_session_command_buffer(s), UINT64_MAX, NULL));
    mlxn_session_destroy(s);
    expect(out, 4, (float[]){6, 8, 10, 12});

    mlxn_buffer *a2 = floats(device, 4, (float[]){1, 1, 1, 1}), *b2 = floats(device, 4, (float[]){2, 2, 2, 2});
    mlxn_buffer *out2 = floats(device, 4, NULL);
    OK(add(plain, a2, b2, out2, 4));
    OK(mlxn_encoder_commit_and_wait(plain, NULL, NULL));
    expect(out2, 4, (float[]){3, 3, 3, 3});
    mlxn_encoder_destroy(plain);
    mlxn_buffer *all[] = {a, b, out, a2, b2, out2};
    for (int i = 0; i < 6; i++) mlxn_buffer_release(&all[i]);
    mlxn_device_release(&device);
}

static void test_session_arena_lifetime_under_fence_no_rescission(void) {
    if (!gate(__func__)) return;
    mlxn_device *device = make_device();
    if (residency_on(device, __func__)) {
        mlxn_buffer *a2 = floats(device, 4, (float[]){1, 1, 1, 1}), *b2 = floats(device, 4, (float[]){2, 2, 2, 2});
        mlxn_buffer *out2 = floats(device, 4, NULL);
        mlxn_buffer *a1 = floats(device, 4, (float[]){5, 6, 7, 8}), *b1 = floats(device, 4, (float[]){1, 2, 3, 4});
        mlxn_residency_reset_counters();
        uint64_t base = mlxn_residency_allocation_count();
        CHECK(base == 0, "reset");
        mlxn_session *s = open_session(device);
        mlxn_buffer *scratch = floats(device, 4, NULL);
        RC(base + 1);
        OK(mlxn_session_begin_stage(s, "phase.iter89e2b_f2_stage1"));
        OK(add(mlxn_session_encoder(s), a1, b1, scratch, 4));
        OK(mlxn_session_fence_stage(s, NULL, NULL));
        CHECK(mlxn_session_is_fence_pending(s), "pending");
        mlxn_buffer_release(&scratch); /* the only handle, while its command buffer may run */
        RC(base);
        OK(mlxn_session_reset_for_next_stage(s, NULL));
        OK(mlxn_session_begin_stage(s, "phase.iter89e2b_f2_stage2"));
        OK(add(mlxn_session_encoder(s), a2, b2, out2, 4));
        OK(mlxn_session_commit_and_wait(s, NULL));
        expect(out2, 4, (float[]){3, 3, 3, 3});
        RC(base);
        mlxn_session_destroy(s);

        mlxn_encoder *plain = NULL;
        OK(mlxn_encoder_create(device, &plain, NULL));
        mlxn_buffer *a3 = floats(device, 4, (float[]){10, 20, 30, 40}),
                    *b3 = floats(device, 4, (float[]){1, 2, 3, 4});
        mlxn_buffer *out3 = floats(device, 4, NULL);
        OK(add(plain, a3, b3, out3, 4));
        OK(mlxn_encoder_commit_and_wait(plain, NULL, NULL));
        expect(out3, 4, (float[]){11, 22, 33, 44});
        mlxn_encoder_destroy(plain);
        mlxn_buffer *all[] = {a1, b1, a2, b2, out2, a3, b3, out3};
        for (int i = 0; i < 8; i++) mlxn_buffer_release(&all[i]);
    }
    mlxn_device_release(&device);
}

static void test_session_borrowed_across_n_stages(void) {
    if (!gate(__func__)) return;
    mlxn_device *device = make_device();
    mlxn_buffer *a = floats(device, 4, (float[]){1, 2, 3, 4}), *b = floats(device, 4, (float[]){10, 20, 30, 40});
    mlxn_buffer *out = floats(device, 4, NULL);
    mlxn_session *s = open_session(device);
    for (int i = 0; i < 5; i++) {
        char label[32];
        snprintf(label, sizeof label, "borrowed.stage%d", i);
        OK(add(mlxn_session_encoder(s), a, b, out, 4));
        OK(mlxn_session_fence_stage(s, label, NULL));
        OK(mlxn_session_reset_for_next_stage(s, NULL));
    }
    OK(mlxn_session_commit_and_wait(s, NULL)); /* a command buffer that holds only the wait for value 5 */
    fprintf(stderr, "borrowed.fence_value=%llu\n", (unsigned long long)mlxn_session_fence_value(s));
    fprintf(stderr, "borrowed.wait_count=%llu\n", (unsigned long long)mlxn_session_wait_count(s));
    CHECK(mlxn_session_fence_value(s) == 5, "fence value");
    CHECK(mlxn_session_wait_count(s) == 5, "wait count");
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
    mlxn_device_release(&device);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
#define TEST(name) {#name, name}
        TEST(test_session_fence_stage_then_reset_then_begin_stage),
        TEST(test_session_fence_event_signal_wait_round_trip),
        TEST(test_session_residency_delegation_round_trip),
        TEST(test_session_drop_with_open_fence_drains_synchronously),
        TEST(test_session_arena_lifetime_under_fence_no_rescission),
        TEST(test_session_borrowed_across_n_stages),
    };
    const char *only = argc > 1 ? argv[1] : "all";
    if (argc > 2) device_name = argv[2];
    if (!device_is_there(device_name)) return TEST_DONE();
    int ran = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!strcmp(only, "all") || !strcmp(only, tests[i].name)) {
            tests[i].run();
            ran++;
        }
    CHECK(ran > 0, "no test is called %s", only);
    return TEST_DONE();
}
