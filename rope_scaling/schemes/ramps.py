"""How interpolation is blended with extrapolation from pair to pair."""

from __future__ import annotations

import math

from rope_scaling.rope import Rope, check_positive


def check_turns(slow_name: str, slow: float, fast_name: str, fast: float) -> None:
    """ValueError unless 0 < slow < fast, both finite numbers of turns."""
    check_positive(slow_name, slow)
    check_positive(fast_name, fast)
    if fast <= slow:
        raise ValueError(f"{fast_name} must be above {slow_name}, got {fast_name}={fast}, {slow_name}={slow}")


def keep_by_turns(rope: Rope, slow: float, fast: float) -> tuple[float, ...]:
    """γ, (rotary_dim / 2,): 0 up to `slow` turns within L, 1 from `fast` turns on (arXiv 2309.00071v2, eq. 18)."""
    turns = (rope.original_max_position_embeddings / w for w in rope.wavelengths)  # rᵢ = L / λᵢ, eq. 17
    return tuple(min(1.0, max(0.0, (r - slow) / (fast - slow))) for r in turns)


def keep_by_index(rope: Rope, slow: float, fast: float, *, truncate: bool) -> tuple[float, ...]:
    """γ, (rotary_dim / 2,): 1 up to the pair that makes `fast` turns within L, 0 from that of `slow` turns on.

    Linear in the pair's index, as in the authors' code (jquesnelle/yarn) and in every engine since, where the paper's
    eq. 18 is linear in the turns. The range is clamped to [0, d - 1] as there, though there are d / 2 pairs.
    """
    low, high = _pair_of_turns(rope, fast), _pair_of_turns(rope, slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.rotary_dim - 1)
    width = high - low or 0.001  # the authors' guard against a ramp of no width
    return tuple(1 - min(1.0, max(0.0, (i - low) / width)) for i in range(rope.rotary_dim // 2))


def blend(rope: Rope, keep: tuple[float, ...], s: float) -> tuple[float, ...]:
    """(1 - γ) θᵢ / s + γ θᵢ (arXiv 2309.00071v2, eq. 20)."""
    if s == 1:
        return rope.inv_freq  # bit for bit: rounding must change nothing where there is nothing to scale
    return tuple(min(f, (1 - k) * f / s + k * f) for f, k in zip(rope.inv_freq, keep, strict=True))


def _pair_of_turns(rope: Rope, turns: float) -> float:
    """The (fractional) index of the pair that turns `turns` times within L: λᵢ = L / turns solved for i."""
    length = rope.original_max_position_embeddings
    if rope.theta <= 1:
        raise ValueError(f"a ramp over the pairs needs a theta above 1, got {rope.theta}: use 'linear'")
    return rope.rotary_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))
