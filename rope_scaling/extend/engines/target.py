"""What an engine is asked to serve: one checkpoint's RoPE, as its new config says it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rope_scaling.schemes.longrope import longrope_attention_factor
from rope_scaling.schemes.yarn import yarn_attention_factor

_EXACT = 1e-9


@dataclass(frozen=True)
class Target:
    """A checkpoint with its new RoPE.

    Attributes:
        model_type: The architecture, as Transformers calls it.
        parameters: `rope_parameters` of the new config.
        length: The new length in tokens.
        original: L, the length that was scaled from.
        is_plain_text: Whether the config is that of a language model alone: not one part of several, and with one RoPE
            for all of its layers.
    """

    model_type: str
    parameters: Mapping[str, Any]
    length: int
    original: int
    is_plain_text: bool = True

    @property
    def rope_type(self) -> str:
        """The config's word for the scaling."""
        return str(self.parameters.get("rope_type"))

    @property
    def attention_factor(self) -> float:
        """What cos and sin are multiplied with, where the config says it or its type implies it."""
        told = self.parameters.get("attention_factor")
        if told is not None:
            return float(told)
        return yarn_attention_factor(float(self.parameters["factor"])) if self.rope_type == "yarn" else 1.0

    @property
    def from_yarn_formula(self) -> float:
        """The attention factor over 0.1 ln s + 1: engines that compute the latter multiply by this."""
        return self.attention_factor / yarn_attention_factor(float(self.parameters["factor"]))

    @property
    def follows_yarn_formula(self) -> bool:
        """Whether the attention factor is 0.1 ln s + 1."""
        return math.isclose(self.from_yarn_formula, 1.0, rel_tol=_EXACT)

    @property
    def follows_longrope_formula(self) -> bool:
        """Whether the attention factor is √(1 + ln s / ln L), with s the ratio of the two lengths."""
        formula = longrope_attention_factor(self.length / self.original, self.original)
        return math.isclose(self.attention_factor, formula, rel_tol=_EXACT)

    @property
    def factor_is_the_ratio(self) -> bool:
        """Whether s is the ratio of the two lengths."""
        return math.isclose(float(self.parameters["factor"]), self.length / self.original, rel_tol=_EXACT)

    def said(self, **defaults: object) -> list[str]:
        """Those of these keys that the parameters set to something else than what an engine assumes."""
        return [key for key, value in defaults.items() if self.parameters.get(key, value) != value]


@dataclass(frozen=True)
class Engine:
    """What one engine does with a config.

    Attributes:
        name: What users call it.
        read: The architectures whose code of this engine was read for how they use `rope_parameters`.
    """

    name: str
    read: frozenset[str]

    def words(self, target: Target) -> dict[str, object]:
        """Further keys of `rope_parameters` by which this engine means the same as Transformers does."""
        return {}

    def refusal(self, target: Target) -> str | None:
        """Why this engine cannot be made to rotate as the config means it; None where it does."""
        if not target.is_plain_text:
            return "its reading of a RoPE for each layer type, or of a text model inside another, was not checked"
        if target.model_type not in self.read:
            told = ", ".join(sorted(self.read))
            return f"its code for {target.model_type} was not checked (checked: {told})"
        return self.cannot(target)

    def cannot(self, target: Target) -> str | None:
        """As `refusal`, for an architecture that was checked."""
        raise NotImplementedError

    def command(self, target: Target, path: str) -> str:
        """How to serve the checkpoint at `path`, which is quoted for a shell."""
        raise NotImplementedError

    def on_source(self, target: Target, source: str) -> str | None:
        """How to serve the source itself with the same RoPE, where flags can say it."""
        return None
