/* gguf_tokenizer.c: the tokenizer of a GGUF model as tokenizer.json and tokenizer_config.json: the forms that Hugging
 * Face's library gives the same vocabularies. */
#include <inttypes.h>
#include <stdio.h>

#include "convert/folder_files.h"
#include "convert/pretokenizers.h"
#include "convert/spm_merges.h"
#include "io/out_file.h"
#include "lm/tok_internal.h"

typedef struct vocabulary {
    const mlxn_gguf *file;
    mlxn_string *tokens;
    uint64_t n;
    mlxn_gguf_value types; /* count 0: there are none */
    bool spm, adds_bos, prefix_space;
    const mlxn_cv_pretokenizer *pretokenizer; /* of byte-level BPE */
} vocabulary;

enum { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER = 4 };

static int64_t type_of(const vocabulary *v, uint64_t id) {
    int64_t type = 1;
    mlxn_gguf_array_i64(&v->types, id, &type);
    return type;
}

static mlxn_status read_tokens(vocabulary *v, mlxn_error *error) {
    mlxn_gguf_value list;
    if (!mlxn_gguf_find(v->file, "tokenizer.ggml.tokens", &list) || list.type != MLXN_GGUF_ARRAY ||
        list.v.array.element != MLXN_GGUF_STRING)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "convert: key \"tokenizer.ggml.tokens\" is no list of strings");
    v->tokens = mlxn_alloc_array((size_t)list.v.array.count, sizeof *v->tokens);
    if (!v->tokens) return mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for the vocabulary");
    for (uint64_t cursor = 0; v->n < list.v.array.count && mlxn_gguf_next_string(&list, &cursor, &v->tokens[v->n]);)
        v->n++;
    if (!mlxn_gguf_find(v->file, "tokenizer.ggml.token_type", &v->types) || v->types.type != MLXN_GGUF_ARRAY)
        v->types = (mlxn_gguf_value){0};
    return MLXN_OK;
}

static mlxn_status read_kind(vocabulary *v, mlxn_error *error) {
    mlxn_string model, name = {"default", 7};
    mlxn_status status = mlxn_gguf_get_string(v->file, "tokenizer.ggml.model", &model, error);
    if (status) return status;
    v->spm = model.size == 5 && !memcmp(model.data, "llama", 5);
    v->adds_bos = v->prefix_space = v->spm;
    if (!v->spm && !(model.size == 4 && !memcmp(model.data, "gpt2", 4)))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "convert: key \"tokenizer.ggml.model\" is \"%.*s\", want gpt2 or llama",
                         (int)mlxn_min_u64(model.size, 40), model.data);
    mlxn_gguf_get_string(v->file, "tokenizer.ggml.pre", &name, NULL);
    const mlxn_pretok *pretok = v->spm ? NULL : mlxn_pretok_find(name);
    for (const mlxn_cv_pretokenizer *p = mlxn_cv_pretokenizers; pretok && p->name; p++)
        if (!strcmp(p->name, mlxn_pretok_name(pretok))) v->pretokenizer = p;
    if (!v->spm && !v->pretokenizer)
        return mlxn_fail(
            error, MLXN_ERR_UNSUPPORTED,
            "convert: key \"tokenizer.ggml.pre\" is \"%.*s\", want gpt-2, smollm, qwen2 or llama-bpe, or one "
            "that is the same",
            (int)mlxn_min_u64(name.size, 40), name.data);
    if (pretok) v->adds_bos = mlxn_pretok_adds_bos(pretok);
    mlxn_gguf_get_bool(v->file, "tokenizer.ggml.add_bos_token", &v->adds_bos, NULL);
    mlxn_gguf_get_bool(v->file, "tokenizer.ggml.add_space_prefix", &v->prefix_space, NULL);
    return MLXN_OK;
}

/* ---- JSON ---- */

/* Tokens are bytes in GGUF, and text in JSON: false if one is no UTF-8, which no file of these tokenizers has. */
static bool add_token(mlxn_bytes *to, mlxn_string token) {
    for (uint64_t at = 0; at < token.size;) {
        unsigned n = mlxn_gg_utf8_length((const unsigned char *)token.data + at, token.size - at);
        if (!n || !token.data[at]) return false;
        at += n;
    }
    char *text = mlxn_strndup(token.data, (size_t)token.size);
    if (!text) {
        to->failed = true;
        return true;
    }
    mlxn_bytes_json_string(to, text);
    mlxn_free(text);
    return true;
}

static void add_id(mlxn_bytes *to, uint64_t id) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, id);
    mlxn_bytes_text(to, text);
}

static bool add_added(const vocabulary *v, mlxn_bytes *to) {
    bool first = true, good = true;
    mlxn_bytes_text(to, "\"added_tokens\":[");
    for (uint64_t i = 0; i < v->n; i++) {
        int64_t type = type_of(v, i);
        if (type < TYPE_UNKNOWN || type > TYPE_USER) continue;
        mlxn_bytes_text(to, first ? "{\"id\":" : ",{\"id\":");
        first = false;
        add_id(to, i);
        mlxn_bytes_text(to, ",\"content\":");
        good = add_token(to, v->tokens[i]) && good;
        mlxn_bytes_text(to,
                        ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":");
        mlxn_bytes_text(to, type == TYPE_USER ? "false}" : "true}");
    }
    mlxn_bytes_text(to, "],");
    return good;
}

static bool add_vocabulary(const vocabulary *v, mlxn_bytes *to) {
    bool good = true;
    mlxn_bytes_text(to, "\"vocab\":{");
    for (uint64_t i = 0; i < v->n; i++) {
        if (i) mlxn_bytes_text(to, ",");
        good = add_token(to, v->tokens[i]) && good;
        mlxn_bytes_text(to, ":");
        add_id(to, i);
    }
    mlxn_bytes_text(to, "}");
    return good;
}

/* Merges are "left right", and neither has a space; since both can be looked up again the pair is written apart. */
static mlxn_status add_merges(const vocabulary *v, mlxn_bytes *to, mlxn_error *error) {
    mlxn_gguf_value list;
    mlxn_string merge;
    bool first = true;
    mlxn_bytes_text(to, ",\"merges\":[");
    if (v->spm) {
        mlxn_status status = mlxn_spm_merges(v->file, v->tokens, v->n, to, error);
        if (status) return status;
    } else if (mlxn_gguf_find(v->file, "tokenizer.ggml.merges", &list)) {
        for (uint64_t cursor = 0; mlxn_gguf_next_string(&list, &cursor, &merge);) {
            const char *space = merge.size > 2 ? memchr(merge.data + 1, ' ', (size_t)merge.size - 1) : NULL;
            if (!space)
                return mlxn_fail(error, MLXN_ERR_FORMAT,
                                 "convert: key \"tokenizer.ggml.merges\": \"%.*s\" is no pair",
                                 (int)mlxn_min_u64(merge.size, 40), merge.data);
            uint64_t left = (uint64_t)(space - merge.data);
            mlxn_bytes_text(to, first ? "[" : ",[");
            first = false;
            bool good = add_token(to, (mlxn_string){merge.data, left});
            mlxn_bytes_text(to, ",");
            good = add_token(to, (mlxn_string){space + 1, merge.size - left - 1}) && good;
            mlxn_bytes_text(to, "]");
            if (!good)
                return mlxn_fail(error, MLXN_ERR_FORMAT,
                                 "convert: key \"tokenizer.ggml.merges\": a pair is no UTF-8");
        }
    }
    mlxn_bytes_text(to, "]");
    return MLXN_OK;
}

static bool token_of(const vocabulary *v, const char *key, uint64_t *id) {
    return !mlxn_gguf_get_u64(v->file, key, id, NULL) && *id < v->n;
}

/* BOS, then the text. */
static bool add_post_processor(const vocabulary *v, mlxn_bytes *to) {
    uint64_t bos;
    bool good = true;
    mlxn_bytes_text(to, "\"post_processor\":");
    if (!v->adds_bos || !token_of(v, "tokenizer.ggml.bos_token_id", &bos)) {
        mlxn_bytes_text(to, v->spm ? "null," : MLXN_CV_BYTE_LEVEL("true") ",");
        return true;
    }
    for (int pair = 0; pair < 2; pair++) {
        mlxn_bytes_text(to, pair ? ",\"pair\":[" : "{\"type\":\"TemplateProcessing\",\"single\":[");
        for (int i = 0; i <= pair; i++) {
            mlxn_bytes_text(to, i ? ",{\"SpecialToken\":{\"id\":" : "{\"SpecialToken\":{\"id\":");
            good = add_token(to, v->tokens[bos]) && good;
            mlxn_bytes_text(to, i ? ",\"type_id\":1}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}"
                                  : ",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}");
        }
        mlxn_bytes_text(to, "]");
    }
    mlxn_bytes_text(to, ",\"special_tokens\":{");
    good = add_token(to, v->tokens[bos]) && good;
    mlxn_bytes_text(to, ":{\"id\":");
    good = add_token(to, v->tokens[bos]) && good;
    mlxn_bytes_text(to, ",\"ids\":[");
    add_id(to, bos);
    mlxn_bytes_text(to, "],\"tokens\":[");
    good = add_token(to, v->tokens[bos]) && good;
    mlxn_bytes_text(to, "]}}},");
    return good;
}

#define SPACE "\xe2\x96\x81" /* U+2581, which stands for a space in SentencePiece's vocabularies */

static bool add_pipeline(const vocabulary *v, mlxn_bytes *to) {
    mlxn_bytes_text(to, "\"normalizer\":");
    if (v->spm) {
        if (v->prefix_space)
            mlxn_bytes_text(
                to, "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" SPACE "\"},");
        mlxn_bytes_text(to, "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" SPACE "\"}");
        mlxn_bytes_text(to, v->prefix_space ? "]},\"pre_tokenizer\":null," : ",\"pre_tokenizer\":null,");
    } else {
        mlxn_bytes_text(to, v->pretokenizer->normalizer);
        mlxn_bytes_text(to, ",\"pre_tokenizer\":");
        mlxn_bytes_text(to, v->pretokenizer->before);
        if (v->pretokenizer->regex) mlxn_bytes_json_string(to, v->pretokenizer->regex);
        mlxn_bytes_text(to, v->pretokenizer->behind);
        mlxn_bytes_text(to, ",");
    }
    bool good = add_post_processor(v, to);
    if (!v->spm)
        mlxn_bytes_text(to, "\"decoder\":" MLXN_CV_BYTE_LEVEL("true") ",");
    else
        mlxn_bytes_text(
            to, v->prefix_space
                    ? "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
                      "\"String\":\"" SPACE
                      "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                      "\"content\":\" \",\"start\":1,\"stop\":0}]},"
                    : "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
                      "\"String\":\"" SPACE
                      "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},");
    return good;
}

static mlxn_status make_tokenizer(const vocabulary *v, mlxn_bytes *to, mlxn_error *error) {
    uint64_t unknown = 0;
    mlxn_bytes_text(to, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,");
    bool good = add_added(v, to) & add_pipeline(v, to);
    mlxn_bytes_text(to, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    bool has_unknown = v->spm && token_of(v, "tokenizer.ggml.unknown_token_id", &unknown);
    if (has_unknown)
        good = add_token(to, v->tokens[unknown]) && good;
    else
        mlxn_bytes_text(to, "null");
    mlxn_bytes_text(to, ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":");
    mlxn_bytes_text(to, v->spm ? "true,\"byte_fallback\":true,\"ignore_merges\":"
                               : "false,\"byte_fallback\":false,\"ignore_merges\":");
    mlxn_bytes_text(to, !v->spm && v->pretokenizer->ignores_merges ? "true," : "false,");
    good = add_vocabulary(v, to) && good;
    if (!good)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "convert: key \"tokenizer.ggml.tokens\": a token is no UTF-8 text");
    mlxn_status status = add_merges(v, to, error);
    mlxn_bytes_text(to, "}}\n");
    return status;
}

static mlxn_status make_config(const vocabulary *v, mlxn_bytes *to, mlxn_error *error) {
    static const char *const names[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token"},
                                           {"tokenizer.ggml.eos_token_id", "eos_token"},
                                           {"tokenizer.ggml.padding_token_id", "pad_token"},
                                           {"tokenizer.ggml.unknown_token_id", "unk_token"}};
    mlxn_string text;
    uint64_t id;
    mlxn_bytes_text(
        to,
        "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"clean_up_tokenization_spaces\":false,\"add_bos_token\":");
    mlxn_bytes_text(to, v->adds_bos ? "true" : "false");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!token_of(v, names[i][0], &id)) continue;
        mlxn_bytes_text(to, ",");
        mlxn_bytes_json_string(to, names[i][1]);
        mlxn_bytes_text(to, ":");
        add_token(to, v->tokens[id]); /* seen to be text before */
    }
    if (!mlxn_gguf_get_string(v->file, "tokenizer.chat_template", &text, NULL)) {
        mlxn_bytes_text(to, ",\"chat_template\":");
        if (!add_token(to, text))
            return mlxn_fail(error, MLXN_ERR_FORMAT, "convert: key \"tokenizer.chat_template\" is no UTF-8");
    }
    mlxn_bytes_text(to, "}\n");
    return MLXN_OK;
}

static mlxn_status write(const vocabulary *v, const char *path, const char *name, bool overwrite,
                         mlxn_status (*make)(const vocabulary *v, mlxn_bytes *to, mlxn_error *error),
                         mlxn_error *error) {
    mlxn_bytes text = {0};
    mlxn_status status = make(v, &text, error);
    if (!status && text.failed) status = mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for %s", name);
    if (!status) status = mlxn_folder_write(path, name, text.data, text.size, overwrite, error);
    mlxn_bytes_free(&text);
    return status;
}

mlxn_status mlxn_gguf_write_tokenizer(const mlxn_gguf *file, const char *path, bool overwrite, mlxn_error *error) {
    vocabulary v = {.file = file};
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, "tokenizer.ggml.model", &value)) return MLXN_OK; /* a model without one */
    mlxn_status status = read_kind(&v, error);
    if (!status) status = read_tokens(&v, error);
    if (!status) status = write(&v, path, "tokenizer.json", overwrite, make_tokenizer, error);
    if (!status) status = write(&v, path, "tokenizer_config.json", overwrite, make_config, error);
    mlxn_free(v.tokens);
    return status;
}
