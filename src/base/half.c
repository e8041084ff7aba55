/* half.c: IEEE binary16 to and from binary32 in integer arithmetic, the same on every machine. A NaN becomes a quiet
 * NaN with the same sign and upper payload bits in both directions, as conversion instructions do. */
#include "base/base.h"

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

float mlxn_f16_to_f32(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 31u;
    uint32_t mantissa = bits & 0x3ffu;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | mantissa << 13 | (mantissa ? 0x400000u : 0));
    if (exponent) return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    /* Zero or subnormal: mantissa * 2^-24, exact in binary32; the sign is set afterwards so that -0 stays. */
    float magnitude = (float)mantissa * 0x1p-24f;
    uint32_t u;
    memcpy(&u, &magnitude, 4);
    return float_of_bits(sign | u);
}

uint16_t mlxn_f32_to_f16(float value) {
    uint32_t u;
    memcpy(&u, &value, 4);
    uint32_t sign = u >> 16 & 0x8000u;
    uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (magnitude >= 0x38800000u) {                                  /* normal: at least 2^-14 */
        /* A carry out of the mantissa moves into the exponent, which is what rounding up to the next power means. */
        uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
        return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
    }
    uint32_t exponent = magnitude >> 23;
    if (exponent < 102) return (uint16_t)sign; /* below 2^-25: nearer to zero than to the smallest subnormal */
    /* Subnormal: the significand in units of 2^-24, rounded to nearest even by the bits that are shifted out. */
    uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    uint32_t shift = 126 - exponent; /* 14 … 24 */
    uint32_t kept = significand >> shift;
    uint32_t rest = significand & ((1u << shift) - 1);
    uint32_t half = 1u << (shift - 1);
    if (rest > half || (rest == half && (kept & 1))) kept++;
    return (uint16_t)(sign | kept);
}
