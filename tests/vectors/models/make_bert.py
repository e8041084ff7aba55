#!/usr/bin/env python3
"""Makes bert.json, bert-prefix.json, roberta.json and xlm-roberta.json: what Hugging Face transformers computes in float32 for tiny random models. By
hand, as make_models.py beside it, whose weights and form of files these are too; instead of `logits` there are `texts`
(lists of ids), `mean` and `cls`: for each text the mean of the last hidden states, and the first of them.
"""

import json
import os
import sys

import numpy
import torch
import transformers

from make_models import gauss, rounded

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, LENGTHS = 96, [1, 5, 17, 40, 3]
BASE = {
    "model_type": "bert",
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
MODELS = {
    "bert": (BASE, "", "F32"),
    "roberta": (dict(BASE, model_type="roberta", type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1), "roberta.", "F32"),
    "xlm-roberta": (dict(BASE, model_type="xlm-roberta", type_vocab_size=1, pad_token_id=3), "", "BF16"),
    "bert-prefix": (dict(BASE, hidden_act="gelu_new", layer_norm_eps=1e-5, num_attention_heads=2), "bert.", "F16"),
}


def distribution(name, dims):
    if "LayerNorm.weight" in name:
        return 1.0, 0.2
    if len(dims) == 1:
        return 0.0, 0.2
    return 0.0, 1.0 if "embeddings" in name else 1.5 / dims[-1] ** 0.5


def make(name, config, prefix, dtype):
    pad = config.get("pad_token_id", -1)
    kind = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}[config["model_type"]]
    made = getattr(transformers, kind + "Config")(**{k: v for k, v in config.items() if k != "model_type"})
    model = getattr(transformers, kind + "Model")(made, add_pooling_layer=False).float().eval()
    tensors, state = [], model.state_dict()
    for key, old in state.items():
        if "position_ids" in key:
            continue
        dims, stored = list(old.shape), prefix + key
        mean, spread = distribution(key, dims)
        values = (mean + spread * gauss(stored, int(numpy.prod(dims)))).astype(numpy.float32)
        state[key] = rounded(torch.tensor(values.reshape(dims)), dtype)
        tensors.append([stored, dims, dtype, mean, spread])
    model.load_state_dict(state)
    texts = [[(i * i * 5 + 11 * i + 7 * k) % VOCAB for i in range(n)] for k, n in enumerate(LENGTHS)]
    texts = [[pad + 1 if i == pad else i for i in ids] for ids in texts]  # padding has a position of its own
    with torch.no_grad():
        hidden = [model(torch.tensor([ids])).last_hidden_state[0].double() for ids in texts]
    result = {
        "transformers": transformers.__version__,
        "config": config,
        "tensors": tensors,
        "texts": texts,
        "mean": [[float("%.8g" % x) for x in h.mean(0)] for h in hidden],
        "cls": [[float("%.8g" % x) for x in h[0]] for h in hidden],
    }
    path = os.path.join(HERE, name + ".json")
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(result, stream, separators=(",", ":"))
        stream.write("\n")
    print("%s: %d tensors, %d bytes, largest %.3f" % (name, len(tensors), os.path.getsize(path), max(float(h.abs().max()) for h in hidden)))


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MODELS:
        make(wanted, *MODELS[wanted])
