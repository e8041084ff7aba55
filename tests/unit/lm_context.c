/* Promise: what a context computes depends on nothing but the tokens of each sequence: not on how rows are cut into
 * calls and steps, not on other sequences, not on what was truncated or cancelled before. Checked for a tiny random
 * model of every architecture, on the f32 path. */
#include "lm_tiny.h"

#include "base/base.h"

enum { LONG = 150 };

static const char *const archs[] = {"llama", "qwen2", "gemma3"};
static mlxn_device *device;

static mlxn_context *make(mlxn_model *model, uint32_t n_ctx, uint32_t n_sequences, uint32_t n_batch) {
    mlxn_context_desc desc = {
        .struct_size = sizeof desc, .n_ctx = n_ctx, .n_sequences = n_sequences, .n_batch = n_batch};
    mlxn_context *context = NULL;
    mlxn_error error;
    CHECK(mlxn_context_create(model, &desc, &context, &error) == MLXN_OK, "%s", error.message);
    return context;
}

static mlxn_token token_at(uint32_t stream, uint32_t i) {
    return (mlxn_token)((i * 37 + stream * 101 + i * i) % TINY_VOCAB);
}

/* Rows [from, to) of a stream for sequence `seq`, all with logits. */
static void rows_of(mlxn_batch_row *rows, uint32_t stream, uint32_t seq, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) rows[i - from] = (mlxn_batch_row){token_at(stream, i), seq, true};
}

static void decode(mlxn_context *c, const mlxn_batch_row *rows, size_t n, float *out) {
    const float *logits = NULL;
    mlxn_error error;
    mlxn_status status = mlxn_context_decode(c, rows, n, NULL, NULL, &logits, &error);
    CHECK(status == MLXN_OK, "%s", error.message);
    if (status != MLXN_OK || !out) return;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) k += rows[i].logits;
    memcpy(out, logits, k * TINY_VOCAB * sizeof *out);
}

/* Logits of a whole stream, in calls of `step` rows. */
static float *run(mlxn_context *c, uint32_t stream, uint32_t seq, uint32_t n, uint32_t step) {
    float *out = calloc((size_t)n * TINY_VOCAB, sizeof *out);
    mlxn_batch_row rows[LONG];
    for (uint32_t i = 0; i < n; i += step) {
        uint32_t end = i + step < n ? i + step : n;
        rows_of(rows, stream, seq, i, end);
        decode(c, rows, end - i, out + (size_t)i * TINY_VOCAB);
    }
    return out;
}

static void near(const float *got, const float *want, size_t rows, const char *arch, const char *what) {
    double worst = 0, size = 0;
    for (size_t i = 0; i < rows * TINY_VOCAB; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= worst)) worst = d; /* NaN too */
        if (fabs((double)want[i]) > size) size = fabs((double)want[i]);
    }
    CHECK(worst < 1e-3, "%s: %s: logits differ by %g", arch, what, worst);
    CHECK(size > 0.5 && size < 1e3, "%s: %s: logits reach %g, which tests nothing", arch, what, size);
}

static void test_any_cut(mlxn_model *model, const char *arch) {
    const uint32_t steps[] = {LONG, 1, 7, 16, 40};
    float *want = NULL;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        mlxn_context *c = make(model, TINY_CTX, 1, i == 0 ? LONG : 16);
        float *got = run(c, 0, 0, LONG, steps[i]);
        char what[64];
        snprintf(what, sizeof what, "calls of %u rows", steps[i]);
        if (want) near(got, want, LONG, arch, what);
        CHECK(mlxn_context_length(c, 0) == LONG, "length is %u", mlxn_context_length(c, 0));
        mlxn_context_destroy(c);
        if (want)
            free(got);
        else
            want = got;
    }
    /* Only some rows ask, in steps where all, some and none do: the same logits, in order. */
    mlxn_context *c = make(model, TINY_CTX, 1, 16);
    mlxn_batch_row rows[LONG];
    rows_of(rows, 0, 0, 0, LONG);
    size_t k = 0;
    float *some = calloc((size_t)LONG * TINY_VOCAB, sizeof *some), *picked = calloc((size_t)LONG * TINY_VOCAB, 4);
    for (uint32_t i = 0; i < LONG; i++) {
        rows[i].logits = i / 16 == 1 || (i / 16 != 2 && i % 5 == 0) || i + 1 == LONG;
        if (rows[i].logits) memcpy(picked + k++ * TINY_VOCAB, want + i * TINY_VOCAB, TINY_VOCAB * sizeof *want);
    }
    decode(c, rows, LONG, some);
    near(some, picked, k, arch, "some rows ask");
    mlxn_context_destroy(c);
    free(some);
    free(picked);
    free(want);
}

static void test_sequences(mlxn_model *model, const char *arch) {
    enum { N = 90, S = 3 };
    mlxn_context *alone = make(model, TINY_CTX, 1, 32), *shared = make(model, TINY_CTX, S, 20);
    float *want[S], *got = calloc((size_t)S * N * TINY_VOCAB, sizeof *got);
    for (uint32_t s = 0; s < S; s++) {
        want[s] = run(alone, s, 0, N, N);
        mlxn_context_truncate(alone, 0, 0, NULL);
    }
    /* First 60 positions in one call, rows of the sequences mixed; then steps of one row per sequence. */
    mlxn_batch_row rows[S * N];
    size_t n = 0;
    uint32_t at[S * N], of[S * N], next[S] = {0};
    for (uint32_t i = 0; n < S * 60; i++) {
        uint32_t s = (i * i + i / 3) % S;
        if (next[s] == 60) s = next[0] < 60 ? 0 : next[1] < 60 ? 1 : 2;
        rows[n] = (mlxn_batch_row){token_at(s, next[s]), s, true};
        of[n] = s;
        at[n++] = next[s]++;
    }
    float *mixed = calloc(n * TINY_VOCAB, sizeof *mixed);
    decode(shared, rows, n, mixed);
    for (size_t i = 0; i < n; i++) {
        memcpy(got + ((size_t)of[i] * N + at[i]) * TINY_VOCAB, mixed + i * TINY_VOCAB, TINY_VOCAB * sizeof *got);
    }
    for (uint32_t i = 60; i < N; i++) {
        for (uint32_t s = 0; s < S; s++) rows[s] = (mlxn_batch_row){token_at(s, i), s, true};
        decode(shared, rows, S, mixed);
        for (size_t s = 0; s < S; s++) {
            memcpy(got + (s * N + i) * TINY_VOCAB, mixed + s * TINY_VOCAB, TINY_VOCAB * sizeof *got);
        }
    }
    for (size_t s = 0; s < S; s++) near(got + s * N * TINY_VOCAB, want[s], N, arch, "sequences together");
    for (uint32_t s = 0; s < S; s++) free(want[s]);
    free(got);
    free(mixed);
    mlxn_context_destroy(alone);
    mlxn_context_destroy(shared);
}

static void test_truncate(mlxn_model *model, const char *arch) {
    mlxn_context *c = make(model, TINY_CTX, 2, 16);
    float *want = run(c, 0, 0, 100, 100);
    free(run(c, 5, 1, 30, 30));
    mlxn_error error;
    CHECK(mlxn_context_truncate(c, 0, 101, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "101"), "%s",
          error.message);
    CHECK(mlxn_context_truncate(c, 2, 0, &error) == MLXN_ERR_ARGUMENT, "no such sequence");
    CHECK(mlxn_context_truncate(c, 0, 80, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_context_length(c, 0) == 80, "length is %u", mlxn_context_length(c, 0));
    mlxn_batch_row rows[LONG];
    float *again = calloc((size_t)100 * TINY_VOCAB, sizeof *again);
    rows_of(rows, 3, 0, 80, 95); /* other tokens, truncated away again */
    decode(c, rows, 15, NULL);
    CHECK(mlxn_context_truncate(c, 0, 80, &error) == MLXN_OK, "%s", error.message);
    rows_of(rows, 0, 0, 80, 100);
    decode(c, rows, 20, again);
    near(again, want + (size_t)80 * TINY_VOCAB, 20, arch, "truncated and computed again");
    /* Position 20 needs positions 13 to 19, whose slots of the 64-position ring were used again by 100 tokens. */
    mlxn_status status = mlxn_context_truncate(c, 0, 20, &error);
    if (strcmp(arch, "gemma3") == 0) {
        CHECK(status == MLXN_ERR_ARGUMENT && mlxn_context_length(c, 0) == 100, "a ring forgets: %s",
              mlxn_status_name(status));
        CHECK(mlxn_context_truncate(c, 0, 42, &error) == MLXN_ERR_ARGUMENT, "35 to 41 are needed, 36 is the oldest");
        CHECK(mlxn_context_truncate(c, 0, 43, &error) == MLXN_OK, "%s", error.message);
        rows_of(rows, 0, 0, 43, 100);
        decode(c, rows, 57, again);
        near(again, want + (size_t)43 * TINY_VOCAB, 57, arch, "truncated to the oldest position that is held");
    } else {
        CHECK(status == MLXN_OK, "%s", error.message);
    }
    CHECK(mlxn_context_truncate(c, 0, 0, &error) == MLXN_OK, "an empty sequence always can be: %s", error.message);
    CHECK(mlxn_context_length(c, 1) == 30, "the other sequence keeps its length");
    free(again);
    again = run(c, 0, 0, 100, 33);
    near(again, want, 100, arch, "from the start again");
    free(again);
    free(want);
    mlxn_context_destroy(c);
}

typedef struct watcher {
    mlxn_context *context;
    uint64_t calls, done, total, stop_at;
    bool by_flag;
} watcher;

static bool watch(void *user, uint64_t done, uint64_t total) {
    watcher *w = user;
    w->calls++;
    CHECK(done > w->done && done <= total, "progress went from %d to %d", (int)w->done, (int)done);
    w->done = done;
    w->total = total;
    if (done < w->stop_at) return true;
    if (w->by_flag) mlxn_context_cancel(w->context);
    return w->by_flag;
}

static void test_progress_and_cancel(mlxn_model *model, const char *arch) {
    mlxn_context *c = make(model, TINY_CTX, 1, 16);
    mlxn_batch_row rows[LONG];
    mlxn_error error;
    rows_of(rows, 0, 0, 0, LONG);
    watcher w = {.context = c, .stop_at = UINT64_MAX};
    CHECK(mlxn_context_decode(c, rows, LONG, watch, &w, NULL, &error) == MLXN_OK, "%s", error.message);
    CHECK(w.calls == (LONG + 15) / 16 && w.done == LONG && w.total == LONG, "%d calls", (int)w.calls);
    mlxn_context_truncate(c, 0, 0, NULL);
    float *want = run(c, 0, 0, LONG, LONG);
    for (int by_flag = 0; by_flag < 2; by_flag++) {
        mlxn_context_truncate(c, 0, 0, NULL);
        w = (watcher){.context = c, .stop_at = 48, .by_flag = by_flag};
        mlxn_status status = mlxn_context_decode(c, rows, LONG, watch, &w, NULL, &error);
        CHECK(status == MLXN_ERR_CANCELLED, "status is %s", mlxn_status_name(status));
        CHECK(mlxn_context_length(c, 0) == 48, "length is %u, 48 rows were computed", mlxn_context_length(c, 0));
        float *rest = calloc((size_t)LONG * TINY_VOCAB, sizeof *rest);
        decode(c, rows + 48, LONG - 48, rest);
        near(rest, want + (size_t)48 * TINY_VOCAB, LONG - 48, arch, "going on after a cancel");
        free(rest);
    }
    mlxn_context_cancel(c);
    mlxn_context_truncate(c, 0, 100, NULL);
    CHECK(mlxn_context_decode(c, rows, 1, NULL, NULL, NULL, &error) == MLXN_ERR_CANCELLED,
          "the next one is cancelled");
    CHECK(mlxn_context_length(c, 0) == 100, "nothing was computed");
    CHECK(mlxn_context_decode(c, rows, 1, NULL, NULL, NULL, &error) == MLXN_OK, "once: %s", error.message);
    free(want);
    mlxn_context_destroy(c);
}

static void test_limits(mlxn_model *model) {
    mlxn_context *c = make(model, 20, 2, 8);
    mlxn_batch_row rows[LONG];
    mlxn_error error;
    rows_of(rows, 0, 0, 0, 30);
    mlxn_status status = mlxn_context_decode(c, rows, 21, NULL, NULL, NULL, &error);
    CHECK(status == MLXN_ERR_LIMIT && strstr(error.message, "21") && strstr(error.message, "20"), "%s",
          error.message);
    CHECK(mlxn_context_length(c, 0) == 0, "nothing was changed");
    float *a = calloc((size_t)20 * TINY_VOCAB, sizeof *a), *b = calloc((size_t)20 * TINY_VOCAB, sizeof *b);
    decode(c, rows, 20, a);
    CHECK(mlxn_context_decode(c, rows, 1, NULL, NULL, NULL, &error) == MLXN_ERR_LIMIT, "full");
    rows_of(rows, 0, 1, 0, 20);
    decode(c, rows, 20, b);
    near(b, a, 20, "limits", "the other sequence has its own room");
    mlxn_context_truncate(c, 1, 10, NULL);
    rows[3].token = TINY_VOCAB;
    CHECK(mlxn_context_decode(c, rows, 4, NULL, NULL, NULL, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "row 3"),
          "%s", error.message);
    rows[3].token = -1;
    CHECK(mlxn_context_decode(c, rows, 4, NULL, NULL, NULL, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    rows[3] = (mlxn_batch_row){0, 2, false};
    CHECK(mlxn_context_decode(c, rows, 4, NULL, NULL, NULL, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "sequence is 2"),
          "%s", error.message);
    CHECK(mlxn_context_decode(c, rows, 0, NULL, NULL, NULL, &error) == MLXN_ERR_ARGUMENT, "no rows");
    CHECK(mlxn_context_length(c, 1) == 10, "nothing was changed");
    free(a);
    free(b);
    mlxn_context_destroy(c);
    mlxn_context *out = NULL;
    mlxn_context_desc desc = {.struct_size = sizeof desc, .k_type = MLXN_KV_TQ4};
    CHECK(mlxn_context_create(model, &desc, &out, &error) == MLXN_ERR_ARGUMENT && !out, "%s", error.message);
    desc = (mlxn_context_desc){.struct_size = sizeof desc, .n_ctx = MLXN_CTX_MODEL};
    CHECK(mlxn_context_create(model, &desc, &out, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_context_size(out) == TINY_CTX, "the model's context is %u", mlxn_context_size(out));
    mlxn_context_destroy(out);
}

/* After the first token, decoding one more allocates nothing: not in the library, not on the device. */
static void test_no_allocation(mlxn_model *model, const char *arch) {
    mlxn_context *c = make(model, TINY_CTX, 1, 16);
    mlxn_batch_row row = {5, 0, true};
    for (int i = 0; i < 4; i++) decode(c, &row, 1, NULL);
    uint64_t before = mlxn_alloc_count();
    for (int i = 0; i < 50; i++) decode(c, &row, 1, NULL);
    uint64_t made = mlxn_alloc_count() - before;
    CHECK(made == 0, "%s: %d allocations in 50 tokens", arch, (int)made);
    mlxn_context_destroy(c);
}

/* The same bits from one thread and from two, and from run to run. */
static void test_same_bits(const char *arch) {
    for (int precision = 0; precision < 2; precision++) {
        float *first = NULL;
        for (uint32_t run_no = 0; run_no < 4; run_no++) {
            mlxn_device *d = tiny_device((mlxn_precision)precision, 1 + run_no % 2);
            mlxn_model *model = tiny_load(d, arch);
            mlxn_context *c = make(model, TINY_CTX, 1, 32);
            float *out = run(c, 1, 0, 50, 25);
            if (first) {
                CHECK(memcmp(first, out, (size_t)50 * TINY_VOCAB * sizeof *out) == 0,
                      "%s: run %u, precision %d: bits differ", arch, run_no, precision);
                free(out);
            } else {
                first = out;
            }
            mlxn_context_destroy(c);
            mlxn_model_release(&model);
            mlxn_device_release(&d);
        }
        free(first);
    }
}

int main(void) {
    device = tiny_device(MLXN_PRECISION_F32, 2);
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        mlxn_model *model = tiny_load(device, archs[i]);
        if (!model) continue;
        test_any_cut(model, archs[i]);
        test_sequences(model, archs[i]);
        test_truncate(model, archs[i]);
        test_progress_and_cancel(model, archs[i]);
        test_limits(model);
        test_no_allocation(model, archs[i]);
        test_same_bits(archs[i]);
        mlxn_model_release(&model);
    }
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    CHECK(info.memory_used == info.memory_scratch, "%llu bytes of device memory are left",
          (unsigned long long)(info.memory_used - info.memory_scratch));
    mlxn_device_release(&device);
    return TEST_DONE();
}
