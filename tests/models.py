"""Tiny random models of the architectures that patching promises, made from configs."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

ARCHITECTURES = [
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "gemma",
    "olmo",
    "smollm3",
    "mixtral",
    "granite",
    "gpt_neox",
    "falcon",
    "stablelm",
]
TRAINED = 64
"""L of every tiny model, in tokens."""

_SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": TRAINED,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.1,  # sharp attention, so that wrong frequencies show
}
_OWN: dict[str, dict[str, Any]] = {
    "phi3": {"original_max_position_embeddings": TRAINED, "head_dim": None},
    "mixtral": {"num_local_experts": 2},
    "olmo": {"head_dim": None},
    "granite": {"head_dim": None},
    "gpt_neox": {"head_dim": None, "num_key_value_heads": None},
    "falcon": {"head_dim": None, "num_key_value_heads": None, "intermediate_size": None},
    "stablelm": {"head_dim": None},
    "smollm3": {"no_rope_layers": [1, 0], "head_dim": None},
}


def tiny_config(model_type: str = "llama", **changes: Any) -> PreTrainedConfig:
    """A config of two layers with heads of 32 dimensions, trained to `TRAINED` tokens."""
    said = _SIZES | _OWN.get(model_type, {}) | changes  # None leaves a key to the architecture
    sizes = {key: value for key, value in said.items() if value is not None}
    config: PreTrainedConfig = AutoConfig.for_model(model_type, **sizes)
    return config


def tiny_model(config: PreTrainedConfig | str = "llama", seed: int = 0) -> PreTrainedModel:
    """The same weights for the same seed, whatever the RoPE in the config."""
    torch.manual_seed(seed)
    if isinstance(config, str):
        config = tiny_config(config)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.eval()


def tiny_gemma3(layers: list[str]) -> PreTrainedModel:
    """A model with a RoPE for each layer type, and a sliding window well within its trained length."""
    return tiny_model(tiny_config("gemma3_text", num_hidden_layers=len(layers), layer_types=layers, sliding_window=16))


def tokens(count: int = 2 * TRAINED, rows: int = 1, seed: int = 1) -> torch.Tensor:
    """Random token ids, (rows, count)."""
    return torch.randint(3, 97, (rows, count), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model: PreTrainedModel, ids: torch.Tensor | None = None) -> torch.Tensor:
    """(rows, count, vocab) of one forward without a cache."""
    out: torch.Tensor = model(tokens() if ids is None else ids, use_cache=False).logits
    return out
