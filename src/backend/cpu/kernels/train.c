/* train.c (CPU kernels): cross_entropy and its gradient, row by row, and glu_backward in f32; adamw and sgd, each
 * element in double. */
#include "backend/cpu/kernels/activation_fn.h"
#include "backend/cpu/kernels/softmax_row.h"

static void plan_loss(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}, .local_bytes = shape.cols * sizeof(float)};
}

static void run_loss(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *targets = &run->args[1], *loss = &run->args[2];
    rows_shape shape = rows_of(&x, 1, true);
    uint64_t chunk, n = shape.cols;
    float *row = run->local;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            float top = softmax_load(x, rows_at(x, r, rows_size(x->dtype)), NULL, NULL, 1.0f, n, row);
            uint32_t target = ((const uint32_t *)targets->data)[(int64_t)r * rows_stride(targets)];
            double v = 0;
            if (target < n) v = ((double)top - (double)row[target]) + log((double)softmax_exp(row, n, top, false));
            ((float *)loss->data)[(int64_t)r * rows_stride(loss)] = (float)v;
        }
    }
}

static void run_loss_backward(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *targets = &run->args[1], *dloss = &run->args[2], *dx = &run->args[3];
    rows_shape shape = rows_of(&x, 1, true);
    size_t size = rows_size(x->dtype);
    uint64_t chunk, n = shape.cols;
    float *row = run->local;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            float top = softmax_load(x, rows_at(x, r, size), NULL, NULL, 1.0f, n, row);
            uint32_t target = ((const uint32_t *)targets->data)[(int64_t)r * rows_stride(targets)];
            float d = target < n ? ((const float *)dloss->data)[(int64_t)r * rows_stride(dloss)] : 0.0f;
            float sum = softmax_exp(row, n, top, true);
            v16 inverse = v16_set1(1.0f / sum), scale = v16_set1(d);
            float own = target < n ? row[target] / sum - 1.0f : 0.0f;
            for (uint64_t i = 0; i < n; i += 16) {
                uint64_t m = simd_tail(i, n);
                v16 t = v16_mul(v16_mul(v16_load_as(MLXN_F32, row, i, m), inverse), scale);
                v16_store_as(MLXN_F32, row, i, t, m);
            }
            if (target < n) row[target] = own * d;
            void *to = rows_at(dx, r, size);
            if (dx->dtype == MLXN_F32 && rows_stride(dx) == 1)
                memcpy(to, row, n * sizeof *row);
            else
                span_done(dx->dtype, to, rows_stride(dx), 0, n, row);
        }
    }
}

/* Arguments of equal dims, piece by piece as f32: the first n_in are brought, those from `first_out` on go back. A
 * piece of an f32 tensor without gaps is changed where it lies. */
typedef void (*piece_fn)(const void *params, float *const v[5], uint64_t n);

static rows_shape pieces_shape(const mlxn_view *args, uint32_t n_args) {
    const mlxn_view *views[5];
    uint32_t n = 0;
    for (uint32_t a = 0; a < n_args; a++)
        if (args[a].present) views[n++] = &args[a];
    return rows_of(views, n, false);
}

static void pieces_run(cpu_run *run, uint32_t n_args, uint32_t n_in, uint32_t first_out, piece_fn fn) {
    rows_shape shape = pieces_shape(run->args, n_args);
    float buffers[5][SPAN] __attribute__((aligned(64)));
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++)
            for (uint64_t i = part.begin; i < part.begin + part.n; i += SPAN) {
                uint64_t n = mlxn_min_u64(SPAN, part.begin + part.n - i);
                float *v[5];
                for (uint32_t a = 0; a < n_args; a++) {
                    const mlxn_view *view = &run->args[a];
                    if (!view->present) continue;
                    void *row = shape.flat ? view->data : rows_at(view, r, rows_size(view->dtype));
                    int64_t stride = shape.flat ? 1 : rows_stride(view);
                    v[a] = span_out(view->dtype, row, stride, i, buffers[a]);
                    if (a < n_in) span_in(view->dtype, row, stride, i, n, buffers[a]);
                }
                fn(run->params, v, n);
                for (uint32_t a = first_out; a < n_args; a++) {
                    const mlxn_view *view = &run->args[a];
                    if (!view->present) continue;
                    void *row = shape.flat ? view->data : rows_at(view, r, rows_size(view->dtype));
                    span_done(view->dtype, row, shape.flat ? 1 : rows_stride(view), i, n, v[a]);
                }
            }
    }
}

/* --- glu_backward: from gate, up and dy, dgate and dup --- */

/* dup = dy fn(gate), dgate = dy up slope(gate). */
#define GLU_PIECE(name, fn, slope)                                                            \
    static void name(const void *params, float *const v[5], uint64_t n) {                     \
        for (uint64_t i = 0; i < n; i += 16) {                                                \
            uint64_t k = simd_tail(i, n);                                                     \
            v16 g = v16_load_as(MLXN_F32, v[0], i, k), u = v16_load_as(MLXN_F32, v[1], i, k); \
            v16 dy = v16_load_as(MLXN_F32, v[2], i, k);                                       \
            v16_store_as(MLXN_F32, v[3], i, v16_mul(v16_mul(dy, u), slope), k);               \
            v16_store_as(MLXN_F32, v[4], i, v16_mul(dy, fn), k);                              \
        }                                                                                     \
    }
GLU_PIECE(glu_sigmoid, v16_sigmoid(g), v16_mul(v16_sigmoid(g), v16_sigmoid(v16_neg(g))))
GLU_PIECE(glu_relu, act_relu(g), v16_pick_gt(g, v16_zero(), v16_set1(1.0f), v16_zero()))
GLU_PIECE(glu_silu, act_silu(g), act_gated_slope(g))
GLU_PIECE(glu_gelu, act_gelu(g), act_gelu_slope(g))
GLU_PIECE(glu_gelu_erf, act_gelu_erf(g), act_gelu_erf_slope(g))
GLU_PIECE(glu_gelu_quick, act_gelu_quick(g), act_gated_slope(v16_mul(g, v16_set1(1.702f))))

/* Beyond the limits nothing flows back. */
static void glu_silu_clamped(const void *params, float *const v[5], uint64_t n) {
    const mlxn_glu_params *p = params;
    v16 limit = v16_set1(p->limit), alpha = v16_set1(p->alpha), one = v16_set1(1.0f);
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t k = simd_tail(i, n);
        v16 gate = v16_load_as(MLXN_F32, v[0], i, k), up = v16_load_as(MLXN_F32, v[1], i, k);
        v16 dy = v16_load_as(MLXN_F32, v[2], i, k), g = v16_pick_gt(gate, limit, limit, gate);
        v16 u = v16_add(act_clamp(up, v16_neg(limit), limit), one), t = v16_mul(alpha, g);
        v16 slope = v16_pick_gt(limit, gate, act_gated_slope(t), v16_zero());
        v16 open = v16_pick_gt(limit, v16_abs(up), dy, v16_zero());
        v16_store_as(MLXN_F32, v[3], i, v16_mul(v16_mul(dy, u), slope), k);
        v16_store_as(MLXN_F32, v[4], i, v16_mul(open, v16_mul(g, v16_sigmoid(t))), k);
    }
}

/* --- steps of the optimizers: loops over doubles, which compilers turn into vectors --- */

static void adamw_piece(const void *params, float *const v[5], uint64_t n) {
    const mlxn_adamw_params *p = params;
    const float *restrict grad = v[0];
    float *restrict first = v[1], *restrict second = v[2], *restrict param = v[3];
    double b1 = (double)p->beta1, b2 = (double)p->beta2, keep = 1 - (double)p->lr * (double)p->weight_decay;
    double eps = (double)p->eps, rate = (double)p->lr / (p->correction1 == 0 ? 1 : (double)p->correction1);
    double grow = 1 / (p->correction2 == 0 ? 1 : (double)p->correction2);
    for (uint64_t i = 0; i < n; i++) {
        double g = (double)grad[i], m = b1 * (double)first[i] + (1 - b1) * g;
        double s = b2 * (double)second[i] + (1 - b2) * g * g;
        first[i] = (float)m;
        second[i] = (float)s;
        param[i] = (float)(keep * (double)param[i] - rate * m / (sqrt(s * grow) + eps));
    }
}

static void sgd_plain(const void *params, float *const v[5], uint64_t n) {
    const mlxn_sgd_params *p = params;
    const float *restrict grad = v[0];
    float *restrict param = v[2];
    double decay = (double)p->weight_decay, lr = (double)p->lr;
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)param[i];
        param[i] = (float)(x - lr * ((double)grad[i] + decay * x));
    }
}

static void sgd_velocity(const void *params, float *const v[5], uint64_t n) {
    const mlxn_sgd_params *p = params;
    const float *restrict grad = v[0];
    float *restrict velocity = v[1], *restrict param = v[2];
    double momentum = (double)p->momentum, decay = (double)p->weight_decay, lr = (double)p->lr;
    bool nesterov = p->nesterov;
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)param[i], g = (double)grad[i] + decay * x, u = momentum * (double)velocity[i] + g;
        velocity[i] = (float)u;
        param[i] = (float)(x - lr * (nesterov ? g + momentum * u : u));
    }
}

static void run_glu(cpu_run *run) {
    static const piece_fn pieces[MLXN_GLU_COUNT] = {glu_sigmoid,  glu_relu,       glu_silu,        glu_gelu,
                                                    glu_gelu_erf, glu_gelu_quick, glu_silu_clamped};
    pieces_run(run, 5, 3, 3, pieces[((const mlxn_glu_params *)run->params)->fn]);
}
static void run_adamw(cpu_run *run) { pieces_run(run, 4, 4, 1, adamw_piece); }
static void run_sgd(cpu_run *run) { pieces_run(run, 3, 3, 1, run->args[1].present ? sgd_velocity : sgd_plain); }

static void pieces_plan(const mlxn_view *args, uint32_t n_args, cpu_plan *out) {
    rows_shape shape = pieces_shape(args, n_args);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}
static void plan_glu(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    pieces_plan(args, 5, out);
}
static void plan_adamw(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    pieces_plan(args, 4, out);
}
static void plan_sgd(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    pieces_plan(args, 3, out);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_train)[];
const cpu_kernel CPU_ISA(cpu_kernels_train)[] = {
    {MLXN_OP_cross_entropy, "cross_entropy_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_loss, run_loss},
    {MLXN_OP_cross_entropy_backward, "cross_entropy_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_loss, run_loss_backward},
    {MLXN_OP_glu_backward, "glu_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_glu, run_glu},
    {MLXN_OP_adamw, "adamw_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_adamw, run_adamw},
    {MLXN_OP_sgd, "sgd_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_sgd, run_sgd},
    {0},
};
