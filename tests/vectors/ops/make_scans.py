#!/usr/bin/env python3
"""Writes scans.bin: recurrent mixers and what stands around them. Run by hand (numpy, torch, transformers).

The gated delta rule is compared with transformers' two forms (Qwen3-Next) and, in double, with the chunked formulas
and with a recurrence written from its definition; Mamba 2 with the quadratic form over transformers' segment sums; the
RWKV and gated linear attention recurrences are written from their definitions, with matrices [key, value]."""

import struct

import numpy as np
import torch
import transformers
from transformers.models.mamba2.modeling_mamba2 import segment_sum
from transformers.models.qwen3_next import modeling_qwen3_next as qwen
from vec import NUMPY, TORCH, Bf16, Vectors, f64

HF = f"transformers {transformers.__version__}"
v = Vectors(__file__, 13)
u32 = lambda *a: np.array(a, np.uint32)
swap = lambda m: np.ascontiguousarray(np.swapaxes(np.asarray(m, np.float64), -1, -2))


def delta_params(scale=0.0, blocks=0, l2_eps=0.0):
    return struct.pack("<fIf", scale, blocks, l2_eps)


def delta(q, k, x, g, beta, m, scale, head):
    """One sequence in double; m [H, Dv, Dk] is changed. g [T, H] or [T, H, Dk]; head: value head -> key head."""
    q, k, x, g, beta = (np.asarray(a, np.float64) for a in (q, k, x, g, beta))
    out = np.zeros_like(x)
    for t in range(len(x)):
        for h in range(x.shape[1]):
            keep = np.exp(g[t, h])  # a number, or one per column
            m[h] = m[h] * keep
            change = beta[t, h] * (x[t, h] - m[h] @ k[t, head(h)])
            m[h] = m[h] + np.outer(change, k[t, head(h)])
            out[t, h] = scale * (m[h] @ q[t, head(h)])
    return out


def inputs(s, t, hk, h, dk, dv, unit=True):
    q, k, x = v.normal(s, t, hk, dk), v.normal(s, t, hk, dk), v.normal(s, t, h, dv)
    if unit:
        q, k = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (q, k))
    return q, k, x, v.uniform(s, t, h, low=-2), v.uniform(s, t, h), v.normal(s, h, dv, dk)


# transformers, key heads in blocks, unit keys by the operation
for name, rule, t in (("recurrent", qwen.torch_recurrent_gated_delta_rule, 7),
                      ("chunked", qwen.torch_chunk_gated_delta_rule, 70)):
    q, k, x, g, beta, m = inputs(2, t, 1, 2, 32, 16, unit=False)
    to = torch.from_numpy
    start = to(np.ascontiguousarray(np.swapaxes(m, -1, -2)))
    out, end = rule(to(q), to(k), to(x), to(g), to(beta), initial_state=start, output_final_state=True,
                    use_qk_l2norm_in_kernel=True)
    v.case("gated_delta_net", HF, f"Qwen3-Next, {name}",
           [q, k, x, g, beta, None, m, out.numpy(), swap(end.numpy())], delta_params(32**-0.5, 1, 1e-6), 5e-6, 5e-5)

# the definition, key heads tiled
q, k, x, g, beta, m = inputs(2, 3, 2, 4, 16, 9)
end = m.astype(np.float64)
out = [delta(q[s], k[s], x[s], g[s], beta[s], end[s], 0.25, lambda h: h % 2) for s in range(2)]
v.case("gated_delta_net", NUMPY, "tiled heads", [q, k, x, g, beta, None, m, np.stack(out), end], delta_params(0.25))
end = m.astype(np.float64)
out = [delta(q[s], k[s], x[s], g[s], beta[s], end[s], 1.0, lambda h: h // 2) for s in range(2)]
v.case("gated_delta_net", NUMPY, "heads in blocks", [q, k, x, g, beta, None, m, np.stack(out), end],
       delta_params(blocks=1))
channel = v.uniform(2, 3, 4, 16, low=-3)
end = m.astype(np.float64)
out = [delta(q[s], k[s], x[s], channel[s], beta[s], end[s], 1.0, lambda h: h % 2) for s in range(2)]
v.case("gated_delta_net", NUMPY, "decay per channel", [q, k, x, channel, beta, None, m, np.stack(out), end],
       delta_params())
# slots: the second sequence goes on where the first ended; a slot that is not there gives zeros
end = m.astype(np.float64)
out = [delta(q[s], k[s], x[s], g[s], beta[s], end[1], 1.0, lambda h: h % 2) for s in range(2)]
v.case("gated_delta_net", NUMPY, "one slot for two", [q, k, x, g, beta, u32(1, 1), m, np.stack(out), end],
       delta_params())
end = m.astype(np.float64)
out = [np.zeros_like(x[0]), delta(q[1], k[1], x[1], g[1], beta[1], end[0], 1.0, lambda h: h % 2)]
v.case("gated_delta_net", NUMPY, "a slot that is not there",
       [q, k, x, g, beta, u32(7, 0), m, np.stack(out), end], delta_params())
# no decay, no change: the state stays
idle = [np.zeros_like(k[:1]), x[:1], np.zeros_like(g[:1]), np.zeros_like(beta[:1])]
end = m[:1].astype(np.float64)
out = delta(q[0], *(a[0] for a in idle), end[0], 1.0, lambda h: h % 2)
v.case("gated_delta_net", NUMPY, "padding", [q[:1], *idle, None, m[:1], out[None], m[:1]], delta_params())
q, k, x, g, beta, m = inputs(1, 3, 1, 2, 16, 8)
h = [Bf16(a) for a in (q, k, x)]
end = m.astype(np.float64)
out = delta(*(a.values[0] for a in h), g[0], beta[0], end[0], 1.0, lambda i: 0)
v.case("gated_delta_net", NUMPY, "bf16", [*h, g, beta, None, m, Bf16(out[None]), end], delta_params(), 1e-6, 8e-3)


def chunked(q, k, x, a, beta, h0, scale, size=64):
    """The stages of the chunked form for one head, in double: sums, k k^T, inverse, u and w, states, outputs."""
    t = len(q)
    pad = -t % size
    q, k, x = (np.pad(np.asarray(b, np.float64), ((0, pad), (0, 0))) for b in (q, k, x))
    a, beta = (np.pad(np.asarray(b, np.float64), (0, pad)) for b in (a, beta))
    h, out = np.asarray(h0, np.float64), np.zeros_like(x)
    for at in range(0, len(q), size):
        part = slice(at, at + size)
        sums = np.cumsum(a[part])
        decay = np.exp(np.tril(sums[:, None] - sums[None]))
        kk = np.tril((beta[part, None] * k[part]) @ k[part].T * decay, -1)
        inverse = np.linalg.inv(np.eye(size) + kk)
        u = inverse @ (beta[part, None] * x[part])
        w = inverse @ (beta[part, None] * np.exp(sums)[:, None] * k[part])
        new = u - w @ h.T
        out[part] = scale * (np.exp(sums)[:, None] * (q[part] @ h.T) + np.tril(q[part] @ k[part].T * decay) @ new)
        h = h * np.exp(sums[-1]) + (new * np.exp(sums[-1] - sums)[:, None]).T @ k[part]
    return out[:t], h


q, k, x, g, beta, m = inputs(1, 100, 1, 2, 16, 8)
both = [chunked(q[0, :, 0], k[0, :, 0], x[0, :, i], g[0, :, i], beta[0, :, i], m[0, i], 0.25) for i in range(2)]
v.case("gated_delta_net", NUMPY, "chunked formulas",
       [q, k, x, g, beta, None, m, np.stack([o for o, _ in both], 1)[None], np.stack([e for _, e in both])[None]],
       delta_params(0.25))

# gated linear attention and RWKV 6: matrices [key, value]
s, t, h, dk, dv = 2, 5, 2, 12, 10
q, k, x, w = v.normal(s, t, h, dk), v.normal(s, t, h, dk), v.normal(s, t, h, dv), v.uniform(s, t, h, dk)
u, m = v.normal(h, dk), v.normal(s, h, dv, dk)
Q, K, X, W, U = (np.asarray(a, np.float64) for a in (q, k, x, w, u))
M, out = swap(m), np.zeros((s, t, h, dv))
for i in range(t):
    M = W[:, i, :, :, None] * M + K[:, i, :, :, None] * X[:, i, :, None, :]
    out[:, i] = 0.3 * np.einsum("shk,shkv->shv", Q[:, i], M)
scale = np.float32(0.3)
v.case("gla", NUMPY, "definition", [q, k, x, w, None, m, out * (float(scale) / 0.3), swap(M)],
       struct.pack("<f", scale))
M, out = swap(m), np.zeros((s, t, h, dv))
for i in range(t):
    kv = K[:, i, :, :, None] * X[:, i, :, None, :]
    out[:, i] = np.einsum("shk,shkv->shv", Q[:, i], M + U[..., None] * kv)
    M = W[:, i, :, :, None] * M + kv
v.case("wkv6", NUMPY, "definition", [q, k, x, w, u, None, m, out, swap(M)])
v.case("wkv6", NUMPY, "slots", [q, k, x, w, u, u32(1, 0), m[::-1], out, swap(M)[::-1]])
# RWKV 7: matrices [value, key]
a, b = v.normal(s, t, h, dk, scale=0.3), v.normal(s, t, h, dk, scale=0.3)
A, B = np.asarray(a, np.float64), np.asarray(b, np.float64)
M, out = np.asarray(m, np.float64), np.zeros((s, t, h, dv))
for i in range(t):
    seen = np.einsum("shvk,shk->shv", M, A[:, i])
    M = M * W[:, i, :, None, :] + X[:, i, :, :, None] * K[:, i, :, None, :] + seen[..., None] * B[:, i, :, None, :]
    out[:, i] = np.einsum("shvk,shk->shv", M, Q[:, i])
v.case("wkv7", NUMPY, "definition", [q, w, k, x, a, b, m, out, M])

# Mamba 2: the quadratic form, from a state; group of head h is h // 2
s, t, h, p, n, groups = 2, 9, 4, 6, 8, 2
x, dt, b, c = v.normal(s, t, h, p), v.normal(s, t, h, scale=2), v.normal(s, t, groups, n), v.normal(s, t, groups, n)
a, m = -v.uniform(h, low=0.5, high=4), v.normal(s, h, p, n)
step = torch.nn.functional.softplus(f64(dt))
rate = (step * f64(a)).transpose(1, 2)  # [S, H, T]
decay = torch.exp(segment_sum(rate))
Bh, Ch = (f64(y).repeat_interleave(h // groups, 2) for y in (b, c))
scores = torch.einsum("sthn,sjhn->shtj", Ch, Bh) * decay
fresh = f64(x) * step[..., None]
out = torch.einsum("shtj,sjhp->sthp", scores, fresh)
sums = rate.cumsum(-1)
out += torch.einsum("sthn,shpn,sht->sthp", Ch, f64(m), sums.exp())
end = f64(m) * sums[..., -1].exp()[..., None, None]
end += torch.einsum("sthp,sthn,sht->shpn", fresh, Bh, (sums[..., -1:] - sums).exp())
v.case("ssm_scan", HF, "Mamba 2", [x, dt, a, b, c, None, m, out, end], struct.pack("<I", 1))
# Mamba 1: one channel per head, a rate per state element, steps as they are
s, t, h, n = 1, 4, 7, 5
x, dt, b, c = v.normal(s, t, h, 1), v.uniform(s, t, h), v.normal(s, t, 1, n), v.normal(s, t, 1, n)
a, m = -v.uniform(h, n, high=3), v.normal(s, h, 1, n)
M, out = np.asarray(m[0, :, 0], np.float64), np.zeros((1, t, h, 1))
for i in range(t):
    d = np.asarray(dt[0, i], np.float64)[:, None]
    M = M * np.exp(d * a) + d * np.asarray(x[0, i], np.float64) * b[0, i, 0]
    out[0, i, :, 0] = M @ np.asarray(c[0, i, 0], np.float64)
v.case("ssm_scan", NUMPY, "Mamba 1", [x, dt, a, b, c, None, m, out, M[None, :, None]], struct.pack("<I", 0))

# causal convolution with a state
for width, t, silu in ((4, 6, 1), (4, 1, 1), (3, 2, 0)):
    x, w, bias, m = v.normal(2, t, 10), v.normal(10, width), v.normal(10), v.normal(2, 10, width - 1)
    end = f64(m)
    out = qwen.causal_conv1d_update(f64(x).transpose(1, 2), end, f64(w), f64(bias), "silu" if silu else None)
    v.case("ssm_conv", HF, f"width {width}, {t} tokens",
           [x, w, bias, None, m, out.transpose(1, 2), end], struct.pack("<I", silu))
x, w, m = v.normal(2, 3, 10), v.normal(10, 4), v.normal(1, 10, 3)
line = torch.cat([f64(m), f64(x).transpose(1, 2)[:1], f64(x).transpose(1, 2)[1:]], -1)  # one after the other
out = torch.nn.functional.conv1d(line, f64(w)[:, None], groups=10)
v.case("ssm_conv", TORCH, "one slot for two",
       [x, w, None, u32(0, 0), m, torch.stack(out[0].split(3, -1)).transpose(1, 2), line[..., -3:]],
       struct.pack("<I", 0))

# gates: -exp(A_log) * softplus(a + dt_bias), sigmoid(b)
a, b, bias, log = v.normal(5, 6, scale=12), v.normal(5, 6, scale=4), v.normal(6), v.normal(6)
rate = (-np.exp(log.astype(np.float64))).astype(np.float32)
g = f64(rate) * torch.nn.functional.softplus(f64(a) + f64(bias))
v.case("compute_g_beta", TORCH, "gates", [a, b, bias, rate, g, f64(b).sigmoid()], absolute=1e-12, relative=2e-7)

# triangular systems: what is on and above the diagonal is not read
l, b = v.normal(2, 20, 20, scale=0.3), v.normal(2, 20, 7)
want = torch.linalg.solve_triangular(f64(l).tril(-1) + torch.eye(20), f64(b), upper=False, unitriangular=True)
l[:, *np.triu_indices(20)] = np.nan
v.case("tri_solve", TORCH, "20 rows", [l, b, want], absolute=1e-6)
v.write()
