"""Bands as numbers and offsets, in which form they pass into an operator that a compiler does not look into."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rope_scaling.remap import IDENTITY, Bands, PositionMap, Region

_WIDTH = 9
_NONE = -1


@dataclass(frozen=True)
class CodedBand:
    """A band whose maps are rows of tables of offsets; None where nothing turns."""

    region: Region
    queries: int | None
    keys: int | None


def encode(bands: Bands, query_index: Tensor, key_index: Tensor) -> tuple[list[int], Tensor, Tensor]:
    """The regions, and by how many tokens each query and key turns: (maps, queries) and (maps, keys), float64."""
    queries: list[PositionMap] = []
    keys: list[PositionMap] = []
    numbers = []
    for band in bands:
        own = band.region
        bounds = (own.first, own.last, own.nearest, own.farthest, own.chunk, own.closest, own.remotest)
        rows = (_row(queries, band.queries), _row(keys, band.keys))
        numbers += [_NONE if number is None else number for number in (*bounds, *rows)]
    return numbers, _offsets(queries, query_index), _offsets(keys, key_index)


@lru_cache(maxsize=64)
def decode(numbers: tuple[int, ...]) -> tuple[CodedBand, ...]:
    """The bands that `encode` has written."""
    rows = [
        [None if number == _NONE else number for number in numbers[at : at + _WIDTH]]
        for at in range(0, len(numbers), _WIDTH)
    ]
    return tuple(
        CodedBand(Region(first or 0, last, near or 0, far, chunk, closest or 0, remotest), query, key)
        for first, last, near, far, chunk, closest, remotest, query, key in rows
    )


def _row(maps: list[PositionMap], one: PositionMap) -> int:
    """The number of a map among those that are there, where it is put if it is not."""
    if one == IDENTITY:
        return _NONE
    for row, other in enumerate(maps):  # `in` and sets do not pass a compiler that takes numbers for variables
        if other == one:
            return row
    maps.append(one)
    return len(maps) - 1


def _offsets(maps: list[PositionMap], index: Tensor) -> Tensor:
    """(maps or 1, tokens)."""
    return torch.stack([place(index) - index for place in maps] or [torch.zeros_like(index, dtype=torch.float64)])
