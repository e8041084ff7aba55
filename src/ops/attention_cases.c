/* attention_cases.c: the cases of attention for the check harness: plain causal ones, and those of everything else.
 */
#include <math.h>

#include "ops/attention.h"

enum { Q = MLXN_ATT_Q, K_CACHE, V_CACHE, SEQUENCES, POSITIONS, SINKS, MASK, OUT };

static bool is_read(const mlxn_view *args, const mlxn_attention_params *p, uint64_t sequence, uint64_t slot) {
    uint64_t slots = args[K_CACHE].dims[2];
    for (uint64_t t = 0; t < args[Q].dims[0]; t++) {
        if (mlxn_view_u32(&args[SEQUENCES], t) != sequence) continue;
        mlxn_att_range r = mlxn_att_sees(args, p, mlxn_view_u32(&args[POSITIONS], t));
        uint64_t at = r.first / slots * slots + slot;
        if ((at >= r.first && at < r.end) || (at + slots >= r.first && at + slots < r.end)) return true;
    }
    return false;
}

/* Quantized caches get rows that were encoded. Slots that no row sees hold NaN: nothing of them may reach an output.
 */
static void fill_and_poison(const mlxn_view *args, const void *params) {
    const mlxn_attention_params *p = params;
    const mlxn_view *k = &args[K_CACHE], *v = &args[V_CACHE];
    mlxn_case_fill_cache(k, mlxn_kv_resolve(p->k_type, k->dtype), args[Q].dims[2], 1, 11);
    mlxn_case_fill_cache(v, mlxn_kv_resolve(p->v_type, v->dtype), args[OUT].dims[2], 1, 12);
    for (uint64_t s = 0; s < k->dims[0]; s++)
        for (uint64_t c = 0; c < k->dims[2]; c++) {
            if (is_read(args, p, s, c)) continue;
            for (uint64_t h = 0; h < k->dims[1]; h++) {
                mlxn_case_poison(k, s, h, c);
                mlxn_case_poison(v, s, h, c);
            }
        }
    const mlxn_view *mask = &args[MASK];
    if (!mask->present) return;
    uint64_t n = mlxn_view_elements(mask), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) { /* a third is hidden, of the last row everything */
        mlxn_view_unravel(mask, i, at);
        bool hidden = i * 7 % 3 == 0 || (at[0] + 1 == mask->dims[0] && mask->dims[0] > 2);
        if (mask->dtype == MLXN_U8)
            mlxn_view_set(mask, at, hidden ? 0 : 1 + (double)(i % 255));
        else if (hidden)
            mlxn_view_set(mask, at, i % 2 ? -INFINITY : -1e4);
    }
}

static const struct {
    uint64_t t, heads, kv_heads, d, slots;
    uint32_t n, sequences; /* rows name n sequences in turn, the cache has `sequences` */
    double start;
    uint32_t window;
    float softcap;
    bool slow;
} plain[] = {
    {1, 9, 3, 64, 64, 1, 1, 0, 0, 0, false},       {1, 9, 3, 64, 256, 1, 1, 200, 0, 0, false},
    {1, 4, 1, 256, 128, 1, 1, 100, 0, 0, false},   {1, 12, 2, 128, 96, 1, 2, 95, 0, 0, false},
    {1, 4, 1, 256, 64, 1, 1, 1000, 0, 0, false},   {7, 9, 3, 64, 64, 1, 1, 0, 0, 0, false},
    {33, 9, 3, 64, 64, 1, 1, 0, 0, 0, false},      {64, 3, 1, 64, 128, 1, 1, 17, 0, 0, false},
    {16, 4, 1, 256, 128, 1, 1, 90, 32, 0, false},  {5, 4, 4, 64, 31, 1, 1, 24, 7, 30, false},
    {4, 4, 2, 128, 48, 4, 4, 40, 0, 0, false},     {12, 6, 2, 64, 40, 3, 4, 60, 0, 0, false},
    {9, 6, 1, 80, 33, 3, 2, 12, 16, 0, false},     {3, 2, 2, 31, 5, 1, 1, 2, 0, 0, false},
    {8, 8, 2, 96, 65, 2, 2, 31, 1, 0, false},      {2, 3, 3, 16, 1, 2, 2, 5, 0, 50, false},
    {17, 12, 2, 128, 64, 1, 1, 47, 0, 0, false},   {1, 9, 3, 64, 1024, 1, 1, 1000, 0, 0, false},
    {1, 4, 1, 256, 512, 1, 1, 511, 512, 0, false}, {1, 12, 2, 128, 2048, 1, 1, 2047, 0, 0, true},
    {128, 9, 3, 64, 256, 1, 1, 100, 0, 0, true},   {100, 4, 1, 256, 160, 1, 1, 0, 64, 0, true},
    {8, 9, 3, 64, 512, 8, 8, 300, 0, 0, true},     {65, 12, 2, 128, 65, 1, 1, 0, 0, 0, true},
};

enum { NO_MASK = -1, HEADS = 16 }; /* of the mask argument: a dtype, plus HEADS for one per head */

static const struct {
    uint64_t t, heads, kv_heads, dk, dv, slots;
    uint32_t n, sequences;
    double start;
    mlxn_attention_params p; /* scale 0: one over the root of dk */
    mlxn_dtype q;
    mlxn_dtype cache; /* where p has no types */
    int mask;
    bool sinks, slow;
} more[] = {
    /* other sizes of values, other dtypes of queries */
    {1, 8, 2, 192, 128, 80, 1, 1, 70, {.scale = 0}, MLXN_F32, MLXN_F16, NO_MASK, false, false},
    {9, 16, 1, 576, 512, 40, 1, 1, 20, {.scale = 0}, MLXN_F32, MLXN_F16, NO_MASK, false, false},
    {5, 4, 2, 40, 24, 33, 1, 2, 12, {.scale = 0}, MLXN_F16, MLXN_F32, NO_MASK, false, false},
    {7, 6, 3, 64, 64, 64, 1, 1, 30, {.scale = 0}, MLXN_BF16, MLXN_BF16, NO_MASK, false, false},
    /* who sees whom */
    {6, 4, 2, 64, 64, 50, 2, 2, 10, {.visible = MLXN_MASK_NONE}, MLXN_F32, MLXN_F32, NO_MASK, false, false},
    {40, 3, 1, 64, 64, 300, 1, 1, 5, {.visible = MLXN_MASK_NONE}, MLXN_BF16, MLXN_BF16, NO_MASK, false, false},
    {20,
     4,
     2,
     80,
     80,
     90,
     1,
     1,
     30,
     {.visible = MLXN_MASK_SYMMETRIC, .window = 16},
     MLXN_F32,
     MLXN_F16,
     NO_MASK,
     false,
     false},
    {3,
     2,
     1,
     64,
     64,
     20,
     1,
     1,
     18,
     {.visible = MLXN_MASK_SYMMETRIC, .window = 3},
     MLXN_F32,
     MLXN_F32,
     NO_MASK,
     false,
     false},
    {33,
     4,
     1,
     128,
     128,
     128,
     1,
     1,
     60,
     {.visible = MLXN_MASK_CHUNKED, .window = 24},
     MLXN_F32,
     MLXN_F16,
     NO_MASK,
     false,
     false},
    {2,
     4,
     1,
     64,
     64,
     16,
     1,
     1,
     100,
     {.visible = MLXN_MASK_CHUNKED, .window = 40},
     MLXN_F32,
     MLXN_F16,
     NO_MASK,
     false,
     false},
    /* masks, biases, sinks */
    {5, 4, 2, 64, 64, 37, 1, 1, 30, {.scale = 0}, MLXN_F32, MLXN_F16, MLXN_F32, false, false},
    {4, 6, 2, 64, 48, 70, 2, 2, 60, {.visible = MLXN_MASK_NONE}, MLXN_F32, MLXN_F32, MLXN_U8 + HEADS, false, false},
    {8, 4, 4, 32, 32, 24, 1, 1, 40, {.window = 9}, MLXN_F32, MLXN_BF16, MLXN_BF16 + HEADS, true, false},
    {6, 12, 3, 64, 64, 300, 1, 1, 280, {.alibi_max_bias = 8}, MLXN_F32, MLXN_F16, NO_MASK, false, false},
    {30,
     6,
     2,
     64,
     64,
     40,
     1,
     1,
     0,
     {.alibi_max_bias = 4, .softcap = 20, .visible = MLXN_MASK_NONE},
     MLXN_F16,
     MLXN_F16,
     MLXN_F16,
     false,
     false},
    {1, 8, 2, 64, 64, 600, 1, 1, 590, {.window = 128}, MLXN_F32, MLXN_F16, NO_MASK, true, false},
    {12, 8, 1, 64, 64, 32, 3, 3, 20, {.scale = 0}, MLXN_F32, MLXN_F32, NO_MASK, true, false},
    {4, 2, 1, 64, 64, 9, 2, 1, 4, {.visible = MLXN_MASK_NONE}, MLXN_F32, MLXN_F32, MLXN_U8, true, false},
    /* quantized caches */
    {1,
     9,
     3,
     64,
     64,
     128,
     1,
     1,
     100,
     {.k_type = MLXN_KV_Q8_0, .v_type = MLXN_KV_Q8_0},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     false},
    {20,
     4,
     1,
     256,
     256,
     64,
     1,
     1,
     70,
     {.k_type = MLXN_KV_Q4_0, .v_type = MLXN_KV_Q4_1},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     false},
    {3,
     4,
     2,
     96,
     32,
     40,
     3,
     3,
     30,
     {.k_type = MLXN_KV_Q5_0, .v_type = MLXN_KV_Q5_1},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     false},
    {1,
     9,
     3,
     64,
     64,
     300,
     1,
     1,
     290,
     {.k_type = MLXN_KV_TQ8, .v_type = MLXN_KV_TQ8},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     false},
    {13,
     4,
     1,
     256,
     256,
     48,
     1,
     1,
     60,
     {.k_type = MLXN_KV_TQ4, .v_type = MLXN_KV_TQ4},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     false},
    {2,
     6,
     2,
     128,
     128,
     70,
     2,
     2,
     60,
     {.k_type = MLXN_KV_TQ5, .v_type = MLXN_KV_TQ6},
     MLXN_BF16,
     MLXN_U8,
     NO_MASK,
     false,
     false},
    {3,
     2,
     1,
     512,
     512,
     33,
     1,
     1,
     20,
     {.k_type = MLXN_KV_TQ6, .v_type = MLXN_KV_TQ5, .softcap = 30},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     true,
     false},
    {1,
     12,
     2,
     128,
     64,
     260,
     1,
     1,
     255,
     {.k_type = MLXN_KV_Q8_0, .v_type = MLXN_KV_TQ4},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     false},
    {1,
     4,
     1,
     512,
     512,
     4096,
     1,
     1,
     4095,
     {.k_type = MLXN_KV_TQ8, .v_type = MLXN_KV_TQ4},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     true},
    {100,
     9,
     3,
     64,
     64,
     160,
     1,
     1,
     0,
     {.k_type = MLXN_KV_TQ8, .v_type = MLXN_KV_Q4_0, .window = 70},
     MLXN_F32,
     MLXN_U8,
     NO_MASK,
     false,
     true},
};

enum { PLAIN = sizeof plain / sizeof plain[0], MORE = sizeof more / sizeof more[0] };

static void case_places(mlxn_case *out, uint64_t t, uint32_t n, double start) {
    out->args[SEQUENCES] = mlxn_case_tensor(MLXN_U32, 1, &t);
    out->args[SEQUENCES].fill = MLXN_FILL_SEQUENCE;
    out->args[SEQUENCES].n = n;
    out->args[POSITIONS] = out->args[SEQUENCES];
    out->args[POSITIONS].fill = MLXN_FILL_POSITION;
    out->args[POSITIONS].lo = start;
    out->args[POSITIONS].hi = 3;
}

static void case_layout(mlxn_case *out, uint32_t layout) {
    if (layout == 1) {
        out->args[K_CACHE].layout = out->args[V_CACHE].layout = MLXN_LAYOUT_GAPS;
        out->args[Q].layout = MLXN_LAYOUT_GAPS;
        if (out->args[MASK].present) out->args[MASK].layout = MLXN_LAYOUT_INNER;
    } else if (layout == 2) {
        out->args[Q].shift = 1;
        out->args[K_CACHE].shift = 1;
        out->args[V_CACHE].shift = 3;
        out->args[V_CACHE].layout = MLXN_LAYOUT_OUTER;
        out->args[OUT].layout = MLXN_LAYOUT_OUTER;
        out->args[OUT].shift = 2;
        out->args[SEQUENCES].layout = MLXN_LAYOUT_INNER;
    }
}

static void case_plain(mlxn_case *out, uint32_t dtype, uint32_t s, uint32_t layout) {
    mlxn_kv_type type = mlxn_kv_resolve(0, mlxn_case_float(dtype));
    out->args[Q] = mlxn_case_tensor(MLXN_F32, 3, (uint64_t[]){plain[s].t, plain[s].heads, plain[s].d});
    out->args[Q].hi = layout == 1 ? 6 : 1; /* peaked weights */
    out->args[K_CACHE] = mlxn_case_cache(type, plain[s].sequences, plain[s].kv_heads, plain[s].slots, plain[s].d);
    out->args[V_CACHE] = out->args[K_CACHE];
    case_places(out, plain[s].t, plain[s].n, plain[s].start);
    out->args[OUT] = out->args[Q];
    case_layout(out, layout);
    mlxn_attention_params p = {.scale = s % 4 == 2 ? 0.0625f : 1 / sqrtf((float)plain[s].d),
                               .softcap = plain[s].softcap,
                               .window = plain[s].window};
    memcpy(out->params, &p, sizeof p);
    out->slow = plain[s].slow || (layout == 1 && plain[s].t > 32);
    mlxn_case_name_arg(out, "q", Q);
    mlxn_case_name_arg(out, "k_cache", K_CACHE);
    mlxn_case_name(out, ", %u sequences from %g", plain[s].n, plain[s].start);
    if (p.window) mlxn_case_name(out, ", window %u", p.window);
    if (p.softcap > 0) mlxn_case_name(out, ", softcap");
    if (layout) mlxn_case_name_arg(out, "out", OUT);
}

static void case_more(mlxn_case *out, uint32_t s, uint32_t layout) {
    mlxn_attention_params p = more[s].p;
    p.scale = 1 / sqrtf((float)more[s].dk);
    memcpy(out->params, &p, sizeof p);
    out->args[Q] = mlxn_case_tensor(more[s].q, 3, (uint64_t[]){more[s].t, more[s].heads, more[s].dk});
    out->args[Q].hi = layout == 1 ? 4 : 1;
    mlxn_kv_type k = mlxn_kv_resolve(p.k_type, more[s].cache), v = mlxn_kv_resolve(p.v_type, more[s].cache);
    out->args[K_CACHE] = mlxn_case_cache(k, more[s].sequences, more[s].kv_heads, more[s].slots, more[s].dk);
    out->args[V_CACHE] = mlxn_case_cache(v, more[s].sequences, more[s].kv_heads, more[s].slots, more[s].dv);
    case_places(out, more[s].t, more[s].n, more[s].start);
    out->args[OUT] = mlxn_case_tensor(more[s].q, 3, (uint64_t[]){more[s].t, more[s].heads, more[s].dv});
    if (more[s].sinks) {
        out->args[SINKS] = mlxn_case_tensor(MLXN_F32, 1, &more[s].heads);
        out->args[SINKS].hi = 2;
    }
    if (more[s].mask != NO_MASK) {
        mlxn_dtype dtype = (mlxn_dtype)(more[s].mask % HEADS);
        out->args[MASK] = more[s].mask >= HEADS
                              ? mlxn_case_tensor(dtype, 3, (uint64_t[]){more[s].t, more[s].heads, more[s].slots})
                              : mlxn_case_tensor(dtype, 2, (uint64_t[]){more[s].t, more[s].slots});
    }
    case_layout(out, layout);
    out->slow = more[s].slow;
    mlxn_case_name(out, "%s and %s", mlxn_kv_type_name(k), mlxn_kv_type_name(v));
    mlxn_case_name_arg(out, ", q", Q);
    mlxn_case_name(out, ", %llu slots", (unsigned long long)more[s].slots);
    if (p.visible) mlxn_case_name(out, ", visible %u", p.visible);
    if (p.alibi_max_bias > 0) mlxn_case_name(out, ", alibi");
    if (more[s].sinks) mlxn_case_name(out, ", sinks");
    if (more[s].mask != NO_MASK) mlxn_case_name_arg(out, ", mask", MASK);
}

bool mlxn_case_attention(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    if (i < 3 * PLAIN * 3) {
        uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, PLAIN);
        case_plain(out, dtype, s, i);
    } else {
        i -= 3 * PLAIN * 3;
        uint32_t s = mlxn_case_digit(&i, MORE), layout = mlxn_case_digit(&i, 3);
        if (i) return false;
        case_more(out, s, layout);
    }
    out->prepare = fill_and_poison;
    return true;
}
