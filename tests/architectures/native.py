"""Native configs for every scheme, written by hand from an unscaled one: what patched models are compared with."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from transformers import LlamaConfig, PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tests.architectures.shrink import TRAINED

FACTOR = 2.0
MSCALE = {"mscale": 0.8, "mscale_all_dim": 0.5}
SCHEMES = ["none", "linear", "ntk", "yarn", "yarn with mscale", "llama3", "longrope"]
STILL = 3.4e38
"""As a divisor: a pair that does not turn."""
DIVISORS_ONLY = ("phi3", "phi4_multimodal", "phimoe")
"""Architectures whose config takes no other type than longrope, or no other with its own keys."""


def parts(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    """The configs inside one that have a RoPE for text; itself mostly."""
    if hasattr(config, "text_config"):
        return [config.text_config]
    inner = [part for part in vars(config).values() if isinstance(part, PreTrainedConfig)]
    return [config] if hasattr(config, "num_hidden_layers") else inner


def layers(config: PreTrainedConfig) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """The rope_parameters of every layer type, or the only ones."""
    nested = {key: value for key, value in config.rope_parameters.items() if isinstance(value, dict)}
    yield from nested.items() if nested else [(None, config.rope_parameters)]


def with_mscale(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same config with DeepSeek's keys in its parameters, where they mean nothing yet."""
    said = copy.deepcopy(config)
    for part in parts(said):
        for _, parameters in layers(part):
            parameters.update(MSCALE)
    return said


def native_config(config: PreTrainedConfig, scheme: str, pairs: dict[str | None, int]) -> PreTrainedConfig:
    """What plain Transformers would be given for a scheme; sliding-window layers are left alone."""
    said = copy.deepcopy(config)
    for part in parts(said):
        if scheme == "none":
            continue
        if getattr(part, "max_position_embeddings", None):
            part.max_position_embeddings = int(FACTOR * TRAINED)
        for layer_type, parameters in list(layers(part)):
            if "sliding" in str(layer_type) or layer_type not in pairs:
                continue
            own = _native(part, layer_type, parameters, scheme, pairs[layer_type])
            part.rope_parameters = own if layer_type is None else part.rope_parameters | {layer_type: own}
        if scheme == "ntk" and hasattr(part, "layer_rope_theta"):
            theta = FACTOR ** (pairs[None] / (pairs[None] - 1))
            part.layer_rope_theta = [one and one * theta for one in part.layer_rope_theta]
    return type(said).from_dict(said.to_dict())


def divisors(pairs: int) -> list[float]:
    """Those that a user gives to longrope."""
    return [1.0 + 0.5 * i for i in range(pairs)]


def _native(
    config: PreTrainedConfig, layer_type: str | None, parameters: dict[str, Any], scheme: str, pairs: int
) -> dict[str, Any]:
    if parameters.get("rope_type") == "proportional":
        return _proportional(config, layer_type, parameters, scheme, pairs)
    plain = {key: value for key, value in parameters.items() if key not in ("rope_type", "type")}
    if scheme == "ntk":
        return plain | {"rope_type": "default", "rope_theta": plain["rope_theta"] * FACTOR ** (pairs / (pairs - 1))}
    said = plain | _typed(scheme, pairs)
    if config.model_type not in DIVISORS_ONLY:
        return said
    inv_freq, factor = _by_llama(said, pairs)
    theta = plain["rope_theta"] ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    of_phimoe = {"short_mscale": factor, "long_mscale": factor} if config.model_type == "phimoe" else {}
    return plain | _typed("longrope", pairs, (theta / inv_freq).tolist()) | {"attention_factor": factor} | of_phimoe


def _typed(scheme: str, pairs: int, by: list[float] | None = None) -> dict[str, Any]:
    scaled = {"factor": FACTOR, "original_max_position_embeddings": TRAINED}
    if scheme == "linear":
        return {"rope_type": "linear", "factor": FACTOR}
    if scheme.startswith("yarn"):
        return scaled | {"rope_type": "yarn"}
    if scheme == "llama3":
        return scaled | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    lists = by or divisors(pairs)
    return scaled | {"rope_type": "longrope", "short_factor": lists, "long_factor": list(lists)}


def _proportional(
    config: PreTrainedConfig, layer_type: str | None, parameters: dict[str, Any], scheme: str, pairs: int
) -> dict[str, Any]:
    """Pairs beyond the first few stand still; those that turn are a plain RoPE of theta^(2 pairs / head_dim)."""
    every = config.head_dim // 2 if not config.is_heterogeneous else config.per_layer_config[layer_type].head_dim // 2
    if scheme == "linear":
        return parameters | {"factor": FACTOR}
    if scheme == "ntk":
        return parameters | {"rope_theta": parameters["rope_theta"] * FACTOR ** (every / (pairs - 1))}
    said = parameters | _typed(scheme, pairs) | {"rope_theta": parameters["rope_theta"] ** (pairs / every)}
    inv_freq, factor = _by_llama({k: v for k, v in said.items() if k != "partial_rotary_factor"}, pairs)
    theta = parameters["rope_theta"] ** (-torch.arange(pairs, dtype=torch.float64) / every)
    lists = [*(theta / inv_freq).tolist(), *[STILL] * (every - pairs)]
    return _typed("longrope", every, lists) | {"rope_theta": parameters["rope_theta"], "attention_factor": factor}


def _by_llama(parameters: dict[str, Any], pairs: int) -> tuple[torch.Tensor, float]:
    """The same frequencies from Transformers' own function, on a config that takes every type."""
    own = {key: value for key, value in parameters.items() if key != "partial_rotary_factor"}
    llama = LlamaConfig(head_dim=2 * pairs, max_position_embeddings=int(FACTOR * TRAINED), rope_parameters=own)
    inv_freq, factor = ROPE_INIT_FUNCTIONS[own["rope_type"]](llama, torch.device("cpu"))
    assert math.isfinite(factor)
    return inv_freq.double(), float(factor)
