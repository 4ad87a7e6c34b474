"""Llama 3.1's scaling: a ramp in the inverse wavelength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import check_factor, factor_at
from rope_scaling.schemes.ramps import blend, check_turns, keep_by_turns


@dataclass(frozen=True)
class Llama3:
    """Llama 3.1 (meta-llama/llama-models, `apply_scaling`): NTK-by-parts between 1 and 4 turns.

    Attributes:
        factor: s, 8 in the released models.
        low_freq_factor: Turns within L up to which a pair is interpolated.
        high_freq_factor: Turns within L from which a pair is kept.
    """

    name: ClassVar[str] = "llama3"
    factor: float | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_turns("low_freq_factor", self.low_freq_factor, "high_freq_factor", self.high_freq_factor)

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """Blend of interpolated and trained frequencies; no attention factor."""
        s = factor_at(rope, self.factor, length)
        keep = keep_by_turns(rope, self.low_freq_factor, self.high_freq_factor)
        return ScaledRope(blend(rope, keep, s), rope.attention_factor)

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: `llama3`."""
        return {
            "rope_type": "llama3",
            "rope_theta": rope.theta,
            "factor": factor_at(rope, self.factor, None),
            "low_freq_factor": float(self.low_freq_factor),
            "high_freq_factor": float(self.high_freq_factor),
            "original_max_position_embeddings": rope.original_max_position_embeddings,
        }
