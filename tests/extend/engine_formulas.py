"""What each engine computes from a config, written anew from its published code: the oracles of the words we write.

Each takes a `config.json` and gives (inv_freq, attention_factor), or raises `UnableError` where the engine would stop.
Read in the public repositories, at the commit named:

- vLLM, vllm/model_executor/layers/rotary_embedding/: __init__.py (07b12f1), linear_scaling_rope.py (0f17ee0),
  llama3_rope.py (045d757), phi3_long_rope_scaled_rope.py (17d618b), yarn_scaling_rope.py and common.py; its pull
  request 48351 for `attention_factor`; vllm/transformers_utils/config.py for how both spellings are read
- SGLang, python/sglang/srt/layers/rotary_embedding/: factory.py (108c36c), yarn.py and rope_variant.py (0b1fd02)
- Text Generation Inference, server/text_generation_server/layers/rotary.py (0666316)
- ExLlamaV3, exllamav3/util/rope.py (0445820), exllamav3/model/config.py (00ad034)
- llama.cpp 0c1e570 (in llama-cpp-python 0.3.36): conversion/base.py, conversion/llama.py, src/llama-model.cpp,
  src/llama-context.cpp, ggml/src/ggml.c, ggml/src/ggml-cpu/ops.cpp
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Rotation = tuple[list[float], float]
Config = Mapping[str, Any]


class UnableError(Exception):
    """The engine stops with an error."""


def newer(config: Config) -> tuple[float, dict[str, Any]]:
    """Theta and parameters for an engine on Transformers 5."""
    parameters = dict(config["rope_parameters"])
    return parameters["rope_theta"], parameters


def older(config: Config) -> tuple[float, dict[str, Any]]:
    """The same for an engine on Transformers 4, which does not know `rope_parameters`."""
    return config["rope_theta"], dict(config.get("rope_scaling") or {"rope_type": "default"})


def plain(theta: float, dim: int) -> list[float]:
    return [1.0 / theta ** (i / dim) for i in range(0, dim, 2)]


def head_dim(config: Config) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def mscale_of(scale: float, mscale: float = 1.0) -> float:
    return 1.0 if scale <= 1 else 0.1 * mscale * math.log(scale) + 1.0


def yarn_inv_freq(
    theta: float, dim: int, length: int, factor: float, fast: float, slow: float, *, truncate: bool
) -> list[float]:
    """The blend that vLLM, SGLang, TGI and ExLlama share line for line."""

    def correction(rotations: float) -> float:
        return dim * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = correction(fast), correction(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    found = []
    for i, frequency in enumerate(plain(theta, dim)):
        mask = 1 - min(1.0, max(0.0, (i - low) / (high - low)))
        found.append(frequency / factor * (1 - mask) + frequency * mask)
    return found


def llama3_inv_freq(inv_freq: list[float], p: Mapping[str, Any]) -> list[float]:
    low, high, length = p["low_freq_factor"], p["high_freq_factor"], p["original_max_position_embeddings"]
    found = []
    for frequency in inv_freq:
        wavelength = 2 * math.pi / frequency
        smooth = (length / wavelength - low) / (high - low)
        if wavelength < length / high:
            found.append(frequency)
        elif wavelength > length / low:
            found.append(frequency / p["factor"])
        else:
            found.append((1 - smooth) * frequency / p["factor"] + smooth * frequency)
    return found


def longrope_formula(longest: int, length: int) -> float:
    scale = longest / length
    return 1.0 if scale <= 1 else math.sqrt(1 + math.log(scale) / math.log(length))


def vllm(theta: float, p: dict[str, Any], config: Config, *, honours_attention_factor: bool = False) -> Rotation:
    """As released; `honours_attention_factor` as its pull request 48351 has it."""
    dim = int(head_dim(config) * p.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)))
    kind = p["rope_type"]
    if kind == "default":
        return plain(theta, dim), 1.0
    if kind == "linear":
        assert isinstance(p["factor"], float)  # an int would be taken for a list
        return [f / p["factor"] for f in plain(theta, dim)], 1.0
    if kind == "llama3":
        return llama3_inv_freq(plain(theta, dim), p), 1.0
    if kind == "yarn":
        length, truncate = p["original_max_position_embeddings"], p.get("truncate", True)
        fast, slow = p.get("beta_fast", 32), p.get("beta_slow", 1)
        factor = mscale_of(p["factor"]) * p.get("attn_factor", 1.0)
        if honours_attention_factor and p.get("attention_factor") is not None:
            factor = p["attention_factor"]
        return yarn_inv_freq(theta, dim, length, p["factor"], fast, slow, truncate=truncate), factor
    if kind == "longrope":
        formula = longrope_formula(config["max_position_embeddings"], p["original_max_position_embeddings"])
        divisors = p["long_factor"]  # max_model_len, which our command sets, is above the original length
        return [f / d for f, d in zip(plain(theta, dim), divisors, strict=True)], p.get("long_mscale", formula)
    raise UnableError(kind)


def sglang(theta: float, p: dict[str, Any], config: Config) -> Rotation:
    if p["rope_type"] == "yarn" and p.get("mscale") is not None and p.get("mscale_all_dim") is not None:
        raise AssertionError("no checkpoint here has DeepSeek's keys")
    if p["rope_type"] == "longrope":
        raise UnableError("position L; see sglang_index")
    return vllm(theta, p, config)


def sglang_index(positions: list[int], length: int) -> list[int]:
    """The rows of the short table (`length` of them) followed by the long one that positions look up."""
    offset = length if any(position > length for position in positions) else 0
    return [position + offset for position in positions]


def tgi(theta: float, p: dict[str, Any], config: Config) -> Rotation:
    dim, kind = head_dim(config), p["rope_type"]
    if kind in ("default", "linear"):  # linear is passed over
        return plain(theta, dim), 1.0
    if kind == "llama3":
        return llama3_inv_freq(plain(theta, dim), p), 1.0
    if kind == "yarn":
        length = p["original_max_position_embeddings"]
        factor = mscale_of(p["factor"], p.get("mscale", 1.0)) / mscale_of(p["factor"], p.get("mscale_all_dim", 0.0))
        return yarn_inv_freq(theta, dim, length, p["factor"], 32, 1, truncate=True), factor
    if kind == "longrope":
        length = config.get("original_max_position_embeddings")
        if length is None:
            raise UnableError("config.original_max_position_embeddings")
        factor = longrope_formula(config["max_position_embeddings"], length)
        return [f / d for f, d in zip(plain(theta, dim), p["long_factor"], strict=True)], factor
    raise UnableError(kind)


def exllama(theta: float, p: dict[str, Any], config: Config) -> Rotation:
    dim, kind, longest = head_dim(config), p["rope_type"], config["max_position_embeddings"]
    if kind == "default":
        return plain(theta, dim), 1.0
    if kind == "linear":
        return [f / p["factor"] for f in plain(theta, dim)], 1.0
    if kind == "llama3":
        return llama3_inv_freq(plain(theta, dim), p), 1.0
    if kind == "yarn":
        length = p["original_max_position_embeddings"]
        factor = longest / length
        fast, slow = p.get("beta_fast", 32), p.get("beta_slow", 1)
        told = p.get("attention_factor")
        found = yarn_inv_freq(theta, dim, length, factor, fast, slow, truncate=p.get("truncate", True))
        return found, mscale_of(factor) if told is None else told
    if kind == "longrope":
        factor = longrope_formula(longest, p["original_max_position_embeddings"])
        return [f / d for f, d in zip(plain(theta, dim), p["long_factor"], strict=True)], factor
    raise UnableError(kind)


def llama_cpp(theta: float, p: dict[str, Any], config: Config) -> Rotation:
    """Through its converter: the metadata that it writes, and what the engine makes of them."""
    dim, kind, name = head_dim(config), p["rope_type"], config["model_type"]
    metadata: dict[str, Any] = {"freq_base": theta, "context_length": config["max_position_embeddings"]}
    divisors = [1.0] * (dim // 2)
    if kind == "linear":
        metadata |= {"type": "linear", "factor": p["factor"]}
    elif kind == "yarn":
        metadata |= {"type": "yarn", "factor": p["factor"]}
        metadata["original_context_length"] = p["original_max_position_embeddings"]
    elif kind == "longrope":
        metadata["type"] = "longrope"  # its lists are written for Phi-3 alone
    elif kind == "llama3" and name in ("llama", "mistral", "smollm3"):
        divisors = [f / g for f, g in zip(plain(theta, dim), llama3_inv_freq(plain(theta, dim), p), strict=True)]
    return llama_cpp_rotation(metadata, dim, divisors)


def llama_cpp_rotation(metadata: Mapping[str, Any], dim: int, divisors: list[float] | None = None) -> Rotation:
    """What the engine makes of metadata, by their names after `ARCH.rope.scaling.`."""
    theta, kind = metadata["freq_base"], metadata.get("type", "linear")
    scale = 1.0 if kind == "none" or not metadata.get("factor") else 1.0 / metadata["factor"]
    extra = 1.0 if kind == "yarn" else 0.0
    factor = 1.0
    if extra:
        factor = mscale_of(1 / scale) / (1 + 0.1 * math.log(1 / scale))
    factor *= metadata.get("attn_factor", 1.0)
    if extra:
        factor *= 1 + 0.1 * math.log(1 / scale)
    length = metadata.get("original_context_length") or metadata["context_length"]

    def correction(rotations: float) -> float:
        return dim * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    # src/models/grok.cpp and mistral3.cpp read yarn_beta_fast and yarn_beta_slow; no other architecture does
    low, high = max(0, math.floor(correction(32.0))), min(dim - 1, math.ceil(correction(1.0)))
    found = []
    for i, (frequency, divisor) in enumerate(zip(plain(theta, dim), divisors or [1.0] * (dim // 2), strict=True)):
        mix = (1 - min(1.0, max(0.0, (i - low) / max(0.001, high - low)))) * extra
        extrapolated = frequency / divisor
        found.append(scale * extrapolated * (1 - mix) + extrapolated * mix)
    return found, factor


FORMULAS: Mapping[str, Callable[[float, dict[str, Any], Config], Rotation]] = {
    "vllm": vllm,
    "sglang": sglang,
    "llama.cpp": llama_cpp,
    "tgi": tgi,
    "exllama": exllama,
}
READS_OLDER = {"vllm", "sglang", "tgi", "exllama"}
"""Engines of which some release reads only the older spelling."""
READS_NEWER = {"vllm", "sglang", "llama.cpp", "exllama"}
