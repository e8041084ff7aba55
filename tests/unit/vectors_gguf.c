/* Promise: every block format of GGUF decodes to ggml's own bits, and encodes to them.
 * tests/vectors/quant/make_gguf.py made the file and describes it. */
#include <math.h>
#include <mlxn/mlxn.h>

#include "quant/quant.h"
#include "test.h"

static const uint8_t *cursor, *end;

static const uint8_t *take(uint64_t bytes) {
    if (bytes > (uint64_t)(end - cursor)) {
        CHECK(false, "the file ends inside a record");
        exit(1);
    }
    cursor += bytes;
    return cursor - bytes;
}

typedef struct blob {
    const uint8_t *data;
    uint32_t bytes;
} blob;

static blob read_blob(void) {
    uint32_t bytes = mlxn_load_u32(take(4));
    return (blob){take(bytes), bytes};
}

/* A copy, since the file's numbers lie at any address. */
static float *read_floats(void) {
    blob b = read_blob();
    float *copy = malloc(b.bytes + 1);
    memcpy(copy, b.data, b.bytes);
    return copy;
}

static struct {
    uint32_t rows, cols;
    float *x, *importance;
} input;

static void check_decoding(mlxn_format format, blob blocks, const float *want) {
    const mlxn_format_info *info = &mlxn_quant_find(format)->info;
    uint64_t n = (uint64_t)blocks.bytes / info->block_bytes * info->block_values;
    float *got = malloc(4 * n);
    CHECK(!mlxn_dequantize_row(format, blocks.data, n, got, NULL), "%s", info->name);
    for (uint64_t i = 0; i < n; i++)
        CHECK(!memcmp(&want[i], &got[i], 4) || (isnan(want[i]) && isnan(got[i])), "%s: value %u is %a, ggml has %a",
              info->name, (unsigned)i, got[i], want[i]);
    free(got);
}

enum { REFERENCE, OFFLINE, WEIGHTED };
static const char *const hows[] = {"reference", "offline", "with importance"};

static mlxn_status encode(mlxn_format format, int how, const float *x, uint8_t *out, mlxn_error *error) {
    return how == REFERENCE ? mlxn_quantize_row(format, x, input.cols, out, error)
                            : mlxn_quantize_row_weighted(format, x, how == WEIGHTED ? input.importance : NULL,
                                                         input.cols, out, error);
}

/* Blocks of IQ4_NL with the scale 0: ggml's reference encoder leaves their codes as it finds them. */
static bool codes_without_meaning(mlxn_format format, const uint8_t *block) {
    return format == MLXN_FORMAT_IQ4_NL && mlxn_load_u16(block) == 0;
}

static void check_encoding(mlxn_format format, int how, blob want) {
    const mlxn_format_info *info = &mlxn_quant_find(format)->info;
    if (!mlxn_quant_find(format)->encode) return; /* the grids: no rule */
    uint64_t bytes = want.bytes / input.rows;
    uint8_t *got = malloc(bytes + 1);
    for (uint32_t r = 0; want.bytes && r < input.rows; r++) {
        mlxn_error error;
        mlxn_status status = encode(format, how, input.x + (size_t)r * input.cols, got, &error);
        CHECK(!status, "%s", error.message);
        for (uint64_t at = 0; !status && at < bytes; at += info->block_bytes) {
            const uint8_t *block = want.data + r * bytes + at;
            uint32_t compared = how == REFERENCE && codes_without_meaning(format, block) ? 2 : info->block_bytes;
            CHECK(!memcmp(got + at, block, compared), "%s, %s: row %u: block %u is not ggml's", info->name, hows[how],
                  r, (unsigned)(at / info->block_bytes));
        }
    }
    free(got);
}

int main(void) {
    mlxn_mapping map;
    mlxn_error error;
    if (mlxn_map_file("tests/vectors/quant/gguf.bin", &map, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    cursor = map.data;
    end = map.data + map.size;
    CHECK(!memcmp(take(8), "MLXNGGQ1", 8), "another kind of file");
    input.rows = mlxn_load_u32(take(4)), input.cols = mlxn_load_u32(take(4));
    input.x = read_floats();
    input.importance = read_floats();
    unsigned records = 0;
    for (; cursor < end; records++) {
        mlxn_format format = (mlxn_format)mlxn_load_u32(take(4));
        CHECK(mlxn_quant_find(format) != NULL, "format %d", (int)format);
        blob blocks = read_blob();
        float *values = read_floats();
        if (blocks.bytes) check_decoding(format, blocks, values);
        free(values);
        for (int how = REFERENCE; how <= WEIGHTED; how++) check_encoding(format, how, read_blob());
    }
    CHECK(records == 27, "only %u records", records);
    free(input.x);
    free(input.importance);
    mlxn_unmap_file(&map);
    return TEST_DONE();
}
