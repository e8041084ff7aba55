"""ggml's own operations on NumPy arrays, by ctypes from the library that the PyPI package xllamacpp carries. Used by
make_peers.py. ggml counts dims from the fastest one, so a NumPy array of dims [a, b, c] is one of ne = [c, b, a]."""

import ctypes
import importlib.metadata
from ctypes import c_bool, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np

NAME = f"ggml {importlib.metadata.version('xllamacpp')}"
# beside the package, which need not be imported
FILE = next(Path(importlib.metadata.distribution("xllamacpp").locate_file("xllamacpp")).glob("*.so"))
LIB = ctypes.CDLL(str(FILE))
TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.int32): 26, np.dtype(np.int64): 27}


class InitParams(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("memory", c_void_p), ("no_alloc", c_bool)]


def function(name, result, *arguments):
    fn = getattr(LIB, "ggml_" + name)
    fn.restype, fn.argtypes = result, arguments
    return fn


init = function("init", c_void_p, InitParams)
free = function("free", None, c_void_p)
new_tensor = function("new_tensor", c_void_p, c_void_p, c_int, c_int, ctypes.POINTER(c_int64))
get_data = function("get_data", c_void_p, c_void_p)
nbytes = function("nbytes", c_size_t, c_void_p)
new_graph = function("new_graph", c_void_p, c_void_p)
expand = function("build_forward_expand", None, c_void_p, c_void_p)
compute = function("graph_compute_with_ctx", c_int, c_void_p, c_void_p, c_int)


def call(name, *arguments, dtype=np.float32):
    """ggml_NAME of arrays (tensors) and Python numbers (int, float) in their order; the result's elements, flat."""
    context = init(InitParams(64 << 20, None, False))
    given, kinds = [], []
    for a in arguments:
        if isinstance(a, np.ndarray):
            dims = (c_int64 * a.ndim)(*reversed(a.shape))
            tensor = new_tensor(context, TYPES[a.dtype], a.ndim, dims)
            ctypes.memmove(get_data(tensor), np.ascontiguousarray(a).ctypes.data, a.nbytes)
            a, kind = tensor, c_void_p
        else:
            kind = c_float if isinstance(a, float) else c_int
        given.append(a)
        kinds.append(kind)
    out = function(name, c_void_p, c_void_p, *kinds)(context, *given)
    graph = new_graph(context)
    expand(graph, out)
    assert compute(context, graph, 1) == 0, name
    result = np.frombuffer(ctypes.string_at(get_data(out), nbytes(out)), dtype).copy()
    free(context)
    return result
