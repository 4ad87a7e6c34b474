"""What a remapped attention module knows: whom it sees where, and which attention it falls back on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rope_scaling.patches.remap.engine import RotatedPairs
from rope_scaling.patches.remap.view import PREFIX
from rope_scaling.remap import Bands, LogRatio

LAYER = "_rope_scaling_remapped"
"""Attribute of an attention module: a `RemappedLayer`."""


@dataclass(frozen=True)
class PairsLayout:
    """Which dimensions of an attention's queries and keys one rotary module turns.

    Attributes:
        rotary: The rotary module.
        buffer: The name of its frequencies.
        start: The first dimension that turns.
        interleaved: Whether neighbours are a pair, or else dimensions half the turned width apart.
        sense: 1 where a pair turns by its angle, -1 where it turns the other way.
    """

    rotary: nn.Module
    buffer: str
    start: int
    interleaved: bool
    sense: int

    @property
    def inv_freq(self) -> Tensor:
        """(pairs,), radians per token: those that the module holds now."""
        return self.rotary.get_buffer(self.buffer)

    def on(self, device: torch.device) -> RotatedPairs:
        """The same as the engine takes it."""
        return RotatedPairs(self.inv_freq.to(device), self.start, self.interleaved, self.sense)


@dataclass(frozen=True)
class RemappedLayer:
    """Whom an attention module sees where.

    Attributes:
        layout: What turns its queries and keys.
        bands: The relative position of each pair of query and key.
        start: The first query that may see a key elsewhere than at its true distance.
        sharpness: By what the scores of each query are multiplied; None where by nothing.
    """

    layout: PairsLayout
    bands: Bands
    start: int
    sharpness: LogRatio | None = None


def first_moved(bands: Bands) -> int | None:
    """The first query that may see a key elsewhere than at its true distance; None where there is none."""
    moved = [band.region for band in bands if not band.plain]
    return min((max(r.first, r.nearest, (r.chunk or 0) * r.closest) for r in moved), default=None)


def own_attention(module: nn.Module) -> Callable[..., Any]:
    """The attention function that a module would call without a remap."""
    config = module.config
    assert isinstance(config, PreTrainedConfig)
    name = str(config._attn_implementation).removeprefix(PREFIX)
    names = inspect.unwrap(type(module).forward).__globals__
    if name == "eager":
        return eager_attention(module)
    found: Callable[..., Any] = names.get("ALL_ATTENTION_FUNCTIONS", ALL_ATTENTION_FUNCTIONS)[name]
    return found


def eager_attention(module: nn.Module) -> Callable[..., Any]:
    """The plain attention in the file where a module's forward is written, which Transformers calls "eager".

    Raises:
        ValueError: There is none.
    """
    forward = inspect.unwrap(type(module).forward)
    used = (name for name in forward.__code__.co_names if name.endswith("eager_attention_forward"))
    for name in used:
        found: Callable[..., Any] = forward.__globals__[name]
        return found
    raise ValueError(f"{type(module).__name__} has no eager attention: load the model with another implementation")
