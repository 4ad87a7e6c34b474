"""The RoPE that a live module rotates with now."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from rope_scaling.config import read_plain_rope
from rope_scaling.patches.axial import read_axial
from rope_scaling.patches.discover import attention_scaling, find_rotary, frequency_buffers, is_axial, turning
from rope_scaling.rope import Rope


def rope_of(module: nn.Module, layer_type: str | None = None) -> Rope:
    """Read a rotary module, or the first one in a model: frequencies from its buffer, the rest from its config.

    The frequencies are those that are in force, patched or rounded as they may be; theta and L are what the
    checkpoint was trained with. Those of an image tower are given from the fastest to the slowest.

    Args:
        module: A rotary module, or a model that holds one.
        layer_type: Which layers, where the model has a RoPE for each type.

    Raises:
        TypeError: There is no rotary module.
        ValueError: There is one that is not understood, or that has no such layer type.
    """
    rotary = find_rotary(module)[0]
    names = {kind: name for name, kind in frequency_buffers(rotary.module).items()}
    if layer_type not in names:
        told = ", ".join(str(kind) for kind in names)
        raise ValueError(f"{rotary.name or type(module).__name__} has no layer type {layer_type!r} ({told})")
    if is_axial(rotary.module):
        trained, order = read_axial(rotary)
        live = rotary.module.get_buffer("inv_freq").double()[order]
        return replace(trained, inv_freq=tuple(live.tolist()), rope_type="axial")
    rope_type = getattr(rotary.module, "rope_type", "default")
    return replace(
        read_plain_rope(rotary.config, layer_type),
        inv_freq=tuple(turning(rotary.module.get_buffer(names[layer_type])).tolist()),
        attention_factor=attention_scaling(rotary.module, layer_type),
        rope_type=str(rope_type[layer_type] if isinstance(rope_type, dict) else rope_type),
    )
