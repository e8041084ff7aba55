/* embedder.c: vectors of texts: an encoder over the tokens of several texts at a time, each of which attends within
 * itself: BERT's, which is here, or another model (embedder_lm.c). What becomes of the rows: pooling, dense layers.
 */
#include "lm/embedder.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DEFAULT_BATCH = 2048 };

/* ---- making ---- */

/* BERT's. */
static mlxn_status make_bert_work(mlxn_embedder *m, mlxn_error *error) {
    const mlxn_emb_shape *s = &m->shape;
    const struct {
        mlxn_buffer **buffer;
        uint64_t width;
    } list[] = {{&m->x, s->n_embd},  {&m->h, s->n_embd},   {&m->q, s->n_embd},
                {&m->k, s->n_embd},  {&m->v, s->n_embd},   {&m->kc, s->n_embd},
                {&m->vc, s->n_embd}, {&m->att, s->n_embd}, {&m->up, s->n_ff}};
    mlxn_status status = MLXN_OK;
    for (size_t i = 0; !status && i < sizeof list / sizeof list[0]; i++)
        status = mlxn_buffer_create(m->device, (uint64_t)m->n_batch * 4 * list[i].width, list[i].buffer, error);
    return status;
}

static void free_work(mlxn_embedder *m) {
    mlxn_buffer **buffers[] = {&m->inputs, &m->x, &m->h, &m->q, &m->k, &m->v, &m->kc, &m->vc, &m->att, &m->up};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) mlxn_buffer_release(buffers[i]);
    if (m->lm) mlxn_lm_work_destroy(m->lm, &m->work);
    mlxn_free(m->staging);
    m->staging = NULL;
    m->n_batch = 0;
}

/* Room for passes of n tokens. */
static mlxn_status make_work(mlxn_embedder *m, uint32_t n, mlxn_error *error) {
    free_work(m);
    m->staging = mlxn_alloc_array(n, 3 * sizeof *m->staging);
    if (!m->staging) return mlxn_fail(error, MLXN_ERR_MEMORY, "embedder: no memory for %u tokens", n);
    m->n_batch = n;
    mlxn_status status = mlxn_buffer_create(m->device, (uint64_t)n * 12, &m->inputs, error);
    if (!status) status = m->lm ? mlxn_emb_make_lm_work(m, error) : make_bert_work(m, error);
    if (!status && !m->encoder) status = mlxn_encoder_create(m->device, &m->encoder, error);
    if (!status) return MLXN_OK;
    mlxn_error_prefix(error, "embedder: buffers of %u tokens", n);
    free_work(m);
    return status;
}

static char *name_of(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return mlxn_strndup(path + begin, end - begin);
}

/* Whether the model is one of those whose tensors are here; else it is one that continues texts, or none. */
static mlxn_status find_kind(mlxn_embedder *m, bool folder, bool *bert, mlxn_error *error) {
    static const char *const words[] = {"bert", "roberta", "xlm-roberta"};
    const char *key = folder ? "model_type" : "general.architecture";
    mlxn_lm_value v;
    *bert = false;
    if (!m->source->c->value(m->source, key, &v) || v.type != MLXN_LM_STRING)
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: key \"%s\" is missing", m->path_name, key);
    for (int i = 0; i < (folder ? 3 : 1); i++)
        *bert = *bert || (v.v.s.size == strlen(words[i]) && !memcmp(v.v.s.data, words[i], (size_t)v.v.s.size));
    if (*bert || mlxn_lm_arch_find(v.v.s, folder)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: key \"%s\" is \"%.*s\", want \"bert\"%s or one of %s",
                     m->path_name, key, (int)mlxn_min_u64(v.v.s.size, 40), v.v.s.data,
                     folder ? ", \"roberta\", \"xlm-roberta\"" : "", mlxn_lm_arch_names());
}

/* 1: mean, 2: first, 3: last, in GGUF files. */
static void read_gguf_pooling(mlxn_embedder *m, const char *arch) {
    const mlxn_gguf *file = m->lm ? m->lm->source->gguf : m->source->gguf;
    char key[96];
    uint64_t type = 0;
    m->pooling = MLXN_POOL_MEAN;
    m->normalize = true;
    m->max_length = m->shape.n_ctx;
    m->width = m->shape.n_embd;
    snprintf(key, sizeof key, "%s.pooling_type", arch);
    if (!mlxn_gguf_get_u64(file, key, &type, NULL) && type >= 1 && type <= 3) m->pooling = (mlxn_pooling)type;
}

static mlxn_status load(mlxn_embedder *m, const char *path, const mlxn_embedder_desc *desc, mlxn_error *error) {
    struct stat info;
    bool folder = !stat(path, &info) && S_ISDIR(info.st_mode), bert = false;
    mlxn_status status = folder ? mlxn_lm_source_open_folder(path, &m->source, error)
                                : mlxn_lm_source_open_gguf(path, &m->source, error);
    if (!status) status = find_kind(m, folder, &bert, error);
    if (!status && !bert) { /* the model opens it once more */
        mlxn_lm_source_close(m->source);
        m->source = NULL;
    }
    if (!status) status = bert ? mlxn_emb_load(m, path, error) : mlxn_emb_load_lm(m, path, error);
    if (status) return status;
    if (folder)
        status = mlxn_emb_read_modules(m, path, desc, error);
    else
        read_gguf_pooling(m, bert ? "bert" : m->lm->arch->gguf);
    if (!status && !folder && desc->prompt_name && *desc->prompt_name)
        status = mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: there is no prompt \"%.60s\": a GGUF file has none",
                           m->path_name, desc->prompt_name);
    if (desc->pooling) m->pooling = desc->pooling;
    if (desc->normalize) m->normalize = desc->normalize == MLXN_NORMALIZE_YES;
    uint64_t n = desc->n_batch ? desc->n_batch : DEFAULT_BATCH; /* of BERT, as long as its longest text */
    return status ? status : make_work(m, (uint32_t)(m->lm ? n : mlxn_max_u64(n, m->shape.n_ctx)), error);
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
    mlxn_buffer_release(&m->vectors);
    free_work(m);
    mlxn_emb_free_modules(m);
    for (uint32_t i = 0; m->parts && m->source && i < m->source->part_count; i++) mlxn_buffer_release(&m->parts[i]);
    mlxn_lm_source_close(m->source);
    mlxn_model_release(&m->lm);
    mlxn_tokenizer_destroy(m->tokenizer);
    mlxn_free(m->parts);
    mlxn_free(m->layers);
    mlxn_free(m->path_name);
    mlxn_device_release(&m->device);
    mlxn_free(m);
}

mlxn_status mlxn_embedder_get_info(const mlxn_embedder *m, mlxn_embedder_info *out) {
    if (!m || !out || !out->struct_size) return MLXN_ERR_ARGUMENT;
    const mlxn_emb_shape *s = &m->shape;
    const mlxn_embedder_info info = {out->struct_size, m->width,      s->n_layers, s->n_heads,   s->n_vocab,
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

/* Where the vectors of the rows come to lie. */
static mlxn_buffer *record(mlxn_embedder *m, const uint32_t *lengths, size_t n_texts, uint32_t n) {
    if (m->lm) return mlxn_emb_record_lm(m, lengths, n_texts, n);
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
    return m->x;
}

/* Of one text's rows. */
static void pool(const mlxn_embedder *m, const float *x, uint32_t n, float *out) {
    uint32_t width = m->shape.n_embd, first = m->pooling == MLXN_POOL_LAST ? n - 1 : 0;
    uint32_t end = m->pooling == MLXN_POOL_CLS ? 1 : n;
    for (uint32_t c = 0; c < width; c++) {
        double sum = 0;
        for (uint32_t r = first; r < end; r++) sum += (double)x[(uint64_t)r * width + c];
        out[c] = (float)(sum / (end - first));
    }
}

static void bring_to_length_one(float *x, uint32_t n) {
    double length = 0;
    for (uint32_t c = 0; c < n; c++) length += (double)x[c] * (double)x[c];
    length = sqrt(length);
    for (uint32_t c = 0; length > 0 && c < n; c++) x[c] = (float)((double)x[c] / length);
}

/* `host` has room for the rows and for as many pooled ones. */
static mlxn_status run(mlxn_embedder *m, const mlxn_token *ids, const uint32_t *lengths, size_t n_texts, uint32_t n,
                       float *host, float *out, mlxn_error *error) {
    uint32_t width = m->shape.n_embd;
    float *pooled = m->n_dense ? host + (uint64_t)m->n_batch * width : out;
    uint64_t at = 0;
    for (size_t i = 0; i < n_texts; i++)
        for (uint32_t p = 0; p < lengths[i]; p++, at++) {
            m->staging[at] = (uint32_t)ids[at];
            m->staging[m->n_batch + at] = p;
        }
    mlxn_status status = mlxn_buffer_write(m->inputs, 0, m->staging, 12 * (uint64_t)m->n_batch, error);
    if (status) return status;
    mlxn_buffer *rows = record(m, lengths, n_texts, n);
    status = mlxn_encoder_commit_and_wait(m->encoder, "embed", error);
    if (!status) status = mlxn_buffer_read(rows, 0, host, 4 * (uint64_t)n * width, error);
    at = 0;
    for (size_t i = 0; !status && i < n_texts; i++) {
        pool(m, host + at * width, lengths[i], pooled + i * width);
        at += lengths[i];
    }
    if (!status && m->n_dense) status = mlxn_emb_dense_run(m, pooled, n_texts, out, error);
    for (size_t i = 0; !status && m->normalize && i < n_texts; i++) bring_to_length_one(out + i * m->width, m->width);
    return status;
}

mlxn_status mlxn_embed_ids(mlxn_embedder *m, const mlxn_token *ids, const uint32_t *lengths, size_t n, float *out,
                           mlxn_error *error) {
    if (!m || (n && (!ids || !lengths || !out)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: %s is NULL", m ? "ids, lengths or out" : "embedder");
    uint64_t at = 0;
    uint32_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        longest = (uint32_t)mlxn_max_u64(longest, lengths[i]);
        if (lengths[i] < 1 || lengths[i] > m->shape.n_ctx)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: text %zu has %u tokens, want 1 to %u", i, lengths[i],
                             m->shape.n_ctx);
        for (uint32_t k = 0; k < lengths[i]; k++, at++)
            if (ids[at] < 0 || (uint32_t)ids[at] >= m->shape.n_vocab)
                return mlxn_fail(error, MLXN_ERR_ARGUMENT, "embed: text %zu: token %u is %d, want 0 to %u", i, k,
                                 ids[at], m->shape.n_vocab - 1);
    }
    mlxn_status status = MLXN_OK;
    if (longest > m->n_batch || !m->n_batch) status = make_work(m, (uint32_t)mlxn_max_u64(longest, 1), error);
    if (status) return status;
    float *host = mlxn_alloc_array(m->n_batch, (m->n_dense ? 2 : 1) * sizeof *host * m->shape.n_embd);
    if (!host) return mlxn_fail(error, MLXN_ERR_MEMORY, "embed: no memory for %u tokens", m->n_batch);
    for (size_t i = 0, count; !status && i < n; i += count) {
        uint32_t tokens = 0;
        for (count = 0; i + count < n && lengths[i + count] <= m->n_batch - tokens; count++)
            tokens += lengths[i + count];
        status = run(m, ids, lengths + i, count, tokens, host, out + i * m->width, error);
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

static const mlxn_tokenizer *tokenizer_of(const mlxn_embedder *m) { return m->lm ? m->lm->tokenizer : m->tokenizer; }

/* The ids of a text behind the prompt. */
static mlxn_status encode(mlxn_embedder *m, const char *text, size_t bytes, mlxn_token **ids, size_t *n,
                          mlxn_error *error) {
    size_t front = m->prompt ? strlen(m->prompt) : 0;
    if (!front) return mlxn_tokenizer_encode(tokenizer_of(m), text, bytes, 0, ids, n, error);
    char *both = bytes <= SIZE_MAX - front ? mlxn_alloc(front + bytes) : NULL;
    if (!both) return mlxn_fail(error, MLXN_ERR_MEMORY, "no memory for the prompt before it");
    memcpy(both, m->prompt, front);
    if (bytes) memcpy(both + front, text, bytes);
    mlxn_status status = mlxn_tokenizer_encode(tokenizer_of(m), both, front + bytes, 0, ids, n, error);
    mlxn_free(both);
    return status;
}

/* Down to max_length: tokens that the template puts behind a text, with which those of an empty one end too, stay. */
static void cut(mlxn_embedder *m, batch *b, mlxn_token *ids, size_t *n) {
    mlxn_token *frame = NULL;
    size_t frame_n = 0, stay = 0;
    if (mlxn_tokenizer_encode(tokenizer_of(m), "", 0, 0, &frame, &frame_n, NULL)) frame_n = 0;
    while (stay < frame_n && stay + 1 < m->max_length && frame[frame_n - 1 - stay] == ids[*n - 1 - stay]) stay++;
    memmove(ids + m->max_length - stay, ids + *n - stay, stay * sizeof *ids);
    *n = m->max_length;
    b->n_cut++;
    mlxn_free_memory(frame);
}

static mlxn_status add_text(mlxn_embedder *m, batch *b, size_t i, const char *text, size_t bytes, mlxn_error *error) {
    mlxn_token *ids = NULL;
    size_t n = 0;
    mlxn_status status = encode(m, text, bytes, &ids, &n, error);
    if (status) {
        mlxn_error_prefix(error, "embed: text %zu", i);
        return status;
    }
    if (n > m->max_length) cut(m, b, ids, &n);
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
    if (!tokenizer_of(m))
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
