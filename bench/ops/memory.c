/* memory.c: a case of the table in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cases.h"

/* A word of bench_case.args. */
typedef struct arg_word {
    char kind;
    uint32_t rank;
    uint64_t dims[MLXN_MAX_RANK]; /* 0: R */
    uint64_t below, from, times, columns;
    uint32_t turned; /* 1: the last two axes are exchanged, 2: the first two */
} arg_word;

static const char *parse_word(const char *s, arg_word *w) {
    char *end;
    *w = (arg_word){.kind = *s++, .times = 1};
    if (*s == '[') {
        do {
            s++;
            w->dims[w->rank++] = *s == 'R' ? 0 : strtoull(s, &end, 10);
            s = *s == 'R' ? s + 1 : end;
        } while (*s == ',');
        s++;
    }
    for (; *s && *s != ' '; s = end) {
        const char mark = *s++;
        end = (char *)s;
        if (mark == '/')
            w->turned++;
        else if (mark == '%')
            w->below = strtoull(s, &end, 10);
        else if (mark == '+')
            w->from = strtoull(s, &end, 10);
        else if (mark == ':')
            w->columns = strtoull(s, &end, 10);
        else
            w->times = strtoull(s, &end, 10);
    }
    return *s ? s + 1 : s;
}

static mlxn_dtype word_dtype(const arg_word *w, mlxn_dtype dtype) {
    switch (w->kind) {
        case 't':
            return dtype;
        case 'b':
            return MLXN_U8;
        case 'u':
        case 'p':
            return MLXN_U32;
        default:
            return MLXN_F32;
    }
}

bool bench_has_dtype(const bench_case *c, mlxn_dtype dtype) {
    const char *name = mlxn_dtype_name(dtype);
    for (const char *s = c->dtypes ? c->dtypes : "f32 f16 bf16"; s; s = strchr(s, ' ')) {
        if (*s == ' ') s++;
        if (!strncmp(s, name, strlen(name))) return true;
    }
    return false;
}

/* xorshift (Marsaglia 2003) */
static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

/* Numbers of a triangle around 0 within 4, as activations have them. */
static void fill(void *data, const arg_word *w, mlxn_dtype dtype, uint64_t n) {
    uint32_t state = 2463534242u;
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t r = next_random(&state);
        const float x = ((float)(r & 0xffff) + (float)(r >> 16)) / 16384.0f - 4.0f;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        switch (dtype) {
            case MLXN_F32:
                ((float *)data)[i] = x;
                break;
            case MLXN_F16: /* truncated; |x| <= 4, and what is below 2^-14 is 0 */
                bits = (bits >> 16 & 0x8000) | ((bits >> 23 & 255) < 113 ? 0 : ((bits >> 13) - (112 << 10)) & 0x7fff);
                ((uint16_t *)data)[i] = (uint16_t)bits;
                break;
            case MLXN_BF16:
                ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
                break;
            case MLXN_U8:
                ((uint8_t *)data)[i] = (uint8_t)(w->below ? r % w->below : r);
                break;
            default:
                ((uint32_t *)data)[i] =
                    (uint32_t)(w->kind == 'p' ? i : w->from + (w->below ? r % w->below : r & 0xff));
        }
    }
}

static mlxn_tensor view_of(const arg_word *w, mlxn_buffer *buffer, mlxn_dtype dtype) {
    mlxn_tensor t = {.buffer = buffer, .dtype = dtype, .rank = w->rank};
    int64_t stride = 1;
    for (uint32_t d = w->rank; d-- > 0; stride *= (int64_t)w->dims[d]) {
        t.dims[d] = w->dims[d];
        t.strides[d] = stride;
    }
    if (w->columns) t.dims[w->rank - 1] = w->columns;
    if (w->turned) {
        const uint32_t a = w->turned == 1 ? w->rank - 2 : 0, b = a + 1;
        const uint64_t dim = t.dims[a];
        const int64_t step = t.strides[a];
        t.dims[a] = t.dims[b];
        t.strides[a] = t.strides[b];
        t.dims[b] = dim;
        t.strides[b] = step;
    }
    return t;
}

/* The rows that give the largest tensor with R in it the size asked for. */
static uint64_t rows_for(const bench_case *c, mlxn_dtype dtype, uint64_t bytes) {
    uint64_t row = 1;
    for (const char *s = c->args; *s;) {
        arg_word w;
        s = parse_word(s, &w);
        uint64_t n = mlxn_dtype_size(word_dtype(&w, dtype));
        bool open = false;
        for (uint32_t d = 0; d < w.rank; d++) {
            open = open || !w.dims[d];
            if (w.dims[d]) n *= w.dims[d];
        }
        if (open && n > row) row = n;
    }
    return bytes > row ? bytes / row : 1;
}

static mlxn_status add_arg(mlxn_device *device, bench_run *run, arg_word *w, uint64_t rows, mlxn_error *error) {
    const uint32_t i = run->n_args++;
    if (w->kind == '-') return MLXN_OK;
    const mlxn_dtype dtype = word_dtype(w, run->dtype);
    uint64_t n = 1;
    for (uint32_t d = 0; d < w->rank; d++) {
        if (!w->dims[d]) w->dims[d] = rows;
        n *= w->dims[d];
    }
    mlxn_status status = mlxn_buffer_create(device, n * mlxn_dtype_size(dtype), &run->buffers[i], error);
    if (status) return status;
    fill(mlxn_buffer_contents(run->buffers[i]), w, dtype, n);
    run->tensors[i] = view_of(w, run->buffers[i], dtype);
    run->bytes += w->times * mlxn_tensor_elements(&run->tensors[i]) * mlxn_dtype_size(dtype);
    if (w->kind != 'w') {
        run->args[i].tensor = &run->tensors[i];
        return MLXN_OK;
    }
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = MLXN_FORMAT_F32,
                             .rows = w->dims[0],
                             .cols = w->dims[1],
                             .data = run->buffers[i]};
    status = mlxn_weight_create(device, &desc, &run->weights[i], error);
    run->args[i].weight = run->weights[i];
    return status;
}

mlxn_status bench_run_create(mlxn_device *device, const bench_case *c, mlxn_dtype dtype, uint64_t bytes,
                             bench_run *out, mlxn_error *error) {
    *out = (bench_run){.c = c, .dtype = dtype, .op = mlxn_op_find(c->op)};
    const uint64_t rows = rows_for(c, dtype, bytes);
    mlxn_status status = MLXN_OK;
    for (const char *s = c->args; *s && !status;) {
        arg_word w;
        s = parse_word(s, &w);
        status = add_arg(device, out, &w, rows, error);
    }
    if (status) bench_run_destroy(out);
    return status;
}

void bench_run_destroy(bench_run *run) {
    for (uint32_t i = 0; i < run->n_args; i++) {
        if (run->weights[i]) mlxn_weight_release(&run->weights[i]);
        if (run->buffers[i]) mlxn_buffer_release(&run->buffers[i]);
    }
    run->n_args = 0;
}
