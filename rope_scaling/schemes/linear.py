"""Position Interpolation: every frequency divided by the factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import check_factor, factor_at


@dataclass(frozen=True)
class Linear:
    """θᵢ / s (Position Interpolation, arXiv 2306.15595v2, eq. 3). Needs fine-tuning to be worth much."""

    name: ClassVar[str] = "linear"
    factor: float | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """Every pair turns s times slower."""
        s = factor_at(rope, self.factor, length)
        return ScaledRope(tuple(f / s for f in rope.inv_freq), rope.attention_factor)

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: `linear`."""
        return {
            "rope_type": "linear",
            "rope_theta": rope.theta,
            "factor": factor_at(rope, self.factor, None),
        }
