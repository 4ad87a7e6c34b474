"""The length that a request's scale is frozen for, where the scale follows the length."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from rope_scaling.patches import rope_length
from rope_scaling.patches.dynamic.grid import LENGTHS

Request = TypeVar("Request")


def by_scale(
    model: Any, requests: Iterable[Request], length: Callable[[Request], int]
) -> list[tuple[int, list[Request]]]:
    """Group requests that are read at one scale, each group with the length that it is frozen for.

    A static scheme has one scale, a dynamic one has one for all lengths up to the trained one and some for the lengths
    beyond it. So what a request scores never depends on its neighbours.
    """
    grid = scaled_lengths(model)
    groups: dict[int, list[Request]] = {}
    for request in requests:
        groups.setdefault(_frozen(length(request), grid), []).append(request)
    return sorted(groups.items())


def scaled_lengths(model: Any) -> list[int]:
    """The lengths that a model has scales for, rising from L; none where its scale does not follow the length."""
    for name, buffer in model.named_buffers():
        if name.endswith(LENGTHS):
            lengths: list[int] = buffer.tolist()
            return lengths
    return []


def frozen_length(model: Any, length: int) -> AbstractContextManager[None]:
    """Freeze the scale of every forward pass inside for a sequence of `length` tokens; 0 leaves it alone."""
    return rope_length(model, length) if length else nullcontext()


def _frozen(length: int, grid: list[int]) -> int:
    return grid[min(bisect_left(grid, length), len(grid) - 1)] if grid else 0
