#!/usr/bin/env python3
"""Writes windows.bin: convolutions with a depth, and the gradients of pooling and of unfolding, as torch computes them in
double. Run by hand (numpy, torch)."""

import struct

import torch.nn.functional as F
from vec import TORCH, Bf16, Vectors, f64

v = Vectors(__file__, 41)


def first(x):
    """Channels last to channels first."""
    return f64(x).movedim(-1, 1)


def last(x):
    return x.movedim(1, -1).contiguous()


def numbers(*values):
    return struct.pack(f"<{len(values)}I", *values)


def planes(x):
    """[N, D, ...] to [N D, ...]."""
    return x.reshape(-1, *x.shape[2:])


for name, (d, h, w, c, o, k, stride, pad, dilation, groups) in {
    "3x3x3": (4, 5, 6, 3, 5, (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    "strides, dilation": (5, 7, 6, 4, 6, (2, 3, 2), (2, 1, 3), (0, 1, 1), (2, 1, 1), 1),
    "groups": (3, 4, 4, 6, 4, (1, 2, 3), (1, 1, 1), (0, 0, 1), (1, 2, 1), 2),
    "depthwise": (4, 5, 4, 8, 8, (3, 3, 3), (1, 2, 1), (1, 1, 1), (1, 1, 1), 8),
}.items():
    x, weight, bias = v.normal(2, d, h, w, c), v.normal(o, *k, c // groups), v.normal(o)
    want = last(F.conv3d(first(x), first(weight), f64(bias), stride, pad, dilation, groups)).numpy()
    p = numbers(d, k[0], *stride, *pad, *dilation, groups)
    v.case("conv3d", TORCH, name, [planes(x), planes(weight), bias, planes(want)], p, 2e-6)
h = Bf16(v.normal(3, 4, 4, 4)), Bf16(v.normal(6, 2, 2, 4))
want = F.conv3d(first(h[0].values[None]), first(h[1].values.reshape(3, 2, 2, 2, 4)))
v.case("conv3d", TORCH, "bf16", [*h, None, Bf16(planes(last(want).float().numpy()))],
       numbers(3, 2, *([0] * 10)), 1e-6, 8e-3)

for name, (h, w, c, k, stride, pad) in {
    "2x3": (8, 9, 3, (2, 3), (2, 3), (0, 0)),
    "overlapping": (7, 7, 4, (3, 3), (2, 2), (1, 1)),
    "a step of one": (6, 5, 2, (3, 2), (1, 1), (1, 0)),
}.items():
    x = v.normal(2, h, w, c)
    for kind in (0, 1):
        for padding in (0, 1) if kind else (0,):
            image = first(x).clone().requires_grad_()
            if kind:
                y = F.avg_pool2d(image, k, stride, pad, count_include_pad=bool(padding))
            else:
                y = F.max_pool2d(image, k, stride, pad)
            dy = v.normal(*last(y).shape)
            y.backward(first(dy))
            v.case("pool2d_backward", TORCH, f"{name}, kind {kind}, padding {padding}",
                   [x, dy, last(image.grad).numpy()], numbers(kind, *k, *stride, *pad, padding), 1e-6)

for name, (h, w, c, k, stride, pad, dilation) in {
    "3x3": (6, 5, 3, (3, 3), (1, 1), (1, 1), (1, 1)),
    "strides": (7, 8, 2, (2, 3), (2, 3), (0, 1), (1, 1)),
    "dilation": (9, 8, 4, (2, 2), (1, 2), (1, 0), (3, 2)),
}.items():
    oh, ow = ((n + 2 * p - d * (e - 1) - 1) // s + 1 for n, p, d, e, s in zip((h, w), pad, dilation, k, stride))
    x = v.normal(2, oh, ow, c * k[0] * k[1])
    rows = f64(x).reshape(2, oh * ow, -1).transpose(1, 2)
    want = F.fold(rows, (h, w), k, dilation, pad, stride)
    v.case("col2im", TORCH, name, [x, last(want).numpy()], numbers(*k, *stride, *pad, *dilation), 2e-6)
v.write()
