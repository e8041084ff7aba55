/* train.c (CPU kernels): cross_entropy and its gradient, row by row in f32; glu_backward, adamw and sgd, each element
 * in double. */
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

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* From gate, up and dy: dgate and dup. */
static void glu_element(const mlxn_glu_params *p, double g, double u, double dy, float *dgate, float *dup) {
    double f, slope, limit = (double)p->limit, a = 1, s, t;
    bool free_up = true;
    switch ((mlxn_glu_fn)p->fn) {
        case MLXN_GLU_SIGMOID:
            f = sigmoid(g);
            slope = f * sigmoid(-g);
            break;
        case MLXN_GLU_RELU:
            f = g > 0 ? g : 0;
            slope = g > 0 ? 1 : 0;
            break;
        case MLXN_GLU_GELU:
            t = 1.5957691216057308 * (g + 0.044715 * g * g * g);
            s = sigmoid(t);
            f = g * s;
            slope = s + f * sigmoid(-t) * 1.5957691216057308 * (1 + 0.134145 * g * g);
            break;
        case MLXN_GLU_GELU_ERF:
            s = erfc(g * -0.70710678118654752) / 2;
            f = g * s;
            slope = s + g * exp(g * g / -2) * 0.39894228040143268;
            break;
        default:
            if (p->fn == MLXN_GLU_GELU_QUICK) a = 1.702;
            bool clamped = p->fn == MLXN_GLU_SILU_CLAMPED, over = clamped && g >= limit;
            if (clamped) {
                a = (double)p->alpha;
                if (over) g = limit;
                free_up = u > -limit && u < limit;
                u = (u > limit ? limit : u < -limit ? -limit : u) + 1;
            }
            s = sigmoid(a * g);
            f = g * s;
            slope = over ? 0 : s + a * f * sigmoid(-a * g);
    }
    *dgate = (float)(dy * u * slope);
    *dup = free_up ? (float)(dy * f) : 0.0f;
}

/* Rows of args[0], in pieces of SPAN elements: f32 pieces of all arguments, of which the last n_out go back. */
typedef void (*piece_fn)(const void *params, float *const v[5], uint64_t n);

static void pieces_run(cpu_run *run, uint32_t n_args, uint32_t n_out, piece_fn fn) {
    const mlxn_view *first = &run->args[0];
    rows_shape shape = rows_of(&first, 1, true);
    float buffers[5][SPAN] __attribute__((aligned(64)));
    float *const v[5] = {buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]};
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++)
            for (uint64_t i = 0; i < shape.cols; i += SPAN) {
                uint64_t n = mlxn_min_u64(SPAN, shape.cols - i);
                for (uint32_t a = 0; a < n_args; a++) {
                    const mlxn_view *view = &run->args[a];
                    if (!view->present) continue;
                    const void *row = rows_at(view, r, rows_size(view->dtype));
                    const float *in = span_in(view->dtype, row, rows_stride(view), i, n, v[a]);
                    if (in != v[a]) memcpy(v[a], in, n * sizeof *in);
                }
                fn(run->params, v, n);
                for (uint32_t a = n_args - n_out; a < n_args; a++) {
                    const mlxn_view *view = &run->args[a];
                    if (!view->present) continue;
                    void *row = rows_at(view, r, rows_size(view->dtype));
                    float *o = span_out(view->dtype, row, rows_stride(view), i, v[a]);
                    if (o != v[a]) memcpy(o, v[a], n * sizeof *o);
                    span_done(view->dtype, row, rows_stride(view), i, n, o);
                }
            }
    }
}

static void glu_piece(const void *params, float *const v[5], uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        glu_element(params, (double)v[0][i], (double)v[1][i], (double)v[2][i], &v[3][i], &v[4][i]);
}

static void adamw_piece(const void *params, float *const v[5], uint64_t n) {
    const mlxn_adamw_params *p = params;
    double b1 = (double)p->beta1, b2 = (double)p->beta2, lr = (double)p->lr, decay = lr * (double)p->weight_decay;
    double c1 = p->correction1 == 0 ? 1 : (double)p->correction1,
           c2 = p->correction2 == 0 ? 1 : (double)p->correction2;
    for (uint64_t i = 0; i < n; i++) {
        double g = (double)v[0][i], m = b1 * (double)v[1][i] + (1 - b1) * g;
        double s = b2 * (double)v[2][i] + (1 - b2) * g * g, x = (double)v[3][i];
        v[1][i] = (float)m;
        v[2][i] = (float)s;
        v[3][i] = (float)(x - decay * x - lr * (m / c1) / (sqrt(s / c2) + (double)p->eps));
    }
}

static void sgd_plain(const void *params, float *const v[5], uint64_t n) {
    const mlxn_sgd_params *p = params;
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)v[2][i], g = (double)v[0][i] + (double)p->weight_decay * x;
        v[2][i] = (float)(x - (double)p->lr * g);
    }
}

static void sgd_velocity(const void *params, float *const v[5], uint64_t n) {
    const mlxn_sgd_params *p = params;
    double momentum = (double)p->momentum;
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)v[2][i], g = (double)v[0][i] + (double)p->weight_decay * x;
        double u = momentum * (double)v[1][i] + g;
        v[1][i] = (float)u;
        v[2][i] = (float)(x - (double)p->lr * (p->nesterov ? g + momentum * u : u));
    }
}

static void run_glu(cpu_run *run) { pieces_run(run, 5, 2, glu_piece); }
static void run_adamw(cpu_run *run) { pieces_run(run, 4, 3, adamw_piece); }
static void run_sgd(cpu_run *run) { pieces_run(run, 3, 2, run->args[1].present ? sgd_velocity : sgd_plain); }

static void plan_pieces(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_loss(args, params, n_threads, out);
    out->local_bytes = 0;
}

extern const cpu_kernel CPU_ISA(cpu_kernels_train)[];
const cpu_kernel CPU_ISA(cpu_kernels_train)[] = {
    {MLXN_OP_cross_entropy, "cross_entropy_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_loss, run_loss},
    {MLXN_OP_cross_entropy_backward, "cross_entropy_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always,
     plan_loss, run_loss_backward},
    {MLXN_OP_glu_backward, "glu_backward_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_pieces, run_glu},
    {MLXN_OP_adamw, "adamw_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_pieces, run_adamw},
    {MLXN_OP_sgd, "sgd_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_pieces, run_sgd},
    {0},
};
