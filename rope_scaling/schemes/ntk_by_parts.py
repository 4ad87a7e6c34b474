"""NTK-by-parts: fast pairs kept, slow pairs interpolated, by the turns that they make in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes.factor import check_factor, factor_at
from rope_scaling.schemes.ramps import blend, check_turns, keep_by_turns


@dataclass(frozen=True)
class NTKByParts:
    """(1 - γ(rᵢ)) θᵢ / s + γ(rᵢ) θᵢ (arXiv 2309.00071v2, eq. 17-20), the ramp linear in the turns rᵢ = L / λᵢ.

    Attributes:
        factor: s.
        alpha: Turns within L up to which a pair is interpolated.
        beta: Turns within L from which a pair is kept.
    """

    name: ClassVar[str] = "ntk-by-parts"
    factor: float | None = None
    alpha: float = 1.0
    beta: float = 32.0

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_turns("alpha", self.alpha, "beta", self.beta)

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """Blend of interpolated and trained frequencies, pair by pair."""
        s = factor_at(rope, self.factor, length)
        return ScaledRope(blend(rope, keep_by_turns(rope, self.alpha, self.beta), s), rope.attention_factor)

    def rope_parameters(self, rope: Rope) -> None:
        """No native type has this ramp."""
