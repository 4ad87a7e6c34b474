"""LongRoPE: a divisor for every pair, found by search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope, check_positive
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import check_factor, factor_at


def longrope_attention_factor(s: float, length: int) -> float:
    """√(1 + ln s / ln L) (arXiv 2402.13753v1 as released with Phi-3; Transformers `_compute_longrope_parameters`)."""
    return math.sqrt(1 + math.log(s) / math.log(length)) if s > 1 else 1.0


@dataclass(frozen=True)
class LongRoPE:
    """θᵢ / λ̂ᵢ with one divisor a pair (arXiv 2402.13753v1, eq. 3).

    Released models switch lists at L, which breaks a KV cache that crosses it; a patched model uses `long_factor` at
    every length (with `factor` 1, `short_factor`).

    Attributes:
        long_factor: Divisors for sequences longer than L, (rotary_dim / 2,).
        short_factor: Divisors for sequences of up to L tokens; 1 each unless given.
        factor: s.
        attention_factor: Multiplies cos and sin; √(1 + ln s / ln L) unless given.
    """

    name: ClassVar[str] = "longrope"
    long_factor: Sequence[float]
    short_factor: Sequence[float] | None = None
    factor: float | None = None
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)
        for name in ("long_factor", "short_factor"):
            values = getattr(self, name)
            if values is not None and (isinstance(values, str) or not isinstance(values, Sequence)):
                raise ValueError(f"{name} must be a list of divisors, one a pair, got {values!r}")
            if values is not None:
                object.__setattr__(self, name, tuple(check_positive(f"{name}[...]", v) for v in values))
        if self.attention_factor is not None:
            check_positive("attention_factor", self.attention_factor)

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """The trained frequencies divided by `long_factor` where s is above 1, else by `short_factor`."""
        s = factor_at(rope, self.factor, length)
        divisors = self._divisors(rope, "long_factor" if s > 1 else "short_factor")
        own = self.attention_factor
        if own is None:
            # s of the whole extension: the released models multiply short sequences by it as well
            whole = s if self.factor is None else float(self.factor)
            own = longrope_attention_factor(whole, rope.original_max_position_embeddings)
        inv_freq = tuple(f / x for f, x in zip(rope.inv_freq, divisors, strict=True))
        return ScaledRope(inv_freq, rope.attention_factor * own)

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: `longrope` with the same list twice, so that it never switches."""
        return longrope_parameters(rope, self(rope), factor_at(rope, self.factor, None))

    def _divisors(self, rope: Rope, name: str) -> Sequence[float]:
        values: Sequence[float] | None = getattr(self, name)
        pairs = rope.rotary_dim // 2
        if values is None:
            return (1.0,) * pairs
        if len(values) != pairs:
            raise ValueError(f"{name} must hold rotary_dim / 2 = {pairs} divisors, got {len(values)}")
        return values


def longrope_parameters(rope: Rope, scaled: ScaledRope, factor: float) -> RopeParameters:
    """Any static scaling in the words of a native `longrope`: θᵢ / θ'ᵢ as short_factor and long_factor.

    θᵢ are the plain frequencies of `rope.theta`, which the config's `rope_theta` keeps.
    """
    plain = Rope.plain(rope.theta, rope.rotary_dim, rope.original_max_position_embeddings)
    divisors = [f / g for f, g in zip(plain.inv_freq, scaled.inv_freq, strict=True)]
    return {
        "rope_type": "longrope",
        "rope_theta": rope.theta,
        "factor": float(factor),
        "short_factor": divisors,
        "long_factor": list(divisors),
        "attention_factor": float(scaled.attention_factor),
        "original_max_position_embeddings": rope.original_max_position_embeddings,
    }
