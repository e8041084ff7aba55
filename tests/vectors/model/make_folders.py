#!/usr/bin/env python3
"""Makes smollm2-affine4g64.json and smollm2-affine8g64.json: what a float32 evaluation by Hugging Face transformers says
about the weights that `mlxn convert --quantize` packs, unpacked here by MLX's formula q * scale + bias. By hand, after
make.py, when that changes:

    V/bin/python tests/vectors/model/make_folders.py --model models/smollm2.gguf [--mlxn build/mlxn]

The stored files have the form of make.py's, with three of its prompts and without nll.
"""

import argparse
import json
import os
import subprocess
import tempfile

import torch
from make import HERE, best, greedy, logits_of
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

PROMPTS = ("story", "code", "chat")


def unpacked(tensors, base, bits, group):
    """One matrix: codes are a stream of bits, the lowest first, in rows of 32-bit words."""
    words = tensors[base + ".weight"].to(torch.int64) & 0xFFFFFFFF
    per_word = 32 // bits  # 4 and 8 bits do not cross words
    codes = (words.unsqueeze(-1) >> (bits * torch.arange(per_word))) & ((1 << bits) - 1)
    codes = codes.flatten(1).float().reshape(words.shape[0], -1, group)
    scales, biases = (tensors[base + part].float().unsqueeze(-1) for part in (".scales", ".biases"))
    return (codes * scales + biases).flatten(1)


def load(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as stream:
        config = json.load(stream)
    quantization = config.pop("quantization")
    config.pop("quantization_config", None)
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    state = {}
    for name, value in tensors.items():
        base = name.rsplit(".", 1)[0]
        if base + ".scales" not in tensors:
            state[name] = value.float()
        elif name.endswith(".weight"):
            state[name] = unpacked(tensors, base, quantization["bits"], quantization["group_size"])
    state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    made = AutoConfig.for_model(config.pop("model_type"), **config)
    made._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()
    model.load_state_dict(state)
    return model


def make(kind, options, stored):
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(scratch, kind)
        subprocess.run([options.mlxn, "convert", options.model, folder, "--quantize", kind, "-q"], check=True)
        model = load(folder)
    prompts = []
    for prompt in stored["prompts"]:
        if prompt["name"] not in PROMPTS:
            continue
        ids = prompt["ids"]
        continuation = greedy(model, ids)
        rows = logits_of(model, ids + continuation[:-1])
        prompts.append(
            {
                "name": prompt["name"],
                "ids": ids,
                "continuation": continuation,
                "top2": [sum(best(row, 2), []) for row in rows],
                "top10": best(rows[len(ids) - 1], 10),
            }
        )
        print("%s: %s: %s" % (kind, prompt["name"], prompts[-1]["top10"][:2]), flush=True)
    name = "smollm2-" + kind
    text = json.dumps({"model": name, "bos": None, "prompts": prompts}, separators=(",", ":"))
    with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as out:
        out.write(text.replace('{"name"', '\n{"name"') + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--mlxn", default="build/mlxn")
    options = parser.parse_args()
    with open(os.path.join(HERE, "smollm2.json"), encoding="utf-8") as stream:
        stored = json.load(stream)
    for kind in ("affine4g64", "affine8g64"):
        make(kind, options, stored)


if __name__ == "__main__":
    main()
