/* select.c (CPU kernels): argsort, sort, top_k. An element and its index become one 64-bit key, whose order is the
 * wanted one and in which no two are equal; so any way of sorting gives the same result. */
#include "backend/cpu/kernels/span.h"

/* Upper half: a number that grows with the element (or falls, if `descending`), all ones for NaN. */
static inline uint64_t order_key(float x, uint32_t index, bool descending) {
    uint32_t u;
    x += 0.0f; /* -0 and 0 are equal */
    memcpy(&u, &x, 4);
    u = u >> 31 ? ~u : u | 0x80000000u;
    if (descending) u = ~u;
    if (x != x) u = UINT32_MAX;
    return (uint64_t)u << 32 | index;
}

static void order_insertion(uint64_t *keys, uint64_t n) {
    for (uint64_t i = 1; i < n; i++) {
        uint64_t k = keys[i], j = i;
        for (; j && keys[j - 1] > k; j--) keys[j] = keys[j - 1];
        keys[j] = k;
    }
}

/* By the four bytes of the upper half, lowest first; a byte that all share is left out. The keys come by rising index
 * and each pass keeps the order of equals. The result lies where the return value points: keys or spare. */
static uint64_t *order_radix(uint64_t *keys, uint64_t *spare, uint64_t n) {
    uint32_t counts[4][256] = {0};
    for (uint64_t i = 0; i < n; i++)
        for (int b = 0; b < 4; b++) counts[b][keys[i] >> (32 + 8 * b) & 255]++;
    for (int b = 0; b < 4; b++) {
        uint32_t *count = counts[b], sum = 0;
        if (count[keys[0] >> (32 + 8 * b) & 255] == n) continue;
        for (int d = 0; d < 256; d++) {
            uint32_t c = count[d];
            count[d] = sum;
            sum += c;
        }
        for (uint64_t i = 0; i < n; i++) spare[count[keys[i] >> (32 + 8 * b) & 255]++] = keys[i];
        uint64_t *t = keys;
        keys = spare;
        spare = t;
    }
    return keys;
}

static uint64_t *order_sort(uint64_t *keys, uint64_t *spare, uint64_t n) {
    if (n > 64) return order_radix(keys, spare, n);
    order_insertion(keys, n);
    return keys;
}

/* All elements of a row, sorted. `keys` has room for twice as many. */
static uint64_t *order_row(const mlxn_view *x, const void *row, uint64_t n, bool descending, uint64_t *keys) {
    float buffer[SPAN] __attribute__((aligned(64)));
    for (uint64_t i = 0; i < n; i += SPAN) {
        uint64_t m = mlxn_min_u64(SPAN, n - i);
        const float *v = span_in(x->dtype, row, rows_stride(x), i, m, buffer);
        for (uint64_t k = 0; k < m; k++) keys[i + k] = order_key(v[k], (uint32_t)(i + k), descending);
    }
    return order_sort(keys, keys + n, n);
}

static void order_value(const mlxn_view *x, const void *row, uint32_t index, void *to, int64_t at) {
    int64_t from = (int64_t)index * rows_stride(x);
    if (x->dtype == MLXN_F32)
        ((uint32_t *)to)[at] = ((const uint32_t *)row)[from];
    else
        ((uint16_t *)to)[at] = ((const uint16_t *)row)[from];
}

static void plan_order(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}, .local_bytes = 2 * shape.cols * sizeof(uint64_t)};
}

static void order_run(cpu_run *run, bool values) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    rows_shape shape = rows_of(&x, 1, true);
    bool descending = ((const mlxn_argsort_params *)run->params)->descending;
    size_t size = rows_size(x->dtype);
    int64_t so = rows_stride(out);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *row = rows_at(x, r, size);
            const uint64_t *keys = order_row(x, row, shape.cols, descending, run->local);
            void *to = rows_at(out, r, mlxn_dtype_size(out->dtype));
            for (uint64_t i = 0; i < shape.cols; i++)
                if (values)
                    order_value(x, row, (uint32_t)keys[i], to, (int64_t)i * so);
                else
                    ((uint32_t *)to)[(int64_t)i * so] = (uint32_t)keys[i];
        }
    }
}
static void run_argsort(cpu_run *run) { order_run(run, false); }
static void run_sort(cpu_run *run) { order_run(run, true); }

/* The root holds the largest key. */
static void heap_down(uint64_t *heap, uint64_t n, uint64_t i) {
    uint64_t moving = heap[i];
    for (;;) {
        uint64_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= moving) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

/* The k smallest keys of a row in a heap: later elements must be below the worst of them, which a block of sixteen
 * shows at a glance, because an equal element with a higher index is not better. */
static void top_heap(const mlxn_view *x, const void *row, uint64_t n, uint64_t k, uint64_t *heap) {
    float buffer[SPAN] __attribute__((aligned(64)));
    uint64_t have = 0;
    v16 limit = v16_set1(NAN);
    for (uint64_t i = 0; i < n; i += SPAN) {
        uint64_t m = mlxn_min_u64(SPAN, n - i);
        const float *v = span_in(x->dtype, row, rows_stride(x), i, m, buffer);
        for (uint64_t b = 0; b < m; b += 16) {
            uint64_t end = b + simd_tail(b, m);
            bool full = have == k && heap[0] >> 32 != UINT32_MAX;
            if (full && end == b + 16 && !v16_any_gt(v16_load(v + b), limit)) continue;
            for (uint64_t j = b; j < end; j++) {
                uint64_t key = order_key(v[j], (uint32_t)(i + j), true);
                if (have < k) {
                    heap[have++] = key;
                    if (have == k)
                        for (uint64_t h = k / 2; h-- > 0;) heap_down(heap, k, h);
                } else if (key < heap[0]) {
                    heap[0] = key;
                    heap_down(heap, k, 0);
                } else {
                    continue;
                }
                if (have == k)
                    limit = v16_set1(span_number(x->dtype, row, (int64_t)(uint32_t)heap[0] * rows_stride(x)));
            }
        }
    }
}

static void plan_top_k(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_order(args, params, n_threads, out);
}

static void run_top_k(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *indices = &run->args[1], *values = &run->args[2];
    rows_shape shape = rows_of(&x, 1, true);
    uint64_t chunk, n = shape.cols, k = indices->dims[1], *heap = run->local;
    size_t size = rows_size(x->dtype);
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *row = rows_at(x, r, size);
            const uint64_t *keys;
            if (k > 256 && k > n / 16) {
                keys = order_row(x, row, n, true, heap);
            } else {
                top_heap(x, row, n, k, heap);
                keys = heap;
                for (uint64_t m = k; m > 1;) { /* the worst goes to the end */
                    uint64_t worst = heap[0];
                    heap[0] = heap[--m];
                    heap_down(heap, m, 0);
                    heap[m] = worst;
                }
            }
            uint32_t *to = rows_at(indices, r, 4);
            void *to_values = values->present ? rows_at(values, r, size) : NULL;
            for (uint64_t i = 0; i < k; i++) {
                to[(int64_t)i * rows_stride(indices)] = (uint32_t)keys[i];
                if (to_values) order_value(x, row, (uint32_t)keys[i], to_values, (int64_t)i * rows_stride(values));
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_select)[];
const cpu_kernel CPU_ISA(cpu_kernels_select)[] = {
    {MLXN_OP_argsort, "argsort_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_order, run_argsort},
    {MLXN_OP_sort, "sort_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_order, run_sort},
    {MLXN_OP_top_k, "top_k_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_top_k, run_top_k},
    {0},
};
