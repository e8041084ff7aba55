#!/usr/bin/env python3
"""Number formats of GGUF files beside llama.cpp: a small model of the Llama family with random weights, whose rows are
multiples of 256, is written in every format; llama.cpp and mlxn compute the log-probabilities of the same tokens.

    pip install xllamacpp gguf
    python3 tests/model/peer_formats.py [--write FILE] [TYPE ...]

Files of a type that `mlxn quantize` has are made by it, those of the grid formats by ggml's encoder. For each type the
largest and mean difference of the log-probability of the token that follows, over all positions:
  decoded  llama.cpp computes in binary32 with the values that gguf-py decodes the file to; mlxn from the file itself, in
           precision f32. No rounding of activations lies between the two: what remains is that of caches to binary16.
  same     llama.cpp computes from the same file, where it rounds activations to 8 bits, mlxn in precision fast, which
           does the same where it has a kernel for it.
Exit 1 if a difference passes its limit. Takes two minutes."""

import argparse
import os
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
MLXN = os.environ.get("MLXN", os.path.join(ROOT, "build", "mlxn"))
ENCODED = ["f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q3_k", "q2_k", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl",
           "iq4_xs", "mxfp4", "nvfp4", "tq2_0", "tq1_0", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k_m"]
GRIDS = ["iq3_xxs", "iq3_s", "iq2_xxs", "iq2_xs", "iq2_s", "iq1_s", "iq1_m"]
DECODED_LIMIT, SAME_LIMIT = 0.002, 0.5  # nats
LAYERS, WIDTH, FEED, HEADS, KV_HEADS, VOCABULARY, POSITIONS = 4, 512, 1024, 8, 4, 1024, 192


def matrices(rng):
    """Random weights, such that logits have a deviation of about 3 and every layer changes them."""
    kv = WIDTH // HEADS * KV_HEADS
    draw = lambda rows, cols, gain=1.0: (gain / cols**0.5 * rng.standard_normal((rows, cols))).astype(np.float32)
    yield "token_embd.weight", draw(VOCABULARY, WIDTH, WIDTH**0.5)
    for i in range(LAYERS):
        for name, rows, cols in (("attn_q", WIDTH, WIDTH), ("attn_k", kv, WIDTH), ("attn_v", kv, WIDTH),
                                 ("attn_output", WIDTH, WIDTH), ("ffn_gate", FEED, WIDTH), ("ffn_up", FEED, WIDTH),
                                 ("ffn_down", WIDTH, FEED)):
            yield f"blk.{i}.{name}.weight", draw(rows, cols)
    yield "output.weight", draw(VOCABULARY, WIDTH, 3)


def norms():
    yield "output_norm.weight"
    for i in range(LAYERS):
        yield f"blk.{i}.attn_norm.weight"
        yield f"blk.{i}.ffn_norm.weight"


def write_model(path, weights, encode=None):
    """A Llama of 4 layers, 512 wide. weights: name -> float32 matrix; encode: matrix -> (bytes, GGML type)."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(LAYERS)
    w.add_context_length(512)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(FEED)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_rope_freq_base(10000.0)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCABULARY)
    w.add_tokenizer_model("llama")
    special = ["<unk>", "<s>", "</s>"]
    tokens = special + [f"<0x{i:02X}>" for i in range(256)]
    tokens += [f"t{i}" for i in range(VOCABULARY - len(tokens))]
    w.add_token_list(tokens)
    w.add_token_scores([0.0] * len(tokens))
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    for name in norms():
        w.add_tensor(name, np.ones(WIDTH, np.float32))
    for name, matrix in weights.items():
        if encode:
            data, kind = encode(matrix)
            w.add_tensor(name, data, raw_dtype=kind)
        else:
            w.add_tensor(name, matrix)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def decoded(path):
    """name -> float32 matrix, as gguf-py decodes them."""
    found = {}
    for t in gguf.GGUFReader(path).tensors:
        if len(t.shape) == 2:
            rows = gguf.quants.dequantize(t.data, t.tensor_type)
            found[t.name] = np.array(rows, np.float32).reshape(int(t.shape[1]), int(t.shape[0]))
    return found


def ours(path, ids, precision, folder):
    out = os.path.join(folder, "logits.npy")
    subprocess.run([MLXN, "logits", "-q", "-m", path, "--ids", "-p", ",".join(map(str, ids)), "--precision", precision,
                    "--kv-type", "f16", "--all", out], check=True, stdout=subprocess.DEVNULL)
    logits = np.load(out)
    os.unlink(out)
    return llama_cpp.log_softmax(logits)


def differences(a, b, ids):
    at = np.arange(len(ids) - 1), np.array(ids[1:])
    off = np.abs(a[at] - b[at])
    return off.max(), off.mean(), np.mean(a.argmax(-1) == b.argmax(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("types", nargs="*", help="default: all")
    parser.add_argument("--write", help="keep the model in F32 here")
    options = parser.parse_args()
    rng = np.random.default_rng(5)
    weights = dict(matrices(rng))
    ids = [1] + [int(i) for i in rng.integers(259, VOCABULARY, POSITIONS - 1)]
    failed = []
    print("| type | made by | decoded: largest, mean | same file: largest, mean | same first token |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        source = options.write or os.path.join(folder, "f32.gguf")
        write_model(source, weights)
        for name in options.types or ["f32"] + ENCODED + GRIDS:
            path = source if name == "f32" else os.path.join(folder, name + ".gguf")
            if name in GRIDS:
                kind = gguf.GGMLQuantizationType[name.upper()]
                write_model(path, weights, lambda m: (llama_cpp.encode(m, int(kind)), kind))
            elif name != "f32":
                subprocess.run([MLXN, "quantize", "-q", source, path, name], check=True, stdout=subprocess.DEVNULL)
            plain = os.path.join(folder, "decoded.gguf")
            write_model(plain, decoded(path))
            theirs = llama_cpp.log_probabilities(plain, ids)
            exact = differences(theirs, ours(path, ids, "f32", folder), ids)
            same = differences(llama_cpp.log_probabilities(path, ids), ours(path, ids, "fast", folder), ids)
            maker = "ggml" if name in GRIDS else "gguf-py" if name == "f32" else "mlxn"
            print("| %s | %s | %.4f, %.5f | %.3f, %.4f | %.0f %% |" % (name, maker, *exact[:2], *same[:2], 100 * same[2]),
                  flush=True)
            if exact[0] > DECODED_LIMIT or same[0] > SAME_LIMIT:
                failed.append(name)
            os.unlink(plain)
            if path != source:
                os.unlink(path)
    if failed:
        sys.exit("past the limit: " + ", ".join(failed))


if __name__ == "__main__":
    main()
