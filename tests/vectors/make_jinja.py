#!/usr/bin/env python3
"""make_jinja.py: makes tests/vectors/jinja/cases.json, run by hand with jinja2 (3.1.6 made the stored file).

Each case is a template, a context and what jinja2 gives for it, or the kind of its error. jinja2 is set up as chat
templates are run: an immutable sandbox, trim_blocks, lstrip_blocks, loop controls, the functions raise_exception and
strftime_now, a generation block, and a tojson that leaves HTML and other scripts alone. All templates are written for
this file, those of whole conversations in the manner of the families that they are named after.
"""
import json
import os
import sys
from datetime import datetime, timezone

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "jinja"))
import chats  # noqa: E402
import small  # noqa: E402

NOW = 1721995200  # 26 July 2024, 12:00 UTC
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jinja", "cases.json")


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.fromtimestamp(NOW, timezone.utc).strftime(form)
    return env


def run(env, template, context):
    case = {"template": template, "context": context}
    try:
        case["output"] = env.from_string(template).render(**context)
    except jinja2.exceptions.TemplateSyntaxError as error:
        case["error"], case["line"] = "syntax", error.lineno
    except SyntaxError as error:  # of the Python that a template becomes: loop controls outside a loop
        case["error"], case["line"] = "syntax", error.lineno
    except Exception as error:  # whatever a template's values do
        case["error"], case["message"] = "render", str(error)
    return case


def main():
    env = environment()
    cases = [run(env, t, c) for t, c in small.cases()]
    for name, template, contexts in chats.chats():
        for context in contexts:
            cases.append({"name": name, **run(env, template, context)})
    contexts = []  # many cases share one
    for case in cases:
        if case["context"] not in contexts:
            contexts.append(case["context"])
        case["context"] = contexts.index(case["context"])
    with open(OUT, "w", encoding="utf-8") as file:
        json.dump({"jinja2": jinja2.__version__, "now": NOW, "contexts": contexts, "cases": cases}, file, ensure_ascii=False, indent=0)
        file.write("\n")
    errors = sum("error" in case for case in cases)
    print("%d cases, %d of them errors" % (len(cases), errors))


if __name__ == "__main__":
    main()
