"""Writes the files that tests/unit/vectors_ops.c reads; make.py describes the format. Used by the make_*.py here."""

import struct
from pathlib import Path

import numpy as np
import torch

F32, F16, BF16, U8, U32, I32 = 0, 1, 2, 3, 5, 6
DTYPES = {"float32": F32, "float16": F16, "uint8": U8, "uint32": U32, "int32": I32}
TORCH, NUMPY = f"torch {torch.__version__}", f"numpy {np.__version__}"


class Bf16:
    """float32 values, kept as bfloat16 bits (nearest even, by torch)."""

    def __init__(self, values):
        rounded = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(torch.bfloat16)
        self.bits = rounded.view(torch.int16).numpy().view(np.uint16)
        self.values = rounded.float().numpy()


class Weight:
    """A weight of a block format (mlxn_format): bytes of its rows; shape [rows, cols], or [experts, rows, cols]."""

    def __init__(self, fmt, shape, raw):
        self.fmt, self.shape, self.raw = fmt, list(shape), bytes(raw)


class Strided:
    """A view of an array's elements: dims, strides and the first element's place, counted in elements."""

    def __init__(self, storage, dims, strides, first):
        self.storage, self.dims, self.first = np.ascontiguousarray(storage), list(dims), first
        self.strides = list(strides)


def text(s):
    b = s.encode()
    return struct.pack("<I", len(b)) + b


def argument(a):
    if a is None:
        return struct.pack("<IIII4QQ", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    if isinstance(a, Weight):
        dims = a.shape + [0] * (4 - len(a.shape))
        return struct.pack("<IIII4QQ", 1, 1, a.fmt, len(a.shape), *dims, len(a.raw)) + a.raw
    if isinstance(a, Strided):
        dtype = DTYPES[a.storage.dtype.name]
        dims, strides = (y + [0] * (4 - len(y)) for y in (a.dims, a.strides))
        where = struct.pack("<5q", a.first, *strides)
        size = len(where) + a.storage.nbytes
        return struct.pack("<IIII4QQ", 1, 2, dtype, len(a.dims), *dims, size) + where + a.storage.tobytes()
    if isinstance(a, Bf16):
        data, dtype = a.bits, BF16
    else:
        data = np.asarray(a)
        if data.dtype == np.float64:
            data = data.astype(np.float32)
        dtype = DTYPES[data.dtype.name]
    data = np.ascontiguousarray(data)
    dims = list(data.shape) + [0] * (4 - data.ndim)
    return struct.pack("<IIII4QQ", 1, 0, dtype, data.ndim, *dims, data.nbytes) + data.tobytes()


class Vectors:
    def __init__(self, script, seed):
        self.path = Path(script).with_suffix(".bin").with_name(Path(script).stem.removeprefix("make_") + ".bin")
        self.rng = np.random.default_rng(seed)
        self.out = bytearray(b"MLXNVEC1")

    def normal(self, *shape, scale=1.0, mean=0.0):
        return (mean + scale * self.rng.standard_normal(shape)).astype(np.float32)

    def uniform(self, *shape, low=0.0, high=1.0):
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def case(self, op, source, name, args, params=b"", absolute=1e-7, relative=1e-6):
        """Arguments in the order of the table; results of in-out arguments follow after the last."""
        self.out += text(op) + text(source) + text(name) + struct.pack("<I", len(params)) + params
        self.out += struct.pack("<ddI", absolute, relative, len(args))
        for a in args:
            self.out += argument(a)

    def write(self):
        self.path.write_bytes(self.out)
        print(f"{self.path.name}: {len(self.out)} bytes")


def f64(a):
    """A double tensor of an array or of the values of a Bf16."""
    return torch.from_numpy(np.asarray(a.values if isinstance(a, Bf16) else a, np.float64))
