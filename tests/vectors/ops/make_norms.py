#!/usr/bin/env python3
"""Writes norms.bin: the norms of src/ops/norm_rows.c as torch computes them in double. Run by hand (numpy, torch)."""

import struct

import numpy as np
import torch
import torch.nn.functional as F
from vec import TORCH, Bf16, Vectors, f64

v = Vectors(__file__, 11)
RMS, LAYER, L2_SUM, L2_MAX = range(4)


def as_float(x):
    return float(np.float32(x))


def row(kind=RMS, eps=1e-6, offset=0.0, groups=0):
    return struct.pack("<IffI", kind, eps, offset, groups)


def rms(x, w=None, eps=1e-6):
    return F.rms_norm(x, (x.shape[-1],), w, as_float(eps))


for d in (48, 33):
    x, w, b, r, a = v.normal(2, 3, d, scale=2), v.normal(d, mean=1), v.normal(d), v.normal(2, 3, d), v.normal(2, 3, d)
    X, W, B, R, A = map(f64, (x, w, b, r, a))
    none = [None] * 5
    v.case("row_norm", TORCH, f"rms {d}", [x, None, w, *none[:4], rms(X, W)], row())
    v.case("row_norm", TORCH, f"rms 1+w {d}", [x, None, b, *none[:4], rms(X, 1 + B)], row(offset=1))
    v.case("row_norm", TORCH, f"rms times all {d}", [x, None, w, None, None, r, None, rms(X, W) * R], row())
    v.case("row_norm", TORCH, f"norm add {d}", [x, None, w, None, a, None, None, A + rms(X, W)], row())
    one = np.array([0.37], np.float32)
    v.case("row_norm", TORCH, f"norm add scalar {d}", [x, None, w, None, a, one, None,
                                                       (A + rms(X, W)) * as_float(0.37)], row())
    v.case("row_norm", TORCH, f"norm add vector {d}", [x, None, w, None, a, b, None, (A + rms(X, W)) * B], row())
    v.case("row_norm", TORCH, f"residual norm {d}", [x, r, w, None, None, None, X + R, rms(X + R, W)], row())
    v.case("row_norm", TORCH, f"residual norm scalar {d}", [x, r, w, None, None, one, None,
                                                            rms(X + R, W) * as_float(0.37)], row())
    want = F.layer_norm(X, (d,), W, B, as_float(1e-5))
    v.case("row_norm", TORCH, f"layer {d}", [x, None, w, b, None, None, None, want], row(LAYER, 1e-5))
    want = F.layer_norm(X + 5, (d,), None, None, as_float(1e-5))
    v.case("row_norm", TORCH, f"layer without weights {d}", [x + np.float32(5), *none, None, want],
           row(LAYER, 1e-5), absolute=2e-6)
    want = X * torch.rsqrt((X * X).sum(-1, keepdim=True) + as_float(1e-2))
    v.case("row_norm", TORCH, f"l2, eps in the sum {d}", [x, *none, None, want], row(L2_SUM, 1e-2))
    v.case("row_norm", TORCH, f"l2, least length {d}", [x, *none, None, F.normalize(X, dim=-1, eps=1e-12)],
           row(L2_MAX, 1e-12))
    tiny = (x * np.float32(1e-4)).astype(np.float32)
    v.case("row_norm", TORCH, f"l2, short rows {d}", [tiny, *none, None, F.normalize(f64(tiny), dim=-1, eps=0.125)],
           row(L2_MAX, 0.125))
    # bf16: the sum is stored rounded, and what is normed is not
    h, g = Bf16(x), Bf16(r)
    total = f64(h) + f64(g)
    v.case("row_norm", TORCH, f"bf16 residual norm {d}", [h, g, w, None, None, None, Bf16(total.float().numpy()),
                                                          Bf16(rms(total, W).float().numpy())], row(), 1e-6, 8e-3)
    half = x.astype(np.float16)
    want = rms(f64(half), W).numpy().astype(np.float16)
    v.case("row_norm", TORCH, f"f16, f32 weights {d}", [half, None, w, *none[:4], want], row(), 1e-6, 1e-3)
    # several norms of one row
    ws = v.normal(3, d, mean=1)
    want = torch.stack([rms(X, f64(k)) for k in ws])
    v.case("norm_multi", TORCH, f"triple {d}", [x, None, None, ws, None, want], struct.pack("<f", 1e-6))
    R2 = R + rms(X, W)
    want = torch.stack([rms(R2, f64(k)) for k in ws])
    v.case("norm_multi", TORCH, f"triple after a residual {d}", [x, w, r, ws, R2, want], struct.pack("<f", 1e-6))
    # sums over experts
    e, p = v.normal(4, 5, d), v.uniform(4, 5)
    base, bw = v.normal(4, d), v.normal(d, mean=1)
    y = torch.einsum("rkd,rk->rd", f64(e), f64(p))
    v.case("moe_sum_norm", TORCH, f"residual {d}", [e, p, w, base, None, f64(base) + rms(y, W)],
           struct.pack("<fI", 1e-6, 0))
    v.case("moe_sum_norm", TORCH, f"dense branch {d}", [e, p, w, base, bw, rms(f64(base), f64(bw)) + rms(y, W)],
           struct.pack("<fI", 1e-6, 1))
    # gates
    z = v.normal(2, 3, d, scale=3)
    Z = F.silu(f64(z))
    v.case("ssm_norm_gate", TORCH, f"norm, gate {d}", [x, w, z, rms(X, W) * Z], struct.pack("<fII", 1e-6, 0, 0))
    v.case("ssm_norm_gate", TORCH, f"gate, norm {d}", [x, w, z, rms(X * Z, W)], struct.pack("<fII", 1e-6, 1, 0))
    if d % 3 == 0:
        grouped = rms((X * Z).reshape(2, 3, 3, d // 3)).reshape(2, 3, d) * W
        v.case("ssm_norm_gate", TORCH, f"gate, norm of 3 groups {d}", [x, w, z, grouped],
               struct.pack("<fII", 1e-6, 1, 3))
        v.case("row_norm", TORCH, f"rms of 3 groups {d}",
               [x, None, w, *none[:4], rms(X.reshape(2, 3, 3, d // 3)).reshape(2, 3, d) * W], row(groups=3))

x, w, b = v.normal(2, 12, 10, mean=0.5), v.normal(12, mean=1), v.normal(12)
for groups in (1, 3, 12):
    want = F.group_norm(f64(x), groups, f64(w), f64(b), as_float(1e-5))
    v.case("group_norm", TORCH, f"{groups} groups", [x, w, b, want], struct.pack("<If", groups, 1e-5), absolute=1e-6)
# 10 channels in 3 groups: 4, 4 and 2
x = v.normal(1, 10, 6)
parts = [F.group_norm(f64(x)[:, a:z], 1, None, None, as_float(1e-5)) for a, z in ((0, 4), (4, 8), (8, 10))]
v.case("group_norm", TORCH, "uneven groups", [x, None, None, torch.cat(parts, 1)], struct.pack("<If", 3, 1e-5),
       absolute=1e-6)
v.write()
