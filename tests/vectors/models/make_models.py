#!/usr/bin/env python3
"""Makes NAME.json for each tiny model below: what Hugging Face transformers computes for it in float32. By hand, when a
model is added or changed:

    python3 -m venv V && V/bin/pip install torch transformers
    V/bin/python tests/vectors/models/make_models.py [NAME...]

A model is a config as its config.json has it, in the old or the new spelling, and random weights: element i of tensor T
is mean + spread * gauss(T, i), a pure function that the test computes too (tests/unit/lm_folder.h), rounded to the
dtype that the folder stores. So no weights are kept.

In a stored file: `config`, `tensors` ([name, dims, dtype, mean, spread], as the folder has them), `ids`, `rows`
(positions) and `logits` (one list for each of them). Prefill and decode of transformers agree before anything is
stored. Where the config is nested or names have a prefix, transformers computes the text model inside.
"""

import copy
import json
import os
import sys

import numpy
import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, LENGTH, ROWS = 128, 44, [0, 1, 7, 8, 9, 15, 16, 17, 30, 42, 43]
MASK = (1 << 64) - 1


def gauss(name, count):
    """Sum of four 16-bit numbers of a hash of name and element, in [-2, 2): exact in float64."""
    seed = 14695981039346656037
    for byte in name.encode():
        seed = ((seed ^ byte) * 1099511628211) & MASK
    with numpy.errstate(over="ignore"):
        x = numpy.uint64(seed) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        x = x ^ (x >> numpy.uint64(31))
    total = sum(((x >> numpy.uint64(s)) & numpy.uint64(0xFFFF)).astype(numpy.float64) for s in (0, 16, 32, 48))
    return (total - 131070.0) / 65536.0


def base(**more):
    config = {
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    config.update(more)
    return config


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.25, 1.5, 1.75],
    "long_factor": [1.0, 2.5, 4.0, 8.5],
}
MOE = {
    "model_type": "qwen3_moe",
    "head_dim": 32,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
DEEPSEEK = {
    "model_type": "deepseek_v2",
    "num_key_value_heads": 4,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "tie_word_embeddings": False,
}
HYBRID = {
    "num_hidden_layers": 4,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "linear_conv_kernel_dim": 4,
    "tie_word_embeddings": False,
}
HYBRID_MOE = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
}
HYBRID_ROPE = {
    "rope_type": "default",
    "rope_theta": 10000000,
    "partial_rotary_factor": 0.25,
    "mrope_interleaved": True,
    "mrope_section": [2, 1, 1],
}
GEMMA = {"head_dim": 32, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 24}

GEMMA4 = {
    "model_type": "gemma4_text",
    "head_dim": 16,
    "global_head_dim": 32,
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 8,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
}

# name: config, and what is special: dtype of the stored weights, a prefix of tensor names, experts stacked in one tensor
# as MLX has them
MODELS = {
    "llama": (
        base(
            model_type="llama",
            hidden_size=128,
            intermediate_size=256,
            rope_theta=5000.0,
            rope_scaling=None,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
            hidden_act="silu",
        ),
        {},
    ),
    "llama3": (base(model_type="llama", rope_parameters=dict(LLAMA3, rope_theta=50000.0), tie_word_embeddings=True), {}),
    "llama3-old": (base(model_type="llama", rope_scaling=LLAMA3, rope_theta=50000.0, tie_word_embeddings=True), {}),
    "llama-linear": (base(model_type="llama", rope_scaling={"type": "linear", "factor": 4.0}), {"dtype": "F16"}),
    "llama-yarn": (
        base(
            model_type="llama",
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "beta_fast": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
        {},
    ),
    "mistral": (base(model_type="mistral", head_dim=32, sliding_window=8, rope_theta=10000.0), {"dtype": "BF16"}),
    "qwen2": (
        base(
            model_type="qwen2",
            rope_theta=1000000.0,
            use_sliding_window=True,
            sliding_window=8,
            max_window_layers=1,
            tie_word_embeddings=True,
        ),
        {"dtype": "BF16"},
    ),
    "qwen3": (base(model_type="qwen3", head_dim=32, rope_parameters={"rope_type": "default", "rope_theta": 1000000}), {}),
    "gpt_oss": (
        base(
            model_type="gpt_oss",
            head_dim=32,
            num_local_experts=6,
            num_experts_per_tok=2,
            sliding_window=8,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 8.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 32,
            },
        ),
        {},
    ),
    "gemma2": (
        base(
            model_type="gemma2",
            sliding_window=8,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=3.0,
            **GEMMA,
        ),
        {},
    ),
    "gemma3": (
        base(
            model_type="gemma3_text",
            num_hidden_layers=7,
            sliding_window=8,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
            **GEMMA,
        ),
        {"dtype": "BF16"},
    ),
    "gemma3-old": (
        {
            "model_type": "gemma3",
            "architectures": ["Gemma3ForConditionalGeneration"],
            "text_config": base(
                model_type="gemma3_text",
                num_hidden_layers=4,
                sliding_window=8,
                sliding_window_pattern=3,
                rope_theta=1000000.0,
                rope_local_base_freq=10000.0,
                rope_scaling={"factor": 8.0, "rope_type": "linear"},
                **GEMMA,
            ),
            "vision_config": {"hidden_size": 32, "model_type": "siglip_vision_model"},
        },
        {"prefix": "language_model."},
    ),
    "gemma4": (  # layers with inputs of their own, shared caches, a window, heads of two lengths
        base(
            num_hidden_layers=7,
            layer_types=(["sliding_attention"] * 2 + ["full_attention"]) * 2 + ["full_attention"],
            hidden_size_per_layer_input=16,
            vocab_size_per_layer_input=VOCAB,
            num_kv_shared_layers=3,
            use_double_wide_mlp=True,
            final_logit_softcapping=50.0,
            **GEMMA4,
        ),
        {"dtype": "BF16"},
    ),
    "gemma4-moe": (  # global layers whose keys are their values, experts
        {
            "model_type": "gemma4",
            "text_config": base(
                num_hidden_layers=4,
                layer_types=["sliding_attention", "full_attention"] * 2,
                hidden_size_per_layer_input=0,
                attention_k_eq_v=True,
                num_global_key_value_heads=1,
                enable_moe_block=True,
                num_experts=8,
                top_k_experts=3,
                moe_intermediate_size=32,
                use_bidirectional_attention="vision",
                **GEMMA4,
            ),
        },
        {"prefix": "model.language_model."},
    ),
    "deepseek_v2": (
        base(
            **DEEPSEEK,
            q_lora_rank=None,
            topk_method="greedy",
            routed_scaling_factor=1.0,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "beta_fast": 4.0,
                "mscale": 0.707,
                "mscale_all_dim": 0.707,
                "original_max_position_embeddings": 32,
            },
        ),
        {},
    ),
    "deepseek_v2-groups": (
        base(
            **DEEPSEEK,
            q_lora_rank=24,
            topk_method="group_limited_greedy",
            n_group=4,
            topk_group=2,
            routed_scaling_factor=2.5,
            rope_theta=10000.0,
        ),
        {"dtype": "BF16", "stacked": True},
    ),
    "qwen3_moe": (base(num_experts=8, norm_topk_prob=False, **MOE), {"dtype": "BF16"}),
    "qwen3_moe-mlx": (base(num_local_experts=8, norm_topk_prob=True, **MOE), {"stacked": True}),
    "qwen3_next": (
        base(
            model_type="qwen3_next",
            rope_theta=10000000,
            partial_rotary_factor=0.5,
            rope_scaling=None,
            full_attention_interval=4,
            decoder_sparse_step=1,
            mlp_only_layers=[],
            norm_topk_prob=True,
            **HYBRID,
            **HYBRID_MOE,
        ),
        {},
    ),
    "qwen3_next-mlx": (
        base(
            model_type="qwen3_next",
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
            layer_types=["linear_attention", "full_attention", "linear_attention", "linear_attention"],
            norm_topk_prob=False,
            **HYBRID,
            **HYBRID_MOE,
        ),
        {"dtype": "BF16", "stacked": True, "mlx": True},
    ),
    "qwen3_5": (
        {
            "model_type": "qwen3_5",
            "architectures": ["Qwen3_5ForConditionalGeneration"],
            "text_config": base(
                model_type="qwen3_5_text",
                attn_output_gate=True,
                rope_parameters=HYBRID_ROPE,
                layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention"],
                **HYBRID,
            ),
            "vision_config": {"hidden_size": 32, "model_type": "qwen3_5_vision"},
        },
        {"dtype": "BF16", "prefix": "model.language_model."},
    ),
    "qwen3_5-mlx": (
        {
            "model_type": "qwen3_5",
            "text_config": base(model_type="qwen3_5_text", rope_parameters=HYBRID_ROPE, **HYBRID),
        },
        {"prefix": "language_model.", "mlx": True},
    ),
    "qwen3_5_moe": (
        {
            "model_type": "qwen3_5_moe",
            "text_config": base(model_type="qwen3_5_moe_text", rope_parameters=HYBRID_ROPE, **HYBRID, **HYBRID_MOE),
        },
        {"prefix": "model.language_model.", "joined": True},
    ),
    "phi3": (
        base(
            model_type="phi3",
            rope_scaling=dict(LONG, type="longrope"),
            partial_rotary_factor=0.5,
            original_max_position_embeddings=16,
            rope_theta=10000.0,
            sliding_window=24,
            tie_word_embeddings=False,
        ),
        {"prefill_only": True},
    ),
    "phi3-short": (
        base(
            model_type="phi3",
            max_position_embeddings=131072,
            rope_parameters=dict(
                LONG, rope_theta=10000.0, partial_rotary_factor=0.5, original_max_position_embeddings=4096
            ),
            original_max_position_embeddings=4096,
            tie_word_embeddings=True,
        ),
        {},
    ),
}


def distribution(name, dims, gemma):
    """Mean and spread of a tensor's elements: what keeps activations near 1."""
    if name.endswith("bias"):
        return 0.0, 0.25
    if len(dims) == 1:
        return 0.0 if gemma else 1.0, 0.125
    if "embed_tokens" in name:
        return 0.0, 0.125 if gemma else 1.0
    if "mlp.experts.gate_proj" in name or "mlp.experts.up_proj" in name:  # so that gpt-oss's limits are met
        return 0.0, 10.0 / dims[-1] ** 0.5
    return 0.0, 2.5 / dims[-1] ** 0.5


def rounded(values, dtype):
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    return values.to(kinds[dtype]).to(torch.float32)


def text_model(config):
    """transformers' model of the text part, without weights of its own yet."""
    config = copy.deepcopy(config.get("text_config", config))
    kind = config.pop("model_type")
    made = transformers.AutoConfig.for_model(kind, **config)
    made._attn_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()


def make(name):
    config, special = MODELS[name]
    dtype, prefix = special.get("dtype", "F32"), special.get("prefix", "")
    model = text_model(config)
    gemma = config["model_type"][:6] in ("gemma2", "gemma3")
    hybrid = "linear_num_key_heads" in config.get("text_config", config)
    tensors, state = [], model.state_dict()
    tied = model.config.tie_word_embeddings

    def tensor(key, dims):
        centred = hybrid and len(dims) == 1 and "norm" in key and "linear_attn" not in key  # w - 1 is stored
        mean, spread = distribution(key, dims, gemma)
        if centred:
            mean = 0.0
        if key.endswith("A_log") or key.endswith("dt_bias"):
            mean, spread = 0.0, 1.0
        if special.get("mlx") and "conv1d" in key:
            dims = [dims[0], dims[2], dims[1]]
        key = prefix + key
        if prefix.startswith("model."):  # the body's own prefix, and the head without
            key = key.replace("language_model.model.", "language_model.").replace(prefix + "lm_head", "lm_head")
        stored = mean + spread * gauss(key, int(numpy.prod(dims)))
        if centred and special.get("mlx"):  # and here w
            tensors.append([key, dims, dtype, mean + 1, spread])
            values = rounded(torch.from_numpy((stored + 1).astype(numpy.float32)), dtype) - 1
            return values.reshape(dims)
        tensors.append([key, dims, dtype, mean, spread])
        values = stored
        values = rounded(torch.from_numpy(values.astype(numpy.float32)).reshape(dims), dtype)
        return values.transpose(1, 2) if special.get("mlx") and "conv1d" in key else values

    def experts(key, name, dims):
        """A stack of matrices, which folders of Hugging Face keep one by one."""
        if special.get("stacked"):
            return tensor("%s.switch_mlp.%s.weight" % (key, name), dims)
        return torch.stack([tensor("%s.experts.%d.%s.weight" % (key, e, name), dims[1:]) for e in range(dims[0])])

    def gpt_oss_expert(prefix, name, dims):
        """transformers has these transposed, with gates and ups in turns; MLX not."""
        kind = "bias" if name.endswith("_bias") else "weight"
        turned = dims if kind == "bias" else [dims[0], dims[2], dims[1]]
        if name.startswith("down"):
            value = tensor("%s.down_proj.%s" % (prefix, kind), turned)
        else:
            turned[1] //= 2
            parts = [tensor("%s.%s_proj.%s" % (prefix, part, kind), turned) for part in ("gate", "up")]
            value = torch.stack(parts, dim=2).flatten(1, 2)
        return value if kind == "bias" else value.transpose(1, 2)

    for key, old in state.items():
        dims, layer = list(old.shape), key.split(".experts.")[0]
        if tied and key == "lm_head.weight":
            continue
        if "gemma4" in config["model_type"]:
            state[key] = tensor(key, dims)
        elif "gpt_oss" in config["model_type"] and ".experts." in key:
            state[key] = gpt_oss_expert(layer + ".experts", key.split(".experts.")[1], dims)
        elif special.get("joined") and ".experts." in key:
            state[key] = tensor(key, dims)
        elif key.endswith(".experts.gate_up_proj"):
            half = [dims[0], dims[1] // 2, dims[2]]
            state[key] = torch.cat([experts(layer, "gate_proj", half), experts(layer, "up_proj", half)], dim=1)
        elif key.endswith(".experts.down_proj"):
            state[key] = experts(layer, "down_proj", dims)
        else:
            state[key] = tensor(key, dims)
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    ids = [int((i * i * 7 + 3 * i + 5) % VOCAB) for i in range(LENGTH)]
    with torch.no_grad():
        whole = model(torch.tensor([ids])).logits[0].double().numpy()
        if not special.get("prefill_only"):
            cache, steps = None, []
            for i in ids:
                out = model(torch.tensor([[i]]), past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                steps.append(out.logits[0, 0].double().numpy())
            difference = numpy.abs(numpy.array(steps) - whole).max() / numpy.abs(whole).max()
            assert difference < (2e-5 if hybrid else 1e-5), (name, difference)  # chunks and steps of a recurrence
    result = {
        "transformers": transformers.__version__,
        "config": config,
        "tensors": tensors,
        "ids": ids,
        "rows": ROWS,
        "logits": [[float("%.8g" % x) for x in whole[r]] for r in ROWS],
    }
    path = os.path.join(HERE, name + ".json")
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(result, stream, separators=(",", ":"))
        stream.write("\n")
    spread = float(numpy.abs(whole).max())
    print("%s: %d tensors, largest logit %.3f, %d bytes" % (name, len(tensors), spread, os.path.getsize(path)))


if __name__ == "__main__":
    torch.manual_seed(1)
    for wanted in sys.argv[1:] or MODELS:
        make(wanted)
