/* weight.c (CPU backend): builds the packed form of a weight, tile by tile on all threads. */
#include "backend/cpu/weight.h"

#include <inttypes.h>

#include "backend/cpu/cpu.h"
#include "core/backend.h"
#include "quant/quant.h"

#define BLOCK_LAYOUT(name, ...) [CPU_KERNEL_##name] = CPU_TILE_LAYOUT(name, __VA_ARGS__),
static const cpu_tile_format blocks[CPU_KERNEL_COUNT] = {CPU_TILE_BLOCKS(BLOCK_LAYOUT)};

#define BLOCK_ROW(format, kernel, packer) {MLXN_FORMAT_##format, MLXN_F16, &blocks[CPU_KERNEL_##kernel]},
#define VARIED_ROW(format, dtype, scale, groups, name, bits, minimum, halves, offset, type) \
    {MLXN_FORMAT_##format, dtype,                                                           \
     &(const cpu_tile_format)CPU_TILE_LAYOUT(name, bits, groups, false, minimum, halves, offset, type, scale)},
#define AFFINE_ROW(bits, group, dtype) \
    VARIED_ROW(AFFINE##bits##_G##group, dtype, dtype, group / 32, affine##bits, bits, true, false, 0, INTEGER)
#define AFFINE_ROWS(bits, group) \
    AFFINE_ROW(bits, group, MLXN_F16) AFFINE_ROW(bits, group, MLXN_BF16) AFFINE_ROW(bits, group, MLXN_F32)
#define AFFINE(bits) AFFINE_ROWS(bits, 32) AFFINE_ROWS(bits, 64) AFFINE_ROWS(bits, 128)
#define TERNARY(format, groups) VARIED_ROW(format, MLXN_F16, MLXN_F16, groups, ternary, 2, false, false, 1, INTEGER)
#define E2M1(format, dtype, scale) VARIED_ROW(format, dtype, scale, 1, e2m1, 4, false, false, 12, E2M1)
#define E2M1_HALVES(format, dtype, scale) VARIED_ROW(format, dtype, scale, 1, e2m1_halves, 4, false, true, 12, E2M1)
/* The dtype is that of the scales of the original weight; F32 for nvfp4 scales with a global one, F16 for blocks. */
static const struct {
    mlxn_format format;
    mlxn_dtype dtype;
    const cpu_tile_format *tile;
} formats[] = {CPU_TILE_FORMATS(BLOCK_ROW) AFFINE(2) AFFINE(3) AFFINE(4) AFFINE(5) AFFINE(6) AFFINE(8)
                   TERNARY(TQ1_0, 8) TERNARY(TQ2_0, 8) TERNARY(Q2_0, 2)
                       VARIED_ROW(Q1_0, MLXN_F16, MLXN_F16, 4, binary, 1, false, false, 1, INTEGER)
                           E2M1(MXFP4, MLXN_F16, MLXN_BF16) E2M1(MLX_MXFP4, MLXN_U8, MLXN_BF16)
                               E2M1_HALVES(NVFP4, MLXN_F16, MLXN_F16) E2M1_HALVES(MLX_NVFP4, MLXN_U8, MLXN_F16)
                                   E2M1_HALVES(MLX_NVFP4, MLXN_F32, MLXN_F32)
                                       VARIED_ROW(MLX_MXFP8, MLXN_U8, MLXN_BF16, 1, e4m3, 8, false, false, 0, E4M3)};

const cpu_tile_format *cpu_tile_format_of(const mlxn_weight_view *raw) {
    mlxn_group_info groups;
    mlxn_dtype dtype = mlxn_format_get_groups(raw->format, &groups) ? raw->scale_dtype : MLXN_F16;
    if (raw->global_scale != 0.0f) dtype = MLXN_F32;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].format == raw->format && formats[i].dtype == dtype) return formats[i].tile;
    return NULL;
}

typedef struct pack_job {
    const mlxn_weight_view *raw;
    const cpu_tile_format *format; /* NULL: plain, of `size` bytes per element */
    uint32_t size;
    uint64_t bytes, tile_bytes, tiles_per_chunk;
    uint64_t first_chunk; /* of the slice under way */
    uint64_t tiles;       /* of all matrices */
    uint8_t *packed;
} pack_job;

/* The rows of a tile. */
static uint64_t tile_rows(const mlxn_weight_view *w, uint64_t tile, uint64_t *first) {
    uint64_t tiles = cpu_tile_count(w), row = tile % tiles * CPU_TILE;
    *first = tile / tiles * w->rows + row;
    return mlxn_min_u64(CPU_TILE, w->rows - row);
}

/* Plain elements: rows become lanes. 64 columns at a time, so that the lines being written stay in the cache. */
static void pack_plain(const pack_job *job, uint64_t tile, uint8_t *dst) {
    enum { STRIP = 64 };
    const mlxn_weight_view *w = job->raw;
    uint64_t first, n = tile_rows(w, tile, &first);
    for (uint64_t k0 = 0; k0 < w->cols; k0 += STRIP) {
        uint64_t strip = mlxn_min_u64(STRIP, w->cols - k0);
        for (uint64_t r = 0; r < n; r++) {
            const uint8_t *src = mlxn_weight_view_raw_row(w, first + r) + k0 * job->size;
            uint8_t *to = dst + (k0 * CPU_TILE + r) * job->size;
            if (job->size == 4)
                for (uint64_t k = 0; k < strip; k++) memcpy(to + k * CPU_TILE * 4, src + k * 4, 4);
            else
                for (uint64_t k = 0; k < strip; k++) memcpy(to + k * CPU_TILE * 2, src + k * 2, 2);
        }
    }
}

/* Blocks: a strip of all 16 rows at a time, for the same reason. */
static void pack_blocks(const pack_job *job, uint64_t tile, uint8_t *dst) {
    enum { STRIP_BYTES = 16 << 10 };
    const mlxn_weight_view *w = job->raw;
    uint64_t first, n = tile_rows(w, tile, &first);
    uint64_t unit = cpu_tile_unit_bytes(job->format), units = cpu_tile_units(job->format, w->cols);
    mlxn_format_info info;
    mlxn_format_get_info(w->format, &info);
    uint64_t block = mlxn_max_u64(1, info.block_values / (CPU_GROUP * job->format->groups));
    uint64_t strip = STRIP_BYTES / unit / block * block;
    for (uint64_t u = 0; u < units; u += strip)
        for (uint64_t r = 0; r < n; r++)
            cpu_pack_units(job->format, w, first + r, u, mlxn_min_u64(strip, units - u), dst + u * unit, (uint32_t)r);
}

static void pack_chunk(void *arg, uint64_t chunk) {
    const pack_job *job = arg;
    uint64_t begin = (job->first_chunk + chunk) * job->tiles_per_chunk;
    uint64_t end = mlxn_min_u64(begin + job->tiles_per_chunk, job->tiles);
    for (uint64_t tile = begin; tile < end; tile++) {
        uint8_t *dst = job->packed + tile * job->tile_bytes;
        if (job->format)
            pack_blocks(job, tile, dst);
        else
            pack_plain(job, tile, dst);
    }
}

/* Fills everything but `packed`. */
static mlxn_status plan(const mlxn_weight_view *raw, pack_job *job, mlxn_error *error) {
    mlxn_format_info info;
    *job = (pack_job){.raw = raw, .format = cpu_tile_format_of(raw)};
    if (!mlxn_format_get_info(raw->format, &info) || (!job->format && info.block_values != 1))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "weight: the CPU backend has no layout for format %s",
                         mlxn_format_name(raw->format));
    bool fits;
    if (job->format) {
        fits =
            mlxn_mul_u64(cpu_tile_units(job->format, raw->cols), cpu_tile_unit_bytes(job->format), &job->tile_bytes);
    } else {
        job->size = info.block_bytes;
        fits = mlxn_mul_u64(raw->cols, (uint64_t)CPU_TILE * job->size, &job->tile_bytes);
    }
    uint64_t experts = mlxn_weight_view_experts(raw);
    if (!fits || !mlxn_mul_u64(cpu_tile_count(raw), experts, &job->tiles) ||
        !mlxn_mul_u64(job->tiles, job->tile_bytes, &job->bytes))
        return mlxn_fail(error, MLXN_ERR_LIMIT,
                         "weight %s: %" PRIu64 " x [%" PRIu64 ", %" PRIu64 "] passes 2^64 bytes", info.name, experts,
                         raw->rows, raw->cols);
    return MLXN_OK;
}

mlxn_status cpu_weight_bytes(const mlxn_weight_view *raw, uint64_t *out, mlxn_error *error) {
    pack_job job;
    mlxn_status status = plan(raw, &job, error);
    if (!status) *out = job.bytes;
    return status;
}

mlxn_status cpu_weight_pack(cpu_device *device, const mlxn_weight_view *raw, const mlxn_weight_progress *progress,
                            mlxn_weight_view *out, void **slab, mlxn_error *error) {
    enum { CHUNK_BYTES = 256 << 10, SLICE_BYTES = 16 << 20 };
    *slab = NULL;
    pack_job job;
    mlxn_status status = plan(raw, &job, error);
    if (status) return status;
    job.packed = cpu_slab_alloc(device, job.bytes, slab);
    if (!job.packed)
        return mlxn_fail(error, MLXN_ERR_MEMORY,
                         "weight %s: [%" PRIu64 ", %" PRIu64 "]: out of memory for %" PRIu64 " bytes",
                         mlxn_format_name(raw->format), raw->rows, raw->cols, job.bytes);
    job.tiles_per_chunk = mlxn_max_u64(1, CHUNK_BYTES / job.tile_bytes);
    uint64_t chunks = (job.tiles + job.tiles_per_chunk - 1) / job.tiles_per_chunk;
    /* In slices only if somebody wants to give the source of one matrix back behind them. */
    bool slices = progress && progress->packed && mlxn_weight_view_experts(raw) == 1;
    uint64_t slice = slices ? mlxn_max_u64(1, SLICE_BYTES / (job.tiles_per_chunk * job.tile_bytes)) : chunks;
    for (; job.first_chunk < chunks; job.first_chunk += slice) {
        cpu_parallel(device, mlxn_min_u64(slice, chunks - job.first_chunk), pack_chunk, &job);
        if (slices)
            progress->packed(progress->user,
                             mlxn_min_u64(raw->rows, (job.first_chunk + slice) * job.tiles_per_chunk * CPU_TILE));
    }
    *out = *raw;
    out->packed = job.packed;
    out->packed_bytes = job.bytes;
    out->layout = job.format;
    out->read_row = cpu_read_row;
    return MLXN_OK;
}
