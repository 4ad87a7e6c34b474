"""Models for the tests of dynamic scaling, and what they are compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, StaticCache

from rope_scaling import patch_model
from tests.models import TRAINED, tiny_config, tiny_model, tokens

FACTOR = 4.0
LONGEST = int(FACTOR * TRAINED)
TEXT = tokens(LONGEST)
"""(1, 4L)."""


def dynamic(scheme: str = "dynamic-yarn", model_type: str = "llama", **changes: Any) -> PreTrainedModel:
    """A tiny model with rows of their own scale."""
    return patch_model(tiny_model(tiny_config(model_type, **changes)), scheme, factor=FACTOR)


def native(factor: float, rope_type: str = "yarn", **changes: Any) -> PreTrainedModel:
    """The same weights in a model that Transformers makes with one scale for all lengths."""
    said = {"rope_type": rope_type, "rope_theta": 1e4, "factor": factor, "original_max_position_embeddings": TRAINED}
    return tiny_model(tiny_config(rope_parameters=said, max_position_embeddings=int(factor * TRAINED), **changes))


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
def whole(model: Any, ids: Tensor, **inputs: Any) -> Tensor:
    """The logits of one forward without a cache."""
    logits: Tensor = model(ids, use_cache=False, **inputs).logits
    return logits


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference."""
    assert one.shape == other.shape
    return (one - other).abs().max().item()


def scaled_for(model: PreTrainedModel, cache: Any) -> list[int]:
    """The lengths, in tokens, that the rows of a cache are scaled for now."""
    lengths = model.get_buffer("model.rotary_emb.row_lengths")
    return [int(lengths[max(row, 0)]) for row in vars(cache)["_rope_scaling_rows"].rows.tolist()]
