"""The length in a model's generation config, which follows the patched length."""

from __future__ import annotations

from torch import nn

from rope_scaling.record import PatchRecord


def raise_generation_length(model: nn.Module, old: int, new: int) -> int | None:
    """Raise a `max_length` that stands at the old limit to the new one; returns what it was, None if left alone."""
    generation = getattr(model, "generation_config", None)
    if generation is None or generation.max_length != old or old == new:
        return None
    generation.max_length = new
    return old


def restore_generation_length(model: nn.Module, record: PatchRecord | None) -> None:
    """Put back what `raise_generation_length` raised."""
    generation = getattr(model, "generation_config", None)
    if generation is not None and record is not None and record.generation_max_length is not None:
        generation.max_length = record.generation_max_length
