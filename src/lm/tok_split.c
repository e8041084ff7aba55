/* tok_split.c: cutting a text into pieces, step by step: each step sees the pieces that the one before it left, cuts
 * them further, and some rewrite them. */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

/* What a step has to do with one piece: where it lies, where its parts go. */
typedef struct cutter {
    const mlxn_tok_step *step;
    mlxn_tok_work *work;
    const char *text; /* of all pieces */
    mlxn_tok_cut piece;
    mlxn_tok_behavior behavior;
    mlxn_tok_cut pending;
    bool has_pending, last_match;
    bool ok;
} cutter;

static void push(cutter *c, uint32_t start, uint32_t end) {
    if (start >= end) return;
    mlxn_tok_cut cut = {start, end, false, c->piece.first && start == c->piece.start};
    c->ok = c->ok && mlxn_tok_cut_add(&c->work->next, cut);
}

static void flush(cutter *c) {
    if (c->has_pending) push(c, c->pending.start, c->pending.end);
    c->has_pending = false;
}

static void hold(cutter *c, uint32_t start, uint32_t end) {
    flush(c);
    c->pending.start = start;
    c->pending.end = end;
    c->has_pending = true;
}

/* The next part of the piece, in order, and whether the pattern matched it. */
static void part(cutter *c, uint32_t start, uint32_t end, bool match) {
    match ^= c->step->invert;
    switch (c->behavior) {
        case MLXN_REMOVED:
            if (!match) push(c, start, end);
            break;
        case MLXN_ISOLATED:
            push(c, start, end);
            break;
        case MLXN_CONTIGUOUS:
            if (c->has_pending && c->last_match == match)
                c->pending.end = end;
            else
                hold(c, start, end);
            break;
        case MLXN_MERGED_WITH_PREVIOUS:
            if (match && !c->last_match && c->has_pending)
                c->pending.end = end;
            else
                hold(c, start, end);
            break;
        case MLXN_MERGED_WITH_NEXT:
            if (!match && c->last_match && c->has_pending)
                c->pending.end = end;
            else
                hold(c, start, end);
            break;
    }
    c->last_match = match;
}

/* ---- patterns ---- */

/* Calls `part` for what the regex or text finds and for what lies between. An empty match directly behind a match
 * does not count, as in Oniguruma's scan. */
static mlxn_status cut_by_pattern(cutter *c, mlxn_error *error) {
    const mlxn_tok_step *step = c->step;
    const char *s = c->text + c->piece.start;
    uint32_t n = c->piece.end - c->piece.start, origin = c->piece.start, at = 0, done = 0;
    int64_t last = -1;
    while (at <= n && c->ok) {
        uint32_t start, end;
        mlxn_status status = mlxn_tok_find_pattern(step, &c->work->regex, s, n, at, &start, &end, error);
        if (status != MLXN_OK) return status;
        if (start == UINT32_MAX) break;
        if (start == end) {
            uint32_t length = end < n ? mlxn_utf8_read(s + end, n - end, NULL, NULL) : 1;
            at = end + (length ? length : 1);
            if ((int64_t)end == last) continue;
        } else {
            at = end;
        }
        last = end;
        if (done != start) part(c, origin + done, origin + start, false);
        part(c, origin + start, origin + end, true);
        done = end;
    }
    if (done != n) part(c, origin + done, origin + n, false);
    return MLXN_OK;
}

/* ---- characters ---- */

static bool matches(const mlxn_tok_step *step, uint32_t code) {
    switch (step->op) {
        case MLXN_SPLIT_WHITESPACE:
            return mlxn_char_is_white(code);
        case MLXN_SPLIT_DIGITS:
            return mlxn_char_is_number(code);
        case MLXN_SPLIT_PUNCTUATION:
        case MLXN_SPLIT_BERT_PUNCTUATION:
            return mlxn_char_is_punctuation(code);
        default:
            return code == step->number;
    }
}

static void cut_by_character(cutter *c) {
    uint32_t done = c->piece.start, code = 0, length;
    for (uint32_t i = done; i < c->piece.end && c->ok; i += length) {
        length = mlxn_utf8_read(c->text + i, c->piece.end - i, &code, NULL);
        if (!matches(c->step, code)) continue;
        if (done < i) part(c, done, i, false);
        part(c, i, i + length, true);
        done = i + length;
    }
    if (done < c->piece.end) part(c, done, c->piece.end, false);
}

/* Runs of characters of one kind: word, other, white space (left out). */
static void cut_words(cutter *c) {
    uint32_t start = c->piece.start, code = 0, length;
    int kind = -1;
    for (uint32_t i = start; i < c->piece.end && c->ok; i += length) {
        length = mlxn_utf8_read(c->text + i, c->piece.end - i, &code, NULL);
        int now = mlxn_char_is_word(code) ? 1 : mlxn_char_is_white(code) ? 0 : 2;
        if (now == kind) continue;
        if (kind > 0) push(c, start, i);
        start = i;
        kind = now;
    }
    if (kind > 0) push(c, start, c->piece.end);
}

static void cut_fixed(cutter *c) {
    uint32_t start = c->piece.start, length;
    uint64_t count = 0;
    for (uint32_t i = start; i < c->piece.end && c->ok; i += length, count++) {
        length = mlxn_utf8_read(c->text + i, c->piece.end - i, NULL, NULL);
        if (count != c->step->number) continue;
        push(c, start, i);
        start = i;
        count = 0;
    }
    push(c, start, c->piece.end);
}

static mlxn_status cut_piece(cutter *c, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    switch (c->step->op) {
        case MLXN_SPLIT_PATTERN:
        case MLXN_SPLIT_METASPACE:
        case MLXN_SPLIT_SCRIPTS:
            status = cut_by_pattern(c, error);
            break;
        case MLXN_SPLIT_WORDS:
            cut_words(c);
            break;
        case MLXN_SPLIT_FIXED:
            cut_fixed(c);
            break;
        default:
            cut_by_character(c);
            break;
    }
    flush(c);
    return status;
}

static mlxn_status cut_pieces(const mlxn_tok_step *step, mlxn_tok_work *work, mlxn_error *error) {
    cutter c = {.step = step, .work = work, .text = work->pieces.data, .behavior = step->behavior, .ok = true};
    work->next.count = 0;
    for (size_t i = 0; i < work->cuts.count; i++) {
        c.piece = work->cuts.data[i];
        c.last_match = false;
        if (c.piece.ill_formed) {
            c.ok = c.ok && mlxn_tok_cut_add(&work->next, c.piece);
            continue;
        }
        mlxn_status status = cut_piece(&c, error);
        if (status != MLXN_OK) return status;
        if (!c.ok) break;
    }
    if (!c.ok) return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for the pieces of the text");
    mlxn_tok_cuts swap = work->cuts;
    work->cuts = work->next;
    work->next = swap;
    return MLXN_OK;
}

/* ---- rewriting ---- */

static bool begins_with(const char *s, uint32_t n, mlxn_string text) {
    return n >= text.size && memcmp(s, text.data, (size_t)text.size) == 0;
}

static bool rewrite_metaspace(const mlxn_tok_step *step, const char *s, uint32_t n, bool first, mlxn_tok_bytes *out) {
    bool prepend = step->number == MLXN_PREPEND_ALWAYS || (step->number == MLXN_PREPEND_FIRST && first);
    bool ok = true;
    if (prepend && n && s[0] != ' ' && !begins_with(s, n, step->text))
        ok = mlxn_tok_append(out, step->text.data, (size_t)step->text.size);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = s[i] == ' ' ? mlxn_tok_append(out, step->text.data, (size_t)step->text.size)
                         : mlxn_tok_append(out, s + i, 1);
    return ok;
}

static bool rewrite(const mlxn_tok_step *step, const char *s, const mlxn_tok_cut *piece, mlxn_tok_bytes *out) {
    uint32_t n = piece->end - piece->start;
    if (step->op == MLXN_SPLIT_METASPACE)
        return piece->ill_formed ? mlxn_tok_append(out, s, n) : rewrite_metaspace(step, s, n, piece->first, out);
    if (step->flag[0]) {
        bool space = !piece->ill_formed && n && s[0] != ' ';
        return mlxn_tok_append(out, " ", space) && mlxn_tok_append(out, s, n);
    }
    for (uint32_t i = 0; i < n; i++)
        if (!mlxn_tok_append_char(out, mlxn_bpe_char_of_byte((uint8_t)s[i]))) return false;
    return true;
}

static mlxn_status rewrite_pieces(const mlxn_tok_step *step, mlxn_tok_work *work, mlxn_error *error) {
    mlxn_tok_bytes *out = &work->spare;
    out->size = 0;
    for (size_t i = 0; i < work->cuts.count; i++) {
        mlxn_tok_cut *piece = &work->cuts.data[i];
        size_t start = out->size;
        if (!rewrite(step, work->pieces.data + piece->start, piece, out) || out->size > UINT32_MAX)
            return mlxn_tok_no_memory(work->pieces.size, error);
        piece->start = (uint32_t)start;
        piece->end = (uint32_t)out->size;
    }
    mlxn_tok_swap(&work->pieces, out);
    return MLXN_OK;
}

/* Runs of well-formed and of ill-formed text: patterns see only the former. */
static bool cut_ill_formed(mlxn_tok_cuts *cuts, const char *text, uint32_t n, bool first) {
    bool last = true; /* is the run well-formed? */
    uint32_t start = 0;
    for (uint32_t i = 0, length; i < n; i += length) {
        uint64_t word = UINT64_MAX;
        if (last && n - i >= 8) memcpy(&word, text + i, 8);
        length = 8;
        if (!(word & 0x8080808080808080u)) continue; /* eight bytes of ASCII at a time */
        length = mlxn_utf8_read(text + i, n - i, NULL, NULL);
        bool good = length != 0;
        if (good != last && i) {
            if (!mlxn_tok_cut_add(cuts, (mlxn_tok_cut){start, i, !last, first && !start})) return false;
            start = i;
        }
        last = good;
        if (!good) length = 1;
    }
    return mlxn_tok_cut_add(cuts, (mlxn_tok_cut){start, n, !last, first && !start});
}

mlxn_status mlxn_tok_split(const mlxn_tok_steps *steps, mlxn_tok_work *work, const char *text, uint32_t n, bool first,
                           mlxn_error *error) {
    work->cuts.count = 0;
    work->pieces.size = 0;
    bool ok = mlxn_tok_append(&work->pieces, text, n);
    if (ok && !steps->count)
        ok = mlxn_tok_cut_add(&work->cuts, (mlxn_tok_cut){0, n, false, first});
    else if (ok)
        ok = cut_ill_formed(&work->cuts, text, n, first);
    mlxn_status status = ok ? MLXN_OK : mlxn_tok_no_memory(n, error);
    for (uint32_t i = 0; status == MLXN_OK && i < steps->count; i++) {
        const mlxn_tok_step *step = &steps->items[i];
        bool rewrites = step->op == MLXN_SPLIT_BYTE_LEVEL || step->op == MLXN_SPLIT_METASPACE;
        if (rewrites) status = rewrite_pieces(step, work, error);
        if (status == MLXN_OK && (!rewrites || (step->op == MLXN_SPLIT_METASPACE && step->flag[0])))
            status = cut_pieces(step, work, error);
    }
    return status;
}
