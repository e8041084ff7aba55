"""llama.cpp by ctypes, from the library that the PyPI package xllamacpp carries: a model's log-probabilities for given
tokens, and ggml's encoders of blocks. The parameter structs are taken as llama.cpp fills them, with room for what
versions add; only their first fields are touched, which have not moved for years."""

import ctypes
import importlib.metadata
from ctypes import POINTER, c_char_p, c_float, c_int32, c_int64, c_int8, c_size_t, c_uint32, c_void_p
from pathlib import Path

import numpy as np

VERSION = importlib.metadata.version("xllamacpp")
LIB = ctypes.CDLL(str(next(Path(importlib.metadata.distribution("xllamacpp").locate_file("xllamacpp")).glob("*.so"))))


class Params(ctypes.Structure):
    _fields_ = [("first", c_uint32), ("rest", c_uint32 * 255)]


class Batch(ctypes.Structure):
    _fields_ = [("n", c_int32), ("token", POINTER(c_int32)), ("embd", c_void_p), ("pos", c_void_p),
                ("n_seq_id", c_void_p), ("seq_id", c_void_p), ("logits", POINTER(c_int8))]


def function(name, result, *arguments):
    fn = getattr(LIB, name)
    fn.restype, fn.argtypes = result, arguments
    return fn


QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)(lambda level, text, user: None)
function("llama_log_set", None, c_void_p, c_void_p)(QUIET, None)
function("llama_backend_init", None)()
model_params = function("llama_model_default_params", Params)
context_params = function("llama_context_default_params", Params)
load = function("llama_model_load_from_file", c_void_p, c_char_p, Params)
unload = function("llama_model_free", None, c_void_p)
open_context = function("llama_init_from_model", c_void_p, c_void_p, Params)
close_context = function("llama_free", None, c_void_p)
set_threads = function("llama_set_n_threads", None, c_void_p, c_int32, c_int32)
decode = function("llama_decode", c_int32, c_void_p, Batch)
logits_of = function("llama_get_logits", POINTER(c_float), c_void_p)
vocab_of = function("llama_model_get_vocab", c_void_p, c_void_p)
n_tokens = function("llama_vocab_n_tokens", c_int32, c_void_p)
quantize_chunk = function("ggml_quantize_chunk", c_size_t, c_int32, c_void_p, c_void_p, c_int64, c_int64, c_int64,
                          c_void_p)
row_size = function("ggml_row_size", c_size_t, c_int32, c_int64)


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def log_probabilities(path, ids, threads=1):
    """[len(ids), vocabulary]: after each token, those of the next. Up to 512 tokens."""
    model = load(str(path).encode(), model_params())
    if not model:
        raise OSError(f"llama.cpp does not load {path}")
    params = context_params()
    params.first = 512  # n_ctx
    context = open_context(model, params)
    set_threads(context, threads, threads)
    n = len(ids)
    tokens, wanted = (c_int32 * n)(*ids), (c_int8 * n)(*[1] * n)
    failed = decode(context, Batch(n, tokens, None, None, None, None, wanted))
    if failed:
        raise OSError(f"llama.cpp does not compute {path}: {failed}")
    vocabulary = n_tokens(vocab_of(model))
    logits = np.ctypeslib.as_array(logits_of(context), (n, vocabulary)).copy()
    close_context(context)
    unload(model)
    return log_softmax(logits)


def encode(rows, ggml_type):
    """float32 [n, cols] -> uint8 [n, bytes], each column of the same importance."""
    rows = np.ascontiguousarray(rows, np.float32)
    n, cols = rows.shape
    out = np.zeros((n, row_size(ggml_type, cols)), np.uint8)
    weights = np.ones(cols, np.float32)
    quantize_chunk(ggml_type, rows.ctypes.data, out.ctypes.data, 0, n, cols, weights.ctypes.data)
    return out
