"""Position maps: where a token of a given index is put before it is rotated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rope_scaling.rope import check_positive


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")


@runtime_checkable
class PositionMap(Protocol):
    """The position of a token by its index in its own sequence: a frozen value, traceable, without a host sync."""

    def __call__(self, index: Tensor) -> Tensor:
        """Positions, float64, for indices, int64, of any shape."""
        ...


@dataclass(frozen=True)
class Affine:
    """index / divisor + offset, the quotient rounded down where `floor` says so.

    Attributes:
        divisor: Tokens that share one position's width, above 0; whole or not.
        offset: Added after the division.
        floor: Whether tokens are merged into groups (Self-Extend) or laid out more densely (leaky ReRoPE).
    """

    divisor: float = 1.0
    offset: float = 0.0
    floor: bool = False

    def __post_init__(self) -> None:
        check_positive("divisor", self.divisor)
        _check_finite("offset", self.offset)

    def __call__(self, index: Tensor) -> Tensor:
        """Exact below 2^53 for a whole divisor: a quotient that is no whole number never rounds to one."""
        position = index.to(torch.float64) / self.divisor
        return (position.floor() if self.floor else position) + self.offset


@dataclass(frozen=True)
class Constant:
    """The same position for every token."""

    position: float

    def __post_init__(self) -> None:
        _check_finite("position", self.position)

    def __call__(self, index: Tensor) -> Tensor:
        """`position` in the shape of `index`."""
        return torch.full_like(index, self.position, dtype=torch.float64)


@dataclass(frozen=True)
class Modulo:
    """min(index mod chunk + offset, cap): the position within a chunk.

    Attributes:
        chunk: Tokens in a chunk.
        offset: Added to the remainder.
        cap: The largest position; no bound where None.
    """

    chunk: int
    offset: float = 0.0
    cap: float | None = None

    def __post_init__(self) -> None:
        check_positive("chunk", self.chunk)
        _check_finite("offset", self.offset)
        if self.cap is not None:
            _check_finite("cap", self.cap)

    def __call__(self, index: Tensor) -> Tensor:
        """Positions in [offset, cap]."""
        position = (index % self.chunk).to(torch.float64) + self.offset
        return position if self.cap is None else position.clamp(max=self.cap)


@dataclass(frozen=True)
class LogRatio:
    """max(1, log(index + 1) / log(length)): no position, but how much sharper a query must look at more keys.

    Attributes:
        length: Tokens up to which nothing is sharpened.
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length must be at least 2 tokens, got {self.length}")

    def __call__(self, index: Tensor) -> Tensor:
        """Multipliers of the scores of queries, 1 exactly within `length`."""
        ratio = torch.log1p(index.clamp(min=0).to(torch.float64)) / math.log(self.length)
        return torch.where(index < self.length, torch.ones_like(ratio), ratio)


IDENTITY = Affine()
"""Every token at its own index."""
