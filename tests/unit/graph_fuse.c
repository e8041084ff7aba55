/* Promise: every rule of fusion fires where nobody can see the difference, and none where somebody can: when the
 * intermediate is read again, lies in memory that outlives the graph, is only partly consumed or was rounded, or when
 * something between the two touches it or an input of the first. Whatever is fused, the memory that can be seen holds
 * the bits of the unfused graph, over 3,000 random sequences too. */
#include <mlxn/mlxn.h>

#include "base/base.h"
#include "test.h"

#define OK(call) CHECK((call) == MLXN_OK, "%s", error.message)

enum { ROWS = 3, D = 64, N = ROWS * D, BUFFERS = 6, TEMPORARIES = 3 };
enum { X, U, R, Y, Z, W }; /* buffers that can be seen: inputs, results, weights */

static mlxn_error error;
static mlxn_device *device;
static mlxn_weight *matrix;
static mlxn_buffer *shown[BUFFERS], *positions;

/* What a case records with. */
typedef struct rig {
    mlxn_encoder *e;
    mlxn_buffer *t[TEMPORARIES];
} rig;

static mlxn_tensor as(mlxn_buffer *b, mlxn_dtype dtype) { return mlxn_tensor_2d(b, 0, dtype, ROWS, D); }
static mlxn_tensor f32(mlxn_buffer *b) { return as(b, MLXN_F32); }
static mlxn_tensor heads(mlxn_buffer *b) { return mlxn_tensor_3d(b, 0, MLXN_F32, ROWS, 1, D); }
static mlxn_tensor of(int i) { return f32(shown[i]); }
static mlxn_tensor weight(void) { return mlxn_tensor_1d(shown[W], 0, MLXN_F32, D); }
/* One row, seen under every row. */
static mlxn_tensor spread(void) {
    mlxn_tensor t = of(W);
    t.strides[0] = 0;
    return t;
}
static mlxn_tensor none(void) { return (mlxn_tensor){0}; }
static const mlxn_rms_norm_params norm = {1e-5f};

/* ---- rules ---- */

static void norm_mul(rig *r) {
    mlxn_rms_norm(r->e, of(X), none(), f32(r->t[0]), &norm);
    mlxn_elementwise_mul(r->e, f32(r->t[0]), spread(), of(Y));
}
static void norm_mul_swapped(rig *r) {
    mlxn_rms_norm(r->e, of(X), none(), f32(r->t[0]), &norm);
    mlxn_elementwise_mul(r->e, spread(), f32(r->t[0]), of(Y));
}
static void norm_mul_of_rows(rig *r) {
    mlxn_rms_norm(r->e, of(X), none(), f32(r->t[0]), &norm);
    mlxn_elementwise_mul(r->e, f32(r->t[0]), of(U), of(Y));
}
static void norm_mul_with_weight(rig *r) {
    mlxn_rms_norm(r->e, of(X), weight(), f32(r->t[0]), &norm);
    mlxn_elementwise_mul(r->e, f32(r->t[0]), spread(), of(Y));
}
static void norm_then_add(rig *r) {
    mlxn_rms_norm(r->e, of(X), weight(), f32(r->t[0]), &norm);
    mlxn_elementwise_add(r->e, f32(r->t[0]), of(R), of(Y));
}
static void norm_then_add_swapped(rig *r) {
    mlxn_rms_norm(r->e, of(X), weight(), f32(r->t[0]), &norm);
    mlxn_elementwise_add(r->e, of(R), f32(r->t[0]), of(Y));
}
static void silu_then_mul(rig *r) {
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_elementwise_mul(r->e, f32(r->t[0]), of(U), of(Y));
}
static void silu_then_mul_swapped(rig *r) {
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_elementwise_mul(r->e, of(U), f32(r->t[0]), of(Y));
}
static void gelu_then_mul(rig *r) {
    mlxn_gelu(r->e, of(X), f32(r->t[0]));
    mlxn_elementwise_mul(r->e, f32(r->t[0]), of(U), of(Y));
}
static void norm_then_rope(rig *r) {
    const mlxn_rope_params rope = {.pairing = MLXN_ROPE_HALF, .base = 10000};
    mlxn_tensor p = mlxn_tensor_1d(positions, 0, MLXN_U32, ROWS);
    mlxn_rms_norm(r->e, heads(shown[X]), weight(), heads(r->t[0]), &norm);
    mlxn_rope(r->e, heads(r->t[0]), p, none(), heads(shown[Y]), &rope);
}
static void matmul_then_add(rig *r) {
    mlxn_matmul(r->e, of(X), matrix, none(), none(), f32(r->t[0]));
    mlxn_elementwise_add(r->e, f32(r->t[0]), of(R), of(Y));
}
static void matmul_with_residual(rig *r) {
    mlxn_matmul(r->e, of(X), matrix, none(), of(U), f32(r->t[0]));
    mlxn_elementwise_add(r->e, f32(r->t[0]), of(R), of(Y));
}
static void two_pairs(rig *r) {
    silu_then_mul(r);
    mlxn_matmul(r->e, of(Y), matrix, none(), none(), f32(r->t[1]));
    mlxn_elementwise_add(r->e, of(R), f32(r->t[1]), of(Z));
}

/* ---- who sees the intermediate ---- */

static void intermediate_is_shown(rig *r) {
    mlxn_silu(r->e, of(X), of(Z));
    mlxn_elementwise_mul(r->e, of(Z), of(U), of(Y));
}
static void shown_then_overwritten(rig *r) {
    intermediate_is_shown(r);
    mlxn_encoder_fill(r->e, shown[Z], 0, N * 4, 0);
}
static void shown_then_partly_overwritten(rig *r) {
    intermediate_is_shown(r);
    mlxn_encoder_fill(r->e, shown[Z], 0, N * 4 - 4, 0);
}
static void read_again(rig *r) {
    silu_then_mul(r);
    mlxn_elementwise_add(r->e, f32(r->t[0]), of(R), of(Z));
}
static void read_between(rig *r) {
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_elementwise_add(r->e, f32(r->t[0]), of(R), of(Z));
    mlxn_elementwise_mul(r->e, f32(r->t[0]), of(U), of(Y));
}
static void written_between(rig *r) {
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_encoder_fill(r->e, r->t[0], 0, 4, 0);
    mlxn_elementwise_mul(r->e, f32(r->t[0]), of(U), of(Y));
}
static void input_changes_between(rig *r) {
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_scalar_mul(r->e, of(X), of(X), &(mlxn_scalar_mul_params){2});
    mlxn_elementwise_mul(r->e, f32(r->t[0]), of(U), of(Y));
}
static void other_input_made_between(rig *r) {
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_scalar_mul(r->e, of(R), f32(r->t[1]), &(mlxn_scalar_mul_params){2});
    mlxn_elementwise_mul(r->e, f32(r->t[0]), f32(r->t[1]), of(Y));
}
static void squared(rig *r) {
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_elementwise_mul(r->e, f32(r->t[0]), f32(r->t[0]), of(Y));
}
static void partly_consumed(rig *r) {
    mlxn_tensor t = mlxn_tensor_2d(r->t[0], 0, MLXN_F32, ROWS - 1, D),
                u = mlxn_tensor_2d(shown[U], 0, MLXN_F32, 2, D);
    mlxn_silu(r->e, of(X), f32(r->t[0]));
    mlxn_elementwise_mul(r->e, t, u, mlxn_tensor_2d(shown[Y], 0, MLXN_F32, ROWS - 1, D));
}
static void transposed(rig *r) {
    mlxn_tensor square = mlxn_tensor_2d(r->t[0], 0, MLXN_F32, 8, 8);
    mlxn_tensor turned = square, x = mlxn_tensor_2d(shown[X], 0, MLXN_F32, 8, 8);
    turned.strides[0] = 1;
    turned.strides[1] = 8;
    mlxn_silu(r->e, x, square);
    mlxn_elementwise_mul(r->e, turned, mlxn_tensor_2d(shown[U], 0, MLXN_F32, 8, 8),
                         mlxn_tensor_2d(shown[Y], 0, MLXN_F32, 8, 8));
}
static void halves(rig *r) {
    mlxn_tensor t = as(r->t[0], MLXN_F16), x = as(shown[X], MLXN_F16), u = as(shown[U], MLXN_F16);
    mlxn_silu(r->e, x, t);
    mlxn_elementwise_mul(r->e, t, u, as(shown[Y], MLXN_F16));
}

static const struct {
    const char *name;
    void (*record)(rig *r);
    int fusions;
    mlxn_fuse_mode mode;
    bool dead; /* Z is declared dead */
    bool other_bits;
} cases[] = {
    {"norm and factor", norm_mul, 1, MLXN_FUSE_EXACT, false, false},
    {"factor and norm", norm_mul_swapped, 1, MLXN_FUSE_EXACT, false, false},
    {"norm and a factor of every row", norm_mul_of_rows, 0, MLXN_FUSE_EXACT, false, false},
    {"norm with weight and factor", norm_mul_with_weight, 0, MLXN_FUSE_EXACT, false, false},
    {"norm and add", norm_then_add, 1, MLXN_FUSE_EXACT, false, false},
    {"add of a norm", norm_then_add_swapped, 1, MLXN_FUSE_EXACT, false, false},
    {"silu and mul", silu_then_mul, 1, MLXN_FUSE_EXACT, false, false},
    {"mul by silu", silu_then_mul_swapped, 1, MLXN_FUSE_EXACT, false, false},
    {"gelu and mul", gelu_then_mul, 1, MLXN_FUSE_EXACT, false, false},
    {"norm and rope", norm_then_rope, 1, MLXN_FUSE_EXACT, false, false},
    {"matmul and add", matmul_then_add, 1, MLXN_FUSE_EXACT, false, false},
    {"matmul with residual and add", matmul_with_residual, 0, MLXN_FUSE_EXACT, false, false},
    {"two pairs", two_pairs, 2, MLXN_FUSE_EXACT, false, false},
    {"nothing asked", silu_then_mul, 0, MLXN_FUSE_NONE, false, false},
    {"intermediate outlives the graph", intermediate_is_shown, 0, MLXN_FUSE_EXACT, false, false},
    {"declared dead", intermediate_is_shown, 1, MLXN_FUSE_EXACT, true, false},
    {"overwritten", shown_then_overwritten, 1, MLXN_FUSE_EXACT, false, false},
    {"partly overwritten", shown_then_partly_overwritten, 0, MLXN_FUSE_EXACT, false, false},
    {"read again", read_again, 0, MLXN_FUSE_EXACT, false, false},
    {"read between", read_between, 0, MLXN_FUSE_EXACT, false, false},
    {"written between", written_between, 0, MLXN_FUSE_EXACT, false, false},
    {"input changes between", input_changes_between, 0, MLXN_FUSE_EXACT, false, false},
    {"other input is made between", other_input_made_between, 1, MLXN_FUSE_EXACT, false, false},
    {"squared", squared, 0, MLXN_FUSE_EXACT, false, false},
    {"partly consumed", partly_consumed, 0, MLXN_FUSE_EXACT, false, false},
    {"transposed", transposed, 0, MLXN_FUSE_EXACT, false, false},
    {"halves, exact", halves, 0, MLXN_FUSE_EXACT, false, false},
    {"halves, all", halves, 1, MLXN_FUSE_ALL, false, true},
};

/* ---- running a case ---- */

static void reset(void) {
    for (int b = 0; b < BUFFERS; b++)
        for (int i = 0; i < N; i++)
            ((float *)mlxn_buffer_contents(shown[b]))[i] = (float)((b * 53 + i * 29) % 97) / 24 - 2;
}

static int run(void (*record)(rig *r), mlxn_fuse_mode mode, bool reorder, bool dead, float out[BUFFERS][N]) {
    rig r = {0};
    mlxn_graph *graph = NULL;
    mlxn_graph_info info = {.struct_size = sizeof info};
    mlxn_range range = {shown[Z], 0, 0};
    mlxn_graph_desc desc = {
        .struct_size = sizeof desc, .fuse = mode, .reorder = reorder, .dead = &range, .n_dead = dead};
    OK(mlxn_encoder_create(device, &r.e, &error));
    OK(mlxn_encoder_start_capture(r.e, &error));
    for (int i = 0; i < TEMPORARIES; i++) OK(mlxn_encoder_temporary(r.e, N * 4, &r.t[i], &error));
    record(&r);
    OK(mlxn_encoder_take_capture_with(r.e, &desc, &graph, &error));
    for (int i = 0; i < TEMPORARIES; i++) mlxn_buffer_release(&r.t[i]);
    OK(mlxn_graph_get_info(graph, &info));
    reset();
    for (int i = 0; i < 2; i++) { /* what a launch leaves may not change the next */
        OK(mlxn_encoder_launch(r.e, graph));
        OK(mlxn_encoder_commit_and_wait(r.e, "fuse", &error));
    }
    for (int b = 0; b < BUFFERS; b++) memcpy(out[b], mlxn_buffer_contents(shown[b]), N * 4);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(r.e);
    return (int)info.fusions;
}

static void test_cases(void) {
    static float plain[BUFFERS][N], fused[BUFFERS][N];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int reorder = 0; reorder < 2; reorder++) {
            int zero = run(cases[i].record, MLXN_FUSE_NONE, false, false, plain);
            int got = run(cases[i].record, cases[i].mode, reorder, cases[i].dead, fused);
            CHECK(zero == 0, "%s: %d pairs fused unasked", cases[i].name, zero);
            CHECK(got == cases[i].fusions, "%s: %d pairs fused, want %d", cases[i].name, got, cases[i].fusions);
            if (cases[i].dead) memcpy(fused[Z], plain[Z], sizeof plain[Z]); /* nobody reads it */
            if (!cases[i].other_bits) CHECK(!memcmp(plain, fused, sizeof plain), "%s: other results", cases[i].name);
        }
}

/* ---- random sequences ---- */

static unsigned long long state = 11;
static unsigned next(unsigned n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % n;
}

static unsigned long long seed;
/* Each step reads what was written before; temporaries are read only once they hold something. */
static void record_random(rig *r) {
    state = seed;
    bool holds[TEMPORARIES] = {false};
    unsigned n = 2 + next(9);
    for (unsigned i = 0; i < n; i++) {
        mlxn_tensor in[2], out;
        for (int k = 0; k < 2; k++) {
            unsigned t = next(TEMPORARIES);
            in[k] = next(3) && holds[t] ? f32(r->t[t]) : of((int)next(Z + 1));
        }
        unsigned to = next(TEMPORARIES + 2);
        out = to < TEMPORARIES ? f32(r->t[to]) : of(to == TEMPORARIES ? Y : Z);
        if (to < TEMPORARIES) holds[to] = true;
        switch (next(8)) {
            case 0:
                mlxn_silu(r->e, in[0], out);
                break;
            case 1:
                mlxn_gelu(r->e, in[0], out);
                break;
            case 2:
                mlxn_rms_norm(r->e, in[0], next(2) ? weight() : none(), out, &norm);
                break;
            case 3:
            case 4:
                mlxn_elementwise_mul(r->e, in[0], in[1], out);
                break;
            case 5:
                mlxn_elementwise_mul(r->e, in[0], spread(), out);
                break;
            case 6:
                if (in[0].buffer != out.buffer) {
                    mlxn_matmul(r->e, in[0], matrix, none(), none(), out);
                    break;
                } /* a product cannot be in place */
                /* fall through */
            default:
                mlxn_elementwise_add(r->e, in[0], in[1], out);
        }
    }
}

static void test_random(void) {
    enum { SEQUENCES = 3000 };
    static float plain[BUFFERS][N], fused[BUFFERS][N];
    int pairs = 0;
    for (unsigned i = 0; i < SEQUENCES; i++) {
        seed = i * 7919ull + 3;
        run(record_random, MLXN_FUSE_NONE, false, false, plain);
        pairs += run(record_random, MLXN_FUSE_EXACT, i % 2, false, fused);
        /* numbers may grow beyond all bounds; NaN has many bits, but the same ones come from the same steps */
        CHECK(!memcmp(plain, fused, sizeof plain), "sequence %u: other results", i);
    }
    CHECK(pairs > SEQUENCES / 20, "only %d pairs were fused in %d sequences", pairs, SEQUENCES);
    printf("%d pairs fused in %d random sequences\n", pairs, SEQUENCES);
}

int main(void) {
    OK(mlxn_device_create(&(mlxn_device_desc){.struct_size = sizeof(mlxn_device_desc), .threads = 2}, &device,
                          &error));
    for (int b = 0; b < BUFFERS; b++) OK(mlxn_buffer_create(device, N * 4, &shown[b], &error));
    OK(mlxn_buffer_create(device, ROWS * 4, &positions, &error));
    for (uint32_t i = 0; i < ROWS; i++) ((uint32_t *)mlxn_buffer_contents(positions))[i] = 5 * i;
    mlxn_buffer *raw = NULL;
    OK(mlxn_buffer_create(device, D * D * 4, &raw, &error));
    for (int i = 0; i < D * D; i++) ((float *)mlxn_buffer_contents(raw))[i] = (float)(i * 31 % 61) / 300 - 0.1f;
    mlxn_weight_desc desc = {
        .struct_size = sizeof desc, .format = MLXN_FORMAT_F32, .rows = D, .cols = D, .data = raw};
    OK(mlxn_weight_create(device, &desc, &matrix, &error));
    mlxn_buffer_release(&raw);
    test_cases();
    test_random();
    mlxn_weight_release(&matrix);
    for (int b = 0; b < BUFFERS; b++) mlxn_buffer_release(&shown[b]);
    mlxn_buffer_release(&positions);
    mlxn_device_release(&device);
    return TEST_DONE();
}
