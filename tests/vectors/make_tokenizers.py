#!/usr/bin/env python3
"""Makes the files of tests/vectors/tokenizer/json: what Hugging Face `tokenizers` gives. By hand:

    python3 -m venv V && V/bin/pip install tokenizers==0.23.3
    V/bin/python tests/vectors/make_tokenizers.py                      # writes the files
    V/bin/python tests/vectors/make_tokenizers.py --full 10000         # compares that many lines with build/mlxn
    V/bin/python tests/vectors/make_tokenizers.py --full 10000 F...    # the same for tokenizer.json files or folders
    V/bin/pip install gguf sentencepiece                               # for the next two
    V/bin/python tests/vectors/make_tokenizers.py --full 10000 models/smollm2.gguf ...
    V/bin/python tests/vectors/make_tokenizers.py --full 10000 --sentencepiece

bytebpe, fallback, wordpiece and unigram are tokenizers that are trained on the spot, on the lines of
tests/vectors/tokenizer/lines.py and the repository's own documents: byte-level BPE, BPE with byte fallback, WordPiece,
Unigram. lines.json holds the lines that the tests read, their ids with and without special tokens, and the texts that
the ids decode to. components.json holds each normalizer, pre-tokenizer and decoder with all its options, and small
tokenizers for what concerns models, added tokens and templates, with the library's results.

--tables prints the tables of src/lm/tok_tables.c. --full draws new lines (seed 1) in 20 scripts, code and noise, and runs `mlxn tokenize --lines --json` over all of them
in one process: ids with and without special tokens, and decode, must be the library's. Prints the lines that differ;
exit 1 if there is one. Of a GGUF file the library's tokenizer is built from its vocabulary (tokenizer/make.py), saved,
and compared as a tokenizer.json. --sentencepiece trains a small model for each of SentencePiece's rules of normalization,
so that its compiled maps are compared.
"""

import argparse
import base64
import collections
import glob
import json
import os
import struct
import subprocess
import sys
import tempfile
import textwrap

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
OUT = os.path.join(HERE, "tokenizer", "json")
sys.path.insert(0, os.path.join(HERE, "tokenizer"))
import lines as line_maker  # noqa: E402

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


# ---- four tokenizers ----

def corpus():
    texts = line_maker.make(3000, seed=7)
    for path in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))):
        with open(path, encoding="utf-8") as file:
            texts += file.read().split("\n")[:60]
    return texts


def frequent(texts, least=8):
    """Lines without rare characters: Unigram keeps a token for each character that it sees."""
    count = collections.Counter("".join(texts))
    return [t for t in texts if all(count[c] >= least for c in t)]


def byte_bpe():
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False,
                                                                                 use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    return tok, trainers.BpeTrainer(vocab_size=1500, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)


def fallback_bpe():
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    return tok, trainers.BpeTrainer(vocab_size=1500, special_tokens=specials, limit_alphabet=200, show_progress=False,
                                    max_token_length=12)


def wordpiece():
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer()
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    return tok, trainers.WordPieceTrainer(vocab_size=1500, limit_alphabet=400, show_progress=False,
                                          special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])


def unigram():
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(),
                                           normalizers.Replace(Regex(" {2,}"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    tok.decoder = decoders.Metaspace()
    return tok, trainers.UnigramTrainer(vocab_size=1200, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>",
                                        show_progress=False)


def finish(name, tok):
    """What training leaves out: templates, and byte tokens that are not special."""
    text = json.loads(tok.to_str())
    if name == "fallback":
        text["added_tokens"] = [t for t in text["added_tokens"] if not t["content"].startswith("<0x")]
    if name != "bytebpe":
        begin, end = ("[CLS]", "[SEP]") if name == "wordpiece" else ("<s>", "</s>")
        ids = {t: tok.token_to_id(t) for t in (begin, end)}
        special = {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in ids}
        piece = [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": end, "type_id": 0}}]
        more = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": end, "type_id": 1}}]
        text["post_processor"] = {"type": "TemplateProcessing", "single": piece, "pair": piece + more,
                                  "special_tokens": special}
    return json.dumps(text, ensure_ascii=False, separators=(",", ":"))


def trained():
    out = {}
    for name, make in (("bytebpe", byte_bpe), ("fallback", fallback_bpe), ("wordpiece", wordpiece),
                       ("unigram", unigram)):
        tok, trainer = make()
        texts = corpus()
        tok.train_from_iterator(frequent(texts) if name == "unigram" else texts, trainer)
        out[name] = finish(name, tok)
    return out


# ---- components ----

SAMPLES = [
    "", " ", "a", "Hello, world!", "  two  spaces  ", "caf\u00e9 cafe\u0301 \u00c5\u212b \ufb01 \u2460 \u1e9b\u0323",
    "\u0130stanbul STRASSE \u00df \u03a3\u03a3", "tab\tnew\nline\r\n\u00a0nbsp\u3000wide", "a\u0000b\ufffdc\u200bd\u200fe\ufefff",
    "\u4f60\u597d\u4e16\u754c \u3053\u3093\u306b\u3061\u306f \u30ab\u30bf\u30ab\u30ca\u30fc abc", "1 22 333 \u00bd \u2163 \u0663\u0664 a1b",
    "don't we'll I'm 'S 'RE", "a.b,c!d?e-f_g\"h(i)j[k]{l}", "$5+3=8^2|x<y>~`", "x\u2581y\u2581\u2581z \u2581",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0626\u064e", "\uac00\u1100\u1161\u11a8",
    "aXbXXcX", "XaX", "--a--b", "ab  cd   ef", "\u0301\u0301a\u0316\u0301", "\u0131\u0307 \u1fb3 \u0345",
    "\u2126 \uff21\uff22\uff23 \u3392 \uff76\uff9e", "e\u0301\u0323\u0301 o\u0308\u0304", "A\u030a\u0301 \u01fa", "\r\n\r\n \n", "\u0085\u2028\u2029\u180e",
]

REPLACES = [("String", "l", "L"), ("String", "", "-"), ("String", "aX", ""), ("Regex", r"\s+", " "), ("Regex", r"[^\w\s]", ""),
            ("Regex", r"x*", "_"), ("Regex", "(a)(b)?", r"\1"), ("Regex", r" {2,}", " "), ("Regex", "(?i)x", "*")]


def normalizer_specs():
    for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"):
        yield {"type": kind}
    for left in (False, True):
        for right in (False, True):
            yield {"type": "Strip", "strip_left": left, "strip_right": right}
    for bits in range(32):
        strip = None if bits & 4 else bool(bits & 16)
        yield {"type": "BertNormalizer", "clean_text": bool(bits & 1), "handle_chinese_chars": bool(bits & 2),
               "strip_accents": strip, "lowercase": bool(bits & 8)}
    for kind, pattern, content in REPLACES:
        yield {"type": "Replace", "pattern": {kind: pattern}, "content": content}
    yield {"type": "Prepend", "prepend": "\u2581"}
    yield {"type": "Precompiled", "precompiled_charsmap": charsmap()}
    yield {"type": "Sequence", "normalizers": [
        {"type": "NFD"}, {"type": "Sequence", "normalizers": [{"type": "StripAccents"}, {"type": "Lowercase"}]},
        {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Prepend", "prepend": "\u2581"}]}


def charsmap():
    """A small map as SentencePiece compiles it: a double array of strings, built here by trying places."""
    rules = {"\u00e9": "E", "e\u0301": "x", "\ufb01": "fi", "\u2460": "1", "\u3000": " ", "\t": " ", "\u200b": "",
             "\uff21": "A", "\u4f60": "you", "ab": "AB", "\u30ab": "ka", "\r": " ", "\n": " "}
    blob, places = b"", {}
    for text in rules.values():
        if text not in places:
            places[text] = len(blob)
            blob += text.encode() + b"\0"
    root = {}
    for key, text in rules.items():
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node["leaf"] = places[text]
    units, used = {0: 0}, {0}

    def place(at, node):
        labels = [c for c in node if c != "leaf"]
        leaf = "leaf" in node
        base = next(b for b in range(1, 4096) if not any((b ^ c) in used for c in labels + [0] * leaf))
        offset = at ^ base
        units[at] |= offset << 10 | (0x100 if leaf else 0)
        if leaf:
            units[base] = 0x80000000 | node["leaf"]
            used.add(base)
        for c in labels:
            used.add(base ^ c)
            units[base ^ c] = c
        for c in labels:
            place(base ^ c, node[c])

    place(0, root)
    array = b"".join(struct.pack("<I", units.get(i, 0)) for i in range((max(units) | 255) + 1))
    return base64.b64encode(struct.pack("<I", len(array)) + array + blob).decode()


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
REGEXES = [r"X", r"\s+", r"\w+|[^\w\s]+", QWEN2, r"[a-c]+", r"\d", r"x*", r"\b", r"(?=X)", r"(?<=a)X", r"[[:alpha:]]+",
           r"\p{Han}+", r"\p{^L}", r"[^\S\n]+", r"(?m).+", r"^.", r".$", r"\h+", r"[a-z&&[^b-d]]+", r"[a[0-9]-]+", r"a++b?",
           r"\d{1,2}+", r"\d{2}?", r"(?i)x|HELLO", r"(?i:hello)(?-i:,)", r"(?x) X # a comment", r"(?<n>X)\k<n>",
           r"(?>X+)", r"[\]\-]", r"\x58|\u0058", r"\p{Lu}\p{Ll}*|\p{Letter}", r"\X", r"\R", r"[[:punct:]]", r"\p{Alnum}+",
           r"\A.|.\z", "[^\\W\\d]+", r"'(?:[sdmt]|ll|ve|re)", r"[\p{L}&&\p{^Lu}]+", r"a(?i)X|b", r"(?:a|b)*?X",
           r"[^a&&b]", r"\p{Greek}|\p{Hiragana}+", r"\s?[^\s]{,3}", r"[\w.-]+", r"\O"]


def pre_tokenizer_specs():
    for behavior in BEHAVIORS:
        for invert in (False, True):
            yield {"type": "Split", "pattern": {"Regex": "X|\\s+"}, "behavior": behavior, "invert": invert}
            yield {"type": "Split", "pattern": {"String": "-"}, "behavior": behavior, "invert": invert}
            yield {"type": "Split", "pattern": {"Regex": "x*"}, "behavior": behavior, "invert": invert}
        yield {"type": "Punctuation", "behavior": behavior}
    for regex in REGEXES:
        yield {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    for space in (False, True):
        for use in (False, True):
            yield {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": use}
    for scheme in ("always", "first", "never"):
        for split in (False, True):
            one = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}
            yield one
            yield {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"String": "X"}, "behavior": "Isolated", "invert": False}, one]}
    for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"):
        yield {"type": kind}
    for one in (False, True):
        yield {"type": "Digits", "individual_digits": one}
    yield {"type": "CharDelimiterSplit", "delimiter": "X"}
    for length in (1, 3):
        yield {"type": "FixedLength", "length": length}
    yield {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True}]},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]}


TOKENS = [
    [], ["a"], ["Hello", ",", "world", "!"], ["un", "##believ", "##able", "do", "not", "n't", "'", "s", "'s", "."],
    ["\u2581Hey", "\u2581\u2581my", "\u2581fri", "end", "\u2581"], ["\u0120Hello", "\u0120w\u00c3\u00b6", "rld", "\u010a"],
    ["a", "<0xC3>", "<0xA9>", "b", "<0x41>", "<0xzz>", "<0x41"], ["hi</w>", "th", "ere</w>", "you</w>"],
    ["<pad>", "h", "h", "e", "<pad>", "l", "l", "<pad>", "l", "o", "|", "|", "w", "<pad>"], ["HHello", "H", "HH", "xHyH"],
    [" .", " ?", " do not", " ' ", " 've"], ["", "", "a", ""], ["##a", "##", "b##"], ["\u4f60", "\u2581\u597d"],
]


def decoder_specs():
    yield {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    for prefix in ("##", ""):
        for cleanup in (False, True):
            yield {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}
    for scheme in ("always", "first", "never"):
        yield {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": True}
    yield {"type": "ByteFallback"}
    yield {"type": "Fuse"}
    for start, stop in ((0, 0), (1, 0), (0, 1), (2, 1)):
        yield {"type": "Sequence", "decoders": [{"type": "Fuse"},
                                               {"type": "Strip", "content": "H", "start": start, "stop": stop}]}
    yield {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    yield {"type": "Replace", "pattern": {"Regex": "[a-e]+"}, "content": ""}
    yield {"type": "BPEDecoder", "suffix": "</w>"}
    for cleanup in (False, True):
        yield {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": cleanup}
    yield {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}


def whole(model, **parts):
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model}
    return {**base, **parts}


def added(i, content, **flags):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": False, **flags}


def bpe(vocab, merges, **options):
    base = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {**base, "vocab": {t: i for i, t in enumerate(vocab)}, "merges": merges, **options}


def word_level(words):
    return {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": words[0]}


MODEL_TEXTS = ["", "a", "ab", "abc", "abab ab", "xay", "xxaxx", "a\u00e9b", "hug hugs", "\u2581a", "abcabc", "aXbXc", "?a??b",
               "aab aabb", "a \u0301b", "abcd" * 8]
ADDED_TEXTS = ["a<m>b", "a <m> b", "<m><m>", "<mm>", "x<m", "the<m>", "the <m>", "<M>", "a  <m>  <m>  b", "cat cats scat cat.",
               "\u00e9<m>\u00e9", "<s>a</s>", "<s> a", "<m>\u00a0b", "_cat_ cat", "<m>1 <m>", "CAT cat Cat", "a<s><m><s>b",
               "<mx> <m>x", "\u2003<m>\u2003<m>", "caf\u00e9 CAFE\u0301"]


def tokenizer_specs():
    """(tokenizer, texts)"""
    alphabet = ["?", "a", "b", "c", "ab", "abc", "aa", "bc"]
    merges = ["a b", "ab c", "a a", "b c"]
    for options in ({}, {"unk_token": "?"}, {"unk_token": "?", "fuse_unk": True}, {"ignore_merges": True},
                    {"unk_token": "?", "byte_fallback": True}):
        yield whole(bpe(alphabet, merges, **options)), MODEL_TEXTS
    yield whole(bpe(alphabet, [m.split(" ") for m in merges])), MODEL_TEXTS
    yield whole(bpe(alphabet, ["a b", "b c", "ab c", "a b", "a a"])), MODEL_TEXTS
    bytes_of = ["<unk>", "a", "b", "ab"] + ["<0x%02X>" % b for b in range(256)] + ["<0xC3><0xA9>"]
    yield whole(bpe(bytes_of, [["a", "b"], ["<0xC3>", "<0xA9>"]], unk_token="<unk>", byte_fallback=True)), MODEL_TEXTS
    yield whole(bpe(["?", "h", "u", "##u", "##g", "##s", "hu", "hug", "##gs", "##b", "a", "ab", "##a"],
                    ["h ##u", "##g ##s", "hu ##g", "a ##b"], continuing_subword_prefix="##", unk_token="?")), MODEL_TEXTS
    yield whole(bpe(["a", "b", "b</w>", "a</w>", "ab</w>", "ab", "abab</w>"], ["a b</w>", "a b", "ab ab</w>"],
                    end_of_word_suffix="</w>"), pre_tokenizer={"type": "WhitespaceSplit"},
                decoder={"type": "BPEDecoder", "suffix": "</w>"}), MODEL_TEXTS
    for limit in (100, 3):
        yield whole({"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
                     "max_input_chars_per_word": limit,
                     "vocab": {t: i for i, t in enumerate(["?", "a", "ab", "##b", "##bc", "##c", "hug", "##s", "##ab"])}},
                    pre_tokenizer={"type": "Whitespace"}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}), \
            MODEL_TEXTS
    yield whole(word_level(["?", "a", "ab", "hug"]), pre_tokenizer={"type": "Whitespace"}), MODEL_TEXTS
    pieces = [["<unk>", 0.0], ["a", -1.0], ["b", -1.5], ["ab", -2.0], ["abc", -2.9], ["c", -1.2], ["bc", -2.1], ["aa", -1.9]]
    for options in ({}, {"byte_fallback": True}):
        model = {"type": "Unigram", "unk_id": 0, "vocab": pieces + [["<0x%02X>" % b, -9.0] for b in range(256)]
                 if options else pieces, "byte_fallback": False, **options}
        yield whole(model), MODEL_TEXTS
        yield whole(model, pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always",
                                          "split": True}), MODEL_TEXTS
    words = word_level(["?", "a", "b", "the", "cat", "x", "<m>"])
    space = {"type": "Whitespace"}
    for flags in ({}, {"single_word": True}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True},
                  {"normalized": True}, {"special": True}, {"single_word": True, "normalized": True, "lstrip": True}):
        tokens = [added(6, "<m>", **flags), added(7, "<mm>", **flags), added(8, "<mx"), added(9, "cat", **flags)]
        yield whole(words, pre_tokenizer=space, added_tokens=tokens, normalizer={"type": "Lowercase"}), ADDED_TEXTS
    yield whole(words, pre_tokenizer=space, normalizer={"type": "BertNormalizer", "clean_text": True,
                "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
                added_tokens=[added(7, "CAF\u00c9", normalized=True), added(8, "<s>", special=True)]), ADDED_TEXTS
    specials = [added(6, "<s>", special=True), added(7, "</s>", special=True)]
    tokens = {t["content"]: {"id": t["content"], "ids": [t["id"]], "tokens": [t["content"]]} for t in specials}
    one, two = ({"SpecialToken": {"id": t["content"], "type_id": 0}} for t in specials)
    a, b = ({"Sequence": {"id": x, "type_id": 0}} for x in "AB")
    few = word_level(["?", "a", "b", "the", "cat", "x"])
    for post in ({"type": "TemplateProcessing", "single": [one, a, two], "pair": [one, a, two, two, b, two],
                  "special_tokens": tokens},
                 {"type": "TemplateProcessing", "single": [a, two, two], "pair": [b, a], "special_tokens": tokens},
                 {"type": "BertProcessing", "sep": ["</s>", 7], "cls": ["<s>", 6]},
                 {"type": "RobertaProcessing", "sep": ["</s>", 7], "cls": ["<s>", 6], "trim_offsets": True,
                  "add_prefix_space": True},
                 {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                 {"type": "Sequence", "processors": [
                     {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                     {"type": "BertProcessing", "sep": ["</s>", 7], "cls": ["<s>", 6]}]}):
        yield whole(few, pre_tokenizer=space, added_tokens=specials, post_processor=post), \
            ["", "a", "a b", "the cat", "<s>a</s>"]
    scheme = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}
    yield whole(bpe(["\u2581", "a", "b", "\u2581a", "?"], ["\u2581 a"], unk_token="?"), pre_tokenizer=scheme,
                decoder=scheme, added_tokens=[added(5, "<m>", special=True)]), \
        ["a", "a b a", "<m>a", "a<m>a", " a", "<m> a", "  a"]


# ---- writing ----

def text_or_error(call):
    try:
        return call()
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def load(spec):
    return Tokenizer.from_str(json.dumps(spec))


def components():
    simple = word_level(["a"])
    out = {"samples": SAMPLES, "tokens": TOKENS, "normalizers": [], "pre_tokenizers": [], "decoders": [],
           "tokenizers": []}
    for spec in normalizer_specs():
        n = load(whole(simple, normalizer=spec)).normalizer
        out["normalizers"].append([json.dumps(spec), [n.normalize_str(s) for s in SAMPLES]])
    for spec in pre_tokenizer_specs():
        p = load(whole(simple, pre_tokenizer=spec)).pre_tokenizer
        want = [text_or_error(lambda s=s: [piece for piece, _ in p.pre_tokenize_str(s)]) for s in SAMPLES]
        out["pre_tokenizers"].append([json.dumps(spec), want])
    for spec in decoder_specs():
        d = load(whole(simple, decoder=spec)).decoder
        out["decoders"].append([json.dumps(spec), [text_or_error(lambda t=t: d.decode(t)) for t in TOKENS]])
    for spec, texts in tokenizer_specs():
        tok = load(spec)
        rows = []
        for text in texts:
            ids = tok.encode(text).ids
            plain = tok.encode(text, add_special_tokens=False).ids
            tok.encode_special_tokens = True
            hidden = tok.encode(text).ids
            tok.encode_special_tokens = False
            # The library's tokens that are normalized decode to their normalized form: left out.
            normalized = any(t["normalized"] for t in spec["added_tokens"])
            back = [None, None] if normalized else [tok.decode(ids, False), tok.decode(ids)]
            rows.append([text, ids, plain, hidden, tok.encode(text, "a b").ids, *back])
        out["tokenizers"].append([json.dumps(spec), rows])
    return out


def write(name, value):
    with open(os.path.join(OUT, name + ".json"), "w", encoding="utf-8") as file:
        file.write(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        file.write("\n")


def sample():
    return line_maker.make(400, seed=3)


def make_files():
    os.makedirs(OUT, exist_ok=True)
    texts = sample()
    out = {"lines": texts, "tokenizers": {}}
    for name, text in trained().items():
        write(name, text)
        tok = Tokenizer.from_str(text)
        ids = [tok.encode(t).ids for t in texts]
        # Decoded texts that are the line itself are stored as true.
        back = [tok.decode(i) for i in ids]
        out["tokenizers"][name] = {"ids": ids, "decoded": [t == b or b for t, b in zip(texts, back)]}
    write("lines", out)
    write("components", components())


# ---- tables of characters ----

def tables():
    """Characters as the tables of the library have them, which are of earlier versions of Unicode."""
    def removed(normalizer):
        return [c for c in range(0x110000) if not 0xd800 <= c <= 0xdfff and normalizer.normalize_str(chr(c)) == ""]

    def bert(clean, strip):
        return normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=False, strip_accents=strip,
                                          lowercase=False)

    cut = pre_tokenizers.Punctuation("isolated")
    marks = [c for c in range(0x80, 0x110000)
             if not 0xd800 <= c <= 0xdfff and len(cut.pre_tokenize_str("a%sa" % chr(c))) > 1]
    for name, codes in (("marks", removed(normalizers.StripAccents())), ("nonspacing", removed(bert(False, True))),
                        ("controls", removed(bert(True, False))), ("punctuation", marks)):
        ranges = []
        for c in codes:
            if ranges and ranges[-1][1] == c - 1:
                ranges[-1][1] = c
            else:
                ranges.append([c, c])
        text = ", ".join("{0x%x, 0x%x}" % tuple(r) for r in ranges)
        print("static const range %s[] = {" % name)
        print(textwrap.fill(text + ",", 114, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False))
        print("};")


# ---- comparing ----

def run(path, lines, *options):
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        got = subprocess.run([os.path.join(ROOT, "build", "mlxn"), "tokenize", "-m", path, "-f", file.name, "--lines",
                              "--json", *options], capture_output=True, text=True, encoding="utf-8")
    if got.returncode:
        sys.exit(got.stderr)
    return [json.loads(line) for line in got.stdout.split("\n")[:-1]]


def from_gguf(path, folder):
    import make
    out = os.path.join(folder, os.path.basename(path) + ".json")
    make.hugging_face(path).save(out)
    return out


def protobuf(data):
    """(field, value) of a message: integers, bytes."""
    def varint(i):
        value = shift = 0
        while True:
            byte = data[i]
            value |= (byte & 127) << shift
            shift, i = shift + 7, i + 1
            if byte < 128:
                return value, i

    i = 0
    while i < len(data):
        key, i = varint(i)
        if key & 7 == 0:
            value, i = varint(i)
        else:
            size, i = varint(i) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], i)
            value, i = data[i:i + size], i + size
        yield key >> 3, value


def from_sentencepiece(rule, folder):
    """The tokenizer.json that converters write for a model that is trained here."""
    import sentencepiece
    prefix, text = os.path.join(folder, rule), os.path.join(folder, "text")
    with open(text, "w", encoding="ascii") as file:
        file.write("\n".join(t for t in line_maker.make(3000, seed=7) if t.isascii() and t.strip()))
    sentencepiece.SentencePieceTrainer.train(input=text, model_prefix=prefix, vocab_size=400, minloglevel=2,
                                             normalization_rule_name=rule)
    pieces, charsmap = [], b""
    with open(prefix + ".model", "rb") as file:
        for field, value in protobuf(file.read()):
            inner = dict(protobuf(value)) if field in (1, 3) else {}
            if field == 1:
                pieces.append([inner[1].decode(), struct.unpack("<f", inner.get(2, bytes(4)))[0]])
            charsmap = inner.get(2, charsmap) if field == 3 else charsmap
    space = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    spec = whole({"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False}, pre_tokenizer=space,
                 decoder=space, added_tokens=[added(i, pieces[i][0], special=True) for i in range(3)],
                 normalizer={"type": "Sequence", "normalizers": [
                     {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
                     {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]})
    with open(prefix + ".json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return prefix + ".json"


def compare(path, lines, folder):
    if path.endswith(".gguf"):
        path = from_gguf(path, folder)
    file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
    tok = Tokenizer.from_file(file)
    tok.no_truncation()
    tok.no_padding()
    differ = 0
    want = [tok.encode(t).ids for t in lines]
    plain = [tok.encode(t, add_special_tokens=False).ids for t in lines]
    decoded = [tok.decode(i, skip_special_tokens=False) for i in want]
    same = sum(tok.decode(i, skip_special_tokens=False) == t for i, t in zip(plain, lines))
    # With ids of no tokens the line is empty: such are left out.
    rows = [i for i, ids in enumerate(want) if ids]
    texts = run(file, [",".join(map(str, want[i])) for i in rows], "--decode")
    for what, ours, theirs in (("ids", [r["ids"] for r in run(file, lines)], want),
                               ("ids without specials", [r["ids"] for r in run(file, lines, "--no-bos")], plain),
                               ("text", [t["text"] for t in texts], [decoded[i] for i in rows])):
        bad = [i for i in range(len(theirs)) if ours[i] != theirs[i]]
        for i in bad[:5]:
            print("%s: %s of line %r: got %r, want %r" % (path, what, lines[i], ours[i], theirs[i]))
        differ += len(bad)
    print("%s: %d lines, %d tokens, %d differences; decode(encode(x)) = x for %d of the library's lines" %
          (os.path.basename(path), len(lines), sum(map(len, want)), differ, same))
    return differ


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=int, metavar="N", help="compare N new lines with build/mlxn, write nothing")
    parser.add_argument("--sentencepiece", action="store_true", help="with --full: compare SentencePiece's maps")
    parser.add_argument("--tables", action="store_true", help="print the tables of src/lm/tok_tables.c")
    parser.add_argument("paths", nargs="*", help="tokenizer.json files or folders (default: the four)")
    args = parser.parse_args()
    if args.tables:
        tables()
        return 0
    if not args.full:
        make_files()
        return 0
    paths = args.paths or [os.path.join(OUT, n + ".json") for n in ("bytebpe", "fallback", "wordpiece", "unigram")]
    lines = line_maker.make(args.full, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        if args.sentencepiece:
            paths = [from_sentencepiece(rule, folder) for rule in ("nmt_nfkc", "nmt_nfkc_cf", "nfkc", "nfkc_cf")]
        return 1 if sum(compare(path, lines, folder) for path in paths) else 0


sys.exit(main())
