"""The checks of one model against its stored vectors (tests/vectors/model/NAME.json), for tests/model/run and
tests/model/folders. Standard library only."""

import gzip
import itertools
import json
import os

from common import Logits, ProgramError, Stopwatch, VECTORS, argmax, distance, finite, nll

# What a difference may be: `gap` for a top-2 difference below which another argmax counts as a tie and for the top
# logits, `nll` for the mean NLL of the text, `step` and `step_nll` for a prompt at once against token by token.
BOUNDS = {
    "f32": {"gap": 0.02, "nll": 0.001, "step": 1e-3, "step_nll": 1e-3},
    "fast": {"gap": 0.5, "nll": 0.01, "step": 0.3, "step_nll": 0.005},
}


def words(ids):
    return ",".join(map(str, ids))


class ModelTest:
    def __init__(self, tally, program, name, path, folder):
        self.tally, self.program, self.name, self.path, self.folder = tally, program, name, path, folder
        with open(os.path.join(VECTORS, "model", name + ".json"), encoding="utf-8") as stream:
            self.vectors = json.load(stream)
        self.numbers = itertools.count()

    def guard(self, name, function, *arguments):
        """Runs a check; a program that does not do what it should is that check's failure."""
        name = "%s %s" % (self.name, name)
        watch = Stopwatch()
        try:
            good, note = function(*arguments)
        except (ProgramError, ValueError, KeyError, OSError) as error:
            good, note = False, str(error)
        self.tally.check(name, good, "%s (%s)" % (note, watch))

    def logits(self, ids, precision, *more, threads=2):
        path = os.path.join(self.folder, "logits-%d.npy" % next(self.numbers))
        self.program.run(
            "logits",
            "-m",
            self.path,
            "--ids",
            "-p",
            words(ids),
            "--precision",
            precision,
            "-t",
            threads,
            "-c",
            len(ids) + 1,
            "--all",
            path,
            "--json",
            "-q",
            *more
        )
        logits = Logits(path)
        if logits.rows != len(ids):
            raise ProgramError("logits --all wrote %d positions, want %d" % (logits.rows, len(ids)))
        return logits

    # ---- tokenizer ----

    def token_lines(self):
        """llama.cpp's ids; the few lines where Hugging Face tokenizers differ from it are listed in the vectors."""
        folder = os.path.join(VECTORS, "tokenizer")
        with gzip.open(os.path.join(folder, "ids-%s.json.gz" % self.name)) as stream:
            stored = json.load(stream)
        out = self.program.run(
            "tokenize", "-m", self.path, "-f", os.path.join(folder, "lines.txt"), "--lines", "--json", "--no-bos"
        )
        found = [json.loads(line)["ids"] for line in out.splitlines()]
        want = stored["ids"]
        if len(found) != len(want):
            return False, "%d results for %d lines" % (len(found), len(want))
        wrong = [i for i, ids in enumerate(found) if ids != want[i]]
        if wrong:
            i = wrong[0]
            same = len(os.path.commonprefix([found[i], want[i]]))
            return False, "%d of %d lines differ; line %d of lines.txt, token %d: got %s, want %s" % (
                len(wrong),
                len(want),
                i + 1,
                same,
                found[i][same : same + 6],
                want[i][same : same + 6],
            )
        return True, "%d lines" % len(want)

    def token_text(self):
        text = os.path.join(VECTORS, "model", "text.txt")
        found = self.program.json("tokenize", "-m", self.path, "-f", text, "--json")["ids"]
        want = self.vectors["nll"]["ids"]
        same = len(os.path.commonprefix([found, want]))
        return found == want, "%d tokens, BOS as the model says, %d alike from the start" % (len(found), same)

    def token_prompts(self):
        for prompt in self.vectors["prompts"]:
            found = self.program.json("tokenize", "-m", self.path, "-p", prompt["text"], "--no-bos", "--json")["ids"]
            want = prompt["ids"]
            # The stored ids begin with BOS where the model adds it; the chat prompt has it in its text.
            if found != want and [self.vectors["bos"]] + found != want:
                return False, "prompt %s: got %s, want %s" % (prompt["name"], found, want)
        return True, "%d prompts" % len(self.vectors["prompts"])

    # ---- against the float32 evaluation ----

    def teacher_forced(self, prompt, precision):
        gap = BOUNDS[precision]["gap"]
        ids = prompt["ids"] + prompt["continuation"][:-1]
        logits = self.logits(ids, precision)
        ties = 0
        worst = 0.0
        for i, (first, first_logit, second, second_logit) in enumerate(prompt["top2"]):
            row = logits.row(i)
            if not finite(row):
                return False, "position %d: a logit is no finite number" % i
            worst = max(worst, abs(row[first] - first_logit), abs(row[second] - second_logit))
            best = argmax(row)
            if best == first:
                continue
            if first_logit - second_logit >= gap:
                return False, "position %d: argmax is %d (%.4f), want %d (%.4f), which leads %d by %.4f" % (
                    i,
                    best,
                    row[best],
                    first,
                    row[first],
                    second,
                    first_logit - second_logit,
                )
            ties += 1
        logits.remove()
        return True, "%d positions, %d near ties fell otherwise, top logits differ by at most %.4f" % (
            len(prompt["top2"]),
            ties,
            worst,
        )

    def top_ten(self, prompt, precision):
        bound = BOUNDS[precision]["gap"]
        out = self.program.json(
            "logits",
            "-m",
            self.path,
            "--ids",
            "-p",
            words(prompt["ids"]),
            "--top",
            20,
            "--json",
            "-t",
            2,
            "--precision",
            precision,
            "-q",
        )
        found = {entry["id"]: entry["logit"] for entry in out["top"]}
        if len(out["top"]) != 20 or [e["logit"] for e in out["top"]] != sorted(found.values(), reverse=True):
            return False, "--top 20 printed %d entries, or not the largest first" % len(out["top"])
        worst = 0.0
        for token, logit in prompt["top10"]:
            if token not in found:
                return False, "token %d (%.4f) is not among our 20 best" % (token, logit)
            worst = max(worst, abs(found[token] - logit))
        return worst <= bound, "largest difference %.4f, may be %.2f" % (worst, bound)

    def greedy(self, prompt, precision):
        want = prompt["continuation"]
        out = self.program.json(
            "generate",
            "-m",
            self.path,
            "--ids",
            "-p",
            words(prompt["ids"]),
            "-n",
            len(want),
            "--temp",
            0,
            "--ignore-eos",
            "--json",
            "-t",
            2,
            "--precision",
            precision,
            "-q",
        )
        if out["prompt_ids"] != prompt["ids"] or len(out["ids"]) != len(want) or out["finish_reason"] != "length":
            return False, "%d ids for -n %d, finish_reason %s" % (len(out["ids"]), len(want), out["finish_reason"])
        same = len(os.path.commonprefix([out["ids"], want]))
        if same == len(want):
            return True, "all %d tokens" % same
        _, first, _, second = prompt["top2"][len(prompt["ids"]) - 1 + same]
        return first - second < BOUNDS[precision][
            "gap"
        ], "%d of %d tokens, then another where the best two differ by %.4f" % (same, len(want), first - second)

    def perplexity(self, precision):
        stored, bound = self.vectors["nll"], BOUNDS[precision]["nll"]
        each = os.path.join(self.folder, "each")
        out = self.program.json(
            "perplexity",
            "-m",
            self.path,
            "-f",
            os.path.join(VECTORS, "model", "text.txt"),
            "-c",
            2048,
            "--json",
            "--per-token",
            each,
            "-t",
            2,
            "--precision",
            precision,
            "-q",
        )
        with open(each) as stream:
            lines = [line.split() for line in stream]
        if [int(line[1]) for line in lines] != stored["ids"][1:] or out["scored"] != len(stored["each"]):
            return False, "%d tokens were scored, want %d; or others" % (out["scored"], len(stored["each"]))
        worst = max(abs(float(line[2]) - want) for line, want in zip(lines, stored["each"]))
        mean = sum(float(line[2]) for line in lines) / len(lines)
        if abs(mean - out["nll"]) > 1e-5:
            return False, "nll is %.6f, the mean of --per-token %.6f" % (out["nll"], mean)
        return abs(
            out["nll"] - stored["mean"]
        ) <= bound, "mean %.6f over %d tokens, want %.6f within %g; one token: %.4f" % (
            out["nll"],
            out["scored"],
            stored["mean"],
            bound,
            worst,
        )

    # ---- against itself ----

    def step_by_step(self, precision):
        """On enough of the text to pass a sliding window of 512, and on all of it where the vocabulary is small."""
        bounds, ids = BOUNDS[precision], self.vectors["nll"]["ids"][:600]
        at_once = self.logits(ids, precision)
        by_step = self.logits(ids, precision, "--step-by-step")
        worst, means = 0.0, [0.0, 0.0]
        for i in range(len(ids)):
            a, b = at_once.row(i), by_step.row(i)
            if a != b or not finite(a):
                worst = max(worst, distance(a, b))
            if i + 1 < len(ids):
                score = nll(a, ids[i + 1])
                means[0] += score / (len(ids) - 1)
                means[1] += (score if a == b else nll(b, ids[i + 1])) / (len(ids) - 1)
        at_once.remove()
        by_step.remove()
        off = abs(means[0] - means[1])
        return worst <= bounds["step"] and off <= bounds["step_nll"], (
            "%d positions: logits within %.6f (may be %g), mean NLL within %.6f (may be %g)"
            % (len(ids), worst, bounds["step"], off, bounds["step_nll"])
        )

    def same_bits(self, precision):
        story = self.vectors["prompts"][0]
        ids = story["ids"] + story["continuation"]
        for more, length in [([], len(ids)), (["--step-by-step"], 24)]:
            first = self.logits(ids[:length], precision, *more, threads=2)
            want = first.bytes()
            for threads in (2, 1):
                again = self.logits(ids[:length], precision, *more, threads=threads)
                if again.bytes() != want:
                    rows = [i for i in range(length) if again.row(i) != first.row(i)]
                    return False, "%s%d thread(s): %d of %d positions differ from the first run, the first is %s" % (
                        " ".join(more + [""]),
                        threads,
                        len(rows),
                        length,
                        rows[:1],
                    )
                again.remove()
            first.remove()
        return True, "%d positions at once and 24 token by token, 1 and 2 threads, two runs" % len(ids)

    def run(self):
        self.guard("tokenize: 1,000 lines", self.token_lines)
        self.guard("tokenize: a text", self.token_text)
        self.guard("tokenize: prompts", self.token_prompts)
        for precision in ("fast", "f32"):
            for prompt in self.vectors["prompts"]:
                self.guard("%s argmax: %s" % (precision, prompt["name"]), self.teacher_forced, prompt, precision)
                self.guard("%s top 10: %s" % (precision, prompt["name"]), self.top_ten, prompt, precision)
            for prompt in self.vectors["prompts"][:2] + self.vectors["prompts"][-1:]:
                self.guard("%s generate: %s" % (precision, prompt["name"]), self.greedy, prompt, precision)
            self.guard("%s perplexity" % precision, self.perplexity, precision)
            self.guard("%s prompt at once and by steps" % precision, self.step_by_step, precision)
            self.guard("%s same bits" % precision, self.same_bits, precision)
