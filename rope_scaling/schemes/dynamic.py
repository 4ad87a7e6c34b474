"""Transformers' own `dynamic` type, for parity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import DEFAULT_FACTOR, check_factor
from rope_scaling.schemes.ntk import ntk_exponent, with_theta


@dataclass(frozen=True)
class Dynamic:
    """theta · (f · T/L − (f − 1))^(d/(d−2)) for T > L (emozilla, 2023; Transformers `_compute_dynamic_ntk_parameters`).

    It changes with every length T, so cached keys and new ones disagree: a model is not patched with it.
    """

    name: ClassVar[str] = "dynamic"
    factor: float | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """The frequencies at `length` tokens; without one, those at f · L."""
        f = float(DEFAULT_FACTOR if self.factor is None else self.factor)
        turns = f if length is None else max(1.0, length / rope.original_max_position_embeddings)  # T / L
        return with_theta(rope, rope.theta * (f * turns - (f - 1)) ** ntk_exponent(rope))

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: `dynamic`."""
        return {
            "rope_type": "dynamic",
            "rope_theta": rope.theta,
            "factor": float(DEFAULT_FACTOR if self.factor is None else self.factor),
        }
