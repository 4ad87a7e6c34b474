"""The rotation itself, from one row of the grid to another: an operator, so that a graph holds it whole."""

from __future__ import annotations

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
    axes: list[int],
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
        axes: For positions on several axes, which of them each pair turns by.
        start: The first dimension that turns.
        interleaved: Whether neighbours are a pair.
        sense: 1 where a pair turns by its angle, -1 where it turns the other way.
    """
    device = keys.device
    arguments = [one.to(device) for one in (positions, old, new, inv_freq, factors)]
    torch.ops.rope_scaling.rerotate(keys, residual, *arguments, axes, start, interleaved, sense)


def _on_cpu(
    keys: Tensor,
    residual: Tensor | None,
    positions: Tensor,
    old: Tensor,
    new: Tensor,
    inv_freq: Tensor,
    factors: Tensor,
    axes: list[int],
    start: int,
    interleaved: bool,
    sense: int,
) -> None:
    for row in torch.nonzero(old.clamp(min=0) != new.clamp(min=0)).flatten().tolist():
        if old[row] < 0:
            continue
        before, after = int(old[row]), int(new[row])
        axes = axes if positions.shape[0] > 1 else []
        for at in range(0, keys.shape[2], _CHUNK):
            part = slice(at, at + _CHUNK)
            where = positions[axes or [0], row, part].T.float()  # (slots, pairs or 1)
            cos, sin = _between(where * inv_freq[before], where * inv_freq[after])
            ratio = factors[after] / factors[before]
            rest = None if residual is None else residual[row, :, part]
            _turn_exactly(keys[row, :, part], rest, cos * ratio, sense * sin * ratio, start, interleaved)


def _between(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of new - old, in float64, from angles as float32 has them."""
    difference = new.double() - old.double()
    return difference.cos(), difference.sin()


def _turn_exactly(
    keys: Tensor, residual: Tensor | None, cos: Tensor, sin: Tensor, start: int, interleaved: bool
) -> None:
    """Turn (heads, slots, dims) by (slots, pairs) in float32 or better, and keep what rounding takes."""
    wide = keys.float() if keys.dtype != torch.float64 else keys.clone()
    if residual is not None:
        wide += residual
    turn(wide[..., start : start + 2 * cos.shape[-1]], cos.to(wide.dtype), sin.to(wide.dtype), interleaved)
    keys.copy_(wide)
    if residual is not None:
        residual.copy_(wide - keys.float())


_library: Any = torch.library.Library("rope_scaling", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(
    "rerotate(Tensor(a!) keys, Tensor(b!)? residual, Tensor positions, Tensor old, Tensor new, Tensor inv_freq, "
    "Tensor factors, int[] axes, int start, bool interleaved, int sense) -> ()"
)
_library.impl("rerotate", _on_cpu, "CPU")
torch.library.register_fake("rope_scaling::rerotate", lambda *_: None, lib=_library)
