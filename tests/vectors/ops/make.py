#!/usr/bin/env python3
"""Writes ops.bin: inputs and results of operations as other libraries compute them, for tests/unit/vectors_ops.c.

The references in src/ops are what kernels are compared with; this file is what the references are compared with.
Run by hand, with numpy, torch, gguf and mlx (pip install "mlx[cpu]" torch gguf): python3 make.py. Contents are
seeded, so that a second run with the same library versions writes the same bytes.

File: "MLXNVEC1", then cases to the end. All numbers are little-endian. A case:
  u32 length and bytes of: operation, source library, name
  u32 size of the parameter block, its bytes (the struct of mlxn/op_params.h)
  f64 absolute tolerance, f64 relative tolerance, of every element of every output
  u32 number of arguments; for each, in the order of the operation's argument table:
    u32 present, u32 kind, u32 dtype or weight format, u32 rank, u64 dims[4], u64 bytes, the bytes
    kind: 0 a tensor; 1 a weight; 2 a view: the bytes begin with i64 first element, i64 strides[4], in elements
An output argument holds the wanted result. An in-out argument holds the contents before, and its result follows as an
argument after the last one.
"""

import struct
from pathlib import Path

import gguf
import mlx.core as mx
import mlx.nn as mxnn
import numpy as np
import torch

F32, F16, BF16, U32 = 0, 1, 2, 5
rng = np.random.default_rng(20240607)
out = bytearray(b"MLXNVEC1")
MLX, TORCH, NUMPY = f"mlx {mx.__version__}", f"torch {torch.__version__}", f"numpy {np.__version__}"
GGUF = "gguf-py"


def text(s):
    b = s.encode()
    return struct.pack("<I", len(b)) + b


def to_bf16(a):
    """float32 -> bits, round to nearest even, by torch."""
    return (
        torch.from_numpy(np.ascontiguousarray(a, np.float32))
        .to(torch.bfloat16)
        .view(torch.int16)
        .numpy()
        .view(np.uint16)
    )


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Weight:
    def __init__(self, fmt, rows, cols, raw):
        self.fmt, self.rows, self.cols, self.raw = fmt, rows, cols, raw


def argument(a):
    if a is None:
        return struct.pack("<IIII4QQ", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    if isinstance(a, Weight):
        return struct.pack("<IIII4QQ", 1, 1, a.fmt, 2, a.rows, a.cols, 0, 0, len(a.raw)) + a.raw
    if isinstance(a, tuple):  # (bits, BF16)
        data, dtype = a
    else:
        data, dtype = a, {"float32": F32, "float16": F16, "uint32": U32}[a.dtype.name]
    data = np.ascontiguousarray(data)
    dims = list(data.shape) + [0] * (4 - data.ndim)
    return struct.pack("<IIII4QQ", 1, 0, dtype, data.ndim, *dims, data.nbytes) + data.tobytes()


def case(op, source, name, args, params=b"", absolute=0.0, relative=0.0):
    global out
    out += text(op) + text(source) + text(name) + struct.pack("<I", len(params)) + params
    out += struct.pack("<ddI", absolute, relative, len(args))
    for a in args:
        out += argument(a)


def normal(*shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def f64(a):
    return torch.from_numpy(np.asarray(a, np.float64))


def elementwise():
    a, b = normal(3, 37, scale=3), normal(3, 37)
    case("elementwise_add", NUMPY, "f32", [a, b, a + b])
    case("elementwise_mul", NUMPY, "f32", [a, b, a * b])
    ha, hb = a.astype(np.float16), b.astype(np.float16)
    case("elementwise_add", NUMPY, "f16", [ha, hb, ha + hb])
    case("elementwise_mul", NUMPY, "f16", [ha, hb, ha * hb])
    ta, tb = torch.from_numpy(a).bfloat16(), torch.from_numpy(b).bfloat16()
    bits = lambda t: (t.view(torch.int16).numpy().view(np.uint16), BF16)
    case("elementwise_add", TORCH, "bf16", [bits(ta), bits(tb), bits(ta + tb)])
    case("elementwise_mul", TORCH, "bf16", [bits(ta), bits(tb), bits(ta * tb)])
    case("scalar_mul", NUMPY, "f32", [a, a * np.float32(0.37)], struct.pack("<f", 0.37))


def casts():
    x = np.concatenate(
        [
            normal(200, scale=100),
            np.array(
                [
                    0.0,
                    -0.0,
                    np.inf,
                    -np.inf,
                    65504,
                    65519.99,
                    65520,
                    1e6,
                    6e-8,
                    2.9e-8,
                    2.99e-8,
                    1e-40,
                    -3e-5,
                    1 + 2**-11,
                    1 + 3 * 2**-11,
                    1 + 2**-8,
                    1 + 3 * 2**-8,
                    3.4e38,
                    2.0**-14,
                    2.0**-24,
                    2.0**-25,
                    1.5 * 2.0**-25,
                ],
                np.float32,
            ),
        ]
    )
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    case("cast", NUMPY, "f32 to f16", [x, half])
    case("cast", NUMPY, "f16 to f32", [half, half.astype(np.float32)])
    case("cast", TORCH, "f32 to bf16", [x, (to_bf16(x), BF16)])
    case("cast", TORCH, "bf16 to f32", [(to_bf16(x), BF16), from_bf16(to_bf16(x))])
    every = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    every = every[np.isfinite(every)][::31]
    case(
        "cast",
        TORCH,
        "f16 to bf16",
        [every, (torch.from_numpy(every).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16), BF16)],
    )


def rows():
    x, index = normal(11, 19), np.array([3, 0, 10, 10, 5], np.uint32)
    case("gather", NUMPY, "rows", [x, index, np.take(x, index, axis=0)])
    case("gather", NUMPY, "index past the end", [x, np.array([11, 4000000000], np.uint32), x[[10, 10]]])
    case("copy", NUMPY, "u32", [index, index])
    y = normal(6, 301)
    y[2, 7] = y[2, 200] = 99
    y[3, :] = -np.inf
    y[4, 5] = np.nan
    case("argmax", NUMPY, "ties, infinities, NaN", [y, np.nanargmax(y, axis=1).astype(np.uint32)])


def activations():
    x, up = normal(4, 65, scale=4), normal(4, 65)
    x[0, :4] = [-30, 30, -88, 0]
    want = (torch.nn.functional.silu(f64(x)) * f64(up)).numpy().astype(np.float32)
    case("silu_mul", TORCH, "f64", [x, up, want], absolute=1e-12, relative=1e-6)
    want = np.array(mxnn.silu(mx.array(x)) * mx.array(up))
    case("silu_mul", MLX, "f32", [x, up, want], absolute=1e-7, relative=2e-6)
    want = (torch.nn.functional.gelu(f64(x), approximate="tanh") * f64(up)).numpy().astype(np.float32)
    case("gelu_mul", TORCH, "f64", [x, up, want], absolute=1e-12, relative=1e-6)
    want = np.array(mxnn.gelu_approx(mx.array(x)) * mx.array(up))
    case("gelu_mul", MLX, "f32", [x, up, want], absolute=2e-6, relative=2e-6)
    x = normal(3, 50, scale=40)
    case(
        "softcap",
        MLX,
        "cap 30",
        [x, np.array(mx.tanh(mx.array(x) / 30) * 30)],
        struct.pack("<f", 30),
        1e-6,
        1e-6,
    )


def norms():
    for d in (64, 192, 33):
        x, w = normal(5, d, scale=2), (1 + 0.3 * normal(d)).astype(np.float32)
        for eps in (1e-5, 1e-6):
            want = np.array(mx.fast.rms_norm(mx.array(x), mx.array(w), eps))
            case("rms_norm", MLX, f"f32 {d} eps {eps}", [x, w, want], struct.pack("<f", eps), 1e-6, 2e-6)
        want = (
            torch.nn.functional.rms_norm(f64(x), (d,), None, float(np.float32(1e-3)))
            .numpy()
            .astype(np.float32)
        )
        case("rms_norm", TORCH, f"f64 {d} no weight", [x, None, want], struct.pack("<f", 1e-3), 1e-9, 2e-7)
        small, residual = normal(2, 3, d, scale=1e-3), normal(2, 3, d)
        want = np.array(mx.array(residual) + mx.fast.rms_norm(mx.array(small), mx.array(w), 1e-6))
        case("norm_add", MLX, f"f32 {d}", [small, w, residual, want], struct.pack("<f", 1e-6), 2e-6, 2e-6)
        half = x.astype(np.float16)
        want = (
            (torch.nn.functional.rms_norm(f64(half), (d,), None, float(np.float32(1e-5))))
            .numpy()
            .astype(np.float16)
        )
        case(
            "rms_norm", TORCH, f"f16 {d} no weight", [half, None, want], struct.pack("<f", 1e-5), 1e-7, 1.1e-3
        )


def ropes():
    for pairing, traditional in ((0, True), (1, False)):
        for d, n, base, offset in (
            (64, 64, 10000.0, 0),
            (64, 64, 100000.0, 37),
            (128, 64, 1e6, 11),
            (256, 256, 1e6, 90),
        ):
            t, heads = 4, 2
            x = normal(t, heads, d)
            turned = mx.fast.rope(
                mx.array(x.transpose(1, 0, 2)[None]),
                n,
                traditional=traditional,
                base=base,
                scale=1.0,
                offset=offset,
            )
            want = np.array(turned)[0].transpose(1, 0, 2)
            positions = np.arange(offset, offset + t, dtype=np.uint32)
            case(
                "rope",
                MLX,
                f"pairing {pairing}, {n} of {d}, base {base:g}, from {offset}",
                [x, positions, None, want],
                struct.pack("<IIff", pairing, n, base, 0),
                4e-5,
                1e-6,
            )
        factors = np.linspace(1, 8, 32, dtype=np.float32)
        x = normal(3, 2, 64)
        freqs = (10000.0 ** (2 * np.arange(32) / 64) * factors).astype(np.float32)
        turned = mx.fast.rope(
            mx.array(x.transpose(1, 0, 2)[None]),
            64,
            traditional=traditional,
            base=None,
            scale=0.25,
            offset=20,
            freqs=mx.array(freqs),
        )
        case(
            "rope",
            MLX,
            f"pairing {pairing}, factors and scale",
            [x, np.arange(20, 23, dtype=np.uint32), factors, np.array(turned)[0].transpose(1, 0, 2)],
            struct.pack("<IIff", pairing, 64, 10000.0, 0.25),
            2e-5,
            1e-6,
        )


FORMATS = {
    "Q4_0": (2, 18, 32, 0, None, 0.02),
    "Q4_1": (3, 20, 32, 0, 2, 0.02),
    "Q5_0": (6, 22, 32, 0, None, 0.01),
    "Q5_1": (7, 24, 32, 0, 2, 0.01),
    "Q8_0": (8, 34, 32, 0, None, 1e-3),
    "Q4_K": (12, 144, 256, 0, 2, 4e-4),
    "Q5_K": (13, 176, 256, 0, 2, 2e-4),
    "Q6_K": (14, 210, 256, 208, None, 5e-5),
}


def random_weight(name, n, cols):
    """Random bits with scales of the size that files have: every code, sign and scale field is exercised."""
    fmt, size, values, first, second, scale = FORMATS[name]
    raw = rng.integers(0, 256, (n * cols // values, size), dtype=np.uint8)
    for at, factor in ((first, 1), (second, 3)):
        if at is None:
            continue
        s = (factor * scale * rng.uniform(-1, 1, len(raw))).astype(np.float16)
        raw[:, at : at + 2] = s.view(np.uint8).reshape(-1, 2)
    decoded = gguf.dequantize(raw.reshape(n, -1), gguf.GGMLQuantizationType(fmt)).reshape(n, cols)
    return Weight(fmt, n, cols, raw.tobytes()), decoded.astype(np.float32)


def plain_weight(name, n, cols):
    w = normal(n, cols, scale=0.05)
    if name == "F16":
        h = w.astype(np.float16)
        return Weight(1, n, cols, h.tobytes()), h.astype(np.float32)
    if name == "BF16":
        return Weight(30, n, cols, to_bf16(w).tobytes()), from_bf16(to_bf16(w))
    return Weight(0, n, cols, w.tobytes()), w


def weights():
    for name in ("F32", "F16", "BF16", *FORMATS):
        cols = 512 if name in ("Q4_K", "Q5_K", "Q6_K") else 96
        make = random_weight if name in FORMATS else plain_weight
        w, decoded = make(name, 6, cols)
        ids = np.array([5, 0, 3], np.uint32)
        case("embedding", GGUF, f"{name} decoded", [ids, w, decoded[ids]], struct.pack("<f", 0))
        w, decoded = make(name, 9, cols)
        x = normal(3, cols)
        want = torch.nn.functional.linear(f64(x), f64(decoded)).numpy().astype(np.float32)
        case("matmul", f"{GGUF} and {TORCH}", name, [x, w, None, None, want], b"", 1e-8, 2e-7)
        bias, residual = normal(9), normal(3, 9)
        want = np.array(mx.addmm(mx.array(residual) + mx.array(bias), mx.array(x), mx.array(decoded).T))
        case(
            "matmul",
            f"{GGUF} and {MLX}",
            f"{name}, bias and residual",
            [x, w, bias, residual, want],
            b"",
            2e-5,
            1e-5,
        )
        half = x.astype(np.float16)
        want = torch.nn.functional.linear(f64(half), f64(decoded)).numpy().astype(np.float32)
        case(
            "matmul",
            f"{GGUF} and {TORCH}",
            f"{name}, f16 activations",
            [half, w, None, None, want],
            b"",
            1e-8,
            2e-7,
        )


def ring(k, slots):
    """[positions, heads, D] -> [heads, slots, D]: position p in slot p mod slots, later positions win."""
    cache = np.full((k.shape[1], slots, k.shape[2]), np.nan, k.dtype)
    for p in range(len(k)):
        cache[:, p % slots] = k[p]
    return cache


def attentions():
    def run(name, heads, kv_heads, d, positions_total, rows_n, slots, window, dtype, use_mlx):
        k, v = normal(positions_total, kv_heads, d).astype(dtype), normal(
            positions_total, kv_heads, d
        ).astype(dtype)
        q = normal(rows_n, heads, d)
        positions = np.arange(positions_total - rows_n, positions_total, dtype=np.uint32)
        p = np.arange(positions_total)[None]
        # Rows of one batch share the ring: a slot holds the last position written, which a row may not see yet.
        assert slots >= positions_total or rows_n == 1
        mask = (p <= positions[:, None]) & (p > positions[:, None].astype(int) - slots)
        if window:
            mask &= p > positions[:, None].astype(int) - window
        scale = float(np.float32(d**-0.5))
        if use_mlx:
            to = lambda a: mx.array(a.astype(np.float32).transpose(1, 0, 2)[None])
            want = np.array(
                mx.fast.scaled_dot_product_attention(to(q), to(k), to(v), scale=scale, mask=mx.array(mask))
            )[0].transpose(1, 0, 2)
        else:
            to = lambda a: f64(a).transpose(0, 1)[None]
            want = torch.nn.functional.scaled_dot_product_attention(
                to(q), to(k), to(v), attn_mask=torch.from_numpy(mask), scale=scale, enable_gqa=True
            )
            want = want[0].transpose(0, 1).numpy().astype(np.float32)
        sequences = np.ones(rows_n, np.uint32)
        unused = np.full((kv_heads, slots, d), np.nan, dtype)
        caches = [np.stack([unused, ring(a, slots)]) for a in (k, v)]
        case(
            "attention",
            MLX if use_mlx else TORCH,
            name,
            [q, *caches, sequences, positions, None, None, want],
            struct.pack("<ffIIIIf", scale, 0, window, 0, 0, 0, 0),
            2e-6 if use_mlx else 1e-9,
            2e-6 if use_mlx else 3e-7,
        )

    for use_mlx in (True, False):
        run("decode, grouped 3", 9, 3, 64, 20, 1, 32, 0, np.float32, use_mlx)
        run("prefill", 4, 4, 32, 12, 12, 12, 0, np.float32, use_mlx)
        run("prefill after a prefix, window", 4, 1, 64, 24, 8, 24, 5, np.float32, use_mlx)
        run("ring that wrapped", 6, 2, 32, 29, 1, 13, 0, np.float32, use_mlx)
        run("ring that wrapped, window", 6, 2, 32, 29, 1, 13, 7, np.float32, use_mlx)
        run("f16 cache", 6, 1, 64, 10, 3, 16, 0, np.float16, use_mlx)
    # Scores with a soft cap, in double.
    k, v, q = normal(9, 1, 32), normal(9, 1, 32), normal(2, 2, 32, scale=4)
    positions = np.array([5, 8], np.uint32)
    s = np.einsum("thd,pd->thp", q.astype(float), k[:, 0].astype(float)) * 0.5
    s = f64(20 * np.tanh(s / 20)).masked_fill(
        torch.from_numpy(np.arange(9)[None, None] > positions[:, None, None]), float("-inf")
    )
    want = torch.einsum("thp,pd->thd", torch.softmax(s, -1), f64(v[:, 0])).numpy().astype(np.float32)
    case(
        "attention",
        TORCH,
        "softcap",
        [q, ring(k, 9)[None], ring(v, 9)[None], np.zeros(2, np.uint32), positions, None, None, want],
        struct.pack("<ffIIIIf", 0.5, 20, 0, 0, 0, 0, 0),
        1e-9,
        3e-7,
    )


def kv():
    k, v = normal(5, 2, 8), normal(5, 2, 8)
    sequences, positions = np.array([1, 0, 1, 7, 0], np.uint32), np.array([6, 3, 7, 0, 4], np.uint32)
    before = [normal(2, 2, 4, 8).astype(np.float16) for _ in range(2)]
    after = [b.copy() for b in before]
    for t in range(5):
        if sequences[t] < 2:
            after[0][sequences[t], :, positions[t] % 4] = k[t]
            after[1][sequences[t], :, positions[t] % 4] = v[t]
    case("kv_write", NUMPY, "two sequences, one row skipped", [k, v, sequences, positions, *before, *after], bytes(8))


def fusion_parts():
    """silu and gelu alone, and heads normed and then turned. Last, so that what precedes keeps its random numbers."""
    x = normal(5, 67, scale=4)
    x[0, :6] = [-30, 30, -88, 0, -0.0, 1e-30]
    for name, torch_fn, mlx_fn in (
        ("silu", torch.nn.functional.silu, mxnn.silu),
        ("gelu", lambda a: torch.nn.functional.gelu(a, approximate="tanh"), mxnn.gelu_approx),
    ):
        case(name, TORCH, "f64", [x, torch_fn(f64(x)).numpy().astype(np.float32)], absolute=1e-12, relative=1e-6)
        case(name, MLX, "f32", [x, np.array(mlx_fn(mx.array(x)))], absolute=2e-6, relative=2e-6)
        half = x.astype(np.float16)
        want = torch_fn(f64(half)).numpy().astype(np.float16)
        case(name, TORCH, "f16", [half, want], absolute=1e-7, relative=1.1e-3)
    for pairing, traditional in ((0, True), (1, False)):
        for d, n, base, offset, weighted in (
            (64, 64, 10000.0, 0, True),
            (128, 128, 1e6, 53, True),
            (80, 32, 10000.0, 9, True),
            (64, 64, 100000.0, 37, False),
        ):
            t, heads, eps = 3, 2, 1e-6
            x, w = normal(t, heads, d, scale=3), (1 + 0.3 * normal(d)).astype(np.float32)
            normed = mx.fast.rms_norm(
                mx.array(x.transpose(1, 0, 2)[None]), mx.array(w) if weighted else None, eps
            )
            turned = mx.fast.rope(normed, n, traditional=traditional, base=base, scale=1.0, offset=offset)
            case(
                "norm_rope",
                MLX,
                f"pairing {pairing}, {n} of {d}, base {base:g}, from {offset}{'' if weighted else ', no weight'}",
                [
                    x,
                    w if weighted else None,
                    np.arange(offset, offset + t, dtype=np.uint32),
                    None,
                    np.array(turned)[0].transpose(1, 0, 2),
                ],
                struct.pack("<fIIff", eps, pairing, n, base, 0),
                4e-5,
                2e-6,
            )


for part in (elementwise, casts, rows, activations, norms, ropes, weights, attentions, kv, fusion_parts):
    part()
Path(__file__).with_name("ops.bin").write_bytes(out)
print(f"ops.bin: {len(out)} bytes")
