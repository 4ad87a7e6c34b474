"""Self-Extend: neighbours at their true distance, everything beyond in groups that share a position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from rope_scaling.remap import IDENTITY, Affine, Band, Bands, PositionMap, Region
from rope_scaling.schemes.remapped import Reach, Remap, check_count, window_within

WINDOW_SHARE = 1 / 8
"""window / L unless a window is given: measured, see docs/remap.md."""


@dataclass(frozen=True)
class SelfExtend(Remap):
    """i - j below w, else i // G - j // G + w - w // G (arXiv 2401.01325v3).

    The group grows with the query unless it is given: the smallest that keeps i below L. The authors' code shifts by
    w - w / G, which is no whole number where G does not divide w, in its prefill, and by w - w // G in its decoding;
    the paper's w - w // G is used throughout.

    Attributes:
        window: w, tokens that are seen at their true distance.
        group: G, tokens that share a position beyond the window.
    """

    name: ClassVar[str] = "self-extend"
    window: int | None = None
    group: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window, 1)
        check_count("group", self.group, 2)

    def _remapped(self, reach: Reach) -> Bands:
        window = window_within(self.name, self.window, reach, WINDOW_SHARE)
        near = Band(Region(first=reach.start, farthest=window))
        steps = self._given(self.group, window, reach) if self.group else _smallest(window, reach)
        return near, *(
            Band(Region(first=first, last=last, nearest=window), *_grouped(group, window))
            for first, last, group in steps
        )

    def _given(self, group: int, window: int, reach: Reach) -> list[tuple[int, int | None, int]]:
        reached = reached_by(group, window, reach.trained)
        if reached < reach.target:
            raise ValueError(
                f"self-extend with group={group} and window={window} reaches {reached} tokens, short of the "
                f"{reach.target} asked for: use group={_needed(window, reach)}, or leave it out"
            )
        return [(reach.start, None, group)]


def reached_by(group: int, window: int, trained: int) -> int:
    """Queries whose every relative position is below L: i // G + w - w // G < L."""
    return group * (trained - window + window // group)


def _needed(window: int, reach: Reach) -> int:
    """The smallest group that reaches the target."""
    return next(group for group in count(1) if reached_by(group, window, reach.trained) >= reach.target)


def _smallest(window: int, reach: Reach) -> Iterator[tuple[int, int | None, int]]:
    """(first query, query to stop before, group): each query by the smallest group that brings it within L.

    From 16 on only every eighth or so is taken, so that a large factor does not make hundreds of bands.
    """
    first, group, needed = reach.start, 1, _needed(window, reach)
    while group < needed:
        reached = reached_by(group, window, reach.trained)
        if reached > first:
            yield first, reached, group
            first = reached
        group = min(group + max(1, group // 8), needed)
    yield first, None, needed


def _grouped(group: int, window: int) -> tuple[PositionMap, PositionMap]:
    if group == 1:
        return IDENTITY, IDENTITY
    return Affine(group, window - window // group, floor=True), Affine(group, floor=True)
