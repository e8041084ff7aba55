#!/usr/bin/env python3
"""Writes gguf.bin: blocks as ggml decodes and encodes them, for tests/unit/vectors_gguf.c.

Run by hand with numpy, gguf and xllamacpp, whose library holds ggml (pip install gguf xllamacpp numpy): python3
make_gguf.py. Contents are seeded, so that a second run with the same versions writes the same bytes. Where gguf-py
decodes a type too, both decoders must agree before anything is written.

File: "MLXNGGQ1", all little-endian; blobs are u32 size and bytes, size 0 where there is none.
  u32 rows, u32 cols, blob x (f32, what is encoded), blob importance (f32, one per column)
  then records to the end:
    u32 type id
    blob random blocks, blob their values (f32)
    blob x encoded by the reference rule (from_float_ref), and by ggml_quantize_chunk without and with the importance
"""

import ctypes
import struct
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import xllamacpp.xllamacpp as engine

ggml = ctypes.CDLL(engine.__file__)
TYPES = [2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 29, 34, 35, 39, 40, 41, 42]
Q8_1, Q8_K, IQ1_M, MXFP4, NVFP4, F32 = 9, 15, 29, 39, 40, -4
# Where the binary16 fields of a block lie. Q8_K has a binary32 scale; IQ1_M has its scale in four nibbles.
HALVES = {2: [0], 3: [0, 2], 6: [0], 7: [0, 2], 8: [0], 10: [80, 82], 11: [108], 12: [0, 2], 13: [0, 2], 14: [208],
          16: [0], 17: [0], 18: [0], 19: [0], 20: [0], 21: [0], 22: [0], 23: [0], 34: [52], 35: [64], 41: [0], 42: [0]}
GRIDS = [16, 17, 18, 19, 21, 22, 29]  # encoded with the importance only
ROWS, COLS, BLOCKS = 14, 512, 1024
rng = np.random.default_rng(20250420)


class Traits(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("values", ctypes.c_int64), ("interleave", ctypes.c_int64),
                ("bytes", ctypes.c_size_t), ("quantized", ctypes.c_bool), ("decode", ctypes.c_void_p),
                ("encode", ctypes.c_void_p)]


ROW_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
ggml.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                     ctypes.c_int64, ctypes.c_void_p]


def matrix():
    """Weights as models have them, and the awkward rows."""
    x = rng.standard_normal((ROWS, COLS)).astype(np.float32)
    x[1] *= np.float32(0.02)
    x[2] = rng.standard_t(3, COLS) * 0.05  # heavy tails
    x[3] = rng.uniform(-4, 4, COLS)
    x[4] = 0
    x[4, 300:320] = rng.standard_normal(20) * 0.1  # zeros, and a block with some
    x[5] = np.abs(x[5]) + 1
    x[6] = -np.abs(x[6])
    x[7, :256] = -2.5
    x[7, 256:] = 3
    x[8] *= 1e-4
    x[9] *= 500
    x[10] = rng.integers(-8, 9, COLS) * 0.125  # ties
    x[11] = rng.integers(-1, 2, COLS) * 0.75  # ternary
    x[12, ::3] = 0
    x[13] = rng.standard_normal(COLS) * np.repeat(np.exp(rng.standard_normal(COLS // 16)), 16)  # groups of many sizes
    return x


def random_blocks(kind, traits):
    """Random bytes, but scales that are numbers."""
    blocks = rng.integers(0, 256, (max(4, BLOCKS // traits.values), traits.bytes), dtype=np.uint8)
    count = blocks.shape[0]
    for at in HALVES.get(kind, []):
        halves = rng.integers(0, 65536, count).astype(np.uint16)
        halves[(halves & 0x7C00) == 0x7C00] ^= 0x4000
        blocks[:, at : at + 2] = halves.view(np.uint8).reshape(count, 2)
    if kind == Q8_K:
        blocks[:, :4] = (rng.standard_normal(count) * 0.03).astype(np.float32).view(np.uint8).reshape(count, 4)
    if kind == IQ1_M:  # the highest nibble of the scale: no NaN, no infinity
        blocks[:, 55] &= 0xBF
    return blocks


def decode(kind, traits, blocks):
    values = np.empty((blocks.shape[0], traits.values), np.float32)
    call = ROW_FUNCTION(traits.decode) if traits.decode else ROW_FUNCTION(("dequantize_row_q8_K", ggml))
    call(blocks.ctypes.data, values.ctypes.data, values.size)
    try:
        other = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType(kind))
    except (NotImplementedError, ValueError):
        print(f"{traits.name.decode()}: gguf-py does not decode it")
        return values
    if not np.array_equal(values, other.reshape(values.shape), equal_nan=True):
        print(f"{traits.name.decode()}: gguf-py decodes {np.sum(values != other.reshape(values.shape))} values otherwise")
    return values


def blob(a):
    data = b"" if a is None else np.ascontiguousarray(a).tobytes()
    return struct.pack("<I", len(data)) + data


def main():
    x = matrix()
    importance = np.exp(rng.standard_normal(COLS) * 1.5).astype(np.float32)
    importance[7::61] = 0
    out = bytearray(b"MLXNGGQ1" + struct.pack("<II", ROWS, COLS) + blob(x) + blob(importance))
    for kind in TYPES:
        traits = ggml.ggml_get_type_traits(kind).contents
        values = blocks = reference = offline = weighted = None
        if kind != Q8_1:  # ggml has no decoder of it
            blocks = random_blocks(kind, traits)
            values = decode(kind, traits, blocks)
        encoded = np.zeros((ROWS, COLS // traits.values * traits.bytes), np.uint8)
        if kind not in GRIDS:
            call = ROW_FUNCTION(traits.encode) if traits.encode else ROW_FUNCTION(("quantize_row_q8_K_ref", ggml))
            reference = encoded.copy()
            call(x.ctypes.data, reference.ctypes.data, x.size)
        if kind not in (Q8_1, Q8_K):
            if kind not in GRIDS:
                offline = encoded.copy()
                ggml.ggml_quantize_chunk(kind, x.ctypes.data, offline.ctypes.data, 0, ROWS, COLS, None)
            weighted = encoded.copy()
            ggml.ggml_quantize_chunk(kind, x.ctypes.data, weighted.ctypes.data, 0, ROWS, COLS, importance.ctypes.data)
        out += struct.pack("<I", kind)
        for part in (blocks, values, reference, offline, weighted):
            out += blob(part)
    path = Path(__file__).parent / "gguf.bin"
    path.write_bytes(out)
    print(path, len(out), "bytes, xllamacpp", version("xllamacpp"), "gguf", version("gguf"))


main()
