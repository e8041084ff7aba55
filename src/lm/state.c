/* state.c: what a sequence holds, as a file: a safetensors file whose metadata say which model, types and positions
 * it is of. Sliding layers have the positions that they still hold, recurrent ones the state and its checkpoints. */
#include <mlxn/write.h>
#include <stdio.h>

#include "lm/lm_internal.h"

static const char state_format[] = "mlxn-sequence", state_version[] = "1";

/* ---- which model ---- */

typedef struct fingerprint {
    char hex[65];
} fingerprint;

/* Adds SHA-256 of (what was + data) to what was. */
static void mix(uint8_t sum[32], const void *data, size_t bytes, uint8_t *room) {
    memcpy(room, sum, 32);
    memcpy(room + 32, data, bytes);
    mlxn_sha256(room, 32 + bytes, sum);
}

/* A row of a weight, decoded: the same for every device and packed layout. */
static mlxn_status mix_row(uint8_t sum[32], const mlxn_weight *w, uint8_t *room, float *row, mlxn_error *error) {
    if (!w) return MLXN_OK;
    mlxn_status status = mlxn_weight_read_row(w, mlxn_weight_rows(w) / 2, row, error);
    if (!status) mix(sum, row, mlxn_weight_cols(w) * sizeof *row, room);
    return status;
}

static mlxn_status take_fingerprint(const mlxn_model *m, fingerprint *out, mlxn_error *error) {
    const mlxn_lm_shape *s = &m->shape;
    const uint32_t numbers[] = {s->n_layers, s->n_embd,  s->n_ff,      s->n_heads, s->n_kv_heads,
                                s->head_dim, s->n_vocab, s->rope_dims, s->window,  (uint32_t)s->rope_pairing};
    const float reals[] = {s->norm_eps,         s->rope_base,       s->rope_freq_scale,
                           s->rope_base_window, s->embedding_scale, s->attention_scale,
                           s->rope_attn_factor, s->logit_softcap,   s->attention_softcap};
    uint64_t widest = mlxn_max_u64(mlxn_max_u64(mlxn_max_u64(s->n_embd, s->kv_rank),
                                                mlxn_max_u64(mlxn_lm_widest(m, MLXN_LM_FF), s->n_ff_expert)),
                                   mlxn_lm_widest(m, MLXN_LM_Q));
    uint8_t sum[32] = {0}, *room = mlxn_alloc_array(widest + 64, sizeof(float));
    float *row = mlxn_alloc_array(widest, sizeof *row);
    mlxn_status status = MLXN_OK;
    if (!room || !row) status = mlxn_fail(error, MLXN_ERR_MEMORY, "cache: no memory for a row of the model");
    if (!status) {
        mix(sum, m->arch->name, strlen(m->arch->name), room);
        mix(sum, numbers, sizeof numbers, room);
        mix(sum, reals, sizeof reals, room);
        const uint32_t delta[] = {s->delta_k_heads, s->delta_v_heads, s->delta_k_dim, s->delta_v_dim, s->delta_taps};
        if (s->delta_taps) mix(sum, delta, sizeof delta, room);
        status = mix_row(sum, m->token_embd, room, row, error);
    }
    for (int i = 0; !status && i < 2; i++) { /* at most half a head of them */
        const mlxn_tensor *factors = &m->rope_factors[i];
        if (!factors->buffer) continue;
        uint64_t bytes = factors->dims[0] * sizeof *row;
        status = mlxn_buffer_read(factors->buffer, factors->offset, row, bytes, error);
        if (!status) mix(sum, row, bytes, room);
    }
    for (uint32_t i = 0; !status && i < s->n_layers; i++) {
        status = mix_row(sum, m->layers[i].k, room, row, error);
        if (!status) status = mix_row(sum, m->layers[i].down, room, row, error);
        if (!status) status = mix_row(sum, m->layers[i].down_experts, room, row, error);
        if (!status) status = mix_row(sum, m->layers[i].kv_b, room, row, error);
        if (!status) status = mix_row(sum, m->layers[i].delta_qkv, room, row, error);
        if (!status) status = mix_row(sum, m->layers[i].delta_qkvz, room, row, error);
    }
    for (int i = 0; i < 32; i++) snprintf(out->hex + 2 * i, 3, "%02x", sum[i]);
    mlxn_free(room);
    mlxn_free(row);
    return status;
}

/* ---- rows of the caches ---- */

/* One of the two caches of a layer. */
typedef struct half {
    mlxn_buffer *buffer;
    mlxn_kv_type type;
    uint32_t capacity;
    uint64_t row_bytes;
    uint32_t heads; /* 0: the layer sees the cache of another */
    const char *name;
} half;

static half half_of(const mlxn_context *c, uint32_t layer, int which) {
    const mlxn_lm_kv_layer *l = &c->kv.layers[layer];
    half h = {which ? l->v : l->k,
              which ? c->kv.v_type : c->kv.k_type,
              l->capacity,
              0,
              c->model->layers[layer].cache == layer ? c->model->layers[layer].n_kv_heads : 0,
              which ? "values" : "keys"};
    mlxn_kv_row_bytes(h.type, which ? c->model->layers[layer].v_head_dim : c->model->layers[layer].head_dim,
                      &h.row_bytes, NULL); /* fits: the context was made of it */
    return h;
}

static mlxn_st_dtype dtype_of(mlxn_kv_type type) {
    return type == MLXN_KV_F32    ? MLXN_ST_F32
           : type == MLXN_KV_F16  ? MLXN_ST_F16
           : type == MLXN_KV_BF16 ? MLXN_ST_BF16
                                  : MLXN_ST_U8;
}

/* The first position of which a layer still has the row. */
static uint32_t first_held(const mlxn_lm_sequence *s, uint32_t capacity, bool ring) {
    uint32_t first = ring ? s->oldest : 0;
    return s->written > capacity ? (uint32_t)mlxn_max_u64(first, s->written - capacity) : first;
}

/* A run of positions within one turn of the ring. */
typedef struct run {
    uint32_t position, count;
    uint64_t offset; /* bytes in the buffer */
} run;

static run next_run(const mlxn_context *c, const half *h, uint32_t seq, uint32_t head, uint32_t position,
                    uint32_t end) {
    uint32_t slot = position % h->capacity;
    uint64_t row = ((uint64_t)seq * h->heads + head) * h->capacity + slot;
    return (run){position, (uint32_t)mlxn_min_u64(end - position, h->capacity - slot), row * h->row_bytes};
}

static bool is_recurrent(const mlxn_context *c, uint32_t layer) { return !c->kv.layers[layer].capacity; }

/* ---- saving ---- */

static void tensor_name(char out[48], uint32_t layer, const half *h) {
    snprintf(out, 48, "layers.%u.%s", layer, h->name);
}

/* One of the two kinds of states of a recurrent layer. */
typedef struct state_part {
    mlxn_buffer *buffer;
    uint64_t bytes; /* of one */
    char name[48];
    uint32_t rank;
    uint64_t dims[4]; /* the first: how many are saved, that of the sequence, and its checkpoints in order */
} state_part;

static state_part part_of(const mlxn_context *c, uint32_t layer, int which) {
    const mlxn_lm_shape *s = &c->model->shape;
    const mlxn_lm_kv_layer *l = &c->kv.layers[layer];
    state_part p = {.buffer = which ? l->state : l->conv,
                    .bytes = (which ? c->kv.state_floats : c->kv.conv_floats) * sizeof(float),
                    .rank = which ? 4 : 3,
                    .dims = {1, mlxn_lm_dim_value(s, MLXN_LM_DELTA_QKV), s->delta_taps - 1}};
    if (which) {
        p.dims[1] = s->delta_v_heads;
        p.dims[2] = s->delta_v_dim;
        p.dims[3] = s->delta_k_dim;
    }
    snprintf(p.name, sizeof p.name, "layers.%u.%s", layer, which ? "states" : "convolution");
    return p;
}

static mlxn_status save_part(const mlxn_context *c, uint32_t seq, const state_part *p, mlxn_safetensors_writer *w,
                             uint8_t *room, mlxn_error *error) {
    const mlxn_lm_sequence *s = &c->sequences[seq];
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; !status && i <= s->n_checkpoints; i++) {
        bool zero = false;
        uint32_t state = i ? s->checkpoints[i - 1].state : mlxn_lm_state_of(c, seq, &zero);
        if (zero)
            memset(room, 0, p->bytes);
        else
            status = mlxn_buffer_read(p->buffer, state * p->bytes, room, p->bytes, error);
        if (!status) status = mlxn_safetensors_writer_write(w, room, p->bytes, error);
    }
    return status;
}

static mlxn_status save_positions(const mlxn_lm_sequence *s, mlxn_safetensors_writer *w, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; !status && i < s->n_checkpoints; i++) {
        int32_t position = (int32_t)s->checkpoints[i].position;
        status = mlxn_safetensors_writer_write(w, &position, sizeof position, error);
    }
    return status;
}

static mlxn_status declare(mlxn_context *c, const mlxn_lm_sequence *s, mlxn_safetensors_writer *w,
                           mlxn_error *error) {
    fingerprint model = {{0}};
    mlxn_status status = take_fingerprint(c->model, &model, error);
    if (!status) status = mlxn_safetensors_writer_metadata(w, "format", state_format, error);
    if (!status) status = mlxn_safetensors_writer_metadata(w, "version", state_version, error);
    if (!status) status = mlxn_safetensors_writer_metadata(w, "model", model.hex, error);
    if (!status) status = mlxn_safetensors_writer_metadata(w, "keys", mlxn_kv_type_name(c->kv.k_type), error);
    if (!status) status = mlxn_safetensors_writer_metadata(w, "values", mlxn_kv_type_name(c->kv.v_type), error);
    if (!status) status = mlxn_safetensors_writer_add(w, "tokens", MLXN_ST_I32, 1, (uint64_t[]){s->length}, error);
    if (!status && c->kv.n_states)
        status = mlxn_safetensors_writer_add(w, "checkpoints", MLXN_ST_I32, 1, (uint64_t[]){s->n_checkpoints}, error);
    for (uint32_t i = 0; !status && i < 2 * c->kv.n_layers; i++) {
        if (is_recurrent(c, i / 2)) {
            state_part p = part_of(c, i / 2, i % 2);
            p.dims[0] = 1 + (uint64_t)s->n_checkpoints;
            status = mlxn_safetensors_writer_add(w, p.name, MLXN_ST_F32, p.rank, p.dims, error);
            continue;
        }
        half h = half_of(c, i / 2, i % 2);
        if (!h.heads) continue;
        mlxn_st_dtype dtype = dtype_of(h.type);
        uint32_t first = first_held(s, h.capacity, c->model->layers[i / 2].sliding);
        uint64_t dims[] = {h.heads, s->length - first, h.row_bytes * 8 / mlxn_st_dtype_bits(dtype)};
        char name[48];
        tensor_name(name, i / 2, &h);
        status = mlxn_safetensors_writer_add(w, name, dtype, 3, dims, error);
    }
    return status;
}

static mlxn_status save_half(const mlxn_context *c, uint32_t seq, const half *h, uint32_t first,
                             mlxn_safetensors_writer *w, uint8_t *room, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    uint32_t end = c->sequences[seq].length;
    for (uint32_t head = 0; head < h->heads; head++) {
        run r;
        for (uint32_t at = first; !status && at < end; at += r.count) {
            r = next_run(c, h, seq, head, at, end);
            status = mlxn_buffer_read(h->buffer, r.offset, room, r.count * h->row_bytes, error);
            if (!status) status = mlxn_safetensors_writer_write(w, room, r.count * h->row_bytes, error);
        }
    }
    return status;
}

/* Of the rows of one head, or one state. */
static uint64_t largest_run(const mlxn_context *c) {
    uint64_t most = mlxn_max_u64(1, mlxn_max_u64(c->kv.conv_floats, c->kv.state_floats) * sizeof(float));
    for (uint32_t i = 0; i < 2 * c->kv.n_layers; i++) {
        if (is_recurrent(c, i / 2)) continue;
        half h = half_of(c, i / 2, i % 2);
        most = mlxn_max_u64(most, h.capacity * h.row_bytes);
    }
    return most;
}

static mlxn_status check_sequence(const mlxn_context *c, uint32_t seq, const char *what, mlxn_error *error) {
    if (!c) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: context is NULL", what);
    if (seq < c->n_sequences) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: sequence is %u, want below %u", what, seq, c->n_sequences);
}

mlxn_status mlxn_context_save(mlxn_context *c, uint32_t seq, const char *path, mlxn_error *error) {
    static const char suffix[] = ".safetensors";
    mlxn_safetensors_writer *w = NULL;
    mlxn_status status = check_sequence(c, seq, "save", error);
    if (status) return status;
    size_t n = path ? strlen(path) : 0, m = sizeof suffix - 1;
    if (n <= m || strcmp(path + n - m, suffix) != 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "save: the path is \"%s\", want one that ends with %s",
                         path ? path : "", suffix);
    const mlxn_lm_sequence *s = &c->sequences[seq];
    uint8_t *room = mlxn_alloc(largest_run(c));
    if (!room) return mlxn_fail(error, MLXN_ERR_MEMORY, "save: no memory for rows of the cache");
    status = mlxn_safetensors_writer_create(path, 0, true, &w, error);
    if (!status) status = declare(c, s, w, error);
    if (!status) status = mlxn_safetensors_writer_write(w, s->tokens, s->length * sizeof *s->tokens, error);
    if (!status) status = save_positions(s, w, error);
    for (uint32_t i = 0; !status && i < 2 * c->kv.n_layers; i++) {
        if (is_recurrent(c, i / 2)) {
            state_part p = part_of(c, i / 2, i % 2);
            status = save_part(c, seq, &p, w, room, error);
            continue;
        }
        half h = half_of(c, i / 2, i % 2);
        if (!h.heads) continue;
        status = save_half(c, seq, &h, first_held(s, h.capacity, c->model->layers[i / 2].sliding), w, room, error);
    }
    if (!status) status = mlxn_safetensors_writer_finish(&w, error);
    mlxn_safetensors_writer_destroy(w);
    mlxn_free(room);
    return status ? status : mlxn_succeed(error);
}

/* ---- restoring ---- */

static mlxn_status check_word(const mlxn_safetensors *file, const char *path, const char *key, const char *want,
                              mlxn_status wrong, mlxn_error *error) {
    mlxn_string have;
    if (!mlxn_safetensors_metadata(file, key, &have))
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: is no saved cache: metadata have no \"%s\"", path, key);
    if (have.size == strlen(want) && !memcmp(have.data, want, (size_t)have.size)) return MLXN_OK;
    return mlxn_fail(error, wrong, "%s: %s is \"%.*s\", want \"%s\"", path, key, (int)mlxn_min_u64(have.size, 80),
                     have.data, want);
}

static mlxn_status check_tokens(const mlxn_context *c, const mlxn_safetensors *file, const char *path,
                                mlxn_safetensors_tensor *t, mlxn_error *error) {
    if (!mlxn_safetensors_find_tensor(file, "tokens", t) || t->dtype != MLXN_ST_I32 || t->rank != 1)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"tokens\" of type I32 and rank 1 is missing", path);
    if (t->elements > c->n_ctx)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: %llu tokens, the context holds %u", path,
                         (unsigned long long)t->elements, c->n_ctx);
    for (uint64_t i = 0; i < t->elements; i++) {
        mlxn_token id;
        memcpy(&id, t->data + 4 * i, 4);
        if (id < 0 || (uint32_t)id >= c->model->shape.n_vocab)
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: token %llu is %d, want 0 to %u", path,
                             (unsigned long long)i, id, c->model->shape.n_vocab - 1);
    }
    return MLXN_OK;
}

/* Global layers have every position, sliding ones at least what the next token's window needs. */
static mlxn_status check_half(const mlxn_context *c, uint32_t layer, const half *h, uint64_t length,
                              const mlxn_safetensors *file, const char *path, mlxn_safetensors_tensor *t,
                              mlxn_error *error) {
    const mlxn_lm_shape *s = &c->model->shape;
    uint32_t window = c->model->layers[layer].sliding ? s->window : 0;
    uint64_t least = window ? mlxn_min_u64(length, window - 1) : length;
    mlxn_st_dtype dtype = dtype_of(h->type);
    uint64_t width = h->row_bytes * 8 / mlxn_st_dtype_bits(dtype);
    char name[48];
    tensor_name(name, layer, h);
    if (!mlxn_safetensors_find_tensor(file, name, t))
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"%s\" is missing", path, name);
    if (t->dtype != dtype || t->rank != 3 || t->dims[0] != h->heads || t->dims[1] < least || t->dims[1] > length ||
        t->dims[2] != width)
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: tensor \"%s\" is %s of rank %u [%llu, %llu, %llu], want %s [%u, %llu to %llu, %llu]",
                         path, name, t->dtype_name, t->rank, (unsigned long long)(t->rank > 0 ? t->dims[0] : 0),
                         (unsigned long long)(t->rank > 1 ? t->dims[1] : 0),
                         (unsigned long long)(t->rank > 2 ? t->dims[2] : 0), mlxn_st_dtype_name(dtype), h->heads,
                         (unsigned long long)least, (unsigned long long)length, (unsigned long long)width);
    return MLXN_OK;
}

/* *count: of checkpoints. Their positions go up and lie within the tokens. */
static mlxn_status check_checkpoints(const mlxn_context *c, const mlxn_safetensors *file, const char *path,
                                     uint32_t length, uint64_t *count, mlxn_error *error) {
    mlxn_safetensors_tensor t;
    *count = 0;
    if (!c->kv.n_states) return MLXN_OK;
    if (!mlxn_safetensors_find_tensor(file, "checkpoints", &t) || t.dtype != MLXN_ST_I32 || t.rank != 1)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"checkpoints\" of type I32 and rank 1 is missing",
                         path);
    int32_t before = 0;
    for (uint64_t i = 0; i < t.elements; i++) {
        int32_t position;
        memcpy(&position, t.data + 4 * i, 4);
        if (position <= before || (uint32_t)position > length)
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: checkpoint %llu is at %d, want %d to %u", path,
                             (unsigned long long)i, position, before + 1, length);
        before = position;
    }
    *count = t.elements;
    return MLXN_OK;
}

static mlxn_status check_part(const state_part *p, uint64_t count, const mlxn_safetensors *file, const char *path,
                              mlxn_safetensors_tensor *t, mlxn_error *error) {
    if (!mlxn_safetensors_find_tensor(file, p->name, t))
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"%s\" is missing", path, p->name);
    bool fits = t->dtype == MLXN_ST_F32 && t->rank == p->rank && t->dims[0] == count;
    for (uint32_t i = 1; fits && i < p->rank; i++) fits = t->dims[i] == p->dims[i];
    if (fits) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_FORMAT,
                     "%s: tensor \"%s\" is %s of rank %u with %llu elements, want F32 of rank %u with %llu states of "
                     "%llu elements",
                     path, p->name, t->dtype_name, t->rank, (unsigned long long)t->elements, p->rank,
                     (unsigned long long)count, (unsigned long long)(p->bytes / sizeof(float)));
}

/* The state of the sequence, and the last checkpoints that there is room for. */
static mlxn_status restore_part(const mlxn_context *c, uint32_t seq, const state_part *p, uint64_t kept,
                                const mlxn_safetensors_tensor *t, mlxn_error *error) {
    mlxn_status status = mlxn_buffer_write(p->buffer, seq * p->bytes, t->data, p->bytes, error);
    uint64_t first = c->n_sequences + (uint64_t)seq * c->n_checkpoints;
    for (uint64_t i = 0; !status && i < kept; i++)
        status = mlxn_buffer_write(p->buffer, (first + i) * p->bytes, t->data + (t->dims[0] - kept + i) * p->bytes,
                                   p->bytes, error);
    return status;
}

/* A ring that is smaller than what was saved takes the last positions. *first is the first that it has then. */
static mlxn_status restore_half(const mlxn_context *c, uint32_t seq, const half *h, uint32_t length,
                                const mlxn_safetensors_tensor *t, uint32_t *first, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    uint32_t saved = length - (uint32_t)t->dims[1];
    *first = (uint32_t)mlxn_max_u64(saved, length > h->capacity ? length - h->capacity : 0);
    for (uint32_t head = 0; head < h->heads; head++) {
        run r;
        for (uint32_t at = *first; !status && at < length; at += r.count) {
            r = next_run(c, h, seq, head, at, length);
            const uint8_t *rows = t->data + (head * t->dims[1] + at - saved) * h->row_bytes;
            status = mlxn_buffer_write(h->buffer, r.offset, rows, r.count * h->row_bytes, error);
        }
    }
    return status;
}

static mlxn_status check_all(const mlxn_context *c, const mlxn_safetensors *file, const char *path, uint32_t *length,
                             mlxn_error *error) {
    fingerprint model = {{0}};
    mlxn_safetensors_tensor t;
    mlxn_status status = check_word(file, path, "format", state_format, MLXN_ERR_FORMAT, error);
    if (!status) status = check_word(file, path, "version", state_version, MLXN_ERR_FORMAT, error);
    if (!status) status = take_fingerprint(c->model, &model, error);
    if (!status) status = check_word(file, path, "model", model.hex, MLXN_ERR_ARGUMENT, error);
    if (!status) status = check_word(file, path, "keys", mlxn_kv_type_name(c->kv.k_type), MLXN_ERR_ARGUMENT, error);
    if (!status) status = check_word(file, path, "values", mlxn_kv_type_name(c->kv.v_type), MLXN_ERR_ARGUMENT, error);
    if (!status) status = check_tokens(c, file, path, &t, error);
    if (status) return status;
    *length = (uint32_t)t.elements;
    uint64_t count;
    status = check_checkpoints(c, file, path, *length, &count, error);
    for (uint32_t i = 0; !status && i < 2 * c->kv.n_layers; i++) {
        if (is_recurrent(c, i / 2)) {
            state_part p = part_of(c, i / 2, i % 2);
            status = check_part(&p, 1 + count, file, path, &t, error);
            continue;
        }
        half h = half_of(c, i / 2, i % 2);
        if (!h.heads) continue;
        status = check_half(c, i / 2, &h, *length, file, path, &t, error);
    }
    return status;
}

static mlxn_status restore_all(mlxn_context *c, uint32_t seq, const mlxn_safetensors *file, uint32_t length,
                               mlxn_error *error) {
    mlxn_lm_sequence *s = &c->sequences[seq];
    mlxn_safetensors_tensor t;
    mlxn_status status = MLXN_OK;
    uint64_t saved = 0, kept = 0;
    s->length = s->written = s->oldest = s->submitted = s->n_checkpoints = s->last_rows = 0;
    s->stale = s->from_zero = c->kv.n_states > 0; /* until all is there */
    if (c->kv.n_states && mlxn_safetensors_find_tensor(file, "checkpoints", &t)) saved = t.elements;
    kept = mlxn_min_u64(saved, c->n_checkpoints);
    for (uint32_t i = 0; !status && i < 2 * c->kv.n_layers; i++) {
        if (is_recurrent(c, i / 2)) {
            state_part p = part_of(c, i / 2, i % 2);
            mlxn_safetensors_find_tensor(file, p.name, &t);
            status = restore_part(c, seq, &p, kept, &t, error);
            continue;
        }
        half h = half_of(c, i / 2, i % 2);
        if (!h.heads) continue;
        uint32_t first;
        char name[48];
        tensor_name(name, i / 2, &h);
        mlxn_safetensors_find_tensor(file, name, &t); /* it is there: check_all saw it */
        status = restore_half(c, seq, &h, length, &t, &first, error);
        if (c->model->layers[i / 2].sliding) s->oldest = (uint32_t)mlxn_max_u64(s->oldest, first);
    }
    if (status) {
        s->oldest = 0;
        return status;
    }
    if (kept) mlxn_safetensors_find_tensor(file, "checkpoints", &t);
    for (uint64_t i = 0; i < kept; i++) {
        int32_t position;
        memcpy(&position, t.data + 4 * (saved - kept + i), 4);
        s->checkpoints[i] = (mlxn_lm_checkpoint){(uint32_t)position,
                                                 (uint32_t)(c->n_sequences + (uint64_t)seq * c->n_checkpoints + i)};
    }
    s->n_checkpoints = (uint32_t)kept;
    s->stale = false;
    s->submitted = length;
    mlxn_safetensors_find_tensor(file, "tokens", &t);
    memcpy(s->tokens, t.data, length * sizeof *s->tokens);
    s->length = s->written = length;
    return MLXN_OK;
}

mlxn_status mlxn_lm_restore(mlxn_context *c, uint32_t seq, const mlxn_safetensors *file, const char *path,
                            mlxn_error *error) {
    uint32_t length = 0;
    mlxn_status status = check_all(c, file, path, &length, error);
    return status ? status : restore_all(c, seq, file, length, error);
}

mlxn_status mlxn_context_restore(mlxn_context *c, uint32_t seq, const char *path, mlxn_error *error) {
    mlxn_safetensors *file = NULL;
    mlxn_status status = check_sequence(c, seq, "restore", error);
    if (status) return status;
    if (!path) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "restore: path is NULL");
    status = mlxn_safetensors_open(path, &file, error);
    if (!status) status = mlxn_lm_restore(c, seq, file, path, error);
    mlxn_safetensors_close(file);
    return status ? status : mlxn_succeed(error);
}

/* ---- prefixes ---- */

const mlxn_token *mlxn_context_tokens(const mlxn_context *c, uint32_t seq, uint32_t *n) {
    uint32_t length = mlxn_context_length(c, seq);
    if (n) *n = length;
    return length ? c->sequences[seq].tokens : NULL;
}

mlxn_status mlxn_context_reuse(mlxn_context *c, uint32_t seq, const mlxn_token *ids, size_t n, uint32_t *kept,
                               mlxn_error *error) {
    mlxn_status status = check_sequence(c, seq, "reuse", error);
    if (status) return status;
    if (n && !ids) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "reuse: ids is NULL");
    const mlxn_lm_sequence *s = &c->sequences[seq];
    uint32_t most = (uint32_t)mlxn_min_u64(s->length, n ? n - 1 : 0), same = 0;
    while (same < most && s->tokens[same] == ids[same]) same++;
    same = mlxn_lm_checkpoint_before(c, s, same);
    if (same < s->length && !mlxn_lm_kv_holds(&c->kv, c->model, same, s->oldest, s->written)) same = 0;
    status = mlxn_context_truncate(c, seq, same, error);
    if (kept) *kept = mlxn_context_length(c, seq);
    return status;
}
