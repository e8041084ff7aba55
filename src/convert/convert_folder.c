/* convert_folder.c: a model into a folder of another number format: weights. The other files: folder_files.c. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "convert/encode_rows.h"
#include "convert/folder_files.h"
#include "convert/slab.h"
#include "convert/source.h"
#include "io/out_file.h"

/* What becomes of a tensor. */
typedef enum fate { COPIED, CAST, QUANTIZED, PACKED } fate; /* PACKED: it was quantized before */

typedef struct job {
    const mlxn_convert_options *options;
    const char *source_path;
    bool quantize;
    mlxn_format format, fine_format; /* of quantized matrices; of those of MLXN_CV_FINE */
    mlxn_group_info groups, fine;
    mlxn_bytes quantization; /* of config.json */
    bool has_dtype;
    mlxn_st_dtype dtype;
    mlxn_cv_source source;
    mlxn_safetensors_writer *writer;
    mlxn_cv_slab slab;
    mlxn_quantize_result result;
} job;

/* ---- options ---- */

static mlxn_status read_type(job *j, mlxn_error *error) {
    static const struct {
        const char *name;
        mlxn_quant_mode mode;
        uint32_t bits, group_size;
    } modes[] = {
        {"mxfp4", MLXN_QUANT_MXFP4, 4, 32}, {"mxfp8", MLXN_QUANT_MXFP8, 8, 32}, {"nvfp4", MLXN_QUANT_NVFP4, 4, 16}};
    const char *name = j->options->quantize;
    unsigned bits = 0, size = 0;
    int used = 0;
    mlxn_status status = MLXN_ERR_ARGUMENT;
    if (!name) return MLXN_OK;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (!strcmp(name, modes[i].name))
            status = mlxn_format_of_groups(modes[i].mode, modes[i].bits, modes[i].group_size, &j->format, error);
    if (sscanf(name, "affine%1ug%3u%n", &bits, &size, &used) == 2 && !name[used])
        status = mlxn_format_of_groups(MLXN_QUANT_AFFINE, bits, size, &j->format, NULL);
    if (status)
        return mlxn_fail(
            error, MLXN_ERR_ARGUMENT,
            "convert: quantization is \"%.60s\", want affineBgS (2, 3, 4, 5, 6 or 8 bits, groups of 32, 64 or "
            "128), mxfp4, mxfp8 or nvfp4",
            name);
    j->quantize = mlxn_format_get_groups(j->format, &j->groups);
    status = mlxn_format_of_groups(MLXN_QUANT_AFFINE, 8, 64, &j->fine_format, error);
    mlxn_format_get_groups(j->fine_format, &j->fine);
    return status;
}

static bool dtype_named(const char *name, mlxn_st_dtype *out) {
    static const struct {
        const char *name;
        mlxn_st_dtype dtype;
    } rows[] = {{"f32", MLXN_ST_F32},     {"f16", MLXN_ST_F16},     {"bf16", MLXN_ST_BF16},
                {"float32", MLXN_ST_F32}, {"float16", MLXN_ST_F16}, {"bfloat16", MLXN_ST_BF16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(name, rows[i].name) != 0) continue;
        *out = rows[i].dtype;
        return true;
    }
    return false;
}

static mlxn_status read_dtype(job *j, mlxn_error *error) {
    static const char *const keys[] = {"torch_dtype", "dtype", "text_config.torch_dtype", "text_config.dtype"};
    mlxn_config_value value;
    if (j->options->dtype) {
        j->has_dtype = dtype_named(j->options->dtype, &j->dtype);
        if (!j->has_dtype)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "convert: dtype is \"%.60s\", want f32, f16 or bf16",
                             j->options->dtype);
    }
    for (size_t i = 0; !j->has_dtype && i < sizeof keys / sizeof keys[0]; i++)
        if (mlxn_config_find(j->source.config, keys[i], &value) && value.type == MLXN_CONFIG_STRING)
            j->has_dtype = dtype_named(value.v.s.data, &j->dtype);
    return MLXN_OK;
}

/* ---- fates ---- */

static bool is_matrix(const char *name) {
    static const char end[] = ".weight";
    size_t n = strlen(name), m = sizeof end - 1;
    return n > m && n < 480 && !strcmp(name + n - m, end);
}

/* The dtype of scales, and of what is not quantized. */
static mlxn_st_dtype dtype_of(const job *j, const mlxn_cv_tensor *t) {
    return j->has_dtype ? j->dtype : t->dtype != MLXN_ST_UNKNOWN ? t->dtype : MLXN_ST_F32;
}

static const mlxn_group_info *groups_of(const job *j, const mlxn_cv_tensor *t) {
    return t->rule == MLXN_CV_FINE ? &j->fine : &j->groups;
}

/* Experts one by one of an architecture that is not known stay as they are: quantized, MLX has them in stacks alone.
 */
static bool is_quantized(const job *j, const mlxn_cv_tensor *t) {
    if (!j->quantize || t->rule == MLXN_CV_WHOLE || t->rule == MLXN_CV_AS_IS || !is_matrix(t->name)) return false;
    bool matrix = t->rule == MLXN_CV_STACK ? t->rank == 3 : t->rank == 2 && !strstr(t->name, ".experts.");
    return matrix && t->cols % j->groups.group_size == 0 && t->cols % groups_of(j, t)->group_size == 0;
}

static fate fate_of(const job *j, const mlxn_cv_tensor *t) {
    if (t->scales) return PACKED;
    if ((int)t->format < 0) return COPIED;
    if (is_quantized(j, t)) return QUANTIZED;
    if (mlxn_cv_is_plain(t) && (t->rule == MLXN_CV_AS_IS || t->dtype == dtype_of(j, t))) return COPIED;
    return CAST;
}

static mlxn_format plain_format(mlxn_st_dtype dtype) {
    return dtype == MLXN_ST_F16 ? MLXN_FORMAT_F16 : dtype == MLXN_ST_BF16 ? MLXN_FORMAT_BF16 : MLXN_FORMAT_F32;
}

static uint64_t code_bytes(const mlxn_group_info *groups, uint64_t cols) { return cols / 8 * groups->bits; }

/* What gpt-oss is published in. */
static const mlxn_group_info packed_groups = {.mode = MLXN_QUANT_MXFP4, .bits = 4, .group_size = 32};

/* ---- records ---- */

static void add_groups(mlxn_bytes *to, const mlxn_group_info *groups, const char *between) {
    char text[120];
    snprintf(text, sizeof text, "\"bits\": %u,%s\"group_size\": %u,%s\"mode\": \"%s\"", groups->bits, between,
             groups->group_size, between, mlxn_quant_mode_name(groups->mode));
    mlxn_bytes_text(to, text);
}

/* What config.json says: of all, and of each matrix that is different. Where experts came quantized, "all" are they:
 * so has MLX's converter it. */
static mlxn_status describe(job *j, mlxn_error *error) {
    mlxn_bytes *to = &j->quantization;
    const mlxn_group_info *all = j->source.blocks ? &packed_groups : &j->groups;
    mlxn_bytes_text(to, "{\n        ");
    add_groups(to, all, "\n        ");
    for (uint64_t i = 0; i < j->source.n; i++) {
        const mlxn_cv_tensor *t = &j->source.tensors[i];
        char base[512];
        if (fate_of(j, t) != QUANTIZED || (groups_of(j, t) == &j->groups && !j->source.blocks)) continue;
        snprintf(base, sizeof base, "%.*s", (int)(strlen(t->name) - strlen(".weight")), t->name);
        mlxn_bytes_text(to, ",\n        ");
        mlxn_bytes_json_string(to, base);
        mlxn_bytes_text(to, ": {");
        add_groups(to, groups_of(j, t), " ");
        mlxn_bytes_text(to, "}");
    }
    mlxn_bytes_text(to, "\n    }");
    mlxn_bytes_add(to, "", 1);
    return to->failed ? mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for config.json") : MLXN_OK;
}

/* The tensors of a quantized matrix or stack. */
static mlxn_status declare_groups(job *j, const mlxn_cv_tensor *t, const mlxn_group_info *groups, mlxn_error *error) {
    char base[512], name[544];
    bool affine = groups->mode == MLXN_QUANT_AFFINE;
    uint32_t last = t->rank - 1;
    snprintf(base, sizeof base, "%.*s", (int)(strlen(t->name) - strlen(".weight")), t->name);
    mlxn_st_dtype scales = affine ? dtype_of(j, t) : MLXN_ST_U8;
    uint64_t codes[MLXN_CV_MAX_RANK], dims[MLXN_CV_MAX_RANK], bytes = code_bytes(groups, t->cols);
    memcpy(codes, t->dims, sizeof codes);
    memcpy(dims, t->dims, sizeof dims);
    codes[last] = bytes / 4;
    dims[last] = t->cols / groups->group_size;
    mlxn_status status = mlxn_safetensors_writer_add(j->writer, t->name, MLXN_ST_U32, t->rank, codes, error);
    snprintf(name, sizeof name, "%s.scales", base);
    if (!status) status = mlxn_safetensors_writer_add(j->writer, name, scales, t->rank, dims, error);
    snprintf(name, sizeof name, "%s.biases", base);
    if (!status && affine) status = mlxn_safetensors_writer_add(j->writer, name, scales, t->rank, dims, error);
    j->result.bytes += t->rows * (bytes + (affine ? 2 : 1) * dims[last] * (mlxn_st_dtype_bits(scales) / 8));
    return status;
}

static mlxn_status declare_tensors(job *j, mlxn_error *error) {
    bool mlx = j->quantize || j->source.blocks;
    mlxn_status status = mlxn_safetensors_writer_metadata(j->writer, "format", mlx ? "mlx" : "pt", error);
    j->result.tensors = j->source.n;
    j->result.source_bytes = j->source.bytes;
    for (uint64_t i = 0; !status && i < j->source.n; i++) {
        const mlxn_cv_tensor *t = &j->source.tensors[i];
        fate f = fate_of(j, t);
        if (f == QUANTIZED || f == PACKED) {
            status = declare_groups(j, t, f == PACKED ? &packed_groups : groups_of(j, t), error);
            j->result.quantized += f == QUANTIZED;
            continue;
        }
        mlxn_st_dtype dtype = f == CAST ? dtype_of(j, t) : t->dtype;
        status = mlxn_safetensors_writer_add(j->writer, t->name, dtype, t->rank, t->dims, error);
        j->result.bytes += f == CAST ? t->rows * t->cols * (mlxn_st_dtype_bits(dtype) / 8) : t->bytes;
    }
    return status;
}

/* ---- data ---- */

/* Rows [first, …) of a tensor to be encoded: codes or elements in `out`; scales and biases of quantized ones apart.
 */
typedef struct rows_job {
    const mlxn_cv_tensor *t;
    uint64_t first;
    mlxn_format to;
    mlxn_dtype from_dtype, scale_dtype;
    uint64_t out_bytes, scale_bytes; /* of a row */
    uint8_t *out, *scales, *biases;
} rows_job;

/* Weights are rounded to the dtype that the model would have had before they are encoded, as MLX does. */
static void round_values(mlxn_dtype dtype, uint64_t n, float *values) {
    for (uint64_t i = 0; i < n; i++)
        values[i] = dtype == MLXN_F16    ? mlxn_f16_to_f32(mlxn_f32_to_f16(values[i]))
                    : dtype == MLXN_BF16 ? mlxn_bf16_to_f32(mlxn_f32_to_bf16(values[i]))
                                         : values[i];
}

static mlxn_status encode_groups(const void *argument, uint64_t row, float *values, mlxn_error *error) {
    const rows_job *g = argument;
    mlxn_status status = mlxn_cv_row(g->t, g->first + row, values, error);
    const mlxn_group_row to = {.codes = g->out + row * g->out_bytes,
                               .scales = g->scales + row * g->scale_bytes,
                               .biases = g->biases ? g->biases + row * g->scale_bytes : NULL,
                               .scale_dtype = g->scale_dtype,
                               .mlx_cpu = true}; /* the form in which no element saturates */
    if (status) return status;
    round_values(g->from_dtype, g->t->cols, values);
    return mlxn_quantize_groups(g->to, values, g->t->cols, &to, error);
}

static mlxn_status encode_plain(const void *argument, uint64_t row, float *values, mlxn_error *error) {
    const rows_job *g = argument;
    mlxn_status status = mlxn_cv_row(g->t, g->first + row, values, error);
    return status ? status : mlxn_quantize_row(g->to, values, g->t->cols, g->out + row * g->out_bytes, error);
}

/* All rows through `fn`, a slab at a time. `apart`: bytes of the slab that are not for `out`. */
static mlxn_status encode_rows(job *j, rows_job *g, mlxn_row_fn fn, uint64_t apart, mlxn_error *error) {
    const mlxn_cv_tensor *t = g->t;
    uint8_t *scales = g->scales, *biases = g->biases;
    uint64_t at_once = mlxn_cv_rows_at_once(t->rows, g->out_bytes), count = 0;
    mlxn_status status = MLXN_OK;
    g->out = j->slab.data + apart;
    for (uint64_t row = 0; !status && row < t->rows; row += count) {
        count = mlxn_min_u64(at_once, t->rows - row);
        g->first = row;
        g->scales = scales ? scales + row * g->scale_bytes : NULL;
        g->biases = biases ? biases + row * g->scale_bytes : NULL;
        status = mlxn_each_row(fn, g, count, t->cols, j->options->threads, error);
        if (!status) status = mlxn_safetensors_writer_write(j->writer, g->out, count * g->out_bytes, error);
        if (!status) status = mlxn_cv_step(&j->slab, count * (t->bytes / t->rows), j->source.bytes, error);
    }
    return status;
}

/* Bytes of rows of `out_bytes` that are held at a time. */
static uint64_t slab_for(const mlxn_cv_tensor *t, uint64_t out_bytes) {
    return mlxn_cv_rows_at_once(t->rows, out_bytes) * out_bytes;
}

static mlxn_status quantize_tensor(job *j, const mlxn_cv_tensor *t, mlxn_error *error) {
    const mlxn_group_info *groups = groups_of(j, t);
    bool affine = groups->mode == MLXN_QUANT_AFFINE;
    mlxn_st_dtype dtype = dtype_of(j, t);
    rows_job g = {.t = t,
                  .to = t->rule == MLXN_CV_FINE ? j->fine_format : j->format,
                  .scale_dtype = MLXN_U8,
                  .out_bytes = code_bytes(groups, t->cols)};
    g.scale_bytes = t->cols / groups->group_size * (affine ? mlxn_st_dtype_bits(dtype) / 8 : 1);
    mlxn_st_dtype_to_dtype(dtype, &g.from_dtype);
    if (affine) g.scale_dtype = g.from_dtype;
    uint64_t each = t->rows * g.scale_bytes, apart = each * (affine ? 2 : 1); /* far below the tensor's own bytes */
    mlxn_status status = mlxn_cv_reserve(&j->slab, apart + slab_for(t, g.out_bytes), error);
    if (status) return status;
    g.scales = j->slab.data;
    if (affine) g.biases = j->slab.data + each;
    status = encode_rows(j, &g, encode_groups, apart, error);
    if (!status) status = mlxn_safetensors_writer_write(j->writer, j->slab.data, each, error);
    if (!status && affine) status = mlxn_safetensors_writer_write(j->writer, j->slab.data + each, each, error);
    return status;
}

static mlxn_status cast_tensor(job *j, const mlxn_cv_tensor *t, mlxn_error *error) {
    mlxn_st_dtype dtype = dtype_of(j, t);
    rows_job g = {.t = t, .to = plain_format(dtype), .out_bytes = t->cols * (mlxn_st_dtype_bits(dtype) / 8)};
    mlxn_status status = mlxn_cv_reserve(&j->slab, slab_for(t, g.out_bytes), error);
    return status ? status : encode_rows(j, &g, encode_plain, 0, error);
}

/* Rows of `bytes`, as far apart as the tensor says, one behind the other. */
static mlxn_status copy_rows(job *j, const mlxn_cv_tensor *t, const uint8_t *from, uint64_t bytes,
                             mlxn_error *error) {
    uint64_t at_once = mlxn_cv_rows_at_once(t->rows, bytes), step = t->row_step ? t->row_step : 1, count = 0;
    mlxn_status status = mlxn_cv_reserve(&j->slab, at_once * bytes, error);
    for (uint64_t row = 0; !status && row < t->rows; row += count) {
        count = mlxn_min_u64(at_once, t->rows - row);
        for (uint64_t i = 0; i < count; i++) memcpy(j->slab.data + i * bytes, from + (row + i) * step * bytes, bytes);
        status = mlxn_safetensors_writer_write(j->writer, j->slab.data, count * bytes, error);
    }
    return status;
}

static mlxn_status pack_tensor(job *j, const mlxn_cv_tensor *t, mlxn_error *error) {
    mlxn_status status = copy_rows(j, t, t->data, t->bytes / t->rows, error);
    if (!status) status = copy_rows(j, t, t->scales, t->cols / packed_groups.group_size, error);
    return status ? status : mlxn_cv_step(&j->slab, t->bytes, j->source.bytes, error);
}

static mlxn_status copy_tensor(job *j, const mlxn_cv_tensor *t, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (uint64_t at = 0; !status && at < t->bytes; at += MLXN_CV_SLAB_BYTES) {
        uint64_t bytes = mlxn_min_u64(MLXN_CV_SLAB_BYTES, t->bytes - at);
        status = mlxn_safetensors_writer_write(j->writer, t->data + at, bytes, error);
        if (!status) status = mlxn_cv_step(&j->slab, bytes, j->source.bytes, error);
    }
    return status;
}

static mlxn_status write_data(job *j, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (uint64_t i = 0; !status && i < j->source.n; i++) {
        const mlxn_cv_tensor *t = &j->source.tensors[i];
        fate f = fate_of(j, t);
        status = f == QUANTIZED ? quantize_tensor(j, t, error)
                 : f == PACKED  ? pack_tensor(j, t, error)
                 : f == CAST    ? cast_tensor(j, t, error)
                                : copy_tensor(j, t, error);
        if (status == MLXN_ERR_ARGUMENT) mlxn_error_prefix(error, "tensor \"%.100s\"", t->name);
        mlxn_cv_release_pages(&j->source, t);
    }
    return status;
}

/* config.json and what belongs to the tokenizer. */
static mlxn_status write_rest(job *j, const char *path, mlxn_error *error) {
    bool overwrite = j->options->overwrite;
    const char *dtype = j->options->dtype ? mlxn_st_dtype_name(j->dtype) : NULL;
    mlxn_folder_change change = {.dtype = dtype};
    mlxn_status status = j->quantize || j->source.blocks ? describe(j, error) : MLXN_OK;
    change.quantization = (const char *)j->quantization.data;
    if (!status) status = mlxn_folder_write_config(path, j->source.config, &change, overwrite, error);
    if (status) return status;
    return j->source.gguf ? mlxn_gguf_write_tokenizer(j->source.gguf, path, overwrite, error)
                          : mlxn_folder_copy(j->source_path, path, overwrite, error);
}

static mlxn_status convert(job *j, const char *path, mlxn_error *error) {
    struct stat info;
    mlxn_status status = read_type(j, error);
    if (status) return status;
    bool folder = !stat(j->source_path, &info) && S_ISDIR(info.st_mode);
    status = folder ? mlxn_cv_open_folder(j->source_path, &j->source, error)
                    : mlxn_cv_open_gguf(j->source_path, &j->source, error);
    if (!status) status = read_dtype(j, error);
    if (!status && (j->quantize || j->source.blocks)) status = mlxn_cv_mlx_layout(&j->source, j->source_path, error);
    if (!status) status = mlxn_folder_make(j->source_path, path, error);
    if (!status)
        status =
            mlxn_safetensors_writer_create(path, j->options->shard_bytes, j->options->overwrite, &j->writer, error);
    if (!status) status = declare_tensors(j, error);
    if (!status) status = write_data(j, error);
    if (!status) status = write_rest(j, path, error);
    if (!status) status = mlxn_safetensors_writer_finish(&j->writer, error);
    return status;
}

mlxn_status mlxn_convert_folder(const char *source, const char *path, const mlxn_convert_options *given,
                                mlxn_quantize_result *result, mlxn_error *error) {
    mlxn_convert_options options = {0};
    mlxn_error failure = {0};
    mlxn_status status = mlxn_cv_begin("convert", source, path, given, &options, sizeof options, result, error);
    if (status) return status;
    job j = {.options = &options,
             .source_path = source,
             .slab = {.what = "convert", .progress = options.progress, .progress_user = options.progress_user}};
    status = convert(&j, path, &failure);
    mlxn_safetensors_writer_destroy(j.writer);
    mlxn_cv_close(&j.source);
    mlxn_free(j.slab.data);
    mlxn_bytes_free(&j.quantization);
    return mlxn_cv_end(status, &failure, &j.result, result, error);
}
