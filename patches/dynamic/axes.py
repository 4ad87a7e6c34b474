"""Which axis each pair of a rotary module turns by, where positions have three: time, height and width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.grid import FREQUENCIES
from rope_scaling.patches.dynamic.running import Probe, running

_AXES = 3
_ANGLE = 0.1


def pair_axes(module: nn.Module, prefix: str) -> list[int] | None:
    """For each pair 0, 1 or 2; None for a module that takes no such positions."""
    table = module.get_buffer(prefix + FREQUENCIES)
    pairs = table.shape[-1]
    alike = table.new_full((pairs,), _ANGLE)
    unlike = torch.linspace(_ANGLE, 3.0, pairs, device=table.device)  # below half a turn: a cosine tells them apart
    apart = torch.arange(1, _AXES + 1, device=table.device)[:, None, None]  # (axes, 1, 1): positions 1, 2, 3
    try:
        by_axis = _angles(module, prefix, alike, apart) / _ANGLE - 1
        by_pair = _angles(module, prefix, unlike, torch.ones_like(apart))
    except Exception:  # it takes positions on one axis only
        return None
    number = (by_pair[:, None] - unlike).abs().argmin(-1).tolist()  # which pair each dimension belongs to
    found = dict(zip(number, by_axis.round().long().tolist(), strict=True))
    return [found[pair] for pair in range(pairs)] if len(found) == pairs else None


def _angles(module: nn.Module, prefix: str, inv_freq: Tensor, positions: Tensor) -> Tensor:
    """What a module turns each dimension by, (pairs or 2 pairs,), at one token."""
    running.probes = (Probe(module, prefix, inv_freq, inv_freq.new_ones(())),)
    named = {} if not prefix else {"layer_type": prefix[:-1]}
    try:
        turned = module(torch.zeros(1, 1, 1, device=inv_freq.device), positions, **named)
    finally:
        running.probes = ()
    cos: Tensor = turned[0] if isinstance(turned, tuple) else turned.real
    return cos.reshape(-1).clamp(-1, 1).acos()
