#!/usr/bin/env python3
"""Writes attention.bin: attention, cache rows and Hadamard transforms as torch, mlx, gguf-py and float64 NumPy compute
them. Run by hand (numpy, torch, gguf, mlx)."""

import re
import struct
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import torch
from vec import NUMPY, TORCH, Bf16, Vectors, f64

v = Vectors(__file__, 29)
MLX, GGUF = f"mlx {mx.__version__}", "gguf-py"
CAUSAL, NONE, SYMMETRIC, CHUNKED = range(4)
F16_ROWS, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, TQ4, TQ5, TQ6, TQ8 = 2, 4, 5, 6, 7, 8, 9, 10, 11, 12
BITS = {TQ4: 4, TQ5: 5, TQ6: 6, TQ8: 8}
BLOCKS = {Q8_0: "Q8_0", Q4_0: "Q4_0", Q4_1: "Q4_1", Q5_0: "Q5_0", Q5_1: "Q5_1"}


def tables():
    """Centroids and signs, which are data of the format, from the one place that has them."""
    source = (Path(__file__).parents[3] / "src/quant/turboquant_tables.c").read_text()
    books = {}
    for bits, body in re.findall(r"centroids_(\d)\[\d+\] = \{([^}]*)\}", source):
        positive = np.array([np.float32(x) for x in re.findall(r"([\d.]+)f", body)])
        books[int(bits)] = np.concatenate([-positive[::-1], positive]).astype(np.float64)
    sign_bytes = [int(x, 16) for x in re.findall(r"0x([0-9a-f]{2})", source.split("signs[")[1].split("}")[0])]
    signs = np.array([-1.0 if sign_bytes[i // 8] >> (i % 8) & 1 else 1.0 for i in range(512)])
    return books, signs


BOOKS, SIGNS = tables()


def hadamard(d):
    i = np.arange(d)
    ones = np.array([bin(x).count("1") for x in range(d)])
    return (1.0 - 2.0 * (ones[i[:, None] & i[None]] % 2)) / np.sqrt(d)


def butterflies(x):
    """H x in float32 as mlxn_turboquant_fwht defines its additions, so that codes beside an edge agree to the bit."""
    y, d, h = x.astype(np.float32), x.shape[-1], 1
    while h < d:
        pairs = y.reshape(*x.shape[:-1], d // (2 * h), 2, h)
        y = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], -2).reshape(x.shape)
        h *= 2
    return y * np.float32(1 / np.sqrt(d))


def tq_encode(x, bits):
    """float32 -> (bytes, the values that they stand for, rotated), from the formulas of mlxn/kv.h."""
    d = x.shape[-1]
    y = butterflies(x * SIGNS[:d].astype(np.float32))
    book, block = BOOKS[bits], min(d, 256)
    flat, rows, values = y.reshape(-1, d), [], []
    for row in flat:
        norms, codes = [], []
        for b in row.reshape(-1, block):
            length = np.sqrt((b.astype(np.float64) ** 2).sum())
            norm = length if d <= 256 else length / 16
            z = (b * np.float32((np.sqrt(d) if d <= 256 else 1) / norm)).astype(np.float64)
            codes.append(np.abs(z[:, None] - book[None]).argmin(1))
            norms.append(np.float32(norm))
        step = [float(n) / (np.sqrt(d) if d <= 256 else 1) for n in norms]
        values.append(np.concatenate([book[c] * s for c, s in zip(codes, step)]))
        c = np.concatenate(codes)
        out = np.array(norms, np.float32).tobytes()
        if bits == 8:
            out += c.astype(np.uint8).tobytes()
        else:
            low = (c & 15).reshape(-1, 2, 16)
            out += (low[:, 0] | low[:, 1] << 4).astype(np.uint8).tobytes()
            for bit in range(4, bits):
                out += np.packbits(c >> bit & 1, bitorder="little").tobytes()
        rows.append(np.frombuffer(out, np.uint8))
    return np.array(rows).reshape(*x.shape[:-1], -1), np.array(values).reshape(x.shape)


def unrotate(y):
    d = y.shape[-1]
    return (y @ hadamard(d).T) * SIGNS[:d]


def stored(x, kind):
    """[..., D] float32 -> (cache array, values in double, not rotated)."""
    if kind in BITS:
        raw, values = tq_encode(x, BITS[kind])
        return raw, unrotate(values)
    if kind in BLOCKS:
        q = gguf.GGMLQuantizationType[BLOCKS[kind]]
        raw = gguf.quants.quantize(x, q)
        return raw, gguf.quants.dequantize(raw, q).astype(np.float64)
    return x.astype(np.float16), x.astype(np.float16).astype(np.float64)


def params(scale, softcap=0.0, window=0, k=0, vt=0, visible=CAUSAL, alibi=0.0):
    return struct.pack("<ffIIIIf", scale, softcap, window, k, vt, visible, alibi)


def slopes(heads, bias):
    n = 1 << (heads.bit_length() - 1)
    return np.array([2.0 ** (-bias / n * (h + 1)) if h < n else 2.0 ** (-bias / (2 * n) * (2 * (h - n) + 1))
                     for h in range(heads)])


def seen(positions, keys, visible, window):
    p, q = np.arange(keys)[None], positions.astype(int)[:, None]
    if visible == NONE:
        return np.ones((len(positions), keys), bool)
    if visible == SYMMETRIC:
        return np.abs(p - q) <= window // 2
    allowed = p <= q
    if visible == CHUNKED:
        return allowed & (p // window == q // window)
    return allowed & (p > q - window) if window else allowed


def attention(name, t, heads, kv_heads, dk, dv, keys, start, k_kind=F16_ROWS, v_kind=F16_ROWS, visible=CAUSAL,
              window=0, softcap=0.0, alibi=0.0, mask=None, sinks=None, half=False, loose=1.0):
    """All in torch's float64; the caches hold position p in slot p."""
    q = v.normal(t, heads, dk)
    if half:
        q = Bf16(q)
    k, kv = stored(v.normal(kv_heads, keys, dk), k_kind)
    val, vv = stored(v.normal(kv_heads, keys, dv), v_kind)
    positions = np.arange(start, start + t, dtype=np.uint32)
    scale = float(np.float32(dk**-0.5))
    group = heads // kv_heads
    s = torch.einsum("thd,hkd->thk", f64(q), f64(kv).repeat_interleave(group, 0)) * scale
    if softcap:
        s = softcap * torch.tanh(s / softcap)
    if alibi:
        distance = np.abs(np.arange(keys)[None] - positions[:, None].astype(float))
        s = s - f64(slopes(heads, alibi)[None, :, None] * distance[:, None])
    if mask is not None:
        m = mask if mask.dtype != np.uint8 else np.where(mask, 0.0, -np.inf)
        s = s + f64(m if m.ndim == 3 else m[:, None])
    s = s.masked_fill(torch.from_numpy(~seen(positions, keys, visible, window))[:, None], float("-inf"))
    if sinks is not None:
        s = torch.cat([s, f64(sinks)[None, :, None].expand(t, heads, 1)], -1)
    p = torch.softmax(s, -1).nan_to_num(0.0)[..., :keys]
    want = torch.einsum("thk,hkd->thd", p, f64(vv).repeat_interleave(group, 0)).numpy()
    types = (0 if k_kind == F16_ROWS else k_kind, 0 if v_kind == F16_ROWS else v_kind)
    v.case("attention", TORCH, name,
           [q, k[None], val[None], np.zeros(t, np.uint32), positions, sinks, mask, Bf16(want) if half else want],
           params(scale, softcap, window, *types, visible, alibi),
           2e-7 * loose + (4e-3 if half else 0), 2e-6)


attention("values of another size", 3, 4, 2, 24, 16, 20, 10)
attention("bf16 queries and results", 3, 4, 2, 32, 32, 20, 10, half=True)
attention("every slot", 3, 4, 2, 32, 32, 12, 5, visible=NONE)
attention("symmetric window", 6, 2, 1, 32, 32, 24, 9, visible=SYMMETRIC, window=7)
attention("chunked", 9, 2, 1, 32, 32, 24, 5, visible=CHUNKED, window=8)
attention("linear biases, 6 heads", 3, 6, 3, 32, 32, 30, 20, alibi=8.0)
attention("linear biases both ways, soft cap", 3, 4, 2, 32, 32, 20, 8, alibi=4.0, softcap=5.0, visible=NONE)
attention("additive mask", 3, 4, 2, 32, 32, 16, 12, mask=v.normal(3, 16))
per_head = v.normal(3, 4, 16)
per_head[1, 2] = -np.inf
attention("mask per head, one row sees nothing", 3, 4, 2, 32, 32, 16, 12, mask=per_head)
attention("bool mask", 3, 4, 2, 32, 32, 16, 12, mask=v.rng.integers(0, 2, (3, 16)).astype(np.uint8), visible=NONE)
attention("sinks", 2, 4, 2, 32, 32, 16, 12, sinks=v.normal(4, scale=2))
for kind, name in BLOCKS.items():
    attention(f"keys and values in {name}", 2, 4, 2, 64, 32, 10, 8, kind, kind)
attention("keys Q8_0, values TurboQuant 4", 2, 4, 2, 64, 64, 12, 9, Q8_0, TQ4, loose=5)
for kind, d in ((TQ4, 64), (TQ5, 128), (TQ6, 256), (TQ8, 512), (TQ8, 64)):
    attention(f"TurboQuant {BITS[kind]}, {d}", 1, 2, 1, d, d, 6, 5, kind, kind, loose=5)

# Sinks as mlx has them.
q, k, val, z = v.normal(2, 4, 64), v.normal(2, 9, 64), v.normal(2, 9, 64), v.normal(4, scale=2)
want = mx.fast.scaled_dot_product_attention(
    mx.array(q.transpose(1, 0, 2)[None]), mx.array(k[None]), mx.array(val[None]), scale=0.125, sinks=mx.array(z))
v.case("attention", MLX, "sinks", [q, k[None], val[None], np.zeros(2, np.uint32), np.array([3, 7], np.uint32), z, None,
                                   np.array(want)[0].transpose(1, 0, 2)],
       params(0.125, visible=NONE), 2e-6, 2e-6)

# Rows in and out of a cache.
for kind in (*BLOCKS, *BITS):
    d = {TQ5: 128, TQ6: 256, TQ8: 512}.get(kind, 64)
    x = v.normal(3, 2, d)
    raw, values = stored(x, kind)
    before = np.zeros((1, 2, 4, raw.shape[-1]), np.uint8)
    after = before.copy()
    positions = np.array([6, 1, 3], np.uint32)
    for t, p in enumerate(positions):
        after[0, :, p % 4] = raw[t]
    sequences = np.zeros(3, np.uint32)
    source = GGUF if kind in BLOCKS else NUMPY
    v.case("kv_write", source, f"type {kind}", [x, x, sequences, positions, before, before, after, after],
           struct.pack("<II", kind, kind), 0, 0)
    v.case("kv_read", source, f"type {kind}", [after, sequences, positions, values], struct.pack("<II", kind, 0),
           0 if kind in BLOCKS else 2e-6, 0 if kind in BLOCKS else 1e-6)
half = v.normal(1, 2, 4, 24).astype(np.float16)
v.case("kv_read", NUMPY, "f16, a sequence that is none",
       [half, np.array([0, 1, 0], np.uint32), np.array([5, 0, 3], np.uint32),
        np.stack([half[0, :, 1], np.zeros((2, 24)), half[0, :, 3]]).astype(np.float32)], struct.pack("<II", 0, 0), 0, 0)

for d in (64, 256, 1024):
    x = v.normal(2, 3, d)
    want = mx.hadamard_transform(mx.array(x))
    v.case("hadamard", MLX, f"plain {d}", [x, np.array(want)], struct.pack("<I", 0), 2e-6, 2e-6)
x = v.normal(2, 128)
turned = (x.astype(np.float64) * SIGNS[:128]) @ hadamard(128).T
v.case("hadamard", NUMPY, "signs first", [x, turned], struct.pack("<I", 1), 1e-6, 1e-6)
v.case("hadamard", NUMPY, "signs last", [turned.astype(np.float32), unrotate(turned.astype(np.float32).astype(np.float64))],
       struct.pack("<I", 2), 1e-6, 1e-6)
v.write()
