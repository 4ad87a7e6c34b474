"""Adjusted base frequency: theta replaced outright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope, check_positive
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import check_factor
from rope_scaling.schemes.ntk import with_theta


@dataclass(frozen=True)
class ABF:
    """theta replaced by another (Effective Long-Context Scaling, arXiv 2309.16039v3, section 2.1).

    Attributes:
        theta: The new base, at least the trained one. The paper takes 500000 for Llama 2's 10000.
        factor: Only declares the new length; the frequencies follow from `theta` alone.
    """

    name: ClassVar[str] = "abf"
    theta: float
    factor: float | None = None

    def __post_init__(self) -> None:
        check_positive("theta", self.theta)
        check_factor(self.factor)

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """The frequencies of the new theta, at any length."""
        if self.theta < rope.theta:
            raise ValueError(
                f"abf needs a theta of at least the trained one ({rope.theta:g}), got {self.theta:g}: "
                "a smaller one turns faster and shortens the context"
            )
        return with_theta(rope, self.theta)

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: the plain type with the new theta."""
        return {"rope_type": "default", "rope_theta": float(self.theta)}
