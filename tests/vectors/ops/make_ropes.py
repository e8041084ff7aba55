#!/usr/bin/env python3
"""Writes ropes.bin: rotary embeddings as transformers and torch compute them. Run by hand (numpy, torch, transformers).

The frequencies come from transformers' own YaRN, Llama 3 and LongRoPE; the rotations are double, with the angle as one
binary32 product, which is part of the operation's definition. The sections are those of Qwen2-VL (in runs) and
Qwen3-VL (interleaved); gradients are autograd's."""

import math
import struct
from types import SimpleNamespace

import numpy as np
import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLRotaryEmbedding
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding
from vec import TORCH, Bf16, Vectors, f64

HF = f"transformers {transformers.__version__}"
INTERLEAVED, HALF, HEAD_HALF, QUARTER = range(4)
v = Vectors(__file__, 12)


def params(pairing, dims=0, offset=0, freq_dims=0, base=1e4, scale=0.0, axes=0, sections=(0, 0, 0, 0), ext=0.0,
           attn=0.0, low=0.0, high=0.0, inverse=0):
    return struct.pack("<IIIIffI4IffffI", pairing, dims, offset, freq_dims, base, scale, axes, *sections, ext, attn,
                       low, high, inverse)


def angles(positions, inv_freq):
    """[T, pairs], one binary32 product each, as double."""
    p = np.asarray(positions, np.float32)
    return f64(p.reshape(-1, 1) * np.asarray(inv_freq, np.float32).reshape(1, -1))


def power(base, n, count=None):
    return np.float64(np.float32(base)) ** (-2 * np.arange(count or n // 2) / n)


def rotate(x, theta, first, second, magnitude=1.0):
    """x [T, H, D]; theta [T, pairs]; first, second: elements of the pairs."""
    c, s = (magnitude * f(theta)[:, None] for f in (torch.cos, torch.sin))
    out = x.clone()
    out[..., first] = x[..., first] * c - x[..., second] * s
    out[..., second] = x[..., first] * s + x[..., second] * c
    return out


def half(n, offset=0):
    i = np.arange(n // 2)
    return offset + i, offset + i + n // 2


def neighbours(n, offset=0):
    i = np.arange(n // 2)
    return offset + 2 * i, offset + 2 * i + 1


def positions(t, start=0):
    return np.arange(start, start + t, dtype=np.uint32)


def near(args, name, p, source=TORCH, absolute=2e-6):
    v.case("rope_multi", source, name, args, p, absolute, 1e-6)


# parts of the channels, pairings, the row of frequencies
x, pos = v.normal(3, 2, 64), positions(3, 17)
X = f64(x)
theta = angles(pos, power(1e4, 32))
near([x, pos, None, rotate(X, theta, *half(32))], "half of 32 of 64", params(HALF, 32))
near([x, pos, None, rotate(X, theta, *neighbours(32))], "interleaved 32 of 64", params(INTERLEAVED, 32))
near([x, pos, None, rotate(X, theta, *half(32, 16))], "half at 16", params(HALF, 32, 16))
near([x, pos, None, rotate(X, theta, *neighbours(32, 32))], "interleaved at 32", params(INTERLEAVED, 32, 32))
i = np.arange(16)
near([x, pos, None, rotate(X, theta, i, i + 32)], "half a head apart, frequencies of 32", params(HEAD_HALF, 32))
theta = angles(pos, power(1e4, 64, 16))
near([x, pos, None, rotate(X, theta, i, i + 32)], "half a head apart, frequencies of 64",
     params(HEAD_HALF, 32, freq_dims=64))
v.case("rope", TORCH, "half a head apart", [x, pos, None, rotate(X, theta, i, i + 32)],
       struct.pack("<IIff", HEAD_HALF, 32, 1e4, 0), 2e-6, 1e-6)
ff = np.array([1.0] * 12 + [1e30] * 4, np.float32)
v.case("rope", TORCH, "half a head apart, pairs stopped by factors",
       [x, pos, ff, rotate(X, angles(pos, power(1e4, 64, 16) / ff), i, i + 32)],
       struct.pack("<IIff", HEAD_HALF, 32, 1e4, 0), 2e-6, 1e-6)
w = v.normal(64, mean=1, scale=0.2)
normed = torch.nn.functional.rms_norm(X, (64,), f64(w), float(np.float32(1e-6)))
v.case("norm_rope", TORCH, "half a head apart", [x, w, pos, None, rotate(normed, theta, i, i + 32)],
       struct.pack("<fIIff", 1e-6, HEAD_HALF, 32, 1e4, 0), 2e-6, 1e-6)
h = Bf16(x)
want = Bf16(rotate(f64(h), angles(pos, power(1e4, 64)), *half(64)).float().numpy())
near([h, pos, None, want], "bf16", params(HALF), absolute=4e-2)
back = np.array([-5, 0, 1000], np.int32)
near([x, back, None, rotate(X, angles(back, power(1e4, 64)), *half(64))], "i32 positions", params(HALF), absolute=1e-5)

# two axes of an image: a quarter of the head apart, and in runs
x = v.normal(6, 2, 80)
X = f64(x)
grid = np.stack([np.arange(6) // 3, np.arange(6) % 3]).astype(np.uint32)
q, f = np.arange(20), power(1e4, 40)
want = rotate(rotate(X, angles(grid[0], f), q, q + 20), angles(grid[1], f), q + 40, q + 60)
near([x, grid, None, want], "image, quarters", params(QUARTER))
both = torch.cat([angles(grid[0], f), angles(grid[1], f)], -1)  # the embedding of Qwen2-VL's vision tower
near([x, grid, None, rotate(X, both, *half(80))], "image, halves",
     params(HALF, axes=3, sections=(20, 20, 0, 0)))

# Qwen2-VL: sections in runs
d, sections = 64, [8, 12, 12]
x = v.normal(5, 3, d)
axes = v.rng.integers(0, 500, (4, 5)).astype(np.uint32)
inv = power(1e6, d)
freqs = torch.stack([angles(axes[a], inv) for a in range(3)])[:, None]  # [3, 1, T, d / 2]
chosen = Qwen2VLRotaryEmbedding.recomposition_frequencies(SimpleNamespace(mrope_section=sections), freqs)
want = rotate(f64(x), chosen[0, :, : d // 2], *half(d))
near([x, axes, None, want], "Qwen2-VL sections",
     params(HALF, base=1e6, axes=1, sections=(*sections, 0)), HF, absolute=2e-5)

# Qwen3-VL, Qwen3.5: sections interleaved, the first 64 channels of 256
sections = [11, 11, 10]
x = v.normal(4, 2, 96)
axes = v.rng.integers(0, 500, (4, 4)).astype(np.uint32)
inv = power(1e7, 64)
freqs = torch.stack([angles(axes[a], inv) for a in range(3)])[:, None]
rule = SimpleNamespace(mrope_section=sections)
chosen = Qwen3VLTextRotaryEmbedding.recomposition_frequencies(rule, freqs.clone())[0, :, :32]
want = rotate(f64(x), chosen, *half(64))
near([x, axes, None, want], "interleaved sections", params(HALF, 64, base=1e7, axes=2, sections=(*sections, 0)), HF,
     absolute=2e-5)
i = np.arange(32)
near([x, axes, None, rotate(f64(x), chosen, i, i + 48)], "interleaved sections, half a head apart",
     params(HEAD_HALF, 64, base=1e7, axes=2, sections=(*sections, 0)), HF, absolute=2e-5)


# frequencies of transformers
def config(head, context, **rope):
    return LlamaConfig(hidden_size=2 * head, num_attention_heads=2, head_dim=head, max_position_embeddings=context,
                       rope_parameters=rope)


def turned(x, pos, inv, magnitude):
    return rotate(f64(x), angles(pos, inv.double().numpy()), *half(x.shape[-1]), magnitude)


x, pos = v.normal(3, 2, 128), positions(3, 2000)
for factor, extra in ((4.0, {}), (40.0, {"beta_fast": 16.0, "beta_slow": 2.0})):
    c = config(128, int(4096 * factor), rope_type="yarn", rope_theta=10000.0, factor=factor,
               original_max_position_embeddings=4096, **extra)
    inv, magnitude = ROPE_INIT_FUNCTIONS["yarn"](c, "cpu")
    at = lambda beta: 128 * math.log(4096 / (2 * math.pi * beta)) / (2 * math.log(10000.0))
    low, high = math.floor(at(extra.get("beta_fast", 32))), math.ceil(at(extra.get("beta_slow", 1)))
    near([x, pos, None, turned(x, pos, inv, magnitude)], f"YaRN, factor {factor}",
         params(HALF, scale=1 / factor, ext=1.0, low=low, high=high), HF, absolute=4e-4)
c = config(128, 131072, rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
           high_freq_factor=4.0, original_max_position_embeddings=8192)
inv, magnitude = ROPE_INIT_FUNCTIONS["llama3"](c, "cpu")
factors = (power(5e5, 128) / inv.double().numpy()).astype(np.float32)
near([x, pos, factors, turned(x, pos, inv, magnitude)], "Llama 3 factors", params(HALF, base=5e5), HF, absolute=4e-4)
short, long = (1 + v.uniform(64)).astype(np.float32), (1 + 20 * v.uniform(64)).astype(np.float32)
c = config(128, 131072, rope_type="longrope", rope_theta=10000.0, factor=32.0, short_factor=short.tolist(),
           long_factor=long.tolist(), original_max_position_embeddings=4096)
for seq_len, factors in ((100, short), (100000, long)):
    inv, magnitude = ROPE_INIT_FUNCTIONS["longrope"](c, "cpu", seq_len=seq_len)
    near([x, pos, factors, turned(x, pos, inv, magnitude)], f"LongRoPE, {seq_len}", params(HALF, attn=magnitude), HF,
         absolute=4e-4)
c = config(128, 4096, rope_type="linear", rope_theta=10000.0, factor=4.0)
inv, magnitude = ROPE_INIT_FUNCTIONS["linear"](c, "cpu")
near([x, pos, None, turned(x, pos, inv, magnitude)], "linear", params(HALF, scale=0.25), HF, absolute=4e-4)
c = config(128, 4096, rope_type="dynamic", rope_theta=10000.0, factor=2.0)
inv, magnitude = ROPE_INIT_FUNCTIONS["dynamic"](c, "cpu", seq_len=8192)
stretch = 2.0 * 8192 / 4096 - 1
near([x, pos, None, turned(x, pos, inv, magnitude)], "dynamic NTK",
     params(HALF, base=10000.0 * stretch ** (128 / 126)), HF, absolute=1e-3)

# the gradient is the inverse rotation
for pairing, pair in ((HALF, half), (INTERLEAVED, neighbours)):
    x, g, pos = v.normal(3, 2, 48), v.normal(3, 2, 48), positions(3, 5)
    leaf = f64(x).requires_grad_()
    rotate(leaf, angles(pos, power(1e4, 32)), *pair(32)).backward(f64(g))
    near([g, pos, None, leaf.grad], f"gradient, pairing {pairing}", params(pairing, 32, inverse=1), TORCH)
v.write()
