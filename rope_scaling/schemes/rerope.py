"""ReRoPE and leaky ReRoPE: true distances up to a window, then one position for all, or positions laid more densely."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.remap import Affine, Band, Bands, Constant, Region
from rope_scaling.rope import check_positive
from rope_scaling.schemes.remapped import Reach, Remap, check_count, window_within

REROPE_WINDOW_SHARE = 3 / 4
LEAKY_WINDOW_SHARE = 1 / 8
"""window / L unless a window is given: measured, see docs/remap.md."""
STEP = 2**0.5
"""By how much the group grows from one range of queries to the next; finer steps measured no better."""


@dataclass(frozen=True)
class ReRoPE(Remap):
    """min(i - j, w) (Su, 2023, kexue.fm/archives/9708; github.com/bojone/rerope). It reaches any length.

    Attributes:
        window: w, tokens that are seen at their true distance; all others stand at w.
    """

    name: ClassVar[str] = "rerope"
    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window, 1)

    def _remapped(self, reach: Reach) -> Bands:
        window = window_within(self.name, self.window, reach, REROPE_WINDOW_SHARE)
        near = Region(first=reach.start, farthest=window)
        far = Region(first=reach.start, nearest=window)
        return Band(near), Band(far, Constant(window), Constant(0))


@dataclass(frozen=True)
class LeakyReRoPE(Remap):
    """i - j below w, else w + (i - j - w) / k (Su, 2023, kexue.fm/archives/9708; github.com/bojone/rerope).

    The group k grows with the query unless it is given, in steps of √2: the smallest that keeps i below L.

    Attributes:
        window: w, tokens that are seen at their true distance.
        group: k, tokens to a position beyond the window, whole or not, above 1.
    """

    name: ClassVar[str] = "leaky-rerope"
    window: int | None = None
    group: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window, 1)
        if self.group is not None and check_positive("group", self.group) <= 1:
            raise ValueError(f"group must be above 1, tokens to a position beyond the window; got {self.group!r}")

    def _remapped(self, reach: Reach) -> Bands:
        window = window_within(self.name, self.window, reach, LEAKY_WINDOW_SHARE)
        near = Band(Region(first=reach.start, farthest=window))
        steps = self._given(self.group, window, reach) if self.group else _smallest(window, reach)
        return near, *(
            # (i + w (k - 1)) / k - j / k = w + (i - j - w) / k
            Band(Region(first, last, nearest=window), Affine(k, window - window / k), Affine(k))
            for first, last, k in steps
        )

    def _given(self, group: float, window: int, reach: Reach) -> list[tuple[int, int | None, float]]:
        reached = _reached_by(group, window, reach.trained)
        if reached < reach.target:
            raise ValueError(
                f"leaky-rerope with group={group} and window={window} reaches {reached} tokens, short of the "
                f"{reach.target} asked for: use group={_needed(window, reach)} or more, or leave it out"
            )
        return [(reach.start, None, group)]


def _reached_by(group: float, window: int, trained: int) -> int:
    """Queries whose every relative position is at most L - 1: w + (i - w) / k <= L - 1."""
    return math.floor(window + group * (trained - 1 - window) + 1e-6) + 1


def _needed(window: int, reach: Reach) -> float:
    """The smallest group for the whole target, rounded up so that printing it keeps it enough."""
    if reach.trained - 1 == window:
        raise ValueError(
            f"leaky-rerope's window must be below {window}, one less than the trained length {reach.trained}: "
            "there is one position beyond it, for all; use 'rerope' or a smaller window"
        )
    exact = (reach.target - 1 - window) / (reach.trained - 1 - window)
    return math.ceil(exact * 1e6) / 1e6


def _smallest(window: int, reach: Reach) -> Iterator[tuple[int, int | None, float]]:
    """(first query, query to stop before, group): the group needed for the target, or some steps of `STEP` below it."""
    needed = _needed(window, reach)
    first, steps = reach.start, max(0, math.ceil(math.log(needed, STEP)) - 1)
    for group in (needed / STEP**step for step in range(steps, 0, -1)):
        reached = _reached_by(group, window, reach.trained)
        if reached > first:
            yield first, reached, group
            first = reached
    yield first, None, needed
