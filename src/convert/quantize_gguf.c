/* quantize_gguf.c: a GGUF file with its matrices in another format. Keys and tensors keep their order. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "convert/encode_rows.h"
#include "convert/quantize_types.h"
#include "convert/slab.h"

typedef struct plan {
    mlxn_format format; /* of each tensor */
    bool encode;
} plan;

typedef struct job {
    const mlxn_quantize_options *options;
    const mlxn_quantize_type *type;
    mlxn_format output, embedding; /* -1: as the type says */
    mlxn_gguf *source;
    mlxn_gguf_writer *writer;
    plan *plans;
    mlxn_cv_slab slab;
    mlxn_quantize_result result;
} job;

static const char *shown(const mlxn_gguf_tensor *t, char out[128]) {
    snprintf(out, 128, "tensor \"%.*s\"", (int)mlxn_min_u64(t->name.size, 100), t->name.data);
    return out;
}

/* ---- what becomes what ---- */

static mlxn_status find_type(const char *what, const char *name, const mlxn_quantize_type **out, mlxn_error *error) {
    *out = mlxn_quantize_type_find(name);
    if (*out) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "quantize: %s is \"%.60s\", want a type such as q4_k_m, q8_0 or f16",
                     what, name ? name : "");
}

static mlxn_status read_options(job *j, mlxn_error *error) {
    const mlxn_quantize_type *one;
    mlxn_status status = find_type("type", j->options->type, &j->type, error);
    j->output = j->embedding = (mlxn_format)-1;
    if (!status && j->options->output_type) {
        status = find_type("output type", j->options->output_type, &one, error);
        if (!status) j->output = one->format;
    }
    if (!status && j->options->embedding_type) {
        status = find_type("embedding type", j->options->embedding_type, &one, error);
        if (!status) j->embedding = one->format;
    }
    return status;
}

static bool is_plain(uint32_t type) {
    return type == MLXN_FORMAT_F32 || type == MLXN_FORMAT_F16 || type == MLXN_FORMAT_BF16;
}

static mlxn_status plan_tensor(job *j, const mlxn_gguf_tensor *t, uint64_t n_layers, bool tied, plan *p,
                               mlxn_error *error) {
    char name[128];
    mlxn_tensor_use use = mlxn_quantize_use_of(t);
    if (use == MLXN_USE_EMBEDDING && tied) use = MLXN_USE_OUTPUT;
    mlxn_format want = mlxn_quantize_format_of(j->type, t, n_layers, tied);
    if (use == MLXN_USE_OUTPUT && (int)j->output >= 0) want = j->output;
    if (use == MLXN_USE_EMBEDDING && (int)j->embedding >= 0) want = j->embedding;
    p->format = (mlxn_format)t->type;
    if (!t->bytes)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: type %u is of unknown size", shown(t, name), t->type);
    if (want == (mlxn_format)t->type) return MLXN_OK;
    if (!t->known)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: %s cannot be decoded", shown(t, name),
                         mlxn_gguf_tensor_type_name(t->type));
    if (!is_plain(t->type) && !j->options->requantize)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is %s already, and quantizing it again was not asked for",
                         shown(t, name), mlxn_gguf_tensor_type_name(t->type));
    p->format = mlxn_quantize_fallback(want, t->dims[t->rank - 1]);
    p->encode = p->format != (mlxn_format)t->type;
    j->result.fallbacks += p->format != want;
    j->result.quantized += p->encode;
    return MLXN_OK;
}

static uint64_t count_layers(const mlxn_gguf *file) {
    mlxn_string architecture;
    char key[160];
    uint64_t n = 0;
    if (mlxn_gguf_get_string(file, "general.architecture", &architecture, NULL) || architecture.size > 100) return 0;
    snprintf(key, sizeof key, "%.*s.block_count", (int)architecture.size, architecture.data);
    return mlxn_gguf_get_u64(file, key, &n, NULL) ? 0 : mlxn_min_u64(n, 1u << 20);
}

static mlxn_status make_plans(job *j, mlxn_error *error) {
    uint64_t n = mlxn_gguf_tensor_count(j->source), n_layers = count_layers(j->source);
    mlxn_gguf_tensor t;
    bool tied = !mlxn_gguf_find_tensor(j->source, "output.weight", &t);
    j->plans = mlxn_alloc_array((size_t)n, sizeof *j->plans);
    if (!j->plans) return mlxn_fail(error, MLXN_ERR_MEMORY, "quantize: out of memory for %" PRIu64 " tensors", n);
    j->result.tensors = n;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(j->source, i, &t); i++) {
        mlxn_status status = plan_tensor(j, &t, n_layers, tied, &j->plans[i], error);
        if (status) return status;
        j->result.source_bytes += t.bytes;
    }
    return MLXN_OK;
}

/* ---- records ---- */

static mlxn_status copy_keys(job *j, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (uint64_t i = 0; !status && i < mlxn_gguf_key_count(j->source); i++) {
        mlxn_string name = mlxn_gguf_key(j->source, i);
        mlxn_gguf_value value = mlxn_gguf_value_at(j->source, i);
        if (name.size > 6 && !memcmp(name.data, "split.", 6)) continue; /* the result is one file */
        char *copy = mlxn_strndup(name.data, (size_t)name.size);
        if (!copy) return mlxn_fail(error, MLXN_ERR_MEMORY, "quantize: out of memory for a key");
        status = mlxn_gguf_writer_set(j->writer, copy, &value, error);
        mlxn_free(copy);
    }
    if (!status) status = mlxn_gguf_writer_set_u32(j->writer, "general.quantization_version", 2, error);
    if (!status) status = mlxn_gguf_writer_set_u32(j->writer, "general.file_type", j->type->file_type, error);
    return status;
}

static mlxn_status declare_tensors(job *j, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    mlxn_gguf_tensor t;
    for (uint64_t i = 0; !status && mlxn_gguf_tensor_at(j->source, i, &t); i++) {
        char *name = mlxn_strndup(t.name.data, (size_t)t.name.size);
        if (!name) return mlxn_fail(error, MLXN_ERR_MEMORY, "quantize: out of memory for a name");
        status = mlxn_gguf_writer_add_tensor(j->writer, name, (uint32_t)j->plans[i].format, t.rank, t.dims, error);
        mlxn_free(name);
        j->result.bytes += mlxn_gguf_writer_tensor_bytes(j->writer, i);
    }
    return status;
}

/* ---- data ---- */

static mlxn_status encode_tensor(job *j, const mlxn_gguf_tensor *t, const plan *p, mlxn_error *error) {
    mlxn_rows_job rows = {.from = (mlxn_format)t->type, .to = p->format, .cols = t->dims[t->rank - 1]};
    uint64_t n = t->elements / rows.cols;
    mlxn_status status = mlxn_format_row_bytes(rows.from, rows.cols, &rows.src_row_bytes, error);
    if (!status) status = mlxn_format_row_bytes(rows.to, rows.cols, &rows.dst_row_bytes, error);
    if (status) return status;
    uint64_t at_once = mlxn_cv_rows_at_once(n, rows.dst_row_bytes), count = 0;
    status = mlxn_cv_reserve(&j->slab, at_once * rows.dst_row_bytes, error);
    for (uint64_t row = 0; !status && row < n; row += count) {
        count = mlxn_min_u64(at_once, n - row);
        rows.src = t->data + row * rows.src_row_bytes;
        rows.dst = j->slab.data;
        status = mlxn_each_row(mlxn_encode_row, &rows, count, rows.cols, j->options->threads, error);
        if (status && row) mlxn_error_prefix(error, "behind row %" PRIu64, row);
        if (!status) status = mlxn_gguf_writer_write(j->writer, j->slab.data, count * rows.dst_row_bytes, error);
        if (!status) status = mlxn_cv_step(&j->slab, count * rows.src_row_bytes, j->result.source_bytes, error);
    }
    return status;
}

static mlxn_status copy_tensor(job *j, const mlxn_gguf_tensor *t, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (uint64_t at = 0; !status && at < t->bytes; at += MLXN_CV_SLAB_BYTES) {
        uint64_t bytes = mlxn_min_u64(MLXN_CV_SLAB_BYTES, t->bytes - at);
        status = mlxn_gguf_writer_write(j->writer, t->data + at, bytes, error);
        if (!status) status = mlxn_cv_step(&j->slab, bytes, j->result.source_bytes, error);
    }
    return status;
}

static mlxn_status write_data(job *j, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    mlxn_gguf_tensor t;
    for (uint64_t i = 0; !status && mlxn_gguf_tensor_at(j->source, i, &t); i++) {
        char name[128];
        status = j->plans[i].encode ? encode_tensor(j, &t, &j->plans[i], error) : copy_tensor(j, &t, error);
        if (status == MLXN_ERR_ARGUMENT) mlxn_error_prefix(error, "%s", shown(&t, name));
        mlxn_gguf_release_pages(j->source, &t);
    }
    return status;
}

/* Replacing a file while it is read would be writing into one's own source. */
static mlxn_status check_paths(const char *source, const char *path, mlxn_error *error) {
    struct stat a, b;
    if (!stat(source, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is the source itself", path);
    return MLXN_OK;
}

mlxn_status mlxn_quantize_gguf(const char *source, const char *path, const mlxn_quantize_options *given,
                               mlxn_quantize_result *result, mlxn_error *error) {
    mlxn_quantize_options options = {0};
    mlxn_error failure = {0};
    mlxn_status status = mlxn_cv_begin("quantize", source, path, given, &options, sizeof options, result, error);
    if (status) return status;
    if (!given) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "quantize: options: NULL");
    job j = {.options = &options,
             .slab = {.what = "quantize", .progress = options.progress, .progress_user = options.progress_user}};
    status = read_options(&j, &failure);
    if (!status) status = mlxn_gguf_open(source, &j.source, &failure);
    if (!status) status = check_paths(source, path, &failure);
    if (!status) status = make_plans(&j, &failure);
    if (!status) status = mlxn_gguf_writer_create(path, options.overwrite, &j.writer, &failure);
    if (!status) status = copy_keys(&j, &failure);
    if (!status) status = declare_tensors(&j, &failure);
    if (!status) status = write_data(&j, &failure);
    if (!status) status = mlxn_gguf_writer_finish(&j.writer, &failure);
    mlxn_gguf_writer_destroy(j.writer);
    mlxn_gguf_close(j.source);
    mlxn_free(j.plans);
    mlxn_free(j.slab.data);
    return mlxn_cv_end(status, &failure, &j.result, result, error);
}
