/* turboquant_tables.c: centroids and signs of the TurboQuant codec, and the search for the nearest centroid.
 *
 * The tables are part of the stored format. Those of 2 to 4 bits are the optimum for a normal variable to the printed
 * digits, that of 5 bits is within 7e-5 of it; those of 6 and 8 bits are no optimum and cannot be computed anew. */
#include "quant/turboquant.h"

#include <math.h>

static const float centroids_2[2] = {0.4527800f, 1.5104176f};
static const float centroids_3[4] = {0.2450942f, 0.7560053f, 1.3439093f, 2.1519457f};
static const float centroids_4[8] = {0.1283950f, 0.3880483f, 0.6567591f, 0.9423405f,
                                     1.2562312f, 1.6180464f, 2.0690172f, 2.7325896f};
static const float centroids_5[16] = {0.0658849f, 0.1980377f, 0.3313550f, 0.4666676f, 0.6048936f, 0.7470884f,
                                      0.8945114f, 1.0487242f, 1.2117410f, 1.3862739f, 1.5761599f, 1.7871646f,
                                      2.0286608f, 2.3176743f, 2.6910589f, 3.2606790f};
static const float centroids_6[32] = {
    0.0311537f, 0.0935225f, 0.1560761f, 0.2189392f, 0.2822386f, 0.3461048f, 0.4106724f, 0.4760822f,
    0.5424819f, 0.6100285f, 0.6788902f, 0.7492492f, 0.8213046f, 0.8952766f, 0.9714118f, 1.0499889f,
    1.1313277f, 1.2157998f, 1.3038428f, 1.3959804f, 1.4928497f, 1.5952401f, 1.7041502f, 1.8208742f,
    1.9471373f, 2.0853192f, 2.2388464f, 2.4129324f, 2.6161277f, 2.8640626f, 3.1907215f, 3.6996161f};
static const float centroids_8[128] = {
    0.0135717f, 0.0407151f, 0.0678584f, 0.0950019f, 0.1221453f, 0.1492888f, 0.1764324f, 0.2035761f, 0.2307198f,
    0.2578636f, 0.2850076f, 0.3121517f, 0.3392960f, 0.3664405f, 0.3935852f, 0.4207301f, 0.4478753f, 0.4750208f,
    0.5021667f, 0.5293129f, 0.5564596f, 0.5836067f, 0.6107544f, 0.6379027f, 0.6650517f, 0.6922014f, 0.7193520f,
    0.7465035f, 0.7736561f, 0.8008098f, 0.8279648f, 0.8551212f, 0.8822793f, 0.9094390f, 0.9366008f, 0.9637647f,
    0.9909310f, 1.0180999f, 1.0452718f, 1.0724469f, 1.0996255f, 1.1268081f, 1.1539951f, 1.1811868f, 1.2083838f,
    1.2355865f, 1.2627956f, 1.2900118f, 1.3172356f, 1.3444678f, 1.3717093f, 1.3989610f, 1.4262237f, 1.4534986f,
    1.4807869f, 1.5080897f, 1.5354084f, 1.5627445f, 1.5900996f, 1.6174755f, 1.6448739f, 1.6722970f, 1.6997469f,
    1.7272261f, 1.7547372f, 1.7822828f, 1.8098662f, 1.8374904f, 1.8651592f, 1.8928763f, 1.9206458f, 1.9484722f,
    1.9763603f, 2.0043154f, 2.0323430f, 2.0604493f, 2.0886408f, 2.1169245f, 2.1453081f, 2.1737998f, 2.2024086f,
    2.2311440f, 2.2600165f, 2.2890372f, 2.3182184f, 2.3475732f, 2.3771157f, 2.4068614f, 2.4368270f, 2.4670306f,
    2.4974918f, 2.5282321f, 2.5592748f, 2.5906452f, 2.6223710f, 2.6544825f, 2.6870129f, 2.7199985f, 2.7534795f,
    2.7874999f, 2.8221086f, 2.8573596f, 2.8933131f, 2.9300362f, 2.9676040f, 3.0061011f, 3.0456229f, 3.0862780f,
    3.1281899f, 3.1715011f, 3.2163758f, 3.2630056f, 3.3116156f, 3.3624729f, 3.4158977f, 3.4722785f, 3.5320936f,
    3.5959415f, 3.6645851f, 3.7390194f, 3.8205780f, 3.9111092f, 4.0132856f, 4.1311907f, 4.2715508f, 4.4467193f,
    4.6836997f, 5.0652659f};

static const uint8_t signs[MLXN_TURBOQUANT_SIGN_BYTES] = {
    0xa7, 0x3b, 0x91, 0xf4, 0x6d, 0xc2, 0x58, 0x0e, 0xb3, 0x7f, 0x24, 0xd6, 0x89, 0x45, 0xea, 0x1c,
    0x63, 0xaf, 0xd8, 0x52, 0x97, 0x0b, 0xe1, 0x3d, 0x76, 0xc4, 0x19, 0xfe, 0x4a, 0x85, 0x2c, 0xdb,
    0xd3, 0x4e, 0xa8, 0x17, 0x9c, 0x5b, 0xe6, 0x31, 0x72, 0xb9, 0x0d, 0xf5, 0x43, 0x8a, 0x6e, 0xc7,
    0x58, 0x2f, 0x94, 0xe1, 0xb6, 0x3d, 0x0a, 0x7c, 0xc5, 0x61, 0xd8, 0x4f, 0xa3, 0x97, 0x1e, 0x85};

static const mlxn_turboquant_book books[] = {
    {2, 2, centroids_2},  {3, 4, centroids_3},  {4, 8, centroids_4},
    {5, 16, centroids_5}, {6, 32, centroids_6}, {8, 128, centroids_8},
};

const mlxn_turboquant_book *mlxn_turboquant_book_find(uint32_t bits) {
    for (size_t i = 0; i < sizeof books / sizeof books[0]; i++)
        if (books[i].bits == bits) return &books[i];
    return NULL;
}

const mlxn_turboquant_book *mlxn_turboquant_book_get(uint32_t bits, mlxn_error *error) {
    const mlxn_turboquant_book *book = mlxn_turboquant_book_find(bits);
    if (!book) mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant: bits is %u, want 2, 3, 4, 5, 6 or 8", bits);
    return book;
}

static float centroid(const mlxn_turboquant_book *book, uint32_t index) {
    return index >= book->half ? book->positive[index - book->half] : -book->positive[book->half - 1 - index];
}

void mlxn_turboquant_book_expand(const mlxn_turboquant_book *book, float *out) {
    for (uint32_t i = 0; i < 2 * book->half; i++) out[i] = centroid(book, i);
}

uint32_t mlxn_turboquant_book_nearest(const mlxn_turboquant_book *book, float value) {
    /* Midpoints of binary32 neighbours are exact in double. The table is symmetric, the tie rule is not: a midpoint
     * itself belongs to the lower index, that is outwards on the negative side. */
    const float *c = book->positive;
    const bool above = value > 0;
    const double size = fabs((double)value);
    uint32_t low = 0, high = book->half - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        double edge = 0.5 * ((double)c[middle] + (double)c[middle + 1]);
        if (above ? size > edge : size >= edge)
            low = middle + 1;
        else
            high = middle;
    }
    return above ? book->half + low : book->half - 1 - low;
}

#define ZERO_NORM 1e-10f /* blocks up to this norm are coded as zero */

float mlxn_turboquant_code_block(const mlxn_turboquant_book *book, const float *y, uint32_t n, double divisor,
                                 double factor, uint8_t *codes) {
    const double norm = mlxn_turboquant_length(y, n) / divisor;
    const float stored = (float)norm;
    const float scale = isfinite(stored) && stored > ZERO_NORM ? (float)(factor / norm) : 0;
    for (uint32_t i = 0; i < n; i++)
        codes[i] = (uint8_t)mlxn_turboquant_book_nearest(book, isfinite(stored) ? y[i] * scale : 0);
    return stored;
}

const uint8_t *mlxn_turboquant_signs(void) { return signs; }

mlxn_status mlxn_turboquant_centroid(uint32_t bits, uint32_t index, float *out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant centroid: out is NULL, want a pointer");
    const mlxn_turboquant_book *book = mlxn_turboquant_book_get(bits, error);
    if (!book) return MLXN_ERR_ARGUMENT;
    *out = centroid(book, index & (2 * book->half - 1));
    return mlxn_succeed(error);
}

mlxn_status mlxn_turboquant_nearest(uint32_t bits, float value, uint32_t *out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant nearest: out is NULL, want a pointer");
    const mlxn_turboquant_book *book = mlxn_turboquant_book_get(bits, error);
    if (!book) return MLXN_ERR_ARGUMENT;
    if (isnan(value)) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant nearest: value is NaN, want a number");
    *out = mlxn_turboquant_book_nearest(book, value);
    return mlxn_succeed(error);
}
