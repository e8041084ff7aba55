/* matmul_i8.c (CPU kernels): quantized weights times activations in fixed point, on 8-bit dot products.
 *
 * Activations are rounded per group of 32: x = scale * q, scale = absmax / 32512, q to nearest even. q has 16 bits
 * and goes in two bytes, q = 256 * high + low: one byte alone (absmax / 127) moved logits of small models by more
 * than half a unit, because one large element takes the precision of its whole group. Decoding is bound by the
 * weights' bytes, so the second byte costs it nothing. A group's dot product of codes and q, s = 256 * (codes . high)
 * + codes . low, is an exact 32-bit integer; for every group in turn (every half of one where halves have scales of
 * their own) sum = fma(float(s) * w_scale, x_scale, sum), and then with minimums, likewise, sum = fma(w_minimum,
 * x_scale * (sum of q), sum). This is the arithmetic of every output element, whatever the number of tokens or
 * threads, so that a prompt gives the bits that its tokens give one by one. Formats with an offset start s at
 * -offset * (sum of q).
 *
 * A NaN or an infinity in a group makes its scale one, and so the token's outputs. */
#include "backend/cpu/kernels/matmul_experts.h"
#include "backend/cpu/kernels/matmul_i8_round.h"

#if CPU_ISA_LEVEL > 0

enum { I8_FEW = 2 * I8_DIRECT };

/* --- Rows of the table. --- */

bool CPU_ISA(mm_i8_fits)(const mlxn_view *args, const void *params) {
    return mm_fits(args) && CPU_ISA(mm_i8_find)(cpu_layout_of(args[MM_W].weight));
}

static mm_shape shape_of(const mlxn_view *args, uint32_t n_threads) {
    if (args[MM_X].dims[0] <= I8_FEW) return mm_shape_few(args, n_threads, 1);
    return mm_shape_many(args, n_threads, I8_TILES, I8_TOKENS);
}
/* Stretches of nearly equal length along k. */
static uint64_t stretch_groups(uint64_t groups) {
    uint64_t n = (groups + I8_PANEL_GROUPS - 1) / I8_PANEL_GROUPS;
    return (groups + n - 1) / n;
}
static uint64_t panel_bytes(const cpu_tile_format *f, uint64_t groups) {
    return stretch_groups(groups) * mm_panel_group_bytes(f) * I8_TILES;
}

void CPU_ISA(mm_i8_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    mm_shape s = shape_of(args, n_threads);
    const cpu_tile_format *f = cpu_layout_of(args[MM_W].weight);
    uint64_t groups = cpu_groups(s.cols);
    if (s.tokens <= I8_FEW) {
        /* Every thread rounds the few activations itself, which is cheaper than a barrier. */
        *out = (cpu_plan){.phases = 1, .chunks = {s.panels}, .local_bytes = groups * mm_record_bytes(f, s.tokens)};
        return;
    }
    *out = (cpu_plan){.phases = 2,
                      .chunks = {s.blocks, s.panels * s.ranges},
                      .shared_bytes = s.blocks * groups * mm_record_bytes(f, I8_TOKENS),
                      .local_bytes = panel_bytes(f, groups)};
    if (groups > I8_PANEL_GROUPS) out->local_bytes += s.range * I8_TOKENS * I8_TILES * 16 * sizeof(float);
}

/* More tokens than I8_DIRECT go in two passes, the second of which finds a chunk's weights in the cache. */
static void run_few(cpu_run *run, const mm_i8_code *row, const cpu_tile_format *f) {
    mm_shape s = shape_of(run->args, run->n_threads);
    const uint64_t first = s.tokens <= I8_DIRECT ? s.tokens : (s.tokens + 1) / 2, second = s.tokens - first;
    uint8_t *records = run->local, *more = records + cpu_groups(s.cols) * mm_record_bytes(f, first);
    const mm_matrix w = mm_matrix_of(run->args[MM_W].weight, 0);
    const mm_target target = mm_target_of(run->args);
    const mm_tokens from = {.x = &run->args[MM_X]};
    bool rounded = false;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        if (!rounded) {
            round_tokens(f, &from, 0, first, first, records);
            round_tokens(f, &from, first, second, second, more);
            rounded = true;
        }
        uint64_t begin = chunk * s.panel_tiles, end = mlxn_min_u64(begin + s.panel_tiles, s.tiles);
        row->direct[first - 1](&w, &target, 0, begin, end, records);
        if (second) row->direct[second - 1](&w, &target, first, begin, end, more);
    }
}

/* I8_TILES tiles from `tile` on times token blocks [first, last) of a matrix's `tokens` tokens. */
static void multiply_tiles(const mm_i8_code *row, const mm_matrix *w, const mm_target *target, uint64_t tokens,
                           const uint8_t *records, uint64_t tile, uint64_t first, uint64_t last, uint8_t *panel) {
    uint64_t groups = cpu_groups(w->cols), part = stretch_groups(groups);
    uint64_t record = mm_record_bytes(w->layout, I8_TOKENS);
    float *partial = (float *)(panel + panel_bytes(w->layout, groups));
    mm_stretch st = {
        .target = target, .panel = panel, .first_tile = tile, .tiles = mlxn_min_u64(I8_TILES, w->tiles - tile)};
    for (uint64_t g = 0; g < groups; g += st.groups) {
        st.groups = mlxn_min_u64(part, groups - g);
        st.panel_step = st.groups * mm_panel_group_bytes(w->layout);
        st.begins = g == 0;
        st.ends = g + st.groups == groups;
        for (uint64_t r = 0; r < I8_TILES; r++)
            row->fill(w->layout, r < st.tiles ? w->packed + (tile + r) * w->tile_bytes : NULL, g, st.groups,
                      panel + r * st.panel_step);
        for (uint64_t b = first; b < last; b++) {
            uint64_t n = mlxn_min_u64(I8_TOKENS, tokens - b * I8_TOKENS);
            row->block[n - 1](&st, b * I8_TOKENS, records + (b * groups + g) * record,
                              partial + (b - first) * I8_TOKENS * I8_TILES * 16);
        }
    }
}

static void run_many(cpu_run *run, const mm_i8_code *row, const cpu_tile_format *f) {
    mm_shape s = shape_of(run->args, run->n_threads);
    const mm_matrix w = mm_matrix_of(run->args[MM_W].weight, 0);
    const mm_target target = mm_target_of(run->args);
    const mm_tokens from = {.x = &run->args[MM_X]};
    uint64_t groups = cpu_groups(s.cols), chunk;
    if (run->phase == 0) {
        while (cpu_next(run, &chunk))
            round_tokens(f, &from, chunk * I8_TOKENS, mlxn_min_u64(I8_TOKENS, s.tokens - chunk * I8_TOKENS),
                         I8_TOKENS, (uint8_t *)run->shared + chunk * groups * mm_record_bytes(f, I8_TOKENS));
        return;
    }
    while (cpu_next(run, &chunk)) {
        uint64_t first = chunk % s.ranges * s.range;
        multiply_tiles(row, &w, &target, s.tokens, run->shared, chunk / s.ranges * I8_TILES, first,
                       mlxn_min_u64(first + s.range, s.blocks), run->local);
    }
}

void CPU_ISA(mm_i8_run)(cpu_run *run) {
    const cpu_tile_format *f = cpu_layout_of(run->args[MM_W].weight);
    const mm_i8_code *row = CPU_ISA(mm_i8_find)(f);
    if (run->args[MM_X].dims[0] <= I8_FEW)
        run_few(run, row, f);
    else
        run_many(run, row, f);
}

/* --- Expert-routed. A matrix with few tokens is multiplied as it is decoded, its records being of that many. --- */

enum { ID_RANGE = 512 / I8_TOKENS }; /* token blocks whose partial sums are kept */

bool CPU_ISA(mm_i8_id_fits)(const mlxn_view *args, const void *params) {
    return mm_route_fits(args) && CPU_ISA(mm_i8_find)(cpu_layout_of(args[ID_W].weight));
}

void CPU_ISA(mm_i8_id_plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mm_route_shape s = mm_route_shape_of(args, n_threads, I8_TILES, I8_TOKENS);
    const cpu_tile_format *f = cpu_layout_of(args[ID_W].weight);
    uint64_t groups = cpu_groups(args[ID_X].dims[1]);
    *out = (cpu_plan){.phases = 3,
                      .chunks = {1, s.blocks, s.active * s.panels},
                      .shared_bytes = s.bytes + s.blocks * groups * mm_record_bytes(f, I8_TOKENS),
                      .local_bytes = panel_bytes(f, groups)};
    if (groups > I8_PANEL_GROUPS)
        out->local_bytes += mlxn_min_u64(ID_RANGE, s.blocks) * I8_TOKENS * I8_TILES * 16 * sizeof(float);
}

static void id_round(cpu_run *run, const mm_route_shape *s, const mm_route *r, uint8_t *records) {
    const cpu_tile_format *f = cpu_layout_of(run->args[ID_W].weight);
    uint64_t step = cpu_groups(run->args[ID_X].dims[1]) * mm_record_bytes(f, I8_TOKENS), b;
    while (cpu_next(run, &b)) {
        if (b >= r->block[*r->active]) continue;
        uint32_t i = mm_route_matrix(r, b);
        const mm_tokens from = {&run->args[ID_X], r->slots + r->begin[i], s->slots_per_row};
        uint64_t count = r->begin[i + 1] - r->begin[i], first = (b - r->block[i]) * I8_TOKENS;
        round_tokens(f, &from, first, mlxn_min_u64(I8_TOKENS, count - first), count <= I8_DIRECT ? count : I8_TOKENS,
                     records + b * step);
    }
}

static void id_multiply(cpu_run *run, const mm_route_shape *s, const mm_route *r, const uint8_t *records) {
    const mlxn_weight_view *weight = run->args[ID_W].weight;
    const mm_i8_code *row = CPU_ISA(mm_i8_find)(cpu_layout_of(weight));
    uint64_t step = cpu_groups(weight->cols) * mm_record_bytes(cpu_layout_of(weight), I8_TOKENS), chunk;
    while (cpu_next(run, &chunk)) {
        uint32_t i = (uint32_t)(chunk / s->panels);
        if (i >= *r->active) continue;
        const mm_matrix w = mm_matrix_of(weight, r->expert[i]);
        const mm_target target = mm_route_target(run->args, r, i);
        uint64_t count = r->begin[i + 1] - r->begin[i], blocks = r->block[i + 1] - r->block[i];
        uint64_t begin = chunk % s->panels * s->panel_tiles, end = mlxn_min_u64(begin + s->panel_tiles, w.tiles);
        const uint8_t *own = records + r->block[i] * step;
        if (count <= I8_DIRECT) {
            row->direct[count - 1](&w, &target, 0, begin, end, own);
            continue;
        }
        for (uint64_t tile = begin; tile < end; tile += I8_TILES)
            for (uint64_t b = 0; b < blocks; b += ID_RANGE)
                multiply_tiles(row, &w, &target, count, own, tile, b, mlxn_min_u64(b + ID_RANGE, blocks), run->local);
    }
}

void CPU_ISA(mm_i8_id_run)(cpu_run *run) {
    const mm_route_shape s = mm_route_shape_of(run->args, run->n_threads, I8_TILES, I8_TOKENS);
    const mm_route r = mm_route_in(&s, run->shared);
    uint8_t *records = (uint8_t *)run->shared + s.bytes;
    uint64_t chunk;
    if (run->phase == 1) id_round(run, &s, &r, records);
    if (run->phase == 2) id_multiply(run, &s, &r, records);
    while (run->phase == 0 && cpu_next(run, &chunk)) mm_route_build(run->args, &s, I8_TOKENS, &r);
}

#endif
