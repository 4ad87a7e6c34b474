"""Whether Transformers, given a config, rotates as a scheme says: tried on a rotary module that it makes itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.patches.discover import frequency_buffers, turning
from rope_scaling.patches.request import LayerRequest
from rope_scaling.patches.state import fresh_module

_TOLERANCE = 1e-6
"""Relative, between float64 and what Transformers computes in float32 (a few units of 6e-8)."""


def what_is_wrong(cls: type[nn.Module], config: PreTrainedConfig, layer: LayerRequest) -> str | None:
    """Why a module of `cls` made from `config` would not rotate as the scheme says; None where it would."""
    module = fresh_module(cls, config)
    factor = _factor_at_origin(module, layer.layer_type)
    buffers = {kind: name for name, kind in frequency_buffers(module).items()}
    made = turning(module.get_buffer(buffers[layer.layer_type]))  # (rotary_dim / 2,)
    scaled = layer.scheme(layer.rope)
    meant = torch.tensor(scaled.inv_freq, dtype=torch.float64, device="cpu")
    if made.shape != meant.shape:
        return f"it rotates {made.numel()} pairs where the config says {meant.numel()}"
    error_of = ((made - meant).abs() / meant).max().item()
    if error_of > _TOLERANCE:
        return f"its frequencies are off by {error_of:.2g}"
    if not math.isclose(factor, scaled.attention_factor, rel_tol=_TOLERANCE):
        return f"it multiplies cos and sin with {factor:.7g} instead of {scaled.attention_factor:.7g}"
    return None


def _factor_at_origin(module: nn.Module, layer_type: str | None) -> float:
    """What a forward multiplies cos with: phimoe reads further keys of its config only there."""
    x = torch.zeros(1, 2, 1, dtype=torch.float32, device="cpu")  # whatever the default dtype
    positions = torch.arange(2, device="cpu")[None]  # (1, 2)
    made = module(x, positions) if layer_type is None else module(x, positions, layer_type)
    turned: Tensor = made[0] if isinstance(made, tuple) else made  # cos, or complex numbers
    return float(turned[0, 0].abs().max())
