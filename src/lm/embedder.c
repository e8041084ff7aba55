/* embedder.c: vectors of texts: BERT's encoder over the tokens of several texts at a time. Each attends within
 * itself. */
#include "lm/embedder.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DEFAULT_BATCH = 2048 };

/* ---- making ---- */

static mlxn_status make_work(mlxn_embedder *m, uint32_t n_batch, mlxn_error *error) {
    const mlxn_emb_shape *s = &m->shape;
    m->n_batch = (uint32_t)mlxn_max_u64(n_batch ? n_batch : DEFAULT_BATCH, s->n_ctx);
    const struct {
        mlxn_buffer **buffer;
        uint64_t width;
    } list[] = {{&m->x, s->n_embd}, {&m->h, s->n_embd},  {&m->q, s->n_embd},  {&m->k, s->n_embd},
                {&m->v, s->n_embd}, {&m->kc, s->n_embd}, {&m->vc, s->n_embd}, {&m->att, s->n_embd},
                {&m->up, s->n_ff},  {&m->inputs, 3}};
    m->staging = mlxn_alloc_array(m->n_batch, 3 * sizeof *m->staging);
    if (!m->staging) return mlxn_fail(error, MLXN_ERR_MEMORY, "embedder: no memory for %u tokens", m->n_batch);
    mlxn_status status = MLXN_OK;
    for (size_t i = 0; !status && i < sizeof list / sizeof list[0]; i++)
        status = mlxn_buffer_create(m->device, (uint64_t)m->n_batch * 4 * list[i].width, list[i].buffer, error);
    if (!status) status = mlxn_encoder_create(m->device, &m->encoder, error);
    if (status) mlxn_error_prefix(error, "embedder: buffers of %u tokens", m->n_batch);
    return status;
}

static char *name_of(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return mlxn_strndup(path + begin, end - begin);
}

static mlxn_status load(mlxn_embedder *m, const char *path, const mlxn_embedder_desc *desc, mlxn_error *error) {
    struct stat info;
    bool folder = !stat(path, &info) && S_ISDIR(info.st_mode);
    mlxn_status status = folder ? mlxn_lm_source_open_folder(path, &m->source, error)
                                : mlxn_lm_source_open_gguf(path, &m->source, error);
    if (!status) status = mlxn_emb_load(m, path, error);
    if (desc->pooling) m->pooling = desc->pooling;
    if (desc->normalize) m->normalize = desc->normalize == MLXN_NORMALIZE_YES;
    return status ? status : make_work(m, desc->n_batch, error);
}

mlxn_status mlxn_embedder_load(mlxn_device *device, const char *path, const mlxn_embedder_desc *given,
                               mlxn_embedder **out, mlxn_error *error) {
    mlxn_embedder_desc desc = {0};
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embedder: out is NULL");
    *out = NULL;
    if (!device || !path || !*path)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embedder: %s", device ? "path is empty" : "device is NULL");
    if (given && !given->struct_size) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embedder: desc.struct_size is 0");
    if (given) memcpy(&desc, given, mlxn_min_u64(given->struct_size, sizeof desc));
    if ((unsigned)desc.pooling > MLXN_POOL_LAST || (unsigned)desc.normalize > MLXN_NORMALIZE_NO)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "embedder: pooling is %d, want 0 to %d; normalize is %d, want 0 to %d", (int)desc.pooling,
                         MLXN_POOL_LAST, (int)desc.normalize, MLXN_NORMALIZE_NO);
    mlxn_embedder *m = mlxn_alloc(sizeof *m);
    if (!m) return mlxn_fail(error, MLXN_ERR_MEMORY, "embedder: no memory");
    m->device = mlxn_device_retain(device);
    m->path_name = name_of(path);
    mlxn_status status =
        m->path_name ? load(m, path, &desc, error) : mlxn_fail(error, MLXN_ERR_MEMORY, "embedder: no memory");
    if (status) {
        mlxn_embedder_destroy(m);
        return status;
    }
    *out = m;
    return mlxn_succeed(error);
}

void mlxn_embedder_destroy(mlxn_embedder *m) {
    if (!m) return;
    mlxn_encoder_destroy(m->encoder);
    for (uint32_t i = 0; m->layers && i < m->shape.n_layers; i++) {
        mlxn_emb_layer *l = &m->layers[i];
        mlxn_weight **weights[] = {&l->q.w, &l->k.w, &l->v.w, &l->o.w, &l->up.w, &l->down.w};
        for (size_t k = 0; k < sizeof weights / sizeof weights[0]; k++) mlxn_weight_release(weights[k]);
    }
    mlxn_weight_release(&m->tokens);
    mlxn_buffer **buffers[] = {&m->vectors, &m->inputs, &m->x,  &m->h,   &m->q, &m->k,
                               &m->v,       &m->kc,     &m->vc, &m->att, &m->up};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) mlxn_buffer_release(buffers[i]);
    for (uint32_t i = 0; m->parts && m->source && i < m->source->part_count; i++) mlxn_buffer_release(&m->parts[i]);
    mlxn_lm_source_close(m->source);
    mlxn_tokenizer_destroy(m->tokenizer);
    mlxn_free(m->parts);
    mlxn_free(m->layers);
    mlxn_free(m->staging);
    mlxn_free(m->path_name);
    mlxn_device_release(&m->device);
    mlxn_free(m);
}

mlxn_status mlxn_embedder_get_info(const mlxn_embedder *m, mlxn_embedder_info *out) {
    if (!m || !out || !out->struct_size) return MLXN_ERR_ARGUMENT;
    const mlxn_emb_shape *s = &m->shape;
    const mlxn_embedder_info info = {out->struct_size, s->n_embd,     s->n_layers, s->n_heads,   s->n_vocab,
                                     s->n_ctx,         m->max_length, m->pooling,  m->normalize, m->n_params};
    memcpy(out, &info, mlxn_min_u64(out->struct_size, sizeof info));
    return MLXN_OK;
}

/* ---- a pass ---- */

static mlxn_tensor rows(mlxn_buffer *b, uint32_t n, uint64_t width) {
    return mlxn_tensor_2d(b, 0, MLXN_F32, n, width);
}

/* Each text's queries against its own keys. */
static void attend(mlxn_embedder *m, const uint32_t *lengths, size_t n_texts) {
    const mlxn_emb_shape *s = &m->shape;
    const mlxn_tensor none = {0};
    const mlxn_kv_write_params types = {0};
    const uint32_t d = s->n_embd / s->n_heads;
    const mlxn_attention_params params = {.scale = 1 / sqrtf((float)d), .visible = MLXN_MASK_NONE};
    uint64_t start = 0;
    for (size_t i = 0; i < n_texts; i++) {
        uint32_t n = lengths[i];
        uint64_t at = start * s->n_embd * 4;
        mlxn_tensor positions = mlxn_tensor_1d(m->inputs, (m->n_batch + start) * 4, MLXN_U32, n);
        mlxn_tensor zeros = mlxn_tensor_1d(m->inputs, ((uint64_t)2 * m->n_batch + start) * 4, MLXN_U32, n);
        mlxn_tensor k = mlxn_tensor_3d(m->k, at, MLXN_F32, n, s->n_heads, d),
                    v = mlxn_tensor_3d(m->v, at, MLXN_F32, n, s->n_heads, d);
        mlxn_tensor kc = mlxn_tensor_4d(m->kc, at, MLXN_F32, 1, s->n_heads, n, d),
                    vc = mlxn_tensor_4d(m->vc, at, MLXN_F32, 1, s->n_heads, n, d);
        mlxn_tensor q = mlxn_tensor_3d(m->q, at, MLXN_F32, n, s->n_heads, d),
                    out = mlxn_tensor_3d(m->att, at, MLXN_F32, n, s->n_heads, d);
        mlxn_kv_write(m->encoder, k, v, zeros, positions, kc, vc, &types);
        mlxn_attention(m->encoder, q, kc, vc, zeros, positions, none, none, out, &params);
        start += n;
    }
}

static void record(mlxn_embedder *m, const uint32_t *lengths, size_t n_texts, uint32_t n) {
    const mlxn_emb_shape *s = &m->shape;
    const mlxn_tensor none = {0};
    const mlxn_row_norm_params norm = {.kind = MLXN_NORM_LAYER, .eps = s->eps};
    const mlxn_unary_params activation = {.fn = s->activation};
    const mlxn_embedding_params plain = {0};
    mlxn_encoder *e = m->encoder;
    mlxn_tensor x = rows(m->x, n, s->n_embd), h = rows(m->h, n, s->n_embd), up = rows(m->up, n, s->n_ff);
    mlxn_tensor q = rows(m->q, n, s->n_embd), k = rows(m->k, n, s->n_embd), v = rows(m->v, n, s->n_embd),
                att = rows(m->att, n, s->n_embd);
    mlxn_tensor tokens = mlxn_tensor_1d(m->inputs, 0, MLXN_U32, n),
                positions = mlxn_tensor_1d(m->inputs, m->n_batch * (uint64_t)4, MLXN_U32, n);
    mlxn_embedding(e, tokens, m->tokens, x, &plain);
    mlxn_gather(e, m->positions, positions, h);
    mlxn_row_norm(e, x, h, m->norm.w, m->norm.bias, none, none, none, x, &norm);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const mlxn_emb_layer *l = &m->layers[i];
        mlxn_matmul(e, x, l->q.w, l->q.bias, none, q);
        mlxn_matmul(e, x, l->k.w, l->k.bias, none, k);
        mlxn_matmul(e, x, l->v.w, l->v.bias, none, v);
        attend(m, lengths, n_texts);
        mlxn_matmul(e, att, l->o.w, l->o.bias, x, h);
        mlxn_row_norm(e, h, none, l->attention.w, l->attention.bias, none, none, none, x, &norm);
        mlxn_matmul(e, x, l->up.w, l->up.bias, none, up);
        mlxn_unary(e, up, up, &activation);
        mlxn_matmul(e, up, l->down.w, l->down.bias, x, h);
        mlxn_row_norm(e, h, none, l->out.w, l->out.bias, none, none, none, x, &norm);
    }
}

/* Of one text's rows. */
static void pool(const mlxn_embedder *m, const float *x, uint32_t n, float *out) {
    uint32_t width = m->shape.n_embd, first = m->pooling == MLXN_POOL_LAST ? n - 1 : 0;
    uint32_t end = m->pooling == MLXN_POOL_CLS ? 1 : n;
    double length = 0;
    for (uint32_t c = 0; c < width; c++) {
        double sum = 0;
        for (uint32_t r = first; r < end; r++) sum += (double)x[(uint64_t)r * width + c];
        sum /= end - first;
        out[c] = (float)sum;
        length += sum * sum;
    }
    length = sqrt(length);
    for (uint32_t c = 0; m->normalize && length > 0 && c < width; c++) out[c] = (float)((double)out[c] / length);
}

static mlxn_status run(mlxn_embedder *m, const mlxn_token *ids, const uint32_t *lengths, size_t n_texts, uint32_t n,
                       float *host, float *out, mlxn_error *error) {
    uint32_t width = m->shape.n_embd;
    uint64_t at = 0;
    for (size_t i = 0; i < n_texts; i++)
        for (uint32_t p = 0; p < lengths[i]; p++, at++) {
            m->staging[at] = (uint32_t)ids[at];
            m->staging[m->n_batch + at] = p;
        }
    mlxn_status status = mlxn_buffer_write(m->inputs, 0, m->staging, 12 * (uint64_t)m->n_batch, error);
    if (status) return status;
    record(m, lengths, n_texts, n);
    status = mlxn_encoder_commit_and_wait(m->encoder, "embed", error);
    if (!status) status = mlxn_buffer_read(m->x, 0, host, 4 * (uint64_t)n * width, error);
    at = 0;
    for (size_t i = 0; !status && i < n_texts; i++) {
        pool(m, host + at * width, lengths[i], out + i * width);
        at += lengths[i];
    }
    return status;
}

mlxn_status mlxn_embed_ids(mlxn_embedder *m, const mlxn_token *ids, const uint32_t *lengths, size_t n, float *out,
                           mlxn_error *error) {
    if (!m || (n && (!ids || !lengths || !out)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: %s is NULL", m ? "ids, lengths or out" : "embedder");
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (lengths[i] < 1 || lengths[i] > m->shape.n_ctx)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: text %zu has %u tokens, want 1 to %u", i, lengths[i],
                             m->shape.n_ctx);
        for (uint32_t k = 0; k < lengths[i]; k++, at++)
            if (ids[at] < 0 || (uint32_t)ids[at] >= m->shape.n_vocab)
                return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: text %zu: token %u is %d, want 0 to %u", i, k,
                                 ids[at], m->shape.n_vocab - 1);
    }
    float *host = mlxn_alloc_array(m->n_batch, sizeof *host * m->shape.n_embd);
    if (!host) return mlxn_fail(error, MLXN_ERR_MEMORY, "embed: no memory for %u tokens", m->n_batch);
    mlxn_status status = MLXN_OK;
    for (size_t i = 0, count; !status && i < n; i += count) {
        uint32_t tokens = 0;
        for (count = 0; i + count < n && lengths[i + count] <= m->n_batch - tokens; count++)
            tokens += lengths[i + count];
        status = run(m, ids, lengths + i, count, tokens, host, out + i * m->shape.n_embd, error);
        ids += tokens;
    }
    mlxn_free(host);
    return status ? status : mlxn_succeed(error);
}

/* ---- texts ---- */

typedef struct batch {
    mlxn_token *ids;
    uint32_t *lengths;
    uint64_t n, room;
    size_t n_cut;
} batch;

static mlxn_status add_text(mlxn_embedder *m, batch *b, size_t i, const char *text, size_t bytes, mlxn_error *error) {
    mlxn_token *ids = NULL;
    size_t n = 0;
    mlxn_status status = mlxn_tokenizer_encode(m->tokenizer, text, bytes, 0, &ids, &n, error);
    if (status) {
        mlxn_error_prefix(error, "embed: text %zu", i);
        return status;
    }
    if (n > m->max_length) {
        ids[m->max_length - 1] = ids[n - 1]; /* the token that closes the text */
        n = m->max_length;
        b->n_cut++;
    }
    if (b->n + n > b->room) {
        uint64_t room = 2 * (b->n + n) + 1024;
        void *grown = mlxn_realloc_array(b->ids, (size_t)room, sizeof *b->ids);
        if (!grown) status = mlxn_fail(error, MLXN_ERR_MEMORY, "embed: no memory for the ids of text %zu", i);
        if (grown) b->ids = grown, b->room = room;
    }
    if (!status && n) memcpy(b->ids + b->n, ids, n * sizeof *ids);
    if (!status && !n) status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: text %zu has no tokens", i);
    b->lengths[i] = (uint32_t)n;
    b->n += n;
    mlxn_free_memory(ids);
    return status;
}

mlxn_status mlxn_embed_texts(mlxn_embedder *m, const char *const *texts, const size_t *bytes, size_t n, float *out,
                             size_t *n_cut, mlxn_error *error) {
    if (n_cut) *n_cut = 0;
    if (!m || (n && (!texts || !out)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: %s is NULL", m ? "texts or out" : "embedder");
    if (!m->tokenizer)
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: there is no tokenizer.json, and texts need one",
                         m->path_name);
    batch b = {.lengths = mlxn_alloc_array(n, sizeof *b.lengths)};
    mlxn_status status = b.lengths ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "embed: no memory for %zu texts", n);
    for (size_t i = 0; !status && i < n; i++)
        status = texts[i] ? add_text(m, &b, i, texts[i], bytes ? bytes[i] : strlen(texts[i]), error)
                          : mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: text %zu is NULL", i);
    if (!status) status = mlxn_embed_ids(m, b.ids, b.lengths, n, out, error);
    if (n_cut) *n_cut = b.n_cut;
    mlxn_free(b.ids);
    mlxn_free(b.lengths);
    return status;
}
