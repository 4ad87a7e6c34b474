"""No scaling: the trained frequencies at any length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import check_factor


@dataclass(frozen=True)
class NoScaling:
    """The baseline: a `factor` raises the length that is declared and leaves the frequencies alone."""

    name: ClassVar[str] = "none"
    factor: float | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """The trained frequencies, whatever the length."""
        return ScaledRope(rope.inv_freq, rope.attention_factor)

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: the plain type."""
        return {"rope_type": "default", "rope_theta": rope.theta}
