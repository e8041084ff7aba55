#!/usr/bin/env python3
"""Makes NAME.json for each model: what a float32 evaluation of a GGUF file's dequantized weights by Hugging Face
transformers says about six prompts and about text.txt. By hand, when a prompt, the text or a model changes:

    python3 -m venv V && V/bin/pip install torch transformers accelerate gguf tokenizers
    V/bin/python tests/vectors/model/make.py --models models [--name NAME ...] [--peer BIN]

Before anything is stored every weight that transformers loaded is compared, bit for bit, with the gguf package's
dequantization under this script's own name map (Llama's Q and K rows reordered, Gemma's norms minus one), and the
configuration with the file's keys. --peer names the folder of a llama.cpp build's programs: llama-perplexity then
runs over text.txt in windows of 512 and its result is printed beside this evaluation's of the same windows.

In a stored file: `prompts`, each with `text`, `ids` (no BOS added to the chat form that has its own),
`continuation` (48 greedy ids, end tokens not heeded), `top2` for every position of ids + continuation but the last,
as [id, logit, id, logit], and `top10`, the ten best [id, logit] after the last prompt token; `nll`: the ids of
text.txt (BOS first where the model adds one), the mean over the scored tokens (all but the first) and each one's
own, in nats.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy
import torch
from gguf import GGUFReader, dequantize
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tokenizer"))
import make as tokenizer_vectors  # noqa: E402

CONTINUATION = 48

STORY = """Every evening at nine the lighthouse keeper climbed the ninety-six steps, wound the clockwork, trimmed the
lamp and wrote one line into a grey book: the wind, the height of the waves, the ships. Most lines were alike. On the third
of March, though, the line ran over the page and down the margin, because a whale had come so close that the beam"""

CODE = """# Returns the n-th Fibonacci number without recursion.
def fibonacci(n):
    if n < 0:
        raise ValueError("n must not be negative")
    a, b = 0, 1
    for"""

CJK = "请用简单的中文介绍一下长城：长城是中国古代"

MIXED = "Drei Dinge braucht man für eine gute Suppe: "

LIST = """City, country, river
Paris, France, Seine
London, England, Thames
Vienna, Austria, Danube
Cairo,"""

QUESTION = "Why is the sky blue? Answer in two sentences."

CHAT = {
    "smollm2": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n" + QUESTION + "<|im_end|>\n<|im_start|>assistant\n",
    "gemma3-270m": "<bos><start_of_turn>user\n" + QUESTION + "<end_of_turn>\n<start_of_turn>model\n",
    "qwen2.5-1.5b": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n" + QUESTION + "<|im_end|>\n<|im_start|>assistant\n",
}


def own_weights(path):
    """Name and float32 value of every weight as transformers should hold it, and the file's keys."""
    reader = GGUFReader(path)
    keys = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("tokenizer.ggml.t")}
    arch = keys["general.architecture"]
    layer = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
    }
    if arch == "gemma3":
        layer.update(
            {
                "post_attention_norm": "post_attention_layernorm",
                "ffn_norm": "pre_feedforward_layernorm",
                "post_ffw_norm": "post_feedforward_layernorm",
            }
        )
    for tensor in reader.tensors:
        value = dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1]).astype(numpy.float32)
        block = re.match(r"blk\.(\d+)\.(\w+)\.(weight|bias)$", tensor.name)
        if block:
            name = "model.layers.%s.%s.%s" % (block[1], layer[block[2]], block[3])
        else:
            name = {
                "token_embd.weight": "model.embed_tokens.weight",
                "output_norm.weight": "model.norm.weight",
                "output.weight": "lm_head.weight",
            }[tensor.name]
        if arch == "gemma3" and tensor.name.endswith("norm.weight"):
            value = value - numpy.float32(1)
        if arch == "llama" and block and block[2] in ("attn_q", "attn_k"):
            heads = keys["llama.attention.head_count" + ("_kv" if block[2] == "attn_k" else "")]
            pairs = value.reshape(heads, value.shape[0] // heads // 2, 2, value.shape[1])
            value = pairs.swapaxes(1, 2).reshape(value.shape)
        yield name, value, keys


def check_loading(model, path):
    state = dict(model.state_dict())
    for name, value, keys in own_weights(path):
        found = state.pop(name)
        if found.dtype != torch.float32 or not torch.equal(found, torch.from_numpy(numpy.ascontiguousarray(value))):
            raise SystemExit("%s: transformers holds another %s" % (path, name))
    tied = state.pop("lm_head.weight", None)
    if state or (tied is not None and tied.data_ptr() != model.get_input_embeddings().weight.data_ptr()):
        raise SystemExit("%s: not from the file: %s" % (path, sorted(state) or "lm_head.weight"))
    config, arch = model.config, keys["general.architecture"]
    rope = keys[arch + ".rope.freq_base"]
    want = {
        "num_hidden_layers": keys[arch + ".block_count"],
        "num_attention_heads": keys[arch + ".attention.head_count"],
        "num_key_value_heads": keys[arch + ".attention.head_count_kv"],
        "rms_norm_eps": keys[arch + ".attention.layer_norm_rms_epsilon"],
    }
    if arch == "gemma3":
        want.update(
            {
                "sliding_window": keys["gemma3.attention.sliding_window"],
                "head_dim": keys["gemma3.attention.key_length"],
                "query_pre_attn_scalar": keys["gemma3.attention.key_length"],
                "attn_logit_softcapping": None,
                "final_logit_softcapping": None,
                "hidden_activation": "gelu_pytorch_tanh",
                "layer_types": ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(18)],
            }
        )
        bases = {kind: value["rope_theta"] for kind, value in config.rope_parameters.items()}
        if bases != {"sliding_attention": 10000.0, "full_attention": rope}:
            raise SystemExit("%s: rope bases are %s" % (path, bases))
        if abs(float(model.model.embed_tokens.embed_scale) - config.hidden_size**0.5) > 1e-5:
            raise SystemExit("%s: embedding scale is %s" % (path, model.model.embed_tokens.embed_scale))
    elif config.rope_parameters["rope_theta"] != rope:
        raise SystemExit("%s: rope base is %s" % (path, config.rope_parameters))
    for key, value in want.items():
        if getattr(config, key) != value:
            raise SystemExit("%s: %s is %s, want %s" % (path, key, getattr(config, key), value))
    return keys


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def greedy(model, ids):
    result, cache, step = [], None, torch.tensor([ids])
    with torch.no_grad():
        for _ in range(CONTINUATION):
            out = model(step, past_key_values=cache, use_cache=True)
            cache, token = out.past_key_values, int(out.logits[0, -1].argmax())
            result.append(token)
            step = torch.tensor([[token]])
    return result


def best(row, count):
    values, ids = row.topk(count)
    return [[int(i), round(float(v), 4)] for i, v in zip(ids, values)]


def losses(model, ids):
    rows = logits_of(model, ids)[:-1].double()
    return torch.nn.functional.cross_entropy(rows, torch.tensor(ids[1:]), reduction="none")


def compare_peer(model, name, path, ids, bos, program):
    """llama-perplexity scores the second half of each full window; BOS takes the place of a window's first token."""
    total, count = 0.0, 0
    for start in range(0, len(ids) // 512 * 512, 512):
        window = ([bos] if bos is not None else [ids[start]]) + ids[start + 1 : start + 512]
        part = losses(model, window)[256:]
        total, count = total + float(part.sum()), count + len(part)
    out = subprocess.run(
        [program, "-m", path, "-f", os.path.join(HERE, "text.txt"), "-c", "512", "-b", "512", "-t", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout.decode()
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", out)
    print(
        "%s: windows of 512: PPL %.4f here, %s by llama-perplexity"
        % (name, numpy.exp(total / count), found[1] if found else "none:\n" + out[-2000:]),
        flush=True,
    )


def make(name, options):
    path = os.path.join(options.models, name + ".gguf")
    model = AutoModelForCausalLM.from_pretrained(
        options.models, gguf_file=name + ".gguf", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    keys = check_loading(model, path)
    bos = keys["tokenizer.ggml.bos_token_id"] if keys["tokenizer.ggml.add_bos_token"] else None
    tokenizer = tokenizer_vectors.hugging_face(path)

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    prompts = []
    for label, text in [
        ("story", STORY.replace("\n", " ")),
        ("code", CODE),
        ("cjk", CJK),
        ("mixed", MIXED),
        ("list", LIST),
        ("chat", CHAT[name]),
    ]:
        ids = encode(text)
        if bos is not None and ids[0] != bos:
            ids = [bos] + ids
        continuation = greedy(model, ids)
        rows = logits_of(model, ids + continuation[:-1])
        for i, token in enumerate(continuation):
            top = best(rows[len(ids) - 1 + i], 2)
            if top[0][0] != token and top[0][1] - top[1][1] > 1e-3:
                raise SystemExit("%s: %s: the cached and the whole evaluation differ at %d" % (name, label, i))
        prompts.append(
            {
                "name": label,
                "text": text,
                "ids": ids,
                "continuation": continuation,
                "top2": [sum(best(row, 2), []) for row in rows],
                "top10": best(rows[len(ids) - 1], 10),
            }
        )
        print("%s: %s: %d tokens, then %r" % (name, label, len(ids), tokenizer.decode(continuation)), flush=True)
    with open(os.path.join(HERE, "text.txt"), encoding="utf-8") as stream:
        plain = encode(stream.read())
    ids = ([bos] if bos is not None else []) + plain
    each = losses(model, ids)
    print("%s: %d tokens, mean NLL %.6f" % (name, len(ids), float(each.mean())), flush=True)
    if options.peer:
        compare_peer(model, name, path, ids, bos, os.path.join(options.peer, "llama-perplexity"))
    data = {
        "model": name,
        "bos": bos,
        "prompts": prompts,
        "nll": {"ids": ids, "mean": round(float(each.mean()), 7), "each": [round(float(v), 5) for v in each]},
    }
    with tempfile.NamedTemporaryFile("w", dir=HERE, delete=False) as out:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        out.write(text.replace('{"name"', '\n{"name"').replace('"nll"', '\n"nll"') + "\n")
    os.chmod(out.name, 0o644)
    os.rename(out.name, os.path.join(HERE, name + ".json"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", required=True)
    parser.add_argument("--name", action="append", choices=tokenizer_vectors.MODELS)
    parser.add_argument("--peer")
    options = parser.parse_args()
    for name in options.name or tokenizer_vectors.MODELS:
        make(name, options)


if __name__ == "__main__":
    main()
