#!/usr/bin/env python3
"""Writes basic.bin: functions of one and two numbers, reductions, scans, sorting, softmax, indexing and their gradients
as torch (in double), MLX and numpy compute them. Run by hand (numpy, torch, gguf, mlx[cpu])."""

import struct

import gguf
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

REDUCE = "sum mean prod max min sum_squares norm rms_inv variance logsumexp".split()


def reductions():
    fns = {
        "sum": lambda x, d: x.sum(d), "mean": lambda x, d: x.mean(d), "prod": lambda x, d: x.flatten(-len(d)).prod(-1),
        "max": lambda x, d: x.amax(d), "min": lambda x, d: x.amin(d), "sum_squares": lambda x, d: (x * x).sum(d),
        "norm": lambda x, d: torch.linalg.vector_norm(x, dim=d),
        "rms_inv": lambda x, d: torch.rsqrt((x * x).mean(d) + as_float(1e-5)),
        "variance": lambda x, d: x.var(d, correction=0), "logsumexp": lambda x, d: torch.logsumexp(x, d),
    }
    mlx = {
        "sum": mx.sum, "mean": mx.mean, "prod": mx.prod, "max": mx.max, "min": mx.min, "variance": mx.var,
        "logsumexp": mx.logsumexp,
    }
    for i, name in enumerate(REDUCE):
        for axes in (1, 2):
            x = v.normal(3, 4, 11)
            d = tuple(range(3 - axes, 3))
            params = struct.pack("<IIf", i, axes, 1e-5)
            v.case("reduce", TORCH, f"{name} {axes}", [x, fns[name](f64(x), d).numpy()], params, 1e-9, 2e-7)
            if name in mlx:
                v.case("reduce", MLX, f"{name} {axes}", [x, np.array(mlx[name](mx.array(x), axis=d))], params, 2e-6, 4e-6)
    x = v.normal(4, 6)
    x[0, 2], x[1, 3], x[2, :], x[3, 1] = np.nan, np.inf, -np.inf, -np.inf
    for name in ("max", "min", "logsumexp"):
        params = struct.pack("<IIf", REDUCE.index(name), 1, 0)
        v.case("reduce", TORCH, name + " special", [x, fns[name](f64(x), (1,)).numpy()], params)
    y = v.normal(6, 301)
    y[2, 7] = y[2, 200] = -99
    y[3, :] = np.inf
    y[4, 5] = np.nan
    v.case("argmin", NUMPY, "ties, infinities, NaN", [y, np.nanargmin(y, axis=1).astype(np.uint32)])


def scans():
    x = v.normal(3, 37)
    back = lambda t: torch.flip(t, (-1,))
    fns = [lambda t: t.cumsum(-1), lambda t: t.cumprod(-1), lambda t: t.cummax(-1)[0], lambda t: t.cummin(-1)[0],
           lambda t: t.logcumsumexp(-1)]
    mlx = [mx.cumsum, mx.cumprod, mx.cummax, mx.cummin, mx.logcumsumexp]
    for i, fn in enumerate(fns):
        v.case("scan", TORCH, f"fn {i}", [x, fn(f64(x)).numpy()], struct.pack("<III", i, 0, 0), 1e-9, 2e-7)
        v.case("scan", TORCH, f"fn {i} reverse", [x, back(fn(back(f64(x)))).numpy()], struct.pack("<III", i, 1, 0),
               1e-9, 2e-7)
        for reverse in (0, 1):
            for exclusive in (0, 1):
                got = np.array(mlx[i](mx.array(x), axis=-1, reverse=bool(reverse), inclusive=not exclusive))
                v.case("scan", MLX, f"fn {i} {reverse} {exclusive}", [x, got], struct.pack("<III", i, reverse, exclusive),
                       1e-5, 1e-5)


def orders():
    x = np.round(v.normal(5, 60, scale=3))
    x[1, 5], x[2, 9], x[2, 7], x[3, 0] = np.inf, -np.inf, -np.inf, -0.0
    for descending in (0, 1):
        order = torch.sort(torch.from_numpy(x), dim=-1, descending=bool(descending), stable=True)
        params = struct.pack("<I", descending)
        v.case("argsort", TORCH, f"ties {descending}", [x, order.indices.numpy().astype(np.uint32)], params)
        v.case("sort", TORCH, f"ties {descending}", [x, order.values.numpy()], params)
    order = torch.sort(torch.from_numpy(x), dim=-1, descending=True, stable=True)
    v.case("top_k", TORCH, "first of a stable sort",
           [x, order.indices[:, :9].numpy().astype(np.uint32), order.values[:, :9].numpy()])
    z = v.normal(4, 300)
    top = torch.topk(torch.from_numpy(z), 12)
    v.case("top_k", TORCH, "distinct", [z, top.indices.numpy().astype(np.uint32), top.values.numpy()])
    z[0, 4] = np.nan  # MLX sorts NaN last, as here
    v.case("sort", MLX, "NaN", [z, np.array(mx.sort(mx.array(z), axis=-1))], struct.pack("<I", 0))


def softmaxes():
    x = v.normal(2, 3, 5, 33, scale=4)
    mask = v.normal(5, 33)
    mask[1, :20] = -np.inf
    for scale in (0.0, 0.125):
        s = scale or 1.0
        params = struct.pack("<fI", scale, 0)
        v.case("softmax", TORCH, f"scale {scale}", [x, None, torch.softmax(f64(x) * s, -1).numpy()], params, 1e-9, 2e-7)
        v.case("softmax", TORCH, f"mask {scale}", [x, mask, torch.softmax(f64(x) * s + f64(mask), -1).numpy()], params,
               1e-9, 2e-7)
        v.case("softmax", MLX, f"scale {scale}", [x, None, np.array(mx.softmax(mx.array(x) * s, axis=-1, precise=True))],
               params, 1e-7, 4e-6)
    want = torch.log_softmax(f64(x), -1).numpy()
    v.case("softmax", TORCH, "log", [x, None, want], struct.pack("<fI", 0, 1), 1e-9, 2e-7)
    h, m = Bf16(x[0]), Bf16(mask)
    want = Bf16(torch.softmax(f64(h) * 0.5 + f64(m), -1).float().numpy())
    v.case("softmax", TORCH, "bf16, rounded once", [h, m, want], struct.pack("<fI", 0.5, 0), 1e-7, 4e-3)
    hidden = np.full((1, 33), -np.inf, np.float32)
    v.case("softmax", NUMPY, "a row hidden altogether is 0", [x[0], hidden, np.zeros_like(x[0])], struct.pack("<fI", 0, 0))
    y = f64(v.normal(4, 21, scale=2)).requires_grad_()
    dy = v.normal(4, 21)
    p = torch.softmax(y, -1)
    (p * f64(dy)).sum().backward()
    # the result of softmax goes in as f32, which carries over into the gradient
    v.case("softmax_backward", TORCH, "autograd", [p.detach().numpy(), dy, y.grad.numpy()], b"", 2e-7, 1e-5)
    logits = v.normal(6, 50, scale=2)
    logits[5, :3] = -np.inf
    u = np.array([0.1, 0.35, 0.5, 0.73, 0.9999, 0.0], np.float32)
    p = torch.softmax(f64(logits) / 0.75, -1)
    token = (p.cumsum(-1) > f64(u)[:, None]).int().argmax(-1)
    logp = torch.log(p.gather(1, token[:, None]))[:, 0].numpy()
    v.case("softmax_sample", TORCH, "inverse of the distribution; 0 skips what has none",
           [logits, u, token.numpy().astype(np.uint32), logp], struct.pack("<f", 0.75), 1e-6, 4e-7)


def indexing():
    x, index = v.normal(7, 9), np.array([2, 0, 2, 5, 9, 2, 0], np.uint32)
    before = v.normal(6, 9)
    last, added = before.copy(), before.astype(np.float64)
    for i, r in enumerate(index):
        if r < 6:
            last[r] = x[i]
    keep = torch.from_numpy(index[index < 6].astype(np.int64))
    added = f64(before).index_add(0, keep, f64(x[index < 6])).numpy()
    v.case("scatter", NUMPY, "the last of equals", [x, index, before, last])
    v.case("scatter_add", TORCH, "index_add", [x, index, before, added], b"", 1e-9, 2e-7)
    take = v.rng.integers(0, 9, (7, 4)).astype(np.uint32)
    v.case("take_along", NUMPY, "take_along_axis", [x, take, np.take_along_axis(x, take.astype(np.int64), 1)])
    packed, table = v.rng.integers(0, 256, (5, 8), dtype=np.uint8), v.normal(16, 16)
    codes = np.stack([packed & 15, packed >> 4], -1).reshape(5, 16)
    v.case("gather_nibble", NUMPY, "low first", [packed, table, table[codes, np.arange(16)]])
    x, bias, ids = v.normal(3, 2, 8), v.normal(4, 8), np.array([[0, 3], [1, 1], [2, 9]], np.uint32)
    v.case("add_id", NUMPY, "experts' biases", [x, bias, ids, x + bias[np.minimum(ids, 3)]])


def shapes():
    v.case("arange", NUMPY, "f32", [np.arange(20) * 0.25 - 3], struct.pack("<dd", -3, 0.25))
    v.case("arange", NUMPY, "u32", [np.arange(7, 40, 3, dtype=np.uint32)], struct.pack("<dd", 7, 3))
    x = v.normal(4, 6)
    width = ((1, 2), (3, 2))
    for mode, name in enumerate(("constant", "edge", "reflect", "wrap")):
        more = {"constant_values": 0.5} if name == "constant" else {}
        v.case("pad", NUMPY, name, [x, np.pad(x, width, name, **more)], struct.pack("<II4Id", mode, 0, 1, 3, 0, 0, 0.5))
    v.case("pad", NUMPY, "roll", [x, np.roll(x, (1, 4), (0, 1))], struct.pack("<II4Id", 3, 0, 1, 4, 0, 0, 0))
    v.case("pad", NUMPY, "flip", [x, np.flip(x, 1)], struct.pack("<II4Id", 0, 2, 0, 0, 0, 0, 0))
    for k in (-2, 0, 3):
        v.case("diag_mask", NUMPY, f"tril {k}", [x, np.tril(x, k)], struct.pack("<iIf", k, 0, 0))
        v.case("diag_mask", NUMPY, f"triu {k}", [x, np.triu(x, k)], struct.pack("<iIf", k, 1, 0))
    t = v.uniform(3, high=500)
    half = 7
    freqs = torch.exp(-np.log(10000.0) * torch.arange(half, dtype=torch.float64) / half)
    angle = f64(t)[:, None] * freqs
    want = torch.cat([torch.cos(angle), torch.sin(angle), torch.zeros(3, 1)], -1).numpy()
    v.case("timestep_embedding", TORCH, "odd width", [t, want], struct.pack("<f", 10000), 1e-7, 4e-7)


def gradients():
    x, w, dy = v.normal(6, 40, scale=2), v.normal(40, mean=1), v.normal(6, 40)
    X, W = f64(x).requires_grad_(), f64(w).requires_grad_()
    eps = as_float(1e-6)
    (F.rms_norm(X, (40,), W, eps) * f64(dy)).sum().backward()
    r = torch.rsqrt((f64(x) ** 2).mean(-1) + eps).numpy().astype(np.float32)
    v.case("rms_norm_backward_dx", TORCH, "autograd", [x, w, dy, r, X.grad.numpy()], b"", 1e-6, 2e-6)
    v.case("rms_norm_backward_dw", TORCH, "autograd", [x, dy, r, W.grad.numpy()], b"", 1e-6, 2e-6)
    for i, name in enumerate(["sigmoid", "relu", "silu", "gelu", "gelu_erf", "gelu_quick", "clamped"]):
        g, u, dy = v.normal(3, 20, scale=5), v.normal(3, 20, scale=5), v.normal(3, 20)
        G, U = f64(g).requires_grad_(), f64(u).requires_grad_()
        if name == "clamped":
            gate = G.clamp(max=7.0)
            y = (U.clamp(-7.0, 7.0) + 1) * gate * torch.sigmoid(gate * as_float(1.702))
        else:
            y = (torch_fn.get(name) or getattr(torch, name))(G) * U
        (y * f64(dy)).sum().backward()
        v.case("glu_backward", TORCH, name, [g, u, dy, G.grad.numpy(), U.grad.numpy()],
               struct.pack("<Iff", i, 1.702, 7), 1e-9, 2e-7)
    logits, target = v.normal(5, 30, scale=3), np.array([3, 29, 0, 30, 7], np.uint32)
    L = f64(logits).requires_grad_()
    labels = torch.from_numpy(np.where(target < 30, target.astype(np.int64), -100))
    loss = F.cross_entropy(L, labels, reduction="none")
    v.case("cross_entropy", TORCH, "one target past the end", [logits, target, loss.detach().numpy()], b"", 1e-9, 4e-7)
    d = v.normal(5)
    (loss * f64(d)).sum().backward()
    v.case("cross_entropy_backward", TORCH, "autograd", [logits, target, d, L.grad.numpy()], b"", 1e-9, 4e-7)


def steps():
    def run(make, params, n):
        """The tensors before and after step n of an optimizer in double."""
        p = torch.nn.Parameter(f64(params))
        opt = make(p)
        for k in range(n):
            p.grad = f64(v.normal(*params.shape))
            before = p.detach().clone(), {a: b.clone() for a, b in opt.state[p].items() if torch.is_tensor(b)}
            opt.step()
        return p.grad.numpy(), before, p.detach().numpy(), opt.state[p]

    x = v.normal(4, 5)
    beta1, beta2, eps, lr, decay = as_float(0.9), as_float(0.99), as_float(1e-8), as_float(0.01), as_float(0.1)
    g, (p0, s0), p1, s1 = run(lambda p: torch.optim.AdamW([p], lr, (beta1, beta2), eps, decay), x, 3)
    params = struct.pack("<7f", lr, beta1, beta2, eps, decay, 1 - beta1**3, 1 - beta2**3)
    v.case("adamw", TORCH, "third step", [g, s0["exp_avg"], s0["exp_avg_sq"], p0, s1["exp_avg"], s1["exp_avg_sq"], p1],
           params, 2e-7, 4e-7)
    for nesterov in (0, 1):
        momentum = as_float(0.8)
        g, (p0, s0), p1, s1 = run(
            lambda p: torch.optim.SGD([p], lr, momentum, weight_decay=decay, nesterov=bool(nesterov)), x, 2)
        v.case("sgd", TORCH, f"momentum, nesterov {nesterov}",
               [g, s0["momentum_buffer"], p0, s1["momentum_buffer"], p1],
               struct.pack("<fffI", lr, momentum, decay, nesterov), 1e-7, 4e-7)
    g, (p0, _), p1, _ = run(lambda p: torch.optim.SGD([p], lr), x, 1)
    v.case("sgd", TORCH, "plain", [g, None, p0, p1], struct.pack("<fffI", lr, 0, 0, 0), 1e-8, 2e-7)


def formats():
    """Q4_0 and Q8_0 as gguf-py encodes and decodes them."""
    x = v.normal(3, 96, scale=2)
    x[0, :32] = 0
    x[1, 3], x[1, 9] = -9, 9
    for fmt in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0):
        want = gguf.dequantize(gguf.quantize(x, fmt), fmt)
        v.case("qdq", "gguf-py", fmt.name, [x, want.reshape(3, 96)], struct.pack("<I", int(fmt)))

def attention_gradients():
    for heads, kv_heads, rows, keys, d, w, causal, masked in (
        (4, 2, 5, 8, 12, 20, 1, 0), (2, 2, 7, 7, 16, 16, 1, 1), (3, 1, 4, 9, 8, 8, 0, 1),
    ):
        q, k, val = v.normal(heads, rows, d), v.normal(kv_heads, keys, d), v.normal(kv_heads, keys, w)
        dout, scale = v.normal(heads, rows, w), as_float(d**-0.5)
        mask = v.normal(rows, keys) if masked else None
        add = f64(mask) if masked else torch.zeros(rows, keys, dtype=torch.float64)
        if causal:
            late = torch.arange(keys) > torch.arange(rows)[:, None] + keys - rows
            add = add.masked_fill(late, float("-inf"))
        Q, K, W = (f64(a).requires_grad_() for a in (q, k, val))
        y = F.scaled_dot_product_attention(Q, K, W, attn_mask=add, scale=scale, enable_gqa=True)
        (y * f64(dout)).sum().backward()
        v.case("attention_backward", TORCH, f"{heads} over {kv_heads}, causal {causal}, mask {masked}",
               [q, k, val, dout, mask, Q.grad.numpy(), K.grad.numpy(), W.grad.numpy()],
               struct.pack("<fI", scale, causal), 1e-8, 4e-7)

def layer_gradients():
    x, w, b, dy = v.normal(6, 40, scale=2, mean=1), v.normal(40, mean=1), v.normal(40), v.normal(6, 40)
    X, W, B = (f64(a).requires_grad_() for a in (x, w, b))
    (F.layer_norm(X, (40,), W, B, as_float(1e-5)) * f64(dy)).sum().backward()
    v.case("layer_norm_backward", TORCH, "autograd", [x, w, dy, W.grad.numpy(), B.grad.numpy(), X.grad.numpy()],
           struct.pack("<f", 1e-5), 1e-8, 4e-7)
    x, w, dy = v.normal(2, 9, 5), v.normal(5, 4), v.normal(2, 9, 5)
    X, W = f64(x).requires_grad_(), f64(w).requires_grad_()
    y = F.conv1d(F.pad(X.transpose(1, 2), (3, 0)), W[:, None], groups=5).transpose(1, 2)
    (y * f64(dy)).sum().backward()
    v.case("conv1d_causal_backward", TORCH, "autograd of a grouped conv1d", [x, w, dy, W.grad.numpy(), X.grad.numpy()],
           b"", 1e-8, 4e-7)


for part in (unary, binary, gates, reductions, scans, orders, softmaxes, indexing, shapes, gradients, steps, formats,
             attention_gradients, layer_gradients):
    part()
v.write()
