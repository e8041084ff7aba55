#!/usr/bin/env python3
"""Writes mlx.bin: matrices as MLX packs, unpacks and multiplies them, for tests/unit/vectors_mlx.c.

Run by hand with numpy and MLX on the CPU (pip install "mlx[cpu]" numpy): python3 make_mlx.py. Contents are seeded, so
that a second run with the same versions writes the same bytes. MLX since 0.32.1 rounds the scales of mxfp4 and mxfp8
up: what the test expects.

File: "MLXNQNT1", then records to the end, all little-endian:
  u32 length and bytes of the name
  u32 format (mlxn_format), u32 dtype of the scales (mlxn_dtype), f32 global scale (0: none)
  u32 experts, u32 rows of one, u32 cols, u32 rows of x, u32 experts per row of x
  then blobs (u32 size, bytes; size 0 where there is none): the matrix before packing (f32), codes, scales, biases, the
  unpacked matrix (f32), x (f32), ids (u32, experts chosen per row of x), y (f32: one row per row of x and expert)
"""

import struct
from pathlib import Path

import mlx.core as mx
import numpy as np

mx.set_default_device(mx.cpu)
F32, F16, BF16, U8 = 0, 1, 2, 3
DTYPES = {F32: mx.float32, F16: mx.float16, BF16: mx.bfloat16}
GROUPS = {32: 0, 64: 1, 128: 2}
MODES = {"mxfp4": (1100, 32, 4), "mxfp8": (1101, 32, 8), "nvfp4": (1102, 16, 4)}
rng = np.random.default_rng(20250311)
out = bytearray(b"MLXNQNT1")


def f32(a):
    return np.array(a.astype(mx.float32))


def raw(a):
    """Bytes of an MLX array of any dtype."""
    if a.dtype in (mx.float16, mx.bfloat16):
        a = a.view(mx.uint16)
    return np.ascontiguousarray(np.array(a)).tobytes()


def record(name, fmt, dtype, shape, w, packed, unpacked, x=None, ids=None, y=None, scale=0.0):
    global out
    experts, rows, cols = shape
    out += struct.pack("<I", len(name)) + name.encode()
    out += struct.pack("<IIf", fmt, dtype, scale)
    out += struct.pack("<IIIII", experts, rows, cols, 0 if x is None else x.shape[0], 1 if ids is None else ids.shape[1])
    biases = raw(packed[2]) if len(packed) > 2 else b""
    blobs = [b"" if w is None else w.tobytes(), raw(packed[0]), raw(packed[1]), biases, unpacked.tobytes()]
    blobs += [b"" if a is None else np.ascontiguousarray(a).tobytes() for a in (x, ids, y)]
    for b in blobs:
        out += struct.pack("<I", len(b)) + b


def matrix(rows, cols, group):
    """Normal numbers, and rows whose groups are the awkward ones."""
    w = rng.standard_normal((rows, cols)).astype(np.float32)
    w[0] = 0
    w[1, :group] = -2.5
    w[1, group : 2 * group] = 3.0
    w[2] = -np.abs(w[2])
    w[3] = np.abs(w[3]) + 1
    w[4] *= 1e-4
    w[5] *= 1000
    w[6, ::5] = 0
    return w


def affine():
    for bits in (2, 3, 4, 5, 6, 8):
        for group, digit in GROUPS.items():
            for dtype in (F32, F16, BF16):
                rows, cols = 9, 256
                w = f32(mx.array(matrix(rows, cols, group)).astype(DTYPES[dtype]))
                packed = mx.quantize(mx.array(w).astype(DTYPES[dtype]), group_size=group, bits=bits)
                wide = [packed[0]] + [a.astype(mx.float32) for a in packed[1:]]
                unpacked = f32(mx.dequantize(*wide, group_size=group, bits=bits))
                x = rng.standard_normal((2, cols)).astype(np.float32)
                y = f32(mx.quantized_matmul(mx.array(x), *wide, group_size=group, bits=bits))
                record(f"affine {bits} bits, groups of {group}", 1000 + 10 * bits + digit, dtype, (1, rows, cols), w,
                       packed, unpacked, x, None, y)


def floats():
    for mode, (fmt, group, bits) in MODES.items():
        # Rows of nvfp4 may also be an odd number of groups, of which MLX wants an even number in all.
        shapes = ((128, 0.0), (128, 5.5), (48, 0.0), (16, 0.0)) if mode == "nvfp4" else ((128, 0.0),)
        for cols, scale in shapes:
            rows = 9 if cols > 48 else 10
            w = f32(mx.array(matrix(rows, cols, group)).astype(mx.bfloat16))
            w[0] = w[1] * 0.75  # MLX gives zeros a scale of no meaning
            extra = {"global_scale": mx.array(scale, mx.float32)} if scale else {}
            try:
                packed = mx.quantize(mx.array(w), mode=mode, **extra)
                unpacked = f32(mx.dequantize(*packed, mode=mode, dtype=mx.float32, **extra))
                mx.eval(packed)
            except (ValueError, RuntimeError) as problem:
                print(f"{mode} with global scale {scale}: {problem}")
                continue
            x = y = None
            if not scale:
                x = rng.standard_normal((2, cols)).astype(np.float32)
                y = f32(mx.quantized_matmul(mx.array(x), *packed, mode=mode))
            record(mode, fmt, U8, (1, rows, cols), w, packed, unpacked, x, None, y, scale)
        # Every byte of a scale with every code.
        cols = 64 if bits == 4 else 256
        codes = np.tile(np.arange(cols) % (1 << bits), (256 // (cols // group), 1)).astype(np.uint8)
        if bits == 4:
            codes = codes[:, ::2] | codes[:, 1::2] << 4
        packed = [mx.array(codes.view(np.uint32)), mx.array(np.arange(256, dtype=np.uint8).reshape(codes.shape[0], -1))]
        unpacked = f32(mx.dequantize(*packed, mode=mode, dtype=mx.float32))
        record(f"{mode}, every scale", fmt, U8, (1, codes.shape[0], cols), None, packed, unpacked)


def experts():
    """Expert-routed products, as gather_qmm has them."""
    for mode, fmt, group, bits, cols in (("affine", 1041, 64, 4, 128), ("affine", 1060, 32, 6, 128),
                                         ("mxfp4", 1100, 32, 4, 128), ("nvfp4", 1102, 16, 4, 80)):
        n, rows, tokens, top = 3, 18, 7, 2
        w = rng.standard_normal((n, rows, cols)).astype(np.float32)
        packed = mx.quantize(mx.array(w), group_size=group, bits=bits, mode=mode)
        unpacked = f32(mx.dequantize(*packed, group_size=group, bits=bits, mode=mode, dtype=mx.float32))
        x = rng.standard_normal((tokens, cols)).astype(np.float32)
        ids = rng.integers(0, n, (tokens, top)).astype(np.uint32)
        biases = packed[2] if len(packed) > 2 else None
        y = mx.gather_qmm(mx.array(x)[:, None, None, :], packed[0], packed[1], biases, rhs_indices=mx.array(ids),
                          transpose=True, group_size=group, bits=bits, mode=mode)
        record(f"experts, {mode}", fmt, U8 if biases is None else F32, (n, rows, cols), w, packed, unpacked, x, ids,
               f32(y))


affine()
floats()
experts()
path = Path(__file__).parent / "mlx.bin"
path.write_bytes(out)
print(path, len(out), "bytes, MLX", mx.__version__)
