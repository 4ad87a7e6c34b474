"""What all schemes have in common, as a type."""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from rope_scaling.rope import Rope, ScaledRope

RopeParameters: TypeAlias = dict[str, object]
"""Transformers' `config.rope_parameters` for one layer type."""


@runtime_checkable
class Scheme(Protocol):
    """A frozen dataclass of options that maps a `Rope` and a length to a `ScaledRope`."""

    name: ClassVar[str]
    """What users call it."""

    @property
    def factor(self) -> float | None:
        """s, new length / trained length; None where it is left to the caller."""
        ...

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """Frequencies for sequences of `length` tokens: s = max(1, length / L), at most `factor`.

        Without a length, those for s = `factor` (2 unless given).
        """
        ...

    def rope_parameters(self, rope: Rope) -> RopeParameters | None:
        """What a config says for the same frequencies over a plain `rope`; None where no native type can."""
        ...
