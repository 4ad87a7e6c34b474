"""Whether a config is read here as Transformers reads it: a scheme must start from the trained frequencies."""

from __future__ import annotations

import math

import torch
from transformers import PreTrainedConfig

from rope_scaling.config import read_rope
from rope_scaling.patches.discover import RotarySite, attention_scaling, frequency_buffers, turning
from rope_scaling.patches.state import fresh_module
from rope_scaling.rope import Rope

_TOLERANCE = 1e-5
"""Relative; a misread key is off by far more, float32 powers of a large theta by a tenth of it."""


def check_reading(site: RotarySite, config: PreTrainedConfig) -> None:
    """ValueError unless the config that a site read before any patch means to us what it means to its rotary class.

    Raises:
        TypeError: The config has no RoPE.
        ValueError: A key of the config is impossible, or the class reads other keys than we do; the message names it.
    """
    kinds = frequency_buffers(site.module).values()
    ropes = {kind: read_rope(config, kind, length=_made_at(read_rope(config, kind))) for kind in kinds}
    module = fresh_module(type(site.module), config)
    for name, kind in frequency_buffers(module).items():
        if kind not in ropes:
            continue
        wrong = _difference(module.get_buffer(name), attention_scaling(module, kind), ropes[kind])
        if wrong is not None:
            keys = ", ".join(map(str, config.rope_parameters if kind is None else config.rope_parameters[kind]))
            raise ValueError(
                f"{site.name} ({type(site.module).__name__}) reads its config otherwise than its words say: {wrong} "
                f"(rope_parameters hold {keys}); a patch would start from the wrong frequencies"
            )


def _made_at(rope: Rope) -> int | None:
    """The length at which a fresh module stands: longrope starts with its short list."""
    return rope.original_max_position_embeddings if rope.rope_type == "longrope" else None


def _difference(buffer: torch.Tensor, factor: float, rope: Rope) -> str | None:
    said = torch.tensor(rope.inv_freq, dtype=torch.float64, device="cpu")  # (rotary_dim / 2,)
    made = turning(buffer)
    if made.shape != said.shape:
        return f"it rotates {made.numel()} pairs where the config says {said.numel()}"
    off = (made - said).abs().max().item() if not made.isfinite().all() else ((made - said).abs() / said).max().item()
    if not off <= _TOLERANCE:
        return f"its frequencies are off by {off:.2g}"
    if not math.isclose(factor, rope.attention_factor, rel_tol=_TOLERANCE):
        return f"its attention factor is {factor:.7g}, the config says {rope.attention_factor:.7g}"
    return None
