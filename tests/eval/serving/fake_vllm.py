"""A `vllm` to import where there is none: lm-eval's own model class runs, and Transformers answers in vLLM's shapes."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from lm_eval.api.registry import model_registry
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

LM_EVALS = "lm_eval.models.vllm_causallms"
PUBLISHED = frozenset(
    {"model", "tokenizer", "tokenizer_mode", "trust_remote_code", "revision", "tokenizer_revision", "dtype", "seed"}
    | {"max_model_len", "max_num_seqs", "max_num_batched_tokens", "quantization", "hf_overrides", "enforce_eager"}
    | {"tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization", "enable_prefix_caching"}
    | {"enable_lora", "max_lora_rank", "kv_cache_dtype", "block_size", "max_logprobs", "load_format"}
)
"""Of vLLM's documented engine arguments (docs.vllm.ai, Engine Arguments), those that a run may need."""


class LLM:
    """Reads one prompt after another, and holds vLLM's limits: a prompt needs room for one token more."""

    started: ClassVar[list[LLM]] = []

    def __init__(self, **arguments: Any) -> None:
        assert arguments.keys() <= PUBLISHED, arguments.keys() - PUBLISHED
        self.arguments = arguments
        config = AutoConfig.from_pretrained(arguments["model"])
        config.update(arguments["hf_overrides"])  # as vLLM does, and then:
        config.standardize_rope_params()
        config.validate_rope()
        self.config, self.length = config, arguments["max_model_len"]
        dtype = arguments["dtype"]
        self.model = AutoModelForCausalLM.from_pretrained(arguments["model"], config=config, dtype=dtype).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(arguments["model"])
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=self.length))
        LLM.started.append(self)

    def generate(self, prompts: list[Any], sampling_params: list[Any], **_: Any) -> list[Any]:
        return [
            self._answer(prompt["prompt_token_ids"], how) for prompt, how in zip(prompts, sampling_params, strict=True)
        ]

    @torch.no_grad()
    def _answer(self, ids: list[int], how: Any) -> Any:
        assert len(ids) < self.length, "vLLM refuses a prompt without room for an answer"
        if how.prompt_logprobs is None:
            prompt = torch.tensor([ids])
            settings = {"max_new_tokens": how.max_tokens, "do_sample": False, "pad_token_id": 0}
            out = self.model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)[0, len(ids) :]
            return SimpleNamespace(outputs=[SimpleNamespace(text=self.tokenizer.decode(out))])
        scores = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        told: list[Any] = [None]
        for position, token in enumerate(ids[1:]):
            best = int(scores[position].argmax())
            told.append({one: SimpleNamespace(logprob=float(scores[position, one])) for one in (best, token)})
        return SimpleNamespace(prompt_logprobs=told)


def install(patch: pytest.MonkeyPatch) -> type[LLM]:
    """Make `import vllm` find this."""
    version = importlib.metadata.version
    patch.setattr(importlib.metadata, "version", lambda name: "0.11.0" if name == "vllm" else version(name))
    patch.setitem(model_registry._objs, "vllm", f"{LM_EVALS}:VLLM")
    patch.setitem(sys.modules, LM_EVALS, None)  # what is imported now is forgotten with the rest
    del sys.modules[LM_EVALS]
    parts = {
        "vllm": {"LLM": LLM, "SamplingParams": _sampling, "TokensPrompt": dict},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": object},
        "vllm.renderers": {},
        "vllm.renderers.hf": {"resolve_chat_template": lambda **_: None},
        "vllm.tokenizers": {"get_tokenizer": _tokenizer},
    }
    for name, held in parts.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(held)
        patch.setitem(sys.modules, name, module)
    return LLM


def _sampling(**said: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"prompt_logprobs": None, "max_tokens": 16, **said})


def _tokenizer(name: str, **_: Any) -> Any:
    return AutoTokenizer.from_pretrained(name)
