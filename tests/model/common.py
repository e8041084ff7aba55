"""What the model tests share: the tally, where the program and the models are, and logits files. Standard library
only."""

import array
import json
import math
import mmap
import operator
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
VECTORS = os.path.join(ROOT, "tests", "vectors")
USUAL = ["smollm2", "gemma3-270m"]
LARGE = ["qwen2.5-1.5b"]


class Tally:
    """One line per check, in order, and the sum at the end."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def ok(self, name, note=""):
        self.passed += 1
        print("ok %s%s" % (name, ": " + note if note else ""), flush=True)

    def fail(self, name, why):
        self.failed += 1
        print("FAIL %s: %s" % (name, why), flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print("skip %s: %s" % (name, why), flush=True)

    def check(self, name, good, note):
        (self.ok if good else self.fail)(name, note)

    def finish(self):
        print("%d passed, %d failed, %d skipped" % (self.passed, self.failed, self.skipped))
        return 1 if self.failed else 0


class ProgramError(Exception):
    """The program ended with a code that a test did not expect."""


class Program:
    def __init__(self, path):
        self.path = os.path.abspath(path)
        if not os.access(self.path, os.X_OK):
            raise SystemExit("%s: no such program; build it first, or name it with --mlxn" % self.path)

    def run(self, *words):
        """stdout of a run that must succeed."""
        command = [self.path] + [str(word) for word in words]
        # MLXN_* would change what is tested.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MLXN_")}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean)
        if done.returncode != 0:
            shown = " ".join(word if len(word) < 60 else word[:50] + "..." for word in command[1:])
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise ProgramError(
                "`mlxn %s`: exit code %d: %s" % (shown, done.returncode, lines[-1] if lines else "(silent)")
            )
        return done.stdout.decode()

    def json(self, *words):
        return json.loads(self.run(*words))


def model_path(name, folder):
    """The path that tools/get-model prints; None with its message on stderr if there is no such model."""
    command = [os.path.join(ROOT, "tools", "get-model"), name] + (["--dir", folder] if folder else [])
    done = subprocess.run(command, stdout=subprocess.PIPE)
    return done.stdout.decode().rstrip("\n") if done.returncode == 0 else None


def add_options(parser):
    parser.add_argument(
        "--mlxn", default=os.path.join(ROOT, "build", "mlxn"), help="the program (default: build/mlxn)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only this model: " + ", ".join(USUAL + LARGE))
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help="the same; may be repeated")
    parser.add_argument("--all", action="store_true", help="the large models too")
    parser.add_argument("--models", help="folder of the models (default: models/)")


def chosen_models(options, tally):
    """(name, path) of each model to test. One that cannot be had counts as failed; a large one that is left out,
    without having been left out by name, as skipped."""
    named = options.names + options.model
    for name in named:
        if name not in USUAL + LARGE:
            raise SystemExit("no model is called '%s'; known: %s" % (name, ", ".join(USUAL + LARGE)))
    if not named and not options.all:
        for name in LARGE:
            tally.skip(name, "takes long; --all runs it")
    for name in named or USUAL + (LARGE if options.all else []):
        path = model_path(name, options.models)
        if path is None:
            tally.fail(name, "tools/get-model could not provide the model")
        else:
            yield name, path


class Logits:
    """A float32 .npy file of [positions, vocabulary]: rows are read one at a time."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as stream:
            self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        if self.data[:8] != b"\x93NUMPY\x01\x00":
            raise ProgramError("%s is no .npy file of version 1.0" % path)
        self.start = 10 + int.from_bytes(self.data[8:10], "little")
        header = self.data[10 : self.start].decode("latin-1")
        shape = re.search(r"'shape': \((\d+), (\d+)\)", header)
        if "'<f4'" not in header or "'fortran_order': False" not in header or not shape:
            raise ProgramError("%s: header is %r" % (path, header))
        self.rows, self.columns = int(shape[1]), int(shape[2])
        if len(self.data) != self.start + 4 * self.rows * self.columns:
            raise ProgramError("%s: %d bytes do not hold %d x %d" % (path, len(self.data), self.rows, self.columns))

    def row(self, i):
        at = self.start + 4 * self.columns * i
        row = array.array("f", self.data[at : at + 4 * self.columns])
        if sys.byteorder == "big":
            row.byteswap()
        return row

    def bytes(self):
        return self.data[self.start :]

    def remove(self):
        self.data.close()
        os.remove(self.path)


def argmax(row):
    best = max(row)
    return row.index(best)


def finite(row):
    return math.isfinite(sum(row))


def distance(a, b):
    """The largest difference between two rows; NaN counts as infinite."""
    worst = max(map(abs, map(operator.sub, a, b)))
    return worst if finite(a) and finite(b) else math.inf


def nll(row, token):
    """-log softmax(row)[token]"""
    top = max(row)
    return top + math.log(sum(map(math.exp, map((-top).__add__, row)))) - row[token]


class Stopwatch:
    def __init__(self):
        self.begun = time.monotonic()

    def __str__(self):
        return "%.1f s" % (time.monotonic() - self.begun)
