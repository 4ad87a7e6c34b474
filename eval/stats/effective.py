"""Effective length: how far a scheme holds, answered yes, no or undecided at every length up to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

Answer = Literal["yes", "no", "undecided"]

THRESHOLDS: Mapping[str, float] = MappingProxyType({"ruler": 0.856, "needle": 0.9})
"""Least scores: Llama-2-7B at 4k in RULER (arXiv 2404.06654, section 4), and nine needles of ten."""


class Ends(Protocol):
    """Anything with the two ends of an interval: an `Interval`, a `PairedDifference`."""

    @property
    def low(self) -> float:
        """The lower end."""
        ...

    @property
    def high(self) -> float:
        """The upper end."""
        ...


@dataclass(frozen=True)
class EffectiveLength:
    """What is known of how far a scheme holds.

    Attributes:
        answers: whether it holds at each length measured.
        at_least: the largest length up to which every answer is yes; 0 is none.
        at_most: the largest length up to which no answer is no; 0 is none.
    """

    answers: Mapping[int, Answer]
    at_least: int
    at_most: int

    @property
    def decided(self) -> bool:
        """Whether the intervals leave one answer."""
        return self.at_least == self.at_most


def effective_length(measured: Mapping[int, Ends], threshold: float, *, at_most: bool = False) -> EffectiveLength:
    """Return how far the score is at least `threshold`, or at most it.

    Args:
        measured: an interval for each length. For perplexity the paired difference from `window`, where no length
            may be worse: `threshold=0, at_most=True`.
        threshold: what the score must reach, see `THRESHOLDS`.
        at_most: lower scores are better.

    Raises:
        ValueError: Nothing was measured.
    """
    if not measured:
        raise ValueError("no length was measured: give an interval for at least one")
    answers: dict[int, Answer] = {length: _answer(measured[length], threshold, at_most) for length in sorted(measured)}
    sure, possible = 0, 0
    for length, answer in answers.items():
        if answer == "no":
            break
        possible = length
    for length, answer in answers.items():
        if answer != "yes":
            break
        sure = length
    return EffectiveLength(MappingProxyType(answers), sure, possible)


def _answer(ends: Ends, threshold: float, at_most: bool) -> Answer:
    if at_most:
        return "yes" if ends.high <= threshold else "no" if ends.low > threshold else "undecided"
    return "yes" if ends.low >= threshold else "no" if ends.high < threshold else "undecided"
