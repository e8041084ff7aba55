#!/usr/bin/env python3
"""Makes qwen3-embedding.json and embeddinggemma.json: what sentence-transformers computes in float32, on Hugging Face
transformers, for tiny random models of the two kinds. By hand, as make_models.py beside it, whose weights and form of
files these are too:

    python3 -m venv V && V/bin/pip install torch transformers sentence-transformers
    V/bin/python tests/vectors/models/make_embed.py [NAME...]

Instead of `logits` there are `files` (path: JSON, beside the model), `dense` (a list of tensors of a file for each
dense layer), `texts` (lists of ids) and `vectors`, one for each text.
"""

import json
import os
import sys
import tempfile

import numpy
import sentence_transformers
import torch
import transformers
from safetensors.torch import save_file

from make_models import GEMMA, base, gauss, rounded

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, LENGTHS = 128, [1, 5, 23, 40, 9]
MODULE = "sentence_transformers.models."


def modules(*kinds):
    return [{"idx": i, "name": str(i), "path": "" if i == 0 else "%d_%s" % (i, kind), "type": MODULE + kind}
            for i, kind in enumerate(kinds)]


def dense(width, out, activation, bias):
    return {"in_features": width, "out_features": out, "bias": bias, "activation_function": activation}


# name: config, class, files, dtype of the model's weights. Names of tensors have no prefix, as the published models have
# them.
MODELS = {
    "qwen3-embedding": (
        base(model_type="qwen3", head_dim=32, rope_theta=1000000, tie_word_embeddings=True),
        "Qwen3Model",
        {
            "modules.json": modules("Transformer", "Pooling", "Normalize"),
            "1_Pooling/config.json": {"word_embedding_dimension": 64, "pooling_mode_cls_token": False,
                                      "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True,
                                      "include_prompt": True},
        },
        "BF16",
    ),
    "embeddinggemma": (
        base(model_type="gemma3_text", num_hidden_layers=7, sliding_window=8, use_bidirectional_attention=True,
             rope_theta=1000000.0, rope_local_base_freq=10000.0, **GEMMA),
        "Gemma3TextModel",
        {
            "modules.json": modules("Transformer", "Pooling", "Dense", "Dense", "Normalize"),
            "1_Pooling/config.json": {"embedding_dimension": 64, "pooling_mode": "mean", "include_prompt": True},
            "2_Dense/config.json": dense(64, 96, "torch.nn.modules.linear.Identity", False),
            "3_Dense/config.json": dense(96, 48, "torch.nn.modules.activation.Tanh", True),
        },
        "F32",
    ),
}


def distribution(name, dims, gemma):
    if len(dims) == 1:
        return 0.0 if gemma else 1.0, 0.125
    if "embed_tokens" in name:
        return 0.0, 0.125 if gemma else 1.0
    return 0.0, 2.5 / dims[-1] ** 0.5


def filled(key, old, mean, spread, dtype):
    values = (mean + spread * gauss(key, int(numpy.prod(old)))).astype(numpy.float32)
    return rounded(torch.tensor(values.reshape(old)), dtype)


def make(name, config, kind, files, dtype):
    made = transformers.AutoConfig.for_model(**config)
    model = getattr(transformers, kind)(made).float().eval()
    tensors, state, layers = [], model.state_dict(), []
    for key, old in state.items():
        mean, spread = distribution(key, list(old.shape), "Gemma" in kind)
        state[key] = filled(key, list(old.shape), mean, spread, dtype)
        tensors.append([key, list(old.shape), dtype, mean, spread])
    model.load_state_dict(state)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokens = {"a%d" % i: i for i in range(VOCAB)}
        from tokenizers import Tokenizer, models
        transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(tokens, unk_token="a0")),
                                             unk_token="a0", pad_token="a0").save_pretrained(folder)
        for path, content in files.items():
            os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(folder, path), "w", encoding="utf-8") as stream:
                json.dump(content, stream)
            if "Dense" not in path:
                continue
            sub, wants = path.split("/")[0], [("linear.weight", [content["out_features"], content["in_features"]])]
            if content["bias"]:
                wants.append(("linear.bias", [content["out_features"]]))
            layer = [["%s.%s" % (sub, key), dims, "F32", 0.0, 0.2 if len(dims) == 1 else 1.5 / dims[-1] ** 0.5]
                     for key, dims in wants]
            save_file({key: filled(t[0], t[1], t[3], t[4], "F32") for (key, _), t in zip(wants, layer)},
                      os.path.join(folder, sub, "model.safetensors"))
            layers.append(layer)
        encoder = sentence_transformers.SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": "float32"}).eval()
        texts = [[(i * i * 5 + 11 * i + 7 * k) % (VOCAB - 3) + 3 for i in range(n)] for k, n in enumerate(LENGTHS)]
        with torch.no_grad():
            vectors = [encoder.forward({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids),
                       dtype=torch.long)})["sentence_embedding"][0].double() for ids in texts]
    result = {
        "transformers": transformers.__version__,
        "sentence_transformers": sentence_transformers.__version__,
        "config": config,
        "files": files,
        "dense": layers,
        "tensors": tensors,
        "texts": texts,
        "vectors": [[float("%.8g" % x) for x in v] for v in vectors],
    }
    path = os.path.join(HERE, name + ".json")
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(result, stream, separators=(",", ":"))
        stream.write("\n")
    spread = max(float((a - b).abs().max()) for a in vectors for b in vectors)
    print("%s: %d tensors, %d bytes, vectors differ by up to %.3f" % (name, len(tensors), os.path.getsize(path), spread))


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MODELS:
        make(wanted, *MODELS[wanted])
