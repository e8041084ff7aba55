#!/usr/bin/env python3
"""Makes lines.txt and, for each model, ids-NAME.json.gz: the token ids of each line by llama.cpp, without BOS,
special tokens recognised. By hand, when the lines change:

    python3 -m venv V && V/bin/pip install gguf tokenizers
    V/bin/python tests/vectors/tokenizer/make.py --models models --llama LLAMA_SOURCE --build LLAMA_BUILD

LLAMA_SOURCE is a llama.cpp source folder and LLAMA_BUILD its build folder with bin/libllama.so (bench/vs-llama
makes both). The second opinion is Hugging Face `tokenizers`, built from the file's own vocabulary and merges with
the pre-tokenizer that the model's makers published (smollm: digits one by one, then byte level; qwen2: its regular
expression; gemma: byte-fallback BPE over the whole line, merges derived from the scores). Every line where the two
differ is printed and stored in ids-NAME.json.gz under "differ"; llama.cpp's ids are the
ones that count.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import lines as line_maker  # noqa: E402

MODELS = ["smollm2", "gemma3-270m", "qwen2.5-1.5b"]
CONTROL, USER_DEFINED = 3, 4
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def merges_of_scores(tokens, scores, plain):
    """SentencePiece's rule as a merge list: any two pieces whose join is a piece merge, the better score first, the
    earlier id among equals; the splits of one piece rank together."""
    ids = {token: i for i, token in enumerate(tokens) if i in plain}
    found = []
    for token, i in ids.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids:
                found.append((-scores[i], i, ids[left], ids[right], left, right))
    found.sort()
    return [(left, right) for _, _, _, _, left, right in found]


def hugging_face(path):
    """A tokenizers.Tokenizer of the vocabulary of a GGUF file."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    fields = GGUFReader(path).fields
    kind = fields["tokenizer.ggml.model"].contents()
    pre = fields["tokenizer.ggml.pre"].contents()
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    vocab = {token: i for i, token in enumerate(tokens)}
    if kind == "gpt2":
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
        result = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        if pre == "smollm":
            steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        elif pre == "qwen2":
            steps = [
                pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        else:
            raise SystemExit("%s: pre-tokenizer %s is not known here" % (path, pre))
        result.pre_tokenizer = pre_tokenizers.Sequence(steps)
        result.decoder = decoders.ByteLevel()
    else:
        plain = {i for i, kind in enumerate(types) if kind not in (CONTROL, USER_DEFINED)}
        merges = merges_of_scores(tokens, fields["tokenizer.ggml.scores"].contents(), plain)
        result = Tokenizer(
            models.BPE(vocab=vocab, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
        )
        result.normalizer = normalizers.Replace(" ", "\u2581")
        result.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    for flag in (CONTROL, USER_DEFINED):
        result.add_tokens(
            [
                AddedToken(token, special=flag == CONTROL, normalized=False)
                for token, kind in zip(tokens, types)
                if kind == flag
            ]
        )
    if result.get_vocab_size() != len(tokens):
        raise SystemExit("%s: an added token is not in the vocabulary" % path)
    return result


def llama_program(source, build, folder):
    """Compiles llama_ids.c against a llama.cpp build."""
    program = os.path.join(folder, "llama_ids")
    libraries = os.path.join(build, "bin")
    subprocess.run(
        [
            "cc",
            "-O1",
            "-o",
            program,
            os.path.join(HERE, "llama_ids.c"),
            "-I" + os.path.join(source, "include"),
            "-I" + os.path.join(source, "ggml", "include"),
            "-L" + libraries,
            "-Wl,-rpath," + libraries,
            "-lllama",
            "-lggml",
            "-lggml-base",
        ],
        check=True,
    )
    return program


def llama_ids(program, model, text_file):
    out = subprocess.run([program, model, text_file], check=True, stdout=subprocess.PIPE).stdout.decode()
    return [[int(i) for i in line.split(",")] if line else [] for line in out.split("\n")[:-1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", required=True)
    parser.add_argument("--llama", required=True)
    parser.add_argument("--build", required=True)
    options = parser.parse_args()
    texts = line_maker.make()
    path = os.path.join(HERE, "lines.txt")
    with open(path, "wb") as out:
        out.write("".join(text + "\n" for text in texts).encode())
    with tempfile.TemporaryDirectory() as folder:
        program = llama_program(options.llama, options.build, folder)
        for name in MODELS:
            model = os.path.join(options.models, name + ".gguf")
            ids = llama_ids(program, model, path)
            second = hugging_face(model)
            other = [second.encode(text, add_special_tokens=False).ids for text in texts]
            differ = [i for i in range(len(texts)) if ids[i] != other[i]]
            for i in differ:
                print(
                    "%s: line %d %r\n  llama.cpp    %s\n  tokenizers   %s" % (name, i + 1, texts[i], ids[i], other[i])
                )
            print("%s: %d lines, %d ids, %d lines differ" % (name, len(ids), sum(map(len, ids)), len(differ)))
            data = json.dumps(
                {"model": name, "ids": ids, "differ": {str(i + 1): other[i] for i in differ}}, separators=(",", ":")
            ).encode()
            with open(os.path.join(HERE, "ids-%s.json.gz" % name), "wb") as out:
                out.write(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main()
