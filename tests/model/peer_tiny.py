#!/usr/bin/env python3
"""Lets llama.cpp and mlxn compute the tiny models of tests/unit/lm_convert_folder.c from the GGUF files that mlxn wrote.

    pip install xllamacpp numpy
    python3 tests/model/peer_tiny.py [NAME ...]

Prints for each model the largest difference of their log-probabilities of the next token, over all 128 tokens and
prompts of 1 to 48 of them. mlxn computes in f32; llama.cpp keeps keys and values in f16, so that differences of up to
some hundredths say nothing. Where the two differ by more, a change of config.json follows after which they do not:
that is the cause. Exit 1 if a model, or the last change of one, is off by more than LIMIT.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

import numpy
import xllamacpp

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
MLXN = os.path.join(ROOT, "build", "mlxn")
WRITER = os.path.join(ROOT, "build", "tests", "unit", "lm_convert_folder")
IDS = [3 + (i * 5 * (i + 7)) % 125 for i in range(48)]
LENGTHS = [1, 2, 4, 8, 9, 16, 17, 24, 32, 40, 48]
LIMIT = 0.15  # nats

# What is known to differ, and what to say instead in config.json.
CAUSES = {
    "gpt_oss": ("no YaRN (llama.cpp rounds the ends of its ramp to whole pairs)",
                {"rope_parameters": {"rope_type": "default", "rope_theta": 150000.0}}),
    "phi3": ("no sliding window (llama.cpp leaves it out)", {"sliding_window": None}),
    "deepseek_v2-groups": ("no groups of experts",
                           {"topk_method": "greedy", "n_group": None, "topk_group": None}),
    "qwen3_moe": ("norm_topk_prob true (llama.cpp does not read expert_weights_norm)", {"norm_topk_prob": True}),
}


def mlxn(*args):
    subprocess.run([MLXN, *args, "-q"], check=True, stdout=subprocess.DEVNULL)


def log_softmax(x):
    x = x.astype(numpy.float64) - x.max(-1, keepdims=True)
    return x - numpy.log(numpy.exp(x).sum(-1, keepdims=True))


def ours(path, scratch):
    out = os.path.join(scratch, "logits.npy")
    mlxn("logits", "-m", path, "--ids", "-p", ",".join(map(str, IDS)), "--precision", "f32", "-c", "256", "--all", out)
    return log_softmax(numpy.load(out))


def theirs(server, ids):
    answer = server.handle_completions({"prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 128,
                                        "n_probs": 128, "cache_prompt": False})
    content = answer["choices"][0]["logprobs"]["content"][0]
    out = numpy.full(128, -math.inf)
    for token in content["top_logprobs"]:
        out[token["id"]] = token["logprob"]
    return out


def difference(path, scratch):
    """None: llama.cpp does not load the file."""
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 256
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.warmup = False
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        return None
    mine = ours(path, scratch)
    return max(numpy.abs(theirs(server, IDS[:n]) - mine[n - 1]).max() for n in LENGTHS)


def changed(folder, change, scratch):
    to = os.path.join(scratch, "changed")
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    with open(os.path.join(to, "config.json")) as f:
        config = json.load(f)
    config.update(change)
    with open(os.path.join(to, "config.json"), "w") as f:
        json.dump({k: v for k, v in config.items() if v is not None}, f)
    mlxn("convert", "--overwrite", to, to + ".gguf")
    return to + ".gguf"


def main():
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        lines = subprocess.run([WRITER], check=True, capture_output=True, text=True, cwd=ROOT,
                               env=dict(os.environ, TMPDIR=scratch, MLXN_KEEP="1")).stdout.split("\n")
        print("| model | largest difference |\n|---|---|")
        for name, folder in (line.split()[1:3] for line in lines if line.startswith("kept ")):
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            off = difference(folder + ".gguf", scratch)
            print("| %s | %s |" % (name, "not loaded" if off is None else "%.3f" % off), flush=True)
            if name in CAUSES:
                text, change = CAUSES[name]
                off = difference(changed(folder, change, scratch), scratch)
                print("| with %s | %.3f |" % (text, off), flush=True)
            failed |= off is not None and not off <= LIMIT
    return failed


if __name__ == "__main__":
    sys.exit(main())
