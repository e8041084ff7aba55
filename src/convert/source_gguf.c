/* source_gguf.c: the tensors of a GGUF model under the names, in the row order and with the norms of folders: what
 * the tables of the architectures (lm/arch) say, read backwards. */
#include <inttypes.h>
#include <stdio.h>

#include "convert/source.h"
#include "lm/lm_internal.h"

static const struct {
    const char *gguf, *folder;
} common[] = {{"token_embd.weight", "model.embed_tokens.weight"},
              {"output_norm.weight", "model.norm.weight"},
              {"output.weight", "lm_head.weight"}};

/* What becomes of one tensor's name. */
typedef struct place {
    char name[200];
    bool vector, turned; /* turned: rows lie as pairs */
    bool vectors;        /* one for each expert */
    const char *each;    /* a stack of which folders keep the matrices one by one: the name with %u */
    uint64_t layer;
} place;

static bool is(mlxn_string s, const char *text) { return s.size == strlen(text) && !memcmp(s.data, text, s.size); }

static bool find_common(mlxn_string name, place *out) {
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) {
        if (!is(name, common[i].gguf)) continue;
        snprintf(out->name, sizeof out->name, "%s", common[i].folder);
        out->vector = i == 1;
        return true;
    }
    return false;
}

/* "blk.<i>.<name>" by the architecture's table. */
static bool find_layer(const mlxn_lm_arch *arch, mlxn_string name, place *out) {
    static const char prefix[] = "blk.";
    uint64_t at = sizeof prefix - 1, layer = 0;
    if (name.size < at || memcmp(name.data, prefix, (size_t)at)) return false;
    for (; at < name.size && name.data[at] >= '0' && name.data[at] <= '9' && layer < 1000000; at++)
        layer = 10 * layer + (uint64_t)(name.data[at] - '0');
    if (at >= name.size || name.data[at] != '.') return false;
    const mlxn_string rest = {name.data + at + 1, name.size - at - 1};
    for (const mlxn_lm_tensor_spec *spec = arch->layer_tensors; !mlxn_lm_spec_ends(spec); spec++) {
        if (!spec->names.gguf || !spec->names.folder || !is(rest, spec->names.gguf)) continue;
        snprintf(out->name, sizeof out->name, "model.layers.%" PRIu64 ".%s", layer, spec->names.folder);
        out->vectors = spec->cols == MLXN_LM_NONE && spec->experts;
        out->vector = spec->cols == MLXN_LM_NONE && !spec->experts;
        out->each = spec->each;
        out->layer = layer;
        size_t m = spec->member;
        out->turned = arch->gguf_pairing == MLXN_ROPE_INTERLEAVED &&
                      (m == offsetof(mlxn_lm_layer, q) || m == offsetof(mlxn_lm_layer, k) ||
                       m == offsetof(mlxn_lm_layer, q_bias) || m == offsetof(mlxn_lm_layer, k_bias));
        return true;
    }
    return false;
}

static mlxn_status fail(const char *path, const mlxn_gguf_tensor *t, mlxn_error *error, const char *text) {
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: tensor \"%.*s\": %s", path,
                     (int)mlxn_min_u64(t->name.size, 100), t->name.data, text);
}

/* The matrices of a stack under names of their own. */
static mlxn_status add_each(mlxn_cv_source *s, const char *path, const place *to, const mlxn_cv_tensor *stack,
                            mlxn_error *error) {
    const char *number = strstr(to->each, "%u");
    uint64_t n = stack->dims[0];
    for (uint64_t e = 0; e < n; e++) {
        char name[200];
        mlxn_cv_tensor one = *stack;
        snprintf(name, sizeof name, "model.layers.%" PRIu64 ".%.*s%" PRIu64 "%s", to->layer, (int)(number - to->each),
                 to->each, e, number + 2);
        one.rank = 2;
        one.dims[0] = stack->dims[1];
        one.dims[1] = stack->dims[2];
        one.rows = stack->rows / n;
        one.bytes = stack->bytes / n;
        one.data = stack->data + e * one.bytes;
        one.name = mlxn_strdup(name);
        if (!mlxn_cv_add(s, &one))
            return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for its tensors", path);
    }
    return MLXN_OK;
}

static mlxn_status add(mlxn_cv_source *s, const mlxn_lm_arch *arch, const char *path, uint64_t index,
                       const mlxn_gguf_tensor *t, uint64_t head, mlxn_error *error) {
    place to = {.vector = false};
    if (is(t->name, "rope_freqs.weight") || is(t->name, "rope_factors_short.weight") ||
        is(t->name, "rope_factors_long.weight"))
        return MLXN_OK; /* config.json says it in numbers */
    if (!find_common(t->name, &to) && !find_layer(arch, t->name, &to))
        return fail(path, t, error, "folders of this architecture have no name for it");
    if (!t->known) return fail(path, t, error, "its type cannot be decoded");
    mlxn_cv_tensor out = {.dtype = t->type == MLXN_FORMAT_F32    ? MLXN_ST_F32
                                   : t->type == MLXN_FORMAT_F16  ? MLXN_ST_F16
                                   : t->type == MLXN_FORMAT_BF16 ? MLXN_ST_BF16
                                                                 : MLXN_ST_UNKNOWN,
                          .format = (mlxn_format)t->type,
                          .rank = to.vector ? 1 : t->rank,
                          .bytes = t->bytes,
                          .data = t->data,
                          .index = index};
    memcpy(out.dims, t->dims, sizeof t->dims);
    out.cols = t->dims[t->rank - 1];
    out.rows = t->elements / out.cols;
    if (to.vector && t->rank != 1) return fail(path, t, error, "is no vector");
    if (to.turned) out.head = (uint32_t)head;
    if (to.turned && (to.vector ? out.cols : out.rows) % head)
        return fail(path, t, error, "its rows are no whole heads");
    if (to.vector) out.shift = -arch->folder_vector_shift;
    if (to.each && t->rank == 3) return add_each(s, path, &to, &out, error);
    out.name = mlxn_strdup(to.name);
    if (mlxn_cv_add(s, &out)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for its tensors", path);
}

/* Of queries and keys. */
static mlxn_status head_length(const mlxn_gguf *file, const mlxn_lm_arch *arch, const char *path, uint64_t *out,
                               mlxn_error *error) {
    char key[160];
    uint64_t width, heads;
    snprintf(key, sizeof key, "%s.attention.key_length", arch->gguf);
    if (!mlxn_gguf_get_u64(file, key, out, NULL) && *out >= 2 && *out <= 1024 && *out % 2 == 0) return MLXN_OK;
    snprintf(key, sizeof key, "%s.embedding_length", arch->gguf);
    mlxn_status status = mlxn_gguf_get_u64(file, key, &width, error);
    snprintf(key, sizeof key, "%s.attention.head_count", arch->gguf);
    if (!status) status = mlxn_gguf_get_u64(file, key, &heads, error);
    if (status) return status;
    *out = heads ? width / heads : 0;
    if (*out >= 2 && *out <= 1024 && *out % 2 == 0) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: heads of %" PRIu64 " elements, want an even number up to 1024",
                     path, *out);
}

mlxn_status mlxn_cv_open_gguf(const char *path, mlxn_cv_source *out, mlxn_error *error) {
    mlxn_string name;
    mlxn_gguf_tensor t;
    uint64_t head;
    mlxn_status status = mlxn_gguf_open(path, &out->gguf, error);
    if (!status) status = mlxn_gguf_get_string(out->gguf, "general.architecture", &name, error);
    if (status) return status;
    const mlxn_lm_arch *arch = mlxn_lm_arch_find(name, false);
    if (!arch)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: architecture is \"%.*s\", want one of %s", path,
                         (int)mlxn_min_u64(name.size, 60), name.data, mlxn_lm_arch_names());
    status = head_length(out->gguf, arch, path, &head, error);
    for (uint64_t i = 0; !status && mlxn_gguf_tensor_at(out->gguf, i, &t); i++)
        status = add(out, arch, path, i, &t, head, error);
    if (status) return status;
    bool tied = !mlxn_gguf_find_tensor(out->gguf, "output.weight", &t);
    if (!mlxn_gguf_find_tensor(out->gguf, "token_embd.weight", &t) || t.rank != 2)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: there is no matrix \"token_embd.weight\"", path);
    return mlxn_cv_gguf_config(out->gguf, t.dims[0], tied, &out->config, error);
}
