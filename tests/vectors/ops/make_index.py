#!/usr/bin/env python3
"""Writes index.bin: elements put along an axis, counts of equal elements and comparisons of whole numbers as torch and
NumPy compute them. Run by hand (numpy, torch)."""

import struct

import numpy as np
import torch
from vec import NUMPY, TORCH, Bf16, Vectors, f64

v = Vectors(__file__, 37)

for rows, many, cols in ((3, 7, 11), (2, 40, 9), (4, 1, 1)):
    x, out = v.normal(rows, many), v.normal(rows, cols)
    index = v.rng.integers(0, cols, (rows, many)).astype(np.uint32)
    want = out.copy()
    if many <= cols:  # NumPy leaves open which of equal places wins: here each is named once
        index = np.argsort(v.normal(rows, cols), -1)[:, :many].astype(np.uint32)
    else:  # the last of equal places is put
        last = np.array([[many - 1 - np.argmax(row[::-1] == row[j]) for j in range(many)] for row in index])
        np.put_along_axis(want, index.astype(np.int64), np.take_along_axis(x, last, -1), -1)
    if many <= cols:
        np.put_along_axis(want, index.astype(np.int64), x, -1)
    v.case("put_along", NUMPY, f"{many} into {cols}", [x, index, out, want], absolute=0, relative=0)
    added = torch.scatter_add(f64(out), -1, torch.from_numpy(index.astype(np.int64)), f64(x))
    v.case("put_along_add", TORCH, f"{many} into {cols}", [x, index, out, added.numpy()], relative=1e-6)
    source = f64(out).clone().requires_grad_()
    torch.gather(source, -1, torch.from_numpy(index.astype(np.int64))).backward(f64(x))
    zeros = np.zeros_like(out)
    v.case("put_along_add", TORCH, f"gradient of take_along, {many}", [x, index, zeros, source.grad.numpy()])
x, out = Bf16(v.normal(2, 30)), Bf16(v.normal(2, 5))
index = v.rng.integers(0, 5, (2, 30)).astype(np.uint32)
added = torch.scatter_add(f64(out), -1, torch.from_numpy(index.astype(np.int64)), f64(x))
v.case("put_along_add", TORCH, "bf16", [x, index, out, Bf16(added.float().numpy())], absolute=1e-7, relative=8e-3)

for name, a, b in (
    ("f32", v.normal(3, 50), v.normal(3, 50)),
    ("u32", v.rng.integers(2**32 - 4, 2**32, (200,)).astype(np.uint32),
     v.rng.integers(2**32 - 4, 2**32, (200,)).astype(np.uint32)),
    ("i32", v.rng.integers(-2, 2, (4, 33)).astype(np.int32), v.rng.integers(-2, 2, (4, 33)).astype(np.int32)),
    ("u8", v.rng.integers(0, 3, (9, 9)).astype(np.uint8), v.rng.integers(0, 3, (9, 9)).astype(np.uint8)),
):
    if name == "f32":
        b[0], b[1, :9], a[1, :4] = a[0], a[1, :9], np.nan
    v.case("count_equal", NUMPY, name, [a, b, np.array([np.sum(a == b)], np.uint32)], absolute=0, relative=0)

COMPARE = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.logical_and,
           np.logical_or, np.logical_xor)
for dtype, low, high in ((np.uint32, 2**32 - 3, 2**32), (np.uint32, 0, 2), (np.int32, -(2**31), 3 - 2**31),
                         (np.int32, -1, 2)):
    a, b = (v.rng.integers(low, high, (4, 9)).astype(dtype) for _ in range(2))
    for i, fn in enumerate(COMPARE):
        want = fn(a, b).astype(np.uint8)
        v.case("compare", NUMPY, f"{fn.__name__} {np.dtype(dtype).name}", [a, b, want], struct.pack("<I", i), 0, 0)
v.write()
