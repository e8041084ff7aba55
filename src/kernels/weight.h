/* weight.h: rows of weights as numbers, unit by unit: 32 elements that lie together, of a layout that weight_shape.h
 * describes. The last unit of a row may be cut; what is missing is 0.
 *
 * Formulas as in mlxn/quant.h: every product or sum is one binary32 operation, so that units are the reference's bit
 * for bit (the kernels are compiled without contraction). The dialect that elementwise.h names stands before it, and
 * k_float_bits(unsigned), the binary32 of these bits. */
#ifndef MLXN_SRC_KERNELS_WEIGHT_H
#define MLXN_SRC_KERNELS_WEIGHT_H

#include "kernels/pack.h"
#include "kernels/weight_shape.h"

enum { K_UNIT = 32 };

/* 16 bytes of a body. */
struct alignas(16) k_bytes16 {
    unsigned w[4];
};
K_FN unsigned k_byte(const k_bytes16 &v, unsigned i) { return v.w[i / 4] >> 8 * (i % 4) & 255u; }

K_FN unsigned k_u16(K_GLOBAL const unsigned char *at) { return at[0] | (unsigned)at[1] << 8; }
K_FN unsigned k_u32(K_GLOBAL const unsigned char *at) { return k_u16(at) | k_u16(at + 2) << 16; }
K_FN float k_half_bits(unsigned bits) {
    k_f16 x;
    x.bits = (unsigned short)bits;
    return k_float(x);
}
K_FN float k_half(K_GLOBAL const unsigned char *at) { return k_half_bits(*(K_GLOBAL const unsigned short *)at); }

/* Where unit `u` of a row lies: its block, and its number in it. */
struct k_place {
    K_GLOBAL const unsigned char *body, *head;
    unsigned u;
};
template <unsigned Units, unsigned Body, unsigned Head>
K_FN k_place k_place_of(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit) {
    k_place p;
    p.body = (K_GLOBAL const unsigned char *)w.body + row * w.body_stride + (k_u64)(unit / Units) * Body;
    p.head = (K_GLOBAL const unsigned char *)w.head + row * w.head_stride + (k_u64)(unit / Units) * Head;
    p.u = unit % Units;
    return p;
}
K_FN k_bytes16 k_load16(K_GLOBAL const unsigned char *at) { return *(K_GLOBAL const k_bytes16 *)at; }

/* --- plain formats --- */

template <typename T>
K_FN void k_unit_plain(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    K_GLOBAL const T *at = (K_GLOBAL const T *)((K_GLOBAL const unsigned char *)w.body + row * w.body_stride);
    at += (k_u64)unit * K_UNIT;
    k_u64 left = w.cols - (k_u64)unit * K_UNIT;
    if (left >= K_UNIT) {
        constexpr unsigned n = 16 / sizeof(T);
        for (unsigned i = 0; i < K_UNIT / n; i++) {
            k_pack<T> v = *(K_GLOBAL const k_pack<T> *)(at + i * n);
            for (unsigned k = 0; k < n; k++) out[i * n + k] = k_float(v.v[k]);
        }
        return;
    }
    for (unsigned i = 0; i < K_UNIT; i++) out[i] = i < left ? k_float(at[i]) : 0.0f;
}

/* --- blocks of 32 elements: nibbles, element j low and j + 16 high in byte j --- */

K_FN void k_nibbles(const k_bytes16 &v, unsigned *codes) {
    for (unsigned j = 0; j < 16; j++) {
        codes[j] = k_byte(v, j) & 15u;
        codes[j + 16] = k_byte(v, j) >> 4;
    }
}

/* Fifth: with fifth bits; Affine: with a minimum, else codes are centred. */
template <bool Fifth, bool Affine>
K_FN void k_unit_small(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<1, 16, (Affine ? 4 : 2) + (Fifth ? 4 : 0)>(w, row, unit);
    float d = k_half(p.head), m = Affine ? k_half(p.head + 2) : 0.0f;
    unsigned high = Fifth ? k_u16(p.head + (Affine ? 4 : 2)) | k_u16(p.head + (Affine ? 6 : 4)) << 16 : 0, codes[32];
    k_nibbles(k_load16(p.body), codes);
    for (unsigned i = 0; i < 32; i++) {
        unsigned code = codes[i] | (Fifth ? (high >> i & 1u) << 4 : 0);
        out[i] = Affine ? d * (float)code + m : d * (float)((int)code - (Fifth ? 16 : 8));
    }
}

K_FN void k_bytes32(K_GLOBAL const unsigned char *at, float d, float *out) {
    for (unsigned h = 0; h < 2; h++) {
        k_bytes16 v = k_load16(at + 16 * h);
        for (unsigned j = 0; j < 16; j++) out[16 * h + j] = d * (float)(signed char)k_byte(v, j);
    }
}
template <unsigned Head>
K_FN void k_unit_q8(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<1, 32, Head>(w, row, unit);
    k_bytes32(p.body, k_half(p.head), out);
}
K_FN void k_unit_q8_k(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<8, 288, 4>(w, row, unit);
    k_bytes32(p.body + 32 * p.u, k_float_bits(k_u32(p.head)), out);
}

/* --- blocks of 256 with scales of their own --- */

/* Scale and minimum of group g from the first 16 bytes: two binary16, and 12 bytes as kblocks.c says. */
K_FN void k_group_scale(const k_bytes16 &v, unsigned g, float *step, float *offset) {
    unsigned j = g & 3u, a = k_byte(v, 4 + j), b = k_byte(v, 8 + j), c = k_byte(v, 12 + j);
    unsigned scale = g < 4 ? a & 63u : (c & 15u) | a >> 6 << 4;
    unsigned minimum = g < 4 ? b & 63u : c >> 4 | b >> 6 << 4;
    *step = k_half_bits(v.w[0] & 0xffffu) * (float)scale;
    *offset = k_half_bits(v.w[0] >> 16) * (float)minimum;
}
template <bool Fifth>
K_FN void k_unit_q45_k(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of < 8, Fifth ? 176 : 144, 0 > (w, row, unit);
    float step, offset;
    k_group_scale(k_load16(p.body), p.u, &step, &offset);
    for (unsigned h = 0; h < 2; h++) {
        k_bytes16 v = k_load16(p.body + (Fifth ? 48 : 16) + 32 * (p.u / 2) + 16 * h), f = v;
        if (Fifth) f = k_load16(p.body + 16 + 16 * h);
        for (unsigned j = 0; j < 16; j++) {
            unsigned code = k_byte(v, j) >> 4 * (p.u & 1u) & 15u;
            if (Fifth) code |= (k_byte(f, j) >> p.u & 1u) << 4;
            out[16 * h + j] = step * (float)code - offset;
        }
    }
}
K_FN void k_unit_q6_k(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<8, 208, 2>(w, row, unit);
    float d = k_half(p.head);
    unsigned half = p.u / 4, run = p.u % 4;
    unsigned scales = *(K_GLOBAL const unsigned short *)(p.body + 192 + 2 * p.u);
    for (unsigned h = 0; h < 2; h++) {
        k_bytes16 low = k_load16(p.body + 64 * half + 32 * (run & 1u) + 16 * h);
        k_bytes16 high = k_load16(p.body + 128 + 32 * half + 16 * h);
        float step = d * (float)(signed char)(scales >> 8 * h & 255u);
        for (unsigned j = 0; j < 16; j++) {
            unsigned code = (k_byte(low, j) >> (run < 2 ? 0 : 4) & 15u) | (k_byte(high, j) >> 2 * run & 3u) << 4;
            out[16 * h + j] = step * (float)((int)code - 32);
        }
    }
}
K_FN void k_unit_q2_k(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<8, 80, 4>(w, row, unit);
    float d = k_half(p.head), dmin = k_half(p.head + 2);
    for (unsigned h = 0; h < 2; h++) {
        unsigned scale = p.body[2 * p.u + h];
        float step = d * (float)(scale & 15u), offset = dmin * (float)(scale >> 4);
        k_bytes16 v = k_load16(p.body + 16 + 32 * (p.u / 4) + 16 * h);
        for (unsigned j = 0; j < 16; j++)
            out[16 * h + j] = step * (float)(k_byte(v, j) >> 2 * (p.u % 4) & 3u) - offset;
    }
}
K_FN void k_unit_q3_k(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<8, 96, 14>(w, row, unit);
    float d = k_half(p.head + 12);
    for (unsigned h = 0; h < 2; h++) {
        unsigned g = 2 * p.u + h;
        unsigned low = g < 8 ? p.head[g] & 15u : (unsigned)p.head[g - 8] >> 4;
        unsigned high = (unsigned)p.head[8 + g % 4] >> 2 * (g / 4) & 3u;
        float step = d * (float)((int)(low | high << 4) - 32);
        k_bytes16 v = k_load16(p.body + 32 + 32 * (p.u / 4) + 16 * h), mask = k_load16(p.body + 16 * h);
        for (unsigned j = 0; j < 16; j++) {
            int code = (int)(k_byte(v, j) >> 2 * (p.u % 4) & 3u) - (k_byte(mask, j) >> p.u & 1u ? 0 : 4);
            out[16 * h + j] = step * (float)code;
        }
    }
}

/* --- tables of 16 values, and small floats --- */

K_FN float k_iq4_value(unsigned code) {
    unsigned w = code < 8 ? (code < 4 ? 0xbfad9881u : 0xf6eaddcfu) : code < 12 ? 0x26190d01u : 0x71594535u;
    return (float)(signed char)(w >> 8 * (code & 3u) & 255u);
}
/* Twice the value of E2M1, without a negative zero. */
K_FN float k_fp4_doubled(unsigned code) {
    int m = (int)((code & 4u ? 0x0c080604u : 0x03020100u) >> 8 * (code & 3u) & 255u);
    return (float)(code & 8u ? -m : m);
}
K_FN float k_e2m1(unsigned code) {
    float m = 0.5f * k_fp4_doubled(code & 7u);
    return code & 8u ? -m : m;
}
K_FN float k_e4m3(unsigned code) {
    unsigned exponent = code >> 3 & 15u, mantissa = code & 7u;
    if ((code & 0x7fu) == 0x7fu) return k_float_bits(0x7fc00000u);
    float a = exponent ? k_float_bits((exponent + 120u) << 23 | mantissa << 20) : (float)mantissa * 0x1p-9f;
    return code & 0x80u ? -a : a;
}
/* 2^(e - 127); 255 is infinity. */
K_FN float k_e8m0(unsigned e) { return k_float_bits(e ? e << 23 : 0x00400000u); }
K_FN float k_half_e8m0(unsigned e) { return k_float_bits(e < 2 ? 0x00200000u << e : (e - 1u) << 23); }

template <bool Iq4>
K_FN void k_looked_up(const k_bytes16 &v, float step, float *out) {
    unsigned codes[32];
    k_nibbles(v, codes);
    for (unsigned i = 0; i < 32; i++) out[i] = step * (Iq4 ? k_iq4_value(codes[i]) : k_fp4_doubled(codes[i]));
}
K_FN void k_unit_iq4_nl(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<1, 16, 2>(w, row, unit);
    k_looked_up<true>(k_load16(p.body), k_half(p.head), out);
}
K_FN void k_unit_iq4_xs(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<8, 128, 8>(w, row, unit);
    unsigned low = (unsigned)p.head[4 + p.u / 2] >> 4 * (p.u & 1u) & 15u, high = k_u16(p.head + 2) >> 2 * p.u & 3u;
    float step = k_half(p.head) * (float)((int)(low | high << 4) - 32);
    k_looked_up<true>(k_load16(p.body + 16 * p.u), step, out);
}
K_FN void k_unit_mxfp4(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<1, 16, 1>(w, row, unit);
    k_looked_up<false>(k_load16(p.body), k_half_e8m0(p.head[0]), out);
}
/* Four runs of 16 elements; in each, nibbles as in a block of 16. */
K_FN void k_unit_nvfp4(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<2, 32, 4>(w, row, unit);
    k_bytes16 v = k_load16(p.body + 16 * p.u);
    for (unsigned h = 0; h < 2; h++) {
        unsigned e = p.head[2 * p.u + h] & 127u;
        float step = 0.5f * (e == 127u ? 0.0f : k_e4m3(e));
        for (unsigned j = 0; j < 8; j++) {
            out[16 * h + j] = step * k_fp4_doubled(k_byte(v, 8 * h + j) & 15u);
            out[16 * h + j + 8] = step * k_fp4_doubled(k_byte(v, 8 * h + j) >> 4);
        }
    }
}

/* --- one and two bits --- */

/* A byte holds base-3 digits as a fraction of 256, the first digit highest. */
K_FN float k_trit(unsigned byte, unsigned digit) {
    unsigned power = digit == 0 ? 1 : digit == 1 ? 3 : digit == 2 ? 9 : digit == 3 ? 27 : 81;
    return (float)((int)((byte * power & 255u) * 3u >> 8) - 1);
}
K_FN void k_unit_tq1_0(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<8, 48, 6>(w, row, unit);
    float d = k_half(p.head + 4);
    for (unsigned i = 0; i < 32; i++) {
        unsigned e = 32 * p.u + i, byte = p.body[e % 32], digit = p.u; /* 32 bytes of five digits, */
        if (e >= 240) {                                                /* 4 of four, */
            byte = p.head[(e - 240) % 4];
            digit = (e - 240) / 4;
        } else if (e >= 160) { /* and before them 16 of five */
            byte = p.body[32 + (e - 160) % 16];
            digit = (e - 160) / 16;
        }
        out[i] = d * k_trit(byte, digit);
    }
}
K_FN void k_unit_tq2_0(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<8, 64, 2>(w, row, unit);
    float d = k_half(p.head);
    for (unsigned h = 0; h < 2; h++) {
        k_bytes16 v = k_load16(p.body + 32 * (p.u / 4) + 16 * h);
        for (unsigned j = 0; j < 16; j++)
            out[16 * h + j] = d * (float)((int)(k_byte(v, j) >> 2 * (p.u % 4) & 3u) - 1);
    }
}
K_FN void k_unit_q1_0(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<4, 16, 2>(w, row, unit);
    float d = k_half(p.head);
    unsigned bits = *(K_GLOBAL const unsigned *)(p.body + 4 * p.u);
    for (unsigned i = 0; i < 32; i++) out[i] = bits >> i & 1u ? d : -d;
}
K_FN void k_unit_q2_0(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    k_place p = k_place_of<2, 16, 2>(w, row, unit);
    float d = k_half(p.head);
    for (unsigned h = 0; h < 2; h++) {
        unsigned bits = *(K_GLOBAL const unsigned *)(p.body + 8 * p.u + 4 * h);
        for (unsigned j = 0; j < 16; j++) out[16 * h + j] = d * (float)((int)(bits >> 2 * j & 3u) - 1);
    }
}

/* --- grids: four groups of eight lanes (quant/iq.h) --- */

K_FN unsigned k_even_signs(unsigned x) {
    unsigned parity = x ^ x >> 4;
    parity ^= parity >> 2;
    return x | ((parity ^ parity >> 1) & 1u) << 7;
}
/* Lanes of an entry of two bits each: the values of IQ2, or of IQ1, whose sign is that of a shift. */
K_FN void k_lanes2(float step, unsigned entry, unsigned signs, float *out) {
    for (unsigned j = 0; j < 8; j++) {
        unsigned place = entry >> 2 * j & 3u;
        int value = 8 + 17 * (int)place + (int)(place >> 1);
        out[j] = step * (float)(signs >> j & 1u ? -value : value);
    }
}
K_FN void k_lanes1(float step, unsigned entry, bool down, float *out) {
    for (unsigned j = 0; j < 8; j++) {
        int value = 8 * ((int)(entry >> 2 * j & 3u) - 1);
        out[j] = step * (float)(down ? value - 1 : value + 1);
    }
}
template <bool Small>
K_FN void k_lanes3(float step, unsigned low, unsigned high, unsigned signs, float *out) {
    unsigned entry = low | high << 12;
    for (unsigned j = 0; j < 8; j++) {
        int place = (int)(entry >> 3 * j & 7u), value = Small ? 2 * place + 1 : 4 + 8 * place + (place == 7 ? 2 : 0);
        out[j] = step * (float)(signs >> j & 1u ? -value : value);
    }
}
K_FN float k_odd(unsigned s) { return (float)(2 * s + 1); }

K_FN void k_unit_grid(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    K_GLOBAL const unsigned short *grid = (K_GLOBAL const unsigned short *)w.grid;
    if (w.format == K_FORMAT_IQ2_XXS) {
        k_place p = k_place_of<8, 64, 2>(w, row, unit);
        K_GLOBAL const unsigned char *at = p.body + 8 * p.u;
        unsigned word = k_u32(at + 4);
        float step = k_half(p.head) * 0.125f * k_odd(word >> 28);
        for (unsigned l = 0; l < 4; l++)
            k_lanes2(step, grid[K_GRID_IQ2_XXS + at[l]], k_even_signs(word >> 7 * l & 127u), out + 8 * l);
    } else if (w.format == K_FORMAT_IQ2_XS) {
        k_place p = k_place_of<8, 64, 10>(w, row, unit);
        float d = k_half(p.head) * 0.125f;
        for (unsigned l = 0; l < 4; l++) {
            unsigned code = k_u16(p.body + 8 * p.u + 2 * l);
            float step = d * k_odd((unsigned)p.head[2 + p.u] >> (l < 2 ? 0 : 4) & 15u);
            k_lanes2(step, grid[K_GRID_IQ2_XS + (code & 511u)], k_even_signs(code >> 9), out + 8 * l);
        }
    } else if (w.format == K_FORMAT_IQ2_S) {
        k_place p = k_place_of<8, 64, 18>(w, row, unit);
        float d = k_half(p.head) * 0.125f;
        for (unsigned l = 0; l < 4; l++) {
            unsigned index = p.body[4 * p.u + l] | ((unsigned)p.head[2 + p.u] >> 2 * l & 3u) << 8;
            float step = d * k_odd((unsigned)p.head[10 + p.u] >> (l < 2 ? 0 : 4) & 15u);
            k_lanes2(step, grid[K_GRID_IQ2_S + index], p.body[32 + 4 * p.u + l], out + 8 * l);
        }
    } else if (w.format == K_FORMAT_IQ3_XXS) {
        k_place p = k_place_of<8, 96, 2>(w, row, unit);
        K_GLOBAL const unsigned char *at = p.body + 8 * p.u;
        K_GLOBAL const unsigned short *own = grid + K_GRID_IQ3_XXS;
        unsigned word = k_u32(p.body + 64 + 4 * p.u);
        float step = k_half(p.head) * 0.25f * k_odd(word >> 28);
        for (unsigned l = 0; l < 4; l++)
            k_lanes3<false>(step, own[at[2 * l]], own[at[2 * l + 1]], k_even_signs(word >> 7 * l & 127u),
                            out + 8 * l);
    } else if (w.format == K_FORMAT_IQ3_S) { /* behind d in the head: high bits, signs and scales */
        k_place p = k_place_of<8, 64, 46>(w, row, unit);
        K_GLOBAL const unsigned char *at = p.body + 8 * p.u;
        K_GLOBAL const unsigned short *own = grid + K_GRID_IQ3_S;
        unsigned high = p.head[2 + p.u];
        float step = k_half(p.head) * k_odd((unsigned)p.head[42 + p.u / 2] >> 4 * (p.u & 1u) & 15u);
        for (unsigned l = 0; l < 4; l++)
            k_lanes3<true>(step, own[at[2 * l] | (high >> 2 * l & 1u) << 8],
                           own[at[2 * l + 1] | (high >> (2 * l + 1) & 1u) << 8], p.head[10 + 4 * p.u + l],
                           out + 8 * l);
    } else if (w.format == K_FORMAT_IQ1_S) {
        k_place p = k_place_of<8, 48, 2>(w, row, unit);
        unsigned high = k_u16(p.body + 32 + 2 * p.u);
        float step = k_half(p.head) * 0.125f * k_odd(high >> 12 & 7u);
        for (unsigned l = 0; l < 4; l++)
            k_lanes1(step, grid[K_GRID_IQ1_S + (p.body[4 * p.u + l] | (high >> 3 * l & 7u) << 8)], high >> 15,
                     out + 8 * l);
    } else { /* IQ1_M: the bits of d are the top nibbles of the four words of scales */
        k_place p = k_place_of<8, 48, 8>(w, row, unit);
        unsigned bits = 0, both = k_u16(p.head + 2 * (p.u / 2)) >> 6 * (p.u & 1u);
        for (unsigned k = 0; k < 4; k++) bits |= (unsigned)p.head[1 + 2 * k] >> 4 << 4 * k;
        float d = k_half_bits(bits) * 0.125f;
        for (unsigned l = 0; l < 4; l++) {
            unsigned high = (unsigned)p.body[32 + 2 * p.u + l / 2] >> 4 * (l & 1u);
            float step = d * k_odd(both >> (l < 2 ? 0 : 3) & 7u);
            k_lanes1(step, grid[K_GRID_IQ1_S + (p.body[4 * p.u + l] | (high & 7u) << 8)], high & 8u, out + 8 * l);
        }
    }
}

/* --- MLX --- */

K_FN float k_mlx_scale(K_GLOBAL const unsigned char *at, unsigned type, k_u64 i) {
    if (type == 0) return ((K_GLOBAL const float *)at)[i];
    unsigned bits = ((K_GLOBAL const unsigned short *)at)[i];
    return type == 1 ? k_half_bits(bits) : k_float_bits(bits << 16);
}

/* 32 codes of Bits bits: Bits words, a stream from the lowest bit. */
template <unsigned Bits>
K_FN void k_unit_affine(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    K_GLOBAL const unsigned *at =
        (K_GLOBAL const unsigned *)((K_GLOBAL const unsigned char *)w.body + row * w.body_stride) + unit * Bits;
    k_u64 group = (k_u64)unit * K_UNIT / w.group;
    float scale = k_mlx_scale((K_GLOBAL const unsigned char *)w.head + row * w.head_stride, w.scale_type, group);
    float bias = k_mlx_scale((K_GLOBAL const unsigned char *)w.bias + row * w.head_stride, w.scale_type, group);
    unsigned words[Bits];
    constexpr unsigned step = Bits % 4 ? 1 : 4; /* words of a load */
    for (unsigned i = 0; i < Bits; i += step) {
        if (step == 1) {
            words[i] = at[i];
            continue;
        }
        k_bytes16 v = k_load16((K_GLOBAL const unsigned char *)(at + i));
        for (unsigned k = 0; k < step; k++) words[i + k] = v.w[k];
    }
    for (unsigned i = 0; i < K_UNIT; i++) {
        unsigned bit = i * Bits, code = words[bit / 32] >> bit % 32;
        if (bit % 32 + Bits > 32) code |= words[bit / 32 + 1] << (32 - bit % 32);
        out[i] = scale * (float)(code & ((1u << Bits) - 1)) + bias;
    }
}
/* Two groups of 16 share a unit; a row may end behind the first. */
template <bool Eight>
K_FN void k_unit_small_float(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    constexpr unsigned bits = Eight ? 8 : 4;
    K_GLOBAL const unsigned char *at = (K_GLOBAL const unsigned char *)w.body + row * w.body_stride;
    K_GLOBAL const unsigned char *scales = (K_GLOBAL const unsigned char *)w.head + row * w.head_stride;
    at += (k_u64)unit * 4 * bits;
    for (unsigned h = 0; h < 2; h++) {
        k_u64 first = (k_u64)unit * K_UNIT + 16 * h;
        if (first >= w.cols) {
            for (unsigned j = 0; j < 16; j++) out[16 * h + j] = 0.0f;
            continue;
        }
        unsigned byte = scales[first / w.group];
        float scale = w.format == K_FORMAT_MLX_NVFP4 ? k_e4m3(byte) : k_e8m0(byte);
        if (w.factor != 0.0f) scale = scale * w.factor;
        for (unsigned j = 0; j < 16; j++) {
            unsigned code = Eight ? at[16 * h + j] : (unsigned)at[8 * h + j / 2] >> 4 * (j & 1u) & 15u;
            out[16 * h + j] = (Eight ? k_e4m3(code) : k_e2m1(code)) * scale;
        }
    }
}

/* --- any format --- */

K_FN void k_unit_any(K_ARGS const k_weight_shape &w, k_u64 row, unsigned unit, float *out) {
    switch (w.format) {
        case K_FORMAT_F32:
            k_unit_plain<float>(w, row, unit, out);
            break;
        case K_FORMAT_F16:
            k_unit_plain<k_f16>(w, row, unit, out);
            break;
        case K_FORMAT_BF16:
            k_unit_plain<k_bf16>(w, row, unit, out);
            break;
        case K_FORMAT_Q4_0:
            k_unit_small<false, false>(w, row, unit, out);
            break;
        case K_FORMAT_Q4_1:
            k_unit_small<false, true>(w, row, unit, out);
            break;
        case K_FORMAT_Q5_0:
            k_unit_small<true, false>(w, row, unit, out);
            break;
        case K_FORMAT_Q5_1:
            k_unit_small<true, true>(w, row, unit, out);
            break;
        case K_FORMAT_Q8_0:
            k_unit_q8<2>(w, row, unit, out);
            break;
        case K_FORMAT_Q8_1:
            k_unit_q8<4>(w, row, unit, out);
            break;
        case K_FORMAT_Q8_K:
            k_unit_q8_k(w, row, unit, out);
            break;
        case K_FORMAT_Q2_K:
            k_unit_q2_k(w, row, unit, out);
            break;
        case K_FORMAT_Q3_K:
            k_unit_q3_k(w, row, unit, out);
            break;
        case K_FORMAT_Q4_K:
            k_unit_q45_k<false>(w, row, unit, out);
            break;
        case K_FORMAT_Q5_K:
            k_unit_q45_k<true>(w, row, unit, out);
            break;
        case K_FORMAT_Q6_K:
            k_unit_q6_k(w, row, unit, out);
            break;
        case K_FORMAT_IQ4_NL:
            k_unit_iq4_nl(w, row, unit, out);
            break;
        case K_FORMAT_IQ4_XS:
            k_unit_iq4_xs(w, row, unit, out);
            break;
        case K_FORMAT_MXFP4:
            k_unit_mxfp4(w, row, unit, out);
            break;
        case K_FORMAT_NVFP4:
            k_unit_nvfp4(w, row, unit, out);
            break;
        case K_FORMAT_TQ1_0:
            k_unit_tq1_0(w, row, unit, out);
            break;
        case K_FORMAT_TQ2_0:
            k_unit_tq2_0(w, row, unit, out);
            break;
        case K_FORMAT_Q1_0:
            k_unit_q1_0(w, row, unit, out);
            break;
        case K_FORMAT_Q2_0:
            k_unit_q2_0(w, row, unit, out);
            break;
        case K_FORMAT_AFFINE:
            if (w.bits == 2) k_unit_affine<2>(w, row, unit, out);
            if (w.bits == 3) k_unit_affine<3>(w, row, unit, out);
            if (w.bits == 4) k_unit_affine<4>(w, row, unit, out);
            if (w.bits == 5) k_unit_affine<5>(w, row, unit, out);
            if (w.bits == 6) k_unit_affine<6>(w, row, unit, out);
            if (w.bits == 8) k_unit_affine<8>(w, row, unit, out);
            break;
        case K_FORMAT_MLX_MXFP8:
            k_unit_small_float<true>(w, row, unit, out);
            break;
        case K_FORMAT_MLX_MXFP4:
        case K_FORMAT_MLX_NVFP4:
            k_unit_small_float<false>(w, row, unit, out);
            break;
        default:
            k_unit_grid(w, row, unit, out);
            break;
    }
}

#endif
