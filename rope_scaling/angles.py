"""Cosine and sine of positions × frequencies, right at far positions: angles as exact turns in fixed point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from rope_scaling.rope import Rope, ScaledRope

Frequencies: TypeAlias = Rope | ScaledRope | Sequence[float]
"""What has an `inv_freq`, in radians per token, or is one."""

TURN = 2**32
"""One turn in the units of the high part of `fixed_point_turns`."""


def rotary_cos_sin(positions: Tensor, frequencies: Frequencies) -> tuple[Tensor, Tensor]:
    """Cosine and sine of p · θᵢ, times the attention factor, one value for each pair of dimensions.

    Wrong by at most 1e-6 at every position up to ±2^20, whole (3.1e-7 measured) or not (4.2e-7, for frequencies up to
    1, as those of text are; the bound grows with the frequency). What holds further out is position and angle below
    2^31, in tokens and in turns. But a float32 position is itself in steps of 1/16 below 2^20: to interpolate far
    positions scale the frequencies, as the schemes do.

    Args:
        positions: (...), whole or not, of any integer or floating dtype.
        frequencies: A `Rope`, a `ScaledRope`, or `inv_freq` as Python floats.

    Returns:
        Two of (..., rotary_dim / 2) on the device of `positions`, float64 for float64 (then wrong by 2e-9), otherwise
        float32.
    """
    scaled = as_scaled(frequencies)
    cos, sin = cos_sin_of_turns(positions[..., None], fixed_point_turns([scaled.inv_freq], positions.device))
    return cos * scaled.attention_factor, sin * scaled.attention_factor


def fixed_point_turns(inv_freq: Sequence[Sequence[float]], device: torch.device | str | None = None) -> Tensor:
    """Turns per token, (2, n_axes, rotary_dim / 2), int64: units of 2^-32 turn, and of 2^-64 turn for what is left.

    A module that rotates keeps this in a buffer: integers survive `.to(torch.bfloat16)`, where frequencies do not, and
    no forward copies from the host, which a CUDA graph cannot capture. It goes to `cos_sin_of_turns`.

    Args:
        inv_freq: (n_axes, rotary_dim / 2), radians per token.
        device: Where the tensor is born.
    """
    rows = [[f / (2 * math.pi) * TURN for f in row] for row in inv_freq]
    if not all(abs(units) < math.inf for row in rows for units in row):  # torch.compile cannot trace isfinite
        raise ValueError("inv_freq must be finite, got nan or infinity among its frequencies")
    high = [[math.floor(units) for units in row] for row in rows]
    low = [[math.floor(units % 1.0 * TURN) for units in row] for row in rows]
    return torch.tensor([high, low], dtype=torch.int64, device=device)


def cos_sin_of_turns(positions: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle that the axes of each position add up to.

    Why fixed point: cos and sin see the fraction of a turn only, and a float32 product p · θ spends its 24 bits on
    whole turns first. Below p = 2^20 its values are 1/16 radian apart, and cos is wrong by up to 6e-2. Here whole
    turns drop out of integers, exactly, before anything is rounded: what is left to round to float32 is half a turn
    at most. No product overflows while positions and whole turns are below 2^31. benchmarks/far_angles.py measures
    this against other ways.

    Args:
        positions: (..., n_axes).
        turns: (2, n_axes, rotary_dim / 2), from `fixed_point_turns`.

    Returns:
        Two of (..., rotary_dim / 2), float64 for float64 positions, otherwise float32.
    """
    if positions.is_complex() or positions.dtype == torch.bool:
        raise TypeError(f"positions must be integers or real numbers, got {positions.dtype}")
    dtype = torch.float64 if positions.dtype == torch.float64 else torch.float32
    whole = positions.round() if positions.is_floating_point() else positions
    units = torch.zeros((), dtype=torch.int64, device=positions.device)
    for n, high, low in zip(whole.long().unbind(-1), *turns.unbind(0), strict=True):
        units = units + n[..., None] * high + ((n[..., None] * low) >> 32)  # (..., rotary_dim / 2)
    nearest = ((units + TURN // 2) & (TURN - 1)) - TURN // 2  # less whole turns: in [-1/2, 1/2) turn
    angle = nearest.to(dtype) * (2 * math.pi / TURN)
    if positions.is_floating_point():
        angle = angle + _fraction_angle((positions - whole).to(dtype), turns)
    return angle.cos(), angle.sin()


def as_scaled(frequencies: Frequencies) -> ScaledRope:
    """The frequencies and the attention factor, 1 where bare frequencies are given."""
    if isinstance(frequencies, Rope | ScaledRope):
        return ScaledRope(frequencies.inv_freq, frequencies.attention_factor)
    if isinstance(frequencies, Tensor):
        # reading a tensor waits for its device, in every forward
        raise TypeError("inv_freq must be Python floats, got a tensor: call its tolist() once, before the forward")
    return ScaledRope(tuple(frequencies), 1.0)


def _fraction_angle(fractions: Tensor, turns: Tensor) -> Tensor:
    """What fractions of a token, (..., n_axes), add to the angle, (..., rotary_dim / 2); differentiable."""
    high, low = turns.to(fractions.dtype).unbind(0)
    radians = (high + low / TURN) * (2 * math.pi / TURN)  # (n_axes, rotary_dim / 2), inv_freq again
    # a sum of products and no matmul, which TF32 would round to 11 bits
    angle: Tensor = (fractions[..., None] * radians).sum(-2)
    return angle
