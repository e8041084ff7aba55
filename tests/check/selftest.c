/* selftest.c: proves that the harness sees what it is there for: kernels that are broken on purpose. Each wraps the
 * reference of an operation, breaks one thing, and must be reported; one unbroken kernel must pass. */
#include <math.h>

#include "backend/cpu/cpu.h"
#include "check.h"

typedef struct fault {
    const char *name;
    const char *sign; /* part of the report that is expected; NULL: no report */
    const char *op;
    void (*run)(cpu_run *run);
    uint32_t precision; /* as in mlxn_kernel_row; 0 counts as both */
    bool (*fits)(const mlxn_view *args, const void *params);
} fault;

static void plan(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    *out = (cpu_plan){.phases = 1, .chunks = {1}};
}

/* The output's first element, and its dims as rows x columns. */
typedef struct matrix {
    uint8_t *data;
    size_t size;
    uint64_t rows, columns;
    int64_t row_stride, column_stride;
    const mlxn_view *view;
} matrix;

static matrix output_of(const cpu_run *run, uint32_t arg) {
    const mlxn_view *v = &run->args[arg];
    matrix m = {v->data, mlxn_dtype_size(v->dtype), 1, v->dims[v->rank - 1], 0, v->strides[v->rank - 1], v};
    if (v->rank > 1) {
        m.rows = v->dims[v->rank - 2];
        m.row_stride = v->strides[v->rank - 2];
    }
    return m;
}

static uint8_t *element(const matrix *m, uint64_t row, uint64_t column) {
    return m->data + ((int64_t)row * m->row_stride + (int64_t)column * m->column_stride) * (int64_t)m->size;
}

static bool mine(cpu_run *run) {
    uint64_t chunk;
    return cpu_next(run, &chunk);
}

static uint32_t add_out = 2, norm_out = 2;

static void run_add(cpu_run *run) { mlxn_opdef_elementwise_add.ref(run->args, run->params); }

static void good(cpu_run *run) {
    if (mine(run)) run_add(run);
}
static void off_by_one_column(cpu_run *run) {
    if (!mine(run)) return;
    run_add(run);
    matrix m = output_of(run, add_out);
    for (uint64_t r = 0; r < m.rows; r++)
        for (uint64_t c = m.columns; c-- > 1;) memcpy(element(&m, r, c), element(&m, r, c - 1), m.size);
}
static void stale_last(cpu_run *run) { /* a tail that is not computed: what was there stays */
    if (!mine(run)) return;
    matrix m = output_of(run, add_out);
    uint8_t *last = element(&m, m.rows - 1, m.columns - 1), keep[8];
    memcpy(keep, last, m.size);
    run_add(run);
    memcpy(last, keep, m.size);
}
static void past_end(cpu_run *run) {
    if (!mine(run)) return;
    run_add(run);
    matrix m = output_of(run, add_out);
    memset(element(&m, m.rows - 1, m.columns - 1) + m.size, 0, m.size);
}
static void before_start(cpu_run *run) {
    if (!mine(run)) return;
    run_add(run);
    matrix m = output_of(run, add_out);
    memset(m.data - m.size, 0, m.size);
}
static void writes_input(cpu_run *run) {
    if (!mine(run)) return;
    run_add(run);
    uint8_t *a = run->args[0].data;
    if (run->args[0].data != run->args[2].data) a[0] ^= 1;
}
static void ignores_strides(cpu_run *run) {
    if (!mine(run)) return;
    mlxn_view args[3];
    memcpy(args, run->args, sizeof args);
    int64_t stride = 1;
    for (uint32_t i = args[0].rank; i-- > 0; stride *= (int64_t)args[0].dims[i]) args[0].strides[i] = stride;
    mlxn_opdef_elementwise_add.ref(args, run->params);
}
static void not_in_place(cpu_run *run) { /* clears its output before it reads the input */
    if (!mine(run)) return;
    mlxn_view out = run->args[add_out];
    uint64_t n = mlxn_view_elements(&out), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&out, i, at);
        mlxn_view_set(&out, at, 0);
    }
    run_add(run);
}

/* Of rms_norm, where results may differ from the reference a little. */
static void nudge(cpu_run *run, double relative) {
    mlxn_opdef_rms_norm.ref(run->args, run->params);
    matrix m = output_of(run, norm_out);
    uint64_t at[MLXN_MAX_RANK];
    mlxn_view_unravel(m.view, mlxn_view_elements(m.view) / 2, at);
    mlxn_view_set(m.view, at, mlxn_view_get(m.view, at) * (1 + relative));
}
static _Atomic uint32_t times;
static void other_bits_each_run(cpu_run *run) {
    if (mine(run)) nudge(run, atomic_fetch_add(&times, 1) % 3 == 2 ? 1.5e-7 : 0);
}
static void other_bits_by_threads(cpu_run *run) {
    if (mine(run)) nudge(run, run->n_threads == 1 ? 1.5e-7 : 0);
}
static void imprecise(cpu_run *run) {
    if (mine(run)) nudge(run, 3e-5);
}
static void reads_past_end(cpu_run *run) { /* one element too many in the sum: guards are NaN */
    if (!mine(run)) return;
    mlxn_view args[3];
    memcpy(args, run->args, sizeof args);
    matrix m = output_of(run, norm_out);
    mlxn_opdef_rms_norm.ref(args, run->params);
    uint64_t at[MLXN_MAX_RANK];
    mlxn_view_unravel(m.view, mlxn_view_elements(m.view) - 1, at);
    uint64_t beyond[MLXN_MAX_RANK];
    memcpy(beyond, at, sizeof beyond);
    beyond[m.view->rank - 1]++;
    mlxn_view_set(m.view, at, mlxn_view_get(m.view, at) + 0 * mlxn_view_get(&args[0], beyond));
}
static void no_weight(cpu_run *run) {
    if (!mine(run)) return;
    mlxn_view args[3];
    memcpy(args, run->args, sizeof args);
    args[1].present = false;
    mlxn_opdef_rms_norm.ref(args, run->params);
}

static bool quantized(const mlxn_view *args, const void *params) {
    return args[1].weight->format != MLXN_FORMAT_F32 && args[1].weight->format != MLXN_FORMAT_F16 &&
           args[1].weight->format != MLXN_FORMAT_BF16 && args[0].dims[1] >= 64;
}

/* A matrix product that rounds its activations per group of 32 to `steps` steps on either side of zero: 32512 is what
 * fast rows may do, 127 is what nobody may. One group of the first row may get half as much again, for one more
 * fault. */
static void fixed_point(cpu_run *run, double steps, uint64_t wrong_group) {
    if (!mine(run)) return;
    mlxn_view args[5];
    memcpy(args, run->args, sizeof args);
    uint64_t m = args[0].dims[0], k = args[0].dims[1];
    float *x = calloc(m * k, sizeof *x);
    if (!x) return;
    for (uint64_t i = 0; i < m; i++)
        for (uint64_t g = 0; g * 32 < k; g++) {
            uint64_t end = mlxn_min_u64(g * 32 + 32, k);
            double top = 0;
            for (uint64_t c = g * 32; c < end; c++)
                top = fmax(top, fabs(mlxn_view_get(&args[0], (uint64_t[]){i, c})));
            for (uint64_t c = g * 32; c < end && top > 0; c++)
                x[i * k + c] =
                    (float)(round(mlxn_view_get(&args[0], (uint64_t[]){i, c}) * steps / top) * top / steps);
        }
    if (wrong_group != UINT64_MAX)
        for (uint64_t c = wrong_group * 32; c < k && c < wrong_group * 32 + 32; c++) x[c] *= 1.5f;
    args[0].dtype = MLXN_F32;
    args[0].strides[0] = (int64_t)k;
    args[0].strides[1] = 1;
    args[0].data = x;
    mlxn_opdef_matmul.ref(args, run->params);
    free(x);
}
static void sixteen_bit(cpu_run *run) { fixed_point(run, 32512, UINT64_MAX); }
static void sixteen_bit_scale(cpu_run *run) { fixed_point(run, 32512, 1); }
static void eight_bit(cpu_run *run) { fixed_point(run, 127, UINT64_MAX); }

static const fault faults[] = {
    {"unbroken", NULL, "elementwise_add", good, 0, NULL},
    {"results one column off", "elements wrong", "elementwise_add", off_by_one_column, 0, NULL},
    {"last element not written", "elements wrong", "elementwise_add", stale_last, 0, NULL},
    {"write past the end", "belongs to no element", "elementwise_add", past_end, 0, NULL},
    {"write before the start", "belongs to no element", "elementwise_add", before_start, 0, NULL},
    {"write to an input", "was changed", "elementwise_add", writes_input, 0, NULL},
    {"strides ignored", "elements wrong", "elementwise_add", ignores_strides, 0, NULL},
    {"output cleared before the input is read", "in place", "elementwise_add", not_in_place, 0, NULL},
    {"other bits on a second run", "other bits", "rms_norm", other_bits_each_run, 0, NULL},
    {"other bits with other threads", "other bits", "rms_norm", other_bits_by_threads, 0, NULL},
    {"error of 3e-5", "elements wrong", "rms_norm", imprecise, 0, NULL},
    {"read past the end", "elements wrong", "rms_norm", reads_past_end, 0, NULL},
    {"an optional argument ignored", "elements wrong", "rms_norm", no_weight, 0, NULL},
    {"16-bit activations in a fast kernel", NULL, "matmul", sixteen_bit, 1u << MLXN_PRECISION_FAST, quantized},
    {"16-bit activations, one scale too large", "elements wrong", "matmul", sixteen_bit_scale,
     1u << MLXN_PRECISION_FAST, quantized},
    {"8-bit activations in a fast kernel", "elements wrong", "matmul", eight_bit, 1u << MLXN_PRECISION_FAST,
     quantized},
    {"8-bit activations in an f32 kernel", "elements wrong", "matmul", eight_bit, 0, quantized},
};

/* Runs the broken kernel on the first f32 cases of its op until one is reported. */
static bool caught(const check_options *options, const fault *f, char *text, size_t size) {
    uint32_t op = 0;
    while (strcmp(mlxn_op_get(op)->name, f->op)) op++;
    const cpu_kernel kernel = {op, f->name, 0, CPU_ANY, NULL, plan, f->run};
    const mlxn_kernel_row row = {op, f->name, 0, f->precision ? f->precision : 3, f->fits, &kernel, 0};
    mlxn_case c;
    for (uint32_t i = 0; mlxn_op_get(op)->make_case(i, &c); i++) {
        if (c.slow || (op != MLXN_OP_matmul && (c.args[0].dtype != MLXN_F32 || i % 2))) continue;
        check_instance instance;
        check_tally tally = {0};
        bool made = check_instantiate(&instance, op, i, &c, options->seed);
        check_result result = made ? check_run_case(options, &instance, &row, &tally, text, size) : CHECK_FAILED;
        check_release(&instance);
        if (result == CHECK_FAILED) return true;
    }
    return false;
}

int check_self_test(const check_options *options) {
    int failures = 0;
    check_options quick = *options;
    quick.quick = true;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const fault *f = &faults[i];
        char text[600] = "";
        bool reported = caught(&quick, f, text, sizeof text);
        bool right = f->sign ? reported && strstr(text, f->sign) : !reported;
        printf("%s: %s: %s\n", right ? "ok" : "FAILED", f->name, reported ? text : "not reported");
        failures += !right;
    }
    printf("check --self-test: %zu kernels, %d failed\n", sizeof faults / sizeof *faults, failures);
    return failures ? 1 : 0;
}
