#!/usr/bin/env python3
"""Writes peers.bin: copies, indices, masks, fills and three recurrent mixers as torch, MLX and ggml compute them. Run by
hand (numpy, torch, mlx[cpu], xllamacpp). NumPy has most of these operations in the other files; here they are held
against libraries that models run on."""

import struct

import ggml
import mlx.core as mx
import numpy as np
import torch
import torch.nn.functional as F
from vec import TORCH, Bf16, Strided, Vectors

MLX, GGML = f"mlx {mx.__version__}", ggml.NAME
v = Vectors(__file__, 41)
t = torch.from_numpy
exact = lambda op, source, name, args, params=b"": v.case(op, source, name, args, params, 0, 0)
i64 = lambda a: torch.from_numpy(a.astype(np.int64))
draws = lambda high, *shape: v.rng.integers(0, high, shape).astype(np.uint32)


def extremes():
    x = v.normal(5, 301)
    x[1, 7] = x[1, 200] = 99  # the first of equal ones
    x[2, 50] = x[2, 9] = -99
    x[3, 100], x[3, 40] = np.inf, -np.inf
    x[4, :] = 2.5
    for name in ("argmax", "argmin"):
        exact(name, TORCH, "ties, infinities", [x, getattr(torch, name)(t(x), -1).numpy().astype(np.uint32)])
        exact(name, MLX, "ties, infinities", [x, np.array(getattr(mx, name)(mx.array(x), -1))])
    x[1, 200], x[4, 11] = 0, 3  # ggml takes the last of equal ones
    exact("argmax", GGML, "infinities", [x, ggml.call("argmax", x, dtype=np.int32).astype(np.uint32)])


def copies():
    """Views of every kind that models copy, by torch: transposed, permuted, a part, repeated, in blocks."""
    x = v.normal(4, 6, 8)
    views = {
        "the last two axes exchanged": t(x).transpose(1, 2),
        "the first two axes exchanged": t(x).permute(1, 0, 2),
        "all axes turned round": t(x).permute(2, 1, 0),
        "columns 2 to 6": t(x)[:, :, 2:7],
        "every third row from the second": t(x)[:, 1::3],
        "repeated": t(x)[:, None, 0].expand(4, 5, 8),
        "windows that overlap": t(x).unfold(2, 3, 2).select(1, 4),
        "blocks of 2 x 2": t(x).view(4, 3, 2, 4, 2)[1].permute(0, 2, 1, 3),
    }
    for name, view in views.items():
        strided = Strided(x, view.shape, view.stride(), view.storage_offset())
        exact("copy", TORCH, name, [strided, view.contiguous().numpy()])
    view = mx.contiguous(mx.array(x).transpose(2, 0, 1))
    exact("copy", MLX, "the last axis first", [Strided(x, (8, 4, 6), (1, 48, 8), 0), np.array(view)])
    h = x.astype(np.float16)
    exact("copy", MLX, "f16 transposed",
          [Strided(h, (8, 24), (1, 8), 0), np.array(mx.contiguous(mx.array(h.reshape(24, 8)).T))])
    for dtype in (np.uint8, np.int32, np.uint32):
        w = v.rng.integers(0, 200, (5, 7)).astype(dtype)
        exact("copy", MLX, np.dtype(dtype).name,
              [Strided(w, (7, 5), (1, 7), 0), np.array(mx.contiguous(mx.array(w).T))])


def indices():
    x, index = v.normal(11, 19), np.array([3, 0, 10, 10, 5], np.uint32)
    exact("gather", TORCH, "index_select", [x, index, torch.index_select(t(x), 0, i64(index)).numpy()])
    exact("gather", MLX, "take", [x, index, np.array(mx.take(mx.array(x), mx.array(index), 0))])
    rows = ggml.call("get_rows", x, index.astype(np.int32)).reshape(5, 19)
    exact("gather", GGML, "get_rows", [x, index, rows])
    h = Bf16(x)
    half = torch.index_select(t(h.values).bfloat16(), 0, i64(index))
    exact("gather", TORCH, "bf16", [h, index, Bf16(half.float().numpy())])

    take = draws(19, 11, 23)
    exact("take_along", TORCH, "take_along_dim", [x, take, torch.take_along_dim(t(x), i64(take), -1).numpy()])
    exact("take_along", MLX, "take_along_axis",
          [x, take, np.array(mx.take_along_axis(mx.array(x), mx.array(take), -1))])

    for n in (5, 19):  # each place once: which of two wins is left open elsewhere
        at = np.argsort(v.normal(11, 19), -1)[:, :n].astype(np.uint32)
        new = v.normal(11, n)
        exact("put_along", TORCH, f"scatter, {n}",
              [new, at, x, torch.scatter(t(x), -1, i64(at), t(new)).numpy()])
        put = mx.put_along_axis(mx.array(x), mx.array(at), mx.array(new), -1)
        exact("put_along", MLX, f"put_along_axis, {n}", [new, at, x, np.array(put)])

    new, at = v.normal(4, 19), np.array([7, 0, 10, 2], np.uint32)
    exact("scatter", TORCH, "index_copy", [new, at, x, torch.index_copy(t(x), 0, i64(at), t(new)).numpy()])
    put = mx.array(x)
    put[mx.array(at)] = mx.array(new)
    exact("scatter", MLX, "indexed assignment", [new, at, x, np.array(put)])
    exact("scatter", GGML, "set_rows",
          [new, at, x, ggml.call("set_rows", x, new, at.astype(np.int64)).reshape(11, 19)])

    packed, table = v.rng.integers(0, 256, (5, 8), dtype=np.uint8), v.normal(16, 16)
    codes = torch.stack([t(packed) & 15, t(packed) >> 4], -1).reshape(5, 16).long()
    exact("gather_nibble", TORCH, "shifts and gather", [packed, table, torch.gather(t(table), 0, codes).numpy()])
    codes = mx.stack([mx.array(packed) & 15, mx.array(packed) >> 4], -1).reshape(5, 16)
    exact("gather_nibble", MLX, "shifts and take_along_axis",
          [packed, table, np.array(mx.take_along_axis(mx.array(table), codes, 0))])

    x, bias, ids = v.normal(3, 2, 8), v.normal(4, 8), np.array([[0, 3], [1, 1], [2, 0]], np.uint32)
    exact("add_id", TORCH, "embedding and add", [x, bias, ids, (t(x) + F.embedding(i64(ids), t(bias))).numpy()])
    exact("add_id", MLX, "indexed and add", [x, bias, ids, np.array(mx.array(x) + mx.array(bias)[mx.array(ids)])])
    added = ggml.call("add_id", x, bias, ids.astype(np.int32)).reshape(x.shape)
    exact("add_id", GGML, "add_id", [x, bias, ids, added])

    a, b = v.rng.integers(-2, 2, (4, 33)).astype(np.int32), v.rng.integers(-2, 2, (4, 33)).astype(np.int32)
    count = ggml.call("count_equal", a, b, dtype=np.int64).astype(np.uint32)
    exact("count_equal", GGML, "count_equal", [a, b, count])
    a, b = np.round(v.normal(3, 50)), np.round(v.normal(3, 50))
    exact("count_equal", TORCH, "f32", [a, b, np.array([(t(a) == t(b)).sum()], np.uint32)])
    exact("count_equal", MLX, "f32", [a, b, np.array([mx.sum(mx.array(a) == mx.array(b)).item()], np.uint32)])


def masks():
    x = v.normal(2, 5, 7)
    for k in (-2, 0, 3):
        for upper, name in enumerate(("tril", "triu")):
            params = struct.pack("<iIf", k, upper, 0)
            exact("diag_mask", TORCH, f"{name} {k}", [x, getattr(torch, name)(t(x), k).numpy()], params)
            exact("diag_mask", MLX, f"{name} {k}", [x, np.array(getattr(mx, name)(mx.array(x), k))], params)
    for past in (0, 2):
        masked = ggml.call("diag_mask_inf", x, past).reshape(x.shape)
        exact("diag_mask", GGML, f"diag_mask_inf {past}", [x, masked], struct.pack("<iIf", past, 0, -np.inf))

    a, b, c = v.normal(4, 6), v.normal(6), (v.normal(4, 1) > 0).astype(np.uint8)
    a[0, 0], b[1] = np.nan, np.inf
    exact("where", TORCH, "rows", [c, a, b, torch.where(t(c).bool(), t(a), t(b)).numpy()])
    exact("where", MLX, "rows", [c, a, b, np.array(mx.where(mx.array(c), mx.array(a), mx.array(b)))])


def fills():
    exact("arange", TORCH, "f32", [torch.arange(-3, 2, 0.25, dtype=torch.float32).numpy()], struct.pack("<dd", -3, 0.25))
    exact("arange", MLX, "f32", [np.array(mx.arange(-3, 2, 0.25, mx.float32))], struct.pack("<dd", -3, 0.25))
    exact("arange", GGML, "f32", [ggml.call("arange", -3.0, 2.0, 0.25)], struct.pack("<dd", -3, 0.25))
    exact("arange", TORCH, "i32", [torch.arange(40, -7, -3, dtype=torch.int32).numpy()], struct.pack("<dd", 40, -3))
    exact("arange", MLX, "u32", [np.array(mx.arange(7, 40, 3, mx.uint32))], struct.pack("<dd", 7, 3))
    for name, dtype in (("float32", np.float32), ("float16", np.float16), ("int32", np.int32), ("uint8", np.uint8)):
        value = 0.1 if "float" in name else 117
        params = struct.pack("<d", value)
        exact("fill_value", TORCH, name, [torch.full((3, 4), value, dtype=getattr(torch, name)).numpy()], params)
        exact("fill_value", MLX, name, [np.array(mx.full((3, 4), value, getattr(mx, name)))], params)
    exact("fill_value", GGML, "fill", [ggml.call("fill", v.normal(3, 4), 0.1).reshape(3, 4)], struct.pack("<d", 0.1))

    x = v.normal(3, 37)
    by = struct.pack("<f", 0.375)
    exact("scalar_mul", TORCH, "f32", [x, (t(x) * 0.375).numpy()], by)
    exact("scalar_mul", MLX, "f32", [x, np.array(mx.array(x) * 0.375)], by)
    exact("scalar_mul", GGML, "scale", [x, ggml.call("scale", x, 0.375).reshape(x.shape)], by)
    h = x.astype(np.float16)
    exact("scalar_mul", TORCH, "f16", [h, (t(h) * 0.375).numpy()], by)
    b = Bf16(x)
    exact("scalar_mul", TORCH, "bf16", [b, Bf16((t(b.values).bfloat16() * 0.375).float().numpy())], by)


def pads():
    pack = lambda mode, flip, before, value=0.0: struct.pack("<II4Id", mode, flip, *before, 0, value)
    x = v.normal(4, 6, 5)
    width = (3, 2, 1, 2)  # of the last axis, of the one before it
    for mode, name in enumerate(("constant", "replicate", "reflect", "circular")):
        more = (0.5,) if name == "constant" else ()
        want = F.pad(t(x), width, name, *more).numpy() if name == "constant" else F.pad(t(x)[None], width, name)[0].numpy()
        exact("pad", TORCH, name, [x, want], pack(mode, 0, (0, 1, 3), 0.5))
    widths = ((1, 0), (1, 2), (3, 2))
    padded = mx.pad(mx.array(x), widths, "constant", mx.array(0.5))
    exact("pad", MLX, "constant", [x, np.array(padded)], pack(0, 0, (1, 1, 3), 0.5))
    exact("pad", MLX, "edge", [x, np.array(mx.pad(mx.array(x), widths, "edge"))], pack(1, 0, (1, 1, 3)))
    exact("pad", TORCH, "roll", [x, torch.roll(t(x), (1, 4, 2), (0, 1, 2)).numpy()], pack(3, 0, (1, 4, 2)))
    exact("pad", MLX, "roll", [x, np.array(mx.roll(mx.array(x), (1, 4, 2), (0, 1, 2)))], pack(3, 0, (1, 4, 2)))
    rolled = ggml.call("roll", x, 2, 4, 1, 0).reshape(x.shape)
    exact("pad", GGML, "roll", [x, rolled], pack(3, 0, (1, 4, 2)))
    exact("pad", TORCH, "flip", [x, torch.flip(t(x), (0, 2)).numpy()], pack(0, 5, (0, 0, 0)))
    zeros = ggml.call("pad_ext", x, 3, 2, 1, 2, 1, 0, 0, 0).reshape(5, 9, 10)
    exact("pad", GGML, "pad_ext", [x, zeros], pack(0, 0, (1, 1, 3)))


def mixers():
    """ggml has all tokens of all sequences in one row, and one row of results behind which the states stand."""
    s, n, h, d = 2, 5, 1, 64  # the vectors of ggml's wkv7 are no shorter
    swap = lambda m: np.ascontiguousarray(np.swapaxes(m, -1, -2))
    q, k, x = v.normal(s, n, h, d), v.normal(s, n, h, d), v.normal(s, n, h, d)
    w, u, m = v.uniform(s, n, h, d), v.normal(h, d), v.normal(s, h, d, d)
    flat = lambda a: a.reshape(s * n, h, d)
    state = lambda a: a.reshape(s, h * d * d)

    def both(result):
        return result[: s * n * h * d].reshape(s, n, h, d), result[s * n * h * d :].reshape(s, h, d, d)

    # key by value in ggml, value by key here
    out, end = both(ggml.call("gated_linear_attn", flat(k), flat(x), flat(q), flat(w), state(swap(m)), 0.25))
    v.case("gla", GGML, "gated_linear_attn", [q, k, x, w, None, m, out, swap(end)], struct.pack("<f", 0.25), 4e-6, 4e-6)
    out, end = both(ggml.call("rwkv_wkv6", flat(k), flat(x), flat(q), u, flat(w), state(swap(m))))
    v.case("wkv6", GGML, "rwkv_wkv6", [q, k, x, w, u, None, m, out, swap(end)], b"", 4e-6, 4e-6)
    a, b = v.normal(s, n, h, d, scale=0.3), v.normal(s, n, h, d, scale=0.3)
    out, end = both(ggml.call("rwkv_wkv7", *(flat(y) for y in (q, w, k, x, a, b)), state(m)))
    v.case("wkv7", GGML, "rwkv_wkv7", [q, w, k, x, a, b, m, out, end], b"", 8e-6, 8e-6)


extremes()
copies()
indices()
masks()
fills()
pads()
mixers()
v.write()
