/* weight.c: brings weights into the layout of kernels/weight_shape.h, and rows of them back.
 *
 * Rows go to the device through a buffer of the host that holds some of them as they will lie: what is cut is cut by
 * the host while the file is read, so that nothing lies on the device twice. */
#include "backend/cuda/weight.h"

#include <math.h>

#include "quant/iq_grids.h"

enum { SLAB_BYTES = 8 << 20, ALIGN = 256 };

/* The bytes [first, first + body) of a block are its body. */
static const struct {
    mlxn_format format;
    uint16_t first, body;
} blocks[] = {{MLXN_FORMAT_Q4_0, 2, 16},    {MLXN_FORMAT_Q4_1, 4, 16},   {MLXN_FORMAT_Q5_0, 6, 16},
              {MLXN_FORMAT_Q5_1, 8, 16},    {MLXN_FORMAT_Q8_0, 2, 32},   {MLXN_FORMAT_Q8_1, 4, 32},
              {MLXN_FORMAT_Q2_K, 0, 80},    {MLXN_FORMAT_Q3_K, 0, 96},   {MLXN_FORMAT_Q4_K, 0, 144},
              {MLXN_FORMAT_Q5_K, 0, 176},   {MLXN_FORMAT_Q6_K, 0, 208},  {MLXN_FORMAT_Q8_K, 4, 288},
              {MLXN_FORMAT_IQ2_XXS, 2, 64}, {MLXN_FORMAT_IQ2_XS, 2, 64}, {MLXN_FORMAT_IQ2_S, 2, 64},
              {MLXN_FORMAT_IQ3_XXS, 2, 96}, {MLXN_FORMAT_IQ3_S, 2, 64},  {MLXN_FORMAT_IQ1_S, 2, 48},
              {MLXN_FORMAT_IQ1_M, 0, 48},   {MLXN_FORMAT_IQ4_NL, 2, 16}, {MLXN_FORMAT_IQ4_XS, 8, 128},
              {MLXN_FORMAT_TQ1_0, 0, 48},   {MLXN_FORMAT_TQ2_0, 0, 64},  {MLXN_FORMAT_MXFP4, 1, 16},
              {MLXN_FORMAT_NVFP4, 4, 32},   {MLXN_FORMAT_Q1_0, 2, 16},   {MLXN_FORMAT_Q2_0, 2, 16}};

/* What of a row goes where. Bytes without a body's cut are one body. */
typedef struct layout {
    k_weight_shape shape;            /* addresses count from the start of the memory */
    uint64_t blocks;                 /* of a row; 0: the row is not cut */
    uint32_t block, first, body;     /* bytes of a block */
    uint64_t rows, row_bytes, bytes; /* of all matrices; of a row of the source without scales; of the memory */
    bool scales, biases;
} layout;

static bool is_grid(mlxn_format format) {
    return (format >= MLXN_FORMAT_IQ2_XXS && format <= MLXN_FORMAT_IQ1_S) || format == MLXN_FORMAT_IQ1_M ||
           format == MLXN_FORMAT_IQ3_S || format == MLXN_FORMAT_IQ2_S;
}

static bool plan_groups(const mlxn_weight_view *raw, layout *out) {
    mlxn_group_info groups;
    if (!mlxn_format_get_groups(raw->format, &groups)) return false;
    k_weight_shape *s = &out->shape;
    bool affine = groups.mode == MLXN_QUANT_AFFINE;
    if (affine) s->format = K_FORMAT_AFFINE;
    s->bits = groups.bits;
    s->group = groups.group_size;
    s->scale_type = raw->scale_dtype == MLXN_F32 ? 0 : raw->scale_dtype == MLXN_F16 ? 1 : 2;
    /* The largest numbers of element and scale (quant/mlx.c). */
    if (raw->global_scale != 0) s->factor = raw->global_scale / (448.0f * 6.0f);
    s->head_stride = raw->cols / groups.group_size * mlxn_dtype_size(raw->scale_dtype);
    out->scales = true;
    out->biases = affine;
    return true;
}

/* Places body, head or scales, and biases one after the other. False: more than 64 bits. */
static bool place(layout *l) {
    k_weight_shape *s = &l->shape;
    uint64_t bodies, heads;
    if (!mlxn_mul_u64(s->body_stride, l->rows, &bodies) || !mlxn_align_u64(bodies, ALIGN, &bodies)) return false;
    if (!mlxn_mul_u64(s->head_stride, l->rows, &heads) || !mlxn_align_u64(heads, ALIGN, &heads)) return false;
    s->head = bodies;
    s->bias = 0;
    if (!mlxn_add_u64(bodies, heads, &l->bytes)) return false;
    if (!l->biases) return true;
    s->bias = l->bytes;
    return mlxn_add_u64(l->bytes, heads, &l->bytes);
}

static mlxn_status plan(const mlxn_weight_view *raw, layout *out, mlxn_error *error) {
    *out = (layout){.row_bytes = raw->row_bytes};
    k_weight_shape *s = &out->shape;
    s->format = (unsigned)raw->format;
    s->rows = raw->rows;
    s->cols = raw->cols;
    mlxn_format_info info;
    uint64_t row = 0;
    bool known = plan_groups(raw, out), fits = mlxn_align_u64(raw->row_bytes, 16, &row);
    s->body_stride = row;
    known =
        known || raw->format == MLXN_FORMAT_F32 || raw->format == MLXN_FORMAT_F16 || raw->format == MLXN_FORMAT_BF16;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (blocks[i].format != raw->format || !mlxn_format_get_info(raw->format, &info)) continue;
        known = true;
        out->block = info.block_bytes;
        out->first = blocks[i].first;
        out->body = blocks[i].body;
        out->blocks = raw->cols / info.block_values;
        s->body_stride = out->blocks * out->body;
        s->head_stride = out->blocks * (out->block - out->body);
    }
    if (!known)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "weight: the cuda device knows no layout for %s",
                         mlxn_format_name(raw->format));
    fits = fits && mlxn_mul_u64(raw->rows, mlxn_weight_view_experts(raw), &out->rows) && place(out);
    if (fits && raw->cols <= UINT32_MAX) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_LIMIT, "weight: %s [%llu, %llu] does not fit the layout of the cuda device",
                     mlxn_format_name(raw->format), (unsigned long long)raw->rows, (unsigned long long)raw->cols);
}

mlxn_status cuda_weight_bytes(void *impl, const mlxn_weight_view *raw, uint64_t *out, mlxn_error *error) {
    layout l;
    mlxn_status status = plan(raw, &l, error);
    if (!status) *out = l.bytes;
    return status;
}

static void cut(const layout *l, const uint8_t *row, uint8_t *body, uint8_t *head) {
    uint32_t behind = l->block - l->first - l->body;
    for (uint64_t b = 0; b < l->blocks; b++, row += l->block) {
        memcpy(body, row + l->first, l->body);
        memcpy(head, row, l->first);
        memcpy(head + l->first, row + l->first + l->body, behind);
        body += l->body;
        head += l->first + behind;
    }
}

static void join(const layout *l, const uint8_t *body, const uint8_t *head, uint8_t *row) {
    uint32_t behind = l->block - l->first - l->body;
    for (uint64_t b = 0; b < l->blocks; b++, row += l->block) {
        memcpy(row + l->first, body, l->body);
        memcpy(row, head, l->first);
        memcpy(row + l->first + l->body, head + l->first, behind);
        body += l->body;
        head += l->first + behind;
    }
}

/* Rows [first, first + n) to the device by way of the slab, which holds their bodies and then their heads. */
static mlxn_status send_rows(const cuda_weight *w, const layout *l, const mlxn_weight_view *raw, uint64_t first,
                             uint64_t n, uint8_t *slab, mlxn_error *error) {
    uint64_t body = l->shape.body_stride, head = l->blocks ? l->shape.head_stride : 0;
    uint8_t *heads = slab + n * body;
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *row = mlxn_weight_view_raw_row(raw, first + i);
        if (l->blocks) {
            cut(l, row, slab + i * body, heads + i * head);
        } else {
            memcpy(slab + i * body, row, (size_t)l->row_bytes);
            memset(slab + i * body + l->row_bytes, 0, (size_t)(body - l->row_bytes));
        }
    }
    mlxn_status status = cuda_memory_write(w->device, w->memory, first * body, slab, n * body, error);
    if (status || !head) return status;
    return cuda_memory_write(w->device, w->memory, l->shape.head + first * head, heads, n * head, error);
}

static mlxn_status send(const cuda_weight *w, const layout *l, const mlxn_weight_view *raw,
                        const mlxn_weight_progress *progress, mlxn_error *error) {
    uint64_t row = l->shape.body_stride + (l->blocks ? l->shape.head_stride : 0);
    uint64_t most = mlxn_min_u64(mlxn_max_u64(SLAB_BYTES / row, 1), l->rows);
    uint8_t *slab = mlxn_alloc_array((size_t)most, (size_t)row);
    if (!slab)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "weight: out of memory for %llu bytes of rows",
                         (unsigned long long)(most * row));
    mlxn_status status = MLXN_OK;
    for (uint64_t at = 0, n; at < l->rows && !status; at += n) {
        n = mlxn_min_u64(most, l->rows - at);
        status = send_rows(w, l, raw, at, n, slab, error);
        if (!status && progress && progress->packed) progress->packed(progress->user, at + n);
    }
    mlxn_free(slab);
    uint64_t scales = l->rows * l->shape.head_stride;
    if (!status && l->scales)
        status = cuda_memory_write(w->device, w->memory, l->shape.head, raw->scales, scales, error);
    if (!status && l->biases)
        status = cuda_memory_write(w->device, w->memory, l->shape.bias, raw->biases, scales, error);
    return status;
}

/* Decodes from the device's copy. Where that cannot be read, every number is NaN. */
static void read_row(const mlxn_weight_view *view, uint64_t row, float *dst) {
    const cuda_weight *w = view->layout;
    layout l;
    bool good = !plan(view, &l, NULL);
    mlxn_weight_view one = *view;
    uint64_t body = l.shape.body_stride, head = l.shape.head_stride;
    uint8_t *bytes = good ? mlxn_alloc((size_t)(body + 2 * head + l.row_bytes)) : NULL;
    good = bytes && !cuda_memory_read(w->device, w->memory, row * body, bytes, body, NULL);
    if (good && head)
        good = !cuda_memory_read(w->device, w->memory, l.shape.head + row * head, bytes + body, head, NULL);
    if (good && l.biases)
        good = !cuda_memory_read(w->device, w->memory, l.shape.bias + row * head, bytes + body + head, head, NULL);
    one.rows = one.experts = 1;
    one.raw = bytes;
    if (good && l.blocks) {
        join(&l, bytes, bytes + body, bytes + body + 2 * head);
        one.raw = bytes + body + 2 * head;
    }
    one.scales = l.scales ? bytes + body : NULL;
    one.biases = l.biases ? bytes + body + head : NULL;
    if (good) mlxn_weight_view_read_raw(&one, 0, dst);
    for (uint64_t i = 0; !good && i < view->cols; i++) dst[i] = NAN;
    mlxn_free(bytes);
}

/* The grids of the IQ formats, once for all weights of the device. */
static mlxn_status ready_grids(cuda_device *device, uint64_t *address, mlxn_error *error) {
    static const struct {
        const uint16_t *entries;
        uint32_t first, n;
    } parts[] = {{mlxn_iq2xxs_grid, K_GRID_IQ2_XXS, 256}, {mlxn_iq2xs_grid, K_GRID_IQ2_XS, 512},
                 {mlxn_iq2s_grid, K_GRID_IQ2_S, 1024},    {mlxn_iq3xxs_grid, K_GRID_IQ3_XXS, 256},
                 {mlxn_iq3s_grid, K_GRID_IQ3_S, 512},     {mlxn_iq1s_grid, K_GRID_IQ1_S, 2048}};
    pthread_mutex_lock(&device->grid_lock);
    mlxn_status status = MLXN_OK;
    if (!device->grids) {
        void *memory = NULL, *host;
        status = cuda_memory_create(device, K_GRID_END * sizeof(uint16_t), &memory, &host, error);
        for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++)
            status = cuda_memory_write(device, memory, parts[i].first * sizeof(uint16_t), parts[i].entries,
                                       parts[i].n * sizeof(uint16_t), error);
        if (status && memory) cuda_memory_destroy(device, memory, K_GRID_END * sizeof(uint16_t));
        if (!status) device->grids = memory;
    }
    if (!status) *address = device->grids->address;
    pthread_mutex_unlock(&device->grid_lock);
    return status;
}

mlxn_status cuda_weight_prepare(void *impl, const mlxn_weight_view *raw, const mlxn_weight_progress *progress,
                                mlxn_weight_view *out, void **storage, mlxn_error *error) {
    layout l;
    mlxn_status status = plan(raw, &l, error);
    if (status) return status;
    cuda_weight *w = mlxn_alloc(sizeof *w);
    if (!w) return mlxn_fail(error, MLXN_ERR_MEMORY, "weight: out of memory for its record");
    w->device = impl;
    w->bytes = l.bytes;
    w->shape = l.shape;
    void *host;
    status = cuda_memory_create(impl, l.bytes, &w->memory, &host, error);
    if (!status && is_grid(raw->format)) {
        uint64_t address = 0;
        status = ready_grids(impl, &address, error);
        w->shape.grid = address;
    }
    if (!status) status = send(w, &l, raw, progress, error);
    if (status) {
        mlxn_error_prefix(error, "weight");
        cuda_weight_destroy(impl, w);
        return status;
    }
    uint64_t base = ((const cuda_memory *)w->memory)->address;
    w->shape.body = base;
    w->shape.head += base;
    w->shape.bias += base;
    out->packed = (void *)(uintptr_t)base;
    out->packed_bytes = l.bytes;
    out->layout = w;
    out->read_row = read_row;
    *storage = w;
    return MLXN_OK;
}

void cuda_weight_destroy(void *impl, void *storage) {
    cuda_weight *w = storage;
    if (w->memory) cuda_memory_destroy(impl, w->memory, w->bytes);
    mlxn_free(w);
}
