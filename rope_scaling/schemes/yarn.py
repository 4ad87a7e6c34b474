"""YaRN: NTK-by-parts and a temperature on attention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.rope import Rope, ScaledRope, check_positive
from rope_scaling.schemes.base import RopeParameters
from rope_scaling.schemes.factor import check_factor, factor_at
from rope_scaling.schemes.ntk_by_parts import NTKByParts
from rope_scaling.schemes.ramps import blend, check_turns, keep_by_index


def yarn_attention_factor(s: float, mscale: float = 1.0) -> float:
    """√(1/t) = 0.1 ln s + 1 (arXiv 2309.00071v2, eq. 22); `mscale` is DeepSeek's weight on the logarithm."""
    return 0.1 * mscale * math.log(s) + 1.0 if s > 1 else 1.0


@dataclass(frozen=True)
class YaRN:
    """YaRN (arXiv 2309.00071v2) with the ramp that every engine ships, linear in the pair's index.

    Its mid frequencies differ by up to 130 % from the paper's own ramp, which is `YaRNTurns`.

    Attributes:
        factor: s.
        beta_fast: Turns within L from which a pair is kept.
        beta_slow: Turns within L up to which a pair is interpolated.
        attention_factor: Multiplies cos and sin; 0.1 ln s + 1 unless given.
        truncate: Round the ramp's ends outwards to whole pairs, as the authors' code does.
    """

    name: ClassVar[str] = "yarn"
    factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_turns("beta_slow", self.beta_slow, "beta_fast", self.beta_fast)
        if self.attention_factor is not None:
            check_positive("attention_factor", self.attention_factor)
        if not isinstance(self.truncate, bool):
            raise ValueError(f"truncate must be true or false, got {self.truncate!r}")

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """Blend of interpolated and trained frequencies, and the attention factor of s."""
        s = factor_at(rope, self.factor, length)
        keep = keep_by_index(rope, self.beta_slow, self.beta_fast, truncate=self.truncate)
        own = yarn_attention_factor(s) if self.attention_factor is None else self.attention_factor
        return ScaledRope(blend(rope, keep, s), rope.attention_factor * own)

    def rope_parameters(self, rope: Rope) -> RopeParameters:
        """Native: `yarn`, with those options that are not Transformers' defaults."""
        said: RopeParameters = {
            "rope_type": "yarn",
            "rope_theta": rope.theta,
            "factor": factor_at(rope, self.factor, None),
            "original_max_position_embeddings": rope.original_max_position_embeddings,
        }
        options = {
            "beta_fast": (float(self.beta_fast), 32.0),
            "beta_slow": (float(self.beta_slow), 1.0),
            "truncate": (self.truncate, True),
            "attention_factor": (self.attention_factor, None),
        }
        return said | {key: value for key, (value, default) in options.items() if value != default}


@dataclass(frozen=True)
class YaRNTurns:
    """YaRN with the paper's own ramp (arXiv 2309.00071v2, eq. 17-22), linear in the turns; no engine ships it.

    Attributes:
        factor: s.
        alpha: Turns within L up to which a pair is interpolated.
        beta: Turns within L from which a pair is kept.
    """

    name: ClassVar[str] = "yarn-turns"
    factor: float | None = None
    alpha: float = 1.0
    beta: float = 32.0

    def __post_init__(self) -> None:
        self._by_parts()

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """NTK-by-parts' frequencies, and the attention factor of s."""
        scaled = self._by_parts()(rope, length)
        own = yarn_attention_factor(factor_at(rope, self.factor, length))
        return ScaledRope(scaled.inv_freq, scaled.attention_factor * own)

    def rope_parameters(self, rope: Rope) -> None:
        """No native type has this ramp."""

    def _by_parts(self) -> NTKByParts:
        return NTKByParts(self.factor, self.alpha, self.beta)
