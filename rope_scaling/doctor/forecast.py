"""What each scheme would do to a checkpoint's frequencies at a wished length."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes import NTK, Linear, Llama3, NoScaling, NTKByParts, Scheme, YaRN

_SAME = 1e-9


@dataclass(frozen=True)
class Forecast:
    """One scheme at one length.

    Attributes:
        scheme: Its name.
        slowed: Least and largest trained frequency / new frequency over the pairs.
        attention_factor: What cos and sin are multiplied with, the trained factor included.
        kept: How many of the fastest pairs keep their frequency.
        interpolated: How many of the slowest pairs are divided by the whole factor, or more.
        extrapolated: First and last of the pairs that would see angles which they never saw in training; None where
            there is none.
        overshoot: The largest angle at the new length / the largest that was trained, over those pairs.
        nearest: Largest angle between neighbouring tokens / the trained one: below 1, near tokens look nearer.
    """

    scheme: str
    slowed: tuple[float, float]
    attention_factor: float
    kept: int
    interpolated: int
    extrapolated: tuple[int, int] | None
    overshoot: float
    nearest: float


def forecast(rope: Rope, max_length: int) -> list[Forecast]:
    """Every static scheme over `rope`, made for `max_length` tokens.

    Raises:
        ValueError: It is not longer than what was trained.
    """
    length = rope.original_max_position_embeddings
    if max_length <= length:
        raise ValueError(f"max_length must be above the trained length {length} to be scaled for, got {max_length}")
    s = max_length / length
    schemes: list[Scheme] = [NoScaling(), Linear(s), NTK(s), NTKByParts(s), YaRN(s), Llama3(s)]
    made = []
    for scheme in schemes:
        try:
            made.append(_one(scheme.name, rope, scheme(rope), max_length))
        except (ValueError, OverflowError, ZeroDivisionError):
            continue  # this RoPE has too few pairs, or a theta of 1: the scheme makes nothing of it
    return made


def _one(name: str, rope: Rope, scaled: ScaledRope, max_length: int) -> Forecast:
    length, s = rope.original_max_position_embeddings, max_length / rope.original_max_position_embeddings
    slowed = [f / g if g else 1.0 for f, g in zip(rope.inv_freq, scaled.inv_freq, strict=True)]
    over = {
        pair: g * max_length / (f * length)
        for pair, (f, g) in enumerate(zip(rope.inv_freq, scaled.inv_freq, strict=True))
        # a pair that made a whole turn in training has seen every angle
        if 0 < f * length < 2 * math.pi and g * max_length > f * length * (1 + _SAME)
    }
    return Forecast(
        scheme=name,
        slowed=(min(slowed), max(slowed)),
        attention_factor=scaled.attention_factor,
        kept=sum(ratio <= 1 + _SAME for ratio in slowed),
        interpolated=sum(ratio >= s * (1 - _SAME) for ratio in slowed),
        extrapolated=(min(over), max(over)) if over else None,
        overshoot=max(over.values(), default=1.0),
        nearest=1 / slowed[0],
    )
