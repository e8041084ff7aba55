#!/usr/bin/env python3
"""Quantizes a model with `mlxn quantize` into several formats, and lets llama.cpp and mlxn continue
prompts from each file.

    pip install xllamacpp
    python3 tests/model/peer_formats.py MODEL.gguf [TYPE ...]

Prints a row per type: how many greedy tokens are the same before the first difference of each prompt, the largest
difference of their log-probabilities, and by how much mlxn prefers its token where the two part: llama.cpp rounds
activations to 8 bits, so that near ties fall otherwise. Exit 1 if one of the two numbers passes LIMIT.
"""

import json
import math
import os
import subprocess
import sys
import tempfile

import xllamacpp

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
MLXN = os.path.join(ROOT, "build", "mlxn")
TYPES = ["q8_0", "iq4_nl", "mxfp4", "q4_1", "q5_1", "q4_k", "q6_k", "iq4_xs"]
PROMPTS = ["The capital of France is", "Once upon a time there was a lighthouse keeper who",
           "def fibonacci(n):\n    if n < 2:\n        return n\n"]
TOKENS = 16
LIMIT = 0.5  # nats


def ours(*args):
    return subprocess.run([MLXN, *args], check=True, capture_output=True, text=True).stdout


def peer_of(path):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 512
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.warmup = False
    return xllamacpp.Server(params)


def compare(server, path, ids):
    text = json.loads(ours("generate", "-q", "-m", path, "--raw", "--ids", "-p", ",".join(map(str, ids)), "-n", str(TOKENS),
                           "--temp", "0", "--json", "--logprobs", "8"))
    mine = [(t["id"], t["logprob"], {o["id"]: o["logprob"] for o in t["top"]}) for t in text["logprobs"]]
    answer = server.handle_completions({"prompt": ids, "max_tokens": TOKENS, "temperature": 0, "logprobs": 1,
                                        "cache_prompt": False})
    theirs = [(t["id"], t["logprob"]) for t in answer["choices"][0]["logprobs"]["content"]]
    same, far, tie = 0, 0.0, 0.0
    for (a, p, top), (b, q) in zip(mine, theirs):
        if a != b:
            tie = p - top.get(b, -math.inf)
            break
        same += 1
        far = max(far, math.fabs(p - q))
    return same, min(len(mine), len(theirs)), far, tie


def main():
    model, types = sys.argv[1], sys.argv[2:] or TYPES
    failed = False
    print("| type | equal tokens | largest difference of log-probability | gap where they part |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in types:
            path = os.path.join(folder, name + ".gguf")
            ours("quantize", "-q", "--allow-requantize", model, path, name)
            server = peer_of(path)
            same = total = far = tie = 0
            for prompt in PROMPTS:
                ids = json.loads(ours("tokenize", "-q", "-m", path, "--json", "-p", prompt))["ids"]
                one, of, off, gap = compare(server, path, ids)
                same, total, far = same + one, total + of, max(far, off)
                tie = max(tie, gap)
            print("| %s | %d of %d | %.3f | %.3f |" % (name, same, total, far, tie), flush=True)
            failed |= far > LIMIT or tie > LIMIT
            del server
            os.unlink(path)
    return failed


if __name__ == "__main__":
    sys.exit(main())
