"""Models for the tests of remapped positions, and ways of reading with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, StaticCache

from rope_scaling import patch_model
from tests.models import TRAINED, tiny_config, tiny_model, tokens

FACTOR = 4.0
LONGEST = int(FACTOR * TRAINED)
TEXT = tokens(3 * TRAINED)
"""(1, 3L)."""


def remapped(scheme: str = "self-extend", model_type: str = "llama", **changes: Any) -> PreTrainedModel:
    """A tiny model with remapped positions."""
    return patch_model(tiny_model(tiny_config(model_type, **changes)), scheme, factor=FACTOR)


def new_cache(model: PreTrainedModel, kind: str) -> Any:
    """An empty cache: "dynamic" or "static"."""
    config = model.config.get_text_config()
    return DynamicCache(config=config) if kind == "dynamic" else StaticCache(config=config, max_cache_len=LONGEST)


@torch.no_grad()
def read(model: Any, ids: Tensor, cache: Any, chunks: list[int], **inputs: Any) -> Tensor:
    """The logits, (rows, tokens, vocab), of `ids` read in chunks through a cache."""
    parts = torch.split(ids[:, : sum(chunks)], chunks, dim=1)
    return torch.cat([model(part, past_key_values=cache, use_cache=True, **inputs).logits for part in parts], dim=1)


@torch.no_grad()
def whole(model: Any, ids: Tensor = TEXT, **inputs: Any) -> Tensor:
    """The logits of one forward without a cache."""
    logits: Tensor = model(ids, use_cache=False, **inputs).logits
    return logits


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference."""
    assert one.shape == other.shape
    return (one - other).abs().max().item()
