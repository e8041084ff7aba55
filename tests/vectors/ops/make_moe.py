#!/usr/bin/env python3
"""Writes moe.bin: routing and sums of experts as torch computes them in double. Run by hand (numpy, torch)."""

import struct

import numpy as np
import torch
from vec import TORCH, Bf16, Vectors, f64

v = Vectors(__file__, 41)
SOFTMAX, SELECTED, SIGMOID = range(3)


def params(score=SOFTMAX, normalize=0, factor=0.0, groups=0, top_groups=0, best=0):
    return struct.pack("<IIfIII", score, normalize, factor, groups, top_groups, best)


def route(name, logits, k, bias=None, scale=None, **p):
    x = f64(logits)
    score = torch.sigmoid(x) if p.get("score") == SIGMOID else torch.softmax(x, -1)
    choice = score + f64(bias) if bias is not None else score
    groups = p.get("groups", 0)
    if groups:
        by_group = choice.unflatten(-1, (groups, -1))
        best = by_group.topk(p["best"], -1).values.sum(-1).topk(p["top_groups"], -1).indices
        keep = torch.zeros(by_group.shape[:-1], dtype=torch.bool).scatter(-1, best, True)
        choice = by_group.masked_fill(~keep[..., None], float("-inf")).flatten(-2)
    ids = choice.topk(k, -1).indices
    w = torch.softmax(x.gather(-1, ids), -1) if p.get("score") == SELECTED else score.gather(-1, ids)
    s = f64(scale)[ids] if scale is not None else torch.ones_like(w)
    if p.get("normalize") == 2:
        w = w * s / (w * s).sum(-1, keepdim=True)
    else:
        if p.get("normalize"):
            w = w / w.sum(-1, keepdim=True)
        w = w * s
    w = w * (p.get("factor") or 1)
    v.case("moe_route", TORCH, name, [logits, bias, scale, ids.numpy().astype(np.uint32), w.numpy()], params(**p))


x = v.normal(5, 100, scale=2)
scale = v.uniform(100, low=0.5, high=2)
route("softmax", x, 8)
route("softmax, renormalized", x, 7, normalize=1)
route("softmax, renormalized, scaled", x, 8, scale=scale, normalize=1)
route("softmax of the selected, scaled, renormalized", x, 4, scale=scale, score=SELECTED, normalize=2)
route("sigmoid, bias, groups", v.normal(3, 64), 6, bias=v.normal(64, scale=0.1), score=SIGMOID, normalize=1, factor=2.5,
      groups=8, top_groups=3, best=2)
route("softmax, groups by their best", v.normal(3, 64), 6, factor=16.0, groups=8, top_groups=3, best=1)
route("every expert", v.normal(2, 3), 3, normalize=1)

e, w, shared, gate, residual = v.normal(3, 4, 40), v.uniform(3, 4), v.normal(3, 40), v.normal(3), v.normal(3, 40)
total = (f64(e) * f64(w)[..., None]).sum(1)
v.case("moe_sum", TORCH, "weights", [e, w, None, None, None, total.numpy()])
v.case("moe_sum", TORCH, "shared", [e, w, shared, None, None, (total + f64(shared)).numpy()])
full = total + torch.sigmoid(f64(gate))[:, None] * f64(shared) + f64(residual)
v.case("moe_sum", TORCH, "shared, gate, residual", [e, w, shared, gate, residual, full.numpy()])
half = Bf16(e)
v.case("moe_sum", TORCH, "bf16 experts", [half, w, None, None, None, (f64(half) * f64(w)[..., None]).sum(1).numpy()])
v.write()
