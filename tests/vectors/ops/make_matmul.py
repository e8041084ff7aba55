#!/usr/bin/env python3
"""Writes matmul.bin: expert-routed and dense products, and gradients of these, as torch computes them in double. Run by hand (numpy, torch, gguf)."""

import gguf
import numpy as np
from vec import TORCH, Bf16, Vectors, Weight, f64

v = Vectors(__file__, 23)
FORMATS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "BF16": 30}


def weight(name, w):
    """The stack as bytes, and the values that they stand for."""
    if name == "F32":
        return Weight(0, w.shape, w.tobytes()), w
    if name == "F16":
        return Weight(1, w.shape, w.astype(np.float16).tobytes()), w.astype(np.float16).astype(np.float32)
    if name == "BF16":
        b = Bf16(w)
        return Weight(30, w.shape, b.bits.tobytes()), b.values
    kind = getattr(gguf.GGMLQuantizationType, name)
    raw = gguf.quants.quantize(w, kind)
    return Weight(FORMATS[name], w.shape, raw.tobytes()), gguf.quants.dequantize(raw, kind)


for name in FORMATS:
    for tokens, top, per_slot, bias in ((1, 2, False, False), (5, 2, False, True), (4, 3, True, True)):
        experts, n, k = 4, 6, 64
        w, values = weight(name, v.normal(experts, n, k))
        x = v.normal(tokens * top if per_slot else tokens, k)
        b = v.normal(experts, n) if bias else None
        ids = v.rng.integers(0, experts, (tokens, top)).astype(np.uint32)
        if tokens == 5:
            ids[2, 1] = experts  # names no matrix
        y = np.zeros((tokens * top, n))
        for slot, e in enumerate(ids.ravel()):
            if e < experts:
                y[slot] = f64(values[e]) @ f64(x[slot if per_slot else slot // top])
                y[slot] += 0 if b is None else b[e]
        label = f"{name}, {tokens} tokens, {top} each" + (", rows per slot" if per_slot else "")
        v.case("matmul_id", TORCH, label, [x, w, ids, b, y], absolute=1e-5)

def dense(label, a, b, kind, absolute):
    """b's leading dims divide a's; repeats follow one another."""
    A, B = f64(a), f64(b)
    for d in range(A.ndim - 2):
        B = B.repeat_interleave(A.shape[d] // B.shape[d], dim=d)
    y = (A @ B.transpose(-1, -2)).numpy()
    y = {"f32": lambda: y, "f16": lambda: y.astype(np.float16), "bf16": lambda: Bf16(y)}[kind]()
    v.case("dense_matmul", TORCH, label, [a, b, y], absolute=absolute)


half = lambda *shape: v.normal(*shape).astype(np.float16)
dense("f32", v.normal(5, 33), v.normal(7, 33), "f32", 1e-5)
dense("f16", half(4, 48), half(9, 48), "f16", 2e-2)
dense("f32 x bf16", v.normal(2, 3, 40), Bf16(v.normal(2, 6, 40)), "f32", 1e-5)
dense("bf16", Bf16(v.normal(3, 40)), Bf16(v.normal(6, 40)), "bf16", 0.15)
dense("f32 x f16, grouped", v.normal(2, 6, 3, 24), half(1, 2, 5, 24), "f32", 1e-5)

# Gradients of out = a b^T by autograd, as dense_matmul of transposed operands.
a, b, dy = v.normal(6, 20), v.normal(9, 20), v.normal(6, 9)
A, B = f64(a).requires_grad_(), f64(b).requires_grad_()
(A @ B.T).backward(f64(dy))
v.case("dense_matmul", TORCH, "gradient of a", [dy, np.ascontiguousarray(b.T), A.grad.numpy()], absolute=1e-5)
v.case("dense_matmul", TORCH, "gradient of b",
       [np.ascontiguousarray(dy.T), np.ascontiguousarray(a.T), B.grad.numpy()], absolute=1e-5)
v.write()
