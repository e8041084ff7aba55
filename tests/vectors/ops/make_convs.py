#!/usr/bin/env python3
"""Writes convs.bin: convolutions, pooling, resizing and unfolding as torch computes them in double. Run by hand."""

import struct

import numpy as np
import torch
import torch.nn.functional as F
from vec import TORCH, Bf16, Vectors, f64

v = Vectors(__file__, 14)


def first(x):
    """Channels last to channels first."""
    return f64(x).movedim(-1, 1)


def last(x):
    return x.movedim(1, -1).contiguous()


def pairs(*values):
    return struct.pack(f"<{len(values)}I", *values)


for name, (h, w, c, o, k, stride, pad, dilation, groups) in {
    "3x3": (7, 6, 3, 5, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "strides, dilation": (8, 9, 4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 1),
    "groups": (5, 5, 6, 4, (2, 3), (1, 1), (0, 1), (2, 1), 2),
    "depthwise": (6, 5, 8, 8, (3, 3), (1, 2), (1, 1), (1, 1), 8),
}.items():
    x, weight, bias = v.normal(2, h, w, c), v.normal(o, *k, c // groups), v.normal(o)
    want = F.conv2d(first(x), first(weight), f64(bias), stride, pad, dilation, groups)
    p = pairs(*stride, *pad, *dilation, groups)
    v.case("conv2d", TORCH, name, [x, weight, bias, last(want)], p, 1e-6)
    want = F.conv1d(first(x[:, 0]), first(weight[:, 0]), None, stride[1], pad[1], dilation[1], groups)
    v.case("conv1d", TORCH, name, [x[:, 0], weight[:, 0], None, last(want)],
           pairs(stride[1], pad[1], dilation[1], groups), 1e-6)
    # torch's transposed weights are [in, out / groups, KH, KW]
    each, per = c // groups, o // groups
    turned = f64(weight).reshape(groups, per, *k, each).permute(0, 4, 1, 2, 3).reshape(c, per, *k)
    for extra in (0, 1):
        more = tuple(min(extra, s - 1) for s in stride)
        want = F.conv_transpose2d(first(x), turned, f64(bias), stride, pad, more, groups, dilation)
        v.case("conv_transpose2d", TORCH, f"{name}, {more} more", [x, weight, bias, last(want)], p, 1e-6)
    want = F.conv_transpose1d(first(x[:, 0]), turned[:, :, 0], None, stride[1], pad[1], 0, groups, dilation[1])
    v.case("conv_transpose1d", TORCH, name, [x[:, 0], weight[:, 0], None, last(want)],
           pairs(stride[1], pad[1], dilation[1], groups), 1e-6)
h = Bf16(v.normal(1, 6, 6, 4)), Bf16(v.normal(3, 2, 2, 4))
want = F.conv2d(f64(h[0]).movedim(-1, 1), f64(h[1]).movedim(-1, 1))
v.case("conv2d", TORCH, "bf16", [*h, None, Bf16(last(want).float().numpy())], pairs(0, 0, 0, 0, 0, 0, 0), 1e-6, 8e-3)

x = v.normal(2, 7, 8, 5)
for k, stride, pad, up in (((2, 2), (2, 2), (0, 0), False), ((3, 2), (2, 1), (1, 1), False),
                           ((3, 3), (2, 2), (1, 0), True), ((2, 3), (2, 3), (0, 1), True)):
    p = pairs(*k, *stride, *pad)
    want = F.max_pool2d(first(x), k, stride, pad, ceil_mode=up)
    v.case("pool2d", TORCH, f"max {k}, up {up}", [x, last(want)], pairs(0) + p + pairs(0))
    for count in (0, 1):
        want = F.avg_pool2d(first(x), k, stride, pad, ceil_mode=up, count_include_pad=bool(count))
        v.case("pool2d", TORCH, f"average {k}, up {up}, {count}", [x, last(want)], pairs(1) + p + pairs(count))

for h, w in ((14, 16), (5, 3), (7, 8), (10, 1)):
    for mode, name in enumerate(("nearest", "bilinear", "bicubic")):
        for corners in (0, 1)[: 2 if mode else 1]:
            want = F.interpolate(first(x), (h, w), mode=name, align_corners=bool(corners) if mode else None)
            v.case("resize2d", TORCH, f"{name} to {h}x{w}, corners {corners}", [x, last(want)], pairs(mode, corners),
                   1e-6)
    want = F.interpolate(first(x), (h, w), mode="bilinear", antialias=True)
    v.case("resize2d", TORCH, f"antialias to {h}x{w}", [x, last(want)], pairs(3, 0), 1e-6)

for k, stride, pad, dilation in (((3, 3), (1, 1), (1, 1), (1, 1)), ((2, 3), (2, 1), (0, 1), (1, 2))):
    rows = F.unfold(first(x), k, dilation, pad, stride).transpose(1, 2)  # [N, places, C KH KW]
    places = [(n + 2 * p - d * (e - 1) - 1) // s + 1 for n, p, d, e, s in zip(x.shape[1:], pad, dilation, k, stride)]
    v.case("im2col", TORCH, f"{k}, dilation {dilation}", [x, rows.reshape(2, *places, -1)],
           pairs(*k, *stride, *pad, *dilation), 0, 0)
v.write()
