#!/usr/bin/env python3
"""Writes digests.txt: what mlx_lm.convert makes of a small model folder, for tests/io/convert_folder.c.

Run by hand with mlx-lm and MLX on the CPU (pip install "mlx[cpu]" mlx-lm numpy): python3 make_convert.py. The weights are
those of value() below, which the test makes too. Each line: dtype of the source, quantization, name of a tensor, its
dtype in safetensors files, SHA-256 of its bytes. mlx 0.32.4 and mlx-lm 0.32.2 wrote the file.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm import convert
from tokenizers import Tokenizer, models

HERE = Path(__file__).parent
HIDDEN, FF, VOCAB, HEADS, KV = 128, 256, 96, 4, 2
TENSORS = [
    ("model.embed_tokens.weight", (VOCAB, HIDDEN)),
    ("lm_head.weight", (VOCAB, HIDDEN)),
    ("model.norm.weight", (HIDDEN,)),
    ("model.layers.0.input_layernorm.weight", (HIDDEN,)),
    ("model.layers.0.post_attention_layernorm.weight", (HIDDEN,)),
    ("model.layers.0.self_attn.q_proj.weight", (HIDDEN, HIDDEN)),
    ("model.layers.0.self_attn.k_proj.weight", (HIDDEN * KV // HEADS, HIDDEN)),
    ("model.layers.0.self_attn.v_proj.weight", (HIDDEN * KV // HEADS, HIDDEN)),
    ("model.layers.0.self_attn.o_proj.weight", (HIDDEN, HIDDEN)),
    ("model.layers.0.mlp.gate_proj.weight", (FF, HIDDEN)),
    ("model.layers.0.mlp.up_proj.weight", (FF, HIDDEN)),
    ("model.layers.0.mlp.down_proj.weight", (HIDDEN, FF)),
]
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
KINDS = ["none"] + ["affine%dg%d" % (b, g) for b in (2, 3, 4, 5, 6, 8) for g in (32, 64, 128)] + ["mxfp4", "mxfp8", "nvfp4"]


def value(tensor, count):
    """Exact in float32: 24 bits of a product modulo 2^32, between -1/2 and 1/2."""
    hashed = (np.arange(count, dtype=np.uint64) * 2654435761 + tensor * 97531) % 2**32
    return (((hashed >> np.uint64(8)).astype(np.int64) - 2**23) / 2.0**24).astype(np.float32)


def source(folder, dtype):
    config = dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=HIDDEN, intermediate_size=FF,
                  num_hidden_layers=1, num_attention_heads=HEADS, num_key_value_heads=KV, vocab_size=VOCAB,
                  rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=64, tie_word_embeddings=False,
                  torch_dtype=dtype)
    (folder / "config.json").write_text(json.dumps(config))
    weights = {}
    for i, (name, shape) in enumerate(TENSORS):
        weights[name] = mx.array(value(i, int(np.prod(shape))).reshape(shape)).astype(DTYPES[dtype])
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
    Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="PreTrainedTokenizerFast")))


def options(kind):
    if kind == "none":
        return {}
    if kind.startswith("affine"):
        bits, group = kind[6:].split("g")
        return dict(quantize=True, q_bits=int(bits), q_group_size=int(group))
    return dict(quantize=True, q_mode=kind, q_bits=8 if kind == "mxfp8" else 4, q_group_size=16 if kind == "nvfp4" else 32)


def lines(folder, dtype, kind):
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    for name in sorted(header):
        begin, end = header[name]["data_offsets"]
        digest = hashlib.sha256(data[8 + size + begin:8 + size + end]).hexdigest()
        yield "%s %s %s %s %s\n" % (dtype, kind, name, header[name]["dtype"], digest)


mx.set_default_device(mx.cpu)
with open(HERE / "digests.txt", "w") as out:
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory() as scratch:
            scratch = Path(scratch)
            (scratch / "from").mkdir()
            source(scratch / "from", dtype)
            for kind in KINDS:
                shutil.rmtree(scratch / "to", ignore_errors=True)
                convert(str(scratch / "from"), mlx_path=str(scratch / "to"), **options(kind))
                out.writelines(lines(scratch / "to", dtype, kind))
