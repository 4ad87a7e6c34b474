"""NTK-aware scaling: a larger theta, so that fast pairs keep their turns and the slowest is interpolated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import check_factor, factor_at


def ntk_exponent(rope: Rope) -> float:
    """The power of s that theta is multiplied with, d / (d - 2)."""
    if rope.rotary_dim <= 2:
        raise ValueError(f"NTK scaling needs a rotary_dim above 2, got {rope.rotary_dim}: use 'linear'")
    return rope.rotary_dim / (rope.rotary_dim - 2)


def with_theta(rope: Rope, theta: float) -> ScaledRope:
    """The frequencies of `rope` as if made from `theta`: pair i multiplied by (theta' / theta)^(-2i/d)."""
    ratio = theta / rope.theta
    return ScaledRope(
        tuple(f * ratio ** (-2 * i / rope.rotary_dim) for i, f in enumerate(rope.inv_freq)),
        rope.attention_factor,
    )


@dataclass(frozen=True)
class NTK:
    """theta' = theta · s^(d/(d-2)) (bloc97, 2023; arXiv 2309.00071v2, eq. 16): the last pair ends at θ/s."""

    name: ClassVar[str] = "ntk"
    factor: float | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def theta(self, rope: Rope, length: float | None = None) -> float:
        """The base that gives the same frequencies without any scaling type."""
        return float(rope.theta * factor_at(rope, self.factor, length) ** ntk_exponent(rope))

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """Pair i multiplied by s^(-2i/(d-2))."""
        return with_theta(rope, self.theta(rope, length))

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: the plain type with another theta."""
        return {"rope_type": "default", "rope_theta": self.theta(rope)}
