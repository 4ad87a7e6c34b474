"""Dynamic scaling: a scheme whose s follows the length of each sequence, so that texts within L stay as trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

from rope_scaling.rope import Rope, ScaledRope, check_positive
from rope_scaling.schemes.base import Scheme
from rope_scaling.schemes.remapped import is_remap

if TYPE_CHECKING:
    from rope_scaling.schemes.base import RopeParameters

PREFIX = "dynamic-"
FOLLOW_LENGTH = ("linear", "ntk", "ntk-by-parts", "yarn", "yarn-turns", "llama3", "longrope")
"""Schemes whose frequencies are made from s; those of `none` and `abf` are the same for every s."""
DEFAULT_GROWTH = 2**0.25
"""Measured by `benchmarks/dynamic_growth.py step`: see docs/dynamic.md."""


@dataclass(frozen=True)
class DynamicScaling:
    """s(T) = max(1, T/L) for a sequence of T tokens, at most `factor` (arXiv 2309.00071v2, section 3.3).

    `dynamic-yarn` is `DynamicScaling(YaRN())`. It is not Transformers' `dynamic`, which multiplies T/L by a factor of
    its own and changes the scale of every call.

    Attributes:
        scheme: What makes the frequencies of an s; its factor is the largest s, none where it has none.
        growth: By how much a row that outgrows its scale is scaled further than it needs, so that keys in a cache are
            rotated anew seldom and not with every token; above 1.
    """

    # a property where other schemes have a constant: each value is named after its scheme
    name: ClassVar[str] = cast("str", property(lambda self: PREFIX + self.scheme.name))
    scheme: Scheme
    growth: float = DEFAULT_GROWTH

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, Scheme) or isinstance(self.scheme, (type, DynamicScaling)):
            raise TypeError(f"dynamic scaling is of a scheme such as YaRN(), got {self.scheme!r}")
        if is_remap(self.scheme):
            raise ValueError(
                f"{self.scheme.name!r} needs no dynamic scaling: it leaves texts within L alone and follows the length "
                "by itself"
            )
        if self.scheme.name not in FOLLOW_LENGTH:
            raise ValueError(
                f"scheme {self.scheme.name!r} cannot be dynamic: its frequencies do not follow from the length "
                f"({', '.join(FOLLOW_LENGTH)} can)"
            )
        if check_positive("growth", self.growth) <= 1 or math.isinf(self.growth):
            raise ValueError(f"growth must be above 1 (1.19: a fifth more than is needed), got {self.growth!r}")

    @property
    def factor(self) -> float | None:
        """The largest s; None where it has no bound."""
        return self.scheme.factor

    def capped(self, factor: float | None) -> DynamicScaling:
        """The same with another largest s."""
        return replace(self, scheme=replace(self.scheme, factor=factor))  # type: ignore[type-var]

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """The frequencies for a sequence of `length` tokens: within L the trained ones; without a length, L's.

        Those that a longrope checkpoint was trained with are its short list's.
        """
        trained = rope.original_max_position_embeddings
        if length is not None and length > trained:
            return self.scheme(rope, length)
        if self.scheme.name == "longrope":
            return self.scheme(rope, trained)
        return ScaledRope(rope.inv_freq, rope.attention_factor)

    def rope_parameters(self, rope: Rope) -> RopeParameters | None:
        """No native type follows the length of each row."""
        return None
