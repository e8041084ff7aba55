#!/usr/bin/env python3
"""Writes basic.bin: functions of one and two numbers, reductions, scans, sorting, softmax, indexing and their gradients
as torch (in double), MLX and numpy compute them. Run by hand (numpy, torch, mlx[cpu])."""

import struct

import mlx.core as mx
import mlx.nn as mxnn
import numpy as np
import torch
import torch.nn.functional as F
from vec import NUMPY, TORCH, Bf16, Vectors, f64

MLX = f"mlx {mx.__version__}"
v = Vectors(__file__, 23)

UNARY = """abs neg sign step square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tanh sigmoid erf
floor ceil round trunc relu leaky_relu elu silu gelu gelu_erf gelu_quick hardswish hardsigmoid softplus clamp affine
xielu""".split()
A, B, C, D = 0.75, 0.5, 0.25, -1e-6
as_float = lambda x: float(np.float32(x))


def xielu(x):
    below = B * (torch.expm1(torch.minimum(x, torch.tensor(as_float(D), dtype=x.dtype))) - x) + C * x
    return torch.where(x > 0, A * x * x + C * x, below)


torch_fn = {
    "step": lambda x: (x > 0).double(),
    "leaky_relu": lambda x: F.leaky_relu(x, A),
    "elu": lambda x: F.elu(x, A),
    "silu": F.silu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_erf": F.gelu,
    "gelu_quick": lambda x: x * torch.sigmoid(1.702 * x),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "softplus": F.softplus,
    "relu": F.relu,
    "clamp": lambda x: torch.clamp(x, -A, B),
    "affine": lambda x: A * x + B,
    "xielu": xielu,
}
mlx_fn = {
    "neg": mx.negative, "sign": mx.sign, "step": lambda x: (x > 0).astype(mx.float32), "relu": mxnn.relu,
    "leaky_relu": lambda x: mxnn.leaky_relu(x, A), "elu": lambda x: mxnn.elu(x, A), "silu": mxnn.silu,
    "gelu": mxnn.gelu_approx, "gelu_erf": mxnn.gelu, "gelu_quick": mxnn.gelu_fast_approx,
    "hardswish": mxnn.hardswish, "softplus": mxnn.softplus, "clamp": lambda x: mx.clip(x, -A, B),
    "affine": lambda x: A * x + B,
    "hardsigmoid": lambda x: mx.clip((x + 3) / 6, 0, 1),
}


def unary():
    for i, name in enumerate(UNARY):
        fn = torch_fn.get(name) or getattr(torch, name)
        params = struct.pack("<Iffff", i, -A if name == "clamp" else A, B, C, D)
        x = v.normal(3, 21, scale=2)
        x[0, :8] = [0, 1, -1, 25, -30, 0.5, -2.5, 3e-5]
        if name in ("sqrt", "rsqrt", "log", "log2", "log10", "log1p"):
            x = np.abs(x)
        smooth = f64(x).clone().requires_grad_()
        y = fn(smooth)
        v.case("unary", TORCH, name, [x, y.detach().numpy()], params, 1e-9, 2e-7)
        if name not in ("xielu", "exp2"):  # MLX has none of these
            got = np.array((mlx_fn.get(name) or getattr(mx, name))(mx.array(x)))
            v.case("unary", MLX, name, [x, got], params, 4e-6, 4e-5 if name in ("exp2", "rsqrt", "log2") else 4e-6)
        dy = v.normal(3, 21)
        if y.requires_grad:
            (y * f64(dy)).sum().backward()
            v.case("unary_backward", TORCH, name, [x, dy, smooth.grad.numpy()], params, 1e-9, 4e-7)
        h = Bf16(np.abs(v.normal(2, 9)) + 0.1)
        v.case("unary", TORCH, name + " bf16", [h, Bf16(fn(f64(h)).float().numpy())], params, 1e-7, 8e-3)


def binary():
    names = ["add", "sub", "mul", "div", "minimum", "maximum", "pow", "remainder", "atan2", "logaddexp"]
    for i, name in enumerate(names):
        params = struct.pack("<I", i)
        for shape in ((3, 1, 7), (7,), (2, 7)):
            a, b = v.normal(3, 2, 7, scale=3), v.normal(*shape, scale=2)
            if name == "pow":
                a = np.abs(a)
            a[0, 0, 0], b.flat[1] = 0, 1.5
            v.case("binary", TORCH, name, [a, b, getattr(torch, name)(f64(a), f64(b)).numpy()], params, 1e-8, 2e-7)
        special = np.array([np.nan, 1, -np.inf, np.inf, np.inf, 0], np.float32)
        other = np.array([1, np.nan, -np.inf, np.inf, -np.inf, 5], np.float32)
        if name not in ("remainder", "atan2", "pow"):
            want = getattr(torch, name)(f64(special), f64(other)).numpy()
            v.case("binary", TORCH, name + " special", [special, other, want], params)
    mlx_names = ["add", "subtract", "multiply", "divide", "minimum", "maximum", "power", "remainder", "arctan2",
                 "logaddexp"]
    for i, name in enumerate(mlx_names):
        a, b = np.abs(v.normal(4, 5)) + 0.1, v.normal(5)
        want = np.array(getattr(mx, name)(mx.array(a.astype(np.float32)), mx.array(b)))
        v.case("binary", MLX, name, [a.astype(np.float32), b, want], struct.pack("<I", i), 1e-6, 4e-6)
    names = ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"]
    for i, name in enumerate(names):
        a, b = np.round(v.normal(5, 9)), np.round(v.normal(1, 9))
        a[0, 0] = np.nan
        want = getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy().astype(np.uint8)
        v.case("compare", TORCH, name, [a, b, want], struct.pack("<I", i))
    c = (v.normal(4, 1) > 0).astype(np.uint8)
    a, b = v.normal(4, 6), v.normal(6)
    v.case("where", NUMPY, "rows", [c, a, b, np.where(c, a, b)])


def gates():
    fns = ["sigmoid", "relu", "silu", "gelu", "gelu_erf", "gelu_quick"]
    g, u = v.normal(5, 24, scale=4), v.normal(5, 24, scale=6)
    for i, name in enumerate(fns):
        fn = torch_fn.get(name) or getattr(torch, name)
        v.case("glu", TORCH, name, [g, u, (fn(f64(g)) * f64(u)).numpy()], struct.pack("<Iff", i, 0, 0), 1e-9, 2e-7)
    # the gated product of the gpt-oss models in transformers
    gate, up = f64(g).clamp(max=7.0), f64(u).clamp(-7.0, 7.0)
    alpha = as_float(1.702)
    want = ((up + 1) * gate * torch.sigmoid(gate * alpha)).numpy()
    v.case("glu", TORCH, "silu clamped", [g, u, want], struct.pack("<Iff", 6, 1.702, 7), 1e-9, 2e-7)
    v.case("fill_value", NUMPY, "f32", [np.full((3, 4), 0.1, np.float32)], struct.pack("<d", 0.1))
    v.case("fill_value", NUMPY, "u32", [np.full((5,), 2**32 - 1, np.uint32)], struct.pack("<d", 2**32 - 1))


for part in (unary, binary, gates):
    part()
v.write()
