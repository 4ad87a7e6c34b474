"""Inference engines: what each makes of a config, in its own words, or why it cannot."""

from collections.abc import Mapping
from types import MappingProxyType

from rope_scaling.extend.engines.exllama import ExLlama
from rope_scaling.extend.engines.llama_cpp import LlamaCpp
from rope_scaling.extend.engines.sglang import SGLang
from rope_scaling.extend.engines.target import Engine, Target
from rope_scaling.extend.engines.tgi import TGI
from rope_scaling.extend.engines.transformers import Transformers
from rope_scaling.extend.engines.vllm import VLLM

__all__ = ["ENGINES", "Engine", "Target"]

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        engine.name: engine
        for engine in (
            Transformers("transformers", frozenset()),
            VLLM("vllm", frozenset({"llama", "mistral", "phi3", "qwen2", "qwen3"})),
            SGLang("sglang", frozenset({"llama", "phi3", "qwen2", "qwen3"})),
            LlamaCpp("llama.cpp", frozenset({"llama", "mistral", "olmo2", "qwen2", "qwen3", "smollm3"})),
            TGI("tgi", frozenset({"mistral", "qwen2"})),
            ExLlama("exllama", frozenset({"llama", "qwen3"})),
        )
    }
)
