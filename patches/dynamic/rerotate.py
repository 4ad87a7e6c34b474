"""The rotation itself, from one row of the grid to another: an operator, so that a graph holds it whole."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from rope_scaling.patches.dynamic.layout import turn

_CHUNK = 4096
"""Slots rotated at once."""


def rerotate(
    keys: Tensor,
    residual: Tensor | None,
    positions: Tensor,
    old: Tensor,
    new: Tensor,
    inv_freq: Tensor,
    factors: Tensor,
    axes: Tensor | None,
    start: int,
    interleaved: bool,
    sense: int,
) -> None:
    """Turn keys from the angles of row `old` of a grid to those of row `new`, in place, where the two differ.

    An angle is the float32 product of position and frequency, as rotary modules compute it, and is taken back as it
    was put on: the result is what a fresh forward at the new scale would have cached.

    Args:
        keys: (rows, heads, slots, dims).
        residual: As `keys`: what rounding took from them, updated; None to let it go.
        positions: (axes, rows, slots).
        old: (rows,), as cached; -1 for rows that have not begun.
        new: (rows,).
        inv_freq: (grid, pairs), float32.
        factors: (grid,), float32.
        axes: (pairs,), for positions on several axes: which of them each pair turns by.
        start: The first dimension that turns.
        interleaved: Whether neighbours are a pair.
        sense: 1 where a pair turns by its angle, -1 where it turns the other way.
    """
    device = keys.device
    arguments = [one.to(device) for one in (positions, old, new, inv_freq, factors)]
    axes = None if axes is None else axes.to(device)
    torch.ops.rope_scaling.rerotate(keys, residual, *arguments, axes, start, interleaved, sense)


def _by_torch(
    keys: Tensor,
    residual: Tensor | None,
    positions: Tensor,
    old: Tensor,
    new: Tensor,
    inv_freq: Tensor,
    factors: Tensor,
    axes: Tensor | None,
    start: int,
    interleaved: bool,
    sense: int,
) -> None:
    """On any device: every row is computed, and kept where it has grown; nothing waits for the device."""
    before, after = old.clamp(min=0), new.clamp(min=0)
    grown = ((old >= 0) & (before != after))[:, None, None, None]
    ratio = (factors[after].double() / factors[before].double())[:, None, None]
    for at in range(0, keys.shape[2], _CHUNK):
        part = slice(at, at + _CHUNK)
        where = positions[:, :, part].float()  # (axes, rows, slots)
        where = where[0, ..., None] if axes is None or where.shape[0] == 1 else where[axes].permute(1, 2, 0)
        angle = (where * inv_freq[after, None]).double() - (where * inv_freq[before, None]).double()
        cos, sin = angle.cos() * ratio, angle.sin() * ratio * sense  # (rows, slots, pairs)
        held = keys[:, :, part]
        wide = held.double() if keys.dtype == torch.float64 else held.float()
        rest = None if residual is None else residual[:, :, part]
        turned = wide.clone() if rest is None else wide + rest
        width = slice(start, start + 2 * cos.shape[-1])
        turn(turned[..., width], cos[:, None].to(wide.dtype), sin[:, None].to(wide.dtype), interleaved)
        kept = torch.where(grown, turned.to(keys.dtype), held)
        if rest is not None:
            rest.copy_(torch.where(grown, turned - kept.float(), rest))
        held.copy_(kept)


def _on_cpu(keys: Tensor, residual: Tensor | None, positions: Tensor, old: Tensor, new: Tensor, *rest: Any) -> None:
    """Row by row, those that have grown: what is early return for a kernel."""
    for row in ((old >= 0) & (old != new)).nonzero().flatten().tolist():
        one = slice(row, row + 1)
        own = None if residual is None else residual[one]
        _by_torch(keys[one], own, positions[:, one], old[one], new[one], *rest)


def _on_cuda(keys: Tensor, *rest: Any) -> None:
    if importlib.util.find_spec("triton") is None:
        _by_torch(keys, *rest)
        return
    from rope_scaling.patches.dynamic.kernel import launch

    launch(keys, *rest)


_library: Any = torch.library.Library("rope_scaling", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(
    "rerotate(Tensor(a!) keys, Tensor(b!)? residual, Tensor positions, Tensor old, Tensor new, Tensor inv_freq, "
    "Tensor factors, Tensor? axes, int start, bool interleaved, int sense) -> ()"
)
_library.impl("rerotate", _by_torch, "CompositeExplicitAutograd")
_library.impl("rerotate", _on_cpu, "CPU")
_library.impl("rerotate", _on_cuda, "CUDA")
torch.library.register_fake("rope_scaling::rerotate", lambda *_: None, lib=_library)
