"""Whether a model can be read in chunks, and its cache be cropped: asked of the cache, then tried."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from rope_scaling.eval.engine.lengths import scaled_lengths
from rope_scaling.eval.engine.reader import Reader, innermost
from rope_scaling.eval.engine.trunk import bytes_per_token

TRIED = 12
"""Tokens that chunks and crops are tried on."""


@dataclass(frozen=True)
class Abilities:
    """What a model's cache allows.

    Attributes:
        chunks: it can be read in chunks, and give the logits of one forward pass.
        sharing: its cache can also be cropped back to a prefix.
        why_not: what stands against the first that it cannot do.
        bytes_per_token: what a token takes in the cache.
    """

    chunks: bool
    sharing: bool
    why_not: str = ""
    bytes_per_token: float = 0.0


def abilities_of(reader: Reader) -> Abilities:
    """Find out by the model's signature, its config, the layers of its cache, and a short text read both ways."""
    refused = _by_config(reader.model)
    if refused:
        return Abilities(False, False, refused)
    try:
        return _try(reader)
    except Exception as error:  # of the model's own code, whatever it is: HFLM's way may still work
        return Abilities(False, False, f"reading it in chunks fails: {type(error).__name__}: {error}")


def _try(reader: Reader) -> Abilities:
    ids = reader.tensor([[3 + number % max(reader.vocabulary - 3, 1) for number in range(TRIED)]])
    _, cache = reader.read(ids, None, 1)
    if not isinstance(cache, DynamicCache):
        return Abilities(False, False, f"its cache is a {type(cache).__name__}")
    kinds = {type(layer) for layer in cache.layers}
    if other := kinds - {DynamicLayer, DynamicSlidingWindowLayer}:
        names = ", ".join(sorted(kind.__name__ for kind in other))
        return Abilities(False, False, f"its cache has layers of type {names}")
    if kinds != {DynamicLayer}:
        agrees = _agrees(reader, ids, crop=False)
        told = "a sliding window's cache cannot be cropped" if agrees else "it gives other logits in chunks"
        return Abilities(agrees, False, told, bytes_per_token(cache))
    if not _agrees(reader, ids, crop=True):
        return Abilities(False, False, "it gives other logits in chunks")
    return Abilities(True, True, bytes_per_token=bytes_per_token(cache))


def _by_config(model: Any) -> str:
    """What a model's config and class say against reading it in chunks; nothing where they do not."""
    if getattr(model.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "its prompt is learnt: it reads tokens that nobody gave it"
    if "past_key_values" not in inspect.signature(innermost(model).forward).parameters:
        return "it keeps no keys and values"
    if scaled_lengths(model):
        return ""  # its frequencies follow the length that is planned
    for parameters in _rope_parameters(model.config.get_text_config()):
        kind = parameters.get("rope_type")
        switches = kind == "longrope" and parameters.get("short_factor") != parameters.get("long_factor")
        if kind == "dynamic" or switches:
            return f"its frequencies (rope_type {kind!r}) follow the length of a forward pass"
    return ""


def _rope_parameters(config: Any) -> list[dict[str, Any]]:
    """The config's `rope_parameters`, one for each layer type."""
    said: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    nested = [one for one in said.values() if isinstance(one, dict)]
    return nested or [said]


def _agrees(reader: Reader, ids: Tensor, *, crop: bool) -> bool:
    """Whether two chunks, the second read again after a crop, say what one forward pass says."""
    half = TRIED // 2
    whole, _ = reader.read(ids, None, half, use_cache=False)
    _, cache = reader.read(ids[:, :half], None, 1)
    parts, cache = reader.read(ids[:, half:], cache, half)
    if crop:
        cache.crop(-half)
        parts, _ = reader.read(ids[:, half:], cache, half)
    finite = whole.isfinite()  # what is no number is told where it is scored
    off = (whole.float() - parts.float())[finite].norm() / (whole.float()[finite].norm() + 1e-9)
    return bool(off < (1e-3 if whole.dtype == torch.float32 else 0.1))
