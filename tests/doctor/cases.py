"""For every rule a checkpoint with its fault, and one that is as like it as can be and has not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from rope_scaling.doctor import Facts, facts_of_config
from rope_scaling.doctor.facts import Live, Tensors
from rope_scaling.doctor.finding import Symptom
from rope_scaling.doctor.jsonfile import parse_json
from rope_scaling.rope import plain_inv_freq

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "rope_theta": 1e4,
}
PAIRS = 32
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * PAIRS,
    "long_factor": [1.0] * PAIRS,
    "original_max_position_embeddings": 4096,
}
GEMMA: dict[str, Any] = {
    "model_type": "gemma3_text",
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "head_dim": 64,
    "max_position_embeddings": 16384,
    "sliding_window": 512,
    "layer_types": ["sliding_attention", "full_attention"],
}
LLAMA_31: dict[str, Any] = LLAMA | {
    "vocab_size": 128256,
    "rope_theta": 5e5,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131072,
}
METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.context_length": 4096,
    "llama.embedding_length": 512,
    "llama.attention.head_count": 8,
    "llama.rope.dimension_count": 64,
    "llama.rope.freq_base": 1e4,
}


def llama(**changes: Any) -> dict[str, Any]:
    """A Llama of 8 heads of 64 dimensions, trained to 4096 tokens, with these keys changed."""
    return LLAMA | changes


def scaled(parameters: dict[str, Any], length: int = 16384, **changes: Any) -> dict[str, Any]:
    return llama(max_position_embeddings=length, rope_scaling=parameters, **changes)


def of(config: dict[str, Any], **more: Any) -> Facts:
    return facts_of_config(copy.deepcopy(config), **more)


def nested(truncate: bool | None) -> dict[str, Any]:
    yarn = YARN | {"rope_theta": 1e6} | ({} if truncate is None else {"truncate": truncate})
    return GEMMA | {"rope_parameters": {"full_attention": yarn, "sliding_attention": {"rope_theta": 1e4}}}


def written(text: str) -> Facts:
    """Facts of a config.json with this text."""
    config, troubles = parse_json(text.encode(), "config.json")
    return facts_of_config(config, read=troubles)


def read(code: str) -> Facts:
    """Facts of a checkpoint whose files were found to be `code`; how that is found, test_files.py says."""
    return of(LLAMA, read=((code, Symptom("seen", "consequence", "mend")),))


def with_frequencies(theta: float) -> Facts:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    return of(LLAMA, tensors=Tensors(inv_freq={name: plain_inv_freq(theta, 64)}, dtypes={name: "F32"}))


def live(theta: float, dtype: str) -> Facts:
    table = torch.tensor(plain_inv_freq(theta, 64), dtype=getattr(torch, dtype)).tolist()
    return replace(
        of(LLAMA),
        live=Live({"rotary_emb.inv_freq": tuple(table)}, EXPECTED, {"rotary_emb.inv_freq": dtype}),
    )


EXPECTED = {"rotary_emb.inv_freq": plain_inv_freq(1e4, 64)}


def gguf(config: dict[str, Any], tensors: tuple[str, ...] = (), **changes: Any) -> Facts:
    metadata = METADATA | {f"llama.{key.replace('__', '.')}": value for key, value in changes.items()}
    return of(config, gguf=metadata, gguf_tensors=frozenset(tensors))


def patched(factor: float) -> dict[str, Any]:
    """A config as `patch_model(model, 'yarn', factor=4)` leaves it, with this factor written into it afterwards."""
    record = {
        "scheme": "yarn",
        "options": {"factor": 4.0},
        "original_max_position_embeddings": 4096,
        "max_position_embeddings": 16384,
        "before": {"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    }
    config = llama(max_position_embeddings=16384, rope_scaling_patch=record)
    config["rope_parameters"] = YARN | {"rope_theta": config.pop("rope_theta"), "factor": factor}
    return config


def dynamic() -> dict[str, Any]:
    """A config as `patch_model(model, 'dynamic-yarn')` leaves it."""
    record = {
        "scheme": "dynamic-yarn",
        "options": {},
        "original_max_position_embeddings": 4096,
        "max_position_embeddings": None,
        "before": {"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        "native": False,
    }
    return llama(rope_scaling_patch=record)


Case = tuple[Callable[[], Facts], Callable[[], Facts]]

CASES: dict[str, Case] = {
    "unknown-type": (lambda: of(scaled(YARN | {"rope_type": "yran"})), lambda: of(scaled(YARN))),
    "missing-key": (
        lambda: of(scaled({"rope_type": "linear"})),
        lambda: of(scaled({"rope_type": "linear", "factor": 4.0})),
    ),
    "bad-number": (lambda: of(scaled(YARN | {"factor": "4"})), lambda: of(scaled(YARN))),
    "factor-below-one": (lambda: of(scaled(YARN | {"factor": 0.25})), lambda: of(scaled(YARN | {"factor": 1.0}))),
    "two-dicts": (
        lambda: of(scaled(YARN, rope_parameters=YARN | {"factor": 8.0})),
        lambda: of(scaled(YARN, rope_parameters=YARN | {"rope_theta": 1e4})),
    ),
    "theta-ignored": (
        lambda: of(llama(rope_theta=5e5, rope_parameters={"rope_theta": 1e4})),
        lambda: of(llama(rope_theta=1e4, rope_parameters={"rope_theta": 1e4})),
    ),
    "theta-missing": (
        lambda: of(scaled({"type": "linear", "factor": 4.0}, rope_theta=None)),
        lambda: of({k: v for k, v in scaled({"type": "linear", "factor": 4.0}).items() if k != "rope_theta"}),
    ),
    "nested-truncate": (lambda: of(nested(False)), lambda: of(nested(True))),
    "max-length-factor": (lambda: of(scaled(YARN, 32768)), lambda: of(scaled(YARN))),
    "scaled-without-original": (lambda: of(scaled({"rope_type": "yarn", "factor": 4.0})), lambda: of(scaled(YARN))),
    "dynamic-silenced": (
        lambda: of(scaled({"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 4096})),
        lambda: of(scaled({"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 4096}, 4096)),
    ),
    "original-above-max": (lambda: of(scaled(YARN, 2048)), lambda: of(scaled(YARN))),
    "length-ambiguous": (
        lambda: of(scaled({"rope_type": "linear", "factor": 4.0})),
        lambda: of(scaled({"rope_type": "linear", "factor": 4.0, "original_max_position_embeddings": 4096})),
    ),
    "attention-factor": (
        lambda: of(scaled(YARN | {"attention_factor": 1.3})),
        lambda: of(scaled(YARN | {"attention_factor": 1.1386294})),  # 0.1 ln 4 + 1, what all of them compute
    ),
    "mscale-alone": (
        lambda: of(scaled(YARN | {"mscale": 0.707})),
        lambda: of(scaled(YARN | {"mscale": 1.0})),  # 0.1 ln s + 1 again
    ),
    "yarn-options": (lambda: of(scaled(YARN | {"beta_fast": 16})), lambda: of(scaled(YARN | {"beta_fast": 32}))),
    "longrope-lists": (
        lambda: of(scaled(LONGROPE | {"long_factor": [1.0] * (PAIRS - 1)})),
        lambda: of(scaled(LONGROPE)),
    ),
    "cache-crosses-switch": (
        lambda: of(scaled(LONGROPE | {"long_factor": [2.0] * PAIRS})),
        lambda: of(scaled(LONGROPE)),
    ),
    "double-scaling": (
        lambda: of(LLAMA_31 | {"rope_scaling": YARN | {"original_max_position_embeddings": 32768}}),
        lambda: of(LLAMA_31 | {"rope_scaling": LLAMA3}),
    ),
    "record-edited": (lambda: of(patched(8.0)), lambda: of(patched(4.0))),
    "record-only": (lambda: of(dynamic()), lambda: of(patched(4.0))),
    "absurd-size": (lambda: of(llama(max_position_embeddings=2**40)), lambda: of(llama(max_position_embeddings=2**24))),
    "head-dim": (lambda: of(llama(hidden_size=516)), lambda: of(llama(hidden_size=516, head_dim=64))),
    "head-dim-weights": (
        lambda: of(LLAMA, tensors=Tensors(shapes={"model.layers.0.self_attn.k_proj.weight": (256, 512)})),
        lambda: of(LLAMA, tensors=Tensors(shapes={"model.layers.0.self_attn.k_proj.weight": (128, 512)})),
    ),
    "partial-rotary": (
        lambda: of(llama(partial_rotary_factor=0.5, rope_parameters={"partial_rotary_factor": 0.25})),
        lambda: of(llama(partial_rotary_factor=0.5, rope_parameters={"partial_rotary_factor": 0.5})),
    ),
    "tokenizer-limit": (
        lambda: of(scaled(YARN), tokenizer={"model_max_length": 4096}),
        lambda: of(scaled(YARN), tokenizer={"model_max_length": int(1e30)}),
    ),
    "tokenizer-truncation": (
        lambda: of(LLAMA, truncation={"max_length": 512}),
        lambda: of(LLAMA, truncation={"max_length": 4096}),
    ),
    "generation-limit": (
        lambda: of(scaled(YARN), generation={"max_length": 4096}),
        lambda: of(scaled(YARN), generation={"max_length": 16384}),
    ),
    "sliding-window": (
        lambda: of(scaled(YARN, model_type="mistral", sliding_window=1024)),
        lambda: of(scaled(YARN, model_type="qwen2", sliding_window=1024, use_sliding_window=False)),
    ),
    "inv-freq-in-weights": (lambda: with_frequencies(5e5), lambda: with_frequencies(1e4)),
    "rounded-frequencies": (lambda: live(1e4, "bfloat16"), lambda: live(1e4, "float32")),
    "live-frequencies": (lambda: live(5e5, "float32"), lambda: live(1e4, "float32")),
    "gguf-scaling": (
        lambda: gguf(LLAMA, rope__scaling__type="none", rope__scaling__factor=4.0),
        lambda: gguf(LLAMA, rope__scaling__type="none", rope__scaling__factor=1.0),
    ),
    "gguf-config": (lambda: gguf(LLAMA, context_length=2048), lambda: gguf(LLAMA)),
    "gguf-no-factors": (
        lambda: gguf(LLAMA_31 | {"rope_scaling": LLAMA3}, context_length=131072, rope__freq_base=5e5),
        lambda: gguf(
            LLAMA_31 | {"rope_scaling": LLAMA3}, ("rope_freqs.weight",), context_length=131072, rope__freq_base=5e5
        ),
    ),
    "duplicate-key": (
        lambda: written('{"model_type": "llama", "rope_theta": 1e4, "rope_theta": 5e5, "max_position_embeddings": 8}'),
        lambda: written('{"model_type": "llama", "rope_theta": 5e5, "max_position_embeddings": 8}'),
    ),
    "not-a-number": (
        lambda: written('{"model_type": "llama", "rope_theta": 1e4, "max_position_embeddings": 8, "x": NaN}'),
        lambda: written('{"model_type": "llama", "rope_theta": 1e4, "max_position_embeddings": 8, "x": "NaN"}'),
    ),
    "bad-file": (lambda: read("bad-file"), lambda: of(LLAMA)),
    "bad-weights": (lambda: read("bad-weights"), lambda: of(LLAMA)),
    "missing-shard": (lambda: read("missing-shard"), lambda: of(LLAMA)),
    "unsafe-shard": (lambda: read("unsafe-shard"), lambda: of(LLAMA)),
    "pickles": (lambda: of(LLAMA, tensors=Tensors(pickles=("pytorch_model.bin",))), lambda: of(LLAMA)),
    "remote-code": (lambda: of(llama(auto_map={"AutoConfig": "configuration_x.X"})), lambda: of(LLAMA)),
    "transformers-refuses": (lambda: replace(of(LLAMA), refusal="KeyError: 'x'"), lambda: of(LLAMA)),
    "unreadable-rope": (
        lambda: of(llama(model_type="unheard-of", max_position_embeddings=None)),
        lambda: of(llama(model_type="unheard-of")),
    ),
    "no-rope": (lambda: of({"model_type": "gpt2", "n_positions": 1024}), lambda: of(LLAMA)),
}
