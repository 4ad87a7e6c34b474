"""The length in the generation configs of a model, which follows the patched length."""

from __future__ import annotations

from torch import nn
from transformers import GenerationConfig

from rope_scaling.record import PatchRecord


def generation_configs(model: nn.Module) -> list[GenerationConfig]:
    """Every distinct generation config in a model, also where DDP, PEFT or `torch.compile` wrap it."""
    held = (vars(module).get("generation_config") for module in model.modules())
    return list({id(one): one for one in held if isinstance(one, GenerationConfig)}.values())


def raise_generation_length(model: nn.Module, old: int, new: int) -> int | None:
    """Raise a `max_length` that stands at the old limit to the new one; returns what it was, None if left alone."""
    standing = [one for one in generation_configs(model) if one.max_length == old and old != new]
    for one in standing:
        one.max_length = new
    return old if standing else None


def restore_generation_length(model: nn.Module, record: PatchRecord | None) -> None:
    """Put back what `raise_generation_length` raised, unless it was changed since."""
    if record is None or record.generation_max_length is None:
        return
    for one in generation_configs(model):
        if one.max_length == record.max_position_embeddings:
            one.max_length = record.generation_max_length
