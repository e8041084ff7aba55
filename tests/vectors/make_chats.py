#!/usr/bin/env python3
"""make_chats.py: makes tests/vectors/chat/cases.json, run by hand with jinja2 (3.1.6 made the stored file) and with the
models' files: make_chats.py [FOLDER OF THE MODELS].

Each case is a conversation and the prompt that a template gives for it, rendered as transformers does it: `tools` and
`documents` are None where they are not given, and the tokenizer's special tokens are variables. The templates are
those of jinja/chats.py, written here; of the models' own templates the file has only their SHA-256 and the prompts.
"""
import hashlib
import json
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_jinja  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "chat", "cases.json")
chats = make_jinja.chats
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SIZES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def metadata(path):
    """The keys of a GGUF file."""
    with open(path, "rb") as file:
        def number(form):
            return struct.unpack("<" + form, file.read(struct.calcsize(form)))[0]

        def value(kind):
            if kind == 8:
                return file.read(number("Q"))
            if kind == 9:
                inner, n = number("I"), number("Q")
                return [value(inner) for _ in range(n)]
            return number(SIZES[kind])

        assert file.read(4) == b"GGUF" and number("I") >= 2
        number("Q")
        return {file.read(number("Q")).decode(): value(number("I")) for _ in range(number("Q"))}


def run(env, template, tokens, context):
    own = {k: v for k, v in context.items() if k not in TOKENS}
    case = {"messages": own.pop("messages"), "add_generation_prompt": own.pop("add_generation_prompt", True)}
    if "tools" in own:
        case["tools"] = own.pop("tools")
    if own:
        case["variables"] = own
    seen = {"tools": None, "documents": None, **tokens, **case, **own}
    seen.pop("variables", None)
    try:
        case["output"] = env.from_string(template).render(**seen)
    except Exception as error:  # raise_exception, or what the values do not allow
        case["error"] = str(error)
    return case


def model(env, folder, name):
    keys = metadata(os.path.join(folder, name))
    text = keys["tokenizer.chat_template"].decode()
    tokens = {}
    for variable, key in (("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")):
        token = keys.get("tokenizer.ggml.%s_token_id" % key)
        if token is not None:
            tokens[variable] = keys["tokenizer.ggml.tokens"][token].decode()
    contexts = chats.contexts({"messages": chats.LONG, "add_generation_prompt": False})
    if "tools" in text:
        contexts += chats.contexts({"messages": chats.TOOL, "tools": chats.TOOLS})[-1:]
        contexts.append({"messages": chats.USER, "tools": chats.TOOLS})
    return {"file": name, "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "cases": [run(env, text, tokens, context) for context in contexts]}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "models")
    env = make_jinja.environment()
    families = [{"name": name, "template": template, "cases": [run(env, template, TOKENS, c) for c in contexts]}
                for name, template, contexts in chats.chats()]
    models = [model(env, folder, name) for name in ("smollm2.gguf", "qwen2.5-1.5b.gguf")]
    with open(OUT, "w", encoding="utf-8") as file:
        json.dump({"now": make_jinja.NOW, "families": families, "models": models}, file, ensure_ascii=False, indent=0)
        file.write("\n")
    print("%d prompts" % sum(len(one["cases"]) for one in families + models))


if __name__ == "__main__":
    main()
