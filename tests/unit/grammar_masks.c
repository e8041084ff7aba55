/* Promise: a constraint allows exactly the tokens whose bytes fit, each tried alone, in every state of walks through
 * grammars, on a tiny vocabulary and on a model's; end tokens when the text is complete, other special ones never.
 * Copies go their own ways, also through compaction. */
#include "base/base.h"
#include "lm/sampler_internal.h"
#include "lm/token_trie.h"
#include "lm/utf8.h"
#include "lm_tiny.h"

static const char *const json =
    "root ::= object\n"
    "value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"
    "object ::= \"{\" ws (string \":\" ws value (\",\" ws string \":\" ws value)*)? \"}\" ws\n"
    "array ::= \"[\" ws (value (\",\" ws value)*)? \"]\" ws\n"
    "string ::= \"\\\"\" ([^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\" ws\n"
    "number ::= \"-\"? ([0-9] | [1-9] [0-9]{0,15}) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n"
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";

static const char *const grammars[] = {
    "root ::= (\"word260\" | \"wor\" [a-z]+ \"!\" | \"\xc3\xa9\xe2\x82\xac\"){1,5}",
    "root ::= \"(\" root \")\" | [^()]{0,3}",
    "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\"",
    "root ::= \"\"",
    "root ::= .{0,40} \" \" list\nlist ::= \"- \" [^\\n]+ \"\\n\" list | \"\"",
    "root ::= [\\u0400-\\u04ff]+ | [\\U0001F300-\\U0001F6FF] name\nname ::= pair*\npair ::= [a-z] \"=\" [0-9] (\",\" "
    "| \";\")",
};

static mlxn_constraint *make(mlxn_model *model, const char *text) {
    mlxn_grammar *g = NULL;
    mlxn_constraint *c = NULL;
    mlxn_error error;
    CHECK(mlxn_grammar_from_gbnf(text, strlen(text), &g, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_constraint_create(model, g, &c, &error) == MLXN_OK, "%s", error.message);
    mlxn_grammar_release(&g);
    return c;
}

static const uint32_t *mask(mlxn_constraint *c) {
    const uint32_t *bits = NULL;
    mlxn_error error;
    CHECK(mlxn_constraint_mask(c, &bits, &error) == MLXN_OK, "%s", error.message);
    return bits;
}

static bool has(const uint32_t *bits, uint32_t id) { return bits[id / 32] >> (id % 32) & 1; }

/* Every token tried alone; returns how many are allowed. */
static uint32_t compare(mlxn_model *model, mlxn_constraint *c, uint32_t n_vocab, const char *what) {
    uint32_t wrong = 0, allowed = 0, first = 0;
    uint32_t *bits = malloc((n_vocab + 31) / 32 * 4);
    memcpy(bits, mask(c), (n_vocab + 31) / 32 * 4);
    for (uint32_t id = 0; id < n_vocab; id++) {
        mlxn_constraint *try = NULL;
        CHECK(mlxn_constraint_copy(c, &try, NULL) == MLXN_OK, "copy");
        bool fits = mlxn_constraint_accept(try, (mlxn_token)id, NULL) == MLXN_OK;
        mlxn_constraint_destroy(try);
        allowed += fits;
        if (fits == has(bits, id)) continue;
        if (!wrong++) first = id;
    }
    size_t n = 0;
    const char *bytes = mlxn_token_bytes(model, (mlxn_token)first, &n);
    CHECK(!wrong, "%s: %u tokens differ, the first is %u \"%.*s\", mask %d", what, wrong, first, (int)n, bytes,
          has(bits, first));
    for (uint32_t id = n_vocab; id < (n_vocab + 31) / 32 * 32; id++) CHECK(!has(bits, id), "a bit beyond the last");
    free(bits);
    return allowed;
}

static uint64_t state = 88172645463325252u;
static uint32_t random_below(uint32_t n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state % n);
}

static uint32_t nth_allowed(const uint32_t *bits, uint32_t n) {
    for (uint32_t id = 0;; id++)
        if (has(bits, id) && n-- == 0) return id;
}

/* A random walk through a grammar's texts. */
static void walk(mlxn_model *model, uint32_t n_vocab, const char *grammar, int steps) {
    mlxn_constraint *c = make(model, grammar);
    for (int i = 0; i < steps; i++) {
        uint32_t allowed = compare(model, c, n_vocab, grammar);
        if (!allowed || mlxn_constraint_is_done(c)) break;
        uint32_t id = nth_allowed(mask(c), random_below(allowed));
        bool end = mlxn_token_is_end(model, (mlxn_token)id);
        CHECK(!end || mlxn_constraint_is_complete(c), "an end token before the end");
        CHECK(mlxn_constraint_accept(c, (mlxn_token)id, NULL) == MLXN_OK, "token %u", id);
        CHECK(!end || mlxn_constraint_is_done(c), "an end token ends");
    }
    mlxn_constraint_destroy(c);
}

static void test_walks(mlxn_model *model, uint32_t n_vocab, int walks, int steps) {
    for (int i = 0; i < walks; i++) {
        walk(model, n_vocab, json, steps);
        for (size_t k = 0; k < sizeof grammars / sizeof *grammars; k++) walk(model, n_vocab, grammars[k], steps);
    }
}

/* After given texts; the last column is what must be allowed and forbidden among single bytes. */
static void test_places(mlxn_model *model, uint32_t n_vocab) {
    static const char *const texts[] = {"",
                                        "{",
                                        "{\"",
                                        "{\"a",
                                        "{\"a\\",
                                        "{\"a\\u00",
                                        "{\"\xe2\x82",
                                        "{\"a\":",
                                        "{\"a\": [1, [2, {\"b\":\n    ",
                                        "{\"a\":-",
                                        "{\"a\":12.5",
                                        "{\"a\":[[[[[\"x",
                                        "{\"a\":tr",
                                        "{\"a\":{}}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        mlxn_constraint *c = make(model, json);
        mlxn_error error;
        CHECK(mlxn_constraint_accept_text(c, texts[i], strlen(texts[i]), &error) == MLXN_OK, "%s: %s", texts[i],
              error.message);
        compare(model, c, n_vocab, texts[i]);
        compare(model, c, n_vocab, texts[i]); /* from the masks that are kept */
        mlxn_constraint_destroy(c);
    }
}

static void test_interface(mlxn_model *model) {
    mlxn_constraint *c = make(model, "root ::= \"ab\" \"c\"?"), *d = NULL;
    mlxn_error error;
    CHECK(!mlxn_constraint_is_complete(c) && !mlxn_constraint_is_done(c), "at the beginning");
    CHECK(mlxn_constraint_accept_text(c, "ax", 2, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "0x78 at 1"),
          "%s", error.message);
    CHECK(mlxn_constraint_accept(c, 2, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "not complete"), "%s",
          error.message);
    CHECK(mlxn_constraint_accept(c, 1, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "no part of a text"),
          "%s", error.message);
    CHECK(mlxn_constraint_accept(c, TINY_VOCAB, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "300"), "%s",
          error.message);
    CHECK(mlxn_constraint_accept(c, 3 + 'b', &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "do not fit"),
          "%s", error.message);
    CHECK(mlxn_constraint_accept_text(c, "ab", 2, NULL) == MLXN_OK, "the place stayed");
    CHECK(mlxn_constraint_is_complete(c) && !mlxn_constraint_is_done(c), "after ab");
    CHECK(mlxn_constraint_copy(c, &d, NULL) == MLXN_OK, "copy");
    CHECK(mlxn_constraint_accept(d, 3 + 'c', NULL) == MLXN_OK && mlxn_constraint_is_done(d), "after abc");
    CHECK(!mlxn_constraint_is_done(c) && mlxn_constraint_accept(c, 2, NULL) == MLXN_OK && mlxn_constraint_is_done(c),
          "an end token");
    const uint32_t *bits = mask(c);
    for (int i = 0; i < (TINY_VOCAB + 31) / 32; i++) CHECK(!bits[i], "nothing comes after the end");
    CHECK(mlxn_constraint_accept_text(c, "c", 1, NULL) == MLXN_ERR_ARGUMENT, "no text after the end");
    mlxn_constraint_reset(c);
    CHECK(!mlxn_constraint_is_complete(c) && has(mask(c), 3 + 'a') && !has(mask(c), 3 + 'b'), "reset");
    mlxn_constraint_destroy(c);
    CHECK(has(mask(d), 2) && !has(mask(d), 3 + 'c'), "a copy outlives what it was made from");
    mlxn_constraint_destroy(d);
    CHECK(mlxn_constraint_create(model, NULL, &c, NULL) == MLXN_ERR_ARGUMENT && !c, "no grammar");
    CHECK(mlxn_constraint_mask(NULL, &bits, NULL) == MLXN_ERR_ARGUMENT, "no constraint");
    mlxn_constraint_destroy(NULL);
}

/* Numbered states by the thousand: what they take stays bounded, and places and copies survive. */
static void test_compaction(mlxn_model *model) {
    mlxn_constraint *c = make(model, "root ::= ([a-y] [a-z] \"z\" | \"(\" root \")\"){60000}"), *d = NULL;
    mlxn_error error;
    mlxn_constraint_set_budget(c, 8 << 20);
    for (int i = 0; i < 20000; i++) {
        CHECK(mlxn_constraint_accept_text(c, i % 2 ? "abz" : "(", i % 2 ? 3 : 1, NULL) == MLXN_OK, "step %d", i);
        mask(c);
        if (i == 101) CHECK(mlxn_constraint_copy(c, &d, NULL) == MLXN_OK, "copy");
        if (test_failures) break;
    }
    CHECK(has(mask(c), 3 + 'b') && has(mask(c), 3 + '(') && !has(mask(c), 3 + 'z') && !has(mask(c), 3 + ')'), "mask");
    CHECK(has(mask(d), 3 + 'b') && has(mask(d), 3 + '(') && !has(mask(d), 3 + 'z') && !has(mask(d), 3 + ')'), "copy");
    mlxn_constraint_reset(c);
    char *deep = malloc(200000);
    memset(deep, '(', 200000);
    CHECK(mlxn_constraint_accept_text(c, deep, 200000, NULL) == MLXN_OK, "200000 calls within each other");
    const uint32_t *bits;
    CHECK(mlxn_constraint_mask(c, &bits, &error) == MLXN_ERR_LIMIT && strstr(error.message, "nested too deeply"),
          "%s", error.message);
    mlxn_constraint_set_budget(c, 0);
    CHECK(has(mask(c), 3 + '(') && has(mask(d), 3 + '('), "with a larger budget");
    free(deep);
    mlxn_constraint_destroy(c);
    mlxn_constraint_destroy(d);
}

/* A grammar that is too ambiguous is told, in bounded time, and the constraint can still be used. */
static void test_too_hard(mlxn_model *model) {
    static const char text[] = "root ::= \"x\" | \"y\" (\"a\"? .?){60000}";
    mlxn_grammar *g = NULL;
    mlxn_constraint *c = NULL;
    mlxn_error error;
    char many[1000];
    memset(many, 'a', sizeof many);
    CHECK(mlxn_grammar_from_gbnf(text, strlen(text), &g, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_constraint_create(model, g, &c, NULL) == MLXN_OK, "create");
    mlxn_grammar_release(&g);
    CHECK(mlxn_constraint_accept_text(c, "yaa", 3, NULL) == MLXN_OK && has(mask(c), 3 + 'a'), "a little works");
    CHECK(mlxn_constraint_accept_text(c, many, sizeof many, &error) == MLXN_ERR_LIMIT, "a lot is too much");
    CHECK(strstr(error.message, "too ambiguous"), "%s", error.message);
    CHECK(has(mask(c), 3 + 'a'), "the place stayed");
    mlxn_constraint_reset(c);
    CHECK(mlxn_constraint_accept_text(c, "x", 1, NULL) == MLXN_OK && mlxn_constraint_is_done(c), "after a failure");
    mlxn_constraint_destroy(c);
}

static bool differ(const mlxn_model *model, mlxn_token a, mlxn_token b) {
    size_t n = 0, k = 0;
    const char *x = mlxn_token_bytes(model, a, &n), *y = mlxn_token_bytes(model, b, &k);
    return n != k || memcmp(x, y, n);
}

/* What is said of a subtree, against reading each way down from the beginning. */
static bool below_is_right(const mlxn_token_trie *trie, uint32_t node, const char *beginning) {
    char text[MLXN_TRIE_MAX_DEPTH + 4];
    uint32_t depth = trie->nodes[node].depth, groups = 0, longest = 0;
    bool whole = true;
    memcpy(text, beginning, depth);
    for (uint32_t k = node; k < trie->nodes[node].skip; k++) {
        uint32_t n = trie->nodes[k].depth, at = 0, below = 0, size, bad = 0;
        text[n - 1] = (char)trie->nodes[k].byte;
        for (; at < n; at += size) {
            size = mlxn_utf8_read(text + at, n - at, NULL, &bad);
            if (!size && bad == n - at && k != node) size = n - at; /* unfinished */
            if (!size) break;
            if (at < depth && at + size > depth) break; /* the node ends within a character */
            if (at < depth) continue;
            groups |= 1u << mlxn_trie_group((uint8_t)text[at]);
            below++;
        }
        whole = whole && at >= n;
        if (below > longest) longest = below;
    }
    const mlxn_trie_below *b = &trie->below[node];
    return b->whole == whole && (!whole || (b->groups == groups && b->characters == longest));
}

/* Duplicate tokens, tokens of no bytes, long ones: all tokens of the trie are found, each once. */
static void test_trie(const mlxn_model *model, uint32_t n_vocab) {
    mlxn_token_trie *trie = NULL;
    uint8_t *seen = calloc(n_vocab, 1);
    CHECK(mlxn_token_trie_create(model, &trie, NULL) == MLXN_OK, "trie");
    char text[MLXN_TRIE_MAX_DEPTH + 1];
    uint32_t wrong = 0, missing = 0, n_sorted = 0;
    for (uint32_t i = 0; i < trie->count; i++) {
        const mlxn_trie_below *below = &trie->below[i];
        wrong += below->first > trie->below[trie->nodes[i].skip].first;
        if (trie->nodes[i].token >= 0) /* the first of the subtree, or one of those that are the same */
            wrong += differ(model, trie->order[below->first], trie->nodes[i].token);
        const mlxn_trie_node *node = &trie->nodes[i];
        text[node->depth - 1] = (char)node->byte;
        wrong += i % 3 == 0 && !below_is_right(trie, i, text);
        wrong += node->skip <= i || node->skip > trie->count;
        wrong += node->skip < trie->count && trie->nodes[node->skip].depth > node->depth;
        for (mlxn_token t = node->token; t >= 0; t = trie->same[t]) {
            size_t n = 0;
            const char *bytes = mlxn_token_bytes(model, t, &n);
            wrong += n != node->depth || memcmp(bytes, text, n) || seen[t]++;
        }
    }
    for (uint32_t id = 0; id < n_vocab; id++) {
        size_t n = 0;
        mlxn_token_bytes(model, (mlxn_token)id, &n);
        bool out = mlxn_token_is_end(model, (mlxn_token)id) || mlxn_token_is_special(model, (mlxn_token)id) || !n;
        missing += out == seen[id];
        n_sorted += seen[id];
    }
    wrong += trie->below[trie->count].first != n_sorted;
    CHECK(!wrong && !missing, "%u wrong, %u missing", wrong, missing);
    mlxn_token_trie_destroy(trie);
    free(seen);
}

/* The sampler draws among what is allowed by the model's odds, greedy takes the likeliest of it. */
static void test_sampler(mlxn_model *model) {
    mlxn_constraint *c = make(model, "root ::= [abc]");
    mlxn_sampler *s = NULL, *small = NULL;
    mlxn_error error;
    float logits[TINY_VOCAB];
    for (int i = 0; i < TINY_VOCAB; i++) logits[i] = (float)(i % 17);
    logits[3 + 'a'] = 1, logits[3 + 'b'] = 1.5f, logits[3 + 'c'] = -2, logits[7] = NAN;
    for (int k = 0; k < 6; k++) {
        mlxn_sampler_desc desc = {.struct_size = sizeof desc, .temp = k ? 1 : 0, .seed = 4, .top_k = k == 1 ? 2 : 0};
        if (k == 2) desc.top_p = 0.99f;
        if (k == 3) desc.min_p = 0.001f;
        if (k == 4) desc.typical_p = 0.999f;
        if (k == 5) desc.repeat_penalty = 1.1f;
        CHECK(mlxn_sampler_create(&desc, TINY_VOCAB, &s, NULL) == MLXN_OK, "sampler");
        CHECK(mlxn_sampler_set_constraint(s, c, &error) == MLXN_OK, "%s", error.message);
        int count[3] = {0};
        if (k == 5) mlxn_sampler_accept(s, 3 + 'a');
        for (int i = 0; i < 20000; i++) {
            int t = mlxn_sampler_sample(s, logits) - 3 - 'a';
            if (t < 0 || t > 2) count[0] = -1000000;
            if (t >= 0 && t < 3) count[t]++;
        }
        if (k == 0) CHECK(count[1] == 20000, "greedy: %d", count[1]);
        if (k == 0) CHECK(mlxn_sampler_logprob(s, 3 + 'b') == 0 && isinf(mlxn_sampler_logprob(s, 3 + 'a')), "greedy");
        double want = k == 5 ? 20000 / (1 + exp(1.5 - 1 / 1.1) + exp(-2 - 1 / 1.1)) : 20000 / (1 + exp(.5) + exp(-3));
        if (k == 1) want = 20000 / (1 + exp(.5));
        if (k) CHECK(fabs(count[0] - want) < 400, "sampler %d: %d times, want %.0f", k, count[0], want);
        if (k) CHECK(fabs(exp((double)mlxn_sampler_logprob(s, 3 + 'a')) - want / 20000) < 1e-3, "its probability");
        CHECK(mlxn_constraint_accept(c, 3 + 'a', NULL) == MLXN_OK, "a");
        CHECK(mlxn_sampler_sample(s, logits) == 2, "the end alone is left");
        s->no_end = true;
        CHECK(mlxn_sampler_sample(s, logits) == -1, "nothing is left");
        mlxn_sampler_set_constraint(s, NULL, NULL);
        CHECK(mlxn_sampler_sample(s, logits) >= 0, "no constraint");
        mlxn_sampler_destroy(s);
        mlxn_constraint_reset(c);
    }
    CHECK(mlxn_sampler_create(NULL, TINY_VOCAB - 1, &small, NULL) == MLXN_OK, "sampler");
    CHECK(mlxn_sampler_set_constraint(small, c, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "300") &&
              strstr(error.message, "299"),
          "%s", error.message);
    mlxn_sampler_destroy(small);
    mlxn_constraint_destroy(c);
}

static void test_no_memory(mlxn_model *model) {
    mlxn_grammar *g = NULL;
    CHECK(mlxn_grammar_from_gbnf(json, strlen(json), &g, NULL) == MLXN_OK, "grammar");
    uint64_t live = mlxn_alloc_live();
    for (uint64_t k = 1;; k++) {
        mlxn_constraint *c = NULL, *d = NULL;
        const uint32_t *bits = NULL;
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_constraint_create(model, g, &c, NULL);
        if (!status) status = mlxn_constraint_mask(c, &bits, NULL);
        if (!status) status = mlxn_constraint_accept_text(c, "{\"a\": [1, \"", 11, NULL);
        if (!status) status = mlxn_constraint_mask(c, &bits, NULL);
        if (!status) status = mlxn_constraint_copy(c, &d, NULL);
        mlxn_alloc_fail_at(0);
        CHECK(!status || status == MLXN_ERR_MEMORY, "allocation %d: %s", (int)k, mlxn_status_name(status));
        if (c) { /* after a failure it works as before */
            mlxn_constraint_reset(c);
            CHECK(has(mask(c), 3 + '{') && !has(mask(c), 3 + '}'), "allocation %d", (int)k);
        }
        mlxn_constraint_destroy(c);
        mlxn_constraint_destroy(d);
        CHECK(mlxn_alloc_live() == live, "allocation %d leaks", (int)k);
        if (!status) {
            CHECK(k > 20, "only %d allocations", (int)k);
            break;
        }
    }
    mlxn_grammar_release(&g);
}

int main(void) {
    mlxn_device *device = tiny_device(MLXN_PRECISION_F32, 1);
    mlxn_model *tiny_model = tiny_load(device, "llama"), *model = NULL;
    mlxn_model_desc desc = {.struct_size = sizeof desc, .vocab_only = true};
    test_trie(tiny_model, TINY_VOCAB);
    test_interface(tiny_model);
    test_walks(tiny_model, TINY_VOCAB, 6, 60);
    test_places(tiny_model, TINY_VOCAB);
    test_sampler(tiny_model);
    test_compaction(tiny_model);
    test_too_hard(tiny_model);
    test_no_memory(tiny_model);
    if (mlxn_model_load(NULL, "models/smollm2.gguf", &desc, &model, NULL) == MLXN_OK) {
        mlxn_model_info info = {.struct_size = sizeof info};
        mlxn_model_get_info(model, &info);
        test_trie(model, info.n_vocab);
        test_walks(model, info.n_vocab, 1, 4);
        test_places(model, info.n_vocab);
        mlxn_model_release(&model);
    } else {
        fprintf(stderr, "skipped: models/smollm2.gguf is not there (tools/get-model fetches it)\n");
        test_skips++;
    }
    mlxn_model_release(&tiny_model);
    mlxn_device_release(&device);
    return TEST_DONE();
}
