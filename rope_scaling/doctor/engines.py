"""What each engine computes from the same config: formulae read from their published code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from rope_scaling.doctor.facts import Facts, Parameters
from rope_scaling.schemes.yarn import yarn_attention_factor

TRANSFORMERS, VLLM, SGLANG, TGI, LLAMA_CPP = "transformers", "vllm", "sglang", "tgi", "llama.cpp"

SOURCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        TRANSFORMERS: ("huggingface/transformers 5.23: src/transformers/modeling_rope_utils.py",),
        VLLM: (
            "vllm-project/vllm: vllm/model_executor/layers/rotary_embedding/__init__.py (get_rope), "
            "yarn_scaling_rope.py, deepseek_scaling_rope.py, phi3_long_rope_scaled_rope.py",
            "vllm-project/vllm: vllm/config/model.py (_get_and_verify_max_len)",
        ),
        SGLANG: (
            "sgl-project/sglang: python/sglang/srt/layers/rotary_embedding/factory.py, yarn.py",
            "sgl-project/sglang: python/sglang/srt/utils/hf_transformers_utils.py (get_context_length)",
        ),
        TGI: ("huggingface/text-generation-inference: server/text_generation_server/layers/rotary.py",),
        LLAMA_CPP: (
            "ggml-org/llama.cpp: src/llama-model.cpp (load_hparams), src/llama-context.cpp, ggml/src/ggml-cpu/ops.cpp",
            "ggml-org/llama.cpp: conversion/base.py",
        ),
    }
)

KNOWN_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional", "mrope", "su", "axial")
"""Those that Transformers has a function for, or that one of its config classes rewrites."""
ONLY_VLLM = ("ntk", "xdrope", "mllama4", "openpangu", "deepseek_yarn", "deepseek_llama_scaling")
"""Types of vLLM's get_rope that Transformers has no function for."""
_MLA = ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2")


def attention_factors(facts: Facts, parameters: Parameters, factor: float) -> dict[str, float]:
    """What each engine multiplies cos and sin with under `yarn`, by engine.

    TGI and the DeepSeek class of vLLM and SGLang take mscale 1 and mscale_all_dim 0 where they are not there;
    Transformers, vLLM's and SGLang's YaRN classes read the pair of them or neither. llama.cpp's loader makes its own
    factor from `yarn_log_multiplier` and drops the converter's `yarn_attn_factor`.
    """
    told = {key: parameters.number(key) for key in ("attention_factor", "attn_factor", "mscale", "mscale_all_dim")}
    given, extra = told["attention_factor"], told["attn_factor"] or 1.0
    pair = _pair(told["mscale"], told["mscale_all_dim"], factor)
    own = yarn_attention_factor(factor) if pair is None else pair
    deepseek = _deepseek(told["mscale"], told["mscale_all_dim"], factor)
    if facts.model_type in _MLA:
        return {
            TRANSFORMERS: own if given is None else given,
            VLLM: deepseek * extra,
            SGLANG: deepseek * extra,
            TGI: deepseek,
        }
    return {
        TRANSFORMERS: own if given is None else given,
        VLLM: own if given is None else given,
        "vllm before it read attention_factor": yarn_attention_factor(factor) * extra,
        SGLANG: own * extra,
        TGI: deepseek,
        LLAMA_CPP: yarn_attention_factor(factor),
    }


def served_lengths(facts: Facts, parameters: Parameters) -> dict[str, int]:
    """The longest sequence that each engine allows unasked, by engine; empty where the config declares none."""
    declared, factor = facts.max_length, parameters.number("factor")
    if declared is None:
        return {}
    original = facts.original(parameters)
    in_place = parameters.said.get("original_max_position_embeddings") is not None
    kind = parameters.rope_type
    vllm: float = declared
    if factor and kind not in ("su", "longrope", "llama3") and not facts.model_type.startswith("gemma3"):
        vllm = (original if kind == "yarn" and original is not None else declared) * factor
    elif kind in ("su", "longrope") and original is not None:
        vllm = original
    sglang = declared * (factor if factor and not in_place and kind != "llama3" else 1)
    lengths = {TRANSFORMERS: declared, VLLM: vllm, SGLANG: sglang}
    return {engine: int(min(length, 2**63)) for engine, length in lengths.items()}


def _pair(mscale: float | None, all_dim: float | None, factor: float) -> float | None:
    if not mscale or not all_dim:
        return None
    return yarn_attention_factor(factor, mscale) / yarn_attention_factor(factor, all_dim)


def _deepseek(mscale: float | None, all_dim: float | None, factor: float) -> float:
    above = yarn_attention_factor(factor, 1.0 if mscale is None else mscale)
    below = yarn_attention_factor(factor, 0.0 if all_dim is None else all_dim)
    return above / below if below else math.inf
